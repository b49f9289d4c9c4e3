"""What is scored in the background: by one process at a time, what was touched last first, and what pages say of it."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import requests, runs, settings, turns, worker
from core.errors import RunWriteError
from core.files import lock_at
from core.runs import layout
from core.scoring import experiment, unscored_of
from core.settings import PROJECT
from core.sweep import Criterion
from tests.conftest import SMALL

REPAIRED = Criterion("unit", "admm", recovery="repair")


@pytest.fixture
def two(trained_run, cache):
    """Two runs of the same network; of their scores nothing is known."""
    shutil.copytree(trained_run.root / "datasets", cache / "datasets")
    return [unscored_run(trained_run, cache, seed) for seed in (1, 2)]


def unscored_run(run, root, seed):
    config = dataclasses.replace(SMALL, seed=seed)
    folder = root / config.run_id
    shutil.copytree(run.folder, folder)
    (folder / layout.CONFIG).write_text(json.dumps(config.to_dict()))
    for name in (layout.SWEEP, layout.PREDICTIONS):
        (folder / name).unlink()
    return runs.open_run(config.run_id, root)


def work(root):
    """Until nothing is asked for. Code that would never get there is ended, so that its test fails."""
    ended, looks = threading.Event(), itertools.count()
    ended.is_set = lambda: next(looks) > 1_000
    worker.work(root, ended, idle_seconds=0)


@pytest.fixture
def order(monkeypatch):
    """Notes which run each step is of, and calls what stands at its place before that step."""
    order, before, takes = [], {}, turns.Turn.take

    def take(turn, wanted):
        has = takes(turn, wanted)
        if has:
            order.append(wanted.run)
            before.get(len(order), lambda: None)()
        return has

    monkeypatch.setattr(turns.Turn, "take", take)
    return SimpleNamespace(runs=order, before=before)


def scored(run, criterion):
    table = run.sweep()
    return [] if table.empty else criterion.select(table).sparsity.tolist()


def test_what_is_asked_for_is_scored(two):
    first, second = two
    requests.ask(first, experiment([0.25]))
    requests.ask(second, [(REPAIRED, [0.9])])
    work(first.root)
    assert scored(first, Criterion("weight")) == scored(first, Criterion("unit")) == [0.25]
    assert scored(second, REPAIRED) == [0.9]
    assert second.network(REPAIRED.key(0.9))
    assert requests.asked_runs(first.root) == []
    assert turns.at_work(first.root) is None


def test_the_run_touched_last_comes_first(two, order):
    first, second = two
    for run in two:
        requests.ask(run, experiment([0.1, 0.2, 0.3]))
        requests.touch(run)
    # In the midst of it, the other one is touched again.
    order.before[4] = lambda: requests.touch(first)
    work(first.root)
    changes = [run for run, before in zip(order.runs, [None, *order.runs], strict=False) if run != before]
    assert changes == [second.id, first.id, second.id]
    assert all(scored(run, Criterion(method)) == [0.1, 0.2, 0.3] for run in two for method in ("weight", "unit"))


def test_what_is_asked_last_comes_first_and_once(two):
    run, _ = two
    requests.ask(run, [(REPAIRED, [0.5]), *experiment([0.5])])
    requests.ask(run, [(Criterion("unit"), [0.5, 1 / 3])])
    asked = [(Criterion("unit"), 0.5), (Criterion("unit"), 1 / 3), (REPAIRED, 0.5), (Criterion("weight"), 0.5)]
    assert requests.steps(run) == asked
    requests.drop(run, asked[1:])
    assert requests.steps(run) == asked[:1]


def test_nonsense_is_not_asked_for(two):
    run, _ = two
    requests.ask(run, experiment([0.5]))
    path = layout.asked(run.root, run.id)
    for text in ("", "curve", "weight", "weight,a,layer,x,0.5", "unit,magnitude,layer,0,nan"):
        path.write_text(text)
        assert requests.steps(run) == []
    work(run.root)
    assert requests.asked_runs(run.root) == []
    # What looks like a step is one that fails, and is not tried for ever.
    path.write_text("a,b,c,0,0.5")
    work(run.root)
    assert requests.asked_runs(run.root) == []
    assert requests.problem(run).startswith("Unexpected error: ValueError: ")


def test_a_run_that_cannot_be_scored_keeps_no_other_from_it(two):
    first, second = two
    for run in two:
        requests.ask(run, experiment([0.5]))
        requests.touch(run)
    (second.folder / layout.KERNELS).write_bytes(b"damaged")
    work(first.root)
    assert scored(first, Criterion("weight")) == [0.5]
    assert "kernels.npz" in requests.problem(second)
    assert requests.problem(first) is None
    # It is whole again.
    shutil.copy(first.folder / layout.KERNELS, second.folder / layout.KERNELS)
    requests.ask(second, experiment([0.5]))
    work(first.root)
    assert requests.problem(second) is None
    assert scored(second, Criterion("weight")) == [0.5]
    second.delete()
    requests.note_problem(second, "It was deleted.")
    assert not layout.asked_log(second.root, second.id).exists()


def test_a_run_that_another_process_scores_is_left_to_it(two):
    first, second = two
    for run in two:
        requests.ask(run, experiment([0.5]))
    with second.lock("curve"):
        work(first.root)
    assert (scored(first, Criterion("weight")), scored(second, Criterion("weight"))) == ([0.5], [])
    assert requests.asked_runs(first.root) == [second]


def test_a_second_worker_of_a_cache_ends_at_once(two):
    run, _ = two
    requests.ask(run, experiment([0.5]))
    with lock_at(layout.worker_lock(run.root, turns.machine())):
        worker.work(run.root, threading.Event(), idle_seconds=60)
    assert scored(run, Criterion("weight")) == []


def test_a_worker_ends_when_it_is_told_to(two, order):
    run, _ = two
    ended = threading.Event()
    requests.ask(run, experiment())
    order.before[3] = ended.set
    worker.work(run.root, ended, idle_seconds=60)
    assert len(run.sweep()) < 5
    assert requests.asked_runs(run.root) == [run]
    work(run.root)
    assert not unscored_of(run, experiment(), with_predictions=True)


def of(run, what, touched):
    return turns.Work(str(run.root), run.id, what, touched)


def test_one_process_has_the_turn_and_gives_way_to_what_was_touched_later(two):
    first, second = two
    with turns.Turn(first.root) as one, turns.Turn(second.root) as other:
        assert one.take(of(first, turns.SCORES, 5))
        assert turns.at_work(first.root).run == first.id
        assert not other.take(of(second, turns.SCORES, 4))
        assert one.take(of(first, turns.SCORES, 5))
        assert not other.take(of(second, turns.SPEED, 6))
        assert not one.take(of(first, turns.SCORES, 5))
        assert other.take(of(second, turns.SPEED, 6))
        assert (turns.at_work(first.root).run, turns.at_work(first.root).what) == (second.id, turns.SPEED)
        other.give_back()
        assert one.take(of(first, turns.SCORES, 5))
    assert turns.at_work(first.root) is None
    assert {path.suffix for path in turns.folder(first.root).iterdir()} <= {""}


def test_a_process_that_was_killed_has_no_turn(two):
    run, _ = two
    with turns.Turn(run.root) as killed:
        killed.take(of(run, turns.SCORES, 9))
        (said,) = turns.folder(run.root).glob("*.json")
        text = said.read_text()
    said.write_text(text)
    assert turns.at_work(run.root) is None
    with turns.Turn(run.root) as turn:
        assert turn.take(of(run, turns.SCORES, 1))
        assert not said.exists()


def test_turns_are_of_one_user_and_machine(cache, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(turns.tempfile, "tempdir", str(tmp_path))
    user = os.getuid() if hasattr(os, "getuid") else "user"
    assert turns.folder(cache) == tmp_path.resolve() / f"network-pruning-{user}"
    # A link of another user's making is not followed, and without a temporary folder it is in the cache.
    own = turns.folder(cache)
    own.rmdir()
    own.symlink_to(cache)
    monkeypatch.setattr(turns.socket, "gethostname", lambda: "a/b c")
    assert turns.folder(cache) == cache / ".locks" / "turns-a_b_c"
    own.unlink()
    monkeypatch.setattr(turns.tempfile, "tempdir", str(Path.cwd()))
    assert turns.folder(cache) == cache / ".locks" / "turns-a_b_c"


def test_a_repair_says_how_far_it_is(two, monkeypatch):
    run, _ = two
    stages, tell = {}, turns.Turn.tell

    def note(turn, work):
        stages.setdefault(work.what, []).append((work.stage, work.part))
        tell(turn, work)

    monkeypatch.setattr(turns.Turn, "tell", note)
    weights = Criterion("weight", "admm", "global", recovery="repair")
    requests.ask(run, [(REPAIRED, [0.9]), (weights, [0.8])])
    work(run.root)
    units, weights = ([*filter(any, stages[key])] for key in (REPAIRED.key(0.9), weights.key(0.8)))
    assert [stage for stage, _ in units] == [
        *(f"{doing} layer {layer} of 3" for layer in (1, 2) for doing in ("choosing the units of", "fitting")),
        "fitting layer 3 of 3",
    ]
    assert weights[0] == ("sharing the sparsity between the layers", 0)
    for parts in ([part for _, part in units], [part for _, part in weights]):
        assert parts == sorted(parts)
        assert 0.9 < parts[-1] < 1


def test_a_cache_that_can_only_be_read_is_told_so(two, monkeypatch):
    run, _ = two
    monkeypatch.setattr(requests.os, "access", lambda path, mode: False)
    with pytest.raises(RunWriteError, match=f"Cannot write scores to {run.folder}: it can only be read here"):
        requests.ask(run, experiment())
    monkeypatch.undo()
    (run.root / ".asked").write_text("in its place")
    with pytest.raises(RunWriteError, match=r"Cannot write to .*\.asked"):
        requests.ask(run, experiment())
    requests.touch(run)  # is no failure


def test_products_of_a_worker_take_one_thread():
    assert settings.one_thread({"A": "b"})["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system does not group by session")
def test_the_session_of_a_worker_is_nice_too():
    code = "from core.turns import take_what_is_left; take_what_is_left(); print(open('/proc/self/autogroup').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, start_new_session=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-2:] == ["nice", "19"]
