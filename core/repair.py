"""Repairs a pruned network without training and without labels, at one sparsity or many, and scores it.

What comes out is kept with the run: a row of its sweep, the predictions, and the repaired kernels.
"""

from absl import flags

from core import command, requests
from core import config as configuration
from core.errors import RunError
from core.kernels import DEFAULT_SUPPORT, SUPPORTS
from core.pruning import METHODS, SCOPES
from core.runs import open_run
from core.scoring import score_run, steps_of, unscored_of
from core.settings import cache_root
from core.state import Repaired, kind_of
from core.sweep import REPAIR_STOPS
from core.terminal import echo, progress_bar


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("run", None, "The id of a complete run.")
    flags.DEFINE_enum("method", "weight", METHODS, "What is pruned: single weights or whole units.")
    flags.DEFINE_string(
        "sparsity",
        ",".join(f"{k:g}" for k in REPAIR_STOPS),
        "The sparsities to repair at, separated by commas; by default those of the live slider.",
    )
    flags.DEFINE_enum(
        "support",
        DEFAULT_SUPPORT,
        SUPPORTS,
        "How what stays is chosen: by least squares (admm), or the largest (magnitude).",
    )
    flags.DEFINE_enum(
        "scope", "layer", SCOPES, "Prune the fraction k of each hidden layer, or of all of them together."
    )
    flags.DEFINE_bool("asked", False, "If true, repair what the pages of the app ask for instead.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache with the run.")


def main(_: list[str]) -> None:
    """The command: repair, score, keep, and say what came out."""
    values = flags.FLAGS
    if not values.run:
        raise configuration.ConfigError("--run: expected the id of a complete run. Received nothing.")
    run = open_run(values.run, command.chosen_path("output_dir"))
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} in {run.root} to repair. Train it first.")
    if values.asked:
        asked = [(criterion, [k]) for criterion, k in requests.steps(run) if kind_of(criterion).is_repair]
        for _ in score_run(run, asked):
            pass
        return
    sparsities = configuration.parse_k_values(values.sparsity, "sparsity")
    criterion = Repaired.chosen(values.flag_values_dict())
    pruned = criterion.as_pruned
    wanted = [(pruned, sparsities), (criterion, sorted(sparsities, reverse=True))]
    missing = unscored_of(run, wanted)
    with progress_bar("Repairing", len(list(steps_of(missing))), "network") as bar:
        for _ in score_run(run, wanted):
            bar.update()
    rows = criterion.select(run.sweep())
    accuracy = pruned.select(run.sweep()).set_index("sparsity").accuracy
    table = rows[rows.sparsity.isin(sparsities)].assign(as_pruned=lambda rows: rows.sparsity.map(accuracy))
    columns = ["sparsity", "as_pruned", "accuracy", "loss", "val_accuracy", "images", "seconds"]
    echo(table[columns].rename(columns={"accuracy": "repaired"}).to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    define_flags()
    command.run(main)
