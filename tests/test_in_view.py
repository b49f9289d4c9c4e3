"""Which network a page shows: by its address, what the tab looked at last, or by itself; and what it ignores."""

import dataclasses
import json
import shutil

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import jobs, links, runs
from core.runs import layout
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import choice
from tests.conftest import SMALL

CRITERION = {"method": "unit", "state": "repaired", "support": "magnitude", "scope": "global"}


@pytest.fixture(autouse=True)
def no_background_work(monkeypatch):
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)


@pytest.fixture
def full(cache, trained_run):
    """A cache with a complete run that a test may change."""
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


def newer(run: runs.Run, seed: int, scored: bool) -> runs.Run:
    """The same network again as if it had been trained later."""
    config = dataclasses.replace(SMALL, seed=seed)
    folder = run.root / config.run_id
    shutil.copytree(run.folder, folder)
    (folder / layout.CONFIG).write_text(json.dumps(config.to_dict()))
    state = json.loads((folder / layout.STATE).read_text())
    (folder / layout.STATE).write_text(json.dumps(state | {"finished": f"20{30 + seed}-01-01T00:00:00.000+00:00"}))
    if not scored:
        (folder / layout.SWEEP).unlink()
    return runs.open_run(config.run_id)


def opened(page: str, seen: dict[str, str] | None = None, **query: str) -> AppTest:
    """A page in a tab that has looked at something before."""
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    app.session_state["view"] = dict(seen or {})
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def address(app: AppTest) -> dict[str, str]:
    """What the address says; of the run its id."""
    said = {name: values[-1] for name in app.query_params if (values := all_of(app, name))}
    return said | {"run": links.parse_address(said["run"])[0]}


def all_of(app: AppTest, name: str) -> list[str]:
    values = app.query_params[name]
    return [values] if isinstance(values, str) else values


def slider(app: AppTest) -> dict:
    (component,) = [part for part in app.get("bidi_component") if part.proto.component_name == "instrument"]
    return json.loads(component.proto.json)


def ignored(app: AppTest) -> str:
    return " ".join(toast.value for toast in app.toast)


@pytest.mark.parametrize("page", ["overview", "pruning", "comparison"])
def test_the_newest_scored_run_opens_by_itself(full, page):
    scored, _ = newer(full, 1, scored=True), newer(full, 2, scored=False)
    app = opened(page)
    (said,) = all_of(app, "runs" if page == "comparison" else "run")
    assert links.parse_address(said)[0] == scored.id


def test_a_new_run_never_replaces_the_one_on_screen(full):
    app = opened("overview")
    assert SMALL.describe() in app.caption[0].value
    newer(full, 1, scored=True)
    app.run()
    assert address(app)["run"] == full.id
    assert slider(app)["subject"].startswith(full.id)


@pytest.mark.parametrize("page", ["overview", "pruning", "present"])
def test_a_page_without_an_address_shows_what_was_seen_last(full, page):
    newer(full, 1, scored=True)
    app = opened(page, {"run": full.id, "k": "0.9", **CRITERION})
    assert address(app) == {"run": full.id, "k": "0.9", **CRITERION}
    told = slider(app)
    assert told["k"] == "0.9"
    assert told["subject"].endswith(str(Criterion("unit", "magnitude", "global", recovery="repair")))


@pytest.mark.parametrize("page", ["size", "draw", "smallest"])
def test_every_page_keeps_the_run_that_was_seen_last(full, page):
    newer(full, 1, scored=True)
    app = opened(page, {"run": full.id, "k": "0.9", "method": "unit"})
    assert address(app) == {"run": full.id} | ({} if page == "smallest" else {"k": "0.9", "method": "unit"})


def test_an_address_with_run_and_k_says_everything(full):
    app = opened("pruning", {"run": "gone", "k": "0.9", **CRITERION}, run=full.id, k="0.5")
    assert address(app) == {"run": full.id, "k": "0.5"}


def test_links_lead_to_the_network_in_view(full):
    seen = {"method": "unit", "ranking": "activation"}
    for page, label in (("overview", "Look closer"), ("pruning", "Present")):
        app = opened(page, {"run": full.id, "k": "0.9", **seen})
        (link,) = [text.value for text in app.markdown if text.value.startswith(f"[{label}")]
        assert f"?run={links.address_of(full.id, SMALL)}&method=unit&ranking=activation)" in link


def test_what_is_chosen_is_kept_in_the_address(full):
    app = opened("pruning", run=full.id, k="0.5")
    app.segmented_control(key="method").set_value("unit").run()
    app.segmented_control(key="ranking").set_value("activation").run()
    assert address(app) == {"run": full.id, "k": "0.5", "method": "unit", "ranking": "activation"}
    app.segmented_control(key="method").set_value("weight").run()
    assert address(app) == {"run": full.id, "k": "0.5", "ranking": "activation"}
    assert slider(app)["subject"].endswith(str(Criterion("weight", "activation")))


def test_a_choice_holds_before_the_browser_has_heard_of_it(full):
    """The second click still comes with the address of before the first, in which only k was completed."""
    app = opened("pruning", run=full.id)
    completed = {"run": app.query_params["run"], "k": "0.5"}
    app.query_params = {"run": completed["run"]}
    app.segmented_control(key="method").set_value("unit").run()
    app.query_params = completed
    app.segmented_control(key="ranking").set_value("activation").run()
    assert address(app) == {"run": full.id, "k": "0.5", "method": "unit", "ranking": "activation"}
    assert slider(app)["subject"].endswith(str(Criterion("unit", "activation")))


def test_a_choice_holds_though_its_run_is_interrupted(full, monkeypatch):
    """The slider has been moved since the page was run; what comes next interrupts the run of the click."""
    app = opened("pruning", run=full.id, k="0.9")
    moved = {"run": app.query_params["run"], "k": "0.5"}
    app.query_params = moved
    with monkeypatch.context() as patch:
        patch.setattr(choice, "choose_run", st.stop)
        app.segmented_control(key="method").set_value("unit").run()
    app.query_params = moved
    app.run()
    assert address(app) == {"run": full.id, "k": "0.5", "method": "unit"}
    assert slider(app)["subject"].endswith(str(Criterion("unit")))


@pytest.mark.parametrize(
    ("page", "query", "said", "shown"),
    [
        ("pruning", {"state": "trained"}, "state=trained", "Showing as pruned."),
        ("overview", {"method": "neuron"}, "method=neuron", "Showing weight."),
        ("pruning", {"k": "0.9,0.5,0.2"}, "k=0.9,0.5,0.2", "from 0 to 1, or one for each of 2 hidden layers."),
        ("size", {"k": "0.9,0.5", "scope": "global"}, "k=0.9,0.5", "Expected a number from 0 to 1."),
        ("draw", {"k": "2"}, "k=2", "Showing k = 0."),
        ("comparison", {"states": ["trained", "repaired"]}, "states=trained", "Showing repaired."),
        ("comparison", {"y": "speed"}, "y=speed", "Showing accuracy."),
        ("runs", {"statuses": "done"}, "statuses=done", "Showing what is shown without it."),
        ("training", {"epochs": "many"}, "epochs=many", "Showing the default."),
    ],
)
def test_what_an_address_says_in_vain_is_said(full, page, query, said, shown):
    app = opened(page, **query)
    assert said in ignored(app)
    assert shown in ignored(app)
    # Once is enough.
    app.run()
    assert not app.toast


def test_a_k_for_each_layer_may_have_colons(full):
    app = opened("pruning", k="0.9:0.5")
    assert slider(app)["k"] == address(app)["k"] == "0.9,0.5"
    assert not app.toast


def test_runs_may_be_separated_by_commas(full):
    other = newer(full, 1, scored=True)
    app = opened("comparison", runs=f"{full.id},{other.id}")
    assert app.multiselect(key="runs").value == [other.id, full.id]
    assert len(app.query_params["runs"]) == 2


def test_widgets_begin_with_what_is_in_view(full):
    """A browser may send a widget's default with another widget's click before it has heard the value set beside it."""
    newer(full, 8, scored=True)
    app = opened("pruning", run=full.id, k="0.5", **CRITERION)
    for choices in app.get("button_group"):
        assert [choices.options[index] for index in choices.proto.default] == [CRITERION[choices.key]]
    run = app.selectbox(key="run")
    assert run.proto.options[run.proto.default] == choice.label(SMALL)
    compared = opened("comparison", runs=full.id).multiselect(key="runs")
    assert [compared.proto.options[index] for index in compared.proto.default] == [choice.label(SMALL)]
    size = opened("size", run=full.id, k="0.5").select_slider(key="size_k")
    assert size.options[int(size.proto.default[0])] == "50%"
