"""Figures of a run as files: PNG, SVG and GIF, drawn without a browser.

Only Matplotlib's figures are used, never pyplot, which keeps one state for all threads. Importing this takes
part of a second, so whoever may not need it imports it late.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from core import runs
from core.comparison import Axis, Curve
from core.distributions import distributions, layer_names
from core.files import write_atomic
from core.palette import GREY, METHOD_COLORS, METHOD_NAMES
from core.pruning import METHODS, Ranking
from core.runs import Run, RunError
from core.sweep import Order, results_table

_DPI = 150
_INK = "#2B333B"
_DENSE = "#DDE0E4"
_GRID = "#E7EAED"

# Set once and for all: changing it for one figure only would change it for all threads.
matplotlib.rcParams.update(
    {
        "figure.dpi": _DPI,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "figure.titlesize": 11.5,
        "text.color": _INK,
        # Names are shown as they are, dollars and all.
        "text.parse_math": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
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

_GIF_WIDTH = 900
_FRAME, _LAST_FRAME = 1000, 2500
"""Milliseconds that a frame of an animation stays, and the last one before it starts anew."""


def count(sparsities: Sequence[float]) -> int:
    """How many files `save_all` writes."""
    return 3 + len(METHODS) * (len(set(sparsities)) + 1)


def save_all(
    run: Run, sparsities: Sequence[float], on_picture: Callable[[Path], object] = lambda path: None
) -> list[Path]:
    """Write the results of a run into its folder: table, figures, histograms and animations.

    Those of other sparsities, drawn earlier, make way.

    Args:
        run: a complete run that has been scored at every sparsity by both methods, by magnitude in each layer.
        sparsities: the values of k, each 0 to 1.
        on_picture: called with every path as soon as it is written.

    Returns:
        The paths: `results.csv`, `loss_accuracy.png`, `pruned_loss_accuracy.png`, and for each method
        `histograms/weights-k0.9000.png` and so on, one a sparsity, and `pruned_weights.gif`.

    Raises:
        RunError: if a score is missing or a file of the run damaged, or the run is deleted or replaced meanwhile.
        OSError: if a file cannot be written, or the run is gone.
    """
    finished = (run.result() or {}).get("finished")
    kernels, sweep = run.kernels(), run.sweep()
    if any(Order(method).missing(sweep, sparsities) for method in METHODS):
        raise RunError(f"Run {run.id} has not been scored at every sparsity of {list(sparsities)}. Score it first.")
    results = results_table(sweep, set(sparsities))
    written = []

    def save(name: str, content: bytes) -> None:
        if not run.is_still(finished):
            raise RunError(f"Run {run.id} was deleted or replaced while it was being drawn. Draw it again.")
        path = run.folder / name
        write_atomic(path, lambda file: file.write(content))
        written.append(path)
        on_picture(path)

    save(runs.RESULTS, results.to_csv(index=False, lineterminator="\n").encode())
    save(runs.TRAINING_FIGURE, to_bytes(training_curves(run.history(), (run.result() or {}).get("kept_epoch")), "png"))
    save(runs.PRUNING_FIGURE, to_bytes(pruning_curves(results), "png"))
    (run.folder / runs.HISTOGRAMS).mkdir(exist_ok=True)
    for method in METHODS:
        histograms = Histograms(Order(method).of(kernels), layer_names(kernels)[:-1])
        frames = []
        for sparsity, accuracy in zip(results.sparsity, results[f"accuracy_{method}"], strict=True):
            picture = histograms.draw(sparsity, accuracy)
            # At least four digits, so that the names sort as the numbers do.
            k = np.format_float_positional(sparsity, min_digits=4)
            save(f"{runs.HISTOGRAMS}/{method}s-k{k}.png", _png(_few_colors(picture, method)))
            small = picture.resize((_GIF_WIDTH, round(picture.height * _GIF_WIDTH / picture.width)))
            frames.append(_few_colors(small, method))
        save(runs.GIFS[method], _gif(frames))
    for earlier in {*(run.folder / runs.HISTOGRAMS).glob("*.png")} - {*written}:
        earlier.unlink(missing_ok=True)
    return written


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
    panels[1].yaxis.set_major_formatter(_percent)
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def pruning_curves(results: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure:
    """Test accuracy and test loss of both methods against the sparsity, side by side.

    Args:
        results: as `core.sweep.results_table` gives it.
        published: a table of the same columns, drawn dashed.
    """
    figure, panels = _side_by_side("Test accuracy", "Test loss (nats)", x_title="Sparsity k of the hidden kernels")
    marker = "o" if len(results) < _LAST_MARKED else None
    for axes, measure in zip(panels, ("accuracy", "loss"), strict=True):
        for method, color in METHOD_COLORS.items():
            column, name = f"{measure}_{method}", METHOD_NAMES[method]
            axes.plot(
                results.sparsity, results[column], color=color, label=name, linewidth=1.6, marker=marker, markersize=4
            )
            if published is not None:
                axes.plot(
                    published.sparsity,
                    published[column],
                    color=color,
                    label=f"{name}, published",
                    linewidth=1.1,
                    linestyle=_DASHES["dash"],
                    alpha=0.8,
                )
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(_percent)
        axes.set_ylim(bottom=0)
    panels[0].set_ylim(0, 1.03)
    panels[0].yaxis.set_major_formatter(_percent)
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


class Histograms:
    """The hidden layers' weights or units by what they are ranked by: dense in grey, and over it what is left.

    `draw` gives the picture of one sparsity after the other, all with the same axes, which are drawn only once.

    Args:
        ranking: by magnitude; see `core.sweep.Order.of`.
        names: of the hidden layers.
    """

    def __init__(self, ranking: Ranking, names: Sequence[str]):
        self._ranking = ranking
        self._distributions = distributions(ranking)
        color = METHOD_COLORS[ranking.method]
        what = f"{ranking.method}s"
        rows = (len(names) + 1) // 2
        self.figure = Figure(figsize=(8, 1 + 2 * rows), layout="constrained")
        self._canvas = FigureCanvasAgg(self.figure)
        self._title = self.figure.suptitle(" ", x=0.012, ha="left", animated=True)
        grid = self.figure.subplots(rows, min(len(names), 2), squeeze=False).ravel()
        for unused in grid[len(names) :]:
            unused.remove()

        self.bars, self._thresholds, self._notes = [], [], []
        for axes, name, distribution in zip(grid[: len(names)], names, self._distributions, strict=True):
            axes.set_title(name)
            axes.set_xlabel({"weight": "Magnitude |w|", "unit": "L2 norm of the incoming weights"}[ranking.method])
            axes.set_ylabel(what.capitalize())
            axes.set_xlim(0, distribution.edges[-1])
            axes.set_ylim(0, 1.05 * distribution.counts.max())
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_formatter(_short)
            axes.grid(axis="x", visible=False)
            axes.stairs(distribution.counts, distribution.edges, fill=True, color=_DENSE)
            self.bars.append(
                axes.stairs(distribution.counts, distribution.edges, fill=True, color=color, animated=True)
            )
            self._thresholds.append(axes.axvline(0, color=_INK, linewidth=0.9, linestyle="dashed", animated=True))
            self._notes.append(axes.set_title(" ", loc="right", fontsize=9, animated=True))
        key = [Patch(color=color), Patch(color=_DENSE), self._thresholds[0]]
        _legend_below(self.figure, key, [f"{what.capitalize()} left", "Pruned away", "Threshold"])

        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    def draw(self, sparsity: float, accuracy: float) -> Image.Image:
        """The picture, RGB, of what is left at that k, and of the test accuracy with it."""
        self._title.set_text(
            f"{METHOD_NAMES[self._ranking.method]}, k = {_percent(sparsity)}, test accuracy {accuracy:.2%}"
        )
        layers = zip(
            self._distributions,
            self._ranking.pruned(sparsity),
            self.bars,
            self._thresholds,
            self._notes,
            strict=True,
        )
        for distribution, pruned, bars, line, note in layers:
            total = len(distribution.values)
            bars.set_data(distribution.surviving(pruned))
            threshold = distribution.threshold(pruned)
            line.set_visible(threshold is not None)
            line.set_xdata([threshold or 0] * 2)
            note.set_text(f"{total - pruned:,} of {total:,} left")
        self._canvas.restore_region(self._background)
        for artist in (self._title, *self.bars, *self._thresholds, *self._notes):
            self.figure.draw_artist(artist)
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3])


def comparison(curves: Sequence[Curve], x: Axis, y: Axis) -> Figure:
    """The curves of a comparison, side by side where they name several panels, the legend below.

    Args:
        curves: from `core.comparison.curves`.
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
        axes.set_xlabel(x.title)
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
    _legend_below(figure, [tuple(lines.values()) for lines in key.values()], list(key))
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


def _legend_below(figure: Figure, key: Sequence[Artist | tuple[Artist, ...]], names: Sequence[str]) -> None:
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
    number = _percent if axis.is_percent else _short
    return lambda value, _: (sign if value > 0 else "") + number(value)


def _percent(value: float, _: int | None = None) -> str:
    """A share as k and every axis have it: 99.5%. Matplotlib passes the position of the tick, too."""
    return f"{100 * value:.10g}%".replace("-", "−")


def _short(value: float, _: int | None = None) -> str:
    """A number as an axis has it: 0.5, 50k, 2.5M."""
    size, suffix = next(((size, suffix) for size, suffix in ((1e6, "M"), (1e3, "k")) if abs(value) >= size), (1, ""))
    return f"{value / size:.10g}{suffix}".replace("-", "−")


def _few_colors(picture: Image.Image, method: str) -> Image.Image:
    """The picture in colours that all of a method share, so that files are small and no animation flickers.

    They are those that the histograms are drawn with, and what lies between them along smooth edges.
    """
    white, ink, dense, color = (np.array(to_rgb(each)) for each in ("white", _INK, _DENSE, METHOD_COLORS[method]))
    # Few between white and nearly white: Pillow looks for a near colour, and white must stay white.
    blends = [(white, dense, 4), (white, ink, 16), (white, color, 16), (dense, color, 16), (ink, color, 8)]
    colors = np.concatenate([np.linspace(*blend) for blend in blends])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * colors).astype(np.uint8).tobytes())
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _gif(frames: Sequence[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    times = [_FRAME] * (len(frames) - 1) + [_LAST_FRAME]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", dpi=(_DPI, _DPI))
    return buffer.getvalue()
