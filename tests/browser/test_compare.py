"""The Compare page in a real browser."""

import re
from pathlib import Path

import pandas as pd
from playwright.sync_api import Locator, Page, expect

from explorer.analysis.comparison import aligned
from explorer.analysis.profile import profile
from explorer.models import zoo

FOUR = ("alexnet_2012", "vgg16", "googlenet_2014", "resnet50")
ROW, HEADER = 35, 35  # pixels, at the app's font size; found again from the table's own box below


def compare(page: Page, address: str, *nets: str) -> None:
    page.goto(f"{address}/compare?" + "&".join(f"nets={net}" for net in nets))
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()


def rows(page: Page) -> list[list[str]]:
    """The first table's cells, as it tells them to a screen reader; a heading's are not among them."""
    cells = page.get_by_test_id("stDataFrame").first.locator("tbody tr")
    return [row.locator("td").all_inner_texts() for row in cells.all()]


def section(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).click()


def networks(page: Page) -> Locator:
    return page.get_by_role("combobox", name=re.compile("Networks"))


def test_four_networks_are_compared_and_sorted(page: Page, address: str) -> None:
    compare(page, address, *FOUR)
    lines = page.get_by_test_id("stDataFrame").first.locator("tbody tr")
    expect(lines).to_have_count(4)
    assert [row[0] for row in rows(page)] == list(FOUR)
    by_params = sorted(FOUR, key=lambda name: profile(name).totals.params)
    sort(page, "Sort ascending")
    expect(lines.first).to_contain_text(by_params[0])
    assert [row[0] for row in rows(page)] == by_params
    sort(page, "Sort descending")
    expect(lines.first).to_contain_text(by_params[-1])
    assert [row[0] for row in rows(page)] == by_params[::-1]


def sort(page: Page, how: str) -> None:
    """By parameters, through the menu that a click on the heading opens."""
    box = page.get_by_test_id("stDataFrame").first.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 330, box["y"] + HEADER / 2)
    menu = page.get_by_role("menu", name="Dataframe column menu")
    expect(menu).to_contain_text("params")
    menu.get_by_text(how).click()


def test_a_network_is_added_by_its_timm_name_and_a_wrong_one_gets_near_names(page: Page, address: str) -> None:
    compare(page, address, "resnet18")
    networks(page).fill("timm/dla34")
    networks(page).press("Enter")
    expect(page.get_by_test_id("stDataFrame").first.locator("tbody tr")).to_have_count(2)
    assert rows(page)[1][0] == "timm/dla34"
    assert str(profile("timm/dla34").totals.params) in rows(page)[1]
    expect(page).to_have_url(re.compile("nets=resnet18&nets=timm%2Fdla34"))
    networks(page).fill("mobilnet_v1")
    page.get_by_role("option", name="Add: mobilnet_v1").click()
    networks(page).press("Escape")  # the list stays open for another name
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_contain_text("There is no network named 'mobilnet_v1'; near names are")
    page.get_by_role("button", name=zoo.UnknownNetwork("mobilnet_v1").near[0], exact=True).click()
    expect(alert).to_have_count(0)
    expect(page.get_by_test_id("stDataFrame").first.locator("tbody tr")).to_have_count(3)


def test_a_layer_is_clicked_and_its_formula_read(page: Page, address: str) -> None:
    compare(page, address, "alexnet_2012", "resnet18")
    section(page, "Layer by layer")
    text = page.get_by_test_id("stMain")
    expect(text).to_contain_text("11×11×3 × 96 weights + 96 biases = 34,944")
    expect(text).to_contain_text("= 54 + 1 = 55")
    left, right = profile("alexnet_2012"), profile("resnet18")
    names = [left.table["name"][pair.left] if pair.left is not None else None for pair in aligned(left, right)]
    click_row(page, names.index("conv2"))
    expect(text).to_contain_text("5×5×48 × 256 weights + 256 biases = 307,456")
    expect(text).to_contain_text("= 26 + 1 = 27")


def click_row(page: Page, row: int) -> None:
    """Tick a row of the table at its left."""
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + HEADER + ROW * row + ROW / 2)


def test_a_kept_net_stands_beside_its_preset_and_the_table_is_downloaded(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet18&width=32")
    page.get_by_role("button", name="Keep for Compare").click()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_test_id("stDataFrame").first.locator("tbody tr").last).to_contain_text("resnet18 width=32")
    with page.expect_download() as download:
        page.get_by_role("button", name="Table as CSV").click()
    table = pd.read_csv(Path(download.value.path())).set_index("net")
    assert table.loc["resnet18 width=32", "params"] == profile("resnet18 width=32").totals.params
    assert table.loc["vgg16", "macs"] == 15_470_264_320


def test_a_set_and_the_charts(page: Page, address: str) -> None:
    compare(page, address, "resnet18")
    page.get_by_role("combobox", name=re.compile("Start from")).click()
    page.get_by_role("option", name="Small networks", exact=True).click()
    expect(page.get_by_test_id("stDataFrame").first.locator("tbody tr")).to_have_count(6)
    for name, words in (("Accuracy", "mobilenet_v2"), ("Size", "squeezenet1_1"), ("Where", "linear")):
        section(page, name)
        expect(page.get_by_test_id("stPlotlyChart").first).to_contain_text(words)
