"""What an interrupted training goes on from: everything that decides its next epoch, as it was after the last one.

The file is a sequence of NumPy arrays without pickle, the first of which is a text that says what the others are, and
a SHA-256 over all of them at its end.
"""

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from core.arrays import damaged
from core.errors import RunError
from core.files import open_own, write_atomic
from core.runs.formats import to_csv

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """A fit after an epoch.

    Attributes:
        history: one row an epoch, as `core.training.fit.fit` gives it.
        weights: float32, one array a layer.
        optimizer: the optimizer's variables, in its order.
        best_accuracy: on the validation images, of the epoch that is kept so far; -1 without one.
        best: the weights of that epoch.
        masks: what is not pruned, of each hidden layer, in a training that prunes; else empty.
        step: how many steps the masks have seen.
    """

    history: pd.DataFrame
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best_accuracy: float = -1.0
    best: list[np.ndarray] | None = None
    masks: tuple[np.ndarray, ...] = ()
    step: int = 0

    @property
    def epoch(self) -> int:
        """The last one that was completed, from 1."""
        return len(self.history)


def write_checkpoint(path: Path, checkpoint: Checkpoint, origin: dict[str, Any]) -> None:
    """Write a checkpoint beside the earlier one, and put it in its place.

    Args:
        origin: plain JSON values that decide the network; reading requires the same.

    Raises:
        OSError: if the disk is full or the folder not writable. The earlier one is then as it was.
    """
    groups = (checkpoint.weights, checkpoint.optimizer, checkpoint.best or [], checkpoint.masks)
    about = {
        "origin": origin,
        "epoch": checkpoint.epoch,
        "history": to_csv(checkpoint.history),
        "best_accuracy": checkpoint.best_accuracy,
        "step": checkpoint.step,
        "counts": [len(group) for group in groups],
    }

    def write(file: IO[bytes]) -> None:
        hashed = _Hashed(file)
        np.save(hashed, np.array(json.dumps(about)), allow_pickle=False)
        for group in groups:
            for array in group:
                np.save(hashed, array, allow_pickle=False)
        file.write(hashed.hash.digest())

    write_atomic(path, write)


def read_checkpoint(path: Path, origin: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint of a training that would give the same network; None if there is none, or only of another one.

    Args:
        origin: as it was written.

    Raises:
        RunError: if the file is damaged; the message does not say what follows from that.
    """
    try:
        with open_own(path) as file, damaged():
            payload = os.fstat(file.fileno()).st_size - _DIGEST
            if payload <= 0 or _hash(file, payload) != file.read(_DIGEST):
                raise ValueError("its checksum is wrong")
            file.seek(0)
            about = json.loads(str(np.load(file, allow_pickle=False)))
            if about["origin"] != json.loads(json.dumps(origin)):
                return None
            groups = [[np.load(file, allow_pickle=False) for _ in range(count)] for count in about["counts"]]
            kernels, optimizer, best, masks = groups
            history = pd.read_csv(io.StringIO(about["history"]), float_precision="round_trip")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"The checkpoint {path} is damaged: {error}.") from None
    return Checkpoint(history, kernels, optimizer, about["best_accuracy"], best or None, tuple(masks), about["step"])


def last_epoch(path: Path) -> int:
    """After which epoch a checkpoint was written; 0 if there is none. Reads only its beginning, and checks nothing."""
    try:
        epoch = _about(path)["epoch"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return epoch if type(epoch) is int and epoch > 0 else 0


def config_of_checkpoint(path: Path) -> dict[str, Any]:
    """The configuration of the training that wrote a checkpoint, as `core.config.read_config` takes it. Reads only its
    beginning, and checks nothing.

    Raises:
        OSError, ValueError: if there is no checkpoint, or it is damaged; each says why.
    """
    try:
        return _about(path)["origin"]["config"]
    except (LookupError, TypeError):
        raise ValueError("its checkpoint holds no configuration") from None


def _about(path: Path) -> dict[str, Any]:
    """The text at the beginning, which says what follows."""
    with open_own(path) as file, damaged():
        return json.loads(str(np.load(file, allow_pickle=False)))


def _hash(file: IO[bytes], size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0:
        chunk = file.read(min(size, 1 << 20))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.digest()


class _Hashed:
    """A file to write to that keeps the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]):
        self._file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._file.write(data)
