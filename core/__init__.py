"""Everything the dashboard computes: training, pruning, scoring and the figures that show them."""

import sys

# Said before an import fails: TensorFlow has no wheels for other versions.
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(f"error: Network pruning needs Python 3.11, 3.12 or 3.13. This is Python {version}.")
