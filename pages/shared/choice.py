"""Which run a page is about: chosen in a box, named in the address, or offered for training if it is not here."""

import contextlib
from collections.abc import Iterable
from typing import Any

import streamlit as st

from core import jobs, runs
from core.config import PARAMETERS, Config, TrainingConfig
from core.errors import KnownError
from core.jobs import open_queue
from core.state import STATES
from core.sweep import Criterion
from pages.shared import actions, in_view, networks
from pages.shared.frame import known_errors, link_to, verbatim
from pages.shared.in_view import address_of, named_run

CHOICES = {
    "support": (
        "What stays",
        "How what stays is chosen. admm: by least squares with a budget (ALPS, Meng et al. 2024). magnitude: the "
        "largest, as pruned; faster.",
    ),
    "ranking": (
        "Ranked by",
        "What goes first. magnitude: the smallest |w|, or units of smallest L2 norm (Han et al. 2015). activation: the "
        "smallest |w| × rms of its input (Wanda, Sun et al. 2023); for units the smallest rms activation × L2 norm of "
        "the outgoing weights. random: the baseline.",
    ),
    "scope": (
        "Among",
        "layer: the fraction k of each hidden layer. global: the fraction k of all hidden layers together.",
    ),
}
"""What a state can be chosen by: label and help."""
MOST_LOOKED_AT = 20
"""Of so many runs, the newest, it is looked whether they are scored before one is opened by itself."""


def complete_runs() -> list[str]:
    """The ids of all complete runs; one that is being retrained stays complete meanwhile.

    Newest first, but after the others those that are fine-tuned: they are pruned already, so that a page which takes
    the first of all would have little to show.
    """
    table = runs.runs_table()
    complete = table[table.finished.notna()]
    return [*complete.run[complete.parent == "none"], *complete.run[complete.parent != "none"]]


def label(config: Config) -> str:
    """What a configuration is called where people choose it."""
    return f"{config.describe()}, seed {config.seed}"


def run_labels(ids: list[str]) -> dict[str, str]:
    """What runs are called where people choose them: the name somebody gave them, their settings and seed, and their
    id where that is not enough. Plain text of unknown origin: in Markdown it goes through `frame.verbatim`."""
    labels = {}
    for run_id in ids:
        with contextlib.suppress(KnownError):
            run = runs.open_run(run_id)
            config, name = run.config(), runs.read_notes(run).name
            made = run_id == config.run_id
            if name:
                labels[run_id] = f"{name} ({label(config)}{'' if made else f', {run_id}'})"
            else:
                labels[run_id] = label(config) if made else f"{label(config)} ({run_id})"
    return labels


def first_run(ids: list[str]) -> list[str]:
    """The run that a page opens by itself, as a list of one: the one looked at last, else the newest that is scored,
    else the newest. Empty if there is none."""
    if in_view.run_id() in ids:
        return [in_view.run_id()]
    for run_id in ids[:MOST_LOOKED_AT]:
        if networks.is_scored(runs.open_run(run_id)):
            return [run_id]
    return ids[:1]


def run_in_view(ids: list[str]) -> str | None:
    """The run that the address names; without one the run looked at last, else the newest that is scored.

    Args:
        ids: those of all complete runs.

    Returns:
        Its id; None if the address names one that is not here, which is said, or if there is none.
    """
    wanted, config = named_run(st.query_params.get("run", ""))
    if not wanted:
        wanted = next(iter(first_run(ids)), None)
    if wanted in ids:
        in_view.look_at(runs.open_run(wanted))
        return wanted
    if wanted:
        offer_missing_run(wanted, config)
    return None


def choose_run() -> runs.Run:
    """A select box of the complete runs; stops the page with advice if there is none.

    The address always names the run, the newest one included: tomorrow another one may be the newest.
    """
    ids = complete_runs()
    wanted = run_in_view(ids)
    if not ids:
        with st.container(border=True):
            st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
            link_to("training", "Go to Training")
        st.stop()
    if wanted is None:
        st.caption("Or choose a run that is here:")
    st.session_state.run = wanted
    labels = run_labels(ids)
    st.selectbox(
        "Run",
        ids,
        # A browser may tell its first value before it has heard what stands in the session. So both are the same.
        index=None if wanted is None else ids.index(wanted),
        key="run",
        format_func=lambda run_id: labels.get(run_id, run_id),
        on_change=_name_run_in_address,
        placeholder="Choose a run",
        help="A trained network in the cache.",
    )
    if wanted is None:
        st.stop()
    return runs.open_run(wanted)


def _name_run_in_address() -> None:
    st.query_params["run"] = address_of(st.session_state.run)


def choose_method(values: dict[str, str] | None = None) -> str:
    """Weights or units.

    Args:
        values: what is chosen of the network in view, where it is known already.
    """
    return _one_of(
        "Prune",
        "method",
        values or in_view.chosen(),
        help="weight: single connections. unit: whole neurons, with all their incoming weights.",
    )


def choose_criterion() -> Criterion:
    """What to prune, by which ranking, and whether and how accuracy is won back."""
    values = in_view.chosen()
    choose_method(values)
    state = _one_of(
        "State",
        "state",
        values,
        format_func=lambda name: STATES[name].words,
        help="as pruned: the smallest are zero, the others as they were trained. repaired: as many are zero, and what "
        "stays is chosen and fitted anew so that each layer computes what it did; without training and without labels. "
        "fine-tuned: trained again with labels, the zeros held at zero.",
    )
    for name in STATES[state].options:
        label, about = CHOICES[name]
        _one_of(label, name, values, help=about)
    return in_view.criterion(values)


def _one_of(label: str, name: str, values: dict[str, str], **more: Any) -> str:
    """A choice of the network in view."""
    value = values[name]
    # Written only where it is another: what is written into a widget takes the place of a click that is on its way.
    if st.session_state.get(name) != value:
        st.session_state[name] = value
    options = in_view.OPTIONS[name]
    more |= {"required": True, "default": value, "key": name}
    st.segmented_control(label, options, on_change=in_view.choose, args=(name,), **more)
    return value


def coming(ids: Iterable[str]) -> list[str]:
    """Which of some runs that are not complete are being trained, or wait for it."""
    waiting = {entry.run.id for entry in open_queue().entries() if entry.status == "waiting"}
    found = []
    for run_id in ids:
        with contextlib.suppress(KnownError):
            if run_id in waiting or runs.open_run(run_id).is_training():
                found.append(run_id)
    return found


def offer_missing_run(run_id: str, config: TrainingConfig | None) -> None:
    """Say that a link names a run this cache does not have, and offer to train exactly that configuration."""
    # As code, and not longer than an id can be: whoever sends a link must not write on this page.
    name = f"`{run_id[:100].replace('`', '')}`"
    with contextlib.suppress(KnownError):
        reason = runs.damage(runs.open_run(run_id))
        if reason:
            with st.container(border=True):
                st.markdown(f"**The run {name} is damaged.** {verbatim(reason)}")
                link_to("runs", "Delete it, or see all runs")
            return
    with st.container(border=True):
        if config is None:
            st.markdown(
                f"**This cache holds no complete run named** {name}, and the link does not say how it was trained. "
                "Ask whoever sent it to copy the link again from their page, or train a network of your own."
            )
            link_to("training", "Go to Training")
            return
        st.markdown(
            f"**This cache holds no complete run named** {name}. The link says how it was trained: {label(config)}."
        )
        run = runs.open_run(run_id)
        if run.is_training():
            watch_missing_run(run)
        elif actions.button("Train it", type="primary", icon=":material/play_arrow:", key=f"train_{run_id}"):
            with known_errors():
                jobs.start_training(run, config)
                st.rerun()
        link_to("training", "See it on the Training page", settings_of(config))


@st.fragment(run_every=2.0)
def watch_missing_run(run: runs.Run) -> None:
    """Show how the training of a run is going, and the page once it is over."""
    state = run.training()
    if state is None or state.phase.has_ended:
        st.rerun()
    st.progress(
        min(jobs.progress_of(run, state).fraction, 1.0), text="It is being trained now, and shown when it is complete."
    )


def settings_of(config: Config) -> dict[str, str]:
    """The query parameters that bring a configuration into the widgets of the Training page; of a fine-tuned
    network, that of its parent."""
    return {name: about.kind.write(getattr(config.training, name)).lower() for name, about in PARAMETERS.items()}
