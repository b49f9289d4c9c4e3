"""Drawings as a network was taught to see them, and how it reads them the further it is pruned."""

import base64
import zlib
from collections.abc import Iterable
from math import isqrt

import numpy as np
from PIL import Image
from scipy.special import softmax

from core.config import DATASETS, DatasetSpec
from core.evaluation import logits
from core.network import Kernels, Network, as_network

_DIGIT_BOX = 20
"""The side of the box that MNIST fits every digit into."""
_BITMAP_WIDTH = 20
"""How wide a UCI digit is at most, before it is counted: of the 32 columns the outer six are blank on either side."""
_FAINT = 0.1
"""Less ink than this is no part of a drawing: what scanning leaves on the paper."""


def as_dataset(ink: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """A drawing of any size and at any place, made into an image the way its dataset was made.

    MNIST (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition"): the box
    around the ink is scaled with anti-aliasing to fit 20x20 pixels, its aspect ratio kept, and placed in 28x28 with
    its centre of mass at the centre. Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): the longer edge fills the 28
    pixels, and the shorter one is centred. UCI digits (Alpaydin and Kaynak 1998): made a bitmap of 32x32, of which
    the ink in each block of 4x4 is counted, 0 to 16. Their digits are as high as the bitmap and at most 20 pixels wide,
    wider ones squeezed: that is what the dataset's own images show.

    Args:
        ink: of shape (height, width), from 0 (paper) to 1 (ink).
        spec: the dataset.

    Returns:
        float32 of shape (inputs,), in [0, 1] as the images of `core.datasets.Split` are, in as many shades.

    Raises:
        ValueError: for any other shape or range, or if there is no ink.
    """
    ink = _checked(ink)
    inked = ink > _FAINT
    if not inked.any():
        raise ValueError(f"Expected ink above {_FAINT:g} somewhere. Received an empty drawing.")
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    drawn = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if spec == DATASETS["digits"]:
        return _shaded(_centred(_fitted(drawn, _DIGIT_BOX), spec.side), spec)
    if spec == DATASETS["optdigits"]:
        high = isqrt(spec.max_pixel) * spec.side
        wide = min(_BITMAP_WIDTH, max(1, round(high * drawn.shape[1] / drawn.shape[0])))
        bitmap = _framed(_resized(drawn, high, wide), high) >= 0.5
        return _shaded(_reduced(bitmap.astype(np.float32), spec.side), spec)
    return _shaded(_framed(_fitted(drawn, spec.side), spec.side), spec)


def in_frame(ink: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """What was drawn over an image of the dataset: that is where it belongs already, so it is only reduced.

    Args:
        ink: of shape (n, n), from 0 (paper) to 1 (ink), n a multiple of the dataset's `side`.
        spec: the dataset.

    Returns:
        float32 of shape (inputs,): the mean of each block, in the shades of the dataset.

    Raises:
        ValueError: for any other shape or range.
    """
    ink = _checked(ink)
    if ink.shape[0] != ink.shape[1] or ink.shape[0] % spec.side:
        raise ValueError(f"Expected a square of a multiple of {spec.side} pixels. Received shape: {ink.shape}.")
    return _shaded(_reduced(ink, spec.side), spec)


def to_text(image: np.ndarray, spec: DatasetSpec) -> str:
    """An image for an address: its shades, a byte a pixel, compressed, in letters that an address can have.

    Args:
        image: float32 of shape (inputs,), as `as_dataset` returns it.
        spec: the dataset.
    """
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    packed = compressor.compress(_shades(image, spec).tobytes()) + compressor.flush()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_text(text: str, spec: DatasetSpec) -> np.ndarray:
    """The image that `to_text` wrote.

    Returns:
        float32 of shape (inputs,).

    Raises:
        ValueError: for any text that is none, or of an image of another size.
    """
    expected = f"Expected {spec.side} × {spec.side} pixels, compressed."
    # Compressed, no image grows by more than a few bytes.
    if len(text) > 2 * spec.inputs:
        raise ValueError(f"{expected} Received: {len(text)} letters.")
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        pixels = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, spec.inputs + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{expected} Received: {text[:20]}…") from error
    if len(pixels) != spec.inputs or max(pixels) > spec.max_pixel:
        raise ValueError(f"{expected} Received: {len(pixels)} pixels.")
    return _image_of(np.frombuffer(pixels, np.uint8), spec)


def read(networks: Iterable[Network | Kernels], image: np.ndarray) -> np.ndarray:
    """How each of some networks of the same shape reads one image, float32 of shape (inputs,).

    Returns:
        The softmax of `core.evaluation.logits`, float64 of shape (networks, classes); each row adds up to 1.

    Raises:
        ValueError: if the image does not fit the networks.

    Example:
        `read([kernels, prune(kernels, "unit", 0.8)], test.images[0])`
    """
    outputs = []
    for network in networks:
        inputs = as_network(network).inputs
        if np.shape(image) != (inputs,):
            raise ValueError(f"Expected one image of shape ({inputs},). Received shape: {np.shape(image)}.")
        outputs.append(logits(network, np.asarray(image)[None])[0])
    return softmax(np.array(outputs, np.float64), axis=1)


def _checked(ink: np.ndarray) -> np.ndarray:
    ink = np.asarray(ink, np.float32)
    if ink.ndim != 2 or not ink.size:
        raise ValueError(f"Expected ink of shape (height, width). Received shape: {ink.shape}.")
    if not (ink.min() >= 0 and ink.max() <= 1):
        raise ValueError(f"Expected ink from 0 to 1. Received: {ink.min():g} to {ink.max():g}.")
    return ink


def _shades(image: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    return np.rint(image * spec.max_pixel).astype(np.uint8)


def _image_of(shades: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    return shades.astype(np.float32) / np.float32(spec.max_pixel)


def _shaded(square: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """In the shades of the dataset, so that an address can hold it as it is."""
    return _image_of(_shades(square.ravel(), spec), spec)


def _fitted(drawn: np.ndarray, box: int) -> np.ndarray:
    """Scaled so that the longer edge is that of the box."""
    return _resized(drawn, *(max(1, round(box * edge / max(drawn.shape))) for edge in drawn.shape))


def _resized(drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scaled, each pixel the mean of what it covers."""
    resized = Image.fromarray(drawn).resize((width, height), Image.Resampling.BOX)
    return np.clip(np.asarray(resized), 0, 1)


def _framed(drawn: np.ndarray, side: int) -> np.ndarray:
    """Put into the middle of a square."""
    return _placed(drawn, side, *((side - edge) // 2 for edge in drawn.shape))


def _centred(drawn: np.ndarray, side: int) -> np.ndarray:
    """Put into a square so that the centre of mass is at its centre, to the nearest whole pixel.

    MNIST's centre is the pixel after the middle: its test images have their mean at row and column 14, counted from 0.
    """
    top, left = (
        round(side / 2 - float(np.average(np.arange(edge), weights=drawn.sum(axis=1 - axis))))
        for axis, edge in enumerate(drawn.shape)
    )
    # A drawing with all its mass at one end stays whole rather than centred.
    height, width = drawn.shape
    return _placed(drawn, side, min(max(top, 0), side - height), min(max(left, 0), side - width))


def _placed(drawn: np.ndarray, side: int, top: int, left: int) -> np.ndarray:
    square = np.zeros((side, side), np.float32)
    square[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return square


def _reduced(square: np.ndarray, side: int) -> np.ndarray:
    """The mean of each block."""
    block = len(square) // side
    return square.reshape(side, block, side, block).mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
