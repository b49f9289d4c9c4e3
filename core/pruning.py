"""Rank and prune kernels by magnitude.

`kernels` is everywhere a list of float arrays of shape (inputs, units), hidden layers first, output
layer last. The output layer is never pruned, and ranks are always those of the kernels as trained.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

METHODS = ("weight", "unit")

Kernels = Sequence[np.ndarray]


def prune(kernels: Kernels, method: str, sparsity: float) -> list[np.ndarray]:
    """Zero the smallest weights, or the units of smallest norm, of every hidden kernel.

    Weight pruning zeroes the ⌊k·N⌋ entries of smallest |w| in each hidden kernel (Han et al. 2015,
    "Learning both Weights and Connections for Efficient Neural Networks"); unit pruning zeroes the
    ⌊k·U⌋ columns of smallest L2 norm. Ties fall in stable order, so what is pruned at k stays pruned
    at every larger k.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        method: "weight" or "unit".
        sparsity: k, the fraction to zero in each hidden kernel, 0 to 1.

    Returns:
        New arrays of the same shapes and types; the inputs are left untouched.

    Raises:
        ValueError: for an unknown method, a sparsity outside [0, 1], or kernels that do not chain.
    """
    check_kernels(kernels)
    return prune_ranked(kernels, rank(kernels, method), method, sparsity)


def rank(kernels: Kernels, method: str) -> list[np.ndarray]:
    """The order in which pruning takes what is in each hidden kernel: 0 goes first.

    Returns:
        For "weight" an int32 array of the shape of each hidden kernel; for "unit" one of shape (units,).
    """
    check_method(method)
    return [_ranks_of(magnitude(kernel, method)) for kernel in kernels[:-1]]


def prune_ranked(kernels: Kernels, ranks: Sequence[np.ndarray], method: str, sparsity: float) -> list[np.ndarray]:
    """`prune`, with the ranks already known: one comparison instead of a sort."""
    pruned = []
    for kernel, ranking in zip(kernels[:-1], ranks, strict=True):
        keep = ranking >= prune_count(ranking.size, sparsity)
        # np.where rather than a product: a weight that is not finite must become zero, too.
        pruned.append(np.where(keep, kernel, kernel.dtype.type(0)))
    return [*pruned, np.array(kernels[-1])]


def magnitude(kernel: np.ndarray, method: str) -> np.ndarray:
    """What a kernel is ranked by: |w| of shape (inputs, units), or the L2 norm of each column, (units,)."""
    if method == "weight":
        return np.abs(kernel)
    # In double precision, so that the order of close norms does not depend on the order of summation.
    return np.sqrt(np.einsum("iu,iu->u", kernel, kernel, dtype=np.float64))


def prune_count(total: int, sparsity: float) -> int:
    """⌊k·total⌋ in exact arithmetic, k read as the decimal it is written as.

    200 units at 0.29 are 58, although 200 * 0.29 is 57.99… in binary floating point.

    Raises:
        ValueError: if k is not a number from 0 to 1.
    """
    try:
        k = Fraction(str(sparsity))
    except ValueError:
        k = Fraction(-1)
    if not 0 <= k <= 1:
        raise ValueError(f"Expected a sparsity from 0 to 1. Received: {sparsity!r}.")
    return int(k * total)


def zeroed_weights(kernels: Kernels, method: str, sparsity: float) -> list[int]:
    """How many weights pruning at k sets to zero in each hidden kernel."""
    check_method(method)
    if method == "weight":
        return [prune_count(kernel.size, sparsity) for kernel in kernels[:-1]]
    return [len(kernel) * prune_count(kernel.shape[1], sparsity) for kernel in kernels[:-1]]


def check_method(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"Expected a method among {', '.join(METHODS)}. Received: {method!r}.")


def check_kernels(kernels: Kernels) -> None:
    """Raise ValueError unless the kernels are matrices that chain, each one's units the next one's inputs."""
    shapes = [np.shape(kernel) for kernel in kernels]
    chained = all(len(shape) == 2 for shape in shapes) and all(
        before[1] == after[0] for before, after in itertools.pairwise(shapes)
    )
    if not shapes or not chained:
        raise ValueError(
            "Expected kernels of shape (inputs, units), each with as many inputs as the one before has units. "
            f"Received shapes: {shapes}."
        )


def _ranks_of(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values, axis=None, kind="stable")
    ranks = np.empty(values.size, np.int32)
    ranks[order] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(values.shape)
