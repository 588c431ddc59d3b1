"""What a unit sees of a picture: its theoretical box, the grid of its map, and the field that gradients measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from explorer.analysis.effective import MASS, EffectiveField
from explorer.analysis.fields import box_of, centre_of
from explorer.analysis.receptive import Field
from explorer.analysis.rules import Pair
from explorer.figures.pictures import below
from explorer.figures.theme import SERIES_COLOURS, layout

_BOX, _UNIT, _HEAT = SERIES_COLOURS[0], SERIES_COLOURS[1], SERIES_COLOURS[4]
_MOST_UNITS = 1024  # drawn of a map's grid
_MOST_ROOM = 0.8  # around the picture, in its own sides, for a box that leaves it; a larger one is cut off
_HEAT_SCALE = [[0.0, "rgba(213, 94, 0, 0.85)"], [0.5, "rgba(230, 159, 0, 0.5)"], [MASS, "rgba(230, 159, 0, 0)"]]
_HEAT_SCALE += [[1.0, "rgba(230, 159, 0, 0)"]]


def sight_chart(
    picture: Image.Image,
    field: Field,
    units: Pair,
    unit: Pair,
    effective: EffectiveField | None = None,
    *,
    grid: bool = True,
) -> go.Figure:
    """The box of one unit over the picture that the network sees, the centres of its map's units, and its effective
    field as colours, with lines around the smallest regions with half and with 95% of the gradient.

    The first trace holds the units' centres, with (row, column) as custom data: they can be clicked.

    Args:
        picture: of the size that the network takes.
        field: of the map. units: rows and columns of the map. unit: (row, column) of the chosen one.
        effective: the chosen unit's. grid: whether to draw the centres.
    """
    traces = [_centres(field, units, grid), *_heat(effective, picture), _outline(field, unit), _cross(field, unit)]
    return go.Figure(traces, _over(picture, [(field, unit)]))


def depth_animation(
    picture: Image.Image,
    steps: Sequence[tuple[str, Field, Pair]],
    effective: Sequence[EffectiveField | None] | None = None,
) -> go.Figure:
    """The boxes of units at one place of the picture, layer after layer, to be played.

    Args:
        picture: of the size that the network takes.
        steps: name, field and unit of each layer, the first nearest to the image.
        effective: the units' effective fields, one for each step, None where there is none.
    """
    contents = [
        [*_heat(effective[place] if effective else None, picture), _outline(field, unit, name), _cross(field, unit)]
        for place, (name, field, unit) in enumerate(steps)
    ]
    names = [f"{name}: {_side(field, unit)} px" for name, field, unit in steps]
    frames = [go.Frame(data=content, name=name) for content, name in zip(contents, names, strict=True)]
    figure = go.Figure(contents[-1], _over(picture, [(field, unit) for _, field, unit in steps]), frames)
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    playing = {"mode": "immediate", "fromcurrent": False, "frame": {"duration": 700, "redraw": True}}
    figure.update_layout(
        height=680,
        xaxis_title=None,  # the slider is there
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        sliders=[
            {
                "active": len(names) - 1,
                "steps": [{"label": name, "method": "animate", "args": [[name], still]} for name in names],
                "currentvalue": {"visible": False},
                "font": {"color": "rgba(0, 0, 0, 0)"},  # the labels would cover each other; the legend has the current
                "pad": {"t": 50},
                "x": 0.2,
                "len": 0.8,
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "showactive": False,
                "direction": "left",
                "x": 0,
                "y": 0,
                "xanchor": "left",
                "yanchor": "top",
                "pad": {"t": 50},
                "buttons": [
                    {"label": "Play", "method": "animate", "args": [None, playing]},
                    {"label": "Pause", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
    )
    return figure


def ratio_chart(tables: Mapping[str, pd.DataFrame], *, ratio: bool = False) -> go.Figure:
    """The width of the effective field behind the layers of networks, beside the theoretical one, against depth.

    Args:
        tables: rows of `effective_table` by the network's name.
        ratio: the effective as a part of the theoretical, instead of both in pixels.
    """
    traces: list[go.Scatter] = []
    for place, (name, table) in enumerate(tables.items()):
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        line = {"legendgroup": name, "x": table["depth"], "customdata": table["name"], "mode": "lines+markers"}
        traces.append(
            go.Scatter(
                y=table["ratio" if ratio else "effective"],
                name=name,
                line={"color": colour},
                marker={"symbol": ["circle" if whole else "circle-open" for whole in table["whole"]], "size": 8},
                hovertemplate="%{customdata}<br>depth %{x}: " + ("%{y:.0%}" if ratio else "%{y:.1f} px"),
                **line,
            )
        )
        if not ratio:
            traces.append(
                go.Scatter(
                    y=table["theoretical"],
                    name=f"{name}, theoretical",
                    showlegend=False,
                    opacity=0.6,
                    line={"color": colour, "dash": "dot"},
                    marker={"size": 3},
                    hovertemplate="%{customdata}<br>depth %{x}: %{y:.0f} px",
                    **line,
                )
            )
    y = {"title": "effective / theoretical", "tickformat": ".0%", "rangemode": "tozero"}
    return go.Figure(
        traces,
        layout(
            460,
            "Effective field as a part of the theoretical" if ratio else "Effective field, px",
            legend={"orientation": "h", "y": -0.22, "x": 0},
            xaxis={"title": "depth, layers with weights", "rangemode": "tozero"},
            yaxis=y if ratio else {"title": "side, px", "rangemode": "tozero"},
        ),
    )


def section_chart(field: EffectiveField) -> go.Figure:
    """The gradient's mass along height and width, added up over the other axis, with the Gaussians fitted to it."""
    traces: list[go.Scatter] = []
    for axis, (name, fit) in enumerate(zip(("along height", "along width"), field.gaussians, strict=True)):
        mass, colour = field.map.sum(1 - axis), SERIES_COLOURS[axis]
        pixels = np.arange(len(mass), dtype=float)
        traces.append(
            go.Scatter(x=pixels, y=mass, name=name, line={"color": colour}, hovertemplate="pixel %{x}: %{y:.3%}")
        )
        if fit is not None:
            traces.append(
                go.Scatter(
                    x=pixels,
                    y=fit.mass(pixels),
                    name=f"Gaussian, {fit.width:.0f} px, R² {fit.explained:.3f}",
                    line={"color": colour, "dash": "dot"},
                    hovertemplate="pixel %{x}: %{y:.3%}",
                )
            )
    return go.Figure(
        traces,
        layout(
            320,
            "Gradient by row and by column",
            yaxis={"tickformat": ".1%", "rangemode": "tozero"},
        ),
    )


def _centres(field: Field, units: Pair, grid: bool) -> go.Scatter:
    step = max(1, int(np.ceil(np.sqrt(units[0] * units[1] / _MOST_UNITS))))
    places = [(row, column) for row in range(0, units[0], step) for column in range(0, units[1], step)] if grid else []
    centres = [centre_of(field, place) for place in places]
    return go.Scatter(
        x=[x for _, x in centres],
        y=[y for y, _ in centres],
        customdata=places,
        mode="markers",
        marker={"size": 7, "color": "white", "opacity": 0.75, "line": {"color": "black", "width": 1}},
        name="units" if step == 1 else f"one unit in {step**2}",
        hovertemplate="unit %{customdata[0]}, %{customdata[1]}: row %{y}, column %{x}<extra></extra>",
    )


def _heat(effective: EffectiveField | None, picture: Image.Image) -> list[Any]:
    if effective is None:
        return []
    enclosed = effective.enclosing()
    step = -(-max(picture.size) // max(enclosed.shape))
    at = {"x0": (step - 1) / 2, "dx": step, "y0": (step - 1) / 2, "dy": step, "z": enclosed}
    heat = go.Heatmap(
        **at,
        zmin=0,
        zmax=1,
        colorscale=_HEAT_SCALE,
        showscale=False,
        hoverinfo="skip",  # else it takes the clicks that are for the units
    )
    lines = [
        go.Contour(
            **at,
            contours={"start": part, "end": part, "size": 1, "coloring": "none"},
            line={"color": _HEAT, "width": width, "dash": dash},
            showscale=False,
            name=f"{part:.0%} of the gradient",
            showlegend=True,
            hoverinfo="skip",
        )
        for part, width, dash in ((0.5, 2, "dot"), (MASS, 2.5, "solid"))
    ]
    return [heat, *lines]


def _outline(field: Field, unit: Pair, layer: str | None = None) -> go.Scatter:
    box = box_of(field, unit)
    left, right, top, bottom = box.left - 0.5, box.right + 0.5, box.top - 0.5, box.bottom + 0.5
    return go.Scatter(
        x=[left, right, right, left, left],
        y=[top, top, bottom, bottom, top],
        mode="lines",
        line={"color": _BOX, "width": 3},
        name=f"{f'{layer}, ' if layer else ''}theoretical field, {_side(field, unit)} px",
        hovertemplate="row %{y}, column %{x}<extra></extra>",
    )


def _cross(field: Field, unit: Pair) -> go.Scatter:
    y, x = centre_of(field, unit)
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers",
        marker={"symbol": "cross", "size": 12, "color": _UNIT, "line": {"color": "white", "width": 1}},
        name=f"unit {unit[0]}, {unit[1]}",
        hovertemplate="centre: row %{y}, column %{x}<extra></extra>",
    )


def _side(field: Field, unit: Pair) -> str:
    height, width = box_of(field, unit).size
    return f"{height:,}" if height == width else f"{height:,} x {width:,}"


def _over(picture: Image.Image, seen: Sequence[tuple[Field, Pair]]) -> dict[str, Any]:
    """The layout of a figure over a picture, with room for the boxes as far as they leave it by its own side."""
    boxes = [box_of(field, unit) for field, unit in seen]
    left, right = _range(picture.width, min(box.left for box in boxes), max(box.right for box in boxes))
    top, bottom = _range(picture.height, min(box.top for box in boxes), max(box.bottom for box in boxes))
    axis = {"constrain": "domain", "showgrid": False, "zeroline": False}
    return layout(
        600,
        images=[below(picture)],
        xaxis={**axis, "range": [left, right], "title": "column, px"},
        yaxis={**axis, "range": [bottom, top], "scaleanchor": "x", "title": "row, px"},
        plot_bgcolor="rgba(128, 128, 128, 0.15)",
    )


def _range(pixels: int, first: int, last: int) -> tuple[float, float]:
    """What is drawn along one axis: the picture, and the box as far as it is not much larger."""
    margin, room = 0.03 * pixels, _MOST_ROOM * pixels
    if first < -room or last > pixels + room:  # cut off at both ends, lest it seem to begin at the picture's edge
        return -margin, pixels - 1 + margin
    return min(first, 0) - margin, max(last, pixels - 1) + margin
