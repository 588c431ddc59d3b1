"""How far a map can be believed: deletion and insertion, and the map as the network's weights are drawn anew."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from explorer.attribution import Attribution
from explorer.attribution.measures import Order
from explorer.figures.overlay import Look, overlay
from explorer.figures.theme import ACCENT, OTHER_COLOUR, SERIES_COLOURS, layout

_KINDS = {"deletion": ("Deletion", SERIES_COLOURS[1]), "insertion": ("Insertion", SERIES_COLOURS[0])}


def order_chart(order: Order, quantity: str) -> go.Figure:
    """What the score does as pixels go or come: in the order of the map a line, in random ones dots in a band.

    The dotted line is the mean of the random orders, the band goes from the lowest to the highest. The legend holds the
    areas below the lines.

    Args:
        order: from `explorer.attribution.assess`.
        quantity: what the curves are of, for the axis, from `explorer.attribution.measures.followed`.
    """
    curves = order.curves
    x = list(curves["part"])
    traces: list[go.Scatter] = []
    for kind, (title, colour) in _KINDS.items():
        chance = f"{kind}_random"
        traces.append(
            go.Scatter(
                x=[*x, *x[::-1]],
                y=[*curves[f"{chance}_high"], *curves[f"{chance}_low"][::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=chance,
            )
        )
        for column, name, dash in ((kind, title, "solid"), (chance, f"{title} at random", "dot")):
            traces.append(
                go.Scatter(
                    x=x,
                    y=list(curves[column]),
                    name=f"{name}, area {getattr(order, column):.3f}",
                    legendgroup=column,
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 2.5 if dash == "solid" else 1.5},
                    hovertemplate=f"{name}, %{{x:.0%}}: %{{y:.4~g}}<extra></extra>",
                )
            )
    axes = {
        "xaxis": {"title": {"text": "part of the pixels that went, or came"}, "tickformat": ".0%", "zeroline": False},
        "yaxis": {"title": {"text": quantity}, "rangemode": "tozero"},
    }
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
    figure = go.Figure(traces, layout(420, "Deletion and insertion", legend=legend, **axes))
    return figure.update_layout(margin_r=28)  # for half of "100%"


def drawn_chart(table: pd.DataFrame) -> go.Figure:
    """A bar for each part of the network that was drawn anew: how like the trained net's map the map then is.

    Args:
        table: from `explorer.attribution.draw_anew`.
    """
    ranks = [float(rank) for rank in table["rank"]]
    lengths = [0.0 if math.isnan(rank) else rank for rank in ranks]
    bars = go.Bar(
        x=lengths,
        y=_names(table["part"]),
        orientation="h",
        marker_color=[OTHER_COLOUR, *[ACCENT] * (len(ranks) - 1)],
        text=["no number: one of the maps is flat" if math.isnan(rank) else f"{rank:.2f}" for rank in ranks],
        textposition="auto",
        cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    axes = {
        "xaxis": {"range": [min(0.0, *lengths), 1.0], "zeroline": True},
        "yaxis": {"autorange": "reversed", "automargin": True},
    }
    return go.Figure(bars, layout(70 + 34 * len(ranks), "Rank correlation", **axes))


def drawn_pictures(table: pd.DataFrame, attribution: Attribution, look: Look) -> list[tuple[str, Image.Image]]:
    """The map of the trained net and those of the nets that forgot more and more, each with what was drawn anew.

    Each has a scale of its own: the scores of a network with random weights are of another size.

    Args:
        table: from `explorer.attribution.draw_anew`.
        attribution: the map that was measured.
    """
    if not attribution.signed:  # the table holds sizes
        look = replace(look, absolute=True)
    titles = _names(table["part"])
    maps = [replace(attribution, channels=np.asarray(each, dtype=np.float32)[None]) for each in table["map"]]
    return [
        (title if number == 0 or math.isnan(rank) else f"{title}: {rank:.2f}", overlay(each, look))
        for number, (title, rank, each) in enumerate(zip(titles, table["rank"], maps, strict=True))
    ]


def _names(parts: Iterable[str]) -> list[str]:
    """What was drawn anew: a part, and all that come after it in the network."""
    trained, *rest = parts
    return [trained, *(f"from {part} on" for part in rest)]
