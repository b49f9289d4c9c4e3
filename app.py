"""Network pruning dashboard: `streamlit run app.py`."""

import gc
from pathlib import Path

import plotly
import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import FileResponse
from starlette.routing import Route

from core import jobs, log
from core.runs import adopt_example
from core.settings import PROJECT, cache_root, ensure_temporary_folder, frame_ancestors
from pages.shared import document, frame, headers, instrument, wall

log.set_up()
ensure_temporary_folder()


def plotly_library(_: object) -> FileResponse:
    """The Plotly library, as its Python package carries it, for the live slider to draw with."""
    return FileResponse(Path(plotly.__file__).parent / "package_data" / "plotly.min.js")


base = f"/{st.get_option('server.baseUrlPath').strip('/')}/".replace("//", "/")

app = st.App(
    PROJECT / "pages" / "router.py",
    routes=[
        *document.routes(base),
        Route(base + instrument.PLOTLY_PATH, plotly_library),
        Route(base + wall.PATH, wall.serve),
    ],
    middleware=[Middleware(headers.SecurityHeaders, ancestors=frame_ancestors())],
    on_script_error=frame.show_bug,
)

# Whoever opens the app first finds a live network: the example, and its images decoded while the browser opens.
for run in adopt_example(cache_root()):
    jobs.prepare_in_background(run.config().dataset, run.root)

# Streamlit collects garbage after every run of a script. What has been imported is never garbage; looking through
# it each time took 100 ms, several times as long as the live slider's own work.
gc.collect()
gc.freeze()
