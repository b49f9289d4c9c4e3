"""Writing a run: into a folder beside, which one rename makes the run."""

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.config import Config
from core.errors import CancelledError, RunBusyError, RunError
from core.files import fsync, make_folder, os_errors_as, remove, write_atomic, write_text
from core.network import Kernels, Network, as_network
from core.runs import layout
from core.runs.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from core.runs.formats import layers_to_json, to_csv
from core.runs.notes import carry_notes
from core.runs.predictions import Predictions, write_predictions
from core.runs.records import Phase
from core.runs.run import Run, empty_trash


@contextlib.contextmanager
def write_run(run: Run, config: Config) -> Iterator["RunWriter"]:
    """Hold the run and open a place to train it in; `commit` makes it the run.

    Leaving without a commit keeps the place as it is, with its reason, and an earlier complete run
    untouched.

    Raises:
        RunBusyError: if it is being trained already.
        RunError: if the cache folder cannot be written.
    """
    what = f"write to {run.root}"
    with os_errors_as(what), run.lock():
        empty_trash(run.root)
        make_folder(run.part)
        for left in run.part.iterdir():
            if left.name not in (layout.LOG, layout.CHECKPOINT):
                remove(left)
        writer = RunWriter(run)
        try:
            with os_errors_as(what):
                write_text(run.part / layout.CONFIG, json.dumps(config.to_dict(), indent=2))
                writer.update(Phase.STARTING)
                yield writer
        except BaseException as error:
            writer.end(error)
            raise


class RunWriter:
    """The place where a run comes to be. Made by `write_run`."""

    def __init__(self, run: Run):
        self.run = run
        self.state: dict[str, Any] = {"started": _now(), "host": socket.gethostname(), "pid": os.getpid()}

    def update(self, phase: Phase, **values: Any) -> None:
        """Write the progress, with a heartbeat.

        Raises:
            CancelledError: if it was cancelled.
        """
        self.state |= values | {"phase": phase, "updated": _now()}
        write_text(self.run.part / layout.STATE, json.dumps(self.state, indent=2))
        if os.path.lexists(self.run.part / layout.CANCEL):
            raise CancelledError(f"Training of {self.run.id} was cancelled.")

    def write_history(self, history: pd.DataFrame) -> None:
        write_text(self.run.part / layout.HISTORY, to_csv(history))

    def keep(self, checkpoint: Checkpoint, origin: dict[str, Any]) -> None:
        """Keep what the training goes on from if it is interrupted; see `core.runs.checkpoint`.

        Raises:
            OSError: if it cannot be written. An earlier one is then as it was.
        """
        write_checkpoint(self.run.part / layout.CHECKPOINT, checkpoint, origin)

    def kept(self, origin: dict[str, Any]) -> Checkpoint | None:
        """What an interrupted training of the same origin left to go on from.

        Raises:
            RunError: if it is damaged.
        """
        return read_checkpoint(self.run.part / layout.CHECKPOINT, origin)

    def drop_checkpoint(self) -> None:
        remove(self.run.part / layout.CHECKPOINT)

    def write_model(
        self, save: Callable[[Path], object], network: Network | Kernels, activations: list[np.ndarray]
    ) -> None:
        """Write the network: `save` is given a path to leave the Keras model at."""
        save(self.run.part / layout.MODEL)
        fsync(self.run.part / layout.MODEL)
        network = as_network(network)
        rms = {f"kernel_{index}": array for index, array in enumerate(activations)}
        for name, named in ((layout.KERNELS, network.arrays), (layout.ACTIVATIONS, rms)):
            write_atomic(self.run.part / name, lambda file, named=named: np.savez(file, **named))
        write_text(self.run.part / layout.NETWORK, json.dumps(layers_to_json(network), indent=2))

    def write_sweep(self, sweep: pd.DataFrame, predictions: Predictions | None = None) -> None:
        if predictions:
            write_predictions(self.run.part / layout.PREDICTIONS, predictions)
        write_text(self.run.part / layout.SWEEP, to_csv(sweep))

    def commit(self, **result: Any) -> None:
        """Make this the run by a rename, replacing an earlier one; the name and note of that one stay.

        Raises:
            RunError: if the scores or notes of the earlier run are being written for longer than half a minute.
        """
        self.update(Phase.COMPLETE, finished=_now(), **result)
        run = self.run
        remove(run.part / layout.LOG)
        fsync(run.part)
        remove(run.old)
        try:
            # Held so that scores of the earlier network are never written into the folder of the new one, and no
            # note into the folder of the old one after it was copied.
            with run.lock("sweep", timeout=30), run.lock("notes", timeout=30):
                carry_notes(run)
                # As late as possible: until here a killed process loses no epoch.
                self.drop_checkpoint()
                if os.path.lexists(run.folder):
                    run.folder.rename(run.old)
                run.part.rename(run.folder)
        except RunBusyError as error:
            raise RunError(str(error)) from None
        fsync(run.root)
        with contextlib.suppress(OSError):
            remove(run.old)

    def discard(self) -> None:
        """Remove everything written."""
        remove(self.run.part)

    def end(self, error: BaseException) -> None:
        """Write down why the training ended early."""
        if isinstance(error, CancelledError | KeyboardInterrupt):
            ended = {"phase": Phase.CANCELLED}
        else:
            ended = {"phase": Phase.FAILED, "message": str(error) or type(error).__name__}
        self.state |= ended | {"updated": _now()}
        # On a full disk not even this can be written; the run then shows as interrupted.
        with contextlib.suppress(OSError):
            write_text(self.run.part / layout.STATE, json.dumps(self.state, indent=2))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
