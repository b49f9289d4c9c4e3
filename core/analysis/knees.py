"""How far a network can be pruned: chosen on validation images, reported on test images; and the area under a curve."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from core.analysis.comparison import CURVE, defaults_first, per_network
from core.pruning import CHANCE

DROPS = (0.005, 0.01, 0.02)
"""How much accuracy a knee may cost."""


def knees(table: pd.DataFrame, drops: Sequence[float] = DROPS) -> pd.DataFrame:
    """How far each curve can be pruned before it costs more than so much accuracy.

    The knee of a network is the largest scored k such that neither it nor any smaller one falls further below the
    dense network than the drop, on validation images. What is reported of it there is measured on test images, which
    choose nothing. Only sparsities that all networks of a curve were scored at count; other curves do not matter, so a
    curve has the same knees wherever it is shown.

    Args:
        table: from `long_table`; rankings by chance are left out.
        drops: how much validation accuracy it may cost, 0 to 1.

    Returns:
        One row a curve and drop: the columns of `CURVE`, drop; n (networks); scored (at how many sparsities, with
        validation images); k and k_sd, next (the next k that was scored: the truth lies between the two), accuracy,
        accuracy_sd, change and change_sd (on test images, at each network's own knee): means and sample deviations over
        networks. Not a number if a network has no knee, or no validation images; the deviations also if n is 1.
    """
    ranked = table if table.empty else table[~table.ranking.isin(CHANCE)]
    if ranked.empty:
        return pd.DataFrame()
    rows = []
    for key, curve in defaults_first(per_network(ranked)).groupby(CURVE, sort=False):
        columns = curve.pivot(index="k", columns="seed", values=["val_accuracy", "accuracy", "change"])
        columns = columns.dropna()
        dense = curve.groupby("seed").dense_val_accuracy.first()
        for drop in drops:
            row = dict(zip(CURVE, key, strict=True)) | {"drop": drop, "n": len(dense), "scored": len(columns)}
            rows.append(row | _knee(columns, dense.to_numpy() - drop))
    return pd.DataFrame(rows)


def _knee(columns: pd.DataFrame, limits: np.ndarray) -> dict[str, float]:
    """The knees of some networks, folded.

    Args:
        columns: a row a sparsity, and for each measure a column a network.
        limits: of shape (networks,): the validation accuracy that has to be kept.
    """
    # A drop of exactly the limit is allowed, whatever its last binary digit.
    kept = columns.val_accuracy.to_numpy() >= limits - 1e-9
    # The first crossing ends it: what holds again further on is luck.
    last = np.logical_and.accumulate(kept, axis=0).sum(axis=0) - 1 if len(columns) else np.full(len(limits), -1)
    if (last < 0).any():
        return dict.fromkeys(["k", "k_sd", "next", "accuracy", "accuracy_sd", "change", "change_sd"], np.nan)
    network = np.arange(len(limits))
    sparsities = np.append(columns.index.to_numpy(float), np.nan)
    folded = {"next": float(sparsities[last + 1].mean())}
    for name, values in {
        "k": sparsities[last],
        "accuracy": columns.accuracy.to_numpy()[last, network],
        "change": columns.change.to_numpy()[last, network],
    }.items():
        folded |= _mean_and_deviation(name, values)
    return folded


def areas(table: pd.DataFrame, sparsities: Iterable[float]) -> pd.DataFrame:
    """The area under each accuracy curve over the range of k: the mean test accuracy there, one number a curve.

    By the trapezoid rule between the sparsities given, over their range, so that curves can be compared; not a number
    for a curve that has not been scored at all of them.

    Args:
        table: from `long_table`.
        sparsities: at least two.

    Returns:
        One row a curve: the columns of `CURVE`, area and area_sd (mean and sample deviation over networks).
    """
    wanted = sorted(set(sparsities))
    rows = []
    for key, curve in per_network(table).groupby(CURVE, sort=False):
        accuracy = curve.pivot(index="k", columns="seed", values="accuracy").reindex(wanted).to_numpy()
        width = wanted[-1] - wanted[0] if wanted else 0
        area = np.trapezoid(accuracy, wanted, axis=0) / width if width else np.full(accuracy.shape[1], np.nan)
        rows.append(dict(zip(CURVE, key, strict=True)) | _mean_and_deviation("area", area))
    return pd.DataFrame(rows)


def _mean_and_deviation(name: str, values: np.ndarray) -> dict[str, float]:
    return {name: float(values.mean()), f"{name}_sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan}
