"""Train many networks: every combination of some values, queued and worked off in the background."""

import streamlit as st

from core import grid, links, runs
from core.config import DATASETS, PARAMETERS, ConfigError, TrainingConfig
from core.jobs import Entry, Queue, open_queue
from core.limits import limit
from core.settings import MAX_TRAININGS
from pages.shared import actions, choice, frame, progress, settings

QUEUE_SECONDS = 2.0
QUEUE_LENGTH = 20  # entries of the queue that are shown, at most


def choose_grid(config: TrainingConfig) -> list[TrainingConfig]:
    """The chosen configuration with lists of values in the place of some; an empty list keeps the one chosen.

    Raises:
        ConfigError: if a list cannot be read, or a combination is no valid configuration.
    """
    values = {name: [getattr(config, name)] for name in PARAMETERS}
    if config.num_valid == config.default_of("num_valid"):
        del values["num_valid"]  # each dataset has its own
    fields = {name: about for name, about in PARAMETERS.items() if about.vary is not None and name != "dataset"}
    # All are drawn before any is read, so that a mistake in one does not hide the others.
    texts = {
        name: column.text_input(
            f"{about.label}s" if not about.label.endswith("y") else f"{about.label[:-1]}ies",
            about.vary,
            key=f"grid_{name}",
            placeholder=about.kind.short(values[name][0]),
            bind="query-params",
            help=f"A list, such as {about.kind.example}. Empty: as chosen beside it.",
        )
        for column, (name, about) in zip(st.columns(len(fields)), fields.items(), strict=True)
    }
    datasets = frame.some_of("Datasets", list(DATASETS), key="grid_dataset", help="None: as chosen beside it.")
    lists = {name: PARAMETERS[name].kind.read(name, text) for name, text in texts.items() if text.strip()}
    return grid.expand(values | lists | {"dataset": datasets or [config.dataset]})


def queue_grid(queue: Queue, configs: list[TrainingConfig], at_once: int) -> None:
    queue.add(configs)
    queue.start(at_once)


def show_grid(queue: Queue, config: TrainingConfig) -> None:
    """Lists of values, how many networks they make, and the button that has them trained."""
    st.caption(
        "Trains every combination of these values, one after another in the background. All other settings are as "
        "chosen beside it."
    )
    try:
        configs = choose_grid(config)
    except ConfigError as error:
        frame.error_box(error, "This grid cannot be trained")
        return
    missing = queue.missing(configs)
    trained = sum(runs.open_run(config.run_id).is_complete() for config in configs)
    waiting = len(configs) - len(missing) - trained
    with st.container(horizontal=True, vertical_alignment="bottom"):
        most = limit(MAX_TRAININGS)
        at_once = st.number_input(
            "At a time",
            value=1,
            key="grid_jobs",
            width=120,
            disabled=queue.is_working(),
            help=f"How many trainings run beside each other, 1 to {most:,}. Holds until the queue is empty.",
        )
        possible = 1 <= at_once <= most
        actions.button(
            f"Queue {frame.counted(len(missing), 'training')}" if missing else "Nothing to queue",
            type="primary",
            icon=":material/playlist_add:",
            key="grid_add",
            disabled=not missing or not possible,
            on_click=actions.attempt,
            args=(queue, queue_grid, queue, missing, at_once),
        )
        st.markdown(
            f"**{frame.counted(len(configs), 'network')}**"
            + (f", {trained:,} trained already" if trained else "")
            + (f", {waiting:,} in the queue" if waiting else "")
        )
    if not possible:
        st.warning(f"At a time: expected 1 to {most:,}. Received: {at_once:,}.", icon=":material/info:")
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
            actions.button(
                "Cancel all",
                type="primary",
                key="queue_cancel_confirmed",
                on_click=actions.attempt,
                args=(queue, queue.cancel),
            )
    if queue.is_stuck():
        st.warning(
            frame.plain(queue.problem())
            or "The process that worked off the queue is gone: it was killed, or the machine or its disk failed it.",
            title="Nobody is working off the queue",
            icon=":material/info:",
        )
        actions.button(
            "Resume",
            type="primary",
            icon=":material/play_arrow:",
            key="queue_resume",
            on_click=actions.attempt,
            args=(queue, queue.start, min(max(1, st.session_state.get("grid_jobs", 1)), limit(MAX_TRAININGS))),
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
        with state:
            progress.show_bar(run, training)
    elif status == "failed":
        state.markdown(f":red[Failed.] {frame.plain(entry.failure)}")
    else:
        state.caption("Trained; drawing its figures" if status == "drawing" else "Waiting")
    with button:
        actions.button(
            "Dismiss" if status == "failed" else "Cancel",
            key=f"queue_cancel_{run.id}",
            type="tertiary",
            icon=":material/close:",
            on_click=actions.attempt,
            args=(queue, queue.cancel, [run.id]),
        )


frame.page_title("Grid")
st.caption("Train many networks that differ in a few settings, and compare them with mean and deviation.")
queue = open_queue()
base, lists = st.columns([1, 2], gap="large")
with base:
    config = settings.choose_config()
with lists:
    if config is not None:
        show_grid(queue, config)
    actions.show_failure(queue)
    seen = look_at(queue)
    _, entries = seen
    st.subheader("Queue")
    if entries:
        alive = any(status != "failed" for _, status in entries)
        st.fragment(show_queue, run_every=QUEUE_SECONDS if alive else None)(queue, seen)
    else:
        st.caption("Nothing waits and nothing is being trained.")
