import contextlib
import datetime
import json
import multiprocessing
import os
import shutil
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.config import TrainingConfig
from core.errors import CancelledError, NotAllowedError, RunBusyError, RunError, RunIdError
from core.jobs import progress
from core.network import Layer, Network, Window, as_network
from core.runs import (
    Phase,
    Run,
    RunWriter,
    SmallestFile,
    TrainingState,
    damage,
    keep_smallest,
    layout,
    list_runs,
    open_run,
    runs_table,
    write_run,
)
from core.runs.checkpoint import Checkpoint
from core.runs.formats import layers_to_json
from core.runs.layout import SWEEP
from tests.made_up import history_of

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
    with pytest.raises(RunError, match="Retrain it on the page"):
        run.kernels()


def test_a_pickle_is_never_opened(run):
    np.savez(run.folder / layout.KERNELS, kernel_0=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        run.kernels()


def test_scores_are_added_and_replaced(run):
    more = pd.DataFrame([{**DEFAULT, "sparsity": k, "accuracy": k, "loss": 3.0} for k in (0.9, 0.5)])
    assert run.sweep().accuracy.tolist() == [0.25]
    assert run.add_to_sweep(more, run.version())
    assert run.sweep().sparsity.tolist() == [0.5, 0.9]
    assert run.sweep().accuracy.tolist() == [0.5, 0.9]
    assert run.sweep().loss.tolist() == [3.0, 3.0]


def test_of_scores_that_many_write_at_once_none_is_lost(run):
    together = threading.Barrier(8)

    def write(writer: int) -> None:
        together.wait(30)
        for step in range(4):
            k = (1 + 4 * writer + step) / 100
            run.add_to_sweep(ROWS.assign(sparsity=k, accuracy=k), run.version())

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
    version = run.version()
    with run.lock(what), pytest.raises(RunError, match="being trained or changed"), write_run(run, CONFIG) as training:
        fill(training, accuracy=0.75)
    assert (run.version(), run.result().test_accuracy) == (version, 0.5)


def test_nothing_is_kept_with_a_run_while_it_is_being_replaced(run, monkeypatch):
    """Or it would lie beside a network that it was not made of."""
    patient = Run.lock
    monkeypatch.setattr(Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    about = {"most_bytes": 1, "epochs": 1, "seed": 0, "bytes": 1, "weights": 1}
    made = SmallestFile(**about, val_accuracy=0, test_accuracy=0, seconds=0, source=run.version())
    before = sorted(run.folder.rglob("*"))
    for keep in (
        lambda: run.keep_network("weight,admm,layer,0,repair,0.5", KERNELS, run.version()),
        lambda: run.keep_speed("weight,magnitude,layer,0,0.5", {}, run.version()),
        lambda: run.add_to_sweep(ROWS.assign(sparsity=0.9), run.version()),
        lambda: keep_smallest(run, made, b"T"),
    ):
        with run.lock("sweep"), pytest.raises(RunBusyError):
            keep()
        assert sorted(run.folder.rglob("*")) == before
    assert run.network("weight,admm,layer,0,repair,0.5") is None
    run.keep_network("weight,admm,layer,0,repair,0.5", KERNELS, run.version())
    for kernel, kept in zip(run.network("weight,admm,layer,0,repair,0.5").matrices, KERNELS, strict=True):
        np.testing.assert_array_equal(kernel, kept)


def test_scores_of_an_earlier_network_are_never_added_to_a_later_one(run):
    run.add_to_sweep(ROWS.assign(sparsity=0.9), version="2020-01-01T00:00:00+00:00")
    assert run.sweep().sparsity.tolist() == [0.5]


def test_what_a_killed_delete_left_is_removed_by_the_next(run):
    left, busy = (layout.trash(run.root, name, 12345) for name in ("gone", "busy"))
    for folder in (left, busy):
        folder.mkdir()
        (folder / "model.keras").write_text("half")
    with open_run("busy").lock():
        run.delete()
        assert not left.exists()
        assert busy.exists()  # it is in use


def test_deleting_leaves_nothing(run):
    run.delete()
    assert not run.is_complete()
    assert list_runs() == []
    with pytest.raises(RunError, match="no run one"):
        run.config()


def test_a_run_is_not_deleted_while_somebody_adds_to_it(run):
    deleting = threading.Thread(target=run.delete)
    with run.lock("sweep"):
        deleting.start()
        deleting.join(0.3)
        assert deleting.is_alive()
        assert run.is_complete()
    deleting.join()
    assert not run.folder.exists()


def test_scores_that_are_no_numbers_are_not_kept(run):
    before = (run.folder / SWEEP).read_bytes()
    with pytest.raises(RunError, match="the loss is not finite"):
        run.add_to_sweep(ROWS.assign(seed=7, loss=np.nan), run.version())
    assert (run.folder / SWEEP).read_bytes() == before


def test_only_the_network_that_was_seen_is_deleted(run):
    for seen in ("", "2026-01-01T00:00:00.000+00:00"):
        with pytest.raises(RunError, match="Run one was trained again meanwhile and is not deleted"):
            run.delete(seen)
    assert run.is_complete()
    run.delete(run.version())
    assert list_runs() == []
    run.part.mkdir()
    run.delete("")
    assert not run.part.exists()


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
    assert progress(TrainingState(Phase.SCORING, scored=11, to_score=20), history).fraction == 11 / 20
    assert progress(TrainingState(Phase.COMPLETE, scored=20, to_score=20), history).fraction == 1


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


def test_what_a_training_goes_on_from_is_never_damage(cache):
    """Whatever else of it is lost: the checkpoint says what was trained, and how far it was."""
    run, origin = open_run("one"), {"config": CONFIG.to_dict()}
    with pytest.raises(CancelledError), write_run(run, CONFIG) as training:
        training.keep(Checkpoint(history_of(3), KERNELS, []), origin)
        run.request_cancel()
        training.update(Phase.TRAINING)
    for lost in (layout.STATE, layout.CONFIG):
        (run.part / lost).unlink()
        assert damage(run) is None
        assert (run.training().phase, run.training().epoch) == (Phase.INTERRUPTED, 3)
        assert run.config() == CONFIG
        assert runs_table().status.tolist() == ["interrupted"]
    with write_run(run, CONFIG) as training:
        assert training.kept(origin).epoch == 3
        training.discard()
    assert run.training() is None


def test_another_training_goes_on_and_is_not_cancelled(cache):
    run = open_run("one")
    with pytest.raises(CancelledError), write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING)
        training.keep(Checkpoint(history_of(3), KERNELS, []), {"a": 1})
        run.request_cancel()
        training.update(Phase.TRAINING)
    (run.part / layout.LOG).write_text("It said so.")
    assert run.log() == "It said so."
    assert run.kept_epochs() == 3
    with write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING)  # nobody asks it to stop any more
        assert run.log() == "It said so."
        assert training.kept({"a": 2}) is None
        assert training.kept({"a": 1}).epoch == 3
        fill(training)
    assert (run.log(), run.kept_epochs()) == ("", 0)
    assert not (run.folder / layout.CHECKPOINT).exists()
    assert not (run.folder / layout.LOG).exists()


def test_versions_change_with_what_they_are_of(run):
    key, other = "weight,admm,layer,0,repair,0.5", "unit,admm,layer,0,repair,0.5"
    before = run.sweep_version()
    assert before > 0
    assert (run.network_version(key), run.network_version(), run.speed_version()) == (0, 0, 0)
    run.keep_network(key, KERNELS, run.version())
    run.keep_speed(key, {"rows": []}, run.version())
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
        assert run.add_to_sweep(ROWS, run.version(), added)
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
        run.keep_speed("weight,magnitude,layer,0,0.5", {}, run.version())
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
        (path.mkdir, "cannot be read (Is a directory)"),
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
    assert run.add_to_sweep(ROWS.assign(sparsity=0.1), run.version())
    with pytest.raises(RunError, match=r"would have 3 scores. Expected at most 2. Delete .*sweep.csv to start over"):
        run.add_to_sweep(ROWS.assign(sparsity=0.2), run.version())
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
    state, config, network = (run.folder / name for name in (layout.STATE, layout.CONFIG, layout.NETWORK))
    said, other = state.read_text(), json.dumps(layers_to_json(as_network([np.ones((63, 3))])))
    assert damage(run) is None
    for change, reason in (
        (lambda: state.write_text(json.dumps(json.loads(said) | {"test_loss": -1})), "one/state.json is damaged: test"),
        (state.unlink, "one has no state.json."),
        (state.mkdir, "one/state.json cannot be read: "),
        (lambda: (state.rmdir(), state.write_text(said)), None),
        (lambda: network.write_text("{}"), "one/network.json is damaged: it does not hold the layers of a network"),
        (lambda: network.write_text(other), "one/network.json is damaged: it is for 63 pixels and 3 classes."),
        (lambda: config.write_text("[]"), "one/config.json is damaged: it is not a JSON object."),
        (config.unlink, "one has no config.json."),
        (lambda: shutil.move(run.folder, run.part), "one.part has no config.json."),
    ):
        change()
        found = damage(run)
        assert found is None if reason is None else found.startswith(reason)
        assert (run.id in {*runs_table().run}) == (reason is None)
    with run.lock():
        assert damage(run) is None  # it is in use
    shutil.rmtree(run.part)
    assert damage(run) is None
    run.folder.write_text("")
    assert damage(run) == "one/config.json cannot be read: Not a directory."


def test_a_run_keeps_its_layers(cache):
    """Of whatever kind they are, with their biases; of a repaired network, too."""
    random = np.random.default_rng(2)
    window = Window(3, 3, "same", 2)
    network = Network(
        (
            Layer(random.random((9, 4), np.float32), random.random(4, np.float32), "relu", window, 2),
            Layer(random.random((16, 6), np.float32), None),
            Layer(random.random((6, 10), np.float32), random.random(10, np.float32), "linear"),
        ),
        (8, 8, 1),
    )
    run, rms = open_run("one"), [np.ones(len(matrix), np.float32) for matrix in network.matrices]
    with write_run(run, CONFIG) as training:
        training.write_history(pd.DataFrame({"epoch": [1], "loss": [1.0], "seconds": [0.1]}))
        training.write_model(lambda path: path.touch(), network, rms)
        training.commit(test_accuracy=0.5, test_loss=1.0)
    key = "weight,admm,layer,0,repair,0.5"
    run.keep_network(key, network, run.version())
    for kept in (run.network(), run.network(key)):
        np.testing.assert_array_equal(
            np.concatenate([array.ravel() for array in kept.arrays.values()]),
            np.concatenate([array.ravel() for array in network.arrays.values()]),
        )
    for kept in (run.layers(), run.network(), run.network(key)):
        assert kept.shape == network.shape
        assert [replace(layer, matrix=0, bias=None) for layer in kept.layers] == [
            replace(layer, matrix=0, bias=None) for layer in network.layers
        ]
        assert [*kept.arrays] == ["kernel_0", "bias_0", "kernel_1", "kernel_2", "bias_2"]
    assert [len(values) for values in run.activations()] == [9, 16, 6]


def test_a_run_without_its_layers_is_the_chain_that_its_configuration_says(run):
    told = json.loads((run.folder / layout.NETWORK).read_text())
    assert told["shape"] == [64]
    assert [layer["units"] for layer in told["layers"]] == [4, 3, 10]
    before = run.network()
    (run.folder / layout.NETWORK).unlink()
    for layer, same in zip(run.network().layers, before.layers, strict=True):
        np.testing.assert_array_equal(layer.matrix, same.matrix)
        assert (layer.activation, layer.bias) == (same.activation, same.bias)


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
