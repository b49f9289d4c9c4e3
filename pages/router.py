"""The menu. It lives beside the pages because a `pages/` folder beside an entry script that calls
st.navigation makes Streamlit guess at pages by itself, and get a cold deep link wrong."""

import streamlit as st

from core.settings import ASSETS
from pages.shared import frame

st.set_page_config(page_title="Network pruning", page_icon=str(ASSETS / "favicon.png"), layout="wide")
# Digits of one width, so that numbers do not dance while they change; small text and text on blue with enough contrast,
# light and dark. And Streamlit fades what waits for a rerun, which the live slider must never do: it is never stale.
st.html(
    """<style>
    .stApp { font-variant-numeric: tabular-nums; }
    [data-testid="stMultiSelectTagsContainer"] span:has(> [title]) { background-color: rgb(128 138 150 / 25%); }
    [data-testid="stMultiSelectTagsContainer"] span:has(> [title]) * { color: inherit; }
    [data-testid="stMultiSelectTagsContainer"] span:has(> [title]) { color: inherit; }
    .stApp [data-testid="stBaseButton-primary"]:not(:disabled) { background-color: #0072B2; border-color: #0072B2; }
    .st-key-failed_downloads_seen { display: none; }
    .st-key-connection { position: fixed; right: 1rem; bottom: 1rem; width: auto !important; z-index: 1000; }
    [data-testid="stElementContainer"]:has(.instrument, .wall) { opacity: 1 !important; transition: none !important; }
    </style>"""
)

page = st.navigation(
    [
        st.Page(f"{name}.py", title=name.capitalize(), icon=icon, default=name == "overview")
        for name, icon in frame.ICONS.items()
    ]
    + [
        st.Page(f"{name}.py", title=name.capitalize(), icon=icon, visibility="hidden")
        for name, icon in frame.HIDDEN.items()
    ],
    # Who embeds the app in a page of their own, by ?embed=true, shows one page of it.
    position="hidden" if st.context.is_embedded else "top",
)
frame.follow_connection()
frame.show_failed_downloads()
with frame.known_errors():
    page.run()
