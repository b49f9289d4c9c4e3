"""Each page by AppTest, in an empty cache, a full one and a damaged one. Training itself is not started
here: the boundary to it, `core.jobs`, is replaced."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.config import TrainingConfig
from core.datasets import load_dataset
from core.errors import KnownError
from core.evaluation import evaluate, rms_activations
from core.pruning import METHODS, RANKINGS, SCOPES, prune
from tests.conftest import PROJECT, SMALL

PAGES = ("overview", "training", "pruning", "comparison")


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(PROJECT / "pages" / f"{name}.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture(autouse=True)
def no_background_work(monkeypatch):
    """A session of the app starts at most what its test asks for."""
    monkeypatch.setattr(jobs, "start_scoring", lambda run: None)


@pytest.fixture
def full(cache, trained_run):
    """A cache with a complete run that a test may change."""
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_cache_says_what_to_do(cache, page):
    app = open_page(page)
    text = " ".join(element.value for element in [*app.markdown, *app.caption])
    assert "Train" in text
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_a_full_cache_shows_it(full, page):
    app = open_page(page)
    assert not app.error
    assert not app.warning


def settings_of(config: TrainingConfig) -> dict[str, str]:
    return {
        "dataset": config.dataset,
        "epochs": str(config.epochs),
        "hidden_units": ",".join(map(str, config.hidden_units)),
    }


def test_a_link_brings_back_a_configuration_and_its_result(full):
    app = open_page("training", **settings_of(SMALL))
    assert f"Run `{SMALL.run_id}`" in [caption.value for caption in app.caption]
    assert app.metric[0].value == f"{full.result()['test_accuracy']:.2%}"


def test_training_starts_exactly_what_is_shown(cache, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start_training", lambda run, config: started.append((run.id, config)))
    app = open_page("training", **settings_of(SMALL))
    app.button(key="train").click().run()
    assert started == [(SMALL.run_id, SMALL)]
    assert not app.exception


def test_choosing_a_dataset_chooses_its_validation_images(cache):
    app = open_page("training")
    assert app.number_input(key="num_valid").value == 10_000
    app.segmented_control(key="dataset").set_value("optdigits").run()
    assert app.number_input(key="num_valid").value == 200
    assert not app.error
    assert not app.exception


@pytest.mark.parametrize("text", ["", "10, x", "0"])
def test_bad_layer_sizes_are_explained_and_cannot_be_trained(cache, text):
    app = open_page("training")
    app.text_input(key="hidden_units").set_value(text).run()
    assert "hidden_units" in app.error[0].value
    assert not [button for button in app.button if button.key == "train"]
    assert not app.exception


def test_a_training_that_cannot_start_says_why(cache, monkeypatch):
    def fail(*_):
        raise KnownError("No space left on device.")

    monkeypatch.setattr(jobs, "start_training", fail)
    app = open_page("training")
    app.button(key="train").click().run()
    assert "No space left on device" in app.error[0].value
    assert not app.exception


@pytest.mark.parametrize(
    ("phase", "word"), [("failed", "reason"), ("cancelled", "reached epoch 2"), ("training", "is gone")]
)
def test_a_training_that_ended_early_says_so_and_offers_another(cache, phase, word):
    run = runs.open_run(SMALL.run_id)
    with pytest.raises(KnownError), run.train(SMALL) as training:
        training.update(epoch=2, epochs=3)
        raise KnownError("reason")
    state = run.part / runs.STATE
    state.write_text(state.read_text().replace('"failed"', f'"{phase}"'))
    app = open_page("training", **settings_of(SMALL))
    assert word in [*app.error, *app.warning][0].value
    assert app.button(key="train_again")
    app.button(key="discard").click().run()
    assert run.training() is None
    assert not app.exception


def test_deleting_asks_first(full):
    app = open_page("training", **settings_of(SMALL))
    app.button(key="delete").click().run()
    assert full.is_complete()
    app.button(key="delete_confirmed").click().run()
    assert not full.is_complete()
    assert not app.exception


def instrument(app: AppTest) -> dict:
    """What Python tells the live slider."""
    return json.loads(app.get("bidi_component")[0].proto.json)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", ["0", "0.8", "0.333", "1", "0.5,0.9"])
def test_pruning_measures_what_prune_and_evaluate_give(full, method, key):
    test = load_dataset("optdigits").test
    told = instrument(open_page("pruning", method=method, k=key))
    k = [float(part) for part in key.split(",")]
    score = evaluate(prune(full.kernels(), method, k[0] if len(k) == 1 else k), test.images, test.labels)
    assert told["measured"]["key"] == told["k"] == key
    assert (told["measured"]["accuracy"], told["measured"]["loss"]) == (score.accuracy, score.loss)


@pytest.mark.parametrize("method", METHODS)
def test_the_slider_is_told_the_exact_counts_and_only_true_scores(full, method):
    test = load_dataset("optdigits").test
    told = instrument(open_page("pruning", method=method))
    kernels = full.kernels()
    assert len(told["known"]) == len(told["stops"])
    for stop, counts in list(zip(told["stops"], told["pruned"], strict=True))[::9]:
        pruned = prune(kernels, method, float(stop))
        zeros = [count * layer["each"] for count, layer in zip(counts, told["layers"], strict=True)]
        assert zeros == [int((kernel == 0).sum()) for kernel in pruned[:-1]]
        score = evaluate(pruned, test.images, test.labels)
        assert told["known"][stop] == pytest.approx([score.accuracy, score.loss], abs=1e-12)


@pytest.mark.parametrize("key", ["", "a", "2", "-1", "nan", "0.5,0.5,0.5", "0.5,"])
def test_an_address_that_is_no_k_is_dense(full, key):
    assert instrument(open_page("pruning", k=key))["k"] == "0"


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("scope", SCOPES)
def test_every_ranking_can_be_chosen(full, ranking, scope):
    told = instrument(open_page("pruning", ranking=ranking, scope=scope, k="0.5"))
    assert 0 <= told["measured"]["accuracy"] <= 1
    assert told["separable"] == (scope == "layer")


@pytest.mark.parametrize("k", ["0", "0.9", "1", "0.5,0.9"])
def test_every_fold_opens(full, k):
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    app.query_params["k"] = k
    for name in ("play", "forgets", "looks_at", "layers"):
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    assert len(app.get("plotly_chart")) >= 2


def test_a_run_deleted_in_another_tab_is_said(full):
    app = open_page("pruning")
    full.delete()
    app.run()
    assert not app.exception
    assert "No trained network yet" in " ".join(element.value for element in app.markdown)


@pytest.mark.parametrize("page", ["pruning", "comparison"])
def test_a_run_can_be_looked_at_while_it_is_retrained(full, page):
    with pytest.raises(KnownError), full.train(SMALL) as training:
        training.update(phase="training", epoch=1, epochs=3)
        app = open_page(page)
        assert "No trained network" not in " ".join(element.value for element in app.markdown)
        raise KnownError("enough")


def test_more_runs_than_fit_and_unknown_ones_in_a_link(full):
    for index in range(13):
        shutil.copytree(full.folder, full.root / f"copy-{index}")
    app = AppTest.from_file(PROJECT / "pages" / "comparison.py", default_timeout=60)
    app.query_params["runs"] = [f"copy-{index}" for index in range(13)] + ["copy-0", "gone"]
    app.run()
    assert not app.exception
    assert len(app.multiselect(key="runs").value) == 12
    assert "gone" in app.warning[0].value


@pytest.mark.parametrize("layers", [(8,), (8, 7, 6), (6, 6, 6, 6, 6)])
def test_networks_of_any_depth_can_be_looked_at(cache, layers):
    config = TrainingConfig(dataset="optdigits", hidden_units=layers)
    generator = np.random.default_rng(0)
    kernels = [generator.normal(size=shape).astype(np.float32) for shape in config.layer_shapes]
    run = runs.open_run(config.run_id)
    images = load_dataset("optdigits").train.images
    with run.train(config) as training:
        training.write_history(pd.DataFrame({"epoch": [1], "loss": [1.0], "accuracy": [0.5], "seconds": [1.0]}))
        training.write_model(lambda path: path.touch(), kernels, rms_activations(kernels, images))
        training.write_sweep(pd.DataFrame(columns=runs.SWEEP_KEY))
        training.commit(test_accuracy=0.1, test_loss=2.0, kept_epoch=1, training_seconds=1.0)
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    for name in ("play", "forgets", "looks_at", "layers"):
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    assert len(instrument(app)["layers"]) == len(layers)


def test_an_unknown_run_in_a_link_is_said(full):
    app = open_page("pruning", run="digits-e99-lr1-0000000000")
    assert "no complete run named digits-e99" in app.warning[0].value
    assert not app.exception


@pytest.mark.parametrize("page", ["pruning", "comparison"])
def test_a_damaged_network_is_said_with_a_way_out(full, page):
    (full.folder / runs.KERNELS).write_bytes(b"damaged")
    app = open_page(page, k_vals="0.1234")
    assert "Retrain the run" in app.error[0].value
    assert not app.exception


def test_a_bad_k_list_is_explained_and_the_default_shown(full):
    app = open_page("comparison", k_vals="0.5,half")
    assert "'half'" in app.error[0].value
    assert len(app.dataframe[0].value) == 10
    assert not app.exception


def test_an_edited_k_list_is_scored_and_kept(full):
    app = open_page("comparison", k_vals="0, 0.333, 1")
    assert app.dataframe[0].value.sparsity.tolist() == [0, 0.333, 1]
    assert app.dataframe[0].value.notna().all(axis=None)
    assert 0.333 in set(full.sweep().sparsity)
    assert not app.exception
