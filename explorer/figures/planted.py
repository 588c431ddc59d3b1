"""Planted evidence: how often methods point at it, and what their maps of the pictures look like."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageDraw

from explorer.attribution import Attribution
from explorer.attribution.planted import SIGN
from explorer.figures.overlay import Look, overlay
from explorer.figures.theme import ACCENT, OTHER_COLOUR, SERIES_COLOURS, layout

_TIMES = 6

Corner = tuple[int, int]  # row and column


def pointing_chart(table: pd.DataFrame) -> go.Figure:
    """Bars a method: how often its map points at the sign that was asked for, and how often at the other.

    Args:
        table: of `explorer.attribution.planted.pointing`; its last row is chance, drawn as a line.
    """
    methods, chance = table[table["name"] != "chance"], float(table.loc[table["name"] == "chance", "pointed"].iloc[0])
    bars = [
        go.Bar(
            x=methods[column],
            y=methods["method"],
            orientation="h",
            name=name,
            marker_color=colour,
            hovertemplate="%{y}: %{x:.0%}<extra>" + name + "</extra>",
        )
        for column, name, colour in (("pointed", "The sign asked for", ACCENT), ("other", "The other", OTHER_COLOUR))
    ]
    return go.Figure(bars, _bars(len(methods), "Pointing accuracy", "part of the questions", [0, 1], chance, "chance"))


def same_chart(table: pd.DataFrame, title: str) -> go.Figure:
    """Bars a method: how alike its maps for two classes are.

    Args:
        table: with the columns `method` and `same`, a correlation; rows without one are left out.
    """
    known = table[table["same"].notna()]
    bar = go.Bar(
        x=known["same"],
        y=known["method"],
        orientation="h",
        marker_color=SERIES_COLOURS[1],
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        showlegend=False,
    )
    ends = [min(-0.5, float(known["same"].min())), 1]
    return go.Figure(bar, _bars(len(known), title, "correlation of the maps", ends, 1.0, "the same map"))


def _bars(count: int, title: str, unit: str, ends: list[float], line: float, word: str) -> dict[str, Any]:
    mark = {
        "type": "line",
        "x0": line,
        "x1": line,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dot", "color": OTHER_COLOUR},
    }
    said = {"x": line, "y": 1, "yref": "paper", "text": word, "showarrow": False, "yanchor": "bottom"}
    if line == 1:
        said["xanchor"] = "right"
    axes: dict[str, Any] = {
        "xaxis": {"range": ends, "title": {"text": unit}},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "shapes": [mark],
        "annotations": [said],
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "margin": {"l": 8, "r": 8, "t": 60, "b": 8},
    }
    return layout(150 + 38 * count, title, **axes)


def pair(maps: Sequence[Attribution], corners: Sequence[Corner]) -> Image.Image:
    """The maps for both signs beside each other, six times as large, each with a frame around the sign asked for."""
    drawn = [overlay(found, Look(absolute=not found.signed), times=_TIMES) for found in maps]
    framed = [_frame(each, corner, "black") for each, corner in zip(drawn, corners, strict=True)]
    wide, high = framed[0].size
    both = Image.new("RGB", (2 * wide + _TIMES, high), "white")
    for place, each in enumerate(framed):
        both.paste(each, (place * (wide + _TIMES), 0))
    return both


def seen(image: Image.Image, corners: Sequence[Corner]) -> Image.Image:
    """The picture itself, six times as large, its signs framed in white."""
    drawn = image.resize((image.width * _TIMES, image.height * _TIMES), Image.Resampling.NEAREST)
    for corner in corners:
        drawn = _frame(drawn, corner, "white")
    return drawn


def _frame(drawn: Image.Image, corner: Corner, colour: str) -> Image.Image:
    top, left = (edge * _TIMES for edge in corner)
    box = (left - 2, top - 2, left + SIGN * _TIMES + 1, top + SIGN * _TIMES + 1)
    ImageDraw.Draw(drawn).rectangle(box, outline=colour, width=2)
    return drawn
