"""Score kernels: forward pass, accuracy and loss, in NumPy."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from core.pruning import Kernels, check_kernels

_BATCH = 1_000
"""Images per matrix product: large enough for full speed, small enough to keep 1,000 units in cache."""
_SPARSE_BELOW = 0.04
"""The part of nonzero weights from which on sparse products are faster; see `benchmarks/scoring.py`."""


@dataclass(frozen=True)
class Score:
    """Accuracy (0 to 1) and mean cross-entropy (nats) over a set of images."""

    accuracy: float
    loss: float


def evaluate(kernels: Kernels, images: np.ndarray, labels: np.ndarray) -> Score:
    """Score a network on labelled images.

    What cannot change any output is left out of the products: units without a live input or a live
    output, and pixels that no unit looks at. The result is that of the full network.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs).
        labels: whole numbers of shape (n,), each below the number of output units.

    Returns:
        The accuracy, and the mean sparse categorical cross-entropy of the softmax output.

    Raises:
        ValueError: if the shapes do not fit each other or a label has no output unit.
    """
    check_kernels(kernels)
    images, labels = np.asarray(images), np.asarray(labels)
    inputs, classes = kernels[0].shape[0], kernels[-1].shape[1]
    if images.ndim != 2 or images.shape[1] != inputs or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"Expected images of shape (n, {inputs}) and labels of shape (n,), n at least 1. "
            f"Received: {images.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"Expected labels from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}.")

    scores = logits(kernels, images).astype(np.float64)
    correct = int(np.count_nonzero(scores.argmax(axis=1) == labels))
    top = scores.max(axis=1)
    log_sum = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    loss = float(np.mean(log_sum - scores[np.arange(len(labels)), labels]))
    return Score(correct / len(labels), loss)


def logits(kernels: Kernels, images: np.ndarray) -> np.ndarray:
    """The output layer's values before the softmax, float32 of shape (n, classes)."""
    live = live_units(kernels)
    products = [
        _product(_take(kernel, rows, units)) for kernel, (rows, units) in zip(kernels, pairwise(live), strict=True)
    ]
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return np.concatenate([_forward(products, _columns(batch, live[0])) for batch in batches])


def predict(kernels: Kernels, images: np.ndarray) -> np.ndarray:
    """The class of largest output for each image, shape (n,)."""
    return logits(kernels, images).argmax(axis=1)


def rms_activations(kernels: Kernels, images: np.ndarray) -> list[np.ndarray]:
    """The root mean square of every kernel's inputs over some images.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs); training images, as test images are for scoring only.

    Returns:
        For each kernel a float32 array of shape (inputs,): the pixels first, then the hidden units.
    """
    rms = []
    activations = images
    for kernel in kernels:
        rms.append(np.sqrt(np.mean(np.square(activations), axis=0, dtype=np.float64)).astype(np.float32))
        activations = np.maximum(activations @ kernel, 0)
    return rms


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


def remaining_parameters(kernels: Kernels) -> int:
    """How many weights can influence an output: what is left once everything dead is removed."""
    live = live_units(kernels)
    return sum(
        int(np.count_nonzero(_take(kernel, rows, units)))
        for kernel, (rows, units) in zip(kernels, pairwise(live), strict=True)
    )


def _take(kernel: np.ndarray, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    return kernel if rows.all() and units.all() else kernel[np.ix_(rows, units)]


def _columns(images: np.ndarray, live: np.ndarray) -> np.ndarray:
    return images if live.all() else images[:, live]


def _product(kernel: np.ndarray) -> np.ndarray | csr_array:
    """The kernel transposed, (units, inputs), as whatever multiplies faster."""
    few = np.count_nonzero(kernel) <= _SPARSE_BELOW * kernel.size
    return csr_array(kernel.T) if few else kernel.T


def _forward(products: list[np.ndarray | csr_array], images: np.ndarray) -> np.ndarray:
    # Units by images, so that dense and sparse products alike have the kernel on the left.
    activations = np.ascontiguousarray(images.T)
    for product in products[:-1]:
        activations = product @ activations
        np.maximum(activations, 0, out=activations)
    return (products[-1] @ activations).T
