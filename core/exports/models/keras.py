"""A network as a Keras 3 file of ready layers, which opens without any code of this project."""

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.kernels import Compacted
from core.settings import quiet_keras

if TYPE_CHECKING:
    import keras

_METADATA, _ABOUT = "metadata.json", "about"
_BATCH = 1_000


def build(network: Compacted, pixels: int) -> "keras.Model":
    """The network as a Keras model from whole images, shape (n, pixels), to the probabilities of the classes."""
    quiet_keras()
    import keras

    image = keras.Input((pixels,), name="image")
    # An operation of Keras that a file holds as it holds a layer.
    chosen = len(network.inputs) < pixels
    signal = keras.ops.take(image, network.inputs.tolist(), axis=1) if chosen else image
    for index, kernel in enumerate(network.kernels[:-1], start=1):
        layer = keras.layers.Dense(kernel.shape[1], activation="relu", use_bias=False, name=f"layer_{index}")
        signal = layer(signal)
    classes = network.kernels[-1].shape[1]
    output = keras.layers.Dense(classes, activation="softmax", use_bias=False, name="class")(signal)
    model = keras.Model(image, output, name="small_network")
    model.set_weights(network.kernels)
    return model


def saved(model: "keras.Model") -> bytes:
    """The file as Keras writes it; without an optimizer, as the model has none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def dense_size(shapes: Sequence[tuple[int, int]]) -> int:
    """Bytes of the Keras file of a dense network as Keras writes it, in float32 and without an optimizer.

    Args:
        shapes: (inputs, units) of its kernels. Keras does not compress, so the size depends on nothing else.
    """
    pixels = shapes[0][0]
    return len(saved(build(Compacted([np.zeros(shape, np.float32) for shape in shapes], np.arange(pixels)), pixels)))


def convert(network: Compacted, pixels: int) -> bytes:
    """The file, compressed: Keras leaves that out, and of a network pruned by weight most is zeros."""
    return _packed(saved(build(network, pixels)), {})


def label(data: bytes, about: dict) -> bytes:
    """The same file with what it is about, in its `metadata.json`."""
    return _packed(data, {_ABOUT: about})


def read_about(data: bytes) -> dict:
    """What the file says that it is about."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return json.loads(file.read(_METADATA))[_ABOUT]


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What plain Keras makes of the file: probabilities of shape (n, classes)."""
    quiet_keras()
    import keras

    # Graphics cards round sums further than float32 does.
    with keras.device("cpu"):
        return keras.models.load_model(path, compile=False).predict(images, batch_size=_BATCH, verbose=0)


def _packed(data: bytes, more: dict) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == _METADATA:
                content = json.dumps(json.loads(content) | more).encode()
            target.writestr(name, content)
    return packed.getvalue()
