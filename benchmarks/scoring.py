"""Pruning and scoring against the bare matrix products, and the whole experiment against a loop over Keras.

    python -m benchmarks.scoring [dataset] [rounds]

Random kernels of the default network stand in for trained ones if no run of the dataset is cached; the shapes, and so
the work of dense scoring, are the same.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from core import runs
from core.config import K_VALUES, TrainingConfig
from core.datasets import Split, load_dataset
from core.evaluation import evaluate
from core.pruning import METHODS, prune, rank
from core.sweep import sweep
from core.training.network import build


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(name: str, ours: Callable[[], object], other: Callable[[], object], rounds: int, note: str) -> None:
    """Time two alternatives in turn and print the median of the ratios other / ours."""
    pairs = [(seconds(ours), seconds(other)) for _ in range(rounds)]
    own, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"{name:44} {1000 * own:9.1f} ms   {note} {1000 * theirs:9.1f} ms   ratio {ratio:6.2f}", flush=True)


def bare_products(kernels: list[np.ndarray], images: np.ndarray) -> None:
    """The matrix products of a dense forward pass, and nothing else."""
    for start in range(0, len(images), 1_000):
        activations = images[start : start + 1_000]
        for kernel in kernels:
            activations = activations @ kernel


def keras_loop(config: TrainingConfig, kernels: list[np.ndarray], test: Split) -> None:
    """The experiment as it is commonly written: clone, set weights, compile, evaluate."""
    import keras

    model = build(config)
    for method in METHODS:
        for k in K_VALUES:
            clone = keras.models.clone_model(model)
            clone.set_weights(prune(kernels, method, k))
            clone.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
            clone.evaluate(test.images, test.labels, verbose=0)


def main() -> None:
    dataset = sys.argv[1] if len(sys.argv) > 1 else "digits"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    config = TrainingConfig(dataset=dataset)
    run = runs.open_run(config.run_id)
    kernels = run.kernels() if run.is_complete() else build(config).get_weights()
    test = load_dataset(dataset).test
    print(f"{dataset}, {'trained' if run.is_complete() else 'untrained'} kernels, {len(test.labels):,} images")

    def score(method: str, k: float) -> Callable[[], object]:
        pruned = prune(kernels, method, k)
        return lambda: evaluate(pruned, test.images, test.labels)

    dense = score("weight", 0)
    dense()
    for method in METHODS:
        ranking = rank(kernels, method)
        times = [
            seconds(lambda k=k, ranking=ranking: ranking.prune(kernels, k)) for k in K_VALUES for _ in range(rounds)
        ]
        print(f"prune by {method} at any k: median {1000 * statistics.median(times):.1f} ms")
    compare("dense scoring", dense, lambda: bare_products(kernels, test.images), rounds, "bare products")
    for method, k in (("unit", 0.5), ("unit", 0.8), ("unit", 0.9), ("weight", 0.9), ("weight", 0.97), ("weight", 0.99)):
        compare(f"{method} pruning at {k:g}", score(method, k), dense, rounds, "dense        ")

    def experiment() -> None:
        sweep(kernels, test.images, test.labels)

    def products() -> None:
        for _ in range(len(METHODS) * len(K_VALUES)):
            bare_products(kernels, test.images)

    compare("the experiment, 10 k, both methods", experiment, products, max(1, rounds // 2), "dense products")
    compare(
        "the experiment, 10 k, both methods", experiment, lambda: keras_loop(config, kernels, test), 1, "Keras loop   "
    )


if __name__ == "__main__":
    main()
