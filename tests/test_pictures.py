"""Figures, animations and tables as files."""

import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from core import runs
from core.analysis.distributions import distributions, layer_names
from core.charts import histograms, printed
from core.charts.curves import DASHES, SYMBOLS, X_AXES, Y_AXES, Curve
from core.charts.palette import METHOD_COLORS, METHOD_NAMES
from core.config import K_VALUES
from core.errors import RunError
from core.exports import pictures
from core.pruning import METHODS
from core.runs import layout
from core.settings import PROJECT
from core.sweep import Criterion, results_table

K, ACCURACY = X_AXES["sparsity"], Y_AXES["accuracy"]


@pytest.fixture
def run(trained_run, tmp_path):
    """A complete run of its own for each test, without pictures."""
    drawn = shutil.ignore_patterns("*.png", "*.gif", "results.csv", "histograms")
    shutil.copytree(trained_run.folder, tmp_path / trained_run.id, ignore=drawn)
    return runs.open_run(trained_run.id, tmp_path)


@pytest.fixture
def results(trained_run):
    return results_table(trained_run.sweep(), K_VALUES)


def network(*sizes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(np.float32) for shape in zip(sizes, sizes[1:], strict=False)]


@pytest.mark.parametrize(("method", "left"), [("weight", ["72 of 96", "48 of 96"]), ("unit", ["9 of 12", "6 of 12"])])
def test_zeros_are_in_no_picture(method, left):
    """Of a network that has zeros before pruning, the first bin holds what is nearly zero, and the rest is said."""
    kernels = network(8, 12, 3)
    kernels[0][:, :3] = 0
    drawn = histograms_of(kernels, method)
    (axes,) = drawn.figure.axes
    for k, words in zip((0, 0.5), left, strict=True):
        drawn.draw(k, 0.5)
        assert axes.get_title("right") == f"{words} left"
        assert drawn.bars[0].get_data().values.sum() == int(words.split()[0])
    kernels[0][:] = 0
    histograms_of(kernels, method).draw(0, 0.1)


def histograms_of(kernels, method):
    return histograms.Histograms(Criterion(method).rank(kernels), layer_names(kernels)[:-1])


def twelve_curves():
    return [
        Curve(
            f"digits-e20-lr0.001-{index:010d}",
            [0, 0.5, 1],
            [0.98, 0.9 - index / 40, 0.1],
            "#0072B2",
            dash=DASHES[index % len(DASHES)],
            symbol=[*SYMBOLS, None][index % (len(SYMBOLS) + 1)],
            spread=[0.01, 0.02, 0] if index % 2 else None,
            panel=("Weight pruning", "Unit pruning")[index % 2],
        )
        for index in range(12)
    ]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def names_in(run):
    return {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}


def test_a_run_is_left_with_exactly_the_expected_files(run):
    before, told = names_in(run), []
    written = pictures.save_all(run, [0, 0.5, 0.97], told.append)
    assert len(written) == pictures.count([0, 0.5, 0.97])
    expected = {
        "results.csv",
        "loss_accuracy.png",
        "pruned_loss_accuracy.png",
        "pruned_weights.gif",
        "pruned_units.gif",
    }
    expected |= {f"histograms/{method}s-k{k}.png" for method in METHODS for k in ("0.0000", "0.5000", "0.9700")}
    assert names_in(run) - before == expected
    assert {str(path.relative_to(run.folder)) for path in written} == expected
    assert written == told

    first = {path: path.read_bytes() for path in written}
    pictures.save_all(run, [0.97, 0.5, 0])
    assert {path: path.read_bytes() for path in written} == first


def test_every_picture_opens_and_those_of_a_method_are_of_one_size(run):
    pictures.save_all(run, K_VALUES)
    for name in ("loss_accuracy.png", "pruned_loss_accuracy.png"):
        with Image.open(run.folder / name) as picture:
            picture.verify()
    for method in METHODS:
        paths = sorted((run.folder / "histograms").glob(f"{method}s-*.png"))
        frames = [Image.open(path).convert("RGB") for path in paths]
        assert len(frames) == len(K_VALUES)
        assert len({frame.size for frame in frames}) == 1
        assert all(frame.getpixel((1, 1)) == (255, 255, 255) for frame in frames)


@pytest.mark.parametrize("method", METHODS)
def test_an_animation_has_a_frame_for_each_k_and_never_ends(run, method):
    pictures.save_all(run, K_VALUES)
    with Image.open(run.folder / f"pruned_{method}s.gif") as animation:
        frames, times = [], []
        for index in range(animation.n_frames):
            animation.seek(index)
            frames.append(np.array(animation.convert("RGB")))
            times.append(animation.info["duration"])
        assert animation.info["loop"] == 0
    assert len(frames) == len(K_VALUES)
    assert all((before != after).any() for before, after in zip(frames, frames[1:], strict=False))
    assert times[-1] > times[0] == times[-2]


def test_the_table_is_the_results_table(run):
    pictures.save_all(run, K_VALUES)
    table = pd.read_csv(run.folder / "results.csv")
    pd.testing.assert_frame_equal(table, results_table(run.sweep(), K_VALUES), check_exact=True)


def test_nothing_is_left_at_k_1(run):
    dense = run.sweep()[lambda table: table.sparsity == 0]
    run.add_to_sweep(dense.assign(sparsity=1.0, accuracy=0.1), run.version())
    pictures.save_all(run, [0, 1])
    blue = tuple(bytes.fromhex(METHOD_COLORS["weight"][1:]))
    dense, empty = (
        {color: count for count, color in Image.open(path).convert("RGB").getcolors()}[blue]
        for path in run.histogram_pictures("weight")
    )
    assert 0 < empty < dense / 5  # the legend only


def test_a_sparsity_without_a_score_is_told_before_anything_is_written(run):
    before = names_in(run)
    with pytest.raises(RunError, match=r"0\.123"):
        pictures.save_all(run, [0, 0.123])
    assert names_in(run) == before


def test_other_sparsities_leave_nothing_of_the_earlier_ones(run):
    pictures.save_all(run, K_VALUES)
    written = pictures.save_all(run, [0, 0.9])
    assert {*(run.folder / layout.HISTOGRAMS).iterdir()} == {
        path for path in written if path.parent.name == layout.HISTOGRAMS
    }
    assert [len(run.histogram_pictures(method)) for method in METHODS] == [2, 2]


def test_nothing_of_a_replaced_network_is_drawn_into_its_successor(run):
    def replace(path):
        if path.name == layout.TRAINING_FIGURE:
            state = (run.folder / layout.STATE).read_text()
            (run.folder / layout.STATE).write_text(state.replace(run.version(), "2000-01-01T00:00:00+00:00"))

    with pytest.raises(RunError, match="replaced"):
        pictures.save_all(run, K_VALUES, replace)
    assert not (run.folder / layout.GIFS["weight"]).exists()


def test_each_picture_is_of_the_k_in_its_name(run, monkeypatch):
    """And says the accuracy of its own method there."""
    drawn, kept = [], {}

    def draw(histograms, sparsity, accuracy):
        drawn.append((histograms._ranks.method, sparsity, accuracy))
        return Image.new("RGB", (90, 60), (len(drawn),) * 3)

    monkeypatch.setattr(pictures.Histograms, "draw", draw)
    monkeypatch.setattr(pictures, "few_colors", lambda picture, method: picture)
    pictures.save_all(run, [0.5, 0.9], lambda path: kept.setdefault(path.name, path))
    assert len(drawn) == 4
    for number, (method, k, accuracy) in enumerate(drawn, 1):
        with Image.open(kept[f"{method}s-k{k:.4f}.png"]) as picture:
            assert picture.getpixel((0, 0)) == (number,) * 3
        assert accuracy == Criterion(method).select(run.sweep()).set_index("sparsity").accuracy[k]


def test_names_sort_as_their_sparsities_do(run):
    sparsities = [0, 0.0001, 0.00005, 0.9, 0.99999, 1]
    table = run.sweep()[lambda table: table.sparsity == 0]
    rows = pd.concat([table.assign(sparsity=float(k)) for k in sparsities])
    run.add_to_sweep(rows, run.version())
    written = [path.name for path in pictures.save_all(run, sparsities) if path.name.startswith("units-")]
    assert written == sorted(written)
    assert len(written) == len(sparsities)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(8, 12, 3), (8, 12, 9, 7, 3), (8, 12, 9, 7, 6, 5, 3)])
def test_what_is_drawn_is_what_survives(method, sizes):
    kernels = network(*sizes)
    ranking = Criterion(method).rank(kernels)
    histograms = histograms_of(kernels, method)
    assert len(histograms.bars) == len(sizes) - 2
    # Two beside each other, and every row as high as in any other figure: two inches, and one for words.
    assert 1 <= histograms.figure.get_figheight() - 2 * math.ceil((len(sizes) - 2) / 2) < 1.5
    for sparsity in (0, 0.4, 1):
        picture = histograms.draw(sparsity, 0.5)
        for bars, distribution, pruned in zip(
            histograms.bars, distributions(ranking), ranking.pruned(sparsity), strict=True
        ):
            np.testing.assert_array_equal(bars.get_data().values, distribution.surviving(pruned))
            np.testing.assert_array_equal(bars.get_data().edges, distribution.edges)
        # The line stands at the smallest that is left, where something is and something is not.
        for line, scores, ranks, pruned in zip(
            histograms.thresholds, ranking.scores, ranking.ranks, ranking.pruned(sparsity), strict=True
        ):
            assert line.get_visible() == (0 < pruned < scores.size)
            if line.get_visible():
                assert line.get_xdata() == [scores[ranks >= pruned].min()] * 2
        assert np.array(picture).std() > 0


@pytest.mark.parametrize(
    ("method", "axis", "left"),
    [
        ("weight", "Magnitude |w|", ["48 of 96 left", "54 of 108 left"]),
        ("unit", "L2 norm of the incoming weights", ["6 of 12 left", "5 of 9 left"]),
    ],
)
def test_a_histogram_says_what_it_shows(method, axis, left):
    drawn = histograms_of(network(8, 12, 9, 3), method)
    drawn.draw(0.5, 0.12345)
    said = drawn.figure.get_suptitle()
    assert said == f"{METHOD_NAMES[method]}, k = 50%, test accuracy 12.35%"
    assert [axes.get_title("left") for axes in drawn.figure.axes] == ["Hidden 1", "Hidden 2"]
    assert [axes.get_title("right") for axes in drawn.figure.axes] == left
    assert legend_of(drawn.figure) == [f"{method.capitalize()}s left", "Pruned away", "Threshold"]
    for axes, bars in zip(drawn.figure.axes, drawn.bars, strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == (axis, f"{method.capitalize()}s")
        (dense,) = [patch for patch in axes.patches if patch is not bars]
        values, edges, _ = dense.get_data()
        # Behind what is left stands all there was, in axes that hold it.
        assert values.sum() == int(axes.get_title("right").split()[2])
        assert (values >= bars.get_data().values).all()
        assert axes.get_xlim() == (0, edges[-1])
        assert axes.get_ylim()[0] == 0
        assert values.max() < axes.get_ylim()[1] < 1.2 * values.max()


def test_a_frame_does_not_depend_on_those_before_it():
    kernels = network(8, 12, 9, 3)
    histograms = histograms_of(kernels, "weight")
    frames = {k: histograms.draw(k, 0.5).tobytes() for k in (0, 0.5, 1)}
    assert len(set(frames.values())) == 3
    assert histograms.draw(0.5, 0.5).tobytes() == frames[0.5]
    assert histograms_of(kernels, "weight").draw(0.5, 0.5).tobytes() == frames[0.5]


def test_training_curves_without_validation_show_the_training_only():
    history = pd.DataFrame({"epoch": [1], "loss": [0.5], "accuracy": [0.9], "val_loss": [None], "val_accuracy": [None]})
    figure = printed.training_curves(history)
    assert legend_of(figure) == ["Training"]
    assert printed.to_bytes(figure, "png")


def test_training_curves_name_the_kept_epoch(trained_run):
    figure = printed.training_curves(trained_run.history(), 2)
    assert legend_of(figure) == ["Training", "Validation", "Kept epoch: 2"]


@pytest.mark.parametrize("epochs", [1, 39, 40])
def test_training_curves_are_the_history(epochs):
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    history = pd.DataFrame({"epoch": range(1, epochs + 1)})
    history = history.assign(**{name: place + history.epoch / 100 for place, name in enumerate(names)})
    figure = printed.training_curves(history, 1)
    for axes, (training, validation) in zip(figure.axes, (names[:2], names[2:]), strict=True):
        lines = axes.lines
        assert [line.get_label() for line in lines] == ["Training", "Validation", "Kept epoch: 1"]
        for line, column in zip(lines, (training, validation), strict=False):
            assert list(line.get_xdata()) == history.epoch.tolist()
            assert list(line.get_ydata()) == history[column].tolist()
            assert (line.get_marker() == "o") == (epochs < 40)
        assert lines[0].get_linestyle() != lines[1].get_linestyle()
        assert [*lines[2].get_xdata()] == [1, 1]
        assert axes.get_xlim() == (0.5, max(epochs, 2) + 0.5)
    loss, accuracy = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss (nats)", "Accuracy"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Epoch"}
    assert loss.get_ylim()[0] == 0
    assert accuracy.yaxis.get_major_formatter()(0.925, 0) == "92.5%"


def test_a_printed_comparison_is_its_curves():
    curves = twelve_curves()
    figure = printed.comparison(curves, K, ACCURACY)
    for axes, name in zip(figure.axes, ("Weight pruning", "Unit pruning"), strict=True):
        own = [curve for curve in curves if curve.panel == name]
        assert [line.get_xdata().tolist() for line in axes.lines] == [curve.x for curve in own]
        assert [line.get_ydata().tolist() for line in axes.lines] == [curve.y for curve in own]
        assert [line.get_color() for line in axes.lines] == [curve.color for curve in own]
        bands = [curve for curve in own if curve.spread]
        assert len(axes.collections) == len(bands)
        for band, curve in zip(axes.collections, bands, strict=True):
            edge = {tuple(point) for point in band.get_paths()[0].vertices.round(6)}
            both = [
                (x, y + sign * s) for x, y, s in zip(curve.x, curve.y, curve.spread, strict=True) for sign in (-1, 1)
            ]
            assert {tuple(np.round(point, 6)) for point in both} == edge
        assert axes.get_xlim() == K.range
        assert axes.get_ylim() == ACCURACY.range
        assert axes.get_xlabel() == K.title
        assert axes.get_xscale() == "linear"
        assert axes.xaxis.get_major_formatter()(0.5, 0) == axes.yaxis.get_major_formatter()(0.5, 0) == "50%"
    assert figure.axes[0].get_ylabel() == ACCURACY.title
    # As many looks as there are dashes and symbols.
    assert len({(str(line._dash_pattern), line.get_marker()) for axes in figure.axes for line in axes.lines}) == 12


def test_a_change_has_its_sign_and_numbers_are_short():
    axes = printed.comparison([Curve("a", [0, 1], [0.1, -0.8], "#0072B2")], K, Y_AXES["change"]).axes[0]
    assert [axes.yaxis.get_major_formatter()(value, 0) for value in (0.1, 0, -0.8)] == ["+10%", "0%", "−80%"]
    assert printed.percent(0.995) == "99.5%"
    numbers = (0, 0.5, -2, 999, 1_000, 1_500, 999_999, 1_000_000, -2_500_000)
    assert [printed.short(number) for number in numbers] == [
        *("0", "0.5", "−2", "999", "1k", "1.5k", "999.999k", "1M", "−2.5M")
    ]


def test_a_wide_logarithmic_axis_has_powers_of_ten_only():
    for widest, steps in ((10**6, {1}), (10**3, {1, 2, 5})):
        axes = printed.comparison([Curve("a", [10, widest], [0, 1], "#0072B2")], X_AXES["remaining"], ACCURACY).axes[0]
        ticks = [tick for tick in axes.get_xticks() if 10 <= tick <= widest]
        assert {round(tick / 10 ** np.floor(np.log10(tick))) for tick in ticks} == steps


def test_both_methods_are_drawn_in_both_panels(results):
    figure = printed.pruning_curves(results)
    for axes, measure in zip(figure.axes, ("accuracy", "loss"), strict=True):
        drawn = [line.get_ydata().tolist() for line in axes.lines]
        assert drawn == [results[f"{measure}_{method}"].tolist() for method in METHODS]
        assert [line.get_xdata().tolist() for line in axes.lines] == [results.sparsity.tolist()] * 2
        assert [line.get_color() for line in axes.lines] == [METHOD_COLORS[method] for method in METHODS]
        assert axes.get_xlabel() == "Sparsity k of the hidden kernels"
        assert axes.get_xlim() == K.range
        assert axes.get_ylim()[0] == 0
        assert axes.xaxis.get_major_formatter()(0.5, 0) == "50%"
    accuracy, loss = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == ["Test accuracy", "Test loss (nats)"]
    assert accuracy.yaxis.get_major_formatter()(0.5, 0) == "50%"
    assert accuracy.get_ylim()[1] >= 1
    assert loss.get_ylim()[1] >= results[["loss_weight", "loss_unit"]].max(axis=None)
    assert legend_of(figure) == [METHOD_NAMES[method] for method in METHODS]


def test_twelve_curves_and_their_legend_do_not_overlap():
    figure = printed.comparison(twelve_curves(), K, ACCURACY)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == 12
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
    assert legend.y0 >= 0
    assert [axes.get_title("left") for axes in figure.axes] == ["Weight pruning", "Unit pruning"]
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_tightbbox())
        assert axes.get_window_extent().height > 0.5 * figure.bbox.height


def test_a_name_in_two_panels_is_told_once_and_no_name_never():
    curves = [Curve("digits", [0, 1], [0.9, 0.1], METHOD_COLORS[method], panel=method) for method in METHODS]
    curves += [Curve("", [0, 1], [0.9, 0.9], "#9AA3AD", panel=method) for method in METHODS]
    figure = printed.comparison(curves, K, ACCURACY)
    assert legend_of(figure) == ["digits"]
    # Both lines stand before the name, each as long as where there is one.
    (alone,) = printed.comparison(curves[:1], K, ACCURACY).legends
    assert figure.legends[0].handlelength == 2 * alone.handlelength
    shown = {line.get_color() for line in figure.legends[0].findobj(Line2D)}
    assert shown == set(METHOD_COLORS.values())


def test_a_logarithmic_axis_is_labelled_in_short_numbers_and_leaves_zero_out():
    curve = Curve("a $b$", [0, 1_000, 50_000], [0, 0.5, 1], "#0072B2")
    figure = printed.comparison([curve], X_AXES["remaining"], ACCURACY)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert {"1k", "2k", "50k"} <= {text.get_text() for text in axes.get_xticklabels()}
    assert axes.get_xlim()[0] > 100


@pytest.mark.parametrize(("name", "values", "expected"), [("loss", [0.1, 2], (0, 2)), ("change", [0, -0.8], (-0.8, 0))])
def test_an_axis_without_a_range_goes_to_zero_and_not_beyond(name, values, expected):
    figure = printed.comparison([Curve("digits", [0, 1], values, "#0072B2")], K, Y_AXES[name])
    assert figure.axes[0].get_ylim() == pytest.approx(expected, abs=0.11)
    assert 0 in figure.axes[0].get_ylim()


@pytest.mark.parametrize("x", X_AXES.values())
@pytest.mark.parametrize("y", Y_AXES.values())
def test_without_curves_there_are_axes_still(x, y):
    figure = printed.comparison([], x, y)
    assert printed.to_bytes(figure, "png").startswith(b"\x89PNG")
    assert b"<svg" in printed.to_bytes(figure, "svg")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_figures_are_equal_files_whatever_the_thread(kind):
    def draw(_=None):
        return printed.to_bytes(printed.comparison(twelve_curves(), K, ACCURACY), kind)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(draw, range(4))) == {draw()}


def test_no_window_system_and_no_state_of_all_threads_is_used():
    code = """
import sys, core.exports.pictures
print({'matplotlib.pyplot', 'plotly', 'streamlit', 'keras'} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
