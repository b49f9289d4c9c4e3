"""Everything of a run in one ZIP file."""

import io
import json
import zipfile

from core.analysis.comparison import long_table
from core.arrays import damaged
from core.exports.report import one_network, report, results
from core.exports.tables import csv_bytes, markdown_bytes
from core.files import own_files, read_bytes
from core.keras_file import portable
from core.runs import Run, layout


def archive(run: Run) -> bytes:
    """Everything of a complete run as a ZIP file, with a README that says what is what.

    Raises:
        ExportError: if the run's pictures have not been drawn yet, or it is replaced meanwhile.
        RunError: if the run cannot be read.
    """
    with one_network(run):
        return _packed(run)


def _packed(run: Run) -> bytes:
    made = {
        "README.md": _readme(run).encode(),
        "report.html": report(run),
        "all-scores.csv": csv_bytes(long_table([run])),
    }
    kept = sorted(own_files(run.folder))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, content in made.items():
            archived.writestr(f"{run.id}/{name}", content)
        for path, _ in kept:
            # Repaired and small networks are many and can be made again.
            again = path.parent.name in (layout.REPAIRED, layout.EXPORTS, layout.SMALLEST)
            if not path.name.startswith(".") and not again:
                content = read_bytes(path)
                if path.name == layout.MODEL:
                    content = _portable(content)
                # Weights and pictures are as small as they get.
                packed = path.suffix in (".npz", ".keras", ".png", ".gif")
                archived.writestr(
                    f"{run.id}/{path.relative_to(run.folder).as_posix()}",
                    content,
                    zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED,
                )
    return file.getvalue()


def _portable(model: bytes) -> bytes:
    """The Keras file as it is written now: runs of earlier versions hold one with an optimizer."""
    try:
        with damaged():
            return portable(model)
    except ValueError:
        # Handed out as it is: the kernels beside it are the network.
        return model


def _readme(run: Run) -> str:
    config, result = run.config(), run.ended_with()
    table = markdown_bytes(results(run)).decode()
    return f"""# {run.id}

{config.spec.title}, a network of {run.layers().weights:,} weights; test accuracy {result.test_accuracy:.2%}, test
loss {result.test_loss:.4f}. Trained again by

    python -m {config.COMMAND} {" ".join(config.to_flags())}

| file | what |
|---|---|
| `report.html` | all of this on one page; opens offline |
| `results.csv` | test accuracy and loss at the sparsities of the experiment |
| `all-scores.csv` | everything scored: one row a method, ranking and sparsity, with all settings |
| `model.keras` | the trained network, for Keras 3.3 and later: `keras.models.load_model("model.keras")` |
| `network.json` | its layers: kind, units, activation |
| `kernels.npz` | its kernels: arrays `kernel_0`, `kernel_1`, … of shape (inputs, units) |
| `activations.npz` | the rms of every kernel's inputs over training images |
| `history.csv` | loss and accuracy of every epoch |
| `sweep.csv` | the scores as the program keeps them |
| `predictions.npz` | the predicted class of every test image at every sparsity scored, by name of criterion and k |
| `config.json`, `state.json` | every hyper-parameter; how the training went, library versions and machine |
| `speed/` | how fast networks made from it were, where that was measured, and on which machine |
| `notes.json` | its name and note, if it has any |
| `*.png`, `histograms/` | training, pruning and the distribution at every sparsity |
| `pruned_weights.gif`, `pruned_units.gif` | the same in motion |

Settings: `{json.dumps(config.to_dict())}`

Results on the {config.spec.test_size:,} test images:

{table}"""
