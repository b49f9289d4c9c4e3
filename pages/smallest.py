"""Make the smallest file of a trained network that still reads its images."""

import pandas as pd
import streamlit as st

from core import jobs, runs
from core.charts import smallest as figures
from core.charts.interactive import CONFIG
from core.errors import ConfigError, KnownError
from core.exports.qr import MOST_BYTES, qr_code
from core.kernels.smallest import DECODER, EPOCHS, LARGEST_BYTES, SMALLEST_BYTES
from core.parameters import Whole
from pages.shared import actions, choice, frame

REFRESH_SECONDS = 1.0
SIZES = (1_024, 2_048, MOST_BYTES, 4_096, 6_144, 8_192)
CHOSEN = (2_048, MOST_BYTES, 4_096)


def ask(run: runs.Run) -> None:
    """Which sizes are made, how long each is trained, and the button. While some are made, the boxes say which."""
    far = jobs.work_on(run, jobs.SMALLEST)
    if far and (made := [size for size in far.sizes.split(",") if _is_size(size)]):
        st.session_state.tiny_bytes = [int(size) if int(size) in SIZES else size for size in made]
        st.session_state.tiny_epochs, st.session_state.tiny_seed = far.epochs, far.seed
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sizes = st.multiselect(
            "Bytes at most",
            SIZES,
            default=CHOSEN,
            format_func=lambda size: f"{int(size):,}" + (" (one QR code)" if size == MOST_BYTES else ""),
            accept_new_options=True,
            key="tiny_bytes",
            disabled=far is not None,
            help=f"The size of each whole file. Any other from {SMALLEST_BYTES:,} to {LARGEST_BYTES:,} can be typed.",
        )
        epochs = st.number_input(
            "Epochs",
            value=EPOCHS,
            key="tiny_epochs",
            disabled=far is not None,
            help="More take longer and know more.",
        )
        seed = st.number_input("Seed", value=0, key="tiny_seed", disabled=far is not None)
        problem = wrong_with(sizes, epochs, seed)
        actions.button(
            "Make",
            type="primary",
            icon=":material/compress:",
            key="tiny_make",
            disabled=bool(problem or not sizes or far),
            on_click=make,
            args=(run,),
        )
    if problem:
        st.warning(problem, icon=":material/info:")


def wrong_with(sizes: list[int | str], epochs: int, seed: int) -> str | None:
    """Why no file can be made of what the boxes say; None if one can."""
    wrong = [size for size in sizes if not _is_size(size)]
    if wrong:
        received = frame.verbatim(", ".join(map(str, wrong)))
        return f"Expected sizes from {SMALLEST_BYTES:,} to {LARGEST_BYTES:,} bytes. Received: {received}"
    try:
        Whole(1, 10_000).check("Epochs", epochs)
        Whole(0, 2**32 - 1).check("Seed", seed)
    except ConfigError as error:
        return str(error)
    return None


def make(run: runs.Run) -> None:
    """Start with what the boxes say at the click, which may be newer than what was drawn."""
    asked = st.session_state
    if not wrong_with(asked.tiny_bytes, asked.tiny_epochs, asked.tiny_seed):
        sizes = [int(size) for size in asked.tiny_bytes]
        actions.attempt(run, jobs.start_smallest, run, sizes, asked.tiny_epochs, asked.tiny_seed)


def _is_size(size: int | str) -> bool:
    text = str(size)
    return text.isascii() and text.isdigit() and len(text) < 10 and SMALLEST_BYTES <= int(text) <= LARGEST_BYTES


@st.fragment(run_every=REFRESH_SECONDS)
def watch(run: runs.Run, known: int) -> None:
    """How far it is; the page is drawn anew with every network that is ready, and at the end."""
    far = jobs.work_on(run, jobs.SMALLEST)
    if far is None or len(runs.smallest_files(run)) != known:
        st.rerun()
        return
    text = f"Network {far.number} of {far.total}"
    if far.epoch:
        text += (
            f", at most {far.most_bytes:,} bytes · epoch {far.epoch} of {far.epochs} · now {far.bytes:,} bytes, "
            f"{far.val_accuracy:.2%} on validation images"
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(far.fraction, text)
        actions.button(
            "Stop",
            icon=":material/stop:",
            key="tiny_stop",
            on_click=actions.attempt,
            args=(run, jobs.stop_work, run, jobs.SMALLEST),
        )


def show(run: runs.Run, files: list[runs.SmallestFile]) -> None:
    """The chart, the table, and the file that is chosen in it."""
    large = 4 * run.layers().weights
    st.plotly_chart(
        figures.front(files, run.ended_with().test_accuracy, MOST_BYTES),
        key="tiny_front",
        config=CONFIG,
        alt="Test accuracy of tiny networks against the bytes of their files",
    )
    table = pd.DataFrame(
        {
            "bytes": [made.bytes for made in files],
            "smaller": [large / made.bytes for made in files],
            "test": [made.test_accuracy for made in files],
            "validation": [made.val_accuracy for made in files],
            "weights": [made.weights for made in files],
            "epochs": [made.epochs for made in files],
            "seed": [made.seed for made in files],
            "seconds": [made.seconds for made in files],
        }
    )
    st.dataframe(
        table.style.format(
            {
                "bytes": "{:,}",
                "smaller": "{:,.0f}×",
                "test": "{:.2%}",
                "validation": "{:.2%}",
                "weights": "{:,}",
                "seconds": "{:,.0f}",
            }
        ),
        hide_index=True,
        height="content",
        column_config={
            "bytes": "Bytes",
            "smaller": "Smaller",
            "test": "Test accuracy",
            "validation": "Validation accuracy",
            "weights": "Not zero",
            "epochs": "Epochs",
            "seed": "Seed",
            "seconds": "Seconds",
        },
        alt="Tiny networks that were made from this run",
    )
    st.caption(
        f"Smaller: against the {large:,} bytes of the large network's weights in float32. The epoch of each was chosen "
        "on validation images; test images were scored once, as the decoder reads the file."
    )
    chosen = st.selectbox(
        "File",
        files,
        index=files.index(max(files, key=lambda made: made.val_accuracy)),
        format_func=lambda made: f"{made.bytes:,} bytes, {made.test_accuracy:.2%}",
        key="tiny_file",
    )
    offer(run, chosen)


def offer(run: runs.Run, made: runs.SmallestFile) -> None:
    """The file, its decoder, how they are used, and the QR code."""
    name = f"{run.id}-{made.bytes}"
    usage, code = st.columns([3, 2], gap="large")
    with usage:
        with st.container(horizontal=True):
            frame.download(
                f"Network, {made.bytes:,} bytes",
                lambda: runs.read_smallest(run, made),
                f"{name}.tiny",
                "application/octet-stream",
                key="tiny_download",
            )
            frame.download(
                f"Decoder, {DECODER.stat().st_size:,} bytes",
                DECODER.read_bytes,
                "decoder.py",
                "text/x-python",
                key="tiny_decoder",
            )
        st.code(
            f"""from pathlib import Path
import numpy as np
import decoder

*hidden, last = decoder.read(Path("{name}.tiny").read_bytes())
activations = images  # float32 of shape (n, {run.config().spec.inputs}), from 0 to 1
for kernel in hidden:
    activations = np.maximum(activations @ kernel, 0)
classes = (activations @ last).argmax(axis=1)""",
            language="python",
            wrap_lines=True,
        )
    with code:
        if made.bytes <= MOST_BYTES:
            picture = qr_code(runs.read_smallest(run, made))
            st.image(
                picture,
                caption="The whole network, as any reader of QR codes gives it back",
                width=300,
                alt=f"QR code of the network's {made.bytes:,} bytes",
            )
            frame.download("QR code", lambda: picture, f"{name}.png", "image/png", key="tiny_qr")
        else:
            st.caption(f"A QR code holds at most {MOST_BYTES:,} bytes, so this file has none.")


frame.page_title("Smallest")
st.markdown("Train the large network into the smallest file that still reads its images.")
run = choice.choose_run()
try:
    if not run.config().num_valid:
        st.info("This run has no validation images, on which a network could be chosen.", icon=":material/info:")
        st.stop()
    ask(run)
    actions.show_failure(run)
    problem = jobs.work_problem(run, jobs.SMALLEST)
    if problem and "failure" not in st.session_state:
        st.warning(frame.verbatim(problem), title="The last attempt ended early", icon=":material/info:")
    files = runs.smallest_files(run)
    if jobs.work_on(run, jobs.SMALLEST):
        watch(run, len(files))
    if files:
        show(run, files)
    elif not jobs.work_on(run, jobs.SMALLEST):
        st.info("No file was made of this network yet. Choose sizes and press Make.", icon=":material/compress:")
    with st.expander("How it is made", icon=":material/help:"):
        st.markdown(
            "Two hidden layers of small whole numbers. The first looks at cosine waves over the image, as JPEG does; "
            "its units are chosen from the large network by least squares. All numbers then learn from the labels and "
            "from what the large network answers, on training images that are moved and turned a little each time. "
            "What a number costs in the file is part of the loss, so many become zero. A range coder writes them."
        )
except KnownError as error:
    frame.error_box(error, "This run cannot be made smaller")
    frame.link_to("training", "Go to Training to retrain or delete it")
    st.stop()
