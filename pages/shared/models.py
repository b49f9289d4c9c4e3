"""The network under the slider as small files to take away, each made and verified in a process of its own."""

import streamlit as st

from core import jobs
from core.exports.models import FORMATS, STAGES, Exported, Subject, find
from core.pruning import Sparsity
from core.sweep import Criterion
from pages.shared import actions, frame, in_view, networks

REFRESH_SECONDS = 1.0


def show(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> None:
    """For each format: what it is, a button that makes the file, how far that is, and the file with its size.

    Args:
        criterion, k: what is under the slider.
    """
    subject = subject_of(network, criterion, k)
    if subject is None:
        st.caption("There is no such network at this sparsity yet.")
        return
    st.caption(
        "Without the units and pixels that no longer influence any output, for whole images of "
        f"{network.config.spec.inputs} pixels. Every file is opened by its own reader and scored on all "
        f"{network.config.spec.test_size:,} test images before it is offered, and says so in its metadata."
    )
    frame.link_to("smallest", "Smaller still: a network trained for its size", in_view.query())
    if 1 in k.each:
        st.info("Nothing is left of the network at k = 1. Choose a smaller k.", icon=":material/info:")
        return
    at_work = _at_work(subject)
    st.fragment(_show, run_every=REFRESH_SECONDS if at_work else None)(network, subject, at_work)


def subject_of(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> Subject | None:
    """What is exported; None if it is not there: one that is to be repaired, or fine-tuned, first."""
    shown = networks.state(network, criterion)
    if shown.version(k) is None:
        return None
    run = shown.run_at(k)
    return Subject(run) if k == 0 or run != network.run else Subject(run, criterion, k)


def _at_work(subject: Subject) -> list[str]:
    """The formats that are being made."""
    return [form for form in FORMATS if jobs.exporting(subject.run, subject.kept_name(form)) is not None]


def _show(network: networks.LoadedRun, subject: Subject, at_work: list[str]) -> None:
    # A fragment is on its own when it reruns, so it shows its failures itself.
    with frame.known_errors():
        if not any(jobs.export_problem(subject.run, subject.kept_name(form)) for form in FORMATS):
            # One that failed later is told of beside its format.
            actions.show_failure(subject)
        for form in FORMATS:
            with st.container(border=True):
                about, usage = st.columns([2, 3], gap="medium")
                with about:
                    _show_format(subject, form)
                with usage:
                    layers = subject.run.layers()
                    name = subject.file_name(form)
                    st.code(
                        FORMATS[form].usage(name, layers.inputs, len(layers.layers)), language="python", wrap_lines=True
                    )
        if at_work != _at_work(subject):
            st.rerun()


def _show_format(subject: Subject, form: str) -> None:
    st.markdown(f"**{FORMATS[form].title}**")
    st.caption(FORMATS[form].says)
    name = subject.kept_name(form)
    said = jobs.exporting(subject.run, name)
    if said is not None:
        stage = next((line for line in reversed(said) if line in STAGES), None)
        done = STAGES.index(stage) + 1 if stage else 0
        st.progress(done / (len(STAGES) + 1), stage or "Getting ready")
        return
    exported = find(subject, form)
    if exported:
        _offer(exported, subject, form)
        return
    lacks = FORMATS[form].lacks()
    if lacks:
        st.caption(f":material/info: {lacks}")
        return
    problem = jobs.export_problem(subject.run, name)
    if problem:
        st.error(frame.verbatim(problem), title="The last attempt failed", icon=":material/error:")
    actions.button(
        "Make again" if problem else "Make",
        icon=":material/build:",
        key=f"make_{form}",
        on_click=actions.attempt,
        args=(subject, jobs.start_export, subject.run, name, subject.flags(form)),
    )


def _offer(exported: Exported, subject: Subject, form: str) -> None:
    st.markdown(
        f"**{exported.bytes:,} bytes**, {exported.against_dense}  \n"
        f"**{exported.about['test_accuracy']:.2%}** of test images right, measured with this file"
    )
    frame.download(
        "Download", exported.read, subject.file_name(form), "application/octet-stream", key=f"download_{form}"
    )
