"""The wall: predictions as they are kept, served and drawn."""

import base64
import gzip
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect

from core import datasets, runs, scoring
from core.analysis import wall
from core.datasets import load_dataset
from core.evaluation import predict
from core.pruning import METHODS, Sparsity, prune, rank
from core.runs import layout
from core.state import state_of
from core.sweep import STOPS, Criterion
from pages.shared import networks
from pages.shared import wall as page_wall
from tests.browsing import Line, confirmed, needs_chromium, visit, wall_shows
from tests.test_instrument import slide


@pytest.fixture
def copy(trained_run, tmp_path):
    """A run that a test may change."""
    shutil.copytree(trained_run.root, tmp_path / "cache")
    return runs.open_run(trained_run.id, tmp_path / "cache")


@pytest.fixture(scope="module")
def test_images(trained_run):
    return load_dataset("optdigits", trained_run.root).test


@pytest.mark.parametrize("method", METHODS)
def test_what_is_kept_equals_predictions_made_anew(trained_run, test_images, method):
    kept, kernels = trained_run.predictions(), trained_run.kernels()
    assert [*state_of(trained_run, Criterion(method)).at_stops()] == [str(Sparsity(k)) for k in STOPS]
    for k in [0.0, 0.995, 0.999, 1.0, *np.random.default_rng(0).choice(STOPS, 20, replace=False)]:
        anew = predict(prune(kernels, method, k), test_images.images)
        assert kept[Criterion(method).key(k)].tolist() == anew.tolist()


def test_every_score_is_counted_from_its_predictions(trained_run, test_images):
    kept = trained_run.predictions()
    for row in trained_run.sweep().itertuples():
        predictions = kept[Criterion(row.method, row.ranking, row.scope, row.seed).key(row.sparsity)]
        assert row.accuracy == np.mean(predictions == test_images.labels)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PK")])
def test_a_run_without_predictions_gets_them(copy, trained_run, damage):
    damage(copy.folder / layout.PREDICTIONS)
    wanted = scoring.experiment([0.0, 0.5])
    assert copy.predictions() == {}
    assert not scoring.unscored_of(copy, wanted)
    assert scoring.count(scoring.unscored_of(copy, wanted, with_predictions=True)) == 4
    list(scoring.score_run(copy, wanted, with_predictions=True))
    kept, earlier = copy.predictions(), trained_run.predictions()
    assert len(kept) == 4
    for key, predictions in kept.items():
        np.testing.assert_array_equal(predictions, earlier[key])
    pd.testing.assert_frame_equal(copy.sweep(), trained_run.sweep())


def test_predictions_of_a_network_that_was_replaced_are_not_kept(copy):
    before = copy.predictions()
    rows = copy.sweep().head(1)
    assert not copy.add_to_sweep(rows, "another time", {"weight,magnitude,layer,0,0.123": before.popitem()[1]})
    assert "weight,magnitude,layer,0,0.123" not in copy.predictions()


@pytest.mark.parametrize(
    "arrays",
    [
        {"keys": np.array(["a"]), "predictions": np.zeros((2, 3), np.uint8)},
        {"keys": np.array(["a"]), "predictions": np.zeros((1, 3), np.float32)},
        {"keys": np.array([1]), "predictions": np.zeros((1, 3), np.uint8)},
        {"predictions": np.zeros((1, 3), np.uint8)},
        {"keys": np.array(["a"], object), "predictions": np.zeros((1, 3), np.uint8)},
    ],
)
def test_a_file_that_holds_something_else_is_nothing(copy, arrays):
    np.savez(copy.folder / layout.PREDICTIONS, **arrays)
    assert copy.predictions() == {}


def test_what_is_served_is_what_is_kept(trained_run, test_images):
    kept = trained_run.predictions()
    header, _, body = gzip.decompress(wall.packed(state_of(trained_run, Criterion("unit")).at_stops())).partition(b"\n")
    assert header.decode().split(",") == [str(Sparsity(k)) for k in STOPS]
    rows = np.frombuffer(body, np.uint8).reshape(len(STOPS), len(test_images.labels))
    np.testing.assert_array_equal(rows[50], kept[Criterion("unit").key(0.5)])


@pytest.mark.parametrize("what", ["labels", "images.png"])
def test_a_dataset_is_made_ready_in_a_process_of_its_own(cache, trained_run, test_images, monkeypatch, what):
    """The server must load neither what reads it nor the whole of it."""

    def read(*arguments):
        raise AssertionError("it is read here")

    shutil.copytree(trained_run.folder, cache / trained_run.id)
    monkeypatch.setattr(datasets, "_read_source", read)
    networks.test_split.clear()
    page_wall._picture.cache_clear()
    place = {"run": trained_run.id, "version": trained_run.version(), "what": what}
    answer = page_wall.serve(SimpleNamespace(path_params=place, query_params={}))
    assert answer.status_code == 200
    expected = test_images.labels.astype(np.uint8).tobytes() if what == "labels" else wall.picture(test_images, 8)
    assert answer.body == expected


def test_the_picture_shows_every_image_at_its_place(test_images, tmp_path):
    (tmp_path / "wall.png").write_bytes(wall.picture(test_images, 8))
    picture = 1 - np.asarray(Image.open(tmp_path / "wall.png")) / 255
    across = wall.columns(len(test_images.labels))
    for image in (0, across - 1, across, 359):
        row, column = divmod(image, across)
        tile = picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_allclose(tile.ravel(), test_images.images[image], atol=1 / 255)


COUNT_DARK = """() => {
  const canvas = document.querySelector(".wall .tiles"), pen = canvas.getContext("2d");
  const { data, width } = pen.getImageData(0, 0, canvas.width, canvas.height);
  return { data: Array.from(data.filter((_, index) => index % 4 === 0)), width };
}"""


@needs_chromium
def test_the_tiles_that_are_dark_are_those_that_are_wrong(trained_server, trained_run, test_images, page):
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.9")
    wall_shows(page, "0.9")
    page.get_by_label("Group").select_option("dataset")
    slide(page, 90, 97)
    wall_shows(page, "0.97")
    drawn = page.evaluate(COUNT_DARK)
    pixels = np.array(drawn["data"]).reshape(-1, drawn["width"])
    wrong = predict(prune(trained_run.kernels(), "weight", 0.97), test_images.images) != test_images.labels
    # Tiles stand in rows, each as wide as the next: the size is found by how many fit.
    sizes = [size for size in range(3, 70) if -(-len(wrong) // (drawn["width"] // size)) * size == len(pixels)]
    assert sizes
    size = sizes[-1]
    across = drawn["width"] // size
    corners = [pixels[size * (image // across), size * (image % across)] for image in range(len(wrong))]
    # A tile's corner is paper: bright where the network is right.
    assert (np.array(corners) < 100).tolist() == wrong.tolist()


@needs_chromium
def test_an_image_can_be_looked_at_and_picked_by_keyboard(trained_server, trained_run, test_images, page):
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.97")
    wall_shows(page, "0.97")
    page.get_by_label("Group").select_option("dataset")
    tiles = page.locator(".wall .tiles")
    tiles.focus()
    tiles.press("Home")
    tiles.press("ArrowRight")
    label = test_images.labels[1]
    expect(page.locator(".wall .card .title")).to_have_text(f"{label} · image 1")
    answer = int(trained_run.predictions()[Criterion("weight").key(0.97)][1])
    said = f"Read right, as {answer}, at this k." if answer == label else f"Read as {answer} at this k."
    expect(page.locator(".wall .card .answer")).to_have_text(said)
    tiles.press("Enter")
    expect(page).to_have_url(re.compile("image=1"))
    expect(page.get_by_text(f"Test image 1, a {label}")).to_be_visible()
    page.reload()
    expect(page.get_by_text(f"Test image 1, a {label}")).to_be_visible()


@needs_chromium
def test_the_story_of_an_image_is_what_it_was_read_as(trained_server, trained_run, page):
    kept = trained_run.predictions()
    answers = np.array([kept[Criterion("weight").key(k)] for k in STOPS])
    changes = (answers[1:] != answers[:-1]).sum(axis=0)
    image = int(np.argmin(np.where(changes > 0, changes, len(STOPS))))
    turns = np.flatnonzero(answers[1:, image] != answers[:-1, image])
    assert 1 <= len(turns) <= 4
    parts = [f"as {answers[turn, image]} up to {100 * STOPS[turn]:g}%" for turn in turns]
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    wall_shows(page, "0.5")
    page.get_by_label("Group").select_option("dataset")
    tiles = page.locator(".wall .tiles")
    tiles.focus()
    tiles.press("Home")
    for _ in range(image):
        tiles.press("ArrowRight")
    story = f"Read {', '.join(parts)}, then as {answers[-1, image]}."
    expect(page.locator(".wall .card .story")).to_have_text(story)


@needs_chromium
def test_a_k_between_the_stops_is_predicted_behind(trained_server, trained_run, test_images, page):
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5,0.93")
    confirmed(page, "0.5,0.93")
    wall_shows(page, "0.5,0.93")
    pruned = rank(trained_run.kernels(), "weight").prune(trained_run.kernels(), [0.5, 0.93])
    right = int(np.sum(predict(pruned, test_images.images) == test_images.labels))
    expect(page.locator(".wall .counts")).to_contain_text(f"{right} of 360 right")


@needs_chromium
def test_counts_wait_for_their_predictions(trained_server, trained_run, test_images, page):
    """The slider moves on, within a moment, from a k whose predictions are there to one whose predictions are not."""
    page = page.context.new_page()
    line = Line(page)
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    wall_shows(page, "0.5")
    spoken = page.locator(".wall .spoken")
    expect(spoken).to_contain_text("At k = 50%")
    line.holds = True
    page.get_by_label("Sparsity k", exact=True).press("ArrowRight")
    typed = page.get_by_label("Sparsity k in percent")
    typed.fill("33.3")
    typed.press("Enter")
    page.locator('.wall[data-key="0.333"][data-state=pending]').wait_for()
    page.wait_for_timeout(600)  # longer than the wall waits before it counts
    expect(spoken).to_contain_text("At k = 50%")
    line.release()
    pruned = prune(trained_run.kernels(), "weight", 0.333)
    right = int(np.sum(predict(pruned, test_images.images) == test_images.labels))
    expect(spoken).to_contain_text(f"At k = 33.3%: {right} of 360 right")


@needs_chromium
@pytest.mark.parametrize("path", ["other/x/labels", "{run}/x/labels", "{run}/{version}/secret", ".locks/x/labels"])
def test_only_files_of_runs_are_served(trained_server, trained_run, page, path):
    filled = path.format(run=trained_run.id, version=trained_run.version().replace("+", "%2B"))
    assert page.request.get(f"{trained_server.url}/wall/{filled}").status in (403, 404)
    good = f"{trained_run.id}/{trained_run.version().replace('+', '%2B')}/labels"
    assert len(page.request.get(f"{trained_server.url}/wall/{good}").body()) == 360


# Points at every tile as a person does. Notes the pixels there and what the card shows, and that the keyboard says the
# same. Pixels come as base64, since there are millions.
READ_TILES = """() => {
  const root = document.querySelector(".wall"), canvas = root.querySelector(".tiles");
  const card = root.querySelector(".card"), mark = root.querySelector(".mark"), sight = card.querySelector("canvas");
  const pen = canvas.getContext("2d"), ratio = canvas.width / canvas.clientWidth, box = canvas.getBoundingClientRect();
  const press = (key) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
  const text = (name) => card.querySelector(name).textContent;
  const grey = (context, x, y, size) => {
    const { data } = context.getImageData(x, y, size, size);
    let bytes = "";
    for (let index = 0; index < data.length; index += 4) bytes += String.fromCharCode(data[index]);
    return btoa(bytes);
  };
  const tiles = [];
  for (press("Home"); tiles.length < 400; press("ArrowRight")) {
    const by_keyboard = text(".title");
    const [left, top, size] = ["left", "top", "width"].map((name) => parseFloat(mark.style[name]));
    if (tiles.at(-1)?.title === by_keyboard) break;
    canvas.dispatchEvent(new PointerEvent("pointermove", {
      clientX: box.left + left + size / 2, clientY: box.top + top + size / 2,
    }));
    tiles.push({
      left, top, size, by_keyboard, title: text(".title"), answer: text(".answer"),
      tile: grey(pen, Math.round(left * ratio), Math.round(top * ratio), Math.round(size * ratio)),
      seen: grey(sight.getContext("2d"), 0, 0, 112),
    });
  }
  return tiles;
}"""

# Notes where which caption is written on the wall.
NOTE_CAPTIONS = """() => {
  const write = CanvasRenderingContext2D.prototype.fillText;
  window.captions = [];
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    window.captions.push([text, y]);
    return write.call(this, text, x, y);
  };
}"""


def pixels_of(text):
    """Square, from 0 to 255."""
    values = np.frombuffer(base64.b64decode(text), np.uint8).astype(float)
    return values.reshape(2 * [round(values.size**0.5)])


def shrunk(tile):
    """A tile as an image of the dataset, of shape (8, 8); its last row and column are the gap to the next."""
    edges = np.linspace(0, len(tile) - 1, 9).round().astype(int)
    pairs = list(zip(edges, edges[1:], strict=False))
    return np.array([[tile[top:bottom, left:right].mean() for left, right in pairs] for top, bottom in pairs])


@needs_chromium
def test_every_tile_is_the_image_that_it_says(trained_server, trained_run, test_images, page):
    """Its pixels, its place, what is said of it, and what a click picks."""
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.9")
    wall_shows(page, "0.9")
    images, labels = test_images.images.reshape(-1, 8, 8), test_images.labels
    answers = trained_run.predictions()[Criterion("weight").key(0.9)]
    page.evaluate(NOTE_CAPTIONS)
    for group, order in (("dataset", np.arange(360)), ("class", np.argsort(labels, kind="stable"))):
        page.evaluate("window.captions = []")
        page.get_by_label("Group").select_option(group)
        tiles = page.evaluate(READ_TILES)
        assert [tile["title"] for tile in tiles] == [f"{labels[image]} · image {image}" for image in order]
        for image, tile in zip(order, tiles, strict=True):
            assert tile["by_keyboard"] == tile["title"]
            read = f"Read as {answers[image]} at this k."
            right = answers[image] == labels[image]
            assert tile["answer"] == (f"Read right, as {answers[image]}, at this k." if right else read)
            drawn = shrunk(pixels_of(tile["tile"]))
            # Dark ones are light on dark.
            alike = np.corrcoef(drawn.ravel(), images[image].ravel())[0, 1] * (-1 if right else 1)
            assert alike > 0.9, tile["title"]
            assert (np.median(drawn[:, 0]) < 100) != right
            # The card shows the same image, enlarged.
            seen = pixels_of(tile["seen"])[7::14, 7::14]
            np.testing.assert_allclose(seen, 255 * (1 - images[image]), atol=1.5)
    # Beside each group its name and how many there are.
    captions = page.evaluate("window.captions")
    tops = [min(tile["top"] for tile in tiles if tile["title"].startswith(f"{label} ")) for label in range(10)]
    assert [text for text, _ in captions] == [f"{label} · {(labels == label).sum()}" for label in range(10)]
    steps = {round(y - top) for (_, y), top in zip(captions, tops, strict=True)}
    assert len(steps) == 1
    chosen = tiles[200]
    middle = chosen["size"] / 2
    page.locator(".wall .tiles").click(position={"x": chosen["left"] + middle, "y": chosen["top"] + middle})
    expect(page.get_by_text(f"Test image {order[200]}, a {labels[order[200]]}")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"image={order[200]}\b"))
    frame = page.locator(".wall .picked")
    assert [frame.evaluate(f"(frame) => parseFloat(frame.style.{side})") for side in ("left", "top")] == [
        chosen["left"],
        chosen["top"],
    ]
    # What the menu shows is what it says.
    dense = trained_run.predictions()[Criterion("weight").key(0.0)]
    lost = np.flatnonzero((dense == labels) & (answers != labels))
    confused = np.zeros((10, 10), int)
    np.add.at(confused, (labels, answers), labels != answers)
    label, answer = (int(place) for place in np.unravel_index(confused.argmax(), confused.shape))
    pair = f"{label} read as {answer} ({confused.max()})"
    for choice, expected in (
        ("3", np.flatnonzero(labels == 3)),
        ("lost by pruning", lost),
        (pair, np.flatnonzero((labels == label) & (answers == answer))),
    ):
        page.get_by_label("Show").select_option(label=choice)
        shown = page.evaluate(READ_TILES)
        assert {int(tile["title"].split()[-1]) for tile in shown} == {*expected.tolist()}
    gained = np.sum((dense != labels) & (answers == labels))
    counted = f"{np.sum(answers == labels)} of 360 right · {len(lost)} lost · {gained} newly right"
    expect(page.locator(".wall .counts")).to_have_text(counted)
