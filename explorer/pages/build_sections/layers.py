"""Stage by stage and layer by layer."""

import streamlit as st

from explorer.analysis.layers import select_layers, totals
from explorer.export.tables import csv, markdown, readable_table
from explorer.figures.layers import stage_chart
from explorer.figures.theme import config, exact
from explorer.pages import cached, parts
from explorer.spec import ResNetSpec


def show(spec: ResNetSpec, name: str) -> None:
    """The charts and tables of a net."""
    result = cached.layers(spec)
    for column, quantity in zip(st.columns(2), ("params", "macs"), strict=True):
        column.plotly_chart(
            stage_chart(result.table, quantity),
            key=f"stages_{quantity}",
            config=config(f"{name}_{quantity}"),
            alt=f"{quantity} of each stage, divided by kind of layer; the numbers are in the stage table",
        )

    st.subheader("Stages", anchor=False)
    parts.table(readable_table(result.stages), "stage_table")
    with st.container(horizontal=True):
        parts.download(
            "Stages as CSV", csv, result.stages, f"{name}_stages.csv", "text/csv", "The table above, for a spreadsheet."
        )
        parts.download(
            "Stages as Markdown",
            markdown,
            result.stages,
            f"{name}_stages.md",
            "text/markdown",
            "The table above, for a README or a notebook.",
        )

    st.subheader("Layers", anchor=False)
    search, kinds, stages = st.columns([2, 1, 1])
    text = search.text_input(
        "Search",
        key="layer_search",
        persist_state="session",
        placeholder="layer3.0 or conv2",
        help="Part of a layer's name; upper or lower case.",
    )
    kind_choice = kinds.multiselect(
        "Kind",
        list(dict.fromkeys(result.table.kind)),
        key="layer_kinds",
        wrap=True,
        help="Only layers of these kinds; none means all.",
    )
    stage_choice = stages.multiselect(
        "Stage",
        list(result.stages.stage),
        key="layer_stages",
        wrap=True,
        help="Only layers of these stages; none means all.",
    )
    selected = select_layers(result.table, text, kind_choice, stage_choice)
    sums = totals(selected)
    st.caption(
        f"{exact(sums.layers)} of {exact(result.totals.layers)} rows · {exact(sums.params)} parameters · "
        f"{exact(sums.macs)} MACs · {exact(sums.activation_bytes)} bytes of activations"
    )
    if selected.empty:
        st.info("No layer is like that; take away a filter or shorten the search.", icon=":material/search_off:")
        return
    parts.table(readable_table(selected), "layer_table", height=420)
    with st.container(horizontal=True):
        parts.download(
            "Layers as CSV", csv, selected, f"{name}_layers.csv", "text/csv", "The rows above, for a spreadsheet."
        )
        parts.download(
            "Layers as Markdown",
            markdown,
            selected,
            f"{name}_layers.md",
            "text/markdown",
            "The rows above, for a README or a notebook.",
        )
