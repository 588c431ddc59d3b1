"""What receptive fields look like: along the depth, over the paths, and pixel by pixel."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.analysis.field_stories import Cells
from explorer.figures.theme import ACCENT, OTHER_COLOUR, SERIES_COLOURS, exact, layout

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # with eight colours forty networks
_MARKS = ("dash", "solid", "dashdot", "dot")
_BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
_POINTS = 3_000  # of all lines together: more are no longer told apart, and slow
_BARS = 700
_HEIGHT_AXIS = {"title": "height of the path's field, px", "tickformat": ",d", "rangemode": "tozero"}
_CELLS = 21  # at least so many have room side by side
_RARE = 1e-5  # a share of paths too small to see


def field_depth_chart(
    lines: pd.DataFrame, x: str, images: Sequence[int], *, logarithmic: bool, bands: bool
) -> go.Figure:
    """The receptive field against depth: a line a network, a dot where a stage ends, the images' sizes dashed.

    Args:
        lines: from `field_lines`.
        x: "depth" or "share_of_depth".
        images: sides in pixels, the smallest first.
        logarithmic: whether the pixels stand on a logarithmic scale.
        bands: whether to fill what lies between the shortest and the longest path.
    """
    traces: list[go.Scatter] = []
    for net, rows, colour, dash in _by_network(lines):
        band = rows[rows["shortest"].notna()]  # nobody knows the paths behind an enlarged map
        if bands and (band["shortest"] < band["longest"]).any():
            traces.append(
                go.Scatter(
                    x=[*band[x], *band[x][::-1]],
                    y=[*band["longest"], *band["shortest"][::-1]],
                    fill="toself",
                    fillcolor=_faint(colour),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=net,
                )
            )
        traces.append(
            go.Scatter(
                x=list(rows[x]),
                y=list(rows["receptive_field"]),
                name=net,
                legendgroup=net,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"size": [8 if ends else 0 for ends in rows["ends_stage"]], "color": colour},
                customdata=_told(rows),
                hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    top = int(lines["receptive_field"].max())
    texts = _image_texts(images, top, logarithmic=logarithmic)
    traces += [
        go.Scatter(
            x=[0, lines[x].max()],
            y=[side, side],
            mode="lines+text",
            line={"color": OTHER_COLOUR, "dash": "dash", "width": 1.5},
            text=[text, ""],
            textposition="top right",
            textfont={"color": OTHER_COLOUR},
            hoverinfo="skip",
            showlegend=False,
        )
        for side, text in texts.items()
    ]
    scale = {"type": "log", "dtick": "D2"} if logarithmic else {"rangemode": "tozero"}
    axes = {"xaxis": _depth_axis(x), "yaxis": {**scale, "tickformat": ",d"}}
    return go.Figure(traces, layout(520, "Receptive field, px", legend=_BELOW, **axes))


def stride_chart(lines: pd.DataFrame, x: str, *, legend: bool) -> go.Figure:
    """The distance of neighbouring units in pixels of the image, against depth: a step line a network.

    Args:
        lines, x: as for `field_depth_chart`, whose colours it has.
        legend: whether it stands alone and must name the networks.
    """
    traces = [
        go.Scatter(
            x=list(rows[x]),
            y=list(rows["jump"]),
            name=net,
            mode="lines",
            line={"color": colour, "dash": dash, "shape": "hv"},
            customdata=_told(rows),
            hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
        )
        for net, rows, colour, dash in _by_network(lines)
    ]
    ticks = sorted(set(lines["jump"]))
    room = [math.log10(ticks[0] / 1.2), math.log10(ticks[-1] * 1.2)]  # else half of the outer lines is cut off
    axes = {
        "xaxis": _depth_axis(x),
        "yaxis": {"type": "log", "range": room, "tickvals": ticks, "ticktext": list(map(str, ticks))},
    }
    return go.Figure(traces, layout(340, "Stride, px", legend=_BELOW, showlegend=legend, **axes))


def paths_chart(shares: pd.DataFrame, marks: Mapping[str, float]) -> go.Figure:
    """How many of the paths have a field of which height: a bar a height, or where there are too many a few together.

    Args:
        shares: from `share_table`, of one network. What is too rare to see is left out.
        marks: heights to mark, by what they are.
    """
    highest = float(shares["share"].max())
    rows = shares[shares["share"] >= _RARE * highest]
    gap = math.gcd(*(int(height) - int(rows["height"].min()) for height in rows["height"])) or 1
    least = int(rows["height"].min())
    wide = max(gap, -(-(int(rows["height"].max()) - least + gap) // _BARS))  # pixels that a bar is for
    bins = rows.groupby((rows["height"] - least) // wide)["share"].sum()
    starts = [least + wide * int(place) for place in bins.index]
    alone = wide == gap
    bars = go.Bar(
        x=[start if alone else start + (wide - 1) / 2 for start in starts],
        y=list(bins),
        name=str(shares["net"].iloc[0]),
        width=0.9 * wide,
        marker={"color": ACCENT},
        customdata=[
            f"{start:,} px: {share:.3%} of the paths"
            if alone
            else f"{start:,} to {start + wide - 1:,} px: {share:.3%} of the paths"
            for start, share in zip(starts, bins, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    lines = [
        go.Scatter(
            x=[height, height],
            y=[0, 1.05 * max(bins)],
            name=f"{what}: {height:,.6g} px",
            mode="lines",
            line={"color": SERIES_COLOURS[1 + index], "dash": _MARKS[index]},
            hoverinfo="name",
        )
        for index, (what, height) in enumerate(marks.items())
    ]
    axes = {"xaxis": _HEIGHT_AXIS, "yaxis": {"tickformat": ".2~%", "rangemode": "tozero"}}
    title = "Share of the paths" if alone else f"Share of the paths, {wide} px a bar"
    return go.Figure([bars, *lines], layout(440, title, legend=_BELOW, showlegend=True, **axes))


def path_sums_chart(shares: pd.DataFrame) -> go.Figure:
    """The share of the paths up to each height, a line a network: heights that are more or less dense stay comparable.

    Args:
        shares: from `share_table`.
    """
    traces = []
    for index, (net, table) in enumerate(shares.groupby("net", sort=False)):
        rows = table[:: -(-len(table) // _BARS)]
        traces.append(
            go.Scatter(
                x=[rows["height"].iloc[0], *rows["height"], table["height"].iloc[-1]],
                y=[0.0, *rows["up_to"], 1.0],
                name=str(net),
                mode="lines",
                line={
                    "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
                    "dash": _DASHES[index // len(SERIES_COLOURS) % len(_DASHES)],
                    "shape": "hv",
                },
                hovertemplate="up to %{x:,} px: %{y:.2%} of the paths<extra>%{fullData.name}</extra>",
            )
        )
    axes = {"xaxis": _HEIGHT_AXIS, "yaxis": {"tickformat": ".0%", "range": [0, 1.03]}}
    return go.Figure(traces, layout(440, "Share of the paths up to a height", legend=_BELOW, showlegend=True, **axes))


def cells_chart(rows: Sequence[Cells]) -> go.Figure:
    """What unit 0 of small stacks sees along one axis: a row each, a cell a pixel of the image, holes left pale."""
    low = min(row.lo for row in rows)
    high = max(row.pixels[-1] for row in rows)
    pixels = range(low, high + 1)
    room = max(0, _CELLS - len(pixels)) / 2  # so that few cells are no bars
    seen = [set(row.pixels) for row in rows]
    inside = [range(row.lo, row.pixels[-1] + 1) for row in rows]
    values = [
        [1.0 if pixel in mine else 0.0 if pixel in box else None for pixel in pixels]
        for mine, box in zip(seen, inside, strict=True)
    ]
    words = {1.0: "seen", 0.0: "in the field, not seen: a hole", None: "outside"}
    names = [f"{row.name}: {len(box)}" for row, box in zip(rows, inside, strict=True)]
    grid = go.Heatmap(
        x=list(pixels),
        y=names,
        z=values,
        zmin=0,
        zmax=1,
        colorscale=[[0, "rgba(136, 136, 136, 0.25)"], [1, ACCENT]],
        showscale=False,
        xgap=2,
        ygap=8,
        hoverongaps=False,
        customdata=[[words[value] for value in line] for line in values],
        hovertemplate="%{y}<br>pixel %{x}: %{customdata}<extra></extra>",
    )
    axes = {
        "xaxis": {
            "title": "pixel; below 0 is padding",
            "range": [low - 0.5 - room, high + 0.5 + room],
            "tickformat": "d",
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
    }
    return go.Figure(grid, layout(120 + 38 * len(rows), "Pixels that unit 0 sees", **axes))


def _by_network(lines: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str, str]]:
    """Each network's rows with its colour and dash; of very many rows every few, and all that end a stage."""
    groups = list(lines.groupby("net", sort=False))
    found = []
    for index, (net, rows) in enumerate(groups):
        step = -(-len(rows) * len(groups) // _POINTS)
        kept = rows["ends_stage"] | (pd.RangeIndex(len(rows)) % step == 0)
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        found.append((str(net), rows[kept], colour, _DASHES[index // len(SERIES_COLOURS) % len(_DASHES)]))
    return found


def _image_texts(sides: Sequence[int], top: int, *, logarithmic: bool) -> dict[int, str]:
    """What stands at the line of each image side; of lines too close for two texts the highest has both."""
    texts: dict[int, str] = {}
    together: list[str] = []
    for side, following in zip(sides, [*sides[1:], None], strict=False):  # there may be none
        together.append(exact(side))
        apart = following is None or (following > 1.3 * side if logarithmic else following - side > 0.06 * top)
        texts[side] = f"image: {', '.join(together)} px" if apart else ""
        if apart:
            together = []
    return texts


def _told(rows: pd.DataFrame) -> list[str]:
    """The text under the mouse."""
    return [
        f"{row['name']}, stage {row['stage']}, depth {row['depth']}<br>field {exact(row['receptive_field'])} px, "
        f"stride {row['jump']}, start {row['start']:g}<br>"
        + (
            "paths unknown"
            if pd.isna(row["longest"])
            else f"paths {exact(row['shortest'])} to {exact(row['longest'])} px"
        )
        for row in rows.to_dict("records")
    ]


def _depth_axis(x: str) -> dict[str, Any]:
    if x == "depth":
        return {"title": "depth in layers with weights", "rangemode": "tozero"}
    return {"title": "part of the depth", "tickformat": ".0%", "range": [0, 1.02]}


def _faint(colour: str) -> str:
    """A colour that lets what is below it through."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.15)"
