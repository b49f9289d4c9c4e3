"""Drawings become images as their dataset was made, and are read as the project prunes and scores."""

import numpy as np
import pytest

from core.analysis.drawing import as_dataset, from_text, in_frame, read, to_text
from core.analysis.photographs import ink_of
from core.config import DATASETS
from core.datasets import load_dataset
from core.evaluation import logits, predict
from core.pruning import METHODS, prune
from core.sweep import STOPS

DIGITS, FASHION, UCI = (DATASETS[name] for name in ("digits", "fashion", "optdigits"))


def seven(size: int, scale: float = 1.0, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """A 7 on a square paper, scaled and moved by fractions of its side."""
    y, x = np.mgrid[:size, :size] / size

    def line(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
        (from_x, from_y), (to_x, to_y) = (
            (0.3 + scale * (along - 0.3) + right, 0.2 + scale * (across - 0.2) + down) for along, across in (start, end)
        )
        length = (to_x - from_x) ** 2 + (to_y - from_y) ** 2
        at = np.clip(((x - from_x) * (to_x - from_x) + (y - from_y) * (to_y - from_y)) / length, 0, 1)
        distance = np.hypot(x - from_x - at * (to_x - from_x), y - from_y - at * (to_y - from_y))
        return np.clip((0.05 * scale - distance) * size + 0.5, 0, 1)

    return np.maximum(line((0.3, 0.2), (0.7, 0.2)), line((0.7, 0.2), (0.45, 0.8)))


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    return np.array([np.average(np.arange(len(image)), weights=image.sum(axis=axis)) for axis in (1, 0)])


def extent(image: np.ndarray) -> list[int]:
    return [int(np.ptp(np.flatnonzero(image.any(axis=axis)))) + 1 for axis in (1, 0)]


@pytest.mark.parametrize("spec", [DIGITS, FASHION, UCI], ids=lambda spec: spec.title)
@pytest.mark.parametrize(
    "changed",
    [
        {"right": 0.2, "down": 0.1},
        {"right": -0.1, "down": -0.1},
        {"scale": 0.5},
        {"scale": 0.4, "right": 0.4, "down": 0.5},
        {"scale": 1.2},
    ],
    ids=str,
)
def test_where_and_how_large_it_is_drawn_does_not_matter(spec, changed):
    image, other = as_dataset(seven(280), spec), as_dataset(seven(280, **changed), spec)
    assert image.shape == other.shape == (spec.inputs,)
    assert image.dtype == np.float32
    assert min(image.min(), other.min()) >= 0
    assert max(image.max(), other.max()) <= 1
    # Images are placed by whole pixels, so the same drawing may end up a pixel further.
    moved = [
        np.roll(other.reshape(spec.side, spec.side), (down, right), (0, 1)).ravel()
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    assert min(np.abs(image - each).mean() for each in moved) < 0.02
    assert max(np.corrcoef(image, each)[0, 1] for each in moved) > 0.97


def test_a_digit_fits_the_box_of_mnist_with_its_mass_at_the_centre():
    ellipse = np.hypot(*((np.mgrid[:280, :280] - 140) / np.array([110, 55])[:, None, None])) < 1
    image = as_dataset(ellipse.astype(float), DIGITS).reshape(28, 28)
    assert extent(image) == [20, 10]
    assert np.abs(centre_of_mass(image) - 14).max() <= 0.5
    lopsided = np.vstack([ellipse[:140], np.zeros_like(ellipse[:140])]).astype(float)
    assert np.abs(centre_of_mass(as_dataset(lopsided, DIGITS).reshape(28, 28)) - 14).max() <= 0.5


def test_what_has_its_mass_at_one_end_stays_whole():
    hammer = np.zeros((100, 100))
    hammer[:8] = 1
    hammer[:, 50] = 1
    assert extent(as_dataset(hammer, DIGITS).reshape(28, 28)) == [20, 20]


def test_clothes_fill_their_frame():
    dress = np.zeros((280, 280))
    dress[40:240, 100:150] = 0.6
    image = as_dataset(dress, FASHION).reshape(28, 28)
    assert extent(image) == [28, 7]
    assert image.max() == pytest.approx(0.6)
    assert image[0, 10:17].min() > 0


def test_uci_digits_are_counts_of_blocks():
    image = as_dataset(seven(280), UCI)
    counts = 16 * image
    assert np.array_equal(counts, counts.round())
    assert counts.max() <= 16
    square = as_dataset(np.ones((50, 50)), UCI).reshape(8, 8)
    assert np.array_equal(square, np.tile([0, 0.5, 1, 1, 1, 1, 0.5, 0], (8, 1)))
    line = as_dataset(np.ones((80, 10)), UCI).reshape(8, 8)
    assert np.array_equal(line, np.tile([0, 0, 0, 0.5, 0.5, 0, 0, 0], (8, 1)))


@pytest.mark.parametrize("spec", [DIGITS, FASHION, UCI], ids=lambda spec: spec.title)
@pytest.mark.parametrize("shape", [(400, 1), (1, 400), (1, 1)])
def test_the_thinnest_line_is_a_drawing(spec, shape):
    image = as_dataset(np.ones(shape), spec).reshape(spec.side, spec.side)
    assert image.max() > 0
    long = max(extent(image))
    assert long == (20 if spec == DIGITS else spec.side)
    if spec != UCI:
        assert min(extent(image)) == (1 if shape != (1, 1) else long)
        assert image.max() == 1
    # What scanning leaves on the paper is no part of it.
    dirty = np.full((shape[0] + 40, shape[1] + 40), 0.1, np.float32)
    dirty[10:-30, 25:-15] = 1
    assert np.array_equal(as_dataset(dirty, spec).reshape(image.shape), image)


def test_mnist_is_made_again_from_its_own_images(mnist, monkeypatch, cache):
    monkeypatch.setenv("NETWORK_PRUNING_DATA", str(mnist))
    images = load_dataset("digits").test.images[:300]
    again = [as_dataset(np.kron(image.reshape(28, 28), np.ones((10, 10))), DIGITS) for image in images]
    # All but those that have the faintest of ink at an edge of their box.
    assert np.mean(np.abs(again - images).mean(axis=1) < 0.001) > 0.95


@pytest.mark.parametrize("spec", [DIGITS, UCI], ids=lambda spec: spec.title)
def test_what_is_drawn_over_an_image_of_the_dataset_stays_in_place(spec):
    shades = np.random.default_rng(0).integers(0, spec.max_pixel + 1, (spec.side, spec.side))
    image = shades.astype(np.float32) / np.float32(spec.max_pixel)
    block = 280 // spec.side
    assert np.array_equal(in_frame(np.kron(image, np.ones((block, block))), spec), image.ravel())


@pytest.mark.parametrize("spec", [DIGITS, FASHION, UCI], ids=lambda spec: spec.title)
def test_text_gives_a_drawing_back(spec):
    image = as_dataset(seven(280), spec)
    text = to_text(image, spec)
    np.testing.assert_array_equal(from_text(text, spec), image)
    assert len(text) < 500
    noise = np.random.default_rng(0).integers(0, spec.max_pixel + 1, spec.inputs).astype(np.float32)
    np.testing.assert_array_equal(from_text(to_text(noise / spec.max_pixel, spec), spec), noise / spec.max_pixel)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "é",
        "A" * 5_000,
        to_text(np.ones(64, np.float32), UCI),
        to_text(np.ones(785, np.float32), DIGITS),
        to_text(np.zeros(10**7, np.float32), DIGITS)[:1_500],
    ],
    ids=range(7),
)
def test_text_of_no_drawing_is_refused(text):
    with pytest.raises(ValueError, match="Expected 28 × 28 pixels, compressed"):
        from_text(text, DIGITS)


def test_text_with_too_dark_pixels_is_refused():
    with pytest.raises(ValueError, match="Expected 8 × 8 pixels"):
        from_text(to_text(np.full(64, 17 / 16, np.float32), UCI), UCI)


@pytest.mark.parametrize("ink", [np.zeros((280, 280)), np.full((30, 30), 0.01)])
def test_empty_paper_is_refused(ink):
    with pytest.raises(ValueError, match="Expected ink above"):
        as_dataset(ink, DIGITS)


@pytest.mark.parametrize("make", [as_dataset, in_frame])
@pytest.mark.parametrize("ink", [np.zeros(9), np.zeros((3, 3, 3)), np.zeros((0, 4)), np.full((4, 4), 2.0), [[np.nan]]])
def test_what_is_no_ink_is_refused(make, ink):
    with pytest.raises(ValueError, match=r"Expected ink.*Received"):
        make(ink, DIGITS)


@pytest.mark.parametrize("shape", [(28, 56), (30, 30)])
def test_a_frame_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match="multiple of 28"):
        in_frame(np.zeros(shape), DIGITS)


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_the_softmax_of_what_pruning_leaves(kernels, method):
    image = np.random.default_rng(1).random(20, np.float32)
    rows = read((prune(kernels, method, k) for k in STOPS), image)
    assert rows.shape == (len(STOPS), 10)
    assert rows.dtype == np.float64
    assert rows.sum(axis=1) == pytest.approx(1)
    assert rows[0].argmax() == predict(kernels, image[None])[0]
    for stop in (0, 30, 77, 99, 101):
        outputs = logits(prune(kernels, method, STOPS[stop]), image[None])[0].astype(np.float64)
        assert rows[stop] == pytest.approx(np.exp(outputs) / np.exp(outputs).sum(), abs=1e-12)
    assert np.array_equal(rows[-1], np.full(10, 0.1))


def test_large_outputs_do_not_overflow(kernels):
    rows = read([[1000 * kernel for kernel in prune(kernels, "weight", k)] for k in (0, 0.5)], np.ones(20, np.float32))
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("image", [np.zeros(21, np.float32), np.zeros((1, 20), np.float32)])
def test_an_image_of_another_size_is_refused(kernels, image):
    with pytest.raises(ValueError, match=r"one image of shape \(20,\)"):
        read([kernels], image)


def photograph(ink: np.ndarray, corner: float, softness: float) -> np.ndarray:
    """Ink on grainy paper in uneven light; a corner has a third of the light, behind a hard or a soft edge."""
    y, x = np.mgrid[: len(ink), : len(ink)] / len(ink)
    shadow = np.clip((corner - x - y) / softness, 0, 1)
    light = 0.8 * (1 - 0.2 * x) * (1 - 0.65 * shadow) * (1 - 0.75 * ink)
    grain = np.random.default_rng(0).normal(0, 0.02, ink.shape)
    return np.rint(255 * np.clip(light + grain, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("shades", [False, True], ids=["lines", "shades"])
@pytest.mark.parametrize(("corner", "softness"), [(0.0, 0.01), (0.35, 0.01), (0.4, 0.1)])
def test_a_shadow_is_no_ink(shades, corner, softness):
    drawn = seven(280, 0.8, 0.05, 0.1)
    if shades:
        drawn = np.zeros((280, 280))
        drawn[100:240, 90:200] = 0.8
    picture = photograph(drawn, corner, softness)
    for light in (picture, 255 - picture):
        ink = ink_of(light, shades, small=False)
        assert ink.dtype == np.float32
        assert ink[drawn > 0.7].min() > 0.5
        assert ink[drawn == 0].max() < 0.5


def test_plain_paper_has_no_ink():
    paper = photograph(np.zeros((280, 280)), 0, 0.01)
    assert ink_of(paper, shades=False, small=False) is None
    assert ink_of(np.full((1, 280), 200, np.uint8), shades=True, small=False) is None


def test_speck_beside_a_drawing_is_left_out():
    drawn = seven(280, 0.8, 0.05, 0.1)
    speck = np.zeros_like(drawn)
    speck[20:26, 20:26] = 1
    ink = ink_of(photograph(np.maximum(drawn, speck), 0, 0.01), shades=False, small=False)
    assert ink[drawn > 0.7].min() > 0.5
    assert ink[drawn == 0].max() < 0.5


def test_image_of_a_dataset_keeps_its_pixels(mnist):
    image = load_dataset("digits").test.images[0].reshape(28, 28)
    large = np.rint(255 * (1 - np.kron(image, np.ones((10, 10))))).astype(np.uint8)
    ink = ink_of(large, shades=True, small=True)
    np.testing.assert_allclose(ink, np.clip((np.kron(image, np.ones((10, 10))) - 0.08) / 0.92, 0, 1), atol=0.005)
