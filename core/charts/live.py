"""The figures of the live slider: drawn once, and moved by the page many times a second."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.analysis.distributions import Distribution
from core.charts.interactive import base
from core.charts.palette import FAINT, GREY, METHOD_COLORS
from core.state import fine_tuned_by, kind_of
from core.sweep import Criterion

_FIXED_MARGIN = {"l": 52, "r": 8, "t": 48, "b": 44, "autoexpand": False}
"""Of figures that the page draws over: whatever the legend needs, the axes stay where they are."""


_LOG_FLOOR = 0.7
"""Where a logarithmic axis of counts begins, so that a bar of one is seen."""
HISTOGRAM_HEIGHT = 185
"""Pixels of a row of histograms on the page."""
CURVE_HEIGHT = 215
"""Pixels of the curves beside them."""


def histograms(distributions: Sequence[Distribution], names: Sequence[str], criterion: Criterion) -> go.Figure:
    """The hidden layers' weights or units by what they are ranked by, two a row, dense and grey.

    What survives is drawn over them by the page (`assets/instrument.js`), many times a second, where Plotly
    would lay out the whole figure again. It finds the places by the margins, domains and ranges set here, and
    puts how many are left into `customdata`. Axes are those of the dense network, so that nothing jumps.
    """
    what = _kind(criterion)
    figure = _histogram_grid(distributions, names, criterion)
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


def live_curve(
    table: pd.DataFrame, criterion: Criterion, baseline: pd.DataFrame, trained: pd.DataFrame | None = None
) -> go.Figure:
    """Accuracy against the sparsity by the chosen criterion, with what to compare it to, and a cursor.

    Args:
        table: the run's sweep.
        criterion: the one chosen on the page, drawn strong.
        baseline: the random baseline as `core.sweep.random_baseline` gives it; may be empty.
        trained: fine-tuned networks, columns sparsity and accuracy; points, as there are few.

    The cursor is drawn over it by the page, as for `histograms`.
    """
    figure = base()
    _add_baseline(figure, baseline)
    for line in _lines(criterion):
        rows = line.select(table)
        if rows.empty:
            continue
        chosen = line == criterion
        figure.add_scatter(
            x=rows.sparsity.tolist(),
            y=rows.accuracy.tolist(),
            name=_line_name(line),
            mode="lines",
            line={"color": METHOD_COLORS[line.method], "width": 2.5 if chosen else 1.5, "dash": _dash(line)},
            opacity=1.0 if chosen else 0.7,
            hovertemplate="%{y:.2%}",
        )
    if trained is not None and len(trained := trained[trained.sparsity > 0]):
        figure.add_scatter(
            x=trained.sparsity.tolist(),
            y=trained.accuracy.tolist(),
            name=_line_name(fine_tuned_by(criterion.method)),
            mode="markers",
            marker={"color": METHOD_COLORS[criterion.method], "size": 8, "symbol": "diamond"},
            hovertemplate="%{y:.2%}",
        )
    figure.update_layout(margin=_FIXED_MARGIN, legend={"font": {"size": 11}})
    figure.update_xaxes(
        title="Sparsity k of the hidden kernels", tickformat=".0%", range=[-0.02, 1.02], automargin=False
    )
    figure.update_yaxes(title="Test accuracy", tickformat=".0%", range=[0, 1.03], automargin=False)
    return figure


def _lines(criterion: Criterion) -> list[Criterion]:
    """What is drawn beside the chosen criterion, which comes last: what it has to be compared with."""
    others = [criterion.as_pruned, criterion.repaired]
    if kind_of(criterion).is_instant:
        other = "unit" if criterion.method == "weight" else "weight"
        others = [dataclasses.replace(criterion, method=other), Criterion(criterion.method), criterion.repaired]
    return [*dict.fromkeys(line for line in others if line != criterion), criterion]


def _line_name(line: Criterion) -> str:
    state = kind_of(line)
    parts = [line.method, state.words, *([line.ranking] if line.ranking != state.rankings[0] else [])]
    return ", ".join([*parts, *(["global"] if line.scope == "global" else [])])


def _dash(line: Criterion) -> str:
    if not kind_of(line).is_instant:
        return "dash"
    return "solid" if line.ranking == "magnitude" and line.scope == "layer" else "dot"


def _histogram_grid(distributions: Sequence[Distribution], names: Sequence[str], criterion: Criterion) -> go.Figure:
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
        figure.update_xaxes(title=_score_name(criterion), range=[0, largest], hoverformat=".3g", **_place(index))
        top = max(1, int(distribution.counts.max())) * 1.05
        scale = {"range": [0, top], "tickformat": "~s"}
        if criterion.method == "weight" and not kind_of(criterion).is_instant:
            # One weight in a hundred lies scattered where there was none before: by number it would not be seen.
            scale = {"type": "log", "range": [np.log10(_LOG_FLOOR), np.log10(top)], "dtick": 1, "exponentformat": "SI"}
        title = _kind(criterion).capitalize() + (" (log)" if "type" in scale else "")
        figure.update_yaxes(title=title, **scale, **_place(index))
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


def _kind(criterion: Criterion) -> str:
    return "weights" if criterion.method == "weight" else "units"


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


def _score_name(criterion: Criterion) -> str:
    """What the horizontal axis of a histogram is: the score that pruning goes by."""
    if not kind_of(criterion).is_instant:
        return {"weight": "|w|", "unit": "L2 norm"}[criterion.method] + " (last: larger)"
    return {
        ("weight", "magnitude"): "|w|",
        ("unit", "magnitude"): "L2 norm",
        ("weight", "activation"): "|w| × rms input",
        ("unit", "activation"): "rms activation × outgoing norm",
    }.get((criterion.method, criterion.ranking), "random number")
