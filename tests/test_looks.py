"""How figures look was chosen by eye. What decides it is kept in `tests/looks/`, so that it changes on purpose only.

pytest tests/test_looks.py --looks    # keeps how they look now: look at the figures before you commit it
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from core.analysis.distributions import distributions
from core.analysis.footprint import NETWORKS
from core.charts import footprints, histograms, interactive, live, printed, smallest
from core.charts.curves import DASHES, SYMBOLS, X_AXES, Y_AXES, Curve
from core.charts.palette import METHOD_COLORS, shades
from core.config import K_VALUES
from core.kernels.number_formats import NUMBER_FORMATS
from core.pruning import rank
from core.runs import SmallestFile
from core.settings import PROJECT
from core.sweep import Criterion

LOOKS = PROJECT / "tests" / "looks"
LAYERS = ["Hidden 1", "Hidden 2", "Hidden 3"]
KERNELS = [np.arange(rows * units).reshape(rows, units) % 7 - 3.0 for rows, units in ((8, 9), (9, 7), (7, 5), (5, 3))]
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "loss": [0.9, 0.5, 0.3, 0.2],
        "accuracy": [0.7, 0.8, 0.9, 0.95],
        "val_loss": [0.8, 0.5, 0.4, 0.45],
        "val_accuracy": [0.75, 0.85, 0.9, 0.88],
        "sparsity": [0, 0.5, 0.9, 0.9],
    }
)
RESULTS = pd.DataFrame({"sparsity": K_VALUES}).assign(
    accuracy_weight=lambda table: 0.98 - 0.5 * table.sparsity**4,
    accuracy_unit=lambda table: 0.98 - 0.8 * table.sparsity**2,
    loss_weight=lambda table: 0.1 + table.sparsity**4,
    loss_unit=lambda table: 0.1 + 2 * table.sparsity**2,
)
CURVES = [
    Curve(
        f"curve {place}",
        [0.0, 0.5, 1.0],
        [0.98, 0.9 - place / 20, 0.1],
        [*METHOD_COLORS.values()][place % 2],
        dash=dash,
        symbol=[*SYMBOLS, None][place % (len(SYMBOLS) + 1)],
        spread=[0.01, 0.02, 0.0] if place % 2 else None,
        panel=("Weight pruning", "Unit pruning")[place % 2],
    )
    for place, dash in enumerate(DASHES * 2)
]
LOSSES = [dataclasses.replace(curve, x=[10, 1_000, 50_000], panel="") for curve in CURVES[:2]]
SIZES = pd.DataFrame(
    [
        {"k": k, "format": name, "bytes": 900 - 90 * place - step, "compressed": 500 - 50 * place - step}
        | {"accuracy": 0.9 - 0.1 * place - 0.01 * step, "multiply_adds": 70 - 30 * step, "nonzero": 60 - 20 * step}
        for step, k in enumerate((0.0, 0.5, 1.0))
        for place, name in enumerate(NUMBER_FORMATS)
    ]
)
SPEEDS = pd.DataFrame(
    [
        {"network": network, "runtime": runtime, "k": k, "one_faster": 0.5 + place + k, "many_faster": 9 * place + k}
        for k in (0.5, 0.9)
        for place, network in enumerate(["dense", *NETWORKS])
        for runtime in ("NumPy", "SciPy", "LiteRT")
    ]
)
SWEEP = pd.concat(
    pd.DataFrame({"sparsity": [0.0, 0.9], "accuracy": [0.9, 0.1 * place]}).assign(**dataclasses.asdict(criterion))
    for place, criterion in enumerate(
        (
            *(Criterion("weight"), Criterion("unit"), Criterion("weight", "activation")),
            Criterion("weight", "admm", recovery="repair"),
        )
    )
)
BASELINE = pd.DataFrame({"sparsity": [0.0, 0.5, 1.0], "mean": [0.9, 0.5, 0.1], "std": [0, 0.2, 0.1], "count": [3] * 3})
TRAINED = pd.DataFrame({"sparsity": [0.8, 0.9], "accuracy": [0.95, 0.93]})
TINY = [
    SmallestFile(
        most_bytes=1,
        bytes=size,
        val_accuracy=accuracy,
        test_accuracy=accuracy - 0.1,
        weights=size // 2,
        epochs=1,
        seed=0,
        seconds=1,
        source="",
    )
    for size, accuracy in ((1_000, 0.5), (2_000, 0.4), (4_000, 0.7))
]


def _histograms(criterion: Criterion) -> object:
    return live.histograms(distributions(rank(KERNELS, criterion.method)), LAYERS, criterion)


FIGURES: dict[str, Callable[[], Any]] = {
    "shades": lambda: shades(METHOD_COLORS["unit"], 5),
    "training-loss": lambda: interactive.training_curves(HISTORY, 5, "loss", 3),
    "training-accuracy": lambda: interactive.training_curves(HISTORY, 5, "accuracy"),
    "training-sparsity": lambda: interactive.training_curves(HISTORY, 5, "sparsity"),
    "comparison": lambda: interactive.comparison(CURVES, X_AXES["sparsity"], Y_AXES["accuracy"]),
    "comparison-log": lambda: interactive.comparison(LOSSES, X_AXES["remaining"], Y_AXES["change"]),
    "comparison-alone": lambda: interactive.on_white(
        interactive.comparison(CURVES[:1], X_AXES["sparsity"], Y_AXES["loss"]), "A title"
    ),
    "confusion": lambda: interactive.confusion(np.array([[5, 2, 0], [0, 7, 1], [4, 0, 6]]), ["a", "b", "c"]),
    "pixels": lambda: interactive.pixel_map(np.arange(16), 4),
    "fields": lambda: interactive.fields(np.array([7, 2, 9]), np.arange(48.0).reshape(3, 16) - 20, 4, columns=2),
    "layers": lambda: interactive.sensitivity({name: SWEEP[["sparsity", "accuracy"]].head(2) for name in LAYERS}),
    "probabilities": lambda: interactive.class_probabilities(
        [0, 0.5], np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]]), ["a", "b", "c"], 0
    ),
    "histograms-weight": lambda: _histograms(Criterion("weight")),
    "histograms-unit": lambda: _histograms(Criterion("unit", "admm", recovery="repair")),
    "curve-weight": lambda: live.live_curve(SWEEP, Criterion("weight"), BASELINE),
    "curve-unit": lambda: live.live_curve(SWEEP, Criterion("unit", recovery="trained"), pd.DataFrame(), TRAINED),
    "size-bytes": lambda: footprints.bytes_curve(SIZES, "bytes", 12_345, "unit", 0.5),
    "size-operations": lambda: footprints.operations_curve(SIZES, 4_000, "weight", 0.0),
    "size-accuracy": lambda: footprints.accuracy_curve(SIZES, 0.98, "weight", 0.9),
    "size-speed-one": lambda: footprints.speed_curve(SPEEDS, "one", "unit", 0.5),
    "size-speed-many": lambda: footprints.speed_curve(SPEEDS, "many", "weight", None),
    "tiny": lambda: smallest.front(TINY, 0.98765, 2_953),
    "printed-training": lambda: printed.training_curves(HISTORY, 3),
    "printed-pruning": lambda: printed.pruning_curves(RESULTS),
    "printed-comparison": lambda: printed.comparison(CURVES, X_AXES["sparsity"], Y_AXES["accuracy"]),
    "printed-comparison-log": lambda: printed.comparison(LOSSES, X_AXES["remaining"], Y_AXES["loss"]),
    "printed-histograms": lambda: histograms.Histograms(rank(KERNELS, "weight"), LAYERS).figure,
}


def looks_of(figure: Any) -> Any:
    """What decides how it looks, in numbers and words."""
    if isinstance(figure, Figure):
        return {
            "inches": list(figure.get_size_inches()),
            "axes": [_axes(axes) for axes in figure.axes],
            "legends": [
                [each.handlelength, _artists(each.legend_handles), _artists(each.get_texts())]
                for each in figure.legends
            ],
        }
    if isinstance(figure, list):
        return {"colors": figure}
    looks = figure.to_plotly_json()
    looks["layout"].pop("template", None)  # Plotly's own
    return looks


def _axes(axes: Axes) -> dict:
    sides = {"x": (axes.xaxis, axes.get_xlim()), "y": (axes.yaxis, axes.get_ylim())}
    return {
        side: {
            "scale": axis.get_scale(),
            "limits": list(limits),
            "label": axis.get_label_text(),
            "ticks": axis.get_major_formatter().format_ticks(axis.get_majorticklocs()),
            "grid": axis.get_gridlines()[0].get_visible(),
        }
        for side, (axis, limits) in sides.items()
    } | {
        "titles": [axes.get_title(loc) for loc in ("left", "center", "right")],
        "drawn": _artists([*axes.lines, *axes.collections, *axes.patches, *axes.texts]),
    }


def _artists(artists: list) -> list[dict]:
    found = []
    for artist in artists:
        looks = {"kind": type(artist).__name__, "alpha": artist.get_alpha(), "order": artist.get_zorder()}
        if isinstance(artist, Line2D):
            looks |= {
                "color": to_hex(artist.get_color()),
                "width": artist.get_linewidth(),
                "style": artist.get_linestyle(),
                "marker": [str(artist.get_marker()), artist.get_markersize(), artist.get_markeredgewidth()],
                "points": [artist.get_xdata(), artist.get_ydata()],
            }
        elif isinstance(artist, Text):
            looks |= {"text": artist.get_text(), "size": artist.get_fontsize(), "color": to_hex(artist.get_color())}
        elif isinstance(artist, Collection):
            looks |= {"faces": [to_hex(face) for face in artist.get_facecolor()], "widths": artist.get_linewidth()}
        else:
            looks |= {"face": to_hex(artist.get_facecolor()), "edge": to_hex(artist.get_edgecolor())}
        found.append(looks)
    return found


def _lines(looks: Any, path: str = "") -> Iterator[str]:
    """One line a property: where it is, and its value, with six digits of each number."""
    if isinstance(looks, (list, tuple, np.ndarray)) and any(isinstance(each, (dict, list, tuple)) for each in looks):
        looks = dict(enumerate(looks))
    if isinstance(looks, dict):
        for name in sorted(looks):
            yield from _lines(looks[name], f"{path}.{name}" if path else str(name))
    else:
        yield f"{path} = {json.dumps(_plain(looks), ensure_ascii=False)}"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.6g}") if isinstance(value, float) else value


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_was_last_looked_at(name, request):
    looks, kept = "\n".join(_lines(looks_of(FIGURES[name]()))) + "\n", LOOKS / f"{name}.txt"
    if request.config.getoption("--looks"):
        kept.write_text(looks)
    assert looks.splitlines() == kept.read_text().splitlines()


def test_no_look_is_kept_of_a_figure_that_is_gone():
    assert {path.stem for path in LOOKS.iterdir()} == {*FIGURES}
