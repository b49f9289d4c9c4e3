"""The tables of the comparison: how far each curve can be pruned, paired differences, and all results."""

import pandas as pd
import streamlit as st

from core.analysis import comparison, knees, uncertainty
from core.charts.curves import Axis
from core.exports import tables
from core.state import BY_KEY
from pages.shared import frame


def ranked_by(rows: pd.DataFrame) -> list[str]:
    """The order of pruning in words, as it is chosen above."""
    pairs = zip(rows.ranking, rows.scope, strict=True)
    return [comparison.said_ranking(ranking, scope, "none") for ranking, scope in pairs]


def show_knees(ranked: pd.DataFrame, sparsities: list[float], missing: int, total: int) -> None:
    """How far each curve can be pruned.

    Args:
        ranked: from `core.analysis.comparison.long_table`, of the criteria shown, at all sparsities.
        sparsities: those chosen on the page, for the area.
        missing: how many scores of these curves are not there yet, of how many in `total`.
    """
    if ranked.empty:
        return
    found = knees.knees(ranked)
    table = tables.knee_texts(found, knees.areas(ranked, sparsities))
    column = st.column_config
    points = {drop: tables.points_text(drop) for drop in knees.DROPS}
    texts = {}
    for drop, said in points.items():
        texts[f"k_{drop}"] = column.TextColumn(
            f"k, −{said}", help=f"The knee: up to this k it costs at most {said} of validation accuracy."
        )
        texts[f"change_{drop}"] = column.TextColumn(
            f"test, −{said}", help="The change of test accuracy from the dense network at that k, in points."
        )
    shown = ["method", "ranked_by", "state", *texts, "area", "step", "n"]
    if table.configuration.nunique() > 1:
        shown = ["configuration", *shown]
    st.subheader("How far it can be pruned")
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        column_order=shown,
        column_config={
            "configuration": "Configuration",
            "method": "Method",
            "ranked_by": "Ranked by",
            "state": "State",
            "area": column.TextColumn(
                "Area",
                help="The area under the curve of test accuracy over the sparsities chosen above, over their range: "
                "the mean accuracy there.",
            ),
            "step": column.NumberColumn(
                "To next k",
                format="%.3g",
                help="How far the next scored k lies beyond the knee, at most: the truth lies between the two.",
            ),
            "n": column.NumberColumn("n", help="How many networks the means and deviations are over."),
        }
        | texts,
        placeholder="–",
        alt="The largest sparsity of each curve that costs at most so many points of accuracy",
    )
    if missing:
        st.caption(
            f"**Provisional**: {total - missing:,} of {total:,} scores of these curves are known. "
            "The table changes as more come in."
        )
    said = (
        "Chosen for each network on its validation images: the largest scored k such that neither it nor any smaller "
        "one costs more. Then measured on test images, which choose nothing. Mean ± sample deviation over networks."
    )
    blind = ranked[ranked.dense_val_accuracy.isna()].configuration.unique()
    if len(blind):
        said += f" Without validation images there is no knee: {'; '.join(blind)}."
    st.caption(said)


def show_differences(table: pd.DataFrame, measure: Axis) -> None:
    """Paired differences from a curve that is chosen here; nothing where no two curves share two seeds.

    Args:
        table: what is drawn, from `core.analysis.comparison.long_table`.
        measure: what is drawn of it.
    """
    if table.empty:
        return
    names = comparison.curve_names(table)
    seeds = {curve: {*rows.seed} for curve, rows in table.groupby(comparison.CURVE)}
    if len(names) < 2 or max(map(len, seeds.values())) < 2:
        return
    st.subheader("Difference at the same seeds")
    reference = st.selectbox(
        "From", list(names), format_func=names.get, key="reference", help="The curve that the others are compared with."
    )
    found = uncertainty.differences(table, reference, measure.column)
    if found.empty:
        st.caption("No other curve has been scored at two of the same seeds.")
        return
    st.dataframe(
        tables.difference_texts(found, names, points=measure.is_percent),
        hide_index=True,
        height="content",
        column_config={"k": st.column_config.NumberColumn("k", format="%.4g", pinned=True)},
        alt="The mean difference of each curve from the chosen one at each sparsity, with its interval",
    )
    unit = "points" if measure.is_percent else "nats"
    st.caption(
        f"{measure.title}, in {unit}: the mean over seeds of each network's difference from that of the same seed, and "
        "the 95% t-interval of that mean. An interval without zero is more than the seeds explain; of twenty such "
        "intervals, one misses."
    )


def show_results(folded: pd.DataFrame) -> pd.DataFrame:
    """The table of results; returns the rows that are selected, or all."""
    st.subheader("Results")
    number = st.column_config.NumberColumn
    counts = ["zeroed", "removable", "remaining"]
    with_cost = not all(BY_KEY[key].is_instant for key in folded.recovery.unique())
    selection = st.dataframe(
        folded.assign(ranked_by=ranked_by(folded), **folded[counts].round()).style.format(
            {"change": lambda change: frame.signed(change, 4)}
        ),
        hide_index=True,
        # A selection is of positions: with other rows it must not go on to mean others.
        key=f"results_{pd.util.hash_pandas_object(folded[comparison.ROW]).sum():x}",
        on_select="rerun",
        selection_mode="multi-row",
        column_order=[
            *("configuration", "method", "ranked_by", "state", "k", "n", "accuracy", "accuracy_sd", "change"),
            *("agreement", "worst_class", "loss", "loss_sd"),
            *(("recovery_images", "recovery_epochs", "recovery_seconds") if with_cost else ()),
            *("zeroed", "sparsity_hidden", "removable", "remaining", "compression"),
            *(name for name in ("multiply_adds", "faster") if folded[name].notna().any()),
        ],
        column_config={
            "configuration": "Configuration",
            "method": "Method",
            "ranked_by": "Ranked by",
            "state": "State",
            "k": number("k", format="%.4g"),
            "n": number("n", help="Networks; of one network pruned at random, its orders."),
            "accuracy": number("Test accuracy", format="%.4f"),
            "accuracy_sd": number("± s.d.", format="%.4f"),
            "change": "From dense",
            "agreement": number("Agreement", format="%.4f", help="Test images answered as the dense network does."),
            "worst_class": number("Worst class", format="%.4f", help="The accuracy of the class that is worst."),
            "loss": number("Test loss", format="%.4f"),
            "loss_sd": number("± s.d. (loss)", format="%.4f"),
            "recovery_images": number(
                "Images", format="localized", help="What winning back saw: unlabelled for repair, labelled an epoch."
            ),
            "recovery_epochs": number("Epochs", format="%.3g"),
            "recovery_seconds": number("Seconds", format="%.1f", help="What winning back took."),
            "zeroed": number("Zeroed", format="localized"),
            "sparsity_hidden": number("of the hidden weights", format="percent"),
            "removable": number("Removable", format="localized"),
            "remaining": number("Remaining", format="localized"),
            "compression": number("Compression", format="%.3g×"),
            "multiply_adds": number(
                "Multiply-adds", format="localized", help="Of one image, by the compacted network."
            ),
            "faster": number(
                "One image", format="%.3g×", help="Times as fast as dense, in NumPy, where the Size page measured it."
            ),
        },
        placeholder="–",
        alt="Accuracy, loss and size at each sparsity",
    )
    chosen = [row for row in selection.selection.rows if row < len(folded)]
    return folded.iloc[chosen] if chosen else folded
