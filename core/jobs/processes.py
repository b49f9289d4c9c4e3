"""Start training processes and get datasets ready, from a process that must not load Keras itself.

Jobs are not remembered here: what is running is read from the cache, so any process, tab or restarted
server sees the same.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core import limits, log, settings, turns
from core.config import Config, RecoveryConfig, TrainingConfig
from core.datasets import is_cached
from core.errors import CancelledError, JobError, KnownError, RunBusyError, TooManyError
from core.files import advice, is_held, lock_at, new_log, os_errors_as, read_log, write_text
from core.runs import Run, layout, list_runs
from core.terminal import HINT

_START_SECONDS = 30
_POLL_SECONDS = 0.2
_RUN_BYTES_A_WEIGHT, _RUN_BYTES_BESIDE = 16, 1_000_000
"""What a run takes: the Keras model with two moments of Adam, and the kernels; and everything else, at least."""
_SHORTAGES = (
    (
        r"MemoryError|bad_alloc|Unable to allocate|Cannot allocate memory|failed to allocate memory",
        "The memory ran out.",
    ),
    (
        r"pthread_create|can't start new thread|Resource temporarily unavailable",
        "The process may not start as many threads or processes as it needs (ulimit -u).",
    ),
)
"""What the last lines of a process say when something of the machine ran out, as regular expressions, and in words."""
_END = 2_000
"""Characters of these lines."""
_FAILED = "failed: "
"""How the last line of a log begins, if the process failed."""
_workers: dict[Path, subprocess.Popen] = {}
"""The processes that this one started to score and repair, by cache."""
_starting_worker = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """How a training that was waited for ended: why it failed, None if it did not; and who waited for it."""

    failure: str | None
    host: str
    pid: int


def start_training(run: Run, config: Config, replace: bool = False) -> None:
    """Train a run in a process of its own, with the command that people use.

    Returns as soon as the run's state is in the cache. If the run is being trained already, nothing is
    started. The process goes on whatever happens to this one.

    Args:
        config: of one that is fine-tuned the parent has to be in the same cache.

    Raises:
        JobError: if the process ends before it has begun to train.
    """
    if run.is_training():
        return
    before = run.training()
    try:
        process = _launch(run, config, "--fine_curve", "--leave_curve", *(["--force_train"] if replace else []))
    except RunBusyError:
        return
    wait_for_begin(
        process,
        lambda: run.training() not in (None, before) or (run.is_complete() and not replace),
        "Training could not start.",
        run.log,
    )


def train_and_wait(run: Run, config: TrainingConfig, ticket: Path, within_limit: bool = True) -> Outcome:
    """Train a run with that command and wait for its end; the queue gives this to its workers.

    Args:
        run: where to keep it. If another process is training it, this waits for that.
        config: the hyper-parameters.
        ticket: a file. Once it is gone the training is not begun, or is stopped, so that it can be
            cancelled from any machine that sees the cache.
        within_limit: whether to wait as long as `NETWORK_PRUNING_MAX_TRAININGS` others are at work.

    Raises:
        DiskFullError: if the disk has no room for the run; nothing is begun then.
        KnownError: if the cache cannot be written, or the network is too large.
    """
    failure = None
    while ticket.exists() and not run.is_complete():
        try:
            process = None if run.is_training() else _launch(run, config, within_limit=within_limit)
        except (RunBusyError, TooManyError):
            process = None
        if process is None:
            time.sleep(_POLL_SECONDS)
            continue
        while process.poll() is None:
            if not ticket.exists():
                # One that trains is asked, so that it can say how it ended.
                (run.request_cancel if run.is_training() else process.terminate)()
            time.sleep(_POLL_SECONDS)
        # What a complete run still lacks, its figures, can be had later.
        failure = None if run.is_complete() else _failure(process.returncode, run.log())
        break
    return Outcome(failure, socket.gethostname(), os.getpid())


def require_room(run: Run, config: Config) -> None:
    """Check that the disk has room for a run.

    Raises:
        DiskFullError: if it has none.
    """
    needed = _RUN_BYTES_BESIDE + _RUN_BYTES_A_WEIGHT * config.parameter_count
    limits.check_disk(run.root, f"a training of {run.id}", needed)


def train_without_limit(run: Run, config: TrainingConfig, ticket: Path) -> Outcome:
    """As `train_and_wait`, on a worker of a cluster, where the number of workers is the limit."""
    return train_and_wait(run, config, ticket, within_limit=False)


def start_queue(root: Path, at_once: int, log: Path, has_begun: Callable[[], bool]) -> None:
    """Start a process that works off the queue of a cache and goes on whatever happens to this one.

    Args:
        root: the cache.
        at_once: how many trainings run beside each other.
        log: the file for what the process says.
        has_begun: tells whether the queue is being worked off.

    Raises:
        JobError: if the process ends before it has begun.
    """
    limits.check_may_change("train")
    command = ["-m", "core.grid", "--work", f"--jobs={at_once}", f"--output_dir={root.resolve()}"]
    process = logged(command, root, log)
    wait_for_begin(process, has_begun, "The queue could not start.", lambda: read_log(log))


def start_worker(root: Path) -> None:
    """Start the process that scores and repairs what pages ask for, unless one runs; it ends soon after this one.

    Raises:
        JobError: if the cache cannot be written.
    """
    root = Path(os.path.realpath(root))
    with _starting_worker:
        ours = _workers.get(root)
        # Until a new one holds its lock a second or two pass.
        if (ours is None or ours.poll() is not None) and not is_held(layout.worker_lock(root, turns.machine())):
            log = layout.worker_log(root)
            # It ends when the other end of its input is closed.
            options = {"stdin": subprocess.PIPE, "env": settings.one_thread(settings.for_child(root))}
            _workers[root] = process = logged(["-m", "core.worker", f"--output_dir={root}"], root, log, **options)
            _behind(note_failure, process, log)


def worker_problem(root: Path) -> str | None:
    """Why the process failed that scores and repairs what pages ask for; None if it did not, or one is at work."""
    root = Path(os.path.realpath(root))
    return _noted_failure(layout.worker_log(root), layout.worker_lock(root, turns.machine()))


def problem_of(run: Run, log: Path, what: str) -> str | None:
    """Why the last process that wrote this log failed; None if it did not, or one holds that lock of the run."""
    return _noted_failure(log, layout.lock(run.root, run.id, what))


def _noted_failure(log: Path, lock: Path) -> str | None:
    try:
        said = read_log(log).splitlines()
    except OSError:
        return None
    failed = said and said[-1].startswith(_FAILED)
    return said[-1].removeprefix(_FAILED) if failed and not is_held(lock) else None


def note_failure(process: subprocess.Popen, log: Path) -> None:
    """Wait for a process, and write down at the end of its log why it failed, if it did; a warning is no failure."""
    code = process.wait()
    with contextlib.suppress(OSError):
        failure = _failure(code, read_log(log))
        if failure is not None:
            write_text(log, f"{read_log(log)}\n{_FAILED}{failure}")


def ensure_pictures(run: Run) -> None:
    """Have a complete run's figures and animations drawn if they are not there; waits for it, some seconds.

    Raises:
        JobError: if they cannot be drawn; the message says why.
        NotAllowedError: if nothing but scores may be written here, or the network is too large.
        DiskFullError: if the disk is almost full.
    """
    if run.is_drawn():
        return
    limits.check_may_change(f"draw the figures of run {run.id}")
    limits.check_disk(run.root, f"the figures of run {run.id}")
    limits.check_size(run.layers().weights, "opened")
    config = run.config()
    # The parent of a fine-tuned one may be gone, and is not needed.
    chosen = [] if isinstance(config, RecoveryConfig) else config.to_flags()
    command = ["-m", config.COMMAND, "--notrain", f"--experiment_id={run.id}", f"--output_dir={run.root.resolve()}"]
    _wait_for([*command, *chosen], run.root, run.is_drawn)


def prepare_dataset(name: str, root: Path) -> None:
    """Decode a dataset into the cache, where this process can read it without Keras; one process does it for all.

    Raises:
        JobError: if it cannot be had; the message says why and what to do.
    """
    lock = layout.lock(Path(os.path.realpath(root)), name, "dataset")
    with os_errors_as(f"write to {root}"), lock_at(lock):
        if not is_cached(name, root):
            _wait_for(["-m", "core.datasets", name], root, lambda: is_cached(name, root))


def prepare_in_background(name: str, root: Path) -> None:
    """As `prepare_dataset`, without waiting; whatever needs the dataset meanwhile waits in `prepare_dataset`."""

    def prepare() -> None:
        # The error is shown where the dataset is needed.
        with contextlib.suppress(KnownError):
            prepare_dataset(name, root)

    _behind(prepare)


def _wait_for(arguments: list[str], cache: Path, is_done: Callable[[], bool]) -> None:
    """Run Python to its end; raise JobError, which says why, if what it is for is not done then."""
    process = _python(arguments, cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate()
    if process.returncode or not is_done():
        raise JobError(_failure(process.returncode, errors) or last_line(errors))


def _launch(run: Run, config: Config, *flags: str, within_limit: bool = True) -> subprocess.Popen:
    """Start the command that trains a run. What an earlier attempt left stays until the process is at work: it says
    that there is something to go on from.

    Raises:
        RunBusyError: if another process trains it.
        NotAllowedError: if it may not be trained here, or not now.
        DiskFullError: if the disk has no room for it.
    """
    limits.check_size(config.parameter_count)
    require_room(run, config)
    with starting(run.root, within_limit):
        with run.lock():
            pass  # refuses where another process is at it
        before = run.training()
        command = ["-m", config.COMMAND, f"--experiment_id={run.id}", f"--output_dir={run.root.resolve()}"]
        process = logged([*command, *config.to_flags(), *flags], run.root, run.part / layout.LOG)
        log.info(f"training {run.id} began as process {process.pid}")
        _behind(_log_end, run, process)
        # It counts as one that is at work once its state is in the cache.
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and run.training() in (None, before) and time.monotonic() < deadline:
            time.sleep(0.02)
        return process


def _log_end(run: Run, process: subprocess.Popen) -> None:
    code = process.wait()
    ended = "complete" if run.is_complete() and not code else f"with exit code {code}"
    log.info(f"training {run.id} ended {ended}, process {process.pid}")
    if not code and layout.asked(run.root, run.id).exists():
        # It left the rest of its curves to be scored in the background. The page that opens it says if that fails.
        with contextlib.suppress(KnownError):
            start_worker(run.root)


@contextlib.contextmanager
def starting(root: Path, within_limit: bool = True) -> Iterator[None]:
    """Begin a training; one begins at a time, so that the limit is never exceeded.

    Raises:
        TooManyError: if the limit of trainings is reached.
        RunWriteError: if the cache cannot be written.
    """
    if not within_limit:
        yield
        return
    with os_errors_as(f"write to {root}"):
        lock = lock_at(layout.starting_lock(root))
        lock.acquire()
    try:
        limits.check_trainings(trainings_at_work(root))
        yield
    finally:
        lock.release()


def trainings_at_work(root: Path) -> int:
    """How many networks are being trained in a cache, smallest files included."""
    return sum(run.is_training() or run.is_busy(layout.SMALLEST) for run in list_runs(root))


def logged(arguments: list[str], cache: Path, log: Path, **options: object) -> subprocess.Popen:
    """Start Python in the background, with its output in a file.

    Raises:
        JobError: if the file cannot be written.
    """
    try:
        with new_log(log) as file:
            return _python(arguments, cache, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **options)
    except OSError as error:
        raise JobError(
            f"Cannot start a process that writes to {cache}: {error.strerror or error}. {advice(error)}"
        ) from error


def begin(arguments: list[str], cache: Path, log: Path, has_begun: Callable[[], bool], failed: str) -> None:
    """Start Python in the background, note at the end of its log why it fails if it does, and wait until it has begun.

    Args:
        failed: the sentence that comes before what the process said, if it ends before that.

    Raises:
        JobError: if the log cannot be written, or the process ends before it has begun.
        NotAllowedError: if nothing but scores may be written here.
        DiskFullError: if the disk is almost full.
    """
    limits.check_may_change("start this")
    limits.check_disk(cache, "this")
    process = logged(arguments, cache, log)
    _behind(note_failure, process, log)
    wait_for_begin(process, has_begun, failed, lambda: read_log(log))


def wait_for_begin(
    process: subprocess.Popen, has_begun: Callable[[], bool], failed: str, said: Callable[[], str]
) -> None:
    """Wait until a process has begun, or has ended without complaint.

    Args:
        failed: the sentence that comes before the reason, if it ends before that.
        said: all that the process has said.

    Raises:
        JobError: if it failed, or has not begun within 30 seconds.
    """
    # The exit code is not needed; waiting keeps it from staying behind as a zombie.
    _behind(process.wait)
    deadline = time.monotonic() + _START_SECONDS
    while not has_begun():
        ended = process.poll()
        if ended == 0:
            return
        if ended is not None or time.monotonic() > deadline:
            reason = ended is not None and _failure(ended, said())
            raise JobError(f"{failed} {reason or last_line(said())}")
        time.sleep(0.05)


def _python(arguments: list[str], cache: Path, **options: object) -> subprocess.Popen:
    given = {"env": settings.for_child(cache), "stdin": subprocess.DEVNULL} | options
    try:
        return subprocess.Popen([sys.executable, *arguments], **given)
    except OSError as error:
        raise JobError(f"Cannot start a process: {error.strerror or error}. {advice(error)}") from error


def _behind(work: Callable[..., object], *arguments: object) -> None:
    """Do it in a daemon thread, which does not keep this process from ending."""
    threading.Thread(target=work, args=arguments, daemon=True).start()


def last_line(text: str) -> str:
    """The last line that a process printed, which is why it failed if it did."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(HINT)]
    return lines[-1].removeprefix(_FAILED).removeprefix("error: ") if lines else "The process said nothing."


def _failure(exit_code: int, log: str) -> str | None:
    if exit_code in (0, CancelledError.exit_code):
        return None
    said = last_line(log)
    if f"\n{log.rstrip()}".rpartition("\n")[2].startswith(("error: ", _FAILED)):
        return said
    why = next((why for words, why in _SHORTAGES if re.search(words, log[-_END:])), None)
    if exit_code < 0:
        why = why or f"The process was killed by signal {-exit_code}; the memory may have run out."
    if why is None:
        return said
    return f"{why} Its last line: {said}" if log.strip() else why
