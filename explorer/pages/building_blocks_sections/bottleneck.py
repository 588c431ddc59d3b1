"""ResNet's two blocks: a bottleneck against two 3x3 convolutions."""

import streamlit as st

from explorer.analysis.cost import MAX_SIDE, bottleneck_block
from explorer.pages.building_blocks_sections import designs

EQUAL, DRAWN = "as many channels", "a quarter of them, as He et al. draw"


def show() -> None:
    """The weights and MACs of both blocks, at equal channels or as He et al. draw them."""
    with designs.panel("Bottleneck against two 3x3") as controls:
        with controls:
            channels = designs.number(
                "Channels",
                "blocks_bottleneck_channels",
                256,
                4,
                8192,
                "In and out of the bottleneck, four by four.",
                step=4,
            )
            side = designs.number("Side, px", "blocks_bottleneck_side", 56, 1, MAX_SIDE, "Of the feature map.")
            reading = st.radio(
                "Two 3x3 at",
                (EQUAL, DRAWN),
                key="blocks_bottleneck_reading",
                width=designs.WIDE,
                persist_state="session",
                help="At equal channels the bottleneck is much smaller. The paper's figure 5 draws it beside two 3x3 "
                "at a quarter of its channels, and those two cost about the same.",
            )
        equal, drawn = bottleneck_block(channels, side), bottleneck_block(channels, side, channels // 4)
        quarter = drawn.usual.output_shape[0]
        shown = equal if reading == EQUAL else drawn
        designs.headline(shown, "weights", "macs")
        designs.drawings(shown, "bottleneck")
        st.markdown(
            f"**Two readings of one figure.** Two 3x3 at the same {channels} channels have "
            f"**{float(equal.weight_ratio):.2f} times** the bottleneck's weights. Two 3x3 at {quarter} "
            f"channels, a quarter, have {float(drawn.weight_ratio):.2f} times as many: about as much, and such "
            "a pair, at 256 and 64, is what He et al. draw. So a bottleneck carries four times the channels for the "
            "price of a basic block."
        )
        st.latex(
            r"\frac{2 \cdot 9\,C^2}{C \cdot \frac{C}{4} + 9\,(\frac{C}{4})^2 + \frac{C}{4} \cdot C} = "
            r"\frac{18}{17/16} = \frac{288}{17}"
        )
        designs.sums(shown, "weights")
        designs.bars(shown, "bottleneck", "weights")
        designs.table(shown, "bottleneck")
        st.caption(
            "Source: He et al. 2015, arXiv 1512.03385, figure 5 (256 and 64 channels). The blocks are those of "
            "this app's ResNets, with an identity shortcut; the norms stand in the table and are not in the sums. "
            "The fraction above is that of equal channels, at any C."
        )
