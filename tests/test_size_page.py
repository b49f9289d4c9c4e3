"""The page of size and speed: every number on it is that of the network it names."""

import dataclasses
import re
import shutil

import pytest
from playwright.sync_api import expect
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.analysis import latency
from core.datasets import load_dataset
from core.evaluation import evaluate
from core.exports.models import runtimes
from core.kernels import compact
from core.kernels.number_formats import NUMBER_FORMATS, read, whole
from core.pruning import METHODS, prune
from core.runs import layout
from core.settings import PROJECT
from core.speed import measured
from core.state import Repaired
from core.sweep import Criterion
from pages.shared import footprints, networks, size_tables
from tests.browsing import needs_chromium, settled, visit
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def no_background_work(monkeypatch):
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)


@pytest.fixture(autouse=True)
def only_numpy(monkeypatch):
    monkeypatch.setattr(runtimes, "available", list)


@pytest.fixture
def full(cache, trained_run):
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


@pytest.fixture
def started(monkeypatch):
    """What the page asks to have measured."""
    asked = []
    monkeypatch.setattr(jobs, "start_measuring", lambda run, criterion, ks: asked.append((run.id, criterion, ks)))
    return asked


def opened(**query):
    app = AppTest.from_file(PROJECT / "pages" / "size.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def tables(app):
    """The two tables: files, and arithmetic and time."""
    return [frame.value for frame in app.dataframe]


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.warning, *app.error])


@pytest.mark.parametrize("method", METHODS)
def test_the_tables_say_what_the_files_weigh(full, method):
    app = opened(method=method, k="0.7")
    kernels = full.kernels()
    test = load_dataset("optdigits").test
    pruned = prune(kernels, method, 0.7)
    tiny = compact(pruned)
    files, operations = tables(app)
    assert len(files) == 3 * len(NUMBER_FORMATS)
    forms = [form for form in (whole(kernels), whole(pruned), tiny) for _ in NUMBER_FORMATS]
    for row, form, format in zip(files.itertuples(), forms, 3 * list(NUMBER_FORMATS.values()), strict=True):
        assert row.format == format.title
        assert row.bytes == len(format.write(form, False))
        assert row.compressed == len(format.write(form, True))
        back = read(format.write(form, False))
        assert row.accuracy == evaluate(back.kernels, test.images[:, back.inputs], test.labels).accuracy
        assert row.smaller == files.bytes[0] / row.bytes
    assert operations.multiply_adds.tolist()[:3] == [
        *2 * [sum(kernel.size for kernel in kernels)],
        sum(kernel.size for kernel in tiny.kernels),
    ]
    accuracy, size, products, time = app.metric
    assert accuracy.value == f"{evaluate(pruned, test.images, test.labels).accuracy:.2%}"
    compacted = files.bytes[-len(NUMBER_FORMATS) :].set_axis(list(NUMBER_FORMATS))
    smallest = min(compacted["float32"], compacted["sparse"])
    assert size.value == size_tables.in_bytes(smallest)
    assert size.delta == f"{files.bytes[0] / smallest:,.1f}× smaller than dense"
    assert products.value == f"{operations.multiply_adds[2 if smallest == compacted['float32'] else 3]:,}"
    assert time.value == "–"
    assert "On all 360 test images it answers as the pruned network does" in said(app)


def test_what_is_larger_is_called_larger(full):
    app = opened(method="weight", k="0")
    assert "times as large as the dense one" in said(app)
    files, _ = tables(app)
    assert files.smaller[list(NUMBER_FORMATS).index("sparse")] < 1


def test_the_slider_and_the_address_are_one(full):
    app = opened(method="unit", k="0.7")
    slider = app.select_slider(key="size_k")
    assert slider.value == "0.7"
    slider.set_value("0.9").run()
    assert app.query_params["k"] == "0.9"
    assert tables(app)[1].multiply_adds[2] == compact(prune(full.kernels(), "unit", 0.9)).multiply_adds
    # A k between the positions, and one for each layer, as links from the Pruning page have them.
    app = opened(method="unit", k="0.333")
    assert app.select_slider(key="size_k").value == "0.333"
    app = opened(method="unit", k="0.9,0.2")
    assert "One k for each hidden layer: 90%, 20%" in said(app)
    assert tables(app)[1].multiply_adds[2] == compact(prune(full.kernels(), "unit", [0.9, 0.2])).multiply_adds
    assert app.query_params["k"] == "0.9,0.2"


@pytest.mark.parametrize("k", ["1", "nonsense", "7", "0.5,0.5,0.5"])
def test_every_k_of_an_address_shows_a_page(full, k):
    for method in METHODS:
        app = opened(method=method, k=k)
        assert not app.error
        assert len(app.metric) == 4


def test_measuring_is_asked_for_and_shown(full, started):
    app = opened(method="unit", k="0.5")
    assert "not measured" in app.metric[3].delta
    app.button(key="measure_here").click().run()
    criterion = Criterion("unit")
    assert started == [(full.id, criterion, [0.5])]
    for _ in measured(full, criterion, 0.5):
        pass
    record = full.speed(criterion.key(0.5))
    app.run()
    operations = tables(app)[1]
    rows = size_tables.rows_of(record)
    assert operations.one_faster.tolist() == rows.one_faster.tolist()
    assert operations.many[2].startswith(f"{rows.many_median[2]:,.0f} (")
    assert app.button(key="measure_here").label == "Measure again"
    assert f"Measured on {latency.machine()}, 1 thread each" in said(app)
    timed = rows.iloc[3 if "sparse" in app.metric[3].label else 2]
    assert app.metric[3].value == size_tables.in_time(timed.one_median)
    # Of another network of the same name nothing was measured.
    layout.speed(full.folder, criterion.key(0.5)).write_text("{}")
    app.run()
    assert app.metric[3].value == "–"


def test_a_measurement_at_work_is_shown_and_can_be_stopped(full, started, monkeypatch):
    stopped = []
    monkeypatch.setattr(jobs, "work_on", lambda run, what: None if stopped else runs.Work(0.5, 2))
    monkeypatch.setattr(jobs, "stop_work", lambda *what: stopped.append(what))
    app = opened(method="unit", k="0.5")
    assert app.button(key="measure_here").disabled
    app.button(key="stop_measuring").click().run()
    assert stopped == [(full, jobs.SPEED)]
    assert not app.button(key="measure_here").disabled


def test_a_failed_measurement_says_why(full, monkeypatch):
    monkeypatch.setattr(jobs, "work_problem", lambda run, what: "The disk is full.")
    assert "The disk is full." in said(opened(method="unit", k="0.5"))


def test_a_network_that_is_not_repaired_yet_is_asked_for(full, monkeypatch):
    asked = []
    monkeypatch.setattr(networks, "request_scores", lambda *what: asked.extend(what[-1]))
    app = opened(method="unit", state="repaired", k="0.9")
    criterion = Criterion("unit", "admm", recovery="repair")
    assert asked == [(criterion, [0.9]), *Repaired.wanted(criterion)]
    assert "Being repaired at this k." in said(app)
    full.keep_network(criterion.key(0.9), prune(full.kernels(), "unit", 0.9), full.version())
    app.run()
    assert tables(app)[1].multiply_adds[2] == compact(prune(full.kernels(), "unit", 0.9)).multiply_adds


def test_without_a_network_that_was_trained_on_it_says_so(full):
    app = opened(state="trained on")
    assert "No fine-tuned network for this method yet" in said(app)


def test_a_network_that_changed_is_not_shown_as_the_same(full, monkeypatch):
    same = footprints.difference

    def wrong(*arguments):
        return dataclasses.replace(same(*arguments), changed=3)

    monkeypatch.setattr(footprints, "difference", wrong)
    footprints._footprint.clear()
    app = opened(method="unit", k="0.61")
    assert "answers 3 of 360 test images differently" in said(app)
    assert not app.metric
    assert not app.dataframe
    footprints._footprint.clear()


def test_curves_grow_by_a_point_at_a_time(full):
    network, criterion = networks.load_run(full), Criterion("unit", "random")
    app = opened(method="unit", ranking="random", k="0.5")
    assert len(footprints.curve(network, criterion)) == 1
    assert f"{len(footprints.CURVE_STOPS)} points of each curve to go" in said(app)
    while footprints.missing(network, criterion):
        footprints.grow(network, criterion)
    app.run()
    assert "to go" not in said(app)
    table = footprints.table_of(footprints.curve(network, criterion))
    assert sorted(table.k.unique()) == list(footprints.CURVE_STOPS)
    assert table.exact.all()
    pruned = criterion.rank(full.kernels(), full.activations()).prune(full.kernels(), 0.9)
    found = table[(table.k == 0.9) & (table.format == "int8")].iloc[0]
    assert found.bytes == len(NUMBER_FORMATS["int8"].write(compact(pruned), False))
    assert found.multiply_adds == compact(pruned).multiply_adds


def test_points_stay_while_scores_come_in_and_go_with_their_network(full):
    network, criterion = networks.load_run(full), Criterion("unit", "admm", recovery="repair")
    full.keep_network(criterion.key(0.9), prune(full.kernels(), "unit", 0.9), full.version())
    while footprints.missing(network, criterion):
        footprints.grow(network, criterion)
    assert footprints.table_of(footprints.curve(network, criterion)).k.unique().tolist() == [0.0, 0.9]
    full.add_to_sweep(full.sweep().head(1), full.version())
    assert footprints.missing(network, criterion) == []
    # Other networks come, and this one is made anew.
    for k in (0.5, 0.9):
        full.keep_network(criterion.key(k), prune(full.kernels(), "unit", 0.95), full.version())
    assert sorted(footprints.missing(network, criterion)) == [0.5, 0.9]


def test_a_curve_that_cannot_be_had_says_why(full, monkeypatch):
    monkeypatch.setattr(footprints, "_point", lambda *_: runs.open_run("gone").kernels())
    app = opened(method="unit", scope="global", k="0.5")
    assert "There is no run gone" in said(app)
    assert len(app.dataframe) == 2
    app.run()
    assert f"{len(footprints.CURVE_STOPS) - 1} points of each curve to go" in said(app)


@pytest.mark.parametrize(("seconds", "text"), [(1.5e-5, "15.0 µs"), (0.0123, "12.30 ms")])
def test_times_are_written_in_a_unit_that_fits(seconds, text):
    assert size_tables.in_time(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (381_474, "381.5 kB"), (9_547_074, "9.55 MB")])
def test_bytes_are_written_in_a_unit_that_fits(count, text):
    assert size_tables.in_bytes(count) == text


@needs_chromium
def test_a_journey_measures_and_moves_on(trained_server, trained_run, page):
    visit(page, f"{trained_server.url}/size?run={trained_run.id}&method=unit&k=0.5")
    expect(page.get_by_role("heading", level=1)).to_have_text("Size and speed")
    expect(page.get_by_text("smaller than dense")).to_be_visible()
    page.get_by_role("button", name="Measure the time").click()
    expect(page.get_by_role("button", name="Measure again")).to_be_enabled()
    expect(page.get_by_text("faster than dense").or_(page.get_by_text("slower than dense"))).to_be_visible()
    slider = page.get_by_role("slider", name="Sparsity k")
    slider.focus()
    slider.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"k=0\.51"))
    settled(page)
    expect(page.get_by_role("button", name="Measure the time")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("being written and scored")).to_have_count(0)
    settled(page)
    for title in ("File in bytes", "Multiply-adds of one image", "Test accuracy"):
        expect(page.locator(".js-plotly-plot").filter(has_text=title)).to_have_count(1)
