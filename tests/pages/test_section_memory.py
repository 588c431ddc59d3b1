"""The section on a training step's memory, through Streamlit's own page tests."""

import io
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.memory import largest_batches, training_memory
from explorer.models.resnet import build
from explorer.spec import PRESETS


def page(net: str) -> None:
    from explorer.pages import edge
    from explorer.pages.build_sections import memory
    from explorer.spec import PRESETS

    with edge.sentences():
        memory.show(PRESETS[net], net)


def start(net: str) -> AppTest:
    return AppTest.from_function(page, default_timeout=60, kwargs={"net": net}).run()


def finished(net: str) -> AppTest:
    app = until(start(net), lambda app: app.metric)
    assert not app.exception
    assert not app.error
    return app


def numbers(app: AppTest) -> dict[str, str]:
    """The exact number under each short one."""
    return {metric.label: str(metric.delta) for metric in app.metric}


def test_it_starts_with_batch_32_and_momentum() -> None:
    memory = training_memory("resnet50")
    assert numbers(finished("resnet50")) == {
        "Busiest moment": f"{memory.total(32, 'SGD with momentum'):,} bytes",
        "With gradients freed": f"{memory.total(32, 'SGD with momentum', 'freed'):,} bytes",
        "Kept for each image": "85,913,512 bytes",
    }


def test_batch_and_optimiser_move_the_numbers_and_start_no_new_run() -> None:
    memory = training_memory("resnet18")
    app = finished("resnet18")
    run = app.session_state["memory_run"]
    app.number_input(key="memory_batch").set_value(65_536).run()
    assert numbers(app)["Busiest moment"] == f"{memory.total(65_536, 'SGD with momentum'):,} bytes"
    app.segmented_control(key="memory_optimiser").set_value("Adam").run()
    assert numbers(app)["Busiest moment"] == f"{memory.total(65_536, 'Adam'):,} bytes"
    app.number_input(key="memory_batch").set_value(1).run()
    assert numbers(app)["Busiest moment"] == f"{memory.total(1, 'Adam'):,} bytes"
    assert not app.exception
    assert app.session_state["memory_run"] is run


def test_the_table_has_the_largest_batches_of_every_optimiser() -> None:
    app = finished("cifar_resnet20")
    assert app.dataframe[0].value.equals(largest_batches(training_memory("cifar_resnet20")))


@pytest.mark.parametrize("words", ["float32", "10⁹ bytes", "cuDNN", "fragmentation"])
def test_it_says_what_is_not_in_it(words: str) -> None:
    assert words in "".join(caption.value for caption in finished("resnet18").caption)


def test_every_control_has_a_help_text() -> None:
    app = finished("resnet18")
    kinds = ("number_input", "segmented_control", "metric", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) == 1 + 1 + 3 + 1
    assert all(widget.proto.help for widget in drawn)


def test_a_deep_net_shows_how_far_it_is_and_can_be_cancelled() -> None:
    app = start("cifar_resnet1202")
    assert not app.metric, "it takes seconds"
    app.button(key="memory_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value
    assert not app.metric


def test_every_preset_of_another_kind_is_shown() -> None:
    for net in ("plain18", "seresnet50", "d2l_resnet18"):
        assert net in PRESETS
        finished(net)


@pytest.mark.parametrize(("net", "refused"), [("resnet50_tiny", True), ("resnet50", False)])
def test_a_batch_of_one_that_batch_norm_refuses_is_said(
    net: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "resnet50_tiny", replace(PRESETS["resnet50"], image_size=(32, 32)))
    model = build(replace(PRESETS[net], depths=(1, 1, 1, 1), width=4), "cpu").train()
    image = torch.zeros(1, 3, *PRESETS[net].image_size)
    with pytest.raises(ValueError, match="more than 1 value") if refused else nullcontext():
        model(image)
    app = finished(net)
    app.number_input(key="memory_batch").set_value(1).run()
    assert bool(app.warning) is refused


def test_the_file_holds_the_table_of_largest_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    finished("resnet18")
    (content,) = files.values()
    expected = largest_batches(training_memory("resnet18"))
    assert pd.read_csv(io.BytesIO(content)).equals(expected)
