"""The smallest files that were made from a run: their files, and what is known of each."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass

from core.errors import RunError
from core.files import os_errors_as, own_files, read_bytes
from core.runs import layout
from core.runs.records import parse_record
from core.runs.run import Run


@dataclass(frozen=True)
class SmallestFile:
    """One smallest file.

    Attributes:
        most_bytes: what was asked for.
        epochs, seed: how it was made.
        bytes: of the file.
        weights: how many of its numbers are not zero.
        val_accuracy: on the validation images on which it was chosen.
        test_accuracy: on the test images, as its decoder reads it.
        seconds: what it took.
        source: the run's version when it was made; see `Run.version`.
    """

    most_bytes: int
    epochs: int
    seed: int
    bytes: int
    weights: int
    val_accuracy: float
    test_accuracy: float
    seconds: float
    source: str

    @property
    def name(self) -> str:
        """By what was asked for, so that the same is made once."""
        return f"{self.most_bytes}-e{self.epochs}-s{self.seed}"


def keep_smallest(run: Run, made: SmallestFile, file: bytes) -> None:
    """Keep a smallest file with its run; see `Run.keep`."""
    path = layout.smallest(run.folder, made.name)
    record = json.dumps(dataclasses.asdict(made), indent=1)
    run.keep({path: lambda out: out.write(file), layout.smallest_record(path): record}, made.source)


def smallest_files(run: Run) -> list[SmallestFile]:
    """Those that were made from the network as it is now, smallest first; one that cannot be read is left out."""
    version, found = run.version(), []
    for path, _ in own_files(run.folder / layout.SMALLEST):
        if path.suffix != ".json":
            continue
        with contextlib.suppress(OSError, ValueError, RunError):
            made = parse_record(SmallestFile, path)
            own = path == layout.smallest_record(layout.smallest(run.folder, made.name)) and made.source == version
            shares = all(0 <= share <= 1 for share in (made.val_accuracy, made.test_accuracy))
            if own and shares and len(read_smallest(run, made)) == made.bytes > 0:
                found.append(made)
    return sorted(found, key=lambda made: (made.bytes, -made.val_accuracy))


def read_smallest(run: Run, made: SmallestFile) -> bytes:
    """The bytes of the file.

    Raises:
        RunError: if it cannot be read.
    """
    path = layout.smallest(run.folder, made.name)
    with os_errors_as(f"read {path}"):
        return read_bytes(path)


def best(files: list[SmallestFile]) -> list[SmallestFile]:
    """Those of which no smaller one has as good an accuracy on the validation images."""
    front = []
    for made in files:
        if not front or made.val_accuracy > front[-1].val_accuracy:
            front.append(made)
    return front
