"""The three states of a pruned network: as pruned, repaired and fine-tuned.

Pages, charts, exports and commands ask a state for what they need, and not which one it is. A repaired network is kept
with the run that it was pruned from. A fine-tuned one is a run of its own, which names its parent.
"""

import contextlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from core.config import HOWS, K_VALUES
from core.errors import KnownError
from core.kernels import SUPPORTS
from core.network import Network
from core.pruning import RANKINGS, AnySparsity, Sparsity
from core.runs import Predictions, Run, list_runs
from core.scoring import Wanted, fine_curve, known_of
from core.sweep import RECOVERIES, REPAIR_STOPS, STOPS, Criterion, dense_scores

_DENSE = Criterion("weight").key(0.0)


@dataclass(frozen=True)
class State:
    """The networks of a complete run that were pruned by a criterion, in the state that it names; see `state_of`.

    Class attributes:
        keys: what `Criterion.recovery`, flags and tables call it.
        name: what links and the metadata of exported files call it.
        words: what pages, charts and tables call it.
        options: the choices that make a criterion of it, besides the method, by their names in links and flags.
        rankings: what the first of them can be; that of the default comes first.
        is_instant: whether pruning alone makes it, at once and at any k, and changes nothing but the zeros.
        is_repair: whether it is made in the background, and kept.
        is_at_any_k: whether it can be had between its stops.
        stops: the positions of the slider.
    """

    run: Run
    criterion: Criterion

    keys: ClassVar[tuple[str, ...]]
    name: ClassVar[str]
    words: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    rankings: ClassVar[tuple[str, ...]] = RANKINGS[:1]
    is_instant: ClassVar[bool] = False
    is_repair: ClassVar[bool] = False
    is_at_any_k: ClassVar[bool] = True
    stops: ClassVar[tuple[float, ...]] = STOPS

    @classmethod
    def chosen(cls, values: Mapping[str, Any]) -> Criterion:
        """The criterion of what is chosen: "method", and `options`."""
        return Criterion(values["method"], *(values[name] for name in cls.options), recovery=cls.keys[0])

    @classmethod
    def flags(cls, criterion: Criterion) -> list[str]:
        """The inverse of `chosen`, as flags of a command."""
        values = criterion.method, criterion.ranking, criterion.scope
        return [f"--{name}={value}" for name, value in zip(("method", *cls.options), values, strict=False)]

    @staticmethod
    def wanted(criterion: Criterion) -> Wanted:
        """What is scored in the background for the slider."""
        return []

    def scores(self) -> pd.DataFrame:
        """What is known so far, by sparsity: sparsity, accuracy, loss; images, epochs and seconds that it cost.

        Raises:
            RunError: if scores cannot be read.
        """
        return self.criterion.select(known_of(self.run))

    def run_at(self, k: AnySparsity) -> Run | None:
        """The run that the network at k belongs to; None if there is none."""
        return self.run

    def network(self, k: AnySparsity, prune: Callable[[AnySparsity], Network] | None = None) -> Network | None:
        """The network at k; None if it is not there.

        Args:
            prune: prunes the network of the run by this criterion, where that is loaded and ranked already.

        Raises:
            RunError: if its file is damaged.
        """
        run = self.run_at(k)
        return run.network() if run else None

    def version(self, k: AnySparsity) -> str | None:
        """What tells the network at k from an earlier or later one; None if it is not there."""
        run = self.run_at(k)
        return self._run_version if run == self.run else run and run.version()

    @cached_property
    def _run_version(self) -> str | None:
        return self.run.version()

    def scores_version(self) -> str:
        """What changes whenever anything that is known of these networks does."""
        return f"{self.run.sweep_version()}-{self.run.network_version()}"

    def predictions(self) -> Predictions:
        """The predicted classes of all test images as far as they are kept, by the text of k."""
        prefix, kept = self.criterion.prefix, self.run.predictions()
        found = {key.removeprefix(prefix): row for key, row in kept.items() if key.startswith(prefix)}
        return found | ({"0": kept[_DENSE]} if _DENSE in kept else {})

    def at_stops(self) -> Predictions:
        """Those at the stops alone."""
        known = self.predictions()
        return {key: known[key] for key in map(str, map(Sparsity, self.stops)) if key in known}


class AsPruned(State):
    """With zeros, and otherwise the weights of the trained network."""

    keys = ("none",)
    name = words = RECOVERIES["none"]
    options = ("ranking", "scope")
    rankings = RANKINGS
    is_instant = True

    @staticmethod
    def wanted(criterion: Criterion) -> Wanted:
        return fine_curve()

    def network(self, k: AnySparsity, prune: Callable[[AnySparsity], Network] | None = None) -> Network:
        return (prune or self._prune)(k)

    @cached_property
    def _prune(self) -> Callable[[AnySparsity], Network]:
        dense = self.run.network()
        return partial(self.criterion.rank(dense, self.run.activations()).prune, dense)


class Repaired(State):
    """With the same number of zeros and other supports or values, found without labels and without training."""

    keys = ("repair",)
    name = words = RECOVERIES["repair"]
    options = ("support", "scope")
    rankings = SUPPORTS
    is_repair = True
    stops = REPAIR_STOPS

    @staticmethod
    def wanted(criterion: Criterion) -> Wanted:
        # Those of the original experiment come first, the most pruned of them before the others.
        first = sorted({*K_VALUES} & {*REPAIR_STOPS}, reverse=True)
        return [(criterion, [*first, *(k for k in REPAIR_STOPS if k not in first)])]

    def network(self, k: AnySparsity, prune: Callable[[AnySparsity], Network] | None = None) -> Network | None:
        return self.run.network(self.criterion.key(k) if k != 0 else None)

    def version(self, k: AnySparsity) -> str | None:
        if k == 0:
            return self._run_version
        kept = self.run.network_version(self.criterion.key(k))
        return f"{self._run_version} {kept}" if kept else None


class FineTuned(State):
    """Trained again, with labels: at each k, the child that is best on validation images."""

    keys = ("trained", *HOWS)
    name = "trained on"  # links and files have it
    words = RECOVERIES["finetune"]
    is_at_any_k = False

    @cached_property
    def children(self) -> dict[float, Run]:
        """By k, the complete child that was pruned by this method and is best on validation images; controls are left
        out, and so is k = 0, where the dense network stands.

        Without validation images it is the newest.
        """
        best: dict[float, tuple[tuple, Run]] = {}
        for child in children(self.run):
            with contextlib.suppress(KnownError):
                config, result = child.config(), child.result()
                if result is None or config.method != self.criterion.method or config.how not in HOWS[:2]:
                    continue
                score = dense_scores(child.sweep()).get("val_accuracy", np.nan)
                rank = (-1.0 if np.isnan(score) else float(score), result.finished)
                if config.sparsity and rank > best.get(config.sparsity, ((-2.0, ""),))[0]:
                    best[config.sparsity] = rank, child
        return {k: child for k, (_, child) in sorted(best.items())}

    @property
    def stops(self) -> tuple[float, ...]:
        return 0.0, *self.children

    def scores(self) -> pd.DataFrame:
        rows = []
        for k, run in {0.0: self.run, **self.children}.items():
            config, result = run.config(), run.ended_with()
            cost = config.spec.train_size - config.num_valid, config.epochs, result.training_seconds
            rows.append((k, result.test_accuracy, result.test_loss, *(cost if k else (0, 0, 0.0))))
        return pd.DataFrame(rows, columns=["sparsity", "accuracy", "loss", "images", "epochs", "seconds"])

    def run_at(self, k: AnySparsity) -> Run | None:
        return self.run if k == 0 else self.children.get(k)

    def scores_version(self) -> str:
        return f"{super().scores_version()}-{self._children_version}"

    @cached_property
    def _children_version(self) -> str:
        children = [(k, child.version()) for k, child in self.children.items()]
        return f"{zlib.crc32(repr(children).encode()):x}"

    def predictions(self) -> Predictions:
        own = {str(Sparsity(k)): child.predictions().get(_DENSE) for k, child in self.children.items()}
        return super().predictions() | {key: row for key, row in own.items() if row is not None}


STATES = {state.name: state for state in (AsPruned, Repaired, FineTuned)}
"""By what links call them."""
BY_KEY = {key: state for state in STATES.values() for key in state.keys}
"""By what `Criterion.recovery`, flags and tables call them."""


def kind_of(criterion: Criterion) -> type[State]:
    """The state that a criterion names, of any run."""
    return BY_KEY[criterion.recovery]


def state_of(run: Run, criterion: Criterion) -> State:
    """The networks of a run that were pruned by a criterion.

    Example:
        `state_of(run, Criterion("unit")).network(0.9)`
    """
    return kind_of(criterion)(run, criterion)


def fine_tuned_by(method: str) -> Criterion:
    """The criterion of networks that were pruned by a method and fine-tuned."""
    return FineTuned.chosen({"method": method})


def children(run: Run) -> list[Run]:
    """The runs that name this one as their parent, complete or not.

    A run may have been retrained, or, under a name of its own, replaced by one of other hyper-parameters; what was
    fine-tuned from the earlier network is none of this one's.
    """
    found, training, version = [], None, run.version()
    with contextlib.suppress(KnownError):
        training = run.config()
    for other in list_runs(run.root):
        with contextlib.suppress(KnownError):
            config = other.config()
            if getattr(config, "parent", None) == run.id and config.training == training:
                result = other.result()
                if result is None or result.parent_identity in ("", version):
                    found.append(other)
    return found
