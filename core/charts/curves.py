"""What to draw of a comparison: axes, and curves with their colours, the same for every kind of figure."""

import dataclasses
import itertools
from dataclasses import dataclass, field

import pandas as pd

from core.analysis.comparison import said_ranking
from core.charts.palette import GREY, METHOD_COLORS, METHOD_NAMES, shades
from core.pruning import CHANCE, METHODS, SHUFFLED
from core.state import BY_KEY, STATES

DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon")


_OF_STATES = (
    [("solid", "circle")],
    [("longdash", "diamond")],
    [("dot", "star"), ("dashdot", "cross"), ("longdashdot", "x"), ("dash", "pentagon")],
)
LOOKS = dict(zip(STATES, _OF_STATES, strict=True))
"""Dash and symbol by state, where several are on a chart: one way to come to it after the other."""
PUBLISHED = ("accuracy", "change", "loss")
"""The measures that the published tables know."""


@dataclass(frozen=True)
class Axis:
    """What can be put on an axis of the comparison: a column of `fold_seeds`, and how to write it.

    `panels` are titles for the panels of those names, where they say more than `title`.
    """

    column: str
    title: str
    ticks: str
    numbers: str
    log: bool = False
    range: tuple[float, float] | None = None
    panels: dict[str, str] = field(default_factory=dict)

    @property
    def is_percent(self) -> bool:
        return self.ticks.endswith("%")

    def title_of(self, panel: str) -> str:
        return self.panels.get(panel, self.title)


_PART = (-0.02, 1.02)
_SHARE = (0, 1.03)
X_AXES = {
    "sparsity": Axis("k", "Sparsity k of the hidden kernels", ".0%", ".4~%", range=_PART),
    "zeroed": Axis("sparsity_hidden", "Part of the hidden weights that is zero", ".0%", ".4~%", range=_PART),
    "remaining": Axis("remaining", "Parameters remaining, dead ones removed", "~s", ",.0f", log=True),
    "multiply-adds": Axis("multiply_adds", "Multiply-adds of one image, compacted", "~s", ",.0f", log=True),
    "compression": Axis("compression", "Compression ratio, dead parameters removed", "~g", ".3~g", log=True),
    "speed": Axis("faster", "One image, times as fast as dense, as measured in NumPy", "~g", ".3~g", log=True),
}
Y_AXES = {
    "accuracy": Axis("accuracy", "Test accuracy", ".0%", ".2%", range=_SHARE),
    "change": Axis("change", "Change of test accuracy from dense", "+.2~%", "+.2%"),
    "loss": Axis("loss", "Test loss (nats)", "~g", ".4f"),
    "agreement": Axis("agreement", "Test images answered as the dense network does", ".0%", ".2%", range=_SHARE),
    "worst class": Axis("worst_class", "Test accuracy of the worst class", ".0%", ".2%", range=_SHARE),
}


def x_axis(name: str, folded: pd.DataFrame) -> Axis:
    """The horizontal axis of that name, which says of k what it is a part of: of the weights or units of each hidden
    layer, or of all of them.

    Args:
        name: in `X_AXES`.
        folded: what is drawn, from `fold_seeds`.
    """
    axis = X_AXES[name]
    ranked = folded[~folded.ranking.isin(CHANCE)] if len(folded) else folded
    if axis.column != "k" or ranked.empty:
        return axis

    def title(rows: pd.DataFrame) -> str:
        what = " or ".join(f"{method}s" for method in METHODS if method in {*rows.method})
        pools = {"layer": "each hidden layer's", "global": "all hidden"}
        if len({*rows.scope}) > 1:
            return f"Sparsity k of each layer's, or of all hidden {what}"
        return f"Sparsity k of {pools[rows.scope.iloc[0]]} {what}"

    panels = {METHOD_NAMES[method]: title(rows) for method, rows in ranked.groupby("method")}
    return dataclasses.replace(axis, title=title(ranked), panels=panels)


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
    """What to draw of a comparison: colour tells the method; shade, dash and symbol tell the line.

    Where there are networks as pruned beside repaired or fine-tuned ones, dash and symbol tell these
    apart (`LOOKS`), shade tells the rest, and each is a line of its own. With more than one line for a method, each
    method gets a panel.

    Args:
        folded: from `fold_seeds`, with or without rankings by chance, which are drawn grey behind the others.
        x, y: names in `X_AXES` and `Y_AXES`.
        published: the published table of the one dataset shown, drawn dashed where the axes allow it.
    """
    across, up = X_AXES[x].column, Y_AXES[y].column
    by_chance = folded[folded.ranking.isin(CHANCE)] if len(folded) else folded
    ranked = folded[~folded.ranking.isin(CHANCE)] if len(folded) else folded
    lines = list(ranked.groupby(_LINE, sort=False)) if len(ranked) else []
    naming = _Naming([key for key, _ in lines])
    split = len(lines) > 1 or (len(by_chance) > 0 and by_chance.ranking.isin(SHUFFLED).any())
    # A baseline of some of the networks only would be one of other networks than the curve beside it.
    networks = ranked.groupby("configuration").networks.max() if len(ranked) else {}
    by_chance = by_chance[by_chance.networks == by_chance.configuration.map(networks)] if len(by_chance) else by_chance
    looks = _looks([key for key, _ in lines])
    variants = [_variant(key) for key, _ in lines]
    shade_of = list(dict.fromkeys(variants))
    drawn = []

    def panel(method: str) -> str:
        return METHOD_NAMES[method] if split else ""

    for method, color in METHOD_COLORS.items():
        if published is not None and x == "sparsity" and y in PUBLISHED:
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
        for (configuration, ranking), rows in _each(_drawable(by_chance, across), ["configuration", "ranking"], method):
            drawn.append(
                Curve(
                    naming.of_chance(configuration, ranking, "" if split else f"{method}s") + _sample(rows),
                    rows[across].tolist(),
                    rows[up].tolist(),
                    GREY,
                    dash="longdash" if ranking in SHUFFLED else "dot" if method == "weight" else "dashdot",
                    spread=_spread(rows, up),
                    width=1.5,
                    panel=panel(method),
                )
            )
        for index, (key, rows) in enumerate(lines):
            rows = _drawable(rows[rows.method == method], across)
            if rows.empty:
                continue
            dash, symbol = looks[index]
            drawn.append(
                Curve(
                    (naming.of(key) if split else ", ".join(filter(None, [METHOD_NAMES[method], naming.of(key)])))
                    + (_sample(rows) if rows.n.min() > 1 else ""),
                    rows[across].tolist(),
                    rows[up].tolist(),
                    shades(color, len(shade_of))[shade_of.index(variants[index])],
                    dash=dash,
                    symbol=symbol if len(rows) < 40 else None,
                    spread=_spread(rows, up),
                    panel=panel(method),
                    notes=[
                        f"k = {100 * k:.4g}%, {100 * zero:.4g}% of the hidden weights, {ratio:.3g}× smaller"
                        for k, zero, ratio in zip(rows.k, rows.sparsity_hidden, rows.compression, strict=True)
                    ],
                )
            )
    return [*_dense_control(ranked, across, up, list(dict.fromkeys(map(panel, METHODS)))), *drawn]


_LINE = ["configuration", "ranking", "scope", "recovery", "state"]
"""What tells one line from another within a method."""


class _Naming:
    """Names of lines: of what makes them, only what tells them apart, or is not usual."""

    def __init__(self, lines: list[tuple]) -> None:
        self.several = len({configuration for configuration, *_ in lines}) > 1
        self.states = len({state for *_, state in lines}) > 1
        self.rankings = len({line[1:3] for line in lines if BY_KEY[line[3]].is_instant}) > 1

    def of(self, line: tuple) -> str:
        configuration, ranking, scope, recovery, state = line
        is_default = BY_KEY[recovery].is_instant and (ranking, scope) == ("magnitude", "layer")
        parts = [configuration] if self.several else []
        if self.rankings or not is_default:
            parts.append(said_ranking(ranking, scope, recovery))
        if self.states or not BY_KEY[recovery].is_instant:
            parts.append(state)
        return ", ".join(filter(None, parts))

    def of_chance(self, configuration: str, ranking: str, what: str) -> str:
        parts = [f"random {what}".strip()]
        if ranking in SHUFFLED:
            parts.append(f"with the layer counts of global {SHUFFLED[ranking]}")
        return ", ".join([*parts, *([configuration] if self.several else [])])


def _variant(line: tuple) -> tuple:
    """What the shade tells: lines that differ only in how accuracy was won back have it in common."""
    configuration, ranking, scope, recovery, _ = line
    return configuration, scope, None if ranking == BY_KEY[recovery].rankings[0] else ranking


def _looks(lines: list[tuple]) -> list[tuple[str, str]]:
    """Dash and symbol of each line: by what was won back, if the lines differ in that, else one after the other."""
    states = list(dict.fromkeys((recovery, state) for *_, recovery, state in lines))
    if len(states) < 2:
        return [(DASHES[index % len(DASHES)], SYMBOLS[index % len(SYMBOLS)]) for index in range(len(lines))]
    looks = {name: itertools.cycle(each) for name, each in LOOKS.items()}
    look_of = {each: next(looks[BY_KEY[each[0]].name]) for each in states}
    return [look_of[recovery, state] for *_, recovery, state in lines]


def _dense_control(ranked: pd.DataFrame, across: str, up: str, panels: list[str]) -> list[Curve]:
    """The dense networks' level, across each panel."""
    control = []
    configurations = list(ranked.groupby("configuration", sort=False)) if len(ranked) else []
    for (_, rows), panel in itertools.product(configurations, panels):
        ends = _drawable(rows, across)[across]
        level = _dense_level(rows, up)
        if ends.empty or level is None:
            continue
        control.append(Curve("dense", [ends.min(), ends.max()], [level] * 2, GREY, width=1, panel=panel, is_level=True))
    return control


def _dense_level(rows: pd.DataFrame, up: str) -> float | None:
    """What the dense networks measure; None if that is not known."""
    itself = {"change": 0.0, "agreement": 1.0}
    if up in itself:
        return itself[up]
    known = rows[f"dense_{up}"] if f"dense_{up}" in rows else rows[(rows.k == 0) & (rows.recovery == "none")][up]
    return float(known.iloc[0]) if len(known) else None


def _each(rows: pd.DataFrame, keys: list[str], method: str) -> list:
    if rows.empty:
        return []
    return list(rows[rows.method == method].groupby(keys, sort=False))


def _drawable(rows: pd.DataFrame, across: str) -> pd.DataFrame:
    """The rows without what has no place on the axis: nothing remaining on a logarithmic one, or not counted yet."""
    if rows.empty:
        return rows
    is_part = across in ("k", "sparsity_hidden")
    return rows[rows[across].notna() & ((rows[across] > 0) | is_part)]


def _sample(rows: pd.DataFrame) -> str:
    """What was averaged, behind a name."""
    if (rows.networks > 1).any():
        return f" (n = {rows.n.min()})"
    orders = rows.orders.min()
    return f" ({orders} order{'' if orders == 1 else 's'})"


def _spread(rows: pd.DataFrame, up: str) -> list[float] | None:
    return rows[f"{up}_sd"].tolist() if (rows.n > 1).all() else None


def _change(accuracy: pd.Series) -> pd.Series:
    return accuracy - accuracy.iloc[0]
