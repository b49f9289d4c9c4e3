"""The drawing board: the component; `pages/draw.py` says what Python sends to it."""

from pages.shared import component

board = component.from_folder("draw", "paper.js")
