"""A network in two parts: by hand where it may be cut, and the same numbers as of the whole."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.attribution.methods.parting import Rest, gates, until
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.spec import ResNetSpec

SIDE = 32


@pytest.fixture(autouse=True)
def seeded_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def picture(count: int = 1) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE)


def resnet(**more: object) -> nn.Module:
    given = {"block": "basic", "depths": (1, 2), "width": 8, "stem": "cifar", "num_classes": 10} | more
    return build(ResNetSpec(**given), "cpu").eval().requires_grad_(False)  # type: ignore[arg-type]


class Twice(nn.Module):
    """The first layer is called twice; the last sees both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(self.first(x))).mean((2, 3))


class Beside(nn.Module):
    """A convolution, and a way past it by a function."""

    def __init__(self, past: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self._past = past

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)) + self._past(x)).mean((2, 3))


def test_a_network_can_be_cut_where_no_shortcut_leads_past() -> None:
    found = gates(resnet(), picture())
    # Of each block its shortcut leads past all but the sum and what follows; the second stage's own has a convolution
    inside = {name for name in found if name.startswith("layer")}
    assert {name.split(".")[0] for name in found} == {
        "conv1",
        "bn1",
        "relu",
        "layer1",
        "layer2",
        "avgpool",
        "flatten",
        "fc",
    }
    assert {"layer1", "layer1.0", "layer2", "layer2.0", "layer2.1"} <= inside
    assert not {name for name in inside if "conv" in name or "bn" in name or "downsample" in name}


def test_it_can_be_cut_nowhere_that_is_called_twice_or_has_a_way_beside_it() -> None:
    assert gates(Twice(), picture()) == ["last"]
    assert gates(Beside(torch.sin), picture()) == ["second"]
    assert gates(Beside(torch.zeros_like), picture()) == ["first", "second"]
    assert gates(nn.Sequential(nn.Conv2d(4, 3, 1)), picture()) == []  # it fails
    network, x = Beside(torch.sin), picture()
    with torch.inference_mode():
        assert gates(network, x) == ["second"]


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121", "mobilenet_v2", "vgg11"])
def test_both_parts_together_are_the_network_wherever_it_may_be_cut(name: str) -> None:
    network = zoo.initialised(name, 0).eval().requires_grad_(False)
    x = torch.randn(2, 3, 64, 64)
    expected = network(x)
    assert not torch.equal(expected[0], expected[1])
    found = gates(network, x[:1])
    assert len(found) > 4
    for gate in found[:: len(found) // 4]:
        torch.testing.assert_close(Rest(network, gate, x[:1])(until(network, gate, x)), expected, rtol=0, atol=0)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_way_past_the_cut_gives_no_number() -> None:
    network = Beside(torch.sin)
    x = picture()
    assert Rest(network, "first", x)(until(network, "first", x)).isnan().all()
    with pytest.raises(RuntimeError, match="never"):
        until(Unused(), "never", x)


class Unused(nn.Module):
    """One module that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_hooks_come_off_after_an_exception() -> None:
    network = resnet()
    x = picture()
    with pytest.raises(RuntimeError):
        until(network, "layer1", x[:, :2])  # two channels
    with pytest.raises(RuntimeError):
        Rest(network, "layer1", x)(torch.zeros(1, 3, 8, 8))  # eight would be right
    assert not any(module._forward_hooks for module in network.modules())
