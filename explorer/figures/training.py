"""How training runs went: curves over the steps, and the gradients behind the blocks."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import SERIES_COLOURS, layout, logarithmic

# Record's quantities: title and axis
CURVES = {
    "batch_loss": ("Loss on the batches", "cross-entropy, nats"),
    "batch_error": ("Error on the batches", "wrong, %"),
    "train_loss": ("Loss on the training set", "cross-entropy, nats"),
    "train_error": ("Error on the training set", "wrong, %"),
    "test_loss": ("Loss on the test set", "cross-entropy, nats"),
    "test_error": ("Error on the test set", "wrong, %"),
    "lr": ("Learning rate", "learning rate"),
}
_DASHES = ("solid", "dash", "dot")
_MOST_POINTS = 400  # of a line: more than a screen's pixels show, and Plotly's time goes with them
_ROOM = 0.05  # of an axis, beyond its least and its greatest value
_FEW_POINTS = 60  # so many are marked each
_AT_THE_EDGES = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}  # 0 the lower, 1 the upper
# Below the title of the axis, at the bottom of the whole figure
_LEGEND = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}

_Trace = dict[str, Any]  # or an axis, in Plotly's words


class _Point(NamedTuple):
    """What a net's seeds have at a place."""

    at: float
    middle: float
    low: float
    high: float
    seeds: int


def curves_chart(
    curves: pd.DataFrame,
    quantity: str,
    *,
    log: bool = False,
    until: int | None = None,
    order: Sequence[str] | None = None,
    steps: int | None = None,
) -> go.Figure:
    """A line a net over the steps: the median over its seeds, in a band from lowest to highest.

    Nothing is smoothed. A line of more than 400 steps is thinned to so many, its last one among them. What has no place
    on the axis stands at its edge with a sign: at the upper where a run diverged, at the lower an exact 0 on a
    logarithmic axis.

    Args:
        curves: `net` (name on screen), `seed` and `Record`'s columns; a row without the quantity is left out.
        quantity: a key of `CURVES`.
        log: a logarithmic axis.
        until: draw what was recorded up to this step, on axes that hold all of it.
        order: all nets there may be; each has the colour and the dash of its place there, in each chart the same.
            None: those of the table as they come.
        steps: where the axis of steps ends, if not at the last record.
    """
    names = _names(curves, order)
    points = _over_seeds(zip(curves["net"], curves["step"], curves[quantity], strict=True))
    floor = _floor(points) if log else -math.inf
    now = math.inf if until is None else until
    ended = curves[curves["diverged"].astype(bool) & (curves["step"] <= now)]
    traces: list[_Trace] = []
    for net in names:
        look = _look(names, net)
        seen = _thinned([point for point in points[net] if point.at <= now])
        traces += [
            *_curve(net, seen, look, floor),
            *_edge([point.at for point in seen if point.middle < floor], "x", 0, look, f"{net}: 0 at step"),
            *_edge(ended.loc[ended["net"] == net, "step"], "triangle-up", 1, look, f"{net}: diverged at step"),
        ]
    title, unit = CURVES[quantity]
    y_axis: _Trace = {"title": {"text": unit}}
    if log:
        y_axis |= logarithmic(*_ends(points, floor), room=_ROOM)
    elif until is not None:
        low, high = _ends(points, floor)
        room = _ROOM * (high - low) or _ROOM
        y_axis["range"] = [low - room, high + room]
    elif quantity.endswith("_error"):
        y_axis["rangemode"] = "tozero"
    last = max([steps or 1, *curves["step"]])
    # A little room behind the last step, for its mark and for the signs
    return _figure(traces, title, {"title": {"text": "step"}, "range": [0, 1.02 * last]}, y_axis)


def norms_chart(curves: pd.DataFrame, step: int, *, order: Sequence[str] | None = None) -> go.Figure:
    """A line a net: the gradient norm behind each block, from the first (0) to the last (1), on a logarithmic axis.

    Taken of each run at its last record up to a step; the median over a net's seeds, in a band from lowest to highest.
    An exact 0 stands at the lower edge, what is not finite at the upper.

    Args:
        curves: as of `curves_chart`; a row without norms is left out.
        step: the last step that counts.
        order: as of `curves_chart`.
    """
    names = _names(curves, order)
    latest: dict[tuple[str, int], tuple[int, Sequence[float]]] = {}
    for net, seed, at, norms in zip(
        curves["net"], curves["seed"], curves["step"], curves["gradient_norms"], strict=True
    ):
        if len(norms) and latest.get((net, seed), (-1,))[0] < at <= step:
            latest[net, seed] = at, norms
    rows = [
        (net, place / max(1, len(norms) - 1), norm)
        for (net, _), (_, norms) in latest.items()
        for place, norm in enumerate(norms)
    ]
    points = _over_seeds(rows)
    floor = _floor(points)
    traces: list[_Trace] = []
    for name in names:
        look = _look(names, name)
        lost = [place for net, place, norm in rows if net == name and not math.isfinite(norm)]
        traces += [
            *_curve(name, points[name], look, floor),
            *_edge([point.at for point in points[name] if point.middle < floor], "x", 0, look, f"{name}: 0 at place"),
            *_edge(lost, "triangle-up", 1, look, f"{name}: infinite or not a number at place"),
        ]
    return _figure(
        traces,
        "Gradient norm by block",
        {"title": {"text": "place of the block, first 0, last 1"}, "range": [-0.03, 1.03]},
        {"title": {"text": "‖dL/d(output)‖"}, **logarithmic(*_ends(points, floor), room=_ROOM)},
    )


def _names(curves: pd.DataFrame, order: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(curves["net"])) if order is None else list(order)


def _look(names: Sequence[str], net: str) -> tuple[str, str]:
    """Colour and dash of a net: the dash changes where the colours begin again."""
    place = names.index(net)
    return SERIES_COLOURS[place % len(SERIES_COLOURS)], _DASHES[place // len(SERIES_COLOURS) % len(_DASHES)]


def _over_seeds(rows: Iterable[tuple[str, float, float]]) -> defaultdict[str, list[_Point]]:
    """The points of each net, in order, from net, place and value; only of finite values.

    Plain lists: for so few numbers pandas takes ten times as long, and a page asks for this every second.
    """
    values: defaultdict[str, defaultdict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for net, at, value in rows:
        if math.isfinite(value):
            values[net][at].append(value)
    points: defaultdict[str, list[_Point]] = defaultdict(list)
    for net, found in values.items():
        points[net] = [_Point(at, median(some), min(some), max(some), len(some)) for at, some in sorted(found.items())]
    return points


def _thinned(points: Sequence[_Point]) -> list[_Point]:
    """Every so manieth, and the last."""
    return [*points[: -1 : math.ceil(len(points) / _MOST_POINTS) or 1], *points[-1:]]


def _floor(points: Mapping[str, Sequence[_Point]]) -> float:
    """The least that a logarithmic axis shows: less is 0."""
    return min((end for some in points.values() for p in some for end in (p.low, p.middle) if end > 0), default=1.0)


def _ends(points: Mapping[str, Sequence[_Point]], floor: float) -> tuple[float, float]:
    """The least and the greatest that an axis shows."""
    ends = [max(end, floor) for some in points.values() for point in some for end in (point.low, point.high)]
    return min(ends, default=0.1), max(ends, default=1.0)


def _curve(net: str, points: Sequence[_Point], look: tuple[str, str], floor: float) -> Iterator[_Trace]:
    """The band where there are several seeds, and the line, broken where a median has no place on the axis.

    A net without points has its line all the same, so that the legend is whole from the start.
    """
    colour, dash = look
    x = [point.at for point in points]
    if any(point.seeds > 1 for point in points):
        upper, lower = [max(point.high, floor) for point in points], [max(point.low, floor) for point in points]
        yield {
            "x": x + x[::-1],
            "y": upper + lower[::-1],
            "legendgroup": net,
            "fill": "toself",
            "fillcolor": colour,
            "opacity": 0.2,
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
            "showlegend": False,
        }
    yield {
        "x": x or [None],
        "y": [point.middle if point.middle >= floor else None for point in points] or [None],
        "name": net,
        "legendgroup": net,
        "mode": "lines+markers" if len(points) <= _FEW_POINTS else "lines",
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"size": 4},
        "customdata": [
            f"{point.low:.3g} to {point.high:.3g} over {point.seeds} seeds" if point.seeds > 1 else "one seed"
            for point in points
        ],
        "hovertemplate": f"{net}, %{{x:.4~g}}: %{{y:.3g}}, %{{customdata}}<extra></extra>",
    }


def _edge(places: Iterable[float], symbol: str, height: int, look: tuple[str, str], words: str) -> Iterator[_Trace]:
    """Signs at an edge of the chart, whatever the axis shows."""
    if x := list(places):
        yield {
            "x": x,
            "y": [height] * len(x),
            "yaxis": "y2",
            "mode": "markers",
            "cliponaxis": False,
            "marker": {"symbol": symbol, "size": 10, "color": look[0]},
            "hovertemplate": f"{words} %{{x:.4~g}}<extra></extra>",
            "showlegend": False,
        }


def _figure(traces: list[_Trace], title: str, x_axis: _Trace, y_axis: _Trace) -> go.Figure:
    return go.Figure(traces, layout(400, title, legend=_LEGEND, xaxis=x_axis, yaxis=y_axis, yaxis2=_AT_THE_EDGES))
