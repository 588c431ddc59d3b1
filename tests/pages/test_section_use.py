"""The section on unproductive layers, through Streamlit's own page tests."""

import io

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.fields import field_profile
from explorer.analysis.productivity import Use, layer_rows, use, use_by_size, use_table
from explorer.pages.receptive_field_sections.use import SIDES

NETS = ["alexnet_2012", "vgg16", "resnet18"]


def page(nets: list[str], image: int | None) -> None:
    from explorer.analysis.comparison import profiles
    from explorer.pages import cached, edge
    from explorer.pages.receptive_field_sections import use
    from explorer.pages.receptive_field_sections.seen import Seen

    size = None if image is None else (image, image)
    with edge.sentences():
        found, _ = profiles({net: net for net in nets}, size, cached.field_profiles())
        use.show(Seen({net: net for net in nets}, size, found))


def start(nets: list[str], image: int | None = None) -> AppTest:
    kwargs = {"nets": nets, "image": image}
    app = AppTest.from_function(page, default_timeout=60, kwargs=kwargs).run()
    return drawn(app)


def drawn(app: AppTest) -> AppTest:
    until(app, lambda app: app.dataframe)
    assert not app.exception
    assert not app.error
    return app


def used(net: str, side: int | None = None) -> Use:
    return use(field_profile(net), side and (side, side))


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_it_begins_with_each_networks_own_size() -> None:
    app = start(NETS)
    table = app.dataframe[0].value
    expected = use_table({net: used(net) for net in NETS})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert list(table["image"]) == ["227 x 227", "224 x 224", "224 x 224"]
    assert metrics(app) == {
        "Unproductive layers": "0 of 20",
        "Their parameters": "0.0%",
        "Their MACs": "0.0%",
        "Useful sizes": "76 to 435 px",
    }
    assert app.dataframe[1].value["status"].tolist() == used("resnet18").table["status"].tolist()


def test_the_slider_changes_what_the_fields_are_compared_with() -> None:
    app = start(NETS)
    app.select_slider(key="use_side").set_value(32).run()
    until(app, lambda app: app.dataframe and set(app.dataframe[0].value["image"]) == {"32 x 32"})
    table = app.dataframe[0].value.set_index("net")
    assert table.loc["vgg16", ["unproductive", "border"]].tolist() == [7, "features.14"]
    assert table.loc["vgg16", "macs_unproductive"] == pytest.approx(0.512, abs=1e-3)  # of fields followed at 32 px
    app.selectbox(key="field_net").set_value("vgg16").run()
    drawn(app)
    assert metrics(app) == {
        "Unproductive layers": "7 of 13",
        "Their parameters": "92.2%",
        "Their MACs": "51.2%",
        "Useful sizes": "165 to 212 px",
    }


def test_a_network_that_such_images_do_not_fit_is_said_and_shown_without_macs() -> None:
    app = start(NETS)
    app.select_slider(key="use_side").set_value(64).run()
    until(app, lambda app: app.expander)
    assert app.expander[0].label == "Images of this size do not go through alexnet\\_2012"
    assert "pool5" in app.expander[0].markdown[0].value
    app.selectbox(key="field_net").set_value("alexnet_2012").run()
    drawn(app)
    assert metrics(app)["Unproductive layers"] == "3 of 5"
    assert metrics(app)["Their MACs"] == "unknown"


def test_a_network_whose_paths_have_no_fields_is_left_out_with_a_sentence() -> None:
    app = start(["timm/hrnet_w18_small", "vgg11"])
    assert ["enlarged" in warning.value for warning in app.warning] == [True]
    assert list(app.dataframe[0].value["net"]) == ["vgg11"]
    app.selectbox(key="field_net").set_value("timm/hrnet_w18_small").run()
    drawn(app)
    assert len(app.dataframe) == 1
    assert not app.metric


def test_alone_it_leaves_its_sentence() -> None:
    app = AppTest.from_function(page, default_timeout=60, kwargs={"nets": ["timm/hrnet_w18_small"], "image": None})
    until(app.run(), lambda app: app.warning)
    assert not app.exception
    assert not app.dataframe


def test_the_size_chosen_above_holds_until_the_slider_moves() -> None:
    app = start(["resnet18"], image=128)
    assert list(app.dataframe[0].value["image"]) == ["128 x 128"]
    assert SIDES[0] is None


def test_both_controls_draw_other_lines_and_follow_no_field_again() -> None:
    app = start(["resnet18"])
    run = app.session_state["use_run"]
    steps = use_by_size({"resnet18": used("resnet18")}, (16, 1024))
    for what in ("params", "layers"):
        for rule in ("shortest", "longest"):
            app.segmented_control(key="use_share").set_value(what)
            app.segmented_control(key="use_rule").set_value(rule).run()
            chart = app.get("plotly_chart")[0].proto.spec
            line = pd.read_json(io.StringIO(chart), typ="series")["data"][0]
            assert line["y"] == pytest.approx(steps[f"{what}_{rule}"].tolist())
    assert app.session_state["use_run"] is run


def test_every_control_has_a_help_text_and_every_chart_a_description() -> None:
    app = start(NETS)
    kinds = ("select_slider", "segmented_control", "selectbox", "metric", "download_button")
    widgets = [widget for kind in kinds for widget in app.get(kind)]
    assert len(widgets) == 1 + 2 + 1 + 4 + 3
    assert all(widget.proto.help for widget in widgets)


def test_the_files_hold_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    start(["vgg16", "resnet18"])
    found = {net: used(net) for net in ("vgg16", "resnet18")}
    expected = {
        "field_use.csv": use_table(found),
        "field_use_by_size.csv": use_by_size(found, (16, 1024)),
        "resnet18_use.csv": layer_rows(found["resnet18"]),
    }
    assert set(files) == set(expected)
    for name, table in expected.items():
        written = pd.read_csv(io.BytesIO(files[name]))
        assert list(written.columns) == list(table.columns)
        assert len(written) == len(table)
    assert pd.read_csv(io.BytesIO(files["resnet18_use.csv"]))["shortest"].tolist()[:3] == [1, 11, 19]


@pytest.mark.parametrize("words", ["predicts", "rfa_toolbox 1.7.0", "No proof", "squeeze-and-excitation", "shortcuts"])
def test_it_says_that_it_predicts(words: str) -> None:
    assert words in "".join(text.value for text in start(["vgg11"]).markdown)
