"""Pictures on the Attribution page in a real browser: the camera, several files, the clipboard, and the square."""

import base64
import contextlib
import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from playwright.sync_api import TimeoutError as TooLate
from skimage import data

from benchmarks.browser import ARGUMENTS, chromium


@pytest.fixture
def camera(browser: Browser) -> Iterator[Page]:
    """A page of a browser with a camera that nobody has to allow; it shows a green test picture."""
    path = chromium()
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with_camera = browser.browser_type.launch(executable_path=path, args=[*ARGUMENTS, *fake])
    page = with_camera.new_page()
    page.set_default_timeout(60_000)
    yield page
    with_camera.close()


def png(pixels: NDArray[np.uint8]) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def open_page(page: Page, address: str, source: str) -> None:
    page.goto(f"{address}/attribution")
    page.get_by_test_id("stMain").get_by_role("radio", name=source, exact=True).click()


def predictions(page: Page) -> Locator:
    return page.locator(".st-key-predictions").first  # while it is replaced there are two


def square(page: Page) -> Locator:
    return page.locator(".st-key-crop_chart")


def test_a_photo_is_taken_and_predicted(camera: Page, address: str) -> None:
    open_page(camera, address, "Camera")
    camera.wait_for_function("document.querySelector('video')?.currentTime > 1")  # its first frames may be black
    camera.get_by_role("button", name="Take Photo").click()
    expect(predictions(camera)).to_contain_text("%")
    seen = camera.get_by_test_id("stImage").filter(has_text="As the net sees it").locator("img")
    expect(seen).to_be_visible()
    green = seen.evaluate(
        """async image => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            canvas.getContext("2d").drawImage(image, 0, 0, 1, 1);
            return [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data];
        }"""
    )
    assert green[1] > 100 > green[0], green
    expect(camera.get_by_test_id("stAlert")).to_have_count(0)


def test_of_several_files_one_is_chosen(page: Page, address: str) -> None:
    open_page(page, address, "Upload")
    files = {"cat.png": png(data.chelsea()), "note.png": b"I am a text.", "rocket.png": png(data.rocket())}
    page.get_by_test_id("stFileUploader").locator("input").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files.items()]
    )
    expect(predictions(page)).to_contain_text("tiger cat")
    expect(page.get_by_test_id("stAlert")).to_have_count(1)
    expect(page.get_by_test_id("stAlert")).to_contain_text("note.png")
    expect(page.get_by_text("Grad-CAM for tiger cat")).to_be_visible()
    which = page.get_by_role("combobox", name=re.compile("Which of them"))
    which.scroll_into_view_if_needed()
    option = page.get_by_role("option", name="2 · rocket.png")
    for _ in range(10):  # a rerun closes the list
        which.press("ArrowDown")
        with contextlib.suppress(TooLate):
            option.click(timeout=3000)
            break
    expect(predictions(page)).to_contain_text("missile")


def test_a_copied_picture_is_pasted(page: Page, address: str) -> None:
    open_page(page, address, "Paste")
    field = page.get_by_test_id("stChatInputTextArea")
    field.click()
    field.evaluate(  # what Ctrl+V does; a test has no clipboard with pictures
        """(field, content) => {
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "image.png", {type: "image/png"}));
            field.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
        }""",
        base64.b64encode(png(data.coffee())).decode(),
    )
    expect(page.get_by_test_id("stChatInput")).to_contain_text("image.png")
    page.wait_for_timeout(1000)  # Enter sends what has arrived
    field.press("Enter")
    expect(predictions(page)).to_contain_text("espresso")


def test_the_square_is_moved_by_a_click_and_the_prediction_follows(page: Page, address: str) -> None:
    open_page(page, address, "Sample")
    expect(predictions(page)).to_contain_text("espresso 95")
    points = square(page).locator(".scatterlayer path.point")
    expect(points.first).to_be_attached()
    first = points.first  # in the upper left corner
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(500)  # a click counts for the point that the pointer is known to be over
    page.mouse.down()
    page.mouse.up()
    expect(predictions(page)).not_to_contain_text("espresso 95")
    page.get_by_text("Move the square", exact=True).click()
    for name in ("Left to right", "Up to down"):
        expect(page.get_by_role("slider", name=name)).to_have_value("0")
    page.get_by_text("What was done to it", exact=True).click()
    expect(page.get_by_text("the square of 350 px at 0, 0 is cut out")).to_be_visible()
    page.get_by_role("button", name="Back to the centre").click()
    expect(predictions(page)).to_contain_text("espresso 95")
    page.get_by_role("slider", name="Size").press("ArrowLeft")
    expect(page.get_by_text("the square of 348 px at 126, 26 is cut out")).to_be_visible()
