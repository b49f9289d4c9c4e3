"""What may be done here: nothing but scores where the server only shows, and no more than the limits say."""

import errno
import json
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, limits, make, runs, scoring, settings
from core.config import RecoveryConfig, TrainingConfig
from core.errors import ConfigError, DiskFullError, KnownError, NotAllowedError, TooManyError
from core.files import remove
from core.jobs import background, processes
from core.runs import layout
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared import actions, choice
from tests.commands import end_work
from tests.conftest import SMALL

TINY = TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(8,))


def files(root: Path) -> dict[str, bytes]:
    """All files of a cache but locks, which say nothing."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".locks" not in path.parts
    }


@pytest.fixture
def shown(cache, trained_cache, monkeypatch):
    """A complete run, and a training that ended early, in a cache that is only shown."""
    shutil.copytree(trained_cache, cache, dirs_exist_ok=True)
    run = runs.open_run(SMALL.run_id, cache)
    left = runs.open_run(TINY.run_id, cache)
    left.part.mkdir()
    (left.part / "config.json").write_text(json.dumps(TINY.to_dict()))
    (left.part / "state.json").write_text('{"phase": "failed"}')
    jobs.open_queue(cache).add([TINY])
    monkeypatch.setenv(settings.READ_ONLY, "1")
    return run


def test_nothing_but_scores_is_written_where_the_server_only_shows(shown):
    queue, left = jobs.open_queue(shown.root), runs.open_run(TINY.run_id, shown.root)
    recovery = RecoveryConfig(SMALL, shown.id, "finetune", "weight", sparsity=0.5, epochs=1)
    before = files(shown.root)
    for change in (
        shown.delete,
        left.delete,
        left.discard_training,
        left.request_cancel,
        lambda: runs.write_notes(shown, runs.Notes("mine")),
        lambda: runs.write_run(shown, SMALL).__enter__(),
        lambda: jobs.start_training(left, TINY),
        lambda: jobs.start_training(shown, SMALL, True),
        lambda: jobs.start_training(runs.open_run(recovery.run_id, shown.root), recovery),
        lambda: jobs.start_export(shown, "x.onnx", ["--format=onnx"]),
        lambda: jobs.start_measuring(shown, Criterion("weight"), [0.5]),
        lambda: jobs.stop_work(shown, jobs.SPEED),
        lambda: jobs.start_smallest(shown, [2048], 1, 0),
        lambda: jobs.stop_work(shown, jobs.SMALLEST),
        lambda: jobs.ensure_pictures(shown) if shown.is_drawn() is False else make.draw(shown, [0.5]),
        lambda: queue.add([TrainingConfig(seed=7)]),
        queue.cancel,
        queue.start,
        queue.work,
    ):
        with pytest.raises(NotAllowedError, match="read-only"):
            change()
    assert files(shown.root) == before


def test_scores_are_written_where_the_server_only_shows(shown):
    k = 0.123
    assert list(scoring.score_run(shown, [(Criterion("weight"), [k])]))
    assert k in shown.sweep().sparsity.tolist()


@pytest.mark.parametrize("text", ["1", "true", "yes", "please", " on "])
def test_whatever_does_not_clearly_mean_no_means_read_only(monkeypatch, text):
    monkeypatch.setenv(settings.READ_ONLY, text)
    assert settings.is_read_only()


@pytest.mark.parametrize("text", ["", "0", "False", "no", " off "])
def test_what_means_no_is_not_read_only(monkeypatch, text):
    monkeypatch.setenv(settings.READ_ONLY, text)
    assert not settings.is_read_only()


CHANGING = {
    "training": ("retrain", "delete"),
    "runs": (),
    "grid": ("grid_add", "queue_cancel_confirmed", f"queue_cancel_{TINY.run_id}", "queue_resume"),
    "smallest": ("tiny_make",),
    "size": ("measure_here",),
}


@pytest.mark.parametrize("page", CHANGING)
def test_pages_say_kindly_that_they_only_show(shown, page):
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    if page == "training":
        for name, value in choice.settings_of(SMALL).items():
            app.query_params[name] = value
    app.run()
    assert not app.exception
    assert any("For looking only" in caption.value for caption in app.caption)
    for key in CHANGING[page]:
        assert app.button(key=key).disabled, key


def test_a_click_that_comes_all_the_same_is_refused_in_a_sentence(shown, monkeypatch):
    state = {}
    monkeypatch.setattr(actions.st, "session_state", type("State", (dict,), {"__setattr__": dict.__setitem__})(state))
    actions.attempt(shown, shown.delete)
    about, failure = actions.st.session_state["failure"]
    assert about == shown
    assert "read-only" in failure
    assert shown.is_complete()


def test_a_network_that_is_too_large_is_refused_before_anything_starts(cache, monkeypatch):
    monkeypatch.setenv(settings.MAX_WEIGHTS, str(TINY.parameter_count))
    limits.check_size(TINY.parameter_count)
    larger = TrainingConfig(dataset="optdigits", epochs=2, hidden_units=(9,))
    run, queue = runs.open_run(larger.run_id), jobs.open_queue()
    for start in (lambda: jobs.start_training(run, larger), lambda: queue.add([TINY, larger])):
        with pytest.raises(NotAllowedError, match=f"at most {TINY.parameter_count}.*{larger.parameter_count}"):
            start()
    assert files(cache) == {}


@pytest.mark.parametrize("page", ["overview", "pruning", "size", "smallest", "draw", "present", "comparison"])
def test_a_network_that_is_too_large_is_not_read(page, trained_run, cache, monkeypatch):
    """Its configuration, too, may be somebody else's: a small file can hold zeros for all weights that it claims."""

    def read(*arguments):
        raise AssertionError("it is read")

    shutil.copytree(trained_run.folder, cache / SMALL.run_id)
    run = runs.open_run(SMALL.run_id, cache)
    run.sweep().drop(index=0).to_csv(run.folder / layout.SWEEP, index=False)
    remove(run.folder / layout.GIFS["unit"])
    monkeypatch.setenv(settings.MAX_WEIGHTS, str(SMALL.parameter_count - 1))
    monkeypatch.setattr(runs.Run, "network", read)
    monkeypatch.setattr(jobs.processes, "begin", read)
    app = AppTest.from_file(str(PROJECT / "pages" / f"{page}.py"), default_timeout=60)
    app.query_params.update({"run": SMALL.run_id, "runs": SMALL.run_id})
    app.run()
    if page == "smallest":
        app.button(key="tiny_make").click().run()
    assert not app.exception
    said = (
        f"too large to be opened here. Expected at most {SMALL.parameter_count - 1:,} weights. "
        f"Received: {SMALL.parameter_count:,}."
    )
    assert page == "overview" or any(said in error.value for error in app.error)
    with pytest.raises(NotAllowedError, match=said):
        jobs.ensure_pictures(run)


def test_a_training_that_could_fill_the_disk_is_refused(cache, monkeypatch):
    run = runs.open_run(TINY.run_id)
    monkeypatch.setattr(limits, "free_space", lambda path: 99_999_999)
    with pytest.raises(DiskFullError, match=r"at least 100 MB free.*100.00 MB"):
        jobs.start_training(run, TINY)
    assert files(cache) == {}
    monkeypatch.setattr(limits, "free_space", lambda path: 100_000_000)
    limits.check_disk(cache, "this")


def test_no_repair_begins_on_a_disk_that_is_almost_full(cache, trained_cache, monkeypatch):
    shutil.copytree(trained_cache, cache, dirs_exist_ok=True)
    run, before = runs.open_run(SMALL.run_id), files(cache)
    monkeypatch.setattr(jobs, "start_scoring", background.start_scoring)
    monkeypatch.setattr(processes, "logged", lambda *_, **__: pytest.fail("A process was started."))
    monkeypatch.setattr(limits, "free_space", lambda path: 99_999_999)
    with pytest.raises(DiskFullError, match=f"too full for a repair of run {run.id}"):
        jobs.start_scoring(run, [(Criterion("weight", "admm", recovery="repair"), [0.123])])
    for page in ("pruning", "size", "present"):
        app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
        for name, value in {"run": run.id, "state": "repaired", "k": "0.123"}.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        assert [warning.value for warning in app.warning if "too full for a repair" in warning.value], page
        assert not app.info, "it would say that it is being repaired"
    app = AppTest.from_file(PROJECT / "pages" / "comparison.py", default_timeout=60)
    app.query_params["states"] = ["as pruned", "repaired"]
    app.run()
    assert not app.exception
    assert ["too full for scores" in warning.value for warning in app.warning] == [True]
    assert not any("Still being repaired" in caption.value for caption in app.caption)
    assert files(cache).keys() == before.keys()


def test_without_a_word_limits_are_those_that_the_documentation_says(monkeypatch):
    table = (PROJECT / "docs" / "environment.md").read_text()
    for name in settings.LIMITS:
        (said,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
        for text in ("", "  "):
            monkeypatch.setenv(name, text)
            assert f"{limits.limit(name):,}" == said.strip(" |").rpartition("|")[2].strip()
        monkeypatch.setenv(name, " 123456789012345 ")
        assert limits.limit(name) == 123456789012345


@pytest.mark.parametrize(
    ("name", "least"), [(settings.MAX_TRAININGS, 1), (settings.MAX_WEIGHTS, 1), (settings.MIN_FREE_MB, 0)]
)
def test_the_least_that_a_limit_may_be_is_taken(monkeypatch, name, least):
    monkeypatch.setenv(name, str(least))
    assert limits.limit(name) == least
    monkeypatch.setenv(name, str(least - 1))
    with pytest.raises(ConfigError) as failure:
        limits.limit(name)
    monkeypatch.delenv(name)
    assert str(failure.value) == (
        f"{name}: expected a whole number of at least {least}, such as {limits.limit(name)}. "
        f"Received: '{least - 1}'. Correct it, or unset it."
    )


def test_the_larger_of_what_is_needed_and_what_must_stay_free_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "free_space", lambda path: 200_000_000)
    limits.check_disk(tmp_path, "this", 200_000_000)
    with pytest.raises(DiskFullError, match=r"too full for this. Expected at least 300 MB free. Received: 200.00 MB"):
        limits.check_disk(tmp_path, "this", 300_000_000)
    # A system that does not say how much is free is taken at its word.
    monkeypatch.setattr(limits, "free_space", lambda path: None)
    limits.check_disk(tmp_path, "this", 300_000_000)


def test_as_many_trainings_as_may_be_leave_no_room_for_another(monkeypatch):
    monkeypatch.setenv(settings.MAX_TRAININGS, "2")
    limits.check_trainings(1)
    with pytest.raises(TooManyError, match=r"fewer than 2 at a time. Received: 2."):
        limits.check_trainings(2)


def test_places_are_those_of_the_environment_and_otherwise_beside_the_code(monkeypatch, tmp_path):
    names = (settings.CACHE, settings.DATA, settings.SCHEDULER, settings.READ_ONLY)
    for change in (monkeypatch.delenv, lambda name, raising: monkeypatch.setenv(name, "")):
        for name in names:
            change(name, raising=False)
        assert settings.cache_root() == PROJECT / "cache"
        assert (settings.data_folder(), settings.scheduler(), settings.is_read_only()) == (None, None, False)
    monkeypatch.setenv(settings.CACHE, "relative/cache")
    monkeypatch.setenv(settings.DATA, str(tmp_path))
    monkeypatch.setenv(settings.SCHEDULER, "tcp://host:8786")
    assert settings.cache_root() == Path("relative/cache")
    assert (settings.data_folder(), settings.scheduler()) == (tmp_path, "tcp://host:8786")


def test_paths_may_begin_with_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(settings.CACHE, "~/cache")
    monkeypatch.setenv(settings.DATA, "~/data")
    assert (settings.cache_root(), settings.data_folder()) == (tmp_path / "cache", tmp_path / "data")


def test_a_cache_takes_temporary_files_where_nothing_else_does(monkeypatch, cache):
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "")
    assert settings.ensure_temporary_folder()
    assert tempfile.tempdir == os.environ["TMPDIR"]
    assert Path(tempfile.tempdir).parent == cache / ".temporary"
    assert Path(tempfile.tempdir).is_dir()
    assert runs.list_runs(cache) == []
    monkeypatch.setenv(settings.CACHE, "/proc/nothing")
    assert not settings.ensure_temporary_folder()
    with pytest.raises(SystemExit, match="Name one for temporary files in TMPDIR"):
        settings.quiet_keras()


def test_the_documentation_names_every_variable_as_the_code_does():
    told = re.findall(r"^\| `(NETWORK_PRUNING_\w+)`", (PROJECT / "docs" / "environment.md").read_text(), re.MULTILINE)
    read = [each for each in vars(settings).values() if isinstance(each, str) and each.upper().startswith("NETWORK_")]
    assert sorted(told) == sorted(read)


def test_a_process_finds_the_project_its_cache_and_all_that_this_one_was_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv(settings.CACHE, "another cache")
    told = settings.for_child(tmp_path)
    assert told["PYTHONPATH"] == f"{PROJECT}{os.pathsep}elsewhere"
    assert told == os.environ | {"PYTHONPATH": told["PYTHONPATH"], "NETWORK_PRUNING_CACHE": str(tmp_path)}
    monkeypatch.delenv("PYTHONPATH")
    # Nothing empty: that would be the working folder.
    assert settings.for_child(tmp_path)["PYTHONPATH"] == str(PROJECT)


def test_keras_runs_on_tensorflow_and_quietly(monkeypatch):
    names = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    settings.quiet_keras()
    assert [os.environ[name] for name in names] == ["3", "tensorflow"]
    for name in names:
        monkeypatch.setenv(name, "mine")
    settings.quiet_keras()
    assert [os.environ[name] for name in names] == ["mine", "tensorflow"]


@pytest.mark.parametrize("text", ["x", "-1", "0", "1.5", "1e9", "٣", "9" * 16, "9" * 40])
def test_a_limit_that_is_no_number_is_told(monkeypatch, text):
    monkeypatch.setenv(settings.MAX_TRAININGS, text)
    with pytest.raises(ConfigError, match=f"{settings.MAX_TRAININGS}.*at least 1"):
        limits.check_trainings(0)


def test_never_more_trainings_at_a_time_than_allowed(cache, monkeypatch):
    """Four that are started at the same moment, where two may run: two begin, and the others are told."""
    monkeypatch.setenv(settings.MAX_TRAININGS, "2")
    long = [TrainingConfig(dataset="optdigits", epochs=10_000, hidden_units=(8,), seed=seed) for seed in range(4)]
    begun, refused, other = [], [], []

    def start(config):
        try:
            jobs.start_training(runs.open_run(config.run_id), config)
            begun.append(config)
        except TooManyError as error:
            refused.append(str(error))
        except KnownError as error:
            other.append(error)

    threads = [threading.Thread(target=start, args=(config,)) for config in long]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert other == []
        assert (len(begun), len(refused)) == (2, 2)
        assert jobs.trainings_at_work(cache) == 2
        assert "at a time" in refused[0]
    finally:
        end_work(cache)
