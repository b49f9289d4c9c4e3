import math

import numpy as np
import pytest

from core import datasets
from core.analysis.distributions import counts_within, distributions, layer_names, thresholds_at
from core.config import K_VALUES
from core.evaluation import evaluate, examine, logits
from core.kernels import live_units
from core.pruning import METHODS, prune, rank
from core.sweep import results_table, sweep, zeroed_parts


def slow_logits(kernels, images):
    """The definition, with nothing left out, in double precision."""
    activations = images.astype(np.float64)
    for kernel in kernels[:-1]:
        activations = np.maximum(activations @ kernel.astype(np.float64), 0)
    return activations @ kernels[-1].astype(np.float64)


@pytest.fixture
def images():
    return np.random.default_rng(1).random((50, 20), np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [*K_VALUES, 1])
def test_leaving_out_what_is_dead_changes_nothing(kernels, images, method, k):
    pruned = prune(kernels, method, k)
    np.testing.assert_allclose(logits(pruned, images), slow_logits(pruned, images), rtol=1e-4, atol=1e-4)


def test_units_that_reach_nothing_or_that_nothing_reaches_are_dead():
    first = np.array([[1, 1, 0], [1, 0, 0]], np.float32)  # unit 2 has no input
    second = np.array([[1, 0], [0, 0], [0, 1]], np.float32)  # unit 1 has no output; the second unit 1 hangs on unit 2
    last = np.array([[1], [1]], np.float32)
    live = live_units([first, second, last])
    assert [mask.tolist() for mask in live] == [[True, True], [True, False, False], [True, False], [True]]


def test_everything_pruned_predicts_uniformly(kernels, images):
    labels = np.arange(50) % 10
    score = evaluate(prune(kernels, "weight", 1), images, labels)
    assert score.loss == pytest.approx(math.log(10), abs=1e-12)
    assert score.accuracy == np.mean(labels == 0)


def test_large_values_do_not_overflow():
    kernels = [np.eye(2, dtype=np.float32) * 1e4, np.eye(2, dtype=np.float32) * 1e4]
    score = evaluate(kernels, np.eye(2, dtype=np.float32), np.array([0, 0]))
    assert score.accuracy == 0.5
    assert score.loss == pytest.approx(5e7)


def test_all_images_are_scored_however_many(kernels):
    """In more than one batch, and by the definition of mean cross-entropy."""
    images = np.random.default_rng(5).random((2_300, 20), np.float32)
    labels = np.arange(2_300) % 10
    found = examine(kernels, images, labels)
    expected = slow_logits(kernels, images)
    np.testing.assert_allclose(logits(kernels, images), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.predictions, expected.argmax(axis=1))
    assert found.predictions.dtype == np.uint8
    assert found.score.accuracy == np.mean(expected.argmax(axis=1) == labels)
    powers = np.exp(expected)
    right = powers[np.arange(2_300), labels] / powers.sum(axis=1)
    assert found.score.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_one_image_is_enough(kernels, images):
    right = int(slow_logits(kernels, images[:1]).argmax())
    assert evaluate(kernels, images[:1], [right]).accuracy == 1
    assert evaluate(kernels, images[:1], np.array([(right + 1) % 10])).accuracy == 0


def test_bad_shapes_and_labels_are_refused(kernels, images):
    with pytest.raises(ValueError, match=r"images of shape \(n, 20\)"):
        evaluate(kernels, images[:, :5], np.zeros(50, int))
    with pytest.raises(ValueError, match="labels of shape"):
        evaluate(kernels, images, np.zeros(49, int))
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        evaluate(kernels, images, np.full(50, 10))
    with pytest.raises(ValueError, match=r"Received: -1 to 9\."):
        evaluate(kernels, images, np.arange(50) % 11 - 1)
    with pytest.raises(ValueError, match="n at least 1"):
        evaluate(kernels, images[:0], np.zeros(0, int))
    with pytest.raises(ValueError, match=r"Received: \(20,\) and \(20,\)\."):
        evaluate(kernels, images[0], np.zeros(20, int))
    with pytest.raises(ValueError, match="Received shapes"):
        evaluate(kernels[::-1], images, np.zeros(50, int))


def test_a_trained_network_scores_as_keras_scores_it(trained_run):
    import keras

    test = datasets.load_dataset("optdigits", trained_run.root).test
    model = keras.models.load_model(trained_run.folder / "model.keras")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    kernels = trained_run.kernels()
    for method in METHODS:
        for k in (0, 0.5, 0.8, 0.9, 1):
            pruned = prune(kernels, method, k)
            model.set_weights(pruned)
            loss, accuracy = model.evaluate(test.images, test.labels, verbose=0)
            score = evaluate(pruned, test.images, test.labels)
            assert score.accuracy == pytest.approx(accuracy, abs=1e-6)
            assert score.loss == pytest.approx(loss, abs=1e-5)


def test_sweep_agrees_with_pruning_and_scoring_by_hand(kernels, images):
    labels = np.arange(50) % 10
    table = sweep(kernels, images, labels, [0, 0.5, 0.9, 1])
    assert len(table) == 8
    for row in table.itertuples():
        score = evaluate(prune(kernels, row.method, row.sparsity), images, labels)
        assert (row.accuracy, row.loss) == (score.accuracy, score.loss)
    wide = results_table(table, [0, 0.5, 0.9, 1])
    assert wide.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    unit = table[table.method == "unit"].set_index("sparsity")
    np.testing.assert_array_equal(wide.accuracy_unit, unit.accuracy.loc[wide.sparsity])


def test_sparsity_is_said_with_its_scope():
    kernels = [np.ones(shape, np.float32) for shape in [(784, 1000), (1000, 1000), (1000, 500), (500, 200), (200, 10)]]
    counts = zeroed_parts(prune(kernels, "weight", 0.9))
    assert counts["zeroed"] == 2_145_600
    assert counts["sparsity_hidden"] == pytest.approx(0.9)
    assert counts["sparsity_network"] == pytest.approx(0.8992, abs=5e-5)


@pytest.mark.parametrize("ranking", ["magnitude", "random"])
@pytest.mark.parametrize("method", METHODS)
def test_surviving_bins_are_the_histogram_of_what_survives(kernels, method, ranking):
    """Zeros are in none: weights, or units of nothing but zeros, whatever they are ranked by."""
    kernels[0][:, 3:9] = 0
    ranking = rank(kernels, method, ranking)
    values = [kernel if method == "weight" else kernel.any(axis=0) for kernel in kernels[:-1]]
    for k in (0, 0.29, 0.5, 0.9, 1):
        for scores, ranks, value, taken, pruned, layer in zip(
            ranking.scores,
            ranking.ranks,
            values,
            ranking.taken(k),
            ranking.pruned(k),
            distributions(ranking),
            strict=True,
        ):
            left = scores[(ranks >= pruned) & (value != 0)]
            np.testing.assert_array_equal(layer.surviving(taken), np.histogram(left, layer.edges)[0])
            if 0 < taken < np.count_nonzero(value):
                assert layer.threshold(taken) == left.min()
            else:
                assert layer.threshold(taken) is None


@pytest.mark.parametrize("method", METHODS)
def test_what_is_left_of_a_network_is_counted_in_the_bins_of_the_dense_one(kernels, method):
    layers = distributions(rank(kernels, method))
    small = prune(kernels, method, 0.5)
    for layer, kernel, counts in zip(layers, small, counts_within(small, method, layers), strict=False):
        values = np.abs(kernel).ravel() if method == "weight" else np.linalg.norm(kernel, axis=0)
        np.testing.assert_array_equal(counts, np.histogram(values[values > 0], layer.edges)[0])
        # What has grown beyond them is in the last bin, and nothing is lost.
        (larger,) = counts_within([100 * kernel, kernel], method, [layer])
        assert larger[-1] == larger.sum() == np.count_nonzero(values)
    assert len(counts_within(small, method, layers)) == len(layers) == len(small) - 1


def test_a_line_stands_where_what_survives_begins(kernels):
    layers = distributions(rank(kernels, "weight"))
    by_size = [np.sort(np.abs(kernel[kernel != 0]), axis=None) for kernel in kernels]
    sizes = [values.size for values in by_size]
    assert thresholds_at(layers, [1, sizes[1] - 1]) == [float(by_size[0][1]), float(by_size[1][-1])]
    # Where all do, or none, nothing begins.
    assert thresholds_at(layers, [0, sizes[1]]) == [None, None]


def test_histograms_reach_from_zero_as_far_as_asked_and_have_room_where_all_is_zero(kernels):
    ranks = rank(kernels, "weight")
    for layer, twice, kernel in zip(distributions(ranks), distributions(ranks, 2.0), kernels, strict=False):
        assert (layer.edges[0], layer.edges[-1]) == (0, pytest.approx(np.abs(kernel).max()))
        assert twice.edges[-1] == pytest.approx(2 * layer.edges[-1])
        assert layer.counts.sum() == twice.counts.sum() == np.count_nonzero(kernel)
        assert layer.values.tolist() == sorted(np.abs(kernel[kernel != 0]).tolist())
    nothing = distributions(rank([np.zeros_like(kernels[0]), *kernels[1:]], "weight"))[0]
    assert (nothing.edges[-1], nothing.counts.sum()) == (1, 0)
    assert layer_names(kernels) == ["Hidden 1", "Hidden 2", "Output"]


def test_sparse_and_dense_products_agree():
    generator = np.random.default_rng(0)
    kernels = [generator.normal(size=shape).astype(np.float32) for shape in ((64, 300), (300, 200), (200, 10))]
    images = generator.random((70, 64), np.float32)
    for k in (0.95, 0.97, 0.99, 0.999):
        pruned = prune(kernels, "weight", k)
        np.testing.assert_allclose(logits(pruned, images), slow_logits(pruned, images), rtol=1e-4, atol=1e-3)
