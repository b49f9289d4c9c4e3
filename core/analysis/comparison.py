"""Put runs beside each other: one long table, the networks of a curve, and seeds folded to mean and deviation."""

import contextlib
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from core.analysis.latency import fastest
from core.errors import KnownError
from core.kernels import compact
from core.pruning import CHANCE, METHODS, RANKINGS, SCOPES, SHUFFLED
from core.runs import Run
from core.state import BY_KEY, FineTuned, children, fine_tuned_by
from core.sweep import RECOVERIES, Criterion, dense_scores

MEASURES = ("accuracy", "change", "loss", "agreement", "worst_class")
"""What is averaged over seeds, with its deviation."""
CURVE = ["configuration", "dataset", "method", "ranking", "scope", "recovery", "state"]
"""What tells one curve from another once seeds are folded."""
ROW = [*CURVE, "k"]
"""What tells one row of `fold_seeds` from another."""
_COST = {"images": "recovery_images", "epochs": "recovery_epochs", "seconds": "recovery_seconds"}
"""What winning back cost: its columns in a sweep and in the tables here, where a run has epochs of its own."""
_MEASURED = ("faster", "sparsity_hidden", "sparsity_network", "accuracy", "loss", "agreement", "worst_class")
_MEASURED += ("val_accuracy", "val_loss")
"""Columns that sweeps and the tables here have by the same name."""
_ORDER = {name: index for index, name in enumerate([*METHODS, *RANKINGS, *CHANCE, *SCOPES, *RECOVERIES])}


def long_table(runs: Iterable[Run], tables: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Everything scored of some complete runs, tidy: one row a run, criterion and k.

    Args:
        runs: complete runs.
        tables: sweeps to take instead of what is on disk, by run id; with a column `state` where they have one.

    Returns:
        run, dataset, seed, method, ranking, scope, ranking_seed (of a ranking by chance), recovery and state (how
        accuracy was won back: a name in `core.sweep.RECOVERIES`, and its words), k, zeroed, removable (weights),
        multiply_adds (of one image, compacted), faster (how many times as fast as dense one image was, where that was
        measured; see `core.analysis.latency.fastest`), sparsity_hidden, sparsity_network, accuracy (0 to 1), loss
        (nats), agreement, worst_class, val_accuracy, val_loss, recovery_images, recovery_epochs, recovery_seconds (what
        winning back cost), dense_accuracy, dense_loss, dense_val_accuracy, then every other hyper-parameter, `parent`
        and `trained_on` (else "none") of fine-tuned networks, whose other settings are the parent's,
        `parameters` (weights of the dense network), the library versions and the machine. What a sweep of an earlier
        version does not say is not a number.

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
        unknown = pd.Series(np.nan, sweep.index)
        rest = {
            # Widths stay one cell: 1000x1000x500x200.
            name: "x".join(map(str, value)) if isinstance(value, list) else value
            for name, value in config.to_row().items()
            if name not in ("dataset", "seed")
        }
        words = sweep.recovery.map(RECOVERIES)
        parts.append(
            pd.DataFrame({"run": run.id, "dataset": config.dataset, "seed": config.seed}, index=sweep.index).assign(
                method=sweep.method,
                ranking=sweep.ranking,
                scope=sweep.scope,
                ranking_seed=sweep.seed,
                recovery=sweep.recovery,
                state=sweep.state.fillna(words) if "state" in sweep else words,
                k=sweep.sparsity,
                zeroed=sweep.zeroed,
                # Runs from before `removable` was counted get it when they are scored again.
                removable=sweep.get("removable", unknown).astype("Int64"),
                multiply_adds=sweep.get("multiply_adds", unknown).astype("Int64"),
                **{name: sweep.get(name, unknown) for name in _MEASURED},
                **{told: sweep.get(name, unknown) for name, told in _COST.items()},
                dense_accuracy=result.test_accuracy,
                dense_loss=result.test_loss,
                dense_val_accuracy=dense_scores(sweep).get("val_accuracy", np.nan),
                **rest,
                parameters=run.layers().weights,
                **result.versions,
                machine=result.machine,
                configuration=config.describe(),
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def rows_of_children(run: Run) -> pd.DataFrame:
    """The fine-tuned networks of a run: its children in the same cache.

    Returns:
        One row a child that is complete, in the columns of a sweep: method, sparsity and recovery as the child was made
        by, its scores from its own sweep at sparsity 0; agreement with the predictions of this run; images (labelled
        ones an epoch), epochs and seconds that it took; and `state`, in words, with what tells one way of fine-tuning
        from another. `seed` is 0, or the child's own where that is not the default. A child that has not been scored
        is left out.
    """
    rows = []
    for child in children(run):
        # The Runs page names those that are damaged.
        with contextlib.suppress(KnownError):
            rows += _as_rows_of(run, child)
    return pd.DataFrame(rows)


def _as_rows_of(run: Run, child: Run) -> list[dict[str, Any]]:
    config, result, row = child.config(), child.result(), dense_scores(child.sweep())
    if result is None or not row:
        return []
    measured = run.speed(fine_tuned_by(config.method).key(config.sparsity))
    default_seed = config.default_of("seed") if hasattr(config, "default_of") else config.seed
    if np.isnan(row.get("multiply_adds", np.nan)):
        row["multiply_adds"] = _multiply_adds(child, result.finished)
    return [
        row
        | {
            "method": config.method,
            "seed": 0 if config.seed == default_seed else config.seed,
            "recovery": config.how,
            "state": _recipe(config),
            "sparsity": config.sparsity,
            "agreement": _agreement(run, child, Criterion("weight").key(0.0)),
            "images": config.spec.train_size - config.num_valid,
            "epochs": config.epochs,
            "seconds": result.training_seconds,  # with the repair that it began with
            "faster": fastest(measured if measured and measured["source"] == child.version() else None),
        }
    ]


@functools.lru_cache(maxsize=1_000)
def _multiply_adds(child: Run, version: str) -> int:
    """Of one image, compacted: from the network itself, as earlier versions did not count them."""
    return compact(child.network()).multiply_adds


def _recipe(config: Any) -> str:
    """How a network was fine-tuned, in words, apart from method and k, which tables say beside it."""
    # After "gradual weight 0.9" the configuration says how long, and what is not the default.
    details = config.recipe.partition(", ")[2]
    rewound = f"to epoch {config.rewind_epoch}" if getattr(config, "rewind_epoch", 0) else ""
    return ", ".join(filter(None, [RECOVERIES[config.how], rewound, details]))


def _agreement(run: Run, child: Run, key: str) -> float:
    theirs, own = child.predictions().get(key), run.predictions().get(key)
    return float(np.mean(theirs == own)) if theirs is not None and own is not None else np.nan


def per_network(table: pd.DataFrame) -> pd.DataFrame:
    """Each network once at each point of a curve: copies of it left out, its random orders averaged.

    Several runs of the same settings and seed are one network.

    Args:
        table: from `long_table`.

    Returns:
        One row a curve, k and seed: the columns of `ROW`, seed, the mean of every number that `fold_seeds` or another
        analysis needs, and `orders` (how many random orders were averaged). What is not known of one order is not known
        of their mean.
    """
    rows = _distinct(table)
    groups = rows.groupby([*ROW, "seed"], sort=False)
    averaged = groups[_averaged(rows)].mean(skipna=False)
    return averaged.assign(orders=groups.size()).reset_index()


def fold_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that differ in nothing but the seed, folded into one.

    Orders are nested in networks: of several networks, each counts by the mean of its random orders, and the deviation
    is that over networks. Of a single network it is that over its orders.

    Args:
        table: from `long_table`.

    Returns:
        One row a configuration, criterion and k: configuration, dataset, method, ranking, scope, recovery, state, k; n
        (how many values the mean and the deviation are over: networks, or the random orders of a single one); networks,
        and orders (of each network, at most); zeroed, removable, remaining (weights), multiply_adds, faster,
        sparsity_hidden, accuracy, change (from the dense network of the same run), loss, agreement, worst_class,
        val_accuracy, recovery_images, recovery_epochs and recovery_seconds, each the mean; accuracy_sd and so on for
        each of `MEASURES`, the sample deviations, not a number where n is 1; compression (dense weights over the mean
        of the remaining ones).
    """
    if table.empty:
        return pd.DataFrame()
    rows, networks = _distinct(table), per_network(table)
    groups = networks.groupby(ROW, sort=False)
    folded = groups[_averaged(rows)].mean(skipna=False)
    folded["networks"] = groups.size()
    folded["orders"] = groups.orders.max()
    folded["n"] = folded.networks.where(folded.networks > 1, folded.orders)
    measures = list(MEASURES)
    over_networks, over_orders = groups[measures].std(), rows.groupby(ROW, sort=False)[measures].std()
    for measure in measures:
        folded[f"{measure}_sd"] = over_networks[measure].where(folded.networks > 1, over_orders[measure])
    # Where nothing remains there is no ratio.
    folded["compression"] = folded.parameters / folded.remaining.where(folded.remaining > 0)
    return defaults_first(folded.reset_index())


def _distinct(table: pd.DataFrame) -> pd.DataFrame:
    removable = table.removable.astype(float)
    counted = {"multiply_adds": table.multiply_adds.astype(float)} if "multiply_adds" in table else {}
    return table.assign(
        **counted,
        removable=removable,
        remaining=table.parameters - removable,
        change=table.accuracy - table.dense_accuracy,
    ).drop_duplicates([*ROW, "seed", "ranking_seed"])


def _averaged(rows: pd.DataFrame) -> list[str]:
    """The columns that are averaged, as far as a table has them."""
    names = ["parameters", "zeroed", "removable", "remaining", "multiply_adds", "faster", "sparsity_hidden"]
    names += [*MEASURES, "val_accuracy", "dense_accuracy", "dense_loss", "dense_val_accuracy", *_COST.values()]
    return [name for name in names if name in rows]


def defaults_first(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by `ROW`, or as much of it as they have: weights before units, magnitude before other rankings, by k."""

    def place(column: pd.Series) -> pd.Series:
        named = column.name in ("method", "ranking", "scope", "recovery")
        return column.map(lambda name: _ORDER.get(name, len(_ORDER))) if named else column

    return table.sort_values([name for name in ROW if name in table], key=place, ignore_index=True)


def select_criteria(
    table: pd.DataFrame, criteria: Iterable[tuple[str, str, str]], sparsities: Iterable[float]
) -> pd.DataFrame:
    """The rows of a long table that were made in one of some ways (ranking, scope, recovery), at these sparsities.

    Fine-tuned networks are there at few sparsities, and are taken at all of them.
    """
    if table.empty:
        return table
    ways = ["ranking", "scope", "recovery"]
    wanted = pd.MultiIndex.from_tuples(list(criteria), names=ways)
    at = table.k.isin(list(sparsities)) | table.recovery.isin(FineTuned.keys)
    return table[pd.MultiIndex.from_frame(table[ways]).isin(wanted) & at]


def curve_names(table: pd.DataFrame) -> dict[tuple, str]:
    """What each curve of a table is called in words, by its values of `CURVE`; the configuration only if it differs.

    Example:
        "weight, magnitude, global" and "unit, repaired".
    """
    curves = defaults_first(table[CURVE].drop_duplicates())
    several = curves.configuration.nunique() > 1
    names = {}
    for curve in curves.itertuples(index=False):
        parts = [curve.configuration] if several else []
        parts += [curve.method, said_ranking(curve.ranking, curve.scope, curve.recovery), curve.state]
        names[tuple(curve)] = ", ".join(part for part in parts if part)
    return names


def said_ranking(ranking: str, scope: str, recovery: str) -> str:
    """What chose the weights that are kept, in words; for repaired or fine-tuned networks only if not the default."""
    if ranking in SHUFFLED:
        return f"random, with the layer counts of {scope} {SHUFFLED[ranking]}"
    state = BY_KEY[recovery]
    parts = [] if not state.is_instant and ranking == state.rankings[0] else [ranking]
    return ", ".join([*parts, *([scope] if scope == "global" else [])])
