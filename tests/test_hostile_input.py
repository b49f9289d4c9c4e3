"""Whatever comes from outside is refused in a sentence or shown as text: addresses, flags, tickets, notes, tables."""

import contextlib
import csv
import io
import json
import re
import shutil

import pandas as pd
import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from core import command, links, runs
from core.config import PARAMETERS, TrainingConfig, parse_k_values
from core.errors import ConfigError, KnownError
from core.exports.tables import csv_bytes
from core.jobs import open_queue
from core.pruning import Sparsity
from core.runs import Notes
from core.settings import PROJECT
from core.sweep import Criterion
from pages.shared.frame import plain
from tests.commands import run_command
from tests.conftest import SMALL

NASTY = [
    "../../etc/passwd",
    "~l1_reg." + "0" * 400,
    "x~l1_reg.1" + "0" * 400,
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/x.png) [y](javascript:alert(1)) :red[z] :smile: $x$",
    '=HYPERLINK("http://evil.example")',
    "+1+1\t@SUM(A1)",
    "\u202egnp.exe\u202c",
    "\x00\x01\x1b[31m\r\n",
    "٣",
    "nan",
    "inf",
    "-1",
    "1e400",
    "1e999",
    "9" * 400,
    "9" * 5_000,
    "x" * 10_240,
    "",
    " ",
    "~" * 300,
    "\ud83d",
]
FORMULAS = ["=1+1", " =1", "+x", "-x", "@x", "\t=1", "\r=1", "＝1", "a\n=1", "-1.5", "x"]
texts = st.sampled_from(NASTY) | st.text(max_size=60) | st.text("0123456789eE.,;:~-+naif_ ", max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([10**400, -(10**400), *NASTY]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
few = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def result_of(call, *arguments):
    """What it returns; None if it is refused in a sentence. Everything else is a bug."""
    try:
        return call(*arguments)
    except KnownError as error:
        said = str(error)
    assert len(said) > 20
    return None


@few
@given(texts, st.lists(st.tuples(st.sampled_from([*PARAMETERS, "momentum"]), texts), max_size=3))
def test_any_address_of_a_run_is_read_or_refused(run_id, parts):
    text = "~".join([run_id, *(f"{name}.{value}" for name, value in parts)])
    _, config = links.parse_address(text)
    assert config is None or isinstance(config, TrainingConfig)


@few
@given(texts)
def test_any_list_key_or_criterion_is_read_or_refused(text):
    sparsities = result_of(parse_k_values, text)
    assert sparsities is None or all(0 <= k <= 1 for k in sparsities)
    k = Sparsity.parse(text, 4)
    assert k is None or Sparsity.parse(str(k), 4) == k
    for about in PARAMETERS.values():
        result_of(about.kind.read, "x", text)
    with contextlib.suppress(ValueError):
        Criterion.parse(text)


@few
@given(st.dictionaries(st.sampled_from([*PARAMETERS, "momentum"]), json_values, max_size=4))
def test_any_values_are_a_configuration_or_refused(values):
    config = result_of(TrainingConfig.from_saved, values)
    if config is not None:
        assert TrainingConfig.from_saved(json.loads(json.dumps(config.to_dict()))) == config


@few
@given(json_values, json_values, json_values)
def test_any_ticket_leaves_the_list_of_the_queue_as_it_is(cache, added, failure, config):
    queue = open_queue(cache)
    good = TrainingConfig(dataset="optdigits", epochs=2)
    queue.add([good])
    bad = TrainingConfig(dataset="optdigits", epochs=3)
    for values in (
        {"added": added, "failure": failure, "config": bad.to_dict()},
        {"added": 1, "failure": failure, "config": config},
        [added],
        failure,
    ):
        (queue.folder / f"{bad.run_id}.json").write_text(json.dumps(values), "utf-8", "surrogatepass")
        found = queue.entries()
        assert good in [entry.config for entry in found]
        assert all(entry.failure is None or isinstance(entry.failure, str) for entry in found)


@few
@given(texts, texts)
def test_any_name_and_note_becomes_text_that_can_be_written(name, note):
    notes = result_of(Notes, name, note)
    if notes is None:
        assert len(name) > 80 or len(note) > 2_000
        return
    assert "\n" not in notes.name
    assert not set(notes.name + notes.note) & set("\x00\x1b\r\u202e\u2066\u200f")
    (notes.name + notes.note).encode()


@few
@given(texts)
def test_any_name_of_a_run_is_inside_the_cache_or_refused(cache, name):
    run = result_of(runs.open_run, name, cache)
    if run is not None:
        assert run.folder.resolve().parent == cache.resolve()


@few
@given(st.lists(st.sampled_from([*FORMULAS, *NASTY])))
def test_no_cell_becomes_a_formula(cells):
    cells = [cell.encode("utf-8", "replace").decode() for cell in cells]
    made = csv_bytes(pd.DataFrame({"=name": pd.Series(cells, dtype=object), "number": range(len(cells))}))
    for row in csv.reader(io.StringIO(made.decode(), newline="")):
        for cell in row:
            assert not re.match(r"\s*[=+@＝＋－＠]", cell), cell
            assert not re.match(r"\s*-(?![\d.]*$)", cell), cell


@few
@given(texts)
def test_what_others_wrote_is_no_markdown(text):
    shown = plain(text)
    assert "\n" not in shown
    for found in re.finditer(r"[`*\[\]<>~$]", shown):
        assert shown[found.start() - 1] == "\\"
    assert not re.search(r":[a-z]|https?://|www\.", shown, re.IGNORECASE)
    read = re.sub(r"\\(_|[^\w\s])", r"\1", shown.replace("\u2060", ""))
    assert read == " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("\u2060", "")


QUERIES = {
    "training": ("epochs", "learning_rate", "seed", "batch_size", "num_valid", "hidden_units", "dataset", "keep_best"),
    "grid": ("grid_seed", "grid_learning_rate", "grid_l1_reg", "grid_dataset", "epochs"),
    "runs": ("search", "datasets", "statuses"),
    "comparison": ("runs", "k_vals", "x", "y", "orders", "states"),
    "pruning": ("run", "k", "method", "ranking", "scope", "state", "image"),
    "present": ("run", "k", "method", "ranking", "scope", "state", "image"),
    "draw": ("run", "k", "method", "image", "drawing"),
    "smallest": ("run",),
}


@pytest.mark.parametrize("page", QUERIES)
def test_no_address_takes_a_page_down(cache, trained_cache, page):
    """Every parameter with nasty values at once; those that name a run or not, where there is one to show."""
    shutil.copytree(trained_cache, cache, dirs_exist_ok=True)
    for shift in range(0, len(NASTY) - 1, 4):
        app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
        for place, name in enumerate(QUERIES[page]):
            value = NASTY[(shift + place) % len(NASTY)]
            if name == "run" and shift % 8:
                value = SMALL.run_id  # a page that shows no run looks at nothing else
            app.query_params[name] = value.encode("utf-8", "replace").decode()
        app.run()
        assert not app.exception, (page, shift, [error.message for error in app.exception])
        for box in (*app.error, *app.warning, *app.info):
            assert not re.search(r"(?<!\\)!?\[[^\]]*\]\(", box.value), box.value
            assert "https://evil" not in box.value
            assert "http://evil" not in box.value


def test_no_number_in_an_address_takes_the_training_page_down(cache):
    app = AppTest.from_file(PROJECT / "pages" / "training.py", default_timeout=60)
    given = {"epochs": "nan", "learning_rate": "1e999", "seed": "-1", "batch_size": "1e400", "hidden_units": "8"}
    for name, value in given.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    usual = {name: TrainingConfig.parameters()[name].default for name in ("epochs", "batch_size")}
    assert "seed: expected 0 to 4,294,967,295. Received: -1." in app.error[0].value
    assert {name: app.number_input(key=name).value for name in usual} == usual
    assert app.text_input(key="hidden_units").value == "8"


@pytest.mark.parametrize("text", ["~nosuchuser/x", "x" * 5_000, "/".join(["y" * 200] * 30)])
def test_a_path_that_no_system_can_have_is_refused_in_a_sentence(monkeypatch, text):
    monkeypatch.setattr(command.flags, "FLAGS", {"output_dir": type("Flag", (), {"value": text})})
    with pytest.raises(ConfigError, match="output_dir: not a valid path") as caught:
        command.chosen_path("output_dir")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["train", "finetune", "recover", "grid", "repair", "speed", "export", "smallest"])
def test_help_says_what_every_flag_is_for(name):
    done = run_command(name, "--help", NETWORK_PRUNING_CACHE="/the/cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert "(default: '/the/cache')" in done.stdout
    told = re.findall(r"^  --(?:\[no\])?\w+: (?:<[^>]*>: )?(.+)", done.stdout, re.MULTILINE)
    assert len(told) > 3
    assert [about for about in told if about.startswith("(") or len(about.split()) < 3] == []


def test_help_is_no_failure(monkeypatch):
    monkeypatch.setattr(command.flags, "FLAGS", lambda arguments: (_ for _ in ()).throw(SystemExit(1)))
    with pytest.raises(SystemExit) as ended:
        command._parse_flags(["core.train", "--help"])
    assert ended.value.code == 0
    assert flags.FLAGS is not None
