"""The pictures of a network hold its numbers, keep their scales, and open only what there is."""

import json
import re
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from strategies import FEW, specs

from explorer.analysis.layers import layer_table, stage_table, totals
from explorer.analysis.outline import Outline, outline, volumes
from explorer.figures.diagram import SHORTCUT_STYLES, block_diagram, openable, volume_chart
from explorer.figures.theme import KIND_COLOURS
from explorer.spec import PRESETS, ResNetSpec

Net = str | ResNetSpec
HIGHWAY = replace(PRESETS["resnet50"], shortcut="highway")
PREACT = replace(PRESETS["resnet50"], activation_order="preact")
LONG_SHORTCUT = replace(PRESETS["resnet18"], downsample="avg", output_stride=8)  # longer than the main branch


@cache
def table(net: Net) -> pd.DataFrame:
    return layer_table(net)


@cache
def told(net: Net) -> Outline:
    return outline(table(net))


def boxes(figure: go.Figure) -> list[dict[str, Any]]:
    """Every box from top to bottom: its sides, text, hover text, colours and what it opens."""
    found = []
    for bar in figure.data:
        if bar.type != "bar":
            continue
        columns = (bar.base, bar.x, bar.y, bar.width, bar.text, bar.hovertext, bar.customdata, bar.marker.color)
        for left, width, middle, height, text, hover, opens, colour in zip(*columns, strict=True):
            found.append(
                {
                    "left": left,
                    "right": left + width,
                    "top": middle - height / 2,
                    "bottom": middle + height / 2,
                    "text": text,
                    "hover": hover,
                    "opens": opens,
                    "colour": colour,
                    "ink": bar.textfont.color,
                }
            )
    return sorted(found, key=lambda box: box["top"])


def arcs(figure: go.Figure) -> dict[str, list[list[tuple[float, float]]]]:
    """The shortcuts' lines by the words of the legend."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for line in figure.data:
        if line.type == "scatter" and line.showlegend:
            paths: list[list[tuple[float, float]]] = [[]]
            for x, y in zip(line.x, line.y, strict=True):
                if x is None:
                    paths.append([])
                else:
                    paths[-1].append((x, y))
            found[line.name] = [path for path in paths if path]
    return found


def numbers(text: str, unit: str) -> list[int]:
    """Every exact count of this unit in a hover text."""
    return [int(digits.replace(",", "")) for digits in re.findall(rf"([\d,]+) {unit}", text)]


def total(text: str, unit: str) -> int:
    """What a box says of all that it stands for: the last of its counts, or nothing."""
    return (numbers(text, unit) or [0])[-1]


# Numbers


@pytest.mark.parametrize("net", [*PRESETS, "vgg16", "googlenet", "mobilenet_v2"])
def test_the_boxes_of_a_closed_net_add_up_to_it(net: str) -> None:
    drawn = boxes(block_diagram(told(net)))
    sums = totals(table(net))
    assert sum(total(box["hover"], "params") for box in drawn) == sums.params
    assert sum(total(box["hover"], "MACs") for box in drawn) == sums.macs


@pytest.mark.parametrize("net", ["resnet50", "resnext101_32x8d", "cifar_resnet1202", "plain34", HIGHWAY])
def test_a_stage_and_its_runs_hold_their_exact_numbers(net: Net) -> None:
    rows = stage_table(table(net)).set_index("stage")
    for stage in told(net).stages:
        drawn = {box["opens"]: box for box in boxes(block_diagram(told(net), stage.name)) if box["opens"]}
        for name in rows.index[1:-1]:
            hover = drawn[f"stage:{name}"]["hover"]
            assert total(hover, "params") == rows["params"][name]
            assert total(hover, "MACs") == rows["macs"][name]
            assert f"out: {'x'.join(map(str, rows['output_shape'][name]))}" in hover
        runs = [box["hover"] for opens, box in drawn.items() if opens.startswith("run:")]
        assert sum(total(hover, "params") for hover in runs) == rows["params"][stage.name]
        assert sum(total(hover, "MACs") for hover in runs) == rows["macs"][stage.name]
        for run, hover in zip(stage.runs, runs, strict=True):
            assert run.count == 1 or numbers(hover, "params") == [run.block_params, run.params]


@pytest.mark.parametrize("net", ["resnet50", "resnet50d", "seresnet50", "cifar_resnet20", "plain18", HIGHWAY, PREACT])
def test_an_open_block_shows_each_of_its_layers_once_with_its_exact_numbers(net: Net) -> None:
    rows = table(net)
    for stage in told(net).stages:
        for run in stage.runs:
            closed = {box["hover"] for box in boxes(block_diagram(told(net), stage.name))}
            drawn = [box for box in boxes(block_diagram(told(net), stage.name, run.first)) if not box["opens"]]
            hovers = [box["hover"] for box in drawn if box["hover"] not in closed]
            block = rows[(rows["stage"] == stage.name) & (rows["block"] == run.first)]
            named = [name for hover in hovers for name in re.findall(r"<b>(.*?)</b>", hover)]
            assert sorted(named) == sorted(block["name"])
            assert sum(total(hover, "params") for hover in hovers) == block["params"].sum() == run.block_params
            assert sum(total(hover, "MACs") for hover in hovers) == block["macs"].sum() == run.block_macs


def test_a_box_says_what_stands_in_it_in_short() -> None:
    texts = {box["opens"]: box["text"] for box in boxes(block_diagram(told("resnet152"), "3")) if box["opens"]}
    assert texts["stage:2"] == "+ <b>Stage 2</b> · bottleneck x 8<br>512x28x28 · 2.34 M params · 1.901 G MACs"
    assert texts["stage:3"] == "- <b>Stage 3</b> · bottleneck x 36"
    assert texts["run:3.1"].startswith("+ <b>Block 1</b><br>1024x14x14 · 1.512 M params")
    assert texts["run:3.2"].startswith(
        "+ <b>Blocks 2 to 36</b>, x 35<br>1024x14x14 · 35 x 1.117 M params · 35 x 218.4 M"
    )
    layers = [box["text"] for box in boxes(block_diagram(told("resnext50_32x4d"), "2", 1)) if not box["opens"]]
    assert "<b>conv2</b> · 3x3 conv<br>stride 2, 32 groups · 256x28x28<br>18.43 k params · 14.45 M MACs" in layers
    assert layers[0].startswith("<b>conv1</b> · 7x7 conv, stride 2, norm, activation<br>64x112x112")


# What opens


@pytest.mark.parametrize("net", ["resnet50", "resnet18", "cifar_resnet1202", "plain18", "vgg16", HIGHWAY])
def test_what_can_be_clicked_on_can_be_opened_and_the_other_way_round(net: Net) -> None:
    names = openable(told(net))
    closed = block_diagram(told(net)).to_json()
    clickable: set[str] = set()
    for opens in ("", *names):
        stage, _, block = opens.partition(":")[2].partition(".")
        figure = block_diagram(told(net), stage or None, int(block) if block else None)
        drawn = [box["opens"] for box in boxes(figure) if box["opens"]]
        assert len(drawn) == len(set(drawn))
        assert set(drawn) <= set(names)
        assert not opens or opens in drawn, "so that it can be closed"
        assert not opens or figure.to_json() != closed
        clickable |= set(drawn)
    assert clickable == set(names)
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(("stage", "block"), [("5", None), ("banana", 1), (None, 1), ("", None)])
def test_a_stage_that_the_net_has_not_opens_nothing(stage: str | None, block: int | None) -> None:
    assert block_diagram(told("resnet50"), stage, block).to_json() == block_diagram(told("resnet50")).to_json()
    beyond = block_diagram(told("resnet50"), "2", 99)
    assert beyond.to_json() == block_diagram(told("resnet50"), "2").to_json()


def test_any_block_of_a_run_opens_the_run() -> None:
    assert block_diagram(told("resnet50"), "3", 2).to_json() == block_diagram(told("resnet50"), "3", 6).to_json()


# Shortcuts


@pytest.mark.parametrize(
    ("net", "kinds"),
    [
        ("resnet50", {"projection", "identity"}),
        ("cifar_resnet20", {"padded", "identity"}),
        (replace(PRESETS["resnet50"], shortcut="C"), {"projection"}),
        (HIGHWAY, {"gated"}),
        ("plain18", set()),
        ("vgg16", set()),
    ],
)
def test_the_legend_names_the_shortcuts_that_there_are_open_or_closed(net: Net, kinds: set[str]) -> None:
    expected = {SHORTCUT_STYLES[kind][2] for kind in kinds}
    stages = [stage.name for stage in told(net).stages]
    for figure in (block_diagram(told(net)), *(block_diagram(told(net), stage, 1) for stage in stages)):
        assert set(arcs(figure)) == expected
        words = [label.text for label in figure.layout.annotations]
        assert ("no block has a shortcut" in words) == (net == "plain18")


def test_kinds_of_shortcuts_differ_in_colour_and_in_dash() -> None:
    for one, other in combinations(SHORTCUT_STYLES.values(), 2):
        assert all(this != that for this, that in zip(one, other, strict=True))
    assert {colour for colour, _, _ in SHORTCUT_STYLES.values()} <= set(KIND_COLOURS.values())
    for net in ("resnet50", "cifar_resnet20", HIGHWAY):
        for line in block_diagram(told(net)).data:
            if line.name:
                assert (line.line.color, line.line.dash, line.name) in SHORTCUT_STYLES.values()


def test_an_arc_at_each_stage_for_each_kind_in_a_row_and_how_many_blocks_have_one() -> None:
    figure = block_diagram(told("resnet152"))
    assert {name: len(paths) for name, paths in arcs(figure).items()} == {
        SHORTCUT_STYLES["projection"][2]: 4,
        SHORTCUT_STYLES["identity"][2]: 4,
    }
    words = [label.text for label in figure.layout.annotations]
    assert [text for text in words if text.startswith("x")] == ["x2", "x7", "x35", "x2"]
    drawn = {box["opens"]: box for box in boxes(figure)}
    for paths in arcs(figure).values():
        for path, stage in zip(paths, "1234", strict=True):
            box = drawn[f"stage:{stage}"]
            assert all(box["top"] <= y <= box["bottom"] and x <= box["left"] for x, y in path)


@pytest.mark.parametrize(
    ("net", "kind", "above"),
    [
        ("resnet50", "projection", "conv1"),
        ("cifar_resnet20", "padded", "conv1"),
        (PREACT, "projection", "conv1"),  # below bn1 and relu1
        (replace(PREACT, shortcut="A"), "padded", "bn1"),
        (HIGHWAY, "gated", "conv1"),
    ],
)
def test_the_line_of_an_open_block_runs_from_its_fork_to_the_sum(net: Net, kind: str, above: str) -> None:
    figure = block_diagram(told(net), "2", 1)
    drawn = boxes(figure)
    paths = arcs(figure)[SHORTCUT_STYLES[kind][2]]
    header = next(box for box in drawn if box["opens"] == "run:2.1")
    inside = [path for path in paths if path[0][1] > header["bottom"] or path[-1][0] > 0.3]
    first = next(box for box in drawn if box["top"] > header["bottom"] and f"<b>{above}</b>" in box["text"])
    over = max((box for box in drawn if box["bottom"] <= first["top"]), key=lambda box: box["bottom"])
    fork_x, fork_y = inside[0][0]
    assert over["bottom"] < fork_y < first["top"]
    assert first["left"] < fork_x < first["right"]
    total_box = next(box for box in drawn if box["text"] == "<b>add</b>")
    ends = [path[-1][1] for path in inside if path[-1][0] == total_box["left"]]
    assert [total_box["top"] < y < total_box["bottom"] for y in ends] == [True]


def test_the_gate_reads_the_blocks_input_and_weighs_what_the_formula_says() -> None:
    """He et al. 2016, section 3.1: exclusive gating is F(x) T and s(x) (1 - T); shortcut-only gating leaves F alone."""
    for shortcut, words in (("highway", "branch x T, shortcut x (1 - T)"), ("gated", "shortcut x (1 - T)")):
        drawn = boxes(block_diagram(told(replace(HIGHWAY, shortcut=shortcut)), "2", 1))
        (gate,) = (box for box in drawn if box["text"].startswith("<b>gate</b>"))
        assert gate["text"].split("<br>")[0] == f"<b>gate</b> · {words}"


# Looks


def check_geometry(figure: go.Figure) -> None:
    drawn, layout = boxes(figure), figure.layout
    low, high = layout.yaxis.range
    assert layout.height == pytest.approx(low - high + layout.margin.t + layout.margin.b, abs=1), "1 is 1 px"
    for box in drawn:
        assert 0 <= box["left"] < box["right"] <= 1 + 1e-9
        assert high <= box["top"] < box["bottom"] <= low + 1e-9
        assert box["bottom"] - box["top"] >= 16 * (box["text"].count("<br>") + 1)
    for one, other in combinations(drawn, 2):
        apart = one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
        beside = one["right"] <= other["left"] or other["right"] <= one["left"]
        assert apart or beside, (one["text"], other["text"])
    for paths in arcs(figure).values():
        assert all(0 <= x <= 1 and high <= y <= low for path in paths for x, y in path)
        assert all(one[1] <= other[1] for path in paths for one, other in pairwise(path)), "never upwards"


@pytest.mark.parametrize(
    "net", ["resnet152", "cifar_resnet1202", "resnet50d", "seresnet50", HIGHWAY, PREACT, LONG_SHORTCUT]
)
def test_boxes_lie_inside_the_picture_and_on_no_other_box(net: Net) -> None:
    for stage in told(net).stages:
        for block in (None, 1, 2):
            check_geometry(block_diagram(told(net), stage.name, block))


@FEW
@given(specs())
def test_whatever_net_is_drawn_with_all_its_layers(spec: ResNetSpec) -> None:
    rows = layer_table(spec)
    network = outline(rows)
    check_geometry(block_diagram(network))
    for stage in network.stages:
        for run in stage.runs:
            figure = block_diagram(network, stage.name, run.first)
            check_geometry(figure)
            block = rows[(rows["stage"] == stage.name) & (rows["block"] == run.first)]
            hovers = " ".join(box["hover"] for box in boxes(figure))
            assert all(hovers.count(f"<b>{name}</b>") == times for name, times in block["name"].value_counts().items())
    volume_chart(network)


def test_the_deepest_net_is_as_small_as_the_smallest() -> None:
    deep, shallow = told("cifar_resnet1202"), told("cifar_resnet20")
    for opened in ((), ("1",), ("2",), ("2", 1), ("2", 2)):
        assert block_diagram(deep, *opened).layout.height == block_diagram(shallow, *opened).layout.height < 1000


@pytest.mark.parametrize("net", ["resnet50", "seresnet50", "cifar_resnet20", HIGHWAY])
def test_the_text_in_a_box_stands_out_from_it(net: Net) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 to 1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for box in boxes(block_diagram(told(net), "2", 1)):
        light, dark = sorted((luminance(box["colour"]), luminance(box["ink"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, box


def test_a_click_dims_nothing_and_nothing_can_be_dragged() -> None:
    figure = block_diagram(told("resnet50"), "1", 1)
    layout = figure.layout
    assert layout.dragmode is False
    assert layout.xaxis.fixedrange
    assert layout.yaxis.fixedrange
    assert not layout.xaxis.visible
    assert not layout.yaxis.visible
    assert not layout.legend.itemclick
    for trace in figure.data:
        assert trace.unselected.marker.opacity == 1
        if trace.type == "bar":
            assert trace.unselected.textfont.color == trace.selected.textfont.color == trace.textfont.color
        else:
            assert trace.hoverinfo == "skip", "a line is nothing to click on"
    for label in layout.annotations:
        assert label.font.color is None, "the page's theme colours it"
    json.loads(figure.to_json())


# Volumes


def faces(figure: go.Figure) -> list[list[list[tuple[float, float]]]]:
    """Front, top and side of each solid, as corners."""
    paths = [
        [tuple(map(float, corner.split(","))) for corner in shape.path[1:-1].split("L")]
        for shape in figure.layout.shapes
        if shape.type == "path"
    ]
    return [paths[at : at + 3] for at in range(0, len(paths), 3)]


def sizes(solid: list[list[tuple[float, float]]]) -> tuple[float, float, float]:
    """Depth, height, and the width's run to the right, in points of the drawing."""
    front, _, side = solid
    (left, low), (near, _), (_, high), _ = front
    return near - left, low - high, side[1][0] - side[0][0]


TALL = replace(PRESETS["resnet18"], image_size=(256, 64), num_classes=7, in_channels=5)


@pytest.mark.parametrize("net", ["resnet50", "cifar_resnet20", "vgg16", TALL])
def test_solids_are_to_scale_and_what_is_not_is_marked(net: Net) -> None:
    steps = volumes(told(net))
    figure = volume_chart(told(net))
    names = [label.text for label in figure.layout.annotations][: len(steps)]
    bars = [shape for shape in figure.layout.shapes if shape.type == "line"]
    words = [label.text for label in figure.layout.annotations][len(steps) :]
    pixels = int(next(re.match(r"(\d+) pixels", text) for text in words if "pixels" in text)[1])  # type: ignore[index]
    channels = int(next(re.match(r"(\d+) channels", text) for text in words if "channels" in text)[1])  # type: ignore[index]
    side = (bars[0].y1 - bars[0].y0) / pixels
    depth = (bars[1].x1 - bars[1].x0) / channels
    marked = 0
    for volume, solid, name, hover in zip(steps, faces(figure), names, figure.data[0].hovertext, strict=True):
        (c, h, w), (deep, tall, back) = volume.shape, sizes(solid)
        drawn = (c * depth, h * side)
        thin = [size < 1.5 for size in drawn]
        assert (deep, tall) == pytest.approx([max(size, 1.5) for size in drawn], abs=0.02)
        assert back == pytest.approx(w * side * 0.5 * 0.5**0.5, abs=0.02)  # cabinet: half the length, at 45 degrees
        assert name.endswith("*") == any(thin)
        assert ("drawn as a line: channels" in hover, "drawn as a line: height" in hover) == tuple(thin)
        assert name.rstrip("*").endswith(f"{h}x{w}x{c}")
        assert f"height {h}, width {w}, channels {c:,}" in hover
        assert f"{c * h * w:,} numbers" in hover
        marked += any(thin)
    assert ("* too thin to see, drawn as a line" in words) == (marked > 0)
    assert "The width recedes at half its length." in words


@pytest.mark.parametrize("net", ["resnet50", "cifar_resnet1202", "densenet121", "googlenet", TALL])
def test_solids_fit_into_a_telephones_width_one_below_the_other(net: Net) -> None:
    figure = volume_chart(told(net))
    layout = figure.layout
    (left, right), (low, high) = layout.xaxis.range, layout.yaxis.range
    assert right <= 390 - 2 * 16 - 2 * 8  # the page's margins and the figure's
    assert layout.yaxis.scaleanchor == "x"  # a point is as wide as it is high
    assert layout.dragmode is False
    tops = []
    for solid in faces(figure):
        corners = [corner for face in solid for corner in face]
        assert all(left <= x <= right and high <= y <= low for x, y in corners)
        tops.append((min(y for _, y in corners), max(y for _, y in corners)))
    assert all(one[1] <= other[0] for one, other in pairwise(tops))
    assert layout.height == pytest.approx(low - high + 48, abs=1)
    json.loads(figure.to_json())
