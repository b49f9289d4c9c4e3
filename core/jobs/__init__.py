"""Processes that train, score, draw and export, and the queue of trainings that a cache waits for."""

from core.jobs.background import scoring_problem, start_repair, start_scoring
from core.jobs.exporting import export_problem, exporting, start_export
from core.jobs.measuring import measuring, measuring_problem, start_measuring, stop_measuring
from core.jobs.processes import (
    Outcome,
    ensure_pictures,
    prepare_dataset,
    prepare_in_background,
    start_queue,
    start_recovery,
    start_training,
    train_and_wait,
    trainings_at_work,
)
from core.jobs.progress import Progress, progress, progress_of
from core.jobs.queue import Entry, Queue, open_queue
from core.jobs.smallest import smallest_problem, smallest_progress, start_smallest, stop_smallest

__all__ = [
    "Entry",
    "Outcome",
    "Progress",
    "Queue",
    "ensure_pictures",
    "export_problem",
    "exporting",
    "measuring",
    "measuring_problem",
    "open_queue",
    "prepare_dataset",
    "prepare_in_background",
    "progress",
    "progress_of",
    "scoring_problem",
    "smallest_problem",
    "smallest_progress",
    "start_export",
    "start_measuring",
    "start_queue",
    "start_recovery",
    "start_repair",
    "start_scoring",
    "start_smallest",
    "start_training",
    "stop_measuring",
    "stop_smallest",
    "train_and_wait",
    "trainings_at_work",
]
