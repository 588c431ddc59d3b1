"""The chart of the chain has the numbers of its table, and the sentence about a block says what was measured."""

import json
import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from explorer.figures.identity_path import chain_chart, worked
from explorer.figures.theme import SERIES_COLOURS
from explorer.models.variants import variant


def table(shortcut: list[float], branch: list[float], product: list[float], gate: list[float] | None = None) -> Any:
    count = len(product)
    return pd.DataFrame(
        {
            "name": [f"layer1.{block}" for block in range(count)],
            "index": range(1, count + 1),
            "shortcut_share": shortcut,
            "branch_share": branch,
            "gate_share": gate or [math.nan] * count,
            "product": product,
            "factor": [1.5] * count,
        }
    )


NET = table([0.25, 0.5, 1.5], [0.75, 0.5, -0.5], [6.0, 2.0, 0.5])
TWIN = table([math.nan] * 3, [1.0] * 3, [4000.0, 20.0, 3.0])


def drawn(*tables: pd.DataFrame, block: int = 2) -> go.Figure:
    return chain_chart(dict(zip(("net", "twin"), tables, strict=False)), block)


def bars(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.type == "bar"}


def lines(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines+markers"]


def test_each_way_of_the_first_net_has_its_signed_parts() -> None:
    found = bars(drawn(NET, TWIN))
    assert list(found) == ["through the shortcut", "through the main branch"]
    assert list(found["through the shortcut"].y) == [0.25, 0.5, 1.5]
    assert list(found["through the main branch"].y) == [0.75, 0.5, -0.5]
    assert list(found["through the shortcut"].x) == [1, 2, 3]
    assert drawn(NET).layout.barmode == "relative"  # else what is below 0 would be stacked on what is above


def test_a_gate_has_bars_of_its_own_and_a_plain_net_one_way() -> None:
    assert list(bars(drawn(table([0.5], [0.4], [1.0], [0.1])))) == [
        "through the shortcut",
        "through the main branch",
        "through the gate's weights",
    ]
    assert list(bars(drawn(TWIN))) == ["through the main branch"]


def test_each_net_has_a_line_of_its_products_on_a_logarithmic_axis_that_holds_them_and_1() -> None:
    figure = drawn(NET, TWIN)
    net, twin = lines(figure)
    assert (list(net.y), list(twin.y)) == ([6, 2, 0.5], [4000, 20, 3])
    assert (net.name, twin.name) == ("net, all blocks from the last", "twin, all blocks from the last")
    assert (net.yaxis, net.line.color, twin.line.color) == ("y2", SERIES_COLOURS[0], SERIES_COLOURS[1])
    assert net.line.dash != twin.line.dash
    assert figure.layout.yaxis2.type == "log"
    low, high = (10**end for end in figure.layout.yaxis2.range)
    assert 0.1 < low < 0.5
    assert 4000 < high < 20_000
    low, high = (10**end for end in drawn(table([1], [0], [1.0])).layout.yaxis2.range)
    assert low < 1 < high


def test_an_exact_zero_stands_at_the_lower_edge_with_a_sign_and_an_unknown_leaves_a_gap() -> None:
    figure = drawn(NET, table([math.nan] * 3, [1] * 3, [0.0, math.nan, 1e-9]))
    assert list(lines(figure)[1].y) == [None, None, 1e-9]
    (sign,) = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "markers"]
    assert (list(sign.x), sign.marker.symbol) == ([1], "x")
    assert sign.y[0] == pytest.approx(10 ** figure.layout.yaxis2.range[0])
    assert sign.y[0] < 1e-9
    assert "exactly 0" in sign.name


def test_the_chosen_block_and_the_line_of_1_are_marked() -> None:
    one, chosen = drawn(NET, TWIN, block=3).layout.shapes
    assert (chosen.x0, chosen.x1, chosen.yref) == (3, 3, "paper")
    assert (one.y0, one.y1, one.yref) == (1, 1, "y2")


def test_what_is_pointed_at_is_said_in_numbers() -> None:
    net, _ = lines(drawn(NET, TWIN))
    assert net.customdata[0] == "net, layer1.0: 6 times the norm behind the last block, factor 1.5"
    bar = bars(drawn(NET))["through the shortcut"]
    assert bar.customdata[2] == "layer1.2"
    assert "%{y:.1%}" in bar.hovertemplate


def test_the_two_panels_share_the_blocks_and_do_not_overlap() -> None:
    layout = drawn(NET, TWIN).layout
    assert layout.yaxis2.domain[1] < layout.yaxis.domain[0]
    assert list(layout.xaxis.range) == [0.4, 3.6]
    assert json.loads(drawn(NET, TWIN).to_json())["layout"]["title"]["text"] == "The gradient on its way back"


ROW = {
    "behind": 0.831,
    "at_sum": 0.715,
    "shortcut": 0.715,
    "branch": 0.213,
    "gate": math.nan,
    "angle": 88.04,
    "in_front": 0.748,
    "factor": 0.9,
}


@pytest.mark.parametrize(
    ("name", "changes", "row", "text"),
    [
        (
            "a",
            {},
            {},
            "A gradient of norm 0.831 arrives behind it. The activation behind the sum lets 0.715 of that through. The "
            "shortcut carries 0.715 and the main branch 0.213, at an angle of 88.0°. Together they are 0.748 in front "
            "of it: factor 0.9.",
        ),
        (
            "preact",
            {},
            {"at_sum": 0.831, "shortcut": 0.831},
            "A gradient of norm 0.831 arrives behind it. The shortcut carries 0.831 and the main branch 0.213, at an "
            "angle of 88.0°. Together they are 0.748 in front of it: factor 0.9.",
        ),
        (
            "highway",
            {},
            {"gate": 0.0012},
            "A gradient of norm 0.831 arrives behind it. The activation behind the sum lets 0.715 of that through. The "
            "shortcut carries 0.715 and the main branch 0.213, at an angle of 88.0°. The gate's own look at the input "
            "adds 0.0012. Together they are 0.748 in front of it: factor 0.9.",
        ),
        (
            "zero_gamma",
            {"activation_order": "bn_after_add"},
            {"branch": 0.0, "angle": math.nan},
            "A gradient of norm 0.831 arrives behind it. The norm with its activation behind the sum lets 0.715 of "
            "that through. The shortcut carries 0.715 and the main branch 0. Together they are 0.748 in front of it: "
            "factor 0.9.",
        ),
        (
            "plain",
            {},
            {"shortcut": math.nan, "angle": math.nan},
            "A gradient of norm 0.831 arrives behind it. The activation at its end lets 0.715 of that through. There "
            "is no shortcut: all of it goes through the layers, which make it 0.748 in front of the block: factor 0.9.",
        ),
    ],
)
def test_a_block_in_words(name: str, changes: dict[str, Any], row: dict[str, float], text: str) -> None:
    assert worked(ROW | row, variant(name, 8, **changes)) == text
