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

Arrays of activations have the shape (inputs, n) here, so that what one unit needs of them lies in whole rows. For a
convolution n counts image patches, of which some at random are enough; a bias is refitted with the weights.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.kernels.layer import (
    Problem,
    Recipe,
    admm,
    assemble,
    choose_units,
    choose_weights,
    largest,
    largest_directions,
    none_zero,
)
from core.network import (
    Kernels,
    Layer,
    Network,
    as_network,
    behind,
    inputs_of,
    slopes_of_inputs,
    slopes_of_sums,
    sources,
    units_before,
)
from core.pruning import METHODS, SCOPES, AnyNetwork, AnySparsity, Ranks, check_choice, rank

SUPPORTS = ("admm", "magnitude")
DEFAULT_SUPPORT = SUPPORTS[0]

Report = Callable[[str, float], None]
"""Is told what a repair is doing, in words, and what part of it is done, from 0 to 1."""

_JACOBIAN_IMAGES = 1_000
"""Images over which derivatives are averaged; ten times as many give the same order."""
_PATCHES = 20_000
"""Patches that a convolution is fitted to, at most, and at least one of each image."""


@dataclass(frozen=True)
class Repaired:
    """A repaired network, and what it took.

    Attributes:
        network: float32, of the shapes of the dense one.
        images: how many images were used.
        seconds: how long it took, without what a `Repairer` had prepared before.
    """

    network: Network
    images: int
    seconds: float

    @property
    def kernels(self) -> list[np.ndarray]:
        """Its matrices."""
        return self.network.matrices


def repair(
    network: AnyNetwork,
    images: np.ndarray,
    method: str,
    sparsity: AnySparsity,
    *,
    support: str = DEFAULT_SUPPORT,
    scope: str = "layer",
    recipe: Recipe | None = None,
) -> AnyNetwork:
    """Prune a network so that it still computes what the dense one does.

    As many entries, or columns, of each hidden kernel are zero as `core.pruning.prune` zeroes. What stays has new
    values, and the output layer, in which nothing is zeroed, too, and so do biases. A weight whose input is off in all
    images keeps the value it was trained to.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs), training images without their labels.
        method: "weight" or "unit".
        sparsity: k, the fraction to zero in each hidden kernel, 0 to 1; or one k for each of them.
        support: how what stays is chosen. "admm", or "magnitude": what `prune` keeps, several times faster.
        scope: "layer" prunes the fraction k of each hidden layer, "global" the fraction k of all of them together.
        recipe: numbers other than the default ones.

    Returns:
        A network, or new arrays, in float32 and of the same shapes; the inputs are left untouched. The same inputs give
        the same arrays on the same machine with the same number of BLAS threads; with another one the last digits
        differ.

    Raises:
        ValueError: for an unknown name, a sparsity outside [0, 1], kernels that do not chain or are not finite, or
            images that do not fit them.

    Example:
        `small = repair(kernels, data.train.images[10_000:], "weight", 0.99)`
    """
    repaired = Repairer(network, images, recipe).repair(method, sparsity, support=support, scope=scope)
    return repaired.network if isinstance(network, Network) else repaired.kernels


class Repairer:
    """`repair` for several k: what does not depend on k is computed once.

    That is the dense network's pre-activations, the importance of its units, and the Gram matrix of the first layer
    with its decomposition. Takes some 200 MB for the default network while it lives.

    Example:
        `repairer = Repairer(kernels, images)`, then
        `curve = [repairer.repair("weight", k).kernels for k in (0.9, 0.95, 0.99)]`
    """

    def __init__(
        self,
        network: Network | Kernels,
        images: np.ndarray,
        recipe: Recipe | None = None,
        report: Report | None = None,
    ):
        """As `repair`; the arrays given are only read. `report` is called several times for each layer."""
        self.recipe = recipe or Recipe()
        self._report = report or (lambda stage, part: None)
        network = as_network(network)
        _check(network, images, self.recipe)
        biases = [None if layer.bias is None else np.asarray(layer.bias, np.float32) for layer in network.layers]
        self.network = network.with_matrices([np.asarray(each, np.float32) for each in network.matrices], biases)
        self.images = _evenly_spaced(len(images), self.recipe.images)
        """Which of the images are used, indices of shape (n,)."""
        self._rankings: dict[tuple[str, str], Ranks] = {}
        self._dense_problems: dict[int, Problem] = {}
        self._known_targets: dict[int, np.ndarray] = {}
        self._signal = self.network.shaped(np.asarray(images)[self.images]).astype(np.float32, copy=False)

    def repair(
        self, method: str, sparsity: AnySparsity, *, support: str = DEFAULT_SUPPORT, scope: str = "layer"
    ) -> Repaired:
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
            network = self.network.with_matrices([matrix.copy() for matrix in self.network.matrices])
        else:
            layers = (self._repair_weights if method == "weight" else self._repair_units)(counts, support)
            network = Network(tuple(layers), self.network.shape)
        return Repaired(network, len(self.images), time.perf_counter() - began)

    def _repair_weights(self, counts: Sequence[int], support: str) -> list[Layer]:
        repaired = []
        signal = self._signal
        for index, (layer, count) in enumerate(zip(self.network.layers, counts, strict=False)):
            self._tell("choosing the weights of", index)
            problem = self._problem(index, signal) if index else self._dense_problem(0)
            dense, ranks = layer.matrix, self._ranks("weight")[index]
            if support == "admm":
                chosen = choose_weights(problem, dense.size - count, self._importance[index], self.recipe)
                kept = _fill(_spread(chosen, problem.live, len(dense)), dense.size - count, ranks)
            else:
                kept = ranks >= count
            self._tell("fitting", index, 0.5)
            rounds = self.recipe.rounds if kept.mean() <= self.recipe.rounds_below else 0
            repaired.append(_fitted(layer, problem, kept, rounds))
            signal = self._behind(repaired[-1], signal)
        return self._with_output(repaired, signal)

    def _repair_units(self, counts: Sequence[int], support: str) -> list[Layer]:
        """Each layer has all its units fitted to the inputs that are left, and then loses those the next one misses
        least."""
        repaired = []
        signal, layer = self._signal, self.network.layers[0]
        problem = None
        for index, count in enumerate(counts):
            self._tell("choosing the units of", index)
            units = layer.matrix.shape[1]
            ranks = self._ranks("unit")[index]
            if support == "admm":
                following = self._problem(index + 1, self._behind(layer, signal)) if index else self._dense_problem(1)
                chosen = choose_units(following, units - count, self._importance[index + 1], self.recipe)
                kept = _fill(_spread(chosen, following.units, units), units - count, ranks)
            else:
                kept = ranks >= count
            self._tell("fitting", index, 0.5)
            matrix = layer.matrix.copy()
            bias = None if layer.bias is None else np.where(kept, layer.bias, np.float32(0))
            if problem is not None:
                # Only now, for the units that stay, the refits that ReLU allows.
                problem = problem.only(kept)
                values = problem.fit(np.ones((len(problem.live), units - count), bool), self.recipe.rounds)
                matrix[np.ix_(problem.live, kept)] = values
                if bias is not None:
                    bias[kept] = problem.bias(matrix[:, kept])
            matrix = none_zero(np.where(kept, matrix, np.float32(0)), kept)
            repaired.append(replace(layer, matrix=matrix, bias=bias))
            signal = self._behind(repaired[-1], signal)
            if index + 1 < len(counts):
                problem = self._problem(index + 1, signal)
                layer = _fitted(self.network.layers[index + 1], problem)
        return self._with_output(repaired, signal)

    def _with_output(self, repaired: list[Layer], signal: np.ndarray) -> list[Layer]:
        """Add the output layer, fitted to the dense network's outputs with nothing of it zeroed."""
        last = len(repaired)
        self._tell("fitting", last)
        return [*repaired, _fitted(self.network.layers[last], self._problem(last, signal))]

    def _tell(self, doing: str, layer: int, part: float = 0.0) -> None:
        """Report what is being done with a layer, and what part of that layer is done."""
        # Decomposing and multiplying the Gram matrix takes most of the time.
        costs = [len(matrix) * matrix.size for matrix in self.network.matrices]
        done = (sum(costs[:layer]) + part * costs[layer]) / sum(costs)
        self._report(f"{doing} layer {layer + 1} of {len(costs)}", done)

    def _problem(self, index: int, signal: np.ndarray) -> Problem:
        """The problem of a layer that this signal enters."""
        layer, units = self.network.layers[index], units_before(self.network)[index]
        read = sources(self.network)[index] if len(layer.matrix) > units else None
        return Problem(self._inputs(index, signal), self._targets(index), self.recipe.damping, layer.bias, read)

    def _inputs(self, index: int, signal: np.ndarray) -> np.ndarray:
        """What the rows of a layer's matrix are multiplied by, of a convolution the chosen patches."""
        layer = self.network.layers[index]
        if layer.window is None:
            return inputs_of(layer, signal)
        parts = zip(self._parts(signal), self._parts(self._places[index]), strict=True)
        return np.concatenate(
            [inputs_of(layer, part)[:, (at * at.shape[1] + np.arange(at.shape[1])).ravel()] for part, at in parts],
            axis=1,
        )

    def _behind(self, layer: Layer, signal: np.ndarray) -> np.ndarray:
        """The signal behind a layer that this one enters."""
        parts = [signal] if layer.window is None else self._parts(signal)
        found = [behind(layer, layer.matrix.T @ inputs_of(layer, part), part.shape) for part in parts]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)

    def _parts(self, signal: np.ndarray) -> list[np.ndarray]:
        batch = self.network.batch
        return [signal[..., start : start + batch] for start in range(0, signal.shape[-1], batch)]

    @cached_property
    def _places(self) -> list[np.ndarray]:
        """Where each convolution looks at each image: numbers of places, of shape (patches of an image, n)."""
        random, found = np.random.default_rng(0), []
        for layer, shape in zip(self.network.layers, self.network.shapes, strict=False):
            total = math.prod(layer.window.places(shape[:2])) if layer.window else 1
            each = max(_PATCHES // len(self.images), 1)
            every = np.broadcast_to(np.arange(total)[:, None], (total, len(self.images)))
            found.append(every if total <= each else random.integers(total, size=(each, len(self.images))))
        return found

    def _global_counts(self, method: str, total: int) -> list[int]:
        """How many weights, or units, each layer loses if all share one budget.

        ADMM on all layers at once, each unit's error counted by how far it moves the outputs, tells where they are
        needed. It takes the errors of the layers for independent, but a layer that is repaired makes good for those
        before it, and has to. So the budgets lie between what it says and the same part of each layer.
        """
        # Units are told by the problem of the kernel that follows, as when they are chosen.
        layers = [index + (method == "unit") for index in range(len(self.network.layers) - 1)]
        problems = [self._dense_problem(layer) for layer in layers]
        products = [self._dense_problem(layer).products * np.float32(self._importance[layer]) for layer in layers]
        if method == "unit":
            products = [largest_directions(each) for each in products]
        sizes = np.array([ranks.size for ranks in self._ranks(method)])
        keep = int(sizes.sum()) - total
        live = sum(each.size for each in products) if method == "weight" else sum(len(each.units) for each in problems)
        chosen = admm(problems, products, min(keep, live), method == "unit", self.recipe)
        wanted = np.array([max(np.count_nonzero(mask), 1) for mask in chosen])
        shift = self.recipe.weight_shift if method == "weight" else self.recipe.unit_shift
        wishes = sizes ** (1 - shift) * wanted**shift
        return (sizes - _share(keep, wishes, sizes)).tolist()

    def _ranking(self, method: str, scope: str) -> Ranks:
        if (method, scope) not in self._rankings:
            self._rankings[method, scope] = rank(self.network, method, scope=scope)
        return self._rankings[method, scope]

    def _ranks(self, method: str) -> list[np.ndarray]:
        """The order in which each hidden layer loses its weights, or units, by magnitude."""
        return self._ranking(method, "layer").ranks

    def _dense_problem(self, index: int) -> Problem:
        """The problem of a layer as it is in the dense network."""
        if index not in self._dense_problems:
            self._dense_problems[index] = self._problem(index, self._dense_signal(index))
        return self._dense_problems[index]

    def _dense_signal(self, index: int) -> np.ndarray:
        """The signal that enters a layer of the dense network."""
        if not index:
            return self._signal
        before = self.network.layers[index - 1]
        if before.window is None:
            return behind(before, self._targets(index - 1).copy(), self._signal.shape)
        return self._behind(before, self._dense_signal(index - 1))

    def _targets(self, index: int) -> np.ndarray:
        """The dense network's pre-activations without the bias, (units, n)."""
        if index not in self._known_targets:
            inputs = self._inputs(index, self._dense_signal(index))
            self._known_targets[index] = self.network.layers[index].matrix.T @ inputs
        return self._known_targets[index]

    @cached_property
    def _importance(self) -> list[np.ndarray]:
        """Of the errors of all places of an image together, where only some of them are looked at."""
        some = _evenly_spaced(len(self.images), min(_JACOBIAN_IMAGES, self.network.batch))
        signal, sums = self._signal[..., some], []
        for layer in self.network.layers:
            found = layer.matrix.T @ inputs_of(layer, signal)
            sums.append(found if layer.bias is None else found + layer.bias[:, None])
            signal = behind(layer, found, signal.shape)
        parts = [found.shape[1] / len(some) / len(at) for found, at in zip(sums, self._places, strict=True)]
        return [size * np.sqrt(part) for size, part in zip(importance(self.network, sums), parts, strict=True)]


def importance(network: Network | Kernels, pre_activations: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How far each unit moves the outputs: the root mean square of their derivatives by its pre-activation.

    Args:
        network: a network whose last layer is dense, or arrays of shape (inputs, units).
        pre_activations: of it on some images, (units, n) for each layer; (units, places × n) for a convolution.

    Returns:
        For each layer an array of shape (units,). Units that move nothing get a thousandth of the mean, so that
        they come last but are not undecided.
    """
    network = as_network(network)
    images = pre_activations[-1].shape[1]
    squares = [np.zeros(len(sums)) for sums in pre_activations]
    for output in np.eye(len(pre_activations[-1]), dtype=pre_activations[-1].dtype):
        slopes = np.repeat(output[:, None], images, axis=1)
        for index in reversed(range(len(squares))):
            layer, shape = network.layers[index], (*network.shapes[index], images)
            slopes = slopes_of_sums(layer, slopes, pre_activations[index], shape)
            squares[index] += np.mean(np.square(slopes), axis=1)
            if index:
                slopes = slopes_of_inputs(layer, layer.matrix @ slopes, shape)
    sizes = [np.sqrt(square) for square in squares]
    return [np.maximum(size, 1e-3 * (size.mean() or 1)) for size in sizes]


def _fitted(layer: Layer, problem: Problem, kept: np.ndarray | None = None, rounds: int = 0) -> Layer:
    """A layer with the weights that are kept, or all of them, and the bias fitted."""
    kept = np.ones(layer.matrix.shape, bool) if kept is None else kept
    matrix = assemble(problem, problem.fit(kept[problem.live], rounds), kept, layer.matrix)
    return replace(layer, matrix=matrix, bias=problem.bias(matrix))


def _spread(mask: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Widen a boolean array over some places, its first axis, to all `count` places."""
    full = np.zeros((count, *mask.shape[1:]), bool)
    full[places] = mask
    return full


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


def _evenly_spaced(total: int, most: int) -> np.ndarray:
    count = min(total, most)
    return np.arange(count) * total // count


def _check(network: Network, images: np.ndarray, recipe: Recipe) -> None:
    inputs, shape = network.inputs, np.shape(images)
    if len(shape) != 2 or shape[1] != inputs or not shape[0]:
        raise ValueError(f"Expected images of shape (n, {inputs}), n at least 1. Received: {shape}.")
    biases = [layer.bias for layer in network.layers if layer.bias is not None]
    if not all(np.isfinite(array).all() for array in (*network.matrices, *biases, images)):
        raise ValueError("Expected kernels and images of finite numbers. Received some that are not.")
    if recipe.images < 1 or recipe.steps < 1 or recipe.rounds < 0 or recipe.damping <= 0 or recipe.penalty <= 0:
        raise ValueError(
            "Expected at least one image and one step, no negative number of rounds, and a positive damping and "
            f"penalty. Received: {recipe}."
        )
