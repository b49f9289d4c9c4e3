"""The Keras network: build it, and take its kernels."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from core.config import Config, TrainingConfig
from core.keras_file import portable


def build(config: TrainingConfig) -> keras.Model:
    """The network of the experiment, compiled: dense layers without biases, ReLU, softmax over the classes.

    Seeds Keras, NumPy and Python for the whole process, so that initial weights and the order of images
    depend on the configuration alone.
    """
    keras.utils.set_random_seed(config.seed)
    return compiled(layered(config, config.hidden_units), config, config.learning_rate)


def layered(
    config: Config,
    hidden_units: Sequence[int],
    constraints: Sequence[keras.constraints.Constraint] = (),
    inputs: int | None = None,
    output: str | None = "softmax",
) -> keras.Model:
    """The network before it is compiled, of any widths.

    Args:
        constraints: one for each hidden kernel, if any.
        inputs: how many pixels it looks at; None for all.
        output: the activation of the output layer; None for none.
    """
    layers = [
        keras.layers.Dense(
            units,
            activation="relu",
            use_bias=False,
            kernel_regularizer=_penalty(config),
            kernel_constraint=constraints[index] if constraints else None,
        )
        for index, units in enumerate(hidden_units)
    ]
    layers.append(keras.layers.Dense(len(config.spec.classes), activation=output, use_bias=False))
    return keras.Sequential([keras.Input((inputs or config.spec.inputs,)), *layers], name="network")


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


def kernels_of(model: keras.Model) -> list[np.ndarray]:
    """The kernels as float32 arrays of shape (inputs, units), in the order of the layers."""
    return [np.asarray(weights, np.float32) for weights in model.get_weights()]


def _penalty(config: Config) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(config.l1_reg, config.l2_reg) if config.l1_reg or config.l2_reg else None
