"""What a network predicts, and where it looks."""

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image, ImageOps

from explorer.attribution import Attribution
from explorer.figures.overlay import Look, Numbers, end_of, numbers, scale, unit_of, usual
from explorer.figures.pictures import below
from explorer.figures.theme import ACCENT, layout

_MOST = 20_000  # characters of the picture as PNG; as 224 x 224 px of a photo have more, it is then sent as WebP


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

    A map coarser than the picture is interpolated for the eye; under the pointer stands the number of the cell, to
    three digits, and no more of it is sent. The scale of signed numbers is symmetric about zero.

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
        z=_three_digits(values),
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
    return go.Figure(heat, layout(480, images=[_grey_below(picture)], plot_bgcolor="rgba(0, 0, 0, 0)", **axes))


def _three_digits(values: Numbers) -> NDArray[np.float32]:
    """The numbers, rounded so that three digits of each are as before and its last 12 bits are 0.

    Plotly writes numbers in base64 and each "/" of that, which is six bits that are 1, as six characters.
    """
    sizes = np.abs(values)
    whole = np.isfinite(values) & (sizes > 0)
    places = 2 - np.floor(np.log10(sizes, where=whole, out=np.zeros_like(sizes)))
    decimal = np.where(whole, np.rint(values * 10.0**places) / 10.0**places, values).astype(np.float32)
    # 11 bits of a fraction err by 1 / 4096, three digits by 1 / 2000; numbers below the normal ones have fewer bits
    bits = (decimal.view(np.uint32) + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)
    normal = np.abs(decimal) >= np.finfo(np.float32).smallest_normal
    rounded: NDArray[np.float32] = np.where(normal, bits.view(np.float32), decimal)
    return rounded


def _grey_below(picture: Image.Image) -> dict[str, Any]:
    """The picture in grey, under the map: exactly if it is small, else as the eye sees it."""
    grey = ImageOps.grayscale(picture)
    placed = below(grey)
    if len(placed["source"]) > _MOST:
        grey.save(buffer := io.BytesIO(), "WEBP", quality=90)
        placed["source"] = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return placed
