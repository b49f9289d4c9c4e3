"""How files are written so that a reader never sees half of one, and how the system's errors become sentences."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from core.errors import DiskFullError, RunWriteError


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


def fsync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free_space(path: Path) -> int | None:
    """Bytes that are free on the disk of a folder, which need not exist yet; None if the system does not say."""
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def require_space(folder: Path, needed: int, what: str) -> None:
    """Say so if a disk has less room than that.

    Args:
        folder: on that disk; it need not exist yet.
        needed: bytes.
        what: that which needs them, such as "a training of" a run.

    Raises:
        DiskFullError: if it has.
    """
    free = free_space(folder)
    if free is not None and free < needed:
        raise DiskFullError(
            f"The disk of {folder} is too full for {what}: it needs about {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.2f} MB are free. Free some space, or choose another folder (--output_dir, or "
            "NETWORK_PRUNING_CACHE for the app)."
        )


@contextlib.contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn what the system says while files are written into a sentence.

    Args:
        what: that which then could not be done, such as "write to" a folder.

    Raises:
        RunWriteError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunWriteError(
            f"Cannot {what}: {error.strerror or error}. Free some space or correct the permissions, "
            "or choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)."
        ) from error
