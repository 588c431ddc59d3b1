"""What a network predicts, and where it looks."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageOps

from explorer.attribution import Attribution
from explorer.figures.pictures import below
from explorer.figures.theme import ACCENT, SIGNED_SCALE, layout


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


def attribution_chart(attribution: Attribution, strength: float = 0.8) -> go.Figure:
    """The signed map over the picture as the network saw it, in grey, with a colour bar in logits.

    A map coarser than the picture is interpolated for the eye; its numbers are those of its cells. The scale is
    symmetric about zero and ends at the 99.5th percentile of the absolute values, so that one pixel does not set it
    (or, where nearly all are zero, at the largest).

    Args:
        attribution: from `explorer.attribution.attribute`.
        strength: opacity of the map, 0 to 1.
    """
    picture = attribution.picture
    rows, columns = attribution.map.shape
    drawn = Image.fromarray(attribution.map).resize(picture.size, Image.Resampling.BILINEAR)
    values = np.asarray(drawn, dtype=np.float32)
    sizes = np.abs(values)
    end = float(np.percentile(sizes, 99.5)) or float(sizes.max()) or 1.0
    unit = "pixel" if (columns, rows) == picture.size else f"cell of {rows}x{columns}"
    heat = go.Heatmap(
        z=values,
        zmin=-end,
        zmax=end,
        colorscale=SIGNED_SCALE,
        opacity=strength,
        colorbar={
            "orientation": "h",
            "y": -0.02,
            "yanchor": "top",
            "thickness": 12,
            "lenmode": "pixels",
            "len": 320,
            "outlinewidth": 0,
            "title": {"text": f"logits per {unit}", "side": "bottom"},
        },
        hovertemplate="x %{x}, y %{y}: %{z:.3g}<extra></extra>",
    )
    axis = {"visible": False, "constrain": "domain"}
    axes: dict[str, Any] = {
        "xaxis": {**axis, "range": [-0.5, picture.width - 0.5]},
        "yaxis": {**axis, "range": [picture.height - 0.5, -0.5], "scaleanchor": "x"},
    }
    return go.Figure(
        heat, layout(480, images=[below(ImageOps.grayscale(picture))], plot_bgcolor="rgba(0, 0, 0, 0)", **axes)
    )
