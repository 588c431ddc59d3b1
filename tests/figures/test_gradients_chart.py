"""The chart of gradient norms has the numbers of its table, and a sign where a number has no place on it."""

import json
import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.figures.gradients import gradient_chart
from explorer.figures.theme import SERIES_COLOURS

ORDER = ("relu", "gelu", "tanh", "sigmoid")
SYMBOLS = {"subnormal": "circle-open", "zero": "x", "not finite": "triangle-up"}


def rows(series: str, norms: list[tuple[float, float, float]], marks: list[str] | None = None) -> pd.DataFrame:
    """Least, median and greatest of each place."""
    return pd.DataFrame(
        {
            "series": series,
            "name": [f"layer1.{place}" for place in range(len(norms))],
            "index": range(1, len(norms) + 1),
            "gradient_low": [low for low, _, _ in norms],
            "gradient_norm": [middle for _, middle, _ in norms],
            "gradient_high": [high for _, _, high in norms],
            "mark": marks or [""] * len(norms),
        }
    )


PLAIN = pd.concat(
    [rows("tanh", [(1, 2, 3), (2, 4, 5), (8, 8, 8)]), rows("relu", [(0.1, 0.2, 0.4), (0.5, 1, 2), (8, 8, 9)])],
    ignore_index=True,
)
MARKED = rows(
    "relu",
    [(0, 0, 0), (0, 1e-44, 1e-43), (1e-30, 1e-20, 1e-10), (5, math.inf, math.inf), (2, 3, 4)],
    ["zero", "zero", "subnormal", "not finite", ""],
)


def drawn(curves: pd.DataFrame, **more: Any) -> go.Figure:
    return gradient_chart(curves, "series", ORDER, "A title", across="block", **more)


def lines(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


def bands(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.fill == "toself"]


def signs(figure: go.Figure) -> dict[str, Any]:
    return {trace.marker.symbol: trace for trace in figure.data if trace.mode == "markers" and not trace.name}


def edges(figure: go.Figure) -> tuple[float, float]:
    low, high = figure.layout.yaxis.range
    return 10**low, 10**high


def test_each_series_is_a_line_of_its_medians() -> None:
    found = lines(drawn(PLAIN))
    assert list(found) == ["tanh", "relu"]
    assert [list(found[name].y) for name in found] == [[2, 4, 8], [0.2, 1, 8]]
    assert [list(found[name].x) for name in found] == [[1, 2, 3], [1, 2, 3]]


def test_each_band_reaches_from_the_least_to_the_greatest_and_back() -> None:
    tanh, relu = bands(drawn(PLAIN))
    assert list(tanh.x) == list(relu.x) == [1, 2, 3, 3, 2, 1]
    assert list(tanh.y) == [3, 5, 8, 8, 2, 1]
    assert list(relu.y) == [0.4, 2, 9, 8, 0.5, 0.1]
    assert not tanh.showlegend


@pytest.mark.parametrize("alone", [True, False])
def test_a_series_keeps_its_colour_and_dash_whatever_stands_beside_it(alone: bool) -> None:
    curves = PLAIN[PLAIN["series"] == "tanh"] if alone else PLAIN
    line = lines(drawn(curves))["tanh"].line
    assert (line.color, line.dash) == (SERIES_COLOURS[ORDER.index("tanh")], "dot")


def test_the_axis_is_logarithmic_holds_all_and_says_what_it_is() -> None:
    figure = drawn(PLAIN)
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", "gradient norm")
    assert (figure.layout.xaxis.title.text, figure.layout.title.text) == ("block", "A title")
    assert list(figure.layout.xaxis.range) == [0.5, 3.5]
    low, high = edges(figure)
    assert 0.05 < low < 0.1
    assert 9 < high < 20


def test_what_has_no_place_on_the_axis_has_a_sign_at_its_edge_and_no_line() -> None:
    figure = drawn(MARKED)
    low, high = edges(figure)
    assert list(lines(figure)["relu"].y) == [None, 1e-44, 1e-20, None, 3]
    found = signs(figure)
    assert set(found) == set(SYMBOLS.values())
    assert (list(found["x"].x), list(found["x"].y)) == ([1, 2], [low, low])
    assert (list(found["triangle-up"].x), list(found["triangle-up"].y)) == ([4], [high])
    assert (list(found["circle-open"].x), list(found["circle-open"].y)) == ([3], [1e-20])
    assert low < 1e-44 / 9
    assert high > 4 * 9
    (band,) = bands(figure)
    assert all(low <= value <= high for value in band.y)


def test_a_sign_says_what_it_means_in_the_legend_and_under_the_mouse() -> None:
    figure = drawn(MARKED)
    named = [trace.name for trace in figure.data if trace.mode == "markers" and trace.name]
    assert named == ["too small for all its digits", "exactly 0 in this number format", "infinite or not a number"]
    assert signs(figure)["x"].customdata[0] == "layer1.0: 0 (0 to 0)<br>exactly 0 in this number format"


def test_without_marks_there_are_no_signs() -> None:
    assert not [trace for trace in drawn(PLAIN).data if trace.mode == "markers"]


@pytest.mark.parametrize(("norm", "mark"), [(0.0, "zero"), (math.inf, "not finite")])
def test_a_series_that_is_nowhere_on_the_axis_can_be_drawn(norm: float, mark: str) -> None:
    figure = drawn(rows("relu", [(norm, norm, norm)] * 2, [mark] * 2))
    low, high = edges(figure)
    assert 0 < low < high < math.inf
    assert list(signs(figure)[SYMBOLS[mark]].y) == [low if mark == "zero" else high] * 2


def test_the_mouse_finds_place_median_and_range() -> None:
    assert lines(drawn(PLAIN))["relu"].customdata[1] == "relu, layer1.1: 1 (0.5 to 2)"


def test_names_and_heads_stand_at_their_places() -> None:
    figure = drawn(PLAIN, names=True, heads={"layer1.1": "aux1"})
    assert list(figure.layout.xaxis.tickvals) == [1, 2, 3]
    assert list(figure.layout.xaxis.ticktext) == ["layer1.0", "layer1.1", "layer1.2"]
    (shape,) = figure.layout.shapes
    assert (shape.x0, shape.x1) == (2, 2)
    (label,) = figure.layout.annotations
    assert (label.text, label.x) == ("aux1", 2)
    assert not drawn(PLAIN).layout.shapes


@pytest.mark.parametrize("curves", [PLAIN, MARKED])
def test_a_browser_can_read_it(curves: pd.DataFrame) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(name)

    json.loads(drawn(curves).to_json(), parse_constant=no_constant)
