"""A run in the cache: what it holds, read afresh at every call, and what can be done with it."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from core.config import Config, read_config
from core.errors import NotAllowedError, RunBusyError, RunError, RunIdError
from core.files import clear_errors, write_atomic, write_text
from core.limits import check_may_change
from core.runs import layout
from core.runs.formats import read_arrays, read_table, to_csv
from core.runs.predictions import Predictions, read_predictions, write_predictions
from core.runs.records import Phase, Result, TrainingState, read_json, read_result, read_training
from core.settings import cache_root
from core.sweep import merge_scores

_SCORING = ("sweep", "curve", "repair")
"""The locks of whoever only scores, which is done where nothing else may be changed, too."""
_BEFORE = {"recovery": "none", "images": 0, "epochs": 0, "seconds": 0.0}
"""Columns of a sweep that earlier versions did not write, and what their rows mean by that."""


@dataclass(frozen=True)
class Run:
    """One run in the cache: a name and where it lives. What it holds is read afresh at every call."""

    root: Path
    id: str

    @property
    def folder(self) -> Path:
        return self.root / self.id

    @property
    def part(self) -> Path:
        return self.root / f"{self.id}{layout.PART}"

    @property
    def old(self) -> Path:
        return self.root / f"{self.id}{layout.OLD}"

    def is_complete(self) -> bool:
        return (self.folder / layout.STATE).exists()

    def is_busy(self, what: str = "run") -> bool:
        """Whether somebody holds that lock of the run."""
        path = self._lock_path(what)
        if not path.exists():
            return False
        try:
            # Others look by taking it, too, for an instant.
            with filelock.FileLock(path, timeout=0.05, poll_interval=0.005):
                return False
        except (filelock.Timeout, OSError):
            return True

    def training(self) -> TrainingState | None:
        """The state of the training in progress, or of one that ended early; None if there is none."""
        state = read_training(self.part / layout.STATE)
        if state is not None and not state.phase.has_ended and not self.is_busy():
            # The process may have ended, and said how, between the two looks.
            state = read_training(self.part / layout.STATE)
            if state is not None and not state.phase.has_ended:
                state = dataclasses.replace(state, phase=Phase.INTERRUPTED)
        return state

    def is_training(self) -> bool:
        state = self.training()
        return state is not None and not state.phase.has_ended

    def result(self) -> Result | None:
        """What a complete run ended with: scores, dates, versions. None if not complete."""
        return read_result(self.folder / layout.STATE)

    def identity(self) -> str | None:
        """What tells the network of this run from an earlier or later one of the same id; None if not complete."""
        result = self.result()
        return result and result.finished

    def config(self) -> Config:
        """The hyper-parameters; of a run that was trained on a `RecoveryConfig`, which has those of its parent, too.

        Raises:
            RunError: if there is no such run or its configuration is damaged.
        """
        for folder in (self.folder, self.part):
            values = read_json(folder / layout.CONFIG)
            if values is not None:
                return read_config(values)
        raise RunError(
            f"There is no run {self.id} in {self.root}, or its {layout.CONFIG} is damaged. "
            "Train it, or choose another run."
        )

    def history(self, of_training: bool = False) -> pd.DataFrame:
        """One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds; of a run that was trained on also
        sparsity."""
        return read_table((self.part if of_training else self.folder) / layout.HISTORY)

    def sweep(self) -> pd.DataFrame:
        """One row for each criterion and sparsity scored so far; see `core.sweep.Bench.score`."""
        table = read_table(self.folder / layout.SWEEP)
        if len(table):
            table = table.assign(**{name: value for name, value in _BEFORE.items() if name not in table})
        numbers = ("seed", "sparsity", "accuracy", "loss")
        if len(table) and not all(name in table and is_numeric_dtype(table[name]) for name in numbers):
            raise RunError(
                f"{self.folder / layout.SWEEP} of run {self.id} is damaged: it holds something else than "
                "scores. Delete that file, and everything is scored again; the network is not affected."
            )
        return table

    def predictions(self) -> Predictions:
        """The predicted class of every test image, for what has been scored since they are kept."""
        return read_predictions(self.folder / layout.PREDICTIONS)

    def network(self, key: str) -> list[np.ndarray] | None:
        """The kernels of the repaired network of that key (`core.sweep.Criterion.key`); None if it is not kept.

        Raises:
            RunError: if its file is damaged.
        """
        path = layout.repaired(self.folder, key)
        if not path.exists():
            return None
        try:
            return read_arrays(path)
        except RunError:
            raise RunError(
                f"{path} of run {self.id} is damaged. Delete that file, and the network is repaired again."
            ) from None

    def network_version(self, key: str | None = None) -> int:
        """A number that changes with the repaired network of that key, or with any; 0 if it is not kept."""
        path = layout.repaired(self.folder, key) if key else self.folder / layout.REPAIRED
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return 0

    def keep_network(self, key: str, kernels: list[np.ndarray], identity: str | None) -> None:
        """Keep a repaired network, unless the run has been replaced since it was made.

        Raises:
            RunError: if it cannot be written.
        """
        path = layout.repaired(self.folder, key)
        with clear_errors(f"write to {path.parent}"), self.lock("sweep", timeout=30):
            if self.is_still(identity):
                path.parent.mkdir(exist_ok=True)
                named = {f"kernel_{index}": kernel for index, kernel in enumerate(kernels)}
                # Most of it is zeros.
                write_atomic(path, lambda file: np.savez_compressed(file, **named))

    def speed(self, key: str) -> dict | None:
        """How fast the network of that key (`core.sweep.Criterion.key`) was when it was measured last; see
        `core.speed`. None if it was not, or the file says something else."""
        return read_json(layout.speed(self.folder, key))

    def keep_speed(self, key: str, record: dict, identity: str | None) -> None:
        """Keep how fast a network was, unless the run has been replaced since.

        Raises:
            RunError: if it cannot be written.
        """
        path = layout.speed(self.folder, key)
        with clear_errors(f"write to {path.parent}"), self.lock("sweep", timeout=30):
            if self.is_still(identity):
                path.parent.mkdir(exist_ok=True)
                write_text(path, json.dumps(record, indent=1))

    def speed_version(self) -> int:
        """A number that changes whenever a measurement of speed comes in; 0 without any."""
        try:
            return (self.folder / layout.SPEED).stat().st_mtime_ns
        except OSError:
            return 0

    def sweep_version(self) -> int:
        """A number that changes whenever `sweep` or `predictions` does."""
        try:
            return (self.folder / layout.SWEEP).stat().st_mtime_ns
        except OSError:
            return 0

    def kernels(self) -> list[np.ndarray]:
        """The trained kernels, float32 of shape (inputs, units), hidden layers first, output layer last.

        Raises:
            RunError: if the file is missing or damaged.
        """
        shapes = self.config().layer_shapes
        kernels = read_arrays(self.folder / layout.KERNELS)
        if [kernel.shape for kernel in kernels] != shapes:
            raise RunError(
                f"The kernels of run {self.id} do not fit its configuration. Expected shapes {shapes}. "
                f"Received {[kernel.shape for kernel in kernels]}. Retrain the run (--force_train), or delete it."
            )
        return kernels

    def activations(self) -> list[np.ndarray]:
        """The rms of every kernel's inputs over training images; see `core.evaluation.rms_activations`.

        Raises:
            RunError: if the file is missing or damaged.
        """
        return read_arrays(self.folder / layout.ACTIVATIONS)

    def is_drawn(self) -> bool:
        """Whether its figures and animations are there."""
        return all(
            (self.folder / name).exists()
            for name in (layout.TRAINING_FIGURE, layout.PRUNING_FIGURE, *layout.GIFS.values())
        )

    def histogram_pictures(self, method: str) -> list[Path]:
        """The pictures of what a method leaves, by sparsity."""
        return sorted((self.folder / layout.HISTOGRAMS).glob(f"{method}s-*.png"))

    def log(self) -> str:
        """What the training process printed, if it was started by the app."""
        try:
            return (self.part / layout.LOG).read_text(errors="replace")
        except OSError:
            return ""

    def size(self) -> int:
        """Bytes on disk, with what a training in progress, or one that ended early, takes."""
        total = 0
        for folder in (self.folder, self.part):
            for path in folder.rglob("*"):
                # Files come and go while a training writes them.
                with contextlib.suppress(OSError):
                    total += path.stat().st_size if path.is_file() else 0
        return total

    def add_to_sweep(self, rows: pd.DataFrame, identity: str | None, predictions: Predictions | None = None) -> bool:
        """Add scored sparsities to those already known; a later score replaces an earlier one.

        Args:
            rows: as `core.sweep.sweep` gives them.
            identity: of the network that was scored; if the run has been replaced since, nothing is added.
            predictions: the classes that the scores were counted from.

        Returns:
            Whether they were added.

        Raises:
            RunError: if the file cannot be written.
        """
        with clear_errors(f"write to {self.folder}"), self.lock("sweep", timeout=30):
            if not self.is_still(identity):
                return False
            # The scores last: whoever sees a new version of them finds their predictions.
            if predictions:
                write_predictions(self.folder / layout.PREDICTIONS, self.predictions() | predictions)
            write_text(self.folder / layout.SWEEP, to_csv(merge_scores(self.sweep(), rows)))
            return True

    def is_still(self, identity: str | None) -> bool:
        """Whether it is complete, and the network of that identity."""
        return identity is not None and self.identity() == identity

    def request_cancel(self) -> None:
        """Ask the training process to stop; it looks at every report, several times a second while it fits.

        Raises:
            NotAllowedError: where nothing but scores may be written.
        """
        check_may_change(f"cancel the training of {self.id}")
        if self.is_training():
            # The training may end, and its folder go, between the two lines.
            with contextlib.suppress(FileNotFoundError):
                (self.part / layout.CANCEL).touch()

    def delete(self) -> None:
        """Remove the run and whatever an early end left of it.

        Raises:
            RunBusyError: while it is being trained.
            RunError: if the files cannot be removed.
        """
        with clear_errors(f"delete run {self.id}"), self.lock():
            for folder in (self.folder, self.part, self.old):
                if folder.exists():
                    # Renamed first, so that nobody ever lists half a run.
                    trash = layout.trash(self.root, self.id, os.getpid())
                    shutil.rmtree(trash, ignore_errors=True)
                    folder.rename(trash)
                    shutil.rmtree(trash)
            shutil.rmtree(layout.asked(self.root, self.id).parent, ignore_errors=True)

    def discard_training(self) -> None:
        """Remove what a training that ended early left; a complete run stays."""
        with clear_errors(f"clear {self.part}"), self.lock():
            shutil.rmtree(self.part, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, what: str = "run", timeout: float = 1) -> Iterator[None]:
        """Hold the run: nobody else does the same with it meanwhile.

        Args:
            what: "run" to train, replace or delete it, "sweep" to write its scores, "curve" to
                complete them, "repair" to repair what pages ask for, "speed" to measure, "pictures" to draw, "notes"
                to write its name and note, "exports" to make files of small networks, and `layout.export_lock` to make
                one.
            timeout: seconds to wait for whoever holds it.

        Raises:
            RunBusyError: if somebody else holds it for longer than `timeout` seconds.
            NotAllowedError: where nothing but scores may be written, unless it is held to score.
        """
        if what not in _SCORING:
            check_may_change(f"change run {self.id}")
        path = self._lock_path(what)
        with clear_errors(f"write to {path.parent}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(path, poll_interval=0.02)
        try:
            held.acquire(timeout=timeout)
        except filelock.Timeout:
            raise RunBusyError(
                f"Run {self.id} is being trained or changed by another process. "
                "Wait for it to finish, or cancel it, and try again."
            ) from None
        try:
            yield
        finally:
            held.release()

    def _lock_path(self, what: str) -> Path:
        return layout.lock(self.root, self.id, what)


def open_run(run_id: str, root: Path | None = None) -> Run:
    """The run of that name, whether or not it exists yet.

    Raises:
        RunIdError: if the name cannot be a folder of the cache.

    Example:
        `open_run("digits-e20-lr0.001-77cf15e239").kernels()`
    """
    if not layout.is_run_id(run_id):
        raise RunIdError(
            "Expected a run id of 1 to 100 letters, digits, dots, dashes and underscores that starts with a letter or "
            f"digit and is not {layout.RESERVED[0]!r}. Received: {run_id!r}."
        )
    run = Run(root or cache_root(), run_id)
    if run.old.exists() and not run.folder.exists():
        # A replacement was cut off between its two renames: the earlier run is whole, so it comes back.
        with contextlib.suppress(OSError, RunBusyError, NotAllowedError), run.lock(timeout=0):
            if run.old.exists() and not run.folder.exists():
                run.old.rename(run.folder)
    return run


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs, complete or not, by name. Opens no model.

    Example:
        `[run.result() for run in list_runs() if run.is_complete()]`
    """
    root = root or cache_root()
    try:
        names = os.listdir(root)
    except OSError:
        return []
    ids = {name.removesuffix(layout.PART).removesuffix(layout.OLD) for name in names}
    return [
        open_run(run_id, root)
        for run_id in sorted(ids)
        if layout.is_run_id(run_id)
        and any((root / f"{run_id}{suffix}" / layout.CONFIG).exists() for suffix in ("", layout.PART, layout.OLD))
    ]
