"""Opens pages in a real browser."""

import shutil
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
NO_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; install the system's chromium package"
)


def visit(browser: Browser, url: str, **options: Any) -> tuple[Page, list[str]]:
    """Opens a page; returns it and everything that goes wrong in it from then on."""
    page = browser.new_context(**options).new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.extend({request.url} - {url.split("#")[0]}))
    page.goto(url)
    return page, troubles


def draw(page: Page, *names: str) -> None:
    """Scrolls to figures (all, if none is named) until they are drawn."""
    named = ", ".join(f".plot[data-panel={name}]" for name in names)
    for plot in page.locator(named or ".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()


def grave_violations(page: Page, axe: str) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or critical: its rule, and the first elements.

    The page's policy would refuse the checker: it is visited with `bypass_csp`.
    """
    page.add_script_tag(content=axe)
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        (found["id"], [node["html"][:120] for node in found["nodes"][:3]])
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
    ]
