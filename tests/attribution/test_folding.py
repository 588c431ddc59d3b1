"""Folded batch norm: the same logits, fewer norms, and a network that is as it was."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.attribution.methods.folding import _pairs, folded
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec


@pytest.fixture(autouse=True, scope="module")
def one_cpu_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lived(network: nn.Module) -> nn.Module:
    """With statistics as training leaves them, not 0 and 1."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1)):
                nn.init.uniform_(getattr(module, tensor), low, high)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval().requires_grad_(False)


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "side"), [("cifar_resnet20", 32), ("tf_efficientnet_lite0", 64), ("mobilenet_v2", 64)]
)
def test_each_convolution_takes_its_norm_and_the_logits_stay(name: str, side: int) -> None:
    network = lived(zoo.initialised(name, 0))
    assert len(_pairs(network)) == convolutions(network)
    x = torch.randn(2, 3, side, side)
    expected = network(x)
    with folded(network):
        found = network(x)
        assert not torch.equal(found, expected)  # rounded otherwise: something was done
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(network(x), expected)


def everything(network: nn.Module) -> list[tuple[Any, ...]]:
    return [
        (sorted(vars(module)), [id(each) for each in module._parameters.values()], len(module._forward_hooks))
        for module in network.modules()
    ]


def test_after_an_exception_the_network_is_as_it_was() -> None:
    network = lived(build(PRESETS["cifar_resnet20"], "cpu"))
    network.fc.register_forward_hook(stop)
    before = everything(network)
    with pytest.raises(KeyError), folded(network):
        network(torch.randn(1, 3, 32, 32))
    assert everything(network) == before


def stop(*_: object) -> None:
    raise KeyError


def test_weights_that_were_drawn_anew_count() -> None:
    network = lived(build(PRESETS["cifar_resnet20"], "cpu"))
    x = torch.randn(1, 3, 32, 32)
    with folded(network):
        before = network(x)
    network.conv1.reset_parameters()
    network.bn1.running_mean += 1
    expected = network(x)
    with folded(network):
        found = network(x)
    assert not torch.allclose(found, before, atol=1e-2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


class Odd(nn.Module):
    """Norms that do not belong to one convolution alone."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1)
        self.seen = nn.Conv2d(3, 3, 1)
        self.bare = nn.Conv2d(3, 3, 1)
        self.a, self.b, self.c = (nn.BatchNorm2d(3) for _ in range(3))
        self.live = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.twice(self.a(self.twice(x))))
        y = self.seen(x)
        return self.live(self.bare(self.c(y) + y)).mean((2, 3))


def test_a_norm_that_is_not_of_one_convolution_alone_stays() -> None:
    torch.manual_seed(0)
    network = Odd().eval()
    assert _pairs(network) == []
    x = torch.randn(2, 3, 8, 8)
    expected = network(x)
    with folded(network):
        assert torch.equal(network(x), expected)


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_stays_as_it_is() -> None:
    network = Branching().eval()
    before = everything(network)
    with folded(network):
        assert everything(network) == before


def test_standardised_weights_are_not_scaled() -> None:
    spec = ResNetSpec(block="basic", depths=(1,), width=8, stem="cifar", num_classes=10)
    network = build(spec, "cpu").eval()
    plain = len(_pairs(network))

    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    network.conv1.__class__ = Standardised
    assert len(_pairs(network)) == plain - 1
