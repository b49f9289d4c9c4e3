"""One layer of a network as a least-squares problem: which of its weights, or units, stay, and what they become.

Inputs, targets and weights have the shapes that `Problem` says. The methods and their papers: `core.kernels.repair`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import eigh
from threadpoolctl import ThreadpoolController

_BATCH_ENTRIES = 2_000_000
"""Numbers in the matrices that are solved together: enough for speed, 16 MB in memory."""
_DIRECTIONS = 100
"""Directions of the targets that group-sparse least squares looks at; the others are next to nothing."""
_CONSTANT = 1e-5
"""The part of an input's length below which its deviation from the mean is rounding."""
_STEPS_AN_INVERSE = 4
"""Steps of ADMM for which the same inverse serves."""


@dataclass(frozen=True)
class Recipe:
    """The numbers that repair depends on. The defaults were chosen on validation images of MNIST digits.

    Attributes:
        images: how many of the images are used, evenly spaced among those given.
        damping: what is added to the diagonal of each Gram matrix, whose diagonal is scaled to 1.
        steps: of ADMM.
        weight_shift: for the scope "global", how far the layers' budgets go from the same part of each, 0, to what
            ADMM on all layers at once gives each, 1.
        unit_shift: the same for units, of which the same part of each layer is hard to beat.
        swaps: the most units that are exchanged one by one after ADMM.
        penalty: of ADMM, at the first step.
        growth: the factor by which the penalty grows with each step.
        rounds: refits with the targets that ReLU allows.
        rounds_below: the largest part of weights kept with which these refits are worth their time.
    """

    images: int = 10_000
    damping: float = 0.003
    steps: int = 40
    penalty: float = 0.1
    growth: float = 1.18
    weight_shift: float = 0.3
    unit_shift: float = 0.1
    swaps: int = 50
    rounds: int = 8
    rounds_below: float = 0.025


class Problem:
    """One layer's least-squares problem: min |W' X̂ - Y|², with some damping.

    Inputs are scaled to the same length, so that all weights have the same unit; those that are off in all images are
    left out. With a bias both sides are centred: it is then what the means ask for, whatever the weights are.

    Attributes:
        live: indices of the inputs that are on at least once, with a bias those that are not always the same; (live,).
        inputs: their activations, float32 of shape (live, n).
        targets: float32 of shape (units, n), without the bias.
        ceiling: what the targets of a unit have where its pre-activation is zero: 0, with a bias shape (units, 1).
        scale: the length of each row of `inputs`, shape (live,).
        gram: of the scaled inputs, (live, live); its diagonal is 1 + damping.
        products: scaled inputs times targets, (live, units).
        groups: for each live input the place in `units` of the earlier unit that it comes from.
        units: indices of the earlier units that have a live input.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        damping: float,
        bias: np.ndarray | None = None,
        read: np.ndarray | None = None,
    ):
        """`read`: which earlier unit each input comes from, shape (inputs,), where that is not one unit each."""
        scale = np.sqrt(np.einsum("in,in->i", inputs, inputs))
        smallest, self._means, self.ceiling = 0, None, np.float32(0)
        if bias is not None:
            smallest = _CONSTANT * scale
            self._means = inputs.mean(axis=1), targets.mean(axis=1) + bias
            self.ceiling = -self._means[1][:, None]
            inputs, targets = (each - each.mean(axis=1, keepdims=True) for each in (inputs, targets))
            scale = np.sqrt(np.einsum("in,in->i", inputs, inputs))
        self.all = len(inputs)
        self.live = np.flatnonzero(scale > smallest)
        self.groups, self.units = slice(None), self.live
        if read is not None:
            self.units, self.groups = np.unique(read[self.live], return_inverse=True)
        self.inputs = inputs if len(self.live) == self.all else inputs[self.live]
        self.targets = targets
        self.scale = scale[self.live]
        self.gram = (self.inputs @ self.inputs.T) / np.outer(self.scale, self.scale)
        np.fill_diagonal(self.gram, 1 + damping)
        self.products = (self.inputs @ targets.T) / self.scale[:, None]

    @cached_property
    def decomposed(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors of the Gram matrix."""
        return eigh(self.gram, driver="evd", check_finite=False)

    def only(self, units: np.ndarray) -> "Problem":
        """The same problem for some of the units, a boolean array of shape (units,)."""
        part = object.__new__(Problem)
        part.__dict__.update(self.__dict__)
        part.targets, part.products = self.targets[units], self.products[:, units]
        if self._means:
            part._means, part.ceiling = (self._means[0], self._means[1][units]), self.ceiling[units]
        return part

    def bias(self, kernel: np.ndarray) -> np.ndarray | None:
        """The best bias for a kernel of shape (inputs, units); None of a layer without one."""
        return self._means and self._means[1] - kernel.T @ self._means[0]

    def fit(self, kept: np.ndarray, rounds: int = 0) -> np.ndarray:
        """The weights on a support, a boolean array of shape (live, units): ridge least squares, exact for each unit.

        With `rounds`, this many refits follow in which the target of a unit is not Y where Y is negative but
        min(prediction, 0): there, ReLU hides all but overshoot. Each is a step down the error that is left, so they
        take momentum like other gradient steps (FISTA; Beck and Teboulle 2009).

        Returns:
            float32 of shape (live, units), zero outside the support.
        """
        weights = (_solve(self.gram, self.products, kept) / self.scale[:, None]).astype(np.float32)
        if not rounds or not kept.any():
            return weights
        if kept.all():
            return _refit(self.inputs, self.targets, self._inverse(slice(None)), weights, self.ceiling, rounds)

        def refit(unit: int) -> None:
            rows = np.flatnonzero(kept[:, unit])
            if len(rows):
                weights[rows, unit] = _refit(
                    self.inputs[rows],
                    self.targets[unit : unit + 1],
                    self._inverse(rows),
                    weights[rows, unit, None],
                    self.ceiling[unit] if self._means else self.ceiling,
                    rounds,
                )[:, 0]

        _on_all_cores(refit, range(kept.shape[1]))
        return weights

    def _inverse(self, rows: np.ndarray | slice) -> np.ndarray:
        """The inverse of some rows' and columns' Gram matrix, for inputs as they are, not scaled."""
        gram = self.gram[rows][:, rows].astype(np.float64)
        scale = self.scale[rows]
        return (np.linalg.inv(gram) / np.outer(scale, scale)).astype(np.float32)


def choose_weights(problem: Problem, keep: int, importance: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The `keep` weights to keep of a layer, a boolean array of shape (live, units), by ADMM (Meng et al. 2024).

    Args:
        problem: the layer's least-squares problem.
        keep: how many; all if there are no more.
        importance: what each unit's error is multiplied by, shape (units,).
        recipe: damping, steps and penalty.
    """
    products = problem.products * np.float32(importance)
    if not 0 < keep < products.size:
        return np.full(products.shape, keep > 0)
    return admm([problem], [products], keep, False, recipe)[0]


def choose_units(problem: Problem, keep: int, importance: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The `keep` earlier units to keep, a boolean array of the shape of `problem.units`, by group-sparse least squares.

    As `choose_weights`, but all rows of a unit stay or go, by their norm. Turning all targets together changes no norm,
    so it is enough to look at the directions in which the products are largest.
    """
    if not 0 < keep < len(problem.units):
        return np.full(len(problem.units), keep > 0)
    products = largest_directions(problem.products * np.float32(importance))
    chosen = admm([problem], [products], keep, True, recipe)[0]
    if len(problem.live) > len(problem.units):
        return chosen
    return _swap(problem.gram.astype(np.float64), products.astype(np.float64), chosen, recipe.swaps)


def admm(
    problems: Sequence[Problem],
    products: Sequence[np.ndarray],
    keep: int,
    by_unit: bool,
    recipe: Recipe,
) -> list[np.ndarray]:
    """ADMM for min |W' X̂ - Y|² of one layer, or of several with one budget: `keep` entries of W, or units with all
    their rows.

    W minimises the error plus penalty/2 · |W - D|², D is what the budget leaves of W, the largest, and the multipliers
    pull them together while the penalty grows. The inverse of the Gram matrix plus the penalty is a product of its
    eigenvectors; it is renewed every few steps only, which halves the cost and leaves what is chosen as good.
    """
    sparse = [np.zeros_like(each) for each in products]
    multipliers = [np.zeros_like(each) for each in products]
    kept, inverses, penalty = [], [], np.float32(0)
    for step in range(recipe.steps):
        if step % _STEPS_AN_INVERSE == 0:
            penalty = np.float32(recipe.penalty * recipe.growth**step)
            inverses = [_inverse_with(problem, penalty) for problem in problems]
        weights = [
            inverse @ (product + penalty * part - pull)
            for inverse, product, part, pull in zip(inverses, products, sparse, multipliers, strict=True)
        ]
        wanted = [weight + pull / penalty for weight, pull in zip(weights, multipliers, strict=True)]
        both = zip(problems, wanted, strict=True)
        kept = largest_of_all([_size(problem, each) if by_unit else np.abs(each) for problem, each in both], keep)
        rows = [
            mask[problem.groups][:, None] if by_unit else mask for mask, problem in zip(kept, problems, strict=True)
        ]
        sparse = [np.where(mask, each, 0) for mask, each in zip(rows, wanted, strict=True)]
        for pull, weight, part in zip(multipliers, weights, sparse, strict=True):
            pull += penalty * (weight - part)
    return kept


def _size(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """The squared norm of the weights of each earlier unit."""
    rows = squares(weights)
    return rows if len(problem.live) == len(problem.units) else np.bincount(problem.groups, rows)


def _inverse_with(problem: Problem, penalty: np.float32) -> np.ndarray:
    values, vectors = problem.decomposed
    root = vectors / np.sqrt(values + penalty)
    return root @ root.T


def largest_directions(products: np.ndarray) -> np.ndarray:
    """The products turned so that few columns hold nearly all of them: the norm of each row stays."""
    if products.shape[1] <= _DIRECTIONS:
        return products
    _, directions = eigh(products.T @ products, driver="evd", check_finite=False)
    return products @ directions[:, -_DIRECTIONS:]


def _swap(gram: np.ndarray, products: np.ndarray, chosen: np.ndarray, most: int) -> np.ndarray:
    """Exchange one input after the other while that lowers the error of the least-squares problem, at most so often.

    The input that goes is the one whose loss costs least, the one that comes lowers the error most, both told exactly
    from the inverse of the support's Gram matrix. Where few inputs stay, ADMM stops well short of what this reaches.
    """
    support = list(np.flatnonzero(chosen))
    for _ in range(most):
        inverse = np.linalg.inv(gram[np.ix_(support, support)])
        costs = squares(inverse @ products[support]) / np.diag(inverse)
        gone = support.pop(int(costs.argmin()))
        across = gram[:, support]
        explained = across @ np.linalg.inv(gram[np.ix_(support, support)])
        missing = products - explained @ products[support]
        unexplained = np.diag(gram) - np.einsum("is,is->i", explained, across)
        unexplained[support] = np.inf
        gains = squares(missing) / unexplained
        best = int(gains.argmax())
        if gains[best] <= gains[gone] * (1 + 1e-9):
            support.append(gone)
            break
        support.append(best)
    swapped = np.zeros_like(chosen)
    swapped[support] = True
    return swapped


def squares(rows: np.ndarray) -> np.ndarray:
    """The squared norm of each row."""
    return np.einsum("iu,iu->i", rows, rows)


def _solve(gram: np.ndarray, products: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The solution of gram · W = products with all of W zero but a support, exact for each column.

    Args:
        gram: symmetric and positive definite, (inputs, inputs).
        products: (inputs, units).
        kept: boolean, (inputs, units).

    Returns:
        float64 of shape (inputs, units).
    """
    gram, products = gram.astype(np.float64), products.astype(np.float64)
    if kept.all():
        return np.linalg.solve(gram, products) if kept.size else np.zeros(kept.shape)
    if kept.mean() > 0.5:
        # Cheaper from the other side: the full solution, and what it takes to bring the others to zero (OBS).
        inverse = np.linalg.inv(gram)
        full = inverse @ products
        return np.where(kept, full - inverse @ _solve(inverse, full, ~kept), 0)
    solution = np.zeros(kept.shape)
    sizes = np.count_nonzero(kept, axis=0)

    def solve(units: np.ndarray) -> None:
        most = sizes[units[-1]]
        if not most:
            return
        # Every unit gets as many rows as the largest of the batch; those too many are solved as 1 · w = 0.
        rows = np.argsort(~kept[:, units], axis=0, kind="stable")[:most].T
        used = np.arange(most) < sizes[units, None]
        matrices = gram[rows[:, :, None], rows[:, None, :]] * (used[:, :, None] & used[:, None, :])
        matrices[:, np.arange(most), np.arange(most)] += ~used
        sides = products[rows, units[:, None]] * used
        solved = np.linalg.solve(matrices, sides[:, :, None])[:, :, 0]
        solution[rows[used], np.repeat(units, sizes[units])] = solved[used]

    _on_all_cores(solve, _batches(sizes))
    return solution


def _on_all_cores(work: Callable[..., None], items: Iterable) -> None:
    """Do a piece of work for each item, every core at one of its own.

    Matrices as small as these are not solved faster by several threads, and on a busy machine, where such threads wait
    for each other, ten times slower.
    """
    with ThreadpoolController().limit(limits=1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(work, items):
            pass


def _batches(sizes: np.ndarray) -> list[np.ndarray]:
    """The units in order of size, cut where a batch of matrices of the largest size would be too large."""
    order = np.argsort(sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * sizes[order[end]] ** 2 <= _BATCH_ENTRIES:
            end += 1
        batches.append(order[start:end])
        start = end
    return batches


def _refit(
    inputs: np.ndarray,
    targets: np.ndarray,
    inverse: np.ndarray,
    weights: np.ndarray,
    ceiling: np.ndarray,
    rounds: int,
) -> np.ndarray:
    """The refits of `Problem.fit` for units that share their inputs.

    Shapes: (kept, n), (units, n), (kept, kept), (kept, units).

    Where a unit is on its target stays, elsewhere it is the prediction unless that overshoots the ceiling.
    """
    on = targets > ceiling
    ahead, momentum = weights, 1.0
    for _ in range(rounds):
        allowed = np.where(on, targets, np.minimum(ahead.T @ inputs, ceiling))
        refitted = inverse @ (inputs @ allowed.T)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = refitted + np.float32((momentum - 1) / following) * (refitted - weights)
        weights, momentum = refitted, following
    return weights


def assemble(problem: Problem, values: np.ndarray, kept: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """A kernel of full shape: the fitted values, and the dense ones where no image says anything."""
    kernel = np.where(kept, dense, np.float32(0))
    kernel[problem.live] = values
    return none_zero(kernel, kept)


def none_zero(kernel: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """What stays must not count as zeroed, should its best value be exactly zero: it becomes next to nothing."""
    kernel[kept & (kernel == 0)] = np.finfo(np.float32).tiny
    return kernel


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """A boolean array with True for exactly the `count` largest values."""
    flat = values.ravel()
    mask = np.zeros(flat.size, bool)
    if count:
        mask[np.argpartition(flat, flat.size - count)[flat.size - count :]] = True
    return mask.reshape(values.shape)


def largest_of_all(values: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """As `largest`, among several arrays together."""
    if len(values) == 1:
        return [largest(values[0], count)]
    mask = largest(np.concatenate([each.ravel() for each in values]), count)
    parts = np.split(mask, np.cumsum([each.size for each in values])[:-1])
    return [part.reshape(each.shape) for part, each in zip(parts, values, strict=True)]
