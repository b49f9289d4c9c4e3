"""Single files that somebody else may have made, each in the place of one of ours.

What they can do to whole pages is in `tests/test_hostile_cache.py`.
"""

import contextlib
import hashlib
import io
import json
import os
import threading

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.errors import ExportError, KnownError, RunError
from core.exports import archive, report
from core.exports.models import Subject, find
from core.jobs import open_queue
from core.runs import SmallestFile, adopt_example, checkpoint, keep_smallest, layout, smallest_files, write_run
from core.runs.checkpoint import last_epoch, read_checkpoint
from core.settings import READ_ONLY
from pages.shared import frame
from tests.made_up import history_of
from tests.test_hostile_cache import SPARE, contents, full, no_background_work, open_page, outside  # noqa: F401

HUGE = 10**400


def test_a_training_deletes_nothing_that_a_link_in_its_place_leads_to(full, outside):  # noqa: F811
    run = runs.open_run(SPARE.run_id)
    (outside / layout.CANCEL).write_text("precious")
    run.part.symlink_to(outside, target_is_directory=True)
    before = contents(outside)
    with pytest.raises(KnownError):
        jobs.start_training(run, SPARE)
    assert contents(outside) == before


def test_a_folder_in_the_place_of_a_checkpoint_stops_no_training(cache):
    run = runs.open_run(SPARE.run_id)
    with contextlib.suppress(RuntimeError), write_run(run, SPARE) as writer:
        (run.part / layout.CHECKPOINT / "deeper").mkdir(parents=True)
        writer.drop_checkpoint()
        assert not (run.part / layout.CHECKPOINT).exists()
        raise RuntimeError


def test_what_the_queue_said_is_read_at_its_end_as_text_and_through_no_link(cache, outside):  # noqa: F811
    queue = open_queue()
    queue.add([SPARE])
    log = queue.folder / "log.txt"
    log.symlink_to(outside / "notes.txt")
    (outside / "notes.txt").write_text("error: precious")
    assert queue.problem() == ""
    log.unlink()
    os.mkfifo(log)
    assert queue.problem() == ""
    log.unlink()
    said = "**bold** [here](http://evil.example) ![i](http://evil.example/p.png)"
    with log.open("wb") as file:
        file.truncate(2**33)
        file.seek(0, 2)
        file.write(f"\nerror: {said}\n".encode())
    assert queue.problem() == said
    app = open_page("grid")
    assert frame.plain(said) in [warning.value for warning in app.warning]


def test_a_cache_that_is_only_shown_stays_without_the_example(tmp_path, monkeypatch):
    monkeypatch.setenv(READ_ONLY, "1")
    assert adopt_example(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rows", [[], [("dense", "NumPy")], [("compacted", "LiteRT"), ("sparse", "ONNX Runtime")]])
def test_a_measurement_without_what_stands_in_the_headline_is_none(full, rows):  # noqa: F811
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


def array(text):
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


def header(text):
    content = text.encode()
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


@pytest.mark.parametrize(
    "content",
    [
        *(header("{'descr': ("), header("{'descr': [("), header("\0")),
        *(array(json.dumps({"epoch": epoch})) for epoch in (float("inf"), -7, 0, 10**5, 1.5, True, "2", [2], None)),
        array('{"epoch": 1' + "0" * 5_000 + "}"),
    ],
)
def test_a_checkpoint_that_says_no_epoch_was_written_after_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert last_epoch(tmp_path / "file") == 0


@pytest.mark.parametrize(
    "change",
    [
        *({"history": history} for history in (5, "", "a,b\n1,2\n", None)),
        *({"counts": counts} for counts in ([1], [], 3, [0, 0, 0, 9], None)),
        {"history": checkpoint.to_csv(history_of(2).drop(columns="seconds"))},
        {"history": checkpoint.to_csv(history_of(3))},
        {"history": checkpoint.to_csv(history_of(2).assign(seconds="x"))},
        {"history": checkpoint.to_csv(history_of(2).assign(seconds=np.inf))},
    ],
)
def test_a_checkpoint_with_another_history_is_damaged_even_if_its_checksum_is_right(tmp_path, change):
    about = {"origin": {}, "epoch": 2, "history": checkpoint.to_csv(history_of(2)), "counts": [0, 0, 0, 0]}
    about |= {"best_accuracy": 0.5, "step": 0}

    def write(about):
        payload = array(json.dumps(about))
        (tmp_path / "file").write_bytes(payload + hashlib.sha256(payload).digest())

    write(about)
    assert read_checkpoint(tmp_path / "file", {}, 1).epoch == 2
    write(about | change)
    with pytest.raises(RunError, match="is damaged"):
        read_checkpoint(tmp_path / "file", {}, 1)


@pytest.mark.parametrize("make", [report.report, archive.archive])
def test_a_folder_of_more_than_a_run_can_hold_is_refused_before_a_picture_is_read(full, make, monkeypatch):  # noqa: F811
    with (full.folder / layout.HISTOGRAMS / "weights-k9.png").open("wb") as file:
        file.truncate(2**31)
    monkeypatch.setattr(report, "_data_url", lambda path: pytest.fail("it is read"))
    with pytest.raises(ExportError, match=r"weights-k9\.png with 2,147,483,648"):
        make(full)


def test_the_record_of_a_file_that_nobody_can_have_written_is_none(full):  # noqa: F811
    subject = Subject(full)
    path = layout.exported(full.folder, subject.kept_name("npz"))
    path.parent.mkdir()
    path.write_bytes(b"file")
    about = {"parameters": 5, "test_images": 5, "test_accuracy": 0.5}
    record = {"bytes": 4, "sha256": hashlib.sha256(b"file").hexdigest(), "dense_bytes": 9, "about": about}

    def found(record):
        layout.export_record(path).write_text(json.dumps(record))
        return find(subject, "npz")

    assert found(record).read() == b"file"
    for name in ("bytes", "dense_bytes"):
        for size in (float("inf"), float("nan"), HUGE, 0, -4, 4.0, "4", None, True, 2**40):
            assert found(record | {name: size}) is None
    for name in about:
        for value in (float("inf"), HUGE, -1, "0.5", None, [], {}):
            assert found(record | {"about": about | {name: value}}) is None
        assert found(record | {"about": {key: value for key, value in about.items() if key != name}}) is None
    assert found(record | {"about": 5}) is None


def test_a_tiny_network_of_no_bytes_or_impossible_accuracy_is_none(full):  # noqa: F811
    about = {"most_bytes": 400, "epochs": 1, "weights": 1, "seconds": 1.0, "source": full.version()}
    right = {"seed": 0, "bytes": 4, "val_accuracy": 1.0, "test_accuracy": 0.0}
    wrong = [{"bytes": 0}, {"val_accuracy": 1.1}, {"test_accuracy": -0.1}, {"test_accuracy": 10.0**12}]
    for seed, change in enumerate([{}, *wrong]):
        made = SmallestFile(**about, **right | {"seed": seed} | change)
        keep_smallest(full, made, bytes(made.bytes))
    (kept,) = smallest_files(full)
    assert kept.seed == 0
    path = layout.smallest_record(layout.smallest(full.folder, kept.name))
    path.with_name("again.json").write_bytes(path.read_bytes())
    assert smallest_files(full) == [kept]


def test_a_run_is_not_deleted_while_somebody_adds_to_it(full):  # noqa: F811
    deleting = threading.Thread(target=full.delete)
    with full.lock("sweep"):
        deleting.start()
        deleting.join(0.3)
        assert deleting.is_alive()
        assert full.is_complete()
    deleting.join()
    assert not full.folder.exists()


def test_scores_that_are_no_numbers_are_not_kept(full):  # noqa: F811
    before = (full.folder / layout.SWEEP).read_bytes()
    with pytest.raises(RunError, match="the loss is not finite"):
        full.add_to_sweep(full.sweep().head(1).assign(seed=7, loss=np.nan), full.version())
    assert (full.folder / layout.SWEEP).read_bytes() == before
