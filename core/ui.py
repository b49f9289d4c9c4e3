"""What the pages share: cached data, the choice of a run, and how failures are shown. Imports streamlit."""

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitPageNotFoundError

from core import comparison, datasets, export, jobs, links, live_figures, runs
from core.config import TrainingConfig
from core.distributions import Distribution, distributions, layer_names
from core.errors import KnownError
from core.evaluation import Score
from core.files import cache_root
from core.pruning import Ranking
from core.queue import open_queue
from core.sweep import STOPS, Order, baseline_orders, is_planned_work_done, key_of, random_baseline

ASSETS = Path(__file__).parent.parent / "assets"
PLOTLY_PATH = "library/plotly.min.js"
ICONS = {
    "overview": ":material/home:",
    "training": ":material/model_training:",
    "pruning": ":material/content_cut:",
    "comparison": ":material/ssid_chart:",
}


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and its test score. `finished` tells it from a later one of the same name."""

    run: runs.Run
    finished: str
    config: TrainingConfig
    kernels: list[np.ndarray]
    activations: list[np.ndarray]
    dense: Score


@dataclass(frozen=True)
class RankedRun:
    """The order of pruning of one run, with all that the live slider needs to know beforehand.

    `histograms` is the figure of the dense network; `pruned` and `thresholds` have a row a sparsity of
    `core.sweep.STOPS` and a column a hidden layer.
    """

    ranking: Ranking
    distributions: list[Distribution]
    pruned: list[list[int]]
    thresholds: list[list[float | None]]
    histograms: dict


def load_run(run: runs.Run) -> LoadedRun:
    """A complete run, shared by all sessions until it is retrained.

    Raises:
        RunError: if its files are damaged.
    """
    result = run.result()
    if result is None:
        raise runs.RunError(f"Run {run.id} is no longer in the cache. Choose another run, or train it again.")
    return _load_run(run.root, run.id, result["finished"])


@st.cache_resource(max_entries=3, show_spinner="Reading the network…")
def _load_run(root: Path, run_id: str, finished: str) -> LoadedRun:
    run = runs.open_run(run_id, root)
    kernels = run.kernels()
    for kernel in kernels:
        kernel.setflags(write=False)
    result = run.result()
    dense = Score(result["test_accuracy"], result["test_loss"])
    return LoadedRun(run, finished, run.config(), kernels, run.activations(), dense)


def rank_run(network: LoadedRun, order: Order) -> RankedRun:
    """The network's weights or units in an order of pruning, shared by all sessions.

    Raises:
        RunError: if the order needs activations and the run's are damaged.
    """
    return _rank_run(network.run.root, network.run.id, network.finished, order, network)


@st.cache_resource(max_entries=4, show_spinner="Ranking…")
def _rank_run(root: Path, run_id: str, finished: str, order: Order, _network: LoadedRun) -> RankedRun:
    ranking = order.of(_network.kernels, _network.activations)
    layers = distributions(ranking)
    pruned = [ranking.pruned(k) for k in STOPS]
    thresholds = [[layer.threshold(count) for layer, count in zip(layers, counts, strict=True)] for counts in pruned]
    # The scores are in the distributions now, sorted; keeping them twice would be 10 MB a run.
    figure = live_figures.histograms(layers, layer_names(_network.kernels)[:-1], order).to_plotly_json()
    return RankedRun(dataclasses.replace(ranking, scores=[]), layers, pruned, thresholds, figure)


@dataclass(frozen=True)
class LiveScores:
    """What is known of an order so far: accuracy and loss by the key of k, and the figure of the curves."""

    known: dict[str, list[float]]
    curve: dict
    complete: bool


def live_scores(network: LoadedRun, order: Order) -> LiveScores:
    """The scores of a run, read again only when there are new ones."""
    run = network.run
    return _live_scores(run.root, run.id, network.finished, order, run.sweep_version())


@st.cache_resource(max_entries=8, show_spinner=False)
def _live_scores(root: Path, run_id: str, finished: str, order: Order, version: int) -> LiveScores:
    table = runs.open_run(run_id, root).sweep()
    return LiveScores(
        known={key_of(row.sparsity): [row.accuracy, row.loss] for row in order.select(table).itertuples()},
        curve=live_figures.live_curve(table, order, random_baseline(table, order.method)).to_plotly_json(),
        complete=is_planned_work_done(table),
    )


@st.cache_resource(max_entries=100, ttl=60, show_spinner=False)
def request_scores(root: Path, run_id: str, finished: str, *flags: str) -> None:
    """Have what is missing of a run's scores scored in the background; asked once a minute, not once a rerun."""
    jobs.start_scoring(runs.open_run(run_id, root), *flags)


def complete_baselines(ids: list[str], sparsities: list[float]) -> list[str]:
    """Have random pruning of some complete runs scored in the background, one run after the other.

    Returns:
        The ids of those that it is still missing of.
    """
    lacking = {}
    for run in map(runs.open_run, ids):
        # One that is damaged or deleted is told of where it is shown.
        with contextlib.suppress(KnownError):
            sweep, result = run.sweep(), run.result()
            if result and any(order.missing(sweep, sparsities) for order in baseline_orders()):
                lacking[run.id] = run, result["finished"]
    if not any(run.is_busy("curve") for run, _ in lacking.values()):
        for run, finished in list(lacking.values())[:1]:
            request_scores(run.root, run.id, finished, "--baseline", f"--k_vals={','.join(map(str, sparsities))}")
    return list(lacking)


instrument = st.components.v2.component(
    "instrument",
    html=(ASSETS / "instrument.html").read_text(),
    css=(ASSETS / "instrument.css").read_text(),
    js=(ASSETS / "instrument.js").read_text(),
    # Plotly puts its own styles into the document.
    isolate_styles=False,
)


copy_link = st.components.v2.component(
    "copy_link",
    html=(ASSETS / "copy_link.html").read_text(),
    css=(ASSETS / "copy_link.css").read_text(),
    js=(ASSETS / "copy_link.js").read_text(),
)


def plotly_address() -> str:
    """Where the app serves the Plotly library to the live slider; see `app.py`."""
    return f"/{st.get_option('server.baseUrlPath')}/{PLOTLY_PATH}".replace("//", "/")


@st.cache_resource(max_entries=3, show_spinner="Reading the test images…")
def test_split(name: str) -> datasets.Split:
    """The test images and labels of a dataset, shared by all sessions.

    Raises:
        KnownError: if the dataset cannot be had.
    """
    if not datasets.is_cached(name):
        jobs.prepare_dataset(name, cache_root())
    return datasets.load_dataset(name).test


@st.cache_data(max_entries=4)
def published(dataset: str) -> pd.DataFrame | None:
    """The published table of a dataset (columns sparsity, accuracy_weight, …), or None if there is none."""
    path = ASSETS / f"published-{dataset}.csv"
    return pd.read_csv(path) if path.exists() else None


def complete_runs() -> list[str]:
    """The ids of all complete runs, newest first; one that is being retrained stays complete meanwhile."""
    table = runs.runs_table()
    return table.run[table.finished.notna()].tolist()


def label(config: TrainingConfig) -> str:
    """What a configuration is called where people choose it."""
    return f"{comparison.describe(config)}, seed {config.seed}"


def run_labels(ids: list[str]) -> dict[str, str]:
    """What runs are called where people choose them: their settings and seed, and their id where that is not enough."""
    labels = {}
    for run_id in ids:
        with contextlib.suppress(KnownError):
            config = runs.open_run(run_id).config()
            labels[run_id] = label(config)
            if run_id != config.run_id:
                labels[run_id] += f" ({run_id})"
    return labels


def choose_run() -> runs.Run:
    """A select box of the complete runs; stops the page with advice if there is none.

    The address is the truth and always names the run, the newest one included: tomorrow another one
    may be the newest.
    """
    ids = complete_runs()
    wanted, config = named_run(st.query_params.get("run", ""))
    if wanted and wanted not in ids:
        offer_missing_run(wanted, config)
    if not ids:
        with st.container(border=True):
            st.markdown("**No trained network yet.** Train one first: `optdigits` takes seconds, MNIST minutes.")
            link_to("training", "Go to Training")
        st.stop()
    if wanted not in ids:
        if wanted:
            st.caption("Or choose a run that is here:")
            wanted = None
        else:
            wanted = ids[0]
    st.session_state.run = wanted
    if wanted is not None:
        _name_run_in_address()
    labels = run_labels(ids)
    st.selectbox(
        "Run",
        ids,
        index=None if wanted is None else ids.index(wanted),
        key="run",
        format_func=lambda run_id: labels.get(run_id, run_id),
        on_change=_name_run_in_address,
        placeholder="Choose a run",
        help="A trained network in the cache.",
    )
    if wanted is None:
        st.stop()
    return runs.open_run(wanted)


def _name_run_in_address() -> None:
    address = address_of(st.session_state.run)
    if st.query_params.get("run") != address:
        st.query_params["run"] = address


def named_run(address: str) -> tuple[str, TrainingConfig | None]:
    """The run that an address means: its id, and how to train it if the address says so.

    A name that somebody gave to another network here does not mean that one.
    """
    run_id, config = links.parse_address(address)
    with contextlib.suppress(KnownError):
        if config is not None and runs.open_run(run_id).config() != config:
            return config.run_id, config
    try:
        runs.open_run(run_id)
    except runs.RunIdError:
        config = None
    return run_id, config


def address_of(run_id: str) -> str:
    """How a run is written in an address, with all that is needed to train it elsewhere."""
    try:
        return links.address_of(run_id, runs.open_run(run_id).config())
    except KnownError:
        return run_id


def coming(ids: Iterable[str]) -> list[str]:
    """Which of some runs that are not complete are being trained, or wait for it."""
    waiting = {entry.run.id for entry in open_queue().entries() if entry.status == "waiting"}
    found = []
    for run_id in ids:
        with contextlib.suppress(KnownError):
            if run_id in waiting or runs.open_run(run_id).is_training():
                found.append(run_id)
    return found


def offer_missing_run(run_id: str, config: TrainingConfig | None) -> None:
    """Say that a link names a run this cache does not have, and offer to train exactly that configuration."""
    # As code, and not longer than an id can be: whoever sends a link must not write on this page.
    name = f"`{run_id[:100].replace('`', '')}`"
    with st.container(border=True):
        if config is None:
            st.markdown(
                f"**This cache holds no complete run named** {name}, and the link does not say how it was trained. "
                "Ask whoever sent it to copy the link again from their page, or train a network of your own."
            )
            link_to("training", "Go to Training")
            return
        st.markdown(
            f"**This cache holds no complete run named** {name}. The link says how it was trained: {label(config)}."
        )
        run = runs.open_run(run_id)
        if run.is_training():
            watch_missing_run(run)
        elif st.button("Train it", type="primary", icon=":material/play_arrow:", key=f"train_{run_id}"):
            with known_errors():
                jobs.start_training(run, config)
                st.rerun()
        link_to("training", "See it on the Training page", settings_of(config))


@st.fragment(run_every=2.0)
def watch_missing_run(run: runs.Run) -> None:
    """Show how the training of a run is going, and the page once it is over."""
    state = run.training()
    if state is None or state["phase"] in runs.ENDED:
        st.rerun()
    progress = jobs.progress(state, run.history(of_training=True))
    st.progress(min(progress.fraction, 1.0), text="It is being trained now, and shown when it is complete.")


def settings_of(config: TrainingConfig) -> dict[str, str]:
    """The query parameters that bring a configuration into the widgets of the Training page."""
    values = config.to_dict() | {"hidden_units": ", ".join(map(str, config.hidden_units))}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Folded rows as a table to read: without what other columns say already."""
    return rows.drop(columns=["dataset", "parameters", "change_sd", "whole"])


def counted(number: int, what: str) -> str:
    """A number of things in words: "1 run", "2 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def page_title(title: str) -> None:
    """The heading of a page, and a button that copies the link to what it shows."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(title, width="content")
        copy_link(key="copy_link", width="content")


def download(label: str, make: Callable[[], bytes], file_name: str, mime: str) -> None:
    """A button that builds a file when asked, without a rerun."""
    st.download_button(
        label,
        make,
        file_name=file_name,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        key=f"download_{file_name}",
    )


def offer_one_of(ids: list[str]) -> None:
    """Downloads of a run to be chosen."""
    labels = run_labels(ids)
    if len(ids) > 1:
        chosen = st.selectbox(
            "One run", ids, format_func=lambda run_id: labels.get(run_id, run_id), key="one_run", bind="query-params"
        )
    else:
        chosen = ids[0]
        st.markdown(f"**The run** · {labels.get(chosen, chosen)}")
    offer_run(runs.open_run(chosen))


def offer_run(run: runs.Run) -> None:
    """Downloads of one complete run."""
    with st.container(horizontal=True):
        download("Results CSV", lambda: export.csv_bytes(export.results(run)), f"{run.id}-results.csv", "text/csv")
        if not run.is_drawn():
            # Here rather than inside the downloads, which cannot say why they fail.
            if st.button("Draw its figures and animations", icon=":material/image:", key=f"draw_{run.id}"):
                with known_errors(), st.spinner("Drawing…"):
                    jobs.ensure_pictures(run)
                    st.rerun()
            return
        for method, name in runs.GIFS.items():
            picture = run.folder / name
            download(
                f"{method.capitalize()}s GIF", picture.read_bytes, f"{run.id}-{name.replace('_', '-')}", "image/gif"
            )
        download("Report", lambda: export.report(run), f"{run.id}-report.html", "text/html")
        download("Everything (ZIP)", lambda: export.archive(run), f"{run.id}.zip", "application/zip")


def link_to(page: str, label: str, query: dict[str, str | list[str]] | None = None) -> None:
    """A link to another page of the app, with that page's icon."""
    try:
        st.page_link(f"{page}.py", label=label, icon=ICONS[page], query_params=query)
    except StreamlitPageNotFoundError:
        # A page that runs on its own, without the menu, knows no other pages.
        st.markdown(f"[{label}]({page}?{urlencode(query or {}, doseq=True)})")


@contextlib.contextmanager
def known_errors() -> Iterator[None]:
    """Show a known failure as a sentence in a box, and go on after it."""
    try:
        yield
    except KnownError as error:
        st.error(str(error), icon=":material/error:")


def show_bug(error: Exception) -> bool:
    """Show an unforeseen failure without its traceback, which goes to the server's log."""
    traceback.print_exception(error)
    st.error(
        f"{type(error).__name__}: {error}",
        title="Something went wrong that was not foreseen",
        icon=":material/bug_report:",
    )
    st.caption("Nothing in the cache was changed by this. Reload the page; the server's log has the details.")
    return True
