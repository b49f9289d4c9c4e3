"""Buttons and links that no journey presses: what each of them achieves."""

import dataclasses
import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import jobs, links, runs
from core.analysis import inspection
from core.config import RecoveryConfig
from core.errors import KnownError
from core.jobs import open_queue
from core.runs import Phase, layout, write_run
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import actions, footprints, networks
from pages.shared.choice import settings_of
from tests.conftest import SMALL

PAGES = [path.stem for path in (PROJECT / "pages").glob("*.py") if path.stem != "router"]


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """What is asked of processes in the background, none of which is started."""
    asked = []
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)
    for name in ("start_training", "start_measuring", "ensure_pictures"):
        monkeypatch.setattr(jobs, name, lambda *what, name=name, **more: asked.append((name, *what)))
    return asked


@pytest.fixture
def run(cache, trained_run):
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


def opened(page, **query):
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    app.query_params.update(query)
    app.run()
    assert not app.exception, app.exception
    return app


def press(app, key):
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app


def keys(app):
    return {button.key for button in app.button}


def ended_early(run, config):
    with pytest.raises(KnownError), write_run(run, config) as training:
        training.update(Phase.TRAINING, epoch=2, epochs=3)
        raise KnownError("No room.")


def hold_down(monkeypatch, key):
    """Press a button in every run of the page, so that what is pressed in its dialog is heard there."""
    button = actions.button
    monkeypatch.setattr(actions, "button", lambda label, **options: button(label, **options) or options["key"] == key)


def test_retraining_asks_first(run, asked, monkeypatch):
    app = press(opened("training", **settings_of(SMALL)), "retrain")
    assert "The present network stays until the new one is complete" in app.markdown[-1].value
    assert asked == []
    press(app, "retrain_confirmed")
    assert asked == [("start_training", run, SMALL, True)]
    asked.clear()
    hold_down(monkeypatch, "retrain")
    press(opened("training", **settings_of(SMALL)), "retrain_dismissed")
    assert asked == []


def test_deleting_is_called_off(run, monkeypatch):
    hold_down(monkeypatch, "delete")
    press(opened("training", **settings_of(SMALL)), "delete_dismissed")
    assert run.is_complete()


@pytest.mark.parametrize("complete", [False, True])
def test_a_failed_training_is_tried_again(run, asked, complete):
    ended_early(run, SMALL)
    if not complete:
        shutil.rmtree(run.folder)
    press(opened("training", **settings_of(SMALL)), "train_again")
    assert asked == [("start_training", run, SMALL, complete)]


def test_failed_fine_tuning_is_tried_again(run, asked):
    config = RecoveryConfig(SMALL, run.id, sparsity=0.6)
    child = runs.open_run(config.run_id)
    ended_early(child, config)
    app = opened("pruning", run=run.id, state="trained on")
    assert app.button(key=f"go_on_{child.id}").label == "Train again"
    press(app, f"go_on_{child.id}")
    assert asked == [("start_training", child, config)]


def test_a_failed_entry_of_the_queue_is_dismissed(cache, run):
    queue = open_queue()
    config = dataclasses.replace(SMALL, seed=1)
    queue.add([config])
    ticket = queue.folder / f"{config.run_id}.json"
    ticket.write_text(ticket.read_text().replace('"failure": null', '"failure": "It diverged."'))
    app = opened("grid")
    assert app.button(key=f"queue_cancel_{config.run_id}").label == "Dismiss"
    press(app, f"queue_cancel_{config.run_id}")
    assert queue.entries() == []


def test_what_is_not_here_is_left_out(run):
    app = press(opened("comparison", runs=[run.id, "elsewhere"]), "leave_elsewhere")
    assert app.query_params["runs"] == links.address_of(run.id, SMALL)
    assert "leave_elsewhere" not in keys(app)


def test_all_damaged_runs_are_deleted_at_once(run, cache):
    for name in ("one", "two"):
        (cache / name).mkdir()
        (cache / name / layout.CONFIG).write_text("{")
    press(press(opened("runs"), "delete_damaged"), "delete_confirmed")
    assert [each.id for each in runs.list_runs()] == [run.id]


def test_missing_figures_are_drawn(run, asked):
    (run.folder / layout.PRUNING_FIGURE).unlink()
    press(opened("training", **settings_of(SMALL)), f"draw_{run.id}")
    assert asked == [("ensure_pictures", run)]


def test_pruning_layer_by_layer_stops(run, monkeypatch):
    score = inspection.prune_one_layer

    def score_one(*network):
        """The first score of each run of the page, after which it stops as if a second were over."""
        if scored:
            st.stop()
        scored.append(score(*network))
        return scored[-1]

    scored = []
    st.cache_resource.clear()
    monkeypatch.setattr(inspection, "prune_one_layer", score_one)
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    app.session_state["layers"] = True
    press(press(app.run(), "layers_start"), "layers_stop")
    assert app.button(key="layers_start").label == "Go on"
    assert len(scored) == 1


def test_every_point_of_the_curves_is_measured(run, asked):
    app = opened("size", run=run.id, method="unit", k="0.5")
    for _ in range(3):
        app.run()  # the curves grow by a point with each run
    network = networks.load_run(run)
    known = {k for k, (_, rows) in footprints.curve(network, Criterion("unit")).items() if rows}
    press(app, "measure_curve")
    ((_, measured, criterion, sparsities),) = asked
    assert (measured, criterion) == (run, Criterion("unit"))
    assert len(sparsities) > 1
    assert {*sparsities} <= known
    # The last one came after the button was drawn.
    assert len(known - {*sparsities}) <= 1


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page(run, page):
    """Where there is no menu, a link stands as Markdown."""
    ended_early(runs.open_run("early"), SMALL)
    app = opened(page, **(settings_of(SMALL) if page == "training" else {"state": "trained on"}))
    found = re.findall(r"^\[[^\]]+\]\(([^)]+)\)$", "\n".join(each.value for each in app.markdown), re.MULTILINE)
    assert found or page in ("smallest", "draw", "present", "grid", "runs", "comparison")
    for address in found:
        parts = urlsplit(address)
        there = opened(parts.path, **parse_qs(parts.query))
        assert not any("holds no complete run" in each.value for each in there.markdown)
