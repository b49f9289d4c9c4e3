"""One network under the slider for a projector: large numbers, nothing to explain. The address says which."""

import streamlit as st

from core import runs
from core.errors import KnownError, RunError
from core.state import kind_of
from pages.shared import choice, frame, in_view, instrument, networks

try:
    run_id = choice.run_in_view(choice.complete_runs())
    if run_id is None:
        raise RunError("This cache does not hold that run, or no complete run at all. Open the Pruning page.")
    criterion = in_view.criterion(in_view.chosen())
    network = networks.load_run(runs.open_run(run_id))
    networks.test_split(network.config.dataset)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"**{choice.label(network.config)}** · {criterion.method} pruning, {kind_of(criterion).words}")
        frame.link_to("pruning", "Back to Pruning", in_view.query())
    instrument.show(network, criterion, view="present")
except KnownError as error:
    frame.error_box(error, "This run cannot be shown")
    frame.link_to("pruning", "Go to Pruning")
