"""Take README's picture of the running app: `python scripts/screenshot.py` (needs Chromium).

`python scripts/screenshot.py views FOLDER [NAME ...]` takes every page and section, or those named, wide and narrow,
light and dark, to look at before a change lands.
"""

import itertools
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the benchmarks beside this folder

from benchmarks.browser import ARGUMENTS, chromium, served

ASSET = Path(__file__).parents[1] / "assets" / "screenshot.png"
NETS = ("resnet18", "resnet152", "resnext101_32x8d", "cifar_resnet1202")
OTHERS = {  # the pages whose links hold what they show
    "compare": ("view", ("table", "accuracy", "size", "where", "depth", "layers", "speed")),
    "receptive_field": ("field", ("depth", "picture", "effective", "paths", "stories", "use", "table")),
    "building_blocks": (
        "panel",
        ("bottleneck", "stacked", "inception", "depthwise", "shortcuts", "output-size", "separable", "pooled-head"),
    ),
    "gradient_flow": ("flow", ("gradients", "responses", "nearby", "identity", "table")),
    "degradation": ("lab", ("live", "recorded", "lessons", "sweeps")),
    "experiments": (
        "experiment",
        ("activations", "normalisation", "pooling", "dropout", "augmentation", "auxiliary"),
    ),
}
SECTIONS = ("Layers", "What changed", "Counts", "Memory", "Budget", "Export")
VIEWS = {  # the path, and the section of the Build page to open there
    **{f"diagram-{net}": (f"/?net={net}", "") for net in NETS},
    **{f"{section.lower().replace(' ', '-')}": ("/?net=resnet50&width=72", section) for section in SECTIONS},
    "tiny": ("/?net=cifar_resnet20&width=1&depths=1&strides=1&shortcut=C", ""),
    "refused": ("/?net=resnet50&width=banana", ""),
    **{f"{page}-{part}": (f"/{page}?{key}={part}", "") for page, (key, parts) in OTHERS.items() for part in parts},
    "attribution": ("/attribution", ""),
}
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}


def shoot(
    browser: Browser,
    url: str,
    size: tuple[int, int],
    theme: str,
    path: Path,
    section: str = "",
    whole: bool = True,
) -> None:
    """One page as it stands when its numbers and charts are there; the whole of it, or what fits the window."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.get_by_test_id("stHeading").first.wait_for(timeout=90_000)
    page.locator("[data-testid=stMain]:not(:has([data-testid=stProgress], [data-testid=stSpinner]))").wait_for()
    page.get_by_test_id("stStatusWidget").wait_for(state="hidden", timeout=90_000)
    if section:
        page.get_by_role("radio", name=section, exact=True).click()
    page.wait_for_timeout(5000 if section else 2500)
    if whole:
        tall = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": size[0], "height": tall})
        page.wait_for_timeout(1000)
    page.screenshot(path=path)
    context.close()


def main() -> None:
    """README's picture, or all views."""
    with served("app.py") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        if sys.argv[1:2] == ["views"]:
            folder = Path(sys.argv[2])
            folder.mkdir(parents=True, exist_ok=True)
            wanted = [name for name in VIEWS if name in sys.argv[3:]] or list(VIEWS)
            for name, width, theme in itertools.product(wanted, SIZES, ("light", "dark")):
                path, section = VIEWS[name]
                file = folder / f"{name}-{width}-{theme}.png"
                shoot(browser, address + path, SIZES[width], theme, file, section)
                print(file)
        else:
            shoot(browser, f"{address}/?net=resnet50", (1280, 800), "light", ASSET, whole=False)
        browser.close()


if __name__ == "__main__":
    main()
