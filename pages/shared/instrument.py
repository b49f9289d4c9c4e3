"""The live slider: the component, what Python sends to it, and what it hears back.

The browser draws by itself whatever it knows, at every move of the pointer; Python follows, prunes and scores the real
network, and what it measures takes the place of anything shown before.
"""

import dataclasses
import time
from typing import Any

import streamlit as st

from core.analysis.distributions import layer_names
from core.charts.live import CURVE_HEIGHT, HISTOGRAM_HEIGHT, histogram_rows
from core.charts.palette import GREY, METHOD_COLORS
from core.pruning import Sparsity
from core.state import kind_of
from core.sweep import STOPS, Criterion
from pages.shared import background, component, frame, in_view, networks, wall

PLOTLY_PATH = "library/plotly.min.js"
"""Where the app serves the Plotly library, below its base path; browsers ask for it relative to the page."""
REFRESH_SECONDS = 2.0
WON_BACK_DROP = 0.005
"""The slider opens at the largest k that costs at most this much accuracy, where pruning is worth a look."""
BESIDE_FIRST = 0.9
"""Where repaired networks that nobody has asked for begin."""
QUICK_FROM = {"weight": 0.97, "unit": 0.5}
"""From which k on scoring costs a fraction of the dense network: nearly all weights are gone, or half of the units."""

# Its styles are not isolated, as Plotly puts its own into the document.
_scripts = ("scale.js", "play.js", "survivors.js", "drawing.js", "address.js")
_component = component.from_folder("instrument", *_scripts, isolate_styles=False)


def subject(network: networks.LoadedRun, criterion: Criterion) -> str:
    """What the slider is about: a network and a criterion. Whatever follows the slider compares it."""
    return f"{network.run.id} {network.version} {criterion}"


def show(network: networks.LoadedRun, criterion: Criterion, view: str = "full", details: tuple[str, ...] = ()) -> None:
    """Show the live slider.

    Args:
        view: "full", "short" (the slider and two numbers) or "present" (large numbers for a projector).
        details: keys of expanders whose content depends on k; the page is run again for those that are open.
    """
    scores = networks.live_scores(network, criterion)
    # Scores and repairs come in the background; the slider looks for new ones while there are any to come.
    beside = networks.state(network, criterion.beside)
    if view == "full" and scores.complete and beside.is_repair and not scores.beside.keys() >= {*beside.stops}:
        # The numbers that stand beside come at leisure, and show where the slider rests next.
        wanted = [(criterion.beside, [BESIDE_FIRST]), *beside.wanted(criterion.beside)]
        networks.request_scores(network.run.root, network.run.id, network.version, wanted)
    waits = _waits(criterion, _position(network, criterion, news=False)[0], scores)
    st.fragment(_show, run_every=REFRESH_SECONDS if waits else None)(network, criterion, view, details, waits)


def address_k(network: networks.LoadedRun, criterion: Criterion) -> Sparsity:
    """The k in view, as the slider knows it; where none is, or none that can be, one that is worth a look."""
    said = in_view.k()
    k = Sparsity.parse(said, len(network.kernels) - 1)
    fits = k is not None and (separable(criterion) or not k.by_layer)
    if not fits:
        k = Sparsity(networks.live_scores(network, criterion).furthest(network.dense.accuracy - WON_BACK_DROP))
    shown = networks.state(network, criterion)
    if not shown.is_at_any_k:
        k = Sparsity(min(shown.stops, key=lambda stop: abs(stop - k.value)))
    if said and not fits:
        each = f", or one for each of {len(network.kernels) - 1} hidden layers" if separable(criterion) else ""
        frame.say_ignored("k", said, f"a number from 0 to 1{each}", f"k = {k}")
    in_view.keep_k(str(k))
    in_view.complete("k", str(k))
    return k


def separable(criterion: Criterion) -> bool:
    """Whether each layer can have a k of its own."""
    return criterion.scope == "layer" and kind_of(criterion).is_instant


def _show(network: networks.LoadedRun, criterion: Criterion, view: str, details: tuple[str, ...], waits: bool) -> None:
    # A fragment is on its own when it reruns, so it shows its failures itself.
    with frame.known_errors():
        if networks.load_run(network.run).version != network.version:
            st.rerun()
        about = subject(network, criterion)
        scores = networks.live_scores(network, criterion)
        k, moving = _position(network, criterion)
        if not moving:
            in_view.keep_k(str(k))
        measured = st.session_state.get("measured", {})
        if (measured.get("subject"), measured.get("key")) != (about, str(k)):
            measured = None
            if not kind_of(criterion).is_instant:
                measured = None if moving else _kept(k, scores)
            elif not moving or _is_worth_measuring(criterion, k, scores):
                measured = {"subject": about, **_measure(network, criterion, k)}
                st.session_state.measured = measured
        # What is won back stands beside what was pruned.
        to_score = not networks.live_scores(network, criterion.as_pruned).complete
        to_repair = not moving and _lacks_repair(criterion, k, scores)
        problem = None
        if to_score or to_repair:
            problem = background.request(network, criterion, k, to_score, to_repair)
            if not problem and not moving:
                background.touch([network.run], criterion, k)
        told = _told()
        slider, images = st.columns(2, gap="large") if view == "present" else (st.container(), st.container())
        with slider:
            _component(
                key="instrument",
                data=_contract(network, criterion, view, k, scores, measured, problem),
                on_at_change=lambda: None,
            )
        if _told() != told:
            # Told to a server before this one, which hears of it only once the component is there.
            st.rerun()
        with images:
            # While the pointer moves, the wall does without what is not scored yet.
            wall.show(network, criterion, about, Sparsity(0.0) if moving else k, tall=view == "present")
        if moving:
            return
        if st.query_params.get("run") and st.query_params.get("k") != str(k):
            st.query_params["k"] = str(k)
            if any(st.session_state.get(name) for name in details):
                st.rerun()
        if kind_of(criterion).is_repair and any(st.session_state.get(name) for name in details):
            # What the details are about may have come to be meanwhile.
            there = about, k, k in scores.known
            if st.session_state.get("details_of") != there:
                st.session_state.details_of = there
                st.rerun()
        if waits != _waits(criterion, k, scores):
            st.rerun()


def _told() -> dict:
    """Where the browser says that the slider is."""
    return st.session_state.get("instrument", {}).get("at") or {}


def _position(network: networks.LoadedRun, criterion: Criterion, news: bool = True) -> tuple[Sparsity, bool]:
    """Where the slider is, and whether it is moving.

    What the browser tells is taken once; after that the address is the truth, which the back button changes, too.

    Args:
        news: whether what the browser told is taken now.
    """
    at = _told()
    about = subject(network, criterion)
    k = Sparsity.parse(at.get("key", ""), len(network.kernels) - 1)
    valid = at.get("subject") == about and k is not None and (separable(criterion) or not k.by_layer)
    shown = networks.state(network, criterion)
    valid = valid and (shown.is_at_any_k or k in shown.stops)
    is_news = valid and st.session_state.get("heard") != at.get("serial")
    if valid and (is_news or at["moving"] or "k" not in st.query_params):
        if news:
            st.session_state.heard = at.get("serial")
        return k, bool(at["moving"])
    return address_k(network, criterion), False


def _is_worth_measuring(criterion: Criterion, k: Sparsity, scores: networks.LiveScores) -> bool:
    """At rest everything is measured. While the pointer moves, what is quick to score is measured, too, and what is
    not known yet; the rest would only keep the measurement at rest waiting, twice as long by weight."""
    return k not in scores.known or k.value >= QUICK_FROM[criterion.method]


def _measure(network: networks.LoadedRun, criterion: Criterion, k: Sparsity) -> dict:
    """Really prune at this k and score on the full test set."""
    ranked = networks.rank_run(network, criterion)
    score = networks.examined(network, criterion, k).score
    taken = ranked.ranks.taken(k)
    return {
        "key": str(k),
        "accuracy": score.accuracy,
        "loss": score.loss,
        "taken": taken,
        "zeroed": ranked.ranks.zeroed(network.kernels, k),
        "thresholds": ranked.thresholds_at(taken),
    }


def _kept(k: Sparsity, scores: networks.LiveScores) -> dict | None:
    """What was measured of a network that is kept; None if there is none at this k."""
    if k not in scores.known:
        return None
    accuracy, loss = scores.known[k]
    return {"key": str(k), "accuracy": accuracy, "loss": loss}


def _lacks_repair(criterion: Criterion, k: Sparsity, scores: networks.LiveScores) -> bool:
    """Whether the slider shows repaired networks, and there are some to come."""
    return kind_of(criterion).is_repair and not (scores.complete and k in scores.known)


def _waits(criterion: Criterion, k: Sparsity, scores: networks.LiveScores) -> bool:
    """Whether there is anything to come that the slider shows."""
    return not scores.complete or _lacks_repair(criterion, k, scores)


def _by_key(values: dict[float, Any] | None) -> dict[str, Any] | None:
    """As the browser knows them: by the key of k."""
    return None if values is None else {str(Sparsity(k)): value for k, value in values.items()}


def _said(images: int, epochs: int, seconds: float, tested: int) -> str:
    """What winning back cost: no epochs where nothing was trained."""
    long = f"{epochs:.0f} epoch{'' if epochs == 1 else 's'}"
    how = f"Repaired in {seconds:.1f} s from {images:,.0f} training images without labels"
    if epochs:
        how = f"Fine-tuned for {long} of {images:,.0f} images in {seconds:,.0f} s"
    return f"{how}, and scored on all {tested:,} test images."


def _contract(
    network: networks.LoadedRun,
    criterion: Criterion,
    view: str,
    k: Sparsity,
    scores: networks.LiveScores,
    measured: dict | None,
    problem: str | None,
) -> dict:
    """Everything that the browser is told; `assets/instrument/instrument.js` reads it as `data`."""
    ranked, shown = networks.rank_run(network, criterion), networks.state(network, criterion)
    hidden = network.kernels[:-1]
    names = layer_names(network.kernels)
    return {
        # The network and the criterion; with another one the slider begins anew, at `k`.
        "subject": subject(network, criterion),
        "view": view,
        "k": str(k),
        # Whether each layer can have a k of its own.
        "separable": separable(criterion),
        # What k is a fraction of.
        "of": "of each hidden layer" if criterion.scope == "layer" else "of all hidden layers together",
        # As pruned, repaired or fine-tuned; `beside` is the accuracy in another state by key of k, and its name.
        "state": criterion.recovery,
        "beside": {"name": kind_of(criterion.beside).words, "accuracy": _by_key(scores.beside)},
        # What the line under the numbers says, by key of k: what winning back cost.
        "said": _by_key({k: _said(*cost, network.config.spec.test_size) for k, cost in scores.cost.items()}),
        # How it looks: where Plotly is, colours, pixels.
        "plotly": PLOTLY_PATH,
        "colors": {"method": METHOD_COLORS[criterion.method], "pruned": GREY},
        "heights": {"histograms": HISTOGRAM_HEIGHT * histogram_rows(len(hidden)), "curve": CURVE_HEIGHT},
        # The whole scale of the slider as keys, the same in every state; and whether any other k can be asked for.
        "scale": [str(Sparsity(stop)) for stop in STOPS],
        "any": shown.is_at_any_k,
        # Where the slider stops, as keys. For each stop of the scale and each layer: what its histogram loses, how many
        # of its weights are zero, and the smallest that survives.
        "stops": [str(Sparsity(stop)) for stop in shown.stops],
        "taken": ranked.taken,
        "zeroed": ranked.zeroed,
        "thresholds": ranked.thresholds,
        # Of kept networks instead, by key of k: how many weights of each layer are zero, and the histogram of the
        # others.
        "kept": _by_key(networks.kept_layers(network, criterion)),
        # The histogram of each hidden layer, and its figure as Plotly wants it.
        "counts": [layer.counts.tolist() for layer in ranked.distributions],
        "edges": [layer.edges.tolist() for layer in ranked.distributions],
        "histograms": ranked.histograms,
        # Sizes: of each hidden layer, of all, of the test set.
        "layers": [{"name": name, "weights": kernel.size} for name, kernel in zip(names, hidden, strict=False)],
        "hiddenWeights": sum(kernel.size for kernel in hidden),
        "networkWeights": sum(kernel.size for kernel in network.kernels),
        "images": network.config.spec.test_size,
        # Accuracy and loss: dense; by key of k, as scored so far; just measured at one key, or None.
        "dense": dataclasses.asdict(network.dense),
        "known": _by_key(scores.known),
        "measured": measured,
        "scored": _scored(network, criterion, scores, problem),
        # What is known of the repaired network at k while it is not there yet; None if it is.
        "coming": _coming(network, criterion, k, scores, problem),
        # The figure of accuracy against k.
        "curve": scores.curve,
    }


def _scored(
    network: networks.LoadedRun, criterion: Criterion, scores: networks.LiveScores, problem: str | None
) -> dict:
    """How many scores are there, how many will be, and in how many seconds; or why no more come in now."""
    waits = None
    if not scores.complete:
        waits = "nothing more can be scored here" if problem else background.waits_for(network.run)
    if waits:
        # What comes in now and then while others are scored says nothing about the time that is left.
        st.session_state.pop("pace", None)
    seconds = None if waits else _seconds_left(network, scores)
    return {"done": scores.done, "total": scores.total, "seconds": seconds, "waits": waits}


def _coming(
    network: networks.LoadedRun, criterion: Criterion, k: Sparsity, scores: networks.LiveScores, problem: str | None
) -> dict | None:
    if k in scores.known or not kind_of(criterion).is_repair:
        return None
    ranks = networks.rank_run(network, criterion).ranks
    by_layer = criterion.scope == "layer"
    zeroed = ranks.zeroed(network.kernels, k)
    return {
        "key": str(k),
        "text": "Not repaired at this k." if problem else background.repairing(network.run, criterion.key(k)),
        # Globally, repair shares the sparsity between the layers in its own way.
        "zeroed": zeroed if by_layer else None,
        "total": sum(zeroed) if by_layer or criterion.method == "weight" else None,
    }


def _seconds_left(network: networks.LoadedRun, scores: networks.LiveScores) -> float | None:
    """How long the curves will go on growing, by their pace since somebody began to look; None if not known yet."""
    begun = st.session_state.get("pace")
    if not begun or begun[0] != network.version:
        st.session_state.pace = begun = (network.version, time.monotonic(), scores.done)
    _, since, done = begun
    gained, seconds = scores.done - done, time.monotonic() - since
    return (scores.total - scores.done) * seconds / gained if gained >= 3 else None
