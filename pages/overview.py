"""What this is: the newest network under the slider, and the ways on."""

import streamlit as st

from core import runs
from core.errors import KnownError
from core.sweep import Criterion
from pages.shared import choice, frame, instrument, networks

STEPS = {
    "training": ("Train", "A network of 2.4 million weights that tells digits or clothes apart."),
    "pruning": ("Prune", "Histograms, every layer on its own, other criteria, and what is left."),
    "draw": ("Draw", "Your own digit, read by the dense and the pruned network side by side."),
    "comparison": ("Compare", "Any runs beside each other: curves, tables, figures and animations to take away."),
}


def show_newest(ids: list[str]) -> None:
    """The newest run that can be read, under the slider in its short form."""
    for run_id in ids:
        try:
            network = networks.load_run(runs.open_run(run_id))
            networks.test_split(network.config.dataset)
        except KnownError:
            continue
        criterion = Criterion("weight")
        config = network.config
        st.caption(
            f"**{config.spec.title}**: a network of {config.parameter_count:,} weights, trained here. Move the slider: "
            "the smallest weights go first."
        )
        instrument.show(network, criterion, view="short")
        frame.link_to("pruning", "Look closer: histograms, layers, whole units", {"run": choice.address_of(run_id)})
        return
    with st.container(border=True):
        st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
        frame.link_to("training", "Go to Training")


frame.page_title("Network pruning")
st.markdown("Train a very large neural network, then make it very small.")
show_newest(choice.complete_runs())
st.space("small")
for (page, (label, text)), column in zip(STEPS.items(), st.columns(len(STEPS)), strict=True):
    with column, st.container(border=True, height="stretch"):
        frame.link_to(page, f"**{label}**")
        st.caption(text)
