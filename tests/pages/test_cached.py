"""What is remembered for sessions, and how long."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer.jobs import Cancelled, Progress
from explorer.pages import cached
from explorer.pages.cached import Measurement


class Net:
    """Something large that a measurement is made of."""


@pytest.fixture(params=["everyone's", "own"])
def memory(request: pytest.FixtureRequest) -> Callable[[Measurement], Any]:
    """The last two results."""
    if request.param == "own":
        app = AppTest.from_function(_own).run()
        found: Callable[[Measurement], Any] = app.session_state["memory"]
        return found
    cached.measurements.clear()
    return cached.measurements("tests", 2)


def _own() -> None:
    import streamlit as st

    from explorer.pages import cached

    st.session_state["memory"] = cached.own_measurements("tests", 2)
    assert cached.own_measurements("tests", 2) is st.session_state["memory"]


def test_the_last_results_are_remembered_by_what_was_asked(memory: Callable[[Measurement], Any]) -> None:
    measured: list[str] = []

    def ask(question: str) -> str:
        found: str = memory(Measurement(question, lambda: measured.append(question) or f"{question}!"))
        return found

    assert [ask(question) for question in ("a", "b", "a", "c", "a", "b")] == ["a!", "b!", "a!", "c!", "a!", "b!"]
    assert measured == ["a", "b", "c", "b"]  # of a, b, c the one that was longest not asked for, b, made room for c


def test_what_a_result_was_measured_with_is_not_kept(memory: Callable[[Measurement], Any]) -> None:
    net = Net()
    alive = weakref.ref(net)
    assert memory(Measurement("what", lambda net=net: type(net).__name__)) == "Net"
    del net
    gc.collect()
    assert alive() is None
    assert memory(Measurement("what", lambda: "anew")) == "Net"


def test_what_fails_is_not_remembered(memory: Callable[[Measurement], Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        memory(Measurement("what", lambda: 1 / 0))
    assert memory(Measurement("what", lambda: 7)) == 7


def test_pictures_that_a_session_gave_are_read_no_more_when_it_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "GRACE", 0.05)
    over = threading.Event()

    def read(progress: Progress) -> None:
        while not over.wait(0.01):
            progress.check()

    data = Net()
    alive = weakref.ref(data)
    running = cached.reading_queue().submit("gone", read)
    waiting = cached.reading_queue().submit("gone", lambda progress, data=data: data)
    del data
    try:
        cached._leave("gone")
        assert running.wait(10)
        with pytest.raises(Cancelled):
            waiting.result(10)
        gc.collect()
        assert alive() is None
    finally:
        over.set()
