"""Files are written whole or not at all, and never read through a link; what fails says what to do."""

import errno
import os
import shutil

import pytest

from core import files
from core.errors import RunWriteError


def test_whoever_has_a_file_open_goes_on_reading_what_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old " * 100_000)
    # Without a buffer, which would hold the whole file already.
    with path.open("rb", buffering=0) as reader:
        begun = reader.read(10)
        files.write_text(path, "new")
        assert begun + reader.read() == b"old " * 100_000
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []

    def fsync(handle: int) -> None:
        (beside,) = [entry for entry in tmp_path.iterdir() if entry != path]
        seen.append((path.read_text(), beside.read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_text(path, "new")
    assert seen == [("old", "new")]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_whoever_shares_a_cache_may_read_what_is_written_and_nothing_else(tmp_path):
    files.write_text(tmp_path / "file", "Größe")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "file").read_bytes() == "Größe".encode()


def test_of_what_a_process_said_the_end_is_read_and_all_of_it_if_it_said_little(tmp_path):
    path = tmp_path / "log.txt"
    for said in (b"", b"x", b"first\nlast", b"\xff" + "Größe".encode()):
        path.write_bytes(said)
        assert files.read_log(path) == files.read_text(path) == said.decode(errors="replace")
    end = b"the end ".rjust(files.MOST_LOG, b".")
    for before in (b"", b"a", b"much" * 1000):
        path.write_bytes(before + end)
        assert files.read_log(path) == end.decode()


def test_files_that_go_while_they_are_listed_are_passed_over(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        (tmp_path / "folder" / f"{name}.txt").write_text(name)
        (tmp_path / "folder" / name / "deeper.txt").write_text("deeper")
    found = files.own_files(tmp_path / "folder")
    first, size = next(found)
    assert size == first.stat().st_size
    shutil.rmtree(tmp_path / "folder")
    assert list(found) == []


def test_what_the_system_says_becomes_a_sentence_with_a_way_out(tmp_path):
    elsewhere = "choose another folder (--output_dir, or NETWORK_PRUNING_CACHE for the app)."
    for code, way_out in {
        errno.ENOSPC: f"Free some space, or {elsewhere}",
        errno.EDQUOT: f"Free some space, or {elsewhere}",
        errno.EACCES: f"Correct the permissions, or {elsewhere}",
        errno.EROFS: f"It can only be read: {elsewhere}",
        errno.EFBIG: "The file is too large. Allow larger files (ulimit -f), and try again.",
        errno.EIO: f"Free some space or correct the permissions, or {elsewhere}",
    }.items():
        with pytest.raises(RunWriteError) as failure, files.os_errors_as("write to x"):
            raise OSError(code, "It says so")
        assert str(failure.value) == f"Cannot write to x: It says so. {way_out}"
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_text("four")
    for read, what, way_out in (
        (lambda: files.read_text(tmp_path / "link"), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.make_folder(tmp_path / "link" / "a" / "b"), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.lock_at(tmp_path / "link"), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.write_text(tmp_path / "link" / "a", ""), "link is a symbolic link.", "Nothing outside"),
        (lambda: files.remove(tmp_path / "link" / "a"), "link is a symbolic link.", "Nothing outside"),
        (
            lambda: files.read_text(tmp_path / "folder"),
            f"Is a directory ({tmp_path}/folder).",
            "Something else lies there",
        ),
        (lambda: files.make_folder(tmp_path / "file"), f"File exists ({tmp_path}/file).", "Something else lies there"),
    ):
        with pytest.raises(RunWriteError) as failure, files.os_errors_as("do it"):
            read()
        place = f"{tmp_path}/" if what.startswith("link") else ""
        assert str(failure.value).startswith(f"Cannot do it: {place}{what} {way_out}")


def test_a_lock_is_held_while_somebody_holds_it_and_never_if_it_can_be_none(tmp_path):
    path = tmp_path / "locks" / "one"
    assert not files.is_held(path)
    assert not path.parent.exists()
    with files.lock_at(path):
        assert files.is_held(path)
    assert not files.is_held(path)
    path.with_name("two").mkdir()
    assert not files.is_held(path.with_name("two"))


def test_the_folder_that_refuses_is_named(tmp_path):
    """A cache whose folder of locks belongs to another user: writing fails there, not in the run."""
    run, locks = tmp_path / "run", tmp_path / ".locks"
    locks.mkdir()
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(locks / "run.lock"))
    said = rf"Cannot write to {run}: Permission denied \({locks}\)\. Correct"
    with pytest.raises(RunWriteError, match=said), files.os_errors_as(f"write to {run}"):
        raise refused
    (locks / "run.lock").touch()
    with pytest.raises(RunWriteError, match=rf"\({locks}/run\.lock\)"), files.os_errors_as(f"write to {run}"):
        raise refused
    with pytest.raises(RunWriteError, match=r"denied\. Correct"), files.os_errors_as(f"write to {locks / 'run.lock'}"):
        raise refused
