"""The chart of the nets that meet a budget has the numbers of its table."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.analysis.budget import budget_search
from explorer.analysis.layers import Totals, layer_table, totals
from explorer.figures.budget import budget_chart
from explorer.figures.theme import ACCENT, KIND_COLOURS, short
from explorer.spec import PRESETS, ResNetSpec

RESNET50 = PRESETS["resnet50"]


@cache
def table() -> pd.DataFrame:
    return budget_search(RESNET50, "macs", 4_089_184_256)


def drawn(current: ResNetSpec = RESNET50) -> go.Figure:
    return budget_chart(table(), current, totals(layer_table(current)))


def axis(figure: go.Figure, letter: str) -> dict[str, Any]:
    found: dict[str, Any] = figure.layout[f"{letter}axis"].to_plotly_json()
    return found


def test_each_net_is_a_point_of_width_over_depth() -> None:
    nets, _ = drawn().data
    assert list(nets.x) == table().depth.tolist()
    assert list(nets.y) == table().width.tolist()


def test_the_axes_say_what_they_are_and_in_what_unit_and_are_logarithmic() -> None:
    figure = drawn()
    assert (axis(figure, "x")["title"]["text"], axis(figure, "x")["type"]) == ("depth, layers", "log")
    assert (axis(figure, "y")["title"]["text"], axis(figure, "y")["type"]) == ("width, channels", "log")


@pytest.mark.parametrize("letter", ["x", "y"])
def test_there_are_ticks_between_the_points(letter: str) -> None:
    nets, _ = drawn().data
    ticks = [tick for tick in axis(drawn(), letter)["tickvals"] if min(nets[letter]) <= tick <= max(nets[letter])]
    assert len(ticks) >= 3


def test_areas_and_labels_are_the_activation_memory() -> None:
    nets, _ = drawn().data
    memory = table().activation_bytes.tolist()
    assert (nets.marker.sizemode, list(nets.marker.size)) == ("area", memory)
    # Plotly: in area mode the diameter is sqrt(size / sizeref) pixels
    assert (max(memory) / nets.marker.sizeref) ** 0.5 == pytest.approx(22)
    assert list(nets.text) == [short(size, "B") for size in memory]


def test_hovering_shows_every_digit() -> None:
    nets, own = drawn().data
    [row] = table()[table().depth == 50].to_dict("records")
    expected = (
        f"50 layers (blocks 3, 4, 6, 3), width 64<br>25,557,032 parameters<br>4,089,184,256 MACs<br>"
        f"{row['activation_bytes']:,} bytes of activations"
    )
    assert nets.hovertext[table().depth.tolist().index(50)] == expected + "<br>+0.00% of the budget"
    assert own.hovertext == ("This net: " + expected,)
    assert {nets.hovertemplate, own.hovertemplate} == {"%{hovertext}<extra></extra>"}


def test_counts_beyond_what_a_browser_can_hold_keep_their_last_digit() -> None:
    count = 2**53 + 1
    _, own = budget_chart(table(), RESNET50, Totals(1, 2, count, 3)).data
    assert "9,007,199,254,740,993 MACs" in own.hovertext[0]


def test_the_current_net_is_marked_wherever_it_stands() -> None:
    other = replace(RESNET50, width=100, depths=(2, 2, 2, 2))
    nets, own = drawn(other).data
    assert (list(own.x), list(own.y)) == ([1 + 3 * 8 + 1], [100])
    assert "blocks 2, 2, 2, 2" in own.hovertext[0]
    assert f"{totals(layer_table(other)).macs:,} MACs" in own.hovertext[0]
    assert (own.name, nets.name) == ("this net", "meets the budget")


def test_the_mark_and_the_points_are_told_apart_by_shape_and_colour_and_the_mark_is_larger() -> None:
    nets, own = drawn().data
    assert (nets.marker.color, nets.marker.symbol) == (ACCENT, None)
    assert own.marker.symbol == "diamond-open"
    assert own.marker.color in KIND_COLOURS.values()
    assert own.marker.color != ACCENT
    assert own.marker.size > 22


def test_one_proposal_is_drawn_too() -> None:
    figure = budget_chart(table().iloc[:1], RESNET50, totals(layer_table(RESNET50)))
    assert len(figure.data[0].x) == 1
    json.loads(figure.to_json())
