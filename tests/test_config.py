import math
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import DATASETS, K_VALUES, PARAMETERS, ConfigError, TrainingConfig, is_made_id, parse_k_values
from core.parameters import Choice, Real, Switch, Whole, Widths, parameter, within
from core.settings import PROJECT
from tests.commands import run_command


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


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("epochs", (1, 10_000), (0, 10_001)),
        ("batch_size", (1, 50_000), (0, 50_001)),
        ("learning_rate", (1e-9, 1), (0, 1.001)),
        ("num_valid", (1, 59_872), (0, 59_873)),
        ("l1_reg", (0, 1), (-1e-9, 1.001)),
        ("l2_reg", (0, 1), (-1e-9, 1.001)),
        ("hidden_units", ((1,), (10_000,) * 10), ((10_001,), (1,) * 11)),
        ("seed", (0, 2**32 - 1), (-1, 2**32)),
    ],
)
def test_the_limits_themselves_are_allowed_and_nothing_beyond_them(field, allowed, refused):
    for value in allowed:
        assert getattr(TrainingConfig(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(ConfigError, match=r"(?i)expected .*Received"):
            TrainingConfig(**{field: value})


def test_one_image_at_least_is_left_to_train_on():
    most = {"keep_best": False, "batch_size": 1, "num_valid": 59_999}
    assert TrainingConfig(**most).batches == 1
    with pytest.raises(ConfigError, match=r"num_valid: expected 0 to 59,999"):
        TrainingConfig(**most | {"num_valid": 60_000})
    with pytest.raises(ConfigError, match=r"expected 0 to 1,436 \(UCI digits, 8×8 has 1,437\)\. Received: 1,437"):
        TrainingConfig(dataset="optdigits", **most | {"num_valid": 1_437})
    assert TrainingConfig(num_valid=0, keep_best=False, batch_size=60_000).batches == 1


def test_a_configuration_is_said_in_full_wherever_it_is_said():
    config = TrainingConfig("optdigits", 1, 64, 0.01, 100, False, 0.1, 0.2, (5, 4), 7)
    said = config.describe()
    assert said == (
        "optdigits, 1 epoch, batch 64, learning rate 0.01, 100 validation images, last epoch, L1 0.1, L2 0.2, 5-4"
    )
    assert config.to_flags() == [
        *("--dataset=optdigits", "--epochs=1", "--batch_size=64", "--learning_rate=0.01", "--num_valid=100"),
        *("--nokeep_best", "--l1_reg=0.1", "--l2_reg=0.2", "--hidden_units=5,4", "--seed=7"),
    ]
    assert "--keep_best" in TrainingConfig().to_flags()
    assert config.facts() == config.to_dict() | {"hidden_units": "5, 4"}
    assert config.to_row() == config.to_dict() | {"parent": "none", "trained_on": "none"}
    assert config.run_id == "optdigits-e1-lr0.01-35936323a3"
    assert (config.batches, config.layer_shapes) == (21, [(64, 5), (5, 4), (4, 10)])


def test_the_classes_stand_in_the_order_of_the_labels():
    clothes = "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    assert ",".join(DATASETS["fashion"].classes) == clothes
    for name in ("digits", "optdigits"):
        assert "".join(DATASETS[name].classes) == "0123456789"


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"Expected names among dataset, epochs, .*\. Received: decay, momentum\."):
        TrainingConfig.from_dict({"momentum": 0.9, "decay": 0.1, "epochs": 3})


def test_no_validation_images_are_fine_without_keep_best():
    assert TrainingConfig(num_valid=0, keep_best=False).num_valid == 0


def test_k_values():
    assert parse_k_values("0.9, 0,0.5 0.5") == [0.0, 0.5, 0.9]
    assert parse_k_values(",".join(map(str, K_VALUES))) == list(K_VALUES)
    assert math.copysign(1, parse_k_values("-0")[0]) == 1
    assert parse_k_values("1;0\n0.25") == [0.0, 0.25, 1.0]
    most = [number / 1_000 for number in range(200)]
    assert parse_k_values(",".join(map(str, most))) == most
    with pytest.raises(ConfigError, match=r"^k_vals: expected at most 200\. Received: 201\.$"):
        parse_k_values(",".join(map(str, [*most, 1])))
    # A list is called as whoever typed it calls it.
    for text in ("", "x"):
        with pytest.raises(ConfigError, match=r"^sparsity: expected"):
            parse_k_values(text, "sparsity")


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


def test_every_kind_takes_its_limits_and_nothing_beyond_them():
    """By the sentence in which a value is refused; None where it is taken."""
    real, above = Real(0.5, 2, step=0.1), Real(0, 2, step=0.1, above=True)
    whole, widths = Whole(2, 2_000), Widths(2, 20)
    for kind, value, said in (
        (real, 0.5, None),
        (real, 2, None),
        (real, 0.25, "x: expected 0.5 to 2. Received: 0.25."),
        (real, 2.5, "x: expected 0.5 to 2. Received: 2.5."),
        (real, "1", "x: expected a finite number. Received: '1'."),
        (real, True, "x: expected a finite number. Received: True."),
        (above, 2, None),
        (above, 0, "x: expected a number above 0 and at most 2. Received: 0."),
        (above, 2.5, "x: expected a number above 0 and at most 2. Received: 2.5."),
        (whole, 2, None),
        (whole, 2_000.0, None),
        (whole, 1, "x: expected 2 to 2,000. Received: 1."),
        (whole, 2_001, "x: expected 2 to 2,000. Received: 2,001."),
        (whole, False, "x: expected a whole number. Received: False."),
        (widths, [1], None),
        (widths, (20, 1), None),
        (widths, [], "x: expected 1 to 2 layer widths, such as 1000,1000,500,200. Received: []."),
        (widths, [1, 1, 1], "x: expected 1 to 2 layer widths, such as 1000,1000,500,200. Received: [1, 1, 1]."),
        (widths, [21], "x: expected 1 to 20. Received: 21."),
        (Switch(), 1, "x: expected true or false. Received: 1."),
        (Choice(("a", "b", "c")), "c", None),
        (Choice(("a", "b", "c")), "d", "x: expected one of a, b, c. Received: 'd'."),
        (Choice(("a", "b", "c")), ["a"], "x: expected one of a, b, c. Received: ['a']."),
    ):
        if said is None:
            assert kind.check("x", value) == (tuple(value) if kind is widths else value)
        else:
            with pytest.raises(ConfigError) as failure:
                kind.check("x", value)
            assert str(failure.value) == said
    with pytest.raises(ConfigError, match=r"^x: expected 1 to 2 \(of digits\). Received: 3.$"):
        within("x", 3, 1, 2, of="of digits")


def test_lists_are_read_up_to_the_longest_range_and_no_further():
    whole, widths = Whole(0, 10**12), Widths(3, 10**12)
    assert whole.read("x", "0-999,5-5 7;8") == [*range(1000), 5, 7, 8]
    assert whole.read("x", "9" * 10) == [10**10 - 1]
    assert widths.read("x", " 3-2-1 ; 123456789, 7 ") == [(3, 2, 1), (123456789, 7)]
    switch, choice = Switch(), Choice(("a", "b", "c"))
    assert (switch.read("x", "True;FALSE"), switch.write(True)) == ([True, False], "True")
    assert (choice.example, choice.read("x", choice.example)) == ("a,b", ["a", "b"])
    for kind, text, said in (
        (whole, "0-1000", "x: expected whole numbers or ranges of at most 1,000, such as 0,2,5-9. Received: '0-1000'."),
        (
            whole,
            "1" * 11,
            f"x: expected whole numbers or ranges of at most 1,000, such as 0,2,5-9. Received: '{'1' * 11}'.",
        ),
        (whole, " , ", "x: expected at least one value, such as 0,2,5-9. Received nothing."),
        (widths, "-3", "x: expected 1 to 1,000,000,000,000. Received: -3."),
        (widths, "3,x", "x: expected a whole number. Received: 'x'."),
        (widths, "1" * 21, f"x: expected a whole number. Received: '{'1' * 21}'."),
        (switch, "yes", "x: expected true, false or true,false. Received: 'yes'."),
        (Real(0, 1, step=0.1), "a", "x: expected numbers such as 0.001,0.0005. Received: 'a'."),
        (choice, "", "x: expected at least one value, such as a,b. Received nothing."),
    ):
        with pytest.raises(ConfigError) as failure:
            kind.read("x", text)
        assert str(failure.value) == said


def test_a_negative_number_is_told_the_range():
    with pytest.raises(ConfigError, match=r"^seed: expected 0 to 4,294,967,295. Received: -5.$"):
        TrainingConfig(seed=PARAMETERS["seed"].kind.read_one("seed", "-5"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hidden_units", "1000;500", "the layer widths of one network, separated by commas"),
        ("seed", "0-4", "one value"),
    ],
)
def test_a_list_is_not_one_value(name, text, expected):
    with pytest.raises(ConfigError) as failure:
        PARAMETERS[name].kind.read_one(name, text)
    assert str(failure.value) == f"{name}: expected {expected}. Received: {text!r}."


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--epochs=ten", "epochs: expected an integer. Received: 'ten'."),
        ("--learning_rate=a: b", "learning_rate: expected a number. Received: 'a: b'."),
        ("--keep_best=maybe", "keep_best: expected true or false. Received: 'maybe'."),
        ("--shuffled=all", "shuffled: expected one of "),
        ("--hidden_units=1000;500", "hidden_units: expected the layer widths of one network"),
        (
            "--num_valid=59999",
            "batch_size: expected 1 (59,999 of 60,000 images are for validation). Received: 128.",
        ),
    ],
)
def test_flags_are_refused_in_plain_words(tmp_path, flag, said):
    done = run_command("train", flag, f"--output_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_what_few_people_change_is_folded_away_by_the_pages():
    folded = [name for name, about in PARAMETERS.items() if about.advanced]
    assert folded == ["num_valid", "keep_best", "l1_reg", "l2_reg"]
