"""Plotly figures from data frames and curves."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.charts.curves import DASHES, Axis, Curve
from core.charts.palette import FAINT, GREY, LAYER_COLORS, METHOD_COLORS

_MEASURES = {
    "accuracy": ("Test accuracy", ".0%", ".2%"),
    "loss": ("Test loss (nats)", "~g", ".4f"),
    "sparsity": ("Sparsity", ".0%", ".1%"),
}
CONFIG = {"displayModeBar": False, "responsive": True}
"""What every chart of the app is shown with."""


def training_curves(history: pd.DataFrame, epochs: int, measure: str, kept_epoch: int | None = None) -> go.Figure:
    """Loss or accuracy of training and validation against the epoch.

    Args:
        history: as `core.runs.Run.history` gives it; may be empty.
        epochs: the length of the axis, fixed from the start so that the curve grows into it.
        measure: "loss", "accuracy", or of a network that is fine-tuned "sparsity".
        kept_epoch: the epoch whose weights were kept, marked if given.
    """
    figure = base(height=280)
    hover = f"%{{y:{_MEASURES[measure][2]}}}"
    for column, name, dash in ((measure, "Training", "dot"), (f"val_{measure}", "Validation", "solid")):
        if column in history and history[column].notna().any():
            figure.add_scatter(
                x=history.epoch,
                y=history[column],
                name=name,
                mode="lines+markers" if len(history) < 40 else "lines",
                line={"color": METHOD_COLORS["weight"], "dash": dash, "width": 2},
                marker={"size": 5},
                hovertemplate=hover,
            )
    if kept_epoch is not None:
        # Above the axes, where no curve runs through the words.
        figure.add_vline(x=kept_epoch, line={"color": GREY, "width": 1, "dash": "dash"})
        if kept_epoch < epochs / 2:
            figure.update_layout(legend={"x": 1, "xanchor": "right"})
        figure.add_annotation(
            text=f"kept: epoch {kept_epoch}", x=kept_epoch, y=1, yref="paper", yanchor="bottom", showarrow=False
        )
    few = {"tick0": 1, "dtick": 1} if epochs <= 10 else {}
    figure.update_xaxes(title="Epoch", range=[0.5, max(epochs, 2) + 0.5], tickformat="d", **few)
    figure.update_yaxes(title=measure.capitalize(), tickformat=_MEASURES[measure][1] if measure == "loss" else ".2~%")
    if measure == "sparsity":
        figure.update_layout(showlegend=False)
        figure.update_yaxes(title="Sparsity of the hidden kernels", tickformat=".0%", range=[0, 1.03])
    if history.empty:
        # Without a point Plotly would choose an axis of its own, with accuracies below nothing.
        figure.update_yaxes(range=[0, 1 if measure == "accuracy" else 2.5])
    return figure


def comparison(curves: Sequence[Curve], x: Axis, y: Axis, height: int = 420) -> go.Figure:
    """The curves of a comparison, side by side where they name several panels.

    Args:
        curves: from `core.charts.curves.comparison_curves`.
        x, y: the axes they were made for.
        height: of the axes in pixels; the legend below takes what it needs besides.
    """
    panels = list(dict.fromkeys(curve.panel for curve in curves)) or [""]
    figure = make_subplots(cols=len(panels), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=panels)
    named = set()
    for curve in curves:
        place = {"row": 1, "col": panels.index(curve.panel) + 1}
        if curve.spread:
            figure.add_scatter(**_band(curve), **place)
        if curve.is_level:
            hover = {"hoverinfo": "skip"}
        else:
            spread = (
                [f" ± {value:{y.numbers.lstrip('+')}}" for value in curve.spread]
                if curve.spread
                else [""] * len(curve.x)
            )
            notes = [f"  ({note})" for note in curve.notes] if curve.notes else [""] * len(curve.x)
            said = [f"{deviation}{note}" for deviation, note in zip(spread, notes, strict=True)]
            hover = {"customdata": said, "hovertemplate": f"%{{y:{y.numbers}}}%{{customdata}}"}
        figure.add_scatter(
            x=curve.x,
            y=curve.y,
            name=curve.name,
            legendgroup=curve.name,
            showlegend=bool(curve.name) and curve.name not in named,
            # What is compared is named before what it is compared with, fainter or grey.
            legendrank=2000 if curve.color == GREY else 1500 if curve.opacity < 1 else 1000,
            mode="lines+markers" if curve.symbol else "lines",
            line={"color": curve.color, "dash": curve.dash, "width": curve.width},
            marker={"symbol": curve.symbol, "size": 7} if curve.symbol else None,
            opacity=curve.opacity,
            **hover,
            **place,
        )
        named.add(curve.name)
    legend_rows = 1 + len(named) // 3
    # Side by side on a phone, titles in one line would run into each other.
    titles = [textwrap.wrap(x.title_of(panel), 24 if len(panels) > 1 else 80) for panel in panels]
    figure.update_layout(
        template=None,
        height=height + 62 + 18 * max(map(len, titles)) + 22 * legend_rows,
        margin={"l": 8, "r": 8, "t": 40 if len(panels) > 1 else 8, "b": 8},
        hovermode="x unified",
        # Below the axes and outside of them: however many curves there are, none is covered.
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )
    figure.update_xaxes(automargin=True, tickformat=x.ticks, range=x.range, hoverformat=x.numbers)
    for column, title in enumerate(titles, start=1):
        figure.update_xaxes(title="<br>".join(title), col=column)
    if x.log:
        values = [value for curve in curves for value in curve.x]
        narrow = bool(values) and max(values) < 50 * min(values)
        figure.update_xaxes(type="log", dtick="D2" if narrow else 1)
    figure.update_yaxes(automargin=True, tickformat=y.ticks, range=y.range, rangemode="normal" if y.range else "tozero")
    figure.update_yaxes(title=y.title, col=1)
    figure.update_annotations(font={"size": 14})
    return figure


def on_white(figure: go.Figure, title: str) -> go.Figure:
    """A figure of the app as a page of its own: the app colours text and grid in the browser, a file cannot."""
    alone = go.Figure(figure)
    alone.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.01},
        margin={"l": 70, "r": 24, "t": 90, "b": 24},
        legend={"y": 0.01},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#1B1F24"},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    alone.update_xaxes(showline=True, linecolor="#9AA3AD", gridcolor="#E6E9ED")
    alone.update_yaxes(gridcolor="#E6E9ED")
    return alone


def _band(curve: Curve) -> dict:
    upper = [value + spread for value, spread in zip(curve.y, curve.spread, strict=True)]
    lower = [value - spread for value, spread in zip(curve.y, curve.spread, strict=True)]
    red, green, blue = (int(curve.color[start : start + 2], 16) for start in (1, 3, 5))
    return {
        "x": [*curve.x, *curve.x[::-1]],
        "y": [*upper, *lower[::-1]],
        "fill": "toself",
        "fillcolor": f"rgba({red}, {green}, {blue}, 0.16)",
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": curve.name,
    }


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Class predicted by the dense network (rows) against the pruned one (columns); agreement is left blank."""
    changed = matrix.astype(float)
    np.fill_diagonal(changed, np.nan)
    figure = base(height=380)
    figure.add_heatmap(
        z=changed,
        x=list(classes),
        y=list(classes),
        colorscale=[[0, "rgba(213, 94, 0, 0.04)"], [1, METHOD_COLORS["unit"]]],
        showscale=False,
        hovertemplate="dense: %{y}<br>pruned: %{x}<br>%{z:,} images<extra></extra>",
        text=np.where(matrix > 0, matrix, "").tolist(),
        texttemplate="%{text}",
        xgap=1,
        ygap=1,
    )
    figure.update_layout(hovermode="closest", margin={"t": 8})
    figure.update_xaxes(title="Predicted after pruning", type="category", showgrid=False)
    figure.update_yaxes(title="Predicted by the dense network", type="category", autorange="reversed", showgrid=False)
    return figure


def pixel_map(connections: np.ndarray, side: int) -> go.Figure:
    """How many live connections each pixel keeps, as a picture."""
    figure = base(height=320)
    figure.add_heatmap(
        z=connections.reshape(side, side),
        colorscale=[[0, FAINT], [1, METHOD_COLORS["weight"]]],
        colorbar={"thickness": 10, "outlinewidth": 0},
        hovertemplate="row %{y}, column %{x}: %{z:,} connections<extra></extra>",
    )
    return _picture(figure)


def fields(units: np.ndarray, weights: np.ndarray, side: int, columns: int = 6) -> go.Figure:
    """Incoming weights of some units as pictures: vermillion below zero, blue above, blank at zero."""
    rows = -(-len(units) // columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"unit {unit}" for unit in units],
        horizontal_spacing=0.02,
        vertical_spacing=0.12,
    )
    largest = float(np.abs(weights).max()) or 1.0
    for index, field in enumerate(weights):
        figure.add_heatmap(
            z=field.reshape(side, side),
            zmin=-largest,
            zmax=largest,
            colorscale=[[0, METHOD_COLORS["unit"]], [0.5, "rgba(128, 138, 150, 0.08)"], [1, METHOD_COLORS["weight"]]],
            showscale=False,
            hovertemplate="%{z:.3f}<extra></extra>",
            row=index // columns + 1,
            col=index % columns + 1,
        )
    figure.update_layout(template=None, height=170 * rows, margin={"l": 0, "r": 0, "t": 24, "b": 0})
    figure.update_annotations(font={"size": 11})
    return _picture(figure)


def sensitivity(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Accuracy when only one layer is pruned, a curve a layer."""
    figure = base(height=340)
    for index, (name, table) in enumerate(tables.items()):
        figure.add_scatter(
            x=table.sparsity.tolist(),
            y=table.accuracy.tolist(),
            name=name,
            mode="lines+markers",
            line={
                "color": LAYER_COLORS[index % len(LAYER_COLORS)],
                "dash": DASHES[index // len(LAYER_COLORS)],
                "width": 2,
            },
            hovertemplate="%{y:.2%}",
        )
    figure.update_xaxes(title="Sparsity k of that layer alone", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title="Test accuracy", tickformat=".0%", range=[0, 1.03])
    return figure


def _picture(figure: go.Figure) -> go.Figure:
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(visible=False, constrain="domain", fixedrange=True)
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain", fixedrange=True)
    for trace in figure.data:
        # Each picture keeps its own pixels square.
        trace_axis = (trace.xaxis or "x").replace("x", "")
        figure.layout[f"yaxis{trace_axis}"].scaleanchor = f"x{trace_axis}"
    return figure


def class_probabilities(sparsities: Sequence[float], rows: np.ndarray, classes: Sequence[str], label: int) -> go.Figure:
    """What one image is taken for at every sparsity; the true class strong, those that ever win named, others grey.

    Args:
        rows: probabilities of shape (sparsities, classes).
        label: the true class.
    """
    figure = base(height=260)
    winners = dict.fromkeys(rows.argmax(axis=1).tolist())
    named = [label, *(winner for winner in winners if winner != label)]
    looks = {
        index: (LAYER_COLORS[place % len(LAYER_COLORS)], DASHES[place // len(LAYER_COLORS)])
        for place, index in enumerate(named)
    }
    for index in sorted(range(len(classes)), key=lambda index: index in named):
        strong = index == label
        color, dash = looks.get(index, (GREY, "solid"))
        figure.add_scatter(
            x=list(sparsities),
            y=rows[:, index].tolist(),
            name=classes[index] + (" (true class)" if strong else ""),
            mode="lines",
            line={"color": color, "dash": dash, "width": 3 if strong else 2 if index in looks else 1},
            showlegend=index in looks,
            hovertemplate="%{y:.1%}",
        )
    figure.update_xaxes(title="Sparsity k of the hidden kernels", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title="Probability", tickformat=".0%", range=[0, 1.03])
    return figure


def base(height: int | None = None) -> go.Figure:
    """An empty figure of the app, without a theme: Streamlit colours text, grid and background, light and dark.

    Args:
        height: in pixels; None for as high as the place where it is shown.
    """
    figure = go.Figure()
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(automargin=True, fixedrange=True)
    figure.update_yaxes(automargin=True, fixedrange=True)
    return figure
