"""The chart of measured time holds the table, and its labels stand apart."""

import itertools
import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.figures import latency
from explorer.figures.latency import latency_chart


def table(*nets: tuple[str, int, float]) -> pd.DataFrame:
    """Nets by name, MACs and median milliseconds; quartiles 10% below and 20% above."""
    rows = [
        {
            "net": net,
            "median_ms": median,
            "quartile1_ms": 0.9 * median,
            "quartile3_ms": 1.2 * median,
            "least_ms": 0.8 * median,
            "images_per_second": 1000 / median,
            "gmacs_per_second": macs / median / 1e6,
            "macs": macs,
            "params": 1234567,
            "input_shape": (3, 224, 225),
            "passes": 17,
        }
        for net, macs, median in nets
    ]
    return pd.DataFrame(rows)


# MACs as the layer table counts them, times of a Xeon's one thread
USUAL = table(
    ("alexnet_2012", 724_406_816, 62.6),
    ("vgg16", 15_470_264_320, 440),
    ("googlenet_2014", 1_582_671_872, 124),
    ("resnet18", 1_814_073_344, 72),
    ("resnet50", 4_089_184_256, 143),
    ("mobilenetv1_100", 568_740_352, 33.1),
    ("mobilenet_v2", 300_774_272, 30.9),
    ("densenet121", 2_834_161_664, 131),
    ("squeezenet1_0", 818_924_576, 54.7),
    ("cifar_resnet20", 40_551_040, 2.8),
)


def parts(figure: go.Figure) -> tuple[Any, Any]:
    line, points = figure.data
    return line, points


def test_points_are_the_medians_and_bars_reach_to_the_quartiles() -> None:
    _, points = parts(latency_chart(USUAL))
    assert list(points.text) == list(USUAL["net"])
    assert list(points.x) == list(USUAL["macs"])
    assert list(points.y) == list(USUAL["median_ms"])
    tops = [y + up for y, up in zip(points.y, points.error_y.array, strict=True)]
    bottoms = [y - down for y, down in zip(points.y, points.error_y.arrayminus, strict=True)]
    assert tops == pytest.approx(list(USUAL["quartile3_ms"]))
    assert bottoms == pytest.approx(list(USUAL["quartile1_ms"]))
    assert points.error_y.symmetric is False


def test_the_text_under_the_mouse_has_every_number() -> None:
    _, points = parts(latency_chart(table(("net", 1_500_000_000, 12.5), ("other", 10**9, 10))))
    for words in (
        *("<b>net</b>, 3x224x225", "1,500,000,000 MACs", "1,234,567 parameters", "median 12.5 ms"),
        *("11.25 to 15 ms", "least 10 ms", "80 images a second", "120 GMAC/s", "17 timed passes"),
    ):
        assert words in points.hovertext[0]


def test_the_line_is_the_highest_rate_and_no_point_is_below_it() -> None:
    figure = latency_chart(USUAL)
    line, points = parts(figure)
    assert line.name == "at 35.2 GMAC/s, as vgg16", "15.47 GMACs in 0.44 s"
    slopes = [y / x for x, y in zip(line.x, line.y, strict=True)]
    assert slopes == pytest.approx([440 / 15_470_264_320] * 2)
    for x, y in zip(points.x, points.y, strict=True):
        assert y >= slopes[0] * x * (1 - 1e-9)
    low, high = figure.layout.xaxis.range
    assert line.x == pytest.approx((10**low, 10**high)), "from edge to edge"


def test_nets_far_apart_stand_on_logarithmic_axes() -> None:
    figure = latency_chart(USUAL)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert list(figure.layout.xaxis.ticktext) == ["30 M", "100 M", "300 M", "1 G", "3 G", "10 G", "30 G"]
    assert list(figure.layout.yaxis.ticktext) == ["3", "10", "30", "100", "300", "1000"]


def test_nets_close_together_stand_on_axes_from_nought() -> None:
    figure = latency_chart(table(("a", 2 * 10**9, 70), ("b", 3 * 10**9, 130), ("c", 4 * 10**9, 150)))
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("linear", "linear")
    assert figure.layout.xaxis.range[0] == figure.layout.yaxis.range[0] == 0
    assert figure.layout.yaxis.range[1] == pytest.approx(1.15 * 1.2 * 150)
    assert list(figure.layout.xaxis.ticktext) == ["0", "1 G", "2 G", "3 G", "4 G"]
    line, _ = parts(figure)
    assert (line.x[0], line.y[0], line.name) == (0, 0, "at 28.6 GMAC/s, as a")


@FEW
@given(
    st.lists(st.tuples(st.integers(10**5, 10**12), st.floats(1e-2, 1e5)), min_size=1, max_size=20),
)
def test_every_bar_and_at_least_three_ticks_are_inside_the_axes(nets: list[tuple[int, float]]) -> None:
    rows = table(*((f"net{place}", *net) for place, net in enumerate(nets)))
    figure = latency_chart(rows)
    for axis, columns in ((figure.layout.xaxis, ["macs"]), (figure.layout.yaxis, ["quartile1_ms", "quartile3_ms"])):
        low, high = (10**end for end in axis.range) if axis.type == "log" else axis.range
        assert low < min(rows[columns].min()) <= max(rows[columns].max()) < high
        assert all(low * 0.999 <= tick <= high for tick in axis.tickvals)
        assert 3 <= len(axis.tickvals) <= 12
        assert len(set(axis.ticktext)) == len(axis.tickvals), "no two ticks read alike"
    assert figure.to_json()


# --- labels


def boxes(figure: go.Figure, rows: pd.DataFrame, width: int) -> list[latency._Box]:
    """Where the labels stand, in pixels: of the axes' width, and 370 px high."""
    _, points = parts(figure)

    def place(axis: Any, value: float) -> float:
        low, high = axis.range
        return ((math.log10(value) if axis.type == "log" else value) - low) / (high - low)

    return [
        latency._label(
            latency._Mark(len(net), place(figure.layout.xaxis, macs), 0, place(figure.layout.yaxis, median), 0),
            position,
            width,
        )
        for net, macs, median, position in zip(
            rows["net"], rows["macs"], rows["median_ms"], points.textposition, strict=True
        )
    ]


def overlaps(found: list[latency._Box]) -> float:
    """The share of the labels' area that lies under another label."""
    common = sum(latency._common(one, other) for one, other in itertools.combinations(found, 2))
    return common / sum((right - left) * (high - low) for left, right, low, high in found)


@pytest.mark.parametrize("width", [1000, 270])
def test_ten_usual_nets_have_labels_that_stand_apart(width: int) -> None:
    found = boxes(latency_chart(USUAL), USUAL, width)
    assert overlaps(found) <= (0 if width == 1000 else 0.05)
    assert all(left >= 0 and right <= width for left, right, _, _ in found)


def test_labels_all_on_the_right_would_not() -> None:
    figure = latency_chart(USUAL)
    figure.data[1].textposition = ["middle right"] * len(USUAL)
    assert overlaps(boxes(figure, USUAL, 270)) > 0.05


def test_twenty_nets_on_a_screen() -> None:
    names = (f"network_{place}" for place in range(20))
    rows = table(*((name, int(3e8 * 1.22**place), 20 * 1.17**place) for place, name in enumerate(names)))
    assert overlaps(boxes(latency_chart(rows), rows, 1000)) < 0.02


def test_a_label_leaves_other_points_and_their_bars_free() -> None:
    rows = table(("a", 10**9, 100), ("b", 1_080_000_000, 100), ("c", 10**10, 1000))
    figure = latency_chart(rows)
    _, points = parts(figure)
    assert points.textposition[0] == "middle left", "b stands at its right"
    assert points.textposition[1].endswith("right")


def test_two_nets_at_one_place_have_two_labels() -> None:
    rows = table(("twin", 10**9, 100), ("same", 10**9, 100), ("far", 10**10, 1000))
    found = boxes(latency_chart(rows), rows, 1000)
    assert overlaps(found) == 0
