"""Put runs beside each other: one long table, seeds folded to mean and deviation, and knees."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from core.pruning import METHODS, RANKINGS, SCOPES
from core.runs import Run

DROPS = (0.005, 0.01, 0.02)
"""How much accuracy a knee may cost."""
_CURVE = ["configuration", "dataset", "method", "ranking", "scope"]
"""What tells one curve from another once seeds are folded."""
ROW = [*_CURVE, "k"]
"""What tells one row of `fold_seeds` from another."""


def long_table(runs: Iterable[Run], tables: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Everything scored of some complete runs, tidy: one row a run, criterion and k.

    Args:
        runs: complete runs.
        tables: sweeps to take instead of what is on disk, by run id.

    Returns:
        run, dataset, seed, method, ranking, scope, ranking_seed (of the random ranking), k, zeroed, removable
        (weights), accuracy (0 to 1), loss (nats), dense_accuracy, dense_loss, then every other hyper-parameter,
        `parameters` (weights of the dense network), the library versions and the machine.

    Raises:
        RunError: if a run cannot be read.
    """
    parts = []
    for run in runs:
        config, result = run.config(), run.result()
        sweep = (tables or {}).get(run.id)
        sweep = run.sweep() if sweep is None else sweep
        if result is None or sweep.empty:
            continue
        rest = {
            # Widths stay one cell: 1000x1000x500x200.
            name: "x".join(map(str, value)) if isinstance(value, list) else value
            for name, value in config.to_dict().items()
            if name not in ("dataset", "seed")
        }
        parts.append(
            pd.DataFrame({"run": run.id, "dataset": config.dataset, "seed": config.seed}, index=sweep.index).assign(
                method=sweep.method,
                ranking=sweep.ranking,
                scope=sweep.scope,
                ranking_seed=sweep.seed,
                k=sweep.sparsity,
                zeroed=sweep.zeroed,
                # Runs from before `removable` was counted get it when they are scored again.
                removable=sweep.get("removable", pd.Series(np.nan, sweep.index)).astype("Int64"),
                accuracy=sweep.accuracy,
                loss=sweep.loss,
                dense_accuracy=result.test_accuracy,
                dense_loss=result.test_loss,
                **rest,
                parameters=config.parameter_count,
                **result.versions,
                machine=result.machine,
                configuration=config.describe(),
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def fold_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that differ in nothing but the seed, folded into one.

    Args:
        table: from `long_table`.

    Returns:
        One row a configuration, criterion and k: configuration, dataset, method, ranking, scope, k; n (how
        many values were averaged: networks, times random orders for the random ranking); whole (whether that is all
        of the curve's networks and orders); networks (how many); zeroed, removable, remaining (weights), accuracy,
        change (from the dense network of the same run) and loss, each the mean over n; accuracy_sd, change_sd,
        loss_sd, the sample deviations, not a number where n is 1; compression (dense weights over the mean of the
        remaining ones).
        Several runs of the same settings and seed are one network.
    """
    if table.empty:
        return pd.DataFrame()
    removable = table.removable.astype(float)
    rows = table.assign(
        removable=removable,
        remaining=table.parameters - removable,
        change=table.accuracy - table.dense_accuracy,
    ).drop_duplicates([*ROW, "seed", "ranking_seed"])
    groups = rows.groupby(ROW, sort=False)
    # What was not counted for one of them is not known of their mean.
    means = ["parameters", "zeroed", "removable", "remaining", "accuracy", "change", "loss"]
    means += ["dense_accuracy", "dense_loss"]
    folded = groups[means].mean(skipna=False)
    for measure in ("accuracy", "change", "loss"):
        folded[f"{measure}_sd"] = groups[measure].std()
    folded["n"] = groups.size()
    folded["networks"] = groups.seed.nunique()
    # Where nothing remains there is no ratio.
    folded["compression"] = folded.parameters / folded.remaining.where(folded.remaining > 0)
    folded = folded.reset_index()
    networks = rows.drop_duplicates([*_CURVE, "seed", "ranking_seed"]).groupby(_CURVE).size().rename("whole")
    folded["whole"] = folded.n == folded.join(networks, on=_CURVE).whole
    usual_first = {name: index for index, name in enumerate([*METHODS, *RANKINGS, *SCOPES])}
    return folded.sort_values(ROW, key=lambda column: column.replace(usual_first), ignore_index=True)


def knees(folded: pd.DataFrame, drops: Sequence[float] = DROPS) -> pd.DataFrame:
    """The largest scored k that costs at most so much accuracy, for each curve, whatever smaller ones cost.

    Only sparsities that every network of every curve was scored at are looked at, so that curves can be compared.

    Args:
        folded: from `fold_seeds`.
        drops: how much accuracy it may cost, 0 to 1.

    Returns:
        One row a curve: what names it, n, and a column a drop, named by it, with that k; not a number if there is none.
    """
    rows = []
    common = set.intersection(*(set(curve.k[curve.whole]) for _, curve in folded.groupby(_CURVE)))
    for key, curve in folded.groupby(_CURVE, sort=False):
        row = dict(zip(_CURVE, key, strict=True)) | {"n": int(curve.n.max())}
        curve = curve[curve.k.isin(common)]
        # A drop of exactly the limit is allowed, whatever its last binary digit.
        rows.append(row | {drop: curve.k[curve.change >= -drop - 1e-9].max() for drop in drops})
    return pd.DataFrame(rows)


def select_criteria(
    table: pd.DataFrame, criteria: Iterable[tuple[str, str]], sparsities: Iterable[float]
) -> pd.DataFrame:
    """The rows of a long table ranked in one of some ways (ranking, scope), at exactly these sparsities."""
    if table.empty:
        return table
    wanted = pd.MultiIndex.from_tuples(list(criteria), names=["ranking", "scope"])
    return table[pd.MultiIndex.from_frame(table[["ranking", "scope"]]).isin(wanted) & table.k.isin(list(sparsities))]
