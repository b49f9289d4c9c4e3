"""How far a training is, and how long it will take."""

from dataclasses import dataclass

import pandas as pd

from core.errors import RunError
from core.runs import Phase, Run, TrainingState


@dataclass(frozen=True)
class Progress:
    """How far a training is: the part done (0 to 1), and the seconds left, None if not known yet."""

    fraction: float
    seconds_left: float | None


def progress_of(run: Run, state: TrainingState) -> Progress:
    """How far the training of a run is; without the seconds left while its history cannot be read.

    Args:
        state: of the training, as the caller has read it.
    """
    try:
        history = run.history(of_training=True)
    except RunError:
        # It is rewritten after every epoch.
        history = pd.DataFrame()
    return progress(state, history)


def progress(state: TrainingState, history: pd.DataFrame) -> Progress:
    """Estimate from a training's state and the history so far; the pace is that of the last epochs."""
    if state.phase == Phase.SCORING:
        return Progress(state.scored / state.to_score if state.to_score else 0.0, None)
    if state.phase == Phase.COMPLETE:
        return Progress(1.0, None)
    if state.phase != Phase.TRAINING or not state.epochs:
        return Progress(0.0, None)
    in_epoch = state.batch / state.batches if state.batches else 0.0
    done = max(len(history), state.epoch - 1 + in_epoch)
    pace = history.seconds.tail(3).mean() if len(history) else None
    return Progress(done / state.epochs, None if pace is None else (state.epochs - done) * pace)
