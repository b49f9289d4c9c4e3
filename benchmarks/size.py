"""What pruning makes smaller and faster: whole files, and the time of one image and of many, beside the dense network.

    python -m benchmarks.size [run id]

By default the default network on digits. Times are measured in one run, in turn, with one thread each; the ratios are
what counts. The last lines hold the figures of unit pruning at k = 0.9 against what is required of them.
"""

import sys

import pandas as pd

from core import runs
from core.analysis import footprint, latency
from core.config import TrainingConfig
from core.datasets import Split, load_dataset
from core.kernels import Compacted, compact, difference
from core.kernels.number_formats import NUMBER_FORMATS, whole
from core.pruning import prune
from core.speed import readable, variants

NETWORKS = (("unit", 0.5), ("unit", 0.8), ("unit", 0.9), ("weight", 0.5), ("weight", 0.9), ("weight", 0.99))
REQUIRED = {"one_faster": ("one image", 5), "many_faster": ("10,000 images", 10)}


def files(network: Compacted, test: Split) -> pd.DataFrame:
    return pd.DataFrame(footprint.files(network, test.images, test.labels)).set_index("format")


def main() -> None:
    run = runs.open_run(sys.argv[1] if len(sys.argv) > 1 else TrainingConfig().run_id)
    if not run.is_complete():
        sys.exit(f"There is no complete run {run.id}. Train it first: python -m core.train")
    kernels, test = run.kernels(), load_dataset(run.config().dataset, run.root).test
    dense = files(whole(kernels), test)
    print(f"{run.id}, {latency.machine()}, one thread each\n\ndense, bytes\n{dense.to_string()}\n")
    for method, k in NETWORKS:
        pruned = prune(kernels, method, k)
        tiny = compact(pruned)
        apart = difference(pruned, tiny, test.images)
        print(
            f"{method} pruning at {k:g}: {whole(kernels).multiply_adds / max(tiny.multiply_adds, 1):.1f} times "
            f"fewer multiply-adds; {apart.changed} of {apart.images:,} predictions changed by compacting, logits by "
            f"{apart.logits:.1e} of the largest"
        )
        found = files(tiny, test)
        ratio = {"smaller": dense.bytes["float32"] / found.bytes}
        ratio["smaller, compressed"] = dense.compressed["float32"] / found.compressed
        print(found.assign(**ratio).loc[list(NUMBER_FORMATS)].to_string(float_format="{:.4g}".format))
        for step in latency.measure(variants(kernels, pruned), test.images):
            table = step.table
        print(f"{readable(table)}\n", flush=True)
        if (method, k) == ("unit", 0.9):
            required = table[(table.network == "compacted") & (table.runtime == "NumPy")].iloc[0]
    for column, (what, least) in REQUIRED.items():
        verdict = "held" if required[column] >= least else "MISSED"
        print(
            f"unit pruning at 0.9, {what}: {required[column]:.1f} times as fast; at least {least} required: {verdict}"
        )


if __name__ == "__main__":
    main()
