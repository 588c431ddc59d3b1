"""Pictures that differ from one in a small square alone: what does not see the square is not computed again.

A unit of a convolutional layer sees a window of the picture. So the first layers run on a patch around the square, what
comes out is put into the maps of the whole picture, and the rest of the network goes on from there (Nakandala, Kumar &
Papakonstantinou 2019, Incremental and Approximate Inference for Faster Occlusion-based Deep CNN Explanations, do so at
every layer). The score is the same but for the order of sums.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from explorer.attribution.methods.parting import Rest, gates, until
from explorer.attribution.subject import macs_of
from explorer.models.observe import watching

_WORTH = 0.05  # of the cost of a pass: what must be spared
_MOVED = 50  # multiply-accumulates that take about as long as it takes to write and read a number

_CLOSE = 1e-3  # of what a square changes: what another order of sums may make of it
_ROUNDING = 1e-7  # of the largest logit
_TOLD = 1e-5  # of the largest logit: where less is changed, nothing can be told

Span = tuple[int, int]  # along one axis: the first, and the one behind the last
Square = tuple[Span, Span]  # along rows and columns


@dataclass(frozen=True)
class Sight:
    """How far the units of a map see, along one axis of the picture.

    Attributes:
        stride: the pixels from one unit to the next; those of one unit are its cell.
        units: how many there are, one behind the other.
        back, ahead: how many cells they see before their own, and behind it.
    """

    stride: int
    units: int
    back: int
    ahead: int

    def changed(self, pixels: Span) -> Span:
        """The units that see some of these pixels.

        >>> Sight(stride=2, units=8, back=1, ahead=1).changed((6, 9))
        (2, 6)
        """
        first, behind = pixels[0] // self.stride, math.ceil(pixels[1] / self.stride)
        return max(0, first - self.ahead), min(self.units, behind + self.back)

    def patch(self, pixels: Span) -> Span:
        """The cells that those units see, as far as there are any: beyond a patch of them nothing is missed.

        >>> Sight(stride=2, units=8, back=1, ahead=1).patch((6, 9))
        (1, 7)
        """
        first, behind = self.changed(pixels)
        return max(0, first - self.back), min(self.units, behind + self.ahead)

    def size(self, spans: Iterable[Span]) -> int:
        """Cells that are enough for each of these."""
        return max(behind - first for first, behind in map(self.patch, spans))


@dataclass(frozen=True)
class Layer:
    """A module through which alone the network sees the picture, and that returns maps.

    Attributes:
        sights: along rows and columns.
        done, copied: the part of a pass's cost that lies before it, and that a copy of its map adds.
    """

    name: str
    sights: tuple[Sight, Sight]
    done: float
    copied: float

    def spared(self, size: tuple[int, int]) -> float:
        """The part of a pass's cost that patches of so many rows and columns of cells save."""
        rows, columns = self.sights
        return self.done * (1 - size[0] * size[1] / (rows.units * columns.units)) - self.copied


class Nearby(nn.Module):
    """The network, for images that differ from one in a small square each: (n, channels, h, w) to (n, classes).

    Others go through it as a whole, and so do all where that would spare nothing.

    Args:
        network: in eval mode; it is not copied, and its weights may not change while this is in use.
        x: the one, (1, channels, h, w).
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.network, self._x = network, x
        self._maps: dict[str, Tensor] = {}
        self._layers = _layers(network, x)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, classes)."""
        squares = list(_squares((images != self._x).any(1)))
        sizes = {
            sights: (sights[0].size(rows for rows, _ in squares), sights[1].size(columns for _, columns in squares))
            for sights in {layer.sights for layer in self._layers}
        }
        worth = [layer for layer in self._layers if layer.spared(sizes[layer.sights]) > _WORTH]
        try:
            for layer in sorted(worth, key=lambda layer: -layer.spared(sizes[layer.sights])):
                if self._sound(layer):
                    return self._through(layer, images, squares)
        except _UnfitError:
            self._layers = []
        logits: Tensor = self.network(images)
        return logits

    def _through(self, layer: Layer, images: Tensor, squares: list[Square]) -> Tensor:
        """By patches as far as this layer, and on from there.

        Raises:
            _UnfitError: patches of this size do not go through.
        """
        if layer.name not in self._maps:
            self._maps[layer.name] = until(self.network, layer.name, self._x)
        spans = [tuple(zip(layer.sights, square, strict=True)) for square in squares]
        size = [sight.size(square[axis] for square in squares) for axis, sight in enumerate(layer.sights)]
        # All have one size: those at the picture's edge reach further into it
        starts = [
            [min(sight.patch(span)[0], sight.units - most) for (sight, span), most in zip(one, size, strict=True)]
            for one in spans
        ]
        patches = [
            image[:, *map(_cells, corner, size, (sight.stride for sight in layer.sights))]
            for image, corner in zip(images, starts, strict=True)
        ]
        try:
            found = until(self.network, layer.name, _last(torch.stack(patches)))
        except Exception as error:  # a network of others may fail in any way
            raise _UnfitError from error
        if list(found.shape[2:]) != size:
            raise _UnfitError
        maps = _last(self._maps[layer.name].repeat(len(images), 1, 1, 1))
        for whole, part, one, corner in zip(maps, found, spans, starts, strict=True):
            units = [sight.changed(span) for sight, span in one]
            whole[:, *(slice(*span) for span in units)] = part[
                :, *(slice(a - start, b - start) for (a, b), start in zip(units, corner, strict=True))
            ]
        logits: Tensor = Rest(self.network, layer.name, self._x)(maps)
        return logits

    def _sound(self, layer: Layer) -> bool:
        """Whether it comes to the same for each of a few squares.

        Raises:
            _UnfitError: these change too little to tell; with other weights they may.
        """
        known = _SOUND.setdefault(self.network, {})
        key = layer.name, self._x.shape
        if key not in known:
            squares = _tried(self._x.shape[2], self._x.shape[3])
            images = self._x.repeat(len(squares), 1, 1, 1)
            for image, ((top, bottom), (left, right)) in zip(images, squares, strict=True):
                image[:, top:bottom, left:right] += 1
            expected, picture = self.network(images), self.network(self._x)
            changed = (expected - picture).abs().amax(1)
            largest = expected.abs().max()
            if not changed.min() > _TOLD * largest:
                raise _UnfitError
            try:
                off = (self._through(layer, images, squares) - expected).abs().amax(1)
            except Exception:  # a network of others may fail in any way
                known[key] = False
            else:
                known[key] = bool((off <= _CLOSE * changed + _ROUNDING * largest).all())
        return known[key]


class _UnfitError(Exception):
    """The network is better run as a whole."""


# Whether it is depends on the structure alone, as do layers, so that weights may change meanwhile
_SOUND: WeakKeyDictionary[nn.Module, dict[tuple[str, torch.Size], bool]] = WeakKeyDictionary()
_LAYERS: WeakKeyDictionary[nn.Module, dict[torch.Size, list[Layer]]] = WeakKeyDictionary()


def _last(images: Tensor) -> Tensor:
    """With channels last in memory."""
    return images.contiguous(memory_format=torch.channels_last)


def _cells(start: int, count: int, stride: int) -> slice:
    """The pixels of so many cells."""
    return slice(start * stride, (start + count) * stride)


def _tried(height: int, width: int) -> list[Square]:
    """Two large squares in corners; small ones at places that are each by a pixel further from a multiple of four."""
    side, small = max(1, min(height, width) // 8), max(1, min(height, width) // 64)
    places = [(0, 0, side), (height - side, width - side, side)]
    places += [(height // 12 * 4 + step, width // 8 * 4 + step, small) for step in range(4)]
    return [((top, top + each), (left, left + each)) for top, left, each in places]


def _squares(changed: Tensor) -> Iterator[Square]:
    """Rows and columns of the smallest rectangle around what is changed, (n, h, w); of nothing the first pixel."""
    return zip(_spans(changed.any(2)), _spans(changed.any(1)), strict=True)


def _spans(there: Tensor) -> Iterator[Span]:
    """From the first to the last that is there, (n, length)."""
    first, after = there.int().argmax(1), there.flip(1).int().argmax(1)
    behind = torch.where(there.any(1), there.shape[1] - after, 1)
    return zip(first.tolist(), behind.tolist(), strict=True)


def _layers(network: nn.Module, x: Tensor) -> list[Layer]:
    """Those whose units see a part of the picture only."""
    known = _LAYERS.setdefault(network, {})
    if x.shape not in known:
        try:
            known[x.shape] = list(_measured(network, x))
        except Exception:  # a network of others may fail in any way
            known[x.shape] = []
    return known[x.shape]


def _measured(network: nn.Module, x: Tensor) -> Iterator[Layer]:
    """By a pass of a picture that is not a number from its middle on, and by one that is none up to there.

    What is not a number stays so on its way through each layer that takes it in.
    """
    height, width = x.shape[2:]
    low, high = x.clone(), x.clone()
    low[:, :, height // 2 :] = low[:, :, :, width // 2 :] = math.nan
    high[:, :, : height // 2] = high[:, :, :, : width // 2] = math.nan
    (first, cost), (second, _) = _numbers(network, low), _numbers(network, high)
    for name in gates(network, x):
        if name in first:
            one, other = first[name], second[name]
            rows, columns = map(_sight, (height, width), one.shape, one.numbers, other.numbers)
            if rows and columns:
                yield Layer(name, (rows, columns), one.cost / cost, 2 * _MOVED * one.size / cost)


def _sight(edge: int, units: int, low: int, high: int) -> Sight | None:
    """Of so many units along an edge; None if they see it whole, or do not divide it.

    Args:
        low, high: how many of them see nothing from the middle on, and nothing up to there.
    """
    stride = max(1, edge // units)
    middle = edge // 2 // stride
    if low == 0 or high == 0 or stride * units != edge or 2 * middle * stride != edge:
        return None
    return Sight(stride, units, units - middle - high, middle - low)


@dataclass(frozen=True)
class _Numbers:
    """A module's map of a picture that is a number in one quarter only.

    Attributes:
        shape: its rows and columns. numbers: how many of each hold any; they too are a rectangle.
        size: how many values. cost: of the pass up to there.
    """

    shape: tuple[int, int]
    numbers: tuple[int, int]
    size: int
    cost: float


def _numbers(network: nn.Module, picture: Tensor) -> tuple[dict[str, _Numbers], float]:
    """Of each module that returns a map; and the cost of the whole pass."""
    found: dict[str, _Numbers] = {}
    cost = 0.0

    def see(name: str, module: nn.Module, output: Any) -> None:
        nonlocal cost
        if not isinstance(output, Tensor):
            return
        if not any(True for _ in module.children()):
            cost += _MOVED * output.numel() + macs_of(module, output)
        if output.ndim == 4:
            there = ~output[0].isnan().any(0)
            rows, columns = int(there.any(1).sum()), int(there.any(0).sum())
            found[name] = _Numbers((there.shape[0], there.shape[1]), (rows, columns), output.numel(), cost)

    modules = [(module, partial(see, name, module)) for name, module in network.named_modules()]
    with torch.no_grad(), watching(modules):
        network(picture)
    return found, cost
