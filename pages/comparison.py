"""Any runs beside each other: curves, knees, and everything to take away."""

import pandas as pd
import streamlit as st

from core import config as configuration
from core import runs, scoring
from core.analysis import comparison
from core.analysis.uncertainty import sampling_error
from core.charts import interactive
from core.charts.curves import PUBLISHED, X_AXES, Y_AXES, Axis, Curve, comparison_curves, x_axis
from core.config import DATASETS, K_VALUES
from core.errors import KnownError
from core.pruning import CHANCE, METHODS, SHUFFLED
from core.state import BY_KEY, STATES, State, kind_of
from core.sweep import Criterion
from pages.shared import background, choice, downloads, footprints, frame, networks, progress
from pages.shared.comparison_tables import show_differences, show_knees, show_results

DEFAULT_K = ", ".join(f"{k:g}" for k in K_VALUES)
CRITERIA = {
    "magnitude": ("magnitude", "layer"),
    "magnitude, global": ("magnitude", "global"),
    "activation": ("activation", "layer"),
    "activation, global": ("activation", "global"),
}
LINES = ("solid with circles", "long dashes with diamonds", "dotted, or the symbol alone")
"""`core.charts.curves.LOOKS` in words."""
REFRESH_SECONDS = 3.0


def choose_runs(ids: list[str]) -> tuple[list[str], dict[str, str]]:
    """The runs to compare, and by their ids what those are called that are still to come.

    The address is the truth, as for a single run.
    """
    named = {}
    # Commas are not what this page writes, but what people do.
    said = [address for text in st.query_params.get_all("runs") for address in text.split(",")]
    for address in filter(None, said):
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
    wanted = [run_id for run_id in ids if run_id in named] if said else choice.first_run(ids)
    st.session_state.runs = wanted
    others = [address for _, address in elsewhere.values()]
    name_runs_in_address(others)
    labels = choice.run_labels(ids)
    st.multiselect(
        "Runs",
        ids,
        wanted,
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
        frame.error_box(f"{error} Showing {DEFAULT_K} instead.")
        return list(K_VALUES)


def choose_axes() -> tuple[str, str]:
    y = frame.one_of("Measure", list(Y_AXES), default="accuracy", required=True, key="y", bind="query-params")
    x = frame.one_of(
        "Against",
        list(X_AXES),
        default="sparsity",
        required=True,
        key="x",
        bind="query-params",
        help="sparsity: the k that was asked for. zeroed: the part of the hidden weights that is zero. remaining: the "
        "weights left once everything dead is removed, too. multiply-adds: the products that one image takes in the "
        "compacted network, in which zeros are multiplied like other weights. compression: the dense weights over the "
        "remaining ones. speed: how many times as fast as dense one image is, where the Size page measured it. The "
        "same k is not the same size.",
    )
    return x, y


def choose_criteria() -> list[tuple[str, str]]:
    chosen = frame.some_of(
        "Ranked by",
        list(CRITERIA),
        default=["magnitude"],
        key="orders",
        help="What pruning takes first, in each layer or globally; the Pruning page says how each is defined.",
    )
    return [CRITERIA[name] for name in chosen or ["magnitude"]]


def choose_states() -> list[type[State]]:
    default = [*STATES][:1]
    chosen = frame.some_of(
        "State",
        list(STATES),
        default=default,
        key="states",
        help="as pruned: nothing was done after pruning. repaired: other weights stay, with other values, found "
        "without labels and without training. trained on: fine-tuned with labels. Each is a curve of its own.",
    )
    return [STATES[name] for name in chosen or default]


def criteria_of(state: type[State], orders: list[tuple[str, str]]) -> list[Criterion]:
    """The criteria of a state that stand for the chosen orders, each a ranking and a scope, as far as it has them."""
    own = [(ranking if state.is_instant else state.rankings[0], scope) for ranking, scope in orders]
    each = dict.fromkeys(own if state.options else [(state.rankings[0], "layer")])
    return [Criterion(method, *order, recovery=key) for key in state.keys for order in each for method in METHODS]


@st.fragment(run_every=REFRESH_SECONDS)
def wait_for(coming: dict[str, str], lacking: background.Lacking, *request: list) -> None:
    """Look for runs that finish and scores that come in, and draw the page anew when there are any."""
    still = choice.coming(coming)
    if still != list(coming) or background.complete(*request) != lacking:
        st.rerun()
    if still:
        st.caption(f"Still to come, and shown as they finish: {'; '.join(coming.values())}.")
    if lacking.problem:
        st.warning(
            frame.plain(lacking.problem),
            title="Nothing more can be scored here; it is tried again",
            icon=":material/info:",
        )
        return
    if lacking.baselines:
        number = len(lacking.baselines)
        st.caption(f"Random pruning, the baseline, is being scored in the background; {number} to go.")
    if lacking.repairs:
        st.caption(f"Still being repaired: {lacking.repairs} to go.")
    if lacking and request[0] and (others := background.waits_for_others(request[0])):
        st.caption(frame.plain(others))


def gather(
    run_id: str, criteria: list[Criterion], with_children: bool, sparsities: list[float], x: str
) -> pd.DataFrame:
    """The sweep of a run with all that can be shown of it at once.

    Args:
        criteria: of networks that are only pruned.
        with_children: whether fine-tuned ones are looked for.
        x: the name of the axis; what only it needs is found out only for it.

    Raises:
        KnownError: if the run or its dataset cannot be read.
    """
    run = runs.open_run(run_id)
    # What the dense network reaches on validation images is what knees are measured from.
    table = progress.scored(run, [*scoring.experiment([0.0]), *((criterion, sparsities) for criterion in criteria)])
    if x == "multiply-adds":
        table = table.assign(multiply_adds=footprints.multiply_adds(run, table[table.sparsity.isin(sparsities)]))
    if x == "speed":
        table = table.assign(faster=footprints.faster(run, table))
    children = comparison.rows_of_children(run) if with_children else ()
    return pd.concat([table, children], ignore_index=True) if len(children) else table


def show_chart(curves: list[Curve], x: Axis, y: Axis) -> None:
    st.plotly_chart(
        interactive.comparison(curves, x, y),
        key="comparison",
        config=interactive.CONFIG,
        alt=f"{y.title} against {x.title}",
    )


def explain(folded: pd.DataFrame, curves: list[Curve], with_published: bool) -> str:
    """What the lines and bands of the chart mean, and how exact a test accuracy is."""
    said = ["Grey: the dense network, level across, and random pruning, the baseline."]
    by_chance = folded[folded.ranking.isin(CHANCE)]
    if by_chance.ranking.isin(SHUFFLED).any():
        said.append(
            "The second baseline takes as many in each layer as the global ranking does, but which ones by chance: "
            "what lies above it is the worth of the choice within layers."
        )
    if with_published:
        said.append("Thin dashes: the published results of the original experiment.")
    ranked = folded[~folded.ranking.isin(CHANCE)]
    if len({*ranked.recovery}) > 1:
        shown = {BY_KEY[how] for how in ranked.recovery}
        lines = [f"{line}: {state.words}" for line, state in zip(LINES, STATES.values(), strict=True) if state in shown]
        said.append(f"Lines {'; '.join(lines)}.")
    if any(curve.spread for curve in curves):
        bands = []
        if (ranked.networks > 1).any():
            bands.append("over networks of other seeds")
        if (by_chance.networks > 1).any():
            bands.append("of random pruning likewise, each network being the mean of its random orders")
        if (by_chance.networks == 1).any():
            bands.append("of random pruning over the random orders of the one network")
        said.append(f"Bands: ± one sample deviation, {'; '.join(bands)}.")
    for dataset, rows in ranked.groupby("dataset"):
        images, accuracy = DATASETS[dataset].test_size, rows.dense_accuracy.iloc[0]
        error = 100 * sampling_error(accuracy, images)
        said.append(
            f"{images:,} test images can be counted only so finely: at {accuracy:.1%} an accuracy has a standard error "
            f"of ±{error:.2f} points, for all networks of {dataset} alike."
        )
    return " ".join(said)


def show_published() -> None:
    """What there is to see before any run exists."""
    st.markdown(
        "**No trained network yet.** Below are the published results of the original experiment. "
        "Train a network, and its curves appear beside them."
    )
    frame.link_to("training", "Go to Training")
    datasets = [name for name in configuration.DATASETS if networks.published(name) is not None]
    dataset = frame.one_of("Dataset", datasets, default=datasets[0], required=True, key="published")
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
with st.container(horizontal=True, gap="medium"):
    orders = choose_criteria()
    states = choose_states()

criteria = [criterion for state in states for criterion in criteria_of(state, orders)]
pruned = [criterion for criterion in criteria if kind_of(criterion).is_instant]
repairs = [criterion for criterion in criteria if kind_of(criterion).is_repair]
trained = [criterion.recovery for criterion in criteria if not kind_of(criterion).is_at_any_k]
sweeps = {}
for run_id in chosen:
    try:
        sweeps[run_id] = gather(run_id, pruned, bool(trained), sparsities, x)
    except KnownError as error:
        frame.error_box(error, f"{run_id} cannot be shown")
shuffled = [ranking for ranking, scope in orders if scope == "global" and pruned]
request = [list(sweeps), sparsities, shuffled, repairs]
lacking = background.complete(*request)
if coming or lacking:
    wait_for(coming, lacking, *request)
if not sweeps:
    st.caption("Choose at least one run.")
    st.stop()

ways = [*dict.fromkeys((criterion.ranking, criterion.scope, criterion.recovery) for criterion in criteria)]
baselines = [("random", "layer", "none")]
baselines += [(name, "global", "none") for name, ranking in SHUFFLED.items() if ranking in shuffled]
everything = comparison.long_table([runs.open_run(run_id) for run_id in sweeps], sweeps)
if trained and not everything.recovery.isin(trained).any():
    st.caption("None of these networks has been fine-tuned yet.")
table = comparison.select_criteria(everything, [*ways, *baselines], sparsities)
folded = comparison.fold_seeds(table)
if folded.empty or folded.ranking.isin(CHANCE).all():
    st.info("Nothing of this has been scored yet. What comes in appears here.", icon=":material/hourglass_top:")
    st.stop()
datasets = {*everything.dataset}
reference = networks.published(datasets.pop()) if len(datasets) == 1 else None
curves = comparison_curves(folded, x, y, reference)
axes = (x_axis(x, folded), Y_AXES[y])

if not any(curve.symbol for curve in curves):
    st.info("At these sparsities nothing remains, which has no place on this axis. Choose a smaller k, or sparsity.")
show_chart(curves, *axes)
st.caption(explain(folded, curves, reference is not None and x == "sparsity" and y in PUBLISHED))
wanted = [step for each in criteria for step in kind_of(each).wanted(each) if step[0] == each]
wanted = scoring.unscored(pd.DataFrame(), wanted)
missing = sum(scoring.count(scoring.unscored(sweep, wanted)) for sweep in sweeps.values())
at_all = comparison.select_criteria(everything, ways, everything.k.unique())
show_knees(at_all, sparsities, missing, len(sweeps) * scoring.count(wanted))
show_differences(table, Y_AXES[y])
rows = show_results(folded)
st.subheader("Take away")
downloads.offer_comparison(table, rows, (curves, *axes))
downloads.offer_one_of(list(sweeps))
