"""How long a network takes for one image and for many: warm, in turn with the others, so that ratios are fair."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from core.kernels import Compacted, compact
from core.network import Kernels, Network, prepared

IMAGES = 10_000
"""How many images throughput is measured with; where a dataset has fewer, they come round again."""
BATCH = 1_000
ROUNDS = 5
"""How often one image is timed for each variant, in turn, before each batch."""
_LEAST_SECONDS = 0.002
"""The least time of one measurement; calls are repeated until then."""

_SLOWER = 0.95
"""A variant is called slower below this speed relative to dense; above it is within the spread."""


@dataclass(frozen=True)
class Variant:
    """One network in one runtime.

    Attributes:
        network: a name in `core.analysis.footprint.NETWORKS`.
        runtime: what computes it.
        run: from float32 images of shape (n, inputs), all pixels of them, to logits or probabilities (n, classes).
    """

    network: str
    runtime: str
    run: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Progress:
    """One more round: how many of how many there were, and with the last one the table; see `measure`."""

    done: int
    total: int
    table: pd.DataFrame | None = None


def in_numpy(dense: Network | Kernels, pruned: Network | Kernels) -> list[Variant]:
    """The dense network, the pruned one with its zeros in place, the compacted one, and that one as sparse rows."""
    tiny = compact(pruned)
    small = prepared(tiny.network)
    return [
        Variant("dense", "NumPy", prepared(dense)),
        Variant("pruned", "NumPy", prepared(pruned)),
        Variant("compacted", "NumPy", lambda images: small(images[:, tiny.inputs])),
        Variant("sparse", "SciPy", _in_sparse_rows(tiny)),
    ]


def _in_sparse_rows(tiny: Compacted) -> Callable[[np.ndarray], np.ndarray]:
    if any(layer.window for layer in tiny.network.layers):
        return prepared(tiny.network, sparse=True)
    # Units by inputs: SciPy multiplies sparse rows from the left.
    layers = [(layer, csr_array(layer.matrix.T)) for layer in tiny.network.layers]

    def run(images: np.ndarray) -> np.ndarray:
        # One image as a vector: SciPy is faster with it than with a matrix of one column.
        activations = images[0, tiny.inputs] if len(images) == 1 else np.ascontiguousarray(images.T[tiny.inputs])
        for layer, rows in layers:
            activations = rows @ activations
            if layer.bias is not None:
                activations += layer.bias if activations.ndim == 1 else layer.bias[:, None]
            if layer.activation == "relu":
                np.maximum(activations, 0, out=activations)
        return np.atleast_2d(activations.T)

    return run


def measure(variants: Sequence[Variant], images: np.ndarray, threads: int = 1) -> Iterator[Progress]:
    """Time some variants, in turn: in every round each is timed once, in an order by chance.

    Before anything is timed, every variant but those of the dense network must predict the same, but for one image in a
    thousand: runtimes add in other orders, and a close call may fall the other way. A timing of one image
    is a mean over as many calls as take 2 ms, after one that does not count. Many images are 10,000 in batches of
    1,000, of which each is a timing.

    Args:
        variants: of each runtime the dense network first, which the others are compared with.
        images: float32 of shape (n, inputs).
        threads: what NumPy may use; SciPy's sparse products use one in any case.

    Yields:
        Each round; the last one with the table, one row a variant: network, runtime, one_median, one_q1, one_q3
        (seconds for one image, with the quartiles over the rounds), one_faster (how many times faster than the dense
        network in the same runtime, the median over rounds of the ratio within each), many_median, many_q1, many_q3
        (images a second), and many_faster. SciPy is compared with NumPy.

    Raises:
        ValueError: if two variants of the pruned network differ in a prediction.
    """
    many = np.resize(images, (IMAGES, images.shape[1]))
    batches = [many[start : start + BATCH] for start in range(0, IMAGES, BATCH)]
    # What comes before leaves the processor's cache in another state; by chance it is not always the same.
    order = np.random.default_rng(0)
    with threadpool_limits(limits=threads, user_api="blas"):
        _must_agree(variants, batches[0])
        calls = [_calls(variant, many[:1]) for variant in variants]
        one, each = np.empty((ROUNDS * len(batches), len(variants))), np.empty((len(batches), len(variants)))
        for turn, batch in enumerate(batches):
            # Few at a time, so that they are spread over the whole measurement: a busy second is not all there is.
            for row in range(ROUNDS * turn, ROUNDS * (turn + 1)):
                image = many[row : row + 1]
                for index in order.permutation(len(variants)):
                    variants[index].run(image)
                    one[row, index] = _seconds(variants[index], image, calls[index])
            for index in order.permutation(len(variants)):
                each[turn, index] = _seconds(variants[index], batch, 1)
            done = turn + 1
            yield Progress(done, len(batches), _table(variants, one, each) if done == len(batches) else None)


def _must_agree(variants: Sequence[Variant], images: np.ndarray) -> None:
    small = [variant for variant in variants if variant.network != "dense"]
    expected = small[0].run(images).argmax(axis=1) if small else None
    for variant in small[1:]:
        changed = int(np.count_nonzero(variant.run(images).argmax(axis=1) != expected))
        if changed > len(images) / 1_000:
            raise ValueError(
                f"{variant.network} in {variant.runtime} disagrees on {changed} of {len(images)} images with "
                f"{small[0].network} in {small[0].runtime}; they are not the same network, so nothing was timed."
            )


def _calls(variant: Variant, image: np.ndarray) -> int:
    variant.run(image)
    return max(1, min(1_000, round(_LEAST_SECONDS / max(_seconds(variant, image, 3), 1e-7))))


def _seconds(variant: Variant, images: np.ndarray, calls: int) -> float:
    """The mean of some calls after each other."""
    began = time.perf_counter()
    for _ in range(calls):
        variant.run(images)
    return (time.perf_counter() - began) / calls


def _table(variants: Sequence[Variant], one: np.ndarray, many: np.ndarray) -> pd.DataFrame:
    rows = []
    for index, variant in enumerate(variants):
        dense = _dense_of(variants, variant.runtime)
        quartiles = {"median": 50, "q1": 25, "q3": 75}
        rows.append(
            {
                "network": variant.network,
                "runtime": variant.runtime,
                **{f"one_{name}": float(np.percentile(one[:, index], at)) for name, at in quartiles.items()},
                "one_faster": float(np.median(one[:, dense] / one[:, index])),
                **{f"many_{name}": float(np.percentile(BATCH / many[:, index], at)) for name, at in quartiles.items()},
                "many_faster": float(np.median(many[:, dense] / many[:, index])),
            }
        )
    return pd.DataFrame(rows)


def _dense_of(variants: Sequence[Variant], runtime: str) -> int:
    runtime = "NumPy" if runtime == "SciPy" else runtime
    return next(at for at, other in enumerate(variants) if (other.network, other.runtime) == ("dense", runtime))


def machine() -> str:
    """What this is measured on, in words."""
    name = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of some packages."""
    return {name: importlib.metadata.version(name) for name in packages}


def fastest(record: dict | None) -> float:
    """How many times as fast as dense one image was in NumPy or SciPy, compacted or in sparse rows, whichever was
    faster; not a number if nothing was measured.

    Args:
        record: as `core.runs.Run.speed` gives it.
    """
    rows = record["rows"] if record else []
    held = [row for row in rows if row["network"] in ("compacted", "sparse") and row["runtime"] in ("NumPy", "SciPy")]
    return max((row["one_faster"] for row in held), default=np.nan)


def in_words(table: pd.DataFrame) -> list[str]:
    """What got slower than dense, in sentences.

    Args:
        table: from `measure`.
    """
    said = []
    for row in table.itertuples():
        for factor, what in ((row.one_faster, "one image"), (row.many_faster, "many images")):
            if row.network in ("compacted", "sparse") and factor < _SLOWER:
                name = "Sparse rows" if row.network == "sparse" else "The compacted network"
                said.append(
                    f"{name} in {row.runtime} {'are' if row.network == 'sparse' else 'is'} {1 / factor:.1f} times as "
                    f"slow as the dense network for {what}."
                )
    return said


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
