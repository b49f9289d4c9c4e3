"""The Keras network: build it, compile it, save it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from core.config import Config, TrainingConfig
from core.keras_file import portable
from core.keras_layers import layers_of
from core.network import Network, chain


def build(config: TrainingConfig) -> keras.Model:
    """The network of the experiment, compiled: dense layers without biases, ReLU, softmax over the classes.

    Seeds Keras, NumPy and Python for the whole process, so that initial weights and the order of images
    depend on the configuration alone.
    """
    keras.utils.set_random_seed(config.seed)
    return compiled(layered(layers_before(config), config), config, config.learning_rate)


def layers_before(config: Config) -> Network:
    """The network that a configuration asks for, before it has any weights."""
    return chain(config.layer_shapes)


def layered(
    network: Network,
    config: Config,
    constraints: Sequence[keras.constraints.Constraint] = (),
    output: str | None = "softmax",
) -> keras.Model:
    """A network before it is compiled, with initial weights.

    Args:
        constraints: one for each hidden kernel, if any.
        output: the activation of the output layer; None for none.
    """

    def options(index: int) -> dict[str, Any]:
        if index == len(network.layers) - 1:
            return {}
        constraint = constraints[index] if constraints else None
        # With a unit goes its bias.
        of_units = constraint if constraint and len(constraint.mask.shape) == 1 else None
        return {
            "kernel_regularizer": _penalty(config),
            "kernel_constraint": constraint,
            "bias_constraint": of_units,
        }

    return keras.Sequential([keras.Input((network.inputs,)), *layers_of(network, output, options)], name="network")


def compiled(
    model: keras.Model,
    config: Config,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    loss: keras.losses.Loss | None = None,
    metrics: Sequence[keras.metrics.Metric] = (),
) -> keras.Model:
    """The same model, ready for `core.training.fit.fit`; by default it learns labels."""
    metrics = [*metrics] or ["accuracy"]
    if loss is None and _penalty(config) is not None:
        # With a penalty Keras' own "loss" is no longer the cross-entropy that the charts show.
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=loss or keras.losses.SparseCategoricalCrossentropy(),
        metrics=metrics,
    )
    return model


def save(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file that Keras 3.3 and later open, without the optimizer.

    A training goes on from its checkpoint, which is another file.
    """
    model.save(path)
    path.write_bytes(portable(path.read_bytes()))


def _penalty(config: Config) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(config.l1_reg, config.l2_reg) if config.l1_reg or config.l2_reg else None
