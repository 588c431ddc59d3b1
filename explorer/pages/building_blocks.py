from collections.abc import Callable

import streamlit as st

from explorer.pages import parts
from explorer.pages.building_blocks_sections import (
    bottleneck,
    depthwise,
    inception,
    output_size,
    pooled_head,
    separable,
    shortcuts,
    stacked,
)

PANELS: dict[str, tuple[str, Callable[[], None]]] = {  # by what stands in the link
    "bottleneck": ("Bottleneck", bottleneck.show),
    "stacked": ("Stacked 3x3", stacked.show),
    "inception": ("Inception", inception.show),
    "depthwise": ("Depthwise", depthwise.show),
    "shortcuts": ("Shortcuts", shortcuts.show),
    "output-size": ("Output size", output_size.show),
    "separable": ("Separable", separable.show),
    "pooled-head": ("Pooled head", pooled_head.show),
}

st.header("Building blocks", anchor=False)
panel = parts.section("panel", {name: title for name, (title, _) in PANELS.items()}, "Which calculation to see.")
PANELS[panel][1]()
