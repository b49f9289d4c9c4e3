"""What is imported once, before commands and servers are forked: all that takes long, but runs nothing."""

import gc
import importlib
import pkgutil

from core.settings import PROJECT, quiet_keras

quiet_keras()
for name in (
    "core.exports.pictures",
    "core.training.fit",
    "core.training.train",
    "sklearn.datasets",
    "streamlit.web.bootstrap",
    "tests.faults",
    *(f"pages.shared.{each.name}" for each in pkgutil.iter_modules([PROJECT / "pages" / "shared"])),
):
    importlib.import_module(name)
# No process looks for garbage in it.
gc.freeze()
