"""The section on planted evidence, through Streamlit's own page tests."""

import io
from typing import Any

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.attribution.planted import likeness, pointing, summary, trained
from explorer.pages.edge import plain


def page() -> None:
    from collections import defaultdict

    from PIL import Image
    from skimage import data

    from explorer.attribution import Picture, predict
    from explorer.models.checkpoints import load
    from explorer.pages import edge
    from explorer.pages.attribution_sections import planted
    from explorer.pages.attribution_sections.asking import Asked

    picture = Picture(Image.fromarray(data.chelsea()), "Cat", ())
    net = load("cifar_resnet20")
    rows = predict(net, picture.image)
    memories = defaultdict(lambda: lambda measurement: measurement.measure())
    with edge.sentences():
        planted.show(Asked(net, picture, "chelsea", None, rows, None, None, memories))


def start(methods: list[str], count: int = 4) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["planted_methods"] = methods
    app.session_state["planted_count"] = count
    return app.run()


def test_it_runs_at_once_and_shows_what_the_package_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    methods = ["grad_cam", "guided_backprop"]
    app = until(start(methods), lambda app: len(app.get("plotly_chart")) == 3)
    assert not app.error
    expected = pointing(trained(), 4, 7, methods)
    table = pd.read_csv(io.BytesIO(files["planted.csv"]))
    pd.testing.assert_frame_equal(table, expected.table, check_dtype=False, atol=1e-4)
    pd.testing.assert_frame_equal(app.dataframe[0].value, expected.table.drop(columns="name"), check_dtype=False)
    said = " ".join(caption.value for caption in app.caption)
    assert f"falls by {expected.own:.1f} on average" in said
    assert f"changes by {expected.other:.1f}" in said
    assert len(app.get("image")) == 4 * (1 + 2), "of each picture itself and a pair of maps by each method"
    swapped = pd.read_csv(io.BytesIO(files["class_swapped.csv"])).set_index("name")["same"]
    assert swapped["guided_backprop"] > swapped["grad_cam"]
    text = " ".join(element.value for element in app.markdown)
    assert plain(" ".join(summary(expected))) in text
    table = pd.read_csv(io.BytesIO(files["class_swapped.csv"]))
    own = likeness(table, "the maps of CIFAR-10 ResNet-20 for different classes on this picture")
    assert "With Guided Backpropagation the maps of CIFAR-10" in own[0]
    assert plain(own[0]) in text
    assert all(number in text for number in ("1805.07039", "1912.09818", "1810.03292"))


def test_another_seed_draws_other_pictures() -> None:
    app = until(start(["grad_cam"]), lambda app: app.dataframe)
    before = app.dataframe[0].value
    app.number_input(key="planted_seed").set_value(8).run()
    app = until(app, lambda app: app.dataframe)
    expected = pointing(trained(), 4, 8, ["grad_cam"]).table
    pd.testing.assert_frame_equal(app.dataframe[0].value, expected.drop(columns="name"), check_dtype=False)
    assert not app.dataframe[0].value.equals(before)


def test_it_can_be_cancelled() -> None:
    app = start(["integrated_gradients", "occlusion"], 100)
    assert not app.dataframe, "it takes seconds"
    cancel: Any = app.button(key="planted_run_cancel")
    cancel.click().run()
    app = until(app, lambda app: any("cancelled" in info.value for info in app.info))
    assert not app.dataframe


def test_without_a_method_there_is_nothing_to_show() -> None:
    app = start([])
    assert "Choose a method" in app.info[0].value
    assert not app.exception


def test_every_control_has_a_help_text() -> None:
    app = start(["saliency"])
    drawn = [widget for kind in ("multiselect", "slider", "number_input") for widget in app.get(kind)]
    assert len(drawn) == 3
    assert all(widget.proto.help for widget in drawn)
