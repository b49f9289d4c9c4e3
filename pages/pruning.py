"""Prune a trained network under a slider and see what is left."""

import dataclasses
import time

import numpy as np
import pandas as pd
import streamlit as st

from core.analysis import inspection
from core.analysis.distributions import layer_names
from core.charts import interactive
from core.config import K_VALUES
from core.errors import KnownError
from core.pruning import Sparsity
from core.sweep import Criterion
from pages.shared import choice, frame, in_view, instrument, models, networks, trained

DETAILS = ("classes", "looks_at", "models")
LAYER_KS = [*K_VALUES, 1.0]
LAYER_SECONDS = 1.0
LAYER_PAUSE = 0.2


def show_classes(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> None:
    """Which classes the pruned network loses, and what it takes images for instead."""
    spec = network.config.spec
    labels = networks.test_split(network.config.dataset).labels
    dense = networks.predicted(network, criterion.as_pruned, 0.0)
    pruned = networks.predicted(network, criterion, k)
    if pruned is None:
        say_not_there()
        return
    result = inspection.by_class(dense, pruned, labels, len(spec.classes))
    by_class, against_dense = st.columns([2, 3], gap="large")
    with by_class:
        st.markdown("**Accuracy per class**")
        table = result.classes.assign(
            name=list(spec.classes), change=100 * (result.classes.pruned - result.classes.dense)
        )
        st.dataframe(
            table.style.format(
                {"dense": "{:.2%}", "pruned": "{:.2%}", "change": lambda change: frame.signed(change, 2)}
            ),
            hide_index=True,
            height="content",
            column_order=["name", "images", "dense", "pruned", "change"],
            column_config={
                "name": "Class",
                "images": "Images",
                "dense": "Dense",
                "pruned": "Pruned",
                "change": "Points",
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


def say_not_there() -> None:
    st.caption("There is no such network at this sparsity yet.")


def show_looks_at(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> None:
    pruned = networks.network_at(network, criterion, k)
    if pruned is None:
        say_not_there()
        return
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


def show_sensitivity(network: networks.LoadedRun, criterion: Criterion, at_work: bool) -> None:
    """Accuracy with one layer pruned at a time: a minute of scoring, begun, stopped and gone on with by a button."""
    if bool(st.session_state.get("layers_at_work")) != at_work:
        st.rerun()
    own = Criterion(criterion.method, criterion.as_pruned.ranking)
    names = layer_names(network.kernels)[:-1]
    tables = networks.layer_scores(network, own)
    steps = [(layer, k) for k in LAYER_KS for layer in range(len(names))]
    missing = [step for step in steps if step not in tables]
    if missing:
        done = len(steps) - len(missing)
        seconds = np.mean([score["seconds"] for score in tables.values()]) * len(missing) if tables else None
        left = "" if seconds is None else f", about {seconds:,.0f} s left"
        st.progress(done / len(steps), f"{done} of {len(steps)} scored{left}")
        if at_work:
            st.button("Stop", icon=":material/stop:", on_click=set_layers_at_work, args=(False,), key="layers_stop")
        else:
            st.button(
                "Go on" if done else "Prune one layer at a time",
                type="primary",
                icon=":material/play_arrow:",
                on_click=set_layers_at_work,
                args=(True,),
                key="layers_start",
            )
    if tables:
        rows = [{"layer": layer, "sparsity": k, **score} for (layer, k), score in tables.items()]
        by_layer = dict(iter(pd.DataFrame(rows).sort_values("sparsity").groupby("layer")))
        st.plotly_chart(
            interactive.sensitivity({names[layer]: by_layer[layer] for layer in sorted(by_layer)}),
            key="sensitivity",
            config=interactive.CONFIG,
            alt="Test accuracy when a single layer is pruned",
        )
        st.caption("The curve that stays up longest belongs to the layer that can lose most.")
    if not missing:
        st.session_state.layers_at_work = False
    elif at_work:
        # A second a rerun, so that Stop is heard soon.
        test = networks.test_split(network.config.dataset)
        ranks = networks.rank_run(network, own).ranks
        until = time.monotonic() + LAYER_SECONDS
        for layer, k in missing:
            began = time.monotonic()
            score = inspection.prune_one_layer(network.network, ranks, layer, k, test.images, test.labels)
            tables[layer, k] = {**dataclasses.asdict(score), "seconds": time.monotonic() - began}
            if time.monotonic() > until:
                break


def set_layers_at_work(at_work: bool) -> None:
    st.session_state.layers_at_work = at_work


frame.page_title("Pruning")
with st.container(horizontal=True, vertical_alignment="bottom"):
    run = choice.choose_run()
    criterion = choice.choose_criterion()
    frame.link_to("present", "Present", in_view.query())

try:
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    if not trained.show(network, criterion):
        st.stop()
    instrument.show(network, criterion, details=DETAILS)
except KnownError as error:
    frame.error_box(error, "This run cannot be pruned")
    frame.link_to("training", "Go to Training to retrain or delete it")
    st.stop()

st.space("small")
k = instrument.address_k(network, criterion)
trained.link_to_own_page(network, criterion, k)
with st.expander("Class by class", icon=":material/category:", key="classes", on_change="rerun") as classes:
    if classes.open:
        show_classes(network, criterion, k)
with st.expander("What it looks at", icon=":material/visibility:", key="looks_at", on_change="rerun") as looks_at:
    if looks_at.open:
        show_looks_at(network, criterion, k)
with st.expander("Which layer matters", icon=":material/layers:", key="layers", on_change="rerun") as layers:
    if layers.open:
        at_work = bool(st.session_state.get("layers_at_work"))
        st.fragment(show_sensitivity, run_every=LAYER_PAUSE if at_work else None)(network, criterion, at_work)
with st.expander("Download the small model", icon=":material/download:", key="models", on_change="rerun") as small:
    if small.open:
        models.show(network, criterion, k)
