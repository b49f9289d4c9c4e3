"""Whole numbers, most of them zero, as the stream of a range coder (Martin 1979, "Range Encoding").

How likely a number is not zero is taken from how many in its row and in its column are not; which it then is, from how
often each occurs in the whole kernel. These counts are part of what is written, so that the reader finds the same.
"""

import constriction
import numpy as np

_MODEL = constriction.stream.model.Bernoulli(perfect=False)
Coded = dict[str, np.ndarray]


def encode(levels: np.ndarray) -> Coded:
    """What stands for a kernel of whole numbers.

    Args:
        levels: int8 of shape (inputs, units).

    Returns:
        counts: how many in each row, then in each column, are not zero, then how often -128, …, 127 occur, 0 not
        counted; of shape (inputs + units + 256,). stream: uint32.
    """
    nonzero = levels != 0
    values = levels[nonzero].astype(np.int32) + 128
    rows, columns, occurring = nonzero.sum(axis=1), nonzero.sum(axis=0), np.bincount(values, minlength=256)
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(nonzero.ravel().astype(np.int32), _MODEL, _likely(rows, columns))
    if len(values):
        coder.encode(values, _values(occurring))
    return {"counts": np.concatenate([rows, columns, occurring]), "stream": coder.get_compressed()}


def decode(counts: np.ndarray, stream: np.ndarray, units: int) -> np.ndarray:
    """The inverse of `encode`.

    Raises:
        ValueError: if the numbers that are read are not those that were counted.
    """
    counts = counts.astype(np.int64)
    inputs = len(counts) - units - 256
    if inputs < 0 or counts.min() < 0:
        raise ValueError("its counts are not those of a kernel")
    rows, columns, occurring = np.split(counts, [inputs, inputs + units])
    if not rows.sum() == columns.sum() == occurring.sum():
        raise ValueError("its counts do not fit each other")
    if rows.max(initial=0) > units or columns.max(initial=0) > inputs:
        raise ValueError("a count is larger than its row or column")
    coder = constriction.stream.queue.RangeDecoder(stream.astype(np.uint32))
    nonzero = coder.decode(_MODEL, _likely(rows, columns)).reshape(inputs, units).astype(bool)
    if (nonzero.sum(axis=1) != rows).any() or (nonzero.sum(axis=0) != columns).any():
        raise ValueError("its stream does not fit its counts")
    values = coder.decode(_values(occurring), int(rows.sum())) if rows.any() else np.zeros(0, np.int32)
    if (np.bincount(values, minlength=256) != occurring).any():
        raise ValueError("its stream does not fit its counts")
    levels = np.zeros(nonzero.shape, np.int8)
    levels[nonzero] = values - 128
    return levels


def _likely(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """How likely each number is not zero: the odds of its row times those of its column over those of all, row by row.

    Sums, products and ratios only, which every machine rounds alike: the reader must find the same to the last bit.
    """
    whole = len(rows) * len(columns)
    in_rows, in_columns, in_all = _odds(rows, len(columns)), _odds(columns, len(rows)), _odds(rows.sum(), whole)
    odds = in_rows[:, None] * in_columns / in_all
    return (odds / (1 + odds)).clip(1e-6, 1 - 1e-6).ravel()


def _odds(counts: np.ndarray, of: int) -> np.ndarray:
    return (counts + 0.5) / (of - counts + 0.5)


def _values(occurring: np.ndarray) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(occurring / occurring.sum(), perfect=False)
