"""What pages ask to be scored in the background, kept in the cache so that it outlives tabs and servers.

Each run has a list of steps, the most urgent first; see `core.worker`, which works them off. The run that was opened or
touched last comes first.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import RunWriteError
from core.files import advice, lock_at, make_folder, os_errors_as, read_text, remove, version_of, write_text
from core.runs import Run, layout, open_run
from core.scoring import Step, Wanted, steps_of
from core.sweep import Criterion

FAILED = "failed: "
"""The beginning of the note on why the steps of a run failed."""


def ask(run: Run, wanted: Wanted) -> None:
    """Ask for scores of a run, before all that was asked for earlier.

    Raises:
        RunWriteError: if the scores, or this, cannot be written.
    """
    path = layout.asked(run.root, run.id)
    with os_errors_as(f"write to {path.parent}"):
        if not os.access(run.folder, os.W_OK):
            raise RunWriteError(
                f"Cannot write scores to {run.folder}: it can only be read here. {advice(OSError(errno.EACCES, ''))}"
            )
        make_folder(path.parent)
        with _changing(run):
            earlier = _lines(run)
            lines = [*dict.fromkeys([*map(_line, steps_of(wanted)), *earlier])]
            if lines != earlier:
                write_text(path, "\n".join(lines))


def touch(run: Run) -> None:
    """Note that a run has just been opened or touched, so that it comes first."""
    path = layout.touched(run.root, run.id)
    # Where this cannot be written nothing is scored, either, and pages say so.
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        write_text(path, "")


def touched(run: Run) -> float:
    """When a run was last opened or touched, or asked for if it never was, in seconds since 1970; 0 if neither."""
    for path in (layout.touched(run.root, run.id), layout.asked(run.root, run.id)):
        with contextlib.suppress(OSError):
            return path.lstat().st_mtime
    return 0.0


def steps(run: Run) -> list[Step]:
    """What is asked for, the most urgent first."""
    return [*map(_read, _lines(run))]


def version(run: Run) -> int:
    """A number that changes whenever something else is asked for; 0 if nothing is."""
    return version_of(layout.asked(run.root, run.id))


def drop(run: Run, steps: Iterable[Step]) -> None:
    """Take some steps off the list, as they are done or cannot be done.

    Raises:
        OSError: if the cache cannot be written.
    """
    done = {*map(_line, steps)}
    path = layout.asked(run.root, run.id)
    with _changing(run):
        lines = [line for line in _lines(run) if line not in done]
        if lines:
            write_text(path, "\n".join(lines))
        else:
            remove(path)


def asked_runs(root: Path) -> list[Run]:
    """The runs that something is asked for, the one touched last first."""
    return sorted((open_run(name, root) for name in layout.all_asked(root)), key=touched, reverse=True)


def note_problem(run: Run, problem: str | None) -> None:
    """Note why the steps of a run cannot be worked off, or that they can."""
    path = layout.asked_log(run.root, run.id)
    with contextlib.suppress(OSError):
        if problem and run.is_complete():
            make_folder(path.parent)
            write_text(path, f"{FAILED}{problem}")
        elif path.exists():
            remove(path)


def problem(run: Run) -> str | None:
    """Why the steps of a run could not be worked off when that was last tried; None if they could."""
    try:
        said = read_text(layout.asked_log(run.root, run.id))
    except OSError:
        return None
    return said.removeprefix(FAILED) if said.startswith(FAILED) else None


@contextlib.contextmanager
def _changing(run: Run) -> Iterator[None]:
    with lock_at(layout.lock(run.root, run.id, "asked"), timeout=30):
        yield


def _lines(run: Run) -> list[str]:
    """The steps as they are written down; what is no step, as an earlier version wrote, is left out."""
    try:
        lines = read_text(layout.asked(run.root, run.id)).splitlines()
    except OSError:
        return []
    return [line for line in lines if _read(line)]


def _line(step: Step) -> str:
    """As `Criterion.key`, with all digits of k."""
    criterion, k = step
    return f"{criterion.prefix}{k!r}"


def _read(line: str) -> Step | None:
    """The inverse of `_line`; None for anything else."""
    named, _, k = line.rpartition(",")
    with contextlib.suppress(ValueError):
        criterion, _ = Criterion.parse(f"{named},0")
        return (criterion, float(k)) if 0 <= float(k) <= 1 else None
    return None
