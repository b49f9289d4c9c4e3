"""Have a run worked on by a process of its own, see how far it is, and stop it: its speed is measured, or smallest
files are made of it."""

from collections.abc import Sequence

from core.files import os_errors_as, remove
from core.jobs.processes import begin, problem_of, starting
from core.limits import check_may_change, check_size
from core.pruning import AnySparsity, Sparsity
from core.runs import Run, Work, layout, read_work
from core.runs.layout import SMALLEST, SPEED
from core.state import kind_of
from core.sweep import Criterion


def start_measuring(run: Run, criterion: Criterion, sparsities: Sequence[AnySparsity]) -> None:
    """Have the speed of some networks measured, one after the other; see `core.speed`.

    Returns as soon as it has begun. Does nothing while another measurement of the run is at work.

    Raises:
        JobError: if the cache cannot be written, or the process ends before it has begun.
        NotAllowedError: if nothing but scores may be written here.
        DiskFullError: if the disk is almost full.
    """
    check_may_change(f"measure the speed of run {run.id}")
    if run.is_busy(SPEED):
        return
    arguments = [
        *("-m", "core.speed", f"--run={run.id}", f"--recovery={criterion.recovery}"),
        *kind_of(criterion).flags(criterion),
        f"--sparsity={','.join(str(Sparsity.of(k)).replace(',', ':') for k in sparsities)}",
    ]
    _start(run, SPEED, arguments, "The measurement could not start.")


def start_smallest(run: Run, sizes: Sequence[int], epochs: int, seed: int) -> None:
    """Have smallest files of a run made, the smallest first; see `core.smallest`.

    Returns as soon as it has begun. Does nothing while others of the run are being made.

    Raises:
        JobError: if the cache cannot be written, or the process ends before it has begun.
        NotAllowedError: if it may not be done here, or not now, or not of so large a network; it counts as a training.
    """
    check_may_change(f"make smallest files of run {run.id}")
    check_size(run.layers().weights, "opened")
    if run.is_busy(SMALLEST):
        return
    arguments = [
        *("-m", "core.smallest", f"--run={run.id}", f"--bytes={','.join(map(str, sorted(sizes)))}"),
        *(f"--epochs={epochs}", f"--seed={seed}"),
    ]
    with starting(run.root):
        _start(run, SMALLEST, arguments, "It could not start.")


def _start(run: Run, what: str, arguments: list[str], failed: str) -> None:
    state, log = layout.work(run.root, run.id, what), layout.work_log(run.root, run.id, what)
    with os_errors_as(f"write to {run.root}"):
        remove(state)
    begin([*arguments, f"--output_dir={run.root.resolve()}"], run.root, log, state.exists, failed)


def work_on(run: Run, what: str) -> Work | None:
    """How far the work of that name is, `SPEED` or `SMALLEST`; None if none is being done."""
    return read_work(layout.work(run.root, run.id, what)) if run.is_busy(what) else None


def stop_work(run: Run, what: str) -> None:
    """Ask work to stop; it looks after every round, or epoch."""
    check_may_change("stop this")
    with os_errors_as(f"write to {run.root}"):
        remove(layout.work(run.root, run.id, what))


def work_problem(run: Run, what: str) -> str | None:
    """Why the last attempt at some work failed; None if it did not, or one is at work."""
    return problem_of(run, layout.work_log(run.root, run.id, what), what)
