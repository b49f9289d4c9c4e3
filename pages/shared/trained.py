"""Train a pruned network on: choose how, watch it learn, and open what came out, which is a run of its own."""

import contextlib

import streamlit as st

from core import jobs, runs
from core.charts import interactive
from core.config import RECOVERY, STARTS, RecoveryConfig
from core.errors import ConfigError, KnownError
from core.pruning import Sparsity
from core.runs import Phase
from core.state import FineTuned, children, kind_of
from core.sweep import Criterion
from pages.shared import actions, choice, frame, networks, progress

HOWS = {
    "finetune": "repair, then train",
    "gradual": "prune while training",
    "rewind": "control: back to the initial weights",
    "reinit": "control: other initial weights",
}
DEFAULT_K, DEFAULT_EPOCHS = 0.95, 12
REFRESH_SECONDS = 1.0


def show(network: networks.LoadedRun, criterion: Criterion) -> bool:
    """What is being fine-tuned from a network, what can be, and what came out; nothing for other criteria.

    Returns:
        Whether there is a fine-tuned network of this method, so that the slider has somewhere to go.
    """
    if kind_of(criterion) is not FineTuned:
        return True
    parent = getattr(network.config, "parent", None)
    if parent is not None:
        st.info(
            f"This network is already fine-tuned: {frame.verbatim(network.config.recipe)}. "
            "Fine-tune its parent instead.",
            icon=":material/info:",
        )
        made = {
            "method": network.config.method,
            "state": kind_of(criterion).name,
            "k": str(Sparsity(network.config.sparsity)),
        }
        frame.link_to("pruning", "Open its parent", {"run": choice.address_of(parent)} | made)
        return False
    running = [child for child in children(network.run) if child.is_training()]
    ks = networks.state(network, criterion).stops[1:]
    chosen, ended = offer(network, criterion.method, first=not ks and not running), ended_early(network)
    for run in {*ended, *chosen}:
        actions.show_failure(run)
    for child in ended:
        show_early_end(child)
    if running:
        watch([child.id for child in running])
    return bool(ks)


def offer(network: networks.LoadedRun, method: str, first: bool) -> list[runs.Run]:
    """The settings of another training, and the button that starts it.

    Returns:
        The run that they make, none if they make none.
    """
    with st.expander("Fine-tune", icon=":material/exercise:", expanded=first):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            percent = st.number_input(
                "Sparsity k in percent", value=100 * DEFAULT_K, step=1.0, format="%g", key="train_on_k", width=160
            )
            how = st.selectbox(
                "How",
                list(HOWS),
                format_func=lambda name: f"{name}: {HOWS[name]}",
                key="train_on_how",
                width=330,
                help=RECOVERY["how"].help,
            )
            epochs = st.number_input(
                "Epochs", value=DEFAULT_EPOCHS, key="train_on_epochs", width=120, help=RECOVERY["epochs"].help
            )
            starts = STARTS if how in ("gradual", "finetune") else STARTS[:1]
            start = st.selectbox(
                "Begin with",
                starts,
                index=starts.index("repaired") if how == "finetune" else 0,
                key=f"train_on_start_{how}",  # each has its own default
                width=160,
                help=RECOVERY["start"].help,
            )
            try:
                sparsity = round(percent / 100, 6)
                config = RecoveryConfig(
                    network.config, network.run.id, how, method, sparsity=sparsity, epochs=epochs, start=start
                )
            except ConfigError as error:
                frame.error_box(error)
                return []
            run = runs.open_run(config.run_id, network.run.root)
            if run.is_complete():
                frame.link_to("pruning", "There already: open it", {"run": choice.address_of(run.id), "k": "0"})
            else:
                # Not by on_click: that would act on the settings of the run before, should one change with the click.
                if actions.button(
                    "Fine-tune",
                    type="primary",
                    icon=":material/play_arrow:",
                    key="train_on",
                    disabled=run.is_training(),
                ):
                    actions.attempt(run, jobs.start_training, run, config)
                    st.rerun()
        st.caption(
            "With labels, and weights with what the dense network answers, too. What is zero stays zero, and the "
            "output layer is never pruned. It runs in a process of its own and becomes a run of its own. *finetune* "
            "begins with the repaired network; *gradual* tightens the pruning while it trains, on the cubic schedule "
            "of Zhu and Gupta (2017). The controls keep the same zeros, but not the trained weights (Frankle and "
            "Carbin 2019)."
        )
    return [run]


def ended_early(network: networks.LoadedRun) -> list[runs.Run]:
    """Trainings of this network that came to nothing, and were not discarded."""
    found = []
    for child in children(network.run):
        training = child.training()
        if training and training.phase.has_ended and not child.is_complete():
            found.append(child)
    return found


def show_early_end(child: runs.Run) -> None:
    state, config = child.training(), child.config()
    if state is None:
        return
    why = {
        "failed": f"failed: {frame.verbatim(state.message)}",
        "cancelled": "was cancelled",
        "interrupted": "was interrupted",
    }
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(f"Fine-tuning {frame.verbatim(config.recipe)} {why[state.phase]}", icon=":material/info:")
        kept = child.kept_epochs()
        actions.button(
            "Go on" if kept else "Train again",
            type="primary",
            icon=":material/play_arrow:" if kept else ":material/replay:",
            key=f"go_on_{child.id}",
            on_click=actions.attempt,
            args=(child, jobs.start_training, child, config),
        )
        actions.button(
            "Discard",
            icon=":material/close:",
            key=f"discard_{child.id}",
            on_click=actions.attempt,
            args=(child, child.discard_training),
        )


@st.fragment(run_every=REFRESH_SECONDS)
def watch(ids: list[str]) -> None:
    """Progress and curves of the trainings at work; the page is drawn anew when one ends."""
    for run_id in ids:
        child = runs.open_run(run_id)
        state = child.training()
        if state is None or state.phase.has_ended:
            networks.look_again()
            st.rerun()
        with contextlib.suppress(KnownError), st.container(border=True):
            st.markdown(f"**Fine-tuning** {frame.verbatim(child.config().recipe)}")
            with st.container(horizontal=True, vertical_alignment="center"):
                progress.show_bar(child, state)
                actions.button(
                    "Cancel",
                    icon=":material/stop:",
                    key=f"cancel_{run_id}",
                    on_click=actions.attempt,
                    args=(child, child.request_cancel),
                )
            if state.note:
                st.caption(state.note)
            history = child.history(of_training=True)
            if state.phase != Phase.SCORING and len(history):
                for measure, column in zip(("accuracy", "loss", "sparsity"), st.columns(3), strict=True):
                    column.plotly_chart(
                        interactive.training_curves(history, state.epochs, measure),
                        key=f"curve_{run_id}_{measure}",
                        config=interactive.CONFIG,
                        alt=f"{measure.capitalize()} against the epoch",
                    )


def link_to_own_page(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> None:
    """The way to the run of its own that the slider stands on, if it does."""
    run = networks.state(network, criterion).run_at(k)
    if run not in (None, network.run):
        frame.link_to("pruning", "Open this network as a run of its own", {"run": choice.address_of(run.id), "k": "0"})
