"""A training that was interrupted goes on from its last completed epoch, and ends with the very same network."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import runs
from core.config import RecoveryConfig
from core.datasets import load_dataset
from core.errors import CancelledError, RunError
from core.runs import layout
from core.scoring import experiment
from core.settings import PROJECT
from tests.conftest import SMALL, step_by_step

SHORT = dataclasses.replace(SMALL, epochs=4, hidden_units=(20, 12), batch_size=700)
BEST_BEFORE = dataclasses.replace(SHORT, learning_rate=0.2, epochs=5)
TRAININGS = {
    "plain": (SHORT, 1),
    "the best epoch comes before": (BEST_BEFORE, 4),
    "penalized": (dataclasses.replace(SHORT, l1_reg=1e-3), 1),
    "without validation": (dataclasses.replace(SHORT, num_valid=0, keep_best=False), 3),
}
"""What is trained, and the epoch from whose end it goes on."""
RECOVERIES = [
    {"how": "gradual", "epochs": 6},
    {"how": "gradual", "method": "unit", "epochs": 6},
    {"how": "finetune", "epochs": 4},
    {"how": "rewind", "method": "unit", "rewind_epoch": 1, "epochs": 4},
]


@pytest.fixture(scope="module")
def data():
    return load_dataset("optdigits")


def same(kernels, others):
    return all(np.array_equal(kernel, other) for kernel, other in zip(kernels, others, strict=True))


@pytest.mark.parametrize(("config", "epoch"), TRAININGS.values(), ids=TRAININGS)
def test_a_fit_goes_on_bit_for_bit(config, epoch, data):
    from core.training.fit import fit
    from core.training.network import build

    checkpoints, model = [], build(config)
    history = fit(model, config, data, on_checkpoint=checkpoints.append)
    assert [checkpoint.epoch for checkpoint in checkpoints] == list(range(1, config.epochs + 1))
    if config is BEST_BEFORE:
        assert history.val_accuracy.idxmax() + 1 <= epoch
    again = build(dataclasses.replace(config, seed=7))
    from keras.utils import set_random_seed

    set_random_seed(config.seed)
    steps = []
    later = fit(again, config, data, steps.append, checkpoint=checkpoints[epoch - 1])
    assert steps[0].epoch == epoch + 1
    assert same(again.get_weights(), model.get_weights())
    np.testing.assert_array_equal(later.drop(columns="seconds"), history.drop(columns="seconds"))


@pytest.mark.parametrize("choices", RECOVERIES, ids=lambda choices: "-".join(map(str, choices.values())))
def test_training_on_goes_on_bit_for_bit(choices, trained_run, data):
    from core.training.finetune import finetune

    config = RecoveryConfig(SMALL, SMALL.run_id, sparsity=0.8, **choices)
    checkpoints, parent = [], trained_run.kernels()
    whole = finetune(config, parent, data, on_checkpoint=checkpoints.append)
    steps, checkpoint = [], checkpoints[config.epochs // 2 - 1]
    assert same(
        finetune(config, parent, data, steps.append, checkpoint=checkpoint).network.matrices, whole.network.matrices
    )
    assert steps[0].epoch == checkpoint.epoch + 1 == config.epochs // 2 + 1


def train(config=SHORT, interrupted_in=None):
    """Train a run in this process, up to an epoch if one is named."""
    from core.training import train as training

    run = runs.open_run(config.run_id)

    def batch(self, step):
        if step.epoch == interrupted_in:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, step_by_step():
        if interrupted_in:
            patch.setattr(training.Reporter, "batch", batch)
            with pytest.raises(CancelledError):
                training.train_run(run, config, experiment([0.5]))
        else:
            training.train_run(run, config, experiment([0.5]))
    return run


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """What a training leaves that was interrupted in epoch 3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETWORK_PRUNING_CACHE", str(tmp_path_factory.mktemp("interrupted")))
        return train(interrupted_in=3).part


@pytest.fixture
def interrupted(cache, part):
    """A run whose training was interrupted in epoch 3."""
    run = runs.open_run(SHORT.run_id)
    shutil.copytree(part, run.part)
    return run


@pytest.fixture(scope="module")
def whole(data):
    """The kernels of a training that nobody interrupted."""
    from core.training.fit import fit
    from core.training.network import build

    model = build(SHORT)
    with step_by_step():
        fit(model, SHORT, data)
    return model.get_weights()


def test_an_interrupted_run_goes_on_and_says_so(cache, whole, capsys):
    run = train(interrupted_in=2)
    assert run.kept_epochs() == 1
    run = train(interrupted_in=4)
    assert "goes on from the end of epoch 1" in capsys.readouterr().out
    assert run.kept_epochs() == 3
    before = run.history(of_training=True).seconds.sum()
    run = train()
    said = capsys.readouterr().out
    assert "goes on from the end of epoch 3" in said
    assert "Epoch 3/4" not in said
    assert "Epoch 4/4" in said
    assert same(run.kernels(), whole)
    assert run.history().epoch.tolist() == [1, 2, 3, 4]
    assert run.result().training_seconds > before
    assert not (run.folder / layout.CHECKPOINT).exists()
    assert not run.part.exists()


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "emptied": lambda path: path.write_bytes(b""),
    "doubled": lambda path: path.write_bytes(path.read_bytes() * 2),
    **{f"flipped at {at}": lambda path, at=at: _flip(path, at) for at in (0, 0.001, 0.3, 0.9, 1)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_known_to_be(interrupted, damage):
    damage(interrupted.part / layout.CHECKPOINT)
    with (
        runs.write_run(interrupted, SHORT) as writer,
        pytest.raises(RunError, match=r"^The checkpoint .* is damaged"),
    ):
        writer.kept({})


def test_a_damaged_checkpoint_leads_to_a_training_from_the_beginning(interrupted, whole, capsys):
    DAMAGES["truncated"](interrupted.part / layout.CHECKPOINT)
    run = train()
    said = capsys.readouterr().out
    assert "is damaged" in said
    assert "Training starts from the beginning." in said
    assert "Epoch 1/4" in said[said.index("is damaged") :]
    assert same(run.kernels(), whole)


def test_a_checkpoint_that_is_a_link_is_not_followed(interrupted, tmp_path, capsys):
    path = interrupted.part / layout.CHECKPOINT
    outside = path.rename(tmp_path / "outside")
    content = outside.read_bytes()
    path.symlink_to(outside)
    train(interrupted_in=1)
    assert "Training starts from the beginning." in capsys.readouterr().out
    assert outside.read_bytes() == content


@pytest.mark.parametrize("what", ["_versions", "_machine"])
def test_a_checkpoint_of_other_versions_is_not_taken(interrupted, capsys, monkeypatch, what):
    from core.training import train as training

    monkeypatch.setattr(training, what, lambda: {"keras": "9"} if what == "_versions" else "another machine")
    train(interrupted_in=1)
    said = capsys.readouterr().out
    assert "with other images or versions, or on another machine" in said
    assert "goes on" not in said


def test_a_checkpoint_of_another_configuration_is_not_taken(interrupted, capsys):
    """As after an interrupted training of the same experiment id."""
    other = dataclasses.replace(SHORT, learning_rate=0.002)
    interrupted.part.rename(runs.open_run(other.run_id).part)
    run = train(other)
    assert "goes on" not in capsys.readouterr().out
    assert run.config() == other


def test_a_checkpoint_that_cannot_be_written_ends_no_training(cache, whole, capsys, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.RunWriter, "keep", full)
    run = train()
    assert capsys.readouterr().out.count("cannot keep what this training would go on from: No space left") == 1
    assert same(run.kernels(), whole)


def test_the_page_says_where_a_training_goes_on(interrupted):
    state = json.loads((interrupted.part / layout.STATE).read_text())
    assert state["phase"] == "cancelled"
    app = AppTest.from_file(str(PROJECT / "pages" / "training.py"), default_timeout=60)
    for name in ("dataset", "epochs", "batch_size"):
        app.query_params[name] = str(getattr(SHORT, name))
    app.query_params["hidden_units"] = "20,12"
    app.run()
    assert not app.exception
    assert "It goes on from the end of epoch 2." in app.warning[0].value
    assert app.button(key="train_again").label == "Go on"
    app.button(key="discard").click().run()
    assert not interrupted.part.exists()
