"""Kernels in, kernels out: make a pruned network physically smaller, and win back what pruning cost."""

from core.kernels.compaction import Compacted, Difference, compact, difference, live_units
from core.kernels.layer import Recipe
from core.kernels.repairer import DEFAULT_SUPPORT, SUPPORTS, Repaired, Repairer, Report, repair

__all__ = [
    "DEFAULT_SUPPORT",
    "SUPPORTS",
    "Compacted",
    "Difference",
    "Recipe",
    "Repaired",
    "Repairer",
    "Report",
    "compact",
    "difference",
    "live_units",
    "repair",
]
