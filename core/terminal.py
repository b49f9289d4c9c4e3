"""What the commands print: lines, and progress bars on a terminal."""

import os
import sys

from tqdm import tqdm

from core.errors import OutputError

HINT = "hint: "
"""How a line begins that names a flag, which means nothing to a reader of the app."""


def echo(text: str) -> None:
    """Print a line at once, past a progress bar that is being drawn and not into it.

    Raises:
        OutputError: if it cannot be written.
        SystemExit: if the reader has gone, as after `| head`.
    """
    try:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
    except OSError as error:
        # At the end Python would try to write the rest once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        raise OutputError(
            f"Cannot write the output: {error.strerror}. Free some space, or send it somewhere else."
        ) from None


def progress_bar(title: str, total: int, unit: str) -> tqdm:
    """A progress bar on a terminal, nothing in a file or a pipe."""
    return tqdm(total=total, desc=title, unit=unit, disable=None, leave=False)
