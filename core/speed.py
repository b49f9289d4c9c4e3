"""Measures how fast a pruned network answers: one image and many, beside the dense network, in every runtime here.

What comes out is kept with the run, with the machine it was measured on.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
from absl import flags, logging

from core import command, turns
from core import config as configuration
from core.analysis import latency
from core.analysis.footprint import NETWORKS
from core.datasets import load_dataset
from core.errors import RunError
from core.exports.models import runtimes
from core.kernels import DEFAULT_SUPPORT, SUPPORTS, compact
from core.kernels.number_formats import whole
from core.network import Kernels, Network, as_network
from core.pruning import METHODS, RANKINGS, SCOPES, Sparsity
from core.runs import Run, Work, layout, open_run, told_work
from core.settings import cache_root
from core.state import BY_KEY, STATES, state_of
from core.sweep import Criterion
from core.terminal import echo, progress_bar

WAIT_SECONDS = 0.2
"""Between two looks whether it is the turn of this measurement."""


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("run", None, "The id of a complete run.")
    flags.DEFINE_enum("method", "unit", METHODS, "What is pruned: single weights or whole units.")
    flags.DEFINE_string(
        "sparsity",
        "0.9",
        "The sparsities to measure at, separated by commas; or one for each hidden layer, as 0.9:0.5.",
    )
    flags.DEFINE_enum(
        "recovery",
        "none",
        [state.keys[0] for state in STATES.values()],
        "The network as pruned, repaired or fine-tuned (trained). One that is repaired or fine-tuned has to be there.",
    )
    flags.DEFINE_enum("ranking", "magnitude", RANKINGS, "What goes first in a network that is only pruned.")
    flags.DEFINE_enum("support", DEFAULT_SUPPORT, SUPPORTS, "How what stays was chosen in a repaired network.")
    flags.DEFINE_enum(
        "scope", "layer", SCOPES, "Prune the fraction k of each hidden layer, or of all of them together."
    )
    flags.DEFINE_integer("threads", 1, "How many threads each runtime may use.", 1, 256)
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache with the run.")


def main(_: list[str]) -> None:
    """The command: measure, keep, and say what came out."""
    values = flags.FLAGS
    # What converts networks for the runtimes tells of its steps.
    logging.set_verbosity(logging.ERROR)
    if not values.run:
        raise configuration.ConfigError("--run: expected the id of a complete run. Received nothing.")
    run = open_run(values.run, command.chosen_path("output_dir"))
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} in {run.root} to measure. Train it first.")
    criterion = BY_KEY[values.recovery].chosen(values.flag_values_dict())
    sparsities = chosen_sparsities(values.sparsity, len(run.layers().layers) - 1)
    stopped = "The measurement was stopped; what was measured until then is kept."
    work = turns.Work(str(run.root), run.id, turns.SPEED, time.time())
    with (
        run.lock(layout.SPEED),
        told_work(layout.work(run.root, run.id, layout.SPEED), Work(0, len(sparsities)), stopped) as tell,
        turns.Turn(run.root) as turn,
    ):
        for index, k in enumerate(sparsities):
            table = None
            # Beside other work the times would say nothing.
            while not turn.take(work):
                tell(Work(index, len(sparsities)))
                time.sleep(WAIT_SECONDS)
            with progress_bar("Measuring", 1, "network") as bar:
                for step in measured(run, criterion, k, values.threads):
                    bar.update(step.done / step.total - bar.n)
                    tell(Work(index + step.done / step.total, len(sparsities)))
                    table = step.table
            echo(f"{values.method} pruning, k = {k}\n{readable(table)}\n")
    echo(f"{latency.machine()}; {values.threads} thread{'' if values.threads == 1 else 's'} each.")


def chosen_sparsities(text: str, layers: int) -> list[Sparsity]:
    """The sparsities of the flag.

    Raises:
        ConfigError: for anything that is no list of sparsities, and not one for each of the hidden layers.
    """
    if ":" not in text:
        return [Sparsity(k) for k in configuration.parse_k_values(text, "sparsity")]
    k = Sparsity.parse(text.replace(":", ","), layers)
    if k is None:
        raise configuration.ConfigError(
            f"--sparsity: expected one number from 0 to 1 for each of the {layers} hidden layers. Received: {text!r}."
        )
    return [k]


def measured(run: Run, criterion: Criterion, k: Sparsity, threads: int = 1) -> Iterator[latency.Progress]:
    """Measure one network, and keep what came out with its run.

    Raises:
        RunError: if there is no such network, or the run cannot be read or written.
    """
    version, state = run.version(), state_of(run, criterion)
    of, pruned = state.version(k), state.network(k)
    if pruned is None:
        raise RunError(
            f"Run {run.id} has no {state.words} network of {criterion.method} pruning at k = {k}. "
            f"{'Repair' if state.is_repair else 'Fine-tune'} it at this k first."
        )
    config = run.config()
    images = load_dataset(config.dataset, run.root).test.images
    for step in latency.measure(variants(run.network(), pruned, threads), images, threads):
        if step.table is not None:
            record = {
                "source": of,
                "measured": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": latency.machine(),
                "threads": threads,
                "images": latency.IMAGES,
                "batch": latency.BATCH,
                "versions": latency.versions(["numpy", "scipy", *runtimes.packages()]),
                "rows": step.table.to_dict("records"),
            }
            run.keep_speed(criterion.key(k), record, version)
        yield step


def variants(dense: Network | Kernels, pruned: Network | Kernels, threads: int = 1) -> list[latency.Variant]:
    """A network in every runtime that is here: as it was trained, with its zeros in place, and compacted."""
    tiny, pixels = compact(pruned), as_network(dense).inputs
    held = {"dense": whole(dense), "pruned": whole(pruned), "compacted": tiny}
    found = latency.in_numpy(dense, pruned)
    # Where nothing is left there is nothing to convert.
    for runtime in runtimes.available() if tiny.multiply_adds else ():
        _, load = runtimes.RUNTIMES[runtime]
        found += [latency.Variant(name, runtime, load(form, pixels, threads)) for name, form in held.items()]
    return found


def readable(table: pd.DataFrame) -> str:
    """A table of `core.analysis.latency.measure` as people read it."""
    shown = pd.DataFrame(
        {
            "network": table.network.map(NETWORKS),
            "runtime": table.runtime,
            "one image": [f"{1e6 * m:,.1f} µs ({1e6 * a:,.1f}–{1e6 * b:,.1f})" for m, a, b in _spread(table, "one")],
            "faster": table.one_faster.map("{:.1f}×".format),
            "images a second": [f"{m:,.0f} ({a:,.0f}–{b:,.0f})" for m, a, b in _spread(table, "many")],
            "faster ": table.many_faster.map("{:.1f}×".format),
        }
    )
    return shown.to_string(index=False)


def _spread(table: pd.DataFrame, what: str) -> Iterator[tuple[float, float, float]]:
    return zip(table[f"{what}_median"], table[f"{what}_q1"], table[f"{what}_q3"], strict=True)


if __name__ == "__main__":
    define_flags()
    command.run(main)
