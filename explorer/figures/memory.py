"""What the memory of a training step is for."""

from collections.abc import Mapping

import plotly.graph_objects as go

from explorer.figures.theme import ACCENT, exact, layout, short


def memory_chart(sizes: Mapping[str, int], title: str) -> go.Figure:
    """A bar for each size in bytes, the first on top, with its number at the end; so a small one can be read too.

    Args:
        sizes: bytes by what they are for, as `TrainingMemory.parts` gives them.
        title: a short one.
    """
    bars = go.Bar(
        x=list(sizes.values()),
        y=list(sizes),
        orientation="h",
        marker={"color": ACCENT},
        text=[short(size, "B") for size in sizes.values()],
        textposition="outside",
        cliponaxis=False,
        customdata=[exact(size) for size in sizes.values()],
        hovertemplate="%{y}: %{customdata} bytes<extra></extra>",
    )
    room = 1.3 * max(sizes.values())  # the longest bar's number stands behind it
    axes = {
        "xaxis": {"range": [0, room], "tickformat": "~s", "ticksuffix": "B", "nticks": 5},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
    }
    return go.Figure(bars, layout(320, title, **axes))
