"""How the app is run for others: the image, the address it listens on, its headers, its log, its diagnostics."""

import asyncio
import contextlib
import io
import json
import logging
import re
import runpy
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from core import log
from core.settings import PROJECT, frame_ancestors
from pages.shared import address, frame, headers

DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def lines(instruction):
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", joined, re.MULTILINE)


def test_what_the_image_copies_is_there_and_not_ignored():
    allowed = {
        line.removeprefix("!") for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = [line.split()[0] for line in lines("COPY")]
    assert {"requirements.txt", "app.py", "core", "pages", "assets", ".streamlit"} <= {*sources}
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert source in allowed, source


def test_the_image_starts_the_app_without_rights_and_with_a_cache_of_its_own():
    assert json.loads(lines("CMD")[0]) == ["streamlit", "run", "app.py"]
    assert lines("USER") not in ([], ["root"], ["0"])
    assert DOCKERFILE.index("USER ") < DOCKERFILE.index("\nCMD ")
    assert lines("VOLUME") == ["/cache"]
    assert "NETWORK_PRUNING_CACHE=/cache" in DOCKERFILE
    assert "/_stcore/health" in lines("HEALTHCHECK")[0]


def test_without_a_word_only_this_machine_is_listened_to():
    settings = tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("listens", "named", "host"),
    [
        ("127.0.0.1", None, None),
        ("::1", None, None),
        ("localhost", "localhost", None),
        ("unix:///socket", None, None),
        ("0.0.0.0", "localhost", "198.51.100.7"),
        ("::", None, "198.51.100.7"),
        (None, None, "198.51.100.7"),
        ("198.51.100.9", None, "198.51.100.9"),
        ("0.0.0.0", "machine.example", "machine.example"),
    ],
)
def test_a_link_names_the_machine_only_where_others_reach_it(monkeypatch, listens, named, host):
    options = {"server.address": listens, "browser.serverAddress": named}
    monkeypatch.setattr(address.st, "get_option", options.get)
    monkeypatch.setattr(address, "_own_address", lambda: "198.51.100.7")
    assert address.reachable_host() == host


def test_every_answer_has_the_headers_and_keeps_its_own():
    async def app(scope, receive, send):
        own = [(b"referrer-policy", b"no-referrer")]
        await send({"type": "http.response.start", "status": 200, "headers": own})

    sent = []

    async def send(message):
        sent.append(message)

    # In a thread of its own: in this one a browser of earlier tests may have a loop running.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, headers.SecurityHeaders(app)({"type": "http"}, None, send)).result()
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    expected = {name.lower(): value for name, value in headers.headers().items()}
    assert found == expected | {"referrer-policy": "no-referrer"}


@pytest.mark.parametrize(("version", "works"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_another_version_of_python_is_refused_in_a_line(monkeypatch, version, works):
    monkeypatch.setattr(sys, "version_info", (*version, 1, "final", 0))
    with contextlib.nullcontext() if works else pytest.raises(SystemExit) as refused:
        runpy.run_path(PROJECT / "core" / "__init__.py")
    if not works:
        expected = f"error: Network pruning needs Python 3.11, 3.12 or 3.13. This is Python 3.{version[1]}."
        assert refused.value.code == expected


def test_hosts_may_be_named_that_frame_the_app(monkeypatch):
    monkeypatch.setenv("NETWORK_PRUNING_FRAME_ANCESTORS", " https://a.example\nhttps://b.example:8443 ")
    found = headers.headers(frame_ancestors())
    policy = found["Content-Security-Policy"].split("; ")[0]
    assert policy == "frame-ancestors 'self' https://a.example https://b.example:8443"
    assert "X-Frame-Options" not in found
    monkeypatch.delenv("NETWORK_PRUNING_FRAME_ANCESTORS")
    assert headers.headers(frame_ancestors()) == headers.headers()
    assert headers.headers()["X-Frame-Options"] == "SAMEORIGIN"


def test_a_failure_has_the_same_id_in_the_box_and_in_the_log(monkeypatch):
    heard, shown = [], []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("network_pruning")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(log, "_told", {})
    monkeypatch.setattr(frame.st, "error", lambda body, **options: shown.append(body))
    monkeypatch.setattr(frame.st, "caption", lambda body, **options: shown.append(body))
    frame.show_bug(ValueError("no such\nthing"))
    frame.show_bug(ValueError("no such\nthing"))
    (name,) = set(re.findall(r"e-[0-9a-f]{8}", " ".join(shown)))
    assert heard == [f"{name} ValueError: no such thing"]  # once a minute, on one line
    assert log.failure("another") != name


@pytest.fixture
def written(monkeypatch):
    """What the log writes to the error output, as the app sets it up."""
    logger, stream = logging.getLogger("network_pruning"), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(log, "_told", {})
    for name, value in {"handlers": [], "propagate": True, "level": logging.NOTSET}.items():
        monkeypatch.setattr(logger, name, value)
    # Beside it, what others log is asked for from errors on, and would be written, too.
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(stream)])
    log.set_up()
    log.set_up()
    logger.manager._clear_cache()
    yield lambda: stream.getvalue().splitlines()
    logger.manager._clear_cache()


def test_every_line_of_the_log_has_its_time_and_kind_and_nobody_writes_a_line_of_their_own(written):
    log.info("training one began\n2026-01-01 ERROR \x1b[31mnothing")
    name = log.failure("a \ud800" + "x" * 3_000)
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    said, failed = written()
    assert re.fullmatch(rf"{time} INFO training one began 2026-01-01 ERROR  \[31mnothing", said)
    assert re.fullmatch(rf"{time} ERROR {name} a  x{{1997}}", failed)


def test_a_failure_is_told_once_a_minute_and_forgotten_after_it(written, monkeypatch):
    now = 0.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    assert log.failure(ValueError("one")) == log.failure("ValueError: one") != log.failure(KeyError("one"))
    assert [line.split(" ", 4)[4] for line in written()] == ["ValueError: one", "KeyError: 'one'"]
    now = 59.0
    log.failure("another")
    log.failure(ValueError("one"))
    assert len(written()) == 3
    now = 60.0
    log.failure(ValueError("one"))
    log.failure("another")
    assert [line.split(" ", 4)[4] for line in written()][3:] == ["ValueError: one"]
    assert sorted(log._told.values()) == [59.0, 60.0]


def test_where_a_bug_comes_from_is_written_only_if_asked_for(written):
    def fails() -> None:
        raise ZeroDivisionError("here")

    for with_traceback in (False, True):
        log._told.clear()
        try:
            fails()
        except ZeroDivisionError as error:
            log.failure(error, *([True] if with_traceback else []))
        assert any("in fails" in line for line in written()) == with_traceback
    log.failure("in words", with_traceback=True)
    assert written()[-1].endswith("in words")


def test_no_line_of_a_traceback_can_be_taken_for_a_line_of_the_log(written):
    forged = "2026-01-01 00:00:00 ERROR e-00000000 nothing"
    try:
        raise ValueError(f"a name\n{forged}\r{forged}\x1b[31m\u2028{forged}")
    except ValueError as error:
        log.failure(error, with_traceback=True)
    first, *others = written()
    assert "ValueError: a name" in first
    assert any(line.endswith(forged) for line in others)
    assert [line for line in others if not line.startswith("  ") or "\x1b" in line] == []


def test_the_diagnostics_say_where_everything_is(cache):
    app = AppTest.from_function(show_diagnostics, default_timeout=60).run()
    assert not app.exception
    said = app.code[0].value
    for part in (str(cache), f"streamlit {streamlit.__version__}", "0 runs", "NETWORK_PRUNING_MAX_TRAININGS=4"):
        assert part in said, said


def show_diagnostics():
    import streamlit as st

    from pages.shared import diagnostics

    st.code(diagnostics.text())
