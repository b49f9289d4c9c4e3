"""What a network takes: weights, multiply-adds, and the bytes of its file in every format."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from core.evaluation import evaluate
from core.kernels import Compacted, compact
from core.kernels.number_formats import NUMBER_FORMATS, read
from core.network import Kernels, Network, as_network
from core.runs import Run
from core.state import state_of
from core.sweep import ROW_KEY, Criterion

NETWORKS = {
    "dense": "dense",
    "pruned": "pruned, zeros in place",
    "compacted": "compacted",
    "sparse": "compacted, sparse (CSR)",
}
"""Ways to hold one network, and what they are called: as it was trained; with zeros where weights were; without what
is dead; and of that, only the weights that are not zero."""

_COSTS = 0.003
"""A format that loses more accuracy than this is named."""


def operations(dense: Network | Kernels, pruned: Network | Kernels, tiny: Compacted) -> pd.DataFrame:
    """What each way to hold a network computes for one image.

    Args:
        dense: the trained network, or its kernels.
        pruned: the same with zeros, of the same shapes.
        tiny: `compact(pruned)`.

    Returns:
        One row a name in `NETWORKS`: network, weights (that are stored), nonzero (of them), multiply_adds (of one
        image), fewer (how many times fewer multiply-adds than dense; infinite if there are none).
    """
    # A zero that stands in its place is multiplied like every other weight.
    networks = {"dense": as_network(dense), "pruned": as_network(pruned), "compacted": tiny.network}
    rows = [
        *((name, each.weights, each.nonzero, each.multiply_adds) for name, each in networks.items()),
        ("sparse", tiny.parameters, tiny.parameters, tiny.parameters),
    ]
    table = pd.DataFrame(rows, columns=["network", "weights", "nonzero", "multiply_adds"])
    return table.assign(fewer=networks["dense"].multiply_adds / table.multiply_adds.where(table.multiply_adds > 0, 0.0))


def files(network: Compacted, images: np.ndarray, labels: np.ndarray) -> Iterator[dict]:
    """The whole file of a network in every format, and what the network that is read from it scores.

    Args:
        network: see `core.kernels.number_formats.whole` for one with nothing removed.
        images, labels: the test images, whole; see `core.evaluation.evaluate`.

    Yields:
        A row a name in `NUMBER_FORMATS` as soon as it is known: format, bytes, compressed (bytes, if the file is
        compressed), accuracy (0 to 1; of exact formats, that of the network itself).
    """
    exact = _accuracy(network, images, labels)
    for name, format in NUMBER_FORMATS.items():
        data = format.write(network, False)
        yield {
            "format": name,
            "bytes": len(data),
            "compressed": len(format.write(network, True)),
            "accuracy": exact if format.is_exact else _accuracy(read(data), images, labels),
        }


def _accuracy(network: Compacted, images: np.ndarray, labels: np.ndarray) -> float:
    # The pixels that are left are put back among the others: a copy of all images would be ten times as large.
    return evaluate(network.whole(images.shape[1]), images, labels).accuracy


def in_words(rows: pd.DataFrame, counts: pd.DataFrame, criterion: Criterion) -> list[str]:
    """What of a pruned network got larger, or not smaller, in sentences.

    Args:
        rows: of the formats of the networks "dense", "pruned" and "compacted", from `files`, with a column network.
        counts: from `operations`.
        criterion: how it was pruned.
    """
    if not counts.set_index("network").weights["compacted"]:
        return ["Nothing is left that could reach an output, so every image gets the same answer."]
    said = []
    size = rows.set_index(["network", "format"]).bytes
    dense, pruned = size["dense", "float32"], size["pruned", "float32"]
    tiny, sparse = size["compacted", "float32"], size["compacted", "sparse"]
    if sparse > dense:
        said.append(
            f"Sparse rows make the file {sparse / dense:.2f} times as large as the dense one: each weight takes its "
            "column number along, which pays only when fewer are left."
        )
    elif sparse > tiny:
        said.append(
            f"Sparse rows are {sparse / tiny:.2f} times as large as the compacted network in float32: "
            f"{_part(counts)} of its weights are not zero, too many for each to take its column number along."
        )
    if tiny > 0.9 * pruned and criterion.method == "weight":
        said.append(
            "Compacting alone gains little here: single weights are gone from nearly every unit, but few units are "
            "dead. Sparse rows are what makes such a network small."
        )
    scored = rows[rows.network == "compacted"].set_index("format").accuracy
    for name, accuracy in scored.items():
        # Range-coded numbers are those of int8.
        if name != "coded" and accuracy < scored["float32"] - _COSTS:
            said.append(f"{NUMBER_FORMATS[name].title} costs {100 * (scored['float32'] - accuracy):.1f} points here.")
    if pruned >= dense:
        said.append("With the zeros in place, a file that is not compressed is as large as before pruning.")
    return said


def multiply_adds(run: Run, table: pd.DataFrame) -> pd.Series:
    """The multiply-adds of one image, compacted, for every row of a sweep; those that an earlier version did not count
    are counted from the network itself, as far as there is one.

    Args:
        run: a complete run.
        table: rows of its sweep.

    Raises:
        RunError: if the kernels of the run cannot be read.
    """
    known = table.multiply_adds if "multiply_adds" in table else pd.Series(np.nan, table.index)
    counted = known.astype(float).copy()
    missing = table[counted.isna()]
    if missing.empty:
        return counted
    for named, rows in missing.groupby(ROW_KEY[:-1], sort=False):
        state = state_of(run, Criterion(*named))
        for index, k in rows.sparsity.items():
            network = state.network(k)
            if network is not None:
                counted[index] = compact(network).multiply_adds
    return counted


def _part(counts: pd.DataFrame) -> str:
    tiny = counts.set_index("network").loc["compacted"]
    return f"{tiny.nonzero / tiny.weights:.0%}"
