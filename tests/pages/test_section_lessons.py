"""The lessons, through Streamlit's own page tests: each has its question, its numbers and its trial."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import recordings
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.lessons import Pass
from explorer.models.variants import VARIANTS, variant
from explorer.pages.degradation_sections import watching
from explorer.pages.degradation_sections.lessons import LESSONS
from explorer.training import shipped
from explorer.training.lessons import RUNS

DEGRADATION = Path(__file__).parents[2] / "explorer/pages/degradation.py"
NAMES = ("plain", "shortcuts", "thousand", "warm-up", "identity", "d2l")


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.degradation_sections import lessons

    with edge.sentences():
        lessons.show()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recorded runs of the test's own."""
    recordings.write(tmp_path, "plain", 20, first=60.0)
    recordings.write(tmp_path, "a", 56, first=50.0)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


def start(lesson: str = "plain", **state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["lesson"] = lesson
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    assert not app.error
    return app


def words(app: AppTest) -> str:
    return "\n".join(each.value for kind in ("markdown", "caption") for each in app.get(kind))


def tables(app: AppTest) -> list[pd.DataFrame]:
    return [frame.value for frame in app.dataframe]


def test_they_are_six_and_numbered() -> None:
    app = start()
    assert tuple(LESSONS) == NAMES
    assert [label[:2] for label in app.segmented_control(key="lesson").options] == [f"{n}." for n in range(1, 7)]


@pytest.mark.parametrize("name", NAMES)
def test_each_has_question_reason_source_numbers_and_trial(name: str) -> None:
    app, lesson = start(name), LESSONS[name]
    text = words(app)
    for part in ("**Question.**", "**What to expect, and why**", "**Published**", "**Recorded here**", "**Try it**"):
        assert part in text
    assert lesson.question in text
    assert "arXiv" in lesson.expect or name == "d2l"
    pd.testing.assert_frame_equal(tables(app)[0], lesson.printed())
    assert app.subheader[0].value == f"{NAMES.index(name) + 1}. {lesson.title}"
    assert [app.button(key=f"lesson_run_{trial}").label for trial in lesson.trials.values()] == list(lesson.trials)
    assert lesson.trials or lesson.measure, "there is something to do"


@pytest.mark.parametrize("name", NAMES)
def test_a_button_puts_its_runs_into_the_lab(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Any] = []
    monkeypatch.setattr("explorer.pages.degradation_sections.live.prepare", prepared.append)
    app = start(name)
    for trial in LESSONS[name].trials.values():
        app.button(key=f"lesson_run_{trial}").click().run()
        assert not app.exception
        assert list(prepared[-1].runs) == RUNS[trial]()
        assert prepared[-1].lesson == app.subheader[0].value
        assert set(prepared[-1].charts) <= set(watching.CHARTS)


def test_the_lab_opens_with_the_runs_ready_to_start() -> None:
    app = AppTest.from_file(str(DEGRADATION), default_timeout=60)
    app.session_state["lab"], app.session_state["lesson"] = "lessons", "shortcuts"
    app.run()
    app.button(key="lesson_run_shortcuts").click().run()
    assert not app.exception
    assert app.session_state["lab"] == "live"
    assert "ResNet-56 B" in words(app)


def test_every_run_of_the_lessons_has_its_button() -> None:
    assert {trial for lesson in LESSONS.values() for trial in lesson.trials.values()} == set(RUNS)


def test_vanishing_gradients_are_not_taught_as_the_reason() -> None:
    assert "vanishing gradients are an\nunlikely cause" in LESSONS["plain"].expect
    for lesson in LESSONS.values():
        for text in (lesson.expect, lesson.trial, lesson.reading):
            for sentence in text.replace("\n", " ").split(". "):
                if "vanish" in sentence:
                    assert "unlikely" in sentence or "neither" in sentence or "not vanish" in sentence, sentence


def test_the_first_lesson_shows_what_is_recorded(folder: Path) -> None:
    nets = shipped.nets(shipped.shipped(folder))
    pd.testing.assert_frame_equal(tables(start("plain"))[1], shipped.ends_table(nets))
    pd.testing.assert_frame_equal(tables(start("shortcuts"))[1], shipped.ends_table(nets[1:]))


def test_the_first_lesson_says_what_depth_did_in_the_recorded_runs(folder: Path) -> None:
    recordings.write(folder, "a", 20, first=40.0)
    assert "After 60 steps ResNet-56 is wrong on 30.0% of its training batches" in words(start("plain"))


def test_nothing_recorded_is_said(folder: Path) -> None:
    app = start("warm-up")
    assert "Nothing is recorded for this lesson yet." in words(app)
    assert len(tables(app)) == 1


def test_a_missing_folder_of_runs_is_said_and_the_lesson_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    app = start()
    assert "There is no recorded run" in words(app)
    assert app.button(key="lesson_run_plain")


def test_a_wrong_lesson_in_the_link_is_said() -> None:
    app = start("banana")
    assert "lesson (=banana)" in app.warning[0].value.replace("\\", "")
    assert app.subheader[0].value == "1. Plain against residual"


def test_the_gradients_of_the_options_are_measured_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from explorer.analysis.lessons import gradient_ratios

    monkeypatch.setattr("explorer.pages.degradation_sections.lessons._DEPTHS", (8, 14))
    app = start("shortcuts")
    assert len(tables(app)) == 2, "nothing is computed unasked"
    app.toggle(key="lesson_ratios").set_value(True).run()
    until(app, lambda app: len(app.dataframe) == 3)
    measured = tables(app)[2]
    pd.testing.assert_frame_equal(measured, gradient_ratios(("a", "b", "c"), (8, 14)))
    assert list(measured) == ["depth", *(VARIANTS[name].title for name in ("a", "b", "c"))]
    assert "no proof" in words(app)


def test_a_pass_through_both_nets_is_made_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"ResNet-8": variant("a", 8), "ResNet-14": variant("a", 14)}
    monkeypatch.setattr("explorer.pages.degradation_sections.lessons._THOUSAND", small)
    app = start("thousand", lesson_thousand=True)
    until(app, lambda app: len(app.dataframe) == 2 and app.get("plotly_chart"))
    table = tables(app)[1]
    assert list(table["net"]) == ["ResNet-8", "ResNet-14"]
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    lines = {trace["name"]: trace for trace in figure["data"] if trace.get("name")}
    assert {name: len(line["x"]) for name, line in lines.items()} == {"ResNet-8": 3, "ResNet-14": 6}
    assert lines["ResNet-8"]["y"][0] / lines["ResNet-8"]["y"][-1] == pytest.approx(table["ratio"][0])


def test_the_thousand_layers_can_be_cancelled() -> None:
    app = start("thousand", lesson_thousand=True)
    assert len(tables(app)) == 1, "it takes seconds"
    app.button(key="lesson_thousand_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value


def test_the_two_nets_are_those_of_the_paper() -> None:
    from explorer.pages.degradation_sections.lessons import _DEPTHS, _OPTIONS, _THOUSAND

    assert {"ResNet-110": variant("a", 110), "ResNet-1202": variant("a", 1202)} == _THOUSAND
    assert (_OPTIONS, _DEPTHS) == (("a", "b", "c"), (20, 56, 110))


@pytest.mark.parametrize("name", NAMES)
def test_every_control_has_a_help_text_and_every_column(name: str) -> None:
    from explorer.pages.degradation_sections.lessons import _COLUMNS
    from explorer.pages.degradation_sections.recorded import COLUMNS

    app = start(name)
    kinds = ("segmented_control", "button", "toggle", "download_button")
    assert all(widget.proto.help for kind in kinds for widget in app.get(kind))
    assert {column for table in tables(app) for column in table} <= {*_COLUMNS, *COLUMNS}


def test_the_files_hold_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    monkeypatch.setattr(
        "explorer.pages.degradation_sections.lessons.passes",
        lambda nets, report: {name: Pass(1, 0.1, 0.2, 0.3, 4, (2.0, 1.0)) for name in nets},
    )
    until(start("thousand", lesson_thousand=True), lambda app: app.get("plotly_chart"))
    assert set(files) == {"published_thousand.csv", "thousand_layers.csv"}
    assert list(pd.read_csv(io.BytesIO(files["thousand_layers.csv"]))["ratio"]) == [2, 2]
