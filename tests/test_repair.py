import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.datasets import load_dataset
from core.evaluation import evaluate, logits
from core.kernels import Recipe, Repairer, repair
from core.kernels.layer import Layer, choose_units, choose_weights
from core.kernels.repair import SUPPORTS, _share, importance
from core.pruning import METHODS, prune, prune_count, rank

sparsities = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
finite = st.floats(-2, 2, width=32).map(lambda value: round(value, 1) or 0.5)
pixels = st.floats(0, 1, width=32).map(lambda value: round(value, 1))  # many that are exactly zero
QUICK = Recipe(steps=6, rounds=2)


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=3, max_size=5))
    kernels = [draw(arrays(np.float32, shape, elements=finite)) for shape in zip(sizes, sizes[1:], strict=False)]
    return kernels, draw(arrays(np.float32, (draw(st.integers(1, 12)), sizes[0]), elements=pixels))


@pytest.fixture
def images():
    return np.random.default_rng(1).random((200, 20), np.float32)


@given(networks(), sparsities, st.sampled_from(METHODS), st.sampled_from(SUPPORTS))
@settings(max_examples=200, deadline=None)
def test_exactly_as_many_are_zero_as_pruning_zeroes(network, k, method, support):
    kernels, images = network
    before = [kernel.copy() for kernel in kernels]
    seen = images.copy()
    repaired = repair(kernels, images, method, k, support=support, recipe=QUICK)
    np.testing.assert_array_equal(images, seen)
    for dense, kept, small in zip(kernels, before, repaired, strict=True):
        np.testing.assert_array_equal(dense, kept)
        assert small.shape == dense.shape
        assert small.dtype == np.float32
        assert np.isfinite(small).all()
        assert not np.shares_memory(small, dense)
    for small in repaired[:-1]:
        gone = small == 0
        if method == "weight":
            assert gone.sum() == prune_count(small.size, k)
        else:
            np.testing.assert_array_equal(gone.any(axis=0), gone.all(axis=0))
            assert gone.all(axis=0).sum() == prune_count(small.shape[1], k)
    assert repaired[-1].all()


def test_a_unit_that_stays_has_no_zero_even_if_its_best_value_is_zero():
    generator = np.random.default_rng(6)
    shapes = [(1, 4), (4, 4), (4, 2)]
    kernels = [generator.choice([-1.5, -0.5, 0.5, 1.5], shape).astype(np.float32) for shape in shapes]
    images = np.array([[0.5], [1], [0]], np.float32)
    for kernel in repair(kernels, images, "unit", 0.5, support="magnitude")[:-1]:
        assert (kernel != 0).any(axis=0).sum() == 2
        assert (kernel != 0).all(axis=0).sum() == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("k", [0.3, 0.6, 0.9])
def test_a_repaired_network_is_closer_to_the_dense_one_than_a_pruned_one(kernels, images, method, support, k):
    wanted = logits(kernels, images)
    repaired = repair(kernels, images, method, k, support=support)
    lost = np.square(logits(prune(kernels, method, k), images) - wanted).mean()
    assert np.square(logits(repaired, images) - wanted).mean() < 0.5 * lost


@pytest.mark.parametrize("method", METHODS)
def test_with_magnitude_support_the_same_stays_as_in_pruning(kernels, images, method):
    # The kernels of the fixture have zeros of their own, which pruning takes first.
    repaired = repair(kernels, images, method, 0.6, support="magnitude")
    for small, kept in zip(repaired[:-1], prune(kernels, method, 0.6)[:-1], strict=True):
        if method == "weight":
            assert not ((small != 0) & (kept == 0)).any()
        else:
            np.testing.assert_array_equal(small.any(axis=0), kept.any(axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_both_ends(kernels, images, method):
    for dense, same in zip(kernels, repair(kernels, images, method, 0), strict=True):
        np.testing.assert_array_equal(dense, same)
        assert not np.shares_memory(dense, same)
    empty = repair(kernels, images, method, 1)
    assert all(not kernel.any() for kernel in empty[:-1])
    np.testing.assert_array_equal(empty[-1], np.where(kernels[-1] == 0, np.finfo(np.float32).tiny, kernels[-1]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("support", SUPPORTS)
def test_the_same_inputs_give_the_same_network_however_often_and_in_whatever_order(
    kernels, images, method, scope, support
):
    options = {"support": support, "scope": scope}
    alone = repair(kernels, images, method, 0.8, **options)
    shared = Repairer(kernels, images)
    shared.repair("weight", 0.5)
    shared.repair("unit", 0.3, support="magnitude")
    for one, other in zip(alone, shared.repair(method, 0.8, **options).kernels, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("support", SUPPORTS)
def test_global_repair_prunes_the_fraction_of_all_layers_together(kernels, images, method, support):
    repaired = repair(kernels, images, method, 0.7, support=support, scope="global")
    if method == "weight":
        zeros = sum(int((kernel == 0).sum()) for kernel in repaired[:-1])
        total = sum(kernel.size for kernel in kernels[:-1])
    else:
        zeros = sum(int((kernel == 0).all(axis=0).sum()) for kernel in repaired[:-1])
        total = sum(kernel.shape[1] for kernel in kernels[:-1])
    assert zeros == prune_count(total, 0.7)
    if support == "magnitude":
        for small, kept in zip(
            repaired, rank(kernels, method, scope="global").prune([np.ones_like(w) for w in kernels], 0.7), strict=True
        ):
            assert not small[kept == 0].any()


def test_each_layer_can_have_its_own_k(kernels, images):
    repaired = repair(kernels, images, "weight", [0.9, 0])
    assert [int((kernel == 0).sum()) for kernel in repaired[:-1]] == [prune_count(kernels[0].size, 0.9), 0]


@pytest.mark.parametrize("kept_part", [0.2, 0.5, 0.8, 1])
def test_values_on_the_support_are_the_ridge_solution(kept_part):
    generator = np.random.default_rng(5)
    inputs = generator.random((12, 60)).astype(np.float32) * generator.uniform(0.1, 9, (12, 1)).astype(np.float32)
    targets = generator.normal(size=(7, 60)).astype(np.float32)
    damping = 0.01
    kept = generator.random((12, 7)) < kept_part
    fitted = Layer(inputs, targets, damping).fit(kept)
    assert not fitted[~kept].any()
    for unit in range(7):
        rows = np.flatnonzero(kept[:, unit])
        # Ridge as least squares: one more equation a weight, that wants it to be zero.
        scale = np.linalg.norm(inputs[rows], axis=1)
        system = np.vstack([inputs[rows].T, np.diag(np.sqrt(damping) * scale)])
        sides = np.concatenate([targets[unit], np.zeros(len(rows))])
        expected = np.linalg.lstsq(system.astype(np.float64), sides, rcond=None)[0]
        np.testing.assert_allclose(fitted[rows, unit], expected, rtol=1e-3, atol=1e-4)


def missed(layer, weights, rectified=True):
    """What is wrong in the units' values after ReLU, or without it: the sum of the squares."""
    floor = 0 if rectified else -np.inf
    return float(np.sum(np.square(np.maximum(weights.T @ layer.inputs, floor) - np.maximum(layer.targets, floor))))


@pytest.mark.parametrize("everything", [False, True])
def test_refits_lower_the_error_after_relu(everything):
    generator = np.random.default_rng(6)
    inputs = generator.random((30, 400), np.float32)
    targets = generator.normal(size=(30, 20)).astype(np.float32).T @ inputs
    kept = (generator.random((30, 20)) < 0.3) if not everything else np.ones((30, 20), bool)
    if everything:
        inputs = inputs[:10]
        kept = kept[:10]
    layer = Layer(inputs, targets, 0.001)
    errors = [missed(layer, layer.fit(kept, rounds)) for rounds in (0, 2, 8, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < errors[1] < errors[0]
    assert not layer.fit(kept, 8)[~kept].any()


def correlated(seed, inputs=40, units=25, images=300):
    """A layer whose inputs overlap, as those of trained networks do, and its dense kernel."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(inputs, 8)) @ generator.normal(size=(8, images))
    activations = np.maximum(shared + generator.normal(size=shared.shape), 0).astype(np.float32)
    kernel = generator.normal(size=(inputs, units)).astype(np.float32)
    return Layer(activations, kernel.T @ activations, 0.003), kernel


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kept_part", [0.05, 0.2, 0.5])
def test_admm_finds_supports_with_less_error_than_magnitude(seed, kept_part):
    layer, kernel = correlated(seed)
    keep = int(kernel.size * kept_part)
    chosen = choose_weights(layer, keep, np.ones(kernel.shape[1]), Recipe())
    largest = np.abs(kernel) >= np.sort(np.abs(kernel), axis=None)[-keep]
    assert chosen.sum() == largest.sum() == keep
    assert missed(layer, layer.fit(chosen), False) <= missed(layer, layer.fit(largest), False)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("keep", [2, 8, 20])
def test_units_are_chosen_with_less_error_than_by_norm(seed, keep):
    layer, kernel = correlated(seed)
    chosen = choose_units(layer, keep, np.ones(kernel.shape[1]), Recipe())
    norms = layer.scale * np.linalg.norm(kernel, axis=1)
    largest = norms >= np.sort(norms)[-keep]
    assert chosen.sum() == largest.sum() == keep

    def error(rows):
        return missed(layer, layer.fit(np.repeat(rows[:, None], kernel.shape[1], axis=1)), False)

    assert error(chosen) <= error(largest)
    assert error(chosen) <= error(choose_units(layer, keep, np.ones(kernel.shape[1]), Recipe(swaps=0)))


def test_importance_is_the_rms_derivative_of_the_outputs(kernels, images):
    kernels = [kernel.astype(np.float64) for kernel in kernels]
    first = images @ kernels[0]
    found = importance(kernels, [first.T, (np.maximum(first, 0) @ kernels[1]).T, np.zeros((10, len(images)))])

    def outputs(pre_activations):
        return np.maximum(np.maximum(pre_activations, 0) @ kernels[1], 0) @ kernels[2]

    for unit in (0, 7):
        step = np.zeros(30)
        step[unit] = 1e-7
        slopes = (outputs(first + step) - outputs(first - step)) / 2e-7
        np.testing.assert_allclose(found[0][unit], np.sqrt(np.square(slopes).sum(axis=1).mean()), rtol=1e-3)
    np.testing.assert_array_equal(found[-1], np.ones(10))


def test_only_so_many_images_are_used_evenly_spaced(kernels, images):
    repairer = Repairer(kernels, images, Recipe(images=50))
    np.testing.assert_array_equal(repairer.images, np.arange(0, 200, 4))
    report = repairer.repair("weight", 0.8)
    assert report.images == 50
    assert report.seconds > 0
    for one, other in zip(report.kernels, repair(kernels, images[::4], "weight", 0.8), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_no_image_says_anything_about_stays_as_trained(kernels, images):
    images[:, :5] = 0
    small = repair(kernels, images, "weight", 0.1)[0]
    untold = small[:5] != 0
    assert untold.any()
    dense = np.where(kernels[0] == 0, np.finfo(np.float32).tiny, kernels[0])
    np.testing.assert_array_equal(small[:5][untold], dense[:5][untold])


def test_bad_arguments_are_refused(kernels, images):
    for change, message in (
        ({"method": "magic"}, "Received: 'magic'"),
        ({"support": "magic"}, "Received: 'magic'"),
        ({"scope": "magic"}, "Received: 'magic'"),
        ({"sparsity": 1.1}, "Received: 1.1"),
        ({"sparsity": [0.5]}, "one a hidden layer"),
        ({"kernels": [kernels[0], kernels[2]]}, "Received shapes"),
        ({"images": images[:, :5]}, r"Received: \(200, 5\)"),
        ({"images": images[:0]}, r"Received: \(0, 20\)"),
        ({"images": np.full_like(images, np.nan)}, "finite"),
        ({"recipe": Recipe(damping=0)}, "positive damping"),
    ):
        arguments = {"kernels": kernels, "images": images, "method": "weight", "sparsity": 0.5} | change
        with pytest.raises(ValueError, match=message):
            repair(**arguments)


@pytest.fixture(scope="module")
def trained(trained_run, trained_cache):
    return trained_run.kernels(), load_dataset("optdigits", trained_cache)


@pytest.mark.parametrize(
    ("method", "support", "k"), [("weight", "admm", 0.9), ("weight", "magnitude", 0.9), ("unit", "admm", 0.9)]
)
def test_repair_wins_back_accuracy_on_images_it_never_saw(trained, method, support, k):
    kernels, data = trained
    small = repair(kernels, data.train.images, method, k, support=support)
    pruned, repaired, dense = (
        evaluate(each, data.test.images, data.test.labels) for each in (prune(kernels, method, k), small, kernels)
    )
    assert repaired.accuracy > pruned.accuracy + 0.08
    assert repaired.accuracy > 0.7 * dense.accuracy
    assert repaired.loss < pruned.loss


def test_shares_are_whole_and_fit():
    sizes = np.array([10, 100, 5])
    for total in range(116):
        shares = _share(total, np.array([9.0, 1.0, 1.0]), sizes)
        assert shares.sum() == total
        assert (shares >= 0).all()
        assert (shares <= sizes).all()
    assert _share(11, np.array([9.0, 1.0, 1.0]), sizes).tolist() == [9, 1, 1]
