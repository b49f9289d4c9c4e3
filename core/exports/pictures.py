"""The files that the original experiment leaves in a run's folder: table, figures, histograms and animations."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from core.analysis.distributions import layer_names
from core.charts import printed
from core.charts.histograms import GIF_WIDTH, Histograms, few_colors, to_gif, to_png
from core.errors import RunError
from core.files import make_folder, remove, write_atomic
from core.pruning import METHODS
from core.runs import Run, layout
from core.scoring import experiment, unscored
from core.sweep import Criterion, results_table


def count(sparsities: Sequence[float]) -> int:
    """How many files `save_all` writes."""
    return 3 + len(METHODS) * (len(set(sparsities)) + 1)


def save_all(
    run: Run, sparsities: Sequence[float], on_picture: Callable[[Path], object] = lambda path: None
) -> list[Path]:
    """Write the results of a run into its folder: table, figures, histograms and animations.

    Those of other sparsities, drawn earlier, make way.

    Args:
        run: a complete run that has been scored at every sparsity by both methods, by magnitude in each layer.
        sparsities: the values of k, each 0 to 1.
        on_picture: called with every path as soon as it is written.

    Returns:
        The paths: `results.csv`, `loss_accuracy.png`, `pruned_loss_accuracy.png`, and for each method
        `histograms/weights-k0.9000.png` and so on, one a sparsity, and `pruned_weights.gif`.

    Raises:
        RunError: if a score is missing or a file of the run damaged, or the run is deleted or replaced meanwhile.
        OSError: if a file cannot be written, or the run is gone.
    """
    result = run.ended_with()
    version = result.finished
    kernels, sweep = run.kernels(), run.sweep()
    if unscored(sweep, experiment(sparsities)):
        raise RunError(f"Run {run.id} has not been scored at every sparsity of {list(sparsities)}. Score it first.")
    results = results_table(sweep, set(sparsities))
    written = []

    def save(name: str, content: bytes) -> None:
        if not run.is_still(version):
            raise RunError(f"Run {run.id} was deleted or replaced while it was being drawn. Draw it again.")
        path = run.folder / name
        write_atomic(path, lambda file: file.write(content))
        written.append(path)
        on_picture(path)

    save(layout.RESULTS, results.to_csv(index=False, lineterminator="\n").encode())
    save(
        layout.TRAINING_FIGURE,
        printed.to_bytes(printed.training_curves(run.history(), result.kept_epoch or None), "png"),
    )
    save(layout.PRUNING_FIGURE, printed.to_bytes(printed.pruning_curves(results), "png"))
    make_folder(run.folder / layout.HISTOGRAMS)
    for method in METHODS:
        histograms = Histograms(Criterion(method).rank(kernels), layer_names(kernels)[:-1])
        frames = []
        for sparsity, accuracy in zip(results.sparsity, results[f"accuracy_{method}"], strict=True):
            picture = histograms.draw(sparsity, accuracy)
            # At least four digits, so that the names sort as the numbers do.
            k = np.format_float_positional(sparsity, min_digits=4)
            save(f"{layout.HISTOGRAMS}/{method}s-k{k}.png", to_png(few_colors(picture, method)))
            small = picture.resize((GIF_WIDTH, round(picture.height * GIF_WIDTH / picture.width)))
            frames.append(few_colors(small, method))
        save(layout.GIFS[method], to_gif(frames))
    for earlier in {*(run.folder / layout.HISTOGRAMS).glob("*.png")} - {*written}:
        remove(earlier)
    return written
