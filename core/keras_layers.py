"""A network as ready layers of Keras, for training and for files, and its weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.network import Network
from core.settings import load_keras

if TYPE_CHECKING:
    import keras


def layers_of(
    network: Network, output: str | None, options: Callable[[int], dict[str, Any]] = lambda index: {}
) -> "list[keras.layers.Layer]":
    """Layers that take images of shape (n, inputs), without the weights of the network.

    Args:
        output: the activation of the output layer; None for none.
        options: more arguments of the layer of that number.
    """
    keras = load_keras()

    layers = [] if len(network.shape) == 1 else [keras.layers.Reshape(network.shape)]
    for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=False)):
        units, window = layer.matrix.shape[1], layer.window
        activation = layer.activation if index < len(network.layers) - 1 else output
        more = {"activation": activation, "use_bias": layer.bias is not None, **options(index)}
        if window:
            size = (window.height, window.width)
            layers.append(keras.layers.Conv2D(units, size, window.stride, window.padding, **more))
            layers += [] if layer.pool == 1 else [keras.layers.MaxPooling2D(layer.pool)]
        else:
            layers += [] if len(shape) == 1 else [keras.layers.Flatten()]
            layers.append(keras.layers.Dense(units, **more))
    return layers


def set_weights(model: "keras.Model", network: Network) -> "keras.Model":
    """Give a model that was made of `layers_of` the weights of the network, and return it."""
    both = zip(network.arrays.values(), model.weights, strict=True)
    model.set_weights([array.reshape(weight.shape) for array, weight in both])
    return model


def with_weights(network: Network, model: "keras.Model") -> Network:
    """The network with the weights of a model that was made of `layers_of`."""
    both = zip(network.arrays.items(), model.get_weights(), strict=True)
    return network.with_arrays({name: weights.reshape(array.shape) for (name, array), weights in both})
