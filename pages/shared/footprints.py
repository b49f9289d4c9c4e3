"""What networks take, as the page of size and speed needs it: at the slider's k, against k, and how fast they were."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from core import runs, scoring
from core.analysis import footprint, latency
from core.kernels import Difference, compact, difference
from core.kernels.number_formats import whole
from core.pruning import AnySparsity, Sparsity
from core.sweep import STOPS, Criterion
from pages.shared import networks

CURVE_STOPS = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
"""Where the curves have their points: whole networks are written and scored, so there are few."""


@dataclass(frozen=True)
class Footprint:
    """What one network takes.

    Attributes:
        difference: of the compacted network from the pruned one on all test images.
        operations: see `core.analysis.footprint.operations`.
        files: see `core.analysis.footprint.files`, of the networks "dense", "pruned" and "compacted", with columns
            network, smaller and smaller_compressed (how many times smaller than the dense network in float32, and that
            one compressed).
    """

    difference: Difference
    operations: pd.DataFrame
    files: pd.DataFrame


def footprint_at(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> Footprint | None:
    """What the network at this k takes; None if it is not repaired, or fine-tuned, there.

    Raises:
        RunError: if its file is damaged.
    """
    pruned = networks.state(network, criterion).version(k)
    return pruned and _footprint(network.run.root, network.run.id, network.version, pruned, criterion, k, network)


@st.cache_resource(max_entries=100, show_spinner="Writing every file, and reading it again…")
def _footprint(
    root: Path,
    run_id: str,
    version: str,
    pruned_version: str,
    criterion: Criterion,
    k: Sparsity,
    _network: networks.LoadedRun,
) -> Footprint | None:
    pruned = networks.network_at(_network, criterion, k)
    if pruned is None:
        return None
    test = networks.test_split(_network.config.dataset)
    tiny = compact(pruned)
    parts = [_dense_files(root, run_id, version, _network)]
    for name, form in (("pruned", whole(pruned)), ("compacted", tiny)):
        parts.append(pd.DataFrame(footprint.files(form, test.images, test.labels)).assign(network=name))
    files = pd.concat(parts, ignore_index=True)
    dense = files.iloc[0]
    return Footprint(
        difference(pruned, tiny, test.images),
        footprint.operations(_network.network, pruned, tiny),
        files.assign(smaller=dense.bytes / files.bytes, smaller_compressed=dense.compressed / files.compressed),
    )


@st.cache_resource(max_entries=10, show_spinner="Writing every file, and reading it again…")
def _dense_files(root: Path, run_id: str, version: str, _network: networks.LoadedRun) -> pd.DataFrame:
    test = networks.test_split(_network.config.dataset)
    return pd.DataFrame(footprint.files(whole(_network.network), test.images, test.labels)).assign(network="dense")


Points = dict[float, tuple[str | None, list[dict]]]
"""Points of the curves by k: what tells the network from another one, and rows with the columns of
`core.analysis.footprint.files`, and multiply_adds, nonzero and exact (whether the compacted network is the pruned one
but for rounding); none where there is no network."""


def curve(network: networks.LoadedRun, criterion: Criterion) -> Points:
    """The points of the curves that are known so far; shared by all sessions, and added to by `grow`."""
    return _curve(network.run.root, network.run.id, network.version, criterion)


@st.cache_resource(max_entries=20, show_spinner=False)
def _curve(root: Path, run_id: str, version: str, criterion: Criterion) -> Points:
    return {}


def table_of(points: Points) -> pd.DataFrame:
    """All points that there are, by k."""
    return pd.DataFrame([{"k": k, **row} for k, (_, rows) in sorted(points.items()) for row in rows])


def missing(network: networks.LoadedRun, criterion: Criterion) -> list[float]:
    """Where the curves have no point yet, or that of an earlier network, in an order in which they take shape early."""
    known, shown = curve(network, criterion), networks.state(network, criterion)
    ks = [k for k in CURVE_STOPS if k in shown.stops] if shown.is_at_any_k else shown.stops
    early = dict.fromkeys([*ks[::4], *ks[::2], *ks])
    return [k for k in early if k not in known or known[k][0] != shown.version(k)]


def grow(network: networks.LoadedRun, criterion: Criterion) -> None:
    """Add one point to the curves, which takes up to some seconds.

    Raises:
        RunError: if a network cannot be read.
    """
    points = curve(network, criterion)
    for k in missing(network, criterion)[:1]:
        version = networks.state(network, criterion).version(k)
        # One that cannot be read is left out, so that the others come.
        points[k] = version, []
        points[k] = version, _point(network, criterion, k)


def _point(network: networks.LoadedRun, criterion: Criterion, k: float) -> list[dict]:
    pruned = networks.network_at(network, criterion, k)
    if pruned is None:
        return []
    test = networks.test_split(network.config.dataset)
    tiny = compact(pruned)
    counted = {
        "multiply_adds": tiny.multiply_adds,
        "nonzero": tiny.parameters,
        "exact": difference(pruned, tiny, test.images).is_rounding,
    }
    return [row | counted for row in footprint.files(tiny, test.images, test.labels)]


def speed_at(network: networks.LoadedRun, criterion: Criterion, k: AnySparsity) -> dict | None:
    """How fast the network at this k was when it was measured; None if it was not, or was another one then."""
    record = network.run.speed(criterion.key(k))
    return record if record and record.get("source") == networks.state(network, criterion).version(k) else None


def multiply_adds(run: runs.Run, table: pd.DataFrame) -> pd.Series:
    """See `core.analysis.footprint.multiply_adds`; what an earlier version did not count is counted once."""
    return _multiply_adds(run.root, run.id, run.version(), run.sweep_version(), tuple(table.index), table)


@st.cache_data(max_entries=50, show_spinner="Counting multiply-adds…")
def _multiply_adds(
    root: Path, run_id: str, version: str, sweep_version: int, rows: tuple, _table: pd.DataFrame
) -> pd.Series:
    return footprint.multiply_adds(runs.open_run(run_id, root), _table)


def faster(run: runs.Run, table: pd.DataFrame) -> pd.Series:
    """How many times as fast as dense each row of a sweep was, where it was measured."""
    if not run.speed_version():
        return pd.Series(np.nan, table.index)
    return pd.Series([latency.fastest(run.speed(key)) for key in scoring.keys_of(table)], table.index)


def speeds(network: networks.LoadedRun, criterion: Criterion) -> pd.DataFrame:
    """All that was measured of the networks at the slider's positions: see `core.analysis.latency.measure`, with k."""
    run, parts = network.run, []
    ks = sorted({*STOPS, *networks.state(network, criterion).stops})
    for k in ks if run.speed_version() else ():
        record = speed_at(network, criterion, k)
        if record:
            parts.append(pd.DataFrame(record["rows"]).assign(k=k))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
