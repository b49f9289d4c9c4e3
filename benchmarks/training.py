"""Training with progress, history and the best epoch kept, against a plain Keras fit of the same network.

    python -m benchmarks.training [dataset] [pairs]

Start-up and compilation are left out: each model takes one epoch before its clock starts. Pairs are measured in
turn, so that a drift of the machine falls on both.
"""

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from core import runs
from core.config import TrainingConfig
from core.datasets import Dataset, load_dataset
from core.training.fit import fit
from core.training.network import build
from core.training.train import Reporter


def plain(config: TrainingConfig, data: Dataset) -> float:
    """Seconds of `model.fit` with nothing around it."""
    images, labels, held_out = data.train.images, data.train.labels, config.num_valid
    model = build(config)

    def fit() -> None:
        model.fit(
            images[held_out:],
            labels[held_out:],
            batch_size=config.batch_size,
            epochs=1,
            validation_data=(images[:held_out], labels[:held_out]),
            verbose=0,
        )

    fit()
    began = time.perf_counter()
    fit()
    return time.perf_counter() - began


def ours(config: TrainingConfig, data: Dataset) -> float:
    """Seconds of the project's own fit, with everything it writes to the cache."""
    model = build(config)
    with tempfile.TemporaryDirectory() as root:
        run = runs.open_run(config.run_id, Path(root))
        with runs.write_run(run, config) as training, tqdm(total=2 * config.batches, leave=False) as bar:
            report = Reporter(training, config, bar, {})
            callbacks = report.batch, report.epoch
            fit(model, config, data, *callbacks, on_checkpoint=report.checkpoint)
            began = time.perf_counter()
            fit(model, config, data, *callbacks, on_checkpoint=report.checkpoint)
            return time.perf_counter() - began


def main() -> None:
    dataset = sys.argv[1] if len(sys.argv) > 1 else "digits"
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    config = dataclasses.replace(TrainingConfig(dataset=dataset), epochs=1)
    data = load_dataset(dataset)
    baselines, owns = [], []
    for _ in range(pairs):
        baseline, own = plain(config, data), ours(config, data)
        baselines.append(baseline)
        owns.append(own)
        print(f"plain fit {baseline:6.2f} s   with progress {own:6.2f} s   ratio {own / baseline:.3f}", flush=True)
    ratios = [own / baseline for own, baseline in zip(owns, baselines, strict=True)]
    # On a busy machine the fastest of each says most: nothing makes work faster than it is.
    print(f"median ratio {statistics.median(ratios):.3f}, ratio of the fastest {min(owns) / min(baselines):.3f}")


if __name__ == "__main__":
    main()
