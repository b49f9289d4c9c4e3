"""Accuracy and loss against the sparsity k."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from core.config import K_VALUES
from core.evaluation import evaluate, examine, predict
from core.kernels import DEFAULT_SUPPORT, Repairer, Report
from core.network import Kernels, Network, as_network
from core.pruning import CHANCE, METHODS, AnySparsity, Ranks, Sparsity, rank

STOPS = (*(percent / 100 for percent in range(100)), 0.995, 0.999, 1.0)
"""The sparsities of the fine curve: every whole percent, and two beyond 99 % where most of the collapse is."""

REPAIR_STOPS = (
    *(0.0, 0.25, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85),
    *(percent / 100 for percent in range(90, 100)),
    *(0.995, 0.999, 1.0),
)
"""The sparsities that a network is repaired at for the slider: a repair takes seconds, and below a half as pruned is as
good."""

RECOVERIES = {
    "none": "as pruned",
    "repair": "repaired",
    "finetune": "fine-tuned",
    "gradual": "fine-tuned, pruned gradually",
    "rewind": "rewound and trained",
    "reinit": "trained from other initial weights",
}
"""How a pruned network won accuracy back, and what tables and charts call it. The last two are controls."""

RANDOM_SEEDS = (0, 1, 2)
"""The seeds of the random rankings whose mean and spread are the baseline."""


@dataclass(frozen=True)
class Criterion:
    """What decides which weights or units go, and what happens to the others: how a row of a sweep was made.

    Its fields are columns of every sweep, by the same names.

    Attributes:
        method, ranking, scope, seed: see `core.pruning.rank`. Of a repaired network the ranking is what chose what
            stays, one of `core.kernels.SUPPORTS`.
        recovery: a name in `RECOVERIES`.

    Example:
        `Criterion("unit", scope="global").rank(kernels).prune(kernels, 0.5)`
    """

    method: str
    ranking: str = "magnitude"
    scope: str = "layer"
    seed: int = 0
    recovery: str = "none"

    @property
    def as_pruned(self) -> "Criterion":
        """The same as pruned; what is won back is compared with pruning by magnitude."""
        return self if self.recovery == "none" else Criterion(self.method, scope=self.scope)

    @property
    def repaired(self) -> "Criterion":
        """Repaired networks of the same method and scope, with the support that is the default."""
        return Criterion(self.method, DEFAULT_SUPPORT, self.scope, recovery="repair")

    @property
    def beside(self) -> "Criterion":
        """What it is compared with at the same k: as pruned with repaired, everything else with as pruned."""
        return self.repaired if self == self.as_pruned else self.as_pruned

    def rank(self, network: Network | Kernels, activations: Sequence[np.ndarray] | None = None) -> Ranks:
        """Put a network's weights or units in this order."""
        return rank(network, self.method, self.ranking, self.scope, activations, self.seed)

    def key(self, sparsity: AnySparsity) -> str:
        """What a row of a sweep is called where it is one name: "weight,magnitude,layer,0,0.9"; of a repaired network
        "weight,admm,layer,0,repair,0.9"."""
        return f"{self.prefix}{Sparsity.of(sparsity)}"

    @property
    def prefix(self) -> str:
        """How the keys of this criterion begin, before k."""
        named = [self.method, self.ranking, self.scope, str(self.seed)]
        return ",".join([*named, *([] if self == self.as_pruned else [self.recovery]), ""])

    @classmethod
    def parse(cls, key: str) -> tuple["Criterion", float]:
        """The inverse of `key`, for one k.

        Raises:
            ValueError: for anything else.
        """
        named, k = key.split(",")[:-1], float(key.split(",")[-1])
        criterion = cls(*named[:3], int(named[3]), *named[4:]) if 4 <= len(named) <= 5 else None
        if criterion is None or criterion.key(k) != key or not 0 <= k <= 1:
            raise ValueError(f"Expected the key of a criterion and k. Received: {key[:100]!r}.")
        return criterion, k

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a sweep that were pruned by this criterion, by sparsity."""
        if table.empty:
            return table
        same = np.logical_and.reduce([table[name] == value for name, value in dataclasses.asdict(self).items()])
        return table[same].sort_values("sparsity")


def known_sparsities(table: pd.DataFrame) -> dict[Criterion, set[float]]:
    """The sparsities that a sweep knows whole, by criterion: earlier versions counted less."""
    counted = ["removable", "agreement", "accuracy", "loss"]
    if not {*counted} <= {*table}:
        return {}
    whole = table[counted].notna().all(axis=1)
    if "val_accuracy" not in table or table.val_accuracy.notna().any():
        # All are empty where there are no validation images; some, where an earlier version did not look at them.
        whole &= table.get("val_accuracy", pd.Series(np.nan, table.index)).notna() | table.ranking.isin(CHANCE)
    return {Criterion(*key): set(rows.sparsity) for key, rows in table[whole].groupby(ROW_KEY[:-1])}


ROW_KEY = [*(field.name for field in dataclasses.fields(Criterion)), "sparsity"]
"""The columns that tell one row of a sweep from another."""


def dense_scores(table: pd.DataFrame) -> dict[str, Any]:
    """What a sweep knows of the network as it is: its row at k = 0 by the default criterion; empty if it has none."""
    rows = Criterion("weight").select(table)
    dense = rows[rows.sparsity == 0].to_dict("records") if len(rows) else []
    return dense[-1] if dense else {}


def merge_scores(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A sweep with new scores added; a later score replaces an earlier one."""
    together = pd.concat([table, rows], ignore_index=True)
    return together.drop_duplicates(ROW_KEY, keep="last").sort_values(ROW_KEY, ignore_index=True)


def sweep(
    network: Network | Kernels,
    images: np.ndarray,
    labels: np.ndarray,
    sparsities: Iterable[float] = K_VALUES,
    methods: Sequence[str] = METHODS,
) -> pd.DataFrame:
    """Prune and score a network at every sparsity by every method, by magnitude in each layer.

    Args:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        images, labels: what to score on; see `core.evaluation.evaluate`.
        sparsities: the values of k, each 0 to 1.
        methods: names among `core.pruning.METHODS`.

    Returns:
        One row for each method and k, with the columns that `Bench.score` gives; nothing is known of validation images.

    Example:
        `sweep(kernels, test.images, test.labels, [0, 0.5, 0.9])`: six rows, three a method.
    """
    sparsities = list(sparsities)
    bench = Bench(network, images, labels)
    return pd.DataFrame(scored.row for method in methods for scored in bench.score(Criterion(method), sparsities))


@dataclass(frozen=True)
class Scored:
    """One network that was made of the dense one, and scored.

    Attributes:
        row: of a sweep; see `Bench.score`.
        predictions: the predicted class of every test image, uint8 of shape (n,).
        network: what was scored, if it was repaired; one that was only pruned is made again at once, and many of them
            would fill the memory.
    """

    row: dict
    predictions: np.ndarray
    network: Network | None


@dataclass(frozen=True)
class Bench:
    """A dense network, and the images on which what is made of it is scored.

    Attributes:
        network: a network, or arrays of shape (inputs, units), hidden layers first, output layer last.
        images, labels: the test images; see `core.evaluation.evaluate`.
        validation: images and labels for choosing; None if there are none.
        activations: for rankings by activation, what `core.evaluation.rms_activations` gives.
        unlabelled: gives training images for repair, see `core.kernels.repair`; is called if something is repaired.
        report: is called with the progress of a repair; see `core.kernels.Repairer`.
        pool: scores on the validation images beside the test images, where products take one thread each.
    """

    network: Network | Kernels
    images: np.ndarray
    labels: np.ndarray
    validation: tuple[np.ndarray, np.ndarray] | None = None
    activations: Sequence[np.ndarray] | None = None
    unlabelled: Callable[[], np.ndarray] | None = None
    report: Report | None = None
    pool: Executor | None = None

    def score(self, criterion: Criterion, sparsities: Iterable[float]) -> Iterator[Scored]:
        """Prune, repair if the criterion says so, and score; each as soon as it is known.

        The columns of the rows: method, ranking, scope, seed (of a ranking by chance), recovery, sparsity (k), zeroed
        (hidden weights set to zero), sparsity_hidden and sparsity_network (zeroed over the weights of the hidden
        kernels and of all kernels), removable (weights that no longer influence any output: the zeroed ones, and those
        of dead units), multiply_adds (of one image, once everything dead is removed and the rest is computed densely),
        accuracy (0 to 1) and loss (nats) on the test images, agreement (the part of them on which it
        says what the dense network says), worst_class (the accuracy of the class that is worst), val_accuracy and
        val_loss on the validation images (not a number without any, and of rankings by chance), images, epochs and
        seconds that winning back cost (images without labels for repair).
        """
        for k in sparsities:
            small, images, seconds = self._small(criterion, k)
            chosen_on = self.validation if criterion.ranking not in CHANCE else None
            beside = self.pool.submit(evaluate, small, *chosen_on) if chosen_on and self.pool else None
            result = examine(small, self.images, self.labels)
            correct = result.predictions == self.labels
            validation = beside.result() if beside else evaluate(small, *chosen_on) if chosen_on else None
            row = {
                **dataclasses.asdict(criterion),
                "sparsity": float(k),
                **zeroed_parts(small.matrices),
                "removable": small.weights - result.remaining,
                "multiply_adds": result.multiply_adds,
                "accuracy": result.score.accuracy,
                "loss": result.score.loss,
                "agreement": float(np.mean(result.predictions == self._dense)),
                "worst_class": min(float(correct[self.labels == label].mean()) for label in np.unique(self.labels)),
                "val_accuracy": validation.accuracy if validation else np.nan,
                "val_loss": validation.loss if validation else np.nan,
                "images": images,
                "epochs": 0,
                "seconds": round(seconds, 3),
            }
            yield Scored(row, result.predictions, small if images else None)

    def _small(self, criterion: Criterion, k: float) -> tuple[Network, int, float]:
        """A network made of the dense one, and how many images and seconds it took to repair it."""
        if criterion == criterion.as_pruned:
            return self._ranks(criterion).prune(as_network(self.network), k), 0, 0.0
        began = time.perf_counter()
        repaired = self._repairer.repair(criterion.method, k, support=criterion.ranking, scope=criterion.scope)
        return repaired.network, repaired.images, time.perf_counter() - began

    def _ranks(self, criterion: Criterion) -> Ranks:
        if criterion not in self._ranked:
            # One at a time: each is as large as the network.
            self._ranked.clear()
            self._ranked[criterion] = criterion.rank(self.network, self.activations)
        return self._ranked[criterion]

    @cached_property
    def _ranked(self) -> dict[Criterion, Ranks]:
        return {}

    @cached_property
    def _dense(self) -> np.ndarray:
        return predict(self.network, self.images)

    @cached_property
    def _repairer(self) -> Repairer:
        if self.unlabelled is None:
            raise ValueError("Expected training images to repair with. Received none.")
        return Repairer(self.network, self.unlabelled(), report=self.report)


def zeroed_parts(kernels: Kernels) -> dict[str, float]:
    """How many hidden weights of a pruned network are zero, and what part of the hidden weights and of all that is."""
    hidden = sum(kernel.size for kernel in kernels[:-1])
    count = hidden - sum(int(np.count_nonzero(kernel)) for kernel in kernels[:-1])
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


def results_table(table: pd.DataFrame, sparsities: Iterable[float]) -> pd.DataFrame:
    """A sweep in the layout of the published tables, one row a sparsity, pruned by magnitude in each layer.

    Returns:
        Columns sparsity, accuracy_weight, accuracy_unit, loss_weight, loss_unit.
    """
    if table.empty:
        table = pd.DataFrame(columns=[*ROW_KEY, "accuracy", "loss"])
    by_method = {method: Criterion(method).select(table).set_index("sparsity") for method in METHODS}
    results = pd.DataFrame({"sparsity": sorted(sparsities)})
    for measure in ("accuracy", "loss"):
        for method in METHODS:
            results[f"{measure}_{method}"] = results.sparsity.map(by_method[method][measure])
    return results
