"""What a training does, against Adam written out in NumPy: on which images, at which rate, with which penalties, and
which epoch is kept. Every epoch is one step over all images, so that their order decides nothing."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from core.config import TrainingConfig
from core.datasets import load_dataset
from core.errors import CancelledError, KnownError, RunError
from core.evaluation import evaluate, rms_activations
from core.runs import layout, open_run, write_run
from core.scoring import bench_of, experiment
from core.settings import PROJECT
from core.sweep import Criterion
from tests.commands import run_command

# Large steps, so that accuracy goes up and down and the best epoch is not the last.
PLAIN = TrainingConfig(
    dataset="optdigits", hidden_units=(16,), epochs=11, learning_rate=0.15, num_valid=337, batch_size=1_100, seed=3
)
PENALISED = dataclasses.replace(PLAIN, epochs=12, l1_reg=0.002, l2_reg=0.01)


@pytest.fixture(scope="module")
def data():
    return load_dataset("optdigits")


def initial(config: TrainingConfig) -> list[np.ndarray]:
    from core.training.network import build

    return build(config).get_weights()


def adam_by_hand(config: TrainingConfig, data) -> tuple[pd.DataFrame, list[list[np.ndarray]]]:
    """The history, and the two kernels after each epoch, in double precision."""
    images, labels = (part[config.num_valid :] for part in (data.train.images.astype(float), data.train.labels))
    valid = [part[: config.num_valid or None] for part in (data.train.images, data.train.labels)]
    kernels = [kernel.astype(float) for kernel in initial(config)]
    first, second = ([np.zeros_like(kernel) for kernel in kernels] for _ in range(2))
    rows, after = [], []
    for step in range(1, config.epochs + 1):
        hidden = np.maximum(images @ kernels[0], 0)
        powers = np.exp(hidden @ kernels[1])
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        row = {
            "loss": -np.log(probabilities[np.arange(len(labels)), labels]).mean(),
            "accuracy": np.mean(probabilities.argmax(axis=1) == labels),
        }
        slope = (probabilities - np.eye(10)[labels]) / len(labels)
        penalty = config.l1_reg * np.sign(kernels[0]) + 2 * config.l2_reg * kernels[0]
        slopes = [images.T @ ((slope @ kernels[1].T) * (hidden > 0)) + penalty, hidden.T @ slope]
        for index, gradient in enumerate(slopes):
            first[index] += 0.1 * (gradient - first[index])
            second[index] += 0.001 * (gradient**2 - second[index])
            rate = config.learning_rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            kernels[index] = kernels[index] - rate * first[index] / (np.sqrt(second[index]) + 1e-7)
        score = evaluate([kernel.astype(np.float32) for kernel in kernels], *valid)
        rows.append(row | {"val_loss": score.loss, "val_accuracy": score.accuracy})
        after.append([kernel.copy() for kernel in kernels])
    return pd.DataFrame(rows), after


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("config", [PLAIN, PENALISED], ids=["plain", "penalised"])
def test_training_is_adam_over_the_images_that_are_not_held_out(data, config, keep_best):
    from core.training.fit import fit
    from core.training.network import build

    config = dataclasses.replace(config, keep_best=keep_best)
    expected, after = adam_by_hand(config, data)
    model = build(config)
    history = fit(model, config, data)
    for name in expected:
        # Single precision may tip one or two images over.
        tolerance = 0.007 if "accuracy" in name else 0.002
        np.testing.assert_allclose(history[name], expected[name], atol=tolerance, err_msg=name)
    best = int(history.val_accuracy.idxmax())
    assert history.val_accuracy.max() > history.val_accuracy.iloc[-1] + 0.01
    for kernel, by_hand in zip(model.get_weights(), after[best if keep_best else -1], strict=True):
        np.testing.assert_allclose(kernel, by_hand, atol=5e-3)


def test_of_equally_good_epochs_the_first_is_kept(data):
    """The one that a run then names; steps so small that no prediction changes."""
    from core.training.fit import fit
    from core.training.network import build

    config = dataclasses.replace(PLAIN, learning_rate=1e-6, epochs=3)
    _, after = adam_by_hand(config, data)
    model = build(config)
    history = fit(model, config, data)
    assert history.val_accuracy.nunique() == 1
    np.testing.assert_allclose(model.get_weights()[1], after[0][1], atol=2e-7)


def test_the_penalty_is_on_the_hidden_kernels_only():
    from core.training.network import build

    model = build(dataclasses.replace(PENALISED, hidden_units=(5, 4)))
    kernels = [np.asarray(weights) for weights in model.get_weights()]
    hidden = np.concatenate([kernel.ravel() for kernel in kernels[:-1]])
    expected = PENALISED.l1_reg * np.abs(hidden).sum() + PENALISED.l2_reg * (hidden**2).sum()
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_the_seed_decides_the_initial_weights():
    one, same, other = initial(PLAIN), initial(PLAIN), initial(dataclasses.replace(PLAIN, seed=4))
    for kernel, equal, different in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(kernel, equal)
        assert (kernel != different).all()


def test_images_come_in_batches_of_the_size_asked_for(data):
    from core.training.fit import fit
    from core.training.network import build

    config = dataclasses.replace(PLAIN, epochs=2, batch_size=150)
    steps = []
    fit(build(config), config, data, on_batch=steps.append)
    # 1,100 images: seven batches of 150, and the rest.
    assert [(step.epoch, step.batch, step.batches) for step in steps] == [
        (epoch, batch, 8) for epoch in (1, 2) for batch in range(1, 9)
    ]
    assert config.batches == 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run whose kept epoch is not its last, with a rate, a penalty and images held out of its own."""
    from core.training.train import train_run

    run = open_run("run", tmp_path_factory.mktemp("training"))
    train_run(run, PENALISED, experiment([0.0, 0.5]))
    return run


def test_a_run_holds_the_kept_epoch_and_says_which_it_is(run, data):
    history, result = run.history(), run.result()
    assert history.epoch.tolist() == [*range(1, PENALISED.epochs + 1)]
    assert result.kept_epoch == history.epoch[history.val_accuracy.idxmax()] < PENALISED.epochs
    held_out = PENALISED.num_valid
    valid = evaluate(run.kernels(), data.train.images[:held_out], data.train.labels[:held_out])
    assert valid.accuracy == pytest.approx(history.val_accuracy.max(), abs=1e-6)
    assert valid.accuracy != pytest.approx(history.val_accuracy.iloc[-1], abs=1e-6)
    test = evaluate(run.kernels(), data.test.images, data.test.labels)
    assert (result.test_accuracy, result.test_loss) == (test.accuracy, test.loss)
    dense = Criterion("weight").select(run.sweep()).iloc[0]
    assert (dense.val_accuracy, dense.val_loss) == (valid.accuracy, valid.loss)


def test_the_last_epoch_is_kept_and_named_where_the_best_is_not_asked_for(tmp_path, data, capsys):
    from core.training.train import train_run

    config = dataclasses.replace(PENALISED, keep_best=False)
    run = open_run("last", tmp_path)
    train_run(run, config, experiment([0.0]))
    assert run.history().val_accuracy.idxmax() < config.epochs - 1
    assert run.result().kept_epoch == config.epochs
    first, *said = capsys.readouterr().out.splitlines()
    assert first == "Training last: 1,184 weights, 12 epochs."
    assert said == [
        f"Epoch {row.epoch}/12  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  val_loss {row.val_loss:.4f}  "
        f"val_accuracy {row.val_accuracy:.4f}  {row.seconds:.1f} s"
        for row in run.history().itertuples()
    ]


def test_without_validation_images_nothing_is_said_of_them(tmp_path, data, capsys):
    from core.training.train import train_run

    config = dataclasses.replace(PLAIN, num_valid=0, batch_size=1_437, keep_best=False, epochs=2)
    run = open_run("blind", tmp_path)
    train_run(run, config, experiment([0.0]))
    expected, after = adam_by_hand(dataclasses.replace(config, num_valid=0), data)
    np.testing.assert_allclose(run.history().loss, expected.loss, atol=0.002)
    np.testing.assert_allclose(run.kernels()[1], after[-1][1], atol=5e-3)
    assert run.history()[["val_loss", "val_accuracy"]].isna().all(axis=None)
    assert run.sweep().val_accuracy.isna().all()
    assert run.result().kept_epoch == 2
    assert "val_" not in capsys.readouterr().out


def test_a_training_that_diverges_says_what_to_do(tmp_path, monkeypatch):
    from core.training import train as training

    def fit(model, config, data, on_batch, on_epoch, **more):
        on_epoch(pd.DataFrame([{"epoch": 1, "loss": 0.5, "accuracy": 0.1, "val_loss": None, "seconds": 1.0}]))
        on_epoch(pd.DataFrame([{"epoch": 2, "loss": np.nan, "accuracy": 0.1, "val_loss": None, "seconds": 1.0}]))

    monkeypatch.setattr("core.training.fit.fit", fit)
    with pytest.raises(KnownError, match=r"after epoch 2\. Choose a learning rate below 0\.15\."):
        training.train_run(open_run("diverged", tmp_path), PLAIN, experiment([0.0]))


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [(MemoryError, KnownError, "not enough memory to train full"), (KeyboardInterrupt, CancelledError, "cancelled")],
)
def test_what_stops_a_training_from_outside_is_a_sentence(tmp_path, monkeypatch, failure, error, words):
    from core.training import train as training

    def fit(*arguments, **more):
        raise failure

    monkeypatch.setattr("core.training.fit.fit", fit)
    with pytest.raises(error, match=words):
        training.train_run(open_run("full", tmp_path), PLAIN, experiment([0.0]))


def test_what_activations_rank_by_is_of_training_images(run, data):
    kept = run.activations()
    for rms, expected, elsewhere in zip(
        kept,
        rms_activations(run.kernels(), data.train.images),
        rms_activations(run.kernels(), data.test.images),
        strict=True,
    ):
        np.testing.assert_allclose(rms, expected, rtol=1e-6)
        assert not np.allclose(rms, elsewhere, rtol=1e-3)


def test_a_network_is_chosen_repaired_and_scored_on_different_images(run, data):
    """Validation images are the first ones, for repair are the others, and for scores those of the test."""
    fresh = load_dataset("optdigits")
    bench = bench_of(run.kernels(), PENALISED, fresh)
    held_out = PENALISED.num_valid
    next(bench.score(Criterion("weight"), [0.5]))
    assert "train" not in vars(fresh), "images for repair take gigabytes where nothing is repaired"
    np.testing.assert_array_equal(bench.validation[0], data.train.images[:held_out])
    np.testing.assert_array_equal(bench.validation[1], data.train.labels[:held_out])
    np.testing.assert_array_equal(bench.unlabelled(), data.train.images[held_out:])
    np.testing.assert_array_equal(bench.images, data.test.images)
    np.testing.assert_array_equal(bench.labels, data.test.labels)


@pytest.mark.parametrize(("state", "reason"), [(None, "deleted"), ("No space left.", "No space left."), ("", "failed")])
def test_whoever_waits_for_a_training_is_told_how_it_ended(cache, monkeypatch, capsys, state, reason):
    from core.training import train

    run = open_run(PLAIN.run_id)
    with write_run(run, PLAIN) as other:

        def sleep(seconds):
            other.discard()
            if state is not None:
                run.part.mkdir()
                (run.part / layout.STATE).write_text(json.dumps({"phase": "failed", "message": state}))

        monkeypatch.setattr(train, "time", SimpleNamespace(sleep=sleep))
        with pytest.raises(RunError, match=rf"ended early: {re.escape(reason)}\."):
            train._wait_for(run)
    assert "is being trained by another process; waiting for it." in capsys.readouterr().out


def test_settings_of_keras_change_no_network(tmp_path):
    """They are read when Keras is imported, so in a process that has not done so."""
    config = TrainingConfig(dataset="optdigits", hidden_units=(8,), epochs=2)
    keras = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "torch"}
    (tmp_path / "keras.json").write_text(json.dumps(keras))
    other = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch", "KERAS_MAX_EPOCHS": "1"}
    command = ["train", *config.to_flags(), "--k_vals=0"]
    done = subprocess.run(
        [sys.executable, "-m", f"core.{command[0]}", *command[1:], f"--output_dir={tmp_path / 'other'}"],
        cwd=PROJECT,
        env=os.environ | other,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert run_command(*command, f"--output_dir={tmp_path / 'own'}").returncode == 0
    changed, own = (open_run(config.run_id, tmp_path / name).kernels() for name in ("other", "own"))
    for kernel, same in zip(changed, own, strict=True):
        np.testing.assert_array_equal(kernel, same)
