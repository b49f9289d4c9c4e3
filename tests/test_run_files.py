"""Files of a run, each by itself: records, checkpoints, tables and predictions, and where they lie."""

import json

import numpy as np
import pandas as pd
import pytest

from core.errors import RunError
from core.runs import Phase, Result, Run, TrainingState, layout
from core.runs.checkpoint import Checkpoint, last_epoch, read_checkpoint, write_checkpoint
from core.runs.formats import read_sweep, read_table
from core.runs.predictions import read_predictions, write_predictions
from core.runs.records import parse_record, read_record, read_speed
from core.settings import PROJECT
from tests.made_up import history_of

RESULT = {"finished": "2026-01-02T03:04:05.678+00:00", "test_accuracy": 0.5, "test_loss": 1.5}


@pytest.mark.parametrize(
    "values",
    [
        {"test_accuracy": 0, "test_loss": 0},
        {"test_accuracy": 1},
        {"finished": "1970-01-01T00:00:00+00:00"},
        {"finished": "2199-12-31T00:00:00+00:00"},
        {"kept_epoch": 0, "training_seconds": 10**12, "repair_images": 10**13},
        {"versions": {"keras": "3"}, "machine": "x" * 10_000, "parent_identity": "y", "later": [1]},
    ],
)
def test_a_record_says_what_is_written_up_to_the_last_value_that_can_be(tmp_path, values):
    (tmp_path / "state.json").write_text(json.dumps(RESULT | values))
    values.pop("later", None)
    assert read_record(Result, tmp_path / "state.json") == Result(**RESULT | values)


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
        ({"training_seconds": float("inf")}, "training_seconds is not what it can be: inf"),
        ({"test_loss": float("nan")}, "test_loss is not what it can be: nan"),
        ({"machine": ["x"]}, "machine is not what it can be: ['x']"),
        ({"machine": None}, "machine is not what it can be: None"),
        ({"versions": {"keras": 3}}, "versions is not what it can be: {'keras': 3}"),
        ({"test_loss": "x"}, "test_loss is not what it can be: 'x'"),
    ],
)
def test_a_record_of_what_cannot_be_says_why(tmp_path, values, why):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(RESULT | values))
    with pytest.raises(ValueError) as failure:  # noqa: PT011
        parse_record(Result, path)
    assert str(failure.value) == why
    assert read_record(Result, path) is None
    path.write_text(json.dumps({name: value for name, value in RESULT.items() if name != "test_loss"}))
    with pytest.raises(ValueError, match="it does not say test_loss"):
        parse_record(Result, path)


def test_a_state_says_what_is_written(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"phase": "failed", "message": "x", "pid": 7}))
    assert read_record(TrainingState, tmp_path / "state.json") == TrainingState(Phase.FAILED, message="x", pid=7)
    # Of what it does not say, nothing is known.
    rest = {name: value for name, value in vars(TrainingState(Phase.FAILED)).items() if name != "phase"}
    assert set(rest.values()) == {"", 0}


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
    assert read_checkpoint(path, origin) is None
    assert last_epoch(path) == 0
    for written in (
        Checkpoint(history, arrays[:2], arrays[2:], 0.75, arrays[3:4], masks, 9),
        Checkpoint(history, arrays, arrays),
    ):
        write_checkpoint(path, written, origin)
        assert path.stat().st_size > 2**18
        kept = read_checkpoint(path, origin)
        pd.testing.assert_frame_equal(kept.history, history, check_exact=True)
        assert (kept.epoch, last_epoch(path)) == (2, 2)
        assert (kept.best_accuracy, kept.step) == (written.best_accuracy, written.step)
        assert (kept.best is None) == (written.best is None)
        for group in ("weights", "optimizer", "best", "masks"):
            for one, other in zip(getattr(kept, group) or (), getattr(written, group) or (), strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
    assert (kept.best_accuracy, kept.step, kept.masks) == (-1, 0, ())
    assert read_checkpoint(path, origin | {"seed": 2}) is None


@pytest.mark.parametrize("content", [b"", b"x" * 32, b"x" * 33, b"\x93NUMPY\x01\x00"])
def test_what_is_no_checkpoint_is_damaged_and_was_written_after_no_epoch(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert last_epoch(tmp_path / "file") == 0
    with pytest.raises(RunError, match="its checksum is wrong"):
        read_checkpoint(tmp_path / "file", {})


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.array(7), np.array(["{}"]), np.array('{"epoch": "x"}'), np.array("[]"), np.array("{}")]
)
def test_an_array_that_says_no_epoch_was_written_after_none(tmp_path, array):
    np.save(tmp_path / "file.npy", array)
    assert last_epoch(tmp_path / "file.npy") == 0
    np.save(tmp_path / "file.npy", np.array('{"epoch": 3}'))
    assert last_epoch(tmp_path / "file.npy") == 3


def test_a_table_has_the_columns_of_numbers_that_it_must_have(tmp_path):
    path = tmp_path / "one" / "history.csv"
    path.parent.mkdir()
    assert read_table(path, ["epoch"]).empty
    path.write_text("epoch\n1\n1\n")
    assert read_table(path, ["epoch"]).epoch.tolist() == [1, 1]
    for content, why in (
        ("epochs\n1", "it has no column epoch of numbers"),
        ("epoch\none", "it has no column epoch of numbers"),
    ):
        path.write_text(content)
        with pytest.raises(RunError) as failure:
            read_table(path, ["epoch"])
        way_out = "Retrain the run on the page Training, or delete it on the page Runs."
        assert str(failure.value) == f"{path} of run one is damaged ({why}). {way_out}"


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
        layout.work(run.root, run.id, layout.SPEED): ".asked/one/speed.txt",
        layout.work_log(run.root, run.id, layout.SPEED): ".asked/one/speed-log.txt",
        layout.work(run.root, run.id, layout.SMALLEST): ".asked/one/tiny.txt",
        layout.work_log(run.root, run.id, layout.SMALLEST): ".asked/one/tiny-log.txt",
        layout.asked(run.root, run.id): ".asked/one/key.txt",
        layout.asked_log(run.root, run.id): ".asked/one/log.txt",
        layout.touched(run.root, run.id): ".asked/one/touched",
        layout.worker_log(run.root): ".asked/worker-log.txt",
        layout.worker_lock(run.root, "here"): ".locks/worker-here",
        layout.smallest(run.folder, "400-e1-s0"): "one/tiny/400-e1-s0.tiny",
        layout.smallest_record(layout.smallest(run.folder, "400-e1-s0")): "one/tiny/400-e1-s0.json",
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
