"""A network as a Keras 3 file of ready layers, which opens without any code of this project."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.keras_file import portable
from core.keras_layers import layers_of, set_weights
from core.kernels import Compacted
from core.network import Network
from core.settings import load_keras

if TYPE_CHECKING:
    import keras

_METADATA, _ABOUT = "metadata.json", "about"
_BATCH = 1_000


def build(network: Network) -> "keras.Model":
    """A network as a Keras model from images, shape (n, inputs), to the probabilities of the classes."""
    keras = load_keras()

    layers = [keras.Input((network.inputs,), name="image"), *layers_of(network, "softmax", named(network))]
    return set_weights(keras.Sequential(layers, name="small_network"), network)


def named(network: Network) -> Callable[[int], dict[str, str]]:
    """What the layers are called in files."""
    return lambda index: {"name": f"layer_{index + 1}" if index < len(network.layers) - 1 else "class"}


def saved(model: "keras.Model") -> bytes:
    """The file as Keras writes it; without an optimizer, as the model has none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def dense_size(layers: Network) -> int:
    """Bytes of the Keras file of a dense network as Keras writes it, in float32 and without an optimizer.

    Keras does not compress, so the size depends on nothing but the shapes of its layers.
    """
    return len(saved(build(layers)))


def convert(network: Compacted, pixels: int) -> bytes:
    """The file, compressed: Keras leaves that out, and of a network pruned by weight most is zeros.

    The first layer has a row of zeros for each pixel that is not looked at, as no layer of Keras 3.3 chooses pixels.
    """
    return _packed(portable(saved(build(network.whole(pixels)))), {})


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
