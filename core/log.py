"""Lines of the log: when trainings begin and end, and every failure that was shown, with a short id.

    2026-03-01 12:00:00 INFO training digits-e20-lr0.001-77cf15e239 began as process 4242
    2026-03-01 12:01:10 ERROR e-3f9a1c2b RunError: There is no run …

The id stands in the error box, too, so that each leads to the other.
"""

import hashlib
import logging
import threading
import time

_LOGGER = logging.getLogger("network_pruning")
_AGAIN_SECONDS = 60
_told: dict[str, float] = {}
_lock = threading.Lock()


def set_up() -> None:
    """Write the lines to the error output of this process, once."""
    if not _LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        _LOGGER.addHandler(handler)
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False


class _Formatter(logging.Formatter):
    """Only lines of the log begin at the margin: those of a traceback, of which some are of its message, do not."""

    def formatException(self, ei: tuple) -> str:  # noqa: N802, the name is Python's
        return "\n".join(f"  {_one_line(line)}" for line in super().formatException(ei).splitlines())


def info(text: str) -> None:
    """A line about what happens as it should."""
    _LOGGER.info(_one_line(text))


def failure(error: BaseException | str, with_traceback: bool = False) -> str:
    """A line about a failure; the same one is written at most once a minute, as pages are drawn again and again.

    Returns:
        Its id, which is the same for the same failure.
    """
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    name = f"e-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
    now = time.monotonic()
    with _lock:
        silent = now - _told.get(name, -_AGAIN_SECONDS) < _AGAIN_SECONDS
        if not silent:
            for old in [old for old, when in _told.items() if now - when >= _AGAIN_SECONDS]:
                del _told[old]
            _told[name] = now
    if not silent:
        shown = error if with_traceback and isinstance(error, BaseException) else None
        _LOGGER.error("%s %s", name, _one_line(text), exc_info=shown)
    return name


def _one_line(text: str) -> str:
    """A name that users choose must not be able to add a line of its own."""
    return "".join(character if character.isprintable() else " " for character in text)[:2_000]
