"""How arrays and tables lie in files of a run, and what is said where one is damaged."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.arrays import DAMAGED, open_arrays
from core.config import Config
from core.errors import RunError
from core.files import read_bytes
from core.network import Layer, Network, Window, chain, shape_behind, zeros
from core.pruning import METHODS, SCOPES
from core.runs import layout
from core.runs.records import parse_json
from core.sweep import RECOVERIES

MOST_ROWS = 20_000
"""Of a table. The longest training has 10,000 epochs; everything that the app scores of a network makes some hundreds,
and the longest list of sparsities with every baseline 4,000."""
_BEFORE = {"recovery": "none", "images": 0, "epochs": 0, "seconds": 0.0}
"""Columns of a sweep that earlier versions did not write, and what their rows mean by that."""


def layers_to_json(network: Network) -> dict[str, Any]:
    """The layers of a network without their arrays, as `read_layers` reads them."""
    layers = [
        {
            "kind": "convolution" if layer.window else "dense",
            "units": layer.matrix.shape[1],
            "bias": layer.bias is not None,
            "activation": layer.activation,
            **({"window": dataclasses.asdict(layer.window), "pool": layer.pool} if layer.window else {}),
        }
        for layer in network.layers
    ]
    return {"shape": [*network.shape], "layers": layers}


def read_layers(path: Path, config: Config) -> Network:
    """The inverse of `layers_to_json`: a network of nothing but zeros, which take no room.

    Without such a file, which earlier versions did not write, it is the chain that the configuration says.

    Raises:
        OSError, ValueError: if the file is damaged, or says something else than layers for these images.
    """
    try:
        values = parse_json(path)
    except FileNotFoundError:
        return chain(config.layer_shapes)
    try:
        shape = signal = tuple(map(_size, values["shape"]))
        layers = []
        for told in values["layers"]:
            window = Window(**told["window"]) if told["kind"] == "convolution" else None
            if window:
                _size(window.height), _size(window.width), _size(window.stride)
            rows = window.height * window.width * signal[-1] if window else math.prod(signal)
            units, pool = _size(told["units"]), _size(told["pool"]) if window else 1
            bias = zeros(units) if told["bias"] else None
            layers.append(Layer(zeros(rows, units), bias, told["activation"], window, pool))
            signal = shape_behind(layers[-1], signal)
        network = Network(tuple(layers), shape)
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"it does not hold the layers of a network: {error}") from None
    if (network.inputs, network.classes) != (config.spec.inputs, len(config.spec.classes)):
        raise ValueError(f"it is for {network.inputs:,} pixels and {network.classes:,} classes")
    return network


def _size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"expected a whole number of at least 1, received {value!r}")
    return value


def read_network(path: Path, layers: Network) -> Network:
    """The network of these layers with the arrays of an `.npz` file; as `read_arrays`."""
    return layers.with_arrays(read_arrays(path, {name: array.shape for name, array in layers.arrays.items()}))


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file.

    Args:
        shapes: what is expected, by name; a file that is larger than this takes is not read.

    Returns:
        float32, all finite.

    Raises:
        RunError: if the file is missing or damaged, or holds something else.
    """
    try:
        most = 4 * sum(math.prod(shape) for shape in shapes.values())
        arrays = open_arrays(path, most, len(shapes))
        if len(arrays) != len(shapes):
            raise ValueError(f"it holds {len(arrays)} arrays; expected {len(shapes)}")
        found = {name: arrays[name] for name in shapes}
        for array, shape in zip(found.values(), shapes.values(), strict=True):
            if array.dtype != np.float32 or array.shape != tuple(shape):
                raise ValueError(
                    f"expected float32 of shape {tuple(shape)}, received {array.dtype} of shape {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError("it holds infinite values, or some that are not a number")
        return found
    except DAMAGED as error:
        raise RunError(
            f"Run {path.parent.name} cannot be read: {path} is missing or damaged ({error}). "
            "Retrain it on the page Training, or delete it on the page Runs.",
            "--force_train retrains it.",
        ) from None


def read_table(path: Path, numbers: Sequence[str]) -> pd.DataFrame:
    """A table; an empty one if there is none.

    Args:
        numbers: columns that it must have, each of numbers.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path)), float_precision="round_trip", encoding_errors="replace")
        for name in numbers:
            if name not in table or not _is_numeric(table[name]):
                raise ValueError(f"it has no column {name} of numbers")
        return table
    except FileNotFoundError:
        return pd.DataFrame()
    except (ValueError, OSError, OverflowError) as error:
        problem = f"{path} of run {path.parent.name} is damaged ({error})."
        if path.name == layout.SWEEP:
            advice = "Delete that file, and everything is scored again; the network is not affected."
            raise RunError(f"{problem} {advice}") from None
        raise RunError(
            f"{problem} Retrain the run on the page Training, or delete it on the page Runs.",
            "--force_train retrains it.",
        ) from None


def read_sweep(path: Path) -> pd.DataFrame:
    """The scores of a run; see `core.sweep.Bench.score`. An empty table if there are none.

    Raises:
        RunError: if the file is damaged.
    """
    table = read_table(path, ())
    if table.empty:
        return pd.DataFrame()
    table = table.assign(**{name: value for name, value in _BEFORE.items() if name not in table})
    if not is_sweep(table):
        raise RunError(
            f"{path} of run {path.parent.name} is damaged: it holds something else than scores. "
            "Delete that file, and everything is scored again; the network is not affected."
        )
    return table


def is_sweep(table: pd.DataFrame) -> bool:
    """Whether a table holds scores and nothing else."""
    texts = {"method": METHODS, "scope": SCOPES, "recovery": RECOVERIES}
    if not all(name in table and table[name].isin([*known]).all() for name, known in texts.items()):
        return False
    numbers = table.drop(columns=[*texts, "ranking"], errors="ignore")
    if not {"seed", "sparsity", "accuracy", "loss"} <= {*numbers} or "ranking" not in table:
        return False
    return (
        all(isinstance(name, str) for name in table.ranking)
        and all(_is_numeric(numbers[name]) for name in numbers)
        and numbers.seed.dtype.kind == "i"
        and all(numbers[name].between(0, 1).all() for name in ("sparsity", "accuracy"))
        and all((numbers[name] >= 0).all() for name in ("seed", "loss"))
    )


def _is_numeric(column: pd.Series) -> bool:
    """Whether it holds numbers; what was never measured is empty throughout."""
    return column.dtype.kind in "iuf" or bool(column.isna().all())


def to_csv(table: pd.DataFrame) -> str:
    """A table as the cache keeps it."""
    return table.to_csv(index=False, lineterminator="\n")
