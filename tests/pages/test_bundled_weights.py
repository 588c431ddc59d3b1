"""The project's own CIFAR nets on the pages that offer trained weights."""

from pathlib import Path

import pytest
from PIL import Image
from polling import until
from skimage import data
from streamlit.testing.v1 import AppTest

from explorer.analysis.effective import by_depth
from explorer.analysis.fields import field_profile
from explorer.attribution import predict
from explorer.models import checkpoints
from explorer.models.checkpoints import CIFAR10_CLASSES, REGISTRY

APP = str(Path(__file__).parents[2] / "app.py")
OWN = ("cifar_resnet20", "cifar_resnet56", "cifar_plain20", "cifar_plain56")


def attribution(**state: object) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    return app.run().switch_page("explorer/pages/attribution.py").run()


def explained(app: AppTest, name: str) -> bool:
    return f" for {name}**" in said(app) and [metric.label for metric in app.metric][-1:] == ["Convergence delta"]


def said(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def receptive_field(section: str, **state: object) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params.update({"nets": ["cifar_resnet20"], "field": section})
    for key, value in state.items():
        app.session_state[key] = value
    return app.run().switch_page("explorer/pages/receptive_field.py").run()


def test_each_net_of_our_own_is_asked_and_explained_by_every_method() -> None:
    app = attribution(sample="chelsea")
    for name in OWN:
        predicted = predict(name, Image.fromarray(data.chelsea())).class_name[0]
        app.selectbox(key="checkpoint").set_value(name).run()
        until(app, lambda app, predicted=predicted: explained(app, predicted))
        assert abs(float(app.metric[2].value)) < 1e-3, "Grad-CAM adds up exactly"
    assert len(app.selectbox(key="target").options) == 1 + 10
    logit = app.metric[0].value
    app.selectbox(key="method").set_value("integrated_gradients").run()
    until(app, lambda app: "**Integrated Gradients" in said(app) and explained(app, predicted))
    assert app.metric[0].value == logit
    assert 0 < abs(float(app.metric[2].value)) < 0.5
    assert len(app.get("plotly_chart")) == 3, "the square, the prediction and the map"


def test_the_page_says_how_the_net_was_trained_and_what_it_can_say() -> None:
    app = until(attribution(checkpoint="cifar_plain20", sample="chelsea"), lambda app: explained(app, "cat"))
    own = REGISTRY["cifar_plain20"].training
    assert own is not None
    text = said(app)
    assert f"CIFAR-10 (JPEG), {own.top1:.1f}% top-1 on the 10,000 test pictures" in text
    assert f"{own.steps:,} steps of {own.batch} pictures, about {own.epochs:.0f} times" in text
    assert "scripts/record_cifar.py, MIT" in text
    assert "32 x 32 px in 10 classes: airplane, automobile, bird" in text
    assert "as published" not in text
    app.selectbox(key="checkpoint").set_value("efficientnet_lite0").run()
    until(app, lambda app: explained(app, "tiger cat"))
    assert "75.1% top-1 as published" in said(app)
    assert "32 x 32 px" not in said(app)


def test_a_class_of_one_data_set_is_no_class_of_another() -> None:
    app = until(attribution(sample="chelsea"), lambda app: explained(app, "tiger cat"))
    app.selectbox(key="target").set_value("968").run()
    until(app, lambda app: explained(app, "cup"))
    app.selectbox(key="checkpoint").set_value("cifar_resnet20").run()
    until(app, lambda app: explained(app, "cat"))
    app.selectbox(key="target").set_value(str(CIFAR10_CLASSES.index("frog"))).run()
    until(app, lambda app: explained(app, "frog"))
    app.selectbox(key="checkpoint").set_value("cifar_plain20").run()
    until(app, lambda app: explained(app, "frog"))
    app.selectbox(key="checkpoint").set_value("efficientnet_lite0").run()
    until(app, lambda app: explained(app, "tiger cat"))
    assert app.selectbox(key="target").value == "none", "the predicted one"


def test_without_its_file_the_page_says_so_and_goes_on_with_another_net(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    app = attribution(checkpoint="cifar_resnet20")
    assert "cifar_a20.safetensors is missing" in app.error[0].value.replace("\\", "")
    assert not app.metric
    app.selectbox(key="checkpoint").set_value("efficientnet_lite0").run()
    until(app, lambda app: explained(app, "espresso"))
    assert not app.error


def test_the_effective_fields_of_our_own_nets_are_measured_as_trained() -> None:
    app = receptive_field("effective", effective_nets=["cifar_resnet20", *(f"trained {name}" for name in OWN)])
    until(app, lambda app: app.dataframe)
    assert not app.warning
    table = app.dataframe[0].value
    assert table["net"].nunique() == 1 + len(OWN)
    for name in OWN:
        rows = table[table["net"] == f"{REGISTRY[name].title}, trained · works offline"]
        profile = field_profile(name, (32, 32))
        expected = profile.table.set_index("operator").loc[by_depth(profile, 12), "receptive_field"]
        assert list(rows["theoretical"]) == list(expected)
        assert (rows["averaged"] == 4).all()
        assert rows["ratio"].between(0, 1).all()


def test_a_unit_of_a_net_of_our_own_is_looked_at_on_the_picture_as_it_sees_it() -> None:
    app = receptive_field("picture", sight_net="trained cifar_resnet20", sight_on="picture")
    until(app, lambda app: app.error or any(metric.label == "Effective, px" for metric in app.metric))
    numbers = {metric.label: metric.value for metric in app.metric}
    assert (numbers["Field, px"], numbers["Stride, px"], numbers["Inside, px"]) == ("81", "4", "32")
    assert "with trained weights" in said(app)


def test_without_its_file_the_effective_field_leaves_the_net_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    nets = ["cifar_resnet20", "trained cifar_plain56"]
    app = receptive_field("effective", effective_nets=nets, effective_on="patterns")  # which nobody measured before
    until(app, lambda app: app.warning and app.dataframe)
    assert "cifar_plain56.safetensors is missing" in app.warning[0].value.replace("\\", "")
    assert set(app.dataframe[0].value["net"]) == {"cifar_resnet20, initial weights"}
