"""What the commands share: flags that are understood or refused in one sentence, failures and interrupts likewise."""

import signal
import sys
from collections.abc import Callable

from absl import app, flags

from core.config import ConfigError
from core.errors import CancelledError, KnownError


def run(main: Callable[[list[str]], int | None]) -> None:
    """Run a command's main function with the flags it was given, and end the process with its exit code.

    A `KnownError` is printed as a sentence. SIGTERM interrupts as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app.run(main, flags_parser=_parse_flags)
    except KnownError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(CancelledError.exit_code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parse_flags(arguments: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        raise ConfigError(f"{str(error).rstrip('.')}. Say --help for what there is.") from None
    if len(rest) > 1:
        raise ConfigError(f"Expected only flags such as --epochs=20. Received: {' '.join(rest[1:])}.")
    return rest
