"""Which run a page is about: chosen in a box, named in the address, or offered for training if it is not here."""

import contextlib
from collections.abc import Iterable

import streamlit as st

from core import jobs, links, runs
from core.analysis.recovered import TRAINED
from core.config import PARAMETERS, Config, TrainingConfig
from core.errors import KnownError, RunError, RunIdError
from core.jobs import open_queue
from core.kernels import SUPPORTS
from core.pruning import METHODS, RANKINGS, SCOPES
from core.sweep import Criterion
from pages.shared import actions, frame
from pages.shared.frame import known_errors, link_to, verbatim

STATES = {"as pruned": "none", "repaired": "repair", "trained on": TRAINED}
"""What a network that was pruned can be, in words, and the recovery of a criterion that means it."""
TRAINED_BY = {method: Criterion(method, recovery=TRAINED) for method in METHODS}
"""The criteria of networks that were trained on."""


def complete_runs() -> list[str]:
    """The ids of all complete runs; one that is being retrained stays complete meanwhile.

    Newest first, but after the others those that were trained on: they are pruned already, so that a page which takes
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


def choose_run() -> runs.Run:
    """A select box of the complete runs; stops the page with advice if there is none.

    The address is the truth and always names the run, the newest one included: tomorrow another one
    may be the newest.
    """
    ids = complete_runs()
    wanted, config = named_run(st.query_params.get("run", ""))
    if wanted and wanted not in ids:
        offer_missing_run(wanted, config)
    if not ids:
        with st.container(border=True):
            st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
            link_to("training", "Go to Training")
        st.stop()
    if wanted not in ids:
        if wanted:
            st.caption("Or choose a run that is here:")
            wanted = None
        else:
            wanted = ids[0]
    st.session_state.run = wanted
    if wanted is not None:
        _name_run_in_address()
    labels = run_labels(ids)
    st.selectbox(
        "Run",
        ids,
        # What is chosen stands in the session; another default beside it makes Streamlit warn.
        index=None if wanted is None else 0,
        key="run",
        format_func=lambda run_id: labels.get(run_id, run_id),
        on_change=_name_run_in_address,
        placeholder="Choose a run",
        help="A trained network in the cache.",
    )
    if wanted is None:
        st.stop()
    return runs.open_run(wanted)


def choose_method() -> str:
    """Weights or units."""
    return frame.one_of(
        "Prune",
        METHODS,
        default="weight",
        required=True,
        key="method",
        bind="query-params",
        help="weight: single connections. unit: whole neurons, with all their incoming weights.",
    )


def choose_state() -> str:
    """As pruned, repaired or trained on: a recovery of a criterion."""
    chosen = frame.one_of(
        "State",
        list(STATES),
        default="as pruned",
        required=True,
        key="state",
        bind="query-params",
        help="as pruned: the smallest are zero, the others as they were trained. repaired: as many are zero, and what "
        "stays is chosen and fitted anew so that each layer computes what it did; without training and without labels. "
        "trained on: trained again with labels, the zeros held at zero.",
    )
    return STATES[chosen]


def state_name(criterion: Criterion) -> str:
    """As pruned, repaired or trained on, in words."""
    return next(name for name, recovery in STATES.items() if recovery == criterion.recovery)


def choose_criterion() -> Criterion:
    """What to prune, by which ranking, and whether and how accuracy is won back."""
    method = choose_method()
    recovery = choose_state()
    if recovery == TRAINED:
        return TRAINED_BY[method]
    if recovery == "repair":
        ranking = frame.one_of(
            "What stays",
            SUPPORTS,
            default="admm",
            required=True,
            key="support",
            bind="query-params",
            help="How what stays is chosen. admm: by least squares with a budget (ALPS, Meng et al. 2024). "
            "magnitude: the largest, as pruned; faster.",
        )
    else:
        ranking = frame.one_of(
            "Ranked by",
            RANKINGS,
            default="magnitude",
            required=True,
            key="ranking",
            bind="query-params",
            help="What goes first. magnitude: the smallest |w|, or units of smallest L2 norm (Han et al. 2015). "
            "activation: the smallest |w| × rms of its input (Wanda, Sun et al. 2023); for units the smallest rms "
            "activation × L2 norm of the outgoing weights. random: the baseline.",
        )
    scope = frame.one_of(
        "Among",
        SCOPES,
        default="layer",
        required=True,
        key="scope",
        bind="query-params",
        help="layer: the fraction k of each hidden layer. global: the fraction k of all hidden layers together.",
    )
    return Criterion(method, ranking, scope, recovery=recovery)


def named_in_address() -> tuple[runs.Run, Criterion]:
    """The run and the criterion of the address, for a page without widgets; what it does not say is the usual.

    Raises:
        RunError: if there is no complete run to take.
    """
    ids = complete_runs()
    wanted, _ = named_run(st.query_params.get("run", ""))
    if not ids or (wanted and wanted not in ids):
        raise RunError("This cache does not hold that run, or no complete run at all. Open the Pruning page.")
    recovery = STATES.get(st.query_params.get("state", ""), "none")
    ranked = {"none": ("ranking", RANKINGS, "magnitude"), "repair": ("support", SUPPORTS, "admm")}
    fields = {"method": ("method", METHODS, "weight")}
    if recovery in ranked:
        fields |= {"ranking": ranked[recovery], "scope": ("scope", SCOPES, "layer")}
    said = {
        field: st.query_params[name] if st.query_params.get(name) in choices else usual
        for field, (name, choices, usual) in fields.items()
    }
    return runs.open_run(wanted or ids[0]), Criterion(**said, recovery=recovery)


def _name_run_in_address() -> None:
    address = address_of(st.session_state.run)
    if st.query_params.get("run") != address:
        st.query_params["run"] = address


def named_run(address: str) -> tuple[str, TrainingConfig | None]:
    """The run that an address means: its id, and how to train it if the address says so.

    A name that somebody gave to another network here does not mean that one.
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
    """The query parameters that bring a configuration into the widgets of the Training page; of a network that was
    trained on, that of its parent."""
    return {name: about.kind.write(getattr(config.training, name)).lower() for name, about in PARAMETERS.items()}
