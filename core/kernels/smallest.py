"""The smallest file: a network of small whole numbers, written by a range coder."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import constriction
import numpy as np

from core.kernels import decoder

DECODER = Path(decoder.__file__)
"""The program that reads such files without this project."""
SMALLEST_BYTES, LARGEST_BYTES = 400, 65_536
"""The range of sizes that can be asked for."""
EPOCHS = 120
"""How long one is trained by default."""


@dataclass(frozen=True)
class SmallestNetwork:
    """A network whose weights are whole numbers, the first kernel's those of waves over the image.

    Attributes:
        levels: int32 of shape (waves, units), (units, units), …, (units, classes).
        side: pixels on a side of the image.
        radius: up to which frequency there are waves; see `core.kernels.decoder.frequencies`.
        scale: what the outputs are multiplied by.
    """

    levels: Sequence[np.ndarray]
    side: int
    radius: int
    scale: float

    @property
    def weights(self) -> int:
        """How many of the whole numbers are not zero."""
        return sum(int(np.count_nonzero(each)) for each in self.levels)

    @property
    def kernels(self) -> list[np.ndarray]:
        """As `decode` gives them, float32 of shape (inputs, units), hidden layers first, output layer last."""
        return decoder.assemble(self.levels, self.side, self.radius, self.scale)


def encode(network: SmallestNetwork) -> bytes:
    """The file of a network, which `decode` and the program `DECODER` read.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    inputs = len(decoder.frequencies(network.side, network.radius)[0])
    for level in network.levels:
        if level.ndim != 2 or len(level) != inputs:
            raise ValueError(f"Expected whole numbers of shape ({inputs}, units). Received: {level.shape}.")
        inputs = level.shape[1]
    answers, likely = [], []
    for levels in network.levels:
        known = _answers(levels)

        def bit(one: int, known: Iterator[int] = known) -> int:
            likely.append(one)
            answers.append(next(known))
            return answers[-1]

        # The reader is what knows how likely each answer is.
        decoder.read_levels(levels.shape, bit)
    coder = constriction.stream.queue.RangeEncoder()
    probabilities = np.array(likely, np.float64) / decoder.SHARE
    coder.encode(np.array(answers, np.int32), constriction.stream.model.Bernoulli(perfect=False), probabilities)
    stream = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
    units = [each.shape[1] for each in network.levels]
    head = struct.pack("<BBBf", network.side, network.radius, len(units), network.scale)
    body = head + struct.pack(f"<{len(units)}H", *units) + stream
    return decoder.MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def decode(file: bytes) -> list[np.ndarray]:
    """The kernels of a file, float32 of shape (inputs, units), hidden layers first, output layer last.

    Raises:
        ValueError: if it is not such a file, or not a whole one.

    Example:
        `evaluate(decode(path.read_bytes()), test.images, test.labels).accuracy`
    """
    return decoder.read(file)


def _answers(levels: np.ndarray) -> Iterator[int]:
    for level in levels.ravel().tolist():
        yield int(level != 0)
        if level:
            yield int(level < 0)
            yield from [1] * (abs(level) - 1)
            yield 0


def costs(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """About what each whole number costs in the file, in bits, if the others stay as they are.

    As the coder does, it takes how likely a number is not zero from the others in its row and column.

    Returns:
        What a 0 costs and what a 1 or -1 costs, float32 of the shape of the numbers, and what each further step costs.
    """
    nonzero = levels != 0
    rows, columns = nonzero.sum(1) + 0.4, nonzero.sum(0) + 0.4
    part = (rows.sum() / nonzero.size).clip(1e-4, 1 - 1e-4)
    odds = _log_odds(rows / nonzero.shape[1])[:, None] + _log_odds(columns / nonzero.shape[0]) - _log_odds(part)
    likely = (1 / (1 + np.exp(-odds))).clip(1e-4, 1 - 1e-4)
    sizes = np.abs(levels[nonzero])
    more = (sizes.sum() - len(sizes) + 0.5) / (sizes.sum() + 1)
    zero, one = -np.log2(1 - likely), 1 - np.log2(likely) - np.log2(1 - more)
    return zero.astype(np.float32), one.astype(np.float32), float(-np.log2(more))


def _log_odds(part: np.ndarray) -> np.ndarray:
    part = np.clip(part, 1e-4, 1 - 1e-4)
    return np.log(part / (1 - part))
