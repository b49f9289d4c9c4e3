"""What of a run is not scored yet; score it, most urgent first, and write it down.

Commands, background jobs and pages all come here; nothing else prunes, repairs and scores for the cache.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.config import K_VALUES, Config
from core.datasets import Dataset, load_dataset
from core.errors import RunError, RunWriteError
from core.network import Kernels, Network
from core.pruning import METHODS, SHUFFLED
from core.runs import Predictions, Run
from core.sweep import RANDOM_SEEDS, STOPS, Bench, Criterion, Scored, known_sparsities

Wanted = Sequence[tuple[Criterion, Sequence[float]]]
"""Criteria and the sparsities to score them at, most urgent first."""

Step = tuple[Criterion, float]
"""One criterion at one sparsity."""

_WRITE_SECONDS = 1.0
"""Between two writes of the scores of a run, at least."""


@dataclass(frozen=True)
class Progress:
    """One more score of a run: how many of how many are there now."""

    scored: Scored
    done: int
    total: int


def experiment(sparsities: Sequence[float] = K_VALUES) -> Wanted:
    """What the original experiment scores: both methods, by magnitude in each layer."""
    return [(Criterion(method), sparsities) for method in METHODS]


def baseline(sparsities: Sequence[float] = K_VALUES, shuffled: Sequence[str] = ()) -> Wanted:
    """Random pruning, whose mean and spread every criterion has to beat.

    Args:
        shuffled: global rankings, "magnitude" or "activation", that are compared as well: at random, with the counts
            in each layer of that ranking.
    """
    beside = [name for name, ranking in SHUFFLED.items() if ranking in shuffled]
    kinds = [("random", "layer"), *((name, "global") for name in beside)]
    criteria = [Criterion(method, *kind, seed) for kind in kinds for seed in RANDOM_SEEDS for method in METHODS]
    return [(criterion, sparsities) for criterion in criteria]


def coarse_curve() -> Wanted:
    """What the live slider needs first: both methods at every tenth percent, then at every fifth."""
    return [*experiment(STOPS[::10]), *experiment(STOPS[::5])]


def fine_curve() -> Wanted:
    """Everything that the live slider uses, what is looked at first coming first.

    The curves of the default criteria grow from coarse to fine; the other criteria are scored at the
    sparsities of the original experiment.
    """
    stops = [*experiment(STOPS[::10]), *experiment(K_VALUES), *coarse_curve(), *experiment(STOPS)]
    others = [("activation", "layer"), ("magnitude", "global"), ("activation", "global")]
    ends = [*K_VALUES, 1.0]
    return [*stops, *((Criterion(method, *other), ends) for other in others for method in METHODS), *baseline(ends)]


def unscored(sweep: pd.DataFrame, wanted: Wanted) -> Wanted:
    """What of the wanted a sweep does not hold yet, each score once.

    Example:
        `unscored(run.sweep(), experiment())` is empty for a run of `python -m core.train`.
    """
    known = known_sparsities(sweep)
    missing = []
    for criterion, sparsities in wanted:
        of_criterion = known.setdefault(criterion, set())
        step = [k for k in dict.fromkeys(sparsities) if k not in of_criterion]
        of_criterion.update(step)
        if step:
            missing.append((criterion, step))
    return missing


def count(wanted: Wanted) -> int:
    """How many scores that are."""
    return sum(len(sparsities) for _, sparsities in wanted)


def known_of(run: Run) -> pd.DataFrame:
    """The sweep of a run without repaired networks that are no longer kept, as where a damaged file was deleted."""
    sweep = run.sweep()
    if sweep.empty:
        return sweep
    repaired = sweep[sweep.recovery == "repair"]
    gone = [not run.network_version(key) for key in keys_of(repaired)]
    return sweep.drop(repaired.index[gone])


def unscored_of(run: Run, wanted: Wanted, with_predictions: bool = False) -> Wanted:
    """What of the wanted a run does not hold yet.

    Args:
        with_predictions: treat scores without predictions as missing, as an earlier version left them.
    """
    sweep = known_of(run)
    if with_predictions and len(sweep):
        known = run.predictions()
        sweep = sweep[[key in known for key in keys_of(sweep)]]
    return unscored(sweep, wanted)


def score_run(run: Run, wanted: Wanted, with_predictions: bool = False) -> Iterator[Progress]:
    """Score what a complete run does not hold yet, and write it down as it grows.

    Args:
        run: a complete run.
        wanted: most urgent first.
        with_predictions: see `unscored_of`.

    Yields:
        Each score as soon as it is known; it is in the cache within a second or so, and at the latest when the
        iterator ends.

    Raises:
        RunError: if the run or its dataset cannot be read, the scores cannot be written, or the run is deleted or
            replaced meanwhile.

    Example:
        `list(score_run(run, fine_curve()))` completes all that the slider uses.
    """
    missing = unscored_of(run, wanted, with_predictions)
    total = count(missing)
    for done, scored in enumerate(score_steps(run, steps_of(missing)), start=1):
        yield Progress(scored, done, total)


def score_steps(run: Run, steps: Iterable[Step], **bench_options: Any) -> Iterator[Scored]:
    """As `score_run`, for steps that are decided on the way; they are scored again if they were before.

    Args:
        bench_options: `report` and `pool` of `core.sweep.Bench`.
    """
    version = run.version()
    bench = None
    unwritten: list[Scored] = []
    written = time.monotonic()
    try:
        for criterion, k in steps:
            # Images and network are read only when there is a step.
            bench = bench or _bench_of_run(run, **bench_options)
            unwritten.extend(bench.score(criterion, [k]))
            scored = unwritten[-1]
            if time.monotonic() - written > _WRITE_SECONDS:
                # What cannot be written now is kept, and the caller still gets every score.
                with contextlib.suppress(RunWriteError):
                    _write(run, unwritten, version)
                    unwritten = []
                written = time.monotonic()
            yield scored
    finally:
        if unwritten:
            _write(run, unwritten, version)


def steps_of(wanted: Wanted) -> Iterator[Step]:
    """One by one, in the same order."""
    return ((criterion, k) for criterion, sparsities in wanted for k in sparsities)


def _bench_of_run(run: Run, **options: Any) -> Bench:
    config = run.config()
    return bench_of(run.network(), config, load_dataset(config.dataset, run.root), run.activations(), **options)


def bench_of(
    network: Network | Kernels, config: Config, data: Dataset, activations: list | None = None, **options: Any
) -> Bench:
    """A network and the images of its dataset: test, validation, and the rest of the training images for repair."""
    held_out = config.num_valid
    validation = data.validation(held_out) if held_out else None
    return Bench(
        network,
        data.test.images,
        data.test.labels,
        validation and (validation.images, validation.labels),
        activations,
        lambda: data.train.images[held_out:],
        **options,
    )


def score_bench(bench: Bench, wanted: Wanted) -> Iterator[Progress]:
    """Score a network that is not in the cache yet; as `score_run`, without anything known or written."""
    wanted = unscored(pd.DataFrame(), wanted)
    total = count(wanted)
    for done, (criterion, k) in enumerate(steps_of(wanted), start=1):
        (scored,) = bench.score(criterion, [k])
        yield Progress(scored, done, total)


def predictions_of(scores: Sequence[Scored]) -> Predictions:
    """The predictions of some scores, as a run keeps them."""
    return {_key_of(scored): scored.predictions for scored in scores}


def _key_of(scored: Scored) -> str:
    return _criterion_of(scored.row).key(scored.row["sparsity"])


def keys_of(sweep: pd.DataFrame) -> list[str]:
    """What each row of a sweep is called where it is one name; see `core.sweep.Criterion.key`."""
    return [_criterion_of(row).key(row["sparsity"]) for row in sweep.to_dict("records")]


def _criterion_of(row: Mapping[str, Any]) -> Criterion:
    """The criterion of a row of a sweep."""
    return Criterion(**{field.name: row[field.name] for field in dataclasses.fields(Criterion)})


def _write(run: Run, scores: Sequence[Scored], version: str | None) -> None:
    if not run.is_still(version):
        raise RunError(f"Run {run.id} was deleted or replaced while it was being scored. Score it again.")
    for scored in scores:
        # Repair takes seconds, so what it made is kept.
        if scored.network is not None:
            run.keep_network(_key_of(scored), scored.network, version)
    if scores:
        run.add_to_sweep(pd.DataFrame([scored.row for scored in scores]), version, predictions_of(scores))
