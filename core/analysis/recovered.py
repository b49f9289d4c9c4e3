"""Networks that won accuracy back, repaired or trained on: where each is kept, and what it predicts.

A repaired network is kept with the run that it was pruned from. One that was trained on is a run of its own, which
names its parent.
"""

import contextlib

import numpy as np
import pandas as pd

from core.errors import KnownError
from core.pruning import AnySparsity
from core.runs import Predictions, Run, list_runs, open_run
from core.sweep import REPAIR_STOPS, STOPS, Criterion, dense_scores

TRAINED = "trained"
"""The recovery of a criterion that means, at each k, the network trained on that is best on validation images."""
_DENSE = Criterion("weight").key(0.0)


def children(run: Run) -> list[Run]:
    """The runs that name this one as their parent, complete or not.

    A run may have been retrained, or, under a name that somebody gave, replaced by one of other hyper-parameters; what
    was trained on from the earlier network is none of this one's.
    """
    found, training, identity = [], None, run.identity()
    with contextlib.suppress(KnownError):
        training = run.config()
    for other in list_runs(run.root):
        with contextlib.suppress(KnownError):
            config = other.config()
            if getattr(config, "parent", None) == run.id and config.training == training:
                result = other.result()
                if result is None or result.parent_identity in ("", identity):
                    found.append(other)
    return found


def trained_on(run: Run, method: str) -> dict[float, Run]:
    """By k, the complete child that was pruned by this method and is best on validation images; controls are left out,
    and so is k = 0, where the dense network stands.

    Without validation images it is the newest.
    """
    best: dict[float, tuple[tuple, Run]] = {}
    for child in children(run):
        with contextlib.suppress(KnownError):
            config, result = child.config(), child.result()
            if result is None or config.method != method or config.how not in ("finetune", "gradual"):
                continue
            if not config.sparsity:
                continue
            score = dense_scores(child.sweep()).get("val_accuracy", np.nan)
            rank = (-1.0 if np.isnan(score) else float(score), result.finished)
            if config.sparsity not in best or rank > best[config.sparsity][0]:
                best[config.sparsity] = rank, child
    return {k: child for k, (_, child) in sorted(best.items())}


def stops(run: Run, criterion: Criterion) -> tuple[float, ...]:
    """The positions of the slider: all, those that a repair is made at, or those where a network was trained on."""
    if criterion.recovery == TRAINED:
        return (0.0, *trained_on(run, criterion.method))
    return STOPS if criterion.recovery == "none" else REPAIR_STOPS


def scores(run: Run, criterion: Criterion) -> pd.DataFrame:
    """What is known so far, by sparsity: sparsity, accuracy, loss, images, epochs, seconds.

    Raises:
        RunError: if scores cannot be read.
    """
    if criterion.recovery != TRAINED:
        return criterion.select(run.sweep())
    rows = []
    for k, child in trained_on(run, criterion.method).items():
        config, result = child.config(), child.result()
        spec = config.spec
        rows.append(
            {
                "sparsity": k,
                "accuracy": result.test_accuracy,
                "loss": result.test_loss,
                "images": spec.train_size - config.num_valid,
                "epochs": config.epochs,
                "seconds": result.training_seconds,
            }
        )
    return pd.DataFrame(rows)


def kernels(run: Run, criterion: Criterion, k: AnySparsity) -> list[np.ndarray] | None:
    """A recovered network; None if there is none at this k.

    Raises:
        RunError: if its file is damaged.
    """
    if criterion.recovery == TRAINED:
        child = trained_on(run, criterion.method).get(k)
        return child.kernels() if child else None
    kept = run.network(criterion.key(k))
    return kept and kept.matrices


def network(run: Run, criterion: Criterion, k: AnySparsity) -> list[np.ndarray] | None:
    """The network of any criterion at k, pruned anew or as it is kept; None if it is not repaired, or trained on, at k.

    Raises:
        RunError: if its file is damaged.
    """
    if criterion.recovery == "none":
        kernels_of_run = run.kernels()
        return criterion.rank(kernels_of_run, run.activations()).prune(kernels_of_run, k)
    return run.kernels() if k == 0 else kernels(run, criterion, k)


def source(run: Run, criterion: Criterion, k: AnySparsity) -> str | None:
    """What tells the network at this k from an earlier or later one of the same key: the identity of the run that it
    is kept with, and the version of a repaired one. None if there is none."""
    if criterion.recovery == "none" or k == 0:
        return run.identity()
    if criterion.recovery == TRAINED:
        child = trained_on(run, criterion.method).get(k)
        return child.identity() if child else None
    version = run.network_version(criterion.key(k))
    return f"{run.identity()} {version}" if version else None


def predictions(run: Run, criterion: Criterion) -> Predictions:
    """The predicted classes of all test images, under the keys of the criterion."""
    kept = run.predictions()
    if criterion.recovery == "none":
        return kept
    found = {key: row for key, row in kept.items() if key.startswith(criterion.prefix)}
    if _DENSE in kept:
        found[criterion.key(0.0)] = kept[_DENSE]
    if criterion.recovery == TRAINED:
        for k, child in trained_on(run, criterion.method).items():
            own = child.predictions()
            if _DENSE in own:
                found[criterion.key(k)] = own[_DENSE]
    return found


def parent_of(run: Run) -> Run | None:
    """The run that this one was made from, whether or not it is still there; None if it was trained from scratch."""
    parent = getattr(run.config(), "parent", None)
    return open_run(parent, run.root) if parent else None
