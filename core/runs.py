"""The cache: one folder a run. The only file that knows what is in it.

    cache/<run_id>/          a complete run: written once, whole, by a rename
        config.json          the hyper-parameters
        state.json           how the training went, and the result
        history.csv          loss and accuracy of every epoch
        model.keras          the trained network
        kernels.npz          its kernels, for NumPy
        activations.npz      rms of every kernel's inputs over training images
        sweep.csv            accuracy and loss of every sparsity scored so far
        results.csv          the table of the original experiment
        *.png, *.gif         figures and animations, drawn after scoring
        histograms/          one picture a method and sparsity
    cache/<run_id>.part/     the same files while they come to be, or where a training ended early
    cache/<run_id>.old/      a run that is just being replaced
    cache/.queue/            tickets of trainings that wait; see `core.queue`
    cache/.locks/            held by whoever trains or changes a run; freed by the system when they die
    cache/datasets/          decoded datasets

A run whose `.part` folder exists but whose lock nobody holds was interrupted.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from core.config import TrainingConfig
from core.errors import KnownError
from core.files import cache_root, write_atomic, write_text

CONFIG, STATE, HISTORY = "config.json", "state.json", "history.csv"
MODEL, KERNELS, ACTIVATIONS, SWEEP = "model.keras", "kernels.npz", "activations.npz", "sweep.csv"
LOG, CANCEL = "log.txt", "cancel"
RESULTS, TRAINING_FIGURE, PRUNING_FIGURE = "results.csv", "loss_accuracy.png", "pruned_loss_accuracy.png"
HISTOGRAMS = "histograms"
GIFS = {"weight": "pruned_weights.gif", "unit": "pruned_units.gif"}

ENDED = ("failed", "cancelled", "interrupted")
"""Phases of a training that came to nothing; one that came to a run is in the run's folder, not in `.part`."""
SWEEP_KEY = ["method", "ranking", "scope", "seed", "sparsity"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = ("datasets",)
_TABLE_COLUMNS = [
    "run",
    "status",
    *(field.name for field in dataclasses.fields(TrainingConfig)),
    "test_accuracy",
    "test_loss",
    "finished",
    "size",
]


class RunError(KnownError):
    """A run is missing, damaged, busy or cannot be written."""


class RunIdError(RunError, ValueError):
    """A name cannot be a run's folder."""

    exit_code = 2


class RunBusyError(RunError):
    """Somebody else is training or changing this run."""


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
        return self.root / f"{self.id}.part"

    @property
    def _old(self) -> Path:
        return self.root / f"{self.id}.old"

    def is_complete(self) -> bool:
        return (self.folder / STATE).exists()

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

    def training(self) -> dict[str, Any] | None:
        """The state of the training in progress, or of one that ended early; None if there is none.

        Its `phase` is as the training process wrote it, or "interrupted" if that process is gone.
        """
        state = _read_json(self.part / STATE)
        if state is None:
            return None
        if state["phase"] not in ENDED and not self.is_busy():
            # The process may have ended, and said how, between the two looks.
            state = _read_json(self.part / STATE)
            if state is not None and state["phase"] not in ENDED:
                state["phase"] = "interrupted"
        return state

    def is_training(self) -> bool:
        state = self.training()
        return state is not None and state["phase"] not in ENDED

    def result(self) -> dict[str, Any] | None:
        """The state that a complete run ended with: scores, dates, versions. None if not complete."""
        return _read_json(self.folder / STATE)

    def config(self) -> TrainingConfig:
        """The hyper-parameters.

        Raises:
            RunError: if there is no such run or its configuration is damaged.
        """
        for folder in (self.folder, self.part):
            values = _read_json(folder / CONFIG)
            if values is not None:
                return TrainingConfig.from_dict(values)
        raise RunError(
            f"There is no run {self.id} in {self.root}, or its {CONFIG} is damaged. Train it, or choose another run."
        )

    def history(self, of_training: bool = False) -> pd.DataFrame:
        """One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds."""
        return self._read_table(HISTORY, self.part if of_training else self.folder)

    def sweep(self) -> pd.DataFrame:
        """One row for each method and sparsity scored so far; see `core.sweep.sweep`."""
        table = self._read_table(SWEEP, self.folder)
        numbers = ("seed", "sparsity", "accuracy", "loss")
        if len(table) and not all(name in table and is_numeric_dtype(table[name]) for name in numbers):
            raise RunError(
                f"{self.folder / SWEEP} of run {self.id} is damaged: it holds something else than scores. Delete that "
                "file, and everything is scored again; the network is not affected."
            )
        return table

    def sweep_version(self) -> int:
        """A number that changes whenever `sweep` does."""
        try:
            return (self.folder / SWEEP).stat().st_mtime_ns
        except OSError:
            return 0

    def kernels(self) -> list[np.ndarray]:
        """The trained kernels, float32 of shape (inputs, units), hidden layers first, output layer last.

        Raises:
            RunError: if the file is missing or damaged.
        """
        shapes = self.config().layer_shapes
        kernels = self._read_arrays(KERNELS)
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
        return self._read_arrays(ACTIVATIONS)

    def is_drawn(self) -> bool:
        """Whether its figures and animations are there."""
        return all((self.folder / name).exists() for name in (TRAINING_FIGURE, PRUNING_FIGURE, *GIFS.values()))

    def histogram_pictures(self, method: str) -> list[Path]:
        """The pictures of what a method leaves, by sparsity."""
        return sorted((self.folder / HISTOGRAMS).glob(f"{method}s-*.png"))

    def log(self) -> str:
        """What the training process printed, if it was started by the app."""
        try:
            return (self.part / LOG).read_text(errors="replace")
        except OSError:
            return ""

    def size(self) -> int:
        """Bytes on disk."""
        with contextlib.suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return 0

    def add_to_sweep(self, rows: pd.DataFrame, finished: str) -> bool:
        """Add scored sparsities to those already known; a later score replaces an earlier one.

        Args:
            rows: as `core.sweep.sweep` gives them.
            finished: of the result that was scored; if the run has been replaced since, nothing is added.

        Returns:
            Whether they were added.

        Raises:
            RunError: if the file cannot be written.
        """
        with _writing(f"write to {self.folder}"), self.lock("sweep", timeout=30):
            if not self.is_still(finished):
                return False
            self._write_table(merge_scores(self.sweep(), rows), self.folder / SWEEP)
            return True

    def is_still(self, finished: str | None) -> bool:
        """Whether it is complete, and the same network as when it finished then."""
        return finished is not None and (self.result() or {}).get("finished") == finished

    def request_cancel(self) -> None:
        """Ask the training process to stop; it looks at every report, several times a second while it fits."""
        if self.is_training():
            # The training may end, and its folder go, between the two lines.
            with contextlib.suppress(FileNotFoundError):
                (self.part / CANCEL).touch()

    def delete(self) -> None:
        """Remove the run and whatever an early end left of it.

        Raises:
            RunBusyError: while it is being trained.
            RunError: if the files cannot be removed.
        """
        with _writing(f"delete run {self.id}"), self.lock():
            for folder in (self.folder, self.part, self._old):
                if folder.exists():
                    # Renamed first, so that nobody ever lists half a run.
                    trash = self.root / f".trash-{self.id}-{os.getpid()}"
                    shutil.rmtree(trash, ignore_errors=True)
                    folder.rename(trash)
                    shutil.rmtree(trash)

    def discard_training(self) -> None:
        """Remove what a training that ended early left; a complete run stays."""
        with _writing(f"clear {self.part}"), self.lock():
            shutil.rmtree(self.part, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, what: str = "run", timeout: float = 1) -> Iterator[None]:
        """Hold the run: nobody else does the same with it meanwhile.

        Args:
            what: "run" to train, replace or delete it, "sweep" to write its scores, "curve" to
                complete them, "pictures" to draw.
            timeout: seconds to wait for whoever holds it.

        Raises:
            RunBusyError: if somebody else holds it for longer than `timeout` seconds.
        """
        path = self._lock_path(what)
        with _writing(f"write to {path.parent}"):
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

    @contextlib.contextmanager
    def train(self, config: TrainingConfig) -> Iterator["Training"]:
        """Hold the run and open a place to train it in; `commit` makes it the run.

        Leaving without a commit keeps the place as it is, with its reason, and an earlier complete run
        untouched.

        Raises:
            RunBusyError: if it is being trained already.
            RunError: if the cache folder cannot be written.
        """
        what = f"write to {self.root}"
        with _writing(what), self.lock():
            self.part.mkdir(exist_ok=True)
            for left in self.part.iterdir():
                if left.name != LOG:
                    left.unlink()
            training = Training(self)
            try:
                with _writing(what):
                    write_text(self.part / CONFIG, json.dumps(config.to_dict(), indent=2))
                    training.update(phase="starting")
                    yield training
            except BaseException as error:
                training.end(error)
                raise

    def _lock_path(self, what: str) -> Path:
        return self.root / ".locks" / f"{self.id}.{what}"

    def _read_arrays(self, name: str) -> list[np.ndarray]:
        path = self.folder / name
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return [arrays[f"kernel_{index}"] for index in range(len(arrays.files))]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"Run {self.id} cannot be read: {path} is missing or damaged ({error}). "
                "Retrain the run (--force_train), or delete it."
            ) from None

    def _read_table(self, name: str, folder: Path) -> pd.DataFrame:
        try:
            return pd.read_csv(folder / name, float_precision="round_trip")
        except FileNotFoundError:
            return pd.DataFrame()
        except (ValueError, OSError) as error:
            way_out = (
                "Delete that file, and everything is scored again; the network is not affected."
                if name == SWEEP
                else "Retrain the run (--force_train), or delete it."
            )
            raise RunError(f"{folder / name} of run {self.id} is damaged ({error}). {way_out}") from None

    def _write_table(self, table: pd.DataFrame, path: Path) -> None:
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


class CancelledError(KnownError):
    """The training was asked to stop."""

    exit_code = 130


class Training:
    """The place where a run comes to be. Made by `Run.train`."""

    def __init__(self, run: Run):
        self.run = run
        self.state: dict[str, Any] = {"started": _now(), "host": socket.gethostname(), "pid": os.getpid()}

    def update(self, **values: Any) -> None:
        """Tell the readers how far it is, with a heartbeat.

        Raises:
            CancelledError: if somebody has asked to stop.
        """
        self.state |= values | {"updated": _now()}
        write_text(self.run.part / STATE, json.dumps(self.state, indent=2))
        if (self.run.part / CANCEL).exists():
            raise CancelledError(f"Training of {self.run.id} was cancelled.")

    def write_history(self, history: pd.DataFrame) -> None:
        self.run._write_table(history, self.run.part / HISTORY)

    def write_model(
        self, save: Callable[[Path], object], kernels: list[np.ndarray], activations: list[np.ndarray]
    ) -> None:
        """Write the network: `save` is given a path to leave the Keras model at."""
        save(self.run.part / MODEL)
        _fsync(self.run.part / MODEL)
        for name, arrays in ((KERNELS, kernels), (ACTIVATIONS, activations)):
            named = {f"kernel_{index}": array for index, array in enumerate(arrays)}
            write_atomic(self.run.part / name, lambda file, named=named: np.savez(file, **named))

    def write_sweep(self, sweep: pd.DataFrame) -> None:
        self.run._write_table(sweep, self.run.part / SWEEP)

    def commit(self, **result: Any) -> None:
        """Make this the run by a rename, replacing an earlier one.

        Raises:
            RunError: if the scores of the earlier run are being written for longer than half a minute.
        """
        self.update(phase="complete", finished=_now(), **result)
        run = self.run
        (run.part / LOG).unlink(missing_ok=True)
        _fsync(run.part)
        shutil.rmtree(run._old, ignore_errors=True)
        try:
            # Held so that scores of the earlier network are never written into the folder of the new one.
            with run.lock("sweep", timeout=30):
                if run.folder.exists():
                    run.folder.rename(run._old)
                run.part.rename(run.folder)
        except RunBusyError as error:
            raise RunError(str(error)) from None
        _fsync(run.root)
        shutil.rmtree(run._old, ignore_errors=True)

    def discard(self) -> None:
        """Leave no trace."""
        shutil.rmtree(self.run.part)

    def end(self, error: BaseException) -> None:
        """Write down why the training ended early."""
        if isinstance(error, CancelledError | KeyboardInterrupt):
            ended = {"phase": "cancelled"}
        else:
            ended = {"phase": "failed", "message": str(error) or type(error).__name__}
        self.state |= ended | {"updated": _now()}
        # On a full disk not even this can be written; the run then shows as interrupted.
        with contextlib.suppress(OSError):
            write_text(self.run.part / STATE, json.dumps(self.state, indent=2))


def open_run(run_id: str, root: Path | None = None) -> Run:
    """The run of that name, whether or not it exists yet.

    Raises:
        RunIdError: if the name cannot be a folder of the cache.
    """
    if not _ID.fullmatch(run_id) or run_id in _RESERVED or run_id.endswith((".part", ".old")):
        raise RunIdError(
            "Expected a run id of 1 to 100 letters, digits, dots, dashes and underscores that starts with a letter or "
            f"digit and is not {_RESERVED[0]!r}. Received: {run_id!r}."
        )
    run = Run(root or cache_root(), run_id)
    if run._old.exists() and not run.folder.exists():
        # A replacement was cut off between its two renames: the earlier run is whole, so it comes back.
        with contextlib.suppress(OSError, RunBusyError), run.lock(timeout=0):
            if run._old.exists() and not run.folder.exists():
                run._old.rename(run.folder)
    return run


def merge_scores(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A sweep with new scores added; a later score replaces an earlier one."""
    together = pd.concat([table, rows], ignore_index=True)
    return together.drop_duplicates(SWEEP_KEY, keep="last").sort_values(SWEEP_KEY, ignore_index=True)


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs, complete or not, by name. Opens no model."""
    root = root or cache_root()
    try:
        names = os.listdir(root)
    except OSError:
        return []
    ids = {name.removesuffix(".part").removesuffix(".old") for name in names}
    return [
        open_run(run_id, root)
        for run_id in sorted(ids)
        if _ID.fullmatch(run_id)
        and run_id not in _RESERVED
        and any((root / f"{run_id}{suffix}" / CONFIG).exists() for suffix in ("", ".part", ".old"))
    ]


def runs_table(root: Path | None = None) -> pd.DataFrame:
    """All runs, one row each, newest first: run, status, every hyper-parameter, and of complete runs the
    test accuracy and loss, when they finished (UTC) and their size in bytes."""
    rows = []
    for run in list_runs(root):
        try:
            config = run.config()
        except KnownError:
            continue
        training, result = run.training(), run.result() or {}
        if not training and not result:
            continue  # it is just being started or deleted
        if training and training["phase"] not in ENDED:
            status = "training"
        else:
            status = "complete" if result else training["phase"]
        rows.append(
            {
                "run": run.id,
                "status": status,
                **config.to_dict(),
                "test_accuracy": result.get("test_accuracy"),
                "test_loss": result.get("test_loss"),
                "finished": result.get("finished"),
                "size": run.size() if result else None,
            }
        )
    table = pd.DataFrame(rows, columns=_TABLE_COLUMNS)
    table["finished"] = pd.to_datetime(table.finished)
    return table.sort_values(["finished", "run"], ascending=[False, True], na_position="first", ignore_index=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _fsync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Cannot {what}: {error.strerror or error}. Free some space or correct the permissions, "
            "or choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)."
        ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
