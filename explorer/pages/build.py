from typing import Protocol

import streamlit as st

from explorer.figures.theme import exact, short
from explorer.pages import cached, sidebar
from explorer.pages.build_sections import budget, changes, counts, diagram, export, layers, memory
from explorer.pages.edge import plain
from explorer.spec import PRESETS, ResNetSpec


class Section(Protocol):
    """What stands below the headline numbers."""

    def __call__(self, spec: ResNetSpec, name: str) -> None:
        """Draw it for a net and the name of its preset."""


SECTIONS: dict[str, Section] = {
    "Diagram": diagram.show,
    "Layers": layers.show,
    "What changed": changes.show,
    "Counts": counts.show,
    "Memory": memory.show,
    "Budget": budget.show,
    "Export": export.show,
}

spec = sidebar.current()
result = cached.layers(spec)
preset = sidebar.preset()
differing = ", ".join(f"{field} = {getattr(spec, field)}" for field in spec.differences(PRESETS[preset]))
twin = spec.nearest_preset()
# What files are called
name = next((known for known in (preset, twin) if spec == PRESETS[known]), f"{preset}_variant")


def badge() -> str:
    """Whether this is a library's network."""
    like = cached.likeness(spec, preset)
    theirs = f"{like.library}.{like.name}"
    if len(like.fields) > 3:
        return f":gray[:material/difference: In no library; the nearest is {theirs}]"
    if like.fields:
        return f":gray[:material/difference: Differs from {theirs}: {', '.join(like.fields)}]"
    fit = cached.fit(spec, like)
    loads = "state_dict loads" if fit.loads else "its tensors have other names"
    return f":green[:material/check_circle: Equals {theirs}: {exact(fit.params)} parameters, {loads}]"


st.header("Build", anchor=False)
with st.container(horizontal=True, vertical_alignment="center"):
    st.caption(
        f"**{preset}**"
        + (f" with {plain(differing)}" if differing else "")
        + (f" · the same net as {twin}" if differing and spec == PRESETS[twin] else "")
        + " · the link in the address bar holds this net",
        width="stretch",
    )
    st.caption(badge(), width="content")

row = st.container(horizontal=True, horizontal_alignment="distribute", gap="xsmall")


def headline(label: str, value: int | str, below: str, about: str) -> None:
    """One number of the first row, short, and in full below."""
    row.metric(label, value, below, delta_color="off", delta_arrow="off", width=150, help=about)


headline(
    "Depth",
    spec.depth,
    f"{exact(result.totals.layers)} operators",
    "Convolutions and linear layers on the main path, as the papers count: no projections, no gates, no attention. A "
    "deep stem counts three, so ResNet-50-D has 52.",
)
headline(
    "Parameters",
    short(result.totals.params),
    exact(result.totals.params),
    "Weights and biases, both of each batch norm included; running statistics are not counted.",
)
headline(
    "MACs",
    short(result.totals.macs),
    exact(result.totals.macs),
    "Multiply-accumulates for one image, in convolutions and linear layers. FLOPs are twice as many; the 2015 paper "
    "calls these FLOPs.",
)
headline(
    "Activation memory",
    short(result.totals.activation_bytes, "B"),
    f"{exact(result.totals.activation_bytes)} bytes",
    "The outputs of all layers for one image at float32, each kept. Views take none. What a training step really holds "
    "is in the section Memory.",
)
headline(
    "Receptive field",
    "unknown" if result.field is None else f"{exact(result.field)} px",
    "and the whole image" if result.global_context else "before the global pool",
    "Side of the square of input pixels that one unit of the last feature map depends on. With the stride on the 3x3 "
    "ResNet-50 has 427, on the 1x1 483. Where attention or group norm look at the whole map besides, it says so.",
)

section = st.segmented_control(
    "Section",
    list(SECTIONS),
    default="Diagram",
    required=True,
    key="section",
    label_visibility="collapsed",
    persist_state="session",
    help="What to see of this net. Only what is shown is computed.",
)
SECTIONS[section](spec, name)
