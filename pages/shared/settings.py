"""The hyper-parameters as widgets, made from the table in `core.config`."""

import math

import streamlit as st

from core.config import DATASETS, PARAMETERS, ConfigError, TrainingConfig
from core.parameters import Choice, Parameter, Real, Switch, Whole
from pages.shared import frame


def choose_config() -> TrainingConfig | None:
    """One widget a hyper-parameter, each kept in the address, so that a link brings them back.

    Returns:
        None if together they make no valid configuration; the page says why.
    """
    _drop_impossible_numbers()
    plain, folded = st.container(), st.expander("Validation and regularisation")
    # Numbers stand two a row; everything else has a row of its own.
    open_half = {}
    values = {}
    for name, about in PARAMETERS.items():
        box = folded if about.advanced else plain
        if isinstance(about.kind, Whole | Real):
            place = open_half.pop(box, None)
            if place is None:
                place, open_half[box] = box.columns(2)
        else:
            place = box
        with place:
            values[name] = _widget(name, about, values.get("dataset"))
    try:
        for name, value in values.items():
            if isinstance(value, str) and not isinstance(PARAMETERS[name].kind, Choice):
                values[name] = PARAMETERS[name].kind.read_one(name, value)
        return TrainingConfig.from_dict(values)
    except ConfigError as error:
        frame.error_box(error, "This configuration cannot be trained")
        return None


def _drop_impossible_numbers() -> None:
    """Take out of the address what no number box can hold: those of whole numbers fail at an infinite one."""
    impossible = []
    for name, about in PARAMETERS.items():
        if isinstance(about.kind, Whole | Real) and name in st.query_params:
            try:
                possible = math.isfinite(float(st.query_params[name]))
            except ValueError:
                possible = False
            if not possible:
                impossible.append(name)
                frame.say_ignored(name, st.query_params[name], "a number", "the default")
    for name in impossible:
        del st.query_params[name]
    if impossible:
        st.rerun()  # boxes take their first values from the address that a run began with


def _widget(name: str, about: Parameter, dataset: str | None) -> object:
    kind, default = about.kind, about.default
    if default is None:
        default = getattr(DATASETS[dataset], name)
        # The default of another dataset, which this one cannot have, is left over: a page that was slow to show the new
        # value sends the old one with the next click.
        defaults = {getattr(spec, name) for spec in DATASETS.values()}
        if st.session_state.get(name) in defaults and st.session_state[name] >= DATASETS[dataset].train_size:
            st.session_state[name] = default
    options = {"key": name, "bind": "query-params", "help": about.help}
    if isinstance(kind, Choice):
        return frame.one_of(
            about.label, kind.names, default=default, required=True, on_change=_take_dataset_defaults, **options
        )
    if isinstance(kind, Switch):
        return st.toggle(about.label, default, **options)
    # Without limits: a box that has some keeps another value than the one that is seen in it, and does not say so.
    if isinstance(kind, Whole):
        return st.number_input(about.label, value=default, **options)
    if isinstance(kind, Real):
        return st.number_input(about.label, value=default, step=kind.step, format="%.6g", **options)
    return st.text_input(about.label, kind.write(default).replace(",", ", "), **options)


def take_dataset(name: str) -> None:
    """Choose another dataset, with its own defaults; for a button's `on_click`."""
    st.session_state.dataset = name
    _take_dataset_defaults()


def _take_dataset_defaults() -> None:
    """Another dataset has another size, and so another sensible number of validation images."""
    for name, about in PARAMETERS.items():
        if about.default is None:
            st.session_state[name] = getattr(DATASETS[st.session_state.dataset], name)
