"""Masks that keep pruned weights at exactly zero while a network trains, and tighten on a schedule."""

from collections.abc import Sequence

import keras
import numpy as np

from core.kernels.layer import largest
from core.pruning import magnitude, prune_count

_STEPS_APART, _STAGES = 100, 20
"""Masks are tightened every so many steps, or so many times if that is more often."""


class Masks(keras.callbacks.Callback):
    """One mask a hidden kernel, multiplied into it after every step, so that no momentum revives what is pruned.

    Args:
        kept: what is not pruned, boolean: of the shape of each hidden kernel for "weight", (units,) for "unit".
        sparsity: the part of all hidden weights that is zero.

    Attributes:
        kept: as it is now.
        step: how many steps were seen, where that matters.
        constraints: one for the kernel of each hidden layer.
        sparsity: as it is now.
        are_final: whether as much is pruned as will be.
    """

    def __init__(self, kept: Sequence[np.ndarray], sparsity: float):
        super().__init__()
        self.kept = [np.array(mask, bool) for mask in kept]
        self.constraints = [_Masked(mask) for mask in self.kept]
        self.sparsity, self.are_final = sparsity, True
        self.step = 0

    def go_on(self, kept: Sequence[np.ndarray], step: int) -> None:
        """Be as after so many steps, when that was not pruned; `kept` and `step` of then."""
        self.step = step
        for mine, theirs, constraint in zip(self.kept, kept, self.constraints, strict=True):
            mine[...] = theirs
            constraint.mask.assign(theirs)


class TighteningMasks(Masks):
    """Masks that prune more and more, from what the first ones leave to k.

    On a cubic schedule (Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
    compression"). At each stage those go that are smallest then: weights by |w|, units by the L2 norm of their incoming
    times that of their outgoing weights. What is pruned stays pruned.

    Args:
        method: "weight" or "unit".
        kept: as for `Masks`, of the whole network.
        weights_each: weights removed per pruned item of a hidden layer.
        sparsity: k in the end.
        steps: after how many of them the masks are final.
    """

    def __init__(
        self, method: str, kept: Sequence[np.ndarray], weights_each: Sequence[int], sparsity: float, steps: int
    ):
        super().__init__(kept, 0.0)
        self._method, self._each, self._end = method, weights_each, sparsity
        self._first, self._steps = self._pruned(), steps
        self._apart = max(1, min(_STEPS_APART, steps // _STAGES))
        self.sparsity, self.are_final = self._sparsity(), False

    def go_on(self, kept: Sequence[np.ndarray], step: int) -> None:
        super().go_on(kept, step)
        self.sparsity, self.are_final = self._sparsity(), step >= self._steps

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.are_final:
            return
        self.step += 1
        self.are_final = self.step >= self._steps
        if self.are_final or self.step % self._apart == 0:
            self._tighten()
            self.sparsity = self._sparsity()

    def _tighten(self) -> None:
        variables = [layer.kernel for layer in self.model.layers if layer.weights]
        kernels = [np.asarray(variable) for variable in variables]
        for layer, (kept, count) in enumerate(zip(self.kept, self._counts(), strict=True)):
            scores = magnitude(kernels[layer], self._method)
            if self._method == "unit":
                # A unit counts by what comes in and by what goes out, both as they are now.
                scores = scores * magnitude(kernels[layer + 1].T, "unit")
            # What is pruned comes after all that is kept, though that may be zero.
            kept &= largest(np.where(kept, scores, -1), kept.size - count)
            variables[layer].assign(kernels[layer] * kept)
            self.constraints[layer].mask.assign(kept)

    def _counts(self) -> list[int]:
        """How many of each hidden layer are to be pruned now; never fewer than before."""
        if self.are_final:
            return [prune_count(kept.size, self._end) for kept in self.kept]
        left = (1 - self.step / self._steps) ** 3
        ends = [self._end * kept.size for kept in self.kept]
        wanted = [int(end + (first - end) * left) for end, first in zip(ends, self._first, strict=True)]
        return [max(before, count) for before, count in zip(self._pruned(), wanted, strict=True)]

    def _pruned(self) -> list[int]:
        return [kept.size - int(np.count_nonzero(kept)) for kept in self.kept]

    def _sparsity(self) -> float:
        return part_zero(self._pruned(), [kept.size for kept in self.kept], self._each)


def part_zero(pruned: Sequence[int], sizes: Sequence[int], weights_each: Sequence[int]) -> float:
    """The part of all hidden weights that is zero, if so many of so many of each hidden layer are pruned."""
    zeroed = sum(count * each for count, each in zip(pruned, weights_each, strict=True))
    return zeroed / sum(size * each for size, each in zip(sizes, weights_each, strict=True))


class _Masked(keras.constraints.Constraint):
    """Multiplies a kernel by a mask of its shape, or of shape (units,)."""

    def __init__(self, mask: np.ndarray):
        self.mask = keras.Variable(mask.astype("float32"), trainable=False)

    def __call__(self, kernel: keras.KerasTensor) -> keras.KerasTensor:
        return kernel * self.mask
