"""All runs of a cache as one table."""

import datetime
from pathlib import Path

import pandas as pd

from core.config import PARAMETERS
from core.errors import KnownError
from core.runs.notes import read_notes
from core.runs.run import list_runs

_TABLE_COLUMNS = [
    "run",
    "status",
    *PARAMETERS,
    "parent",
    "trained_on",
    "test_accuracy",
    "test_loss",
    "finished",
    "size",
    "name",
    "note",
]


def runs_table(root: Path | None = None) -> pd.DataFrame:
    """All runs, one row each, newest first: run, status, every hyper-parameter, the parent of a fine-tuned one
    and how it was made (else "none"), size in bytes, and of complete runs the test accuracy and loss, when they
    finished (UTC), and their name and note, or "". Those that cannot be read are left out."""
    rows = []
    for run in list_runs(root):
        try:
            config, training, result = run.config(), run.training(), run.result()
            _ = result and run.layers()
        except KnownError:
            continue  # see `core.runs.damaged_runs`
        if not training and not result:
            continue  # it is just being started or deleted, or damaged
        if training and not training.phase.has_ended:
            status = "training"
        else:
            status = "complete" if result else training.phase.value
        notes = read_notes(run)
        rows.append(
            {
                "run": run.id,
                "status": status,
                **config.to_row(),
                "test_accuracy": result and result.test_accuracy,
                "test_loss": result and result.test_loss,
                "finished": result and datetime.datetime.fromisoformat(result.finished),
                "size": run.size(),
                "name": notes.name,
                "note": notes.note,
            }
        )
    table = pd.DataFrame(rows, columns=_TABLE_COLUMNS)
    table["finished"] = pd.to_datetime(table.finished, utc=True)
    return table.sort_values(["finished", "run"], ascending=[False, True], na_position="first", ignore_index=True)
