"""Train a run or fine-tune one: load the images, fit, score and commit, or wait for a process that already does."""

import contextlib
import dataclasses
import importlib.metadata
import math
import os
import platform
import time
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from core.config import Config, RecoveryConfig, TrainingConfig
from core.datasets import Dataset, load_dataset
from core.errors import CancelledError, KnownError, RunBusyError, RunError
from core.evaluation import evaluate, rms_activations
from core.runs import Checkpoint, Phase, Run, RunWriter, open_run, write_run
from core.scoring import Wanted, bench_of, count, predictions_of, score_bench, unscored
from core.terminal import echo, progress_bar

if TYPE_CHECKING:
    import keras

    from core.training.fit import Step

    Fitted = tuple[keras.Model, pd.DataFrame, dict[str, float]]

_HEARTBEAT = 0.25
"""Seconds between two reports of progress, at least."""
_ACTIVATION_IMAGES = 10_000
"""Training images, the first ones, over which the rms activations are taken."""


def train_run(run: Run, config: Config, wanted: Wanted, replace: bool = False) -> None:
    """Train a run and sweep it, or wait for the process that is training it.

    Args:
        run: where to keep it.
        config: the hyper-parameters; with a `RecoveryConfig`, its parent is pruned and fine-tuned.
        wanted: what to score after training, before the run is complete.
        replace: train although the run is complete, and replace it once the new one is, too.

    Raises:
        RunError: if another process was training it and did not complete it, its parent cannot be read, or the cache
            cannot be written.
        CancelledError: if it was cancelled.
    """
    try:
        with write_run(run, config) as writer:
            # Between the look at the cache and the lock, another process may have completed the run.
            if run.is_complete() and not replace:
                writer.discard()
            else:
                with _clear_failures(run):
                    _fit_and_score(writer, config, wanted)
    except RunBusyError:
        _wait_for(run)


def _fit_and_score(writer: RunWriter, config: Config, wanted: Wanted) -> None:
    run = writer.run
    echo(f"Training {run.id}: {config.parameter_count:,} weights, {config.epochs} epochs.")
    writer.update(Phase.LOADING, epoch=0, epochs=config.epochs)
    data = load_dataset(config.dataset, run.root)
    # Keras takes seconds to import, so earlier mistakes are reported first.
    from core.keras_layers import with_weights
    from core.training.network import layers_before, save

    model, history, more = (_fine_tuned if isinstance(config, RecoveryConfig) else _fitted)(writer, config, data)
    network = with_weights(layers_before(config), model)
    activations = rms_activations(network, data.train.images[:_ACTIVATION_IMAGES])
    writer.write_model(partial(save, model), network, activations)

    test = data.test
    dense = evaluate(network, test.images, test.labels)
    scores = []
    to_score = count(unscored(pd.DataFrame(), wanted))
    with progress_bar("Pruning and scoring", to_score, "score") as bar:
        for step in score_bench(bench_of(network, config, data), wanted):
            scores.append(step.scored)
            bar.update()
            writer.update(Phase.SCORING, scored=step.done, to_score=step.total)
    writer.write_sweep(pd.DataFrame([scored.row for scored in scores]), predictions_of(scores))
    # Of a network that was pruned meanwhile, only what was pruned to the end.
    whole = history if "sparsity" not in history else history[history.sparsity == history.sparsity.iloc[-1]]
    kept = whole.val_accuracy.idxmax() if config.keep_best else len(history) - 1
    writer.commit(
        test_accuracy=dense.accuracy,
        test_loss=dense.loss,
        kept_epoch=int(history.epoch[kept]),
        **more,
        versions=_versions(),
        machine=_machine(),
    )


def _fitted(writer: RunWriter, config: TrainingConfig, data: Dataset) -> "Fitted":
    from core.training.fit import fit
    from core.training.network import build

    model = build(config)
    began = time.perf_counter()
    with _reporting(writer, config, _origin(config, data)) as report:
        history = fit(
            model,
            config,
            data,
            report.batch,
            report.epoch,
            on_checkpoint=report.checkpoint,
            checkpoint=report.kept,
        )
    return model, history, {"training_seconds": round(report.seconds_before + time.perf_counter() - began, 3)}


def _fine_tuned(writer: RunWriter, config: RecoveryConfig, data: Dataset) -> "Fitted":
    parent = open_run(config.parent, writer.run.root)
    version, network = parent.version(), parent.network()
    from core.keras_layers import set_weights
    from core.training.finetune import finetune
    from core.training.network import build

    began = time.perf_counter()
    with _reporting(writer, config, _origin(config, data, network.arrays.values())) as report:
        tuned = finetune(config, network, data, report.batch, report.epoch, report.checkpoint, report.kept)
    seconds = round(report.seconds_before + time.perf_counter() - began, 3)
    # Without masks, and of the parent's shape, so that it opens as every other network does.
    model = set_weights(build(config.training), tuned.network)
    start = tuned.start
    took = {"training_seconds": seconds, "repair_images": start.images, "repair_seconds": start.seconds}
    return model, tuned.history, took | {"parent_identity": version}


@contextlib.contextmanager
def _reporting(writer: RunWriter, config: Config, origin: dict[str, Any]) -> Iterator["Reporter"]:
    kept, note = _kept(writer, origin)
    if note:
        echo(note)
    if kept:
        writer.write_history(kept.history)
    done = kept.epoch if kept else 0
    writer.update(Phase.TRAINING, epoch=min(done + 1, config.epochs), batch=0, note=note)
    with progress_bar("Training", config.epochs * config.batches, "batch") as bar:
        bar.update(done * config.batches)
        yield Reporter(writer, config, bar, origin, kept)


def _kept(writer: RunWriter, origin: dict[str, Any]) -> tuple[Checkpoint | None, str]:
    """What an interrupted training left, and a message about it."""
    try:
        kept = writer.kept(origin)
    except RunError as error:
        writer.drop_checkpoint()
        return None, f"{error} Training starts from the beginning."
    if kept:
        return kept, f"An earlier training was interrupted; this one goes on from the end of epoch {kept.epoch}."
    if writer.run.kept_epochs():
        writer.drop_checkpoint()
        return None, (
            "An earlier training was interrupted, but with other images or versions, or on another machine. "
            "Training starts from the beginning."
        )
    return None, ""


def _origin(config: Config, data: Dataset, parent: Iterable[np.ndarray] = ()) -> dict[str, Any]:
    """Everything that decides the network, bit for bit."""
    checksum = 0
    for array in (data.train.images, data.train.labels, *parent):
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return {"config": config.to_dict(), "arrays": checksum, "versions": _versions(), "machine": _machine()}


class Reporter:
    """Tells the cache and the terminal how a fit goes, and keeps what an interrupted one goes on from.

    `batch`, `epoch` and `checkpoint` are callbacks of `core.training.fit.fit`.

    Attributes:
        kept: what this fit goes on from, if anything.
        seconds_before: what its epochs took.
    """

    def __init__(
        self, writer: RunWriter, config: Config, bar: tqdm, origin: dict[str, Any], kept: Checkpoint | None = None
    ):
        self._writer, self._config, self._bar, self._origin = writer, config, bar, origin
        self.kept, self.seconds_before = kept, float(kept.history.seconds.sum()) if kept else 0.0
        self._reported, self._warned = time.monotonic(), False

    def batch(self, step: "Step") -> None:
        if time.monotonic() - self._reported >= _HEARTBEAT:
            self._writer.update(Phase.TRAINING, **dataclasses.asdict(step))
            # Not at every batch: a fit of a millisecond a batch would feel it.
            self._bar.update((step.epoch - 1) * step.batches + step.batch - self._bar.n)
            self._reported = time.monotonic()

    def epoch(self, history: pd.DataFrame) -> None:
        self._writer.write_history(history)
        last = history.iloc[-1]
        if not math.isfinite(last.loss):
            raise KnownError(
                f"Training of {self._writer.run.id} diverged: the loss is no longer a number after epoch "
                f"{last.epoch:.0f}. Choose a learning rate below {self._config.learning_rate:g}."
            )
        echo(
            f"Epoch {last.epoch:.0f}/{self._config.epochs}  loss {last.loss:.4f}  accuracy {last.accuracy:.4f}"
            + (
                f"  val_loss {last.val_loss:.4f}  val_accuracy {last.val_accuracy:.4f}"
                if pd.notna(last.val_loss)
                else ""
            )
            + f"  {last.seconds:.1f} s"
        )

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        try:
            self._writer.keep(checkpoint, self._origin)
        except OSError as error:
            # The network itself needs less room than this, and what an earlier epoch left takes some of it.
            self._writer.drop_checkpoint()
            if not self._warned:
                echo(
                    f"warning: cannot keep what this training would go on from: {error.strerror or error}. "
                    "If it is interrupted, it starts from the beginning."
                )
                self._warned = True
        self._writer.update(Phase.TRAINING, epoch=checkpoint.epoch)


def _wait_for(run: Run) -> None:
    echo(f"Run {run.id} is being trained by another process; waiting for it.")
    last = None
    while (state := run.training()) and not state.phase.has_ended:
        if state.epoch != last:
            last = state.epoch
            echo(f"Epoch {last}/{state.epochs} there")
        time.sleep(0.5)
    if not run.is_complete():
        reason = (state.message or state.phase) if state else "deleted"
        raise RunError(
            f"The process that was training {run.id} ended early: {reason}. Run the same command again to train it."
        )


def _versions() -> dict[str, str]:
    names = ("keras", "tensorflow", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


@contextlib.contextmanager
def _clear_failures(run: Run) -> Iterator[None]:
    """Turn what stops a training from outside into a sentence."""
    try:
        yield
    except MemoryError:
        raise KnownError(
            f"There is not enough memory to train {run.id}. Choose fewer hidden units or a smaller batch size."
        ) from None
    except KeyboardInterrupt:
        raise CancelledError(f"Training of {run.id} was cancelled.") from None
