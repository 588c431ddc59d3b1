"""Small lessons, each with its own networks."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from explorer.analysis.field_stories import (
    Maker,
    Story,
    alignment,
    dilation,
    field_lines,
    plain_and_residual,
    stacked,
    stride_place,
)
from explorer.export.tables import csv
from explorer.figures.fields import cells_chart, field_depth_chart, stride_chart
from explorer.figures.theme import config
from explorer.pages import cached, parts
from explorer.pages.receptive_field_sections import depth
from explorer.pages.receptive_field_sections.seen import Seen


@dataclass(frozen=True)
class _Told:
    title: str
    make: Callable[[Maker], Story]
    text: str
    by_stride: bool = False  # where the networks have the same fields


_STORIES = {
    "stacked": _Told(
        "Stacked 3x3",
        lambda make: stacked(),
        """
One 3x3 sees 3 pixels, two see 5, three see 7: each one more adds 2. So two see what a 5x5 sees and three what a 7x7
does, with fewer parameters and more ReLUs between: with C channels 27 C² against 49 C² for the 7x7 (Simonyan &
Zisserman 2014, [arXiv 1409.1556](https://arxiv.org/abs/1409.1556), section 2.3). Here C is 64, without biases. To see
as much is not to be the same: the stack reaches the middle of its field over more paths than the edge.
""",
    ),
    "stride": _Told(
        "The stride's place",
        lambda make: stride_place(make),
        """
ResNet-50 halves the map in the first block of stages 2 to 4. As published (He et al. 2015,
[arXiv 1512.03385](https://arxiv.org/abs/1512.03385), v1 below) the 1x1 before the 3x3 strides; in torchvision and
since Goyal et al. 2017 ([arXiv 1706.02677](https://arxiv.org/abs/1706.02677)), v1.5, the 3x3 itself does. A 3x3 adds
twice the stride that it finds: behind a strided 1x1 it finds twice as much, and the difference grows by 8, 16 and 32
pixels, from 427 to 483. Same parameters, other field.
""",
    ),
    "dilation": _Told(
        "Dilation and holes",
        lambda make: dilation(make),
        """
Where the last stages dilate their convolutions instead of striding, the field stays at 427 px and the map keeps more
units: stride 16 or 8 in place of 32, at the price of more multiply-accumulates (Yu & Koltun 2015,
[arXiv 1511.07122](https://arxiv.org/abs/1511.07122); Chen et al. 2017,
[arXiv 1706.05587](https://arxiv.org/abs/1706.05587)). The box of a field may have holes, pixels that no path leads to:
a strided 1x1 leaves some, and so do dilations with a common factor. That is called gridding (Wang et al. 2017,
[arXiv 1702.08502](https://arxiv.org/abs/1702.08502)). Dilations of 1, 2, 3 leave none; nor does the dilated ResNet-50
leave any in the image, as its first layers are dense.
""",
        by_stride=True,
    ),
    "residual": _Told(
        "Plain and residual",
        lambda make: plain_and_residual(make),
        """
The shortcuts of ResNet-34 do not change the field of the last map: its longest path is the plain net's only one.
They add shorter ones, down to the stem's field alone; each of the 16 blocks is passed or skipped, which makes 2^16
paths (He et al. 2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385); Veit et al. 2016,
[arXiv 1605.06431](https://arxiv.org/abs/1605.06431)). How much each of them carries is for the weights to say.
""",
    ),
    "alignment": _Told(
        "Alignment",
        lambda make: alignment(make),
        """
Where branches meet, they may look at different places. A padded 3x3 of stride 2 and a 1x1 of stride 2 are centred on
the same pixels; the mean over 2x2 in the shortcut of ResNet-D is centred between two (He T. et al. 2018,
[arXiv 1812.01187](https://arxiv.org/abs/1812.01187), figure 2c). That is half a step of the map that comes in, and in
pixels of the image twice as much with each stage. The field of the sum is the box around both; Araujo et al. 2019
([doi 10.23915/distill.00021](https://doi.org/10.23915/distill.00021)) treat this as a question of alignment.
""",
    ),
}


def show(seen: Seen) -> None:
    """The chosen story; its networks are its own and can be put in the place of those above."""
    chosen = st.segmented_control(
        "Story",
        list(_STORIES),
        default="stacked",
        required=True,
        format_func=lambda name: _STORIES[name].title,
        key="field_story",
        persist_state="session",
        help="Each has networks of its own; those chosen above stay as they are.",
    )
    told = _STORIES[chosen]
    story = told.make(cached.field_profiles())
    st.markdown(told.text)
    if story.profiles:
        lines = field_lines(story.profiles)
        images = sorted({max(profile.image) for profile in story.profiles.values()})
        st.plotly_chart(
            stride_chart(lines, "depth", legend=True)
            if told.by_stride
            else field_depth_chart(lines, "depth", images, logarithmic=False, bands=True),
            key=f"field_story_chart {chosen}",
            config=config(f"receptive_field_{chosen}"),
            alt=f"{'Stride' if told.by_stride else 'Receptive field'} of {', '.join(story.profiles)} by depth, in "
            "pixels; the table has the numbers",
        )
    if story.cells:
        st.plotly_chart(
            cells_chart(story.cells),
            key=f"field_story_cells {chosen}",
            config=config(f"receptive_field_{chosen}_pixels"),
            alt="; ".join(f"{cells.name} sees the pixels {', '.join(map(str, cells.pixels))}" for cells in story.cells),
        )
    columns = {**parts.COLUMNS, **depth.COLUMNS, **_COLUMNS}
    parts.table(story.table, f"field_story_table {chosen}", column_config=columns)
    with st.container(horizontal=True):
        parts.download(
            "Story as CSV",
            csv,
            story.table,
            f"receptive_field_{chosen}.csv",
            "text/csv",
            "The table above, for a spreadsheet.",
        )
        if story.networks:
            st.button(
                "Put these networks on the page",
                on_click=_put,
                args=(story.networks,),
                icon=":material/swap_horiz:",
                help=f"{', '.join(story.networks)} in place of the networks chosen above, shown by depth.",
            )


def _put(names: tuple[str, ...]) -> None:
    st.session_state.nets = list(names)
    st.session_state.field = "depth"


_COLUMNS = {
    "design": st.column_config.TextColumn(help="What is compared."),
    "convolutions": st.column_config.NumberColumn(help="One behind the other."),
    "relus": st.column_config.NumberColumn("ReLUs", help="One behind each convolution."),
    **{
        f"{quantity}_{version}": st.column_config.NumberColumn(f"{title}, {shown}, px", help=about)
        for quantity, title, about in (
            ("jump", "stride", "Behind this layer, in pixels of the image."),
            ("receptive_field", "field", "Behind this layer, in pixels of the image."),
        )
        for version, shown in (("v1", "v1"), ("v15", "v1.5"))
    },
    "difference": st.column_config.NumberColumn("difference, px", help="The field of v1 less that of v1.5."),
    "units": st.column_config.NumberColumn(help="A side of the last map."),
    "holes": st.column_config.NumberColumn(help="Rows or columns in the box that a unit does not see."),
    "paths": st.column_config.TextColumn(help="Ways from the image to the last map."),
    "main_start": st.column_config.NumberColumn(
        "main branch, px", help="The centre of unit 0's field at the end of the main branch, in pixels from 0."
    ),
    "shortcut_start": st.column_config.NumberColumn("shortcut, px", help="The same at the end of the shortcut."),
    "apart": st.column_config.NumberColumn("apart, px", help="How far the two centres are from each other."),
}
