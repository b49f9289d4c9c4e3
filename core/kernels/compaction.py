"""Remove what no longer influences any output: dead units with their column and row, and pixels nothing listens to."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.pruning import Kernels


@dataclass(frozen=True)
class Compacted:
    """A network without what is dead in it.

    Attributes:
        kernels: arrays of shape (live inputs, live units), hidden layers first, output layer last.
        inputs: indices of the pixels that are left, shape (live inputs,).
    """

    kernels: list[np.ndarray]
    inputs: np.ndarray

    @property
    def parameters(self) -> int:
        """How many weights can influence an output."""
        return sum(int(np.count_nonzero(kernel)) for kernel in self.kernels)


def compact(kernels: Kernels) -> Compacted:
    """Remove every dead unit, and every pixel that no live unit looks at.

    Exact: the smaller network has the same outputs as the full one, to the rounding of float sums.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.

    Example:
        `tiny = compact(prune(kernels, "unit", 0.9))`, then
        `evaluate(tiny.kernels, images[:, tiny.inputs], labels)` equals evaluating the pruned kernels.
    """
    live = live_units(kernels)
    return Compacted(
        [_take(kernel, rows, units) for kernel, (rows, units) in zip(kernels, pairwise(live), strict=True)],
        np.flatnonzero(live[0]),
    )


def live_units(kernels: Kernels) -> list[np.ndarray]:
    """Which inputs and units can influence an output.

    A unit with no live input or no live output is dead, and takes its column and its row in the next
    kernel with it. One sweep forward and one back reach the fixed point: forward every unit learns
    whether an input reaches it, and back whether it reaches an output through units that an input
    reaches.

    Returns:
        Boolean arrays: for the inputs, of shape (inputs,), then for the units of every kernel. The output
        units count as live.
    """
    nonzero = [kernel != 0 for kernel in kernels]
    reached = [np.ones(kernels[0].shape[0], bool)]
    for mask in nonzero:
        reached.append(mask[reached[-1]].any(axis=0))
    live = [np.ones(kernels[-1].shape[1], bool)]
    for mask, units in zip(reversed(nonzero), reversed(reached[:-1]), strict=True):
        live.append(units & mask[:, live[-1]].any(axis=1))
    return live[::-1]


def _take(kernel: np.ndarray, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    return kernel if rows.all() and units.all() else kernel[np.ix_(rows, units)]
