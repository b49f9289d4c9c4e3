"""A run in an address says how it was trained, and nothing else than that."""

import string

from hypothesis import given
from hypothesis import strategies as st

from core.config import DATASETS, TrainingConfig
from core.links import address_of, parse_address

configs = st.builds(
    TrainingConfig,
    dataset=st.sampled_from(sorted(DATASETS)),
    epochs=st.integers(1, 10_000),
    batch_size=st.integers(1, 1_000),
    learning_rate=st.floats(1e-12, 1),
    num_valid=st.none() | st.integers(1, 400),
    keep_best=st.booleans(),
    l1_reg=st.floats(0, 1),
    l2_reg=st.floats(0, 1),
    hidden_units=st.lists(st.integers(1, 10_000), min_size=1, max_size=10).map(tuple),
    seed=st.integers(0, 2**32 - 1),
)


@given(configs)
def test_an_address_gives_the_configuration_back(config):
    assert parse_address(address_of(config.run_id, config)) == (config.run_id, config)


@given(configs)
def test_an_address_needs_no_escaping(config):
    assert set(address_of(config.run_id, config)) <= set(string.ascii_letters + string.digits + "-._~")


def test_the_default_network_is_its_id_alone():
    config = TrainingConfig()
    assert address_of(config.run_id, config) == config.run_id
    assert parse_address(config.run_id) == (config.run_id, config)


def test_settings_that_are_not_those_of_the_id_are_not_trained():
    run_id = TrainingConfig(seed=1).run_id
    assert parse_address(run_id) == (run_id, None)
    assert parse_address(f"{run_id}~seed.2") == (run_id, None)
    assert parse_address(f"{run_id}~dataset.fashion") == (run_id, None)


def test_a_name_that_somebody_gave_needs_its_settings():
    config = TrainingConfig(dataset="optdigits", epochs=3)
    assert parse_address("mine") == ("mine", None)
    for name in ("mine", "mnist-2024010112"):
        for each in (config, TrainingConfig()):
            assert parse_address(address_of(name, each)) == (name, each)


def test_nonsense_is_no_configuration():
    for text in (
        "",
        "x~",
        "x~seed",
        "x~seed.-1",
        "x~epochs.1e9",
        "x~momentum.1",
        "x~hidden_units.a-b",
        "~~~",
        "x~epochs.nan",
    ):
        assert parse_address(text)[1] is None
