"""What a difference between two curves is worth: paired over seeds; and the error of a test set."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from core.analysis.comparison import CURVE, defaults_first, per_network


def differences(
    table: pd.DataFrame, reference: tuple, measure: str = "accuracy", confidence: float = 0.95
) -> pd.DataFrame:
    """How much each curve lies above one of them, at the same seeds, with a t-interval of the mean difference.

    Networks of one seed have the initial weights and the order of images in common, or are one network pruned in two
    ways: what they share leaves their difference.

    Args:
        table: from `long_table`.
        reference: the curve to compare with, by its values of `CURVE`.
        measure: one of `core.analysis.comparison.MEASURES`.
        confidence: of the interval.

    Returns:
        One row a curve of the same dataset and k at which both know at least two seeds: the columns of `CURVE`, k, n
        (seeds), difference, low and high. Of n = 1 nothing can be said, so there is no row.
    """
    networks = defaults_first(per_network(table)) if len(table) else table
    if networks.empty:
        return pd.DataFrame()
    keys = pd.MultiIndex.from_frame(networks[CURVE])
    base = networks[keys == reference].set_index(["dataset", "k", "seed"])[measure]
    others = networks[keys != reference]
    paired = others.join(base.rename("reference"), on=["dataset", "k", "seed"])
    paired["difference"] = paired[measure] - paired.reference
    groups = paired.dropna(subset="difference").groupby([*CURVE, "k"], sort=False).difference
    found = groups.agg(["size", "mean", "std"]).reset_index()
    found = found[found["size"] > 1]
    half = stdtrit(found["size"] - 1, 0.5 + confidence / 2) * found["std"] / np.sqrt(found["size"])
    return pd.DataFrame(
        found[[*CURVE, "k"]].assign(
            n=found["size"], difference=found["mean"], low=found["mean"] - half, high=found["mean"] + half
        )
    ).reset_index(drop=True)


def sampling_error(accuracy: float, images: int) -> float:
    """The standard error of an accuracy for being measured on so many images only: that of a share (binomial).

    Example:
        `sampling_error(0.98, 10_000)` is 0.0014.
    """
    return float(np.sqrt(accuracy * (1 - accuracy) / images))
