"""The run that comes with the project."""

import json
import shutil

import pytest

from core.config import TrainingConfig
from core.datasets import load_dataset
from core.evaluation import evaluate
from core.pruning import METHODS, prune
from core.runs import Run, adopt_example, list_runs
from core.runs.layout import STATE
from core.scoring import fine_curve, unscored_of
from core.settings import EXAMPLE, PROJECT, READ_ONLY
from core.sweep import Criterion


@pytest.fixture
def example(cache):
    (run,) = adopt_example(cache)
    return run


def test_a_new_cache_gets_a_complete_run_that_lacks_no_score(example, cache):
    assert list_runs(cache) == [example]
    assert example.is_complete()
    assert example.config().dataset == "optdigits", "the only dataset that needs no network"
    assert example.config().run_id == example.id
    assert not unscored_of(example, fine_curve(), with_predictions=True)


def test_its_scores_are_those_of_its_network(example, cache):
    test = load_dataset("optdigits", cache).test
    kernels = example.kernels()
    for method in METHODS:
        rows = Criterion(method).select(example.sweep()).set_index("sparsity")
        for k in (0.0, 0.37, 0.9, 0.995):
            score = evaluate(prune(kernels, method, k), test.images, test.labels)
            # Another processor may round a close call of one image the other way.
            assert rows.accuracy[k] == pytest.approx(score.accuracy, abs=1 / len(test.labels))
            assert rows.loss[k] == pytest.approx(score.loss, abs=1e-5)
    assert example.result().test_accuracy == rows.accuracy[0.0]


def test_it_is_small(example):
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 1_000_000


def test_using_it_leaves_the_projects_own_files_alone(example):
    before = {path: path.read_bytes() for path in EXAMPLE.rglob("*") if path.is_file()}
    example.delete()
    assert {path: path.read_bytes() for path in EXAMPLE.rglob("*") if path.is_file()} == before


def test_once_deleted_it_does_not_come_back(example, cache):
    example.delete()
    assert adopt_example(cache) == []
    assert list_runs(cache) == []


def test_a_cache_with_runs_of_its_own_is_left_as_it_is(trained_run, cache):
    shutil.copytree(trained_run.folder, cache / trained_run.id)
    assert adopt_example(cache) == []
    assert list_runs(cache) == [Run(cache, trained_run.id)]


def test_a_cache_that_cannot_be_written_stays_empty(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert adopt_example(tmp_path / "file" / "cache") == []


def test_the_readme_says_how_it_was_made():
    (folder,) = EXAMPLE.iterdir()
    assert (folder / STATE).exists()
    config = TrainingConfig.from_dict(json.loads((folder / "config.json").read_text()))
    differing = [flag for flag in config.to_flags() if flag not in TrainingConfig(dataset="optdigits").to_flags()]
    readme = (PROJECT / "README.md").read_text()
    assert f"python -m core.train --dataset=optdigits {' '.join(differing)} --fine_curve" in readme


def test_a_cache_that_is_only_shown_stays_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv(READ_ONLY, "1")
    assert adopt_example(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
