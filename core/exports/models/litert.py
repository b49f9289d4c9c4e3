"""A network as a LiteRT file (`.tflite`), for phones and small computers: in float32, and with int8 weights."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.exports.models.keras import named
from core.keras_layers import layers_of, set_weights
from core.kernels import Compacted
from core.network import balance
from core.settings import load_keras, quiet_keras

if TYPE_CHECKING:
    import keras

_ABOUT = "about"
_BATCH = 1_000


def convert(network: Compacted, pixels: int) -> bytes:
    """The file in float32."""
    return _exported(network, pixels)


def convert_int8(network: Compacted, pixels: int) -> bytes:
    """The file with int8 weights, a scale each unit.

    What moves between the layers is rounded to int8 while it runs, with a scale each image ("dynamic range"). With
    scales fixed beforehand from training images the file is as large and knew less: on validation images 47.5 % instead
    of 53.7 % of a network pruned by unit, which float32 knew 53.8 % of.
    """
    quiet_keras()
    from tensorflow import lite

    balanced = Compacted(balance(network.network), network.inputs)
    return _exported(balanced, pixels, optimizations=[lite.Optimize.DEFAULT])


def _build(network: Compacted, pixels: int) -> "keras.Model":
    """The network as a Keras model from whole images, shape (n, pixels), to the probabilities of the classes."""
    keras = load_keras()

    image = keras.Input((pixels,), name="image")
    # An operation of Keras that a file holds as it holds a layer.
    chosen = len(network.inputs) < pixels
    signal = keras.ops.take(image, network.inputs.tolist(), axis=1) if chosen else image
    for layer in layers_of(network.network, "softmax", named(network.network)):
        signal = layer(signal)
    return set_weights(keras.Model(image, signal, name="small_network"), network.network)


def _exported(network: Compacted, pixels: int, **options: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        _build(network, pixels).export(path, format="litert", verbose=False, **options)
        return path.read_bytes()


def label(data: bytes, about: dict) -> bytes:
    """The same file with what it is about, as an entry of its metadata."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(data)
    text, entry = schema.BufferT(), schema.MetadataT()
    text.data = np.frombuffer(json.dumps(about).encode(), np.uint8)
    entry.name, entry.buffer = _ABOUT, len(model.buffers)
    model.buffers.append(text)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read_about(data: bytes) -> dict:
    """What the file says that it is about."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(data)
    (entry,) = [entry for entry in model.metadata if entry.name == _ABOUT.encode()]
    return json.loads(bytes(model.buffers[entry.buffer].data))


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What the LiteRT interpreter makes of the file: probabilities of shape (n, classes)."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return np.concatenate([next(iter(run(image=batch).values())) for batch in batches])
