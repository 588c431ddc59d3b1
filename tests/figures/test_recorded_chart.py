"""The chart that plays recorded runs shows at each step what was recorded before it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
import recordings
from recordings import SHORT

from explorer.figures.recorded import moments, replay_chart
from explorer.figures.theme import SERIES_COLOURS
from explorer.figures.training import CURVES, curves_chart, norms_chart
from explorer.models.variants import variant
from explorer.training import shipped


@pytest.fixture
def curves(tmp_path: Path) -> pd.DataFrame:
    """plain-20 once, ResNet-20 twice, four records each."""
    recordings.write(tmp_path, "plain", 20, first=70.0)
    for seed, first in enumerate((50.0, 90.0)):
        recordings.write(tmp_path, "a", 20, seed, first)
    return shipped.curves(shipped.nets(shipped.shipped(tmp_path)))


def lines(traces: Any, lower: bool) -> dict[str, Any]:
    """The line of each net, above or below."""
    return {trace.name: trace for trace in traces if trace.name and ((trace.yaxis or "y") == "y3") is lower}


def at(figure: go.Figure, step: int) -> dict[tuple[str, bool], tuple[list[Any], list[Any]]]:
    """What a frame makes of each net's lines."""
    (frame,) = (frame for frame in figure.frames if frame.name == str(step))
    assert len(frame.data) == len(figure.data)
    return {
        (trace.name, (trace.yaxis or "y") == "y3"): (list(moved.x), list(moved.y))
        for trace, moved in zip(figure.data, frame.data, strict=True)
        if trace.name
    }


def test_a_frame_shows_what_was_recorded_up_to_its_step(curves: pd.DataFrame) -> None:
    figure = replay_chart(curves, "batch_error")
    assert [frame.name for frame in figure.frames] == ["0", "20", "40", "60"]
    first, second, last = (at(figure, step) for step in (0, 20, 60))
    assert first["plain-20", False] == ([None], [None]), "nothing has been learned from yet"
    assert second["plain-20", False] == ([20], [70])
    assert last["plain-20", False] == ([20, 40, 60], [70, 60, 50])
    assert last["ResNet-20", False] == ([20, 40, 60], [70, 60, 50]), "70 is the median of 50 and 90"
    # the norms at that step alone, behind nine blocks
    assert last["plain-20", True][0] == [place / 8 for place in range(9)]
    assert last["plain-20", True][1] == [50 / 2**place for place in range(9)]
    assert second["plain-20", True][1] == [70 / 2**place for place in range(9)]


@pytest.mark.parametrize("quantity", list(CURVES))
@pytest.mark.parametrize("log", [False, True])
def test_every_frame_is_what_the_two_charts_draw_at_that_step(curves: pd.DataFrame, quantity: str, log: bool) -> None:
    figure = replay_chart(curves, quantity, log=log)
    for frame in figure.frames:
        drawn = at(figure, int(frame.name))
        until = int(frame.name)
        for lower, chart in (
            (False, curves_chart(curves, quantity, log=log, until=until)),
            (True, norms_chart(curves, until)),
        ):
            for trace in chart.data:
                if trace.name:
                    assert drawn[trace.name, lower] == (list(trace.x), list(trace.y))


def test_it_starts_with_the_end(curves: pd.DataFrame) -> None:
    figure = replay_chart(curves, "batch_error")
    for trace, moved in zip(figure.data, figure.frames[-1].data, strict=True):
        assert (trace.x, trace.y) == (moved.x, moved.y)
    (slider,) = figure.layout.sliders
    assert slider.active == len(slider.steps) - 1 == 3
    assert [step.label for step in slider.steps] == ["0", "20", "40", "60"]
    assert [step.args[0][0] for step in slider.steps] == [frame.name for frame in figure.frames]
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["Play", "Pause"]
    assert figure.layout.updatemenus[0].buttons[0].args[0] is None, "all frames, from the first"


def test_the_axes_hold_all_of_it_at_every_step(curves: pd.DataFrame) -> None:
    figure = replay_chart(curves, "batch_error")
    low, high = figure.layout.yaxis.range
    assert low < 30 < 90 < high  # the lowest and the highest of any seed
    low, high = figure.layout.yaxis3.range
    assert low < math.log10(30 / 2**8) < math.log10(90) < high
    assert figure.layout.yaxis3.type == "log"
    assert figure.layout.xaxis.range[1] > 60


def test_two_charts_do_not_cover_each_other(curves: pd.DataFrame) -> None:
    layout = replay_chart(curves, "batch_error").layout
    assert layout.yaxis3.domain[1] < layout.yaxis.domain[0]
    assert (layout.xaxis.anchor, layout.xaxis2.anchor) == ("y", "y3")
    assert layout.yaxis4.overlaying == "y3"
    titles = [annotation.text for annotation in layout.annotations]
    assert titles == [f"<b>{CURVES['batch_error'][0]}</b>", f"<b>{norms_chart(curves, 0).layout.title.text}</b>"]


def test_a_net_has_the_colour_of_its_place_among_all(curves: pd.DataFrame) -> None:
    figure = replay_chart(curves[curves["net"] == "ResNet-20"], "lr", order=["plain-20", "ResNet-20"])
    for lower in (False, True):
        assert lines(figure.data, lower)["ResNet-20"].line.color == SERIES_COLOURS[1]
    shown = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    assert shown == ["ResNet-20"], "once, though it has two lines, and without the net that is not asked for"


def test_a_run_that_diverged_has_its_sign_from_then_on(tmp_path: Path) -> None:
    run = recordings.records(SHORT)[:3]
    run[2] = replace(run[2], batch_error=math.nan, diverged=True)
    recordings.write(tmp_path, "a", 20, run=run)
    recordings.write(tmp_path, "plain", 20)
    figure = replay_chart(shipped.curves(shipped.nets(shipped.shipped(tmp_path))), "batch_error")
    (place,) = (place for place, trace in enumerate(figure.data) if trace.marker.symbol == "triangle-up")
    assert [list(frame.data[place].x) for frame in figure.frames] == [[None], [None], [40], [40]]
    assert list(figure.data[place].x) == [40]


def test_seeds_of_different_length_stay_in_their_place(curves: pd.DataFrame) -> None:
    """A net that is not there at the end, nor its band, still does not push the others out of their place."""
    ends_early = curves[(curves["net"] == "plain-20") | (curves["step"] <= 20)]
    figure = replay_chart(ends_early, "batch_error")
    assert {len(frame.data) for frame in figure.frames} == {len(figure.data)}
    assert at(figure, 60)["plain-20", False][1] == [70, 60, 50]
    assert at(figure, 60)["ResNet-20", False] == ([20], [70])


@pytest.mark.parametrize("records", [2, 33, 34, 81, 500])
def test_so_many_stops_that_the_page_stays_small(records: int) -> None:
    steps = range(0, 20 * records, 20)
    found = moments(steps)
    assert len(found) == min(records, 33) == len(set(found))
    assert (found[0], found[-1]) == (0, 20 * (records - 1))
    assert set(found) <= set(steps)
    assert found == sorted(found)


def test_a_whole_set_of_runs_is_sent_in_a_megabyte(tmp_path: Path) -> None:
    """As scripts/record_cifar.py records them: 81 records a run, and three seeds of the four that are shown first."""
    recipe = replace(SHORT, steps=1600, test_every=160)
    for name in ("plain", "a"):
        for depth in (20, 56):
            for seed in range(3):
                of_net = replace(recipe, spec=variant(name, depth))
                run = recordings.records(of_net, first=1000.0 + seed)
                recordings.write(tmp_path, name, depth, seed, run=run, steps=1600, test_every=160)
    figure = replay_chart(shipped.curves(shipped.nets(shipped.shipped(tmp_path))), "batch_error")
    assert len(json.dumps(figure.to_plotly_json(), default=list)) < 1_500_000


def test_what_was_there_for_a_while_is_gone_at_the_end(tmp_path: Path) -> None:
    """A gradient of exactly 0 behind one block, at one record."""
    run = recordings.records(SHORT)
    run[1] = replace(run[1], gradient_norms=(0.0, *run[1].gradient_norms[1:]))
    recordings.write(tmp_path, "a", 20, run=run)
    figure = replay_chart(shipped.curves(shipped.nets(shipped.shipped(tmp_path))), "batch_error")
    (place,) = (place for place, trace in enumerate(figure.data) if trace.marker.symbol == "x")
    assert [list(frame.data[place].x) for frame in figure.frames] == [[None], [0], [None], [None]]
    assert list(figure.data[place].x) == [None]


def test_a_line_of_one_point_can_be_seen(tmp_path: Path) -> None:
    """A long line has no marks of its own; what it is at the beginning does."""
    recipe = recordings.write(tmp_path, "a", 20, steps=2000)
    assert recipe.steps // recipe.record_every == 100
    figure = replay_chart(shipped.curves(shipped.nets(shipped.shipped(tmp_path))), "lr")
    assert figure.data[0].mode == figure.frames[-1].data[0].mode == "lines"
    assert figure.frames[1].data[0].mode == "lines+markers"
