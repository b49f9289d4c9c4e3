"""The live slider in a real Chromium: what it draws, says and writes into the address."""

import multiprocessing
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from core import runs
from core.analysis.distributions import Distribution
from core.datasets import load_dataset
from core.evaluation import evaluate, predict
from core.pruning import METHODS, Sparsity, prune, prune_count, rank
from core.scoring import fine_curve, unscored
from core.settings import ASSETS
from core.sweep import STOPS, Criterion
from tests.browsing import Line, confirmed, metric, needs_chromium, opened, serving, settled, shown, visit, wall_shows

pytestmark = needs_chromium


def slide(page: Page, first: int, last: int, pause: int = 50, release: bool = True) -> None:
    """Drag the slider over the stops between two of them, by default 20 stops a second."""
    slider = page.get_by_label("Sparsity k", exact=True)
    box = slider.bounding_box()
    middle, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16

    def place(stop: int) -> float:
        return left + width * stop / (len(STOPS) - 1)

    page.mouse.move(place(first), middle)
    page.mouse.down()
    for stop in range(first, last + 1) if first < last else range(first, last - 1, -1):
        page.mouse.move(place(stop), middle)
        page.wait_for_timeout(pause)
    if release:
        page.mouse.up()


@pytest.mark.parametrize("method", METHODS)
def test_dragging_draws_every_stop_and_only_true_numbers(trained_server, trained_run, page, method):
    """The instrument, and the wall under it."""
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&method={method}&k=0")
    confirmed(page, "0")
    wall_shows(page, "0")
    settled(page)
    page.evaluate(WATCH_DRAWING)
    page.evaluate(WATCH_WALL)
    slide(page, 0, len(STOPS) - 1)
    confirmed(page, "1")
    wall_shows(page, "1")
    walls = {key: (state, right) for key, state, right in page.evaluate("window.walls")}
    for k in STOPS[1:]:
        right = int(np.sum(predict(prune(kernels, method, k), test.images) == test.labels))
        assert walls[str(Sparsity(k))] == ("ready", right)
    seen = dict(page.evaluate("window.drawn"))
    assert set(seen) == {str(Sparsity(k)) for k in STOPS}
    blank = {key: drawn for key, drawn in seen.items() if not (drawn["bars"] and drawn["ghosts"])}
    assert not blank

    scores = Criterion(method).select(trained_run.sweep()).set_index("sparsity")
    ranking = rank(kernels, method)
    for k in STOPS:
        drawn = seen[str(Sparsity(k))]
        assert (drawn["accuracy"], drawn["loss"]) == shown(scores.accuracy[k], scores.loss[k])
        assert drawn["zeroed"] == f"{sum(ranking.zeroed(kernels, k)):,}"
    for k in np.random.default_rng(0).choice(STOPS, 20, replace=False):
        score = evaluate(prune(kernels, method, k), test.images, test.labels)
        drawn = seen[str(Sparsity(k))]
        assert (drawn["accuracy"], drawn["loss"]) == shown(score.accuracy, score.loss)


# Notes at every change what the wall says.
WATCH_WALL = """() => {
  const root = document.querySelector(".wall");
  window.walls = [];
  new MutationObserver(() => window.walls.push([root.dataset.key, root.dataset.state, Number(root.dataset.right)]))
    .observe(root, { attributes: true, attributeFilter: ["data-key"] });
}"""

# Notes at every change of the drawing what a person would see.
WATCH_DRAWING = """() => {
  const root = document.querySelector(".instrument");
  const text = (name, part) => root.querySelector(`[data-metric=${name}] ${part}`).textContent;
  window.drawn = [];
  const note = () => {
    const paths = [...root.querySelectorAll(".figure:has(.histograms) .overlay path:not(.threshold)")];
    window.drawn.push([root.dataset.key, {
      accuracy: text("accuracy", "output"), loss: text("loss", "output"),
      zeroed: text("hidden", "small").split(" ")[0],
      bars: root.dataset.key === "1" || paths.every((path) => path.getAttribute("d")),
      ghosts: root.querySelectorAll(".histograms .bars path").length > 0,
    }]);
  };
  note();
  new MutationObserver(note).observe(root, { attributes: true, attributeFilter: ["data-key"] });
}"""


def test_typing_keys_and_links_reach_any_k(trained_server, trained_run, page):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    confirmed(page, "0.5")
    slider = page.get_by_label("Sparsity k", exact=True)
    slider.press("ArrowRight")
    confirmed(page, "0.51")
    typed = page.get_by_label("Sparsity k in percent")
    typed.fill("33.3")
    typed.press("Enter")
    confirmed(page, "0.333")
    score = evaluate(prune(kernels, "weight", 0.333), test.images, test.labels)
    expect(metric(page, "accuracy").locator("output")).to_have_text(shown(score.accuracy, score.loss)[0])
    expect(page).to_have_url(re.compile("k=0.333"))
    page.reload()
    confirmed(page, "0.333")

    typed = page.get_by_label("Sparsity k in percent")
    for text in ("-5", "200", "", "much"):
        typed.fill(text)
        typed.press("Enter")
        said = f"“{text}”" if text else "nothing"
        expect(page.locator(".instrument .problem")).to_have_text(
            f"Expected a percentage from 0 to 100, such as 93.7. Received: {said}."
        )
        expect(page.locator('.instrument[data-key="0.333"]')).to_be_visible()
        expect(typed).to_have_value(text)
    typed.fill("93,7")
    typed.press("Enter")
    confirmed(page, "0.937")
    expect(page.locator(".instrument .problem")).to_have_text("")


def test_unlinked_layers_are_pruned_each_by_its_own_k(trained_server, trained_run, page):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.5")
    confirmed(page, "0.5")
    page.get_by_label("one k for all layers").uncheck()
    page.get_by_label("Sparsity k of Hidden 2").press("End")
    confirmed(page, "0.5,1")
    score = evaluate(prune(kernels, "weight", [0.5, 1]), test.images, test.labels)
    expect(metric(page, "loss").locator("output")).to_have_text(shown(score.accuracy, score.loss)[1])
    # The field says what part of all hidden weights is zeroed, not the mean of the layers' k.
    zeroed = sum(rank(kernels, "weight").zeroed(kernels, [0.5, 1])) / sum(kernel.size for kernel in kernels[:-1])
    expect(metric(page, "hidden").locator("output")).to_have_text(f"{zeroed:.2%}")
    expect(page.get_by_label("Sparsity k in percent")).to_have_value(f"{100 * zeroed:.2f}".rstrip("0").rstrip("."))
    together = min(STOPS, key=lambda k: abs(k - zeroed))
    page.get_by_label("one k for all layers").check()
    confirmed(page, str(Sparsity(together)))
    # What each layer had comes back.
    page.get_by_label("one k for all layers").uncheck()
    confirmed(page, "0.5,1")


def test_many_sessions_dragging_at_once_stay_correct(trained_server, trained_run, page):
    test = load_dataset("optdigits", trained_run.root).test
    kernels = trained_run.kernels()
    methods = [*METHODS, *METHODS]
    pages = [page.context.new_page() for _ in methods]
    for page, method in zip(pages, methods, strict=True):
        page.goto(f"{trained_server.url}/pruning?run={trained_run.id}&method={method}&k=0")
    for page in pages:
        confirmed(page, "0")
    for step in range(1, 11):
        for page in pages:
            page.get_by_label("Sparsity k", exact=True).evaluate(
                "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }", 9 * step
            )
    for index, page in enumerate(pages):
        page.get_by_label("Sparsity k", exact=True).evaluate(
            "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); "
            "slider.dispatchEvent(new Event('change')); }",
            60 + index,
        )
    for index, (page, method) in enumerate(zip(pages, methods, strict=True)):
        k = STOPS[60 + index]
        confirmed(page, str(Sparsity(k)))
        score = evaluate(prune(kernels, method, k), test.images, test.labels)
        numbers = tuple(metric(page, name).locator("output").text_content() for name in ("accuracy", "loss"))
        assert numbers == shown(score.accuracy, score.loss)


def test_curves_complete_themselves_in_the_background(repaired_cache, trained_run, tmp_path, page):
    cache = tmp_path / "cache"
    shutil.copytree(repaired_cache, cache)
    path = cache / trained_run.id / "sweep.csv"
    table = pd.read_csv(path)
    table[(table.sparsity == 0) | (table.recovery == "repair")].to_csv(path, index=False)
    with serving(cache) as server:
        visit(page, f"{server.url}/pruning?run={trained_run.id}&k=0.5")
        confirmed(page, "0.5")
        expect(page.get_by_text("The curves are growing")).to_have_count(0)
        assert not unscored(runs.open_run(trained_run.id, cache).sweep(), fine_curve())


def test_the_browser_knows_what_survives_as_python_does(page):
    """The rule is written twice, in survivors.js and in `Distribution`; both are asked about random histograms."""
    generator = np.random.default_rng(0)
    script = (ASSETS / "instrument" / "survivors.js").read_text()
    cases = []
    for _ in range(300):
        counts = generator.integers(0, 50, generator.integers(1, 70)) * (generator.random() < 0.9)
        cases.append((counts, int(generator.integers(0, counts.sum() + 1))))
    for counts, pruned in cases:
        told = page.evaluate(
            f"([counts, pruned]) => {{ {script}; return survivors(counts, pruned); }}",
            [
                counts.tolist(),
                pruned,
            ],
        )
        expected = Distribution(np.empty(0), np.empty(0), counts).surviving(pruned)
        assert told == expected.tolist()
        assert sum(told) == counts.sum() - pruned


# Reads each hidden layer's histogram as a person does: against the axes that Plotly has drawn.
READ_HISTOGRAMS = """() => {
  const root = document.querySelector(".instrument");
  const figure = root.querySelector(".histograms");
  const paths = [...figure.parentElement.querySelectorAll(".overlay path")];
  return paths.filter((path) => !path.classList.contains("threshold")).map((path, layer) => {
    const axis = (letter) => figure._fullLayout[`${letter}axis${layer ? layer + 1 : ""}`];
    const x = (pixel) => axis("x").p2d(pixel - axis("x")._offset);
    const y = (pixel) => axis("y").p2d(pixel - axis("y")._offset);
    const bars = (path.getAttribute("d").match(/M[^Z]*Z/g) ?? []).map((bar) => {
      const [left, , top, right] = bar.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
      return [x(left), x(right), y(top)];
    });
    const line = paths.filter((path) => path.classList.contains("threshold"))[layer].getAttribute("d");
    return { bars, threshold: line ? x(Number(line.match(/-?[\\d.]+/)[0])) : null };
  });
}"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", ["0.29", "0.333", "0.5,0.9", "1"])
def test_what_is_drawn_is_the_histogram_of_what_survives(trained_server, trained_run, page, method, key):
    kernels = trained_run.kernels()
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&method={method}&k={key}")
    confirmed(page, key)
    settled(page)
    ks = [float(k) for k in key.split(",")]
    drawn = page.evaluate(READ_HISTOGRAMS)
    assert len(drawn) == len(kernels) - 1
    for layer, k, kernel in zip(drawn, ks * (1 if len(ks) > 1 else len(drawn)), kernels, strict=False):
        values = np.sort(np.abs(kernel).ravel() if method == "weight" else np.linalg.norm(kernel.astype(float), axis=0))
        left = values[prune_count(values.size, k) :]
        counts, edges = np.histogram(left, 60, (0, values[-1]))
        bars = np.array(layer["bars"]).reshape(-1, 3)
        width = edges[1]
        np.testing.assert_allclose(bars[:, 0], edges[:-1][counts > 0] + 0.04 * width, atol=0.01 * width)
        np.testing.assert_allclose(bars[:, 1], edges[1:][counts > 0] - 0.04 * width, atol=0.01 * width)
        np.testing.assert_allclose(bars[:, 2], counts[counts > 0], atol=0.02)
        if 0 < left.size < values.size:
            assert layer["threshold"] == pytest.approx(float(left[0]), abs=float(0.01 * width))
        else:
            assert layer["threshold"] is None


def test_a_loss_is_said_as_a_loss_and_a_gain_as_a_gain(trained_server, trained_run, page):
    scores = Criterion("weight").select(trained_run.sweep()).set_index("sparsity")
    dense = scores.loc[0.0]
    more = [k for k in STOPS if scores.accuracy[k] > dense.accuracy or scores.loss[k] < dense.loss]
    for k in (0.97, *more[-1:]):
        visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k={Sparsity(k)}")
        confirmed(page, str(Sparsity(k)))
        for name, gain, scale, unit in (("accuracy", 1, 100, " points"), ("loss", -1, 1, "")):
            change = scores.loc[k, name] - dense[name]
            digits = 2 if name == "accuracy" else 4
            said = metric(page, name).locator("small")
            sign = "−" if round(scale * change, digits) < 0 else "+"
            expect(said).to_have_text(f"{sign}{abs(scale * change):.{digits}f}{unit} from dense")
            look = "better" if gain * change > 0 else "worse" if gain * change < 0 else ""
            expect(said).to_have_class(look)


def keep_busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


# The opacity that a person sees of the slider, in every frame.
WATCH_OPACITY = """() => {
  window.opacities = [];
  const note = () => {
    let opacity = 1;
    for (let part = document.querySelector(".instrument"); part; part = part.parentElement ?? part.getRootNode().host)
      opacity *= Number(getComputedStyle(part).opacity);
    window.opacities.push(opacity);
    requestAnimationFrame(note);
  };
  note();
}"""


def test_the_slider_never_fades(trained_server, trained_run, page):
    """Streamlit fades what waits for a rerun; here the machine is so busy that every rerun takes long."""
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&method=unit&k=0")
    confirmed(page, "0")
    busy = [multiprocessing.Process(target=keep_busy, args=(60,)) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        page.evaluate(WATCH_OPACITY)
        slide(page, 0, 20, pause=100)
    finally:
        for process in busy:
            process.kill()
    opacities = page.evaluate("window.opacities")
    assert len(opacities) > 20
    assert set(opacities) == {1}


def test_a_drag_is_one_step_back(trained_server, trained_run, page):
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.2")
    confirmed(page, "0.2")
    slide(page, 20, 40, release=False)
    confirmed(page, "0.4")
    expect(page).to_have_url(re.compile(r"k=0\.4(&|$)"))  # the pointer rests: the address follows
    slide(page, 40, 60)
    confirmed(page, "0.6")
    expect(page).to_have_url(re.compile(r"k=0\.6(&|$)"))
    settled(page)
    page.go_back()
    confirmed(page, "0.2")
    expect(page).to_have_url(re.compile(r"k=0\.2(&|$)"))
    settled(page)
    page.go_forward()
    confirmed(page, "0.6")
    expect(page).to_have_url(re.compile(r"k=0\.6(&|$)"))


def test_what_a_slow_server_says_late_neither_moves_the_slider_nor_is_a_step_back(trained_server, trained_run, page):
    """Of all that it says of a drag nothing comes before the next one is over, and then all at once."""
    page = page.context.new_page()
    line = Line(page)
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.2")
    confirmed(page, "0.2")
    settled(page)
    line.holds = True
    slide(page, 20, 40)
    line.place_of(b"k=0.4")
    slide(page, 40, 60)
    line.place_of(b"k=0.6")
    line.release(line.place_of(b'"k": "0.6"'))
    page.wait_for_timeout(500)
    expect(page.locator(".instrument")).to_have_attribute("data-key", "0.6")
    expect(page).to_have_url(re.compile(r"k=0\.6(&|$)"))
    line.release()
    confirmed(page, "0.6")
    settled(page)
    for k in ("0.4", "0.2"):
        page.go_back()
        confirmed(page, k)
        settled(page)


def test_play_moves_the_real_slider_to_the_end(trained_server, trained_run, page):
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.9")
    confirmed(page, "0.9")
    page.evaluate(WATCH_DRAWING)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    confirmed(page, "1")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    keys = list(dict(page.evaluate("window.drawn")))
    assert keys == [str(Sparsity(k)) for k in STOPS if k >= 0.9]


def test_the_first_page_is_alive_without_a_click(server, page):
    """A cache that never held a run, no data folder: the example is adopted and shown."""
    opened(page, server.url, "")
    page.locator(".instrument[data-state=confirmed]").wait_for()
    (run,) = runs.list_runs(server.cache)
    scores = Criterion("weight").select(run.sweep()).set_index("sparsity")
    k = float(page.locator(".instrument").get_attribute("data-key"))
    assert scores.accuracy[k] >= run.result().test_accuracy - 0.005 > scores.accuracy[[s for s in STOPS if s > k]].max()
    slide(page, STOPS.index(k), STOPS.index(0.97))
    confirmed(page, "0.97")
    output = metric(page, "accuracy").locator("output")
    expect(output).to_have_text(f"{scores.accuracy[0.97]:.2%}")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_the_presentation_fits_a_projector(trained_server, trained_run, page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    visit(page, f"{trained_server.url}/present?run={trained_run.id}&method=unit&k=0.5")
    confirmed(page, "0.5")
    settled(page)
    for part in (".metric[data-metric=accuracy] output", ".slider", ".histograms"):
        box = page.locator(f".instrument {part}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
    if height > 1000:  # on a lower screen there is no room for the curves
        lines = page.locator(".curve .legendlines").evaluate_all(
            "all => all.map((line) => line.getBoundingClientRect().width)"
        )
        assert len(lines) >= 3
        assert all(lines)
