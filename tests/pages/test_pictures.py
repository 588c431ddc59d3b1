"""Choosing a picture and the part of it that a net sees, through Streamlit's own page tests on a page of their own."""

from __future__ import annotations

import functools
import io
import math
import os
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.attribution import Picture, read_image
from explorer.jobs import JobQueue
from explorer.models.checkpoints import REGISTRY
from explorer.models.preprocessing import Box
from explorer.pages import cached, pictures


def page() -> None:
    """The choice, the square, and what came of them."""
    import streamlit as st

    from explorer.models.checkpoints import REGISTRY
    from explorer.pages import edge, pictures

    with edge.sentences():
        net = st.selectbox("Net", ["efficientnet_lite0", "resnet50.imagenet1k_v2", "cifar_plain20"], key="net")
        picture = pictures.choose()
        if picture is None:
            st.info("Nothing chosen")
            st.stop()
        st.text(picture.name)
        st.session_state["given"] = picture
        st.session_state["box"] = pictures.crop(picture, REGISTRY[net].preprocessing)


def start(**state: object) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    return app


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image.save(out := io.BytesIO(), kind, **options)
    return out.getvalue()


def noise(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def claiming(width: int, height: int) -> bytes:
    """A PNG that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def half(kind: str) -> bytes:
    whole = encoded(noise(), kind)
    return whole[: len(whole) // 2]


def archive() -> bytes:
    with zipfile.ZipFile(out := io.BytesIO(), "w") as file:
        file.writestr("cat.txt", "miaow")
    return out.getvalue()


def floats(*values: float) -> bytes:
    return encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")


def palette() -> bytes:
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 0, 255])
    return encoded(image, transparency=bytes([0, 255]))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(noise(), "JPEG", exif=exif)


BAD = {  # what is said of each
    "cut.png": (half("PNG"), "damaged or cut off"),
    "cut.jpg": (half("JPEG"), "damaged or cut off"),
    "cut.webp": (half("WEBP"), "damaged"),
    "cut.gif": (half("GIF"), "damaged or cut off"),
    "cut.bmp": (half("BMP"), "damaged or cut off"),
    "cut.tiff": (half("TIFF"), "damaged or cut off"),
    "cut.avif": (half("AVIF"), "damaged"),
    "bomb.png": (claiming(20000, 20000), "400,000,000 pixels"),
    "quiet_bomb.png": (claiming(8000, 5001), "40,008,000 pixels"),
    "empty.png": (b"", "is empty"),
    "strip.png": (encoded(Image.new("L", (1, 20000))), "1 x 20000 pixels"),
    "nan.tif": (floats(np.nan, np.inf), "no finite value"),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "archive.png": (archive(), "a zip archive"),
    "note.jpg": (b"I am a text.", "a text file"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "Most Compatible"),
    "zeros.bmp": (bytes(1000), "of another format or damaged"),
}
ODD = {
    "a_png_named.jpg": encoded(noise()),
    "dot.png": encoded(Image.new("RGB", (1, 1))),
    "deep.png": encoded(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60))),
    "print.jpg": encoded(Image.new("CMYK", (60, 40)), "JPEG"),
    "palette.png": palette(),
    "animated.gif": encoded(noise(), "GIF", save_all=True, append_images=[noise().rotate(180)]),
    **{f"turned_{orientation}.jpg": turned(orientation) for orientation in range(1, 9)},
    "some_nan.tif": floats(np.nan, 0.0, 1.0),
    "modern.avif": encoded(noise(), "AVIF"),
}


def give(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader(key="upload").set_value([(name, content, "image/png") for name, content in files]).run()
    assert not app.exception
    return app


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    """Give files, and wait until they are read."""
    return until(give(app, *files), lambda app: not has_button(app, "Cancel"))


def has_button(app: AppTest, label: str) -> bool:
    return any(button.label == label for button in app.button)


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def chosen(app: AppTest) -> str | None:
    return app.text[0].value if app.text else None


def said(app: AppTest) -> list[str]:
    """What is wrong, without the backslashes that keep it from being Markdown."""
    return [each.value.replace("\\", "") for each in (*app.error, *app.warning)]


# --- one session after every bad picture


def test_every_bad_picture_is_one_sentence_and_the_session_goes_on() -> None:
    app = start(picture_source="Upload")
    for name, (content, words) in BAD.items():
        upload(app, (name, content))
        assert len(app.error) == 1, name
        assert not app.warning
        assert said(app)[0].startswith(f'"{name}" '), said(app)
        assert said(app)[0].endswith(".")
        assert words in said(app)[0], said(app)
        assert chosen(app) is None
    for name, content in ODD.items():
        upload(app, (name, content))
        assert not said(app), name
        assert chosen(app) == name
        assert app.session_state["box"] is None
    size = app.session_state["given"].image.size
    assert size == (60, 40)


def test_of_several_files_the_good_ones_can_be_chosen_and_the_bad_ones_are_named() -> None:
    app = start(picture_source="Upload")
    cup, cat = encoded(noise(50, 40)), encoded(noise(40, 30))
    upload(app, ("cup.png", cup), ("note.jpg", BAD["note.jpg"][0]), ("cat.png", cat), ("empty.png", b""))
    assert [text.split('"')[1] for text in said(app)] == ["note.jpg", "empty.png"]
    assert not app.error
    assert chosen(app) == "cup.png"
    assert app.selectbox(key="picture_chosen").options == ["1 · cup.png", "2 · cat.png"]
    app.selectbox(key="picture_chosen").select_index(1).run()
    assert chosen(app) == "cat.png"
    assert app.session_state["given"].image.size == (40, 30)
    upload(app, ("cup.png", cup))  # the chosen one is taken away
    assert chosen(app) == "cup.png"
    assert not said(app)


def test_where_no_file_is_good_each_is_named() -> None:
    app = upload(start(picture_source="Upload"), *((name, content) for name, (content, _) in list(BAD.items())[-4:]))
    assert sorted(text.split('"')[1] for text in said(app)) == sorted(list(BAD)[-4:])
    assert len(app.error) == 1
    assert chosen(app) is None


def test_so_many_files_are_used_and_no_more() -> None:
    app = start(picture_source="Upload")
    small = encoded(noise(5, 4))
    upload(app, *((f"{number}.png", small) for number in range(12)))
    assert len(app.selectbox(key="picture_chosen").options) == 12
    assert not said(app)
    upload(app, *((f"{number}.png", small) for number in range(13)))
    assert len(app.selectbox(key="picture_chosen").options) == 12
    assert said(app) == ["The first 12 files are used; give fewer at a time."]


def test_a_file_is_read_no_more_than_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = pictures.read_image
    monkeypatch.setattr(pictures, "read_image", lambda data, name: read.append(name) or real(data, name))
    app = start(picture_source="Upload")
    upload(app, ("cup.png", encoded(noise())), ("note.jpg", b"no picture"))
    assert sorted(read) == ["cup.png", "cup.png", "note.jpg"], "to see what it holds, and to be used"
    app.slider(key="crop_side").set_value(50.0).run()
    app.run()
    assert len(read) == 3
    upload(app, ("cup.png", encoded(noise())))
    app.run()
    assert len(read) == 4


def test_a_file_name_is_shown_letter_by_letter() -> None:
    name = "**:red[$x$](x).png"
    app = upload(start(picture_source="Upload"), (name, b"no picture"))
    assert "\\*\\*\\:red\\[\\$x\\$\\](x).png" in app.error[0].value
    upload(app, (name, encoded(noise())), ("other.png", encoded(noise())))
    captions = app.get("image")[0].captions
    assert captions == ["▸ 1 · \\*\\*\\:red\\[\\$x\\$\\](x).png", "2 · other.png"]


# --- pictures that take long


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Every upload is read as a large one is, and only as far as the test lets it."""
    monkeypatch.setattr(pictures, "_QUICK", 0)
    reader = Reader()
    monkeypatch.setattr(pictures, "read_image", reader)
    yield reader
    reader.go_on(100)


class Reader:
    """`read_image`, which waits before each file."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._may = threading.Semaphore(0)

    def __call__(self, data: bytes, name: str) -> Picture:
        if name in pictures._SAMPLES.values():
            return read_image(data, name)
        self.begun.append(name)
        assert self._may.acquire(timeout=60)
        return read_image(data, name)

    def go_on(self, files: int) -> None:
        for _ in range(files):
            self._may.release()


def bar(app: AppTest) -> str:
    return "".join(each.proto.text for each in app.get("progress"))


def test_several_large_pictures_are_read_with_progress_and_bad_ones_are_named(slow: Reader) -> None:
    app = start(picture_source="Upload")
    give(app, ("cup.png", encoded(noise(50, 40))), ("note.jpg", b"no picture"), ("cat.png", encoded(noise(40, 30))))
    until(app, lambda app: bar(app).startswith("Reads picture 1 of 3"))
    assert has_button(app, "Cancel")
    assert chosen(app) is None
    assert not app.info, "nobody is asked for a picture while some are read"
    slow.go_on(1)
    until(app, lambda app: bar(app).startswith("Reads picture 2 of 3"))
    assert chosen(app) is None
    assert len(app.get("progress")) == 1, "what is chosen waits for all of them"
    slow.go_on(3)
    until(app, lambda app: chosen(app) == "cup.png")
    assert [text.split('"')[1] for text in said(app)] == ["note.jpg"]
    assert app.selectbox(key="picture_chosen").options == ["1 · cup.png", "2 · cat.png"]
    assert slow.begun == ["cup.png", "note.jpg", "cat.png", "cup.png"]
    slow.go_on(1)
    app.selectbox(key="picture_chosen").select_index(1).run()
    until(app, lambda app: chosen(app) == "cat.png")
    app.run()
    assert slow.begun[4:] == ["cat.png"]


def test_what_was_read_before_the_cancel_can_be_used_and_the_rest_is_read_when_asked_again(slow: Reader) -> None:
    app = start(picture_source="Upload")
    give(app, *((f"{name}.png", encoded(noise(30, side))) for name, side in (("a", 20), ("b", 21), ("c", 22))))
    slow.go_on(1)
    until(app, lambda app: bar(app).startswith("Reads picture 2 of 3"))
    press(app, "Cancel")
    slow.go_on(2)  # the one that is being read is read to its end, and then the chosen one
    until(app, lambda app: chosen(app) == "a.png")
    assert app.selectbox(key="picture_chosen").options == ["1 · a.png", "2 · b.png"]
    assert "This run was cancelled." in [info.value for info in app.info]
    assert "Not read: 1 of 3 files." in [caption.value for caption in app.caption]
    app.run().run()
    assert slow.begun == ["a.png", "b.png", "a.png"], "nothing begins by itself"
    slow.go_on(1)
    press(app, "Run it again")
    until(app, lambda app: len(app.selectbox(key="picture_chosen").options) == 3)
    assert slow.begun[3:] == ["c.png"]
    assert not has_button(app, "Run it again")


@pytest.mark.parametrize("change", ["another source", "another file"])
def test_files_that_are_taken_away_or_not_shown_are_read_no_further(slow: Reader, change: str) -> None:
    app = start(picture_source="Upload")
    give(app, *((f"{name}.png", encoded(noise(30, 20))) for name in "abcd"))
    until(app, lambda app: bar(app).startswith("Reads picture 1 of 4"))
    job = app.session_state["pictures_run"].job
    if change == "another source":
        app.segmented_control(key="picture_source").set_value("Sample").run()
    else:
        give(app, ("icon.png", encoded(noise(5, 4))))
    slow.go_on(1)
    assert job.wait(10)
    assert job.state == "cancelled"
    assert "b.png" not in slow.begun
    slow.go_on(1)
    until(app, lambda app: chosen(app) in ("Cup of coffee", "icon.png"))
    assert "b.png" not in slow.begun


def test_one_large_picture_is_read_with_progress_and_what_is_wrong_with_it_is_said_once(slow: Reader) -> None:
    app = start(picture_source="Upload")
    give(app, ("cup.png", encoded(noise())))
    until(app, lambda app: bar(app).startswith("Reads the picture"))
    assert not app.info
    press(app, "Cancel")
    slow.go_on(1)
    until(app, lambda app: has_button(app, "Run it again"))
    assert chosen(app) is None
    slow.go_on(1)
    press(app, "Run it again")
    until(app, lambda app: chosen(app) == "cup.png")
    assert "picture_run" not in app.session_state, "it is kept once"
    slow.go_on(1)
    upload(app, ("cut.png", BAD["cut.png"][0]))
    until(app, lambda app: app.error)
    app.run()
    assert "damaged or cut off" in said(app)[0]
    assert not has_button(app, "Run it again"), "it would be no better"
    assert slow.begun == ["cup.png", "cup.png", "cut.png"]


def test_who_goes_back_to_a_picture_that_is_read_has_it_at_once(slow: Reader) -> None:
    app = start(picture_source="Upload")
    slow.go_on(1)
    upload(app, ("cup.png", encoded(noise())))
    app.slider(key="crop_side").set_value(50.0).run()
    assert chosen(app) == "cup.png"
    assert slow.begun == ["cup.png"]


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (encoded(noise(60, 40)), 2_400),
        (encoded(noise(60, 40), "JPEG"), 2_400),
        (encoded(noise(60, 40), "WEBP"), 2_400),
        (claiming(1600, 1250), 2_000_000),
        (encoded(noise(60, 40), "AVIF"), math.inf),
        (encoded(noise(60, 40), "TIFF"), math.inf),
        (b"I am a text.", 0),
        (b"", 0),
        (claiming(20000, 20000), 0),
    ],
)
def test_how_long_a_picture_takes_is_known_by_what_its_header_claims(data: bytes, pixels: float) -> None:
    assert pictures._claimed(data) == pixels


def test_small_pictures_do_not_wait_for_others_and_large_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = JobQueue.submit

    def submit(queue: JobQueue, owner: str, work: Callable[..., object]) -> object:
        asked.append("read" if queue is cached.reading_queue() else "other")
        return real(queue, owner, work)

    monkeypatch.setattr(JobQueue, "submit", submit)
    app = start(picture_source="Upload")
    with pictures._ONE_AT_A_TIME:  # another person's large picture is read
        upload(app, ("cup.png", encoded(noise())))
        upload(app, *((f"{number}.png", encoded(noise(50, 40))) for number in range(12)))
    assert chosen(app) == "0.png"
    assert asked == []
    large = encoded(Image.new("L", (1600, 1251)))  # one row more than 2 megapixels
    upload(app, ("large.png", large))
    assert chosen(app) == "large.png"
    assert asked == ["read"]
    half = encoded(Image.new("L", (1600, 700)))
    upload(app, ("one.png", half), ("other.png", half))  # more only together
    assert chosen(app) == "one.png"
    assert asked == ["read", "read"]


# --- where pictures come from


def test_a_photo_is_taken() -> None:
    app = start(picture_source="Camera")
    assert app.info
    photo = app.camera_input(key="camera")
    assert photo.help.startswith("Your browser asks you first.")
    assert any("https" in caption.value and "localhost" in caption.value for caption in app.caption)
    photo.set_value(("shot.jpg", encoded(noise(64, 48), "JPEG"), "image/jpeg")).run()
    assert chosen(app) == "Camera photo"
    assert app.session_state["given"].image.size == (64, 48)
    app.camera_input(key="camera").set_value(("shot.jpg", b"broken", "image/jpeg")).run()
    assert said(app)[0].startswith('"Camera photo" ')
    assert not app.exception


def test_pasted_pictures_stay_until_others_are_pasted() -> None:
    app = start(picture_source="Paste")
    assert app.info
    app.chat_input(key="paste").upload("image.png", encoded(noise(20, 10)), "image/png").run()
    assert chosen(app) == "image.png"
    app.run()
    assert chosen(app) == "image.png"
    box = app.chat_input(key="paste")
    box.upload("a.png", encoded(noise(30, 10)), "image/png")
    box.upload("b.png", b"no picture", "image/png")
    box.upload("c.png", encoded(noise(40, 10)), "image/png")
    box.run()
    assert chosen(app) == "a.png"
    assert app.selectbox(key="picture_chosen").options == ["1 · a.png", "2 · c.png"]
    assert [text.split('"')[1] for text in said(app)] == ["b.png"]
    app.chat_input(key="paste").set_value("only words").run()
    assert chosen(app) == "a.png"


def test_what_was_given_is_still_there_when_its_source_is_drawn_anew() -> None:
    app = upload(start(picture_source="Upload"), ("cup.png", encoded(noise())))
    app.segmented_control(key="picture_source").set_value("Camera").run()
    assert chosen(app) is None, "no photo was taken"
    app.segmented_control(key="picture_source").set_value("Upload").run()
    assert chosen(app) == "cup.png"
    given = read_image(encoded(noise()), "cup_1.png")
    back = start(picture_source="Upload", picture=("Upload 1", given))  # from another page, which drops an uploader
    assert chosen(back) == "cup_1.png"
    assert any("Still cup\\_1.png" in caption.value for caption in back.caption)
    assert chosen(start(picture_source="Paste", picture=("Upload 1", given))) is None


@pytest.mark.parametrize("name", pictures._SAMPLES)
def test_every_sample_is_shown(name: str) -> None:
    app = start(sample=name)
    assert chosen(app) == pictures._SAMPLES[name]
    assert not app.session_state["given"].notes
    assert min(app.session_state["given"].image.size) >= 300


def test_measurements_over_samples_take_the_four_photos_in_colour() -> None:
    four = cached.samples(("coffee", "chelsea", "rocket", "astronaut"))
    assert pictures.samples() == four
    assert pictures.samples(besides="sample rocket") == [*four[:2], four[3]]


writes: list[str] | None = None


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if writes is not None and event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path != os.devnull:
            writes.append(str(path))


@functools.cache
def _listen() -> None:
    sys.addaudithook(_hear)  # cannot be taken off again


@pytest.mark.parametrize("quick", [True, False])
def test_nothing_that_is_given_is_written_to_disk(quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    global writes
    if not quick:
        monkeypatch.setattr(pictures, "_QUICK", 0)
    _listen()
    app = start(picture_source="Upload")
    writes = []
    try:
        upload(app, *((name, content) for name, content in ODD.items()))
        app.slider(key="crop_side").set_value(50.0).run()
        assert chosen(app) is not None
        assert writes == []
        (tmp_path / "heard").write_text("")
        assert writes == [str(tmp_path / "heard")]
    finally:
        writes = None


# --- the square


def box(app: AppTest) -> Box | None:
    found: Box | None = app.session_state["box"]
    return found


def place(app: AppTest) -> tuple[float, ...]:
    return tuple(app.slider(key=f"crop_{name}").value for name in ("across", "down", "side"))


def test_the_square_is_the_nets_own_until_it_is_moved() -> None:
    app = start()  # coffee, 600 x 400
    assert box(app) is None
    assert place(app) == (50.0, 50.0, 87.5)  # 224 of 256 px
    app.selectbox(key="net").set_value("resnet50.imagenet1k_v2").run()
    assert box(app) is None
    assert place(app) == (50.0, 50.0, 96.5)  # 224 of 232 px: 96.55%
    app.selectbox(key="net").set_value("cifar_plain20").run()
    assert place(app) == (50.0, 50.0, 100.0)
    assert [app.slider(key=f"crop_{name}").disabled for name in ("across", "down", "side")] == [False, True, False]


def test_a_moved_square_is_the_same_for_every_net_until_it_is_brought_back() -> None:
    app = start()
    assert app.button(key="crop_back").disabled
    app.slider(key="crop_side").set_value(50.0).run()
    assert box(app) == Box(0.5, 0.25, 0.5)  # 1.5 and 1 wide, half of what is left at each side
    app.slider(key="crop_across").set_value(100.0).run()
    app.slider(key="crop_down").set_value(0.0).run()
    assert box(app) == Box(1.0, 0.0, 0.5)
    app.selectbox(key="net").set_value("cifar_plain20").run()
    assert box(app) == Box(1.0, 0.0, 0.5)
    assert "the square of 200 px at 400, 0 is cut out and scaled to 32 x 32 px" in " ".join(
        caption.value for caption in app.caption
    )
    app.button(key="crop_back").click().run()
    assert box(app) is None
    assert place(app) == (50.0, 50.0, 100.0)


def test_another_picture_has_its_square_in_the_centre() -> None:
    app = start()
    app.slider(key="crop_side").set_value(20.0).run()
    assert box(app) is not None
    app.selectbox(key="sample").set_value("chelsea").run()
    assert box(app) is None
    assert place(app) == (50.0, 50.0, 87.5)


def test_what_the_net_gets_is_a_table_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    keep: Callable[..., None] = lambda label, make, content, name, *rest: files.update({name: make(content)})  # noqa: E731
    monkeypatch.setattr("explorer.pages.parts.download", keep)
    app = start()
    table = app.dataframe[0].value
    values = np.load(io.BytesIO(files["input.npy"]))
    preprocessing = REGISTRY["efficientnet_lite0"].preprocessing
    seen = np.asarray(preprocessing.crop_of(app.session_state["given"].image), dtype=float).transpose(2, 0, 1)
    np.testing.assert_allclose(values, (seen / 255 - 0.5) / 0.5, atol=1e-6)
    np.testing.assert_allclose(table["lowest"], values.min((1, 2)))
    np.testing.assert_allclose(table["mean"], values.mean((1, 2), dtype=float))
    np.testing.assert_allclose(table["highest"], values.max((1, 2)))
    assert list(table["channel"]) == ["red", "green", "blue"]


@pytest.mark.parametrize("source", ["Sample", "Upload", "Camera"])
def test_everything_has_a_help_text(source: str) -> None:
    app = start(picture_source=source)
    kinds = ("segmented_control", "selectbox", "slider", "file_uploader", "camera_input", "button", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind) if widget.proto.label != "Net"]
    assert len(drawn) >= 2
    assert [widget for widget in drawn if not widget.proto.help] == []
