"""Tables as files: CSV, Excel, Parquet and Markdown; and numbers with their deviations, as tables to read have them."""

import io
import re
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from core.analysis.comparison import CURVE, said_ranking

_DIGITS = {"accuracy": 4, "change": 4, "agreement": 4, "worst_class": 4, "loss": 5, "compression": 2}
"""Decimals of numbers that leave for people, by what the name of their column begins or ends with."""
_NUMBERS = dict.fromkeys(("accuracy", "change", "agreement", "worst_class", "sparsity_hidden"), "0.00%")
_NUMBERS |= {"sparsity_network": "0.00%", "loss": "0.00000", "compression": "0.00"}
_NUMBERS |= dict.fromkeys(("zeroed", "removable", "remaining", "multiply_adds", "parameters"), "#,##0")
"""How a spreadsheet writes them."""
_FORMULA = "=+@＝＋－＠-"
"""What a formula begins with."""


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV that opens alike in pandas and in a spreadsheet, rounded for people."""
    return _without_formulas(rounded(table)).to_csv(index=False, lineterminator="\n").encode()


def xlsx_bytes(sheets: dict[str, pd.DataFrame]) -> bytes:
    """Tables as one Excel file, rounded for people: a sheet each, numbers as numbers, the header frozen.

    Args:
        sheets: tables by the name of their sheet.
    """
    file = io.BytesIO()
    options = {"strings_to_formulas": False, "strings_to_urls": False}
    with pd.ExcelWriter(file, engine="xlsxwriter", engine_kwargs={"options": options}) as writer:
        for title, table in sheets.items():
            safe = _without_formulas(rounded(table))
            safe.to_excel(writer, sheet_name=title, index=False, freeze_panes=(1, 0))
            sheet = writer.sheets[title]
            for index, name in enumerate(safe):
                if number := _of_kind(_NUMBERS, name):
                    sheet.set_column(index, index, None, writer.book.add_format({"num_format": number}))
            sheet.autofit()
    return file.getvalue()


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """A table with accuracies to 4 decimals and losses to 5. Parquet and the files of the cache hold all digits."""
    digits = {name: _of_kind(_DIGITS, name) for name in table if is_float_dtype(table[name])}
    return table.round({name: each for name, each in digits.items() if each is not None})


def _of_kind(kinds: dict[str, Any], name: str) -> Any:
    """What holds for a column: "val_accuracy" and "accuracy_sd" are accuracies. None if nothing does."""
    named = (value for kind, value in kinds.items() if f"_{name}_".startswith(f"_{kind}_") or name.endswith(f"_{kind}"))
    return next(named, None)


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with text that a spreadsheet would take for a formula quoted (OWASP, "CSV Injection")."""
    safe = table.copy()
    for name in safe.select_dtypes(["object", "string"]):
        safe[name] = safe[name].map(as_text)
    safe.columns = [as_text(name) for name in safe]
    return safe


def as_text(value: object) -> object:
    """A value as a cell that no spreadsheet takes for a formula, in one line; what is no text stays what it is."""
    if not isinstance(value, str):
        return value
    # One line a row, for readers that know nothing of quotes, and nothing that they leave out before they look.
    line = " ".join(value.splitlines())
    line = "".join(each if each.isprintable() else " " if each.isspace() else "" for each in line)
    # Some take semicolons for the ends of cells.
    return re.sub(rf"(^|;)(?=\s*[{_FORMULA}])", r"\1'", line)


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as Parquet, with its types."""
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def markdown_bytes(table: pd.DataFrame) -> bytes:
    """A table as Markdown, rounded for people: at most six digits, never powers of ten."""
    escaped = rounded(table)
    for name in escaped:
        if is_float_dtype(escaped[name]):
            escaped[name] = escaped[name].map(_as_decimal)
        elif not is_numeric_dtype(escaped[name]):
            escaped[name] = escaped[name].map(lambda value: str(value).replace("|", "\\|"))
    aligned = ["right" if is_numeric_dtype(table[name]) else "left" for name in table]
    return (escaped.to_markdown(index=False, disable_numparse=True, colalign=aligned) + "\n").encode()


def _as_decimal(value: float) -> str:
    return "" if pd.isna(value) else np.format_float_positional(float(f"{value:.6g}"), trim="-")


def plus_minus(mean: float, deviation: float = np.nan, digits: int = 4, sign: bool = False) -> str:
    """A mean with its deviation, if there is one: "0.823 ± 0.006"; a dash for what is not a number."""
    if pd.isna(mean):
        return "–"
    # No minus sign before a zero.
    rounded = round(mean, digits) + 0.0
    text = f"{rounded:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return text if pd.isna(deviation) else f"{text} ± {deviation:.{digits}f}"


def points_text(drop: float) -> str:
    """A part as points in words: "1 point", "0.5 points"."""
    points = f"{100 * drop:g}"
    return f"{points} point{'' if points == '1' else 's'}"


def knee_texts(knees: pd.DataFrame, areas: pd.DataFrame | None = None) -> pd.DataFrame:
    """Knees as a table to read, on the page and in the report: one row a curve, numbers with their deviations.

    Args:
        knees: from `core.analysis.knees.knees`.
        areas: from `core.analysis.knees.areas`, if they are wanted.

    Returns:
        configuration, method, ranked_by, state; for each drop "k_0.005" (the knee) and "change_0.005" (the change of
        test accuracy there, in points); area; step (from a knee to the next k that was scored, at most); n.
    """
    rows = []
    for key, curve in knees.groupby(CURVE, sort=False):
        named = dict(zip(CURVE, key, strict=True))
        row = {name: named[name] for name in ("configuration", "method", "state")}
        row["ranked_by"] = said_ranking(named["ranking"], named["scope"], "none")
        for knee in curve.itertuples():
            row[f"k_{knee.drop}"] = plus_minus(knee.k, knee.k_sd, 3)
            row[f"change_{knee.drop}"] = plus_minus(100 * knee.change, 100 * knee.change_sd, 2, sign=True)
        if areas is not None:
            (area,) = areas.merge(pd.DataFrame([named])).itertuples()
            row["area"] = plus_minus(area.area, area.area_sd, 3)
        row["step"] = (curve.next - curve.k).max()
        row["n"] = int(curve.n.max())
        rows.append(row)
    return pd.DataFrame(rows)


def difference_texts(differences: pd.DataFrame, names: dict[tuple, str], points: bool) -> pd.DataFrame:
    """Paired differences as a table to read: one row a sparsity, a column a curve.

    Args:
        differences: from `core.analysis.uncertainty.differences`.
        names: of the curves, from `core.analysis.comparison.curve_names`.
        points: whether they are shares, written in points.

    Returns:
        k, then for each curve a column of its name and n: "−1.20 (−1.52 to −0.88)".
    """
    scale, digits = (100, 2) if points else (1, 4)

    def said(row: dict[str, float]) -> str:
        middle, low, high = (plus_minus(scale * row[name], digits=digits, sign=True) for name in _INTERVAL)
        return f"{middle} ({low} to {high})"

    columns = {}
    for key, curve in differences.groupby(CURVE, sort=False):
        least, most = curve.n.min(), curve.n.max()
        column = f"{names[key]} (n = {least if least == most else f'{least} to {most}'})"
        columns[column] = dict(zip(curve.k, (said(row) for row in curve.to_dict("records")), strict=True))
    return pd.DataFrame(columns).rename_axis("k").sort_index().reset_index().fillna("–")


_INTERVAL = ("difference", "low", "high")
