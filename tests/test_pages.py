"""Each page by AppTest, in an empty cache, a full one and a damaged one. Training itself is not started
here: the boundary to it, `core.jobs`, is replaced."""

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import grid, jobs, links, runs, scoring
from core.analysis import comparison
from core.analysis.knees import DROPS
from core.charts.curves import X_AXES, Y_AXES
from core.config import K_VALUES, TrainingConfig
from core.datasets import load_dataset
from core.errors import DatasetError, KnownError
from core.evaluation import evaluate, predict, rms_activations
from core.exports import report
from core.jobs import Queue, open_queue
from core.pruning import METHODS, RANKINGS, SCOPES, Sparsity, prune
from core.runs import Phase, layout, write_run
from core.settings import PROJECT
from core.sweep import ROW_KEY, Criterion
from pages.shared import choice, networks, progress
from tests.conftest import SMALL

PAGES = ("overview", "training", "grid", "pruning", "size", "draw", "comparison", "runs")


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
    assert app.metric[0].value == f"{full.result().test_accuracy:.2%}"


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


def test_a_slow_page_that_tells_the_earlier_dataset_s_validation_images_is_not_believed(cache):
    app = open_page("training", dataset="optdigits")
    app.number_input(key="num_valid").set_value(10_000).run()
    assert app.number_input(key="num_valid").value == 200
    assert not app.error
    app.number_input(key="num_valid").set_value(1_437).run()
    assert len(app.error) == 1


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
    with pytest.raises(KnownError), write_run(run, SMALL) as training:
        training.update(Phase.TRAINING, epoch=2, epochs=3)
        raise KnownError("reason")
    state = run.part / layout.STATE
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
    # What another tab trained in its place meanwhile stays.
    state = json.loads((full.folder / layout.STATE).read_text())
    seen = state["finished"]
    (full.folder / layout.STATE).write_text(json.dumps(state | {"finished": seen.replace("20", "21", 1)}))
    app.button(key="delete_confirmed").click().run()
    assert full.is_complete()
    assert any("trained again meanwhile" in error.value for error in app.error)
    app.button(key="delete").click().run()
    app.button(key="delete_confirmed").click().run()
    assert not full.is_complete()
    assert not app.exception


def test_two_pages_score_at_a_time_and_others_wait_and_say_so(full, trained_run, monkeypatch):
    """Each holds a network and its images in memory."""
    run, said, waiting = runs.open_run(trained_run.id), [], threading.Event()

    def note(fraction, text):
        said.append(text)
        if text.startswith("Waiting"):
            waiting.set()
        return SimpleNamespace(progress=note, empty=lambda: None)

    monkeypatch.setattr(progress, "st", SimpleNamespace(progress=note))
    with ThreadPoolExecutor(1) as pool:
        with progress._PLACES, progress._PLACES:
            third = pool.submit(progress.scored, run, scoring.experiment([0.123]))
            assert waiting.wait(60)
            assert not third.done()
        assert 0.123 in set(third.result(60).sparsity)
    assert said[-1].startswith("Pruning and scoring")
    assert [progress._PLACES.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    progress._PLACES.release(2)


def instrument(app: AppTest) -> dict:
    """What Python tells the live slider."""
    (component,) = [part for part in app.get("bidi_component") if part.proto.component_name == "instrument"]
    return json.loads(component.proto.json)


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
    for stop, zeros in list(zip(told["stops"], told["zeroed"], strict=True))[::9]:
        pruned = prune(kernels, method, float(stop))
        assert zeros == [int((kernel == 0).sum()) for kernel in pruned[:-1]]
        score = evaluate(pruned, test.images, test.labels)
        assert told["known"][stop] == pytest.approx([score.accuracy, score.loss], abs=1e-12)


@pytest.mark.parametrize("key", ["", "a", "2", "-1", "nan", "0.5,0.5,0.5", "0.5,"])
def test_an_address_that_is_no_k_opens_where_pruning_is_worth_a_look(full, key):
    told = instrument(open_page("pruning", k=key))
    kept = [float(k) for k, (accuracy, _) in told["known"].items() if accuracy >= told["dense"]["accuracy"] - 0.005]
    assert told["k"] == str(Sparsity(max(kept)))


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
    for name in ("classes", "looks_at", "layers"):
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    assert len(app.get("plotly_chart")) >= 2


def test_classes_are_told_with_what_pruning_took_from_each_and_made_of_it(full):
    test = load_dataset("optdigits").test
    dense, pruned = (
        predict(kernels, test.images) for kernels in (full.kernels(), prune(full.kernels(), "weight", 0.9))
    )
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    app.query_params["k"] = "0.9"
    app.session_state["classes"] = True
    app.run()
    (table,) = [element.value for element in app.dataframe if "change" in element.value]
    right = [
        np.array([np.mean((said == test.labels)[test.labels == label]) for label in range(10)])
        for said in (dense, pruned)
    ]
    assert table.name.tolist() == list("0123456789")
    assert table.images.tolist() == np.bincount(test.labels).tolist()
    np.testing.assert_array_equal(table.dense, right[0])
    np.testing.assert_array_equal(table.pruned, right[1])
    # Fewer right is fewer points.
    np.testing.assert_allclose(table.change, 100 * (right[1] - right[0]))
    assert table.change.min() < -10
    (drawn,) = [chart for chart in map(chart_of, app.get("plotly_chart")) if chart["data"][0]["type"] == "heatmap"]
    counted = np.zeros((10, 10), int)
    np.add.at(counted, (dense, pruned), 1)
    assert [[int(text or 0) for text in row] for row in drawn["data"][0]["text"]] == counted.tolist()
    assert (counted != counted.T).any()


def chart_of(element) -> dict:
    return json.loads(element.proto.spec or element.proto.figure.spec)


def test_a_run_deleted_in_another_tab_is_said(full):
    app = open_page("pruning")
    full.delete()
    app.run()
    assert not app.exception
    assert "No trained network yet" in " ".join(element.value for element in app.markdown)


@pytest.mark.parametrize("page", ["pruning", "size", "draw", "comparison"])
def test_a_run_can_be_looked_at_while_it_is_retrained(full, page):
    with pytest.raises(KnownError), write_run(full, SMALL) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=3)
        app = open_page(page)
        assert "No trained network" not in " ".join(element.value for element in app.markdown)
        raise KnownError("enough")


def test_any_number_of_runs_and_unknown_ones_in_a_link(full):
    for index in range(13):
        shutil.copytree(full.folder, full.root / f"copy-{index}")
    app = AppTest.from_file(PROJECT / "pages" / "comparison.py", default_timeout=60)
    app.query_params["runs"] = [f"copy-{index}" for index in range(13)] + ["copy-0", "gone"]
    app.run()
    assert not app.exception
    assert len(app.multiselect(key="runs").value) == 13
    assert "no complete run named** `gone`" in texts(app)


def test_decoded_images_that_are_damaged_are_decoded_anew(cache, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "prepare_dataset", lambda name, root: asked.append(load_dataset(name, root)))
    load_dataset("optdigits")
    path = cache / "datasets" / "optdigits.npz"
    content = bytearray(path.read_bytes())
    content[-5_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"were damaged: Bad CRC-32 .* Try again"):
        load_dataset("optdigits").test  # noqa: B018
    assert not path.exists()
    path.write_bytes(content)
    networks.test_split.clear()
    assert len(networks.test_split("optdigits").labels) == 360
    assert len(asked) == 1


def texts(app: AppTest) -> str:
    return " ".join(element.value for element in [*app.markdown, *app.caption])


@pytest.mark.parametrize("layers", [(8,), (8, 7, 6), (6, 6, 6, 6, 6)])
def test_networks_of_any_depth_can_be_looked_at(cache, layers):
    config = TrainingConfig(dataset="optdigits", hidden_units=layers)
    generator = np.random.default_rng(0)
    kernels = [generator.normal(size=shape).astype(np.float32) for shape in config.layer_shapes]
    run = runs.open_run(config.run_id)
    images = load_dataset("optdigits").train.images
    with write_run(run, config) as training:
        training.write_history(pd.DataFrame({"epoch": [1], "loss": [1.0], "accuracy": [0.5], "seconds": [1.0]}))
        training.write_model(lambda path: path.touch(), kernels, rms_activations(kernels, images))
        training.write_sweep(pd.DataFrame(columns=ROW_KEY))
        training.commit(test_accuracy=0.1, test_loss=2.0, kept_epoch=1, training_seconds=1.0)
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    for name in ("classes", "looks_at", "layers"):
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    assert len(instrument(app)["layers"]) == len(layers)


@pytest.mark.parametrize(
    ("image", "start"), [("0", 0), ("359", 359), ("360", None), ("-1", None), ("²", None), ("a", None)]
)
def test_a_test_image_can_be_named_in_a_link_to_draw(full, image, start):
    app = open_page("draw", image=image, k="0.333", method="unit")
    (component,) = [part for part in app.get("bidi_component") if part.proto.component_name == "draw"]
    told = json.loads(component.proto.json)
    assert (told["start"] and told["start"]["index"]) == start
    assert told["stops"][told["at"]] == "0.33"
    assert [sample["label"] for sample in told["samples"]] == list("0123456789")
    assert told["answer"] is None


def test_a_training_whose_history_is_damaged_can_be_watched_and_cancelled(cache):
    configs = [TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(20, 10), seed=seed) for seed in (1, 2)]
    run = runs.open_run(configs[0].run_id)
    open_queue().add(configs)
    with write_run(run, configs[0]) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=2)
        (run.part / layout.HISTORY).write_text("epoch,loss\n1,much\n")
        app = open_page("grid")
        assert [f"queue_cancel_{runs.open_run(config.run_id).id}" in keys(app) for config in configs] == [True, True]
        assert not app.error
        app = open_page("training", **choice.settings_of(configs[0]))
        assert "cancel" in keys(app)
        assert "history.csv" in "".join(error.value for error in app.error)
        app = open_page("pruning", run=links.address_of(run.id, configs[0]))
        assert not app.error
        training.discard()


def keys(app: AppTest) -> set[str]:
    return {button.key for button in app.button}


def test_an_unknown_run_in_a_link_is_said(full):
    app = open_page("pruning", run="digits-e99-lr1-0000000000")
    assert "no complete run named** `digits-e99" in texts(app)
    assert app.selectbox(key="run").options == [f"{SMALL.dataset}, 3 epochs, 60-40, seed 0"]
    assert not app.exception


@pytest.mark.parametrize("page", ["pruning", "size", "draw", "comparison"])
def test_a_damaged_network_is_said_with_a_way_out(full, page):
    (full.folder / layout.KERNELS).write_bytes(b"damaged")
    app = open_page(page, k_vals="0.1234")
    assert "Retrain it on the page Training" in app.error[0].value
    assert not app.exception


def test_a_bad_k_list_is_explained_and_the_default_shown(full):
    app = open_page("comparison", k_vals="0.5,half")
    assert "'half'" in app.error[0].value
    assert set(results(app).k) == set(K_VALUES)
    assert not app.exception


def tables(app: AppTest) -> list[pd.DataFrame]:
    return [element.value for element in app.dataframe]


def results(app: AppTest) -> pd.DataFrame:
    """The rows of the comparison's table that are not pruned by chance."""
    (table,) = [table for table in tables(app) if "compression" in table]
    return table[table.ranking.isin(["magnitude", "activation", "admm"])]


def test_an_edited_k_list_is_scored_and_kept(full):
    app = open_page("comparison", k_vals="0, 0.333, 1")
    for method in METHODS:
        rows = results(app)[results(app).method == method]
        assert rows.k.tolist() == [0, 0.333, 1]
        assert rows[["accuracy", "change", "loss", "zeroed", "removable"]].notna().all(axis=None)
    assert 0.333 in set(full.sweep().sparsity)
    assert not app.exception


@pytest.mark.parametrize(
    ("x", "y"), [*((x, "accuracy") for x in X_AXES), *(("sparsity", y) for y in Y_AXES if y != "accuracy")]
)
def test_every_axis_and_ranking_can_be_compared(full, x, y):
    app = open_page("comparison", x=x, y=y, orders=["magnitude", "magnitude, global", "activation"])
    assert not app.error
    assert not app.exception
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    title = figure["layout"]["xaxis"]["title"]["text"].replace("<br>", " ")
    assert title == ("Sparsity k of each layer's, or of all hidden weights" if x == "sparsity" else X_AXES[x].title)
    assert figure["layout"]["yaxis"]["title"]["text"] == Y_AXES[y].title
    assert set(results(app).ranking) == {"magnitude", "activation"}
    assert set(results(app).scope) == {"layer", "global"}
    assert set(results(app).state) == {"as pruned"}


@pytest.fixture
def asked(monkeypatch):
    """Notes what is to be scored in the background, in place of scoring it: the id of the run, and its steps."""
    asked = []
    monkeypatch.setattr(jobs, "start_scoring", lambda run, wanted: asked.append((run.id, [*scoring.steps_of(wanted)])))
    st.cache_resource.clear()
    return asked


def repaired(method: str, scope: str = "layer") -> Criterion:
    return Criterion(method, "admm", scope, recovery="repair")


def pretend_repaired(run: runs.Run, criterion: Criterion, sparsities: list[float]) -> None:
    """Scores of networks that nobody repaired."""
    pruned = Criterion(criterion.method).select(run.sweep())
    rows = pruned[pruned.sparsity.isin(sparsities)].assign(
        **dataclasses.asdict(criterion), images=1237, seconds=0.5, accuracy=0.9, val_accuracy=0.9
    )
    assert run.add_to_sweep(rows, run.version())


def test_repaired_networks_are_asked_for_in_the_background_and_never_made_by_the_page(full, asked):
    before = full.sweep()
    app = open_page("comparison", states=["as pruned", "repaired"], k_vals="0.5,0.9")
    assert asked == [(SMALL.run_id, [(repaired(method), k) for method in METHODS for k in (0.9, 0.5)])]
    assert "Still being repaired: 4 to go." in texts(app)
    pd.testing.assert_frame_equal(full.sweep(), before)
    assert set(results(app).state) == {"as pruned"}
    # One comes in: the curve grows, and no second time is it asked for.
    pretend_repaired(full, repaired("weight"), [0.9])
    app.run()
    assert "Still being repaired: 3 to go." in texts(app)
    assert results(app).groupby("state").k.agg(list).to_dict() == {"as pruned": [0.5, 0.9] * 2, "repaired": [0.9]}
    names = [trace["name"] for trace in json.loads(app.get("plotly_chart")[0].proto.spec)["data"] if "name" in trace]
    assert {"as pruned", "repaired"} <= set(names)
    pretend_repaired(full, repaired("weight"), [0.5])
    app.run()
    assert asked[-1] == (SMALL.run_id, [(repaired("unit"), k) for k in (0.9, 0.5)])
    pretend_repaired(full, repaired("unit"), [0.5, 0.9])
    asked.clear()
    app.run()
    assert not asked
    assert "Still being repaired" not in texts(app)
    assert not app.exception


def test_beside_global_pruning_repair_is_global_and_so_is_chance(full, asked):
    app = open_page("comparison", orders=["magnitude, global"], states=["as pruned", "repaired"], k_vals="0.5")
    baseline = [*scoring.steps_of(scoring.baseline([0.5], ["magnitude"]))]
    repairs = [(repaired(method, "global"), 0.5) for method in METHODS]
    assert asked == [(SMALL.run_id, [*baseline, *repairs])]
    list(scoring.score_run(full, scoring.baseline([0.5], ["magnitude"])))
    app.run()
    assert "to go" not in texts(app).replace("repaired: 2 to go", "")
    assert "random, with the layer counts of global magnitude" in {*tables(app)[-1].ranked_by}
    assert "which ones by chance" in texts(app)
    assert not app.exception


def test_only_what_is_repaired_can_be_shown_before_and_after_there_is_any(full, asked):
    app = open_page("comparison", states=["repaired"], k_vals="0.9")
    assert "What comes in appears here" in app.info[0].value
    pretend_repaired(full, repaired("weight"), [0.9])
    app.run()
    assert set(results(app).state) == {"repaired"}
    assert not app.exception


def test_what_costs_stands_beside_what_was_won_back(full, asked):
    pretend_repaired(full, repaired("weight"), [0.9])
    app = open_page("comparison", states=["as pruned", "repaired"], k_vals="0.9")
    (row,) = results(app)[results(app).state == "repaired"].to_dict("records")
    assert (row["recovery_images"], row["recovery_epochs"], row["recovery_seconds"]) == (1237, 0, 0.5)


def test_what_was_trained_on_is_shown_with_its_parent(full, monkeypatch):
    app = open_page("comparison", states=["trained on"])
    assert "None of these networks has been fine-tuned" in texts(app)
    made = (
        Criterion("weight")
        .select(full.sweep())
        .iloc[-1:]
        .assign(recovery="finetune", state="fine-tuned, 2 epochs", sparsity=0.985, accuracy=0.91, epochs=2)
    )
    monkeypatch.setattr(comparison, "rows_of_children", lambda run: made)
    app = open_page("comparison", states=["as pruned", "trained on"])
    (row,) = results(app)[results(app).recovery == "finetune"].to_dict("records")
    assert (row["state"], row["k"], row["accuracy"]) == ("fine-tuned, 2 epochs", 0.985, 0.91)
    assert not app.exception


def test_the_page_and_the_report_name_the_same_knees(full):
    app = open_page("comparison")
    (table,) = [table for table in tables(app) if "step" in table]
    page = report.report(full).decode()
    for row in table.to_dict("records"):
        cells = [row[name] for drop in DROPS for name in (f"k_{drop}", f"change_{drop}")]
        text = "".join(f"<td>{cell}</td>" for cell in [f"{row['method']}, magnitude, as pruned", *cells, row["area"]])
        assert text in page


def test_knees_are_provisional_while_scores_lack(full):
    """Of both methods by magnitude the slider scores 103 sparsities each."""
    assert "Provisional" not in texts(open_page("comparison"))
    sweep = full.sweep()
    sweep[sweep.sparsity.isin(K_VALUES)].to_csv(full.folder / layout.SWEEP, index=False)
    assert "**Provisional**: 20 of 206 scores" in texts(open_page("comparison"))
    assert "**Provisional**: 20 of 252 scores" in texts(open_page("comparison", states=["as pruned", "repaired"]))


def test_networks_without_validation_images_have_no_knee_and_that_is_said(full):
    sweep = full.sweep()
    sweep.assign(val_accuracy=np.nan, val_loss=np.nan).to_csv(full.folder / layout.SWEEP, index=False)
    app = open_page("comparison")
    (table,) = [table for table in tables(app) if "step" in table]
    assert set(table[f"k_{DROPS[0]}"]) == {"–"}
    assert f"Without validation images there is no knee: {SMALL.describe()}." in texts(app)


def test_a_test_set_of_so_many_images_can_tell_so_much(full):
    accuracy = full.result().test_accuracy
    error = 100 * (accuracy * (1 - accuracy) / 360) ** 0.5
    assert f"360 test images can be counted only so finely: at {accuracy:.1%}" in texts(open_page("comparison"))
    assert f"±{error:.2f} points" in texts(open_page("comparison"))


def with_another_seed(run: runs.Run) -> str:
    other = dataclasses.replace(SMALL, seed=1)
    folder = run.root / other.run_id
    shutil.copytree(run.folder, folder)
    (folder / layout.CONFIG).write_text(json.dumps(other.to_dict()))
    return other.run_id


def test_differences_are_shown_where_curves_share_seeds(full):
    app = open_page("comparison", k_vals="0.5,0.9")
    assert "Difference at the same seeds" not in [element.value for element in app.subheader]
    both = [SMALL.run_id, with_another_seed(full)]
    app = open_page("comparison", k_vals="0.5,0.9", runs=both)
    assert "Difference at the same seeds" in [element.value for element in app.subheader]
    (table,) = [table for table in tables(app) if any("(n = 2)" in name for name in table)]
    assert table.k.tolist() == [0.5, 0.9]
    assert len(table.columns) == 4  # from weights: units, and both at random
    unit = Criterion("unit").select(full.sweep()).set_index("sparsity").accuracy
    weight = Criterion("weight").select(full.sweep()).set_index("sparsity").accuracy
    points = f"{100 * (unit[0.9] - weight[0.9]):+.2f}".replace("-", "−")
    assert table["unit, magnitude, as pruned (n = 2)"][1] == f"{points} ({points} to {points})"
    assert "Bands: ± one sample deviation, over networks of other seeds" in texts(app)
    assert "each network being the mean of its random orders" in texts(app)

    # From another curve, and of another measure.
    app = open_page("comparison", k_vals="0.5,0.9", y="loss", runs=both)
    box = app.selectbox(key="reference")
    box.set_value(tuple("unit" if part == "weight" else part for part in box.value)).run()
    (table,) = [table for table in tables(app) if any("(n = 2)" in name for name in table)]
    loss = {method: Criterion(method).select(full.sweep()).set_index("sparsity").loss[0.9] for method in METHODS}
    change = f"{loss['weight'] - loss['unit']:+.4f}".replace("-", "−")
    assert table["weight, magnitude, as pruned (n = 2)"][1] == f"{change} ({change} to {change})"


def test_runs_that_differ_in_the_seed_only_are_one_curve(full):
    app = open_page("comparison", runs=[SMALL.run_id, with_another_seed(full)])
    assert set(results(app).n) == {2}
    assert (results(app).accuracy_sd == 0).all()


def test_missing_random_scores_are_asked_for_and_only_where_they_can_be_had(full, asked):
    other = dataclasses.replace(SMALL, seed=1)
    folder = full.root / other.run_id
    shutil.copytree(full.folder, folder)
    (folder / layout.CONFIG).write_text(json.dumps(other.to_dict()))
    sweep = full.sweep()
    sweep[sweep.ranking != "random"].to_csv(full.folder / layout.SWEEP, index=False)
    (folder / layout.SWEEP).write_text('"damaged')
    app = open_page("comparison", runs=[other.run_id, SMALL.run_id], k_vals="0,0.5")
    assert not app.exception
    assert len(app.error) == 1
    assert asked == [(SMALL.run_id, [*scoring.steps_of(scoring.baseline([0.0, 0.5]))])]


def test_runs_that_wait_for_their_training_are_named_and_waited_for(full):
    config = dataclasses.replace(SMALL, seed=7)
    open_queue().add([config])
    addresses = [links.address_of(each.run_id, each) for each in (SMALL, config)]
    app = open_page("comparison", runs=addresses)
    assert "shown as they finish: optdigits, 3 epochs, 60-40, seed 7." in texts(app)
    assert app.query_params["runs"] == addresses
    open_queue().cancel()
    app.run()
    assert f"no complete run named** `{config.run_id}`" in texts(app)


def test_the_same_missing_run_twice_in_a_link_is_one(full):
    app = open_page("comparison", runs=["gone", "gone~seed.2", SMALL.run_id])
    assert texts(app).count("no complete run named** `gone`") == 1


def test_a_name_given_to_another_network_here_is_not_that_of_the_link(full):
    shutil.copytree(full.folder, full.root / "mine")
    config = dataclasses.replace(SMALL, seed=9)
    app = open_page("pruning", run=links.address_of("mine", config))
    assert f"no complete run named** `{config.run_id}`" in texts(app)


def test_a_link_to_a_missing_run_offers_to_train_exactly_it(cache, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start_training", lambda run, config: started.append((run.id, config)))
    config = TrainingConfig(dataset="optdigits", epochs=7, learning_rate=1e-5, hidden_units=(9, 8), seed=3, l1_reg=0.1)
    for page, name in (("pruning", "run"), ("comparison", "runs")):
        app = open_page(page, **{name: links.address_of(config.run_id, config)})
        assert f"no complete run named** `{config.run_id}`" in texts(app)
        app.button(key=f"train_{config.run_id}").click().run()
        assert not app.exception
    assert started == [(config.run_id, config)] * 2


def test_the_address_carries_how_the_run_was_trained(full):
    for page, name in (("pruning", "run"), ("comparison", "runs")):
        app = open_page(page)
        address = app.query_params[name]
        assert links.parse_address(address if isinstance(address, str) else address[0]) == (SMALL.run_id, SMALL)


@pytest.fixture
def started(monkeypatch):
    """Notes, in place of starting the queue's process, how many trainings at a time were asked for."""
    started = []
    monkeypatch.setattr(Queue, "start", lambda queue, jobs: started.append(jobs))
    return started


@pytest.fixture
def queue(cache, started):
    return open_queue()


def test_a_grid_is_queued_as_shown(queue, started):
    app = open_page("grid", **settings_of(SMALL))
    app.text_input(key="grid_l1_reg").set_value("0, 0.001").run()
    app.pills(key="grid_dataset").set_value(["digits", "optdigits"]).run()
    app.number_input(key="grid_jobs").set_value(2).run()
    assert app.button(key="grid_add").label == "Queue 20 trainings"
    app.button(key="grid_add").click().run()
    assert not app.exception
    assert started == [2]
    configs = [entry.config for entry in queue.entries()]
    assert configs == grid.expand(
        {
            "dataset": ["digits", "optdigits"],
            "epochs": [SMALL.epochs],
            "l1_reg": [0, 0.001],
            "hidden_units": [SMALL.hidden_units],
            "seed": range(5),
        }
    )
    assert app.button(key="grid_add").disabled
    assert app.button(key="queue_resume")  # nothing was started


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", 0, "epochs: expected 1 to 10,000. Received: 0."),
        ("learning_rate", 3.0, "learning_rate: expected a number above 0 and at most 1. Received: 3."),
    ],
)
def test_a_number_out_of_range_cannot_be_trained(cache, name, value, said):
    app = open_page("training", dataset="optdigits")
    app.number_input(key=name).set_value(value).run()
    assert said in app.error[0].value
    assert "train" not in [button.key for button in app.button]


def test_more_at_a_time_than_allowed_is_not_queued(queue):
    app = open_page("grid", **settings_of(SMALL))
    app.number_input(key="grid_jobs").set_value(1_000).run()
    assert "At a time: expected 1 to" in app.warning[0].value
    assert app.button(key="grid_add").disabled


@pytest.mark.parametrize(("key", "text"), [("grid_seed", "4-0"), ("grid_learning_rate", "2"), ("grid_l2_reg", "much")])
def test_a_bad_grid_is_explained_and_cannot_be_queued(queue, key, text):
    app = open_page("grid")
    app.text_input(key=key).set_value(text).run()
    assert key.removeprefix("grid_") in app.error[0].value
    assert not [button for button in app.button if button.key == "grid_add"]
    assert not app.exception


def test_what_is_trained_already_is_not_queued_again(full):
    app = open_page("grid", **settings_of(SMALL))
    assert app.button(key="grid_add").label == "Queue 4 trainings"
    assert "**5 networks**, 1 trained already" in [element.value for element in app.markdown]


def test_the_queue_is_shown_and_can_be_cancelled(queue, started):
    configs = grid.expand({"dataset": ["optdigits"], "seed": range(30)})
    queue.add(configs)
    ticket = queue.folder / f"{configs[7].run_id}.json"
    ticket.write_text(json.dumps(json.loads(ticket.read_text()) | {"failure": "It diverged."}))
    with pytest.raises(KnownError), write_run(runs.open_run(configs[3].run_id), configs[3]) as training:
        training.update(Phase.TRAINING, epoch=2, epochs=20)
        app = open_page("grid")
        raise KnownError("enough")
    text = [element.value for element in [*app.markdown, *app.caption]]
    assert "**29 to train**, 1 failed" in text
    assert ":red[Failed.] It diverged." in text
    assert "optdigits, seed 18" in text
    assert "optdigits, seed 29" not in text
    assert "10 more wait." in text
    assert "worked off the queue is gone" in app.warning[0].value
    app.button(key=f"queue_cancel_{configs[0].run_id}").click().run()
    assert configs[0] not in [entry.config for entry in queue.entries()]
    app.button(key="queue_resume").click().run()
    assert started == [1]
    app.button(key="queue_cancel_confirmed").click().run()
    assert queue.entries() == []
    assert not app.exception


def test_a_queue_that_cannot_start_says_why(queue, monkeypatch):
    def fail(*_):
        raise KnownError("There is no Dask scheduler.")

    monkeypatch.setattr(Queue, "start", fail)
    app = open_page("grid")
    app.button(key="grid_add").click().run()
    assert "no Dask scheduler" in app.error[0].value
    assert len(queue.entries()) == 5
    assert not app.exception


def test_images_that_cannot_be_had_are_said_before_training(cache, monkeypatch):
    def refuse(name, root):
        raise KnownError(f"Nobody has {name}.")

    monkeypatch.setattr(jobs, "prepare_dataset", refuse)
    st.cache_resource.clear()
    app = open_page("training")
    app.run()  # the look is over by now
    assert "MNIST digits are not on this machine" in app.warning[0].value
    assert app.button(key="train").disabled
    assert "Nobody has digits." in texts(app)
    app.button(key="take_small").click().run()
    assert app.session_state.dataset == "optdigits"
    assert app.session_state.num_valid == 200


def test_layers_are_pruned_alone_when_asked_and_stop_when_asked(full):
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    app.session_state["layers"] = True
    app.run()
    assert "sensitivity" not in [chart.key for chart in app.get("plotly_chart") if hasattr(chart, "key")]
    app.button(key="layers_start").click().run()
    assert not app.exception
    while [button for button in app.button if button.key == "layers_stop"]:
        app.run()
    assert not app.session_state["layers_at_work"]
    assert "belongs to the layer that can lose most" in texts(app)
