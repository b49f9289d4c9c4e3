"""Bytes against accuracy of smallest files."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from core.charts.interactive import base
from core.charts.palette import FAINT, GREY, METHOD_COLORS
from core.runs import SmallestFile, best


def front(files: Sequence[SmallestFile], dense_accuracy: float, qr_bytes: int) -> go.Figure:
    """The accuracy of each file against its size, and a line through those that no smaller one beats.

    Args:
        files: what was made, smallest first.
        dense_accuracy: of the large network on the test images.
        qr_bytes: what one QR code holds.
    """
    figure = base(360)
    chosen = best(list(files))
    others = [made for made in files if made not in chosen]
    for group, name, color, mode in (
        (others, "others", GREY, "markers"),
        (chosen, "no smaller one has the same validation accuracy", METHOD_COLORS["weight"], "lines+markers"),
    ):
        if group:
            figure.add_scatter(
                x=[made.bytes for made in group],
                y=[made.test_accuracy for made in group],
                customdata=[[made.val_accuracy, made.weights] for made in group],
                mode=mode,
                name=name,
                line={"color": color},
                marker={"color": color, "size": 9},
                hovertemplate="%{x:,} bytes: %{y:.2%} on test images, %{customdata[0]:.2%} on validation images, "
                "%{customdata[1]:,} numbers not zero<extra></extra>",
            )
    figure.add_hline(y=dense_accuracy, line={"color": GREY, "dash": "dash"})
    figure.add_annotation(
        x=0,
        xref="paper",
        y=dense_accuracy,
        yanchor="bottom",
        xanchor="left",
        showarrow=False,
        text=f"large network {dense_accuracy:.2%}",
        font={"color": GREY},
    )
    figure.add_vline(x=qr_bytes, line={"color": FAINT})
    figure.add_annotation(
        # Annotations on a logarithmic axis take the logarithm.
        x=math.log10(qr_bytes),
        y=0,
        yref="paper",
        yanchor="bottom",
        xanchor="right",
        showarrow=False,
        text="one QR code",
        font={"color": GREY},
    )
    figure.update_layout(hovermode="closest")
    # Room for ticks on both axes, which would else show no more than a file that is alone.
    sizes = [qr_bytes, *(made.bytes for made in files)]
    ends = [math.log10(min(sizes) / 2), math.log10(max(sizes) * 2)]
    figure.update_xaxes(title="Whole file in bytes", type="log", dtick="D2", tickformat=",d", range=ends)
    figure.update_yaxes(title="Test accuracy", tickformat=".2~%", range=_around(files, dense_accuracy))
    return figure


def _around(files: Sequence[SmallestFile], dense_accuracy: float) -> list[float]:
    """The axis of all accuracies: at least a point of them."""
    shown = [dense_accuracy, *(made.test_accuracy for made in files)]
    room = max(0.005, (max(shown) - min(shown)) / 10)
    return [min(shown) - room, min(max(shown) + room, 1.002)]
