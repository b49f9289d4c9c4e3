"""Buttons that hand out files."""

from functools import partial

import pandas as pd
import streamlit as st

from core import jobs, runs
from core.analysis import comparison
from core.charts import interactive
from core.charts.curves import Axis, Curve
from core.exports import archive, figures, report, tables
from core.files import read_bytes
from core.runs import layout
from pages.shared import actions
from pages.shared.choice import run_labels
from pages.shared.frame import counted, download, known_errors, verbatim


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
            if actions.button("Draw its figures and animations", icon=":material/image:", key=f"draw_{run.id}"):
                with known_errors(), st.spinner("Drawing…"):
                    jobs.ensure_pictures(run)
                    st.rerun()
            return
        for method, name in layout.GIFS.items():
            picture = run.folder / name
            download(
                f"{method.capitalize()}s GIF",
                partial(read_bytes, picture),
                f"{run.id}-{name.replace('_', '-')}",
                "image/gif",
            )
        download("Report", lambda: report.report(run), f"{run.id}-report.html", "text/html")
        download("Everything (ZIP)", lambda: archive.archive(run), f"{run.id}.zip", "application/zip")


def offer_comparison(table: pd.DataFrame, rows: pd.DataFrame, chart: tuple[list[Curve], Axis, Axis]) -> None:
    """Downloads of what is compared: the scores behind the chosen rows, the figure as it stands."""
    chosen = table.merge(rows[comparison.ROW]).drop(columns="configuration")
    curves, x, y = chart
    title = f"{y.title} against {x.title}"
    name = "-".join(sorted({*chosen.dataset})) + f"-{chosen.run.nunique()}-runs"
    st.markdown(
        f"**This comparison** · {counted(len(chosen), 'score')} of {counted(chosen.run.nunique(), 'run')}"
        + ("" if len(chosen) == len(table) else f", {counted(len(rows), 'selected row')}")
    )
    st.caption(
        "CSV, Parquet and the sheet *Scores* hold one row a run, criterion, state and k, with every setting, version "
        "and machine; only Parquet has all digits. Select rows of the table above to take only those."
    )
    with st.container(horizontal=True):
        for label, suffix, mime, make in (
            ("CSV", "csv", "text/csv", lambda: tables.csv_bytes(chosen)),
            (
                "Excel (.xlsx)",
                "xlsx",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                lambda: tables.xlsx_bytes({"Results": readable(rows), "Scores": chosen}),
            ),
            ("Parquet", "parquet", "application/vnd.apache.parquet", lambda: tables.parquet_bytes(chosen)),
            ("Markdown", "md", "text/markdown", lambda: tables.markdown_bytes(readable(rows))),
            ("PNG", "png", "image/png", lambda: figures.picture_bytes(curves, x, y, "png")),
            ("SVG", "svg", "image/svg+xml", lambda: figures.picture_bytes(curves, x, y, "svg")),
            (
                "Interactive HTML",
                "html",
                "text/html",
                lambda: figures.html_bytes(interactive.comparison(curves, x, y), title),
            ),
        ):
            download(
                label,
                make,
                f"{name}-{y.column}.{suffix}" if suffix in ("png", "svg", "html") else f"{name}.{suffix}",
                mime,
            )


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Folded rows as a table to read: the ten columns that a text would show."""
    ranked = [comparison.said_ranking(row.ranking, row.scope, "none") for row in rows.itertuples()]
    named = ["configuration", "method", "ranked_by", "state", "k", "n"]
    return rows.assign(ranked_by=ranked)[[*named, "accuracy", "accuracy_sd", "loss", "compression"]]
