"""Every check can fail: a map that is wrong is refused with a sentence that says why, and a right one is not."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import tiny
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.attribution import attribute, checks
from explorer.attribution.checks import CHECKS, problem
from explorer.attribution.methods import METHODS, folding
from explorer.attribution.subject import Map
from explorer.errors import Refusal
from explorer.models.checkpoints import REGISTRY, Trained, untrained
from explorer.models.observe import seeded
from explorer.spec import Activation

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")
HOOKED = ("guided_backprop", "deconvolution", "guided_grad_cam", "deep_lift")
AT_RELUS = HOOKED[:3]


def ours(**more: Any) -> Trained:
    return tiny.trained(tiny.resnet(**more), 10, "layer2")


def refused(trained: Trained) -> dict[str, str]:
    """Which methods, and why."""
    return {method: why for method in METHODS if (why := problem(method, trained)) is not None}


def test_every_method_has_a_check() -> None:
    assert list(CHECKS) == list(METHODS)


@pytest.mark.parametrize(
    "more", [{}, {"block": "bottleneck"}, {"norm": "none"}, {"shortcut": "C"}, {"stem": "imagenet"}]
)
def test_a_resnet_of_ours_passes_all_of_them(more: dict[str, Any]) -> None:
    assert refused(tiny.trained(tiny.resnet(**more), 10, "layer2", side=32)) == {}


@pytest.mark.parametrize("activation", [each for each in get_args(Activation) if each != "relu"])
def test_methods_that_act_at_relus_are_refused_where_there_is_none(activation: Any) -> None:
    why = refused(ours(activation=activation))
    assert set(why) == set(AT_RELUS)
    assert why["deconvolution"] == (
        "Deconvolution is left out for Tiny: it acts at ReLUs, and only 0 of the net's 5 activations are some."
    )


def test_a_gate_among_relus_is_no_reason_but_what_it_multiplies_does_not_add_up() -> None:
    why = refused(ours(attention="se"))
    assert set(why) == {"deep_lift"}
    assert "DeepLIFT is left out for Tiny: its map adds up to " in why["deep_lift"]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_is_half_as_large_again_is_refused(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    explain = METHODS[method].explain
    times = iter([1.5, 1.4])

    def wrong(subject: Any, settings: Any) -> Map:
        found = explain(subject, settings)
        return replace(found, values=found.values * next(times, 1.5))

    others = dict(METHODS) | {method: replace(METHODS[method], explain=wrong)}
    monkeypatch.setattr(checks, "METHODS", others)
    why = problem(method, ours())
    assert why is not None
    assert why.startswith(f"{METHODS[method].title} is left out for Tiny: its map ")
    assert ("adds up to " in why) == (
        method in ("deep_lift", "shapley", "kernel_shap") or METHODS[method].family == "path"
    )
    assert why.endswith(".")


@pytest.mark.parametrize("method", ["saliency", "deep_lift", "occlusion", "feature_maps"])
def test_a_map_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    explain = METHODS[method].explain

    def wrong(subject: Any, settings: Any) -> Map:
        found = explain(subject, settings)
        return replace(found, values=found.values * torch.nan)

    monkeypatch.setattr(checks, "METHODS", dict(METHODS) | {method: replace(METHODS[method], explain=wrong)})
    assert problem(method, ours()) is not None


def test_a_deep_net_before_training_bears_smooth_grad() -> None:
    # Its gradients change by percents as soon as sums are rounded otherwise
    assert problem("smooth_grad", untrained(REGISTRY["resnet50"])) is None


def test_batch_norm_that_is_folded_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = folding._as_one

    def wrong(conv: Any, norm: Any) -> dict[str, nn.Parameter]:
        return {name: nn.Parameter(1.1 * values, False) for name, values in right(conv, norm).items()}

    monkeypatch.setattr(folding, "_as_one", wrong)
    why = problem("smooth_grad", ours())
    assert why is not None
    assert "with batch norm in its convolutions the score is" in why


class Foreign(nn.Module):
    """Two convolutions and a pool, each ReLU called in some way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        with seeded(0):
            self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.fc = nn.Linear(8, 10)
        self.way = way
        self.relu = nn.ReLU6() if way == "relu6" else nn.ReLU(inplace=way == "in place")
        self.maps = nn.Identity()

    def activate(self, x: Tensor) -> Tensor:
        if self.way == "function":
            return F.relu(x)
        return x.relu() if self.way == "tensor" else self.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.conv1(x))
        if self.way == "max pool":
            x = F.max_pool2d(x, 3, 2, 1)
        if self.way == "by value" and x.sum() > 1e9:
            x = -x
        return self.fc(self.maps(self.activate(self.conv2(x))).mean((2, 3)))


def foreign(way: str) -> Trained:
    return tiny.trained(Foreign(way), 10, "maps")


@pytest.mark.parametrize("way", ["reused", "function", "tensor", "in place", "relu6"])
def test_what_libraries_get_wrong_is_right_on_the_network_that_was_made_ready(way: str) -> None:
    assert refused(foreign(way)) == {}


@pytest.mark.parametrize(
    ("way", "wrong"),
    [
        ("reused", {"deep_lift"}),
        ("function", set(HOOKED)),
        ("tensor", set(HOOKED)),
        ("relu6", set(HOOKED)),
    ],
)
def test_and_is_refused_on_one_that_was_not(monkeypatch: pytest.MonkeyPatch, way: str, wrong: set[str]) -> None:
    monkeypatch.setattr("explorer.attribution.subject.ready", lambda network, x: network)
    assert set(refused(foreign(way))) == wrong


def test_a_max_pool_that_is_a_function_is_beyond_deep_lift() -> None:
    why = refused(foreign("max pool"))
    assert set(why) == {"deep_lift"}
    assert "adds up to" in why["deep_lift"]


def test_a_network_that_decides_by_values_cannot_be_traced_and_says_so() -> None:
    why = refused(foreign("by value"))
    assert set(why) == set(HOOKED)
    assert why["deep_lift"] == (
        "DeepLIFT is left out for Tiny: Foreign cannot be traced, so that its ReLUs cannot be told apart; choose a "
        "method that needs gradients or passes alone."
    )


class Stepped(nn.Module):
    """Whole numbers of the picture: there is no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.fc = nn.Identity(), nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.maps(x.round() + 0 * x).mean((2, 3)))


def test_a_score_without_a_gradient_is_no_thing_for_a_path() -> None:
    why = refused(tiny.trained(Stepped(), 10, "maps"))
    assert why["integrated_gradients"] == "Integrated Gradients is left out for Tiny: the score has no gradient."
    assert {"gradient_shap", "deep_lift"} <= set(why)
    assert not {"occlusion", "feature_ablation", "shapley", "kernel_shap"} & set(why)


class Noisy(nn.Module):
    """Another answer each time."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.fc = nn.Identity(), nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.dropout(self.maps(x), 0.5, training=True).mean((2, 3)))


def test_a_network_that_answers_by_chance_is_not_explained() -> None:
    assert {"lime", "occlusion", "shapley", "saliency", "grad_cam"} <= set(refused(tiny.trained(Noisy(), 10, "maps")))


def test_maps_that_are_not_averaged_and_weighed_are_no_cam() -> None:
    wrong = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    assert set(refused(tiny.trained(wrong, 10, "0"))) >= {"cam", "grad_cam"}
    told = refused(tiny.trained(wrong, 10, "0", pooled=False))
    assert "grad_cam" not in told
    assert "more than an average pool and one linear layer" in told["cam"]


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.maps(x)
        if x.requires_grad:
            raise RuntimeError("no way back")
        return x.mean((2, 3))


def test_a_network_that_fails_is_told_by_the_kind_of_its_error() -> None:
    trained = tiny.trained(Broken(), 3, "maps")
    assert problem("saliency", trained) == "Saliency is left out for Tiny: it fails there (RuntimeError)."
    assert problem("occlusion", trained) is None


def test_what_is_refused_is_not_drawn() -> None:
    trained = ours(activation="tanh")
    with pytest.raises(Refusal, match="it acts at ReLUs"):
        attribute(trained, tiny.dots(), "guided_backprop")


class Stopped(Exception):  # noqa: N818
    pass


def test_a_check_that_was_stopped_is_made_the_next_time() -> None:
    trained = ours()

    def stop(fraction: float, text: str) -> None:
        raise Stopped(text)

    with pytest.raises(Stopped, match="DeepLIFT is checked on Tiny"):
        problem("deep_lift", trained, stop)
    assert problem("deep_lift", trained) is None


def test_a_check_is_made_once_for_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = ours()
    assert problem("saliency", trained) is None
    monkeypatch.setattr(checks, "CHECKS", {})
    assert problem("saliency", trained) is None


LIBRARY = {
    "resnet18": ("layer4", True, set()),
    "mobilenet_v2": ("features", True, set()),
    "squeezenet1_1": ("classifier.2", False, {"cam"}),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_of_a_librarys_network_each_method_is_right_or_refused(name: str) -> None:
    last, pooled, wrong = LIBRARY[name]
    with seeded(0):
        model = torchvision.models.get_model(name, weights=None, num_classes=10)
    assert set(refused(tiny.trained(model, 10, last, side=32, pooled=pooled))) == wrong
