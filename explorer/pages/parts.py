"""Small things that every page draws alike."""

from collections.abc import Callable
from typing import Any

import streamlit as st


def download(label: str, make: Callable[..., bytes], content: Any, file_name: str, mime: str, about: str) -> None:
    """A download button; the file is made when it is pressed, and the page does not run again."""
    st.download_button(
        label,
        lambda: make(content),
        file_name,
        mime,
        on_click="ignore",
        icon=":material/download:",
        help=about,
    )
