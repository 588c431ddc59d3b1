"""How a picture becomes what a network takes, beside the libraries' own transforms; the square of it that is seen."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from registered import TIMMS, TORCHVISIONS
from skimage import data
from timm.data import create_transform, resolve_data_config

from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.checkpoints import CIFAR10_JPEG_MEAN, CIFAR10_JPEG_STD, REGISTRY
from explorer.models.preprocessing import Box, Preprocessing

PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # mean, deviation
SIZES = [(300, 200), (200, 300), (256, 256), (640, 427), (33, 500), (32, 32)]


@pytest.fixture(scope="module")
def odd() -> Image.Image:
    """A photo of 301 x 263 pixels: no side divides evenly, and a cut from its middle is half a pixel off."""
    return Image.fromarray(data.chelsea()[:263, 30:331])


# What a network takes


@pytest.mark.parametrize(("name", "weights"), TORCHVISIONS.items())
def test_a_net_gets_what_torchvisions_transforms_make(name: str, weights: Any, odd: Image.Image) -> None:
    preprocessing = REGISTRY[name].preprocessing
    for picture in (odd, odd.transpose(Image.Transpose.ROTATE_90)):
        tensor = preprocessing.tensor(preprocessing.crop_of(picture))[0]
        torch.testing.assert_close(tensor, weights.transforms()(picture), rtol=0, atol=1e-6)  # a grey level is 0.017


@pytest.mark.parametrize("name", TIMMS)
def test_a_net_gets_what_timms_transform_makes(name: str, odd: Image.Image) -> None:
    preprocessing, settings = REGISTRY[name].preprocessing, timm.get_pretrained_cfg(name)
    transform = create_transform(**resolve_data_config(pretrained_cfg=settings.to_dict()))
    for picture in (odd, odd.transpose(Image.Transpose.ROTATE_90)):
        tensor = preprocessing.tensor(preprocessing.crop_of(picture))[0]
        torch.testing.assert_close(tensor, transform(picture), rtol=0, atol=1e-6)


def test_efficientnet_lite0_gets_what_timms_transform_makes(odd: Image.Image) -> None:
    preprocessing = REGISTRY["efficientnet_lite0"].preprocessing
    settings = resolve_data_config(model=zoo.network("tf_efficientnet_lite0")[0])
    transform = create_transform(**settings)
    for picture in (odd, odd.transpose(Image.Transpose.ROTATE_90)):
        tensor = preprocessing.tensor(preprocessing.crop_of(picture))[0]
        torch.testing.assert_close(tensor, transform(picture), rtol=0, atol=1e-6)


def test_the_crop_is_the_picture_that_the_tensor_holds(odd: Image.Image) -> None:
    preprocessing = REGISTRY["resnet18"].preprocessing
    crop = preprocessing.crop_of(odd)
    assert (crop.size, crop.mode) == ((224, 224), "RGB")
    tensor = preprocessing.tensor(crop)[0]
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
    assert torch.equal(((tensor * std + mean) * 255).round().to(torch.uint8), expected)


def test_a_picture_of_32_px_goes_in_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    preprocessing = REGISTRY["cifar_resnet20"].preprocessing
    crop = preprocessing.crop_of(Image.fromarray(pixels))
    assert np.array_equal(np.array(crop), pixels)
    expected = (pixels / 255 - np.array(CIFAR10_JPEG_MEAN)) / np.array(CIFAR10_JPEG_STD)
    np.testing.assert_allclose(preprocessing.tensor(crop)[0], expected.transpose(2, 0, 1), atol=1e-5)
    assert preprocessing.crop_of(Image.new("RGB", (400, 300))).size == (32, 32)


# The square that is seen


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


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar_resnet20", "resnet50"])
def test_a_picture_comes_back_as_it_went_in(name: str) -> None:
    preprocessing = REGISTRY[name].preprocessing
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    levels[..., 1], levels[..., 2] = levels[::-1, :, 1], levels[:, ::-1, 2]
    back = preprocessing.picture_of(preprocessing.tensor(Image.fromarray(levels)))
    np.testing.assert_array_equal(np.asarray(back), levels)
