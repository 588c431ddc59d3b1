"""The Receptive field page, through Streamlit's own page tests."""

import io
from collections.abc import Callable

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.field_stories import last_fields
from explorer.analysis.fields import field_profile
from explorer.analysis.receptive import receptive_fields

STORIES = ("stacked", "stride", "dilation", "residual", "alignment")


def start(*nets: str, field: str = "depth", ready: Callable[[AppTest], object] | None = None) -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    if nets:
        app.query_params["nets"] = list(nets)
    app.query_params["field"] = field
    app.run()
    return until(app.switch_page("explorer/pages/receptive_field.py").run(), ready or shown)


def shown(app: AppTest) -> bool:
    return bool(app.dataframe) or bool(app.metric) or bool(app.error) or bool(app.info)


def table(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value


def metrics(app: AppTest) -> dict[str, tuple[str, str]]:
    return {metric.label: (str(metric.value), str(metric.delta)) for metric in app.metric}


def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: found.update({file_name: make(content)}),
    )
    return found


# --- the page


def test_it_starts_with_the_story_from_alexnet_to_mobilenet() -> None:
    app = start()
    assert metrics(app) == {
        "alexnet_2012": ("195 px", "stride 32 px"),
        "vgg16": ("212 px", "stride 32 px"),
        "googlenet_2014": ("715 px", "stride 32 px"),
        "resnet50": ("427 px", "stride 32 px"),
        "mobilenetv1_100": ("315 px", "stride 32 px"),
    }
    assert not app.error
    assert not app.warning


def test_the_known_fields_are_read() -> None:
    fields = {
        "googlenet": "379 px",
        "googlenet_2014": "715 px",
        "resnet50": "427 px",
        "resnet50 stride_on=1x1": "483 px",
        "vgg16": "212 px",
        "alexnet": "195 px",
        "mobilenet_v2": "491 px",
        "cifar_resnet1202": "5,597 px",
    }
    app = start(*fields)
    assert {net: value for net, (value, _) in metrics(app).items()} == fields
    assert metrics(app)["cifar_resnet1202"][1] == "stride 4 px"
    assert list(table(app)["receptive_field"]) == [379, 715, 427, 483, 212, 195, 491, 5597]
    assert len(app.get("plotly_chart")) == 2


def test_no_network_is_an_invitation() -> None:
    app = start("resnet18")
    app.multiselect(key="nets").set_value([]).run()
    assert "Choose networks" in app.info[0].value
    assert not app.exception


def test_what_is_no_network_is_a_sentence_and_the_others_stay() -> None:
    app = until(start("resnet18", "resnt50"), lambda app: app.metric)
    assert "There is no network named" in app.error[0].value
    assert list(metrics(app)) == ["resnet18"]


def test_a_network_that_the_image_does_not_fit_is_left_out_with_a_sentence() -> None:
    app = start("alexnet_2012", "resnet18")
    app.selectbox(key="image").set_value("64")
    until(app.run(), lambda app: app.warning and app.metric)
    assert "alexnet" in app.warning[0].value
    assert list(metrics(app)) == ["resnet18"]
    assert table(app)["image"].tolist() == [64]


def test_the_link_holds_the_section_and_a_wrong_one_is_a_sentence() -> None:
    app = start("resnet18")
    app.segmented_control(key="field").set_value("table").run()
    assert app.query_params["field"] == "table"
    other = start("resnet18", field="nonsense")
    assert "field (=nonsense) of the link must be one of depth" in other.warning[0].value.replace("\\", "")
    assert list(metrics(other)) == ["resnet18"]


@pytest.mark.parametrize("field", ["depth", "paths", "stories", "table"])
@pytest.mark.parametrize(
    "nets", [("alexnet_2012", "seresnet50"), ("vit_tiny_patch16_224",), ("resnet50d", "densenet121", "plain18")]
)
def test_every_section_is_drawn_for_any_networks(field: str, nets: tuple[str, ...]) -> None:
    app = start(*nets, field=field)
    for _ in range(3):
        app.run()
    assert not app.exception
    assert not app.error
    assert not app.warning


@pytest.mark.parametrize("field", ["depth", "paths", "stories", "table"])
def test_everything_has_a_help_text(field: str) -> None:
    app = start("resnet18", "resnet34", field=field)
    kinds = ("segmented_control", "toggle", "selectbox", "multiselect", "text_input", "metric", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) > 4
    assert [widget for widget in drawn if not widget.proto.help] == []


def test_the_settings_outlive_a_visit_to_another_page() -> None:
    app = start("resnet18", "vgg11")
    app.segmented_control(key="field_across").set_value("share_of_depth").run()
    app.segmented_control(key="field_scale").set_value("logarithmic").run()
    app.toggle(key="field_bands_few").set_value(False).run()
    app.segmented_control(key="field").set_value("stories").run()
    app.segmented_control(key="field_story").set_value("stride").run()
    app.switch_page("explorer/pages/build.py").run()
    app.switch_page("explorer/pages/receptive_field.py").run()
    until(app, shown)
    assert app.segmented_control(key="field_story").value == "stride"
    app.segmented_control(key="field").set_value("depth").run()
    assert app.segmented_control(key="field_across").value == "share_of_depth"
    assert app.segmented_control(key="field_scale").value == "logarithmic"
    assert app.toggle(key="field_bands_few").value is False


# --- by depth


def test_bands_are_filled_for_few_networks_and_not_for_many() -> None:
    assert start("resnet18").toggle(key="field_bands_few").value is True
    many = start("resnet18", "vgg11", "vgg13", "vgg16", "vgg19", "resnet34")
    assert many.toggle(key="field_bands_many").value is False


def test_many_networks_are_a_table_and_no_row_of_numbers() -> None:
    nets = ("vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "plain18", "plain34")
    app = start(*nets)
    assert not app.metric
    assert list(table(app)["net"]) == list(nets)
    expected = last_fields({name: field_profile(name) for name in nets})
    pd.testing.assert_frame_equal(table(app), expected, check_dtype=False)


def test_the_files_of_the_charts_hold_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = files(monkeypatch)
    start("resnet18", "vgg16")
    lines = pd.read_csv(io.BytesIO(found["receptive_field_by_depth.csv"]))
    assert lines.groupby("net", sort=False)["receptive_field"].max().to_dict() == {"resnet18": 435, "vgg16": 212}
    last = pd.read_csv(io.BytesIO(found["receptive_fields.csv"]))
    assert last["receptive_field"].tolist() == [435, 212]


@pytest.mark.parametrize("words", ["10.23915/distill.00021", "1701.04128", "2106.12307", "upper bound", "no proof"])
def test_it_tells_theory_and_measurement_with_their_sources(words: str) -> None:
    app = start("resnet18")
    assert words in " ".join(markdown.value.replace("\n", " ") for markdown in app.markdown)


# --- paths


def test_the_paths_of_the_last_map() -> None:
    app = start("resnet50", field="paths")
    assert metrics(app)["Paths"] == (f"{2**16:,}", "")
    assert metrics(app)["Shortest"][0] == "11 px"
    assert metrics(app)["Longest"][0] == metrics(app)["The map's own"][0] == "427 px"
    assert metrics(app)["Mean"][0] == f"{(11 + 427) // 2} px"
    assert len(app.get("plotly_chart")) == 1


def test_resnet_1202_has_more_paths_than_any_float_can_count() -> None:
    app = start("cifar_resnet1202", field="paths")
    assert metrics(app)["Paths"] == ("2^600", "about 4.15 × 10^180")
    assert metrics(app)["Longest"][0] == "5,597 px"
    assert metrics(app)["Mean"] == ("2,800 px", "95%: 2,547 to 3,053")


def test_another_layer_has_other_paths() -> None:
    app = start("resnet50", field="paths")
    table = field_profile("resnet50").table.set_index("name")
    app.selectbox(key="field_paths_layer resnet50").set_value(int(table.loc["layer2.3.relu3", "operator"]))
    until(app.run(), lambda app: app.metric and metrics(app)["Longest"][0] == "91 px")
    assert metrics(app)["Paths"][0] == str(2**7)  # three blocks and four


def test_a_chain_has_one_path_and_nothing_to_spread() -> None:
    app = start("vgg16", field="paths", ready=lambda app: app.metric)
    assert metrics(app)["Paths"][0] == "1"
    assert "One path" in app.info[0].value
    assert not app.get("plotly_chart")


def test_all_networks_stand_in_one_chart_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = files(monkeypatch)
    app = start("vgg16", "resnet18", "resnet50", field="paths")
    assert set(pd.read_csv(io.BytesIO(found["receptive_field_paths.csv"]))["net"]) == {"resnet18"}, (
        "the first residual one"
    )
    app.toggle(key="field_paths_all").set_value(True).run()
    until(app, lambda app: app.get("plotly_chart"))
    shares = pd.read_csv(io.BytesIO(found["receptive_field_paths.csv"]))
    assert shares.groupby("net")["paths"].sum().to_dict() == {"vgg16": 1, "resnet18": 2**8, "resnet50": 2**16}
    assert shares.groupby("net")["height"].max().to_dict() == {"vgg16": 212, "resnet18": 435, "resnet50": 427}


@pytest.mark.parametrize("words", ["1605.06431", "each as one", "no independent networks"])
def test_it_says_what_is_claimed_of_paths_and_what_not(words: str) -> None:
    app = start("resnet18", field="paths")
    assert words in " ".join(caption.value.replace("\n", " ") for caption in app.caption)


# --- stories


@pytest.mark.parametrize("story", STORIES)
def test_a_story_is_one_click_and_leaves_the_networks_as_they_are(story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = files(monkeypatch)
    app = start("vgg11", field="stories")
    app.segmented_control(key="field_story").set_value(story).run()
    assert not app.exception
    assert not app.error
    assert app.get("plotly_chart")
    assert "doi.org" in app.markdown[0].value or "arxiv.org" in app.markdown[0].value
    again = pd.read_csv(io.BytesIO(found[f"receptive_field_{story}.csv"]))
    assert list(again) == list(table(app))
    assert len(again) == len(table(app)) > 1
    assert app.multiselect(key="nets").value == ["vgg11"]


def test_the_stories_networks_come_to_the_page() -> None:
    app = start("vgg11", field="stories")
    app.segmented_control(key="field_story").set_value("stride").run()
    [button] = [button for button in app.button if button.label == "Put these networks on the page"]
    until(button.click().run(), lambda app: len(app.metric) == 2)
    assert {net: value for net, (value, _) in metrics(app).items()} == {
        "resnet50 stride_on=1x1": "483 px",
        "resnet50": "427 px",
    }
    assert app.query_params["nets"] == ["resnet50 stride_on=1x1", "resnet50"]
    assert app.query_params["field"] == "depth"


def test_a_story_of_small_stacks_has_no_networks_to_put_on_the_page() -> None:
    app = start("vgg11", field="stories")
    assert not [button for button in app.button if button.label == "Put these networks on the page"]


# --- the table


def test_the_table_has_the_fields_of_every_layer() -> None:
    app = start("resnet50", field="table")
    fields = receptive_fields("resnet50")
    fields = fields[fields["size"].notna()]
    for column in ("name", "stage", "size", "stride", "start", "padding", "aligned", "global_context"):
        assert list(table(app)[column]) == list(fields[column])
    assert metrics(app) == {
        label: (value, "")
        for label, value in {
            "Size": "427 px",
            "Stride": "32 px",
            "Start": "0 px",
            "Middle unit at": "96, 96 px",  # 3 * 32
            "Holes": "0",
            "Inside the image": "224 px",
            "Image in the box": "100.0%",
            "Aligned": "yes",
            "Global context": "no",
        }.items()
    }


def test_filters_leave_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    found = files(monkeypatch)
    app = start("resnet50", field="table")
    app.text_input(key="field_search").set_value("CONV2").run()
    app.multiselect(key="field_stages resnet50").set_value(["3"]).run()
    assert list(table(app)["name"]) == [f"layer3.{block}.conv2" for block in range(6)]
    assert "6 of 172 layers" in " ".join(caption.value for caption in app.caption)
    assert metrics(app)["Size"][0] == "267 px"  # of the last of them
    again = pd.read_csv(io.BytesIO(found["receptive_field_table.csv"]))
    assert list(again["name"]) == list(table(app)["name"])
    assert list(again["size_height"]) == list(again["size_width"]) == list(table(app)["size"])
    app.multiselect(key="field_kinds resnet50").set_value(["pool"]).run()
    assert "No layer is like that" in app.info[0].value


def test_one_network_is_chosen_for_every_section() -> None:
    app = start("vgg16", "resnet50", field="table")
    assert app.selectbox(key="field_net").value == "resnet50"
    app.selectbox(key="field_net").set_value("vgg16").run()
    assert metrics(app)["Size"][0] == "212 px"
    assert metrics(app)["Inside the image"][0] == "212 px"
    assert metrics(app)["Start"][0] == "15.5 px"
    app.segmented_control(key="field").set_value("paths").run()
    until(app, lambda app: app.metric and "Longest" in metrics(app))
    assert metrics(app)["Longest"][0] == "212 px"


def test_gates_are_said() -> None:
    app = start("seresnet50", field="table")
    assert metrics(app)["Global context"][0] == "yes"
    other = start("resnet50d", field="table")
    assert metrics(other)["Aligned"][0] == "no"
