"""The pictures of the textbook calculations hold their numbers."""

import re
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FEW

from explorer.analysis.cost import (
    Comparison,
    InceptionSizes,
    PixelRow,
    bottleneck_block,
    depthwise_separable,
    field_growth,
    inception_module,
    pooled_head,
    separable_shares,
    shortcut_options,
    stacked_3x3,
)
from explorer.figures.building_blocks import (
    growth_chart,
    layers_chart,
    options_chart,
    pixels_chart,
    schematic_chart,
    share_chart,
)
from explorer.figures.theme import ACCENT, KIND_COLOURS, exact, short
from explorer.spec import PRESETS

# --- bars


@pytest.mark.parametrize(
    "comparison",
    [bottleneck_block(), stacked_3x3(), inception_module(InceptionSizes()), pooled_head("vgg16").heads],
    ids=lambda comparison: comparison.usual.name,
)
def test_the_bars_add_up_to_the_numbers_of_both_designs(comparison: Comparison) -> None:
    for quantity in ("weights", "macs"):
        figure = layers_chart(comparison, quantity)  # type: ignore[arg-type]
        assert [bar.name for bar in figure.data] == [comparison.proposed.name, comparison.usual.name]
        for bar, design in zip(figure.data, (comparison.proposed, comparison.usual), strict=True):
            assert sum(bar.x) == getattr(design, quantity)
            assert list(bar.text) == [short(size) for size in bar.x]
            assert [words for _, words in bar.customdata] == [exact(size) for size in bar.x]
        places = [place for bar in figure.data for place in bar.y]
        assert places == list(range(len(places))) == list(figure.layout.yaxis.tickvals)
        assert len(figure.layout.yaxis.ticktext) == len(places)
        most = max(size for bar in figure.data for size in bar.x)
        assert figure.layout.xaxis.range[1] >= 1.3 * most, "room for the longest bar's number"
        top, bottom = figure.layout.yaxis.range[1], figure.layout.yaxis.range[0]
        assert top < 0 < len(places) - 1 < bottom, "the first is on top"


def test_the_names_beside_the_bars_say_layer_and_window_once() -> None:
    ticks = layers_chart(inception_module(InceptionSizes()), "macs").layout.yaxis.ticktext
    assert ticks[:3] == ("1x1.conv", "3x3.reduce 1x1", "3x3.conv")
    assert layers_chart(pooled_head("vgg16").heads, "weights").layout.yaxis.ticktext == (
        "linear",
        "classifier.0 linear",
        "classifier.3 linear",
        "classifier.6 linear",
    )


# --- boxes and arrows


def boxes(comparison: Comparison, side: str) -> tuple[list[dict[str, float]], list[str]]:
    """The rectangles of a drawing, from its JSON, and all its texts."""
    figure = schematic_chart(getattr(comparison, side))
    shapes = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    return (
        [{"x0": shape.x0, "x1": shape.x1, "y0": shape.y0, "y1": shape.y1} for shape in shapes],
        [note.text for note in figure.layout.annotations if note.text],
    )


@pytest.mark.parametrize(
    ("comparison", "side", "count"),
    [
        (bottleneck_block(), "proposed", 3 + 1),  # and the sum
        (bottleneck_block(), "usual", 2 + 1),
        (stacked_3x3(7), "proposed", 7),
        (stacked_3x3(7), "usual", 1),
        (inception_module(InceptionSizes()), "proposed", 7 + 1),
        (inception_module(InceptionSizes()), "usual", 4 + 1),
        (pooled_head("vgg16").heads, "proposed", 2),
        (pooled_head("vgg16").heads, "usual", 3),
    ],
)
def test_every_layer_is_a_box_and_no_two_overlap(comparison: Comparison, side: str, count: int) -> None:
    shapes, _ = boxes(comparison, side)
    assert len(shapes) == count
    for number, one in enumerate(shapes):
        assert 0 <= one["x0"] < one["x1"] <= 1
        for other in shapes[:number]:
            beside = one["x0"] >= other["x1"] or other["x0"] >= one["x1"]
            assert beside or one["y0"] >= other["y1"] or other["y0"] >= one["y1"]
    figure = schematic_chart(getattr(comparison, side))
    assert max(shape["y1"] for shape in shapes) < figure.layout.yaxis.range[0] < figure.layout.height


def test_the_texts_of_a_drawing() -> None:
    _, texts = boxes(bottleneck_block(256, 56), "proposed")
    assert texts == [
        "in: 256x56x56",
        "1x1, 64 out<br>16.38 k weights",
        "3x3, 64 out<br>36.86 k weights",
        "1x1, 256 out<br>16.38 k weights",
        "+",
        "shortcut",
        "out: 256x56x56",
    ]
    _, texts = boxes(inception_module(InceptionSizes()), "usual")
    assert texts == [
        "in: 256x28x28",
        "1x1, 128<br>32.77 k",
        "3x3, 192<br>442.4 k",
        "5x5, 96<br>614.4 k",
        "3x3 pool, 256<br>no weights",
        "concatenate",
        "out: 672x28x28",
    ]
    _, texts = boxes(depthwise_separable(8, 16, 5, 7), "proposed")
    assert texts[1] == "5x5, 8 out, 8 groups<br>200 weights"
    _, texts = boxes(pooled_head("vgg16").heads, "proposed")
    assert texts == ["in: 512x7x7", "pool to 1x1<br>no weights", "linear, 1000 out<br>513 k weights", "out: 1000"]


def test_only_a_block_has_a_shortcut() -> None:
    for comparison, there in ((bottleneck_block(), True), (stacked_3x3(), False)):
        figure = schematic_chart(comparison.usual)
        green = [shape for shape in figure.layout.shapes if shape.line.color == KIND_COLOURS["activation"]]
        assert bool(green) is there


# --- how the field grows


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_marked_pixels_are_the_field(count: int) -> None:
    sides = field_growth(count)
    blind, seen, _ = growth_chart(sides).data
    assert seen.marker.color == ACCENT
    for row, side in enumerate(sides):
        marked = sorted(x for x, base in zip(seen.x, seen.base, strict=True) if base == row - 0.4)
        others = sorted(x for x, base in zip(blind.x, blind.base, strict=True) if base == row - 0.4)
        assert len(marked) == side == 2 * row + 1
        assert marked == list(range(marked[0], marked[0] + side))
        assert sum(marked) / side == (sides[-1] + 1) / 2, "in the middle"
        assert sorted(marked + others) == list(range(sides[-1] + 2))
    texts = growth_chart(sides).layout.yaxis.ticktext
    assert (texts[0], texts[-1]) == ("output: 1", f"input: {2 * count + 1}")


def test_the_maps_between_are_numbered_from_the_input() -> None:
    assert growth_chart(field_growth(3)).layout.yaxis.ticktext == ("output: 1", "map 2: 3", "map 1: 5", "input: 7")


# --- shares


def test_the_lines_are_the_shares_and_the_layer_is_marked() -> None:
    numbers = (1, 8, 512)
    figure = share_chart(separable_shares((3, 5), numbers), numbers, 7, 100, Fraction(1, 100) + Fraction(1, 49))
    *lines, mark = figure.data
    for line, k in zip(lines, (3, 5), strict=True):
        assert line.name == f"{k}x{k}"
        assert list(line.x) == list(numbers)
        assert list(line.y) == pytest.approx([1 / n + 1 / k**2 for n in numbers])
    assert (mark.x[0], mark.y[0]) == (100, pytest.approx(1 / 100 + 1 / 49))
    assert "7x7" in mark.name
    assert len({trace.line.color or trace.marker.color for trace in figure.data}) == 3


# --- options


def test_the_bars_of_the_options_are_the_table() -> None:
    table = shortcut_options(PRESETS["resnet34"])
    (bars,) = options_chart(table, "added_params").data
    assert dict(zip(bars.y, bars.x, strict=True)) == {"A": 0, "B": 173_824, "C": 1_092_992}
    assert options_chart(table, "added_macs").data[0].x == tuple(table.added_macs)


def test_an_option_that_cannot_be_has_no_bar() -> None:
    table = shortcut_options(PRESETS["resnet34"])
    table.loc[table.option == "A", "added_params"] = None
    assert options_chart(table, "added_params").data[0].y == ("B", "C")


# --- windows on pixels


def cells(row: PixelRow) -> dict[str, list[int]]:
    return {bar.name: list(bar.customdata) for bar in pixels_chart(row).data if bar.type == "bar"}


SIDES = st.integers(1, 34)


@FEW
@given(SIDES, st.integers(1, 7), st.integers(1, 9), st.integers(0, 5), st.integers(1, 3))
def test_a_short_row_is_drawn_whole(n: int, k: int, s: int, p: int, d: int) -> None:
    assume(d * (k - 1) + 1 <= n + 2 * p)
    row = PixelRow(n, k, s, p, d)
    shown = cells(row)
    assert sorted(pixel for pixels in shown.values() for pixel in pixels) == list(range(-p, n + p))
    assert shown.get("read by no window", []) == list(row.unread)
    assert shown.get("padding", []) == [*range(-p, 0), *range(n, n + p)]
    figure = pixels_chart(row)
    dots = figure.data[-1]
    label = dots.name
    windows: dict[float, list[float]] = {}
    for x, y in zip(dots.x, dots.y, strict=True):
        windows.setdefault(y, []).append(x)
    for lane in windows.values():
        assert lane == sorted(set(lane)), "windows of one lane do not overlap"
    drawn = sorted(x for lane in windows.values() for x in lane)
    taps = sorted(tap for start in row.starts for tap in row.taps(start))
    assert drawn == taps if label == "window" else len(drawn) == 12 * k
    assert min(figure.data[-1].y) > figure.layout.yaxis.range[0]
    assert figure.layout.title.text == f"{row.side} windows on {n} pixels"


def test_a_long_row_shows_its_two_ends() -> None:
    row = PixelRow(224, 11, 4)
    shown = cells(row)
    assert shown["read by no window"] == [223]
    assert shown["pixel"] == [*range(22), *range(202, 223)]
    figure = pixels_chart(row)
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert list(ticks) == ["0", "21", "202", "223"]
    assert ticks["202"] - ticks["21"] == 3, "two cells of room for the dots"
    assert figure.layout.annotations[0].text == "…"
    (first, *_, last) = [re.findall(r"-?\d+", words) for words in figure.data[-1].text]
    assert (first, last) == (["0", "10"], ["212", "222"])


def test_of_many_windows_in_one_place_the_ends_are_drawn_apart() -> None:
    figure = pixels_chart(PixelRow(4096, 2000, 1))
    dots = figure.data[-1]
    assert dots.name == "window, the first and last 6"
    assert len(set(dots.y)) == 12
    assert len(dots.x) < 12 * 44
    assert "from 2096 to 4095" in dots.text


def test_a_padded_stem_has_its_padding_at_both_ends() -> None:
    shown = cells(PixelRow(224, 7, 2, 3))
    assert shown["padding"] == [-3, -2, -1, 224, 225, 226]
