"""The table of file formats that a small network leaves in."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import ExportError
from core.exports.models import keras, litert, npz, onnx
from core.kernels import Compacted


@dataclass(frozen=True)
class Format:
    """One format: how a network is written, and how the file's own reader opens it.

    Attributes:
        title: what it is called where people read it.
        says: what it is, and whom it is for.
        suffix: how the names of its files end, without the dot in front.
        needs: the packages that write and read it.
        is_exact: whether the file holds every weight as it is, so that it must say what the network says.
        convert: the bytes of a file, of a compacted network and the number of pixels of an image.
        label: the same file with what it is about in its metadata.
        read_about: what the bytes of a file say that it is about.
        answer: what its own reader makes of a file: probabilities of shape (n, classes), of images (n, pixels).
        snippet: how to use a file, with {file}, {pixels} and {layers} to be filled in. It takes `images`, and leaves
            in `classes` what they are.
        version: raised where a file that was made earlier is to be made again.
    """

    title: str
    says: str
    suffix: str
    needs: tuple[str, ...]
    is_exact: bool
    convert: Callable[[Compacted, int], bytes]
    label: Callable[[bytes, dict], bytes]
    read_about: Callable[[bytes], dict]
    answer: Callable[[Path, np.ndarray], np.ndarray]
    snippet: str
    version: int = 1

    def usage(self, file: str, pixels: int, layers: int) -> str:
        """The snippet for one file."""
        return self.snippet.format(file=file, pixels=pixels, layers=layers)

    def lacks(self) -> str | None:
        """Why it is not available here, in a sentence; None if it is. Imports nothing."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if not missing:
            return None
        packages = " and ".join(name.replace("_", "-") for name in missing)
        return f"Not available here: {packages} is not installed. Run pip install {packages.replace(' and ', ' ')}."

    def check(self) -> None:
        """Raise ExportError if it is not available here."""
        if why := self.lacks():
            raise ExportError(f"{self.title} cannot be written. {why}")


_LITERT_SNIPPET = """
from ai_edge_litert.interpreter import Interpreter

# images: float32 of shape (n, {pixels}), 0 to 1
model = Interpreter("{file}")
run = model.get_signature_runner()
(probabilities,) = run(image=images).values()
classes = probabilities.argmax(axis=1)
""".strip()

FORMATS = {
    "keras": Format(
        "Keras",
        "For Python. Opens with plain Keras, 3.3 or later, and nothing else. Zeros take little room in it.",
        "keras",
        ("keras", "tensorflow"),
        True,
        keras.convert,
        keras.label,
        keras.read_about,
        keras.answer,
        """
import keras  # 3.3 or later

# images: float32 of shape (n, {pixels}), 0 to 1
model = keras.models.load_model("{file}", compile=False)
probabilities = model.predict(images)
classes = probabilities.argmax(axis=1)
""".strip(),
        version=2,
    ),
    "tflite": Format(
        "LiteRT, float32",
        "For phones and small computers, formerly TensorFlow Lite. Zeros take room in it.",
        "tflite",
        ("keras", "tensorflow", "ai_edge_litert"),
        True,
        litert.convert,
        litert.label,
        litert.read_about,
        litert.answer,
        _LITERT_SNIPPET,
    ),
    "tflite-int8": Format(
        "LiteRT, int8",
        "The same with weights of one byte instead of four: answers differ a little; its accuracy is its own. "
        "Needs LiteRT, or TensorFlow Lite 2.17 or later.",
        "int8.tflite",
        ("keras", "tensorflow", "ai_edge_litert"),
        False,
        litert.convert_int8,
        litert.label,
        litert.read_about,
        litert.answer,
        _LITERT_SNIPPET,
    ),
    "onnx": Format(
        "ONNX",
        "For other languages and runtimes. Zeros take room in it.",
        "onnx",
        ("onnx", "onnxruntime"),
        True,
        onnx.convert,
        onnx.label,
        onnx.read_about,
        onnx.answer,
        """
import onnxruntime

# images: float32 of shape (n, {pixels}), 0 to 1
session = onnxruntime.InferenceSession("{file}")
(probabilities,) = session.run(None, {{"image": images}})
classes = probabilities.argmax(axis=1)
""".strip(),
    ),
    "npz": Format(
        "Sparse arrays",
        "Only the weights that are not zero, and where each is (CSR). For NumPy and SciPy, without pickle.",
        "npz",
        ("numpy", "scipy"),
        True,
        npz.convert,
        npz.label,
        npz.read_about,
        npz.answer,
        """
import numpy as np
from scipy.sparse import csr_array

# images: float32 of shape (n, {pixels}), 0 to 1
file = np.load("{file}")
signal = images[:, file["inputs"]]
for i in range({layers}):
    parts = [file[f"{{part}}_{{i}}"] for part in ("data", "indices", "indptr")]
    layer = csr_array(tuple(parts), shape=file[f"shape_{{i}}"])
    signal = np.maximum(signal, 0) @ layer + file.get(f"bias_{{i}}", 0)
classes = signal.argmax(axis=1)
""".strip(),
    ),
}
"""By name. Another one is an entry here, and a file beside this one with its four functions."""
