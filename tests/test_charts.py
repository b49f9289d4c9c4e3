"""Interactive charts: what their axes and lines say."""

import numpy as np
import pandas as pd
import pytest

from core.charts import interactive


@pytest.mark.parametrize(("measure", "top"), [("accuracy", 1), ("loss", 2.5)])
def test_before_the_first_epoch_the_axis_holds_only_what_can_be(measure, top):
    figure = interactive.training_curves(pd.DataFrame(), 5, measure)
    assert tuple(figure.layout.yaxis.range) == (0, top)


def test_the_classes_that_ever_win_are_named():
    rows = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]])
    figure = interactive.class_probabilities([0, 0.5], rows, ["a", "b", "c"], label=0)
    named = {trace.name for trace in figure.data if trace.showlegend}
    assert named == {"a (true class)", "b"}
    for trace in figure.data:
        np.testing.assert_array_equal(trace.y, rows[:, ["a", "b", "c"].index(trace.name[0])])
