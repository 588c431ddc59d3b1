"""The network as a picture, on the Build page."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.analysis.outline import Outline, outline
from explorer.figures.diagram import block_diagram, openable, place_of, toggled, volume_chart
from explorer.figures.theme import config
from explorer.pages import cached, edge
from explorer.spec import ResNetSpec

_OPEN = "diagram_open"  # in the session: a key of `openable`, or "" where everything is closed
_CLICKS = "diagram_clicks"
_WIDTH = 640  # pixels, or the page's width where that is less

# Plotly takes every touch that begins on a chart with selections for itself: a telephone would not scroll past a tall
# picture, and a tap would choose the box of the tap before it (plotly.js issue 6898 is alike). So on touch screens the
# picture lets touches through, and "Open" is there to choose. Full screen would press a tall picture into its height.
_STYLE = """<style>
@media (pointer: coarse) {.st-key-diagram .nsewdrag {pointer-events: none !important}}
.st-key-diagram [data-title="Fullscreen"] {display: none}
</style>"""


@st.fragment
def show(spec: ResNetSpec, name: str) -> None:
    """The picture of a net, with what there is to choose about it; a click in it runs nothing else of the page.

    Args:
        spec: the net.
        name: for the file that the picture is saved as.
    """
    with edge.sentences():
        network = outline(cached.layers(spec).table)
        st.html(_STYLE)
        row = st.container(horizontal=True, width=_WIDTH)
        view = row.segmented_control(
            "Picture",
            ("Blocks", "Volumes"),
            default="Blocks",
            key="diagram_view",
            required=True,
            persist_state="session",
            help="Blocks: what the net is made of and where its shortcuts are. Volumes: the feature maps to scale.",
        )
        if view == "Blocks":
            _blocks(network, name, row)
        else:
            _volumes(network, name)


def _blocks(network: Outline, name: str, row: DeltaGenerator) -> None:
    names = {"": "nothing", **openable(network)}
    opened = st.session_state.get(_OPEN, "")
    if opened not in names:  # of another net
        stage, _ = place_of(opened)
        st.session_state[_OPEN] = f"stage:{stage}" if f"stage:{stage}" in names else ""
    opened = row.selectbox(
        "Open",
        names,
        format_func=lambda key: names.get(key, key),
        key=_OPEN,
        persist_state="session",
        help="A stage shows its blocks, a block its layers. With a mouse, a click on a blue box does the same, and a "
        "second one closes it.",
    )
    # A key of its own after each click: Streamlit keeps a selection with its chart, so that a second click on the same
    # box would only take the first one back.
    key = f"diagram_{st.session_state.get(_CLICKS, 0)}"
    place = st.container(key="diagram", width=_WIDTH)
    place.plotly_chart(
        block_diagram(network, *place_of(opened)),
        key=key,
        on_select=lambda: _clicked(key),
        selection_mode="points",
        config=config(f"{name}_blocks"),
        alt=f"{name} from top to bottom: stem, {len(network.stages)} stages, head; its numbers are in section Layers",
    )
    place.caption(
        "Output shape: channels x height x width. An arc is the shortcut past one block, and x3 says that three blocks "
        "have one each. The camera in the picture's corner saves it as SVG."
    )


def _volumes(network: Outline, name: str) -> None:
    place = st.container(width=400)
    place.plotly_chart(
        volume_chart(network),
        key="diagram_volumes",
        config=config(f"{name}_volumes"),
        alt=f"The feature maps of {name} as solids to scale; their shapes are in the section Layers",
    )
    place.caption("The camera in the picture's corner saves it as SVG.")


def _clicked(key: str) -> None:
    """Open what was clicked on; close it where it is open."""
    points = st.session_state[key].selection.points
    st.session_state[_CLICKS] = st.session_state.get(_CLICKS, 0) + 1
    if points and (clicked := points[0].get("customdata")):
        st.session_state[_OPEN] = toggled(st.session_state.get(_OPEN, ""), clicked)
