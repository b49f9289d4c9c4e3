"""Where the cache is, and how to write files so that a reader never sees half of one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def cache_root() -> Path:
    """The cache folder: `NETWORK_PRUNING_CACHE` if set, else `cache/` beside the code."""
    return Path(os.environ.get("NETWORK_PRUNING_CACHE") or Path(__file__).parent.parent / "cache")


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside `path`, flush to disk, then rename over it.

    Args:
        path: the file to create or replace. Its folder must exist.
        write: called with the open binary file.

    Raises:
        OSError: if the disk is full or the folder not writable. `path` is then as it was before.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives 0600; others who share the cache must be able to read it.
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """`write_atomic` for text, in UTF-8."""
    write_atomic(path, lambda file: file.write(text.encode()))
