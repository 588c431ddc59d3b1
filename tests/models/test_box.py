"""The square of a picture that a network sees."""

import numpy as np
import pytest
from PIL import Image

from explorer.errors import Refusal
from explorer.models.checkpoints import REGISTRY, Box, Preprocessing

PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # mean, deviation
SIZES = [(300, 200), (200, 300), (256, 256), (640, 427), (33, 500), (32, 32)]


def coordinates(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom, both by steps that add up to 200."""
    red = np.linspace(20, 220, width)[None, :].repeat(height, axis=0)
    green = np.linspace(20, 220, height)[:, None].repeat(width, axis=1)
    return Image.fromarray(np.stack([red, green, np.zeros_like(red)], axis=2).round().astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (32, 32), (232, 224)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_box_of_a_net_shows_what_its_validation_shows(size, resize, crop, interpolation) -> None:
    preprocessing = Preprocessing(resize, crop, interpolation, *PLAIN)
    picture = coordinates(*size)
    default = np.asarray(preprocessing.crop_of(picture), dtype=float)
    boxed = np.asarray(preprocessing.crop_of(picture, preprocessing.box_of(*size)), dtype=float)
    assert default.shape == boxed.shape == (crop, crop, 3)
    # The default is cut at whole pixels of the scaled picture, so that it lies up to one of them beside the box.
    per_pixel = 200 / resize
    assert np.abs(default - boxed)[2:-2, 2:-2].max() <= per_pixel + 1.5


@pytest.mark.parametrize("name", REGISTRY)
def test_the_box_of_every_net_is_in_the_centre(name) -> None:
    preprocessing = REGISTRY[name].preprocessing
    for width, height in SIZES:
        left, upper, right, lower = preprocessing.box_of(width, height).pixels(width, height)
        assert left + right == pytest.approx(width)
        assert upper + lower == pytest.approx(height)
        side = min(width, height) * preprocessing.crop / preprocessing.resize
        assert (right - left, lower - upper) == pytest.approx((side, side))


@pytest.mark.parametrize(
    ("box", "edges"),
    [
        (Box(0, 0, 1), (0, 0, 200, 200)),
        (Box(0.5, 0, 1), (100, 0, 300, 200)),  # at the right edge
        (Box(0.25, 0.5, 0.5), (50, 100, 150, 200)),  # at the lower edge
        (Box(1.4, 0.9, 0.1), (280, 180, 300, 200)),  # in the corner
    ],
)
def test_a_box_is_measured_in_the_shorter_side(box, edges) -> None:
    assert box.pixels(300, 200) == pytest.approx(edges)
    upright = Box(box.top, box.left, box.side).pixels(200, 300)
    assert upright == pytest.approx((edges[1], edges[0], edges[3], edges[2]))


def test_what_lies_in_the_box_is_what_the_net_sees() -> None:
    picture = Image.new("RGB", (300, 200), (255, 0, 0))
    picture.paste((0, 0, 255), (200, 100, 300, 200))
    seen = Preprocessing(256, 50, "bilinear", *PLAIN).crop_of(picture, Box(1.0, 0.5, 0.5))
    assert seen.size == (50, 50)
    # scaling mixes neighbours, at the box's edge those outside of it too, as where a scaled picture is cut
    assert seen.crop((1, 1, 50, 50)).getcolors() == [(49 * 49, (0, 0, 255))]
    wider = Preprocessing(256, 50, "bilinear", *PLAIN).crop_of(picture, Box(0.5, 0.0, 1.0))  # 100, 0 to 300, 200
    assert wider.getpixel((10, 10)) == wider.getpixel((40, 10)) == wider.getpixel((10, 40)) == (255, 0, 0)
    assert wider.getpixel((40, 40)) == (0, 0, 255)


def test_one_box_shows_nets_of_other_sizes_the_same() -> None:
    picture, box = coordinates(400, 300), Box(0.2, 0.1, 0.6)
    small, large = (Preprocessing(256, crop, "bilinear", *PLAIN).crop_of(picture, box) for crop in (32, 224))
    reduced = np.asarray(large.resize((32, 32), Image.Resampling.BOX), dtype=float)
    assert np.abs(np.asarray(small, dtype=float) - reduced).max() <= 2


@pytest.mark.parametrize(
    "box",
    [
        Box(-0.01, 0, 0.5),
        Box(0, -0.01, 0.5),
        Box(1.01, 0, 0.5),
        Box(0, 0.51, 0.5),
        Box(0, 0, 1.01),
        Box(0, 0, 0),
        Box(0.5, 0.5, -0.5),
        Box(float("nan"), 0, 0.5),
        Box(0, 0, float("nan")),
        Box(float("inf"), 0, 0.5),
    ],
)
def test_a_box_beyond_the_picture_is_a_sentence(box) -> None:
    with pytest.raises(Refusal, match=r"^box \(=.*\) must lie inside the picture of 300 x 200 px; .*\.$"):
        box.pixels(300, 200)
    with pytest.raises(Refusal):
        Preprocessing(256, 224, "bilinear", *PLAIN).crop_of(coordinates(300, 200), box)
