"""What the first layers of AlexNet make of a picture, with the weights that PyTorch starts them with.

Nothing here is trained. The weights come from a generator of their own, as threads share PyTorch's global one.
"""

import math

import torch
from PIL import Image
from torch import Tensor, nn

from explorer.models.historic import AlexNet2012
from explorer.models.preprocessing import Preprocessing

SIDE = 227  # pixels, of the square that the net takes
PLACES = 55  # rows and columns of the first convolution's map
MAX_SHIFT = 8  # pixels to the right for which the picture has some left
# Section 2 of the paper: raw RGB values less their mean. The mean colour is that of the usual preprocessing for
# ImageNet; the paper's has a value for each pixel.
_RAW = Preprocessing(256, SIDE + 2 * MAX_SHIFT, "bicubic", (0.485, 0.456, 0.406), (1 / 255, 1 / 255, 1 / 255))


def square(image: Image.Image) -> Image.Image:
    """The square of 227 px that the net sees: the centre of the picture, its shorter side brought to 256 px."""
    return _RAW.crop_of(image).crop((MAX_SHIFT, MAX_SHIFT, MAX_SHIFT + SIDE, MAX_SHIFT + SIDE))


def raw_pixels(image: Image.Image, shifts: tuple[int, ...] = (0,)) -> Tensor:
    """The square as RGB values from 0 to 255, less their mean over ImageNet: (shifts, 3, 227, 227).

    Args:
        image: a picture of any size.
        shifts: how many pixels to the right of the centre each square is taken, -8 to 8; the picture goes on there,
            so nothing is padded.
    """
    wide = _RAW.tensor(_RAW.crop_of(image))[0]
    starts = [MAX_SHIFT + shift for shift in shifts]
    rows = wide[:, MAX_SHIFT : MAX_SHIFT + SIDE]
    return torch.stack([rows[..., start : start + SIDE] for start in starts])


def random_conv1(seed: int = 0) -> nn.Conv2d:
    """The first convolution of `AlexNet2012`, 96 filters of 11x11x3, as PyTorch starts it after this seed."""
    with torch.device("meta"):
        conv1 = AlexNet2012().get_submodule("conv1")
    assert isinstance(conv1, nn.Conv2d)
    assert conv1.bias is not None
    conv1.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    nn.init.kaiming_uniform_(conv1.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(conv1.weight[0].numel())
    nn.init.uniform_(conv1.bias, -bound, bound, generator=generator)
    return conv1


def field(place: tuple[int, int]) -> tuple[int, int, int, int]:
    """What one (row, column) of the first convolution's map sees: left, top, right, bottom in the square's pixels.

    >>> field((0, 54))  # 216 = 227 - 11
    (216, 0, 227, 11)
    """
    row, column = place
    return 4 * column, 4 * row, 4 * column + 11, 4 * row + 11
