"""How much gradient reaches each place of a network."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import OTHER_COLOUR, SERIES_COLOURS, layout, logarithmic

_DASHES = ("solid", "dash", "dot")
# What the marks of the measurement look like and are called
_MARKS = {
    "subnormal": ("circle-open", "too small for all its digits"),
    "zero": ("x", "exactly 0 in this number format"),
    "not finite": ("triangle-up", "infinite or not a number"),
}


def gradient_chart(
    curves: pd.DataFrame,
    series: str,
    order: Sequence[str],
    title: str,
    *,
    across: str,
    names: bool = False,
    heads: Mapping[str, str] | None = None,
) -> go.Figure:
    """A line a series: gradient norm by depth on a logarithmic axis, with a band from least to greatest.

    What has no place on such an axis stands at its edge with a sign of its own: exactly zero at the lower, what is not
    finite at the upper.

    Args:
        curves: rows of `over_seeds`, with a column more that names their series.
        series: that column's name.
        order: all series there may be, at most eight; each has the colour and the dash of its place there.
        title: a short one.
        across: the title of the axis of depth.
        names: the axis shows the places' names instead of their numbers.
        heads: places at which a second classifier branches off, and what it is called.
    """
    low, high = _edges(curves)
    traces: list[go.Scatter] = []
    for name, rows in curves.groupby(series, sort=False):
        place = order.index(str(name))
        colour, dash = SERIES_COLOURS[place], _DASHES[place % len(_DASHES)]
        bounds = rows["gradient_low"], rows["gradient_high"]
        traces.append(filled(list(rows["index"]), *bounds, (low, high), colour))
        traces += [_line(str(name), rows, colour, dash), *_signs(rows, colour, low, high)]
    traces += _legend_of_signs(curves)
    x_axis: dict[str, Any] = {"title": {"text": across}, "range": [0.5, int(curves["index"].max()) + 0.5]}
    if names:
        places = curves.drop_duplicates("index")
        x_axis |= {"tickvals": list(places["index"]), "ticktext": list(places["name"]), "tickangle": -60}
    figure = go.Figure(
        traces,
        layout(
            440,
            title,
            # at the bottom of the whole figure: the axis below the lines is higher where it has names, or no room
            legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
            xaxis=x_axis,
            yaxis={**logarithmic(low, high), "title": {"text": "gradient norm"}},
        ),
    )
    for module, label in (heads or {}).items():
        at = int(curves.loc[curves["name"] == module, "index"].iloc[0])
        line = {"dash": "dot", "color": OTHER_COLOUR, "width": 1}
        figure.add_vline(at, line=line, annotation={"text": label, "yanchor": "top"})
    return figure


def _edges(curves: pd.DataFrame) -> tuple[float, float]:
    """The powers of ten around all that can be drawn, with room for the signs at the edges."""
    bounds = pd.concat([curves["gradient_low"], curves["gradient_norm"], curves["gradient_high"]])
    drawn = [value for value in bounds if 0 < value < math.inf] or [1.0]
    marks = set(curves["mark"])
    below, above = ("zero" in marks) + 0.2, ("not finite" in marks) + 0.2
    return 10 ** (math.log10(min(drawn)) - below), 10 ** (math.log10(max(drawn)) + above)


def filled(
    x: list[float], lower: Iterable[float], upper: Iterable[float], ends: tuple[float, float], colour: str
) -> go.Scatter:
    """What lies between two lines, both cut off at the ends of the axis."""
    low, high = ends
    below, above = ([min(max(value, low), high) for value in line] for line in (lower, upper))
    return go.Scatter(
        x=x + x[::-1],
        y=above + below[::-1],
        fill="toself",
        fillcolor=colour,
        opacity=0.2,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def _line(name: str, rows: pd.DataFrame, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=list(rows["index"]),
        y=[value if 0 < value < math.inf else None for value in rows["gradient_norm"]],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 4},
        customdata=_hover(name, rows),
        hovertemplate="%{customdata}<extra></extra>",
    )


def _signs(rows: pd.DataFrame, colour: str, low: float, high: float) -> list[go.Scatter]:
    """The marked places of a series, each mark with its sign."""
    signs = []
    for mark, (symbol, words) in _MARKS.items():
        marked = rows[rows["mark"] == mark]
        if len(marked):
            signs.append(
                go.Scatter(
                    x=list(marked["index"]),
                    y={"zero": [low] * len(marked), "not finite": [high] * len(marked)}.get(
                        mark, list(marked["gradient_norm"])
                    ),
                    mode="markers",
                    cliponaxis=False,
                    marker={"symbol": symbol, "size": 9, "color": colour},
                    customdata=[f"{text}<br>{words}" for text in _hover("", marked)],
                    hovertemplate="%{customdata}<extra></extra>",
                    showlegend=False,
                )
            )
    return signs


def _legend_of_signs(curves: pd.DataFrame) -> list[go.Scatter]:
    marks = set(curves["mark"])
    return [
        go.Scatter(
            x=[None], y=[None], name=words, mode="markers", marker={"symbol": symbol, "size": 9, "color": OTHER_COLOUR}
        )
        for mark, (symbol, words) in _MARKS.items()
        if mark in marks
    ]


def _hover(series: str, rows: pd.DataFrame) -> list[str]:
    return [
        f"{f'{series}, ' if series else ''}{name}: {middle:.3g} ({low:.3g} to {high:.3g})"
        for name, middle, low, high in zip(
            rows["name"], rows["gradient_norm"], rows["gradient_low"], rows["gradient_high"], strict=True
        )
    ]
