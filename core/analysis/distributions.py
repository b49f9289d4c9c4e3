"""Histograms of what pruning goes by: weights, unit norms or other scores, dense and surviving."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.network import Kernels
from core.pruning import Ranks, magnitude

BINS = 60


@dataclass(frozen=True)
class Distribution:
    """What one hidden kernel is ranked by, such as |w| of its weights or the L2 norm of its units.

    Weights that are zero before pruning, and units without any other weights, are left out. `values` are sorted, of
    shape (n,); `edges` of shape (BINS + 1,) and `counts` of shape (BINS,) are their histogram. How many of them are
    pruned says `core.pruning.Ranks.taken`.
    """

    values: np.ndarray
    edges: np.ndarray
    counts: np.ndarray

    def surviving(self, pruned: int) -> np.ndarray:
        """The histogram of what is left without the `pruned` smallest values, shape (BINS,).

        The bins empty from the left: a bin with c values below it loses whatever the pruned ones reach
        into it.
        """
        below = np.cumsum(self.counts) - self.counts
        return np.maximum(self.counts - np.maximum(pruned - below, 0), 0)

    def threshold(self, pruned: int) -> float | None:
        """The smallest value that survives; None if all do or none does."""
        return float(self.values[pruned]) if 0 < pruned < len(self.values) else None


def distributions(ranks: Ranks, reach: float = 1.0) -> list[Distribution]:
    """The distribution of each hidden kernel's scores, from zero to `reach` times the largest."""
    layers = zip(ranks.scores, ranks.ranks, ranks.empty, strict=True)
    return [
        _distribution(scores[~np.isin(order, empty)] if empty.size else scores, reach)
        for scores, order, empty in layers
    ]


def counts_within(kernels: Kernels, method: str, layers: Sequence[Distribution]) -> list[np.ndarray]:
    """Histograms of what is left in each hidden kernel, |w| or the L2 norm of units, in the bins of some distributions.

    Zeros are left out. The last bin also holds whatever is larger.

    Returns:
        An array of shape (BINS,) for each hidden kernel.
    """
    found = []
    for kernel, layer in zip(kernels[:-1], layers, strict=True):
        values = magnitude(kernel, method)
        values = np.minimum(values[values > 0], layer.edges[-1])
        found.append(np.histogram(values, layer.edges)[0])
    return found


def thresholds_at(layers: Sequence[Distribution], pruned: Sequence[int]) -> list[float | None]:
    """The smallest value that survives in each layer when so many are pruned there."""
    return [layer.threshold(count) for layer, count in zip(layers, pruned, strict=True)]


def _distribution(values: np.ndarray, reach: float) -> Distribution:
    counts, edges = np.histogram(values, bins=BINS, range=(0, reach * float(values.max(initial=0)) or 1.0))
    return Distribution(np.sort(values, axis=None), edges, counts)


def layer_names(kernels: Sequence[np.ndarray]) -> list[str]:
    """What the layers are called on every page and in every table."""
    return [*(f"Hidden {index}" for index in range(1, len(kernels))), "Output"]
