"""Figures as pictures: PNG and SVG, drawn without a browser.

Only Matplotlib's figures are used, never pyplot, which keeps one state for all threads. Importing this takes
part of a second, so import it only where it is needed.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from core.charts.curves import Axis, Curve
from core.charts.palette import GREY, METHOD_COLORS, METHOD_NAMES

DPI = 150
INK = "#2B333B"
DENSE = "#DDE0E4"
_GRID = "#E7EAED"


# Set once and for all: changing it for one figure only would change it for all threads.
matplotlib.rcParams.update(
    {
        "figure.dpi": DPI,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "figure.titlesize": 11.5,
        "text.color": INK,
        # Names are shown as they are, dollars and all.
        "text.parse_math": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.constrained_layout.w_pad": 0.08,
        # Equal figures become equal files, and glyphs are drawn as outlines that need no font.
        "svg.hashsalt": "network-pruning",
        "svg.fonttype": "path",
    }
)


_DASHES = {
    "solid": "solid",
    "dot": (0, (1, 1.6)),
    "dash": (0, (4, 2)),
    "dashdot": (0, (4, 1.6, 1, 1.6)),
    "longdash": (0, (8, 2.4)),
    "longdashdot": (0, (8, 2, 1, 2)),
}
_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "triangle-up": "^",
    "x": "X",
    "star": "*",
    "pentagon": "p",
    None: None,
}
_LAST_MARKED = 40
"""Curves of more points are drawn without markers."""


def training_curves(history: pd.DataFrame, kept_epoch: int | None = None) -> Figure:
    """Loss and accuracy of training and validation against the epoch, side by side.

    Args:
        history: as `core.runs.Run.history` gives it.
        kept_epoch: the epoch whose weights were kept, marked if given.
    """
    figure, panels = _side_by_side("Loss (nats)", "Accuracy", x_title="Epoch")
    marker = "o" if len(history) < _LAST_MARKED else None
    for axes, measure in zip(panels, ("loss", "accuracy"), strict=True):
        for column, name, dash in ((measure, "Training", "dot"), (f"val_{measure}", "Validation", "solid")):
            if history[column].notna().any():
                style = {"color": METHOD_COLORS["weight"], "linestyle": _DASHES[dash], "marker": marker}
                axes.plot(history.epoch, history[column], label=name, linewidth=1.6, markersize=3.5, **style)
        if kept_epoch is not None:
            axes.axvline(
                kept_epoch, color=GREY, linewidth=1, linestyle="dashed", zorder=1, label=f"Kept epoch: {kept_epoch}"
            )
        axes.set_xlim(0.5, max(len(history), 2) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylim(bottom=0)
    panels[1].yaxis.set_major_formatter(percent)
    legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def pruning_curves(results: pd.DataFrame) -> Figure:
    """Test accuracy and test loss of both methods against the sparsity, side by side.

    Args:
        results: as `core.sweep.results_table` gives it.
    """
    figure, panels = _side_by_side("Test accuracy", "Test loss (nats)", x_title="Sparsity k of the hidden kernels")
    marker = "o" if len(results) < _LAST_MARKED else None
    for axes, measure in zip(panels, ("accuracy", "loss"), strict=True):
        for method, color in METHOD_COLORS.items():
            column, name = f"{measure}_{method}", METHOD_NAMES[method]
            axes.plot(
                results.sparsity, results[column], color=color, label=name, linewidth=1.6, marker=marker, markersize=4
            )
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(percent)
        axes.set_ylim(bottom=0)
    panels[0].set_ylim(0, 1.03)
    panels[0].yaxis.set_major_formatter(percent)
    legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def comparison(curves: Sequence[Curve], x: Axis, y: Axis) -> Figure:
    """The curves of a comparison, side by side where they name several panels, the legend below.

    Args:
        curves: from `core.charts.curves.comparison_curves`.
        x, y: the axes they were made for.
    """
    figure = Figure(figsize=(10, 4.7), layout="constrained")
    names = list(dict.fromkeys(curve.panel for curve in curves)) or [""]
    panels = dict(zip(names, figure.subplots(1, len(names), sharey=True, squeeze=False).flat, strict=True))
    key: dict[str, dict] = {}
    for curve in curves:
        axes = panels[curve.panel]
        (line,) = axes.plot(
            curve.x,
            curve.y,
            color=curve.color,
            linestyle=_DASHES[curve.dash],
            linewidth=0.8 * curve.width,
            alpha=curve.opacity,
            marker=_MARKERS[curve.symbol],
            markersize=5,
            markeredgewidth=0,
        )
        if curve.spread:
            middle, spread = np.array(curve.y, float), np.array(curve.spread, float)
            axes.fill_between(curve.x, middle - spread, middle + spread, color=curve.color, alpha=0.15, linewidth=0)
        if curve.name:
            # What looks different in each panel is named once, with all of its looks.
            key.setdefault(curve.name, {}).setdefault((curve.color, curve.dash), line)
    for name, axes in panels.items():
        axes.set_title(name)
        axes.set_xlabel(x.title_of(name))
        if x.range:
            axes.set_xlim(x.range)
        if x.log:
            axes.set_xscale("log", nonpositive="mask")
            left, right = axes.get_xlim()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 2000 * left else (1,)))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(_ticks(x))
        axes.yaxis.set_major_formatter(_ticks(y))
    first = panels[names[0]]
    first.set_ylabel(y.title)
    first.set_ylim(y.range or _from_zero(panels.values()))
    legend_below(figure, [tuple(lines.values()) for lines in key.values()], list(key))
    return figure


def to_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The content of a picture file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
    figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()


def _side_by_side(left: str, right: str, x_title: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(8, 3.1), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title in zip(panels, (left, right), strict=True):
        axes.set_title(title)
        axes.set_xlabel(x_title)
    return figure, panels


def legend_below(figure: Figure, key: Sequence[Artist | tuple[Artist, ...]], names: Sequence[str]) -> None:
    """A legend under all axes, in as many columns as fit; the figure grows by its height."""
    most = max((len(lines) for lines in key if isinstance(lines, tuple)), default=1)
    for columns in range(max(len(key), 1), 0, -1):
        legend = figure.legend(
            key,
            names,
            loc="outside lower center",
            ncols=columns,
            handlelength=3.4 * most,
            handler_map={tuple: HandlerTuple(ndivide=None)},
        )
        size = legend.get_window_extent()
        if size.width < 0.98 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + size.height / figure.dpi)


def _from_zero(panels: Iterable[Axes]) -> tuple[float, float] | None:
    """The range of all that is drawn, and of zero, which it does not go beyond without need."""
    ends = [axes.dataLim.intervaly for axes in panels]
    low, high = min(0, *(end[0] for end in ends)), max(0, *(end[1] for end in ends))
    margin = 0.05 * (high - low)
    return (low and low - margin, high and high + margin) if margin else None


def _ticks(axis: Axis) -> Callable[[float, int], str]:
    sign = "+" if axis.ticks.startswith("+") else ""
    number = percent if axis.is_percent else short
    return lambda value, _: (sign if value > 0 else "") + number(value)


def percent(value: float, _: int | None = None) -> str:
    """A share as k and every axis have it: 99.5%. Matplotlib passes the position of the tick, too."""
    return f"{100 * value:.10g}%".replace("-", "−")


def short(value: float, _: int | None = None) -> str:
    """A number as an axis has it: 0.5, 50k, 2.5M."""
    size, suffix = next(((size, suffix) for size, suffix in ((1e6, "M"), (1e3, "k")) if abs(value) >= size), (1, ""))
    return f"{value / size:.10g}{suffix}".replace("-", "−")
