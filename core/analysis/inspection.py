"""What a pruned network forgets, and what it still looks at."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.config import K_VALUES
from core.evaluation import Score, evaluate, predict
from core.kernels import live_units
from core.pruning import Kernels, Ranks, magnitude


@dataclass(frozen=True)
class Forgotten:
    """How pruning changed the predictions.

    Attributes:
        lost: the test images that the dense network has right and the pruned one wrong, one row each, those
            that fell last coming first: index, label, predicted, since (the k by which it had fallen).
        won: how many the other way round.
        classes: one row a class: images, dense and pruned (accuracies on the images of that class).
        confusion: images by class predicted dense (rows) and pruned (columns), shape (classes, classes).
    """

    lost: pd.DataFrame
    won: int
    classes: pd.DataFrame
    confusion: np.ndarray


def forgotten(kernels: Kernels, ranks: Ranks, sparsity: float, images: np.ndarray, labels: np.ndarray) -> Forgotten:
    """Compare the predictions of the pruned network with those of the dense one.

    Args:
        kernels: as trained, arrays of shape (inputs, units).
        ranks: what is pruned first.
        sparsity: k.
        images, labels: what to predict, as for `core.evaluation.evaluate`.
    """
    classes = kernels[-1].shape[1]
    dense = predict(kernels, images)
    pruned = predict(ranks.prune(kernels, sparsity), images)
    lost = np.flatnonzero((dense == labels) & (pruned != labels))
    table = pd.DataFrame({"index": lost, "label": labels[lost], "predicted": pruned[lost]})
    table["since"] = _fallen_since(kernels, ranks, sparsity, images[lost], labels[lost])
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
    return Forgotten(
        lost=table.sort_values(["since", "index"], ascending=[False, True], ignore_index=True),
        won=int(np.count_nonzero((dense != labels) & (pruned == labels))),
        classes=accuracies,
        confusion=confusion,
    )


def _fallen_since(
    kernels: Kernels, ranks: Ranks, sparsity: float, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """For images that are wrong at k, the smallest k looked at from which on they are wrong throughout.

    Looks at the five whole percents below k, then at the sparsities of the original experiment.
    """
    percent = int(sparsity * 100)
    ladder = {step / 100 for step in range(max(percent - 5, 0), percent + 1)} | set(K_VALUES)
    since = np.full(len(images), float(sparsity))
    falling = np.arange(len(images))
    for k in sorted((k for k in ladder if k < sparsity), reverse=True):
        if not len(falling):
            break
        wrong = predict(ranks.prune(kernels, k), images[falling]) != labels[falling]
        falling = falling[wrong]
        since[falling] = k
    return since


def pixel_connections(kernels: Kernels) -> np.ndarray:
    """How many live connections each pixel keeps in the first layer, shape (inputs,).

    A connection is live if its weight is not zero and its unit still reaches an output.
    """
    live = live_units(kernels)[1]
    return np.count_nonzero(kernels[0][:, live], axis=1)


def receptive_fields(kernels: Kernels, dense: Kernels, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The incoming weights of the strongest units of the first layer that still reach an output.

    Args:
        kernels: as pruned.
        dense: as trained; the strength of a unit is the L2 norm of its weights as trained.
        count: at most how many.

    Returns:
        Their numbers, shape (n,), and their weights as pruned, shape (n, inputs).
    """
    live = np.flatnonzero(live_units(kernels)[1])
    strength = magnitude(dense[0], "unit")[live]
    units = live[np.argsort(-strength, kind="stable")[:count]]
    return units, kernels[0].T[units]


def prune_one_layer(
    kernels: Kernels, ranks: Ranks, layer: int, sparsity: float, images: np.ndarray, labels: np.ndarray
) -> Score:
    """Accuracy and loss when only one hidden layer is pruned.

    Args:
        ranks: within each layer (scope "layer").
        layer: which hidden layer, from 0.

    Example:
        `prune_one_layer(kernels, rank(kernels, "weight"), 0, 0.9, test.images, test.labels).accuracy`
    """
    each = [sparsity if index == layer else 0 for index in range(len(kernels) - 1)]
    return evaluate(ranks.prune(kernels, each), images, labels)
