"""How parameters, arithmetic and memory are spread over the depth."""

import streamlit as st

from explorer.analysis.comparison import depth_table
from explorer.export.tables import csv
from explorer.figures.comparison import depth_chart
from explorer.figures.theme import TERMS, config
from explorer.pages import parts
from explorer.pages.compare_sections.compared import Compared

_SUMS = {"running": "added up", "running_share": "added up, shares", "value": "at each depth"}
_PLACES = {"share_of_depth": "part of the depth", "depth": "depth in layers"}


def show(compared: Compared) -> None:
    """A line a network for one quantity."""
    found = compared.profiles
    row = st.container(horizontal=True)
    column = row.segmented_control(
        "Quantity",
        ("params", "macs", "activation_bytes"),
        default="macs",
        required=True,
        format_func=TERMS.__getitem__,
        key="depth_quantity",
        persist_state="session",
        help="What is spread over the depth.",
    )
    y = row.segmented_control(
        "Shown",
        list(_SUMS),
        default="running",
        required=True,
        format_func=_SUMS.__getitem__,
        key="depth_sums",
        persist_state="session",
        help="Added up from the image to each depth, the same as a share of the whole, or what each depth has itself.",
    )
    x = row.segmented_control(
        "Across",
        list(_PLACES),
        default="share_of_depth",
        required=True,
        format_func=_PLACES.__getitem__,
        key="depth_across",
        persist_state="session",
        help="From 0 to the network's own depth, or in layers with weights, so that longer networks reach further.",
    )
    content = depth_table(found, column)
    st.plotly_chart(
        depth_chart(content, column, x, y),
        key="depth_chart",
        config=config(f"compare_{column}_by_depth"),
        alt=f"{TERMS[column]} of {', '.join(found)} by depth, {_SUMS[y]}; the CSV below has the numbers",
    )
    parts.download(
        "By depth as CSV", csv, content, f"compare_{column}_by_depth.csv", "text/csv", "A row a network and depth."
    )
    st.caption(
        "The depth of an operator is the number of convolutions and linear layers on the longest way to it, itself "
        "included; branches side by side share their depths, and what stands before the first layer has depth 0."
    )
