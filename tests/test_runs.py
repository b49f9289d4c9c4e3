import errno
import io
import json
import multiprocessing
import os
import shutil
import threading
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from core import files
from core.arrays import DAMAGED, Arrays, open_arrays
from core.config import TrainingConfig
from core.errors import CancelledError, RunBusyError, RunError, RunIdError, RunWriteError
from core.jobs import progress
from core.runs import Phase, Run, RunWriter, TrainingState, layout, list_runs, open_run, runs_table, write_run
from core.runs.layout import SWEEP

CONFIG = TrainingConfig(dataset="optdigits", hidden_units=(4, 3))
KERNELS = [np.full(shape, 0.5, np.float32) for shape in CONFIG.layer_shapes]
DEFAULT = {"method": "weight", "ranking": "magnitude", "scope": "layer", "seed": 0, "recovery": "none"}
COST = {"images": 0, "epochs": 0, "seconds": 0.0}
ROWS = pd.DataFrame([{**DEFAULT, "sparsity": 0.5, "accuracy": 0.25, "loss": 2.0, **COST}])


def fill(training: RunWriter, accuracy: float = 0.5) -> None:
    training.write_history(pd.DataFrame({"epoch": [1], "loss": [1.0], "seconds": [0.1]}))
    training.write_model(lambda path: path.write_bytes(b"model"), KERNELS, KERNELS)
    training.write_sweep(ROWS)
    training.commit(test_accuracy=accuracy, test_loss=1.0)


@pytest.fixture
def run(cache):
    run = open_run("one")
    with write_run(run, CONFIG) as training:
        fill(training)
    return run


def test_a_committed_run_reads_back(run):
    assert run.is_complete()
    assert run.training() is None
    assert run.config() == CONFIG
    assert run.result().test_accuracy == 0.5
    for kernel, kept in zip(run.kernels(), KERNELS, strict=True):
        np.testing.assert_array_equal(kernel, kept)
    pd.testing.assert_frame_equal(run.sweep(), ROWS)


def test_nothing_shows_as_complete_before_the_commit(cache):
    run = open_run("one")
    with write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING, epoch=1)
        assert not run.is_complete()
        assert run.is_training()
        assert list_runs() == [run]
        fill(training)
    assert run.is_complete()


def test_a_failed_replacement_leaves_the_finished_run_as_it_was(run):
    with pytest.raises(ZeroDivisionError), write_run(run, CONFIG) as training:
        training.write_sweep(ROWS.assign(accuracy=0.99))
        raise ZeroDivisionError("oops")
    assert run.result().test_accuracy == 0.5
    assert run.sweep().accuracy.tolist() == [0.25]
    assert (run.training().phase, run.training().message) == (Phase.FAILED, "oops")
    run.discard_training()
    assert run.training() is None
    assert run.is_complete()


def test_a_replacement_takes_over_whole(run):
    with write_run(run, CONFIG) as training:
        fill(training, accuracy=0.75)
    assert run.result().test_accuracy == 0.75
    assert [path.name for path in run.root.iterdir() if path.name != ".locks"] == ["one"]


def test_a_replacement_cut_off_between_its_renames_is_undone(run):
    run.folder.rename(run.root / "one.old")
    assert open_run("one").result().test_accuracy == 0.5
    run.folder.rename(run.root / "one.old")
    assert [found.id for found in list_runs()] == ["one"]


def test_cancelling_stops_at_the_next_report(cache):
    run = open_run("one")
    with pytest.raises(CancelledError), write_run(run, CONFIG) as training:
        run.request_cancel()
        training.update(Phase.TRAINING)
    assert run.training().phase == "cancelled"
    with write_run(run, CONFIG) as training:
        fill(training)
    assert run.is_complete()


def die_while_training(root) -> None:
    run = open_run("one", root)
    with write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING, epoch=7)
        threading.Event().wait(60)


def test_a_killed_process_shows_as_interrupted_and_can_be_trained_again(cache):
    process = multiprocessing.get_context("spawn").Process(target=die_while_training, args=(cache,))
    process.start()
    run = open_run("one")
    deadline = time.monotonic() + 30
    while (not run.training() or run.training().epoch != 7) and time.monotonic() < deadline:
        assert process.is_alive()
    assert run.is_training()
    with pytest.raises(RunBusyError, match="another process"), write_run(run, CONFIG):
        pass
    with pytest.raises(RunBusyError):
        run.delete()
    process.kill()
    process.join()
    assert run.training().phase == "interrupted"
    assert run.training().epoch == 7
    with write_run(run, CONFIG) as training:
        fill(training)
    assert run.training() is None


@pytest.mark.parametrize("damage", ["truncated", "missing", "other shapes"])
def test_damaged_kernels_are_named_with_a_way_out(run, damage):
    path = run.folder / layout.KERNELS
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "missing":
        path.unlink()
    else:
        np.savez(path, kernel_0=KERNELS[0])
    with pytest.raises(RunError, match="Retrain the run"):
        run.kernels()


def test_a_pickle_is_never_opened(run):
    np.savez(run.folder / layout.KERNELS, kernel_0=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        run.kernels()


def test_scores_are_added_and_replaced(run):
    more = pd.DataFrame([{**DEFAULT, "sparsity": k, "accuracy": k, "loss": 3.0} for k in (0.9, 0.5)])
    assert run.sweep().accuracy.tolist() == [0.25]
    assert run.add_to_sweep(more, run.identity())
    assert run.sweep().sparsity.tolist() == [0.5, 0.9]
    assert run.sweep().accuracy.tolist() == [0.5, 0.9]
    assert run.sweep().loss.tolist() == [3.0, 3.0]


def test_of_scores_that_many_write_at_once_none_is_lost(run):
    together = threading.Barrier(8)

    def write(writer: int) -> None:
        together.wait(30)
        for step in range(4):
            k = (1 + 4 * writer + step) / 100
            run.add_to_sweep(ROWS.assign(sparsity=k, accuracy=k), run.identity())

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert run.sweep().sparsity.tolist() == [*(percent / 100 for percent in range(1, 33)), 0.5]
    assert run.sweep().accuracy.tolist() == [*(percent / 100 for percent in range(1, 33)), 0.25]


@pytest.mark.parametrize("what", ["sweep", "notes"])
def test_a_run_is_not_replaced_while_its_scores_or_notes_are_being_written(run, monkeypatch, what):
    """Without a wait: whoever asks for the lock is told at once that it is taken."""
    patient = Run.lock
    monkeypatch.setattr(Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    identity = run.identity()
    with run.lock(what), pytest.raises(RunError, match="being trained or changed"), write_run(run, CONFIG) as training:
        fill(training, accuracy=0.75)
    assert (run.identity(), run.result().test_accuracy) == (identity, 0.5)


def test_a_repaired_network_is_not_kept_while_a_run_is_being_replaced(run, monkeypatch):
    patient = Run.lock
    monkeypatch.setattr(Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    with run.lock("sweep"), pytest.raises(RunBusyError):
        run.keep_network("weight,admm,layer,0,repair,0.5", KERNELS, run.identity())
    assert run.network("weight,admm,layer,0,repair,0.5") is None
    run.keep_network("weight,admm,layer,0,repair,0.5", KERNELS, run.identity())
    for kernel, kept in zip(run.network("weight,admm,layer,0,repair,0.5"), KERNELS, strict=True):
        np.testing.assert_array_equal(kernel, kept)


def test_scores_of_an_earlier_network_are_never_added_to_a_later_one(run):
    run.add_to_sweep(ROWS.assign(sparsity=0.9), identity="2020-01-01T00:00:00+00:00")
    assert run.sweep().sparsity.tolist() == [0.5]


def test_deleting_leaves_nothing(run):
    run.delete()
    assert not run.is_complete()
    assert list_runs() == []
    with pytest.raises(RunError, match="no run one"):
        run.config()


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "", ".", "..", ".hidden", "datasets", "x.part", "x.old", "a" * 101, "ü"]
)
def test_names_that_are_no_folder_are_refused(cache, name):
    with pytest.raises(RunIdError, match="Received"):
        open_run(name)


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = open_run("one", tmp_path / "file" / "cache")
    with (
        pytest.raises(RunError, match=r"Cannot write to .* Something else lies there in the place of"),
        write_run(run, CONFIG),
    ):
        pass


def test_whoever_has_a_file_open_goes_on_reading_what_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old " * 100_000)
    # Without a buffer, which would hold the whole file already.
    with path.open("rb", buffering=0) as reader:
        begun = reader.read(10)
        files.write_text(path, "new")
        assert begun + reader.read() == b"old " * 100_000
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []

    def fsync(handle: int) -> None:
        (beside,) = [entry for entry in tmp_path.iterdir() if entry != path]
        seen.append((path.read_text(), beside.read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_text(path, "new")
    assert seen == [("old", "new")]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_file_that_becomes_something_else_while_it_is_opened_is_refused(tmp_path, monkeypatch, kind):
    """It is looked at, then opened: whoever puts a pipe there in between makes nobody wait, a link leads nowhere."""
    path, look = tmp_path / "file", files._hold_regular
    path.write_text("own")
    (tmp_path / "other").write_text("precious")

    def looked(*arguments):
        monkeypatch.setattr(files, "_hold_regular", look)
        look(*arguments)
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.symlink_to(tmp_path / "other")

    monkeypatch.setattr(files, "_hold_regular", looked)
    opened = os.listdir("/dev/fd")
    with pytest.raises(OSError, match="is not a file" if kind == "pipe" else "symbolic links"):
        files.open_own(path, 100)
    assert os.listdir("/dev/fd") == opened


def test_whoever_shares_a_cache_may_read_what_is_written_and_nothing_else(tmp_path):
    files.write_text(tmp_path / "file", "Größe")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "file").read_bytes() == "Größe".encode()


def test_of_what_a_process_said_the_end_is_read_and_all_of_it_if_it_said_little(tmp_path):
    path = tmp_path / "log.txt"
    for said in (b"", b"x", b"first\nlast", b"\xff" + "Größe".encode()):
        path.write_bytes(said)
        assert files.read_log(path) == files.read_text(path) == said.decode(errors="replace")
    end = b"the end ".rjust(files.MOST_TEXT, b".")
    for before in (b"", b"a", b"much" * 1000):
        path.write_bytes(before + end)
        assert files.read_log(path) == end.decode()


def test_files_that_go_while_they_are_listed_are_passed_over(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        (tmp_path / "folder" / f"{name}.txt").write_text(name)
        (tmp_path / "folder" / name / "deeper.txt").write_text("deeper")
    found = files.own_files(tmp_path / "folder")
    first, size = next(found)
    assert size == first.stat().st_size
    shutil.rmtree(tmp_path / "folder")
    assert list(found) == []


def test_what_the_system_says_becomes_a_sentence_with_a_way_out(tmp_path):
    elsewhere = "choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)."
    for code, way_out in {
        errno.ENOSPC: f"Free some space, or {elsewhere}",
        errno.EDQUOT: f"Free some space, or {elsewhere}",
        errno.EACCES: f"Correct the permissions, or {elsewhere}",
        errno.EROFS: f"It can only be read: {elsewhere}",
        errno.EIO: f"Free some space or correct the permissions, or {elsewhere}",
    }.items():
        with pytest.raises(RunWriteError) as failure, files.clear_errors("write to x"):
            raise OSError(code, "It says so")
        assert str(failure.value) == f"Cannot write to x: It says so. {way_out}"
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_text("four")
    for read, what, way_out in (
        (lambda: files.read_text(tmp_path / "link"), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.make_folder(tmp_path / "link" / "a" / "b"), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.read_text(tmp_path / "folder"), "folder is not a file.", "Something else lies there"),
        (lambda: files.lock_at(tmp_path / "folder"), "folder is not a file.", "Something else lies there"),
        (lambda: files.make_folder(tmp_path / "file"), "File exists.", "Something else lies there"),
        (lambda: files.read_text(tmp_path / "file", 3), "file has 4 bytes; expected at most 3.", ""),
    ):
        with pytest.raises(RunWriteError) as failure, files.clear_errors("do it"):
            read()
        place = "" if what == "File exists." else f"{tmp_path}/"
        assert str(failure.value).startswith(f"Cannot do it: {place}{what} {way_out}")


def test_a_lock_is_held_while_somebody_holds_it_and_never_if_it_can_be_none(tmp_path):
    path = tmp_path / "locks" / "one"
    assert not files.is_held(path)
    assert not path.parent.exists()
    with files.lock_at(path):
        assert files.is_held(path)
    assert not files.is_held(path)
    os.mkfifo(path.with_name("two"))
    assert not files.is_held(path.with_name("two"))


ARRAYS = {
    "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "one": np.array(7, np.uint8),
    "none": np.zeros((0, 4)),
    "words": np.array(["a", "Größe"]),
    "text": np.array("a text without dimensions"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_out_of_a_file_as_they_went_in(tmp_path, save):
    save(tmp_path / "file.npz", **ARRAYS)
    arrays = open_arrays(tmp_path / "file.npz", sum(array.nbytes for array in ARRAYS.values()), len(ARRAYS))
    assert list(arrays) == list(ARRAYS)
    assert len(arrays) == len(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays.kind(name) == (array.shape, array.dtype)
    with pytest.raises(KeyError):
        arrays["other"]


def packed(content: bytes, method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as members:
        members.writestr("kernel.npy", content)
    return file


@pytest.fixture
def member():
    """An array as it lies in a file, in the second version of NumPy's format."""
    content = io.BytesIO()
    np.lib.format.write_array(content, ARRAYS["kernel"], version=(2, 0))
    return content.getvalue()


def test_arrays_are_read_up_to_the_bytes_that_they_may_have(member):
    np.testing.assert_array_equal(Arrays(packed(member), len(member))["kernel"], ARRAYS["kernel"])
    with pytest.raises(ValueError, match=f"its arrays have {len(member)} bytes; expected at most {len(member) - 1}"):
        Arrays(packed(member), len(member) - 1)
    with pytest.raises(ValueError, match="compressed in an unknown way"):
        Arrays(packed(member, zipfile.ZIP_BZIP2), len(member))


@pytest.mark.parametrize(
    ("said", "instead", "why"),
    [
        (b"(2, 3)", b"(2, 4)", "kernel says that its shape is"),
        (b"(2, 3)", b"(2, 2)", "kernel says that its shape is"),
        (b"(2, 3)", b"(-2,-3)", "kernel says that its shape is"),
        (b"<f4", b"|O4", "kernel does not hold numbers or text"),
        (b"<f4", b"<U0", "kernel does not hold numbers or text"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(member, said, instead, why):
    # One space less fills the place of what is longer.
    damaged = member.replace(said, instead, 1).replace(b" " * (len(instead) - len(said)) + b"\n", b"\n", 1)
    assert len(damaged) == len(member)
    with pytest.raises(ValueError, match=why):
        Arrays(packed(damaged), len(damaged)).kind("kernel")


def test_a_file_of_arrays_that_is_missing_or_empty_is_damaged(tmp_path):
    (tmp_path / "nothing.npz").write_bytes(b"")
    for name in ("nothing.npz", "nowhere.npz"):
        with pytest.raises(DAMAGED):
            open_arrays(tmp_path / name, 10**6, 1)


def test_a_disk_that_fills_up_fails_the_training_in_words(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"), write_run(run, CONFIG) as training:
        training.write_model(full, KERNELS, KERNELS)
    assert "No space left" in run.training().message
    assert run.is_complete()


def test_the_table_lists_every_run_without_opening_models(run):
    for index in range(1000):
        shutil.copytree(run.folder, run.root / f"copy-{index}")
        (run.root / f"copy-{index}" / layout.MODEL).unlink()
        (run.root / f"copy-{index}" / layout.KERNELS).unlink()
    (run.root / "broken").mkdir()
    (run.root / "broken" / layout.CONFIG).write_text("{")
    table = runs_table()
    assert len(table) == 1001
    assert set(table.status) == {"complete"}
    assert table.test_accuracy.eq(0.5).all()


def test_the_newest_run_comes_first_and_what_is_not_complete_before_it(run):
    for name, day in (("a", 1), ("b", 3), ("c", 2), ("d", 3)):
        shutil.copytree(run.folder, run.root / name)
        state = json.loads((run.root / name / layout.STATE).read_text())
        state["finished"] = f"2020-01-0{day}T00:00:00.000+00:00"
        (run.root / name / layout.STATE).write_text(json.dumps(state))
    with pytest.raises(ZeroDivisionError), write_run(open_run("z"), CONFIG):
        raise ZeroDivisionError
    assert runs_table().run.tolist() == ["z", "one", "b", "d", "c", "a"]


def test_an_empty_or_missing_cache_lists_nothing(tmp_path):
    assert runs_table(tmp_path / "nowhere").empty


def test_progress_counts_epochs_and_batches():
    history = pd.DataFrame({"seconds": [2.0, 4.0]})
    half = progress(TrainingState(Phase.TRAINING, epoch=3, epochs=4, batch=5, batches=10), history)
    assert half.fraction == pytest.approx(2.5 / 4)
    assert half.seconds_left == pytest.approx(1.5 * 3)
    assert progress(TrainingState(Phase.LOADING, epochs=4), pd.DataFrame()).fraction == 0
    assert progress(TrainingState(Phase.SCORING, epochs=4), history).fraction == 1


def test_state_is_plain_json(run):
    assert json.loads((run.folder / layout.STATE).read_text())["phase"] == "complete"


def test_a_training_is_not_taken_for_a_run_before_it_is_in_its_place(run):
    """The state says "complete" a moment before the rename; a process killed there leaves it behind."""
    part = run.root / "two.part"
    shutil.copytree(run.folder, part)
    two = open_run("two")
    assert two.training().phase == "interrupted"
    assert dict(zip(runs_table().run, runs_table().status, strict=True)) == {"one": "complete", "two": "interrupted"}


def test_a_folder_without_a_state_is_passed_over(run):
    (run.root / "two.part").mkdir()
    shutil.copy(run.folder / layout.CONFIG, run.root / "two.part")
    assert runs_table().run.tolist() == ["one"]


def test_damaged_scores_are_told_from_a_damaged_network(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / trained_run.id)
    run = open_run(trained_run.id, tmp_path)
    path = run.folder / SWEEP
    lines = path.read_text().splitlines()
    for damaged in ("", '"', "a,b\n1,2", "\n".join([lines[0], lines[1].replace(",0.", ",abc")])):
        path.write_text(damaged)
        with pytest.raises(RunError, match="Delete that file"):
            run.sweep()
