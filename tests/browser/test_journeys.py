"""Whole journeys of a person, in a real browser."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from explorer.analysis.layers import layer_table
from explorer.spec import PRESETS, ResNetSpec


def params(page: Page) -> Locator:
    """Where the exact number of parameters stands."""
    return page.get_by_test_id("stMetric").filter(has_text="Parameters").get_by_test_id("stMetricDelta")


def count(spec: ResNetSpec) -> str:
    return f"{layer_table(spec).params.sum():,}"


def choose_preset(page: Page, name: str) -> None:
    box = page.get_by_role("combobox", name=re.compile("Preset"))
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).click()


def slider_named(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=re.compile(f"^{name}( {name})?$"))


def press(page: Page, slider: str, key: str, times: int = 1) -> None:
    handle = slider_named(page, slider)
    handle.focus()
    for _ in range(times):
        handle.press(key)


def test_a_net_is_shaped_shared_and_opened_again(page: Page, address: str, browser: Browser) -> None:
    page.goto(address)
    expect(params(page)).to_have_text("25,557,032")
    choose_preset(page, "resnet34")
    expect(params(page)).to_have_text("21,797,672")
    press(page, "Blocks in stage 3", "ArrowRight", times=2)
    spec = replace(PRESETS["resnet34"], depths=(3, 4, 8, 3))
    expect(params(page)).to_have_text(count(spec))
    press(page, "Width", "ArrowRight")
    spec = replace(spec, width=72)
    expect(params(page)).to_have_text(count(spec))
    expect(page).to_have_url(re.compile("width=72"))

    another = browser.new_context().new_page()
    another.goto(page.url)
    expect(params(another)).to_have_text(count(spec))
    expect(slider_named(another, "Blocks in stage 3")).to_have_value("8")
    another.context.close()


def test_a_preset_of_fewer_stages_is_changed_on(page: Page, address: str) -> None:
    page.goto(address)
    expect(params(page)).to_have_text("25,557,032")
    choose_preset(page, "cifar_resnet20")
    expect(params(page)).to_have_text("269,722")
    expect(slider_named(page, "Blocks in stage 3")).to_have_value("3")
    for stage in (1, 2, 3):
        press(page, f"Blocks in stage {stage}", "ArrowRight", times=2)
    expect(params(page)).to_have_text("464,154")
    expect(page.get_by_text("the same net as cifar_resnet32")).to_be_visible()


def test_the_net_goes_along_to_the_other_page_and_back(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=cifar_resnet56")
    expect(params(page)).to_have_text("853,018")
    page.get_by_role("link", name="Attribution").click()
    expect(page.get_by_role("heading", name="Attribution")).to_be_visible()
    expect(page).to_have_url(re.compile("net=cifar_resnet56"))
    page.get_by_role("link", name="Build", exact=True).click()
    expect(params(page)).to_have_text("853,018")


def test_a_broken_link_and_a_refused_net_are_sentences(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet50&width=banana")
    expect(page.get_by_test_id("stAlert")).to_contain_text("banana")
    expect(params(page)).to_have_text("25,557,032")
    choose_preset(page, "resnext50_32x4d")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    page.get_by_role("radio", name="basic").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("cardinality (=32) must be 1")
    expect(page.get_by_text("Traceback")).to_have_count(0)


def open_section(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).click()


def test_the_layer_table_is_downloaded(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet18")
    expect(params(page)).to_have_text("11,689,512")
    open_section(page, "Layers")
    with page.expect_download() as download:
        page.get_by_role("button", name="Layers as CSV").click()
    table = pd.read_csv(download.value.path())
    assert download.value.suggested_filename == "resnet18_layers.csv"
    assert table.params.sum() == 11_689_512
    assert table.kernel[0] == "7x7"


def click_box(page: Page, words: str) -> None:
    """Click on the middle of a box of the diagram."""
    text = page.get_by_test_id("stPlotlyChart").first.locator(".barlayer text").filter(has_text=words).first
    text.scroll_into_view_if_needed()
    box = text.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_stage_and_a_block_are_opened_in_the_diagram_and_closed_again(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet50")
    chart = page.get_by_test_id("stPlotlyChart").first  # while a click is worked on, the picture before it comes second
    expect(chart).to_contain_text("Stage 3")
    expect(chart).not_to_contain_text("2 to 6")
    click_box(page, "Stage 3")
    expect(chart).to_contain_text("2 to 6")
    expect(chart).not_to_contain_text("conv2")
    click_box(page, "2 to 6")
    expect(chart).to_contain_text("conv2")
    expect(chart).to_contain_text("589.8 k params")  # 3 * 3 * 256 * 256
    expect(page.get_by_role("combobox", name="Open")).to_have_value("Stage 3, blocks 2 to 6")
    click_box(page, "Stage 3")
    expect(chart).not_to_contain_text("2 to 6")
    choose_preset(page, "cifar_resnet1202")
    expect(page.get_by_role("figure", name=re.compile("cifar_resnet1202"))).to_contain_text("x 200")


def test_the_diagram_is_saved_as_svg(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet18")
    chart = page.get_by_test_id("stPlotlyChart")
    expect(chart).to_contain_text("Stage 4")
    chart.hover()
    with page.expect_download() as download:
        chart.locator(".modebar-btn").first.click()
    assert download.value.suggested_filename == "resnet18_blocks.svg"
    text = Path(download.value.path()).read_text()
    assert text.startswith("<svg")
    assert "Stage 4" in text


def test_a_net_is_pinned_and_the_next_one_told_apart(page: Page, address: str) -> None:
    page.goto(f"{address}/?net=resnet18")
    open_section(page, "What changed")
    expect(page.get_by_text("The same net as resnet18.")).to_be_visible()
    expect(page.get_by_text("Its state_dict loads")).to_be_visible()
    press(page, "Blocks in stage 4", "ArrowRight")
    expect(page.get_by_text("depths 2-2-2-2 → 2-2-2-3")).to_be_visible()
    page.get_by_role("button", name="Pin this net").click()
    page.get_by_role("radio", name="pinned net").click()
    expect(page.get_by_text("The same net as pinned net.")).to_be_visible()
    press(page, "Width", "ArrowRight")
    expect(page.get_by_text("Changed from pinned net: width 64 → 72")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Changes as CSV").click()
    table = pd.read_csv(download.value.path()).set_index("stage")
    pinned = replace(PRESETS["resnet18"], depths=(2, 2, 2, 3))
    change = layer_table(replace(pinned, width=72)).params.sum() - layer_table(pinned).params.sum()
    assert table.params_change["whole net"] == change


def test_the_exported_source_runs_without_this_package(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}/?net=resnet18&attention=se&num_classes=7")
    open_section(page, "Export")
    with page.expect_download() as download:
        page.get_by_role("button", name="Source as Python file").click()
    file = tmp_path / download.value.suggested_filename
    assert file.name == "resnet18_variant.py"
    download.value.save_as(file)
    run = subprocess.run([sys.executable, "-I", file], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert count(replace(PRESETS["resnet18"], attention="se", num_classes=7)) in run.stdout


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1440, "dark")])
def test_nothing_is_wider_than_the_screen(browser: Browser, address: str, width: int, theme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    for path, sign in (("/?net=cifar_resnet1202", "19,421,274"), ("/attribution", "Grad-CAM for espresso")):
        page.goto(address + path)
        expect(page.get_by_text(sign).first).to_be_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")
        for chart in page.get_by_test_id("stPlotlyChart").all():
            box = chart.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
    context.close()
