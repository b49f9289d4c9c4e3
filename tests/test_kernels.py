from dataclasses import astuple

import numpy as np
import pytest

from core.evaluation import evaluate, examine, logits, predict
from core.kernels import Compacted, compact, difference
from core.network import as_network, balance, forward
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
    assert astuple(evaluate(tiny.kernels, seen, labels)) == pytest.approx(astuple(evaluate(pruned, images, labels)))


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
    assert found.multiply_adds == sum(kernel.size for kernel in compact(pruned).kernels) < sum(map(np.size, kernels))


def test_the_plain_products_are_those_that_are_scored(kernels, images):
    hidden = np.maximum(np.maximum(images @ kernels[0], 0) @ kernels[1], 0)
    np.testing.assert_allclose(forward(kernels, images), hidden @ kernels[2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits(kernels, images), hidden @ kernels[2], rtol=1e-4, atol=1e-4)


def test_all_images_are_compared_however_many(kernels):
    """In more than one batch; and one that only the last of them tells apart."""
    images = np.zeros((2_300, 20), np.float32)
    images[-1, 3] = 1
    # Whispered: a difference is a part of the largest logit, however small that is.
    kernels = [*kernels[:-1], kernels[-1] / 1_000]
    changed = [kernel.copy() for kernel in kernels]
    changed[0][3] = -kernels[0][3]
    found = difference(kernels, compact(changed), images)
    whole, small = forward(kernels, images[-1:]), forward(changed, images[-1:])
    assert whole.argmax() != small.argmax()
    assert (found.images, found.changed) == (2_300, 1)
    assert found.logits == pytest.approx(np.abs(whole - small).max() / np.abs(whole).max())
    first = difference(kernels, compact(changed), images[::-1])
    assert first.changed == 1
    # BLAS may round the last image of a batch differently from the first.
    assert first.logits == pytest.approx(found.logits)


def test_networks_that_say_nothing_differ_by_nothing_and_not_by_what_is_no_number(kernels):
    silent = [np.zeros_like(kernel) for kernel in kernels]
    images = np.ones((2, 20), np.float32)
    assert difference(silent, compact(silent), images).is_rounding
    assert difference(silent, Compacted(as_network(kernels), np.arange(20)), images).logits == pytest.approx(
        float(np.abs(forward(kernels, images)).max())
    )


def test_balanced_units_hear_as_loudly_as_they_are_heard(kernels, images):
    generator = np.random.default_rng(8)
    uneven = [(kernel * 10 ** generator.uniform(-4, 0, kernel.shape[1])).astype(np.float32) for kernel in kernels]
    uneven[0][:, 2] = 0  # a unit that hears nothing
    uneven[2][5] = 0  # one that nobody listens to
    before = [kernel.copy() for kernel in uneven]
    balanced = balance(uneven).matrices
    for kernel, kept, new in zip(uneven, before, balanced, strict=True):
        np.testing.assert_array_equal(kernel, kept)
        assert (new.dtype, new.shape) == (kernel.dtype, kernel.shape)
        assert np.isfinite(new).all()
        np.testing.assert_array_equal(new == 0, kernel == 0)
    alive = [np.arange(30) != 2, np.arange(25) != 5]
    for into, out, live in zip(balanced, balanced[1:], alive, strict=False):
        np.testing.assert_allclose(np.abs(into).max(axis=0)[live], np.abs(out).max(axis=1)[live], rtol=1e-3)
    # The units that are dead are left as they were, but for what their neighbours' factors do to them.
    np.testing.assert_allclose(forward(balanced, images), forward(uneven, images), rtol=1e-3, atol=1e-6)


def test_a_layer_without_units_is_balanced_too():
    empty = balance([np.zeros((3, 0), np.float32), np.zeros((0, 2), np.float32)]).matrices
    assert [kernel.shape for kernel in empty] == [(3, 0), (0, 2)]
