"""The Compare page, through Streamlit's own page tests."""

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.comparison import comparison_table
from explorer.analysis.profile import profile
from explorer.models import zoo
from explorer.pages.networks import SETS
from explorer.spec import ResNetSpec


def start(*nets: str) -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    if nets:
        app.query_params["nets"] = list(nets)
    app.run()
    return until(app.switch_page("explorer/pages/compare.py").run(), shown)


def shown(app: AppTest) -> bool:
    return bool(app.dataframe) or bool(app.error) or bool(app.info)


def section(app: AppTest, name: str) -> AppTest:
    app.segmented_control(key="view").set_value(name)
    return until(app.run(), lambda app: app.dataframe)


def table(app: AppTest, place: int = 0) -> pd.DataFrame:
    return app.dataframe[place].value


def counted(app: AppTest) -> dict[str, int]:
    if not app.dataframe:
        return {}
    return dict(zip(table(app)["net"], table(app)["params"], strict=True))


def test_it_starts_with_the_story_from_alexnet_to_mobilenet() -> None:
    app = start()
    assert not app.exception
    assert counted(app) == {
        "alexnet_2012": 60_965_224,
        "vgg16": 138_357_544,
        "googlenet_2014": 6_998_552,
        "resnet50": 25_557_032,
        "mobilenetv1_100": 4_231_976,
    }
    assert list(table(app)["depth"]) == [8, 16, 22, 50, 28]
    assert list(table(app)["receptive_field"]) == [195, 212, 715, 427, 315]
    assert table(app)["top5"][0] == pytest.approx(100 - 18.2)  # Krizhevsky et al. 2012, table 2


@pytest.mark.parametrize("name", SETS)
def test_a_set_takes_the_place_of_the_networks(name: str) -> None:
    app = start("resnet18")
    app.selectbox(key="nets_set").set_value(name)
    until(app.run(), lambda app: len(counted(app)) == len(SETS[name]))
    assert not app.error
    assert not app.warning
    for net, params in counted(app).items():
        assert params == profile(net).totals.params


def test_networks_come_and_go() -> None:
    app = start("resnet18", "vgg11")
    assert list(counted(app)) == ["resnet18", "vgg11"]
    app.multiselect(key="nets").set_value(["resnet18", "timm/dla34"])
    until(app.run(), lambda app: "timm/dla34" in counted(app))
    assert counted(app)["timm/dla34"] == profile("timm/dla34").totals.params
    assert app.query_params["nets"] == ["resnet18", "timm/dla34"]


def test_a_preset_with_changes_is_a_network() -> None:
    app = start("resnet50", "resnet50 width=32 shortcut=C")
    assert counted(app)["resnet50 width=32 shortcut=C"] == profile("resnet50 width=32 shortcut=C").totals.params
    assert not app.error


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("resnt50", "There is no network named 'resnt50'; near names are resnet50"),
        ("resnet50 widht=3", "'widht' is not a field of a net; near names are width"),
        ("resnet50 width=banana", "width"),
        ("timm/nonsense_of_mine", "There is no network named"),
        ("<script>", "There is no network named"),
        ("resnet50 width", "must be a field and its value"),
    ],
)
def test_what_is_no_network_is_a_sentence_and_the_others_stay(wrong: str, said: str) -> None:
    app = until(start("resnet18", wrong), counted)
    assert said in app.error[0].value.replace("\\", "")
    assert list(counted(app)) == ["resnet18"]


def test_a_near_name_takes_the_place_of_a_wrong_one() -> None:
    app = start("resnet18", "vgg61")
    near = zoo.UnknownNetwork("vgg61").near[0]
    app.button(key=f"near vgg61 {near}").click()
    until(app.run(), lambda app: near in counted(app))
    assert not app.error
    assert app.query_params["nets"] == ["resnet18", near]


def test_a_network_that_the_image_does_not_fit_is_left_out_with_a_sentence() -> None:
    app = start("alexnet_2012", "resnet18")
    app.selectbox(key="image").set_value("64")
    until(app.run(), lambda app: app.warning and counted(app))
    assert "alexnet" in app.warning[0].value
    assert "64x64" in app.warning[0].value
    assert counted(app) == {"resnet18": 11_689_512}
    assert table(app)["macs"][0] == profile("resnet18", (64, 64)).totals.macs
    printed = table(app, 1)
    assert set(printed["macs"][printed["net"] == "resnet18"]) == {profile("resnet18").totals.macs}  # at their own size


def test_no_network_is_an_invitation() -> None:
    app = start("resnet18")
    app.multiselect(key="nets").set_value([]).run()
    assert not app.exception
    assert "Choose networks" in app.info[0].value


def test_a_long_link_is_cut() -> None:
    app = start(*zoo.names()[:60])
    assert not app.exception
    assert len(app.multiselect(key="nets").value) == 40
    app.switch_page("explorer/pages/build.py").run()
    next(button for button in app.sidebar.button if button.label == "Keep for Compare").click().run()
    app.switch_page("explorer/pages/compare.py").run()
    assert not app.exception
    assert len(app.multiselect(key="nets").value) == 40


def test_the_net_of_the_build_page_is_the_first_option_and_a_kept_one_is_added() -> None:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    app.query_params.update({"net": "resnet34", "width": "24"})
    app.run()
    next(button for button in app.sidebar.button if button.label == "Keep for Compare").click().run()
    assert "resnet34 width=24" in app.toast[0].value
    app.switch_page("explorer/pages/compare.py").run()
    until(app, lambda app: app.dataframe and "resnet34 width=24" in counted(app))
    assert app.multiselect(key="nets").options[0] == "resnet34 width=24"
    assert counted(app)["resnet34 width=24"] == profile("resnet34 width=24").totals.params


def test_saved_nets_are_opened_and_a_wrong_file_is_a_sentence() -> None:
    app = start("resnet18")
    spec = ResNetSpec.from_text("resnet34 width=24")
    content = {"mine.json": spec.to_json().encode(), "wrong.json": b'{"widht": 3}', "text.json": b"hello \xff"}
    app.file_uploader(key="nets_files").set_value([(name, data, "application/json") for name, data in content.items()])
    until(app.run(), lambda app: len(counted(app)) == 2)
    assert list(counted(app)) == ["resnet18", "resnet34 width=24"]
    assert [error.value.split()[0].replace("\\", "") for error in app.error] == ["wrong.json", "text.json"]


# --- sections

NETS = ("alexnet_2012", "vgg16", "resnet18")


@pytest.mark.parametrize("name", ["accuracy", "size", "where", "depth", "layers", "speed"])
@pytest.mark.parametrize("nets", [NETS, ("cifar_resnet20",), ("vit_tiny_patch16_224", "resnet50 width=24")])
def test_every_section_is_drawn_for_any_networks(name: str, nets: tuple[str, ...]) -> None:
    app = start(*nets)
    app.segmented_control(key="view").set_value(name).run()
    for _ in range(3):
        app.run()
    assert not app.exception
    assert not app.error


def test_accuracies_are_of_the_chosen_sources() -> None:
    app = section(start("resnet50", "alexnet_2012"), "accuracy")
    assert set(table(app)["origin"]) == {"paper"}
    app.pills(key="accuracy_origins").set_value(["torchvision"]).run()
    assert list(table(app)["top1"]) == [76.13]  # torchvision's first weights of ResNet-50; none of AlexNet of 2012
    assert any("alexnet" in caption.value for caption in app.caption)
    app.toggle(key="accuracy_every").set_value(True).run()
    assert list(table(app)["top1"]) == [76.13, 80.858]
    app.segmented_control(key="accuracy_dataset").set_value("CIFAR-10").run()
    assert "No accuracy is printed" in app.info[0].value


def test_the_winners_are_tabled() -> None:
    app = section(start("resnet50"), "accuracy")
    winners = table(app, 1).set_index("network")
    assert list(winners.loc[["AlexNet", "VGG", "GoogLeNet", "ResNet"], "layers"]) == [8, 19, 22, 152]
    assert winners.loc["ResNet", "top5_error"] == 3.57


def test_two_networks_are_walked_layer_by_layer() -> None:
    app = section(start("alexnet_2012", "resnet18"), "layers")
    rows = table(app)
    assert list(rows["left_output_shape"].dropna())[:3] == ["96x55x55", "96x27x27", "256x27x27"]
    text = " ".join(markdown.value for markdown in app.markdown).replace("\\", "")
    assert "(227 " in text  # the first row that both have is chosen from the start
    assert "11×11×3 × 96 weights + 96 biases = 34,944" in text
    app.toggle(key="walk_every").set_value(True).run()
    assert len(table(app)) > len(rows)
    app.selectbox(key="walk_right").set_value("alexnet_2012").run()
    assert not app.exception
    assert list(table(app)["left_layer"]) == list(table(app)["right_layer"])


def test_the_settings_outlive_a_visit_to_another_page() -> None:
    app = start("resnet18", "vgg11")
    app.segmented_control(key="view").set_value("depth").run()
    app.segmented_control(key="depth_quantity").set_value("params").run()
    app.switch_page("explorer/pages/build.py").run()
    assert "nets" not in app.query_params
    app.switch_page("explorer/pages/compare.py").run()
    assert app.segmented_control(key="depth_quantity").value == "params"
    assert app.multiselect(key="nets").value == ["resnet18", "vgg11"]


def test_the_table_is_the_comparison() -> None:
    app = start(*NETS)
    whole = comparison_table({name: profile(name) for name in NETS})
    for column in ("depth", "params", "macs", "activation_bytes", "receptive_field"):
        assert list(table(app)[column]) == list(whole[column])


def test_the_link_holds_the_view_and_a_wrong_one_is_a_sentence() -> None:
    app = start("resnet18")
    assert app.query_params["view"] == "table"
    app.segmented_control(key="view").set_value("where").run()
    assert app.query_params["view"] == "where"
    other = AppTest.from_file("../../app.py", default_timeout=60)
    other.query_params.update({"nets": ["resnet18"], "view": "nonsense"})
    other.run()
    other.switch_page("explorer/pages/compare.py").run()
    assert "view (=nonsense) of the link must be one of table, accuracy" in other.warning[0].value.replace("\\", "")
    until(other, shown)
    assert counted(other) == {"resnet18": 11_689_512}


def test_the_link_holds_the_image_size() -> None:
    app = start("resnet18")
    app.selectbox(key="image").set_value("128").run()
    assert app.query_params["image"] == "128"
    for text, size in (("128", (128, 128)), ("banana", (224, 224))):
        other = AppTest.from_file("../../app.py", default_timeout=60)
        other.query_params.update({"nets": ["resnet18"], "image": text})
        other.run()
        until(other.switch_page("explorer/pages/compare.py").run(), lambda app: app.dataframe)
        assert table(other)["macs"][0] == profile("resnet18", size).totals.macs
        assert bool(other.warning) == (text == "banana")
    until(other.selectbox(key="image").set_value("64").run(), lambda app: app.dataframe)
    assert not other.warning, "said until another is chosen"


def test_a_set_can_be_chosen_again() -> None:
    app = start("resnet18")
    for _ in range(2):
        app.selectbox(key="nets_set").set_value("VGG").run()
        assert app.multiselect(key="nets").value == list(SETS["VGG"])
        app.multiselect(key="nets").set_value(["vgg11"]).run()


def test_a_bubble_that_is_unknown_is_said() -> None:
    app = start("resnet18", "vit_tiny_patch16_224")
    app.segmented_control(key="view").set_value("size").run()
    app.selectbox(key="size_across").set_value("receptive_field").run()
    assert "vit" in app.info[0].value
    assert len(app.get("plotly_chart")) == 1
    app.multiselect(key="nets").set_value(["vit_tiny_patch16_224"]).run()
    until(app, lambda app: app.info)
    assert not app.get("plotly_chart")


def test_left_and_right_outlive_other_views_and_follow_the_networks() -> None:
    app = section(start(*NETS), "layers")
    app.selectbox(key="walk_right").set_value("resnet18").run()
    app.segmented_control(key="view").set_value("where").run()
    app.segmented_control(key="view").set_value("layers").run()
    assert app.selectbox(key="walk_right").value == "resnet18"
    app.multiselect(key="nets").set_value(["vgg16", "vgg11"]).run()
    until(app, lambda app: app.dataframe and app.selectbox(key="walk_right").value == "vgg11")
    assert not app.exception


def test_the_notes_beside_an_accuracy_are_in_the_table() -> None:
    app = start("resnet152")
    assert "strides on the 1x1" in table(app)["note"][0]


def test_leaving_the_speed_section_stops_the_measuring() -> None:
    app = start("resnet18", "vgg11")
    app.segmented_control(key="view").set_value("speed").run()
    app.button(key="speed_measure").click().run()
    job = app.session_state["speed_run"].job
    app.segmented_control(key="view").set_value("where").run()
    assert job.wait(30)
    assert job.state == "cancelled"
    app.segmented_control(key="view").set_value("speed").run()
    assert "speed_run" not in app.session_state, "nobody asked for it again"
    app.button(key="speed_measure").click().run()
    assert app.session_state["speed_run"].job is not job


def test_a_broken_net_in_the_link_is_said_on_every_page() -> None:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    app.query_params.update({"net": "resnet50", "width": "banana"})
    app.run()
    assert "width" in app.warning[0].value
    until(app.switch_page("explorer/pages/compare.py").run(), shown)
    assert "width" in app.warning[0].value
