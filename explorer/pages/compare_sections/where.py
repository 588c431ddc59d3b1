"""Where the parameters, the arithmetic and the memory are: in convolutions, linear layers, norms ..."""

import streamlit as st

from explorer.analysis.comparison import kind_table
from explorer.export.tables import csv
from explorer.figures.comparison import kind_chart
from explorer.figures.theme import TERMS, config
from explorer.pages import parts
from explorer.pages.compare_sections.compared import Compared

_QUANTITIES = ("params", "macs", "activation_bytes")


def show(compared: Compared) -> None:
    """A bar a network for each quantity, divided by kind of layer."""
    found = compared.profiles
    share = (
        st.segmented_control(
            "Bars",
            ("shares", "sums"),
            default="shares",
            required=True,
            key="where_bars",
            persist_state="session",
            help="Shares make all bars equally long; sums show how much there is.",
        )
        == "shares"
    )
    for column in _QUANTITIES:
        content = kind_table(found, column)
        st.plotly_chart(
            kind_chart(content, column, share=share),
            key=f"where_{column}",
            config=config(f"compare_{column}_by_kind"),
            alt=f"{TERMS[column]} of {', '.join(found)} by kind of layer; the CSV below has the numbers",
        )
        parts.download(
            f"{TERMS[column]} by kind as CSV",
            csv,
            content,
            f"compare_{column}_by_kind.csv",
            "text/csv",
            "A row a network, a column a kind of layer.",
        )
    st.caption(
        "VGG-16 keeps nine tenths of its parameters in three linear layers over a 7x7 map; Network in Network (Lin et "
        "al. 2013, arXiv 1312.4400), GoogLeNet and ResNet pool that map to one pixel first. Arithmetic is in the "
        "convolutions of nearly every network. MACs of norms, activations and pools are counted as none. timm often "
        "makes a norm and its activation in one layer, which counts as a norm."
    )
