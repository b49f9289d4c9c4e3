"""Choose hyper-parameters, train a network, and watch it learn."""

from concurrent.futures import Future

import pandas as pd
import streamlit as st

from core import datasets, jobs, runs
from core.analysis.distributions import layer_names
from core.charts import interactive
from core.config import TrainingConfig
from core.errors import RunError
from core.runs import Phase, Result, TrainingState
from pages.shared import actions, downloads, frame, in_view, networks, progress, settings

REFRESH_SECONDS = 1.0


def show_architecture(config: TrainingConfig) -> None:
    shapes = config.layer_shapes
    layers = pd.DataFrame(
        {
            "Layer": layer_names(shapes),
            "Inputs": [inputs for inputs, _ in shapes],
            "Units": [units for _, units in shapes],
            "Activation": ["ReLU"] * (len(shapes) - 1) + ["softmax"],
            "Weights": [inputs * units for inputs, units in shapes],
        }
    )
    with st.expander(f"Architecture: **{config.parameter_count:,}** weights"):
        st.dataframe(
            layers,
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="localized") for name in ("Inputs", "Units", "Weights")
            },
            alt="Layers of the network with their numbers of weights",
        )
        st.caption("Dense layers without biases. The output layer is never pruned.")


def show_status(run: runs.Run, config: TrainingConfig) -> None:
    """Where this configuration stands, and what can be done with it."""
    actions.show_failure(run)
    reason = runs.damage(run)
    if reason:
        show_damage(run, config, reason)
        return
    training, result = run.training(), run.result()
    if training and not training.phase.has_ended:
        watch(run)
        return
    if training:
        show_early_end(run, training)
    if result:
        show_result(run, config, result)
    elif not training:
        offer_training(run, config)


def offer_training(run: runs.Run, config: TrainingConfig) -> None:
    """The button that trains, once it is known that the images can be had."""
    st.markdown("This configuration has **not been trained** yet.")
    problem = images_problem(config)
    actions.button(
        "Train",
        type="primary" if problem is None else "secondary",
        icon=":material/play_arrow:",
        key="train",
        on_click=actions.attempt,
        args=(run, jobs.start_training, run, config),
        disabled=problem is not None,
    )
    if problem is None:
        st.caption(
            "Training runs in a process of its own: reloading or closing this page does not stop it. "
            "On two cores an epoch of MNIST takes some seconds."
        )
        return
    st.warning(
        f"The images of {config.spec.title} are not on this machine and cannot be downloaded now.",
        icon=":material/cloud_off:",
    )
    st.button(
        "Take the small UCI digits instead",
        type="primary",
        icon=":material/grid_4x4:",
        key="take_small",
        on_click=settings.take_dataset,
        args=("optdigits",),
    )
    st.caption("They come with the project and train in seconds.")
    with st.expander("Why, and how to get the others"):
        st.markdown(frame.plain(problem))


def images_problem(config: TrainingConfig) -> str | None:
    """Why the images cannot be had; None if they can, or as long as nobody knows."""
    if not datasets.may_be_missing(config.dataset):
        return None
    attempt = networks.fetch(config.dataset)
    if not attempt.done():
        wait_for_images(config.spec.title, attempt)
        return None
    error = attempt.exception()
    return None if error is None else str(error) or type(error).__name__


@st.fragment(run_every=REFRESH_SECONDS)
def wait_for_images(title: str, attempt: Future) -> None:
    if not attempt.done():
        st.caption(f"Looking for the images of {title}…")
    elif attempt.exception():
        # Only bad news changes the page; a rerun in the moment of a click on Train could swallow it.
        st.rerun()


@st.fragment(run_every=REFRESH_SECONDS)
def watch(run: runs.Run) -> None:
    """Progress and curves of the training in progress, read from the cache every second."""
    state = run.training()
    if state is None or state.phase.has_ended:
        st.rerun()
    with frame.known_errors():
        show_progress(run, state)


def show_progress(run: runs.Run, state: TrainingState) -> None:
    progress.show_bar(run, state)
    if state.note:
        st.caption(state.note)
    actions.button(
        "Cancel", icon=":material/stop:", key="cancel", on_click=actions.attempt, args=(run, run.request_cancel)
    )
    with frame.known_errors():
        show_curves(run.history(of_training=True), state.epochs or 1)


def show_damage(run: runs.Run, config: TrainingConfig, reason: str) -> None:
    """What lies in the place of this run and cannot be read, and the ways out."""
    st.error(
        f"{frame.verbatim(reason)} Train the run again, which replaces what is there, or delete it.",
        title="This run is damaged",
        icon=":material/broken_image:",
    )
    with st.container(horizontal=True):
        actions.button(
            "Train again",
            type="primary",
            icon=":material/replay:",
            key="train_again",
            on_click=actions.attempt,
            args=(run, jobs.start_training, run, config, True),
        )
        if actions.button("Delete…", icon=":material/delete:", key="delete"):
            actions.confirm_delete(run)


def show_early_end(run: runs.Run, state: TrainingState) -> None:
    """A training that failed, was cancelled, or whose process died."""
    titles = {
        "failed": "Training failed",
        "cancelled": "Training was cancelled",
        "interrupted": "Training was interrupted",
    }
    reasons = {
        "failed": state.message or "The process said nothing.",
        "cancelled": f"It had reached epoch {state.epoch} of {state.epochs or '?'}.",
        "interrupted": "The process that was training this network is gone: it was killed, or the machine restarted. "
        f"It had reached epoch {state.epoch} of {state.epochs or '?'}.",
    }
    kept = run.kept_epochs()
    goes_on = f" It goes on from the end of epoch {kept}." if kept else ""
    box = st.error if state.phase == Phase.FAILED else st.warning
    box(
        frame.plain(reasons[state.phase])
        + goes_on
        + (" The earlier network is untouched." if run.is_complete() else ""),
        title=titles[state.phase],
        icon=":material/error:" if state.phase == Phase.FAILED else ":material/info:",
    )
    with st.container(horizontal=True):
        actions.button(
            "Go on" if kept else "Train again",
            type="primary",
            icon=":material/play_arrow:" if kept else ":material/replay:",
            key="train_again",
            on_click=actions.attempt,
            args=(run, jobs.start_training, run, run.config(), run.is_complete()),
        )
        actions.button(
            "Discard",
            icon=":material/close:",
            key="discard",
            on_click=actions.attempt,
            args=(run, run.discard_training),
        )


def show_result(run: runs.Run, config: TrainingConfig, result: Result) -> None:
    problem, history = None, pd.DataFrame()
    try:
        history = run.history()
    except RunError as error:
        problem = error
    accuracy, loss, seconds, kept = st.columns(4)
    accuracy.metric("Test accuracy", f"{result.test_accuracy:.2%}")
    loss.metric("Test loss", f"{result.test_loss:.4f}")
    seconds.metric("Training time", f"{result.training_seconds:,.0f} s")
    kept.metric("Kept epoch", f"{result.kept_epoch} of {len(history) or config.epochs}")
    with st.container(horizontal=True):
        frame.link_to("pruning", "Prune it", {"run": in_view.address_of(run.id)})
        with st.popover("Take away", icon=":material/download:", key="take_away"):
            downloads.offer_run(run)
        if actions.button("Retrain…", icon=":material/replay:", key="retrain"):
            confirm_retrain(run, config)
        if actions.button("Delete…", icon=":material/delete:", key="delete"):
            actions.confirm_delete(run)
    if problem:
        st.error(str(problem), icon=":material/error:")
    else:
        show_curves(history, len(history), result.kept_epoch)


def show_curves(history: pd.DataFrame, epochs: int, kept_epoch: int | None = None) -> None:
    for measure, column in zip(("loss", "accuracy"), st.columns(2), strict=True):
        column.plotly_chart(
            interactive.training_curves(history, epochs, measure, kept_epoch),
            key=f"curve_{measure}",
            config=interactive.CONFIG,
            alt=f"{measure.capitalize()} of training and validation against the epoch",
        )


@st.dialog("Retrain this network?")
def confirm_retrain(run: runs.Run, config: TrainingConfig) -> None:
    st.markdown(
        f"`{run.id}` is trained again with the same hyper-parameters. The present network stays until the new one is "
        "complete, and is then replaced."
    )
    with st.container(horizontal=True):
        retrain = (run, jobs.start_training, run, config, True)
        if actions.button("Retrain", type="primary", key="retrain_confirmed", on_click=actions.attempt, args=retrain):
            st.rerun()
        if st.button("Keep it", key="retrain_dismissed"):
            st.rerun()


frame.page_title("Training")
choice_column, status = st.columns([1, 2], gap="large")
with choice_column:
    config = settings.choose_config()
with status:
    if config is not None:
        run = runs.open_run(config.run_id)
        st.caption(f"Run `{run.id}`")
        with frame.known_errors():
            show_status(run, config)
        show_architecture(config)
frame.link_to("runs", "All runs")
