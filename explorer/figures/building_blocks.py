"""The textbook calculations as pictures: two designs of one job, how a field grows, where windows stand."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.analysis.cost import Comparison, Design, PixelRow, Quantity
from explorer.analysis.layers import Layer
from explorer.figures.diagram import SHORTCUT_STYLES
from explorer.figures.theme import ACCENT, KIND_COLOURS, OTHER_COLOUR, exact, layout, short

USUAL_COLOUR = "#D55E00"
UNREAD_COLOUR = "#D55E00"
_SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_WORDS = {"weights": "weights", "macs": "MACs"}


def layers_chart(comparison: Comparison, quantity: Quantity) -> go.Figure:
    """A bar for each convolution or linear layer of both designs, the proposed one's on top, each with its number.

    Args:
        comparison: from one of the calculators.
        quantity: "weights" or "macs".
    """
    bars, ticks, place = [], [], 0
    for design, colour in ((comparison.proposed, ACCENT), (comparison.usual, USUAL_COLOUR)):
        counted = [layer for layer in design.layers if layer.kind in ("conv", "linear")]
        sizes = [layer.params if quantity == "weights" else layer.macs for layer in counted]
        bars.append(
            go.Bar(
                x=sizes,
                y=list(range(place, place + len(counted))),
                orientation="h",
                name=design.name,
                marker={"color": colour},
                text=[short(size) for size in sizes],
                textposition="outside",
                cliponaxis=False,
                customdata=[[layer.name, exact(size)] for layer, size in zip(counted, sizes, strict=True)],
                hovertemplate=f"%{{customdata[0]}}: %{{customdata[1]}} {_WORDS[quantity]}<extra></extra>",
            )
        )
        ticks += [layer.name if _window(layer) in layer.name else f"{layer.name} {_window(layer)}" for layer in counted]
        place += len(counted)
    most = max(max(bar.x) for bar in bars)
    axes = {
        "xaxis": {"range": [0, 1.35 * most], "tickformat": "~s", "nticks": 5},
        "yaxis": {
            "tickvals": list(range(place)),
            "ticktext": ticks,
            "range": [place - 0.5, -0.5],
            "automargin": True,
        },
    }
    title = f"{_WORDS[quantity].capitalize() if quantity == 'weights' else 'MACs'} by layer"
    return go.Figure(bars, layout(140 + 30 * place, title, legend=_legend(), **axes))


def schematic_chart(design: Design) -> go.Figure:
    """The design as boxes and arrows from its input to its output, branches side by side, the shortcut as an arc."""
    picture = _Picture(design.branches)
    shape = design.layers[0].input_shape
    picture.say(0.5, _LINE / 2, f"in: {_shape(shape)}")
    joined = next((layer.kind for layer in design.layers if layer.kind in ("add", "concat")), None)
    ends = [picture.column(place, chain) for place, chain in enumerate(design.branches)]
    low = max(ends) + _GAP
    if joined:
        for place, end in enumerate(ends):
            picture.arrow(picture.centre(place), end, low)
        picture.join("+" if joined == "add" else "concatenate", low)
        if joined == "add":
            picture.shortcut(_LINE + 4, low + _LINE / 2)
        low += _LINE + 4
        picture.arrow(0.5, low, low + _GAP)
    else:
        picture.arrow(picture.centre(0), max(ends), low + 4)
        low += 4 - _GAP
    picture.say(0.5, low + _GAP + _LINE / 2 + 2, f"out: {_shape(design.output_shape)}")
    return picture.figure(low + _GAP + _LINE + 8, design.name)


def growth_chart(sides: Sequence[int]) -> go.Figure:
    """How the field grows: a row of pixels for each map, and those marked that one unit of the last map depends on.

    Args:
        sides: from `field_growth`: of the last map, and of each map below it.
    """
    width = sides[-1] + 2  # one pixel at each side that is not seen
    middle = (width - 1) / 2
    seen: list[tuple[float, int]] = []
    blind: list[tuple[float, int]] = []
    lines: list[tuple[float | None, float | None]] = []
    for row, side in enumerate(sides):
        for pixel in range(width):
            (seen if abs(pixel - middle) <= side / 2 else blind).append((pixel, row))
        if row:  # what the outermost units above look at
            above = sides[row - 1]
            for sign in (-1, 1):
                lines += [(middle + sign * above / 2, row - 0.6), (middle + sign * side / 2, row - 0.4), (None, None)]
    cells = [
        _cells(blind, "rgba(136, 136, 136, 0.25)", "not seen"),
        _cells(seen, ACCENT, "seen by the one unit on top"),
    ]
    depth = len(sides) - 1
    names = ["output" if row == 0 else "input" if row == depth else f"map {depth - row}" for row in range(depth + 1)]
    texts = [f"{name}: {side}" for name, side in zip(names, sides, strict=True)]
    wires = go.Scatter(
        x=[x for x, _ in lines],
        y=[y for _, y in lines],
        mode="lines",
        line={"color": OTHER_COLOUR, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    return go.Figure(
        [*cells, wires],
        layout(
            110 + 46 * len(sides),
            "What one unit sees, in pixels",
            barmode="overlay",
            hovermode=False,
            dragmode=False,
            legend=_legend(),
            xaxis={"visible": False, "fixedrange": True, "range": [-0.6, width - 0.4]},
            yaxis={
                "tickvals": list(range(len(sides))),
                "ticktext": texts,
                "range": [depth + 0.6, -0.6],
                "fixedrange": True,
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
            },
        ),
    )


def share_chart(
    shares: Mapping[int, Sequence[Fraction]], out_channels: Sequence[int], kernel: int, number: int, share: Fraction
) -> go.Figure:
    """What a depthwise separable layer costs of a standard one, by channels out, a line for each kernel.

    Args:
        shares: from `separable_shares`, for these `out_channels`.
        kernel, number, share: the layer in hand, to be marked.
    """
    lines = [
        go.Scatter(
            x=list(out_channels),
            y=[float(share) for share in row],
            name=f"{side}x{side}",
            line={"color": colour},
            mode="lines",
            hovertemplate=f"{side}x{side}, %{{x}} channels out: %{{y:.4f}}<extra></extra>",
        )
        for (side, row), colour in zip(shares.items(), _SERIES, strict=False)
    ]
    mark = go.Scatter(
        x=[number],
        y=[float(share)],
        name=f"this layer, {kernel}x{kernel}",
        mode="markers",
        marker={"color": _SERIES[-1], "size": 14, "symbol": "diamond", "line": {"color": "#FFFFFF", "width": 1}},
        hovertemplate=f"{kernel}x{kernel}, {number} channels out: {float(share):.4f}<extra></extra>",
    )
    ticks = [1, 4, 16, 64, 256, 1024]
    axes = {
        "xaxis": {"type": "log", "title": "Channels out, N", "tickvals": ticks, "ticktext": [str(n) for n in ticks]},
        "yaxis": {"type": "log", "title": "Share of the MACs", "tickvals": [2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]},
    }
    return go.Figure(
        [*lines, mark], layout(380, "Separable for one standard", legend={"orientation": "h", "y": -0.28}, **axes)
    )


def options_chart(table: pd.DataFrame, column: str) -> go.Figure:
    """A bar for each shortcut option.

    Args:
        table: from `shortcut_options`; a row that is refused has no bar.
        column: "added_params" or "added_macs".
    """
    known = table[table[column].notna()]
    sizes = [int(size) for size in known[column]]
    bars = go.Bar(
        x=sizes,
        y=list(known["option"]),
        orientation="h",
        marker={"color": ACCENT},
        text=[short(size) for size in sizes],
        textposition="outside",
        cliponaxis=False,
        customdata=[exact(size) for size in sizes],
        hovertemplate="option %{y}: %{customdata}<extra></extra>",
    )
    axes = {
        "xaxis": {"range": [0, 1.35 * max(*sizes, 1)], "tickformat": "~s", "nticks": 5},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
    }
    title = {"added_params": "Parameters on shortcuts", "added_macs": "MACs on shortcuts"}[column]
    return go.Figure(bars, layout(210, title, **axes))


def pixels_chart(row: PixelRow) -> go.Figure:
    """The row of pixels with its padding, and the windows below it, a dot where a window reads.

    Where there is no room for all of it, its two ends are drawn. Windows stand in lanes, so that none hides another.
    """
    first, last = -row.padding, row.n + row.padding - 1
    if last - first < _CELLS:
        shown = [(range(first, last + 1), 0)]
    else:
        half = _CELLS // 2
        right = range(last - half + 1, last + 1)
        shown = [(range(first, first + half), 0), (right, first + half + 2 - right[0])]
    unread = set(row.unread)
    cells: dict[str, list[tuple[int, int]]] = {name: [] for name in _PIXELS}
    for part, shift in shown:
        for pixel in part:
            padded = not 0 <= pixel < row.n
            cells["padding" if padded else "read by no window" if pixel in unread else "pixel"].append((pixel, shift))
    lanes = -(-(row.taps(0)[-1] + 1) // row.stride)  # the first window and the one this many later do not overlap
    drawn = [(start, place % lanes) for place, start in enumerate(row.starts)]
    label = "window"
    if lanes > _LANES:
        ends = drawn if row.side <= _LANES else [*drawn[: _LANES // 2], *drawn[-_LANES // 2 :]]
        drawn = [(start, lane) for lane, (start, _) in enumerate(ends)]
        lanes = len(drawn)
        label = "window" if row.side <= _LANES else f"window, the first and last {_LANES // 2}"
    paths: list[tuple[float | None, float | None]] = []
    dots: list[tuple[float, float, str]] = []
    for start, lane in drawn:
        for part, shift in shown:
            taps = [tap for tap in row.taps(start) if tap in part]
            if taps:
                y = -0.5 - lane
                words = f"from {start} to {row.taps(start)[-1]}"
                paths += [(taps[0] + shift, y), (taps[-1] + shift, y), (None, None)]
                dots += [(tap + shift, y, words) for tap in taps]
    bars = [
        go.Bar(
            x=[pixel + shift for pixel, shift in cells[name]],
            y=[1] * len(cells[name]),
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            width=0.9,
            customdata=[pixel for pixel, _ in cells[name]],
            hovertemplate=f"pixel %{{customdata}}: {name}<extra></extra>",
        )
        for name, colour in _PIXELS.items()
        if cells[name]
    ]
    windows = [
        go.Scatter(
            x=[x for x, _ in paths],
            y=[y for _, y in paths],
            mode="lines",
            line={"color": "#009E73", "width": 2},
            hoverinfo="skip",
            showlegend=False,
        ),
        go.Scatter(
            x=[x for x, _, _ in dots],
            y=[y for _, y, _ in dots],
            name=label,
            mode="markers",
            marker={"color": "#009E73", "size": 6},
            text=[words for _, _, words in dots],
            hovertemplate="%{text}<extra></extra>",
        ),
    ]
    marked = {part[place]: shift for part, shift in shown for place in (0, -1)} | {0: 0}
    gap = [{"x": shown[0][0][-1] + 1.5, "y": 0.5, "text": "…", "showarrow": False}] if len(shown) > 1 else []
    return go.Figure(
        [*bars, *windows],
        layout(
            150 + 18 * lanes,
            f"{exact(row.side)} windows on {exact(row.n)} pixels",
            barmode="overlay",
            bargap=0,
            legend=_legend(),
            annotations=gap,
            xaxis={
                "tickvals": [pixel + shift for pixel, shift in marked.items()],
                "ticktext": [str(pixel) for pixel in marked],
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
            },
            yaxis={"visible": False, "range": [-lanes - 0.2, 1.1], "fixedrange": True},
        ),
    )


_CELLS = 44  # of a row of pixels that a telephone shows apart
_LANES = 12
_PIXELS = {"pixel": ACCENT, "padding": "rgba(136, 136, 136, 0.5)", "read by no window": UNREAD_COLOUR}


def _legend() -> dict[str, Any]:
    return {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "traceorder": "normal"}


def _cells(places: Sequence[tuple[float, int]], colour: str, name: str) -> go.Bar:
    """Squares of a raster, at (column, row)."""
    return go.Bar(
        x=[x for x, _ in places],
        y=[0.8] * len(places),
        base=[row - 0.4 for _, row in places],
        width=0.9,
        marker={"color": colour, "line": {"width": 0}},
        name=name,
    )


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _window(layer: Layer) -> str:
    return _shape(layer.kernel) if layer.kernel else layer.kind


# --- boxes and arrows, in pixels downwards and shares of the width

_GAP = 18
_LINE = 18
_BOX = 44
_EDGE = 0.1  # of the width, at both sides, where there is a shortcut


class _Picture:
    """Shapes and labels of a schematic drawing."""

    def __init__(self, chains: Sequence[Sequence[Layer]]) -> None:
        self._columns = len(chains)
        self._shapes: list[dict[str, Any]] = []
        self._labels: list[dict[str, Any]] = []

    def centre(self, column: int) -> float:
        return (column + 0.5) / self._columns

    def say(self, x: float, y: float, text: str, colour: str | None = None, hover: str | None = None) -> None:
        label = {"x": x, "y": y, "text": text, "showarrow": False, "align": "center", "font": {"size": 12}}
        if colour:
            label["font"] = {"size": 12, "color": colour}
        if hover:
            label["hovertext"] = hover
        self._labels.append(label)

    def column(self, place: int, chain: Sequence[Layer]) -> float:
        """Boxes of a chain below each other, an arrow above each; where the last one ends."""
        x, low = self.centre(place), float(_LINE + 4)
        half = min(0.46 / self._columns, 0.32)
        for layer in chain:
            self.arrow(x, low, low + _GAP)
            low += _GAP
            self._shapes.append(
                {
                    "type": "rect",
                    "x0": x - half,
                    "x1": x + half,
                    "y0": low,
                    "y1": low + _BOX,
                    "fillcolor": KIND_COLOURS[layer.kind],
                    "line": {"width": 0},
                }
            )
            ink = "#FFFFFF" if layer.kind == "conv" else "#000000"
            self.say(x, low + _BOX / 2, self._words(layer), ink, self._about(layer))
            low += _BOX
        return low

    def arrow(self, x: float, top: float, bottom: float) -> None:
        tip = 4.0
        self._line([(x, top), (x, bottom - tip)])
        self._labels.append(
            {
                "x": x,
                "y": bottom,
                "ax": 0,
                "ay": -8,
                "text": "",
                "showarrow": True,
                "arrowhead": 2,
                "arrowwidth": 1.5,
                "arrowcolor": OTHER_COLOUR,
            }
        )

    def join(self, text: str, top: float) -> None:
        """What brings the branches together."""
        half = 0.05 if text == "+" else 0.49
        self._shapes.append(
            {
                "type": "rect",
                "x0": 0.5 - half,
                "x1": 0.5 + half,
                "y0": top,
                "y1": top + _LINE + 4,
                "fillcolor": KIND_COLOURS["add"],
                "line": {"width": 0},
            }
        )
        self.say(0.5, top + _LINE / 2 + 2, text, "#000000")

    def shortcut(self, top: float, bottom: float) -> None:
        """The identity past everything."""
        path = [(0.5, top + 4), (_EDGE, top + 4), (_EDGE, bottom + 2), (0.44, bottom + 2)]
        self._line(path, SHORTCUT_STYLES["identity"][0])
        self.say(_EDGE + 0.015, (top + bottom) / 2, "shortcut")
        self._labels[-1] |= {"textangle": -90, "xanchor": "right", "xshift": -6}

    def figure(self, bottom: float, title: str) -> go.Figure:
        axis = {"visible": False, "fixedrange": True}
        return go.Figure(
            [go.Scatter(x=[0.5], y=[bottom / 2], mode="markers", marker={"opacity": 0}, hoverinfo="skip")],
            layout(
                round(bottom) + 48,
                title,
                shapes=self._shapes,
                annotations=self._labels,
                dragmode=False,
                showlegend=False,
                xaxis={"range": [0, 1], **axis},
                yaxis={"range": [bottom, 0], **axis},
            ),
        )

    def _line(self, points: Sequence[tuple[float, float]], colour: str = OTHER_COLOUR) -> None:
        path = "M" + "L".join(f"{x:.4f},{y:.2f}" for x, y in points)
        self._shapes.append({"type": "path", "path": path, "line": {"color": colour, "width": 1.5}})

    def _words(self, layer: Layer) -> str:
        if layer.kind == "linear":
            return f"linear, {layer.output_shape[0]} out<br>{short(layer.params)} weights"
        groups = f", {layer.groups} groups" if layer.groups and layer.groups > 1 else ""
        if self._columns > 1:
            count = short(layer.params) if layer.params else "no weights"
            return f"{_window(layer)}{' pool' if layer.kind == 'pool' else ''}, {layer.output_shape[0]}<br>{count}"
        if layer.kind == "pool":
            return f"pool to {_shape(layer.output_shape[1:])}<br>no weights"
        return f"{_window(layer)}, {layer.output_shape[0]} out{groups}<br>{short(layer.params)} weights"

    def _about(self, layer: Layer) -> str:
        return (
            f"{layer.name}: {_shape(layer.input_shape)} to {_shape(layer.output_shape)}<br>"
            f"{exact(layer.params)} weights, {exact(layer.macs)} MACs"
        )
