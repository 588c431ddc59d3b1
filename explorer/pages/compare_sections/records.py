"""What is printed of the networks on the page."""

import pandas as pd

from explorer.analysis.comparison import accuracy_table
from explorer.pages import cached, runs
from explorer.pages.compare_sections.compared import Compared


def accuracies(compared: Compared) -> pd.DataFrame | None:
    """The published accuracies of those that are counted, or None after drawing how far it is.

    Each stands beside the arithmetic of the image size that it was measured at, so there may be more to count.
    """
    networks, make = compared.counted, cached.profiles()
    return runs.outcome(
        "accuracy_run",
        tuple(networks.items()),
        lambda progress: accuracy_table(networks, make, progress.report),
        cached.counting_queue(),
    )
