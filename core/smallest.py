"""Makes the smallest file of a trained network that still reads its images.

Either the most bytes of the file are given, or the accuracy that is wanted; then the smallest file is looked for whose
accuracy on the validation images is as high. The test images are scored once, at the end, by the decoder in a process
of its own.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from core import command
from core.config import ConfigError
from core.datasets import Dataset, load_dataset
from core.errors import KnownError, RunError
from core.evaluation import Score, evaluate
from core.exports.qr import MOST_BYTES, qr_code
from core.files import clear_errors, write_atomic
from core.kernels import tiny
from core.runs import Run, open_run
from core.settings import cache_root
from core.terminal import progress_bar, say
from core.training.smallest import EPOCHS, LARGEST_BYTES, SMALLEST_BYTES, Smallest, smallest

TRIALS = 5
"""How many sizes are tried for an accuracy: each halves the range of sizes, on a scale of ratios, in which it lies."""


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("run", None, "The id of a complete run.")
    flags.DEFINE_integer("bytes", None, f"The most bytes of the file, from {SMALLEST_BYTES} to {LARGEST_BYTES}.")
    flags.DEFINE_float("accuracy", None, "Instead of the bytes: the accuracy on validation images, from 0 to 1.")
    flags.DEFINE_integer("epochs", EPOCHS, "How long each network is trained.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer("seed", 0, "The random seed.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", None, "The file to write; by default <run>-<bytes>.tiny here.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache with the run.")


def main(_: list[str]) -> None:
    """The command: make it, write it beside its decoder, read it back, and say what came out."""
    values = flags.FLAGS
    if (values.bytes is None) == (values.accuracy is None):
        raise ConfigError("--bytes, --accuracy: expected one of the two. Received both or none.")
    if values.bytes is not None and not SMALLEST_BYTES <= values.bytes <= LARGEST_BYTES:
        raise ConfigError(f"--bytes: expected {SMALLEST_BYTES:,} to {LARGEST_BYTES:,}. Received: {values.bytes:,}.")
    if values.accuracy is not None and not 0 < values.accuracy < 1:
        raise ConfigError(f"--accuracy: expected a number between 0 and 1. Received: {values.accuracy:g}.")
    if not values.run:
        raise ConfigError("--run: expected the id of a complete run. Received nothing.")
    run = open_run(values.run, Path(values.output_dir).expanduser())
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} in {run.root}. Train it first.")
    if not run.config().num_valid:
        raise KnownError(
            f"Run {run.id} has no validation images, on which the network could be chosen. Train one with num_valid "
            "above 0."
        )
    data = load_dataset(run.config().dataset)
    made = _of_accuracy(run, data, values.accuracy) if values.bytes is None else _of_bytes(run, data, values.bytes)
    output = Path(values.output or f"{run.id}-{len(made.file)}.tiny").expanduser()
    with clear_errors(f"write {output}"):
        write_atomic(output, lambda file: file.write(made.file))
        beside = output.with_name(f"decode_{output.stem}.py")
        write_atomic(beside, lambda file: file.write(tiny.DECODER.read_bytes()))
        picture = output.with_name(f"{output.stem}.png")
        if len(made.file) <= MOST_BYTES:
            write_atomic(picture, lambda file: file.write(qr_code(made.file)))
    score = score_alone(made.file, data)
    say(
        f"{len(made.file):,} bytes, {4 * run.config().parameter_count / len(made.file):,.0f} times smaller than the "
        f"{4 * run.config().parameter_count:,} bytes of the weights of the large network. {made.network.weights:,} "
        f"numbers are not zero. Accuracy {score.accuracy:.2%} on the test images, {made.val_accuracy:.2%} on the "
        f"validation images on which it was chosen; the large network has "
        f"{evaluate(run.kernels(), data.test.images, data.test.labels).accuracy:.2%} on the test images."
    )
    say(f"{output}\n{beside}, {tiny.DECODER.stat().st_size:,} bytes: reads it with NumPy alone.")
    if len(made.file) <= MOST_BYTES:
        say(f"{picture}: the file as a QR code.")


def score_alone(file: bytes, data: Dataset) -> Score:
    """Score a file on the test images as its decoder reads it, in a process without this project.

    Raises:
        KnownError: if the decoder cannot read it.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "network.tiny").write_bytes(file)
        (place / "decoder.py").write_bytes(tiny.DECODER.read_bytes())
        program = "import decoder, numpy; numpy.savez('kernels', *decoder.read(open('network.tiny', 'rb').read()))"
        done = subprocess.run(
            [sys.executable, "-E", "-c", program], cwd=place, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise KnownError(f"The decoder cannot read the file that was made: {done.stderr.splitlines()[-1:]}")
        with np.load(place / "kernels.npz") as kernels:
            return evaluate([kernels[name] for name in kernels.files], data.test.images, data.test.labels)


def _of_bytes(run: Run, data: Dataset, most_bytes: int) -> Smallest:
    values = flags.FLAGS
    with progress_bar(f"{most_bytes:,} bytes", values.epochs, "epoch") as bar:
        return smallest(
            run.kernels(),
            data,
            run.config().num_valid,
            most_bytes,
            values.epochs,
            values.seed,
            lambda history: bar.update(),
        )


def _of_accuracy(run: Run, data: Dataset, accuracy: float) -> Smallest:
    low, high = float(SMALLEST_BYTES), float(LARGEST_BYTES) / 4
    found, highest = None, 0.0
    for _ in range(TRIALS):
        middle = math.sqrt(low * high)
        made = _of_bytes(run, data, round(middle))
        highest = max(highest, made.val_accuracy)
        reached = made.val_accuracy >= accuracy
        say(f"{len(made.file):,} bytes: {made.val_accuracy:.2%} on validation images")
        if reached:
            found, high = made, middle
        else:
            low = middle
    if found is None:
        raise KnownError(
            f"No network reached {accuracy:.2%} on the validation images; the best had {highest:.2%}. Ask for less, or "
            "allow more --epochs."
        )
    return found


if __name__ == "__main__":
    define_flags()
    command.run(main)
