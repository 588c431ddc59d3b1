"""The square that a network sees, in the figure and in percent."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from explorer.figures.cropping import LEAST, STEP, Place, channels_table, crop_chart, has_room, input_of, preparation
from explorer.models.preprocessing import Box, Preprocessing

percent = st.integers(0, 200).map(lambda steps: steps * STEP)
sides = st.integers(int(LEAST / STEP), 200).map(lambda steps: steps * STEP)
pixels = st.integers(1, 4000)


@given(percent, percent, sides, pixels, pixels)
def test_every_place_of_the_sliders_is_a_square_inside_the_picture_and_is_found_again(
    across: float, down: float, side: float, width: int, height: int
) -> None:
    place = Place(across, down, side)
    left, upper, right, lower = place.box(width, height).pixels(width, height)
    assert right - left == pytest.approx(lower - upper) == pytest.approx(side / 100 * min(width, height))
    again = Place.of(place.box(width, height), width, height)
    assert again.side == side
    assert again.across == (across if has_room(side, width, min(width, height)) else 50.0)
    assert again.down == (down if has_room(side, height, min(width, height)) else 50.0)


@given(percent, percent, sides, st.integers(200, 4000), st.integers(200, 4000), st.data())
def test_a_clicked_square_has_its_centre_there_unless_an_edge_is_in_the_way(
    across: float, down: float, side: float, width: int, height: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    place = Place(across, down, side).at(x, y, width, height)
    assert place.side == side
    left, upper, right, lower = place.box(width, height).pixels(width, height)
    half = side / 200 * min(width, height)
    for centre, at, longer in (((left + right) / 2, x, width), ((upper + lower) / 2, y, height)):
        nearest = min(max(at, half), longer - half)
        assert abs(centre - nearest) <= STEP / 2 / 100 * (longer - 2 * half) + 1e-6


def test_the_square_is_drawn_where_it_lies() -> None:
    figure = crop_chart(Image.new("RGB", (300, 200), "red"), Box(0.25, 0.0, 0.5))
    for frame in figure.layout.shapes[1:]:
        assert (frame.x0, frame.y0, frame.x1, frame.y1) == (50, 0, 150, 100)
    assert figure.layout.shapes[0].path == "M 0 0 H 300 V 200 H 0 Z M 50.0 0.0 V 100.0 H 150.0 V 0.0 Z"
    assert figure.layout.shapes[0].fillrule == "evenodd"
    assert figure.layout.xaxis.range == (0, 300)
    assert figure.layout.yaxis.range == (200, 0)


@pytest.mark.parametrize(("width", "height", "sent"), [(300, 200, (300, 200)), (2048, 1024, (640, 320))])
def test_the_browser_gets_a_picture_of_bounded_size_that_fills_the_axes(width, height, sent) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    image = crop_chart(picture, Box(0, 0, 1)).layout.images[0]
    assert (image.x, image.y, image.sizex, image.sizey) == (0, 0, width, height)
    assert Image.open(io.BytesIO(base64.b64decode(image.source.split(",")[1]))).size == sent
    assert picture.size == (width, height)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (20, 1), (33, 500)])
def test_the_whole_picture_can_be_clicked(size) -> None:
    points = crop_chart(Image.new("RGB", size), Box(0, 0, 1)).data[0]
    apart = min(size) / 24
    for values, longer in ((points.x, size[0]), (points.y, size[1])):
        assert 0 < min(values) <= apart
        assert longer - apart <= max(values) < longer
        assert np.diff(np.unique(values)) == pytest.approx(apart)


NET = Preprocessing(256, 224, "bicubic", (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))


def test_what_is_done_is_said() -> None:
    picture = Image.new("RGB", (1200, 800))
    assert preparation(NET, picture, None) == (
        "Of 1,200 x 800 px the shorter side is scaled to 256 px (bicubic) and the centre cut to 224 x 224 px. Red, "
        "green and blue, from 0 to 1, less 0.5, 0.25, 0, are divided by 0.5, 1, 2."
    )
    assert preparation(NET, picture, Box(0.25, 0.5, 0.5)).startswith(
        "Of 1,200 x 800 px the square of 400 px at 200, 400 is cut out and scaled to 224 x 224 px (bicubic). Red"
    )
    small = Preprocessing(32, 32, "bilinear", NET.mean, NET.std)
    assert preparation(small, Image.new("RGB", (96, 96)), None).startswith(
        "Of 96 x 96 px the shorter side is scaled to 32 px (bilinear). Red"
    )


def test_the_channels_are_as_the_net_gets_them() -> None:
    seen = Image.new("RGB", (2, 1), (255, 51, 0))
    seen.putpixel((1, 0), (0, 51, 255))
    values = input_of(NET, seen)
    assert values.shape == (3, 1, 2)
    np.testing.assert_allclose(values[:, 0], [[1, -1], [-0.05, -0.05], [0, 0.5]], atol=1e-7)
    table = channels_table(NET, seen)
    assert list(table["channel"]) == ["red", "green", "blue"]
    assert list(table["less"]) == [0.5, 0.25, 0.0]
    assert list(table["divided_by"]) == [0.5, 1.0, 2.0]
    np.testing.assert_allclose(table["lowest"], [-1, -0.05, 0], atol=1e-7)
    np.testing.assert_allclose(table["mean"], [0, -0.05, 0.25], atol=1e-7)
    np.testing.assert_allclose(table["highest"], [1, -0.05, 0.5], atol=1e-7)


def test_a_net_that_sees_grey_is_said_to() -> None:
    grey = Preprocessing(28, 28, "bilinear", (0.1,), (0.3,))
    seen = grey.crop_of(Image.new("RGB", (56, 28), (0, 255, 0)))
    assert preparation(grey, seen, None).endswith("Grey, from 0 to 1, less 0.1, is divided by 0.3.")
    table = channels_table(grey, seen)
    assert list(table["channel"]) == ["grey"]
    # ITU-R 601: 0.587 of green, rounded to 150 of 255
    np.testing.assert_allclose(table[["lowest", "mean", "highest"]], [[(150 / 255 - 0.1) / 0.3] * 3], rtol=1e-6)
