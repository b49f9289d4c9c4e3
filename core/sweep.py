"""Accuracy and loss against the sparsity k."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from core.config import K_VALUES
from core.evaluation import evaluate
from core.pruning import METHODS, Kernels, check_kernels, prune_ranked, rank, zeroed_weights


def sweep(
    kernels: Kernels,
    images: np.ndarray,
    labels: np.ndarray,
    sparsities: Iterable[float] = K_VALUES,
    methods: Sequence[str] = METHODS,
    on_row: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Prune and score a network at every sparsity by every method.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        images, labels: what to score on; see `core.evaluation.evaluate`.
        sparsities: the values of k, each 0 to 1.
        methods: names among `core.pruning.METHODS`.
        on_row: called with each row as soon as it is known.

    Returns:
        One row for each method and k: method, sparsity (k), zeroed (hidden weights set to zero),
        sparsity_hidden and sparsity_network (zeroed over the weights of the hidden kernels and of all
        kernels), accuracy (0 to 1), loss (nats).
    """
    check_kernels(kernels)
    sparsities = list(sparsities)
    rows = []
    for method in methods:
        ranks = rank(kernels, method)
        for sparsity in sparsities:
            pruned = prune_ranked(kernels, ranks, method, sparsity)
            score = evaluate(pruned, images, labels)
            row = {
                "method": method,
                "sparsity": float(sparsity),
                **zeroed(kernels, method, sparsity),
                "accuracy": score.accuracy,
                "loss": score.loss,
            }
            rows.append(row)
            on_row(row)
    return pd.DataFrame(rows)


def zeroed(kernels: Kernels, method: str, sparsity: float) -> dict[str, float]:
    """How many weights pruning at k sets to zero, and what part of the hidden and of all weights that is."""
    count = sum(zeroed_weights(kernels, method, sparsity))
    hidden = sum(kernel.size for kernel in kernels[:-1])
    return {
        "zeroed": count,
        "sparsity_hidden": count / hidden,
        "sparsity_network": count / (hidden + kernels[-1].size),
    }


def missing_sparsities(table: pd.DataFrame, method: str, sparsities: Iterable[float]) -> list[float]:
    """Which of the sparsities a sweep does not know yet for a method."""
    known = set(table.sparsity[table.method == method]) if len(table) else set()
    return [sparsity for sparsity in sparsities if sparsity not in known]


def results_table(table: pd.DataFrame, sparsities: Iterable[float] | None = None) -> pd.DataFrame:
    """A sweep in the layout of the published tables, one row a sparsity.

    Returns:
        Columns sparsity, accuracy_weight, accuracy_unit, loss_weight, loss_unit.
    """
    wide = table.pivot(index="sparsity", columns="method", values=["accuracy", "loss"])
    wide.columns = [f"{value}_{method}" for value, method in wide.columns]
    columns = ["accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    wide = wide.reindex(columns=columns)
    if sparsities is not None:
        wide = wide.reindex(pd.Index(sorted(sparsities), name="sparsity"))
    return wide.reset_index()
