"""Pictures from strangers: a corpus of odd and hostile files, made here, each with the outcome it must have."""

import io
import struct
import sys
import warnings
import zipfile
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from explorer.attribution.avif import decoded
from explorer.attribution.images import (
    FORMATS,
    MAX_ASPECT,
    MAX_BYTES,
    MAX_PAGES,
    MAX_PIXELS,
    MAX_SCANS,
    MAX_SIDE,
    ImageError,
    Picture,
    read_image,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes) -> list[list[tuple[int, ...]]]:
    return [[tuple(pixel) for pixel in row] for row in np.asarray(read_image(data).image).tolist()]


def greys(data: bytes) -> list[list[int]]:
    """The grey values, after a check that the three channels agree."""
    values = np.asarray(read_image(data).image)
    assert (values == values[..., :1]).all()
    return values[..., 0].tolist()


def refusal(data: bytes, name: str = "cat.png") -> str:
    """The sentence of a refusal: it names the picture, ends as a sentence does, and is not Pillow's."""
    with pytest.raises(ImageError) as caught:
        read_image(data, name)
    text = str(caught.value)
    assert text.startswith(f'"{name}" ')
    assert text.endswith(".")
    for pillows in ("cannot identify", "BytesIO", "decompression bomb", "truncated", "image file", "decoder error"):
        assert pillows not in text
    return text


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(width: int, height: int, body: bytes = b"\0\0") -> bytes:
    """A PNG of 8-bit grey whose header claims any size, whatever its body holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


SHORT, LONG, SLONG8 = 3, 4, 17


def tiff(width: int, height: int, body: bytes, more: dict[int, tuple[int, int]]) -> bytes:
    """A little-endian TIFF of one strip; `more` maps a tag to its type and value and overrides the plain 8-bit grey."""
    plain = {256: (SHORT, width), 257: (SHORT, height), 258: (SHORT, 8), 259: (SHORT, 1), 262: (SHORT, 1)}
    entries = plain | {273: (LONG, 0), 277: (SHORT, 1), 278: (LONG, height), 279: (LONG, len(body))} | more
    start = 8 + 2 + 12 * len(entries) + 4
    for tag in {273, 324} & entries.keys():
        entries[tag] = (LONG, start)
    rows = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(entries.items())]
    return struct.pack("<2sHIH", b"II", 42, 8, len(rows)) + b"".join(rows) + bytes(4) + body


# What is refused, and how it is said


def test_an_empty_file_is_refused():
    assert refusal(b"") == '"cat.png" is empty (0 bytes); give a PNG, JPEG, WEBP, GIF, BMP, TIFF or AVIF picture.'


def zip_archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("cat.txt", "miaow")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"this is no picture", "is a text file", id="text"),
        pytest.param(b'<?xml version="1.0"?>\n<svg width="9" height="9"/>', "is an SVG drawing", id="svg"),
        pytest.param(zip_archive(), "is a zip archive", id="zip"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3", "is a PDF document", id="pdf"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "share it as JPEG", id="heic"),
        pytest.param(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "is a HEIC photo", id="heic by another name"),
        pytest.param(b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc", "is a HEIC photo", id="heic of several"),
        pytest.param(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "has 24 bytes that are of another", id="head of an avif"),
        pytest.param(encoded(Image.new("L", (4, 4)), "PPM"), "has 27 bytes that are of another format", id="ppm"),
        pytest.param(encoded(noise(9, 9), "PNG")[:20], "has 20 bytes that are of another format", id="half a header"),
        pytest.param(bytes(1000), "has 1,000 bytes that are of another format", id="zeros"),
    ],
)
def test_another_kind_of_file_is_refused_by_what_it_is(data, said):
    text = refusal(data)
    assert said in text
    assert "give a PNG, JPEG, WEBP, GIF, BMP, TIFF or AVIF picture." in text


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_off_picture_is_refused(kind):
    whole = encoded(noise(60, 40), kind)
    assert read_image(whole).image.size == (60, 40)
    cut = refusal(whole[: len(whole) // 2], f"cat.{kind}")
    assert "damaged" in cut
    assert f"{len(whole) // 2:,} bytes" in cut


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (20000, 20000, "400,000,000 pixels"),  # Pillow raises its error at opening
        (10000, 10000, "100,000,000 pixels"),  # Pillow warns at opening
        (8000, 5001, "40,008,000 pixels"),  # Pillow is silent
    ],
)
@pytest.mark.parametrize("filters", ["error", "ignore"])
def test_a_bomb_is_refused_by_its_header(width, height, said, filters):
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        text = refusal(png(width, height))
    assert f"claims to have {said}; give a picture of at most 40,000,000." in text


def claiming(width: int, height: int, avif: bytes) -> bytes:
    """An AVIF file whose header claims another size."""
    at = avif.index(b"ispe") + 8
    return avif[:at] + struct.pack(">II", width, height) + avif[at + 8 :]


@pytest.mark.parametrize(("width", "height"), [(10000, 10000), (8000, 5001)])
def test_an_avif_bomb_is_refused_by_its_header(width, height):
    text = refusal(claiming(width, height, encoded(noise(9, 9), "AVIF")))
    assert f"claims to have {width * height:,} pixels; give a picture of at most 40,000,000." in text


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory holds there")
def test_an_avif_that_claims_less_than_it_holds_cannot_take_more_than_the_limit():
    """Its 4000 x 4000 pixels take 48 MB as they are decoded, whatever the header says."""
    small = encoded(noise(100, 100), "AVIF")
    lying = claiming(100, 100, encoded(Image.new("RGB", (4000, 4000), RED), "AVIF", speed=10, subsampling="4:4:4"))
    assert decoded(small, MAX_SIDE, memory=60).size == (100, 100)
    assert decoded(small, 50).size == (50, 50)
    assert decoded(lying, MAX_SIDE).size == (100, 100)
    with pytest.raises(OSError, match="in 60 MB"):
        decoded(lying, MAX_SIDE, memory=60)


def test_an_avif_that_takes_too_long_is_stopped(monkeypatch):
    data = encoded(noise(9, 9), "AVIF")
    monkeypatch.setattr("explorer.attribution.avif.SECONDS", 0.001)
    assert "damaged" in refusal(data)


def test_a_picture_at_the_limit_of_pixels_passes():
    assert MAX_PIXELS == 8000 * 5000
    assert read_image(png(8000, 5000, bytes(8001 * 5000))).image.size == (2048, 1280)


@pytest.mark.parametrize(("width", "height"), [(1, 20000), (20000, 1), (2001, 100)])
def test_a_strip_is_refused_by_its_header(width, height):
    text = refusal(png(width, height))
    assert f"is {width} x {height} pixels; crop it so that one side is at most 20 times the other." in text


def test_the_longest_strip_passes():
    assert read_image(png(MAX_ASPECT, 1, bytes(21))).image.size == (20, 1)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(width, height):
    for data in (png(width, height), tiff(width, height, b"", {})):
        assert "damaged" in refusal(data)


def test_a_file_over_the_limit_is_refused_and_one_at_it_is_not():
    whole = encoded(noise(3, 3), "BMP")
    assert read_image(whole + bytes(MAX_BYTES - len(whole))).image.size == (3, 3)
    assert "has 20,000,001 bytes; give a picture of at most 20,000,000." in refusal(
        whole + bytes(MAX_BYTES + 1 - len(whole))
    )


def test_a_tile_is_measured_too():
    """A tile of 30000 x 30000 over a picture of 16 x 16 makes libtiff take 900 MB."""
    body = zlib.compress(bytes(16 * 16))

    def tiled(side: int, kind: int = LONG) -> bytes:
        tags = {259: (SHORT, 8), 322: (kind, side), 323: (kind, side), 324: (LONG, 0), 325: (LONG, len(body))}
        return tiff(16, 16, body, tags)

    assert greys(tiled(16)) == [[0] * 16] * 16
    assert "claims to have 900,000,000 pixels" in refusal(tiled(30000))
    # Pillow does not read this type of number, libtiff does.
    assert "has a tile of unknown size" in refusal(tiled(8, SLONG8))


def test_a_big_tiff_is_refused():
    assert "version 43 (43 is BigTIFF)" in refusal(encoded(noise(3, 3), "TIFF", big_tiff=True))


def test_a_jpeg_of_very_many_scans_is_refused():
    """444,000 scans fit in 20 MB, and each costs a pass over all coefficients."""
    progressive = encoded(noise(64, 64), "JPEG", progressive=True)
    scans = [at for at in range(len(progressive)) if progressive.startswith(b"\xff\xda", at)]
    assert 3 <= len(scans) <= MAX_SCANS
    assert read_image(progressive).image.size == (64, 64)
    start, end = list(pairwise(scans))[-1]
    text = refusal(progressive[:end] + progressive[start:end] * MAX_SCANS + progressive[end:])
    assert f"is a JPEG of {len(scans) + MAX_SCANS} scans" in text


@pytest.mark.parametrize("data", [b"this is no picture", encoded(noise(60, 40), "PNG")[:3000]])
def test_the_cause_is_kept_for_whoever_reads_the_log(data):
    with pytest.raises(ImageError) as caught:
        read_image(data)
    assert isinstance(caught.value.__cause__, OSError)


# What is read, and how


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_an_ordinary_picture_comes_back_as_it_is(kind):
    image = noise(7, 5)
    picture = read_image(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), "cat")
    assert isinstance(picture, Picture)
    assert (picture.name, picture.notes, picture.image.mode) == ("cat", (), "RGB")
    assert picture.image.tobytes() == image.tobytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_one_pixel_is_a_picture(kind):
    assert read_image(encoded(Image.new("RGB", (1, 1), WHITE), kind)).image.getpixel((0, 0)) == WHITE


SIDES = {  # EXIF 2.3, tag 0x0112: the visual sides at which the stored row 0 and the stored column 0 lie
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF of two pages", "AVIF"])
def test_a_turned_picture_comes_back_upright(orientation, kind):
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :16], upright[:16, -16:], upright[-16:, :16] = RED, BLUE, WHITE
    row0, column0 = SIDES[orientation]
    stored = upright if row0 in {"top", "bottom"} else upright.transpose(1, 0, 2)
    stored = stored[::-1] if row0 in {"bottom", "right"} else stored
    stored = stored[:, ::-1] if column0 in {"bottom", "right"} else stored
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "JPEG": {"exif": exif, "quality": 100, "subsampling": 0},
        "PNG": {"exif": exif},
        "WEBP": {"exif": exif, "lossless": True},
        "AVIF": {"exif": exif, "quality": 100, "subsampling": "4:4:4"},
        "TIFF": {"tiffinfo": {0x0112: orientation}},
        "TIFF of two pages": {"tiffinfo": {0x0112: orientation}, "save_all": True, "append_images": [image]},
    }[kind]
    picture = read_image(encoded(image, kind.split()[0], **options))
    assert picture.image.size == (48, 32)
    corners = {(0, 0): RED, (47, 0): BLUE, (0, 31): WHITE, (47, 31): (0, 0, 0)}
    for at, colour in corners.items():
        np.testing.assert_allclose(picture.image.getpixel(at), colour, atol=2)
    assert not picture.image.info
    assert not picture.image.getexif()


def test_a_tag_of_an_odd_type_does_not_keep_a_photo_from_being_turned():
    """Pillow's own exif_transpose fails here: it writes the EXIF anew, and ImageWidth (256) as text it cannot."""
    entries = struct.pack("<HHI4s", 256, 2, 4, b"abc\0") + struct.pack("<HHII", 0x0112, 3, 1, 6)
    exif = b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, 2) + entries + bytes(4)
    picture = read_image(encoded(Image.new("L", (20, 10)), "JPEG", exif=exif))
    assert (picture.image.size, picture.notes) == ((10, 20), ())


def test_unreadable_exif_is_said_and_the_picture_used():
    picture = read_image(encoded(Image.new("L", (20, 10)), "PNG", exif=b"Exif\0\0junkjunk"))
    assert picture.image.size == (20, 10)
    assert picture.notes == ("Its EXIF data cannot be read, so it may not be upright.",)


SIXTEEN = np.array([[0, 1, 128, 129], [257, 257 * 100, 65534, 65535]], dtype=np.uint16)
EIGHT = [[0, 0, 0, 1], [1, 100, 255, 255]]  # 128/257 rounds down, 129/257 up


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_by_257(kind, order):
    data = encoded(Image.fromarray(SIXTEEN.astype(order)), kind)
    assert greys(data) == EIGHT
    assert read_image(data).notes == ()


def test_16_bit_grey_with_a_transparent_value():
    data = encoded(Image.fromarray(SIXTEEN), "PNG", transparency=257 * 100)
    assert greys(data) == [EIGHT[0], [1, 255, 255, 255]]
    assert read_image(data).notes == ("Its transparent parts are shown on white.",)


def test_16_bit_grey_that_counts_from_white():
    assert greys(tiff(2, 1, struct.pack("<2H", 0, 65535), {258: (SHORT, 16), 262: (SHORT, 0)})) == [[255, 0]]


def test_12_bit_grey_is_scaled_by_its_own_range():
    body = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048, packed; 2048 * 255 / 4095 = 127.53
    assert greys(tiff(2, 1, body, {258: (SHORT, 12)})) == [[255, 128]]


def test_float_pixels_are_scaled_from_minimum_to_maximum():
    data = encoded(Image.fromarray(np.array([[-1.0, 0.0, 1.5, 4.0]], dtype=np.float32)), "TIFF")
    assert greys(data) == [[0, 51, 128, 255]]  # (v + 1) / 5 * 255; 127.5 goes to the even
    assert read_image(data).notes == ("Its values from -1 to 4 are shown from black to white.",)


def test_32_bit_integers_are_scaled_from_minimum_to_maximum():
    data = encoded(Image.fromarray(np.array([[-(2**31), 0, 2**31 - 1]], dtype=np.int32)), "TIFF")
    assert greys(data) == [[0, 128, 255]]
    assert read_image(data).notes == ("Its values from -2.14748e+09 to 2.14748e+09 are shown from black to white.",)


def test_the_whole_range_of_float_does_not_overflow():
    data = encoded(Image.fromarray(np.array([[-3e38, 0, 3e38]], dtype=np.float32)), "TIFF")
    assert greys(data) == [[0, 128, 255]]


def test_nan_and_infinity_are_painted_as_the_minimum():
    values = np.array([[np.nan, 1.0, 2.0], [np.inf, -np.inf, 3.0]], dtype=np.float32)
    data = encoded(Image.fromarray(values), "TIFF")
    assert greys(data) == [[0, 0, 128], [0, 0, 255]]
    assert read_image(data).notes == (
        "Its values from 1 to 3 are shown from black to white.",
        "Pixels that are not finite (3) are painted as the minimum.",
    )


def test_one_value_everywhere_is_black():
    data = encoded(Image.fromarray(np.full((2, 2), 3.5, dtype=np.float32)), "TIFF")
    assert greys(data) == [[0, 0], [0, 0]]
    assert read_image(data).notes == ("Its values are all 3.5 and are shown as black.",)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_finite_value_is_refused(value):
    data = encoded(Image.fromarray(np.full((2, 3), value, dtype=np.float32)), "TIFF")
    assert "has no finite value in its 6 pixels" in refusal(data)


def palette_with_transparency() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return encoded(image, "PNG", transparency=bytes([255, 0]))


def two(mode: str, left: object, right: object) -> Image.Image:
    image = Image.new(mode, (2, 1), left)
    image.putpixel((1, 0), right)
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(two("RGBA", (*RED, 255), (*BLUE, 0)), "PNG"), [RED, WHITE], id="hidden colour"),
        pytest.param(encoded(two("RGBA", (*RED, 51), (*BLUE, 255)), "PNG"), [(255, 204, 204), BLUE], id="a fifth"),
        pytest.param(encoded(two("LA", (0, 255), (0, 102)), "PNG"), [(0, 0, 0), (153, 153, 153)], id="LA"),
        pytest.param(palette_with_transparency(), [RED, WHITE], id="palette"),
        pytest.param(encoded(two("L", 7, 9), "PNG", transparency=9), [(7, 7, 7), WHITE], id="grey value"),
        pytest.param(encoded(two("RGB", RED, BLUE), "PNG", transparency=BLUE), [RED, WHITE], id="one colour"),
        pytest.param(encoded(two("L", 7, 9), "GIF", transparency=9), [(7, 7, 7), WHITE], id="gif"),
        pytest.param(encoded(two("RGBA", (*RED, 255), (*BLUE, 0)), "TIFF"), [RED, WHITE], id="tiff"),
        pytest.param(encoded(two("LA", (255, 255), (99, 0)), "AVIF", quality=100), [WHITE, WHITE], id="avif"),
    ],
)
def test_transparent_parts_become_white(data, expected):
    assert pixels(data) == [expected]
    assert read_image(data).notes == ("Its transparent parts are shown on white.",)


def test_premultiplied_grey_becomes_white_too():
    """A TIFF may store grey * alpha: 64 at alpha 128 is grey 127, on white 191."""
    data = encoded(two("LA", (64, 128), (255, 255)), "TIFF")
    kind = data.index(struct.pack("<HHIH", 338, SHORT, 1, 2))  # ExtraSamples: alpha that is not multiplied in
    data = data[: kind + 8] + b"\1" + data[kind + 9 :]
    np.testing.assert_allclose(greys(data), [[191, 255]], atol=1)


def test_an_alpha_channel_that_hides_nothing_is_not_mentioned():
    assert read_image(encoded(Image.new("RGBA", (2, 2), (*RED, 255)), "PNG")).notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_said(kind):
    ink = {"no ink": (0, 0, 0, 0), "cyan and magenta": (255, 255, 0, 0), "key": (0, 0, 0, 255)}
    for colour, expected in zip(ink.values(), [WHITE, BLUE, (0, 0, 0)], strict=True):
        picture = read_image(encoded(Image.new("CMYK", (8, 8), colour), kind))
        np.testing.assert_allclose(picture.image.getpixel((4, 4)), expected, atol=2)
        assert picture.notes == ("Its CMYK colours are converted to RGB without a profile, so they are approximate.",)


def indexed(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *colour])
    return image


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        pytest.param(Image.new("1", (4, 4), 1), "PNG", WHITE, id="1"),
        pytest.param(Image.new("L", (4, 4), 77), "PNG", (77, 77, 77), id="L"),
        pytest.param(indexed(GREEN), "PNG", GREEN, id="P"),
        pytest.param(indexed(GREEN), "GIF", GREEN, id="gif"),
        pytest.param(Image.new("RGB", (4, 4), RED).convert("YCbCr"), "TIFF", (254, 0, 0), id="YCbCr"),
        pytest.param(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF", WHITE, id="LAB"),
    ],
)
def test_every_mode_becomes_rgb(image, kind, expected):
    picture = read_image(encoded(image, kind))
    assert (picture.image.mode, picture.notes) == ("RGB", ())
    np.testing.assert_allclose(picture.image.getpixel((2, 2)), expected, atol=1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_used(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)] * 4
    picture = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert picture.notes == ("Frame 1 of 12 is used.",)
    np.testing.assert_allclose(picture.image.getpixel((2, 2)), RED, atol=3)


def test_of_two_photos_in_one_jpeg_the_first_is_used():
    second = Image.new("RGB", (16, 16), BLUE)
    data = encoded(Image.new("RGB", (16, 16), RED), "MPO", save_all=True, append_images=[second])
    assert read_image(data).notes == ("Frame 1 of 2 is used.",)
    np.testing.assert_allclose(read_image(data).image.getpixel((8, 8)), RED, atol=3)


def test_a_tiff_of_very_many_pages_is_counted_to_a_limit():
    page = tiff(1, 1, b"\x07", {})
    entries = page[8:-5]  # between the header, and the address of the next page and the one pixel
    chain = bytearray(page)
    link = len(page) - 5
    for _ in range(MAX_PAGES):
        struct.pack_into("<I", chain, link, len(chain))
        chain += entries + bytes(4)
        link = len(chain) - 4
    assert greys(bytes(chain)) == [[7]]
    assert read_image(bytes(chain)).notes == ("Frame 1 of more than 1,000 is used.",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "AVIF"])
def test_a_big_picture_is_reduced(kind, monkeypatch):
    decoded = []
    load = JpegImagePlugin.JpegImageFile.load_prepare
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load_prepare", lambda self: (decoded.append(self.size), load(self))
    )
    image = Image.new("RGB", (9000, 600), RED)
    image.paste(BLUE, (0, 0, 4500, 600))
    picture = read_image(encoded(image, kind, **({"speed": 10} if kind == "AVIF" else {})))
    assert picture.notes == ("It is reduced from 9,000 to 2,048 pixels on its longer side.",)
    assert picture.image.size == (MAX_SIDE, 137)  # 2048 * 600 / 9000 = 136.5
    np.testing.assert_allclose(picture.image.getpixel((10, 10)), BLUE, atol=3)
    np.testing.assert_allclose(picture.image.getpixel((2038, 126)), RED, atol=3)
    assert set(decoded) == ({(2250, 150)} if kind == "JPEG" else set())  # a quarter, by libjpeg


def test_a_picture_of_the_greatest_side_is_left_alone():
    assert read_image(png(MAX_SIDE, 200, bytes((MAX_SIDE + 1) * 200))).notes == ()


def test_reducing_does_not_bleed_hidden_colours():
    image = Image.new("RGBA", (4096, 256), (*BLUE, 0))
    image.paste((*RED, 255), (0, 0, 2049, 256))
    seen = np.asarray(read_image(encoded(image, "PNG")).image).reshape(-1, 3)
    assert (seen[:, 0] == 255).all()  # red and white have all of the red channel, the hidden blue has none
    assert read_image(encoded(image, "PNG")).image.size == (2048, 128)


# Whatever comes in: a picture or an ImageError


def a_picture_or_a_refusal(data: bytes) -> None:
    try:
        picture = read_image(data)
    except ImageError:
        pass
    else:
        assert picture.image.mode == "RGB"
        assert max(picture.image.size) <= MAX_SIDE


WHOLE = {kind: encoded(noise(12, 9), kind) for kind in FORMATS}
WHOLE["GIF, animated"] = encoded(noise(12, 9), "GIF", save_all=True, append_images=[Image.new("RGB", (12, 9))])
WHOLE["TIFF, deflated"] = encoded(noise(12, 9), "TIFF", compression="tiff_deflate")
WHOLE["PNG, palette"] = palette_with_transparency()

quickly = settings(max_examples=100, deadline=None, database=None)


@quickly
@given(start=st.sampled_from([b"", *(whole[:16] for whole in WHOLE.values())]), rest=st.binary(max_size=400))
def test_random_bytes(start, rest):
    a_picture_or_a_refusal(start + rest)


@pytest.mark.parametrize("kind", WHOLE)
@quickly
@given(choice=st.data())
def test_flipped_bytes(kind, choice):
    data = bytearray(WHOLE[kind])
    for at in choice.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6)):
        data[at] ^= choice.draw(st.integers(1, 255))
    a_picture_or_a_refusal(bytes(data))
