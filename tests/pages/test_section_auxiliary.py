"""The experiment on GoogLeNet's auxiliary classifiers, through Streamlit's own page tests."""

import io
from typing import Any

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.gradients import AuxiliaryStudy, Outcome, auxiliary_study


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.experiments_sections import auxiliary

    with edge.sentences():
        auxiliary.show()


def started(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[f"auxiliary_{key}"] = value
    return app.run()


def finished(**state: Any) -> AppTest:
    app = until(started(**state), lambda app: app.dataframe)
    assert not app.exception
    assert not app.error
    return app


@pytest.fixture(scope="module")
def measured() -> Outcome:
    return auxiliary_study(AuxiliaryStudy(seeds=1))


@pytest.fixture
def asked(measured: Outcome, monkeypatch: pytest.MonkeyPatch) -> list[AuxiliaryStudy]:
    """What the page asks for, answered at once by one measurement."""
    studies: list[AuxiliaryStudy] = []

    def answer(study: AuxiliaryStudy, report: object) -> Outcome:
        studies.append(study)
        return measured

    monkeypatch.setattr("explorer.pages.experiments_sections.auxiliary.auxiliary_study", answer)
    return studies


def test_it_measures_what_the_controls_say() -> None:
    app = finished(seeds=1, norm=True, start="kaiming", weight=0.5)
    expected = auxiliary_study(AuxiliaryStudy(0.5, "kaiming", True, 1)).summary
    assert app.dataframe[0].value.equals(expected)
    shown = {metric.label: (metric.value, str(metric.delta)) for metric in app.metric}
    rows = expected.set_index("name")
    assert shown == {
        f"Gradient at {place}": (
            f"{rows.loc[place, 'ratio']:.3g} ×",
            f"{rows.loc[place, 'ratio_low']:.3g} to {rows.loc[place, 'ratio_high']:.3g}",
        )
        for place in ("conv1", "inception3a", "inception4b", "inception4e")
    }
    assert shown["Gradient at inception4e"][0] == "1 ×"


@pytest.mark.parametrize(
    ("key", "value", "study"),
    [
        (None, None, AuxiliaryStudy()),
        ("norm", True, AuxiliaryStudy(batch_norm=True)),
        ("weight", 0.7, AuxiliaryStudy(weight=0.7)),
        ("start", "pytorch", AuxiliaryStudy(start="pytorch")),
        ("seeds", 5, AuxiliaryStudy(seeds=5)),
    ],
)
def test_each_control_changes_the_question(
    asked: list[AuxiliaryStudy], key: str | None, value: Any, study: AuxiliaryStudy
) -> None:
    app = finished(**{key: value} if key else {})
    assert asked == [study]
    assert f"{study.weight:g} of each head's added" in app.caption[0].value
    assert ("with batch norm instead" in app.caption[0].value) is study.batch_norm
    assert f"seeds 0 to {study.seeds - 1}" in app.caption[0].value


def test_the_caption_says_what_is_measured(asked: list[AuxiliaryStudy]) -> None:
    (caption,) = finished().caption
    for words in (
        "random weights, before any training",
        "dropout off",
        "batch of 4 images",
        "224 px",
        "root of the sum",
    ):
        assert words in caption.value


@pytest.mark.parametrize(
    "words", ["1409.4842, section 5", "1512.00567, section 4", "regularisers", "no faster training"]
)
def test_it_says_what_was_published(asked: list[AuxiliaryStudy], words: str) -> None:
    text = "".join(text.value for text in finished().markdown).replace("\n", " ")
    assert words in text


def test_the_chart_has_both_lines_and_the_heads(asked: list[AuxiliaryStudy]) -> None:
    (chart,) = finished().get("plotly_chart")
    for text in ('"name":"without heads"', '"name":"with heads"', '"text":"aux1"', '"text":"aux2"', "inception5b"):
        assert text in chart.proto.spec


def test_every_control_has_a_help_text(asked: list[AuxiliaryStudy]) -> None:
    app = finished()
    kinds = ("selectbox", "slider", "toggle", "metric", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) == 1 + 2 + 1 + 4 + 2
    assert all(widget.proto.help for widget in drawn)


def test_a_run_shows_how_far_it_is_and_can_be_cancelled() -> None:
    app = started(seeds=5)
    assert not app.dataframe, "it takes seconds"
    app.button(key="auxiliary_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value


def test_the_files_hold_summary_and_curves(
    asked: list[AuxiliaryStudy], measured: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    finished()
    for name, table in (("auxiliary.csv", measured.summary), ("gradient_with_heads.csv", measured.curves)):
        read = pd.read_csv(io.BytesIO(files[name]), keep_default_na=False)
        pd.testing.assert_frame_equal(read, table, check_dtype=False)
