"""What decides a fine-tuned network."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from core.config.training import TrainingConfig, digest, flag
from core.errors import ConfigError
from core.parameters import Choice, Parameter, Real, Whole, parameter, within

HOWS = ("finetune", "gradual", "rewind", "reinit")
"""How a pruned network is fine-tuned; the last two are controls."""
STARTS = ("dense", "repaired")
_OF_PARENT = (
    *("dataset", "spec", "batch_size", "num_valid", "keep_best", "l1_reg", "l2_reg", "hidden_units"),
    *("layer_shapes", "parameter_count", "batches"),
)
"""What the parent's configuration says of a fine-tuned network: images, architecture and the rest."""
_OTHER_SEED = 1000
"""How far the default seed of fresh initial weights lies from the parent's."""


@dataclass(frozen=True)
class RecoveryConfig:
    """Everything that decides a fine-tuned network; equal values mean the same run.

    It opens wherever a `TrainingConfig` does, with the architecture and the images of its parent. `epochs`,
    `learning_rate` and `seed` are its own, those of the parent are in `training`.

    Args:
        training: the hyper-parameters of the parent.
        parent: its run id.
        start: None takes "repaired" for finetune, else "dense".
        learning_rate, distillation: None takes the default of the method.
        seed: None takes the parent's, so that seeds are folded as those of the parents; for reinit another one.

    Raises:
        ConfigError: for any value out of its range, naming the field, the range and the value.

    Example:
        `RecoveryConfig(run.config(), run.id, method="weight", sparsity=0.99).run_id`
    """

    training: TrainingConfig
    parent: str
    how: str = parameter(
        Choice(HOWS),
        "finetune",
        "How",
        "finetune prunes first and trains what stays. gradual prunes while it trains. rewind, a control, returns what "
        "stays to its initial weights, and reinit to those of another seed.",
        in_id="{}",
    )
    method: str = parameter(
        Choice(("weight", "unit")),
        "weight",
        "Prune",
        "weight: single connections. unit: whole neurons, with all their incoming weights.",
        in_id="{}",
    )
    sparsity: float = parameter(
        Real(0, 1, step=0.01),
        0.9,
        "Sparsity k",
        "The fraction of each hidden layer's weights, or units, that is zero in the end.",
        in_id="{:g}",
    )
    epochs: int = parameter(
        Whole(1, 10_000), 12, "Epochs", "Passes over the training images after the parent's.", in_id="e{}"
    )
    start: str | None = parameter(
        Choice(STARTS),
        None,
        "Start",
        "What finetune and gradual begin with: dense, the network as it was trained, or repaired, one that won back "
        "without training what pruning cost. By default repaired for finetune.",
    )
    learning_rate: float | None = parameter(
        Real(0, 1, step=0.0005, above=True),
        None,
        "Learning rate",
        "Step size of the Adam optimizer in the beginning; it falls to zero as a cosine does.",
    )
    distillation: float | None = parameter(
        Real(0, 1, step=0.1),
        None,
        "Distillation",
        "How much of the loss comes from what the dense parent answers rather than from labels. By default 0.5 for "
        "weights, 0 for units.",
    )
    rewind_epoch: int = parameter(
        Whole(0, 10_000),
        0,
        "Rewind to epoch",
        "For rewind: after which epoch of the parent's training the weights are taken; 0 takes the initial ones.",
    )
    seed: int | None = parameter(
        Whole(0, 2**32 - 1),
        None,
        "Seed",
        "Decides the order of the images, and for reinit the initial weights; by default the parent's.",
    )

    COMMAND: ClassVar[str] = "core.finetune"

    def __post_init__(self) -> None:
        if isinstance(self.training, RecoveryConfig):
            raise ConfigError(
                f"run: expected one that was trained from scratch. Received: {self.parent}, which is fine-tuned. "
                f"Take its parent, {self.training.parent}."
            )
        for name, about in self.parameters().items():
            value = getattr(self, name)
            if value is None and about.default is None:
                value = self.default_of(name)
            object.__setattr__(self, name, about.kind.check(name, value))
        if self.sparsity == 1:
            raise ConfigError("sparsity: expected less than 1, where nothing is left to train. Received: 1.")
        if self.how in ("rewind", "reinit") and self.start != "dense":
            raise ConfigError(f"start: expected dense, as {self.how} takes no trained weights. Received: {self.start}.")
        if self.rewind_epoch:
            if self.how != "rewind":
                raise ConfigError(f"rewind_epoch: only for rewind, not {self.how}. Received: {self.rewind_epoch}.")
            epochs = self.training.epochs
            within("rewind_epoch", self.rewind_epoch, 0, epochs, of=f"the parent was trained for {epochs:,}")
        if self.how == "reinit" and self.seed == self.training.seed:
            raise ConfigError(f"seed: must differ from the parent's seed. Received: {self.seed}.")

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """The table of its own fields, by name."""
        return {
            item.name: item.metadata["parameter"] for item in dataclasses.fields(cls) if "parameter" in item.metadata
        }

    def default_of(self, name: str) -> Any:
        """The default of a field; what only the parent has is the parent's."""
        if name == "learning_rate":
            return 0.0015 if self.how == "gradual" else DEFAULT_RATES[self.method]
        if name == "distillation":
            return DEFAULT_DISTILLATION[self.method]
        if name == "start":
            return "repaired" if self.how == "finetune" else "dense"
        if name == "seed":
            return (self.training.seed + (_OTHER_SEED if self.how == "reinit" else 0)) % 2**32
        own = self.parameters()
        return own[name].default if name in own else self.training.default_of(name)

    def __getattr__(self, name: str) -> Any:
        """What is the parent's."""
        if name not in _OF_PARENT:
            raise AttributeError(f"A RecoveryConfig has no {name}.")
        return getattr(self.training, name)

    @property
    def run_id(self) -> str:
        """A readable folder name that is unique to all of it, the parent and its hyper-parameters included."""
        said = [about.in_id.format(getattr(self, name)) for name, about in self.parameters().items() if about.in_id]
        return "-".join([self.dataset, *said, digest(self.to_dict())])

    def describe(self) -> str:
        """In words, without seeds: the parent's, then how it was fine-tuned."""
        return f"{self.training.describe()}, fine-tuned: {self.recipe}"

    @property
    def recipe(self) -> str:
        """How it was fine-tuned, in words and without the seed."""
        how = f"rewind to epoch {self.rewind_epoch}" if self.rewind_epoch else self.how
        parts = [f"{how} {self.method} {self.sparsity:g}", f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}"]
        if self.start != self.default_of("start"):
            parts.append(f"from {self.start}")
        if self.learning_rate != self.default_of("learning_rate"):
            parts.append(f"learning rate {self.learning_rate}")
        if self.distillation != self.default_of("distillation"):
            parts.append(f"distillation {self.distillation}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        own = {name: getattr(self, name) for name in self.parameters()}
        return {"parent": self.parent, **own, "training": self.training.to_dict()}

    def to_row(self) -> dict[str, Any]:
        """What tables of runs say: the hyper-parameters of the parent, its id, and how it was fine-tuned."""
        return self.training.to_dict() | {"parent": self.parent, "trained_on": self.recipe}

    def facts(self) -> dict[str, Any]:
        """Everything that decides the network, by name, as people read it."""
        own = {name: value for name, value in self.to_dict().items() if name != "training"}
        return own | {f"parent {name}": value for name, value in self.training.facts().items()}

    @classmethod
    def from_saved(cls, values: dict[str, Any]) -> "RecoveryConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: for a name that is no field, or a value out of range.
        """
        names = ["parent", "training", *cls.parameters()]
        if set(values) - set(names) or not isinstance(values.get("training"), dict) or "parent" not in values:
            raise ConfigError(f"Expected fields among {', '.join(names)}. Received: {', '.join(values)}.")
        if not isinstance(values["parent"], str):
            raise ConfigError(f"parent: expected a run id. Received: {values['parent']!r}.")
        return cls(**values | {"training": TrainingConfig.from_saved(values["training"])})

    def to_flags(self) -> list[str]:
        """The arguments that make `python -m core.finetune` train exactly this, where its parent is."""
        own = [flag(name, about, getattr(self, name)) for name, about in self.parameters().items()]
        return [f"--run={self.parent}", *own]


Config = TrainingConfig | RecoveryConfig
"""What a run can be of."""

RECOVERY = RecoveryConfig.parameters()
"""The table of what a recovery chooses besides its parent, by name."""
DEFAULT_RATES = {"weight": 0.006, "unit": 0.003}
DEFAULT_DISTILLATION = {"weight": 0.5, "unit": 0.0}
"""By method, tuned on validation images of digits. Few weights learn more from the dense network's answers than from
labels alone; whole units outgrow it."""


def read_config(values: dict[str, Any]) -> Config:
    """The configuration that a run has written down, of whichever kind.

    Raises:
        ConfigError: for a name that is no hyper-parameter, or a value out of range.
    """
    return RecoveryConfig.from_saved(values) if "parent" in values else TrainingConfig.from_saved(values)
