"""Score networks: accuracy and loss, in NumPy."""

from dataclasses import dataclass

import numpy as np

from core.kernels import Compacted, compact
from core.network import Kernels, Network, as_network, behind, forward, inputs_of


@dataclass(frozen=True)
class Score:
    """Accuracy (0 to 1) and mean cross-entropy (nats) over a set of images."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class Examination:
    """Everything that one pass over labelled images tells of a network.

    Attributes:
        score: accuracy and loss.
        predictions: the class of largest output for each image, uint8 of shape (n,).
        remaining: how many weights can influence an output: what is left once everything dead is removed.
        multiply_adds: of one image, by the compacted network; see `core.kernels.Compacted`.
    """

    score: Score
    predictions: np.ndarray
    remaining: int
    multiply_adds: int


def evaluate(network: Network | Kernels, images: np.ndarray, labels: np.ndarray) -> Score:
    """Score a network on labelled images.

    What cannot change any output is left out of the products: units without a live input or a live
    output, and pixels that no unit looks at. The result is that of the full network.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs).
        labels: whole numbers of shape (n,), each below the number of output units.

    Returns:
        The accuracy, and the mean sparse categorical cross-entropy of the softmax output.

    Raises:
        ValueError: if the shapes do not fit each other or a label has no output unit.

    Example:
        `evaluate(prune(kernels, "weight", 0.9), test.images, test.labels).accuracy`
    """
    return examine(network, images, labels).score


def examine(network: Network | Kernels, images: np.ndarray, labels: np.ndarray) -> Examination:
    """As `evaluate`, with the predictions and the weights that remain, from the same pass.

    Example:
        `np.mean(examine(kernels, images, labels).predictions == labels)` is its accuracy.
    """
    network = as_network(network)
    images, labels = np.asarray(images), np.asarray(labels)
    inputs, classes = network.inputs, network.matrices[-1].shape[1]
    if images.ndim != 2 or images.shape[1] != inputs or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"Expected images of shape (n, {inputs}) and labels of shape (n,), n at least 1. "
            f"Received: {images.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"Expected labels from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}.")

    tiny = compact(network)
    scores = _logits(tiny, images).astype(np.float64)
    predictions = scores.argmax(axis=1)
    correct = int(np.count_nonzero(predictions == labels))
    top = scores.max(axis=1)
    log_sum = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    loss = float(np.mean(log_sum - scores[np.arange(len(labels)), labels]))
    score = Score(correct / len(labels), loss)
    return Examination(score, predictions.astype(np.uint8), tiny.parameters, tiny.multiply_adds)


def logits(network: Network | Kernels, images: np.ndarray) -> np.ndarray:
    """The output layer's values before the softmax, float32 of shape (n, classes).

    Example:
        `logits(kernels, images).argmax(axis=1)` is `predict(kernels, images)`.
    """
    return _logits(compact(network), images)


def predict(network: Network | Kernels, images: np.ndarray) -> np.ndarray:
    """The class of largest output for each image, shape (n,).

    Example:
        `predict(prune(kernels, "unit", 0.8), test.images)`
    """
    return logits(network, images).argmax(axis=1)


def rms_activations(network: Network | Kernels, images: np.ndarray) -> list[np.ndarray]:
    """The root mean square of what the rows of every matrix are multiplied by, over some images.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        images: float32 of shape (n, inputs); training images, as test images are for scoring only.

    Returns:
        For each layer a float32 array of shape (rows,): of a dense network the pixels first, then the hidden units.

    Example:
        `rank(kernels, "weight", "activation", activations=rms_activations(kernels, train.images))`
    """
    network = as_network(network)
    signal = network.shaped(images)
    rms = []
    for layer in network.layers:
        inputs = inputs_of(layer, signal)
        rms.append(np.sqrt(np.mean(np.square(inputs), axis=1, dtype=np.float64)).astype(np.float32))
        signal = behind(layer, layer.matrix.T @ inputs, signal.shape)
    return rms


def _logits(tiny: Compacted, images: np.ndarray) -> np.ndarray:
    all_pixels = len(tiny.inputs) == images.shape[1]
    return forward(tiny.network, images if all_pixels else images[:, tiny.inputs], sparse=True)
