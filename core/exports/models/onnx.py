"""A network as an ONNX graph: Gather the pixels, then a MatMul each layer with Relu, and Softmax."""

import json
from pathlib import Path

import numpy as np

from core.errors import ExportError
from core.kernels import Compacted

_ABOUT = "about"
_OPSET, _IR_VERSION = 13, 8
"""Of 2021, so that readers of these years open the file."""


def convert(network: Compacted, pixels: int) -> bytes:
    """The file in float32, from whole images to the probabilities of the classes."""
    from onnx import TensorProto, checker, helper, numpy_helper

    if any(layer.window for layer in network.network.layers):
        raise ExportError("A convolution cannot be written as ONNX yet. Export this network to Keras or LiteRT.")
    nodes, arrays, signal = [], [], "image"
    if len(network.inputs) < pixels:
        arrays.append(numpy_helper.from_array(network.inputs.astype(np.int64), "pixels"))
        nodes.append(helper.make_node("Gather", [signal, "pixels"], ["heard"], axis=1))
        signal = "heard"
    for name, array in network.network.arrays.items():
        arrays.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    for index, layer in enumerate(network.network.layers):
        nodes.append(helper.make_node("MatMul", [signal, f"kernel_{index}"], [f"sum_{index}"]))
        signal = f"sum_{index}"
        if layer.bias is not None:
            nodes.append(helper.make_node("Add", [signal, f"bias_{index}"], [f"shifted_{index}"]))
            signal = f"shifted_{index}"
        if layer.activation == "relu":
            nodes.append(helper.make_node("Relu", [signal], [f"layer_{index}"]))
            signal = f"layer_{index}"
    nodes.append(helper.make_node("Softmax", [signal], ["class"], axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", pixels])
    classes = helper.make_tensor_value_info("class", TensorProto.FLOAT, ["n", network.network.classes])
    graph = helper.make_graph(nodes, "small_network", [image], [classes], arrays)
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()


def label(data: bytes, about: dict) -> bytes:
    """The same file with what it is about, as an entry of its metadata."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, {_ABOUT: json.dumps(about)})
    return model.SerializeToString()


def read_about(data: bytes) -> dict:
    """What the file says that it is about."""
    import onnx

    (entry,) = [entry for entry in onnx.load_from_string(data).metadata_props if entry.key == _ABOUT]
    return json.loads(entry.value)


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of the file: probabilities of shape (n, classes)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (classes,) = session.run(None, {"image": images})
    return classes
