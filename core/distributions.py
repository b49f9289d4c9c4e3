"""Histograms of weights and of unit norms, dense and surviving."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.pruning import Kernels, magnitude, prune_count

BINS = 60


@dataclass(frozen=True)
class Distribution:
    """What one hidden kernel is ranked by: |w| of its weights, or the L2 norm of its units.

    `values` are sorted, float of shape (n,); `edges` of shape (BINS + 1,) and `counts` of shape (BINS,)
    are their histogram.
    """

    values: np.ndarray
    edges: np.ndarray
    counts: np.ndarray

    def pruned(self, sparsity: float) -> int:
        """How many of the values pruning at k takes."""
        return prune_count(len(self.values), sparsity)

    def surviving(self, sparsity: float) -> np.ndarray:
        """The histogram of what pruning at k leaves, shape (BINS,).

        Pruning takes the smallest values, so the bins empty from the left: a bin with c values below it
        loses whatever the p pruned ones reach into it.
        """
        below = np.cumsum(self.counts) - self.counts
        return np.maximum(self.counts - np.maximum(self.pruned(sparsity) - below, 0), 0)

    def threshold(self, sparsity: float) -> float | None:
        """The smallest value that survives pruning at k; None if all do or none does."""
        count = self.pruned(sparsity)
        return float(self.values[count]) if 0 < count < len(self.values) else None


def distributions(kernels: Kernels, method: str) -> list[Distribution]:
    """The distribution of each hidden kernel, from zero to its largest value.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        method: "weight" for |w|, "unit" for the L2 norms of the columns.
    """
    return [_distribution(magnitude(kernel, method)) for kernel in kernels[:-1]]


def _distribution(values: np.ndarray) -> Distribution:
    counts, edges = np.histogram(values, bins=BINS, range=(0, float(values.max()) or 1.0))
    return Distribution(np.sort(values, axis=None), edges, counts)


def layer_names(kernels: Sequence[np.ndarray]) -> list[str]:
    """What the layers are called on every page and in every table."""
    return [*(f"Hidden {index}" for index in range(1, len(kernels))), "Output"]
