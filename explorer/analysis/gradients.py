"""How much gradient reaches each place of a network.

Gradients of activations, not of weights: in a plain net without norm the sum of a weight times its gradient is the same
for all layers, whatever vanishes, so that weights would hardly show it (`flow` has both).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor

from explorer.errors import Refusal
from explorer.models.blocks import ACTIVATIONS
from explorer.models.historic import GoogLeNet2014
from explorer.models.observe import seeded, watching
from explorer.models.resnet import INITS, block_names, build
from explorer.spec import PRESETS, Activation, Init, ResNetSpec

Report = Callable[[float, str], object]
Loss = Callable[[Any, Tensor], Tensor]
Start = Literal["caffe", "kaiming", "xavier", "pytorch"]

MARKS = ("", "subnormal", "zero", "not finite")  # the later, the worse
DEPTHS = tuple(range(8, 57, 6))  # 6n + 2, as in He et al. 2015, section 4.2
MOST_SEEDS = 5
BATCH, SIDE = 16, 32
GOOGLENET_BATCH, GOOGLENET_SIDE = 4, 224  # the heads need maps of 14x14
GOOGLENET_PLACES = (
    *(f"conv{number}" for number in (1, 2, 3)),
    *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")),
)
HEADS = {"inception4a": "aux1", "inception4d": "aux2"}
HEADS_WEIGHT = 0.3  # Szegedy et al. 2014, section 5
_MODES = {1: "L", 3: "RGB"}  # of a picture, by the channels of a net
_LEAST_CROP = 1 / 3  # of what fits into the picture
_COARSE, _NOISE = 4, 0.1  # with these the curves of six CIFAR nets stay within 0.03 decades of those on CIFAR-10 photos


class GradientError(Refusal):
    """A measurement that cannot be made; the message names the value and what would be right."""


# One network


def patterns(seed: int, images: int = BATCH, side: int = SIDE, channels: int = 3) -> Tensor:
    """Smooth random blobs with a little noise, which stand for photos: (images, channels, side, side).

    Normal numbers on a grid of 4x4, enlarged by cubic interpolation, and a tenth of white noise; then each channel has
    mean 0 and standard deviation 1 over the batch. White noise alone would shift the curves.

    >>> patterns(0).shape, round(patterns(0).std().item(), 3)
    (torch.Size([16, 3, 32, 32]), 1.0)
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(images, channels, _COARSE, _COARSE, generator=generator)
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    noisy = smooth + _NOISE * torch.randn(images, channels, side, side, generator=generator)
    std, mean = torch.std_mean(noisy, (0, 2, 3), keepdim=True)
    return (noisy - mean) / std


def crops(pictures: Sequence[Image.Image], seed: int, images: int, size: tuple[int, int], channels: int) -> Tensor:
    """Random parts of pictures: (images, channels, height, width), each channel of mean 0 and deviation 1.

    Each has the shape of `size`, a side of a third to the whole of what fits into its picture, and is resized. All
    pictures take turns. One channel gets their grey.

    Raises:
        GradientError: the net takes neither one channel nor three.

    >>> crops([Image.linear_gradient("L")], 0, 16, (32, 32), 3).shape
    torch.Size([16, 3, 32, 32])
    """
    if channels not in _MODES:
        raise GradientError(f"in_channels (={channels}) must be 1 or 3, as pictures have; patterns have any number.")
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    cut = []
    for number in range(images):
        picture = pictures[number % len(pictures)].convert(_MODES[channels])
        share, right, down = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        zoom = (_LEAST_CROP + (1 - _LEAST_CROP) * share) * min(picture.width / width, picture.height / height)
        left, top = right * (picture.width - zoom * width), down * (picture.height - zoom * height)
        box = (left, top, left + zoom * width, top + zoom * height)
        cut.append(pil_to_tensor(picture.resize((width, height), Image.Resampling.BICUBIC, box)))
    pixels = torch.stack(cut).float()
    std, mean = torch.std_mean(pixels, (0, 2, 3), keepdim=True)
    return (pixels - mean) / std.clamp(min=1)


def classes(seed: int, images: int, count: int) -> Tensor:
    """A random class for each image, 0 to count - 1."""
    return torch.randint(count, (images,), generator=torch.Generator().manual_seed(seed))


def activation_gradients(
    network: nn.Module, images: Tensor, targets: Tensor, places: Sequence[str], loss: Loss = F.cross_entropy
) -> pd.DataFrame:
    """The size of the loss's gradient with respect to what each of these modules returns, a row a place.

    One forward and one backward pass at the weights and in the mode that the network has; it is left as it was,
    gradients, running statistics and random state apart from what dropout draws. Norms are taken while the gradient
    passes, so that no activation is kept for longer than the pass itself keeps it.

    Columns: `name`; `index`, the place's number from 1; `gradient_norm` and `activation_norm`, the roots of the sums of
    squares over all numbers of the batch, summed in double precision; `mark`, of the gradient: "zero" where it is
    exactly zero, which is what a number format leaves of something too small; "subnormal" where its root mean square
    is below the smallest number that the format holds in full; "not finite" where it is infinite or not a number.

    Args:
        network: in its own precision, on the device of the images.
        images: (n, channels, height, width).
        targets: what the loss compares with, the classes (n,) say.
        places: dotted names of modules that return one tensor.
        loss: of the network's output and the targets; the mean over the batch by default.

    Raises:
        GradientError: no module of that name, or none that is called once and that the loss depends on.
    """
    modules = dict(network.named_modules())
    for place in places:
        if place not in modules:
            raise GradientError(f"place (={place!r}) must be the name of a module, such as {list(modules)[-1]!r}.")
    activations: dict[str, list[float]] = {place: [] for place in places}
    gradients: dict[str, list[tuple[float, str]]] = {place: [] for place in places}

    def watch(place: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            activations[place].append(norm_of(output.detach()))
            arrived = gradients[place]
            output.register_hook(lambda gradient: arrived.append(_marked(gradient)))  # type: ignore[no-untyped-call]

    # Stand-ins for parameters and buffers: the network's own get no gradient and no new statistics
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = images.detach().requires_grad_()
    with watching((modules[place], partial(watch, place)) for place in places):
        output = functional_call(network, state, (images,))
    torch.autograd.grad(loss(output, targets), images)
    for place in places:
        if len(activations[place]) != 1 or len(gradients[place]) != 1:
            raise GradientError(
                f"place (={place!r}) must be a module that is called once, returns one tensor and bears on the loss."
            )
    return pd.DataFrame(
        {
            "name": list(places),
            "index": range(1, len(places) + 1),
            "gradient_norm": [gradients[place][0][0] for place in places],
            "activation_norm": [activations[place][0] for place in places],
            "mark": [gradients[place][0][1] for place in places],
        }
    )


def norm_of(tensor: Tensor) -> float:
    """The root of the sum of squares, summed in double precision: squares of float32 would underflow."""
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item()


def mark_of(norm: float, numbers: int, dtype: torch.dtype) -> str:
    """What a number format has left of so many numbers with this norm; one of `MARKS`.

    >>> [mark_of(norm, 4, torch.float32) for norm in (1.0, 2e-38, 0.0, math.inf)]
    ['', 'subnormal', 'zero', 'not finite']
    """
    if not math.isfinite(norm):
        return "not finite"
    if norm == 0:
        return "zero"
    return "subnormal" if norm / math.sqrt(numbers) < torch.finfo(dtype).tiny else ""


def _marked(gradient: Tensor) -> tuple[float, str]:
    """The norm and its mark."""
    norm = norm_of(gradient)
    return norm, mark_of(norm, gradient.numel(), gradient.dtype)


def worst(marks: Iterable[str]) -> str:
    """The worst of one mark or more."""
    return max(marks, key=MARKS.index)


# Several seeds


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, the least and the greatest; what is not a number counts as infinite."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Of one value or more.

    >>> spread([3, 1, 8])
    Spread(median=3.0, low=1.0, high=8.0)
    """
    counted = np.nan_to_num(np.asarray(values, dtype=float), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    return Spread(float(np.median(counted)), float(counted.min()), float(counted.max()))


def over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of `activation_gradients` for the same places as one: median, least and greatest, and the worst mark.

    Columns: name, index, gradient_norm, gradient_low, gradient_high, activation_norm, activation_low,
    activation_high, mark. The norms are medians.
    """
    joined = tables[0][["name", "index"]].copy()
    for kind in ("gradient", "activation"):
        spreads = [spread(values) for values in zip(*(table[f"{kind}_norm"] for table in tables), strict=True)]
        joined[f"{kind}_norm"] = [each.median for each in spreads]
        joined[f"{kind}_low"] = [each.low for each in spreads]
        joined[f"{kind}_high"] = [each.high for each in spreads]
    marks = zip(*(table["mark"] for table in tables), strict=True)
    joined["mark"] = [worst(each) for each in marks]
    return joined


@dataclass(frozen=True)
class Outcome:
    """What a study found: its `curves`, from `over_seeds`, one after the other, and a `summary` in few rows."""

    curves: pd.DataFrame
    summary: pd.DataFrame


def _joined(curves: Mapping[str, Sequence[pd.DataFrame]], series: str) -> pd.DataFrame:
    """`over_seeds` of several lists of tables, the first column the name of each."""
    joined = [over_seeds(tables) for tables in curves.values()]
    for name, curve in zip(curves, joined, strict=True):
        curve.insert(0, series, name)
    return pd.concat(joined, ignore_index=True)


def quotient(above: float, below: float) -> float:
    """above / below, or not a number where that says nothing."""
    return above / below if below else math.nan


# Activation functions


@dataclass(frozen=True)
class ActivationStudy:
    """The same net with several activation functions: He et al.'s for CIFAR-10 (2015, section 4.2), of width 16.

    Args:
        activations: one or more of the spec's.
        depth: 6n + 2 layers, 8 to 56.
        norm: whether batch norm stands behind each convolution.
        residual: with shortcuts of option A, or without any.
        init: the spec's initial weights.
        seeds: how many draws of weights, images and classes, numbered from 0; 1 to 5.
        double: in float64 instead of float32.

    Raises:
        GradientError: a value that is none of these.
    """

    activations: tuple[Activation, ...] = ("relu", "tanh", "sigmoid")
    depth: int = 20
    norm: bool = False
    residual: bool = False
    init: Init = "kaiming_fan_out"
    seeds: int = 3
    double: bool = False

    def __post_init__(self) -> None:
        known = get_args(Activation)
        if not self.activations or not set(self.activations) <= set(known):
            chosen = ", ".join(self.activations) or "none"
            raise GradientError(f"activations (={chosen}) must be one or more of {', '.join(known)}.")
        if self.depth not in DEPTHS:
            raise GradientError(f"depth (={self.depth}) must be 6n + 2, one of {', '.join(map(str, DEPTHS))}.")
        _check_seeds(self.seeds)

    @property
    def layers_between(self) -> int:
        """Convolutions between the outputs of the first and of the last block."""
        return self.depth - 4

    def spec(self, activation: Activation) -> ResNetSpec:
        """The net with one of the activations."""
        return replace(
            PRESETS["cifar_resnet20"],
            depths=((self.depth - 2) // 6,) * 3,
            activation=activation,
            norm="batch" if self.norm else "none",
            residual=self.residual,
            init=self.init,
        )


def greatest_slope(activation: Activation) -> float:
    """The greatest derivative of an activation function, from autograd on a fine grid from -6 to 6.

    >>> [greatest_slope(name) for name in ("sigmoid", "tanh", "relu")]
    [0.25, 1.0, 1.0]
    """
    x = torch.linspace(-6, 6, 12_001, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(ACTIVATIONS[activation]()(x).sum(), x)
    return slopes.max().item()


def gradient_flow(spec: ResNetSpec, seed: int, *, double: bool = False) -> pd.DataFrame:
    """`activation_gradients` behind each block of a net with its initial weights, in training mode.

    The seed decides weights, images (`patterns`) and classes; the loss is the cross-entropy.
    """
    dtype = torch.float64 if double else torch.float32
    with seeded(seed):
        network = build(spec, "cpu").to(dtype)
    images = patterns(seed, side=spec.image_size[0], channels=spec.in_channels).to(dtype)
    return activation_gradients(network, images, classes(seed, BATCH, spec.num_classes), block_names(spec))


def activation_study(study: ActivationStudy, report: Report = lambda fraction, text: None) -> Outcome:
    """Measure it, a net after the other.

    The curves have the column `activation`. The summary has a row for each: activation; slope, its greatest;
    slope_alone, that to the power of the layers between first and last block; ratio, the gradient norm behind the first
    block over that behind the last, the median over the seeds, with ratio_low and ratio_high; per_layer, the factor a
    layer that makes this ratio; mark, the worst of any block. A ratio that is not finite is unknown.

    Args:
        study: what to measure.
        report: called before each net with the fraction done and a sentence; what it raises ends the work.
    """
    tables: dict[str, list[pd.DataFrame]] = {activation: [] for activation in study.activations}
    rows = []
    for number, activation in enumerate(study.activations):
        for seed in range(study.seeds):
            report((number + seed / study.seeds) / len(study.activations), f"{activation}, seed {seed}")
            tables[activation].append(gradient_flow(study.spec(activation), seed, double=study.double))
        norms = [list(table["gradient_norm"]) for table in tables[activation]]
        ratio = spread([quotient(norm[0], norm[-1]) for norm in norms])
        slope = greatest_slope(activation)
        rows.append(
            {
                "activation": activation,
                "slope": slope,
                "slope_alone": slope**study.layers_between,
                "ratio": ratio.median,
                "ratio_low": ratio.low,
                "ratio_high": ratio.high,
                "per_layer": ratio.median ** (1 / study.layers_between),
                "mark": worst(mark for table in tables[activation] for mark in table["mark"]),
            }
        )
    return Outcome(_joined(tables, "activation"), pd.DataFrame(rows).replace(math.inf, math.nan))


# Auxiliary classifiers


@dataclass(frozen=True)
class AuxiliaryStudy:
    """GoogLeNet with and without the losses of its two auxiliary heads.

    Args:
        weight: of each head's loss beside the last classifier's, 0 to 1.
        start: the initial weights, of convolutions and linear layers alike. "caffe": uniform of variance 1 / fan in,
            biases 0.2, as in Caffe's replication (but for its classifiers' biases of 0, which softmax does not tell
            apart). "kaiming": normal of variance 2 / fan in, biases 0. "xavier": uniform of variance
            2 / (fan in + fan out), biases 0. "pytorch": as PyTorch starts its layers.
        batch_norm: behind every convolution, instead of the published net's biases and response normalisation.
        seeds: how many draws of weights, images and classes, numbered from 0; 1 to 5.

    Raises:
        GradientError: a value that is none of these.
    """

    weight: float = HEADS_WEIGHT
    start: Start = "caffe"
    batch_norm: bool = False
    seeds: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise GradientError(f"weight (={self.weight}) must be a number from 0 to 1.")
        if self.start not in get_args(Start):
            raise GradientError(f"start (={self.start!r}) must be one of {', '.join(get_args(Start))}.")
        _check_seeds(self.seeds)


_FILLS: dict[Start, tuple[Callable[[Tensor], Tensor], float]] = {
    # Caffe's "xavier" filler looks at the fan in alone: include/caffe/filler.hpp, models/bvlc_googlenet
    "caffe": (partial(nn.init.kaiming_uniform_, nonlinearity="linear"), 0.2),
    "kaiming": (INITS["kaiming_fan_in"], 0.0),
    "xavier": (INITS["xavier"], 0.0),
}


def googlenet(seed: int, start: Start, batch_norm: bool) -> GoogLeNet2014:
    """GoogLeNet with its heads and with initial weights, in training mode but for its dropout, which is off."""
    with seeded(seed):
        network = GoogLeNet2014(batch_norm=batch_norm)
        if start in _FILLS:
            fill, bias = _FILLS[start]
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    fill(module.weight)
                    if module.bias is not None:
                        nn.init.constant_(module.bias, bias)
    for module in network.train().modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return network


def heads_loss(outputs: tuple[Tensor, ...], targets: Tensor, weight: float) -> Tensor:
    """Cross-entropy of the last classifier, and of the heads by their weight (Szegedy et al. 2014, section 5)."""
    last, *heads = (F.cross_entropy(logits, targets) for logits in outputs)
    return last + weight * sum(heads)


def auxiliary_study(study: AuxiliaryStudy, report: Report = lambda fraction, text: None) -> Outcome:
    """Measure it, with the same weights, images and classes for both curves.

    The curves have the column `loss`, "without heads" or "with heads". The summary has a row a module: name; without
    and with_heads, the medians of the gradient norm; ratio, with over without, the median over the seeds, with
    ratio_low and ratio_high; mark, the worst of both. A ratio that is not finite is unknown.

    Args:
        study: what to measure.
        report: called before each pass with the fraction done and a sentence; what it raises ends the work.
    """
    weights = {"without heads": 0.0, "with heads": study.weight}
    tables: dict[str, list[pd.DataFrame]] = {loss: [] for loss in weights}
    for seed in range(study.seeds):
        network = googlenet(seed, study.start, study.batch_norm)
        images, targets = patterns(seed, GOOGLENET_BATCH, GOOGLENET_SIDE), classes(seed, GOOGLENET_BATCH, 1000)
        for number, (loss, weight) in enumerate(weights.items()):
            report((seed + number / 2) / study.seeds, f"Seed {seed}, {loss}")
            measured = partial(heads_loss, weight=weight)
            tables[loss].append(activation_gradients(network, images, targets, GOOGLENET_PLACES, measured))
    without, with_heads = (over_seeds(of_loss) for of_loss in tables.values())
    by_seed = [
        list(map(quotient, more["gradient_norm"], less["gradient_norm"]))
        for less, more in zip(*tables.values(), strict=True)
    ]
    ratios = [spread(quotients) for quotients in zip(*by_seed, strict=True)]
    summary = pd.DataFrame(
        {
            "name": without["name"],
            "without": without["gradient_norm"],
            "with_heads": with_heads["gradient_norm"],
            "ratio": [ratio.median for ratio in ratios],
            "ratio_low": [ratio.low for ratio in ratios],
            "ratio_high": [ratio.high for ratio in ratios],
            "mark": [worst(marks) for marks in zip(without["mark"], with_heads["mark"], strict=True)],
        }
    )
    return Outcome(_joined(tables, "loss"), summary.replace(math.inf, math.nan))


def _check_seeds(seeds: int) -> None:
    if not 1 <= seeds <= MOST_SEEDS:
        raise GradientError(f"seeds (={seeds}) must be a whole number from 1 to {MOST_SEEDS}.")
