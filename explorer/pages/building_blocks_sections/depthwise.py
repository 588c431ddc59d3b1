"""A depthwise convolution and a 1x1 against one standard convolution."""

import streamlit as st

from explorer.analysis.cost import MAX_SIDE, depthwise_separable, separable_shares
from explorer.figures.building_blocks import share_chart
from explorer.figures.theme import config
from explorer.pages.building_blocks_sections import designs

KERNELS = (3, 5, 7, 9)
NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def show() -> None:
    """What MobileNet's layer costs, beside the paper's formula."""
    with designs.panel("Depthwise separable against standard") as controls:
        with controls:
            channels = designs.number("Channels in, M", "blocks_depthwise_in", 512, 1, 8192, "That come in.")
            number = designs.number("Channels out, N", "blocks_depthwise_out", 512, 1, 8192, "That go out.")
            kernel = designs.number(
                "Kernel, k", "blocks_depthwise_kernel", 3, 1, 63, "Side of the window, odd.", step=2
            )
            side = designs.number("Side, px", "blocks_depthwise_side", 14, 1, MAX_SIDE, "Of the feature map.")
        pair = depthwise_separable(channels, number, kernel, side)
        share = pair.mac_share
        designs.headline(pair, "macs", "weights")
        st.metric(
            "Measured share of the MACs",
            f"{float(share):.4f}",
            f"exactly {share.numerator} / {share.denominator}",
            delta_color="off",
            delta_arrow="off",
            help="MACs of the separable layer for one of the standard layer, counted on the two modules.",
        )
        st.latex(
            rf"\frac{{1}}{{N}} + \frac{{1}}{{k^2}} = \frac{{1}}{{{number}}} + \frac{{1}}{{{kernel}^2}} "
            rf"= \frac{{{share.numerator}}}{{{share.denominator}}}"
        )
        shares = separable_shares(KERNELS, NUMBERS)
        st.plotly_chart(
            share_chart(shares, NUMBERS, kernel, number, share),
            key="depthwise_share",
            config=config("depthwise_share"),
            alt="share of the MACs over channels out, a line for each kernel; it falls towards one over k squared",
        )
        designs.sums(pair, "macs")
        designs.drawings(pair, "depthwise")
        designs.bars(pair, "depthwise", "macs")
        designs.table(pair, "depthwise")
        st.caption(
            "Source: Howard et al. 2017, arXiv 1704.04861, section 3.1; at 512 channels, 3x3 and 14 px its table 3 "
            "prints 462 and 52.3 million mult-adds. The share depends on neither M nor the side. Above 1 the "
            "separable layer costs more: at one channel out, or with a 1x1 kernel. The time "
            "usually falls by less than the MACs: a depthwise convolution reads much memory for little arithmetic."
        )
