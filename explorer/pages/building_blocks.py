from collections.abc import Callable

import streamlit as st

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
from explorer.pages.edge import plain

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
wanted = st.session_state.setdefault("panel", "bottleneck")
if wanted not in PANELS:
    st.warning(
        plain(f"panel (={wanted[:60]}) of the link must be one of {', '.join(PANELS)}; bottleneck is shown instead."),
        icon=":material/link_off:",
    )
    st.session_state.panel = "bottleneck"
st.segmented_control(
    "Panel",
    list(PANELS),
    format_func=lambda name: PANELS[name][0],
    required=True,
    key="panel",
    label_visibility="collapsed",
    persist_state="session",
    help="Which calculation to see. Only what is shown is computed; the link in the address bar holds the choice.",
)
if st.query_params.get("panel") != st.session_state.panel:  # at the first visit the address bar was set before the page
    st.query_params["panel"] = st.session_state.panel
PANELS[st.session_state.panel][1]()
