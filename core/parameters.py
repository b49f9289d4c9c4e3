"""What a hyper-parameter is: the values of its kind, how they are checked, written and read, and what people are told.

Nothing here knows a particular one; `core.config` says which there are.
"""

import abc
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import ConfigError

MAX_RANGE = 1000
"""Whole numbers in a range such as 0-4, at most."""


class Kind(abc.ABC):
    """What every kind can do. `check` is the only judge of values; the others change between value and text."""

    example: str
    """A list of values as people write it."""
    separator = r"[,;\s]+"
    """Between the values of a list."""
    one = "one value"
    """What one value is called."""

    @abc.abstractmethod
    def check(self, name: str, value: Any) -> Any:
        """The value in its own type.

        Raises:
            ConfigError: if it is none of this kind; names the hyper-parameter, the range and the value.
        """

    def write(self, value: Any) -> str:
        """A value as a flag takes it."""
        return str(value)

    def short(self, value: Any) -> str:
        """A value as it stands in labels and addresses: no character that needs escaping."""
        return self.write(value)

    def read(self, name: str, text: str) -> list[Any]:
        """The values of a list as people write it; `write` and `short` are read, too.

        Raises:
            ConfigError: for an empty list, or text that is no such value.
        """
        values = [value for part in re.split(self.separator, text.strip()) if part for value in self._read(name, part)]
        if not values:
            raise ConfigError(f"{name}: expected at least one value, such as {self.example}. Received nothing.")
        return values

    def read_one(self, name: str, text: str) -> Any:
        """The only value of a text.

        Raises:
            ConfigError: for none, several, or text that is no such value.
        """
        values = self.read(name, text)
        if len(values) > 1:
            raise ConfigError(f"{name}: expected {self.one}. Received: {text[:100]!r}.")
        return values[0]

    @abc.abstractmethod
    def _read(self, name: str, part: str) -> Iterable[Any]:
        """The values that one part of a list stands for."""


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names."""

    names: tuple[str, ...]

    @property
    def example(self) -> str:
        return ",".join(self.names[:2])

    def check(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise ConfigError(f"{name}: expected one of {', '.join(self.names)}. Received: {value!r}.")
        return value

    def _read(self, name: str, part: str) -> Sequence[str]:
        return [self.check(name, part)]


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `low` to `high`. Lists may hold ranges: 0-4,7."""

    low: int
    high: int
    example = "0,2,5-9"

    def check(self, name: str, value: Any) -> int:
        try:
            if isinstance(value, bool) or int(value) != value:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{name}: expected a whole number. Received: {value!r}.") from None
        within(name, int(value), self.low, self.high)
        return int(value)

    def _read(self, name: str, part: str) -> Sequence[int]:
        found = re.fullmatch(r"(-?\d{1,10})(?:-(\d{1,10}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= last - first < MAX_RANGE:
            raise ConfigError(
                f"{name}: expected whole numbers or ranges of at most {MAX_RANGE:,}, such as {self.example}. "
                f"Received: {part!r}."
            )
        return range(self.check(name, first), self.check(name, last) + 1)


@dataclass(frozen=True)
class Real(Kind):
    """A number from `low` to `high`; with `above`, larger than `low`. `step` is that of its widget."""

    low: float
    high: float
    step: float
    above: bool = False
    example = "0.001,0.0005"

    def check(self, name: str, value: Any) -> float:
        try:
            if isinstance(value, bool | str) or not math.isfinite(value):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{name}: expected a finite number. Received: {value!r}.") from None
        if self.above and not self.low < value <= self.high:
            raise ConfigError(
                f"{name}: expected a number above {self.low:g} and at most {self.high:g}. Received: {value:g}."
            )
        within(name, value, self.low, self.high)
        # Adding zero turns -0.0 into 0.0, which would otherwise hash to another run.
        return float(value) + 0.0

    def _read(self, name: str, part: str) -> Sequence[float]:
        try:
            return [float(part)]
        except ValueError:
            raise ConfigError(f"{name}: expected numbers such as {self.example}. Received: {part!r}.") from None


@dataclass(frozen=True)
class Switch(Kind):
    """True or false."""

    example = "true,false"

    def check(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: expected true or false. Received: {value!r}.")
        return value

    def _read(self, name: str, part: str) -> Sequence[bool]:
        if part.lower() not in ("true", "false"):
            raise ConfigError(f"{name}: expected true, false or true,false. Received: {part!r}.")
        return [part.lower() == "true"]


@dataclass(frozen=True)
class Widths(Kind):
    """The widths of some layers. The widths of one network are separated by commas, networks by semicolons."""

    layers: int
    high: int
    example = "1000,500;300,100"
    separator = r"\s*;\s*"
    one = "the layer widths of one network, separated by commas"

    def check(self, name: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.layers:
            raise ConfigError(
                f"{name}: expected 1 to {self.layers} layer widths, such as 1000,1000,500,200. Received: {value!r}."
            )
        return tuple(Whole(1, self.high).check(name, width) for width in value)

    def write(self, value: tuple[int, ...]) -> str:
        return ",".join(map(str, value))

    def short(self, value: tuple[int, ...]) -> str:
        return "-".join(map(str, value))

    def _read(self, name: str, part: str) -> Iterator[tuple[int, ...]]:
        widths = [width for width in re.split(r"[,\s]+|(?<=\d)-", part) if width]
        yield self.check(name, [int(width) if re.fullmatch(r"-?\d{1,20}", width) else width for width in widths])


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter, for everything that uses it: flags, widgets, links, labels, tables and checks.

    Attributes:
        kind: the values that it allows, and how they are written and read.
        default: None takes the dataset's own, the attribute of that name of `core.config.DatasetSpec`.
        label: of its widget, and of its column in the table of runs.
        help: what it does, in one or two sentences.
        words: how a label says it where it is not the default, such as "{} epochs"; empty if no label does.
        in_id: how a run id says it, such as "e{}"; empty if only the hash knows it.
        advanced: whether its widget is folded away.
        vary: the list that the grid page begins with, empty for the one value chosen; None if it offers no list.
        before: for one that was added later, the value that networks had before it existed. That value is left
            out of the hash, so that the ids of earlier runs stay, and is what their configurations are read as.
    """

    kind: Kind
    default: Any
    label: str
    help: str
    words: str = ""
    in_id: str = ""
    advanced: bool = False
    vary: str | None = None
    before: Any = None


def parameter(kind: Kind, default: Any, label: str, help: str, **rest: Any) -> Any:
    """A field of `core.config.TrainingConfig` or `RecoveryConfig`, with what `Parameter` says of it."""
    return field(default=default, metadata={"parameter": Parameter(kind, default, label, help, **rest)})


def within(name: str, value: float, low: float, high: float, of: str = "") -> None:
    """Raise ConfigError unless `low` <= `value` <= `high`; `of` says where the limits come from."""
    if not low <= value <= high:
        note = f" ({of})" if of else ""
        expected = f"{low:,} to {high:,}" if low < high else f"{low:,}"
        raise ConfigError(f"{name}: expected {expected}{note}. Received: {value:,}.")
