"""Have the speed of networks measured in a process of its own, see how far it is, and stop it."""

from collections.abc import Sequence

from core.files import os_errors_as, remove
from core.jobs.processes import begin, problem_of
from core.limits import check_may_change
from core.pruning import AnySparsity, Sparsity
from core.runs import Run, Work, layout, read_work
from core.sweep import Criterion


def start_measuring(run: Run, criterion: Criterion, sparsities: Sequence[AnySparsity]) -> None:
    """Have the speed of some networks measured in a process of its own, one after the other; see `core.speed`.

    Returns as soon as it has begun. Does nothing while another measurement of the run is at work.

    Raises:
        JobError: if the cache cannot be written, or the process ends before it has begun.
        NotAllowedError: if nothing but scores may be written here.
        DiskFullError: if the disk is almost full.
    """
    check_may_change(f"measure the speed of run {run.id}")
    if run.is_busy("speed"):
        return
    named = "support" if criterion.recovery == "repair" else "ranking"
    arguments = [
        *("-m", "core.speed", f"--run={run.id}", f"--method={criterion.method}", f"--recovery={criterion.recovery}"),
        *(f"--{named}={criterion.ranking}", f"--scope={criterion.scope}"),
        f"--sparsity={','.join(str(Sparsity.of(k)).replace(',', ':') for k in sparsities)}",
        f"--output_dir={run.root.resolve()}",
    ]
    state = layout.measuring(run.root, run.id)
    with os_errors_as(f"write to {run.root}"):
        remove(state)
    log = layout.measuring_log(run.root, run.id)
    begin(arguments, run.root, log, state.exists, "The measurement could not start.")


def measuring(run: Run) -> Work | None:
    """How far a measurement at work is; None if there is none."""
    return read_work(layout.measuring(run.root, run.id)) if run.is_busy("speed") else None


def stop_measuring(run: Run) -> None:
    """Ask a measurement to stop; it looks after every round."""
    check_may_change("stop this")
    with os_errors_as(f"write to {run.root}"):
        remove(layout.measuring(run.root, run.id))


def measuring_problem(run: Run) -> str | None:
    """Why the last measurement failed; None if it did not, or one is at work."""
    return problem_of(run, layout.measuring_log(run.root, run.id), "speed")
