"""The smallest file: as small as was asked for, chosen on validation images, scored by its own decoder."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import zxingcpp
from PIL import Image

from core.datasets import Dataset, load_dataset
from core.errors import KnownError
from core.evaluation import evaluate
from core.kernels import tiny
from core.training.smallest import hidden_units, smallest
from tests.conftest import PROJECT

BYTES = 1_500


def run_smallest(*arguments):
    """`python -m core.smallest` as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "core.smallest", *arguments],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def data():
    return load_dataset("optdigits")


@pytest.fixture(scope="module")
def made(trained_run, data):
    return smallest(trained_run.kernels(), data, trained_run.config().num_valid, BYTES, epochs=60)


def test_it_is_small_enough_and_knows_the_digits(made, trained_run, data):
    assert len(made.file) <= BYTES
    small = evaluate(tiny.decode(made.file), data.test.images, data.test.labels)
    large = evaluate(trained_run.kernels(), data.test.images, data.test.labels)
    assert small.accuracy > large.accuracy - 0.05
    assert len(made.file) * 5 < 4 * trained_run.config().parameter_count


def test_the_best_epoch_on_validation_images_that_fits_is_kept(made, trained_run, data):
    fitting = made.history[made.history.bytes <= BYTES]
    assert made.val_accuracy == fitting.val_accuracy.max()
    held_out = trained_run.config().num_valid
    images, labels = data.train.images[:held_out], data.train.labels[:held_out]
    assert evaluate(tiny.decode(made.file), images, labels).accuracy == pytest.approx(made.val_accuracy)
    assert len(made.file) in set(fitting.bytes)


def test_its_outputs_are_those_it_was_trained_with(made, data):
    score = evaluate(tiny.decode(made.file), data.train.images, data.train.labels)
    # Labels alone would give the loss of a guess if the scale were lost.
    assert score.loss < 0.5


def test_neither_test_images_nor_validation_labels_teach_it(made, trained_run, data):
    held_out = trained_run.config().num_valid
    raw = {name: np.array(data._raw[name]) for name in ("train_images", "train_labels", "test_images", "test_labels")}
    raw["test_images"][:] = 0
    raw["test_labels"][:] = 0
    other = Dataset(data.spec, raw)
    few = smallest(trained_run.kernels(), other, held_out, BYTES, epochs=3)
    same = smallest(trained_run.kernels(), data, held_out, BYTES, epochs=3)
    assert few.file == same.file
    raw["train_labels"][:held_out] = 0
    blind = smallest(trained_run.kernels(), Dataset(data.spec, raw), held_out, BYTES, epochs=3)
    assert list(blind.history.loss) == list(same.history.loss)
    assert list(blind.history.val_accuracy) != list(same.history.val_accuracy)


def test_another_seed_is_another_network(trained_run, data):
    held_out = trained_run.config().num_valid
    first, second = (smallest(trained_run.kernels(), data, held_out, BYTES, 2, seed).file for seed in (0, 1))
    assert first != second


def test_what_cannot_be_so_small_is_said(trained_run, data):
    with pytest.raises(KnownError, match="No network of at most 400 bytes came out of 1 epochs"):
        smallest(trained_run.kernels(), data, trained_run.config().num_valid, 400, epochs=1)


def test_a_larger_file_holds_a_wider_network():
    widths = [hidden_units(size)[0] for size in (400, 1_000, 4_000, 16_000, 10**9)]
    assert widths == sorted(set(widths))


def test_the_command_writes_the_file_and_its_decoder(trained_run, tmp_path, data):
    output = tmp_path / "small.tiny"
    done = run_smallest(
        f"--run={trained_run.id}",
        f"--output_dir={trained_run.root}",
        f"--bytes={BYTES}",
        "--epochs=40",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    file = output.read_bytes()
    assert len(file) <= BYTES
    assert (tmp_path / "decode_small.py").read_bytes() == tiny.DECODER.read_bytes()
    (code,) = zxingcpp.read_barcodes(Image.open(tmp_path / "small.png"))
    assert code.bytes == file
    said = re.search(r"Accuracy ([\d.]+)% on the test images", done.stdout)
    score = evaluate(tiny.decode(file), data.test.images, data.test.labels)
    assert float(said[1]) == pytest.approx(100 * score.accuracy, abs=0.006)
    assert f"{len(file):,} bytes, " in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bytes=500", "--accuracy=0.9"], "--bytes, --accuracy: expected one of the two"),
        (["--bytes=3"], "--bytes: expected 400 to 65,536. Received: 3."),
        (["--accuracy=nan"], "--accuracy: expected a number between 0 and 1. Received: nan."),
        (["--bytes=500", "--run=none"], "There is no complete run none"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(flags, message, tmp_path):
    done = run_smallest(*flags, f"--output_dir={tmp_path}")
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
