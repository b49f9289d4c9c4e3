"""Trains the model and runs pruning experiments.

A run that exists is not trained again; its pruning experiments are run for the sparsities that are
still missing. A run that another process is training is waited for.
"""

import contextlib
import dataclasses
import importlib.metadata
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from absl import flags
from tqdm import tqdm

from core import command, datasets, runs
from core import config as configuration
from core.config import ConfigError, TrainingConfig
from core.errors import KnownError
from core.evaluation import evaluate, rms_activations
from core.files import cache_root
from core.pruning import METHODS
from core.sweep import Order, baseline_orders, plan, results_table, score

if TYPE_CHECKING:
    from core.network import Step

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
_HEARTBEAT = 0.25
"""Seconds between two reports of progress, at least."""
_ACTIVATION_IMAGES = 10_000
"""Training images, the first ones, over which the rms activations are taken."""

flags.DEFINE_string(
    "dataset",
    _DEFAULTS["dataset"],
    f"The dataset. Valid options are: {{{' | '.join(map(repr, configuration.DATASETS))}}}.",
)
flags.DEFINE_integer("epochs", _DEFAULTS["epochs"], "Number of training epochs to perform.")
flags.DEFINE_integer("batch_size", _DEFAULTS["batch_size"], "The batch size")
flags.DEFINE_float("learning_rate", _DEFAULTS["learning_rate"], "The optimizer's learning rate.")
flags.DEFINE_integer(
    "num_valid",
    None,
    "The size of the validation dataset; by default 10000, for optdigits 200",
)
flags.DEFINE_bool(
    "keep_best", _DEFAULTS["keep_best"], "If true, keep the best validation acc model when checkpointing."
)
flags.DEFINE_float("l1_reg", _DEFAULTS["l1_reg"], "L1 penalty on the hidden kernels.")
flags.DEFINE_float("l2_reg", _DEFAULTS["l2_reg"], "L2 penalty on the hidden kernels.")
flags.DEFINE_string(
    "hidden_units",
    ",".join(map(str, _DEFAULTS["hidden_units"])),
    "The width of each hidden layer, separated by commas.",
)
flags.DEFINE_integer("seed", _DEFAULTS["seed"], "Seed of the initial weights and of the order of the images.")
flags.DEFINE_string(
    "k_vals",
    ",".join(map(str, configuration.K_VALUES)),
    "A list of sparsity values to use in pruning experiments, separated by commas.",
)
flags.DEFINE_string(
    "experiment_id",
    None,
    "A unique name to identify the current model and experiment; by default made of the hyper-parameters.",
)
flags.DEFINE_bool(
    "force_train", False, "If true, overwrite existing model for given hparam config, once the new one is complete."
)
flags.DEFINE_bool("train", True, "If false, never train: only run pruning experiments on a run that exists.")
flags.DEFINE_bool("baseline", False, "If true, also prune at random at the same sparsities, for comparison.")
flags.DEFINE_bool(
    "fine_curve",
    False,
    "If true, go on to score every whole percent of sparsity, and the other rankings, for the live slider.",
)
flags.DEFINE_string("output_dir", str(cache_root()), "The output directory for checkpoints, figures, etc.")


def main(_: list[str]) -> None:
    """The command: train if needed, then prune and score at every k."""
    values = flags.FLAGS
    config = TrainingConfig.from_dict(
        {name: values[name].value for name in _DEFAULTS if name != "hidden_units"}
        | {"hidden_units": configuration.parse_sizes(values.hidden_units)}
    )
    sparsities = configuration.parse_k_values(values.k_vals)
    run = runs.open_run(values.experiment_id or config.run_id, Path(values.output_dir).expanduser())

    trained = run.is_complete() and not values.force_train
    if not trained and not values.train:
        raise runs.RunError(f"There is no complete run {run.id} in {run.root} to prune. Train it, without --notrain.")
    if not trained:
        train(run, config, sparsities, replace=values.force_train)
    if run.config() != config:
        raise ConfigError(_other_config(run, config))
    if trained:
        _say(f"Run {run.id} is trained already.")
    complete_sweep(run, [(Order(method), sparsities) for method in METHODS])
    table = results_table(run.sweep(), sparsities)
    _say(f"\n{table.to_string(index=False, float_format='{:.4f}'.format)}\n")
    later = [(order, sparsities) for order in baseline_orders()] if values.baseline else []
    later += plan() if values.fine_curve else []
    # Figures are of the sparsities asked for last; to score more of an existing run is not to ask for others.
    if not trained or not later:
        draw(run, sparsities)
    _say(str(run.folder))
    if later:
        complete_at_leisure(run, later)


def train(run: runs.Run, config: TrainingConfig, sparsities: list[float], replace: bool = False) -> None:
    """Train a run and sweep it, or wait for whoever is training it.

    Args:
        run: where to keep it.
        config: the hyper-parameters.
        sparsities: the values of k to score after training.
        replace: train although the run is complete, and replace it once the new one is, too.

    Raises:
        RunError: if another process was training it and did not complete it, or the cache cannot be written.
        CancelledError: if somebody asked it to stop.
    """
    try:
        with run.train(config) as training:
            # Between the look at the cache and the lock, another process may have completed the run.
            if run.is_complete() and not replace:
                training.discard()
            else:
                with _clear_failures(run):
                    _train_here(training, config, sparsities)
    except runs.RunBusyError:
        _wait_for(run)


def _train_here(training: runs.Training, config: TrainingConfig, sparsities: list[float]) -> None:
    run = training.run
    _say(f"Training {run.id}: {config.parameter_count:,} weights, {config.epochs} epochs.")
    training.update(phase="loading", epoch=0, epochs=config.epochs)
    data = datasets.load_dataset(config.dataset, run.root)
    # Keras takes seconds to import, so a mistake in what came before is told first.
    from core import network

    model = network.build(config)
    training.update(phase="training", epoch=1, batch=0)
    began = time.perf_counter()
    with _bar("Training", config.epochs * config.batches, "batch") as bar:
        report = Reporter(training, config, bar)
        history = network.fit(model, config, data, report.batch, report.epoch)
    seconds = time.perf_counter() - began
    kernels = network.kernels_of(model)
    activations = rms_activations(kernels, data.train.images[:_ACTIVATION_IMAGES])
    training.write_model(model.save, kernels, activations)

    test = data.test
    dense = evaluate(kernels, test.images, test.labels)
    rows = []
    to_score = len(METHODS) * len(sparsities)
    with _bar("Pruning and scoring", to_score, "score") as bar:
        for method in METHODS:
            for row in score(kernels, test.images, test.labels, Order(method), sparsities):
                rows.append(row)
                bar.update()
                training.update(phase="scoring", scored=len(rows), to_score=to_score)
    training.write_sweep(pd.DataFrame(rows))
    kept = history.val_accuracy.idxmax() if config.keep_best else len(history) - 1
    training.commit(
        test_accuracy=dense.accuracy,
        test_loss=dense.loss,
        kept_epoch=int(history.epoch[kept]),
        training_seconds=round(seconds, 3),
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    )


class Reporter:
    """Tells the cache and the terminal how a fit goes; `batch` and `epoch` are callbacks of `network.fit`."""

    def __init__(self, training: runs.Training, config: TrainingConfig, bar: tqdm):
        self._training, self._config, self._bar = training, config, bar
        self._reported = time.monotonic()

    def batch(self, step: "Step") -> None:
        if time.monotonic() - self._reported >= _HEARTBEAT:
            self._training.update(phase="training", **dataclasses.asdict(step))
            # Not at every batch: a fit of a millisecond a batch would feel it.
            self._bar.update((step.epoch - 1) * step.batches + step.batch - self._bar.n)
            self._reported = time.monotonic()

    def epoch(self, history: pd.DataFrame) -> None:
        self._training.write_history(history)
        last = history.iloc[-1]
        if not math.isfinite(last.loss):
            raise KnownError(
                f"Training of {self._training.run.id} diverged: the loss is no longer a number after epoch "
                f"{last.epoch:.0f}. Choose a learning rate below {self._config.learning_rate:g}."
            )
        self._training.update(phase="training", epoch=int(last.epoch))
        _say(
            f"Epoch {last.epoch:.0f}/{self._config.epochs}  loss {last.loss:.4f}  accuracy {last.accuracy:.4f}"
            + (
                f"  val_loss {last.val_loss:.4f}  val_accuracy {last.val_accuracy:.4f}"
                if pd.notna(last.val_loss)
                else ""
            )
            + f"  {last.seconds:.1f} s"
        )


def complete_sweep(run: runs.Run, wanted: list[tuple[Order, list[float]]]) -> int:
    """Score whatever the run does not know yet, writing it down as it grows.

    Args:
        run: a complete run.
        wanted: orders and sparsities, most urgent first.

    Returns:
        How many scores were missing.
    """
    finished = (run.result() or {}).get("finished")
    known = run.sweep()
    # What an earlier entry scores, a later one need not.
    missing: dict[Order, list[float]] = {}
    steps = []
    for order, sparsities in wanted:
        step = [k for k in order.missing(known, sparsities) if k not in missing.get(order, [])]
        missing.setdefault(order, []).extend(step)
        if step:
            steps.append((order, step))
    if not steps:
        return 0
    kernels, test = run.kernels(), datasets.load_dataset(run.config().dataset, run.root).test
    rows, written = [], time.monotonic()
    with _bar("Pruning and scoring", sum(len(step) for _, step in steps), "score") as bar:
        for order, step in steps:
            activations = run.activations() if order.ranking == "activation" else None
            for row in score(kernels, test.images, test.labels, order, step, activations):
                rows.append(row)
                bar.update()
                if time.monotonic() - written > 1:
                    _write_scores(run, rows, finished)
                    written = time.monotonic()
    _write_scores(run, rows, finished)
    return len(rows)


def _write_scores(run: runs.Run, rows: list[dict], finished: str | None) -> None:
    if not run.is_still(finished):
        raise runs.RunError(f"Run {run.id} was deleted or replaced while it was being scored. Run the command again.")
    if rows:
        run.add_to_sweep(pd.DataFrame(rows), finished)


def complete_at_leisure(run: runs.Run, wanted: list[tuple[Order, list[float]]]) -> None:
    """Score what can wait, giving way to whoever is looking at the run; see `complete_sweep`."""
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        with run.lock("curve", timeout=1):
            complete_sweep(run, wanted)
    except runs.RunBusyError:
        _say("Another process is scoring this run; run the same command again later for what it leaves out.")


def draw(run: runs.Run, sparsities: list[float]) -> None:
    """Draw the run's figures, histograms and animations into its folder; see `core.pictures.save_all`.

    Raises:
        RunError: if they cannot be written, or the run was deleted or replaced meanwhile.
    """
    # Matplotlib takes a second to import; whoever only asks for a table need not wait for it.
    from core import pictures

    with run.lock("pictures", timeout=300), _bar("Drawing", pictures.count(sparsities), "file") as bar:
        try:
            pictures.save_all(run, sparsities, lambda path: bar.update())
        except OSError as error:
            raise runs.RunError(
                f"Cannot draw into {run.folder}: {error.strerror or error}. Free some space or correct the "
                "permissions; the scores are safe. Run the same command again to draw."
            ) from error


def _wait_for(run: runs.Run) -> None:
    _say(f"Run {run.id} is being trained by another process; waiting for it.")
    last = None
    while run.is_training():
        state = run.training() or {}
        if state.get("epoch") != last:
            last = state.get("epoch")
            _say(f"Epoch {last}/{state.get('epochs')} there")
        time.sleep(0.5)
    if not run.is_complete():
        state = run.training() or {"phase": "deleted"}
        raise runs.RunError(
            f"The process that was training {run.id} ended early: {state.get('message', state['phase'])}. "
            "Run the same command again to train it."
        )


def _other_config(run: runs.Run, config: TrainingConfig) -> str:
    kept, asked = run.config().to_dict(), config.to_dict()
    differences = [f"{name} {kept[name]} (asked: {asked[name]})" for name in asked if kept[name] != asked[name]]
    return (
        f"Run {run.id} was trained with other hyper-parameters: {', '.join(differences)}. "
        "Choose another --experiment_id, or replace the run with --force_train."
    )


def _versions() -> dict[str, str]:
    names = ("keras", "tensorflow", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


@contextlib.contextmanager
def _clear_failures(run: runs.Run) -> Iterator[None]:
    """Turn what stops a training from outside into a sentence."""
    try:
        yield
    except MemoryError:
        raise KnownError(
            f"There is not enough memory to train {run.id}. Choose fewer hidden units or a smaller batch size."
        ) from None
    except KeyboardInterrupt:
        raise runs.CancelledError(f"Training of {run.id} was cancelled.") from None


def _bar(title: str, total: int, unit: str) -> tqdm:
    """A progress bar on a terminal, nothing in a file or a pipe."""
    return tqdm(total=total, desc=title, unit=unit, disable=None, leave=False)


def _say(text: str) -> None:
    # Past a bar that is being drawn, not into it.
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    command.run(main)
