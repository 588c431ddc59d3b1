"""Charts of how far a map can be believed hold the numbers that were measured."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from explorer.attribution import Attribution
from explorer.attribution.measures import Order, followed
from explorer.figures.overlay import Look, painted
from explorer.figures.sure import drawn_chart, drawn_pictures, order_chart

CURVES = pd.DataFrame(
    {
        "part": [0.0, 0.5, 1.0],
        "deletion": [0.9, 0.1, 0.0],
        "insertion": [0.0, 0.8, 0.9],
        "deletion_random": [0.9, 0.5, 0.0],
        "deletion_random_low": [0.9, 0.4, 0.0],
        "deletion_random_high": [0.9, 0.6, 0.0],
        "insertion_random": [0.0, 0.45, 0.9],
        "insertion_random_low": [0.0, 0.35, 0.9],
        "insertion_random_high": [0.0, 0.55, 0.9],
    }
)
ORDER = Order(
    CURVES,
    deletion=(0.9 + 0.1) / 4 + 0.1 / 4,
    insertion=0.8 / 4 + (0.8 + 0.9) / 4,
    deletion_random=(0.9 + 0.5) / 4 + 0.5 / 4,
    insertion_random=0.45 / 4 + (0.45 + 0.9) / 4,
    random_low=0.4,
    random_high=0.5,
    orders=2,
)


def lines(figure: go.Figure) -> dict[str, Any]:
    return {line.name: line for line in figure.data if line.name}


def test_each_order_is_a_line_with_its_area_in_the_legend() -> None:
    found = lines(order_chart(ORDER, followed(None)))
    assert {name: (list(line.x), list(line.y)) for name, line in found.items()} == {
        "Deletion, area 0.275": ([0, 0.5, 1], [0.9, 0.1, 0]),
        "Deletion at random, area 0.475": ([0, 0.5, 1], [0.9, 0.5, 0]),
        "Insertion, area 0.625": ([0, 0.5, 1], [0, 0.8, 0.9]),
        "Insertion at random, area 0.450": ([0, 0.5, 1], [0, 0.45, 0.9]),
    }
    assert {name: line.line.dash for name, line in found.items()} == {
        name: "dot" if "random" in name else "solid" for name in found
    }
    deletion, chance, insertion, _ = found.values()
    assert deletion.line.color == chance.line.color != insertion.line.color


def test_the_band_goes_from_the_lowest_random_order_to_the_highest() -> None:
    deletion, insertion = (line for line in order_chart(ORDER, followed(None)).data if line.fill == "toself")
    assert list(zip(deletion.x, deletion.y, strict=True)) == [
        (0, 0.9),
        (0.5, 0.6),
        (1, 0),
        (1, 0),
        (0.5, 0.4),
        (0, 0.9),
    ]
    assert list(insertion.y) == [0, 0.55, 0.9, 0.9, 0.35, 0]
    assert not deletion.showlegend
    assert deletion.hoverinfo == "skip"


def test_the_axis_says_what_falls_and_rises() -> None:
    figure = order_chart(ORDER, followed(None))
    assert figure.layout.yaxis.title.text == "probability of the class"
    assert order_chart(ORDER, followed(3)).layout.yaxis.title.text == "difference of the logits"
    json.loads(figure.to_json())


def drawn_anew(*ranks: float) -> pd.DataFrame:
    parts = ["trained", "fc", "layer4", "conv1"][: len(ranks)]
    maps = [np.full((1, 2), 10.0**-place) * (1, -0.5) for place in range(len(ranks))]
    return pd.DataFrame({"part": parts, "rank": ranks, "map": maps})


def test_a_bar_for_each_part_from_the_last_on() -> None:
    figure = drawn_chart(drawn_anew(1.0, 0.5, 0.25, 0.0))
    (bar,) = figure.data
    assert bar.y == ("trained", "from fc on", "from layer4 on", "from conv1 on")
    assert list(bar.x) == [1, 0.5, 0.25, 0]
    assert bar.text == ("1.00", "0.50", "0.25", "0.00")
    assert figure.layout.xaxis.range == (0, 1)
    assert figure.layout.yaxis.autorange == "reversed"  # the first on top
    assert bar.marker.color[0] not in bar.marker.color[1:]
    json.loads(figure.to_json())


def test_correlations_below_0_are_seen() -> None:
    assert drawn_chart(drawn_anew(1.0, -0.25)).layout.xaxis.range == (-0.25, 1)


def test_a_correlation_that_is_none_is_said_to_be_none() -> None:
    (bar,) = drawn_chart(drawn_anew(1.0, math.nan)).data
    assert bar.text[1] == "no number: one of the maps is flat"
    assert bar.x[1] == 0


@pytest.mark.parametrize(("method", "absolute"), [("grad_cam", False), ("saliency", True)])
def test_each_map_has_a_scale_of_its_own(method: str, absolute: bool) -> None:
    table = drawn_anew(1.0, 0.5, math.nan)
    record = Attribution(
        checkpoint="tiny",
        method=method,
        target=0,
        target_name="tench",
        against=None,
        against_name=None,
        channels=np.ones((3, 1, 2), dtype=np.float32),
        picture=Image.new("RGB", (2, 1), "grey"),
        score=1.0,
        expected_sum=None,
        expected_sum_is=None,
        sum=6.0,
        device="CPU",
        seconds=0.1,
    )
    look = Look(strength=1.0, channel=2)
    found = drawn_pictures(table, record, look)
    assert [title for title, _ in found] == ["trained", "from fc on: 0.50", "from layer4 on"]
    # Each is ten times weaker than the one before and yet the same; where the sign says nothing, it is gone
    row = [[1.0, 0.5 if absolute else -0.5]]
    expected = painted(np.array(row), record.picture, Look(strength=1.0, absolute=absolute)).tobytes()
    assert [image.tobytes() for _, image in found] == [expected] * 3
