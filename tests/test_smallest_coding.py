"""The tiny file: what is written is read back exactly, by a program that needs only NumPy, and damage is refused."""

import base64
import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from core.evaluation import evaluate
from core.exports.qr import MOST_BYTES, qr_code
from core.kernels import decoder, smallest

WAVES = len(decoder.frequencies(8, 4)[0])


def network(levels):
    return smallest.SmallestNetwork(levels, 8, 4, 0.5)


def random_network(seed=0):
    random = np.random.default_rng(seed)
    shapes = ((WAVES, 30), (30, 12), (12, 10))
    return network([np.rint(random.laplace(size=shape)).astype(np.int32) for shape in shapes])


@pytest.fixture(scope="module")
def file():
    return smallest.encode(random_network())


def restored(kernels):
    """The whole numbers behind decoded kernels."""
    rows, columns = decoder.frequencies(8, 4)
    first = np.linalg.lstsq(decoder.waves(8, rows, columns), kernels[0], rcond=None)[0]
    levels = [first * np.sqrt(len(first)), *(kernel * np.sqrt(len(kernel)) for kernel in kernels[1:])]
    return [*levels[:-1], levels[-1] / 0.5]


@given(
    arrays.arrays(np.int32, st.tuples(st.just(WAVES), st.integers(1, 12)), elements=st.integers(-40, 40)),
    st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_every_number_is_read_back(first, units):
    second = np.resize(first[:2], (first.shape[1], units))
    kernels = smallest.decode(smallest.encode(network([first, second])))
    for whole, read in zip(network([first, second]).kernels, kernels, strict=True):
        np.testing.assert_array_equal(whole, read)
    for levels, values in zip([first, second], restored(kernels), strict=True):
        np.testing.assert_allclose(levels, values, atol=1e-3)


# A file as earlier versions wrote it. Files are kept and passed on: whatever changes here must still be read so.
EARLIER = base64.b64decode("VE4Bqq8QAgQDAgAAgD4FAAMA9PDjDETM0axHQHyPqq+BxELoEBg=")
EARLIER_LEVELS = (
    [
        [0, 0, 0, 0, 0],
        [0, -1, 1, 0, 1],
        [-1, 0, 0, 0, 0],
        [0, 0, 0, 4, 0],
        [0, 4, 0, 0, 0],
        [0, 0, 0, 0, -1],
        [1, 0, 1, -1, 0],
        [0, 0, 0, 0, 0],
        [0, 4, 0, 0, 4],
    ],
    [[40, 0, 0], [0, 0, 0], [-1, 1, 0], [1, -1, 0], [0, 0, 0]],
)


def test_a_file_of_an_earlier_version_is_still_the_network_it_was():
    """Worked out from the description of the format alone, in double precision."""
    side, radius, scale = 4, 3, 0.25
    frequencies = [(u, v) for u in range(side) for v in range(side) if u**2 + v**2 < radius**2]
    frequencies.sort(key=lambda pair: (sum(pair), pair))

    def wave(place, halves):
        return np.cos(np.pi * halves * (place + 0.5) / side) * np.sqrt((1 if halves == 0 else 2) / side)

    waves = [
        [wave(y, u) * wave(x, v) * np.exp(2.8 * np.hypot(u, v) / side) / 4 for u, v in frequencies]
        for y in range(side)
        for x in range(side)
    ]
    first, second = (np.array(levels) for levels in EARLIER_LEVELS)
    expected = [waves @ first / np.sqrt(len(first)), scale * second / np.sqrt(len(second))]
    for kernel, values in zip(decoder.read(EARLIER), expected, strict=True):
        assert kernel.dtype == np.float32
        np.testing.assert_allclose(kernel, values, atol=1e-5)
    levels = [np.array(each, np.int32) for each in EARLIER_LEVELS]
    made = smallest.SmallestNetwork(levels, side, radius, scale)
    assert smallest.encode(made) == EARLIER
    assert made.weights == 17
    for kernel, same in zip(made.kernels, smallest.decode(EARLIER), strict=True):
        np.testing.assert_array_equal(kernel, same)


@pytest.mark.parametrize("number", [1, -1, 2, 14, 15, 16, 17, 30, 1_000])
def test_a_number_of_any_size_is_read_back(number):
    levels = np.array([[0, number], [number, 0]] * (WAVES // 2) + [[number, 1]] * (WAVES % 2))
    read = restored(smallest.decode(smallest.encode(network([levels, np.array([[number], [1]])]))))
    np.testing.assert_array_equal(np.rint(read[0]), levels)
    np.testing.assert_array_equal(np.rint(read[1]), [[number], [1]])


def test_a_network_of_zeros_is_tiny_and_answers_evenly():
    kernels = smallest.decode(smallest.encode(network([np.zeros((WAVES, 30), int), np.zeros((30, 10), int)])))
    assert not any(kernel.any() for kernel in kernels)
    assert len(smallest.encode(network([np.zeros((WAVES, 30), int), np.zeros((30, 10), int)]))) < 60


def test_a_file_is_hardly_larger_than_its_numbers_are_uncertain(file):
    bits = 0.0
    for levels in random_network().levels:
        _, counts = np.unique(levels, return_counts=True)
        bits -= (counts * np.log2(counts / counts.sum())).sum()
    assert len(file) < 1.15 * bits / 8 + 40


def test_costs_are_about_those_of_the_file():
    random = np.random.default_rng(2)
    rows = len(decoder.frequencies(16, 16)[0])
    often = random.random((rows, 1)) * random.random(80)
    levels = np.rint(random.laplace(size=(rows, 80)) * 2 * often).astype(np.int32)
    zero, one, more = smallest.costs(levels)
    sizes = np.abs(levels)
    bits = np.where(sizes, one + more * (sizes - 1), zero).sum()
    assert bits / 8 == pytest.approx(len(smallest.encode(smallest.SmallestNetwork([levels], 16, 16, 1.0))), rel=0.05)


def test_costs_by_hand():
    """Of ten rows and ten columns with five numbers each a number is not zero with (5 + 0.4) / 10, wherever it is."""
    places = (np.indices((10, 10)).sum(axis=0)) % 2 == 0
    levels = np.where(places, 1, 0)
    levels[0, 0], levels[1, 1], levels[2, 2] = -2, 3, -48
    zero, one, more = smallest.costs(levels)
    # Of 50 numbers with 100 steps in all, half of the steps are followed by another.
    assert more == pytest.approx(-np.log2((100 - 50 + 0.5) / (100 + 1)))
    np.testing.assert_allclose(zero, -np.log2(1 - 0.54), rtol=1e-6)
    # That it is not zero, its sign, and that there is no further step.
    np.testing.assert_allclose(one, -np.log2(0.54) + 1 + 1, rtol=1e-6)
    assert zero.dtype == one.dtype == np.float32


def test_costs_multiply_the_odds_of_row_and_column():
    """How much likelier than anywhere a number is in its row, and how much in its column, both count."""
    levels = np.where(np.random.default_rng(6).random((11, 14)) < 0.4, 1, 0)
    levels[3] = 0
    levels[3, 2] = -1
    zero, one, more = smallest.costs(levels)
    rows, columns = (levels != 0).sum(axis=1) + 0.4, (levels != 0).sum(axis=0) + 0.4

    def odds(part):
        return part / (1 - part)

    for i in range(11):
        for j in range(14):
            times = odds(rows[i] / 14) * odds(columns[j] / 11) / odds(rows.sum() / (11 * 14))
            assert zero[i, j] == pytest.approx(np.log2(1 + times), rel=1e-5)
            assert one[i, j] == pytest.approx(np.log2(1 + 1 / times) + 1 - np.log2(1 - 2**-more), rel=1e-5)


def test_what_was_never_seen_costs_as_if_it_were_one_in_ten_thousand():
    crossed = np.zeros((200, 200), int)
    crossed[0] = crossed[:, 0] = 1
    assert smallest.costs(crossed)[0][0, 0] == pytest.approx(-np.log2(1e-4), rel=1e-3)
    apart = np.zeros((200, 200), int)
    apart[20:, 20:] = 1
    zero, one, more = smallest.costs(apart)
    assert zero[0, 0] == pytest.approx(-np.log2(1 - 1e-4), rel=1e-3)
    assert one[0, 0] == pytest.approx(-np.log2(1e-4) + 1 - np.log2(1 - 2**-more), rel=1e-3)
    # In a row of 5,000 without any number it is not less likely than that either.
    wide = np.zeros((10, 5_000), int)
    wide[1:, 0] = 1
    times = 1e-4 * (9.4 / 0.6) / (13 / 50_000)
    assert smallest.costs(wide)[0][0, 0] == pytest.approx(np.log2(1 + times), rel=1e-3)


def test_costs_are_less_where_a_row_or_a_column_has_more():
    levels = np.eye(20, 30, dtype=int)
    levels[::2, 1] = levels[2, ::2] = 1
    zero, one, _ = smallest.costs(levels)
    for rare, often in (((5, 7), (2, 7)), ((5, 7), (5, 1)), ((2, 7), (2, 1)), ((5, 1), (2, 1))):
        assert one[often] < one[rare] - 0.5
        assert zero[often] > zero[rare] + 0.1


def test_no_cost_is_endless_and_none_is_nothing():
    zeros, ones = (smallest.costs(np.full((300, 300), number)) for number in (0, 1))
    for zero, one, more in (zeros, ones):
        assert np.isfinite([zero.max(), one.max(), more]).all()
        assert zero.min() > 0
        assert one.min() > 1
    np.testing.assert_allclose(ones[0], -np.log2(1e-4), rtol=1e-3)
    assert zeros[0].max() < 0.01


def test_more_zeros_make_a_smaller_file(file):
    thinner = network([np.where(np.abs(levels) > 1, levels, 0) for levels in random_network().levels])
    assert len(smallest.encode(thinner)) < 0.8 * len(file)


def test_waves_are_an_even_picture_and_do_not_repeat_each_other():
    rows, columns = decoder.frequencies(8, 4)
    waves = decoder.waves(8, rows, columns)
    products = waves.T @ waves
    assert np.allclose(products - np.diag(np.diag(products)), 0, atol=1e-5)
    assert rows[0] == columns[0] == 0
    assert np.ptp(waves[:, 0]) < 1e-6


def test_waves_at_moved_places_are_the_waves_of_a_moved_image():
    rows, columns = decoder.frequencies(8, 4)
    image = np.zeros((8, 8), np.float32)
    image[2:5, 3:5] = 1
    below = np.roll(image, 1, axis=0)
    where = np.indices((8, 8)).reshape(2, -1) + np.array([[1], [0]])
    moved = image.ravel() @ decoder.waves(8, rows, columns, where)
    np.testing.assert_allclose(moved, below.ravel() @ decoder.waves(8, rows, columns), atol=1e-4)


def test_the_decoder_needs_nothing_of_this_project(file, tmp_path):
    (tmp_path / "network.tiny").write_bytes(file)
    (tmp_path / "decode.py").write_bytes(smallest.DECODER.read_bytes())
    program = (
        "import sys, numpy, decode; kernels = decode.read(open('network.tiny', 'rb').read());"
        "assert not {'core', 'constriction', 'scipy'} & {name.split('.')[0] for name in sys.modules};"
        "numpy.savez('kernels', *kernels)"
    )
    subprocess.run([sys.executable, "-E", "-c", program], cwd=tmp_path, check=True)
    with np.load(tmp_path / "kernels.npz") as kernels:
        for expected, name in zip(smallest.decode(file), kernels.files, strict=True):
            np.testing.assert_array_equal(expected, kernels[name])


@pytest.mark.parametrize("place", [0, 2, 3, 8, 10, 20, -1])
def test_a_changed_byte_is_refused(file, place):
    changed = bytearray(file)
    changed[place] ^= 1
    with pytest.raises(ValueError, match="smallest file"):
        smallest.decode(bytes(changed))


@pytest.mark.parametrize("part", [b"", b"TN", slice(0, 10), slice(0, 20), slice(0, -1), b"PK\3\4" * 30])
def test_a_cut_or_foreign_file_is_refused(file, part):
    with pytest.raises(ValueError, match="smallest file"):
        smallest.decode(file[part] if isinstance(part, slice) else part)


def test_a_file_with_more_after_its_end_is_refused(file):
    with pytest.raises(ValueError, match="damaged"):
        smallest.decode(file + b"\1")


@pytest.mark.parametrize(
    "head",
    [
        (255, 255, 3, 1.0, 65_535, 65_535, 10),  # a network of more weights than anybody trains
        (8, 4, 0, 1.0),
        (8, 4, 2, 1.0, 0, 10),
        (8, 0, 1, 1.0, 10),
        (8, 4, 200, 1.0),
    ],
)
def test_a_head_that_cannot_be_is_refused_at_once(head):
    side, radius, layers, scale, *units = head
    body = decoder.HEAD.pack(decoder.MAGIC, 0, side, radius, layers, scale)[7:] + np.array(units, "<u2").tobytes()
    file = decoder.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
    with pytest.raises(ValueError, match="damaged"):
        smallest.decode(file)


@pytest.mark.parametrize("size", [decoder.MOST_SIZE, decoder.MOST_SIZE + 1])
def test_a_number_that_would_go_on_for_ever_is_refused(size):
    levels = network([np.full((WAVES, 1), -size), np.ones((1, 10), int)])
    if size > decoder.MOST_SIZE:
        with pytest.raises(ValueError, match="a number above 1,000"):
            smallest.encode(levels)
    else:
        assert round(float(restored(smallest.decode(smallest.encode(levels)))[0][0, 0])) == -size


def test_kernels_that_do_not_fit_each_other_are_not_written():
    with pytest.raises(ValueError, match=r"Expected whole numbers of shape \(3, units\)"):
        smallest.encode(network([np.ones((WAVES, 3), int), np.ones((4, 2), int)]))


def test_a_decoded_network_is_scored_like_any_other(file):
    images = np.random.default_rng(1).random((50, 64), np.float32)
    score = evaluate(smallest.decode(file), images, np.arange(50) % 10)
    assert 0 <= score.accuracy <= 1


@pytest.mark.parametrize("size", [60, MOST_BYTES])
def test_a_reader_of_qr_codes_gives_the_file_back(file, size):
    content = (file * 10)[:size]
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(qr_code(content))))
    assert found.bytes == content


def test_a_file_too_large_for_a_qr_code_is_refused():
    with pytest.raises(ValueError, match=r"holds 2,953 bytes at most\. Received: 2,954 bytes"):
        qr_code(bytes(MOST_BYTES + 1))
