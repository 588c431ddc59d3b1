"""Unproductive layers: of one network layer by layer, and of several against the size of the image."""

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from explorer.analysis.productivity import STATUSES, Rule, Use
from explorer.analysis.rules import Pair
from explorer.figures.theme import ACCENT, OTHER_COLOUR, SERIES_COLOURS, exact, layout

# Four that any colour vision tells apart, and shapes besides.
_MARKS = {
    "productive": ("#009E73", "circle"),
    "partly": ("#56B4E9", "circle-open"),
    "critical": ("#E69F00", "diamond"),
    "unproductive": ("#D55E00", "x"),
}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_BELOW_TITLE = {  # of the axis
    "orientation": "h",
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "x": 0,
    "traceorder": "normal",
}
_LINE = 26  # pixels of a line of the legend


def use_chart(used: Use) -> go.Figure:
    """The field of each layer's input against the image: a band from the shortest path to all paths together.

    A mark a layer, in the order of calls, coloured by its status, stands at the field that decides: that of all paths
    for "partly", that of the shortest for the others. Of two axes the one with the smaller field is drawn.
    """
    table = used.table
    places = list(range(1, len(table) + 1))
    shortest, longest = ([min(pair) for pair in table[column]] for column in ("shortest", "longest"))
    statuses = list(table["status"])
    texts = _texts(table)
    band = {"x": places, "mode": "lines", "hoverinfo": "skip", "line": {"width": 1, "color": OTHER_COLOUR}}
    traces = [
        go.Scatter(y=shortest, showlegend=False, **band),
        go.Scatter(
            y=longest,
            name="from the shortest path to all paths",
            fill="tonexty",
            fillcolor="rgba(136, 136, 136, 0.25)",
            showlegend=shortest != longest,
            **band,
        ),
    ]
    for status in STATUSES:
        rows = [row for row, word in enumerate(statuses) if word == status]
        colour, symbol = _MARKS[status]
        traces.append(
            go.Scatter(
                x=[places[row] for row in rows],
                y=[(longest if status == "partly" else shortest)[row] for row in rows],
                name=f"{status} ({len(rows)})",
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9 if len(table) <= 120 else 5},
                customdata=[texts[row] for row in rows],
                hovertemplate="%{customdata}<extra></extra>",
                showlegend=bool(rows),
            )
        )
    ticks = _ticks(max(*longest, *used.image))
    axes = {
        "xaxis": {"title": "layers in the order of calls", "range": [0, len(table) + 1]},
        "yaxis": {
            "type": "log",
            "tickvals": ticks,
            "ticktext": list(map(exact, ticks)),
            "range": [math.log10(0.8), math.log10(1.6 * max(*longest, *used.image))],
        },
    }
    figure = go.Figure(traces, layout(440, "Field of each layer's input, px", legend=_BELOW_TITLE, **axes))
    for pixels, name in _image_lines(used.image).items():
        figure.add_hline(pixels, line={"dash": "dash", "color": ACCENT})
        figure.add_annotation(
            text=f"{name}: {pixels} px",
            showarrow=False,
            xref="x domain",
            x=0.01,
            xanchor="left",
            y=math.log10(pixels),  # an annotation's place on such an axis, not the line's
            yanchor="bottom",
        )
    return figure


def share_chart(steps: pd.DataFrame, what: str, rule: Rule) -> go.Figure:
    """A line a network: the share that is not unproductive against the side of a square image.

    Args:
        steps: from `use_by_size`; a dot marks the size of the network's own image.
        what: "layers" or "params". rule: by which paths.
    """
    column = f"{what}_{rule}"
    traces = []
    nets = list(dict.fromkeys(steps["net"]))
    for index, (net, rows) in enumerate(steps.groupby("net", sort=False)):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        own = rows[rows["own"]]
        traces.append(
            go.Scatter(
                x=list(rows["side"]),
                y=list(rows[column]),
                name=str(net),
                legendgroup=str(net),
                mode="lines",
                line={
                    "shape": "hv",
                    "color": colour,
                    "dash": _DASHES[index // len(SERIES_COLOURS) % len(_DASHES)],
                },
                hovertemplate=f"{net}, %{{x}} px and more: %{{y:.1%}}<extra></extra>",
            )
        )
        traces.append(
            go.Scatter(
                x=list(own["side"]),
                y=list(own[column]),
                legendgroup=str(net),
                mode="markers",
                marker={"color": colour, "size": 10, "line": {"width": 1, "color": "white"}},
                hovertemplate=f"{net}, its image of %{{x}} px: %{{y:.1%}}<extra></extra>",
                showlegend=False,
            )
        )
    ticks = [2**power for power in range(4, 11)]
    axes = {
        "xaxis": {
            "title": "side of the image, px",
            "type": "log",
            "tickvals": ticks,
            "ticktext": list(map(str, ticks)),
            "range": [math.log10(steps["side"].min()), math.log10(steps["side"].max())],
        },
        "yaxis": {"tickformat": ".0%", "range": [-0.02, 1.04]},
    }
    title = {"layers": "Not unproductive: layers", "params": "Not unproductive: parameters"}[what]
    height = 380 + _LINE * math.ceil(len(nets) / 4)
    return go.Figure(traces, layout(height, title, legend=_BELOW_TITLE, **axes))


def _texts(table: pd.DataFrame) -> list[str]:
    """What stands under the mouse, layer by layer."""
    columns = ("shortest", "longest", "shortest_behind", "longest_behind")
    texts = []
    for row in table.to_dict("records"):
        low, high, low_behind, high_behind = (_side(row[column]) for column in columns)
        macs = "" if pd.isna(row["macs"]) else f", {exact(row['macs'])} MACs"
        texts.append(
            f"<b>{row['name']}</b>: {row['status']}<br>comes in: {_both(low, high)}<br>"
            f"its own: {_both(low_behind, high_behind)}<br>{exact(row['params'])} parameters{macs}"
        )
    return texts


def _side(field: Pair) -> str:
    height, width = field
    return exact(height) if height == width else f"{height} x {width}"


def _both(shortest: str, longest: str) -> str:
    return f"{shortest} px" if shortest == longest else f"{shortest} px by the shortest path, {longest} by all"


def _image_lines(image: Pair) -> dict[int, str]:
    height, width = image
    return {height: "image"} if height == width else {height: "image, height", width: "image, width"}


def _ticks(most: int) -> Sequence[int]:
    """1, 2 and 5 times powers of ten, up to the most."""
    return [digit * 10**power for power in range(5) for digit in (1, 2, 5) if digit * 10**power <= 1.6 * most]
