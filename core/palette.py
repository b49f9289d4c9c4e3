"""The colours of the project, on every page and in every file: one colour, one meaning."""

# Okabe and Ito's palette, told apart by every kind of colour vision.
METHOD_COLORS = {"weight": "#0072B2", "unit": "#D55E00"}
GREY = "#9AA3AD"
"""Dense, pruned away, or published elsewhere."""
FAINT = "rgba(128, 138, 150, 0.28)"

LAYER_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")

METHOD_NAMES = {"weight": "Weight pruning", "unit": "Unit pruning"}
