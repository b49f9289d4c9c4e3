"""Every failure that users are meant to read."""


class KnownError(Exception):
    """A failure that was foreseen.

    Its message says what happened, what was expected and received, and what to do. The command line
    prints it and exits with `exit_code`; the app shows it in an error box. Everything else is a bug.

    Attributes:
        hint: the flag that does what the message advises. Only the commands print it; pages have buttons.
    """

    exit_code = 1

    def __init__(self, message: str = "", hint: str = ""):
        super().__init__(message)
        self.hint = hint


class ConfigError(KnownError, ValueError):
    """A hyper-parameter is missing, unknown or out of range."""

    exit_code = 2


class DatasetError(KnownError):
    """A dataset is missing or damaged; the message names what was tried and the ways out."""


class RunError(KnownError):
    """A run is missing, damaged, busy or cannot be written."""


class RunWriteError(RunError):
    """The cache cannot be written: it is full, or not ours to write."""


class DiskFullError(RunWriteError):
    """The disk of the cache has too little room for what was to be begun."""


class RunIdError(RunError, ValueError):
    """A name cannot be a run's folder."""

    exit_code = 2


class RunBusyError(RunError):
    """Another process is training or changing this run."""


class NotAllowedError(KnownError):
    """What this server does not do for its visitors: it only shows, or a limit is reached."""


class TooManyError(NotAllowedError):
    """Too many trainings are running. Try again later."""


class CancelledError(KnownError):
    """The training was asked to stop."""

    exit_code = 130


class JobError(KnownError):
    """A process could not be started or ended with an error; the message ends with what it said."""


class OutputError(KnownError):
    """What a command has to say cannot be written."""


class ExportError(KnownError):
    """Something to be exported is not there."""


class FormatError(KnownError, ValueError):
    """A file does not hold a network, or is damaged."""
