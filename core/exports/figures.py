"""A comparison's figure as a file: a page that stays interactive, or a picture."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from core.charts import interactive
from core.charts.curves import Axis, Curve


def html_bytes(figure: go.Figure, title: str) -> bytes:
    """An interactive figure on white as one page that needs nothing else, not even a network."""
    alone = interactive.on_white(figure, title)
    alone.update_layout(height=None, autosize=True)
    page = alone.to_html(include_plotlyjs=True, full_html=True, config={"responsive": True})
    return page.replace("<head>", f"<head><title>{html.escape(title)}</title>", 1).encode()


def picture_bytes(curves: Sequence[Curve], x: Axis, y: Axis, kind: str) -> bytes:
    """A comparison as a picture on white, "png" or "svg"."""
    # Matplotlib takes a second and 40 MB; the server loads it with the first picture.
    from core.charts import printed

    return printed.to_bytes(printed.comparison(curves, x, y), kind)
