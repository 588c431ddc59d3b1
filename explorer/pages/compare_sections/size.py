"""Depth against size."""

import streamlit as st

from explorer.analysis.comparison import comparison_table
from explorer.export.tables import csv
from explorer.figures.comparison import bubble_chart
from explorer.figures.theme import TERMS, config
from explorer.pages import parts
from explorer.pages.compare_sections.compared import Compared
from explorer.pages.edge import plain

_ACROSS = ("depth", "macs", "activation_bytes", "receptive_field", "params")
_UP = ("params", "macs", "activation_bytes", "depth", "receptive_field")
_AREAS = ("macs", "params", "activation_bytes")


def show(compared: Compared) -> None:
    """Any two quantities against each other, and a third one as the bubbles' area."""
    found = compared.profiles
    row = st.container(horizontal=True)
    x, y, area = (
        row.selectbox(
            label,
            quantities,
            format_func=TERMS.__getitem__,
            key=f"size_{label.lower()}",
            persist_state="session",
            help=about,
        )
        for label, quantities, about in (
            ("Across", _ACROSS, "The quantity from left to right."),
            ("Up", _UP, "The quantity from bottom to top."),
            ("Area", _AREAS, "What the bubbles' areas stand for."),
        )
    )
    content = comparison_table(found)
    known = content[content[[x, y, area]].notna().all(axis=1)]
    if len(known) < len(content):
        missing = ", ".join(net for net in found if net not in set(known["net"]))
        st.info(plain(f"Not all of these are known of {missing}."), icon=":material/visibility_off:")
    if known.empty:
        return
    st.plotly_chart(
        bubble_chart(known, x, y, area),
        key="size_chart",
        config=config(f"compare_{y}_{x}"),
        alt=f"{TERMS[y]} against {TERMS[x]} of {', '.join(known['net'])}; the numbers are in the section Table",
    )
    parts.download("Figures as CSV", csv, content, "compare.csv", "text/csv", "What the chart shows, and more.")
