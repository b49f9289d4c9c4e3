"""The app below a prefix that a proxy strips, below a base path, and in the pages of others."""

import contextlib
import functools
import http.server
import socket
import socketserver
import threading
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browsing import confirmed, needs_chromium, serving, visit, wall_shows
from tests.conftest import SMALL

PREFIX = "/user/ada/proxy/8501"
PAGE = f"pruning?run={SMALL.run_id}&k=0.9"


class StrippingProxy(socketserver.ThreadingTCPServer):
    """Passes what lies below `PREFIX` on to a server that knows nothing of the prefix, as JupyterHub does."""

    daemon_threads = True

    def __init__(self, url: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = (urlsplit(url).hostname, urlsplit(url).port)
        self.url = f"http://127.0.0.1:{self.server_address[1]}{PREFIX}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(socketserver.StreamRequestHandler):
    """One request a connection, so that no later one passes with its prefix; a WebSocket lasts as long as it lasts."""

    def handle(self) -> None:
        method, target, version = self.rfile.readline().decode().split()
        lines = [*iter(self.rfile.readline, b"\r\n")]
        if not target.startswith(f"{PREFIX}/"):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if not any(line.lower().startswith(b"upgrade:") for line in lines):
            lines = [line for line in lines if not line.lower().startswith(b"connection:")]
            lines.append(b"Connection: close\r\n")
        with socket.create_connection(self.server.behind) as behind:
            head = f"{method} {target.removeprefix(PREFIX)} {version}\r\n".encode()
            behind.sendall(b"".join([head, *lines, b"\r\n"]))
            threading.Thread(target=self.copy, args=(self.rfile.read1, behind.sendall), daemon=True).start()
            self.copy(behind.recv, self.request.sendall)

    @staticmethod
    def copy(read, write) -> None:
        with contextlib.suppress(OSError, ValueError):
            while content := read(65_536):
                write(content)


@pytest.fixture
def proxy(trained_server):
    with StrippingProxy(trained_server.url) as proxy:
        yield proxy
        proxy.shutdown()


def check_drawn(page):
    """The figures and the wall are drawn, by files that the app itself serves."""
    confirmed(page, "0.9")
    wall_shows(page, "0.9")


@needs_chromium
def test_a_proxy_may_strip_its_prefix(proxy, page):
    visit(page, f"{proxy.url}/{PAGE}")
    check_drawn(page)
    page.get_by_test_id("stTopNavLink").filter(has_text="Overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Network pruning")
    expect(page.locator(".wall")).to_have_attribute("data-state", "ready")
    assert page.url.startswith(f"{proxy.url}/")


@pytest.fixture
def course(tmp_path):
    """Another server, whose `index.html` the test writes."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@needs_chromium
def test_named_hosts_frame_a_server_below_a_base_path(repaired_cache, tmp_path, page, monkeypatch, errors, course):
    monkeypatch.setenv("NETWORK_PRUNING_FRAME_ANCESTORS", f"http://127.0.0.1:{course}")
    with serving(tmp_path / "cache", repaired_cache, base_path="app") as server:
        visit(page, f"{server.url}/{PAGE}")
        check_drawn(page)
        expect(page.get_by_test_id("stTopNavLink").first).to_be_visible()
        frame = f"<iframe src='{server.url}/{PAGE}&embed=true' width=1200 height=900></iframe>"
        (tmp_path / "index.html").write_text(frame)
        page.goto(f"http://127.0.0.1:{course}/index.html")
        embedded = page.frame_locator("iframe")
        expect(embedded.get_by_role("heading", level=1)).to_have_text("Pruning")
        expect(embedded.locator(".wall")).to_have_attribute("data-state", "ready")
        expect(embedded.get_by_test_id("stTopNavLink")).to_have_count(0)
        # The same page by another name, which is not among those allowed.
        errors.expected += ["frame-ancestors", "favicon.ico"]
        with page.expect_event("requestfailed", lambda request: request.is_navigation_request()):
            page.goto(f"http://localhost:{course}/index.html")


@needs_chromium
def test_the_wall_says_what_was_answered(trained_server, page, errors):
    errors.expected.append(" 502 ")
    page.route("**/labels", lambda route: route.fulfill(status=502, content_type="text/html", body=""))
    page.goto(f"{trained_server.url}/{PAGE}")
    said = page.locator(".wall .notice")
    expect(said).to_contain_text("The wall cannot be drawn. The answer to wall/")
    expect(said).to_contain_text("/labels was 502. Reload the page.")
    page.unroute_all()
