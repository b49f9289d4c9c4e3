"""Network pruning dashboard: `streamlit run app.py`."""

from pathlib import Path

import streamlit as st

from core import ui

app = st.App(Path(__file__).parent / "pages" / "router.py", on_script_error=ui.show_bug)
