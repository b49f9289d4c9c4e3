"""What to draw of a comparison: axes, and curves with their colours, the same for every kind of figure."""

import itertools
from dataclasses import dataclass, field

import pandas as pd

from core.charts.palette import GREY, METHOD_COLORS, METHOD_NAMES, shades
from core.pruning import METHODS

DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon")


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


def comparison_curves(folded: pd.DataFrame, x: str, y: str, published: pd.DataFrame | None = None) -> list[Curve]:
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
