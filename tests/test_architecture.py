"""The walls: what may import what, and what nobody may call. The rooms and their order are those of CONTRIBUTING.md."""

import ast
import importlib
import os
import shutil
import subprocess
import sys

import pytest

from core.settings import PROJECT
from core.state import STATES

FLOORS = [
    {"core.settings", "core.errors"},
    {"core.files", "core.terminal", "core.parameters", "core.log"},
    {"core.arrays", "core.keras_file", "core.turns"},
    {"core.config"},
    {"core.network"},
    {"core.datasets", "core.pruning", "core.limits", "core.keras_layers"},
    {"core.kernels"},
    {"core.evaluation"},
    {"core.sweep"},
    {"core.runs"},
    {"core.links", "core.scoring"},
    {"core.requests", "core.state"},
    {"core.training", "core.jobs", "core.analysis"},
    {"core.charts"},
    {"core.exports", "core.exports.models"},
    {"core.command"},
    {"core.make"},
    {
        "core.train",
        "core.finetune",
        "core.recover",
        "core.grid",
        "core.repair",
        "core.speed",
        "core.export",
        "core.smallest",
        "core.worker",
    },
    {"pages.shared"},
    {"pages"},
    {"app"},
]
"""From the ground up. A room may import the rooms below it, and itself."""

CLOSED = {
    "core.training": {"core.make", "core.smallest"},
    "core.links": {"pages.shared", "pages"},
    "core.exports.models": {"core.export", "core.speed", "pages.shared", "pages"},
    "core.jobs": {"core.grid", "core.worker", "pages.shared", "pages", "app"},
    "core.exports": {"core.make", "core.smallest", "pages.shared", "pages"},
    "core.command": {
        "core.train",
        "core.finetune",
        "core.grid",
        "core.repair",
        "core.speed",
        "core.export",
        "core.smallest",
        "core.worker",
        "core.make",
    },
    "core.make": {"core.train", "core.finetune"},
    "core.train": set(),
    "core.finetune": set(),
}
"""Rooms that only these others may import, although they stand above them."""

PACKAGES = {
    "streamlit": {"app", "pages", "pages.shared"},
    "keras": {"core.settings", "core.keras_layers", "core.training", "core.datasets", "core.exports.models"},
    "tensorflow": {"core.training", "core.exports.models"},
    "ai_edge_litert": {"core.exports.models"},
    "onnx": {"core.exports.models"},
    "onnxruntime": {"core.exports.models"},
    "h5py": {"core.keras_file"},
    "constriction": {"core.kernels"},
    "segno": {"core.exports"},
    "xlsxwriter": {"core.exports"},
    "distributed": {"core.jobs"},
    "matplotlib": {"core.charts"},
    "plotly": {"core.charts", "core.exports", "app"},
    "sklearn": {"core.datasets"},
    "absl": {
        "core.command",
        "core.make",
        "core.train",
        "core.finetune",
        "core.grid",
        "core.repair",
        "core.speed",
        "core.export",
        "core.smallest",
        "core.worker",
    },
}
"""Packages that only these rooms may import."""

LATE = {
    ("core.settings", "keras"),
    ("core.datasets", "keras"),
    ("core.datasets", "sklearn"),
    ("core.keras_file", "h5py"),
    ("core.exports.models", "keras"),
    ("core.exports.models", "tensorflow"),
    ("core.exports.models", "ai_edge_litert"),
    ("core.exports.models", "onnx"),
    ("core.exports.models", "onnxruntime"),
    ("core.jobs", "distributed"),
    ("core.exports.figures", "core.charts.printed"),
    ("core.make", "core.exports"),
}
"""What these import only where they need it: it costs seconds, or may not be installed."""

FILES = sorted([*PROJECT.glob("core/**/*.py"), *PROJECT.glob("pages/**/*.py"), PROJECT / "app.py"])
TREES = {path: ast.parse(path.read_text()) for path in FILES}
"""Parsed before any test. A thread that one left behind may parse too, and not every Python can do both at a time: see
`core.arrays`."""


def module_of(path):
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module):
    """The room that a module belongs to, by the longest name."""
    rooms = [room for floor in FLOORS for room in floor if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len, default=None)


def imports(path):
    """(module, whether at the top of the file) of everything that a file imports."""
    tree = TREES[path]
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where a name comes from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in top


def belongs(name, package):
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_only_what_its_room_may(path):
    room = room_of(module_of(path))
    if path.name == "__init__.py" and module_of(path) == "core":
        return
    assert room, f"{path} is in no room: add it to FLOORS and to CONTRIBUTING.md"
    floor = next(index for index, rooms in enumerate(FLOORS) if room in rooms)
    for name, at_top in imports(path):
        other = room_of(name)
        if other and other != room:
            below = next(index for index, rooms in enumerate(FLOORS) if other in rooms) < floor
            assert below, f"{path}: {room} stands below or beside {other}"
            assert room in CLOSED.get(other, {room}), f"{path}: {other} is closed to {room}"
        for package, rooms in PACKAGES.items():
            if belongs(name, package):
                assert room in rooms, f"{path}: {package} belongs to {sorted(rooms)}"
        for place, package in LATE:
            if belongs(module_of(path), place) and belongs(name, package):
                assert not at_top, f"{path}: {package} is imported late"


def test_the_environment_is_read_in_one_file():
    for path in FILES:
        text = path.read_text()
        if module_of(path) != "core.settings":
            assert "os.environ" not in text, path
            assert "getenv" not in text, path
        if path not in (PROJECT / "app.py", PROJECT / "core" / "settings.py"):
            assert ".parent.parent" not in text, path


def test_nothing_pickled_or_callable_is_ever_loaded():
    """No module reads pickles, evaluates text, or lets Keras or NumPy do so."""
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not forbidden & {name.name.split(".")[0] for name in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "__import__", "pd.read_pickle"), (path, node.lineno)
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert options.get("allow_pickle", "False") == "False", (path, node.lineno)
                assert options.get("safe_mode", "True") == "True", (path, node.lineno)


def test_the_web_process_never_loads_tensorflow(trained_cache, tmp_path):
    # The pages may have something scored or repaired in the background.
    shutil.copytree(trained_cache, tmp_path / "cache")
    names = sorted(path.stem for path in PROJECT.glob("pages/*.py") if path.stem not in ("router", "__init__"))
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
for page in {names!r}:
    app = AppTest.from_file(f"pages/{{page}}.py", default_timeout=60).run()
    assert not app.exception, app.exception
heavy = {{"tensorflow", "keras", "sklearn", "onnx", "onnxruntime", "ai_edge_litert"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"NETWORK_PRUNING_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("place", sorted((PROJECT / "core").rglob("__init__.py")), ids=lambda place: place.parent.name)
def test_what_a_package_offers_is_there(place):
    package = importlib.import_module(".".join(place.parent.relative_to(PROJECT).parts))
    names = getattr(package, "__all__", ())
    assert [name for name in names if not hasattr(package, name)] == []
    # A module of that name could not be imported as one.
    assert {path.stem for path in place.parent.glob("*.py")} & {*names} == set()


def test_hardly_anything_asks_for_a_state_by_its_name():
    """Outside `core.state` a state is asked for what it has, not for what it is: at most twelve times in all otherwise.

    Counted are: one of its three classes by name, other than to import it; a comparison of something called `recovery`
    or `state` with a text, or of anything with what is `as_pruned`; and a key of a state or its words as a key of a
    dictionary, in square brackets, or given as `recovery`. What a training begins with, and how it goes on, are
    hyper-parameters and not states.
    """
    classes = {state.__name__ for state in STATES.values()}
    names = {name for state in STATES.values() for name in (state.keys[0], state.name, state.words)}

    def texts(node):
        return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}

    def called(side):
        return (
            getattr(side, "id", None)
            or getattr(side, "attr", None)
            or getattr(getattr(side, "slice", None), "value", None)
        )

    def asks(node):
        if isinstance(node, ast.Name):
            return node.id in classes
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            of_state = {"recovery", "state"} & {*map(called, sides)}
            return bool(of_state and any(map(texts, sides))) or "as_pruned" in map(called, sides)
        if isinstance(node, ast.Dict):
            return any(texts(key) & names for key in node.keys if key is not None)
        if isinstance(node, ast.keyword):
            return node.arg == "recovery" and bool(texts(node.value))
        return (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant | ast.IfExp)
            and bool(texts(node.slice) & names)
        )

    found = []
    for path, tree in TREES.items():
        imported = {name for name, _ in imports(path) if name.startswith("core.state.")}
        for node in ast.walk(tree) if module_of(path) != "core.state" else ():
            if asks(node) and (not isinstance(node, ast.Name) or f"core.state.{node.id}" in imported):
                found.append(f"{path.relative_to(PROJECT)}: {ast.unparse(node)[:100]}")
    assert len(found) <= 12, "\n".join(found)
