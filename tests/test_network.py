"""Chains of any layers: what they compute, which unit a row reads, and what compaction and balancing leave alike."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.evaluation import evaluate, examine, predict, rms_activations
from core.kernels import SUPPORTS, Recipe, compact, difference, live_units, repair
from core.network import (
    Layer,
    Network,
    Window,
    as_network,
    balance,
    behind,
    forward,
    inputs_of,
    slopes_of_inputs,
    slopes_of_sums,
    sources,
)
from core.pruning import METHODS, RANKINGS, SCOPES, prune, prune_count, rank
from core.sweep import sweep

KS = [0, 0.3, 0.5, 0.9, 1]


@st.composite
def chains(draw, convolutions=2):
    """A network of random layers with random weights, and images for it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(6, 9), st.integers(6, 9), st.integers(1, 2)))
    signal, layers = shape, []
    for _ in range(draw(st.integers(0, convolutions))):
        window = Window(*(draw(st.integers(1, 3)) for _ in "hw"), draw(st.sampled_from(["valid", "same"])))
        window = replace(window, stride=draw(st.integers(1, 2)))
        if min(window.places(signal[:2])) < 1:
            continue
        pool = draw(st.integers(1, min(2, *window.places(signal[:2]))))
        rows, units = window.height * window.width * signal[-1], draw(st.integers(1, 5))
        layers.append(Layer(*weights(generator, rows, units, draw(st.booleans())), window=window, pool=pool))
        signal = (*(length // pool for length in window.places(signal[:2])), units)
    hidden = draw(st.lists(st.integers(1, 12), min_size=not layers, max_size=2))
    for units in [*hidden, 4]:
        layers.append(Layer(*weights(generator, int(np.prod(signal)), units, draw(st.booleans()))))
        signal = (units,)
    layers[-1] = replace(layers[-1], activation="linear")
    images = generator.random((50, int(np.prod(shape))), np.float32)
    return Network(tuple(layers), shape), images


def weights(generator, rows, units, has_bias):
    matrix = generator.standard_normal((rows, units), np.float32) / np.sqrt(np.float32(rows))
    return matrix, generator.standard_normal(units, np.float32) / 4 if has_bias else None


def in_keras(network):
    """The same network, built of Keras' own layers."""
    signal = image = keras.Input(network.shape)
    arrays = []
    for layer, shape in zip(network.layers, network.shapes, strict=False):
        units, window = layer.matrix.shape[1], layer.window
        common = {"activation": layer.activation, "use_bias": layer.bias is not None}
        if window:
            size = (window.height, window.width)
            signal = keras.layers.Conv2D(units, size, window.stride, window.padding, **common)(signal)
            signal = keras.layers.MaxPooling2D(layer.pool)(signal)
            arrays.append(layer.matrix.reshape(*size, shape[-1], units))
        else:
            signal = keras.layers.Dense(units, **common)(keras.layers.Flatten()(signal))
            arrays.append(layer.matrix)
        arrays += [] if layer.bias is None else [layer.bias]
    model = keras.Model(image, signal)
    model.set_weights(arrays)
    return model


@settings(max_examples=40)
@given(chains())
def test_any_chain_computes_what_keras_does(case):
    network, images = case
    expected = np.asarray(in_keras(network)(images.reshape(-1, *network.shape)))
    np.testing.assert_allclose(forward(network, images), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(forward(network, images, sparse=True), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=100)
@given(chains(), st.sampled_from(METHODS), st.sampled_from(KS))
def test_compacted_chain_equals_the_pruned_one(case, method, k):
    network, images = case
    pruned = prune(network, method, k)
    tiny = compact(pruned)
    np.testing.assert_allclose(
        forward(tiny.network, images[:, tiny.inputs]), forward(pruned, images), rtol=1e-5, atol=1e-5
    )
    assert difference(pruned, tiny, images).changed == 0
    assert tiny.parameters <= pruned.nonzero
    again = compact(tiny.network)
    assert again.network.weights == tiny.network.weights


@settings(max_examples=60)
@given(chains(), st.data())
def test_a_row_reads_the_unit_that_sources_names(case, data):
    network, images = case
    index = data.draw(st.integers(0, len(network.layers) - 2))
    layer, following = network.layers[index : index + 2]
    unit = data.draw(st.integers(0, layer.matrix.shape[1] - 1))
    silent = np.arange(layer.matrix.shape[1]) != unit
    bias = None if layer.bias is None else layer.bias * silent
    unheard = (sources(network)[index + 1] != unit)[:, None]
    layers = list(network.layers)
    layers[index] = replace(layer, matrix=layer.matrix * silent, bias=bias)
    without_unit = Network(tuple(layers), network.shape)
    layers[index : index + 2] = layer, replace(following, matrix=following.matrix * unheard)
    without_rows = Network(tuple(layers), network.shape)
    np.testing.assert_allclose(forward(without_unit, images), forward(without_rows, images), rtol=1e-5, atol=1e-6)


@settings(max_examples=60)
@given(chains(), st.sampled_from(METHODS), st.sampled_from(RANKINGS), st.sampled_from(SCOPES))
def test_chains_are_pruned_by_exact_counts(case, method, ranking, scope):
    network, images = case
    ranks = rank(network, method, ranking, scope, rms_activations(network, images))
    before = np.zeros(1, bool)
    for k in KS:
        pruned = ranks.prune(network, k)
        zero = [layer.matrix == 0 for layer in pruned.layers[:-1]]
        if method == "unit":
            zero = [mask.all(axis=0) for mask in zero]
        together = np.concatenate([mask.ravel() for mask in zero]) if zero else np.zeros(0, bool)
        counts = [mask.size for mask in zero]
        total = prune_count(sum(counts), k) if scope == "global" else sum(prune_count(size, k) for size in counts)
        assert np.count_nonzero(together) == total == sum(ranks.pruned(k))
        assert not (before & ~together).any(), "what is pruned stays pruned"
        before = together
        np.testing.assert_array_equal(pruned.layers[-1].matrix, network.layers[-1].matrix)
        for mask, layer, dense in zip(zero, pruned.layers, network.layers, strict=False):
            if layer.bias is not None:
                np.testing.assert_array_equal(layer.bias, dense.bias * ~mask if method == "unit" else dense.bias)


@settings(max_examples=60)
@given(chains())
def test_a_balanced_chain_computes_the_same(case):
    network, images = case
    balanced = balance(network)
    np.testing.assert_allclose(forward(balanced, images), forward(network, images), rtol=1e-4, atol=1e-5)
    assert [matrix.shape for matrix in balanced.matrices] == [matrix.shape for matrix in network.matrices]


@settings(max_examples=30)
@given(chains())
def test_a_chain_is_scored_like_its_outputs(case):
    network, images = case
    labels = np.arange(len(images)) % 4
    outputs = forward(network, images).astype(float)
    found = examine(network, images, labels)
    assert found.score.accuracy == np.mean(outputs.argmax(axis=1) == labels)
    losses = np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(len(images)), labels]
    assert found.score.loss == pytest.approx(losses.mean(), rel=1e-4)
    np.testing.assert_array_equal(predict(network, images), found.predictions)


def test_what_always_says_the_same_becomes_a_bias():
    generator = np.random.default_rng(3)
    matrix, bias = weights(generator, 5, 3, True)
    matrix[:, 1], bias[:] = 0, [0.5, 2, -1]
    matrix[:, 2] = 0
    network = Network((Layer(matrix, bias), Layer(generator.random((3, 2), np.float32), None, "linear")), (5,))
    tiny = compact(network)
    assert [units.tolist() for units in live_units(network)[1:]] == [[True, False, False], [True, True]]
    np.testing.assert_allclose(tiny.network.layers[1].bias, 2 * network.layers[1].matrix[1])
    images = generator.random((9, 5), np.float32)
    np.testing.assert_allclose(forward(tiny.network, images), forward(network, images), rtol=1e-6)


def test_padding_keeps_a_unit_that_always_says_the_same():
    """The zeros beside the image are not what the unit says, so no single bias can stand for it."""
    generator = np.random.default_rng(4)
    matrix, bias = weights(generator, 1, 2, True)
    matrix[:, 0], bias[0] = 0, 1
    window = Window(3, 3, "same")
    second = Layer(generator.random((18, 2), np.float32), window=window)
    layers = (Layer(matrix, bias, window=Window(1, 1)), second, Layer(np.ones((50, 2), np.float32), None, "linear"))
    network = Network(layers, (5, 5, 1))
    assert live_units(network)[1].all()
    valid = Network(
        (layers[0], replace(second, window=Window(3, 3)), Layer(np.ones((18, 2), np.float32), None, "linear")),
        (5, 5, 1),
    )
    assert live_units(valid)[1].tolist() == [False, True]


def test_multiply_adds_count_every_place_of_a_window():
    network = Network(
        (
            Layer(np.ones((9, 4), np.float32), window=Window(3, 3), pool=2),
            Layer(np.ones((36, 10), np.float32), activation="linear"),
        ),
        (8, 8, 1),
    )
    assert network.multiply_adds == 9 * 4 * 6 * 6 + 360
    assert network.weights == 36 + 360


def test_inputs_of_a_window_are_its_patches():
    signal = np.arange(16, dtype=np.float32).reshape(4, 4, 1, 1)
    layer = Layer(np.zeros((4, 1), np.float32), window=Window(2, 2, stride=2))
    np.testing.assert_array_equal(
        inputs_of(layer, signal).T, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    )


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Layer(np.zeros((4, 3)))], (4,), "the last one linear"),
        ([Layer(np.zeros((4, 3)), activation="linear")], (5,), "expected a matrix of 5 rows"),
        ([Layer(np.zeros((4, 3)), np.zeros(2), "linear")], (4,), "expected a bias of shape"),
        ([Layer(np.zeros((4, 3)), activation="gelu"), Layer(np.zeros((3, 2)), None, "linear")], (4,), "gelu"),
        ([Layer(np.zeros((9, 3)), None, "linear", Window(3, 3))], (2, 2, 1), "does not fit"),
    ],
)
def test_layers_that_do_not_chain_are_refused(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        Network(tuple(layers), shape)


@pytest.mark.parametrize(
    "do",
    [
        lambda network, images, labels: prune(network, "unit", 0.5),
        lambda network, images, labels: rank(network, "weight", scope="global").prune(network, 0.5),
        lambda network, images, labels: [evaluate(network, images, labels)],
        lambda network, images, labels: compact(prune(network, "unit", 0.5)).kernels,
        lambda network, images, labels: repair(network, images, "weight", 0.5),
        lambda network, images, labels: [sweep(network, images, labels, [0, 0.5]).dropna(axis=1)],
    ],
    ids=["prune", "rank", "evaluate", "compact", "repair", "sweep"],
)
def test_matrices_and_their_chain_are_one_network(do):
    generator = np.random.default_rng(5)
    kernels = [generator.standard_normal(shape, np.float32) for shape in [(6, 5), (5, 3)]]
    images, labels = generator.random((20, 6), np.float32), np.arange(20) % 3
    plain, chained = do(kernels, images, labels), do(as_network(kernels), images, labels)
    assert isinstance(plain, list)
    for one, other in zip(plain, chained.matrices if isinstance(chained, Network) else chained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_convolution_is_swept():
    generator = np.random.default_rng(8)
    layers = (
        Layer(*weights(generator, 4, 6, True), window=Window(2, 2), pool=2),
        Layer(*weights(generator, 54, 3, True), activation="linear"),
    )
    network, images = Network(layers, (7, 7, 1)), generator.random((30, 49), np.float32)
    table = sweep(network, images, forward(network, images).argmax(axis=1), [0, 0.5])
    assert table[table.sparsity == 0].accuracy.tolist() == [1, 1]
    assert table.zeroed.tolist() == [0, 12, 0, 12]
    assert table[table.method == "unit"].removable.tolist() == [0, 12 + 3 * 27]


@settings(max_examples=60, deadline=None)
@given(chains(), st.sampled_from(METHODS), st.sampled_from(SUPPORTS), st.sampled_from(SCOPES), st.sampled_from(KS))
def test_any_chain_is_repaired_to_exact_counts(case, method, support, scope, k):
    network, images = case
    repaired = repair(network, images, method, k, support=support, scope=scope, recipe=Recipe(steps=6, rounds=2))
    sizes = [layer.matrix.shape[1] if method == "unit" else layer.matrix.size for layer in network.layers[:-1]]
    zero = [layer.matrix == 0 for layer in repaired.layers[:-1]]
    zero = [mask.all(axis=0) if method == "unit" else mask for mask in zero]
    counts = [prune_count(size, k) for size in sizes]
    if scope == "layer":
        assert [np.count_nonzero(mask) for mask in zero] == counts
    assert sum(map(np.count_nonzero, zero)) == (prune_count(sum(sizes), k) if scope == "global" else sum(counts))
    for layer, dense, mask in zip(repaired.layers, network.layers, [*zero, None], strict=True):
        assert layer.matrix.shape == dense.matrix.shape
        assert layer.matrix.dtype == np.float32
        assert (layer.bias is None) == (dense.bias is None)
        if method == "unit" and mask is not None and layer.bias is not None:
            assert not layer.bias[mask].any()
    assert np.isfinite(forward(repaired, images)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_repaired_convolution_is_nearer_to_the_dense_one_than_pruned(method, support, scope):
    generator = np.random.default_rng(7)
    layers = (
        Layer(*weights(generator, 9, 8, True), window=Window(3, 3, "same"), pool=2),
        Layer(*weights(generator, 72, 12, True), window=Window(3, 3)),
        Layer(*weights(generator, 192, 30, True)),
        Layer(*weights(generator, 30, 5, True), activation="linear"),
    )
    network = Network(layers, (12, 12, 1))
    images = generator.random((400, 6, 6), np.float32).repeat(2, 1).repeat(2, 2).reshape(400, -1)
    dense = forward(network, images)
    pruned = rank(network, method, scope=scope).prune(network, 0.6)
    repaired = repair(network, images[1::2], method, 0.6, support=support, scope=scope)
    errors = [np.mean((forward(small, images[::2]) - dense[::2]) ** 2) for small in (repaired, pruned)]
    assert errors[0] < 0.8 * errors[1]


def tied():
    """A network in which all numbers that a pooling sees are the same, and an image."""
    one = np.full((1, 1), -1, np.float32)
    layers = (
        Layer(one, window=Window(1, 1)),
        Layer(one, window=Window(1, 1), pool=2),
        Layer(np.ones((4, 1), np.float32), activation="linear"),
    )
    return Network(layers, (4, 4, 1)), np.ones((2, 16), np.float32)


@settings(max_examples=40, deadline=None)
@given(chains())
@example(tied())
def test_slopes_say_how_far_a_bias_moves_the_outputs(case):
    network, images = case
    random = np.random.default_rng(1)
    biases = [random.normal(size=matrix.shape[1]) for matrix in network.matrices]
    network = network.with_matrices([matrix.astype(float) for matrix in network.matrices], biases)
    images = images[:5].astype(float)
    signal, sums, shapes = network.shaped(images), [], []
    for layer in network.layers:
        found = layer.matrix.T @ inputs_of(layer, signal)
        shapes.append(signal.shape)
        sums.append(found + layer.bias[:, None])
        signal = behind(layer, found, signal.shape)
    slopes, step = np.ones(signal.shape), 1e-7
    for index in reversed(range(len(sums))):
        layer = network.layers[index]
        slopes = slopes_of_sums(layer, slopes, sums[index], shapes[index])
        moved = [*biases[:index], biases[index] + np.eye(1, len(biases[index]))[0] * step, *biases[index + 1 :]]
        change = forward(network.with_matrices(network.matrices, moved), images) - forward(network, images)
        assert slopes[0].sum() == pytest.approx(change.sum() / step, rel=1e-4, abs=1e-4)
        slopes = slopes_of_inputs(layer, layer.matrix @ slopes, shapes[index])
