"""The drawing board: the component; `pages/draw.py` says what Python sends to it."""

import streamlit as st

from core.settings import ASSETS

board = st.components.v2.component(
    "draw",
    html=(ASSETS / "draw" / "draw.html").read_text(),
    css=(ASSETS / "draw" / "draw.css").read_text(),
    js=(ASSETS / "draw" / "draw.js").read_text(),
)
