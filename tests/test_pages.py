"""Each page by AppTest, in an empty cache, a full one and a damaged one. Training itself is not started
here: the boundary to it, `core.jobs`, is replaced."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.config import TrainingConfig
from core.errors import KnownError
from core.evaluation import evaluate
from core.pruning import prune
from tests.conftest import PROJECT, SMALL

PAGES = ("overview", "training", "pruning", "comparison")


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(PROJECT / "pages" / f"{name}.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


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


@pytest.mark.parametrize("method", ["weight", "unit"])
def test_pruning_shows_what_prune_and_evaluate_give(full, method):
    from core.datasets import load_dataset

    test = load_dataset("optdigits").test
    app = open_page("pruning", method=method, k="80")
    score = evaluate(prune(full.kernels(), method, 0.8), test.images, test.labels)
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Test accuracy"] == f"{score.accuracy:.2%}"
    assert metrics["Test loss"] == f"{score.loss:.4f}"
    assert not app.exception


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
