"""Put runs beside each other: one long table, seeds folded to mean and deviation, curves and their knees."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.config import TrainingConfig
from core.palette import GREY, METHOD_COLORS, METHOD_NAMES, shades
from core.pruning import METHODS, RANKINGS, SCOPES
from core.runs import Run
from core.sweep import Order

DROPS = (0.005, 0.01, 0.02)
"""How much accuracy a knee may cost."""

DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon")

_DEFAULTS = {item.name: item.default for item in dataclasses.fields(TrainingConfig)}
_CURVE = ["configuration", "dataset", "method", "ranking", "scope"]
"""What tells one curve from another once seeds are folded."""
ROW = [*_CURVE, "k"]
"""What tells one row of `fold_seeds` from another."""


@dataclass(frozen=True)
class Axis:
    """What can be put on an axis of the comparison: a column of `fold_seeds`, and how to write it."""

    column: str
    title: str
    ticks: str
    numbers: str
    log: bool = False
    range: tuple[float, float] | None = None

    @property
    def is_percent(self) -> bool:
        return self.ticks.endswith("%")


X_AXES = {
    "sparsity": Axis("k", "Sparsity k of the hidden kernels", ".0%", ".4~%", range=(-0.02, 1.02)),
    "remaining": Axis("remaining", "Parameters remaining, dead ones removed", "~s", ",.0f", log=True),
    "compression": Axis("compression", "Compression ratio, dead parameters removed", "~g", ".3~g", log=True),
}
Y_AXES = {
    "accuracy": Axis("accuracy", "Test accuracy", ".0%", ".2%", range=(0, 1.03)),
    "change": Axis("change", "Change of test accuracy from dense", "+.0%", "+.2%"),
    "loss": Axis("loss", "Test loss (nats)", "~g", ".4f"),
}


@dataclass(frozen=True)
class Curve:
    """One line of a chart, the same for the interactive figure and for the printed one.

    `spread` is the sample deviation at each point, drawn as a band. Curves of different `panel` names stand
    side by side. Dashes and symbols are named as Plotly names them.
    """

    name: str
    x: list[float]
    y: list[float]
    color: str
    dash: str = "solid"
    symbol: str | None = None
    spread: list[float] | None = None
    width: float = 2.0
    opacity: float = 1.0
    panel: str = ""
    notes: list[str] = field(default_factory=list)
    """What hovering says besides, a text a point."""
    is_level: bool = False
    """Whether it is a line to read the others against, of which hovering says nothing."""


def describe(config: TrainingConfig) -> str:
    """A configuration in words, without its seed: the dataset and whatever differs from the defaults."""
    names = {
        "epochs": "{} epoch" if config.epochs == 1 else "{} epochs",
        "batch_size": "batch {}",
        "learning_rate": "learning rate {}",
        "num_valid": "{} validation images",
        "l1_reg": "L1 {}",
        "l2_reg": "L2 {}",
    }
    parts = [config.dataset]
    usual = _DEFAULTS | {"num_valid": config.spec.num_valid}
    parts += [
        text.format(getattr(config, name)) for name, text in names.items() if getattr(config, name) != usual[name]
    ]
    if config.hidden_units != usual["hidden_units"]:
        parts.append("-".join(map(str, config.hidden_units)))
    if not config.keep_best:
        parts.append("last epoch")
    return ", ".join(parts)


def long_table(runs: Iterable[Run], tables: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Everything scored of some complete runs, tidy: one row a run, order of pruning and k.

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
        config, result = run.config(), run.result() or {}
        sweep = (tables or {}).get(run.id)
        sweep = run.sweep() if sweep is None else sweep
        if sweep.empty:
            continue
        rest = {name: value for name, value in config.to_dict().items() if name not in ("dataset", "seed")}
        rest["hidden_units"] = "x".join(map(str, config.hidden_units))
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
                dense_accuracy=result.get("test_accuracy", np.nan),
                dense_loss=result.get("test_loss", np.nan),
                **rest,
                parameters=config.parameter_count,
                **result.get("versions", {}),
                machine=result.get("machine", "unknown"),
                configuration=describe(config),
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def fold_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that differ in nothing but the seed, folded into one.

    Args:
        table: from `long_table`.

    Returns:
        One row a configuration, order of pruning and k: configuration, dataset, method, ranking, scope, k; n (how
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


def curves(folded: pd.DataFrame, x: str, y: str, published: pd.DataFrame | None = None) -> list[Curve]:
    """What to draw of a comparison: colour tells the method; shade, dash and symbol tell the configuration.

    With more than one line for a method, each method gets a panel of its own.

    Args:
        folded: from `fold_seeds`, with or without the random ranking, which is drawn grey behind the others.
        x, y: names in `X_AXES` and `Y_AXES`.
        published: the published table of the one dataset shown, drawn dashed where the axes allow it.
    """
    across, up = X_AXES[x].column, Y_AXES[y].column
    random = folded[folded.ranking == "random"] if len(folded) else folded
    ranked = folded[folded.ranking != "random"] if len(folded) else folded
    lines = list(ranked.groupby(["configuration", "ranking", "scope"], sort=False)) if len(ranked) else []
    several = len({name for (name, _, _), _ in lines}) > 1
    split = len(lines) > 1
    # A baseline of some of the networks only would be one of other networks than the curve beside it.
    networks = ranked.groupby("configuration").networks.max() if len(ranked) else {}
    random = random[random.networks == random.configuration.map(networks)] if len(random) else random
    drawn = []

    def panel(method: str) -> str:
        return METHOD_NAMES[method] if split else ""

    for method, color in METHOD_COLORS.items():
        if published is not None and x == "sparsity":
            values = published[f"{y}_{method}"] if y != "change" else _change(published[f"accuracy_{method}"])
            drawn.append(
                Curve(
                    "published" if split else f"{METHOD_NAMES[method]}, published",
                    published.sparsity.tolist(),
                    values.tolist(),
                    color,
                    dash="dash",
                    width=1.5,
                    opacity=0.7,
                    panel=panel(method),
                )
            )
        for (configuration,), rows in _each(_drawable(random, across), ["configuration"], method):
            drawn.append(
                Curve(
                    ("random" if split else f"random {method}s")
                    + (f", {configuration}" if several else "")
                    + f" (n = {rows.n.min()})",
                    rows[across].tolist(),
                    rows[up].tolist(),
                    GREY,
                    dash="dot" if method == "weight" else "dashdot",
                    spread=None if split else _spread(rows, up),
                    width=1.5,
                    panel=panel(method),
                )
            )
        for index, ((configuration, ranking, scope), rows) in enumerate(lines):
            rows = _drawable(rows[rows.method == method], across)
            if rows.empty:
                continue
            parts = [] if split else [METHOD_NAMES[method]]
            parts += [configuration] if several or split else []
            parts += [name for name, usual in ((ranking, "magnitude"), (scope, "layer")) if name != usual]
            drawn.append(
                Curve(
                    ", ".join(parts) + (f" (n = {rows.n.min()})" if rows.n.min() > 1 else ""),
                    rows[across].tolist(),
                    rows[up].tolist(),
                    shades(color, len(lines))[index],
                    dash=DASHES[index % len(DASHES)],
                    symbol=SYMBOLS[index % len(SYMBOLS)] if len(rows) < 40 else None,
                    spread=_spread(rows, up),
                    panel=panel(method),
                    notes=[
                        f"k = {100 * k:.4g}%, {ratio:.3g}× smaller"
                        for k, ratio in zip(rows.k, rows.compression, strict=True)
                    ],
                )
            )
    return [*_dense_control(lines, across, up, list(dict.fromkeys(map(panel, METHODS)))), *drawn]


def _dense_control(lines: list, across: str, up: str, panels: list[str]) -> list[Curve]:
    """The dense networks' level, across each panel."""
    control = []
    for (_, rows), panel in itertools.product(lines, panels):
        ends = _drawable(rows, across)[across]
        if ends.empty:
            continue
        level = [0.0 if up == "change" else float(rows[f"dense_{up}"].iloc[0])] * 2
        control.append(Curve("dense", [ends.min(), ends.max()], level, GREY, width=1, panel=panel, is_level=True))
    return control


def _each(rows: pd.DataFrame, keys: list[str], method: str) -> list:
    if rows.empty:
        return []
    return list(rows[rows.method == method].groupby(keys, sort=False))


def _drawable(rows: pd.DataFrame, across: str) -> pd.DataFrame:
    """The rows without what has no place on the axis: nothing remaining on a logarithmic one, or not counted yet."""
    if rows.empty:
        return rows
    return rows[(rows[across] > 0) | ((across == "k") & rows.k.notna())]


def _spread(rows: pd.DataFrame, up: str) -> list[float] | None:
    return rows[f"{up}_sd"].tolist() if (rows.n > 1).all() else None


def _change(accuracy: pd.Series) -> pd.Series:
    return accuracy - accuracy.iloc[0]


def select_orders(table: pd.DataFrame, orders: Iterable[tuple[str, str]], sparsities: Iterable[float]) -> pd.DataFrame:
    """The rows of a long table ranked in one of some ways (ranking, scope), at exactly these sparsities."""
    if table.empty:
        return table
    wanted = pd.MultiIndex.from_tuples(list(orders), names=["ranking", "scope"])
    return table[pd.MultiIndex.from_frame(table[["ranking", "scope"]]).isin(wanted) & table.k.isin(list(sparsities))]


def missing_scores(
    sweep: pd.DataFrame, orders: Iterable[tuple[str, str]], sparsities: Sequence[float]
) -> dict[Order, list[float]]:
    """What has to be scored before a run can be shown: sparsities by order, without those that lack nothing."""
    wanted = [Order(method, ranking, scope) for ranking, scope in orders for method in METHODS]
    missing = {order: order.missing(sweep, sparsities) for order in wanted}
    return {order: values for order, values in missing.items() if values}
