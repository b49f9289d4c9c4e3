"""Trains a grid of configurations: every combination of the values given, one after another.

    python -m core.grid --dataset=digits,fashion --seed=0-4 --l1_reg=0,0.001

What is trained already is not trained again. The others are queued in the cache and trained by a process
of its own, which other commands and the app share; closing this one's terminal does not stop it, and the
same command, typed again, looks on. Ctrl-C cancels the configurations of the command.

    cache/.queue/<run_id>.json    a ticket: a configuration that waits, is being trained, or failed
    cache/.queue/log.txt          what the process that works off the queue said

A ticket is removed when its training has ended, and whoever removes it earlier cancels the training. So a
queue whose process was killed is whole, and the next process goes on with it.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import itertools
import json
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
from absl import flags

from core import command
from core.config import DATASETS, ConfigError, TrainingConfig, parse_sizes
from core.errors import KnownError
from core.files import cache_root, write_text
from core.jobs import Outcome, start_queue, train_run
from core.runs import CancelledError, Run, RunError, open_run

LIMIT = 1000
"""Configurations in a grid, at most."""
SCHEDULER = "NETWORK_PRUNING_SCHEDULER"
"""The environment variable with the address of a Dask scheduler, if one is to train."""
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 10
_FIELDS = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}


def expand(values: Mapping[str, Sequence[Any]]) -> list[TrainingConfig]:
    """Every combination of the values, each once; the last name varies fastest.

    Args:
        values: lists of values by the name of a hyper-parameter. A name left out takes its default; for
            `num_valid` that is the default of each dataset.

    Raises:
        ConfigError: for an unknown name, an empty list, more than `LIMIT` combinations, or a combination
            that is no valid configuration.
    """
    for name, some in values.items():
        if not some:
            raise ConfigError(f"{name}: expected at least one value. Received none.")
    count = math.prod(len(some) for some in values.values())
    if count > LIMIT:
        raise ConfigError(
            f"Expected a grid of at most {LIMIT:,} configurations. Received: {count:,}. Give fewer values."
        )
    combinations = itertools.product(*values.values())
    configs = [TrainingConfig.from_dict(dict(zip(values, some, strict=True))) for some in combinations]
    return list(dict.fromkeys(configs))


def parse_values(name: str, text: str) -> list[Any]:
    """The values of a hyper-parameter from a list as people write it.

    Whole numbers may be ranges ("0-4,7"); the layer widths of several networks are separated by
    semicolons ("1000,500;300,100"); everything else by commas.

    Raises:
        ConfigError: for an empty list, or text that is no such value.
    """
    parts = [part for part in re.split(r"\s*;\s*" if name == "hidden_units" else r"[,;\s]+", text.strip()) if part]
    values = [value for part in parts for value in _PARSERS[name](name, part)]
    if not values:
        raise ConfigError(f"{name}: expected at least one value. Received nothing.")
    return values


def _parse_whole(name: str, part: str) -> Iterable[int]:
    found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= last - first < LIMIT:
        raise ConfigError(
            f"{name}: expected whole numbers or ranges of at most {LIMIT:,}, such as 0,2,5-9. Received: {part!r}."
        )
    return range(first, last + 1)


def _parse_real(name: str, part: str) -> Iterable[float]:
    try:
        return [float(part)]
    except ValueError:
        raise ConfigError(f"{name}: expected numbers such as 0,0.001. Received: {part!r}.") from None


def _parse_dataset(name: str, part: str) -> Iterable[str]:
    if part not in DATASETS:
        raise ConfigError(f"{name}: expected names among {', '.join(DATASETS)}. Received: {part!r}.")
    return [part]


def _parse_bool(name: str, part: str) -> Iterable[bool]:
    if part.lower() not in ("true", "false"):
        raise ConfigError(f"{name}: expected true, false or true,false. Received: {part!r}.")
    return [part.lower() == "true"]


def _parse_widths(name: str, part: str) -> Iterable[tuple[int, ...]]:
    return [parse_sizes(part)]


_PARSERS: dict[str, Callable[[str, str], Iterable[Any]]] = {
    "dataset": _parse_dataset,
    "epochs": _parse_whole,
    "batch_size": _parse_whole,
    "learning_rate": _parse_real,
    "num_valid": _parse_whole,
    "keep_best": _parse_bool,
    "l1_reg": _parse_real,
    "l2_reg": _parse_real,
    "hidden_units": _parse_widths,
    "seed": _parse_whole,
}


@dataclass(frozen=True)
class Entry:
    """A configuration in the queue. `failure` says why its training came to nothing, None if it did not."""

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
    """The trainings that a cache waits for. As with runs, what it holds is read afresh at every call."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".queue"

    def entries(self) -> list[Entry]:
        """What waits, is being trained, or failed, in the order in which it was added."""
        entries = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, KnownError):
                ticket = json.loads(path.read_text())
                config = TrainingConfig.from_dict(ticket["config"])
                entry = Entry(open_run(config.run_id, self.root), config, int(ticket["added"]), ticket.get("failure"))
                if path != self._ticket(config.run_id):
                    continue
                if entry.run.is_complete() and (entry.failure or not self.is_working()):
                    # Somebody else trained it, or the process was killed that would have removed the ticket.
                    path.unlink(missing_ok=True)
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
        """
        missing = self.missing(configs)
        now = time.time_ns()
        with self._writing():
            if missing:
                self.folder.mkdir(parents=True, exist_ok=True)
            for index, config in enumerate(missing):
                self._write(config, now + index)
        return len(missing)

    def cancel(self, run_ids: Iterable[str] | None = None) -> None:
        """Take runs out of the queue, all of them by default, and stop those that are being trained.

        Raises:
            RunError: if the cache cannot be written.
        """
        if run_ids is None:
            run_ids = [entry.run.id for entry in self.entries()]
        chosen = [open_run(run_id, self.root) for run_id in run_ids]
        with self._writing():
            # All tickets go before any training ends, so that no other one begins in its place.
            for run in chosen:
                self._ticket(run.id).unlink(missing_ok=True)
            for run in chosen:
                run.request_cancel()

    def is_working(self) -> bool:
        """Whether a process works off the queue."""
        if not self._lock_path.exists():
            return False
        try:
            with filelock.FileLock(self._lock_path, timeout=0.05, poll_interval=0.005):
                return False
        except (filelock.Timeout, OSError):
            return True

    def is_stuck(self) -> bool:
        """Whether something waits, but no process works off the queue."""
        return not self.is_working() and any(entry.status == "waiting" for entry in self.entries())

    def start(self, jobs: int = 1) -> None:
        """Have the queue worked off by a process that outlives this one; nothing happens if one is at it.

        Raises:
            JobError: if the process ends before it has begun.
        """
        if not self.is_working():
            start_queue(self.root, jobs, self.folder / "log.txt", self.is_working)

    def work(self, jobs: int = 1) -> None:
        """Train until nothing waits, looking for new tickets all the while; return if another process is at it.

        If this process is killed, trainings that have begun go on by themselves, and the tickets stay.

        Args:
            jobs: how many trainings run beside each other, if no Dask scheduler decides.

        Raises:
            KnownError: if the Dask scheduler cannot be reached, or the cache cannot be written.
        """
        with _executor(jobs) as executor:
            # Whoever adds a ticket just before the lock is let go counts on this process, so it looks once more.
            while any(entry.failure is None for entry in self.entries()):
                with self._writing():
                    self._lock_path.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        with filelock.FileLock(self._lock_path, timeout=1):
                            self._work_off(executor)
                    except filelock.Timeout:
                        return

    def _work_off(self, executor: concurrent.futures.Executor) -> None:
        running: dict[TrainingConfig, concurrent.futures.Future] = {}
        while True:
            for entry in self.entries():
                if entry.failure is None and entry.config not in running:
                    arguments = entry.run, entry.config, self._ticket(entry.run.id)
                    running[entry.config] = executor.submit(train_run, *arguments)
            if not running:
                return
            concurrent.futures.wait(running.values(), _POLL_SECONDS, return_when=concurrent.futures.FIRST_COMPLETED)
            for config in [config for config, future in running.items() if future.done()]:
                self._end(config, running.pop(config))

    def _end(self, config: TrainingConfig, future: concurrent.futures.Future) -> None:
        """Remove the ticket of a training that has ended, or write down on it why it failed."""
        try:
            outcome: Outcome = future.result()
        except concurrent.futures.CancelledError:
            raise KnownError(
                f"The Dask scheduler at {os.environ.get(SCHEDULER)} is gone. What waits stays in the queue. "
                "Start the scheduler, and then the queue again."
            ) from None
        except KnownError as error:
            failure = str(error)
        except Exception as error:  # whatever can happen to a worker: it was killed, or lacks a package
            failure = f"Its worker failed: {type(error).__name__}: {error}"
        else:
            failure = outcome.failure
            _say(f"{config.run_id} ended, on {outcome.host} by process {outcome.pid}")
        if failure is not None:
            _say(f"{config.run_id} failed: {failure}")
        ticket = self._ticket(config.run_id)
        if failure is None:
            ticket.unlink(missing_ok=True)
        else:
            # Whoever has removed the ticket meanwhile does not want to hear of it.
            with contextlib.suppress(FileNotFoundError):
                self._write(config, json.loads(ticket.read_text())["added"], failure)

    def _write(self, config: TrainingConfig, added: int, failure: str | None = None) -> None:
        values = {"added": added, "failure": failure, "config": config.to_dict()}
        write_text(self._ticket(config.run_id), json.dumps(values, indent=2))

    def _ticket(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"

    @property
    def _lock_path(self) -> Path:
        return self.root / ".locks" / "queue"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"Cannot write to {self.folder}: {error.strerror or error}. Free some space or correct the "
                "permissions, or choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)."
            ) from error


def open_queue(root: Path | None = None) -> Queue:
    """The queue of a cache, whether or not anything is in it."""
    return Queue((root or cache_root()).resolve())


@contextlib.contextmanager
def _executor(jobs: int) -> Iterator[concurrent.futures.Executor]:
    """Threads of this process, or the workers of the Dask cluster that the environment names."""
    address = os.environ.get(SCHEDULER)
    if not address:
        with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
            yield threads
        return
    try:
        import distributed
    except ImportError:
        raise KnownError(
            f"{SCHEDULER} names a Dask scheduler, but the package that speaks to it is missing. "
            f"Install it (pip install distributed), or unset {SCHEDULER} to train on this machine."
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise KnownError(
            f"There is no Dask scheduler at {SCHEDULER}={address}: {error}. Start one (python -m dask scheduler) and "
            f"correct the address, such as tcp://host:8786, or unset {SCHEDULER} to train on this machine."
        ) from None
    # pure: the same call may be needed again after a failure, and its result must not come from memory.
    with client, client.get_executor(pure=False) as workers:
        try:
            # A worker that cannot read a task dies of it without a word.
            client.run(importlib.import_module, train_run.__module__)
        except ImportError as error:
            raise KnownError(
                f"The Dask workers at {address} cannot import this project: {error}. Start them in its folder, with "
                f"its packages installed: python -m dask worker {address} --nthreads=1"
            ) from None
        yield workers


def _define_flags() -> None:
    # In a function, because core.train defines flags of the same names.
    texts = {
        "dataset": "The datasets, such as digits,fashion.",
        "epochs": "Numbers of training epochs.",
        "batch_size": "Batch sizes.",
        "learning_rate": "Learning rates, such as 0.001,0.0005.",
        "num_valid": "Sizes of the validation dataset; by default 10000, for optdigits 200.",
        "keep_best": "Keep the epoch of best validation accuracy: true, false or true,false.",
        "l1_reg": "L1 penalties on the hidden kernels, such as 0,0.0001.",
        "l2_reg": "L2 penalties on the hidden kernels.",
        "hidden_units": "The width of each hidden layer; several networks are separated by semicolons.",
        "seed": "Seeds, such as 0-4.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, _flag_default(_FIELDS[name]), text)
    flags.DEFINE_integer(
        "jobs", 1, f"How many trainings run beside each other. With {SCHEDULER} its workers decide.", lower_bound=1
    )
    flags.DEFINE_list("cancel", None, "Train nothing, but cancel these runs in the queue; all: every one.")
    flags.DEFINE_bool("list", False, "Train nothing, but list the queue.")
    flags.DEFINE_bool("work", False, "Add nothing, but work off the queue; what the app and this command start.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The output directory: the cache.")


def _flag_default(value: Any) -> str | None:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return None if value is None else str(value)


def main(_: list[str]) -> int:
    """The command: queue what is missing, have it trained, and tell how it goes."""
    values = flags.FLAGS
    queue = open_queue(Path(values.output_dir).expanduser())
    if values.work:
        # Ctrl-C ends this process at once, as a kill does; trainings that have begun go on by themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        queue.work(values.jobs)
    elif values.list:
        _say(_table([(entry.run, entry.status) for entry in queue.entries()]))
    elif values.cancel is not None:
        unknown = {*values.cancel} - {entry.run.id for entry in queue.entries()} - {"all"}
        if unknown or not values.cancel:
            raise ConfigError(
                f"cancel: expected runs of the queue (see --list), or all. Received: {', '.join(unknown)}."
            )
        queue.cancel(None if "all" in values.cancel else values.cancel)
    else:
        given = {name: values[name].value for name in _FIELDS if values[name].value is not None}
        configs = expand({name: parse_values(name, text) for name, text in given.items()})
        return _train(queue, configs, values.jobs)
    return 0


def _train(queue: Queue, configs: list[TrainingConfig], jobs: int) -> int:
    trained = sum(open_run(config.run_id, queue.root).is_complete() for config in configs)
    _say(f"{len(configs)} configuration{'' if len(configs) == 1 else 's'}, {trained} trained already.")
    try:
        queue.add(configs)
        ends = _follow(queue, [open_run(config.run_id, queue.root) for config in configs], jobs)
    except KeyboardInterrupt:
        ours = {config.run_id for config in configs}
        queue.cancel(entry.run.id for entry in queue.entries() if entry.run.id in ours)
        raise CancelledError("The configurations of this command that were not trained yet are cancelled.") from None
    _say(f"\n{_table(ends)}")
    statuses = {status for _, status in ends}
    if "failed" in statuses:
        return KnownError.exit_code
    return CancelledError.exit_code if "cancelled" in statuses else 0


def _follow(queue: Queue, runs: list[Run], jobs: int) -> list[tuple[Run, str]]:
    """Say when each run starts and ends, keeping the queue at work until all have ended; return how each did."""
    starts, ends = set(), {run: "complete" for run in runs if run.is_complete()}
    while len(ends) < len(runs):
        if queue.is_stuck():
            queue.start(jobs)
        # In this order: a run without a ticket has ended, and what it ended as is in its folder by then.
        tickets = {entry.run: entry for entry in queue.entries()}
        for run in runs:
            if run in ends:
                continue
            ticket, training = tickets.get(run), run.is_training()
            if training and run not in starts:
                _say(f"{run.id} starts")
                starts.add(run)
            if training or (ticket and ticket.failure is None):
                continue
            if result := run.result():
                ends[run] = "complete"
                _say(f"{run.id} is trained: test accuracy {result['test_accuracy']:.4f}")
            elif ticket:
                ends[run] = "failed"
                _say(f"{run.id} failed: {ticket.failure}")
            else:
                ends[run] = "cancelled"
                _say(f"{run.id} was cancelled")
        if len(ends) < len(runs):
            time.sleep(_POLL_SECONDS)
    return [(run, ends[run]) for run in runs]


def _table(rows: list[tuple[Run, str]]) -> str:
    if not rows:
        return "Nothing waits and nothing is being trained."
    table = pd.DataFrame(
        [(run.id, status, (run.result() or {}).get("test_accuracy")) for run, status in rows],
        columns=["run", "status", "test_accuracy"],
    ).astype({"test_accuracy": float})
    return table.to_string(index=False, float_format="{:.4f}".format, na_rep="-")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    _define_flags()
    command.run(main)
