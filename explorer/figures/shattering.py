"""How alike the gradients of neighbouring inputs are: by distance, by depth, and along a line of inputs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.analysis.shattering import STEPS, brown_autocorrelation, white_autocorrelation
from explorer.figures.flow import styles
from explorer.figures.theme import OTHER_COLOUR, SERIES_COLOURS, layout
from explorer.spec import ResNetSpec

_LEGEND = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
_COSINE = {"title": {"text": "cosine of the gradients"}, "range": [-0.25, 1.05]}
_FAR = STEPS // 2  # lags beyond half of the line have few pairs


def decimal(distance: float) -> str:
    """A distance without an exponent.

    >>> decimal(1e-5), decimal(0.03), decimal(1.0)
    ('0.00001', '0.03', '1')
    """
    return f"{distance:.5f}".rstrip("0").rstrip(".")


def distance_chart(curves: pd.DataFrame, nets: Mapping[str, ResNetSpec], distance: float) -> go.Figure:
    """A line a net: the cosine of the gradients of two inputs by their distance, with a band from least to greatest.

    Args:
        curves: as `distance_curves` gives them.
        nets: all that are compared, those that are still measured too: lines keep their colours.
        distance: the one to point at.
    """
    figure = _by_net(curves, nets, "distance", "cosine")
    figure.update_layout(
        layout(
            440,
            "Neighbouring inputs",
            legend=_LEGEND,
            xaxis={
                "type": "log",
                "title": {"text": "distance, part of the way to another image"},
                "exponentformat": "power",
                "dtick": 1,
            },
            yaxis=_COSINE,
        )
    )
    return figure.add_vline(distance, line={"dash": "dot", "color": OTHER_COLOUR, "width": 1})


def depth_chart(summary: pd.DataFrame, distance: float) -> go.Figure:
    """The cosine at one distance by the nets' depth, a line for those that differ in depth alone, by their titles.

    Args:
        summary: as `summary` gives it.
        distance: the one of the summary.
    """
    traces = []
    kinds = summary["net"].map(lambda title: title.rpartition(" · ")[0] or title)
    for place, kind in enumerate(dict.fromkeys(kinds)):
        rows = summary[kinds == kind].sort_values("depth")
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        traces.append(
            go.Scatter(
                x=rows["depth"],
                y=rows["cosine"],
                error_y={
                    "type": "data",
                    "array": rows["high"] - rows["cosine"],
                    "arrayminus": rows["cosine"] - rows["low"],
                },
                name=kind,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 7},
                customdata=rows["net"],
                hovertemplate="%{customdata}: %{y:.2f}<extra></extra>",
                showlegend=True,
            )
        )
    x_axis = {"title": {"text": "depth, layers"}, "rangemode": "tozero"}
    return go.Figure(
        traces, layout(440, f"At {decimal(distance)} of the way", legend=_LEGEND, xaxis=x_axis, yaxis=_COSINE)
    )


def walk_chart(walks: Mapping[str, Sequence[float]]) -> go.Figure:
    """The slope along a line of inputs, a panel for each series, one below the other.

    Args:
        walks: by title, each of `STEPS` + 1 numbers, in units of their root mean square; the net's comes first.
    """
    figure = make_subplots(len(walks), 1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=list(walks))
    for place, (title, values) in enumerate(walks.items()):
        trace = go.Scatter(
            x=[point / STEPS for point in range(len(values))],
            y=[None if math.isnan(value) else value for value in values],
            name=title,
            mode="lines",
            line={"color": OTHER_COLOUR if place else SERIES_COLOURS[0], "width": 1.5},
            hovertemplate="%{x:.0%} of the way: %{y:.2f}<extra></extra>",
            showlegend=False,
        )
        figure.add_trace(trace, place + 1, 1)
    figure.update_layout(layout(440, "Slope along the line", margin={"l": 8, "r": 8, "t": 64, "b": 8}))
    figure.update_annotations(font_size=13)
    figure.update_xaxes(range=[0, 1], dtick=0.2, tickformat=".0%")
    figure.update_xaxes(title_text="from one image to another", row=len(walks))
    return figure.update_yaxes(nticks=4)


def lag_chart(curves: pd.DataFrame, nets: Mapping[str, ResNetSpec]) -> go.Figure:
    """A line a net: the autocorrelation of the gradient along a line of inputs, beside those of two kinds of noise.

    Args:
        curves: as `lag_curves` gives them.
        nets: as of `distance_chart`.
    """
    figure = _by_net(curves[curves["lag"] <= _FAR], nets, "lag", "autocorrelation")
    for title, values, dash in (
        ("Brown noise", brown_autocorrelation(), "longdash"),
        ("White noise", white_autocorrelation(), "dot"),
    ):
        figure.add_scatter(
            x=list(range(_FAR + 1)),
            y=list(values[: _FAR + 1]),
            name=title,
            mode="lines",
            line={"color": OTHER_COLOUR, "width": 2, "dash": dash},
            hovertemplate=title + ", %{x} steps: %{y:.2f}<extra></extra>",
        )
    across = f"steps between two points, each {1 / STEPS:.0%} of the way"
    y_axis = {"title": {"text": "autocorrelation"}}
    return figure.update_layout(
        layout(440, "Autocorrelation along the line", legend=_LEGEND, xaxis={"title": {"text": across}}, yaxis=y_axis)
    )


def _by_net(curves: pd.DataFrame, nets: Mapping[str, ResNetSpec], across: str, quantity: str) -> go.Figure:
    """A line for each net with a band around it; what is unknown leaves a gap."""
    traces: list[Any] = []
    looks = styles(nets)
    for net, rows in curves.groupby("net", sort=False):
        colour, dash = looks[str(net)]
        known = rows.dropna(subset=["low", "high"])
        x = list(known[across])
        traces.append(
            go.Scatter(
                x=x + x[::-1],
                y=[*known["high"], *known["low"][::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=0.2,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=str(net),
            )
        )
        traces.append(
            go.Scatter(
                x=list(rows[across]),
                y=[None if math.isnan(value) else value for value in rows[quantity]],
                name=str(net),
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 4},
                customdata=[
                    f"{net}: {middle:.2f} ({low:.2f} to {high:.2f})"
                    for middle, low, high in zip(rows[quantity], rows["low"], rows["high"], strict=True)
                ],
                hovertemplate="%{customdata}<extra></extra>",
                legendgroup=str(net),
            )
        )
    return go.Figure(traces)
