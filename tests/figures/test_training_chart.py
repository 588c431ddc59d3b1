"""The charts of training runs have their records' numbers, and a sign where a number has no place on them."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.figures.theme import SERIES_COLOURS
from explorer.figures.training import CURVES, curves_chart, norms_chart
from explorer.training.recorded import records_table
from explorer.training.run import Record


def record(step: int, loss: float | None = None, norms: Sequence[float] = (), **more: Any) -> Record:
    values: dict[str, Any] = dict.fromkeys(
        ("lr", "batch_error", "train_loss", "train_error", "test_loss", "test_error"), None
    )
    return Record(step=step, batch_loss=loss, gradient_norms=tuple(norms), seconds=0.0, **values | more)


def run(net: str, seed: int, records: Sequence[Record]) -> pd.DataFrame:
    return records_table(records).assign(net=net, seed=seed)


def losses(net: str, seed: int, values: Sequence[float | None]) -> pd.DataFrame:
    return run(net, seed, [record(5 * place, value) for place, value in enumerate(values)])


def joined(*runs: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(runs, ignore_index=True)


def lines(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def bands(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.fill == "toself"]


def signs(figure: go.Figure) -> list[tuple[str, float, list[float], str]]:
    """Symbol, height (0 the lower edge, 1 the upper), places and words of each set of signs."""
    return [
        (trace.marker.symbol, trace.y[0], list(trace.x), trace.hovertemplate)
        for trace in figure.data
        if trace.yaxis == "y2"
    ]


THREE = joined(
    losses("plain-56", 0, [None, 2, 4]), losses("plain-56", 1, [None, 3, 1]), losses("plain-56", 2, [None, 9])
)


def test_a_line_is_the_median_over_the_seeds_that_have_come_so_far_and_its_band_their_range() -> None:
    figure = curves_chart(THREE, "batch_loss")
    (line,) = lines(figure).values()
    assert list(line.x) == [5, 10]
    assert list(line.y) == [3, 2.5], "median of 2, 3, 9, then of 4 and 1"
    assert list(line.customdata) == ["2 to 9 over 3 seeds", "1 to 4 over 2 seeds"]
    (band,) = bands(figure)
    assert list(band.x) == [5, 10, 10, 5]
    assert list(band.y) == [9, 4, 1, 2]


def test_one_seed_has_no_band() -> None:
    figure = curves_chart(losses("plain-20", 0, [2, 1]), "batch_loss")
    assert not bands(figure)
    assert list(lines(figure)["plain-20"].customdata) == ["one seed"] * 2


@FEW
@given(st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=6), min_size=1, max_size=4))
def test_every_step_has_the_median_the_least_and_the_greatest(seeds: list[list[float]]) -> None:
    table = joined(*(losses("net", seed, values) for seed, values in enumerate(seeds)))
    figure = curves_chart(table, "batch_loss")
    (line,) = lines(figure).values()
    length = max(map(len, seeds))
    columns = [[values[step] for values in seeds if step < len(values)] for step in range(length)]
    assert list(line.y) == [pytest.approx(median(column)) for column in columns]
    if len(seeds) > 1:
        (band,) = bands(figure)
        assert list(band.y) == [max(column) for column in columns] + [min(column) for column in columns][::-1]


def test_a_net_has_its_colour_in_every_chart_whatever_is_there_yet() -> None:
    order = ("plain-20", "plain-56", "ResNet-20")
    table = losses("plain-56", 0, [2, 1]).assign(gradient_norms=[(), (1.0, 2.0)])
    for figure in (curves_chart(table, "batch_loss", order=order), norms_chart(table, 5, order=order)):
        assert {name: line.line.color for name, line in lines(figure).items()} == dict(
            zip(order, SERIES_COLOURS, strict=False)
        )
    assert lines(curves_chart(table, "batch_loss"))["plain-56"].line.color == SERIES_COLOURS[0], "as they come"


def test_where_the_colours_begin_again_the_dash_is_another() -> None:
    names = [f"net {place}" for place in range(12)]
    found = lines(curves_chart(joined(*(losses(name, 0, [1]) for name in names)), "batch_loss"))
    looks = [(line.line.color, line.line.dash) for line in found.values()]
    assert len(set(looks)) == len(names)
    assert looks[8] == (SERIES_COLOURS[0], "dash")


def test_what_was_not_measured_is_left_out() -> None:
    table = run("net", 0, [record(0, train_error=90.0), record(5, 2.0), record(10, 1.0, train_error=40.0)])
    assert list(lines(curves_chart(table, "train_error"))["net"].x) == [0, 10]
    assert list(lines(curves_chart(table, "batch_loss"))["net"].x) == [5, 10]


def test_until_a_step_the_rest_is_hidden_and_the_axes_stay() -> None:
    whole, part = (curves_chart(THREE, "batch_loss", until=until) for until in (10, 5))
    assert list(lines(part)["plain-56"].x) == [5]
    assert len(bands(part)[0].x) == 2
    assert part.layout.xaxis.range == whole.layout.xaxis.range
    assert part.layout.yaxis.range == whole.layout.yaxis.range
    low, high = part.layout.yaxis.range
    assert low < 1
    assert high > 9


def test_until_a_step_a_logarithmic_axis_holds_all_of_it_too() -> None:
    low, high = curves_chart(THREE, "batch_loss", until=5, log=True).layout.yaxis.range
    assert low < math.log10(1)
    assert math.log10(9) < high < math.log10(12)


def test_the_axis_of_steps_reaches_as_far_as_the_run_will() -> None:
    left, right = curves_chart(THREE, "batch_loss", steps=400).layout.xaxis.range
    assert left == 0
    assert right == pytest.approx(408)
    assert curves_chart(THREE, "batch_loss", steps=1).layout.xaxis.range[1] == pytest.approx(10.2), "none is cut off"


def test_a_run_that_diverged_has_a_sign_at_the_upper_edge() -> None:
    ended = run("wild", 1, [record(0), record(5, 7.0), record(10, math.nan, diverged=True)])
    figure = curves_chart(joined(losses("tame", 0, [None, 1, 1]), ended), "batch_loss")
    assert list(lines(figure)["wild"].x) == [5]
    assert signs(figure) == [("triangle-up", 1, [10], "wild: diverged at step %{x:.4~g}<extra></extra>")]
    (sign,) = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert sign.marker.color == SERIES_COLOURS[1]
    assert figure.layout.yaxis2.range == (0, 1)
    assert not signs(curves_chart(ended, "batch_loss", until=5)), "not yet"


def test_an_infinite_loss_is_not_drawn_as_a_number() -> None:
    ended = run("wild", 1, [record(5, 7.0), record(10, math.inf, diverged=True)])
    figure = curves_chart(ended, "batch_loss", until=10)
    assert list(lines(figure)["wild"].y) == [7]
    assert all(map(math.isfinite, figure.layout.yaxis.range))


def test_a_logarithmic_axis_has_a_sign_for_an_exact_zero_and_its_band_ends_at_the_least_above() -> None:
    table = joined(losses("net", 0, [1.0, 0.0, 0.0]), losses("net", 1, [1.0, 0.5, 0.0]))
    figure = curves_chart(table, "batch_loss", log=True)
    assert figure.layout.yaxis.type == "log"
    assert list(lines(figure)["net"].y) == [1, 0.25, None]
    assert signs(figure) == [("x", 0, [10], "net: 0 at step %{x:.4~g}<extra></extra>")]
    assert list(bands(figure)[0].y) == [1, 0.5, 0.25, 0.25, 0.25, 1]
    assert not signs(curves_chart(table, "batch_loss")), "a linear axis has a place for it"
    assert list(lines(curves_chart(table, "batch_loss"))["net"].y) == [1, 0.25, 0]


def test_a_logarithmic_axis_counts_in_powers_that_can_be_read() -> None:
    least, few, some, many = (
        curves_chart(losses("net", 0, [1.0, span]), "batch_loss", log=True).layout.yaxis
        for span in (3.0, 10.0, 1e6, 1e15)
    )
    assert (least.dtick, least.nticks) == (None, 6), "between two powers of ten any number may be needed"
    assert few.dtick == "D2", "twos and fives"
    assert (some.dtick, many.dtick) == (1, 2), "every power of ten, and every other"
    assert list(many.range) == [-0.05 * 15, 1.05 * 15]


def test_a_logarithmic_axis_of_one_value_or_of_all_that_a_float_holds_has_ends() -> None:
    for values in ([2.0, 2.0], [1e-300, 1e300]):
        axis = curves_chart(losses("net", 0, values), "batch_loss", log=True).layout.yaxis
        low, high = axis.range
        assert math.isfinite(high - low)
        assert low < math.log10(values[0]) <= math.log10(values[1]) < high


def test_a_long_run_is_thinned_to_what_a_screen_shows_and_keeps_its_end() -> None:
    long = losses("net", 0, [1 / (1 + step) for step in range(5001)])
    line = lines(curves_chart(long, "batch_loss"))["net"]
    assert 300 <= len(line.x) <= 401
    assert line.x[0] == 0
    assert line.x[-1] == 25_000
    assert line.mode == "lines"
    assert list(lines(curves_chart(long[:400], "batch_loss"))["net"].x) == [5 * step for step in range(400)], "all"


@pytest.mark.parametrize("quantity", CURVES)
def test_each_quantity_has_a_title_an_axis_and_is_drawn_before_there_is_a_record(quantity: str) -> None:
    figure = curves_chart(run("net", 0, []), quantity, order=["net"], until=5)
    assert (figure.layout.title.text, figure.layout.yaxis.title.text) == CURVES[quantity]
    assert list(lines(figure)) == ["net"], "the legend is whole from the start"
    assert figure.layout.xaxis.range == (0, 1.02)
    assert figure.to_json()
    assert quantity in Record.__dataclass_fields__


def test_errors_begin_at_zero() -> None:
    assert curves_chart(THREE, "batch_error").layout.yaxis.rangemode == "tozero"
    assert curves_chart(THREE, "batch_loss").layout.yaxis.rangemode is None


NORMS = joined(
    run("plain", 0, [record(0), record(5, norms=(1, 2, 3)), record(10, norms=(10, 20, 30))]),
    run("plain", 1, [record(0), record(5, norms=(3, 4, 5))]),
    run("ResNet", 0, [record(0), record(5, norms=(7,)), record(10)]),
)


def test_norms_are_those_of_each_runs_last_record_up_to_the_step() -> None:
    now, before, none = (norms_chart(NORMS, step) for step in (10, 9, 4))
    assert list(lines(now)["plain"].x) == [0, 0.5, 1]
    assert list(lines(now)["plain"].y) == [6.5, 12, 17.5], "medians of 10 and 3, 20 and 4, 30 and 5"
    assert list(bands(now)[0].y) == [10, 20, 30, 5, 4, 3]
    assert list(lines(before)["plain"].y) == [2, 3, 4]
    assert list(lines(none)["plain"].y) == [None]


def test_one_block_stands_at_the_beginning() -> None:
    line = lines(norms_chart(NORMS, 10))["ResNet"]
    assert (list(line.x), list(line.y)) == ([0], [7])


def test_norms_that_vanished_or_are_no_number_stand_at_the_edges() -> None:
    table = run("net", 0, [record(5, norms=(math.nan, math.inf, 0.0, 1e-30, 2.0))])
    figure = norms_chart(table, 5)
    assert figure.layout.yaxis.type == "log"
    assert signs(figure) == [
        ("x", 0, [0.5], "net: 0 at place %{x:.4~g}<extra></extra>"),
        ("triangle-up", 1, [0, 0.25], "net: infinite or not a number at place %{x:.4~g}<extra></extra>"),
    ]
    assert list(lines(figure)["net"].y) == [None, 1e-30, 2]
