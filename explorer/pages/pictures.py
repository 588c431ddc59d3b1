"""Choosing a picture: one that ships with scikit-image, or the person's own."""

import threading

import streamlit as st
from PIL import Image

from explorer.attribution import Picture, read_image
from explorer.attribution.images import MAX_BYTES
from explorer.pages import cached
from explorer.pages.edge import plain

_SAMPLES = {"coffee": "Cup of coffee", "chelsea": "Cat", "rocket": "Rocket", "astronaut": "Astronaut"}

_ONE_AT_A_TIME = threading.Lock()  # a picture of 40 megapixels takes up to 600 MB while it is read


def choose() -> Picture | None:
    """Draw the choice; the picture, or None while there is none.

    Raises:
        ImageError: the upload is no picture that can be used.
    """
    source = st.segmented_control(
        "Picture",
        ["Sample", "Upload"],
        default="Sample",
        required=True,
        key="picture_source",
        persist_state="session",
        help="A photo from scikit-image, in the public domain, or one of yours. Yours stays in this session's memory.",
    )
    if source == "Sample":
        name = st.selectbox(
            "Sample",
            list(_SAMPLES),
            format_func=_SAMPLES.__getitem__,
            key="sample",
            persist_state="session",
            help="Photos that scikit-image ships, in the public domain or CC0.",
        )
        return _remembered(f"sample {name}", cached.sample_picture(name), _SAMPLES[name])
    upload = st.file_uploader(
        "Your picture",
        ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"],
        key="upload",
        max_upload_size=MAX_BYTES // 1_000_000,
        help="PNG, JPEG, WebP, GIF, BMP or TIFF, up to 20 MB and 40 megapixels.",
    )
    if upload is not None:
        return _remembered(upload.file_id, upload.getvalue(), upload.name)
    before: tuple[str, Picture] | None = st.session_state.get("picture")
    if before is None or before[0].startswith("sample "):
        return None
    st.caption(f"Still {plain(before[1].name)}, from before; upload another to replace it.")
    return before[1]


def samples(besides: str | None = None) -> list[Image.Image]:
    """Every sample but one, by its `sample_name`."""
    return cached.samples(tuple(name for name in _SAMPLES if f"sample {name}" != besides))


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


def _remembered(key: str, data: bytes, name: str) -> Picture:
    """The picture, decoded once and not at every move of a slider."""
    known: tuple[str, Picture] | None = st.session_state.get("picture")
    if known is None or known[0] != key:
        known = key, read(data, name)
        st.session_state["picture"] = known
    return known[1]
