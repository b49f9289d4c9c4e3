"""Tables of made-up networks and trainings, for numbers worked out by hand."""

import pandas as pd


def scores(run: str, seed: int, accuracies: list[float], **settings) -> pd.DataFrame:
    """A long table of one made-up network: accuracies at k = 0, 0.5, 0.9; on validation images the same.

    Of other columns one value, or one a row.
    """
    return pd.DataFrame(
        {
            "run": run,
            "dataset": "digits",
            "seed": seed,
            "method": "weight",
            "ranking": "magnitude",
            "scope": "layer",
            "ranking_seed": 0,
            "recovery": "none",
            "state": "as pruned",
            "k": [0, 0.5, 0.9][: len(accuracies)],
            "zeroed": [0, 500, 900][: len(accuracies)],
            "removable": [0, 500, 920][: len(accuracies)],
            "multiply_adds": [1_000, 900, 400][: len(accuracies)],
            "faster": [1, 1.1, 2.5][: len(accuracies)],
            "sparsity_hidden": [0, 0.5, 0.9][: len(accuracies)],
            "accuracy": accuracies,
            "val_accuracy": accuracies,
            "agreement": [1, 0.9, 0.5][: len(accuracies)],
            "worst_class": [0.8, 0.7, 0][: len(accuracies)],
            "loss": [0.1, 0.2, 0.3][: len(accuracies)],
            "dense_accuracy": accuracies[0],
            "dense_loss": 0.1,
            "dense_val_accuracy": accuracies[0],
            "parameters": 1_000,
            "configuration": "digits",
        }
        | settings
    )


def history_of(epochs: int) -> pd.DataFrame:
    """What was written after so many epochs, all of them alike."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    return pd.DataFrame({"epoch": range(1, epochs + 1)}).assign(**dict.fromkeys(names, 0.5))
