"""The Degradation page in a real browser, with real runs."""

import re

from playwright.sync_api import Browser, Locator, Page, expect

WHILE_TRAINING = 120_000  # milliseconds: the nets go after everything else that this machine does


def open_lab(page: Page, address: str) -> None:
    page.goto(f"{address}/degradation?lab=live")
    expect(page.get_by_role("heading", name="Live lab")).to_be_visible()


def start_default(page: Page) -> None:
    page.get_by_role("button", name="Degradation in 30 seconds").click()
    expect(page.get_by_text("0 of 4 runs ended")).to_be_visible()


def line(page: Page, net: str) -> Locator:
    return page.get_by_test_id("stProgress").filter(has_text=net).first  # while the page is redrawn there may be two


def points(page: Page) -> int:
    """How many points the lines of the first chart have."""
    return page.get_by_test_id("stPlotlyChart").first.locator(".scatterlayer .trace path.point").count()


def cancel_all(page: Page) -> None:
    page.get_by_role("button", name="Cancel all").click()
    expect(page.get_by_text("4 of 4 runs ended")).to_be_visible()


def test_the_default_lab_is_started_curves_move_and_it_is_cancelled(page: Page, address: str) -> None:
    open_lab(page, address)
    start_default(page)
    expect(line(page, "plain-56")).to_contain_text(re.compile(r"step \d+5 of 400"), timeout=WHILE_TRAINING)
    expect(page.get_by_test_id("stPlotlyChart")).to_have_count(4)
    page.wait_for_function(
        "document.querySelectorAll('[data-testid=stPlotlyChart]')[0].querySelectorAll('path.point').length > 3",
        timeout=WHILE_TRAINING,
    )
    before = points(page)
    page.wait_for_function(
        "n => document.querySelectorAll('[data-testid=stPlotlyChart]')[0].querySelectorAll('path.point').length > n",
        arg=before,
        timeout=WHILE_TRAINING,
    )
    expect(page.get_by_text("0 of 4 runs ended")).to_be_visible()  # they moved before the end
    cancel_all(page)
    expect(line(page, "plain-56")).to_contain_text(re.compile(r"cancelled at step \d+ of 400"))
    expect(line(page, "plain-20")).to_contain_text("cancelled at step 0 of 400")  # it had waited
    page.get_by_role("link", name="Build", exact=True).click()
    expect(page.get_by_role("heading", name="Build")).to_be_visible()
    page.get_by_role("link", name="Degradation").click()
    expect(line(page, "plain-56")).to_contain_text("cancelled at step")


def test_two_sessions_do_not_disturb_each_other_and_a_closed_one_frees_its_place(
    page: Page, address: str, browser: Browser
) -> None:
    open_lab(page, address)
    start_default(page)
    expect(line(page, "plain-56")).to_contain_text(re.compile(r"step \d+ of 400"), timeout=WHILE_TRAINING)
    other = browser.new_context().new_page()
    open_lab(other, address)
    expect(other.get_by_test_id("stProgress")).to_have_count(0)
    start_default(other)
    expect(other.get_by_text("The server is at work on other runs")).to_be_visible()
    expect(line(other, "plain-56")).to_contain_text(re.compile(r"waiting behind \d more"))
    expect(line(page, "plain-56")).to_contain_text(re.compile(r"step \d+ of 400"))
    page.close()  # the tab: its runs end after a grace for a reload
    expect(line(other, "plain-56")).to_contain_text(re.compile(r"step \d+ of 400"), timeout=WHILE_TRAINING)
    expect(other.get_by_text("The server is at work on other runs")).to_have_count(0)
    cancel_all(other)
    other.context.close()


def test_a_recorded_run_is_replayed_beside_what_was_published(page: Page, address: str) -> None:
    page.goto(f"{address}/degradation?lab=recorded")
    expect(page.get_by_role("heading", name="Recorded runs")).to_be_visible()
    chart = page.get_by_test_id("stPlotlyChart").first
    slider = chart.locator(".slider-label").first  # the others are its ticks
    expect(slider).to_have_text("step 2,400")
    chart.locator(".updatemenu-button", has_text="Play").click()
    expect(slider).not_to_have_text("step 2,400")  # it began anew
    early = slider.text_content()
    expect(slider).not_to_have_text(early or "")
    expect(slider).to_have_text("step 2,400")
    cells = page.get_by_test_id("stDataFrame").first.locator("tbody tr", has_text="ResNet-20").locator("td")
    assert "8.75" in cells.all_inner_texts()  # He et al. 2015, table 6


def test_two_lessons_are_opened_and_one_starts_the_lab(page: Page, address: str) -> None:
    page.goto(f"{address}/degradation?lab=lessons&lesson=plain")
    expect(page.get_by_role("heading", name="1. Plain against residual")).to_be_visible()
    page.get_by_role("radio", name="2. Shortcuts A, B, C").click()
    expect(page.get_by_role("heading", name="2. Shortcuts A, B, C")).to_be_visible()
    expect(page.get_by_text("12.22")).not_to_have_count(0)  # option C at 110 layers, He et al. 2016, table 1
    expect(page).to_have_url(re.compile("lesson=shortcuts"))
    page.get_by_role("radio", name="1. Plain against residual").click()
    page.get_by_role("button", name="Train them in the live lab").click()
    expect(page.get_by_text("ready to start: plain-20 (seed 0), plain-56 (seed 0)")).to_be_visible()
    page.get_by_role("button", name="Start these").click()
    expect(page.get_by_text("0 of 4 runs ended")).to_be_visible()
    cancel_all(page)
