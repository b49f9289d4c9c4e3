"""Prune a trained network under a slider and see what is left."""

import pandas as pd
import streamlit as st

from core import figures, ui
from core.distributions import layer_names
from core.errors import KnownError
from core.evaluation import Score, evaluate
from core.pruning import METHODS, prune_ranked, zeroed_weights
from core.sweep import zeroed

st.title("Pruning")

picker, method_column = st.columns([3, 2], vertical_alignment="bottom")
with picker:
    run = ui.choose_run()
method = method_column.segmented_control(
    "Prune",
    METHODS,
    default="weight",
    required=True,
    key="method",
    bind="query-params",
    help="weight: the smallest |w| of each hidden layer. unit: whole units, those of smallest L2 norm.",
)
percent = st.slider(
    "Sparsity k: the part of each hidden layer that is pruned",
    0.0,
    100.0,
    0.0,
    step=0.5,
    format="%.1f %%",
    key="k",
    bind="query-params",
)
sparsity = round(percent / 100, 6)

try:
    network, test = ui.load_run(run), ui.test_split(run.config().dataset)
except KnownError as error:
    st.error(str(error), title="This run cannot be pruned", icon=":material/error:")
    ui.link_to("training", "Go to Training to retrain or delete it")
    st.stop()

result = run.result()
dense = Score(result["test_accuracy"], result["test_loss"])
pruned = prune_ranked(network.kernels, network.ranks[method], method, sparsity)
score = evaluate(pruned, test.images, test.labels)
counts = zeroed(network.kernels, method, sparsity)

accuracy, loss, hidden, whole = st.columns(4)
accuracy.metric(
    "Test accuracy",
    f"{score.accuracy:.2%}",
    f"{100 * (score.accuracy - dense.accuracy):+.2f} points",
    delta_color="off" if score.accuracy == dense.accuracy else "normal",
    help=f"On all {len(test.labels):,} test images; the change is from the dense network.",
)
loss.metric(
    "Test loss",
    f"{score.loss:.4f}",
    f"{score.loss - dense.loss:+.4f}",
    delta_color="off" if score.loss == dense.loss else "inverse",
    help="Mean cross-entropy in nats; the change is from the dense network.",
)
hidden.metric(
    "Zeroed of the hidden kernels",
    f"{counts['sparsity_hidden']:.2%}",
    f"{counts['zeroed']:,} weights",
    delta_color="off",
    delta_arrow="off",
)
whole.metric(
    "Zeroed of the whole network",
    f"{counts['sparsity_network']:.2%}",
    f"of {network.config.parameter_count:,} weights",
    delta_color="off",
    delta_arrow="off",
    help="The output layer is never pruned, so the whole network is a little less sparse.",
)

st.subheader("What is pruned")
columns = st.columns(2)
names = layer_names(network.kernels)
for index, distribution in enumerate(network.distributions[method]):
    columns[index % 2].plotly_chart(
        figures.histogram(distribution, method, sparsity, names[index]),
        key=f"histogram_{index}",
        config=figures.CONFIG,
        alt=f"Histogram of {names[index]}: dense and surviving",
    )
st.caption("Grey: pruned away. Colour: surviving. Dashed: the smallest value that survives.")

curve, layers = st.columns([3, 2], gap="large")
with curve:
    st.subheader("Where this stands")
    st.plotly_chart(
        figures.pruning_curves([(run.id, run.sweep())], "accuracy", marker=(method, sparsity, score.accuracy)),
        key="curve",
        config=figures.CONFIG,
        alt="Test accuracy against sparsity with the chosen k marked",
    )
with layers:
    st.subheader("Layer by layer")
    zeroed_in = [*zeroed_weights(network.kernels, method, sparsity), 0]
    table = pd.DataFrame(
        {
            "Layer": names,
            "Weights": [kernel.size for kernel in network.kernels],
            "Zeroed": zeroed_in,
            "Sparsity": [count / kernel.size for count, kernel in zip(zeroed_in, network.kernels, strict=True)],
            "Units": [kernel.shape[1] for kernel in network.kernels],
            "Units left": [int((kernel != 0).any(axis=0).sum()) for kernel in pruned],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Sparsity": st.column_config.NumberColumn(format="percent"),
            **{
                name: st.column_config.NumberColumn(format="localized")
                for name in ("Weights", "Zeroed", "Units", "Units left")
            },
        },
        alt="Weights zeroed in each layer",
    )
