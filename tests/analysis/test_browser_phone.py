"""Many experts and many layers: cells stay readable on a phone, every layer within reach."""

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import NO_CHROMIUM, draw, visit
from .runs import make_report, write_run
from .stores import Planted

pytestmark = NO_CHROMIUM

PHONE = {"viewport": {"width": 390, "height": 844}}
CELLS = "document.querySelector('.plot[data-panel={}] .nsewdrag').getBoundingClientRect().width"
FRAME = "#figure-{} .frame"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of 64 experts in 16 layers."""
    plan = Planted(
        documents_per_topic=10, layers=tuple(range(16)), experts=64, effect=2.0, sample_masked=3
    )
    overrides = ("report.permutations=19", "report.bootstrap=20")
    folder = make_report(write_run(tmp_path_factory.mktemp("large"), plan, overrides))
    return (folder / "report.html").as_uri()


def cells(page: Page, panel: str) -> float:
    """How wide all cells of a heatmap are together, in px."""
    return float(page.evaluate(CELLS.format(panel)))


def test_many_experts_scroll_sideways_within_their_figure(browser: Browser, large: str) -> None:
    page, troubles = visit(browser, large, **PHONE, has_touch=True)
    draw(page, "topics", "mask-kinds")
    for panel in ("topics", "mask-kinds"):
        assert cells(page, panel) >= 64 * 9
        frame = page.locator(FRAME.format(panel))
        expect(frame).to_have_attribute("tabindex", "0")
        frame.evaluate("frame => frame.scrollLeft = 200")
        assert frame.evaluate("frame => frame.scrollLeft") == 200
    assert (
        page.evaluate("document.querySelector('.plot[data-panel=topics]').layout.dragmode") is False
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator(FRAME.format("topics"))).not_to_have_attribute("tabindex", "0")
    assert troubles == []
    page.context.close()


def test_few_experts_get_most_of_a_phone(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain, **PHONE)
    draw(page, "topics", "mask-kinds")
    for panel in ("topics", "mask-kinds"):
        assert cells(page, panel) > 200
        expect(page.locator(FRAME.format(panel))).not_to_have_attribute("tabindex", "0")
    page.context.close()


def test_labels_of_baselines_cover_no_curve(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain, **PHONE)
    draw(page, "load")
    ground = page.locator(".plot[data-panel=load] .annotation .bg").first
    opacity = ground.evaluate("box => getComputedStyle(box).fillOpacity")
    assert float(opacity) == 0
    page.context.close()


def test_headings_keep_clear_of_the_button(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain, **PHONE)
    gaps = page.evaluate(
        """() => [...document.querySelectorAll("figure")].map((figure) => {
            const [heading, button] = ["h3", ".save"].map((name) => figure.querySelector(name));
            return button.getBoundingClientRect().left - heading.getBoundingClientRect().right;
        })"""
    )
    assert len(gaps) > 15
    assert min(gaps) > 0
    page.context.close()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (390, 480)])
def test_every_layer_is_within_reach_in_the_viewer(
    browser: Browser, large: str, size: tuple[int, int]
) -> None:
    window = {"width": size[0], "height": size[1]}
    page, _ = visit(browser, f"{large}#examples&layer=14", viewport=window)
    page.locator("#viewer-tokens .tok").first.wait_for()
    page.locator("#viewer-tokens").focus()
    page.keyboard.press("Home")
    hidden, inside = page.evaluate(
        """() => {
            const detail = document.getElementById("viewer-detail");
            const here = detail.querySelector(".here").getBoundingClientRect();
            const box = detail.getBoundingClientRect();
            const inside = here.top >= box.top && here.bottom <= box.bottom;
            return [detail.scrollHeight - detail.clientHeight, inside];
        }"""
    )
    assert inside
    if size[1] > 500:
        assert hidden <= 0
    page.context.close()


def test_paper_is_the_same_from_a_phone(browser: Browser, plain: str) -> None:
    widths = []
    for window in (PHONE["viewport"], {"width": 1280, "height": 900}):
        page, _ = visit(browser, plain, viewport=window)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.locator(".plot[data-panel=topics] .main-svg").first.wait_for(state="attached")
        widths.append([cells(page, panel) for panel in ("topics", "mask-kinds")])
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        if window["width"] == 390:
            assert cells(page, "topics") < 300
        page.context.close()
    assert widths[0] == widths[1]
    assert max(widths[0]) < 680


def test_a_window_that_was_narrow_looks_as_before(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain, viewport={"width": 1280, "height": 900})
    draw(page, "overlap", "topics")
    size = """() => ["overlap", "topics"].map((name) => {
        const plot = document.querySelector(`.plot[data-panel=${name}]`);
        const { width } = plot.querySelector(".heatmaplayer").getBoundingClientRect();
        return [Math.round(width), plot._fullLayout._size.r];
    })"""
    before = page.evaluate(size)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('.plot[data-panel=topics]').clientWidth < 500")
    page.wait_for_timeout(300)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(600)
    assert page.evaluate(size) == before
    assert troubles == []
    page.context.close()
