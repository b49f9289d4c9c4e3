"""Trains a grid of configurations: every combination of the values given, one after another.

    python -m core.grid --dataset=digits,fashion --seed=0-4 --l1_reg=0,0.001

What is trained already is not trained again. The others are queued in the cache (see `core.queue`) and trained by
a process of its own, which other commands and the app share; closing this one's terminal does not stop it, and
the same command, typed again, looks on. Ctrl-C cancels the configurations of the command.
"""

import itertools
import math
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from absl import flags

from core import command
from core.config import ConfigError, TrainingConfig
from core.errors import CancelledError, JobError, KnownError
from core.jobs import Queue, open_queue
from core.runs import Run, open_run
from core.settings import MAX_TRAININGS, SCHEDULER, cache_root
from core.terminal import echo

LIMIT = 1000
"""Configurations in a grid, at most."""
_POLL_SECONDS = 0.5


def expand(values: Mapping[str, Sequence[Any]]) -> list[TrainingConfig]:
    """Every combination of the values, each once; the last name varies fastest.

    Args:
        values: lists of values by the name of a hyper-parameter. A name left out takes its default; for
            `num_valid` that is the default of each dataset.

    Raises:
        ConfigError: for an unknown name, an empty list, more than `LIMIT` combinations, or a combination
            that is no valid configuration.
    """
    for name, some in values.items():
        if not some:
            raise ConfigError(f"{name}: expected at least one value. Received none.")
    count = math.prod(len(some) for some in values.values())
    if count > LIMIT:
        raise ConfigError(
            f"Expected a grid of at most {LIMIT:,} configurations. Received: {count:,}. Give fewer values."
        )
    combinations = itertools.product(*values.values())
    configs = [TrainingConfig.from_dict(dict(zip(values, some, strict=True))) for some in combinations]
    return list(dict.fromkeys(configs))


def _define_flags() -> None:
    # In a function, because core.train defines flags of the same names.
    command.define_lists()
    flags.DEFINE_integer(
        "jobs",
        1,
        f"How many trainings run beside each other, at most {MAX_TRAININGS}. With {SCHEDULER} its workers decide.",
        lower_bound=1,
    )
    flags.DEFINE_list("cancel", None, "Train nothing, but cancel these runs in the queue; all: every one.")
    flags.DEFINE_bool("list", False, "Train nothing, but list the queue.")
    flags.DEFINE_bool("work", False, "Add nothing, but work off the queue; what the app and this command start.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The output directory: the cache.")


def main(_: list[str]) -> int:
    """The command: queue what is missing, have it trained, and tell how it goes."""
    values = flags.FLAGS
    queue = open_queue(command.chosen_path("output_dir"))
    if values.work:
        # Ctrl-C ends this process at once, as a kill does; trainings that have begun go on by themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        queue.work(values.jobs)
    elif values.list:
        echo(_table([(entry.run, entry.status) for entry in queue.entries()]))
    elif values.cancel is not None:
        unknown = {*values.cancel} - {entry.run.id for entry in queue.entries()} - {"all"}
        if unknown or not values.cancel:
            raise ConfigError(
                f"cancel: expected runs of the queue (see --list), or all. Received: {', '.join(unknown)}."
            )
        queue.cancel(None if "all" in values.cancel else values.cancel)
    else:
        return _train(queue, expand(command.chosen_lists()), values.jobs)
    return 0


def _train(queue: Queue, configs: list[TrainingConfig], jobs: int) -> int:
    trained = sum(open_run(config.run_id, queue.root).is_complete() for config in configs)
    echo(f"{len(configs)} configuration{'' if len(configs) == 1 else 's'}, {trained} trained already.")
    try:
        queue.add(configs)
        ends = _follow(queue, [open_run(config.run_id, queue.root) for config in configs], jobs)
    except KeyboardInterrupt:
        ours = {config.run_id for config in configs}
        queue.cancel(entry.run.id for entry in queue.entries() if entry.run.id in ours)
        raise CancelledError("The configurations of this command that were not trained yet are cancelled.") from None
    echo(f"\n{_table(ends)}")
    statuses = {status for _, status in ends}
    if "failed" in statuses:
        return KnownError.exit_code
    return CancelledError.exit_code if "cancelled" in statuses else 0


def _follow(queue: Queue, runs: list[Run], jobs: int) -> list[tuple[Run, str]]:
    """Say when each run starts and ends, keeping the queue at work until all have ended; return how each did.

    Raises:
        JobError: if the process that works off the queue ends without ending any training.
    """
    stuck_with, starts, ends = None, set(), {run: "complete" for run in runs if run.is_complete()}
    while len(ends) < len(runs):
        if queue.is_stuck():
            waiting = {entry.run for entry in queue.entries() if entry.status == "waiting"}
            if waiting == stuck_with:
                # Started once more it would end the same way, and so on for ever.
                raise JobError(
                    "The process that works off the queue ended before any training did. "
                    f"{queue.problem() or f'It said nothing, as happens if {queue.root} is full.'} "
                    "What waits stays in the queue; run the same command again to go on."
                )
            stuck_with = waiting
            queue.start(jobs)
        # In this order: a run without a ticket has ended, and what it ended as is in its folder by then.
        tickets = {entry.run: entry for entry in queue.entries()}
        for run in runs:
            if run in ends:
                continue
            ticket, training = tickets.get(run), run.is_training()
            if training and run not in starts:
                echo(f"{run.id} starts")
                starts.add(run)
            if training or (ticket and ticket.failure is None):
                continue
            if result := run.result():
                ends[run] = "complete"
                echo(f"{run.id} is trained: test accuracy {result.test_accuracy:.4f}")
            elif ticket:
                ends[run] = "failed"
                echo(f"{run.id} failed: {ticket.failure}")
            else:
                ends[run] = "cancelled"
                echo(f"{run.id} was cancelled")
        if len(ends) < len(runs):
            time.sleep(_POLL_SECONDS)
    return [(run, ends[run]) for run in runs]


def _table(rows: list[tuple[Run, str]]) -> str:
    if not rows:
        return "Nothing waits and nothing is being trained."
    table = pd.DataFrame(
        [(run.id, status, (result := run.result()) and result.test_accuracy) for run, status in rows],
        columns=["run", "status", "test_accuracy"],
    ).astype({"test_accuracy": float})
    return table.to_string(index=False, float_format="{:.4f}".format, na_rep="-")


if __name__ == "__main__":
    _define_flags()
    command.run(main)
