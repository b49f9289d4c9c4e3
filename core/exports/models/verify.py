"""What holds for every file before it is offered: its own reader opens it, and it says what the network says."""

import tempfile
from pathlib import Path

import numpy as np
from scipy.special import softmax

from core.errors import ExportError
from core.exports.models.formats import Format
from core.kernels.compaction import ROUNDING
from core.network import Kernels, Network, forward

_SOFTMAX_ROUNDING = 2e-7


def answers_of(form: Format, data: bytes, images: np.ndarray) -> np.ndarray:
    """What the bytes of a file say of images, by the reader of its format.

    Returns:
        Probabilities, float32 of shape (n, classes).

    Raises:
        ExportError: if it cannot be opened, or says something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{form.suffix}"
        path.write_bytes(data)
        try:
            answers = np.asarray(form.answer(path, images))
        # Whatever the reader of a damaged file raises: each has its own.
        except Exception as error:
            raise ExportError(f"{_not_offered(form)} Its own reader cannot open it: {error}.") from error
    if answers.ndim != 2 or len(answers) != len(images) or not np.isfinite(answers).all():
        raise ExportError(f"{_not_offered(form)} It answers {answers.shape} numbers, or such that are not finite.")
    return answers


def check_same(form: Format, answers: np.ndarray, network: Network | Kernels, images: np.ndarray) -> None:
    """Check that a file answers as the pruned network does, run as it is, with all its zeros.

    The class of every image has to be the same; where the network's own two best logits lie closer than float32 sums in
    another order differ, either will do. Every probability has to be the same to that rounding.

    Args:
        answers: what the file predicts: probabilities of shape (n, classes).
        network: a network, or arrays of shape (inputs, units).
        images: float32 of shape (n, inputs).

    Raises:
        ExportError: if it answers differently.
    """
    # Nothing is left out of these products, so that leaving out is what is tested.
    logits = forward(network, images)
    rounding = ROUNDING * np.abs(logits).max()
    chosen = logits[np.arange(len(logits)), answers.argmax(axis=1)]
    others = int(np.count_nonzero(logits.max(axis=1) - chosen > rounding))
    # Logits that are off by so much move a probability by half of it at most.
    apart = float(np.abs(softmax(logits, axis=1) - answers).max())
    if others or not apart <= rounding / 2 + _SOFTMAX_ROUNDING:
        raise ExportError(
            f"{_not_offered(form)} It predicts a different class for {others:,} of {len(images):,} images, and its "
            f"probabilities differ by up to {apart:.2g}."
        )


def check_about(form: Format, data: bytes, about: dict) -> None:
    """Check that the metadata of a file describe it.

    Raises:
        ExportError: if they describe something else.
    """
    try:
        said = form.read_about(data)
    except Exception as error:
        raise ExportError(f"{_not_offered(form)} Its metadata cannot be read: {error}.") from error
    if said != about:
        raise ExportError(f"{_not_offered(form)} Expected its metadata to say {about}. Received: {said}.")


def _not_offered(form: Format) -> str:
    return f"The file made for {form.title} failed verification and was discarded."
