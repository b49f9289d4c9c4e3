"""Arrays come out of a file as they went in, if they are what it says, and no larger than they may be."""

import ast
import gc
import io
import sys
import zipfile
from concurrent import futures

import numpy as np
import pytest

from core.arrays import DAMAGED, Arrays, open_arrays

ARRAYS = {
    "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "one": np.array(7, np.uint8),
    "none": np.zeros((0, 4)),
    "words": np.array(["a", "Größe"]),
    "text": np.array("a text without dimensions"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_out_of_a_file_as_they_went_in(tmp_path, save):
    save(tmp_path / "file.npz", **ARRAYS)
    arrays = open_arrays(tmp_path / "file.npz", sum(array.nbytes for array in ARRAYS.values()), len(ARRAYS))
    assert list(arrays) == list(ARRAYS)
    assert len(arrays) == len(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays.kind(name) == (array.shape, array.dtype)
    with pytest.raises(KeyError):
        arrays["other"]


def packed(content: bytes, method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as members:
        members.writestr("kernel.npy", content)
    return file


@pytest.fixture
def member():
    """An array as it lies in a file, in the second version of NumPy's format."""
    content = io.BytesIO()
    np.lib.format.write_array(content, ARRAYS["kernel"], version=(2, 0))
    return content.getvalue()


def test_arrays_are_read_up_to_the_bytes_that_they_may_have(member):
    np.testing.assert_array_equal(Arrays(packed(member), len(member))["kernel"], ARRAYS["kernel"])
    with pytest.raises(ValueError, match=f"its arrays have {len(member)} bytes; expected at most {len(member) - 1}"):
        Arrays(packed(member), len(member) - 1)
    with pytest.raises(ValueError, match="compressed in an unknown way"):
        Arrays(packed(member, zipfile.ZIP_BZIP2), len(member))


@pytest.mark.parametrize(
    ("said", "instead", "why"),
    [
        (b"(2, 3)", b"(2, 4)", "kernel says that its shape is"),
        (b"(2, 3)", b"(2, 2)", "kernel says that its shape is"),
        (b"(2, 3)", b"(-2,-3)", "kernel says that its shape is"),
        (b"<f4", b"|O4", "kernel does not hold numbers or text"),
        (b"<f4", b"<U0", "kernel does not hold numbers or text"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(member, said, instead, why):
    # One space less fills the place of what is longer.
    damaged = member.replace(said, instead, 1).replace(b" " * (len(instead) - len(said)) + b"\n", b"\n", 1)
    assert len(damaged) == len(member)
    with pytest.raises(ValueError, match=why):
        Arrays(packed(damaged), len(damaged)).kind("kernel")


def test_threads_may_read_arrays_at_a_time(member):
    """Python before 3.11.8 and 3.12.2 fails where one thread parses while another does. Here the search for garbage
    interrupts the one, and lets the other read until it has, or waits for the first."""

    def read():
        return Arrays(packed(member), len(member))["kernel"].shape

    def interrupt(*_):
        if sys._getframe(1).f_code is ast.parse.__code__ and not others:
            others.append(thread.submit(read))
            futures.wait(others, timeout=0.2)

    others = []
    normally = gc.get_threshold()
    gc.set_threshold(1)
    gc.callbacks.append(interrupt)
    try:
        with futures.ThreadPoolExecutor(1) as thread:
            assert read() == (2, 3)
            assert all(other.result() == (2, 3) for other in others)
    finally:
        gc.callbacks.remove(interrupt)
        gc.set_threshold(*normally)


def test_a_file_that_is_larger_than_its_arrays_may_be_is_not_opened(tmp_path, monkeypatch):
    np.savez(tmp_path / "file.npz", **ARRAYS)
    with (tmp_path / "file.npz").open("ab") as file:
        file.truncate(2**40)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it is read"))
    with pytest.raises(ValueError, match="it is larger than 12,000 bytes"):
        open_arrays(tmp_path / "file.npz", 10_000, 1)


def test_a_file_of_arrays_that_is_missing_or_empty_is_damaged(tmp_path):
    (tmp_path / "nothing.npz").write_bytes(b"")
    for name in ("nothing.npz", "nowhere.npz"):
        with pytest.raises(DAMAGED):
            open_arrays(tmp_path / name, 10**6, 1)
