"""The document in which Streamlit draws every page, with a script of ours that has to run before all of its own."""

from pathlib import Path

import streamlit as st
from starlette.responses import HTMLResponse
from starlette.routing import Route

from core.settings import ASSETS
from pages.shared import frame


def routes(base: str) -> list[Route]:
    """The address of every page, below that of the app; all others are Streamlit's."""
    html = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    script = (ASSETS / "history.js").read_text(encoding="utf-8")
    html = html.replace("<head>", f"<head>\n<script>\n{script}</script>", 1)

    def document(_: object) -> HTMLResponse:
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    return [Route(f"{base}{name}", document) for name in ("", *frame.ICONS, *frame.HIDDEN)]
