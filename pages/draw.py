"""Draw something, and watch when pruning begins to read it as something else."""

import base64
import time
from collections.abc import Iterator

import numpy as np
import streamlit as st

from core.analysis import drawing, photographs
from core.charts.palette import GREY, METHOD_COLORS
from core.config import DatasetSpec
from core.datasets import Split
from core.errors import KnownError
from core.pruning import Sparsity
from core.sweep import STOPS, Criterion
from pages.shared import board, choice, frame, in_view, networks

KEYS = [str(Sparsity(stop)) for stop in STOPS]
# The canvas arrives as so many rows of so many pixels: a multiple of the side of every dataset's images.
RASTER = 280
# How long to prune before the browser is sent what is known so far.
ROUND_SECONDS = 0.3


def as_bytes(image: np.ndarray) -> str:
    """An image for the browser: a byte a pixel, 255 for full ink."""
    return base64.b64encode(np.rint(255 * image).astype(np.uint8).tobytes()).decode()


def sample(test: Split, spec: DatasetSpec, index: int) -> dict:
    """A test image as the component knows it."""
    return {"index": index, "label": spec.classes[test.labels[index]], "pixels": as_bytes(test.images[index])}


def first_of_each_class(test: Split, spec: DatasetSpec) -> list[dict]:
    """The test images to start from."""
    return [sample(test, spec, int(np.argmax(test.labels == label))) for label in range(len(spec.classes))]


def image_of_address(test: Split) -> int | None:
    """The number of the test image that the address names; None for anything else."""
    number = st.query_params.get("image", "")
    known = number.isascii() and number.isdecimal() and int(number[:9]) < len(test.labels)
    return int(number[:9]) if known else None


def drawing_of_address(spec: DatasetSpec) -> dict | None:
    """What was drawn when its link was copied, as the component knows it; None if the address names no drawing."""
    text = st.query_params.get("drawing", "")
    if not text:
        return None
    try:
        return {"text": text, "pixels": as_bytes(drawing.from_text(text, spec))}
    except ValueError:
        st.toast("**The drawing in the address cannot be read**, so the paper is empty.", icon=":material/info:")
        return None


def keep_in_address(drawn: dict, image: np.ndarray | None, spec: DatasetSpec) -> None:
    """Say in the address what is on the paper: the number of a test image, or the pixels that the network sees."""
    said = {}
    if "image" in drawn:
        said["image"] = str(drawn["image"])
    elif image is not None:
        said["drawing"] = drawing.to_text(image, spec)
    for name in ("image", "drawing"):
        if name not in said:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != said[name]:
            st.query_params[name] = said[name]


def image_of(drawn: dict, test: Split, spec: DatasetSpec) -> np.ndarray | None:
    """What the network sees of a drawing, float32 of shape (inputs,); None while nothing is drawn.

    An untouched image is that image, of the dataset or of a link, and what is drawn over one stays where it is.

    Raises:
        ValueError: if there is no ink in the drawing.
    """
    if "image" in drawn:
        return test.images[drawn["image"]]
    if "text" in drawn:
        return drawing.from_text(drawn["text"], spec)
    if "ink" not in drawn:
        return None
    ink = np.frombuffer(base64.b64decode(drawn["ink"]), np.uint8).reshape(RASTER, RASTER) / np.float32(255)
    return drawing.in_frame(ink, spec) if drawn["framed"] else drawing.as_dataset(ink, spec)


def ink_of(opened: dict, shades: bool) -> str | None:
    """The ink of a picture that the browser has opened, for the canvas; None if nothing in it stands out."""
    light = np.frombuffer(base64.b64decode(opened["light"]), np.uint8).reshape(opened["height"], opened["width"])
    ink = photographs.ink_of(light, shades, opened["small"])
    if ink is None:
        return None
    top, left = ((RASTER - edge) // 2 for edge in ink.shape)
    canvas = np.zeros((RASTER, RASTER), np.float32)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return as_bytes(canvas)


def by_turns(at: int) -> Iterator[int]:
    """The stops in the order in which they are wanted: where the slider is, dense, then ever finer."""
    yield at
    yield 0
    for step in (16, 4, 1):
        yield from range(0, len(STOPS), step)
    yield len(STOPS) - 1


def read_on(reading: dict, network: networks.LoadedRun, criterion: Criterion, at: int) -> None:
    """Prune and read at the stops that are not known yet, for one round."""
    ranks = networks.rank_run(network, criterion).ranks
    end = time.monotonic() + ROUND_SECONDS
    for stop in by_turns(at):
        if reading["rows"][stop] is None:
            (row,) = drawing.read([ranks.prune(network.network, STOPS[stop])], reading["image"])
            reading["rows"][stop] = row.tolist()
            if time.monotonic() > end:
                return


def read(drawn: dict, network: networks.LoadedRun, criterion: Criterion, at: int) -> dict:
    """What is known so far of how the network reads a drawing at every stop.

    Returns:
        drawing: its id; and if something is drawn: seen (the image the network sees), rows (a list of
        probabilities a stop, None where not known yet), or problem (why it cannot be read).
    """
    view = f"{network.run.id} {network.version} {criterion} {drawn['id']}"
    reading = st.session_state.get("reading", {})
    if reading.get("view") != view:
        spec = network.config.spec
        reading = {"view": view, "image": None, "problem": None, "rows": [None] * len(STOPS)}
        try:
            reading["image"] = image_of(drawn, networks.test_split(network.config.dataset), spec)
        except ValueError:
            reading["problem"] = "There is too little ink to read."
        st.session_state.reading = reading
    if reading["image"] is None:
        return {"drawing": drawn["id"], "problem": reading["problem"]}
    read_on(reading, network, criterion, at)
    return {"drawing": drawn["id"], "seen": as_bytes(reading["image"]), "rows": reading["rows"]}


def stop_in_view(network: networks.LoadedRun) -> int:
    """Where on the slider the k in view is: with one for each layer at their mean, and dense where none is."""
    said = in_view.k()
    k = Sparsity.parse(said, len(network.kernels) - 1)
    stop = 0 if k is None else int(np.argmin(np.abs(np.array(STOPS) - np.mean(k.each))))
    if said and k is None:
        frame.say_ignored("k", said, "a number from 0 to 1", f"k = {KEYS[stop]}")
    in_view.complete("k", KEYS[stop])
    return stop


def note_k() -> None:
    """Take the k of the browser's slider into the view and the address."""
    k = st.session_state.get("draw", {}).get("k")
    if k in KEYS:
        in_view.keep_k(k)
        in_view.complete("k", k)


def show_drawing(network: networks.LoadedRun, criterion: Criterion, start_at: int) -> None:
    """The canvas and the two networks' answers.

    Args:
        start_at: the stop at which the slider begins.
    """
    if networks.load_run(network.run).version != network.version:
        st.rerun()
    dataset, spec = network.config.dataset, network.config.spec
    test = networks.test_split(dataset)
    state = st.session_state.get("draw", {})
    drawn = state.get("drawing")
    # A test image belongs to its dataset; what was drawn by hand can be read by any network.
    if drawn and drawn["dataset"] != dataset and ("image" in drawn or drawn.get("framed")):
        drawn = None
    start = None
    if drawn is None:
        number = image_of_address(test)
        start = drawing_of_address(spec) if number is None else sample(test, spec, number)
    # The browser asks for more until it knows every stop, and says where its slider is.
    ask, opened = state.get("ask"), state.get("picture")
    at = ask["at"] if drawn and ask and ask["drawing"] == drawn["id"] else drawn["at"] if drawn else 0
    answer = None
    if drawn:
        answer = read(drawn, network, criterion, at)
        keep_in_address(drawn, st.session_state.reading["image"], spec)
    board.board(
        key="draw",
        data={
            "view": f"{network.run.id} {network.version} {criterion}",
            "dataset": dataset,
            "what": "a piece of clothing" if dataset == "fashion" else "a digit",
            "classes": spec.classes,
            "side": spec.side,
            "raster": RASTER,
            "colors": {"dense": GREY, "pruned": METHOD_COLORS[criterion.method]},
            "stops": KEYS,
            "at": start_at,
            "samples": first_of_each_class(test, spec),
            "start": start,
            "picture": opened and {"id": opened["id"], "ink": ink_of(opened, dataset == "fashion")},
            "answer": answer,
        },
        on_drawing_change=lambda: None,
        on_picture_change=lambda: None,
        on_ask_change=lambda: None,
        on_k_change=note_k,
    )
    if st.session_state.get("draw", {}).get("drawing") != state.get("drawing"):
        # Told to a server before this one, which hears of it only once the component is there.
        st.rerun()


def drawing_board(network: networks.LoadedRun, criterion: Criterion, start_at: int) -> None:
    """A fragment is on its own when it reruns, so it shows its failures itself."""
    with frame.known_errors():
        show_drawing(network, criterion, start_at)


frame.page_title("Draw")
run = choice.choose_run()
criterion = Criterion(choice.choose_method())

try:
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    # Here, since the fragment may run before the browser has heard of its address, and would write an older one.
    st.fragment(drawing_board)(network, criterion, stop_in_view(network))
except KnownError as error:
    frame.error_box(error, "This run cannot be pruned")
    frame.link_to("training", "Go to Training to retrain or delete it")
