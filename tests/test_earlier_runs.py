"""A run that an earlier version of the project made opens as it did then. It lies in tests/data/earlier-run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs, scoring
from core.config import TrainingConfig
from core.datasets import load_dataset
from core.evaluation import evaluate
from core.pruning import METHODS
from core.settings import PROJECT
from core.sweep import Criterion, sweep

STORED = PROJECT / "tests" / "data" / "earlier-run"


@pytest.fixture
def earlier(cache):
    (folder,) = STORED.iterdir()
    shutil.copytree(folder, cache / folder.name)
    return runs.open_run(folder.name)


def test_its_id_still_says_its_hyper_parameters(earlier):
    written = json.loads((earlier.folder / "config.json").read_text())
    assert earlier.config() == TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(8, 6), seed=3, l1_reg=0.0001)
    assert earlier.config().run_id == earlier.id
    assert earlier.config().to_dict() == written


def test_its_numbers_are_those_that_were_written_then(earlier):
    test = load_dataset("optdigits").test
    result, kernels = earlier.result(), earlier.kernels()
    assert earlier.training() is None
    assert result.test_accuracy == evaluate(kernels, test.images, test.labels).accuracy
    assert len(earlier.history()) == result.kept_epoch == 2
    assert [len(values) for values in earlier.activations()] == [len(kernel) for kernel in kernels]
    then = earlier.sweep()
    now = sweep(kernels, test.images, test.labels)
    for method in METHODS:
        old, new = Criterion(method).select(then), Criterion(method).select(now)
        assert old.accuracy.tolist() == new.accuracy.tolist()
        assert old.removable.tolist() == new.removable.tolist()


@pytest.mark.parametrize("page", ["overview", "pruning", "size", "draw", "comparison", "runs"])
def test_every_page_opens_it(earlier, page, monkeypatch):
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    app.query_params["run"] = earlier.id
    app.run()
    assert not app.exception, app.exception
    assert not app.error


def test_what_it_lacks_can_be_scored(earlier):
    wanted = scoring.fine_curve()
    # An early version kept no predictions, so its scores are made again for the wall.
    missing = scoring.count(scoring.unscored_of(earlier, wanted, with_predictions=True))
    assert missing == scoring.count(scoring.unscored(pd.DataFrame(), wanted))
    then = earlier.sweep()
    scores = list(scoring.score_run(earlier, wanted, with_predictions=True))
    assert (scores[-1].done, scores[-1].total, len(scores)) == (missing, missing, missing)
    assert not scoring.unscored_of(earlier, wanted, with_predictions=True)
    for method in METHODS:
        rows = Criterion(method).select(then).set_index("sparsity").accuracy
        now = Criterion(method).select(earlier.sweep()).set_index("sparsity").accuracy
        assert rows.equals(now[rows.index])


def test_what_it_did_not_say_of_validation_images_is_found_out_once(earlier):
    wanted = scoring.experiment([0.0, 0.5])
    assert scoring.count(scoring.unscored(earlier.sweep(), wanted)) == 4
    list(scoring.score_run(earlier, scoring.experiment([0.0])))
    assert scoring.count(scoring.unscored(earlier.sweep(), wanted)) == 2
    list(scoring.score_run(earlier, wanted))
    assert not scoring.unscored(earlier.sweep(), wanted)
    assert Criterion("weight").select(earlier.sweep()).set_index("sparsity").val_accuracy[[0.0, 0.5]].notna().all()


def test_without_validation_images_scores_are_whole(kernels):
    images, labels = np.zeros((4, len(kernels[0])), np.float32), np.zeros(4, int)
    assert not scoring.unscored(sweep(kernels, images, labels), scoring.experiment())
