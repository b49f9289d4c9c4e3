"""The page of all runs, by AppTest, and the names and notes that people give to runs."""

import dataclasses
import json
import threading

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from core import files, links, runs
from core.config import TrainingConfig
from core.errors import KnownError, RunBusyError, RunError
from core.runs import Notes, Phase, layout, read_notes, write_notes, write_run
from core.runs.notes import MAX_NAME, MAX_NOTE
from core.settings import PROJECT
from pages.shared import choice, frame

CONFIG = TrainingConfig(dataset="optdigits", epochs=3, hidden_units=(8, 6))
HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def complete(run: runs.Run, config: TrainingConfig, accuracy: float = 0.5) -> None:
    """Put a run into the cache as a training would, without a network in it."""
    with write_run(run, config) as training:
        training.write_history(pd.DataFrame({name: [1.0] for name in HISTORY}))
        training.commit(test_accuracy=accuracy, test_loss=1.0)


def make(**settings) -> runs.Run:
    config = dataclasses.replace(CONFIG, **settings)
    run = runs.open_run(config.run_id)
    complete(run, config)
    return run


def make_failed(**settings) -> runs.Run:
    config = dataclasses.replace(CONFIG, **settings)
    run = runs.open_run(config.run_id)
    with pytest.raises(KnownError), write_run(run, config) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=3)
        raise KnownError("reason")
    return run


@pytest.fixture
def run(cache):
    return make()


def open_page(**query) -> AppTest:
    app = AppTest.from_file(PROJECT / "pages" / "runs.py", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return rerun(app)


def rerun(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def listed(app: AppTest) -> list[str]:
    return app.dataframe[0].value.run.tolist() if app.dataframe else []


def select(app: AppTest, *chosen: runs.Run) -> AppTest:
    rows = [listed(app).index(run.id) for run in chosen]
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    return rerun(app)


def click(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click()
    return rerun(app)


def texts(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.text])


def link(app: AppTest, label: str) -> str:
    """The Markdown link that stands for a link to another page where there is no menu."""
    (found,) = [element.value for element in app.markdown if element.value.startswith(f"[{label}]")]
    return found


def keys(elements: list[Element]) -> set[str]:
    return {element.key for element in elements}


# Notes


@pytest.mark.parametrize(
    "notes",
    [Notes("Baseline"), Notes("", "two\nlines"), Notes("Größe 数字 👩‍🔬", 'quote " and \\ and <b>'), Notes()],
)
def test_notes_read_back_and_the_id_stays(run, notes):
    write_notes(run, Notes("before", "before"))
    write_notes(run, notes)
    assert read_notes(run) == notes
    assert [each.id for each in runs.list_runs()] == [run.id]
    assert run.config() == CONFIG
    assert json.loads((run.folder / layout.NOTES).read_text()) == dataclasses.asdict(notes)


def test_what_somebody_else_wrote_meanwhile_is_replaced_only_by_who_knows_it(run):
    theirs = Notes("theirs", "found\nby them")
    write_notes(run, theirs, Notes())
    with pytest.raises(RunError, match=r"edited elsewhere .* name “theirs” and the note “found\nby them”"):
        write_notes(run, Notes("mine"), Notes())
    assert read_notes(run) == theirs
    write_notes(run, theirs, Notes())
    write_notes(run, Notes("mine"), theirs)
    assert read_notes(run) == Notes("mine")


def test_a_run_without_notes_has_empty_ones(run):
    assert read_notes(run) == Notes("", "")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"name": 3}', b'{"name": "a", "note": null}', b"{}"],
)
def test_a_damaged_file_reads_as_empty_and_can_be_written_again(run, content):
    (run.folder / layout.NOTES).write_bytes(content)
    assert read_notes(run) == Notes()
    assert runs.runs_table().name.tolist() == [""]
    write_notes(run, Notes("again"))
    assert read_notes(run) == Notes("again")


def test_too_long_is_refused_and_cut_where_it_is_in_a_file(run):
    assert len(Notes("a" * MAX_NAME, "b" * MAX_NOTE).note) == MAX_NOTE
    with pytest.raises(RunError, match="name is too long"):
        Notes("a" * (MAX_NAME + 1))
    with pytest.raises(RunError, match="note is too long"):
        Notes("", "b" * (MAX_NOTE + 1))
    (run.folder / layout.NOTES).write_text(json.dumps({"name": "a" * 5000, "note": "b" * 5000}))
    assert read_notes(run) == Notes("a" * MAX_NAME, "b" * MAX_NOTE)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\x00b\x1b[31mc\x7f\x9bd", "ab[31mcd"),
        ("abc\u202egnp.exe\u2066\u2069\u200f", "abcgnp.exe"),
        ("  two\n\t words\r\nhere ", "two words here"),
        ("half \ud83d pair", "half pair"),
        ("\u200b \u200d\u00ad", ""),
    ],
)
def test_a_name_is_one_line_without_tricks(run, written, read):
    assert Notes(written).name == read
    (run.folder / layout.NOTES).write_text(json.dumps({"name": written}))
    assert read_notes(run).name == read


def test_a_note_keeps_its_lines_and_nothing_else_that_controls():
    assert Notes(note="one\r\ntwo\u2028three\x07\n\n\u202dfour\n").note == "one\ntwo\nthree\n\nfour"


def test_only_a_complete_run_can_be_written_on(run):
    failed = make_failed(seed=1)
    run.delete()
    for each in (run, failed):
        with pytest.raises(RunError, match="no complete run"):
            write_notes(each, Notes("name"))


def test_one_person_at_a_time_writes(run):
    with run.lock("notes"), pytest.raises(RunBusyError):
        write_notes(run, Notes("name"))
    with run.lock(), run.lock("sweep"):
        write_notes(run, Notes("beside a training"))
    assert read_notes(run).name == "beside a training"


def test_retraining_keeps_the_notes(run):
    write_notes(run, Notes("before", "it began"))
    with write_run(run, CONFIG) as training:
        write_notes(run, Notes("meanwhile", "it was being trained"))
        training.commit(test_accuracy=0.75, test_loss=1.0)
    assert run.result().test_accuracy == 0.75
    assert read_notes(run) == Notes("meanwhile", "it was being trained")


def test_retraining_writes_no_notes_where_there_were_none(run):
    complete(run, CONFIG, 0.75)
    assert not (run.folder / layout.NOTES).exists()


def test_a_replacement_waits_for_who_is_writing_a_note(run):
    version = run.version()
    replacing = threading.Thread(target=complete, args=(run, CONFIG, 0.75))
    with run.lock("notes"):
        replacing.start()
        replacing.join(0.5)
        assert run.version() == version
        files.write_text(run.folder / layout.NOTES, '{"name": "at the last moment"}')
    replacing.join(30)
    assert run.result().test_accuracy == 0.75
    assert read_notes(run).name == "at the last moment"


def test_a_failed_retraining_leaves_the_notes(run):
    write_notes(run, Notes("mine"))
    make_failed()
    assert read_notes(run) == Notes("mine")


def test_a_run_is_called_by_its_name_wherever_it_is_chosen(run):
    settings = choice.label(CONFIG)
    assert choice.run_labels([run.id]) == {run.id: settings}
    write_notes(run, Notes("Mine"))
    assert choice.run_labels([run.id]) == {run.id: f"Mine ({settings})"}
    other = runs.open_run("own-folder")
    complete(other, CONFIG)
    assert choice.run_labels([other.id]) == {other.id: f"{settings} (own-folder)"}
    write_notes(other, Notes("Mine"))
    assert choice.run_labels([other.id]) == {other.id: f"Mine ({settings}, own-folder)"}


@pytest.mark.parametrize("text", ["a", "`", "a``b`", "**b** <i>c</i> :smile:"])
def test_a_text_of_unknown_origin_is_fenced_whole(text):
    shown = frame.verbatim(text)
    ticks = shown[: len(shown) - len(shown.lstrip("`"))]
    assert shown == f"{ticks} {text} {ticks}"
    assert ticks not in text


def test_a_name_among_the_downloads_formats_nothing(run):
    def page(run_id: str) -> None:
        from pages.shared import downloads

        downloads.offer_one_of([run_id])

    write_notes(run, Notes("**Mine** `x`"))
    app = rerun(AppTest.from_function(page, args=(run.id,)))
    assert app.markdown[0].value == f"**The run** · `` **Mine** `x` ({choice.label(CONFIG)}) ``"


def test_sizes_count_what_an_early_end_left(run):
    failed = make_failed(seed=1)
    sizes = runs.runs_table().set_index("run")["size"]
    assert sizes[run.id] == sum(path.stat().st_size for path in run.folder.iterdir())
    assert sizes[failed.id] == sum(path.stat().st_size for path in failed.part.iterdir()) > 0


def test_free_space_of_a_folder_that_is_still_to_come(tmp_path):
    assert files.free_space(tmp_path / "a" / "b") > 0


# The page


def test_no_run_at_all_says_what_to_do(cache):
    app = open_page()
    assert "No runs yet" in texts(app)
    assert link(app, "Go to Training") == "[Go to Training](training?)"
    assert not app.dataframe


def test_training_comes_first_and_what_ended_early_last(cache):
    failed, older, newer = make_failed(seed=1), make(seed=2), make(seed=3)
    config = dataclasses.replace(CONFIG, seed=4)
    with pytest.raises(KnownError), write_run(runs.open_run(config.run_id), config) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=3)
        assert listed(open_page()) == [config.run_id, newer.id, older.id, failed.id]
        raise KnownError("enough")


def test_one_line_says_how_many_and_how_much(cache, monkeypatch):
    run, _ = make(seed=1), make(seed=2)
    (run.folder / "big").write_bytes(bytes(2_500_000))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 12_340_000_000}))
    assert open_page().caption[0].value == "2 runs · 2.5 MB on disk · 12.3 GB free"
    assert open_page(search="seed=1").caption[0].value == "2 runs · 2.5 MB on disk · 12.3 GB free · 1 shown"


@pytest.mark.parametrize(
    ("search", "seeds"),
    [
        ("baseline", [1]),
        ("BASE line", [1]),
        ("odd result", [2]),
        ("seed=2", [2]),
        ("8-6", [1, 2, 3]),
        ("learning_rate=0.01", [3]),
        ("baseline odd", []),
        ("uci optdigits-e3", [1, 2, 3]),
        ("(.*", []),
        ("   ", [1, 2, 3]),
    ],
)
def test_every_word_of_a_search_must_match(cache, search, seeds):
    made = {1: make(seed=1), 2: make(seed=2), 3: make(seed=3, learning_rate=0.01)}
    write_notes(made[1], Notes("Baseline"))
    write_notes(made[2], Notes("", "An odd\nresult."))
    app = open_page(search=search)
    assert sorted(listed(app)) == sorted(made[seed].id for seed in seeds)
    assert bool(app.dataframe) == bool(seeds)


def test_filters_come_from_the_address_and_go_there(cache):
    small, failed, large = make(seed=1), make_failed(seed=2), make(dataset="digits", num_valid=10)
    assert listed(open_page(datasets=["digits"])) == [large.id]
    assert listed(open_page(statuses=["ended early"])) == [failed.id]
    assert listed(open_page(datasets=["optdigits"], statuses=["complete"])) == [small.id]
    assert len(listed(open_page(datasets=["unheard"], statuses=["of"]))) == 3
    app = open_page()
    app.text_input(key="search").set_value("seed=2")
    app.pills(key="statuses").set_value(["ended early", "training"])
    rerun(app)
    assert listed(app) == [failed.id]
    # The browser writes them into the address; it is told under which names.
    bound = [app.text_input(key="search"), app.pills(key="datasets"), app.pills(key="statuses")]
    assert [widget.proto.query_param_key for widget in bound] == ["search", "datasets", "statuses"]


def test_what_the_table_hands_out_holds_no_formula(run):
    write_notes(run, Notes("=1+1", "@SUM(1)\n-x"))
    table = open_page().dataframe[0].value
    assert (table.name.tolist(), table.note.tolist()) == (["'=1+1"], ["'@SUM(1) -x"])


def test_no_match_is_said_as_it_was_typed_and_can_be_undone(run):
    app = open_page(search="**bold** `x`", statuses=["complete"])
    assert "No run matches `` **bold** `x` ``." in texts(app)
    click(app, "clear")
    assert listed(app) == [run.id]
    assert app.text_input(key="search").value == ""
    assert app.pills(key="statuses").value == []
    assert not app.query_params.get("search")
    assert "No run matches these filters." in texts(open_page(datasets=["digits"]))


def test_one_run_can_be_opened_named_taken_away_and_deleted(run):
    app = select(open_page(), run)
    assert link(app, "Prune it").startswith(f"[Prune it](pruning?run={run.id}")
    assert "hidden_units=8%2C6" in link(app, "Show its settings")
    assert {"notes", "delete"} <= keys(app.button)
    assert f"draw_{run.id}" in keys(app.button)


def test_what_ended_early_can_only_be_looked_at_and_deleted(cache):
    run = make_failed()
    app = select(open_page(), run)
    assert link(app, "Show its settings")
    assert keys(app.button) == {"delete"}
    assert "Prune it" not in texts(app)


def test_a_name_and_a_note_are_given(run):
    app = click(select(open_page(), run), "notes")
    app.text_input(key=f"name_{run.id}").set_value(" Mine\u202e ")
    app.text_area(key=f"note_{run.id}").set_value("<script>alert(1)</script>")
    click(app, "notes_saved")
    assert read_notes(run) == Notes("Mine", "<script>alert(1)</script>")
    assert app.dataframe[0].value.name.tolist() == ["Mine"]
    plain = [element.value for element in app.text]
    assert plain == [f"Mine ({choice.label(CONFIG)})", "<script>alert(1)</script>"]
    assert "script" not in "".join(element.value for element in [*app.markdown, *app.caption])


def test_of_two_who_write_at_a_time_the_second_sees_what_the_first_wrote(run):
    app = click(select(open_page(), run), "notes")
    write_notes(run, Notes("", "*theirs*"))
    app.text_input(key=f"name_{run.id}").set_value("Mine")
    click(app, "notes_saved")
    assert read_notes(run) == Notes("", "*theirs*")
    assert r"the note “\*theirs\*”" in "".join(element.value for element in app.error)
    app = click(select(app, run), "notes")
    app.text_input(key=f"name_{run.id}").set_value("Mine")
    click(app, "notes_saved")
    assert read_notes(run) == Notes("Mine", "*theirs*")


def test_a_name_that_cannot_be_kept_says_why(run):
    app = click(select(open_page(), run), "notes")
    app.text_input(key=f"name_{run.id}").set_value("Mine")
    with run.lock("notes"):
        click(app, "notes_saved")
    assert "changed by another process" in app.error[0].value
    assert read_notes(run) == Notes()


def test_several_are_compared_by_their_whole_addresses(cache):
    one, two, failed = make(seed=1), make(seed=2), make_failed(seed=3)
    app = select(open_page(), one, two, failed)
    address = link(app, "Compare")
    for run in (one, two):
        assert links.address_of(run.id, run.config()) in address
    assert failed.id not in address
    assert "1 run ended early and cannot be compared" in texts(app)


def test_deleting_lists_what_goes_and_counts_what_went(cache):
    one, two, kept = make(seed=1), make_failed(seed=2), make(seed=3)
    write_notes(one, Notes("**Mine**"))
    app = click(select(open_page(), one, two), "delete")
    assert "cannot be undone" in texts(app)
    # In the dialog as beside the selection.
    assert sum(one.id in element.value and "**Mine**" in element.value for element in app.text) == 2
    assert sum(two.id in element.value for element in app.text) == 2
    assert not any(kept.id in element.value for element in app.text)
    assert one.is_complete()
    click(app, "delete_confirmed")
    assert [success.value for success in app.success] == ["Deleted 2 runs."]
    assert listed(app) == [kept.id]
    assert runs.list_runs() == [kept]
    assert not rerun(app).success


def test_deleting_can_be_called_off(run):
    app = click(click(select(open_page(), run), "delete"), "delete_dismissed")
    assert run.is_complete()
    assert not app.success


def test_a_run_in_training_is_not_deleted_and_it_says_so(run):
    other = make(seed=1)
    with pytest.raises(KnownError), write_run(run, CONFIG) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=3)
        app = click(select(open_page(), run), "delete")
        assert "being trained" in app.warning[0].value
        assert app.button(key="delete_confirmed").disabled
        app = click(select(open_page(), run, other), "delete")
        assert "being trained" in app.warning[0].value
        click(app, "delete_confirmed")
        raise KnownError("enough")
    assert app.success[0].value == "Deleted 1 run."
    assert run.is_complete()
    assert not other.is_complete()


def test_what_could_not_be_deleted_is_said(run):
    app = click(select(open_page(), run), "delete")
    with run.lock():
        click(app, "delete_confirmed")
    assert "being trained or changed" in app.error[0].value
    assert not app.success
    assert run.is_complete()


def test_what_was_trained_again_while_somebody_was_asked_is_not_deleted(run):
    app = click(select(open_page(), run), "delete")
    complete(run, CONFIG)
    click(app, "delete_confirmed")
    assert "was trained again meanwhile and is not deleted" in app.error[0].value
    assert run.is_complete()


def test_the_end_of_a_training_is_told_without_touching_the_table(cache, monkeypatch):
    config = dataclasses.replace(CONFIG, seed=4)
    run = runs.open_run(config.run_id)
    with pytest.raises(KnownError), write_run(run, config) as training:
        training.update(Phase.TRAINING, epoch=1, epochs=3)
        app = open_page()
        assert "refresh" not in keys(app.button)
        table = runs.runs_table()
        raise KnownError("enough")
    # As the watch sees it between two runs of the page.
    with monkeypatch.context() as patched:
        patched.setattr(runs, "runs_table", lambda: table)
        rerun(app)
    assert app.dataframe[0].value.status.tolist() == ["training"]
    click(app, "refresh")
    assert app.dataframe[0].value.status.tolist() == ["failed"]


def test_the_training_page_links_here_and_takes_settings_from_here(run):
    app = AppTest.from_file(PROJECT / "pages" / "training.py", default_timeout=60)
    for name, value in choice.settings_of(CONFIG).items():
        app.query_params[name] = value
    rerun(app)
    assert link(app, "All runs") == "[All runs](runs?)"
    assert f"Run `{run.id}`" in [caption.value for caption in app.caption]


def test_what_tells_like_runs_apart_comes_first(cache):
    many = [make(seed=seed) for seed in range(3)]
    app = open_page()
    order = list(app.dataframe[0].proto.column_order)
    assert order[:3] == ["name", "dataset", "seed"]
    select(app, *many[:2])
    for run in many[:2]:
        assert any(run.id in text.value and f"seed {run.config().seed}" in text.value for text in app.text)
    assert many[2].id not in texts(app)
    # Two of the same settings differ in their names alone.
    complete(runs.open_run("again"), many[0].config())
    assert list(open_page().dataframe[0].proto.column_order)[:2] == ["name", "run"]
