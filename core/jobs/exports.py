"""Have the file of a small network made in a process of its own, and see how far it is."""

from collections.abc import Sequence

from core.errors import RunError
from core.files import read_log
from core.jobs.processes import begin, problem_of
from core.runs import Run, layout


def start_export(run: Run, name: str, flags: Sequence[str]) -> None:
    """Make a file by the same command that a person types; it is kept with the run.

    Returns as soon as the process has begun. Does nothing while another one is making that file.

    Args:
        run: a complete run.
        name: of the file in the folder of the run.
        flags: of `python -m core.export` that mean this file.

    Raises:
        RunError: if there is no such complete run.
        JobError: if the cache cannot be written, or the process ends before it has begun.
    """
    # Its log lies with the run, and would bring the folder of a deleted one back.
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} to make a file of: it was deleted. Choose another run.")
    if run.is_busy(layout.export_lock(name)):
        return
    log = layout.export_log(layout.exported(run.folder, name))
    begin(
        ["-m", "core.export", *flags],
        run.root,
        log,
        lambda: run.is_busy(layout.export_lock(name)),
        "The file could not be made.",
    )


def exporting(run: Run, name: str) -> list[str] | None:
    """What the process that is making a file has said so far, line by line; None if none is at work."""
    if not run.is_busy(layout.export_lock(name)):
        return None
    try:
        return read_log(layout.export_log(layout.exported(run.folder, name))).splitlines()
    except OSError:
        return []  # it is made by a command, which has no such log


def export_problem(run: Run, name: str) -> str | None:
    """Why the last attempt to make a file failed; None if it did not, or one is at work."""
    return problem_of(run, layout.export_log(layout.exported(run.folder, name)), layout.export_lock(name))
