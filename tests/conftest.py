"""What the tests share: caches of their own, trained networks, and the real MNIST where it is at hand."""

import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache as remembered
from pathlib import Path

import numpy as np
import pytest
import streamlit
from hypothesis import settings
from playwright.sync_api import Error, Page
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import local_script_runner

from core import jobs, runs, turns
from core.config import TrainingConfig
from core.files import lock_at
from core.pruning import METHODS
from tests.browsing import browser, errors, page, server, tab, trained_server
from tests.commands import run_command

__all__ = [
    "browser",
    "errors",
    "page",
    "server",
    "tab",
    "trained_server",
]  # fixtures, which pytest finds by their names here

# No test fails because the machine is busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SMALL = TrainingConfig(dataset="optdigits", epochs=3, hidden_units=(60, 40))


def train(root: Path) -> None:
    """Make a cache with one small complete run."""
    done = run_command("train", *SMALL.to_flags(), "--fine_curve", f"--output_dir={root}")
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def step_by_step() -> Iterator[None]:
    """To trace functions takes seconds; step by step it computes the same."""
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--trained", type=Path, help="a cache as trained_cache makes one, to be used instead")
    parser.addoption("--looks", action="store_true", help="keep how figures look now; see tests/test_looks.py")


@pytest.fixture(scope="session")
def shared_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the processes that share the tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Let whoever comes first make what all share."""
    with lock_at(path.with_suffix(".lock")):
        if not path.exists():
            make(path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
    return path


@pytest.fixture(scope="session")
def trained_cache(request: pytest.FixtureRequest, shared_folder: Path) -> Path:
    """A cache with one small complete run, trained by the command line. Tests must not change it."""
    return request.config.getoption("--trained") or made_once(shared_folder / "trained", train)


@pytest.fixture(scope="session")
def repaired_cache(trained_cache: Path, shared_folder: Path) -> Path:
    """The same, repaired at all that pages ask for when they are opened, so that a server has nothing to repair."""

    def repair(root: Path) -> None:
        shutil.copytree(trained_cache, root)
        for method in METHODS:
            done = run_command("repair", f"--run={SMALL.run_id}", f"--method={method}", f"--output_dir={root}")
            assert done.returncode == 0, done.stderr

    return made_once(shared_folder / "repaired", repair)


@pytest.fixture(scope="session")
def trained_run(trained_cache: Path) -> runs.Run:
    return runs.open_run(SMALL.run_id, trained_cache)


@pytest.fixture(autouse=True, scope="session")
def pages_alone() -> Iterator[None]:
    """A page in AppTest takes as long as the page.

    Beside each run of it, Streamlit searches all installed packages for components and compiles the page, which a
    server does once; clears what Keras has built, which a server never has; and looks for garbage in all that the tests
    have imported.
    """
    compiled = ScriptCache()
    option = "runner.postScriptGC"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manifest_scanner, "scan_component_manifests", remembered(manifest_scanner.scan_component_manifests)
        )
        patch.setattr(local_script_runner, "ScriptCache", lambda: compiled)
        patch.setattr(script_runner, "_clean_problem_modules", lambda: None)
        collected = streamlit.config.get_option(option)
        streamlit.config.set_option(option, False)
        yield
        streamlit.config.set_option(option, collected)


@pytest.fixture(autouse=True, scope="module")
def nothing_old_is_searched() -> Iterator[None]:
    """What is there before a file is no garbage to its tests; to search TensorFlow's graphs for some takes seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_in_the_background(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pages that are looked at in a test have nothing scored or repaired, unless the test says so, and what other
    processes of this machine do is none of their business."""
    monkeypatch.setattr(jobs, "start_scoring", lambda run, wanted: None)
    monkeypatch.setattr(turns, "folder", lambda cache: tmp_path / "turns")


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Leave `__main__` as it was: a page run by AppTest takes its name, and a process that is spawned later runs it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that the code under test uses."""
    monkeypatch.setenv("NETWORK_PRUNING_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder with the real MNIST files."""
    folder = os.environ.get("NETWORK_PRUNING_DATA")
    if not folder or not (Path(folder) / "digits").is_dir():
        pytest.skip("needs MNIST: set NETWORK_PRUNING_DATA to a folder with digits/*.gz")
    return Path(folder)


@pytest.fixture
def kernels() -> list[np.ndarray]:
    """A small network of random kernels with ties."""
    generator = np.random.default_rng(0)
    sizes = (20, 30, 25, 10)
    return [generator.normal(size=shape).round(1).astype(np.float32) for shape in zip(sizes, sizes[1:], strict=False)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `-m "not browser"` leave out what a browser is needed for."""
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Let fixtures know whether their test failed, for a screenshot, and report what its tab shows."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.failed = True
        page = item.funcargs.get("page")
        # Some tests call one of the app's pages so.
        if report.when == "call" and isinstance(page, Page):
            with contextlib.suppress(Error):
                report.sections.append((f"Tab at {page.url}", page.locator("body").inner_text(timeout=5_000)))
