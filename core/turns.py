"""One process at a time works in the background on a machine: two would take far more than twice as long.

A process that scores, repairs or measures speed takes a `Turn` before each step, and so gives way, between two steps,
to what was touched later. Turns are those of one user on one machine, whatever the cache or the server: they lie in the
folder for temporary files, or where there is none in the cache, under the name of the machine.
"""

import contextlib
import dataclasses
import json
import os
import re
import socket
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import filelock

from core.files import is_held, lock_at, read_text, remove, write_text

SCORES, SPEED = "scores", "speed"
"""What is being done while networks are scored that were only pruned, and while speed is measured."""


@dataclass(frozen=True)
class Work:
    """What a process does, or waits to do.

    Attributes:
        root, run: the cache, and the id of the run.
        what: `SCORES`, `SPEED`, or the key of the network that is being repaired; see `core.sweep.Criterion.key`.
        touched: when the run was last opened or touched, in seconds since 1970.
        begun: when the process began with it, or 0 while it waits for its turn.
        stage, part: what a step that takes long is doing, and what part of it is done, from 0 to 1.
    """

    root: str
    run: str
    what: str
    touched: float
    begun: float = 0.0
    stage: str = ""
    part: float = 0.0


def take_what_is_left() -> None:
    """Give this process the lowest priority.

    Linux may group processes by session (autogroup), and niceness then counts within a group only. A process that has a
    session of its own would take as much as the whole app. So its group is given the niceness, too.
    """
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        with contextlib.suppress(OSError):
            if os.getsid(0) == os.getpid():
                Path("/proc/self/autogroup").write_text("19")


def machine() -> str:
    """The name of this machine, as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())


def folder(cache: Path) -> Path:
    """Where the turns of this machine are kept for a user of this cache."""
    with contextlib.suppress(OSError):
        temporary = Path(tempfile.gettempdir()).resolve()
        user = os.getuid() if hasattr(os, "getuid") else "user"
        own = temporary / f"network-pruning-{user}"
        # Without any such folder Python names the working folder, which each process may have another of.
        if temporary != Path.cwd():
            own.mkdir(mode=0o700, exist_ok=True)
            status = own.lstat()
            if stat.S_ISDIR(status.st_mode) and user in (status.st_uid, "user") and os.access(own, os.W_OK):
                return own
    return Path(os.path.realpath(cache)) / ".locks" / f"turns-{machine()}"


class Turn:
    """The turn of this process, which it has or waits for while this is entered.

    Raises:
        OSError: from all methods, if there is no folder to write to.
    """

    def __init__(self, cache: Path):
        self._folder, self._name = folder(cache), f"{os.getpid()}-{id(self)}"
        self._machine = lock_at(self._folder / "turn", timeout=0)
        self._alive = lock_at(self._folder / f"{self._name}.lock")
        self.work: Work | None = None

    def __enter__(self) -> "Turn":
        self._alive.acquire()
        for path in self._folder.glob("*.json"):
            # Left by a process that was killed.
            if not is_held(path.with_suffix(".lock")):
                remove(path)
                remove(path.with_suffix(".lock"))
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
        self._alive.release()
        remove(self._folder / f"{self._name}.lock")

    def take(self, work: Work) -> bool:
        """Whether this work may go on: no other process has the turn, or waits for it with what was touched later."""
        if any(other.touched > work.touched for other in _others(self._folder, self._name)):
            self._machine.release()
        elif not self._machine.is_locked:
            with contextlib.suppress(filelock.Timeout):
                self._machine.acquire()
        has = self._machine.is_locked
        before = self.work and (self.work.root, self.work.run, self.work.what, self.work.touched, self.work.begun > 0)
        if before != (work.root, work.run, work.what, work.touched, has):
            self.tell(dataclasses.replace(work, begun=time.time() if has else 0.0))
        return has

    def tell(self, work: Work) -> None:
        """Publish the progress of this work."""
        write_text(self._folder / f"{self._name}.json", json.dumps(dataclasses.asdict(work)))
        self.work = work

    def give_back(self) -> None:
        """Let others go on, until it is taken again."""
        remove(self._folder / f"{self._name}.json")
        self._machine.release()
        self.work = None


def at_work(cache: Path) -> Work | None:
    """What is being done in the background on this machine; None if nothing is."""
    working = [work for work in _others(folder(cache)) if work.begun]
    return working[0] if working else None


def _others(place: Path, own: str = "") -> list[Work]:
    """What the processes do, or wait for, that are alive; all but that of a name."""
    found = []
    for path in place.glob("*.json"):
        if path.stem != own and is_held(path.with_suffix(".lock")):
            # It may be over by now.
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(Work(**json.loads(read_text(path))))
    return found
