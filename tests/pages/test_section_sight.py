"""The sections On a picture and Effective field of the Receptive field page."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.effective import by_depth, measurable
from explorer.analysis.fields import field_profile
from explorer.models.checkpoints import REGISTRY
from explorer.models.downloads import WeightsUnavailable
from explorer.pages.receptive_field_sections import measuring
from explorer.pages.receptive_field_sections.seen import Seen
from explorer.spec import PRESETS

SMALL = "cifar_resnet20"
APP = str(Path(__file__).parents[2] / "app.py")


def start(section: str, *nets: str, **state: object) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params.update({"nets": list(nets), "field": section})
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    app.switch_page("explorer/pages/receptive_field.py").run()
    return until(
        app, lambda app: {"sight_net", "effective_nets"} & {box.key for box in (*app.selectbox, *app.multiselect)}
    )


def sight(*nets: str, **state: object) -> AppTest:
    return until(start("picture", *nets, **state), measured)


def measured(app: AppTest) -> bool:
    return bool(app.error) or "Effective, px" in numbers(app)


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def layer(net: str, name: str) -> int:
    profile = field_profile(net)
    return next(here for here in measurable(profile) if profile.graph[here].name == name)


def test_the_first_residual_net_and_its_last_map_are_shown() -> None:
    app = sight("vgg11", SMALL)
    assert app.selectbox(key="sight_net").value == SMALL
    assert numbers(app)["Field, px"] == "81"
    assert numbers(app)["Stride, px"] == "4"
    assert numbers(app)["Centre"] == "16, 16", "unit 4, 4 of 8x8 at stride 4, which starts at pixel 0"
    assert numbers(app)["Inside, px"] == "32"
    assert numbers(app)["Holes"] == "0"
    shown = next(metric for metric in app.metric if metric.label == "Effective, px")
    height, width = map(int, re.findall(r"\d+", shown.value) * (1 if " x " in shown.value else 2))
    assert int(re.findall(r"\d+", shown.delta)[0]) == pytest.approx(100 * np.sqrt(height * width) / 81, abs=2)


@pytest.mark.parametrize(
    ("net", "name", "size", "stride", "centre"),
    [
        (SMALL, "layer1.0.conv1", 5, 1, "16, 16"),
        ("alexnet_2012", "pool5", 195, 32, "129, 129"),  # 6x6 units; 33 + 3 * 32
        ("torchvision/squeezenet1_1", "features.0", 3, 2, "111, 111"),  # 111 units from pixel 1 on, unit 55
    ],
)
def test_a_layer_is_chosen_and_told(net: str, name: str, size: int, stride: int, centre: str) -> None:
    here = layer(net, name)
    app = sight(net)
    app.select_slider(key="sight_layer").set_value(here)
    until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == str(size))
    assert numbers(app)["Stride, px"] == str(stride)
    assert numbers(app)["Centre"] == centre
    units = field_profile(net).table.set_index("operator").loc[here, "units"]
    assert app.slider(key="sight_unit_0").max == units[0] - 1
    assert app.slider(key="sight_unit_0").value == units[0] // 2, "another map begins with its middle"


def test_a_unit_in_the_corner_has_less_of_the_image() -> None:
    app = sight(SMALL)
    app.slider(key="sight_unit_0").set_value(0)
    app.slider(key="sight_unit_1").set_value(7)
    until(app.run(), lambda app: measured(app) and numbers(app)["Centre"] == "0, 28")
    assert numbers(app)["Inside, px"] == "32", "81 pixels reach over all 32 from anywhere"
    app.select_slider(key="sight_layer").set_value(layer(SMALL, "layer1.0.conv1"))
    app = until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == "5")
    app.slider(key="sight_unit_0").set_value(0)
    app.slider(key="sight_unit_1").set_value(30)
    until(app.run(), lambda app: measured(app) and numbers(app)["Centre"] == "0, 30")
    assert numbers(app)["Inside, px"] == "3 x 4"


def test_another_layer_keeps_the_place_that_was_chosen() -> None:
    app = sight(SMALL)
    app.slider(key="sight_unit_0").set_value(1)
    app.slider(key="sight_unit_1").set_value(6)
    until(app.run(), lambda app: measured(app) and numbers(app)["Centre"] == "4, 24")
    app.select_slider(key="sight_layer").set_value(layer(SMALL, "layer1.0.conv1"))
    until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == "5")
    assert numbers(app)["Centre"] == "4, 24"
    assert (app.slider(key="sight_unit_0").value, app.slider(key="sight_unit_1").value) == (4, 24)
    app.slider(key="sight_unit_0").set_value(10)
    until(app.run(), lambda app: measured(app) and numbers(app)["Centre"] == "10, 24")
    app.select_slider(key="sight_layer").set_value(layer(SMALL, "layer3.2.relu2"))
    until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == "81")
    assert numbers(app)["Centre"] in ("8, 24", "12, 24"), "the nearest of a stride of 4"
    app.selectbox(key="sight_net").set_value("trained efficientnet_lite0")
    until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == "851")
    assert app.slider(key="sight_unit_0").value == 3, "another network begins with its middle"


def test_weights_that_cannot_be_fetched_leave_the_theoretical_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, report: object = None) -> None:
        raise WeightsUnavailable("The weights could not be downloaded.")

    monkeypatch.setattr(measuring, "load", refuse)
    app = start("picture", SMALL)
    app.selectbox(key="sight_net").set_value("trained resnet18")
    until(app.run(), lambda app: app.error)
    assert "could not be downloaded" in app.error[0].value
    assert numbers(app)["Field, px"] == "435"
    assert len(app.get("plotly_chart")) == 1
    app = until(start("effective", SMALL), lambda app: app.dataframe)
    app.multiselect(key="effective_nets").set_value([SMALL, "trained resnet18"])
    until(app.run(), lambda app: app.warning and app.dataframe)
    assert "ResNet-18, trained is left out: The weights could not" in app.warning[0].value.replace("\\", "")
    assert set(app.dataframe[0].value["net"]) == {f"{SMALL}, initial weights"}


def test_without_the_effective_field_nothing_is_measured() -> None:
    app = start("picture", SMALL, sight_effective=False)
    until(app, lambda app: app.metric)
    assert "Effective, px" not in numbers(app)
    assert numbers(app)["Field, px"] == "81"
    assert "sight_run" not in app.session_state
    assert len(app.get("plotly_chart")) == 1
    app.toggle(key="sight_effective").set_value(True)
    until(app.run(), measured)
    assert len(app.get("plotly_chart")) == 2


def test_through_depth_has_a_row_a_layer_and_the_last_map_ends_it() -> None:
    app = start("picture", SMALL, sight_through=True)
    until(app, lambda app: app.dataframe)
    table = app.dataframe[0].value
    assert len(table) == 16
    assert list(table["theoretical"]) == sorted(table["theoretical"])
    assert (table["name"].iloc[-1], table["theoretical"].iloc[-1]) == ("layer3.2.relu2", 81)
    assert (table["averaged"] == 4).all(), "the samples, of which the picture is one"
    app.toggle(key="sight_effective").set_value(False)
    until(app.run(), lambda app: not app.dataframe)
    assert len(app.get("plotly_chart")) == 1


def test_a_trained_network_is_measured_with_its_own_crop() -> None:
    app = sight(SMALL, sight_on="picture")
    trained = next(key for key in app.selectbox(key="sight_net").options if "works offline" in key)
    app.selectbox(key="sight_net").set_value("trained efficientnet_lite0")
    until(app.run(), lambda app: measured(app) and numbers(app)["Field, px"] == "851")
    assert trained == "EfficientNet-Lite0, trained · works offline"
    profile = field_profile("tf_efficientnet_lite0", (224, 224))
    assert profile.table["receptive_field"].iloc[-1] == 851
    said = " ".join(caption.value for caption in app.caption)
    assert "with trained weights" in said
    assert "averaged over 1 gradients on this picture." in said


def test_an_upload_is_asked_for_and_a_bad_one_is_a_sentence() -> None:
    app = start("picture", SMALL, picture_source="Upload")
    until(app, lambda app: app.info)
    assert "Choose a picture file" in app.info[0].value
    app.file_uploader(key="upload").set_value(("cup.png", b"no picture", "image/png"))
    app.run()
    assert "cup.png" in app.error[0].value.replace("\\", "")
    assert not app.exception


def test_a_network_that_leaves_the_page_is_no_longer_shown() -> None:
    app = sight(SMALL, "vgg11")
    app.multiselect(key="nets").set_value(["cifar_plain20"])
    until(app.run(), lambda app: measured(app) and app.selectbox(key="sight_net").value == "cifar_plain20")
    assert not app.error


def test_a_net_that_takes_other_channels_is_measured_on_patterns_and_said_to_be_so_otherwise() -> None:
    app = start("picture", f"{SMALL} in_channels=4")
    until(app, lambda app: app.error)
    assert "takes 4 channels and a picture has 1 or 3; measure on patterns" in app.error[0].value
    app.selectbox(key="sight_on").set_value("patterns")
    until(app.run(), measured)
    assert not app.error


def test_what_one_person_measured_on_a_sample_nobody_measures_again_but_uploads_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured_nets: list[object] = []
    measure = measuring.initial_fields

    def counted(network: object, *args: Any, **settings: Any) -> Any:
        measured_nets.append(network)
        return measure(network, *args, **settings)

    monkeypatch.setattr(measuring, "initial_fields", counted)
    net = f"{SMALL} width=9"  # of no other test
    for _ in range(2):
        sight(net)
    assert len(measured_nets) == 1
    image = io.BytesIO()
    Image.new("RGB", (40, 50), "teal").save(image, "PNG")
    for number in (2, 3):
        app = start("picture", net, picture_source="Upload")
        app.file_uploader(key="upload").set_value(("teal.png", image.getvalue(), "image/png"))
        until(app.run(), measured)
        assert len(measured_nets) == number


# --- by depth


def test_the_curve_has_the_networks_that_are_chosen() -> None:
    app = until(start("effective", "cifar_plain20", SMALL), lambda app: app.dataframe)
    table = app.dataframe[0].value
    assert set(table["net"]) == {f"{SMALL}, initial weights"}
    app.multiselect(key="effective_nets").set_value(["cifar_plain20", SMALL])
    until(app.run(), lambda app: app.dataframe and app.dataframe[0].value["net"].nunique() == 2)
    table = app.dataframe[0].value
    for net, name in (("cifar_plain20, initial weights", "cifar_plain20"), (f"{SMALL}, initial weights", SMALL)):
        profile = field_profile(name)
        rows = profile.table.set_index("operator").loc[by_depth(profile, 12)]
        assert list(table["name"][table["net"] == net]) == list(rows["name"])
        assert list(table["theoretical"][table["net"] == net]) == list(rows["receptive_field"])
    ratios = table["ratio"]
    assert ((ratios > 0) & (ratios < 1)).all()
    app.multiselect(key="effective_nets").set_value([])
    app.run()
    assert not app.exception
    assert "Choose a network whose effective field" in app.info[0].value
    assert app.multiselect(key="effective_nets").value == []


def test_more_seeds_average_more_gradients() -> None:
    app = until(start("effective", SMALL, effective_on="patterns"), lambda app: app.dataframe)
    app.slider(key="effective_seeds").set_value(2)
    until(app.run(), lambda app: app.dataframe and (app.dataframe[0].value["averaged"] == 2 * 8).all())
    assert any("2 draws of weights" in caption.value for caption in app.caption)


def test_a_long_measurement_can_be_cancelled() -> None:
    app = until(
        start("effective", "vgg16"), lambda app: any(button.key == "effective_run_cancel" for button in app.button)
    )
    app.button(key="effective_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value


def test_the_map_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download", lambda label, make, content, name, *rest: files.update({name: make(content)})
    )
    sight(SMALL)
    [content] = [content for name, content in files.items() if name.endswith(".npy")]
    fetched = np.load(io.BytesIO(content))
    assert fetched.shape == (32, 32)
    assert fetched.sum() == pytest.approx(1)


def test_every_trained_network_can_be_chosen_and_each_is_named_once() -> None:
    options = measuring.subjects(Seen({SMALL: PRESETS[SMALL]}, None, {SMALL: field_profile(SMALL)}))
    assert len(options) == 1 + len(REGISTRY) == len(set(options.values()))
