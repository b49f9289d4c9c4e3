"""A network: a chain of layers, each with one matrix of shape (rows, units), whatever its kind.

Ranking, pruning, histograms and files need nothing but these matrices. Two functions know the kinds of layers:
`inputs_of` gives what the rows of a matrix are multiplied by, and `sources` gives the earlier unit that each row reads.

Signals have the images as their last axis: (height, width, channels, n) between convolutions, (units, n) behind a dense
layer. So each matrix stands on the left of its product, where a sparse one has to stand.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

Kernels = Sequence[np.ndarray]
"""Matrices of dense layers without biases: shape (inputs, units), hidden layers first, output layer last."""
ACTIVATIONS = ("relu", "linear")
PADDINGS = ("valid", "same")

_BATCH = 1_000
"""Images per product: large enough for full speed, small enough to keep 1,000 units in cache."""
_BATCH_ENTRIES = 25_000_000
"""Numbers in the image patches of one product, at most; 100 MB in float32."""
_SPARSE_BELOW = 0.04
"""The part of nonzero weights from which on sparse products are faster; see `benchmarks/scoring.py`."""
_BALANCE_ROUNDS = 20


@dataclass(frozen=True)
class Window:
    """What a filter of a convolution sees at once. "same" pads with zeros, as TensorFlow does, "valid" does not."""

    height: int
    width: int
    padding: str = "valid"
    stride: int = 1

    def pads(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """The zeros before and behind, for each axis of an image of this size."""
        if self.padding == "valid":
            return [(0, 0), (0, 0)]
        both = zip(size, (self.height, self.width), strict=True)
        totals = [max((math.ceil(length / self.stride) - 1) * self.stride + seen - length, 0) for length, seen in both]
        return [(total // 2, total - total // 2) for total in totals]

    def places(self, size: tuple[int, int]) -> tuple[int, int]:
        """How many places of an image of this size it is laid on, down and across."""
        lengths = (length + sum(pads) for length, pads in zip(size, self.pads(size), strict=True))
        down, across = (
            (length - seen) // self.stride + 1 for length, seen in zip(lengths, (self.height, self.width), strict=True)
        )
        return down, across


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        matrix: shape (rows, units). A dense layer's rows are its inputs; those of a convolution are height × width ×
            channels of its window, in this order, and its units are the filters.
        bias: shape (units,); None without one.
        activation: a name in `ACTIVATIONS`.
        window: of a convolution; None for a dense layer.
        pool: the side of the squares of which max-pooling keeps the largest; 1 without pooling.
    """

    matrix: np.ndarray
    bias: np.ndarray | None = None
    activation: str = "relu"
    window: Window | None = None
    pool: int = 1


@dataclass(frozen=True)
class Network:
    """A chain of layers.

    Attributes:
        layers: hidden layers first, the output layer last; it has no activation, so outputs are logits.
        shape: of one input: (inputs,), or (height, width, channels) of an image.

    Raises:
        ValueError: if the layers do not chain.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.layers or self.layers[-1].activation != "linear":
            raise ValueError("Expected at least one layer, the last one linear.")
        for number, (layer, shape) in enumerate(zip(self.layers, self.shapes, strict=False), start=1):
            _check_layer(number, layer, shape)

    @property
    def matrices(self) -> list[np.ndarray]:
        """The matrix of every layer, shape (rows, units)."""
        return [layer.matrix for layer in self.layers]

    @property
    def inputs(self) -> int:
        """How many numbers one input has."""
        return math.prod(self.shape)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of the signal that enters each layer, then that of the output."""
        found = [self.shape]
        for layer in self.layers:
            found.append(shape_behind(layer, found[-1]))
        return found

    @property
    def weights(self) -> int:
        """How many weights its matrices have; biases are not counted."""
        return sum(layer.matrix.size for layer in self.layers)

    @property
    def nonzero(self) -> int:
        """How many of these weights are not zero."""
        return sum(int(np.count_nonzero(layer.matrix)) for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """How many products of a weight and a number one input takes, those with a zero included."""
        return sum(
            layer.matrix.size * math.prod(layer.window.places(shape[:2]) if layer.window else ())
            for layer, shape in zip(self.layers, self.shapes, strict=False)
        )

    @property
    def batch(self) -> int:
        """How many images are multiplied at once: fewer where a convolution makes many patches of each."""
        pairs = zip(self.layers, self.shapes, strict=False)
        entries = [
            len(layer.matrix) * math.prod(layer.window.places(shape[:2])) for layer, shape in pairs if layer.window
        ]
        return min(_BATCH, max(1, _BATCH_ENTRIES // max(entries))) if entries else _BATCH

    def shaped(self, images: np.ndarray) -> np.ndarray:
        """Images of shape (n, inputs) as the signal that enters the first layer, shape (…, n)."""
        signal = np.ascontiguousarray(images.T)
        return signal if len(self.shape) == 1 else signal.reshape(*self.shape, len(images))

    @property
    def classes(self) -> int:
        """How many outputs it has."""
        return math.prod(self.shapes[-1])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by its name in files: kernel_0, and bias_0 where the first layer has one, kernel_1, …"""
        named = {}
        for index, layer in enumerate(self.layers):
            named |= {f"kernel_{index}": layer.matrix}
            named |= {} if layer.bias is None else {f"bias_{index}": layer.bias}
        return named

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> "Network":
        """The same chain with the arrays of these names."""
        indices = range(len(self.layers))
        return self.with_matrices(
            [arrays[f"kernel_{index}"] for index in indices], [arrays.get(f"bias_{index}") for index in indices]
        )

    def with_matrices(self, matrices: Kernels, biases: Sequence[np.ndarray | None] | None = None) -> "Network":
        """The same chain with other matrices of these shapes, and other biases if they are given."""
        biases = [layer.bias for layer in self.layers] if biases is None else biases
        layers = zip(self.layers, matrices, biases, strict=True)
        return Network(tuple(replace(layer, matrix=matrix, bias=bias) for layer, matrix, bias in layers), self.shape)


def as_network(network: Network | Kernels) -> Network:
    """A network as it is, or matrices as the chain of dense layers with ReLU that they are.

    Raises:
        ValueError: if the matrices do not chain.
    """
    if isinstance(network, Network):
        return network
    shapes = [np.shape(kernel) for kernel in network]
    chained = all(len(shape) == 2 for shape in shapes) and all(
        before[1] == after[0] for before, after in pairwise(shapes)
    )
    if not shapes or not chained:
        raise ValueError(
            "Expected kernels of shape (inputs, units), each with as many inputs as the one before has units. "
            f"Received shapes: {shapes}."
        )
    hidden = [Layer(kernel) for kernel in network[:-1]]
    return Network((*hidden, Layer(network[-1], activation="linear")), (shapes[0][0],))


def zeros(*shape: int) -> np.ndarray:
    """An array of zeros that takes no room, in the place of one that is not known yet."""
    return np.broadcast_to(np.float32(0), shape)


def chain(shapes: Iterable[tuple[int, int]]) -> Network:
    """Dense layers of these shapes, (inputs, units) each, with ReLU between them; all weights are `zeros`."""
    return as_network([zeros(*shape) for shape in shapes])


def matrices_of(network: Network | Kernels) -> list[np.ndarray]:
    """The matrices of a network, or of a list that is them already.

    Raises:
        ValueError: if they do not chain.
    """
    return as_network(network).matrices


def inputs_of(layer: Layer, signal: np.ndarray) -> np.ndarray:
    """What the rows of a layer's matrix are multiplied by.

    Args:
        signal: what enters the layer; its last axis are the n images.

    Returns:
        Shape (rows, n) for a dense layer. For a convolution its image patches (im2col), shape (rows, places × n).
    """
    if layer.window is None:
        return signal.reshape(-1, signal.shape[-1])
    window = layer.window
    padded = np.pad(signal, [*window.pads(signal.shape[:2]), (0, 0), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(padded, (window.height, window.width), axis=(0, 1))
    patches = patches[:: window.stride, :: window.stride]
    columns = math.prod(patches.shape[:2]) * patches.shape[3]
    return patches.transpose(4, 5, 2, 0, 1, 3).reshape(len(layer.matrix), columns)


def sources(network: Network) -> list[np.ndarray]:
    """For each layer, the unit before that each of its rows reads: an array of shape (rows,).

    Rows of the first layer read pixels, or the channels of an image if it is a convolution.
    """
    return [
        np.arange(len(layer.matrix)) % max(count, 1)
        for layer, count in zip(network.layers, units_before(network), strict=True)
    ]


def units_before(network: Network) -> list[int]:
    """For each layer, how many units its rows read: pixels, or the channels of an image, at first."""
    first = network.inputs if network.layers[0].window is None else network.shape[-1]
    return [first, *(layer.matrix.shape[1] for layer in network.layers[:-1])]


def forward(network: Network | Kernels, images: np.ndarray, sparse: bool = False) -> np.ndarray:
    """The outputs before the softmax, shape (n, classes).

    Args:
        images: float32 of shape (n, inputs).
        sparse: whether matrices with few weights left are multiplied as sparse rows.

    Example:
        `forward(network, images).argmax(axis=1)`
    """
    network = as_network(network)
    run = prepared(network, sparse)
    batch = network.batch
    return np.concatenate([run(images[start : start + batch]) for start in range(0, len(images), batch)])


def prepared(network: Network | Kernels, sparse: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """A function that computes `forward` of images at once, with everything prepared that does not depend on them."""
    network = as_network(network)
    products = [_product(layer.matrix, sparse) for layer in network.layers]

    def run(images: np.ndarray) -> np.ndarray:
        signal = network.shaped(images)
        for layer, product in zip(network.layers, products, strict=True):
            signal = behind(layer, product @ inputs_of(layer, signal), signal.shape)
        return signal.reshape(-1, signal.shape[-1]).T

    return run


def behind(layer: Layer, sums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The signal behind a layer.

    Args:
        sums: the matrix, transposed, times `inputs_of`: shape (units, places × n). It may be written to.
        shape: of the signal that entered the layer, images included.
    """
    if layer.bias is not None:
        sums += layer.bias[:, None]
    if layer.activation == "relu":
        np.maximum(sums, 0, out=sums)
    if layer.window is None:
        return sums
    down, across = layer.window.places(shape[:2])
    signal = sums.reshape(len(sums), down, across, shape[-1]).transpose(1, 2, 0, 3)
    if layer.pool == 1:
        return signal
    side, down, across = layer.pool, down // layer.pool, across // layer.pool
    squares = signal[: down * side, : across * side].reshape(down, side, across, side, *signal.shape[2:])
    return squares.max(axis=(1, 3))


def slopes_of_sums(layer: Layer, slopes: np.ndarray, sums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The derivatives by the sums of a layer, its bias included, of what has these slopes by the signal behind it.

    Args:
        slopes: of the shape of that signal.
        sums, shape: as `behind` has them. Where the largest number of a square stands in several places, each counts in
            part.
    """
    if layer.window:
        down, across = layer.window.places(shape[:2])
        signal = sums.reshape(len(sums), down, across, shape[-1]).transpose(1, 2, 0, 3)
        spread = np.zeros(signal.shape, slopes.dtype)
        largest = behind(replace(layer, bias=None, activation="linear"), sums, shape)
        side, (height, width) = layer.pool, slopes.shape[:2]
        places = [np.s_[i : height * side : side, j : width * side : side] for i, j in np.ndindex(side, side)]
        each = slopes / sum((signal[place] == largest).astype(slopes.dtype) for place in places)
        for place in places:
            spread[place] = each * (signal[place] == largest)
        slopes = spread.transpose(2, 0, 1, 3).reshape(sums.shape)
    return slopes * (sums > 0) if layer.activation == "relu" else slopes


def slopes_of_inputs(layer: Layer, slopes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As `slopes_of_sums`, by the signal that enters the layer, of slopes by the numbers that `inputs_of` gives."""
    if layer.window is None:
        return slopes.reshape(shape)
    window, pads = layer.window, layer.window.pads(shape[:2])
    (down, across), lengths = (
        window.places(shape[:2]),
        [length + sum(pad) for length, pad in zip(shape, pads, strict=False)],
    )
    patches = slopes.reshape(window.height, window.width, shape[2], down, across, shape[3]).transpose(0, 1, 3, 4, 2, 5)
    signal = np.zeros((*lengths, *shape[2:]), slopes.dtype)
    for i, j in np.ndindex(window.height, window.width):
        signal[i : i + window.stride * down : window.stride, j : j + window.stride * across : window.stride] += patches[
            i, j
        ]
    (top, _), (left, _) = pads
    return signal[top : top + shape[0], left : left + shape[1]]


def shape_behind(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the signal behind a layer that one of this shape enters, images left out."""
    units = layer.matrix.shape[1]
    if layer.window is None or len(shape) != 3:
        return (units,)
    return (*(length // layer.pool for length in layer.window.places(shape[:2])), units)


def balance(network: Network | Kernels) -> Network:
    """Scale what comes into each hidden unit up or down, and what goes out of it the other way, by the same factor.

    A unit with ReLU then says as many times more or less, and the network computes what it did, to the rounding of
    floats. The factors make the largest weight that comes in as large as the largest that goes out (cross-layer
    equalization; Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction"). Without
    it one unit that says little, to large weights, takes the precision of all others: the int8 file of a repaired
    network then knew 24 % of the test images, and 98 % with it.

    Returns:
        A new network of the same shapes and types.

    Example:
        `balance(compact(pruned).network)`
    """
    network = as_network(network)
    matrices = [layer.matrix.copy() for layer in network.layers]
    biases = [None if layer.bias is None else layer.bias.copy() for layer in network.layers]
    read = sources(network)
    # Each layer's factors move the next one's, so it takes some rounds.
    for _ in range(_BALANCE_ROUNDS):
        for index, (before, after) in enumerate(pairwise(matrices)):
            into = np.abs(before).max(axis=0, initial=0)
            out = np.zeros_like(into)
            np.maximum.at(out, read[index + 1], np.abs(after).max(axis=1, initial=0))
            alive = (into > 0) & (out > 0)
            factors = np.sqrt(np.divide(out, into, out=np.ones_like(into), where=alive), dtype=before.dtype)
            before *= factors
            if biases[index] is not None:
                biases[index] *= factors
            after /= factors[read[index + 1]][:, None]
    return network.with_matrices(matrices, biases)


def _product(matrix: np.ndarray, sparse: bool) -> np.ndarray | csr_array:
    """The matrix transposed, (units, rows), as whatever multiplies faster."""
    few = sparse and np.count_nonzero(matrix) <= _SPARSE_BELOW * matrix.size
    return csr_array(matrix.T) if few else matrix.T


def _check_layer(number: int, layer: Layer, shape: tuple[int, ...]) -> None:
    window = layer.window
    rows = math.prod(shape)
    if window:
        if len(shape) != 3 or window.padding not in PADDINGS or min(window.places(shape[:2])) < layer.pool:
            raise ValueError(f"Layer {number}: a window of {window} does not fit a signal of shape {shape}.")
        rows = window.height * window.width * shape[-1]
    units = np.shape(layer.matrix)[-1]
    if np.shape(layer.matrix) != (rows, units):
        raise ValueError(
            f"Layer {number}: expected a matrix of {rows} rows for a signal of shape {shape}. "
            f"Received one of shape {np.shape(layer.matrix)}."
        )
    if layer.bias is not None and np.shape(layer.bias) != (units,):
        raise ValueError(f"Layer {number}: expected a bias of shape ({units},). Received {np.shape(layer.bias)}.")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(
            f"Layer {number}: expected an activation among {', '.join(ACTIVATIONS)}. Received: {layer.activation!r}."
        )
