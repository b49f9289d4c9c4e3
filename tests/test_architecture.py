"""The walls: what may import what."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

KERAS_ROOMS = {"network.py"}
LAZY_KERAS_ROOMS = {"datasets.py", "train.py"}


def imports(path):
    """Every module a file imports, at its top level and anywhere."""
    tree = ast.parse(path.read_text())
    top, anywhere = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        anywhere |= names
        if node in tree.body:
            top |= names
    return top, anywhere


def uses(names, package):
    return any(name == package or name.startswith(f"{package}.") for name in names)


@pytest.mark.parametrize("path", sorted([*PROJECT.glob("core/*.py"), *PROJECT.glob("pages/*.py"), PROJECT / "app.py"]))
def test_keras_and_streamlit_stay_in_their_rooms(path):
    top, anywhere = imports(path)
    keras = [package for package in ("keras", "tensorflow", "core.network") if uses(anywhere, package)]
    if path.name not in KERAS_ROOMS | LAZY_KERAS_ROOMS:
        assert not keras
    if path.name in LAZY_KERAS_ROOMS:
        assert not any(uses(top, package) for package in ("keras", "tensorflow", "core.network"))
    if path.parent.name == "core" and path.name != "ui.py":
        assert not uses(anywhere, "streamlit")
        assert not uses(anywhere, "core.ui")


def test_the_web_process_never_loads_tensorflow(trained_cache):
    code = """
import sys
from streamlit.testing.v1 import AppTest
for page in ("overview", "training", "pruning", "comparison"):
    app = AppTest.from_file(f"pages/{page}.py", default_timeout=60).run()
    assert not app.exception, app.exception
heavy = {name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "sklearn"}
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**__import__("os").environ, "NETWORK_PRUNING_CACHE": str(trained_cache), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
