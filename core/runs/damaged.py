"""Runs that cannot be read: found, and named with the reason, so that they can be deleted or trained again."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from core.config import read_config
from core.errors import KnownError
from core.runs import layout
from core.runs.formats import read_layers
from core.runs.records import Result, TrainingState, parse_json, parse_record
from core.runs.run import SIGNS, Run, list_runs


@dataclass(frozen=True)
class Damaged:
    """A run that cannot be read, and why, in a sentence."""

    run: Run
    reason: str


def damaged_runs(root: Path | None = None) -> list[Damaged]:
    """The runs of a cache that `core.runs.runs_table` leaves out because they cannot be read, by name."""
    found = [Damaged(run, damage(run) or "") for run in list_runs(root)]
    return [each for each in found if each.reason]


def damage(run: Run) -> str | None:
    """Why what lies in the place of a run cannot be read, in a sentence; None if it can, or nothing does.

    The network and its scores are not looked into: what is wrong with those is said where they are read.
    """
    if _can_be_read(run):
        return None
    reason = _unreadable(run.folder, Result) if run.folder.exists() else None
    if reason is None and any(os.path.lexists(run.part / name) for name in SIGNS):
        reason = _unreadable(run.part, TrainingState)
    # It may be just being begun, completed or deleted.
    return None if run.is_busy() or _can_be_read(run) else reason


def _can_be_read(run: Run) -> bool:
    with contextlib.suppress(KnownError):
        if run.is_complete():
            return run.layers() is not None
        return run.config() is not None and run.training() is not None
    return False


def _unreadable(folder: Path, record: type) -> str | None:
    """What is wrong with the files that say what a folder holds."""
    config = None
    for name in (layout.CONFIG, layout.STATE, layout.NETWORK):
        try:
            if name == layout.CONFIG:
                config = read_config(parse_json(folder / name))
            elif name == layout.STATE:
                parse_record(record, folder / name)
            else:
                read_layers(folder / name, config)
        except FileNotFoundError:
            return f"{folder.name} has no {name}."
        except OSError as error:
            return f"{folder.name}/{name} cannot be read: {error.strerror or error}."
        except ValueError as error:
            return f"{folder.name}/{name} is damaged: {str(error)[:300].rstrip('.')}."
    return None
