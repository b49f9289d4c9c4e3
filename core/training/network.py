"""The Keras network: build it, and take its kernels."""

import keras
import numpy as np

from core.config import TrainingConfig


def build(config: TrainingConfig) -> keras.Model:
    """The network of the experiment, compiled: dense layers without biases, ReLU, softmax over the classes.

    Seeds Keras, NumPy and Python for the whole process, so that initial weights and the order of images
    depend on the configuration alone.
    """
    keras.utils.set_random_seed(config.seed)
    penalty = keras.regularizers.L1L2(config.l1_reg, config.l2_reg) if config.l1_reg or config.l2_reg else None
    layers = [
        keras.layers.Dense(units, activation="relu", use_bias=False, kernel_regularizer=penalty)
        for units in config.hidden_units
    ]
    layers.append(keras.layers.Dense(len(config.spec.classes), activation="softmax", use_bias=False))
    model = keras.Sequential([keras.Input((config.spec.inputs,)), *layers], name="network")
    metrics = ["accuracy"]
    if penalty is not None:
        # With a penalty Keras' own "loss" is no longer the cross-entropy that the charts show.
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"))
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=metrics,
    )
    return model


def kernels_of(model: keras.Model) -> list[np.ndarray]:
    """The kernels as float32 arrays of shape (inputs, units), in the order of the layers."""
    return [np.asarray(weights, np.float32) for weights in model.get_weights()]
