"""The Gradient flow page, through Streamlit's own page tests."""

import io
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.flow import Flows, over_seeds, summary, together
from explorer.analysis.gradients import spread
from explorer.errors import Refusal
from explorer.figures.flow import times
from explorer.jobs import Progress
from explorer.models.checkpoints import REGISTRY, Trained
from explorer.models.observe import Shared, seeded
from explorer.models.resnet import build
from explorer.models.variants import VARIANTS, variant
from explorer.pages.gradient_flow_sections import measured
from explorer.pages.gradient_flow_sections.chosen import MOST_NETS, Chosen, Images, fitted
from explorer.pages.gradient_flow_sections.measured import Net
from explorer.training.datasets import DATASETS

SMALL: dict[str, Any] = {"flow_depths": [8], "flow_width": 4, "flow_seeds": 1}
PLAIN, RESIDUAL = "Plain · 8", "ResNet, option A · 8"


def page() -> None:
    import runpy

    from explorer.pages import edge, sidebar

    sidebar.read()
    with edge.sentences():
        runpy.run_path("explorer/pages/gradient_flow.py")


def start(section: str = "gradients", **state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params["flow"] = section
    for key, value in state.items():
        app.session_state[key] = value
    return app.run()


def finished(section: str = "gradients", **state: Any) -> AppTest:
    app = until(start(section, **SMALL | state), ended).run()
    assert not app.exception
    return app


def ended(app: AppTest) -> bool:
    return all(job.finished for job in app.session_state["flow_runs"].values())


def expected(kind: str = "plain", **more: Any) -> Flows:
    return Net(variant(kind, 8, width=4), Images(**more)).flows(1, measured.bench("flow"), Progress())


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def text(app: AppTest) -> str:
    return " ".join(each.value for each in (*app.caption, *app.markdown, *app.info, *app.warning)).replace("\\", "")


def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: found.update({file_name: make(content)}),
    )
    return found


# --- the choice


def test_it_starts_with_plain_and_residual_at_three_depths_and_can_be_cancelled() -> None:
    app = start()
    asked = list(app.session_state["flow_runs"])
    assert asked == [(Net(variant(kind, depth), Images()), 3) for kind in ("plain", "a") for depth in (20, 56, 110)]
    app.button(key="flow_runs_cancel").click().run()
    until(app, ended).run()
    assert "Cancelled: " in text(app)
    assert "ResNet, option A · 110" in text(app)
    app.button(key="flow_runs_again").click().run()
    assert len(app.session_state["flow_runs"]) == 6
    jobs = app.session_state["flow_runs"].values()
    assert all(job.state == "done" or not job._progress._cancel_asked for job in jobs)  # one may end before it is asked
    app.multiselect(key="flow_depths").set_value([8]).run()  # what is asked for no more is cancelled
    assert len(app.session_state["flow_runs"]) == 2


def test_a_number_for_each_net_is_what_was_measured() -> None:
    app = finished()
    assert metrics(app) == {
        title: times(expected(kind).ratios["gradient_norm"].median)
        for title, kind in ((PLAIN, "plain"), (RESIDUAL, "a"))
    }
    assert "at initialisation" in text(app)
    assert "batch of 16: smooth random patterns with random classes" in text(app)
    assert "one seed, 0." in text(app)
    assert not app.warning
    assert not app.error


@pytest.mark.parametrize(("mark", "said"), [("not finite", "overflow"), ("zero", "by 0")])
def test_a_ratio_that_is_no_number_says_why(mark: str, said: str) -> None:
    def drawn() -> None:
        import streamlit as st

        from explorer.pages.gradient_flow_sections import drawing

        drawing.ratios({"net": st.session_state["flows"]}, "gradient_norm")

    flows = expected()
    blocks = flows.blocks.assign(gradient_norm_mark=["", "", mark])
    app = AppTest.from_function(drawn)
    app.session_state["flows"] = replace(
        flows, blocks=blocks, ratios=flows.ratios | {"gradient_norm": spread([1.0, math.nan])}
    )
    assert [metric.value for metric in app.run().metric] == [said]


@pytest.mark.parametrize("quantity", ["norm_product", "weight_gradient_norm"])
def test_another_quantity_has_other_numbers(quantity: str) -> None:
    app = finished(flow_quantity=quantity)
    assert metrics(app)[PLAIN] == times(expected().ratios[quantity].median)


def test_more_choices_come_with_the_name() -> None:
    app = finished(flow_variants=["preact"], flow_norms=["batch", "none"], flow_inits=["xavier"], flow_seeds=2)
    assert list(metrics(app)) == ["Pre-activation, xavier · 8", "Pre-activation, no norm, xavier · 8"]
    (first, seeds), (second, _) = app.session_state["flow_runs"]
    assert first.spec == variant("preact", 8, width=4, init="xavier")
    assert second.spec == variant("preact", 8, width=4, init="xavier", norm="none")
    assert seeds == 2
    assert "seeds 0 to 1; bands" in text(app)


def test_the_net_of_the_build_page_stands_beside_them() -> None:
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params.update({"net": "cifar_resnet20", "width": "3", "depths": "1,1,1"})
    for key, value in {**SMALL, "flow_variants": ["plain"], "flow_own": True}.items():
        app.session_state[key] = value
    until(app.run(), lambda app: len(app.metric) == 2)
    first, second = metrics(app)
    assert first == PLAIN
    assert second.startswith("cifar_resnet20 ")
    assert not app.error


def test_too_many_nets_are_said() -> None:
    app = start(**SMALL | {"flow_variants": list(VARIANTS), "flow_depths": [8, 14]})
    assert f"18 nets are too many to tell apart, so the first {MOST_NETS} of them" in text(app)
    assert len(app.session_state["flow_runs"]) <= MOST_NETS
    app.multiselect(key="flow_variants").set_value([]).run()
    assert not app.session_state["flow_runs"] or not app.metric


def test_without_a_net_it_invites_to_choose() -> None:
    app = start(flow_variants=[])
    assert "Choose variants and depths" in text(app)
    assert not app.exception


def test_sample_photos_go_in_instead_of_patterns() -> None:
    app = finished(flow_images="photos")
    assert "batch of 16: random crops of sample photos with random classes" in text(app)
    assert metrics(app)[PLAIN] != times(expected().ratios["gradient_norm"].median)


def test_own_pictures_are_waited_for() -> None:
    app = start(**SMALL | {"flow_images": "own"})
    assert "Choose one picture or more" in text(app)
    assert not app.metric
    assert not app.exception


# --- states


def test_after_some_steps_it_is_the_trained_net_that_is_measured() -> None:
    app = finished(flow_state="steps", flow_steps=2, flow_variants=["plain"])
    assert "after 2 steps of training on Digits (SGD, learning rate 0.1, momentum 0.9" in text(app)
    assert "100 pictures a step" in text(app)
    assert "training pictures of the set Digits with their true classes" in text(app)
    spec = fitted(variant("plain", 8, width=4), "digits")
    assert (spec.in_channels, spec.image_size, spec.num_classes) == (1, (8, 8), 10)
    found, before = (
        Net(spec, Images("data", "digits"), "steps", steps).flows(1, measured.bench("flow"), Progress())
        for steps in (2, 0)
    )
    assert metrics(app)[PLAIN] == times(found.ratios["gradient_norm"].median)
    assert "In went a batch of 100:" in text(app)
    assert found.losses != before.losses
    assert before.losses == Net(spec, Images("data", "digits")).flows(1, measured.bench("flow"), Progress()).losses


def test_steps_train_with_the_recipes_seed_and_leave_a_network_in_training_mode() -> None:
    net = Net(fitted(variant("a", 8, width=4), "digits"), Images("data", "digits"), "steps", 3)
    said: list[tuple[float, str]] = []
    first, same, other = (net.network(seed, lambda done, words: said.append((done, words))) for seed in (0, 0, 1))
    assert first.training
    assert torch.equal(first.conv1.weight, same.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert [words for _, words in said[:4]] == ["step 0", "step 1", "step 2", "step 3"]


def test_trained_weights_are_a_copy_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    with seeded(3):
        model = build(variant("a", 8, width=4), "cpu").eval()
    trained = Trained(REGISTRY["resnet18"], Shared(model), torch.device("cpu"))
    monkeypatch.setattr(measured, "load", lambda name, report: trained)
    net = Net(variant("a", 8, width=4), Images(), "trained", checkpoint="some")
    network = net.network(0, lambda done, words: None)
    assert network.training
    assert not model.training
    assert network is not model
    assert torch.equal(network.conv1.weight, model.conv1.weight)


def test_trained_weights_are_offered_where_the_registry_has_them_for_exactly_a_net() -> None:
    app = start(flow_variants=["plain"], flow_depths=[20], flow_seeds=1)
    assert "Trained" in app.segmented_control(key="flow_state").options
    app.select_slider(key="flow_width").set_value(4).run()
    assert "Trained" not in app.segmented_control(key="flow_state").options


def test_trained_nets_are_measured_with_their_training_said_and_the_others_left_out() -> None:
    app = start(flow_variants=["plain"], flow_depths=[8, 20], flow_seeds=1, flow_state="trained")
    until(app, ended).run()
    assert "Left out, as the app brings no trained weights for them: Plain · 8." in text(app)
    assert list(metrics(app)) == ["Plain · 20"]
    steps = REGISTRY["cifar_plain20"].training
    assert steps is not None
    assert f"with trained weights (this project's own, {steps.steps:,} steps on CIFAR-10 (JPEG)" in text(app)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_a_nets_shape_becomes_the_datas(name: str) -> None:
    images, classes = Images("data", name).batch(fitted(variant("a", 8), name), 0)
    entry = DATASETS[name]
    assert images.shape == (16, entry.channels, *entry.size)
    assert classes.shape == (16,)
    assert 0 <= int(classes.min()) <= int(classes.max()) < len(entry.classes)
    assert images.mean().abs() < 0.5
    assert 0.5 < images.std() < 1.5


def test_images_are_equal_where_the_same_goes_in() -> None:
    picture = Image.new("RGB", (40, 40))
    assert hash(Images("own", "a", (picture,))) == hash(Images("own", "a"))
    assert Images("own", "a") != Images("own", "b")
    assert Chosen({}, 1, Images()).when == "at initialisation"
    assert Chosen({}, 1, Images(), "steps", 1).when == "after 1 step"
    assert Chosen({}, 1, Images(), "trained").when == "with trained weights"


def test_a_bad_picture_is_said_and_the_good_ones_go_in() -> None:
    app = start(**SMALL | {"flow_images": "own"})
    assert "Choose one picture or more" in text(app)
    good = io.BytesIO()
    Image.linear_gradient("L").save(good, "PNG")
    app.file_uploader(key="flow_upload").set_value(
        [("good.png", good.getvalue(), "image/png"), ("bad.png", b"no", "image/png")]
    )
    until(app.run(), lambda app: len(app.metric) == 2)
    assert "bad.png is left out: " in text(app)
    app.file_uploader(key="flow_upload").set_value([("bad.png", b"no", "image/png")]).run()
    assert "bad.png is left out: " in text(app)
    assert "Choose one picture or more" in text(app)
    assert not app.exception


# --- the work


def test_what_everyone_may_have_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = measured.flow
    monkeypatch.setattr(measured, "flow", lambda *given, **more: passes.append(more["seed"]) or real(*given, **more))
    net = Net(variant("highway", 8, width=5), Images())
    first = net.flows(2, measured.bench("flow"), Progress())
    assert passes == [0, 1]
    more = net.flows(3, measured.bench("flow"), Progress())
    assert passes == [0, 1, 2], "what was measured for two seeds counts for three"
    assert more.blocks.equals(over_seeds([net.flow(seed, 16, print) for seed in range(3)], 16).blocks)
    passes.clear()
    assert first.batch == 16
    own = Net(variant("highway", 8, width=5), Images("own", "mine", (Image.linear_gradient("L"),)))
    own.flows(1, measured.bench("flow"), Progress())
    own.flows(1, measured.bench("flow"), Progress())
    assert passes == [0, 0], "a person's own pictures are kept in nobody's memory"


def test_a_net_that_diverges_before_its_last_step_is_not_shown_as_trained() -> None:
    net = Net(variant("a", 56, width=4, norm="none", in_channels=1, image_size=(8, 8)), Images("data", "digits"))
    with pytest.raises(Refusal, match=r"diverged at step \d+ of 50"):
        replace(net, state="steps", steps=50).network(0, lambda done, text: None)


def test_a_very_deep_net_is_trained_though_its_maps_overflow_in_eval_mode() -> None:
    """Its first measurement is no finite number; weights that have not moved would be shown as trained."""
    net = Net(variant("a", 1202, width=1, in_channels=1, image_size=(8, 8)), Images("data", "digits"), "steps", 1)
    before = replace(net, state="initial", steps=0).network(0, lambda done, text: None)
    after = net.network(0, lambda done, text: None)
    assert not torch.equal(before.conv1.weight, after.conv1.weight)


def test_a_net_that_cannot_be_measured_is_said_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    real = measured.batch_for

    def refuse(totals: Any, most: int) -> int:
        if totals.macs > 1_500_000:
            raise Refusal("It is too much.")
        return real(totals, most)

    monkeypatch.setattr(measured, "batch_for", refuse)
    app = finished(flow_variants=["plain"], flow_depths=[8, 14])
    assert list(metrics(app)) == [PLAIN]
    assert "Plain · 14 is left out: It is too much." in text(app)
    monkeypatch.setattr(measured, "batch_for", real)
    app.button(key="flow_runs_again").click().run()
    until(app, lambda app: len(app.metric) == 2)


# --- sections


def test_responses_show_three_charts() -> None:
    chosen = SMALL | {"flow_norms": ["none"]}
    app = until(start("responses", **chosen), lambda app: len(app.get("plotly_chart")) == 3)
    assert not app.exception
    assert "behind its norm and before ReLU or sum" in text(app)


def test_where_batch_norm_makes_every_response_1_it_is_said_instead_of_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    written = files(monkeypatch)
    app = until(start("responses", **SMALL), lambda app: len(app.get("plotly_chart")) == 1)
    assert "All responses have a standard deviation of 1" in app.info[0].value
    layers = pd.read_csv(io.BytesIO(written["gradient_flow_layers.csv"]))
    assert layers["response_std"].between(0.99, 1.01).all()


def test_the_tables_and_files_have_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    written = files(monkeypatch)
    app = finished("table")
    flows = {PLAIN: expected("plain"), RESIDUAL: expected("a")}
    contents = {
        "nets": summary(flows),
        "blocks": together({title: each.blocks for title, each in flows.items()}),
        "layers": together({title: each.layers for title, each in flows.items()}),
    }
    for drawn, (name, content) in zip(app.dataframe, contents.items(), strict=True):
        pd.testing.assert_frame_equal(drawn.value, content, check_dtype=False)
        read = pd.read_csv(io.BytesIO(written[f"gradient_flow_{name}.csv"]), keep_default_na=name == "nets")
        pd.testing.assert_frame_equal(read, content, check_dtype=False)


@pytest.mark.parametrize(
    "words",
    [
        "1512.03385",
        "1902.08129",
        "explode with depth",
        "is not what the paper found",
        "Euler's theorem",
        "1502.01852",
    ],
)
def test_it_teaches_no_myth(words: str) -> None:
    assert words in " ".join(text(finished(flow_variants=["plain"])).split())


def test_every_control_has_a_help_text() -> None:
    app = finished(flow_state="steps", flow_steps=1, flow_variants=["plain"])
    kinds = ("multiselect", "select_slider", "slider", "toggle", "segmented_control", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) >= 12
    assert all(widget.proto.help for widget in drawn)
