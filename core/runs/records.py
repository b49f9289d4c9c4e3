"""What `state.json` says, as typed records: how a training goes, and what a complete run came to."""

import dataclasses
import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints


class Phase(enum.StrEnum):
    """Where a training is. The last three came to nothing; what came to a run is in the run's folder."""

    STARTING = "starting"
    LOADING = "loading"
    TRAINING = "training"
    SCORING = "scoring"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def has_ended(self) -> bool:
        return self in (Phase.FAILED, Phase.CANCELLED, Phase.INTERRUPTED)


@dataclass(frozen=True)
class TrainingState:
    """A training in progress, or one that ended early.

    Attributes:
        phase: as the training process wrote it, or `INTERRUPTED` if that process is gone.
        started, updated: UTC, ISO 8601; `updated` is the heartbeat.
        host, pid: who trains.
        epoch, epochs: the epoch it is in, counted from 1, and how many there will be.
        batch, batches: likewise within the epoch; 0 before the first report.
        scored, to_score: likewise for the sparsities scored after training.
        message: why it failed.
        note: what it goes on from, or why it does not.
    """

    phase: Phase
    started: str = ""
    updated: str = ""
    host: str = ""
    pid: int = 0
    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    batches: int = 0
    scored: int = 0
    to_score: int = 0
    message: str = ""
    note: str = ""


@dataclass(frozen=True)
class Result:
    """What a complete run ended with.

    Attributes:
        finished: when, UTC, ISO 8601. It also tells this network from a later one of the same run id.
        test_accuracy, test_loss: of the dense network, 0 to 1 and in nats.
        kept_epoch: the epoch whose weights were kept, from 1; 0 where an early version did not say.
        training_seconds: what fitting took, with a repair before it.
        versions: of Python, Keras, TensorFlow and NumPy.
        machine: system, architecture and cores.
        parent_identity: of a network that was trained on, the identity of the one it was made from (`Run.identity`).
        repair_images, repair_seconds: how many images the repair that training on began with has seen, and what it
            took; 0 if it began with something else.
    """

    finished: str
    test_accuracy: float
    test_loss: float
    kept_epoch: int = 0
    training_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = "unknown"
    parent_identity: str = ""
    repair_images: int = 0
    repair_seconds: float = 0.0


_Record = TypeVar("_Record", TrainingState, Result)


def read_training(path: Path) -> TrainingState | None:
    """The record of a training; None if there is none, or the file says something else."""
    return _read(TrainingState, path)


def read_result(path: Path) -> Result | None:
    """The record of a complete run; None if there is none, or the file says something else."""
    return _read(Result, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no such file, or it is damaged."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _read(kind: type[_Record], path: Path) -> _Record | None:
    values = read_json(path)
    if values is None:
        return None
    types = get_type_hints(kind)
    try:
        return kind(
            **{
                item.name: _as(types[item.name], values[item.name])
                for item in dataclasses.fields(kind)
                if item.name in values
            }
        )
    except (TypeError, ValueError):
        return None


def _as(kind: Any, value: Any) -> Any:
    """A JSON value as the type of a field."""
    if kind is Phase:
        return Phase(value)
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, getattr(kind, "__origin__", kind)) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"Expected {kind}. Received: {value!r}.")
    return value
