"""Training a pruned network on: what is pruned stays zero, the counts are exact, and the run that comes of it knows its
parent and opens on every page."""

import dataclasses
import functools
import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, links, runs
from core.analysis.comparison import fold_seeds, long_table
from core.config import HOWS, ConfigError, RecoveryConfig, TrainingConfig, is_made_id, read_config
from core.datasets import load_dataset
from core.errors import CancelledError, KnownError
from core.evaluation import evaluate
from core.exports.archive import archive
from core.exports.report import report
from core.network import as_network, chain
from core.pruning import METHODS, prune, prune_count
from core.runs import Phase, layout
from core.scoring import experiment
from core.settings import PROJECT
from tests.commands import run_command
from tests.conftest import SMALL

K = 0.8


def config_of(**choices):
    return RecoveryConfig(SMALL, SMALL.run_id, **{"sparsity": K, "epochs": 4} | choices)


@pytest.fixture(scope="module")
def data():
    return load_dataset("optdigits")


@pytest.fixture(scope="module")
def parent(trained_run):
    return trained_run.kernels()


@pytest.fixture(scope="module")
def tuned(parent, data):
    """Fine-tune as asked for, each way once."""
    from core.training.finetune import finetune

    return functools.cache(lambda **choices: finetune(config_of(**choices), parent, data))


@pytest.fixture(scope="module")
def tuned_run(trained_run, tmp_path_factory):
    """A run fine-tuned by the earlier name of the command, in a cache with its parent. Tests must not change it."""
    root = tmp_path_factory.mktemp("tuned")
    shutil.copytree(trained_run.folder, root / trained_run.id)
    done = run_command(
        "recover",
        *(f"--run={SMALL.run_id}", f"--sparsity={K}", "--epochs=2", f"--output_dir={root}", "--k_vals=0,0.8,0.9"),
    )
    assert done.returncode == 0, done.stderr
    return runs.open_run(config_of(epochs=2).run_id, root)


@pytest.fixture
def copied(tuned_run, cache):
    """The same run in a cache that a test may change."""
    shutil.copytree(tuned_run.root, cache, dirs_exist_ok=True)
    return runs.open_run(tuned_run.id)


# The configuration


def test_a_recovery_has_an_id_of_its_own_for_everything_that_decides_it():
    config = config_of()
    others = [
        *(dataclasses.replace(config, **{name: value}) for name, value in {"epochs": 5, "seed": 7}.items()),
        *(dataclasses.replace(config, **{name: value}) for name, value in {"start": "dense", "method": "unit"}.items()),
        *(
            config_of(sparsity=0.81),
            config_of(learning_rate=0.5),
            config_of(distillation=0.1),
            config_of(how="gradual"),
            config_of(how="rewind"),
        ),
        *(config_of(how="rewind", rewind_epoch=1), dataclasses.replace(config, parent="other")),
        dataclasses.replace(config, training=dataclasses.replace(SMALL, seed=1)),
    ]
    ids = [each.run_id for each in (config, *others, SMALL)]
    assert len(set(ids)) == len(ids)
    assert all(layout.is_run_id(run_id) and len(run_id) < 60 for run_id in ids)
    assert config.run_id.startswith("optdigits-finetune-weight-0.8-e4-")
    assert not is_made_id(config.run_id)
    for each in others:
        assert read_config(json.loads(json.dumps(each.to_dict()))) == each


def test_recoveries_leave_the_ids_of_trainings():
    assert TrainingConfig().run_id == "digits-e20-lr0.001-77cf15e239"
    assert read_config(SMALL.to_dict()) == SMALL


def test_the_default_settings_and_the_ids_that_come_of_them_stay_what_they_were():
    """An id that changed would be another run, and the one in the cache would be trained again."""
    parent = TrainingConfig()
    usual = RecoveryConfig(parent, parent.run_id)
    assert usual.run_id == "digits-finetune-weight-0.9-e12-540e12cfb5"
    assert (usual.start, usual.learning_rate, usual.distillation) == ("repaired", 0.006, 0.5)
    last = dataclasses.replace(parent, seed=2**32 - 5)
    fresh = RecoveryConfig(last, "p", how="reinit", method="unit", sparsity=0.5)
    assert fresh.run_id == "digits-reinit-unit-0.5-e12-3126a032fc"
    # Seeds begin anew after the last one.
    assert (fresh.start, fresh.learning_rate, fresh.distillation, fresh.seed) == ("dense", 0.003, 0.0, 995)
    gradual = RecoveryConfig(parent, "p", how="gradual")
    assert (gradual.start, gradual.learning_rate, gradual.distillation) == ("dense", 0.0015, 0.5)
    assert (gradual.default_of("epochs"), gradual.default_of("hidden_units")) == (12, (1000, 1000, 500, 200))


def test_a_recovery_is_said_in_full_wherever_it_is_said():
    choices = {"how": "gradual", "start": "repaired", "learning_rate": 0.5, "distillation": 0.1, "epochs": 1, "seed": 4}
    config = config_of(**choices)
    assert config.recipe == "gradual weight 0.8, 1 epoch, from repaired, learning rate 0.5, distillation 0.1"
    assert config_of(how="rewind", rewind_epoch=2, method="unit").recipe == ("rewind to epoch 2 unit 0.8, 4 epochs")
    assert config.describe() == f"{SMALL.describe()}, fine-tuned: {config.recipe}"
    assert config.to_flags() == [
        *(f"--run={SMALL.run_id}", "--how=gradual", "--method=weight", "--sparsity=0.8", "--epochs=1"),
        *("--start=repaired", "--learning_rate=0.5", "--distillation=0.1", "--rewind_epoch=0", "--seed=4"),
    ]
    own = {"parent": SMALL.run_id, "method": "weight", "sparsity": 0.8, "rewind_epoch": 0, **choices}
    assert config.facts() == own | {f"parent {name}": value for name, value in SMALL.facts().items()}
    assert config.to_dict() == own | {"training": SMALL.to_dict()}
    assert config.to_row() == SMALL.to_dict() | {"parent": SMALL.run_id, "trained_on": config.recipe}
    for name in ("dataset", "spec", "batch_size", "num_valid", "keep_best", "l1_reg", "l2_reg", "hidden_units"):
        assert getattr(config, name) == getattr(SMALL, name)
    for name in ("layer_shapes", "parameter_count", "batches"):
        assert getattr(config, name) == getattr(SMALL, name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 0.9}, r"Expected fields among parent, training, how, .*Received: .*momentum"),
        ({"training": None}, r"Expected fields among parent, training, how, .*Received: "),
        ({"parent": 3}, "parent: expected a run id. Received: 3."),
        ({"training": {"momentum": 0.9}}, "Received: momentum"),
    ],
)
def test_what_was_written_down_otherwise_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        read_config(config_of().to_dict() | change)


def test_the_limits_themselves_are_allowed_and_nothing_beyond_them():
    for name, allowed, refused in (
        ("epochs", (1, 10_000), 10_001),
        ("sparsity", (0, 0.999), 1.001),
        ("learning_rate", (1e-9, 1), 1.001),
        ("distillation", (0, 1), 1.001),
        ("seed", (0, 2**32 - 1), 2**32),
    ):
        for value in allowed:
            assert getattr(config_of(**{name: value}), name) == value
        with pytest.raises(ConfigError, match=f"^{name}: "):
            config_of(**{name: refused})
    # After its last epoch is where the parent is; what is later was never there.
    assert config_of(how="rewind", rewind_epoch=SMALL.epochs).rewind_epoch == 3
    with pytest.raises(ConfigError, match=r"expected 0 to 3 \(the parent was trained for 3\)\. Received: 4\."):
        config_of(how="rewind", rewind_epoch=4)


def test_seeds_are_those_of_the_parents_and_in_no_label():
    configs = [RecoveryConfig(dataclasses.replace(SMALL, seed=seed), "x", sparsity=0.9) for seed in (0, 3)]
    assert [config.seed for config in configs] == [0, 3]
    assert configs[0].describe() == configs[1].describe()
    assert config_of(how="reinit").seed != SMALL.seed
    assert "0.8" in config_of().describe()
    assert len({config_of(how=how).describe() for how in HOWS}) == len(HOWS)


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"sparsity": 1}, "sparsity"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"how": "magic"}, "how"),
        ({"method": "layer"}, "method"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"how": "rewind", "start": "repaired"}, "start"),
        ({"rewind_epoch": 1}, "rewind_epoch"),
        ({"how": "rewind", "rewind_epoch": 4}, "rewind_epoch"),
        ({"how": "reinit", "seed": 0}, "seed"),
        ({"training": config_of()}, "run"),
    ],
)
def test_values_out_of_range_are_one_sentence(choices, word):
    with pytest.raises(ConfigError, match=f"^{word}: ") as caught:
        dataclasses.replace(config_of(how=choices.get("how", "finetune")), **choices)
    assert "eceived" in str(caught.value)


# Training


def zeros(kernel, method):
    return np.count_nonzero(~(kernel != 0).any(axis=0)) if method == "unit" else np.count_nonzero(kernel == 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", HOWS)
def test_exactly_as_much_is_zero_as_pruning_zeroes(tuned, parent, how, method):
    kernels = tuned(how=how, method=method).network.matrices
    assert [kernel.shape for kernel in kernels] == [kernel.shape for kernel in parent]
    assert {kernel.dtype for kernel in kernels} == {np.dtype(np.float32)}
    for kernel in kernels[:-1]:
        total = kernel.shape[1] if method == "unit" else kernel.size
        assert zeros(kernel, method) == prune_count(total, K)
        if method == "unit":
            assert np.count_nonzero(kernel) == (total - prune_count(total, K)) * len(kernel)
    assert np.count_nonzero(kernels[-1]) == kernels[-1].size


def softmax(outputs):
    powers = np.exp(outputs)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", METHODS)
def test_training_on_is_adam_with_a_falling_rate_from_labels_and_the_dense_networks_answers(data, method):
    """Against the same written out in NumPy; every epoch is one step over all images, so that no order decides."""
    from core.training.finetune import finetune
    from core.training.network import build

    training = TrainingConfig(
        **{"dataset": "optdigits", "hidden_units": (16,), "num_valid": 337, "batch_size": 1_100, "keep_best": False},
        **{"l1_reg": 0.002, "l2_reg": 0.01, "seed": 3},
    )
    choices = {"method": method, "sparsity": 0.5, "start": "dense", "epochs": 6}
    config = RecoveryConfig(training, "x", learning_rate=0.05, distillation=0.3, **choices)
    # Louder than they begin, so that the softened answers are not all alike.
    parent = [3 * kernel for kernel in build(training).get_weights()]
    done = finetune(config, parent, data)

    labels, images = data.train.labels, data.train.images.astype(float)
    answers = softmax(np.maximum(images @ parent[0], 0) @ parent[1] / 4)
    held_out, share = training.num_valid, 0.3
    kernels = [kernel.astype(float) for kernel in prune(parent, method, 0.5)]
    masks = [kernels[0] != 0, True]
    first, second = ([np.zeros_like(kernel) for kernel in kernels] for _ in range(2))
    for step in range(1, 7):
        hidden = np.maximum(images @ kernels[0], 0)
        outputs = hidden @ kernels[1]
        probabilities = softmax(outputs)
        mine = slice(held_out, None)
        row = done.history.iloc[step - 1]
        right = probabilities[np.arange(len(labels)), labels][mine]
        assert row.loss == pytest.approx(-np.log(right).mean(), abs=2e-3)
        assert row.accuracy == pytest.approx(np.mean((outputs.argmax(axis=1) == labels)[mine]), abs=0.007)
        slope = (1 - share) * (probabilities - np.eye(10)[labels]) + share * 4 * (softmax(outputs / 4) - answers)
        slope = slope[mine] / len(labels[mine])
        penalty = 0.002 * np.sign(kernels[0]) + 2 * 0.01 * kernels[0]
        slopes = [images[mine].T @ ((slope @ kernels[1].T) * (hidden[mine] > 0)) + penalty, hidden[mine].T @ slope]
        falling = 0.05 * (1 + np.cos(np.pi * (step - 1) / 6)) / 2
        for index, gradient in enumerate(slopes):
            first[index] += 0.1 * (gradient - first[index])
            second[index] += 0.001 * (gradient**2 - second[index])
            rate = falling * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            kernels[index] -= rate * first[index] / (np.sqrt(second[index]) + 1e-7)
            kernels[index] *= masks[index]
        valid = evaluate([kernel.astype(np.float32) for kernel in kernels], images[:held_out], labels[:held_out])
        assert row.val_loss == pytest.approx(valid.loss, abs=2e-3)
        assert row.val_accuracy == pytest.approx(valid.accuracy, abs=0.007)
        assert row.sparsity == pytest.approx(0.5)
    for kernel, by_hand in zip(done.network.matrices, kernels, strict=True):
        np.testing.assert_allclose(kernel, by_hand, atol=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_masks_take_the_smallest_of_then_and_what_was_pruned_first_stays_pruned(method):
    """At each of four stages, of random weights of which the largest are pruned from the beginning."""
    from core.training.masks import TighteningMasks
    from core.training.network import layered

    random = np.random.default_rng(5)
    sizes = (64, 12, 8, 10)
    weights = [random.normal(size=shape).astype(np.float32) for shape in zip(sizes, sizes[1:], strict=False)]
    inputs = [1 if method == "weight" else size for size in sizes[:2]]

    def scores():
        if method == "weight":
            return [np.abs(kernel) for kernel in weights[:-1]]
        # What comes into a unit times what goes out of it.
        return [
            np.linalg.norm(into, axis=0) * np.linalg.norm(out, axis=1)
            for into, out in zip(weights, weights[1:], strict=False)
        ]

    kept = [each < np.sort(each, axis=None)[-each.size // 4] for each in scores()]
    masks = TighteningMasks(method, kept, inputs, sparsity=0.75, steps=4)
    masks.set_model(layered(chain(pairwise(sizes)), SMALL, masks.constraints))
    masks.model.set_weights(weights)
    whole = sum(mask.size * each for mask, each in zip(kept, inputs, strict=True))
    first = [int((~mask).sum()) for mask in kept]
    for step in range(1, 5):
        masks.on_train_batch_end(0)
        for layer, (mask, begun) in enumerate(zip(kept, first, strict=True)):
            end = 0.75 * mask.size
            gone = int(end + (begun - end) * (1 - step / 4) ** 3)
            left = np.where(mask, scores()[layer], -1)
            expected = left > np.sort(left, axis=None)[gone - 1]
            assert (~expected).sum() == gone
            np.testing.assert_array_equal(masks.kept[layer], expected)
            mask[...] = expected
            weights[layer] = weights[layer] * expected
        for kernel, now in zip(weights, masks.model.get_weights(), strict=True):
            np.testing.assert_array_equal(kernel, now)
        zero = sum((~mask).sum() * each for mask, each in zip(kept, inputs, strict=True))
        assert masks.sparsity == pytest.approx(zero / whole)
        assert masks.are_final == (step == 4)
    masks.on_train_batch_end(0)
    assert masks.step == 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["finetune", "gradual"])
def test_what_is_kept_is_the_best_epoch_at_full_sparsity(tuned, data, how, method):
    done = tuned(how=how, method=method)
    valid = [part[: SMALL.num_valid] for part in (data.train.images, data.train.labels)]
    history = done.history
    assert history.sparsity.is_monotonic_increasing
    assert history.sparsity.iloc[-1] == pytest.approx(K, abs=1e-3)
    full = history[history.sparsity == history.sparsity.iloc[-1]]
    assert (len(full) < len(history)) == (how == "gradual")
    # The network that trained, without what is dead in it, is the one that is handed back.
    assert evaluate(done.network, *valid).accuracy == pytest.approx(full.val_accuracy.max(), abs=1e-6)


def test_an_epoch_that_is_not_pruned_to_the_end_is_never_kept(tuned, data):
    done = tuned(how="gradual", sparsity=0.97, learning_rate=0.01)
    full = done.history.sparsity == done.history.sparsity.iloc[-1]
    assert done.history.val_accuracy[~full].max() > done.history.val_accuracy[full].max()
    valid = [part[: SMALL.num_valid] for part in (data.train.images, data.train.labels)]
    assert evaluate(done.network, *valid).accuracy == pytest.approx(done.history.val_accuracy[full].max(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_masks_only_tighten_and_hold_at_every_step(parent, data, method):
    from core.training.fit import fit
    from core.training.masks import TighteningMasks
    from core.training.network import compiled, layered

    kept = [np.ones(kernel.shape if method == "weight" else kernel.shape[1], bool) for kernel in parent[:-1]]
    each = [1 if method == "weight" else len(kernel) for kernel in parent[:-1]]
    masks = TighteningMasks(method, kept, each, K, steps=25)
    model = compiled(layered(chain(SMALL.layer_shapes), SMALL, masks.constraints), SMALL, 0.01)
    model.set_weights(parent)
    seen = [kept]

    def look(step):
        now = [mask.copy() for mask in masks.kept]
        for before, after, kernel in zip(seen[-1], now, model.get_weights(), strict=False):
            assert not (after & ~before).any()
            assert not kernel[np.broadcast_to(~after, kernel.shape)].any()
        seen.append(now)

    fit(model, SMALL, data, look, masks=masks)
    counts = [[int((~mask).sum()) for mask in masks] for masks in seen]
    assert counts[25:] == [[prune_count(mask.size, K) for mask in kept]] * len(counts[25:])
    assert 5 < len({tuple(count) for count in counts}) <= 27
    # Cubic: half of the way, seven eighths are done.
    size = kept[0].size
    assert counts[13][0] / size == pytest.approx(K * (1 - (12 / 25) ** 3), abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_equal_settings_give_equal_kernels(parent, data, tuned, method):
    from core.training.finetune import finetune

    again = finetune(config_of(method=method), parent, data)
    for kernel, same in zip(tuned(method=method).network.matrices, again.network.matrices, strict=True):
        np.testing.assert_array_equal(kernel, same)


def test_it_learns(tuned, data, parent):
    test = data.test.images, data.test.labels
    for method in METHODS:
        begun = evaluate(prune(parent, method, K), *test).accuracy
        assert evaluate(tuned(method=method).network, *test).accuracy > begun + 0.1


def test_rewind_goes_back_to_the_weights_of_that_epoch(parent, data, trained_run):
    from core.training.finetune import start_of
    from core.training.network import build

    pruned = prune(parent, "weight", K)
    mask = [kernel != 0 for kernel in pruned[:-1]] + [True]
    kept_epoch = trained_run.result().kept_epoch
    for epoch, weights in ((0, build(SMALL).get_weights()), (kept_epoch, parent)):
        start = start_of(config_of(how="rewind", rewind_epoch=epoch), as_network(parent), data).network.matrices
        for kernel, expected, kept in zip(start, weights, mask, strict=True):
            np.testing.assert_array_equal(kernel, np.where(kept, expected, 0))
    fresh = start_of(config_of(how="reinit"), as_network(parent), data).network.matrices
    assert all(np.array_equal(a != 0, b != 0) for a, b in zip(fresh[:-1], pruned[:-1], strict=True))
    initial = build(SMALL).get_weights()
    assert not any(np.any((a == b) & (a != 0)) for a, b in zip(fresh, initial, strict=True))


def test_finetune_begins_as_pruned_or_as_repaired(parent, data):
    from core.training.finetune import start_of

    as_pruned = start_of(config_of(start="dense"), as_network(parent), data)
    for kernel, expected in zip(as_pruned.network.matrices, prune(parent, "weight", K), strict=True):
        np.testing.assert_array_equal(kernel, expected)
    assert as_pruned.images == as_pruned.seconds == 0
    repaired = start_of(config_of(), as_network(parent), data)
    assert repaired.images == len(data.train.images) - SMALL.num_valid
    assert repaired.seconds > 0
    test = data.test.images, data.test.labels
    assert evaluate(repaired.network, *test).accuracy > evaluate(as_pruned.network, *test).accuracy
    # What is kept at zero is single weights, or whole units, whatever single weights of a unit came to.
    for kept, kernel in zip(repaired.kept, repaired.network.matrices, strict=False):
        np.testing.assert_array_equal(kept, kernel != 0)
    units = start_of(config_of(method="unit"), as_network(parent), data)
    for kept, kernel in zip(units.kept, units.network.matrices, strict=False):
        np.testing.assert_array_equal(kept, (kernel != 0).any(axis=0))


def test_nothing_left_to_train_is_a_sentence(parent, data):
    from core.training.finetune import finetune

    with pytest.raises(KnownError, match=r"Nothing is left to train at k = 0\.9999"):
        finetune(config_of(sparsity=0.9999, start="dense"), parent, data)


@pytest.mark.parametrize(("method", "k"), [("weight", 0.99), ("weight", 0.9), ("unit", 0.9)])
def test_the_small_control_has_about_as_many_weights_as_are_left(method, k):
    from core.training.finetune import small_control

    config = RecoveryConfig(TrainingConfig(), "x", method=method, sparsity=k)
    small = small_control(config)
    left = {("weight", 0.99): 25_840, ("weight", 0.9): 240_400, ("unit", 0.9): 94_600}[method, k]
    assert 0.95 * left < small.parameter_count <= left
    assert small.epochs == 20 + config.epochs
    assert small.dataset == "digits"


# The run


def test_the_command_leaves_a_run_that_knows_its_parent(tuned_run, trained_run, data):
    config = tuned_run.config()
    assert config == config_of(epochs=2)
    assert config.parent == trained_run.id
    assert config.training == trained_run.config()
    history, result = tuned_run.history(), tuned_run.result()
    assert history.columns.tolist() == [*trained_run.history().columns, "sparsity"]
    assert len(history) == 2
    assert history.val_accuracy[result.kept_epoch - 1] == history.val_accuracy.max()
    assert result.repair_images == len(data.train.images) - SMALL.num_valid
    assert 0 < result.repair_seconds < result.training_seconds
    rows = tuned_run.sweep().set_index(["method", "sparsity"])
    assert rows.accuracy["weight", 0.8] == rows.accuracy["weight", 0] == result.test_accuracy
    table = runs.runs_table(tuned_run.root).set_index("run")
    assert table.parent[tuned_run.id] == trained_run.id
    assert table.trained_on[tuned_run.id] == "finetune weight 0.8, 2 epochs"
    assert table.parent[trained_run.id] == table.trained_on[trained_run.id] == "none"
    assert table.epochs[tuned_run.id] == SMALL.epochs


def test_the_saved_model_is_the_network_that_was_scored(tuned_run, data):
    import keras

    model = keras.models.load_model(tuned_run.folder / layout.MODEL)
    for kernel, weights in zip(tuned_run.kernels(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(kernel, weights)
    probabilities = model.predict(data.test.images, verbose=0)
    ours = evaluate(tuned_run.kernels(), data.test.images, data.test.labels)
    assert ours.accuracy == np.mean(probabilities.argmax(axis=1) == data.test.labels)
    assert ours.accuracy == tuned_run.result().test_accuracy


def test_it_is_not_trained_again_and_is_scored_further_without_its_parent(copied):
    before = (copied.folder / layout.KERNELS).read_bytes()
    shutil.rmtree(copied.root / SMALL.run_id)
    done = run_command(
        "finetune", "--notrain", f"--experiment_id={copied.id}", f"--output_dir={copied.root}", "--k_vals=0.333"
    )
    assert done.returncode == 0, done.stderr
    assert "trained already" in done.stdout
    assert (copied.folder / layout.KERNELS).read_bytes() == before
    assert 0.333 in set(copied.sweep().sparsity)
    assert f"--run={SMALL.run_id}" in report(copied).decode()
    assert len(archive(copied)) > 1_000


@pytest.mark.parametrize(
    "page", ["overview", "training", "grid", "pruning", "size", "draw", "comparison", "runs", "present"]
)
def test_it_opens_on_every_page(copied, monkeypatch, page):
    monkeypatch.setattr(jobs, "start_scoring", lambda run, *flags: None)
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    app.query_params["run"] = app.query_params["runs"] = copied.id
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    assert not app.warning


def test_a_link_to_one_that_is_missing_says_so(cache):
    run_id = config_of().run_id
    assert links.address_of(run_id, config_of()) == run_id
    assert links.parse_address(run_id) == (run_id, None)
    app = AppTest.from_file(PROJECT / "pages" / "pruning.py", default_timeout=60)
    app.query_params["run"] = run_id
    app.run()
    assert not app.exception, app.exception
    assert any(f"This cache holds no complete run named** `{run_id}`" in each.value for each in app.markdown)


def test_parents_of_other_seeds_are_one_curve(tuned_run, tmp_path):
    """Two networks that were fine-tuned alike, from parents that differ in their seeds, are two of one kind."""
    parts = []
    for seed in (0, 1):
        config = RecoveryConfig(dataclasses.replace(SMALL, seed=seed), f"parent-{seed}", sparsity=K, epochs=2)
        shutil.copytree(tuned_run.folder, tmp_path / config.run_id)
        (tmp_path / config.run_id / layout.CONFIG).write_text(json.dumps(config.to_dict()))
        parts.append(runs.open_run(config.run_id, tmp_path))
    table = long_table(parts)
    assert table.parent.unique().tolist() == ["parent-0", "parent-1"]
    folded = fold_seeds(table)
    assert set(folded.n) == set(folded.networks) == {2}


@pytest.mark.parametrize(
    ("flags", "word", "code"),
    [
        ([], "run: expected", 2),
        (["--run=none"], "no complete run none", 1),
        (["--run=../x"], "run id", 2),
        ([f"--run={SMALL.run_id}", "--how=magic"], "how: expected", 2),
        ([f"--run={SMALL.run_id}", "--sparsity=ten"], "sparsity", 2),
    ],
)
def test_bad_flags_are_one_sentence(trained_cache, flags, word, code):
    done = run_command("finetune", *flags, f"--output_dir={trained_cache}")
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr


def test_it_is_started_in_a_process_of_its_own_and_can_be_cancelled(cache, trained_run):
    shutil.copytree(trained_run.folder, cache / trained_run.id)
    config = config_of(epochs=10_000)
    run = runs.open_run(config.run_id)
    jobs.start_training(run, config)
    assert run.config() == config
    assert run.is_training()
    assert run.training().pid != os.getpid()
    run.request_cancel()
    # The process lets go of the run when it ends.
    with run.lock(timeout=90):
        assert run.training().phase == Phase.CANCELLED
    assert not run.is_complete()


def test_it_can_be_cancelled_between_two_batches(cache, trained_run, monkeypatch):
    from core.training.train import train_run

    shutil.copytree(trained_run.folder, cache / trained_run.id)
    config = config_of(epochs=10_000)
    run = runs.open_run(config.run_id)
    report = runs.RunWriter.update

    def cancel_at_the_first_batch(writer, phase, **values):
        if values.get("batch"):
            run.request_cancel()
        report(writer, phase, **values)

    monkeypatch.setattr(runs.RunWriter, "update", cancel_at_the_first_batch)
    with pytest.raises(CancelledError):
        train_run(run, config, experiment())
    state = run.training()
    assert state.phase == Phase.CANCELLED
    assert state.batch >= 1
    assert not run.is_complete()


@pytest.mark.parametrize("how", ["finetune", "gradual"])
@pytest.mark.parametrize("method", METHODS)
def test_biases_are_trained_and_go_with_their_units(parent, data, how, method):
    from core.training.finetune import finetune

    random, chain = np.random.default_rng(4), as_network(parent)
    biases = [random.normal(size=kernel.shape[1]).astype(np.float32) / 10 for kernel in parent]
    network = chain.with_matrices(parent, biases)
    trained = finetune(config_of(method=method, how=how, epochs=2), network, data).network
    for layer, dense in zip(trained.layers[:-1], network.layers, strict=False):
        zero = layer.matrix == 0
        pruned = zero.all(axis=0) if method == "unit" else zero
        assert np.count_nonzero(pruned) == prune_count(pruned.size, K)
        assert (layer.bias != dense.bias).any()
        if method == "unit":
            np.testing.assert_array_equal(layer.bias[pruned], 0)
    test = data.test.images, data.test.labels
    assert evaluate(trained, *test).accuracy > evaluate(prune(network, method, K), *test).accuracy
