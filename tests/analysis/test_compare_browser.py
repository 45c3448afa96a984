"""The comparison in a real browser: quiet, offline, sorted by mouse and keyboard, fits a phone."""

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

from .browsing import NO_CHROMIUM, draw, grave_violations
from .browsing import visit as open_page
from .test_compare import NAMES, compare, plant

pytestmark = NO_CHROMIUM


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for number, name in enumerate((*NAMES[:2], "sweep,rate=0.05")):
        plant(runs, name, f"dataset-{number}", (0.15, 0.3, 0.05)[number], list(range(8)))
    return compare(runs)


def visit(browser: Browser, comparison: Path, width: int = 1280) -> tuple[Page, list[str]]:
    """Opens the page and draws every figure; returns it and everything that went wrong."""
    url = (comparison / "compare.html").as_uri()
    page, troubles = open_page(browser, url, viewport={"width": width, "height": 900})
    draw(page)
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


def test_claims_lead_to_their_figures(browser: Browser, comparison: Path) -> None:
    page, troubles = visit(browser, comparison)
    addresses = [a.get_attribute("href") or "" for a in page.locator(".claim a").all()]
    assert addresses
    for address in addresses:
        assert page.locator(address.split("&")[0]).count() == 1
    assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_violation(browser: Browser, comparison: Path, axe: str, scheme: str) -> None:
    url = (comparison / "compare.html").as_uri()
    page, _ = open_page(browser, url, color_scheme=scheme, bypass_csp=True)
    draw(page)
    for summary in page.locator("details summary").all():
        summary.click()
    assert grave_violations(page, axe) == []


def test_settings_name_their_runs_and_stand_in_one_column_on_a_phone(
    browser: Browser, comparison: Path
) -> None:
    figure = ".plot[data-panel=by-setting-validation-loss]"
    runs = pd.read_csv(comparison / "tables" / "runs.csv").run.tolist()
    lefts = {}
    for width in (1280, 390):
        page, troubles = visit(browser, comparison, width)
        assert page.locator(f"{figure} .legendtext").all_text_contents() == runs
        boxes = [plot.bounding_box() for plot in page.locator(f"{figure} .nsewdrag").all()]
        lefts[width] = {round(box["x"]) for box in boxes if box}
        titles = [title.bounding_box() for title in page.locator(f"{figure} [class$=title]").all()]
        assert all(title["x"] + title["width"] <= width for title in titles if title)
        assert troubles == []
    assert len(lefts[390]) == 1
    page.context.close()


def test_sorting_marks_stay_behind_the_first_column(browser: Browser, comparison: Path) -> None:
    page, _ = visit(browser, comparison, width=390)
    table = page.locator(".scroll.wide")
    table.scroll_into_view_if_needed()
    seen = table.evaluate(
        """table => {
            const box = document.querySelector(".runs thead th").getBoundingClientRect();
            const seen = new Set();
            for (let left = 0; left < 400; left += 8) {
                table.scrollLeft = left;
                for (let y = box.top + 4; y < box.bottom - 2; y += 4) {
                    const middle = (box.left + box.right) / 2;
                    seen.add(document.elementFromPoint(middle, y).closest("th")?.cellIndex);
                }
            }
            return [...seen];
        }"""
    )
    assert seen == [0]
