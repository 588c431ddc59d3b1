"""An attribution as a picture: its numbers in colours over what the network saw, which is grey."""

import io
from dataclasses import dataclass, replace
from typing import Literal
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from plotly.colors import get_colorscale, hex_to_rgb

from explorer.attribution import METHODS, Attribution
from explorer.attribution.subject import segments
from explorer.figures.theme import SIGNED_SCALE

Colours = Literal["signed", "PRGn", "Viridis", "Inferno", "Greys"]
COLOURS: dict[Colours, str] = {  # all can be told apart with any colour vision
    "signed": "Blue and orange",
    "PRGn": "Purple and green",
    "Viridis": "Viridis",
    "Inferno": "Inferno",
    "Greys": "Grey",
}
CHANNELS = ("red", "green", "blue")

_TWO_SIDED = ("signed", "PRGn")  # what is near 0 lets the picture through
_WIDTH = 448  # pixels, of a colour bar that can be read

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """How a map is drawn; it changes none of its numbers.

    Attributes:
        strength: opacity, 0 to 1.
        absolute: sizes instead of signed numbers.
        colours: a scale. Of a two-sided one the upper half stands for sizes.
        percentile: of the sizes, where the scale ends: one pixel shall not set it.
        channel: 0 to 2, one channel of the picture alone; None: all together. A map without channels is drawn whole.
        parts: superpixels, about how many, whose mean is drawn; 0: every pixel by itself.
    """

    strength: float = 0.8
    absolute: bool = False
    colours: Colours = "signed"
    percentile: float = 99.5
    channel: int | None = None
    parts: int = 0


def usual(attribution: Attribution) -> Look:
    """The look that suits its method: signed numbers where the sign says something, else sizes."""
    return Look(absolute=not attribution.signed)


def numbers(attribution: Attribution, look: Look) -> Numbers:
    """What is drawn: (rows, columns) of the map as it is, or of the picture where superpixels are drawn.

    Channels are added up. Sizes are those of the sum, but where a method's sign says nothing, of the largest channel
    (as Simonyan et al. 2013, arXiv 1312.6034, section 3.1).
    """
    channels = attribution.channels.astype(np.float64)
    if look.channel is not None and look.channel < len(channels):
        channels = channels[look.channel : look.channel + 1]
    if look.absolute:
        found = np.abs(channels.sum(0)) if attribution.signed else np.abs(channels).max(0)
    else:
        found = channels.sum(0)
    return found if look.parts == 0 else _by_parts(found, attribution.picture, look.parts)


def _by_parts(values: Numbers, picture: Image.Image, count: int) -> Numbers:
    """Each superpixel's mean in all of its pixels."""
    parts = _superpixels(picture, count)
    fine = _resized(values, picture.size, Image.Resampling.NEAREST)
    means: Numbers = np.bincount(parts.ravel(), fine.ravel()) / np.bincount(parts.ravel())
    return means[parts]


def _superpixels(picture: Image.Image, count: int) -> NDArray[np.int64]:
    """The part that each pixel is in; kept as long as the picture is, and no longer: it may be a person's own."""
    if id(picture) not in _PARTS:
        _PARTS[id(picture)] = {}
        finalize(picture, _PARTS.pop, id(picture), None)
    known = _PARTS[id(picture)]
    if count not in known:
        known[count] = segments(picture, "superpixels", count).numpy()
    return known[count]


_PARTS: dict[int, dict[int, NDArray[np.int64]]] = {}  # by the identity of a picture, and how many parts


def end_of(values: Numbers, percentile: float) -> float:
    """Where the scale ends: at a percentile of the sizes, or at the largest where nearly all are 0.

    >>> end_of(np.array([[-4.0, 0.0, 1.0]]), 50), end_of(np.array([[0.0, 0.0, -3.0]]), 50), end_of(np.zeros((1, 1)), 50)
    (1.0, 3.0, 1.0)
    """
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 1.0
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def unit_of(attribution: Attribution, look: Look) -> str:
    """What one number of the map is, for a colour bar: its unit, and how many there are."""
    inner = attribution.settings.get("of")  # the method whose maps are averaged
    unit = METHODS[attribution.method if inner is None else inner].unit
    score = "logits" if attribution.against is None else "difference of logits"
    if unit == "none":
        unit = "no unit"
    elif unit.startswith("score"):
        unit = score + unit.removeprefix("score")
    if attribution.settings.get("taken", "smoothgrad") != "smoothgrad":
        unit = f"({unit}) squared"
    rows, columns = attribution.channels.shape[1:]
    kind = "pixels" if (columns, rows) == attribution.picture.size else "cells"
    grain = f"{rows} x {columns} {kind}" if look.parts == 0 else "means of superpixels"
    if look.channel is not None and look.channel < len(attribution.channels) > 1:
        grain += f", {CHANNELS[look.channel]} alone"
    return f"{unit} · {grain}"


Colour = tuple[float, float, float, float]  # red, green and blue from 0 to 255, opacity from 0 to 1


def scale(look: Look) -> list[tuple[float, Colour]]:
    """The colours of a look at places from 0 to 1; between them they change evenly.

    0 is the lower end: of signed numbers as far below 0 as the upper end is above it; of sizes it is 0.
    """
    if look.colours == "signed":
        stops = [(float(str(place)), _colour(str(colour))) for place, colour in SIGNED_SCALE]
    else:
        known = get_colorscale("Greys_r" if look.colours == "Greys" else look.colours)  # light is large, as in the rest
        stops = [(place, _colour(colour)) for place, colour in known]
    if look.colours == "PRGn":  # as opaque as blue and orange
        opacities = np.interp([abs(2 * place - 1) for place, _ in stops], (0, 0.5, 1), (0, 0.65, 1)).tolist()
        stops = [(place, (r, g, b, a)) for (place, (r, g, b, _)), a in zip(stops, opacities, strict=True)]
    if look.absolute and look.colours in _TWO_SIDED:
        return [(2 * place - 1, colour) for place, colour in stops if place >= 0.5]
    return stops


def _colour(text: str) -> Colour:
    """From "#0072B2", "rgb(0, 114, 178)" or "rgba(0, 114, 178, 1)"."""
    given = hex_to_rgb(text) if text.startswith("#") else text[text.index("(") + 1 : -1].split(",")
    red, green, blue, opacity = (*map(float, given), 1.0)[:4]
    return red, green, blue, opacity


def overlay(attribution: Attribution, look: Look, end: float | None = None, times: int = 1) -> Image.Image:
    """The map over the picture in grey, as large as what the network saw; RGB.

    Args:
        end: of the scale, to draw several maps alike; None: the map's own.
        times: larger so many times, each pixel of the picture a square.
    """
    return painted(numbers(attribution, look), attribution.picture, look, end, times)


def painted(values: Numbers, picture: Image.Image, look: Look, end: float | None = None, times: int = 1) -> Image.Image:
    """Any numbers over a picture in grey; RGB.

    A map that is coarser than the picture is interpolated for the eye. What is no number is left out.

    Args:
        values: (rows, columns), signed or sizes as the look says; its channel and parts play no part here.
        end, times: as of `overlay`.
    """
    size = picture.width * times, picture.height * times
    fine = values.shape == (picture.height, picture.width)
    drawn = _resized(values, size, Image.Resampling.NEAREST if fine else Image.Resampling.BILINEAR)
    over = _coloured(drawn / (end_of(values, look.percentile) if end is None else end), look)
    grey = np.asarray(ImageOps.grayscale(picture.convert("RGB")).resize(size, Image.Resampling.NEAREST))
    return _mixed(over, grey[..., None])


def _resized(values: Numbers, size: tuple[int, int], how: Image.Resampling) -> Numbers:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, how), dtype=np.float64)


def _coloured(values: Numbers, look: Look) -> Numbers:
    """(rows, columns, 4) in colours of a look: 1 is the scale's end, -1 or 0 its beginning."""
    places = values if look.absolute else (1 + values) / 2
    at, colours = zip(*scale(look), strict=True)
    over = np.stack([np.interp(places, at, channel) for channel in zip(*colours, strict=True)], axis=-1)
    over[..., 3] *= look.strength
    over[~np.isfinite(values)] = 0
    return over


def _mixed(over: Numbers, below: Numbers | NDArray[np.uint8] | float) -> Image.Image:
    opacity = over[..., 3:]
    return Image.fromarray(np.round(opacity * over[..., :3] + (1 - opacity) * below).astype(np.uint8))


def bar(look: Look, end: float, unit: str, width: int = _WIDTH) -> Image.Image:
    """The colour bar of a scale: its colours at full strength on white, the numbers at its ends and at 0, and the unit;
    RGB.
    """
    line, edge = width // 18, width // 11  # of text; beside the colours
    low = 0.0 if look.absolute else -1.0
    strip = _coloured(np.tile(np.linspace(low, 1, width - 2 * edge), (line // 2, 1)), replace(look, strength=1.0))
    drawn = Image.new("RGB", (width, 3 * line), "white")
    drawn.paste(_mixed(strip, 255.0), (edge, line // 4))
    pen = ImageDraw.Draw(drawn)
    for place in (0.0, 1.0) if look.absolute else (-1.0, 0.0, 1.0):
        x = edge + (place - low) / (1 - low) * (width - 2 * edge)
        _write(pen, (x, 1.35 * line), f"{place * end:.3g}", 2 * edge)
    _write(pen, (width / 2, 2.35 * line), unit, width)
    return drawn


def _write(pen: ImageDraw.ImageDraw, middle: tuple[float, float], text: str, room: float) -> None:
    """In one line of at most so many pixels."""
    size = pen.im.size[0] / 28
    size = min(size, size * 0.95 * room / pen.textlength(text, ImageFont.load_default(size)))
    pen.text(middle, text, "black", ImageFont.load_default(size), anchor="mm")


def sheet(attribution: Attribution, look: Look, end: float | None = None, times: int | None = None) -> Image.Image:
    """The overlay, larger so many times, with the colour bar under it.

    Args:
        end: as of `overlay`.
        times: None is four, or more where the picture is small.
    """
    values = numbers(attribution, look)
    end = end_of(values, look.percentile) if end is None else end
    above = painted(values, attribution.picture, look, end, times or max(4, -(-_WIDTH // attribution.picture.width)))
    below = bar(look, end, unit_of(attribution, look), max(_WIDTH, above.width))
    drawn = Image.new("RGB", (below.width, above.height + below.height), "white")
    drawn.paste(above, ((below.width - above.width) // 2, 0))
    drawn.paste(below, (0, above.height))
    return drawn


def png(image: Image.Image) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
