"""Long work on a page of its own: what a slot keeps, and what it lets go of."""

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.jobs import Job


class Net:
    """A large result, or part of a question."""


OVER = threading.Event()  # work ends when it is set
MADE: list[weakref.ref[Net]] = []  # the results


def work(progress: Any) -> Net:
    """For as long as the test wants."""
    while not OVER.wait(0.01):
        progress.report(0.5, "Half-way")
    net = Net()
    MADE.append(weakref.ref(net))
    return net


@pytest.fixture(autouse=True)
def slow() -> Iterator[None]:
    OVER.clear()
    MADE.clear()
    yield
    OVER.set()


def page() -> None:
    """One result, several, or none; `gone` are let go of."""
    import streamlit as st

    from explorer.pages import runs

    state = st.session_state
    if gone := state.pop("gone", None):
        runs.let_go(*gone)
    asked, work = state["asked"], state["work"]
    if isinstance(asked, dict):
        state["found"] = sorted(runs.outcomes("several", asked, lambda question, progress: work(progress)))
    elif asked is not None:
        state["found"] = runs.outcome("one", asked, work) is not None


def start(asked: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["asked"], app.session_state["work"] = asked, work
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def has(app: AppTest, label: str) -> bool:
    return any(button.label == label for button in app.button)


def alive() -> list[bool]:
    gc.collect()
    return [made() is not None for made in MADE]


def test_a_result_whose_progress_was_drawn_goes_with_its_slot() -> None:
    app = start("net a")
    assert has(app, "Cancel")
    OVER.set()
    until(app, lambda app: app.session_state["found"])
    assert alive() == [True]
    app.session_state["asked"] = None
    app.session_state["gone"] = ("net a",)
    app.run().run()
    assert alive() == [False]
    assert "one" not in app.session_state


def test_results_of_several_go_with_their_questions() -> None:
    app = start({"A": ("net a", 1), "B": ("net b", 2)})
    assert has(app, "Cancel")
    OVER.set()
    until(app, lambda app: app.session_state["found"] == ["A", "B"])
    assert alive() == [True, True]
    app.session_state["asked"] = None
    app.session_state["gone"] = ("net a",)
    app.run().run()
    assert sorted(alive()) == [False, True]
    assert list(app.session_state["several"]) == [("net b", 2)]


@pytest.mark.parametrize("question", ["net a", ("net a", 3), ("picture", (("net a", "x"), 1.0))])
def test_what_works_on_a_thing_that_is_no_more_is_stopped(question: Any) -> None:
    app = start(question)
    job: Job[Net] = app.session_state["one"].job
    app.session_state["asked"] = None
    app.session_state["gone"] = ("another", "net a")
    app.run()
    assert job.wait(10)
    assert job.state == "cancelled"
    assert MADE == []


def test_what_is_asked_of_other_things_goes_on() -> None:
    app = start(("net b", 1, "net"))
    app.session_state["gone"] = ("net a", True, ("net b", 1))  # True is not 1 here
    job = app.session_state["one"].job
    app.run()
    assert app.session_state["one"].job is job
    assert job.state == "running"


def test_cancel_and_again_act_on_what_the_slot_works_for_now() -> None:
    app = until(start({"A": 1, "B": 2}), lambda app: has(app, "Cancel"))
    press(app, "Cancel")
    until(app, lambda app: [info.value for info in app.info] == ["Cancelled\\: A, B."])
    OVER.set()
    press(app, "Measure these again")
    until(app, lambda app: app.session_state["found"] == ["A", "B"])
    assert not has(app, "Measure these again")
    OVER.clear()
    app.session_state["asked"] = "one alone"
    until(app.run(), lambda app: has(app, "Cancel"))
    press(app, "Cancel")
    until(app, lambda app: has(app, "Run it again"))
    OVER.set()
    press(app, "Run it again")
    until(app, lambda app: app.session_state["found"] is True)
