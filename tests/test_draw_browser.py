"""Drawing in a real Chromium: with the mouse, from test images and from pictures."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from core.analysis import drawing
from core.datasets import load_dataset
from core.evaluation import predict
from core.pruning import METHODS, Sparsity, prune
from core.sweep import STOPS
from tests.browsing import Line, needs_chromium, settled, visit

pytestmark = needs_chromium


def board(page: Page, state: str) -> Locator:
    """The drawing board, once it is in this state."""
    found = page.locator(f".draw[data-state={state}]")
    found.wait_for()
    return found


def shown(page: Page, network: str) -> list[str]:
    """The probabilities that are shown for one network."""
    return page.locator(f".draw td.number.{network}").all_text_contents()


def as_shown(row: np.ndarray) -> list[str]:
    return [f"{value:.2%}" for value in row]


def move_slider(page: Page, stop: int) -> None:
    page.get_by_label("Sparsity k", exact=True).evaluate(
        "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); "
        "slider.dispatchEvent(new Event('change')); }",
        stop,
    )


def draw_line(page: Page, *points: tuple[float, float]) -> None:
    """One stroke of the mouse, through places given as fractions of the canvas."""
    box = page.locator(".draw .canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


# Each row of the table as it stands under its headings: of bars their width, of the others the text.
READ_TABLE = """(table) => [...table.rows].map((row) => [...row.cells].flatMap((cell) =>
  Array(cell.colSpan).fill(cell.querySelector(".bar")?.style.width ?? cell.textContent)))"""

# What each button is called, and the ink on it.
READ_SAMPLES = """(samples) => [...samples.children].map((button) => {
  const picture = button.querySelector("canvas");
  const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
  return [button.ariaLabel, ...[...data].filter((_, at) => at % 4 === 3)];
})"""


@pytest.mark.parametrize("method", METHODS)
def test_a_test_image_is_read_as_exactly_that_image(trained_server, trained_run, page, method):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/draw?run={trained_run.id}&method={method}&k=0.5")
    board(page, "empty")
    index = int(np.argmax(test.labels == 4))
    page.get_by_label("Test image of 4").click()
    board(page, "complete")
    image = test.images[index]
    rows = drawing.read((prune(kernels, method, k) for k in STOPS), image)
    assert shown(page, "dense") == as_shown(rows[0])
    assert shown(page, "pruned") == as_shown(rows[50])
    for network, network_kernels in (("dense", kernels), ("pruned", prune(kernels, method, 0.5))):
        read = predict(network_kernels, image[None])[0]
        expect(page.locator(f"[data-network={network}] .class")).to_have_text(str(read))
        title = {"dense": "Dense network", "pruned": "Pruned, k = 50%"}[network]
        expect(page.locator(f"[data-network={network}] .title")).to_have_text(title)
    heads, *lines = page.locator(".draw table").evaluate(READ_TABLE)
    assert heads == ["Class", "Dense network", "Dense network", "Pruned, k = 50%", "Pruned, k = 50%"]
    for label, ((name, *cells), dense, pruned) in enumerate(zip(lines, rows[0], rows[50], strict=True)):
        assert (name, cells[1::2]) == (str(label), as_shown([dense, pruned]))
        assert [float(bar.removesuffix("%")) for bar in cells[::2]] == pytest.approx(
            [100 * dense, 100 * pruned], abs=1e-3
        )
    for label, pixels in enumerate(page.locator(".samples").evaluate(READ_SAMPLES)):
        first = test.images[np.argmax(test.labels == label)]
        assert pixels == [f"Test image of {label}", *np.rint(255 * first).astype(int).tolist()]
    seen = page.locator(".seen").evaluate(
        "(seen) => [...seen.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, at) => at % 4 === 3)"
    )
    assert seen == np.rint(255 * image).astype(int).tolist()

    read = rows.argmax(axis=1)
    equal = np.ptp(rows, axis=1) == 0
    other = int(np.argmax((read != read[0]) | equal))
    then = "nothing: all classes are equal" if equal[other] else read[other]
    expect(page.locator(".sentence")).to_contain_text(
        f"Read as {read[0]} up to k = {100 * STOPS[other - 1]:.10g}%, then as {then}."
    )
    for stop in (0, 20, 95, 100, 102):
        move_slider(page, stop)
        assert shown(page, "pruned") == as_shown(rows[stop])
        expect(page).to_have_url(re.compile(rf"k={re.escape(str(Sparsity(STOPS[stop])))}(&|$)"))
    settled(page)

    # The address brings it back.
    assert f"image={index}" in page.url
    page.reload()
    assert board(page, "complete").get_attribute("data-k") == "1"
    assert shown(page, "dense") == as_shown(rows[0])


def test_drawing_undoing_and_clearing(trained_server, trained_run, page):
    visit(page, f"{trained_server.url}/draw?run={trained_run.id}&k=0.2")
    board(page, "empty")
    undo, clear = page.get_by_label("Undo the last stroke"), page.get_by_label("Clear the canvas")
    expect(page.get_by_text("Draw a digit here")).to_be_visible()
    expect(undo).to_be_disabled()
    expect(clear).to_be_disabled()

    page.locator(".draw .canvas").click()
    board(page, "complete")
    undo.click()
    board(page, "empty")

    draw_line(page, (0.3, 0.2), (0.7, 0.2), (0.45, 0.85))
    board(page, "complete")
    expect(page.locator(".sentence")).to_contain_text("Read as 7")
    first = shown(page, "dense")
    draw_line(page, (0.35, 0.5), (0.7, 0.5))
    board(page, "reading")
    board(page, "complete")
    assert shown(page, "dense") != first
    undo.click()
    board(page, "complete")
    assert shown(page, "dense") == first
    undo.click()
    board(page, "empty")
    expect(undo).to_be_disabled()

    # A test image stays where it is under what is drawn over it; clearing can be undone.
    page.get_by_label("Test image of 1").click()
    board(page, "complete")
    draw_line(page, (0.2, 0.9), (0.8, 0.9))
    board(page, "complete")
    expect(page).not_to_have_url(re.compile("image="))
    # A link holds it, and more can be drawn there.
    expect(page).to_have_url(re.compile(r"drawing=[\w-]+"))
    mixed = shown(page, "dense")
    other = page.context.new_page()
    visit(other, page.url)
    board(other, "complete")
    assert shown(other, "dense") == mixed
    expect(other).to_have_url(page.url)
    draw_line(other, (0.2, 0.1), (0.8, 0.1))
    board(other, "complete")
    assert shown(other, "dense") != mixed
    other.get_by_label("Undo the last stroke").click()
    board(other, "complete")
    assert shown(other, "dense") == mixed
    other.close()
    clear.click()
    board(page, "empty")
    expect(page).not_to_have_url(re.compile("drawing="))
    undo.click()
    board(page, "complete")
    clear.click()
    board(page, "empty")
    settled(page)
    expect(page.get_by_text("Draw a digit here")).to_be_visible()


def test_what_a_slow_server_says_late_takes_nothing_off_the_paper(trained_server, trained_run, page):
    page = page.context.new_page()
    line = Line(page)
    visit(page, f"{trained_server.url}/draw?run={trained_run.id}&k=0.5")
    board(page, "empty")
    settled(page)
    line.holds = True
    for x in (0.3, 0.5, 0.7):
        draw_line(page, (x, 0.2), (x, 0.8))
        move_slider(page, int(100 * x))
    line.place_of(b"k=0.7")
    line.release()
    board(page, "complete")
    settled(page)
    # All three strokes are there: one after the other can be taken back.
    for state in ("complete", "complete", "empty"):
        page.get_by_label("Undo the last stroke").click()
        board(page, state)


def test_a_picture_is_read_dark_light_and_in_shadow(trained_server, trained_run, page, tmp_path):
    test = load_dataset("optdigits", trained_run.root).test
    large = np.kron(test.images[0].reshape(8, 8), np.ones((20, 20)))
    large = np.pad(large, 60)
    shadow = np.where(np.add(*np.indices(large.shape)) < 90, 0.4, 1)
    for name, picture in (("dark", 1 - large), ("light", large), ("shadow", (1 - large) * shadow)):
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "blank.png").write_bytes(b"no picture")
    Image.new("L", (400, 300), 180).save(tmp_path / "empty.png")
    visit(page, f"{trained_server.url}/draw?run={trained_run.id}")
    board(page, "empty")
    field = page.get_by_label("Open a picture", exact=True)
    field.set_input_files(tmp_path / "blank.png")
    expect(page.get_by_text("cannot open blank.png as a picture")).to_be_visible()
    field.set_input_files(tmp_path / "empty.png")
    expect(page.get_by_text("Nothing in this picture stands out")).to_be_visible()
    read = []
    for name in ("dark", "light", "shadow"):
        field.set_input_files(tmp_path / f"{name}.png")
        board(page, "complete")
        read.append(shown(page, "dense"))
        page.get_by_label("Clear the canvas").click()
        board(page, "empty")
    assert read[0] == read[1] == read[2]
    settled(page)
