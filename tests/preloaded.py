"""What is imported once, before commands and servers are forked: all that takes long, but runs nothing."""

import gc
import importlib
import pkgutil

from streamlit.runtime.scriptrunner import script_runner
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher

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
# No process looks for garbage in it. In each session a server looks at the files of all that it has imported, and after
# each run of a page it clears what Keras has built. That is soon done where TensorFlow is not imported, as here it is.
gc.freeze()
LocalSourcesWatcher.update_watched_modules = lambda self: None
script_runner._clean_problem_modules = lambda: None
