"""The datasets: where they come from, how they are checked, and the arrays they become.

`python -m core.datasets digits` fetches one ahead of time.
"""

import contextlib
import gzip
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from core.arrays import DAMAGED, open_arrays
from core.config import DATASETS, DatasetSpec
from core.errors import DatasetError, KnownError
from core.files import make_folder, remove, write_atomic
from core.settings import cache_root, data_folder, quiet_keras
from core.terminal import echo

_IDX_FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
_MOST_STAMP = 2**16
"""Bytes of what tells the files that a dataset was decoded from: the path of a folder, and numbers."""
_KERAS_NAMES = {"digits": "mnist", "fashion": "fashion_mnist"}


@dataclass(frozen=True)
class Split:
    """Images, float32 of shape (n, inputs) in [0, 1], and their labels, int64 of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


class Dataset:
    """One dataset; each split is decoded the first time it is asked for.

    Args:
        raw: images and labels in bytes, such as "test_images".
        path: the file that these are read from. It is removed if it turns out to be damaged.
    """

    def __init__(self, spec: DatasetSpec, raw: Mapping[str, np.ndarray], path: Path | None = None):
        self.spec = spec
        self._raw = raw
        self._path = path

    @cached_property
    def train(self) -> Split:
        return self._split("train")

    @cached_property
    def test(self) -> Split:
        return self._split("test")

    def validation(self, count: int) -> Split:
        """The first training images, which a training holds out, without making the others: those take much memory."""
        return self._split("train", count)

    def _split(self, name: str, count: int | None = None) -> Split:
        try:
            images, labels = self._raw[f"{name}_images"], self._raw[f"{name}_labels"]
        except DAMAGED as error:
            if self._path:
                with contextlib.suppress(OSError):
                    remove(self._path)
            raise DatasetError(
                f"The decoded images of {self.spec.title} in the cache were damaged: {error}. Try again: they are "
                "decoded again. If that fails, too, delete the folder datasets in the cache."
            ) from None
        _check_split(self.spec, name, images, labels, f"The decoded images of {self.spec.title} in the cache")
        images, labels = images[:count], labels[:count]
        pixels = images.reshape(len(images), -1).astype(np.float32) / np.float32(self.spec.max_pixel)
        labels = labels.astype(np.int64)
        # Shared between sessions, so read-only.
        pixels.setflags(write=False)
        labels.setflags(write=False)
        return Split(pixels, labels)


def load_dataset(name: str, root: Path | None = None) -> Dataset:
    """A dataset by name: `digits`, `fashion` or `optdigits`.

    The first two come from the folder named by `NETWORK_PRUNING_DATA` if that is set (IDX `.gz` files,
    one subfolder a dataset), else from `keras.datasets`; `optdigits` comes with scikit-learn. Decoded
    arrays are left in the cache, and later calls read only those.

    Args:
        name: a name in `core.config.DATASETS`.
        root: the cache folder; by default the project's own.

    Raises:
        DatasetError: if the dataset cannot be had or is damaged.
    """
    if name not in DATASETS:
        raise DatasetError(f"Unknown dataset. Expected one of {', '.join(DATASETS)}. Received: {name!r}.")
    cached = _open_cached(name, root)
    if cached is not None:
        return cached
    raw = _read_source(name)
    _check(name, raw, f"the {DATASETS[name].title} files")
    _store(_cached_path(name, root), raw, _stamp(name))
    return _open_cached(name, root) or Dataset(DATASETS[name], raw)


def is_cached(name: str, root: Path | None = None) -> bool:
    """Whether `load_dataset` can answer from the cache, without Keras, scikit-learn or a network."""
    return _open_cached(name, root) is not None


def may_be_missing(name: str, root: Path | None = None) -> bool:
    """Whether it must be found out first if a dataset can be had: all that is not decoded yet, but for the one that
    comes with a package."""
    return name in _KERAS_NAMES and not is_cached(name, root)


def _cached_path(name: str, root: Path | None) -> Path:
    return (root or cache_root()).resolve() / "datasets" / f"{name}.npz"


def _open_cached(name: str, root: Path | None) -> Dataset | None:
    """The cached arrays, unless there are none, they are damaged, or the data folder has other files now."""
    spec = DATASETS[name]
    images = spec.train_size + spec.test_size
    try:
        arrays = open_arrays(_cached_path(name, root), images * (spec.inputs + 1) + _MOST_STAMP, 5)
        stamp = _stamp(name)
        if stamp and str(arrays["stamp"]) != stamp:
            return None
        for split, size in (("train", spec.train_size), ("test", spec.test_size)):
            for part, shape in (("images", (size, spec.side, spec.side)), ("labels", (size,))):
                if arrays.kind(f"{split}_{part}")[0] != shape:
                    return None
        return Dataset(spec, arrays, _cached_path(name, root))
    except DAMAGED:
        return None


def _store(path: Path, raw: dict[str, np.ndarray], stamp: str) -> None:
    try:
        make_folder(path.parent)
        write_atomic(path, lambda file: np.savez(file, stamp=np.array(stamp), **raw))
    except OSError as error:
        # The arrays are in memory, so the work can go on; only the next start will be slower.
        print(f"warning: cannot keep the decoded dataset in {path}: {error.strerror}", file=sys.stderr)


def _data_folder(name: str) -> Path | None:
    folder = data_folder()
    return folder / name if folder and name in _KERAS_NAMES else None


def _stamp(name: str) -> str:
    """What tells the files in the data folder from others; empty if there is no data folder."""
    folder = _data_folder(name)
    if folder is None:
        return ""
    parts = []
    for file in _IDX_FILES.values():
        try:
            status = (folder / file).stat()
        except OSError:
            return str(folder)
        parts.append(f"{status.st_size}:{status.st_mtime_ns}")
    return " ".join([str(folder.resolve()), *parts])


def _read_source(name: str) -> dict[str, np.ndarray]:
    folder = _data_folder(name)
    if folder is not None:
        return {part: _read_idx(folder / file, part) for part, file in _IDX_FILES.items()}
    if name == "optdigits":
        return _read_optdigits()
    return _read_keras(name)


def _read_idx(path: Path, part: str) -> np.ndarray:
    """One IDX file: a magic number, the dimensions as big-endian 32-bit numbers, then the bytes."""
    dimensions = 3 if part.endswith("images") else 1
    spec = DATASETS[path.parent.name]
    size = spec.train_size if part.startswith("train") else spec.test_size
    most = 16 + size * (spec.inputs if part.endswith("images") else 1)
    try:
        with gzip.open(path) as file:
            # One more than is expected shows that there is more, however much it is.
            content = file.read(most + 1)
    except FileNotFoundError:
        raise DatasetError(
            f"Cannot find {path}. NETWORK_PRUNING_DATA must name a folder that holds {path.parent.name}/{path.name}. "
            "Put the file there, or unset NETWORK_PRUNING_DATA to download the dataset instead."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"Cannot read {path}: {error}. Expected a gzip-compressed IDX file. "
            "Replace it by a fresh copy, or unset NETWORK_PRUNING_DATA to download the dataset instead."
        ) from None
    header = 4 + 4 * dimensions
    magic = int.from_bytes(content[:4], "big")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4))
    if magic != 0x800 + dimensions or len(content) != header + int(np.prod(shape, dtype=object)):
        raise DatasetError(
            f"{path} is not the IDX file that was expected: magic number {0x800 + dimensions} and "
            f"{dimensions} dimension{'s' if dimensions > 1 else ''}. Received magic number {magic}, shape {shape}, "
            f"{'more than ' if len(content) > most else ''}{min(len(content), most):,} bytes. "
            "Replace it by a fresh copy."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_keras(name: str) -> dict[str, np.ndarray]:
    quiet_keras()
    import keras

    try:
        module = getattr(keras.datasets, _KERAS_NAMES[name])
        (train_images, train_labels), (test_images, test_labels) = module.load_data()
    except Exception as error:  # urllib, ssl, zipfile, gzip, numpy: whatever the download ends in
        raise DatasetError(
            f"Cannot get {DATASETS[name].title}: NETWORK_PRUNING_DATA is not set, and keras.datasets could not load it "
            f"({error}). Connect to the network and try again; or set NETWORK_PRUNING_DATA to a folder with "
            f"{name}/{_IDX_FILES['train_images']} and its three companions; or use the dataset optdigits, "
            "which needs neither."
        ) from None
    return {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
    }


def _read_optdigits() -> dict[str, np.ndarray]:
    """The UCI digits in their own order; the last 360 are the test set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DatasetError(
            "optdigits comes with scikit-learn, which is not installed. Run: pip install -r requirements.txt"
        ) from None
    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    size = DATASETS["optdigits"].train_size
    return {
        "train_images": images[:size],
        "train_labels": labels[:size],
        "test_images": images[size:],
        "test_labels": labels[size:],
    }


def _check(name: str, raw: dict[str, np.ndarray], what: str) -> None:
    for split in ("train", "test"):
        _check_split(DATASETS[name], split, raw[f"{split}_images"], raw[f"{split}_labels"], what)


def _check_split(spec: DatasetSpec, split: str, images: np.ndarray, labels: np.ndarray, what: str) -> None:
    size = spec.train_size if split == "train" else spec.test_size
    expected = (size, spec.side, spec.side)
    if images.shape != expected or labels.shape != (size,) or not images.dtype == labels.dtype == np.uint8:
        raise DatasetError(
            f"{what}: expected {split} images of shape {expected} and {size:,} labels, in bytes. "
            f"Received {images.shape} and {labels.shape}. Replace the files by a fresh copy."
        )
    if labels.max() >= len(spec.classes) or images.max() > spec.max_pixel:
        raise DatasetError(
            f"{what}: expected {split} labels from 0 to {len(spec.classes) - 1} and pixels to {spec.max_pixel}. "
            f"Received labels to {labels.max()} and pixels to {images.max()}. Replace the files by a fresh copy."
        )


def main() -> None:
    """The command: get the datasets named ready, by default all."""
    names = sys.argv[1:] or list(DATASETS)
    if {"--help", "-h"} & {*names}:
        echo(f"Gets datasets ready.\n\n    python -m core.datasets [{'|'.join(DATASETS)}] ...\n\nWithout a name: all.")
        return
    try:
        for name in names:
            echo(f"{name}: {len(load_dataset(name).test.labels):,} test images ready")
    except KnownError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
