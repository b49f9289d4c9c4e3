"""What this is: the network in view under the slider, and the ways on."""

import streamlit as st

from core import runs
from core.errors import KnownError
from core.state import kind_of
from pages.shared import choice, frame, in_view, instrument, networks

STEPS = {
    "training": ("Train", "A network of 2.4 million weights that tells digits or clothes apart."),
    "pruning": ("Prune", "Histograms, every layer on its own, other criteria, and what is left."),
    "draw": ("Draw", "Your own digit, read by the dense and the pruned network side by side."),
    "comparison": ("Compare", "Any runs beside each other: curves, tables, figures and animations to take away."),
}


def show(run: runs.Run) -> None:
    """A run under the slider in its short form.

    Raises:
        KnownError: if it cannot be read.
    """
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    in_view.look_at(run)
    criterion = in_view.criterion(in_view.chosen())
    if len(networks.state(network, criterion).stops) < 2:
        criterion = criterion.as_pruned
    config, first = network.config, "weights" if criterion.method == "weight" else "units"
    state = "" if kind_of(criterion).is_instant else f"; {kind_of(criterion).words}"
    st.caption(
        f"**{frame.plain(choice.run_labels([run.id])[run.id])}**: a network of {run.layers().weights:,} weights, "
        f"trained here on {config.spec.title}. Move the slider: the smallest {first} go first{state}."
    )
    instrument.show(network, criterion, view="short")
    frame.link_to("pruning", "Look closer: histograms, layers, whole units", in_view.query())


def show_network(ids: list[str]) -> None:
    """The network in view. Only where the address names none, another takes the place of one that cannot be read."""
    is_named = bool(st.query_params.get("run"))
    wanted = choice.run_in_view(ids)
    for run_id in filter(None, [wanted] if is_named else [wanted, *ids]):
        try:
            show(runs.open_run(run_id))
        except KnownError as error:
            if is_named:
                frame.error_box(error, "This run cannot be shown")
                return
            continue
        return
    if not is_named:
        with st.container(border=True):
            st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
            frame.link_to("training", "Go to Training")


frame.page_title("Network pruning")
st.markdown("Train a very large neural network, then make it very small.")
show_network(choice.complete_runs())
st.space("small")
for (page, (label, text)), column in zip(STEPS.items(), st.columns(len(STEPS)), strict=True):
    with column, st.container(border=True, height="stretch"):
        frame.link_to(page, f"**{label}**", in_view.query() if page in ("pruning", "draw") else None)
        st.caption(text)
