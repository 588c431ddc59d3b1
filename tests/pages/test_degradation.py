"""The Degradation page and its live lab, through Streamlit's own page tests; the runs themselves are held by a gate."""

import io
import json
import math
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.errors import Refusal
from explorer.jobs import Progress
from explorer.models.variants import VARIANTS
from explorer.pages import cached
from explorer.pages.degradation_sections import board, live
from explorer.training import lab
from explorer.training.datasets import DATASETS, Dataset
from explorer.training.recipe import Recipe
from explorer.training.run import Record, RunError

PAGE = Path(__file__).parents[2] / "explorer" / "pages" / "degradation.py"


class Held:
    """A `Trial` without a process: it takes one record each time that the test lets it."""

    made: list["Held"] = []  # noqa: RUF012 - the tests' own list, emptied by each
    losses: dict[str, float] = {}  # noqa: RUF012
    fails: Exception | None = None
    lets_go = threading.Event()  # cleared, no pause comes to its end

    def __init__(self, recipe: Recipe, data: Dataset | None = None) -> None:
        self.recipe, self.data, self.records = recipe, data, list[Record]()
        self.begun = 0
        self._steps = threading.Semaphore(0)
        self._pausing = threading.Event()
        self.made.append(self)

    @property
    def finished(self) -> bool:
        return bool(self.records) and (self.records[-1].step >= self.recipe.steps or self.records[-1].diverged)

    @property
    def pausing(self) -> bool:
        return self._pausing.is_set() and not self.finished

    def pause(self) -> None:
        self._pausing.set()

    def allow(self, records: int) -> None:
        for _ in range(records):
            self._steps.release()

    def work(self, progress: Progress) -> None:
        self._pausing.clear()
        self.begun += 1
        if self.fails:
            raise self.fails
        while not self.finished and not (self._pausing.is_set() and self.lets_go.is_set()):
            progress.check()
            if self._steps.acquire(timeout=0.02):
                self.records.append(self._record(len(self.records)))

    def _record(self, count: int) -> Record:
        step = min(self.recipe.steps, count * self.recipe.record_every)
        loss = {20: 0.5, 56: 1.5}.get(self.recipe.spec.depth, 1.0) + 0.1 * self.recipe.seed
        gone = self.recipe.lr > 10
        values = (math.nan if gone else loss, 30.0, *((None,) * 4 if gone else (loss, 20.0, loss, 25.0)))
        return Record(step, 0.1, *values, gradient_norms=(1.0, 2.0), seconds=float(step), diverged=gone)


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Held]]:
    monkeypatch.setattr(board, "Trial", Held)
    monkeypatch.setattr(board, "workers", lambda: 2)
    Held.made, Held.fails = [], None
    Held.lets_go.set()
    queue = cached.JobQueue(workers=2, waiting=96, per_owner=24)
    monkeypatch.setattr(cached, "lab_queue", lambda: queue)
    yield Held.made
    assert queue.shutdown()


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.degradation_sections import live

    with edge.sentences():
        live.show()


def whole(path: str) -> None:
    import runpy

    from explorer.pages import edge

    with edge.sentences():
        runpy.run_path(path)


def start() -> AppTest:
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    return app


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def default(held: list[Held]) -> AppTest:
    app = press(start(), "lab_default")
    assert len(held) == 4
    # What is on the page was drawn before the second began, so once more
    return until(app, lambda app: sum(trial.begun for trial in held) == 2).run()


def lines(app: AppTest) -> list[str]:
    """The status of each run, as it is on the page."""
    return [bar.proto.text.replace("\\", "") for bar in app.get("progress")]


def charts(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def drawn(app: AppTest, title: str) -> dict[str, list[float]]:
    (figure,) = [figure for figure in charts(app) if figure["layout"]["title"]["text"] == title]
    return {trace["name"]: trace["x"] for trace in figure["data"] if trace.get("name")}


def sentences(app: AppTest) -> str:
    return "\n".join(text.value for text in app.markdown).replace("\\", "")


def finish(app: AppTest, held: Sequence[Held]) -> AppTest:
    for trial in held:
        trial.allow(100)
    return until(app, lambda app: app.button(key="lab_pause").disabled and not app.get("error"))


@pytest.mark.parametrize(
    ("section", "title"),
    [(None, "Live lab"), ("recorded", "Recorded runs"), ("lessons", "Lessons"), ("sweeps", "Sweeps")],
)
def test_the_page_opens_the_section_of_the_link_and_first_the_lab(section: str | None, title: str) -> None:
    app = AppTest.from_function(whole, default_timeout=60, kwargs={"path": str(PAGE)})
    if section:
        app.session_state["lab"] = section
    app.run()
    assert not app.exception
    assert [header.value for header in app.header] == ["Degradation"]
    assert title in app.segmented_control(key="lab").options
    assert app.segmented_control(key="lab").value == (section or "live")
    assert ("lab_default" in {button.key for button in app.button}) is (section is None)


def test_the_default_starts_a_job_a_net_the_longest_first(held: list[Held]) -> None:
    app = default(held)
    assert [trial.recipe for trial in held] == [recipe for _, recipe in lab.degradation_in_30_seconds()]
    assert [trial.begun for trial in held] == [0, 1, 0, 1], "56 layers before 20"
    assert lines(app) == [
        "**plain-20**, seed 0 · waiting, the next in line",
        "**plain-56**, seed 0 · starting",
        "**ResNet-20**, seed 0 · waiting behind 1 more",
        "**ResNet-56**, seed 0 · starting",
    ]
    assert not app.info, "one's own runs are no other people's"
    finish(app, held)


def test_curves_move_while_runs_go_on(held: list[Held]) -> None:
    app = default(held)
    nothing = drawn(app, "Loss on the batches")
    assert list(nothing) == ["plain-20", "plain-56", "ResNet-20", "ResNet-56"]
    assert all(places == [None] for places in nothing.values())
    held[1].allow(3)
    until(app, lambda app: len(held[1].records) == 3)
    app.run()
    assert drawn(app, "Loss on the batches")["plain-56"] == [0, 5, 10]
    assert drawn(app, "Gradient norm by block")["plain-56"] == [0, 1]
    assert lines(app)[1] == "**plain-56**, seed 0 · step 10 of 400 · 10 s, 6 min left"  # a step a second
    assert [bar.proto.value for bar in app.get("progress")] == [0, 2, 0, 0], "10 of 400 steps, in percent"
    assert charts(app)[0]["layout"]["xaxis"]["range"] == [0, 408]
    finish(app, held)


def test_the_charts_are_held_while_the_runs_go_on(held: list[Held]) -> None:
    app = default(held)
    held[1].allow(2)
    until(app, lambda app: len(held[1].records) == 2)
    app.toggle(key="lab_hold").set_value(True).run()
    assert drawn(app, "Loss on the batches")["plain-56"] == [0, 5]
    held[1].allow(2)
    until(app, lambda app: "step 15 of 400" in lines(app)[1])
    assert drawn(app, "Loss on the batches")["plain-56"] == [0, 5]
    assert app.dataframe[0].value["step"][1] == 15, "the table goes on"
    app.toggle(key="lab_hold").set_value(False).run()
    assert drawn(app, "Loss on the batches")["plain-56"] == [0, 5, 10, 15]
    app.toggle(key="lab_hold").set_value(True).run()
    press(app, "lab_default")
    assert drawn(app, "Loss on the batches")["plain-56"] == [None], "other runs are not held back"
    del held[:4]
    assert len(drawn(finish(app, held), "Loss on the batches")["plain-56"]) == 81, "there is nothing to hold any more"


def test_what_came_out_is_told_and_shown(held: list[Held]) -> None:
    app = finish(default(held), held)
    assert "plain-56 ends at a training loss of 1.5, plain-20 at 0.5: the deeper net is worse" in sentences(app)
    assert "4 of 4 runs ended" in sentences(app)
    assert lines(app)[0] == "**plain-20**, seed 0 · done: 400 steps in 400 s"
    table = app.dataframe[0].value
    assert list(table["net"]) == ["plain-20", "plain-56", "ResNet-20", "ResNet-56"]
    assert list(table["train_loss"]) == [0.5, 1.5, 0.5, 1.5]
    assert "train_loss_low" not in table, "one seed has no range"


def test_another_seed_of_all_makes_a_band_and_a_range(held: list[Held]) -> None:
    app = press(finish(default(held), held), "lab_again")
    assert [trial.recipe.seed for trial in held] == [0] * 4 + [1] * 4
    finish(app, held)
    table = app.dataframe[0].value
    assert list(table["runs"]) == [2] * 4
    assert (table["train_loss_low"][0], table["train_loss"][0], table["train_loss_high"][0]) == (0.5, 0.55, 0.6)
    assert any(trace.get("fill") == "toself" for trace in charts(app)[0]["data"])


def test_another_seed_of_one(held: list[Held]) -> None:
    app = press(finish(default(held), held), "lab_again_1")
    assert len(held) == 5
    assert held[4].recipe == replace(held[1].recipe, seed=1)
    finish(app, held)


def test_one_run_is_paused_and_goes_on_where_it_was(held: list[Held]) -> None:
    app = default(held)
    held[1].allow(3)
    until(app, lambda app: len(held[1].records) == 3)
    press(app, "lab_pause_1")
    until(app, lambda app: "paused" in lines(app)[1])
    assert lines(app)[1] == "**plain-56**, seed 0 · paused at step 10 of 400"
    until(app, lambda app: held[0].begun)  # its place is free for the next
    press(app, "lab_resume_1")
    finish(app, held)
    assert held[1].begun == 2
    assert len(held[1].records) == 81
    assert lines(app)[1].endswith("done: 400 steps in 400 s")


def test_all_are_paused_those_that_wait_too_and_resumed(held: list[Held]) -> None:
    app = press(default(held), "lab_pause")
    until(app, lambda app: all("paused" in line for line in lines(app)))
    assert app.button(key="lab_pause").disabled
    assert lines(app)[0] == "**plain-20**, seed 0 · paused at step 0 of 400"
    assert held[0].begun == 0
    press(app, "lab_resume")
    assert not finish(app, held).error
    assert [trial.begun for trial in held] == [1, 2, 1, 2]
    assert all("done" in line for line in lines(app))


def test_all_are_resumed_only_when_all_have_come_to_their_pause(held: list[Held]) -> None:
    app = default(held)
    held[1].allow(2)
    until(app, lambda app: len(held[1].records) == 2)
    Held.lets_go.clear()
    press(app, "lab_pause")
    assert lines(app)[1] == "**plain-56**, seed 0 · pausing at step 5 of 400"
    assert "paused" in lines(app)[0]
    assert app.button(key="lab_resume").disabled
    Held.lets_go.set()
    until(app, lambda app: not app.button(key="lab_resume").disabled)
    press(app, "lab_resume")
    finish(app, held)
    assert all("done" in line for line in lines(app))


def test_one_run_is_cancelled_and_the_next_takes_its_place(held: list[Held]) -> None:
    app = default(held)
    held[1].allow(2)
    until(app, lambda app: len(held[1].records) == 2)
    press(app, "lab_cancel_1")
    until(app, lambda app: "cancelled" in lines(app)[1])
    assert lines(app)[1] == "**plain-56**, seed 0 · cancelled at step 5 of 400"
    until(app, lambda app: held[0].begun)
    assert drawn(app, "Loss on the batches")["plain-56"] == [0, 5], "its curve stays"
    finish(app, held)


def test_all_are_cancelled_the_paused_one_too(held: list[Held]) -> None:
    app = press(default(held), "lab_pause_3")
    until(app, lambda app: "paused" in lines(app)[3])
    press(app, "lab_cancel")
    until(app, lambda app: all("cancelled" in line for line in lines(app)))
    assert app.button(key="lab_resume").disabled
    assert "4 of 4 runs ended" in sentences(app)


def test_what_is_started_anew_takes_the_place_of_what_was_there(held: list[Held]) -> None:
    app = press(default(held), "lab_default")
    assert len(held) == 8
    assert len(lines(app)) == 4
    until(app, lambda app: sum(trial.begun for trial in held[4:]) == 2)  # the old ones gave their places
    finish(app, held)


def test_other_runs_are_put_beside_those_that_are_there(held: list[Held]) -> None:
    app = start()
    assert app.button(key="lab_add").disabled
    finish(press(app, "lab_start"), held)
    app.number_input(key="lab_lr").set_value(0.3).run()
    press(app, "lab_add")
    assert len(lines(app)) == 8
    assert lines(app)[5].startswith("**plain-56, lr 0.3**, seed 0 · ")
    finish(app, held)
    press(app, "lab_add")
    assert [error.value for error in app.error] == [
        "All of these runs are there already, and the same recipe gives the same curve."
    ]
    assert len(lines(app)) == 8


def test_runs_of_other_people_come_first_and_the_page_says_so(held: list[Held]) -> None:
    gate = threading.Event()
    for _ in range(3):
        cached.lab_queue().submit("somebody else", lambda progress: gate.wait(60))
    app = press(start(), "lab_default")
    assert [info.value for info in app.info] == [
        "The server is at work on other runs. Yours wait in line and begin by themselves."
    ]
    assert lines(app)[1] == "**plain-56**, seed 0 · waiting behind 1 more"
    gate.set()
    until(app, lambda app: not app.info)
    finish(app, held)


def test_where_the_server_takes_no_more_runs_none_is_started(held: list[Held], monkeypatch: pytest.MonkeyPatch) -> None:
    small = cached.JobQueue(workers=1, waiting=2)
    monkeypatch.setattr(cached, "lab_queue", lambda: small)
    app = press(start(), "lab_default")
    assert len(app.error) == 1
    assert "2 runs are waiting or running for you already" in app.error[0].value
    assert not app.get("progress")
    assert small.shutdown()
    assert all(not trial.records for trial in held)


def test_what_is_refused_beside_a_run_is_said_until_the_next_action(held: list[Held]) -> None:
    app = start()
    app.slider(key="lab_seeds").set_value(3).run()
    press(app, "lab_start")
    press(app, "lab_again")
    assert [error.value.replace("\\", "") for error in app.error] == [
        "13 runs are too many side by side; the lab takes 12: choose fewer nets, depths or seeds."
    ]
    press(app, "lab_cancel")
    assert not app.error


def test_a_run_that_diverges_is_a_result(held: list[Held]) -> None:
    app = start()
    app.multiselect(key="lab_kinds").set_value(["plain"])
    app.multiselect(key="lab_depths").set_value([8])
    app.number_input(key="lab_lr").set_value(50.0).run()
    press(app, "lab_start")
    held[0].allow(1)
    until(app, lambda app: "diverged" in lines(app)[0])
    assert lines(app) == ["**plain-8**, seed 0 · diverged at step 0 of 400"]
    assert "plain-8 with seed 0 diverged at step 0" in sentences(app)
    assert app.dataframe[0].value["diverged"][0] == 1
    assert not app.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refusal("CIFAR-10 cannot be downloaded just now."), "CIFAR-10 cannot be downloaded just now."),
        (ZeroDivisionError("oh"), "Something failed that should not have"),
    ],
)
def test_a_run_that_fails_says_why(error: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    Held.fails = error
    app = press(start(), "lab_default")
    until(app, lambda app: len(app.error) == 4).run()  # the lines may have been drawn before the errors were there
    assert all(said in message.value.replace("\\", "") for message in app.error)
    assert all("failed at step 0 of 400" in line for line in lines(app))
    assert not charts(app)
    assert "nothing to draw" in " ".join(caption.value for caption in app.caption)
    app.run()
    ours = [entry for entry in caplog.records if entry.exc_info]
    assert len(ours) == (0 if isinstance(error, Refusal) else 4), "a defect goes to the log, once a run"


def test_a_run_that_failed_is_tried_again_in_its_place(held: list[Held]) -> None:
    Held.fails = RunError("no room")
    app = until(press(start(), "lab_default"), lambda app: len(app.error) == 4)
    Held.fails = None
    press(app, "lab_retry_1")
    assert [trial.recipe for trial in held[4:]] == [held[1].recipe]
    until(app, lambda app: len(app.error) == 3)
    held[4].allow(100)
    until(app, lambda app: lines(app)[1] == "**plain-56**, seed 0 · done: 400 steps in 400 s")
    assert [button.key for button in app.button if str(button.key).startswith("lab_retry")] == [
        "lab_retry_0",
        "lab_retry_2",
        "lab_retry_3",
    ]


def test_the_controls_make_the_recipe(held: list[Held]) -> None:
    app = start()
    app.multiselect(key="lab_kinds").set_value(["c"])
    app.multiselect(key="lab_depths").set_value([14])
    app.slider(key="lab_seeds").set_value(2)
    for key, value in (
        ("width", 4),
        ("steps", 800),
        ("batch", 50),
        ("lr", 0.05),
        ("momentum", 0.8),
        ("weight_decay", 0.0),
    ):
        app.number_input(key=f"lab_{key}").set_value(value)
    app.selectbox(key="lab_schedule").select("steps")
    app.selectbox(key="lab_augmentation").select("crop")
    app.selectbox(key="lab_warm_up").select("warmup_steps").run()
    app.slider(key="lab_milestones").set_value((40, 80))
    app.number_input(key="lab_warmup_steps").set_value(30).run()
    press(app, "lab_start")
    expected = lab.pairs(
        ["c"],
        [14],
        2,
        DATASETS["digits"],
        steps=800,
        width=4,
        batch=50,
        lr=0.05,
        momentum=0.8,
        weight_decay=0.0,
        schedule="steps",
        milestones=(0.4, 0.8),
        augmentation="crop",
        warmup_steps=30,
    )
    assert [trial.recipe for trial in held] == [recipe for _, recipe in expected]
    app.selectbox(key="lab_warm_up").select("warmup_error").run()
    app.number_input(key="lab_warmup_error").set_value(70.0).run()
    press(app, "lab_start")
    assert (held[2].recipe.warmup_error, held[2].recipe.warmup_steps) == (70.0, 0)
    press(app, "lab_cancel")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("lab_lr", 0.0, "lr (=0.0) must be a number above 0, to 1e+30."),
        ("lab_momentum", 1.0, "momentum (=1.0) must be a number from 0 to below 1."),
        ("lab_weight_decay", -1.0, "weight_decay (=-1.0) must be a number from 0 to 1e+30."),
    ],
)
def test_a_recipe_that_cannot_be_is_said_and_the_rest_stays(key: str, value: float, sentence: str) -> None:
    app = start()
    app.number_input(key=key).set_value(value).run()
    assert [error.value.replace("\\", "") for error in app.error] == [sentence]
    assert app.button(key="lab_default")
    assert "What the lab shows" in sentences(app)


def test_nothing_chosen_and_too_much_chosen_are_said(held: list[Held]) -> None:
    app = start()
    app.multiselect(key="lab_depths").set_value([]).run()
    press(app, "lab_start")
    assert "choose at least one kind of net and one depth" in app.error[0].value
    app.multiselect(key="lab_depths").set_value([8, 14, 20]).run()
    app.slider(key="lab_seeds").set_value(3).run()
    press(app, "lab_start")
    assert "18 runs are too many side by side; the lab takes 12" in app.error[0].value
    assert not held


def test_the_time_is_said_before_the_start() -> None:
    app = start()
    seconds = lab.estimated_seconds([recipe for _, recipe in lab.degradation_in_30_seconds()], 2)
    told = f"About {lab.duration(seconds)} where nothing else runs (an estimate): 4 runs, 2 at a time."
    assert sum(told in caption.value for caption in app.caption) == 2


def of_a_lesson(*runs: lab.Pair) -> live.Prepared:
    return live.Prepared(runs, "4. Warm-up", "Watch the *first* steps.", ("lr", "batch_error"))


def test_a_lesson_prepares_runs_that_one_click_starts(held: list[Held]) -> None:
    runs = lab.pairs(["preact"], [8], 2, DATASETS["digits"], steps=10)

    def lesson() -> None:
        import streamlit as st

        from explorer.pages.degradation_sections import live

        if st.session_state.get("lab") == "live":
            live.show()
        else:
            st.button("Go", on_click=live.prepare, args=[st.session_state["runs"]], key="go")

    app = AppTest.from_function(lesson, default_timeout=60)
    app.session_state["runs"] = of_a_lesson(*runs)
    press(app.run(), "go")
    assert (
        "Lesson 4. Warm-up, ready to start: ResNet-8 pre-activation (seed 0), ResNet-8 pre-activation (seed 1)"
        in sentences(app).replace("*", "")
    )
    press(app, "lab_start_prepared")
    assert [trial.recipe for trial in held] == [recipe for _, recipe in runs]
    assert not [button for button in app.button if button.key == "lab_start_prepared"], "they are below now"
    assert [info.value for info in app.info] == ["**Lesson 4. Warm-up.** Watch the *first* steps."]
    finish(app, held)
    assert [figure["layout"]["title"]["text"] for figure in charts(app)] == ["Error on the batches", "Learning rate"]
    press(app, "lab_default")
    assert not app.info, "these are no lesson's"
    finish(app, held)


def test_prepared_runs_are_put_away() -> None:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["lab_prepared"] = of_a_lesson(*lab.pairs(["a"], [8], 1, DATASETS["digits"]))
    press(app.run(), "lab_put_away")
    assert not [button for button in app.button if button.key == "lab_start_prepared"]


def zipped(**folders: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for folder, colour in folders.items():
            for place in range(6):
                Image.new("RGB", (16, 16), colour).save(picture := io.BytesIO(), "PNG")
                archive.writestr(f"{folder}/{place}.png", picture.getvalue())
    return buffer.getvalue()


def test_own_pictures_are_trained_on(held: list[Held]) -> None:
    app = start()
    app.selectbox(key="lab_data").select("own").run()
    assert "Choose a zip or a folder" in app.info[0].value
    assert not [button for button in app.button if button.key == "lab_start"]
    app.file_uploader(key="lab_upload_Zip").upload("mine.zip", zipped(red=(255, 0, 0), blue=(0, 0, 255))).run()
    until(app, lambda app: [button for button in app.button if button.key == "lab_start"])
    told = "10 to train and 2 to test, 32 x 32 px, 2 classes: blue, red"
    assert any(told in text.value.replace("\\", "") for text in app.caption)
    press(app, "lab_start")
    assert all(trial.data is not None and trial.data.classes == ("blue", "red") for trial in held)
    assert held[0].recipe.spec.num_classes == 2
    assert held[0].recipe.data == held[0].data.name  # type: ignore[union-attr]
    finish(app, held)
    press(app, "lab_again_0")
    assert held[4].data is held[0].data
    finish(app, held)


def test_an_upload_that_is_no_zip_is_said() -> None:
    app = start()
    app.selectbox(key="lab_data").select("own").run()
    app.file_uploader(key="lab_upload_Zip").upload("mine.zip", b"no zip").run()
    until(app, lambda app: app.error)
    assert len(app.error) == 1
    assert not [button for button in app.button if button.key == "lab_start"]


def test_charts_are_chosen_and_losses_logarithmic(held: list[Held]) -> None:
    app = finish(default(held), held)
    assert len(charts(app)) == 4
    app.toggle(key="lab_log").set_value(True).run()
    kinds = {figure["layout"]["title"]["text"]: figure["layout"]["yaxis"].get("type") for figure in charts(app)}
    assert kinds["Loss on the batches"] == "log"
    assert kinds["Error on the training set"] is None
    app.button_group(key="lab_charts").set_value(["lr"]).run()
    assert [figure["layout"]["title"]["text"] for figure in charts(app)] == ["Learning rate"]
    app.button_group(key="lab_charts").set_value([]).run()
    assert not charts(app)
    assert not app.exception


def test_files_hold_every_record_and_every_recipe(held: list[Held], monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    finish(default(held), held)
    records = pd.read_csv(io.BytesIO(files["lab_records.csv"]))
    assert len(records) == 4 * 81, "steps 0, 5 ... 400"
    assert list(pd.read_csv(io.BytesIO(files["lab_table.csv"]))["net"]) == [
        name for name, _ in lab.degradation_in_30_seconds()
    ]
    told = json.loads(files["lab_recipes.json"])
    assert [Recipe.from_json(json.dumps(entry["recipe"])) for entry in told] == [trial.recipe for trial in held]


def test_every_control_has_a_help_text(held: list[Held]) -> None:
    app = finish(default(held), held)
    kinds = ("button", "multiselect", "slider", "number_input", "selectbox", "toggle", "button_group")
    widgets = [widget for kind in kinds for widget in app.get(kind)] + list(app.get("download_button"))
    assert len(widgets) > 20
    assert [widget.key for widget in widgets if not widget.proto.help] == []


def test_the_kinds_of_nets_are_those_that_the_studies_share() -> None:
    assert app_options(start()) == [described.title for described in VARIANTS.values()]


def app_options(app: AppTest) -> list[str]:
    return list(app.multiselect(key="lab_kinds").options)


@pytest.mark.parametrize("words", ["optimised", "over-fitting", "section 4.1", "8 x 8", "vanishing"])
def test_it_says_what_it_shows_and_what_not(words: str) -> None:
    assert words in live.NOTE
