"""Have smallest files made in a process of its own, see how far it is, and stop it."""

from collections.abc import Sequence

from core.files import os_errors_as, remove
from core.jobs.processes import begin, problem_of, starting
from core.limits import check_may_change, check_size
from core.runs import Run, Work, layout, read_work


def start_smallest(run: Run, sizes: Sequence[int], epochs: int, seed: int) -> None:
    """Have smallest files of a run made, the smallest first; see `core.smallest`.

    Returns as soon as it has begun. Does nothing while others of the run are being made.

    Raises:
        JobError: if the cache cannot be written, or the process ends before it has begun.
        NotAllowedError: if it may not be done here, or not now, or not of so large a network; it counts as a training.
    """
    check_may_change(f"make smallest files of run {run.id}")
    check_size(run.config(), "opened")
    if run.is_busy("tiny"):
        return
    arguments = [
        *("-m", "core.smallest", f"--run={run.id}", f"--bytes={','.join(map(str, sorted(sizes)))}"),
        *(f"--epochs={epochs}", f"--seed={seed}", f"--output_dir={run.root.resolve()}"),
    ]
    state = layout.smallest_progress(run.root, run.id)
    with os_errors_as(f"write to {run.root}"):
        remove(state)
    log = layout.smallest_log(run.root, run.id)
    with starting(run.root):
        begin(arguments, run.root, log, state.exists, "It could not start.")


def smallest_progress(run: Run) -> Work | None:
    """How far the making of smallest files is; None if none is made."""
    return read_work(layout.smallest_progress(run.root, run.id)) if run.is_busy("tiny") else None


def stop_smallest(run: Run) -> None:
    """Ask it to stop; it looks after every epoch."""
    check_may_change("stop this")
    with os_errors_as(f"write to {run.root}"):
        remove(layout.smallest_progress(run.root, run.id))


def smallest_problem(run: Run) -> str | None:
    """Why the last attempt failed; None if it did not, or one is at work."""
    return problem_of(run, layout.smallest_log(run.root, run.id), "tiny")
