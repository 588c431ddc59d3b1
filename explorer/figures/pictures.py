"""A picture under a figure."""

import base64
import io
from typing import Any

from PIL import Image


def below(picture: Image.Image) -> dict[str, Any]:
    """Plotly's layout image of a picture whose pixels are at x = 0, 1, 2 ... and y = 0, 1, 2 ..."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {
        "source": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "xref": "x",
        "yref": "y",
        "x": -0.5,
        "y": -0.5,
        "sizex": picture.width,
        "sizey": picture.height,
        "sizing": "stretch",
        "layer": "below",
    }
