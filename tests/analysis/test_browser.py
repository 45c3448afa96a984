"""The page in a real browser: quiet, offline, its controls work, hostile text stays text."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from .browsing import NO_CHROMIUM, draw, visit

pytestmark = NO_CHROMIUM


def heatmap(page: Page, expression: str) -> Any:
    return page.evaluate(f"document.querySelector('.plot[data-panel=topics]').{expression}")


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_page_is_quiet_and_draws_every_figure(
    browser: Browser, which: str, request: pytest.FixtureRequest
) -> None:
    page, troubles = visit(browser, request.getfixturevalue(which))
    draw(page)
    assert page.locator(".plot").count() >= 15
    assert troubles == []
    page.context.close()


def test_hostile_text_is_text(browser: Browser, hostile: str) -> None:
    page, _ = visit(browser, hostile)
    draw(page, "topics", "load-by-topic")
    assert page.title() == "planted · moescope"
    assert page.locator("main img, main i, main script").count() == 0
    body = page.locator("main").inner_text()
    for text in ("</script><script>", "<img src=x onerror", "a\\u0000b\\u001b[0m\\u202egnp.exe"):
        assert text in body
    assert "{{ 7 * 7 }}www" in body
    labels = page.locator(".plot[data-panel=topics] .ytick").all_text_contents()
    assert any("<img" in label for label in labels)
    tokens = page.locator(".layer-cards:not([hidden]) .token").all_inner_texts()
    assert set(tokens) <= {"␣the", "</script>", "<b>bold", "\\u202e", "שלום", "⏎"}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_layer_slider_moves_every_figure(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    draw(page, "topics", "load-by-topic")
    before = heatmap(page, "data[0].z")
    slider = page.locator("#figure-topics .layer-slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#figure-load output').textContent === '2'")
    assert heatmap(page, "data[0].z") != before
    assert page.locator(".layer-cards:visible").get_attribute("data-layer") == "2"
    assert slider.get_attribute("aria-valuetext") == "layer 2"
    assert troubles == []
    page.context.close()


def test_topic_filter_keeps_rows_under_their_names(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    draw(page, "topics", "load-by-topic")
    names, rows = heatmap(page, "data[0].y"), heatmap(page, "data[0].z")
    page.locator("#figure-topics .filter summary").click()
    page.locator("#figure-topics .topic[value='1']").uncheck()
    kept = [0, 2, 3]
    page.wait_for_function(
        "document.querySelector('.plot[data-panel=topics]').data[0].y.length === 3"
    )
    assert heatmap(page, "data[0].y") == [names[row] for row in kept]
    assert heatmap(page, "data[0].z") == [rows[row] for row in kept]
    bars = page.evaluate(
        "document.querySelector('.plot[data-panel=load-by-topic]').data.map(bar => bar.visible)"
    )
    assert bars == [True, False, True, True]
    assert page.locator("#figure-load-by-topic .chosen").inner_text() == "3 of 4"
    assert troubles == []
    page.context.close()


def test_hover_shows_expert_and_interval(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain)
    plot = page.locator(".plot[data-panel=topics]")
    draw(page, "topics")
    plot.locator(".heatmaplayer image, .heatmaplayer path").first.wait_for(state="attached")
    box = plot.locator(".nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    text = plot.locator(".hoverlayer").text_content() or ""
    for part in ("L0·E0", "arrays", "95% interval", "family-wise", "n = 40 documents"):
        assert part in text
    page.context.close()


def test_dark_mode_follows_system_and_button(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain, color_scheme="dark")
    draw(page, "topics", "load-by-topic")
    scale = "layout.coloraxis.colorscale[2][1]"
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert (page.evaluate(ground), heatmap(page, scale)) == ("rgb(20, 24, 28)", "#1f252b")
    page.locator("#theme").click()
    assert (page.evaluate(ground), heatmap(page, scale)) == ("rgb(255, 255, 255)", "#f7f7f7")
    assert troubles == []
    page.context.close()


def test_phone_and_no_script_readers_get_verdict_and_tables(browser: Browser, plain: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}}
    page, _ = visit(browser, plain, **phone)
    draw(page, "topics", "overlap", "load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()
    page, _ = visit(browser, plain, java_script_enabled=False, **phone)
    assert "carries topic information" in page.locator("#verdict").inner_text()
    assert page.locator(".plot:visible, button:visible").count() == 0
    table = page.locator("#figure-topics table")
    assert not table.is_visible()
    page.locator("#figure-topics details summary", has_text="Table").click()
    assert table.is_visible()
    assert table.locator("tbody tr").count() > 10
    page.context.close()


def test_page_prints_on_paper_in_light_colours(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain, color_scheme="dark")
    assert len(page.pdf(format="A4")) > 50_000
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 30")
    assert troubles == []
    page.context.close()


def test_paper_keeps_layers_and_flows(browser: Browser, debug_run: Path) -> None:
    url = (debug_run / "report" / "report.html").as_uri()
    page, _ = visit(browser, f"{url}#layer=1")
    page.emulate_media(media="print")
    # as while printing: the figures are drawn, and no time passes for links to fade in
    opacities = page.evaluate(
        """async () => {
            dispatchEvent(new Event("beforeprint"));
            const links = () => [...document.querySelectorAll(".sankey-link")];
            while (!links().length) await new Promise(requestAnimationFrame);
            return links().map((link) => getComputedStyle(link).opacity);
        }"""
    )
    assert set(opacities) == {"1"}
    label = page.locator("#figure-topics .layer")
    expect(label).to_have_text("Layer 1")
    expect(label.locator("input")).to_be_hidden()
    expect(page.locator("#figure-topics .save")).to_be_hidden()
    page.context.close()


def test_saved_picture_says_its_layer_and_has_a_ground(
    browser: Browser, plain: str, tmp_path: Path
) -> None:
    page, _ = visit(browser, f"{plain}#topics&layer=2", color_scheme="dark")
    draw(page, "topics", "depth")
    names = []
    for panel in ("topics", "depth"):
        with page.expect_download() as download:
            page.locator(f".save[data-panel={panel}]").click()
        names.append(download.value.suggested_filename)
    assert names == ["topics-layer-2.png", "depth.png"]
    download.value.save_as(tmp_path / "depth.png")
    with Image.open(tmp_path / "depth.png") as picture:
        corner = picture.convert("RGBA").getpixel((0, 0))
    assert corner == (0x1C, 0x21, 0x27, 255)
    page.context.close()
