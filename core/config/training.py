"""What decides which network a training from scratch produces, and what is known of the datasets beforehand."""

import dataclasses
import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from core.errors import ConfigError
from core.parameters import Choice, Parameter, Real, Switch, Whole, Widths, parameter, within

SCHEMA_VERSION = 1
"""Part of every run id. Raise it when the meaning of a field changes, so that old runs are never aliased."""

MAX_K_VALUES = 200
"""The most sparsities in a list that is typed or comes with a link; each costs a fraction of a second a run."""

K_VALUES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
"""The sparsities of the original experiment."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a configuration needs to know of a dataset before any image is read."""

    title: str
    train_size: int
    test_size: int
    side: int
    """Images are `side` x `side` pixels."""
    max_pixel: int
    """The largest raw value of a pixel; images are divided by it."""
    classes: tuple[str, ...]
    num_valid: int
    """How many of the first training images are kept for validation unless said otherwise."""

    @property
    def inputs(self) -> int:
        return self.side * self.side


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DATASETS = {
    "digits": DatasetSpec("MNIST digits", 60_000, 10_000, 28, 255, _DIGITS, 10_000),
    "fashion": DatasetSpec("Fashion-MNIST", 60_000, 10_000, 28, 255, _CLOTHES, 10_000),
    "optdigits": DatasetSpec("UCI digits, 8×8", 1_437, 360, 8, 16, _DIGITS, 200),
}


@dataclass(frozen=True)
class TrainingConfig:
    """All hyper-parameters of one training run; equal values mean the same run.

    To add one, add a field with its `before`, and use it in `core.training.network`.

    Raises:
        ConfigError: for any value out of its range, naming the field, the range and the value.

    Example:
        `TrainingConfig(dataset="optdigits", epochs=5).run_id`
    """

    dataset: str = parameter(
        Choice(tuple(DATASETS)),
        "digits",
        "Dataset",
        "digits is MNIST and fashion is Fashion-MNIST: 60,000 training images of 28×28 pixels each. "
        "optdigits, the UCI digits, has 1,437 of 8×8 and trains in seconds.",
        words="{}",
        in_id="{}",
        vary="",
    )
    epochs: int = parameter(
        Whole(1, 10_000), 20, "Epochs", "Passes over the training images.", words="{} epochs", in_id="e{}"
    )
    batch_size: int = parameter(Whole(1, 60_000), 128, "Batch size", "Images per training step.", words="batch {}")
    learning_rate: float = parameter(
        Real(0, 1, step=0.0005, above=True),
        0.001,
        "Learning rate",
        "Step size of the Adam optimizer.",
        words="learning rate {}",
        in_id="lr{:g}",
        vary="",
    )
    num_valid: int | None = parameter(
        Whole(0, 59_999),
        None,
        "Validation images",
        "How many of the first training images are held out to measure each epoch: 10,000, of optdigits 200.",
        words="{} validation images",
        advanced=True,
    )
    keep_best: bool = parameter(
        Switch(),
        True,
        "Keep the best epoch",
        "Keep the epoch of best validation accuracy instead of the last one.",
        words="last epoch",
        advanced=True,
    )
    l1_reg: float = parameter(
        Real(0, 1, step=0.0001),
        0.0,
        "L1 penalty",
        "Added to the loss for every |w| of the hidden kernels; pulls weights towards zero.",
        words="L1 {}",
        advanced=True,
        vary="",
    )
    l2_reg: float = parameter(
        Real(0, 1, step=0.0001),
        0.0,
        "L2 penalty",
        "Added to the loss for every w² of the hidden kernels; keeps weights small.",
        words="L2 {}",
        advanced=True,
        vary="",
    )
    hidden_units: tuple[int, ...] = parameter(
        Widths(layers=10, high=10_000),
        (1000, 1000, 500, 200),
        "Hidden units",
        "The width of each hidden layer, separated by commas.",
        words="{}",
    )
    seed: int = parameter(
        Whole(0, 2**32 - 1),
        0,
        "Seed",
        "Decides the initial weights and the order of the images. The same seed gives the same network.",
        vary="0-4",
    )

    def __post_init__(self) -> None:
        for name, about in self.parameters().items():
            value = getattr(self, name)
            if value is None and about.default is None:
                value = self.default_of(name)
            object.__setattr__(self, name, about.kind.check(name, value))
        # What depends on more than one of them.
        spec = self.spec
        within("num_valid", self.num_valid, 0, spec.train_size - 1, of=f"{spec.title} has {spec.train_size:,}")
        left = spec.train_size - self.num_valid
        beside = (
            f"{self.num_valid:,} of {spec.train_size:,} images are for validation" if self.num_valid else spec.title
        )
        within("batch_size", self.batch_size, 1, left, of=beside)
        if self.keep_best and self.num_valid == 0:
            raise ConfigError(
                "keep_best needs validation images to choose by. Expected num_valid of at least 1. Received: 0. "
                "Raise num_valid, or turn keep_best off."
            )

    COMMAND: ClassVar[str] = "core.train"
    """What makes a run of this, given `to_flags`."""

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """The table of all hyper-parameters, by name."""
        return {item.name: item.metadata["parameter"] for item in dataclasses.fields(cls)}

    @property
    def training(self) -> "TrainingConfig":
        """Itself; of a fine-tuned network, what its parent was trained with."""
        return self

    @property
    def spec(self) -> DatasetSpec:
        return DATASETS[self.dataset]

    def default_of(self, name: str) -> Any:
        """The default of that hyper-parameter on this dataset."""
        default = self.parameters()[name].default
        return getattr(self.spec, name) if default is None else default

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """(inputs, units) of each kernel, hidden layers first, output layer last."""
        sizes = [self.spec.inputs, *self.hidden_units, len(self.spec.classes)]
        return list(itertools.pairwise(sizes))

    @property
    def parameter_count(self) -> int:
        return sum(inputs * units for inputs, units in self.layer_shapes)

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return math.ceil((self.spec.train_size - self.num_valid) / self.batch_size)

    @property
    def run_id(self) -> str:
        """A readable folder name that is unique to these hyper-parameters."""
        table = self.parameters()
        hashed = {
            name: value
            for name, value in self.to_dict().items()
            if table[name].before is None or getattr(self, name) != table[name].before
        }
        said = [about.in_id.format(getattr(self, name)) for name, about in table.items() if about.in_id]
        return "-".join([*said, digest(hashed)])

    def describe(self) -> str:
        """In words, without the seed: the dataset and whatever differs from the defaults."""
        parts = [self.dataset]
        for name, about in self.parameters().items():
            value = getattr(self, name)
            if name != "dataset" and about.words and value != self.default_of(name):
                text = about.words.format(about.kind.short(value))
                parts.append(text.removesuffix("s") if value == 1 else text)
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_row(self) -> dict[str, Any]:
        """What tables of runs say: the hyper-parameters, and `parent` and `trained_on`, which are "none" here."""
        return self.to_dict() | {"parent": "none", "trained_on": "none"}

    def facts(self) -> dict[str, Any]:
        """Everything that decides the network, by name, as people read it."""
        return self.to_dict() | {"hidden_units": ", ".join(map(str, self.hidden_units))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """The inverse of `to_dict`; what is left out takes its default.

        Raises:
            ConfigError: for a name that is no hyper-parameter, or a value out of range.
        """
        names = list(cls.parameters())
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ConfigError(
                f"Unknown hyper-parameter. Expected names among {', '.join(names)}. Received: {', '.join(unknown)}."
            )
        return cls(**values)

    @classmethod
    def from_saved(cls, values: dict[str, Any]) -> "TrainingConfig":
        """As `from_dict`, for what an earlier version may have written: what it did not know yet is as `before`."""
        before = {name: about.before for name, about in cls.parameters().items() if about.before is not None}
        return cls.from_dict(before | values)

    def to_flags(self) -> list[str]:
        """The arguments that make `python -m core.train` train exactly this configuration."""
        return [flag(name, about, getattr(self, name)) for name, about in self.parameters().items()]


PARAMETERS = TrainingConfig.parameters()
"""The table of all hyper-parameters, by name."""


def digest(values: dict[str, Any]) -> str:
    """Ten hexadecimal digits that tell these values from others."""
    canonical = json.dumps({"schema": SCHEMA_VERSION, **values}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def flag(name: str, about: Parameter, value: Any) -> str:
    """A value as an argument of a command."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={about.kind.write(value)}"


def is_made_id(text: str) -> bool:
    """Whether a run id looks like one that was made of hyper-parameters, and not like a name that was chosen."""
    said = [re.sub(r"\{.*?\}", r"[\\w.+-]+", about.in_id) for about in PARAMETERS.values() if about.in_id]
    return bool(re.fullmatch("-".join([*said, "[0-9a-f]{10}"]), text))


def parse_k_values(text: str, name: str = "k_vals") -> list[float]:
    """Sparsities from a comma-separated list, sorted and without repeats.

    Args:
        name: what the list is called where it was typed.

    Raises:
        ConfigError: for an empty list, more than `MAX_K_VALUES`, text that is not a number, or one outside 0 to 1.
    """
    values = set()
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ConfigError(
                f"{name}: expected numbers from 0 to 1, separated by commas, such as 0,0.5,0.9. Received: {part!r}."
            )
        values.add(value + 0.0)
    if not values:
        raise ConfigError(f"{name}: expected at least one number from 0 to 1, such as 0,0.5,0.9. Received nothing.")
    if len(values) > MAX_K_VALUES:
        raise ConfigError(f"{name}: expected at most {MAX_K_VALUES}. Received: {len(values):,}.")
    return sorted(values)
