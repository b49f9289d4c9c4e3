"""Journeys in a real Chromium against a real server."""

import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from core import runs
from core.config import K_VALUES
from core.datasets import load_dataset
from core.evaluation import evaluate
from core.pruning import METHODS, prune, rank
from core.scoring import fine_curve, unscored
from core.sweep import RANDOM_SEEDS, STOPS, Criterion, key_of
from tests.conftest import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Chromium: apt-get install chromium"
)
PAGES = {
    "": "Network pruning",
    "training": "Training",
    "grid": "Grid",
    "pruning": "Pruning",
    "draw": "Draw",
    "comparison": "Comparison",
    "runs": "Runs",
}


class Server:
    """The app as `streamlit run app.py` starts it, on a port and with a cache of its own."""

    def __init__(self, cache: Path):
        self.cache = cache
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={self.port}"],
            cwd=PROJECT,
            env=os.environ | {"NETWORK_PRUNING_CACHE": str(self.cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # The connection is retried until the server listens.
        request = f"{self.url}/_stcore/health"
        for _ in range(6000):
            assert self.process.poll() is None, "the server ended"
            try:
                if urllib.request.urlopen(request, timeout=1).status == 200:
                    return
            except OSError:
                self.wait()
        raise AssertionError("the server did not answer")

    def wait(self) -> None:
        try:
            self.process.wait(0.02)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def trained_server(trained_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a complete run."""
    cache = tmp_path_factory.mktemp("served") / "cache"
    shutil.copytree(trained_cache, cache)
    server = Server(cache)
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "cache")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "no Chromium found: install it (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page = context.new_page()
    yield page
    if getattr(request.node, "failed", False):
        folder = PROJECT / "tests" / "failures"
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{request.node.name}.png", full_page=True)
    context.close()


def settled(page: Page) -> None:
    """Wait until the script has run to its end, and hold that nothing failed."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.get_by_text("Traceback")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def visit(page: Page, url: str) -> None:
    page.goto(url)
    settled(page)


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    settled(page)


def metric(page: Page, name: str) -> Locator:
    return page.locator(f".instrument [data-metric={name}]")


def confirmed(page: Page, key: str) -> None:
    """Wait until Python has pruned and scored this k."""
    page.locator(f'.instrument[data-key="{key}"][data-state=confirmed]').wait_for()


@pytest.mark.parametrize("path", PAGES)
def test_every_address_opens_cold_on_a_fresh_server(server, page, path):
    visit(page, f"{server.url}/{path}")
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    for title in ("Overview", "Training", "Grid", "Pruning", "Draw", "Comparison", "Runs"):
        expect(page.get_by_test_id("stTopNavLink").filter(has_text=title)).to_have_count(1)


def test_train_prune_compare_download(server, page, tmp_path):
    visit(page, f"{server.url}/training")
    page.get_by_role("radio", name="optdigits").click()
    settled(page)
    fill(page, "Hidden units", "60,40")
    fill(page, "Epochs", "4")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Prune it")).to_be_visible()
    settled(page)

    page.get_by_role("button", name="Prune it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pruning")
    settled(page)
    expect(metric(page, "accuracy")).to_contain_text("+0.00 points from dense")
    slider = page.get_by_label("Sparsity k", exact=True)
    slider.focus()
    slider.press("End")
    expect(metric(page, "hidden")).to_contain_text("100.00%")
    expect(metric(page, "loss")).to_contain_text("2.3026")
    confirmed(page, "1")
    expect(page).to_have_url(re.compile("k=1"))
    settled(page)

    page.get_by_test_id("stTopNavLink").filter(has_text="Comparison").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Comparison")
    settled(page)
    fill(page, "Sparsities k", "0, 0.5, 1")
    expect(page).to_have_url(re.compile("k_vals="))
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    settled(page)
    table = pd.read_csv(download(page, "CSV", tmp_path))
    assert set(table.k) == {0, 0.5, 1}
    assert set(table.method) == set(METHODS)


def download(page: Page, label: str, folder: Path) -> Path:
    button = page.get_by_role("button", name=label, exact=True)
    # While a page is drawn anew, elements of before and after stand there together for a moment.
    expect(button).to_have_count(1)
    with page.expect_download() as started:
        button.click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_every_download_opens_with_what_its_users_have(trained_server, trained_run, page, browser, tmp_path):
    """Taken from the page like a user does, and opened with the library that the file is for."""
    visit(page, f"{trained_server.url}/comparison?runs={trained_run.id}")
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    sweep = trained_run.sweep()
    csv, parquet = pd.read_csv(download(page, "CSV", tmp_path)), pd.read_parquet(download(page, "Parquet", tmp_path))
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)
    assert len(csv) == (1 + len(RANDOM_SEEDS)) * len(METHODS) * len(K_VALUES)
    known = sweep.set_index(["method", "ranking", "scope", "seed", "sparsity"]).accuracy
    for row in csv.itertuples():
        assert row.accuracy == known[row.method, row.ranking, row.scope, row.ranking_seed, row.k]
    assert download(page, "Markdown", tmp_path).read_text().startswith("| configuration")

    for label, kind in (("PNG", "PNG"), ("Weights GIF", "GIF"), ("Units GIF", "GIF")):
        with Image.open(download(page, label, tmp_path)) as picture:
            assert picture.format == kind
            assert getattr(picture, "n_frames", 1) == (len(K_VALUES) if kind == "GIF" else 1)
            picture.verify()
    assert ElementTree.parse(download(page, "SVG", tmp_path)).getroot().tag.endswith("svg")

    results = pd.read_csv(download(page, "Results CSV", tmp_path))
    assert results.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    assert (results.dtypes == float).all()
    with zipfile.ZipFile(download(page, "Everything (ZIP)", tmp_path)) as archive:
        assert archive.testzip() is None
        assert f"{trained_run.id}/README.md" in archive.namelist()

    # Pages are opened in a browser that has no network.
    offline = browser.new_context(offline=True)
    for label, marker in (("Interactive HTML", ".main-svg"), ("Report", "h1")):
        alone = offline.new_page()
        failures = []
        alone.on("pageerror", lambda error, failures=failures: failures.append(error))
        alone.on("requestfailed", lambda request, failures=failures: failures.append(request.url))
        alone.goto(download(page, label, tmp_path).as_uri())
        alone.locator(marker).first.wait_for()
        assert alone.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert not failures
    offline.close()


def test_selected_rows_are_what_is_taken(trained_server, trained_run, page, tmp_path):
    visit(page, f"{trained_server.url}/comparison?runs={trained_run.id}&k_vals=0,0.5,0.9")
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    table = page.get_by_test_id("stDataFrame").nth(1)
    table.scroll_into_view_if_needed()
    # The grid is one canvas: the second row's box is in its first column.
    box = table.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 36 + 35 + 17)
    expect(page.get_by_text("1 selected row")).to_be_visible()
    settled(page)
    taken = pd.read_csv(download(page, "CSV", tmp_path))
    assert taken[["method", "ranking", "k"]].values.tolist() == [["weight", "magnitude", 0.5]]


def test_copy_link_copies_what_reproduces_the_view(trained_server, trained_run, browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{trained_server.url}/pruning?run={trained_run.id}&method=unit&k=0.7")
    confirmed(page, "0.7")
    settled(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "epochs.3" in link
    other = context.new_page()
    other.goto(link)
    confirmed(other, "0.7")
    expect(other.get_by_role("radio", name="unit")).to_be_checked()
    context.close()


def test_training_survives_its_server_and_can_be_cancelled(server, page):
    settings = "dataset=optdigits&epochs=2000&hidden_units=60,40"
    visit(page, f"{server.url}/training?{settings}")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Epoch").filter(has_text="of 2000")).to_be_visible()
    server.stop()
    server.start()
    visit(page, f"{server.url}/training?{settings}")
    expect(page.get_by_text("Epoch").filter(has_text="of 2000")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Training was cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Train again")).to_be_visible()


def shown(accuracy: float, loss: float) -> tuple[str, str]:
    return f"{accuracy:.2%}", f"{loss:.4f}"


@pytest.mark.parametrize("method", METHODS)
def test_dragging_draws_every_stop_and_only_true_numbers(trained_server, trained_run, page, method):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&method={method}&k=0")
    confirmed(page, "0")
    page.evaluate(WATCH_DRAWING)
    slider = page.get_by_label("Sparsity k", exact=True)
    box = slider.bounding_box()
    middle, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left, middle)
    page.mouse.down()
    for step in range(len(STOPS)):
        page.mouse.move(left + width * step / (len(STOPS) - 1), middle)
        page.wait_for_timeout(50)  # the pointer's speed: 20 stops a second
    page.mouse.up()
    confirmed(page, "1")
    seen = dict(page.evaluate("window.drawn"))
    assert set(seen) == {key_of(k) for k in STOPS}
    blank = {key: drawn for key, drawn in seen.items() if not (drawn["bars"] and drawn["ghosts"])}
    assert not blank

    scores = Criterion(method).select(trained_run.sweep()).set_index("sparsity")
    ranking = rank(kernels, method)
    for k in STOPS:
        drawn = seen[key_of(k)]
        assert (drawn["accuracy"], drawn["loss"]) == shown(scores.accuracy[k], scores.loss[k])
        assert drawn["zeroed"] == f"{sum(ranking.zeroed(kernels, k)):,}"
    for k in np.random.default_rng(0).choice(STOPS, 20, replace=False):
        score = evaluate(prune(kernels, method, k), test.images, test.labels)
        drawn = seen[key_of(k)]
        assert (drawn["accuracy"], drawn["loss"]) == shown(score.accuracy, score.loss)


# Notes at every change of the drawing what a person would see.
WATCH_DRAWING = """() => {
  const root = document.querySelector(".instrument");
  const text = (name, part) => root.querySelector(`[data-metric=${name}] ${part}`).textContent;
  window.drawn = [];
  const note = () => {
    const paths = [...root.querySelectorAll(".figure:has(.histograms) .overlay path:not(.threshold)")];
    window.drawn.push([root.dataset.key, {
      accuracy: text("accuracy", "output"), loss: text("loss", "output"),
      zeroed: text("hidden", "small").split(" ")[0],
      bars: root.dataset.key === "1" || paths.every((path) => path.getAttribute("d")),
      ghosts: root.querySelectorAll(".histograms .bars path").length > 0,
    }]);
  };
  note();
  new MutationObserver(note).observe(root, { attributes: true, attributeFilter: ["data-key"] });
}"""


def test_typing_keys_and_links_reach_any_k(trained_server, trained_run, page):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    confirmed(page, "0.5")
    slider = page.get_by_label("Sparsity k", exact=True)
    slider.press("ArrowRight")
    confirmed(page, "0.51")
    typed = page.get_by_label("Sparsity k in percent")
    typed.fill("33.3")
    typed.press("Enter")
    confirmed(page, "0.333")
    score = evaluate(prune(kernels, "weight", 0.333), test.images, test.labels)
    expect(metric(page, "accuracy").locator("output")).to_have_text(shown(score.accuracy, score.loss)[0])
    expect(page).to_have_url(re.compile("k=0.333"))
    page.reload()
    confirmed(page, "0.333")

    typed = page.get_by_label("Sparsity k in percent")
    typed.fill("-5")
    typed.press("Enter")
    expect(page.locator('.instrument[data-key="0.333"]')).to_be_visible()


def test_unlinked_layers_are_pruned_each_by_its_own_k(trained_server, trained_run, page):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    confirmed(page, "0.5")
    page.get_by_label("one k for all layers").uncheck()
    page.get_by_label("Sparsity k of Hidden 2").press("End")
    confirmed(page, "0.5,1")
    score = evaluate(prune(kernels, "weight", [0.5, 1]), test.images, test.labels)
    expect(metric(page, "loss").locator("output")).to_have_text(shown(score.accuracy, score.loss)[1])
    page.get_by_label("one k for all layers").check()
    confirmed(page, "0.5")


def test_many_sessions_dragging_at_once_stay_correct(trained_server, trained_run, browser):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    context = browser.new_context()
    context.set_default_timeout(120_000)
    methods = [METHODS[index % 2] for index in range(10)]
    pages = [context.new_page() for _ in methods]
    for page, method in zip(pages, methods, strict=True):
        page.goto(f"{trained_server.url}/pruning?run={trained_run.id}&method={method}&k=0")
    for page in pages:
        confirmed(page, "0")
    for step in range(1, 31):
        for page in pages:
            page.get_by_label("Sparsity k", exact=True).evaluate(
                "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }", 3 * step
            )
    for index, page in enumerate(pages):
        page.get_by_label("Sparsity k", exact=True).evaluate(
            "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); "
            "slider.dispatchEvent(new Event('change')); }",
            60 + index,
        )
    for index, (page, method) in enumerate(zip(pages, methods, strict=True)):
        k = STOPS[60 + index]
        confirmed(page, key_of(k))
        score = evaluate(prune(kernels, method, k), test.images, test.labels)
        numbers = tuple(metric(page, name).locator("output").text_content() for name in ("accuracy", "loss"))
        assert numbers == shown(score.accuracy, score.loss)
    context.close()


def test_curves_complete_themselves_in_the_background(trained_cache, trained_run, tmp_path, browser, page):
    cache = tmp_path / "cache"
    shutil.copytree(trained_cache, cache)
    path = cache / trained_run.id / "sweep.csv"
    table = pd.read_csv(path)
    table[table.sparsity == 0].to_csv(path, index=False)
    server = Server(cache)
    try:
        visit(page, f"{server.url}/pruning?run={trained_run.id}&k=0.5")
        confirmed(page, "0.5")
        expect(page.get_by_text("curves are still growing")).to_have_count(0)
        assert not unscored(runs.open_run(trained_run.id, cache).sweep(), fine_curve())
    finally:
        server.stop()
