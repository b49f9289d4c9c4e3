"""Histograms of the hidden layers as pictures, one a sparsity, and in motion."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from core.analysis.distributions import distributions
from core.charts.palette import METHOD_COLORS, METHOD_NAMES
from core.charts.printed import DENSE, DPI, INK, legend_below, percent, short
from core.pruning import Ranks

GIF_WIDTH = 900
_FRAME, _LAST_FRAME = 1000, 2500
"""Milliseconds that a frame of an animation stays, and the last one before it starts again."""


class Histograms:
    """The hidden layers' weights or units by what they are ranked by: dense in grey, and over it what is left.

    `draw` gives the picture of one sparsity after the other, all with the same axes, which are drawn only once.

    Args:
        ranks: by magnitude; see `core.sweep.Criterion.rank`.
        names: of the hidden layers.
    """

    def __init__(self, ranks: Ranks, names: Sequence[str]):
        self._ranks = ranks
        self._distributions = distributions(ranks)
        color = METHOD_COLORS[ranks.method]
        what = f"{ranks.method}s"
        rows = (len(names) + 1) // 2
        self.figure = Figure(figsize=(8, 1 + 2 * rows), layout="constrained")
        self._canvas = FigureCanvasAgg(self.figure)
        self._title = self.figure.suptitle(" ", x=0.012, ha="left", animated=True)
        grid = self.figure.subplots(rows, min(len(names), 2), squeeze=False).ravel()
        for unused in grid[len(names) :]:
            unused.remove()

        self.bars, self.thresholds, self._notes = [], [], []
        for axes, name, distribution in zip(grid[: len(names)], names, self._distributions, strict=True):
            axes.set_title(name)
            axes.set_xlabel({"weight": "Magnitude |w|", "unit": "L2 norm of the incoming weights"}[ranks.method])
            axes.set_ylabel(what.capitalize())
            axes.set_xlim(0, distribution.edges[-1])
            axes.set_ylim(0, 1.05 * max(1, distribution.counts.max()))
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_formatter(short)
            axes.grid(axis="x", visible=False)
            axes.stairs(distribution.counts, distribution.edges, fill=True, color=DENSE)
            self.bars.append(
                axes.stairs(distribution.counts, distribution.edges, fill=True, color=color, animated=True)
            )
            self.thresholds.append(axes.axvline(0, color=INK, linewidth=0.9, linestyle="dashed", animated=True))
            self._notes.append(axes.set_title(" ", loc="right", fontsize=9, animated=True))
        key = [Patch(color=color), Patch(color=DENSE), self.thresholds[0]]
        legend_below(self.figure, key, [f"{what.capitalize()} left", "Pruned away", "Threshold"])

        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    def draw(self, sparsity: float, accuracy: float) -> Image.Image:
        """The picture, RGB, of what is left at that k, and of the test accuracy with it."""
        self._title.set_text(
            f"{METHOD_NAMES[self._ranks.method]}, k = {percent(sparsity)}, test accuracy {accuracy:.2%}"
        )
        layers = zip(
            self._distributions,
            self._ranks.ranks,
            self._ranks.taken(sparsity),
            self.bars,
            self.thresholds,
            self._notes,
            strict=True,
        )
        for distribution, ranks, taken, bars, line, note in layers:
            bars.set_data(distribution.surviving(taken))
            threshold = distribution.threshold(taken)
            line.set_visible(threshold is not None)
            line.set_xdata([threshold or 0] * 2)
            note.set_text(f"{len(distribution.values) - taken:,} of {ranks.size:,} left")
        self._canvas.restore_region(self._background)
        for artist in (self._title, *self.bars, *self.thresholds, *self._notes):
            self.figure.draw_artist(artist)
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3])


def few_colors(picture: Image.Image, method: str) -> Image.Image:
    """The picture in colours that all of a method share, so that files are small and no animation flickers.

    They are those that the histograms are drawn with, and what lies between them along smooth edges.
    """
    white, ink, dense, color = (np.array(to_rgb(each)) for each in ("white", INK, DENSE, METHOD_COLORS[method]))
    # Few between white and nearly white: Pillow looks for a near colour, and white must stay white.
    blends = [(white, dense, 4), (white, ink, 16), (white, color, 16), (dense, color, 16), (ink, color, 8)]
    colors = np.concatenate([np.linspace(*blend) for blend in blends])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * colors).astype(np.uint8).tobytes())
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def to_gif(frames: Sequence[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    times = [_FRAME] * (len(frames) - 1) + [_LAST_FRAME]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
    return buffer.getvalue()


def to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", dpi=(DPI, DPI))
    return buffer.getvalue()
