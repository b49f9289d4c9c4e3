"""What the commands print: lines, and progress bars on a terminal."""

import sys

from tqdm import tqdm


def say(text: str) -> None:
    """Print a line at once, past a progress bar that is being drawn and not into it."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def progress_bar(title: str, total: int, unit: str) -> tqdm:
    """A progress bar on a terminal, nothing in a file or a pipe."""
    return tqdm(total=total, desc=title, unit=unit, disable=None, leave=False)
