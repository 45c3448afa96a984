"""What an address says and what the page shows agree; the topic filter by keyboard."""

import pytest
from playwright.sync_api import Browser, expect

from .browsing import NO_CHROMIUM, visit

pytestmark = NO_CHROMIUM

CHOSEN = "#figure-topics .chosen"


def test_topic_of_a_link_goes_with_the_link(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, f"{plain}#topic=graphs")
    chosen = page.locator(CHOSEN)
    expect(chosen).to_have_text("1 of 4")
    page.locator("#figure-load .layer-slider").fill("1")
    assert page.evaluate("location.hash").endswith("topic=graphs")
    expect(chosen).to_have_text("1 of 4")
    page.evaluate("location.hash = '#topics'")
    expect(chosen).to_have_text("all")
    page.go_back()
    expect(chosen).to_have_text("1 of 4")
    page.evaluate("location.hash = '#topic=plots'")
    expect(page.locator("#figure-topics .topic:checked")).to_have_attribute("value", "2")
    assert troubles == []
    page.context.close()


def test_topics_chosen_by_hand_stay(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, f"{plain}#topic=graphs")
    page.locator("#figure-topics .filter summary").click()
    page.locator("#figure-topics .topic[value='2']").check()
    page.evaluate("location.hash = '#topics'")
    expect(page.locator(CHOSEN)).to_have_text("2 of 4")
    page.context.close()


@pytest.mark.parametrize("address", ["#layer=9&expert=5", "#layer=&expert=5", "#layer=0&expert=99"])
def test_expert_of_an_unknown_layer_is_nobody(browser: Browser, plain: str, address: str) -> None:
    page, troubles = visit(browser, f"{plain}{address}")
    assert page.locator(".profile.found").count() == 0
    assert page.evaluate("scrollY") == 0
    assert troubles == []
    page.context.close()


def test_filter_closes_and_gives_the_focus_back(browser: Browser, plain: str) -> None:
    page, troubles = visit(browser, plain)
    filter_box = page.locator("#figure-topics .filter")
    summary = filter_box.locator("summary")
    summary.press("Enter")
    filter_box.locator(".topic").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(summary).to_be_focused()
    expect(filter_box).not_to_have_attribute("open", "")
    expect(page.locator(CHOSEN)).to_have_text("3 of 4")
    summary.press("Enter")
    filter_box.locator(".topic").last.focus()
    expect(filter_box).to_have_attribute("open", "")
    page.keyboard.press("Tab")
    expect(filter_box).not_to_have_attribute("open", "")
    expect(page.locator("#figure-topics .save")).to_be_focused()
    assert troubles == []
    page.context.close()


def test_search_reads_expert_as_people_write_it(browser: Browser, plain: str) -> None:
    page, _ = visit(browser, plain)
    found = {}
    for query in ("e3", "expert 3", "Expert 3", "l2e3", "layer 2 expert 3", "L2 expert 3"):
        page.locator("#search").fill(query)
        found[query] = page.locator("#found li").all_inner_texts()
    assert found["e3"] == ["L0·E3 expert", "L2·E3 expert"]
    assert found["expert 3"] == found["Expert 3"] == found["e3"]
    assert found["layer 2 expert 3"] == found["L2 expert 3"] == found["l2e3"] == ["L2·E3 expert"]
    page.context.close()
