"""What leaves the app: tables, figures, a report, everything of a run in one file."""

import base64
import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_float_dtype, is_numeric_dtype

from core import figures, runs
from core.comparison import DROPS, Axis, Curve, describe, fold_seeds, knees, long_table
from core.config import K_VALUES
from core.distributions import layer_names
from core.errors import KnownError
from core.pruning import METHODS
from core.runs import Run
from core.sweep import results_table

_ASSETS = Path(__file__).parent.parent / "assets"
_FORMULA = ("=", "+", "-", "@", "\t")


class ExportError(KnownError):
    """Something to be exported is not there."""


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV that opens alike in pandas and in a spreadsheet.

    Text that a spreadsheet would take for a formula is quoted by an apostrophe (OWASP, "CSV Injection").
    """
    safe = table.copy()
    for name in safe.select_dtypes(["object", "string"]):
        safe[name] = safe[name].map(_as_text)
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _as_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    # One line a row, for readers that know nothing of quotes.
    line = " ".join(value.splitlines())
    return f"'{line}" if line.startswith(_FORMULA) else line


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as Parquet, with its types."""
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def markdown_bytes(table: pd.DataFrame) -> bytes:
    """A table as Markdown: whole numbers whole, others with at most six digits and never as powers of ten."""
    escaped = table.copy()
    for name in escaped:
        if is_float_dtype(escaped[name]):
            escaped[name] = escaped[name].map(_as_decimal)
        elif not is_numeric_dtype(escaped[name]):
            escaped[name] = escaped[name].map(lambda value: str(value).replace("|", "\\|"))
    aligned = ["right" if is_numeric_dtype(table[name]) else "left" for name in table]
    return (escaped.to_markdown(index=False, disable_numparse=True, colalign=aligned) + "\n").encode()


def _as_decimal(value: float) -> str:
    return "" if pd.isna(value) else np.format_float_positional(float(f"{value:.6g}"), trim="-")


def html_bytes(figure: go.Figure, title: str) -> bytes:
    """An interactive figure on white as one page that needs nothing else, not even a network."""
    alone = figures.on_white(figure, title)
    alone.update_layout(height=None, autosize=True)
    return alone.to_html(include_plotlyjs=True, full_html=True, config={"responsive": True}).encode()


def picture_bytes(curves: Sequence[Curve], x: Axis, y: Axis, kind: str) -> bytes:
    """A comparison as a picture on white, "png" or "svg"."""
    # Matplotlib takes a second and 40 MB; the server loads it when somebody wants a picture.
    from core import pictures

    return pictures.to_bytes(pictures.comparison(curves, x, y), kind)


def results(run: Run) -> pd.DataFrame:
    """A run's results in the columns of the original experiment, at the sparsities that its figures show."""
    try:
        return pd.read_csv(run.folder / runs.RESULTS)
    except FileNotFoundError:
        return results_table(run.sweep(), K_VALUES).dropna(ignore_index=True)


def report(run: Run) -> bytes:
    """A complete run on one HTML page that opens offline and prints well.

    Raises:
        ExportError: if the run's pictures have not been drawn yet, or it is replaced meanwhile.
        RunError: if the run cannot be read.
    """
    with _one_network(run):
        return _report(run)


def _report(run: Run) -> bytes:
    config, result = run.config(), run.result() or {}
    drawn = {name: _data_url(run.folder / name) for name in (runs.TRAINING_FIGURE, runs.PRUNING_FIGURE)}
    histograms = {method: [_data_url(path) for path in run.histogram_pictures(method)] for method in METHODS}
    table = long_table([run])
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (_ASSETS / "report.html").read_text()
    )
    shapes = config.layer_shapes
    return template.render(
        run=run.id,
        title=describe(config),
        config=config.to_dict() | {"hidden_units": ", ".join(map(str, config.hidden_units))},
        spec=config.spec,
        result=result,
        parameters=config.parameter_count,
        layers=list(zip(layer_names(shapes), shapes, strict=True)),
        results=results(run).to_dict("records"),
        drops=DROPS,
        knees=knees(fold_seeds(table[table.ranking != "random"])).to_dict("records"),
        training_figure=drawn[runs.TRAINING_FIGURE],
        pruning_figure=drawn[runs.PRUNING_FIGURE],
        histograms=histograms,
        command=" ".join(["python -m core.train", *config.to_flags()]),
    ).encode()


def archive(run: Run) -> bytes:
    """Everything of a complete run as a ZIP file, with a README that says what is what.

    Raises:
        ExportError: if the run's pictures have not been drawn yet, or it is replaced meanwhile.
        RunError: if the run cannot be read.
    """
    with _one_network(run):
        return _archive(run)


def _archive(run: Run) -> bytes:
    made = {
        "README.md": _readme(run).encode(),
        "report.html": _report(run),
        "all-scores.csv": csv_bytes(long_table([run])),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, content in made.items():
            archived.writestr(f"{run.id}/{name}", content)
        for path in sorted(run.folder.rglob("*")):
            # Weights and pictures are as small as they get.
            if path.is_file() and not path.name.startswith("."):
                packed = path.suffix in (".npz", ".keras", ".png", ".gif")
                archived.write(
                    path,
                    f"{run.id}/{path.relative_to(run.folder).as_posix()}",
                    zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED,
                )
    return file.getvalue()


@contextlib.contextmanager
def _one_network(run: Run) -> Iterator[None]:
    """See that all that is read belongs to one network, and not half to the one that replaces it."""
    finished = (run.result() or {}).get("finished")
    changed = ExportError(
        f"Run {run.id} was deleted or replaced while it was being read. Reload the page and try again."
    )
    try:
        yield
    except OSError as error:
        raise changed from error
    if not run.is_still(finished):
        raise changed


def _readme(run: Run) -> str:
    config, result = run.config(), run.result() or {}
    table = markdown_bytes(results(run)).decode()
    return f"""# {run.id}

{config.spec.title}, a network of {config.parameter_count:,} weights; test accuracy {result["test_accuracy"]:.2%}, test
loss {result["test_loss"]:.4f}. Trained again by

    python -m core.train {" ".join(config.to_flags())}

| file | what |
|---|---|
| `report.html` | all of this on one page; opens offline |
| `results.csv` | test accuracy and loss at the sparsities of the experiment |
| `all-scores.csv` | everything scored: one row a method, ranking and sparsity, with all settings |
| `model.keras` | the trained network: `keras.models.load_model("model.keras")` |
| `kernels.npz` | its kernels: arrays `kernel_0`, `kernel_1`, … of shape (inputs, units) |
| `activations.npz` | the rms of every kernel's inputs over training images |
| `history.csv` | loss and accuracy of every epoch |
| `sweep.csv` | the scores as the program keeps them |
| `config.json`, `state.json` | every hyper-parameter; how the training went, library versions and machine |
| `*.png`, `histograms/` | training, pruning and the distribution at every sparsity |
| `pruned_weights.gif`, `pruned_units.gif` | the same in motion |

Settings: `{json.dumps(config.to_dict())}`

Results on the {config.spec.test_size:,} test images:

{table}"""


def _data_url(path: Path) -> str:
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        raise ExportError(
            f"{path.name} of run {path.parent.name} has not been drawn yet. Draw it by "
            f"python -m core.train --notrain --experiment_id={path.parent.name} with the run's settings, and try again."
        ) from None
