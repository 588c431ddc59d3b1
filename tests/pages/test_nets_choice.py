"""The choice of a trained net, on a page of nothing else, through Streamlit's own page tests."""

import gc
import io
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from polling import until
from skimage import data
from streamlit.testing.v1 import AppTest

from explorer.attribution import predict
from explorer.jobs import JobQueue
from explorer.models import checkpoints
from explorer.models.checkpoints import REGISTRY, Trained, untrained, weights_file
from explorer.models.downloads import WeightsUnavailable
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.models.uploaded import Weights, read_weights, trained_from
from explorer.models.variants import variant
from explorer.pages.attribution_sections import nets_choice
from explorer.pages.degradation_sections import board
from explorer.spec import PRESETS
from explorer.training import lab_net
from explorer.training.apart import Trial
from explorer.training.datasets import DATASETS, channel_statistics, load
from explorer.training.recipe import Recipe
from explorer.training.run import Run

DIGITS = Recipe(
    variant("a", 8, width=4, in_channels=1, image_size=(8, 8), num_classes=10), steps=3, record_every=1, seed=5
)


def page() -> None:
    """What runs in Streamlit."""
    import streamlit as st

    from explorer.pages import edge, sidebar
    from explorer.pages.attribution_sections import nets_choice

    sidebar.read()
    with edge.sentences():
        st.session_state["found"] = nets_choice.choose("checkpoint", "Trained net")


def start(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    return app.run()


def found(app: AppTest) -> Trained | None:
    trained: Trained | None = app.session_state["found"]
    return trained


def chosen(app: AppTest) -> Trained:
    trained = found(until(app, found))
    assert trained is not None
    return trained


def named(app: AppTest, title: str) -> bool:
    trained = found(app)
    return trained is not None and trained.checkpoint.title == title


def said(app: AppTest) -> str:
    texts = [element.value for kind in ("caption", "warning", "error", "info") for element in app.get(kind)]
    return " ".join(texts).replace("\\", "")


def state_file(net: str = "cifar_resnet20", **more: Any) -> bytes:
    buffer = io.BytesIO()
    with seeded(1):
        torch.save(build(replace(PRESETS[net], **more), "cpu").state_dict(), buffer)
    return buffer.getvalue()


def upload(app: AppTest, content: bytes, name: str = "mine.pt") -> AppTest:
    return app.file_uploader(key="weights_file").set_value((name, content, "application/octet-stream")).run()


def has_button(app: AppTest, key: str) -> bool:
    return any(button.key == key for button in app.button)


def test_it_begins_with_the_imagenet_net_that_works_offline_and_says_of_each_what_it_takes() -> None:
    app = start()
    assert chosen(app).checkpoint is REGISTRY["efficientnet_lite0"]
    options = app.selectbox(key="checkpoint").options
    assert len(options) == len(REGISTRY) == len(set(options))
    assert options[0] == "EfficientNet-Lite0 · works offline"
    assert "VGG-16 · 528 MB to download" in options or "VGG-16 · on the server" in options
    assert "75.1% top-1 as published" in said(app)
    assert not app.file_uploader, "nothing of the closed part is computed"


@pytest.fixture
def empty_hub(tmp_path: Path) -> Iterator[Path]:
    """PyTorch's download folder, with nothing in it."""
    hub = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(hub)


def test_a_net_that_was_fetched_before_is_on_the_server(empty_hub: Path) -> None:
    assert "VGG-16 · 528 MB to download" in start().selectbox(key="checkpoint").options
    empty_hub.mkdir()
    (empty_hub / "vgg16-397923af.pth").touch()
    assert "VGG-16 · on the server" in start().selectbox(key="checkpoint").options


def test_weights_that_cannot_be_had_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, report: Any) -> Trained:
        raise WeightsUnavailable("No connection.")

    monkeypatch.setattr(nets_choice, "load", refuse)
    app = until(start(checkpoint="resnet34"), lambda app: app.error)
    assert app.error[0].value == "No connection."
    monkeypatch.undo()
    app.selectbox(key="checkpoint").set_value("cifar_plain20").run()
    assert chosen(app).checkpoint.name == "cifar_plain20"
    assert "top-1 on the 10,000 test pictures" in said(app)


def test_a_net_that_a_link_names_and_nobody_has_is_said() -> None:
    app = start(checkpoint="own_of_another_session")
    assert "checkpoint (=own_of_another_session) of the link must be one of efficientnet_lite0" in said(app)
    assert chosen(app).checkpoint.name == "efficientnet_lite0"


def test_the_same_net_before_training_is_one_click() -> None:
    app = start(checkpoint="cifar_plain20", own_open=True)
    chosen(app)
    app.button(key="own_untrained").click().run()
    title = "CIFAR-10 plain-20, before training"
    until(app, lambda app: named(app, title))
    assert app.selectbox(key="checkpoint").options[0] == f"{title} · yours"
    assert "It has learned nothing" in said(app)
    assert app.button(key="own_untrained").disabled
    app.selectbox(key="checkpoint").set_value("cifar_plain20").run()
    assert chosen(app).checkpoint is REGISTRY["cifar_plain20"]
    app.button(key="own_untrained").click().run()
    until(app, lambda app: named(app, title))
    assert len(app.session_state["own_nets"]) == 1, "the same net is there once"


def test_a_session_keeps_four() -> None:
    app = start(own_open=True)
    for name in ("cifar_plain20", "cifar_resnet20", "cifar_plain56", "cifar_resnet56", "efficientnet_lite0"):
        app.selectbox(key="checkpoint").set_value(name).run()
        chosen(app)
        app.button(key="own_untrained").click().run()
        until(app, lambda app, name=name: named(app, f"{REGISTRY[name].title}, before training"))
    kept = [trained.checkpoint.name for trained in app.session_state["own_nets"].values()]
    four = ("cifar_resnet20", "cifar_plain56", "cifar_resnet56", "efficientnet_lite0")
    assert kept == [f"{name}_untrained" for name in four]


# Weights from a file


def small(**more: Any) -> AppTest:
    """The page with the Build page's net at the paper's smallest."""
    app = start(own_open=True, checkpoint="cifar_plain20")
    from explorer.pages import sidebar

    for key, value in sidebar._controls(replace(PRESETS["cifar_resnet20"], **more)).items():
        app.session_state[key] = value
    app.session_state["preset"] = "cifar_resnet20"
    return app.run()


def test_uploaded_weights_that_fit_become_a_net_with_the_classes_and_colours_that_were_chosen() -> None:
    app = until(
        upload(small(), weights_file(REGISTRY["cifar_resnet20"]).read_bytes(), "mine.safetensors"),
        lambda app: has_button(app, "weights_use"),
    )
    assert "a plain net and its residual twin have the same ones" in said(app)
    assert app.selectbox(key="weights_classes_10").options == ["CIFAR-10", "Numbers"]
    assert app.selectbox(key="weights_colours_4_32").value == "CIFAR-10"
    app.button(key="weights_use").click().run()
    title = "mine.safetensors, CIFAR-10 classes, CIFAR-10 colours"
    until(app, lambda app: named(app, title))
    photo = Image.fromarray(data.chelsea())
    assert predict(chosen(app), photo).equals(predict("cifar_resnet20", photo))
    assert "Uploaded: mine.safetensors" in said(app)
    app.selectbox(key="weights_classes_10").set_value("Numbers").run()
    app.selectbox(key="weights_colours_4_32").set_value("0 to 1").run()
    app.button(key="weights_use").click().run()
    until(app, lambda app: named(app, "mine.safetensors, Numbers classes, 0 to 1 colours"))
    assert chosen(app).checkpoint.classes[3] == "class 3"
    assert chosen(app).checkpoint.preprocessing.mean == (0.0, 0.0, 0.0)
    assert len(app.session_state["own_nets"]) == 2


def test_weights_of_another_net_are_listed_by_name_and_shape() -> None:
    app = until(upload(small(), state_file(num_classes=7)), lambda app: app.warning)
    assert "2 tensors do not fit, the first is 'fc.weight', of shape 7x64 where the net has 10x64." in said(app)
    table: pd.DataFrame = app.dataframe[0].value
    assert table.to_numpy().tolist() == [
        ["fc.weight", "of shape 7x64 where the net has 10x64", "10x64", "7x64"],
        ["fc.bias", "of shape 7 where the net has 10", "10", "7"],
    ]
    assert [button.proto.label for button in app.get("download_button")] == ["Mismatches as CSV"]
    assert not has_button(app, "weights_use")
    app.session_state["num_classes"] = 7
    until(app.run(), lambda app: has_button(app, "weights_use"))
    assert not app.dataframe


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.", "bare pickle, which may hold code"),
        (b"PK\3\4 and no more", "cut short or damaged"),
        (b"\xff" * 8 + b"{", "header claims"),
    ],
)
def test_a_hostile_file_is_a_sentence_and_the_session_goes_on(content: bytes, words: str) -> None:
    app = until(upload(small(), content), lambda app: app.error)
    assert words in said(app)
    assert chosen(app).checkpoint.name == "cifar_plain20"
    app = until(upload(app, state_file()), lambda app: has_button(app, "weights_use"))
    assert not app.error


def test_a_preset_is_chosen_in_place_of_the_net_of_the_build_page() -> None:
    app = until(upload(start(own_open=True, checkpoint="cifar_plain20"), state_file()), lambda app: app.warning)
    assert app.selectbox(key="weights_net").options[:2] == ["resnet50 (Build page)", "resnet18"]
    app.selectbox(key="weights_net").set_value("cifar_resnet20").run()
    until(app, lambda app: has_button(app, "weights_use"))
    assert not app.warning


def test_a_spec_that_takes_no_pictures_is_a_sentence() -> None:
    app = until(upload(small(in_channels=4), state_file(in_channels=4)), lambda app: app.error)
    assert "in_channels (=4) must be 3, or 1 for grey" in said(app)
    assert chosen(app).checkpoint.name == "cifar_plain20"


# Nets that are there no more


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("cifar_resnet20", ("map", "sure", "drawn", "methods", "nets", "planted", "report")),
        ("efficientnet_lite0", ("methods", "nets")),  # not ours: it is traced, and rewritten
    ],
)
def test_a_net_that_another_took_the_place_of_is_kept_by_nothing_that_was_asked_of_it(
    name: str, looks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nets_choice, "MOST_OWN", 1)

    def make(progress: Any) -> Trained:
        return trained_from(PRESETS[name], uploaded(name), "mine") if name in PRESETS else untrained(REGISTRY[name])

    app = AppTest.from_file("../../app.py", default_timeout=60).run()  # what was there before is frozen: cached.warm_up
    app.session_state["own_asked"] = "a net", make
    app.session_state["own_open"], app.session_state["planted_methods"] = True, ["grad_cam"]
    app.session_state["methods_shown"] = ["guided_backprop", "deep_lift", "feature_maps"]
    settled(until(app.switch_page("explorer/pages/attribution.py"), lambda app: "own_nets" in app.session_state))
    ((own, net),) = until(app, lambda app: app.session_state["own_nets"]).session_state["own_nets"].items()
    alive = [weakref.ref(each) for each in (net, net.model, *net.model._model.modules())]
    del net
    for look in looks:
        app.session_state["look"] = look
        settled(app.run())
        assert not app.error, app.error[0].value
    assert f"nets_run {own} before training" in app.session_state or name not in PRESETS
    app.session_state["checkpoint"] = "cifar_plain20"
    settled(app.run())
    app.button(key="own_untrained").click().run()
    settled(until(app, lambda app: list(app.session_state["own_nets"]) == ["cifar_plain20_untrained"]))
    assert f"nets_run {own} before training" not in app.session_state, "its twin goes too"
    gc.collect()
    gc.collect()  # what goes with a net is found the next time
    assert [type(each()).__name__ for each in alive if each() is not None] == []


def settled(app: AppTest) -> AppTest:
    return until(app, lambda app: not any(button.label == "Cancel" for button in app.button))


def uploaded(name: str) -> Weights:
    return read_weights(weights_file(REGISTRY[name]).read_bytes(), "mine")


def test_the_numbers_of_an_uploaded_file_are_not_kept_beside_the_net(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[torch.Tensor]] = []

    def reading(content: bytes, name: str) -> Weights:
        weights = read_weights(content, name)
        read.extend(weakref.ref(tensor) for tensor in weights.tensors.values())
        return weights

    monkeypatch.setattr(nets_choice, "read_weights", reading)
    app = until(upload(small(), state_file()), lambda app: has_button(app, "weights_use"))
    gc.collect()
    assert len(read) > 100
    assert not any(tensor() is not None for tensor in read)
    app.button(key="weights_use").click().run()
    until(app, lambda app: named(app, "mine.pt, CIFAR-10 classes, CIFAR-10 colours"))
    gc.collect()
    assert not any(tensor() is not None for tensor in read), "the net has copies"


def test_a_net_of_the_same_name_takes_the_place_of_the_one_before() -> None:
    app = start(own_open=True, checkpoint="cifar_plain20")
    made = []
    for _ in range(2):
        app.selectbox(key="checkpoint").set_value("cifar_plain20").run()
        chosen(app)
        app.button(key="own_untrained").click().run()
        until(app, lambda app: named(app, "CIFAR-10 plain-20, before training"))
        (net,) = app.session_state["own_nets"].values()
        made.append(net)
    assert made[0] is not made[1]
    assert found(app) is made[1]


# A net of the lab


@pytest.fixture(scope="module")
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(workers=1)
    yield queue
    queue.shutdown()


@pytest.fixture(scope="module")
def run() -> Run:
    """Three steps on scikit-learn's digits."""
    run = Run(DIGITS)
    list(run)
    return run


def entry(run: Run, queue: JobQueue) -> board.Entry:
    """The run as the lab has it when it has ended and left its weights."""
    trial = Trial(run.recipe)
    trial.records.extend(run.records)
    job = queue.submit("ada", lambda progress: None)
    job.result()
    return board.Entry("ResNet-8", trial, job)


def leave(run: Run, entry: board.Entry) -> Path:
    path = entry.trial._folder / "run.pt"
    run.save(path)
    return path


def test_a_net_trained_in_the_lab_is_asked_with_its_own_classes_and_colours(run: Run, queue: JobQueue) -> None:
    ended = entry(run, queue)
    app = start(own_open=True, lab_board=[ended], checkpoint="cifar_plain20")
    assert not has_button(app, "own_lab_0"), "its weights are not there"
    leave(run, ended)
    app.run().button(key="own_lab_0").click().run()
    until(app, lambda app: named(app, "ResNet-8, seed 5, 3 steps"))
    trained = chosen(app)
    assert trained.checkpoint.classes == DATASETS["digits"].classes
    digits = load("digits")
    mean, std = channel_statistics(digits.train)
    assert trained.checkpoint.preprocessing.mean == pytest.approx((float(mean),))
    assert trained.checkpoint.preprocessing.std == pytest.approx((float(std),))
    assert "3 steps of 100 pictures, seed 5. Trained on Digits." in said(app)
    picture = Image.fromarray(digits.test[0, 0].numpy()).convert("RGB")
    rows = predict(trained, picture).sort_values("class_index")
    with torch.no_grad():
        run.network.eval()
        logits = run.network((digits.test[:1].to(run.device).float() / 255 - mean.to(run.device)) / std.to(run.device))
    assert rows.logit.tolist() == pytest.approx(logits[0].tolist(), abs=1e-4)
    app.button(key="own_untrained").click().run()
    until(app, lambda app: named(app, "ResNet-8, seed 5, 3 steps, before training"))
    with seeded(5):
        first = dict(build(DIGITS.spec, "cpu").named_parameters())
    with chosen(app).model.borrow() as model:
        assert all(torch.equal(value.cpu(), first[name]) for name, value in model.named_parameters())


def test_weights_of_the_lab_that_are_gone_or_no_numbers_are_a_sentence(run: Run, queue: JobQueue) -> None:
    ended = entry(run, queue)
    path = leave(run, ended)
    assert lab_net.kept(ended.trial) == path
    state = torch.load(path, weights_only=True)
    state["network"]["fc.bias"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(checkpoints.Refusal, match=r"^mine diverged: its weights are no finite numbers"):
        lab_net.trained_net(DIGITS, path, "mine")
    for content in (b"", b"PK", path.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(checkpoints.Refusal, match=r"^The weights of mine are not there any more"):
            lab_net.trained_net(DIGITS, path, "mine")
    app = start(own_open=True, lab_board=[ended], checkpoint="cifar_plain20")
    app.button(key="own_lab_0").click().run()
    until(app, lambda app: app.error)
    assert "are not there any more; train it once more in the lab" in said(app)
    assert chosen(app).checkpoint.name == "cifar_plain20"
    ended.trial.close()
    assert lab_net.kept(ended.trial) is None
