"""Interactive charts: what their axes and lines say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from core.charts import interactive
from core.charts.curves import X_AXES, Y_AXES, Curve


@pytest.mark.parametrize(("measure", "top"), [("accuracy", 1), ("loss", 2.5)])
def test_before_the_first_epoch_the_axis_holds_only_what_can_be(measure, top):
    figure = interactive.training_curves(pd.DataFrame(), 5, measure)
    assert tuple(figure.layout.yaxis.range) == (0, top)


@pytest.mark.parametrize(("panels", "lines"), [(["Weight pruning", "Unit pruning"], 3), ([""], 1)])
def test_titles_of_axes_side_by_side_are_narrow_and_say_what_their_panel_is_about(panels, lines):
    said = {"Weight pruning": "Sparsity k of each layer's, or of all hidden weights", "Unit pruning": "units"}
    axis = dataclasses.replace(X_AXES["sparsity"], title="Sparsity k of each hidden layer's weights", panels=said)
    curves = [Curve("a", [0, 1], [1, 0], "#0072B2", panel=panel) for panel in panels]
    figure = interactive.comparison(curves, axis, Y_AXES["accuracy"])
    titles = [figure.layout[name].title.text for name in ("xaxis", "xaxis2")[: len(panels)]]
    assert [title.replace("<br>", " ") for title in titles] == [axis.title_of(panel) for panel in panels]
    assert titles[0].count("<br>") == lines - 1


def test_the_classes_that_ever_win_are_named():
    rows = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]])
    figure = interactive.class_probabilities([0, 0.5], rows, ["a", "b", "c"], label=0)
    named = {trace.name for trace in figure.data if trace.showlegend}
    assert named == {"a (true class)", "b"}
    for trace in figure.data:
        np.testing.assert_array_equal(trace.y, rows[:, ["a", "b", "c"].index(trace.name[0])])


def test_rows_are_what_the_dense_network_says_and_columns_what_the_pruned_one_does():
    matrix = np.array([[5, 2, 0], [0, 7, 1], [4, 0, 6]])
    figure = interactive.confusion(matrix, ["a", "b", "c"])
    (heat,) = figure.data
    # What did not change is left blank in colour, and said in numbers.
    np.testing.assert_array_equal(heat.z, [[np.nan, 2, 0], [0, np.nan, 1], [4, 0, np.nan]])
    assert [[str(text) for text in row] for row in heat.text] == [["5", "2", ""], ["", "7", "1"], ["4", "", "6"]]
    assert list(heat.x) == list(heat.y) == ["a", "b", "c"]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "Predicted after pruning",
        "Predicted by the dense network",
    )
    assert heat.hovertemplate.startswith("dense: %{y}<br>pruned: %{x}<br>")
