"""The ink of a photograph: what is drawn on its paper, without the shadows that lie on it."""

import numpy as np
from scipy import ndimage

_WINDOW = 1 / 4
"""How much of a picture's longer side a line may be wide. What is wider, as a shadow is, belongs to the paper."""
_GAP = 1 / 20
"""How far apart, of the longer side, the parts of one shape may be."""
_MARGIN = 1 / 40
"""How much of the longer side along the border shows paper, where a shape fills the picture."""
_DARKEST = 0.1
"""Paper in less light shows no ink."""
_CONTRAST = 0.1
"""What is darker by less than this is no ink, but the grain of the paper."""
_INSIDE = 0.1
"""A shape that touches the border counts only where less than this part of the ink is elsewhere."""


def ink_of(picture: np.ndarray, shades: bool, small: bool) -> np.ndarray | None:
    """What stands out from the paper, dark on light or light on dark.

    The paper is estimated at each place by itself, so a shadow over part of it is paper, too. Of several shapes the one
    with most ink is taken, with what is near it; one that touches the border only if there is no other.

    Args:
        picture: how light each pixel is, uint8 of shape (height, width).
        shades: whether shades of ink are kept, as for clothes, which fill a picture; otherwise only lines count.
        small: whether the picture has so few pixels that it is an image of a dataset, whose paper has one shade.

    Returns:
        float32 of the same shape, from 0 (paper) to 1 (ink), or None if nothing stands out.
    """
    ground = np.median(picture[_border(picture.shape, 1)])
    if ground - picture.min() < picture.max() - ground:
        picture, ground = 255 - picture, 255 - ground
    light, ground = picture.astype(np.float32) / 255, np.float32(ground / 255)
    if small:
        paper = ground
    elif shades:
        paper = _surface(light, ground)
    else:
        light = ndimage.gaussian_filter(light, 1)
        # It leaves nothing that is dark and narrower than the window.
        paper = ndimage.grey_closing(light, size=_pixels(_WINDOW, light), mode="nearest")
    ink = np.clip(paper - light, 0, 1)
    if ink.max() < _CONTRAST:
        return None
    # In half the light a line is half as far from its paper.
    ink /= np.maximum(paper, _DARKEST)
    if not small:
        ink *= _largest_shape(ink)
    low, high = (0.08, 1) if shades else (0.3, 0.7)
    return np.clip((ink / ink.max() - low) / (high - low), 0, 1)


def _surface(light: np.ndarray, ground: float) -> np.ndarray:
    """Paper that is seen along the border only: a surface of degree two through what is as light as paper there."""
    y, x = np.indices(light.shape, np.float32) / max(light.shape)
    terms = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1)
    border = _border(light.shape, _pixels(_MARGIN, light))
    paper = np.full_like(light, ground)
    for tolerance in (0.25, 0.1, 0.05):
        seen = border & (np.abs(light - paper) < tolerance)
        paper = terms @ np.linalg.lstsq(terms[seen], light[seen])[0]
    return paper


def _largest_shape(ink: np.ndarray) -> np.ndarray:
    """Where the shape with most ink is, of shape (height, width)."""
    marked = ink > max(0.3 * ink.max(), _CONTRAST)
    at_border = ndimage.binary_propagation(marked & _border(ink.shape, 1), mask=marked)
    if ink[marked & ~at_border].sum() < _INSIDE * ink[marked].sum():
        at_border[:] = False
    marked &= ~at_border
    shapes, count = ndimage.label(ndimage.binary_dilation(marked, iterations=_pixels(_GAP / 2, ink)))
    weights = ndimage.sum_labels(ink * marked, shapes, np.arange(count + 1))
    return (shapes == np.argmax(weights)) & ~at_border


def _border(shape: tuple[int, int], width: int) -> np.ndarray:
    """Which pixels are at most so far from the edge."""
    border = np.ones(shape, bool)
    border[width:-width, width:-width] = False
    return border


def _pixels(part: float, picture: np.ndarray) -> int:
    return max(1, round(part * max(picture.shape)))
