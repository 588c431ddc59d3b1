"""Methods and nets side by side, through Streamlit's own page tests."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from polling import until
from skimage import data
from streamlit.testing.v1 import AppTest

from explorer.attribution import METHODS, attribute, predict
from explorer.attribution.alike import ranks, summary, view
from explorer.models.checkpoints import REGISTRY, load, untrained
from explorer.pages.attribution_sections.nets import PAIRS

PLAIN, RESNET = "cifar_plain56", "cifar_resnet56"


def page(section: str, net: str = "cifar_resnet20", target: int | None = None, against: int | None = None) -> None:
    import importlib
    from collections import defaultdict

    from PIL import Image
    from skimage import data

    from explorer.attribution import Picture, predict
    from explorer.models.checkpoints import load
    from explorer.pages import edge
    from explorer.pages.attribution_sections.asking import Asked

    picture = Picture(Image.fromarray(data.chelsea()), "Cat", ())
    trained = load(net)
    rows = predict(trained, picture.image)
    memories = defaultdict(lambda: lambda measurement: measurement.measure())
    asked = Asked(trained, picture, "chelsea", None, rows, target, against, memories)
    with edge.sentences():
        importlib.import_module(f"explorer.pages.attribution_sections.{section}").show(asked)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What each download holds, by its name; its help text is checked."""
    made: dict[str, bytes] = {}

    def download(label: str, make: Any, content: Any, name: str, mime: str, about: str) -> None:
        assert about.endswith(".")
        made[name] = make(content)

    monkeypatch.setattr("explorer.pages.parts.download", download)
    return made


def start(section: str, methods: list[str] | None = None, **more: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60, kwargs={"section": section, **more})
    if methods is not None:
        app.session_state["methods_shown"] = methods
    return app.run()


def images(app: AppTest) -> list[Any]:
    return [picture.proto.imgs[0] for picture in app.get("image")]


def with_maps(app: AppTest, count: int) -> AppTest:
    app = until(app, lambda app: len(images(app)) == count)
    assert not app.error
    return app


CHEAP = ["grad_cam", "saliency", "deep_lift"]


def test_each_methods_map_and_table_are_those_of_the_package(files: dict[str, bytes]) -> None:
    app = with_maps(start("methods", CHEAP), 3)
    picture = Image.fromarray(data.chelsea())
    found = {METHODS[name].title: attribute("cifar_resnet20", picture, name) for name in CHEAP}
    expected = summary(found).drop(columns=["seconds", "against"])
    table = pd.read_csv(io.BytesIO(files["methods.csv"]))
    pd.testing.assert_frame_equal(
        table.drop(columns=["seconds", "against"]), expected, check_dtype=False, rtol=1e-3, atol=1e-5
    )
    alike = pd.read_csv(io.BytesIO(files["methods_alike.csv"]), index_col="method")
    own = ranks({title: view(each) for title, each in found.items()})
    np.testing.assert_allclose(alike, own, atol=1e-4)
    assert [title.value for title in app.markdown] == ["**Grad-CAM**", "**Saliency**", "**DeepLIFT**"]
    captions = [image.caption for image in images(app)]
    assert all(caption.startswith("From ") for caption in captions)
    assert captions[1].startswith("From 0 to"), "sizes, as Saliency means them"
    assert all("a scale of its own" in caption for caption in captions)
    (montage,) = (content for name, content in files.items() if name.endswith(".png"))
    assert Image.open(io.BytesIO(montage)).width > 3 * 224


def test_one_scale_joins_those_of_a_kind() -> None:
    app = with_maps(start("methods", ["deep_lift", "saliency", "input_x_gradient"]), 3)
    app.toggle(key="methods_one_scale").set_value(True).run()
    captions = [image.caption for image in images(app)]
    assert "the same scale as Input x gradient" in captions[0]
    assert "the same scale as DeepLIFT" in captions[2]
    assert "a scale of its own" in captions[1]
    ends = [caption.split(" logits")[0] for caption in (captions[0], captions[2])]
    assert ends[0] == ends[1]


def test_what_was_set_on_the_map_is_used_here(files: dict[str, bytes]) -> None:
    app = AppTest.from_function(page, default_timeout=60, kwargs={"section": "methods"})
    app.session_state["methods_shown"] = ["integrated_gradients"]
    app.session_state["set_integrated_gradients_steps"] = 7
    app = with_maps(app.run(), 1)
    table = pd.read_csv(io.BytesIO(files["methods.csv"]))
    assert table["back"].tolist() == [7]
    assert "methods_alike.csv" not in files, "one alone is like nothing"


def test_a_method_that_is_refused_says_why_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "explorer.pages.attribution_sections.methods.problem",
        lambda method, trained, report=None: "Saliency is left out for good." if method == "saliency" else None,
    )
    app = with_maps(start("methods", ["grad_cam", "saliency"]), 1)
    assert [warning.value for warning in app.warning] == ["Saliency is left out for good."]


def test_no_method_is_no_error() -> None:
    app = start("methods", [])
    assert "Choose a method" in app.info[0].value
    assert not app.exception


def nets(app: AppTest, *names: str) -> AppTest:
    return app.multiselect(key="nets_shown").set_value(list(names)).run()


def test_a_net_is_shown_before_and_after_training(files: dict[str, bytes]) -> None:
    app = with_maps(start("nets"), 2)
    picture = Image.fromarray(data.chelsea())
    target = int(predict("cifar_resnet20", picture).class_index[0])
    before = untrained(REGISTRY["cifar_resnet20"])
    expected = [attribute(net, picture, target=target) for net in (load("cifar_resnet20"), before)]
    table = pd.read_csv(io.BytesIO(files["nets.csv"]))
    assert table["map"].tolist() == ["CIFAR-10 ResNet-20", "CIFAR-10 ResNet-20, before training"]
    assert table["score"].tolist() == pytest.approx([each.score for each in expected], abs=1e-4)
    assert table["target"].tolist() == [expected[0].target_name] * 2
    rows = pd.read_csv(io.BytesIO(files["nets_predictions.csv"]))
    assert rows.groupby("net", sort=False).size().tolist() == [5, 5]
    for net, (_, part) in zip((load("cifar_resnet20"), before), rows.groupby("net", sort=False), strict=True):
        np.testing.assert_allclose(part.probability, predict(net, picture).probability[:5], atol=1e-5)
    captions = [image.caption for image in images(app)]
    assert "the same scale as CIFAR-10 ResNet-20, before training" in captions[0]


def test_one_click_compares_a_resnet_with_a_plain_net(files: dict[str, bytes]) -> None:
    app = start("nets")
    pills = next(group for group in app.get("button_group") if group.key == "nets_pair")
    pills.set_value("plain")
    app = with_maps(app.run(), 2)
    assert app.multiselect(key="nets_shown").value == [RESNET, PLAIN]
    table = pd.read_csv(io.BytesIO(files["nets.csv"]))
    assert table["net"].tolist() == [RESNET, PLAIN]
    assert set(PAIRS) == {"before", "plain", "vgg"}


def test_a_class_that_another_net_does_not_know_is_said(files: dict[str, bytes]) -> None:
    app = nets(start("nets", target=3, against=5), "cifar_resnet20", "efficientnet_lite0")
    app = with_maps(app, 2)
    table = pd.read_csv(io.BytesIO(files["nets.csv"]))
    assert table["target"][0] == "cat"
    lite = load("efficientnet_lite0")
    side = Image.fromarray(data.chelsea())
    box = load("cifar_resnet20").checkpoint.preprocessing.box_of(*side.size)
    assert table["target"][1] == predict(lite, side, box).class_name[0]
    assert table["against"].isna().tolist() == [False, True]
    said = " ".join(caption.value for caption in app.caption)
    assert "it does not know cat, so its map explains the class that it predicts." in said


def test_a_net_whose_weights_cannot_be_had_is_left_out_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from explorer.models.downloads import WeightsUnavailable

    def unavailable(name: str, report: object = None) -> None:
        raise WeightsUnavailable("No connection, so no weights.")

    app = start("nets")
    monkeypatch.setattr("explorer.pages.attribution_sections.nets.load", unavailable)
    app = nets(app, "cifar_resnet20", "vgg16")
    app = with_maps(app, 1)
    assert [warning.value for warning in app.warning] == ["No connection, so no weights."]


@pytest.mark.parametrize("section", ["methods", "nets"])
def test_every_control_has_a_help_text(section: str) -> None:
    app = start(section, ["grad_cam"])
    kinds = ("multiselect", "toggle", "selectbox", "slider", "button_group")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) >= 2
    assert all(widget.proto.help for widget in drawn)


def test_another_net_above_is_compared_with_itself_before_training() -> None:
    app = nets(start("nets"), RESNET, PLAIN)
    assert app.multiselect(key="nets_shown").value == [RESNET, PLAIN]
    app.session_state["nets_of"] = "efficientnet_lite0"
    app.run()
    assert app.multiselect(key="nets_shown").value == ["cifar_resnet20", "cifar_resnet20 before training"]
