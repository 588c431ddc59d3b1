"""Each panel of the Building blocks page, and its number, in a real browser."""

import re

import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

PANELS = {  # a number of each panel, as the textbook has it: its name, the link's, a label, what stands below
    "Bottleneck": ("bottleneck", "1x1 - 3x3 - 1x1", "69,632 weights"),
    "Stacked 3x3": ("stacked", "Ratio of the weights", "exactly 49 / 27"),
    "Inception": ("inception", "with 1x1 reductions", "271,351,808 MACs"),
    "Depthwise": ("depthwise", "Measured share of the MACs", "exactly 521 / 4608"),
    "Shortcuts": ("shortcuts", "Option C adds", "1,092,992 parameters"),
    "Output size": ("output-size", "With ceil", "rounded up"),
    "Separable": ("separable", "Ratio of the weights", "exactly 3 / 2"),
    "Pooled head": ("pooled-head", "linear layers", "123,642,856 weights"),
}


def below(page: Page, label: str) -> Locator:
    """The exact number below the first metric of that label."""
    metric = page.get_by_test_id("stMetric").filter(
        has=page.get_by_test_id("stMetricLabel").filter(has_text=re.compile(f"^{re.escape(label)}"))
    )
    return metric.first.get_by_test_id("stMetricDelta")


def type_number(page: Page, name: str, value: int) -> None:
    field = page.get_by_role("spinbutton", name=re.compile(f"^{re.escape(name)}"))
    field.fill(str(value))
    field.press("Enter")


def test_each_panel_is_visited_and_shows_its_number(page: Page, address: str) -> None:
    page.goto(f"{address}/building_blocks?net=resnet34")
    for name, (link, label, number) in PANELS.items():
        page.get_by_role("radio", name=name, exact=True).click()
        expect(below(page, label)).to_have_text(number)
        expect(page).to_have_url(re.compile(f"panel={link}(&|$)"))
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)


@pytest.mark.parametrize("name", ["Inception", "Output size"])
def test_a_link_opens_its_panel(page: Page, address: str, name: str) -> None:
    link, label, number = PANELS[name]
    page.goto(f"{address}/building_blocks?panel={link}")
    expect(below(page, label)).to_have_text(number)
    expect(page.get_by_role("radio", name=name, exact=True)).to_be_checked()


def test_numbers_follow_the_controls_and_outlive_a_page_switch(page: Page, address: str) -> None:
    page.goto(f"{address}/building_blocks?panel=bottleneck")
    expect(below(page, "3x3 - 3x3")).to_have_text("1,179,648 weights")
    type_number(page, "Channels", 512)
    expect(below(page, "3x3 - 3x3")).to_have_text(f"{2 * 9 * 512 * 512:,} weights")
    page.get_by_role("link", name="Build", exact=True).click()
    expect(page.get_by_role("heading", name="Building blocks")).to_have_count(0)
    page.get_by_role("link", name="Building blocks").click()
    expect(below(page, "3x3 - 3x3")).to_have_text(f"{2 * 9 * 512 * 512:,} weights")
    expect(page.get_by_role("spinbutton", name=re.compile("^Channels"))).to_have_value("512")


def test_the_formula_of_the_output_size_is_filled_in(page: Page, address: str) -> None:
    page.goto(f"{address}/building_blocks?panel=output-size")
    formula = page.get_by_test_id("stCode")
    expect(formula).to_contain_text("floor((227 - 11 + 2×0) / 4) + 1 = floor(216 / 4) + 1 = 54 + 1 = 55")
    type_number(page, "Pixels in, n", 224)
    expect(formula).to_contain_text("= floor(213 / 4) + 1 = 53 + 1 = 54")
    expect(page.get_by_text("1 pixel is read by no window")).to_be_visible()
    type_number(page, "Pixels in, n", 5)
    expect(page.get_by_test_id("stAlert")).to_contain_text("does not fit on n + 2p = 5")
    expect(page.get_by_role("spinbutton", name=re.compile("^Pixels in"))).to_have_value("5")


def test_a_network_is_typed_and_a_wrong_name_gets_near_ones(page: Page, address: str) -> None:
    page.goto(f"{address}/building_blocks?panel=pooled-head")
    expect(below(page, "Network, pooled")).to_have_text("15,227,688 parameters")
    box = page.get_by_role("combobox", name=re.compile("^Network"))
    box.click()
    box.fill("vgg61")
    box.press("Enter")
    expect(page.get_by_test_id("stAlert")).to_contain_text("no network named 'vgg61'; near names are vgg19")
    box.click()
    box.fill("torchvision/vgg19")
    box.press("Enter")
    expect(below(page, "Network")).to_have_text("143,667,240 parameters")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_the_table_is_downloaded(page: Page, address: str) -> None:
    page.goto(f"{address}/building_blocks?panel=inception")
    expect(below(page, "naive")).to_have_text("854,196,224 MACs")
    with page.expect_download() as download:
        page.get_by_role("button", name="Layers as CSV").click()
    table = pd.read_csv(download.value.path())
    assert table.groupby("design").macs.sum().to_dict() == {"naive": 854_196_224, "with 1x1 reductions": 271_351_808}


def test_on_a_telephone_nothing_is_wider_than_the_screen(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(60_000)
    for link, label, number in PANELS.values():
        page.goto(f"{address}/building_blocks?net=resnet34&panel={link}")
        expect(below(page, label)).to_have_text(number)
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390, link
    context.close()
