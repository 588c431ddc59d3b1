"""ReLU against tanh, sigmoid and others: how much gradient reaches the first block of an untrained net."""

from typing import get_args

import streamlit as st

from explorer.analysis.gradients import BATCH, DEPTHS, MOST_SEEDS, SIDE, ActivationStudy, activation_study
from explorer.export.tables import csv
from explorer.figures.gradients import gradient_chart
from explorer.figures.theme import config
from explorer.pages import parts, runs
from explorer.spec import Activation, Init, knob

LITERATURE = """
**The textbook's argument** multiplies slopes: backwards through a layer each number is multiplied by the activation's
slope, at most 1/4 for sigmoid and 1 for tanh and ReLU, so many layers of sigmoid leave next to nothing. The
measurement agrees about sigmoid without norm, though the weights multiply as well and shift the size. It does not
agree that slopes decide alone:

- *Tanh need not vanish.* With Kaiming's weights and no norm its gradient even grows toward the input, while ReLU with
  PyTorch's own initial weights loses more than a millionfold at 20 layers. Kaiming's gain of √2 makes up for ReLU
  passing about half of the squares (He et al. 2015, arXiv 1502.01852); Xavier's is made for slopes near 1 (Glorot &
  Bengio 2010).
- *Batch norm* rescales what comes into the activation, and the gradient with it: sigmoid then keeps its size to within
  a factor of ten.
- *Shortcuts* do not rescue sigmoid without norm: in the original order the activation stands behind the sum, on the
  path itself.

**Published.** Glorot & Bengio (2010) found the logistic sigmoid unsuited for deep nets with random initial weights,
because its mean is not zero and can drive the top hidden layer into saturation. Nair & Hinton (2010) brought rectified
linear units to restricted Boltzmann machines. Krizhevsky et al. (2012, section 3.1 and figure 1) trained a four-layer
convolutional net on CIFAR-10: with ReLU it reached 25% training error six times faster than with tanh, each at its own
best learning rate and without regularisation. That is speed of training, which gradient norms before training do not
measure.
"""


def show() -> None:
    """The controls, gradient norm by depth for each activation, first block against last, and what was published.

    Raises:
        GradientError: no activation is chosen.
    """
    st.subheader("Activations: what reaches the first layers", anchor=False)
    study = _study()
    outcome = runs.outcome("activations_run", study, lambda progress: activation_study(study, report=progress.report))
    if outcome is None:
        return
    st.plotly_chart(
        gradient_chart(
            outcome.curves, "activation", get_args(Activation), "Gradient norm by block", across="block, from the input"
        ),
        key="activations_chart",
        config=config("gradient_by_activation"),
        alt="norm of the loss's gradient with respect to each block's output, a line for each activation",
    )
    st.caption(
        f"Measured now on random weights, before any training: a {'residual' if study.residual else 'plain'} net of "
        f"{study.depth} layers for CIFAR-10 (He et al. 2015, section 4.2; width 16), in training mode. The norm is the "
        f"root of the sum of squares of dL/d(output of the block) over a batch of {BATCH} images, made of smooth "
        f"random patterns of {SIDE} px, with random classes; L is the mean cross-entropy. Lines are medians over seeds "
        f"0 to {study.seeds - 1}, each with its own weights, images and classes; bands reach from the least to the "
        "greatest. At each third of the blocks the maps get a quarter of the pixels and twice the channels, so norms "
        "there are over half as many numbers."
    )
    st.dataframe(
        outcome.summary,
        key="activations_table",
        hide_index=True,
        placeholder="-",
        column_config={
            "activation": st.column_config.TextColumn(help="The function behind each convolution."),
            "slope": st.column_config.NumberColumn(
                "greatest slope", format="%.3f", help="Greatest derivative of the function, computed on a fine grid."
            ),
            "slope_alone": st.column_config.NumberColumn(
                "slope alone",
                format="%.2g",
                help=f"The greatest slope to the power of {study.layers_between}, the convolutions between first and "
                "last block: the textbook's bound, were the weights neutral.",
            ),
            "ratio": st.column_config.NumberColumn(
                "first / last",
                format="%.2g",
                help="Gradient norm behind the first block over that behind the last, the median over the seeds. Below "
                "1 gradients vanish toward the input, above 1 they grow.",
            ),
            "ratio_low": st.column_config.NumberColumn("least", format="%.2g", help="The least over the seeds."),
            "ratio_high": st.column_config.NumberColumn("greatest", format="%.2g", help="The greatest over the seeds."),
            "per_layer": st.column_config.NumberColumn(
                "factor a layer",
                format="%.3f",
                help="What each of these convolutions with its activation multiplies the gradient by, on the geometric "
                "mean: slope and weights together.",
            ),
            "mark": st.column_config.TextColumn(
                "beyond the format",
                help="zero: too small for the number format somewhere, which leaves exactly 0. subnormal: so small "
                "that digits are lost. not finite: too large for it.",
            ),
        },
    )
    with st.container(horizontal=True):
        parts.download(
            "Ratios as CSV", csv, outcome.summary, "activations.csv", "text/csv", "The table, for a spreadsheet."
        )
        parts.download(
            "Curves as CSV",
            csv,
            outcome.curves,
            "gradient_by_activation.csv",
            "text/csv",
            "Gradient and activation norms behind each block: median, least and greatest.",
        )
    st.markdown(LITERATURE)


def _study() -> ActivationStudy:
    """The controls."""
    activations = st.multiselect(
        "Activations",
        get_args(Activation),
        default=["relu", "tanh", "sigmoid"],
        key="activations_chosen",
        persist_state="session",
        wrap=True,
        help="The functions to compare, each in the same net. " + knob("activation").source,
    )
    left, middle, right = st.columns(3)
    depth = left.select_slider(
        "Depth, layers",
        DEPTHS,
        20,
        key="activations_depth",
        persist_state="session",
        help="Convolutions and the linear layer: 6n + 2, as in the paper's nets for CIFAR-10.",
    )
    init: Init = middle.selectbox(
        "Initial weights",
        get_args(Init),
        format_func=lambda name: name.replace("_", " "),
        key="activations_init",
        persist_state="session",
        help=knob("init").help,
    )
    seeds = right.slider(
        "Seeds",
        1,
        MOST_SEEDS,
        3,
        key="activations_seeds",
        persist_state="session",
        help="How many nets of each kind are drawn and measured.",
    )
    row = st.container(horizontal=True)
    norm = row.toggle(
        "Batch norm",
        key="activations_norm",
        persist_state="session",
        help="Behind each convolution, with the statistics of the batch. Off: convolutions carry a bias instead.",
    )
    residual = row.toggle(
        "Shortcuts",
        key="activations_residual",
        persist_state="session",
        help="Residual blocks with option A, as in the paper's nets for CIFAR-10. Off: the plain twin.",
    )
    double = row.toggle(
        "Double precision",
        key="activations_double",
        persist_state="session",
        help="Compute in float64, whose least number is about 5 · 10⁻³²⁴, instead of float32, whose least is about "
        "1.4 · 10⁻⁴⁵: shows what an exact 0 really was. Networks are trained in float32 or less.",
    )
    return ActivationStudy(tuple(activations), depth, norm, residual, init, seeds, double)
