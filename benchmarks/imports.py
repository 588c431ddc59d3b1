"""What the app imports before its first page, against importing torch alone; each in a fresh interpreter."""

import statistics
import subprocess
import sys

from benchmarks.timing import show

CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
STATEMENTS = {
    "explorer (the package)": "import explorer",
    "the sidebar, which paints first": "import explorer.pages.sidebar, explorer.pages.cached, explorer.pages.edge",
    "torch alone": "import torch",
    "torch and torchvision": "import torch, torchvision",
    "the whole app": "import streamlit, explorer.pages.runs, explorer.pages.pictures, explorer.figures.attribution, "
    "explorer.figures.layers, explorer.analysis.second_opinion, timm",
}


def main(rounds: int = 3) -> None:
    """Print seconds and the ratio to torch alone."""
    seconds = {
        name: statistics.median(
            float(subprocess.check_output([sys.executable, "-c", CODE.format(statement)], stderr=subprocess.DEVNULL))
            for _ in range(rounds)
        )
        for name, statement in STATEMENTS.items()
    }
    show(
        [
            ("import", "seconds", "to torch alone"),
            *((name, f"{s:.2f}", f"{s / seconds['torch alone']:.2f}x") for name, s in seconds.items()),
        ]
    )
