"""Pictures that strangers made, safe to decode, all to one size."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from explorer.training.datasets.dataset import MOST_BYTES, DataError, Report, counted

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # Pillow's names
MOST_PICTURE_BYTES = 20_000_000  # of one picture's file
MOST_PIXELS = 40_000_000  # that a picture's header may claim
MOST_ASPECT = 20  # longer side / shorter side
_MOST_SCANS = 100  # passes over a progressive JPEG, usual are 10
_MOST_WORK = 20_000_000_000  # pixels to decode in all pictures together, some minutes; a zip of 4 MB can ask for days
_SCAN_MARKERS = (b"\xff\xda\0\x08\1", b"\xff\xda\0\x0a\2", b"\xff\xda\0\x0c\3", b"\xff\xda\0\x0e\4")
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


Reader = Callable[[], bytes]


def decoded(readers: Sequence[Reader], side: int | None, report: Report) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures (n, channels, side, side), one channel where all are grey, and which of them could be read.

    Side None is the shorter one of the first picture.
    """
    good = np.zeros(len(readers), bool)
    pictures: NDArray[np.uint8] | None = None
    work = 0.0
    for number, read in enumerate(readers):
        report(number / len(readers), f"Reading picture {number + 1:,} of {len(readers):,}")
        if work > _MOST_WORK:
            raise DataError(
                f"The pictures have too many pixels together ({work / 1e9:,.0f} billion after {number:,} pictures); "
                f"make them smaller."
            )
        try:
            data = read()
            with _opened(data) as image:
                work += _work(image, data)
                square = _square(image, side or min(image.size))
        except Exception:  # Pillow's decoders and zip's raise nearly every type there is on bytes that lie
            continue
        side = square.shape[0]
        if len(readers) * 3 * side**2 > MOST_BYTES:
            raise DataError(
                f"{counted(len(readers), 'picture')} at {side} px would take {len(readers) * 3 * side**2 / 1e6:,.0f} "
                f"MB, and {MOST_BYTES / 1e6:,.0f} MB are the limit; give fewer or a smaller side."
            )
        if pictures is None:
            pictures = np.zeros((len(readers), 3, side, side), np.uint8)
        pictures[number] = square.transpose(2, 0, 1)
        good[number] = True
    if pictures is None:
        return np.zeros((len(readers), 3, 1, 1), np.uint8), good
    grey = all((some == some[:, :1]).all() for some in np.array_split(pictures, len(pictures) // 1000 + 1))
    return pictures[:, : 1 if grey else 3], good


def _opened(data: bytes) -> Image.Image:
    """A picture that is safe to decode, by its header; not decoded yet."""
    if len(data) > MOST_PICTURE_BYTES:
        raise ValueError("too many bytes")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS or max(image.size) > MOST_ASPECT * min(image.size):
        raise ValueError("too many pixels, or too long")
    if _scans(data) > _MOST_SCANS:
        raise ValueError("too many scans")
    return image


def _scans(data: bytes) -> int:
    return sum(map(data.count, _SCAN_MARKERS))


def _work(image: Image.Image, data: bytes) -> float:
    """What it takes to decode a picture, in pixels; a JPEG is decoded at an eighth of its size or so."""
    pixels = image.width * image.height
    return pixels * max(1, _scans(data)) / 8 if image.format in ("JPEG", "MPO") else pixels


def _square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The first frame, upright, on white, scaled and cut from the middle: (side, side, 3)."""
    image.draft(None, (2 * side, 2 * side))
    image.load()
    try:
        turn = _TURNED.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are good, and so is the picture
        turn = None
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.rint(np.array(image) / 257).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    fitted = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    if mode == "RGBA":
        fitted = Image.alpha_composite(Image.new("RGBA", fitted.size, "white"), fitted).convert("RGB")
    return np.asarray(fitted if turn is None else fitted.transpose(turn))
