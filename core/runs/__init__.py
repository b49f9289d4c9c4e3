"""The cache: one folder a run."""

from core.runs.checkpoint import Checkpoint
from core.runs.damaged import Damaged, damage, damaged_runs
from core.runs.example import adopt_example
from core.runs.notes import Notes, read_notes, write_notes
from core.runs.predictions import Predictions
from core.runs.records import Phase, Result, TrainingState
from core.runs.run import Run, list_runs, open_run
from core.runs.smallest import SmallestFile, best, keep_smallest, read_smallest, smallest_files
from core.runs.table import runs_table
from core.runs.work import Work, read_work, told_work
from core.runs.writer import RunWriter, write_run

__all__ = [
    "Checkpoint",
    "Damaged",
    "Notes",
    "Phase",
    "Predictions",
    "Result",
    "Run",
    "RunWriter",
    "SmallestFile",
    "TrainingState",
    "Work",
    "adopt_example",
    "best",
    "damage",
    "damaged_runs",
    "keep_smallest",
    "list_runs",
    "open_run",
    "read_notes",
    "read_smallest",
    "read_work",
    "runs_table",
    "smallest_files",
    "told_work",
    "write_notes",
    "write_run",
]
