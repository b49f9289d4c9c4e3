"""Accuracy and loss against the sparsity k."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.config import K_VALUES
from core.evaluation import examine
from core.pruning import METHODS, Kernels, Ranks, rank

STOPS = (*(percent / 100 for percent in range(100)), 0.995, 0.999, 1.0)
"""The sparsities of the fine curve: every whole percent, and two beyond 99 % where most of the collapse is."""

RANDOM_SEEDS = (0, 1, 2)
"""The seeds of the random rankings whose mean and spread are the baseline."""


@dataclass(frozen=True)
class Criterion:
    """What decides which weights or units go first: how a row of a sweep was pruned; see `core.pruning.rank`.

    Its fields are columns of every sweep, by the same names.

    Example:
        `Criterion("unit", scope="global").rank(kernels).prune(kernels, 0.5)`
    """

    method: str
    ranking: str = "magnitude"
    scope: str = "layer"
    seed: int = 0

    def rank(self, kernels: Kernels, activations: Sequence[np.ndarray] | None = None) -> Ranks:
        """Put a network's weights or units in this order."""
        return rank(kernels, self.method, self.ranking, self.scope, activations, self.seed)

    def key(self, sparsity: float) -> str:
        """What a row of a sweep is called where it is one name: "weight,magnitude,layer,0,0.9"."""
        return ",".join([*map(str, dataclasses.astuple(self)), key_of(sparsity)])

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a sweep that were pruned by this criterion, by sparsity."""
        if table.empty:
            return table
        same = np.logical_and.reduce([table[name] == value for name, value in dataclasses.asdict(self).items()])
        return table[same].sort_values("sparsity")

    def missing(self, table: pd.DataFrame, sparsities: Iterable[float]) -> list[float]:
        """Which of the sparsities a sweep does not know yet, or not whole: `removable` was not always counted."""
        rows = self.select(table)
        whole = ["removable", "accuracy", "loss"]
        known = set(rows.dropna(subset=whole).sparsity) if {*whole} <= {*rows} else set()
        return [sparsity for sparsity in sparsities if sparsity not in known]


ROW_KEY = [*(field.name for field in dataclasses.fields(Criterion)), "sparsity"]
"""The columns that tell one row of a sweep from another."""


def merge_scores(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A sweep with new scores added; a later score replaces an earlier one."""
    together = pd.concat([table, rows], ignore_index=True)
    return together.drop_duplicates(ROW_KEY, keep="last").sort_values(ROW_KEY, ignore_index=True)


def sweep(
    kernels: Kernels,
    images: np.ndarray,
    labels: np.ndarray,
    sparsities: Iterable[float] = K_VALUES,
    methods: Sequence[str] = METHODS,
) -> pd.DataFrame:
    """Prune and score a network at every sparsity by every method, by magnitude in each layer.

    Args:
        kernels: arrays of shape (inputs, units), hidden layers first, output layer last.
        images, labels: what to score on; see `core.evaluation.evaluate`.
        sparsities: the values of k, each 0 to 1.
        methods: names among `core.pruning.METHODS`.

    Returns:
        One row for each method and k: method, ranking, scope, seed (of the random ranking), sparsity (k),
        zeroed (hidden weights set to zero), sparsity_hidden and sparsity_network (zeroed over the weights of
        the hidden kernels and of all kernels), removable (weights that no longer influence any output: the zeroed
        ones, and those of dead units), accuracy (0 to 1), loss (nats).

    Example:
        `sweep(kernels, test.images, test.labels, [0, 0.5, 0.9])`: six rows, three a method.
    """
    sparsities = list(sparsities)
    return pd.DataFrame(
        row for method in methods for row, _ in score(kernels, images, labels, Criterion(method), sparsities)
    )


def score(
    kernels: Kernels,
    images: np.ndarray,
    labels: np.ndarray,
    criterion: Criterion,
    sparsities: Iterable[float],
    activations: Sequence[np.ndarray] | None = None,
) -> Iterator[tuple[dict, np.ndarray]]:
    """The rows of `sweep` for one criterion, each as soon as it is known, and the classes it was counted from."""
    ranks = criterion.rank(kernels, activations)
    for sparsity in sparsities:
        result = examine(ranks.prune(kernels, sparsity), images, labels)
        row = {
            **dataclasses.asdict(criterion),
            "sparsity": float(sparsity),
            **zeroed_parts(kernels, ranks.zeroed(kernels, sparsity)),
            "removable": sum(kernel.size for kernel in kernels) - result.remaining,
            "accuracy": result.score.accuracy,
            "loss": result.score.loss,
        }
        yield row, result.predictions


def zeroed_parts(kernels: Kernels, zeroed: Sequence[int]) -> dict[str, float]:
    """How many weights are zeroed, and what part of the hidden weights and of all weights that is."""
    count = sum(zeroed)
    hidden = sum(kernel.size for kernel in kernels[:-1])
    return {
        "zeroed": count,
        "sparsity_hidden": count / hidden,
        "sparsity_network": count / (hidden + kernels[-1].size),
    }


def random_baseline(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Accuracy of random pruning over its seeds.

    Returns:
        One row a sparsity that at least two seeds have been scored at: sparsity, mean, std (of the sample), count.
    """
    if table.empty:
        return pd.DataFrame()
    rows = table[(table.method == method) & (table.ranking == "random") & (table.scope == "layer")]
    summary = rows.groupby("sparsity").accuracy.agg(["mean", "std", "count"]).reset_index()
    return summary[summary["count"] > 1]


def key_of(sparsities: float | Sequence[float]) -> str:
    """How k is written in an address: "0.8", or "0.8,0.9,0.5,0" for one k a layer.

    Example:
        `key_of([0.8, 0.9])` is "0.8,0.9".
    """
    each = [sparsities] if np.ndim(sparsities) == 0 else sparsities
    return ",".join(f"{k:.10g}" for k in each)


def parse_key(key: str, layers: int) -> float | list[float] | None:
    """The inverse of `key_of`; None for anything that is no k, or not one for each of the layers."""
    try:
        each = [float(part) for part in key.split(",")]
    except ValueError:
        return None
    if len(each) not in (1, layers) or not all(0 <= k <= 1 for k in each):
        return None
    return each[0] if len(each) == 1 else each


def results_table(table: pd.DataFrame, sparsities: Iterable[float]) -> pd.DataFrame:
    """A sweep in the layout of the published tables, one row a sparsity, pruned by magnitude in each layer.

    Returns:
        Columns sparsity, accuracy_weight, accuracy_unit, loss_weight, loss_unit.
    """
    by_method = {method: Criterion(method).select(table).set_index("sparsity") for method in METHODS}
    results = pd.DataFrame({"sparsity": sorted(sparsities)})
    for measure in ("accuracy", "loss"):
        for method in METHODS:
            results[f"{measure}_{method}"] = results.sparsity.map(by_method[method][measure])
    return results
