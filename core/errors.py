"""The one kind of failure that users are meant to read."""


class KnownError(Exception):
    """A failure that was foreseen.

    Its message says what happened, what was expected and received, and what to do. The command line
    prints it and exits with `exit_code`; the app shows it in an error box. Everything else is a bug.
    """

    exit_code = 1
