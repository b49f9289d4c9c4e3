"""Prune a trained network under a slider and see what is left."""

import dataclasses

import numpy as np
import pandas as pd
import streamlit as st

from core.analysis import inspection
from core.analysis.distributions import layer_names
from core.charts import interactive, live
from core.charts.palette import METHOD_COLORS
from core.config import K_VALUES
from core.errors import KnownError
from core.evaluation import evaluate
from core.pruning import METHODS, RANKINGS, SCOPES
from core.sweep import STOPS, Criterion, key_of, parse_key
from pages.shared import choice, frame, instrument, networks

REFRESH_SECONDS = 2.0
SHOWN_CASUALTIES = 24
QUICK_FROM = {"weight": 0.97, "unit": 0.5}
DETAILS = ("play", "forgets", "looks_at", "layers")


def choose_criterion() -> Criterion:
    """What to prune, and by which ranking."""
    with st.container(horizontal=True, gap="large"):
        method = st.segmented_control(
            "Prune",
            METHODS,
            default="weight",
            required=True,
            key="method",
            bind="query-params",
            help="weight: single connections. unit: whole neurons, with all their incoming weights.",
        )
        ranking = st.segmented_control(
            "Ranked by",
            RANKINGS,
            default="magnitude",
            required=True,
            key="ranking",
            bind="query-params",
            help="What goes first. magnitude: the smallest |w|, or units of smallest L2 norm (Han et al. 2015). "
            "activation: the smallest |w| × rms of its input (Wanda, Sun et al. 2023); for units the smallest rms "
            "activation × L2 norm of the outgoing weights. random: the baseline.",
        )
        scope = st.segmented_control(
            "Among",
            SCOPES,
            default="layer",
            required=True,
            key="scope",
            bind="query-params",
            help="layer: the fraction k of each hidden layer. global: the fraction k of all hidden layers together.",
        )
    return Criterion(method, ranking, scope)


def address_key(layers: int, separable: bool) -> str:
    """The k of the address, as the slider knows it; anything that is no k is k = 0."""
    k = parse_key(st.query_params.get("k", ""), layers)
    return key_of(0.0 if k is None or (not separable and np.ndim(k)) else k)


def is_quick(criterion: Criterion, key: str) -> bool:
    """Whether scoring costs a fraction of the dense network: half of the units are gone, or nearly all weights."""
    k = parse_key(key, 1)
    return k is not None and k >= QUICK_FROM[criterion.method]


def measure(network: networks.LoadedRun, ranked: networks.RankedRun, key: str) -> dict:
    """Really prune at this k and score on the full test set."""
    test = networks.test_split(network.config.dataset)
    k = parse_key(key, len(network.kernels) - 1)
    score = evaluate(ranked.ranks.prune(network.kernels, k), test.images, test.labels)
    pruned = ranked.ranks.pruned(k)
    return {
        "key": key,
        "accuracy": score.accuracy,
        "loss": score.loss,
        "pruned": pruned,
        "thresholds": [layer.threshold(count) for layer, count in zip(ranked.distributions, pruned, strict=True)],
    }


def show_instrument(network: networks.LoadedRun, criterion: Criterion, complete: bool) -> None:
    """The live slider: draws by itself what it knows, while this function prunes and scores behind it."""
    if networks.load_run(network.run).identity != network.identity:
        st.rerun()
    ranked = networks.rank_run(network, criterion)
    names = layer_names(network.kernels)
    view = f"{network.run.id} {network.identity} {criterion}"
    separable = criterion.scope == "layer"

    scores = networks.live_scores(network, criterion)
    at = st.session_state.get("instrument", {}).get("at")
    if not at or at.get("view") != view or parse_key(at["key"], len(names) - 1) is None:
        at = {"key": address_key(len(names) - 1, separable), "moving": False}
    # At rest everything is measured. While the pointer moves, what is quick to score is measured, too, and what
    # is not known yet; the rest would only keep the measurement at rest waiting, twice as long by weight.
    measured = st.session_state.get("measured", {})
    if measured.get("view") != view or measured["key"] != at["key"]:
        measured = None
        if not at["moving"] or at["key"] not in scores.known or is_quick(criterion, at["key"]):
            measured = {"view": view, **measure(network, ranked, at["key"])}
            st.session_state.measured = measured
    hidden = [kernel.size for kernel in network.kernels[:-1]]
    instrument.instrument(
        key="instrument",
        data={
            "view": view,
            "plotly": instrument.plotly_address(),
            "color": METHOD_COLORS[criterion.method],
            "k": at["key"],
            "separable": separable,
            "stops": [key_of(k) for k in STOPS],
            "pruned": ranked.pruned,
            "thresholds": ranked.thresholds,
            "counts": [layer.counts.tolist() for layer in ranked.distributions],
            "edges": [layer.edges.tolist() for layer in ranked.distributions],
            "layers": [
                {"name": name, "weights": kernel.size, "each": 1 if criterion.method == "weight" else len(kernel)}
                for name, kernel in zip(names, network.kernels[:-1], strict=False)
            ],
            "hiddenWeights": sum(hidden),
            "networkWeights": network.config.parameter_count,
            "images": network.config.spec.test_size,
            "dense": dataclasses.asdict(network.dense),
            "known": scores.known,
            "measured": measured,
            "histograms": ranked.histograms,
            "curve": scores.curve,
        },
        on_at_change=lambda: None,
    )
    if not complete:
        st.caption("The curves are still growing in the background; a number that is not known yet shows as …")
    if not at["moving"]:
        if st.query_params.get("k") != at["key"]:
            st.query_params["k"] = at["key"]
            if any(st.session_state.get(name) for name in DETAILS):
                st.rerun()
        if not complete and scores.complete:
            st.rerun()


def live_slider(network: networks.LoadedRun, criterion: Criterion, complete: bool) -> None:
    """A fragment is on its own when it reruns, so it shows its failures itself."""
    with frame.known_errors():
        show_instrument(network, criterion, complete)


def show_play(network: networks.LoadedRun, criterion: Criterion) -> None:
    ranked = networks.rank_run(network, criterion)
    rows = criterion.select(network.run.sweep())
    rows = rows[rows.sparsity.isin(K_VALUES)]
    if len(rows) < len(K_VALUES):
        st.caption("The sparsities of the animation are still being scored.")
        return
    rows = rows.assign(pruned=[ranked.ranks.pruned(k) for k in rows.sparsity])
    st.plotly_chart(
        live.animation(ranked.distributions, layer_names(network.kernels)[:-1], criterion, rows),
        key="animation",
        config=interactive.CONFIG,
        alt="Animation of the histograms while the sparsity grows",
    )
    st.caption("What is zeroed is left out, as in the original experiment's animations.")


def show_forgotten(network: networks.LoadedRun, criterion: Criterion, k: float | list[float]) -> None:
    if np.ndim(k):
        st.caption("Link the layers to one k to see what is forgotten.")
        return
    spec = network.config.spec
    test = networks.test_split(network.config.dataset)
    with st.spinner("Comparing predictions…"):
        result = inspection.forgotten(
            network.kernels, networks.rank_run(network, criterion).ranks, k, test.images, test.labels
        )
    lost = len(result.lost)
    st.markdown(
        f"At k = {k:.2%} the network has **{lost:,}** test images wrong that the dense one has right, "
        f"and **{result.won:,}** right that the dense one has wrong."
    )
    if lost:
        shown = result.lost.head(SHOWN_CASUALTIES)
        st.image(
            [
                1 - test.images[row.index_].reshape(spec.side, spec.side)
                for row in shown.rename(columns={"index": "index_"}).itertuples()
            ],
            caption=[
                f"{spec.classes[row.label]} → {spec.classes[row.predicted]}, {100 * row.since:g}%"
                for row in shown.itertuples()
            ],
            width=96,
            clamp=True,
        )
        st.caption(
            f"The {len(shown)} that fell last, of {lost:,}: true class → predicted class, and the k they fell at."
        )
    by_class, against_dense = st.columns([2, 3], gap="large")
    with by_class:
        st.markdown("**Accuracy per class**")
        table = result.classes.assign(
            name=list(spec.classes), change=100 * (result.classes.pruned - result.classes.dense)
        )
        st.dataframe(
            table,
            hide_index=True,
            height="content",
            column_order=["name", "images", "dense", "pruned", "change"],
            column_config={
                "name": "Class",
                "images": "Images",
                "dense": st.column_config.NumberColumn("Dense", format="percent"),
                "pruned": st.column_config.NumberColumn("Pruned", format="percent"),
                "change": st.column_config.NumberColumn("Points", format="%+.2f"),
            },
            alt="Accuracy per class, dense and pruned",
        )
    with against_dense:
        st.markdown("**Against the dense network**")
        st.plotly_chart(
            interactive.confusion(result.confusion, spec.classes),
            key="confusion",
            config=interactive.CONFIG,
            alt="Classes predicted by the dense and by the pruned network",
        )
        st.caption("Numbers are images; off the diagonal the prediction changed.")


def show_looks_at(network: networks.LoadedRun, criterion: Criterion, k: float | list[float]) -> None:
    pruned = networks.rank_run(network, criterion).ranks.prune(network.kernels, k)
    side = network.config.spec.side
    pixels, units = st.columns([2, 3], gap="large")
    with pixels:
        st.markdown("**Live connections of each pixel**")
        st.plotly_chart(
            interactive.pixel_map(inspection.pixel_connections(pruned), side),
            key="pixels",
            config=interactive.CONFIG,
            alt="Live connections of each pixel in the first layer",
        )
    with units:
        numbers, weights = inspection.receptive_fields(pruned, network.kernels)
        st.markdown("**What the strongest surviving units look at**")
        if not len(numbers):
            st.caption("No unit of the first layer reaches an output any more.")
            return
        st.plotly_chart(
            interactive.fields(numbers, weights, side),
            key="fields",
            config=interactive.CONFIG,
            alt="Incoming weights of the strongest surviving units",
        )
        st.caption("Incoming weights of first-layer units: blue excites, vermillion inhibits.")


@st.cache_data(max_entries=20, show_spinner=False)
def layer_sensitivity(
    run_id: str, identity: str, criterion: Criterion, layer: int, _network: networks.LoadedRun
) -> pd.DataFrame:
    test = networks.test_split(_network.config.dataset)
    ranks = networks.rank_run(_network, criterion).ranks
    return inspection.sensitivity(_network.kernels, ranks, layer, [*K_VALUES, 1.0], test.images, test.labels)


def show_sensitivity(network: networks.LoadedRun, criterion: Criterion) -> None:
    names = layer_names(network.kernels)[:-1]
    bar = st.progress(0.0, "Pruning one layer at a time")
    tables = {}
    for layer, name in enumerate(names):
        bar.progress(layer / len(names), f"Pruning {name} alone")
        own = Criterion(criterion.method, criterion.ranking)
        tables[name] = layer_sensitivity(network.run.id, network.identity, own, layer, network)
    bar.empty()
    st.plotly_chart(
        interactive.sensitivity(tables),
        key="sensitivity",
        config=interactive.CONFIG,
        alt="Test accuracy when a single layer is pruned",
    )
    st.caption("The curve that stays up longest belongs to the layer that can lose most.")


frame.page_title("Pruning")
run = choice.choose_run()
criterion = choose_criterion()

try:
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    complete = networks.live_scores(network, criterion).complete
    if not complete:
        networks.request_scores(run.root, run.id, network.identity, "--fine_curve")
    # The curves grow in the background; the slider looks for new points until they are complete.
    st.fragment(live_slider, run_every=None if complete else REFRESH_SECONDS)(network, criterion, complete)
except KnownError as error:
    st.error(str(error), title="This run cannot be pruned", icon=":material/error:")
    frame.link_to("training", "Go to Training to retrain or delete it")
    st.stop()

st.space("small")
k = parse_key(address_key(len(network.kernels) - 1, criterion.scope == "layer"), len(network.kernels) - 1)
with st.expander("Play the sparsification", icon=":material/play_circle:", key="play", on_change="rerun") as play:
    if play.open:
        show_play(network, criterion)
with st.expander("What it forgets", icon=":material/person_off:", key="forgets", on_change="rerun") as forgets:
    if forgets.open:
        show_forgotten(network, criterion, k)
with st.expander("What it looks at", icon=":material/visibility:", key="looks_at", on_change="rerun") as looks_at:
    if looks_at.open:
        show_looks_at(network, criterion, k)
with st.expander("Which layer matters", icon=":material/layers:", key="layers", on_change="rerun") as layers:
    if layers.open:
        show_sensitivity(network, criterion)
