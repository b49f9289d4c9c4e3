"""Start training processes and get datasets ready, from a process that must not load Keras itself.

Jobs are not remembered here: what is running is read from the cache, so any process, tab or restarted
server sees the same.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from core.config import TrainingConfig
from core.datasets import is_cached
from core.errors import KnownError
from core.runs import LOG, Run, RunBusyError

_PROJECT = Path(__file__).parent.parent
_START_SECONDS = 30


class JobError(KnownError):
    """A process could not be started or ended with an error; the message ends with what it said."""


def start_training(run: Run, config: TrainingConfig, replace: bool = False) -> None:
    """Train a run in a process of its own, by the same command that a person types.

    Returns as soon as the run's state is in the cache. If the run is being trained already, nothing is
    started. The process goes on whatever happens to this one.

    Raises:
        JobError: if the process ends before it has begun to train.
    """
    if run.is_training():
        return
    command = [
        *("-m", "core.train", f"--experiment_id={run.id}", f"--output_dir={run.root.resolve()}"),
        *config.to_flags(),
        *(["--force_train"] if replace else []),
    ]
    try:
        # What an earlier attempt left would read as the state of this one.
        run.discard_training()
        run.part.mkdir(parents=True, exist_ok=True)
        with open(run.part / LOG, "w") as log:
            process = _python(command, run.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    except RunBusyError:
        return
    except OSError as error:
        raise JobError(
            f"Cannot start training in {run.root}: {error.strerror or error}. Free some space or correct the "
            "permissions, or name another cache folder in NETWORK_PRUNING_CACHE."
        ) from error
    # Nobody asks for its exit code; waiting keeps it from staying behind as a zombie.
    threading.Thread(target=process.wait, daemon=True).start()

    deadline = time.monotonic() + _START_SECONDS
    while run.training() is None and (replace or not run.is_complete()):
        ended = process.poll()
        if ended == 0:
            return
        if ended is not None or time.monotonic() > deadline:
            raise JobError(f"Training could not start. {_last_line(run.log())}")
        time.sleep(0.05)


def start_scoring(run: Run) -> None:
    """Score in the background what is still missing of a complete run's curves.

    Does not wait, and does nothing while another process is at it. What comes out shows in the run's sweep.
    """
    if run.is_busy("curve") or run.is_training():
        return
    command = ["-m", "core.train", "--notrain", f"--experiment_id={run.id}", f"--output_dir={run.root.resolve()}"]
    process = _python(
        [*command, *run.config().to_flags()],
        run.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Thread(target=process.wait, daemon=True).start()


def prepare_dataset(name: str, root: Path) -> None:
    """Decode a dataset into the cache, where this process can read it without Keras.

    Raises:
        JobError: if it cannot be had; the message says why and what to do.
    """
    process = _python(
        ["-m", "core.datasets", name],
        cache=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate()
    if process.returncode or not is_cached(name, root):
        raise JobError(_last_line(errors))


def _python(arguments: list[str], cache: Path, **options: object) -> subprocess.Popen:
    # The module path rather than the working folder: relative paths in the environment stay true.
    path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "NETWORK_PRUNING_CACHE": str(cache)}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdin=subprocess.DEVNULL, **options)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "The process said nothing."
