"""Learn from labels, and from what the dense network answers (Hinton et al. 2015, "Distilling the Knowledge in a Neural
Network")."""

import keras
import numpy as np
from keras import ops
from scipy.special import softmax

from core.network import Kernels, Network, forward

TEMPERATURE = 4.0
"""What outputs are divided by before the softmax, so that the smaller probabilities speak, too."""


def targets_of(network: Network | Kernels, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What is to be learnt of each image: its label, then the dense network's softened probabilities.

    Args:
        network: the dense one.
        images: float32 of shape (n, inputs).
        labels: of shape (n,).

    Returns:
        float32 of shape (n, 1 + classes).
    """
    softened = softmax(forward(network, images) / np.float32(TEMPERATURE), axis=1)
    return np.column_stack([labels, softened]).astype(np.float32)


class Distillation(keras.losses.Loss):
    """The cross-entropy from the labels, and with weight `share` that from the softened probabilities, of networks
    without a softmax. The latter is multiplied by the square of the temperature, so that its slopes stay as large."""

    def __init__(self, share: float):
        super().__init__(name="distillation")
        self._share = share

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        softened = ops.categorical_crossentropy(y_true[:, 1:], y_pred / TEMPERATURE, from_logits=True)
        return (1 - self._share) * _cross_entropy(y_true, y_pred) + self._share * TEMPERATURE**2 * softened


def metrics() -> list[keras.metrics.Metric]:
    """Accuracy and cross-entropy from the labels, as every other training reports them."""
    return [
        keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy"),
        keras.metrics.MeanMetricWrapper(_cross_entropy, name="cross_entropy"),
    ]


def _cross_entropy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    return ops.sparse_categorical_crossentropy(ops.cast(y_true[:, 0], "int32"), y_pred, from_logits=True)


def _accuracy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    return ops.equal(y_true[:, 0], ops.cast(ops.argmax(y_pred, axis=-1), "float32"))
