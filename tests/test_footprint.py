"""What networks take, and how long: counted by hand, and measured so that ratios are fair."""

import contextlib
import dataclasses
import io
import json
import os
import platform
import re
import shutil
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from absl import flags

from core import command, jobs, runs, scoring, speed
from core.analysis import comparison, footprint, latency
from core.config import RecoveryConfig
from core.datasets import load_dataset
from core.errors import JobError
from core.evaluation import evaluate, examine
from core.exports.models import runtimes
from core.kernels import compact
from core.kernels.number_formats import NUMBER_FORMATS, read, whole
from core.network import as_network
from core.pruning import METHODS, prune
from core.runs import layout
from core.speed import chosen_sparsities, measured, readable, variants
from core.state import fine_tuned_by
from core.sweep import Criterion
from tests.commands import run_command
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def only_numpy(monkeypatch):
    """Other runtimes convert by TensorFlow, which the tests start in processes of its own."""
    monkeypatch.setattr(runtimes, "available", list)


@pytest.fixture
def full(cache, trained_run):
    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    return runs.open_run(SMALL.run_id)


def by_hand():
    """Two pixels, three units, two classes. The second unit has no input, the third no output."""
    first = np.array([[1, 0, 2], [3, 0, 0]], np.float32)
    last = np.array([[1, 0], [5, 5], [0, 0]], np.float32)
    return [first, last]


def test_weights_and_multiply_adds_are_those_counted_by_hand():
    pruned = by_hand()
    dense = [np.ones_like(kernel) for kernel in pruned]
    table = footprint.operations(dense, pruned, compact(pruned)).set_index("network")
    assert table.index.tolist() == list(footprint.NETWORKS)
    assert table.weights.tolist() == [12, 12, 4, 3]
    assert table.nonzero.tolist() == [12, 6, 3, 3]
    assert table.multiply_adds.tolist() == [12, 12, 4, 3]
    assert table.fewer.tolist() == [1, 1, 3, 4]


def test_where_nothing_is_left_there_is_no_ratio():
    nothing = [np.zeros_like(kernel) for kernel in by_hand()]
    table = footprint.operations(by_hand(), nothing, compact(nothing)).set_index("network")
    assert table.multiply_adds["compacted"] == 0
    assert np.isinf(table.fewer["compacted"])


def test_files_are_what_was_written_and_scored_again(trained_run):
    test = load_dataset("optdigits", trained_run.root).test
    tiny = compact(prune(trained_run.kernels(), "unit", 0.7))
    rows = pd.DataFrame(footprint.files(tiny, test.images, test.labels)).set_index("format")
    assert rows.index.tolist() == list(NUMBER_FORMATS)
    for name, format in NUMBER_FORMATS.items():
        assert rows.bytes[name] == len(format.write(tiny, False))
        assert rows.compressed[name] == len(format.write(tiny, True))
        back = read(format.write(tiny, True))
        assert rows.accuracy[name] == evaluate(back.kernels, test.images[:, back.inputs], test.labels).accuracy
    assert rows.bytes["float32"] > rows.bytes["float16"] > rows.bytes["int8"]
    assert rows.accuracy["coded"] == rows.accuracy["int8"]


def test_what_got_larger_is_said(trained_run):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()

    def said(method, k):
        pruned = prune(kernels, method, k)
        tiny = compact(pruned)
        parts = {"dense": whole(kernels), "pruned": whole(pruned), "compacted": tiny}
        rows = pd.concat(
            pd.DataFrame(footprint.files(part, test.images[:50], test.labels[:50])).assign(network=name)
            for name, part in parts.items()
        )
        return " ".join(footprint.in_words(rows, footprint.operations(kernels, pruned, tiny), Criterion(method)))

    assert "times as large as the dense one" in said("weight", 0.0)
    assert "times as large as the compacted network" in said("unit", 0.5)
    assert "Compacting alone gains little" in said("weight", 0.5)
    assert "Sparse rows make" not in said("weight", 0.9)
    assert said("weight", 1.0).startswith("Nothing is left")
    assert "with the zeros in place" in said("unit", 0.9).lower()


@pytest.mark.parametrize("method", METHODS)
def test_a_sweep_counts_multiply_adds(full, method):
    test = load_dataset("optdigits", full.root).test
    kernels = full.kernels()
    rows = Criterion(method).select(full.sweep()).set_index("sparsity")
    for k in (0.0, 0.5, 0.9):
        pruned = prune(kernels, method, k)
        expected = sum(kernel.size for kernel in compact(pruned).kernels)
        assert rows.multiply_adds[k] == expected
        assert examine(pruned, test.images, test.labels).multiply_adds == expected
    # All that an earlier version did not count is found out from the networks, and none is scored again for it.
    table = full.sweep()
    known = table.multiply_adds
    assert footprint.multiply_adds(full, table.drop(columns="multiply_adds")).tolist() == known.tolist()
    some = table.assign(multiply_adds=known.where(table.index % 3 > 0))
    assert footprint.multiply_adds(full, some).tolist() == known.tolist()
    full.add_to_sweep(table.drop(columns="multiply_adds").head(0), full.version())
    without = table.drop(columns="multiply_adds")
    assert scoring.unscored(without, scoring.fine_curve()) == scoring.unscored(table, scoring.fine_curve())


def test_a_format_that_costs_accuracy_is_said():
    rows = pd.DataFrame(
        {"network": "compacted", "format": list(NUMBER_FORMATS), "bytes": 1, "accuracy": [0.98, 0.98, 0.9, 0.9, 0.98]}
    )
    every = pd.concat(rows.assign(network=name) for name in ("dense", "pruned", "compacted"))
    counts = footprint.operations(by_hand(), by_hand(), compact(by_hand()))
    said = footprint.in_words(every, counts, Criterion("weight"))
    assert [words for words in said if "costs" in words] == ["int8 costs 8.0 points here."]


@pytest.mark.parametrize(
    ("sizes", "method", "expected"),
    [
        # Dense, pruned, compacted, and compacted as sparse rows.
        ((100, 100, 91, 150), "weight", ["1.50 times as large as the dense one", "Compacting alone", "zeros in place"]),
        (
            (100, 100, 90, 100),
            "weight",
            ["1.11 times as large as the compacted network in float32: 75% of its", "zeros"],
        ),
        ((100, 100, 91, 91), "weight", ["Compacting alone", "zeros in place"]),
        ((100, 100, 91, 91), "unit", ["zeros in place"]),
        ((100, 99, 20, 20), "unit", []),
        ((100, 101, 20, 20), "unit", ["zeros in place"]),
    ],
)
def test_what_is_said_of_sizes_begins_where_it_is_true(sizes, method, expected):
    dense, pruned, tiny, sparse = sizes
    rows = pd.DataFrame(
        [
            {"network": network, "format": name, "bytes": sparse if name == "sparse" else size, "accuracy": 0.98}
            for network, size in (("dense", dense), ("pruned", pruned), ("compacted", tiny))
            for name in NUMBER_FORMATS
        ]
    )
    counts = footprint.operations(by_hand(), by_hand(), compact(by_hand()))
    said = footprint.in_words(rows, counts, Criterion(method))
    assert len(said) == len(expected)
    for sentence, words in zip(said, expected, strict=True):
        assert words in sentence
    # Three tenths of a point is what may be lost in silence.
    for lost, is_told in ((0.0029, False), (0.0031, True)):
        worse = rows.assign(accuracy=np.where(rows.format == "float16", 0.98 - lost, 0.98))
        costs = [words for words in footprint.in_words(worse, counts, Criterion(method)) if "costs" in words]
        assert costs == (["float16 costs 0.3 points here."] if is_told else [])


def test_multiply_adds_of_a_repaired_network_are_those_of_what_is_kept(full):
    criterion = Criterion("unit", "admm", recovery="repair")
    kept = prune(full.kernels(), "unit", 0.7)
    full.keep_network(criterion.key(0.9), kept, full.version())
    rows = Criterion("unit").select(full.sweep())
    rows = rows[rows.sparsity.isin([0.5, 0.9])].drop(columns="multiply_adds").assign(**dataclasses.asdict(criterion))
    counted = footprint.multiply_adds(full, rows)
    # Of one that is not kept nothing is known.
    assert counted.tolist() == pytest.approx([np.nan, compact(kept).multiply_adds], nan_ok=True)
    assert counted.index.tolist() == rows.index.tolist()


def last(steps):
    *_, step = steps
    return step


@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_hold_a_network_answers_the_same(kernels, method, has_biases):
    images = np.random.default_rng(4).random((30, 20), np.float32)
    biases = [kernel[0] if has_biases else None for kernel in kernels]
    network = as_network(kernels).with_matrices(kernels, biases)
    for k in (0, 0.5, 0.9, 1):
        pruned = prune(network, method, k)
        dense, *small = latency.in_numpy(network, pruned)
        assert [variant.network for variant in small] == ["pruned", "compacted", "sparse"]
        for count in (1, 30):
            expected = small[0].run(images[:count])
            assert dense.run(images[:count]).shape == expected.shape == (count, 10)
            for variant in small[1:]:
                np.testing.assert_allclose(variant.run(images[:count]), expected, atol=1e-4)


def test_a_measurement_times_each_in_every_round_and_compares_within_it(monkeypatch, kernels):
    """A clock that slows down more and more, as on a busy machine: absolute times grow, the ratios stay."""
    costs = {"dense": 40.0, "pruned": 20.0, "compacted": 4.0}
    clock = {"now": 0.0, "load": 1.0}

    def variant(name):
        def run(images):
            clock["load"] *= 1.0005
            clock["now"] += costs[name] * clock["load"] * 1e-5
            return np.tile(np.arange(3.0), (len(images), 1))

        return latency.Variant(name, "NumPy", run)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock["now"])
    steps = list(latency.measure([variant(name) for name in costs], np.zeros((7, 2), np.float32)))
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    assert all(step.table is None for step in steps[:-1])
    table = steps[-1].table.set_index("network")
    assert (table.one_q1 < table.one_median).all()
    assert (table.one_median < table.one_q3).all()
    assert (table.many_q1 < table.many_q3).all()
    assert table.one_faster.tolist() == pytest.approx([1, 2, 10], rel=0.1)
    assert table.many_faster.tolist() == pytest.approx([1, 2, 10], rel=0.1)
    # 10,000 images in ten batches.
    assert table.many_median["dense"] * table.one_median["dense"] == pytest.approx(1000, rel=0.5)


def test_numbers_of_a_measurement_are_those_of_the_clock(monkeypatch):
    """Costs that are known: a millisecond for an image in NumPy, and so on; in some rounds more for one of them."""
    costs = {("dense", "NumPy"): 1e-3, ("sparse", "SciPy"): 5e-4, ("dense", "B"): 8e-3, ("compacted", "B"): 2e-3}
    clock, seen = {"now": 0.0}, {key: [] for key in costs}
    images = np.arange(7, dtype=np.float32)[:, None]

    def variant(network, runtime):
        def run(given):
            seen[network, runtime].append(len(given))
            assert set(given[:, 0]) <= set(range(7))
            clock["now"] += costs[network, runtime] * len(given)
            return np.tile([1.0, 0.0], (len(given), 1))

        return latency.Variant(network, runtime, run)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock["now"])
    table = last(latency.measure([variant(*key) for key in costs], images)).table
    assert list(zip(table.network, table.runtime, strict=True)) == list(costs)
    for row, cost in zip(table.itertuples(), costs.values(), strict=True):
        assert (row.one_q1, row.one_median, row.one_q3) == pytest.approx([cost] * 3)
        # Many are said as images a second.
        assert (row.many_q1, row.many_median, row.many_q3) == pytest.approx([1 / cost] * 3)
    # Each runtime with its own dense network, and SciPy with NumPy's.
    assert table.one_faster.tolist() == pytest.approx([1, 2, 1, 4])
    assert table.many_faster.tolist() == pytest.approx([1, 2, 1, 4])
    for (network, _), lengths in seen.items():
        checked = network != "dense"
        assert lengths.count(latency.BATCH) == latency.IMAGES // latency.BATCH + checked
        assert set(lengths) == {1, latency.BATCH}
    # One image as often as takes two milliseconds: the fast ones more often.
    ones = [lengths.count(1) for lengths in seen.values()]
    rounds = latency.ROUNDS * latency.IMAGES // latency.BATCH
    assert [count // rounds for count in ones] == [1 + 2, 1 + 4, 1 + 1, 1 + 1]


def test_a_close_call_that_falls_the_other_way_is_no_other_network(kernels):
    images = np.random.default_rng(0).random((1_000, 20), np.float32)
    dense, pruned, compacted, _ = latency.in_numpy(kernels, prune(kernels, "unit", 0.3))

    def one_other(seen):
        answers = compacted.run(seen)
        answers[:1] = -answers[:1]
        return answers

    assert (
        last(latency.measure([dense, pruned, dataclasses.replace(compacted, run=one_other)], images)).table is not None
    )


def test_networks_that_differ_are_not_timed(kernels):
    dense, pruned, compacted, _ = latency.in_numpy(kernels, prune(kernels, "unit", 0.3))
    other = dataclasses.replace(compacted, run=lambda images: -compacted.run(images))
    with pytest.raises(ValueError, match="nothing was timed"):
        last(latency.measure([dense, pruned, other], np.random.default_rng(0).random((50, 20), np.float32)))


def test_what_is_kept_of_all_rounds_is_the_median_and_the_quartiles():
    variants = [latency.Variant(name, "NumPy", lambda images: images) for name in ("dense", "compacted")]
    rounds = np.arange(101.0)[::-1] + 1
    table = latency._table(variants, np.stack([rounds, rounds / 4], axis=1), np.stack([rounds, rounds / 2], axis=1))
    assert table.filter(regex="one_").values.tolist() == [[51, 26, 76, 1], [51 / 4, 26 / 4, 76 / 4, 4]]
    quartiles = np.percentile(latency.BATCH / rounds, (50, 25, 75)).tolist()
    assert table.filter(regex="many_").values.tolist() == [[*quartiles, 1], [*(2 * each for each in quartiles), 2]]


def test_what_is_slower_is_said():
    rows = [
        {"network": "dense", "runtime": "NumPy", "one_faster": 1.0, "many_faster": 1.0},
        {"network": "compacted", "runtime": "NumPy", "one_faster": 2.0, "many_faster": 0.97},
        {"network": "sparse", "runtime": "SciPy", "one_faster": 0.2, "many_faster": 1.5},
    ]
    assert latency.in_words(pd.DataFrame(rows)) == [
        "Sparse rows in SciPy are 5.0 times as slow as the dense network for one image."
    ]
    assert latency.fastest({"rows": rows}) == 2.0
    # Of networks in NumPy or SciPy only, and of none that is not smaller.
    others = [("compacted", "LiteRT"), ("pruned", "NumPy"), ("dense", "NumPy")]
    more = [{"network": network, "runtime": runtime, "one_faster": 9.0} for network, runtime in others]
    assert latency.fastest({"rows": rows + more}) == 2.0
    assert latency.fastest({"rows": [*rows, rows[2] | {"one_faster": 3.0}]}) == 3.0
    assert np.isnan(latency.fastest({"rows": more}))
    slow = pd.DataFrame([rows[1] | {"one_faster": 0.5, "many_faster": 0.94}, rows[0] | {"one_faster": 0.1}])
    assert latency.in_words(slow) == [
        "The compacted network in NumPy is 2.0 times as slow as the dense network for one image.",
        "The compacted network in NumPy is 1.1 times as slow as the dense network for many images.",
    ]
    assert np.isnan(latency.fastest(None))


def test_the_machine_is_named(monkeypatch):
    assert f"{os.cpu_count()} cores" in latency.machine()
    about = ["processor\t: 0", "model name\t: A processor", "model name\t: Another"]
    monkeypatch.setattr(latency, "_lines", lambda path: about if str(path) == "/proc/cpuinfo" else [])
    assert latency.machine() == f"A processor, {os.cpu_count()} cores, {platform.system()}"
    # Where no such file is, or it names none, the system does.
    about.clear()
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert latency.machine().startswith(f"{platform.machine()}, ")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert latency.machine().startswith("arm, ")
    assert latency.versions(["numpy"]) == {"numpy": np.__version__}


def test_a_measurement_is_kept_with_its_network(full):
    criterion = Criterion("unit")
    last(measured(full, criterion, 0.5))
    record = full.speed(criterion.key(0.5))
    assert record["source"] == full.version()
    assert (record["threads"], record["machine"]) == (1, latency.machine())
    assert [row["network"] for row in record["rows"]] == list(footprint.NETWORKS)
    assert latency.fastest(record) > 0
    last(measured(full, criterion, [0.5, 0.9]))
    assert full.speed(criterion.key([0.5, 0.9]))
    # A file that says something else counts as none, and that of another network is not kept.
    layout.speed(full.folder, criterion.key(0.5)).write_text("[")
    assert full.speed(criterion.key(0.5)) is None
    full.keep_speed(criterion.key(0.7), record, "an earlier network")
    assert full.speed(criterion.key(0.7)) is None


def test_the_sparsities_of_the_flag():
    assert chosen_sparsities("0.9,0.5", 2) == [0.5, 0.9]
    assert chosen_sparsities("0.9:0.5", 2) == [(0.9, 0.5)]
    for text in ("0.9:0.5", "a:b:c", "2:0:0"):
        with pytest.raises(ValueError, match="one number from 0 to 1 for each of the 3 hidden layers"):
            chosen_sparsities(text, 3)


def test_a_measurement_is_read_in_units_that_people_use():
    row = {"network": "compacted", "runtime": "NumPy", "one_faster": 2.04, "many_faster": 10.0}
    row |= {"one_median": 1.5e-5, "one_q1": 1.25e-5, "one_q3": 2.5e-3}
    row |= {"many_median": 120_000.0, "many_q1": 99_999.0, "many_q3": 1_234_567.0}
    head, said = readable(pd.DataFrame([row])).splitlines()
    assert head.split() == "network runtime one image faster images a second faster".split()
    for words in ("NumPy", "15.0 µs (12.5–2,500.0)", "2.0×", "120,000 (99,999–1,234,567)", "10.0×"):
        assert words in said


def test_a_runtime_computes_with_as_many_threads_as_it_may(kernels, monkeypatch):
    from ai_edge_litert import interpreter

    class Session:
        def __init__(self, data, options, providers):
            asked.append((data, options.intra_op_num_threads, options.inter_op_num_threads, providers))

    class Interpreter:
        get_input_details = get_output_details = lambda self: [{}]

        def __init__(self, model_content, num_threads):
            asked.append((model_content, num_threads))

    asked = []
    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    monkeypatch.setattr(interpreter, "Interpreter", Interpreter)
    for convert in (runtimes.onnx, runtimes.litert):
        monkeypatch.setattr(convert, "convert", lambda network, pixels: (network, pixels))
    small = compact(kernels)
    runtimes.in_onnx(small, 20, 3)
    runtimes.in_litert(small, 20, 3)
    assert asked == [((small, 20), 3, 3, ["CPUExecutionProvider"]), ((small, 20), 3)]


def test_every_runtime_gets_the_network_in_every_form_unless_nothing_is_left_of_it(kernels, monkeypatch):
    loaded = []

    def load(form, pixels, threads):
        loaded.append((form.multiply_adds, pixels, threads))

    monkeypatch.setattr(runtimes, "available", lambda: ["Mine"])
    monkeypatch.setitem(runtimes.RUNTIMES, "Mine", ((), load))
    pruned = prune(kernels, "unit", 0.5)
    found = variants(kernels, pruned, threads=3)
    assert [each.network for each in found if each.runtime == "Mine"] == ["dense", "pruned", "compacted"]
    dense = sum(kernel.size for kernel in kernels)
    assert loaded == [(dense, 20, 3), (dense, 20, 3), (compact(pruned).multiply_adds, 20, 3)]
    assert not [each for each in variants(kernels, prune(kernels, "weight", 1)) if each.runtime == "Mine"]


def run_speed(run, *flags):
    return run_command("speed", f"--run={run.id}", f"--output_dir={run.root}", *flags)


def test_the_command_measures_and_says_what_came_out(full):
    done = run_speed(full, "--method=unit", "--sparsity=0.5,0.9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("compacted, sparse (CSR)") == 2
    assert latency.machine() in done.stdout
    record = full.speed(Criterion("unit").key(0.9))
    runtimes_of = {}
    for row in record["rows"]:
        runtimes_of.setdefault(row["runtime"], []).append(row["network"])
    held = ["dense", "pruned", "compacted"]
    assert runtimes_of == {"NumPy": held, "SciPy": ["sparse"], "ONNX Runtime": held, "LiteRT": held}
    assert {*record["versions"]} == {"numpy", "scipy", "onnxruntime", "ai-edge-litert"}
    assert "Assets written" not in done.stderr
    refused = run_speed(full, "--recovery=repair", "--sparsity=0.5")
    assert refused.returncode == 1
    assert "Repair it at this k first" in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = run_speed(full, "--threads=99999999999")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "threads" in refused.stderr


def test_on_a_terminal_a_bar_grows_with_the_measurement(full, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    chosen = {"method": "unit", "recovery": "none", "ranking": "magnitude", "scope": "layer", "threads": 1}
    monkeypatch.setattr(
        flags, "FLAGS", SimpleNamespace(run=full.id, sparsity="0.9", **chosen, flag_values_dict=lambda: chosen)
    )
    monkeypatch.setattr(command, "chosen_path", lambda name: full.root)
    speed.main([])
    drawn = [each for each in re.split(r"[\r\n]", screen.getvalue()) if each.startswith("Measuring")]
    parts = [int(part) for each in drawn for part in re.findall(r"(\d+)%", each)]
    assert len(parts) == len(drawn) > 1, drawn
    assert parts == sorted(parts)
    assert 50 < parts[-1] <= 100


def note_taken():
    """Wait until what a process said has been read."""
    for thread in threading.enumerate():
        if "note_failure" in thread.name:
            thread.join(30)


def test_a_measurement_can_be_watched_and_stopped(full):
    criterion = Criterion("weight")
    assert jobs.work_on(full, jobs.SPEED) is None
    jobs.start_measuring(full, criterion, [k / 100 for k in range(100)])
    assert jobs.work_on(full, jobs.SPEED).total == 100
    # A second one waits for nobody.
    jobs.start_measuring(full, Criterion("unit"), [0.5])
    jobs.stop_work(full, jobs.SPEED)
    with full.lock("speed", timeout=60):
        pass
    assert jobs.work_on(full, jobs.SPEED) is None
    assert full.speed(Criterion("unit").key(0.5)) is None
    assert full.speed(criterion.key(0.99)) is None
    note_taken()
    assert jobs.work_problem(full, jobs.SPEED) is None, "to be stopped is no failure"


def test_why_a_measurement_failed_is_known(full):
    # It fails so early that it may be over before it is seen to have begun.
    with contextlib.suppress(JobError):
        jobs.start_measuring(full, Criterion("unit", "admm", recovery="repair"), [0.5])
    with full.lock("speed", timeout=60):
        pass
    note_taken()
    assert jobs.work_problem(full, jobs.SPEED) == (
        f"Run {full.id} has no repaired network of unit pruning at k = 0.5. Repair it at this k first."
    )


def test_a_network_trained_on_is_as_fast_as_it_was_measured(full, monkeypatch):
    """The measurement is kept with the parent, and counts as long as the child is the one that was measured."""
    child = runs.open_run("child", full.root)
    shutil.copytree(full.folder, child.folder)
    # An earlier version did not count multiply-adds.
    child.sweep().drop(columns="multiply_adds").to_csv(child.folder / layout.SWEEP, index=False)
    monkeypatch.setattr(comparison, "children", lambda run: [child] if run == full else [])
    config = dataclasses.replace(recovery_of(full), method="unit", sparsity=0.5)
    monkeypatch.setattr(runs.Run, "config", lambda run, own=runs.Run.config: config if run == child else own(run))
    monkeypatch.setattr(RecoveryConfig, "layer_shapes", full.config().layer_shapes, raising=False)
    key = fine_tuned_by("unit").key(0.5)
    last(measured(full, Criterion("unit"), 0.5))
    record = json.loads(layout.speed(full.folder, Criterion("unit").key(0.5)).read_text())
    record["rows"] = [row | {"one_faster": 3.0} for row in record["rows"] if row["network"] == "compacted"]
    for source, expected in ((child.version(), 3.0), ("earlier", np.nan)):
        full.keep_speed(key, record | {"source": source}, full.version())
        (row,) = comparison.rows_of_children(full).to_dict("records")
        assert row["faster"] == pytest.approx(expected, nan_ok=True)
        assert row["multiply_adds"] == compact(child.kernels()).multiply_adds


def recovery_of(run):
    return RecoveryConfig(run.config(), run.id, "finetune", "unit", sparsity=0.5, epochs=1)


def test_records_are_json_that_others_read(full):
    last(measured(full, Criterion("unit"), 0.9))
    path = layout.speed(full.folder, Criterion("unit").key(0.9))
    assert json.loads(path.read_text())["images"] == latency.IMAGES
