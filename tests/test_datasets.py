import gzip
import os
import struct

import numpy as np
import pytest

from core import datasets
from core.config import DATASETS
from core.datasets import DatasetError, load_dataset


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder whose images are blank and whose labels go round."""
    monkeypatch.setenv("NETWORK_PRUNING_DATA", str(tmp_path / "data"))
    path = tmp_path / "data" / "digits"
    path.mkdir(parents=True)
    for split, size in (("train", 60_000), ("t10k", 10_000)):
        (path / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((size, 28, 28))))
        (path / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(size) % 10))
    return path


def test_optdigits_needs_nothing_but_scikit_learn(cache, monkeypatch):
    monkeypatch.delenv("NETWORK_PRUNING_DATA", raising=False)
    data = load_dataset("optdigits")
    spec = DATASETS["optdigits"]
    assert data.train.images.shape == (spec.train_size, 64)
    assert data.test.images.shape == (spec.test_size, 64)
    assert data.test.images.dtype == np.float32
    assert data.test.images.min() == 0
    assert data.test.images.max() == 1
    assert set(data.test.labels) == set(range(10))
    assert datasets.is_cached("optdigits")
    np.testing.assert_array_equal(load_dataset("optdigits").test.images, data.test.images)


def test_every_digit_of_uci_is_either_trained_on_or_tested_on(cache):
    """Each once and in their own order: an image that was trained on is not tested on."""
    from sklearn.datasets import load_digits

    data, bunch = load_dataset("optdigits"), load_digits()
    for found, expected in (("images", bunch.data / 16), ("labels", bunch.target)):
        parts = [getattr(split, found) for split in (data.train, data.test)]
        np.testing.assert_array_equal(np.concatenate(parts), expected.astype(parts[0].dtype))


def test_the_data_folder_is_read_and_a_changed_one_read_again(cache, folder):
    assert load_dataset("digits").test.labels[:3].tolist() == [0, 1, 2]
    assert datasets.is_cached("digits")
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx((np.arange(10_000) + 5) % 10))
    os.utime(labels, (1, 1))
    assert not datasets.is_cached("digits")
    assert load_dataset("digits").test.labels[:3].tolist() == [5, 6, 7]


def test_the_cache_answers_when_the_folder_is_no_longer_named(cache, folder, monkeypatch):
    load_dataset("digits")
    monkeypatch.delenv("NETWORK_PRUNING_DATA")
    assert load_dataset("digits").test.labels[1] == 1


def test_a_damaged_cache_is_made_anew(cache, folder):
    load_dataset("digits")
    path = cache / "datasets" / "digits.npz"
    path.write_bytes(path.read_bytes()[:1000])
    assert load_dataset("digits").test.labels[1] == 1


def test_real_mnist(cache, mnist):
    data = load_dataset("digits")
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.images.shape == (60_000, 784)
    assert np.count_nonzero(~data.train.images.any(axis=0)) == 67


def damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "not gzip":
        path.write_bytes(b"<html>not found</html>")
    elif how == "missing":
        path.unlink()
    elif how == "wrong magic":
        path.write_bytes(gzip.compress(b"\0\0\0\1" + gzip.decompress(content)[4:], 1))
    elif how == "bit flip":
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 0xFF]) + content[-4:])


@pytest.mark.parametrize("how", ["truncated", "not gzip", "missing", "wrong magic", "bit flip"])
def test_damaged_files_are_named_with_a_way_out(cache, folder, how):
    damage(folder / "train-images-idx3-ubyte.gz", how)
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte.gz.*(Replace|Put)"):
        load_dataset("digits")


def test_labels_out_of_range_and_wrong_sizes_are_refused(cache, folder):
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.full(10_000, 11)))
    with pytest.raises(DatasetError, match="Received labels to 11"):
        load_dataset("digits")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(5)))
    with pytest.raises(DatasetError, match=r"Received \(10000, 28, 28\) and \(5,\)"):
        load_dataset("digits")


def test_a_failed_download_names_three_ways_out(cache, monkeypatch):
    import keras

    def no_network():
        raise OSError("Name or service not known")

    monkeypatch.delenv("NETWORK_PRUNING_DATA", raising=False)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", no_network)
    with pytest.raises(DatasetError) as failure:
        load_dataset("digits")
    for part in ("Name or service not known", "Connect to the network", "NETWORK_PRUNING_DATA", "optdigits"):
        assert part in str(failure.value)


def test_unknown_names_are_refused():
    with pytest.raises(DatasetError, match="Received: 'cifar'"):
        load_dataset("cifar")
