"""Pages read as a person reads them: what stands beside which number, and which curve has which name."""

import io
import json
import re
import shutil

import numpy as np
import pytest
import zxingcpp
from PIL import Image
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.analysis import drawing
from core.config import K_VALUES
from core.datasets import load_dataset
from core.evaluation import evaluate, predict
from core.exports import figures, report
from core.kernels import compact, live_units
from core.kernels.number_formats import NUMBER_FORMATS, read, whole
from core.pruning import METHODS, prune
from core.runs import Phase, SmallestFile, TrainingState, layout
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import downloads, footprints, frame, progress
from tests.conftest import SMALL
from tests.reading import chart, figure, html_tables, metrics, number, table_with

POINTS = ("0.5 points", "1 point", "2 points")


@pytest.fixture(autouse=True)
def no_background_work(monkeypatch):
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)


@pytest.fixture
def run(cache, trained_run):
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


@pytest.fixture(scope="module")
def test_images(trained_run):
    return load_dataset("optdigits", trained_run.root).test


def opened(page, *folds, **query):
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    app.query_params.update(query)
    for name in folds:
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    return app


def as_read(element):
    """Without what only keeps text from being taken for Markdown."""
    return re.sub(r"\\(?=\W)|\u2060", "", element.value)


def captions(app):
    return " ".join(element.value for element in app.caption)


@pytest.mark.parametrize(("method", "state"), [("weight", "as pruned"), ("unit", "repaired")])
def test_what_is_in_view_is_named(run, method, state):
    about = {"run": run.id, "method": method, "state": state, "k": "0.5"}
    end = {"as pruned": ".", "repaired": "; repaired."}[state]
    assert as_read(opened("overview", **about).caption[0]) == (
        f"**{SMALL.describe()}, seed 0**: a network of 6,640 weights, trained here on {SMALL.spec.title}. "
        f"Move the slider: the smallest {method}s go first{end}"
    )
    heading = as_read(opened("present", **about).markdown[0])
    assert heading == f"**{SMALL.describe()}, seed 0** · {method} pruning, {state}"


def test_pruning(run, test_images):
    kernels, labels = run.kernels(), test_images.labels
    small = prune(kernels, "weight", 0.9)
    dense, pruned = predict(kernels, test_images.images), predict(small, test_images.images)
    app = opened("pruning", "classes", "looks_at", "layers", run=run.id, method="weight", k="0.9", image="3")

    table = table_with(app, "Class")
    assert list(table) == ["Class", "Images", "Dense", "Pruned", "Points"]
    assert table["Class"].tolist() == list("0123456789")
    assert table["Images"].map(number).tolist() == np.bincount(labels).tolist()
    right = {"Dense": dense == labels, "Pruned": pruned == labels}
    parts = {
        name: np.array([100 * hits[labels == label].mean() for label in range(10)]) for name, hits in right.items()
    }
    for name, values in {**parts, "Points": parts["Pruned"] - parts["Dense"]}.items():
        assert table[name].map(number).tolist() == pytest.approx(values, abs=0.00501)

    drawn = chart(app, "confusion")
    assert (drawn.x, drawn.y) == (["Predicted after pruning"], ["Predicted by the dense network"])
    (trace,) = drawn.traces.values()
    assert trace.x == trace.y == list("0123456789")
    changed = np.array(trace.z, float)
    counted = np.zeros((10, 10))
    np.add.at(counted, (dense, pruned), 1)
    np.fill_diagonal(counted, np.nan)
    np.testing.assert_array_equal(changed, counted)

    live = live_units(small)[1]
    (trace,) = chart(app, "pixels").traces.values()
    np.testing.assert_array_equal(np.array(trace.z).ravel(), np.count_nonzero(small[0][:, live], axis=1))
    (fields,) = [each for each in app.get("plotly_chart") if each.proto.id.endswith("-fields")]
    looks = json.loads(fields.proto.spec)
    drawn = figure(looks)
    units = [int(title.removeprefix("unit ")) for title in drawn.titles]
    assert 1 < len(units) == len({*units})
    for unit, trace in zip(units, looks["data"], strict=True):
        one = figure({"data": [trace], "layout": {}}).traces[""]
        np.testing.assert_allclose(np.array(one.z).ravel(), small[0][:, unit], rtol=1e-6)

    drawn = chart(app, "image_probabilities")
    assert (drawn.x, drawn.y) == (["Sparsity k of the hidden kernels"], ["Probability"])
    (row,) = drawing.read([prune(kernels, "weight", 0.9)], test_images.images[3])
    names = [f"{label} (true class)" if label == labels[3] else str(label) for label in range(10)]
    assert [drawn.points(name)[0.9] for name in names] == pytest.approx(row.tolist())
    assert f"Test image 3, a {labels[3]}" in captions(app)


def test_layers_pruned_alone(run, test_images):
    kernels = run.kernels()
    app = opened("pruning", "layers", "layers_at_work", run=run.id)
    while app.session_state["layers_at_work"]:
        app.run()
    drawn = chart(app, "sensitivity")
    assert (drawn.x, drawn.y) == (["Sparsity k of that layer alone"], ["Test accuracy"])
    for name, ks in {"Hidden 1": [0.9, 0], "Hidden 2": [0, 0.9]}.items():
        score = evaluate(prune(kernels, "weight", ks), test_images.images, test_images.labels)
        assert drawn.points(name)[0.9] == score.accuracy


def test_what_the_slider_is_told(run):
    app = opened("pruning", run=run.id, k="0.5")
    (component,) = [part for part in app.get("bidi_component") if part.proto.component_name == "instrument"]
    told, kernels, result = json.loads(component.proto.json), run.kernels(), run.result()
    hidden = [kernel.size for kernel in kernels[:-1]]
    assert told["layers"] == [{"name": f"Hidden {layer}", "weights": size} for layer, size in enumerate(hidden, 1)]
    assert (told["hiddenWeights"], told["networkWeights"]) == (sum(hidden), sum(hidden) + kernels[-1].size)
    assert told["images"] == 360
    assert told["dense"] == {"accuracy": result.test_accuracy, "loss": result.test_loss}
    sweep = run.sweep()
    scores = {method: Criterion(method).select(sweep).set_index("sparsity") for method in METHODS}
    assert told["measured"]["accuracy"] == scores["weight"].accuracy[0.5]
    assert told["measured"]["loss"] == scores["weight"].loss[0.5]
    drawn = figure(told["curve"])
    assert (drawn.x, drawn.y) == (["Sparsity k of the hidden kernels"], ["Test accuracy"])
    for method in METHODS:
        assert drawn.points(f"{method}, as pruned") == scores[method].accuracy.to_dict()
    random = sweep[(sweep.ranking == "random") & (sweep.method == "weight")].groupby("sparsity").accuracy.mean()
    assert drawn.points("random, mean ± s.d. of 3") == pytest.approx(random.to_dict())
    drawn = figure(told["histograms"])
    assert drawn.titles == ["Hidden 1", "Hidden 2"]
    assert (drawn.x, drawn.y) == (["|w|"] * 2, ["Weights"] * 2)


def test_training(run):
    state = run.folder / layout.STATE
    state.write_text(json.dumps(json.loads(state.read_text()) | {"kept_epoch": 2}))
    app = opened("training", dataset="optdigits", epochs="3", hidden_units="60,40")
    result, history = run.result(), run.history()
    assert {name: value for name, (value, _) in metrics(app).items()} == {
        "Test accuracy": f"{result.test_accuracy:.2%}",
        "Test loss": f"{result.test_loss:.4f}",
        "Training time": f"{result.training_seconds:,.0f} s",
        "Kept epoch": "2 of 3",
    }
    assert table_with(app, "Layer").to_dict("list") == {
        "Layer": ["Hidden 1", "Hidden 2", "Output"],
        "Inputs": [64, 60, 40],
        "Units": [60, 40, 10],
        "Activation": ["ReLU", "ReLU", "softmax"],
        "Weights": [3840, 2400, 400],
    }
    for measure in ("loss", "accuracy"):
        drawn = chart(app, f"curve_{measure}")
        assert (drawn.x, drawn.y) == (["Epoch"], [measure.capitalize()])
        for name, column in (("Training", measure), ("Validation", f"val_{measure}")):
            assert drawn.points(name) == pytest.approx(history.set_index("epoch")[column].to_dict())
        assert drawn.traces["Training"].line["dash"] == "dot"


def test_a_training_in_progress():
    state = TrainingState(Phase.TRAINING, epoch=3, epochs=20, batch=4, batches=50)
    assert progress.describe(state, jobs.Progress(0.1, 65)) == "Epoch 3 of 20, batch 4 of 50 · about 1 min 5 s left"
    state = TrainingState(Phase.SCORING, scored=7, to_score=206)
    assert progress.describe(state, jobs.Progress(0.9, None)) == "Pruning and scoring: 7 of 206 done"


def test_runs(run):
    row = table_with(opened("runs"), "Run").iloc[0]
    result, config = run.result(), run.config()
    assert row["Test accuracy"] == f"{result.test_accuracy:.2%}"
    words = {"Run": run.id, "Dataset": "optdigits", "Status": "complete", "Hidden units": "60-40"}
    assert {heading: row[heading] for heading in words} == words
    numbers = {
        "Epochs": config.epochs,
        "Batch size": config.batch_size,
        "Learning rate": config.learning_rate,
        "Validation images": config.num_valid,
        "Seed": config.seed,
        "Size (MB)": run.size() / 1e6,
    }
    assert {heading: number(str(row[heading])) for heading in numbers} == pytest.approx(numbers, abs=1e-6)


def knee_by_hand(scores, dense, drop):
    """The last k before validation accuracy first falls below the limit."""
    lost = scores.index[scores.val_accuracy < dense - drop - 1e-9]
    return scores.index[scores.index < (lost.min() if len(lost) else 2)].max()


def test_comparison(run):
    sweep, result = run.sweep(), run.result()
    scores = {method: Criterion(method).select(sweep).set_index("sparsity") for method in METHODS}
    app = opened("comparison", runs=[run.id], k_vals="0.5,0.9")
    weights = sum(kernel.size for kernel in run.kernels())
    table = table_with(app, "Test loss")
    assert table["Configuration"].unique().tolist() == [SMALL.describe()]
    for method in METHODS:
        shown = table[(table["Method"] == method) & (table["Ranked by"] == "magnitude")]
        shown = shown.set_index(shown["k"].map(lambda k: number(str(k))))
        assert shown.index.tolist() == [0.5, 0.9]
        for k, row in shown.iterrows():
            truth = scores[method].loc[k]
            expected = {
                "Test accuracy": truth.accuracy,
                "From dense": round(truth.accuracy - result.test_accuracy, 4),
                "Agreement": truth.agreement,
                "Worst class": truth.worst_class,
                "Test loss": truth.loss,
                "Zeroed": truth.zeroed,
                "of the hidden weights": truth.sparsity_hidden,
                "Removable": truth.removable,
                "Remaining": weights - truth.removable,
                "Compression": weights / (weights - truth.removable),
                "Multiply-adds": truth.multiply_adds,
                "n": 1,
            }
            told = {heading: number(str(row[heading])) for heading in expected}
            assert told == pytest.approx(expected, abs=1e-6)

    table = table_with(app, "Area").set_index("Method")
    for method in METHODS:
        row, curve = table.loc[method], scores[method]
        nexts = []
        for drop, points in zip((0.005, 0.01, 0.02), POINTS, strict=True):
            k = knee_by_hand(curve, curve.val_accuracy[0.0], drop)
            nexts.append(min(later for later in curve.index if later > k) - k)
            assert number(row[f"k, −{points}"]) == pytest.approx(k, abs=0.00051)
            change = 100 * (curve.accuracy[k] - result.test_accuracy)
            assert number(row[f"test, −{points}"]) == pytest.approx(change, abs=0.00501)
        assert number(row["Area"]) == pytest.approx(curve.accuracy[[0.5, 0.9]].mean(), abs=0.00051)
        assert row["To next k"] == pytest.approx(max(nexts))
        assert (row["n"], row["State"], row["Ranked by"]) == (1, "as pruned", "magnitude")


@pytest.mark.parametrize(
    ("y", "x", "title", "column", "along"),
    [
        ("accuracy", "zeroed", "Test accuracy", "accuracy", "sparsity_hidden"),
        ("loss", "multiply-adds", "Test loss (nats)", "loss", "multiply_adds"),
        ("agreement", "sparsity", "Test images answered as the dense network does", "agreement", "sparsity"),
        ("worst class", "sparsity", "Test accuracy of the worst class", "worst_class", "sparsity"),
    ],
)
def test_compared_curves(run, monkeypatch, y, x, title, column, along):
    pictures, offered = {}, {}
    monkeypatch.setattr(figures, "picture_bytes", lambda curves, x, y, kind: pictures.update({kind: (curves, x, y)}))
    monkeypatch.setattr(downloads, "download", lambda label, make, name, _: offered.update({name: make}))
    drawn = chart(opened("comparison", runs=[run.id], k_vals="0.5,0.9", y=y, x=x), "comparison")
    for kind in ("png", "svg"):
        offered[f"optdigits-1-runs-{column}.{kind}"]()
        curves, across, up = pictures[kind]
        lines = {curve.name: curve for curve in curves}
        assert lines.keys() == drawn.traces.keys() - {""}  # the names of bands
        for name in ("Weight pruning", "Unit pruning"):
            assert drawn.points(name) == dict(zip(lines[name].x, lines[name].y, strict=True))
        assert ([across.title], [up.title]) == ([drawn.x[0].replace("<br>", " ")], drawn.y)
    assert drawn.y == [title]
    if along != "sparsity":
        words = {"sparsity_hidden": "Part of the hidden weights that is zero", "multiply_adds": "Multiply-adds of one"}
        assert drawn.x[0].replace("<br>", " ").startswith(words[along])
    for method, name in (("weight", "Weight pruning"), ("unit", "Unit pruning")):
        rows = Criterion(method).select(run.sweep())
        rows = rows[rows.sparsity.isin([0.5, 0.9])].set_index(along)
        assert drawn.points(name) == pytest.approx(rows[column].to_dict())
    colors = [drawn.traces[name].line["color"] for name in ("Weight pruning", "Unit pruning")]
    assert colors == ["#0072B2", "#D55E00"]


def test_size(run, test_images):
    kernels = run.kernels()
    pruned = prune(kernels, "weight", 0.9)
    tiny = compact(pruned)
    ways = {"dense": whole(kernels), "pruned": whole(pruned), "compacted": tiny}
    app = opened("size", run=run.id, method="weight", k="0.9")
    table = table_with(app, "File in bytes")
    assert list(table)[:2] == ["Network", "Format"]
    first = {packed: len(NUMBER_FORMATS["float32"].write(whole(kernels), packed)) for packed in (False, True)}
    rows = iter(table.to_dict("records"))
    for way, form in ways.items():
        for each in NUMBER_FORMATS.values():
            row, back = next(rows), read(each.write(form, False))
            score = evaluate(back.kernels, test_images.images[:, back.inputs], test_images.labels)
            sizes = {packed: len(each.write(form, packed)) for packed in (False, True)}
            assert row["Format"] == each.title
            assert row["Network"].startswith(way)
            expected = {
                "File in bytes": sizes[False],
                "Compressed": sizes[True],
                "Test accuracy": 100 * score.accuracy,
                "Points": 100 * (score.accuracy - run.result().test_accuracy),
            }
            assert {heading: number(row[heading]) for heading in expected} == pytest.approx(expected, abs=0.00501)
            assert number(row["Times smaller"]) == pytest.approx(first[False] / sizes[False], abs=0.0501)
            assert number(row["Times smaller "]) == pytest.approx(first[True] / sizes[True], abs=0.0501)

    held = {"dense": kernels, "pruned": pruned, "compacted": tiny.kernels, "sparse": tiny.kernels}
    counts = {way: [sum(map(np.size, each)), sum(map(np.count_nonzero, each))] for way, each in held.items()}
    products = {way: stored for way, (stored, _) in counts.items()} | {"sparse": counts["sparse"][1]}
    table = table_with(app, "Weights stored")
    for row, way in zip(table.to_dict("records"), held, strict=True):
        stored = products[way] if way == "sparse" else counts[way][0]
        expected = {"Weights stored": stored, "Not zero": counts[way][1], "Multiply-adds": products[way]}
        assert {heading: number(row[heading]) for heading in expected} == expected
        assert number(row["Times fewer"]) == pytest.approx(products["dense"] / products[way], abs=0.0501)

    said = metrics(app)
    change = 100 * (evaluate(pruned, test_images.images, test_images.labels).accuracy - run.result().test_accuracy)
    value, note = said["Test accuracy"]
    assert (number(value), number(note.split()[0])) == pytest.approx(
        (100 * run.result().test_accuracy + change, change), abs=0.00501
    )
    (way,) = [label.removeprefix("Multiply-adds: ") for label in said if label.startswith("Multiply-adds")]
    way = {"compacted": "compacted", "sparse rows": "sparse"}[way]
    (value, note), *_ = [each for label, each in said.items() if label.startswith("Multiply-adds")]
    assert number(value) == products[way]
    assert number(note.split()[0]) == pytest.approx(products["dense"] / products[way], abs=0.0501)

    while "to go" in captions(app):
        app.run()
    names = {each.title: name for name, each in NUMBER_FORMATS.items()}
    files, scored = chart(app, "curve_files"), chart(app, "curve_accuracy")
    assert (files.y, scored.y) == (["File in bytes"], ["Test accuracy"])
    assert files.x == scored.x == ["Sparsity k of the hidden kernels"]
    for title, name in names.items():
        assert files.points(title)[0.9] == len(NUMBER_FORMATS[name].write(tiny, False))
    assert files.points("dense, float32")[0] == first[False]
    assert scored.points("dense")[0] == run.result().test_accuracy
    drawn = chart(app, "curve_operations")
    assert drawn.y == ["Multiply-adds of one image"]
    assert drawn.points("compacted")[0.9] == products["compacted"]
    assert drawn.points("compacted, sparse (CSR)")[0.9] == products["sparse"]


def test_measured_speed(run, monkeypatch):
    """Made-up times, each in its place."""
    ways = [("dense", "NumPy"), ("pruned", "NumPy"), ("compacted", "NumPy"), ("sparse", "SciPy")]
    seconds, counts = ("one_median", "one_q1", "one_q3"), ("many_median", "many_q1", "many_q3")
    rows = [
        {"network": way, "runtime": runtime, "one_faster": 100 + place, "many_faster": 200 + place}
        | {name: (10 * place + number + 1) / 1e6 for number, name in enumerate(seconds)}
        | {name: 1000 * place + number for number, name in enumerate(counts)}
        for place, (way, runtime) in enumerate(ways)
    ]
    record = {
        "rows": rows,
        "machine": "a machine",
        "threads": 1,
        "images": 7,
        "batch": 3,
        "measured": "2030-01-02T03:04",
    }
    monkeypatch.setattr(footprints, "speed_at", lambda *_: record)
    app = opened("size", run=run.id, method="unit", k="0.7")
    for place, row in enumerate(table_with(app, "Runtime").to_dict("records")):
        assert row["Network"].split(",")[0].startswith(ways[place][0].replace("sparse", "compacted"))
        assert row["Runtime"] == ways[place][1]
        assert row["One image, µs"] == f"{10 * place + 1}.0 ({10 * place + 2}.0–{10 * place + 3}.0)"
        assert number(row["Times faster"]) == 100 + place
        assert row["Images a second"] == f"{1000 * place:,} ({1000 * place + 1:,}–{1000 * place + 2:,})"
        assert number(row["Times faster "]) == 200 + place
    (label,) = [label for label in metrics(app) if label.startswith("One image: ")]
    place = {"One image: compacted, in NumPy": 2, "One image: sparse rows, in SciPy": 3}[label]
    assert metrics(app)[label] == (f"{10 * place + 1}.0 µs", f"{100 + place}.0× faster than dense")


def test_smallest(run, monkeypatch):
    made = [
        SmallestFile(
            most_bytes=2_000,
            epochs=7,
            seed=3,
            bytes=1_234,
            weights=567,
            val_accuracy=0.8,
            test_accuracy=0.7,
            seconds=89,
            source="",
        ),
        SmallestFile(
            most_bytes=5_000,
            epochs=8,
            seed=4,
            bytes=2_345,
            weights=765,
            val_accuracy=0.92,
            test_accuracy=0.95,
            seconds=98,
            source="",
        ),
    ]
    offered = {}
    monkeypatch.setattr(runs, "smallest_files", lambda run: made)
    monkeypatch.setattr(runs, "read_smallest", lambda run, made: f"file of {made.bytes}".encode())
    monkeypatch.setattr(frame, "download", lambda label, make, name, *_, **__: offered.update({name: (label, make())}))
    app = opened("smallest", run=run.id)
    large = 4 * sum(kernel.size for kernel in run.kernels())
    for each, row in zip(made, table_with(app, "Bytes").to_dict("records"), strict=True):
        assert {heading: number(str(value)) for heading, value in row.items()} == {
            "Bytes": each.bytes,
            "Smaller": round(large / each.bytes),
            "Test accuracy": 100 * each.test_accuracy,
            "Validation accuracy": 100 * each.val_accuracy,
            "Not zero": each.weights,
            "Epochs": each.epochs,
            "Seed": each.seed,
            "Seconds": each.seconds,
        }
    assert app.selectbox(key="tiny_file").options == ["1,234 bytes, 70.00%", "2,345 bytes, 95.00%"]
    assert offered[f"{run.id}-2345.tiny"] == ("Network, 2,345 bytes", b"file of 2345")
    label, picture = offered[f"{run.id}-2345.png"]
    assert label == "QR code"
    assert zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))[0].bytes == b"file of 2345"
    drawn = chart(app, "tiny_front")
    assert (drawn.x, drawn.y) == (["Whole file in bytes"], ["Test accuracy"])
    (line,) = drawn.traces
    assert drawn.points(line) == {1_234: 0.7, 2_345: 0.95}
    assert f"large network {run.result().test_accuracy:.2%}" in drawn.titles
    assert f"the {large:,} bytes of the large network's weights" in captions(app)


def test_report(trained_run):
    page = report.report(trained_run).decode()
    sweep, result = trained_run.sweep(), trained_run.result()
    scores = {method: Criterion(method).select(sweep).set_index("sparsity") for method in METHODS}
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["Test accuracy"] == f"{result.test_accuracy:.2%}"
    assert facts["Test loss"] == f"{result.test_loss:.4f}"
    assert facts["Kept epoch"] == f"{result.kept_epoch} of 3"
    assert facts["Weights"] == "6,640"
    assert facts["Training time"] == f"{result.training_seconds:.0f} s"
    for words in ("1,437 training images", "the first 200 were held out", "over all 360 test images"):
        assert words in page
    results, knees, layers = html_tables(page)
    assert results["k"].map(number).tolist() == [100 * k for k in K_VALUES]
    for method in METHODS:
        for name in ("accuracy", "loss"):
            told = results[f"{name.capitalize()} ({method})"].map(number).tolist()
            assert told == pytest.approx(scores[method][name][list(K_VALUES)].tolist(), abs=0.0000501)
    assert layers.to_dict("list") == {
        "Layer": ["Hidden 1", "Hidden 2", "Output"],
        "Inputs": ["64", "60", "40"],
        "Units": ["60", "40", "10"],
        "Weights": ["3,840", "2,400", "400"],
    }
    # Headings repeat, so by their places: k and the change of test accuracy there, for each drop.
    assert [re.sub(r" points?", "", head) for head in knees] == [
        "",
        "k, −0.5",
        "test there",
        "k, −1",
        "test there",
        "k, −2",
        "test there",
        "Area",
        "To next k",
    ]
    rows = {row[0]: row for row in knees.to_numpy().tolist()}
    for method, curve in scores.items():
        row = rows[f"{method}, magnitude, as pruned"]
        for place, drop in enumerate((0.005, 0.01, 0.02)):
            k = knee_by_hand(curve, curve.val_accuracy[0.0], drop)
            assert number(row[1 + 2 * place]) == pytest.approx(k, abs=0.00051)
            change = 100 * (curve.accuracy[k] - result.test_accuracy)
            assert number(row[2 + 2 * place]) == pytest.approx(change, abs=0.00501)
