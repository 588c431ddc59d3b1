"""What a training step of the net holds in memory, and how many images fit."""

from typing import get_args

import streamlit as st

from explorer.analysis.memory import CARDS, Optimiser, largest_batches, refuses_one_image, training_memory
from explorer.export.tables import csv
from explorer.figures.memory import memory_chart
from explorer.figures.theme import config, exact, short
from explorer.pages import parts, runs
from explorer.spec import ResNetSpec

MAX_BATCH = 65_536

NOTE = """
Everything is float32, and a GB is 10⁹ bytes. PyTorch's own forward and backward pass say what is kept, on tensors that
have sizes and no contents. Not included: what CUDA itself takes (its context and libraries, some hundred MB), the
workspaces of cuDNN and other kernels, the allocator's rounding and fragmentation, weight decay's copy of the
parameters, further batches on their way. A card sold with 8 GB has 8 x 2³⁰ bytes, 7% more than counted here, which
leaves them some room; choose a batch somewhat below the largest all the same. A dropout mask counts four bytes an
entry, as on a processor; on a GPU it takes one.
"""


def show(spec: ResNetSpec, name: str) -> None:
    """The memory of one training step: its sum, its parts, its stages, and the largest batch for usual cards.

    Args:
        spec: the net.
        name: what its files are called.
    """
    st.subheader("Memory of a training step", anchor=False)
    batch_place, optimiser_place = st.columns([1, 2])
    batch = batch_place.number_input(
        "Batch, images",
        1,
        MAX_BATCH,
        32,
        key="memory_batch",
        persist_state="session",
        help=f"Images in one training step, 1 to {exact(MAX_BATCH)}.",
    )
    optimiser: Optimiser = optimiser_place.segmented_control(
        "Optimiser",
        get_args(Optimiser),
        default="SGD with momentum",
        required=True,
        key="memory_optimiser",
        persist_state="session",
        help="Plain SGD keeps nothing from step to step, momentum one number for each parameter, Adam two and a "
        "counter for each tensor.",
    )
    memory = runs.outcome("memory_run", spec, lambda progress: training_memory(spec, report=progress.report))
    if memory is None:
        return
    if batch == 1 and refuses_one_image(spec):
        st.warning(
            "PyTorch refuses this batch where batch norm would see one number a channel: take two images or more."
        )
    total = memory.total(batch, optimiser)
    freed = memory.total(batch, optimiser, "freed")
    row = st.container(horizontal=True)
    row.metric(
        "Busiest moment",
        short(total, "B"),
        f"{exact(total)} bytes",
        delta_color="off",
        delta_arrow="off",
        width=230,
        help="The most memory that is in use at once during a step, where gradients are kept from step to step, as in "
        "gradient accumulation. It is the sum of the bars below.",
    )
    row.metric(
        "With gradients freed",
        short(freed, "B"),
        f"{exact(freed)} bytes",
        delta_color="off",
        delta_arrow="off",
        width=230,
        help="The same in PyTorch's usual loop, whose zero_grad() frees the gradients: during the backward pass they "
        "come back one by one, while activations go.",
    )
    row.metric(
        "Kept for each image",
        short(memory.saved.per_image, "B"),
        f"{exact(memory.saved.per_image)} bytes",
        delta_color="off",
        delta_arrow="off",
        width=230,
        help="What one image more adds to the activations: the image, and all that the backward pass will need.",
    )
    left, right = st.columns(2)
    left.plotly_chart(
        memory_chart(memory.parts(batch, optimiser), f"Busiest moment, batch {exact(batch)}"),
        key="memory_parts",
        config=config(f"{name}_memory"),
        alt="bytes of weights, running statistics, gradients, optimiser state, activations and working space",
    )
    right.plotly_chart(
        memory_chart(dict(memory.stages), "Kept for each image, by stage"),
        key="memory_stages",
        config=config(f"{name}_kept"),
        alt="bytes that the backward pass needs of each stage, for one image",
    )
    st.caption(
        "Activations are what autograd keeps from the forward to the backward pass, the images included. Working space "
        "is what the busiest moment needs beside: gradients of activations, gradients of weights before they are "
        "added to the others, or Adam's temporary copy of the parameters."
    )
    batches = largest_batches(memory)
    st.markdown("**Largest batch that fits**")
    st.dataframe(
        batches,
        key="memory_table",
        hide_index=True,
        column_config={
            "memory_gb": st.column_config.NumberColumn(
                "GB", help=f"Memory of usual cards, {CARDS[0]} to {CARDS[-1]}; a GB is 10⁹ bytes."
            ),
            **{
                kind: st.column_config.NumberColumn(
                    format="localized",
                    help="Images whose step, with gradients kept, needs no more than this; 0 where not even one fits.",
                )
                for kind in get_args(Optimiser)
            },
        },
    )
    parts.download(
        "Largest batches as CSV",
        csv,
        batches,
        f"{name}_largest_batches.csv",
        "text/csv",
        "The table above, for a spreadsheet.",
    )
    st.caption(NOTE)
