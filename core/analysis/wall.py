"""What a wall of test images needs: all images as one picture, and their classes."""

import gzip
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.datasets import Split
from core.pruning import Sparsity
from core.runs import Predictions
from core.sweep import STOPS, Criterion


def columns(images: int) -> int:
    """How many images stand in a row of the picture."""
    return math.ceil(math.sqrt(images))


def picture(test: Split, side: int) -> bytes:
    """All test images in one PNG, dark on white, in rows of `columns` and in the order of the dataset."""
    count, across = len(test.labels), columns(len(test.labels))
    tiles = np.zeros((math.ceil(count / across) * across, side, side), np.float32)
    tiles[:count] = test.images.reshape(count, side, side)
    rows = tiles.reshape(-1, across, side, side).transpose(0, 2, 1, 3).reshape(-1, across * side)
    file = io.BytesIO()
    Image.fromarray(np.round(255 * (1 - rows)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def known_stops(predictions: Predictions, criterion: Criterion, stops: Sequence[float] = STOPS) -> list[float]:
    """The positions of the slider whose predictions are known."""
    return [k for k in stops if criterion.key(k) in predictions]


def packed(predictions: Predictions, criterion: Criterion, stops: Sequence[float] = STOPS) -> bytes:
    """The predictions at the known stops, compressed by gzip: a line with their keys, then a byte an image and stop."""
    stops = known_stops(predictions, criterion, stops)
    header = ",".join(str(Sparsity(k)) for k in stops).encode() + b"\n"
    # Neighbouring stops differ in few images, so the fastest compression is enough.
    return gzip.compress(header + b"".join(predictions[criterion.key(k)].tobytes() for k in stops), compresslevel=1)
