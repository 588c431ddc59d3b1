"""The diagram on the Build page: what opens, by selectbox and by click, and what a change of net does to it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer.figures.diagram import place_of, toggled


def page() -> None:
    import streamlit as st

    from explorer.pages.build_sections import diagram
    from explorer.spec import PRESETS

    if "click" in st.session_state:
        diagram._clicked(st.session_state.pop("click"))
    if "elsewhere" not in st.session_state:
        name = st.session_state.get("net", "resnet50")
        diagram.show(PRESETS[name], name)


def start(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    return app.run()


def drawn(app: AppTest) -> set[str]:
    """What the picture offers to open or to close."""
    (chart,) = app.get("plotly_chart")
    spec = json.loads(chart.proto.spec)
    return {opens for trace in spec["data"] if trace["type"] == "bar" for opens in trace["customdata"] if opens}


def click(app: AppTest, *opens: str) -> AppTest:
    """As Streamlit would after a click: what was selected stands under the chart's key."""
    points = [{"customdata": key, "curve_number": 1} for key in opens]
    app.session_state["selected"] = SimpleNamespace(selection=SimpleNamespace(points=points))
    app.session_state["click"] = "selected"
    app.run()
    assert not app.exception
    return app


STAGES = {f"stage:{number}" for number in (1, 2, 3, 4)}


def test_it_begins_closed() -> None:
    app = start()
    assert not app.exception
    assert not app.error
    assert drawn(app) == STAGES
    assert app.selectbox(key="diagram_open").value == ""


def test_the_selectbox_opens_and_closes() -> None:
    app = start()
    box = app.selectbox(key="diagram_open")
    assert box.options[:4] == ["nothing", "Stage 1", "Stage 1, block 1", "Stage 1, blocks 2 to 3"]
    box.set_value("stage:3").run()
    assert drawn(app) == STAGES | {"run:3.1", "run:3.2"}
    app.selectbox(key="diagram_open").set_value("run:3.2").run()
    assert "layer3.1.conv1" in app.get("plotly_chart")[0].proto.spec
    app.selectbox(key="diagram_open").set_value("").run()
    assert drawn(app) == STAGES


def test_a_click_does_what_the_selectbox_does_and_a_second_one_takes_it_back() -> None:
    app = start()
    for clicked, opened in (
        ("stage:3", "stage:3"),
        ("stage:3", ""),
        ("stage:3", "stage:3"),
        ("run:3.1", "run:3.1"),
        ("run:3.2", "run:3.2"),
        ("run:3.2", "stage:3"),
        ("run:3.1", "run:3.1"),
        ("stage:3", ""),
        ("stage:4", "stage:4"),
        ("stage:2", "stage:2"),
    ):
        click(app, clicked)
        assert app.selectbox(key="diagram_open").value == opened
        app.run()
        assert app.selectbox(key="diagram_open").value == opened, "a rerun is no click"


def test_each_click_gets_a_chart_that_nothing_is_selected_in() -> None:
    app = start()
    seen = {app.get("plotly_chart")[0].proto.id}
    for _ in range(4):
        click(app, "stage:1")
        seen.add(app.get("plotly_chart")[0].proto.id)
    assert len(seen) == 5


@pytest.mark.parametrize("nothing", [(), ("",)])
def test_a_selection_that_is_taken_back_or_a_box_that_opens_nothing_changes_nothing(nothing: tuple[str, ...]) -> None:
    app = click(start(diagram_open="stage:2"), *nothing)
    assert app.selectbox(key="diagram_open").value == "stage:2"


def test_what_a_browser_should_not_send_opens_nothing() -> None:
    app = click(start(), "stage:99")
    assert app.selectbox(key="diagram_open").value == ""
    assert not app.error


@pytest.mark.parametrize(
    ("opened", "net", "then"),
    [
        ("stage:4", "cifar_resnet20", ""),
        ("run:4.2", "cifar_resnet20", ""),
        ("stage:3", "cifar_resnet20", "stage:3"),
        ("run:3.2", "resnet18", "run:3.2"),
        ("run:1.2", "resnet18", "stage:1"),  # whose two blocks are alike: one run, 1.1
    ],
)
def test_what_the_next_net_has_not_is_closed(opened: str, net: str, then: str) -> None:
    app = start(diagram_open=opened)
    assert app.selectbox(key="diagram_open").value == opened
    app.session_state["net"] = net
    app.run()
    assert not app.exception
    assert app.selectbox(key="diagram_open").value == then


def test_volumes_take_the_blocks_place_and_the_choice_is_kept() -> None:
    app = start(diagram_open="stage:2")
    app.segmented_control(key="diagram_view").set_value("Volumes").run()
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [shape["type"] for shape in spec["layout"]["shapes"]].count("path") == 3 * 9
    assert not app.selectbox
    app.session_state["elsewhere"] = True
    app.run()
    del app.session_state["elsewhere"]
    app.run()
    assert app.segmented_control(key="diagram_view").value == "Volumes"
    app.segmented_control(key="diagram_view").set_value("Blocks").run()
    assert app.selectbox(key="diagram_open").value == "stage:2"


def test_charts_have_words_for_screen_readers_and_controls_have_help() -> None:
    app = start()
    for view in ("Blocks", "Volumes"):
        app.segmented_control(key="diagram_view").set_value(view).run()
        assert "resnet50" in app.get("plotly_chart")[0].proto.alt
        assert "SVG" in app.caption[0].value
        assert json.loads(app.get("plotly_chart")[0].proto.config)["toImageButtonOptions"]["format"] == "svg"
        for widget in (*app.selectbox, *app.segmented_control):
            assert widget.proto.help


@pytest.mark.parametrize(
    ("opened", "clicked", "then"),
    [
        ("", "stage:1", "stage:1"),
        ("stage:1", "stage:1", ""),
        ("run:1.2", "stage:1", ""),
        ("run:1.2", "run:1.2", "stage:1"),
        ("run:1.2", "stage:11", "stage:11"),
        ("run:11.2", "stage:1", "stage:1"),
    ],
)
def test_the_click_on_a_stage_closes_what_is_open_in_it(opened: str, clicked: str, then: str) -> None:
    assert toggled(opened, clicked) == then


def test_a_key_names_a_stage_and_a_block() -> None:
    assert [place_of(key) for key in ("", "stage:2", "run:3.12")] == [(None, None), ("2", None), ("3", 12)]
