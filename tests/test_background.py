"""What pages have scored in the background, and what they say while it is not there yet."""

import logging
import os
import shutil
import time
from types import SimpleNamespace

import psutil
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import jobs, requests, turns
from core.jobs import background, processes
from core.runs import layout
from core.scoring import baseline, count, fine_curve, steps_of, unscored, unscored_of
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import background as said
from tests.browsing import confirmed, needs_chromium, serving, visit
from tests.test_pages import instrument, texts
from tests.test_worker import REPAIRED, scored, two, unscored_run

__all__ = ["two"]  # a fixture


def opened(page, **query):
    st.cache_resource.clear()
    st.cache_data.clear()
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture
def really(monkeypatch):
    """Pages really ask, but no process is started."""
    monkeypatch.setattr(jobs, "start_scoring", background.start_scoring)
    monkeypatch.setattr(background, "start_worker", lambda root: None)


def test_pages_ask_for_what_they_lack_and_the_run_opened_last_comes_first(two, really):
    first, second = two
    for run in (second, first):
        opened("pruning", run=run.id, k="0.5")
    assert requests.asked_runs(first.root) == [first, second]
    assert requests.steps(first) == [*steps_of(unscored(second.sweep(), fine_curve()))]
    opened("pruning", run=second.id, k="0.5", state="repaired", method="unit")
    assert requests.asked_runs(first.root) == [second, first]
    assert requests.steps(second)[0] == (REPAIRED, 0.5)
    opened("comparison", runs=[first.id, second.id], k_vals="0.5")
    assert requests.asked_runs(first.root) == [first, second]
    assert requests.steps(first)[: count(baseline([0.5]))] == [*steps_of(baseline([0.5]))]


def test_a_page_that_only_looks_for_news_touches_nothing(two, really):
    first, second = two
    app = opened("pruning", run=first.id, k="0.5")
    opened("pruning", run=second.id, k="0.5")
    app.run()
    assert requests.asked_runs(first.root) == [second, first]
    app.query_params["k"] = "0.6"
    app.run()
    assert requests.asked_runs(first.root) == [first, second]


@pytest.mark.parametrize("page", ["pruning", "comparison", "overview"])
def test_where_nothing_can_be_written_pages_say_so(two, really, page, caplog):
    run, _ = two
    (run.root / ".asked").write_text("in its place")
    with caplog.at_level(logging.ERROR, "network_pruning"):
        logging.getLogger("network_pruning").propagate = True
        app = opened(page, run=run.id, runs=run.id)
        app.run()
    (warning,) = app.warning
    assert "Nothing more can be scored here" in warning.proto.title
    assert f"Cannot write to {run.root}/.asked" in warning.value.replace("\u2060", "")
    assert len([line for line in caplog.messages if "Cannot write to" in line]) == 1
    assert "is being scored" not in texts(app)
    if page != "comparison":
        assert instrument(app)["scored"]["waits"] == "nothing more can be scored here"


def test_what_failed_is_said_and_tried_again(two, really):
    run, _ = two
    requests.note_problem(run, "Its kernels are damaged.")
    app = opened("pruning", run=run.id)
    assert ("attempt to score failed" in app.warning[0].proto.title, app.warning[0].value) == (
        True,
        "Its kernels are damaged.",
    )
    assert requests.asked_runs(run.root) == [run]


def test_pages_say_what_they_wait_for(two, really):
    first, second = two
    with turns.Turn(first.root) as turn:
        turn.take(turns.Work(str(first.root), second.id, turns.SCORES, 1))
        app = opened("pruning", run=first.id)
        assert instrument(app)["scored"]["waits"] == "waiting for optdigits, 3 epochs, 60-40, seed 2"
        assert instrument(app)["scored"]["seconds"] is None
        assert instrument(opened("pruning", run=second.id))["scored"]["waits"] is None
        assert "Waiting for optdigits, 3 epochs, 60-40, seed 2." in texts(opened("comparison", runs=first.id))
        turn.take(turns.Work("/elsewhere", first.id, turns.SPEED, 1))
        app = opened("pruning", run=first.id, state="repaired", k="0.9")
        coming = instrument(app)["coming"]
        assert coming["text"] == "Not repaired at this k yet: waiting for the speed of a network in another cache."
        turn.take(turns.Work(str(first.root), first.id, turns.SCORES, 1))
        app = opened("size", run=first.id, state="repaired", k="0.9")
        assert app.info[0].value == "Not repaired at this k yet: waiting for other scores of this network."


def test_a_repair_shows_what_is_known_of_it(two, really, monkeypatch):
    run, _ = two
    monkeypatch.setattr(said, "time", SimpleNamespace(time=lambda: 130.0))
    work = turns.Work(str(run.root), run.id, REPAIRED.key(0.9), 1, 100.0, "fitting layer 2 of 3", 0.75)
    with turns.Turn(run.root) as turn:
        turn.tell(work)
        coming = instrument(opened("pruning", run=run.id, state="repaired", method="unit", k="0.9"))["coming"]
        assert coming["text"] == "Being repaired at this k: fitting layer 2 of 3, about 10 s left."
        assert (coming["key"], coming["zeroed"], coming["total"]) == ("0.9", [54 * 64, 36 * 60], 54 * 64 + 36 * 60)
        size = opened("size", run=run.id, state="repaired", method="unit", k="0.9")
        assert size.info[0].value == coming["text"]
    coming = instrument(opened("pruning", run=run.id, state="repaired", scope="global", k="0.9"))["coming"]
    assert coming["text"] == "Being repaired at this k."
    assert (coming["zeroed"], coming["total"]) == (None, 0.9 * (64 * 60 + 60 * 40))


def test_a_worker_works_until_its_server_ends(two, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, _ = two
    background.start_scoring(run, [(REPAIRED, [0.5 + step / 1000 for step in range(400)])])
    process = processes._workers[run.root]
    background.start_scoring(run, [(Criterion("weight"), [0.5])])
    assert processes._workers[run.root] is process, "a second one was started"
    while not scored(run, REPAIRED):
        assert process.poll() is None, layout.worker_log(run.root).read_text()
        psutil.wait_procs([psutil.Process(process.pid)], timeout=0.1)
    assert psutil.Process(process.pid).nice() == 19
    process.stdin.close()
    assert process.wait(60) == 0
    assert scored(run, Criterion("weight")) == [0.5]
    assert requests.asked_runs(run.root) == [run]
    assert jobs.scoring_problem(run) is None


@needs_chromium
def test_one_process_scores_and_the_run_touched_last_is_complete_first(trained_run, page, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    shutil.copytree(trained_run.root / "datasets", cache / "datasets")
    four = [unscored_run(trained_run, cache, seed) for seed in range(1, 5)]
    total, at_most, complete = count(unscored(four[0].sweep(), fine_curve())), 0, []
    with serving(cache) as server:
        machine = tmp_path / "server" / f"network-pruning-{os.getuid()}"
        monkeypatch.setattr(turns, "folder", lambda cache: machine)
        machine.mkdir(exist_ok=True)
        tabs = [page, *(page.context.new_page() for _ in four[1:])]
        with turns.Turn(cache) as other:
            assert other.take(turns.Work("/elsewhere", "other", turns.SCORES, time.time() + 10_000))
            for tab, run in zip(tabs, four, strict=True):
                visit(tab, f"{server.url}/pruning?run={run.id}&k=0.5")
                confirmed(tab, "0.5")
            for tab in tabs:
                tab.locator(".instrument .status").get_by_text("waiting for a network in another cache").wait_for()
            tabs[1].get_by_label("Sparsity k in percent").fill("60")
            tabs[1].get_by_label("Sparsity k in percent").press("Enter")
            confirmed(tabs[1], "0.6")
        while len(complete) < len(four):
            commands = [process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"])]
            at_work = [command for command in commands if f"--output_dir={cache}" in command]
            at_most = max(at_most, len(at_work))
            complete += [run for run in four if run not in complete and len(run.sweep()) >= total]
            page.wait_for_timeout(50)
        # Without a server they would complain.
        for tab in tabs:
            tab.goto("about:blank")
    assert complete[0] == four[1]
    assert at_most == 1
    assert not any(unscored_of(run, fine_curve(), with_predictions=True) for run in four)
