"""The smallest file: as small as was asked for, chosen on validation images, scored by its own decoder."""

import dataclasses
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zxingcpp
from absl import flags
from PIL import Image
from playwright.sync_api import expect
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core import smallest as command
from core.datasets import Dataset, load_dataset
from core.errors import CancelledError, KnownError
from core.evaluation import evaluate
from core.kernels import decoder
from core.kernels.smallest import DECODER, SmallestNetwork, decode, encode
from core.runs import layout
from core.settings import PROJECT
from core.training.smallest import hidden_units, smallest
from tests.browsing import download, fill, needs_chromium, serving, settled, visit
from tests.commands import run_command
from tests.conftest import step_by_step

BYTES = 1_000


@pytest.fixture(scope="module")
def data():
    return load_dataset("optdigits")


@pytest.fixture
def own_run(trained_run, cache):
    """A copy of the trained run, to which files may be added."""
    shutil.copytree(trained_run.folder, cache / trained_run.id)
    return runs.open_run(trained_run.id, cache)


@pytest.fixture(scope="module")
def made(trained_run, data):
    return smallest(trained_run.kernels(), data, trained_run.config().num_valid, BYTES, epochs=60)


def test_it_is_small_enough_and_knows_the_digits(made, trained_run, data):
    assert len(made.file) <= BYTES
    small = evaluate(decode(made.file), data.test.images, data.test.labels)
    large = evaluate(trained_run.kernels(), data.test.images, data.test.labels)
    assert small.accuracy > large.accuracy - 0.05
    assert len(made.file) * 5 < 4 * trained_run.config().parameter_count


def test_the_best_epoch_on_validation_images_that_fits_is_kept(made, trained_run, data):
    fitting = made.history[made.history.bytes <= BYTES]
    assert made.val_accuracy == fitting.val_accuracy.max()
    held_out = trained_run.config().num_valid
    images, labels = data.train.images[:held_out], data.train.labels[:held_out]
    assert evaluate(decode(made.file), images, labels).accuracy == pytest.approx(made.val_accuracy)
    assert len(made.file) in set(fitting.bytes)


def test_it_settles_a_little_below_the_size_that_is_asked_for(made):
    assert made.history.bytes.max() > BYTES
    assert made.history.bytes.tail(15).between(0.95 * BYTES, BYTES).all()


def test_its_outputs_are_those_it_was_trained_with(made, data):
    score = evaluate(decode(made.file), data.train.images, data.train.labels)
    # Labels alone would give the loss of a guess if the scale were lost.
    assert score.loss < 0.5


def test_neither_test_images_nor_validation_labels_teach_it(made, trained_run, data):
    held_out = trained_run.config().num_valid
    raw = {name: np.array(data._raw[name]) for name in ("train_images", "train_labels", "test_images", "test_labels")}
    raw["test_images"][:] = 0
    raw["test_labels"][:] = 0
    other = Dataset(data.spec, raw)
    with step_by_step():
        few = smallest(trained_run.kernels(), other, held_out, BYTES, epochs=3)
        same = smallest(trained_run.kernels(), data, held_out, BYTES, epochs=3)
        raw["train_labels"][:held_out] = 0
        blind = smallest(trained_run.kernels(), Dataset(data.spec, raw), held_out, BYTES, epochs=3)
    assert few.file == same.file
    assert list(blind.history.loss) == list(same.history.loss)
    assert list(blind.history.val_accuracy) != list(same.history.val_accuracy)


def test_another_seed_is_another_network(trained_run, data):
    held_out = trained_run.config().num_valid
    with step_by_step():
        first, second = (smallest(trained_run.kernels(), data, held_out, BYTES, 2, seed).file for seed in (0, 1))
    assert first != second


def test_what_cannot_be_so_small_is_said(trained_run, data):
    with step_by_step(), pytest.raises(KnownError, match="No network of at most 400 bytes came out of 1 epochs"):
        smallest(trained_run.kernels(), data, trained_run.config().num_valid, 400, epochs=1)


def test_a_larger_file_holds_a_wider_network():
    widths = [hidden_units(size)[0] for size in (400, 1_000, 4_000, 16_000, 10**9)]
    assert widths == sorted(set(widths))
    assert [hidden_units(size) for size in (1, 2_000, 8_000, 10**9)] == [(16, 8), (64, 32), (128, 64), (400, 200)]


@pytest.mark.parametrize("turned", [False, True])
def test_images_are_moved_by_turning_and_by_shifting(data, monkeypatch, turned):
    """By a quarter turn, or by one pixel down and to the right, where it can be said without waves what comes out."""
    from core.training import smallest as training

    class Random:
        def permutation(self, count):
            return np.arange(count)[::-1]

        def normal(self, size):
            return np.ones(size)

    for name, deviation in (("TURN", np.pi / 2 * turned), ("SCALE", 0), ("SHEAR", 0), ("SHIFT", (not turned) / 8)):
        monkeypatch.setattr(training, name, deviation)
    rows, columns = decoder.frequencies(8, 8)
    images = np.zeros((1_100, 8, 8), np.float32)
    images[:, 2:6, 2:6] = data.train.images[:1_100].reshape(-1, 8, 8)[:, 2:6, 2:6]
    found = training._moved(images.reshape(-1, 64), 8, rows, columns, Random())

    def strengths(moved):
        return moved.reshape(-1, 64) @ decoder.waves(8, rows, columns)

    either = [np.rot90(images, times, (1, 2)) for times in (1, 3)]
    if not turned:
        either = [np.roll(images, (by, by), (1, 2)) for by in (1, -1)]
    assert min(np.abs(found - strengths(moved)).max() for moved in either) < 1e-4


def test_the_command_writes_the_file_and_its_decoder(own_run, tmp_path, data):
    output = tmp_path / "small.tiny"
    done = run_command(
        "smallest",
        f"--run={own_run.id}",
        f"--output_dir={own_run.root}",
        f"--bytes={BYTES}",
        "--epochs=40",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    file = output.read_bytes()
    assert len(file) <= BYTES
    assert (tmp_path / "decode_small.py").read_bytes() == DECODER.read_bytes()
    (code,) = zxingcpp.read_barcodes(Image.open(tmp_path / "small.png"))
    assert code.bytes == file
    said = re.search(r"Accuracy ([\d.]+)% on the test images", done.stdout)
    score = evaluate(decode(file), data.test.images, data.test.labels)
    assert float(said[1]) == pytest.approx(100 * score.accuracy, abs=0.006)
    assert f"{len(file):,} bytes, " in done.stdout
    (kept,) = runs.smallest_files(own_run)
    assert runs.read_smallest(own_run, kept) == file
    assert (kept.most_bytes, kept.epochs, kept.seed, kept.bytes) == (BYTES, 40, 0, len(file))
    assert kept.test_accuracy == score.accuracy
    assert jobs.work_on(own_run, jobs.SMALLEST) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bytes=500", "--accuracy=0.9"], "--bytes, --accuracy: expected one of the two"),
        (["--bytes=4096,3"], "--bytes: expected 400 to 65,536. Received: 4096, 3."),
        (["--accuracy=nan"], "--accuracy: expected a number between 0 and 1. Received: nan."),
        (["--bytes=400,65536", "--run=none"], "There is no complete run none"),
        (["--bytes=399,65537,400"], "--bytes: expected 400 to 65,536. Received: 399, 65537, 400."),
        (["--bytes=500,600", "--run=x", "--output=y"], "--output: expected one size in --bytes"),
        (["--bytes=500"], "--run: expected the id of a complete run"),
        *(
            (["--bytes=500", "--run=x", f"--output={path}"], f"output: expected {what}")
            for what, paths in (
                ("a file in a folder that exists", ("/", ".", "/nonexistent/x.tiny")),
                ("another ending than .png and .py", ("net.png", "net.py")),
            )
            for path in paths
        ),
    ],
)
def test_the_command_refuses_what_it_cannot_do(flags, message, tmp_path):
    done = run_command("smallest", *flags, f"--output_dir={tmp_path}")
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def smallest_file(run, most_bytes, val_accuracy, **choices):
    """A made-up smallest file of a run, kept with it."""
    side = int(run.config().spec.inputs ** 0.5)
    waves = len(decoder.frequencies(side, 4)[0])
    levels = [np.ones((waves, 5), np.int32), np.eye(5, 10, dtype=np.int32)]
    file = encode(SmallestNetwork(levels, side, 4, 1.0))
    about = {"epochs": 9, "seed": 0, "weights": 1, "test_accuracy": 0.9, "seconds": 1.0, "source": run.version()}
    made = runs.SmallestFile(most_bytes=most_bytes, bytes=len(file), val_accuracy=val_accuracy, **about | choices)
    runs.keep_smallest(run, made, file)
    return made


def test_what_was_made_before_is_taken_and_said(own_run):
    first, second = smallest_file(own_run, 500, 0.9), smallest_file(own_run, 600, 0.95, test_accuracy=0.875)
    done = run_command(
        "smallest", f"--run={own_run.id}", f"--output_dir={own_run.root}", "--bytes=500,600", "--epochs=9", "--seed=0"
    )
    assert done.returncode == 0, done.stderr
    assert {*runs.smallest_files(own_run)} == {first, second}
    large, said = 4 * own_run.config().parameter_count, done.stdout.splitlines()
    assert [line.split(";")[0] for line in said] == [
        f"{made.bytes:,} bytes, {large / made.bytes:,.0f} times smaller than the {large:,} bytes of the weights of the "
        "large network"
        for made in (first, second)
    ]
    assert "Accuracy 87.50% on the test images, 95.00% on the validation images" in said[1]
    assert f"the large network has {own_run.result().test_accuracy:.2%} on the test images" in said[1]


def test_while_it_learns_a_number_costs_what_it_would_in_the_file():
    """A zero, a one, and more for each that is above it; between two whole numbers in a line from one to the other."""
    from core.training.smallest import _Learner

    learner = _Learner([np.array([[0, 1, -3, 0.5]], np.float32)], 1_000, 1, 10)
    for variable, cost in zip(learner._costs[0], (2, 5, 1), strict=True):
        variable.assign(np.full(variable.shape, cost, np.float32))
    assert float(learner._bits()) == 2 + 5 + (5 + 2 * 1) + (2 + 5) / 2


def test_a_file_that_its_decoder_cannot_read_is_not_kept(data):
    with pytest.raises(KnownError, match="The decoder cannot read the file that was made"):
        command.score_alone(b"TN", data)


def test_the_smallest_file_of_an_accuracy_is_looked_for_by_halving(own_run, monkeypatch, data):
    """Each size is the middle of those between which it lies, on a scale of ratios."""
    tried = []

    def made(run, data, size, tell, before):
        assert (tell, before) == (print, runs.Work(len(tried), 5))
        tried.append(size)
        about = {"most_bytes": size, "epochs": 1, "seed": 0, "weights": 1, "test_accuracy": 0, "seconds": 1}
        return runs.SmallestFile(bytes=size, val_accuracy=0.9 if size >= 2_000 else 0.8, source="", **about)

    monkeypatch.setattr(command, "_made", made)
    begun = runs.Work(0, command.TRIALS)
    found = command._of_accuracy(own_run, data, 0.9, print, begun)
    assert tried == [2560, 1012, 1610, 2030, 1808]
    assert found.bytes == 2030
    tried.clear()
    with pytest.raises(KnownError, match=r"No network reached 95\.00% on the validation images; the best had 90\.00%"):
        command._of_accuracy(own_run, data, 0.95, print, begun)
    assert tried == sorted(tried)


def test_only_whole_files_of_the_network_as_it_is_are_listed(own_run):
    good = smallest_file(own_run, 500, 0.9)
    other = smallest_file(own_run, 600, 0.9)
    cut = own_run.folder / "tiny" / f"{other.name}.tiny"
    cut.write_bytes(cut.read_bytes()[:-1])
    (own_run.folder / "tiny" / "odd.json").write_text('{"bytes": []}')
    (own_run.folder / "tiny" / "odder.json").write_text("[" * 10)
    earlier = dataclasses.replace(good, most_bytes=700, source="another network")
    (own_run.folder / "tiny" / f"{earlier.name}.tiny").write_bytes(runs.read_smallest(own_run, good))
    (own_run.folder / "tiny" / f"{earlier.name}.json").write_text(json.dumps(dataclasses.asdict(earlier)))
    assert runs.smallest_files(own_run) == [good]


def test_nothing_is_kept_with_a_run_that_was_replaced(own_run):
    smallest_file(own_run, 500, 0.9, source="another network")
    assert not (own_run.folder / "tiny").exists()


def test_the_best_are_those_that_no_smaller_one_beats():
    about = {"most_bytes": 1, "epochs": 1, "seed": 0, "weights": 1, "test_accuracy": 0, "seconds": 1, "source": ""}
    files = [
        runs.SmallestFile(bytes=size, val_accuracy=accuracy, **about)
        for size, accuracy in ((10, 0.5), (20, 0.4), (30, 0.5), (40, 0.7), (50, 0.6))
    ]
    assert [made.bytes for made in runs.best(files)] == [10, 40]


def page(run, **query):
    app = AppTest.from_file(str(PROJECT / "pages" / "smallest.py"), default_timeout=60)
    app.query_params.update({"run": run.id} | query)
    return app.run()


def test_the_page_says_what_to_do_first(own_run):
    app = page(own_run)
    assert not app.exception
    assert "No file was made of this network yet" in app.info[0].value


def test_the_page_makes_what_is_asked_for(own_run, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "start_smallest", lambda *what: asked.append(what))
    app = page(own_run)
    app.multiselect(key="tiny_bytes").set_value([1_024, 4_096])
    app.number_input(key="tiny_epochs").set_value(7)
    app.number_input(key="tiny_seed").set_value(3)
    app.button(key="tiny_make").click().run()
    assert not app.exception
    assert asked == [(own_run, [1_024, 4_096], 7, 3)]


def test_the_page_shows_the_files_and_offers_them(own_run):
    first, second = smallest_file(own_run, 500, 0.9), smallest_file(own_run, 501, 0.95, seed=1, test_accuracy=0.8765)
    app = page(own_run)
    assert not app.exception
    assert list(app.dataframe[0].value.bytes) == [first.bytes, second.bytes]
    assert app.selectbox(key="tiny_file").value == second
    assert "decoder.read" in app.code[0].value
    (code,) = app.get("image")
    assert code.proto.imgs[0].alt == f"QR code of the network's {second.bytes} bytes"


def test_the_command_tells_how_far_it_is_and_stops_when_that_is_removed(own_run, data, monkeypatch):
    from core.training import smallest as training

    told, path = [], layout.work(own_run.root, own_run.id, layout.SMALLEST)

    def train(kernels, data, held_out, most_bytes, epochs, seed, tell):
        history = pd.DataFrame({"epoch": [1.0], "bytes": [900.0], "val_accuracy": [0.25]})
        tell(history)
        told.append(jobs.work_on(own_run, jobs.SMALLEST))
        path.unlink()
        tell(history)

    monkeypatch.setattr(training, "smallest", train)
    monkeypatch.setattr(
        flags,
        "FLAGS",
        SimpleNamespace(run=own_run.id, bytes=["800", "900"], accuracy=None, epochs=3, seed=0, output=None),
    )
    monkeypatch.setattr(command.command, "chosen_path", lambda name: own_run.root)
    with pytest.raises(CancelledError, match="was stopped"):
        command.main([])
    far = runs.Work(1 / 3, 2, most_bytes=800, epoch=1, epochs=3, bytes=900, val_accuracy=0.25, sizes="800,900")
    assert told == [far]
    assert not path.exists()


def test_the_page_tells_why_the_last_attempt_failed(own_run, monkeypatch):
    monkeypatch.setattr(jobs, "work_problem", lambda run, what: "No network of at most 400 bytes came out")
    app = page(own_run)
    assert "No network of at most 400 bytes" in app.warning[0].value


def test_the_page_follows_the_making(own_run, monkeypatch):
    far = runs.Work(1.5, 3, most_bytes=1_200, epoch=4, epochs=6, bytes=1_234, val_accuracy=0.9)
    monkeypatch.setattr(jobs, "work_on", lambda run, what: far)
    stopped = []
    monkeypatch.setattr(jobs, "stop_work", lambda *what: stopped.append(what))
    app = page(own_run)
    assert not app.exception
    (bar,) = app.get("progress")
    said = "Network 2 of 3, at most 1,200 bytes · epoch 4 of 6 · now 1,234 bytes, 90.00% on validation images"
    assert bar.proto.text == said
    assert app.button(key="tiny_make").disabled
    app.button(key="tiny_stop").click().run()
    assert stopped == [(own_run, jobs.SMALLEST)]


def test_a_second_tab_shows_what_is_being_made(own_run, monkeypatch):
    monkeypatch.setattr(jobs, "work_on", lambda run, what: runs.Work(0, 2, epochs=6, sizes="700,2048", seed=5))
    app = page(own_run)
    assert not app.exception
    assert app.multiselect(key="tiny_bytes").value == ["700", 2_048]
    boxes = [app.number_input(key="tiny_epochs"), app.number_input(key="tiny_seed")]
    assert [box.value for box in boxes] == [6, 5]
    assert all(box.disabled for box in boxes)


def test_a_number_out_of_range_makes_nothing(own_run):
    app = page(own_run)
    app.number_input(key="tiny_epochs").set_value(0).run()
    assert app.warning[0].value == "Epochs: expected 1 to 10,000. Received: 0."
    assert app.button(key="tiny_make").disabled


@needs_chromium
def test_a_file_is_made_stopped_and_taken_away(repaired_cache, trained_run, page, tmp_path, data):
    """From the button over progress to a file that the decoder reads; what was ready is kept by a stop."""
    run = runs.open_run(trained_run.id, tmp_path / "cache")
    with serving(run.root, repaired_cache) as server:
        visit(page, f"{server.url}/smallest?run={run.id}")
        expect(page.get_by_text("No file was made of this network yet")).to_be_visible()
        # The first is soon ready; the others would take a while.
        fill(page, "Epochs", "40")
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.get_by_text(re.compile("Network 1 of 3.* epoch .* of 40"))).to_be_visible()
        page.reload()
        expect(page.get_by_text(re.compile("Network [23] of 3"))).to_be_visible()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_role("button", name="Make", exact=True)).to_be_enabled()
        settled(page)
        kept = runs.smallest_files(run)
        assert kept[0].most_bytes == 2_048
        made = max(kept, key=lambda each: each.val_accuracy)
        path = download(page, f"Network, {made.bytes:,} bytes", tmp_path)
        assert path.name == f"{run.id}-{made.bytes}.tiny"
        assert evaluate(decoder.read(path.read_bytes()), data.test.images, data.test.labels).accuracy == (
            made.test_accuracy
        )
        expect(page.locator(".js-plotly-plot").filter(has_text="Whole file in bytes")).to_be_visible()
        program = download(page, f"Decoder, {DECODER.stat().st_size:,} bytes", tmp_path)
        assert program.read_bytes() == DECODER.read_bytes()
        code = download(page, "QR code", tmp_path)
        assert zxingcpp.read_barcodes(Image.open(code))[0].bytes == path.read_bytes()
