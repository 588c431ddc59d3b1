"""Waiting for a page's long work, in Streamlit's own page tests."""

import time
from collections.abc import Callable

from streamlit.testing.v1 import AppTest


def until(app: AppTest, ready: Callable[[AppTest], object]) -> AppTest:
    """Rerun as the page's own polling would, which these page tests do not do."""
    end = time.monotonic() + 120
    while not ready(app):
        assert time.monotonic() < end, app
        for box in app.selectbox:
            if box.proto.accept_new_options and box.value not in (None, *box.options):
                box.options.append(
                    str(box.value)
                )  # AppTest sends a choice by its place in the list; a browser, its text
        app.run()
    assert not app.exception
    return app
