"""The Keras room: build a network, fit it, train a run. Only training processes import what is in here."""

from core.settings import load_keras

# Before any file of this room imports Keras.
load_keras()
