"""The figures of size and speed: bytes, multiply-adds, accuracy and time against the sparsity."""

import pandas as pd
import plotly.graph_objects as go

from core.analysis.footprint import NETWORKS
from core.charts.interactive import base
from core.charts.palette import GREY, METHOD_COLORS, shades
from core.kernels.number_formats import NUMBER_FORMATS

_HEIGHT = 330
_DASHES = {"float32": "solid", "float16": "dash", "int8": "dot", "coded": "dashdot", "sparse": "longdash"}
_HELD = {"compacted": ("solid", "circle"), "sparse": ("longdash", "diamond")}


def bytes_curve(points: pd.DataFrame, column: str, dense: int, method: str, k: float | None) -> go.Figure:
    """The file of the compacted network in every format against k.

    Args:
        points: columns k, format, bytes, compressed.
        column: "bytes" or "compressed".
        dense: the dense network's file in float32.
        method: "weight" or "unit", for the colour.
        k: where the slider is; None for one k a layer.
    """
    figure = _against_k(k)
    _level(figure, "dense, float32", dense, f"{dense:,} bytes")
    for name, color in _colors(method):
        rows = points[points.format == name]
        _line(figure, rows.k, rows[column], NUMBER_FORMATS[name].title, color, _DASHES[name], "%{y:,} bytes")
    figure.update_yaxes(title="File in bytes", type="log", dtick=1, tickformat="~s")
    return figure


def operations_curve(points: pd.DataFrame, dense: int, method: str, k: float | None) -> go.Figure:
    """Multiply-adds of one image against k: of the compacted network, and of only its weights that are not zero.

    Args:
        points: columns k, multiply_adds, nonzero.
        dense: those of the dense network.
    """
    figure = _against_k(k)
    _level(figure, "dense", dense, f"{dense:,}")
    once = points.drop_duplicates("k")
    for (name, (dash, _)), column in zip(_HELD.items(), ("multiply_adds", "nonzero"), strict=True):
        # Where nothing is left there is no place on a logarithmic axis.
        rows = once[once[column] > 0]
        _line(figure, rows.k, rows[column], NETWORKS[name], METHOD_COLORS[method], dash, "%{y:,}")
    figure.update_yaxes(title="Multiply-adds of one image", type="log", dtick=1, tickformat="~s")
    return figure


def accuracy_curve(points: pd.DataFrame, dense: float, method: str, k: float | None) -> go.Figure:
    """Test accuracy of what is read from the files against k.

    Args:
        points: columns k, format, accuracy.
        dense: that of the dense network.
    """
    figure = _against_k(k)
    _level(figure, "dense", dense, f"{dense:.2%}")
    for name, color in _colors(method):
        if name != "sparse":
            rows = points[points.format == name]
            title = "float32, and sparse" if name == "float32" else NUMBER_FORMATS[name].title
            _line(figure, rows.k, rows.accuracy, title, color, _DASHES[name], "%{y:.2%}")
    figure.update_yaxes(title="Test accuracy", tickformat=".0%", range=[0, 1.03])
    return figure


def speed_curve(measured: pd.DataFrame, what: str, method: str, k: float | None) -> go.Figure:
    """How many times faster than the dense network, in the same runtime and the same measurement, against k.

    Args:
        measured: from `core.analysis.latency.measure`, with a column k.
        what: "one" image or "many".
    """
    figure = _against_k(k)
    _level(figure, "dense", 1, "1×")
    runtimes = list(dict.fromkeys(measured.runtime))
    colors = dict(zip(runtimes, shades(METHOD_COLORS[method], len(runtimes)), strict=True))
    for (network, runtime), rows in measured.groupby(["network", "runtime"], sort=False):
        if network in _HELD:
            dash, symbol = _HELD[network]
            rows = rows.sort_values("k")
            name = f"{NETWORKS[network]}, {runtime}"
            _line(figure, rows.k, rows[f"{what}_faster"], name, colors[runtime], dash, "%{y:.2f}×", symbol)
    figure.update_yaxes(
        title=f"Times as fast as dense, {'one image' if what == 'one' else 'many images'}", type="log", dtick="D2"
    )
    return figure


def _colors(method: str) -> list[tuple[str, str]]:
    return list(zip(NUMBER_FORMATS, shades(METHOD_COLORS[method], len(NUMBER_FORMATS)), strict=True))


def _against_k(k: float | None) -> go.Figure:
    figure = base(height=_HEIGHT)
    figure.update_xaxes(title="Sparsity k of the hidden kernels", tickformat=".0%", hoverformat=".4~%")
    figure.update_xaxes(range=[-0.02, 1.02])
    if k is not None:
        figure.add_vline(x=k, line={"color": GREY, "width": 1, "dash": "dash"})
    return figure


def _level(figure: go.Figure, name: str, value: float, said: str) -> None:
    figure.add_scatter(
        x=[0, 1], y=[value] * 2, name=name, mode="lines", line={"color": GREY, "width": 1}, hovertemplate=said
    )


def _line(
    figure: go.Figure,
    x: pd.Series,
    y: pd.Series,
    name: str,
    color: str,
    dash: str,
    hover: str,
    symbol: str = "circle",
) -> None:
    figure.add_scatter(
        x=x.tolist(),
        y=y.tolist(),
        name=name,
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": 2},
        marker={"symbol": symbol, "size": 6},
        hovertemplate=hover,
    )
