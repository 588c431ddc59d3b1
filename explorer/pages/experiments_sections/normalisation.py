"""Local response normalisation, of AlexNet, on and off."""

import streamlit as st

from explorer.analysis.first_layers import PLACES, field, square
from explorer.analysis.normalisation import (
    MAX_WINDOW,
    Constants,
    first_responses,
    inhibition,
    liveliest_place,
    response_norm_costs,
)
from explorer.export.tables import csv
from explorer.figures.experiments import channel_chart, marked_picture
from explorer.figures.theme import config, exact, short
from explorer.pages import parts, pictures, runs

GAINS = {1 / 255: "1/255, pixels 0 to 1", 0.1: "0.1", 0.3: "0.3", 1.0: "1, pixels 0 to 255", 3.0: "3", 10.0: "10"}

NOTE = """
**What it does.** Each response is divided by (k + alpha · the sum of squares over the n channels around it, itself
included) to the power beta, at each place of the map for itself. While alpha times the sum is small beside k, that is
one and the same division for all channels, and nothing competes. Once it is not, a channel that grows makes its
neighbours smaller: the paper calls it a form of lateral inhibition. Inside one window all are divided by similar
numbers, so who leads there changes little; channels far from a strong one come off better. Which channels are
neighbours is arbitrary, as the paper says. PyTorch's and Caffe's alpha weigh the mean of the squares, so theirs is n
times the paper's.

**Measured here** on random weights (PyTorch's own start), with the picture as the paper fed it: RGB from 0 to 255, less
the mean. How large responses are decides about everything here. A trained net's have another size, which is not
measured here; the gain stands in for it. With pixels from 0 to 1, as is usual now, the paper's constants at the start
divide all responses by 2 to the power 0.75, or 1.68, and do next to nothing else.

**Published.** Krizhevsky et al. (2012, section 3.3): 1.4 points less top-1 and 1.2 points less top-5 error on
ImageNet; on CIFAR-10, 11% test error against 13% with a four-layer net. Simonyan & Zisserman (2014, arXiv 1409.1556,
table 3) tried it in VGG and dropped it: net A-LRN had 29.7% top-1 and 10.5% top-5 error, net A without it 29.6% and
10.4%.
"""


def show() -> None:
    """The responses of AlexNet's first filters at one place of a picture, normalised or not, and what that costs."""
    st.subheader("Local response normalisation", anchor=False)
    left, right = st.columns([1, 2])
    with left:
        picture = pictures.choose()
    if picture is None:
        st.info(pictures.NONE_YET, icon=":material/add_photo_alternate:")
        return
    with right:
        constants = _constants()
        gain_place, growth_place, seed_place = st.columns(3)
    gain = gain_place.select_slider(
        "Gain",
        list(GAINS),
        1.0,
        format_func=GAINS.__getitem__,
        key="norm_gain",
        persist_state="session",
        help="What all responses are multiplied by before the normalisation.",
    )
    growth = growth_place.slider(
        "Strongest channel, times",
        1.0,
        10.0,
        2.0,
        step=0.5,
        key="norm_growth",
        persist_state="session",
        help="The strongest channel's response is made this many times as large, to see what that does to the others.",
    )
    seed = int(
        seed_place.number_input(
            "Seed", 0, 999, 1, key="norm_seed", persist_state="session", help="Of the filters' random weights."
        )
    )
    responses = runs.outcome(
        "normalisation_run", (picture, seed), lambda progress: first_responses(picture.image, seed)
    )
    if responses is None:
        return
    with right:
        row_place, column_place, button_place = st.columns(3, vertical_alignment="bottom")
    button_place.button(
        "Strongest place",
        on_click=_go_to,
        args=[liveliest_place(responses)],
        icon=":material/my_location:",
        width="stretch",
        help="Set row and column to where the strongest response of all is.",
    )
    row, column = (
        at.slider(
            name,
            0,
            PLACES - 1,
            PLACES // 2,
            key=f"norm_{name.lower()}",
            persist_state="session",
            help=f"Of the map of {PLACES} x {PLACES} places, from the upper left corner.",
        )
        for at, name in ((row_place, "Row"), (column_place, "Column"))
    )
    left.image(
        marked_picture(square(picture.image), field((row, column))),
        caption="The net's 227 px square; the frame is what the chosen place sees, 11 px.",
        alt=f"{picture.name}, cut to the square that the net sees",
    )
    result = inhibition(responses, (row, column), constants, growth, gain)
    numbers = right.container(horizontal=True)
    _pair(
        numbers,
        "Share of the strongest",
        f"{result.share('after'):.1%}",
        f"{result.share('before'):.1%} before",
        "The strongest channel's part of the sum over all 96 channels, behind the normalisation.",
    )
    _pair(
        numbers,
        "Lead over neighbours",
        _times(result.lead("after")),
        f"{_times(result.lead('before'))} before",
        "The strongest channel over the median of those channels in its window of n that respond at all; a dash where "
        "none does.",
    )
    _pair(
        numbers,
        "Strongest grown",
        _percent(result.peak_change),
        f"as it grows {growth:g} x",
        "How the strongest channel's normalised response changes as its response before the normalisation grows.",
    )
    _pair(
        numbers,
        "Its neighbours",
        _percent(result.neighbours_change),
        "meanwhile",
        "How the normalised responses of its neighbours change meanwhile, on average over those that respond. All "
        "other channels stay as they are.",
    )
    costs = response_norm_costs()
    used = costs.iloc[0 if constants else 1]
    _pair(
        numbers,
        "AlexNet's activations",
        short(used.activation_bytes, "B"),
        f"{exact(used.activation_bytes)} bytes",
        "Outputs of all layers of the whole net for one image at float32, its two normalisations on or off.",
    )
    st.plotly_chart(
        channel_chart(result.table, result.peak),
        key="norm_chart",
        config=config("response_normalisation"),
        alt="response of each of the 96 channels at one place before and after normalisation; the numbers are in the "
        "file below",
    )
    if constants and constants.knee:
        st.caption(
            f"A channel that is alone: from a response of {constants.knee:.4g} on (√(k/alpha)) its square outweighs k"
            + (
                f"; from {constants.summit:.4g} on, a larger response comes out smaller."
                if constants.summit
                else "; a larger response always comes out larger."
            )
        )
    parts.table(costs, "norm_costs", column_order=("net", "layers", "params", "macs", "activation_bytes"))
    with st.container(horizontal=True):
        parts.download(
            "Channels as CSV",
            csv,
            result.table,
            "response_normalisation.csv",
            "text/csv",
            "All 96 channels: before, after, after the strongest has grown, and the change in percent.",
        )
        parts.download("Costs as CSV", csv, costs, "response_normalisation_costs.csv", "text/csv", "The table above.")
    st.markdown(NOTE)


def _constants() -> Constants | None:
    """The switch and the four constants; None where it is off."""
    on = st.toggle(
        "Normalise",
        True,
        key="norm_on",
        persist_state="session",
        help="Off: the responses go on as the ReLU gives them.",
    )
    n, k, alpha, beta = st.columns(4)
    chosen = Constants(
        n.slider(
            "n",
            1,
            MAX_WINDOW,
            5,
            step=2,
            key="norm_n",
            persist_state="session",
            disabled=not on,
            help="Channels whose squares are summed, the channel itself in the middle; the paper has 5.",
        ),
        k.number_input(
            "k",
            0.01,
            100.0,
            2.0,
            key="norm_k",
            persist_state="session",
            disabled=not on,
            help="Keeps the division from blowing up where all is quiet; the paper has 2.",
        ),
        alpha.number_input(
            "alpha",
            0.0,
            1.0,
            1e-4,
            step=1e-4,
            format="%.6f",
            key="norm_alpha",
            persist_state="session",
            disabled=not on,
            help="Weight of the sum of squares; the paper has 0.0001.",
        ),
        beta.number_input(
            "beta",
            0.0,
            3.0,
            0.75,
            step=0.05,
            key="norm_beta",
            persist_state="session",
            disabled=not on,
            help="The power; the paper has 0.75. Up to 0.5 a lone channel's output always grows with it.",
        ),
    )
    return chosen if on else None


def _go_to(place: tuple[int, int]) -> None:
    st.session_state.norm_row, st.session_state.norm_column = place


def _pair(place: st.delta_generator.DeltaGenerator, label: str, value: str, below: str, about: str) -> None:
    place.metric(label, value, below, delta_color="off", delta_arrow="off", width=165, help=about)


def _percent(change: float | None) -> str:
    return "-" if change is None else f"{change:+.1f}%"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"
