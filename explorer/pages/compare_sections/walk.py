"""Two networks layer by layer, and the arithmetic of the one clicked."""

import streamlit as st

from explorer.analysis.arithmetic import written_out
from explorer.analysis.comparison import aligned, first_shared, layer_at, walked_table
from explorer.analysis.layers import Layer
from explorer.export.tables import csv
from explorer.figures.comparison import resolution_chart
from explorer.figures.theme import config
from explorer.pages import parts
from explorer.pages.compare_sections.compared import Compared
from explorer.pages.edge import plain


def show(compared: Compared) -> None:
    """Both networks' layers side by side where their maps are alike; below, a layer's formulas with its numbers."""
    found = compared.profiles
    names = list(found)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    left, right = (
        row.selectbox(label, names, key=_one_of(names, place, label), persist_state="session", help=about)
        for place, (label, about) in enumerate(
            (("Left", "The network in the left columns."), ("Right", "The network in the right columns."))
        )
    )
    every = row.toggle(
        "Every operator",
        key="walk_every",
        persist_state="session",
        help="Norms, activations, sums and the rest too, not only convolutions, pools and linear layers.",
    )
    ours, theirs = found[left], found[right]
    st.plotly_chart(
        resolution_chart({left: ours, right: theirs}),
        key="walk_chart",
        config=config("compare_resolution"),
        alt=f"The height of the maps of {left} and {right} by depth; the table below has every shape",
    )
    pairs = aligned(ours, theirs, every=every)
    content = walked_table(pairs, ours, theirs)
    chosen = parts.table(
        content,
        f"walk_table {left} {right} {every} {compared.image_size}",  # a selection stays with its key
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [first_shared(pairs)]}},
        column_config=_columns(left, right),
    ).selection.rows
    parts.download(
        "Layer by layer as CSV", csv, content, "compare_layers.csv", "text/csv", "The table above, for a spreadsheet."
    )
    st.caption(
        "Layers stand side by side where their maps are the same part of the image, to the nearest power of two. Click "
        "at the left of a row to read the arithmetic of both its layers."
    )
    if not chosen or chosen[0] >= len(pairs):
        return
    pair = pairs[chosen[0]]
    for column, name, profile, place in zip(
        st.columns(2), (left, right), (ours, theirs), (pair.left, pair.right), strict=True
    ):
        with column:
            if place is None:
                st.caption(f"{plain(name)} has no more layers at this scale.")
            else:
                _formulas(name, layer_at(profile, place))


def _one_of(names: list[str], place: int, label: str) -> str:
    """The key of the choice, which keeps its network while that is on the page."""
    key = f"walk_{label.lower()}"
    if st.session_state.get(key) not in names:
        st.session_state[key] = names[min(place, len(names) - 1)]
    return key


def _formulas(name: str, layer: Layer) -> None:
    """The arithmetic of one layer."""
    st.markdown(f"**{plain(name)} · {plain(layer.name)}** ({layer.kind})")
    for what, line in written_out(layer).items():
        st.markdown(f"{what}: {plain(line)}")


def _columns(left: str, right: str) -> dict[str, object]:
    columns: dict[str, object] = {
        "scale": st.column_config.TextColumn(
            help="Side of the layer's map as a part of the image's.", pinned=True, width=55
        )
    }
    for side, name in (("left", left), ("right", right)):
        for column, title, width, about in (
            ("layer", name, 140, f"The layer's name in {name}."),
            ("window", "window", 85, "Height x width of the window, its stride behind the stroke, its groups."),
            ("output_shape", "output", 95, "Mostly channels x height x width; some put channels last."),
        ):
            columns[f"{side}_{column}"] = st.column_config.TextColumn(title, help=about, width=width)
        for column, title, width, about in (
            ("params", "params", 95, "Weights and biases."),
            ("macs", "MACs", 115, "Multiply-accumulates for one image."),
            ("activation_bytes", "memory, B", 95, "Bytes of the output at float32, for one image; a view takes none."),
        ):
            columns[f"{side}_{column}"] = st.column_config.NumberColumn(
                title, format="localized", help=about, width=width
            )
    return columns
