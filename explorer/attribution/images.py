"""Pictures from strangers: the bytes of an upload go in, an upright RGB picture and what was done to it come out.

A picture is judged by what its header claims before one pixel is decoded, because a file of a few hundred bytes can
claim gigabytes. No state of Pillow is changed, so threads may read at the same time.
"""

from __future__ import annotations

import io
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, features
from PIL.TiffImagePlugin import TiffImageFile

from explorer.attribution.avif import decoded
from explorer.errors import Refusal

_AVIF = features.check("avif")  # Pillow's wheels read it, but for Windows on ARM
# Pillow's names; several pictures in one JPEG pass as JPEG
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if _AVIF else ()))
MAX_BYTES = 20_000_000  # of the file
MAX_PIXELS = 40_000_000  # that the header may claim
MAX_ASPECT = 20  # longer side / shorter side: resizing the shorter side of a 1 x 10000 picture to 256 takes 2.6 GB
MAX_SIDE = 2048  # of the picture handed on; a bigger one is reduced
MAX_SCANS = 100  # passes over a progressive JPEG: usual are 10, each extra costs 45 bytes of file and 30 ms of decoding
MAX_PAGES = 1000  # of a TIFF that are counted: Pillow's time for all grows with their square

_ACCEPTED = f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"
_SCAN_MARKERS = (b"\xff\xda\0\x08\1", b"\xff\xda\0\x0a\2", b"\xff\xda\0\x0c\3", b"\xff\xda\0\x0e\4")  # 1..4 components
_HEIC = (
    "a HEIC photo, which is not read here: share it as JPEG, or let an iPhone take JPEG (Settings, Camera, Formats, "
    "Most Compatible)"
)
_OTHER_KINDS = {
    b"<svg": "an SVG drawing",
    b"%PDF": "a PDF document",
    b"PK\3\4": "a zip archive",
    **dict.fromkeys((b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), _HEIC),
    **({} if _AVIF else {b"ftypavif": "an AVIF picture"}),
}
_BITS, _PHOTOMETRIC, _TILE_SIDES = 258, 262, (322, 323)  # TIFF tags
_WHITE_IS_ZERO = 0  # a value of _PHOTOMETRIC
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation; ImageOps.exif_transpose also writes the EXIF anew and fails where a tag has an odd type


class ImageError(Refusal):
    """A picture that cannot be used; the message is a sentence for the person who gave it."""


@dataclass(frozen=True, eq=False)  # itself alone is equal: what was asked of it is a key in memories
class Picture:
    """A picture that is safe to use, and what the person should know about how it was read."""

    image: Image.Image  # mode "RGB", upright, without metadata, longer side <= MAX_SIDE
    name: str
    notes: tuple[str, ...]  # one sentence each: "Frame 1 of 12 is used."


def read_image(data: bytes, name: str = "picture") -> Picture:
    r"""Read an uploaded picture, or raise an `ImageError` that says what is wrong with it and what would be right.

    Of several frames the first is used, transparent parts become white, values deeper than 8 bits are scaled to them.

    >>> dot = b"GIF89a\1\0\1\0\x80\0\0\xff\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    >>> read_image(dot, "dot.gif").image.getpixel((0, 0))
    (255, 0, 0)
    """
    notes: list[str] = []
    try:
        file = _open(data)
        _check_header(file, data)
        image = _decode(file, data, notes)
        turn = _turn(file, notes)
        image = _eight_bit(image, notes)
        image = _on_white(image, notes)
    except ImageError as problem:
        raise ImageError(f'"{name}" {problem}') from problem.__cause__
    except MemoryError as problem:
        raise ImageError(f'"{name}" takes more memory than is free here now; make it smaller.') from problem
    except Exception as problem:  # Pillow's decoders raise nearly every type there is on bytes that lie
        wrong = f"could not be decoded, so its {len(data):,} bytes are probably damaged or cut off"
        raise ImageError(f'"{name}" {wrong}; save or download it anew.') from problem
    return Picture(image if turn is None else image.transpose(turn), name, tuple(notes))


def _open(data: bytes) -> Image.Image:
    """Read the header, and only that."""
    if not data:
        raise ImageError(f"is empty (0 bytes); give {_ACCEPTED}.")
    if len(data) > MAX_BYTES:
        raise ImageError(f"has {len(data):,} bytes; give a picture of at most {MAX_BYTES:,}.")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        claimed = re.search(r"\d+", str(bomb))  # Pillow's exception has the number of pixels only in its text
        raise _too_many_pixels(int(claimed[0]) if claimed else MAX_PIXELS) from bomb
    except Exception as problem:  # as in read_image: an OSError by the book, in fact anything
        head = data[:1024]
        kinds = [kind for mark, kind in _OTHER_KINDS.items() if mark in head]
        if head.isascii() and b"\0" not in head:
            kinds.append("a text file")
        wrong = f"is {kinds[0]}" if kinds else f"has {len(data):,} bytes that are of another format or damaged"
        raise ImageError(f"{wrong}; give {_ACCEPTED}.") from problem


def _too_many_pixels(pixels: int) -> ImageError:
    return ImageError(f"claims to have {pixels:,} pixels; give a picture of at most {MAX_PIXELS:,}.")


def _check_header(image: Image.Image, data: bytes) -> None:
    """Refuse what would take too much memory or time to decode."""
    width, height = image.size
    shorter, longer = sorted(image.size)
    if longer > MAX_ASPECT * shorter:
        limit = f"crop it so that one side is at most {MAX_ASPECT} times the other"
        raise ImageError(f"is {width} x {height} pixels; {limit}.")
    pixels = max(width * height, _tile_pixels(image, data) if isinstance(image, TiffImageFile) else 0)
    if pixels > MAX_PIXELS:
        raise _too_many_pixels(pixels)
    scans = sum(map(data.count, _SCAN_MARKERS)) if image.format in {"JPEG", "MPO"} else 0
    if scans > MAX_SCANS:
        raise ImageError(f"is a JPEG of {scans:,} scans; save it anew with at most {MAX_SCANS}.")


def _tile_pixels(image: TiffImageFile, data: bytes) -> int:
    """Count the pixels of a TIFF's tile: a whole one is decoded, however little of it lies inside the picture."""
    order = "<" if data.startswith(b"II") else ">"
    version, start = struct.unpack_from(order + "HI", data, 2)
    if version != 42:
        raise ImageError(f"is a TIFF of version {version} (43 is BigTIFF); save it as version 42, the ordinary one.")
    (count,) = struct.unpack_from(order + "H", data, start)
    written = struct.unpack_from(order + "H10x" * count, data, start + 2)
    sides: list[Any] = [image.tag_v2.get(tag) for tag in _TILE_SIDES if tag in written]
    if not all(isinstance(side, int) for side in sides):  # libtiff reads types of number that Pillow leaves out
        raise ImageError("has a tile of unknown size; save it anew without tiles.")
    return math.prod(sides)


def _decode(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """Load the pixels of the first frame, those of a big JPEG at a fraction of its size."""
    frames = _frames(image)
    if frames != "1":
        notes.append(f"Frame 1 of {frames} is used.")
    longer = max(image.size)
    if longer > MAX_SIDE:
        notes.append(f"It is reduced from {longer:,} to {MAX_SIDE:,} pixels on its longer side.")
        image.draft(None, (image.width * MAX_SIDE // longer, image.height * MAX_SIDE // longer))
    if image.format == "AVIF":
        return decoded(data, MAX_SIDE)
    image.load()
    return image


def _frames(image: Image.Image) -> str:
    if isinstance(image, TiffImageFile):
        page = 0
        try:
            for page in range(1, MAX_PAGES + 1):
                image.seek(page)
            return f"more than {MAX_PAGES:,}"
        except EOFError:
            return f"{page:,}"
        finally:
            image.seek(0)
    return f"{getattr(image, 'n_frames', 1):,}"


def _turn(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """Find the turn that makes a decoded picture upright; a TIFF has had it in Pillow."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are good, and so is the picture
        notes.append("Its EXIF data cannot be read, so it may not be upright.")
        return None


def _eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    """Scale 16-bit grey by its full range, 32-bit values from their finite minimum..maximum, to 0..255."""
    if image.mode.startswith("I;16"):
        return _eight_of_sixteen(image)
    if image.mode not in {"I", "F"}:
        return image
    values = np.array(image, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError(f"has no finite value in its {values.size:,} pixels; give one that has.")
    low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    span = f"Its values from {low:g} to {high:g} are shown from black to white."
    notes.append(span if high > low else f"Its values are all {low:g} and are shown as black.")
    if not finite.all():
        notes.append(f"Pixels that are not finite ({np.count_nonzero(~finite):,}) are painted as the minimum.")
        values[~finite] = low
    values -= low
    values *= 255 / (high - low) if high > low else 0
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _eight_of_sixteen(image: Image.Image) -> Image.Image:
    values = np.array(image, dtype=np.uint32)
    hidden = image.info.get("transparency")  # the one value that a PNG may declare transparent
    alpha = None if hidden is None else Image.fromarray((values != hidden) * np.uint8(255))
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    top = 2 ** tags.get(_BITS, (16,))[0] - 1  # a TIFF may have 12 bits
    values *= 255  # in place, as 40 megapixels take 160 MB here
    values += top // 2
    values //= top
    grey = Image.fromarray(values.astype(np.uint8))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = ImageOps.invert(grey)
    if alpha is not None:
        grey.putalpha(alpha)
    return grey


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert to RGB of at most MAX_SIDE, laid on white, and leave the metadata behind."""
    if image.mode == "CMYK":
        notes.append("Its CMYK colours are converted to RGB without a profile, so they are approximate.")
    if image.mode == "La":
        image = image.convert("LA")  # the only way that Pillow has from there
    mode = "RGBA" if image.has_transparency_data else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    alpha = image.getchannel("A") if mode == "RGBA" else None
    if alpha is not None and alpha.getextrema() != (255, 255):
        notes.append("Its transparent parts are shown on white.")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=alpha)
    return canvas
