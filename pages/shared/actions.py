"""What buttons do to runs and the queue, and how a failure of it is shown."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from core import runs, settings
from core.errors import KnownError
from core.exports.models import Subject
from core.jobs import Queue
from pages.shared import frame


def button(label: str, **options: Any) -> bool:
    """`st.button` for what changes the cache; it cannot be pressed where nothing may be changed.

    That only says so in time: what it does refuses by itself (`core.limits`).
    """
    if settings.is_read_only():
        options |= {"disabled": True, "help": frame.READ_ONLY}
    return st.button(label, **options)


def attempt(about: runs.Run | Queue | Subject, action: Callable[..., None], *arguments: Any) -> None:
    """Do what a button stands for; a known failure is kept for the rerun that follows the click."""
    try:
        action(*arguments)
        st.session_state.pop("failure", None)
    except KnownError as error:
        st.session_state.failure = (about, str(error))


def show_failure(about: runs.Run | Queue | Subject) -> None:
    """What came of the last click, if it was about this and failed."""
    failed, failure = st.session_state.get("failure", (None, None))
    if failed == about:
        frame.error_box(failure)


@st.dialog("Delete this run?")
def confirm_delete(run: runs.Run) -> None:
    st.markdown(f"`{run.id}`, its network, history and scores are removed from the cache. This cannot be undone.")
    seen = run.version() or ""
    with st.container(horizontal=True):
        if button("Delete", type="primary", key="delete_confirmed", on_click=attempt, args=(run, run.delete, seen)):
            st.rerun()
        if st.button("Keep it", key="delete_dismissed"):
            st.rerun()
