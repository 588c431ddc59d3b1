"""All numbers that were measured."""

from typing import Any

import streamlit as st

from explorer.analysis.flow import OF_BLOCKS, OF_LAYERS, summary, together
from explorer.export.tables import csv
from explorer.figures.flow import QUANTITIES
from explorer.pages import parts
from explorer.pages.gradient_flow_sections import drawing, measured
from explorer.pages.gradient_flow_sections.chosen import Chosen

_HELP = {
    "gradient_norm": "Root of the sum of squares of dL/d(output of the block) over the batch.",
    "norm_product": "Norm of the weights times norm of their gradient; of a block the root of the sum of squares over "
    "its main branch's convolutions.",
    "weight_gradient_norm": "Root of the sum of squares of dL/dW; of a block over its main branch's convolutions.",
    "weight_norm": "Root of the sum of squares of the weights.",
    "activation_rms": "Root of the mean square of the block's output.",
    "response_std": "Standard deviation of the layer's response, over images, channels and pixels.",
    "inner_product": "The sum of W times dL/dW. The same for every layer in a plain net without norm and biases at 0; "
    "0 behind batch norm, but for its epsilon.",
}
_NAMES = {**QUANTITIES, "inner_product": "⟨W, dL/dW⟩"}


def show(chosen: Chosen) -> None:
    """A row a net, a block and a layer, each to download."""
    st.subheader("All numbers", anchor=False)
    found = measured.flows(chosen)
    if not found:
        return
    nets = summary(found)
    blocks = together({title: each.blocks for title, each in found.items()})
    layers = together({title: each.layers for title, each in found.items()})
    st.caption(f"{drawing.how(chosen, found)} The files hold the least and the greatest of blocks and layers too.")
    for name, content, quantities, about in (
        ("nets", nets, OF_BLOCKS, "First block over last, a row a net."),
        ("blocks", blocks, OF_BLOCKS, "A row a block."),
        ("layers", layers, (*OF_LAYERS, "inner_product"), "A row a convolution of stem and main branches."),
    ):
        st.markdown(f"**{name.capitalize()}** · {about}")
        shown = [column for column in content if name == "nets" or not str(column).endswith(("_low", "_high"))]
        config = {**parts.COLUMNS, **_columns(quantities)}
        parts.table(content, f"flow_{name}", column_order=shown, column_config=config)
        parts.download(f"{name.capitalize()} as CSV", csv, content, f"gradient_flow_{name}.csv", "text/csv", about)


def _columns(quantities: tuple[str, ...]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "index": st.column_config.NumberColumn("number", help="From the input, from 1."),
        "place": st.column_config.NumberColumn(format="%.2f", help="From 0, the first, to 1, the last."),
        "name": st.column_config.TextColumn(help="The dotted name of the module, as in PyTorch's state_dict."),
        "block": st.column_config.TextColumn(help="The block that the layer is in."),
        "batch": st.column_config.NumberColumn(help="Images in each pass."),
        "loss": st.column_config.NumberColumn(format="%.3g", help="Cross-entropy, the median over the seeds."),
    }
    for quantity in quantities:
        columns[quantity] = st.column_config.NumberColumn(_NAMES[quantity], format="%.3g", help=_HELP[quantity])
        for end, words in (("low", "Least over the seeds"), ("high", "Greatest over the seeds")):
            columns[f"{quantity}_{end}"] = st.column_config.NumberColumn(
                f"{_NAMES[quantity]}, {words.split()[0].lower()}", format="%.3g", help=f"{words}. {_HELP[quantity]}"
            )
        columns[f"{quantity}_mark"] = st.column_config.TextColumn(
            "mark", help="zero: exactly 0 in the number format. subnormal: digits are lost. not finite: too large."
        )
    return columns
