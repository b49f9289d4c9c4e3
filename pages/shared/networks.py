"""Trained networks and their scores as the pages need them, loaded once and shared by all sessions."""

import dataclasses
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from core import datasets, jobs, limits, log, runs, scoring
from core.analysis.distributions import Distribution, counts_within, distributions, layer_names, thresholds_at
from core.charts import live
from core.config import Config
from core.errors import DatasetError, KnownError, RunError
from core.evaluation import Examination, Score, examine
from core.network import Network
from core.pruning import AnySparsity, Ranks, Sparsity
from core.settings import ASSETS, cache_root
from core.state import State, fine_tuned_by, kind_of, state_of
from core.sweep import STOPS, Criterion, random_baseline

REACH = {"weight": 4.0, "unit": 2.25}
"""How far the histograms of repaired and fine-tuned networks go, in largest dense values."""
REQUEST_SECONDS = 10
"""Between two times that the same is asked to be scored: a process that was at it may have ended."""
CHILDREN_SECONDS = 2
"""How long what was found among all runs is taken for true."""


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and its test score. `version` is that of `core.runs.Run.version`."""

    run: runs.Run
    version: str
    config: Config
    network: Network
    activations: list[np.ndarray]
    dense: Score

    @property
    def kernels(self) -> list[np.ndarray]:
        """Its matrices."""
        return self.network.matrices


@dataclass(frozen=True)
class RankedRun:
    """What is pruned first in one run, with all that the live slider needs to know beforehand.

    `histograms` is the figure of the dense network; `taken`, `zeroed` (see `core.pruning.Ranks`) and `thresholds` have
    a row a sparsity of `core.sweep.STOPS` and a column a hidden layer. Of a repaired or fine-tuned
    network the order is that of magnitude.
    """

    ranks: Ranks
    distributions: list[Distribution]
    taken: list[list[int]]
    zeroed: list[list[int]]
    thresholds: list[list[float | None]]
    histograms: dict

    def thresholds_at(self, taken: list[int]) -> list[float | None]:
        """The smallest value that survives in each hidden layer."""
        return thresholds_at(self.distributions, taken)


def is_scored(run: runs.Run) -> bool:
    """Whether everything that the live slider uses of a run is scored."""
    return _is_scored(run.root, run.id, run.version(), run.sweep_version())


@st.cache_data(max_entries=1000, show_spinner=False)
def _is_scored(root: Path, run_id: str, version: str, sweep_version: int) -> bool:
    try:
        return not scoring.unscored_of(runs.open_run(run_id, root), scoring.fine_curve(), with_predictions=True)
    except KnownError:
        return False


def load_run(run: runs.Run) -> LoadedRun:
    """A complete run, shared by all sessions until it is retrained.

    Raises:
        KnownError: if its files are damaged, or it is too large for this server.
    """
    version = run.ended_with().finished
    limits.check_size(run.layers().weights, "opened")
    return _load_run(run.root, run.id, version)


@st.cache_resource(max_entries=3, show_spinner="Reading the network…")
def _load_run(root: Path, run_id: str, version: str) -> LoadedRun:
    run = runs.open_run(run_id, root)
    network = run.network()
    for array in network.arrays.values():
        array.setflags(write=False)
    result = run.ended_with()
    dense = Score(result.test_accuracy, result.test_loss)
    return LoadedRun(run, version, run.config(), network, run.activations(), dense)


def rank_run(network: LoadedRun, criterion: Criterion) -> RankedRun:
    """The network's weights or units ranked by a criterion, shared by all sessions.

    Raises:
        RunError: if the criterion needs activations and the run's are damaged.
    """
    return _rank_run(network.run.root, network.run.id, network.version, criterion, network)


@st.cache_resource(max_entries=4, show_spinner="Ranking…")
def _rank_run(root: Path, run_id: str, version: str, criterion: Criterion, _network: LoadedRun) -> RankedRun:
    ranks = criterion.as_pruned.rank(_network.network, _network.activations)
    layers = distributions(ranks, 1.0 if kind_of(criterion).is_instant else REACH[criterion.method])
    taken = [ranks.taken(k) for k in STOPS]
    zeroed = [ranks.zeroed(_network.kernels, k) for k in STOPS]
    thresholds = [thresholds_at(layers, counts) for counts in taken]
    # The scores are in the distributions now, sorted; keeping them twice would be 10 MB a run.
    figure = live.histograms(layers, layer_names(_network.kernels)[:-1], criterion).to_plotly_json()
    return RankedRun(dataclasses.replace(ranks, scores=[]), layers, taken, zeroed, thresholds, figure)


@dataclass(frozen=True)
class LiveScores:
    """What is known of a criterion so far.

    `known` holds accuracy and loss by k, `beside` the accuracy in the other state by k, `curve` the figure of the
    curves, `cost` what winning back took (images, epochs, seconds) by k; `done` of `total` scores are there of all that
    the live slider uses: of this criterion and of the others, or of the repaired networks.
    """

    known: dict[float, list[float]]
    beside: dict[float, float]
    cost: dict[float, tuple[int, int, float]]
    curve: dict
    done: int
    total: int

    @property
    def complete(self) -> bool:
        return self.done == self.total

    def furthest(self, accuracy: float) -> float:
        """The largest k that keeps at least this accuracy; 0 if none is known."""
        return max((k for k, (reached, _) in self.known.items() if reached >= accuracy), default=0.0)


def state(network: LoadedRun, criterion: Criterion) -> State:
    """The networks by a criterion; what was found among all runs is taken for true for a while."""
    return _state(network.run.root, network.run.id, network.version, criterion)


@st.cache_resource(ttl=CHILDREN_SECONDS, max_entries=20, show_spinner=False)
def _state(root: Path, run_id: str, version: str, criterion: Criterion) -> State:
    return state_of(runs.open_run(run_id, root), criterion)


def look_again() -> None:
    """Forget what was found among all runs: a training has just ended."""
    _state.clear()


def live_scores(network: LoadedRun, criterion: Criterion) -> LiveScores:
    """The scores of a run, read again only when there are new ones."""
    run, scores = network.run, state(network, fine_tuned_by(criterion.method)).scores_version()
    return _live_scores(run.root, run.id, network.version, criterion, scores, network)


@st.cache_resource(max_entries=8, show_spinner=False)
def _live_scores(
    root: Path, run_id: str, version: str, criterion: Criterion, scores_version: str, _network: LoadedRun
) -> LiveScores:
    table = scoring.known_of(_network.run)
    shown, trained = state(_network, criterion), state(_network, fine_tuned_by(criterion.method)).scores()
    rows, wanted = [*shown.scores().itertuples()], shown.wanted(criterion)
    total = scoring.count(scoring.unscored(pd.DataFrame(), wanted))
    missing = scoring.count(scoring.unscored_of(_network.run, wanted, with_predictions=shown.is_instant))
    return LiveScores(
        known={row.sparsity: [row.accuracy, row.loss] for row in rows},
        beside={row.sparsity: row.accuracy for row in criterion.beside.select(table).itertuples()},
        cost={row.sparsity: (row.images, row.epochs, row.seconds) for row in rows if row.images},
        curve=live.live_curve(table, criterion, random_baseline(table, criterion.method), trained).to_plotly_json(),
        done=total - missing,
        total=total,
    )


def known_stops(network: LoadedRun, criterion: Criterion) -> tuple[list[str], str]:
    """The keys of the slider's positions whose predictions are known, which the browser asks for itself, and what
    changes whenever one of them does. That is not all of the run: scores of other criteria come and go."""
    run, shown = network.run, state(network, criterion)
    return _known_stops(run.root, run.id, network.version, criterion, shown.scores_version(), shown)


@st.cache_resource(max_entries=8, show_spinner=False)
def _known_stops(
    root: Path, run_id: str, version: str, criterion: Criterion, scores_version: str, _shown: State
) -> tuple[list[str], str]:
    keys = [*_shown.at_stops()]
    return keys, f"{zlib.crc32(','.join(f'{key} {_shown.version(float(key))}' for key in keys).encode()):x}"


def kept_layers(network: LoadedRun, criterion: Criterion) -> dict[float, dict] | None:
    """What is left in each hidden layer of the repaired or fine-tuned networks, by k; None as pruned.

    `zeroed` says how many weights are zero, `bars` is the histogram of the weights, or units, that are left; one each a
    hidden layer.
    """
    run, shown = network.run, state(network, criterion)
    if shown.is_instant:
        return None
    versions = {k: shown.version(k) for k in live_scores(network, criterion).known}
    found = {
        k: _kept_layers(run.root, run.id, version, criterion, k, network)
        for k, version in versions.items()
        if version is not None
    }
    return {k: layers for k, layers in found.items() if layers is not None}


@st.cache_resource(max_entries=400, show_spinner="Reading the networks…")
def _kept_layers(
    root: Path, run_id: str, version: str, criterion: Criterion, k: float, _network: LoadedRun
) -> dict | None:
    try:
        kept = network_at(_network, criterion, k)
    except RunError:
        return None  # said where it is looked at; the other ones are whole
    if kept is None:
        return None
    ranked = rank_run(_network, criterion)
    bars = counts_within(kept.matrices, criterion.method, ranked.distributions)
    return {
        "zeroed": [kernel.size - int(np.count_nonzero(kernel)) for kernel in kept.matrices[:-1]],
        "bars": [left.tolist() for left in bars],
    }


def network_at(network: LoadedRun, criterion: Criterion, k: AnySparsity) -> Network | None:
    """The network that is looked at; None if it is not repaired, or fine-tuned, at this k.

    Raises:
        RunError: if its file is damaged.
    """
    # That there is no such network must not be remembered.
    version = state(network, criterion).version(k)
    return version and _network_at(network.run.root, network.run.id, version, criterion, Sparsity.of(k), network)


@st.cache_resource(max_entries=2, show_spinner=False)
def _network_at(
    root: Path, run_id: str, version: str, criterion: Criterion, k: Sparsity, _network: LoadedRun
) -> Network | None:
    def prune(k: Sparsity) -> Network:
        return rank_run(_network, criterion).ranks.prune(_network.network, k)

    return state(_network, criterion).network(k, prune)


def predicted(network: LoadedRun, criterion: Criterion, k: AnySparsity) -> np.ndarray | None:
    """The predicted class of every test image; None if the network is not repaired, or fine-tuned, at this k."""
    shown = state(network, criterion)
    if shown.is_instant:
        return examined(network, criterion, k).predictions
    return shown.predictions().get(str(Sparsity.of(k)))


def examined(network: LoadedRun, criterion: Criterion, k: AnySparsity) -> Examination:
    """The network really pruned at any k, and scored on the full test set; shared by all sessions."""
    return _examined(network.run.root, network.run.id, network.version, criterion, Sparsity.of(k), network)


@st.cache_resource(max_entries=300, show_spinner=False)
def _examined(
    root: Path, run_id: str, version: str, criterion: Criterion, k: Sparsity, _network: LoadedRun
) -> Examination:
    test = test_split(_network.config.dataset)
    return examine(rank_run(_network, criterion).ranks.prune(_network.network, k), test.images, test.labels)


def layer_scores(network: LoadedRun, criterion: Criterion) -> dict[tuple[int, float], dict[str, float]]:
    """The scores with one layer pruned that are known so far, by layer and k; shared by all sessions, and added to."""
    return _layer_scores(network.run.root, network.run.id, network.version, criterion)


@st.cache_resource(max_entries=20, show_spinner=False)
def _layer_scores(root: Path, run_id: str, version: str, criterion: Criterion) -> dict:
    return {}


@st.cache_resource(max_entries=100, ttl=REQUEST_SECONDS, show_spinner=False)
def request_scores(root: Path, run_id: str, version: str, wanted: Sequence) -> str | None:
    """Have scores of a run scored in the background; asked now and then, not once a rerun.

    Args:
        wanted: as `core.scoring.Wanted`, the most urgent first.

    Returns:
        Why that cannot be, if it cannot.
    """
    try:
        jobs.start_scoring(runs.open_run(run_id, root), wanted)
    except KnownError as error:
        log.failure(error)
        return str(error)
    return None


def fetch(name: str) -> Future:
    """Get a dataset ready in the background; the same attempt for all sessions, and after a minute another one.

    Returns:
        What raises the `KnownError` that says why it cannot be had.
    """
    return _fetch(name, cache_root())


@st.cache_resource(max_entries=10, ttl=60, show_spinner=False)
def _fetch(name: str, root: Path) -> Future:
    executor = ThreadPoolExecutor(1)
    attempt = executor.submit(jobs.prepare_dataset, name, root)
    # Its thread ends with the attempt; nobody waits for it here.
    executor.shutdown(wait=False)
    return attempt


@st.cache_resource(max_entries=3, show_spinner="Reading the test images…")
def test_split(name: str) -> datasets.Split:
    """The test images and labels of a dataset, shared by all sessions.

    Raises:
        KnownError: if the dataset cannot be had.
    """
    try:
        return _decoded(name)
    except DatasetError:
        # Images that were damaged are gone by now.
        return _decoded(name)


def _decoded(name: str) -> datasets.Split:
    if not datasets.is_cached(name):
        jobs.prepare_dataset(name, cache_root())
    return datasets.load_dataset(name).test


@st.cache_data(max_entries=4)
def published(dataset: str) -> pd.DataFrame | None:
    """The published table of a dataset (columns sparsity, accuracy_weight, …), or None if there is none."""
    path = ASSETS / f"published-{dataset}.csv"
    return pd.read_csv(path) if path.exists() else None
