import gzip
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from core import datasets
from core.config import DATASETS
from core.datasets import DatasetError, load_dataset
from core.settings import PROJECT


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


def test_validation_images_are_the_first_ones_and_made_without_the_others(cache):
    data = load_dataset("optdigits")
    few = data.validation(100)
    assert "train" not in vars(data)
    np.testing.assert_array_equal(few.images, data.train.images[:100])
    np.testing.assert_array_equal(few.labels, data.train.labels[:100])


def test_pixels_become_parts_of_the_brightest_and_nobody_may_write_to_them(cache, folder):
    images = np.zeros((10_000, 28, 28))
    images[1, 0, :3] = (255, 51, 1)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx(images))
    test = load_dataset("digits").test
    assert test.images.shape == (10_000, 784)
    assert test.images.dtype == np.float32
    assert test.images[1, :4].tolist() == [1, np.float32(0.2), np.float32(1) / np.float32(255), 0]
    assert (test.images.sum(axis=1) > 0).nonzero()[0].tolist() == [1]
    assert test.labels.dtype == np.int64
    for array in (test.images, test.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte.gz", (60_000, 28, 27), "Received (60000, 28, 27) and (60000,)"),
        ("t10k-images-idx3-ubyte.gz", (9_999, 28, 28), "Received (9999, 28, 28) and (10000,)"),
        ("t10k-images-idx3-ubyte.gz", (10_001, 28, 28), "shape (10001, 28, 28), more than 7,840,016 bytes"),
        ("train-labels-idx1-ubyte.gz", (60_010,), "shape (60010,), more than 60,016 bytes"),
        ("t10k-labels-idx1-ubyte.gz", (10_000, 1), "2049 and 1 dimension. Received magic number 2050"),
    ],
)
def test_files_of_other_shapes_say_what_was_expected_and_received(cache, folder, name, content, said):
    (folder / name).write_bytes(idx(np.zeros(content)))
    with pytest.raises(DatasetError) as failure:
        load_dataset("digits")
    assert said in str(failure.value)
    assert "Replace the" in str(failure.value) or "Replace it by a fresh copy." in str(failure.value)


@pytest.mark.parametrize(
    ("label", "pixel", "said"),
    [
        (9, 16, None),
        (10, 16, "labels from 0 to 9 and pixels to 16. Received labels to 10 and pixels to 16."),
        (9, 17, "Received labels to 9 and pixels to 17."),
    ],
)
def test_labels_and_pixels_up_to_the_largest_are_taken(cache, monkeypatch, label, pixel, said):
    raw = datasets._read_optdigits()
    raw["test_labels"][-1], raw["test_images"][-1] = label, pixel
    monkeypatch.setattr(datasets, "_read_optdigits", lambda: raw)
    if said is None:
        assert load_dataset("optdigits").test.labels[-1] == 9
        return
    with pytest.raises(DatasetError, match=said):
        load_dataset("optdigits")


def test_the_digits_of_scikit_learn_are_those_in_their_own_order(cache):
    from sklearn.datasets import load_digits

    bunch, data = load_digits(), load_dataset("optdigits")
    for one, all_of_them in (("images", bunch.data / 16), ("labels", bunch.target)):
        kept = np.concatenate([getattr(data.train, one), getattr(data.test, one)])
        np.testing.assert_array_equal(kept, all_of_them)


def test_what_keras_gives_is_kept_as_what_it_is(cache, monkeypatch):
    """As a download would, without one."""
    generator = np.random.default_rng(0)
    train, test = (
        (generator.integers(0, 256, (size, 28, 28), np.uint8), generator.integers(0, 10, size, np.uint8))
        for size in (60_000, 10_000)
    )
    monkeypatch.delenv("NETWORK_PRUNING_DATA", raising=False)
    module = SimpleNamespace(load_data=lambda: (train, test))
    keras = SimpleNamespace(datasets=SimpleNamespace(fashion_mnist=module))
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert datasets.may_be_missing("fashion")
    load_dataset("fashion")
    assert not datasets.may_be_missing("fashion")
    monkeypatch.setitem(sys.modules, "keras", None)
    data = load_dataset("fashion")
    for split, (images, labels) in ((data.train, train), (data.test, test)):
        np.testing.assert_array_equal(split.labels, labels)
        np.testing.assert_array_equal(split.images[::100], images[::100].reshape(-1, 784) / np.float32(255))


def test_whether_a_dataset_may_be_missing(cache, monkeypatch):
    assert [name for name in DATASETS if datasets.may_be_missing(name)] == ["digits", "fashion"]
    assert not datasets.is_cached("optdigits")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DatasetError, match="pip install -r requirements"):
        load_dataset("optdigits")


@pytest.mark.parametrize("what", ["size", "time", "one is gone"])
def test_any_change_of_a_file_in_the_data_folder_is_seen(cache, folder, what):
    load_dataset("digits")
    path = folder / "train-labels-idx1-ubyte.gz"
    status = path.stat()
    if what == "one is gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\0" * (what == "size"))
        later = status.st_mtime_ns + (what == "time")
        os.utime(path, ns=(later, later))
    assert not datasets.is_cached("digits")
    if what == "one is gone":
        with pytest.raises(
            DatasetError, match=r"Cannot find .*digits/train-labels-idx1-ubyte\.gz\. NETWORK_PRUNING_DATA"
        ):
            load_dataset("digits")


def test_a_folder_in_the_place_of_a_file_is_named(cache, folder):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DatasetError, match=r"t10k-labels-idx1-ubyte\.gz: .*Is a directory"):
        load_dataset("digits")


def test_a_dataset_that_cannot_be_kept_is_used_all_the_same(cache, capsys):
    (cache / "datasets").write_text("in the way")
    assert len(load_dataset("optdigits").train.labels) == DATASETS["optdigits"].train_size
    said = capsys.readouterr().err
    assert said == f"warning: cannot keep the decoded dataset in {cache}/datasets/optdigits.npz: File exists\n"


def test_the_command_gets_ready_what_is_named_and_says_so(cache, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["core.datasets", "optdigits"])
    datasets.main()
    assert capsys.readouterr().out == "optdigits: 360 test images ready\n"
    assert datasets.is_cached("optdigits")
    for flag in ("--help", "-h"):
        monkeypatch.setattr(sys, "argv", ["core.datasets", flag])
        datasets.main()
        assert "python -m core.datasets [digits|fashion|optdigits]" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["core.datasets", "cifar"])
    with pytest.raises(SystemExit, match=r"error: Unknown dataset\. Expected one of digits, fashion, optdigits\."):
        datasets.main()
    asked = []
    monkeypatch.setattr(sys, "argv", ["core.datasets"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name: asked.append(name) or load_dataset("optdigits"))
    datasets.main()
    assert asked == [*DATASETS]


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


def test_a_compressed_file_of_gigabytes_is_refused_before_it_is_unpacked(cache, folder):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(2**26), 1) * 32)
    program = (
        "import resource; from core.datasets import load_dataset\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_dataset('digits')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=100)
    said, grown = done.stdout.splitlines()
    assert "DatasetError" in said
    assert "more than" in said
    assert int(grown) < 200_000, f"{int(grown):,} KB were taken"
