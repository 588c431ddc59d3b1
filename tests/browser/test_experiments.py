"""The Experiments page in a real browser."""

import re

from playwright.sync_api import Locator, Page, expect


def open_section(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/experiments")
    page.get_by_role("radio", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def number(page: Page, label: str) -> Locator:
    """The large number under a label."""
    return page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")


def switch(page: Page, name: str) -> None:
    page.get_by_test_id("stCheckbox").filter(has_text=name).locator("label").first.click()


def test_response_normalisation_is_switched_off_and_on(page: Page, address: str) -> None:
    open_section(page, address, "Local response normalisation")
    expect(number(page, "AlexNet's activations")).to_have_text("7.668 MB")
    expect(number(page, "Its neighbours")).to_have_text(re.compile(r"-\d+\.\d%"))
    switch(page, "Normalise")
    expect(number(page, "AlexNet's activations")).to_have_text("5.76 MB")
    expect(number(page, "Its neighbours")).to_have_text("+0.0%")
    switch(page, "Normalise")
    expect(number(page, "Its neighbours")).to_have_text(re.compile(r"-\d+\.\d%"))


def test_overlap_is_switched_off_and_on(page: Page, address: str) -> None:
    open_section(page, address, "Overlapping pooling")
    expect(number(page, "Receptive field")).to_have_text("195 px")
    expect(page.get_by_test_id("stPlotlyChart").nth(1)).to_contain_text("z = 3, s = 2")
    switch(page, "Overlap")
    expect(number(page, "Receptive field")).to_have_text("167 px")
    switch(page, "Overlap")
    expect(number(page, "Receptive field")).to_have_text("195 px")


def test_dropout_is_switched_off_and_on_and_small_nets_are_trained(page: Page, address: str) -> None:
    open_section(page, address, "Dropout")
    expect(number(page, "Kept values")).to_have_text("2")
    switch(page, "Drop")
    expect(number(page, "Kept values")).to_have_text("1")
    expect(number(page, "Values dropped")).to_have_text("0.0%")
    switch(page, "Drop")
    expect(number(page, "Kept values")).to_have_text("2")
    switch(page, "Train small nets")
    expect(page.get_by_test_id("stPlotlyChart").nth(1)).to_contain_text("test, no dropout")


def test_augmentation_is_switched_off_and_on(page: Page, address: str) -> None:
    open_section(page, address, "Data augmentation")
    expect(number(page, "Distinct crops")).to_have_text("2,178")
    expect(number(page, "Taken for the same")).to_have_text("8 of 8")
    expect(page.get_by_text("1: espresso")).to_be_visible()
    switch(page, "Augment")
    expect(number(page, "Spread")).to_have_text("0.0%")
    expect(number(page, "Distinct crops")).to_have_text("1")
    switch(page, "Augment")
    expect(number(page, "Distinct crops")).to_have_text("2,178")
