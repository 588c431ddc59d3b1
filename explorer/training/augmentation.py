"""Data augmentation: one picture becomes many, and what a trained net says to each.

Krizhevsky, Sutskever & Hinton 2012, section 4.1; Szegedy et al. 2014 (arXiv 1409.4842), section 6. torchvision's
functions change the pixels; its random classes draw from PyTorch's global generator, which threads share, so the draws
are made here, from a generator of their own.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from explorer.errors import Refusal
from explorer.models import checkpoints

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop
Crop = Literal["centre", "random", "resized"]

SCALED, SIDE = 256, 224  # pixels, of the square that is cut from and of the one that the net sees
MAX_VARIANTS = 24
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # Szegedy et al. 2014: share of the area, width / height
_TRIES = 10  # to fit a random window into the picture, as torchvision does

# The principal components of ImageNet's pixels from 0 to 1, as facebookarchive/fb.resnet.torch (datasets/imagenet.lua)
# has them "from random subset of ImageNet training images"; a column a component, rows red, green, blue.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class AugmentationError(Refusal):
    """A recipe that cannot be; the message names the number and what would be right."""


@dataclass(frozen=True)
class Recipe:
    """What is drawn at random for each variant of a picture.

    crop: "centre" of 224 px always; "random", any 224 of 256 px (AlexNet); "resized", a window of 8 to 100% of the
        area and a shape from 3:4 to 4:3, brought to 224 px (GoogLeNet).
    flip: left and right change places in half of the variants.
    colour: standard deviation of the three alphas by which the principal components are weighed; the paper has 0.1,
        and 0 leaves colours alone.
    jitter: brightness, contrast and saturation are each multiplied by a number from 1 - jitter to 1 + jitter, in random
        order; 0 leaves them alone.
    """

    crop: Crop = "random"
    flip: bool = True
    colour: float = 0.1
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise AugmentationError(f"crop (={self.crop!r}) must be one of {', '.join(get_args(Crop))}.")
        if not (math.isfinite(self.colour) and self.colour >= 0):
            raise AugmentationError(f"colour (={self.colour}) must be 0 or more.")
        if not 0 <= self.jitter <= 1:
            raise AugmentationError(f"jitter (={self.jitter}) must be from 0 to 1.")

    @property
    def distinct_crops(self) -> int | None:
        """The crops that it can make of one picture, mirror images included; None for "resized", which has far more.

        The paper counts 32 x 32 x 2 = 2048; but a window of 224 has 33 places along 256.

        >>> Recipe("random", flip=True).distinct_crops, 33 * 33 * 2
        (2178, 2178)
        """
        if self.crop == "resized":
            return None
        places = SCALED - SIDE + 1 if self.crop == "random" else 1
        return places**2 * (2 if self.flip else 1)


OFF = Recipe("centre", flip=False, colour=0.0)


@dataclass(frozen=True)
class Variant:
    """A picture of 224 x 224 px and how it came about.

    window: (left, top, width, height) in the 256 px square, or for "resized" in the picture scaled to 256 px on its
        shorter side. shift: what was added to red, green and blue, of 255. factors: of brightness, contrast and
        saturation, as they were applied.
    """

    image: Image.Image
    window: tuple[int, int, int, int]
    flipped: bool
    shift: tuple[float, float, float]
    factors: tuple[float, float, float]


def variants(image: Image.Image, recipe: Recipe, count: int, seed: int) -> list[Variant]:
    """So many variants of a picture, the same for the same seed.

    Args:
        image: of any size. recipe: what is drawn. count: 1 to 24. seed: of the draws.

    Raises:
        AugmentationError: the count is out of range.
    """
    if not 1 <= count <= MAX_VARIANTS:
        raise AugmentationError(f"count (={count}) must be from 1 to {MAX_VARIANTS}.")
    scaled = _scaled(image)
    generator = torch.Generator().manual_seed(seed)
    return [_variant(scaled, recipe, generator) for _ in range(count)]


def ten_crops(image: Image.Image) -> list[Image.Image]:
    """The four corners and the centre of the 256 px square, 224 px each; then those of its mirror image (4.1)."""
    return list(tv.ten_crop(_square(_scaled(image)), [SIDE, SIDE]))


def classify(checkpoint: str, images: Sequence[Image.Image], report: Report | None = None) -> Tensor:
    """The probabilities that a trained net gives to pictures of its own size: (pictures, classes), float64.

    Unlike `explorer.attribution.predict` it cuts nothing off. One picture at a time, so that `report`, called before
    each with the fraction done and a sentence, can stop it soon.

    Raises:
        Refusal: no such checkpoint. WeightsUnavailable: they could not be fetched.
    """
    tell = report or (lambda fraction, text: None)
    trained = checkpoints.load(checkpoint, report)
    preprocessing = trained.checkpoint.preprocessing
    rows = []
    for number, image in enumerate(images):
        tell(number / len(images), f"Picture {number + 1} of {len(images)}")
        x = preprocessing.tensor(image).to(trained.device, memory_format=torch.channels_last)
        with trained.model.borrow() as model, torch.inference_mode():
            rows.append(model(x)[0].double().softmax(0).cpu())
    return torch.stack(rows)


@dataclass(frozen=True)
class Answers:
    """What a trained net says to the variants of a picture, and to the ten crops.

    table: a row a variant: variant from 1, left, top, width, height, flipped, red, green, blue (added, of 255),
        brightness, contrast, saturation (factors), class_name and probability of the likeliest class, and reference,
        the probability of the class that the centre crop is taken for.
    reference: that class's name. centre: its probability there.
    ten_name, ten_probability: the likeliest class of the mean over ten crops. ten_reference: what it gives the
        reference.
    """

    table: pd.DataFrame
    reference: str
    centre: float
    ten_name: str
    ten_probability: float
    ten_reference: float

    @property
    def agreeing(self) -> int:
        """Variants that are taken for the same class as the centre crop."""
        return int((self.table.class_name == self.reference).sum())

    @property
    def spread(self) -> float:
        """The highest probability of the reference among the variants less the lowest."""
        return float(self.table.reference.max() - self.table.reference.min())


def answers(checkpoint: str, image: Image.Image, made: Sequence[Variant], report: Report | None = None) -> Answers:
    """Classify the variants and the ten crops of a picture; errors as for `classify`."""
    crops = ten_crops(image)
    probabilities = classify(checkpoint, [*crops, *(variant.image for variant in made)], report)
    names = checkpoints.REGISTRY[checkpoint].classes
    centre, ten = probabilities[4], probabilities[: len(crops)].mean(0)  # the fifth crop is the centre
    reference = int(centre.argmax())
    own = probabilities[len(crops) :]
    best = own.max(1)
    columns: dict[str, Iterable[object]] = {"variant": range(1, len(made) + 1)}
    columns |= _columns(("left", "top", "width", "height"), [variant.window for variant in made])
    columns["flipped"] = [variant.flipped for variant in made]
    columns |= _columns(("red", "green", "blue"), [variant.shift for variant in made])
    columns |= _columns(("brightness", "contrast", "saturation"), [variant.factors for variant in made])
    columns["class_name"] = [names[index] for index in best.indices.tolist()]
    columns["probability"] = best.values.tolist()
    columns["reference"] = own[:, reference].tolist()
    return Answers(
        pd.DataFrame(columns),
        names[reference],
        float(centre[reference]),
        names[int(ten.argmax())],
        float(ten.max()),
        float(ten[reference]),
    )


def _columns(names: Iterable[str], rows: Iterable[Iterable[object]]) -> dict[str, Iterable[object]]:
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _scaled(image: Image.Image) -> Image.Image:
    """The picture with its shorter side brought to 256 px."""
    scaled: Image.Image = tv.resize(image.convert("RGB"), [SCALED], tv.InterpolationMode.BICUBIC, antialias=True)
    return scaled


def _square(scaled: Image.Image) -> Image.Image:
    square: Image.Image = tv.center_crop(scaled, [SCALED, SCALED])
    return square


def _variant(scaled: Image.Image, recipe: Recipe, generator: torch.Generator) -> Variant:
    """Every draw is made for every recipe, so that switching one part off leaves the others as they were."""
    uniform = torch.rand(6 + 2 * _TRIES, generator=generator, dtype=torch.float64).tolist()
    alphas = torch.randn(3, generator=generator, dtype=torch.float64)
    order = torch.randperm(3, generator=generator).tolist()
    picture = scaled if recipe.crop == "resized" else _square(scaled)
    window = _window(picture.size, recipe.crop, uniform[4:])
    left, top, width, height = window
    image: Image.Image = tv.resized_crop(
        picture, top, left, height, width, [SIDE, SIDE], tv.InterpolationMode.BICUBIC, antialias=True
    )
    flipped = recipe.flip and uniform[0] < 0.5
    if flipped:
        image = tv.horizontal_flip(image)
    factors = [1 + recipe.jitter * (2 * share - 1) for share in uniform[1:4]]
    for index in order if recipe.jitter else ():
        image = _JITTERS[index](image, factors[index])
    shift = colour_shift(recipe.colour * alphas)
    brightness, contrast, saturation = factors
    return Variant(_shifted(image, shift), window, flipped, shift, (brightness, contrast, saturation))


_JITTERS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)


def _window(size: tuple[int, int], crop: Crop, uniform: Sequence[float]) -> tuple[int, int, int, int]:
    """Left, top, width, height of what is cut out of a picture of this (width, height)."""
    if crop != "resized":
        places = SCALED - SIDE + 1
        shares = uniform[:2] if crop == "random" else (0.5, 0.5)
        left, top = (math.floor(share * places) for share in shares)
        return left, top, SIDE, SIDE
    width, height = size
    for share, shape in zip(uniform[2::2], uniform[3::2], strict=True):
        area = width * height * (AREA[0] + share * (AREA[1] - AREA[0]))
        aspect = math.exp(math.log(ASPECT[0]) + shape * math.log(ASPECT[1] / ASPECT[0]))
        own = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if own[0] <= width and own[1] <= height:
            break
    else:  # the largest window of a shape that is allowed
        own = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    left, top = (math.floor(share * (whole - part + 1)) for share, whole, part in zip(uniform, size, own, strict=False))
    return left, top, *own


def colour_shift(alphas: Tensor) -> tuple[float, float, float]:
    """What the principal components, weighed by alpha times eigenvalue, add to red, green and blue, of 255.

    >>> [round(value, 2) for value in colour_shift(torch.tensor([-0.1, 0.0, 0.0]))]  # 255 * 0.1 * 0.2175 * 0.5675 ...
    [3.15, 3.22, 3.24]
    """
    vectors, values = torch.tensor(EIGENVECTORS, dtype=torch.float64), torch.tensor(EIGENVALUES, dtype=torch.float64)
    red, green, blue = (255 * vectors @ (alphas.double() * values)).tolist()
    return red, green, blue


def _shifted(image: Image.Image, shift: tuple[float, float, float]) -> Image.Image:
    """The picture with these numbers added to its channels, cut off at 0 and 255."""
    if not any(shift):
        return image
    pixels = tv.pil_to_tensor(image).double() + torch.tensor(shift, dtype=torch.float64)[:, None, None]
    shifted: Image.Image = tv.to_pil_image(pixels.round().clamp(0, 255).to(torch.uint8))
    return shifted
