"""How files are written so that a reader never sees half of one, why no link in a cache is followed, and how the
system's errors become sentences.

A cache belongs to the people who run the server. What machines do to files must not harm anything else in it; what
links in it lead to is neither read, written nor deleted. The path of the cache may itself be a link: callers resolve it
first, so that any link on the way lies inside.
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import filelock

from core.errors import RunWriteError

MOST_LOG = 2**20
"""Bytes that are read of what a process said."""
_ELSEWHERE = "choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)"
_ADVICE = {
    errno.ENOSPC: f"Free some space, or {_ELSEWHERE}.",
    errno.EDQUOT: f"Free some space, or {_ELSEWHERE}.",
    errno.EACCES: f"Correct the permissions, or {_ELSEWHERE}.",
    errno.EPERM: f"Correct the permissions, or {_ELSEWHERE}.",
    errno.EROFS: f"It can only be read: {_ELSEWHERE}.",
    **dict.fromkeys(
        (errno.EAGAIN, errno.ENOMEM),
        "Close other programs, or let this user have more memory and processes (ulimit -u, ulimit -v), and try again.",
    ),
    errno.ELOOP: "Nothing outside the cache is read or changed. Remove the link, or replace it with its target.",
    errno.EFBIG: "The file is too large. Allow larger files (ulimit -f), and try again.",
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
        "Something else lies there in the place of a file or a folder. Move it away, and try again.",
    ),
}


def check_own(path: Path) -> None:
    """Refuse a path that is a symbolic link, or lies behind one.

    Raises:
        OSError: with ELOOP, naming the link.
    """
    if os.path.realpath(path) != os.path.normpath(path.absolute()):
        linked = next((each for each in (*reversed(path.absolute().parents), path) if each.is_symlink()), path)
        raise OSError(errno.ELOOP, f"{linked} is a symbolic link")


def is_file(path: Path) -> bool:
    """Whether it is a file, and no symbolic link leads to it."""
    try:
        check_own(path)
    except OSError:
        return False
    return path.is_file()


def version_of(path: Path) -> int:
    """A number that changes whenever a file, or the names in a folder, do; 0 if there is none."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def make_folder(path: Path) -> None:
    """Make a folder, and those it lies in, unless it is there.

    Raises:
        OSError: if a link leads to it, something else lies in its place, or it cannot be made.
    """
    check_own(path)
    path.mkdir(parents=True, exist_ok=True)


def open_own(path: Path) -> BinaryIO:
    """Open a file to read it.

    Raises:
        OSError: if there is none, or it is a link or lies behind one.
    """
    check_own(path)
    return open(path, "rb")


def read_bytes(path: Path) -> bytes:
    """The content of a file; see `open_own`."""
    with open_own(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The text of a file, with a mark in the place of what is not UTF-8; see `open_own`."""
    return read_bytes(path).decode(errors="replace")


def read_log(path: Path) -> str:
    """As `read_text`, for what a process said; of much the end, which says how it ended."""
    with open_own(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_LOG))
        return file.read(MOST_LOG).decode(errors="replace")


def own_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """All files in a folder and the folders in it, each with its bytes; no link is followed.

    Files may come and go meanwhile.
    """
    try:
        check_own(folder)
    except OSError:
        return
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status.st_size


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside `path`, flush to disk, then rename over it; a link in its place is replaced, not followed.

    Args:
        path: the file to create or replace. Its folder must exist.
        write: called with the open binary file.

    Raises:
        OSError: if the disk is full, the folder not writable, or a link leads to it. `path` is then as it was before.
    """
    check_own(path.parent)
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


@contextlib.contextmanager
def new_log(path: Path) -> Iterator[IO[bytes]]:
    """An empty file for what a process says, in the place of an earlier one; its folder is made."""
    make_folder(path.parent)
    # Created, never emptied: the earlier one may be a link.
    remove(path)
    with open(path, "xb") as file:
        yield file


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there; of a link only the link.

    Raises:
        OSError: if a link leads to it, or it cannot be removed.
    """
    check_own(path.parent)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock_at(path: Path, timeout: float = -1) -> filelock.BaseFileLock:
    """The lock that a file is; its folder is made.

    Raises:
        OSError: if it is a link or lies behind one, or its folder cannot be made.
    """
    check_own(path)
    make_folder(path.parent)
    return filelock.FileLock(path, timeout=timeout, poll_interval=0.005)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock that a file is."""
    if not is_file(path):
        return False
    try:
        # Others look by taking it, too, for an instant.
        with lock_at(path, timeout=0.05):
            return False
    except (filelock.Timeout, OSError):
        return True


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


@contextlib.contextmanager
def os_errors_as(what: str) -> Iterator[None]:
    """Turn what the system says while files are written into a sentence.

    Args:
        what: that which then could not be done, such as "write to" a folder.

    Raises:
        RunWriteError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        place = _refusing(error)
        where = f" ({place})" if place and not what.endswith(f" {place}") else ""
        raise RunWriteError(f"Cannot {what}: {error.strerror or error}{where}. {advice(error)}") from error


def _refusing(error: OSError) -> Path | None:
    """The file that the error is about, or its folder if there is none: in a cache that several users share, the
    folder of locks can refuse while that of the run does not."""
    if not isinstance(error.filename, str | os.PathLike):
        return None
    path = Path(error.filename)
    return path if os.path.lexists(path) else path.parent


def advice(error: OSError) -> str:
    """What to do about it, in a sentence."""
    return _ADVICE.get(error.errno, f"Free some space or correct the permissions, or {_ELSEWHERE}.")
