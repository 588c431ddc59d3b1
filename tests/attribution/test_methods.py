"""Attributions against closed forms and against Captum called plainly, and a network that is as it was afterwards."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Literal

import captum
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

from explorer.attribution import Attribution, attribute, predict
from explorer.errors import Refusal
from explorer.models import checkpoints
from explorer.models.checkpoints import REGISTRY, Checkpoint, Preprocessing, Trained
from explorer.models.observe import Shared
from explorer.models.resnet import build
from explorer.spec import ResNetSpec

LITE = "efficientnet_lite0"
ESPRESSO, CUP = 967, 968
SIDE = 8  # pixels of the tiny nets' pictures
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)


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
    """A picture of the tiny nets' size, every pixel another."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def pixels_of(picture: Image.Image) -> Tensor:
    """(3, h, w) between 0 and 1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).double() / 255


def normalised(pixels: Tensor, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Tensor:
    mean_, std_ = (torch.tensor(numbers, dtype=torch.double).view(3, 1, 1) for numbers in (mean, std))
    return (pixels - mean_) / std_


Lend = Callable[..., nn.Module]


@pytest.fixture
def lend(monkeypatch: pytest.MonkeyPatch) -> Lend:
    """Let a net of the test's own be the trained net "tiny", whose classes are named "0", "1" ..."""

    def as_tiny(
        model: nn.Module,
        classes: int,
        last_features: str = "",
        side: int = SIDE,
        mean: tuple[float, float, float] = MEAN,
        std: tuple[float, float, float] = STD,
    ) -> nn.Module:
        tiny = Checkpoint(
            name="tiny",
            title="Tiny",
            network="tiny",
            trained_on="nothing",
            classes=tuple(map(str, range(classes))),
            preprocessing=Preprocessing(side, side, "bilinear", mean, std),
            published=0.0,
            source="this test",
            licence="none",
            last_features=last_features,
        )
        trained = Trained(tiny, Shared(model), torch.device("cpu"))
        monkeypatch.setitem(REGISTRY, "tiny", tiny)
        monkeypatch.setattr(checkpoints, "load", lambda name, report=None: {"tiny": trained}[name])
        return model

    return as_tiny


def linear(classes: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, classes))


def small_resnet(activation: Literal["relu", "silu"] = "relu") -> nn.Module:
    """A random one in training mode but for a stage, one parameter frozen, and another with an old gradient."""
    torch.manual_seed(0)
    spec = ResNetSpec(block="basic", depths=(1, 1), width=8, stem="cifar", num_classes=10, activation=activation)
    model = build(spec, "cpu")
    model.conv1.weight.requires_grad_(False)
    model.fc.bias.grad = torch.ones(10)
    model.layer1.eval()
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
    model = lend(linear(), 4)
    weight, bias = model[1].weight.detach().double()[2].view(3, SIDE, SIDE), float(model[1].bias.detach()[2])
    x, start = normalised(pixels_of(dots)), normalised(colour.double())
    found = attribute("tiny", dots, "integrated_gradients", 2, steps=2, baseline=baseline)
    np.testing.assert_allclose(found.map, (weight * (x - start)).sum(0), atol=1e-5)
    assert found.logit == pytest.approx(float((weight * x).sum()) + bias, abs=1e-4)
    assert found.expected_sum == pytest.approx(float((weight * (x - start)).sum()), abs=1e-4)
    assert found.delta == pytest.approx(0, abs=1e-4)
    assert found.sum == pytest.approx(float(found.map.sum()), abs=1e-4)


def test_integrated_gradients_of_squares_are_weight_times_the_difference_of_squares(
    lend: Lend, dots: Image.Image
) -> None:
    classifier = linear()
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
    found = attribute(LITE, coffee, "integrated_gradients", CUP, steps=15, baseline=baseline)
    trained = checkpoints.load(LITE)
    # The same floats in the same layout: the gradient jumps at each ReLU6's corners, so that rounding would show.
    x = trained.checkpoint.preprocessing.tensor(found.picture).contiguous(memory_format=torch.channels_last)
    with trained.model.borrow() as model:
        plain = IntegratedGradients(model).attribute(
            x, torch.full_like(x, level), CUP, n_steps=15, method="gausslegendre", internal_batch_size=10
        )
    np.testing.assert_allclose(found.map, plain[0].sum(0).detach(), atol=1e-5)
    assert np.abs(found.map).max() > 0.1


@pytest.mark.parametrize("steps", [7, 10, 25])
def test_cutting_the_path_into_batches_changes_no_map(lend: Lend, dots: Image.Image, steps: int) -> None:
    model = lend(small_resnet("silu"), 10)
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
    assert found.expected_sum == found.logit - bias
    assert float(found.map.sum()) == pytest.approx(found.logit - bias, abs=1e-4)
    assert found.delta == pytest.approx(0, abs=1e-4)


def test_grad_cam_of_a_resnet_of_ours_is_cam_by_cells(lend: Lend, dots: Image.Image) -> None:
    model = lend(small_resnet(), 10, last_features="layer2")
    found = attribute("tiny", dots, "grad_cam", 3)
    model.eval()
    x = normalised(pixels_of(dots)).float()[None]
    cam = class_activation_map(model, model.layer2, model.fc, x, 3)
    np.testing.assert_allclose(found.map, cam / (4 * 4), atol=1e-5)
    assert float(found.map.sum()) == pytest.approx(found.logit - float(model.fc.bias.detach()[3]), abs=1e-4)


OWN = ("cifar_resnet20", "cifar_resnet56", "cifar_plain20", "cifar_plain56")


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
    assert float(found.map.sum()) == pytest.approx(found.logit - bias, abs=1e-4)


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


def test_more_steps_bring_the_convergence_delta_nearer_to_zero(coffee: Image.Image) -> None:
    few, many = (attribute(LITE, coffee, "integrated_gradients", steps=steps).delta for steps in (10, 200))
    assert abs(many) < abs(few) / 10


# What is asked, and what is recorded


def test_without_a_target_the_predicted_class_is_explained(coffee: Image.Image, chelsea: Image.Image) -> None:
    for picture in (coffee, chelsea):
        best, found = predict(LITE, picture).iloc[0], attribute(LITE, picture)
        assert (found.target, found.target_name) == (best.class_index, best.class_name)
        assert found.logit == pytest.approx(best.logit, abs=1e-5)


def test_a_row_of_the_prediction_can_be_the_target(lend: Lend, dots: Image.Image) -> None:
    lend(linear(), 4)
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
    assert str(caught.value) == "method (='Grad-CAM') must be one of grad_cam, integrated_gradients."
    with pytest.raises(Refusal) as caught:
        attribute(LITE, coffee, "integrated_gradients", baseline="grey")  # type: ignore[arg-type]
    assert str(caught.value) == "baseline (='grey') must be one of black, mean, white."
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
    assert found.expected_sum_is == "the logit less that of a mean-coloured picture"
    assert found.device == "CPU"
    assert found.map.dtype == np.float32
    assert found.map.shape == found.picture.size == (224, 224)
    assert 0 < found.seconds < 60
    expected = REGISTRY[LITE].preprocessing.crop_of(coffee)
    assert found.picture.tobytes() == expected.tobytes()


def test_a_record_of_grad_cam_names_its_layer(coffee: Image.Image) -> None:
    found = attribute(LITE, coffee)
    assert (found.method, found.settings) == ("grad_cam", {"layer": "bn2", "captum": captum.__version__})
    assert found.expected_sum_is == "the logit less the class's bias"


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
    model = lend(linear(), 4)
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


@pytest.mark.parametrize(("steps", "passes"), [(60, 6), (55, 6), (10, 1), (2, 1)])
def test_progress_tells_the_steps_done_and_never_falls(lend: Lend, dots: Image.Image, steps: int, passes: int) -> None:
    lend(linear(), 4)
    told: list[tuple[float, str]] = []
    attribute(
        "tiny", dots, "integrated_gradients", steps=steps, report=lambda fraction, text: told.append((fraction, text))
    )
    assert told == [(done / passes, f"Integrated Gradients, step {10 * done} of {steps}") for done in range(passes)]
    assert steps < 60 or told[-1][0] > 0.8


def same(one: Attribution, other: Attribution) -> bool:
    return np.array_equal(one.map, other.map) and (one.logit, one.delta) == (other.logit, other.delta)


OPTIONS = [("grad_cam", 0), ("integrated_gradients", 0), ("integrated_gradients", 2)]


@pytest.mark.parametrize(("method", "reports_before"), OPTIONS)
def test_work_that_is_stopped_leaves_the_net_as_it_was(
    lend: Lend, dots: Image.Image, method: str, reports_before: int
) -> None:
    model = lend(small_resnet(), 10, last_features="layer2")
    before = state(model)
    assert before["hooks"] == []
    first = attribute("tiny", dots, method)
    assert state(model) == before
    told: list[float] = []

    def stop(fraction: float, text: str) -> None:
        told.append(fraction)
        if len(told) > reports_before:
            raise Stopped

    with pytest.raises(Stopped):
        attribute("tiny", dots, method, report=stop)
    assert len(told) == reports_before + 1
    assert state(model) == before
    assert same(attribute("tiny", dots, method), first)


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_exception_inside_the_net_leaves_it_as_it_was(
    lend: Lend, dots: Image.Image, method: str, direction: str
) -> None:
    model = lend(small_resnet(), 10, last_features="layer2")
    first, before = attribute("tiny", dots, method), state(model)
    classify = model.fc.forward

    def fail(*_: object) -> None:
        raise Stopped

    def failing(x: Tensor) -> Tensor:
        logits = classify(x)
        if torch.is_grad_enabled():  # not at the logit, but inside of Captum
            if direction == "forward":
                fail()
            logits.register_hook(fail)
        return logits

    model.fc.forward = failing
    with pytest.raises(Stopped):
        attribute("tiny", dots, method)
    del model.fc.forward
    assert state(model) == before
    assert same(attribute("tiny", dots, method), first)


def test_the_trained_net_is_left_frozen_without_hooks_or_gradients(coffee: Image.Image) -> None:
    model = checkpoints.load(LITE).model._model
    before = state(model)
    assert (before["hooks"], before["grad"], any(before["training"] + before["requires_grad"])) == ([], {}, False)
    for method in ("grad_cam", "integrated_gradients"):
        attribute(LITE, coffee, method, steps=2)
    predict(LITE, coffee)
    assert state(model) == before


# Many sessions at once


class Alone(nn.Module):
    """Counts how many are inside of it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = linear()
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
    with ThreadPoolExecutor(4) as threads:
        explained = [threads.submit(attribute, "tiny", dots, "integrated_gradients", steps=20) for _ in range(4)]
        predicted = [threads.submit(predict, "tiny", dots) for _ in range(8)]
    assert all(same(job.result(), explained[0].result()) for job in explained)
    assert all(job.result().equals(predicted[0].result()) for job in predicted)
    assert (model.calls, model.most) == (4 * (1 + 2 + 1) + 8, 1)


def test_two_threads_get_what_each_would_get_alone(coffee: Image.Image, chelsea: Image.Image) -> None:
    def results(picture: Image.Image, method: str) -> list[NDArray[Any]]:
        maps = [attribute(LITE, picture, method, steps=2).map for _ in range(3)]
        return [*maps, predict(LITE, picture).logit.to_numpy()]

    work = [(coffee, "grad_cam"), (chelsea, "grad_cam"), (chelsea, "integrated_gradients")]
    alone = [results(*arguments) for arguments in work]
    start = threading.Barrier(2)

    def together(index: int) -> list[NDArray[Any]]:
        torch.set_num_threads(1)
        start.wait(20)
        return results(*work[index])

    for pair in ((0, 1), (0, 2)):
        with ThreadPoolExecutor(2) as threads:
            for index, found in zip(pair, threads.map(together, pair), strict=True):
                for mine, expected in zip(found, alone[index], strict=True):
                    np.testing.assert_allclose(mine, expected, atol=1e-5)


# A GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_a_gpu_finds_the_maps_that_the_cpu_finds(
    coffee: Image.Image, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = attribute(LITE, coffee, method, ESPRESSO, steps=20)
    monkeypatch.setattr(checkpoints, "best_device", lambda: torch.device("cuda"))
    on_gpu = attribute(LITE, coffee, method, ESPRESSO, steps=20)
    assert on_gpu.device == torch.cuda.get_device_name()
    np.testing.assert_allclose(on_gpu.map, on_cpu.map, atol=1e-3)
