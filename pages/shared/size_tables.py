"""The tables of the page of size and speed, and the numbers above them."""

import math

import pandas as pd
import streamlit as st

from core.analysis.footprint import NETWORKS
from core.charts.interactive import CONFIG
from core.kernels.number_formats import NUMBER_FORMATS
from pages.shared import frame
from pages.shared.footprints import Footprint


def show_headline(found: Footprint, dense_accuracy: float, record: dict | None) -> None:
    """Accuracy, file, multiply-adds and time in large numbers, of the way to hold the network that is smaller."""
    files = found.files.set_index(["network", "format"])
    held = "sparse" if files.bytes["compacted", "sparse"] < files.bytes["compacted", "float32"] else "compacted"
    file = files.loc["compacted", "sparse" if held == "sparse" else "float32"]
    counts = found.operations.set_index("network").loc[held]
    name = {"compacted": "compacted", "sparse": "sparse rows"}[held]
    accuracy, size, products, time = st.columns(4)
    accuracy.metric(
        "Test accuracy",
        f"{file.accuracy:.2%}",
        f"{frame.signed(100 * (file.accuracy - dense_accuracy), 2)} points from dense",
        delta_color="off",
        delta_arrow="off",
    )
    _metric(size, "File", in_bytes(file.bytes), file.smaller, "smaller", f"{name}, float32")
    _metric(products, "Multiply-adds", f"{int(counts.multiply_adds):,}", counts.fewer, "fewer", name)
    rows = rows_of(record) if record else pd.DataFrame(columns=["network", "runtime"])
    rows = rows[(rows.network == held) & rows.runtime.isin(["NumPy", "SciPy"])]
    if len(rows):
        timed = rows.iloc[0]
        _metric(time, "One image", in_time(timed.one_median), timed.one_faster, "faster", f"{name}, in {timed.runtime}")
    else:
        time.metric("One image", "–", "not measured at this k yet", delta_color="off", delta_arrow="off")


def _metric(place: st.delta_generator.DeltaGenerator, title: str, value: str, times: float, word: str, of: str) -> None:
    opposite = {"smaller": "larger", "fewer": "more", "faster": "slower"}[word]
    said = f"{as_factor(times)} {word}" if times >= 1 else f"{as_factor(1 / times)} {opposite}"
    place.metric(f"{title}: {of}", value, f"{said} than dense", delta_color="off", delta_arrow="off")


def show_files(found: Footprint, dense_accuracy: float) -> None:
    """Every network in every format, whole files."""
    rows = found.files
    shown = pd.DataFrame(
        {
            "network": rows.network.map(NETWORKS),
            "format": rows.format.map(lambda name: NUMBER_FORMATS[name].title),
            "bytes": rows.bytes,
            "smaller": rows.smaller,
            "compressed": rows.compressed,
            "smaller_compressed": rows.smaller_compressed,
            "accuracy": rows.accuracy,
            "change": 100 * (rows.accuracy - dense_accuracy),
        }
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        shown.style.format(
            {
                **dict.fromkeys(("bytes", "compressed"), "{:,}"),
                **dict.fromkeys(("smaller", "smaller_compressed"), as_factor),
                "accuracy": "{:.2%}",
                "change": lambda by: frame.signed(by, 2),
            }
        ),
        hide_index=True,
        height="content",
        column_config={
            "network": text("Network", pinned=True),
            "format": text(
                "Format", help=" ".join(f"**{each.title}**: {each.says}" for each in NUMBER_FORMATS.values())
            ),
            "bytes": number("File in bytes", help="The whole file, as it lies on disk."),
            "smaller": number("Times smaller", help="than the dense network in float32."),
            "compressed": number("Compressed", help="The same file, compressed by deflate: numpy.savez_compressed."),
            "smaller_compressed": number("Times smaller ", help="than the dense network in float32, compressed, too."),
            "accuracy": number("Test accuracy", help="Of the network that is read from the file, on all test images."),
            "change": number("Points", help="from the dense network."),
        },
        alt="The whole file of each network in each format, and the test accuracy of what is read from it",
    )


def show_operations(operations: pd.DataFrame, record: dict | None) -> None:
    """What each way to hold the network computes, and how fast it was."""
    counts = operations.set_index("network")
    rows = rows_of(record) if record else pd.DataFrame({"network": operations.network, "runtime": "–"})
    timed = "one_median" in rows
    shown = pd.DataFrame(
        {
            "network": rows.network.map(NETWORKS),
            "runtime": rows.runtime,
            **{name: rows.network.map(counts[name]) for name in ("weights", "nonzero", "multiply_adds")},
            "fewer": rows.network.map(counts.fewer),
        }
    )
    if timed:
        each = list(zip(rows.one_median, rows.one_q1, rows.one_q3, strict=True))
        shown["one"] = [f"{1e6 * m:,.1f} ({1e6 * a:,.1f}–{1e6 * b:,.1f})" for m, a, b in each]
        shown["one_faster"] = rows.one_faster
        each = list(zip(rows.many_median, rows.many_q1, rows.many_q3, strict=True))
        shown["many"] = [f"{m:,.0f} ({a:,.0f}–{b:,.0f})" for m, a, b in each]
        shown["many_faster"] = rows.many_faster
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    faster = "than the dense network in the same runtime: the median over rounds of the ratio within each."
    st.dataframe(
        shown.style.format(
            dict.fromkeys(("weights", "nonzero", "multiply_adds"), "{:,}")
            | {name: as_factor for name in ("fewer", "one_faster", "many_faster") if name in shown}
        ),
        hide_index=True,
        height="content",
        column_order=[name for name in shown if name != "runtime" or timed],
        column_config={
            "network": text("Network", pinned=True),
            "runtime": text("Runtime"),
            "weights": number("Weights stored"),
            "nonzero": number("Not zero"),
            "multiply_adds": number(
                "Multiply-adds", help="Of one image: as many products of a weight and an activation are added up."
            ),
            "fewer": number("Times fewer"),
            "one": text("One image, µs"),
            "one_faster": number("Times faster", help=faster),
            "many": text("Images a second"),
            "many_faster": number("Times faster ", help=faster),
        },
        alt="Weights, multiply-adds and time of each way to hold the network",
    )


def rows_of(record: dict) -> pd.DataFrame:
    """The table of a measurement that is kept; see `core.analysis.latency.measure`."""
    return pd.DataFrame(record["rows"])


def show_figure(figure: object, key: str, alt: str) -> None:
    """A chart of the page."""
    st.plotly_chart(figure, key=key, config=CONFIG, alt=alt)


def as_factor(times: float) -> str:
    """A ratio as it is written everywhere on the page."""
    return "–" if math.isinf(times) else f"{times:,.1f}×"


def in_bytes(count: int) -> str:
    """Bytes in a unit of a thousand, or a million, of them."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.2f} MB"


def in_time(seconds: float) -> str:
    """Seconds in thousandths, or in millionths."""
    return f"{1e6 * seconds:,.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:,.2f} ms"
