import ast
import contextlib
import datetime
import errno
import gc
import io
import json
import multiprocessing
import os
import shutil
import socket
import sys
import threading
import time
import zipfile
from concurrent import futures

import numpy as np
import pandas as pd
import pytest

from core import files
from core.arrays import DAMAGED, Arrays, open_arrays
from core.config import TrainingConfig
from core.errors import CancelledError, NotAllowedError, RunBusyError, RunError, RunIdError, RunWriteError
from core.jobs import progress
from core.runs import (
    Phase,
    Result,
    Run,
    RunWriter,
    TinyFile,
    TrainingState,
    damage,
    keep_tiny,
    layout,
    list_runs,
    open_run,
    runs_table,
    write_run,
)
from core.runs.checkpoint import Checkpoint, last_epoch, read_checkpoint, write_checkpoint
from core.runs.formats import MOST_ROWS, read_sweep, read_table
from core.runs.layout import SWEEP
from core.runs.predictions import read_predictions, write_predictions
from core.runs.records import parse_record, read_result, read_speed, read_training
from core.settings import PROJECT

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
    with run.lock():
        # Whoever is replacing it is between the two.
        assert not open_run("one").is_complete()
    assert [found.id for found in list_runs()] == ["one"]
    assert run.is_complete()


def test_cancelling_stops_at_the_next_report(cache):
    run = open_run("one")
    with pytest.raises(CancelledError), write_run(run, CONFIG) as training:
        run.request_cancel()
        training.update(Phase.TRAINING)
    assert run.training().phase == "cancelled"
    with write_run(run, CONFIG) as training:
        fill(training)
    assert run.is_complete()


@pytest.mark.parametrize(
    ("error", "phase"), [(KeyboardInterrupt(), Phase.CANCELLED), (ValueError("No."), Phase.FAILED)]
)
def test_a_training_that_ends_early_still_says_where_it_was(cache, error, phase):
    run = open_run("one")
    with contextlib.suppress(KeyboardInterrupt, ValueError), write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING, epoch=7, epochs=9)
        raise error
    state = run.training()
    assert (state.phase, state.epoch, state.epochs, state.pid) == (phase, 7, 9, os.getpid())


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


def test_nothing_is_kept_with_a_run_while_it_is_being_replaced(run, monkeypatch):
    """Or it would lie beside a network that it was not made of."""
    patient = Run.lock
    monkeypatch.setattr(Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    about = {"most_bytes": 1, "epochs": 1, "seed": 0, "bytes": 1, "weights": 1}
    made = TinyFile(**about, val_accuracy=0, test_accuracy=0, seconds=0, source=run.identity())
    before = sorted(run.folder.rglob("*"))
    for keep in (
        lambda: run.keep_network("weight,admm,layer,0,repair,0.5", KERNELS, run.identity()),
        lambda: run.keep_speed("weight,magnitude,layer,0,0.5", {}, run.identity()),
        lambda: run.add_to_sweep(ROWS.assign(sparsity=0.9), run.identity()),
        lambda: keep_tiny(run, made, b"T"),
    ):
        with run.lock("sweep"), pytest.raises(RunBusyError):
            keep()
        assert sorted(run.folder.rglob("*")) == before
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
    with pytest.raises(OSError, match="is not a file" if kind == "pipe" else "symbolic links"):
        files.open_own(path, 100)


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
        errno.EFBIG: "Move away what is larger than a file can be here, or allow larger ones, and try again.",
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


def test_threads_may_read_arrays_at_a_time(member):
    """Python before 3.11.8 and 3.12.2 fails where one thread parses while another does. Here the search for garbage
    interrupts the one, and lets the other read until it has, or waits for the first."""

    def read():
        return Arrays(packed(member), len(member))["kernel"].shape

    def interrupt(*_):
        if sys._getframe(1).f_code is ast.parse.__code__ and not others:
            others.append(thread.submit(read))
            futures.wait(others, timeout=0.2)

    others = []
    normally = gc.get_threshold()
    gc.set_threshold(1)
    gc.callbacks.append(interrupt)
    try:
        with futures.ThreadPoolExecutor(1) as thread:
            assert read() == (2, 3)
            assert all(other.result() == (2, 3) for other in others)
    finally:
        gc.callbacks.remove(interrupt)
        gc.set_threshold(*normally)


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


@pytest.mark.parametrize(
    ("state", "seconds", "fraction", "left"),
    [
        # The pace is that of the last three epochs.
        ({"epoch": 5, "epochs": 8, "batch": 1, "batches": 4}, [100.0, 2.0, 4.0, 6.0], 4.25 / 8, 3.75 * 4),
        # An epoch whose row is written, and the next not yet begun.
        ({"epoch": 2, "epochs": 4, "batch": 1, "batches": 4}, [2.0, 2.0], 0.5, 4.0),
        ({"epoch": 1, "epochs": 1, "batch": 0, "batches": 0}, [], 0.0, None),
        ({"epoch": 1, "epochs": 1, "batch": 3, "batches": 4}, [], 0.75, None),
        ({"epoch": 3, "epochs": 0}, [1.0], 0.0, None),
    ],
)
def test_the_time_left_is_that_of_the_epochs_to_come(state, seconds, fraction, left):
    found = progress(TrainingState(Phase.TRAINING, **state), pd.DataFrame({"seconds": seconds}, dtype=float))
    assert (found.fraction, found.seconds_left) == (fraction, left)


def test_a_training_says_who_is_at_it_and_why_it_ended(cache):
    run = open_run("one")
    with pytest.raises(ZeroDivisionError), write_run(run, CONFIG) as training:
        state = run.training()
        assert (state.phase, state.pid, state.host) == (Phase.STARTING, os.getpid(), socket.gethostname())
        assert state.started <= state.updated
        assert datetime.datetime.fromisoformat(state.started).utcoffset() == datetime.timedelta(0)
        training.update(Phase.SCORING, scored=2, to_score=3)
        assert (run.training().scored, run.training().to_score) == (2, 3)
        assert run.training().updated >= state.updated
        assert json.loads((run.part / layout.CONFIG).read_text()) == CONFIG.to_dict()
        raise ZeroDivisionError
    assert (run.training().phase, run.training().message) == (Phase.FAILED, "ZeroDivisionError")
    with pytest.raises(KeyboardInterrupt), write_run(run, CONFIG):
        raise KeyboardInterrupt
    assert (run.training().phase, run.training().message) == (Phase.CANCELLED, "")


def history_of(epochs):
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    return pd.DataFrame({"epoch": range(1, epochs + 1)}).assign(**dict.fromkeys(names, 0.5))


def test_to_forget_how_a_training_ended_keeps_what_another_goes_on_from(cache):
    run = open_run("one")
    with pytest.raises(CancelledError), write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING)
        training.keep(Checkpoint(history_of(3), KERNELS, []), {"a": 1})
        run.request_cancel()
        training.update(Phase.TRAINING)
    (run.part / layout.LOG).write_text("It said so.")
    assert run.log() == "It said so."
    run.forget_training()
    run.forget_training()
    assert run.training() is None
    assert run.kept_epochs() == 3
    with write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING)  # nobody asks it to stop any more
        assert run.log() == "It said so."
        assert training.kept({"a": 2}, 1) is None
        assert training.kept({"a": 1}, 1).epoch == 3
        fill(training)
    assert (run.log(), run.kept_epochs()) == ("", 0)
    assert not (run.folder / layout.CHECKPOINT).exists()
    assert not (run.folder / layout.LOG).exists()


def test_versions_change_with_what_they_are_of(run):
    key, other = "weight,admm,layer,0,repair,0.5", "unit,admm,layer,0,repair,0.5"
    before = run.sweep_version()
    assert before > 0
    assert (run.network_version(key), run.network_version(), run.speed_version()) == (0, 0, 0)
    run.keep_network(key, KERNELS, run.identity())
    run.keep_speed(key, {"rows": []}, run.identity())
    assert run.network_version(key) == layout.repaired(run.folder, key).stat().st_mtime_ns
    assert run.network_version(other) == 0
    assert run.network_version() == (run.folder / layout.REPAIRED).stat().st_mtime_ns
    assert run.speed_version() == (run.folder / layout.SPEED).stat().st_mtime_ns
    os.utime(run.folder / layout.SWEEP, ns=(1, 2))
    assert run.sweep_version() == 2
    run.delete()
    assert (run.sweep_version(), run.network_version(key), run.speed_version()) == (0, 0, 0)


def test_predictions_are_added_to_those_that_are_known(run):
    images = CONFIG.spec.test_size
    first, second, third = (np.full(images, label, np.uint8) for label in (1, 2, 3))
    for added in ({"a": first, "b": first}, {"b": second, "c": third}, None):
        assert run.add_to_sweep(ROWS, run.identity(), added)
    assert {key: set(row.tolist()) for key, row in run.predictions().items()} == {"a": {1}, "b": {2}, "c": {3}}


def test_each_run_is_held_for_each_purpose_by_itself(run, monkeypatch):
    with run.lock("repair"):
        assert run.is_busy("repair")
        assert not run.is_busy()
        assert not open_run("two").is_busy("repair")
        with open_run("two").lock("repair"), run.lock():
            pass
        with pytest.raises(RunBusyError, match="Run one is being trained or changed"), run.lock("repair", timeout=0):
            pass
    monkeypatch.setenv("NETWORK_PRUNING_READ_ONLY", "1")
    for what in ("sweep", "curve", "repair"):
        with run.lock(what):
            assert run.is_busy(what)
    for what in ("run", "notes", "speed", "pictures"):
        with pytest.raises(NotAllowedError, match="Cannot change run one"), run.lock(what):
            pass


def test_how_fast_a_network_is_is_not_kept_while_a_run_is_being_replaced(run, monkeypatch):
    patient = Run.lock
    monkeypatch.setattr(Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    with run.lock("sweep"), pytest.raises(RunBusyError):
        run.keep_speed("weight,magnitude,layer,0,0.5", {}, run.identity())
    assert run.speed_version() == 0


def test_what_a_killed_delete_leaves_says_whose_it_was(run, monkeypatch):
    def killed(path):
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr("core.runs.run.remove", killed)
    with pytest.raises(KeyboardInterrupt):
        run.delete()
    assert list_runs() == []
    assert [run_id for _, run_id in layout.all_trash(run.root)] == ["one"]


def test_every_column_of_a_history_is_needed(run):
    names = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    whole = pd.DataFrame({name: [0.5, 1.5] for name in names})
    path = run.folder / layout.HISTORY
    whole.to_csv(path, index=False)
    pd.testing.assert_frame_equal(run.history(), whole)
    for name in names:
        whole.drop(columns=name).to_csv(path, index=False)
        with pytest.raises(RunError, match=f"it has no column {name} of numbers"):
            run.history()
    for name in ("epoch", "seconds"):
        whole.assign(**{name: np.inf}).to_csv(path, index=False)
        with pytest.raises(RunError, match="it holds epochs that are not a number"):
            run.history()
    path.unlink()
    with pytest.raises(RunError, match="is missing or empty"):
        run.history()
    assert run.history(of_training=True).empty


def test_a_configuration_that_cannot_be_read_says_why(run):
    path = run.folder / layout.CONFIG
    for change, why in (
        (lambda: path.write_text("[]"), "is damaged (it is not a JSON object)"),
        (path.unlink, "is not there"),
        (path.mkdir, f"cannot be read ({path} is not a file)"),
    ):
        change()
        with pytest.raises(RunError) as failure:
            run.config()
        assert str(failure.value) == (
            f"There is no run one in {run.root} that can be read: its config.json {why}. "
            "Train it, or choose another run."
        )


def test_activations_come_back(cache):
    run, means = open_run("one"), [np.full(inputs, 0.25, np.float32) for inputs, _ in CONFIG.layer_shapes]
    with write_run(run, CONFIG) as training:
        training.write_model(lambda path: path.write_bytes(b"model"), KERNELS, means)
        training.write_sweep(ROWS, {"a": np.zeros(CONFIG.spec.test_size, np.uint8)})
        training.commit(test_accuracy=0.5, test_loss=1.0)
    for one, other in zip(run.activations(), means, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [*run.predictions()] == ["a"]


def test_a_run_has_no_more_scores_than_a_table_may_have(run, monkeypatch):
    monkeypatch.setattr("core.runs.run.MOST_ROWS", 2)
    assert run.add_to_sweep(ROWS.assign(sparsity=0.1), run.identity())
    with pytest.raises(RunError, match=r"would have 3 scores. Expected at most 2. Delete .*sweep.csv to begin anew"):
        run.add_to_sweep(ROWS.assign(sparsity=0.2), run.identity())
    assert run.sweep().sparsity.tolist() == [0.1, 0.5]
    assert not run.is_still(None)


def test_every_column_of_the_table_says_what_is_so(run):
    with pytest.raises(ZeroDivisionError), write_run(open_run("two"), CONFIG):
        raise ZeroDivisionError
    failed, complete = runs_table().to_dict("records")
    known = {name: complete[name] for name in ("dataset", "hidden_units", "epochs", "seed", "keep_best")}
    assert known == {"dataset": "optdigits", "hidden_units": [4, 3], "epochs": 20, "seed": 0, "keep_best": True}
    said = ("run", "status", "parent", "trained_on", "test_accuracy", "test_loss", "size", "name", "note")
    size = sum(path.stat().st_size for path in run.folder.iterdir())
    assert [complete[name] for name in said] == ["one", "complete", "none", "none", 0.5, 1.0, size, "", ""]
    assert complete["finished"] == pd.Timestamp(run.result().finished)
    assert [failed[name] for name in said[:4]] == ["two", "failed", "none", "none"]
    assert all(pd.isna(failed[name]) for name in ("test_accuracy", "test_loss", "finished"))
    with write_run(open_run("two"), CONFIG) as training:
        assert runs_table().status.tolist() == ["training", "complete"]
        training.discard()


def test_why_a_run_cannot_be_read_is_said_by_the_first_file_that_is_wrong(run):
    state, config = (run.folder / name for name in (layout.STATE, layout.CONFIG))
    said = state.read_text()
    assert damage(run) is None
    for change, reason in (
        (lambda: state.write_text(json.dumps(json.loads(said) | {"test_loss": -1})), "one/state.json is damaged: test"),
        (state.unlink, "one has no state.json."),
        (state.mkdir, "one/state.json cannot be read: "),
        (lambda: config.write_text("[]"), "one/config.json is damaged: it is not a JSON object."),
        (config.unlink, "one has no config.json."),
        (lambda: shutil.move(run.folder, run.part), "one.part has no config.json."),
        (lambda: (shutil.rmtree(run.part), run.part.write_text("")), "one.part is not a folder."),
    ):
        change()
        assert damage(run).startswith(reason)
    with run.lock():
        assert damage(run) == "one.part is not a folder."
    run.part.unlink()
    assert damage(run) is None


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


RESULT = {"finished": "2026-01-02T03:04:05.678+00:00", "test_accuracy": 0.5, "test_loss": 1.5}


@pytest.mark.parametrize(
    "values",
    [
        {"test_accuracy": 0, "test_loss": 0},
        {"test_accuracy": 1},
        {"finished": "1970-01-01T00:00:00+00:00"},
        {"finished": "2199-12-31T00:00:00+00:00"},
        {"kept_epoch": 0, "training_seconds": 10**12, "repair_images": 10**12},
        {"versions": {"keras": "3"}, "machine": "x" * 10_000, "parent_identity": "y", "later": [1]},
    ],
)
def test_a_record_says_what_is_written_up_to_the_last_value_that_can_be(tmp_path, values):
    (tmp_path / "state.json").write_text(json.dumps(RESULT | values))
    values.pop("later", None)
    assert read_result(tmp_path / "state.json") == Result(**RESULT | values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"test_accuracy": 1.01}, "test_accuracy is 1.01, test_loss 1.5"),
        ({"test_accuracy": -0.01}, "test_accuracy is -0.01, test_loss 1.5"),
        ({"test_loss": -0.01}, "test_accuracy is 0.5, test_loss -0.01"),
        ({"finished": "1969-12-31T00:00:00+00:00"}, "it finished in the year 1969"),
        ({"finished": "2200-01-01T00:00:00+00:00"}, "it finished in the year 2200"),
        ({"kept_epoch": -1}, "kept_epoch is not what it can be: -1"),
        ({"kept_epoch": True}, "kept_epoch is not what it can be: True"),
        ({"kept_epoch": 1.5}, "kept_epoch is not what it can be: 1.5"),
        ({"repair_images": 10**12 + 1}, f"repair_images is not what it can be: {10**12 + 1}"),
        ({"training_seconds": -2e12}, "training_seconds is not what it can be: -2000000000000.0"),
        ({"machine": ["x"]}, "machine is not what it can be: a list"),
        ({"machine": None}, "machine is not what it can be: a NoneType"),
        ({"versions": {"keras": 3}}, "versions is not what it can be: a dict"),
        ({"test_loss": "x" * 200}, f"test_loss is not what it can be: '{'x' * 99}"),
    ],
)
def test_a_record_of_what_cannot_be_says_why(tmp_path, values, why):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(RESULT | values))
    with pytest.raises(ValueError) as failure:  # noqa: PT011
        parse_record(Result, path)
    assert str(failure.value) == why
    assert read_result(path) is None
    path.write_text(json.dumps({name: value for name, value in RESULT.items() if name != "test_loss"}))
    with pytest.raises(ValueError, match="it does not say test_loss"):
        parse_record(Result, path)


def test_of_a_text_without_end_the_beginning_is_read(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"phase": "failed", "message": "x" * 10_001, "pid": 7}))
    assert read_training(tmp_path / "state.json") == TrainingState(Phase.FAILED, message="x" * 10_000, pid=7)
    # Of what it does not say, nothing is known.
    rest = {name: value for name, value in vars(TrainingState(Phase.FAILED)).items() if name != "phase"}
    assert set(rest.values()) == {"", 0}


def test_half_a_character_is_left_out_and_the_others_stay(tmp_path):
    (tmp_path / "state.json").write_text('{"phase": "failed", "message": "a\\uD800\\u00e4", "note": "ö"}')
    assert read_training(tmp_path / "state.json") == TrainingState(Phase.FAILED, message="aä", note="ö")


def test_a_measurement_of_speed_that_lacks_anything_is_none(tmp_path):
    path = tmp_path / "speed.json"
    times = {f"{how}_{what}": 0.5 for how in ("one", "many") for what in ("median", "q1", "q3", "faster")}
    row = {"network": "compacted", "runtime": "numpy", **times}
    record = {"source": "s", "measured": "2026-01-02T03:04:05+00:00", "machine": "x", "versions": {"numpy": "2"}}
    record |= {"threads": 1, "images": 2, "batch": 3, "rows": [row, row | {"one_median": 1}]}
    path.write_text(json.dumps(record))
    assert read_speed(path) == record
    wrong = [record | {"rows": rows} for rows in ([], [7], {}, [row, row | {"network": 7}])]
    wrong += [{key: value for key, value in record.items() if key != name} for name in record]
    wrong += [record | {name: [7]} for name in record if name != "rows"]
    wrong += [record | {"measured": "[x](//evil.io)"}]
    wrong += [
        record | {"rows": [row | {name: text}]}
        for name in ("network", "runtime")
        for text in ("[x](//evil.io)", "<b>x", "www.evil.io", "", "x" * 41)
    ]
    for name in row:
        lacking = {key: value for key, value in row.items() if key != name}
        wrong += [record | {"rows": [row, lacking]}, record | {"rows": [row, row | {name: 0}]}]
    for each in wrong:
        path.write_text(json.dumps(each))
        assert read_speed(path) is None, each


def test_a_checkpoint_comes_back_whole_for_the_same_origin_and_no_other(tmp_path):
    path, origin = tmp_path / "checkpoint.npy", {"seed": 1, "widths": (3, 4)}
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in ((300, 400), (400,), (2, 5), (7,), ())]
    history = history_of(2).assign(loss=[0.1, 1 / 3], seconds=[2.0, np.pi])
    masks = (arrays[0] > 0, arrays[2] > 0)
    assert read_checkpoint(path, origin, 1) is None
    assert last_epoch(path) == 0
    for written in (
        Checkpoint(history, arrays[:2], arrays[2:], 0.75, arrays[3:4], masks, 9),
        Checkpoint(history, arrays, arrays),
    ):
        write_checkpoint(path, written, origin)
        assert path.stat().st_size > 2**18
        kept = read_checkpoint(path, origin, 1)
        pd.testing.assert_frame_equal(kept.history, history, check_exact=True)
        assert (kept.epoch, last_epoch(path)) == (2, 2)
        assert (kept.best_accuracy, kept.step) == (written.best_accuracy, written.step)
        assert (kept.best is None) == (written.best is None)
        for group in ("weights", "optimizer", "best", "masks"):
            for one, other in zip(getattr(kept, group) or (), getattr(written, group) or (), strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
    assert (kept.best_accuracy, kept.step, kept.masks) == (-1, 0, ())
    assert read_checkpoint(path, origin | {"seed": 2}, 1) is None


def test_a_checkpoint_may_be_as_large_as_its_network_makes_it(tmp_path):
    path = tmp_path / "checkpoint.npy"
    write_checkpoint(path, Checkpoint(history_of(1), [np.zeros(2_500_000, np.float32)], []), {})
    assert read_checkpoint(path, {}, 150_000) is not None
    with pytest.raises(RunError, match=r"is damaged: .* expected at most"):
        read_checkpoint(path, {}, 50_000)


@pytest.mark.parametrize("content", [b"", b"x" * 32, b"x" * 33, b"\x93NUMPY\x01\x00"])
def test_what_is_no_checkpoint_is_damaged_and_was_written_after_no_epoch(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert last_epoch(tmp_path / "file") == 0
    with pytest.raises(RunError, match="its checksum is wrong"):
        read_checkpoint(tmp_path / "file", {}, 1)


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.array(7), np.array(["{}"]), np.array('{"epoch": "x"}'), np.array("[]"), np.array("{}")]
)
def test_an_array_that_says_no_epoch_was_written_after_none(tmp_path, array):
    np.save(tmp_path / "file.npy", array)
    assert last_epoch(tmp_path / "file.npy") == 0
    np.save(tmp_path / "file.npy", np.array('{"epoch": 3}'))
    assert last_epoch(tmp_path / "file.npy") == 3


def test_a_table_may_have_so_many_rows_and_such_lines_and_no_more(tmp_path):
    path = tmp_path / "one" / "history.csv"
    path.parent.mkdir()
    assert read_table(path, ["epoch"]).empty
    for content, rows in (("1\n" * MOST_ROWS, MOST_ROWS), ("1" + " " * 1_999 + "\n", 1)):
        path.write_text("epoch\n" + content)
        assert read_table(path, ["epoch"]).epoch.tolist() == [1] * rows
    for content, why in (
        ("epoch\n" + "1\n" * (MOST_ROWS + 1), "it has more than 20,000 rows"),
        ("epoch\n1" + " " * 2_000, "it has lines of more than 2,000 characters"),
        ("epochs\n1", "it has no column epoch of numbers"),
        ("epoch\none", "it has no column epoch of numbers"),
    ):
        path.write_text(content)
        with pytest.raises(RunError) as failure:
            read_table(path, ["epoch"])
        assert str(failure.value) == (
            f"{path} of run one is damaged ({why}). Retrain the run (--force_train), or delete it."
        )


def test_scores_of_earlier_versions_are_of_networks_without_recovery(tmp_path):
    path = tmp_path / "sweep.csv"
    assert read_sweep(path).empty
    rows = [
        "method,ranking,scope,seed,sparsity,accuracy,loss,val_accuracy",
        "weight,magnitude,layer,0,0,0,0,",
        "unit,random,global,2,1,1,0.1,",
    ]
    path.write_text("\n".join(rows))
    table = read_sweep(path)
    assert table.drop(columns="val_accuracy").to_dict("split")["data"] == [
        ["weight", "magnitude", "layer", 0, 0, 0, 0, "none", 0, 0, 0],
        ["unit", "random", "global", 2, 1, 1, 0.1, "none", 0, 0, 0],
    ]
    assert table.columns.tolist() == [*rows[0].split(","), "recovery", "images", "epochs", "seconds"]
    for before, after in (
        ("weight", "weights"),
        ("layer", "layers"),
        ("magnitude", ""),
        ("layer,0,0,", "layer,-1,0,"),
        ("layer,0,0,", "layer,0.5,0,"),
        ("layer,0,0,", "layer,0,-0.1,"),
        ("layer,0,0,0,0", "layer,0,0,1.1,0"),
        ("layer,0,0,0,0", "layer,0,0,0,-1"),
        ("loss", "losses"),
        ("seed", "seeds"),
        ("ranking", "rankings"),
        ("method", "methods"),
    ):
        path.write_text("\n".join(rows).replace(before, after, 1))
        with pytest.raises(RunError, match=r"it holds something else than scores\. Delete that file"):
            read_sweep(path)


def test_predictions_come_back_for_as_many_images(tmp_path):
    path, kept = tmp_path / "predictions.npz", {"b": np.array([1, 2, 3], np.uint8), "a": np.array([4, 5, 6], np.uint8)}
    assert read_predictions(path, 3) == {}
    write_predictions(path, kept)
    found = read_predictions(path, 3)
    assert {key: row.tolist() for key, row in found.items()} == {"a": [4, 5, 6], "b": [1, 2, 3]}
    assert read_predictions(path, 2) == read_predictions(path, 4) == {}


def test_a_cache_of_an_earlier_version_has_everything_in_its_place(tmp_path):
    """Whatever changes here is not found any more in the caches that people have."""
    run, key = Run(tmp_path, "one"), "weight,admm,layer,0,repair,0.5"
    places = {
        layout.lock(run.root, "one", "sweep"): ".locks/one.sweep",
        layout.queue(run.root): ".queue",
        layout.queue_lock(run.root): ".locks/queue",
        layout.starting_lock(run.root): ".locks/starting",
        layout.repaired(run.folder, key): "one/repaired/weight-admm-layer-0-repair-0.5.npz",
        layout.speed(run.folder, key): "one/speed/weight-admm-layer-0-repair-0.5.json",
        layout.measuring(run.root, run.id): ".asked/one/speed.txt",
        layout.measuring_log(run.root, run.id): ".asked/one/speed-log.txt",
        layout.shrinking(run.root, run.id): ".asked/one/tiny.txt",
        layout.shrinking_log(run.root, run.id): ".asked/one/tiny-log.txt",
        layout.asked(run.root, run.id): ".asked/one/key.txt",
        layout.asked_log(run.root, run.id): ".asked/one/log.txt",
        layout.tiny(run.folder, "400-e1-s0"): "one/tiny/400-e1-s0.tiny",
        layout.tiny_record(layout.tiny(run.folder, "400-e1-s0")): "one/tiny/400-e1-s0.json",
        layout.exported(run.folder, "x.onnx"): "one/exports/x.onnx",
        layout.export_record(layout.exported(run.folder, "x.onnx")): "one/exports/x.onnx.json",
        layout.export_log(layout.exported(run.folder, "x.onnx")): "one/exports/x.onnx.txt",
        layout.lock(run.root, "one", layout.export_lock("x.onnx")): ".locks/one.export-x.onnx",
        layout.trash(run.root, "one-two", 7): ".trash-one-two-7",
        run.part: "one.part",
        run.old: "one.old",
    }
    assert {path.relative_to(run.root).as_posix(): place for path, place in places.items()} == {
        place: place for place in places.values()
    }
    layout.trash(run.root, "one-two", 7).mkdir()
    (tmp_path / ".trash-datasets-7").mkdir()
    assert list(layout.all_trash(tmp_path)) == [(tmp_path / ".trash-one-two-7", "one-two")]
    said = (PROJECT / "docs" / "runs.md").read_text() + layout.__doc__
    names = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    assert [name for name in [*names, *layout.GIFS.values()] if name not in said.replace("*.gif", "")] == []


def test_names_of_runs_may_be_long():
    assert layout.is_run_id("a" * 100)
    assert layout.is_run_id("0.-_Z")
