"""The run that comes with the project, so that the first page shows a live network before anything was trained."""

import contextlib
import os
import shutil
from pathlib import Path

from core.errors import RunError
from core.files import remove, write_text
from core.runs import layout
from core.runs.run import Run, empty_trash, list_runs, open_run
from core.settings import EXAMPLE, is_read_only


def adopt_example(root: Path) -> list[Run]:
    """Copy the example into a cache that has never held a run; one that was deleted does not come back.

    It is a copy, so that using the app leaves the project's own files as they are. A cache that cannot be written
    stays empty, which the pages can show; so does one that is only shown.

    Returns:
        The runs that were copied now.
    """
    if is_read_only():
        return []
    root = Path(os.path.realpath(root))
    marker = root / layout.EXAMPLE_MARKER
    empty_trash(root)
    if os.path.lexists(marker) or list_runs(root):
        return []
    adopted = []
    with contextlib.suppress(OSError, RunError):
        root.mkdir(parents=True, exist_ok=True)
        for folder in sorted(EXAMPLE.iterdir()):
            run = open_run(folder.name, root)
            with run.lock():
                beside = layout.trash(root, run.id, os.getpid())
                remove(beside)
                shutil.copytree(folder, beside)
                beside.rename(run.folder)
            adopted.append(run)
        write_text(marker, "")
    return adopted
