"""Runs beside each other: folding, knees and curves, against numbers worked out by hand."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from core import runs
from core.analysis import comparison
from core.charts.curves import LOOKS, X_AXES, Y_AXES, comparison_curves, x_axis
from core.charts.palette import GREY, METHOD_COLORS, METHOD_NAMES
from core.config import K_VALUES, TrainingConfig
from core.datasets import load_dataset
from core.evaluation import evaluate, rms_activations
from core.kernels import compact, live_units
from core.pruning import METHODS, prune
from core.runs import layout
from core.runs.predictions import write_predictions
from core.scoring import baseline, experiment, score_run
from core.sweep import ROW_KEY, Criterion
from pages.shared import downloads
from tests.conftest import SMALL
from tests.made_up import scores


def test_seeds_fold_to_mean_and_sample_deviation():
    folded = comparison.fold_seeds(pd.concat([scores("a", 0, [0.9, 0.8, 0.4]), scores("b", 1, [0.8, 0.8, 0.2])]))
    assert folded.n.tolist() == [2, 2, 2]
    assert folded.accuracy.tolist() == pytest.approx([0.85, 0.8, 0.3])
    assert folded.accuracy_sd.tolist() == pytest.approx([np.sqrt(0.005), 0, np.sqrt(0.02)])
    # The change is that of each network from its own dense self.
    assert folded.change.tolist() == pytest.approx([0, -0.05, -0.55])
    assert folded.compression.tolist() == pytest.approx([1, 2, 12.5])


def test_one_network_has_no_deviation():
    folded = comparison.fold_seeds(scores("a", 0, [0.9, 0.8, 0.4]))
    assert folded.accuracy_sd.isna().all()
    (curve,) = [curve for curve in comparison_curves(folded, "sparsity", "accuracy") if curve.symbol]
    assert curve.spread is None


def test_copies_of_a_network_are_one_network():
    folded = comparison.fold_seeds(pd.concat([scores("a", 0, [0.9, 0.8]), scores("copy", 0, [0.9, 0.8])]))
    assert folded.n.tolist() == [1, 1]
    assert folded.accuracy_sd.isna().all()


def test_earlier_versions_counted_no_multiply_adds():
    whole = scores("a", 0, [0.9, 0.8])
    assert comparison.fold_seeds(whole).multiply_adds.tolist() == whole.multiply_adds.tolist()
    # Beside runs without them, pandas keeps whole numbers as objects.
    among_others = comparison.fold_seeds(whole.astype({"multiply_adds": object})).multiply_adds
    assert among_others.tolist() == whole.multiply_adds.tolist()
    assert among_others.dtype == float
    folded = comparison.fold_seeds(whole.drop(columns="multiply_adds"))
    assert folded.accuracy.tolist() == [0.9, 0.8]
    assert "multiply_adds" not in folded


def test_rows_stand_by_criterion_then_by_k_however_they_came():
    whole = pd.concat([scores("a", 0, [0.9, 0.8, 0.7], method=method, recovery="none") for method in METHODS])
    mixed = whole.sample(frac=1, random_state=np.random.default_rng(0))
    ordered = comparison.defaults_first(mixed)
    assert ordered.method.tolist() == [METHODS[0]] * 3 + [METHODS[1]] * 3
    assert ordered.k.tolist() == sorted(set(whole.k)) * 2


def test_what_was_not_counted_for_one_is_not_known_of_the_mean():
    old = scores("b", 1, [0.9, 0.8]).assign(removable=pd.array([None, None], "Int64"))
    folded = comparison.fold_seeds(pd.concat([scores("a", 0, [0.9, 0.8]), old]))
    assert folded.n.tolist() == [2, 2]
    assert folded.compression.isna().all()


def random_orders(networks: list[list[float]]) -> pd.DataFrame:
    """Networks pruned at random at k = 0, in some orders each."""
    return pd.concat(
        scores("a", seed, [value], ranking="random", ranking_seed=order)
        for seed, values in enumerate(networks)
        for order, value in enumerate(values)
    )


def test_random_orders_are_nested_in_networks():
    """Orders that lie far apart do not make networks that do, nor the other way round."""
    (row,) = comparison.fold_seeds(random_orders([[0.1, 0.5], [0.2, 0.4], [0.0, 0.9]])).itertuples()
    assert (row.n, row.networks, row.orders) == (3, 3, 2)
    assert row.accuracy == pytest.approx(np.mean([0.3, 0.3, 0.45]))
    assert row.accuracy_sd == pytest.approx(np.std([0.3, 0.3, 0.45], ddof=1))
    (alone,) = comparison.fold_seeds(random_orders([[0.1, 0.5, 0.9]])).itertuples()
    assert (alone.n, alone.networks, alone.orders) == (3, 1, 3)
    assert alone.accuracy_sd == pytest.approx(np.std([0.1, 0.5, 0.9], ddof=1))
    # A network counts once, however many of its orders are known.
    (uneven,) = comparison.fold_seeds(random_orders([[0.1, 0.1, 0.1], [0.5]])).itertuples()
    assert uneven.accuracy == pytest.approx(0.3)


def in_three_states() -> pd.DataFrame:
    repaired = scores("a", 0, [0.9, 0.85, 0.6], ranking="admm", recovery="repair", state="repaired")
    trained = scores("a", 0, [0.9], recovery="gradual", state="fine-tuned, pruned gradually, 12 epochs").assign(k=0.9)
    return pd.concat([scores("a", 0, [0.9, 0.8, 0.4]), repaired, trained])


def test_what_is_as_pruned_repaired_and_trained_on_is_never_mixed():
    folded = comparison.fold_seeds(in_three_states())
    assert folded.groupby("state").accuracy.agg(list).to_dict() == {
        "as pruned": [0.9, 0.8, 0.4],
        "repaired": [0.9, 0.85, 0.6],
        "fine-tuned, pruned gradually, 12 epochs": [0.9],
    }
    assert set(folded.n) == {1}
    lines = [curve for curve in comparison_curves(folded, "sparsity", "accuracy") if curve.symbol]
    assert [curve.name for curve in lines] == [
        "as pruned",
        "fine-tuned, pruned gradually, 12 epochs",
        "repaired",
    ]
    assert len({curve.dash for curve in lines}) == len({curve.symbol for curve in lines}) == 3
    # Shade tells other things apart.
    more = pd.concat([in_three_states(), scores("a", 0, [0.9, 0.8], scope="global")])
    drawn = comparison_curves(comparison.fold_seeds(more), "sparsity", "accuracy")
    shade = {curve.name: curve.color for curve in drawn if curve.symbol}
    assert len(shade) == 4
    assert len({color for name, color in shade.items() if "global" not in name}) == 1
    assert len({*shade.values()}) == 2


def test_a_state_looks_the_same_whatever_it_stands_beside():
    def look_of_repaired(table):
        drawn = comparison_curves(comparison.fold_seeds(table), "sparsity", "accuracy")
        return {(curve.dash, curve.symbol) for curve in drawn if curve.name.startswith("repaired")}

    table = in_three_states()
    two = table[table.recovery != "gradual"]
    more = pd.concat([table, scores("a", 0, [0.9, 0.8], scope="global")])
    assert look_of_repaired(two) == look_of_repaired(table) == look_of_repaired(more) == {*LOOKS["repaired"]}


@pytest.mark.parametrize(
    ("ways", "states"),
    [
        ([("magnitude", "layer", "none")], ["as pruned"]),
        ([("admm", "layer", "repair")], ["repaired"]),
        ([("magnitude", "layer", "gradual")], ["fine-tuned, pruned gradually, 12 epochs"]),
        ([("magnitude", "layer", "repair")], []),
    ],
)
def test_what_is_selected_is_of_the_states_asked_for(ways, states):
    found = comparison.select_criteria(in_three_states(), ways, [0, 0.5])
    assert list(found.state.unique()) == states
    # Fine-tuned networks are there at the k they were trained for only, asked for or not.
    assert set(found.k) == ({0.9} if "fine-tuned" in " ".join(states) else {0, 0.5} if states else set())


def test_other_settings_do_not_fold():
    folded = comparison.fold_seeds(
        pd.concat([scores("a", 0, [0.9]), scores("b", 1, [0.8], configuration="digits, L1 0.001")])
    )
    assert folded.n.tolist() == [1, 1]


def test_the_baseline_is_of_the_networks_it_stands_beside():
    ranked = pd.concat([scores("a", 0, [0.9, 0.8]), scores("b", 1, [0.7, 0.6])])
    half = scores("a", 0, [0.9, 0.2], ranking="random")
    whole = pd.concat([half, scores("b", 1, [0.7, 0.1], ranking="random")])
    for random, expected in ((half, []), (whole, [[0.8, 0.15]])):
        drawn = comparison_curves(comparison.fold_seeds(pd.concat([ranked, random])), "sparsity", "accuracy")
        assert [curve.y for curve in drawn if curve.name.startswith("random")] == [pytest.approx(y) for y in expected]


def test_chance_with_the_counts_of_a_global_ranking_is_a_baseline_of_its_own():
    ranked = scores("a", 0, [0.9, 0.8], scope="global")
    kinds = [("random", "layer"), ("magnitude-shuffled", "global")]
    chance = [
        scores("a", 0, [0.9, 0.1 * place + 0.01 * order], ranking=name, scope=scope, ranking_seed=order)
        for place, (name, scope) in enumerate(kinds, start=1)
        for order in range(3)
    ]
    drawn = comparison_curves(comparison.fold_seeds(pd.concat([ranked, *chance])), "sparsity", "accuracy")
    grey = {curve.name: curve for curve in drawn if curve.color == GREY and not curve.is_level}
    assert list(grey) == ["random (3 orders)", "random, with the layer counts of global magnitude (3 orders)"]
    assert [curve.y[1] for curve in grey.values()] == pytest.approx([0.11, 0.21])
    assert len({curve.dash for curve in grey.values()}) == 2
    assert len([curve for curve in drawn if curve.symbol]) == 1


def test_a_table_to_read_has_ten_columns():
    told = downloads.readable(comparison.fold_seeds(in_three_states()))
    assert set(told.state) == {"as pruned", "repaired", "fine-tuned, pruned gradually, 12 epochs"}
    named = ["configuration", "method", "ranked_by", "state", "k", "n"]
    assert [*told] == [*named, "accuracy", "accuracy_sd", "loss", "compression"]


def test_the_axis_says_what_k_is_a_part_of():
    table = scores("a", 0, [0.9, 0.8])
    assert x_axis("sparsity", comparison.fold_seeds(table)).title == "Sparsity k of each hidden layer's weights"
    both = pd.concat([table, scores("a", 0, [0.9, 0.8], method="unit", scope="global")])
    axis = x_axis("sparsity", comparison.fold_seeds(both))
    assert axis.title_of("Unit pruning") == "Sparsity k of all hidden units"
    assert axis.title_of("Weight pruning") == "Sparsity k of each hidden layer's weights"
    assert axis.title == "Sparsity k of each layer's, or of all hidden weights or units"
    for name in ("zeroed", "remaining", "compression"):
        assert x_axis(name, comparison.fold_seeds(both)) == X_AXES[name]


@pytest.mark.parametrize(
    ("y", "values"),
    [("agreement", [1, 0.9, 0.5]), ("worst class", [0.8, 0.7, 0]), ("accuracy", [0.9, 0.8, 0.4]), ("change", None)],
)
def test_a_measure_is_what_is_drawn(y, values):
    table = scores("a", 0, [0.9, 0.8, 0.4])
    drawn = comparison_curves(comparison.fold_seeds(table), "zeroed", y)
    (curve,) = [curve for curve in drawn if curve.symbol]
    assert curve.x == [0, 0.5, 0.9]
    assert curve.y == pytest.approx(values or [0, -0.1, -0.5])
    (level,) = [curve for curve in drawn if curve.is_level]
    assert level.y == pytest.approx([{"agreement": 1, "worst class": 0.8, "accuracy": 0.9, "change": 0}[y]] * 2)


def test_the_dense_level_is_drawn_where_k_0_is_not():
    table = scores("a", 0, [0.9, 0.8, 0.4])
    for y, level in (("accuracy", 0.9), ("change", 0), ("loss", 0.1)):
        drawn = comparison_curves(comparison.fold_seeds(table[table.k > 0]), "sparsity", y)
        assert [curve.y for curve in drawn if curve.is_level] == [[level, level]]


def test_a_band_is_drawn_only_where_every_point_has_a_deviation():
    table = pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.8, 0.9])])
    (curve,) = [c for c in comparison_curves(comparison.fold_seeds(table), "sparsity", "accuracy") if c.symbol]
    assert curve.spread is None


PUBLISHED = pd.DataFrame(
    {
        "sparsity": [0.0, 0.5],
        **{f"accuracy_{method}": [0.9 + place, 0.8 + place] for place, method in enumerate(METHODS)},
        **{f"loss_{method}": [0.1 + place, 0.2 + place] for place, method in enumerate(METHODS)},
    }
)


def both_methods(**settings):
    return pd.concat(
        scores("a", seed, [0.9, 0.8 - seed / 10, 0.4], method=method, **settings)
        for method in METHODS
        for seed in (0, 1)
    )


def test_what_was_published_stands_beside_its_method_where_the_axes_allow_it():
    folded = comparison.fold_seeds(both_methods())
    for y, column, at_first in (("accuracy", "accuracy", 0), ("loss", "loss", 0), ("change", "accuracy", 1)):
        drawn = {curve.name: curve for curve in comparison_curves(folded, "sparsity", y, PUBLISHED)}
        for method in METHODS:
            curve, values = drawn[f"{METHOD_NAMES[method]}, published"], PUBLISHED[f"{column}_{method}"]
            assert curve.x == [0, 0.5]
            assert curve.y == pytest.approx(values - at_first * values[0])
            assert (curve.color, curve.symbol, curve.panel) == (METHOD_COLORS[method], None, "")
            own = drawn[f"{METHOD_NAMES[method]} (n = 2)"]
            assert own.color == METHOD_COLORS[method]
            assert own.dash != curve.dash
            assert own.opacity > curve.opacity
    for x, y in (("zeroed", "accuracy"), ("sparsity", "agreement")):
        assert not [curve for curve in comparison_curves(folded, x, y, PUBLISHED) if "published" in curve.name]
    # Side by side the panel says which method it is of; and there need be nothing beside it.
    several = pd.concat([both_methods(), both_methods(scope="global")])
    drawn = comparison_curves(comparison.fold_seeds(several), "sparsity", "accuracy", PUBLISHED)
    assert [curve.panel for curve in drawn if curve.name == "published"] == [*METHOD_NAMES.values()]
    alone = comparison_curves(pd.DataFrame(), "sparsity", "accuracy", PUBLISHED)
    assert [curve.name for curve in alone] == [f"{name}, published" for name in METHOD_NAMES.values()]


def test_one_line_a_method_is_named_by_it_and_chance_is_grey_with_its_spread():
    chance = pd.concat(both_methods(ranking="random", ranking_seed=order) for order in (0, 1, 2))
    folded = comparison.fold_seeds(pd.concat([both_methods(), chance]))
    level, *drawn = comparison_curves(folded, "sparsity", "accuracy")
    assert (level.name, level.x, level.y, level.color) == ("dense", [0, 0.9], [0.9, 0.9], GREY)
    names = ["random weights (n = 2)", "Weight pruning (n = 2)", "random units (n = 2)", "Unit pruning (n = 2)"]
    assert [curve.name for curve in drawn] == names
    assert [curve.color for curve in drawn] == [GREY, METHOD_COLORS["weight"], GREY, METHOD_COLORS["unit"]]
    for curve in drawn:
        assert curve.x == [0, 0.5, 0.9]
        assert curve.y == pytest.approx([0.9, 0.75, 0.4])
        assert curve.spread == pytest.approx([0, np.sqrt(0.005), 0])
    # In one panel the baselines can be told from each other.
    assert len({curve.dash for curve in drawn}) == 3
    assert [bool(curve.symbol) for curve in drawn] == [False, True, False, True]
    assert drawn[1].notes == [
        "k = 0%, 0% of the hidden weights, 1× smaller",
        "k = 50%, 50% of the hidden weights, 2× smaller",
        "k = 90%, 90% of the hidden weights, 12.5× smaller",
    ]
    alone = comparison_curves(comparison.fold_seeds(scores("a", 0, [0.9, 0.8])), "sparsity", "accuracy")
    assert [curve.name for curve in alone] == ["dense", "Weight pruning"]
    fine = pd.concat(scores("a", 0, [0.9]).assign(k=k / 100) for k in range(40))
    for rows, marked in ((fine, False), (fine[fine.k < 0.385], True)):
        (curve,) = comparison_curves(comparison.fold_seeds(rows), "sparsity", "accuracy")[1:]
        assert bool(curve.symbol) == marked


def test_lines_are_named_by_what_tells_them_apart():
    def names(*tables):
        drawn = comparison_curves(comparison.fold_seeds(pd.concat(tables)), "sparsity", "accuracy")
        return [curve.name for curve in drawn if not curve.is_level]

    one, other = scores("a", 0, [0.9, 0.8]), scores("b", 0, [0.9, 0.8], configuration="digits, L1")
    assert names(one, other) == ["digits", "digits, L1"]
    assert names(one, scores("a", 0, [0.9], ranking="activation")) == ["magnitude", "activation"]
    assert names(one, scores("a", 0, [0.9], scope="global")) == ["magnitude", "magnitude, global"]
    assert names(scores("a", 0, [0.9], ranking="activation")) == ["Weight pruning, activation"]
    repaired = {"recovery": "repair", "state": "repaired"}
    assert names(scores("a", 0, [0.9], ranking="admm", **repaired)) == ["Weight pruning, repaired"]
    assert names(one, scores("a", 0, [0.9], scope="global", **repaired)) == [
        "as pruned",
        "magnitude, global, repaired",
    ]
    shuffled = scores("a", 0, [0.9, 0.1], ranking="magnitude-shuffled", scope="global")
    both = [one, other, shuffled, shuffled.assign(configuration="digits, L1")]
    assert names(*both)[:2] == [
        f"random, with the layer counts of global magnitude, {name} (1 order)" for name in ("digits", "digits, L1")
    ]


def test_ways_to_train_on_look_different_as_far_as_looks_go():
    ways = [scores("a", 0, [0.9], recovery="gradual", state=f"fine-tuned, {epochs} epochs") for epochs in range(5)]
    table = pd.concat([scores("a", 0, [0.9, 0.8]), *ways])
    drawn = [c for c in comparison_curves(comparison.fold_seeds(table), "sparsity", "accuracy") if not c.is_level]
    looks = [(curve.dash, curve.symbol) for curve in drawn]
    assert [looks[0]] == LOOKS["as pruned"]
    assert len({*looks[:5]}) == 5
    assert looks[5] == looks[1]


@pytest.mark.parametrize("x", X_AXES)
@pytest.mark.parametrize("y", Y_AXES)
def test_many_configurations_get_panels_and_stay_apart(x, y):
    parts = [scores("a", 0, [0.9, 0.8, 0.4], configuration=f"c{index}") for index in range(12)]
    drawn = comparison_curves(comparison.fold_seeds(pd.concat(parts)), x, y)
    lines = [curve for curve in drawn if curve.symbol]
    assert len(lines) == 12
    assert len({(curve.color, curve.dash, curve.symbol) for curve in lines}) == 12
    assert len({curve.color for curve in lines}) == 12
    assert {curve.panel for curve in lines} == {"Weight pruning"}
    assert all(np.isfinite(curve.x).all() and np.isfinite(curve.y).all() for curve in drawn)


def test_nothing_remaining_has_no_place_on_a_logarithmic_axis():
    table = scores("a", 0, [0.9, 0.8, 0.1])
    table["removable"] = [0, 500, 1_000]
    for x in ("remaining", "compression"):
        (curve,) = [c for c in comparison_curves(comparison.fold_seeds(table), x, "accuracy") if c.symbol]
        assert len(curve.x) == 2


def test_a_configuration_in_words_says_what_differs_but_not_the_seed():
    assert TrainingConfig(seed=4).describe() == "digits"
    words = TrainingConfig(dataset="fashion", l1_reg=0.001, epochs=5, hidden_units=(10, 20)).describe()
    assert words == "fashion, 5 epochs, L1 0.001, 10-20"
    settings = [
        {"epochs": 3},
        {"batch_size": 64},
        {"learning_rate": 0.01},
        {"learning_rate": 0.12345678},
        {"learning_rate": 0.12345679},
        {"l2_reg": 0.1},
        {"keep_best": False},
    ]
    settings += [{"num_valid": 5}, {"hidden_units": (5,)}, {"dataset": "fashion"}, {}]
    assert len({TrainingConfig(**each).describe() for each in settings}) == len(settings)


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory):
    """A complete run with random weights, scored on the real images: what is asked here holds for good ones and bad."""
    run = runs.open_run(SMALL.run_id, tmp_path_factory.mktemp("scored"))
    data = load_dataset(SMALL.dataset, run.root)
    generator = np.random.default_rng(5)
    kernels = [generator.normal(size=shape).astype(np.float32) for shape in SMALL.layer_shapes]
    dense = evaluate(kernels, data.test.images, data.test.labels)
    with runs.write_run(run, SMALL) as training:
        training.write_history(pd.DataFrame({"epoch": [1], "loss": [2.0], "accuracy": [0.1], "seconds": [0.5]}))
        training.write_model(lambda path: path.touch(), kernels, rms_activations(kernels, data.train.images))
        training.write_sweep(pd.DataFrame(columns=ROW_KEY))
        training.commit(
            test_accuracy=dense.accuracy,
            test_loss=dense.loss,
            kept_epoch=1,
            training_seconds=8.0,
            versions={"python": "3.11.7", "numpy": "2.0.0"},
            machine="Linux x86_64, 2 cores",
        )
    few = [0.0, 0.5, 0.9]
    others = [(Criterion("unit", "activation"), few), (Criterion("weight", scope="global"), few)]
    list(score_run(run, [*experiment(), *others, *baseline(few)]))
    return run


def test_removable_is_what_can_be_left_out(scored_run):
    """Taking every dead row and column out changes no output, and leaves just what was counted."""
    table = scored_run.sweep().set_index(["method", "ranking", "scope", "seed", "sparsity"])
    kernels = scored_run.kernels()
    total = sum(kernel.size for kernel in kernels)
    for method in METHODS:
        for k in K_VALUES:
            pruned = prune(kernels, method, k)
            live = live_units(pruned)
            small = [kernel[rows][:, units] for kernel, rows, units in zip(pruned, live, live[1:], strict=False)]
            remaining = sum(int(np.count_nonzero(kernel)) for kernel in small)
            assert remaining == compact(pruned).parameters
            row = table.loc[method, "magnitude", "layer", 0, k]
            assert row.removable == total - remaining
            assert row.removable >= row.zeroed


def test_the_long_table_of_real_runs(scored_run, tmp_path):
    other = dataclasses.replace(SMALL, seed=1)
    pair = []
    for config in (SMALL, other):
        shutil.copytree(scored_run.folder, tmp_path / config.run_id)
        (tmp_path / config.run_id / layout.CONFIG).write_text(json.dumps(config.to_dict()))
        pair.append(runs.open_run(config.run_id, tmp_path))
    table = comparison.long_table(pair)
    assert len(table) == 2 * len(scored_run.sweep())
    assert set(table.seed) == {0, 1}
    # Every column says what its name does, of the run and of the row it is of.
    result, sweep = scored_run.result(), scored_run.sweep()
    dense = Criterion("weight").select(sweep).iloc[0]
    assert {*table.dense_accuracy} == {result.test_accuracy} == {dense.accuracy}
    assert {*table.dense_loss} == {result.test_loss} == {dense.loss}
    assert {*table.dense_val_accuracy} == {dense.val_accuracy}
    one = table[table.run == SMALL.run_id].reset_index(drop=True)
    names = {"k": "sparsity", "ranking_seed": "seed", "recovery_images": "images", "recovery_seconds": "seconds"}
    for name in (*names, "method", "ranking", "scope", "recovery", "zeroed", "removable", "multiply_adds", "accuracy"):
        assert one[name].tolist() == sweep[names.get(name, name)].tolist()
    for name in ("loss", "agreement", "worst_class", "val_accuracy", "val_loss", "sparsity_hidden", "sparsity_network"):
        np.testing.assert_array_equal(one[name], sweep[name])
    assert table.faster.isna().all()
    measured = sweep.assign(faster=range(len(sweep)))
    timed = comparison.long_table(pair, {SMALL.run_id: measured})
    assert timed[timed.run == SMALL.run_id].faster.tolist() == measured.faster.tolist()
    assert {*table.machine} == {"Linux x86_64, 2 cores"}
    assert {*table.python} == {"3.11.7"}
    assert {*table.parameters} == {SMALL.parameter_count}
    assert {*table.configuration} == {SMALL.describe()}
    assert {*table.hidden_units} == {"60x40"}
    assert {*table.epochs} == {SMALL.epochs}
    assert {*table.state} == {"as pruned"}
    folded = comparison.fold_seeds(table)
    assert set(folded.n) == {2}
    assert set(folded[folded.ranking == "random"].orders) == {3}
    assert set(folded[folded.ranking != "random"].orders) == {1}
    assert not set(SMALL.to_dict()) - set(table.columns)


def test_scores_agree_with_evaluate(scored_run):
    test = load_dataset(SMALL.dataset, scored_run.root).test
    folded = comparison.fold_seeds(comparison.long_table([scored_run]))
    rows = folded[(folded.ranking == "magnitude") & (folded.scope == "layer") & (folded.k == 0.9)]
    for row in rows.itertuples():
        score = evaluate(prune(scored_run.kernels(), row.method, 0.9), test.images, test.labels)
        assert (row.accuracy, row.loss) == pytest.approx((score.accuracy, score.loss))


@pytest.fixture
def family(scored_run, tmp_path, monkeypatch):
    """A run with a fine-tuned child, beside a run that is none of its children, and one that is damaged."""
    for name in (scored_run.id, "child", "stranger", "damaged"):
        shutil.copytree(scored_run.folder, tmp_path / name)
    (tmp_path / "damaged" / layout.CONFIG).write_text("{")
    child = runs.open_run("child", tmp_path)
    state = json.loads((child.folder / layout.STATE).read_text())
    # Of the seconds that fitting took.
    state |= {"repair_images": 1_000, "repair_seconds": state["training_seconds"] / 2}
    (child.folder / layout.STATE).write_text(json.dumps(state))
    sweep = child.sweep()
    sweep.loc[sweep.sparsity == 0, ["accuracy", "val_accuracy", "zeroed"]] = [0.77, 0.66, 555]
    sweep.to_csv(child.folder / layout.SWEEP, index=False)
    classes = child.predictions()[Criterion("weight").key(0.0)]
    classes[:36] = (classes[:36] + 1) % 10
    write_predictions(child.folder / layout.PREDICTIONS, {Criterion("weight").key(0.0): classes})
    config = SimpleNamespace(
        parent=scored_run.id,
        training=SMALL,
        how="gradual",
        method="unit",
        sparsity=0.8,
        epochs=12,
        recipe="gradual unit 0.8, 12 epochs, from repaired",
        seed=0,
        spec=SMALL.spec,
        num_valid=SMALL.num_valid,
    )
    of_file = runs.Run.config
    monkeypatch.setattr(runs.Run, "config", lambda run: config if run.id == "child" else of_file(run))
    return runs.open_run(scored_run.id, tmp_path)


def test_children_that_were_trained_on_are_rows_of_their_parent(family):
    (row,) = comparison.rows_of_children(family).to_dict("records")
    assert (row["method"], row["ranking"], row["scope"], row["seed"]) == ("unit", "magnitude", "layer", 0)
    assert (row["recovery"], row["sparsity"]) == ("gradual", 0.8)
    assert row["state"] == "fine-tuned, pruned gradually, 12 epochs, from repaired"
    assert (row["accuracy"], row["val_accuracy"], row["zeroed"]) == (0.77, 0.66, 555)
    assert row["agreement"] == pytest.approx(0.9)
    assert (row["images"], row["epochs"]) == (SMALL.spec.train_size - SMALL.num_valid, 12)
    assert row["seconds"] == family.result().training_seconds
    assert comparison.rows_of_children(runs.open_run("stranger", family.root)).empty
    together = pd.concat([family.sweep(), comparison.rows_of_children(family)], ignore_index=True)
    table = comparison.long_table([family], {family.id: together})
    (told,) = table[table.recovery == "gradual"].to_dict("records")
    assert told["run"] == family.id
    assert (told["recovery_epochs"], told["epochs"]) == (12, SMALL.epochs)
    assert told["dense_accuracy"] == family.result().test_accuracy
    assert set(table[table.recovery == "none"].state) == {"as pruned"}


def test_what_tells_one_way_of_training_on_from_another_is_in_its_words(family, monkeypatch):
    child = runs.open_run("child", family.root)
    config, of_file = child.config(), runs.Run.config
    changed = vars(config) | {"how": "rewind", "rewind_epoch": 2, "recipe": "rewind unit 0.8", "seed": 5}
    other = SimpleNamespace(**changed, default_of=lambda name: {"seed": 4}[name])
    monkeypatch.setattr(runs.Run, "config", lambda run: other if run.id == "child" else of_file(run))
    (row,) = comparison.rows_of_children(family).to_dict("records")
    assert row["state"] == "rewound and trained, to epoch 2"
    # A seed of its own tells it from one with its parent's.
    assert (row["seed"], row["recovery"]) == (5, "rewind")
    other.seed = 4
    (row,) = comparison.rows_of_children(family).to_dict("records")
    assert row["seed"] == 0
    # As long as it has not been scored there is nothing to tell.
    child.sweep().head(0).to_csv(child.folder / layout.SWEEP, index=False)
    assert comparison.rows_of_children(family).empty


def test_curves_are_named_by_their_configuration_only_where_it_differs():
    one = scores("a", 0, [0.9], method="unit")
    rest = [
        scores("a", 0, [0.9], ranking="magnitude-shuffled", scope="global"),
        scores("a", 0, [0.9], ranking="admm", recovery="repair", state="repaired"),
        scores("a", 0, [0.9], ranking="magnitude", scope="global", recovery="repair", state="repaired"),
        scores("a", 0, [0.9], scope="global", recovery="gradual", state="fine-tuned"),
    ]
    assert {*comparison.curve_names(pd.concat([one, *rest])).values()} == {
        "unit, magnitude, as pruned",
        "weight, random, with the layer counts of global magnitude, as pruned",
        "weight, repaired",
        "weight, magnitude, global, repaired",
        "weight, global, fine-tuned",
    }
    other = one.assign(configuration="digits, L1")
    names = comparison.curve_names(pd.concat([one, other]))
    assert names == {
        tuple(table[comparison.CURVE].iloc[0]): f"{table.configuration.iloc[0]}, unit, magnitude, as pruned"
        for table in (one, other)
    }


def test_agreement_is_not_known_where_predictions_are_not(family):
    (family.folder / layout.PREDICTIONS).unlink()
    (row,) = comparison.rows_of_children(family).to_dict("records")
    assert np.isnan(row["agreement"])


def test_validation_of_the_dense_network_is_its_row_at_k_0(scored_run):
    table = comparison.long_table([scored_run])
    sweep = scored_run.sweep()
    (expected,) = set(sweep[(sweep.sparsity == 0) & (sweep.ranking == "magnitude")].val_accuracy)
    assert set(table.dense_val_accuracy) == {expected}
    assert expected != table.dense_accuracy.iloc[0]
    old = sweep.drop(columns=["val_accuracy", "agreement"])
    assert comparison.long_table([scored_run], {scored_run.id: old}).dense_val_accuracy.isna().all()
