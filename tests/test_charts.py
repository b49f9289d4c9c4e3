"""Interactive charts: what their axes and lines say."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from core.analysis.distributions import distributions
from core.analysis.footprint import NETWORKS
from core.charts import footprints, interactive, live, printed, smallest
from core.charts.curves import X_AXES, Y_AXES, Curve
from core.charts.palette import GREY, LAYER_COLORS, METHOD_COLORS, shades
from core.exports.figures import html_bytes
from core.kernels.number_formats import NUMBER_FORMATS
from core.pruning import rank
from core.runs import SmallestFile
from core.sweep import Criterion

BLUE = METHOD_COLORS["weight"]


def points(trace):
    return [*trace.x], [*trace.y]


def by_name(figure):
    """The lines of a figure by their names, which are all different."""
    named = {trace.name: trace for trace in figure.data if trace.name}
    assert len(named) == len([trace for trace in figure.data if trace.name])
    return named


def places(figure):
    """Which axes each line is drawn on."""
    return [(trace.xaxis, trace.yaxis) for trace in figure.data]


def upright(figure):
    """Where lines go straight up."""
    return [shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1]


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


def test_where_nothing_is_compared_there_is_one_panel_without_a_title():
    figure = interactive.comparison([], X_AXES["sparsity"], Y_AXES["accuracy"])
    assert [each.text for each in figure.layout.annotations if each.text] == []
    assert len([*figure.select_xaxes()]) == 1


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


def test_a_spread_is_a_filled_band_around_its_curve_and_said_in_numbers():
    curve = Curve("a", [0, 0.5, 1], [0.9, 0.8, 0.1], "#0072B2", spread=[0.01, 0.02, 0.05], panel="right")
    left = dataclasses.replace(curve, spread=None, panel="left", notes=["x", "y", "z"])
    level = Curve("dense", [0, 1], [0.9, 0.9], GREY, panel="right", is_level=True)
    both = dataclasses.replace(curve, notes=["k = 0%", "k = 50%", "k = 100%"])
    figure = interactive.comparison([left, both, level], X_AXES["sparsity"], Y_AXES["accuracy"])
    first, band, line, dense = figure.data
    # There along the upper edge, and back along the lower one.
    assert list(band.x) == [0, 0.5, 1, 1, 0.5, 0]
    assert list(band.y) == pytest.approx([0.91, 0.82, 0.15, 0.05, 0.78, 0.89])
    assert band.fill == "toself"
    assert band.fillcolor.startswith("rgba(0, 114, 178, 0.")
    assert (band.mode, band.line.width, band.hoverinfo, band.showlegend) == ("lines", 0, "skip", False)
    assert band.legendgroup == line.legendgroup == "a"
    assert places(figure) == [("x", "y"), ("x2", "y2"), ("x2", "y2"), ("x2", "y2")]
    assert points(line) == (curve.x, curve.y)
    assert list(line.customdata) == [" ± 1.00%  (k = 0%)", " ± 2.00%  (k = 50%)", " ± 5.00%  (k = 100%)"]
    assert list(first.customdata) == ["  (x)", "  (y)", "  (z)"]
    assert line.hovertemplate == "%{y:.2%}%{customdata}"
    assert (dense.hoverinfo, dense.hovertemplate) == ("skip", None)
    # A deviation has no sign, whatever it is one of.
    (_, changed) = interactive.comparison([curve], X_AXES["sparsity"], Y_AXES["change"]).data
    assert list(changed.customdata) == [" ± 1.00%", " ± 2.00%", " ± 5.00%"]
    assert changed.hovertemplate == "%{y:+.2%}%{customdata}"
    (plain,) = interactive.comparison([dataclasses.replace(curve, spread=None)], X_AXES["zeroed"], Y_AXES["loss"]).data
    assert list(plain.customdata) == ["", "", ""]


def test_a_legend_names_each_line_once_and_what_is_compared_before_what_with():
    curves = [
        Curve("random", [0, 1], [1, 0], GREY, dash="dot", panel="left"),
        Curve("published", [0, 1], [1, 0], BLUE, opacity=0.7, panel="left"),
        Curve("", [0, 1], [1, 1], GREY, panel="left"),
        Curve("digits", [0, 1], [1, 0], BLUE, symbol="square", panel="left"),
        Curve("digits", [0, 1], [1, 0], METHOD_COLORS["unit"], dash="longdash", panel="right"),
    ]
    figure = interactive.comparison(curves, X_AXES["sparsity"], Y_AXES["accuracy"])
    assert [trace.showlegend for trace in figure.data] == [True, True, False, True, False]
    shown = sorted((trace for trace in figure.data if trace.showlegend), key=lambda trace: trace.legendrank)
    assert [trace.name for trace in shown] == ["digits", "published", "random"]
    assert len({trace.legendrank for trace in shown}) == 3
    # A click on a name hides its line in every panel.
    assert [trace.legendgroup for trace in figure.data][3:] == ["digits", "digits"]
    assert [trace.mode for trace in figure.data] == ["lines", "lines", "lines", "lines+markers", "lines"]
    assert [trace.line.color for trace in figure.data] == [curve.color for curve in curves]
    assert [trace.line.dash for trace in figure.data] == [curve.dash for curve in curves]
    assert [trace.opacity for trace in figure.data] == [1, 0.7, 1, 1, 1]
    assert figure.data[3].marker.symbol == "square"
    assert [note.text for note in figure.layout.annotations] == ["left", "right"]
    # Side by side, heights can be compared.
    assert figure.layout.yaxis2.matches == "y"
    assert figure.layout.hovermode == "x unified"
    page = html_bytes(figure, "Digits by seed").decode()
    assert "<title>Digits by seed</title>" in page
    assert "Plotly.newPlot" in page
    assert '<script src="' not in page
    # What is on the page of the app stays as it is.
    assert figure.layout.title.text is None


def test_shades_of_a_colour_have_its_hue_and_get_lighter():
    for color in LAYER_COLORS:
        found = shades(color, 5)
        assert len(set(found)) == 5
        channels = np.array([[int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in found])
        assert (np.diff(channels.sum(axis=1)) > 0).all()
        # Towards black and towards white, what is strongest stays strongest.
        own = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        assert all(np.argsort(each, kind="stable").tolist() == np.argsort(own).tolist() for each in channels)


def test_a_drag_over_a_small_chart_scrolls_the_page_and_zooms_into_nothing():
    layout = interactive.class_probabilities([0, 1], np.eye(2), ["0", "1"], 0).layout
    assert layout.xaxis.fixedrange is layout.yaxis.fixedrange is True


def test_the_axes_that_addresses_name_keep_their_names():
    assert {*X_AXES} == {"sparsity", "zeroed", "remaining", "multiply-adds", "compression", "speed"}
    assert {*Y_AXES} == {"accuracy", "change", "loss", "agreement", "worst class"}


def test_on_white_paper_the_grid_is_the_same_both_ways():
    figure = interactive.comparison([], X_AXES["sparsity"], Y_AXES["accuracy"])
    alone = interactive.on_white(figure, "a title")
    assert alone.layout.xaxis.gridcolor == alone.layout.yaxis.gridcolor
    assert alone.layout.xaxis.showline is True
    assert alone.layout.paper_bgcolor == alone.layout.plot_bgcolor == "white" != alone.layout.yaxis.gridcolor
    assert figure.layout.paper_bgcolor is None


def test_what_is_zero_has_no_place_on_a_logarithmic_axis():
    x = next(axis for axis in X_AXES.values() if axis.log)
    figure = printed.comparison([Curve("a", [0, 1, 10], [0.1, 0.5, 0.9], BLUE, panel="")], x, Y_AXES["accuracy"])
    (axes,) = figure.axes
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert np.isfinite(axes.transData.transform(line.get_xydata())[:, 0]).tolist() == [False, True, True]


@pytest.mark.parametrize(("x", "y"), zip(X_AXES.values(), itertools.cycle(Y_AXES.values())))
def test_axes_are_those_that_were_asked_for(x, y):
    for values, step in (([10, 499], "D2"), ([10, 500], 1)):
        figure = interactive.comparison([Curve("a", values, [1, 0], BLUE, panel="")], x, y)
        across, up = figure.layout.xaxis, figure.layout.yaxis
        # Powers of ten would be too few numbers where an axis has less than two of them.
        assert (across.type, across.dtick) == (("log", step) if x.log else (None, None))
        assert (across.title.text, up.title.text) == (x.title, y.title)
        assert (across.tickformat, across.hoverformat, up.tickformat) == (x.ticks, x.numbers, y.ticks)
        assert across.range == x.range
        assert up.range == y.range
        assert up.rangemode == ("normal" if y.range else "tozero")
    two = interactive.comparison([Curve("a", [1], [1], BLUE, panel=panel) for panel in "ab"], x, y)
    assert (two.layout.yaxis.title.text, two.layout.yaxis2.title.text) == (y.title, None)
    interactive.comparison([], x, y)


def history(epochs):
    table = pd.DataFrame({"epoch": range(1, epochs + 1)})
    for place, name in enumerate(("loss", "accuracy", "val_loss", "val_accuracy", "sparsity")):
        table[name] = [place + epoch / 100 for epoch in table.epoch]
    return table


@pytest.mark.parametrize(("measure", "number"), [("loss", ".4f"), ("accuracy", ".2%")])
def test_training_and_validation_are_drawn_apart(measure, number):
    table = history(3)
    figure = interactive.training_curves(table, 20, measure)
    lines = by_name(figure)
    assert [*lines] == ["Training", "Validation"]
    for name, column in (("Training", measure), ("Validation", f"val_{measure}")):
        assert points(lines[name]) == (table.epoch.tolist(), table[column].tolist())
        assert lines[name].hovertemplate == f"%{{y:{number}}}"
        assert lines[name].mode == "lines+markers"
    assert lines["Training"].line.dash != lines["Validation"].line.dash
    assert not upright(figure)
    # The curve grows into an axis of all epochs.
    assert tuple(figure.layout.xaxis.range) == (0.5, 20.5)
    assert figure.layout.yaxis.title.text == measure.capitalize()
    assert figure.layout.yaxis.tickformat == ("~g" if measure == "loss" else ".2~%")
    assert figure.layout.yaxis.range is None
    table[f"val_{measure}"] = np.nan
    assert [*by_name(interactive.training_curves(table, 20, measure))] == ["Training"]
    assert {trace.mode for trace in interactive.training_curves(history(40), 40, measure).data} == {"lines"}


def test_the_kept_epoch_is_marked_and_few_epochs_are_all_counted():
    for kept in (2, 9):
        figure = interactive.training_curves(history(10), 10, "loss", kept)
        assert upright(figure) == [kept]
        (note,) = figure.layout.annotations
        assert (note.text, note.x) == (f"kept: epoch {kept}", kept)
        # It stands on the upper edge of the axes, and no curve runs through it.
        assert (note.y, note.yref, note.yanchor) == (1, "paper", "bottom")
        # Where the words stand there is no legend.
        assert (figure.layout.legend.xanchor == "right") == (kept == 2)
        assert (figure.layout.xaxis.tick0, figure.layout.xaxis.dtick) == (1, 1)
    assert interactive.training_curves(history(11), 11, "loss").layout.xaxis.dtick is None
    assert tuple(interactive.training_curves(history(1), 1, "loss").layout.xaxis.range) == (0.5, 2.5)


def test_the_sparsity_of_a_network_that_is_pruned_gradually_is_one_line():
    table = history(3)
    figure = interactive.training_curves(table, 3, "sparsity")
    (line,) = figure.data
    assert points(line) == (table.epoch.tolist(), table.sparsity.tolist())
    assert line.hovertemplate == "%{y:.1%}"
    assert figure.layout.showlegend is False
    assert figure.layout.yaxis.title.text == "Sparsity of the hidden kernels"
    assert figure.layout.yaxis.range[0] == 0
    assert figure.layout.yaxis.range[1] >= 1


def test_pictures_are_upright_and_their_pixels_square():
    connections = np.arange(16)
    figure = interactive.pixel_map(connections, 4)
    np.testing.assert_array_equal(figure.data[0].z, connections.reshape(4, 4))
    assert "row %{y}, column %{x}: %{z:,} connections" in figure.data[0].hovertemplate
    weights = np.random.default_rng(0).normal(size=(5, 16))
    many = interactive.fields(np.array([7, 2, 9, 4, 1]), weights, 4, columns=3)
    assert [note.text for note in many.layout.annotations] == ["unit 7", "unit 2", "unit 9", "unit 4", "unit 1"]
    largest = np.abs(weights).max()
    for index, (trace, weight) in enumerate(zip(many.data, weights, strict=True)):
        np.testing.assert_array_equal(trace.z, weight.reshape(4, 4))
        # One scale for all, with zero in its middle.
        assert (trace.zmin, trace.zmax) == (-largest, largest)
        assert [color for _, color in trace.colorscale][::2] == [METHOD_COLORS["unit"], BLUE]
        assert trace.xaxis == ("x" if index == 0 else f"x{index + 1}")
    assert [many.layout[f"xaxis{index or ''}"].domain[0] for index in (0, 4)] == [0, 0]
    assert many.layout.yaxis.domain[0] > many.layout.yaxis4.domain[1]
    for each in (figure, many):
        for trace in each.data:
            axis = each.layout[(trace.yaxis or "y").replace("y", "yaxis")]
            assert (axis.autorange, axis.scaleanchor) == ("reversed", trace.xaxis or "x")
            assert axis.visible is each.layout[(trace.xaxis or "x").replace("x", "xaxis")].visible is False
    nothing = interactive.fields(np.array([0]), np.zeros((1, 16)), 4)
    assert (nothing.data[0].zmin, nothing.data[0].zmax) == (-1, 1)


def test_layers_pruned_alone_are_told_apart_however_many():
    table = pd.DataFrame({"sparsity": [0.0, 0.5], "accuracy": [0.9, 0.4]})
    names = [f"Hidden {index}" for index in range(1, 2 * len(LAYER_COLORS) + 1)]
    figure = interactive.sensitivity({name: table - index / 100 for index, name in enumerate(names)})
    lines = by_name(figure)
    assert [*lines] == names
    for index, line in enumerate(lines.values()):
        assert line.x == pytest.approx(table.sparsity - index / 100)
        assert line.y == pytest.approx(table.accuracy - index / 100)
    assert len({(line.line.color, line.line.dash) for line in lines.values()}) == len(names)
    assert {line.hovertemplate for line in lines.values()} == {"%{y:.2%}"}
    holds_shares(figure)


def holds_shares(figure):
    """Both axes hold all from nothing to everything, of k and of accuracy."""
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert axis.tickformat == ".0%"
        assert -0.1 < axis.range[0] <= 0
        assert 1 <= axis.range[1] < 1.1


def test_the_true_class_stands_out_of_those_that_win_and_these_of_the_others():
    rows = np.eye(5)[[0, 1, 2]]
    figure = interactive.class_probabilities([0, 0.5, 1], rows, ["a", "b", "c", "d", "e"], label=3)
    lines = by_name(figure)
    # Those that matter are drawn over the others.
    assert [*lines] == ["e", "a", "b", "c", "d (true class)"]
    width = {name: line.line.width for name, line in lines.items()}
    assert width["d (true class)"] > width["a"] == width["b"] == width["c"] > width["e"]
    colors = [line.line.color for line in lines.values()]
    assert colors[0] == GREY
    assert len({*colors}) == 5
    assert [line.showlegend for line in lines.values()] == [False, True, True, True, True]
    assert [points(line) for line in lines.values()] == [
        ([0, 0.5, 1], rows[:, index].tolist()) for index in (4, 0, 1, 2, 3)
    ]
    assert {line.hovertemplate for line in lines.values()} == {"%{y:.1%}"}
    holds_shares(figure)
    # More classes than colours: the others are dashed.
    every = interactive.class_probabilities(range(10), np.eye(10), [*"0123456789"], label=0)
    assert len({(line.line.color, line.line.dash) for line in every.data}) == 10


def test_classes_that_are_numbers_are_names():
    figure = interactive.confusion(np.eye(2, dtype=int), ["0", "1"])
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "category"
    # As a matrix is read: the first row on top.
    assert figure.layout.yaxis.autorange == "reversed"
    assert "%{z:,} images" in figure.data[0].hovertemplate
    assert figure.data[0].texttemplate == "%{text}"
    assert figure.data[0].colorscale[1] == (1, METHOD_COLORS["unit"])


def sweep_of(*criteria):
    """A sweep, not in order, in which each criterion has accuracies of its own."""
    return pd.concat(
        pd.DataFrame({"sparsity": [0.9, 0.0], "accuracy": [0.01 * place, 0.9]}).assign(**dataclasses.asdict(criterion))
        for place, criterion in enumerate(criteria, start=1)
    )


UNUSUAL = Criterion("unit", "activation", "global")
REPAIRED = Criterion("weight", "magnitude", "global", recovery="repair")
NO_BASELINE = pd.DataFrame()


@pytest.mark.parametrize(
    ("chosen", "others", "names", "dashes"),
    [
        (
            Criterion("weight"),
            [Criterion("unit"), Criterion("weight", "admm", recovery="repair")],
            ["unit, as pruned", "weight, repaired", "weight, as pruned"],
            ["solid", "dash", "solid"],
        ),
        (
            UNUSUAL,
            [
                dataclasses.replace(UNUSUAL, method="weight"),
                Criterion("unit"),
                Criterion("unit", "admm", "global", recovery="repair"),
            ],
            [
                "weight, as pruned, activation, global",
                "unit, as pruned",
                "unit, repaired, global",
                "unit, as pruned, activation, global",
            ],
            ["dot", "solid", "dash", "dot"],
        ),
        (
            REPAIRED,
            [Criterion("weight", scope="global"), dataclasses.replace(REPAIRED, ranking="admm")],
            ["weight, as pruned, global", "weight, repaired, global", "weight, repaired, magnitude, global"],
            ["dot", "dash", "dash"],
        ),
        (
            Criterion("weight", "activation"),
            [Criterion("unit", "activation"), Criterion("weight")],
            ["unit, as pruned, activation", "weight, as pruned", "weight, as pruned, activation"],
            ["dot", "solid", "dot"],
        ),
    ],
)
def test_the_chosen_criterion_is_drawn_strong_over_what_it_is_compared_with(chosen, others, names, dashes):
    drawn = [*others, chosen]
    table = pd.concat([sweep_of(*drawn), sweep_of(Criterion("unit", "random"), Criterion("weight", seed=1))])
    figure = live.live_curve(table, chosen, NO_BASELINE)
    lines = by_name(figure)
    assert [*lines] == names
    for place, (line, criterion) in enumerate(zip(lines.values(), drawn, strict=True), start=1):
        assert points(line) == ([0, 0.9], [0.9, 0.01 * place])
        assert line.line.color == METHOD_COLORS[criterion.method]
        assert (line.mode, line.hovertemplate) == ("lines", "%{y:.2%}")
    assert [line.line.dash for line in lines.values()] == dashes
    *faint, strong = lines.values()
    assert all(strong.line.width > line.line.width and strong.opacity > line.opacity for line in faint)
    holds_shares(figure)
    # What is not scored yet is not there.
    assert [*by_name(live.live_curve(sweep_of(chosen), chosen, NO_BASELINE))] == names[-1:]


def test_random_pruning_is_a_grey_band_around_its_mean():
    baseline = pd.DataFrame({"sparsity": [0.0, 0.5, 1.0], "mean": [0.9, 0.5, 0.1], "std": [0, 0.2, 0.1]})
    baseline["count"] = [3, 2, 3]
    band, line, *_ = live.live_curve(sweep_of(Criterion("weight")), Criterion("weight"), baseline).data
    assert list(band.x) == [0, 0.5, 1, 1, 0.5, 0]
    assert list(band.y) == pytest.approx([0.9, 0.7, 0.2, 0, 0.3, 0.9])
    assert (band.fill, band.mode, band.line.width) == ("toself", "lines", 0)
    assert (band.hoverinfo, band.showlegend) == ("skip", False)
    assert points(line) == ([0, 0.5, 1], [0.9, 0.5, 0.1])
    assert line.name == "random, mean ± s.d. of 2"
    assert (line.line.color, line.line.dash, line.mode) == (GREY, "dot", "lines")
    assert line.hovertemplate == "%{y:.2%}"


def test_what_was_trained_on_is_points_beside_the_curves_of_its_method():
    chosen = Criterion("unit", recovery="trained")
    table = sweep_of(Criterion("unit"), Criterion("unit", "admm", recovery="repair"), Criterion("weight"))
    trained = pd.DataFrame({"sparsity": [0.8, 0.9], "accuracy": [0.95, 0.93]})
    lines = by_name(live.live_curve(table, chosen, NO_BASELINE, trained))
    assert [*lines] == ["unit, as pruned", "unit, repaired", "unit, fine-tuned"]
    found = lines["unit, fine-tuned"]
    assert points(found) == ([0.8, 0.9], [0.95, 0.93])
    assert (found.mode, found.marker.color, found.hovertemplate) == ("markers", METHOD_COLORS["unit"], "%{y:.2%}")
    assert len(live.live_curve(table, chosen, NO_BASELINE, trained.head(0)).data) == 2


@pytest.mark.parametrize(
    ("criterion", "score", "title"),
    [
        (Criterion("weight"), "|w|", "Weights"),
        (Criterion("unit"), "L2 norm", "Units"),
        (Criterion("weight", "activation"), "|w| × rms input", "Weights"),
        (Criterion("unit", "activation", "global"), "rms activation × outgoing norm", "Units"),
        (Criterion("weight", "random"), "random number", "Weights"),
        (Criterion("weight", "admm", recovery="repair"), "|w| (last: larger)", "Weights (log)"),
        (Criterion("unit", "admm", recovery="repair"), "L2 norm (last: larger)", "Units"),
    ],
)
def test_histograms_have_the_axes_of_the_dense_network(criterion, score, title):
    generator = np.random.default_rng(0)
    found = distributions(
        rank([generator.normal(size=size) for size in ((20, 30), (30, 25), (25, 12), (12, 10))], "weight")
    )
    names = ["Hidden 1", "Hidden 2", "Hidden 3"]
    figure = live.histograms(found, names, criterion)
    # Two a row, and no empty place is drawn.
    assert [figure.layout[name].domain[0] > 0.5 for name in ("xaxis", "xaxis2", "xaxis3")] == [False, True, False]
    rows = [figure.layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3")]
    assert rows[0] == rows[1]
    assert rows[2][1] < rows[0][0]
    assert [live.histogram_rows(layers) for layers in (1, 2, 3)] == [1, 1, 2]
    assert [note.text for note in figure.layout.annotations] == names
    for index, (bars, distribution) in enumerate(zip(figure.data, found, strict=True)):
        end = str(index + 1) if index else ""
        across, up = figure.layout[f"xaxis{end}"], figure.layout[f"yaxis{end}"]
        assert (bars.xaxis, bars.yaxis) == (f"x{end}", f"y{end}")
        assert list(bars.y) == list(bars.customdata) == distribution.counts.tolist()
        width = distribution.edges[1] - distribution.edges[0]
        assert bars.x == pytest.approx(distribution.edges[:-1] + width / 2, rel=1e-5)
        assert bars.hovertemplate == f"%{{customdata:,}} of %{{y:,}} {criterion.method}s left<extra></extra>"
        assert tuple(across.range) == (0, distribution.edges[-1])
        assert (across.title.text, up.title.text) == (score, title)
        low, high = up.range
        if "log" in title:
            # A bar of one is seen.
            assert (up.type, up.dtick) == ("log", 1)
            low, high = 10**low, 10**high
            assert 0 < low < 1
        else:
            assert (up.type, low) == (None, 0)
        assert distribution.counts.max() < high < 1.2 * distribution.counts.max()
    assert len([name for name in figure.layout if name.startswith("xaxis")]) == len(found)


def of_formats():
    """Points of a curve of size: every number another one."""
    return pd.DataFrame(
        [
            {"k": k, "format": name, "bytes": 1_000 - 100 * place - step, "compressed": 500 - 50 * place - step}
            | {
                "accuracy": 0.9 - 0.1 * place - 0.01 * step,
                "multiply_adds": 70 - 70 * (step // 2),
                "nonzero": 60 - 20 * step,
            }
            for step, k in enumerate((0.0, 0.5, 1.0))
            for place, name in enumerate(NUMBER_FORMATS)
        ]
    )


@pytest.mark.parametrize("column", ["bytes", "compressed"])
def test_files_are_drawn_in_every_format_beside_the_dense_one(column):
    table = of_formats()
    figure = footprints.bytes_curve(table, column, 12_345, "unit", 0.5)
    level, *lines = figure.data
    assert (level.name, points(level)) == ("dense, float32", ([0, 1], [12_345, 12_345]))
    assert (level.hovertemplate, level.line.color) == ("12,345 bytes", GREY)
    assert [line.name for line in lines] == [format.title for format in NUMBER_FORMATS.values()]
    for line, name in zip(lines, NUMBER_FORMATS, strict=True):
        assert points(line) == ([0, 0.5, 1], table[table.format == name][column].tolist())
        assert line.hovertemplate == "%{y:,} bytes"
        assert line.mode == "lines+markers"
    assert len({line.line.color for line in lines}) == len({line.line.dash for line in lines}) == len(NUMBER_FORMATS)
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", "File in bytes")
    against_k(figure)
    assert upright(figure) == [0.5]
    assert not upright(footprints.bytes_curve(table, column, 1, "unit", None))


def against_k(figure):
    axis = figure.layout.xaxis
    assert axis.title.text == "Sparsity k of the hidden kernels"
    assert (axis.tickformat, axis.hoverformat) == (".0%", ".4~%")
    assert -0.1 < axis.range[0] <= 0
    assert 1 <= axis.range[1] < 1.1


def test_what_is_computed_for_an_image_is_drawn_as_long_as_there_is_something():
    figure = footprints.operations_curve(of_formats(), 4_000, "weight", 0.0)
    level, whole, sparse = figure.data
    assert (level.name, points(level), level.hovertemplate) == ("dense", ([0, 1], [4_000, 4_000]), "4,000")
    assert (whole.name, points(whole)) == (NETWORKS["compacted"], ([0, 0.5], [70, 70]))
    assert (sparse.name, points(sparse)) == (NETWORKS["sparse"], ([0, 0.5, 1], [60, 40, 20]))
    assert whole.line.color == sparse.line.color == BLUE
    assert whole.line.dash != sparse.line.dash
    assert whole.hovertemplate == "%{y:,}"
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", "Multiply-adds of one image")
    assert upright(figure) == [0]
    against_k(figure)


def test_what_files_score_is_drawn_and_equal_formats_once():
    table = of_formats()
    figure = footprints.accuracy_curve(table, 0.98765, "weight", 0.9)
    level, *lines = figure.data
    assert (level.name, points(level), level.hovertemplate) == ("dense", ([0, 1], [0.98765] * 2), "98.77%")
    names = [name for name in NUMBER_FORMATS if name != "sparse"]
    assert [line.name for line in lines] == [
        "float32, and sparse" if name == "float32" else NUMBER_FORMATS[name].title for name in names
    ]
    for line, name in zip(lines, names, strict=True):
        assert points(line) == ([0, 0.5, 1], table[table.format == name].accuracy.tolist())
        assert line.hovertemplate == "%{y:.2%}"
    # A format looks the same in every figure.
    looks = {line.name: line.line for line in footprints.bytes_curve(table, "bytes", 1, "weight", None).data}
    assert all(looks[line.name] == line.line for line in lines[1:])
    holds_shares(figure)
    assert upright(figure) == [0.9]


@pytest.mark.parametrize(("what", "words"), [("one", "one image"), ("many", "many images")])
def test_speed_is_drawn_for_each_runtime_and_way_to_hold_a_network(what, words):
    kinds = [
        ("dense", "NumPy"),
        ("pruned", "NumPy"),
        ("compacted", "NumPy"),
        ("sparse", "SciPy"),
        ("compacted", "LiteRT"),
    ]
    measured = pd.DataFrame(
        [
            {"network": network, "runtime": runtime, "k": k, "one_faster": place + k, "many_faster": 10 * place + k}
            for k in (0.9, 0.5)
            for place, (network, runtime) in enumerate(kinds)
        ]
    )
    figure = footprints.speed_curve(measured, what, "unit", 0.5)
    assert (figure.layout.yaxis.type, figure.layout.yaxis.dtick) == ("log", "D2")
    lines = by_name(figure)
    assert [*lines] == ["dense", *(f"{NETWORKS[network]}, {runtime}" for network, runtime in kinds[2:])]
    assert (points(lines["dense"]), lines["dense"].hovertemplate) == (([0, 1], [1, 1]), "1×")
    scale = 1 if what == "one" else 10
    for place, line in enumerate([*lines.values()][1:], start=2):
        assert points(line) == ([0.5, 0.9], [scale * place + 0.5, scale * place + 0.9])
        assert line.hovertemplate == "%{y:.2f}×"
    compacted, sparse, other = [*lines.values()][1:]
    # Colour tells the runtime; dash and symbol, how the network is held.
    assert len({line.line.color for line in (compacted, sparse, other)}) == 3
    assert (compacted.line.dash, compacted.marker.symbol) == (other.line.dash, other.marker.symbol)
    assert compacted.line.dash != sparse.line.dash
    assert compacted.marker.symbol != sparse.marker.symbol
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", f"Times as fast as dense, {words}")
    against_k(figure)


def test_tiny_files_that_no_smaller_one_beats_are_a_line_and_the_others_points():
    about = {"most_bytes": 1, "epochs": 1, "seed": 0, "seconds": 1, "source": ""}
    files = [
        SmallestFile(bytes=size, val_accuracy=accuracy, test_accuracy=accuracy - 0.1, weights=size // 2, **about)
        for size, accuracy in ((10, 0.5), (20, 0.4), (40, 0.7))
    ]
    figure = smallest.front(files, 0.98765, 2_953)
    other, best = figure.data
    assert (other.name, other.mode) == ("others", "markers")
    assert best.mode == "lines+markers"
    assert other.marker.color == GREY != best.marker.color
    assert points(other) == ([20], [0.4 - 0.1])
    assert points(best) == ([10, 40], [0.5 - 0.1, 0.7 - 0.1])
    assert [list(row) for row in best.customdata] == [[0.5, 5], [0.7, 20]]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.hovermode == "closest"
    level, limit = figure.layout.shapes
    assert level.y0 == level.y1 == 0.98765
    assert limit.x0 == limit.x1 == 2_953
    large, code = figure.layout.annotations
    assert (large.text, large.y) == ("large network 98.77%", 0.98765)
    # Words on a logarithmic axis stand at the logarithm.
    assert (code.text, code.x) == ("one QR code", pytest.approx(math.log10(2_953)))
    assert [trace.name for trace in smallest.front(files[:1], 0.9, 1).data] == [best.name]
    assert not smallest.front([], 0.9, 1).data


def test_one_small_file_is_shown_among_other_accuracies():
    about = {"most_bytes": 1, "epochs": 1, "seed": 0, "seconds": 1, "source": "", "bytes": 10, "weights": 5}
    made = SmallestFile(val_accuracy=0.98, test_accuracy=0.9830, **about)
    figure = smallest.front([made], 0.9832, 20)
    assert [10**end for end in figure.layout.xaxis.range] == pytest.approx([5, 40])
    axis = figure.layout.yaxis
    assert axis.range == pytest.approx((0.978, 0.9882))
    # As many digits as tell one tick from the next.
    assert axis.tickformat == ".2~%"
    assert smallest.front([made], 1.0, 2_953).layout.yaxis.range[1] < 1.003
