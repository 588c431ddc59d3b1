"""A rewritten network computes the same, and what explains ReLUs is right on it."""

import gc
import weakref

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.models.observe import seeded
from explorer.models.ready import NotReady, ready
from explorer.models.resnet import build
from explorer.spec import PRESETS

FOREIGN = ("resnet18", "resnet50", "googlenet", "mobilenet_v2", "squeezenet1_1", "densenet121", "vgg11_bn", "alexnet")


def network(name: str) -> nn.Module:
    with seeded(0):
        given = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        made = torchvision.models.get_model(name, weights=None, num_classes=10, **given)
    return made.eval()


def pictures(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def relus(model: nn.Module) -> list[nn.ReLU]:
    return [module for module in model.modules() if isinstance(module, nn.ReLU)]


def test_ours_is_ready_as_it_is() -> None:
    model = build(PRESETS["cifar_resnet20"], "cpu")
    assert ready(model, torch.zeros(1, 3, 32, 32)) is model


@pytest.mark.parametrize("name", FOREIGN)
def test_it_computes_the_same_with_the_same_weights_and_calls_no_relu_twice(name: str) -> None:
    model = network(name)
    made = ready(model, pictures())
    with torch.no_grad():
        torch.testing.assert_close(made(pictures()), model(pictures()), rtol=1e-4, atol=1e-5)
    ours = {parameter.data_ptr() for parameter in made.parameters()}
    assert ours <= {parameter.data_ptr() for parameter in model.parameters()}, "weights are not copied"
    calls: dict[int, int] = {}
    for relu in relus(made):
        relu.register_forward_hook(lambda module, *_: calls.update({id(module): calls.get(id(module), 0) + 1}))
    with torch.no_grad():
        made(pictures())
    assert calls
    assert set(calls.values()) == {1}
    assert not any(getattr(module, "inplace", False) for module in made.modules() if id(module) in calls)


class Ways(nn.Module):
    """Everything that is written over, and ReLUs of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.relu, self.silu, self.clip = nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.Hardtanh(0.0, 2.0, True)
        self.both = nn.Hardtanh(-1.0, 1.0, inplace=True)
        self.scale = nn.Parameter(torch.tensor([1.5]))

    def forward(self, x: Tensor) -> Tensor:
        one = self.conv(x)
        two = one + 0
        two += self.relu(self.conv(x))
        two *= self.scale
        two -= self.silu(one - 1)
        two = F.relu(two, inplace=True) + self.both(self.clip(two + 0)) + F.relu6(input=two) + (two - 1).relu_()
        return self.relu(two).mean((2, 3))


def test_whatever_is_written_over_is_kept_apart_and_computes_the_same() -> None:
    with seeded(0):
        model = Ways().eval()
    images = pictures(8)
    with torch.no_grad():
        expected = model(images.clone())
        made = ready(model, images)
        torch.testing.assert_close(made(images), expected)
        kinds = [type(module).__name__ for module in made.children()]
    assert kinds.count("ReLU") == 4
    assert kinds.count("ClippedReLU") == 2
    assert [each.inplace for each in made.modules() if isinstance(each, nn.SiLU | nn.Hardtanh)] == [False, False]
    assert (model.relu.inplace, model.silu.inplace) == (True, True)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Moody(nn.Module):
    """Another answer to what it is traced on than to pictures: a size that was looked at once."""

    def forward(self, x: Tensor) -> Tensor:
        seen.append(x)
        return x.mean((2, 3)) * len(seen)


seen: list[object] = []


def test_one_that_cannot_be_traced_or_computes_something_else_is_refused() -> None:
    with pytest.raises(NotReady, match="Branching cannot be traced"):
        ready(Branching(), pictures(4))
    with pytest.raises(NotReady, match="Moody without shared ReLUs computes something else: its logits differ by "):
        ready(Moody(), pictures(4))


def test_it_is_made_once_goes_with_the_network_and_has_no_hooks_of_others() -> None:
    model = Ways().eval()
    made = ready(model, pictures(4))
    own = next(module for module in made.children() if isinstance(module, nn.ReLU))
    own.register_forward_hook(lambda *_: None)
    own.input = torch.zeros(1)
    made.register_forward_hook(lambda *_: None)
    model.conv.theirs = 1
    assert ready(model, pictures(4)) is made
    assert not own._forward_hooks
    assert not made._forward_hooks
    assert not hasattr(own, "input")
    assert model.conv.theirs == 1
    gone = weakref.ref(model)
    del model, made, own
    gc.collect()
    assert gone() is None
