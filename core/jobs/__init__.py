"""Processes that train, score, draw and export, and the queue of trainings that a cache waits for."""

from core.jobs.background import scoring_problem, start_scoring
from core.jobs.exports import export_problem, exporting, start_export
from core.jobs.pace import Progress, progress, progress_of
from core.jobs.processes import (
    Outcome,
    ensure_pictures,
    prepare_dataset,
    prepare_in_background,
    start_queue,
    start_training,
    train_and_wait,
    trainings_at_work,
)
from core.jobs.queue import Entry, Queue, open_queue
from core.jobs.work import SMALLEST, SPEED, start_measuring, start_smallest, stop_work, work_on, work_problem

__all__ = [
    "SMALLEST",
    "SPEED",
    "Entry",
    "Outcome",
    "Progress",
    "Queue",
    "ensure_pictures",
    "export_problem",
    "exporting",
    "open_queue",
    "prepare_dataset",
    "prepare_in_background",
    "progress",
    "progress_of",
    "scoring_problem",
    "start_export",
    "start_measuring",
    "start_queue",
    "start_scoring",
    "start_smallest",
    "start_training",
    "stop_work",
    "train_and_wait",
    "trainings_at_work",
    "work_on",
    "work_problem",
]
