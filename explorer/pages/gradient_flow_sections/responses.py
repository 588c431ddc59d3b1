"""How large values are along the depth: figure 7 of the paper, and the scale of activations."""

import pandas as pd
import streamlit as st

from explorer.analysis.flow import Flows, ranked, together
from explorer.export.tables import csv
from explorer.figures.flow import flow_chart
from explorer.figures.theme import config
from explorer.pages import parts
from explorer.pages.gradient_flow_sections import drawing, measured
from explorer.pages.gradient_flow_sections.chosen import Chosen

_ONE = 0.01  # nearer to 1, a response is what batch norm makes of it

LITERATURE = """
**Figure 7 of the paper** (He et al. 2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.2) draws the
standard deviation of each layer's response in trained nets: ResNets' are generally smaller than those of their plain
twins, and the deeper ResNet's are smaller. The authors see that as support for their motivation, that residual
functions are closer to zero than functions without a shortcut: a single layer of a deep ResNet changes the signal less.
The nets that ship here were trained for far fewer steps and need not agree.

**At initialisation there is nothing to draw** where batch norm follows each convolution: it sets the deviation of each
channel to 1, whatever the net. Only training moves it, by the scale and shift that batch norm learns. With zero-init
gamma the last response of each block is exactly 0 at first. Without norm, and in pre-activation blocks, the responses
do differ from the start.

**The scale of activations** behind the blocks differs at once. At initialisation each block of a ResNet adds its branch
to what came before, so that it grows along a stage; a plain net with batch norm starts anew at every block.
"""


def show(chosen: Chosen) -> None:
    """Responses by layer, in their order and by size, and the scale of activations by block."""
    st.subheader("Responses by layer", anchor=False)
    along = drawing.along(st.container())
    found = measured.flows(chosen)
    if not found:
        return
    layers = {title: each.layers for title, each in found.items()}
    if all((each["response_std"] - 1).abs().max() < _ONE for each in layers.values()):
        st.info(
            "All responses have a standard deviation of 1: batch norm sets it so in a net that has not learned. Choose "
            "trained weights or some training steps as the state, or another norm under More choices, to see them "
            "differ.",
            icon=":material/horizontal_rule:",
        )
    else:
        _charts(chosen, found, layers, along)
    st.caption(drawing.how(chosen, found))
    parts.download(
        "Layers as CSV",
        csv,
        together(layers),
        "gradient_flow_layers.csv",
        "text/csv",
        "All that was measured, a row a layer.",
    )
    _scale(chosen, found, along)
    st.markdown(LITERATURE)


def _charts(chosen: Chosen, found: dict[str, Flows], layers: dict[str, pd.DataFrame], along: drawing.Along) -> None:
    """The responses of the layers, in their order and by size."""
    left, right = st.columns(2)
    left.plotly_chart(
        flow_chart(
            layers,
            chosen.specs,
            "response_std",
            f"In order, {chosen.when}",
            across="layer, from the input" if along == "index" else "depth of the layer, 0 first, 1 last",
            along=along,
        ),
        key="flow_responses",
        config=config("responses_by_layer"),
        alt=f"standard deviation of each layer's response, a line for each of {', '.join(found)}",
    )
    right.plotly_chart(
        flow_chart(
            {title: ranked(each, "response_std") for title, each in layers.items()},
            chosen.specs,
            "response_std",
            f"By size, {chosen.when}",
            across="rank, the greatest first" if along == "index" else "rank, 0 the greatest, 1 the least",
            along=along,
            band=False,
        ),
        key="flow_ranked",
        config=config("responses_ranked"),
        alt=f"the same in descending order, a line for each of {', '.join(found)}",
    )
    st.caption(
        "A response is what a convolution of stem or main branch gives, behind its norm "
        "and before ReLU or sum, as in the paper; where no norm follows at once, as in pre-activation blocks, it is "
        "the convolution's own output. The deviation is that of all its numbers, over images, channels and pixels."
    )


def _scale(chosen: Chosen, found: dict[str, Flows], along: drawing.Along) -> None:
    """How large what the blocks return is."""
    st.subheader("Scale of activations by block", anchor=False)
    blocks = {title: each.blocks for title, each in found.items()}
    st.plotly_chart(
        flow_chart(
            blocks,
            chosen.specs,
            "activation_rms",
            f"By block, {chosen.when}",
            across=drawing.ACROSS[along],
            along=along,
        ),
        key="flow_activations",
        config=config("activation_scale"),
        alt=f"root mean square of each block's output, a line for each of {', '.join(found)}",
    )
    st.caption("The root of the mean square of all numbers that the block returns, behind its last ReLU if it ends so.")
    parts.download(
        "Blocks as CSV",
        csv,
        together(blocks),
        "gradient_flow_blocks.csv",
        "text/csv",
        "All that was measured, a row a block.",
    )
