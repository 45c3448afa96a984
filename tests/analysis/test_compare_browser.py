"""The comparison in a real browser: quiet, offline, sorted by mouse and keyboard, fits a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from .test_compare import NAMES, compare, plant

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; install the system's chromium package"
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for number, name in enumerate((*NAMES[:2], "sweep,rate=0.05")):
        plant(runs, name, f"dataset-{number}", (0.15, 0.3, 0.05)[number], list(range(8)))
    return compare(runs)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def visit(browser: Browser, comparison: Path, width: int = 1280) -> tuple[Page, list[str]]:
    """Opens the page and draws every figure; returns it and everything that went wrong."""
    url = (comparison / "compare.html").as_uri()
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.extend({request.url} - {url}))
    page.goto(url)
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for(state="attached")
    return page, troubles


def column(page: Page, position: int) -> list[str]:
    return page.locator(f".runs tbody tr > :nth-child({position})").all_inner_texts()


def test_page_draws_every_figure_and_asks_for_nothing(browser: Browser, comparison: Path) -> None:
    _, troubles = visit(browser, comparison)
    assert troubles == []


def test_columns_sort_as_numbers_by_mouse_and_keyboard(browser: Browser, comparison: Path) -> None:
    page, _ = visit(browser, comparison)
    heading = page.get_by_role("columnheader", name="masking.probability")
    names = pd.read_csv(comparison / "tables" / "runs.csv").set_index("masking.probability").run
    heading.get_by_role("button").click()
    assert column(page, 2) == ["0.05", "0.15", "0.3"]
    assert column(page, 1) == names.sort_index().tolist()
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert column(page, 2) == ["0.3", "0.15", "0.05"]
    assert heading.get_attribute("aria-sort") == "descending"
    page.get_by_role("columnheader", name="run").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "none"


def test_layer_slider_moves_the_similarity(browser: Browser, comparison: Path) -> None:
    page, _ = visit(browser, comparison)
    cells = "document.querySelector('.plot[data-panel=similarity]').data[0].z[0][1]"
    pairs = pd.read_csv(comparison / "tables" / "similarity.csv")
    for place, layer in enumerate(sorted(pairs.layer.unique())):
        page.locator(".layer-slider").first.fill(str(place))
        first = pairs[(pairs.layer == layer)].iloc[0]
        assert page.evaluate(cells) == pytest.approx(first.similarity, rel=1e-4)


def test_page_fits_a_phone(browser: Browser, comparison: Path) -> None:
    page, _ = visit(browser, comparison, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
