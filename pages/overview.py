"""What this is, and something to look at before any training."""

import streamlit as st

from core import runs
from core.analysis import comparison
from core.charts import interactive
from core.charts.curves import X_AXES, Y_AXES, comparison_curves
from core.config import DATASETS, K_VALUES
from pages.shared import frame, networks

frame.page_title("Network pruning")
st.markdown("Train a very large neural network, then make it very small.")

steps, chart = st.columns([1, 2], gap="large")

with steps:
    for page, label, text in (
        (
            "training",
            "1 · Train",
            "A network of 2.4 million weights that tells digits or clothes apart.",
        ),
        (
            "pruning",
            "2 · Prune",
            "Move a slider: the smallest weights or units go, and you see what is left.",
        ),
        (
            "comparison",
            "3 · Compare",
            "Accuracy, loss and size of any runs: curves, tables, figures and animations to take away.",
        ),
    ):
        with st.container(border=True):
            frame.link_to(page, f"**{label}**")
            st.caption(text)

with chart:
    published_sets = [name for name in DATASETS if networks.published(name) is not None]
    dataset = st.segmented_control(
        "Dataset",
        published_sets,
        default=published_sets[0],
        required=True,
        key="overview",
        bind="query-params",
    )
    table = runs.runs_table()
    own = table[table.finished.notna() & (table.dataset == dataset)].run.head(1).tolist()
    scores = comparison.long_table(runs.open_run(run_id) for run_id in own)
    shown = comparison.fold_seeds(comparison.select_criteria(scores, [("magnitude", "layer")], K_VALUES))
    curves = comparison_curves(shown, "sparsity", "accuracy", networks.published(dataset))
    st.plotly_chart(
        interactive.comparison(curves, X_AXES["sparsity"], Y_AXES["accuracy"]),
        key="overview_curves",
        config=interactive.CONFIG,
        alt="Test accuracy against sparsity for weight and unit pruning",
    )
    st.caption(
        "Dashed: the published results of the original experiment. "
        + (f"Solid: your newest run, {own[0]}. " if own else "Your own curves appear here once you have trained. ")
        + "Pruning single weights keeps the accuracy far longer than pruning whole units at the same k."
    )
