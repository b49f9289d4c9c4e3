from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.evaluation import rms_activations
from core.pruning import METHODS, RANKINGS, SCOPES, SHUFFLED, prune, prune_count, rank

sparsities = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
finite = st.floats(-2, 2, width=32).map(lambda value: round(value, 1) or 0.5)  # many ties, no zeros


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=3, max_size=5))
    return [draw(arrays(np.float32, shape, elements=finite)) for shape in zip(sizes, sizes[1:], strict=False)]


@given(networks(), sparsities, st.sampled_from(METHODS))
@settings(max_examples=200, deadline=None)
def test_exactly_the_smallest_go_and_nothing_else_changes(kernels, k, method):
    before = [kernel.copy() for kernel in kernels]
    pruned = prune(kernels, method, k)
    for kernel, kept in zip(kernels, before, strict=True):
        np.testing.assert_array_equal(kernel, kept)
    np.testing.assert_array_equal(pruned[-1], kernels[-1])
    assert not np.shares_memory(pruned[-1], kernels[-1])
    for dense, small, zeros in zip(kernels[:-1], pruned[:-1], rank(kernels, method).zeroed(kernels, k), strict=True):
        gone = small == 0
        assert gone.sum() == zeros
        assert small.dtype == dense.dtype
        np.testing.assert_array_equal(small[~gone], dense[~gone])
        if method == "weight":
            assert gone.sum() == int(Fraction(str(k)) * dense.size)
            size = np.abs(dense)
        else:
            columns = gone.all(axis=0)
            np.testing.assert_array_equal(gone.any(axis=0), columns)
            assert columns.sum() == int(Fraction(str(k)) * dense.shape[1])
            size, gone = np.linalg.norm(dense.astype(np.float64), axis=0), columns
        if gone.any() and not gone.all():
            assert size[gone].max() <= size[~gone].min() + 1e-12


@given(networks(), sparsities, st.data())
@settings(max_examples=200, deadline=None)
def test_zeros_count_whatever_set_them(dense, k, data):
    """A fine-tuned network has zeros, and so have whole units of it."""
    kernels = [np.where(data.draw(arrays(bool, kernel.shape)), kernel, 0) for kernel in dense]
    if data.draw(st.booleans()):
        kernels[0][:, 0] = 0
    method = data.draw(st.sampled_from(METHODS))
    name, scope = data.draw(st.sampled_from([*RANKINGS, *SHUFFLED])), data.draw(st.sampled_from(SCOPES))
    rms = rms_activations(kernels, np.random.default_rng(0).random((5, len(kernels[0])), np.float32))
    ranking = rank(kernels, method, name, scope, rms)
    small = ranking.prune(kernels, k)
    assert ranking.zeroed(kernels, k) == [int((kernel == 0).sum()) for kernel in small[:-1]]
    what = [kernel if method == "weight" else kernel.any(axis=0) for kernel in kernels[:-1]]
    gone = [ranks < count for ranks, count in zip(ranking.ranks, ranking._counts(k), strict=True)]
    assert ranking.taken(k) == [int(((each != 0) & mask).sum()) for each, mask in zip(what, gone, strict=True)]


@given(networks(), sparsities, sparsities, st.sampled_from(METHODS))
@settings(max_examples=100, deadline=None)
def test_pruned_sets_nest(kernels, one, other, method):
    low, high = sorted((one, other))
    for small, smaller in zip(prune(kernels, method, low), prune(kernels, method, high), strict=True):
        assert not np.any((small == 0) & (smaller != 0))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("method", METHODS)
def test_ties_fall_in_stable_order(method, scope):
    """Among equals the earlier goes first; so many of them that a sort that is not stable mixes them up."""
    generator = np.random.default_rng(4)
    kernels = [generator.choice(np.array([-2, -1, 1, 2], np.float32), (40, 300))]
    kernels += [np.ones((300, 200), np.float32), np.ones((200, 3), np.float32)]
    if method == "unit":
        # Whole columns of one value each, so that their norms are equal.
        kernels[0] = np.broadcast_to(kernels[0][0], (40, 300)).copy()
    layers = [np.abs(kernel if method == "weight" else kernel[0]) for kernel in kernels[:-1]]
    if method == "unit":
        layers = [layer * np.sqrt(len(kernel)) for layer, kernel in zip(layers, kernels, strict=False)]
    pools = [np.concatenate([layer.ravel() for layer in layers])] if scope == "global" else layers
    expected = []
    for pool in pools:
        values = pool.ravel().tolist()
        place = {index: rank for rank, index in enumerate(sorted(range(len(values)), key=lambda i: (values[i], i)))}
        expected += [place[index] for index in range(len(values))]
    ranks = rank(kernels, method, scope=scope).ranks
    assert np.concatenate([layer.ravel() for layer in ranks]).tolist() == expected


def test_weights_that_are_zero_already_are_taken_first():
    kernels = [np.array([[3.0, 0.0, -1.0, 2.0]], np.float32), np.ones((4, 2), np.float32)]
    np.testing.assert_array_equal(prune(kernels, "weight", 0.5)[0], [[3, 0, 0, 2]])


@pytest.mark.parametrize("method", METHODS)
def test_both_ends(kernels, method):
    for dense, same in zip(kernels, prune(kernels, method, 0), strict=True):
        np.testing.assert_array_equal(dense, same)
    empty = prune(kernels, method, 1)
    assert all(not kernel.any() for kernel in empty[:-1])
    assert empty[-1].any()


@pytest.mark.parametrize(
    ("total", "k", "count"),
    [(200, 0.29, 58), (1000, 0.29, 290), (100, np.float32(0.29), 29), (3, 0.999, 2), (7, 1, 7), (7, 0.0, 0)],
)
def test_counts_are_exact(total, k, count):
    assert prune_count(total, k) == count


@pytest.mark.parametrize("k", [-0.1, 1.0001, float("nan"), float("inf"), "half", None])
def test_bad_sparsities_are_refused(kernels, k):
    with pytest.raises(ValueError, match="Received"):
        prune(kernels, "weight", k)


def test_bad_methods_and_shapes_are_refused(kernels):
    with pytest.raises(ValueError, match=r"^Expected a method among weight, unit\. Received: 'magic'"):
        prune(kernels, "magic", 0.5)
    with pytest.raises(ValueError, match="Received shapes"):
        prune([kernels[0], kernels[2]], "weight", 0.5)
    for wrong in ([], [kernels[0][0]], [kernels[0], kernels[1][0]]):
        with pytest.raises(ValueError, match="Received shapes"):
            prune(wrong, "weight", 0.5)
    with pytest.raises(ValueError, match=r"a scope among layer, global\. Received: 'all'\."):
        rank(kernels, "weight", scope="all")
    with pytest.raises(ValueError, match=r"a ranking among magnitude, activation, random, .*\. Received: 'magic'\."):
        rank(kernels, "weight", "magic")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_what_is_pruned_is_zero_even_if_it_was_no_number(kernels, method, kind):
    broken = [kernel.astype(kind) for kernel in kernels]
    broken[0][1, 2], broken[1][0, 0] = np.inf, np.nan
    for dense, small in zip(broken[:-1], prune(broken, method, 1), strict=False):
        np.testing.assert_array_equal(small, np.zeros_like(dense))
        assert small.dtype == kind


def test_norms_are_summed_in_double_precision():
    """In single precision the many small ones beside a large one are lost."""
    kernel = np.full((40_001, 2), 1e-4, np.float32)
    kernel[0] = 1
    kernel[0, 1] = np.nextafter(np.float32(1), np.float32(0))
    kernel[1:, 1] = 1.01e-4
    assert rank([kernel, np.ones((2, 1), np.float32)], "unit").ranks[0].tolist() == [0, 1]
    scores = rank([kernel, np.ones((2, 1), np.float32)], "unit").scores[0]
    np.testing.assert_allclose(scores, np.sqrt((kernel.astype(float) ** 2).sum(axis=0)), rtol=1e-12)


@pytest.fixture
def activations(kernels):
    return rms_activations(kernels, np.random.default_rng(3).random((40, 20), np.float32))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*RANKINGS, *SHUFFLED])
@pytest.mark.parametrize("scope", SCOPES)
def test_every_ranking_prunes_exact_counts_that_nest_and_spares_the_output(kernels, activations, method, name, scope):
    ranking = rank(kernels, method, name, scope, activations)
    before = None
    for k in (0, 0.29, 0.5, 0.97, 1):
        pruned = ranking.prune(kernels, k)
        counts = ranking.pruned(k)
        sizes = [ranks.size for ranks in ranking.ranks]
        if scope == "layer":
            assert counts == [prune_count(size, k) for size in sizes]
        assert sum(counts) == sum(prune_count(size, k) for size in ([sum(sizes)] if scope == "global" else sizes))
        np.testing.assert_array_equal(pruned[-1], kernels[-1])
        gone = [ranks < count for ranks, count in zip(ranking.ranks, ranking._counts(k), strict=True)]
        for dense, small, mask, zeros in zip(kernels, pruned, gone, ranking.zeroed(kernels, k), strict=False):
            full = np.broadcast_to(mask, dense.shape)
            assert (full | (dense == 0)).sum() == zeros
            np.testing.assert_array_equal(small, np.where(full, 0, dense))
        if before is not None:
            assert all((now | ~then).all() for now, then in zip(gone, before, strict=True))
        before = gone


def test_global_pruning_takes_the_smallest_of_all_layers(kernels):
    pruned = rank(kernels, "weight", scope="global").prune(kernels, 0.5)
    gone = np.concatenate([np.abs(d[p == 0]) for d, p in zip(kernels[:-1], pruned, strict=False)])
    kept = np.concatenate([np.abs(p[p != 0]) for p in pruned[:-1]])
    assert gone.max() <= kept.min()


def test_activation_ranking_is_weight_times_input(kernels, activations):
    weights = rank(kernels, "weight", "activation", activations=activations).scores
    np.testing.assert_allclose(weights[1], np.abs(kernels[1]) * activations[1][:, None])
    units = rank(kernels, "unit", "activation", activations=activations).scores
    np.testing.assert_allclose(units[0], activations[1] * np.linalg.norm(kernels[1], axis=1), rtol=1e-6)
    np.testing.assert_allclose(weights[0], np.abs(kernels[0]) * activations[0][:, None])
    np.testing.assert_allclose(units[1], activations[2] * np.linalg.norm(kernels[2], axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match=r"sizes \[20, 30, 25\]\. Received: None\."):
        rank(kernels, "unit", "activation")
    for method in METHODS:
        with pytest.raises(ValueError, match=r"sizes \[20, 30, 25\]\. Received: \[20, 30\]\."):
            rank(kernels, method, "activation", activations=activations[:2])


def test_random_ranking_follows_its_seed(kernels):
    one, same, other = (rank(kernels, "weight", "random", seed=seed).ranks[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    # Seed 0 is what is taken where none is said; and no layer is like another.
    np.testing.assert_array_equal(one, rank(kernels, "weight", "random").ranks[0])
    square = [np.ones((6, 6), np.float32)] * 3
    for method in METHODS:
        first, second = rank(square, method, "random").scores
        assert first.shape == second.shape == ((6, 6) if method == "weight" else (6,))
        assert len({*first.ravel(), *second.ravel()}) == first.size + second.size


def test_a_seed_gives_the_order_that_scores_in_earlier_caches_are_of():
    kernels = [np.ones(shape, np.float32) for shape in ((2, 4), (4, 3), (3, 2))]

    def order(*arguments):
        return [ranks.ravel().tolist() for ranks in rank(kernels, *arguments, seed=3).ranks]

    assert order("weight", "random")[0] == [6, 0, 1, 3, 2, 5, 7, 4]
    assert order("unit", "random") == [[3, 0, 1, 2], [0, 1, 2]]
    assert order("unit", "random", "global") == [[5, 0, 1, 3], [2, 4, 6]]
    assert order("weight", "magnitude-shuffled", "global")[0] == [6, 7, 2, 1, 4, 5, 3, 0]
    assert order("unit", "magnitude-shuffled", "global") == [[3, 2, 1, 0], [4, 5, 6]]


@given(networks(), sparsities, sparsities, st.sampled_from(METHODS), st.sampled_from([*SHUFFLED]), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_shuffled_ranks_take_as_many_of_each_layer_as_their_ranking_and_nest(kernels, one, other, method, name, seed):
    low, high = sorted((one, other))
    rms = rms_activations(kernels, np.random.default_rng(0).random((5, len(kernels[0])), np.float32))
    theirs = rank(kernels, method, SHUFFLED[name], "global", rms)
    shuffled = rank(kernels, method, name, "global", rms, seed)
    for k in (low, high):
        assert shuffled.pruned(k) == theirs.pruned(k)
        # No weight of these networks is zero before, so those that are zero after are those that went.
        counts = [int((kernel == 0).sum()) for kernel in shuffled.prune(kernels, k)[:-1]]
        assert counts == theirs.zeroed(kernels, k)
    for small, smaller in zip(shuffled.prune(kernels, low), shuffled.prune(kernels, high), strict=True):
        assert not np.any((small == 0) & (smaller != 0))


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_ranks_are_another_choice_for_each_seed_and_the_same_for_one(kernels, method):
    theirs = rank(kernels, method, scope="global").ranks
    one, same, other = (rank(kernels, method, "magnitude-shuffled", "global", seed=seed).ranks for seed in (0, 0, 1))
    for layer in range(len(theirs)):
        np.testing.assert_array_equal(one[layer], same[layer])
        assert (one[layer] != other[layer]).any()
        assert (one[layer] != theirs[layer]).any()
    # What is shown of the order is shuffled with it: each rank keeps its score.
    original, shuffled = rank(kernels, method, scope="global"), rank(kernels, method, "magnitude-shuffled", "global")
    for before, after in zip(
        zip(original.ranks, original.scores, strict=True),
        zip(shuffled.ranks, shuffled.scores, strict=True),
        strict=True,
    ):
        assert dict(zip(*map(np.ravel, before), strict=True)) == dict(zip(*map(np.ravel, after), strict=True))
    assert (shuffled.method, shuffled.pools) == (method, original.pools)


def test_each_layer_can_have_its_own_k(kernels):
    pruned = prune(kernels, "unit", [0.5, 0])
    assert (pruned[0] == 0).all(axis=0).sum() == 15
    np.testing.assert_array_equal(pruned[1], kernels[1])
    with pytest.raises(ValueError, match="one a hidden layer"):
        prune(kernels, "unit", [0.5, 0, 0])


def test_rms_activations_are_those_of_the_forward_pass(kernels):
    images = np.random.default_rng(2).random((30, 20), np.float32)
    hidden = np.maximum(images @ kernels[0], 0)
    rms = rms_activations(kernels, images)
    assert [len(values) for values in rms] == [20, 30, 25]
    np.testing.assert_allclose(rms[0], np.sqrt((images**2).mean(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(rms[1], np.sqrt((hidden**2).mean(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(
        rms[2], np.sqrt((np.maximum(hidden @ kernels[1], 0) ** 2).mean(axis=0, dtype=float)), rtol=1e-5
    )
    assert {values.dtype for values in rms} == {np.dtype(np.float32)}


def test_rms_activations_of_many_images_do_not_lose_the_small_ones():
    images = np.full((70_000, 1), 1e-3, np.float32)
    images[0] = 30
    expected = np.sqrt((images.astype(float) ** 2).mean())
    assert rms_activations([np.ones((1, 1), np.float32)], images)[0][0] == pytest.approx(expected, rel=1e-7)
