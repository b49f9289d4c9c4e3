"""Journeys in a real Chromium against a real server."""

import re
import shutil
import zipfile
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import expect

from core import runs
from core.config import K_VALUES
from core.exports.tables import rounded
from core.pruning import METHODS
from core.runs import layout
from core.sweep import RANDOM_SEEDS
from tests.browsing import (
    SERVER_AWAY,
    confirmed,
    download,
    fill,
    metric,
    needs_chromium,
    opened,
    serving,
    settled,
    visit,
)

pytestmark = needs_chromium


def test_a_damaged_run_is_named_trained_again_pruned_and_compared(trained_cache, trained_run, tmp_path, page):
    cache = shutil.copytree(trained_cache, tmp_path / "cache")
    (cache / trained_run.id / layout.STATE).write_text('{"phase": "complete", "finished"')
    with serving(cache) as server:
        visit(page, f"{server.url}/runs")
        expect(page.get_by_text("1 damaged run")).to_be_visible()
        expect(page.get_by_text(trained_run.id).first).to_be_visible()
        page.get_by_test_id("stTopNavLink").filter(has_text="Training").click()
        page.get_by_role("radio", name="optdigits").click()
        settled(page)
        fill(page, "Hidden units", "60,40")
        fill(page, "Epochs", "3")
        expect(page.get_by_text("This run is damaged")).to_be_visible()
        page.get_by_role("button", name="Train again").click()
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        page.reload()
        expect(page.get_by_role("link", name="Prune it")).to_be_visible()
        settled(page)
        again = runs.open_run(trained_run.id, cache)
        for kernel, expected in zip(again.kernels(), trained_run.kernels(), strict=True):
            np.testing.assert_array_equal(kernel, expected)

        page.get_by_role("link", name="Prune it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Pruning")
        settled(page)
        expect(metric(page, "accuracy")).to_contain_text("points from dense")
        slider = page.get_by_label("Sparsity k", exact=True)
        slider.focus()
        slider.press("End")
        expect(metric(page, "hidden")).to_contain_text("100.00%")
        expect(metric(page, "loss")).to_contain_text("2.3026")
        confirmed(page, "1")
        expect(page).to_have_url(re.compile("k=1"))
        settled(page)

        page.get_by_test_id("stTopNavLink").filter(has_text="Comparison").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Comparison")
        settled(page)
        fill(page, "Sparsities k", "0, 0.5, 1")
        expect(page).to_have_url(re.compile("k_vals="))
        expect(page.get_by_text("being scored in the background")).to_have_count(0)
        settled(page)
        table = pd.read_csv(download(page, "CSV", tmp_path))
        assert set(table.k) == {0, 0.5, 1}
        assert set(table.method) == set(METHODS)

        page.get_by_test_id("stTopNavLink").filter(has_text="Runs").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
        settled(page)
        expect(page.get_by_text("damaged run")).to_have_count(0)


def test_every_download_opens_with_what_its_users_have(trained_server, trained_run, page, browser, tmp_path):
    """Taken from the page like a user does, and opened with the library that the file is for."""
    visit(page, f"{trained_server.url}/comparison?runs={trained_run.id}")
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    sweep = trained_run.sweep()
    csv, parquet = pd.read_csv(download(page, "CSV", tmp_path)), pd.read_parquet(download(page, "Parquet", tmp_path))
    pd.testing.assert_frame_equal(csv, rounded(parquet), check_dtype=False)
    excel = pd.read_excel(download(page, "Excel (.xlsx)", tmp_path), sheet_name=None)
    pd.testing.assert_frame_equal(excel["Scores"], csv, check_dtype=False)
    assert len(excel["Results"].columns) == 10
    assert len(csv) == (1 + len(RANDOM_SEEDS)) * len(METHODS) * len(K_VALUES)
    known = sweep.set_index(["method", "ranking", "scope", "seed", "sparsity"]).accuracy
    for row in parquet.itertuples():
        assert row.accuracy == known[row.method, row.ranking, row.scope, row.ranking_seed, row.k]
    assert download(page, "Markdown", tmp_path).read_text().startswith("| configuration")

    for label, kind in (("PNG", "PNG"), ("Weights GIF", "GIF"), ("Units GIF", "GIF")):
        with Image.open(download(page, label, tmp_path)) as picture:
            assert picture.format == kind
            assert getattr(picture, "n_frames", 1) == (len(K_VALUES) if kind == "GIF" else 1)
            picture.verify()
    assert ElementTree.parse(download(page, "SVG", tmp_path)).getroot().tag.endswith("svg")

    results = pd.read_csv(download(page, "Results CSV", tmp_path))
    assert results.columns.tolist() == ["sparsity", "accuracy_weight", "accuracy_unit", "loss_weight", "loss_unit"]
    assert (results.dtypes == float).all()
    with zipfile.ZipFile(download(page, "Everything (ZIP)", tmp_path)) as archive:
        assert archive.testzip() is None
        assert f"{trained_run.id}/README.md" in archive.namelist()

    # Pages are opened in a browser that has no network.
    offline = browser.new_context(offline=True)
    for label, marker in (("Interactive HTML", ".main-svg"), ("Report", "h1")):
        alone = offline.new_page()
        failures = []
        alone.on("pageerror", lambda error, failures=failures: failures.append(error))
        alone.on("requestfailed", lambda request, failures=failures: failures.append(request.url))
        alone.goto(download(page, label, tmp_path).as_uri())
        alone.locator(marker).first.wait_for()
        assert alone.title()
        assert alone.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert not failures
    offline.close()


def test_selected_rows_are_what_is_taken(trained_server, trained_run, page, tmp_path):
    visit(page, f"{trained_server.url}/comparison?runs={trained_run.id}&k_vals=0,0.5,0.9")
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    table = page.get_by_test_id("stDataFrame").nth(1)
    table.scroll_into_view_if_needed()
    # The grid is one canvas: the second row's box is in its first column.
    box = table.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 36 + 35 + 17)
    expect(page.get_by_text("1 selected row")).to_be_visible()
    settled(page)
    taken = pd.read_csv(download(page, "CSV", tmp_path))
    assert taken[["method", "ranking", "k"]].values.tolist() == [["weight", "magnitude", 0.5]]


def test_copy_link_copies_what_reproduces_the_view(trained_server, trained_run, page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{trained_server.url}/pruning?run={trained_run.id}&method=unit&k=0.7")
    confirmed(page, "0.7")
    settled(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "epochs.3" in link
    other = page.context.new_page()
    other.goto(link)
    confirmed(other, "0.7")
    expect(other.get_by_role("radio", name="unit")).to_be_checked()
    page.context.clear_permissions()


def test_training_survives_its_server_and_is_followed_in_two_tabs(server, page, errors):
    errors.expected += SERVER_AWAY
    address = f"{server.url}/training?dataset=optdigits&epochs=2000&hidden_units=60,40"
    visit(page, address)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Epoch").filter(has_text="of 2000")).to_be_visible()
    server.stop()
    server.start()
    other = page.context.new_page()
    for tab in (page, other):
        visit(tab, address)
        expect(tab.get_by_text("Epoch").filter(has_text="of 2000")).to_be_visible()
    other.get_by_role("button", name="Cancel").click()
    for tab in (other, page):
        expect(tab.get_by_text("Training was cancelled")).to_be_visible()
        expect(tab.get_by_role("button", name="Go on")).to_be_visible()


def test_a_run_is_deleted_while_another_tab_prunes_it(server, page):
    """On a server that nobody has opened before, by the address of a page."""
    (run,) = runs.list_runs(server.cache)
    opened(page, server.url, "pruning", "?k=0.5")
    confirmed(page, "0.5")
    other = page.context.new_page()
    visit(other, f"{server.url}/runs")
    box = other.get_by_test_id("stDataFrame").bounding_box()
    # The table is one canvas: the first row's box is in its first column.
    other.mouse.click(box["x"] + 15, box["y"] + 36 + 17)
    other.get_by_role("button", name="Delete…").click()
    dialog = other.get_by_role("dialog")
    expect(dialog).to_contain_text(run.id)
    assert run.is_complete()
    dialog.get_by_role("button", name="Delete 1 run").click()
    expect(other.get_by_text("Deleted 1 run.")).to_be_visible()
    assert not run.folder.exists()
    expect(other.get_by_text("No runs yet.")).to_be_visible()

    # Of a slider that is dragged all the same, it is said that its run is gone, and what to do.
    slider = page.get_by_label("Sparsity k", exact=True)
    slider.focus()
    slider.press("End")
    expect(page.get_by_text(f"Run {run.id} is no longer in the cache.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No trained network yet.")).to_be_visible()
    settled(page)


def test_errors_in_any_tab_are_noticed(trained_server, page, errors):
    other = page.context.new_page()
    visit(other, f"{trained_server.url}/runs")
    assert errors.unexpected() == []
    other.evaluate("setTimeout(() => { throw new Error('of a script'); })")
    other.evaluate("console.error('of the console')")
    other.evaluate("fetch('/wall/none/none/labels')")
    other.wait_for_function("performance.getEntriesByName(new URL('/wall/none/none/labels', location).href).length")
    seen = errors.unexpected()
    for words in ("of a script", "of the console", "/wall/none/none/labels"):
        assert sum(words in error for error in seen) == 1
    errors.clear()


def test_a_download_that_fails_says_why(trained_server, trained_run, page, tmp_path):
    picture = runs.open_run(trained_run.id, trained_server.cache).folder / layout.GIFS["unit"]
    visit(page, f"{trained_server.url}/comparison?runs={trained_run.id}")
    expect(page.get_by_text("being scored in the background")).to_have_count(0)
    aside = picture.rename(picture.with_suffix(".aside"))
    page.get_by_role("button", name="Units GIF").click()
    toast = page.get_by_test_id("stToast")
    expect(toast).to_contain_text("Units GIF could not be made.")
    expect(toast).to_contain_text(f"{picture.name} could not be read: No such file or directory. Reload the page")
    expect(toast).to_contain_text(re.compile(r"\(e-[0-9a-f]{8}\)"))

    # Streamlit forgets a button that is drawn anew while it waits for the file; no reason is known then.
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p data-testid=stDownloadButtonError></p>')")
    expect(page.get_by_text("Press the button again.")).to_be_visible()

    # Once what was wrong is mended, it does what the sentence says.
    aside.rename(picture)
    page.reload()
    assert download(page, "Units GIF", tmp_path).read_bytes() == picture.read_bytes()
