"""Prunes a trained network, fine-tunes it, and runs pruning experiments on what comes out.

It becomes a run of its own, which knows its parent. A run that exists is not trained again; its pruning experiments are
run for the sparsities that are still missing. A run that another process is training is waited for.
"""

from absl import flags

from core import command, make
from core.config import RECOVERY, ConfigError, RecoveryConfig
from core.errors import RunError
from core.runs import open_run

flags.DEFINE_string("run", None, "The run id of the network to prune and fine-tune.")
command.define_finetuning()
make.define_flags()


def main(_: list[str]) -> None:
    """The command: prune and fine-tune if needed, then prune and score at every k."""
    values = flags.FLAGS
    if values.run is None:
        if values.train or not values.experiment_id:
            raise ConfigError("run: expected the run id of the network to prune and fine-tune. Received nothing.")
        # Only scores are asked for: the run has its configuration, and the parent may be gone.
        run = make.chosen_run()
        make.make(run, run.config())
        return
    parent = open_run(values.run, command.chosen_path("output_dir"))
    if not parent.is_complete():
        raise RunError(
            f"There is no complete run {parent.id} in {parent.root} to prune and fine-tune. Train it, or name another."
        )
    config = RecoveryConfig(parent.config(), parent.id, **{name: values[name].value for name in RECOVERY})
    make.make(make.chosen_run(config), config)


if __name__ == "__main__":
    command.run(main)
