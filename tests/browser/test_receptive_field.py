"""The Receptive field page in a real browser."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import Locator, Page, expect

# Side in pixels of what a unit of the last feature map sees: Araujo et al. 2019's table (RECEPTIVE_FIELD_TABLE.md) for
# AlexNet, VGG-16, MobileNetV1 and ResNet-50 with the stride on the 1x1; textbook recurrences in
# tests/tables/receptive_fields.json for the others
KNOWN = {
    "resnet50": 427,
    "resnet50 stride_on=1x1": 483,
    "googlenet": 379,
    "googlenet_2014": 715,
    "vgg16": 212,
    "alexnet": 195,
    "mobilenetv1_100": 315,
    "mobilenet_v2": 491,
    "cifar_resnet1202": 5597,
}


def page_of(page: Page, address: str, section: str, *nets: str) -> None:
    page.goto(f"{address}/receptive_field?field={section}&" + "&".join(f"nets={net}" for net in nets))
    expect(page.get_by_role("heading", name="Receptive field")).to_be_visible()


def metric(page: Page, label: str) -> Locator:
    whole = page.get_by_test_id("stMetric").filter(has=page.get_by_text(label, exact=True))
    return whole.get_by_test_id("stMetricValue")


def rows(page: Page) -> Locator:
    return page.get_by_test_id("stDataFrame").first.locator("tbody tr")


def test_the_fields_of_known_networks_are_read_as_they_are_picked(page: Page, address: str) -> None:
    first, *others = KNOWN
    page_of(page, address, "depth", first)
    expect(metric(page, first)).to_have_text("427 px")
    networks = page.get_by_role("combobox", name=re.compile("Networks"))
    for count, name in enumerate(others, 2):
        networks.fill(name)
        if " " in name:
            page.get_by_role("option", name=f"Add: {name}").click()
        else:
            page.get_by_role("option", name=name, exact=True).click()
        expect(rows(page)).to_have_count(count)
        if count == 4:
            networks.press("Escape")
            expect(metric(page, "googlenet_2014")).to_have_text("715 px")
    networks.press("Escape")
    expect(rows(page)).to_have_count(len(KNOWN))
    cells = [row.locator("td").all_inner_texts() for row in rows(page).all()]
    assert {net: int(field.replace(",", "")) for net, field, *_ in cells} == KNOWN
    with page.expect_download() as download:
        page.get_by_role("button", name="Last fields as CSV").click()
    table = pd.read_csv(Path(download.value.path())).set_index("net")
    assert table["receptive_field"].to_dict() == KNOWN


def test_a_unit_is_clicked_on_an_uploaded_picture_and_followed_through_depth(page: Page, address: str) -> None:
    page_of(page, address, "picture", "resnet18")
    expect(metric(page, "Centre")).to_have_text("96, 96")
    page.get_by_test_id("stMain").get_by_text("Upload", exact=True).click()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    noise.save(file := io.BytesIO(), "PNG")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "noise.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    # the upload beside the four samples; before, it was one of them
    expect(page.get_by_test_id("stMain")).to_contain_text("averaged over 5 gradients on this picture and the samples")
    units = page.get_by_test_id("stPlotlyChart").first.locator(".scatterlayer .trace").first.locator("path.point")
    expect(units).to_have_count(7 * 7)
    units.nth(8).scroll_into_view_if_needed()
    box = units.nth(8).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(500)  # a click counts for the point that the pointer is known to be over
    page.mouse.down()
    page.mouse.up()
    expect(metric(page, "Centre")).to_have_text("32, 32")  # unit 1, 1 at a stride of 32
    page.get_by_text("Through depth", exact=True).click()
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart).to_contain_text("layer4.1.relu2, theoretical field, 435 px")
    expect(page.get_by_role("button", name="Through depth as CSV")).to_be_visible()
    page.wait_for_timeout(1000)  # the figure is drawn once more with what was measured
    chart.get_by_text("Play", exact=True).click()
    expect(chart).not_to_contain_text("layer4.1.relu2, theoretical field, 435 px")
    expect(chart).to_contain_text("layer4.1.relu2, theoretical field, 435 px")  # the last frame stays


def test_the_stories_are_one_click_each(page: Page, address: str) -> None:
    page_of(page, address, "stories", "resnet18")
    main = page.get_by_test_id("stMain")
    for story, words in (
        ("Stacked 3x3", "three see 7"),
        ("The stride's place", "483"),
        ("Dilation and holes", "427"),
        ("Plain and residual", "plain"),
    ):
        page.get_by_role("radio", name=story).click()
        expect(main).to_contain_text(words)
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
        expect(page.get_by_test_id("stAlert")).to_have_count(0)
