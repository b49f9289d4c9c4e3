"""From page to page in a real Chromium: the network in view goes along, and each visit is one step back."""

import re

from playwright.sync_api import Page, expect

from tests.browsing import PAGES, confirmed, needs_chromium, settled, visit

pytestmark = needs_chromium
CHOSEN = {"method": "unit", "ranking": "activation"}


def steps(page: Page) -> int:
    return page.evaluate("history.length")


def on(page: Page, path: str) -> None:
    """Wait until this page is there."""
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    expect(page).to_have_url(re.compile(rf"/{path}(\?|$)"))
    settled(page)


def says(page: Page, **query: str) -> None:
    """Wait until the address says so."""
    page.wait_for_function(
        "(all) => Object.entries(all).every(([name, value]) => new URL(location).searchParams.get(name) === value)",
        arg=query,
        polling=100,
    )


def by_menu(page: Page, path: str) -> None:
    page.get_by_test_id("stTopNavLink").filter(has_text=path.capitalize() or "Overview").click()
    on(page, path)


def test_a_network_goes_along_from_page_to_page(trained_server, trained_run, page, browser):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = page.context.new_page()
    visit(page, trained_server.url)
    page.locator(".instrument[data-state=confirmed]").wait_for()
    settled(page)
    opened = steps(page)
    assert opened == 1 + 1  # the empty tab, and this page with all that was added to its address
    expect(page.get_by_text(trained_run.config().describe()).first).to_be_visible()
    slider = page.get_by_label("Sparsity k", exact=True)
    slider.focus()
    slider.press("End")
    confirmed(page, "1")
    says(page, k="1")
    assert steps(page) == opened + 1

    page.get_by_role("link", name="Look closer").click()
    on(page, "pruning")
    confirmed(page, "1")
    for name, choice in CHOSEN.items():
        page.get_by_role("radio", name=choice).click()
        says(page, **{name: choice})
        settled(page)
    says(page, k="1", **CHOSEN)
    assert steps(page) == opened + 2
    page.go_back()
    on(page, "")
    confirmed(page, "1")
    page.go_forward()
    on(page, "pruning")
    says(page, k="1", **CHOSEN)

    for count, path in enumerate(("size", "draw", "runs", "comparison", "", "pruning"), start=opened + 3):
        by_menu(page, path)
        if path not in ("runs", "comparison"):
            says(page, k="1", **CHOSEN)
        assert steps(page) == count
    confirmed(page, "1")
    page.go_back()
    on(page, "")
    confirmed(page, "1")
    page.go_forward()
    on(page, "pruning")
    confirmed(page, "1")

    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    elsewhere = browser.new_context()
    other = elsewhere.new_page()
    visit(other, link)
    confirmed(other, "1")
    for choice in CHOSEN.values():
        expect(other.get_by_role("radio", name=choice)).to_be_checked()
    assert other.evaluate("window.pruningNow") == page.evaluate("window.pruningNow")
    elsewhere.close()
    page.context.clear_permissions()
