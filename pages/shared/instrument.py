"""The live slider: the component, and what Python sends to it."""

import streamlit as st

from core.settings import ASSETS

PLOTLY_PATH = "library/plotly.min.js"
instrument = st.components.v2.component(
    "instrument",
    html=(ASSETS / "instrument.html").read_text(),
    css=(ASSETS / "instrument.css").read_text(),
    js=(ASSETS / "instrument.js").read_text(),
    # Plotly puts its own styles into the document.
    isolate_styles=False,
)


def plotly_address() -> str:
    """Where the app serves the Plotly library to the live slider; see `app.py`."""
    return f"/{st.get_option('server.baseUrlPath')}/{PLOTLY_PATH}".replace("//", "/")
