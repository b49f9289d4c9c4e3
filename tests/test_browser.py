"""Journeys in a real Chromium against a real server."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Chromium: apt-get install chromium"
)
PAGES = {"": "Network pruning", "training": "Training", "pruning": "Pruning", "comparison": "Comparison"}


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


@pytest.mark.parametrize("path", PAGES)
def test_every_address_opens_cold_on_a_fresh_server(server, page, path):
    visit(page, f"{server.url}/{path}")
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    for title in ("Overview", "Training", "Pruning", "Comparison"):
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
    expect(page.get_by_test_id("stMetric").first).to_contain_text("+0.00 points")
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("End")
    expect(page.get_by_test_id("stMetric").nth(2)).to_contain_text("100.00%")
    expect(page.get_by_test_id("stMetric").nth(1)).to_contain_text("2.3026")
    settled(page)

    page.get_by_test_id("stTopNavLink").filter(has_text="Comparison").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Comparison")
    settled(page)
    fill(page, "Sparsities k", "0, 0.5, 1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    assert table.sparsity.tolist() == [0, 0.5, 1]
    assert (table.dtypes == float).all()


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
