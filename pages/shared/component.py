"""Components of our own, whose HTML, CSS and JavaScript lie in a folder of `assets/`."""

from collections.abc import Callable

import streamlit as st

from core.settings import ASSETS

SHARED = ("lasting.js", "sliding.js")


def from_folder(name: str, *scripts: str, isolate_styles: bool = True) -> Callable:
    """The component that is called as its folder.

    Args:
        scripts: what its own script needs of that folder. Those of `SHARED` are there for all.
        isolate_styles: whether neither its styles nor those of the page reach into the other.
    """
    folder = ASSETS / name
    paths = [
        ASSETS / "lasting.js",
        ASSETS / "sliding.js",
        *(folder / script for script in scripts),
        folder / f"{name}.js",
    ]
    return st.components.v2.component(
        name,
        html=(folder / f"{name}.html").read_text(),
        css=(folder / f"{name}.css").read_text(),
        js="\n".join(path.read_text() for path in paths),
        isolate_styles=isolate_styles,
    )
