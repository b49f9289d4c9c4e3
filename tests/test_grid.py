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

import pytest

from core import jobs, runs
from core.config import PARAMETERS, ConfigError, TrainingConfig
from core.errors import CancelledError, DiskFullError, JobError, KnownError, RunError
from core.grid import expand
from core.jobs import open_queue
from core.runs import Phase, layout, write_run
from core.settings import SCHEDULER
from tests.conftest import PROJECT


def tiny(seed: int, **others) -> TrainingConfig:
    return TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(20, 10), seed=seed, **others)


def run_grid(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """`python -m core.grid` as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "core.grid", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def until(condition, seconds=120):
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


@pytest.fixture
def queue(cache):
    return open_queue(cache)


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
    from core import grid

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


@pytest.mark.parametrize(
    ("flag", "word"), [("--seed=x", "seed"), ("--jobs=0", "jobs"), ("--momentum=1", "momentum"), ("grid", "grid")]
)
def test_bad_flags_are_one_sentence_and_exit_2(tmp_path, flag, word):
    done = run_grid(flag, f"--output_dir={tmp_path}/cache")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert not (tmp_path / "cache").exists()


def test_the_command_trains_a_grid_and_says_what_failed(tmp_path):
    """Two at a time; half of them cannot be trained, as their images are damaged. Then the same command again."""
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    command = ["--dataset=digits,optdigits", "--epochs=2", "--hidden_units=20,10", "--seed=0-1", "--jobs=2"]
    command.append(f"--output_dir={tmp_path}/cache")
    done = run_grid(*command, NETWORK_PRUNING_DATA=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "4 configurations, 0 trained already." in done.stdout
    assert done.stdout.count("test accuracy") == 2
    for config in (tiny(0), tiny(1)):
        result = runs.open_run(config.run_id, tmp_path / "cache").result()
        assert f"{config.run_id} is trained: test accuracy {result.test_accuracy:.4f}" in done.stdout
    table = [line.split()[1:] for line in done.stdout.splitlines()[-4:]]
    assert [row[0] for row in table] == ["failed", "failed", "complete", "complete"]
    failed = [entry.failure for entry in open_queue(tmp_path / "cache").entries()]
    assert len(failed) == 2
    assert all("train-images-idx3-ubyte.gz" in failure for failure in failed)

    again = run_grid(*command, "--dataset=optdigits", NETWORK_PRUNING_DATA=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert "2 configurations, 2 trained already." in again.stdout
    assert "starts" not in again.stdout
    listed = run_grid("--list", f"--output_dir={tmp_path}/cache").stdout
    assert listed.count("failed") == 2
    assert run_grid("--cancel=all", f"--output_dir={tmp_path}/cache").returncode == 0
    assert open_queue(tmp_path / "cache").entries() == []


def test_a_killed_queue_loses_nothing(queue):
    first, second = tiny(0), tiny(1)
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
    until(lambda: not queue.entries())
    # The training that had begun went on by itself and was not begun anew.
    assert json.loads((run.folder / layout.STATE).read_text())["pid"] == trainer
    assert runs.open_run(second.run_id).is_complete()


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


def test_a_dask_cluster_trains_the_same_queue(tmp_path, distributed):
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = set(client.run(os.getpid).values())
        done = run_grid(
            *("--dataset=optdigits", "--epochs=2", "--hidden_units=20,10", "--seed=0-1"),
            f"--output_dir={tmp_path}",
            **{SCHEDULER: cluster.scheduler_address},
        )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / ".queue" / "log.txt").read_text().splitlines()
    assert {int(line.split()[-1]) for line in said} == workers
    assert len(workers) == 2
    assert runs.runs_table(tmp_path).status.tolist() == ["complete", "complete"]
    assert open_queue(tmp_path).entries() == []
