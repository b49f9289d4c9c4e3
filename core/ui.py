"""What the pages share: cached data, the choice of a run, and how failures are shown. Imports streamlit."""

import contextlib
import dataclasses
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitPageNotFoundError

from core import datasets, figures, jobs, runs
from core.config import TrainingConfig
from core.distributions import Distribution, distributions, layer_names
from core.errors import KnownError
from core.evaluation import Score
from core.files import cache_root
from core.pruning import Ranking
from core.sweep import STOPS, Order, is_planned_work_done, key_of, random_baseline

ASSETS = Path(__file__).parent.parent / "assets"
PLOTLY_PATH = "library/plotly.min.js"
ICONS = {
    "overview": ":material/home:",
    "training": ":material/model_training:",
    "pruning": ":material/content_cut:",
    "comparison": ":material/ssid_chart:",
}


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and its test score. `finished` tells it from a later one of the same name."""

    run: runs.Run
    finished: str
    config: TrainingConfig
    kernels: list[np.ndarray]
    activations: list[np.ndarray]
    dense: Score


@dataclass(frozen=True)
class RankedRun:
    """The order of pruning of one run, with all that the live slider needs to know beforehand.

    `histograms` is the figure of the dense network; `pruned` and `thresholds` have a row a sparsity of
    `core.sweep.STOPS` and a column a hidden layer.
    """

    ranking: Ranking
    distributions: list[Distribution]
    pruned: list[list[int]]
    thresholds: list[list[float | None]]
    histograms: dict


def load_run(run: runs.Run) -> LoadedRun:
    """A complete run, shared by all sessions until it is retrained.

    Raises:
        RunError: if its files are damaged.
    """
    result = run.result()
    if result is None:
        raise runs.RunError(f"Run {run.id} is no longer in the cache. Choose another run, or train it again.")
    return _load_run(run.root, run.id, result["finished"])


@st.cache_resource(max_entries=3, show_spinner="Reading the network…")
def _load_run(root: Path, run_id: str, finished: str) -> LoadedRun:
    run = runs.open_run(run_id, root)
    kernels = run.kernels()
    for kernel in kernels:
        kernel.setflags(write=False)
    result = run.result()
    dense = Score(result["test_accuracy"], result["test_loss"])
    return LoadedRun(run, finished, run.config(), kernels, run.activations(), dense)


def rank_run(network: LoadedRun, order: Order) -> RankedRun:
    """The network's weights or units in an order of pruning, shared by all sessions.

    Raises:
        RunError: if the order needs activations and the run's are damaged.
    """
    return _rank_run(network.run.root, network.run.id, network.finished, order, network)


@st.cache_resource(max_entries=4, show_spinner="Ranking…")
def _rank_run(root: Path, run_id: str, finished: str, order: Order, _network: LoadedRun) -> RankedRun:
    ranking = order.of(_network.kernels, _network.activations)
    layers = distributions(ranking)
    pruned = [ranking.pruned(k) for k in STOPS]
    thresholds = [[layer.threshold(count) for layer, count in zip(layers, counts, strict=True)] for counts in pruned]
    # The scores are in the distributions now, sorted; keeping them twice would be 10 MB a run.
    figure = figures.histograms(layers, layer_names(_network.kernels)[:-1], order).to_plotly_json()
    return RankedRun(dataclasses.replace(ranking, scores=[]), layers, pruned, thresholds, figure)


@dataclass(frozen=True)
class LiveScores:
    """What is known of an order so far: accuracy and loss by the key of k, and the figure of the curves."""

    known: dict[str, list[float]]
    curve: dict
    complete: bool


def live_scores(network: LoadedRun, order: Order) -> LiveScores:
    """The scores of a run, read again only when there are new ones."""
    run = network.run
    return _live_scores(run.root, run.id, network.finished, order, run.sweep_version())


@st.cache_resource(max_entries=8, show_spinner=False)
def _live_scores(root: Path, run_id: str, finished: str, order: Order, version: int) -> LiveScores:
    table = runs.open_run(run_id, root).sweep()
    return LiveScores(
        known={key_of(row.sparsity): [row.accuracy, row.loss] for row in order.select(table).itertuples()},
        curve=figures.live_curve(table, order, random_baseline(table, order.method)).to_plotly_json(),
        complete=is_planned_work_done(table),
    )


@st.cache_resource(max_entries=100, ttl=60, show_spinner=False)
def complete_scores(root: Path, run_id: str, finished: str) -> None:
    """Have what is missing of a run's curves scored in the background; asked once a minute, not once a rerun."""
    jobs.start_scoring(runs.open_run(run_id, root))


instrument = st.components.v2.component(
    "instrument",
    html=(ASSETS / "instrument.html").read_text(),
    css=(ASSETS / "instrument.css").read_text(),
    js=(ASSETS / "instrument.js").read_text(),
    # Plotly puts its own styles into the document.
    isolate_styles=False,
)


def plotly_address() -> str:
    """Where the app serves the Plotly library to the live slider; see `app.py`."""
    return f"/{st.get_option('server.baseUrlPath')}/{PLOTLY_PATH}".replace("//", "/")


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
    """The ids of all complete runs, newest first; one that is being retrained stays complete meanwhile."""
    table = runs.runs_table()
    return table.run[table.finished.notna()].tolist()


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
