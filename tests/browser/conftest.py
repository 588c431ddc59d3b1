"""A real server and a real Chromium; without Chromium these tests skip, except in CI."""

import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.browser import ARGUMENTS, chromium, served

expect.set_options(timeout=60_000)  # the first page waits for PyTorch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        assert not os.environ.get("CI"), "in CI the browser tests may not be skipped"
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app as README starts it, at a terminal and in an empty home: nobody there answers a question."""
    home = tmp_path_factory.mktemp("home")
    keyboard, terminal = pty.openpty()  # Streamlit asks only who sits at a terminal
    with (home / "log").open("w") as log, served("app.py", {"HOME": str(home)}, terminal, log) as url:
        yield url
    os.close(keyboard)
    os.close(terminal)
    text = (home / "log").read_text()
    assert "Traceback" not in text, text
    assert "mail" not in text, "the first start asks for an address: " + text


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()
