"""Unproductive layers and the image sizes at which a network is well used."""

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

from explorer.analysis.productivity import STATUSES, Rule, Use, layer_rows, use_by_size, use_table, uses
from explorer.export.tables import csv
from explorer.figures.productivity import share_chart, use_chart
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import cached, parts, runs
from explorer.pages.edge import plain
from explorer.pages.receptive_field_sections.seen import Seen, one

SIDES = (None, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512, 640, 768, 1024)
_RANGE = (16, 1024)  # pixels, of the chart against the image's size
_RULES: dict[Rule, str] = {"shortest": "shortest path", "longest": "all paths"}
_SHARES = {"params": "parameters", "layers": "layers"}

INTRO = """
A convolution combines neighbouring places of the map that comes in. Where each of these has seen the whole image
already, it can add no context. Richter et al. (2021, arXiv 2102.01582 and 2106.12307) trained networks, fitted a small
classifier (a probe) to what each layer gives, looked at the layers' saturation, and report that such layers do not
improve the accuracy: they call them unproductive. This page **predicts** them as the authors do, from receptive fields
alone. Nothing here is trained or measured.
"""
NOTE = """
**Unproductive**: by the shortest path the field of the layer's input is at least as large as the image, and its own is
larger. **Critical**: only its own is larger; it is this layer that goes beyond the image. **Partly**: the image is
covered by other paths than the shortest, or along one axis only. **Productive**: none of these. The rules are those of
the authors' rfa_toolbox 1.7.0 (its "border layers"; "partly" is ours). It marks a layer also where the window is at
least as large as the map that comes in; here these are counted apart, as small maps. A squeeze-and-excitation gate sees
the whole image, yet leaves the fields as they are, in the toolbox too unless it is told otherwise; what stands in the
gate or behind a global pool is in no class. Dilation widens a field here, and does not in the toolbox.

**Useful sizes**, of square images: from the smallest at which no layer is unproductive, to the largest that some field
is as large as. Below, layers are predicted to be idle; above, no unit before the head can see a pattern as large as the
image.

**The authors' example**, in the toolbox's README: for ImageNet at 16 px they cut ResNet-18's later blocks off and put a
3x3 kernel first; it then takes about 80% less computing and reaches 18% instead of 17%.

**No proof.** A layer without new context can still combine channels. Where there are shortcuts, a layer sums paths of
many fields, and the shortest decides by the authors' choice; by all paths together many more layers would be
unproductive at a network's usual size, and these networks work. A real field is smaller than the theoretical one (Luo
et al. 2016, arXiv 1701.04128).
"""

_COLUMNS: dict[str, Any] = {
    **parts.COLUMNS,
    "image": st.column_config.TextColumn("image, px", help="Height x width of the image that the row tells of."),
    "fit": st.column_config.TextColumn(
        help="below: some layer is unproductive. above: no field is as large as the image. within: neither."
    ),
    "layers": st.column_config.NumberColumn(
        help="Convolutions, and linear layers that work pixel by pixel; none in gates and behind the global pool."
    ),
    "productive": st.column_config.NumberColumn(help="Layers with room to add context."),
    "partly": st.column_config.NumberColumn(
        help="Layers whose input has seen the whole image by some path but not by the shortest, or along one axis."
    ),
    "critical": st.column_config.NumberColumn(
        help="Layers whose own field goes beyond the image, but not the input's."
    ),
    "unproductive": st.column_config.NumberColumn(help="Layers whose input has seen the whole image by every path."),
    "border": st.column_config.TextColumn(
        "border layer", help="The first unproductive layer. In a chain all that follow are unproductive too."
    ),
    "small_maps": st.column_config.NumberColumn(
        "small maps", help="Layers whose window is at least as large as the map that comes in."
    ),
    **{
        f"{column}_{status}": st.column_config.NumberColumn(
            f"{name}, {status}", format="percent", help=f"The share of these layers' {name} in layers of this kind."
        )
        for column, name in (("params", "params"), ("macs", "MACs"))
        for status in STATUSES
    },
    "least": st.column_config.NumberColumn(
        "from, px", help="The smallest side of a square image at which no layer is unproductive."
    ),
    "most": st.column_config.NumberColumn(
        "to, px", help="The largest side of a square image that some field is as large as."
    ),
    "least_longest": st.column_config.NumberColumn(
        "from, by all paths", help="The smallest side were fields taken by all paths together, not by the shortest."
    ),
    "shortest": st.column_config.TextColumn(
        "input, shortest path", help="Field of its input by the shortest path, in pixels."
    ),
    "longest": st.column_config.TextColumn("input, all paths", help="Field of its input by all paths, in pixels."),
    "shortest_behind": st.column_config.TextColumn(
        "own, shortest path", help="Its own field by the shortest path, in pixels."
    ),
    "longest_behind": st.column_config.TextColumn("own, all paths", help="Its own field by all paths, in pixels."),
    "status": st.column_config.TextColumn(help="As the text at the end of the page has it."),
    "small_map": st.column_config.CheckboxColumn(
        "small map", help="Whether its window is at least as large as the map that comes in."
    ),
}


def show(seen: Seen) -> None:
    """Of all networks how many layers are unproductive, against the image's size too; of one, each layer."""
    st.markdown(INTRO)
    side = st.select_slider(
        "On images of",
        SIDES,
        format_func=lambda side: "the size chosen above" if side is None else f"{side} px",
        key="use_side",
        persist_state="session",
        help="Side of a square image. The fields stay as they are; what they are compared with changes. At the size "
        "chosen above each network may have its own.",
    )
    make = cached.field_profiles()

    def following(progress: Progress) -> tuple[dict[str, Use], dict[str, str]]:
        return uses(seen.networks, seen.profiles, side, make, progress.report)

    question = (tuple(seen.networks.items()), tuple(seen.profiles), seen.image_size, side)
    outcome = runs.outcome("use_run", question, following, cached.counting_queue())
    if outcome is None:
        return
    found, refused = outcome
    for name, why in refused.items():
        if name not in found:
            st.warning(plain(f"{name} is left out: {why}"), icon=":material/block:")
    if not found:
        return
    _all(found, {name: why for name, why in refused.items() if name in found})
    _one(found, one(seen))
    st.markdown(NOTE)


def _all(found: Mapping[str, Use], without: Mapping[str, str]) -> None:
    """The table of all networks, and how much of each is used against the image's size."""
    content = use_table(found)
    parts.table(content, "use_table", column_config=_COLUMNS)
    parts.download("Networks as CSV", csv, content, "field_use.csv", "text/csv", "The table above, for a spreadsheet.")
    if without:
        names = plain(", ".join(without))
        with st.expander(f"Images of this size do not go through {names}", icon=":material/info:"):
            st.markdown("\n".join(f"- {plain(f'{name}: {why}')}" for name, why in without.items()))
            st.caption("Their fields are compared with the image all the same; multiply-accumulates are not known.")
    row = st.container(horizontal=True)
    what = row.segmented_control(
        "Share of",
        list(_SHARES),
        default="params",
        required=True,
        format_func=_SHARES.__getitem__,
        key="use_share",
        persist_state="session",
        help="Of the layers in the table, or of their parameters.",
    )
    rule = row.segmented_control(
        "Fields by",
        get_args(Rule),
        default="shortest",
        required=True,
        format_func=_RULES.__getitem__,
        key="use_rule",
        persist_state="session",
        help="The shortest path decides by the authors' rule. By all paths together every shortcut is forgotten.",
    )
    steps = use_by_size(found, _RANGE)
    st.plotly_chart(
        share_chart(steps, what, rule),
        key="use_sizes",
        config=config("field_use_by_size"),
        alt=f"The share of the {_SHARES[what]} of {', '.join(found)} that is not unproductive, against the image's "
        f"size; the CSV below has the numbers",
    )
    parts.download(
        "By image size as CSV", csv, steps, "field_use_by_size.csv", "text/csv", "A row a network and step of its line."
    )
    st.caption("Square images of 16 to 1,024 px; a dot is the image that the table tells of, by its longer side.")


def _one(found: Mapping[str, Use], name: str) -> None:
    """One network, layer by layer."""
    if name not in found:
        return
    used = found[name]
    content = use_table({name: used}).iloc[0]
    row = st.container(horizontal=True)
    row.metric(
        "Unproductive layers",
        f"{content['unproductive']} of {content['layers']}",
        width=200,
        help=f"On images of {content['image']} px.",
    )
    row.metric(
        "Their parameters",
        f"{content['params_unproductive']:.1%}",
        width=200,
        help="Of the parameters of the layers in the chart; linear layers behind the global pool are not among them.",
    )
    row.metric(
        "Their MACs",
        "unknown" if content["macs_unproductive"] is None else f"{content['macs_unproductive']:.1%}",
        width=200,
        help="Of the multiply-accumulates of the layers in the chart, for one image of this size.",
    )
    row.metric(
        "Useful sizes",
        f"{used.least} to {used.most} px",
        width=230,
        help="Sides of square images at which no layer is unproductive and some field is as large as the image.",
    )
    st.plotly_chart(
        use_chart(used),
        key="use_layers",
        config=config(f"{name}_use"),
        alt=f"The field of the input of each layer of {name} beside the image of {content['image']} px; the table "
        f"below has the numbers",
    )
    st.caption(
        "A mark stands at the field that decides: that of the shortest path, for partly that of all paths together."
    )
    layers = layer_rows(used)
    parts.table(layers, "use_layers_table", column_config=_COLUMNS)
    parts.download("Layers as CSV", csv, layers, f"{name}_use.csv", "text/csv", "The table above, for a spreadsheet.")
