"""Trained networks and their scores as the pages need them, loaded once and shared by all sessions."""

import contextlib
import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from core import datasets, jobs, runs, scoring
from core.analysis import wall
from core.analysis.distributions import Distribution, distributions, layer_names, thresholds_at
from core.charts import live
from core.config import TrainingConfig
from core.errors import KnownError, RunError
from core.evaluation import Examination, Score, examine
from core.pruning import Ranks, Sparsity
from core.settings import ASSETS, cache_root
from core.sweep import STOPS, Criterion, key_of, parse_key, random_baseline


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and its test score. `identity` is that of `core.runs.Run.identity`."""

    run: runs.Run
    identity: str
    config: TrainingConfig
    kernels: list[np.ndarray]
    activations: list[np.ndarray]
    dense: Score


@dataclass(frozen=True)
class RankedRun:
    """What is pruned first in one run, with all that the live slider needs to know beforehand.

    `histograms` is the figure of the dense network; `pruned` and `thresholds` have a row a sparsity of
    `core.sweep.STOPS` and a column a hidden layer.
    """

    ranks: Ranks
    distributions: list[Distribution]
    pruned: list[list[int]]
    thresholds: list[list[float | None]]
    histograms: dict

    def thresholds_at(self, pruned: list[int]) -> list[float | None]:
        """The smallest value that survives in each hidden layer."""
        return thresholds_at(self.distributions, pruned)


def load_run(run: runs.Run) -> LoadedRun:
    """A complete run, shared by all sessions until it is retrained.

    Raises:
        RunError: if its files are damaged.
    """
    identity = run.identity()
    if identity is None:
        raise RunError(f"Run {run.id} is no longer in the cache. Choose another run, or train it again.")
    return _load_run(run.root, run.id, identity)


@st.cache_resource(max_entries=3, show_spinner="Reading the network…")
def _load_run(root: Path, run_id: str, identity: str) -> LoadedRun:
    run = runs.open_run(run_id, root)
    kernels = run.kernels()
    for kernel in kernels:
        kernel.setflags(write=False)
    result = run.result()
    dense = Score(result.test_accuracy, result.test_loss)
    return LoadedRun(run, identity, run.config(), kernels, run.activations(), dense)


def rank_run(network: LoadedRun, criterion: Criterion) -> RankedRun:
    """The network's weights or units ranked by a criterion, shared by all sessions.

    Raises:
        RunError: if the criterion needs activations and the run's are damaged.
    """
    return _rank_run(network.run.root, network.run.id, network.identity, criterion, network)


@st.cache_resource(max_entries=4, show_spinner="Ranking…")
def _rank_run(root: Path, run_id: str, identity: str, criterion: Criterion, _network: LoadedRun) -> RankedRun:
    ranks = criterion.rank(_network.kernels, _network.activations)
    layers = distributions(ranks)
    pruned = [ranks.pruned(k) for k in STOPS]
    thresholds = [thresholds_at(layers, counts) for counts in pruned]
    # The scores are in the distributions now, sorted; keeping them twice would be 10 MB a run.
    figure = live.histograms(layers, layer_names(_network.kernels)[:-1], criterion).to_plotly_json()
    return RankedRun(dataclasses.replace(ranks, scores=[]), layers, pruned, thresholds, figure)


@dataclass(frozen=True)
class LiveScores:
    """What is known of a criterion so far.

    `known` holds accuracy and loss by the key of k, `curve` the figure of the curves; `done` of `total` scores are
    there of all that the live slider uses, of this criterion and of the others.
    """

    known: dict[str, list[float]]
    curve: dict
    done: int
    total: int

    @property
    def complete(self) -> bool:
        return self.done == self.total

    def furthest(self, accuracy: float) -> float:
        """The largest k that keeps at least this accuracy; 0 if none is known."""
        return max((float(key) for key, (reached, _) in self.known.items() if reached >= accuracy), default=0.0)


def live_scores(network: LoadedRun, criterion: Criterion) -> LiveScores:
    """The scores of a run, read again only when there are new ones."""
    run = network.run
    return _live_scores(run.root, run.id, network.identity, criterion, run.sweep_version())


@st.cache_resource(max_entries=8, show_spinner=False)
def _live_scores(root: Path, run_id: str, identity: str, criterion: Criterion, version: int) -> LiveScores:
    run = runs.open_run(run_id, root)
    table = run.sweep()
    wanted = scoring.fine_curve()
    total, missing = (
        scoring.count(scoring.unscored(pd.DataFrame(), wanted)),
        scoring.count(scoring.unscored_of(run, wanted, True)),
    )
    return LiveScores(
        known={key_of(row.sparsity): [row.accuracy, row.loss] for row in criterion.select(table).itertuples()},
        curve=live.live_curve(table, criterion, random_baseline(table, criterion.method)).to_plotly_json(),
        done=total - missing,
        total=total,
    )


def known_stops(network: LoadedRun, criterion: Criterion) -> list[str]:
    """The keys of the slider's positions whose predictions are known, which the browser asks for itself."""
    run = network.run
    return _known_stops(run.root, run.id, network.identity, criterion, run.sweep_version())


@st.cache_resource(max_entries=8, show_spinner=False)
def _known_stops(root: Path, run_id: str, identity: str, criterion: Criterion, version: int) -> list[str]:
    return [key_of(k) for k in wall.known_stops(runs.open_run(run_id, root).predictions(), criterion)]


def examined(network: LoadedRun, criterion: Criterion, k: Sparsity) -> Examination:
    """The network really pruned at any k, and scored on the full test set; shared by all sessions."""
    return _examined(network.run.root, network.run.id, network.identity, criterion, key_of(k), network)


@st.cache_resource(max_entries=300, show_spinner=False)
def _examined(
    root: Path, run_id: str, identity: str, criterion: Criterion, key: str, _network: LoadedRun
) -> Examination:
    test = test_split(_network.config.dataset)
    k = parse_key(key, len(_network.kernels) - 1)
    return examine(rank_run(_network, criterion).ranks.prune(_network.kernels, k), test.images, test.labels)


def layer_scores(network: LoadedRun, criterion: Criterion) -> dict[tuple[int, float], dict[str, float]]:
    """The scores with one layer pruned that are known so far, by layer and k; shared by all sessions, and added to."""
    return _layer_scores(network.run.root, network.run.id, network.identity, criterion)


@st.cache_resource(max_entries=20, show_spinner=False)
def _layer_scores(root: Path, run_id: str, identity: str, criterion: Criterion) -> dict:
    return {}


@st.cache_resource(max_entries=100, ttl=60, show_spinner=False)
def request_scores(root: Path, run_id: str, identity: str, *flags: str) -> None:
    """Have what is missing of a run's scores scored in the background; asked once a minute, not once a rerun."""
    jobs.start_scoring(runs.open_run(run_id, root), *flags)


def complete_baselines(ids: list[str], sparsities: list[float]) -> list[str]:
    """Have random pruning of some complete runs scored in the background, one run after the other.

    Returns:
        The ids of those that it is still missing of.
    """
    lacking = {}
    for run in map(runs.open_run, ids):
        # One that is damaged or deleted is told of where it is shown.
        with contextlib.suppress(KnownError):
            identity = run.identity()
            if identity and scoring.unscored(run.sweep(), scoring.baseline(sparsities)):
                lacking[run.id] = run, identity
    if not any(run.is_busy("curve") for run, _ in lacking.values()):
        for run, identity in list(lacking.values())[:1]:
            request_scores(run.root, run.id, identity, "--baseline", f"--k_vals={','.join(map(str, sparsities))}")
    return list(lacking)


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
    if not datasets.is_cached(name):
        jobs.prepare_dataset(name, cache_root())
    return datasets.load_dataset(name).test


@st.cache_data(max_entries=4)
def published(dataset: str) -> pd.DataFrame | None:
    """The published table of a dataset (columns sparsity, accuracy_weight, …), or None if there is none."""
    path = ASSETS / f"published-{dataset}.csv"
    return pd.read_csv(path) if path.exists() else None
