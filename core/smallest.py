"""Makes the smallest files of a trained network that still read its images.

Either the most bytes of each file are given, or the accuracy that is wanted; then the smallest file is looked for whose
accuracy on the validation images is as high. The test images are scored once for each file, as its decoder reads it in
a process of its own. What is made is kept with the run.
"""

import dataclasses
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from absl import flags

from core import command
from core.config import ConfigError
from core.datasets import Dataset, load_dataset
from core.errors import KnownError, RunError
from core.evaluation import Score, evaluate
from core.exports.qr import MOST_BYTES, qr_code
from core.files import os_errors_as, write_atomic
from core.kernels import smallest
from core.kernels.smallest import EPOCHS, LARGEST_BYTES, SMALLEST_BYTES
from core.runs import Run, SmallestFile, Work, keep_smallest, layout, open_run, read_smallest, smallest_files, told_work
from core.settings import cache_root
from core.terminal import echo, progress_bar

TRIALS = 5
"""How many sizes are tried for an accuracy: each halves the range of sizes, on a scale of ratios, in which it lies."""


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("run", None, "The id of a complete run.")
    flags.DEFINE_list(
        "bytes", None, f"The most bytes of the file, from {SMALLEST_BYTES} to {LARGEST_BYTES}; several with commas."
    )
    flags.DEFINE_float("accuracy", None, "Instead of the bytes: the accuracy on validation images, from 0 to 1.")
    flags.DEFINE_integer("epochs", EPOCHS, "How long each network is trained.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer("seed", 0, "The random seed.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", None, "A file to write the network to as well, with its decoder beside it.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache with the run.")


def main(_: list[str]) -> None:
    """The command: make the files, keep them, and say what came out."""
    values = flags.FLAGS
    sizes = _chosen_sizes()
    if not values.run:
        raise ConfigError("--run: expected the id of a complete run. Received nothing.")
    if values.output and sizes and len(sizes) > 1:
        raise ConfigError("--output: expected one size in --bytes, for one file. Received several.")
    output = command.chosen_output()
    if output and output.suffix in (".png", ".py"):
        raise ConfigError(
            f"output: expected another ending than .png and .py, which stand beside it. Received: {output}."
        )
    run = open_run(values.run, command.chosen_path("output_dir"))
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} in {run.root}. Train it first.")
    if not run.config().num_valid:
        raise KnownError(
            f"Run {run.id} has no validation images, on which the network could be chosen. Train one with num_valid "
            "above 0."
        )
    path, asked = layout.work(run.root, run.id, layout.SMALLEST), ",".join(map(str, sizes or ()))
    begun = Work(0, len(sizes) if sizes else TRIALS, epochs=values.epochs, sizes=asked, seed=values.seed)
    stopped = "The making of smallest files was stopped; those that were ready are kept."
    with run.lock(layout.SMALLEST, timeout=1), told_work(path, begun, stopped) as tell:
        data = load_dataset(run.config().dataset, run.root)
        if sizes:
            for done, size in enumerate(sizes):
                made = _made(run, data, size, tell, dataclasses.replace(begun, done=done))
                echo(_in_words(run, made))
        else:
            made = _of_accuracy(run, data, values.accuracy, tell, begun)
            echo(_in_words(run, made))
    if output:
        _write(output, read_smallest(run, made))


def score_alone(file: bytes, data: Dataset) -> Score:
    """Score a file on the test images as its decoder reads it, in a process without this project.

    Raises:
        KnownError: if the decoder cannot read it.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "network.tiny").write_bytes(file)
        (place / "decoder.py").write_bytes(smallest.DECODER.read_bytes())
        program = "import decoder, numpy; numpy.savez('kernels', *decoder.read(open('network.tiny', 'rb').read()))"
        done = subprocess.run(
            [sys.executable, "-E", "-c", program], cwd=place, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = done.stderr.rstrip().rpartition("\n")[2]
            raise KnownError(f"The decoder cannot read the file that was made. {last}")
        with np.load(place / "kernels.npz") as kernels:
            return evaluate([kernels[name] for name in kernels.files], data.test.images, data.test.labels)


def _chosen_sizes() -> list[int] | None:
    values = flags.FLAGS
    if (values.bytes is None) == (values.accuracy is None):
        raise ConfigError("--bytes, --accuracy: expected one of the two. Received both or none.")
    if values.bytes is None:
        if not 0 < values.accuracy < 1:
            raise ConfigError(f"--accuracy: expected a number between 0 and 1. Received: {values.accuracy:g}.")
        return None
    sizes = [int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0 for text in values.bytes]
    if not sizes or not all(SMALLEST_BYTES <= size <= LARGEST_BYTES for size in sizes):
        raise ConfigError(
            f"--bytes: expected {SMALLEST_BYTES:,} to {LARGEST_BYTES:,}. Received: {', '.join(values.bytes)}."
        )
    return sizes


def _made(run: Run, data: Dataset, most_bytes: int, tell: Callable[[Work], None], before: Work) -> SmallestFile:
    """The network of that size; one that was made before is taken."""
    values = flags.FLAGS
    asked = (most_bytes, values.epochs, values.seed)
    for made in smallest_files(run):
        if (made.most_bytes, made.epochs, made.seed) == asked:
            return made
    # TensorFlow takes seconds to load.
    from core.training.smallest import smallest

    began = time.perf_counter()
    with progress_bar(f"{most_bytes:,} bytes", values.epochs, "epoch") as bar:

        def follow(history: pd.DataFrame) -> None:
            last = history.iloc[-1]
            epoch = int(last.epoch)
            done = before.done + epoch / values.epochs
            now = {"bytes": int(last.bytes), "val_accuracy": float(last.val_accuracy)}
            tell(dataclasses.replace(before, done=done, most_bytes=most_bytes, epoch=epoch, **now))
            bar.update()

        source = run.version()
        network, held_out = run.network(), run.config().num_valid
        found = smallest(network, data, held_out, most_bytes, values.epochs, values.seed, follow)
    made = SmallestFile(
        *asked,
        bytes=len(found.file),
        weights=found.network.weights,
        val_accuracy=found.val_accuracy,
        test_accuracy=score_alone(found.file, data).accuracy,
        seconds=round(time.perf_counter() - began, 1),
        source=source,
    )
    keep_smallest(run, made, found.file)
    return made


def _of_accuracy(run: Run, data: Dataset, accuracy: float, tell: Callable[[Work], None], begun: Work) -> SmallestFile:
    low, high = float(SMALLEST_BYTES), LARGEST_BYTES / 4
    found, highest = None, 0.0
    for done in range(TRIALS):
        middle = math.sqrt(low * high)
        made = _made(run, data, round(middle), tell, dataclasses.replace(begun, done=done))
        highest = max(highest, made.val_accuracy)
        echo(f"{made.bytes:,} bytes: {made.val_accuracy:.2%} on validation images")
        if made.val_accuracy >= accuracy:
            found, high = made, middle
        else:
            low = middle
    if found is None:
        raise KnownError(
            f"No network reached {accuracy:.2%} on the validation images; the best had {highest:.2%}. Ask for less, or "
            "allow more --epochs."
        )
    return found


def _in_words(run: Run, made: SmallestFile) -> str:
    large = 4 * run.layers().weights
    return (
        f"{made.bytes:,} bytes, {large / made.bytes:,.0f} times smaller than the {large:,} bytes of the weights of the "
        f"large network; {made.weights:,} numbers are not zero. Accuracy {made.test_accuracy:.2%} on the test images, "
        f"{made.val_accuracy:.2%} on the validation images on which it was chosen; the large network has "
        f"{run.ended_with().test_accuracy:.2%} on the test images."
    )


def _write(output: Path, file: bytes) -> None:
    output = output.parent.resolve() / output.name
    decoder, picture = output.with_name(f"decode_{output.stem}.py"), output.with_name(f"{output.stem}.png")
    with os_errors_as(f"write {output}"):
        write_atomic(output, lambda out: out.write(file))
        write_atomic(decoder, lambda out: out.write(smallest.DECODER.read_bytes()))
        if len(file) <= MOST_BYTES:
            write_atomic(picture, lambda out: out.write(qr_code(file)))
            echo(f"{picture}: the file as a QR code.")
    echo(f"{output}\n{decoder}, {smallest.DECODER.stat().st_size:,} bytes: reads it with NumPy alone.")


if __name__ == "__main__":
    define_flags()
    command.run(main)
