"""Several 3x3 convolutions against one large one with the same receptive field."""

import streamlit as st

from explorer.analysis.cost import MAX_SIDE, field_growth, stacked_3x3
from explorer.figures.building_blocks import growth_chart
from explorer.figures.theme import config
from explorer.pages.building_blocks_sections import designs

MOST = 7  # 3x3 convolutions that the picture has room for


def show() -> None:
    """Field, weights, MACs and non-linearities of both, and how the field grows."""
    with designs.panel("Stacked 3x3 against one large kernel") as controls:
        with controls:
            st.session_state.setdefault("blocks_stack_count", 3)
            count = st.slider(
                "3x3 convolutions",
                1,
                MOST,
                key="blocks_stack_count",
                width=designs.WIDE,
                persist_state="session",
                help="One behind the other, each with its ReLU: two see 5x5 pixels, three 7x7.",
            )
            channels = designs.number("Channels, C", "blocks_stack_channels", 64, 1, 8192, "In and out of each layer.")
            side = designs.number("Side, px", "blocks_stack_side", 56, 1, MAX_SIDE, "Of the feature map.")
        pair = stacked_3x3(count, channels, side)
        designs.headline(pair, "weights", "macs")
        with st.container(horizontal=True):
            for design in (pair.proposed, pair.usual):
                st.metric(
                    f"{design.name} sees",
                    f"{design.receptive_field} px",
                    f"{design.nonlinearities} non-linearit{'y' if design.nonlinearities == 1 else 'ies'}",
                    delta_color="off",
                    delta_arrow="off",
                    width=165,
                    help="Side of the square of pixels that one unit behind it depends on, and how many ReLUs "
                    "stand on the way.",
                )
        st.plotly_chart(
            growth_chart(field_growth(count)),
            key="stack_growth",
            config=config("stack_growth"),
            alt=f"A row of pixels for each map: one unit of the last map sees {pair.proposed.receptive_field} "
            "pixels of the input, two more for each 3x3 on the way",
        )
        one = stacked_3x3(count, channels=1, side=1)  # its weights are the factors of C^2
        st.markdown(
            rf"${count} \cdot 3^2 C^2 = {one.proposed.weights}\,C^2$ weights against "
            rf"${pair.usual.receptive_field}^2 C^2 = {one.usual.weights}\,C^2$ for the one kernel: "
            f"**{float(pair.more):.0%} more** for the same field."
        )
        designs.sums(pair, "weights")
        designs.drawings(pair, "stack")
        designs.bars(pair, "stack", "weights")
        designs.table(pair, "stack")
        st.caption(
            "Source: Simonyan & Zisserman 2014, arXiv 1409.1556, section 2.3: three 3x3 have 27 C² weights, one "
            "7x7 has 49 C², 81% more. No biases here. The same field is not the same function: the stack "
            "has a ReLU between its layers, and weighs the middle of its field by more paths than its edge."
        )
