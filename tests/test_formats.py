"""Compaction is exact, and a network comes out of a file as it went in."""

import io
import zipfile
from itertools import pairwise

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from core.datasets import load_dataset
from core.errors import FormatError
from core.evaluation import logits, predict
from core.kernels import Compacted, coding, compact, difference
from core.kernels.number_formats import NUMBER_FORMATS, read, whole
from core.network import as_network, balance, forward
from core.pruning import METHODS, prune

INT8 = ("int8", "coded")
WEIGHTS = st.sampled_from([0.0, 0.0, 0.0, 0.5, -0.25, 1.0, -3.0])


@st.composite
def networks(draw):
    """Small networks full of zeros: dead pixels, dead units, whole layers of them, and outputs nothing reaches."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    return [draw(arrays(np.float32, shape, elements=WEIGHTS)) for shape in pairwise(widths)]


@settings(max_examples=150, deadline=None)
@given(networks())
def test_compacting_is_exact_and_a_fixed_point_whatever_is_dead(kernels):
    images = np.random.default_rng(0).random((50, len(kernels[0])), np.float32)
    tiny = compact(kernels)
    assert difference(kernels, tiny, images).is_rounding
    assert tiny.kernels[-1].shape[1] == kernels[-1].shape[1], "every class keeps its output"
    again = compact(tiny.kernels)
    assert len(again.inputs) == len(tiny.inputs)
    for kernel, same in zip(tiny.kernels, again.kernels, strict=True):
        np.testing.assert_array_equal(same, kernel)
        assert (kernel != 0).any(axis=1).all(), "an input or unit that reaches nothing"
    for kernel in tiny.kernels[:-1]:
        assert (kernel != 0).any(axis=0).all(), "a unit that nothing reaches"


def test_the_check_finds_a_network_that_is_not_the_same(kernels):
    images = np.random.default_rng(1).random((300, 20), np.float32)
    tiny = compact(kernels)
    assert difference(kernels, tiny, images).is_rounding
    swapped = Compacted(tiny.network, tiny.inputs[::-1])
    assert difference(kernels, swapped, images).changed > 0
    # Predictions that stay are not enough: the logits have to.
    louder = Compacted(as_network([*tiny.kernels[:-1], 1.01 * tiny.kernels[-1]]), tiny.inputs)
    found = difference(kernels, louder, images)
    assert (found.changed, found.is_rounding, found.images) == (0, False, 300)
    lost = Compacted(as_network([np.full_like(tiny.kernels[0], np.nan), *tiny.kernels[1:]]), tiny.inputs)
    assert not difference(kernels, lost, images).is_rounding


@pytest.mark.parametrize("name", NUMBER_FORMATS)
def test_every_format_gives_biases_back(name):
    random = np.random.default_rng(3)
    kernels = [random.normal(size=shape).astype(np.float32) for shape in ((20, 30), (30, 15), (15, 4))]
    chain = as_network(kernels)
    network = chain.with_matrices(kernels, [random.normal(size=30), None, random.normal(size=4)])
    pruned = prune(network, "unit", 0.4)
    tiny, images = compact(pruned), random.random((40, 20), np.float32)
    back = read(NUMBER_FORMATS[name].write(tiny, True))
    assert [layer.bias is None for layer in back.network.layers] == [
        layer.bias is None for layer in tiny.network.layers
    ]
    expected = forward(pruned, images)
    apart = np.abs(forward(back.network, images[:, back.inputs]) - expected).max()
    assert apart < (1e-5 if NUMBER_FORMATS[name].is_exact else 0.03) * np.abs(expected).max()


def test_a_file_with_a_bias_of_no_layer_is_damaged():
    data = NUMBER_FORMATS["float32"].write(compact([np.ones((3, 2), np.float32)]), False)
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    for name, bias in (("bias_7", np.ones(2)), ("bias_0", np.ones(3)), ("bias_0", np.full(2, np.nan))):
        changed = io.BytesIO()
        np.savez(changed, **arrays, **{name: bias})
        with pytest.raises(FormatError, match="cannot be read as a network"):
            read(changed.getvalue())


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", NUMBER_FORMATS)
@settings(max_examples=40, deadline=None)
@given(networks())
def test_every_format_gives_the_network_back(name, compressed, kernels):
    tiny = compact(kernels)
    format = NUMBER_FORMATS[name]
    data = format.write(tiny, compressed)
    back = read(data)
    np.testing.assert_array_equal(back.inputs, tiny.inputs)
    # Units say as many times more or less, and what listens to them listens as many times less or more.
    written = balance(tiny.kernels).matrices if name in INT8 else tiny.kernels
    for kernel, same in zip(written, back.kernels, strict=True):
        assert same.dtype == np.float32
        assert same.shape == kernel.shape
        assert format.is_exact == (name in ("float32", "sparse"))
        if format.is_exact:
            np.testing.assert_array_equal(same, kernel)
        else:
            # Half a step of int8, which is coarser than float16.
            step = np.abs(kernel).max(axis=0, initial=0) / 127
            assert (np.abs(same - kernel) <= 0.501 * step).all()
            np.testing.assert_array_equal(same[kernel == 0], 0)
    assert format.write(tiny, compressed) == data, "the same network gives the same bytes"


@pytest.mark.parametrize("method", METHODS)
def test_others_read_the_files_with_numpy_and_scipy_alone(kernels, method):
    pruned = prune(kernels, method, 0.6)
    images = np.random.default_rng(2).random((100, 20), np.float32)
    tiny = compact(pruned)
    expected = logits(pruned, images)
    for name, format in NUMBER_FORMATS.items():
        file = np.load(io.BytesIO(format.write(tiny, False)), allow_pickle=False)
        layers = len(tiny.kernels)
        if name == "sparse":
            matrices = [
                csr_array((file[f"data_{i}"], file[f"indices_{i}"], file[f"indptr_{i}"]), tuple(file[f"shape_{i}"]))
                for i in range(layers)
            ]
            assert sum(matrix.nnz for matrix in matrices) == tiny.parameters
            assert file["indices_0"].dtype == np.uint8
        elif name == "int8":
            matrices = [file[f"kernel_{i}"] * file[f"scale_{i}"] for i in range(layers)]
            assert all(np.abs(file[f"kernel_{i}"]).max() == 127 for i in range(layers))
        elif name == "coded":
            coded = [[file[f"{part}_{i}"] for part in ("counts", "stream", "scale")] for i in range(layers)]
            matrices = [coding.decode(counts, stream, len(scale)) * scale for counts, stream, scale in coded]
        else:
            assert {file[f"kernel_{i}"].dtype for i in range(layers)} == {np.dtype(name)}
            matrices = [file[f"kernel_{i}"].astype(np.float32) for i in range(layers)]
        seen = images[:, file["inputs"]]
        for matrix in matrices[:-1]:
            seen = np.maximum(seen @ matrix, 0)
        found = seen @ matrices[-1]
        roughly = 0.05 * np.abs(expected).max() if name in INT8 else 0.005 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-4 if format.is_exact else roughly)


def test_a_range_coder_needs_little_more_than_the_numbers_are_uncertain():
    """The same numbers as int8, in about as few bits as Shannon's entropy says, and no other."""
    random = np.random.default_rng(0)
    part = 0.1
    levels = np.where(random.random((400, 300)) < part, random.integers(1, 5, (400, 300)), 0).astype(np.int8)
    bits = levels.size * -(part * np.log2(part) + (1 - part) * np.log2(1 - part)) + 2 * np.count_nonzero(levels)
    coded = coding.encode(levels)
    assert 0.98 * bits < 8 * coded["stream"].nbytes < 1.02 * bits
    np.testing.assert_array_equal(coding.decode(**coded, units=300), levels)
    # Rows and columns that are fuller than others cost less than if all were alike.
    uneven = levels.copy()
    uneven[:, ::2] = 0
    uneven[::2] = 0
    where = 1.3 * np.count_nonzero(uneven) * (-np.log2(part) - (1 - part) / part * np.log2(1 - part) + 2)
    assert 8 * coding.encode(uneven)["stream"].nbytes < where


def test_a_coded_kernel_whose_counts_were_changed_is_refused():
    levels = np.random.default_rng(1).integers(-1, 2, (30, 20)).astype(np.int8)
    coded = coding.encode(levels)
    for place in range(len(coded["counts"])):
        changed = coded["counts"].copy()
        changed[place] += 1
        with pytest.raises(ValueError, match="count"):
            coding.decode(changed, coded["stream"], 20)
    # Sums that still fit each other do not make it the same kernel.
    changed = coded["counts"].copy()
    changed[[0, 1]] += [1, -1]
    with pytest.raises(ValueError, match="count"):
        coding.decode(changed, coded["stream"], 20)


@pytest.mark.parametrize("turned", [False, True])
def test_a_stream_that_fits_the_counts_in_one_direction_only_is_refused(turned):
    """Two numbers on the diagonal, whose counts say that both are in one row, or in one column."""
    rows, columns = np.array([1, 1]), np.array([2, 0])
    if turned:
        rows, columns = columns, rows
    coder = constriction.stream.queue.RangeEncoder()
    likely = coding._likely(rows, columns)
    coder.encode(np.array([1, 0, 0, 1], np.int32), constriction.stream.model.Bernoulli(perfect=False), likely)
    values = np.array([129, 130], np.int32)
    occurring = np.bincount(values, minlength=256)
    coder.encode(values, coding._values(occurring))
    counts = np.concatenate([rows, columns, occurring])
    with pytest.raises(ValueError, match="its stream does not fit its counts"):
        coding.decode(counts, coder.get_compressed(), 2)


def test_a_row_of_more_numbers_than_it_has_room_for_is_refused():
    counts = np.concatenate([[3, 0], [1, 2], np.bincount([129] * 3, minlength=256)])
    with pytest.raises(ValueError, match="a count is larger than its row or column"):
        coding.decode(counts, np.zeros(1, np.uint32), 2)
    with pytest.raises(ValueError, match="its counts are not those of a kernel"):
        coding.decode(counts[:4], np.zeros(1, np.uint32), 2)


def test_one_loud_weight_does_not_cost_int8_the_others(kernels):
    """A unit of tiny weights that is listened to with huge ones, as least squares may make it, says what it said."""
    loud = [kernel.copy() for kernel in kernels]
    loud[0][:, 3] /= 1_000
    loud[1][3] *= 1_000
    images = np.random.default_rng(5).random((300, 20), np.float32)
    back = read(NUMBER_FORMATS["int8"].write(whole(loud), False))
    assert np.mean(predict(back.kernels, images) == predict(kernels, images)) > 0.95


def test_the_whole_file_is_counted(kernels):
    tiny = whole(kernels)
    weights = sum(kernel.size for kernel in kernels)
    for name, size in (("float32", 4), ("float16", 2), ("int8", 1)):
        data = NUMBER_FORMATS[name].write(tiny, False)
        file = zipfile.ZipFile(io.BytesIO(data))
        inside = sum(array.file_size for array in file.infolist())
        assert inside > size * weights
        assert len(data) > inside + 2 * sum(len(name) for name in file.namelist()), "the directory counts, too"
        assert len(NUMBER_FORMATS[name].write(tiny, True)) < len(data)


def test_indices_take_no_more_than_they_need():
    wide = np.zeros((3, 300), np.float32)
    wide[:, 299] = 1
    file = np.load(io.BytesIO(NUMBER_FORMATS["sparse"].write(whole([wide, np.ones((300, 2), np.float32)]), False)))
    assert file["indices_0"].dtype == np.uint16
    assert file["indices_1"].dtype == np.uint8
    assert file["indptr_1"].dtype == np.uint16


@pytest.mark.parametrize("size", [1e-45, 2.5e-43])
def test_a_weight_too_small_for_a_scale_is_no_failure(size):
    """The smallest float is 1.4e-45: a scale is rounded to a whole number of those, so 127 steps may not be enough."""
    kernel = np.full((2, 2), np.float32(size))
    for back in read(NUMBER_FORMATS["int8"].write(whole([kernel, -kernel]), False)).kernels:
        assert np.isfinite(back).all()
    first, second = read(NUMBER_FORMATS["int8"].write(whole([kernel, -kernel]), False)).kernels
    assert (first >= 0).all()
    assert (second <= 0).all()


def test_steps_of_int8_are_rounded_to_the_nearest():
    kernel = np.array([[127.0, 0.0], [-126.6, 0.0], [0.49, 0.0], [-0.51, 0.0]], np.float32)
    file = np.load(io.BytesIO(NUMBER_FORMATS["int8"].write(whole([kernel]), False)))
    assert file["kernel_0"].tolist() == [[127, 0], [-127, 0], [0, 0], [-1, 0]]
    assert file["kernel_0"].dtype == np.int8
    # A unit without weights has a scale that can be divided by.
    assert file["scale_0"].tolist() == [1, 1]
    assert file["scale_0"].dtype == np.float32


def test_a_network_with_nothing_removed_looks_at_all_pixels(kernels):
    network = whole(kernels)
    assert network.inputs.tolist() == [*range(20)]
    assert [kernel is same for kernel, same in zip(network.kernels, kernels, strict=True)] == [True] * 3


@pytest.mark.parametrize("name", NUMBER_FORMATS)
def test_a_damaged_file_is_refused_or_is_the_same_network(name):
    generator = np.random.default_rng(3)
    tiny = whole([generator.normal(size=shape).astype(np.float32) for shape in ((3, 2), (2, 2))])
    for compressed in (False, True):
        data = NUMBER_FORMATS[name].write(tiny, compressed)
        good = read(data)
        refused = 0
        for place in range(len(data)):
            damaged = bytearray(data)
            damaged[place] ^= 1 << generator.integers(8)
            try:
                back = read(bytes(damaged))
            except FormatError:
                refused += 1
                continue
            # Dates, and what else no reader needs.
            np.testing.assert_array_equal(back.inputs, good.inputs)
            for kernel, same in zip(good.kernels, back.kernels, strict=True):
                np.testing.assert_array_equal(same, kernel)
        assert refused > len(data) / 4
        for length in (0, 10, len(data) // 2, len(data) - 1):
            with pytest.raises(FormatError, match="cannot be read as a network"):
                read(data[:length])


def test_a_foreign_file_is_refused(kernels):
    def npz(**arrays):
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    ones = np.ones((2, 3), np.float32)
    foreign = [
        b"%PDF-1.7",
        npz(weights=ones),
        npz(kernel_0=ones),
        npz(inputs=np.arange(2)),
        npz(inputs=np.arange(3), kernel_0=ones),
        npz(inputs=np.array([1, 0]), kernel_0=ones),
        npz(inputs=np.arange(2), kernel_0=ones, kernel_1=ones),
        npz(inputs=np.arange(2), kernel_0=ones * np.nan),
        npz(inputs=np.arange(2), kernel_0=np.ones(2, np.float32)),
        npz(inputs=np.arange(2), kernel_0=ones.astype(np.int8)),
        npz(inputs=np.arange(2), kernel_0=ones.astype(np.float64)),
        npz(inputs=np.arange(2), kernel_0=ones, scale_0=ones[0]),
        npz(inputs=np.arange(2), kernel_0=ones, other=ones),
        npz(inputs=np.array([-1, 1]), kernel_0=ones),
        npz(inputs=np.array([1, 1]), kernel_0=ones),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, 2], indptr_0=[1, 1, 3], shape_0=[2, 3]),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, 2], indptr_0=[0, 1, 2, 3], shape_0=[2, 3]),
        npz(inputs=np.array(["a", "b"]), kernel_0=ones),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, 5], indptr_0=[0, 1, 3], shape_0=[2, 3]),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, -1], indptr_0=[0, 1, 3], shape_0=[2, 3]),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, 2], indptr_0=[0, 1, 2], shape_0=[2, 3]),
        npz(inputs=np.arange(2), data_0=ones[0], indices_0=[0, 1, 2], indptr_0=[0, 9, 3], shape_0=[2, 3]),
    ]
    for data in foreign:
        with pytest.raises(FormatError, match=r"cannot be read as a network: .+\. Expected an \.npz file"):
            read(data)
    # Of a zero before the first pixel and of a single one nothing is wrong.
    assert read(npz(inputs=np.array([0]), kernel_0=ones[:1])).inputs.dtype == np.int64


def test_every_format_on_trained_digits(trained_run):
    """All exact formats answer all test images as the pruned network does, the others nearly all."""
    test = load_dataset("optdigits", trained_run.root).test
    pruned = prune(trained_run.kernels(), "unit", 0.5)
    tiny = compact(pruned)
    assert difference(pruned, tiny, test.images).is_rounding
    expected = forward(pruned, test.images).argmax(axis=1)
    for format in NUMBER_FORMATS.values():
        back = read(format.write(tiny, True))
        same = np.mean(predict(back.kernels, test.images[:, back.inputs]) == expected)
        assert same == 1 if format.is_exact else same > 0.97
