"""Field and stride by depth."""

import streamlit as st

from explorer.analysis.field_stories import field_lines, last_fields
from explorer.export.tables import csv
from explorer.figures.fields import field_depth_chart, stride_chart
from explorer.figures.theme import config, exact
from explorer.pages import parts
from explorer.pages.receptive_field_sections.seen import Seen

_FEW = 5  # networks whose bands can still be told apart
_METRICS = 8
_PLACES = {"depth": "depth in layers", "share_of_depth": "part of the depth"}
_SCALES = ("linear", "logarithmic")

THEORY = """
**Theory.** A unit depends on no pixel outside its receptive field, for any weights, unless a gate or norm on the way
looks at the whole map (*global context*) or the padding mirrors the image. Size, stride and
place follow from kernels, strides, dilations and paddings alone, over all branches of the graph (Araujo, Norris & Sim
2019, Distill, [doi 10.23915/distill.00021](https://doi.org/10.23915/distill.00021)). They plot it beside ImageNet
accuracy: networks with larger fields tend to do better, with less and less to gain. Those networks differ in much else,
so this shows no cause.

**Measurement.** Most pixels in the field hardly matter. Luo, Li, Urtasun & Zemel 2016
([arXiv 1701.04128](https://arxiv.org/abs/1701.04128)) took gradients: in deep stacks of convolutions with random
weights what counts is spread roughly like a Gaussian around the middle and takes up a small part of the field, a
smaller one the deeper the stack; shortcuts make it smaller, training made it larger. So the theoretical field is an
upper bound on what can matter, not the size of what does.

**Use.** Richter, Schöning, Wiedenroth & Krumnack 2021 ([arXiv 2106.12307](https://arxiv.org/abs/2106.12307)) compare
the field with the image: layers whose input sees the whole image already added little to the accuracy of the networks
that they trained. That is a prediction for a new network, and no proof.
"""


def show(seen: Seen) -> None:
    """A line a network for the field, one for the stride, and the last field of each in numbers."""
    last = last_fields(seen.profiles)
    if len(last) <= _METRICS:
        with st.container(horizontal=True):
            for net, field, jump in zip(last["net"], last["receptive_field"], last["jump"], strict=True):
                st.metric(
                    net,
                    f"{exact(field)} px",
                    f"stride {jump} px",
                    delta_color="off",
                    delta_arrow="off",
                    width=165,
                    help="Side of the square of pixels that one unit of the last map with a local field can depend on, "
                    "parts outside the image included; below it, how far apart neighbouring units look.",
                )
    row = st.container(horizontal=True, vertical_alignment="bottom")
    x = row.segmented_control(
        "Across",
        list(_PLACES),
        default="depth",
        required=True,
        format_func=_PLACES.__getitem__,
        key="field_across",
        persist_state="session",
        help="In layers with weights, so that longer networks reach further, or from 0 to each network's own depth.",
    )
    scale = row.segmented_control(
        "Scale",
        _SCALES,
        default="linear",
        required=True,
        key="field_scale",
        persist_state="session",
        help="Of the pixels. Logarithmic shows small fields beside large ones.",
    )
    few = len(seen.profiles) <= _FEW
    bands = row.toggle(
        "Shortest to longest path",
        value=few,
        key=f"field_bands_{'few' if few else 'many'}",
        persist_state="session",
        help="Fill what lies between the fields of the shortest and the longest path through the network to this "
        "depth. A chain of layers has one path and no band.",
    )
    lines = field_lines(seen.profiles)
    images = sorted({max(profile.image) for profile in seen.profiles.values()})
    st.plotly_chart(
        field_depth_chart(lines, x, images, logarithmic=scale == "logarithmic", bands=bands),
        key="field_depth_chart",
        config=config("receptive_field_by_depth"),
        alt=f"Receptive field of {', '.join(seen.profiles)} by depth, in pixels; the CSV below has the numbers",
    )
    st.plotly_chart(
        stride_chart(lines, x, legend=False),
        key="field_stride_chart",
        config=config("stride_by_depth"),
        alt=f"Stride of {', '.join(seen.profiles)} by depth, in pixels; the CSV below has the numbers",
    )
    parts.table(last, "field_last", column_config={**parts.COLUMNS, **COLUMNS})
    with st.container(horizontal=True):
        parts.download(
            "By depth as CSV", csv, lines, "receptive_field_by_depth.csv", "text/csv", "A row a change of the field."
        )
        parts.download(
            "Last fields as CSV", csv, last, "receptive_fields.csv", "text/csv", "The table above, for a spreadsheet."
        )
        with st.popover(
            "What theory and measurement say",
            icon=":material/menu_book:",
            width="content",
            help="Three papers in a few sentences.",
        ):
            st.markdown(THEORY)
    st.caption(
        "The line follows the longest way in layers with weights; a dot is the end of a stage. Both charts have "
        "the same colours. Where height and width differ the line tells the longer side, the band the height. The "
        "band spans all paths that cross the network there, those over shortcuts included. Behind the last map stand "
        "layers that see the whole image, as a classifier does, or tokens that attention mixes, whose fields are not "
        "followed here. Squeeze-and-excitation, group norm and the like look at the whole map besides; *global "
        "context* says so. Behind an enlarged map, as in HRNet, paths differ from unit to unit, and the band ends."
    )


COLUMNS = {
    "receptive_field": st.column_config.NumberColumn(
        "field, px", format="localized", help="Of a unit of the last map with a local field; the longer side."
    ),
    "jump": st.column_config.NumberColumn(
        "stride, px", help="How far apart neighbouring units look, in pixels of the image."
    ),
    "start": st.column_config.NumberColumn("start, px", help="The centre of unit 0's field, in pixels from 0."),
    "shortest": st.column_config.NumberColumn(
        "shortest path, px", format="localized", help="Height of the smallest field of a single path to it."
    ),
    "mean": st.column_config.NumberColumn("mean path, px", format="%.6g", help="Height of a field, over all paths."),
    "longest": st.column_config.NumberColumn(
        "longest path, px", format="localized", help="Height of the largest field of a single path to it."
    ),
    "image": st.column_config.NumberColumn("image, px", help="Longer side of the image."),
    "covers": st.column_config.NumberColumn(
        "image in it", format="percent", help="Part of the image's area in the box of the unit in the middle."
    ),
    "layers_behind": st.column_config.NumberColumn(
        "layers behind", help="Layers with weights that follow, in which no unit has a local field."
    ),
    "aligned": st.column_config.CheckboxColumn(
        help="Whether the paths to it are all centred on one pixel, wherever they meet."
    ),
    "global_context": st.column_config.CheckboxColumn(
        "global context", help="Whether it depends on the whole image besides, through a gate or a norm."
    ),
}
