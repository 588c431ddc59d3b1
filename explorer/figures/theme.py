"""Colours, labels and number formats, the same on every page.

The colours are those of Okabe and Ito (2008), their yellow darkened for white pages: people with any colour vision tell
them apart, on white and on black.
"""

import math
from typing import Any

KIND_COLOURS = {
    "conv": "#0072B2",
    "linear": "#D55E00",
    "norm": "#E69F00",
    "activation": "#009E73",
    "pool": "#CC79A7",
    "add": "#56B4E9",
    "concat": "#56B4E9",
    "multiply": "#B8A800",
}
OTHER_COLOUR = "#888888"
# Lines and bubbles that stand for networks, in their order
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#888888")
ACCENT = "#0072B2"

# Signed maps over a picture: against is blue, for is orange, and what does not matter lets the picture through.
SIGNED_SCALE = [
    [0.0, "rgba(0, 114, 178, 1)"],
    [0.25, "rgba(86, 180, 233, 0.65)"],
    [0.5, "rgba(255, 255, 255, 0)"],
    [0.75, "rgba(230, 159, 0, 0.65)"],
    [1.0, "rgba(213, 94, 0, 1)"],
]

QUANTITIES = {
    "params": "Parameters",
    "macs": "MACs",
    "activation_bytes": "Activations",
    "receptive_field": "Receptive field",
}
TERMS = {**QUANTITIES, "depth": "Depth", "top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
_UNITS = {"activation_bytes": ", bytes", "receptive_field": ", px", "top1": ", %", "top5": ", %"}


def by_stage(column: str) -> str:
    """The title of a chart of a quantity by stage.

    >>> by_stage("activation_bytes")
    'Activations by stage, bytes'
    """
    return f"{QUANTITIES[column]} by stage{_UNITS.get(column, '')}"


def with_unit(column: str) -> str:
    """The heading of a quantity's column.

    >>> with_unit("receptive_field")
    'Receptive field, px'
    """
    return TERMS[column] + _UNITS.get(column, "")


def layout(height: int, title: str | None = None, **more: Any) -> dict[str, Any]:
    """The app's margins, title and legend, for `go.Figure(data, layout)`; text and grid follow the page's theme.

    Args:
        height: pixels; the width is the page's.
        title: a short one, as the toolbar shares its line on a telephone.
        more: Plotly's own layout settings.
    """
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 40, "b": 8},
        "legend": {"orientation": "h", "y": -0.12, "x": 0, "traceorder": "normal"},
        "hoverlabel": {"namelength": -1},
        "title": {"text": title, "font": {"size": 15}},
        **more,
    }


def logarithmic(low: float, high: float, room: float = 0.0) -> dict[str, Any]:
    """A logarithmic axis from one value to another, with numbers that can be read: eight powers of ten at most, twos
    and fives between them where they are few.

    Args:
        low, high: above 0.
        room: how far it goes on at either end, as a part of its length.
    """
    decades = math.log10(high) - math.log10(low)
    more = room * decades or (0.05 if decades == 0 else 0.0)
    ends = [math.log10(low) - more, math.log10(high) + more]
    ticks = {"nticks": 6} if decades < 0.7 else {"dtick": "D2"} if decades < 3 else {"dtick": math.ceil(decades / 8)}
    return {"type": "log", "range": ends, "exponentformat": "power", **ticks}


def config(file_name: str, kind: str = "svg") -> dict[str, Any]:
    """Plotly's settings: a download button in the figure's corner, and no logo."""
    return {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        "toImageButtonOptions": {"format": kind, "filename": file_name, "scale": 2},
    }


def short(number: float, unit: str = "") -> str:
    """A count in three or four digits with its SI prefix.

    >>> short(25557032), short(4089184256), short(269722, "B"), short(64)
    ('25.56 M', '4.089 G', '269.7 kB', '64')
    """
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.99995 * factor:  # what four digits round up to it
            return f"{number / factor:.4g} {prefix}{unit}"
    return f"{number:.4g} {unit}".rstrip()


def exact(number: int) -> str:
    """Every digit, in groups of three.

    >>> exact(25557032)
    '25,557,032'
    """
    return f"{number:,}"
