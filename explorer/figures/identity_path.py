"""What each block does to the gradient: by which way it comes, and what the blocks make of it together."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import OTHER_COLOUR, SERIES_COLOURS, layout, logarithmic
from explorer.spec import ResNetSpec

_WAYS = {  # column: name on screen, colour
    "shortcut": ("through the shortcut", SERIES_COLOURS[0]),
    "branch": ("through the main branch", SERIES_COLOURS[4]),
    "gate": ("through the gate's weights", SERIES_COLOURS[2]),
}
_LOOKS = ((SERIES_COLOURS[0], "solid"), (SERIES_COLOURS[1], "dash"))  # of the net and of the one beside it
_BEHIND_THE_SUM = {"original": "The activation", "bn_after_add": "The norm with its activation"}


def chain_chart(tables: Mapping[str, pd.DataFrame], block: int) -> go.Figure:
    """Above, for each block of the first net, which part of the gradient in front of it came by which way; below, what
    all blocks from the last to each make of the gradient's norm, a line a net, on a logarithmic axis.

    A product that is exactly zero stands at the axis's lower edge with a sign of its own.

    Args:
        tables: one or two of `identity_path`, by the nets' names; the one whose ways are shown comes first.
        block: the number of the one to point at.
    """
    first = next(iter(tables.values()))
    traces: list[Any] = [_bars(first, way) for way in _WAYS if first[f"{way}_share"].notna().any()]
    low, high = _edges(tables)
    for (net, table), (colour, dash) in zip(tables.items(), _LOOKS, strict=False):
        traces += _product(net, table, colour, dash, low)
    figure = go.Figure(
        traces,
        layout(
            560,
            "The gradient on its way back",
            barmode="relative",
            bargap=0.1,
            legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
            xaxis={
                "title": {"text": "block, from the input"},
                "range": [0.4, len(first) + 0.6],
                "anchor": "y2",
                **({"dtick": 1} if len(first) <= 12 else {}),
            },
            yaxis={"title": {"text": "part of the gradient"}, "domain": [0.56, 1], "tickformat": ".0%"},
            yaxis2={
                "title": {"text": "norm / last block's"},
                "domain": [0, 0.46],
                **logarithmic(low, high),
            },
        ),
    )
    figure.add_shape(
        type="line", x0=0, x1=1, xref="paper", y0=1, y1=1, yref="y2", line={"color": OTHER_COLOUR, "width": 1}
    )
    return figure.add_shape(
        type="line",
        x0=block,
        x1=block,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": OTHER_COLOUR, "width": 1, "dash": "dot"},
    )


def _bars(table: pd.DataFrame, way: str) -> go.Bar:
    name, colour = _WAYS[way]
    return go.Bar(
        x=table["index"],
        y=table[f"{way}_share"],
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        customdata=table["name"],
        hovertemplate="%{customdata}: %{y:.1%} " + name + "<extra></extra>",
    )


def _product(net: str, table: pd.DataFrame, colour: str, dash: str, low: float) -> list[go.Scatter]:
    line = go.Scatter(
        x=table["index"],
        y=[value if value > 0 else None for value in table["product"]],
        name=f"{net}, all blocks from the last",
        yaxis="y2",
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 4},
        customdata=[
            f"{net}, {name}: {product:.3g} times the norm behind the last block, factor {factor:.3g}"
            for name, product, factor in zip(table["name"], table["product"], table["factor"], strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    gone = table[table["product"] == 0]
    if gone.empty:
        return [line]
    sign = go.Scatter(
        x=gone["index"],
        y=[low] * len(gone),
        name=f"{net}: exactly 0 in this number format",
        yaxis="y2",
        mode="markers",
        cliponaxis=False,
        marker={"symbol": "x", "size": 9, "color": colour},
        hovertemplate="block %{x}: exactly 0<extra></extra>",
    )
    return [line, sign]


def _edges(tables: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """Around all products above 0, and 1; with room."""
    drawn = [1.0, *(value for table in tables.values() for value in table["product"] if value > 0)]
    return min(drawn) / 2, max(drawn) * 2


def worked(row: Mapping[Any, Any], spec: ResNetSpec) -> str:
    """One block in numbers, from the measured row: what arrives, which way it goes on, and what that makes.

    Args:
        row: of `identity_path`.
        spec: of its net.

    >>> row = {"behind": 0.83, "shortcut": 0.83, "branch": 0.21, "gate": math.nan, "angle": 88.0}
    >>> text = worked(row | {"in_front": 0.863, "factor": 1.04}, ResNetSpec(activation_order="preact"))
    >>> text.split(". ")[1]
    'The shortcut carries 0.83 and the main branch 0.21, at an angle of 88.0°'
    """
    said = [f"A gradient of norm {row['behind']:.3g} arrives behind it."]
    if spec.activation_order in _BEHIND_THE_SUM:
        place = "behind the sum" if spec.residual else "at its end"
        said.append(f"{_BEHIND_THE_SUM[spec.activation_order]} {place} lets {row['at_sum']:.3g} of that through.")
    if not spec.residual:
        said.append("There is no shortcut: all of it goes through the layers,")
        said.append(f"which make it {row['in_front']:.3g} in front of the block: factor {row['factor']:.3g}.")
        return " ".join(said)
    ways = f"The shortcut carries {row['shortcut']:.3g} and the main branch {row['branch']:.3g}"
    said.append(ways + ("." if math.isnan(row["angle"]) else f", at an angle of {row['angle']:.1f}°."))
    if not math.isnan(row["gate"]):
        said.append(f"The gate's own look at the input adds {row['gate']:.3g}.")
    said.append(f"Together they are {row['in_front']:.3g} in front of it: factor {row['factor']:.3g}.")
    return " ".join(said)
