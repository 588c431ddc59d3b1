"""The square of a picture that a network sees: where it lies, and what becomes of its pixels."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from explorer.figures.pictures import below
from explorer.figures.theme import ACCENT, layout
from explorer.models.preprocessing import Box, Preprocessing

STEP = 0.5  # percent
LEAST = 10.0  # percent of the shorter side: less is a few pixels of most photos
_PLACES = 24  # to click, along the shorter side
_WIDE = 300  # pixels of the screen that the picture is wide, about
_SENT = 640  # pixels on the longer side of the picture that the browser gets


@dataclass(frozen=True)
class Place:
    """Where a square lies in a picture, in percent, to `STEP`.

    across: 0 at the left edge, 100 at the right one. down: 0 at the upper edge. Both are 50 in the centre, and where
        there is no room to move.
    side: of the picture's shorter side.
    """

    across: float
    down: float
    side: float

    @classmethod
    def of(cls, box: Box, width: int, height: int) -> "Place":
        """The place of a square in a picture of this size.

        >>> Place.of(Box(0.25, 0.0, 0.5), 300, 200)
        Place(across=25.0, down=0.0, side=50.0)
        """
        shorter = min(width, height)
        across = _percent(box.left, width / shorter - box.side)
        return cls(across, _percent(box.top, height / shorter - box.side), max(LEAST, _percent(box.side, 1.0)))

    def box(self, width: int, height: int) -> Box:
        """The square in a picture of this size; it lies inside.

        >>> Place(25.0, 0.0, 50.0).box(300, 200)
        Box(left=0.25, top=0.0, side=0.5)
        """
        side, shorter = self.side / 100, min(width, height)
        return Box(self.across / 100 * (width / shorter - side), self.down / 100 * (height / shorter - side), side)

    def at(self, x: float, y: float, width: int, height: int) -> "Place":
        """A square as large with its centre at a pixel, or as near to it as the edges let it be.

        >>> Place(50.0, 50.0, 50.0).at(250, 20, 300, 200)
        Place(across=100.0, down=0.0, side=50.0)
        """
        side = self.side / 100 * min(width, height)
        return Place(_percent(x - side / 2, width - side), _percent(y - side / 2, height - side), self.side)


def has_room(side: float, length: int, shorter: int) -> bool:
    """Whether a square of so many percent of the shorter side can be moved along a side of the picture."""
    return length > side / 100 * shorter + 1e-9


def _percent(part: float, whole: float) -> float:
    """A part in percent of the whole, from 0 to 100, to `STEP`; 50 of nothing."""
    if whole < 1e-9:
        return 50.0
    return round(100 * min(1.0, max(0.0, part / whole)) / STEP) * STEP


def crop_chart(picture: Image.Image, box: Box) -> go.Figure:
    """The picture, darkened outside of the square; unseen points over it can be clicked."""
    width, height = picture.size
    left, upper, right, lower = box.pixels(width, height)
    sent = picture.copy()
    sent.thumbnail((_SENT, _SENT))
    across, down = _points(width, height)
    points = go.Scatter(
        x=across,
        y=down,
        mode="markers",
        marker={"size": 18, "opacity": 0, "color": ACCENT},
        hovertemplate="Centre the square here<extra></extra>",
        showlegend=False,
    )
    ring = f"M 0 0 H {width} V {height} H 0 Z M {left} {upper} V {lower} H {right} V {upper} Z"
    shapes = [
        {"type": "path", "path": ring, "fillcolor": "rgba(0, 0, 0, 0.6)", "fillrule": "evenodd", "line": {"width": 0}},
        *(
            {"type": "rect", "x0": left, "y0": upper, "x1": right, "y1": lower, "line": line}
            for line in ({"color": "white", "width": 4}, {"color": ACCENT, "width": 2})
        ),
    ]
    axes = {"visible": False, "fixedrange": True}
    return go.Figure(
        points,
        layout(
            round(_WIDE * min(1.2, max(0.5, height / width))),
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            images=[{**below(sent), "x": 0, "y": 0, "sizex": width, "sizey": height}],
            shapes=shapes,
            dragmode=False,
            hovermode="closest",
            xaxis={**axes, "range": [0, width], "constrain": "domain"},
            yaxis={**axes, "range": [height, 0], "scaleanchor": "x", "constrain": "domain"},
        ),
    )


def _points(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of a grid of squares over the picture."""
    apart = min(width, height) / _PLACES
    x, y = (np.arange(apart / 2, longer, apart) for longer in (width, height))
    across, down = np.meshgrid(x, y)
    return across.ravel(), down.ravel()


def preparation(preprocessing: Preprocessing, picture: Image.Image, box: Box | None) -> str:
    """What is done to a picture before a network sees it, in words."""
    crop, resize = preprocessing.crop, preprocessing.resize
    width, height = picture.size
    if box is not None:
        left, upper, right, _ = box.pixels(width, height)
        cut = (
            f"the square of {right - left:.0f} px at {left:.0f}, {upper:.0f} is cut out and scaled to {crop} x {crop} "
            f"px ({preprocessing.interpolation})"
        )
    else:
        cut = f"the shorter side is scaled to {resize} px ({preprocessing.interpolation})" + (
            f" and the centre cut to {crop} x {crop} px" if (crop, crop) != (resize, resize) or width != height else ""
        )
    mean, std = (", ".join(f"{each:.3g}" for each in values) for values in (preprocessing.mean, preprocessing.std))
    what = "Grey" if preprocessing.channels == 1 else "Red, green and blue"
    how = "is" if preprocessing.channels == 1 else "are"
    return f"Of {width:,} x {height:,} px {cut}. {what}, from 0 to 1, less {mean}, {how} divided by {std}."


def channels_table(preprocessing: Preprocessing, seen: Image.Image) -> pd.DataFrame:
    """What a network gets of each channel: its lowest, mean and highest number."""
    values = input_of(preprocessing, seen)
    rows = values.reshape(len(values), -1)
    return pd.DataFrame(
        {
            "channel": ["grey"] if preprocessing.channels == 1 else ["red", "green", "blue"],
            "less": preprocessing.mean,
            "divided_by": preprocessing.std,
            "lowest": rows.min(1),
            "mean": rows.mean(1, dtype=np.float64),
            "highest": rows.max(1),
        }
    )


def input_of(preprocessing: Preprocessing, seen: Image.Image) -> NDArray[np.float32]:
    """The numbers that a network gets: (channels, rows, columns)."""
    values: NDArray[np.float32] = preprocessing.tensor(seen)[0].numpy()
    return values
