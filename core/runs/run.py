"""A run in the cache: what it holds, read afresh at every call, and what can be done with it."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import filelock
import numpy as np
import pandas as pd

from core.config import Config, is_made_id, read_config
from core.errors import KnownError, NotAllowedError, RunBusyError, RunError, RunIdError
from core.files import (
    is_file,
    is_held,
    lock_at,
    make_folder,
    os_errors_as,
    own_files,
    read_log,
    remove,
    version_of,
    write_atomic,
    write_text,
)
from core.limits import check_may_change
from core.network import Kernels, Network, as_network
from core.runs import layout
from core.runs.checkpoint import config_of_checkpoint, last_epoch
from core.runs.formats import (
    MOST_ROWS,
    is_sweep,
    read_arrays,
    read_layers,
    read_network,
    read_sweep,
    read_table,
    to_csv,
)
from core.runs.predictions import Predictions, read_predictions, write_predictions
from core.runs.records import Phase, Result, TrainingState, parse_json, read_record, read_speed
from core.settings import cache_root
from core.sweep import merge_scores

_HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
SIGNS = (layout.CONFIG, layout.STATE, layout.KERNELS, layout.MODEL)
"""The files by which a folder is known for a run."""
_SCORING = ("sweep", "curve", "repair")
"""The locks of scoring, which is allowed where nothing else may be changed."""


@dataclass(frozen=True)
class Run:
    """One run in the cache: a name and where it lives. What it holds is read afresh at every call."""

    root: Path
    id: str

    def __post_init__(self) -> None:
        # The cache may be named by a link. What is below it may not be one: see `core.files`.
        object.__setattr__(self, "root", Path(os.path.realpath(self.root)))

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
        return self.result() is not None

    def is_busy(self, what: str = "run") -> bool:
        """Whether that lock of the run is held."""
        return is_held(self._lock_path(what))

    def training(self) -> TrainingState | None:
        """The state of the training in progress, or of one that ended early; None if there is none."""
        state = self._training_state()
        if state is not None and not state.phase.has_ended and not self.is_busy():
            # The process may have ended, and said how, between the two looks.
            state = self._training_state()
            if state is not None and not state.phase.has_ended:
                state = dataclasses.replace(state, phase=Phase.INTERRUPTED)
        return state

    def _training_state(self) -> TrainingState | None:
        state = read_record(TrainingState, self.part / layout.STATE)
        if state is None and (epoch := self.kept_epochs()):
            # Where the file with the state is lost, the checkpoint tells how far it was.
            with contextlib.suppress(KnownError):
                state = TrainingState(Phase.TRAINING, epoch=epoch, epochs=self.config().epochs)
        return state

    def is_training(self) -> bool:
        state = self.training()
        return state is not None and not state.phase.has_ended

    def kept_epochs(self) -> int:
        """After which epoch a training that ended early left what another one goes on from; 0 if it left nothing."""
        return last_epoch(self.part / layout.CHECKPOINT)

    def result(self) -> Result | None:
        """What a complete run ended with: scores, dates, versions. None if not complete."""
        return read_record(Result, self.folder / layout.STATE)

    def ended_with(self) -> Result:
        """As `result`, of a run that was complete when it was chosen.

        Raises:
            RunError: if it is not any more.
        """
        result = self.result()
        if result is None:
            raise RunError(f"Run {self.id} is no longer in the cache. Choose another run, or train it again.")
        return result

    def version(self) -> str | None:
        """What tells the network of this run from an earlier or later one of the same id; None if not complete."""
        result = self.result()
        return result and result.finished

    def config(self) -> Config:
        """The hyper-parameters; of a fine-tuned network a `RecoveryConfig`, which has those of its parent, too.

        Raises:
            RunError: if there is no such run or its configuration is damaged.
        """
        problem = "is not there"
        for folder in (self.folder, self.part):
            try:
                return read_config(parse_json(folder / layout.CONFIG))
            except FileNotFoundError:
                continue
            except OSError as error:
                problem = f"cannot be read ({error.strerror or error})"
            except ValueError as error:
                problem = f"is damaged ({str(error)[:500]})"
        # What a training goes on from says which training it is.
        with contextlib.suppress(OSError, ValueError):
            return read_config(config_of_checkpoint(self.part / layout.CHECKPOINT))
        raise RunError(
            f"There is no run {self.id} in {self.root} that can be read: its {layout.CONFIG} {problem}. "
            "Train it, or choose another run."
        )

    def history(self, of_training: bool = False) -> pd.DataFrame:
        """One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds; of a fine-tuned network also
        sparsity."""
        folder = self.part if of_training else self.folder
        history = read_table(folder / layout.HISTORY, _HISTORY)
        if len(history) and not np.isfinite(history[["epoch", "seconds"]].astype(float)).all(axis=None):
            raise RunError(
                f"{folder / layout.HISTORY} of run {self.id} is damaged: it holds epochs that are not a number. "
                "Retrain the run on the page Training, or delete it on the page Runs.",
                "--force_train retrains it.",
            )
        if history.empty and not of_training:
            raise RunError(
                f"{folder / layout.HISTORY} of run {self.id} is missing or empty. The network and its scores can be "
                "used without it. Retrain the run on the page Training to have it again.",
                "--force_train retrains it.",
            )
        return history

    def sweep(self) -> pd.DataFrame:
        """One row for each criterion and sparsity scored so far; see `core.sweep.Bench.score`.

        Raises:
            RunError: if the file is damaged.
        """
        return read_sweep(self.folder / layout.SWEEP)

    def predictions(self) -> Predictions:
        """The predicted class of every test image, for what has been scored since they are kept."""
        try:
            return read_predictions(self.folder / layout.PREDICTIONS, self.config().spec.test_size)
        except KnownError:
            return {}

    def layers(self) -> Network:
        """The network with zeros for weights, which take no room: its shapes and kinds of layers.

        Raises:
            RunError: if the file that says so is damaged, or there is no such run.
        """
        config, path = self.config(), self.folder / layout.NETWORK
        try:
            return read_layers(path, config)
        except (OSError, ValueError) as error:
            raise RunError(
                f"Run {self.id} cannot be read: {path} is damaged ({str(error)[:500]}). "
                "Retrain it on the page Training, or delete it on the page Runs.",
                "--force_train retrains it.",
            ) from None

    def network(self, key: str | None = None) -> Network | None:
        """The trained network, or the repaired one of that key (`core.sweep.Criterion.key`); None if it is not kept.

        Raises:
            RunError: if its file is missing or damaged.
        """
        path = layout.repaired(self.folder, key) if key else self.folder / layout.KERNELS
        if key and not path.exists():
            return None
        layers = self.layers()
        try:
            return read_network(path, layers)
        except RunError:
            if not key:
                raise
            raise RunError(
                f"{path} of run {self.id} is damaged. Delete that file, and the network is repaired again."
            ) from None

    def network_version(self, key: str | None = None) -> int:
        """A number that changes with the repaired network of that key, or with any; 0 if it is not kept."""
        path = layout.repaired(self.folder, key) if key else self.folder / layout.REPAIRED
        return version_of(path)

    def keep_network(self, key: str, network: Network | Kernels, version: str | None) -> None:
        """Keep a repaired network; see `keep`."""
        arrays = as_network(network).arrays
        # Most of it is zeros.
        self.keep({layout.repaired(self.folder, key): lambda file: np.savez_compressed(file, **arrays)}, version)

    def speed(self, key: str) -> dict | None:
        """How fast the network of that key (`core.sweep.Criterion.key`) was when it was measured last; see
        `core.speed`. None if it was not, or the file says something else."""
        return read_speed(layout.speed(self.folder, key))

    def keep_speed(self, key: str, record: dict, version: str | None) -> None:
        """Keep how fast a network was; see `keep`."""
        self.keep({layout.speed(self.folder, key): json.dumps(record, indent=1)}, version)

    def keep(self, files: Mapping[Path, str | Callable[[IO[bytes]], object]], version: str | None) -> bool:
        """Write files that were made of the network, in this order, unless the run has been replaced since.

        Args:
            files: by their paths in the folder of the run: text, or what writes into the open file.
            version: of the network that they were made of.

        Returns:
            Whether they are kept.

        Raises:
            RunError: if one cannot be written.
        """
        with os_errors_as(f"write to {self.folder}"), self.lock("sweep", timeout=30):
            if not self.is_still(version):
                return False
            for path, content in files.items():
                make_folder(path.parent)
                (write_text if isinstance(content, str) else write_atomic)(path, content)
            return True

    def speed_version(self) -> int:
        """A number that changes whenever a measurement of speed comes in; 0 without any."""
        return version_of(self.folder / layout.SPEED)

    def sweep_version(self) -> int:
        """A number that changes whenever `sweep` or `predictions` does."""
        return version_of(self.folder / layout.SWEEP)

    def kernels(self) -> list[np.ndarray]:
        """The matrices of `network`, float32 of shape (inputs, units), hidden layers first, output layer last.

        Raises:
            RunError: if the file is missing or damaged.
        """
        return self.network().matrices

    def activations(self) -> list[np.ndarray]:
        """The rms of every kernel's inputs over training images; see `core.evaluation.rms_activations`.

        Raises:
            RunError: if the file is missing or damaged.
        """
        rows = {f"kernel_{index}": (len(matrix),) for index, matrix in enumerate(self.layers().matrices)}
        return [*read_arrays(self.folder / layout.ACTIVATIONS, rows).values()]

    def is_drawn(self) -> bool:
        """Whether its figures and animations are there."""
        return all(
            is_file(self.folder / name)
            for name in (layout.TRAINING_FIGURE, layout.PRUNING_FIGURE, *layout.GIFS.values())
        )

    def histogram_pictures(self, method: str) -> list[Path]:
        """The pictures of what a method leaves, by sparsity."""
        pictures = own_files(self.folder / layout.HISTOGRAMS)
        return sorted(path for path, _ in pictures if path.match(f"{method}s-*.png"))

    def log(self) -> str:
        """What the training process printed, if it was started by the app."""
        try:
            return read_log(self.part / layout.LOG)
        except OSError:
            return ""

    def size(self) -> int:
        """Bytes on disk, with what a training in progress, or one that ended early, takes."""
        return sum(size for folder in (self.folder, self.part) for _, size in own_files(folder))

    def add_to_sweep(self, rows: pd.DataFrame, version: str | None, predictions: Predictions | None = None) -> bool:
        """Add scored sparsities to those already known; a later score replaces an earlier one.

        Args:
            rows: as `core.sweep.sweep` gives them.
            version: of the network that was scored; if the run has been replaced since, nothing is added.
            predictions: the classes that the scores were counted from.

        Returns:
            Whether they were added.

        Raises:
            RunError: if the file cannot be written, or a score is not finite.
        """
        with os_errors_as(f"write to {self.folder}"), self.lock("sweep", timeout=30):
            if not self.is_still(version):
                return False
            scores = merge_scores(self.sweep(), rows)
            if not is_sweep(scores):
                raise RunError(
                    f"Run {self.id} cannot be scored: the loss is not finite. Retrain it on the page "
                    "Training, or delete it on the page Runs.",
                    "--force_train retrains it.",
                )
            if len(scores) > MOST_ROWS:
                raise RunError(
                    f"Run {self.id} would have {len(scores):,} scores. Expected at most {MOST_ROWS:,}. Delete "
                    f"{self.folder / layout.SWEEP} to start over; the network is not affected."
                )
            # The scores last, so that a new version of them always has its predictions.
            if predictions:
                write_predictions(self.folder / layout.PREDICTIONS, self.predictions() | predictions)
            write_text(self.folder / layout.SWEEP, to_csv(scores))
            return True

    def is_still(self, version: str | None) -> bool:
        """Whether it is complete and its network is still that version."""
        return version is not None and self.version() == version

    def request_cancel(self) -> None:
        """Ask the training process to stop; it looks at every report, several times a second while it fits.

        Raises:
            NotAllowedError: where nothing but scores may be written.
        """
        check_may_change(f"cancel the training of {self.id}")
        if self.is_training():
            # The training may end, and its folder go, between the two lines.
            with contextlib.suppress(FileNotFoundError):
                write_text(self.part / layout.CANCEL, "")

    def delete(self, seen: str | None = None) -> None:
        """Remove the run and whatever an early end left of it.

        Args:
            seen: the version of the network that was shown, empty if there was none; another one stays.

        Raises:
            RunBusyError: while it is being trained.
            RunError: if the files cannot be removed, or the run was trained again since.
        """
        # What adds to the run checks that it exists, and then makes folders in it.
        with os_errors_as(f"delete run {self.id}"), self.lock(), self.lock("sweep", timeout=30):
            if seen is not None and seen != (self.version() or ""):
                raise RunError(
                    f"Run {self.id} was trained again meanwhile and is not deleted. Look at it, and delete it again if "
                    "it is not wanted, either."
                )
            for folder in (self.folder, self.part, self.old):
                if os.path.lexists(folder):
                    # Renamed first, so that half a run is never listed.
                    trash = layout.trash(self.root, self.id, os.getpid())
                    remove(trash)
                    folder.rename(trash)
                    remove(trash)
            with contextlib.suppress(OSError):
                remove(layout.asked(self.root, self.id).parent)
        empty_trash(self.root)

    def discard_training(self) -> None:
        """Remove what a training that ended early left; a complete run stays."""
        with os_errors_as(f"clear {self.part}"), self.lock():
            remove(self.part)

    @contextlib.contextmanager
    def lock(self, what: str = "run", timeout: float = 1) -> Iterator[None]:
        """Lock the run, so that no other process does the same with it meanwhile.

        Args:
            what: "run" to train, replace or delete it, "sweep" to write its scores, "curve" to
                complete them, "repair" to repair what pages ask for, "speed" to measure, "pictures" to draw, "notes"
                to write its name and note, "exports" to make files of small networks, and `layout.export_lock` to make
                one.
            timeout: seconds to wait for the lock.

        Raises:
            RunBusyError: if another process holds it for longer than `timeout` seconds.
            NotAllowedError: where nothing but scores may be written, unless it is held to score.
        """
        if what not in _SCORING:
            check_may_change(f"change run {self.id}")
        path = self._lock_path(what)
        with os_errors_as(f"write to {path.parent}"):
            held = lock_at(path)
        try:
            held.acquire(timeout=timeout, poll_interval=0.02)
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
    root = Path(os.path.realpath(root or cache_root()))
    try:
        names = os.listdir(root)
    except OSError:
        return []
    ids = {name.removesuffix(layout.PART).removesuffix(layout.OLD) for name in names}
    return [open_run(run_id, root) for run_id in sorted(ids) if layout.is_run_id(run_id) and _is_run(root, run_id)]


def _is_run(root: Path, run_id: str) -> bool:
    """Whether what is called so in a cache is a run, or was meant as one, and not something else that lies there."""
    for suffix in ("", layout.PART, layout.OLD):
        folder = root / f"{run_id}{suffix}"
        # Of a training that has just begun there is nothing to say yet: its state is written after its configuration.
        signs = [layout.CHECKPOINT if (suffix, name) == (layout.PART, layout.CONFIG) else name for name in SIGNS]
        if any(os.path.lexists(folder / name) for name in signs):
            return True
    return is_made_id(run_id) and (root / run_id).exists()


def empty_trash(root: Path) -> None:
    """Remove what is left of runs that were being deleted by a process that was killed."""
    for path, run_id in layout.all_trash(root):
        # A run that is being deleted is locked.
        with contextlib.suppress(OSError, KnownError), Run(root, run_id).lock(timeout=0):
            remove(path)
