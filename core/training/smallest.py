"""From a large trained network to the smallest file that still knows what it knows.

The small network has two hidden layers, whatever the large one has, and its weights are whole numbers. Those of the
first kernel are the strengths of cosine waves over the image: images hold little of the fast ones, so that some 80
waves say what 784 pixels do (weights in the frequency domain; Chen et al. 2016, "Compressing Convolutional Neural
Networks in the Frequency Domain").

1. The units of the first layer are chosen from the large network by group-sparse least squares; see
   `core.kernels.repair`. The rest begins at random.
2. It learns from the labels and from what the large network answers (`core.training.distillation`), on training images
   that are moved, turned and sheared a little each time (Simard et al. 2003, "Best Practices for Convolutional Neural
   Networks").
3. Meanwhile it computes with rounded weights, and slopes go past the rounding (Bengio et al. 2013, "Estimating or
   Propagating Gradients Through Stochastic Neurons").
4. Part of the loss is what the weights cost in the file (Oktay et al. 2020, "Scalable Model Compression by Entropy
   Penalized Reparameterization"). How much it counts is raised or lowered after every epoch, until the file has the
   size that is asked for.

What is kept is the epoch of best validation accuracy of those whose file is small enough.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from core.datasets import Dataset
from core.errors import KnownError
from core.evaluation import predict
from core.kernels import repair
from core.kernels.decoder import frequencies, waves
from core.kernels.smallest import EPOCHS, SmallestNetwork, costs, encode
from core.network import Kernels, Network, as_network
from core.training.distillation import Distillation, targets_of

RADIUS = 10
"""Up to how many half periods a wave has across the image."""
SHARE = 0.13
"""How much of the loss is learning from the large network."""
BATCH = 250
MOVED_AT_ONCE = 500
"""Images that are moved in the same way in one epoch."""
TURN, SCALE, SHEAR, SHIFT = math.radians(7), 0.06, 0.08, 0.025
"""Deviations of what images are moved by: an angle, parts of their size, a slope, a part of their side."""
REPAIR_IMAGES = 10_000
RATE = 0.02
"""The first learning rate, in steps between whole numbers."""
AIM = 0.985
"""What part of the bytes asked for is aimed at, so that the file is hardly ever larger."""
DEFAULT_PRESSURE = 2e-5
"""What a bit adds to the loss, for a file of 2,000 bytes."""
SETTLED = 0.4
"""The part of the epochs after which the file should have its size."""


@dataclass(frozen=True)
class Smallest:
    """A smallest file and what became of it.

    Attributes:
        network: the network in whole numbers.
        file: its bytes.
        val_accuracy: on the validation images, on which the epoch was chosen.
        history: one row an epoch: epoch, bytes, val_accuracy, loss, seconds.
    """

    network: SmallestNetwork
    file: bytes
    val_accuracy: float
    history: pd.DataFrame


def smallest(
    network: Network | Kernels,
    data: Dataset,
    num_valid: int,
    most_bytes: int,
    epochs: int = EPOCHS,
    seed: int = 0,
    on_epoch: Callable[[pd.DataFrame], None] = lambda history: None,
) -> Smallest:
    """Make a network of at most so many bytes.

    Args:
        network: the large one, or arrays of shape (inputs, units), hidden layers first, output layer last.
        data: the dataset it was trained on; test images are not looked at.
        num_valid: how many of the first training images are for validation only; at least 1.
        most_bytes: the size of the whole file at most.
        epochs: how long it is trained.
        seed: of everything random.
        on_epoch: called after every epoch with the history so far.

    Raises:
        KnownError: if no epoch had a file so small.

    Example:
        `smallest(run.network(), load_dataset("digits"), 10_000, 4_096).file`
    """
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    images, labels = data.train.images[num_valid:], data.train.labels[num_valid:]
    val_images, val_labels = data.train.images[:num_valid], data.train.labels[:num_valid]
    side = data.spec.side
    radius = min(RADIUS, side)
    rows, columns = frequencies(side, radius)
    network = as_network(network)
    start = _start(network, images, most_bytes, random, waves(side, rows, columns))
    learner = _Learner(start, most_bytes, epochs, len(images))
    targets = targets_of(network, images, labels)
    best, best_accuracy, history = None, -1.0, []
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        loss = learner.epoch(_moved(images, side, rows, columns, random), targets, random)
        small = learner.network(side, radius)
        file = encode(small)
        accuracy = float(np.mean(predict(small.kernels, val_images) == val_labels))
        if len(file) <= most_bytes and accuracy > best_accuracy:
            best, best_accuracy = (small, file), accuracy
        aim = AIM * most_bytes * (1 + max(0, 1 - epoch / (SETTLED * epochs)))
        learner.press(len(file) / aim)
        seconds = round(time.perf_counter() - began, 3)
        row = {"epoch": epoch, "bytes": len(file), "val_accuracy": accuracy, "loss": loss, "seconds": seconds}
        history.append(row)
        on_epoch(pd.DataFrame(history))
    if best is None:
        fewest = min(row["bytes"] for row in history)
        raise KnownError(
            f"No network of at most {most_bytes:,} bytes came out of {epochs} epochs; the smallest had {fewest:,}. "
            "Allow more bytes, or more epochs."
        )
    return Smallest(*best, best_accuracy, pd.DataFrame(history))


def hidden_units(most_bytes: int) -> tuple[int, int]:
    """The widths of the two hidden layers for a file of that size: about three bits a weight."""
    first = round(float(np.clip(64 * math.sqrt(most_bytes / 2_000), 16, 400)))
    return first, first // 2


def _start(
    network: Network, images: np.ndarray, most_bytes: int, random: np.random.Generator, basis: np.ndarray
) -> list[np.ndarray]:
    """The weights before training, in steps between whole numbers; the first ones are those of chosen units."""
    widths = (basis.shape[1], *hidden_units(most_bytes), network.classes)
    start = [random.normal(size=shape).astype(np.float32) for shape in pairwise(widths)]
    large = network.matrices[0].shape[1]
    if len(network.layers) > 1 and large > widths[1]:
        chosen = repair(network, images[:REPAIR_IMAGES], "unit", 1 - widths[1] / large).matrices[0]
        chosen = chosen[:, chosen.any(axis=0)][:, : widths[1]]
        # The strengths of the waves that come closest to each unit's weights.
        strengths = np.linalg.lstsq(basis, chosen, rcond=None)[0]
        start[0][:, : chosen.shape[1]] = strengths / strengths.std()
    return start


def _moved(
    images: np.ndarray, side: int, rows: np.ndarray, columns: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The strengths of the waves in images that are moved a little, float32 of shape (n, waves).

    Not the images are moved, but the waves the other way: a wave can be had at any place.
    """
    order = random.permutation(len(images))
    strengths = np.empty((len(images), len(rows)), np.float32)
    centre = (side - 1) / 2
    places = np.indices((side, side)).reshape(2, -1) - centre
    for start in range(0, len(order), MOVED_AT_ONCE):
        turn, shear = random.normal(size=2) * (TURN, SHEAR)
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = turned @ [[1, shear], [0, 1]] @ np.diag(np.exp(random.normal(size=2) * SCALE))
        shift = random.normal(size=(2, 1)) * SHIFT * side
        chosen = order[start : start + MOVED_AT_ONCE]
        strengths[chosen] = images[chosen] @ waves(side, rows, columns, matrix @ places + centre + shift)
    return strengths


class _Learner:
    """Trains weights that are rounded, and knows what they cost in the file."""

    def __init__(self, start: list[np.ndarray], most_bytes: int, epochs: int, images: int):
        self._weights = [tf.Variable(each) for each in start]
        # The logarithm of what outputs are multiplied by; the other layers' factors would only repeat it.
        self._scale = tf.Variable(0.0)
        self._costs = [(tf.Variable(each), tf.Variable(each), tf.Variable(0.0)) for each in start]
        self._default = DEFAULT_PRESSURE * (2_000 / most_bytes) ** 1.5
        self._pressure = tf.Variable(0.0)
        self._batch = min(BATCH, images)
        self._steps = images // self._batch
        schedule = keras.optimizers.schedules.CosineDecay(RATE, epochs * self._steps)
        self._optimizer = keras.optimizers.Adam(schedule)
        self._optimizer.build(self._variables)
        self._loss = Distillation(SHARE)

    @property
    def _variables(self) -> list[tf.Variable]:
        return [*self._weights, self._scale]

    def epoch(self, strengths: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> float:
        """See every image once, and return the mean loss, without what the file costs."""
        for weights, known in zip(self._weights, self._costs, strict=True):
            for variable, values in zip(known, costs(np.rint(weights.numpy()).astype(np.int32)), strict=True):
                variable.assign(values)
        order = random.permutation(len(strengths))[: self._steps * self._batch].astype(np.int32)
        return float(self._train(tf.constant(strengths), tf.constant(targets), tf.constant(order)))

    def press(self, ratio: float) -> None:
        """Let the file's size count for more or less, as it is larger or smaller than it should be.

        At once by a power of the ratio; and a little for good, so that no difference stays. A file that is too large
        counts for more: late in training little moves, and one that is a few bytes too large cannot be kept.
        """
        self._default *= float(np.clip(ratio**3, 0.97, 1.1))
        self._pressure.assign(self._default * float(np.clip(ratio**6, 0.1, 5.0)))

    def network(self, side: int, radius: int) -> SmallestNetwork:
        levels = [np.rint(each.numpy()).astype(np.int32) for each in self._weights]
        return SmallestNetwork(levels, side, radius, math.exp(float(self._scale)))

    @tf.function(jit_compile=True)
    def _train(self, strengths: tf.Tensor, targets: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
        total = 0.0
        for step in tf.range(self._steps):
            chosen = tf.slice(order, [step * self._batch], [self._batch])
            with tf.GradientTape() as tape:
                outputs = self._outputs(tf.gather(strengths, chosen))
                loss = self._loss(tf.gather(targets, chosen), outputs)
                whole = loss + self._pressure * self._bits()
            self._optimizer.apply(tape.gradient(whole, self._variables), self._variables)
            total += loss
        return total / self._steps

    def _outputs(self, activations: tf.Tensor) -> tf.Tensor:
        for index, weights in enumerate(self._weights):
            activations = activations @ _rounded(weights) / math.sqrt(weights.shape[0])
            if index < len(self._weights) - 1:
                activations = tf.nn.relu(activations)
        return activations * tf.exp(self._scale)

    def _bits(self) -> tf.Tensor:
        """What the weights cost in the file, in a line between one whole number and the next, which has a slope."""
        bits = 0.0
        for weights, (zero, one, more) in zip(self._weights, self._costs, strict=True):
            sizes = tf.abs(weights)
            first = tf.minimum(sizes, 1.0)
            bits += tf.reduce_sum(zero * (1 - first) + one * first + more * tf.nn.relu(sizes - 1))
        return bits


@tf.custom_gradient
def _rounded(weights: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    return tf.round(weights), lambda slopes: slopes
