"""How many pixels leave a window that slides."""

from dataclasses import asdict

import streamlit as st

from explorer.analysis.cost import MAX_SIDE, PixelRow, known_windows
from explorer.figures.building_blocks import pixels_chart
from explorer.figures.theme import config, exact
from explorer.pages.building_blocks_sections import designs

OWN = "your own numbers"
_CONTROLS = {  # label, least value, what it says, by field of PixelRow
    "n": ("Pixels in, n", 1, "Along one axis."),
    "kernel": ("Kernel, k", 1, "Pixels that a window reads along this axis."),
    "stride": ("Stride, s", 1, "Pixels from one window to the next."),
    "padding": ("Padding, p", 0, "Pixels added at each side."),
    "dilation": ("Dilation, d", 1, "Distance between the pixels that a window reads."),
}


def show() -> None:
    """The formula filled in, and the windows drawn on the row of pixels."""
    windows = known_windows()
    first = next(iter(windows))
    with designs.panel("Output size of a convolution or pool") as controls:
        with controls:
            st.selectbox(
                "Numbers of",
                (*windows, OWN),
                key="blocks_output_preset",
                persist_state="session",
                on_change=_load,
                width=designs.WIDE,
                help="Sets the numbers below to those of a famous layer, read from the network.",
            )
            defaults = asdict(windows[first])
            numbers = {
                field: designs.number(
                    label, f"blocks_output_{field}", defaults[field], low, MAX_SIDE, about, on_change=_own
                )
                for field, (label, low, about) in _CONTROLS.items()
            }
        span = "n - k + 2p" if numbers["dilation"] == 1 else r"n + 2p - d\,(k - 1) - 1"
        st.latex(rf"\left\lfloor \frac{{{span}}}{{s}} \right\rfloor + 1")
        row = PixelRow(**numbers)
        floor, ceil = row.output("floor"), row.output("ceil") if row.pools else None
        with st.container(horizontal=True):
            st.metric(
                "Pixels out",
                exact(floor.side),
                "rounded down",
                delta_color="off",
                delta_arrow="off",
                width=165,
                help="What PyTorch's convolutions and pools give: only windows that fit count.",
            )
            st.metric(
                "Before rounding",
                f"{float(row.undivided):,.6g}",
                "divides" if row.undivided.denominator == 1 else "does not divide",
                delta_color="off",
                delta_arrow="off",
                width=165,
                help="Where the stride does not divide what is left, the last window does not reach the end.",
            )
            st.metric(
                "With ceil",
                "-" if ceil is None else exact(ceil.side),
                "no pool pads so much" if ceil is None else "rounded up",
                delta_color="off",
                delta_arrow="off",
                width=165,
                help="A pool with ceil_mode, as GoogLeNet's: a last window may hang over the end, unless it would "
                "start in the padding behind it. PyTorch's pools pad at most half of their window.",
            )
        st.code("\n".join(size.formula for size in (floor, ceil) if size), language=None, wrap_lines=True)
        st.plotly_chart(
            pixels_chart(row),
            key="output_pixels",
            config=config("output_size"),
            alt=f"{row.side} windows on {row.n} pixels with {row.padding} of padding at each side; "
            f"{len(row.unread)} pixels are read by none",
        )
        st.markdown(_reach(row))
        st.caption(
            "Along one axis; a map has two. Padding at both sides alike. Sources: PyTorch's documentation of "
            "torch.nn.Conv2d and torch.nn.MaxPool2d. AlexNet's paper says 224 pixels, from which 55 does not come "
            "out without padding: then its first layer needs 227."
        )


def _reach(row: PixelRow) -> str:
    """A sentence on the pixels that no window reads."""
    unread = row.unread
    if not unread:
        return "Every pixel is read by some window."
    some = ", ".join(map(exact, unread[:8])) + (f" … {exact(unread[-1])}" if len(unread) > 8 else "")
    pixels = "1 pixel is" if len(unread) == 1 else f"{exact(len(unread))} pixels are"
    return f"**{pixels} read by no window**, of {exact(row.n)}, counted from 0: {some}."


def _own() -> None:
    st.session_state.blocks_output_preset = OWN


def _load() -> None:
    row = known_windows().get(st.session_state.blocks_output_preset)
    if row is not None:
        st.session_state.update({f"blocks_output_{field}": value for field, value in asdict(row).items()})
