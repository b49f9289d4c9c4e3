"""Hyper-parameters: every value that decides which network a training run produces."""

import dataclasses
import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError

SCHEMA_VERSION = 1
"""Part of every run id. Raise it when the meaning of a field changes, so that old runs are never aliased."""

MAX_K_VALUES = 200
"""Sparsities in a list that somebody types or sends as a link, at most; each costs a fraction of a second a run."""

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

    Args:
        dataset: a name in `DATASETS`.
        epochs: passes over the training images, 1 to 10,000.
        batch_size: images per step, from 1 to the number of training images.
        learning_rate: of Adam, above 0 and at most 1.
        num_valid: how many of the first training images are held out for validation. `None` takes the
            dataset's own default (10,000 of 60,000; 200 of `optdigits`).
        keep_best: keep the epoch of best validation accuracy instead of the last one.
        l1_reg, l2_reg: penalties on the hidden kernels, 0 to 1.
        hidden_units: the width of each hidden layer.
        seed: of the initial weights and of the order of the images.

    Raises:
        ConfigError: for any value out of its range, naming the field, the range and the value.
    """

    dataset: str = "digits"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.001
    num_valid: int | None = None
    keep_best: bool = True
    l1_reg: float = 0.0
    l2_reg: float = 0.0
    hidden_units: tuple[int, ...] = (1000, 1000, 500, 200)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise ConfigError(f"Unknown dataset. Expected one of {', '.join(DATASETS)}. Received: {self.dataset!r}.")
        spec = self.spec
        if self.num_valid is None:
            object.__setattr__(self, "num_valid", spec.num_valid)
        for name in ("learning_rate", "l1_reg", "l2_reg"):
            object.__setattr__(self, name, _real(name, getattr(self, name)))
        for name in ("epochs", "batch_size", "num_valid", "seed"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        object.__setattr__(self, "hidden_units", _sizes(self.hidden_units))
        if not isinstance(self.keep_best, bool):
            raise ConfigError(f"keep_best: expected true or false. Received: {self.keep_best!r}.")

        _within("epochs", self.epochs, 1, 10_000)
        _within("num_valid", self.num_valid, 0, spec.train_size - 1, of=f"{spec.title} has {spec.train_size:,}")
        _within("batch_size", self.batch_size, 1, spec.train_size - self.num_valid)
        _within("l1_reg", self.l1_reg, 0, 1)
        _within("l2_reg", self.l2_reg, 0, 1)
        _within("seed", self.seed, 0, 2**32 - 1)
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(
                f"learning_rate: expected a number above 0 and at most 1. Received: {self.learning_rate:g}."
            )
        if self.keep_best and self.num_valid == 0:
            raise ConfigError(
                "keep_best needs validation images to choose by. Expected num_valid of at least 1. Received: 0. "
                "Raise num_valid, or turn keep_best off."
            )

    @property
    def spec(self) -> DatasetSpec:
        return DATASETS[self.dataset]

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
        canonical = json.dumps({"schema": SCHEMA_VERSION, **self.to_dict()}, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
        return f"{self.dataset}-e{self.epochs}-lr{self.learning_rate:g}-{digest}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**dataclasses.asdict(self), "hidden_units": list(self.hidden_units)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: for a name that is no hyper-parameter, or a value out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ConfigError(
                f"Unknown hyper-parameter. Expected names among {', '.join(names)}. Received: {', '.join(unknown)}."
            )
        return cls(**values)

    def to_flags(self) -> list[str]:
        """The arguments that make `python -m core.train` train exactly this configuration."""
        flags = []
        for name, value in self.to_dict().items():
            if isinstance(value, bool):
                flags.append(f"--{name}" if value else f"--no{name}")
            elif isinstance(value, list):
                flags.append(f"--{name}={','.join(map(str, value))}")
            else:
                flags.append(f"--{name}={value}")
        return flags


def parse_k_values(text: str) -> list[float]:
    """Sparsities from a comma-separated list, sorted and without repeats.

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
                f"k_vals: expected sparsities from 0 to 1, separated by commas, such as 0,0.5,0.9. Received: {part!r}."
            )
        values.add(value + 0.0)
    if not values:
        raise ConfigError("k_vals: expected at least one sparsity from 0 to 1, such as 0,0.5,0.9. Received nothing.")
    if len(values) > MAX_K_VALUES:
        raise ConfigError(f"k_vals: expected at most {MAX_K_VALUES} sparsities. Received: {len(values):,}.")
    return sorted(values)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Layer widths from a comma-separated list.

    Raises:
        ConfigError: for an empty list or anything but whole numbers in range.
    """
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    return _sizes([int(part) if part.isdecimal() and len(part) < 10 else part for part in parts])


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= 10:
        raise ConfigError(
            f"hidden_units: expected 1 to 10 layer widths, such as 1000,1000,500,200. Received: {values!r}."
        )
    sizes = tuple(_whole("hidden_units", value) for value in values)
    for size in sizes:
        _within("hidden_units", size, 1, 10_000)
    return sizes


def _whole(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool) or int(value) != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name}: expected a whole number. Received: {value!r}.") from None
    return int(value)


def _real(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise ValueError
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: expected a finite number. Received: {value!r}.") from None
    # Adding zero turns -0.0 into 0.0, which would otherwise hash to another run.
    return float(value) + 0.0


def _within(name: str, value: float, low: float, high: float, of: str = "") -> None:
    if not low <= value <= high:
        note = f" ({of})" if of else ""
        raise ConfigError(f"{name}: expected {low:,} to {high:,}{note}. Received: {value:,}.")
