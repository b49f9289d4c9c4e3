"""What a pruned network loses class by class, and what it still looks at."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.evaluation import Score, evaluate
from core.kernels import live_units
from core.network import Kernels, Network, matrices_of
from core.pruning import Ranks, magnitude


@dataclass(frozen=True)
class ByClass:
    """How pruning changed the predictions, class by class.

    Attributes:
        classes: one row a class: images, dense and pruned (accuracies on the images of that class).
        confusion: images by class predicted dense (rows) and pruned (columns), shape (classes, classes).
    """

    classes: pd.DataFrame
    confusion: np.ndarray


def by_class(dense: np.ndarray, pruned: np.ndarray, labels: np.ndarray, classes: int) -> ByClass:
    """Compare the predictions of the pruned network with those of the dense one.

    Args:
        dense, pruned: the predicted class of each image, of shape (n,).
        labels: the true ones.
        classes: how many there are.

    Example:
        `by_class(predict(kernels, images), predict(pruned, images), labels, 10).classes`
    """
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (dense, pruned), 1)
    of_class = [labels == label for label in range(classes)]
    accuracies = pd.DataFrame(
        {
            "images": [int(mask.sum()) for mask in of_class],
            "dense": [float(np.mean(dense[mask] == labels[mask])) if mask.any() else None for mask in of_class],
            "pruned": [float(np.mean(pruned[mask] == labels[mask])) if mask.any() else None for mask in of_class],
        }
    )
    return ByClass(accuracies, confusion)


def pixel_connections(network: Network | Kernels) -> np.ndarray:
    """How many live connections each pixel keeps in the first layer, shape (inputs,).

    A connection is live if its weight is not zero and its unit still reaches an output.
    """
    live = live_units(network)[1]
    return np.count_nonzero(matrices_of(network)[0][:, live], axis=1)


def receptive_fields(network: Network | Kernels, dense: Kernels, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The incoming weights of the strongest units of the first layer that still reach an output.

    Args:
        network: as pruned.
        dense: as trained; the strength of a unit is the L2 norm of its weights as trained.
        count: at most how many.

    Returns:
        Their numbers, shape (n,), and their weights as pruned, shape (n, inputs).
    """
    live = np.flatnonzero(live_units(network)[1])
    strength = magnitude(dense[0], "unit")[live]
    units = live[np.argsort(-strength, kind="stable")[:count]]
    return units, matrices_of(network)[0].T[units]


def prune_one_layer(
    network: Network | Kernels, ranks: Ranks, layer: int, sparsity: float, images: np.ndarray, labels: np.ndarray
) -> Score:
    """Accuracy and loss when only one hidden layer is pruned.

    Args:
        ranks: within each layer (scope "layer").
        layer: which hidden layer, from 0.

    Example:
        `prune_one_layer(kernels, rank(kernels, "weight"), 0, 0.9, test.images, test.labels).accuracy`
    """
    each = [sparsity if index == layer else 0 for index in range(len(ranks.pools))]
    return evaluate(ranks.prune(network, each), images, labels)
