"""What the sections of this page draw alike."""

import math
from collections.abc import Mapping
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.analysis.flow import Flows
from explorer.figures.flow import times
from explorer.figures.theme import exact
from explorer.models.checkpoints import REGISTRY
from explorer.pages.edge import plain
from explorer.pages.gradient_flow_sections import measured
from explorer.pages.gradient_flow_sections.chosen import Chosen
from explorer.training.datasets import DATASETS

Along = Literal["index", "place"]

ACROSS: dict[Along, str] = {"index": "block, from the input", "place": "depth of the block, 0 first, 1 last"}
_ALONG: dict[Along, str] = {"index": "Number", "place": "Relative depth"}


def along(place: DeltaGenerator) -> Along:
    """Draw the choice of what the horizontal axis counts."""
    chosen: Along = place.segmented_control(
        "Across",
        list(_ALONG),
        default="place",
        required=True,
        format_func=_ALONG.__getitem__,
        key="flow_along",
        persist_state="session",
        help="Blocks by their number, or from 0, the first, to 1, the last, so that nets of all depths lie over each "
        "other.",
    )
    return chosen


def ratios(found: Mapping[str, Flows], quantity: str) -> None:
    """First block over last, a metric a net."""
    st.markdown("**First block over last block** · median over the seeds, below it least and greatest")
    row = st.container(horizontal=True)
    for title, flows in found.items():
        ratio = flows.ratios[quantity]
        told = _untold(flows, quantity)
        row.metric(
            title,
            told or times(ratio.median),
            None if told else f"{times(ratio.low)} to {times(ratio.high)}",
            delta_color="off",
            delta_arrow="off",
            width=165,
            help="Above 1 it grows toward the input, below 1 it shrinks. Overflow: a value is too large for the "
            "number format. By 0: the last block's is exactly 0.",
        )


def _untold(flows: Flows, quantity: str) -> str | None:
    """Why there is no ratio of every seed, in a word."""
    if math.isfinite(flows.ratios[quantity].high):
        return None
    ends = set(flows.blocks[f"{quantity}_mark"].iloc[[0, -1]])
    return "overflow" if "not finite" in ends else "by 0"


def how(chosen: Chosen, found: Mapping[str, Flows]) -> str:
    """For captions: when, on what, how often and in which mode it was measured."""
    batches = sorted({flows.batch for flows in found.values()})
    smaller = "" if len(batches) == 1 else f" ({batches[0]} where more would take too much memory)"
    state = chosen.when
    if chosen.state == "steps" and chosen.steps:
        state += (
            f" of training on {DATASETS[chosen.images.name].title} (SGD, learning rate 0.1, momentum 0.9, weight decay "
            f"10⁻⁴, {measured.AT_ONCE[chosen.images.name]} pictures a step)"
        )
    trainings = [REGISTRY[chosen.weights[title]].training for title in found if title in chosen.weights]
    if steps := sorted({training.steps for training in trainings if training is not None}):
        state += (
            f" (this project's own, {' or '.join(map(exact, steps))} steps on CIFAR-10 (JPEG); the paper's take 64,000)"
        )
    last = chosen.seeds - 1
    drawn = ", which draw what goes in alone, as each net was trained once" if chosen.state == "trained" else ""
    return plain(
        f"Measured now {state}, in training mode, so that batch norm uses the statistics of the batch. In went a "
        f"batch of {batches[-1]}{smaller}: {chosen.images.words}; L is the mean cross-entropy. Lines: medians over "
        + (f"seeds 0 to {last}{drawn}; bands: least to greatest." if last else "one seed, 0.")
    )
