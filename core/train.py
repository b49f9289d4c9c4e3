"""Trains the model and runs pruning experiments.

A run that exists is not trained again; its pruning experiments are run for the sparsities that are
still missing. A run that another process is training is waited for.
"""

from core import command, make

command.define_parameters()
make.define_flags()


def main(_: list[str]) -> None:
    """The command: train if needed, then prune and score at every k."""
    config = command.chosen_config()
    make.make(make.chosen_run(config), config)


if __name__ == "__main__":
    command.run(main)
