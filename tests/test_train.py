import io
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from core import command, make, runs, terminal
from core.config import K_VALUES
from core.errors import CancelledError, ConfigError, RunBusyError, RunError
from core.exports import pictures
from core.pruning import METHODS
from core.runs import layout
from core.scoring import baseline, fine_curve, unscored
from core.settings import PROJECT
from core.sweep import STOPS, Criterion
from tests.commands import run_command
from tests.conftest import SMALL


def test_help_speaks_of_every_flag():
    done = run_command("train", "--help")
    for flag in [
        "batch_size",
        "dataset",
        "epochs",
        "experiment_id",
        "[no]force_train",
        "k_vals",
        "[no]keep_best",
        "learning_rate",
        "num_valid",
        "output_dir",
        "l1_reg",
        "l2_reg",
        "hidden_units",
        "seed",
    ]:
        assert f"--{flag}:" in done.stdout
    assert "Trains the model and runs pruning experiments." in done.stdout


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--k_vals=0.5,x", "k_vals"),
        ("--k_vals=1.5", "k_vals"),
        ("--k_vals=", "k_vals"),
        ("--learning_rate=nan", "learning_rate"),
        ("--learning_rate=-1", "learning_rate"),
        ("--epochs=0", "epochs"),
        ("--epochs=ten", "epochs"),
        ("--num_valid=60000", "num_valid"),
        ("--dataset=cifar", "dataset"),
        ("--experiment_id=../../x", "run id"),
        ("--experiment_id=", "run id"),
        ("--momentum=1", "momentum"),
        ("digits", "digits"),
    ],
)
def test_bad_flags_are_one_sentence_and_exit_2(tmp_path, flag, word):
    done = run_command("train", flag, f"--output_dir={tmp_path}/cache")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert not (tmp_path / "cache").exists()


def test_failures_of_the_machine_are_one_sentence_and_exit_1(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_command("train", "--dataset=optdigits", f"--output_dir={tmp_path}/file/cache")
    assert done.returncode == 1
    assert "Cannot write to" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    done = run_command("train", f"--output_dir={tmp_path}/cache", NETWORK_PRUNING_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "train-images-idx3-ubyte.gz" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_leaves_a_complete_run(trained_run):
    assert trained_run.is_complete()
    assert trained_run.config() == SMALL
    result = trained_run.result()
    table = trained_run.sweep()
    assert not unscored(table, fine_curve())
    for method in METHODS:
        rows = Criterion(method).select(table)
        assert rows.sparsity.tolist() == sorted(STOPS)
        dense = rows.iloc[0]
        assert dense.accuracy == result.test_accuracy
        assert dense.loss == result.test_loss
    history = trained_run.history()
    assert history.epoch.tolist() == [1, 2, 3]
    assert history.val_accuracy[result.kept_epoch - 1] == history.val_accuracy.max()


@pytest.fixture
def copied_run(trained_run, tmp_path):
    """A complete run that a test may change."""
    shutil.copytree(trained_run.folder, tmp_path / SMALL.run_id)
    return runs.open_run(SMALL.run_id, tmp_path)


def test_an_existing_run_is_not_retrained_but_scored_further(copied_run):
    before = (copied_run.folder / layout.KERNELS).read_bytes()
    done = run_command("train", *SMALL.to_flags(), f"--output_dir={copied_run.root}", "--k_vals=0.5,0.333")
    assert done.returncode == 0, done.stderr
    assert "trained already" in done.stdout
    assert "Epoch" not in done.stdout
    assert (copied_run.folder / layout.KERNELS).read_bytes() == before
    assert 0.333 in set(copied_run.sweep().sparsity)
    assert set(K_VALUES) < set(copied_run.sweep().sparsity)


def test_the_random_baseline_is_scored_without_touching_what_is_drawn(copied_run):
    drawn = {path: path.read_bytes() for path in copied_run.folder.rglob("*") if path.suffix in (".png", ".gif")}
    results = (copied_run.folder / layout.RESULTS).read_bytes()
    arguments = [f"--output_dir={copied_run.root}", "--notrain", "--baseline", "--k_vals=0.5,0.333"]
    done = run_command("train", *SMALL.to_flags(), *arguments)
    assert done.returncode == 0, done.stderr
    table = copied_run.sweep()
    assert not unscored(table, baseline([0.333, 0.5]))
    assert (copied_run.folder / layout.RESULTS).read_bytes() == results
    assert {path: path.read_bytes() for path in drawn} == drawn
    # Asked for on their own, other sparsities are drawn and tabulated.
    assert run_command("train", *SMALL.to_flags(), *arguments[:2], arguments[3]).returncode == 0
    assert pd.read_csv(copied_run.folder / layout.RESULTS).sparsity.tolist() == [0.333, 0.5]
    assert len(copied_run.histogram_pictures("unit")) == 2


def test_force_train_gives_the_same_kernels_and_replaces_the_run(copied_run, trained_run):
    (copied_run.folder / layout.KERNELS).write_bytes(b"damaged")
    done = run_command("train", *SMALL.to_flags(), f"--output_dir={copied_run.root}", "--force_train")
    assert done.returncode == 0, done.stderr
    for kernel, same in zip(copied_run.kernels(), trained_run.kernels(), strict=True):
        np.testing.assert_array_equal(kernel, same)
    # What nobody asked for is not scored.
    assert set(copied_run.sweep().sparsity) == set(K_VALUES)


def test_damaged_files_are_one_sentence(copied_run):
    (copied_run.folder / layout.KERNELS).write_bytes(b"damaged")
    done = run_command("train", *SMALL.to_flags(), f"--output_dir={copied_run.root}", "--k_vals=0.123")
    assert done.returncode == 1
    assert "Retrain it on the page Training" in done.stderr
    assert done.stderr.endswith("hint: --force_train retrains it.\n")
    assert "Traceback" not in done.stderr


def test_an_experiment_id_is_never_another_network(copied_run):
    done = run_command(
        "train",
        "--dataset=optdigits",
        "--epochs=9",
        f"--experiment_id={SMALL.run_id}",
        f"--output_dir={copied_run.root}",
    )
    assert done.returncode == 2
    assert "epochs 3 (asked: 9)" in done.stderr


def test_a_run_that_does_not_exist_is_not_trained_by_notrain(tmp_path):
    done = run_command("train", *SMALL.to_flags(), f"--output_dir={tmp_path}", "--notrain")
    assert done.returncode == 1
    assert "no complete run" in done.stderr
    assert not list(tmp_path.iterdir())


def test_two_askers_train_once(tmp_path):
    command = ["train", *SMALL.to_flags(), f"--output_dir={tmp_path}"]
    with ThreadPoolExecutor(2) as pool:
        both = [each.result() for each in [pool.submit(run_command, *command) for _ in range(2)]]
    assert [done.returncode for done in both] == [0, 0]
    outputs = [done.stdout for done in both]
    assert sorted("Epoch 3/3  loss" in output for output in outputs) == [False, True]
    tables = [output[output.index(" sparsity") :].splitlines()[: 1 + len(K_VALUES)] for output in outputs]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 1 + len(K_VALUES)


def test_real_mnist_for_one_epoch(mnist, tmp_path):
    """The whole path on the real images, with a network that trains in seconds."""
    done = run_command(
        "train", "--epochs=1", "--hidden_units=64,32", f"--output_dir={tmp_path}", "--k_vals=0,0.5,0.9,1"
    )
    assert done.returncode == 0, done.stderr
    (run,) = runs.list_runs(tmp_path)
    assert run.result().test_accuracy > 0.9
    end = run.sweep()[run.sweep().sparsity == 1]
    assert end.loss.tolist() == pytest.approx([np.log(10)] * 2)
    assert end.accuracy.tolist() == [0.098, 0.098]


def test_on_a_full_disk_nothing_is_drawn_and_the_advice_is_for_that(copied_run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "save_all", full)
    with pytest.raises(RunError, match=r"Cannot draw into .*: No space left on device\. Free some space.*Run the same"):
        make.draw(copied_run, [0.5])


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(monkeypatch, capsys):
    def work() -> None:
        with terminal.progress_bar("Repairing", 4, "network") as bar:
            bar.update()
            terminal.echo("a line")
            bar.refresh()

    work()
    assert capsys.readouterr() == ("a line\n", "")
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    work()
    assert capsys.readouterr().out == "a line\n"
    drawn = screen.getvalue()
    assert "Repairing:  25%" in drawn
    assert "1/4" in drawn
    assert "network" in drawn
    assert drawn.endswith("\r"), "it is wiped off in the end"


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("| true", 1, ""),
        ("> /dev/full", 1, "error: Cannot write the output: No space left on device. Free some space, or send it"),
    ],
)
def test_output_that_cannot_be_written_ends_a_command_without_a_traceback(output, code, said):
    work = "lambda _: [echo('a line') for _ in range(100_000)] and None"
    script = f"from core import command; from core.terminal import echo; command.run({work})"
    typed = f"set -o pipefail; '{sys.executable}' -c \"{script}\" {output}"
    done = subprocess.run(["bash", "-c", typed], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (code, bool(said))
    assert done.stderr.startswith(said)


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (ConfigError("seed: no."), 2, "error: seed: no.\n"),
        (RunBusyError("It is busy."), 1, "error: It is busy.\n"),
        (CancelledError("Cancelled."), 130, "error: Cancelled.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_command_ends_with_the_code_of_its_failure(monkeypatch, capsys, failure, code, said):
    handlers, mains = {}, []

    def fail(main, flags_parser):
        mains.append(main)
        raise failure

    monkeypatch.setattr(command.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(command.app, "run", fail)
    with pytest.raises(SystemExit) as ended:
        command.run(len)
    assert (ended.value.code, mains) == (code, [len])
    assert capsys.readouterr() == ("", said)
    with pytest.raises(KeyboardInterrupt):
        handlers[signal.SIGTERM](signal.SIGTERM, None)


def test_a_path_that_is_refused_is_shown_up_to_a_hundred_characters(monkeypatch):
    def chosen(text):
        monkeypatch.setattr(command.flags, "FLAGS", {"output_dir": SimpleNamespace(value=text)})
        return command.chosen_path("output_dir")

    assert chosen(None) is None
    with pytest.raises(ConfigError, match=r"output_dir: expected a path\. Received nothing\."):
        chosen("")
    assert chosen("~/x") == Path.home() / "x"
    for text, shown in (("~" + "x" * 99, "~" + "x" * 99), ("~" + "x" * 100, "~" + "x" * 99 + "… (101 characters)")):
        with pytest.raises(ConfigError) as failure:
            chosen(text)
        said = f"output_dir: not a valid path. Received: {shown!r}: Could not"
        assert str(failure.value).startswith(said)
        assert not str(failure.value).endswith("..")
