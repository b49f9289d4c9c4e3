"""A network as sparse arrays in an `.npz` file: only the weights that are not zero, readable with NumPy and SciPy.

It is the file of sparse rows (CSR) of `core.kernels.number_formats`, compressed, and one more array, `about`.
"""

import io
import json
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax

from core.kernels import Compacted
from core.kernels.number_formats import NUMBER_FORMATS

_ABOUT = "about"


def convert(network: Compacted, pixels: int) -> bytes:
    """The file; it need not say how many pixels an image has."""
    return NUMBER_FORMATS["sparse"].write(network, True)


def label(data: bytes, about: dict) -> bytes:
    """The same file with what it is about, as a text in JSON."""
    file = io.BytesIO()
    np.savez_compressed(file, **_read(io.BytesIO(data)), **{_ABOUT: np.array(json.dumps(about))})
    return file.getvalue()


def read_about(data: bytes) -> dict:
    """What the file says that it is about."""
    return json.loads(str(_read(io.BytesIO(data))[_ABOUT]))


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What NumPy and SciPy make of the file: probabilities of shape (n, classes)."""
    arrays = _read(path)
    count = sum(name.startswith("shape_") for name in arrays)
    parts = [[arrays[f"{part}_{index}"] for part in ("data", "indices", "indptr", "shape")] for index in range(count)]
    signal = images[:, arrays["inputs"]]
    for index, (data, indices, ends, shape) in enumerate(parts):
        signal = np.maximum(signal, 0) @ csr_array((data, indices, ends), shape) + arrays.get(f"bias_{index}", 0)
    return softmax(signal, axis=1)


def _read(file: Path | io.BytesIO) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
