"""Processes that are killed, or find the disk full, at a chosen moment; for `tests/test_faults.py`.

Each is forked from a server that has imported TensorFlow once, so that hundreds are affordable. In it every call that
opens for writing, renames, removes, makes or flushes something is an event. The n-th one can be its last: it kills
itself with SIGKILL instead.
"""

import builtins
import dataclasses
import datetime
import io
import multiprocessing
import multiprocessing.connection
import os
import re
import resource
import signal
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core import jobs, make, requests, runs, scoring, turns, worker
from core.config import TrainingConfig
from core.errors import KnownError
from core.jobs import open_queue
from core.sweep import Criterion
from tests.commands import forked

CONFIG = TrainingConfig(
    dataset="optdigits", epochs=2, hidden_units=(8, 6), batch_size=1237, learning_rate=0.01, num_valid=200
)
"""Trains in a moment: one step an epoch."""
OTHERS = [dataclasses.replace(CONFIG, seed=seed) for seed in (1, 2)]
K = [0.5]
_KNOWN, _BUG, _LOST = 3, 4, 255


# What is done to a cache


def train(root: Path, replace: bool = False) -> None:
    from core.training.train import train_run

    train_run(runs.open_run(CONFIG.run_id, root), CONFIG, scoring.experiment(K), replace=replace)


def replace(root: Path) -> None:
    train(root, replace=True)


def sweep(root: Path) -> None:
    run = runs.open_run(CONFIG.run_id, root)
    for _ in scoring.score_run(run, scoring.experiment([0.25, 0.75])):
        pass


def work(root: Path) -> None:
    """What a page asks for is scored and repaired in the background."""
    turns.folder = lambda cache: cache / ".locks" / "turns"
    run, repaired = runs.open_run(CONFIG.run_id, root), Criterion("unit", "admm", recovery="repair")
    requests.touch(run)
    requests.ask(run, [(Criterion("weight"), [0.25, 0.75]), (repaired, K)])
    worker.work(root, threading.Event(), idle_seconds=0)


def draw(root: Path) -> None:
    make.draw(runs.open_run(CONFIG.run_id, root), K)


def delete(root: Path) -> None:
    runs.open_run(CONFIG.run_id, root).delete()


def queue(root: Path) -> None:
    """Add two, cancel one, and work off the other twice: it fails first. What trains is replaced."""
    from core.jobs import queue as module

    failures = iter(["It failed.", None])
    module.train_and_wait = lambda *_: jobs.Outcome(next(failures), "here", os.getpid())
    queue = open_queue(root)
    queue.add(OTHERS)
    queue.cancel([OTHERS[0].run_id])
    queue.work()
    queue.add(OTHERS[1:])
    queue.work()
    queue.cancel()


# How it is done


@dataclass(frozen=True)
class End:
    """How such a process ended.

    Attributes:
        code: 0, or -9 if it was killed.
        events: how many there were, if it was not.
        error: the sentence of a known error; a traceback of any other.
        outside: what it wrote to, renamed or removed outside the cache.
    """

    code: int
    events: int
    error: str
    outside: list[str]

    @property
    def is_known(self) -> bool:
        return self.code == _KNOWN


def run(
    action: Callable[[Path], None],
    root: Path,
    kill_at: int | None = None,
    file_size: int | None = None,
    jump: float = 0.0,
) -> End:
    """Do something to a cache in a process of its own.

    Args:
        action: one of the functions above.
        kill_at: the number of the event, from 1, at which it is killed.
        file_size: bytes that a file can have at most; what is beyond fails as on a full disk.
        jump: seconds by which the clock jumps at every look at it, to and fro.
    """
    receiver, sender = forked.Pipe(duplex=False)
    process = forked.Process(target=_child, args=(action, root, sender, kill_at, file_size, jump))
    process.start()
    sender.close()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{action.__name__} hangs: killed at {kill_at}, files of at most {file_size} bytes")
    # The fork server can lose the code of a process, and multiprocessing then calls it 255. So whoever comes to its end
    # says so by itself; nobody but one that was killed ends without.
    code = -signal.SIGKILL if process.exitcode == _LOST else process.exitcode
    said = {"code": code, "events": 0, "error": "", "outside": []}
    try:
        while True:
            kind, what = receiver.recv()
            said[kind] = [*said[kind], what] if kind == "outside" else what
    except EOFError:
        return End(**said)


def _child(
    action: Callable[[Path], None],
    root: Path,
    sender: multiprocessing.connection.Connection,
    kill_at: int | None,
    file_size: int | None,
    jump: float,
) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    import tensorflow

    # To trace functions takes seconds; step by step it computes the same.
    tensorflow.config.run_functions_eagerly(True)
    if jump:
        _jump(jump)
    events = _Events(root, sender, kill_at)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    try:
        action(root)
        code = 0
    except KnownError as error:
        code = _KNOWN
        sender.send(("error", str(error)))
    except BaseException:
        code = _BUG
        sender.send(("error", traceback.format_exc()))
    sender.send(("events", events.count))
    sender.send(("code", code))
    os._exit(code)


_OTHERS_FILES = re.compile(rf"^/(dev|proc)/|/__pycache__/|^{re.escape(tempfile.gettempdir())}/tmp[^/]+(/assets)?$")
"""What is no harm outside the cache: devices, compiled modules, and the folder in which Keras packs a model."""


class _Events:
    """Watches what this process does to files, and kills it at one of these events."""

    def __init__(self, root: Path, sender: multiprocessing.connection.Connection, kill_at: int | None):
        self.count, self._root, self._sender, self._kill_at = 0, str(root), sender, kill_at
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "chmod", "symlink", "truncate"):
            setattr(os, name, self._watched(getattr(os, name)))
        os.fsync = self._watched(os.fsync)
        os.open = self._watched(os.open, lambda path, flags, *_: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        io.open = builtins.open = self._watched(open, lambda path, mode="r", *_: set(mode) & set("wax+"))

    def _watched(self, call: Callable, writes: Callable = lambda *_: True) -> Callable:
        def watched(*arguments, **options):
            mode = (options["mode"],) if "mode" in options and call is not os.mkdir else ()
            if writes(*arguments, *mode):
                self._see(arguments[0], options.get("dir_fd", options.get("src_dir_fd")))
            return call(*arguments, **options)

        return watched

    def _see(self, where: str | Path | int, folder: int | None) -> None:
        path = str(Path(f"/proc/self/fd/{where}").readlink()) if isinstance(where, int) else os.fsdecode(where)
        if folder is not None:
            path = str(Path(f"/proc/self/fd/{folder}").readlink() / path)
        path = os.path.abspath(path)  # noqa: PTH100  # as it was asked for, links and all
        if path == self._root or path.startswith(f"{self._root}/"):
            self.count += 1
            if self.count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        elif not _OTHERS_FILES.search(path):
            self._sender.send(("outside", path))


def _jump(seconds: float) -> None:
    """Let the clock that tells the time of day go forth and back, an hour, say, at every look."""
    real, looks = time.time, iter(range(10**9))
    time.time = lambda: real() + seconds * (1 if next(looks) % 2 else -1)
    real_ns = time.time_ns
    time.time_ns = lambda: real_ns() + int(seconds * 1e9) * (1 if next(looks) % 2 else -1)

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromtimestamp(time.time(), tz)

    from core.runs import writer

    writer.datetime = types.SimpleNamespace(datetime=Jumping, UTC=datetime.UTC)
