import collections
import concurrent.futures
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from core import grid, jobs, requests, runs, turns
from core.config import PARAMETERS, ConfigError, RecoveryConfig, TrainingConfig
from core.errors import CancelledError, DiskFullError, JobError, KnownError, RunError
from core.files import lock_at
from core.grid import expand
from core.jobs import background, exports, open_queue, processes
from core.runs import Phase, layout, write_run
from core.settings import PROJECT, SCHEDULER
from core.sweep import Criterion
from tests.commands import end_work, run_command
from tests.conftest import SMALL


def tiny(seed: int, **others) -> TrainingConfig:
    return TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(20, 10), seed=seed, **others)


def until(condition, seconds=120):
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


@pytest.fixture
def queue(cache):
    yield open_queue(cache)
    end_work(cache)


def test_a_grid_is_every_combination_once():
    configs = expand({"dataset": ["digits", "optdigits"], "seed": [0, 1, 2, 2], "l1_reg": [0, 0.001]})
    assert len(configs) == len(set(configs)) == 12
    assert [config.seed for config in configs[:4]] == [0, 0, 1, 1]
    assert {config.dataset: config.num_valid for config in configs} == {"digits": 10_000, "optdigits": 200}
    assert expand({}) == [TrainingConfig()]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seed": []}, "seed: expected at least one"),
        ({"seed": range(1001)}, "at most 1,000 .* Received: 1,001"),
        ({"momentum": [1]}, "momentum"),
        ({"epochs": [1, 0]}, "epochs"),
    ],
)
def test_a_grid_that_cannot_be_is_explained(values, words):
    with pytest.raises(ConfigError, match=words):
        expand(values)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("seed", "0-4", [0, 1, 2, 3, 4]),
        ("epochs", " 5, 1-2 7", [5, 1, 2, 7]),
        ("l1_reg", "0,1e-3", [0, 0.001]),
        ("dataset", "digits,fashion", ["digits", "fashion"]),
        ("keep_best", "true,False", [True, False]),
        ("hidden_units", "1000,500; 300", [(1000, 500), (300,)]),
    ],
)
def test_lists_are_read_as_people_write_them(name, text, values):
    assert PARAMETERS[name].kind.read(name, text) == values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", ""),
        ("seed", "4-0"),
        ("seed", "-1"),
        ("seed", "0-999999999"),
        ("epochs", "1.5"),
        ("l1_reg", "little"),
        ("dataset", "cifar"),
        ("keep_best", "perhaps"),
        ("hidden_units", "10,x"),
    ],
)
def test_lists_that_cannot_be_read_name_the_field(name, text):
    with pytest.raises(ConfigError, match=name):
        PARAMETERS[name].kind.read(name, text)


def test_every_hyper_parameter_can_be_a_list():
    config = TrainingConfig()
    for name, value in config.to_dict().items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        assert expand({name: PARAMETERS[name].kind.read(name, text)}) == [config]


def test_adding_twice_adds_once_and_keeps_the_order(queue):
    configs = [tiny(seed) for seed in (3, 1, 2)]
    assert queue.add(configs) == 3
    assert queue.add([tiny(1), tiny(4)]) == 1
    assert [entry.config.seed for entry in queue.entries()] == [3, 1, 2, 4]
    assert {entry.status for entry in queue.entries()} == {"waiting"}
    assert queue.is_stuck()


def test_what_is_being_trained_or_was_trained_is_not_added(queue, trained_run):
    assert open_queue(trained_run.root).add([trained_run.config()]) == 0
    with write_run(runs.open_run(tiny(0).run_id), tiny(0)) as training:
        assert queue.add([tiny(0)]) == 0
        training.discard()


def test_cancelling_one_and_all(queue):
    queue.add([tiny(seed) for seed in range(4)])
    queue.cancel([tiny(1).run_id])
    assert [entry.config.seed for entry in queue.entries()] == [0, 2, 3]
    with write_run(runs.open_run(tiny(2).run_id), tiny(2)) as training:
        queue.cancel()
        assert queue.entries() == []
        with pytest.raises(CancelledError):
            training.update(Phase.TRAINING)
        training.discard()


def test_a_damaged_ticket_does_not_hide_the_others(queue):
    queue.add([tiny(0), tiny(1)])
    for name, text in [("half", "{"), ("list", "[]"), ("no", json.dumps({"added": 1, "config": {"epochs": 0}}))]:
        (queue.folder / f"{name}.json").write_text(text)
    assert [entry.config.seed for entry in queue.entries()] == [0, 1]


def test_a_failed_training_does_not_stop_the_others(queue, monkeypatch, capsys):
    begun = []

    def train(run, config, ticket):
        begun.append(config.seed)
        if config.seed == 2:
            raise JobError("No space.")
        return jobs.Outcome("It diverged." if config.seed == 0 else None, "here", 1)

    monkeypatch.setattr("core.jobs.queue.train_and_wait", train)
    queue.add([tiny(seed) for seed in range(4)])
    queue.work()
    assert begun == [0, 1, 2, 3]
    assert {entry.config.seed: entry.failure for entry in queue.entries()} == {0: "It diverged.", 2: "No space."}
    assert not queue.is_stuck()
    # Asking for it again is another attempt.
    assert queue.add([tiny(0)]) == 1
    assert queue.is_stuck()


def test_a_ticket_added_while_others_are_trained_is_worked_off_too(queue, monkeypatch):
    def train(run, config, ticket):
        if config.seed < 3:
            queue.add([tiny(config.seed + 1)])
        return jobs.Outcome(None, "here", 1)

    monkeypatch.setattr("core.jobs.queue.train_and_wait", train)
    queue.add([tiny(0)])
    queue.work()
    assert queue.entries() == []


@pytest.fixture
def started(monkeypatch):
    """What is asked of Python in processes of their own, none of which begins: they ended at once, and well."""
    asked = []

    def popen(arguments, env, **options):
        asked.append((arguments[1:], env["NETWORK_PRUNING_CACHE"]))
        said = options.get("stdout")
        assert None not in (said, options.get("stderr")), "it would write to where this process writes"
        if hasattr(said, "write"):
            said.write(b"It was asked for.")
        return subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": popen}))
    return asked


def test_what_is_started_is_what_a_person_would_type(queue, started, trained_run):
    """Each command, with every flag that it is given, in a process that uses the same cache."""
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)
    run, complete = runs.open_run(tiny(0).run_id), runs.open_run(trained_run.id)
    cache, of_run = f"--output_dir={queue.root}", f"--experiment_id={run.id}"
    recovery = RecoveryConfig(SMALL, complete.id, "finetune", "weight", sparsity=0.5, epochs=1)
    trained_on = runs.open_run(recovery.run_id)
    criterion = Criterion("unit", "admm", recovery="repair")
    for_the_app = ["--fine_curve", "--leave_curve"]
    flags = [*tiny(0).to_flags(), *for_the_app]
    jobs.start_training(run, tiny(0))
    jobs.start_training(run, tiny(0), replace=True)
    jobs.start_training(trained_on, recovery)
    queue.start(3)
    background.start_scoring(complete, [(Criterion("weight"), [0.25])])
    # Once the one that was started has ended, another one is.
    processes._workers[queue.root].wait()
    background.start_scoring(complete, [(criterion, [0.5])])
    jobs.start_export(complete, "x.onnx", ["--format=onnx"])
    jobs.start_measuring(complete, Criterion("weight", scope="global"), [0.5, (0.25, 0.75)])
    jobs.start_measuring(complete, criterion, [0.125])
    jobs.start_smallest(complete, [4096, 1024], 7, 3)
    chosen = [f"--run={complete.id}", "--recovery=none", "--method=weight", "--ranking=magnitude", "--scope=global"]
    repaired = [f"--run={complete.id}", "--recovery=repair", "--method=unit", "--support=admm", "--scope=layer"]
    assert [arguments[1:] for arguments, _ in started] == [
        ["core.train", of_run, cache, *flags],
        ["core.train", of_run, cache, *flags, "--force_train"],
        [
            "core.finetune",
            f"--experiment_id={trained_on.id}",
            cache,
            *recovery.to_flags(),
            "--fine_curve",
            "--leave_curve",
        ],
        ["core.grid", "--work", "--jobs=3", cache],
        *[["core.worker", cache]] * 2,
        ["core.export", "--format=onnx"],
        ["core.speed", *chosen, "--sparsity=0.5,0.25:0.75", cache],
        ["core.speed", *repaired, "--sparsity=0.125", cache],
        ["core.smallest", f"--run={complete.id}", "--bytes=1024,4096", "--epochs=7", "--seed=3", cache],
    ]
    assert {(arguments[0], where) for arguments, where in started} == {("-m", str(queue.root))}
    assert requests.steps(complete) == [(criterion, 0.5), (Criterion("weight"), 0.25)]
    assert run.log() == trained_on.log() == "It was asked for."
    for log in (
        layout.worker_log(queue.root),
        layout.export_log(layout.exported(complete.folder, "x.onnx")),
        layout.work_log(queue.root, complete.id, jobs.SPEED),
        layout.work_log(queue.root, complete.id, jobs.SMALLEST),
    ):
        assert log.read_text() == "It was asked for."


def test_a_start_that_fails_leaves_what_would_go_on(queue, started):
    run = runs.open_run(tiny(0).run_id)
    with pytest.raises(KnownError), write_run(run, tiny(0)) as training:
        training.update(runs.Phase.TRAINING, epoch=2, epochs=3)
        raise KnownError("No room.")
    before = run.training()
    jobs.start_training(run, tiny(0))
    assert run.training() == before
    assert runs.damage(run) is None


def test_nothing_is_started_beside_one_that_is_at_it(queue, started, trained_run):
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)
    run, complete = runs.open_run(tiny(0).run_id), runs.open_run(trained_run.id)
    with contextlib.ExitStack() as held:
        for what in ("speed", "tiny", layout.export_lock("x.onnx")):
            held.enter_context(complete.lock(what))
        held.enter_context(lock_at(layout.worker_lock(queue.root, turns.machine())))
        background.start_scoring(complete, [(Criterion("weight"), [0.25])])
        background.start_scoring(complete, [(Criterion("weight").repaired, [0.5])])
        jobs.start_export(complete, "x.onnx", [])
        jobs.start_measuring(complete, Criterion("weight"), [0.5])
        jobs.start_smallest(complete, [1024], 1, 0)
        assert jobs.exporting(complete, "x.onnx") == []
        log = layout.export_log(layout.exported(complete.folder, "x.onnx"))
        log.parent.mkdir()
        log.write_text("one\ntwo")
        assert jobs.exporting(complete, "x.onnx") == ["one", "two"]
        assert jobs.work_on(complete, jobs.SMALLEST) is None
        for what, done in ((jobs.SMALLEST, 1), (jobs.SPEED, 1.5)):
            layout.work(queue.root, complete.id, what).write_text(json.dumps({"done": done, "total": 4}))
        assert jobs.work_on(complete, jobs.SMALLEST) == runs.Work(1, 4)
        assert jobs.work_on(complete, jobs.SPEED) == runs.Work(1.5, 4)
        assert jobs.trainings_at_work(queue.root) == 1
    assert jobs.exporting(complete, "x.onnx") is None
    assert jobs.work_on(complete, jobs.SMALLEST) is jobs.work_on(complete, jobs.SPEED) is None
    assert {k for _, k in requests.steps(complete)} == {0.25, 0.5}
    jobs.stop_work(complete, jobs.SPEED)
    jobs.stop_work(complete, jobs.SMALLEST)
    asked = layout.asked(queue.root, complete.id)
    assert [path.name for path in asked.parent.iterdir()] == [asked.name]
    with write_run(run, tiny(0)) as training:
        jobs.start_training(run, tiny(0))
        background.start_scoring(run, [(Criterion("weight"), [0.25])])
        assert jobs.trainings_at_work(queue.root) == 1
        training.discard()
    with queue_lock(queue):
        queue.add([tiny(0)])
        queue.start()
        queue.work()
        assert (queue.is_working(), queue.is_stuck()) == (True, False)
    assert started == []
    assert queue.is_stuck()


def test_no_file_is_made_of_a_run_that_was_deleted(queue, started):
    run = runs.open_run("deleted")
    with pytest.raises(RunError, match="no complete run deleted to make a file of: it was deleted"):
        jobs.start_export(run, "x.onnx", [])
    assert not run.folder.exists(), "it would be listed as damaged"
    assert started == []


def test_a_file_is_being_made_while_its_own_lock_is_held(queue, trained_run, monkeypatch):
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)
    run, asked = runs.open_run(trained_run.id), []
    monkeypatch.setattr(exports, "begin", lambda *what: asked.append(what[3]))
    jobs.start_export(run, "x.onnx", [])
    (has_begun,) = asked
    log = layout.export_log(layout.exported(run.folder, "x.onnx"))
    log.parent.mkdir()
    log.write_text("one\nfailed: No room.")
    assert not has_begun()
    assert jobs.export_problem(run, "x.onnx") == "No room."
    with run.lock(layout.export_lock("x.onnx")):
        assert has_begun()
        assert jobs.export_problem(run, "x.onnx") is None


def queue_lock(queue):
    return lock_at(layout.queue_lock(queue.root))


def test_whoever_starts_a_process_is_told_why_it_did_not_begin(tmp_path):
    def begin(name: str, code: str) -> None:
        has_begun = (tmp_path / "begun").exists
        processes.begin(["-c", code], tmp_path, tmp_path / f"{name}.txt", has_begun, "It failed.")

    begin("well", "print('well')")
    assert (tmp_path / "well.txt").read_text() == "well\n"
    with pytest.raises(JobError) as failure:
        begin("badly", "import sys; print('some'); sys.exit('error: No room.\\n')")
    assert str(failure.value) == "It failed. No room."
    with pytest.raises(JobError) as failure:
        begin("silently", "raise SystemExit(3)")
    assert str(failure.value) == "It failed. The process said nothing."
    with pytest.raises(JobError) as failure:
        begin("killed", "import os; print('half', flush=True); os.kill(os.getpid(), 9)")
    assert str(failure.value).startswith("It failed. The process was killed by signal 9; ")
    assert str(failure.value).endswith("Its last line: half")
    (tmp_path / "begun").touch()
    begin("late", "raise SystemExit(3)")


def test_a_system_without_room_for_a_process_says_so(tmp_path, monkeypatch):
    def fork(*arguments, **options):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(processes.subprocess, "Popen", fork)
    with pytest.raises(JobError) as failure:
        processes.logged(["-c", ""], tmp_path, tmp_path / "log.txt")
    assert "Cannot start a process: Resource temporarily unavailable" in str(failure.value)
    assert "ulimit -u" in str(failure.value)


def test_a_training_has_begun_when_it_trains_or_need_not_any_more(queue, started, trained_run, monkeypatch):
    """Until then the page that asked for it would say that there is none."""
    asked = []
    monkeypatch.setattr(processes, "wait_for_begin", lambda process, has_begun, failed, said: asked.append(has_begun))
    run = runs.open_run(tiny(0).run_id)
    jobs.start_training(run, tiny(0))
    assert not asked[0]()
    with write_run(run, tiny(0)) as training:
        assert asked[0]()
        training.discard()
    assert not asked[0]()
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)
    for replace in (False, True):
        jobs.start_training(runs.open_run(trained_run.id), SMALL, replace=replace)
    assert [has_begun() for has_begun in asked[1:]] == [True, False]


def test_a_training_that_somebody_else_began_is_waited_for(queue, monkeypatch):
    run, launched = runs.open_run(tiny(0).run_id), []
    ticket = queue.root / "ticket"
    ticket.touch()

    def launch(run, config, **_):
        launched.append(run.id)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(processes, "_launch", launch)
    with contextlib.ExitStack() as other:
        other.enter_context(write_run(run, tiny(0)))
        monkeypatch.setattr(processes, "time", SimpleNamespace(sleep=lambda seconds: other.close()))
        jobs.train_and_wait(run, tiny(0), ticket)
    assert launched == [run.id]


def test_one_that_does_not_begin_in_time_is_given_up(monkeypatch):
    monkeypatch.setattr(processes, "_START_SECONDS", 0)
    with pytest.raises(JobError, match=r"^It failed\. Nothing came of it"):
        processes.wait_for_begin(waiting := Waiting(), lambda: False, "It failed.", lambda: "Nothing came of it.")
    waiting.ended.set()
    processes.wait_for_begin(waiting, lambda: True, "", lambda: pytest.fail("It has begun."))


class Waiting:
    """A process that ends when it is told to."""

    def __init__(self):
        self.ended = threading.Event()

    def wait(self):
        self.ended.wait(60)

    def poll(self):
        return None


def test_the_last_line_of_a_log_says_why_a_process_failed(queue):
    run, log = runs.open_run("one"), queue.root / "log.txt"
    assert processes.problem_of(run, log, "repair") is None
    for code, said, failure in (
        (0, "all is well", None),
        (130, "cancelled", None),
        (1, "first\nerror: No room.\n \n", "No room."),
        (1, "error: It is damaged.\nhint: --force_train\n", "It is damaged."),
        (2, "\n", "The process said nothing."),
        (-9, "", "The process was killed by signal 9; the memory may have run out."),
        (-9, "half", "The process was killed by signal 9; the memory may have run out. Its last line: half"),
        (1, "Traceback\nMemoryError", "The memory ran out. Its last line: MemoryError"),
        (-6, "std::bad_alloc\n", "The memory ran out. Its last line: std::bad_alloc"),
        (
            -11,
            "OpenBLAS: pthread_create failed: Resource temporarily unavailable\nRLIMIT_NPROC 1",
            "The process may not start as many threads or processes as it needs (ulimit -u). "
            "Its last line: RLIMIT_NPROC 1",
        ),
        (1, "Unable to allocate 9 GiB, so less is taken\nerror: No room.", "No room."),
    ):
        log.write_text(said)
        processes.note_failure(SimpleNamespace(wait=lambda code=code: code), log)
        assert processes.problem_of(run, log, "repair") == failure
        assert log.read_text().startswith(said)
        if failure:
            with run.lock("repair"):
                assert processes.problem_of(run, log, "repair") is None
            assert processes.last_line(log.read_text()) == failure
    # One that somebody removed meanwhile is not written again.
    log.unlink()
    processes.note_failure(SimpleNamespace(wait=lambda: 1), log)
    assert not log.exists()


def test_what_begins_and_fails_later_is_noted_and_lives_on_without_its_starter(queue):
    begun, log = queue.root / "begun", queue.root / "log.txt"
    begun.parent.mkdir(exist_ok=True)
    script = (
        f"import os, pathlib; pathlib.Path({str(begun)!r}).touch(); "
        "raise SystemExit(f'error: leads its session: {os.getsid(0) == os.getpid()}')"
    )
    processes.begin(["-c", script], queue.root, log, begun.exists, "It could not start.")
    for thread in threading.enumerate():
        if "note_failure" in thread.name:
            thread.join()
    assert processes.problem_of(runs.open_run("one"), log, "speed") == "leads its session: True"


def test_a_queue_that_ended_with_an_error_says_it(queue):
    assert queue.problem() == ""
    for said, problem in (("a\nerror: No room.\n", "No room."), ("error: No room.\nb", ""), ("", ""), ("error", "")):
        (queue.root / ".queue").mkdir(exist_ok=True)
        (queue.root / ".queue" / "log.txt").write_text(said)
        assert queue.problem() == problem


def test_a_training_needs_room_for_its_weights_and_what_is_beside_them(queue, monkeypatch):
    monkeypatch.setenv("NETWORK_PRUNING_MIN_FREE_MB", "0")
    run, config = runs.open_run("one"), tiny(0)
    needed = 1_000_000 + 16 * config.parameter_count
    monkeypatch.setattr("core.limits.free_space", lambda path: needed)
    processes.require_room(run, config)
    monkeypatch.setattr("core.limits.free_space", lambda path: needed - 1)
    with pytest.raises(DiskFullError, match="too full for a training of one"):
        processes.require_room(run, config)


def test_how_a_training_ended_is_said_with_who_waited_for_it(queue, monkeypatch, capsys):
    ends = {0: JobError("No room."), 1: ValueError("odd"), 2: jobs.Outcome("It diverged.", "there", 5)}
    ends[3] = jobs.Outcome(None, "here", 7)

    def train(run, config, ticket):
        assert ticket == queue.folder / f"{run.id}.json"
        if isinstance(ends[config.seed], Exception):
            raise ends[config.seed]
        return ends[config.seed]

    monkeypatch.setattr("core.jobs.queue.train_and_wait", train)
    queue.add([tiny(seed) for seed in range(4)])
    added = [entry.added for entry in queue.entries()]
    assert added == list(range(added[0], added[0] + 4))
    queue.work()
    failures = ["No room.", "Its worker failed: ValueError: odd", "It diverged."]
    assert [(entry.failure, entry.status) for entry in queue.entries()] == [(each, "failed") for each in failures]
    assert [entry.added for entry in queue.entries()] == added[:3]
    name = [tiny(seed).run_id for seed in range(4)]
    assert capsys.readouterr().out.splitlines() == [
        f"{name[0]} failed: {failures[0]}",
        f"{name[1]} failed: {failures[1]}",
        f"{name[2]} ended, on there by process 5",
        f"{name[2]} failed: {failures[2]}",
        f"{name[3]} ended, on here by process 7",
    ]


def test_a_ticket_of_what_is_trained_goes_unless_its_figures_are_being_drawn(queue, trained_run, monkeypatch):
    queue.add([SMALL, tiny(0)])
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)
    with queue_lock(queue):
        assert [entry.status for entry in queue.entries()] == ["drawing", "waiting"]
    monkeypatch.setenv("NETWORK_PRUNING_READ_ONLY", "1")
    assert [entry.config for entry in queue.entries()] == [tiny(0)]
    assert len([*queue.folder.glob("*.json")]) == 2
    monkeypatch.delenv("NETWORK_PRUNING_READ_ONLY")
    assert [entry.config for entry in queue.entries()] == [tiny(0)]
    assert len([*queue.folder.glob("*.json")]) == 1
    (queue.folder / f"{tiny(0).run_id}.json").rename(queue.folder / "other.json")
    assert queue.entries() == []


def test_a_training_whose_ticket_is_gone_is_not_begun(queue):
    run = runs.open_run(tiny(0).run_id)
    assert jobs.train_and_wait(run, tiny(0), queue.folder / "gone.json").failure is None
    assert not run.part.exists()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="Cannot write to"):
        open_queue(tmp_path / "file" / "cache").add([tiny(0)])


@pytest.fixture
def almost_full(monkeypatch):
    """A disk with 8 KB left."""
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setenv("NETWORK_PRUNING_MIN_FREE_MB", "0")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 8192, 8192))


def test_on_an_almost_full_disk_nothing_is_started_and_one_sentence_says_why(queue, almost_full, monkeypatch):
    monkeypatch.setattr("core.jobs.processes.logged", lambda *_: pytest.fail("A process was started."))
    queue.add([tiny(seed) for seed in range(3)])
    for ask in (queue.start, queue.work):
        with pytest.raises(DiskFullError, match=r"too full for a training of optdigits-.* Received: 0\.01 MB"):
            ask()
    assert {entry.failure for entry in queue.entries()} == {None}


def test_a_failure_that_cannot_be_written_down_ends_the_queue(queue, monkeypatch):
    handed = []

    class OneAtATime:
        """Has ended the first training, and not begun the others."""

        def submit(self, function, *arguments):
            handed.append(concurrent.futures.Future())
            if len(handed) == 1:
                handed[0].set_result(jobs.Outcome("It failed.", "here", 1))
            return handed[-1]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    queue.add([tiny(seed) for seed in range(5)])
    monkeypatch.setattr("core.jobs.queue.executor_for", lambda jobs: contextlib.nullcontext(OneAtATime()))
    monkeypatch.setattr("core.jobs.queue.write_text", full)
    with pytest.raises(RunError, match=r"Cannot write to .*No space left"):
        queue.work()
    assert [future.cancelled() for future in handed] == [False, True, True, True, True]
    assert len(queue.entries()) == 5


def test_a_scheduler_that_goes_leaves_the_queue_as_it_is(queue, monkeypatch):
    gone = concurrent.futures.Future()
    gone.cancel()
    gone.set_running_or_notify_cancel()
    monkeypatch.setenv(SCHEDULER, "tcp://host:1")
    workers = contextlib.nullcontext(SimpleNamespace(submit=lambda *_: gone))
    monkeypatch.setattr("core.jobs.queue.executor_for", lambda jobs: workers)
    queue.add([tiny(0)])
    with pytest.raises(KnownError, match=r"scheduler at tcp://host:1 is gone. What waits stays in the queue"):
        queue.work()
    assert queue.is_stuck()


def test_who_starts_a_process_may_end_before_it(tmp_path):
    """A server that is stopped does not wait for what it started."""
    held, log = tmp_path / "held.lock", tmp_path / "log"
    child = f"import pathlib; from core.files import lock_at\nwith lock_at(pathlib.Path({str(held)!r})): print('ended')"
    parent = (
        "import pathlib; from core.jobs.processes import begin\n"
        f"begin(['-c', {child!r}], pathlib.Path({str(tmp_path)!r}), pathlib.Path({str(log)!r}), lambda: True, 'No.')"
    )
    with lock_at(held):
        subprocess.run([sys.executable, "-c", parent], cwd=PROJECT, check=True, timeout=60)
        assert log.read_text() == ""
    until(lambda: log.read_text() == "ended\n")


def test_tickets_are_added_all_or_none(queue, monkeypatch):
    from core.jobs import queue as module

    write, written = module.write_text, []

    def nearly_full(path, text):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, text)

    monkeypatch.setattr(module, "write_text", nearly_full)
    with pytest.raises(RunError, match="No space left"):
        queue.add([tiny(seed) for seed in range(5)])
    assert len(written) == 2
    assert queue.entries() == []


def test_a_worker_that_fails_at_once_is_not_started_again(queue, monkeypatch):
    started = []

    def start(root, jobs, log, has_begun):
        started.append(jobs)
        log.write_text("error: The disk is broken.\n")

    monkeypatch.setattr("core.jobs.queue.start_queue", start)
    monkeypatch.setattr(grid, "_POLL_SECONDS", 0)
    with pytest.raises(JobError, match=r"before any training did. The disk is broken. What waits stays"):
        grid._train(queue, [tiny(0), tiny(1)], 1)
    assert len(started) == 1
    assert len(queue.entries()) == 2


def test_the_command_says_how_each_ended_and_ends_likewise(queue, trained_run, monkeypatch, capsys):
    shutil.copytree(trained_run.folder, queue.root / trained_run.id)

    def start(root, jobs, log, has_begun):
        assert (root, jobs, log) == (queue.root, 2, queue.folder / "log.txt")
        queue.cancel([tiny(1).run_id])
        queue.work(jobs)

    monkeypatch.setattr("core.jobs.queue.start_queue", start)
    monkeypatch.setattr("core.jobs.queue.train_and_wait", lambda *_: jobs.Outcome("It diverged.", "here", 1))
    names, accuracy = [trained_run.id, tiny(0).run_id, tiny(1).run_id], trained_run.result().test_accuracy
    assert grid._train(queue, [SMALL, tiny(0), tiny(1)], 2) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "3 configurations, 1 trained already."
    assert {f"{names[1]} failed: It diverged.", f"{names[2]} was cancelled"} < {*said}
    table = [line.split() for line in said[-4:]]
    assert table[0] == ["run", "status", "test_accuracy"]
    # A run that was trained already is said first, the others as they ended.
    assert sorted(table[1:]) == sorted(
        [[names[0], "complete", f"{accuracy:.4f}"], [names[1], "failed", "-"], [names[2], "cancelled", "-"]]
    )
    assert grid._train(queue, [tiny(1)], 2) == 130
    assert capsys.readouterr().out.splitlines()[0] == "1 configuration, 0 trained already."
    assert grid._train(queue, [SMALL], 2) == 0
    assert capsys.readouterr().out.splitlines()[0] == "1 configuration, 1 trained already."


def test_the_command_lists_the_queue_and_cancels_what_is_in_it(queue, monkeypatch, capsys):
    def run(**values) -> str:
        chosen = {"work": False, "list": False, "cancel": None, "jobs": 1} | values
        with monkeypatch.context() as patched:
            patched.setattr(grid, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**chosen)))
            patched.setattr(grid.command, "chosen_path", {"output_dir": queue.root}.get)
            assert grid.main([]) == 0
        return capsys.readouterr().out

    assert run(list=True) == "Nothing waits and nothing is being trained.\n"
    queue.add([tiny(seed) for seed in range(3)])
    assert [line.split() for line in run(list=True).splitlines()[1:]] == [
        [tiny(seed).run_id, "waiting", "-"] for seed in range(3)
    ]
    for cancel, received in (([], ""), (["one", tiny(0).run_id], "one")):
        with pytest.raises(ConfigError, match=rf"\(see --list\), or all. Received: {received}\.$"):
            run(cancel=cancel)
    assert run(cancel=[tiny(1).run_id]) == ""
    assert [entry.config.seed for entry in queue.entries()] == [0, 2]
    run(cancel=["all"])
    assert queue.entries() == []


def test_a_grid_may_have_a_thousand_configurations():
    assert [config.seed for config in expand({"seed": range(1_000)})] == list(range(1_000))


@pytest.mark.parametrize(
    ("flag", "word"), [("--seed=x", "seed"), ("--jobs=0", "jobs"), ("--momentum=1", "momentum"), ("grid", "grid")]
)
def test_bad_flags_are_one_sentence_and_exit_2(tmp_path, flag, word):
    done = run_command("grid", flag, f"--output_dir={tmp_path}/cache")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert not (tmp_path / "cache").exists()


def test_the_command_trains_a_grid_and_says_what_failed(tmp_path, damaged):
    """Two at a time; one of them cannot be trained. Then the same command again."""
    command = ["--dataset=digits,optdigits", "--epochs=2", "--hidden_units=20,10", "--seed=0", "--jobs=2"]
    command.append(f"--output_dir={tmp_path}/cache")
    done = run_command("grid", *command)
    assert done.returncode == 1, done.stderr
    assert "2 configurations, 0 trained already." in done.stdout
    assert done.stdout.count("test accuracy") == 1
    result = runs.open_run(tiny(0).run_id, tmp_path / "cache").result()
    assert f"{tiny(0).run_id} is trained: test accuracy {result.test_accuracy:.4f}" in done.stdout
    table = [line.split()[1:] for line in done.stdout.splitlines()[-2:]]
    assert [row[0] for row in table] == ["failed", "complete"]
    (failed,) = [entry.failure for entry in open_queue(tmp_path / "cache").entries()]
    assert "train-images-idx3-ubyte.gz" in failed

    again = run_command("grid", *command, "--dataset=optdigits")
    assert again.returncode == 0, again.stderr
    assert "1 configuration, 1 trained already." in again.stdout
    assert "starts" not in again.stdout
    listed = run_command("grid", "--list", f"--output_dir={tmp_path}/cache").stdout
    assert listed.count("failed") == 1
    assert run_command("grid", "--cancel=all", f"--output_dir={tmp_path}/cache").returncode == 0
    assert open_queue(tmp_path / "cache").entries() == []


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A configuration that cannot be trained, and is soon known to be: its images are damaged."""
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    monkeypatch.setenv("NETWORK_PRUNING_DATA", str(tmp_path))
    return TrainingConfig(epochs=2, hidden_units=(20, 10))


def test_a_killed_queue_loses_nothing(queue, damaged):
    first, second = tiny(0), damaged
    queue.add([first, second])
    process = subprocess.Popen([sys.executable, "-m", "core.grid", "--work", f"--output_dir={queue.root}"], cwd=PROJECT)
    run = runs.open_run(first.run_id)
    until(run.is_training)
    assert [entry.status for entry in queue.entries()] == ["training", "waiting"]
    trainer = run.training().pid
    process.kill()
    process.wait()
    assert queue.is_stuck()
    assert [entry.config for entry in queue.entries()] == [first, second]
    queue.start()
    assert not queue.is_stuck()
    until(lambda: not queue.is_working())
    # The training that had begun went on by itself and was not begun anew; the other was begun.
    assert json.loads((run.folder / layout.STATE).read_text())["pid"] == trainer
    (entry,) = queue.entries()
    assert entry.config == second
    assert "train-images-idx3-ubyte.gz" in entry.failure


def test_ctrl_c_cancels_the_configurations_of_the_command_and_no_others(queue):
    long = ["--dataset=optdigits", "--epochs=10000", "--hidden_units=20,10", "--seed=0-1"]
    command = [sys.executable, "-m", "core.grid", *long, f"--output_dir={queue.root}"]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has Ctrl-C ignored, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: [entry.status for entry in queue.entries()] == ["training", "waiting"])
    run = queue.entries()[0].run
    until(lambda: run.is_training() and run.training().phase == "training")
    queue.add([tiny(5)])
    process.send_signal(signal.SIGINT)
    assert "cancelled" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert [entry.config for entry in queue.entries()] == [tiny(5)]
    until(lambda: not run.is_training())
    assert run.training().phase == "cancelled"
    queue.cancel()
    until(lambda: not queue.is_working())


def test_nothing_of_dask_is_imported_unless_asked_for(queue):
    queue.add([tiny(0)])
    code = """
import sys
from core import jobs
from core.jobs import queue
queue.train_and_wait = lambda *_: jobs.Outcome(None, "here", 1)
queue.open_queue().work()
heavy = {name.split(".")[0] for name in sys.modules} & {"dask", "distributed", "tensorflow", "streamlit"}
assert not heavy, heavy
"""
    environment = {name: value for name, value in os.environ.items() if name != SCHEDULER}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=True)
    assert queue.entries() == []


@pytest.fixture
def distributed():
    if os.environ.get("CI") == "true":
        import distributed

        return distributed
    return pytest.importorskip("distributed")


def test_a_scheduler_that_cannot_be_reached_is_one_sentence(queue, distributed, monkeypatch):
    monkeypatch.setenv(SCHEDULER, "tcp://127.0.0.1:1")
    monkeypatch.setattr("core.jobs.cluster._CONNECT_SECONDS", 0.2)
    queue.add([tiny(0)])
    with pytest.raises(KnownError, match=r"no Dask scheduler at .*127\.0\.0\.1:1"):
        queue.work()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(KnownError, match="pip install distributed"):
        queue.work()
    assert queue.is_stuck()


def test_a_dask_cluster_trains_the_same_queue(tmp_path, damaged, distributed):
    """A worker for each of two, of which one cannot be trained."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = set(client.run(os.getpid).values())
        done = run_command(
            "grid",
            *("--dataset=digits,optdigits", "--epochs=2", "--hidden_units=20,10"),
            f"--output_dir={tmp_path}/cache",
            **{SCHEDULER: cluster.scheduler_address},
        )
    assert done.returncode == 1, done.stderr
    queue = open_queue(tmp_path / "cache")
    said = [line.split() for line in (queue.folder / "log.txt").read_text().splitlines() if "by process" in line]
    assert {int(words[-1]) for words in said} == workers
    assert len(workers) == 2
    assert runs.open_run(tiny(0).run_id, queue.root).is_complete()
    assert [(entry.config, entry.status) for entry in queue.entries()] == [(damaged, "failed")]
