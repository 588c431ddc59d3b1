"""The effective receptive field: how much each pixel matters to a unit, measured by gradients.

The gradient of a unit with respect to the image says how much the unit answers to each pixel. Its absolute value, over
many images or weights, is large in the middle of the theoretical field and fades long before the edge (Luo, Li, Urtasun
& Zemel 2016, Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, arXiv 1701.04128).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms.v2.functional import pil_to_tensor

from explorer.analysis.fields import FieldProfile, box_of, units_of
from explorer.analysis.graph import Place
from explorer.analysis.layers import BYTES
from explorer.analysis.receptive import Field
from explorer.analysis.rules import Pair
from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.checkpoints import Trained
from explorer.models.device import best_device
from explorer.models.observe import frozen, watching
from explorer.spec import ResNetSpec

Report = Callable[[float, str], object]

MASS = 0.95  # the part of the gradient that a field's width holds
MOST_SEEDS = 10
_ROOM = 2e9  # bytes of activations and their gradients in one pass
_LEAST_PIXELS = 5  # that a Gaussian is fitted to


class NotMeasured(Refusal):
    """An effective field that cannot be measured; the message names what was wrong and what would be right."""


@dataclass(frozen=True)
class Gaussian:
    """The curve of least squares through the mass along one axis: its height, a mass; middle and deviation, in pixels.

    `explained` is the part of the variance that it explains, R squared: 1 where the field is a Gaussian.
    """

    height: float
    middle: float
    deviation: float
    explained: float

    def mass(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """What it has in each of some pixels."""
        return _bell(pixels, self.height, self.middle, self.deviation)

    @property
    def width(self) -> float:
        """Pixels from two deviations below the middle to two above, in which a Gaussian has 95.4% of its mass."""
        return 4 * self.deviation


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """What one unit answers to, the mean over images and seeds.

    operator, name: as in `FieldProfile.table`. unit: its (row, column) in the map, from 0.
    map: (height, width) of the image, float32; the part of the absolute gradient that each pixel has, 1 in sum.
    averaged: how many gradients went into it; left_out: how many were 0 or not finite everywhere and did not.
    field: the theoretical one.
    """

    operator: int
    name: str
    unit: Pair
    map: NDArray[np.float32]
    averaged: int
    left_out: int
    field: Field

    @cached_property
    def spans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Along height and width, from where to where the middle 95% of the mass lie; pixel i is from i - 1/2 on."""
        return mass_span(self._mass(0)), mass_span(self._mass(1))

    @property
    def widths(self) -> tuple[float, float]:
        """The lengths of the spans, (height, width) in pixels."""
        (top, bottom), (left, right) = self.spans
        return bottom - top, right - left

    @cached_property
    def gaussians(self) -> tuple[Gaussian | None, Gaussian | None]:
        """The Gaussians through the mass along height and width; None where there is too little to fit."""
        return gaussian_fit(self._mass(0)), gaussian_fit(self._mass(1))

    def _mass(self, axis: int) -> NDArray[np.float64]:
        """What lies in each row (0) or column (1)."""
        return np.asarray(self.map.sum(1 - axis, dtype=np.float64))

    @property
    def theoretical(self) -> Pair:
        """The size of the unit's theoretical field, (height, width) in pixels, outside of the image included."""
        return box_of(self.field, self.unit).size

    @property
    def ratio(self) -> float:
        """The side of a square of as many pixels as the spans enclose, over that of the theoretical field."""
        return math.sqrt(math.prod(self.widths) / math.prod(self.theoretical))

    @property
    def whole(self) -> bool:
        """Whether the unit's theoretical field lies inside the image, so that the image's edge cuts nothing off."""
        box = box_of(self.field, self.unit)
        return box.top >= 0 and box.left >= 0 and box.bottom < self.map.shape[0] and box.right < self.map.shape[1]

    def enclosing(self, most: int = 112) -> NDArray[np.float32]:
        """(rows, columns), at most so many: the part of the gradient in all places as strong as each or stronger.

        0 at the peak, 1 at the rim: the line of 0.95 encloses the smallest region with 95% of the gradient. The map is
        averaged over squares of pixels first, and smoothed over two of them, as single pixels are noisy.
        """
        step = -(-max(self.map.shape) // most)
        coarse = gaussian_filter(_summed(self.map, step), 2 if min(self.map.shape) > 64 else 1)
        order = np.argsort(-coarse, axis=None)
        running = np.cumsum(coarse.ravel()[order])
        enclosed = np.empty(coarse.size, np.float32)
        enclosed[order] = running / running[-1]
        return enclosed.reshape(coarse.shape)


def _summed(mass: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    """Sums over squares of step x step pixels; those at the last edges may be cut."""
    rows = np.add.reduceat(mass, np.arange(0, mass.shape[0], step), 0, dtype=np.float64)
    return np.asarray(np.add.reduceat(rows, np.arange(0, mass.shape[1], step), 1))


def mass_span(mass: Sequence[float] | NDArray[np.float64], part: float = MASS) -> tuple[float, float]:
    """From where to where the middle part of some mass lies, the rest left out in equal halves at both ends.

    Args:
        mass: of each pixel, not negative; that of pixel i is spread evenly from i - 1/2 to i + 1/2.
        part: how much of it, 0 to 1.

    >>> mass_span([1, 1, 1, 1], 0.5)
    (0.5, 2.5)
    """
    below = np.concatenate([[0.0], np.cumsum(mass)])  # how much lies before the edge of each pixel
    first, last = (_where(below, share * below[-1]) for share in ((1 - part) / 2, (1 + part) / 2))
    return first, last


def _where(below: NDArray[np.float64], target: float) -> float:
    """Where the sum reaches a value, in the first pixel that brings it there."""
    pixel = int(np.searchsorted(below, target)) - 1
    return pixel - 0.5 + float((target - below[pixel]) / (below[pixel + 1] - below[pixel]))


def gaussian_fit(mass: NDArray[np.float64]) -> Gaussian | None:
    """The Gaussian of least squares through the mass of each pixel; None where fewer than five have any, or where it
    explains nothing.

    >>> fit = gaussian_fit(np.exp(-(((np.arange(101) - 40) / 10) ** 2) / 2))
    >>> round(fit.middle, 3), round(fit.deviation, 3), round(fit.width, 3)
    (40.0, 10.0, 40.0)
    """
    if np.count_nonzero(mass) < _LEAST_PIXELS or mass.min() == mass.max():
        return None
    pixels = np.arange(len(mass), dtype=float)
    middle = float((pixels * mass).sum() / mass.sum())
    deviation = math.sqrt(float(((pixels - middle) ** 2 * mass).sum() / mass.sum()))
    with np.errstate(over="ignore"):
        found = least_squares(lambda curve: _bell(pixels, *curve) - mass, (mass.max(), middle, deviation), method="lm")
    explained = 1 - float((found.fun**2).sum() / ((mass - mass.mean()) ** 2).sum())
    if not (found.success and explained > 0):  # a level line does as well
        return None
    height, middle, deviation = map(float, found.x)
    return Gaussian(height, middle, abs(deviation), explained)


def _bell(x: NDArray[np.float64], height: float, middle: float, deviation: float) -> NDArray[np.float64]:
    bell: NDArray[np.float64] = height * np.exp(-(((x - middle) / deviation) ** 2) / 2)
    return bell


# Which units can be caught


def measurable(profile: FieldProfile) -> list[int]:
    """The operators whose units can be measured: those with a local field that a module returns."""
    return [here for here in profile.table["operator"] if here in profile.places]


def by_depth(profile: FieldProfile, most: int) -> list[int]:
    """Operators to follow the field by: of those at one depth the one that sees most; evenly chosen.

    Args:
        profile: the network's fields. most: how many at most; of those that can be caught (`measurable`).
    """
    table = profile.table[profile.table["operator"].isin(measurable(profile))]
    # Of equals an activation, which is not on the shortcut, and of those the last
    ranked = table.assign(active=table["kind"] == "activation")
    ranked = ranked.sort_values(["depth", "receptive_field", "active", "operator"])
    seen = ranked.groupby("depth")["operator"].last().tolist()
    if len(seen) <= most:
        return seen
    return [seen[round(step * (len(seen) - 1) / (most - 1))] for step in range(most)]


def prepared(pictures: Sequence[Image.Image], profile: FieldProfile) -> Tensor:
    """Pictures as a network takes them that has not been trained: (n, channels, height, width) of the profile's image.

    Each is cut to the image's shape from its middle and resized; one channel gets its grey. Over the batch each channel
    has mean 0 and standard deviation 1.

    Raises:
        NotMeasured: the network takes neither one channel nor three.
    """
    channels = profile.input_shape[0]
    if channels not in _MODES:
        raise NotMeasured(f"The network takes {channels} channels and a picture has 1 or 3; measure on patterns.")
    pixels = torch.stack([pil_to_tensor(fitted(each.convert(_MODES[channels]), profile)) for each in pictures]).float()
    std, mean = torch.std_mean(pixels, (0, 2, 3), keepdim=True)
    return (pixels - mean) / std.clamp(min=1)


_MODES = {1: "L", 3: "RGB"}


def fitted(picture: Image.Image, profile: FieldProfile) -> Image.Image:
    """The largest part around a picture's middle that has the shape of a profile's image, resized to it."""
    height, width = profile.image
    return ImageOps.fit(picture, (width, height))


# Measuring


def effective_fields(
    model: nn.Module,
    profile: FieldProfile,
    operators: Sequence[int],
    images: Tensor,
    *,
    units: Sequence[Pair] | None = None,
    report: Report = lambda fraction, text: None,
) -> list[EffectiveField]:
    """The effective fields of a module of one's own, in eval mode with the weights that it has; it is left as it was.

    Arguments, result and errors as for `initial_fields`.

    >>> from explorer.analysis.fields import field_profile
    >>> stack = nn.Sequential(*(nn.Conv2d(1, 1, 3, bias=False) for _ in range(2)))
    >>> _ = [nn.init.ones_(layer.weight) for layer in stack]
    >>> [field] = effective_fields(stack, field_profile(stack, (9, 9)), [1], torch.ones(1, 1, 9, 9))
    >>> (81 * field.map[4, 2:7]).round().tolist()  # of a unit's 81 paths, how many begin in each pixel of this row
    [3.0, 6.0, 9.0, 6.0, 3.0]
    """
    sums = _Sums(profile, operators, units)
    with frozen(model):
        sums.measure(model, images, 0, report)
    return sums.fields()


def initial_fields(
    network: ResNetSpec | str,
    profile: FieldProfile,
    operators: Sequence[int],
    images: Tensor,
    *,
    seeds: int = 1,
    units: Sequence[Pair] | None = None,
    report: Report = lambda fraction, text: None,
) -> list[EffectiveField]:
    """The effective fields of a network with the random weights that it starts from.

    The weights are those of its own code. Each batch norm uses the mean and variance of the images that go through
    together (all, as far as memory allows), as at the first step of training, taken as constants: else every unit would
    answer to every pixel through them.

    Args:
        network: of the spec or the zoo. profile: its fields, at the size of the images.
        operators: numbers of its operators, among `measurable`.
        images: (n, channels, height, width), as the network takes them.
        seeds: how many draws of weights, numbered from 0.
        units: (row, column) in the map of each operator; those in the middle if None.
        report: told the fraction done and a sentence before each pass; it may raise, to stop.

    Returns:
        One field for each operator, in that order; none for one whose gradients are all 0 or not finite. A gradient is
        of all channels of the unit, mixed with random signs; each weighs the same, whatever its size.

    Raises:
        NotMeasured: an operator or unit that there is not, or no operator has a gradient that is not 0.
    """
    sums = _Sums(profile, operators, units)
    for seed in range(seeds):
        report(seed / seeds, f"Drawing weights, seed {seed}")
        model = zoo.initialised(network, seed, profile.image).to(best_device())
        part = partial(_part, report, seed / seeds, 1 / seeds, f"Seed {seed}")
        with frozen(model), _statistics_of_the_batch(model):
            sums.measure(model, images, seed, part)
    return sums.fields()


def trained_fields(
    trained: Trained,
    profile: FieldProfile,
    operators: Sequence[int],
    images: Tensor,
    *,
    units: Sequence[Pair] | None = None,
    report: Report = lambda fraction, text: None,
) -> list[EffectiveField]:
    """The effective fields of a trained network, in eval mode; the rest as for `initial_fields`."""
    sums = _Sums(profile, operators, units)
    with trained.model.borrow() as model:
        sums.measure(model, images, 0, report)
    return sums.fields()


def effective_table(profile: FieldProfile, fields: Sequence[EffectiveField]) -> pd.DataFrame:
    """A row a field: name, stage, depth; theoretical, its size; effective, the width that holds 95% of the gradient;
    gaussian, the width of four deviations of the fitted Gaussian, and explained, its R squared; sides of squares in
    pixels, the geometric mean of height and width; ratio, effective over theoretical; whole, whether the image cuts
    nothing off; averaged and left_out, gradients."""
    rows_of = profile.table.set_index("operator")[["stage", "depth"]].to_dict("index")
    rows = []
    for field in fields:
        fits = [fit for fit in field.gaussians if fit is not None]
        rows.append(
            {
                "name": field.name,
                **rows_of[field.operator],
                "theoretical": math.sqrt(math.prod(field.theoretical)),
                "effective": math.sqrt(math.prod(field.widths)),
                "gaussian": math.sqrt(math.prod(fit.width for fit in fits)) if len(fits) == 2 else math.nan,
                "explained": min((fit.explained for fit in fits), default=math.nan),
                "ratio": field.ratio,
                "whole": field.whole,
                "averaged": field.averaged,
                "left_out": field.left_out,
            }
        )
    return pd.DataFrame(rows)


def _part(report: Report, begin: float, share: float, about: str, fraction: float, text: str) -> None:
    report(begin + share * fraction, f"{about}: {text}")


class _Sums:
    """The gradients of one unit behind each of some operators, added up over passes."""

    def __init__(self, profile: FieldProfile, operators: Sequence[int], units: Sequence[Pair] | None) -> None:
        self._profile = profile
        chosen: Sequence[Pair | None] = units or [None] * len(operators)
        self._units = {
            operator: _unit(profile, operator, unit) for operator, unit in zip(operators, chosen, strict=True)
        }
        self._maps = {operator: np.zeros(profile.image) for operator in operators}
        self._counts = dict.fromkeys(operators, 0)
        self._left_out = dict.fromkeys(operators, 0)

    def measure(self, model: nn.Module, images: Tensor, seed: int, report: Report) -> None:
        """Add the gradients of a batch, in as many passes as memory asks for."""
        for operator in self._units:
            if operator not in self._profile.places:
                raise NotMeasured(
                    f"{self._profile.graph[operator].name} is no module of its own, so nothing can be measured behind "
                    "it; choose the layer before it or behind it."
                )
        wanted = {self._profile.places[operator]: operator for operator in self._units}
        generators = {operator: _generator(seed, operator) for operator in self._units}
        device = next(model.parameters()).device
        batches = torch.split(images, self._at_once())
        for number, batch in enumerate(batches):
            part = partial(_part, report, number / len(batches), 1 / len(batches), f"images {number + 1}")
            self._pass(model, batch.to(device, torch.float32), wanted, generators, part)

    def _pass(
        self,
        model: nn.Module,
        images: Tensor,
        wanted: Mapping[Place, int],
        generators: Mapping[int, torch.Generator],
        report: Report,
    ) -> None:
        images = images.detach().requires_grad_()
        report(0.0, "forward")
        answers = _answers(model, images, wanted, self._profile, self._units, generators)
        for number, (operator, answer) in enumerate(answers.items(), 1):
            report(number / (len(answers) + 1), self._profile.graph[operator].name)
            (gradients,) = torch.autograd.grad(answer, images, retain_graph=True)
            masses = gradients.abs().sum(1, dtype=torch.float64)
            totals = masses.sum((1, 2), keepdim=True)
            sound = (totals.isfinite() & (totals > 0)).flatten()
            self._maps[operator] += (masses[sound] / totals[sound]).sum(0).cpu().numpy()
            self._counts[operator] += int(sound.sum())
            self._left_out[operator] += int((~sound).sum())

    def fields(self) -> list[EffectiveField]:
        """The means; an operator without any has none."""
        if not any(self._counts.values()):
            names = ", ".join(self._profile.graph[operator].name for operator in self._counts)
            raise NotMeasured(
                f"Every gradient of {names} is 0 or not finite with these weights, so there is no effective field; "
                "take another layer, a larger image, or more images or seeds."
            )
        return [
            EffectiveField(
                operator,
                self._profile.graph[operator].name,
                unit,
                (self._maps[operator] / count).astype(np.float32),
                count,
                self._left_out[operator],
                _field(self._profile, operator),
            )
            for operator, unit in self._units.items()
            if (count := self._counts[operator])
        ]

    def _at_once(self) -> int:
        """Images in one pass, by what their activations take."""
        numbers = sum(given.elements for operator in self._profile.graph for given in operator.gives)
        return max(1, int(_ROOM / (2 * BYTES * numbers)))


def _field(profile: FieldProfile, operator: int) -> Field:
    field = profile.fields[operator]
    if field is None:
        raise NotMeasured(f"{profile.graph[operator].name} has no local receptive field; choose a layer that has one.")
    return field


def _unit(profile: FieldProfile, operator: int, unit: Pair | None) -> Pair:
    rows, columns = units_of(profile.graph[operator], _field(profile, operator))
    row, column = unit or (rows // 2, columns // 2)
    if not (0 <= row < rows and 0 <= column < columns):
        raise NotMeasured(
            f"unit (={row}, {column}) must lie in the {rows}x{columns} map of {profile.graph[operator].name}, "
            "rows and columns from 0."
        )
    return row, column


def _generator(seed: int, operator: int) -> torch.Generator:
    """Random signs for one operator, whichever others are measured beside it."""
    return torch.Generator().manual_seed(seed * 1_000_003 + operator)


class _AllSeen(Exception):  # noqa: N818 - no error: the rest of the network has nothing to tell
    """Every unit that is wanted has been caught."""


def _answers(
    model: nn.Module,
    images: Tensor,
    wanted: Mapping[Place, int],
    profile: FieldProfile,
    units: Mapping[int, Pair],
    generators: Mapping[int, torch.Generator],
) -> dict[int, Tensor]:
    """By operator: its unit's channels, mixed with random signs and added up over the images."""
    answers: dict[int, Tensor] = {}
    calls: Counter[str] = Counter()

    def watch(module: str, output: object) -> None:
        operator = wanted.get(Place(module, calls[module]))
        calls[module] += 1
        if operator is None:
            return
        field = _field(profile, operator)
        shape = profile.graph[operator].gives[0].shape
        assert isinstance(output, Tensor)
        assert output.shape[1:] == shape[1:], module
        row, column = units[operator]
        channels = output.movedim((field.height.place, field.width.place), (-2, -1))[..., row, column]
        signs = torch.randint(0, 2, channels.shape, generator=generators[operator]).to(channels) * 2 - 1
        answers[operator] = (channels * signs).sum()
        if len(answers) == len(wanted):
            raise _AllSeen

    modules = dict(model.named_modules())
    names = {place.module for place in wanted}
    with watching((modules[name], partial(watch, name)) for name in names):
        try:
            model(images)
        except _AllSeen:
            return answers
    raise NotMeasured("The network did not call all of these layers.")


@contextmanager
def _statistics_of_the_batch(model: nn.Module) -> Iterator[None]:
    """In eval mode each batch norm uses mean and variance of what it gets, as constants; the model is a private one."""

    def take(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        taken = inputs[0].detach()
        variance, mean = torch.var_mean(taken, [axis for axis in range(taken.ndim) if axis != 1], correction=0)
        norm.running_mean, norm.running_var = mean, variance

    hooks = [
        module.register_forward_pre_hook(take)
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
