"""The charts of receptive fields hold their tables."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.analysis.field_stories import Cells, field_lines, share_table
from explorer.analysis.fields import field_profile
from explorer.analysis.paths import Paths, path_sweep
from explorer.figures.fields import cells_chart, field_depth_chart, path_sums_chart, paths_chart, stride_chart
from explorer.figures.theme import ACCENT, SERIES_COLOURS


def lines_of(*names: str) -> pd.DataFrame:
    return field_lines({name: field_profile(name) for name in names})


def named(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.name}  # type: ignore[attr-defined]


def paths_of(name: str) -> Paths:
    return [paths for paths in path_sweep(field_profile(name).graph) if paths is not None][-1]


@pytest.mark.parametrize("x", ["depth", "share_of_depth"])
def test_a_line_is_a_network_and_a_dot_the_end_of_a_stage(x: str) -> None:
    lines = lines_of("resnet50", "vgg16")
    figure = field_depth_chart(lines, x, [224], logarithmic=False, bands=False)
    traces = named(figure)
    assert list(traces) == ["resnet50", "vgg16"]
    for index, (net, rows) in enumerate(lines.groupby("net", sort=False)):
        trace = traces[str(net)]
        assert list(trace.x) == list(rows[x])
        assert list(trace.y) == list(rows["receptive_field"])
        assert [size > 0 for size in trace.marker.size] == list(rows["ends_stage"])
        assert trace.line.color == SERIES_COLOURS[index]
    assert traces["resnet50"].y[-1] == 427
    assert traces["resnet50"].customdata[-1] == (
        "layer4.2.relu3, stage 4, depth 49<br>field 427 px, stride 32, start 0<br>paths 11 to 427 px"
    )
    assert figure.layout.yaxis.type is None
    assert figure.layout.title.text == "Receptive field, px"


def test_the_band_goes_along_the_longest_paths_and_back_along_the_shortest() -> None:
    lines = lines_of("vgg11", "resnet18")
    figure = field_depth_chart(lines, "depth", [], logarithmic=False, bands=True)
    [band] = [trace for trace in figure.data if trace.fill]
    rows = lines[lines["net"] == "resnet18"]
    assert list(band.x) == [*rows["depth"], *reversed(list(rows["depth"]))]
    assert list(band.y) == [*rows["longest"], *reversed(list(rows["shortest"]))]
    assert band.fillcolor == "rgba(213, 94, 0, 0.15)"  # of #D55E00, the second colour
    without = field_depth_chart(lines, "depth", [], logarithmic=False, bands=False)
    assert not any(trace.fill for trace in without.data)


def test_the_band_ends_where_paths_are_unknown() -> None:
    lines = lines_of("resnet18")
    unknown = lines["stage"] == "4"
    lines.loc[unknown, ["shortest", "longest"]] = None
    band, line = field_depth_chart(lines, "depth", [], logarithmic=False, bands=True).data
    rows = lines[~unknown]
    assert list(band.y) == [*rows["longest"], *reversed(list(rows["shortest"]))]
    assert list(line.y) == list(lines["receptive_field"])
    assert line.customdata[-1].endswith("paths unknown")


@pytest.mark.parametrize(
    ("sides", "logarithmic", "texts"),
    [
        ([224], False, ["image: 224 px"]),
        ([224, 227], False, ["", "image: 224, 227 px"]),
        ([32, 224, 299], False, ["image: 32 px", "image: 224 px", "image: 299 px"]),  # ResNet-50's chart is 427 high
        ([32, 224, 299], True, ["image: 32 px", "image: 224 px", "image: 299 px"]),
        ([32, 224, 256], True, ["image: 32 px", "", "image: 224, 256 px"]),
    ],
)
def test_each_image_size_is_a_dashed_line_with_a_text_that_has_room(
    sides: list[int], logarithmic: bool, texts: list[str]
) -> None:
    figure = field_depth_chart(lines_of("resnet50"), "depth", sides, logarithmic=logarithmic, bands=True)
    dashed = [trace for trace in figure.data if trace.mode == "lines+text"]
    assert [list(trace.y) for trace in dashed] == [[side, side] for side in sides]
    assert [list(trace.x) for trace in dashed] == [[0, 49]] * len(sides)
    assert [trace.text[0] for trace in dashed] == texts
    assert {trace.line.dash for trace in dashed} == {"dash"}
    assert figure.layout.yaxis.type == ("log" if logarithmic else None)


def test_the_stride_is_a_step_line() -> None:
    lines = lines_of("resnet50", "cifar_resnet20")
    figure = stride_chart(lines, "depth", legend=False)
    traces = named(figure)
    assert list(traces["resnet50"].y) == list(lines[lines["net"] == "resnet50"]["jump"])
    assert {trace.line.shape for trace in figure.data} == {"hv"}
    assert list(figure.layout.yaxis.tickvals) == [1, 2, 4, 8, 16, 32]
    low, high = figure.layout.yaxis.range
    assert low < 0
    assert 10**high > 32
    assert figure.layout.showlegend is False
    assert stride_chart(lines, "depth", legend=True).layout.showlegend is True


def test_five_networks_with_the_deepest_are_a_small_figure() -> None:
    lines = lines_of("cifar_resnet1202", "densenet201", "resnet152", "googlenet_2014", "inception_v3")
    figure = field_depth_chart(lines, "depth", [32, 224, 299], logarithmic=False, bands=True)
    assert len(figure.to_json()) < 300_000
    drawn, rows = named(figure)["cifar_resnet1202"], lines[lines["net"] == "cifar_resnet1202"]
    assert 300 < len(drawn.x) < len(rows) == 1202
    ends = rows[rows["ends_stage"]]
    dots = [(x, y) for x, y, size in zip(drawn.x, drawn.y, drawn.marker.size, strict=True) if size]
    assert dots == list(zip(ends["depth"], ends["receptive_field"], strict=True))
    assert list(named(figure)["inception_v3"].y) == list(lines[lines["net"] == "inception_v3"]["receptive_field"])


def test_forty_networks_look_different() -> None:
    row = lines_of("vgg11").iloc[:3]
    lines = pd.concat([row.assign(net=f"net {number}") for number in range(40)])
    traces = named(field_depth_chart(lines, "depth", [], logarithmic=True, bands=False))
    assert len({(trace.line.color, trace.line.dash) for trace in traces.values()}) == len(traces) == 40


# --- paths


def test_the_bars_are_the_shares_of_one_network() -> None:
    shares = share_table({"resnet18": paths_of("resnet18")})
    figure = paths_chart(shares, {"shortest": 11, "mean": 223.0})
    bars = figure.data[0]
    assert list(bars.x) == list(shares["height"])
    assert list(bars.y) == list(shares["share"])
    assert sum(bars.y) == pytest.approx(1)
    assert bars.width == pytest.approx(0.9 * 8)  # ResNet-18's heights are 8 apart
    assert bars.customdata[0] == f"11 px: {1 / 256:.3%} of the paths"
    assert figure.layout.title.text == "Share of the paths"
    marks = named(figure)
    assert list(marks["shortest: 11 px"].x) == [11, 11]
    assert list(marks["mean: 223 px"].x) == [223, 223]
    assert max(marks["mean: 223 px"].y) > max(bars.y)


def test_what_is_too_rare_to_see_is_left_out() -> None:
    shares = share_table({"resnet1202": paths_of("cifar_resnet1202")})
    figure = paths_chart(shares, {"shortest": 3, "longest": 5597})
    bars = figure.data[0]
    assert sum(bars.y) == pytest.approx(1, abs=1e-4)
    assert len(bars.x) <= 700
    assert bars.width == pytest.approx(0.9 * 2)
    assert len(figure.to_json()) < 100_000
    assert min(bars.x) > 3
    assert [trace.x[0] for trace in figure.data[1:]] == [3, 5597]


def test_where_there_are_too_many_heights_a_bar_is_for_several() -> None:
    counts = np.array([1 + place % 7 for place in range(2_000)], dtype=object)
    paths = Paths(10, counts, sum(counts), 0)
    [bars] = paths_chart(share_table({"it": paths}), {}).data
    assert len(bars.x) == 667  # 2,000 heights, 3 a bar
    assert sum(bars.y) == pytest.approx(1)
    assert bars.x[0] == 11  # the middle of 10, 11, 12
    assert bars.y[0] == pytest.approx((1 + 2 + 3) / sum(counts))
    assert bars.customdata[0].startswith("10 to 12 px: ")
    assert paths_chart(share_table({"it": paths}), {}).layout.title.text.endswith("3 px a bar")


def test_several_networks_are_lines_of_sums() -> None:
    shares = share_table({name: paths_of(name) for name in ("resnet18", "vgg11")})
    traces = named(path_sums_chart(shares))
    assert {trace.line.shape for trace in traces.values()} == {"hv"}
    assert (list(traces["vgg11"].x), list(traces["vgg11"].y)) == ([150, 150, 150], [0, 1, 1])
    rows = shares[shares["net"] == "resnet18"]
    assert list(traces["resnet18"].y) == [0, *rows["up_to"], 1]
    assert list(traces["resnet18"].x) == [11, *rows["height"], 435]


def test_a_thinned_sum_ends_at_the_longest_path() -> None:
    [trace] = path_sums_chart(share_table({"it": paths_of("cifar_resnet1202")})).data
    assert (trace.x[0], trace.x[-1], trace.y[-1]) == (3, 5597, 1.0)
    assert len(trace.x) <= 702


def test_a_single_path_is_a_bar_of_one() -> None:
    [bar] = paths_chart(share_table({"vgg11": paths_of("vgg11")}), {}).data
    assert (list(bar.x), list(bar.y), bar.width) == ([150], [1.0], 0.9)


# --- cells


def test_a_hole_is_pale_and_what_is_outside_is_empty() -> None:
    figure = cells_chart([Cells("with holes", -2, 0b10101), Cells("dense", -1, 0b111)])
    [grid] = figure.data
    assert list(grid.x) == [-2, -1, 0, 1, 2]
    assert list(grid.y) == ["with holes: 5", "dense: 3"]
    assert [list(line) for line in grid.z] == [[1, 0, 1, 0, 1], [None, 1, 1, 1, None]]
    assert grid.colorscale[-1] == (1, ACCENT)
    assert grid.customdata[0][1] == "in the field, not seen: a hole"
    assert figure.layout.yaxis.autorange == "reversed"


@FEW
@given(st.lists(st.tuples(st.integers(-40, 10), st.integers(0, 2**12)), min_size=1, max_size=6))
def test_every_cell_has_room_and_few_are_no_bars(places: list[tuple[int, int]]) -> None:
    rows = [Cells(f"stack {number}", lo, 2 * inner + 1) for number, (lo, inner) in enumerate(places)]
    figure = cells_chart(rows)
    low, high = figure.layout.xaxis.range
    pixels = [pixel for row in rows for pixel in row.pixels]
    assert low <= min(pixels) - 0.5
    assert high >= max(pixels) + 0.5
    assert high - low == pytest.approx(max(21, max(pixels) - min(pixels) + 1))
    values = json.loads(figure.to_json())["data"][0]["z"]
    assert sum(value == 1 for line in values for value in line) == len(pixels)


def test_a_bar_stands_at_its_own_height_where_heights_are_unequally_far_apart() -> None:
    heights = [49, 59, 65, 69, 75, 79]  # DLA-34's, behind level3.tree1.tree2.bn2
    shares = pd.DataFrame({"net": "dla34", "height": heights, "paths": 1, "share": 1 / len(heights)})
    [bars, *_] = paths_chart(shares, {}).data
    drawn = {x: y for x, y in zip(bars.x, bars.y, strict=True) if y}
    assert drawn == pytest.approx(dict.fromkeys(heights, 1 / 6))
