"""Rank and prune networks.

A network is everywhere a `core.network.Network`, or a list of float arrays of shape (inputs, units), hidden layers
first, output layer last. The output layer is never pruned, and ranks are always those of the matrices as trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from core.network import Kernels, Network, as_network, matrices_of, sources

METHODS = ("weight", "unit")
RANKINGS = ("magnitude", "activation", "random")
SHUFFLED = {"magnitude-shuffled": "magnitude", "activation-shuffled": "activation"}
"""Baselines of global pruning, and the ranking that each takes its counts from: how many go in each layer is that
ranking's, which ones is chance."""
CHANCE = ("random", *SHUFFLED)
"""Rankings by chance: baselines, of several seeds."""
SCOPES = ("layer", "global")

AnyNetwork = TypeVar("AnyNetwork", Network, Kernels)


@dataclass(frozen=True, eq=False)
class Sparsity:
    """k from 0 to 1: one for all hidden layers, or one for each of them.

    `str` gives how k is written in addresses, flags and file names. One k for all layers equals its number, so it is
    found where numbers are keys.

    Attributes:
        value: a number, or a tuple with one for each hidden layer.

    Example:
        `str(Sparsity((0.8, 0.9)))` is "0.8,0.9".
    """

    value: float | tuple[float, ...]

    @classmethod
    def of(cls, k: "AnySparsity") -> "Sparsity":
        """The same k, whatever it is given as."""
        return k if isinstance(k, cls) else cls(k if np.ndim(k) == 0 else tuple(k))

    @classmethod
    def parse(cls, text: str, layers: int) -> "Sparsity | None":
        """The inverse of `str`; None for anything that is no k, or not one for each of the layers."""
        try:
            # To the digits that are written, so that every k that was read has a text of its own.
            each = tuple(float(f"{float(part):.10g}") for part in text.split(","))
        except ValueError:
            return None
        if len(each) not in (1, layers) or not all(0 <= k <= 1 for k in each):
            return None
        return cls(each if len(each) > 1 else each[0])

    @property
    def by_layer(self) -> bool:
        """Whether each hidden layer has a k of its own."""
        return isinstance(self.value, tuple)

    @property
    def each(self) -> tuple[float, ...]:
        """All the numbers: one, or one for each hidden layer."""
        return self.value if self.by_layer else (self.value,)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Sparsity) else other)

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return ",".join(f"{k:.10g}" for k in self.each)


AnySparsity = Sparsity | float | Sequence[float]
"""k as functions take it."""


def prune(network: AnyNetwork, method: str, sparsity: AnySparsity) -> AnyNetwork:
    """Zero the smallest weights, or the units of smallest norm, of every hidden kernel.

    Weight pruning zeroes the ⌊k·N⌋ entries of smallest |w| in each hidden kernel (Han et al. 2015,
    "Learning both Weights and Connections for Efficient Neural Networks"); unit pruning zeroes the
    ⌊k·U⌋ columns of smallest L2 norm, and their biases. Ties fall in stable order, so what is pruned at k stays pruned
    at every larger k. For other rankings, or many values of k, see `rank`.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        method: "weight" or "unit".
        sparsity: k, the fraction to zero in each hidden kernel, 0 to 1; or one k for each of them.

    Returns:
        A network, or new arrays, of the same shapes and types; what is given is left untouched.

    Raises:
        ValueError: for an unknown method, a sparsity outside [0, 1], or kernels that do not chain.

    Example:
        `prune(run.kernels(), "weight", 0.9)`: nine of ten weights of each hidden kernel are zero.
    """
    return rank(network, method).prune(network, sparsity)


def rank(
    network: Network | Kernels,
    method: str,
    ranking: str = "magnitude",
    scope: str = "layer",
    activations: Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> "Ranks":
    """Put all hidden weights, or all hidden units, in the order in which pruning takes them.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        method: "weight" or "unit".
        ranking: what is pruned first.
            "magnitude": the smallest |w|, or the smallest L2 norm of a unit's incoming weights (Han et al. 2015).
            "activation": the smallest |w| times the rms of its input (Wanda; Sun et al. 2023, "A Simple and
            Effective Pruning Approach for Large Language Models"); for units the smallest rms activation times
            L2 norm of the outgoing weights, the same idea for whole units.
            "random": in random order, the baseline that every ranking has to beat (Blalock et al. 2020, "What
            is the State of Neural Network Pruning?").
            "magnitude-shuffled" and "activation-shuffled": the order of the other one, shuffled within each layer. At
            every k as many go in each layer, but which ones is chance: beside a global ranking it tells what the choice
            of layers is worth, and what the choice within them (Frankle et al. 2020, "Pruning Neural Networks at
            Initialization: Why Are We Missing the Mark?", shuffle masks so).
        scope: "layer" prunes the fraction k of each hidden layer, "global" the fraction k of all of them together.
        activations: for "activation", the rms values that `core.evaluation.rms_activations` gives.
        seed: for the rankings by chance.

    Raises:
        ValueError: for an unknown name, kernels that do not chain, or missing activations.

    Example:
        `rank(kernels, "unit", scope="global").prune(kernels, 0.5)`
    """
    network = as_network(network)
    check_choice("method", method, METHODS)
    check_choice("scope", scope, SCOPES)
    if ranking in SHUFFLED:
        return _shuffled(network, rank(network, method, SHUFFLED[ranking], scope, activations), seed)
    scores = _scores(network, method, ranking, activations, seed)
    if scope == "layer":
        ranks = [_ranks(score) for score in scores]
        return _known(network, method, scores, ranks, [score.size for score in scores])
    together = _ranks(np.concatenate([score.ravel() for score in scores]))
    parts = np.split(together, np.cumsum([score.size for score in scores])[:-1])
    ranks = [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]
    return _known(network, method, scores, ranks, [together.size] * len(scores))


@dataclass(frozen=True)
class Ranks:
    """The order in which pruning takes what is in the hidden kernels. Made by `rank`.

    Attributes:
        method: "weight" or "unit".
        scores: what each hidden kernel is ranked by, of its shape for "weight", of shape (units,) for "unit".
        ranks: int32, of the same shapes; 0 goes first.
        pools: how many ranks each hidden kernel's are among: its own, or those of all layers together.
        zeros: for each hidden kernel the sorted ranks of its weights that are zero before pruning, as those of a
            fine-tuned network are; for "unit" a weight has the rank of its unit.
        empty: for each hidden kernel the sorted ranks of the weights that are zero before pruning, or of the units
            whose incoming weights all are.
    """

    method: str
    scores: list[np.ndarray]
    ranks: list[np.ndarray]
    pools: list[int]
    zeros: list[np.ndarray]
    empty: list[np.ndarray]

    def prune(self, network: AnyNetwork, sparsity: AnySparsity) -> AnyNetwork:
        """`prune`, with the order already known: a comparison instead of a sort."""
        chain = as_network(network)
        kept = [ranks >= count for ranks, count in zip(self.ranks, self._counts(sparsity), strict=True)]
        matrices = [_where(mask, layer.matrix) for mask, layer in zip(kept, chain.layers[:-1], strict=True)]
        matrices.append(np.array(chain.layers[-1].matrix))
        if not isinstance(network, Network):
            return matrices
        biases = [layer.bias for layer in chain.layers]
        if self.method == "unit":
            hidden = zip(kept, biases[:-1], strict=True)
            biases[:-1] = [None if bias is None else _where(mask, bias) for mask, bias in hidden]
        return chain.with_matrices(matrices, biases)

    def pruned(self, sparsity: AnySparsity) -> list[int]:
        """How many weights, or how many units, pruning at k takes in each hidden layer."""
        counts = self._counts(sparsity)
        return [
            count if pool == ranks.size else int(np.count_nonzero(ranks < count))
            for ranks, pool, count in zip(self.ranks, self.pools, counts, strict=True)
        ]

    def taken(self, sparsity: AnySparsity) -> list[int]:
        """The same, without what was zero before: how many weights, or units, really go."""
        return [
            pruned - int(np.searchsorted(empty, count))
            for pruned, empty, count in zip(self.pruned(sparsity), self.empty, self._counts(sparsity), strict=True)
        ]

    def zeroed(self, network: Network | Kernels, sparsity: AnySparsity) -> list[int]:
        """How many weights of each hidden kernel are zero after pruning at k, whatever set them to zero."""
        each, counts = self.weights_each(matrices_of(network)[:-1]), self._counts(sparsity)
        return [
            pruned * weights + len(zeros) - int(np.searchsorted(zeros, count))
            for pruned, weights, zeros, count in zip(self.pruned(sparsity), each, self.zeros, counts, strict=True)
        ]

    def weights_each(self, hidden: Kernels) -> list[int]:
        """Weights removed per pruned item: one, or all that come into a unit."""
        return [1 if self.method == "weight" else len(kernel) for kernel in hidden]

    def _counts(self, sparsity: AnySparsity) -> list[int]:
        k = Sparsity.of(sparsity)
        each = k.each if k.by_layer else k.each * len(self.pools)
        if len(each) != len(self.pools):
            raise ValueError(
                f"Expected one sparsity, or {len(self.pools)}, one a hidden layer. Received: {sparsity!r}."
            )
        return [prune_count(pool, k) for pool, k in zip(self.pools, each, strict=True)]


def magnitude(kernel: np.ndarray, method: str) -> np.ndarray:
    """|w| of shape (inputs, units) for "weight"; the L2 norm of each column, shape (units,), for "unit"."""
    if method == "weight":
        return np.abs(kernel)
    # In double precision, so that the order of close norms does not depend on the order of summation.
    return np.sqrt(np.einsum("iu,iu->u", kernel, kernel, dtype=np.float64))


def prune_count(total: int, sparsity: float) -> int:
    """⌊k·total⌋ in exact arithmetic, k read as the decimal it is written as.

    200 units at 0.29 are 58, although 200 * 0.29 is 57.99… in binary floating point.

    Raises:
        ValueError: if k is not a number from 0 to 1.

    Example:
        `prune_count(200, 0.29)` is 58.
    """
    try:
        k = Fraction(str(sparsity))
    except ValueError:
        k = Fraction(-1)
    if not 0 <= k <= 1:
        raise ValueError(f"Expected a sparsity from 0 to 1. Received: {sparsity!r}.")
    return int(k * total)


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"Expected a {what} among {', '.join(choices)}. Received: {value!r}.")


def _scores(
    network: Network, method: str, ranking: str, activations: Sequence[np.ndarray] | None, seed: int
) -> list[np.ndarray]:
    check_choice("ranking", ranking, (*RANKINGS, *SHUFFLED))
    matrices = network.matrices
    hidden = matrices[:-1]
    if ranking == "magnitude":
        return [magnitude(kernel, method) for kernel in hidden]
    if ranking == "random":
        generator = np.random.default_rng(seed)
        return [
            generator.random(kernel.shape if method == "weight" else kernel.shape[1], np.float32) for kernel in hidden
        ]
    sizes = [len(matrix) for matrix in matrices]
    if activations is None or [len(values) for values in activations] != sizes:
        raise ValueError(
            f"The activation ranking needs the rms of the inputs of every row, arrays of sizes {sizes}. "
            f"Received: {None if activations is None else [len(values) for values in activations]}."
        )
    if method == "weight":
        return [np.abs(kernel) * rms[:, None] for kernel, rms in zip(hidden, activations, strict=False)]
    following = zip(activations[1:], matrices[1:], sources(network)[1:], strict=True)
    return [_of_units(rms, magnitude(outgoing.T, "unit"), read) for rms, outgoing, read in following]


def _of_units(rms: np.ndarray, norms: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Rms activation times L2 norm of the outgoing weights of each unit, from those of the rows that read it."""
    count = read.max(initial=-1) + 1
    if count == len(read):
        return rms * norms
    rows = np.bincount(read, minlength=count)
    return np.sqrt(np.bincount(read, rms.astype(np.float64) ** 2) / rows * np.bincount(read, norms**2))


def _where(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    # np.where rather than a product: a weight that is not finite must become zero, too.
    return np.where(mask, array, array.dtype.type(0))


def _known(
    network: Network, method: str, scores: list[np.ndarray], ranks: list[np.ndarray], pools: list[int]
) -> "Ranks":
    """The ranks, and which of them are of weights that are zero already."""
    zeros, empty = [], []
    for kernel, order in zip(network.matrices[:-1], ranks, strict=True):
        zero = kernel == 0
        zeros.append(np.sort(order[zero] if method == "weight" else np.repeat(order, zero.sum(axis=0))))
        empty.append(zeros[-1] if method == "weight" else np.sort(order[zero.all(axis=0)]))
    return Ranks(method, scores, ranks, pools, zeros, empty)


def _shuffled(network: Network, ranks: "Ranks", seed: int) -> "Ranks":
    """The same ranks in each layer, given to its weights or units by chance, each with its score."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(layer.size) for layer in ranks.ranks]

    def shuffle(layers: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [layer.ravel()[order].reshape(layer.shape) for layer, order in zip(layers, orders, strict=True)]

    return _known(network, ranks.method, shuffle(ranks.scores), shuffle(ranks.ranks), ranks.pools)


def _ranks(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values, axis=None, kind="stable")
    ranks = np.empty(values.size, np.int32)
    ranks[order] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(values.shape)
