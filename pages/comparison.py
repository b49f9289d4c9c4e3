"""Any runs beside each other: curves, knees, and everything to take away."""

import pandas as pd
import streamlit as st

from core import config as configuration
from core import runs
from core.analysis import comparison
from core.charts import interactive
from core.charts.curves import X_AXES, Y_AXES, Curve, comparison_curves
from core.config import K_VALUES
from core.errors import KnownError
from pages.shared import choice, downloads, frame, networks, progress

DEFAULT_K = ", ".join(f"{k:g}" for k in K_VALUES)
CRITERIA = {
    "magnitude": ("magnitude", "layer"),
    "magnitude, global": ("magnitude", "global"),
    "activation": ("activation", "layer"),
    "activation, global": ("activation", "global"),
}
REFRESH_SECONDS = 3.0


def choose_runs(ids: list[str]) -> tuple[list[str], dict[str, str]]:
    """The runs to compare, and by their ids what those are called that are still to come.

    The address is the truth, as for a single run.
    """
    named = {}
    for address in filter(None, st.query_params.get_all("runs")):
        run_id, config = choice.named_run(address)
        named.setdefault(run_id, (config, address))
    elsewhere = {run_id: named[run_id] for run_id in named if run_id not in ids}
    coming = {}
    for run_id in choice.coming(elsewhere):
        config, _ = elsewhere[run_id]
        coming[run_id] = choice.label(config) if config else run_id
    for run_id, (config, address) in elsewhere.items():
        if run_id not in coming:
            choice.offer_missing_run(run_id, config)
            st.button("Leave it out", key=f"leave_{run_id}", on_click=leave_out, args=(address,))
    wanted = [run_id for run_id in ids if run_id in named] if "runs" in st.query_params else ids[:1]
    st.session_state.runs = wanted
    others = [address for _, address in elsewhere.values()]
    name_runs_in_address(others)
    labels = choice.run_labels(ids)
    st.multiselect(
        "Runs",
        ids,
        key="runs",
        format_func=lambda run_id: labels.get(run_id, run_id),
        on_change=name_runs_in_address,
        args=(others,),
        help="Runs that differ in nothing but the seed become one curve: mean and sample deviation.",
    )
    return wanted, coming


def name_runs_in_address(others: list[str]) -> None:
    """Write the chosen runs into the address, after them the addresses of those this cache does not hold (yet)."""
    # An empty value rather than none: to show no run is a choice, too.
    addresses = [*map(choice.address_of, st.session_state.runs), *others] or [""]
    if st.query_params.get_all("runs") != addresses:
        st.query_params["runs"] = addresses


def leave_out(address: str) -> None:
    st.query_params["runs"] = [other for other in st.query_params.get_all("runs") if other != address] or [""]


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
        return configuration.parse_k_values(text, "Sparsities k")
    except configuration.ConfigError as error:
        st.error(f"{error} Showing {DEFAULT_K} instead.", icon=":material/error:")
        return list(K_VALUES)


def choose_axes() -> tuple[str, str]:
    y = st.segmented_control("Measure", list(Y_AXES), default="accuracy", required=True, key="y", bind="query-params")
    x = st.segmented_control(
        "Against",
        list(X_AXES),
        default="sparsity",
        required=True,
        key="x",
        bind="query-params",
        help="sparsity: the k that was asked for. remaining: the weights left once everything dead is removed, "
        "too. compression: the dense weights over the remaining ones. The same k is not the same size.",
    )
    return x, y


def choose_criteria() -> list[tuple[str, str]]:
    chosen = st.pills(
        "Ranked by",
        list(CRITERIA),
        selection_mode="multi",
        default=["magnitude"],
        key="orders",
        bind="query-params",
        help="What pruning takes first, in each layer or globally; the Pruning page says how each is defined.",
    )
    return [CRITERIA[name] for name in chosen or ["magnitude"]]


@st.fragment(run_every=REFRESH_SECONDS)
def wait_for(coming: dict[str, str], shown: list[str], lacking: list[str], sparsities: list[float]) -> None:
    """Look for runs that finish and baselines that are complete, and draw the page anew when there are any."""
    still = choice.coming(coming)
    if still != list(coming) or networks.complete_baselines(shown, sparsities) != lacking:
        st.rerun()
    if still:
        st.caption(f"Still to come, and shown as they finish: {'; '.join(coming.values())}.")
    if lacking:
        st.caption(f"Random pruning, the baseline, is being scored in the background; {len(lacking)} to go.")


def show_chart(curves: list[Curve], x: str, y: str) -> None:
    st.plotly_chart(
        interactive.comparison(curves, X_AXES[x], Y_AXES[y]),
        key="comparison",
        config=interactive.CONFIG,
        alt=f"{Y_AXES[y].title} against {X_AXES[x].title.lower()}",
    )


def ranked_by(rows: pd.DataFrame) -> pd.Series:
    """The order of pruning in words, as it is chosen above."""
    return rows.ranking + rows.scope.map({"layer": "", "global": ", global"})


def show_knees(folded: pd.DataFrame) -> None:
    table = comparison.knees(folded).rename(columns=str)
    drops = {str(drop): f"k at −{100 * drop:g} points" for drop in comparison.DROPS}
    table["ranked_by"] = ranked_by(table)
    st.subheader("How far it can be pruned")
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        column_order=["configuration", "method", "ranked_by", *drops, "n"],
        column_config={
            "configuration": "Configuration",
            "method": "Method",
            "ranked_by": "Ranked by",
            "n": st.column_config.NumberColumn("n", help="How many networks were averaged."),
        }
        | {name: st.column_config.NumberColumn(label, format="percent") for name, label in drops.items()},
        alt="The largest sparsity of each curve that costs at most so many points of accuracy",
    )
    st.caption(
        "The largest k that costs at most so many points of test accuracy against the dense network, among the "
        "sparsities that all of these have been scored at."
    )


def show_results(folded: pd.DataFrame) -> pd.DataFrame:
    """The table of results; returns the rows that are selected, or all."""
    st.subheader("Results")
    number = st.column_config.NumberColumn
    counts = ["zeroed", "removable", "remaining"]
    selection = st.dataframe(
        folded.assign(ranked_by=ranked_by(folded), **folded[counts].round()).style.format(
            {"change": lambda change: frame.signed(change, 4)}
        ),
        hide_index=True,
        # A selection is of positions: with other rows it must not go on to mean others.
        key=f"results_{pd.util.hash_pandas_object(folded[comparison.ROW]).sum():x}",
        on_select="rerun",
        selection_mode="multi-row",
        column_order=[
            *("configuration", "method", "ranked_by", "k", "n", "accuracy", "accuracy_sd", "change", "loss"),
            *("loss_sd", "zeroed", "removable", "remaining", "compression"),
        ],
        column_config={
            "configuration": "Configuration",
            "method": "Method",
            "ranked_by": "Ranked by",
            "k": number("k", format="%.4g"),
            "n": "n",
            "accuracy": number("Test accuracy", format="%.4f"),
            "accuracy_sd": number("± s.d.", format="%.4f"),
            "change": "From dense",
            "loss": number("Test loss", format="%.4f"),
            "loss_sd": number("± s.d. (loss)", format="%.4f"),
            "zeroed": number("Zeroed", format="localized"),
            "removable": number("Removable", format="localized"),
            "remaining": number("Remaining", format="localized"),
            "compression": number("Compression", format="%.3g×"),
        },
        placeholder="–",
        alt="Accuracy, loss and size at each sparsity",
    )
    chosen = [row for row in selection.selection.rows if row < len(folded)]
    return folded.iloc[chosen] if chosen else folded


def show_published() -> None:
    """What there is to see before any run exists."""
    st.markdown(
        "**No trained network yet.** Below are the published results of the original experiment. "
        "Train a network, and its curves appear beside them."
    )
    frame.link_to("training", "Go to Training")
    datasets = [name for name in configuration.DATASETS if networks.published(name) is not None]
    dataset = st.segmented_control("Dataset", datasets, default=datasets[0], required=True, key="published")
    for y, column in zip(("accuracy", "loss"), st.columns(2), strict=True):
        curves = comparison_curves(pd.DataFrame(), "sparsity", y, networks.published(dataset))
        column.plotly_chart(
            interactive.comparison(curves, X_AXES["sparsity"], Y_AXES[y]),
            key=f"published_{y}",
            config=interactive.CONFIG,
            alt=f"Published {y} against sparsity",
        )


frame.page_title("Comparison")
ids = choice.complete_runs()
if not ids and not any(st.query_params.get_all("runs")):
    show_published()
    st.stop()

picker, k_list = st.columns([3, 2])
with picker:
    chosen, coming = choose_runs(ids)
with k_list:
    sparsities = chosen_sparsities()
with st.container(horizontal=True, gap="medium"):
    x, y = choose_axes()
criteria = choose_criteria()

sweeps = {}
for run_id in chosen:
    try:
        sweeps[run_id] = progress.scored(runs.open_run(run_id), criteria, sparsities)
    except KnownError as error:
        st.error(str(error), title=f"{run_id} cannot be shown", icon=":material/error:")
lacking = networks.complete_baselines(list(sweeps), sparsities)
if coming or lacking:
    wait_for(coming, list(sweeps), lacking, sparsities)
if not sweeps:
    st.caption("Choose at least one run.")
    st.stop()

everything = comparison.long_table([runs.open_run(run_id) for run_id in sweeps], sweeps)
table = comparison.select_criteria(everything, [*criteria, ("random", "layer")], sparsities)
folded = comparison.fold_seeds(table)
datasets = {*everything.dataset}
reference = networks.published(datasets.pop()) if len(datasets) == 1 else None
curves = comparison_curves(folded, x, y, reference)

if not any(curve.symbol for curve in curves):
    st.info("At these sparsities nothing remains, which has no place on this axis. Choose a smaller k, or sparsity.")
show_chart(curves, x, y)
st.caption(
    "Grey: the dense network, level across, and random pruning, the baseline. "
    + (
        "Thin dashes: the published results of the original experiment. "
        if reference is not None and x == "sparsity"
        else ""
    )
    + (
        "Bands: ± one sample deviation; of random pruning over networks and orders together."
        if (folded.n > 1).any()
        else ""
    )
)
show_knees(comparison.fold_seeds(comparison.select_criteria(everything, criteria, everything.k.unique())))
rows = show_results(folded)
st.subheader("Take away")
downloads.offer_comparison(table, rows, (curves, x, y))
downloads.offer_one_of(list(sweeps))
