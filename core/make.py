"""Make a run and what belongs to it: train, prune, score, draw. What the commands that train share."""

import contextlib
import os

from absl import flags

from core import config as configuration
from core import requests
from core.command import chosen_path
from core.config import Config, ConfigError
from core.errors import RunBusyError, RunError
from core.files import advice
from core.pruning import METHODS, SHUFFLED
from core.runs import Run, damage, open_run
from core.scoring import Wanted, baseline, coarse_curve, count, experiment, fine_curve, score_run, unscored_of
from core.settings import cache_root
from core.sweep import results_table
from core.terminal import echo, progress_bar
from core.training.train import train_run

# The flags defined here are those of the command that asks for them, and stand in its --help.
flags.disclaim_key_flags()


def define_flags() -> None:
    """The flags that say where a run is kept, whether it is trained, and what is scored."""
    flags.DEFINE_string(
        "k_vals",
        ",".join(map(str, configuration.K_VALUES)),
        "A list of sparsity values to use in pruning experiments, separated by commas.",
    )
    flags.DEFINE_string(
        "experiment_id",
        None,
        "A unique name to identify the current model and experiment; by default made of the hyper-parameters.",
    )
    flags.DEFINE_bool(
        "force_train", False, "If true, overwrite existing model for given hparam config, once the new one is complete."
    )
    flags.DEFINE_bool("train", True, "If false, never train: only run pruning experiments on a run that exists.")
    flags.DEFINE_bool("baseline", False, "If true, also prune at random at the same sparsities, for comparison.")
    flags.DEFINE_multi_enum(
        "shuffled",
        [],
        sorted(SHUFFLED.values()),
        "With --baseline: also prune at random, with the counts in each layer of this global ranking.",
    )
    flags.DEFINE_bool(
        "fine_curve",
        False,
        "If true, go on to score every whole percent of sparsity, and the other rankings, for the live slider.",
    )
    flags.DEFINE_bool(
        "leave_curve", False, "With --fine_curve: score every tenth percent, and leave the rest to the app."
    )
    flags.DEFINE_string("output_dir", str(cache_root()), "The output directory for checkpoints, figures, etc.")


def chosen_run(config: Config | None = None) -> Run:
    """The run that those flags name; by default that of a configuration.

    Raises:
        RunIdError: for a name that no run can have.
    """
    values = flags.FLAGS
    return open_run(config.run_id if values.experiment_id is None else values.experiment_id, chosen_path("output_dir"))


def make(run: Run, config: Config) -> None:
    """Train a run if needed, then prune and score it at every k, as those flags say.

    Raises:
        KnownError: if it cannot be trained, scored or drawn, or the run is of another configuration.
    """
    values = flags.FLAGS
    sparsities = configuration.parse_k_values(values.k_vals)
    reason = damage(run)
    if reason and not values.force_train:
        raise RunError(
            f"Run {run.id} in {run.root} cannot be read: {reason} Train it again on the page Training, which replaces "
            "it, or delete it on the page Runs.",
            "--force_train trains it again.",
        )
    trained = run.is_complete() and not values.force_train
    if not trained and not values.train:
        raise RunError(f"There is no complete run {run.id} in {run.root} to prune. Train it.", "Leave out --notrain.")
    with contextlib.ExitStack() as scoring:
        if not trained:
            first = experiment(sparsities)
            if values.fine_curve:
                # The slider waits for it: the network can be opened at once, and gets every tenth percent first.
                # Pages leave the scoring to this process.
                first = experiment([0.0])
                with contextlib.suppress(RunBusyError):
                    scoring.enter_context(run.lock("curve", timeout=0))
            train_run(run, config, first, replace=values.force_train)
        if run.config() != config:
            raise _other_config(run, config)
        if trained:
            echo(f"Run {run.id} is trained already.")
        tenths = coarse_curve()[: len(METHODS)] if values.fine_curve and not trained else ()
        score_with_bar(run, [*tenths, *experiment(sparsities)])
    table = results_table(run.sweep(), sparsities)
    echo(f"\n{table.to_string(index=False, float_format='{:.4f}'.format)}\n")
    if values.fine_curve and not values.leave_curve:
        score_at_leisure(run, coarse_curve())
    # Figures are of the sparsities asked for last; to score more of an existing run is not to ask for others.
    if not trained or not (values.baseline or values.fine_curve):
        draw(run, sparsities)
    echo(str(run.folder))
    leaves = values.fine_curve and values.leave_curve
    if leaves:
        requests.ask(run, fine_curve())
    score_at_leisure(
        run,
        [
            *(baseline(sparsities, values.shuffled) if values.baseline else ()),
            *(fine_curve() if values.fine_curve and not leaves else ()),
        ],
    )


def score_with_bar(run: Run, wanted: Wanted, with_predictions: bool = False) -> None:
    """Score what the run does not hold yet, with a progress bar; see `core.scoring.score_run`."""
    with progress_bar("Pruning and scoring", count(unscored_of(run, wanted, with_predictions)), "score") as bar:
        for _ in score_run(run, wanted, with_predictions):
            bar.update()


def score_at_leisure(run: Run, wanted: Wanted) -> None:
    """Score what can wait, giving way to pages that show the run."""
    if not unscored_of(run, wanted, with_predictions=True):
        return
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, 10)
    try:
        with run.lock("curve", timeout=1):
            score_with_bar(run, wanted, with_predictions=True)
    except RunBusyError:
        echo("Another process is scoring this run; run the same command again later for what it leaves out.")


def draw(run: Run, sparsities: list[float]) -> None:
    """Draw the run's figures, histograms and animations into its folder; see `core.exports.pictures.save_all`.

    Raises:
        RunError: if they cannot be written, or the run was deleted or replaced meanwhile.
    """
    # Matplotlib takes a second to import; commands that only print a table need not wait for it.
    from core.exports import pictures

    with run.lock("pictures", timeout=300), progress_bar("Drawing", pictures.count(sparsities), "file") as bar:
        try:
            pictures.save_all(run, sparsities, lambda path: bar.update())
        except OSError as error:
            raise RunError(
                f"Cannot draw into {run.folder}: {error.strerror or error}. {advice(error)} "
                "The scores are safe. Run the same command again to draw."
            ) from error


def _other_config(run: Run, config: Config) -> ConfigError:
    kept, asked = run.config().facts(), config.facts()
    names = [name for name in {**asked, **kept} if kept.get(name) != asked.get(name)]
    differences = [f"{name} {kept.get(name, 'none')} (asked: {asked.get(name, 'none')})" for name in names]
    return ConfigError(
        f"Run {run.id} was trained with other hyper-parameters: {', '.join(differences)}. Delete it on the page Runs.",
        "Another --experiment_id keeps both; --force_train replaces it.",
    )
