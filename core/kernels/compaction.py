"""Remove what no longer influences any output: dead units with their column and row, and pixels nothing listens to."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.pruning import Kernels

ROUNDING = 1e-5
"""What float32 sums of some thousand terms, added in another order, may differ by, as a part of the largest."""
_BATCH = 1_000


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

    @property
    def multiply_adds(self) -> int:
        """How many products of a weight and an activation one image takes, zeros among live units multiplied, too."""
        return sum(kernel.size for kernel in self.kernels)


@dataclass(frozen=True)
class Difference:
    """How far two networks differ on some images.

    Attributes:
        images: how many.
        changed: of how many the predicted class differs.
        logits: the largest difference of a logit, as a part of the largest logit; not a number if one is not finite.
    """

    images: int
    changed: int
    logits: float

    @property
    def is_rounding(self) -> bool:
        """Whether they are the same network: no prediction differs, and no logit by more than float32 sums do."""
        return self.changed == 0 and self.logits <= ROUNDING


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


def difference(kernels: Kernels, tiny: Compacted, images: np.ndarray) -> Difference:
    """How far a compacted network differs from the one it was made of, run unit by unit, the dead ones too.

    Args:
        kernels: the network with everything dead in it, as it was given to `compact`.
        tiny: what came out.
        images: float32 of shape (n, inputs), n at least 1.

    Example:
        `difference(pruned, compact(pruned), test.images).is_rounding`
    """
    changed, apart, largest = 0, 0.0, 0.0
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        whole, small = forward(kernels, batch), forward(tiny.kernels, batch[:, tiny.inputs])
        changed += int(np.count_nonzero(whole.argmax(axis=1) != small.argmax(axis=1)))
        # np.maximum keeps what is not a number.
        apart = np.maximum(apart, np.abs(whole - small).max())
        largest = np.maximum(largest, np.abs(whole).max())
    return Difference(len(images), changed, float(apart / largest) if largest else float(apart))


def forward(kernels: Kernels, images: np.ndarray) -> np.ndarray:
    """The plain products of a network and nothing else: logits of shape (n, classes), from images (n, inputs)."""
    activations = images
    for kernel in kernels[:-1]:
        activations = activations @ kernel
        np.maximum(activations, 0, out=activations)
    return activations @ kernels[-1]


def _take(kernel: np.ndarray, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    return kernel if rows.all() and units.all() else kernel[np.ix_(rows, units)]
