"""How a picture becomes the input of a network, and which part of it the network shall see."""

from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from explorer.errors import Refusal


@dataclass(frozen=True)
class Box:
    """The square of a picture that a network shall see, in fractions of the picture's shorter side.

    left, top: of its upper left corner. side: at most 1.
    """

    left: float
    top: float
    side: float

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge in a picture of this size.

        >>> Box(0.25, 0.0, 0.5).pixels(300, 200)
        (50.0, 0.0, 150.0, 100.0)

        Raises:
            Refusal: it reaches beyond the picture, or is empty.
        """
        shorter = min(width, height)
        edges = (self.left, self.top, self.left + self.side, self.top + self.side)
        left, upper, right, lower = (edge * shorter for edge in edges)
        slack = 1e-6 * shorter  # of adding floats
        inside = left >= -slack and upper >= -slack and right <= width + slack and lower <= height + slack
        if not (self.side > 0 and inside):  # nor is nan
            raise Refusal(
                f"box (={self.left:g}, {self.top:g}, {self.side:g}) must lie inside the picture of {width} x {height} "
                "px; its left, top and side are fractions of the shorter side."
            )
        return max(0.0, left), max(0.0, upper), min(float(width), right), min(float(height), lower)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network; the same as in its training's validation.

    A network with one mean takes one channel: it sees pictures in grey.
    """

    resize: int  # the shorter side, pixels
    crop: int  # the square from the centre, pixels
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, ...]  # of each channel that the network takes, 0 to 1
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """How many the network takes.

        >>> Preprocessing(8, 8, "bilinear", (0.5,), (0.25,)).channels
        1
        """
        return len(self.mean)

    def box_of(self, width: int, height: int) -> Box:
        """The square from the centre that `crop_of` cuts out unless told, but for rounding to whole pixels."""
        shorter, side = min(width, height), self.crop / self.resize
        return Box((width / shorter - side) / 2, (height / shorter - side) / 2, side)

    def crop_of(self, image: Image.Image, box: Box | None = None) -> Image.Image:
        """The part of an RGB picture that the network sees, crop x crop pixels; RGB too, if without colours.

        Args:
            box: which part; None is the square from the centre, as the network's validation pictures were cut.

        Raises:
            Refusal: the box reaches beyond the picture.
        """
        if self.channels == 1:
            image = image.convert("L").convert("RGB")
        if box is not None:
            how = Image.Resampling[self.interpolation.upper()]
            return image.resize((self.crop, self.crop), how, box=box.pixels(*image.size))
        scaled = tv.resize(image, [self.resize], tv.InterpolationMode(self.interpolation), antialias=True)
        cropped: Image.Image = tv.center_crop(scaled, [self.crop, self.crop])
        return cropped

    def tensor(self, crop: Image.Image) -> Tensor:
        """The crop as (1, channels, crop, crop), each channel less its mean and divided by its deviation."""
        return self.normalise(tv.to_dtype(tv.pil_to_tensor(crop), torch.float32, scale=True)[None])

    def picture_of(self, x: Tensor) -> Image.Image:
        """What (1, channels, h, w) shows, as `tensor` would take it: its numbers back between black and white; RGB."""
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        pixels = (x[0].detach().cpu() * std + mean).clamp(0, 1)
        # To the nearest level; of numbers that are no levels it would take the one below
        shown: Image.Image = tv.to_pil_image((255 * pixels).round().to(torch.uint8)).convert("RGB")
        return shown

    def normalise(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) between 0 and 1 to what the network takes; of a grey picture one channel is all."""
        normalised: Tensor = tv.normalize(pixels[:, : self.channels], list(self.mean), list(self.std))
        return normalised
