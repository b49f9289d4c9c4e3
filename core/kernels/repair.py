"""Win back what pruning cost, without training and without labels.

Layer by layer, in order, the weights that stay are chosen and fitted so that the pruned network computes what the
dense one does: a least-squares problem from X̂, the activations of the layers already repaired, to Y, the dense
network's pre-activations. Only some training images are needed, never their labels.

- Which weights stay: ADMM on that problem with a budget of entries (ALPS; Meng et al. 2024, "ALPS: Improved
  Optimization for Highly Sparse One-Shot Pruning for Large Language Models"), or the largest, as `core.pruning` has it.
- Which units stay: the same with a budget of whole rows of the next kernel, group-sparse least squares.
- What they become: ridge least squares on what stays, exact for each unit (layer-wise OBS; Dong et al. 2017, "Learning
  to Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon").
- Where the dense unit is off, only overshoot is an error (Net-Trim; Aghasi et al. 2017, "Net-Trim: Convex Pruning of
  Deep Neural Networks with Performance Guarantee").
- Not all units matter alike: each one's error counts by how far it moves the outputs, the root mean square of their
  derivatives (Optimal Brain Damage, LeCun et al. 1990, with the outputs themselves in place of the loss).

Arrays of activations have the shape (inputs, n) here, so that what one unit needs of them lies in whole rows.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg import eigh

from core.pruning import METHODS, SCOPES, Kernels, Sparsity, check_choice, check_kernels, rank

SUPPORTS = ("admm", "magnitude")

_BATCH_ENTRIES = 2_000_000
"""Numbers in the matrices that are solved together: enough for speed, 16 MB in memory."""
_JACOBIAN_IMAGES = 1_000
"""Images over which derivatives are averaged; ten times as many give the same order."""
_DIRECTIONS = 100
"""Directions of the targets that group-sparse least squares looks at; the others are next to nothing."""
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
    rounds_below: float = 0.1


@dataclass(frozen=True)
class Repaired:
    """A repaired network, and what it took.

    Attributes:
        kernels: float32, of the shapes of the dense ones.
        images: how many images were used.
        seconds: how long it took, without what a `Repairer` had prepared before.
        errors: for each kernel the mean square of its units' errors, as part of that of the dense network's values:
            0 for a perfect fit, 1 for zero kernels.
    """

    kernels: list[np.ndarray]
    images: int
    seconds: float
    errors: list[float] = field(repr=False)


def repair(
    kernels: Kernels,
    images: np.ndarray,
    method: str,
    sparsity: Sparsity,
    *,
    support: str = "admm",
    scope: str = "layer",
    recipe: Recipe | None = None,
) -> list[np.ndarray]:
    """Prune a network so that it still computes what the dense one does.

    As many entries, or columns, of each hidden kernel are zero as `core.pruning.prune` zeroes. What stays has new
    values, and the output layer, in which nothing is zeroed, too. A weight whose input is off in all images keeps the
    value it was trained to.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs), training images without their labels.
        method: "weight" or "unit".
        sparsity: k, the fraction to zero in each hidden kernel, 0 to 1; or one k for each of them.
        support: how what stays is chosen. "admm", or "magnitude": what `prune` keeps, several times faster.
        scope: "layer" prunes the fraction k of each hidden layer, "global" the fraction k of all of them together.
        recipe: numbers other than the default ones.

    Returns:
        New float32 arrays of the same shapes; the inputs are left untouched. The same inputs give the same arrays.

    Raises:
        ValueError: for an unknown name, a sparsity outside [0, 1], kernels that do not chain or are not finite, or
            images that do not fit them.

    Example:
        `small = repair(kernels, data.train.images[10_000:], "weight", 0.99)`
    """
    return Repairer(kernels, images, recipe).repair(method, sparsity, support=support, scope=scope).kernels


class Repairer:
    """`repair` for several k: what does not depend on k is computed once.

    That is the dense network's pre-activations, the importance of its units, and the Gram matrix of the first layer
    with its decomposition. Takes some 200 MB for the default network while it lives.

    Example:
        `repairer = Repairer(kernels, images)`, then
        `curve = [repairer.repair("weight", k).kernels for k in (0.9, 0.95, 0.99)]`
    """

    def __init__(self, kernels: Kernels, images: np.ndarray, recipe: Recipe | None = None):
        """As `repair`; the arrays given are only read."""
        self.recipe = recipe or Recipe()
        _check(kernels, images, self.recipe)
        self.kernels = [np.asarray(kernel, np.float32) for kernel in kernels]
        self.images = _evenly_spaced(len(images), self.recipe.images)
        """Which of the images are used, indices of shape (n,)."""
        self._ranked: dict[str, list[np.ndarray]] = {}
        self._dense_problems: dict[int, Layer] = {}
        self._pixels = np.ascontiguousarray(np.asarray(images)[self.images].T, np.float32)

    def repair(self, method: str, sparsity: Sparsity, *, support: str = "admm", scope: str = "layer") -> Repaired:
        """As the function `repair`, with a report of what it took."""
        began = time.perf_counter()
        check_choice("method", method, METHODS)
        check_choice("support", support, SUPPORTS)
        check_choice("scope", scope, SCOPES)
        counts = rank(self.kernels, method, scope=scope).pruned(sparsity)
        if scope == "global" and support == "admm":
            counts = self._global_counts(method, sum(counts))
        if not any(counts):
            kernels, errors = [kernel.copy() for kernel in self.kernels], [0.0] * len(self.kernels)
        elif method == "weight":
            kernels, errors = self._repair_weights(counts, support)
        else:
            kernels, errors = self._repair_units(counts, support)
        return Repaired(kernels, len(self.images), time.perf_counter() - began, errors)

    def _repair_weights(self, counts: Sequence[int], support: str) -> tuple[list[np.ndarray], list[float]]:
        repaired, errors = [], []
        activations = self._pixels
        for layer, (dense, count) in enumerate(zip(self.kernels[:-1], counts, strict=True)):
            problem = self._dense_problem(0) if layer == 0 else self._problem(activations, self._targets[layer])
            ranks = self._ranks("weight")[layer]
            if support == "admm":
                chosen = choose_weights(problem, dense.size - count, self._importance[layer], self.recipe)
                kept = _fill(problem.spread(chosen), dense.size - count, ranks)
            else:
                kept = ranks >= count
            rounds = self.recipe.rounds if kept.mean() <= self.recipe.rounds_below else 0
            values = problem.fit(kept[problem.live], rounds)
            errors.append(problem.error(values))
            repaired.append(_assemble(problem, values, kept, dense))
            activations = np.maximum(repaired[-1].T @ activations, 0)
        return self._with_output(repaired, errors, activations)

    def _repair_units(self, counts: Sequence[int], support: str) -> tuple[list[np.ndarray], list[float]]:
        """Each layer has all its units fitted to the inputs that are left, and then loses those the next one misses
        least."""
        repaired, errors = [], []
        activations, kernel = self._pixels, self.kernels[0]
        problem = None
        for layer, count in enumerate(counts):
            dense = self.kernels[layer]
            keep = dense.shape[1] - count
            ranks = self._ranks("unit")[layer]
            if support == "admm":
                following = self._dense_problem(1) if layer == 0 else self._following(layer, kernel, activations)
                chosen = choose_units(following, keep, self._importance[layer + 1], self.recipe)
                kept = _fill(following.spread(chosen), keep, ranks)
            else:
                kept = ranks >= count
            if problem is not None:
                # Only now, for the units that stay, the refits that ReLU allows.
                problem = problem.only(kept)
                values = problem.fit(np.ones((len(problem.live), keep), bool), self.recipe.rounds)
                errors.append(problem.error(values))
                kernel = kernel.copy()
                kernel[np.ix_(problem.live, kept)] = values
            else:
                errors.append(0.0)
            kernel = np.where(kept, kernel, np.float32(0))
            repaired.append(kernel)
            activations = np.maximum(kernel.T @ activations, 0)
            problem = self._problem(activations, self._targets[layer + 1])
            dense = self.kernels[layer + 1]
            everything = np.ones(dense.shape, bool)
            kernel = _assemble(problem, problem.fit(everything[problem.live]), everything, dense)
        return self._with_output(repaired, errors, activations)

    def _with_output(
        self, repaired: list[np.ndarray], errors: list[float], activations: np.ndarray
    ) -> tuple[list[np.ndarray], list[float]]:
        """Add the output layer, fitted to the dense network's outputs with nothing of it zeroed."""
        dense = self.kernels[-1]
        problem = self._problem(activations, self._targets[-1])
        everything = np.ones(dense.shape, bool)
        values = problem.fit(everything[problem.live])
        return [*repaired, _assemble(problem, values, everything, dense)], [
            *errors,
            problem.error(values, rectified=False),
        ]

    def _problem(self, activations: np.ndarray, targets: np.ndarray) -> "Layer":
        return Layer(activations, targets, self.recipe.damping)

    def _following(self, layer: int, kernel: np.ndarray, activations: np.ndarray) -> "Layer":
        """The problem that tells which units of a layer stay: from its activations to the next pre-activations."""
        return self._problem(np.maximum(kernel.T @ activations, 0), self._targets[layer + 1])

    def _global_counts(self, method: str, total: int) -> list[int]:
        """How many weights, or units, each layer loses if all share one budget.

        ADMM on all layers at once, each unit's error counted by how far it moves the outputs, tells where they are
        needed. It takes the errors of the layers for independent, but a layer that is repaired makes good for those
        before it, and has to. So the budgets lie between what it says and the same part of each layer.
        """
        # Units are told by the problem of the kernel that follows, as when they are chosen.
        layers = range(len(self.kernels) - 1) if method == "weight" else range(1, len(self.kernels))
        problems = [self._dense_problem(layer) for layer in layers]
        products = [self._dense_problem(layer).products * np.float32(self._importance[layer]) for layer in layers]
        if method == "unit":
            products = [_largest_directions(each) for each in products]
        sizes = np.array([ranks.size for ranks in self._ranks(method)])
        keep = int(sizes.sum()) - total
        live = sum(each.size if method == "weight" else len(each) for each in products)
        chosen = _admm(problems, products, min(keep, live), np.abs if method == "weight" else _squares, self.recipe)
        wanted = np.array([max(np.count_nonzero(mask), 1) for mask in chosen])
        shift = self.recipe.weight_shift if method == "weight" else self.recipe.unit_shift
        wishes = sizes ** (1 - shift) * wanted**shift
        return (sizes - _share(keep, wishes, sizes)).tolist()

    def _ranks(self, method: str) -> list[np.ndarray]:
        if method not in self._ranked:
            self._ranked[method] = rank(self.kernels, method).ranks
        return self._ranked[method]

    def _dense_problem(self, layer: int) -> "Layer":
        """The problem of a layer as it is in the dense network."""
        if layer not in self._dense_problems:
            inputs = np.maximum(self._targets[layer - 1], 0) if layer else self._pixels
            self._dense_problems[layer] = self._problem(inputs, self._targets[layer])
        return self._dense_problems[layer]

    @cached_property
    def _targets(self) -> list[np.ndarray]:
        """The dense network's pre-activations, (units, n) for each kernel."""
        return _pre_activations(self.kernels, self._pixels)

    @cached_property
    def _importance(self) -> list[np.ndarray]:
        some = _evenly_spaced(len(self.images), _JACOBIAN_IMAGES)
        return importance(self.kernels, [targets[:, some] for targets in self._targets])


class Layer:
    """One layer's least-squares problem: min |W' X̂ - Y|², with some damping.

    Inputs are scaled to the same length, so that all weights have the same unit; those that are off in all images are
    left out.

    Attributes:
        live: indices of the inputs that are on at least once, shape (live,).
        inputs: their activations, float32 of shape (live, n).
        targets: float32 of shape (units, n).
        scale: the length of each row of `inputs`, shape (live,).
        gram: of the scaled inputs, (live, live); its diagonal is 1 + damping.
        products: scaled inputs times targets, (live, units).
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, damping: float):
        scale = np.sqrt(np.einsum("in,in->i", inputs, inputs))
        self.all = len(inputs)
        self.live = np.flatnonzero(scale)
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

    def only(self, units: np.ndarray) -> "Layer":
        """The same problem for some of the units, a boolean array of shape (units,)."""
        part = object.__new__(Layer)
        part.__dict__.update(self.__dict__)
        part.targets, part.products = self.targets[units], self.products[:, units]
        return part

    def spread(self, mask: np.ndarray) -> np.ndarray:
        """A boolean array over the live inputs, its first axis, as one over all inputs."""
        full = np.zeros((self.all, *mask.shape[1:]), bool)
        full[self.live] = mask
        return full

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
            return _refit(self.inputs, self.targets, self._inverse(slice(None)), weights, rounds)
        for unit in range(kept.shape[1]):
            rows = np.flatnonzero(kept[:, unit])
            if len(rows):
                weights[rows, unit] = _refit(
                    self.inputs[rows],
                    self.targets[unit : unit + 1],
                    self._inverse(rows),
                    weights[rows, unit, None],
                    rounds,
                )[:, 0]
        return weights

    def error(self, weights: np.ndarray, rectified: bool = True) -> float:
        """What is wrong in the units' values after ReLU, or without it: the squares' sum as part of the targets'."""
        floor = np.float32(0 if rectified else -np.inf)
        wanted = np.maximum(self.targets, floor)
        missed = np.maximum(weights.T @ self.inputs, floor) - wanted
        total = float(np.vdot(wanted, wanted))
        return float(np.vdot(missed, missed)) / total if total else 0.0

    def _inverse(self, rows: np.ndarray | slice) -> np.ndarray:
        """The inverse of some rows' and columns' Gram matrix, for inputs as they are, not scaled."""
        gram = self.gram[rows][:, rows].astype(np.float64)
        scale = self.scale[rows]
        return (np.linalg.inv(gram) / np.outer(scale, scale)).astype(np.float32)


def choose_weights(problem: Layer, keep: int, importance: np.ndarray, recipe: Recipe) -> np.ndarray:
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
    return _admm([problem], [products], keep, np.abs, recipe)[0]


def choose_units(problem: Layer, keep: int, importance: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The `keep` inputs to keep of a layer, a boolean array of shape (live,), by group-sparse least squares.

    As `choose_weights`, but whole rows stay or go, by their norm. Turning all targets together changes no norm, so
    it is enough to look at the directions in which the products are largest.
    """
    if not 0 < keep < len(problem.live):
        return np.full(len(problem.live), keep > 0)
    products = _largest_directions(problem.products * np.float32(importance))
    chosen = _admm([problem], [products], keep, _squares, recipe)[0]
    return _swap(problem.gram.astype(np.float64), products.astype(np.float64), chosen, recipe.swaps)


def importance(kernels: Kernels, pre_activations: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How far each unit moves the outputs: the root mean square of their derivatives by its pre-activation.

    Args:
        kernels: arrays of shape (inputs, units).
        pre_activations: of the dense network on some images, (units, n) for each kernel.

    Returns:
        For each kernel an array of shape (units,). Units that move nothing get a thousandth of the mean, so that
        they come last but are not undecided.
    """
    squares = [np.zeros(kernel.shape[1]) for kernel in kernels]
    squares[-1] += 1
    for output in kernels[-1].T:
        slopes = np.repeat(output[:, None], pre_activations[-1].shape[1], axis=1)
        for layer in range(len(kernels) - 2, -1, -1):
            slopes *= pre_activations[layer] > 0
            squares[layer] += np.mean(np.square(slopes), axis=1)
            if layer:
                slopes = kernels[layer] @ slopes
    sizes = [np.sqrt(square) for square in squares]
    return [np.maximum(size, 1e-3 * (size.mean() or 1)) for size in sizes]


def _admm(
    problems: Sequence[Layer],
    products: Sequence[np.ndarray],
    keep: int,
    score: Callable[[np.ndarray], np.ndarray],
    recipe: Recipe,
) -> list[np.ndarray]:
    """ADMM for min |W' X̂ - Y|² of one layer, or of several with one budget: `keep` entries, or rows, of W.

    W minimises the error plus penalty/2 · |W - D|², D is what the budget leaves of W, those of largest `score`, and the
    multipliers pull them together while the penalty grows. The inverse of the Gram matrix plus the penalty is a product
    of its eigenvectors; it is renewed every few steps only, which halves the cost and leaves what is chosen as good.
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
        kept = _largest_of_all([score(each) for each in wanted], keep)
        sparse = [
            np.where(mask if mask.ndim == 2 else mask[:, None], each, 0)
            for mask, each in zip(kept, wanted, strict=True)
        ]
        for pull, weight, part in zip(multipliers, weights, sparse, strict=True):
            pull += penalty * (weight - part)
    return kept


def _inverse_with(problem: Layer, penalty: np.float32) -> np.ndarray:
    values, vectors = problem.decomposed
    root = vectors / np.sqrt(values + penalty)
    return root @ root.T


def _largest_directions(products: np.ndarray) -> np.ndarray:
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
        costs = _squares(inverse @ products[support]) / np.diag(inverse)
        gone = support.pop(int(costs.argmin()))
        across = gram[:, support]
        explained = across @ np.linalg.inv(gram[np.ix_(support, support)])
        missing = products - explained @ products[support]
        unexplained = np.diag(gram) - np.einsum("is,is->i", explained, across)
        unexplained[support] = np.inf
        gains = _squares(missing) / unexplained
        best = int(gains.argmax())
        if gains[best] <= gains[gone] * (1 + 1e-9):
            support.append(gone)
            break
        support.append(best)
    swapped = np.zeros_like(chosen)
    swapped[support] = True
    return swapped


def _squares(rows: np.ndarray) -> np.ndarray:
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
    for units in _batches(sizes):
        most = sizes[units[-1]]
        if not most:
            continue
        # Every unit gets as many rows as the largest of the batch; those too many are solved as 1 · w = 0.
        rows = np.argsort(~kept[:, units], axis=0, kind="stable")[:most].T
        used = np.arange(most) < sizes[units, None]
        matrices = gram[rows[:, :, None], rows[:, None, :]] * (used[:, :, None] & used[:, None, :])
        matrices[:, np.arange(most), np.arange(most)] += ~used
        sides = products[rows, units[:, None]] * used
        solved = np.linalg.solve(matrices, sides[:, :, None])[:, :, 0]
        solution[rows[used], np.repeat(units, sizes[units])] = solved[used]
    return solution


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
    inputs: np.ndarray, targets: np.ndarray, inverse: np.ndarray, weights: np.ndarray, rounds: int
) -> np.ndarray:
    """The refits of `Layer.fit` for units that share their inputs: (kept, n), (units, n), (kept, kept), (kept, units).

    Where a target is positive it stays, elsewhere it is the prediction unless that overshoots.
    """
    on = targets > 0
    ahead, momentum = weights, 1.0
    for _ in range(rounds):
        allowed = np.where(on, targets, np.minimum(ahead.T @ inputs, 0))
        refitted = inverse @ (inputs @ allowed.T)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = refitted + np.float32((momentum - 1) / following) * (refitted - weights)
        weights, momentum = refitted, following
    return weights


def _assemble(problem: Layer, values: np.ndarray, kept: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """A kernel of full shape: the fitted values, and the dense ones where no image says anything."""
    kernel = np.where(kept, dense, np.float32(0))
    kernel[problem.live] = values
    # What stays must not count as zeroed, should its best value be exactly zero.
    kernel[kept & (kernel == 0)] = np.finfo(np.float32).tiny
    return kernel


def _fill(kept: np.ndarray, keep: int, ranks: np.ndarray) -> np.ndarray:
    """As many as the budget asks for: where there are too few that any image says something about, the largest."""
    missing = keep - np.count_nonzero(kept)
    return kept | _largest(np.where(kept, -1, ranks), missing) if missing else kept


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """A boolean array with True for exactly the `count` largest values."""
    flat = values.ravel()
    mask = np.zeros(flat.size, bool)
    if count:
        mask[np.argpartition(flat, flat.size - count)[flat.size - count :]] = True
    return mask.reshape(values.shape)


def _largest_of_all(values: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """As `_largest`, among several arrays together."""
    if len(values) == 1:
        return [_largest(values[0], count)]
    mask = _largest(np.concatenate([each.ravel() for each in values]), count)
    parts = np.split(mask, np.cumsum([each.size for each in values])[:-1])
    return [part.reshape(each.shape) for part, each in zip(parts, values, strict=True)]


def _share(total: int, wishes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """A total as whole numbers in proportion to positive wishes, none larger than its size."""
    shares = np.zeros(len(sizes))
    open_ = np.ones(len(sizes), bool)
    while open_.any():
        # What one layer cannot take, the others share.
        shares[open_] = (total - sizes[~open_].sum()) * wishes[open_] / wishes[open_].sum()
        full = open_ & (shares > sizes)
        shares[full] = sizes[full]
        if not full.any():
            break
        open_ &= ~full
    whole = np.floor(shares + 1e-9).astype(int)
    for layer in np.argsort(whole - shares, kind="stable")[: total - whole.sum()]:
        whole[layer] += 1
    return whole


def _pre_activations(kernels: Kernels, activations: np.ndarray) -> list[np.ndarray]:
    found = []
    for kernel in kernels:
        found.append(kernel.T @ activations)
        activations = np.maximum(found[-1], 0)
    return found


def _evenly_spaced(total: int, most: int) -> np.ndarray:
    count = min(total, most)
    return np.arange(count) * total // count


def _check(kernels: Kernels, images: np.ndarray, recipe: Recipe) -> None:
    check_kernels(kernels)
    inputs = np.shape(kernels[0])[0]
    shape = np.shape(images)
    if len(shape) != 2 or shape[1] != inputs or not shape[0]:
        raise ValueError(f"Expected images of shape (n, {inputs}), n at least 1. Received: {shape}.")
    if not all(np.isfinite(array).all() for array in (*kernels, images)):
        raise ValueError("Expected kernels and images of finite numbers. Received some that are not.")
    if recipe.images < 1 or recipe.steps < 1 or recipe.rounds < 0 or recipe.damping <= 0 or recipe.penalty <= 0:
        raise ValueError(
            "Expected at least one image and one step, no negative number of rounds, and a positive damping and "
            f"penalty. Received: {recipe}."
        )
