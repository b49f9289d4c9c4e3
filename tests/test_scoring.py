"""What is scored, in which order, and what a run holds at the end."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from absl import flags

from core import make, requests, runs, scoring, train
from core.config import K_VALUES
from core.config.recovery import HOWS
from core.errors import RunWriteError
from core.evaluation import evaluate, predict
from core.kernels import compact
from core.pruning import METHODS, Sparsity, prune, rank
from core.runs import layout
from core.scoring import (
    baseline,
    coarse_curve,
    count,
    experiment,
    fine_curve,
    score_bench,
    score_run,
    unscored,
)
from core.state import Repaired
from core.sweep import RECOVERIES, STOPS, Bench, Criterion, random_baseline, results_table
from tests.commands import run_command
from tests.conftest import SMALL


def asked_for(wanted):
    """Every (criterion, k) in the order in which it is scored."""
    return [(criterion, k) for criterion, sparsities in unscored(pd.DataFrame(), wanted) for k in sparsities]


def test_the_slider_gets_coarse_to_fine_and_the_rest_last():
    order = asked_for(fine_curve())
    place = {step: index for index, step in enumerate(order)}
    assert len(place) == len(order) == count(unscored(pd.DataFrame(), fine_curve()))
    default = [Criterion(method) for method in METHODS]

    def last(steps):
        return max(place[step] for step in steps)

    tenths = last((criterion, k) for criterion in default for k in STOPS[::10])
    fifths = last((criterion, k) for criterion in default for k in STOPS[::5])
    whole = last((criterion, k) for criterion in default for k in STOPS)
    others = min(place[step] for step in order if step[0] not in default)
    random = min(place[step] for step in order if step[0].ranking == "random")
    assert tenths < fifths < whole < others < random
    assert tenths == len(METHODS) * len(STOPS[::10]) - 1
    assert random == len(order) - count(baseline([*experiment()[0][1], 1.0]))
    # Every criterion but the default ones at the sparsities of the original experiment, and where nothing is left.
    others = {
        (ranking, "layer", seed) for ranking, seeds in (("activation", 1), ("random", 3)) for seed in range(seeds)
    }
    others |= {("magnitude", "global", 0), ("activation", "global", 0)}
    expected = {(Criterion(method, *other), k) for method in METHODS for other in others for k in (*K_VALUES, 1.0)}
    assert {*order} == expected | {(criterion, k) for criterion in default for k in (*STOPS, *K_VALUES)}


def test_repaired_networks_come_sparsest_first_beginning_with_the_original_experiment():
    repaired = Criterion("unit", "magnitude", "global", recovery="repair")
    ((criterion, order),) = Repaired.wanted(repaired)
    assert criterion == repaired
    assert order[: len(K_VALUES)] == sorted(K_VALUES, reverse=True)
    rest = [*(percent / 100 for percent in (55, 65, 75, 85, *range(91, 100))), 0.995, 0.999, 1.0]
    assert order[len(K_VALUES) :] == [k for k in rest if k not in K_VALUES]


def test_beside_a_global_ranking_stands_chance_with_its_counts():
    assert baseline([0.5]) == [step for step in baseline([0.5], ["magnitude"]) if step[0].ranking == "random"]
    beside = [criterion for criterion, _ in baseline([0.5], ["magnitude"]) if criterion.ranking != "random"]
    assert {(each.ranking, each.scope) for each in beside} == {("magnitude-shuffled", "global")}
    assert {(each.method, each.seed) for each in beside} == {(method, seed) for method in METHODS for seed in range(3)}


def test_chance_with_the_counts_of_activations_is_scored_and_chosen_on_nothing(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / trained_run.id)
    shutil.copytree(trained_run.root / "datasets", tmp_path / "datasets")
    run = runs.open_run(trained_run.id, tmp_path)
    rows = pd.DataFrame(step.scored.row for step in score_run(run, baseline([0.5], ["activation"])))
    theirs = Criterion("weight", "activation", "global").select(run.sweep()).set_index("sparsity")
    assert set(rows.ranking) == {"activation-shuffled"}
    assert set(rows[rows.method == "weight"].zeroed) == {theirs.zeroed[0.5]}
    assert rows.val_accuracy.isna().all()


def test_a_training_for_the_slider_opens_at_once_and_then_scores_every_tenth(tmp_path, monkeypatch):
    """What is in the cache when the network can first be opened, and what is asked for next."""
    steps = []

    def note(run, config, wanted, replace):
        steps.append(("train", asked_for(wanted), run.is_busy("curve")))
        raise runs.run.RunError("enough")

    monkeypatch.setattr(make, "train_run", note)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["train", *SMALL.to_flags(), "--fine_curve", f"--output_dir={tmp_path}"])
    with pytest.raises(runs.run.RunError, match="enough"):
        train.main([])
    ((_, first, busy),) = steps
    assert first == [(Criterion(method), 0.0) for method in METHODS]
    assert busy  # whoever opens it leaves the scoring to the training process
    assert coarse_curve()[: len(METHODS)] == experiment(STOPS[::10])


def test_scores_that_are_there_are_not_made_again(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / trained_run.id)
    run = runs.open_run(trained_run.id, tmp_path)
    table = run.sweep()
    table[~((table.method == "unit") & (table.sparsity == 0.37))].to_csv(run.folder / layout.SWEEP, index=False)
    shutil.copytree(trained_run.root / "datasets", tmp_path / "datasets")
    (step,) = score_run(run, fine_curve())
    assert (step.scored.row["method"], step.scored.row["sparsity"], step.done, step.total) == ("unit", 0.37, 1, 1)
    pd.testing.assert_frame_equal(run.sweep(), table)


def test_the_command_scores_what_a_finer_list_lacks(trained_run, tmp_path):
    shutil.copytree(trained_run.root, tmp_path / "cache")
    done = run_command("train", "--notrain", *SMALL.to_flags(), "--k_vals=0.123", f"--output_dir={tmp_path}/cache")
    assert done.returncode == 0, done.stderr
    table = runs.open_run(SMALL.run_id, tmp_path / "cache").sweep()
    assert (table.sparsity == 0.123).sum() == len(METHODS)


def test_a_training_of_the_app_leaves_the_curve_to_it(trained_run, tmp_path):
    shutil.copytree(trained_run.root, tmp_path / "cache")
    run = runs.open_run(SMALL.run_id, tmp_path / "cache")
    (run.folder / layout.SWEEP).unlink()
    for_the_app = ("--k_vals=0.5", "--fine_curve", "--leave_curve")
    done = run_command("train", "--notrain", *SMALL.to_flags(), *for_the_app, f"--output_dir={run.root}")
    assert done.returncode == 0, done.stderr
    assert {*run.sweep().sparsity} == {0.5}
    assert requests.steps(run) == asked_for(fine_curve())


def test_networks_that_were_only_pruned_are_not_kept_in_memory(kernels):
    images, labels = np.zeros((4, len(kernels[0])), np.float32), np.zeros(4, int)
    (scored,) = Bench(kernels, images, labels).score(Criterion("weight"), [0.5])
    assert scored.network is None


def test_scores_are_written_as_they_come_and_what_cannot_be_written_comes_later(trained_run, tmp_path, monkeypatch):
    shutil.copytree(trained_run.folder, tmp_path / trained_run.id)
    shutil.copytree(trained_run.root / "datasets", tmp_path / "datasets")
    run = runs.open_run(trained_run.id, tmp_path)
    monkeypatch.setattr(scoring, "_WRITE_SECONDS", -1)
    add, writes = runs.Run.add_to_sweep, []

    def the_second_fails(run, rows, *rest):
        writes.append(rows.sparsity.tolist())
        if len(writes) == 2:
            raise RunWriteError("The disk is full.")
        return add(run, rows, *rest)

    monkeypatch.setattr(runs.Run, "add_to_sweep", the_second_fails)
    wanted = [0.111, 0.222, 0.333]
    there = []
    for _ in score_run(run, [(Criterion("weight"), wanted)]):
        known = {k for k in wanted if Criterion("weight").key(k) in run.predictions()}
        assert known == {*wanted} & {*run.sweep().sparsity}
        there.append(known)
    assert there == [{0.111}, {0.111}, {*wanted}]
    assert writes == [[0.111], [0.222], [0.222, 0.333]]


def test_a_network_that_is_not_in_the_cache_is_scored_with_each_step_once_and_counted(kernels):
    images = np.random.default_rng(2).random((9, 20), np.float32)
    bench = Bench(kernels, images, np.arange(9))
    steps = list(score_bench(bench, [(Criterion("unit"), [0.5, 0.9]), (Criterion("unit"), [0.9, 1.0])]))
    assert [(step.scored.row["sparsity"], step.done, step.total) for step in steps] == [
        (0.5, 1, 3),
        (0.9, 2, 3),
        (1.0, 3, 3),
    ]


@pytest.mark.parametrize(
    ("method", "ranking", "seed"), [("weight", "magnitude", 0), ("unit", "magnitude", 0), ("unit", "random", 2)]
)
def test_every_column_of_a_row_is_what_it_says(kernels, method, ranking, seed):
    generator = np.random.default_rng(3)
    images, labels = generator.random((60, 20), np.float32), np.arange(60) % 7
    valid = generator.random((40, 20), np.float32), np.arange(40) % 10
    criterion = Criterion(method, ranking, seed=seed)
    (scored,) = Bench(kernels, images, labels, valid).score(criterion, [0.6])
    small = rank(kernels, method, ranking, seed=seed).prune(kernels, 0.6)
    said, test = predict(small, images), evaluate(small, images, labels)
    zeros, hidden = sum(int((kernel == 0).sum()) for kernel in small[:-1]), 20 * 30 + 30 * 25
    chosen = evaluate(small, *valid)
    tiny = compact(small)
    np.testing.assert_array_equal(scored.predictions, said)
    expected = {
        **{"method": method, "ranking": ranking, "scope": "layer", "seed": seed, "recovery": "none", "sparsity": 0.6},
        **{"zeroed": zeros, "sparsity_hidden": zeros / hidden, "sparsity_network": zeros / (hidden + 250)},
        "removable": hidden + 250 - sum(int(np.count_nonzero(kernel)) for kernel in tiny.kernels),
        "multiply_adds": sum(kernel.size for kernel in tiny.kernels),
        **{"accuracy": test.accuracy, "loss": test.loss},
        "agreement": np.mean(said == predict(kernels, images)),
        "worst_class": min(np.mean(said[labels == label] == label) for label in range(7)),
        # What is pruned by chance is a baseline, and nothing is chosen on it.
        "val_accuracy": np.nan if ranking == "random" else chosen.accuracy,
        "val_loss": np.nan if ranking == "random" else chosen.loss,
        **{"images": 0, "epochs": 0, "seconds": 0.0},
    }
    pd.testing.assert_frame_equal(pd.DataFrame([scored.row]), pd.DataFrame([expected]), check_exact=True)


def test_validation_is_scored_beside_the_test(kernels):
    generator = np.random.default_rng(3)
    images, labels = generator.random((60, 20), np.float32), np.arange(60) % 10
    valid, submitted = (images[:30], labels[:30]), []
    with ThreadPoolExecutor(1) as pool:
        submit = lambda *what: submitted.append(what[0]) or pool.submit(*what)  # noqa: E731
        rows = [
            scored.row
            for each in (None, SimpleNamespace(submit=submit))
            for scored in Bench(kernels, images, labels, valid, pool=each).score(Criterion("unit"), [0.5])
        ]
    assert rows[0] == rows[1]
    assert submitted == [evaluate]


def test_a_network_cannot_be_repaired_without_images(kernels):
    bench = Bench(kernels, np.zeros((4, 20), np.float32), np.zeros(4, int))
    with pytest.raises(ValueError, match="Expected training images to repair with"):
        list(bench.score(Criterion("unit", "magnitude", recovery="repair"), [0.5]))


def test_the_baseline_is_the_mean_and_spread_over_the_seeds_of_random_pruning_in_each_layer():
    def row(accuracy, sparsity=0.5, method="weight", ranking="random", scope="layer"):
        named = {"method": method, "ranking": ranking, "scope": scope}
        return {**named, "sparsity": sparsity, "accuracy": accuracy}

    others = [row(0, method="unit"), row(0, ranking="magnitude"), row(0, scope="global")]
    table = pd.DataFrame([row(0.2), row(0.4), row(0.9), row(0.7, sparsity=0.9), *others])
    # Of one seed there is no spread.
    (found,) = random_baseline(table, "weight").to_dict("records")
    assert (found["sparsity"], found["count"]) == (0.5, 3)
    assert (found["mean"], found["std"]) == pytest.approx((0.5, np.std([0.2, 0.4, 0.9], ddof=1)))
    assert random_baseline(pd.DataFrame(), "weight").empty
    assert random_baseline(table, "unit").empty


def test_a_table_of_what_is_not_scored_is_empty_cells(kernels):
    empty = results_table(pd.DataFrame(), [0.9, 0.5])
    assert empty.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    assert empty.sparsity.tolist() == [0.5, 0.9]
    assert empty.drop(columns="sparsity").isna().all(axis=None)


@pytest.mark.parametrize("text", ["", "a", "1.1", "-0.1", "nan", "0.5,2", "0.5,0.2,0.1", "0.5,", "0.5;0.2"])
def test_what_is_no_k_in_an_address_is_none(text):
    assert Sparsity.parse(text, 2) is None
    assert Sparsity.parse(str(Sparsity.of([0.25, 1 / 3])), 2) == (0.25, 0.3333333333)
    # Of more digits than a text has, only those count.
    assert Sparsity.parse("0.33333333333333", 2) == 0.3333333333


def test_the_same_network_pruned_by_another_criterion_is_ranked_anew(kernels):
    images = np.random.default_rng(4).random((30, 20), np.float32)
    bench = Bench(kernels, images, np.arange(30) % 10)
    for method in ("weight", "unit", "weight"):
        (scored,) = bench.score(Criterion(method), [0.7])
        np.testing.assert_array_equal(scored.predictions, predict(prune(kernels, method, 0.7), images))


def test_every_way_to_win_accuracy_back_has_words():
    assert {*RECOVERIES} == {"none", "repair", *HOWS}
    assert len({*RECOVERIES.values()}) == len(RECOVERIES)
