"""One network under the slider for a projector: large numbers, nothing to explain. The address says which."""

import streamlit as st

from core.errors import KnownError
from pages.shared import choice, frame, instrument, networks

try:
    run, criterion = choice.named_in_address()
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        state = choice.state_name(criterion)
        st.markdown(f"**{choice.label(network.config)}** · {criterion.method} pruning, {state}")
        frame.link_to("pruning", "Back to Pruning", dict(st.query_params.to_dict()))
    instrument.show(network, criterion, view="present")
except KnownError as error:
    frame.error_box(error, "This run cannot be shown")
    frame.link_to("pruning", "Go to Pruning")
