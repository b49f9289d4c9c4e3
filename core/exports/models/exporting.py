"""Make the file of a small network, verify it, and keep it with its run."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.datasets import Split, load_dataset
from core.errors import ExportError, RunError
from core.exports.models import keras
from core.exports.models.formats import FORMATS, Format
from core.exports.models.verify import answers_of, check_about, check_same
from core.files import read_bytes
from core.kernels import DEFAULT_SUPPORT, Compacted, compact
from core.network import Network
from core.pruning import AnySparsity, Sparsity
from core.runs import Run, layout
from core.runs.records import parse_json
from core.scoring import score_run
from core.state import BY_KEY, State, kind_of, state_of
from core.sweep import Criterion

STAGES = ("Reading the network", "Repairing it", "Converting", "Opening the file and scoring it on all test images")
"""What the making of a file goes through, in this order; what is there already is left out."""


@dataclass(frozen=True)
class Subject:
    """A network to be exported: a complete run, pruned by a criterion at k, or as it is.

    Attributes:
        criterion: None for the network as it is: dense, or fine-tuned.
        sparsity: k, or one for each hidden layer.

    Example:
        `Subject(open_run("digits-e20-lr0.001-77cf15e239"), Criterion("unit"), 0.9)`
    """

    run: Run
    criterion: Criterion | None = None
    sparsity: AnySparsity = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsity", Sparsity.of(self.sparsity))

    @property
    def state(self) -> type[State] | None:
        """None of a dense network."""
        if self.criterion is None:
            return BY_KEY["finetune"] if hasattr(self.run.config(), "parent") else None
        return kind_of(self.criterion)

    def file_name(self, form: str) -> str:
        """What a file of it is called where it is taken to."""
        parts = [self.run.id]
        if self.criterion:
            defaults = ("magnitude", DEFAULT_SUPPORT, "layer")
            parts += [self.criterion.method, str(self.sparsity).replace(",", "-")]
            parts += [name for name in (self.criterion.ranking, self.criterion.scope) if name not in defaults]
        parts.append(self.state.words.replace(" ", "-") if self.state else "dense")
        return f"{'-'.join(parts)}.{FORMATS[form].suffix}"

    def kept_name(self, form: str) -> str:
        """What it is called in the folder of its run, and in the name of the lock of who makes it."""
        key = self.criterion.key(self.sparsity) if self.criterion else "whole"
        return f"{key.replace(',', '-')}.{FORMATS[form].suffix}"

    def flags(self, form: str) -> list[str]:
        """The flags of `python -m core.export` that mean this file."""
        flags = [f"--run={self.run.id}", f"--format={form}", f"--output_dir={self.run.root.resolve()}"]
        if self.criterion is None:
            return flags
        kind = kind_of(self.criterion)
        return [*flags, f"--sparsity={self.sparsity}", *kind.flags(self.criterion), *["--repair"] * kind.is_repair]


@dataclass(frozen=True)
class Exported:
    """A file that was verified, and is kept with its run.

    Attributes:
        path: where it is.
        bytes: how large.
        sha256: of what was verified.
        dense_bytes: of the Keras file of the dense network as Keras writes it, without an optimizer.
        about: what its metadata say: run, dataset, state, method, ranking, scope, k, parameters, images, accuracy.
        version: of its format when it was made.
    """

    path: Path
    bytes: int
    sha256: str
    dense_bytes: int
    about: dict
    version: int = 1

    @property
    def ratio(self) -> float:
        """How many times smaller than the dense network's Keras file."""
        return self.dense_bytes / self.bytes

    @property
    def against_dense(self) -> str:
        """The ratio in words."""
        times, word = (self.ratio, "smaller") if self.ratio >= 1 else (1 / self.ratio, "larger")
        return f"{times:,.1f} times {word} than the dense network's Keras file ({self.dense_bytes:,} bytes)"

    def read(self) -> bytes:
        """What was verified.

        Raises:
            ExportError: if the file was damaged or deleted since.
        """
        try:
            data = read_bytes(self.path)
        except OSError as error:
            raise ExportError(f"{self.path} cannot be read: {error.strerror}. Export it again.") from None
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ExportError(f"{self.path} is damaged: it is not the file that was verified. Export it again.")
        return data


def find(subject: Subject, form: str) -> Exported | None:
    """The file that is kept with the run; None if it is damaged or of an earlier version."""
    path = layout.exported(subject.run.folder, subject.kept_name(form))
    try:
        exported = Exported(path=path, **parse_json(layout.export_record(path)))
        _check_record(exported)
        if exported.version != FORMATS[form].version:
            return None
        exported.read()
    except (OSError, ValueError, TypeError, KeyError, ExportError):
        return None
    return exported


def _check_record(exported: Exported) -> None:
    """Raise TypeError, KeyError or ValueError for a damaged record."""
    about = exported.about
    sizes = exported.bytes, exported.dense_bytes, about["parameters"], about["test_images"]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError
    if not (isinstance(about["test_accuracy"], int | float) and 0 <= about["test_accuracy"] <= 1):
        raise ValueError


def export(subject: Subject, form: str, report: Callable[[str], object] = lambda stage: None) -> Exported:
    """Make a file of a network without its dead units, hold that it says what the network says, and keep it.

    It takes whole images. It is opened by the reader of its format and scored on all test images, before it is written
    where others see it; what is there already is taken.

    Args:
        subject: of a complete run.
        form: a name in `FORMATS`.
        report: is told the stages.

    Raises:
        ExportError: if nothing is left of the network, the file fails verification, or a package is missing.
        RunError: if the run cannot be read, or the file not written.

    Example:
        `export(Subject(run, Criterion("unit"), 0.9), "keras").path`
    """
    run = subject.run
    if not run.is_complete():
        raise RunError(f"There is no complete run {run.id} in {run.root} to export. Train it first.")
    kept = find(subject, form)
    if kept:
        return kept
    FORMATS[form].check()
    version = run.version()
    report(STAGES[0])
    record, data = _make(subject, FORMATS[form], _network(subject, report), report)
    path = layout.exported(run.folder, subject.kept_name(form))
    files = {path: lambda file: file.write(data), layout.export_record(path): json.dumps(record, indent=2)}
    if not run.keep(files, version):
        raise RunError(f"Run {run.id} was deleted or replaced while it was being exported. Export it again.")
    return Exported(path=path, **record)


def _network(subject: Subject, report: Callable[[str], object]) -> Network:
    """The network, with everything dead in it; one that is to be repaired and is not yet, is."""
    run, criterion = subject.run, subject.criterion
    if criterion is None:
        return run.network()
    state = state_of(run, criterion)
    if state.version(subject.sparsity) is None:
        report(STAGES[1])
        for _ in score_run(run, [(criterion, [subject.sparsity.value])]):
            pass
    return state.network(subject.sparsity)


def _make(subject: Subject, form: Format, network: Network, report: Callable[[str], object]) -> tuple[dict, bytes]:
    """What is written down of a file, and its bytes, once they are verified."""
    small = compact(network)
    _check_alive(small, subject)
    report(STAGES[2])
    draft = form.convert(small, network.inputs)
    report(STAGES[3])
    config = subject.run.config()
    test = load_dataset(config.dataset, subject.run.root).test
    criterion, k = dataclasses.asdict(subject.criterion) if subject.criterion else {}, subject.sparsity
    about = {
        "run": subject.run.id,
        "dataset": config.dataset,
        "state": subject.state.name if subject.state else "dense",
        **({"k": [*k.each] if k.by_layer else k.value} if criterion else {}),
        **{name: value for name, value in criterion.items() if name in ("method", "ranking", "scope")},
        "parameters": small.parameters,
        "test_images": len(test.labels),
        "test_accuracy": _score(form, draft, network, test),
    }
    data = form.label(draft, about)
    check_about(form, data, about)
    if _score(form, data, network, test) != about["test_accuracy"]:
        raise ExportError(f"Adding its description changed the accuracy of the {form.title} file; nothing was written.")
    record = {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "dense_bytes": keras.dense_size(subject.run.layers()),
        "about": about,
        "version": form.version,
    }
    return record, data


def _score(form: Format, data: bytes, network: Network, test: Split) -> float:
    """The accuracy of a file, by its own reader, once it is held to say what the network says."""
    answers = answers_of(form, data, test.images)
    if form.is_exact:
        check_same(form, answers, network, test.images)
    return float((answers.argmax(axis=1) == test.labels).mean())


def _check_alive(small: Compacted, subject: Subject) -> None:
    if not len(small.inputs):
        raise ExportError(
            f"Nothing is left of {subject.run.id} at k = {subject.sparsity}: no pixel reaches an output any "
            "more, and every image gets the same answer. Choose a smaller k."
        )
