"""Writes a pruned network into a small file that other programs open, without what is dead in it.

The file is opened by its own reader and scored on all test images before it is written. It is kept with the run,
so that the same command is quick a second time.
"""

from absl import flags, logging

from core import command
from core.config import ConfigError
from core.exports.models import FORMATS, Exported, Subject, export, find
from core.files import os_errors_as, write_atomic
from core.kernels import DEFAULT_SUPPORT, SUPPORTS
from core.pruning import METHODS, RANKINGS, SCOPES, Sparsity
from core.runs import layout, open_run
from core.settings import cache_root
from core.state import BY_KEY
from core.terminal import echo

_WAIT_SECONDS = 1800
"""How long another file of the same run is waited for: each takes as much memory as a training."""


def define_flags() -> None:
    """The flags of the command."""
    flags.DEFINE_string("run", None, "The id of a complete run.")
    flags.DEFINE_enum("method", None, METHODS, "What is pruned; without it the network is exported as it is.")
    flags.DEFINE_string("sparsity", None, "k, from 0 to 1; or one for each hidden layer, separated by commas.")
    flags.DEFINE_enum("ranking", "magnitude", RANKINGS, "What goes first.")
    flags.DEFINE_enum(
        "scope", "layer", SCOPES, "Prune the fraction k of each hidden layer, or of all of them together."
    )
    flags.DEFINE_bool("repair", False, "If true, repair the pruned network, if that has not been done yet.")
    flags.DEFINE_enum("support", DEFAULT_SUPPORT, SUPPORTS, "With --repair: how what stays is chosen.")
    flags.DEFINE_enum("format", "keras", list(FORMATS), "The format of the file.")
    flags.DEFINE_string("output", None, "The file to write; by default it is only kept with the run.")
    flags.DEFINE_string("output_dir", str(cache_root()), "The cache with the run.")


def main(_: list[str]) -> None:
    """The command: make the file, and say how large it is, what it knows, and how it is used."""
    values = flags.FLAGS
    subject, form = chosen_subject(), values.format
    output = command.chosen_output()
    # TensorFlow tells of every step of a conversion.
    logging.set_verbosity(logging.ERROR)
    exported = _exported(subject, form)
    if output:
        with os_errors_as(f"write {output}"):
            write_atomic(output.parent.resolve() / output.name, lambda file: file.write(exported.read()))
    path = output or exported.path
    echo(summary(exported, subject))
    echo(f"\n{usage(subject, form, path.name)}\n\n{path}")


def chosen_subject() -> Subject:
    """The network that the flags say.

    Raises:
        ConfigError: for flags that do not fit each other.
        RunError: if there is no such run.
    """
    values = flags.FLAGS
    if not values.run:
        raise ConfigError("--run: expected the id of a complete run. Received nothing.")
    run = open_run(values.run, command.chosen_path("output_dir"))
    if values.method is None:
        if values.sparsity is not None or values.repair:
            raise ConfigError(f"--method: expected one of {', '.join(METHODS)} to prune by. Received nothing.")
        return Subject(run)
    layers = len(run.layers().layers) - 1
    k = Sparsity.parse(values.sparsity or "", layers)
    if k is None:
        raise ConfigError(
            f"--sparsity: expected k from 0 to 1, or {layers}, one for each hidden layer. "
            f"Received: {values.sparsity!r}."
        )
    if k.by_layer and (values.repair or values.scope == "global"):
        raise ConfigError("--sparsity: --repair and --scope=global take a single k. Received several.")
    if not any(k.each):
        return Subject(run)
    state = BY_KEY["repair" if values.repair else "none"]
    return Subject(run, state.chosen(values.flag_values_dict()), k)


def summary(exported: Exported, subject: Subject) -> str:
    """Size, ratio and measured accuracy, in a sentence."""
    about = exported.about
    return (
        f"{exported.bytes:,} bytes, {exported.against_dense}; {about['parameters']:,} parameters of "
        f"{subject.run.layers().weights:,}. Its own reader scores {about['test_accuracy']:.2%} on all "
        f"{about['test_images']:,} test images."
    )


def usage(subject: Subject, form: str, file: str) -> str:
    """How the file is used, in a few lines of Python."""
    network = subject.run.layers()
    return FORMATS[form].usage(file, network.inputs, len(network.layers))


def _exported(subject: Subject, form: str) -> Exported:
    """The file, one at a time of each run; one that is there is found at once."""
    run = subject.run
    with run.lock(layout.export_lock(subject.kept_name(form)), timeout=_WAIT_SECONDS):
        kept = find(subject, form)
        if kept:
            return kept
        with run.lock("exports", timeout=_WAIT_SECONDS):
            return export(subject, form, echo)


if __name__ == "__main__":
    define_flags()
    command.run(main)
