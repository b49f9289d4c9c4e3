"""Buttons that hand out files."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from core import jobs, runs
from core.exports import archive, report, tables
from core.runs import layout
from pages.shared.choice import run_labels
from pages.shared.frame import known_errors, verbatim


def download(label: str, make: Callable[[], bytes], file_name: str, mime: str) -> None:
    """A button that builds a file when asked, without a rerun."""
    st.download_button(
        label,
        make,
        file_name=file_name,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        key=f"download_{file_name}",
    )


def offer_one_of(ids: list[str]) -> None:
    """Downloads of a run to be chosen."""
    labels = run_labels(ids)
    if len(ids) > 1:
        chosen = st.selectbox(
            "One run", ids, format_func=lambda run_id: labels.get(run_id, run_id), key="one_run", bind="query-params"
        )
    else:
        chosen = ids[0]
        st.markdown(f"**The run** · {verbatim(labels.get(chosen, chosen))}")
    offer_run(runs.open_run(chosen))


def offer_run(run: runs.Run) -> None:
    """Downloads of one complete run."""
    with st.container(horizontal=True):
        download("Results CSV", lambda: tables.csv_bytes(report.results(run)), f"{run.id}-results.csv", "text/csv")
        if not run.is_drawn():
            # Here rather than inside the downloads, which cannot say why they fail.
            if st.button("Draw its figures and animations", icon=":material/image:", key=f"draw_{run.id}"):
                with known_errors(), st.spinner("Drawing…"):
                    jobs.ensure_pictures(run)
                    st.rerun()
            return
        for method, name in layout.GIFS.items():
            picture = run.folder / name
            download(
                f"{method.capitalize()}s GIF", picture.read_bytes, f"{run.id}-{name.replace('_', '-')}", "image/gif"
            )
        download("Report", lambda: report.report(run), f"{run.id}-report.html", "text/html")
        download("Everything (ZIP)", lambda: archive.archive(run), f"{run.id}.zip", "application/zip")


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Folded rows as a table to read: without what other columns say already."""
    return rows.drop(columns=["dataset", "parameters", "change_sd", "whole"])
