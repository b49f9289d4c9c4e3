"""Accuracy that pruning costs, and what wins it back: as pruned, repaired, fine-tuned, and controls.

    export OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=2
    python -m benchmarks.recovery [--dataset=digits] [--seeds=0,1,2] [--only=weight:0.99] [--controls] [--small]

Test accuracy in percent of the default network, the mean over seeds ± their sample deviation; with --small of the small
network of the literature, 784-40-20-10, trained for 3 epochs, to about 94 %. What is missing is
trained, repaired and fine-tuned; each result is a run in the cache or a row of its sweep, so a second call only reads.
With other numbers of threads the last digits differ, as training and repair add up in another order.
The controls, at one k a method: the same mask with the initial weights (rewind) and with others (reinit), and a dense
network of about as many weights, trained from scratch for as long in all (small).
"""

import argparse

import numpy as np

from core import runs
from core.config import Config, RecoveryConfig, TrainingConfig
from core.pruning import METHODS
from core.runs import Run
from core.scoring import Wanted, experiment, score_run
from core.sweep import Criterion
from core.training.finetune import small_control
from core.training.train import train_run

SPARSITIES = {"weight": (0.95, 0.98, 0.99, 0.995), "unit": (0.8, 0.9, 0.95)}
CONTROLS = {"weight": (0.99,), "unit": (0.9,)}


def made(config: Config, wanted: Wanted) -> Run:
    """The complete run of a configuration, trained if it is not there, with those scores."""
    run = runs.open_run(config.run_id)
    if not run.is_complete():
        # A training cannot score by activations, which are not in the cache yet.
        train_run(run, config, experiment([0.0]))
    list(score_run(run, wanted))
    return run


def accuracy_of(run: Run, criterion: Criterion, k: float) -> float:
    scores = criterion.select(run.sweep())
    return 100 * float(scores.accuracy[scores.sparsity == k].iloc[0])


def measure(training: TrainingConfig, method: str, k: float, controls: bool) -> dict[str, float]:
    """Test accuracies in percent of one network at one k, by column of the table."""
    parent = made(training, experiment([0.0, k]))
    repaired = [(Criterion(method).repaired, [k])]
    list(score_run(parent, repaired))
    config = RecoveryConfig(training, parent.id, method=method, sparsity=k)
    child = made(config, experiment([0.0]))
    result = child.result()
    print(
        f"seed {training.seed} {method} {k:g}: fine-tuned, validation "
        f"{100 * child.history().val_accuracy[result.kept_epoch - 1]:.2f} %, test {100 * result.test_accuracy:.2f} %, "
        f"{result.training_seconds:.0f} s of which repair {result.repair_seconds:.0f} s",
        flush=True,
    )
    row = {
        "dense": 100 * parent.result().test_accuracy,
        "as pruned": accuracy_of(parent, Criterion(method), k),
        "repaired": accuracy_of(parent, repaired[0][0], k),
        "fine-tuned": 100 * result.test_accuracy,
    }
    if controls and k in CONTROLS[method]:
        for how in ("rewind", "reinit"):
            control = RecoveryConfig(training, parent.id, how=how, method=method, sparsity=k)
            row[how] = 100 * made(control, experiment([0.0])).result().test_accuracy
        row["small"] = 100 * made(small_control(config), experiment([0.0])).result().test_accuracy
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", help="method:k of a single cell, such as weight:0.99")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    network = {"hidden_units": (40, 20), "epochs": 3} if chosen.small else {}
    cells = [(method, k) for method in METHODS for k in SPARSITIES[method]]
    if chosen.small:
        cells = [("weight", 0.95), ("weight", 0.98)]
    if chosen.only:
        method, k = chosen.only.split(":")
        cells = [(method, float(k))]
    rows = {}
    for method, k in cells:
        configs = [TrainingConfig(dataset=chosen.dataset, seed=seed, **network) for seed in seeds]
        measured = [measure(config, method, k, chosen.controls) for config in configs]
        rows[method, k] = {name: [each[name] for each in measured] for name in measured[0]}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"\n{chosen.dataset}, test accuracy in %, seeds {chosen.seeds}")
    print(f"{'method':8}{'k':<7}" + "".join(f"{name:>16}" for name in columns))
    for (method, k), row in rows.items():
        print(f"{method:8}{k:<7g}" + "".join(f"{_said(row.get(name)):>16}" for name in columns))


def _said(values: list[float] | None) -> str:
    if values is None:
        return "–"
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
