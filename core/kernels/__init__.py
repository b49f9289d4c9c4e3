"""Kernels in, kernels out: make a pruned network physically smaller, and win back what pruning cost."""

from core.kernels.compaction import Compacted, compact, live_units
from core.kernels.layer import Recipe
from core.kernels.repair import Repaired, Repairer, repair

__all__ = ["Compacted", "Recipe", "Repaired", "Repairer", "compact", "live_units", "repair"]
