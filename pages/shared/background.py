"""What pages ask to be scored and repaired in the background, and what they say while it is not there yet."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from core import jobs, requests, runs, scoring, turns
from core.errors import KnownError
from core.pruning import Sparsity
from core.state import kind_of
from core.sweep import Criterion
from pages.shared import choice, frame, networks


@dataclass(frozen=True)
class Lacking:
    """What is not there yet: the runs whose baselines are not complete, how many networks are to be repaired, and
    why nothing more can be scored, if so."""

    baselines: tuple[str, ...] = ()
    repairs: int = 0
    problem: str | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return bool(self.baselines or self.repairs)


def complete(
    ids: Sequence[str], sparsities: Sequence[float], shuffled: Sequence[str], repairs: Sequence[Criterion]
) -> Lacking:
    """Have what is missing of some complete runs scored in the background.

    Args:
        ids: of the runs.
        sparsities: to score at.
        shuffled: see `core.scoring.baseline`.
        repairs: criteria of repaired networks, each of which takes seconds.

    Returns:
        What is missing still.
    """
    lacking, baselines, to_repair, problem = [], [], 0, None
    baseline = scoring.baseline(sparsities, shuffled)
    for run in map(runs.open_run, ids):
        # One that is damaged or deleted is told of where it is shown.
        with contextlib.suppress(KnownError):
            version, sweep = run.version(), run.sweep()
            if version is None:
                continue
            incomplete = bool(scoring.unscored(sweep, baseline))
            # The most pruned ones first.
            repaired = [(each, sorted(sparsities, reverse=True)) for each in repairs]
            missing = scoring.unscored(sweep, repaired)
            if incomplete or missing:
                lacking.append(run)
                wanted = [*(baseline if incomplete else ()), *(step for step in repaired if step[0] in dict(missing))]
                refused = networks.request_scores(run.root, run.id, version, wanted)
                problem = problem or refused or jobs.scoring_problem(run)
            if incomplete:
                baselines.append(run.id)
            to_repair += sum(len(left) for _, left in missing)
    if not problem:
        touch(lacking, sparsities, shuffled, repairs)
    return Lacking(tuple(baselines), to_repair, problem)


def request(network: networks.LoadedRun, criterion: Criterion, k: Sparsity, scores: bool, repair: bool) -> str | None:
    """Have a run scored in the background, say so if it cannot be, or if the last attempt failed.

    Args:
        network, criterion, k: what is looked at.
        scores: whether all that the slider shows of networks that are only pruned is scored.
        repair: whether the network at this k is repaired, and after it those at the stops of the slider.

    Returns:
        Why it cannot be, or the last attempt failed.
    """
    # What is on screen comes before the curves.
    wanted = [(criterion, [k.value]), *kind_of(criterion).wanted(criterion)] if repair else []
    wanted = [*wanted, *(scoring.fine_curve() if scores else ())]
    refused = networks.request_scores(network.run.root, network.run.id, network.version, wanted)
    if refused:
        title = f"{'The repair cannot begin' if repair else 'Nothing more can be scored here'}; it is tried again"
        st.warning(frame.plain(refused), title=title, icon=":material/info:")
        return refused
    problem = jobs.scoring_problem(network.run)
    if problem:
        title = f"The last {'repair' if repair else 'attempt to score'} failed; it is tried again"
        st.warning(frame.plain(problem), title=title, icon=":material/info:")
    return problem


def touch(touched: Sequence[runs.Run], *how: object) -> None:
    """Have runs scored before all others, the first of them first, if they were opened or touched in this tab.

    Args:
        how: what is looked at; while it stays the same a page only looks whether there is anything new.
    """
    about = ([run.id for run in touched], *how)
    if st.session_state.get("touched") != about:
        st.session_state.touched = about
        for run in reversed(touched):
            requests.touch(run)


def waits_for(run: runs.Run, key: str | None = None) -> str | None:
    """What is done on this machine before a run, such as "waiting for digits, 20 epochs, seed 1".

    Args:
        key: what is waited for: that of a repaired network (`core.sweep.Criterion.key`), or `core.turns.SPEED`.

    Returns:
        None if nothing is.
    """
    work = _at_work(run.root)
    if work is None:
        return None
    speed = "the speed of " if work.what == turns.SPEED else ""
    if work.root != str(run.root):
        return f"waiting for {speed}a network in another cache"
    if work.run != run.id:
        return f"waiting for {speed}{choice.run_labels([work.run]).get(work.run, work.run)}"
    if key == work.what:
        return None
    if speed:
        return "waiting for its speed to be measured"
    return "waiting for other scores of this network" if key else None


def waits_for_others(ids: Sequence[str]) -> str | None:
    """As `waits_for`, in a sentence, for several runs."""
    first = runs.open_run(ids[0])
    work = _at_work(first.root)
    waits = waits_for(first) if work and (work.root != str(first.root) or work.run not in ids) else None
    return f"{waits[0].upper()}{waits[1:]}." if waits else None


def repairing(run: runs.Run, key: str) -> str:
    """What is known of a repair that is waited for, in a sentence.

    Args:
        key: of the network; see `core.sweep.Criterion.key`.
    """
    waits, work = waits_for(run, key), _at_work(run.root)
    if waits:
        return f"Not repaired at this k yet: {waits}."
    if work is None or not work.stage:
        return "Being repaired at this k."
    seconds = (time.time() - work.begun) * (1 - work.part) / work.part if work.part else None
    left = f", about {frame.duration(seconds)} left" if seconds is not None else ""
    return f"Being repaired at this k: {work.stage}{left}."


@st.cache_data(ttl=1, max_entries=10, show_spinner=False)
def _at_work(root: Path) -> turns.Work | None:
    return turns.at_work(root)
