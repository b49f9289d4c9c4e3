"""The commands of the project as a person types them, each in a process of its own.

Such a process is forked from a server that has imported TensorFlow once: this takes seconds, and there are many.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from core.settings import PROJECT

SECONDS = 300
"""A command that takes longer hangs."""
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["tests.preloaded"])


def run_command(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """What `python -m core.<name>` with these arguments says, and how it ends."""
    with tempfile.TemporaryDirectory() as kept:
        process = forked.Process(target=_child, args=(name, arguments, os.environ | environment, Path(kept)))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"core.{name} {arguments} takes more than {SECONDS} seconds")
        said = [(Path(kept) / stream).read_text() for stream in ("stdout", "stderr")]
        # The server can lose the code of a process that has ended; so whoever comes to its end leaves it behind.
        code = Path(kept) / "code"
        return subprocess.CompletedProcess(name, int(code.read_text()) if code.exists() else process.exitcode, *said)


def _child(name: str, arguments: tuple, environment: dict[str, str], kept: Path) -> None:
    os.chdir(PROJECT)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(kept / stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_module(f"core.{name}", run_name="__main__", alter_sys=True)
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
