"""The one place where an error becomes a sentence."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from explorer.errors import Refusal

_log = logging.getLogger(__name__)


def plain(text: str) -> str:
    """The text for Streamlit to show letter by letter: what a stranger wrote into a link is no Markdown of ours."""
    return re.sub(r"([\\`*_~\[\]<>$:!#|])", r"\\\1", text)


@contextmanager
def sentences() -> Iterator[None]:
    """Show what cannot be done as its sentence, and a defect of ours as an apology; its details go to the log."""
    try:
        yield
    except Refusal as refusal:
        st.error(plain(str(refusal)), icon=":material/block:")
    except Exception:
        _log.exception("A page failed")
        st.error(
            "Something failed that should not have; the details are in the server's log. Your settings are kept: "
            "change one, or reload the page.",
            icon=":material/error:",
        )
