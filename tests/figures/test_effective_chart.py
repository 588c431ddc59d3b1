"""The figures of units on a picture: what is drawn is what the tables and fields say."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from explorer.analysis.effective import EffectiveField, by_depth, effective_table, initial_fields
from explorer.analysis.fields import FieldProfile, centre_of, field_profile
from explorer.analysis.gradients import patterns
from explorer.figures.effective import depth_animation, ratio_chart, section_chart, sight_chart

PICTURE = Image.new("RGB", (96, 96), "white")


@pytest.fixture(scope="module")
def profile() -> FieldProfile:
    return field_profile("cifar_resnet20", (96, 96))


@pytest.fixture(scope="module")
def measured(profile: FieldProfile) -> list[EffectiveField]:
    return initial_fields("cifar_resnet20", profile, by_depth(profile, 5), patterns(0, 1, 96))


def traces(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_the_box_surrounds_the_pixels_and_the_cross_is_its_middle(
    profile: FieldProfile, measured: list[EffectiveField]
) -> None:
    last = measured[-1]
    figure = sight_chart(PICTURE, last.field, (24, 24), (0, 23), last)
    box = traces(figure)["theoretical field, 81 px"]
    # 24 units at stride 4, unit i centred on pixel 4 i; 40 pixels on both sides, and half a pixel to the edge
    assert (min(box.y), max(box.y)) == (0 - 40.5, 0 + 40.5)
    assert (min(box.x), max(box.x)) == (92 - 40.5, 92 + 40.5)
    cross = traces(figure)["unit 0, 23"]
    assert (cross.y[0], cross.x[0]) == (0, 92)
    assert figure.layout.xaxis.range[1] > 92 + 40.5, "there is room for the box"
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "rows are counted from above"


def test_units_are_at_their_centres_and_know_their_places(measured: list[EffectiveField]) -> None:
    field = measured[-1].field
    units = sight_chart(PICTURE, field, (24, 24), (12, 12)).data[0]
    assert len(units.x) == 24 * 24
    for x, y, place in list(zip(units.x, units.y, units.customdata, strict=True))[::37]:
        assert (y, x) == centre_of(field, tuple(int(each) for each in place))
    assert units.name == "units"
    fewer = sight_chart(PICTURE, measured[0].field, (96, 96), (3, 3)).data[0]
    assert len(fewer.x) == (96 / 3) ** 2
    assert fewer.name == "one unit in 9"
    assert not len(sight_chart(PICTURE, field, (24, 24), (12, 12), grid=False).data[0].x)


def test_the_heat_lies_where_the_gradient_does(measured: list[EffectiveField]) -> None:
    last = measured[-1]
    figure = sight_chart(PICTURE, last.field, (24, 24), last.unit, last)
    heat = next(trace for trace in figure.data if trace.type == "heatmap")
    row, column = np.unravel_index(np.argmin(heat.z), heat.z.shape)
    assert abs(heat.y0 + row * heat.dy - 48) < 10, "the middle unit's centre"
    assert abs(heat.x0 + column * heat.dx - 48) < 10
    large = field_profile("cifar_resnet20", (320, 320))
    [field] = initial_fields("cifar_resnet20", large, by_depth(large, 5)[-1:], patterns(0, 1, 320))
    heat = next(
        trace
        for trace in sight_chart(PICTURE.resize((320, 320)), field.field, (80, 80), field.unit, field).data
        if trace.type == "heatmap"
    )
    row, column = np.unravel_index(np.argmin(heat.z), heat.z.shape)
    assert heat.z.shape == (107, 107)
    assert (heat.dx, heat.x0) == (3, 1), "cells of three pixels, the first centred on pixel 1"
    assert abs(heat.y0 + row * heat.dy - 160) < 15


def test_a_box_much_larger_than_the_picture_leaves_it_large() -> None:
    profile = field_profile("resnet50")
    field = profile.fields[by_depth(profile, 99)[-1]]
    assert field is not None
    small = Image.new("RGB", (64, 64))
    assert sight_chart(small, field, (2, 2), (0, 0)).layout.xaxis.range == pytest.approx((-0.03 * 64, 63 + 0.03 * 64))


def test_the_animation_has_a_frame_a_layer_with_its_own_box(
    profile: FieldProfile, measured: list[EffectiveField]
) -> None:
    steps = [(field.name, field.field, field.unit) for field in measured]
    for effective in (measured, None):
        figure = depth_animation(PICTURE, steps, effective)
        assert len(figure.frames) == len(steps) == len(figure.layout.sliders[0].steps)
        for frame, field in zip(figure.frames, measured, strict=True):
            assert frame.name == f"{field.name}: {field.theoretical[0]} px"
            box = next(trace for trace in frame.data if trace.name and "theoretical" in trace.name)
            assert max(box.x) - min(box.x) == field.theoretical[1]
            assert len(frame.data) == (5 if effective else 2)
        assert [step.args[0][0] for step in figure.layout.sliders[0].steps] == [frame.name for frame in figure.frames]
    assert len(depth_animation(PICTURE, steps, measured).to_json()) < 1_500_000


def test_the_curve_is_the_table(profile: FieldProfile, measured: list[EffectiveField]) -> None:
    table = effective_table(profile, measured)
    figure = ratio_chart({"a": table, "b": table})
    assert [trace.name for trace in figure.data] == ["a", "a, theoretical", "b", "b, theoretical"]
    assert list(figure.data[0].y) == list(table["effective"])
    assert list(figure.data[1].y) == list(table["theoretical"])
    assert figure.data[0].line.color != figure.data[2].line.color
    ratio = ratio_chart({"a": table}, ratio=True)
    assert list(ratio.data[0].y) == list(table["ratio"])
    opened = ratio_chart({"a": table.assign(whole=False)})
    assert set(opened.data[0].marker.symbol) == {"circle-open"}


def test_the_gaussian_lies_on_the_mass(measured: list[EffectiveField]) -> None:
    figure = section_chart(measured[-1])
    mass, bell = figure.data[0], figure.data[1]
    assert sum(mass.y) == pytest.approx(1)
    assert sum(bell.y) == pytest.approx(1, abs=0.1)
    fit = measured[-1].gaussians[0]
    assert fit is not None
    assert bell.name == f"Gaussian, {fit.width:.0f} px, R² {fit.explained:.3f}"
    assert bell.x[int(np.argmax(bell.y))] == round(fit.middle)
    pixel = section_chart(measured[0])
    assert [trace.name for trace in pixel.data] == ["along height", "along width"], "too few pixels for a Gaussian"
    json.loads(figure.to_json())
