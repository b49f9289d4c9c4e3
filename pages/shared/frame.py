"""What frames every page: its title, links to the others, and how failures are shown."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.errors import StreamlitPageNotFoundError

from core import log
from core.errors import KnownError
from core.settings import ASSETS, is_read_only
from pages.shared import address, component

ICONS = {
    "overview": ":material/home:",
    "training": ":material/model_training:",
    "grid": ":material/grid_on:",
    "pruning": ":material/content_cut:",
    "size": ":material/compress:",
    "smallest": ":material/qr_code_2:",
    "draw": ":material/draw:",
    "comparison": ":material/ssid_chart:",
    "runs": ":material/database:",
}
HIDDEN = {"present": ":material/slideshow:"}
"""Pages that are not in the menu."""
READ_ONLY = "For looking only: move every slider, open every page. Nothing is trained, changed or deleted here."
copy_link = st.components.v2.component(
    "copy_link",
    html=(ASSETS / "copy_link.html").read_text(),
    css=(ASSETS / "copy_link.css").read_text(),
    js=(ASSETS / "copy_link.js").read_text(),
)
failed_downloads = st.components.v2.component(
    "failed_downloads", html="<span></span>", js=(ASSETS / "failed_downloads.js").read_text()
)

_connection = component.from_folder("connection")


def page_title(title: str) -> None:
    """The heading of a page, and a button that copies the link to what it shows."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(title, width="content")
        copy_link(key="copy_link", data={"host": address.reachable_host(), "why": address.CLOSED}, width="content")
    if is_read_only():
        st.caption(f":material/visibility: {READ_ONLY}")


def link_to(page: str, label: str, query: dict[str, str | list[str]] | None = None) -> None:
    """A link to another page of the app, with that page's icon."""
    try:
        st.page_link(f"{page}.py", label=label, icon=(ICONS | HIDDEN)[page], query_params=query)
    except StreamlitPageNotFoundError:
        # A page that runs on its own, without the menu, knows no other pages.
        st.markdown(f"[{label}]({page}?{urlencode(query or {}, doseq=True)})")


def one_of(label: str, options: Iterable[str], default: str, **more: Any) -> str:
    """`st.segmented_control` in which one is always chosen: an address that names none means the default."""
    if more.get("bind"):
        check_address(more["key"], options, default)
    chosen = st.segmented_control(label, options, default=default, **more)
    return default if chosen is None else chosen


def some_of(label: str, options: Iterable[str], default: Iterable[str] = (), **more: Any) -> list[str]:
    """`st.pills` of which any number can be chosen, each kept in the address."""
    check_address(more["key"], options, ", ".join(default) or "what is shown without it")
    return st.pills(label, options, selection_mode="multi", default=list(default), bind="query-params", **more)


def check_address(name: str, options: Iterable[str], shown: str) -> None:
    """Say which values of the address are ignored since there is no such option."""
    said = [value for value in st.query_params.get_all(name) if value]
    unknown = [value for value in said if value not in options]
    if unknown:
        known = [value for value in said if value in options]
        say_ignored(name, ", ".join(unknown), either(options), ", ".join(known) or shown)


def say_ignored(name: str, text: str, expected: str, shown: str) -> None:
    """Say that the address has something that cannot be shown, and what is shown instead."""
    given = verbatim(f"{name}={text[:60]}{'…' if len(text) > 60 else ''}")
    # What is cut off where there is little room comes last.
    st.toast(
        f"**Ignored in the address:** {given}. Showing {shown}. Expected {expected}.",
        icon=":material/info:",
        duration="infinite",
    )


def either(options: Iterable[str]) -> str:
    """Options in words: "a, b or c"."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def signed(value: float, digits: int) -> str:
    """A change as it is written everywhere: with its sign, and a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def counted(number: int, what: str) -> str:
    """A number of things in words: "1 run", "2 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in words: "12 s", "2 min 5 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{f'{minutes} min ' if minutes else ''}{seconds} s"


def verbatim(text: str) -> str:
    """Markdown that shows a text as it is: whoever wrote it must not format the page, or put links on it."""
    # As code: behind backslashes, addresses would still become links and :names: emoji.
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}"


def plain(text: str) -> str:
    """Markdown that reads as this text, in one paragraph: for sentences that quote what somebody else wrote."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    text = re.sub(r"[\\`*\[\]<>~$|&]|(?<![^\W_])_|_(?![^\W_])|^[#+\-=]|^\d+(?=[.)])", _escaped, text)
    # Addresses become links, and :names: emoji and colours, even behind a backslash; a joiner that nobody sees helps.
    return re.sub(r"(?<=:)(?=\S)|(?<=@)(?=\w)|(?<=[wW]{3})(?=\.)", "\u2060", text)


def _escaped(found: re.Match) -> str:
    return f"\u2060{found[0]}" if found[0].isdigit() else f"\\{found[0]}"


def download(label: str, make: Callable[[], bytes], file_name: str, mime: str, key: str | None = None) -> None:
    """A button that makes a file when it is pressed, without a rerun; `show_failed_downloads` says why one failed."""
    # The file is made outside the script, where nothing can be shown, and only what is at hand now can be written to.
    failed = st.session_state.setdefault("failed_downloads", [])

    def made() -> bytes:
        try:
            return make()
        except Exception as error:
            if isinstance(error, OSError) and error.filename:
                why = f"{Path(error.filename).name} could not be read: {error.strerror}. Reload the page and try again."
            else:
                why = str(error) if isinstance(error, KnownError) else f"{type(error).__name__}: {error}"
            failed.append((label, why, log.failure(error, with_traceback=not isinstance(error, KnownError))))
            raise

    st.download_button(
        label,
        made,
        file_name=file_name,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        key=key or f"download_{file_name}",
        help=file_name,
    )


def show_failed_downloads() -> None:
    """Say of each download that failed why, with the id under which the server's log has it."""
    seen = failed_downloads(key="failed_downloads_seen", height=1, on_failed_change=lambda: None)
    failed = st.session_state.get("failed_downloads", [])
    if seen.failed and not failed:
        # The script ran anew between the press and the answer, and what was pressed was forgotten.
        st.toast(
            "**Nothing was downloaded.** The page has changed meanwhile. Press the button again.",
            icon=":material/error:",
        )
    while failed:
        label, why, name = failed.pop(0)
        st.toast(
            f"**{plain(label)} could not be made.** {plain(why)} :small[({name})]",
            icon=":material/error:",
            duration="infinite",
        )


def follow_connection() -> None:
    """Say while the server is away that it is, and run the page again once it is back."""
    _connection(key="connection", on_back_change=lambda: None)


def error_box(error: KnownError | str, title: str | None = None) -> None:
    """A failure in a box, with the id under which the server's log has it."""
    name = log.failure(error)
    st.error(f"{plain(str(error))} :small[({name})]", title=title, icon=":material/error:")


@contextlib.contextmanager
def known_errors() -> Iterator[None]:
    """Show a known failure as a sentence in a box, and go on after it."""
    try:
        yield
    except KnownError as error:
        error_box(error)


def show_bug(error: Exception) -> bool:
    """Show an unforeseen failure without its traceback, which goes to the server's log."""
    name = log.failure(error, with_traceback=True)
    st.error(
        f"{plain(f'{type(error).__name__}: {error}')} :small[({name})]",
        title="Something went wrong that was not foreseen",
        icon=":material/bug_report:",
    )
    st.caption(
        f"Nothing in the cache was changed by this. Reload the page; the server's log has the details under {name}."
    )
    return True
