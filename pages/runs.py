"""All runs in the cache: found, named, opened, compared, taken away and deleted."""

import pandas as pd
import streamlit as st

from core import runs
from core.config import DATASETS, PARAMETERS
from core.errors import KnownError
from core.exports.tables import as_text
from core.files import free_space
from core.parameters import Real, Whole
from core.runs import notes
from core.settings import cache_root
from pages.shared import actions, choice, diagnostics, downloads, frame

# What can be filtered by, in the order of the table: work in progress first, what came to nothing last.
STATUSES = {
    "training": ("training",),
    "complete": ("complete",),
    "ended early": ("failed", "cancelled", "interrupted"),
}
# The keys of the filters in the address, and what they are when they let everything pass.
FILTERS = {"search": "", "datasets": [], "statuses": []}
# What people vary comes first.
SETTINGS = sorted(PARAMETERS.keys() - {"dataset"}, key=lambda name: (PARAMETERS[name].vary is None, name))
REFRESH_SECONDS = 3.0
SEVERAL_DAMAGED, MOST_DAMAGED = 4, 100  # above which their list scrolls, and is cut
LONG_LIST = 8  # runs to delete, above which their list scrolls


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Training first, then complete ones from the newest, then those that ended early."""
    places = {status: place for place, group in enumerate(STATUSES.values()) for status in group}
    return table.sort_values("status", key=lambda statuses: statuses.map(places), kind="stable", ignore_index=True)


def choose_filters() -> tuple[str, list[str], list[str]]:
    """What is searched for, the datasets and the kinds of status; each is kept in the address."""
    with st.container(horizontal=True, gap="medium"):
        search = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            icon=":material/search:",
            placeholder="Name, note, id, or settings such as seed=3",
            width=380,
        )
        datasets = frame.some_of("Datasets", list(DATASETS), key="datasets", width="content")
        statuses = frame.some_of("Status", list(STATUSES), key="statuses", width="content")
    return search.strip(), datasets, statuses


def show_damaged(damaged: list[runs.Damaged]) -> None:
    """Runs that cannot be read, each with the reason and a button that deletes it."""
    with st.container(border=True):
        st.markdown(
            f":material/broken_image: **{frame.counted(len(damaged), 'damaged run')}.** "
            f"{'It' if len(damaged) == 1 else 'They'} cannot be read and "
            f"{'is' if len(damaged) == 1 else 'are'} left out everywhere else; all the others are as they were. "
            "Delete what is damaged, or train it again on the Training page."
        )
        with st.container(height=320 if len(damaged) > SEVERAL_DAMAGED else "content", border=False):
            for each in damaged[:MOST_DAMAGED]:
                with st.container(horizontal=True, vertical_alignment="center"):
                    with st.container(gap="xxsmall"):
                        st.markdown(frame.verbatim(each.run.id))
                        st.text(each.reason)
                    if actions.button("Delete…", icon=":material/delete:", key=f"delete_damaged_{each.run.id}"):
                        confirm_delete([each.run.id])
        if len(damaged) > MOST_DAMAGED:
            st.caption(f"The first {MOST_DAMAGED} of them are listed.")
        if len(damaged) > 1 and actions.button("Delete all damaged…", icon=":material/delete:", key="delete_damaged"):
            confirm_delete([each.run.id for each in damaged])


def clear_filters() -> None:
    st.session_state.update(FILTERS)


def filtered(table: pd.DataFrame, search: str, datasets: list[str], statuses: list[str]) -> pd.DataFrame:
    """The rows that pass every filter; an empty filter lets all pass."""
    passes = pd.Series(True, table.index)
    if datasets:
        passes &= table.dataset.isin(datasets)
    if statuses:
        passes &= table.status.isin([status for name in statuses for status in STATUSES[name]])
    words = search.casefold().split()
    if words:
        texts = pd.Series(searchable(table), table.index, dtype=str)
        for word in words:
            passes &= texts.str.contains(word, regex=False)
    return table[passes].reset_index(drop=True)


def searchable(table: pd.DataFrame) -> list[str]:
    """What the search looks through: for each run its name, note, id and settings in one text."""
    return [
        "\n".join(
            [
                *(row["name"], row["note"], row["run"], row["status"], DATASETS[row["dataset"]].title),
                *(f"{name}={_setting(row[name])}" for name in (*PARAMETERS, "parent", "trained_on")),
            ]
        ).casefold()
        for row in table.to_dict("records")
    ]


def _setting(value: object) -> str:
    """A hyper-parameter as it is written in the table."""
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_summary(table: pd.DataFrame, shown: pd.DataFrame) -> None:
    """How many runs there are, what they take and what is left, in one line."""
    parts = [frame.counted(len(table), "run"), f"{table['size'].sum() / 1e6:,.1f} MB on disk"]
    free = free_space(cache_root())
    if free is not None:
        parts.append(f"{free / 1e9:,.1f} GB free")
    if len(shown) < len(table):
        parts.append(f"{len(shown):,} shown")
    st.caption(" · ".join(parts))


def choose_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table of runs; returns the rows that are selected."""
    shown = table.assign(
        hidden_units=table.hidden_units.map(_setting),
        size=table["size"] / 1e6,
        # The table can be taken away as CSV, by a button of its own.
        name=table.name.map(as_text).replace("", None),
        note=table.note.map(as_text).replace("", None),
        parent=table.parent.replace("none", None),
        trained_on=table.trained_on.replace("none", None),
    )
    column = st.column_config
    selection = st.dataframe(
        # Two decimals everywhere, which the column type for percentages leaves out at 86.70%.
        shown.style.format({"test_accuracy": "{:.2%}"}, na_rep="–", subset=["test_accuracy"]),
        hide_index=True,
        # A selection is of positions: with other runs, or another order, it must not go on to mean others.
        key=f"all_runs_{pd.util.hash_pandas_object(table.run).sum():x}",
        on_select="rerun",
        selection_mode="multi-row",
        column_order=columns_of(table),
        column_config={
            "name": column.TextColumn("Name", width="medium"),
            "dataset": PARAMETERS["dataset"].label,
            "test_accuracy": "Test accuracy",
            "status": "Status",
            "trained_on": "Fine-tuned",
            "parent": "Parent",
            "finished": column.DatetimeColumn("Finished", format="YYYY-MM-DD HH:mm"),
            "size": column.NumberColumn("Size (MB)", format="%.1f"),
            "note": column.TextColumn("Note", width="medium"),
            "run": "Run",
        }
        | {name: setting_column(name) for name in SETTINGS},
        placeholder="–",
        alt="All runs in the cache",
    )
    return table.iloc[[row for row in selection.selection.rows if row < len(table)]]


def columns_of(table: pd.DataFrame) -> list[str]:
    """The columns in their order: what tells these runs from each other stands where it is seen without scrolling."""
    written = {name: table[name].map(_setting) for name in (*SETTINGS, "dataset", "trained_on")}
    differ = [name for name in SETTINGS if written[name].nunique() > 1]
    alike = [name for name in SETTINGS if name not in differ]
    first = ["run"] if pd.DataFrame(written).duplicated().any() else []
    last = [name for name in ("parent", "finished", "size", "note", "run") if name not in first]
    return ["name", *first, "dataset", *differ, "test_accuracy", "status", "trained_on", *alike, *last]


def setting_column(name: str) -> object:
    """How the table writes a hyper-parameter."""
    about = PARAMETERS[name]
    if isinstance(about.kind, Whole | Real):
        return st.column_config.NumberColumn(about.label, format="%d" if isinstance(about.kind, Whole) else "%g")
    return about.label


def name_of(run_id: str) -> str:
    """What a run is called. Somebody else may have written it, so it is shown as text, never as Markdown."""
    return choice.run_labels([run_id]).get(run_id, run_id)


def show_one(run: runs.Run) -> None:
    """What can be done with one run."""
    st.text(name_of(run.id))
    st.caption(f"Run `{run.id}`")
    note = runs.read_notes(run).note
    if note:
        st.text(note)
    complete = run.is_complete()
    with st.container(horizontal=True, vertical_alignment="center"):
        if complete:
            frame.link_to("pruning", "Prune it", {"run": choice.address_of(run.id)})
        with frame.known_errors():
            config = run.config()
            settings = "Show its settings" if config is config.training else "Show its parent's settings"
            frame.link_to("training", settings, choice.settings_of(config))
        if complete:
            if actions.button("Name and note…", icon=":material/edit:", key="notes"):
                edit_notes(run)
            with st.popover("Take away", icon=":material/download:", key="take_away"), frame.known_errors():
                downloads.offer_run(run)
        if actions.button("Delete…", icon=":material/delete:", key="delete"):
            confirm_delete([run.id])


def show_several(rows: pd.DataFrame) -> None:
    """What can be done with several runs at once."""
    comparable = rows[rows.finished.notna() | (rows.status == "training")].run.tolist()
    st.markdown(f"**{frame.counted(len(rows), 'run')}** selected")
    list_runs(rows.run.tolist())
    with st.container(horizontal=True, vertical_alignment="center"):
        if comparable:
            frame.link_to("comparison", "Compare", {"runs": [choice.address_of(run_id) for run_id in comparable]})
        if actions.button("Delete…", icon=":material/delete:", key="delete"):
            confirm_delete(rows.run.tolist())
    left_out = len(rows) - len(comparable)
    if left_out:
        st.caption(f"{frame.counted(left_out, 'run')} ended early and cannot be compared.")


@st.dialog("Name and note")
def edit_notes(run: runs.Run) -> None:
    written = runs.read_notes(run)
    st.caption(f"Run `{run.id}`. The name is shown wherever a run is chosen. Leave both empty to remove them.")
    with st.form(f"notes_{run.id}", border=False):
        st.text_input("Name", written.name, max_chars=notes.MAX_NAME, key=f"name_{run.id}")
        st.text_area("Note", written.note, max_chars=notes.MAX_NOTE, key=f"note_{run.id}")
        saved = st.form_submit_button(
            "Save", type="primary", key="notes_saved", on_click=save_notes, args=(run, written)
        )
    if saved:
        if "failures" not in st.session_state:
            st.rerun()
        show_outcome()  # here, where what was written is still to be seen


def save_notes(run: runs.Run, before: runs.Notes) -> None:
    """Keep what the form says; a failure is kept for whoever shows it."""
    name, note = st.session_state[f"name_{run.id}"], st.session_state[f"note_{run.id}"]
    try:
        runs.write_notes(run, runs.Notes(name, note), before)
    except KnownError as error:
        st.session_state.failures = [str(error)]


@st.dialog("Delete runs?")
def confirm_delete(ids: list[str]) -> None:
    busy = [run_id for run_id in ids if runs.open_run(run_id).is_training()]
    idle = [run_id for run_id in ids if run_id not in busy]
    if idle:
        st.markdown(
            f"{frame.counted(len(idle), 'run')} with network, history, scores and notes "
            f"{'is' if len(idle) == 1 else 'are'} removed from the cache. **This cannot be undone.**"
        )
        list_runs(idle)
    if busy:
        st.warning(
            f"{frame.counted(len(busy), 'run')} {'is' if len(busy) == 1 else 'are'} being trained and cannot be "
            "deleted. Cancel the training first.",
            icon=":material/info:",
        )
        list_runs(busy)
    with st.container(horizontal=True):
        label = f"Delete {frame.counted(len(idle), 'run')}"
        seen = {run_id: runs.open_run(run_id).version() or "" for run_id in idle}
        chosen = {"disabled": not idle, "on_click": delete, "args": (seen,)}
        if actions.button(label, type="primary", key="delete_confirmed", **chosen):
            st.rerun()
        if st.button("Keep them" if len(ids) > 1 else "Keep it", key="delete_dismissed"):
            st.rerun()


def list_runs(ids: list[str]) -> None:
    with st.container(height=260 if len(ids) > LONG_LIST else "content", border=False):
        for run_id in ids:
            st.text(f"• {name_of(run_id)}\n   {run_id}")


def delete(seen: dict[str, str]) -> None:
    """Delete runs, by id those that were seen; what came of it is kept for the rerun that follows the click."""
    failures = []
    for run_id, version in seen.items():
        try:
            runs.open_run(run_id).delete(version)
        except KnownError as error:
            failures.append(str(error))
    st.session_state.deleted = len(seen) - len(failures)
    st.session_state.failures = failures


def show_outcome() -> None:
    """What came of the last click, once."""
    deleted = st.session_state.pop("deleted", 0)
    if deleted:
        st.success(f"Deleted {frame.counted(deleted, 'run')}.", icon=":material/check:")
    for failure in st.session_state.pop("failures", []):
        frame.error_box(failure)


@st.fragment(run_every=REFRESH_SECONDS)
def watch(training: list[str]) -> None:
    """Say when a training ends. The table is not drawn anew by itself: that would drop a selection or an open form."""
    if all(runs.open_run(run_id).is_training() for run_id in training):
        return
    if st.button("A training has ended: update the table", icon=":material/refresh:", key="refresh"):
        st.rerun()


def show_no_match(search: str) -> None:
    with st.container(border=True):
        st.markdown(f"No run matches {frame.verbatim(search[:200])}." if search else "No run matches these filters.")
        st.button("Clear the filters", icon=":material/filter_alt_off:", key="clear", on_click=clear_filters)


frame.page_title("Runs")
show_outcome()
damaged = runs.damaged_runs()
if damaged:
    show_damaged(damaged)
table = ordered(runs.runs_table())
if table.empty:
    with st.container(border=True):
        st.markdown(
            "**No runs yet.** Trained networks are kept here with their settings and scores. Train one first: "
            "`optdigits` takes seconds, MNIST minutes."
        )
        frame.link_to("training", "Go to Training")
    diagnostics.show()
    st.stop()
search, datasets, statuses = choose_filters()
shown = filtered(table, search, datasets, statuses)
show_summary(table, shown)
if shown.empty:
    show_no_match(search)
    diagnostics.show()
    st.stop()
selected = choose_rows(shown)
training = table.run[table.status == "training"].tolist()
if training:
    watch(training)
if selected.empty:
    st.caption("Select a row to open, name or delete a run; select several to compare them.")
elif len(selected) == 1:
    show_one(runs.open_run(selected.run.iloc[0]))
else:
    show_several(selected)
diagnostics.show()
