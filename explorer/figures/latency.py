"""Measured time against MACs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import ACCENT, OTHER_COLOUR, exact, layout, short

_HEIGHT = 520
_BESIDE = 150  # pixels of the figure above and below the axes
_WIDTHS = (1000, 270)  # pixels between the axes: of a page on a screen, and on a telephone
_LETTER, _LINE = 6.6, 15  # pixels of a label's letter, and its height
_AWAY = 8  # pixels from a point to its label, and half of what the point itself takes
_SPREAD = 6  # the greatest value over the least, from which on an axis is logarithmic


def latency_chart(table: pd.DataFrame) -> go.Figure:
    """A point a network: milliseconds for an image against MACs, the median with its quartiles.

    A dotted line shows how long each net would take at the MACs a second of the net that does most, so no point is
    below it. Both axes are logarithmic where the nets are far apart, else both start at nought: the line is straight on
    both.

    Args:
        table: from `latency_table`, with a row at least.
    """
    rows = table.to_dict("records")
    macs = [row["macs"] for row in rows]
    medians = [row["median_ms"] for row in rows]
    most = max(rows, key=lambda row: row["gmacs_per_second"])
    logarithmic = any(max(values) > _SPREAD * min(values) for values in (macs, medians))
    ends = [row[name] for row in rows for name in ("quartile1_ms", "quartile3_ms")]
    x_axis, y_axis = _axis(macs, logarithmic), _axis(ends, logarithmic)
    reach = (10**x_axis.low, 10**x_axis.high) if logarithmic else (0.0, x_axis.high)
    times = [end / most["gmacs_per_second"] / 1e6 for end in reach]  # ms are MACs / (10^9 MACs a second) / 10^6
    line = go.Scatter(
        x=reach,
        y=times,
        name=f"at {most['gmacs_per_second']:.3g} GMAC/s, as {most['net']}",
        mode="lines",
        line={"color": OTHER_COLOUR, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
    )
    start, end = ((x_axis.place(x), y_axis.place(y)) for x, y in zip(reach, times, strict=True))
    points = go.Scatter(
        x=macs,
        y=medians,
        error_y={
            "symmetric": False,
            "array": [row["quartile3_ms"] - row["median_ms"] for row in rows],
            "arrayminus": [row["median_ms"] - row["quartile1_ms"] for row in rows],
            "thickness": 1.5,
            "width": 4,
        },
        name="median and quartiles",
        mode="markers+text",
        marker={"color": ACCENT, "size": 9},
        text=[row["net"] for row in rows],
        textposition=_label_positions(
            [
                _Mark(
                    len(row["net"]),
                    x_axis.place(row["macs"]),
                    *(y_axis.place(row[name]) for name in ("quartile1_ms", "median_ms", "quartile3_ms")),
                )
                for row in rows
            ],
            start,
            end,
        ),
        textfont={"size": 12},
        cliponaxis=False,
        hovertext=[
            f"<b>{row['net']}</b>, {'x'.join(map(str, row['input_shape']))}<br>"
            f"{exact(row['macs'])} MACs<br>"
            f"{exact(row['params'])} parameters<br>"
            f"median {row['median_ms']:.4g} ms an image<br>"
            f"quartiles {row['quartile1_ms']:.4g} to {row['quartile3_ms']:.4g} ms, least {row['least_ms']:.4g} ms<br>"
            f"{row['images_per_second']:.4g} images a second<br>"
            f"{row['gmacs_per_second']:.4g} GMAC/s<br>"
            f"{exact(row['passes'])} timed passes"
            for row in rows
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    return go.Figure(
        [line, points],
        layout(
            _HEIGHT,
            "Time against MACs",
            xaxis={"title": {"text": "MACs"}, **x_axis.settings(_tick)},
            yaxis={"title": {"text": "ms an image"}, **y_axis.settings("{:g}".format)},
            legend={"orientation": "h", "y": -0.16, "x": 0, "traceorder": "normal"},
        ),
    )


def _tick(value: float) -> str:
    return short(value) if value else "0"


@dataclass(frozen=True)
class _Axis:
    """The range and the ticks of an axis; low and high are logarithms where it is logarithmic."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value stands: 0 at the start, 1 at the end."""
        return ((math.log10(value) if self.logarithmic else value) - self.low) / (self.high - self.low)

    def settings(self, text: Callable[[float], str]) -> dict[str, object]:
        """Plotly's."""
        return {
            "type": "log" if self.logarithmic else "linear",
            "range": [self.low, self.high],
            "tickvals": self.ticks,
            "ticktext": [text(tick) for tick in self.ticks],
        }


def _axis(values: Sequence[float], logarithmic: bool) -> _Axis:
    """An axis with room around the values."""
    if not logarithmic:
        high = 1.15 * max(values)
        return _Axis(0.0, high, False, _even_ticks(0.0, high))
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.12 * (high - low), 0.1)
    low, high = low - room, high + room
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = tuple(
            digit * 10.0**power
            for power in range(math.floor(low), math.ceil(high))
            for digit in digits
            if low <= math.log10(digit) + power <= high
        )
        if len(ticks) >= 4:
            return _Axis(low, high, True, ticks)
    return _Axis(low, high, True, _even_ticks(10**low, 10**high))


def _even_ticks(low: float, high: float) -> tuple[float, ...]:
    """Four to nine round numbers at even distances."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 4)
    return tuple(number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1))


# --- labels


@dataclass(frozen=True)
class _Mark:
    """A point with its error bar, between 0 and 1 on both axes, and the letters of its label."""

    letters: int
    x: float
    low: float
    y: float
    high: float


_Box = tuple[float, float, float, float]  # left, right, low, high in pixels
_End = tuple[float, float]  # of the dotted line, as a mark's x and y

# Where a label stands beside its point, the dearest first: (right, above), 0 for the middle.
_POSITIONS = {
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
    "bottom left": (-1, -1),
    "top center": (0, 1),
    "bottom center": (0, -1),
}


def _label_positions(marks: Sequence[_Mark], start: _End, end: _End) -> list[str]:
    """For each label the place beside its point where it covers least of all else: on a screen, then on a telephone.

    Each chooses in turn while the others stay, three times round.
    """
    boxes = [
        {position: [_label(mark, position, width) for width in _WIDTHS] for position in _POSITIONS} for mark in marks
    ]
    marked = [[*(_bar(mark, width) for mark in marks), *_line(start, end, width)] for width in _WIDTHS]
    lasting = [
        {
            position: [
                _outside(box, width) + sum(_common(box, other) for other in others)
                for box, width, others in zip(options[position], _WIDTHS, marked, strict=True)
            ]
            for position in _POSITIONS
        }
        for options in boxes
    ]
    chosen = ["middle right"] * len(marks)

    def covered(here: int, position: str) -> list[float]:
        """The area that a label covers there, for each width."""
        others = [boxes[other][chosen[other]] for other in range(len(marks)) if other != here]
        return [
            area + sum(_common(box, other[size]) for other in others)
            for size, (area, box) in enumerate(zip(lasting[here][position], boxes[here][position], strict=True))
        ]

    for _ in range(3):
        for here in range(len(marks)):
            chosen[here] = min(_POSITIONS, key=partial(covered, here))
    return chosen


def _bar(mark: _Mark, width: int) -> _Box:
    x, height, half = mark.x * width, _HEIGHT - _BESIDE, _AWAY / 2
    return (
        x - half,
        x + half,
        min(mark.low * height, mark.y * height - half),
        max(mark.high * height, mark.y * height + half),
    )


def _line(start: _End, end: _End, width: int) -> list[_Box]:
    """A straight line, as small boxes along it."""
    boxes, steps = [], 60
    for step in range(steps + 1):
        x, y = (a + (b - a) * step / steps for a, b in zip(start, end, strict=True))
        boxes.append((x * width - 3, x * width + 3, y * (_HEIGHT - _BESIDE) - 3, y * (_HEIGHT - _BESIDE) + 3))
    return boxes


def _label(mark: _Mark, position: str, width: int) -> _Box:
    right, above = _POSITIONS[position]
    x, y = mark.x * width, mark.y * (_HEIGHT - _BESIDE)
    length = _LETTER * mark.letters
    left = x + (_AWAY if right > 0 else -_AWAY - length if right < 0 else -length / 2)
    low = y - _LINE / 2 + above * (_AWAY + _LINE / 2)
    return left, left + length, low, low + _LINE


def _common(one: _Box, other: _Box) -> float:
    """The area that two boxes share."""
    wide = min(one[1], other[1]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[2], other[2])
    return max(wide, 0) * max(high, 0)


def _outside(box: _Box, width: int) -> float:
    """The area of a box beyond the axes."""
    return (box[1] - box[0]) * (box[3] - box[2]) - _common(box, (0, width, 0, _HEIGHT - _BESIDE))
