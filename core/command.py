"""What the commands share: flags that are understood or refused in one sentence, failures and interrupts likewise."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags

from core.config import PARAMETERS, RECOVERY, ConfigError, TrainingConfig
from core.errors import CancelledError, KnownError
from core.parameters import Real, Switch, Whole, Widths
from core.settings import ensure_temporary_folder
from core.terminal import HINT

# The flags defined here are those of the command that asks for them, and stand in its --help.
flags.disclaim_key_flags()

_DEFINE = {Whole: flags.DEFINE_integer, Real: flags.DEFINE_float, Switch: flags.DEFINE_bool}


def define_parameters() -> None:
    """A flag for every hyper-parameter."""
    for name, about in PARAMETERS.items():
        define = _DEFINE.get(type(about.kind), flags.DEFINE_string)
        default = about.kind.write(about.default) if isinstance(about.kind, Widths) else about.default
        define(name, default, about.help)


def define_finetuning() -> None:
    """A flag for everything that fine-tuning chooses besides its parent."""
    for name, about in RECOVERY.items():
        _DEFINE.get(type(about.kind), flags.DEFINE_string)(name, about.default, about.help)


def chosen_config() -> TrainingConfig:
    """The configuration that those flags say.

    Raises:
        ConfigError: for a value out of range.
    """
    values = {name: flags.FLAGS[name].value for name in PARAMETERS}
    for name, about in PARAMETERS.items():
        if isinstance(about.kind, Widths):
            values[name] = about.kind.read_one(name, values[name])
    return TrainingConfig.from_dict(values)


def define_lists() -> None:
    """A flag for every hyper-parameter that takes a list of values."""
    for name, about in PARAMETERS.items():
        default = None if about.default is None else about.kind.write(about.default)
        flags.DEFINE_string(name, default, f"{about.help} A list, such as {about.kind.example}.")


def chosen_lists() -> dict[str, list[Any]]:
    """The lists that those flags say, by name; a hyper-parameter that has no default and is not given is left out.

    Raises:
        ConfigError: for a list that cannot be read.
    """
    given = {name: flags.FLAGS[name].value for name in PARAMETERS}
    return {name: PARAMETERS[name].kind.read(name, text) for name, text in given.items() if text is not None}


def chosen_path(name: str) -> Path | None:
    """The folder or file that a flag such as "output_dir" names; None if the flag was not given.

    Raises:
        ConfigError: for a path that no system can have, or the home of a user who does not exist.
    """
    text = flags.FLAGS[name].value
    if text is None:
        return None
    if not text:
        raise ConfigError(f"{name}: expected a path. Received nothing.")
    try:
        path = Path(text).expanduser()
        path.exists()  # a name that is too long is refused here, before anything is written
    except (RuntimeError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        shown = text if len(text) <= 100 else f"{text[:100]}… ({len(text):,} characters)"
        raise ConfigError(f"{name}: not a valid path. Received: {shown!r}: {why}.") from None
    return path


def chosen_output() -> Path | None:
    """The file that the flag "output" names, looked at before the work; None if the flag was not given.

    Raises:
        ConfigError: if no file can be written there.
    """
    path = chosen_path("output") if flags.FLAGS.output else None
    if path and not (path.name and path.parent.is_dir() and not path.is_dir()):
        raise ConfigError(f"output: expected a file in a folder that exists. Received: {path}.")
    return path


def run(main: Callable[[list[str]], int | None]) -> None:
    """Run a command's main function with the flags it was given, and end the process with its exit code.

    A `KnownError` is printed as a sentence, with its hint on a line of its own. SIGTERM interrupts as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    ensure_temporary_folder()
    try:
        app.run(main, flags_parser=_parse_flags)
    except KnownError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"{HINT}{error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(CancelledError.exit_code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parse_flags(arguments: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except SystemExit:
        sys.exit(0)  # --help was asked for, and is no failure
    except flags.IllegalFlagValueError as error:
        raise _illegal(error) from None
    except flags.Error as error:
        raise ConfigError(f"{str(error).rstrip('.')}. See --help for all flags.") from None
    if len(rest) > 1:
        raise ConfigError(f"Expected only flags such as --epochs=20. Received: {' '.join(rest[1:])}.")
    return rest


def _illegal(error: flags.IllegalFlagValueError) -> ConfigError:
    """A value that a flag cannot have, without what Python says of it."""
    name, _, value = str(error).removeprefix("flag --").removesuffix(f": {error.__context__}").partition("=")
    parser = flags.FLAGS[name].parser
    if isinstance(parser, flags.BooleanParser):
        expected = "true or false"
    elif isinstance(parser, flags.EnumParser):
        expected = f"one of {', '.join(parser.enum_values)}"
    else:
        expected = parser.syntactic_help
    return ConfigError(f"{name}: expected {expected}. Received: {value!r}.")
