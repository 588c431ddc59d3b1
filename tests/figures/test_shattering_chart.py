"""The charts of shattering have the numbers of their tables."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.analysis.shattering import (
    DISTANCES,
    STEPS,
    Shattering,
    brown_autocorrelation,
    distance_curves,
    lag_curves,
    noise,
    summary,
    white_autocorrelation,
)
from explorer.figures.flow import styles
from explorer.figures.shattering import depth_chart, distance_chart, lag_chart, walk_chart
from explorer.figures.theme import SERIES_COLOURS
from explorer.models.variants import variant

NETS = {"Plain · 20": variant("plain", 20), "Plain · 8": variant("plain", 8), "ResNet · 20": variant("a", 20)}


def made(cosine: float) -> Shattering:
    falling = tuple(cosine / (1 + place) for place in range(len(DISTANCES)))
    return Shattering(falling, (1.0,) * (STEPS + 1), cosine, tuple(cosine / (1 + lag) for lag in range(STEPS + 1)))


MEASURED = {
    "Plain · 20": [made(0.2), made(0.4), made(0.3)],
    "Plain · 8": [made(0.8), made(0.6)],
    "ResNet · 20": [made(0.9)],
}


def lines(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.fill != "toself"}


def bands(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.fill == "toself"]


@pytest.mark.parametrize("chart", ["distance", "lag"])
def test_each_net_is_a_line_of_medians_in_a_band_from_least_to_greatest(chart: str) -> None:
    if chart == "distance":
        figure, places, count = distance_chart(distance_curves(MEASURED), NETS, 0.1), DISTANCES, len(DISTANCES)
    else:
        figure, places, count = lag_chart(lag_curves(MEASURED), NETS), range(STEPS), STEPS // 2 + 1
    line = lines(figure)["Plain · 20"]
    assert list(line.x) == list(places[:count])
    assert list(line.y) == pytest.approx([0.3 / (1 + place) for place in range(count)])
    band = bands(figure)[0]
    assert list(band.x) == [*places[:count], *places[:count][::-1]]
    high, low = ([cosine / (1 + place) for place in range(count)] for cosine in (0.4, 0.2))
    assert list(band.y) == pytest.approx([*high, *low[::-1]])
    assert line.customdata[1] == "Plain · 20: 0.15 (0.10 to 0.20)"
    assert [lines(figure)[net].line.color for net in NETS] == [colour for colour, _ in styles(NETS).values()]
    assert [lines(figure)[net].line.dash for net in NETS] == [dash for _, dash in styles(NETS).values()]


def test_a_net_keeps_its_look_while_others_are_still_measured() -> None:
    alone = distance_chart(distance_curves({"ResNet · 20": MEASURED["ResNet · 20"]}), NETS, 0.1)
    beside = distance_chart(distance_curves(MEASURED), NETS, 0.1)
    assert lines(alone)["ResNet · 20"].line == lines(beside)["ResNet · 20"].line


def test_distances_stand_on_a_logarithmic_axis_with_the_chosen_one_marked() -> None:
    figure = distance_chart(distance_curves(MEASURED), NETS, 0.1)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 0.1
    assert "part of the way" in figure.layout.xaxis.title.text


def test_what_is_unknown_leaves_a_gap_in_line_and_band() -> None:
    curves = distance_curves({"Plain · 20": [made(0.2)]})
    curves.loc[2, ["cosine", "low", "high"]] = math.nan
    figure = distance_chart(curves, NETS, 0.1)
    assert lines(figure)["Plain · 20"].y[2] is None
    assert len(bands(figure)[0].x) == 2 * (len(DISTANCES) - 1)


def test_by_depth_nets_that_differ_in_depth_alone_are_one_line_in_order_of_depth() -> None:
    table = summary(MEASURED, NETS, DISTANCES[1])
    found = lines(depth_chart(table, DISTANCES[1]))
    assert list(found) == ["Plain", "ResNet"]
    plain = found["Plain"]
    assert list(plain.x) == [8, 20]
    assert list(plain.y) == pytest.approx([0.35, 0.15])
    assert list(plain.error_y.array) == pytest.approx([0.05, 0.05])
    assert list(plain.error_y.arrayminus) == pytest.approx([0.05, 0.05])
    assert [trace.line.color for trace in found.values()] == list(SERIES_COLOURS[:2])


@pytest.mark.parametrize(("distance", "words"), [(0.03, "0.03"), (1e-5, "0.00001"), (1.0, "1")])
def test_the_title_says_the_distance(distance: float, words: str) -> None:
    table = summary(MEASURED, NETS, distance)
    assert depth_chart(table, distance).layout.title.text == f"At {words} of the way"


def test_a_title_without_depth_is_a_line_of_its_own() -> None:
    table = pd.DataFrame({"net": ["My net"], "depth": [50], "cosine": [0.5], "low": [0.4], "high": [0.6]})
    assert list(lines(depth_chart(table, 0.1))) == ["My net"]


def test_the_walk_has_a_panel_for_each_series() -> None:
    walks = {"net": (math.nan, *[2.0] * STEPS), **noise()}
    figure = walk_chart(walks)
    assert [trace.name for trace in figure.data] == ["net", "Brown noise", "White noise"]
    assert list(figure.data[0].y) == [None, *[2.0] * STEPS]
    assert list(figure.data[0].x) == pytest.approx([step / STEPS for step in range(STEPS + 1)])
    assert list(figure.data[1].y) == list(walks["Brown noise"])
    assert len({trace.yaxis for trace in figure.data}) == 3
    assert [note.text for note in figure.layout.annotations] == list(walks)


def test_both_kinds_of_noise_stand_beside_the_nets() -> None:
    found = lines(lag_chart(lag_curves(MEASURED), NETS))
    assert list(found["Brown noise"].y) == list(brown_autocorrelation()[: STEPS // 2 + 1])
    assert list(found["White noise"].y) == list(white_autocorrelation()[: STEPS // 2 + 1])
    assert found["Brown noise"].line.dash != found["White noise"].line.dash
