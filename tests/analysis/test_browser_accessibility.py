"""axe-core finds no serious accessibility violation, in light and dark, on desk and phone."""

import pytest
from playwright.sync_api import Browser

from .browsing import NO_CHROMIUM, draw, grave_violations

pytestmark = NO_CHROMIUM

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.mark.parametrize(("scheme", "window"), [("light", DESK), ("dark", DESK), ("light", PHONE)])
def test_no_serious_violation(
    browser: Browser, plain: str, axe: str, scheme: str, window: dict[str, int]
) -> None:
    # the checker is no part of the page: its policy would refuse it
    context = browser.new_context(viewport=window, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{plain}#examples")
    page.locator("#token-3").hover()
    draw(page, "topics", "depth", "loss")
    page.locator("#search").fill("graph")
    for summary in page.locator("#topics details summary").all():
        summary.click()
    assert grave_violations(page, axe) == []
    context.close()
