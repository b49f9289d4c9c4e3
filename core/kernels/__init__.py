"""Kernels in, kernels out: make a pruned network physically smaller, and win back what pruning cost."""

from core.kernels.compaction import Compacted, compact, live_units

__all__ = ["Compacted", "compact", "live_units"]
