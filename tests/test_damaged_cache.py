"""A damaged file is named and loses nothing else, whatever machines or hands do to it; links in a cache are not
followed."""

import contextlib
import io
import json
import os
import shutil
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
from core.exports.models import Subject, find
from core.files import new_log
from core.jobs import open_queue
from core.requests import ask, note_problem, touch
from core.runs import SmallestFile, keep_smallest, layout, smallest_files, write_run
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import choice, frame
from tests.commands import run_command
from tests.conftest import SMALL

SPARE = TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(8, 6))
"""A configuration that no test trains."""
PAGES = ("overview", "training", "grid", "pruning", "size", "smallest", "draw", "comparison", "runs", "present")


@pytest.fixture
def full(cache: Path, trained_run: runs.Run) -> runs.Run:
    """A complete run in a cache that a test may change."""
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    shutil.copytree(trained_run.root / "datasets", cache / "datasets")
    return runs.open_run(SMALL.run_id)


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


# Damaged files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def text(content: str):
    """An edit of everything."""
    return lambda path: path.write_text(content)


def changed(**values):
    """An edit of some values of a JSON file; None takes one out."""

    def edit(path: Path) -> None:
        said = json.loads(path.read_text()) | values
        path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))

    return edit


def kernels_of(value):
    shapes = SMALL.layer_shapes
    arrays = {f"kernel_{index}": np.full(shape, value) for index, shape in enumerate(shapes)}
    return lambda path: np.savez(path, **arrays)


ANYWHERE = {
    "missing": Path.unlink,
    "empty": text(""),
    "cut": cut,
    "flipped": flip,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "link": lambda path: path.rename(path.with_name("moved")) and path.symlink_to("moved"),
}
RECORDS = {"list": text("[]"), "null": text("null")}
STATES = {
    "no time zone": changed(finished="2026-01-02T03:04:05.123"),
    "no time": changed(finished="yesterday"),
    "a number as time": changed(finished=12),
    "year 6026": changed(finished="6026-12-31T23:59:59+00:00"),
    "no finish": changed(finished=None),
    "accuracy of 7": changed(test_accuracy=7),
    "not a number": changed(test_accuracy=float("nan"), test_loss=float("inf")),
    "texts": changed(test_accuracy="high", versions=[], machine={}),
    "no phase": changed(phase=None),
}
CONFIGS = {
    "dataset is a list": changed(dataset=[]),
    "dataset is unknown": changed(dataset="letters"),
    "rate": changed(learning_rate=float("inf")),
    "no widths": changed(hidden_units=[]),
    "unknown name": changed(rate=1),
    "a parent": text(json.dumps({"parent": [], "training": {}})),
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
    "other images": changed(shape=[7, 7], layers=[DENSE]),
    "other classes": changed(layers=[DENSE | {"units": 9}]),
    "unknown activation": changed(layers=[DENSE | {"activation": []}]),
    "a window without an image": changed(layers=[CONVOLUTION]),
    "no stride": changed(shape=[8, 8, 1], layers=[CONVOLUTION | {"window": WINDOW | {"stride": 0}}]),
    "a pool of nothing": changed(shape=[8, 8, 1], layers=[CONVOLUTION | {"pool": 0}]),
}
ARRAYS = {
    "not a number": kernels_of(np.float32(np.nan)),
    "infinite": kernels_of(np.float32(np.inf)),
    "doubles": kernels_of(np.float64(0)),
    "texts": kernels_of("text"),
    "one": lambda path: np.savez(path, kernel_0=np.zeros(3, np.float32)),
    "one number": lambda path: np.savez(path, keys=np.array("a"), predictions=np.zeros((), np.uint8)),
}
LINE = "weight,magnitude,layer,0,none,0.5,1,0.5,0.5,1,1,0.5,0.5\n"
HEAD = "method,ranking,scope,seed,recovery,sparsity,zeroed,sparsity_hidden,sparsity_network,removable,multiply_adds,"
HEAD += "accuracy,loss\n"
TABLES = {
    "only names": text(HEAD),
    "accuracy of 7": text(HEAD + LINE.replace("0.5,0.5\n", "7,0.5\n")),
    "infinite loss": text(HEAD + LINE.replace("0.5\n", "inf\n")),
    "texts": text(HEAD + LINE.replace("0.5", "half")),
    "unknown method": text(HEAD + LINE.replace("weight", "weighs")),
    "no loss": text(HEAD + LINE.replace("0.5\n", "\n")),
    "k of 2": text(HEAD + LINE.replace("none,0.5", "none,2")),
    "epochs of text": text("epoch,loss,accuracy,val_loss,val_accuracy,seconds\none,a,b,c,d,e\n"),
    "half a row": text("epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,0.5\n"),
    "open quote": text(HEAD + '"' + LINE * 1000),
}
KINDS = {
    layout.CONFIG: RECORDS | CONFIGS,
    layout.STATE: RECORDS | STATES,
    layout.NETWORK: RECORDS | LAYERS,
    layout.NOTES: RECORDS | {"numbers": text('{"name": "x", "note": 7}')},
    layout.KERNELS: ARRAYS,
    layout.ACTIVATIONS: ARRAYS,
    layout.PREDICTIONS: ARRAYS,
    layout.SWEEP: TABLES,
    layout.HISTORY: TABLES,
    layout.RESULTS: TABLES,
}
CASES = {
    f"{name} {what}": (name, damage) for name, kinds in KINDS.items() for what, damage in (ANYWHERE | kinds).items()
}
UNREADABLE = {what: case for what, case in CASES.items() if case[0] in (layout.STATE, layout.CONFIG)}


def read_all(run: runs.Run) -> None:
    """Whatever can be read of a run, in every way; what is refused is refused in a sentence."""
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
        lambda: runs.read_notes(run),
        lambda: report.results(run),
        lambda: archive.archive(run),
    ):
        with contextlib.suppress(KnownError):
            read()


@pytest.mark.parametrize(("name", "damage"), CASES.values(), ids=CASES)
def test_a_damaged_file_is_a_sentence_and_no_other_run_is_affected(full, name, damage):
    other = runs.open_run("other")
    other.folder.mkdir()
    for needed in (layout.CONFIG, layout.STATE, layout.NETWORK):
        shutil.copy(full.folder / needed, other.folder)
    path = full.folder / name
    if not path.exists():
        path.write_text("{}")
    damage(path)
    read_all(full)
    assert "other" in runs.runs_table().run.tolist()
    damaged = {each.run.id: each.reason for each in runs.damaged_runs()}
    assert (full.id in damaged) != (full.id in runs.runs_table().run.tolist())
    assert name in damaged.get(full.id, name)
    full.delete()
    assert [run.id for run in runs.list_runs()] == ["other"]


def add_copy(run: runs.Run, name: str, folder: str, damage) -> runs.Run:
    copy = runs.open_run(name, run.root)
    shutil.copytree(run.folder, copy.folder, ignore=shutil.ignore_patterns("*.png", "*.gif", "*.keras"))
    path = copy.folder / folder
    if not path.exists():
        path.write_text("{}")
    damage(path)
    return copy


@pytest.fixture(scope="module")
def unreadable_cache(trained_run: runs.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run among runs with every damage to what says what they are, and trainings with the same."""
    root = tmp_path_factory.mktemp("unreadable")
    shutil.copytree(trained_run.root / "datasets", root / "datasets")
    shutil.copytree(trained_run.folder, root / SMALL.run_id)
    whole = runs.Run(root, SMALL.run_id)
    for index, case in enumerate(UNREADABLE.values()):
        add_copy(whole, f"bad-{index}", *case)
    for index, damage in enumerate([changed(phase=None), changed(phase="resting"), text("{")]):
        begun = add_copy(whole, f"begun-{index}", layout.STATE, damage)
        begun.folder.rename(begun.part)
    (root / "linked").symlink_to(root / SMALL.run_id, target_is_directory=True)
    (root / SPARE.run_id).write_text("a file in the place of a folder")
    (root / f"empty{layout.PART}").mkdir()
    (root / "README.md").write_text("no run")
    queue = open_queue(root)
    queue.folder.mkdir()
    for index, damage in enumerate([text(""), text("{"), text("[]"), changed(config=[]), changed(added="soon")]):
        config = TrainingConfig(dataset="optdigits", seed=index)
        ticket = queue.folder / f"{config.run_id}.json"
        ticket.write_text(json.dumps({"added": index, "failure": None, "config": config.to_dict()}))
        damage(ticket)
    for name in (layout.SMALLEST, layout.EXPORTS, layout.SPEED, layout.REPAIRED):
        (whole.folder / name).mkdir(exist_ok=True)
        (whole.folder / name / "bad.json").write_text('{"bytes": null, "about": [], "rows": [{}], "source": 7}')
    layout.speed(whole.folder, Criterion("weight").key(0.5)).write_text('{"rows": [{"network": "compacted"}]}')
    return root


@pytest.mark.parametrize("page", PAGES)
def test_what_is_damaged_takes_no_page_down(unreadable_cache, monkeypatch, page):
    monkeypatch.setenv("NETWORK_PRUNING_CACHE", str(unreadable_cache))
    app = open_page(page)
    assert not [error.value for error in app.error]
    if page in ("pruning", "size", "smallest", "draw"):
        assert choice.label(SMALL) in app.selectbox[0].options
    if page == "runs":
        listed = {*app.dataframe[0].value.run, *(element.value.strip("` ") for element in app.markdown)}
        assert {*(f"bad-{index}" for index in range(len(UNREADABLE))), "linked", SPARE.run_id} <= listed
        assert not {"README", "README.md", "empty"} & listed
        assert SMALL.run_id in app.dataframe[0].value.run.tolist()


@pytest.mark.parametrize("page", ["pruning", "size", "smallest", "draw", "present", "comparison"])
def test_a_damaged_network_or_score_is_a_sentence_on_every_page(full, page):
    """Some of all damages to each kind of file; the others are read in the tests above."""
    cases = [case for what, case in CASES.items() if what not in UNREADABLE]
    copies = [add_copy(full, f"bad-{index}", *case) for index, case in enumerate(cases[sum(page.encode()) % 9 :: 9])]
    if page == "comparison":
        app = open_page(page, runs=[full.id, *(copy.id for copy in copies)])
        assert "60-40" in app.dataframe[0].value.configuration[0]
        return
    for copy in copies:
        open_page(page, run=copy.id)


@pytest.mark.parametrize("damage", (ANYWHERE | RECORDS).values(), ids=ANYWHERE | RECORDS)
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


def test_commands_and_pages_say_what_is_damaged_and_train_again_when_told(full):
    (full.folder / layout.HISTORY).unlink()
    app = open_page("training", dataset=SMALL.dataset, epochs=str(SMALL.epochs), hidden_units="60,40")
    assert layout.HISTORY in app.error[0].value
    assert {"retrain", "delete"} <= {button.key for button in app.button}
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


@pytest.mark.parametrize("damage", (ANYWHERE | ARRAYS).values(), ids=ANYWHERE | ARRAYS)
def test_a_damaged_decoded_dataset_is_decoded_again(full, damage):
    damage(full.root / "datasets" / "optdigits.npz")
    with contextlib.suppress(DatasetError):  # what only reading all of it shows
        _ = datasets.load_dataset("optdigits", full.root).test
    assert len(datasets.load_dataset("optdigits", full.root).test.labels) == 360
    assert datasets.is_cached("optdigits", full.root)


def test_decoded_images_with_other_values_are_refused(full):
    path = full.root / "datasets" / "optdigits.npz"
    with np.load(path) as kept:
        content = {name: kept[name] for name in kept}
    np.savez(path, **content | {"test_labels": content["test_labels"] + np.uint8(100)})
    with pytest.raises(DatasetError, match="labels"):
        _ = datasets.load_dataset("optdigits", full.root).test


@pytest.mark.parametrize("rows", [[], [("dense", "NumPy")], [("compacted", "LiteRT"), ("sparse", "ONNX Runtime")]])
def test_a_measurement_without_what_stands_in_the_headline_is_none(full, rows):
    def page(rows):
        from core import runs
        from core.pruning import Sparsity
        from core.sweep import Criterion
        from pages.shared import footprints, networks, size_tables

        (run,) = runs.list_runs()
        network, criterion = networks.load_run(run), Criterion("unit")
        found = footprints.footprint_at(network, criterion, Sparsity(0.5))
        row = {"one_median": 1.0, "one_faster": 2.0}
        record = {"rows": [{"network": name, "runtime": runtime, **row} for name, runtime in rows]}
        size_tables.show_headline(found, network.dense.accuracy, record if rows else None)

    app = AppTest.from_function(page, default_timeout=60, kwargs={"rows": rows}).run()
    assert not app.exception
    assert app.metric[3].value == "–"


def test_a_damaged_record_of_a_model_file_is_none(full):
    subject = Subject(full)
    path = layout.exported(full.folder, subject.kept_name("npz"))
    path.parent.mkdir()
    path.write_bytes(b"file")
    sha256 = "3b9c358f36f0a31b6ad3e14f309c7cf198ac9246e8316f9ce543d5b19ac02b80"
    about = {"parameters": 5, "test_images": 5, "test_accuracy": 0.5}
    record = {"bytes": 4, "sha256": sha256, "dense_bytes": 9, "about": about}

    def found(record):
        layout.export_record(path).write_text(json.dumps(record))
        return find(subject, "npz")

    assert found(record).read() == b"file"
    for wrong in (0, -4, 4.5, "4", None, [], float("nan")):
        for name in ("bytes", "dense_bytes"):
            assert found(record | {name: wrong}) is None
        for name in ("parameters", "test_images"):
            assert found(record | {"about": about | {name: wrong}}) is None
    for wrong in (-0.1, 1.1, "0.5", None, float("nan")):
        assert found(record | {"about": about | {"test_accuracy": wrong}}) is None
    for name in about:
        assert found(record | {"about": {key: value for key, value in about.items() if key != name}}) is None
    assert found(record | {"about": 5}) is None
    assert found(record)
    flip(path)
    assert found(record) is None


def test_a_tiny_network_of_no_bytes_or_impossible_accuracy_is_none(full):
    about = {"most_bytes": 400, "epochs": 1, "weights": 1, "seconds": 1.0, "source": full.version()}
    right = {"seed": 0, "bytes": 4, "val_accuracy": 1.0, "test_accuracy": 0.0}
    for seed, change in enumerate([{}, {"bytes": 0}, {"val_accuracy": 1.1}, {"test_accuracy": -0.1}]):
        made = SmallestFile(**about, **right | {"seed": seed} | change)
        keep_smallest(full, made, bytes(made.bytes))
    (kept,) = smallest_files(full)
    assert kept.seed == 0
    path = layout.smallest_record(layout.smallest(full.folder, kept.name))
    path.with_name("again.json").write_bytes(path.read_bytes())
    assert smallest_files(full) == [kept]
    layout.smallest(full.folder, kept.name).write_bytes(b"cut")
    assert smallest_files(full) == []


def test_what_the_queue_said_is_shown_as_text(cache):
    queue = open_queue()
    queue.add([SPARE])
    said = "**bold** [here](http://evil.example) ![i](http://evil.example/p.png)"
    (queue.folder / "log.txt").write_text(f"It began.\nerror: {said}\n")
    assert queue.problem() == said
    assert frame.plain(said) in [warning.value for warning in open_page("grid").warning]


# Links


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of every cache, with all names that a run may have in it."""
    folder = tmp_path / "outside"
    for name in ("", "histograms", "one", "tiny", SMALL.run_id):
        (folder / name).mkdir(exist_ok=True)
    for name in ("config.json", "state.json", "notes.txt", "histograms/weights-k0.5000.png", layout.CANCEL):
        (folder / name).write_text("precious")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def use_everything(run: runs.Run, row: pd.DataFrame) -> None:
    """Whatever writes into a cache or deletes there, each once; what is refused is refused in a sentence."""
    version, kernels = run.version(), run.kernels()
    key = Criterion("weight", "admm", recovery="repair").key(0.5)
    spare = runs.open_run(SPARE.run_id, run.root)
    queue = open_queue(run.root)

    def write_log() -> None:
        with new_log(layout.asked_log(run.root, run.id)) as file:
            file.write(b"said")

    def train() -> None:
        with write_run(spare, SPARE) as writer:
            writer.commit(test_accuracy=0.5, test_loss=1.0)

    for action in (
        lambda: ask(run, [(Criterion("weight"), [0.5])]),
        lambda: touch(run),
        lambda: note_problem(run, "It failed."),
        lambda: jobs.stop_work(run, jobs.SPEED),
        lambda: run.keep_network(key, kernels, version),
        lambda: run.keep_speed(key, {"rows": []}, version),
        lambda: keep_smallest(run, SmallestFile(400, 1, 0, 4, 1, 0.5, 0.5, 1.0, version), b"tiny"),
        lambda: run.add_to_sweep(row, version, {}),
        lambda: runs.write_notes(run, runs.Notes("name")),
        lambda: archive.archive(run),
        lambda: queue.add([SPARE]),
        queue.entries,
        queue.cancel,
        write_log,
        train,
        spare.delete,
        run.delete,
    ):
        with contextlib.suppress(KnownError, OSError):
            action()
    datasets.load_dataset("optdigits", run.root)
    runs.adopt_example(run.root)


FOLDERS = [".locks", ".queue", ".asked", "datasets", *(SPARE.run_id + end for end in ("", layout.PART, layout.OLD))]
FOLDERS += [f"{SMALL.run_id}/{name}" for name in ("repaired", "speed", "tiny", "exports", "histograms", "more")]
FILES = [".locks/queue", f".locks/{SMALL.run_id}.run", f".locks/{SMALL.run_id}.sweep", f".queue/{SPARE.run_id}.json"]
FILES += [f".asked/{SMALL.run_id}/{name}" for name in ("key.txt", "log.txt", "speed.txt")]
FILES += ["datasets/optdigits.npz", ".example-adopted", f"{SPARE.run_id}{layout.PART}/state.json"]
FILES += [f"{SMALL.run_id}/{name}" for name in ("notes.json", "predictions.npz", "sweep.csv", "tiny/400-e1-s0.tiny")]


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, "") for name in FOLDERS), *((name, to) for name in FILES for to in ("notes.txt", "new.txt"))],
)
def test_nothing_is_written_or_deleted_where_a_link_leads(full, outside, name, target):
    place, row = full.root / name, full.sweep().head(1).assign(seed=7)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(outside / target)
    before = contents(outside)
    use_everything(full, row)
    assert contents(outside) == before


def test_a_training_deletes_nothing_that_a_link_in_its_place_leads_to(full, outside):
    run = runs.open_run(SPARE.run_id)
    run.part.symlink_to(outside, target_is_directory=True)
    before = contents(outside)
    with pytest.raises(KnownError, match="symbolic link"):
        jobs.start_training(run, SPARE)
    assert contents(outside) == before


READS = {
    layout.CONFIG: runs.Run.config,
    layout.NETWORK: runs.Run.layers,
    layout.KERNELS: runs.Run.kernels,
    layout.SWEEP: runs.Run.sweep,
    layout.HISTORY: runs.Run.history,
}


@pytest.mark.parametrize("name", READS)
def test_a_linked_file_of_a_run_is_not_read(full, tmp_path, name):
    (full.folder / name).rename(tmp_path / name)
    (full.folder / name).symlink_to(tmp_path / name)
    with pytest.raises(RunError, match="symbolic link"):
        READS[name](full)


def test_a_linked_run_is_not_read_and_to_delete_it_removes_the_link(full):
    moved = full.root.parent / "moved"
    full.folder.rename(moved)
    full.folder.symlink_to(moved, target_is_directory=True)
    before = contents(moved)
    assert not full.is_complete()
    assert full.size() == 0
    for read in (*READS.values(), runs.Run.activations):
        with pytest.raises(RunError):
            read(full)
    (damaged,) = runs.damaged_runs()
    assert "symbolic link" in damaged.reason
    app = click(click(open_page("runs"), f"delete_damaged_{full.id}"), "delete_confirmed")
    assert "1 run" in app.success[0].value
    assert not os.path.lexists(full.folder)
    assert runs.list_runs() == []
    assert contents(moved) == before


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


def test_no_link_goes_into_an_archive_or_a_report(full, outside):
    (full.folder / "notes.txt").symlink_to(outside / "notes.txt")
    (full.folder / "more").symlink_to(outside, target_is_directory=True)
    (full.folder / "own.txt").write_text("own")
    with zipfile.ZipFile(io.BytesIO(archive.archive(full))) as packed:
        assert b"precious" not in [packed.read(name) for name in packed.namelist()]
        assert f"{full.id}/own.txt" in packed.namelist()
    picture = full.folder / layout.TRAINING_FIGURE
    picture.unlink()
    picture.symlink_to(outside / "notes.txt")
    assert not full.is_drawn()
    with pytest.raises(KnownError, match="has not been drawn"):
        report.report(full)
