"""A network as a Keras 3 file of ready layers, which opens without any code of this project."""

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.keras_file import portable
from core.kernels import Compacted
from core.network import Kernels
from core.settings import load_keras

if TYPE_CHECKING:
    import keras

_METADATA, _ABOUT = "metadata.json", "about"
_BATCH = 1_000


def build(kernels: Kernels) -> "keras.Model":
    """Kernels as a Keras model from images, shape (n, inputs), to the probabilities of the classes."""
    keras = load_keras()

    layers = [
        keras.layers.Dense(kernel.shape[1], activation="relu", use_bias=False, name=f"layer_{index}")
        for index, kernel in enumerate(kernels[:-1], start=1)
    ]
    layers.append(keras.layers.Dense(kernels[-1].shape[1], activation="softmax", use_bias=False, name="class"))
    model = keras.Sequential([keras.Input((len(kernels[0]),), name="image"), *layers], name="small_network")
    model.set_weights(kernels)
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
    return len(saved(build([np.zeros(shape, np.float32) for shape in shapes])))


def convert(network: Compacted, pixels: int) -> bytes:
    """The file, compressed: Keras leaves that out, and of a network pruned by weight most is zeros.

    The first layer has a row of zeros for each pixel that is not looked at, as no layer of Keras 3.3 chooses pixels.
    """
    first = np.zeros((pixels, network.kernels[0].shape[1]), np.float32)
    first[network.inputs] = network.kernels[0]
    return _packed(portable(saved(build([first, *network.kernels[1:]]))), {})


def label(data: bytes, about: dict) -> bytes:
    """The same file with what it is about, in its `metadata.json`."""
    return _packed(data, {_ABOUT: about})


def read_about(data: bytes) -> dict:
    """What the file says that it is about."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return json.loads(file.read(_METADATA))[_ABOUT]


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What plain Keras makes of the file: probabilities of shape (n, classes)."""
    keras = load_keras()

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
