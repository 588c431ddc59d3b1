"""GoogLeNet's auxiliary classifiers: how much gradient reaches the early stages with and without them."""

from typing import get_args

import streamlit as st

from explorer.analysis.gradients import (
    GOOGLENET_BATCH,
    GOOGLENET_SIDE,
    HEADS,
    HEADS_WEIGHT,
    MOST_SEEDS,
    AuxiliaryStudy,
    Start,
    auxiliary_study,
)
from explorer.export.tables import csv
from explorer.figures.gradients import gradient_chart
from explorer.figures.theme import config
from explorer.pages import parts, runs

STARTS: dict[Start, str] = {
    "caffe": "as in Caffe's GoogLeNet",
    "kaiming": "Kaiming",
    "xavier": "Xavier",
    "pytorch": "PyTorch's",
}
LITERATURE = """
**What the authors argued.** Szegedy et al. (2014, arXiv 1409.4842, section 5) were concerned whether gradients would
come back through so many layers. They put small classifiers behind inception4a and inception4d, weighed their losses by
0.3 while training, and threw them away afterwards. They expected more discrimination in the lower stages, more gradient
that comes back, and some regularisation.

**What was found later.** Szegedy et al. (2015, arXiv 1512.00567, section 4) report that auxiliary classifiers did not
make early training converge faster: with and without them the curves look virtually the same until both nets are
accurate, and only near the end does the net with them reach a slightly higher plateau. Leaving out the lower one did no
harm. They conclude that the hope for the early layers was most likely misplaced and that the classifiers act as
regularisers: the net does better if the side branch has batch norm or dropout.

**What is measured here** is only the second expectation, before the first step of training. Both papers can be right:
the early layers get a larger gradient from the start, by how much depends on the initial weights, and a larger gradient
is no faster training. Where gradients hardly fade, as with Kaiming's weights or batch norm, the heads add little. In
PyTorch's default weights, which let gradients fade in a net without norm, they add most; but the replication of
GoogLeNet in Caffe did not start from those.
"""


_SHOWN = ("name", "ratio", "ratio_low", "ratio_high")
_NAMED = ("conv1", "inception3a", "inception4b", "inception4e")  # before both heads, between them, behind them


def show() -> None:
    """The controls, gradient norm by module with and without the heads, their ratio, and what was published."""
    st.subheader("Auxiliary classifiers: what reaches the early stages", anchor=False)
    study = _study()
    outcome = runs.outcome("auxiliary_run", study, lambda progress: auxiliary_study(study, report=progress.report))
    if outcome is None:
        return
    row = st.container(horizontal=True)
    for place, ratio, low, high in zip(*(outcome.summary[column] for column in _SHOWN), strict=True):
        if place in _NAMED:
            row.metric(
                f"Gradient at {place}",
                f"{ratio:.3g} ×",
                f"{low:.3g} to {high:.3g}",
                delta_color="off",
                delta_arrow="off",
                width=190,
                help="Gradient norm with the heads' losses over that without: the median over the seeds, and from the "
                "least to the greatest. 1 behind both heads, which they cannot reach.",
            )
    st.plotly_chart(
        gradient_chart(
            outcome.curves,
            "loss",
            ("without heads", "with heads"),
            "Gradient norm by module",
            across="",
            names=True,
            heads=HEADS,
        ),
        key="auxiliary_chart",
        config=config("gradient_with_heads"),
        alt="norm of the loss's gradient with respect to each module's output, with and without the heads' losses",
    )
    st.caption(
        f"Measured now on random weights, before any training: GoogLeNet as published in 2014"
        f"{', with batch norm instead of its response normalisation' if study.batch_norm else ''}, in training mode "
        f"with dropout off, so that both lines differ by the heads' losses alone. The norm is the root of the sum of "
        f"squares of dL/d(output of the module) over a batch of {GOOGLENET_BATCH} images, smooth random patterns of "
        f"{GOOGLENET_SIDE} px with random classes. L is the mean cross-entropy of the last classifier, and with the "
        f"heads {study.weight:g} of each head's added. Lines are medians over seeds 0 to {study.seeds - 1}, each with "
        "its own weights, images and classes; bands reach from the least to the greatest. Modules differ in how many "
        "numbers they return: compare the two lines at one module rather than modules along a line."
    )
    st.dataframe(
        outcome.summary,
        key="auxiliary_table",
        hide_index=True,
        placeholder="-",
        height="content",
        column_config={
            "name": st.column_config.TextColumn("module", help="Its name, as in PyTorch's state_dict."),
            "without": st.column_config.NumberColumn(
                "without heads", format="%.3g", help="Gradient norm by the last classifier's loss, median over seeds."
            ),
            "with_heads": st.column_config.NumberColumn(
                "with heads", format="%.3g", help="Gradient norm with the heads' losses, median over seeds."
            ),
            "ratio": st.column_config.NumberColumn(
                "with / without", format="%.3f", help="The median over the seeds of each seed's ratio."
            ),
            "ratio_low": st.column_config.NumberColumn("least", format="%.3f", help="The least ratio over the seeds."),
            "ratio_high": st.column_config.NumberColumn(
                "greatest", format="%.3f", help="The greatest ratio over the seeds."
            ),
            "mark": st.column_config.TextColumn(
                "beyond the format",
                help="zero: too small for float32 somewhere, which leaves exactly 0. subnormal: so small that digits "
                "are lost. not finite: too large for it.",
            ),
        },
    )
    with st.container(horizontal=True):
        parts.download(
            "Ratios as CSV", csv, outcome.summary, "auxiliary.csv", "text/csv", "The table, for a spreadsheet."
        )
        parts.download(
            "Curves as CSV",
            csv,
            outcome.curves,
            "gradient_with_heads.csv",
            "text/csv",
            "Gradient and activation norms behind each module: median, least and greatest.",
        )
    st.markdown(LITERATURE)


def _study() -> AuxiliaryStudy:
    """The controls."""
    left, middle, right = st.columns(3)
    start: Start = left.selectbox(
        "Initial weights",
        get_args(Start),
        format_func=STARTS.__getitem__,
        key="auxiliary_start",
        persist_state="session",
        help="Of convolutions and linear layers. Caffe's replication of GoogLeNet: uniform with variance 1 / fan in, "
        "biases 0.2. Kaiming: normal with variance 2 / fan in. Xavier: uniform with variance 2 / (fan in + fan out). "
        "Both with biases 0. PyTorch's: uniform with variance 1 / (3 fan in), biases too.",
    )
    weight = middle.slider(
        "Weight of each head's loss",
        0.0,
        1.0,
        HEADS_WEIGHT,
        0.1,
        key="auxiliary_weight",
        persist_state="session",
        help="0.3 in the paper, section 5.",
    )
    seeds = right.slider(
        "Seeds",
        1,
        MOST_SEEDS,
        3,
        key="auxiliary_seeds",
        persist_state="session",
        help="How many nets are drawn and measured; each takes a second or two.",
    )
    batch_norm = st.toggle(
        "Batch norm",
        key="auxiliary_norm",
        persist_state="session",
        help="Behind every convolution, as in torchvision's GoogLeNet. Off: as published in 2014, before batch norm.",
    )
    return AuxiliaryStudy(weight, start, batch_norm, seeds)
