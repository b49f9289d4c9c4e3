"""The colours of the project, on every page and in every file: one colour, one meaning."""

# Okabe and Ito's palette, told apart by every kind of colour vision.
METHOD_COLORS = {"weight": "#0072B2", "unit": "#D55E00"}
GREY = "#9AA3AD"
"""Dense, pruned away, or published elsewhere."""
FAINT = "rgba(128, 138, 150, 0.28)"

LAYER_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")

METHOD_NAMES = {"weight": "Weight pruning", "unit": "Unit pruning"}


def shades(color: str, count: int) -> list[str]:
    """Variants of a colour from dark to light, as hex, that stay apart from each other and from the background."""
    channels = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    if count == 1:
        return [color]

    def mixed(share: float) -> str:
        # Below zero towards black, above towards white.
        target = 255 if share > 0 else 0
        return "#" + "".join(f"{round(value + abs(share) * (target - value)):02X}" for value in channels)

    return [mixed(-0.1 + 0.65 * index / (count - 1)) for index in range(count)]
