"""The charts of a sweep: what a reader takes from them is what the rows say."""

import math

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.figures.sweep import depths_chart, depths_map
from explorer.figures.training import CURVES

NONE = math.nan
ROWS = pd.DataFrame(
    [
        ("Plain", 56, 30.0, 20.0, 40.0, 2, 1),
        ("Plain", 20, 10.0, 5.0, 15.0, 3, 0),
        ("Plain", 110, NONE, NONE, NONE, 0, 3),
        ("ResNet", 20, 8.0, 8.0, 8.0, 1, 0),
    ],
    columns=["family", "depth", "median", "low", "high", "seeds", "missing"],
)


def named(figure: go.Figure) -> list[go.Scatter]:
    """The lines, without bands and signs."""
    return [trace for trace in figure.data if trace.showlegend is not False]


def test_a_line_goes_through_the_medians_in_the_order_of_depth() -> None:
    plain, residual = named(depths_chart(ROWS, "train_error"))
    assert (plain.name, list(plain.x), list(plain.y)) == ("Plain", [20, 56], [10.0, 30.0])
    assert (residual.name, list(residual.x), list(residual.y)) == ("ResNet", [20], [8.0])
    assert list(plain.customdata) == ["5 to 15 over 3 seeds", "20 to 40 over 2 seeds; 1 without this number"]
    assert list(residual.customdata) == ["1 seed"]


def test_the_band_goes_from_lowest_to_highest_where_there_are_several_seeds() -> None:
    (band,) = [trace for trace in depths_chart(ROWS, "train_error").data if trace.fill == "toself"]
    assert list(zip(band.x, band.y, strict=True)) == [(20, 15.0), (56, 40.0), (56, 20.0), (20, 5.0)]
    assert band.fillcolor == named(depths_chart(ROWS, "train_error"))[0].line.color


def test_where_no_run_has_the_number_there_is_a_sign_at_the_edge() -> None:
    figure = depths_chart(ROWS, "train_error")
    (sign,) = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert (list(sign.x), list(sign.y), sign.name) == ([110], [1], "Plain")
    assert tuple(figure.layout.yaxis2.range) == (0, 1)


def test_every_depth_has_its_tick_and_the_axis_its_unit() -> None:
    layout = depths_chart(ROWS, "test_loss").layout
    assert list(layout.xaxis.tickvals) == [20, 56, 110]
    assert layout.title.text == CURVES["test_loss"][0]
    assert layout.yaxis.title.text == "cross-entropy, nats, at the end"


def test_many_families_are_told_apart() -> None:
    many = pd.concat([ROWS[3:].assign(family=str(number)) for number in range(24)])
    looks = {(trace.line.color, trace.line.dash) for trace in named(depths_chart(many, "train_error"))}
    assert len(looks) == 24


def test_the_map_has_a_cell_for_each_family_and_depth() -> None:
    figure = depths_map(ROWS, "train_error")
    (cells,) = figure.data
    assert (list(cells.y), list(cells.x)) == (["Plain", "ResNet"], ["20", "56", "110"])
    assert cells.text.tolist() == [["10", "30 (2 of 3)", "none"], ["8", "", ""]]
    assert cells.z[0][:2].tolist() == [10.0, 30.0]
    assert all(math.isnan(value) for value in (cells.z[0][2], *cells.z[1][1:]))
    assert cells.customdata.tolist()[1] == ["1 seed", "not run", "not run"]
    assert cells.customdata[0][2] == "no seed; 3 without this number"
    assert figure.layout.yaxis.autorange == "reversed", "the first family on top"


@pytest.mark.parametrize("chart", [depths_chart, depths_map])
def test_it_draws_where_nothing_is_known(chart: object) -> None:
    assert callable(chart)
    assert chart(ROWS[2:3], "train_error").to_json()
