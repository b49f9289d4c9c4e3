"""Have runs scored and repaired in the background, where one process of a machine does one thing at a time."""

from core import limits, requests
from core.jobs.processes import start_worker, worker_problem
from core.runs import Run
from core.scoring import Wanted
from core.state import kind_of


def start_scoring(run: Run, wanted: Wanted) -> None:
    """Have a complete run scored in the background, before all that was asked of it earlier.

    Does not wait. What comes out shows in the run's sweep.

    Raises:
        RunWriteError, JobError: if the cache cannot be written.
        DiskFullError: if the disk is almost full.
    """
    # A repaired network that a page waits for comes first, by itself.
    what = "a repair" if any(kind_of(each).is_repair and len(ks) == 1 for each, ks in wanted[:1]) else "scores"
    # What is asked of a run that was deleted would bring a part of it back.
    if run.is_complete():
        limits.check_disk(run.root, f"{what} of run {run.id}")
        requests.ask(run, wanted)
        start_worker(run.root)


def scoring_problem(run: Run) -> str | None:
    """Why what was asked of a run failed when it was last tried; None if it did not."""
    return requests.problem(run) or worker_problem(run.root)
