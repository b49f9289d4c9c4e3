"""How long work takes, in a line and a bar: a training, or scores that somebody waits for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import jobs, limits, scoring
from core.errors import RunWriteError
from core.runs import Phase, Run, TrainingState
from core.sweep import merge_scores
from pages.shared import frame, networks

_PLACES = threading.BoundedSemaphore(2)
"""For pages that score at the same time: each holds a network and thousands of images in memory."""


def show_bar(run: Run, state: TrainingState) -> None:
    """The progress of a training, with what it is doing and how long it will take."""
    far = jobs.progress_of(run, state)
    st.progress(min(far.fraction, 1.0), text=describe(state, far))


def describe(state: TrainingState, far: jobs.Progress) -> str:
    """One line about a training in progress."""
    if state.phase == Phase.TRAINING:
        text = f"Epoch {max(state.epoch, 1)} of {state.epochs}"
        if state.batches:
            text += f", batch {state.batch} of {state.batches}"
        if far.seconds_left is not None:
            text += f" · about {frame.duration(far.seconds_left)} left"
        return text
    if state.phase == Phase.SCORING:
        return f"Pruning and scoring: {state.scored} of {state.to_score or '…'} done"
    if state.phase == Phase.COMPLETE:
        return "Putting the network into the cache"
    return "Getting ready: reading the images and starting TensorFlow"


def scored(run: Run, wanted: scoring.Wanted) -> pd.DataFrame:
    """The run's sweep, after scoring with visible progress what is missing of what was asked for.

    Raises:
        KnownError: if the run or its dataset cannot be read, or the network is too large for this server.
    """
    limits.check_size(run.layers().weights, "opened")
    table = run.sweep()
    if not scoring.unscored(table, wanted):
        return table
    networks.test_split(run.config().dataset)
    rows = []
    bar = st.progress(0.0, f"Pruning and scoring {run.id}")
    try:
        with _place(bar):
            for step in scoring.score_run(run, wanted):
                row = step.scored.row
                rows.append(row)
                where = f"{row['method']} at {row['sparsity']:g}"
                bar.progress(step.done / step.total, f"Pruning and scoring {run.id}: {where}")
    except RunWriteError as error:
        # It costs scoring again next time, not the view.
        frame.error_box(error)
    finally:
        bar.empty()
    return merge_scores(table, pd.DataFrame(rows))


@contextmanager
def _place(bar: DeltaGenerator) -> Iterator[None]:
    while not _PLACES.acquire(timeout=0.5):
        bar.progress(0.0, "Waiting for other pages that are being scored")
    try:
        yield
    finally:
        _PLACES.release()
