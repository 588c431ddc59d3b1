"""The chart of gradient flow: every value has a place, a look that stays, and a sign where the axis cannot hold it."""

import math
from typing import Any

import pandas as pd
import pytest

from explorer.figures.flow import QUANTITIES, flow_chart, styles, times
from explorer.figures.theme import SERIES_COLOURS
from explorer.models.variants import VARIANTS, variant
from explorer.spec import PRESETS

NETS = {f"{kind} {depth}": variant(kind, depth) for kind in ("plain", "a") for depth in (20, 56)}


def table(values: list[float], spread: float = 2.0, marks: list[str] | None = None) -> pd.DataFrame:
    count = len(values)
    found = pd.DataFrame({"name": [f"layer1.{n}" for n in range(count)], "index": range(1, count + 1)})
    found["place"] = [number / max(1, count - 1) for number in range(count)]
    found["gradient_norm"] = values
    found["gradient_norm_low"] = [value / spread for value in values]
    found["gradient_norm_high"] = [value * spread for value in values]
    found["gradient_norm_mark"] = marks or [""] * count
    return found


def drawn(tables: dict[str, pd.DataFrame], **more: Any) -> Any:
    return flow_chart(tables, NETS, "gradient_norm", "A title", across="block", **more)


def lines(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name in NETS}


def test_each_net_has_its_line_and_its_band() -> None:
    figure = drawn({"plain 20": table([8, 4, 2]), "a 56": table([1, 1, 1])})
    assert list(lines(figure)) == ["plain 20", "a 56"]
    line = lines(figure)["plain 20"]
    assert (list(line.x), list(line.y)) == ([1, 2, 3], [8, 4, 2])
    band = figure.data[0]
    assert (band.fill, band.fillcolor) == ("toself", line.line.color)
    assert list(band.x) == [1, 2, 3, 3, 2, 1]
    assert list(band.y) == [16, 8, 4, 1, 2, 4]
    assert "layer1.1: 4 (2 to 8)" in line.customdata[1]
    assert figure.layout.title.text == "A title"
    assert figure.layout.xaxis.title.text == "block"
    assert figure.layout.yaxis.title.text == QUANTITIES["gradient_norm"]


def test_along_the_place_the_first_is_at_zero_and_the_last_at_one() -> None:
    assert list(lines(drawn({"plain 20": table([8, 4, 2])}, along="place"))["plain 20"].x) == [0, 0.5, 1]


def test_without_a_band_nothing_of_it_counts() -> None:
    figure = drawn({"plain 20": table([4.0, 4.0], spread=1e6)}, band=False)
    assert len(figure.data) == 1
    assert figure.layout.yaxis.type is None, "the spread alone would have made it logarithmic"


@pytest.mark.parametrize(("values", "log"), [([1.0, 14.0], False), ([1.0, 16.0], True)])
def test_the_axis_is_logarithmic_where_values_are_far_apart(values: list[float], log: bool) -> None:
    figure = drawn({"plain 20": table(values, spread=math.sqrt(2))})
    assert (figure.layout.yaxis.type == "log") is log
    assert drawn({"plain 20": table(values)}, log=True).layout.yaxis.type == "log"


def test_on_a_linear_axis_it_begins_at_zero_and_a_zero_is_on_the_line() -> None:
    figure = drawn({"plain 20": table([1.0, 0.0, 1.0], spread=1.0, marks=["", "zero", ""])})
    assert figure.layout.yaxis.range[0] == 0
    assert figure.layout.yaxis.range[1] > 1
    assert list(lines(figure)["plain 20"].y) == [1, 0, 1]
    assert any("exactly 0" in (trace.name or "") for trace in figure.data)


def test_what_a_logarithmic_axis_cannot_hold_stands_at_its_edge_with_a_sign() -> None:
    values = [0.0, 1e-40, 1e-3, 5.0, math.inf]
    marks = ["zero", "subnormal", "", "", "not finite"]
    figure = drawn({"plain 20": table(values, spread=1.0, marks=marks)}, log=True)
    low, high = (10**end for end in figure.layout.yaxis.range)
    assert low < 1e-41 * 1.1
    assert high > 49
    assert list(lines(figure)["plain 20"].y) == [None, 1e-40, 1e-3, 5.0, None], "no silent zero"
    signs = {trace.marker.symbol: trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None}
    assert {symbol: (trace.x[0], trace.y[0]) for symbol, trace in signs.items()} == {
        "circle-open": (2, 1e-40),
        "x": (1, pytest.approx(low)),
        "triangle-up": (5, pytest.approx(high)),
    }
    named = {trace.marker.symbol for trace in figure.data if trace.x[0] is None}
    assert named == set(signs), "each sign is in the legend once"
    band = next(trace for trace in figure.data if trace.fill == "toself")
    assert all(low * 0.999 <= value <= high * 1.001 for value in band.y)


def test_where_nothing_has_a_place_there_is_an_axis_all_the_same() -> None:
    figure = drawn({"plain 20": table([0.0, 0.0], marks=["zero", "zero"])}, log=True)
    assert all(math.isfinite(end) for end in figure.layout.yaxis.range)
    assert sum(trace.mode == "markers" and trace.x[0] is not None for trace in figure.data) == 1


def test_the_looks_of_a_net_do_not_depend_on_which_are_ready() -> None:
    alone, both = drawn({"a 56": table([1, 2])}), drawn({"plain 20": table([1, 2]), "a 56": table([1, 2])})
    assert lines(alone)["a 56"].line == lines(both)["a 56"].line


def test_colour_tells_the_depth_and_dash_the_kind() -> None:
    looks = styles(NETS)
    assert looks["plain 20"][0] == looks["a 20"][0] != looks["plain 56"][0]
    assert looks["plain 20"][1] == looks["plain 56"][1] != looks["a 20"][1]


def test_where_there_are_more_kinds_than_depths_colour_tells_the_kind() -> None:
    nets = {f"{kind} {depth}": variant(kind, depth) for kind in ("plain", "a", "b") for depth in (20, 56)}
    looks = styles(nets)
    assert looks["plain 20"][0] == looks["plain 56"][0] != looks["b 20"][0]
    assert looks["plain 20"][1] == looks["b 20"][1] != looks["plain 56"][1]


@pytest.mark.parametrize(
    "nets",
    [
        {f"{kind}": variant(kind, 20) for kind in VARIANTS} | {"own": PRESETS["resnet50"]},
        {f"{depth}": variant("a", depth) for depth in (8, 14, 20, 32, 44, 56, 110, 164, 218, 1202)},
        {f"{kind} {d}": variant(kind, d) for kind in ("plain", "a", "b") for d in (8, 14, 20, 32)},
        {
            f"{norm} {init}": variant("a", 20, norm=norm, init=init)
            for norm in ("batch", "none")
            for init in ("xavier", "pytorch")
        },
    ],
)
def test_no_two_nets_look_alike(nets: dict[str, Any]) -> None:
    looks = styles(nets)
    assert list(looks) == list(nets)
    assert len(set(looks.values())) == len(nets)
    assert all(colour in SERIES_COLOURS for colour, _ in looks.values())


def test_long_lines_have_no_markers() -> None:
    assert lines(drawn({"plain 20": table([1.0] * 60)}))["plain 20"].mode == "lines+markers"
    assert lines(drawn({"plain 20": table([1.0] * 61)}))["plain 20"].mode == "lines"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0"),
        (0.357, "0.36"),
        (0.0123, "0.012"),
        (0.00999, "1.0·10⁻²"),
        (5.69, "5.7"),
        (21.1, "21"),
        (123.4, "123"),
        (1000.0, "1.0·10³"),
        (7.78e7, "7.8·10⁷"),
        (4.2e-22, "4.2·10⁻²²"),
        (math.inf, "-"),
        (math.nan, "-"),
    ],
)
def test_ratios_are_short(ratio: float, text: str) -> None:
    assert times(ratio) == text
