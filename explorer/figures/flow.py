"""Gradients and sizes of values along the depth of several nets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.gradients import filled
from explorer.figures.theme import OTHER_COLOUR, SERIES_COLOURS, layout, logarithmic
from explorer.spec import ResNetSpec

QUANTITIES = {
    "gradient_norm": "Gradient norm, ‖dL/d(output)‖",
    "norm_product": "‖W‖ ‖dL/dW‖",
    "weight_gradient_norm": "Weight gradient norm, ‖dL/dW‖",
    "weight_norm": "Weight norm, ‖W‖",
    "activation_rms": "Activation scale, root mean square",
    "response_std": "Standard deviation of the response",
}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# What the marks of the measurement look like and are called
_MARKS = {
    "subnormal": ("circle-open", "too small for all its digits"),
    "zero": ("x", "exactly 0 in this number format"),
    "not finite": ("triangle-up", "infinite or not a number"),
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MARKERS = 60  # points up to which each has a marker
_WIDE = 30.0  # greatest over least from which on an axis is logarithmic


def styles(nets: Mapping[str, ResNetSpec]) -> dict[str, tuple[str, str]]:
    """Colour and dash of each net: one tells the depth, the other all the rest; the colour that of which there is more.

    >>> from explorer.models.variants import variant
    >>> styles({f"{kind} {depth}": variant(kind, depth) for kind in ("plain", "a") for depth in (20, 56, 110)})["a 56"]
    ('#D55E00', 'dash')
    """
    depths = list(dict.fromkeys(spec.depth for spec in nets.values()))
    kinds = list(dict.fromkeys(map(_kind, nets.values())))
    found = {}
    for name, spec in nets.items():
        places = [depths.index(spec.depth), kinds.index(_kind(spec))]
        colour, dash = places if len(depths) >= len(kinds) else places[::-1]
        dash += colour // len(SERIES_COLOURS)
        found[name] = (SERIES_COLOURS[colour % len(SERIES_COLOURS)], _DASHES[dash % len(_DASHES)])
    return found


def _kind(spec: ResNetSpec) -> ResNetSpec:
    """What nets of one kind have in common, whatever their depth."""
    return replace(spec, depths=(1,) * len(spec.depths))


def flow_chart(
    tables: Mapping[str, pd.DataFrame],
    nets: Mapping[str, ResNetSpec],
    quantity: str,
    title: str,
    *,
    across: str,
    along: Literal["index", "place"] = "index",
    log: bool | None = None,
    band: bool = True,
) -> go.Figure:
    """A line a net, with a band from least to greatest over its seeds.

    What has no place on a logarithmic axis stands at its edge with a sign of its own: exactly zero at the lower, what
    is not finite at the upper.

    Args:
        tables: of `Flows`, one or more, by the net's title.
        nets: all that are compared, those that are still measured too: lines keep their colours.
        quantity: one of `QUANTITIES` that the tables have.
        title: a short one.
        across: what the horizontal axis counts.
        along: by number, or from 0, the first, to 1, the last.
        log: whether the axis is logarithmic; by default where the values are far apart.
        band: draw the spread over the seeds.
    """
    rows = {name: _rows(table, quantity, along, band) for name, table in tables.items()}
    every = pd.concat(rows.values())
    drawn = [value for column in ("y", "low", "high") for value in every[column] if 0 < value < math.inf] or [1.0]
    marks = set(every["mark"])
    if log is None:
        log = max(drawn) > _WIDE * min(drawn)
    low, high = _edges(drawn, marks) if log else (0.0, 1.08 * max(drawn))
    looks = styles(nets)
    traces: list[go.Scatter] = []
    for name, each in rows.items():
        colour, dash = looks[name]
        if band:
            traces.append(filled(list(each["x"]), each["low"], each["high"], (low, high), colour))
        traces += [_line(name, each, colour, dash, low), *_signs(name, each, colour, low, high)]
    traces += [
        go.Scatter(
            x=[None], y=[None], name=words, mode="markers", marker={"symbol": symbol, "size": 9, "color": OTHER_COLOUR}
        )
        for mark, (symbol, words) in _MARKS.items()
        if mark in marks
    ]
    scale: dict[str, Any] = {"range": [low, high]}
    if log:
        scale = logarithmic(low, high)
    return go.Figure(
        traces,
        layout(
            460,
            title,
            # at the bottom of the whole figure, which takes as many lines as it needs
            legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
            xaxis={"title": {"text": across}},
            yaxis={**scale, "title": {"text": QUANTITIES[quantity]}},
        ),
    )


def _rows(table: pd.DataFrame, quantity: str, along: str, band: bool) -> pd.DataFrame:
    """Where each point stands, its spread, its mark and what is said of it."""
    values, low, high = (table[f"{quantity}{end}"] for end in ("", "_low", "_high"))
    text = [
        f"{name}: {value:.3g} ({least:.3g} to {most:.3g})"
        for name, value, least, most in zip(table["name"], values, low, high, strict=True)
    ]
    ends = {"low": low, "high": high} if band else {"low": values, "high": values}
    return pd.DataFrame({"x": table[along], "y": values, **ends, "mark": table[f"{quantity}_mark"], "text": text})


def _edges(drawn: Sequence[float], marks: set[str]) -> tuple[float, float]:
    """The ends of a logarithmic axis, with room for the signs."""
    below, above = (10 ** (0.2 + (mark in marks)) for mark in ("zero", "not finite"))
    return min(drawn) / below, max(drawn) * above


def _line(name: str, rows: pd.DataFrame, colour: str, dash: str, low: float) -> go.Scatter:
    return go.Scatter(
        x=list(rows["x"]),
        y=[value if low <= value < math.inf else None for value in rows["y"]],
        name=name,
        mode="lines+markers" if len(rows) <= _MARKERS else "lines",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 4},
        customdata=list(rows["text"]),
        hovertemplate=f"{name}<br>%{{customdata}}<extra></extra>",
    )


def _signs(name: str, rows: pd.DataFrame, colour: str, low: float, high: float) -> list[go.Scatter]:
    """The marked places of a net, each mark with its sign."""
    signs = []
    for mark, (symbol, words) in _MARKS.items():
        marked = rows[rows["mark"] == mark]
        if len(marked):
            at = {"zero": [low] * len(marked), "not finite": [high] * len(marked)}
            signs.append(
                go.Scatter(
                    x=list(marked["x"]),
                    y=at.get(mark, list(marked["y"])),
                    mode="markers",
                    cliponaxis=False,
                    marker={"symbol": symbol, "size": 9, "color": colour},
                    customdata=[f"{text}<br>{words}" for text in marked["text"]],
                    hovertemplate=f"{name}<br>%{{customdata}}<extra></extra>",
                    showlegend=False,
                )
            )
    return signs


def times(ratio: float) -> str:
    """A ratio in two digits, the very large and the very small with their power of ten.

    >>> times(0.356), times(21.3), times(12_345.0), times(4e-9)
    ('0.36', '21', '1.2·10⁴', '4.0·10⁻⁹')
    """
    if not math.isfinite(ratio):
        return "-"
    if ratio == 0 or 0.01 <= ratio < 1000:
        return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"
    digits, power = f"{ratio:.1e}".split("e")
    return f"{digits}·10{str(int(power)).translate(_SUPERSCRIPTS)}"
