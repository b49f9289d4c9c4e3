"""Accuracy won back without training, and what it takes: as pruned, repaired with magnitude support, and with ADMM.

    python -m benchmarks.repair [run id] [scope]

By default the default network on digits, and the same k for each layer. Repair sees training images that are not for
validation, without their labels; the accuracy is that on the test images. Each is timed as a whole, with nothing
prepared; then come ten k of one run, as a curve needs them.
"""

import sys
import time

import numpy as np

from core import runs
from core.config import TrainingConfig
from core.datasets import load_dataset
from core.evaluation import evaluate
from core.kernels import Repairer
from core.pruning import rank

SPARSITIES = {"weight": (0.9, 0.95, 0.98, 0.99), "unit": (0.5, 0.8, 0.9, 0.95)}
CURVE = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)


def main() -> None:
    run = runs.open_run(sys.argv[1] if len(sys.argv) > 1 else TrainingConfig().run_id)
    scope = sys.argv[2] if len(sys.argv) > 2 else "layer"
    if not run.is_complete():
        sys.exit(f"There is no complete run {run.id}. Train it first: python -m core.train")
    config, kernels = run.config(), run.kernels()
    data = load_dataset(config.dataset)
    images = data.train.images[config.num_valid :]

    def accuracy(small: list[np.ndarray]) -> float:
        return 100 * evaluate(small, data.test.images, data.test.labels).accuracy

    dense = accuracy(kernels)
    print(f"{run.id}: dense {dense:.2f} %, {len(Repairer(kernels, images).images):,} training images for repair")
    print("method    k       as pruned      magnitude support           ADMM")
    for method, sparsities in SPARSITIES.items():
        ranking = rank(kernels, method, scope=scope)
        for k in sparsities:
            line = f"{method:6}  {k:<5g} {accuracy(ranking.prune(kernels, k)):12.2f} %"
            for support in ("magnitude", "admm"):
                began = time.perf_counter()
                small = Repairer(kernels, images).repair(method, k, support=support, scope=scope).kernels
                seconds = time.perf_counter() - began
                line += f" {accuracy(small):12.2f} % {seconds:6.1f} s"
            print(line, flush=True)
    for method in SPARSITIES:
        began = time.perf_counter()
        repairer = Repairer(kernels, images)
        for k in CURVE:
            repairer.repair(method, k, scope=scope)
        print(f"{method}: a curve of {len(CURVE)} k, ADMM, in {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
