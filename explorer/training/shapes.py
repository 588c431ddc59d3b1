"""Ten drawn shapes, 32 px a side in colour: ours, endless, and the same bytes on every machine.

Everything is drawn with whole numbers, and chance is the raw stream of NumPy's PCG64, which NumPy promises not to
change; so neither a processor's rounding nor a version of a library can alter a pixel.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 32
CLASSES = ("circle", "ring", "half circle", "crescent", "triangle", "square", "frame", "bar", "cross", "star")

_SUB = 3  # points a side that are looked at in each pixel, so that edges are smooth
_UNIT = 2 * _SUB  # lengths are counted in sixths of a pixel: points lie at odd ones
_ONE = 64  # the cosine of 0
_TURNS = 64  # directions that a shape may have
_RADII = (6, 12)  # pixels, from the centre to the farthest point of the shape
_CONTRAST = (96, 160)  # levels between shape and ground in each channel
_NOISE = 20  # levels, upward and downward
_CHUNK = 100  # pictures drawn at once: what they take stays in the processor's cache

_Whole = NDArray[np.int32]

_COSINES: _Whole = np.rint(_ONE * np.cos(np.arange(_TURNS) * (2 * np.pi / _TURNS))).astype(np.int32)
_SINES: _Whole = np.roll(_COSINES, _TURNS // 4)
# Outward normals of the five long lines that a star is made of; each joins two of its points that are not neighbours.
_STAR = np.rint(_ONE * np.stack([np.cos(np.arange(5) * (2 * np.pi / 5)), np.sin(np.arange(5) * (2 * np.pi / 5))], 1))
_STAR_LINES = [(int(x), int(y)) for x, y in _STAR]


def draw(count: int, seed: int, report: Callable[[float, str], None]) -> tuple[Tensor, Tensor]:
    """So many pictures, uint8 (count, 3, 32, 32), and their classes, int64 (count,): 0, 1, ... 9, 0, 1, ...

    Place, size, direction and colours are drawn for each picture, and a ground of stripes or none; noise lies over all.

    >>> pictures, labels = draw(12, 0, lambda fraction, text: None)
    >>> tuple(pictures.shape), labels.tolist()
    ((12, 3, 32, 32), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    """
    labels = np.arange(count) % len(CLASSES)
    pictures = np.empty((count, 3, SIDE, SIDE), np.uint8)
    chance = np.random.PCG64(seed)
    for start in range(0, count, _CHUNK):
        report(start / count, f"Drawing shape {start + 1:,} of {count:,}")
        some = slice(start, start + _CHUNK)
        pictures[some] = _drawn(labels[some], chance)
    return torch.from_numpy(pictures), torch.from_numpy(labels.astype(np.int64))


def _drawn(labels: NDArray[np.intp], chance: np.random.PCG64) -> NDArray[np.uint8]:
    """The pictures of these classes, (n, 3, 32, 32)."""
    count = len(labels)

    def drawn(low: int, high: int, *shape: int) -> _Whole:
        """Whole numbers from low to high, both included, for each picture."""
        raw = chance.random_raw(count * math.prod(shape)) >> np.uint64(32)
        return low + (raw % np.uint64(high - low + 1)).astype(np.int32).reshape(count, *shape)

    radius = drawn(_RADII[0] * _UNIT, _RADII[1] * _UNIT, 1, 1)
    free = SIDE * _UNIT - 2 * radius  # the shape lies inside the picture
    left, top = (radius + drawn(0, 2**20, 1, 1) % (free + 1) for _ in range(2))
    turn = drawn(0, _TURNS - 1, 1, 1)
    points = np.arange(1, SIDE * _UNIT, 2, dtype=np.int32)
    x, y = points[None, None, :] - left, points[None, :, None] - top
    cosine, sine = _COSINES[turn], _SINES[turn]
    u, v, r = x * cosine + y * sine, y * cosine - x * sine, radius * _ONE
    inside = np.empty((count, SIDE * _SUB, SIDE * _SUB), bool)
    for label in range(len(CLASSES)):
        own = labels == label
        inside[own] = _inside(CLASSES[label], u[own], v[own], r[own])
    covered = inside.reshape(count, SIDE, _SUB, SIDE, _SUB).sum((2, 4), dtype=np.int32)[:, None]  # 0 to 9

    ground = drawn(0, 255, 3, 1, 1)
    shape = (ground + drawn(*_CONTRAST, 3, 1, 1)) % 256  # past 255 it comes up from 0, as far away on the other side
    across, down, phase = drawn(-8, 8, 1, 1, 1), drawn(-8, 8, 1, 1, 1), drawn(0, 63, 1, 1, 1)
    pixels = np.arange(SIDE, dtype=np.int32)
    wave = (across * pixels[None, None, None, :] + down * pixels[None, None, :, None] + phase) & 63
    ground = ground + drawn(0, 2, 3, 1, 1) * (abs(wave - 32) - 16)
    colours = (shape * covered + ground * (_SUB**2 - covered)) // _SUB**2
    noise = chance.random_raw(count * 3 * SIDE * SIDE // 8).astype("<u8").view(np.uint8).reshape(colours.shape)
    colours += noise.astype(np.int32) * (2 * _NOISE + 1) // 256 - _NOISE
    return np.clip(colours, 0, 255).astype(np.uint8)


def _inside(name: str, u: _Whole, v: _Whole, r: _Whole) -> NDArray[np.bool_]:
    """Which points lie in shapes of radius r about 0, (n, height, width); u and v run along the shapes' own axes."""
    match name:
        case "circle":
            return u * u + v * v <= r * r
        case "ring":
            return _between(u * u + v * v, (r * 5 // 8) ** 2, r * r)
        case "half circle":
            v = v + r // 3  # its middle lies behind the centre
            return (u * u + v * v <= r * r) & (v >= 0)
        case "crescent":
            bite = u - r // 2
            return (u * u + v * v <= r * r) & (bite * bite + v * v > (r * 3 // 4) ** 2)
        case "triangle":
            return (2 * v >= -r) & (56 * v + 97 * abs(u) <= 56 * r)  # 97 / 56 is the root of 3
        case "square":
            return np.maximum(abs(u), abs(v)) <= r * 5 // 7  # 7 / 5 is about the root of 2
        case "frame":
            return _between(np.maximum(abs(u), abs(v)), r * 3 // 7, r * 5 // 7)
        case "bar":
            return (abs(u) <= r) & (abs(v) <= r // 4)
        case "cross":
            u, v = abs(u), abs(v)
            return (np.maximum(u, v) <= r) & (np.minimum(u, v) <= r // 4)
        case _:  # a point of the star lies beyond at most one of its five lines
            beyond = sum((a * u + b * v > r * 20).astype(np.int8) for a, b in _STAR_LINES)  # 20 / 64: the cosine of 72
            return np.asarray(beyond <= 1)


def _between(values: _Whole, low: _Whole, high: _Whole) -> NDArray[np.bool_]:
    return (low <= values) & (values <= high)
