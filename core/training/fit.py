"""Fit a network, tell how it goes, keep the best epoch, and go on where an interrupted fit was."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd

from core.config import Config
from core.datasets import Dataset
from core.errors import RunError
from core.runs import Checkpoint

if TYPE_CHECKING:
    from core.training.masks import Masks


@dataclass(frozen=True)
class Step:
    """Where a fit is: both counts start at 1, and the batch is the last one done."""

    epoch: int
    batch: int
    batches: int


def fit(
    model: keras.Model,
    config: Config,
    data: Dataset,
    on_batch: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[pd.DataFrame], None] = lambda history: None,
    masks: "Masks | None" = None,
    pixels: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> pd.DataFrame:
    """Train, and leave the kept epoch's weights in the model.

    The order of the images depends on the seed of `keras.utils.set_random_seed` alone, and is the same in every epoch:
    each restarts the seeded shuffle. So a fit that goes on from a checkpoint ends with the same weights, bit for
    bit, as one that was never interrupted.

    Args:
        model: from `build(config)`, or another one, compiled.
        config: its hyper-parameters.
        data: the first `num_valid` training images become the validation set.
        on_batch: called after every step.
        on_epoch: called after every epoch with the history so far.
        masks: what keeps pruned weights at zero; only an epoch that ended with all of them pruned is kept.
        pixels: boolean of shape (inputs,), those that the model looks at; None for all.
        targets: what the model is compiled to learn of each training image, if that is not its label.
        on_checkpoint: called after every epoch, after `on_epoch`, with what a fit goes on from.
        checkpoint: of an earlier fit of the same model, data and configuration; goes on after its last epoch.

    Returns:
        One row an epoch: epoch, loss and accuracy on the training images (averaged while training),
        val_loss and val_accuracy (empty without validation images), seconds. Losses are cross-entropies,
        without the penalties. With masks also sparsity, the part of the hidden weights that was zero at its end.
    """
    images, labels = data.train.images, data.train.labels if targets is None else targets
    if pixels is not None:
        images = images[:, pixels]
    held_out = config.num_valid
    watcher = _Watcher(config, on_batch, on_epoch, on_checkpoint, masks)
    if checkpoint is not None:
        watcher.go_on(model, checkpoint)
    model.fit(
        images[held_out:],
        labels[held_out:],
        batch_size=config.batch_size,
        epochs=config.epochs,
        initial_epoch=len(watcher.history),
        validation_data=(images[:held_out], labels[:held_out]) if held_out else None,
        validation_batch_size=1_000,
        callbacks=[watcher] if masks is None else [masks, watcher],
        verbose=0,
    )
    return watcher.history


class _Watcher(keras.callbacks.Callback):
    """Reports progress, collects the history and keeps the best epoch's weights."""

    def __init__(
        self,
        config: Config,
        on_batch: Callable[[Step], None],
        on_epoch: Callable[[pd.DataFrame], None],
        on_checkpoint: Callable[[Checkpoint], None] | None,
        masks: "Masks | None",
    ):
        super().__init__()
        self.history = pd.DataFrame()
        self._masks = masks
        self._config, self._on_batch, self._on_epoch, self._on_checkpoint = config, on_batch, on_epoch, on_checkpoint
        self._best_accuracy, self._best_weights = -1.0, None

    def go_on(self, model: keras.Model, checkpoint: Checkpoint) -> None:
        """Make everything as it was after the checkpoint's last epoch."""
        model.optimizer.build(model.trainable_variables)
        variables = [*model.weights, *model.optimizer.variables]
        values = [*checkpoint.weights, *checkpoint.optimizer]
        if [(tuple(each.shape), each.dtype) for each in variables] != [(each.shape, each.dtype) for each in values]:
            raise RunError("The checkpoint is of another network. Discard what is left of the training.")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        if self._masks is not None:
            self._masks.go_on(checkpoint.masks, checkpoint.step)
        self.history = checkpoint.history
        self._best_accuracy, self._best_weights = checkpoint.best_accuracy, checkpoint.best

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch, self._began = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._on_batch(Step(self._epoch, batch + 1, self.params["steps"]))

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        row = {
            "epoch": epoch + 1,
            "loss": logs.get("cross_entropy", logs["loss"]),
            "accuracy": logs["accuracy"],
            "val_loss": logs.get("val_cross_entropy", logs.get("val_loss")),
            "val_accuracy": logs.get("val_accuracy"),
            "seconds": round(time.perf_counter() - self._began, 3),
        }
        may_be_kept = self._config.keep_best
        if self._masks is not None:
            row["sparsity"] = self._masks.sparsity
            may_be_kept &= self._masks.are_final
        self.history = pd.concat([self.history, pd.DataFrame([row])], ignore_index=True)
        if may_be_kept and row["val_accuracy"] > self._best_accuracy:
            self._best_accuracy, self._best_weights = row["val_accuracy"], self.model.get_weights()
        self._on_epoch(self.history)
        if self._on_checkpoint is not None:
            self._on_checkpoint(
                Checkpoint(
                    self.history,
                    self.model.get_weights(),
                    [np.asarray(variable) for variable in self.model.optimizer.variables],
                    self._best_accuracy,
                    self._best_weights,
                    *(
                        ()
                        if self._masks is None
                        else (tuple(mask.copy() for mask in self._masks.kept), self._masks.step)
                    ),
                )
            )

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)
