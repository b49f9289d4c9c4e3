"""What somebody who helps wants to know of this server, as text to copy."""

import importlib.metadata
import os
import platform

import streamlit as st

from core import datasets, jobs, runs, settings
from core.config import DATASETS
from core.errors import KnownError
from core.files import free_space
from core.limits import limit
from pages.shared import frame

PACKAGES = ("streamlit", "starlette", "keras", "tensorflow", "numpy", "pandas", "plotly", "scikit-learn")


def show() -> None:
    """A folded panel; what it says is found out when it is opened."""
    with st.expander("Diagnostics", icon=":material/troubleshoot:", key="diagnostics", on_change="rerun") as panel:
        if panel.open:
            st.caption("Send this with a report of an error, and the id that its box shows. It names folders.")
            st.code(text(), language=None, wrap_lines=True)


def text() -> str:
    """Versions, places, sizes, processes, queue and limits; one a line."""
    root, data = settings.cache_root().absolute(), settings.data_folder()
    queue = jobs.open_queue()
    entries, everything = queue.entries(), runs.list_runs()
    free = free_space(root)
    statuses = [entry.status for entry in entries]
    found = {
        "system": f"{platform.platform()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "server": f"process {os.getpid()}, listens on {st.get_option('server.address') or 'all addresses'}"
        + (", only shows" if settings.is_read_only() else ""),
        "cache": f"{root}, {frame.counted(len(everything), 'run')}, {sum(run.size() for run in everything) / 1e6:,.1f}"
        f" MB, {'unknown' if free is None else f'{free / 1e9:,.1f} GB'} free",
        "data": str(data.absolute()) if data else "downloaded by Keras",
        "datasets": ", ".join(f"{name} {'ready' if datasets.is_cached(name) else 'not here yet'}" for name in DATASETS),
        "trainings": "; ".join(_trainings(everything)) or "none",
        "queue": f"{'worked off' if queue.is_working() else 'nobody works on it'}"
        + "".join(f", {statuses.count(status):,} {status}" for status in dict.fromkeys(statuses)),
        "scheduler": settings.scheduler() or "none",
        "limits": ", ".join(_limit(name) for name in settings.LIMITS),
    }
    return "\n".join(f"{name:<10} {said}" for name, said in found.items())


def _trainings(everything: list[runs.Run]) -> list[str]:
    states = [(run, run.training()) for run in everything]
    return [
        f"{run.id} {state.phase} by process {state.pid} on {state.host}"
        for run, state in states
        if state and not state.phase.has_ended
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _limit(name: str) -> str:
    try:
        return f"{name}={limit(name)}"
    except KnownError:
        return f"{name} cannot be read"
