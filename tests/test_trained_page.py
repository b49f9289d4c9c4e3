"""Fine-tuning from the Pruning page, and the slider over fine-tuned networks."""

import json
import shutil

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.config import RecoveryConfig
from core.datasets import load_dataset
from core.evaluation import evaluate, predict
from core.pruning import METHODS, prune
from core.runs import layout
from core.settings import PROJECT
from core.state import children, fine_tuned_by, state_of
from core.sweep import STOPS, Criterion
from pages.shared import choice, networks
from tests.browsing import confirmed, fill, metric, needs_chromium, serving, settled, visit
from tests.commands import run_command
from tests.conftest import SMALL
from tests.test_instrument import READ_HISTOGRAMS
from tests.test_pages import instrument

TRAINED = fine_tuned_by("weight")


@pytest.fixture(scope="module")
def family(repaired_cache, tmp_path_factory):
    """A cache with a run, two networks fine-tuned from it at one k, and a control."""
    root = tmp_path_factory.mktemp("family")
    shutil.copytree(repaired_cache, root, dirs_exist_ok=True)
    for choices in (["--epochs=1"], ["--epochs=3", "--how=gradual"], ["--epochs=1", "--how=reinit"]):
        done = run_command(
            "finetune", f"--run={SMALL.run_id}", "--sparsity=0.8", f"--output_dir={root}", "--k_vals=0", *choices
        )
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def parent(family, cache, monkeypatch):
    """The run in a cache that a test may change, without work in the background."""
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)
    shutil.rmtree(cache)
    shutil.copytree(family, cache)
    return runs.open_run(SMALL.run_id, cache)


def opened(run_id=SMALL.run_id, page="pruning", **query):
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    for name, value in {"run": run_id, "state": "trained on", **query}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def config_of(**choices):
    return RecoveryConfig(SMALL, SMALL.run_id, **choices)


def test_the_best_on_validation_images_stands_for_its_k_and_controls_do_not(parent):
    found = {child.config().how: child for child in children(parent)}
    assert set(found) == {"finetune", "gradual", "reinit"}

    def score(child, accuracy):
        path = child.folder / layout.SWEEP
        child.sweep().assign(val_accuracy=accuracy).to_csv(path, index=False)

    score(found["reinit"], 1.0)
    for better, worse in (("finetune", "gradual"), ("gradual", "finetune")):
        score(found[better], 0.9)
        score(found[worse], 0.8)
        assert state_of(parent, TRAINED).children == {0.8: found[better]}
    assert state_of(parent, fine_tuned_by("unit")).children == {}


def test_children_of_an_earlier_network_of_that_name_are_none_of_this_one(parent):
    assert len(children(parent)) == 3
    path = parent.folder / layout.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 99}))
    assert children(parent) == []


def test_what_was_trained_on_at_k_0_does_not_stand_for_the_dense_network(parent):
    child = next(child for child in children(parent) if child.config().how == "finetune")
    path = child.folder / layout.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sparsity": 0.0}))
    assert state_of(parent, TRAINED).children.keys() == {0.8}
    assert state_of(parent, TRAINED).stops == (0.0, 0.8)


def test_a_training_that_has_just_ended_is_found_at_once(parent):
    network = networks.load_run(parent)
    networks.look_again()
    for child in children(parent):
        child.folder.rename(parent.root / f".{child.id}")
    assert networks.state(network, TRAINED).stops == (0.0,)
    for hidden in parent.root.glob(".optdigits-*"):
        hidden.rename(parent.root / hidden.name[1:])
    networks.look_again()
    assert networks.state(network, TRAINED).stops == (0.0, 0.8)


def test_a_projector_knows_no_scope_of_what_was_trained_on(parent):
    app = opened(page="present", scope="global", k="0.8")
    assert instrument(app)["of"] == "of each hidden layer"


def test_the_slider_stands_on_what_was_trained_on_and_on_nothing_else(parent):
    app = opened(k="0.9")
    told = instrument(app)
    child = state_of(parent, TRAINED).children[0.8]
    test = load_dataset("optdigits").test
    score = evaluate(child.kernels(), test.images, test.labels)
    assert told["stops"] == ["0", "0.8"]
    assert told["k"] == told["measured"]["key"] == "0.8"
    assert told["known"]["0.8"] == pytest.approx([score.accuracy, score.loss])
    assert told["known"]["0"] == pytest.approx([told["dense"]["accuracy"], told["dense"]["loss"]])
    zeros = [int((kernel == 0).sum()) for kernel in child.kernels()[:-1]]
    assert told["kept"]["0.8"]["zeroed"] == zeros
    assert f"Fine-tuned for {child.config().epochs} epoch" in told["said"]["0.8"]
    pruned = Criterion("weight").select(parent.sweep()).set_index("sparsity").accuracy
    assert told["beside"]["accuracy"]["0.8"] == pruned[0.8]


def test_the_wall_is_given_what_the_network_trained_on_says(parent):
    child = state_of(parent, TRAINED).children[0.8]
    test = load_dataset("optdigits").test
    state = state_of(parent, TRAINED)
    found = state.predictions()
    assert np.array_equal(found["0.8"], predict(child.kernels(), test.images))
    assert np.array_equal(found["0"], predict(parent.kernels(), test.images))
    assert np.array_equal(state.network(0.8).matrices[0], child.kernels()[0])
    assert state.network(0.7) is None


@pytest.mark.parametrize(("how", "start"), [("finetune", "repaired"), ("gradual", "dense"), ("rewind", "dense")])
def test_the_button_starts_exactly_what_is_chosen(parent, monkeypatch, how, start):
    started = []
    monkeypatch.setattr(jobs, "start_training", lambda run, config: started.append((run.id, config)))
    app = opened(method="unit")
    assert not [part for part in app.get("bidi_component") if part.proto.component_name == "instrument"]
    app.selectbox(key="train_on_how").set_value(how).run()
    app.number_input(key="train_on_k").set_value(70.0)
    app.number_input(key="train_on_epochs").set_value(2)
    app.button(key="train_on").click().run()
    config = config_of(how=how, method="unit", sparsity=0.7, epochs=2, start=start)
    assert started == [(config.run_id, config)]


def test_a_sparsity_out_of_range_trains_nothing(parent):
    app = opened(method="unit")
    app.number_input(key="train_on_k").set_value(100.0).run()
    assert "sparsity: expected less than 1" in app.error[0].value
    assert "train_on" not in [button.key for button in app.button]


def test_what_is_there_is_opened_and_not_made_again(parent):
    app = opened()
    app.number_input(key="train_on_k").set_value(80.0)
    app.number_input(key="train_on_epochs").set_value(1).run()
    assert "train_on" not in [button.key for button in app.button]
    assert any(link.proto.label.startswith("There already") for link in app.get("page_link"))


def test_a_failed_start_is_said(parent, monkeypatch):
    def fail(run, config):
        raise jobs.processes.JobError("No room.")

    monkeypatch.setattr(jobs, "start_training", fail)
    app = opened(method="unit")
    app.button(key="train_on").click().run()
    assert [error.value.split(" :small")[0] for error in app.error] == ["No room."]


@pytest.mark.parametrize(
    ("phase", "words"), [("failed", "failed: ` the loss is *not* a number `"), ("interrupted", "was interrupted")]
)
def test_a_training_that_came_to_nothing_says_why_and_can_be_discarded(parent, phase, words):
    config = config_of(sparsity=0.6)
    child = runs.open_run(config.run_id, parent.root)
    child.part.mkdir()
    (child.part / layout.CONFIG).write_text(json.dumps(config.to_dict()))
    state = {"phase": phase, "message": "the loss is *not* a number"}
    (child.part / layout.STATE).write_text(json.dumps(state))
    app = opened()
    assert any(words in warning.value for warning in app.warning)
    app.button(key=f"discard_{child.id}").click().run()
    assert not child.part.exists()
    assert not app.warning


def test_a_network_that_was_trained_on_sends_to_its_parent(parent):
    child = state_of(parent, TRAINED).children[0.8]
    app = opened(child.id)
    assert any("is already fine-tuned" in info.value for info in app.info)


def test_a_page_that_takes_the_first_run_takes_one_that_is_not_pruned_yet(parent):
    assert choice.complete_runs()[0] == parent.id
    assert len(choice.complete_runs()) == 4


def test_what_was_trained_on_from_an_earlier_network_is_none_of_the_new_one(parent):
    assert len(children(parent)) == 3
    state = parent.folder / layout.STATE
    state.write_text(state.read_text().replace(parent.version(), "2030-01-01T00:00:00.000+00:00"))
    assert children(parent) == []


def test_a_damaged_child_does_not_take_the_page_down(parent):
    child = state_of(parent, TRAINED).children[0.8]
    (child.folder / layout.KERNELS).write_bytes(b"nothing")
    app = opened(k="0.8")
    assert len(app.error) <= 1


@needs_chromium
def test_training_on_in_the_browser(family, page, tmp_path):
    """From the empty state over progress to the slider; the zeros are as many as asked for."""
    with serving(tmp_path / "cache", family) as server:
        visit(page, f"{server.url}/pruning?run={SMALL.run_id}&state=trained+on&method=unit")
        fill(page, "Sparsity k in percent", "75")
        fill(page, "Epochs", "2")
        page.get_by_role("button", name="Fine-tune", exact=True).click()
        confirmed(page, "0.75")
        settled(page)
        config = config_of(method="unit", sparsity=0.75, epochs=2)
        child = runs.open_run(config.run_id, tmp_path / "cache")
        assert metric(page, "accuracy").locator("output").inner_text() == f"{child.result().test_accuracy:.2%}"
        assert [int((~kernel.any(axis=0)).sum()) for kernel in child.kernels()[:-1]] == [45, 30]


# The title, the number and the note of each metric, as they stand below each other.
READ_METRICS = """(metrics) => metrics.map((metric) =>
  ["title", "output", "small"].map((part) => metric.querySelector(part === "title" ? ".title" : part).textContent))"""

# Types every k in turn, and reads what stands beside "Zeroed" and in the table of layers.
READ_ZEROED = """(ks) => ks.map((k) => {
  const root = document.querySelector(".instrument"), field = root.querySelector(".percent");
  field.value = String(100 * k);
  field.dispatchEvent(new Event("change"));
  const rows = [...root.querySelectorAll(".layers tr")].map((row) => [...row.children].map((cell) => cell.textContent));
  return { said: root.querySelector("[data-metric=hidden]").innerText.split("\\n"), rows };
})"""


@needs_chromium
def test_zeros_of_a_fine_tuned_network_count(family, page, tmp_path):
    """At every stop the browser says what counting the zeros of the pruned network says."""
    child = state_of(runs.open_run(SMALL.run_id, family), TRAINED).children[0.8]
    kernels = child.kernels()
    sizes = [kernel.size for kernel in kernels[:-1]]
    with serving(tmp_path / "cache", family) as server:
        for method in METHODS:
            visit(page, f"{server.url}/pruning?run={child.id}&method={method}&k=0")
            confirmed(page, "0")
            settled(page)
            result = child.result()
            zero, hidden, every = sum((kernel == 0).sum() for kernel in kernels[:-1]), sum(sizes), 6_640
            assert page.locator(".instrument .metric").evaluate_all(READ_METRICS) == [
                ["Test accuracy", f"{result.test_accuracy:.2%}", "+0.00 points from dense"],
                ["Test loss", f"{result.test_loss:.4f}", "+0.0000 from dense"],
                ["Zeroed of the hidden kernels", f"{zero / hidden:.2%}", f"{zero:,} of {hidden:,} weights"],
                ["Zeroed of the whole network", f"{zero / every:.2%}", f"of {every:,} weights; the output layer stays"],
            ]
            for layer, kernel in zip(page.evaluate(READ_HISTOGRAMS), kernels, strict=False):
                values = np.abs(kernel) if method == "weight" else np.linalg.norm(kernel.astype(float), axis=0)
                counts, _ = np.histogram(values[values > 0], 60, (0, values.max()))
                np.testing.assert_allclose([top for _, _, top in layer["bars"]], counts[counts > 0], atol=0.02)
            for k, read in zip(STOPS, page.evaluate(READ_ZEROED, STOPS), strict=True):
                zeros = [int((kernel == 0).sum()) for kernel in prune(kernels, method, k)[:-1]]
                title, share, counted = read["said"]
                assert (title, counted) == ("Zeroed of the hidden kernels", f"{sum(zeros):,} of {sum(sizes):,} weights")
                heads, *rows = read["rows"]
                assert heads == ["Layer", "", "Sparsity", "Zeroed", "of weights"]
                assert [[row[0], *row[3:]] for row in rows] == [
                    [f"Hidden {layer}", f"{zero:,}", f"{size:,}"]
                    for layer, (zero, size) in enumerate(zip(zeros, sizes, strict=True), 1)
                ]
                # Python and the browser may round a half to different sides.
                shares = [float(text.removesuffix("%")) for text in (share, *(row[2] for row in rows))]
                parts = [sum(zeros) / sum(sizes), *(zero / size for zero, size in zip(zeros, sizes, strict=True))]
                assert shares == pytest.approx([100 * part for part in parts], abs=0.00501)
