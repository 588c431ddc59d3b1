"""Choosing a picture: one that ships with scikit-image, or the person's own; and the part of it that a net sees."""

import io
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import streamlit as st
from PIL import Image

from explorer.attribution import ImageError, Picture, read_image
from explorer.attribution.images import FORMATS, MAX_BYTES
from explorer.export.tables import npy
from explorer.figures.cropping import (
    LEAST,
    STEP,
    Place,
    channels_table,
    crop_chart,
    has_room,
    input_of,
    preparation,
)
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.models.preprocessing import Box, Preprocessing
from explorer.pages import cached, parts, runs
from explorer.pages.edge import plain

_SAMPLES = {
    "coffee": "Cup of coffee",
    "chelsea": "Cat",
    "rocket": "Rocket",
    "astronaut": "Astronaut",
    "camera": "Photographer and tripod",
    "clock": "Clock, blurred by motion",
    "cell": "Cell, which no class fits",
}
_MEASURED = ("coffee", "chelsea", "rocket", "astronaut")  # photos in colour, for measurements over several pictures

NONE_YET = "Choose a picture file, paste one or take a photo; or switch to a sample."  # where a picture is needed
_SOURCES = ("Sample", "Upload", "Paste", "Camera")
# No HEIC: an iPhone turns its photos into JPEG for a page that does not ask for HEIC.
TYPES = ["png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif"]
_MEGABYTES = MAX_BYTES // 1_000_000
_AT_ONCE = 12  # files
_SMALL = 72  # pixels, the longer side of the small pictures
_KEPT = "Yours stays in this session's memory: it is never written to disk, and forgotten when you close the page."

_CHANNELS = {
    "channel": st.column_config.TextColumn(help="Of the picture."),
    "less": st.column_config.NumberColumn(format="%.3f", help="What is taken off a value from 0 to 1."),
    "divided_by": st.column_config.NumberColumn("divided by", format="%.3f", help="What the rest is divided by."),
    "lowest": st.column_config.NumberColumn(format="%.2f", help="Of what the net gets of this square."),
    "mean": st.column_config.NumberColumn(format="%.2f", help="Of what the net gets of this square."),
    "highest": st.column_config.NumberColumn(format="%.2f", help="Of what the net gets of this square."),
}

_QUICK = 2_000_000  # pixels that are read in about a tenth of a second: a run of their own would only blink
_SLOW = ("TIFF", "AVIF")  # whose header does not say how long they take, or whose reader is a process of its own
_ONE, _SEVERAL = "picture_run", "pictures_run"

_ONE_AT_A_TIME = threading.Lock()  # a picture of 40 megapixels takes up to 600 MB while it is read


@dataclass(frozen=True)
class _File:
    key: str  # the source and the upload's number
    name: str
    data: bytes


@dataclass(frozen=True)
class _Look:
    """What is known of a file that is not the chosen one: decoded, twelve photos would take 150 MB a session."""

    small: Image.Image | None = None
    problem: str | None = None


def choose() -> Picture | None:
    """Draw the choice; the picture, or None while none was given. The page ends here while large ones are read.

    Raises:
        ImageError: of what was given nothing is a picture that can be used. QueueFull: it cannot be read just now.
    """
    source = st.segmented_control(
        "Picture",
        _SOURCES,
        default="Sample",
        required=True,
        key="picture_source",
        persist_state="session",
        help=f"A photo from scikit-image, or one of yours. {_KEPT}",
    )
    if source == "Sample":
        parts.link_choice("sample", list(_SAMPLES))
        name = st.selectbox(
            "Sample",
            list(_SAMPLES),
            format_func=_SAMPLES.__getitem__,
            key="sample",
            on_change=parts.chosen_by_hand,
            args=("sample",),
            persist_state="session",
            help="Photos that scikit-image ships, in the public domain or CC0 as its documentation says.",
        )
        runs.cancel(_SEVERAL)
        return _remembered(_File(f"sample {name}", _SAMPLES[name], cached.sample_picture(name)))
    given = {"Upload": _uploaded, "Paste": _pasted, "Camera": _photo}[source]()
    if given:
        return _one_of(given)
    before: tuple[str, Picture] | None = st.session_state.get("picture")
    if before is None or not before[0].startswith(source):
        return None
    st.caption(f"Still {plain(before[1].name)}, from before; give another to replace it.")
    return before[1]


def _uploaded() -> list[_File]:
    files = st.file_uploader(
        "Your pictures",
        TYPES,
        accept_multiple_files=True,
        key="upload",
        max_upload_size=_MEGABYTES,
        help=f"One or several, up to {_AT_ONCE}: choose them, or drag them here. PNG, JPEG, WebP, GIF, BMP, TIFF or "
        f"AVIF, up to {_MEGABYTES} MB and 40 megapixels each. HEIC cannot be read: a phone can share a photo as JPEG. "
        f"{_KEPT}",
    )
    return [_File(f"Upload {file.file_id}", file.name, file.getvalue()) for file in files]


def _pasted() -> list[_File]:
    with st.container():  # else the box would lie at the foot of the window
        given = st.chat_input(
            "Click here, paste, press Enter",
            accept_file="multiple",
            file_type=TYPES,
            max_upload_size=_MEGABYTES,
            key="paste",
        )
    st.caption(f"A picture or a screenshot that you copied: Ctrl+V, or ⌘V on a Mac, then Enter. {_KEPT}")
    if given is not None and given.files:  # they are here in this run alone
        files = [_File(f"Paste {file.file_id}", file.name, file.getvalue()) for file in given.files]
        st.session_state["pasted"] = files[: _AT_ONCE + 1]
    kept: list[_File] = st.session_state.get("pasted", [])
    return kept


def _photo() -> list[_File]:
    photo = st.camera_input(
        "Your camera",
        key="camera",
        resolution="720p",
        help=f"Your browser asks you first. {_KEPT}",
    )
    st.caption("Browsers give a camera only to pages that come over https, or from this computer (localhost).")
    return [] if photo is None else [_File(f"Camera {photo.file_id}", "Camera photo", photo.getvalue())]


def samples(besides: str | None = None) -> list[Image.Image]:
    """The sample photos in colour, but for the one of this `sample_name`."""
    return cached.samples(tuple(name for name in _MEASURED if f"sample {name}" != besides))


def sample_name() -> str | None:
    """The chosen picture's name if it is a sample, which everyone may have; None if it is somebody's own."""
    known: tuple[str, Picture] | None = st.session_state.get("picture")
    return known[0] if known is not None and known[0].startswith("sample ") else None


def read(data: bytes, name: str) -> Picture:
    """The picture that a file holds; one person at a time, as it may take much memory.

    Raises:
        ImageError: it is no picture that can be used.
    """
    with _ONE_AT_A_TIME:
        return read_image(data, name)


def _quick(files: Sequence[_File]) -> bool:
    """Whether these are read in a moment, as their headers say."""
    return sum(_claimed(file.data) for file in files) <= _QUICK


def _claimed(data: bytes) -> float:
    """The pixels of a picture by its header: inf where that does not tell the time, 0 where nothing will be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            return math.inf if header.format in _SLOW else header.width * header.height
    except Exception:  # Pillow raises nearly every type there is, and `read_image` says what is wrong
        return 0


def _remembered(file: _File) -> Picture:
    """The picture, decoded once and not at every move of a slider; the page ends here while it is read.

    Raises:
        ImageError: it is no picture that can be used.
    """
    known: tuple[str, Picture] | None = st.session_state.get("picture")
    if known is not None and known[0] == file.key:
        runs.cancel(_ONE)
        return known[1]
    if _quick([file]):
        runs.cancel(_ONE)
        picture = read_image(file.data, file.name)
    else:
        found = runs.outcome(_ONE, file.key, partial(_whole, file), cached.reading_queue())
        if found is None:
            st.stop()
        if isinstance(found, str):
            raise ImageError(found)
        picture = found
        runs.forget(_ONE)
    st.session_state["picture"] = file.key, picture
    return picture


def _whole(file: _File, progress: Progress) -> Picture | str:
    """The picture, or what is wrong with it; for a worker thread."""
    progress.report(0.0, "Reads the picture")
    try:
        picture = read(file.data, file.name)
    except ImageError as problem:
        return str(problem)
    progress.check()  # who cancelled meanwhile does not want it
    return picture


def _one_of(files: Sequence[_File]) -> Picture:
    """Draw which of the files is meant, and what is wrong with others.

    Raises:
        ImageError: none is a picture that can be used.
    """
    if len(files) == 1:
        runs.cancel(_SEVERAL)
        return _remembered(files[0])
    if len(files) > _AT_ONCE:
        st.warning(f"The first {_AT_ONCE} files are used; give fewer at a time.", icon=":material/filter_none:")
        files = files[:_AT_ONCE]
    looks = _looks(files)
    unread = len(files) - len(looks)
    bad = [look.problem for look in looks.values() if look.problem is not None]
    good = {file.key: file for file in files if file.key in looks and looks[file.key].problem is None}
    for problem in bad[0 if good or unread else 1 :]:
        st.warning(plain(problem), icon=":material/block:")
    if not good and not unread:
        raise ImageError(bad[0])
    reading = runs.working(_SEVERAL)
    if unread and not reading:
        st.caption(f"Not read: {unread} of {len(files)} files.")
    if not good or (reading and st.session_state.get("picture_chosen") not in good):
        st.stop()
    titles = {key: f"{number} · {file.name}" for number, (key, file) in enumerate(good.items(), 1)}
    if st.session_state.get("picture_chosen") not in good:
        st.session_state["picture_chosen"] = next(iter(good))
    chosen = st.selectbox(
        "Which of them",
        list(good),
        format_func=titles.__getitem__,
        key="picture_chosen",
        help="The one that is used; the others wait.",
    )
    small = [image for key in good if (image := looks[key].small) is not None]
    st.image(small, [plain(f"▸ {title}" if key == chosen else title) for key, title in titles.items()], width=_SMALL)
    return _remembered(good[chosen])


def _looks(files: Sequence[_File]) -> dict[str, _Look]:
    """What each file holds, by its key, as far as it is known by now; a file is read for that once.

    How far the rest are is drawn. What was read stays when that is cancelled.
    """
    known: dict[str, _Look] = st.session_state.setdefault("looks", {})
    for key in set(known) - {file.key for file in files}:
        del known[key]
    unread = [file for file in files if file.key not in known]
    if _quick(unread):
        runs.cancel(_SEVERAL)
        for file in unread:
            known[file.key] = _look(read_image, file)
    else:
        work = partial(_look_at, files, known)
        runs.outcome(_SEVERAL, tuple(file.key for file in files), work, cached.reading_queue())
    return {file.key: known[file.key] for file in files if file.key in known}


def _look_at(files: Sequence[_File], known: dict[str, _Look], progress: Progress) -> Literal[True]:
    """Add what each file holds to what is known; for a worker thread."""
    for place, file in enumerate(files):
        progress.report(place / len(files), f"Reads picture {place + 1} of {len(files)}")
        if file.key not in known:
            known[file.key] = _look(read, file)
    return True


def _look(reading: Callable[[bytes, str], Picture], file: _File) -> _Look:
    try:
        small = reading(file.data, file.name).image.copy()
    except ImageError as problem:
        return _Look(problem=str(problem))
    small.thumbnail((_SMALL, _SMALL))
    return _Look(small)


def crop(picture: Picture, preprocessing: Preprocessing, key: str = "crop") -> Box | None:
    """Draw the picture with the square of it that a net sees, which can be moved, and what the net gets of it.

    Args:
        picture: another one brings the square back to the centre.
        preprocessing: the net's; a square that nobody has moved is that of the net's own validation.
        key: of the widgets.

    Returns:
        The square, for nets of any input size; None while nobody has moved it.
    """
    width, height = picture.image.size
    state = st.session_state
    if state.get(f"{key}_of") != picture:
        linked = None if f"{key}_of" in state else _linked(key)
        state[f"{key}_of"] = picture
        state[f"{key}_moved"] = linked is not None
        if linked is not None:
            _set(key, linked)
    default = preprocessing.box_of(width, height)
    if not state[f"{key}_moved"]:
        _set(key, Place.of(default, width, height))
    whole, part = st.columns([3, 2])
    shown = whole.empty()
    with whole.expander("Move the square", icon=":material/crop:"):
        place = _placing(key, width, height)
    moved = state[f"{key}_moved"]
    box = place.box(width, height) if moved else None
    state[key] = f"{place.across:g},{place.down:g},{place.side:g}" if moved else ""  # for the link
    shown.plotly_chart(
        crop_chart(picture.image, box or default),
        key=f"{key}_chart",
        on_select=partial(_clicked, key, place, width, height),
        selection_mode="points",
        config=config("crop", "png"),
        alt=f"{picture.name} with the square that the net sees",
    )
    seen = preprocessing.crop_of(picture.image, box)
    size = f"{seen.width} x {seen.height} px".replace(" ", "\N{NO-BREAK SPACE}")
    part.image(
        seen,
        caption=f"As the net sees it: {size}",
        alt=f"{picture.name}, cut to the square that the net sees",
        width="stretch",
    )
    with st.expander("What was done to it", icon=":material/tune:"):
        st.caption(preparation(preprocessing, picture.image, box))
        parts.table(channels_table(preprocessing, seen), f"{key}_channels", column_config=_CHANNELS)
        parts.download(
            "The net's input as NPY",
            npy,
            input_of(preprocessing, seen),
            "input.npy",
            "application/octet-stream",
            "Channels x rows x columns, as the net gets them, for numpy.load.",
        )
    return box


def _linked(key: str) -> Place | None:
    """The place that the link says, if it says one that can be."""
    text = st.session_state.get(key)
    if not text:
        return None
    try:
        across, down, side = map(float, text.split(","))
    except ValueError:
        across = down = side = -1.0
    if 0 <= across <= 100 and 0 <= down <= 100 and LEAST <= side <= 100:
        return Place(across, down, side)
    st.warning(
        plain(
            f"{key} (={text[:60]}) of the link must be three numbers: percent from the left and from the top, up to "
            f"100, and the side in percent of the shorter one, {LEAST:g} to 100; the centre is shown instead."
        ),
        icon=":material/link_off:",
    )
    return None


def _placing(key: str, width: int, height: int) -> Place:
    """The sliders, and the way back."""
    across, down, side = (f"{key}_{name}" for name in ("across", "down", "side"))
    st.slider(
        "Size",
        LEAST,
        100.0,
        step=STEP,
        format="%.1f%%",
        key=side,
        on_change=_moved,
        args=(key,),
        persist_state="session",
        help="Side of the square, in percent of the picture's shorter side. A smaller square shows the net less, "
        "enlarged.",
    )
    for name, label, ends, longer in (
        (across, "Left to right", "at the left edge, 100 at the right one", width),
        (down, "Up to down", "at the upper edge, 100 at the lower one", height),
    ):
        st.slider(
            label,
            0.0,
            100.0,
            step=STEP,
            format="%.1f%%",
            key=name,
            on_change=_moved,
            args=(key,),
            disabled=not has_room(st.session_state[side], longer, min(width, height)),
            persist_state="session",
            help=f"Where the square lies: 0 is {ends}. Or click in the picture.",
        )
    st.button(
        "Back to the centre",
        on_click=_centred,
        args=(key,),
        disabled=not st.session_state[f"{key}_moved"],
        key=f"{key}_back",
        icon=":material/filter_center_focus:",
        help="The square that the net's own validation pictures were cut to.",
    )
    return Place(st.session_state[across], st.session_state[down], st.session_state[side])


def _set(key: str, place: Place) -> None:
    st.session_state.update({f"{key}_across": place.across, f"{key}_down": place.down, f"{key}_side": place.side})


def _moved(key: str) -> None:
    st.session_state[f"{key}_moved"] = True


def _centred(key: str) -> None:
    st.session_state[f"{key}_moved"] = False


def _clicked(key: str, place: Place, width: int, height: int) -> None:
    """A click in the picture is where the square's centre goes."""
    points = st.session_state[f"{key}_chart"].selection.points
    if points:
        _set(key, place.at(points[0]["x"], points[0]["y"], width, height))
        _moved(key)
