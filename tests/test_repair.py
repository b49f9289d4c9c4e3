from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.datasets import load_dataset
from core.evaluation import evaluate, logits
from core.kernels import Recipe, Repairer, repair
from core.kernels.layer import Problem, choose_units, choose_weights, largest, largest_directions, largest_of_all
from core.kernels.repairer import SUPPORTS, _share, importance
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


def test_kernels_of_more_digits_are_repaired_like_those_of_a_run(kernels, images):
    precise = [kernel.astype(np.float64) for kernel in kernels]
    for more, usual in zip(repair(precise, images, "unit", 0.5), repair(kernels, images, "unit", 0.5), strict=True):
        assert more.dtype == np.float32
        np.testing.assert_array_equal(more, usual)
    assert {kernel.dtype for kernel in Repairer(precise, images).network.matrices} == {np.dtype(np.float32)}


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
    fitted = Problem(inputs, targets, damping).fit(kept)
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
    layer = Problem(inputs, targets, 0.001)
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
    return Problem(activations, kernel.T @ activations, 0.003), kernel


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
        ({"method": "magic"}, "a method among .* Received: 'magic'"),
        ({"support": "magic"}, "a support among .* Received: 'magic'"),
        ({"scope": "magic"}, "a scope among .* Received: 'magic'"),
        ({"sparsity": 1.1}, "Received: 1.1"),
        ({"sparsity": [0.5]}, "one a hidden layer"),
        ({"network": [kernels[0], kernels[2]]}, "Received shapes"),
        ({"images": images[:, :5]}, r"Received: \(200, 5\)"),
        ({"images": images[:0]}, r"Received: \(0, 20\)"),
        ({"images": np.full_like(images, np.nan)}, "finite"),
        ({"recipe": Recipe(damping=0)}, "positive damping"),
    ):
        arguments = {"network": kernels, "images": images, "method": "weight", "sparsity": 0.5} | change
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


def ridge(inputs, targets, kept, damping):
    """Least squares for each unit on its support, in double precision: one more equation a weight wants it zero."""
    values = np.zeros(kept.shape)
    for unit in range(kept.shape[1]):
        rows = np.flatnonzero(kept[:, unit])
        wanted = np.diag(np.sqrt(damping) * np.linalg.norm(inputs[rows], axis=1))
        system = np.vstack([inputs[rows].T, wanted])
        sides = np.concatenate([targets[unit], np.zeros(len(rows))])
        values[rows, unit] = np.linalg.lstsq(system, sides, rcond=None)[0]
    return values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("support", SUPPORTS)
def test_each_layer_in_turn_is_fitted_to_what_the_dense_network_computes(kernels, images, method, support):
    """From the activations of what is repaired already, on what was chosen to stay, the output layer whole."""
    recipe = Recipe(rounds=0, damping=0.02)
    repaired = repair(kernels, images, method, 0.6, support=support, recipe=recipe)
    dense = activations = images.T.astype(np.float64)
    for layer, (kernel, small) in enumerate(zip(kernels, repaired, strict=True)):
        targets = kernel.T @ dense
        kept = small != 0
        if layer == 0 and method == "unit":
            # Nothing before the first layer is pruned, so its units stay what they are.
            expected = np.where(kept, kernel, 0)
        else:
            expected = ridge(activations, targets, kept, 0.02)
            silent = ~activations.any(axis=1)
            expected[silent] = np.where(kept, kernel, 0)[silent]
        np.testing.assert_allclose(small, expected, atol=2e-3)
        dense = np.maximum(targets, 0)
        activations = np.maximum(small.T.astype(np.float64) @ activations, 0)


def test_what_no_image_says_anything_about_goes_smallest_first(kernels, images):
    """540 of 600 weights stay, and images speak of 150 of them."""
    images[:, :15] = 0
    small = repair(kernels, images, "weight", 0.1)[0]
    gone, stays = (np.abs(kernels[0][:15][mask]) for mask in (small[:15] == 0, small[:15] != 0))
    assert len(gone) == 60
    assert gone.max() <= stays.min()


def test_units_that_move_nothing_come_last_but_are_not_undecided(kernels, images):
    kernels[1][4] = 0
    first = images @ kernels[0]
    before = [first.T, (np.maximum(first, 0) @ kernels[1]).T, np.zeros((10, len(images)))]
    found = importance(kernels, before)[0]
    assert found[4] == found.min() > 0
    moving = np.delete(found, 4)
    assert found[4] == pytest.approx(moving.sum() / 30 / 1_000, rel=1e-3)
    silent = [np.zeros_like(kernel) for kernel in kernels]
    np.testing.assert_array_equal(importance(silent, before)[0], np.full(30, 1e-3))


def test_refits_are_made_where_few_weights_stay(kernels, images):
    def repaired(k, **choices):
        return repair(kernels, images, "weight", k, recipe=Recipe(**choices))

    for k, differ in ((0.97, False), (0.98, True)):
        both = [repaired(k, rounds=rounds) for rounds in (0, 8)]
        assert any((one != other).any() for one, other in zip(*both, strict=True)) == differ
    both = [repaired(0.97, rounds=rounds, rounds_below=0.04) for rounds in (0, 8)]
    assert any((one != other).any() for one, other in zip(*both, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_budgets_of_layers_lie_between_equal_parts_and_what_the_layers_need(kernels, images, method):
    def kept(shift):
        recipe = Recipe(**{f"{method}_shift": shift})
        small = repair(kernels, images, method, 0.7, scope="global", recipe=recipe)[:-1]
        return [int((kernel != 0).sum() if method == "weight" else kernel.any(axis=0).sum()) for kernel in small]

    sizes = [600, 750] if method == "weight" else [30, 25]
    equal, between, needed = (kept(shift) for shift in (0, 0.5, 1))
    assert equal == [pytest.approx(0.3 * size, abs=1) for size in sizes]
    assert sum(equal) == sum(between) == sum(needed) == sum(sizes) - prune_count(sum(sizes), 0.7)
    assert equal[0] < between[0] < needed[0] or equal[0] > between[0] > needed[0]
    # In proportion to size and need alike: the geometric mean.
    middle = np.sqrt(np.multiply(sizes, needed))
    assert between == [pytest.approx(sum(needed) * part, abs=1) for part in middle / middle.sum()]


def test_largest_are_found_in_one_array_or_in_several_together():
    values = np.array([[3.0, 1.0], [2.0, 5.0]])
    others = np.array([4.0, 0.5, 6.0])
    for count, expected in ((0, [[0, 0], [0, 0]]), (1, [[0, 0], [0, 1]]), (3, [[1, 0], [1, 1]]), (4, [[1, 1], [1, 1]])):
        np.testing.assert_array_equal(largest(values, count), np.array(expected, bool))
        np.testing.assert_array_equal(largest_of_all([values], count)[0], np.array(expected, bool))
    first, second = largest_of_all([values, others], 4)
    assert first.tolist() == [[True, False], [False, True]]
    assert second.tolist() == [True, False, True]


def left_over(layer, rows, importance):
    """The error that is left with some inputs, each unit's counted by its importance; lower is better."""
    products = layer.products[rows] * importance
    return -float(np.sum(products * np.linalg.solve(layer.gram[np.ix_(rows, rows)], products)))


def test_exchanging_units_ends_where_it_no_longer_helps():
    for seed in range(6):
        layer, kernel = correlated(seed, inputs=14)
        importance = np.random.default_rng(seed).uniform(0.5, 2, kernel.shape[1])
        rows = list(np.flatnonzero(choose_units(layer, 4, importance, Recipe(steps=1))))
        without = {row: left_over(layer, [each for each in rows if each != row], importance) for row in rows}
        rest = [row for row in rows if row != min(without, key=without.get)]
        best = min(left_over(layer, [*rest, other], importance) for other in range(14) if other not in rest)
        assert left_over(layer, rows, importance) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("whole_rows", [False, True])
def test_admm_comes_close_to_the_best_support_there_is(whole_rows):
    """Looked for among all of them, in problems so small that this can be done."""
    ratios = []
    for seed in range(12):
        layer, kernel = correlated(seed, inputs=10, units=3 if whole_rows else 1)
        ones = np.ones(kernel.shape[1])
        if whole_rows:
            chosen = choose_units(layer, 3, ones, Recipe(swaps=0))
        else:
            chosen = choose_weights(layer, 3, ones, Recipe())[:, 0]
        whole = left_over(layer, [*range(10)], ones)
        best = min(left_over(layer, [*rows], ones) for rows in combinations(range(10), 3))
        ratios.append((left_over(layer, list(np.flatnonzero(chosen)), ones) - whole) / (best - whole))
    assert np.mean(ratios) < (1.02 if whole_rows else 1.1)


def test_units_that_matter_decide_which_inputs_stay():
    """Two units listen to different inputs; what stays are those of the one that moves the outputs."""
    generator = np.random.default_rng(8)
    inputs = generator.random((8, 200), np.float32)
    kernel = np.zeros((8, 2), np.float32)
    kernel[:4, 0] = kernel[4:, 1] = 1
    layer = Problem(inputs, kernel.T @ inputs, 0.003)
    for counts, expected in (([1, 0.01], [True] * 4 + [False] * 4), ([0.01, 1], [False] * 4 + [True] * 4)):
        assert choose_units(layer, 4, np.array(counts), Recipe()).tolist() == expected
        chosen = choose_weights(layer, 4, np.array(counts), Recipe())
        assert chosen.any(axis=1).tolist() == expected
        assert chosen[:, counts.index(0.01)].sum() == 0


def test_of_many_units_the_directions_that_say_most_are_looked_at():
    layer, _ = correlated(3, units=150)
    turned = largest_directions(layer.products)
    assert turned.shape == (40, 100)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(layer.products, axis=1), rtol=1e-4)


def test_units_that_hardly_move_the_outputs_keep_fewer_weights(kernels, images):
    kernels[1][7] /= 1_000
    kept = np.count_nonzero(repair(kernels, images, "weight", 0.7)[0], axis=0)
    assert kept[7] < kept.mean() / 2


def test_of_units_that_are_never_on_the_largest_stay(kernels, images):
    """18 of 30 stay, and ten are ever on."""
    kernels[0][:, 10:] = -np.abs(kernels[0][:, 10:]) - 0.1
    stays = repair(kernels, images, "unit", 0.4)[0].any(axis=0)
    norms = np.linalg.norm(kernels[0], axis=0)
    assert stays[:10].sum() + stays[10:].sum() == 18
    assert norms[10:][~stays[10:]].max() <= norms[10:][stays[10:]].min()


@given(networks(), sparsities, st.sampled_from(METHODS))
@settings(max_examples=60, deadline=None)
def test_global_repair_of_any_network_prunes_as_many_in_all(network, k, method):
    kernels, images = network
    small = repair(kernels, images, method, k, scope="global", recipe=QUICK)[:-1]
    sizes = [kernel.size if method == "weight" else kernel.shape[1] for kernel in small]
    left = [np.count_nonzero(kernel if method == "weight" else kernel.any(axis=0)) for kernel in small]
    assert sum(sizes) - sum(left) == prune_count(sum(sizes), k)
