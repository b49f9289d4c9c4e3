"""What the pages share: cached data, the choice of a run, and how failures are shown. Imports streamlit."""

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitPageNotFoundError

from core import datasets, jobs, runs
from core.config import TrainingConfig
from core.distributions import Distribution, distributions
from core.errors import KnownError
from core.files import cache_root
from core.pruning import METHODS, rank

ASSETS = Path(__file__).parent.parent / "assets"
ICONS = {
    "overview": ":material/home:",
    "training": ":material/model_training:",
    "pruning": ":material/content_cut:",
    "comparison": ":material/ssid_chart:",
}


@dataclass(frozen=True)
class LoadedRun:
    """A trained network with everything about it that does not depend on the sparsity."""

    config: TrainingConfig
    kernels: list[np.ndarray]
    ranks: dict[str, list[np.ndarray]]
    distributions: dict[str, list[Distribution]]


def load_run(run: runs.Run) -> LoadedRun:
    """A complete run, shared by all sessions until it is retrained.

    Raises:
        RunError: if its files are damaged.
    """
    return _load_run(run.root, run.id, run.result()["finished"])


@st.cache_resource(max_entries=4, show_spinner="Reading the network…")
def _load_run(root: Path, run_id: str, finished: str) -> LoadedRun:
    run = runs.open_run(run_id, root)
    kernels = run.kernels()
    for kernel in kernels:
        kernel.setflags(write=False)
    return LoadedRun(
        run.config(),
        kernels,
        {method: rank(kernels, method) for method in METHODS},
        {method: distributions(kernels, method) for method in METHODS},
    )


@st.cache_resource(max_entries=3, show_spinner="Reading the test images…")
def test_split(name: str) -> datasets.Split:
    """The test images and labels of a dataset, shared by all sessions.

    Raises:
        KnownError: if the dataset cannot be had.
    """
    if not datasets.is_cached(name):
        jobs.prepare_dataset(name, cache_root())
    return datasets.load_dataset(name).test


@st.cache_data(max_entries=4)
def published(dataset: str) -> pd.DataFrame | None:
    """The published table of a dataset (columns sparsity, accuracy_weight, …), or None if there is none."""
    path = ASSETS / f"published-{dataset}.csv"
    return pd.read_csv(path) if path.exists() else None


def complete_runs() -> list[str]:
    """The ids of all complete runs, newest first."""
    table = runs.runs_table()
    return table.run[table.status == "complete"].tolist()


def choose_run() -> runs.Run:
    """A select box of the complete runs; stops the page with advice if there is none.

    The address is the truth and always names the run, the newest one included: tomorrow another one
    may be the newest.
    """
    ids = complete_runs()
    if not ids:
        with st.container(border=True):
            st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
            link_to("training", "Go to Training")
        st.stop()
    wanted = st.query_params.get("run")
    if wanted not in ids:
        if wanted:
            st.warning(f"This cache holds no complete run named {wanted}. Showing {ids[0]} instead.")
        st.query_params["run"] = wanted = ids[0]
    st.session_state.run = wanted
    st.selectbox("Run", ids, key="run", on_change=_name_run_in_address, help="A trained network in the cache.")
    return runs.open_run(wanted)


def _name_run_in_address() -> None:
    st.query_params["run"] = st.session_state.run


def link_to(page: str, label: str) -> None:
    """A link to another page of the app, with that page's icon."""
    try:
        st.page_link(f"{page}.py", label=label, icon=ICONS[page])
    except StreamlitPageNotFoundError:
        # A page that runs on its own, without the menu, knows no other pages.
        st.markdown(f"[{label}]({page})")


@contextlib.contextmanager
def known_errors() -> Iterator[None]:
    """Show a known failure as a sentence in a box, and go on after it."""
    try:
        yield
    except KnownError as error:
        st.error(str(error), icon=":material/error:")


def show_bug(error: Exception) -> bool:
    """Show an unforeseen failure without its traceback, which goes to the server's log."""
    traceback.print_exception(error)
    st.error(
        f"{type(error).__name__}: {error}",
        title="Something went wrong that was not foreseen",
        icon=":material/bug_report:",
    )
    st.caption("Nothing in the cache was changed by this. Reload the page; the server's log has the details.")
    return True
