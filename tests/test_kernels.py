import numpy as np
import pytest

from core.evaluation import evaluate, examine, logits, predict
from core.kernels import compact
from core.pruning import METHODS, prune


@pytest.fixture
def images():
    return np.random.default_rng(1).random((200, 20), np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [0, 0.3, 0.8, 0.97, 1])
def test_a_compacted_network_answers_as_the_pruned_one(kernels, images, method, k):
    pruned = prune(kernels, method, k)
    labels = np.arange(len(images)) % kernels[-1].shape[1]
    tiny = compact(pruned)
    assert [kernel.shape[0] for kernel in tiny.kernels] == [
        len(tiny.inputs),
        *(kernel.shape[1] for kernel in tiny.kernels[:-1]),
    ]
    seen = images[:, tiny.inputs]
    np.testing.assert_allclose(logits(tiny.kernels, seen), logits(pruned, images), atol=1e-5)
    assert evaluate(tiny.kernels, seen, labels) == evaluate(pruned, images, labels)


@pytest.mark.parametrize("method", METHODS)
def test_compacting_reaches_the_fixed_point(kernels, method):
    tiny = compact(prune(kernels, method, 0.9))
    again = compact(tiny.kernels)
    assert [kernel.shape for kernel in again.kernels] == [kernel.shape for kernel in tiny.kernels]
    for kernel in tiny.kernels[:-1]:
        assert (kernel != 0).any(axis=0).all()
    for kernel in tiny.kernels:
        assert (kernel != 0).any(axis=1).all()


def test_one_pass_tells_score_predictions_and_size(kernels, images):
    pruned = prune(kernels, "unit", 0.6)
    labels = np.arange(len(images)) % kernels[-1].shape[1]
    found = examine(pruned, images, labels)
    assert found.score == evaluate(pruned, images, labels)
    np.testing.assert_array_equal(found.predictions, predict(pruned, images))
    assert np.mean(found.predictions == labels) == found.score.accuracy
    assert found.remaining == sum(np.count_nonzero(kernel) for kernel in compact(pruned).kernels)
