"""Choose hyper-parameters, train, watch, and manage the runs in the cache."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from core import config as configuration
from core import grid, jobs, links, runs
from core.analysis.distributions import layer_names
from core.charts import interactive
from core.config import DATASETS, ConfigError, TrainingConfig
from core.errors import KnownError
from core.jobs import Entry, Queue, open_queue
from core.runs import Phase, Result, TrainingState
from pages.shared import choice, downloads, frame

DEFAULTS = TrainingConfig()
REFRESH_SECONDS = 1.0
PENALTIES = {"l1_reg": "L1", "l2_reg": "L2"}
QUEUE_SECONDS = 2.0
QUEUE_LENGTH = 20  # entries of the queue that are shown, at most


def reset_validation() -> None:
    """Another dataset has another size, and so another sensible number of validation images."""
    st.session_state.num_valid = DATASETS[st.session_state.dataset].num_valid


def choose_config() -> TrainingConfig:
    """The hyper-parameters as widgets; each is kept in the address, so a link brings them back.

    Raises:
        ConfigError: if together they make no valid configuration.
    """
    dataset = st.segmented_control(
        "Dataset",
        list(DATASETS),
        default=DEFAULTS.dataset,
        required=True,
        key="dataset",
        bind="query-params",
        on_change=reset_validation,
        help="digits is MNIST and fashion is Fashion-MNIST: 60,000 training images of 28×28 pixels each. "
        "optdigits, the UCI digits, has 1,437 of 8×8 and trains in seconds.",
    )
    spec = DATASETS[dataset]
    left, right = st.columns(2)
    epochs = left.number_input(
        "Epochs", 1, 10_000, DEFAULTS.epochs, key="epochs", bind="query-params", help="Passes over the training images."
    )
    batch_size = right.number_input(
        "Batch size",
        1,
        60_000,
        DEFAULTS.batch_size,
        key="batch_size",
        bind="query-params",
        help="Images per training step.",
    )
    learning_rate = left.number_input(
        "Learning rate",
        0.0,
        1.0,
        DEFAULTS.learning_rate,
        step=0.0005,
        format="%.6g",
        key="learning_rate",
        bind="query-params",
        help="Step size of the Adam optimizer.",
    )
    seed = right.number_input(
        "Seed",
        0,
        2**32 - 1,
        DEFAULTS.seed,
        key="seed",
        bind="query-params",
        help="Decides the initial weights and the order of the images. The same seed gives the same network.",
    )
    hidden_units = st.text_input(
        "Hidden units",
        ", ".join(map(str, DEFAULTS.hidden_units)),
        key="hidden_units",
        bind="query-params",
        help="The width of each hidden layer, separated by commas.",
    )
    with st.expander("Validation and regularisation"):
        num_valid = st.number_input(
            "Validation images",
            0,
            spec.train_size - 1,
            spec.num_valid,
            key="num_valid",
            bind="query-params",
            help="The first training images are held out to measure each epoch.",
        )
        keep_best = st.toggle(
            "Keep the best epoch",
            DEFAULTS.keep_best,
            key="keep_best",
            bind="query-params",
            help="Keep the epoch of best validation accuracy instead of the last one.",
        )
        left, right = st.columns(2)
        l1_reg, l2_reg = (
            column.number_input(
                f"{name} penalty",
                0.0,
                1.0,
                0.0,
                step=0.0001,
                format="%.6g",
                key=f"{name.lower()}_reg",
                bind="query-params",
                help="Added to the loss of the hidden kernels; pulls weights towards zero.",
            )
            for name, column in (("L1", left), ("L2", right))
        )
    return TrainingConfig(
        dataset=dataset,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        num_valid=num_valid,
        keep_best=keep_best,
        l1_reg=l1_reg,
        l2_reg=l2_reg,
        hidden_units=configuration.parse_sizes(hidden_units),
        seed=seed,
    )


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


def attempt(about: runs.Run | Queue, action: Callable[..., None], *arguments: Any) -> None:
    """Do what a button stands for; a known failure is kept for the rerun that follows the click."""
    try:
        action(*arguments)
        st.session_state.pop("failure", None)
    except KnownError as error:
        st.session_state.failure = (about, str(error))


def show_failure(about: runs.Run | Queue) -> None:
    """What came of the last click, if it was about this and failed."""
    failed, failure = st.session_state.get("failure", (None, None))
    if failed == about:
        st.error(failure, icon=":material/error:")


def show_status(run: runs.Run, config: TrainingConfig) -> None:
    """Where this configuration stands, and what can be done with it."""
    show_failure(run)
    training, result = run.training(), run.result()
    if training and not training.phase.has_ended:
        watch(run)
        return
    if training:
        show_early_end(run, training)
    if result:
        show_result(run, config, result)
    elif not training:
        st.markdown("This configuration has **not been trained** yet.")
        st.button(
            "Train",
            type="primary",
            icon=":material/play_arrow:",
            key="train",
            on_click=attempt,
            args=(run, jobs.start_training, run, config),
        )
        st.caption(
            "Training runs in a process of its own: reloading or closing this page does not stop it. "
            "On two cores an epoch of MNIST takes some seconds."
        )


@st.fragment(run_every=REFRESH_SECONDS)
def watch(run: runs.Run) -> None:
    """Progress and curves of the training in progress, read from the cache every second."""
    state = run.training()
    if state is None or state.phase.has_ended:
        st.rerun()
    with frame.known_errors():
        show_progress(run, state)


def show_progress(run: runs.Run, state: TrainingState) -> None:
    history = run.history(of_training=True)
    progress = jobs.progress(state, history)
    st.progress(min(progress.fraction, 1.0), text=describe(state, progress))
    st.button("Cancel", icon=":material/stop:", key="cancel", on_click=run.request_cancel)
    show_curves(history, state.epochs or 1)


def describe(state: TrainingState, progress: jobs.Progress) -> str:
    """One line about a training in progress."""
    if state.phase == Phase.TRAINING:
        text = f"Epoch {max(state.epoch, 1)} of {state.epochs}"
        if state.batches:
            text += f", batch {state.batch} of {state.batches}"
        if progress.seconds_left is not None:
            minutes, seconds = divmod(round(progress.seconds_left), 60)
            text += f" · about {f'{minutes} min ' if minutes else ''}{seconds} s left"
        return text
    if state.phase == Phase.SCORING:
        return f"Pruning and scoring: {state.scored} of {state.to_score or '…'} done"
    if state.phase == Phase.COMPLETE:
        return "Putting the network into the cache"
    return "Getting ready: reading the images and starting TensorFlow"


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
    box = st.error if state.phase == Phase.FAILED else st.warning
    box(
        reasons[state.phase] + (" The earlier network is untouched." if run.is_complete() else ""),
        title=titles[state.phase],
        icon=":material/error:" if state.phase == Phase.FAILED else ":material/info:",
    )
    with st.container(horizontal=True):
        st.button(
            "Train again",
            type="primary",
            icon=":material/replay:",
            key="train_again",
            on_click=attempt,
            args=(run, jobs.start_training, run, run.config(), run.is_complete()),
        )
        st.button("Discard", icon=":material/close:", key="discard", on_click=attempt, args=(run, run.discard_training))


def show_result(run: runs.Run, config: TrainingConfig, result: Result) -> None:
    history = run.history()
    accuracy, loss, seconds, kept = st.columns(4)
    accuracy.metric("Test accuracy", f"{result.test_accuracy:.2%}")
    loss.metric("Test loss", f"{result.test_loss:.4f}")
    seconds.metric("Training time", f"{result.training_seconds:,.0f} s")
    kept.metric("Kept epoch", f"{result.kept_epoch} of {len(history)}")
    with st.container(horizontal=True):
        if st.button("Prune it", type="primary", icon=":material/content_cut:", key="open"):
            st.switch_page("pruning.py", query_params={"run": run.id})
        with st.popover("Take away", icon=":material/download:", key="take_away"):
            downloads.offer_run(run)
        if st.button("Retrain…", icon=":material/replay:", key="retrain"):
            confirm_retrain(run, config)
        if st.button("Delete…", icon=":material/delete:", key="delete"):
            confirm_delete(run)
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
        if st.button("Retrain", type="primary", key="retrain_confirmed", on_click=attempt, args=retrain):
            st.rerun()
        if st.button("Keep it", key="retrain_dismissed"):
            st.rerun()


@st.dialog("Delete this run?")
def confirm_delete(run: runs.Run) -> None:
    st.markdown(f"`{run.id}`, its network, history and scores are removed from the cache. This cannot be undone.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", key="delete_confirmed", on_click=attempt, args=(run, run.delete)):
            st.rerun()
        if st.button("Keep it", key="delete_dismissed"):
            st.rerun()


def choose_grid(config: TrainingConfig) -> list[TrainingConfig]:
    """The chosen configuration with lists of values in the place of some; an empty list keeps the one chosen.

    Raises:
        ConfigError: if a list cannot be read, or a combination is no valid configuration.
    """
    values = {name: [value] for name, value in dataclasses.asdict(config).items()}
    if config.num_valid == config.spec.num_valid:
        del values["num_valid"]  # each dataset has its own
    fields = {
        "seed": ("Seeds", "0-4"),
        "learning_rate": ("Learning rates", ""),
        **{name: (f"{label} penalties", "") for name, label in PENALTIES.items()},
    }
    # All are drawn before any is read, so that a mistake in one does not hide the others.
    texts = {
        name: column.text_input(
            label,
            default,
            key=f"grid_{name}",
            placeholder=f"{values[name][0]:g}",
            bind="query-params",
            help="Separated by commas; ranges such as 0-4 for whole numbers. Empty: as chosen above.",
        )
        for column, (name, (label, default)) in zip(st.columns(4), fields.items(), strict=True)
    }
    datasets = st.pills(
        "Datasets",
        list(DATASETS),
        selection_mode="multi",
        key="grid_dataset",
        bind="query-params",
        help="None: as chosen above.",
    )
    lists = {name: grid.parse_values(name, text) for name, text in texts.items() if text.strip()}
    return grid.expand(values | lists | {"dataset": datasets or [config.dataset]})


def queue_grid(queue: Queue, configs: list[TrainingConfig], at_once: int) -> None:
    queue.add(configs)
    queue.start(at_once)


def show_grid(queue: Queue, config: TrainingConfig) -> None:
    """Lists of values, how many networks they make, and the button that has them trained."""
    st.caption(
        "Trains every combination of these values, one after another in the background. All other settings are as "
        "chosen above."
    )
    try:
        configs = choose_grid(config)
    except ConfigError as error:
        st.error(str(error), title="This grid cannot be trained", icon=":material/error:")
        return
    missing = queue.missing(configs)
    trained = sum(runs.open_run(config.run_id).is_complete() for config in configs)
    waiting = len(configs) - len(missing) - trained
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at_once = st.number_input(
            "At a time",
            1,
            64,
            key="grid_jobs",
            width=120,
            disabled=queue.is_working(),
            help="How many trainings run beside each other. Holds until the queue is empty.",
        )
        st.button(
            f"Queue {frame.counted(len(missing), 'training')}" if missing else "Nothing to queue",
            type="primary",
            icon=":material/playlist_add:",
            key="grid_add",
            disabled=not missing,
            on_click=attempt,
            args=(queue, queue_grid, queue, missing, at_once),
        )
        st.markdown(
            f"**{frame.counted(len(configs), 'network')}**"
            + (f", {trained:,} trained already" if trained else "")
            + (f", {waiting:,} in the queue" if waiting else "")
        )
    if trained + waiting:
        addresses = [links.address_of(config.run_id, config) for config in configs if config not in missing]
        frame.link_to("comparison", "Compare them; what is not trained yet appears as it finishes", {"runs": addresses})


def look_at(queue: Queue) -> tuple:
    """What of the queue the rest of the page depends on."""
    return queue.is_working(), [(entry.run.id, entry.status) for entry in queue.entries()]


def show_queue(queue: Queue, seen: tuple) -> None:
    """What waits, is being trained or failed. Once that is no longer what the page saw, the page is run again."""
    if look_at(queue) != seen:
        st.rerun()
    entries = queue.entries()
    failed = sum(entry.status == "failed" for entry in entries)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{len(entries) - failed:,} to train**" + (f", {failed:,} failed" if failed else ""))
        # No dialog: the page is run again whenever a training begins or ends, which would close it.
        with st.popover("Cancel all…", icon=":material/stop:", key="queue_cancel_all"):
            st.markdown("What waits leaves the queue, and what is being trained is stopped. Trained networks stay.")
            st.button(
                "Cancel all",
                type="primary",
                key="queue_cancel_confirmed",
                on_click=attempt,
                args=(queue, queue.cancel),
            )
    if queue.is_stuck():
        st.warning(
            "The process that worked off the queue is gone: it was killed, or the machine restarted.",
            title="Nobody is working off the queue",
            icon=":material/info:",
        )
        st.button(
            "Resume",
            type="primary",
            icon=":material/play_arrow:",
            key="queue_resume",
            on_click=attempt,
            args=(queue, queue.start, st.session_state.get("grid_jobs", 1)),
        )
    # What is being trained comes first, then what failed; of a long queue the beginning is shown.
    entries.sort(key=lambda entry: ("training", "drawing", "failed", "waiting").index(entry.status))
    for entry in entries[:QUEUE_LENGTH]:
        show_entry(queue, entry)
    if len(entries) > QUEUE_LENGTH:
        st.caption(f"{len(entries) - QUEUE_LENGTH:,} more wait.")


def show_entry(queue: Queue, entry: Entry) -> None:
    run, status = entry.run, entry.status
    name, state, button = st.columns([5, 6, 2], vertical_alignment="center")
    name.markdown(choice.label(entry.config))
    training = run.training()
    if status == "training" and training:
        progress = jobs.progress(training, run.history(of_training=True))
        state.progress(min(progress.fraction, 1.0), text=describe(training, progress))
    elif status == "failed":
        state.markdown(f":red[Failed.] {entry.failure}")
    else:
        state.caption("Trained; drawing its figures" if status == "drawing" else "Waiting")
    button.button(
        "Dismiss" if status == "failed" else "Cancel",
        key=f"queue_cancel_{run.id}",
        type="tertiary",
        icon=":material/close:",
        on_click=attempt,
        args=(queue, queue.cancel, [run.id]),
    )


def show_grids(config: TrainingConfig | None) -> None:
    """Trainings by the dozen: what to queue, and the queue."""
    queue = open_queue()
    if config is not None:
        with st.expander("Train a grid", icon=":material/grid_on:", key="grid"):
            show_grid(queue, config)
    show_failure(queue)
    seen = look_at(queue)
    _, entries = seen
    if entries:
        st.subheader("Queue")
        alive = any(status != "failed" for _, status in entries)
        st.fragment(show_queue, run_every=QUEUE_SECONDS if alive else None)(queue, seen)


def load_settings(config: TrainingConfig) -> None:
    """Put a run's hyper-parameters into the widgets."""
    values = config.to_dict() | {"hidden_units": ", ".join(map(str, config.hidden_units))}
    st.session_state.update(values)


def show_runs() -> None:
    st.subheader("All runs")
    table = runs.runs_table()
    if table.empty:
        st.caption("None yet. Trained networks are listed here with their settings and scores.")
        return
    table["hidden_units"] = table.hidden_units.map(lambda sizes: "-".join(map(str, sizes)))
    table["size"] = table["size"] / 1e6
    column = st.column_config
    selection = st.dataframe(
        table,
        hide_index=True,
        # A selection is of positions: when a run is added, it must not go on to mean another.
        key=f"run_table_{pd.util.hash_pandas_object(table.run).sum():x}",
        on_select="rerun",
        selection_mode="single-row",
        column_order=[
            "dataset",
            "test_accuracy",
            "status",
            "epochs",
            "learning_rate",
            "batch_size",
            "hidden_units",
            "l1_reg",
            "l2_reg",
            "seed",
            "finished",
            "size",
            "run",
        ],
        column_config={
            "dataset": "Dataset",
            "test_accuracy": column.NumberColumn("Test accuracy", format="percent"),
            "status": "Status",
            "epochs": "Epochs",
            "learning_rate": column.NumberColumn("Learning rate", format="%g"),
            "batch_size": "Batch size",
            "hidden_units": "Hidden units",
            "l1_reg": column.NumberColumn("L1", format="%g"),
            "l2_reg": column.NumberColumn("L2", format="%g"),
            "seed": column.NumberColumn("Seed", format="%d"),
            "finished": column.DatetimeColumn("Finished", format="YYYY-MM-DD HH:mm"),
            "size": column.NumberColumn("Size (MB)", format="%.1f"),
            "run": "Run",
        },
        placeholder="–",
        alt="All runs in the cache",
    )
    rows = selection.selection.rows
    if not rows or rows[0] >= len(table):
        st.caption("Select a row to open or delete it.")
        return
    run = runs.open_run(table.run[rows[0]])
    with st.container(horizontal=True):
        if run.is_complete() and st.button("Prune it", icon=":material/content_cut:", key="row_open"):
            st.switch_page("pruning.py", query_params={"run": run.id})
        st.button(
            "Show its settings",
            icon=":material/tune:",
            key="row_settings",
            on_click=load_settings,
            args=(run.config(),),
        )
        if st.button("Delete…", icon=":material/delete:", key="row_delete", disabled=run.is_training()):
            confirm_delete(run)


frame.page_title("Training")
settings, status = st.columns([1, 2], gap="large")
with settings:
    try:
        config = choose_config()
    except ConfigError as error:
        config = None
        st.error(str(error), title="This configuration cannot be trained", icon=":material/error:")
with status:
    if config is not None:
        run = runs.open_run(config.run_id)
        st.caption(f"Run `{run.id}`")
        with frame.known_errors():
            show_status(run, config)
        show_architecture(config)
show_grids(config)
show_runs()
