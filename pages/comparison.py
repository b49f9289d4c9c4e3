"""Accuracy and loss against the sparsity, for any runs, and the table to take away."""

import pandas as pd
import streamlit as st

from core import config as configuration
from core import figures, runs, ui
from core.config import K_VALUES
from core.errors import KnownError
from core.pruning import METHODS
from core.sweep import Order, results_table, score

MAX_RUNS = 12
DEFAULT_K = ", ".join(f"{k:g}" for k in K_VALUES)


def choose_runs(ids: list[str]) -> list[str]:
    """The runs to compare. The address is the truth and always names them, as for a single run."""
    named = dict.fromkeys(filter(None, st.query_params.get_all("runs")))
    wanted = [run_id for run_id in named if run_id in ids][:MAX_RUNS]
    missing = [run_id for run_id in named if run_id not in ids]
    if missing:
        st.warning(f"This cache holds no complete run named {', '.join(missing)}.")
    if "runs" not in st.query_params:
        st.query_params["runs"] = wanted = ids[:1]
    st.session_state.runs = wanted
    st.multiselect(
        "Runs",
        ids,
        max_selections=MAX_RUNS,
        key="runs",
        on_change=name_runs_in_address,
        help="Colour tells the method; dash and symbol tell the run.",
    )
    return wanted


def name_runs_in_address() -> None:
    # An empty value rather than none: to show no run is a choice, too.
    st.query_params["runs"] = st.session_state.runs or [""]


def chosen_sparsities() -> list[float]:
    """The k list as typed; a list that cannot be read is explained, and the default used instead."""
    text = st.text_input(
        "Sparsities k",
        DEFAULT_K,
        key="k_vals",
        bind="query-params",
        help="From 0 to 1, separated by commas. What has not been scored yet is scored now.",
    )
    try:
        return configuration.parse_k_values(text)
    except configuration.ConfigError as error:
        st.error(f"{error} Showing {DEFAULT_K} instead.", icon=":material/error:")
        return list(K_VALUES)


def scored(run: runs.Run, sparsities: list[float]) -> pd.DataFrame:
    """The run's sweep at exactly these sparsities, scoring with visible progress what is missing.

    Raises:
        KnownError: if the run or its dataset cannot be read.
    """
    table = run.sweep()
    missing = {Order(method): Order(method).missing(table, sparsities) for method in METHODS}
    total = sum(map(len, missing.values()))
    if total:
        network, test = ui.load_run(run), ui.test_split(run.config().dataset)
        rows = []
        bar = st.progress(0.0, f"Pruning and scoring {run.id}")
        for order, wanted in missing.items():
            for row in score(network.kernels, test.images, test.labels, order, wanted):
                rows.append(row)
                bar.progress(len(rows) / total, f"Pruning and scoring {run.id}: {order.method} at {row['sparsity']:g}")
        bar.empty()
        table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
        # A cache that cannot be written costs scoring again next time, not the view.
        with ui.known_errors():
            run.add_to_sweep(pd.DataFrame(rows), network.finished)
    return table[table.sparsity.isin(sparsities)]


st.title("Comparison")
ids = ui.complete_runs()

if not ids:
    st.markdown(
        "**No trained network yet.** Below are the published results of the original experiment. "
        "Train a network, and its curves appear beside them."
    )
    ui.link_to("training", "Go to Training")
    datasets = [name for name in configuration.DATASETS if ui.published(name) is not None]
    dataset = st.segmented_control("Dataset", datasets, default=datasets[0], required=True, key="published")
    chosen, tables, reference = [], {}, ui.published(dataset)
else:
    picker, k_list = st.columns([3, 2])
    with picker:
        chosen = choose_runs(ids)
    with k_list:
        sparsities = chosen_sparsities()
    tables = {}
    for run_id in chosen:
        try:
            tables[run_id] = scored(runs.open_run(run_id), sparsities)
        except KnownError as error:
            st.error(str(error), title=f"{run_id} cannot be shown", icon=":material/error:")
    if not chosen:
        st.caption("Choose at least one run.")
        st.stop()
    of_runs = {runs.open_run(run_id).config().dataset for run_id in tables}
    reference = ui.published(of_runs.pop()) if len(of_runs) == 1 else None

for measure, column in zip(("accuracy", "loss"), st.columns(2), strict=True):
    column.plotly_chart(
        figures.pruning_curves(list(tables.items()), measure, reference, height=440),
        key=f"compare_{measure}",
        config=figures.CONFIG,
        alt=f"Test {measure} against sparsity",
    )
if reference is not None:
    st.caption("Thin dashes: the published results of the original experiment.")

if tables:
    st.subheader("Results")
    shown = next(iter(tables))
    if len(tables) > 1:
        shown = st.selectbox("Table of", list(tables), key="table", bind="query-params")
    results = results_table(tables[shown], sparsities)
    headings = {
        "sparsity": "Sparsity",
        "accuracy_weight": "Test accuracy (weight)",
        "accuracy_unit": "Test accuracy (unit)",
        "loss_weight": "Test loss (weight)",
        "loss_unit": "Test loss (unit)",
    }
    st.dataframe(
        results,
        hide_index=True,
        height="content",
        column_config={
            name: st.column_config.NumberColumn(label, format="%.4g" if name == "sparsity" else "%.4f")
            for name, label in headings.items()
        },
        alt="Accuracy and loss at each sparsity",
    )
    st.download_button(
        "Download CSV",
        results.to_csv(index=False, lineterminator="\n"),
        file_name=f"{shown}-results.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="download_csv",
    )
