"""Arrays in `.npz` files that somebody else may have made: how large they are is known before any is read."""

import contextlib
import math
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from core.files import open_own

DAMAGED = (OSError, KeyError, ValueError)
"""What opening or reading one raises, if it is missing, larger than it may be, or damaged."""
_ROOM = 2_000
"""Bytes of a file, beside those of an array: its names, and what the array says of itself."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_PARSER = threading.Lock()
"""Taken while NumPy reads a header, which is an expression of Python. Before 3.11.8 and 3.12.2 Python fails with a
SystemError where two threads parse at a time (python/cpython#106905), and a sound file would be called damaged."""


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of an open `.npz` file, each read when it is asked for. Nothing pickled is ever loaded.

    Raises:
        ValueError: if the file is damaged, or its arrays have more than `most` bytes together.
        KeyError: for a name that it does not hold.
    """

    def __init__(self, file: BinaryIO, most: int):
        with damaged():
            self._archive = zipfile.ZipFile(file)
            members = self._archive.infolist()
            size = sum(info.file_size for info in members)
            if size > most:
                raise ValueError(f"its arrays have {size:,} bytes; expected at most {most:,}")
            # Other kinds of compression take as much memory as the file says.
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
                raise ValueError("it is compressed in an unknown way")
        self._members = {info.filename.removesuffix(".npy"): info for info in members}

    def __getitem__(self, name: str) -> np.ndarray:
        self.kind(name)
        with damaged(), _PARSER, self._archive.open(self._members[name]) as member:
            return npy.read_array(member, allow_pickle=False)

    def kind(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type of an array, which is not read.

        What it says of itself is held against what is there: NumPy would make room for all of it before it reads.
        """
        info = self._members[name]
        with damaged(), _PARSER, self._archive.open(info) as member:
            shape, _, kind = _HEADERS[npy.read_magic(member)](member)
            if kind.hasobject or not kind.itemsize:
                raise ValueError(f"array {name} does not hold numbers or text")
            if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != info.file_size - member.tell():
                raise ValueError(f"array {name} says that its shape is {shape}, and has {info.file_size:,} bytes")
            return shape, kind

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def open_arrays(path: Path, most: int, count: int) -> Arrays:
    """The arrays of a file of a cache. The file is open as long as they are.

    Args:
        most: bytes that all of them may have together.
        count: how many there may be.

    Raises:
        OSError, ValueError: see `DAMAGED`.
    """
    most += count * _ROOM
    file = open_own(path)
    try:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"it is larger than {most:,} bytes")
        return Arrays(file, most)
    except ValueError:
        file.close()
        raise


@contextlib.contextmanager
def damaged() -> Iterator[None]:
    """As ValueError, whatever a damaged file makes zipfile, zlib and NumPy raise: the list is not documented."""
    try:
        yield
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from None
