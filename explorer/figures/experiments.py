"""What the historic nets introduced, in charts."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from explorer.figures.theme import ACCENT, OTHER_COLOUR, SERIES_COLOURS, layout

_SECOND = SERIES_COLOURS[1]  # beside the accent, which is the first


def marked_picture(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A copy of the picture with a frame around (left, top, right, bottom), black and white, so that it shows."""
    marked = picture.copy()
    left, top, right, bottom = box
    draw = ImageDraw.Draw(marked)
    draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline="black", width=3)
    draw.rectangle((left - 1, top - 1, right, bottom), outline="white")
    return marked


def channel_chart(table: pd.DataFrame, peak: int) -> go.Figure:
    """A bar for each channel before normalisation and one in front of it after; the peak's neighbours stand on grey.

    Args:
        table: of `Inhibition`.
        peak: the strongest channel.
    """
    bars = [
        go.Bar(
            x=list(table.channel),
            y=list(table[column]),
            name=name,
            marker={"color": colour},
            hovertemplate=f"channel %{{x}}, {name}: %{{y:.4g}}<extra></extra>",
        )
        for column, name, colour in (("before", "before", OTHER_COLOUR), ("after", "after", ACCENT))
    ]
    near = table.channel[table.neighbour]
    window = {
        "type": "rect",
        "yref": "paper",
        "x0": int(near.min()) - 0.5,
        "x1": int(near.max()) + 0.5,
        "y0": 0,
        "y1": 1,
        "fillcolor": "rgba(136, 136, 136, 0.25)",
        "line": {"width": 0},
        "layer": "below",
    }
    note = {
        "x": peak,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": "strongest",
        "showarrow": False,
    }
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "channel"}}, "yaxis": {"title": {"text": "response"}}}
    legend = {"orientation": "h", "y": -0.3, "x": 0}
    return go.Figure(
        bars,
        layout(
            340, "Responses at one place", barmode="overlay", shapes=[window], annotations=[note], legend=legend, **axes
        ),
    )


def reads_chart(times: NDArray[np.int64]) -> go.Figure:
    """How many windows read each value of a small map, the number in its cell.

    Args:
        times: from `explorer.analysis.pooling.reads`.
    """
    cells = go.Heatmap(
        z=times,
        zmin=0,
        zmax=max(4, int(times.max())),
        colorscale=[[0.0, "#EAF3F9"], [1.0, ACCENT]],  # opaque, so that the numbers stand out on a dark page too
        showscale=False,
        xgap=2,
        ygap=2,
        text=times,
        texttemplate="%{text}",
        hovertemplate="row %{y}, column %{x}: read by %{z} windows<extra></extra>",
    )
    axis = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    axes: dict[str, Any] = {
        "xaxis": axis,
        "yaxis": {**axis, "autorange": "reversed", "scaleanchor": "x"},
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
    }
    return go.Figure(cells, layout(340, "Windows that read a value", **axes))


def shift_chart(summary: pd.DataFrame, names: dict[int, str]) -> go.Figure:
    """Change of the pooled map against the shift of the picture: a line a pool, from the lowest to the highest seed.

    Args:
        summary: from `explorer.analysis.pooling.shift_summary`.
        names: what the pool of each z is called.
    """
    lines = []
    for (z, name), colour in zip(names.items(), (ACCENT, OTHER_COLOUR), strict=False):
        rows = summary[summary.z == z]
        lines.append(
            go.Scatter(
                x=list(rows["shift"]),
                y=list(rows["median"]),
                error_y={
                    "type": "data",
                    "array": list(rows.highest - rows["median"]),
                    "arrayminus": list(rows["median"] - rows.lowest),
                },
                name=name,
                mode="lines+markers",
                line={"color": colour},
                hovertemplate=f"{name}, %{{x}} px: %{{y:.1%}}<extra></extra>",
            )
        )
    axes: dict[str, Any] = {
        "xaxis": {"title": {"text": "shift, px"}, "dtick": 1},
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": -0.3, "x": 0},
    }
    return go.Figure(lines, layout(340, "Change of the pooled map", **axes))


def passes_chart(table: pd.DataFrame) -> go.Figure:
    """How far the mean of many dropout passes is from the pass without, against their number; both axes logarithmic.

    Args:
        table: of `explorer.training.dropout.Passes`, of a rate above 0.
    """
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("linear", "behind a linear layer", {"color": ACCENT}),
        ("expected", "expected there", {"color": ACCENT, "dash": "dot"}),
        ("behind_relu", "behind a ReLU", {"color": _SECOND}),
    )
    lines = [
        go.Scatter(
            x=list(table.passes),
            y=list(table[column]),
            name=name,
            mode="lines" if column == "expected" else "lines+markers",
            line=line,
            hovertemplate=f"{name}, mean of %{{x}}: %{{y:.2%}} off<extra></extra>",
        )
        for column, name, line in styles
    ]
    axes: dict[str, Any] = {
        "xaxis": {"type": "log", "title": {"text": "passes averaged"}, "tickvals": list(table.passes[::2])},
        "yaxis": {"type": "log", "tickformat": ".0%", "dtick": 1},
        "legend": {"orientation": "h", "y": -0.3, "x": 0},
    }
    return go.Figure(lines, layout(360, "Distance to the full net", **axes))


def learning_chart(runs: pd.DataFrame) -> go.Figure:
    """Training and test error by step, a thin line a seed: with dropout and without.

    Args:
        runs: from `explorer.training.dropout.learning`.
    """
    lines = []
    seen: set[str] = set()
    for (rate, seed), run in runs.groupby(["rate", "seed"]):
        colour = ACCENT if rate else _SECOND
        for column, dash, word in (("train_error", "dot", "training"), ("test_error", "solid", "test")):
            name = f"{word}, " + (f"dropout {rate:g}" if rate else "no dropout")
            lines.append(
                go.Scatter(
                    x=list(run.step),
                    y=list(run[column]),
                    name=name,
                    legendgroup=name,
                    showlegend=name not in seen,
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 1.5},
                    hovertemplate=f"{name}, seed {seed}, step %{{x}}: %{{y:.1f}}%<extra></extra>",
                )
            )
            seen.add(name)
    axes: dict[str, Any] = {
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"ticksuffix": "%", "range": [0, 60]},
        "legend": {"orientation": "h", "y": -0.25, "x": 0},
    }
    return go.Figure(lines, layout(380, "Error", **axes))


def variants_chart(table: pd.DataFrame, reference: str, centre: float, ten: float) -> go.Figure:
    """The probability of one class for each variant of a picture, with lines for the centre crop and for ten crops.

    Args:
        table: of `Answers`. reference: the class's name. centre, ten: its probability for the centre crop, and in the
            mean of ten crops.
    """
    same = table.class_name == reference
    bars = [
        go.Bar(
            x=list(table.variant[chosen]),
            y=list(table.reference[chosen]),
            name=name,
            marker={"color": colour},
            customdata=list(table.class_name[chosen]),
            hovertemplate=f"variant %{{x}}: {reference} %{{y:.1%}}, taken for %{{customdata}}<extra></extra>",
        )
        for chosen, name, colour in ((same, f"taken for {reference}", ACCENT), (~same, "for something else", _SECOND))
        if chosen.any()
    ]
    ends = [0.4, len(table) + 0.6]
    lines = [
        go.Scatter(
            x=ends,
            y=[value, value],
            name=name,
            mode="lines",
            line={"color": OTHER_COLOUR, "dash": dash},
            hovertemplate=f"{name}: %{{y:.1%}}<extra></extra>",
        )
        for value, name, dash in ((centre, "centre crop", "solid"), (ten, "mean of ten crops", "dot"))
    ]
    axes: dict[str, Any] = {
        "xaxis": {"dtick": 1, "title": {"text": "variant"}, "range": ends},
        "yaxis": {"tickformat": ".0%", "range": [0, 1]},
        "legend": {"orientation": "h", "y": -0.3, "x": 0},
    }
    return go.Figure([*bars, *lines], layout(340, f"Probability of {reference}", **axes))
