"""Networks in the runtimes that open their files, to be timed: ONNX Runtime and LiteRT, where they are installed."""

import importlib.util
from collections.abc import Callable

import numpy as np

from core.exports.models import litert, onnx
from core.kernels import Compacted

Run = Callable[[np.ndarray], np.ndarray]


def in_onnx(network: Compacted, pixels: int, threads: int) -> Run:
    """A network as its ONNX file in ONNX Runtime, from images (n, pixels) to probabilities (n, classes)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    data = onnx.convert(network, pixels)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})[0]


def in_litert(network: Compacted, pixels: int, threads: int) -> Run:
    """A network as its LiteRT file in the LiteRT interpreter; as `in_onnx`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=litert.convert(network, pixels), num_threads=threads)
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    prepared = 0

    def run(images: np.ndarray) -> np.ndarray:
        nonlocal prepared
        if len(images) != prepared:
            interpreter.resize_tensor_input(image["index"], images.shape)
            interpreter.allocate_tensors()
            prepared = len(images)
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    return run


RUNTIMES: dict[str, tuple[tuple[str, ...], Callable[[Compacted, int, int], Run]]] = {
    "ONNX Runtime": (("onnx", "onnxruntime"), in_onnx),
    "LiteRT": (("keras", "tensorflow", "ai_edge_litert"), in_litert),
}
"""By name: the packages that it needs, and what loads a network into it."""


def packages() -> list[str]:
    """The packages that compute, of the runtimes that are installed, as their versions are asked for."""
    return [RUNTIMES[name][0][-1].replace("_", "-") for name in available()]


def available() -> list[str]:
    """The runtimes whose packages are installed. Imports none of them."""
    return [name for name, (needs, _) in RUNTIMES.items() if all(map(importlib.util.find_spec, needs))]
