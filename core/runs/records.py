"""What `state.json` says, as typed records: how a training goes, and what a complete run came to."""

import dataclasses
import datetime
import enum
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from core.files import read_text

_TIMES = tuple(f"{how}_{what}" for how in ("one", "many") for what in ("median", "q1", "q3", "faster"))
"""The columns of a measurement of speed that are numbers; see `core.analysis.latency.measure`."""


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
        parent_identity: of a fine-tuned network, the version of the one it was made from (`Run.version`).
        repair_images, repair_seconds: how many images the repair that fine-tuning began with has seen, and what it
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


_Record = TypeVar("_Record")


def read_record(kind: type[_Record], path: Path) -> _Record | None:
    """As `parse_record`; None if there is no such file, or it says something else."""
    try:
        return parse_record(kind, path)
    except (OSError, ValueError):
        return None


def read_speed(path: Path) -> dict[str, Any] | None:
    """A measurement of speed, as `core.speed` writes it; None if there is none, or the file says something else."""
    values = read_json(path)
    if values is None or not isinstance(rows := values.get("rows"), list) or not rows:
        return None
    words = {**dict.fromkeys(("source", "measured", "machine"), str), "versions": dict[str, str]}
    try:
        for name, kind in {**words, "threads": int, "images": int, "batch": int}.items():
            values[name] = _as(kind, values[name])
        datetime.datetime.fromisoformat(values["measured"])
        for row in rows:
            if not all(isinstance(row[name], str) for name in ("network", "runtime")):
                return None
            if not all(_as(float, row[name]) > 0 for name in _TIMES):
                return None
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    return values


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no such file, or it is damaged."""
    try:
        return parse_json(path)
    except (OSError, ValueError):
        return None


def parse_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        OSError, ValueError: if there is no such file, or it is damaged; each says why.
    """
    values = json.loads(read_text(path))
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    return values


def parse_record(kind: type[_Record], path: Path) -> _Record:
    """What a file says, as a record of that kind.

    Raises:
        OSError, ValueError: if there is no such file, or it says something else; each says why.
    """
    values, types = parse_json(path), get_type_hints(kind)
    given = {}
    for item in dataclasses.fields(kind):
        if item.name in values:
            try:
                given[item.name] = _as(types[item.name], values[item.name])
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"{item.name} is not what it can be: {values[item.name]!r}") from None
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ValueError(f"it does not say {item.name}")
    record = kind(**given)
    if isinstance(record, Result):
        _check_result(record)
    return record


def _check_result(result: Result) -> None:
    year = datetime.datetime.fromisoformat(result.finished).year
    if not 1970 <= year < 2200:
        raise ValueError(f"it finished in the year {year}")
    if not 0 <= result.test_accuracy <= 1 or result.test_loss < 0:
        raise ValueError(f"test_accuracy is {result.test_accuracy}, test_loss {result.test_loss}")


def _as(kind: Any, value: Any) -> Any:
    """A JSON value as the type of a field."""
    if kind is Phase:
        return Phase(value)
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, getattr(kind, "__origin__", kind)) or (kind is int and isinstance(value, bool)):
        raise TypeError
    if (kind is float and not math.isfinite(value)) or (kind is int and value < 0):
        raise ValueError
    if isinstance(value, dict) and not all(isinstance(each, str) for each in value.values()):
        raise TypeError
    return value
