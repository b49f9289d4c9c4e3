"""Faults on purpose: processes are killed, disks full, files damaged, clocks jump. Nothing finished may be lost.

    pytest -m faults

Not part of the usual run. After each fault: no finished run is damaged, none is listed that cannot be read, the next
attempt succeeds and gives the same network, and nothing was written outside the cache.
"""

import collections
import concurrent.futures
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import runs
from core.errors import KnownError
from core.jobs import open_queue
from core.runs import Phase, layout
from core.settings import PROJECT
from tests import faults
from tests.commands import run_command
from tests.faults import CONFIG, OTHERS

pytestmark = pytest.mark.faults

COUNTS = collections.Counter()
AT_ONCE = 3
COMMIT_EVENTS = 45
"""What a replacement does after it has trained; the events before are those of a first training."""


@pytest.fixture(autouse=True)
def any_disk(monkeypatch):
    """Disks of two megabytes are wanted here."""
    monkeypatch.setenv("NETWORK_PRUNING_MIN_FREE_MB", "0")


@pytest.fixture(scope="module", autouse=True)
def counts(pytestconfig):
    yield
    names = ("injected", "survived", "lost", "written outside the cache")
    line = ", ".join(f"{name} {COUNTS[name]:,}" for name in names)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nFaults: {line}; {COUNTS['went on']:,} trainings went on from an epoch.")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A cache with one complete run, drawn. Tests must not change it."""
    root = tmp_path_factory.mktemp("faults") / "cache"
    root.mkdir()
    for action in (faults.train, faults.draw):
        end = faults.run(action, root)
        assert end.code == 0, end.error
    return root


@pytest.fixture(scope="module")
def kernels(complete):
    return runs.open_run(CONFIG.run_id, complete).kernels()


def new_cache(tmp_path, name, complete=None):
    root = tmp_path / str(name) / "cache"
    if complete is None:
        root.mkdir(parents=True)
    else:
        shutil.copytree(complete, root)
    return root


def inject(check, faults_of_it):
    """Check every fault, some at a time, and count what came of it."""

    def one(fault):
        COUNTS["injected"] += 1
        try:
            check(fault)
        except Exception as error:
            COUNTS["lost"] += 1
            return f"{fault}: {type(error).__name__}: {error}"
        COUNTS["survived"] += 1
        return None

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        lost = [problem for problem in pool.map(one, faults_of_it) if problem]
    assert not lost, f"{len(lost)} lost:\n" + "\n".join(lost[:20])


def do(action, root, **fault):
    """Do it, and see that nothing was written outside the cache, and no error was a traceback."""
    end = faults.run(action, root, **fault)
    COUNTS["written outside the cache"] += len(end.outside)
    assert not end.outside, f"written outside the cache: {end.outside}"
    assert end.code == 0 or end.is_known or (end.code == -signal.SIGKILL and fault.get("kill_at")), end.error
    return end


def all_is_well(root, kernels, must_be=()):
    """No run is listed that cannot be read, and those that were complete are."""
    listed = runs.list_runs(root)
    assert {*must_be} <= {run.id for run in listed if run.is_complete()}, "a finished run is gone"
    for run in listed:
        assert run.config() == CONFIG
        training = run.training()
        assert training is None or training.phase.has_ended
        if run.is_complete():
            whole(run, kernels)
    assert len(runs.runs_table(root)) == len(listed)
    return listed


def whole(run, kernels):
    assert run.version()
    for kernel, expected in zip(run.kernels(), kernels, strict=True):
        np.testing.assert_array_equal(kernel, expected)
    assert run.history().epoch.tolist() == [1, 2]
    sweep = run.sweep()
    assert len(sweep)
    assert 0.5 in set(sweep.sparsity)
    assert len(run.activations()) == len(kernels)


def next_attempt(root, kernels, action=faults.train):
    end = do(action, root)
    assert end.code == 0, f"the next attempt failed: {end.error}"
    run = runs.open_run(CONFIG.run_id, root)
    assert run.is_complete()
    assert not run.part.exists()
    assert not run.old.exists()
    assert not (run.folder / layout.CHECKPOINT).exists()
    whole(run, kernels)


def seen_by_a_user(root, monkeypatch):
    """What the page Training says of the run."""
    monkeypatch.setenv("NETWORK_PRUNING_CACHE", str(root))
    app = AppTest.from_file(str(PROJECT / "pages" / "training.py"), default_timeout=60)
    values = CONFIG.to_dict() | {"hidden_units": "8,6"}
    for name in ("dataset", "epochs", "batch_size", "learning_rate", "hidden_units"):
        app.query_params[name] = str(values[name])
    app.run()
    assert not app.exception
    return " ".join(each.value for each in (*app.error, *app.warning, *app.markdown)), {each.key for each in app.button}


# Killed


def test_killed_while_it_trains(tmp_path, kernels, monkeypatch):
    events = do(faults.train, new_cache(tmp_path, "all")).events
    assert events > 80
    states, lock = {}, threading.Lock()

    def check(event):
        root = new_cache(tmp_path, event)
        assert do(faults.train, root, kill_at=event).code == -signal.SIGKILL
        all_is_well(root, kernels)
        run = runs.open_run(CONFIG.run_id, root)
        COUNTS["went on"] += bool(run.kept_epochs())
        with lock:
            training = run.training()
            state = training and training.phase, run.is_complete(), run.kept_epochs()
            if state not in states:
                states[state] = shutil.copytree(root, tmp_path / f"seen-{len(states)}")
        next_attempt(root, kernels)
        shutil.rmtree(root)

    inject(check, range(1, events + 1))
    # What the page says, once for everything that it can find.
    assert len(states) >= 4
    for (phase, is_complete, kept), root in states.items():
        said, buttons = seen_by_a_user(root, monkeypatch)
        if phase == Phase.INTERRUPTED:
            assert "The process that was training this network is gone" in said
            assert (f"It goes on from the end of epoch {kept}." in said) == bool(kept)
            assert {"train_again", "discard"} <= buttons
        elif not is_complete:
            assert "not been trained" in said
            assert "train" in buttons
        else:
            assert "retrain" in buttons


def test_killed_while_it_replaces_a_run(tmp_path, complete, kernels):
    events = do(faults.replace, new_cache(tmp_path, "all", complete)).events

    def check(event):
        root = new_cache(tmp_path, event, complete)
        do(faults.replace, root, kill_at=event)
        all_is_well(root, kernels, must_be=[CONFIG.run_id])
        next_attempt(root, kernels, faults.replace)
        shutil.rmtree(root)

    inject(check, range(events - COMMIT_EVENTS, events + 1))


@pytest.mark.parametrize("action", [faults.sweep, faults.work, faults.draw], ids=lambda action: action.__name__)
def test_killed_while_it_adds_to_a_run(tmp_path, complete, kernels, action):
    begin = tmp_path / "begin"
    shutil.copytree(complete, begin)
    for name in (layout.TRAINING_FIGURE, layout.PRUNING_FIGURE, layout.RESULTS, *layout.GIFS.values()):
        (begin / CONFIG.run_id / name).unlink()
    events = do(action, new_cache(tmp_path, "all", begin)).events

    def check(event):
        root = new_cache(tmp_path, event, begin)
        assert do(action, root, kill_at=event).code == -signal.SIGKILL
        all_is_well(root, kernels, must_be=[CONFIG.run_id])
        assert do(action, root).code == 0
        run = runs.open_run(CONFIG.run_id, root)
        whole(run, kernels)
        assert run.is_drawn() if action is faults.draw else {0.25, 0.75} <= set(run.sweep().sparsity)
        shutil.rmtree(root)

    inject(check, range(1, events + 1))


def test_killed_while_it_deletes(tmp_path, complete, kernels):
    events = do(faults.delete, new_cache(tmp_path, "all", complete)).events

    def check(event):
        root = new_cache(tmp_path, event, complete)
        assert do(faults.delete, root, kill_at=event).code == -signal.SIGKILL
        # The run is there, whole, or not there at all.
        all_is_well(root, kernels)
        assert do(faults.delete, root).code == 0
        assert runs.list_runs(root) == []
        shutil.rmtree(root)

    inject(check, range(1, events + 1))


def test_killed_while_it_queues(tmp_path):
    events = do(faults.queue, new_cache(tmp_path, "all")).events

    def check(event):
        root = new_cache(tmp_path, event)
        assert do(faults.queue, root, kill_at=event).code == -signal.SIGKILL
        queue = open_queue(root)
        assert not queue.is_working()
        entries = queue.entries()
        assert {entry.config for entry in entries} <= {*OTHERS}
        assert {entry.status for entry in entries} <= {"waiting", "failed"}
        assert do(faults.queue, root).code == 0
        assert queue.entries() == []
        assert list(queue.folder.glob("*.json")) == []
        shutil.rmtree(root)

    inject(check, range(1, events + 1))


def test_the_server_is_killed_and_the_training_goes_on(cache):
    config = OTHERS[0]
    code = (
        "import signal, sys, os; from core import jobs, runs; from core.config import read_config; import json\n"
        "config = read_config(json.loads(sys.argv[1])); jobs.start_training(runs.open_run(config.run_id), config)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    COUNTS["injected"] += 1
    done = subprocess.run([sys.executable, "-c", code, json.dumps(config.to_dict())], cwd=PROJECT)
    assert done.returncode == -signal.SIGKILL
    run = runs.open_run(config.run_id)
    assert run.is_training() or run.is_complete()
    until(lambda: not run.is_training())
    assert run.is_complete()
    COUNTS["survived"] += 1


def until(condition, seconds=120):
    for _ in range(seconds * 20):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("waited in vain")


# A full disk


SCORED = (layout.SWEEP, layout.PREDICTIONS)


def sizes_around(folder):
    """By what writes the files: every size that one of them has, and one byte less."""
    sizes = collections.defaultdict(set)
    for path in folder.rglob("*"):
        if path.is_file():
            drawn = path.suffix in (".png", ".gif") or path.name == layout.RESULTS
            actions = [faults.draw] if drawn else [faults.train, *([faults.sweep] if path.name in SCORED else [])]
            for action in actions:
                sizes[action] |= {0, 1, path.stat().st_size - 1, path.stat().st_size}
    return [(action, size) for action, some in sizes.items() for size in sorted(some)]


def test_no_file_can_be_larger_than_that(tmp_path, complete, kernels):
    sizes = sizes_around(complete / CONFIG.run_id)
    assert len(sizes) > 30

    def check(fault):
        action, size = fault
        root = new_cache(tmp_path, f"{action.__name__}-{size}", None if action is faults.train else complete)
        end = do(action, root, file_size=size)
        all_is_well(root, kernels, must_be=[] if action is faults.train else [CONFIG.run_id])
        if end.code:
            assert end.error.startswith(("Cannot ", "Training of")) or "too large" in end.error, end.error
            assert re.search("Free some space|[Aa]llow larger", end.error), end.error
        next_attempt(root, kernels)
        assert do(action, root).code == 0
        shutil.rmtree(root)

    inject(check, sizes)


@pytest.fixture
def disk(tmp_path):
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk, free):
    with open(disk / "filler", "wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - free))


def test_the_disk_is_full(disk, kernels):
    def check(free):
        root = disk / "cache"
        root.mkdir()
        fill(disk, free)
        end = do(faults.train, root)
        assert (end.code == 0) or "Free some space" in end.error, end.error
        all_is_well(root, kernels, must_be=[] if end.code else [CONFIG.run_id])
        (disk / "filler").unlink()
        next_attempt(root, kernels)
        shutil.rmtree(root)

    for free in range(0, 240 * 1024, 12 * 1024):
        inject(check, [free])


def test_a_grid_on_an_almost_full_disk_starts_nothing_and_ends(disk):
    COUNTS["injected"] += 1
    root = disk / "cache"
    open_queue(root).add(OTHERS)
    fill(disk, 8192)
    command = ["--dataset=optdigits", "--epochs=2", "--hidden_units=8,6", "--batch_size=1237", "--learning_rate=0.01"]
    done = run_command("grid", *command, "--seed=1-2", f"--output_dir={root}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "too full for a training of" in done.stderr
    assert len(open_queue(root).entries()) == 2
    assert not list(root.glob("*.part"))
    COUNTS["survived"] += 1


# Damaged files


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": _flip,
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "replaced": lambda path: path.write_bytes(b'{"not": "this"}'),
}


def test_each_file_of_a_run_is_damaged(tmp_path, complete, kernels):
    """Whoever reads it gets what was there or a sentence; trained or deleted again, it is whole or gone."""
    names = sorted(path.name for path in (complete / CONFIG.run_id).iterdir() if path.is_file())
    assert len(names) > 10

    def check(fault):
        name, damage = fault
        root = new_cache(tmp_path, f"{name}-{damage}", complete)
        run = runs.open_run(CONFIG.run_id, root)
        DAMAGES[damage](run.folder / name)
        runs.runs_table(root)
        for read in (run.config, run.result, run.kernels, run.activations, run.history, run.sweep, run.predictions):
            try:
                value = read()
            except KnownError:
                continue
            if read == run.kernels:
                for kernel, expected in zip(value, kernels, strict=True):
                    np.testing.assert_array_equal(kernel, expected)
        if damage in ("truncated", "deleted"):
            next_attempt(root, kernels, faults.replace)
        do(faults.delete, root)
        assert runs.list_runs(root) == []
        shutil.rmtree(root)

    inject(check, list(itertools.product(names, DAMAGES)))


# At once


def test_eight_trainings_of_one_configuration(tmp_path, kernels):
    root = new_cache(tmp_path, "eight")
    COUNTS["injected"] += 1
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda _: do(faults.train, root), range(8)))
    assert [end.code for end in ends] == [0] * 8
    all_is_well(root, kernels, must_be=[CONFIG.run_id])
    assert not runs.open_run(CONFIG.run_id, root).part.exists()
    COUNTS["survived"] += 1


def test_deleted_and_trained_while_somebody_prunes(tmp_path, complete, kernels):
    root = new_cache(tmp_path, "busy", complete)
    run, ended, problems = runs.open_run(CONFIG.run_id, root), threading.Event(), []

    def prune():
        while not ended.is_set():
            try:
                if run.is_complete():
                    whole(run, kernels)
                    do(faults.sweep, root)
            except KnownError:
                pass  # it was deleted between two looks
            except AssertionError as error:
                # Likewise, if it is not there any more; what is there must be right.
                if run.is_complete():
                    problems.append(error)

    def check(_):
        assert do(faults.delete, root).code == 0
        next_attempt(root, kernels)
        assert not problems

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pruning = pool.submit(prune)
        try:
            for turn in range(6):
                inject(check, [turn])
        finally:
            ended.set()
        pruning.result()


@pytest.mark.parametrize("action", [faults.train, faults.replace, faults.queue], ids=lambda action: action.__name__)
def test_the_clock_jumps(tmp_path, complete, kernels, action):
    def check(seconds):
        root = new_cache(tmp_path, seconds, complete if action is faults.replace else None)
        assert do(action, root, jump=seconds).code == 0
        all_is_well(root, kernels, must_be=[] if action is faults.queue else [CONFIG.run_id])
        if action is not faults.queue:
            assert do(faults.sweep, root, jump=-seconds).code == 0
            assert {0.25, 0.75} <= set(runs.open_run(CONFIG.run_id, root).sweep().sparsity)

    inject(check, [3600.0, 86400.0 * 400])
