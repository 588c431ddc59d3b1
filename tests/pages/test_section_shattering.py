"""The section on nearby inputs, through Streamlit's own page tests."""

import io
import json
from typing import Any

import pandas as pd
import pytest
import torch
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.gradients import classes, patterns
from explorer.analysis.shattering import DISTANCES, IMAGES, Shattering, distance_curves, lag_curves, shattering, summary
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.models.variants import variant

NETS = {"Plain · 8": ("plain", 8), "ResNet, option A · 8": ("a", 8)}


def page(nets: dict[str, tuple[str, int]], seeds: int, width: int = 4, size: int = 8, steps: int = 0) -> None:
    from explorer.models.variants import variant
    from explorer.pages import edge
    from explorer.pages.gradient_flow_sections import shattering
    from explorer.pages.gradient_flow_sections.chosen import Chosen, Images

    more = {"in_channels": 1} if steps else {}
    specs = {title: variant(*net, width=width, image_size=(size, size), **more) for title, net in nets.items()}
    images, state = (Images("data", "digits"), "steps") if steps else (Images(), "initial")
    with edge.sentences():
        shattering.show(Chosen(specs, seeds, images, state, steps))


def start(nets: Any = NETS, seeds: int = 2, **more: Any) -> AppTest:
    return AppTest.from_function(page, default_timeout=60, kwargs={"nets": nets, "seeds": seeds, **more}).run()


def finished(nets: Any = NETS, seeds: int = 2, **more: Any) -> AppTest:
    app = until(start(nets, seeds, **more), lambda app: len(app.dataframe) and len(app.dataframe[0].value) == len(nets))
    assert not app.exception
    assert not app.error
    return app


def measured(seeds: int = 2) -> dict[str, list[Shattering]]:
    found: dict[str, list[Shattering]] = {title: [] for title in NETS}
    for title, net in NETS.items():
        spec = variant(*net, width=4, image_size=(8, 8))
        for seed in range(seeds):
            with seeded(seed):
                network = build(spec, "cpu")
            found[title].append(shattering(network, patterns(seed, IMAGES, 8), classes(seed, IMAGES, 10)))
    return found


def test_the_table_and_the_files_hold_what_the_analysis_says(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    app = finished()
    specs = {title: variant(*net) for title, net in NETS.items()}
    found = measured()
    expected = summary(found, specs, 0.03)
    pd.testing.assert_frame_equal(app.dataframe[0].value, expected, check_dtype=False, rtol=1e-4)
    names = ["shattering.csv", "shattering_by_net.csv", "shattering_walk.csv", "shattering_autocorrelation.csv"]
    assert list(files) == names
    first = next(iter(found.values()))[0]
    walk = pd.DataFrame({"way": [point / 50 for point in range(51)], "slope": first.walk})
    tables = (distance_curves(found), expected, walk, lag_curves(found))
    for content, table in zip(files.values(), tables, strict=True):
        read = pd.read_csv(io.BytesIO(content), dtype={"half": str})
        pd.testing.assert_frame_equal(read, table, check_dtype=False, rtol=1e-4, atol=1e-6)


def test_another_distance_moves_the_table_and_measures_nothing_anew() -> None:
    app = finished()
    before = dict(app.session_state["shattering_runs"])
    app.select_slider(key="shattering_distance").set_value(0.3).run()
    place = DISTANCES.index(0.3)
    expected = [each[0].cosines[place] for each in measured(1).values()]
    table = app.dataframe[0].value
    assert all(table["low"] - 1e-4 <= expected)
    assert all(expected <= table["high"] + 1e-4)
    assert table["low"].max() < 0.6, "further away they are less alike"
    assert app.session_state["shattering_runs"] == before
    assert not app.exception


def test_the_walk_is_the_chosen_nets() -> None:
    app = finished()
    app.selectbox(key="shattering_walk").set_value("ResNet, option A · 8").run()
    assert not app.exception
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert len(charts) == 4
    walk = charts[2]["data"]
    expected = measured(1)["ResNet, option A · 8"][0].walk
    assert walk[0]["y"] == pytest.approx(expected, abs=1e-3)
    assert [trace["name"] for trace in walk] == ["ResNet, option A · 8", "Brown noise", "White noise"]


def test_it_measures_after_training_steps_too() -> None:
    app = finished({"Plain · 8": ("plain", 8)}, 1, steps=2)
    assert "now after 2 " in app.caption[0].value


def test_every_control_has_a_help_text_and_every_source_is_named() -> None:
    app = finished()
    kinds = ("select_slider", "selectbox", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) == 1 + 1 + 4
    assert all(widget.proto.help for widget in drawn)
    text = "".join(element.value for element in app.markdown)
    assert all(number in text for number in ("1702.08591", "1712.09913", "1902.08129", "2002.10444"))
    assert "One explanation among several" in text


def test_a_net_that_is_too_large_is_left_out_in_a_sentence() -> None:
    app = until(
        start({"Plain · 8": ("plain", 8), "ResNet · 1202": ("a", 1202)}, 1, width=16, size=32), lambda app: app.warning
    )
    app = until(app, lambda app: app.dataframe)
    assert "ResNet · 1202 is left out" in app.warning[0].value
    assert "8 GB" in app.warning[0].value
    assert list(app.dataframe[0].value["net"]) == ["Plain · 8"]


def test_it_can_be_cancelled() -> None:
    torch.manual_seed(0)
    app = start({"ResNet · 110": ("a", 110)}, 5, width=16, size=32)
    assert not app.dataframe, "it takes seconds"
    next(button for button in app.button if button.label == "Cancel").click().run()
    until(app, lambda app: app.info)
    assert not app.dataframe
