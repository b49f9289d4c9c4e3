"""What a wall of test images needs: all images as one picture, and their classes."""

import gzip
import io
import math

import numpy as np
from PIL import Image

from core.datasets import Split
from core.runs import Predictions


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


def packed(predictions: Predictions) -> bytes:
    """Predictions by the text of k, compressed by gzip: a line with all the texts, then a byte an image and k."""
    # Neighbouring stops differ in few images, so the fastest compression is enough.
    rows = b"".join(row.tobytes() for row in predictions.values())
    return gzip.compress(",".join(predictions).encode() + b"\n" + rows, compresslevel=1)
