"""What AlexNet's first layers are given, and with which weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from explorer.analysis.first_layers import MAX_SHIFT, PLACES, SIDE, field, random_conv1, raw_pixels, square

CUP = Image.fromarray(data.coffee())


@pytest.mark.parametrize("seed", [0, 7])
def test_the_filters_are_those_that_pytorch_starts_with_after_that_seed(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = torch.nn.Conv2d(3, 96, 11, stride=4)
    ours = random_conv1(seed)
    assert torch.equal(ours.weight, theirs.weight)
    assert ours.bias is not None
    assert theirs.bias is not None
    assert torch.equal(ours.bias, theirs.bias)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    random_conv1(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pixels_are_raw_values_less_the_mean_colour() -> None:
    mean = 255 * torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    shown = torch.from_numpy(np.array(square(CUP))).permute(2, 0, 1)
    assert torch.allclose(raw_pixels(CUP)[0] + mean, shown.float(), atol=1e-3)
    assert shown.shape == (3, SIDE, SIDE)


def test_the_square_is_the_centre_of_the_picture_at_256() -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    first = (256 - 227) // 2
    assert np.array(square(ramp))[0, :, 0].tolist() == list(range(first, first + 227))


def test_a_shifted_square_shows_what_is_further_right() -> None:
    still, moved, back = raw_pixels(CUP, (0, 5, -MAX_SHIFT))
    assert torch.equal(moved[..., :-5], still[..., 5:])
    assert torch.equal(back[..., MAX_SHIFT:], still[..., :-MAX_SHIFT])


def test_a_place_sees_what_its_gradient_says() -> None:
    pixels = torch.zeros(1, 3, SIDE, SIDE, requires_grad=True)
    answers = random_conv1()(pixels)
    assert answers.shape[2:] == (PLACES, PLACES)
    answers[0, 0, 30, 7].backward()
    assert pixels.grad is not None
    rows, columns = pixels.grad[0, 0].nonzero(as_tuple=True)
    seen = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    assert field((30, 7)) == seen
