"""A real Chromium against a real server, for the tests that make a journey through the app."""

import contextlib
import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect, sync_playwright

from core.settings import PROJECT
from tests.commands import end_work, start

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Chromium: apt-get install chromium"
)
PAGES = {
    "": "Network pruning",
    "training": "Training",
    "grid": "Grid",
    "pruning": "Pruning",
    "size": "Size and speed",
    "smallest": "Smallest",
    "draw": "Draw",
    "comparison": "Comparison",
    "runs": "Runs",
}
"""The heading of each page, by its path."""
STREAMLITS_OWN = ("/_stcore/health", "/_stcore/host-config")
"""What Streamlit asks for beside a page that is opened by its address, where an empty app does not have it either."""
SERVER_AWAY = (
    "net::ERR_",
    "WebSocket is already in CLOSING or CLOSED state",
    "when disconnected from server",
    "reaching server endpoint",
    "server is not responding",
    "/media/",  # the page's icon, which a server has once a page has asked for it
)
"""What the browser says, and Streamlit in it, while its server is stopped and when it is back."""
NAVIGATION = [path.capitalize() or "Overview" for path in PAGES]


class Errors:
    """What goes wrong in the tabs of a browser: exceptions in scripts, and errors on the console."""

    def __init__(self):
        self.seen: list[str] = []
        # Tests that stop a server, and those in which something fails on purpose, say here what the browser may say.
        self.expected: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        context.on("weberror", lambda error: self.seen.append(error.error.stack or error.error.message))
        context.on("console", lambda said: said.type == "error" and self._note(said.text, said.location["url"]))

    def _note(self, text: str, url: str) -> None:
        # A test may end its server while a tab still shows it.
        ended = any(f":{port}/" in url for port in Server.free_ports) and any(words in text for words in SERVER_AWAY)
        if not ended and not (" 404 " in text and url.endswith(STREAMLITS_OWN)):
            self.seen.append(f"{text} ({url})")

    def unexpected(self) -> list[str]:
        return [error for error in self.seen if not any(words in error for words in self.expected)]

    def clear(self) -> None:
        self.seen.clear()
        self.expected.clear()


class Server:
    """What `streamlit run app.py` starts, forked as commands are, on a port and with a cache of its own."""

    # Those of servers that were stopped: what a tab has loaded from an address, it need not load from there again.
    free_ports: ClassVar[list[int]] = []

    def __init__(self, cache: Path, base_path: str = ""):
        self.cache, self._said, self._base_path = cache, cache.with_name("server"), base_path
        self._said.mkdir(parents=True)
        if not self.free_ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.free_ports.append(probe.getsockname()[1])
        self.port = self.free_ports[-1]
        self.url = f"http://127.0.0.1:{self.port}/{base_path}".rstrip("/")
        self.start()

    def start(self) -> None:
        self.free_ports.remove(self.port)
        arguments = ("run", "app.py", f"--server.port={self.port}", f"--server.baseUrlPath={self._base_path}")
        # Its turns are its own: see `core.turns`.
        environment = {"NETWORK_PRUNING_CACHE": str(self.cache), "TMPDIR": str(self._said)}
        self.process = start("streamlit", arguments, environment, self._said)
        # The connection is retried until the server listens.
        request = f"{self.url}/_stcore/health"
        for _ in range(6000):
            assert self.process.exitcode is None, (self._said / "stderr").read_text()
            try:
                if urllib.request.urlopen(request, timeout=1).status == 200:
                    return
            except OSError:
                self.process.join(0.02)
        raise AssertionError("the server did not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(30)
        self.free_ports.append(self.port)

    def end(self) -> None:
        """Stop it, and what it has asked for in processes of their own."""
        self.stop()
        end_work(self.cache)


@contextlib.contextmanager
def serving(cache: Path, content: Path | None = None, base_path: str = "") -> Iterator[Server]:
    """A server with a cache of its own, and what is copied into that; its pages lie below the base path."""
    if content:
        shutil.copytree(content, cache)
    server = Server(cache, base_path)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def trained_server(repaired_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a complete run."""
    with serving(tmp_path_factory.mktemp("served") / "cache", repaired_cache) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with an empty cache, which nobody has opened before."""
    with serving(tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="session")
def errors() -> Errors:
    return Errors()


@pytest.fixture(scope="session")
def browser(errors: Errors) -> Iterator[Browser]:
    assert CHROMIUM, "no Chromium found: install it (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        browser.on("context", errors.watch)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page, errors: Errors, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty tab that knows nothing of earlier tests, but has the app's scripts: to compile them takes seconds.

    A test in which the browser reports an error fails; see `Errors`.
    """
    errors.clear()
    tab.set_viewport_size({"width": 1400, "height": 1000})
    tab.emulate_media(color_scheme="null")
    yield tab
    if getattr(request.node, "failed", False):
        folder = PROJECT / "tests" / "failures"
        folder.mkdir(exist_ok=True)
        tab.screenshot(path=folder / f"{request.node.name}.png", full_page=True)
    for other in tab.context.pages:
        if other != tab:
            other.close()
    if tab.url.startswith("http"):
        tab.evaluate("localStorage.clear(); sessionStorage.clear()")
    tab.context.clear_cookies()
    tab.goto("about:blank")
    if unexpected := errors.unexpected():
        pytest.fail("The browser reported errors:\n" + "\n".join(unexpected), pytrace=False)


class Line:
    """The line from servers to a tab that has visited none yet, on which what they say can be held back."""

    def __init__(self, page: Page):
        self.page, self.late, self.holds = page, [], False
        page.route_web_socket("**/_stcore/stream", self._connect)

    def _connect(self, tab: WebSocketRoute) -> None:
        self.send = tab.send
        tab.connect_to_server().on_message(lambda said: self.late.append(said) if self.holds else self.send(said))

    def place_of(self, words: bytes) -> int:
        """Wait for what is held back to have these words, and tell at which place."""
        for _ in range(3000):
            for place, said in enumerate(self.late):
                if words in said:
                    return place
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the server did not say {words}")

    def release(self, count: int | None = None) -> None:
        """Let the tab hear what was held back, all of it at once; with a count so many, and nothing new."""
        self.holds = count is not None
        for said in self.late[:count]:
            self.send(said)
        del self.late[:count]


def settled(page: Page) -> None:
    """Wait until the script has run to its end, and hold that nothing failed."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.get_by_text("Traceback")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def visit(page: Page, url: str) -> None:
    page.goto(url)
    settled(page)


def opened(page: Page, url: str, path: str, query: str = "") -> None:
    """Visit a page by its address, and hold that it is that page, with the way to all others."""
    visit(page, f"{url}/{path}{query}")
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    for title in NAVIGATION:
        expect(page.get_by_test_id("stTopNavLink").filter(has_text=title)).to_have_count(1)


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


def wall_shows(page: Page, key: str) -> None:
    """Wait until the wall is drawn at this k."""
    page.locator(f'.wall[data-key="{key}"][data-state=ready]').wait_for()


def download(page: Page, label: str, folder: Path) -> Path:
    # What is pressed while the script runs can be gone before the server has heard of it.
    settled(page)
    button = page.get_by_role("button", name=label, exact=True)
    # While a page is drawn anew, elements of before and after stand there together for a moment.
    expect(button).to_have_count(1)
    with page.expect_download() as started:
        # By the keyboard, since what has just been unfolded still moves: a click can come down beside the button.
        button.press("Enter")
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def shown(accuracy: float, loss: float) -> tuple[str, str]:
    return f"{accuracy:.2%}", f"{loss:.4f}"
