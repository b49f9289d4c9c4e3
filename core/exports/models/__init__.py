"""Small networks as files that other programs open: one file a format, and what holds for each before it is offered."""

from core.exports.models.exporting import STAGES, Exported, Subject, export, find
from core.exports.models.formats import FORMATS, Format
from core.exports.models.verify import answers_of, check_same

__all__ = ["FORMATS", "STAGES", "Exported", "Format", "Subject", "answers_of", "check_same", "export", "find"]
