"""The charts of the Compare page."""

import math

import pandas as pd
import pytest

from explorer.analysis.comparison import comparison_table, depth_table, kind_table, winners_table
from explorer.analysis.profile import Profile, profile
from explorer.figures.comparison import bubble_chart, depth_chart, kind_chart, resolution_chart, winners_chart

NAMES = ("alexnet_2012", "vgg16", "resnet18")


@pytest.fixture(scope="module")
def found() -> dict[str, Profile]:
    return {name: profile(name) for name in NAMES}


def test_bubbles_stand_where_the_table_says(found: dict[str, Profile]) -> None:
    table = comparison_table(found)
    figure = bubble_chart(table, "depth", "params", "macs")
    (trace,) = figure.data
    assert list(trace.text) == list(NAMES)
    assert list(trace.x) == [8, 16, 18]
    assert list(trace.y) == list(table["params"])
    assert list(trace.marker.size) == list(table["macs"])
    assert trace.marker.sizemode == "area"
    assert trace.marker.sizeref == 2 * 15_470_264_320 / 60**2  # as Plotly's documentation has it, for 60 px at most
    assert figure.layout.title.text == "Area: MACs"
    assert "Parameters: 138.4 M" in trace.customdata[1]


@pytest.mark.parametrize("column", ["depth", "params", "macs", "activation_bytes"])
def test_the_logarithmic_axis_holds_every_bubble(found: dict[str, Profile], column: str) -> None:
    table = comparison_table(found)
    axis = bubble_chart(table, column, "receptive_field", "macs").layout.xaxis
    low, high = axis.range
    assert axis.type == "log"
    assert all(low < math.log10(value) < high for value in table[column])
    assert 10**low >= table[column].min() / 10
    assert list(axis.tickvals) == sorted(axis.tickvals)


def test_one_network_alone_can_be_drawn(found: dict[str, Profile]) -> None:
    table = comparison_table({"vgg16": found["vgg16"]})
    assert list(bubble_chart(table, "params", "macs", "macs").data[0].text) == ["vgg16"]


def test_what_is_unknown_has_no_bubble_and_nobody_changes_colour(found: dict[str, Profile]) -> None:
    table = comparison_table(found).astype({"receptive_field": object})
    whole = bubble_chart(table, "depth", "params", "params").data[0]
    table.loc[1, "receptive_field"] = pd.NA
    (trace,) = bubble_chart(table, "receptive_field", "params", "params").data
    assert list(trace.text) == ["alexnet_2012", "resnet18"]
    assert trace.marker.color == (whole.marker.color[0], whole.marker.color[2])


def test_nothing_known_is_an_empty_picture(found: dict[str, Profile]) -> None:
    table = comparison_table(found).assign(top1=None)
    assert all(not trace.x for trace in bubble_chart(table, "macs", "top1", "params").data)


def test_words_get_shapes_of_their_own(found: dict[str, Profile]) -> None:
    table = comparison_table(found).assign(crop=["ten crops", "one crop", "ten crops"])
    figure = bubble_chart(table, "macs", "depth", "params", symbol="crop")
    assert {trace.name: list(trace.text) for trace in figure.data} == {
        "ten crops": ["alexnet_2012", "resnet18"],
        "one crop": ["vgg16"],
    }
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    assert figure.data[0].marker.sizeref == figure.data[1].marker.sizeref  # one scale for all


def test_close_bubbles_have_their_labels_apart() -> None:
    table = pd.DataFrame({"net": list("abc"), "depth": [10, 10, 40], "params": [100, 101, 900]})
    positions = bubble_chart(table, "depth", "params", "params").data[0].textposition
    assert positions[0] != positions[1]


@pytest.mark.parametrize("share", [True, False])
def test_bars_by_kind_add_up(found: dict[str, Profile], share: bool) -> None:
    table = kind_table(found, "params")
    figure = kind_chart(table, "params", share=share)
    for place, name in enumerate(NAMES):
        length = sum(bar.x[place] for bar in figure.data)
        assert length == pytest.approx(1 if share else found[name].totals.params)
    linear = next(bar for bar in figure.data if bar.name == "linear")
    assert list(linear.y) == list(NAMES)
    assert linear.customdata[1] == "vgg16, linear: 123,642,856 (89.4%)"  # of 138,357,544


def test_lines_by_depth(found: dict[str, Profile]) -> None:
    table = depth_table(found, "macs")
    figure = depth_chart(table, "macs", "depth", "running")
    assert [line.name for line in figure.data] == list(NAMES)
    assert [line.y[-1] for line in figure.data] == [one.totals.macs for one in found.values()]
    assert [line.x[-1] for line in figure.data] == [8, 16, 18]
    shares = depth_chart(table, "macs", "share_of_depth", "running_share")
    assert all((line.x[-1], line.y[-1]) == (1, 1) for line in shares.data)


def test_twenty_lines_are_all_told_apart(found: dict[str, Profile]) -> None:
    table = pd.concat([depth_table({f"net {n}": found["resnet18"]}, "params") for n in range(20)], ignore_index=True)
    lines = depth_chart(table, "params", "depth", "value").data
    assert len({(line.line.color, line.line.dash) for line in lines}) == 20


def test_maps_shrink_as_a_lecture_says(found: dict[str, Profile]) -> None:
    """AlexNet: 227 -> 55 -> 27 -> 27 -> 13 -> 13 -> 13 -> 13 -> 6."""
    line = resolution_chart(found).data[0]
    assert list(line.y) == [227, 55, 27, 27, 13, 13, 13, 13, 6]
    assert list(line.customdata)[:4] == ["image", "conv1", "pool1", "conv2"]


def test_the_winners_with_their_layers() -> None:
    """He's slide: 8, 8, 19, 22 and 152 layers; 16.4, 11.7, 7.3, 6.7 and 3.57 percent."""
    figure = winners_chart(winners_table(), 5.1)
    (bars,) = figure.data
    errors = dict(zip(bars.y, bars.x, strict=True))
    assert errors["2012 AlexNet, 8 layers"] == 16.4
    assert errors["2013 Clarifai, 8 layers"] == 11.7
    assert errors["2014 VGG, 19 layers"] == 7.3
    assert errors["2014 GoogLeNet, 22 layers"] == 6.7
    assert errors["2015 ResNet, 152 layers"] == 3.57
    assert errors["2010 NEC-UIUC"] == 28.2
    assert [shape.x0 for shape in figure.layout.shapes] == [5.1]
