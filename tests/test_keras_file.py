"""The `.keras` files that leave: earlier versions of Keras open them, and they hold no optimizer."""

import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from core import runs
from core.exports import archive
from core.exports.models import FORMATS
from core.kernels import compact
from core.pruning import prune
from core.runs import layout
from core.settings import EXAMPLE
from tests.test_earlier_runs import STORED

KNOWN = {
    "Sequential": {"name", "trainable", "dtype", "layers", "build_input_shape"},
    "InputLayer": {"batch_shape", "dtype", "sparse", "name"},
    "Dense": {
        "name",
        "trainable",
        "dtype",
        "units",
        "activation",
        "use_bias",
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "bias_regularizer",
        "kernel_constraint",
        "bias_constraint",
    },
    "DTypePolicy": {"name"},
    "GlorotUniform": {"seed"},
    "Zeros": set(),
    "L1L2": {"l1", "l2"},
}
"""The settings that Keras 3.3.3 takes, by class."""


def of_run(run):
    return (run.folder / layout.MODEL).read_bytes()


def of_export(run):
    return FORMATS["keras"].convert(compact(prune(run.kernels(), "weight", 0.95)), 64)


def of_archive(run):
    """What a ZIP holds of a file of an earlier version, which Keras 3.13 refuses."""
    (folder,) = STORED.iterdir()
    return archived(run, (folder / layout.MODEL).read_bytes())


def of_example(_):
    """The run that comes with the project."""
    (model,) = EXAMPLE.rglob(layout.MODEL)
    return model.read_bytes()


def archived(run, model):
    (run.folder / layout.MODEL).write_bytes(model)
    packed = zipfile.ZipFile(io.BytesIO(archive.archive(run)))
    return packed.read(f"{run.id}/{layout.MODEL}")


def settings(value):
    """(class, its settings) of everything in a configuration."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value["class_name"], set(value["config"])
        for each in value.values():
            yield from settings(each)
    elif isinstance(value, list):
        for each in value:
            yield from settings(each)


@pytest.fixture
def run(trained_run, cache):
    """A run that a test may change."""
    shutil.copytree(trained_run.folder, cache / trained_run.id)
    return runs.open_run(trained_run.id, cache)


@pytest.mark.parametrize("made", [of_run, of_export, of_archive, of_example])
def test_keras_3_3_knows_every_setting(run, made):
    file = zipfile.ZipFile(io.BytesIO(made(run)))
    config = json.loads(file.read("config.json"))
    found = list(settings(config))
    assert {"Sequential", "InputLayer", "Dense"} <= {name for name, _ in found}
    unknown = {name: used - KNOWN.get(name, set()) for name, used in found}
    assert not any(unknown.values()), unknown
    assert {name for name, _ in found} <= KNOWN.keys()


@pytest.mark.parametrize("made", [of_run, of_export, of_archive, of_example])
def test_no_optimizer_leaves(run, made):
    file = zipfile.ZipFile(io.BytesIO(made(run)))
    config = json.loads(file.read("config.json"))
    assert "compile_config" not in config
    with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
        arrays = []
        weights.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
    assert len(arrays) == [name for name, _ in settings(config)].count("Dense")
    assert all(name.startswith("layers/") for name in arrays)


def test_an_earlier_file_keeps_its_weights(run, tmp_path):
    import keras

    (folder,) = STORED.iterdir()
    (tmp_path / "model.keras").write_bytes(of_archive(run))
    kernels = runs.open_run(folder.name, STORED).kernels()
    for mine, theirs in zip(keras.models.load_model(tmp_path / "model.keras").get_weights(), kernels, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_damaged_file_stays_as_it_is(run):
    whole = of_run(run)
    for damaged in (b"half", whole[:-100], whole.replace(b"HDF", b"hdf"), whole.replace(b"PK\x01\x02", b"PK\x01\x03")):
        assert archived(run, damaged) == damaged
