"""Attributions against closed forms and against Captum called plainly, and a network that is as it was afterwards."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, get_args

import captum
import numpy as np
import pytest
import tiny
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

from explorer.attribution import METHODS, Attribution, attribute, predict
from explorer.attribution.posing import posed
from explorer.attribution.subject import Subject
from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.checkpoints import REGISTRY
from explorer.models.observe import seeded, watching
from explorer.spec import Activation

LITE = "efficientnet_lite0"
ESPRESSO, CUP = 967, 968
SIDE, MEAN, STD = tiny.SIDE, tiny.MEAN, tiny.STD


class Stopped(Exception):  # noqa: N818
    pass


@pytest.fixture(autouse=True, scope="module")
def one_cpu_thread() -> Iterator[None]:
    """Test processes share the processor; more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "best_device", lambda: torch.device("cpu"))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return Image.fromarray(data.coffee())


@pytest.fixture(scope="module")
def chelsea() -> Image.Image:
    return Image.fromarray(data.chelsea())


@pytest.fixture(scope="module")
def dots() -> Image.Image:
    return tiny.dots()


def pixels_of(picture: Image.Image) -> Tensor:
    """(3, h, w) between 0 and 1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).double() / 255


def normalised(pixels: Tensor, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Tensor:
    mean_, std_ = (torch.tensor(numbers, dtype=torch.double).view(3, 1, 1) for numbers in (mean, std))
    return (pixels - mean_) / std_


Lend = Callable[..., nn.Module]


@pytest.fixture
def lend(monkeypatch: pytest.MonkeyPatch) -> Lend:
    """Let a net of the test's own be found by the name "tiny"; described as for `tiny.trained`."""

    def as_tiny(model: nn.Module, *described: Any, **more: Any) -> nn.Module:
        trained = tiny.trained(model, *described, **more)
        monkeypatch.setattr(checkpoints, "load", lambda name, report=None: {"tiny": trained}[name])
        return model

    return as_tiny


def worn_resnet() -> nn.Module:
    """One with a frozen parameter, and another with an old gradient."""
    model = tiny.resnet()
    model.conv1.weight.requires_grad_(False)
    model.fc.bias.grad = torch.ones(10)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """All that attributing could leave behind on a model."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parameters = dict(model.named_parameters())
    return {
        "hooks": [(name, hook) for name, module in model.named_modules() for hook in hooks if getattr(module, hook)],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "training": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in parameters.values()],
        "grad": {name: p.grad.tolist() for name, p in parameters.items() if p.grad is not None},
        "values": {name: sha256(value.numpy().tobytes()).hexdigest() for name, value in model.state_dict().items()},
    }


# Known answers


class Squares(nn.Module):
    """Logits linear in the squares of the input."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x * x)


class Product(nn.Module):
    """The red of the first pixel times the red of the second."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0, 0, 0] * x[:, 0, 0, 1])[:, None]


BLACK, MEAN_COLOUR, WHITE = torch.zeros(3, 1, 1), torch.tensor(MEAN).view(3, 1, 1), torch.ones(3, 1, 1)


@pytest.mark.parametrize(("baseline", "colour"), [("black", BLACK), ("mean", MEAN_COLOUR), ("white", WHITE)])
def test_integrated_gradients_of_a_linear_net_are_weight_times_the_way_from_the_baseline(
    lend: Lend, dots: Image.Image, baseline: Any, colour: Tensor
) -> None:
    model = lend(tiny.linear(), 4)
    weight, bias = model[1].weight.detach().double()[2].view(3, SIDE, SIDE), float(model[1].bias.detach()[2])
    x, start = normalised(pixels_of(dots)), normalised(colour.double())
    found = attribute("tiny", dots, "integrated_gradients", 2, steps=2, baseline=baseline)
    np.testing.assert_allclose(found.map, (weight * (x - start)).sum(0), atol=1e-5)
    assert found.score == pytest.approx(float((weight * x).sum()) + bias, abs=1e-4)
    assert found.expected_sum == pytest.approx(float((weight * (x - start)).sum()), abs=1e-4)
    assert found.delta == pytest.approx(0, abs=1e-4)
    assert found.sum == pytest.approx(float(found.map.sum()), abs=1e-4)


def test_integrated_gradients_of_squares_are_weight_times_the_difference_of_squares(
    lend: Lend, dots: Image.Image
) -> None:
    classifier = tiny.linear()
    lend(Squares(classifier), 4)
    x, white = normalised(pixels_of(dots)), normalised(WHITE.double())
    expected = (classifier[1].weight.double()[1].view(3, SIDE, SIDE) * (x**2 - white**2)).sum(0).detach()
    found = attribute("tiny", dots, "integrated_gradients", 1, steps=3, baseline="white")
    np.testing.assert_allclose(found.map, expected, atol=1e-4)


def test_the_product_of_3_and_3_is_shared_out_equally(lend: Lend) -> None:
    lend(Product(), 1, mean=(0.0, 0.0, 0.0), std=(1 / 3, 1.0, 1.0))
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, :2, 0] = 255
    expected = np.zeros((SIDE, SIDE))
    expected[0, :2] = 3 * 3 / 2
    found = attribute("tiny", Image.fromarray(pixels), "integrated_gradients", 0, steps=2)
    np.testing.assert_allclose(found.map, expected, atol=1e-5)


@pytest.mark.parametrize(("baseline", "level"), [("black", -1.0), ("mean", 0.0), ("white", 1.0)])
def test_integrated_gradients_are_captums(coffee: Image.Image, baseline: Any, level: float) -> None:
    found = attribute(LITE, coffee, "integrated_gradients", CUP, steps=6, baseline=baseline)
    trained = checkpoints.load(LITE)
    # The same floats in the same layout: the gradient jumps at each ReLU6's corners, so that rounding would show.
    x = trained.checkpoint.preprocessing.tensor(found.picture).contiguous(memory_format=torch.channels_last)
    with trained.model.borrow() as model:
        plain = IntegratedGradients(model).attribute(
            x, torch.full_like(x, level), CUP, n_steps=6, method="gausslegendre", internal_batch_size=10
        )
    np.testing.assert_allclose(found.map, plain[0].sum(0).detach(), atol=1e-5)
    assert np.abs(found.map).max() > 0.1


@pytest.mark.parametrize("steps", [7, 10, 25])
def test_cutting_the_path_into_batches_changes_no_map(lend: Lend, dots: Image.Image, steps: int) -> None:
    model = lend(tiny.resnet("silu"), 10).train()
    found = attribute("tiny", dots, "integrated_gradients", 3, steps=steps)
    x, black = (normalised(pixels).float()[None] for pixels in (pixels_of(dots), BLACK.expand(3, SIDE, SIDE).double()))
    plain = IntegratedGradients(model.eval()).attribute(x, black, 3, n_steps=steps, method="gausslegendre")
    np.testing.assert_allclose(found.map, plain[0].sum(0).detach(), atol=1e-5)
    assert np.abs(found.map).max() > 0.01


def class_activation_map(model: nn.Module, features: nn.Module, classifier: nn.Linear, x: Tensor, target: int) -> Any:
    """Zhou et al. 2015, arXiv 1512.04150: the channels of the last feature map, weighted as the class weighs them."""
    seen: list[Tensor] = []
    handle = features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(x)
    handle.remove()
    return torch.einsum("c,chw->hw", classifier.weight[target], seen[0][0]).detach().numpy()


@pytest.mark.parametrize("target", [ESPRESSO, CUP, 0])
def test_grad_cam_adds_up_to_the_logit_less_the_bias_and_is_cam_by_cells(coffee: Image.Image, target: int) -> None:
    found = attribute(LITE, coffee, "grad_cam", target)
    x = normalised(pixels_of(found.picture), (0.5,) * 3, (0.5,) * 3).float()[None]
    with checkpoints.load(LITE).model.borrow() as model:
        cam = class_activation_map(model, model.bn2, model.classifier, x, target)
        bias = float(model.classifier.bias[target])
    assert found.map.shape == cam.shape == (7, 7)
    np.testing.assert_allclose(found.map, cam / (7 * 7), atol=1e-5)
    assert found.expected_sum == found.score - bias
    assert float(found.map.sum()) == pytest.approx(found.score - bias, abs=1e-4)
    assert found.delta == pytest.approx(0, abs=1e-4)


def test_grad_cam_of_a_resnet_of_ours_is_cam_by_cells(lend: Lend, dots: Image.Image) -> None:
    model = lend(tiny.resnet(), 10, last_features="layer2").train()
    found = attribute("tiny", dots, "grad_cam", 3)
    model.eval()
    x = normalised(pixels_of(dots)).float()[None]
    cam = class_activation_map(model, model.layer2, model.fc, x, 3)
    np.testing.assert_allclose(found.map, cam / (4 * 4), atol=1e-5)
    assert float(found.map.sum()) == pytest.approx(found.score - float(model.fc.bias.detach()[3]), abs=1e-4)


OWN = ("cifar_resnet20", "cifar_resnet56", "cifar_plain20")


@pytest.mark.parametrize("name", OWN)
def test_grad_cam_of_a_net_of_our_own_is_cam_by_cells(chelsea: Image.Image, name: str) -> None:
    found = attribute(name, chelsea, "grad_cam", 5)
    trained = checkpoints.load(name)
    x = trained.checkpoint.preprocessing.tensor(found.picture)
    with trained.model.borrow() as model:
        cam = class_activation_map(model, model.layer3, model.fc, x, 5)
        bias = float(model.fc.bias[5])
    assert found.map.shape == cam.shape == (8, 8)
    assert found.picture.size == (32, 32)
    np.testing.assert_allclose(found.map, cam / (8 * 8), atol=1e-5)
    assert float(found.map.sum()) == pytest.approx(found.score - bias, abs=1e-4)


@pytest.mark.parametrize("name", OWN)
def test_integrated_gradients_of_a_net_of_our_own_are_captums_and_add_up(chelsea: Image.Image, name: str) -> None:
    found = attribute(name, chelsea, "integrated_gradients", 3, steps=100, baseline="mean")
    trained = checkpoints.load(name)
    x = trained.checkpoint.preprocessing.tensor(found.picture).contiguous(memory_format=torch.channels_last)
    with trained.model.borrow() as model:
        plain = IntegratedGradients(model).attribute(
            x, torch.zeros_like(x), 3, n_steps=100, method="gausslegendre", internal_batch_size=10
        )
    assert found.map.shape == (32, 32)
    np.testing.assert_allclose(found.map, plain[0].sum(0).detach(), atol=1e-5)
    assert abs(found.delta) < 0.03 * np.abs(found.map).sum()


def test_more_steps_bring_the_convergence_delta_nearer_to_zero(chelsea: Image.Image) -> None:
    few, many = (attribute("cifar_resnet20", chelsea, "integrated_gradients", steps=steps).delta for steps in (5, 200))
    assert abs(many) < abs(few) / 10


# Known answers for all methods


LINEAR: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 2},
    "deep_lift": {},
    "gradient_shap": {"noise": 0.0, "samples": 3},
    "occlusion": {"window": 1, "stride": 1},
    "feature_ablation": {"parts": "grid", "count": 64},
    "shapley": {"parts": "grid", "count": 64, "samples": 1},
}


@pytest.mark.parametrize("baseline", ["black", "mean", "white", "blur", "noise"])
@pytest.mark.parametrize("method", LINEAR)
def test_of_a_linear_net_every_method_finds_weight_times_the_way(method: str, baseline: str) -> None:
    model, dots = tiny.linear(), tiny.dots()
    trained = tiny.trained(model, 4)
    weight = model[1].weight[2].view(3, SIDE, SIDE)
    with posed(trained, dots, 2) as subject:
        way = (subject.x - subject.baseline(baseline))[0]  # type: ignore[arg-type]
    found = attribute(trained, dots, method, 2, baseline=baseline, **LINEAR[method])
    np.testing.assert_allclose(found.map, (weight * way).sum(0).detach(), atol=2e-5)
    assert found.channels.shape == ((1 if METHODS[method].family == "hiding" else 3), SIDE, SIDE)
    if method not in ("occlusion", "feature_ablation"):
        assert found.delta == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("method", ["kernel_shap", "shapley", "feature_ablation"])
def test_of_a_linear_net_a_part_has_the_sum_of_its_pixels(method: str) -> None:
    model, dots = tiny.linear(), tiny.dots()
    weight = model[1].weight[2].view(3, SIDE, SIDE)
    terms = (weight * (normalised(pixels_of(dots)).float() - normalised(WHITE.double()).float())).sum(0).detach()
    squares = terms.view(4, 2, 4, 2).sum((1, 3))
    found = attribute(tiny.trained(model, 4), dots, method, 2, baseline="white", parts="grid", count=16)
    np.testing.assert_allclose(found.map, squares.repeat_interleave(2, 0).repeat_interleave(2, 1) / 4, atol=1e-4)
    assert found.map.sum() == pytest.approx(float(terms.sum()), abs=1e-3)


def test_of_a_linear_net_lime_finds_the_order_of_the_parts_and_their_size_but_for_its_penalty() -> None:
    model, dots = tiny.linear(), tiny.dots()
    weight = model[1].weight[2].view(3, SIDE, SIDE)
    terms = (weight * (normalised(pixels_of(dots)).float() - normalised(BLACK.double()).float())).sum(0).detach()
    squares = 20 * terms.view(2, 4, 2, 4).sum((1, 3)).flatten().numpy()
    with torch.no_grad():
        model[1].weight *= 20  # far above the penalty
    found = attribute(tiny.trained(model, 4), dots, "lime", 2, parts="grid", count=4, samples=500)
    lime = found.map.reshape(2, 4, 2, 4).sum((1, 3)).flatten()
    assert list(np.argsort(lime)) == list(np.argsort(squares))
    np.testing.assert_allclose(lime, squares, atol=0.1 * np.abs(squares).max())


@pytest.mark.parametrize("settings", [{}, {"taken": "smoothgrad_sq"}, {"taken": "vargrad"}, {"of": "input_x_gradient"}])
def test_the_gradient_of_a_linear_net_is_its_weight_with_noise_or_without(settings: dict[str, Any]) -> None:
    model, dots = tiny.linear(), tiny.dots()
    trained = tiny.trained(model, 4)
    weight, x = model[1].weight[2].view(3, SIDE, SIDE).detach(), normalised(pixels_of(dots)).float()
    np.testing.assert_allclose(attribute(trained, dots, "saliency", 2).channels, weight, atol=1e-6)
    np.testing.assert_allclose(attribute(trained, dots, "input_x_gradient", 2).channels, weight * x, atol=1e-6)
    noise = 0.0 if "of" in settings else 0.5
    found = attribute(trained, dots, "smooth_grad", 2, noise=noise, **settings).channels
    expected = {"smoothgrad_sq": weight**2, "vargrad": 0 * weight}.get(settings.get("taken", ""), weight)
    np.testing.assert_allclose(found, expected * (x if "of" in settings else 1), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "settings", "share"),
    [
        ("integrated_gradients", {"steps": 2}, 3 * 3 / 2),
        ("gradient_shap", {"noise": 0.0, "samples": 200}, 3 * 3 / 2),
        ("shapley", {"parts": "grid", "count": 64, "samples": 50}, 3 * 3 / 2),
        ("input_x_gradient", {}, 3 * 3),
        ("saliency", {}, 3),
        ("feature_ablation", {"parts": "grid", "count": 64}, 3 * 3),
        ("occlusion", {"window": 1, "stride": 1}, 3 * 3),
    ],
)
def test_of_a_product_who_shares_halves_it_and_who_removes_one_counts_it_twice(
    method: str, settings: dict[str, Any], share: float
) -> None:
    trained = tiny.trained(Product(), 1, mean=(0.0, 0.0, 0.0), std=(1 / 3, 1.0, 1.0))
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, :2, 0] = 255  # 3 and 3
    found = attribute(trained, Image.fromarray(pixels), method, 0, **settings)
    expected = np.zeros((SIDE, SIDE))
    expected[0, :2] = share
    by_chance = method in ("gradient_shap", "shapley")
    np.testing.assert_allclose(found.map, expected, atol=0.35 * share if by_chance else 1e-5)
    if method == "shapley":
        assert found.map.sum() == pytest.approx(3 * 3)


class Saturated(nn.Module):
    """1 - relu(1 - t), which is t up to 1 and then 1; t is 2 times the red of the first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return 1 - self.relu(1 - 2 * x[:, :1, 0, 0])


@pytest.mark.parametrize(
    ("method", "settings", "answer"),
    [
        ("saliency", {}, 0.0),
        ("input_x_gradient", {}, 0.0),
        ("integrated_gradients", {"steps": 100}, 1.0),
        ("deep_lift", {}, 1.0),
        ("occlusion", {"window": 1, "stride": 1}, 1.0),
    ],
)
def test_what_is_saturated_has_no_gradient_and_yet_all_the_credit(
    method: str, settings: dict[str, Any], answer: float
) -> None:
    trained = tiny.trained(Saturated(), 1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    white = Image.new("RGB", (SIDE, SIDE), "white")
    expected = np.zeros((SIDE, SIDE))
    expected[0, 0] = answer
    np.testing.assert_allclose(attribute(trained, white, method, 0, **settings).map, expected, atol=0.02)


NETS: dict[str, dict[str, Any]] = {
    **{activation: {"activation": activation} for activation in get_args(Activation)},
    "bottleneck": {"block": "bottleneck"},
    "preact": {"activation_order": "preact"},
    "relu_before_add": {"activation_order": "relu_before_add"},
    "max pool": {"stem": "imagenet"},
    "no norm": {"norm": "none"},
}


@pytest.mark.parametrize("baseline", ["black", "noise"])
@pytest.mark.parametrize("name", NETS)
def test_integrated_gradients_and_deep_lift_add_up_on_our_nets(name: str, baseline: str) -> None:
    trained = tiny.trained(tiny.resnet(**NETS[name]), 10, "layer2", side=16, pooled=name != "preact")
    picture = tiny.dots(16)
    for method, settings, close in (("deep_lift", {}, 1e-4), ("integrated_gradients", {"steps": 100}, 0.02)):
        found = attribute(trained, picture, method, 3, baseline=baseline, **settings)
        with posed(trained, picture, 3) as subject:
            scores = subject.value(subject.x) - subject.value(subject.baseline(baseline))  # type: ignore[arg-type]
        assert found.expected_sum == pytest.approx(scores, abs=1e-4)
        assert abs(found.delta) <= close * np.abs(found.channels).sum()
        assert abs(scores) > 1e-3


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_deep_lift_adds_up_on_the_trained_nets_of_our_own(chelsea: Image.Image, name: str, baseline: str) -> None:
    found = attribute(name, chelsea, "deep_lift", 3, baseline=baseline)
    assert abs(found.delta) < 1e-4 * np.abs(found.channels).sum()
    assert abs(found.expected_sum) > 0.1


def two_layers() -> nn.Sequential:
    """Convolutions of one pixel, so that Grad-CAM is a matter of two matrices."""
    with seeded(1):
        return nn.Sequential(
            *(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
        )


def test_grad_cam_by_hand_at_the_last_and_at_an_earlier_layer() -> None:
    model, dots = two_layers(), tiny.dots()
    first, second, last = (model[index] for index in (0, 2, 6))
    x = normalised(pixels_of(dots)).float().flatten(1)  # (3, pixels)
    with torch.no_grad():
        one = (first.weight[:, :, 0, 0] @ x + first.bias[:, None]).clamp(min=0)
        two = (second.weight[:, :, 0, 0] @ one + second.bias[:, None]).clamp(min=0)
        # The gradient of a cell of the second layer is the class's weight over the cells; back to the first it goes
        # through what is on
        at_two = last.weight[1][:, None] / 64 * torch.ones(5, 64)
        at_one = second.weight[:, :, 0, 0].T @ (at_two * (two > 0))
        late = (at_two.mean(1, keepdim=True) * two).sum(0).view(SIDE, SIDE)
        early = (at_one.mean(1, keepdim=True) * one).sum(0).view(SIDE, SIDE)
    trained = tiny.trained(model, 3, "3")
    found = attribute(trained, dots, "grad_cam", 1, layer="3")
    np.testing.assert_allclose(found.map, late, atol=1e-6)
    assert found.delta == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(attribute(trained, dots, "cam", 1).map, 64 * late, atol=1e-5)
    found = attribute(tiny.trained(model, 3, "1", pooled=False), dots, "grad_cam", 1)
    assert found.settings["layer"] == "1"
    np.testing.assert_allclose(found.map, early, atol=1e-6)
    assert (found.expected_sum, found.delta) == (None, None)


class Guided(torch.autograd.Function):
    """Springenberg et al. 2014: back through a ReLU goes what is positive, where the input was positive."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.where((ctx.saved_tensors[0] > 0) & (gradients[0] > 0), gradients[0], 0.0)


class Deconvolved(Guided):
    """Zeiler & Fergus 2013: whatever the input was."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.where(gradients[0] > 0, gradients[0], 0.0)


@pytest.mark.parametrize(("method", "own"), [("guided_backprop", Guided), ("deconvolution", Deconvolved)])
@pytest.mark.parametrize("net", [tiny.resnet, two_layers])
def test_changed_gradients_are_those_of_a_function_of_our_own(method: str, own: Any, net: Any) -> None:
    model, dots = net(), tiny.dots()
    last = "layer2" if net is tiny.resnet else "3"
    classes = 10 if net is tiny.resnet else 3
    target = 1 if net is tiny.resnet else 2
    found = attribute(tiny.trained(model, classes, last), dots, method, target)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.forward = own.apply
    x = normalised(pixels_of(dots)).float()[None].requires_grad_()
    (expected,) = torch.autograd.grad(model(x)[0, target], x)
    np.testing.assert_allclose(found.channels, expected[0], atol=1e-6)
    assert np.abs(found.channels).max() > 1e-4
    plain = attribute(tiny.trained(net(), classes, last), dots, "saliency", target).channels
    assert np.abs(found.channels - plain).max() > 0.1 * np.abs(plain).max()


@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_guided_grad_cam_is_the_product_of_the_two(layer: str) -> None:
    trained, dots = tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()
    fine = attribute(trained, dots, "guided_backprop", 1).channels
    coarse = attribute(trained, dots, "grad_cam", 1, layer=layer).map.clip(min=0)
    times = SIDE // coarse.shape[0]
    expected = fine * coarse.repeat(times, 0).repeat(times, 1)
    np.testing.assert_allclose(
        attribute(trained, dots, "guided_grad_cam", 1, layer=layer).channels, expected, atol=1e-7
    )


@pytest.mark.parametrize("channel", [0, 1, 16])
def test_feature_maps_are_what_a_layer_returns(channel: int) -> None:
    model, dots = tiny.resnet(), tiny.dots()
    seen: list[Tensor] = []
    with watching([(model.layer2, seen.append)]), torch.no_grad():
        model(normalised(pixels_of(dots)).float()[None])
    expected = seen[0][0].mean(0) if channel == 0 else seen[0][0, channel - 1]
    trained = tiny.trained(model, 10, "layer2")
    found = [attribute(trained, dots, "feature_maps", target, channel=channel).channels for target in (0, 7)]
    np.testing.assert_allclose(found[0], expected[None], atol=1e-5)
    np.testing.assert_array_equal(*found)
    with pytest.raises(Refusal, match=r"channel \(=17\) must be 0 for the mean, or 1 to 16: layer2 has no more\."):
        attribute(trained, dots, "feature_maps", channel=17)


class Patch(nn.Module):
    """Reads a square of the picture and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = tiny.linear(2, side=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x[:, :, 2:4, 4:6])


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("occlusion", {"window": 2, "stride": 2}),
        ("occlusion", {"window": 1, "stride": 1}),
        ("feature_ablation", {"parts": "grid", "count": 16}),
        ("shapley", {"parts": "grid", "count": 16}),
    ],
)
def test_hiding_finds_exactly_the_square_that_a_net_reads(method: str, settings: dict[str, Any]) -> None:
    found = attribute(tiny.trained(Patch(), 2), tiny.dots(), method, 1, **settings)
    expected = np.zeros((SIDE, SIDE), bool)
    expected[2:4, 4:6] = True
    np.testing.assert_array_equal(np.abs(found.map) > 1e-6, expected)


def test_overlapping_squares_give_the_mean_of_those_that_hide_a_pixel() -> None:
    model, dots = tiny.linear(), tiny.dots()
    weight = model[1].weight[0].view(3, SIDE, SIDE)
    terms = (
        (weight * (normalised(pixels_of(dots)).float() - normalised(BLACK.double()).float())).sum(0).detach().numpy()
    )
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for top in range(0, SIDE - 3, 2):
        for left in range(0, SIDE - 3, 2):
            square = (slice(top, top + 4), slice(left, left + 4))
            total[square] += terms[square].sum()
            count[square] += 1
    found = attribute(tiny.trained(model, 4), dots, "occlusion", 0, window=4, stride=2)
    np.testing.assert_allclose(found.map, total / count, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("integrated_gradients", {"steps": 20}),
        ("gradient_shap", {}),
        ("cam", {}),
        ("grad_cam", {}),
        ("grad_cam", {"layer": "layer1"}),
        ("saliency", {}),
        ("input_x_gradient", {}),
        ("smooth_grad", {}),
        ("deep_lift", {}),
        ("occlusion", {}),
        ("feature_ablation", {"parts": "grid"}),
        ("shapley", {"parts": "grid"}),
        ("kernel_shap", {"parts": "grid", "count": 16}),
    ],
)
def test_the_map_of_a_difference_is_the_difference_of_the_maps(method: str, settings: dict[str, Any]) -> None:
    trained, dots = tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()
    both = attribute(trained, dots, method, 3, against=7, **settings)
    one, other = (attribute(trained, dots, method, target, **settings) for target in (3, 7))
    scale = np.abs(one.channels).max() + np.abs(other.channels).max()
    np.testing.assert_allclose(both.channels, one.channels - other.channels, atol=1e-4 * scale)
    assert np.abs(both.channels).max() > 0.05 * scale
    assert both.score == pytest.approx(one.score - other.score, abs=1e-4)
    assert (both.against, both.against_name, both.target_name) == (7, "7", "3")
    if one.expected_sum is not None:
        assert both.expected_sum == pytest.approx(one.expected_sum - other.expected_sum, abs=float(1e-3 * scale + 1e-4))
        if method != "gradient_shap":
            assert abs(both.delta) < 0.02 * np.abs(both.channels).sum()


def test_a_class_against_itself_is_refused() -> None:
    trained, dots = tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()
    best = int(predict(trained, dots).class_index[0])
    for target in (best, None):
        with pytest.raises(Refusal, match=rf"against \(={best}\) must be another class than the one that is explained"):
            attribute(trained, dots, target=target, against=best)


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_that_is_none_is_answered_by_every_method(method: str) -> None:
    with pytest.raises(Refusal, match=r"colour \(=3\) is no setting of "):
        attribute(tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots(), method, colour=3)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_question_has_the_same_answer(method: str) -> None:
    trained, dots = tiny.trained(tiny.resnet(), 10, "layer2"), tiny.dots()
    one, other = (attribute(trained, dots, method, 3) for _ in range(2))
    np.testing.assert_array_equal(one.channels, other.channels)
    assert np.isfinite(one.channels).all()
    assert np.abs(one.channels).max() > 0
    assert one.map.dtype == np.float32


# What is asked, and what is recorded


def test_without_a_target_the_predicted_class_is_explained(coffee: Image.Image, chelsea: Image.Image) -> None:
    for picture in (coffee, chelsea):
        best, found = predict(LITE, picture).iloc[0], attribute(LITE, picture)
        assert (found.target, found.target_name) == (best.class_index, best.class_name)
        assert found.score == pytest.approx(best.logit, abs=1e-5)


def test_a_row_of_the_prediction_can_be_the_target(lend: Lend, dots: Image.Image) -> None:
    lend(tiny.linear(), 4)
    second = predict("tiny", dots).class_index[1]
    assert type(second) is np.int64
    found = attribute("tiny", dots, "integrated_gradients", second, steps=2)
    assert found.target == second
    assert type(found.target) is int


@pytest.mark.parametrize("target", [-1, 1000, True, 1.5, "967", np.float64(3)])
def test_a_target_that_is_no_class_is_refused(coffee: Image.Image, target: Any) -> None:
    with pytest.raises(Refusal) as caught:
        attribute(LITE, coffee, target=target)
    assert str(caught.value) == f"target (={target!r}) must be the index of a class, 0 to 999."


@pytest.mark.parametrize("steps", [1, 0, -5, 501, 50.0, True, "50", None])
def test_steps_out_of_range_are_refused(coffee: Image.Image, steps: Any) -> None:
    with pytest.raises(Refusal) as caught:
        attribute(LITE, coffee, "integrated_gradients", steps=steps)
    assert str(caught.value) == f"steps (={steps!r}) must be a whole number from 2 to 500."


def test_an_unknown_method_baseline_or_net_is_answered_with_the_known_ones(coffee: Image.Image) -> None:
    with pytest.raises(Refusal) as caught:
        attribute(LITE, coffee, "Grad-CAM")
    assert str(caught.value) == f"method (='Grad-CAM') must be one of {', '.join(METHODS)}."
    with pytest.raises(Refusal) as caught:
        attribute(LITE, coffee, "integrated_gradients", baseline="grey")  # type: ignore[arg-type]
    assert str(caught.value) == "baseline (='grey') must be one of black, mean, white, blur, noise."
    for use in (attribute, predict):
        with pytest.raises(Refusal, match="no trained weights named 'lenet'"):
            use("lenet", coffee)


def test_a_record_says_what_was_explained_and_how(coffee: Image.Image) -> None:
    found = attribute(LITE, coffee, "integrated_gradients", CUP, steps=3, baseline="mean")
    assert (found.checkpoint, found.method, found.target, found.target_name) == (
        LITE,
        "integrated_gradients",
        968,
        "cup",
    )
    assert found.settings == {"baseline": "mean", "steps": 3, "captum": captum.__version__}
    assert found.expected_sum_is == "the score less that of a picture of the mean colour"
    assert found.device == "CPU"
    assert found.map.dtype == np.float32
    assert found.map.shape == found.picture.size == (224, 224)
    assert 0 < found.seconds < 60
    expected = REGISTRY[LITE].preprocessing.crop_of(coffee)
    assert found.picture.tobytes() == expected.tobytes()


def test_a_record_of_grad_cam_names_its_layer(coffee: Image.Image) -> None:
    found = attribute(LITE, coffee)
    assert (found.method, found.settings) == ("grad_cam", {"layer": "bn2", "captum": captum.__version__})
    assert found.expected_sum_is == "the score less the class's bias"


# Predictions


def test_a_prediction_ranks_all_classes_by_their_softmax(chelsea: Image.Image) -> None:
    rows = predict(LITE, chelsea)
    assert list(rows) == ["class_index", "class_name", "probability", "logit"]
    assert sorted(rows.class_index) == list(range(1000))
    assert rows.probability.is_monotonic_decreasing
    assert rows.probability.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(rows.probability, np.exp(rows.logit) / np.exp(rows.logit).sum(), rtol=1e-12)
    published = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert rows.class_name.tolist() == [published[index] for index in rows.class_index]


def test_a_prediction_is_the_nets_output(lend: Lend, dots: Image.Image) -> None:
    model = lend(tiny.linear(), 4)
    rows = predict("tiny", dots).sort_values("class_index")
    with torch.no_grad():
        expected = model(normalised(pixels_of(dots)).float()[None])[0]
    np.testing.assert_allclose(rows.logit, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_grey_palette_and_transparent_pictures_are_seen_as_rgb(chelsea: Image.Image, mode: str) -> None:
    picture = chelsea.convert(mode)
    as_rgb = predict(LITE, picture.convert("RGB"))
    assert predict(LITE, picture).equals(as_rgb)
    found = attribute(LITE, picture)
    assert (found.picture.mode, found.target) == ("RGB", as_rgb.class_index[0])


# Progress and stopping


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images in a pass, so that there are many passes."""
    monkeypatch.setattr(Subject, "at_once", 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("few_at_once")
def test_progress_is_told_before_each_pass_and_never_falls(method: str) -> None:
    model = tiny.resnet()
    trained = tiny.trained(model, 10, "layer2")
    forward, _ = METHODS[method].passes(attribute(trained, tiny.dots(), method, 3).settings, tiny.SIDE)
    told: list[float | str] = []
    with watching([(model.fc, lambda output: told.append("pass"))]):
        attribute(trained, tiny.dots(), method, 3, report=lambda fraction, text: told.append(fraction))
    fractions = [each for each in told if each != "pass"]
    assert fractions[0] == 0
    assert fractions == sorted(fractions)
    assert all(0 <= each <= 1 for each in fractions)
    assert len(fractions) >= forward // 2 - 2  # but for the score of picture and baseline
    quiet = "".join("p" if each == "pass" else "r" for each in told).split("r")
    # None that takes long passes without a word: two to a report, and the scores at the end
    assert max(map(len, quiet)) <= 2


def same(one: Attribution, other: Attribution) -> bool:
    return np.array_equal(one.map, other.map) and (one.score, one.delta) == (other.score, other.delta)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reports_before", [0, 3])
@pytest.mark.usefixtures("few_at_once")
def test_work_that_is_stopped_leaves_the_net_as_it_was(method: str, reports_before: int) -> None:
    model = worn_resnet()
    trained, dots = tiny.trained(model, 10, "layer2"), tiny.dots()
    model.train()
    model.layer1.eval()
    before, numbers = state(model), (torch.get_rng_state(), np.random.get_state()[1])
    assert before["hooks"] == []
    first = attribute(trained, dots, method)
    assert state(model) == before
    told: list[float] = []

    def stop(fraction: float, text: str) -> None:
        told.append(fraction)
        if len(told) > reports_before:
            raise Stopped

    if METHODS[method].passes(first.settings, tiny.SIDE)[0] > 2 * reports_before:
        with pytest.raises(Stopped):
            attribute(trained, dots, method, report=stop)
        assert len(told) == reports_before + 1
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert (np.random.get_state()[1] == numbers[1]).all()
    assert same(attribute(trained, dots, method), first)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("method", METHODS)
def test_an_exception_inside_the_net_leaves_it_as_it_was(method: str, direction: str) -> None:
    model = worn_resnet()
    trained, dots = tiny.trained(model, 10, "layer2"), tiny.dots()
    first, before = attribute(trained, dots, method, 3), state(model)
    classify = model.fc.forward

    def fail(*_: object) -> None:
        raise Stopped

    def failing(x: Tensor) -> Tensor:
        logits = classify(x)
        if direction == "forward":
            fail()
        if logits.requires_grad:
            logits.register_hook(fail)
        return logits

    model.fc.forward = failing
    if direction == "forward" or METHODS[method].passes(first.settings, tiny.SIDE)[1]:
        with pytest.raises(Stopped):
            attribute(trained, dots, method, 3)
    del model.fc.forward
    assert state(model) == before
    assert same(attribute(trained, dots, method, 3), first)


@pytest.mark.parametrize("method", ["deep_lift", "guided_backprop", "deconvolution", "guided_grad_cam"])
def test_one_that_was_made_ready_is_as_good_after_a_stop(method: str) -> None:
    with seeded(0):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.ReLU(True))
        model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)])
    trained, dots = tiny.trained(model, 3, "3", pooled=False), tiny.dots()
    first, before = attribute(trained, dots, method, 1), state(model)
    classify = model[7].forward

    def failing(x: Tensor) -> Tensor:
        classify(x)
        raise Stopped

    for _ in range(2):
        model[7].forward = failing
        with pytest.raises(Stopped):
            attribute(trained, dots, method, 1)
        del model[7].forward
        assert state(model) == before
        assert same(attribute(trained, dots, method, 1), first)


def test_the_trained_net_is_left_frozen_without_hooks_or_gradients(chelsea: Image.Image) -> None:
    model = checkpoints.load("cifar_resnet20").model._model
    before = state(model)
    assert (before["hooks"], before["grad"], any(before["training"] + before["requires_grad"])) == ([], {}, False)
    for method in METHODS:
        attribute("cifar_resnet20", chelsea, method)
        assert state(model) == before, method
    predict("cifar_resnet20", chelsea)
    assert state(model) == before


# Many sessions at once


class Alone(nn.Module):
    """Counts how many are inside of it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = tiny.linear()
        self.inside = self.most = self.calls = 0
        self.counting = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.counting:
            self.inside += 1
            self.calls += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.005)
        logits = self.classifier(x)
        with self.counting:
            self.inside -= 1
        return logits


def test_one_at_a_time_is_inside_of_a_net(lend: Lend, dots: Image.Image) -> None:
    model = lend(Alone(), 4)
    first = attribute("tiny", dots, "integrated_gradients", steps=20)
    model.calls = 0
    attribute("tiny", dots, "integrated_gradients", steps=20)
    each, model.calls = model.calls, 0
    with ThreadPoolExecutor(4) as threads:
        explained = [threads.submit(attribute, "tiny", dots, "integrated_gradients", steps=20) for _ in range(4)]
        predicted = [threads.submit(predict, "tiny", dots) for _ in range(8)]
    assert all(same(job.result(), first) for job in explained)
    assert all(job.result().equals(predicted[0].result()) for job in predicted)
    assert (model.calls, model.most) == (4 * each + 8, 1)


@pytest.mark.parametrize(
    "other", ["grad_cam", "saliency", "integrated_gradients", "deep_lift", "deconvolution", "shapley"]
)
def test_two_threads_get_what_each_would_get_alone(chelsea: Image.Image, coffee: Image.Image, other: str) -> None:
    """Hooks of the one would be in the way of the other."""
    name = "cifar_resnet20"

    def results(picture: Image.Image, method: str) -> list[NDArray[Any]]:
        maps = [attribute(name, picture, method).map for _ in range(3)]
        return [*maps, predict(name, picture).logit.to_numpy()]

    work = [(coffee, "guided_backprop"), (chelsea, other)]
    alone = [results(*arguments) for arguments in work]
    start = threading.Barrier(2)

    def together(index: int) -> list[NDArray[Any]]:
        torch.set_num_threads(1)
        start.wait(20)
        return results(*work[index])

    with ThreadPoolExecutor(2) as threads:
        for found, expected in zip(threads.map(together, range(2)), alone, strict=True):
            for mine, right in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, right, atol=1e-5)


@pytest.mark.parametrize("weight", [1e30, float("nan")])
def test_logits_that_are_no_numbers_are_a_sentence(lend: Lend, dots: Image.Image, weight: float) -> None:
    layers = [nn.Linear(3 * SIDE * SIDE, 8), nn.Linear(8, 8), nn.Linear(8, 4)]
    for layer in layers:
        nn.init.constant_(layer.weight, weight)
    lend(nn.Sequential(nn.Flatten(), *layers), 4)
    with pytest.raises(Refusal, match="Tiny gives this picture logits that are no numbers"):
        predict("tiny", dots)
    for target in (None, 1):
        with pytest.raises(Refusal, match="logits that are no numbers"):
            attribute("tiny", dots, "saliency", target)


# A GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_a_gpu_finds_the_maps_that_the_cpu_finds(
    coffee: Image.Image, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"steps": 20} if method == "integrated_gradients" else {}
    on_cpu = attribute(LITE, coffee, method, ESPRESSO, **more)
    monkeypatch.setattr(checkpoints, "best_device", lambda: torch.device("cuda"))
    on_gpu = attribute(LITE, coffee, method, ESPRESSO, **more)
    assert on_gpu.device == torch.cuda.get_device_name()
    np.testing.assert_allclose(on_gpu.map, on_cpu.map, atol=1e-3)


def test_the_baseline_can_be_looked_at(lend: Lend, dots: Image.Image) -> None:
    lend(tiny.linear(), 4)
    black, mean = (
        attribute("tiny", dots, "integrated_gradients", baseline=kind).baseline for kind in ("black", "mean")
    )
    assert black is not None
    assert mean is not None
    assert black.getcolors() == [(SIDE * SIDE, (0, 0, 0))]
    assert mean.getcolors() == [(SIDE * SIDE, tuple(round(255 * each) for each in MEAN))]
    assert attribute("tiny", dots, "saliency").baseline is None
