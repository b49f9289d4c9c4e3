import math
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import K_VALUES, PARAMETERS, ConfigError, TrainingConfig, is_made_id, parse_k_values
from core.parameters import Real, parameter
from tests.conftest import PROJECT


def test_the_default_is_the_experiment_of_the_brief():
    config = TrainingConfig()
    assert config.num_valid == 10_000
    assert config.parameter_count == 2_386_000
    assert config.layer_shapes == [(784, 1000), (1000, 1000), (1000, 500), (500, 200), (200, 10)]


def test_run_id_is_readable_and_stable_across_processes():
    code = "from core.config import TrainingConfig; print(TrainingConfig().run_id)"
    other = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == TrainingConfig().run_id
    assert TrainingConfig().run_id == "digits-e20-lr0.001-77cf15e239"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "fashion"},
        {"epochs": 21},
        {"batch_size": 64},
        {"learning_rate": 0.002},
        {"num_valid": 5000},
        {"keep_best": False},
        {"l1_reg": 0.001},
        {"l2_reg": 0.001},
        {"hidden_units": (1000, 1000, 500)},
        {"seed": 1},
    ],
)
def test_every_hyper_parameter_changes_the_run_id(change):
    assert TrainingConfig(**change).run_id != TrainingConfig().run_id


def test_equal_values_of_other_types_are_the_same_run():
    same = TrainingConfig(epochs=20.0, learning_rate=1e-3, l1_reg=0, l2_reg=-0.0, hidden_units=[1000, 1000, 500, 200])
    assert same == TrainingConfig()
    assert same.run_id == TrainingConfig().run_id
    assert TrainingConfig(num_valid=10_000).run_id == TrainingConfig().run_id


def test_dict_round_trip():
    config = TrainingConfig(dataset="optdigits", hidden_units=(5, 4), l1_reg=0.01)
    assert TrainingConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "cifar"),
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("epochs", "many"),
        ("batch_size", 0),
        ("batch_size", 50_001),
        ("learning_rate", math.nan),
        ("learning_rate", -1),
        ("learning_rate", 0),
        ("learning_rate", math.inf),
        ("num_valid", -1),
        ("num_valid", 60_000),
        ("num_valid", 0),
        ("keep_best", "yes"),
        ("l1_reg", -0.1),
        ("l2_reg", math.nan),
        ("hidden_units", ()),
        ("hidden_units", (0,)),
        ("hidden_units", "1000"),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_bad_values_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=rf"(?i){field}.*Received"):
        TrainingConfig(**{field: value})


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="Received: momentum"):
        TrainingConfig.from_dict({"momentum": 0.9})


def test_no_validation_images_are_fine_without_keep_best():
    assert TrainingConfig(num_valid=0, keep_best=False).num_valid == 0


def test_k_values():
    assert parse_k_values("0.9, 0,0.5 0.5") == [0.0, 0.5, 0.9]
    assert parse_k_values(",".join(map(str, K_VALUES))) == list(K_VALUES)
    assert math.copysign(1, parse_k_values("-0")[0]) == 1


@pytest.mark.parametrize("text", ["", " , ", "a", "0.5,x", "1.5", "-0.1", "nan", "inf", "0.5;;x"])
def test_bad_k_values_are_refused(text):
    with pytest.raises(ConfigError, match="Received"):
        parse_k_values(text)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=10))
def test_layer_sizes_survive_text(sizes):
    assert PARAMETERS["hidden_units"].kind.read("hidden_units", ", ".join(map(str, sizes))) == [tuple(sizes)]


@pytest.mark.parametrize("text", ["", "0", "-5", "10,x", "1.5", "99999999", ",".join(["1"] * 11)])
def test_bad_layer_sizes_are_refused(text):
    with pytest.raises(ConfigError, match="hidden_units"):
        PARAMETERS["hidden_units"].kind.read("hidden_units", text)


@dataclass(frozen=True)
class Later(TrainingConfig):
    """As if a hyper-parameter had been added after runs were trained."""

    dropout: float = parameter(Real(0, 1, step=0.1), 0.2, "Dropout", "Part of the units left out.", before=0.0)


def test_a_hyper_parameter_added_later_leaves_the_ids_of_earlier_runs():
    earlier = TrainingConfig(epochs=3)
    read = Later.from_saved(earlier.to_dict())
    assert read.dropout == 0
    assert read.run_id == earlier.run_id
    assert Later.from_saved(read.to_dict()) == read
    # Its default is another network than the one from before, and so another run.
    assert Later.from_dict(earlier.to_dict()).dropout == 0.2
    assert Later(epochs=3).run_id != earlier.run_id
    assert "--dropout=0.2" in Later().to_flags()


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_value_survives_being_written_and_read(name):
    kind, value = PARAMETERS[name].kind, getattr(TrainingConfig(), name)
    assert kind.read(name, kind.write(value)) == kind.read(name, kind.short(value)) == [value]


def test_names_that_somebody_gave_are_told_from_made_ids():
    for config in (TrainingConfig(), TrainingConfig(dataset="optdigits", learning_rate=1e-12)):
        assert is_made_id(config.run_id)
    for name in ("mine", "mnist-2024010112", "digits-e20-0123456789"):
        assert not is_made_id(name)
