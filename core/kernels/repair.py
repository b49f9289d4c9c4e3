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
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.kernels.layer import (
    Layer,
    Recipe,
    admm,
    assemble,
    choose_units,
    choose_weights,
    largest,
    largest_directions,
    none_zero,
    squares,
)
from core.network import Kernels, as_network
from core.pruning import METHODS, SCOPES, Ranks, Sparsity, check_choice, rank

SUPPORTS = ("admm", "magnitude")

Report = Callable[[str, float], None]
"""Is told what a repair is doing, in words, and what part of it is done, from 0 to 1."""

_JACOBIAN_IMAGES = 1_000
"""Images over which derivatives are averaged; ten times as many give the same order."""


@dataclass(frozen=True)
class Repaired:
    """A repaired network, and what it took.

    Attributes:
        kernels: float32, of the shapes of the dense ones.
        images: how many images were used.
        seconds: how long it took, without what a `Repairer` had prepared before.
    """

    kernels: list[np.ndarray]
    images: int
    seconds: float


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
        New float32 arrays of the same shapes; the inputs are left untouched. The same inputs give the same arrays on
        the same machine with the same number of BLAS threads; with another one the last digits differ.

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

    def __init__(
        self, kernels: Kernels, images: np.ndarray, recipe: Recipe | None = None, report: Report | None = None
    ):
        """As `repair`; the arrays given are only read. `report` is called several times for each layer."""
        self.recipe = recipe or Recipe()
        self._report = report or (lambda stage, part: None)
        _check(kernels, images, self.recipe)
        self.kernels = [np.asarray(kernel, np.float32) for kernel in kernels]
        self.images = _evenly_spaced(len(images), self.recipe.images)
        """Which of the images are used, indices of shape (n,)."""
        self._rankings: dict[tuple[str, str], Ranks] = {}
        self._dense_problems: dict[int, Layer] = {}
        self._pixels = np.ascontiguousarray(np.asarray(images)[self.images].T, np.float32)

    def repair(self, method: str, sparsity: Sparsity, *, support: str = "admm", scope: str = "layer") -> Repaired:
        """As the function `repair`, with a report of what it took."""
        began = time.perf_counter()
        check_choice("method", method, METHODS)
        check_choice("support", support, SUPPORTS)
        check_choice("scope", scope, SCOPES)
        counts = self._ranking(method, scope).pruned(sparsity)
        if scope == "global" and support == "admm":
            self._report("sharing the sparsity between the layers", 0.0)
            counts = self._global_counts(method, sum(counts))
        if not any(counts):
            kernels = [kernel.copy() for kernel in self.kernels]
        elif method == "weight":
            kernels = self._repair_weights(counts, support)
        else:
            kernels = self._repair_units(counts, support)
        return Repaired(kernels, len(self.images), time.perf_counter() - began)

    def _repair_weights(self, counts: Sequence[int], support: str) -> list[np.ndarray]:
        repaired = []
        activations = self._pixels
        for layer, (dense, count) in enumerate(zip(self.kernels[:-1], counts, strict=True)):
            self._tell("choosing the weights of", layer)
            problem = self._dense_problem(0) if layer == 0 else self._problem(activations, self._targets[layer])
            ranks = self._ranks("weight")[layer]
            if support == "admm":
                chosen = choose_weights(problem, dense.size - count, self._importance[layer], self.recipe)
                kept = _fill(problem.spread(chosen), dense.size - count, ranks)
            else:
                kept = ranks >= count
            self._tell("fitting", layer, 0.5)
            rounds = self.recipe.rounds if kept.mean() <= self.recipe.rounds_below else 0
            values = problem.fit(kept[problem.live], rounds)
            repaired.append(assemble(problem, values, kept, dense))
            activations = np.maximum(repaired[-1].T @ activations, 0)
        return self._with_output(repaired, activations)

    def _repair_units(self, counts: Sequence[int], support: str) -> list[np.ndarray]:
        """Each layer has all its units fitted to the inputs that are left, and then loses those the next one misses
        least."""
        repaired = []
        activations, kernel = self._pixels, self.kernels[0]
        problem = None
        for layer, count in enumerate(counts):
            self._tell("choosing the units of", layer)
            dense = self.kernels[layer]
            keep = dense.shape[1] - count
            ranks = self._ranks("unit")[layer]
            if support == "admm":
                following = self._dense_problem(1) if layer == 0 else self._following(layer, kernel, activations)
                chosen = choose_units(following, keep, self._importance[layer + 1], self.recipe)
                kept = _fill(following.spread(chosen), keep, ranks)
            else:
                kept = ranks >= count
            self._tell("fitting", layer, 0.5)
            if problem is not None:
                # Only now, for the units that stay, the refits that ReLU allows.
                problem = problem.only(kept)
                values = problem.fit(np.ones((len(problem.live), keep), bool), self.recipe.rounds)
                kernel = kernel.copy()
                kernel[np.ix_(problem.live, kept)] = values
            kernel = none_zero(np.where(kept, kernel, np.float32(0)), kept)
            repaired.append(kernel)
            activations = np.maximum(kernel.T @ activations, 0)
            problem = self._problem(activations, self._targets[layer + 1])
            dense = self.kernels[layer + 1]
            everything = np.ones(dense.shape, bool)
            kernel = assemble(problem, problem.fit(everything[problem.live]), everything, dense)
        return self._with_output(repaired, activations)

    def _with_output(self, repaired: list[np.ndarray], activations: np.ndarray) -> list[np.ndarray]:
        """Add the output layer, fitted to the dense network's outputs with nothing of it zeroed."""
        dense = self.kernels[-1]
        self._tell("fitting", len(self.kernels) - 1)
        problem = self._problem(activations, self._targets[-1])
        everything = np.ones(dense.shape, bool)
        return [*repaired, assemble(problem, problem.fit(everything[problem.live]), everything, dense)]

    def _tell(self, doing: str, layer: int, part: float = 0.0) -> None:
        """Report what is being done with a layer, and what part of that layer is done."""
        # Decomposing and multiplying the Gram matrix takes most of the time.
        costs = [len(kernel) * kernel.size for kernel in self.kernels]
        done = (sum(costs[:layer]) + part * costs[layer]) / sum(costs)
        self._report(f"{doing} layer {layer + 1} of {len(costs)}", done)

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
            products = [largest_directions(each) for each in products]
        sizes = np.array([ranks.size for ranks in self._ranks(method)])
        keep = int(sizes.sum()) - total
        live = sum(each.size if method == "weight" else len(each) for each in products)
        chosen = admm(problems, products, min(keep, live), np.abs if method == "weight" else squares, self.recipe)
        wanted = np.array([max(np.count_nonzero(mask), 1) for mask in chosen])
        shift = self.recipe.weight_shift if method == "weight" else self.recipe.unit_shift
        wishes = sizes ** (1 - shift) * wanted**shift
        return (sizes - _share(keep, wishes, sizes)).tolist()

    def _ranking(self, method: str, scope: str) -> Ranks:
        if (method, scope) not in self._rankings:
            self._rankings[method, scope] = rank(self.kernels, method, scope=scope)
        return self._rankings[method, scope]

    def _ranks(self, method: str) -> list[np.ndarray]:
        """The order in which each hidden layer loses its weights, or units, by magnitude."""
        return self._ranking(method, "layer").ranks

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


def _fill(kept: np.ndarray, keep: int, ranks: np.ndarray) -> np.ndarray:
    """As many as the budget asks for: where there are too few that any image says something about, the largest."""
    missing = keep - np.count_nonzero(kept)
    return kept | largest(np.where(kept, -1, ranks), missing) if missing else kept


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
    as_network(kernels)
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
