"""What is scored, in which order, and what a run holds at the end."""

import shutil

import numpy as np
import pandas as pd
import pytest
from absl import flags

from core import make, runs, train
from core.pruning import METHODS
from core.runs import layout
from core.scoring import baseline, coarse_curve, count, experiment, fine_curve, score_run, unscored
from core.sweep import STOPS, Bench, Criterion
from tests.conftest import SMALL, run_train


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
    assert run.sweep().equals(table)


def test_the_command_scores_what_a_finer_list_lacks(trained_run, tmp_path):
    shutil.copytree(trained_run.root, tmp_path / "cache")
    done = run_train("--notrain", *SMALL.to_flags(), "--k_vals=0.123", f"--output_dir={tmp_path}/cache")
    assert done.returncode == 0, done.stderr
    table = runs.open_run(SMALL.run_id, tmp_path / "cache").sweep()
    assert (table.sparsity == 0.123).sum() == len(METHODS)


def test_networks_that_were_only_pruned_are_not_kept_in_memory(kernels):
    images, labels = np.zeros((4, len(kernels[0])), np.float32), np.zeros(4, int)
    (scored,) = Bench(kernels, images, labels).score(Criterion("weight"), [0.5])
    assert scored.kernels is None
