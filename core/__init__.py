"""Everything the dashboard computes: training, pruning, scoring and the figures that show them."""
