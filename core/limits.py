"""Checks of what is allowed here, for all that changes the cache and all trainings that pages or the queue start."""

from pathlib import Path

from core import settings
from core.errors import ConfigError, DiskFullError, NotAllowedError, TooManyError
from core.files import free_space


def limit(name: str) -> int:
    """One of `core.settings.LIMITS`: its name in the environment.

    Raises:
        ConfigError: if the environment says something else than a whole number, or too small a one.
    """
    default, least = settings.LIMITS[name]
    text = settings.limit_text(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise ConfigError(
            f"{name}: expected a whole number of at least {least}, such as {default}. Received: {text[:40]!r}. "
            "Correct it, or unset it."
        )
    return int(text)


def check_may_change(what: str) -> None:
    """Refuse where nothing but scores may be written.

    Args:
        what: that which is to be done, such as "delete a run".

    Raises:
        NotAllowedError: if `NETWORK_PRUNING_READ_ONLY` is set.
    """
    if settings.is_read_only():
        raise NotAllowedError(
            f"Cannot {what}: this server is read-only. Everything can be looked at and pruned; nothing is trained, "
            f"changed or deleted. Install the project on your own machine to do so, or unset {settings.READ_ONLY}."
        )


def check_size(weights: int, what: str = "trained") -> None:
    """Refuse a network that is too large for this server.

    Args:
        weights: how many it has.
        what: that which is to be done with it.

    Raises:
        NotAllowedError: if it has more weights than `NETWORK_PRUNING_MAX_WEIGHTS`.
        ConfigError: if that is not a number.
    """
    most = limit(settings.MAX_WEIGHTS)
    if weights > most:
        raise NotAllowedError(
            f"This network is too large to be {what} here. Expected at most {most:,} weights. "
            f"Received: {weights:,}. Choose one of fewer or narrower hidden layers, or raise "
            f"{settings.MAX_WEIGHTS}."
        )


def check_disk(root: Path, what: str, needed: int = 0) -> None:
    """Refuse what would fill the disk of a cache.

    Args:
        what: to be begun, such as "a training of" a run.
        needed: about how many bytes it writes.

    Raises:
        DiskFullError: if less is free than that, or than `NETWORK_PRUNING_MIN_FREE_MB`.
        ConfigError: if that is not a number.
    """
    needed, free = max(needed, limit(settings.MIN_FREE_MB) * 1_000_000), free_space(root)
    if free is not None and free < needed:
        raise DiskFullError(
            f"The disk of {root} is too full for {what}. Expected at least {needed / 1e6:,.0f} MB free. "
            f"Received: {free / 1e6:,.2f} MB. Delete runs on the Runs page, or free some other space, or choose "
            f"another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app), or lower {settings.MIN_FREE_MB}."
        )


def check_trainings(at_work: int) -> None:
    """Refuse one more training than the limit.

    Args:
        at_work: trainings that run already.

    Raises:
        TooManyError: if these are as many as `NETWORK_PRUNING_MAX_TRAININGS`.
        ConfigError: if that is not a number.
    """
    most = limit(settings.MAX_TRAININGS)
    if at_work >= most:
        raise TooManyError(
            f"Too many trainings are running. Expected fewer than {most:,} at a time. Received: {at_work:,}. "
            f"Wait until one ends, or queue this one on the Grid page, or raise {settings.MAX_TRAININGS}."
        )
