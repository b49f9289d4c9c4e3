"""A network as the bytes of a file, in several number formats, and back.

Every file is a complete `.npz` that plain NumPy reads without pickle. `inputs` holds the indices of the pixels that the
first kernel looks at, so that the network still takes whole images. The kernels are one of

- `kernel_0`, `kernel_1`, …: float32 or float16, of shape (inputs, units);
- the same in int8, with `scale_0`, … float32 of shape (units,): the weight is `kernel * scale`;
- `counts_0`, `stream_0` and `scale_0`, …: that int8, written by a range coder; `core.kernels.coding` reads it;
- `data_0`, `indices_0`, `indptr_0` and `shape_0`, …: compressed sparse rows (CSR) of (inputs, units), as
  `scipy.sparse.csr_array((data, indices, indptr), shape)` takes them;

and with each, of layers that have one, `bias_0`, … float32 of shape (units,).
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.errors import FormatError
from core.kernels import coding
from core.kernels.compaction import Compacted
from core.network import Kernels, Network, as_network, balance

Arrays = dict[str, np.ndarray]
_SCALED, _PLAIN, _SPARSE = ("kernel", "scale"), ("kernel",), ("data", "indices", "indptr", "shape")
_CODED = ("counts", "stream", "scale")
_BIAS = "bias_"
_PARTS = (_SCALED, _PLAIN, _SPARSE, _CODED)
"""The names of a layer's arrays, by how it is written; each is followed by the layer's number."""


@dataclass(frozen=True)
class NumberFormat:
    """One way to write a network into a file.

    Attributes:
        title: what it is called where people read it.
        says: what it is, in a sentence.
        write: makes the bytes of the whole file; with True they are compressed as far as the format allows. `read` is
            the inverse for all of them.
        is_exact: whether the network that is read is the one that was written, to the last bit.
    """

    title: str
    says: str
    write: Callable[[Compacted, bool], bytes]
    is_exact: bool = False


def whole(network: Network | Kernels) -> Compacted:
    """A network with nothing removed, to write it like one that was compacted."""
    network = as_network(network)
    return Compacted(network, np.arange(network.inputs))


def read(data: bytes) -> Compacted:
    """The network of a file that one of the `.npz` formats wrote.

    Returns:
        Kernels in float32.

    Raises:
        FormatError: if the file is damaged, or holds something else.

    Example:
        `read(NUMBER_FORMATS["int8"].write(compact(pruned), True)).kernels`
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            if len(arrays) != len(file.files):
                raise ValueError("two of its arrays have the same name")
        biases = {name: arrays.pop(name) for name in [*arrays] if name.startswith(_BIAS)}
        chain = as_network(_kernels(arrays))
        network = Compacted(chain.with_arrays(chain.arrays | biases), arrays["inputs"].astype(np.int64))
        if biases.keys() - network.network.arrays.keys():
            raise ValueError("it holds a bias of no layer")
    # Whatever a damaged archive makes zipfile, zlib and NumPy raise: the list would be long, and is not documented.
    except Exception as error:
        raise _damaged(error) from None
    _check(network)
    return network


def _dense(kind: type) -> Callable[[Compacted], Arrays]:
    return lambda network: (
        {f"kernel_{index}": kernel.astype(kind) for index, kernel in enumerate(network.kernels)}
        | _biases(network.network)
    )


def _int8(network: Compacted) -> Arrays:
    """Symmetric, one scale a unit: its largest weight becomes 127 or -127, and zero stays zero.

    Of a network that is balanced, so that no unit's inputs differ too much to share a scale.
    """
    balanced, arrays = balance(network.network), {}
    for index, kernel in enumerate(balanced.matrices):
        scale = np.abs(kernel).max(axis=0, initial=0).astype(np.float32) / np.float32(127)
        # A unit of nothing but zeros has no largest weight; any scale will do.
        scale[scale == 0] = 1
        arrays[f"kernel_{index}"] = np.rint(kernel / scale).clip(-127, 127).astype(np.int8)
        arrays[f"scale_{index}"] = scale
    return arrays | _biases(balanced)


def _coded(network: Compacted) -> Arrays:
    """The numbers of int8, as few bytes as a range coder needs for them."""
    arrays, coded = _int8(network), {}
    for index in range(len(network.kernels)):
        for name, array in coding.encode(arrays[f"kernel_{index}"]).items():
            coded[f"{name}_{index}"] = array if name == "stream" else _smallest(array)
        coded[f"scale_{index}"] = arrays[f"scale_{index}"]
    return coded | {name: array for name, array in arrays.items() if name.startswith(_BIAS)}


def _sparse(network: Compacted) -> Arrays:
    """Compressed sparse rows, each index in the smallest whole numbers that hold it."""
    arrays = {}
    for index, kernel in enumerate(network.kernels):
        rows, columns = np.nonzero(kernel)
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(kernel, axis=1))])
        arrays[f"data_{index}"] = kernel[rows, columns]
        arrays[f"indices_{index}"] = _smallest(columns)
        arrays[f"indptr_{index}"] = _smallest(ends)
        arrays[f"shape_{index}"] = _smallest(np.array(kernel.shape))
    return arrays | _biases(network.network)


def _biases(network: Network) -> Arrays:
    return {name: array for name, array in network.arrays.items() if name.startswith(_BIAS)}


def _smallest(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def _npz(arrays_of: Callable[[Compacted], Arrays]) -> Callable[[Compacted, bool], bytes]:
    def write(network: Compacted, compressed: bool) -> bytes:
        if any(layer.window for layer in network.network.layers):
            raise FormatError("A convolution cannot be written as an .npz file yet. Export this network to Keras.")
        file = io.BytesIO()
        save = np.savez_compressed if compressed else np.savez
        # The pixels last: a damaged directory that has lost its end has lost them, too, and not just a layer.
        save(file, **arrays_of(network), inputs=_smallest(network.inputs))
        return file.getvalue()

    return write


def _kernels(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    parts = next((parts for parts in _PARTS if {f"{part}_0" for part in parts} <= arrays.keys()), _PLAIN)
    layers = [[arrays[f"{part}_{index}"] for part in parts] for index in range((len(arrays) - 1) // len(parts))]
    # A name that was damaged would be a layer less.
    if len(arrays) != 1 + len(parts) * len(layers):
        raise ValueError("it holds other arrays than a network's")
    if parts == _SPARSE:
        return [_filled(*layer) for layer in layers]
    if parts == _CODED:
        layers = [[coding.decode(counts, stream, len(scale)), scale] for counts, stream, scale in layers]
    for kernel, *_ in layers:
        if (kernel.dtype == np.int8) != (len(layers[0]) > 1) or kernel.dtype not in (np.int8, np.float16, np.float32):
            raise ValueError(f"its kernels are {kernel.dtype}")
    return [
        np.multiply(*layer, dtype=np.float32) if len(layer) > 1 else layer[0].astype(np.float32) for layer in layers
    ]


def _filled(data: np.ndarray, indices: np.ndarray, ends: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A kernel from its compressed sparse rows."""
    kernel = np.zeros(tuple(map(int, shape)), np.float32)
    if len(ends) != len(kernel) + 1 or ends[0] != 0 or ends[-1] != len(data) or indices.min(initial=0) < 0:
        raise ValueError("the rows of a sparse kernel do not fit its weights")
    kernel[np.repeat(np.arange(len(kernel)), np.diff(ends.astype(np.int64))), indices] = data
    return kernel


def _check(network: Compacted) -> None:
    """Refuse what no format here can have written."""
    kernels, inputs = network.kernels, network.inputs
    fits = (
        len(kernels) > 0
        and all(np.isfinite(array).all() for array in network.network.arrays.values())
        and all(kernel.ndim == 2 for kernel in kernels)
        and all(first.shape[1] == second.shape[0] for first, second in pairwise(kernels))
        and inputs.shape == kernels[0].shape[:1]
        and (np.diff(inputs) > 0).all()
        and (inputs >= 0).all()
    )
    if not fits:
        raise _damaged("its arrays do not make a network")


def _damaged(why: object) -> FormatError:
    return FormatError(
        f"The file cannot be read as a network: {why}. Expected an .npz file with `inputs` and kernels in float32, "
        "float16, int8, range-coded int8 or sparse rows. Download or write it again."
    )


NUMBER_FORMATS = {
    "float32": NumberFormat("float32", "Every weight as it was trained, 4 bytes each.", _npz(_dense(np.float32)), True),
    "float16": NumberFormat("float16", "Every weight in half precision, 2 bytes each.", _npz(_dense(np.float16))),
    "int8": NumberFormat(
        "int8",
        "Units balanced, then every weight as one of 255 steps, 1 byte each, and a scale a unit.",
        _npz(_int8),
    ),
    "coded": NumberFormat(
        "int8, range-coded",
        "The same numbers as int8, written by a range coder: what is likely takes few bits.",
        _npz(_coded),
    ),
    "sparse": NumberFormat(
        "sparse (CSR)",
        "Only the weights that are not zero, 4 bytes each, and in which row and column each is.",
        _npz(_sparse),
        True,
    ),
}
"""By name."""
