"""Deeper or wider: the nets that meet one budget."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.analysis.layers import Totals
from explorer.figures.theme import ACCENT, exact, layout, short
from explorer.spec import ResNetSpec

_LARGEST = 22  # px across the point of the net with the most activation memory
_CURRENT_COLOUR = "#D55E00"  # as far from ACCENT as colours for everyone get
_DEPTH_TICKS, _WIDTH_TICKS = (
    [step * 10**power for power in range(5) for step in steps] for steps in ((1, 2, 5), (1, 2, 3, 5, 7))
)


def budget_chart(table: pd.DataFrame, current: ResNetSpec, totals: Totals) -> go.Figure:
    """A point a net, width against depth, both axes logarithmic; its area and its label are its activation memory.

    Args:
        table: from `budget_search`.
        current: the net that is marked among them, whatever it costs.
        totals: its counts.
    """
    rows = table.to_dict("records")
    nets = _points(
        [row["depth"] for row in rows],
        [row["width"] for row in rows],
        [_hover(row["depth"], row["width"], row["depths"], row) for row in rows],
        name="meets the budget",
        mode="markers+text",
        text=[short(row["activation_bytes"], "B") for row in rows],
        textposition="top right",
        cliponaxis=False,
        marker={
            "color": ACCENT,
            "size": [row["activation_bytes"] for row in rows],
            "sizemode": "area",
            "sizeref": max(table["activation_bytes"]) / _LARGEST**2,
            "line": {"width": 0},
            "opacity": 1,
        },
    )
    own = {"params": totals.params, "macs": totals.macs, "activation_bytes": totals.activation_bytes}
    mark = _points(
        [current.depth],
        [current.width],
        ["This net: " + _hover(current.depth, current.width, ", ".join(map(str, current.depths)), own)],
        name="this net",
        mode="markers",
        marker={"color": _CURRENT_COLOUR, "symbol": "diamond-open", "size": 26, "line": {"width": 2.5}},
    )
    return go.Figure(
        [nets, mark],
        layout(
            420,
            "Width against depth",
            margin={"l": 8, "r": 60, "t": 40, "b": 8},  # the last label stands beside the axes
            legend={"orientation": "h", "y": -0.2, "x": 0},
            xaxis={"type": "log", "tickvals": _DEPTH_TICKS, "tickangle": 0, "title": {"text": "depth, layers"}},
            yaxis={"type": "log", "tickvals": _WIDTH_TICKS, "title": {"text": "width, channels"}},
        ),
    )


def _points(depths: list[int], widths: list[int], hover: list[str], **more: Any) -> go.Scatter:
    return go.Scatter(x=depths, y=widths, hovertext=hover, hovertemplate="%{hovertext}<extra></extra>", **more)


def _hover(depth: int, width: int, blocks: str, counts: Mapping[Any, Any]) -> str:
    """All of a net's numbers; as text, since a browser would round those beyond 2^53."""
    lines = [
        f"{exact(depth)} layers (blocks {blocks}), width {exact(width)}",
        f"{exact(counts['params'])} parameters",
        f"{exact(counts['macs'])} MACs",
        f"{exact(counts['activation_bytes'])} bytes of activations",
    ]
    if "difference" in counts:
        lines.append(f"{counts['difference']:+.2f}% of the budget")
    return "<br>".join(lines)
