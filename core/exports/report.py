"""A run on one HTML page that opens offline and prints well."""

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pandas as pd

from core.analysis.comparison import long_table
from core.analysis.distributions import layer_names
from core.analysis.knees import DROPS, areas, knees
from core.config import K_VALUES
from core.errors import ExportError, RunError
from core.exports.tables import knee_texts, points_text
from core.files import read_bytes
from core.pruning import METHODS
from core.runs import Run, layout
from core.runs.formats import read_table
from core.scoring import experiment, unscored
from core.settings import ASSETS
from core.sweep import STOPS, results_table


def results(run: Run) -> pd.DataFrame:
    """A run's results in the columns of the original experiment, at the sparsities that its figures show."""
    standard = results_table(run.sweep(), K_VALUES).dropna(ignore_index=True)
    with contextlib.suppress(RunError):
        drawn = read_table(run.folder / layout.RESULTS, list(standard))
        if len(drawn):
            return drawn[list(standard)]
    return standard


def report(run: Run) -> bytes:
    """A complete run on one HTML page that opens offline and prints well.

    Raises:
        ExportError: if the run's pictures have not been drawn yet, or it is replaced meanwhile.
        RunError: if the run cannot be read.
    """
    with one_network(run):
        return _rendered(run)


def _rendered(run: Run) -> bytes:
    config, result = run.config(), run.ended_with()
    drawn = {name: _data_url(run.folder / name) for name in (layout.TRAINING_FIGURE, layout.PRUNING_FIGURE)}
    histograms = {method: [_data_url(path) for path in run.histogram_pictures(method)] for method in METHODS}
    table = long_table([run])
    if table.empty:
        raise ExportError(f"Run {run.id} has no scores. Open it on the Pruning page, which scores it, and try again.")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (ASSETS / "report.html").read_text()
    )
    layers = run.layers()
    return template.render(
        run=run.id,
        title=config.describe(),
        config=config,
        facts=config.facts(),
        spec=config.spec,
        result=result,
        parameters=layers.weights,
        layers=[
            (name, matrix.shape) for name, matrix in zip(layer_names(layers.matrices), layers.matrices, strict=True)
        ],
        results=results(run).to_dict("records"),
        drops={drop: points_text(drop) for drop in DROPS},
        provisional=len(unscored(run.sweep(), experiment(STOPS))) > 0,
        knees=knee_texts(knees(table), areas(table, K_VALUES)).to_dict("records"),
        training_figure=drawn[layout.TRAINING_FIGURE],
        pruning_figure=drawn[layout.PRUNING_FIGURE],
        histograms=histograms,
        command=" ".join([f"python -m {config.COMMAND}", *config.to_flags()]),
    ).encode()


@contextlib.contextmanager
def one_network(run: Run) -> Iterator[None]:
    """See that all that is read belongs to one network, and not half to the one that replaces it."""
    version = run.version()
    if version is None:
        raise ExportError(f"There is no complete run {run.id} in {run.root} that can be read. Choose another run.")
    changed = ExportError(
        f"Run {run.id} was deleted or replaced while it was being read. Reload the page and try again."
    )
    try:
        yield
    except OSError as error:
        raise changed from error
    if not run.is_still(version):
        raise changed


def _data_url(path: Path) -> str:
    try:
        return f"data:image/png;base64,{base64.b64encode(read_bytes(path)).decode()}"
    except OSError:
        raise ExportError(
            f"{path.name} of run {path.parent.name} has not been drawn yet. Press Draw its figures and animations, and "
            "try again.",
        ) from None
