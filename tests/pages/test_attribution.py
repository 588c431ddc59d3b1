"""The Attribution page, through Streamlit's own page tests."""

import io
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from PIL import Image
from polling import until
from skimage import data
from streamlit.testing.v1 import AppTest

from explorer.jobs import Progress, QueueFull
from explorer.models.downloads import WeightsUnavailable
from explorer.pages import cached


def start() -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60).run()
    return app.switch_page("explorer/pages/attribution.py").run()


def has_measures(app: AppTest) -> bool:
    return [metric.label for metric in app.metric] == ["Logit", "Sum of the map", "Convergence delta"]


def choose_method(app: AppTest, name: str) -> AppTest:
    return app.selectbox(key="method").set_value(name).run()


def has_button(app: AppTest, label: str) -> bool:
    return any(button.label == label for button in app.button)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def upload(app: AppTest, name: str, content: bytes, mime: str = "image/png") -> AppTest:
    app.segmented_control(key="picture_source").set_value("Upload").run()
    return app.file_uploader[0].set_value((name, content, mime)).run()


@pytest.fixture
def long_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Attributions that go on until they are cancelled, or the test ends; the list says how each ended."""
    ends: list[str] = []
    over = threading.Event()

    def endless(*question: object, report: Callable[[float, str], None], **more: object) -> None:
        try:
            while not over.wait(0.01):
                report(0.5, "Half-way")
        except BaseException as end:
            ends.append(type(end).__name__)
            raise

    cached.measurements.clear()  # else a map that another test made is there at once
    monkeypatch.setattr("explorer.pages.attribution_sections.explaining.attribute", endless)
    yield ends
    over.set()


def test_a_sample_is_predicted_and_explained_at_once() -> None:
    app = until(start(), has_measures)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="target").options[0] == "The predicted one"
    caption = " ".join(caption.value for caption in app.caption)
    assert "Grad-CAM for espresso" in caption
    assert "CPU" in caption or "NVIDIA" in caption
    assert abs(float(app.metric[2].value)) < 1e-3, "Grad-CAM behind a pool and a linear layer adds up exactly"


def test_integrated_gradients_show_how_far_they_are_from_adding_up() -> None:
    app = until(start(), has_measures)
    choose_method(app, "integrated_gradients")
    app.slider(key="set_integrated_gradients_steps").set_value(10).run()
    until(app, has_measures)
    logit, total, delta = (float(metric.value) for metric in app.metric)
    assert logit == pytest.approx(11.41, abs=0.05)
    assert delta != 0
    said = re.search(r"should be, (-?[\d.]+)", app.metric[2].help)
    assert said is not None
    assert total - delta == pytest.approx(float(said[1]), abs=0.05 * abs(delta) + 0.002)


def test_any_class_can_be_explained() -> None:
    app = until(start(), has_measures)
    app.selectbox(key="target").set_value("968").run()
    until(app, lambda app: "for cup" in " ".join(caption.value for caption in app.caption))
    assert float(app.metric[0].value) == pytest.approx(7.27, abs=0.05)


def test_an_upload_is_read_and_its_notes_are_shown() -> None:
    rgba = Image.fromarray(data.coffee()).convert("RGBA")
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    app = until(upload(start(), "cup.png", png(rgba)), has_measures)
    assert any("Grad-CAM for espresso" in caption.value for caption in app.caption)
    assert any("white" in caption.value for caption in app.caption)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("note.png", b"I am a text"),
        ("empty.png", b""),
        ("long.png", png(Image.new("L", (1, 20000)))),
        ("half.png", png(Image.fromarray(data.coffee()))[:9000]),
    ],
)
def test_a_file_that_is_no_usable_picture_gets_a_sentence_and_the_page_goes_on(name: str, content: bytes) -> None:
    app = upload(start(), name, content)
    assert not app.exception
    assert name in app.error[0].value
    assert not app.metric
    app.segmented_control(key="picture_source").set_value("Sample").run()
    until(app, has_measures)
    assert not app.error


def test_weights_that_cannot_be_fetched_get_a_sentence_that_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*args: object) -> None:
        raise WeightsUnavailable("No connection; choose EfficientNet-Lite0, which works offline.")

    monkeypatch.setattr("explorer.models.checkpoints.fetch", unavailable)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    app = start()
    app.selectbox(key="checkpoint").set_value("resnet34").run()
    until(app, lambda app: app.error)
    assert "EfficientNet-Lite0" in app.error[0].value
    monkeypatch.undo()
    assert has_button(app, "Run it again"), "nobody has to reload the page for another try"
    app.selectbox(key="checkpoint").set_value("efficientnet_lite0").run()
    until(app, has_measures)
    assert not app.error


def test_a_run_shows_its_progress_and_can_be_cancelled_and_run_again(long_runs: list[str]) -> None:
    app = until(start(), lambda app: has_button(app, "Cancel") and "Half-way" in app.get("progress")[0].proto.text)
    next(button for button in app.button if button.label == "Cancel").click().run()
    until(app, lambda app: has_button(app, "Run it again"))
    until(app, lambda app: long_runs == ["Cancelled"])
    next(button for button in app.button if button.label == "Run it again").click().run()
    until(app, lambda app: has_button(app, "Cancel"))


def test_a_new_question_cancels_the_old_run(long_runs: list[str]) -> None:
    app = until(start(), lambda app: has_button(app, "Cancel") and app.get("progress")[0].proto.text.startswith("Half"))
    app.selectbox(key="target").set_value("3").run()
    until(app, lambda app: long_runs == ["Cancelled"])


def test_a_run_behind_another_persons_says_that_it_waits() -> None:
    over = threading.Event()
    job = cached.job_queue().submit("another person", lambda progress: over.wait(60))
    try:
        app = until(start(), lambda app: has_button(app, "Cancel"))
        assert "Waiting" in app.get("progress")[0].proto.text
    finally:
        over.set()
    job.wait(5)
    until(app, has_measures)


def test_a_failed_run_can_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*question: object, **options: object) -> None:
        raise ZeroDivisionError("secret detail")

    cached.measurements.clear()
    monkeypatch.setattr("explorer.pages.attribution_sections.explaining.attribute", broken)
    app = until(start(), lambda app: app.error)
    assert "secret" not in app.error[0].value
    monkeypatch.undo()
    next(button for button in app.button if button.label == "Run it again").click().run()
    until(app, has_measures)
    assert not app.error


def test_what_was_chosen_outlives_another_page_and_a_bad_upload() -> None:
    app = until(start(), has_measures)
    choose_method(app, "integrated_gradients")
    app.slider(key="set_integrated_gradients_steps").set_value(20).run()
    app.selectbox(key="sample").set_value("rocket").run()
    app.switch_page("explorer/pages/build.py").run()
    app.switch_page("explorer/pages/attribution.py").run()
    until(app, has_measures)
    assert app.selectbox(key="sample").value == "rocket"
    assert app.slider(key="set_integrated_gradients_steps").value == 20
    upload(app, "note.png", b"I am a text")
    app.segmented_control(key="picture_source").set_value("Sample").run()
    until(app, has_measures)
    assert app.selectbox(key="method").value == "integrated_gradients"


def test_an_upload_outlives_another_page() -> None:
    app = until(upload(start(), "cup.png", png(Image.fromarray(data.coffee()))), has_measures)
    app.switch_page("explorer/pages/build.py").run()
    app.switch_page("explorer/pages/attribution.py").run()
    assert any("Still cup.png" in caption.value for caption in app.caption)


def test_the_jobs_of_a_session_that_stays_away_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "GRACE", 0.05)
    over = threading.Event()

    def work(progress: Progress) -> None:
        while not over.wait(0.01):
            progress.check()

    job = cached.job_queue().submit("gone", work)
    try:
        cached._leave("gone")
        assert job.wait(10)
        assert job.state == "cancelled"
    finally:
        over.set()


def test_the_jobs_of_a_session_that_comes_back_go_on() -> None:
    cached._leave("back")
    timer = cached._leaving["back"]
    AppTest.from_function(_come_back).run()
    assert timer.finished.is_set(), "the timer was stopped"
    assert "back" not in cached._leaving


def _come_back() -> None:
    import streamlit as st

    from explorer.pages import cached

    st.session_state.owner = "back"
    cached.session_owner()


def test_one_person_may_have_a_run_for_each_result_on_the_pages() -> None:
    over = threading.Event()
    jobs = [cached.job_queue().submit("busy person", lambda progress: over.wait(30)) for _ in range(12)]
    try:
        with pytest.raises(QueueFull):
            cached.job_queue().submit("busy person", lambda progress: None)
    finally:
        over.set()
    assert all(job.wait(10) for job in jobs)
