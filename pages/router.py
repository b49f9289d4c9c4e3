"""The menu. It lives beside the pages because a `pages/` folder beside an entry script that calls
st.navigation makes Streamlit guess at pages by itself, and get a cold deep link wrong."""

import streamlit as st

from pages.shared import frame

st.set_page_config(page_title="Network pruning", page_icon=":material/content_cut:", layout="wide")
# Digits of one width, so that numbers do not dance while they change.
st.html("<style>.stApp { font-variant-numeric: tabular-nums; }</style>")

page = st.navigation(
    [
        st.Page(f"{name}.py", title=name.capitalize(), icon=icon, default=name == "overview")
        for name, icon in frame.ICONS.items()
    ],
    position="top",
)
with frame.known_errors():
    page.run()
