"""Finding one's way in the page: search, deep links, expert cards, the token viewer."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from moescope.inference.store.reader import RoutingStore

from .browsing import NO_CHROMIUM, draw, visit

pytestmark = NO_CHROMIUM

TOP = "document.querySelector('{}').getBoundingClientRect().top"


def top(page: Page, selector: str) -> float:
    """How far an element is below the upper edge of the window."""
    return float(page.evaluate(TOP.format(selector)))


def tokens_of(page: Page) -> list[dict[str, Any]]:
    """The tokens on the screen: text, classes, first expert."""
    return page.evaluate(
        "[...document.querySelectorAll('#viewer-tokens .tok')].map(token => ({"
        "text: token.querySelector('bdi').textContent, classes: token.className,"
        "expert: Number(token.querySelector('sup').textContent)}))"
    )


def open_viewer(browser: Browser, url: str) -> tuple[Page, list[str]]:
    page, troubles = visit(browser, f"{url}#examples")
    page.locator("#viewer-tokens .tok").first.wait_for()
    return page, troubles


def test_every_chapter_is_where_its_link_says(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    links = page.locator(".contents a").all()
    assert len(links) >= 11
    for link in [*links, *reversed(links)]:  # figures drawn on the way must not move the target
        name = (link.get_attribute("href") or "")[1:]
        link.click()
        page.wait_for_timeout(30)
        room = page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
        assert top(page, f"section[id={name}]") < 2 or room < 2
        expect(page.locator(f"section[id={name}] h2")).to_be_in_viewport()
    assert troubles == []
    page.context.close()


def test_chapters_come_in_the_order_of_the_contents(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain)
    titles = page.locator("main h2").all_inner_texts()
    assert titles == [text.strip() for text in page.locator(".contents a").all_inner_texts()]
    assert titles[:3] == ["Verdict", "Topics", "Topic beyond words"]
    assert titles[-2:] == ["Examples", "Methods"]
    page.context.close()


def test_search_finds_experts_topics_and_tokens_by_keyboard(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    box, found = page.locator("#search"), page.locator("#found")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    box.fill("l2e5")
    expect(found.locator("li").first).to_have_text("L2·E5 expert")
    page.keyboard.press("Enter")
    expect(page.locator("#L2E5")).to_be_focused()
    expect(page.locator("#L2E5")).to_be_in_viewport()
    expect(page.locator("#figure-topics output")).to_have_text("2")
    box.fill("THE")
    expect(found.locator("li").first).to_contain_text("␣the token of L")
    box.fill("graphs")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#figure-topics .chosen")).to_have_text("1 of 4")
    box.fill("no such thing")
    expect(found).to_have_text("nothing found")
    page.keyboard.press("Escape")
    expect(found).to_be_hidden()
    assert troubles == []
    page.context.close()


def test_deep_links_open_layer_and_expert(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, f"{plain}#layer=2&expert=5")
    expect(page.locator("#L2E5")).to_be_in_viewport()
    assert top(page, "#L2E5") < 100
    expect(page.locator("#L0E5")).to_be_hidden()
    page.locator("#figure-load .layer-slider").fill("0")
    assert page.evaluate("location.hash").endswith("layer=0")
    page.evaluate("location.hash = '#context&layer=2'")
    expect(page.locator("#context h2")).to_be_in_viewport()
    expect(page.locator("#figure-load output")).to_have_text("2")
    page.evaluate("location.hash = '#layer=99&expert=nonsense'")
    assert troubles == []
    page.context.close()


def test_claims_lead_to_their_figure_and_layer(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    claims = {a.inner_text(): a for a in page.locator(".claim a").all()}
    for link in claims.values():
        address = (link.get_attribute("href") or "").split("&")[0]
        assert page.locator(address).count() == 1
    strongest = next(text for text in claims if "strongest topic expert" in text)
    claims[strongest].click()
    expect(page.locator("#figure-topics h3")).to_be_in_viewport()
    layer = strongest.removeprefix("L").partition("·")[0]
    expect(page.locator("#figure-topics output")).to_have_text(layer)
    assert troubles == []
    page.context.close()


def test_cards_show_what_the_tables_hold(browser: Browser, plain_report: Path) -> None:
    load = pd.read_csv(plain_report / "tables" / "load.csv")
    cells = pd.read_csv(plain_report / "tables" / "topics.csv")
    page, _ = visit(browser, (plain_report / "report.html").as_uri())
    for row in load.sample(6, random_state=0).itertuples():
        page.evaluate(f"location.hash = '#layer={row.layer}&expert={row.expert}'")
        card = page.locator(f"#L{row.layer}E{row.expert}")
        text = card.inner_text()
        share = re.findall(r"([\d.]+)% of tokens", text)[0]
        assert float(share) == pytest.approx(100 * row.share, rel=0.01)
        own = cells[(cells.layer == row.layer) & (cells.expert == row.expert)]
        strongest = own.loc[own.log2_ratio.idxmax()]
        line = card.locator("dt:text('Topics') + dd span").first.inner_text()
        assert strongest.topic in line
        assert line.startswith("●") == (strongest.p_value <= 0.05)
        shown = float(re.findall(r"\+(\d\.\d+)", line)[0])
        assert shown == pytest.approx(strongest.log2_ratio, rel=0.05)
    page.context.close()


def test_viewer_shows_the_recorded_choices(browser: Browser, plain_report: Path) -> None:
    page, troubles = open_viewer(browser, (plain_report / "report.html").as_uri())
    store = RoutingStore.open(plain_report.parent / "routing")
    names = dict(zip(store.facts.types, store.facts.type_strings, strict=False))
    for layer in (0, 1):
        page.locator("#viewer .layer-slider").fill(str(layer))
        for number in random.Random(layer).sample(range(40), 3):
            page.locator("#viewer-document").select_option(str(number))
            shown = page.locator("#viewer-facts").inner_text()
            name = re.findall(r"document-\d+", shown)[0]
            row = int(store.documents.document[store.documents.id == name].iloc[0])
            own = np.flatnonzero(store.sample["document"] == row)
            tokens = tokens_of(page)
            assert [token["expert"] for token in tokens] == [
                int(expert) for expert in store.sample_experts[own, layer, 0]
            ]
            seen = [names[i] for i in store.sample["input_id"].iloc[own]]
            assert [token["text"] for token in tokens] == seen
            masked = ["was-1" in token["classes"] for token in tokens]
            assert masked == (store.sample["mask_kind"].iloc[own] == 1).tolist()
            assert sum(masked) == 3
    assert troubles == []
    page.context.close()


def test_viewer_filters_by_topic_expert_and_layer(browser: Browser, plain: str) -> None:
    page, troubles = open_viewer(browser, plain)
    page.locator("#viewer-topic").select_option("graphs")
    expect(page.locator("#viewer-facts")).to_contain_text("of 10: “graphs”")
    assert page.locator("#viewer-document option").count() == 10
    page.locator("#viewer .layer-slider").fill("1")
    button = page.locator("#viewer-legend button[data-expert='1']")
    shares = []
    button.click()
    for _ in range(3):
        expect(button).to_have_attribute("aria-pressed", "true")
        for token in tokens_of(page):
            assert ("dim" in token["classes"]) == (token["expert"] != 1)
        shares.append(int((button.inner_text()).split()[1][:-1]))
        page.locator("#viewer-next").click()
    assert shares == sorted(shares, reverse=True)
    button.click()
    assert page.locator("#viewer-tokens .dim").count() == 0
    assert troubles == []
    page.context.close()


def test_viewer_tells_every_layer_on_hover_and_by_keyboard(browser: Browser, plain: str) -> None:
    page, troubles = open_viewer(browser, plain)
    detail = page.locator("#viewer-detail")
    page.locator("#token-7").hover()
    expect(detail).to_be_visible()
    text = detail.inner_text()
    for part in ("token 7, untouched", "L0 E", "L2 E", "1.00"):
        assert part in text
    page.locator("#viewer-tokens").focus()
    page.keyboard.press("Home")
    expect(detail).to_contain_text("token 0, masked")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-tokens")).to_have_attribute("aria-activedescendant", "token-1")
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    page.locator(".tok:has(s)").first.hover()
    expect(detail).to_contain_text("the model saw the")
    assert troubles == []
    page.context.close()


def test_hostile_text_stays_text_in_viewer_and_search(browser: Browser, hostile: str) -> None:
    page, troubles = open_viewer(browser, hostile)
    texts = {token["text"] for token in tokens_of(page)}
    assert texts <= {" the", "</script>", "<b>bold", "\\u202e", "שלום", "⏎\n"}
    assert len(texts) == 6
    page.locator("#token-3").hover()
    for query in ("<", "script", "img", "bold"):
        page.locator("#search").fill(query)
        assert page.locator("#found li").count() > 0
    assert page.title() == "planted · moescope"
    assert page.locator("main img, #found img, #found b, #viewer b script").count() == 0
    assert troubles == []
    page.context.close()


def test_viewer_works_on_a_phone(browser: Browser, plain: str) -> None:
    page, troubles = visit(
        browser,
        f"{plain}#examples",
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    )
    page.locator("#token-5").tap()
    box = page.locator("#viewer-detail").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    draw(page, "topics")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert troubles == []
    page.context.close()


def test_figures_and_cards_agree_with_the_content(plain_report: Path) -> None:
    text = (plain_report / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text)
    assert found is not None
    content = json.loads(found[1])
    assert content["experts"] == 8
    assert content["topics"] == ["arrays", "graphs", "plots", "stats"]
    assert len(content["viewer"]["documents"]) == 40
    assert len(re.findall(r'<article class="profile"', text)) == 2 * 8
