"""A page as a person reads it: each value under its heading, each number beside its label, each curve by its name."""

import base64
import json
import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest


@dataclass(frozen=True)
class Chart:
    """A Plotly figure: the titles of its axes, the titles of its panels, and its traces by their names."""

    x: list[str]
    y: list[str]
    titles: list[str]
    traces: dict[str, SimpleNamespace]

    def points(self, name: str) -> dict:
        """What a curve is at each place of the horizontal axis."""
        return dict(zip(self.traces[name].x, self.traces[name].y, strict=True))


def tables(app: AppTest) -> list[pd.DataFrame]:
    """All tables: the columns that are shown, by their headings; as text where Python writes it, else as numbers."""
    return [_table(element) for element in app.dataframe]


def table_with(app: AppTest, heading: str) -> pd.DataFrame:
    """The one table that has this heading."""
    (found,) = [table for table in tables(app) if heading in table]
    return found


def metrics(app: AppTest) -> dict[str, tuple[str, str]]:
    """The value and the note of each metric, by its label."""
    return {metric.label: (metric.value, metric.delta) for metric in app.metric}


def chart(app: AppTest, key: str) -> Chart:
    """The chart of this key."""
    (element,) = [each for each in app.get("plotly_chart") if each.proto.id.endswith(f"-{key}")]
    return figure(json.loads(element.proto.spec))


def figure(looks: dict) -> Chart:
    layout = looks["layout"]
    axes = {letter: sorted(name for name in layout if re.fullmatch(rf"{letter}axis\d*", name)) for letter in "xy"}
    titles = {
        letter: [layout[name]["title"]["text"] for name in names if layout[name].get("title")]
        for letter, names in axes.items()
    }
    traces = {}
    for trace in looks["data"]:
        values = {name: _numbers(trace[name]) for name in ("x", "y", "z") if name in trace}
        traces[trace.get("name", "")] = SimpleNamespace(line=trace.get("line", {}), **values)
    return Chart(titles["x"], titles["y"], [each["text"] for each in layout.get("annotations", [])], traces)


def html_tables(page: str) -> list[pd.DataFrame]:
    """The tables of a page that have headings."""
    found = []
    for table in re.findall(r"<table>(.*?)</table>", page, re.S):
        heads, rows = re.findall(r"<th[^>]*>(.*?)</th>", table), re.findall(r"<tr><td>.*?</tr>", table, re.S)
        if heads:
            found.append(pd.DataFrame([re.findall(r"<td>(.*?)</td>", row) for row in rows], columns=heads))
    return found


def number(text: str) -> float:
    """A number as it is written for a person: 5,616, −3.20, 98.31%, 12.5×."""
    return float(re.sub(r"[,%×]", "", text).replace("−", "-"))


def _table(element: object) -> pd.DataFrame:
    proto = element.proto
    config, styled = json.loads(proto.columns or "{}"), proto.arrow_data.styler.display_values
    shown = convert_arrow_bytes_to_pandas_df(styled) if styled else element.value
    order = list(proto.column_order) or list(shown)
    heads = [config.get(name, {}).get("label") or name for name in order]
    return shown[order].set_axis(heads, axis="columns").reset_index(drop=True)


def _numbers(values: object) -> list:
    if not isinstance(values, dict):
        return values
    # As Plotly sends arrays.
    numbers = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return numbers.reshape([int(size) for size in values.get("shape", "-1").split(",")]).tolist()
