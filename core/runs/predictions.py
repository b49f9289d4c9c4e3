"""The predicted class of every test image at every sparsity scored, as a file of a run."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.files import write_atomic

Predictions = dict[str, np.ndarray]
"""By the key of a criterion and k (`core.sweep.Criterion.key`): uint8 of shape (test images,)."""


def read_predictions(path: Path) -> Predictions:
    """What is known; nothing if there is no such file, or it is damaged: then it is scored again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys, rows = arrays["keys"], arrays["predictions"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
    if keys.dtype.kind != "U" or rows.dtype != np.uint8 or rows.ndim != 2 or keys.shape != rows.shape[:1]:
        return {}
    return dict(zip(keys.tolist(), rows, strict=True))


def write_predictions(path: Path, predictions: Mapping[str, np.ndarray]) -> None:
    """Write all of them; neighbouring sparsities differ in few images, so compressed they take little."""
    keys = sorted(predictions)
    rows = np.array([predictions[key] for key in keys], np.uint8)
    write_atomic(path, lambda file: np.savez_compressed(file, keys=np.array(keys), predictions=rows))
