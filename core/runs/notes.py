"""The name and note that people give a run. Its id stays as it is."""

import json
import re
import unicodedata
from dataclasses import dataclass

from core.errors import RunError
from core.files import os_errors_as, write_text
from core.runs import layout
from core.runs.records import read_json
from core.runs.run import Run

MAX_NAME, MAX_NOTE = 80, 2_000
"""Characters, at most."""

# Marks that turn the direction of the text after them, so that it reads as something else than it is. Joiners stay:
# some scripts, and many emoji, are written with them.
_DIRECTION = dict.fromkeys(
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
)
_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")


@dataclass(frozen=True)
class Notes:
    """A name and a note, of plain text; either may be empty.

    Args:
        name: one line of at most `MAX_NAME` characters.
        note: at most `MAX_NOTE` characters; lines end in a line feed.

    Control characters and marks that override the direction of the text are taken out of both.

    Raises:
        RunError: if one is too long.
    """

    name: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        note = _plain(self.note).strip()
        name = " ".join(_plain(self.name).split())
        if not any(character.isprintable() for character in name.replace(" ", "")):
            name = ""  # it would be invisible
        for what, text, limit in (("name", name, MAX_NAME), ("note", note, MAX_NOTE)):
            if len(text) > limit:
                raise RunError(
                    f"The {what} is too long. Expected at most {limit:,} characters. Received: {len(text):,}. "
                    "Shorten it."
                )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "note", note)


def read_notes(run: Run) -> Notes:
    """What is written on a run; empty if nothing is, or its file is damaged."""
    values = read_json(run.folder / layout.NOTES) or {}
    name, note = values.get("name", ""), values.get("note", "")
    if not isinstance(name, str) or not isinstance(note, str):
        return Notes()
    # The file may have been edited by hand: better the beginning of a long text than none of it.
    return Notes(_plain(name)[:MAX_NAME], _plain(note)[:MAX_NOTE])


def write_notes(run: Run, notes: Notes, before: Notes | None = None) -> None:
    """Replace what is written on a complete run.

    Args:
        before: what was written when the changes began; without it, whatever is there is replaced.

    Raises:
        RunError: if there is no such complete run, it cannot be written, or it was edited since.
        RunBusyError: if another process is writing it.
    """
    with os_errors_as(f"write to {run.folder}"), run.lock("notes"):
        if not run.is_complete():
            raise RunError(f"There is no complete run {run.id} to write on: it was deleted. Choose another run.")
        now = read_notes(run)
        if before is not None and now not in (before, notes):
            raise RunError(
                "This run was edited elsewhere meanwhile, and what you wrote is not saved yet. Save again to "
                f"replace the name “{now.name}” and the note “{now.note}”."
            )
        write_text(run.folder / layout.NOTES, _as_json(notes))


def carry_notes(run: Run) -> None:
    """Copy what is written on a run to the network that is about to replace it. The caller holds the "notes" lock.

    Raises:
        OSError: if it cannot be written.
    """
    notes = read_notes(run)
    if notes != Notes():
        write_text(run.part / layout.NOTES, _as_json(notes))


def _as_json(notes: Notes) -> str:
    return json.dumps({"name": notes.name, "note": notes.note}, indent=2)


def _plain(text: str) -> str:
    """Text without control characters other than the end of a line, and without marks of direction."""
    text = _LINE_ENDS.sub("\n", text).replace("\t", " ").translate(_DIRECTION)
    # Half a surrogate pair is no character, and cannot be written as UTF-8.
    return "".join(
        character for character in text if character == "\n" or unicodedata.category(character) not in ("Cc", "Cs")
    )
