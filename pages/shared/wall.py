"""The wall: every test image as a tile that goes dark when the network gets it wrong. The browser follows the slider by
itself; this file hands it the images and the predictions, and answers what it cannot know."""

import base64
import functools
from urllib.parse import quote

import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from core import runs
from core.analysis import wall
from core.analysis.drawing import read
from core.charts import interactive
from core.errors import KnownError
from core.pruning import METHODS, SCOPES, Sparsity
from core.state import BY_KEY, state_of
from core.sweep import Criterion
from pages.shared import component, networks

PATH = "wall/{run}/{version}/{what}"
"""Where the app serves the wall's files, below its base path. Browsers ask for them relative to the page, which knows
the prefix of a proxy: every page lies in the app's own folder."""
# Its styles are not isolated, so that the rule against Streamlit's fading sees it.
_component = component.from_folder("wall", isolate_styles=False)


def serve(request: Request) -> Response:
    """The files of the wall: `images.png`, `labels`, and `predictions` by a criterion (?criterion=…, its key at 0).

    Their address names the network and the version, so that a browser may keep them for good.
    """
    try:
        run = runs.open_run(request.path_params["run"])
        if not run.is_still(request.path_params["version"]):
            return PlainTextResponse("This run was deleted or replaced. Reload the page.", 404)
        config = run.config()
        what = request.path_params["what"]
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        if what == "images.png":
            return Response(_picture(config.dataset, config.spec.side), media_type="image/png", headers=headers)
        if what == "labels":
            labels = networks.test_split(config.dataset).labels
            return Response(labels.astype(np.uint8).tobytes(), media_type="application/octet-stream", headers=headers)
        criterion = _criterion(request.query_params.get("criterion", ""))
        if what == "predictions" and criterion is not None:
            headers["Content-Encoding"] = "gzip"
            packed = wall.packed(state_of(run, criterion).at_stops())
            return Response(packed, media_type="application/octet-stream", headers=headers)
    except KnownError as error:
        return PlainTextResponse(str(error), 404)
    return PlainTextResponse("There is no such file.", 404)


def show(network: networks.LoadedRun, criterion: Criterion, about: str, k: Sparsity, tall: bool = False) -> None:
    """Show the wall, which follows the slider of the same subject.

    Args:
        about: the subject of the slider; see `pages.shared.instrument.subject`.
        k: where the slider rests; what the browser does not know of it is predicted here.
        tall: whether it fills the height of the screen.
    """
    spec = network.config.spec
    known, version = networks.known_stops(network, criterion)
    folder = f"wall/{network.run.id}/{quote(network.version, safe='')}"
    choice = f"criterion={quote(criterion.key(0.0))}"
    measured = None
    if str(k) not in known:
        predictions = networks.predicted(network, criterion, k)
        if predictions is not None:
            measured = {"key": str(k), "predictions": base64.b64encode(predictions.tobytes()).decode()}
    _component(
        key="wall",
        data={
            "subject": about,
            # Where the files are; the browser asks for the predictions again when there is a new version.
            "images": f"{folder}/images.png",
            "labels": f"{folder}/labels",
            "predictions": f"{folder}/predictions?{choice}&version={version}",
            "count": spec.test_size,
            "columns": wall.columns(spec.test_size),
            "side": spec.side,
            "classes": spec.classes,
            "stops": [str(Sparsity(stop)) for stop in networks.state(network, criterion).stops],
            # What is predicted at a k that is no known stop, or None.
            "measured": measured,
            "picked": _picked(spec.test_size),
            "tall": tall,
        },
        on_picked_change=_note_pick,
    )
    _show_picked(network, criterion)


def _picked(count: int) -> int | None:
    """The test image of the address."""
    text = st.query_params.get("image", "")
    return int(text) if text.isdecimal() and len(text) < 8 and int(text) < count else None


def _note_pick() -> None:
    picked = st.session_state.get("wall", {}).get("picked")
    if picked is None:
        st.query_params.pop("image", None)
    else:
        st.query_params["image"] = str(picked)


def _show_picked(network: networks.LoadedRun, criterion: Criterion) -> None:
    spec = network.config.spec
    image = _picked(spec.test_size)
    if image is None:
        return
    test = networks.test_split(network.config.dataset)
    scores = networks.state(network, criterion).scores_version()
    stops, rows = _probabilities(network.run.id, network.version, scores, criterion, image, network)
    st.plotly_chart(
        interactive.class_probabilities(stops, rows, spec.classes, int(test.labels[image])),
        key="image_probabilities",
        config=interactive.CONFIG,
        alt="Probability of each class for the picked test image against the sparsity",
    )
    st.caption(
        f"Test image {image:,}, a {spec.classes[test.labels[image]]}: what the network makes of it at every sparsity. "
        "Pick it again to close this."
    )


@st.cache_data(max_entries=50, show_spinner="Asking the network at every sparsity…")
def _probabilities(
    run_id: str, version: str, scores_version: str, criterion: Criterion, image: int, _network: networks.LoadedRun
) -> tuple[list[float], np.ndarray]:
    """The stops at which there is a network, and the softmax of one image at each, of shape (stops, classes)."""
    pixels = networks.test_split(_network.config.dataset).images[image]
    known, rows = [], []
    for k in networks.state(_network, criterion).stops:
        # One at a time: each is as large as the network.
        shown = networks.network_at(_network, criterion, k)
        if shown is not None:
            known.append(k)
            rows.extend(read([shown], pixels))
    return known, np.array(rows)


@functools.lru_cache(maxsize=3)
def _picture(dataset: str, side: int) -> bytes:
    return wall.picture(networks.test_split(dataset), side)


def _criterion(key: str) -> Criterion | None:
    try:
        criterion, _ = Criterion.parse(key)
    except ValueError:
        return None
    state = BY_KEY.get(criterion.recovery)
    known = state and criterion.method in METHODS and criterion.ranking in state.rankings and criterion.scope in SCOPES
    return criterion if known and criterion.recovery == state.keys[0] else None
