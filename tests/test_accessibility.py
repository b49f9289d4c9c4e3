"""Everybody can use every page: by keyboard, on a phone, with a screen reader, in light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browsing import PAGES, needs_chromium, opened, visit

pytestmark = needs_chromium
NAME = """() => {
  let at = document.activeElement;
  if (at === document.body) return null;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  const label = at.labels?.[0] ?? document.getElementById(at.getAttribute("aria-labelledby"));
  return at.getAttribute("aria-label") || label?.innerText || at.innerText || at.title || at.textContent;
}"""
"""The name of what the focus is on; null at the end of the page."""


def violations(page):
    """What axe finds that keeps somebody from using the page, and where."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        (each["id"], node["target"], node.get("failureSummary", "")[:300])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", [*PAGES, "present"])
def test_a_page_opens_by_its_address_can_be_read_by_everybody_and_fits_a_phone(trained_server, page, path):
    if path in PAGES:
        opened(page, trained_server.url, path)
    else:  # for a projector, without a heading and navigation
        visit(page, f"{trained_server.url}/{path}")
    paper = page.locator(".stApp")
    for scheme, color in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 22, 27)")):
        page.emulate_media(color_scheme=scheme)
        expect(paper).to_have_css("background-color", color)
        assert violations(page) == [], scheme
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("document.querySelector('.stMain').scrollWidth === 400")


def around(page, element):
    """A picture of a control and what is around it."""
    element.evaluate("each => each.scrollIntoView({block: 'center'})")
    box = element.bounding_box()
    left, top = max(box["x"] - 8, 0), max(box["y"] - 8, 0)
    clip = {"x": left, "y": top, "width": box["width"] + 16, "height": box["height"] + 16}
    return page.screenshot(clip=clip, animations="disabled")


def test_what_the_keyboard_reaches_has_a_name_and_is_seen(trained_server, page):
    """From the top of the page, by Tab alone, to the end of it."""
    visit(page, f"{trained_server.url}/pruning")
    page.locator(".instrument[data-state=confirmed]").wait_for()
    reached, before = [], None
    for _ in range(100):
        page.keyboard.press("Tab")
        name = page.evaluate(NAME)
        focused = page.evaluate_handle("document.activeElement").as_element()
        if before:
            assert around(page, before[0]) != before[1], f"the focus cannot be seen on {reached[-1]}"
        if name is None:
            break
        assert name, f"a control without a name after {reached}"
        reached.append(name.split("\n")[-1])
        before = focused, around(page, focused)
    assert name is None, f"the keyboard does not get past {reached}"
    for name in (
        "Pruning",
        "Copy link",
        "Run",
        "weight",
        "Sparsity k",
        "Download the small model",
    ):
        assert name in reached, " · ".join(reached)
