"""The slider of k for every hand, in every state of the network, and over a server that is started again."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.datasets import load_dataset
from core.evaluation import evaluate
from core.pruning import Sparsity, prune
from core.sweep import REPAIR_STOPS
from tests.browsing import SERVER_AWAY, confirmed, metric, needs_chromium, serving, settled, shown, visit, wall_shows
from tests.test_instrument import slide

pytestmark = needs_chromium
PLACE = "slider => slider.value / slider.max"
"""Where the thumb is, as a fraction of the track."""


def slider_of(page: Page):
    return page.get_by_label("Sparsity k", exact=True)


def test_a_k_stands_at_one_place(trained_server, trained_run, page):
    places = []
    for state, marks in (("as pruned", 0), ("repaired", len(REPAIR_STOPS))):
        visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&state={state}&k=0.95")
        page.locator('.instrument[data-key="0.95"]').wait_for()
        places.append(slider_of(page).evaluate(PLACE))
        expect(page.locator(".instrument .marks i")).to_have_count(marks)
    assert places == [pytest.approx(95 / 102)] * 2

    # Between two stops the pointer moves to the nearer one, and a key goes from one to the next.
    slide(page, 95, 88)
    page.locator('.instrument[data-key="0.9"]').wait_for()
    for key, k in (("ArrowLeft", 0.85), ("ArrowLeft", 0.8), ("ArrowRight", 0.85), ("Home", 0.0), ("ArrowRight", 0.25)):
        slider_of(page).press(key)
        page.locator(f'.instrument[data-key="{Sparsity(k)}"]').wait_for()
        assert slider_of(page).evaluate(PLACE) == pytest.approx(100 * k / 102)


def test_only_sideways_touch_moves_k(browser, trained_server, trained_run, page):
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    try:
        page = phone.new_page()
        page.set_default_timeout(60_000)
        visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.38")
        confirmed(page, "0.38")
        wall_shows(page, "0.38")
        slider_of(page).evaluate("slider => slider.scrollIntoView({ block: 'center' })")
        screen = phone.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            screen.send(
                "Input.dispatchTouchEvent",
                {"type": f"touch{kind}", "touchPoints": [{"x": x, "y": y} for x, y in points]},
            )

        def swipe(across: float, down: float) -> tuple[list[str], float]:
            """The k that are seen during a swipe from 70 % of the slider, and how far the page scrolls."""
            page.evaluate("""() => {
              const root = document.querySelector(".instrument");
              window.keys = [];
              new MutationObserver(() => { if (keys.at(-1) !== root.dataset.key) keys.push(root.dataset.key); })
                .observe(root, { attributes: true, attributeFilter: ["data-key"] });
            }""")
            box, before = slider_of(page).bounding_box(), page.evaluate("document.querySelector('.stMain').scrollTop")
            x, y = box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2
            touch("Start", (x, y))
            for step in range(1, 11):
                touch("Move", (x + across * step / 10, y + down * step / 10))
            touch("End")
            settled(page)
            if abs(down) > abs(across):
                page.wait_for_function(
                    "before => Math.abs(document.querySelector('.stMain').scrollTop - before) > 100", arg=before
                )
            page.wait_for_timeout(500)  # longer than the page goes on scrolling, and the slider telling
            return page.evaluate("keys"), page.evaluate("document.querySelector('.stMain').scrollTop") - before

        for across, down in ((0, -150), (-80, -150), (80, 150)):
            keys, scrolled = swipe(across, down)
            assert (keys, scrolled * down < -100) == ([], True), (across, down)
        confirmed(page, "0.38")
        for across, down in ((-80, 0), (-80, 40)):
            keys, scrolled = swipe(across, down)
            assert keys
            assert scrolled == 0
        # A tap goes to where it is, and can be gone back from.
        before = page.locator(".instrument").get_attribute("data-key")
        keys, _ = swipe(0, 0)
        assert keys == [page.locator(".instrument").get_attribute("data-key")] != [before]
        confirmed(page, keys[0])
        expect(page).to_have_url(re.compile(rf"k={re.escape(keys[0])}(&|$)"))
    finally:
        phone.close()


def test_a_restarted_server_is_told(repaired_cache, trained_run, tmp_path, page, errors):
    errors.expected += SERVER_AWAY
    with serving(tmp_path / "cache", repaired_cache) as server:
        visit(page, f"{server.url}/pruning?run={trained_run.id}&k=0.5")
        confirmed(page, "0.5")
        slide(page, 50, 55)
        server.stop()
        # Not by the mouse: Streamlit lays a dialog over the page.
        slider_of(page).evaluate("slider => { slider.value = 70; slider.dispatchEvent(new Event('input')); }")
        page.locator('.instrument[data-key="0.7"]').wait_for()
        expect(page.get_by_text("Disconnected from the server.")).to_be_visible()
        expect(page.locator(".instrument .status")).to_contain_text("Disconnected")
        server.start()
        confirmed(page, "0.7")
        expect(page.get_by_text("Disconnected")).to_have_count(0)
        expect(page).to_have_url(re.compile(r"k=0\.7(&|$)"))
        # And what is dragged now is measured as ever.
        slide(page, 70, 93)
        confirmed(page, "0.93")
        test = load_dataset("optdigits", trained_run.root).test
        score = evaluate(prune(trained_run.kernels(), "weight", 0.93), test.images, test.labels)
        accuracy, _ = shown(score.accuracy, score.loss)
        expect(metric(page, "accuracy").locator("output")).to_have_text(accuracy)


def test_play_steps_where_motion_is_reduced(trained_server, trained_run, page):
    page = page.context.new_page()
    page.emulate_media(reduced_motion="reduce")
    visit(page, f"{trained_server.url}/pruning?run={trained_run.id}&k=0.85")
    confirmed(page, "0.85")
    for k in ("0.95", "1", "0"):
        page.get_by_role("button", name="Step").click()
        confirmed(page, k)
