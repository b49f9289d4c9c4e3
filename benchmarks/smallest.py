"""How small a file can be, and what it still knows: whole files, scored as their decoder reads them.

    python -m benchmarks.smallest [--dataset=digits] [--seeds=0,1,2,3,4] [--bytes=1024,2048] [--epochs=120]

Means over large networks of several seeds ± their sample deviation, each with one smallest file a size. Accuracies are
in percent; the epoch of each was chosen on validation images. What is missing is trained and kept in the cache, so a
second call only reads.
"""

import argparse
import subprocess
import sys

import numpy as np

from benchmarks.recovery import made
from core.config import TrainingConfig
from core.kernels.smallest import EPOCHS
from core.runs import SmallestFile, smallest_files
from core.scoring import experiment

COLUMNS = ("bytes", "not zero", "validation", "test", "large network", "seconds")


def measure(training: TrainingConfig, sizes: list[int], epochs: int) -> tuple[float, list[SmallestFile]]:
    """The large network's test accuracy, and its smallest files in the order of the sizes."""
    run = made(training, experiment([0.0]))
    asked = f"--bytes={','.join(map(str, sizes))}"
    command = [sys.executable, "-m", "core.smallest", f"--run={run.id}", asked, f"--epochs={epochs}"]
    subprocess.run([*command, f"--output_dir={run.root}"], check=True)
    found = {(file.most_bytes, file.epochs, file.seed): file for file in smallest_files(run)}
    return run.result().test_accuracy, [found[size, epochs, 0] for size in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--bytes", default="1024,2048,2953,4096,6144,8192")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.bytes.split(",")]
    configs = [TrainingConfig(dataset=chosen.dataset, seed=int(seed)) for seed in chosen.seeds.split(",")]
    measured = [measure(config, sizes, chosen.epochs) for config in configs]
    print(f"\n{chosen.dataset}, seeds {chosen.seeds}, {chosen.epochs} epochs")
    print(f"{'at most':>8}" + "".join(f"{name:>18}" for name in COLUMNS))
    for index, size in enumerate(sizes):
        files = [each[index] for _, each in measured]
        row = [
            _said([file.bytes for file in files], 0),
            _said([file.weights for file in files], 0),
            _said([100 * file.val_accuracy for file in files]),
            _said([100 * file.test_accuracy for file in files]),
            _said([100 * large for large, _ in measured]),
            _said([file.seconds for file in files], 0),
        ]
        print(f"{size:>8,}" + "".join(f"{cell:>18}" for cell in row))


def _said(values: list[float], digits: int = 2) -> str:
    deviation = f" ± {np.std(values, ddof=1):,.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):,.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
