"""Several networks in one picture."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from explorer.analysis.profile import Profile
from explorer.figures.theme import (
    ACCENT,
    KIND_COLOURS,
    OTHER_COLOUR,
    SERIES_COLOURS,
    TERMS,
    exact,
    layout,
    short,
    with_unit,
)

_LOGARITHMIC = ("params", "macs", "activation_bytes", "depth")
_DASHES = ("solid", "dash", "dot")
_BELOW_TITLE = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}  # of the axis
_LARGEST = 60  # pixels across of the largest bubble
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "hexagon")


def bubble_chart(table: pd.DataFrame, x: str, y: str, size: str, symbol: str | None = None) -> go.Figure:
    """A bubble a network, labelled with its name; its area is a third quantity.

    Args:
        table: a row a network: net, the columns named below, and further ones for the text under the mouse.
        x, y: columns of numbers; a network where either is unknown is left out.
        size: the column that the bubbles' areas stand for.
        symbol: a column of words; each has a shape of its own, named in the legend.
    """
    shown = table[table[x].notna() & table[y].notna()].reset_index(drop=True)
    colours = dict(zip(table["net"], _colours(len(table)), strict=True))
    words = list(dict.fromkeys(shown[symbol])) if symbol else [None]
    traces = []
    positions = _label_positions([float(v) for v in shown[x]], [float(v) for v in shown[y]], x in _LOGARITHMIC)
    for word, mark in zip(words, _SYMBOLS * (1 + len(words) // len(_SYMBOLS)), strict=False):
        rows = shown if word is None else shown[shown[symbol] == word]
        areas = [float(value) for value in rows[size]]
        most = float(shown[size].max())
        traces.append(
            go.Scatter(
                x=list(rows[x]),
                y=list(rows[y]),
                name=word or "",
                mode="markers+text",
                text=list(rows["net"]),
                textposition=[positions[index] for index in rows.index],
                cliponaxis=False,
                marker={
                    "symbol": mark,
                    "size": areas,
                    "sizemode": "area",
                    "sizeref": 2 * most / _LARGEST**2,
                    "sizemin": 6,
                    "color": [colours[net] for net in rows["net"]],
                    "opacity": 0.75,
                    "line": {"width": 1, "color": "white"},
                },
                customdata=_hover(rows),
                hovertemplate="%{customdata}<extra></extra>",
                showlegend=word is not None,
            )
        )
    return go.Figure(traces, layout(520, f"Area: {_lower(size)}", xaxis=_axis(shown, x), yaxis=_axis(shown, y)))


def winners_chart(table: pd.DataFrame, human: float) -> go.Figure:
    """The top-5 errors of ImageNet's challenge, a bar an entry with its layers.

    Args:
        table: from `winners_table`.
        human: the top-5 error of a person, percent, drawn as a line.
    """
    layers = [None if pd.isna(count) else int(count) for count in table["layers"]]
    rows = table.to_dict("records")
    bars = go.Bar(
        x=list(table["top5_error"]),
        y=[
            f"{row['year']} {row['team']}" if count is None else f"{row['year']} {row['network']}, {count} layers"
            for row, count in zip(rows, layers, strict=True)
        ],
        orientation="h",
        text=[f"{error:g}" for error in table["top5_error"]],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [OTHER_COLOUR if count is None else ACCENT for count in layers]},
        customdata=[
            f"{row['year']}, place {row['place']}: {row['team']}, {row['network']}<br>"
            f"top-5 error {row['top5_error']:g}%<br>{row['source']}"
            for row in rows
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    axes = {
        "xaxis": {"range": [0, 1.1 * max(table["top5_error"])]},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
    }
    figure = go.Figure(bars, layout(400, "Top-5 error, %", showlegend=False, **axes))
    figure.add_vline(
        human,
        line={"dash": "dot", "color": OTHER_COLOUR},
        layer="below",
        annotation={"text": f"a trained person: {human:g}", "y": 0.08, "xanchor": "left"},
    )
    return figure


def kind_chart(table: pd.DataFrame, column: str, *, share: bool) -> go.Figure:
    """A bar a network, divided by kind of layer.

    Args:
        table: from `kind_table`.
        column: the quantity that it is of.
        share: parts of the whole, so that all bars are equally long; otherwise the sums.
    """
    kinds = [kind for kind in table.columns if kind != "net"]
    ordered = [kind for kind in KIND_COLOURS if kind in kinds] + [kind for kind in kinds if kind not in KIND_COLOURS]
    sums = [int(table[kinds].iloc[row].sum()) for row in range(len(table))]
    bars = []
    for kind in ordered:
        values = [int(value) for value in table[kind]]
        parts = [value / total if total else 0 for value, total in zip(values, sums, strict=True)]
        bars.append(
            go.Bar(
                x=parts if share else values,
                y=list(table["net"]),
                name=kind,
                orientation="h",
                marker={"color": KIND_COLOURS.get(kind, OTHER_COLOUR)},
                customdata=[
                    f"{net}, {kind}: {exact(value)} ({part:.1%})"
                    for net, value, part in zip(table["net"], values, parts, strict=True)
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    axes = {
        "xaxis": {"tickformat": ".0%"} if share else {"tickformat": "~s", "title": with_unit(column)},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
    }
    return go.Figure(bars, layout(140 + 34 * len(table), f"{TERMS[column]} by kind", barmode="stack", **axes))


def depth_chart(table: pd.DataFrame, column: str, x: str, y: str) -> go.Figure:
    """A line a network: how a quantity is spread over its depth.

    Args:
        table: from `depth_table`.
        column: the quantity that it is of.
        x: "depth" or "share_of_depth". y: "value", "running" or "running_share".
    """
    lines = []
    for index, (net, rows) in enumerate(table.groupby("net", sort=False)):
        lines.append(
            go.Scatter(
                x=list(rows[x]),
                y=list(rows[y]),
                name=str(net),
                mode="lines",
                line={
                    "shape": "hv",
                    "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
                    "dash": _DASHES[index // len(SERIES_COLOURS) % len(_DASHES)],
                },
                customdata=[
                    f"{net}, depth {depth}: {exact(value)}, up to there {exact(running)} ({share:.1%})"
                    for depth, value, running, share in zip(
                        rows["depth"], rows["value"], rows["running"], rows["running_share"], strict=True
                    )
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    axes = {
        "xaxis": {"title": "depth"}
        if x == "depth"
        else {
            "title": "part of the depth",
            "tickformat": ".0%",
            "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
            "range": [0, 1.02],
        },
        "yaxis": {"tickformat": ".0%" if y == "running_share" else "~s"},
    }
    meaning = {"value": "at each depth", "running": "up to each depth", "running_share": "up to each depth, shares"}
    return go.Figure(lines, layout(480, f"{with_unit(column)} {meaning[y]}", legend=_BELOW_TITLE, **axes))


def resolution_chart(profiles: Mapping[str, Profile]) -> go.Figure:
    """How the maps shrink: a line a network, the height in pixels behind the image and each convolution and pool."""
    lines = []
    for index, (net, profile) in enumerate(profiles.items()):
        table = profile.table
        walked = [
            (name, shape[1])
            for name, kind, shape in zip(table["name"], table["kind"], table["output_shape"], strict=True)
            if kind in ("conv", "pool") and len(shape) == 3
        ]
        walked.insert(0, ("image", profile.input_shape[1]))
        lines.append(
            go.Scatter(
                x=list(range(len(walked))),
                y=[side for _, side in walked],
                name=net,
                mode="lines+markers",
                line={"shape": "hv", "color": SERIES_COLOURS[index % len(SERIES_COLOURS)]},
                marker={"size": 4},
                customdata=[name for name, _ in walked],
                hovertemplate=f"{net}, %{{customdata}}: %{{y}} px<extra></extra>",
            )
        )
    ticks: list[int] = []
    for side in sorted({side for line in lines for side in line.y}):
        if not ticks or side > 1.2 * ticks[-1]:  # else the labels would overlap
            ticks.append(side)
    axes = {
        "xaxis": {"title": "convolutions and pools, in the order of calls"},
        "yaxis": {"type": "log", "tickvals": ticks, "ticktext": list(map(str, ticks))},
    }
    return go.Figure(lines, layout(360, "Height of the maps, px", legend=_BELOW_TITLE, **axes))


def _axis(table: pd.DataFrame, column: str) -> dict[str, object]:
    if column not in _LOGARITHMIC or table.empty:
        return {"title": with_unit(column)}
    ticks = _ticks(float(table[column].min()), float(table[column].max()))
    return {
        "title": with_unit(column),
        "type": "log",
        "range": [math.log10(ticks[0]), math.log10(ticks[-1])],
        "tickvals": ticks,
        "ticktext": [short(tick) for tick in ticks],
    }


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the least to above the greatest."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(place for place, tick in enumerate(ticks) if tick <= 0.85 * low)
    last = min(place for place, tick in enumerate(ticks) if tick >= 1.15 * high)
    return ticks[first : last + 1]


def _colours(count: int) -> list[str]:
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(count)]


def _lower(column: str) -> str:
    name = TERMS[column]
    return name if name.isupper() or name == "MACs" else name[0].lower() + name[1:]


def _hover(rows: pd.DataFrame) -> list[str]:
    """All that the table says of each network, a line a column."""
    texts = []
    for row in rows.to_dict("records"):
        lines = [f"<b>{row['net']}</b>"]
        for column, value in row.items():
            if column in TERMS and not pd.isna(value):
                number = short(value) if column in ("params", "macs", "activation_bytes") else f"{value:g}"
                lines.append(f"{with_unit(str(column))}: {number}")
            elif column in ("crop", "source") and isinstance(value, str):
                lines.append(value)
        texts.append("<br>".join(lines))
    return texts


def _label_positions(xs: Sequence[float], ys: Sequence[float], logarithmic: bool) -> list[str]:
    """Above a bubble, or below it where a label above would meet its neighbour's."""
    places = [math.log10(x) if logarithmic and x > 0 else x for x in xs]
    wide = (max(places) - min(places) or 1) if places else 1
    high = (max(ys) - min(ys) or 1) if ys else 1
    positions: list[str] = []
    for here, (x, y) in enumerate(zip(places, ys, strict=True)):
        near = [
            positions[other]
            for other in range(here)
            if abs(places[other] - x) < 0.15 * wide and abs(ys[other] - y) < 0.08 * high
        ]
        positions.append(
            next(
                (p for p in ("top center", "bottom center", "middle right", "middle left") if p not in near),
                "top center",
            )
        )
    return positions
