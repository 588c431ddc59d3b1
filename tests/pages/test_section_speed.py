"""The section on measured speed, through Streamlit's own page tests."""

import io
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis import latency
from explorer.analysis.latency import Conditions, Latency, Speeds, latency_table
from explorer.pages.compare_sections import speed

MADE = Conditions("cpu", "A *fast* CPU", 3, 8, 1.25, "2.15.0", datetime(2026, 11, 22, 9, 5, tzinfo=UTC))


def page(names: tuple[str, ...], image_size: tuple[int, int] | None) -> None:
    from dataclasses import replace

    from explorer.analysis.profile import profile
    from explorer.pages import edge
    from explorer.pages.compare_sections import speed
    from explorer.pages.compare_sections.compared import Compared
    from explorer.spec import PRESETS

    tiny = replace(PRESETS["cifar_resnet20"], depths=(1, 1, 1), width=1)
    nets = {name: replace(tiny, width=place) for place, name in enumerate(names, 1)}
    profiles = {name: profile(net) for name, net in nets.items() if name != "uncounted"}
    with edge.sentences():
        speed.show(Compared(nets, image_size, profiles))


def start(*names: str, image_size: tuple[int, int] | None = None) -> AppTest:
    what = {"names": names or ("small", "large"), "image_size": image_size}
    app = AppTest.from_function(page, default_timeout=60, kwargs=what).run()
    assert not app.exception
    return app


def measured(app: AppTest) -> AppTest:
    return until(app.button(key="speed_measure").click().run(), lambda app: app.dataframe)


def text(app: AppTest) -> str:
    """What is written, without the backslashes before signs that Markdown would read."""
    return "\n".join(part.value for part in (*app.caption, *app.markdown, *app.info, *app.warning)).replace("\\:", ":")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be measured; a made-up result comes back at once, each call's a millisecond slower."""
    made: list[dict[str, Any]] = []
    number = itertools.count(1)

    def measure(nets: Any, device: str, batch: int, image_size: Any, report: Callable[[float, str], None]) -> Speeds:
        made.append({"nets": list(nets), "device": device, "batch": batch, "image_size": image_size})
        report(0.5, "Measuring")
        shift = next(number) / 1000
        rows = [
            Latency(name, (3, 32, 32), 10, place * 10**9, (0.01 * place + shift,) * 5)
            for place, name in enumerate(nets, 1)
            if name != "huge"
        ]
        return Speeds(batch, tuple(rows), (("huge", "There is *no* room."),) if "huge" in nets else (), MADE)

    monkeypatch.setattr(speed, "measure", measure)
    return made


def test_nothing_is_measured_before_it_is_asked(calls: list[dict[str, Any]]) -> None:
    app = start()
    assert not calls
    assert not app.dataframe
    assert "speed_run" not in app.session_state
    assert "not measured with these settings yet" in text(app)


def test_a_real_measurement_shows_table_chart_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ROUNDS", (5, 5))
    app = measured(start())
    (table,) = (frame.value for frame in app.dataframe)
    assert list(table["net"]) == ["small", "large"]
    assert (table["median_ms"] > 0).all()
    assert list(table["passes"]) == [5, 5]
    assert list(table["input_shape"]) == ["3x32x32"] * 2
    assert len(app.get("plotly_chart")) == 1
    said = text(app)
    for words in ("Measured ", "UTC on", "PyTorch 2", "cores, ", "float32, batch 1", "random weights", "quiet moment"):
        assert words in said
    assert not app.error


def test_the_settings_reach_the_measurement(calls: list[dict[str, Any]]) -> None:
    app = start("a", "b", "uncounted", image_size=(224, 224))
    app.segmented_control(key="speed_batch_cpu").set_value(8).run()
    measured(app)
    assert calls == [{"nets": ["a", "b"], "device": "cpu", "batch": 8, "image_size": (224, 224)}]
    assert "batch 8" in text(app)


def test_results_are_kept_by_nets_and_settings(calls: list[dict[str, Any]]) -> None:
    app = measured(start())
    first = app.dataframe[0].value
    app.segmented_control(key="speed_batch_cpu").set_value(4).run()
    assert not app.dataframe, "these settings are not measured"
    measured(app)
    assert not app.dataframe[0].value.equals(first)
    app.segmented_control(key="speed_batch_cpu").set_value(1).run()
    assert app.dataframe[0].value.equals(first)
    assert [call["batch"] for call in calls] == [1, 4]


def test_a_second_press_measures_again(calls: list[dict[str, Any]]) -> None:
    app = measured(start())
    first = app.dataframe[0].value
    measured(app)
    assert len(calls) == 2
    assert (app.dataframe[0].value["median_ms"] - first["median_ms"]).tolist() == pytest.approx([1.0, 1.0])


def test_no_more_than_a_few_results_are_kept(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "KEPT", 2)
    app = start()
    for batch in (1, 2, 4):
        app.segmented_control(key="speed_batch_cpu").set_value(batch).run()
        measured(app)
    assert [question[2] for question in app.session_state["speed_results"]] == [2, 4]


def test_the_finding_is_that_of_the_table(calls: list[dict[str, Any]]) -> None:
    app = measured(start("a", "b"))  # 1 and 2 GMACs in 11 and 21 ms
    assert "**Here the time follows the MACs: all nets do 90.9 to 95.2 GMAC/s.**" in text(app)


def test_one_net_has_a_table_and_no_finding(calls: list[dict[str, Any]]) -> None:
    app = measured(start("a"))
    assert not [part for part in app.markdown if part.value.startswith("**")]


def test_a_net_that_was_refused_is_named_with_its_sentence(calls: list[dict[str, Any]]) -> None:
    app = measured(start("a", "huge"))
    (warning,) = app.warning
    assert warning.value == r"huge was not measured\: There is \*no\* room."
    assert list(app.dataframe[0].value["net"]) == ["a"]


def test_all_refused_leaves_the_sentences_alone(calls: list[dict[str, Any]]) -> None:
    app = until(start("huge").button(key="speed_measure").click().run(), lambda app: app.warning)
    assert not app.dataframe
    assert not app.error


def test_a_machine_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "devices", lambda: ("cpu",))
    app = start()
    assert "no GPU that PyTorch can use" in text(app)
    assert [control.key for control in app.segmented_control] == ["speed_batch_cpu"]


def test_a_gpu_is_offered_where_there_is_one(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "devices", lambda: ("cpu", "cuda"))
    app = start("a")
    assert "no GPU" not in text(app)
    app.segmented_control(key="speed_device").set_value("cuda").run()
    app.segmented_control(key="speed_batch_cuda").set_value(256).run()
    measured(app)
    assert (calls[0]["device"], calls[0]["batch"]) == ("cuda", 256)


def test_what_it_ran_on_is_said_letter_by_letter(calls: list[dict[str, Any]]) -> None:
    said = text(measured(start()))
    assert r"Measured 09:05 UTC on 22 November 2026 · 3 of 8 cores, A \*fast\* CPU · PyTorch 2.15.0" in said
    assert "1.2 processes running or waiting, on average in the minute before" in said


def test_it_can_be_cancelled_and_measured_again(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = speed.measure

    def endless(*args: Any) -> Speeds:
        while True:
            args[-1](0.5, "Measuring")
            time.sleep(0.01)

    monkeypatch.setattr(speed, "measure", endless)
    app = start()
    app.button(key="speed_measure").click().run()
    app.button(key="speed_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value
    monkeypatch.setattr(speed, "measure", quick)
    measured(app)
    assert len(calls) == 1


def test_every_control_has_a_help_text(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "devices", lambda: ("cpu", "cuda"))
    app = measured(start())
    kinds = ("segmented_control", "button", "download_button", "button_group")
    drawn = {id(widget.proto): widget for kind in kinds for widget in app.get(kind)}
    assert len(drawn) == 2 + 1 + 1
    assert all(widget.proto.help for widget in drawn.values())


def test_the_file_holds_the_table(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    app = measured(start())
    assert list(files) == ["inference_speed.csv"]
    content = pd.read_csv(io.BytesIO(files["inference_speed.csv"]))
    (kept,) = app.session_state["speed_results"].values()
    assert content["median_ms"].tolist() == pytest.approx(latency_table(kept)["median_ms"].tolist())
    assert content["input_shape"].tolist() == ["3x32x32"] * 2
