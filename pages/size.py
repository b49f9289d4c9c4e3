"""What a pruned network takes: bytes, multiply-adds and time, beside the dense one."""

import numpy as np
import streamlit as st

from core import jobs, turns
from core.analysis import footprint, latency
from core.charts import footprints as figures
from core.errors import KnownError
from core.pruning import Sparsity
from core.sweep import Criterion
from pages.shared import (
    actions,
    background,
    choice,
    footprints,
    frame,
    in_view,
    instrument,
    models,
    networks,
    size_tables,
)

REFRESH_SECONDS = 1.0
CURVE_PAUSE = 0.2


def choose_k(network: networks.LoadedRun, criterion: Criterion) -> Sparsity:
    """The slider. The address is the truth; it may also name a k between the slider's positions, or one
    for each layer, as the Pruning page does."""
    k = instrument.address_k(network, criterion)
    stops = networks.state(network, criterion).stops
    # With one k for each layer it stands at their mean, until it is moved.
    at = min(stops, key=lambda stop: abs(stop - np.mean(k.each))) if k.by_layer else k.value
    st.session_state.size_k = str(Sparsity(at))
    st.select_slider(
        "Sparsity k",
        [str(Sparsity(stop)) for stop in sorted({*stops, at})],
        st.session_state.size_k,
        key="size_k",
        format_func=lambda key: f"{100 * float(key):.4g}%",
        on_change=lambda: st.query_params.update(k=st.session_state.size_k),
        help="The part of the weights, or units, of the hidden layers that is pruned.",
    )
    if k.by_layer:
        each = ", ".join(f"{100 * part:.4g}%" for part in k.each)
        st.caption(f"One k for each hidden layer: {each}. Move the slider for the same k in all of them.")
    return k


@st.fragment(run_every=REFRESH_SECONDS)
def wait_for_repair(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> None:
    if networks.state(network, criterion).version(k):
        st.rerun()
    if not background.request(network, criterion, k, scores=False, repair=True):
        background.touch([network.run], criterion, k)
        st.info(background.repairing(network.run, criterion.key(k)), icon=":material/hourglass_top:")


def show_files(found: footprints.Footprint, criterion: Criterion, dense_accuracy: float) -> None:
    st.subheader("Files")
    size_tables.show_files(found, dense_accuracy)
    said = footprint.in_words(found.files, found.operations, criterion)
    apart = 1e6 * found.difference.logits
    logits = f"no logit differs by more than {apart:.2g} millionths of the largest, which is float rounding"
    st.caption(
        "Each file is whole: weights, shapes and which pixels are left. Compacted: everything dead is removed. On all "
        f"{found.difference.images:,} test images it answers as the pruned network does, and "
        f"{logits if apart else 'every logit is the same'}. " + " ".join(said)
    )


def show_speed(network: networks.LoadedRun, criterion: Criterion, k: Sparsity, found: footprints.Footprint) -> None:
    """Weights, multiply-adds and time, and the buttons that measure."""
    run = network.run
    record = footprints.speed_at(network, criterion, k)
    st.subheader("Arithmetic and time")
    size_tables.show_operations(found.operations, record)
    if record:
        st.caption(
            f"Measured on {frame.plain(str(record['machine']))}, {frame.counted(record['threads'], 'thread')} each, "
            f"{record['measured'][:16].replace('T', ' ')} UTC: medians, and the quartiles in parentheses, all warm and "
            f"timed in turn. Images a second: {record['images']:,} in batches of {record['batch']:,}. "
            + " ".join(latency.in_words(size_tables.rows_of(record)))
        )
    at_work = jobs.work_on(run, jobs.SPEED) is not None
    curve = [stop for stop, (_, rows) in footprints.curve(network, criterion).items() if rows]
    with st.container(horizontal=True):
        for name, label, icon, ks in (
            ("here", "Measure again" if record else "Measure the time", "timer", [k]),
            ("curve", "Measure at every point of the curves", "ssid_chart", sorted(curve)),
        ):
            actions.button(
                label,
                icon=f":material/{icon}:",
                type="primary" if name == "here" and not record else "secondary",
                key=f"measure_{name}",
                on_click=actions.attempt,
                args=(run, jobs.start_measuring, run, criterion, ks),
                disabled=at_work or not ks,
            )
    actions.show_failure(run)
    problem = jobs.work_problem(run, jobs.SPEED)
    if problem and "failure" not in st.session_state:
        st.warning(frame.plain(problem), title="The last measurement failed", icon=":material/info:")
    if at_work:
        watch(network)


@st.fragment(run_every=REFRESH_SECONDS)
def watch(network: networks.LoadedRun) -> None:
    """How far the measurement is; the page is drawn anew when it ends."""
    far = jobs.work_on(network.run, jobs.SPEED)
    if far is None:
        st.rerun()
    else:
        which = f" network {far.number} of {far.total}" if far.total > 1 else ""
        with st.container(horizontal=True, vertical_alignment="center"):
            waits = background.waits_for(network.run, turns.SPEED)
            doing = frame.plain(f"Measuring{which}: {waits}" if waits else f"Measuring{which}, in a process of its own")
            st.progress(far.fraction, doing)
            actions.button(
                "Stop",
                icon=":material/stop:",
                key="stop_measuring",
                on_click=actions.attempt,
                args=(network.run, jobs.stop_work, network.run, jobs.SPEED),
            )


def show_curves(
    network: networks.LoadedRun, criterion: Criterion, k: Sparsity, found: footprints.Footprint, grows: bool
) -> None:
    """Everything against k; with each run of the fragment the curves grow by a point."""
    missing = footprints.missing(network, criterion)
    if bool(missing) != grows:
        st.rerun()
    place = {"method": criterion.method, "k": None if k.by_layer else k.value}
    points = footprints.table_of(footprints.curve(network, criterion))
    which = frame.one_of(
        "Files", ["as they are", "compressed"], default="as they are", required=True, key="files", bind="query-params"
    )
    if len(points):
        wrong = points[~points.exact].k.unique()
        if len(wrong):
            st.error(f"Compacted at k = {wrong.tolist()} it answers differently, so nothing is shown there.")
        points = points[points.exact]
        column = "compressed" if which == "compressed" else "bytes"
        dense, products = found.files.iloc[0][column], found.operations.multiply_adds.iloc[0]
        size, arithmetic = st.columns(2)
        with size:
            figure = figures.bytes_curve(points, column, dense, **place)
            size_tables.show_figure(figure, "curve_files", "The file of the compacted network against sparsity")
            figure = figures.accuracy_curve(points, network.dense.accuracy, **place)
            size_tables.show_figure(figure, "curve_accuracy", "Test accuracy by format against sparsity")
        with arithmetic:
            figure = figures.operations_curve(points, products, **place)
            size_tables.show_figure(figure, "curve_operations", "Multiply-adds of one image against sparsity")
            measured = footprints.speeds(network, criterion)
            if len(measured):
                figure = figures.speed_curve(measured, "one", **place)
                size_tables.show_figure(figure, "curve_speed", "How many times as fast as dense, against sparsity")
            else:
                st.caption("Time against k appears here once it is measured at some points.")
    if missing:
        st.caption(f"Files are being written and scored: {frame.counted(len(missing), 'point')} of each curve to go.")
        # A fragment is on its own when it reruns, so it shows its failures itself.
        with frame.known_errors():
            footprints.grow(network, criterion)


frame.page_title("Size and speed")
st.markdown("What is left of a pruned network once its zeros are gone for good: bytes, arithmetic, and time.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    run = choice.choose_run()
    criterion = choice.choose_criterion()

try:
    network = networks.load_run(run)
    networks.test_split(network.config.dataset)
    if len(networks.state(network, criterion).stops) < 2:
        st.info("No fine-tuned network for this method yet.", icon=":material/exercise:")
        frame.link_to("pruning", "Train it on", in_view.query())
        st.stop()
    k = choose_k(network, criterion)
    found = footprints.footprint_at(network, criterion, k)
    if found is None:
        wait_for_repair(network, criterion, k)
        st.stop()
    if not found.difference.is_rounding:
        st.error(
            f"Compacted, this network answers {found.difference.changed} of {found.difference.images:,} test images "
            f"differently, and logits differ by {found.difference.logits:.1e} of the largest. So nothing is shown: "
            "please report this with the address of the page.",
            icon=":material/error:",
        )
        st.stop()
    if hasattr(network.config, "parent"):
        st.caption("This network is fine-tuned. What is called dense below is the whole of it, with its zeros.")
    size_tables.show_headline(found, network.dense.accuracy, footprints.speed_at(network, criterion, k))
    show_files(found, criterion, network.dense.accuracy)
    show_speed(network, criterion, k, found)
    st.subheader("Against the sparsity")
    grows = bool(footprints.missing(network, criterion))
    st.fragment(show_curves, run_every=CURVE_PAUSE if grows else None)(network, criterion, k, found, grows)
    with st.expander("Download the small model", icon=":material/download:", key="models", on_change="rerun") as small:
        if small.open:
            models.show(network, criterion, k)
except KnownError as error:
    frame.error_box(error, "This run cannot be pruned")
    frame.link_to("training", "Go to Training to retrain or delete it")
    st.stop()
