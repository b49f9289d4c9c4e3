"""A smallest file as a QR code: a picture to print, that any reader of such codes turns back into the file."""

import io

import segno

MOST_BYTES = 2_953
"""What the largest code holds, with the least correction of errors (ISO/IEC 18004, version 40-L)."""


def qr_code(file: bytes) -> bytes:
    """The file as a PNG picture, four pixels a module.

    Args:
        file: of at most `MOST_BYTES`.

    Raises:
        ValueError: if it is larger.
    """
    if len(file) > MOST_BYTES:
        raise ValueError(f"A QR code holds {MOST_BYTES:,} bytes at most. Received: {len(file):,} bytes.")
    picture = io.BytesIO()
    segno.make_qr(file, mode="byte", error="l", boost_error=False).save(picture, kind="png", scale=4)
    return picture.getvalue()
