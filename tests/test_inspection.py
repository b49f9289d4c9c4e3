import numpy as np
import pytest

from core.analysis.inspection import by_class, pixel_connections, prune_one_layer, receptive_fields
from core.evaluation import predict
from core.pruning import Sparsity, prune, rank
from core.scoring import fine_curve
from core.sweep import Criterion


@pytest.fixture
def images():
    return np.random.default_rng(1).random((200, 20), np.float32)


@pytest.fixture
def labels(kernels, images):
    """What the dense network says, but for every fifth image."""
    labels = predict(kernels, images)
    labels[::5] = (labels[::5] + 1) % 10
    return labels


@pytest.mark.parametrize("k", [0, 0.42, 0.9, 1])
def test_classes_and_confusion_count_every_image_where_it_belongs(kernels, images, labels, k):
    dense, pruned = predict(kernels, images), predict(prune(kernels, "weight", k), images)
    result = by_class(dense, pruned, labels, 10)
    for row in result.classes.itertuples():
        mine = labels == row.Index
        assert row.images == mine.sum()
        if mine.any():
            assert row.dense == np.mean(dense[mine] == row.Index)
            assert row.pruned == np.mean(pruned[mine] == row.Index)
    for before in range(10):
        for after in range(10):
            assert result.confusion[before, after] == np.count_nonzero((dense == before) & (pruned == after))


def test_live_connections_do_not_count_dead_units():
    first = np.array([[1, 1], [0, 1]], np.float32)
    second = np.array([[1], [0]], np.float32)  # the second unit reaches nothing
    assert pixel_connections([first, second]).tolist() == [1, 0]


def test_receptive_fields_are_the_strongest_that_survive(kernels):
    pruned = prune(kernels, "unit", 0.5)
    units, weights = receptive_fields(pruned, kernels, count=4)
    norms = np.linalg.norm(kernels[0], axis=0)
    assert units.tolist() == np.argsort(-norms, kind="stable")[:4].tolist()
    np.testing.assert_array_equal(weights, kernels[0].T[units])
    assert len(receptive_fields(prune(kernels, "unit", 1), kernels)[0]) == 0


def test_one_layer_is_pruned_alone(kernels, images, labels):
    score = prune_one_layer(kernels, rank(kernels, "unit"), 1, 0.5, images, labels)
    alone = [kernels[0], prune(kernels, "unit", 0.5)[1], kernels[2]]
    assert score.accuracy == np.mean(predict(alone, images) == labels)


@pytest.mark.parametrize("k", [0.0, 0.29, 0.57, 0.995, 1.0, (0.5, 0.9), (0.0, 1.0)])
def test_a_k_survives_its_address(k):
    assert Sparsity.parse(str(Sparsity(k)), 2) == k


def test_a_k_is_found_where_its_number_is_a_key():
    assert {0.9: "found"}[Sparsity(0.9)] == "found"
    assert {Sparsity((0.5, 0.9)): "found"}[Sparsity.of([0.5, 0.9])] == "found"
    # One for the only hidden layer is not one for all.
    assert Sparsity.of([0.5]) != Sparsity(0.5)


def test_the_plan_asks_for_nothing_twice_once_done():
    criteria = {criterion for criterion, _ in fine_curve()}
    assert Criterion("weight") in criteria
    assert {criterion.ranking for criterion in criteria} == {"magnitude", "activation", "random"}
