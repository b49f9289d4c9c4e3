"""Tables as files: CSV, Parquet and Markdown."""

import io

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

_FORMULA = ("=", "+", "-", "@", "\t")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV that opens alike in pandas and in a spreadsheet.

    Text that a spreadsheet would take for a formula is quoted by an apostrophe (OWASP, "CSV Injection").
    """
    safe = table.copy()
    for name in safe.select_dtypes(["object", "string"]):
        safe[name] = safe[name].map(_as_text)
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _as_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    # One line a row, for readers that know nothing of quotes.
    line = " ".join(value.splitlines())
    return f"'{line}" if line.startswith(_FORMULA) else line


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as Parquet, with its types."""
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def markdown_bytes(table: pd.DataFrame) -> bytes:
    """A table as Markdown: whole numbers whole, others with at most six digits and never as powers of ten."""
    escaped = table.copy()
    for name in escaped:
        if is_float_dtype(escaped[name]):
            escaped[name] = escaped[name].map(_as_decimal)
        elif not is_numeric_dtype(escaped[name]):
            escaped[name] = escaped[name].map(lambda value: str(value).replace("|", "\\|"))
    aligned = ["right" if is_numeric_dtype(table[name]) else "left" for name in table]
    return (escaped.to_markdown(index=False, disable_numparse=True, colalign=aligned) + "\n").encode()


def _as_decimal(value: float) -> str:
    return "" if pd.isna(value) else np.format_float_positional(float(f"{value:.6g}"), trim="-")
