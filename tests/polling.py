"""Waiting for a page's long work, in Streamlit's own page tests."""

import time
from collections.abc import Callable

from streamlit.testing.v1 import AppTest


def until(app: AppTest, ready: Callable[[AppTest], object]) -> AppTest:
    """Rerun as the page's own polling would, which these page tests do not do."""
    end = time.monotonic() + 120
    while not ready(app):
        assert time.monotonic() < end, app
        app.run()
    assert not app.exception
    return app
