"""The charts of unproductive layers."""

import math

import pandas as pd
import plotly.graph_objects as go
import pytest
from torch import nn

from explorer.analysis.fields import field_profile
from explorer.analysis.productivity import Use, use, use_by_size
from explorer.figures.productivity import share_chart, use_chart


@pytest.fixture(scope="module")
def resnet() -> Use:
    return use(field_profile("resnet18"), (64, 64))


def marks(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.mode == "markers"}


def test_every_layer_has_one_mark_at_the_field_that_decides(resnet: Use) -> None:
    found = marks(use_chart(resnet))
    assert list(found) == ["unproductive (1)", "critical (3)", "partly (8)", "productive (8)"]
    places = sorted(place for trace in found.values() for place in trace.x)
    assert places == list(range(1, 21))
    for name, trace in found.items():
        status = name.split()[0]
        column = "longest" if status == "partly" else "shortest"
        for place, pixels in zip(trace.x, trace.y, strict=True):
            row = resnet.table.iloc[place - 1]
            assert row["status"] == status
            assert row[column] == (pixels, pixels)
    assert len({trace.marker.color for trace in found.values()}) == len({t.marker.symbol for t in found.values()}) == 4


def test_the_band_goes_from_the_shortest_path_to_all(resnet: Use) -> None:
    low, high = use_chart(resnet).data[:2]
    assert list(low.y) == [pixels for pixels, _ in resnet.table["shortest"]]
    assert list(high.y) == [pixels for pixels, _ in resnet.table["longest"]]
    assert high.fill == "tonexty"
    assert high.showlegend
    assert not use_chart(use(field_profile("vgg11"))).data[1].showlegend  # a chain has no band


def test_the_images_line_and_its_name_stand_at_its_size(resnet: Use) -> None:
    figure = use_chart(resnet)
    [line], [name] = figure.layout.shapes, figure.layout.annotations
    assert line.y0 == line.y1 == 64
    assert name.y == pytest.approx(math.log10(64))  # Plotly wants the exponent there
    assert name.text == "image: 64 px"
    low, high = figure.layout.yaxis.range
    assert low < 0
    assert high > math.log10(372)


def test_an_image_that_is_not_square_has_two_lines() -> None:
    figure = use_chart(use(field_profile("vgg11"), (64, 96)))
    assert [line.y0 for line in figure.layout.shapes] == [64, 96]
    assert [name.text for name in figure.layout.annotations] == ["image, height: 64 px", "image, width: 96 px"]


def test_a_large_image_is_on_the_axis() -> None:
    _, high = use_chart(use(field_profile("alexnet"), (1024, 1024))).layout.yaxis.range
    assert high > math.log10(1024)


def test_under_the_mouse_stand_fields_and_counts(resnet: Use) -> None:
    found = marks(use_chart(resnet))
    last = found["unproductive (1)"].customdata[0]
    assert "<b>layer4.1.conv2</b>: unproductive" in last
    assert "comes in: 75 px by the shortest path, 371 px by all" not in last
    assert "comes in: 75 px by the shortest path, 371 by all" in last  # 435 - 2 * 32
    assert "its own: 139 px by the shortest path, 435 by all" in last
    assert "2,359,296 parameters" in last  # 9 * 512 * 512
    assert "MACs" not in last  # they are not known at this size
    own = marks(use_chart(use(field_profile("resnet18"))))
    assert (
        "comes in: 1 px<br>its own: 7 px<br>9,408 parameters, 118,013,952 MACs" in own["productive (17)"].customdata[0]
    )
    flat = use(field_profile(nn.Conv2d(3, 3, (1, 7)), (32, 32)))
    assert "its own: 1 x 7 px" in marks(use_chart(flat))["productive (1)"].customdata[0]


def test_of_two_axes_the_smaller_field_is_drawn() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, (7, 5)), nn.Conv2d(3, 3, 3))
    figure = use_chart(use(field_profile(net, (32, 32))))
    assert list(figure.data[0].y) == list(figure.data[1].y) == [1, 5]


@pytest.mark.parametrize("what", ["layers", "params"])
def test_lines_are_the_tables_steps(what: str, resnet: Use) -> None:
    steps = use_by_size({"resnet18": resnet, "vgg11": use(field_profile("vgg11"))}, (16, 1024))
    shortest, longest = share_chart(steps, what, "shortest"), share_chart(steps, what, "longest")
    assert [trace.name for trace in shortest.data if trace.mode == "lines"] == ["resnet18", "vgg11"]
    for figure, rule in ((shortest, "shortest"), (longest, "longest")):
        for place, net in enumerate(("resnet18", "vgg11")):
            line, dot = figure.data[2 * place : 2 * place + 2]
            rows = steps[steps["net"] == net]
            assert list(line.x) == list(rows["side"])
            assert list(line.y) == list(rows[f"{what}_{rule}"])
            assert line.line.shape == "hv"  # a share holds until the next step
            assert list(dot.x) == [64 if net == "resnet18" else 224]
            assert dot.marker.color == line.line.color
    assert shortest.data[0].y != longest.data[0].y
    assert what.removesuffix("s")[:5] in shortest.layout.title.text


def test_forty_lines_are_all_told_apart(resnet: Use) -> None:
    steps = use_by_size({f"net {n}": resnet for n in range(40)}, (16, 1024))
    figure = share_chart(steps, "params", "shortest")
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len({(line.line.color, line.line.dash) for line in lines}) == 40
    few = share_chart(steps[steps["net"] == "net 0"], "params", "shortest")
    assert figure.layout.height > few.layout.height + 9 * 20  # ten lines of names and not one


def test_an_image_beyond_the_axis_has_no_dot(resnet: Use) -> None:
    steps = use_by_size({"tiny": resnet}, (128, 1024))
    assert not steps["own"].any()
    assert len(pd.unique(steps["side"])) == len(steps)
    assert list(share_chart(steps, "params", "shortest").data[1].x) == []
