"""An Inception module with 1x1 reductions against the naive one."""

from dataclasses import asdict

import streamlit as st

from explorer.analysis.cost import InceptionSizes, googlenet_modules, inception_miscounted, inception_module
from explorer.figures.theme import exact, short
from explorer.pages.building_blocks_sections import designs

LECTURE, OWN = "CS231n's lecture", "your own numbers"
_CONTROLS = {  # label and what it says, by field of InceptionSizes
    "channels": ("Channels in", "That come into the module."),
    "side": ("Side, px", "Of the feature map."),
    "pointwise": ("1x1", "Channels out of the 1x1 convolution."),
    "middle_reduced": ("3x3 reduce", "Channels that a 1x1 leaves for the 3x3."),
    "middle": ("3x3", "Channels out of the 3x3 convolution."),
    "wide_reduced": ("5x5 reduce", "Channels that a 1x1 leaves for the 5x5."),
    "wide": ("5x5", "Channels out of the 5x5 convolution."),
    "pooled": ("Pool project", "Channels that a 1x1 leaves of the pooled map; the naive module passes all of it on."),
}


def show() -> None:
    """MACs of both modules, layer by layer, for the lecture's numbers, GoogLeNet's, or a person's own."""
    with designs.panel("Inception: naive against 1x1 reductions") as controls:
        with controls:
            st.selectbox(
                "Numbers of",
                (LECTURE, *googlenet_modules(), OWN),
                key="blocks_inception_preset",
                persist_state="session",
                on_change=_load,
                width=designs.WIDE,
                help="Sets every number below: those of Stanford's CS231n, lecture 9, or of one of GoogLeNet's nine "
                "modules, read from the network.",
            )
            defaults = asdict(InceptionSizes())
            chosen = {
                field: designs.number(
                    label, f"blocks_inception_{field}", defaults[field], 1, 4096, about, on_change=_own
                )
                for field, (label, about) in _CONTROLS.items()
            }
            counted_as = designs.number(
                "The 3x3's input, counted as",
                "blocks_inception_counted",
                128,
                1,
                8192,
                "Channels, to see what a slip here does to the sum.",
                width=designs.WIDE,
            )
        sizes = InceptionSizes(**chosen)
        module = inception_module(sizes)
        designs.headline(module, "macs", "weights")
        other = inception_miscounted(sizes, counted_as)
        st.markdown(
            f"**The lecture's 358 M.** CS231n prints 358 M operations for its module with reductions; the layers "
            f"that it lists sum to 271 M. With the numbers here the sum is {exact(module.proposed.macs)}, and were "
            f"the 3x3's input counted as {counted_as} channels instead of the {sizes.middle_reduced} that its 1x1 "
            f"leaves, it would be **{exact(other)}**, which is {short(other)}."
        )
        designs.drawings(module, "inception")
        designs.sums(module, "macs")
        designs.bars(module, "inception", "macs")
        designs.table(module, "inception")
        channels = (module.proposed.output_shape[0], module.usual.output_shape[0])
        st.caption(
            f"The module with reductions gives {channels[0]} channels and the naive one {channels[1]}, as it "
            "passes on all of the pooled map. Sources: Szegedy et al. 2014, arXiv 1409.4842, figure 2 and table 1; "
            "Stanford CS231n, lecture 9 (854 M for the naive module). The branches stand side by side on one map; "
            "biases are left out, as they cost no multiplication."
        )


def _own() -> None:
    st.session_state.blocks_inception_preset = OWN


def _load() -> None:
    name = st.session_state.blocks_inception_preset
    if name == OWN:
        return
    sizes = InceptionSizes() if name == LECTURE else googlenet_modules()[name]
    st.session_state.update({f"blocks_inception_{field}": value for field, value in asdict(sizes).items()})
