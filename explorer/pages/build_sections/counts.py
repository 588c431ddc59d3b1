"""The same counts by others, and why they differ."""

import streamlit as st

from explorer.analysis.second_opinion import second_opinion, torchinfo_text
from explorer.export.tables import csv
from explorer.pages import parts, runs
from explorer.pages.edge import plain
from explorer.spec import ResNetSpec

_DEPTHS = {1: "stages", 2: "blocks", 4: "layers"}


def show(spec: ResNetSpec, name: str) -> None:
    """Ours, torchinfo's and PyTorch's counts beside each other, and torchinfo's own summary."""
    opinion = runs.outcome("second_opinion_run", spec, lambda progress: second_opinion(spec, progress=progress))
    if opinion is not None:
        parts.table(opinion.drop(columns="reason"), "second_opinion_table")
        for tool, reason in zip(opinion["tool"][1:], opinion["reason"][1:], strict=True):
            st.caption(f"**{plain(tool)}**: {plain(reason)}")
        parts.download(
            "Comparison as CSV",
            csv,
            opinion,
            f"{name}_comparison.csv",
            "text/csv",
            "The table above, for a spreadsheet.",
        )
    st.subheader("torchinfo's summary", anchor=False)
    depth = st.segmented_control(
        "Down to",
        list(_DEPTHS),
        default=2,
        required=True,
        format_func=lambda depth: _DEPTHS[depth],
        key="torchinfo_depth",
        persist_state="session",
        help="How far into the modules the text goes. Its sizes are float32; its 'mult-adds' also count biases and "
        "norms, see above.",
    )
    text = runs.outcome("torchinfo_run", (spec, depth), lambda progress: torchinfo_text(spec, depth))
    if text is not None:
        st.code(text, language=None, height=420)
        parts.download(
            "Summary as text", str.encode, text, f"{name}_torchinfo.txt", "text/plain", "The text above, as a file."
        )
