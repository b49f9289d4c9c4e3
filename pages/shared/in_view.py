"""The network in view: which run, pruned how, and at which k. Every page and every link takes it from here.

What the address says comes first, then what this tab looked at last, then the default. An address that names both the
run and k says everything, so what it leaves out is the default; a link of the menu says nothing.
"""

import contextlib

import streamlit as st

from core import links, runs
from core.config import TrainingConfig
from core.errors import KnownError, RunIdError
from core.kernels import SUPPORTS
from core.pruning import METHODS, RANKINGS, SCOPES
from core.state import STATES
from core.sweep import Criterion
from pages.shared import frame

OPTIONS = {"method": METHODS, "state": tuple(STATES), "ranking": RANKINGS, "support": SUPPORTS, "scope": SCOPES}
DEFAULTS = {name: options[0] for name, options in OPTIONS.items()}


def chosen() -> dict[str, str]:
    """What is chosen of each of `OPTIONS`; asked once a run. The address says it, too, from now on."""
    place = _place()
    whole = all(place)
    values = {}
    for name, options in OPTIONS.items():
        if _is_still(_places().get(name), place) and st.session_state.get(name) in options:
            values[name] = st.session_state[name]
            _write(name, values[name])
            continue
        default = DEFAULTS[name] if whole else _last().get(name, DEFAULTS[name])
        said = st.query_params.get(name)
        if said and said not in options:
            frame.say_ignored(name, said, frame.either(options), default)
        values[name] = said if said in options else default
        _write(name, values[name])
    _last().update(values)
    _places().update(dict.fromkeys(values, place))
    return values


def choose(name: str) -> None:
    """Take what its widget says; for `on_change`."""
    _last()[name] = st.session_state[name]
    _places()[name] = _place()
    _write(name, st.session_state[name])


def _place() -> tuple[str | None, str | None]:
    """The run and the k of the address. Those of another step of the back button are others."""
    return st.query_params.get("run"), st.query_params.get("k")


def _places() -> dict[str, tuple[str | None, str | None]]:
    """The place at which each choice was made or shown last."""
    return st.session_state.setdefault("places", {})


def _is_still(before: tuple[str | None, str | None] | None, now: tuple[str | None, str | None]) -> bool:
    """Whether a choice of that place holds. Then its widget is newer than the address: the browser may not have heard
    yet what was written there, but it has not gone back. What only has been completed is the same place."""
    return before is not None and all(old in (None, new) for old, new in zip(before, now, strict=True))


def _write(name: str, value: str) -> None:
    """Say a choice in the address, which leaves out what is the default."""
    complete(name, None if value == DEFAULTS[name] else value)


def criterion(values: dict[str, str]) -> Criterion:
    """What to prune, by which ranking, and whether and how accuracy is won back; of what is `chosen`."""
    return STATES[values["state"]].chosen(values)


def run_id() -> str | None:
    """The run that this tab looked at last."""
    return _last().get("run")


def look_at(run: runs.Run) -> None:
    """Put a run into view, and into the address."""
    _last()["run"] = run.id
    complete("run", address_of(run.id))


def k() -> str:
    """k as text, of which nothing is known yet; empty if neither the address nor this tab says one."""
    # Colons are how commands write a k for each layer.
    return (st.query_params.get("k") or _last().get("k", "")).replace(":", ",")


def keep_k(key: str) -> None:
    """Remember the k that is shown."""
    _last()["k"] = key


def query() -> dict[str, str]:
    """What a link to another page says of the network in view.

    All but k: the slider may have moved since the link was drawn, and the page that it leads to knows where it stands.
    """
    last = _last()
    run = {"run": address_of(last["run"])} if "run" in last else {}
    return run | {name: last[name] for name, default in DEFAULTS.items() if last.get(name, default) != default}


def complete(name: str, value: str | None) -> None:
    """Say something in the address, or with None no longer. It is no step of the back button; see `assets/history.js`,
    to which another run or k is one unless it was left out before."""
    # A part of a page that runs before the browser has heard of its run knows an older address, and would write that.
    is_heard = name == "run" or bool(st.query_params.get("run"))
    if is_heard and st.query_params.get(name) != value:
        st.query_params.pop(name, None)
        if value is not None:
            st.query_params[name] = value


def _last() -> dict[str, str]:
    """What this tab looked at last: the id of a run, k, and what was chosen."""
    return st.session_state.setdefault("view", {})


def named_run(address: str) -> tuple[str, TrainingConfig | None]:
    """The run that an address means: its id, and how to train it if the address says so.

    A name given to another network here does not mean that one.
    """
    run_id, config = links.parse_address(address)
    with contextlib.suppress(KnownError):
        if config is not None and runs.open_run(run_id).config() != config:
            return config.run_id, config
    try:
        runs.open_run(run_id)
    except RunIdError:
        config = None
    return run_id, config


def address_of(run_id: str) -> str:
    """How a run is written in an address, with all that is needed to train it elsewhere."""
    try:
        return links.address_of(run_id, runs.open_run(run_id).config())
    except KnownError:
        return run_id
