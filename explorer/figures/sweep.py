"""What a sweep's runs ended with, by depth."""

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import ACCENT, SERIES_COLOURS, layout
from explorer.figures.training import CURVES

_DASHES = ("solid", "dash", "dot")
_EDGE = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
_LEGEND = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}


def depths_chart(rows: pd.DataFrame, quantity: str) -> go.Figure:
    """A line a family over the depth: the median over seeds, in a band from lowest to highest.

    A depth at which no run of the family has the number stands at the upper edge with a sign.

    Args:
        rows: from `explorer.training.results.by_depth`.
        quantity: what it is of, a key of `explorer.figures.training.CURVES`.
    """
    title, unit = CURVES[quantity]
    traces: list[go.Scatter] = []
    for place, family in enumerate(dict.fromkeys(rows.family)):
        own = rows[rows.family == family].sort_values("depth")
        known = own[own.seeds > 0]
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        if known.seeds.max() > 1:
            traces.append(
                go.Scatter(
                    x=[*known.depth, *known.depth[::-1]],
                    y=[*known.high, *known.low[::-1]],
                    fill="toself",
                    fillcolor=colour,
                    opacity=0.2,
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=family,
                )
            )
        traces.append(
            go.Scatter(
                x=list(known.depth) or [None],
                y=list(known["median"]) or [None],
                name=family,
                legendgroup=family,
                mode="lines+markers",
                line={"color": colour, "dash": _DASHES[place // len(SERIES_COLOURS) % len(_DASHES)]},
                customdata=_over(known),
                hovertemplate="%{x} layers: %{y:.4~g}, %{customdata}",
            )
        )
        none = own[own.seeds == 0]
        if len(none):
            traces.append(
                go.Scatter(
                    x=list(none.depth),
                    y=[1] * len(none),
                    yaxis="y2",
                    mode="markers",
                    cliponaxis=False,
                    marker={"symbol": "triangle-up", "size": 10, "color": colour},
                    name=family,
                    legendgroup=family,
                    showlegend=False,
                    hovertemplate="%{x} layers: no run has this number",
                )
            )
    x_axis = {"title": {"text": "depth, layers"}, "tickvals": sorted(set(rows.depth)), "zeroline": False}
    y_axis = {"title": {"text": f"{unit}, at the end"}, "rangemode": "tozero"}
    return go.Figure(traces, layout(420, title, legend=_LEGEND, xaxis=x_axis, yaxis=y_axis, yaxis2=_EDGE))


def depths_map(rows: pd.DataFrame, quantity: str) -> go.Figure:
    """A cell for each family and depth: the median over seeds, its number in it; empty where nothing was run.

    "(2 of 3)" behind it where some of the runs have no such number, "none" where all have none.

    Args:
        rows, quantity: as of `depths_chart`.
    """
    title, unit = CURVES[quantity]
    families, depths = list(dict.fromkeys(rows.family)), sorted(set(rows.depth))
    told = rows.assign(
        text=[
            f"{value:.3g}{f' ({seeds} of {seeds + missing})' if missing else ''}" if seeds else "none"
            for value, seeds, missing in zip(rows["median"], rows.seeds, rows.missing, strict=True)
        ],
        hover=_over(rows),
    )
    median, text, hover = (
        told.pivot(index="family", columns="depth", values=column).reindex(families)[depths]
        for column in ("median", "text", "hover")
    )
    heat = go.Heatmap(
        x=[str(depth) for depth in depths],
        y=families,
        z=median.to_numpy(),
        text=text.fillna("").to_numpy(),
        texttemplate="%{text}",
        customdata=hover.fillna("not run").to_numpy(),
        hovertemplate="%{y}, %{x} layers: %{text}, %{customdata}<extra></extra>",
        colorscale=[[0.0, "#EAF3F9"], [1.0, ACCENT]],  # opaque, so that the numbers stand out on a dark page too
        colorbar={"title": {"text": f"{unit}, at the end", "side": "right"}, "thickness": 12},
        xgap=2,
        ygap=2,
    )
    axes = {
        "xaxis": {"type": "category", "title": {"text": "depth, layers"}, "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False},
    }
    return go.Figure(heat, layout(140 + 50 * len(families), title, **axes))


def _over(rows: pd.DataFrame) -> list[str]:
    """Over what each row's median is."""
    return [
        (f"{low:.4g} to {high:.4g} over {seeds} seeds" if seeds > 1 else f"{seeds or 'no'} seed")
        + (f"; {missing} without this number" if missing else "")
        for low, high, seeds, missing in zip(rows.low, rows.high, rows.seeds, rows.missing, strict=True)
    ]
