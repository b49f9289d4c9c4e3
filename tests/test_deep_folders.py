"""Folders within folders, deeper than Python calls functions: they are listed, counted and removed all the same."""

import subprocess
import sys

import pytest

from core import runs
from core.files import own_files, remove


@pytest.fixture
def deep(tmp_path):
    """A folder with a chain of folders, a file in the last, and beside it a link to what must stay."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept.txt").write_text("kept")
    folder = place = tmp_path / "folder"
    folder.mkdir()
    for _ in range(sys.getrecursionlimit() + 200):
        place = place / "d"
        place.mkdir()
    (place / "last.txt").write_bytes(b"12345")
    (place / "link").symlink_to(tmp_path / "outside")
    yield folder
    subprocess.run(["rm", "-rf", tmp_path], check=True)  # whatever failed: pytest cannot tidy this up


def test_files_are_found_however_deep_and_links_are_not_followed(deep):
    assert [(path.name, size) for path, size in own_files(deep)] == [("last.txt", 5)]


def test_a_deep_folder_is_removed_and_what_its_links_lead_to_stays(deep):
    remove(deep)
    assert not deep.exists()
    assert (deep.parent / "outside" / "kept.txt").read_text() == "kept"


def test_a_run_with_a_deep_folder_is_listed_and_can_be_deleted(cache, deep):
    run, *others = runs.adopt_example(cache)
    (deep / "d").rename(run.folder / "deep")
    assert run.id in runs.runs_table().run.tolist()
    run.delete()
    assert runs.list_runs() == others
    assert not [*cache.glob(".trash-*")]
