"""The predicted class of every test image at every sparsity scored, as a file of a run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.arrays import DAMAGED, open_arrays
from core.files import write_atomic
from core.runs.formats import MOST_ROWS

Predictions = dict[str, np.ndarray]
"""By the key of a criterion and k (`core.sweep.Criterion.key`): uint8 of shape (test images,)."""
_MOST_KEY = 4 * 100
"""Bytes of a key, of four a character."""


def read_predictions(path: Path, images: int) -> Predictions:
    """What is known; nothing if there is no such file, or it is damaged: then it is scored again.

    Args:
        images: how many test images there are; a file that is larger than these can make it is damaged.
    """
    try:
        arrays = open_arrays(path, MOST_ROWS * (images + _MOST_KEY), 2)
        keys, rows = arrays["keys"], arrays["predictions"]
    except DAMAGED:
        return {}
    if keys.dtype.kind != "U" or rows.dtype != np.uint8 or rows.ndim != 2 or keys.shape != rows.shape[:1]:
        return {}
    return dict(zip(keys.tolist(), rows, strict=True)) if rows.shape[1] == images else {}


def write_predictions(path: Path, predictions: Mapping[str, np.ndarray]) -> None:
    """Write all of them; neighbouring sparsities differ in few images, so compressed they take little."""
    keys = sorted(predictions)
    rows = np.array([predictions[key] for key in keys], np.uint8)
    write_atomic(path, lambda file: np.savez_compressed(file, keys=np.array(keys), predictions=rows))
