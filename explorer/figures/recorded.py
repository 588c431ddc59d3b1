"""Recorded training runs, to be played."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import OTHER_COLOUR, layout
from explorer.figures.training import curves_chart, norms_chart

_FRAMES = 33  # at most; each holds all that was recorded before it
_DURATION = 180  # ms a frame
_MOVING = ("x", "y", "customdata", "mode")  # what a frame changes of a trace
_EMPTY: dict[str, Any] = {"x": [None], "y": [None], "customdata": [None]}

_Trace = dict[str, Any]  # in Plotly's words
_Slot = tuple[bool, str, str | None]  # below or above, whose line, and whether it is filled


def replay_chart(
    curves: pd.DataFrame, quantity: str, *, log: bool = False, order: Sequence[str] | None = None
) -> go.Figure:
    """A quantity over the steps, and below it the gradient norms at the step of a slider, to be played.

    It shows the end first, everything drawn; Play draws it from the start. Lines, bands and signs are those of
    `curves_chart` and `norms_chart`.

    Args:
        curves: `net`, `seed` and `Record`'s columns, a row a record.
        quantity: a key of `figures.training.CURVES`.
        log: a logarithmic axis for the quantity.
        order: all nets there may be; each has the colour and the dash of its place there, and those of `curves` are
            drawn.
    """
    steps = moments(curves["step"])
    above = [curves_chart(curves, quantity, log=log, until=step, order=order) for step in steps]
    below = [norms_chart(curves, step, order=order) for step in steps]
    contents = [_slots(*pair, set(curves["net"])) for pair in zip(above, below, strict=True)]
    # Plotly goes by a trace's place, so each frame has all that there are at any step
    slots = dict.fromkeys(slot for content in contents for slot in content)
    latest = {slot: content[slot] for content in contents for slot in content}
    frames = [
        go.Frame(
            name=str(step),
            data=[
                {"type": "scatter", **{name: value for name, value in trace.items() if name in _MOVING}}
                for trace in (content.get(slot, _EMPTY) for slot in slots)
            ],
        )
        for step, content in zip(steps, contents, strict=True)
    ]
    shown = [latest[slot] | ({} if slot in contents[-1] else _EMPTY) for slot in slots]
    return go.Figure(shown, _layout(above[-1], below[-1], contents, steps), frames)


def moments(steps: Iterable[int]) -> list[int]:
    """The steps to stop at: all of them, or some at equal distances, the first and the last among them.

    >>> moments([0, 20, 20, 40]), moments(range(0, 1620, 20))[:3]
    ([0, 20, 40], [0, 40, 100])
    """
    known = sorted({int(step) for step in steps})
    if len(known) <= _FRAMES:
        return known
    return [known[round(place * (len(known) - 1) / (_FRAMES - 1))] for place in range(_FRAMES)]


def _slots(above: go.Figure, below: go.Figure, nets: Collection[str]) -> dict[_Slot, _Trace]:
    """The traces of these nets in both charts by what they are, those of the lower one on axes of their own."""
    found: dict[_Slot, _Trace] = {}
    for lower, figure in ((False, above), (True, below)):
        for drawn in figure.data:
            trace = drawn.to_plotly_json()
            if trace.get("legendgroup") not in (None, *nets):  # a sign has no group
                continue
            if lower:
                at_edge = trace.get("yaxis") == "y2"
                trace |= {"xaxis": "x2", "yaxis": "y4" if at_edge else "y3", "showlegend": False}
            found[lower, trace.get("legendgroup") or trace["hovertemplate"], trace.get("fill")] = trace
    return found


def _layout(
    above: go.Figure, below: go.Figure, contents: Iterable[Mapping[_Slot, _Trace]], steps: Sequence[int]
) -> dict[str, Any]:
    norms = [
        value
        for content in contents
        for (lower, _, _), trace in content.items()
        if lower and trace["yaxis"] == "y3"
        for value in trace["y"]
        if value and math.isfinite(value)
    ] or [1.0]
    ends = [math.log10(min(norms)) - 0.1, math.log10(max(norms)) + 0.1]
    upper, lower = above.layout.to_plotly_json(), below.layout.to_plotly_json()
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    playing = {
        "mode": "immediate",
        "fromcurrent": False,
        "frame": {"duration": _DURATION, "redraw": True},
        "transition": {"duration": 0},
    }
    return layout(
        800,
        margin={"l": 8, "r": 8, "t": 130, "b": 8},  # above the charts: what plays them, and the toolbar
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        xaxis=upper["xaxis"] | {"anchor": "y"},
        yaxis=upper["yaxis"] | {"domain": [0.58, 1]},
        yaxis2=upper["yaxis2"],
        xaxis2=lower["xaxis"] | {"anchor": "y3"},
        yaxis3=lower["yaxis"] | {"domain": [0, 0.4], "range": ends},
        yaxis4=lower["yaxis2"] | {"overlaying": "y3", "anchor": "x2"},
        annotations=[_title(upper, 1), _title(lower, 0.4)],
        sliders=[
            {
                "active": len(steps) - 1,
                "steps": [{"label": f"{step:,}", "method": "animate", "args": [[str(step)], still]} for step in steps],
                "currentvalue": {"prefix": "step ", "xanchor": "right", "font": {"color": OTHER_COLOUR, "size": 15}},
                "font": {"color": "rgba(0, 0, 0, 0)"},  # the labels would cover each other
                "x": 0,
                "y": 1,
                "yanchor": "bottom",
                "pad": {"b": 30},
                "len": 1,
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "showactive": False,
                "direction": "left",
                "x": 0,
                "y": 1,
                "xanchor": "left",
                "yanchor": "bottom",
                "pad": {"b": 75},
                "buttons": [
                    {"label": "Play", "method": "animate", "args": [None, playing]},
                    {"label": "Pause", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
    )


def _title(of: Mapping[str, Any], height: float) -> dict[str, Any]:
    """A chart's title above its plot, whose upper edge is at this height."""
    return {
        "text": f"<b>{of['title']['text']}</b>",
        "font": {"size": 15},
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": height,
        "xanchor": "left",
        "yanchor": "bottom",
    }
