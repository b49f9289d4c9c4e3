"""Scores and repairs in the background what the pages of the app ask for; the app starts it.

One such process works for a cache on a machine, one step after the other: the run that was opened or touched last comes
first, and others go on once it is complete. Between two steps it gives way to what else was touched later on this
machine; see `core.turns`. It ends when nothing is asked for, and within a minute after the server that started it.
"""

import contextlib
import dataclasses
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags

from core import command, requests
from core.errors import KnownError, RunBusyError
from core.files import lock_at
from core.jobs import prepare_dataset
from core.runs import Run, layout
from core.scoring import Step, score_steps, steps_of, unscored_of
from core.settings import cache_root
from core.state import kind_of
from core.turns import SCORES, Turn, Work, machine, take_what_is_left

POLL_SECONDS = 0.1
IDLE_SECONDS = 10.0
"""How long it waits for something more to do: to start again takes seconds."""
GRACE_SECONDS = 30.0
"""How long a step may still take once the server has ended."""


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache.")


def main(_: list[str]) -> None:
    """The command: work until nothing is asked for, or the process that started this one ends."""
    root = command.chosen_path("output_dir")
    take_what_is_left()
    ended = threading.Event()
    threading.Thread(target=_follow, args=(ended,), daemon=True).start()
    work(root, ended)


def _follow(ended: threading.Event) -> None:
    """End this process soon after the one that started it, which holds the other end of the standard input."""
    sys.stdin.buffer.read()
    ended.set()
    time.sleep(GRACE_SECONDS)
    os._exit(0)


def work(root: Path, ended: threading.Event, idle_seconds: float = IDLE_SECONDS) -> None:
    """Do what is asked for in a cache, unless another process of this machine does.

    Args:
        root: the cache.
        ended: set when this has to end.
        idle_seconds: how long to wait for something to do.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_at(layout.worker_lock(root, machine()), timeout=0))
        except TimeoutError:
            return
        worker = _Worker(root, held.enter_context(Turn(root)), ended)
        until = time.monotonic() + idle_seconds
        while not ended.is_set():
            if worker.step_by_step():
                until = time.monotonic() + idle_seconds
            elif time.monotonic() > until:
                return
            else:
                ended.wait(POLL_SECONDS)


class _Worker:
    def __init__(self, root: Path, turn: Turn, ended: threading.Event):
        self._root, self._turn, self._ended = root, turn, ended
        self._pool = ThreadPoolExecutor(1)
        self._run: Run | None = None
        # Steps that could not be removed from the list are not tried again before the list changes.
        self._left: dict[Run, int] = {}

    def step_by_step(self) -> bool:
        """Score one run for as long as it is its turn; whether there is anything to do, now or later."""
        run = self._first()
        if run is None:
            self._turn.give_back()
            return False
        if not self._takes(run, SCORES):
            self._ended.wait(POLL_SECONDS)
            return True
        try:
            with run.lock("curve", timeout=0):
                self._run = run
                self._score(run)
        except RunBusyError:
            pass  # another process has just begun to score it
        finally:
            self._run = None
        return True

    def _score(self, run: Run) -> None:
        done: list[Step] = []
        try:
            prepare_dataset(run.config().dataset, self._root)
            for _ in score_steps(run, self._steps(run, done), report=self._tell, pool=self._pool):
                pass
        except Exception as error:
            # An error in one run must not keep the others from being scored.
            known = isinstance(error, KnownError)
            if not known:
                traceback.print_exc()
            requests.note_problem(run, str(error) if known else f"Unexpected error: {type(error).__name__}: {error}")
            done = requests.steps(run)
        else:
            requests.note_problem(run, None)
        try:
            requests.drop(run, done)
        except OSError:
            self._left[run] = requests.version(run)

    def _steps(self, run: Run, done: list[Step]) -> Iterator[Step]:
        """What is asked for of a run, for as long as it comes first; `done` is what of that need not be asked again."""
        asked: list[Step] = []
        missing: list[Step] = []
        version, tried = 0, set()
        while not self._ended.is_set() and self._first() == run:
            if version != requests.version(run):
                version, asked = requests.version(run), requests.steps(run)
                missing = [*steps_of(unscored_of(run, [(criterion, [k]) for criterion, k in asked], True))]
            step = next((step for step in missing if step not in tried), None)
            if step is None:
                done += asked
                return
            criterion, k = step
            if not self._takes(run, criterion.key(k) if kind_of(criterion).is_repair else SCORES):
                return
            tried.add(step)
            yield step

    def _first(self) -> Run | None:
        """The run that was touched last, of those that something is asked for and no other process scores."""
        return next(filter(self._may_score, requests.asked_runs(self._root)), None)

    def _may_score(self, run: Run) -> bool:
        return run == self._run or (self._left.get(run) != requests.version(run) and not run.is_busy("curve"))

    def _takes(self, run: Run, what: str) -> bool:
        return self._turn.take(Work(str(run.root), run.id, what, requests.touched(run)))

    def _tell(self, stage: str, part: float) -> None:
        work = self._turn.work
        # The images have been read, and the network has been looked at: only the time of the repair is shown.
        begun = work.begun if work.stage else time.time()
        # A full disk must not end the work.
        with contextlib.suppress(OSError):
            self._turn.tell(dataclasses.replace(work, begun=begun, stage=stage, part=part))


if __name__ == "__main__":
    define_flags()
    command.run(main)
