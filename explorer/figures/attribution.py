"""What a network predicts, and where it looks."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import ImageOps

from explorer.attribution import Attribution
from explorer.figures.overlay import Look, end_of, numbers, scale, unit_of, usual
from explorer.figures.pictures import below
from explorer.figures.theme import ACCENT, layout


def prediction_chart(rows: pd.DataFrame) -> go.Figure:
    """Bars of the likeliest classes, the first on top.

    Args:
        rows: the first few rows of `explorer.attribution.predict`.
    """
    names = [f"{name} ({index})" for name, index in zip(rows.class_name, rows.class_index, strict=True)]
    bars = go.Bar(
        x=rows.probability,
        y=names,
        orientation="h",
        marker_color=ACCENT,
        text=[f"{name}  {share:.1%}" for name, share in zip(rows.class_name, rows.probability, strict=True)],
        textposition="auto",
        insidetextanchor="start",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.4f}<extra></extra>",
    )
    axes: dict[str, Any] = {
        "xaxis": {"range": [0, 1], "tickformat": ".0%"},
        "yaxis": {"autorange": "reversed", "showticklabels": False},
    }
    return go.Figure(bars, layout(60 + 40 * len(rows), "Probability", **axes))


def attribution_chart(attribution: Attribution, look: Look | None = None, end: float | None = None) -> go.Figure:
    """The map over the picture as the network saw it, in grey, with a colour bar.

    A map coarser than the picture is interpolated for the eye; under the pointer stands the number of the cell. The
    scale of signed numbers is symmetric about zero.

    Args:
        attribution: from `explorer.attribution.attribute`.
        look: None is the one that suits the method, `explorer.figures.overlay.usual`.
        end: of the scale, to draw several maps alike; None: the map's own, at the look's percentile.
    """
    look = look or usual(attribution)
    picture = attribution.picture
    values = numbers(attribution, look)
    rows, columns = values.shape
    end = end_of(values, look.percentile) if end is None else end
    fine = (columns, rows) == picture.size
    across, down = picture.width / columns, picture.height / rows  # pixels a cell
    heat = go.Heatmap(
        z=values.astype(np.float32),
        x0=(across - 1) / 2,
        dx=across,
        y0=(down - 1) / 2,
        dy=down,
        zmin=0 if look.absolute else -end,
        zmax=end,
        zsmooth=False if fine else "best",
        colorscale=[[place, f"rgba({r:g}, {g:g}, {b:g}, {a:g})"] for place, (r, g, b, a) in scale(look)],
        opacity=look.strength,
        colorbar={
            "orientation": "h",
            "y": -0.02,
            "yanchor": "top",
            "thickness": 12,
            "lenmode": "pixels",
            "len": 320,
            "outlinewidth": 0,
            "title": {"text": unit_of(attribution, look).replace(" · ", "<br>"), "side": "bottom"},  # for telephones
        },
        hovertemplate=("x %{x}, y %{y}" if fine else "cell around x %{x:.0f}, y %{y:.0f}")
        + ": %{z:.3g}<extra></extra>",
    )
    axis = {"visible": False, "constrain": "domain"}
    axes: dict[str, Any] = {
        "xaxis": {**axis, "range": [-0.5, picture.width - 0.5]},
        "yaxis": {**axis, "range": [picture.height - 0.5, -0.5], "scaleanchor": "x"},
    }
    return go.Figure(
        heat, layout(480, images=[below(ImageOps.grayscale(picture))], plot_bgcolor="rgba(0, 0, 0, 0)", **axes)
    )
