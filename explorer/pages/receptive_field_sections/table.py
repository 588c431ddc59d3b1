"""Every number of one network's fields."""

from typing import Any

import streamlit as st

from explorer.analysis.field_stories import readable_fields, wide_fields
from explorer.analysis.layers import select_layers
from explorer.export.tables import csv
from explorer.figures.theme import exact
from explorer.pages import parts
from explorer.pages.edge import plain
from explorer.pages.receptive_field_sections import depth
from explorer.pages.receptive_field_sections.seen import Seen, one


def show(seen: Seen) -> None:
    """A row an operator, and below it the numbers of the one clicked."""
    name = one(seen)
    profile = seen.profiles[name]
    search, kinds, stages = st.columns([2, 1, 1])
    text = search.text_input(
        "Search",
        key="field_search",
        persist_state="session",
        placeholder="layer3.0 or conv2",
        help="Part of a layer's name; upper or lower case.",
    )
    kind_choice = kinds.multiselect(
        "Kind",
        list(dict.fromkeys(profile.table["kind"])),
        key=f"field_kinds {name}",
        persist_state="session",
        wrap=True,
        help="Only layers of these kinds; none means all.",
    )
    stage_choice = stages.multiselect(
        "Stage",
        list(dict.fromkeys(profile.table["stage"])),
        key=f"field_stages {name}",
        persist_state="session",
        wrap=True,
        help="Only layers of these stages; none means all.",
    )
    selected = select_layers(profile.table, text, kind_choice, stage_choice)
    st.caption(
        f"{exact(len(selected))} of {exact(len(profile.table))} layers with a local field; "
        f"{exact(len(profile.graph) - len(profile.table))} more see the whole image, or are no map. Image "
        f"{profile.image[0]} x {profile.image[1]} px. Click at the left of a row to read it below."
    )
    if selected.empty:
        st.info("No layer is like that; take away a filter or shorten the search.", icon=":material/search_off:")
        return
    rows = parts.table(
        readable_fields(selected),
        f"field_table {name} {seen.image_size} {text} {kind_choice} {stage_choice}",  # a selection stays with its key
        height=420,
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [len(selected) - 1]}},
        column_config={**parts.COLUMNS, **_COLUMNS},
    ).selection.rows
    parts.download(
        "Fields as CSV",
        csv,
        wide_fields(selected),
        "receptive_field_table.csv",
        "text/csv",
        "The rows above; height and width in columns of their own.",
    )
    if rows and rows[0] < len(selected):
        clicked = selected.iloc[rows]
        _numbers(readable_fields(clicked).iloc[0], clicked.iloc[0]["centre"])


def _numbers(row: Any, centre: tuple[float, float]) -> None:
    """One row of the table in words."""
    st.markdown(f"**{plain(row['name'])}** · {row['kind']}, stage {plain(row['stage'])}, depth {row['depth']}")
    middle = f"{centre[0]:g}, {centre[1]:g} px"
    with st.container(horizontal=True):
        for label, value, about in (
            ("Size", f"{row['size']} px", "Side of the box of pixels that a unit depends on."),
            (
                "Stride",
                f"{row['stride']} px",
                "How far apart neighbouring units look; on average, where windows are not even.",
            ),
            ("Start", f"{_number(row['start'])} px", "Centre of unit 0, in pixels from 0."),
            ("Middle unit at", middle, "Row and column at which the box of the unit in the middle is centred, from 0."),
            ("Holes", f"{row['holes']}", "Rows or columns in the box that the unit does not see."),
            ("Inside the image", f"{row['inside']} px", "Of the middle unit's box; the rest looks at padding."),
            ("Image in the box", f"{row['covers']:.1%}", "Part of the image's area that the middle unit's box covers."),
            ("Aligned", _yes(row["aligned"]), "Whether the paths are centred on one pixel wherever they meet."),
            ("Global context", _yes(row["global_context"]), "Whether it depends on the whole image besides."),
        ):
            st.metric(label, value, width=165, help=about)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _yes(value: object) -> str:
    return "yes" if value else "no"


_SIDES = "One number where height and width are alike, else height x width."
_COLUMNS = {
    **depth.COLUMNS,
    "units": st.column_config.Column(help=f"Of the layer's map. {_SIDES}"),
    "size": st.column_config.Column("size, px", help=f"The box of pixels that a unit can depend on. {_SIDES}"),
    "stride": st.column_config.Column("stride, px", help=f"How far apart neighbouring units look. {_SIDES}"),
    "start": st.column_config.Column("start, px", help=f"The centre of unit 0, from pixel 0 on. {_SIDES}"),
    "padding": st.column_config.Column("padding, px", help=f"How far unit 0 looks beyond the image's edge. {_SIDES}"),
    "holes": st.column_config.Column(help=f"Rows and columns in the box that a unit does not see. {_SIDES}"),
    "even": st.column_config.CheckboxColumn(
        help="Whether all units see as much, at even steps. Behind an enlarged map they do not: size and holes are "
        "then the most of any unit, start and padding those of unit 0, and the stride is the mean."
    ),
    "centre": st.column_config.Column(
        "centre, px", help=f"Row and column that the box of the unit in the middle is centred on. {_SIDES}"
    ),
    "inside": st.column_config.Column(
        "inside, px", help=f"Rows and columns of the image in the box of the unit in the middle. {_SIDES}"
    ),
    "paths": st.column_config.TextColumn(help="How many ways lead from the image to here; the CSV has every digit."),
}
