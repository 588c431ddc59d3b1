"""Gradient norms by block: what arrives at each, and what its weights get."""

import streamlit as st

from explorer.analysis.flow import together
from explorer.export.tables import csv
from explorer.figures.flow import QUANTITIES, flow_chart
from explorer.figures.theme import config
from explorer.pages import parts
from explorer.pages.gradient_flow_sections import drawing, measured
from explorer.pages.gradient_flow_sections.chosen import Chosen

_PLOTTED = {
    "gradient_norm": "Activation gradient",
    "norm_product": "‖W‖ ‖dL/dW‖",
    "weight_gradient_norm": "Raw weight gradient",
}
_MEANING = {
    "gradient_norm": "the root of the sum of squares of dL/d(output of the block) over the batch. At each stage the "
    "maps get a quarter of the pixels and twice the channels, so that norms there are over half as many numbers",
    "norm_product": "the norm of a convolution's weights times that of the loss's gradient with respect to them; of a "
    "block, the root of the sum of squares over the convolutions of its main branch",
    "weight_gradient_norm": "the root of the sum of squares of dL/dW over all weights of the main branch's "
    "convolutions. Behind batch norm it depends on the weights' own size, which changes nothing that the net computes: "
    "compare ‖W‖ ‖dL/dW‖",
}

LITERATURE = """
**What everyone repeats, and what is measured.** "Plain nets degrade because their gradients vanish" is not what the
paper found. Its nets have batch norm, and He et al. (2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385),
section 4.1) write of the plain one of 34 layers that its signals vanish neither forward nor back; they leave open what
the cause is.

- *At initialisation* a plain net with batch norm does the opposite: its gradient grows toward the input, the more the
  deeper it is. Yang et al. (2019, [arXiv 1902.08129](https://arxiv.org/abs/1902.08129)) derive for wide, fully
  connected nets that batch norm itself makes gradients explode with depth, whatever the variance of the weights.
  Shortcuts slow the growth down.
- *In training* it does not stay so; Yang et al. saw the range shrink dramatically after a single step. The first
  updates are as large as these gradients, and make the weights of the first layers many times larger. Choose ten steps
  on the digits: the ratio of plain-56 is then about 1 or below, and it has learned next to nothing, so that exploding
  gradients are not what holds it back. Plain-110 overshoots: what arrives at its first block is then less than a
  thousandth of what arrives at the last. So a plain net with batch norm can come to vanishing gradients too, from an
  exploding start; neither word alone tells why it learns badly. One explanation is under Nearby inputs.
- *Without any norm* gradients do vanish in a plain net, with the wrong initial weights: see Xavier's and PyTorch's own
  under More choices. Kaiming's (He et al. 2015, [arXiv 1502.01852](https://arxiv.org/abs/1502.01852)) lose little.
- *Zero-init gamma and SkipInit* make every block the identity at first. With option A the gradient then has the same
  norm at every identity block, but for ReLU's cut behind the last one. The weights inside get none: exactly 0, as their
  branch is multiplied by 0.

**Three sizes.** The activation gradient is the signal that arrives at a block. What a weight gets is that signal times
its input, so that the same vanishing need not show there. In a plain net without norm and with biases at 0,
ReLU makes the logits, but for the classifier's own bias, proportional to the size of each layer's weights. So the sum
of W · dL/dW is exactly the same number for every layer (Euler's theorem; it is in the table), and ‖W‖ ‖dL/dW‖ does not
change when one layer is scaled up and another down. The products of norms are not equal, but stay within some tens of
each other where activation gradients lose many orders of magnitude. Behind batch norm the sum is 0
instead, and scaling W by c scales dL/dW by 1/c: there too the product is what can be compared, and the raw gradient
cannot.
"""


def show(chosen: Chosen) -> None:
    """The chart by block, the ratio of first to last for each net, and what is known about it."""
    st.subheader("Gradients by block", anchor=False)
    left, right = st.columns([3, 2])
    quantity: str = left.segmented_control(
        "Plotted",
        list(_PLOTTED),
        default="gradient_norm",
        required=True,
        format_func=_PLOTTED.__getitem__,
        key="flow_quantity",
        persist_state="session",
        help="The gradient of the loss with respect to what each block returns; or with respect to its weights, as it "
        "is or times the weights' own norm.",
    )
    along = drawing.along(right)
    found = measured.flows(chosen)
    if not found:
        return
    drawing.ratios(found, quantity)
    st.plotly_chart(
        flow_chart(
            {title: each.blocks for title, each in found.items()},
            chosen.specs,
            quantity,
            f"By block, {chosen.when}",
            across=drawing.ACROSS[along],
            along=along,
            log=True,
        ),
        key="flow_chart",
        config=config("gradient_flow"),
        alt=f"{QUANTITIES[quantity]} of each block on a logarithmic axis, a line for each of {', '.join(found)}",
    )
    st.caption(f"{drawing.how(chosen, found)} Plotted: {_MEANING[quantity]}.")
    blocks = together({title: each.blocks for title, each in found.items()})
    parts.download(
        "Blocks as CSV", csv, blocks, "gradient_flow_blocks.csv", "text/csv", "All that was measured, a row a block."
    )
    st.markdown(LITERATURE)
