"""Plotly figures from data frames and distributions. The one place that knows colours."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.distributions import Distribution

# Okabe and Ito's palette, told apart by every kind of colour vision.
METHOD_COLORS = {"weight": "#0072B2", "unit": "#D55E00"}
GREY = "#9AA3AD"
"""Dense, pruned away, or published elsewhere."""
FAINT = "rgba(128, 138, 150, 0.28)"

METHOD_NAMES = {"weight": "Weight pruning", "unit": "Unit pruning"}
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
_MEASURES = {
    "accuracy": ("Test accuracy", ".0%", ".2%"),
    "loss": ("Test loss (nats)", "~g", ".4f"),
}
_MAGNITUDES = {"weight": "|w|", "unit": "L2 norm of a unit's weights"}

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


def pruning_curves(
    curves: Sequence[tuple[str, pd.DataFrame]],
    measure: str,
    published: pd.DataFrame | None = None,
    marker: tuple[str, float, float] | None = None,
    height: int = 380,
) -> go.Figure:
    """Accuracy or loss against the sparsity: colour tells the method, dash and symbol the run.

    Args:
        curves: pairs of a run's name and its sweep (columns method, sparsity, accuracy, loss).
        measure: "accuracy" or "loss".
        published: a table with columns sparsity and `{measure}_{method}`, drawn thin and grey behind.
        marker: method, sparsity and value of a point to stress.
    """
    label, ticks, numbers = _MEASURES[measure]
    figure = _figure(height=height)
    for method, color in METHOD_COLORS.items():
        if published is not None:
            figure.add_scatter(
                x=published.sparsity,
                y=published[f"{measure}_{method}"],
                name=f"{METHOD_NAMES[method]}, published",
                mode="lines",
                line={"color": color, "dash": "dash", "width": 1.5},
                opacity=0.55,
                hovertemplate=f"%{{y:{numbers}}}",
            )
    for index, (run, table) in enumerate(curves):
        for method, color in METHOD_COLORS.items():
            rows = table[table.method == method].sort_values("sparsity") if len(table) else table
            if not len(rows):
                continue
            figure.add_scatter(
                x=rows.sparsity,
                y=rows[measure],
                name=METHOD_NAMES[method] + (f", {run}" if len(curves) > 1 else ""),
                mode="lines+markers" if len(rows) < 40 else "lines",
                line={"color": color, "dash": _DASHES[index % len(_DASHES)], "width": 2},
                marker={"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 7},
                hovertemplate=f"%{{y:{numbers}}}",
            )
    if marker is not None:
        method, sparsity, value = marker
        figure.add_scatter(
            x=[sparsity],
            y=[value],
            name="This k",
            mode="markers",
            marker={"color": METHOD_COLORS[method], "size": 14, "line": {"color": "white", "width": 2}},
            showlegend=False,
            hovertemplate=f"%{{y:{numbers}}}",
        )
    figure.update_xaxes(title="Sparsity k of the hidden kernels", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title=label, tickformat=ticks, rangemode="tozero")
    if measure == "accuracy":
        figure.update_yaxes(range=[0, 1.03])
    return figure


def histogram(distribution: Distribution, method: str, sparsity: float, title: str) -> go.Figure:
    """One layer's weights or unit norms: what survives in colour, what was pruned as a ghost behind it.

    The axes are those of the dense kernel at every k, so that nothing jumps while k changes.
    """
    edges, dense = distribution.edges, distribution.counts
    centres = (edges[:-1] + edges[1:]) / 2
    figure = _figure(height=240, title=title)
    what = "weights" if method == "weight" else "units"
    for counts, color, name in (
        (dense, FAINT, "dense"),
        (distribution.surviving(sparsity), METHOD_COLORS[method], "surviving"),
    ):
        figure.add_bar(
            x=centres.round(6),
            y=counts,
            name=name,
            marker={"color": color, "line": {"width": 0}},
            hovertemplate=f"%{{y:,}} {what}",
        )
    threshold = distribution.threshold(sparsity)
    if threshold is not None:
        figure.add_vline(x=threshold, line={"color": GREY, "width": 1.5, "dash": "dash"})
    figure.update_layout(barmode="overlay", bargap=0.08, showlegend=False, hovermode="x unified")
    figure.update_xaxes(title=_MAGNITUDES[method], range=[0, float(edges[-1])], hoverformat=".3f")
    figure.update_yaxes(title=what.capitalize(), range=[0, float(dense.max()) * 1.05], tickformat="~s")
    return figure


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
