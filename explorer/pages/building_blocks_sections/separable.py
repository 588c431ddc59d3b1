"""A column and a row of weights against a square of them."""

import streamlit as st

from explorer.analysis.cost import MAX_SIDE, separable_filters
from explorer.pages.building_blocks_sections import designs


def show() -> None:
    """What k x 1 and 1 x k save against k x k."""
    with designs.panel("Separable filters") as controls:
        with controls:
            kernel = designs.number(
                "Kernel, k",
                "blocks_filters_kernel",
                3,
                1,
                63,
                "Side of the window, odd; Inception has 3 and 7.",
                step=2,
            )
            channels = designs.number(
                "Channels, C", "blocks_filters_channels", 64, 1, 8192, "In and out of each layer."
            )
            side = designs.number("Side, px", "blocks_filters_side", 56, 1, MAX_SIDE, "Of the feature map.")
        pair = separable_filters(kernel, channels, side)
        designs.headline(pair, "weights", "macs")
        share = pair.weight_share
        words = f"**{float(pair.less):.0%} less**" if pair.less > 0 else "nothing is saved"
        st.markdown(
            rf"$\frac{{2k}}{{k^2}} = \frac{{2}}{{k}} = \frac{{{share.numerator}}}{{{share.denominator}}}$ of the "
            f"square's cost: {words}."
        )
        designs.sums(pair, "weights")
        designs.drawings(pair, "filters")
        designs.bars(pair, "filters", "weights")
        designs.table(pair, "filters")
        st.caption(
            "Source: Szegedy et al. 2015, arXiv 1512.00567, section 3.2: 3x1 and 1x3 are 33% cheaper than 3x3. As "
            "there, a ReLU follows each; with equal channels in, between and out. Without a ReLU in between, the "
            "two could do only a part of what one k x k convolution can."
        )
