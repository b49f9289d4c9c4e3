"""Commands as a person types them, those of the project and the server, each in a process of its own.

Such a process is forked from one that has imported TensorFlow once: this takes seconds, and there are many.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

import psutil

from core.settings import PROJECT

SECONDS = 300
"""A command that takes longer hangs."""
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["tests.preloaded"])


def run_command(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """What `python -m core.<name>` with these arguments says, and how it ends."""
    with tempfile.TemporaryDirectory() as kept:
        process = start(f"core.{name}", arguments, environment, Path(kept))
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"core.{name} {arguments} takes more than {SECONDS} seconds")
        said = [(Path(kept) / stream).read_text() for stream in ("stdout", "stderr")]
        # The server can lose the code of a process that has ended; so whoever comes to its end leaves it behind.
        code = Path(kept) / "code"
        return subprocess.CompletedProcess(name, int(code.read_text()) if code.exists() else process.exitcode, *said)


def start(module: str, arguments: Iterable, environment: dict[str, str], kept: Path) -> multiprocessing.Process:
    """Start what `python -m <module>` does with these arguments; what it says, and its code, are kept in a folder."""
    process = forked.Process(target=_child, args=(module, (*arguments,), os.environ | environment, kept))
    process.start()
    return process


def end_work(cache: Path) -> None:
    """End what somebody had done for a cache in processes of their own, so that it is not in the way of other tests."""
    for process in psutil.process_iter(["cmdline"]):
        if f"--output_dir={cache.resolve()}" in (process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _child(module: str, arguments: tuple, environment: dict[str, str], kept: Path) -> None:
    os.chdir(PROJECT)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it is chosen by the environment
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(kept / stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [module, *map(str, arguments)]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    (kept / "code").write_text(str(code))
    os._exit(code)
