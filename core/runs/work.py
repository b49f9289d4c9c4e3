"""Progress of work on a run that can be watched and stopped: measuring its speed, making smallest files of it."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import CancelledError
from core.files import make_folder, os_errors_as, remove, write_text
from core.runs.records import read_record


@dataclass(frozen=True)
class Work:
    """How far it is.

    Attributes:
        done, total: networks; what is done of the one at work counts as a part.
        most_bytes: what the smallest file at work may take; 0 if none is, as for all that follows.
        epoch, epochs: which it has ended with, from 1, and how many there will be.
        bytes, val_accuracy: of its file as it would be now, and on the validation images.
        sizes, seed: what was asked for: the most bytes of each smallest file, separated by commas, and the random seed.
    """

    done: float
    total: int
    most_bytes: int = 0
    epoch: int = 0
    epochs: int = 0
    bytes: int = 0
    val_accuracy: float = 0.0
    sizes: str = ""
    seed: int = 0

    @property
    def number(self) -> int:
        """Which network is at work, from 1."""
        return math.ceil(self.done) or 1

    @property
    def fraction(self) -> float:
        """The part of all that is done, 0 to 1."""
        return self.done / self.total


def read_work(path: Path) -> Work | None:
    """What a file says of work; None if there is none, or it says what cannot be."""
    work = read_record(Work, path)
    if work is None:
        return None
    possible = 0 <= work.done <= work.total and work.total and work.epoch <= work.epochs and 0 <= work.val_accuracy <= 1
    return work if possible else None


@contextlib.contextmanager
def told_work(path: Path, begun: Work, stopped: str) -> Iterator[Callable[[Work], None]]:
    """Write the progress of work into the cache; removing that file stops it.

    Args:
        path: of that file.
        begun: what it is about, before any of it is done.
        stopped: the message when it is stopped.

    Yields:
        What is called with how far it is.

    Raises:
        CancelledError: from what is called, once it was stopped.
        RunWriteError: if the cache cannot be written.
    """

    def write(work: Work) -> None:
        write_text(path, json.dumps(dataclasses.asdict(work)))

    def tell(work: Work) -> None:
        if not path.exists():
            raise CancelledError(stopped)
        # A full disk must not end the work.
        with contextlib.suppress(OSError):
            write(work)

    with os_errors_as(f"write to {path.parent}"):
        make_folder(path.parent)
        write(begun)
    try:
        yield tell
    finally:
        remove(path)
