"""Runs beside each other: folding, knees and curves, against numbers worked out by hand."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from core import runs
from core.analysis import comparison
from core.charts.curves import X_AXES, Y_AXES, comparison_curves
from core.config import K_VALUES, TrainingConfig
from core.evaluation import evaluate
from core.kernels import compact, live_units
from core.pruning import METHODS, prune
from core.runs import layout
from tests.conftest import SMALL


def scores(run: str, seed: int, accuracies: list[float], **settings) -> pd.DataFrame:
    """A long table of one made-up network: accuracies at k = 0, 0.5, 0.9."""
    return pd.DataFrame(
        {
            "run": run,
            "dataset": "digits",
            "seed": seed,
            "method": "weight",
            "ranking": "magnitude",
            "scope": "layer",
            "ranking_seed": 0,
            "k": [0, 0.5, 0.9][: len(accuracies)],
            "zeroed": [0, 500, 900][: len(accuracies)],
            "removable": [0, 500, 920][: len(accuracies)],
            "accuracy": accuracies,
            "loss": [0.1, 0.2, 0.3][: len(accuracies)],
            "dense_accuracy": accuracies[0],
            "dense_loss": 0.1,
            "parameters": 1_000,
            "configuration": "digits",
        }
        | settings
    )


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


def test_what_was_not_counted_for_one_is_not_known_of_the_mean():
    old = scores("b", 1, [0.9, 0.8]).assign(removable=pd.array([None, None], "Int64"))
    folded = comparison.fold_seeds(pd.concat([scores("a", 0, [0.9, 0.8]), old]))
    assert folded.n.tolist() == [2, 2]
    assert folded.compression.isna().all()


def test_other_settings_do_not_fold():
    folded = comparison.fold_seeds(
        pd.concat([scores("a", 0, [0.9]), scores("b", 1, [0.8], configuration="digits, L1 0.001")])
    )
    assert folded.n.tolist() == [1, 1]


def test_the_knee_is_the_largest_k_within_the_drop():
    folded = comparison.fold_seeds(scores("a", 0, [0.9, 0.89, 0.4]))
    (knee,) = comparison.knees(folded, [0.005, 0.01, 0.6]).to_dict("records")
    assert (knee[0.005], knee[0.01], knee[0.6]) == (0, 0.5, 0.9)


def test_the_knee_looks_only_where_all_seeds_were_scored():
    table = pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.9, 0.9])])
    (knee,) = comparison.knees(comparison.fold_seeds(table), [0.01]).to_dict("records")
    assert knee[0.01] == 0.5
    assert knee["n"] == 2


def test_knees_of_curves_that_stand_beside_each_other_are_as_fine_as_each_other():
    other = scores("b", 0, [0.9, 0.9], configuration="digits, L1 0.001")
    both = comparison.knees(comparison.fold_seeds(pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), other])), [0.01])
    assert both[0.01].tolist() == [0.5, 0.5]


def test_the_baseline_is_of_the_networks_it_stands_beside():
    ranked = pd.concat([scores("a", 0, [0.9, 0.8]), scores("b", 1, [0.7, 0.6])])
    half = scores("a", 0, [0.9, 0.2], ranking="random")
    whole = pd.concat([half, scores("b", 1, [0.7, 0.1], ranking="random")])
    for random, expected in ((half, []), (whole, [[0.8, 0.15]])):
        drawn = comparison_curves(comparison.fold_seeds(pd.concat([ranked, random])), "sparsity", "accuracy")
        assert [curve.y for curve in drawn if curve.name.startswith("random")] == [pytest.approx(y) for y in expected]


def test_the_dense_level_is_drawn_where_k_0_is_not():
    table = scores("a", 0, [0.9, 0.8, 0.4])
    for y, level in (("accuracy", 0.9), ("change", 0), ("loss", 0.1)):
        drawn = comparison_curves(comparison.fold_seeds(table[table.k > 0]), "sparsity", y)
        assert [curve.y for curve in drawn if curve.is_level] == [[level, level]]


def test_there_is_no_knee_where_no_sparsity_is_common():
    table = pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.9]).assign(k=0.3)])
    (knee,) = comparison.knees(comparison.fold_seeds(table), [0.01]).to_dict("records")
    assert np.isnan(knee[0.01])


def test_a_band_is_drawn_only_where_every_point_has_a_deviation():
    table = pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.8, 0.9])])
    (curve,) = [c for c in comparison_curves(comparison.fold_seeds(table), "sparsity", "accuracy") if c.symbol]
    assert curve.spread is None


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


def test_removable_is_what_can_be_left_out(trained_run):
    """Taking every dead row and column out changes no output, and leaves just what was counted."""
    table = trained_run.sweep().set_index(["method", "ranking", "scope", "seed", "sparsity"])
    kernels = trained_run.kernels()
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


def test_the_long_table_of_real_runs(trained_run, tmp_path):
    other = dataclasses.replace(SMALL, seed=1)
    pair = []
    for config in (SMALL, other):
        shutil.copytree(trained_run.folder, tmp_path / config.run_id)
        (tmp_path / config.run_id / layout.CONFIG).write_text(json.dumps(config.to_dict()))
        pair.append(runs.open_run(config.run_id, tmp_path))
    table = comparison.long_table(pair)
    assert len(table) == 2 * len(trained_run.sweep())
    assert set(table.seed) == {0, 1}
    assert table.machine.str.contains("cores").all()
    assert set(comparison.fold_seeds(table).n) == {2, 6}  # six for three random orders of two networks
    assert not set(SMALL.to_dict()) - set(table.columns)


def test_scores_agree_with_evaluate(trained_run):
    from core.datasets import load_dataset

    test = load_dataset(SMALL.dataset, trained_run.root).test
    folded = comparison.fold_seeds(comparison.long_table([trained_run]))
    rows = folded[(folded.ranking == "magnitude") & (folded.scope == "layer") & (folded.k == 0.9)]
    for row in rows.itertuples():
        score = evaluate(prune(trained_run.kernels(), row.method, 0.9), test.images, test.labels)
        assert (row.accuracy, row.loss) == pytest.approx((score.accuracy, score.loss))
