"""Scores that a page asks for in the background: random baselines, and repaired networks."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from core import runs, scoring
from core.errors import KnownError
from core.sweep import Criterion, key_of
from pages.shared import networks


@dataclass(frozen=True)
class Lacking:
    """What is not there yet: the runs whose baselines are not complete, how many networks are to be repaired, and
    why that cannot begin, if it cannot."""

    baselines: tuple[str, ...] = ()
    repairs: int = 0
    problem: str | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return bool(self.baselines or self.repairs)


def complete(
    ids: Sequence[str], sparsities: Sequence[float], shuffled: Sequence[str], repairs: Sequence[Criterion]
) -> Lacking:
    """Have what is missing of some complete runs scored in the background, one run after the other.

    Args:
        ids: of the runs.
        sparsities: to score at.
        shuffled: see `core.scoring.baseline`.
        repairs: criteria of repaired networks, each of which takes seconds.

    Returns:
        What is missing still.
    """
    baselines, to_repair = [], []
    for run in map(runs.open_run, ids):
        # One that is damaged or deleted is told of where it is shown.
        with contextlib.suppress(KnownError):
            identity, sweep = run.identity(), run.sweep()
            if identity is None:
                continue
            if scoring.unscored(sweep, scoring.baseline(sparsities, shuffled)):
                baselines.append((run, identity))
            missing = [(criterion, criterion.missing(sweep, sparsities)) for criterion in repairs]
            to_repair += [(run, identity, criterion, left) for criterion, left in missing if left]
    if not any(run.is_busy("curve") for run, _ in baselines):
        flags = [*(f"--shuffled={ranking}" for ranking in shuffled), f"--k_vals={','.join(map(str, sparsities))}"]
        for run, identity in baselines[:1]:
            networks.request_scores(run.root, run.id, identity, "--baseline", *flags)
    problem = None
    for run, identity, criterion, left in to_repair[:1]:
        # The most pruned one first.
        problem = networks.request_repair(run.root, run.id, identity, criterion, key_of(max(left)), curve=False)
    return Lacking(tuple(run.id for run, _ in baselines), sum(len(left) for *_, left in to_repair), problem)
