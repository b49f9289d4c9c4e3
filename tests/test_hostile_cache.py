"""What lies in a cache can never harm: nothing outside it is touched, and one bad file never takes down a page or
another run."""

import contextlib
import errno
import functools
import gzip
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import datasets, jobs, runs
from core.config import TrainingConfig
from core.errors import DatasetError, KnownError, RunError
from core.exports import archive, report
from core.files import new_log, read_bytes
from core.jobs import open_queue
from core.requests import ask, note_problem, touch
from core.runs import SmallestFile, keep_smallest, layout, write_run
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import choice
from tests.commands import run_command
from tests.conftest import SMALL

SPARE = TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(8, 6))
"""A configuration that no test trains."""


@pytest.fixture
def full(cache: Path, trained_run: runs.Run) -> runs.Run:
    """A complete run in a cache that a test may change."""
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    shutil.copytree(trained_run.root / "datasets", cache / "datasets")
    return runs.open_run(SMALL.run_id)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of every cache, with all names that a run may have in it."""
    folder = tmp_path / "outside"
    for name in ("", "histograms", "one", "tiny", SMALL.run_id):
        (folder / name).mkdir(exist_ok=True)
    for name in ("config.json", "state.json", "notes.txt", "histograms/weights-k0.5000.png", "one/key.txt", "log.txt"):
        (folder / name).write_text("precious")
    return folder


@pytest.fixture
def drawn(full: runs.Run) -> runs.Run:
    assert full.is_drawn()
    return full


@pytest.fixture(autouse=True)
def no_background_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(PROJECT / "pages" / f"{name}.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return rerun(app)


def rerun(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def click(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click()
    return rerun(app)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# Links


@pytest.mark.parametrize("ending", ["", layout.PART, layout.OLD])
def test_training_in_the_place_of_a_link_replaces_the_link(cache, outside, ending):
    before = contents(outside)
    run = runs.open_run(SPARE.run_id)
    (cache / f"{run.id}{ending}").symlink_to(outside, target_is_directory=True)
    with write_run(run, SPARE) as writer:
        writer.write_history(pd.DataFrame({"epoch": [1]}))
        writer.commit(test_accuracy=0.5, test_loss=1.0)
    assert contents(outside) == before
    assert run.is_complete()
    assert not run.is_link()


def test_a_place_to_train_in_is_emptied_of_links_and_folders(cache, outside):
    before = contents(outside)
    run = runs.open_run(SPARE.run_id)
    run.part.mkdir()
    (run.part / "model.keras").symlink_to(outside / "notes.txt")
    (run.part / "state.json").symlink_to(outside / "state.json")
    (run.part / "folder").mkdir()
    (run.part / "more").symlink_to(outside, target_is_directory=True)
    with write_run(run, SPARE) as writer:
        assert {path.name for path in run.part.iterdir()} == {"config.json", "state.json"}
        writer.commit(test_accuracy=0.5, test_loss=1.0)
    assert contents(outside) == before
    assert not any(path.is_symlink() for path in run.folder.iterdir())


def test_deleting_a_linked_run_removes_the_link_and_says_so(cache, outside):
    before = contents(outside)
    run = runs.open_run("linked")
    run.folder.symlink_to(outside, target_is_directory=True)
    assert [each.run for each in runs.damaged_runs()] == [run]
    app = click(click(open_page("runs"), "delete_damaged_linked"), "delete_confirmed")
    assert "symbolic link" in app.info[0].value
    assert "1 run" in app.success[0].value
    assert not os.path.lexists(run.folder)
    assert runs.list_runs() == []
    assert contents(outside) == before


def test_deleting_a_run_leaves_alone_what_links_in_it_lead_to(full, outside):
    (full.folder / "more").symlink_to(outside, target_is_directory=True)
    (full.folder / "notes.txt").symlink_to(outside / "notes.txt")
    (full.root / ".asked").symlink_to(outside, target_is_directory=True)
    (outside / full.id / "kept").write_text("precious")
    before = contents(outside)
    full.delete()
    assert not os.path.lexists(full.folder)
    assert contents(outside) == before


def test_a_linked_run_is_not_read(full, outside, monkeypatch):
    moved = full.root.parent / "moved"
    full.folder.rename(moved)
    full.folder.symlink_to(moved, target_is_directory=True)
    assert not full.is_complete()
    assert full.size() == 0
    for read in (full.config, full.kernels, full.activations, full.history):
        with pytest.raises(RunError):
            read()
    (damaged,) = runs.damaged_runs()
    assert "symbolic link" in damaged.reason


@pytest.mark.parametrize(
    "name", [layout.CONFIG, layout.STATE, layout.NETWORK, layout.KERNELS, layout.SWEEP, layout.HISTORY]
)
def test_a_linked_file_of_a_run_is_not_read(full, tmp_path, name):
    (full.folder / name).rename(tmp_path / name)
    (full.folder / name).symlink_to(tmp_path / name)
    reads = {
        layout.CONFIG: full.config,
        layout.NETWORK: full.layers,
        layout.KERNELS: full.kernels,
        layout.SWEEP: full.sweep,
        layout.HISTORY: full.history,
    }
    if name == layout.STATE:
        assert not full.is_complete()
    else:
        with pytest.raises(RunError, match="symbolic link"):
            reads[name]()


def use_everything(run: runs.Run, row: pd.DataFrame) -> None:
    """Whatever writes into a cache, each once; what is refused is refused in a sentence."""
    version = run.version()
    kernels = run.kernels()
    key = Criterion("weight", "admm", recovery="repair").key(0.5)
    spare = runs.open_run(SPARE.run_id, run.root)
    queue = open_queue(run.root)
    log = layout.asked_log(run.root, run.id)

    def write_log() -> None:
        with new_log(log) as file:
            file.write(b"said")

    for action in (
        lambda: ask(run, [(Criterion("weight"), [0.5])]),
        lambda: touch(run),
        lambda: note_problem(run, "It failed."),
        lambda: jobs.stop_work(run, jobs.SPEED),
        lambda: jobs.stop_work(run, jobs.SMALLEST),
        lambda: run.keep_network(key, kernels, version),
        lambda: run.keep_speed(key, {"rows": []}, version),
        lambda: keep_smallest(run, SmallestFile(400, 1, 0, 4, 1, 0.5, 0.5, 1.0, version), b"tiny"),
        lambda: run.add_to_sweep(row, version, {}),
        lambda: runs.write_notes(run, runs.Notes("name")),
        lambda: queue.add([SPARE]),
        queue.entries,
        queue.cancel,
        write_log,
        spare.discard_training,
        run.delete,
    ):
        with contextlib.suppress(KnownError, OSError):
            action()
    datasets.load_dataset("optdigits", run.root)
    runs.adopt_example(run.root)


@pytest.mark.parametrize(
    "name",
    [
        ".locks",
        ".queue",
        ".asked",
        "datasets",
        *(f"{SMALL.run_id}/{name}" for name in ("repaired", "speed", "tiny", "exports", "histograms")),
    ],
)
def test_no_linked_folder_of_a_cache_is_written_into(full, outside, name):
    place, row = full.root / name, full.sweep().head(1).assign(seed=7)
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(outside, target_is_directory=True)
    before = contents(outside)
    use_everything(full, row)
    assert contents(outside) == before


@pytest.mark.parametrize(
    "name",
    [
        ".locks/queue",
        f".locks/{SMALL.run_id}.run",
        f".locks/{SMALL.run_id}.sweep",
        f".queue/{SPARE.run_id}.json",
        f".asked/{SMALL.run_id}/key.txt",
        f".asked/{SMALL.run_id}/log.txt",
        f".asked/{SMALL.run_id}/speed.txt",
        "datasets/optdigits.npz",
        ".example-adopted",
        *(f"{SMALL.run_id}/{name}" for name in ("notes.json", "predictions.npz", "sweep.csv", "tiny/400-e1-s0.tiny")),
    ],
)
@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
@pytest.mark.parametrize("target", ["notes.txt", "new.txt"])
def test_no_linked_file_of_a_cache_is_written_to(full, outside, name, make, target):
    if make is Path.hardlink_to and target == "new.txt":
        pytest.skip("a hard link leads to something")
    place, row = full.root / name, full.sweep().head(1).assign(seed=7)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    make(place, outside / target)
    before = contents(outside)
    use_everything(full, row)
    assert contents(outside) == before


def test_a_cache_that_is_named_by_a_link_works(full, tmp_path, monkeypatch):
    (tmp_path / "named").symlink_to(full.root, target_is_directory=True)
    monkeypatch.setenv("NETWORK_PRUNING_CACHE", str(tmp_path / "named"))
    (run,) = runs.list_runs()
    assert run.is_complete()
    assert run.kernels()
    runs.write_notes(run, runs.Notes("name"))
    assert runs.read_notes(full).name == "name"
    open_queue().add([SPARE])
    assert len(open_queue(full.root).entries()) == 1


def test_the_archive_takes_no_link_and_no_device_along(drawn, outside):
    (drawn.folder / "notes.txt").symlink_to(outside / "notes.txt")
    (drawn.folder / "more").symlink_to(outside, target_is_directory=True)
    os.mkfifo(drawn.folder / "pipe")
    (drawn.folder / "own.txt").write_text("own")
    with zipfile.ZipFile(io.BytesIO(archive.archive(drawn))) as packed:
        assert b"precious" not in [packed.read(name) for name in packed.namelist()]
        names = {name.removeprefix(f"{drawn.id}/") for name in packed.namelist()}
    assert "own.txt" in names
    assert not names & {"notes.txt", "pipe", "more/notes.txt", "more"}


def test_the_report_shows_no_picture_from_outside(drawn, outside):
    picture = drawn.folder / layout.TRAINING_FIGURE
    picture.unlink()
    picture.symlink_to(outside / "notes.txt")
    assert not drawn.is_drawn()
    with pytest.raises(KnownError, match="has not been drawn"):
        report.report(drawn)


def test_an_archive_of_more_than_a_run_can_hold_is_refused(drawn):
    with open(drawn.folder / "huge.bin", "wb") as file:
        file.truncate(2**42)
    with pytest.raises(KnownError, match=r"huge\.bin"):
        archive.archive(drawn)


def test_what_a_killed_delete_left_is_removed_by_the_next(cache, full):
    left = layout.trash(cache, "gone", 12345)
    left.mkdir()
    (left / "model.keras").write_text("half")
    busy = layout.trash(cache, "busy", 12345)
    busy.mkdir()
    with runs.open_run("busy").lock():
        full.delete()
        assert not left.exists()
        assert busy.exists()  # somebody is at it
    runs.adopt_example(cache)
    assert not busy.exists()


# Damages


def test_a_file_that_is_larger_than_it_may_be_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"four")
    assert read_bytes(tmp_path / "file", 4) == b"four"
    with pytest.raises(OSError, match="expected at most 3") as refused:
        read_bytes(tmp_path / "file", 3)
    # What people are told to do about it depends on it.
    assert refused.value.errno == errno.EFBIG


def replace_by(make):
    """A damage that puts something else in the place of a file."""

    def damage(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return damage


def text(content: str | bytes):
    return replace_by(lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content))


def sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**42)


def changed(**values):
    """A damage to some values of a JSON file; None takes one out."""

    def damage(path: Path) -> None:
        said = json.loads(path.read_text()) | values
        path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))

    return damage


def npy_header(shape: tuple, kind: str = "<f4") -> bytes:
    said = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said


def archived(content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED):
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as file:
            for name, data in content.items():
                file.writestr(name, data)

    return replace_by(make)


@functools.cache
def bomb_bytes() -> bytes:
    """600 MB of zeros in 3 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name in ("kernel_0", "keys", "predictions"):
            with packed.open(f"{name}.npy", "w") as member:
                member.write(npy_header((50_000_000,)))
                for _ in range(20):
                    member.write(bytes(10_000_000))
    return file.getvalue()


def bomb(path: Path) -> None:
    path.write_bytes(bomb_bytes())


def arrays(**content):
    def make(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, **content)

    return replace_by(make)


def kernels_of(value):
    shapes = SMALL.layer_shapes
    return arrays(**{f"kernel_{index}": np.full(shape, value) for index, shape in enumerate(shapes)})


NESTED = "[" * 200_000
HUGE = int("1" + "0" * 400)

ANYWHERE = {
    "missing": lambda path: path.unlink(),
    "empty": text(""),
    "noise": text(bytes(range(256)) * 40),
    "folder": replace_by(lambda path: path.mkdir()),
    "pipe": replace_by(os.mkfifo),
    "device": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "loop": replace_by(lambda path: path.symlink_to(path)),
    "4 TB": sparse,
}
RECORDS = {
    "nested": text(NESTED),
    "nested in a value": text('{"finished": ' + NESTED),
    "list": text("[]"),
    "null": text("null"),
    "number": text(str(HUGE)),
    "surrogates": text('{"finished": "\\ud800", "message": "\\ud800", "phase": "failed", "dataset": "\\udfff"}'),
}
STATES = {
    "no milliseconds": changed(finished="2026-01-02T03:04:05+00:00"),
    "no time zone": changed(finished="2026-01-02T03:04:05.123"),
    "a week": changed(finished="2026-W01-1"),
    "no time": changed(finished="yesterday"),
    "a number as time": changed(finished=12),
    "year 9999": changed(finished="9999-12-31T23:59:59+00:00"),
    "year 1": changed(finished="0001-01-01T00:00:00+00:00"),
    "no finish": changed(finished=None),
    "huge": changed(test_accuracy=HUGE, test_loss=HUGE, training_seconds=HUGE, kept_epoch=HUGE),
    "accuracy of 7": changed(test_accuracy=7),
    "not a number": changed(test_accuracy=float("nan"), test_loss=float("inf")),
    "texts": changed(test_accuracy="high", versions=[], machine={}),
    "versions of numbers": changed(versions={"keras": HUGE}),
    "no phase": changed(phase=None),
    "half a character": changed(machine="\ud800", versions={"\ud800": "\ud800"}),
}
CONFIGS = {
    "dataset is a list": changed(dataset=[]),
    "dataset is another": changed(dataset="digits"),
    "dataset is unknown": changed(dataset="x" * 100_000),
    "numbers": changed(epochs=HUGE),
    "rate": changed(learning_rate=HUGE),
    "widths": changed(hidden_units=[10_000] * 10),
    "no widths": changed(hidden_units=HUGE),
    "nested widths": changed(hidden_units=[[[]]]),
    "unknown names": changed(**{f"name {index}": index for index in range(1000)}),
    "a parent": text(json.dumps({"parent": [], "training": {}})),
    "a parent elsewhere": text(json.dumps({"parent": "../../etc", "training": SMALL.to_dict()})),
    "its own parent": text(json.dumps({"parent": SMALL.run_id, "training": SMALL.to_dict()})),
}
DENSE = {"kind": "dense", "units": 10, "bias": False, "activation": "linear"}
WINDOW = {"height": 3, "width": 3, "padding": "same", "stride": 1}
CONVOLUTION = DENSE | {"kind": "convolution", "window": WINDOW, "pool": 1}
LAYERS = {
    "no layers": changed(layers=[]),
    "layers are text": changed(layers="dense"),
    "a layer is text": changed(layers=["dense"]),
    "layers without units": changed(layers=[{"kind": "dense"}]),
    "half a unit": changed(layers=[DENSE | {"units": 0.5}]),
    "huge": changed(shape=[HUGE], layers=[DENSE]),
    "many": changed(layers=[DENSE] * 50_000),
    "wide": changed(layers=[DENSE | {"units": 10**6, "activation": "relu"}] * 9 + [DENSE]),
    "other images": changed(shape=[7, 7], layers=[DENSE]),
    "other classes": changed(layers=[DENSE | {"units": 9}]),
    "unknown activation": changed(layers=[DENSE | {"activation": []}]),
    "a window without an image": changed(layers=[CONVOLUTION]),
    "no stride": changed(shape=[8, 8, 1], layers=[CONVOLUTION | {"window": WINDOW | {"stride": 0}}]),
    "a pool of nothing": changed(shape=[8, 8, 1], layers=[CONVOLUTION | {"pool": 0}]),
}
ARRAYS = {
    "bomb": replace_by(bomb),
    "4 TB header": archived({f"kernel_{index}.npy": npy_header((10**6, 10**6)) for index in range(3)}),
    "negative header": archived({"kernel_0.npy": npy_header((-1, -4)) + bytes(16)}),
    "nested header": archived({"kernel_0.npy": npy_header((1,)).replace(b"(1,)", b"(" * 4)}),
    "objects": archived({"kernel_0.npy": npy_header((1,), "|O") + bytes(8)}),
    "nothing in each": archived({"keys.npy": npy_header((10**12,), "<U0"), "predictions.npy": npy_header((10**12, 0))}),
    "many members": archived({f"kernel_{index}.npy": b"" for index in range(1000)}),
    "unusual compression": archived({"kernel_0.npy": npy_header((1,)) + bytes(4)}, zipfile.ZIP_LZMA),
    "not a number": kernels_of(np.float32(np.nan)),
    "infinite": kernels_of(np.float32(np.inf)),
    "doubles": kernels_of(np.float64(0)),
    "texts": kernels_of("text"),
    "one": arrays(kernel_0=np.zeros(3, np.float32)),
    "one number": arrays(keys=np.array("a"), predictions=np.zeros((), np.uint8)),
}
LINE = "weight,magnitude,layer,0,none,0.5,1,0.5,0.5,1,1,0.5,0.5\n"
HEAD = "method,ranking,scope,seed,recovery,sparsity,zeroed,sparsity_hidden,sparsity_network,removable,multiply_adds,"
HEAD += "accuracy,loss\n"
TABLES = {
    "a million rows": text(HEAD + LINE * 1_000_000),
    "many short rows": text("epoch\n" + "1\n" * 1_000_000),
    "a million columns": text(",".join(map(str, range(1_000_000))) + "\n" + ",".join(["1"] * 1_000_000)),
    "only names": text(HEAD),
    "accuracy of 7": text(HEAD + LINE.replace("0.5,0.5\n", "7,0.5\n")),
    "huge numbers": text(HEAD + LINE.replace("layer,0", f"layer,{HUGE}")),
    "infinite loss": text(HEAD + LINE.replace("0.5\n", "inf\n")),
    "texts": text(HEAD + LINE.replace("0.5", "half")),
    "unknown method": text(HEAD + LINE.replace("weight", "=HYPERLINK()")),
    "no loss": text(HEAD + LINE.replace("0.5\n", "\n")),
    "k of 2": text(HEAD + LINE.replace("none,0.5", "none,2")),
    "epochs of text": text("epoch,loss,accuracy,val_loss,val_accuracy,seconds\none,a,b,c,d,e\n"),
    "epochs without end": text("epoch,loss,accuracy,val_loss,val_accuracy,seconds\ninf,1,1,1,1,inf\n"),
    "open quote": text(HEAD + '"' + LINE * 1000),
    "zero bytes": text(b"epoch\0,loss\n\0\n"),
}
KINDS = {
    layout.CONFIG: RECORDS | CONFIGS,
    layout.STATE: RECORDS | STATES,
    layout.NETWORK: RECORDS | LAYERS,
    layout.NOTES: RECORDS | {"texts": text('{"name": "\\ud800<b>", "note": 7}')},
    layout.KERNELS: ARRAYS,
    layout.ACTIVATIONS: ARRAYS,
    layout.PREDICTIONS: ARRAYS,
    layout.SWEEP: TABLES,
    layout.HISTORY: TABLES,
    layout.RESULTS: TABLES,
}
CASES = [
    pytest.param(name, damage, id=f"{name} {what}")
    for name, kinds in KINDS.items()
    for what, damage in (ANYWHERE | kinds).items()
]


def read_all(run: runs.Run) -> list[str]:
    """Whatever can be read of a run, in every way; what is refused is refused in a sentence, which is returned."""
    said = []
    for read in (
        run.config,
        run.result,
        run.training,
        run.layers,
        run.kernels,
        run.activations,
        run.sweep,
        run.history,
        run.predictions,
        run.size,
        lambda: run.network("weight,admm,layer,0,repair,0.5"),
        lambda: run.speed("weight,magnitude,layer,0,0.5"),
        lambda: runs.read_notes(run),
        lambda: runs.smallest_files(run),
        lambda: report.results(run),
        lambda: runs.damage(run),
        lambda: runs.runs_table(run.root),
    ):
        try:
            read()
        except KnownError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_file_is_a_sentence_and_no_other_run_is_affected(full, name, damage):
    other = runs.open_run("other")
    shutil.copytree(full.folder, other.folder)
    path = full.folder / name
    if not path.exists():
        path.write_text("{}")
    damage(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_all(full)
    if name in (layout.STATE, layout.SWEEP, layout.HISTORY):
        with contextlib.suppress(KnownError):
            archive.archive(full)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown:,} KB were taken to read it"
    assert "other" in runs.runs_table().run.tolist()
    listed = {full.id} & {*runs.runs_table().run, *(each.run.id for each in runs.damaged_runs())}
    assert listed == {full.id}
    full.delete()
    assert [run.id for run in runs.list_runs()] == ["other"]


# Pages

PAGES = ("overview", "training", "grid", "pruning", "size", "smallest", "draw", "comparison", "runs", "present")
UNREADABLE = {
    **{f"{layout.STATE} {what}": (layout.STATE, damage) for what, damage in (ANYWHERE | RECORDS | STATES).items()},
    **{f"{layout.CONFIG} {what}": (layout.CONFIG, damage) for what, damage in (ANYWHERE | RECORDS | CONFIGS).items()},
}


def add_copy(run: runs.Run, index: int, name: str, damage) -> runs.Run:
    copy = runs.open_run(f"bad-{index}", run.root)
    unneeded = shutil.ignore_patterns("*.png", "*.gif", "*.keras", layout.HISTOGRAMS)
    shutil.copytree(run.folder, copy.folder, ignore=unneeded)
    if not (copy.folder / name).exists():
        (copy.folder / name).parent.mkdir(exist_ok=True)
        (copy.folder / name).write_text("{}")
    damage(copy.folder / name)
    return copy


@pytest.fixture(scope="session")
def unreadable_cache(trained_run: runs.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run among runs with every damage to what says what they are, and trainings with the same."""
    root = tmp_path_factory.mktemp("unreadable")
    shutil.copytree(trained_run.root / "datasets", root / "datasets")
    shutil.copytree(trained_run.folder, root / SMALL.run_id)
    whole = runs.Run(root, SMALL.run_id)
    for index, (name, damage) in enumerate(UNREADABLE.values()):
        add_copy(whole, index, name, damage)
    for index, damage in enumerate([changed(phase=None), changed(phase="resting"), changed(phase=HUGE), text("{")]):
        begun = add_copy(whole, 1000 + index, layout.STATE, damage)
        begun.folder.rename(begun.part)
    (root / "linked").symlink_to(root.parent, target_is_directory=True)
    (root / f"linked-too{layout.PART}").symlink_to("/")
    (root / SPARE.run_id).write_text("a file in the place of a folder")
    (root / f"empty{layout.PART}").mkdir()
    (root / "README.md").write_text("no run")
    return root


@pytest.mark.parametrize("page", PAGES)
def test_runs_that_cannot_be_read_take_no_page_down(unreadable_cache, monkeypatch, page):
    monkeypatch.setenv("NETWORK_PRUNING_CACHE", str(unreadable_cache))
    app = open_page(page)
    assert not app.error
    if page in ("pruning", "size", "smallest", "draw"):
        assert choice.label(SMALL) in app.selectbox[0].options
    if page == "runs":
        listed = {*app.dataframe[0].value.run, *(element.value.strip("` ") for element in app.markdown)}
        copies = {f"bad-{index}" for index in range(len(UNREADABLE))}
        assert {*copies, "linked", "linked-too", SPARE.run_id} <= listed
        assert not {"README", "README.md", "empty"} & listed
        assert SMALL.run_id in app.dataframe[0].value.run.tolist()


SCORES = {
    f"{name} {what}": (name, damage)
    for name, kinds in KINDS.items()
    if name not in (layout.STATE, layout.CONFIG)
    for what, damage in (ANYWHERE | kinds).items()
}


@pytest.mark.parametrize("page", ["pruning", "size", "smallest", "draw", "present", "comparison"])
def test_a_damaged_network_or_score_is_a_sentence_on_every_page(full, page):
    """A few of all damages to each kind of file; the others are read in the tests above."""
    every = {name: [what for what in SCORES if what.startswith(name)] for name in KINDS}
    chosen = [what for names in every.values() for what in names[sum(page.encode()) % 16 :: 16]]
    copies = [add_copy(full, index, *SCORES[what]) for index, what in enumerate(chosen)]
    if page == "comparison":
        app = open_page(page, runs=[full.id, *(copy.id for copy in copies)])
        assert "60-40" in app.dataframe[0].value.configuration[0]
        return
    for copy in copies:
        open_page(page, run=copy.id)


def test_odd_things_beside_the_runs_take_no_page_down(full):
    root = full.root
    for folder in (".queue", ".asked", ".locks"):
        (root / folder).mkdir(exist_ok=True)
    damages = [*(ANYWHERE | RECORDS | CONFIGS).values()]
    for index, damage in enumerate(damages):
        config = TrainingConfig(dataset="optdigits", seed=index)
        ticket = root / ".queue" / f"{config.run_id}.json"
        ticket.write_text(json.dumps({"added": index, "failure": None, "config": config.to_dict()}))
        damage(ticket)
    for index, value in enumerate((HUGE, "soon", None, [])):
        config = TrainingConfig(dataset="optdigits", seed=1000 + index)
        ticket = {"added": value, "failure": value, "config": config.to_dict() | {"l1_reg": HUGE}}
        (root / ".queue" / f"{config.run_id}.json").write_text(json.dumps(ticket))
    os.mkfifo(root / ".locks" / f"{full.id}.run")
    os.mkfifo(root / ".locks" / "queue")
    (root / ".locks" / f"{full.id}.curve").mkdir()
    (root / ".asked" / full.id).mkdir()
    for name in ("key.txt", "log.txt", "speed.txt", "speed-log.txt", "tiny.txt"):
        os.mkfifo(root / ".asked" / full.id / name)
    for name in (layout.SMALLEST, layout.EXPORTS, layout.SPEED, layout.REPAIRED):
        (full.folder / name).mkdir(exist_ok=True)
        for index, damage in enumerate(damages):
            path = full.folder / name / f"{index}.json"
            path.write_text(json.dumps({"bytes": HUGE, "about": [], "rows": [{}], "source": HUGE}))
            damage(path)
    key = Criterion("weight").key(0.5)
    layout.speed(full.folder, key).write_text(json.dumps({"rows": [{"network": "compacted"}], "source": 7}))
    for page in PAGES:
        open_page(page)


@pytest.mark.parametrize("damage", [*(RECORDS | ANYWHERE).values()], ids=[*(RECORDS | ANYWHERE)])
def test_a_damaged_state_can_be_trained_again_or_deleted(full, damage, monkeypatch):
    damage(full.folder / layout.STATE)
    started = []
    monkeypatch.setattr(jobs, "start_training", lambda run, config, replace=False: started.append((run, replace)))
    settings = {"dataset": SMALL.dataset, "epochs": str(SMALL.epochs), "hidden_units": "60,40"}
    app = open_page("training", **settings)
    assert layout.STATE in app.error[0].value
    click(app, "train_again")
    assert started == [(full, True)]
    app = click(click(open_page("training", **settings), "delete"), "delete_confirmed")
    assert not full.folder.exists()
    assert app.button(key="train")


def test_a_deleted_history_costs_only_the_curves(full):
    (full.folder / layout.HISTORY).unlink()
    app = open_page("training", dataset=SMALL.dataset, epochs=str(SMALL.epochs), hidden_units="60,40")
    assert layout.HISTORY in app.error[0].value
    assert {"retrain", "delete"} <= {button.key for button in app.button}


# Commands


def test_commands_say_what_is_damaged_and_train_again_when_told(full):
    (full.folder / layout.HISTORY).unlink()
    said = run_command("train", "--notrain", *SMALL.to_flags(), f"--output_dir={full.root}")
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert layout.HISTORY in said.stderr
    (full.folder / layout.STATE).write_text("{")
    for flags in ([], ["--notrain"]):
        said = run_command("train", *flags, *SMALL.to_flags(), f"--output_dir={full.root}")
        assert said.returncode == 1
        assert layout.STATE in said.stderr
        assert "--force_train" in said.stderr
        assert "Traceback" not in said.stderr
    said = run_command("train", "--force_train", *SMALL.to_flags(), f"--output_dir={full.root}")
    assert said.returncode == 0, said.stderr
    assert full.is_complete()


# Datasets


def test_a_compressed_file_of_gigabytes_is_refused_before_it_is_unpacked(cache, tmp_path):
    folder = tmp_path / "data" / "digits"
    folder.mkdir(parents=True)
    piece = gzip.compress(bytes(2**26), 1)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(piece * 32)
    program = (
        "import resource, sys; from core.datasets import load_dataset\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_dataset('digits')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    environment = os.environ | {"NETWORK_PRUNING_DATA": str(folder.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=100
    )
    said, grown = done.stdout.splitlines()
    assert "DatasetError" in said
    assert "more than" in said
    assert int(grown) < 200_000, f"{int(grown):,} KB were taken"


@pytest.mark.parametrize("damage", [*(ANYWHERE | ARRAYS).values()], ids=[*(ANYWHERE | ARRAYS)])
def test_a_damaged_decoded_dataset_is_decoded_again(full, damage):
    path = full.root / "datasets" / "optdigits.npz"
    damage(path)
    assert not datasets.is_cached("optdigits", full.root)
    if path.is_dir():
        return  # it cannot be replaced, and a warning says so
    assert len(datasets.load_dataset("optdigits", full.root).test.labels) == 360
    assert datasets.is_cached("optdigits", full.root)


def test_decoded_images_with_other_values_are_refused(full):
    path = full.root / "datasets" / "optdigits.npz"
    with np.load(path) as kept:
        content = {name: kept[name] for name in kept}
    np.savez(path, **content | {"test_labels": content["test_labels"] + np.uint8(100)})
    with pytest.raises(DatasetError, match="labels"):
        _ = datasets.load_dataset("optdigits", full.root).test
