"""Slider key press to new number in Chromium: the Build page against a bare page with the same widgets and chart.

Both servers run with this project's configuration, ours with PyTorch loaded; presses alternate between them. Each press
shows a net that no cache has seen.
"""

import pickle
import statistics
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.browser import ARGUMENTS, chromium, served
from benchmarks.timing import show
from explorer import layer_table
from explorer.analysis.outline import outline
from explorer.figures.diagram import block_diagram

WATCH = """() => {
  const number = () => [...document.querySelectorAll('[data-testid=stMetric]')]
    .find(metric => metric.innerText.includes('Parameters'))
    ?.querySelector('[data-testid=stMetricDelta]')?.innerText;
  window.pressed = window.changed = null;
  let shown = number();
  document.addEventListener('keydown', () => { window.pressed = performance.now(); window.changed = null }, true);
  new MutationObserver(() => {
    const now = number();
    if (now && now !== shown) { shown = now; window.changed = performance.now() }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def press(page: Page, key: str) -> float:
    """Milliseconds from the key to the new number."""
    page.keyboard.press(key)
    page.wait_for_function("window.changed !== null", timeout=60_000)
    return float(page.evaluate("window.changed - window.pressed"))


def main(rounds: int = 30) -> None:
    """Print medians and 90th percentiles, and the ratio."""
    pickled = Path(__file__).with_name("bare_page.pickle")
    pickled.write_bytes(pickle.dumps(block_diagram(outline(layer_table("resnet50"))).to_dict()))
    try:
        times = _measure(rounds)
    finally:
        pickled.unlink()
    bare = statistics.median(times["bare page"])
    rows = [("page", "median, ms", "90th percentile, ms", "to the bare page")]
    for name, values in times.items():
        middle, high = statistics.median(values), statistics.quantiles(values, n=10)[-1]
        rows.append((name, f"{middle:.0f}", f"{high:.0f}", f"{middle / bare:.2f}x"))
    show(rows)


def _measure(rounds: int) -> dict[str, list[float]]:
    scripts = {"bare page": "benchmarks/bare_page.py", "Build page": "app.py"}
    times: dict[str, list[float]] = {name: [] for name in scripts}
    with (
        served(scripts["bare page"]) as bare,
        served(scripts["Build page"]) as ours,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        pages = {name: browser.new_page() for name in scripts}
        for name, url in zip(scripts, (bare, ours), strict=True):
            pages[name].goto(url)
            pages[name].get_by_test_id("stMetric").first.wait_for(timeout=90_000)
            pages[name].wait_for_timeout(4000)
            pages[name].evaluate(WATCH)
            pages[name].get_by_role("slider").nth(3).focus()
        for number in range(rounds + 3):
            for name, page in pages.items():
                page.bring_to_front()
                taken = press(page, "ArrowRight")
                if number >= 3:  # the first ones warm up
                    times[name].append(taken)
                page.wait_for_timeout(700)  # let the charts of this run end
        browser.close()
    return times
