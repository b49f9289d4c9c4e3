"""How a training is going, in a line and a bar."""

import streamlit as st

from core import jobs
from core.runs import Phase, Run, TrainingState


def show_bar(run: Run, state: TrainingState) -> None:
    """The progress of a training, with what it is doing and how long it will take."""
    far = jobs.progress(state, run.history(of_training=True))
    st.progress(min(far.fraction, 1.0), text=describe(state, far))


def describe(state: TrainingState, far: jobs.Progress) -> str:
    """One line about a training in progress."""
    if state.phase == Phase.TRAINING:
        text = f"Epoch {max(state.epoch, 1)} of {state.epochs}"
        if state.batches:
            text += f", batch {state.batch} of {state.batches}"
        if far.seconds_left is not None:
            minutes, seconds = divmod(round(far.seconds_left), 60)
            text += f" · about {f'{minutes} min ' if minutes else ''}{seconds} s left"
        return text
    if state.phase == Phase.SCORING:
        return f"Pruning and scoring: {state.scored} of {state.to_score or '…'} done"
    if state.phase == Phase.COMPLETE:
        return "Putting the network into the cache"
    return "Getting ready: reading the images and starting TensorFlow"
