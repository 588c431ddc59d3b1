"""The sections of the Attribution page, on a small net."""

import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.attribution import METHODS
from explorer.pages import cached

NET = "cifar_resnet20"


def start(**link: str) -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    for key, value in {"checkpoint": NET, "sample": "chelsea", **link}.items():
        app.query_params[key] = value
    return app.run().switch_page("explorer/pages/attribution.py").run()


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def has_metric(app: AppTest, label: str) -> bool:
    return label in [metric.label for metric in app.metric]


def value(app: AppTest, label: str) -> float:
    return float(next(metric.value for metric in app.metric if metric.label == label))


def test_every_method_draws_a_map_of_the_page() -> None:
    app = until(start(), lambda app: "Grad-CAM for cat" in captions(app))
    for name, method in METHODS.items():
        app.selectbox(key="method").set_value(name).run()
        until(app, lambda app, title=method.title: f"{title} for cat" in captions(app))
        assert not app.exception
        assert not app.error, f"{name}: {app.error[0].value}"
        if method.warning is not None:
            assert method.warning in [warning.value for warning in app.warning]


def test_a_link_sets_method_settings_and_classes() -> None:
    app = start(method="integrated_gradients", settings="steps:7,baseline:blur", target="5", against="3")
    until(app, lambda app: "Integrated Gradients for dog and not cat" in captions(app))
    assert not app.warning
    assert app.slider(key="set_integrated_gradients_steps").value == 7
    assert "baseline blur, steps 7" in captions(app)
    assert app.query_params["settings"] == "baseline:blur,steps:7"
    app.slider(key="set_integrated_gradients_steps").set_value(50).run()
    assert app.query_params["settings"] == "baseline:blur"


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({"method": "tea_leaves"}, "tea"),
        ({"target": "10"}, "10"),
        ({"checkpoint": "resnet1"}, "resnet1"),
        ({"sample": "moon"}, "moon"),
        ({"settings": "steps:7"}, "steps:7"),  # Grad-CAM has none
        ({"method": "integrated_gradients", "settings": "steps:many"}, "2 to 500"),
        ({"method": "integrated_gradients", "settings": "baseline:pink"}, "pink"),
    ],
)
def test_a_link_that_asks_for_what_is_not_there_says_so(link: dict[str, str], said: str) -> None:
    app = until(start(**link), lambda app: has_metric(app, "Logit"))
    assert not app.exception
    assert said in app.warning[0].value.replace("\\", "")


def test_a_link_moves_the_square() -> None:
    app = until(start(crop="100,0,40"), lambda app: has_metric(app, "Logit"))
    assert not app.warning
    assert [app.slider(key=f"crop_{name}").value for name in ("across", "down", "side")] == [100.0, 0.0, 40.0]
    assert app.query_params["crop"] == "100,0,40"
    for wrong in ("1,2", "a,b,c", "0,0,500", "nan,0,50"):
        app = until(start(crop=wrong), lambda app: has_metric(app, "Logit"))
        assert "crop" in app.warning[0].value
        assert app.slider(key="crop_across").value == 50.0


def test_the_measures_stand_beside_random_orders() -> None:
    app = until(start(look="sure"), lambda app: has_metric(app, "Insertion"))
    assert not app.error
    assert abs(value(app, "Convergence delta")) < 1e-3
    for label in ("Deletion", "Insertion"):
        metric = next(metric for metric in app.metric if metric.label == label)
        assert 0 <= float(metric.value) <= 1
        assert metric.delta.endswith("vs random")


def test_a_net_that_forgets_is_drawn_part_by_part() -> None:
    def titles(app: AppTest) -> list[str]:
        return [title for image in app.get("image") for title in image.captions]

    app = until(start(look="drawn", method="saliency"), lambda app: "trained" in titles(app))
    assert not app.error
    place = titles(app).index("trained")
    parts = [title.partition(":")[0].replace("\\", "") for title in titles(app)[place:]]
    assert parts[:3] == ["trained", "from fc on", "from layer3 on"]


def test_what_counts_is_said_with_the_numbers_that_are_drawn() -> None:
    app = until(start(), lambda app: "Grad-CAM for cat" in captions(app))
    assert "orange speaks for the class" in captions(app)
    app.segmented_control(key="sign").set_value("size").run()
    assert "larger numbers, whatever their sign" in captions(app)
    app.segmented_control(key="sign").set_value("method").run()
    app.selectbox(key="method").set_value("saliency").run()
    until(app, lambda app: "Saliency for cat" in captions(app))
    assert "larger numbers, whatever their sign" in captions(app)


def test_a_class_against_itself_is_a_sentence() -> None:
    app = until(start(target="3", against="3"), lambda app: app.error)
    assert "another class" in app.error[0].value
    app.selectbox(key="against").set_value("none").run()
    until(app, lambda app: "Grad-CAM for cat" in captions(app))
    assert not app.error


def test_a_method_that_the_net_does_not_bear_says_why_and_the_page_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cached.measurements.clear()
    why = "DeepLIFT is left out for this net: its map adds up to 1 where 2 is right."
    monkeypatch.setattr(
        "explorer.attribution.explain.problem",
        lambda method, trained, report=None: why if method == "deep_lift" else None,
    )
    app = until(start(method="deep_lift"), lambda app: app.error)
    assert why in app.error[0].value.replace("\\", "")
    app.selectbox(key="method").set_value("grad_cam").run()
    until(app, lambda app: "Grad-CAM for cat" in captions(app))
    assert not app.error


def test_a_report_waits_until_all_of_it_is_there() -> None:
    app = start(look="report", method="integrated_gradients")
    app.multiselect(key="report_methods").set_value(["grad_cam", "occlusion"]).run()
    until(app, lambda app: any(button.label == "Report as HTML" for button in app.get("download_button")))
    assert not app.error
    assert not app.exception


def test_settings_are_asked_from_what_the_net_has() -> None:
    app = until(start(method="feature_maps"), lambda app: "Feature maps for cat" in captions(app))
    layers = app.selectbox(key=f"set_feature_maps_layer_{NET}").options
    assert any("8 x 8" in layer for layer in layers)
    app.slider(key="strength").set_value(0.3).run()
    app.selectbox(key=f"set_feature_maps_layer_{NET}").set_value("layer1").run()
    until(app, lambda app: "layer layer1" in captions(app))
    app.selectbox(key="checkpoint").set_value("cifar_plain20").run()
    until(app, lambda app: "layer layer3" in captions(app))
    assert app.slider(key="strength").value == 0.3
