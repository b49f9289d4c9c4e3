"""How far work on a run is: said in a file, which whoever stops the work removes."""

import json
import shutil

import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.errors import CancelledError
from core.runs import Work, layout, read_work, told_work
from core.settings import PROJECT
from tests.conftest import SMALL

FAR = Work(1.25, 4, most_bytes=900, epoch=1, epochs=4, bytes=880, val_accuracy=0.5)


def test_how_far_it_is_stands_in_the_cache_until_somebody_stops_it(tmp_path):
    path = tmp_path / "folder" / "work.txt"
    with (
        pytest.raises(CancelledError, match=r"^It was stopped\.$"),
        told_work(path, Work(0, 4), "It was stopped.") as tell,
    ):
        assert read_work(path) == Work(0, 4)
        tell(FAR)
        assert read_work(path) == FAR
        path.unlink()
        tell(FAR)
    assert not path.exists(), "what was stopped does not begin anew"
    with told_work(path, Work(0, 1), "It was stopped."):
        assert path.exists()
    assert read_work(path) is None


def test_work_goes_on_while_how_far_it_is_cannot_be_written(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    path = tmp_path / "work.txt"
    with told_work(path, Work(0, 4), "It was stopped.") as tell:
        monkeypatch.setattr(runs.work, "write_text", full)
        tell(FAR)
        assert read_work(path) == Work(0, 4)


def test_its_number_and_part_are_those_of_the_network_at_work():
    parts = (0, 0.5, 1, 1.01, 3.9, 4)
    assert [Work(done, 4).number for done in parts] == [1, 1, 1, 2, 4, 4]
    assert [Work(done, 4).fraction for done in parts] == [done / 4 for done in parts]


IMPOSSIBLE = {
    "nothing done": {"done": None},
    "less than nothing": {"done": -1},
    "more than all": {"done": 4.5},
    "all of nothing": {"done": 0, "total": 0},
    "text": {"total": "<b>"},
    "later than the last epoch": {"epoch": 5},
    "accuracy of 7": {"val_accuracy": 7},
    "accuracy below nothing": {"val_accuracy": -0.1},
    "list": {"bytes": []},
}


@pytest.mark.parametrize("changes", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("page", ["size", "smallest"])
def test_what_cannot_be_is_not_shown(cache, trained_cache, page, changes):
    shutil.copytree(trained_cache, cache, dirs_exist_ok=True)
    run = runs.open_run(SMALL.run_id, cache)
    known = {"done": 2, "total": 4, "most_bytes": 900, "epoch": 4, "epochs": 4, "bytes": 880, "val_accuracy": 1}
    what = jobs.SPEED if page == "size" else jobs.SMALLEST
    path = layout.work(run.root, run.id, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    with run.lock(what):
        path.write_text(json.dumps(known))
        assert jobs.work_on(run, what).done == 2
        path.write_text(json.dumps(known | changes))
        assert jobs.work_on(run, what) is None
        app = AppTest.from_file(str(PROJECT / "pages" / f"{page}.py"), default_timeout=60)
        app.query_params["run"] = run.id
        app.run()
        assert not app.exception
        assert not app.error
