"""Small networks as files: each opened by its own reader and nothing of this project, and refused where it is wrong."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.config import RecoveryConfig
from core.datasets import load_dataset
from core.errors import ExportError, KnownError
from core.evaluation import evaluate, logits, predict
from core.exports import archive
from core.exports.models import (
    FORMATS,
    STAGES,
    Exported,
    Subject,
    answers_of,
    check_same,
    export,
    exporting,
    find,
    keras,
    runtimes,
)
from core.kernels import compact
from core.network import Layer, Network, Window, as_network, balance
from core.pruning import prune
from core.runs import layout
from core.settings import PROJECT
from core.sweep import Criterion
from tests.browsing import download, needs_chromium, serving, settled, visit
from tests.commands import run_command
from tests.conftest import SMALL

ALL = list(FORMATS)
EXACT = [form for form in FORMATS if FORMATS[form].is_exact]
WEIGHT = Criterion("weight"), 0.95
UNIT = Criterion("unit"), 0.5


@pytest.fixture(scope="module")
def made(trained_run, tmp_path_factory):
    """A cache with a run, and a file of every format of the network pruned by weight."""
    root = tmp_path_factory.mktemp("made") / "cache"
    shutil.copytree(trained_run.root, root)
    run = runs.open_run(SMALL.run_id, root)
    for form in ALL:
        export(Subject(run, *WEIGHT), form)
    return root


@pytest.fixture
def run(made, cache, monkeypatch):
    """That run in a cache that a test may change, without work in the background."""
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)
    shutil.rmtree(cache)
    shutil.copytree(made, cache)
    return runs.open_run(SMALL.run_id, cache)


@pytest.fixture
def test_images(run):
    return load_dataset("optdigits", run.root).test


def pruned(run, criterion, k):
    return criterion.rank(run.kernels()).prune(run.kernels(), k)


def files_of(run):
    return sorted(path.name for path in (run.folder / layout.EXPORTS).glob("*"))


@pytest.mark.parametrize("form", ALL)
def test_a_few_lines_without_this_project_read_the_file_as_the_network(run, test_images, form, tmp_path):
    """The snippet that stands beside the file, in a process that does not have this project on its path."""
    subject = Subject(run, *WEIGHT)
    exported = find(subject, form)
    file = tmp_path / subject.file_name(form)
    file.write_bytes(exported.read())
    np.save(tmp_path / "images.npy", test_images.images)
    code = f"""
import numpy
images = numpy.load("images.npy")
{FORMATS[form].usage(file.name, 64, 3)}
numpy.save("classes.npy", classes)
import sys
assert not [name for name in sys.modules if name == "core" or name.startswith("core.")]
"""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    classes = np.load(tmp_path / "classes.npy")
    assert (classes == test_images.labels).mean() == exported.about["test_accuracy"]
    small = pruned(run, *WEIGHT)
    if FORMATS[form].is_exact:
        assert np.array_equal(classes, predict(small, test_images.images))
        score = evaluate(small, test_images.images, test_images.labels)
        assert exported.about["test_accuracy"] == score.accuracy
    else:
        assert (classes == predict(small, test_images.images)).mean() > 0.98


def about_in(path, form):
    """What the metadata says, read without the code that wrote it."""
    if form == "keras":
        return json.loads(zipfile.ZipFile(path).read("metadata.json"))["about"]
    if form == "npz":
        return json.loads(str(np.load(path)["about"]))
    if form == "onnx":
        import onnxruntime

        return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["about"])
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    (entry,) = [
        model.Metadata(index) for index in range(model.MetadataLength()) if model.Metadata(index).Name() == b"about"
    ]
    return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())


@pytest.mark.parametrize("form", ALL)
def test_a_file_says_what_it_is_about(run, test_images, form):
    exported = find(Subject(run, *WEIGHT), form)
    small = compact(pruned(run, *WEIGHT))
    about = about_in(exported.path, form)
    accuracy = about.pop("test_accuracy")
    assert accuracy == exported.about["test_accuracy"]
    assert about == {
        "run": SMALL.run_id,
        "dataset": "optdigits",
        "state": "as pruned",
        "k": 0.95,
        "method": "weight",
        "ranking": "magnitude",
        "scope": "layer",
        "parameters": sum(np.count_nonzero(kernel) for kernel in small.kernels),
        "test_images": 360,
    }
    assert exported.bytes == exported.path.stat().st_size


def test_int8_names_the_runtime_it_needs(run):
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(find(Subject(run, *WEIGHT), "tflite-int8").path))
    needed = {bytes(model.buffers[each.buffer].data).strip(b"\0") for each in model.metadata if b"runtime" in each.name}
    assert needed == {b"2.17.0"}
    assert "2.17 or later" in FORMATS["tflite-int8"].says


def test_what_is_dead_is_not_in_the_file_and_no_optimizer_is(run):
    """The size of what is in there, as each reader sees it."""
    import keras as plain
    import onnx

    subject = Subject(run, *WEIGHT)
    small = compact(pruned(run, *WEIGHT))
    assert len(small.inputs) < 64
    model = plain.models.load_model(find(subject, "keras").path)
    assert getattr(model, "optimizer", None) is None
    # Keras has no layer that chooses pixels: a row of zeros for each that is left out.
    first, *rest = model.get_weights()
    assert (first.shape, np.flatnonzero(first.any(axis=1)).tolist()) == (
        (64, small.kernels[0].shape[1]),
        [*small.inputs],
    )
    assert [weights.shape for weights in rest] == [kernel.shape for kernel in small.kernels[1:]]
    graph = onnx.load(find(subject, "onnx").path).graph
    assert [tuple(array.dims) for array in graph.initializer[1:]] == [kernel.shape for kernel in small.kernels]
    arrays = np.load(find(subject, "npz").path)
    assert sum(len(arrays[f"data_{index}"]) for index in range(3)) == small.parameters
    assert arrays["indices_0"].dtype == arrays["inputs"].dtype == np.uint8


def test_a_tenth_of_the_units_of_the_default_network_is_a_twentieth_of_the_file(mnist, monkeypatch, cache):
    """On the shapes of the original experiment and all test images of MNIST; dense written in the same way."""
    monkeypatch.setenv("NETWORK_PRUNING_DATA", str(mnist))
    images = load_dataset("digits").test.images
    generator = np.random.default_rng(0)
    sizes = (784, 1000, 1000, 500, 200, 10)
    kernels = [
        generator.normal(0, (2 / shape[0]) ** 0.5, shape).astype(np.float32)
        for shape in zip(sizes, sizes[1:], strict=False)
    ]
    small = prune(kernels, "unit", 0.9)
    dense, tiny = (FORMATS["keras"].convert(compact(network), 784) for network in (kernels, small))
    assert len(dense) > 20 * len(tiny)
    answers = answers_of(FORMATS["keras"], tiny, images)
    check_same(FORMATS["keras"], answers, small, images)
    assert np.array_equal(answers.argmax(axis=1), predict(small, images))
    # What sizes are compared with is the file of the dense network as Keras itself writes it.
    assert keras.dense_size(as_network(kernels)) > len(dense)


@pytest.mark.parametrize("form", ["keras", "tflite", "onnx", "npz"])
def test_another_network_is_refused(run, test_images, form):
    """The output weights are off by a thousandth: no image changes its class, and still it is not this network."""
    small = pruned(run, *WEIGHT)
    answers = answers_of(FORMATS[form], find(Subject(run, *WEIGHT), form).read(), test_images.images)
    check_same(FORMATS[form], answers, small, test_images.images)
    other = [*small[:-1], small[-1] * np.float32(1.001)]
    assert np.array_equal(predict(other, test_images.images), predict(small, test_images.images))
    with pytest.raises(ExportError, match="failed verification"):
        check_same(FORMATS[form], answers, other, test_images.images)


@pytest.mark.parametrize("form", ALL)
def test_half_a_file_is_refused(run, test_images, form):
    data = find(Subject(run, *WEIGHT), form).read()
    with pytest.raises(ExportError, match="cannot open it"):
        answers_of(FORMATS[form], data[: len(data) // 2], test_images.images)


def test_two_classes_that_are_as_good_may_change_places(run, test_images):
    """Where nothing tells two classes apart, rounding does."""
    small = [kernel.copy() for kernel in pruned(run, *WEIGHT)]
    small[-1][:, 3] = small[-1][:, 2] + np.float32(1e-8)
    twins = [*small[:-1], small[-1][:, [0, 1, 3, 2, *range(4, 10)]]]
    answers = answers_of(FORMATS["npz"], FORMATS["npz"].convert(compact(twins), 64), test_images.images)
    assert (answers.argmax(axis=1) != predict(small, test_images.images)).any()
    check_same(FORMATS["npz"], answers, small, test_images.images)


def biased(random, *layers):
    """Layers with biases, of matrices of these shapes and more arguments; the last one linear."""
    made = [
        Layer(random.normal(size=shape).astype(np.float32), random.normal(size=shape[1]).astype(np.float32), **more)
        for shape, more in layers
    ]
    return [*made[:-1], dataclasses.replace(made[-1], activation="linear")]


@pytest.mark.parametrize("form", ["keras", "tflite", "onnx", "npz"])
def test_a_file_holds_the_biases(form):
    random = np.random.default_rng(5)
    network = Network(tuple(biased(random, ((64, 20), {}), ((20, 15), {}), ((15, 10), {}))), (64,))
    images = random.random((50, 64), np.float32)
    pruned = prune(network, "unit", 0.5)
    answers = answers_of(FORMATS[form], FORMATS[form].convert(compact(pruned), 64), images)
    check_same(FORMATS[form], answers, pruned, images)


@pytest.mark.parametrize("form", ["keras", "tflite", "onnx", "npz"])
def test_a_file_holds_a_convolution_or_it_is_refused(form):
    random = np.random.default_rng(6)
    first = {"window": Window(3, 3, "same", 2), "pool": 2}
    layers = biased(random, ((9, 6), first), ((24, 4), {"window": Window(2, 2)}), ((4, 12), {}), ((12, 10), {}))
    network, images = Network(tuple(layers), (8, 8, 1)), random.random((50, 64), np.float32)
    pruned = prune(network, "unit", 0.5)
    if form in ("onnx", "npz"):
        with pytest.raises(KnownError, match=r"A convolution cannot be written .* yet\."):
            FORMATS[form].convert(compact(pruned), 64)
    else:
        answers = answers_of(FORMATS[form], FORMATS[form].convert(compact(pruned), 64), images)
        check_same(FORMATS[form], answers, pruned, images)


def test_a_file_is_named_and_asked_for_by_what_is_in_it(trained_run):
    every = [f"--run={SMALL.run_id}", "--format=npz", f"--output_dir={trained_run.root.resolve()}"]
    for chosen, name, kept, flags in (
        ((), "dense", "whole", []),
        (
            (Criterion("unit", "activation", "global"), 0.5),
            "unit-0.5-activation-global-as-pruned",
            "unit-activation-global-0-0.5",
            ["--method=unit", "--sparsity=0.5", "--ranking=activation", "--scope=global"],
        ),
        (
            (Criterion("weight"), [0.5, 0.9]),
            "weight-0.5-0.9-as-pruned",
            "weight-magnitude-layer-0-0.5-0.9",
            ["--method=weight", "--sparsity=0.5,0.9", "--ranking=magnitude", "--scope=layer"],
        ),
        (
            (Criterion("unit", "admm", recovery="repair"), 0.8),
            "unit-0.8-repaired",
            "unit-admm-layer-0-repair-0.8",
            ["--method=unit", "--sparsity=0.8", "--support=admm", "--repair", "--scope=layer"],
        ),
    ):
        subject = Subject(trained_run, *chosen)
        assert subject.file_name("npz") == f"{SMALL.run_id}-{name}.npz"
        assert subject.kept_name("npz") == f"{kept}.npz"
        assert {*subject.flags("npz")} == {*every, *flags}
    assert Subject(trained_run).kept_name("tflite-int8") == "whole.int8.tflite"


def test_a_file_is_said_to_be_smaller_or_larger_than_the_dense_one(tmp_path):
    sizes = [Exported(tmp_path, size, "", 1_000, {}).against_dense for size in (400, 1_000, 3_500)]
    assert [said.split(" than ")[0] for said in sizes] == ["2.5 times smaller", "1.0 times smaller", "3.5 times larger"]
    assert all(said.endswith("the dense network's Keras file (1,000 bytes)") for said in sizes)


def test_all_packages_that_are_missing_are_named():
    lacking = dataclasses.replace(FORMATS["npz"], needs=("numpy", "nobody_has_this", "nor_this"))
    assert lacking.lacks() == (
        "Not available here: nobody-has-this and nor-this is not installed. Run pip install nobody-has-this nor-this."
    )
    assert FORMATS["npz"].lacks() is None


def test_the_runtimes_are_named_by_what_computes():
    """Here all are installed, as the requirements of development say."""
    assert runtimes.available() == ["ONNX Runtime", "LiteRT"]
    assert runtimes.packages() == ["onnxruntime", "ai-edge-litert"]


@pytest.mark.parametrize(
    "answers", [np.zeros(3), np.zeros((2, 10)), np.full((3, 10), np.nan)], ids=["a row", "too few", "no numbers"]
)
def test_answers_that_are_no_probabilities_are_refused(answers):
    form = dataclasses.replace(FORMATS["npz"], answer=lambda path, images: answers)
    with pytest.raises(ExportError, match=r"It answers .* numbers, or such that are not finite"):
        answers_of(form, b"", np.zeros((3, 64), np.float32))


def broken(form, **parts):
    return FORMATS | {form: dataclasses.replace(FORMATS[form], **parts)}


def one_off(network, pixels):
    changed = [kernel.copy() for kernel in network.kernels]
    changed[0][changed[0] != 0] *= 1.1
    other = dataclasses.replace(network, network=as_network(changed))
    return FORMATS["npz"].convert(other, pixels)


@pytest.mark.parametrize(
    "parts",
    [
        {"convert": one_off},
        {"convert": lambda network, pixels: b"nothing"},
        {"label": lambda data, about: FORMATS["npz"].label(data, {})},
        {"label": lambda data, about: data},
        {"needs": ("a_package_that_nobody_has",)},
    ],
    ids=["another network", "damaged", "with other metadata", "without its metadata", "without its reader"],
)
def test_what_is_not_verified_leaves_no_file(run, monkeypatch, parts):
    before = files_of(run)
    monkeypatch.setattr(exporting, "FORMATS", broken("npz", **parts))
    with pytest.raises(
        ExportError, match=r"failed verification|nothing was written|pip install a-package-that-nobody-has"
    ):
        export(Subject(run, *UNIT), "npz")
    assert files_of(run) == before


@pytest.mark.parametrize("k", [1.0, [1.0, 0.5]])
def test_a_network_of_nothing_is_not_exported(run, k):
    with pytest.raises(ExportError, match=r"Nothing is left .*Choose a smaller k"):
        export(Subject(run, Criterion("unit"), k), "npz")


def test_what_was_damaged_or_lost_since_is_made_again(run):
    subject = Subject(run, *WEIGHT)
    whole = find(subject, "npz")
    data = whole.read()
    for damaged in (data[:-1], data[:500] + bytes([data[500] ^ 1]) + data[501:]):
        whole.path.write_bytes(damaged)
        with pytest.raises(ExportError, match="is not the file that was verified"):
            whole.read()
        assert find(subject, "npz") is None
        assert export(subject, "npz").about == whole.about
    layout.export_record(whole.path).write_text("[")
    assert find(subject, "npz") is None
    whole.path.unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        whole.read()


def test_a_file_of_an_earlier_version_is_made_again(run):
    subject = Subject(run, *WEIGHT)
    kept = find(subject, "keras")
    record = json.loads(layout.export_record(kept.path).read_text())
    assert record.pop("version") == 2
    layout.export_record(kept.path).write_text(json.dumps(record))
    assert find(subject, "keras") is None
    assert export(subject, "keras").version == 2


def test_a_file_of_a_network_that_was_replaced_meanwhile_is_not_kept(run, monkeypatch):
    def replaced(stage):
        state = run.folder / layout.STATE
        state.write_text(state.read_text().replace(run.version(), "2030-01-01T00:00:00.000+00:00"))

    before = files_of(run)
    with pytest.raises(runs.run.RunError, match="deleted or replaced"):
        export(Subject(run, *UNIT), "npz", replaced)
    assert files_of(run) == before


def test_no_file_is_kept_while_its_run_is_being_replaced(run, monkeypatch):
    before, patient = files_of(run), runs.Run.lock
    monkeypatch.setattr(runs.Run, "lock", lambda self, name="run", timeout=1: patient(self, name, 0))
    with run.lock("sweep"), pytest.raises(runs.run.RunBusyError):
        export(Subject(run, *UNIT), "npz")
    assert files_of(run) == before


def test_balance_changes_no_answer_and_evens_out_the_weights(run, test_images):
    kernels = pruned(run, *UNIT)
    kernels[1][:, 7] /= 1e4
    kernels[2][7] *= 1e4
    even = balance(kernels).matrices
    expected = logits(kernels, test_images.images)
    np.testing.assert_allclose(logits(even, test_images.images), expected, atol=1e-4 * np.abs(expected).max())
    for before, after in zip(even, even[1:], strict=False):
        into, out = np.abs(before).max(axis=0), np.abs(after).max(axis=1)
        alive = (into > 0) & (out > 0)
        np.testing.assert_allclose(into[alive], out[alive], rtol=0.05)
    assert np.array_equal(
        [np.count_nonzero(kernel) for kernel in even], [np.count_nonzero(kernel) for kernel in kernels]
    )


def test_a_unit_of_large_weights_does_not_spoil_int8(test_images):
    """More than 1,024 weights in the output layer, as fewer are left in float32 by the converter."""
    generator = np.random.default_rng(0)
    kernels = [generator.normal(0, 0.2, shape).astype(np.float32) for shape in ((64, 200), (200, 10))]
    kernels[0][:, 0] /= 1e4
    kernels[1][0] *= 1e4
    answers = answers_of(
        FORMATS["tflite-int8"], FORMATS["tflite-int8"].convert(compact(kernels), 64), test_images.images
    )
    assert (answers.argmax(axis=1) == predict(kernels, test_images.images)).mean() > 0.95


def test_the_command_repairs_what_it_exports_and_says_what_came_out(run, tmp_path):
    criterion = Criterion("unit", "magnitude", recovery="repair")
    assert run.network(criterion.key(0.6)) is None
    output = tmp_path / "small.npz"
    chosen = ["--method=unit", "--sparsity=0.6", "--repair", "--support=magnitude", "--format=npz"]
    done = run_command("export", f"--run={run.id}", *chosen, f"--output={output}", f"--output_dir={run.root}")
    assert done.returncode == 0, done.stderr
    small, test = run.network(criterion.key(0.6)), load_dataset("optdigits", run.root).test
    score = evaluate(small, test.images, test.labels)
    assert json.loads(str(np.load(output)["about"]))["state"] == "repaired"
    assert f"{output.stat().st_size:,} bytes" in done.stdout
    assert all(stage in done.stdout for stage in STAGES)
    assert f"{score.accuracy:.2%} on all 360 test images" in done.stdout
    assert 'np.load("small.npz")' in done.stdout
    # The flags that the page starts it with mean the same file.
    subject = Subject(run, criterion, 0.6)
    assert find(subject, "npz").read() == output.read_bytes()
    assert set(chosen) < set(subject.flags("npz"))


def test_the_command_prunes_as_it_is_asked_to_and_at_k_0_not_at_all(run):
    chosen = ["--method=unit", "--sparsity=0.5", "--ranking=activation", "--scope=global", "--format=npz"]
    done = run_command("export", f"--run={run.id}", *chosen, f"--output_dir={run.root}")
    assert done.returncode == 0, done.stderr
    exported = find(Subject(run, Criterion("unit", "activation", "global"), 0.5), "npz")
    small = Criterion("unit", "activation", "global").rank(run.kernels(), run.activations()).prune(run.kernels(), 0.5)
    test = load_dataset("optdigits", run.root).test
    assert exported.about["test_accuracy"] == evaluate(small, test.images, test.labels).accuracy
    assert exported.about["parameters"] == compact(small).parameters
    assert f"{exported.about['parameters']:,} parameters of {SMALL.parameter_count:,}" in done.stdout
    done = run_command(
        "export", f"--run={run.id}", "--method=unit", "--sparsity=0,0", "--format=npz", f"--output_dir={run.root}"
    )
    assert done.returncode == 0, done.stderr
    assert find(Subject(run), "npz").about["state"] == "dense"
    assert "k" not in find(Subject(run), "npz").about


def test_a_fine_tuned_network_is_exported_as_it_is(run):
    config = RecoveryConfig(SMALL, SMALL.run_id, method="weight", sparsity=0.8)
    child = runs.open_run(config.run_id, run.root)
    shutil.copytree(run.folder, child.folder)
    (child.folder / layout.CONFIG).write_text(json.dumps(config.to_dict()))
    exported = export(Subject(child), "npz")
    assert exported.about["state"] == "trained on"
    assert exported.about["test_accuracy"] == child.result().test_accuracy
    assert Subject(child).file_name("npz") == f"{child.id}-fine-tuned.npz"
    assert export(Subject(run), "npz").about["state"] == "dense"


@pytest.mark.parametrize(
    ("flags", "words", "code"),
    [
        (["--method=unit"], "--sparsity: expected k from 0 to 1, or 2", 2),
        (["--method=unit", "--sparsity=0.5,2"], "--sparsity: expected k from 0 to 1, or 2", 2),
        (["--method=unit", "--sparsity=0.5,0.2", "--repair"], "take a single k", 2),
        (["--method=unit", "--sparsity=0.5,0.2", "--scope=global"], "take a single k", 2),
        (["--sparsity=0.5"], "--method: expected one of weight, unit", 2),
        (["--method=unit", "--sparsity=0.5", "--output=/nowhere/at/all.npz"], "a folder that exists", 2),
        (["--method=unit", "--sparsity=1", "--format=npz"], "Nothing is left", 1),
    ],
)
def test_what_cannot_be_exported_is_said(run, flags, words, code):
    done = run_command("export", f"--run={run.id}", f"--output_dir={run.root}", *flags)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_archive_leaves_them_out(run):
    with zipfile.ZipFile(io.BytesIO(archive.archive(run))) as packed:
        assert not [name for name in packed.namelist() if f"/{layout.EXPORTS}/" in name]


def opened(run, page="pruning", **query):
    """A page with the downloads open."""
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    for name, value in {"run": run.id, **query}.items():
        app.query_params[name] = value
    app.session_state["models"] = True
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.mark.parametrize("page", ["pruning", "size"])
def test_every_page_of_one_network_hands_out_the_same_files(run, page):
    app = opened(run, page, method="weight", k="0.95")
    assert len(app.get("download_button")) == len(ALL)


def test_the_page_hands_out_what_is_there_and_starts_what_is_not(run, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start_export", lambda run, name, flags: started.append((run.id, name, flags)))
    subject = Subject(run, *WEIGHT)
    subject_file = find(subject, "onnx")
    subject_file.path.write_bytes(b"damaged")
    app = opened(run, method="weight", k="0.95")
    assert [button.key for button in app.button if button.key.startswith("make_")] == ["make_onnx"]
    text = " ".join(markdown.value for markdown in app.markdown)
    for form in ("keras", "tflite", "tflite-int8", "npz"):
        exported = find(subject, form)
        assert f"**{exported.bytes:,} bytes**" in text
        assert f"**{exported.about['test_accuracy']:.2%}**" in text
    assert len(app.get("download_button")) == 4
    assert f'load_model("{SMALL.run_id}-weight-0.95-as-pruned.keras"' in app.code[0].value
    app.button(key="make_onnx").click().run()
    assert started == [(run.id, subject.kept_name("onnx"), subject.flags("onnx"))]


def test_the_page_says_how_far_it_is_and_why_it_failed(run):
    subject = Subject(run, *UNIT)
    name = subject.kept_name("npz")
    log = layout.export_log(layout.exported(run.folder, name))
    log.write_text("Reading the network\nConverting\nI0000 noise\n")
    with run.lock(layout.export_lock(name)):
        app = opened(run, method="unit", k="0.5")
        assert "make_npz" not in [button.key for button in app.button]
        assert [bar.proto.text for bar in app.get("progress")] == ["Converting"]
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    log.write_text("error: The disk is full.")
    jobs.processes.note_failure(process, log)
    app = opened(run, method="unit", k="0.5")
    assert [error.value for error in app.error] == ["` The disk is full. `"]
    assert app.button(key="make_npz").label == "Make again"


def test_a_file_that_could_not_be_begun_is_said(run, monkeypatch):
    def fail(run, name, flags):
        raise jobs.processes.JobError("No room.")

    monkeypatch.setattr(jobs, "start_export", fail)
    app = opened(run, method="unit", k="0.5")
    app.button(key="make_npz").click().run()
    assert [error.value.split(" :small")[0] for error in app.error] == ["No room."]


def test_the_page_says_what_is_not_available(run, monkeypatch):
    from pages.shared import models

    monkeypatch.setattr(models, "FORMATS", broken("onnx", needs=("a_package_that_nobody_has",)))
    app = opened(run, method="unit", k="0.5")
    assert "make_onnx" not in [button.key for button in app.button]
    assert any("a-package-that-nobody-has is not installed" in caption.value for caption in app.caption)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"method": "unit", "k": "1"}, "Nothing is left of the network at k = 1"),
        ({"method": "unit", "k": "0.77", "state": "repaired"}, "There is no such network"),
    ],
)
def test_the_page_offers_no_network_that_is_not_there(run, query, words):
    app = opened(run, **query)
    assert not [button for button in app.button if button.key.startswith("make_")]
    assert any(words in element.value for element in (*app.info, *app.caption))


def test_the_page_loads_no_converter_and_no_reader(run):
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("pages/pruning.py", default_timeout=60)
app.query_params.update(run={run.id!r}, method="weight", k="0.95")
app.session_state["models"] = True
app.run()
assert not app.exception and len(app.get("download_button")) == 5, app.exception
heavy = {{"tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert"}} & sys.modules.keys()
assert not heavy, heavy
"""
    here = {"NETWORK_PRUNING_CACHE": str(run.root), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=os.environ | here, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]


@needs_chromium
def test_a_small_model_is_made_and_taken_away(repaired_cache, trained_run, page, tmp_path):
    """From the button over progress to a file that SciPy reads; a reload loses nothing."""
    from scipy.sparse import csr_array

    with serving(tmp_path / "cache", repaired_cache) as server:
        visit(page, f"{server.url}/pruning?run={SMALL.run_id}&method=unit&k=0.5")
        page.get_by_text("Download the small model").click()
        settled(page)
        page.locator(".st-key-make_npz button").click()
        page.locator(".st-key-download_npz").wait_for()
        page.reload()
        settled(page)
        page.get_by_text("Download the small model").click()
        page.locator(".st-key-download_npz").wait_for()
        path = download(page, "Download", tmp_path)
        assert path.name == f"{SMALL.run_id}-unit-0.5-as-pruned.npz"
        arrays, test = np.load(path), load_dataset("optdigits", tmp_path / "cache").test
        signal = test.images[:, arrays["inputs"]]
        for index in range(3):
            parts = tuple(arrays[f"{part}_{index}"] for part in ("data", "indices", "indptr"))
            signal = np.maximum(signal, 0) @ csr_array(parts, shape=arrays[f"shape_{index}"])
        assert np.array_equal(signal.argmax(axis=1), predict(pruned(trained_run, *UNIT), test.images))
