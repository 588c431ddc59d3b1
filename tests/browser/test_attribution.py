"""Journeys on the Attribution page, in a real browser."""

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from skimage import data

SIX = (
    "Grad-CAM",
    "Saliency",
    "Integrated Gradients",
    "DeepLIFT",
    "Guided Backpropagation",
    "Occlusion",
)


def open_attribution(page: Page, address: str, query: str = "") -> None:
    page.goto(f"{address}/attribution{query}")
    expect(page.get_by_role("heading", name="Attribution")).to_be_visible()


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(page: Page, name: str, content: bytes) -> None:
    page.get_by_role("radio", name="Upload").click()
    page.get_by_test_id("stFileUploader").locator("input").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content}]
    )


def pick(page: Page, label: str, option: str) -> None:
    """Type into a select box, and take what it finds."""
    box = page.get_by_role("combobox", name=re.compile(label))
    box.click()
    box.fill(option)
    page.get_by_role("option", name=re.compile(f"^{re.escape(option)}")).first.click()


def chart(page: Page, text: str) -> Locator:
    return page.get_by_test_id("stPlotlyChart").filter(has_text=text)


def test_a_photo_goes_through_six_methods(page: Page, address: str) -> None:
    open_attribution(page, address)
    upload(page, "cup.png", png(data.coffee()))
    expect(chart(page, "Probability")).to_contain_text("espresso 95")
    for method in SIX:
        pick(page, "Method", f"{method} (")
        expect(page.get_by_text(f"{method} for espresso")).to_be_visible()
        expect(page.locator(".heatmaplayer image")).to_have_count(1)
    expect(page.get_by_test_id("stAlert").filter(has_text="Traceback")).to_have_count(0)


def test_a_class_is_found_by_its_name_and_set_against_another(page: Page, address: str) -> None:
    open_attribution(page, address)
    expect(page.get_by_text("Grad-CAM for espresso")).to_be_visible()
    pick(page, "Class to explain", "cup (968)")
    expect(page.get_by_text("Grad-CAM for cup")).to_be_visible()
    pick(page, "And not", "espresso (967)")
    expect(page.get_by_text("Grad-CAM for cup and not espresso")).to_be_visible()
    difference = page.get_by_test_id("stMetric").filter(has_text="Difference of logits")
    expect(difference.get_by_test_id("stMetricValue")).to_have_text(re.compile(r"^-4\.1"))  # 7.27 less 11.41
    expect(page).to_have_url(re.compile("target=968&against=967"))


def test_two_nets_stand_side_by_side(page: Page, address: str) -> None:
    open_attribution(page, address, "?look=nets&checkpoint=cifar_resnet56&sample=chelsea")
    expect(page.get_by_role("radio", name="Nets side by side")).to_be_checked()
    page.get_by_role("radio", name="ResNet against plain").click()
    for title in ("CIFAR-10 ResNet-56", "CIFAR-10 plain-56"):
        expect(page.get_by_role("img", name=f"Map of {title}", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="before training")).to_have_count(0)
    scales = page.get_by_text("the same scale as")
    expect(scales).to_have_count(2)


def test_a_report_is_brought_and_opens_by_itself(page: Page, address: str) -> None:
    open_attribution(page, address, "?look=report&method=saliency")
    with page.expect_download() as download:
        page.get_by_role("button", name="Report as HTML").click()
    text = download.value.path().read_text("utf-8")
    assert "Where EfficientNet-Lite0 looks for espresso" in text
    assert "look=map" in text
    assert "Max-sensitivity" in text
    page.set_content(text)
    expect(page.get_by_role("heading", level=1)).to_contain_text("espresso")
    loaded = page.evaluate("[...document.images].map(image => image.naturalWidth > 0)")
    assert loaded
    assert all(loaded)


def test_a_text_named_png_is_a_sentence(page: Page, address: str) -> None:
    open_attribution(page, address)
    upload(page, "photo.png", b"This is a text.")
    expect(page.get_by_test_id("stAlert")).to_contain_text("photo.png")
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_a_long_run_is_cancelled(page: Page, address: str) -> None:
    open_attribution(page, address, "?method=integrated_gradients&settings=steps:500")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("This run was cancelled.")).to_be_visible()


def test_two_sessions_at_once_get_their_own_answers(browser: Browser, address: str) -> None:
    pictures = {"cup.png": (data.coffee(), "espresso"), "rocket.png": (data.rocket(), "missile")}
    pages = {}
    for name, (pixels, _) in pictures.items():
        pages[name] = browser.new_context().new_page()
        open_attribution(pages[name], address)
        upload(pages[name], name, png(pixels))
    for page in pages.values():
        pick(page, "Method", "Integrated Gradients (")
    for name, (_, label) in pictures.items():
        expect(chart(pages[name], "Probability")).to_contain_text(label)
        expect(pages[name].get_by_text(f"Integrated Gradients for {label}")).to_be_visible()
        pages[name].context.close()
