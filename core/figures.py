"""Plotly figures from data frames and distributions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.comparison import DASHES, Axis, Curve
from core.distributions import Distribution
from core.palette import FAINT, GREY, LAYER_COLORS, METHOD_COLORS
from core.sweep import Order

_MEASURES = {
    "accuracy": ("Test accuracy", ".0%", ".2%"),
    "loss": ("Test loss (nats)", "~g", ".4f"),
}

_FIXED_MARGIN = {"l": 52, "r": 8, "t": 48, "b": 44, "autoexpand": False}
"""Of figures that the page draws over: whatever the legend needs, the axes stay where they are."""

CONFIG = {"displayModeBar": False, "responsive": True}
"""What every chart of the app is shown with."""


def training_curves(history: pd.DataFrame, epochs: int, measure: str, kept_epoch: int | None = None) -> go.Figure:
    """Loss or accuracy of training and validation against the epoch.

    Args:
        history: as `core.runs.Run.history` gives it; may be empty.
        epochs: the length of the axis, fixed from the start so that the curve grows into it.
        measure: "loss" or "accuracy".
        kept_epoch: the epoch whose weights were kept, marked if given.
    """
    figure = _figure(height=280)
    hover = f"%{{y:{_MEASURES[measure][2]}}}"
    for column, name, dash in ((measure, "Training", "dot"), (f"val_{measure}", "Validation", "solid")):
        if len(history) and history[column].notna().any():
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
        figure.add_vline(
            x=kept_epoch,
            line={"color": GREY, "width": 1, "dash": "dash"},
            annotation={"text": f"kept: {kept_epoch}", "font": {"size": 11}},
            annotation_position="bottom left",
        )
    figure.update_xaxes(title="Epoch", range=[0.5, max(epochs, 2) + 0.5], tickformat="d")
    figure.update_yaxes(title=measure.capitalize(), tickformat=_MEASURES[measure][1] if measure == "loss" else ".1%")
    return figure


def comparison(curves: Sequence[Curve], x: Axis, y: Axis, height: int = 420) -> go.Figure:
    """The curves of a comparison, side by side where they name several panels.

    Args:
        curves: from `core.comparison.curves`.
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
        if not curve.symbol and not curve.notes and len(curve.x) == 2:
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
            # What is compared is named before what it is compared with.
            legendrank=2000 if curve.color == GREY else 1000,
            mode="lines+markers" if curve.symbol else "lines",
            line={"color": curve.color, "dash": curve.dash, "width": curve.width},
            marker={"symbol": curve.symbol, "size": 7} if curve.symbol else None,
            opacity=curve.opacity,
            **hover,
            **place,
        )
        named.add(curve.name)
    legend_rows = 1 + len(named) // 3
    figure.update_layout(
        template=None,
        height=height + 80 + 22 * legend_rows,
        margin={"l": 8, "r": 8, "t": 40 if len(panels) > 1 else 8, "b": 8},
        hovermode="x unified",
        # Below the axes and outside of them: however many curves there are, none is covered.
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )
    figure.update_xaxes(automargin=True, title=x.title, tickformat=x.ticks, range=x.range, hoverformat=x.numbers)
    if x.log:
        figure.update_xaxes(type="log", dtick="D2")
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


def histograms(distributions: Sequence[Distribution], names: Sequence[str], order: Order) -> go.Figure:
    """The hidden layers' weights or units by what they are ranked by, two a row, dense and grey.

    What survives is drawn over them by the page (`assets/instrument.js`), many times a second, where Plotly
    would lay out the whole figure anew. It finds the places by the margins, domains and ranges set here, and
    puts how many are left into `customdata`. Axes are those of the dense network, so that nothing jumps.
    """
    what = _kind(order)
    figure = _histogram_grid(distributions, names, order)
    for index, distribution in enumerate(distributions):
        figure.add_bar(
            x=_centres(distribution),
            y=distribution.counts.tolist(),
            customdata=distribution.counts.tolist(),
            marker={"color": FAINT, "line": {"width": 0}},
            hovertemplate=f"%{{customdata:,}} of %{{y:,}} {what} left<extra></extra>",
            **_place(index),
        )
    return figure


def live_curve(table: pd.DataFrame, order: Order, baseline: pd.DataFrame) -> go.Figure:
    """Accuracy against the sparsity for the chosen order, with what to compare it to, and a cursor.

    Args:
        table: the run's sweep.
        order: the order chosen on the page, drawn strong.
        baseline: the random baseline as `core.sweep.random_baseline` gives it; may be empty.

    The cursor is drawn over it by the page, as for `histograms`.
    """
    figure = _figure(height=300)
    _add_baseline(figure, baseline)
    other = "unit" if order.method == "weight" else "weight"
    lines = [(Order(other, order.ranking, order.scope, order.seed), 1.5, 0.45)]
    if order.ranking != "magnitude" or order.scope != "layer":
        lines.append((Order(order.method), 1.5, 0.45))
    lines.append((order, 2.5, 1.0))
    for line, width, opacity in lines:
        rows = line.select(table)
        if rows.empty:
            continue
        default = line.ranking == "magnitude" and line.scope == "layer"
        figure.add_scatter(
            x=rows.sparsity.tolist(),
            y=rows.accuracy.tolist(),
            name=f"{line.method}, {line.ranking}" + (", global" if line.scope == "global" else ""),
            mode="lines",
            line={"color": METHOD_COLORS[line.method], "width": width, "dash": "solid" if default else "dash"},
            opacity=opacity,
            hovertemplate="%{y:.2%}",
        )
    figure.update_layout(height=None, margin=_FIXED_MARGIN, legend={"font": {"size": 11}})
    figure.update_xaxes(
        title="Sparsity k of the hidden kernels", tickformat=".0%", range=[-0.02, 1.02], automargin=False
    )
    figure.update_yaxes(title="Test accuracy", tickformat=".0%", range=[0, 1.03], automargin=False)
    return figure


def animation(
    distributions: Sequence[Distribution], names: Sequence[str], order: Order, rows: pd.DataFrame
) -> go.Figure:
    """The sparsification as frames, one a sparsity, that play in the browser; what is zeroed is left out.

    Args:
        distributions: of the hidden layers, as for `histograms`.
        rows: the order's rows of a sweep, with a column `pruned` of how many each layer loses.
    """
    figure = _histogram_grid(distributions, names, order)
    for index, distribution in enumerate(distributions):
        figure.add_bar(
            x=_centres(distribution),
            y=distribution.counts.tolist(),
            marker={"color": METHOD_COLORS[order.method], "line": {"width": 0}},
            hovertemplate=f"%{{y:,}} {_kind(order)}<extra></extra>",
            **_place(index),
        )
    titles = []
    for row in rows.itertuples():
        title = f"k = {100 * row.sparsity:g}% · test accuracy {row.accuracy:.2%}"
        titles.append(title)
        bars = [
            go.Bar(y=distribution.surviving(pruned).tolist())
            for distribution, pruned in zip(distributions, row.pruned, strict=True)
        ]
        figure.frames += (
            go.Frame(
                data=bars,
                traces=list(range(len(bars))),
                name=f"{100 * row.sparsity:g}%",
                layout={"title": {"text": title}},
            ),
        )
    speed = {"frame": {"duration": 700, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True}
    still = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate", "transition": {"duration": 0}}
    figure.update_layout(
        height=120 + 240 * histogram_rows(len(names)),
        title={"text": titles[0], "font": {"size": 16}, "x": 0.5, "xanchor": "center"},
        margin={"t": 72, "b": 140},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "x": 0,
                "y": -0.2,
                "xanchor": "left",
                "yanchor": "top",
                "showactive": False,
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, speed]},
                    {"label": "❚❚ Pause", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
        sliders=[
            {
                "x": 0.22,
                "len": 0.78,
                "y": -0.14,
                "pad": {"t": 0},
                "currentvalue": {"visible": False},
                "steps": [
                    {"label": frame.name, "method": "animate", "args": [[frame.name], still]} for frame in figure.frames
                ],
            }
        ],
    )
    return figure


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Class predicted by the dense network (rows) against the pruned one (columns); agreement is left blank."""
    changed = matrix.astype(float)
    np.fill_diagonal(changed, np.nan)
    figure = _figure(height=380)
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
    figure = _figure(height=320)
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
    figure = _figure(height=340)
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


def _histogram_grid(distributions: Sequence[Distribution], names: Sequence[str], order: Order) -> go.Figure:
    """Empty histograms of the hidden layers, two a row, with the axes of the dense network."""
    rows = histogram_rows(len(names))
    places = [[{}, {}] for _ in range(rows)]
    if len(names) % 2:
        places[-1][1] = None
    figure = make_subplots(
        rows=rows, cols=2, specs=places, subplot_titles=names, vertical_spacing=0.48 / rows, horizontal_spacing=0.1
    )
    for index, distribution in enumerate(distributions):
        largest = float(distribution.edges[-1])
        figure.update_xaxes(title=_score_name(order), range=[0, largest], hoverformat=".3g", **_place(index))
        top = int(distribution.counts.max()) * 1.05
        figure.update_yaxes(title=_kind(order).capitalize(), range=[0, top], tickformat="~s", **_place(index))
    figure.update_layout(
        template=None,
        bargap=0.08,
        showlegend=False,
        hovermode="x unified",
        margin=_FIXED_MARGIN | {"t": 24},
    )
    figure.update_xaxes(fixedrange=True, title_standoff=4, showgrid=False)
    figure.update_yaxes(fixedrange=True, title_standoff=4)
    figure.update_annotations(font={"size": 13})
    return figure


def histogram_rows(layers: int) -> int:
    """How many rows the histograms of so many layers take."""
    return (layers + 1) // 2


def _place(index: int) -> dict[str, int]:
    return {"row": index // 2 + 1, "col": index % 2 + 1}


def _centres(distribution: Distribution) -> list[float]:
    return [float(f"{centre:.6g}") for centre in (distribution.edges[:-1] + distribution.edges[1:]) / 2]


def _kind(order: Order) -> str:
    return "weights" if order.method == "weight" else "units"


def _add_baseline(figure: go.Figure, baseline: pd.DataFrame) -> None:
    """Mean and spread of random pruning, as a grey band."""
    if baseline.empty:
        return
    upper, lower = baseline["mean"] + baseline["std"], baseline["mean"] - baseline["std"]
    figure.add_scatter(
        x=[*baseline.sparsity, *baseline.sparsity[::-1]],
        y=[*upper, *lower[::-1]],
        fill="toself",
        fillcolor=FAINT,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=baseline.sparsity.tolist(),
        y=baseline["mean"].tolist(),
        name=f"random, mean ± s.d. of {baseline['count'].min()}",
        mode="lines",
        line={"color": GREY, "width": 1.5, "dash": "dot"},
        hovertemplate="%{y:.2%}",
    )


def _score_name(order: Order) -> str:
    """What the horizontal axis of a histogram is: the score that pruning goes by."""
    return {
        ("weight", "magnitude"): "|w|",
        ("unit", "magnitude"): "L2 norm",
        ("weight", "activation"): "|w| × rms input",
        ("unit", "activation"): "rms activation × outgoing norm",
    }.get((order.method, order.ranking), "random number")


def _figure(height: int, title: str | None = None) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        # Streamlit's own theme colours text, grid and background, light and dark.
        template=None,
        height=height,
        margin={"l": 8, "r": 8, "t": 44 if title else 36, "b": 8},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        title={"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left"} if title else None,
    )
    figure.update_xaxes(automargin=True, fixedrange=True)
    figure.update_yaxes(automargin=True, fixedrange=True)
    return figure
