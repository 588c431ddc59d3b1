"""Squares in a picture: which units see them, by hand and by autograd; and the same logits as of whole passes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from explorer.attribution.methods.folding import folded
from explorer.attribution.methods.nearby import Nearby, Sight, _layers
from explorer.attribution.methods.parting import until
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.spec import PRESETS

SIDE = 64


@pytest.fixture(autouse=True)
def seeded_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE)


class Counted(nn.Module):
    """The network; what its convolutions have computed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.macs = network, 0
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(self._add)

    def _add(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.macs += output.numel() * module.weight[0].numel()  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x)
        return found


def test_how_far_units_see_by_hand() -> None:
    # 3 x 3 with stride 2 and padding 1, then 3 x 3: unit i sees 2i - 3 to 2i + 3, of cells i - 2 to i + 1
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).requires_grad_(False)
    by_name = {layer.name: layer for layer in _layers(network, torch.zeros(1, 3, 16, 24))}
    assert by_name["0"].sights == (Sight(2, 8, back=1, ahead=0), Sight(2, 12, back=1, ahead=0))
    assert by_name["1"].sights == (Sight(2, 8, back=2, ahead=1), Sight(2, 12, back=2, ahead=1))
    assert set(by_name) == {"0", "1"}  # behind the pool each sees all
    macs = [8 * 12 * 4 * 27, 8 * 12 * 5 * 36]
    values = [8 * 12 * 4, 8 * 12 * 5, 5, 5]
    whole = sum(macs) + 50 * sum(values)
    assert by_name["0"].done == pytest.approx((macs[0] + 50 * values[0]) / whole)
    assert by_name["1"].copied == pytest.approx(2 * 50 * values[1] / whole)


@pytest.mark.parametrize("name", ["cifar_resnet20", "tf_efficientnet_lite0", "vgg11"])
def test_units_see_no_further_than_autograd_says(name: str, x: Tensor) -> None:
    network = zoo.initialised(name, 0).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.5, 1)  # so that most ReLUs are open
    layers = _layers(network, x)
    assert len(layers) > 5
    for layer in layers[:: len(layers) // 4]:
        rows, _ = layer.sights
        unit = rows.units // 2
        image = x.clone().requires_grad_()
        maps = until(network, layer.name, image)
        (gradient,) = torch.autograd.grad(maps[:, :, unit].abs().sum(), image)
        seen = gradient[0].abs().amax((0, 2)).nonzero().flatten()
        first, behind = int(seen[0]) // rows.stride, int(seen[-1]) // rows.stride + 1
        assert first >= max(0, unit - rows.back)
        assert behind <= min(rows.units, unit + 1 + rows.ahead)
        # ... and as far: what is dead in a random network may cost one cell
        assert first <= max(0, unit - rows.back) + 1
        assert behind >= min(rows.units, unit + 1 + rows.ahead) - 1


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("resnet18", 0.1),
        ("resnet50", 0.05),
        ("googlenet", 0.1),
        ("vgg11", 0.3),
        ("tf_efficientnet_lite0", 0.1),
        ("seresnet50", 0.0),  # its blocks see the whole picture from the first on
    ],
)
def test_logits_are_those_of_whole_passes_and_less_is_computed(name: str, spared: float) -> None:
    side = 128
    network = zoo.initialised(name, 0).eval().requires_grad_(False)
    x = torch.randn(1, 3, side, side)
    images = x.repeat(6, 1, 1, 1)
    images[0, :, :9, :9] = images[1, :, 60:75, 50:60] = images[2, :, -1:, -16:] = 0
    images[3, :, 100:115, :5] = images[4, :, 3:4, 30:45] = 2  # the last is the picture itself
    counted = Counted(network)
    expected = counted(images)
    change = float((expected - expected[5]).abs().max())
    plain, counted.macs = counted.macs, 0
    nearby = Nearby(counted, x)
    with folded(counted):
        nearby(images)
        counted.macs = 0
        found = nearby(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * change + 1e-5 * float(expected.abs().max()))
    if spared:
        assert counted.macs < (1 - spared) * plain
    else:
        assert counted.macs == plain


def test_a_square_that_is_large_makes_no_patch(x: Tensor) -> None:
    counted = Counted(build(PRESETS["cifar_resnet20"], "cpu").eval().requires_grad_(False))
    images = x.repeat(2, 1, 1, 1)
    images[0, :, 4:8, 4:8] = 0
    images[1, :, :, 4:60] = 0
    expected, plain = counted(images), counted.macs
    nearby = Nearby(counted, x)
    nearby(images)
    counted.macs = 0
    torch.testing.assert_close(nearby(images), expected, rtol=0, atol=0)
    assert counted.macs == plain


class Gap(nn.Module):
    """What is not a number gets lost on the way, so that units seem to see less than they do."""

    def forward(self, x: Tensor) -> Tensor:
        beside = torch.roll(x, 9, 2)
        return torch.where(beside.isnan(), x, x + beside)


def test_a_layer_that_does_not_agree_is_not_used(x: Tensor) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Gap(), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(),
        nn.Linear(8 * SIDE * SIDE, 5),
    ).eval().requires_grad_(False)  # fmt: skip
    images = x.repeat(3, 1, 1, 1)
    for row, image in enumerate(images):
        image[:, 20 * row : 20 * row + 5, 20:25] = 3
    torch.testing.assert_close(Nearby(network, x)(images), network(images), rtol=1e-5, atol=1e-6)


class Marked(nn.Sequential):
    """As a network that adds where a pixel is: a patch is told another place."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2]).view(-1, 1) / x.shape[2]
        return super().forward(x * rows)


def test_places_in_the_picture_count(x: Tensor) -> None:
    network = Marked(
        nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.eval().requires_grad_(False)
    images = x.repeat(2, 1, 1, 1)
    images[0, :, 40:45, 20:25] = 3
    torch.testing.assert_close(Nearby(network, x)(images), network(images), rtol=1e-5, atol=1e-6)
