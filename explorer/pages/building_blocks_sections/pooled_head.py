"""Global average pooling against a network's linear layers."""

import streamlit as st

from explorer.analysis.cost import pooled_head
from explorer.figures.theme import exact
from explorer.models import zoo
from explorer.pages import runs
from explorer.pages.building_blocks_sections import designs
from explorer.pages.edge import plain

SUGGESTED = ("vgg16", "vgg11", "vgg13", "vgg19", "vgg16_bn", "alexnet_2012", "alexnet", "resnet50", "googlenet_2014")


def show() -> None:
    """Parameters of the head and of the network, before and after."""
    with designs.panel("Global average pooling against linear layers") as controls:
        name = controls.selectbox(
            "Network",
            SUGGESTED,
            key="blocks_head_net",
            persist_state="session",
            accept_new_options=True,
            help="Choose one, or type any name of a network of this app, torchvision or timm.",
        )
        zoo.entry(name)  # a wrong name is said at once
        head = runs.outcome("blocks_head", name, lambda progress: pooled_head(name))
        if head is None:
            return
        designs.headline(head.heads, "weights", "macs")
        with st.container(horizontal=True):
            designs.figure("Network", head.network_params, "parameters", "With its own linear layers.")
            designs.figure(
                "Network, pooled",
                head.network_params_pooled,
                "parameters",
                "With a global average pool and one linear layer in their place.",
            )
        if head.heads.weight_ratio == 1:
            st.info(
                f"The linear layers behind the last map of {plain(name)} are no larger than a pooled head: there is "
                "nothing to save.",
                icon=":material/check_circle:",
            )
        st.markdown(
            f"The linear layers behind the last map hold **{float(head.share):.2%}** of the "
            f"{exact(head.network_params)} parameters of {plain(name)}. A global average pool turns a map of $C$ "
            "channels into $C$ numbers, whatever its size, so that one linear layer to $K$ classes needs $C K + K$."
        )
        designs.sums(head.heads, "weights")
        designs.drawings(head.heads, "head")
        designs.bars(head.heads, "head", "weights")
        designs.table(head.heads, "head")
        st.caption(
            "Source of the idea: Lin et al. 2013, arXiv 1312.4400, section 3.2. GoogLeNet and ResNet end like this. "
            "A convolution whose window is the whole map counts as linear, as timm's VGGs have it. "
            "Parameters are not accuracy: a network with another head has to be trained again, and no error is claimed "
            "here."
        )
