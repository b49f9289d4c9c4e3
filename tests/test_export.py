"""What leaves the app opens where it is taken to."""

import base64
import io
import re
import shutil
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest

from core import runs
from core.analysis import comparison
from core.analysis.knees import DROPS, areas, knees
from core.config import K_VALUES
from core.errors import ExportError
from core.exports import archive, report, tables
from core.runs import layout
from tests.conftest import SMALL


@pytest.fixture
def table(trained_run):
    return comparison.long_table([trained_run])


def test_all_table_files_hold_the_same_with_the_right_types(table):
    csv = pd.read_csv(io.BytesIO(tables.csv_bytes(table)))
    excel = pd.read_excel(io.BytesIO(tables.xlsx_bytes({"Scores": table})), sheet_name="Scores")
    parquet = pd.read_parquet(io.BytesIO(tables.parquet_bytes(table)))
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)
    for read in (csv, excel):
        pd.testing.assert_frame_equal(read, tables.rounded(table), check_dtype=False)
    for read in (csv, parquet):
        assert read.k.dtype == read.accuracy.dtype == read.loss.dtype == float
        assert read.seed.dtype == read.epochs.dtype == int
        assert read.removable.dtype.kind == read.zeroed.dtype.kind == "i"
        assert read.keep_best.dtype == bool
        # How accuracy was won back, in words, and what that cost.
        assert set(read.recovery) == {"none"}
        assert set(read.state) == {"as pruned"}
        for name in ("recovery_images", "recovery_epochs", "recovery_seconds"):
            assert (read[name] == 0).all()
        assert read[read.ranking == "magnitude"][["val_accuracy", "agreement", "worst_class"]].notna().all(axis=None)
        # No spreadsheet takes this for a date or a number.
        assert set(read.hidden_units) == {"60x40"}


def test_accuracies_have_4_digits_and_losses_5():
    names = ["accuracy", "val_accuracy", "accuracy_sd", "accuracy_unit", "change", "agreement", "worst_class"]
    losses = ["loss", "val_loss", "dense_loss", "loss_sd", "loss_weight"]
    exact = ["k", "learning_rate", "faster", "recovery_seconds"]
    rounded = tables.rounded(pd.DataFrame({name: [0.123456789] for name in [*names, *losses, *exact]}))
    assert (rounded[names] == 0.1235).all(axis=None)
    assert (rounded[losses] == 0.12346).all(axis=None)
    assert (rounded[exact] == 0.123456789).all(axis=None)


def test_an_excel_sheet_has_numbers_percents_and_a_frozen_header():
    table = pd.DataFrame(
        {"run": ["a"], "k": [0.9], "accuracy": [0.98765], "loss": [0.123456], "zeroed": [2_386_000], "n": [np.nan]}
    )
    book = openpyxl.load_workbook(io.BytesIO(tables.xlsx_bytes({"Results": table, "Scores": table})))
    assert book.sheetnames == ["Results", "Scores"]
    for sheet in book:
        header, row = sheet.iter_rows()
        assert sheet.freeze_panes == "A2"
        assert [cell.value for cell in header] == [*table]
        assert [cell.value for cell in row] == ["a", 0.9, 0.9876, 0.12346, 2_386_000, None]
        assert [cell.data_type for cell in row] == ["s", "n", "n", "n", "n", "n"]
        formats = [cell.number_format for cell in row[1:5]]
        assert formats == ["General", "0.00%", "0.00000", "#,##0"]


def test_a_line_break_in_text_starts_no_row():
    written = tables.csv_bytes(pd.DataFrame({"name": ["a\r=1", "b\n=1"]}))
    assert written.decode().splitlines() == ["name", "a =1", "b =1"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_text_cannot_become_a_formula(text):
    written = tables.csv_bytes(pd.DataFrame({"name": [text, "plain"], "number": [-1.5, 2.0]}))
    read = pd.read_csv(io.BytesIO(written))
    assert read.name.tolist() == [f"'{text.replace(chr(9), ' ')}", "plain"]
    assert read.number.tolist() == [-1.5, 2.0]
    made = tables.xlsx_bytes({"Scores": pd.DataFrame({text: [text, "https://a.example"]})})
    cells = [cell for (cell,) in openpyxl.load_workbook(io.BytesIO(made))["Scores"].iter_rows()]
    assert [cell.value for cell in cells] == [*2 * [f"'{text.replace(chr(9), ' ')}"], "https://a.example"]
    assert [(cell.data_type, cell.hyperlink) for cell in cells] == 3 * [("s", None)]


def test_markdown_keeps_its_columns(table):
    table = table.head(3).assign(run="a|b")
    lines = tables.markdown_bytes(table[["run", "k", "accuracy"]]).decode().splitlines()
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    # Numbers end below each other.
    assert re.fullmatch(r"\|:-+\|-+:\|-+:\|", lines[1])


def test_markdown_writes_no_powers_of_ten():
    table = pd.DataFrame({"count": [2_386_000.0, 1_668_807.4], "small": [7.07107e-05, None], "whole": [3, 4]})
    text = tables.markdown_bytes(table).decode()
    for number in ("2386000", "1668810", "0.0000707107", " 3 "):
        assert number in text


def test_results_are_the_columns_of_the_experiment(trained_run):
    results = report.results(trained_run)
    assert results.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    assert results.sparsity.tolist() == list(K_VALUES)
    pd.testing.assert_frame_equal(results, pd.read_csv(trained_run.folder / layout.RESULTS))


def test_a_report_needs_nothing_else(trained_run):
    page = report.report(trained_run).decode()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("data:image/png;base64,") == 2 + 2 * len(K_VALUES)
    for row in report.results(trained_run).itertuples():
        assert f"{row.accuracy_weight:.4f}" in page
        assert f"{row.loss_unit:.4f}" in page
    assert SMALL.run_id in page
    assert " ".join(SMALL.to_flags()) in page


def test_a_report_says_what_the_run_is(trained_run, tmp_path):
    page = report.report(trained_run).decode()
    config, result, sweep = trained_run.config(), trained_run.result(), trained_run.sweep()
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in page.splitlines() if "<tr>" in row]
    for name, (inputs, units) in zip(["Hidden 1", "Hidden 2", "Output"], config.layer_shapes, strict=True):
        assert [name, str(inputs), str(units), f"{inputs * units:,}"] in cells
    for name, value in config.facts().items():
        assert [name, str(value)] in cells
    assert f"<dd>{config.parameter_count:,}</dd>" in page
    assert f"<dd>{result.kept_epoch} of {config.epochs}</dd>" in page
    assert f"<dd>{100 * result.test_accuracy:.2f}%</dd>" in page
    assert f"python -m core.train {' '.join(config.to_flags())}" in page
    assert f"<title>{trained_run.id}</title>" in page
    assert f"<h1>{config.describe()}, seed {config.seed}</h1>" in page
    assert re.findall(r"<th>k, (.*?)</th>", page) == ["−0.5 points", "−1 point", "−2 points"]
    assert "provisional" not in page
    # The same numbers as the table of knees.
    table = comparison.long_table([trained_run])
    told = tables.knee_texts(knees(table), areas(table, K_VALUES))
    for row in told.itertuples(index=False, name=None):
        row = dict(zip(told, row, strict=True))
        found = [f"{row['method']}, {row['ranked_by']}, {row['state']}"]
        for drop in DROPS:
            found += [row[f"k_{drop}"], row[f"change_{drop}"]]
        assert [*found, row["area"], "–" if np.isnan(row["step"]) else f"{row['step']:.3g}"] in cells
    assert len(told) >= 2
    # A table's order is that of what it was made of.
    turned = tables.knee_texts(knees(table).iloc[::-1])
    assert turned.method.tolist() == told.method.tolist()[::-1]
    # Its pictures, each at its place.
    for alt, path in (
        ("Test accuracy and loss against the sparsity", layout.PRUNING_FIGURE),
        ("Loss and accuracy of every epoch", layout.TRAINING_FIGURE),
    ):
        picture = base64.b64encode((trained_run.folder / path).read_bytes()).decode()
        assert f'<img src="data:image/png;base64,{picture}" alt="{alt}">' in page
    # As long as scores are missing it may say more later.
    shutil.copytree(trained_run.folder, tmp_path / SMALL.run_id)
    run = runs.open_run(SMALL.run_id, tmp_path)
    sweep[sweep.sparsity != 0.33].to_csv(run.folder / layout.SWEEP, index=False)
    assert "provisional" in report.report(run).decode()


def test_results_are_those_that_were_drawn_or_else_those_that_are_scored(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / SMALL.run_id)
    run = runs.open_run(SMALL.run_id, tmp_path)
    usual = report.results(run)
    usual.head(3).assign(more=1).to_csv(run.folder / layout.RESULTS, index=False)
    pd.testing.assert_frame_equal(report.results(run), usual.head(3))
    for content in ("nonsense", ",".join(usual)):
        (run.folder / layout.RESULTS).write_text(content)
        pd.testing.assert_frame_equal(report.results(run), usual)
    sweep = run.sweep()
    sweep[sweep.sparsity != K_VALUES[1]].to_csv(run.folder / layout.SWEEP, index=False)
    assert report.results(run).sparsity.tolist() == [K_VALUES[0], *K_VALUES[2:]]


def test_an_archive_leaves_out_what_can_be_made_again(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / SMALL.run_id)
    run = runs.open_run(SMALL.run_id, tmp_path)
    for name in (layout.REPAIRED, layout.EXPORTS, layout.SMALLEST):
        (run.folder / name).mkdir(exist_ok=True)
        (run.folder / name / "large.npz").write_bytes(b"large")
    (run.folder / ".hidden.csv").write_text("a")
    (run.folder / "own.txt").write_text("own")
    with zipfile.ZipFile(io.BytesIO(archive.archive(run))) as packed:
        names = {name.removeprefix(f"{SMALL.run_id}/") for name in packed.namelist()}
        assert not {name for name in names if name.endswith(("large.npz", ".hidden.csv"))}
        assert packed.read(f"{SMALL.run_id}/own.txt").decode() == "own"
        scores = pd.read_csv(io.BytesIO(packed.read(f"{SMALL.run_id}/all-scores.csv")))
        assert len(scores) == len(run.sweep())
        readme = packed.read(f"{SMALL.run_id}/README.md").decode()
    for row in report.results(run).itertuples():
        assert f"{row.accuracy_weight:.4g}" in readme
    assert f"python -m core.train {' '.join(SMALL.to_flags())}" in readme
    assert f"test accuracy {run.result().test_accuracy:.2%}, test\nloss {run.result().test_loss:.4f}" in readme
    assert "on the 360 test images" in readme


def test_an_archive_holds_the_run_and_says_what_is_what(trained_run):
    with zipfile.ZipFile(io.BytesIO(archive.archive(trained_run))) as packed:
        assert packed.testzip() is None
        names = {name.removeprefix(f"{SMALL.run_id}/") for name in packed.namelist()}
        readme = packed.read(f"{SMALL.run_id}/README.md").decode()
        kernels = np.load(io.BytesIO(packed.read(f"{SMALL.run_id}/{layout.KERNELS}")))
        np.testing.assert_array_equal(kernels["kernel_0"], trained_run.kernels()[0])
    on_disk = {path.relative_to(trained_run.folder).as_posix() for path in trained_run.folder.rglob("*.*")}
    assert names == on_disk | {"README.md", "report.html", "all-scores.csv"}
    for name in names - {"README.md"}:
        assert name in readme or name.startswith("histograms/") or name.endswith(".png")


def test_what_has_not_been_drawn_is_said(trained_run, tmp_path):
    shutil.copytree(trained_run.folder, tmp_path / SMALL.run_id)
    (tmp_path / SMALL.run_id / layout.TRAINING_FIGURE).unlink()
    with pytest.raises(ExportError, match=r"loss_accuracy\.png"):
        report.report(runs.open_run(SMALL.run_id, tmp_path))
