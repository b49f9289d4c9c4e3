"""Read a file of `core.smallest`, the smallest that this project writes. Needs NumPy, and nothing else of the project.

    kernels = read(Path("network.tiny").read_bytes())
    for kernel in kernels[:-1]:
        images = np.maximum(images @ kernel, 0)          # images: float32 (n, pixels), from 0 to 1
    classes = (images @ kernels[-1]).argmax(axis=1)

The file is a head and a stream of bits. The head: "TN", the version, a checksum of all that follows it, the image's
side, the radius of its frequencies, the number of kernels, the units of each, the scale of the outputs. The stream
holds whole numbers, row by row: is it zero, its sign, is it more than 1, than 2, and so on. A range coder (Martin 1979)
spends few bits on what is likely, and how likely each answer is was learnt from the answers before it, by row and by
column. The first kernel is held as the strengths of cosine waves over the image, as in JPEG (Ahmed et al. 1974).
"""

import struct
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

MAGIC = b"TN\1"
HEAD = struct.Struct("<3sIBBBf")
MOST_CELLS = 4_000_000
"""Weights that a file may claim to hold: a damaged one must not fill the memory."""
MOST_SIZE = 1_000
"""The largest whole number: a damaged file must not go on for ever."""
SHARE = 1 << 16
"""What a probability is a part of."""
_WEIGHT, _PRIOR, _LEVELS = 128, 512, 15
_WORD, _WORDS = (1 << 32) - 1, (1 << 64) - 1


def read(file: bytes) -> list[np.ndarray]:
    """The kernels of a smallest file, float32 of shape (inputs, units), hidden layers first, output layer last.

    Raises:
        ValueError: if it is not such a file, or not a whole one.
    """
    if len(file) < HEAD.size or not file.startswith(MAGIC):
        raise ValueError("This is not a smallest file: expected a file that begins with TN and the version 1.")
    _, checksum, side, radius, layers, scale = HEAD.unpack_from(file)
    if zlib.crc32(file[7:]) != checksum:
        raise ValueError("This smallest file is damaged: its checksum does not fit its content. Get the file again.")
    start = HEAD.size + 2 * layers
    if len(file) < start:
        raise ValueError("This smallest file is damaged: its head is not complete. Get the file again.")
    units = struct.unpack_from(f"<{layers}H", file, HEAD.size)
    shapes = list(pairwise((len(frequencies(side, radius)[0]), *units)))
    if not layers or not all(map(all, shapes)) or sum(a * b for a, b in shapes) > MOST_CELLS:
        raise ValueError(f"This smallest file is damaged: expected kernels of 1 to {MOST_CELLS:,} weights in all.")
    bit = RangeDecoder(file[start:]).bit
    return assemble([read_levels(shape, bit) for shape in shapes], side, radius, scale)


def assemble(levels: list[np.ndarray], side: int, radius: int, scale: float) -> list[np.ndarray]:
    """The kernels that whole numbers stand for, as `read` gives them."""
    kernels = [each.astype(np.float32) / np.float32(np.sqrt(len(each))) for each in levels]
    kernels[0] = waves(side, *frequencies(side, radius)) @ kernels[0]
    kernels[-1] = kernels[-1] * np.float32(scale)
    return kernels


def frequencies(side: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The waves that are used, half periods down and across the image: those within the radius, slow ones first."""
    pairs = [(u, v) for u in range(side) for v in range(side) if u * u + v * v < radius * radius]
    pairs.sort(key=lambda pair: (sum(pair), pair))
    return np.array([u for u, _ in pairs]), np.array([v for _, v in pairs])


def waves(side: int, rows: np.ndarray, columns: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """The waves over the pixels, float32 of shape (pixels, waves), faster ones larger, as images hold less of them.

    Args:
        side: of the image.
        rows, columns: of `frequencies`.
        where: what is taken for the pixels' positions, of shape (2, pixels); by default where they are.
    """
    if where is None:
        where = np.indices((side, side)).reshape(2, -1)
    down, across = (
        np.cos(np.pi * (position[:, None] + 0.5) * halves / side) * np.where(halves == 0, 1, np.sqrt(2)) / np.sqrt(side)
        for position, halves in zip(where, (rows, columns), strict=True)
    )
    return (down * across * np.exp(2.8 / side * np.hypot(rows, columns)) / 4).astype(np.float32)


def read_levels(shape: tuple[int, int], bit: Callable[[int], int]) -> np.ndarray:
    """Read whole numbers.

    Args:
        shape: how many there are.
        bit: reads the next answer, 0 or 1, when given how likely a 1 is, as a part of `SHARE`. Only whole numbers are
            used to find this, so that every machine finds the same.
    """
    levels = np.zeros(shape, np.int32)
    every, more = [1, 1], [[1, 1] for _ in range(_LEVELS)]
    columns = [None] * shape[1]
    for i in range(shape[0]):
        row = _as_likely(every)
        for j in range(shape[1]):
            column = columns[j] = columns[j] or _as_likely(every)
            zero, one = row[0] * column[0] * every[1], row[1] * column[1] * every[0]
            if _ask(bit, zero, one, row, column, every):
                sign = 1 - 2 * bit(SHARE // 2)
                size = 1
                while (counts := more[min(size, _LEVELS) - 1]) and _ask(bit, *counts, counts):
                    size += 1
                    if size > MOST_SIZE:
                        raise ValueError(f"This smallest file is damaged: it holds a number above {MOST_SIZE:,}.")
                levels[i, j] = sign * size
    return levels


def _as_likely(counts: list[int]) -> list[int]:
    return [1 + _PRIOR * count // sum(counts) for count in counts]


def _ask(bit: Callable[[int], int], zero: int, one: int, *counts: list[int]) -> int:
    answer = bit(min(max(one * SHARE // (zero + one), 32), SHARE - 32))
    for each in counts:
        each[answer] += _WEIGHT
    return answer


class RangeDecoder:
    """Reads bits that a range coder wrote, 64 bits of state, 32 bits at a time; the end is filled up with zeros."""

    def __init__(self, stream: bytes):
        padded = stream + bytes(8 + -len(stream) % 4)
        self._words = iter(np.frombuffer(padded, "<u4").tolist())
        self._low, self._range = 0, _WORDS
        self._point = next(self._words) << 32 | next(self._words)

    def bit(self, one: int) -> int:
        """The next bit, if a 1 has the probability `one` / `SHARE`."""
        scale = self._range >> 24
        # Neither answer is ever impossible: a 24-bit probability with one part kept for each.
        zero = 1 + (SHARE - one) * ((1 << 24) - 2) // SHARE
        part = ((self._point - self._low) & _WORDS) // scale
        answer = int(part >= zero)
        if answer:
            self._low = (self._low + scale * zero) & _WORDS
        self._range = scale * (((1 << 24) - zero) if answer else zero)
        if self._range <= _WORD:
            self._range <<= 32
            self._low = (self._low << 32) & _WORDS
            self._point = (self._point << 32) & _WORDS | next(self._words, 0)
        return answer


if __name__ == "__main__":
    for each in read(Path(sys.argv[1]).read_bytes()):
        print(each.shape, np.count_nonzero(each), "weights that are not zero")
