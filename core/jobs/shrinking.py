"""Have tiny networks made in a process of its own, see how far it is, and stop it."""

from collections.abc import Sequence

from core.files import clear_errors, remove
from core.jobs.processes import begin, problem_of, starting
from core.limits import check_may_change, check_size
from core.runs import Run, Work, layout, read_work


def start_shrinking(run: Run, sizes: Sequence[int], epochs: int, seed: int) -> None:
    """Have tiny networks of a run made, the smallest first; see `core.smallest`.

    Returns as soon as it has begun. Does nothing while others of the run are being made.

    Raises:
        JobError: if the cache cannot be written, or the process ends before it has begun.
        NotAllowedError: if it may not be done here, or not now, or not of so large a network; it counts as a training.
    """
    check_may_change(f"make tiny networks of run {run.id}")
    check_size(run.config(), "opened")
    if run.is_busy("tiny"):
        return
    arguments = [
        *("-m", "core.smallest", f"--run={run.id}", f"--bytes={','.join(map(str, sorted(sizes)))}"),
        *(f"--epochs={epochs}", f"--seed={seed}", f"--output_dir={run.root.resolve()}"),
    ]
    state = layout.shrinking(run.root, run.id)
    with clear_errors(f"write to {run.root}"):
        remove(state)
    log = layout.shrinking_log(run.root, run.id)
    with starting(run.root):
        begin(arguments, run.root, log, state.exists, "It could not start.")


def shrinking(run: Run) -> Work | None:
    """How far the making of tiny networks is; None if none is made."""
    return read_work(layout.shrinking(run.root, run.id)) if run.is_busy("tiny") else None


def stop_shrinking(run: Run) -> None:
    """Ask it to stop; it looks after every epoch."""
    check_may_change("stop this")
    with clear_errors(f"write to {run.root}"):
        remove(layout.shrinking(run.root, run.id))


def shrinking_problem(run: Run) -> str | None:
    """Why the last attempt failed; None if it did not, or one is at work."""
    return problem_of(run, layout.shrinking_log(run.root, run.id), "tiny")
