"""Keras files that earlier versions open, too: Keras 3.3 and later, whichever 3.x wrote them."""

import io
import json
import zipfile
from typing import Any

_CONFIG, _WEIGHTS, _OPTIMIZER = "config.json", "model.weights.h5", "optimizer"
_NEW_DEFAULTS = {"optional": False, "ragged": False}
"""Settings that earlier versions do not know, at the defaults that mean nothing; all others that are new are None."""


def portable(data: bytes) -> bytes:
    """The same network without what earlier versions of Keras refuse, and without the state of an optimizer.

    Earlier versions refuse settings that they do not know, so those at their defaults are left out. The model is not
    compiled; to train it further, compile it first.

    Args:
        data: a `.keras` file of a Sequential model, as Keras writes it.

    Raises:
        Exception: of many kinds, if it is damaged; see `core.arrays.damaged`.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == _CONFIG:
                config = json.loads(content)
                config.pop("compile_config", None)
                content = json.dumps(_without_defaults(config)).encode()
            elif name == _WEIGHTS:
                content = _without_optimizer(content)
            target.writestr(name, content)
    return packed.getvalue()


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if each is not None and _NEW_DEFAULTS.get(name, ...) != each}
        return {name: _without_defaults(each) for name, each in kept.items()}
    return [_without_defaults(each) for each in value] if isinstance(value, list) else value


def _without_optimizer(weights: bytes) -> bytes:
    # Takes a tenth of a second to import, which only those pay who write such a file.
    import h5py

    # HDF5 does not give room back, so what is kept is copied.
    kept = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(kept, "w") as target:
        for name in source:
            if name != _OPTIMIZER:
                source.copy(name, target)
        target.attrs.update(source.attrs)
    return kept.getvalue()
