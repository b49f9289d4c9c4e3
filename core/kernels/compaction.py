"""Remove what no longer influences any output: dead units with their column and row, and pixels nothing listens to."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from core.network import Kernels, Network, as_network, forward, sources, units_before

ROUNDING = 1e-5
"""What float32 sums of some thousand terms, added in another order, may differ by, as a part of the largest."""
_BATCH = 1_000


@dataclass(frozen=True)
class Compacted:
    """A network without what is dead in it.

    Attributes:
        network: what is left.
        inputs: indices of the pixels that it reads, shape (live inputs,).
    """

    network: Network
    inputs: np.ndarray

    @property
    def kernels(self) -> list[np.ndarray]:
        """Its matrices: (live inputs, live units), hidden layers first, output layer last."""
        return self.network.matrices

    def whole(self, pixels: int) -> Network:
        """The network for images with all their pixels: a row of zeros for each that it does not read."""
        first = self.network.layers[0]
        if first.window:
            return self.network
        matrix = np.zeros((pixels, first.matrix.shape[1]), np.float32)
        matrix[self.inputs] = first.matrix
        return Network((replace(first, matrix=matrix), *self.network.layers[1:]), (pixels,))

    @property
    def parameters(self) -> int:
        """How many weights can influence an output."""
        return self.network.nonzero

    @property
    def multiply_adds(self) -> int:
        """How many products of a weight and an activation one image takes, zeros among live units multiplied, too."""
        return self.network.multiply_adds


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


def compact(network: Network | Kernels) -> Compacted:
    """Remove every dead unit, and every pixel that no live unit looks at.

    Exact: the smaller network has the same outputs as the full one, to the rounding of float sums. A unit whose output
    is the same for all images is folded into the biases of the next layer. Only a convolution that pads with zeros
    keeps such a unit, as the zeros beside the image are not what the unit says.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.

    Example:
        `tiny = compact(prune(kernels, "unit", 0.9))`, then
        `evaluate(tiny.kernels, images[:, tiny.inputs], labels)` equals evaluating the pruned kernels.
    """
    network = as_network(network)
    found = _liveness(network)
    layers = []
    parts = zip(network.layers, sources(network), found.biases, pairwise(found.live), strict=True)
    for layer, read, bias, (before, units) in parts:
        bias = None if bias is None else bias[units]
        layers.append(replace(layer, matrix=_take(layer.matrix, before[read], units), bias=bias))
    # An image keeps all its pixels: a convolution reads them by place.
    dense_first = network.layers[0].window is None
    inputs = np.flatnonzero(found.live[0]) if dense_first else np.arange(network.inputs)
    return Compacted(Network(tuple(layers), (len(inputs),) if dense_first else network.shape), inputs)


def live_units(network: Network | Kernels) -> list[np.ndarray]:
    """Which inputs and units can influence an output.

    A unit with no live input or no live output is dead, and takes its column and its row in the next
    kernel with it. One sweep forward and one back reach the fixed point: forward every unit learns
    whether an input reaches it, and back whether it reaches an output through units that an input
    reaches. A unit with the same output for all images is dead if it can be folded into the next biases; see `compact`.

    Returns:
        Boolean arrays: for the inputs, of shape (inputs,), then for the units of every layer. The output
        units count as live. The inputs of a convolution are its channels, which all count as live.
    """
    return _liveness(as_network(network)).live


def difference(kernels: Network | Kernels, tiny: Compacted, images: np.ndarray) -> Difference:
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
        whole, small = forward(kernels, batch), forward(tiny.network, batch[:, tiny.inputs])
        changed += int(np.count_nonzero(whole.argmax(axis=1) != small.argmax(axis=1)))
        # np.maximum keeps what is not a number.
        apart = np.maximum(apart, np.abs(whole - small).max())
        largest = np.maximum(largest, np.abs(whole).max())
    return Difference(len(images), changed, float(apart / largest) if largest else float(apart))


@dataclass(frozen=True)
class _Liveness:
    """For the inputs and for the units of every layer, what can influence an output, and the biases of every layer
    with the constant outputs of dead units folded in."""

    live: list[np.ndarray]
    biases: list[np.ndarray | None]


def _liveness(network: Network) -> _Liveness:
    read = sources(network)
    nonzero = [matrix != 0 for matrix in network.matrices]
    # Units whose output depends on the input, and what the others say.
    inputs = units_before(network)[0]
    reached, constant = [np.ones(inputs, bool)], np.zeros(inputs)
    biases = []
    for layer, mask, rows in zip(network.layers, nonzero, read, strict=True):
        if layer.window and layer.window.padding == "same":
            reached[-1] = reached[-1] | (constant != 0)
        bias = layer.bias
        fixed = np.where(reached[-1], 0, constant)
        if fixed.any():
            bias = (fixed[rows] @ layer.matrix + (0 if bias is None else bias)).astype(layer.matrix.dtype)
        biases.append(bias)
        reached.append(mask[reached[-1][rows]].any(axis=0))
        outputs = np.zeros(len(reached[-1])) if bias is None else bias
        constant = np.maximum(outputs, 0) if layer.activation == "relu" else outputs
    live = [np.ones(network.layers[-1].matrix.shape[1], bool)]
    for mask, rows, units in zip(reversed(nonzero), reversed(read), reversed(reached[:-1]), strict=True):
        heard = np.zeros(len(units), bool)
        heard[rows[mask[:, live[-1]].any(axis=1)]] = True
        live.append(units & heard)
    if network.layers[0].window:
        live[-1] = np.ones(inputs, bool)
    return _Liveness(live[::-1], biases)


def _take(kernel: np.ndarray, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    return kernel if rows.all() and units.all() else kernel[np.ix_(rows, units)]
