"""The queue of trainings of a cache, and the process that works it off.

    cache/.queue/<run_id>.json    a ticket: a configuration that waits, is being trained, or failed
    cache/.queue/log.txt          what the process that works off the queue said

A ticket is removed when its training has ended, and removing it earlier cancels the training. So a
queue whose process was killed is whole, and the next process goes on with it. What cannot be written down, because the
disk is full, say, ends the process with a sentence; the tickets stay, and no process is started before there is room.
"""

import concurrent.futures
import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import filelock

from core import limits, settings
from core.config import TrainingConfig
from core.errors import DiskFullError, KnownError
from core.files import is_held, lock_at, make_folder, os_errors_as, own_files, read_log, remove, write_text
from core.jobs.cluster import executor_for
from core.jobs.processes import (
    Outcome,
    last_line,
    require_room,
    start_queue,
    train_and_wait,
    train_without_limit,
)
from core.runs import Run, layout, open_run
from core.runs.records import parse_json
from core.settings import cache_root
from core.terminal import HINT, echo

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Entry:
    """A configuration in the queue. `failure` is why its training failed, None if it did not."""

    run: Run
    config: TrainingConfig
    added: int
    failure: str | None

    @property
    def status(self) -> str:
        """waiting, training, drawing (the network is there, its figures are to come) or failed."""
        if self.run.is_training():
            return "training"
        if self.failure is not None:
            return "failed"
        return "drawing" if self.run.is_complete() else "waiting"


@dataclass(frozen=True)
class Queue:
    """The queue of trainings of a cache. As with runs, what it holds is read afresh at every call."""

    root: Path

    @property
    def folder(self) -> Path:
        return layout.queue(self.root)

    def entries(self) -> list[Entry]:
        """What waits, is being trained, or failed, in the order in which it was added."""
        entries = []
        for path, _ in own_files(self.folder):
            if path.suffix != ".json":
                continue
            # One that is no ticket, or a damaged one, is left out.
            with contextlib.suppress(OSError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError):
                ticket = parse_json(path)
                config = TrainingConfig.from_saved(ticket["config"])
                failure = None if ticket.get("failure") is None else str(ticket["failure"])
                entry = Entry(open_run(config.run_id, self.root), config, int(ticket["added"]), failure)
                if path != self._ticket(config.run_id):
                    continue
                if entry.run.is_complete() and (entry.failure or not self.is_working()):
                    # It was trained elsewhere, or the process that would have removed the ticket was killed.
                    if not settings.is_read_only():
                        remove(path)
                    continue
                entries.append(entry)
        return sorted(entries, key=lambda entry: entry.added)

    def missing(self, configs: Iterable[TrainingConfig]) -> list[TrainingConfig]:
        """Those that are neither trained, nor being trained, nor waiting already."""
        waiting = {entry.config for entry in self.entries() if entry.failure is None}
        return [
            config
            for config in configs
            if config not in waiting
            and not (run := open_run(config.run_id, self.root)).is_complete()
            and not run.is_training()
        ]

    def add(self, configs: Iterable[TrainingConfig]) -> int:
        """Put the missing ones at the end of the queue, and return how many these are.

        Raises:
            RunError: if the cache cannot be written.
            NotAllowedError: if nothing may be trained here, one is too large.
        """
        limits.check_may_change("queue a training")
        missing = self.missing(configs)
        for config in missing:
            limits.check_size(config.parameter_count)
        now = time.time_ns()
        with os_errors_as(f"write to {self.folder}"):
            if missing:
                make_folder(self.folder)
            try:
                for index, config in enumerate(missing):
                    self._write(config, now + index)
            except OSError:
                # All or none: after a failure, none of them is expected to be trained.
                for config in missing:
                    self._ticket(config.run_id).unlink(missing_ok=True)
                raise
        return len(missing)

    def cancel(self, run_ids: Iterable[str] | None = None) -> None:
        """Take runs out of the queue, all of them by default, and stop those that are being trained.

        Raises:
            RunError: if the cache cannot be written.
            NotAllowedError: where nothing but scores may be written.
        """
        limits.check_may_change("cancel a training")
        if run_ids is None:
            run_ids = [entry.run.id for entry in self.entries()]
        chosen = [open_run(run_id, self.root) for run_id in run_ids]
        with os_errors_as(f"write to {self.folder}"):
            # All tickets go before any training ends, so that no other one begins in its place.
            for run in chosen:
                remove(self._ticket(run.id))
            for run in chosen:
                run.request_cancel()

    def is_working(self) -> bool:
        """Whether a process works off the queue."""
        return is_held(self._lock_path)

    def is_stuck(self) -> bool:
        """Whether something waits, but no process works off the queue."""
        return not self.is_working() and any(entry.status == "waiting" for entry in self.entries())

    def start(self, jobs: int = 1) -> None:
        """Have the queue worked off by a process that outlives this one; nothing happens if one is at it.

        Raises:
            JobError: if the process ends before it has begun.
            DiskFullError: if the disk has no room for the next training; nothing is started then.
        """
        if not self.is_working():
            for entry in [entry for entry in self.entries() if entry.status == "waiting"][:1]:
                require_room(entry.run, entry.config)
            start_queue(self.root, jobs, self._log, self.is_working)

    def problem(self) -> str:
        """Why the process that worked off the queue ended, as far as it said so; else empty."""
        try:
            said = read_log(self._log)
        except OSError:
            return ""
        return last_line(said) if said.rstrip().rsplit("\n", 1)[-1].startswith(("error: ", HINT)) else ""

    def work(self, jobs: int = 1) -> None:
        """Train until nothing waits, looking for new tickets all the while; return if another process is at it.

        If this process is killed, trainings that have begun go on by themselves, and the tickets stay.

        Args:
            jobs: how many trainings run beside each other, if no Dask scheduler decides.

        Raises:
            KnownError: if nothing may be trained here, or the Dask scheduler cannot be reached.
            RunWriteError: if the cache cannot be written, or its disk has no room for the next training. What has begun
                is waited for, nothing more is begun, and what waits stays in the queue.
        """
        limits.check_may_change("train")
        with executor_for(jobs) as executor:
            # A ticket added just before the lock is released relies on this process, so it looks once more.
            while any(entry.failure is None for entry in self.entries()):
                with os_errors_as(f"write to {self.folder}"):
                    try:
                        with lock_at(self._lock_path, timeout=1):
                            self._work_off(executor)
                    except filelock.Timeout:
                        return

    def _work_off(self, executor: concurrent.futures.Executor) -> None:
        running: dict[TrainingConfig, concurrent.futures.Future] = {}
        # On a cluster the number of workers is the limit.
        train = train_and_wait if settings.scheduler() is None else train_without_limit
        try:
            while True:
                for entry in self.entries():
                    if entry.failure is None and entry.config not in running:
                        arguments = entry.run, entry.config, self._ticket(entry.run.id)
                        running[entry.config] = executor.submit(train, *arguments)
                if not running:
                    return
                concurrent.futures.wait(running.values(), _POLL_SECONDS, return_when=concurrent.futures.FIRST_COMPLETED)
                for config in [config for config, future in running.items() if future.done()]:
                    self._end(config, running.pop(config))
        except BaseException:
            # The executor waits for everything submitted to it; what has not begun must not begin.
            for future in running.values():
                future.cancel()
            raise

    def _end(self, config: TrainingConfig, future: concurrent.futures.Future) -> None:
        """Remove the ticket of a training that has ended, or write down on it why it failed."""
        try:
            outcome: Outcome = future.result()
        except concurrent.futures.CancelledError:
            raise KnownError(
                f"The Dask scheduler at {settings.scheduler()} is gone. What waits stays in the queue. "
                "Start the scheduler, and then the queue again."
            ) from None
        except DiskFullError:
            # Every other training would fail the same way.
            raise
        except KnownError as error:
            failure = str(error)
        except Exception as error:  # whatever can happen to a worker: it was killed, or lacks a package
            failure = f"Its worker failed: {type(error).__name__}: {error}"
        else:
            failure = outcome.failure
            echo(f"{config.run_id} ended, on {outcome.host} by process {outcome.pid}")
        if failure is not None:
            echo(f"{config.run_id} failed: {failure}")
        ticket = self._ticket(config.run_id)
        if failure is None:
            remove(ticket)
        else:
            # If the ticket is gone, it was cancelled, and the failure is of no interest.
            with contextlib.suppress(FileNotFoundError):
                self._write(config, parse_json(ticket)["added"], failure)

    def _write(self, config: TrainingConfig, added: int, failure: str | None = None) -> None:
        values = {"added": added, "failure": failure, "config": config.to_dict()}
        write_text(self._ticket(config.run_id), json.dumps(values, indent=2))

    def _ticket(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def _lock_path(self) -> Path:
        return layout.queue_lock(self.root)


def open_queue(root: Path | None = None) -> Queue:
    """The queue of a cache, whether or not anything is in it."""
    return Queue((root or cache_root()).resolve())
