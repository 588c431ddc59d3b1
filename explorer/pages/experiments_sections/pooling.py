"""Overlapping pooling, of AlexNet, on and off."""

import streamlit as st

from explorer.analysis.first_layers import MAX_SHIFT
from explorer.analysis.pooling import (
    MAX_KERNEL,
    SEEDS,
    pooled,
    reads,
    shift_changes,
    shift_summary,
    side_by_side,
)
from explorer.export.tables import csv
from explorer.figures.experiments import reads_chart, shift_chart
from explorer.figures.theme import config, exact, short
from explorer.pages import parts, pictures, runs

_GRID = 9  # values a side, of the small map

NOTE = """
**What it does.** A pool takes the largest of z × z values, at every s-th place. With z = s each value is read at most
once; with z > s windows overlap, and some values are read by several. The sides of the maps are
floor((n - z) / s) + 1: for AlexNet's 55, 27 and 13 the paper's z = 3, s = 2 and the plain z = 2, s = 2 give the same
27, 13 and 6, so neither parameters nor MACs differ. What one unit sees does. Windows of
2 × 2 leave the last row and column of an odd map unread.

**Published.** Krizhevsky et al. (2012, section 3.4): against z = 2, s = 2, top-1 error is 0.4 points lower and top-5
0.3. They also say that they generally observe nets with overlapping pools to over-fit slightly less easily; they print
no number for that.
"""


def show() -> None:
    """AlexNet with the chosen pools beside the same without overlap: sizes, costs, what is read, what a shift does.

    Raises:
        PoolingError: a map is smaller than the windows.
    """
    st.subheader("Overlapping pooling", anchor=False)
    switch, stride_place, kernel_place = st.columns(3, vertical_alignment="bottom")
    on = switch.toggle(
        "Overlap",
        True,
        key="pool_on",
        persist_state="session",
        help="Off: windows as large as the step, z = s, so that each value is read at most once.",
    )
    stride = stride_place.slider(
        "s, step", 1, 3, 2, key="pool_stride", persist_state="session", help="Of all three pools; the paper has 2."
    )
    chosen = kernel_place.slider(
        "z, side of the window",
        1,
        MAX_KERNEL,
        3,
        key="pool_kernel",
        persist_state="session",
        disabled=not on,
        help="Of all three pools; the paper has 3. Smaller than s, it leaves values unread.",
    )
    kernel = chosen if on else stride
    net, plain = pooled(kernel, stride), pooled(stride, stride)
    row = st.container(horizontal=True)
    for label, value, below, about in (
        (
            "Sides of the maps",
            "-".join(map(str, net.sides)),
            f"{'-'.join(map(str, plain.sides))} with z = s",
            "Behind pool1, pool2 and pool5, for an image of 227 px.",
        ),
        (
            "Receptive field",
            f"{net.field} px",
            f"{plain.field} px with z = s",
            "Side of the square of pixels that one unit behind pool5 sees.",
        ),
        (
            "Parameters of fc6",
            short(net.layer("fc6").params),
            f"{short(plain.layer('fc6').params)} with z = s",
            "The first linear layer takes all that pool5 leaves.",
        ),
        ("Parameters", short(net.totals.params), exact(net.totals.params), "Of the whole net."),
        ("MACs", short(net.totals.macs), exact(net.totals.macs), "Of the whole net, for one image."),
    ):
        row.metric(label, value, below, delta_color="off", delta_arrow="off", width=165, help=about)
    grid, shifts = st.columns([2, 3])
    with grid:
        st.plotly_chart(
            reads_chart(reads(kernel, stride, _GRID)),
            key="pool_reads",
            config=config("pooling_reads"),
            alt=f"how many windows of {kernel} x {kernel} at step {stride} read each value of a 9 x 9 map",
        )
        st.caption(f"A map of {_GRID} × {_GRID} values under windows of {kernel} × {kernel} at every step of {stride}.")
    with shifts:
        _shifts(kernel, stride)
    table = side_by_side(net, plain)
    st.dataframe(
        table,
        key="pool_table",
        height="content",
        hide_index=True,
        placeholder="-",
        column_config={
            "name": parts.COLUMNS["name"],
            "output_shape_one": st.column_config.TextColumn("output, chosen", help="Channels x height x width."),
            "output_shape_other": st.column_config.TextColumn("output, z = s", help="Channels x height x width."),
            **{
                f"{column}_{which}": st.column_config.NumberColumn(f"{title}, {who}", format="localized", help=about)
                for which, who, about in (
                    ("one", "chosen", "With the pools chosen above."),
                    ("other", "z = s", "With windows that do not overlap, at the same step."),
                )
                for column, title in (
                    ("receptive_field", "receptive field, px"),
                    ("params", "params"),
                    ("macs", "MACs"),
                )
            },
        },
    )
    parts.download(
        "Layers as CSV", csv, table, "overlapping_pooling.csv", "text/csv", "The table above, for a spreadsheet."
    )
    st.markdown(NOTE)


def _shifts(kernel: int, stride: int) -> None:
    """What a shift of the picture changes behind the first pool, measured."""
    picture = pictures.choose()
    if picture is None:
        st.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        return
    kernels = tuple(dict.fromkeys((kernel, stride)))
    changes = runs.outcome(
        "pooling_run",
        (picture, kernels, stride),
        lambda progress: shift_changes(picture.image, kernels, stride, progress.report),
    )
    if changes is None:
        return
    summary = shift_summary(changes)
    st.plotly_chart(
        shift_chart(summary, {own: f"z = {own}, s = {stride}" for own in kernels}),
        key="pool_shifts",
        config=config("pooling_shift"),
        alt="relative change of the first pooled map as the picture moves; the numbers are in the file below",
    )
    st.caption(
        f"The picture moves to the left by 0 to {MAX_SHIFT} px; drawn is how far AlexNet's map behind pool1 then is "
        "from where it was: the norm of the difference over the norm of the map. Measured now with random filters, the "
        f"same for both pools; the line is the median of {len(SEEDS)} seeds, the bars their range. This "
        "says nothing about trained filters or about accuracy."
    )
    parts.download(
        "Shifts as CSV", csv, summary, "pooling_shift.csv", "text/csv", "Median, lowest and highest over the seeds."
    )
