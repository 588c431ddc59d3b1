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


def lived(network: nn.Module) -> nn.Module:
    """With batch norms that have seen pictures: without, what a square changes may get lost on the way."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    network.requires_grad_(False)(torch.randn(4, 3, SIDE, SIDE))
    return network.eval()


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
    network = lived(zoo.initialised(name, 0))
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


class Skip(nn.Sequential):
    """A way past what is in it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Scale(nn.Module):
    """A weight without an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Gap(nn.Module):
    """What is not a number gets lost on the way, so that units seem to see less than they do."""

    def forward(self, x: Tensor) -> Tensor:
        beside = torch.roll(x, 9, 2)
        return torch.where(beside.isnan(), x, x + beside)


class Marked(nn.Module):
    """It counts where in the picture a pixel is: a patch is told another place."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(x.shape[2]).view(-1, 1) / x.shape[2]


class Strict(nn.Module):
    """It takes numbers alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all()
        return x


ODD = {
    "units seem to see less": lambda: [Gap(), nn.SiLU()],
    "places count": lambda: [Marked(), nn.SiLU()],
    "a map of one size, whatever comes in": lambda: [nn.ReLU(), nn.AdaptiveAvgPool2d(8)],
    "blocks of two pixels, there and back": lambda: [nn.PixelUnshuffle(2), nn.Conv2d(32, 32, 1), nn.PixelShuffle(2)],
    "an hourglass": lambda: [Skip(nn.MaxPool2d(4), nn.Conv2d(8, 8, 3, padding=1), nn.Upsample(scale_factor=4))],
    "a weight without an axis": lambda: [Scale(), nn.ReLU()],
    "numbers alone": lambda: [Strict(), nn.ReLU()],
    "edges go round": lambda: [nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")],
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("first", [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)])
def test_odd_networks_give_what_they_give_as_a_whole(what: str, first: nn.Module, x: Tensor) -> None:
    last = [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    network = nn.Sequential(first, *ODD[what](), *last).eval().requires_grad_(False)
    nearby, picture = Nearby(network, x), network(x)
    for side in (1, 2, 3, 5):
        for offset in (0, 1, 2, 3, 18, 41):
            image = x.clone()
            image[:, :, offset : offset + side, 20 + offset : 20 + offset + side] = 3
            expected = network(image)
            change = float((expected - picture).abs().max())
            torch.testing.assert_close(nearby(image), expected, rtol=0, atol=0.01 * change + 1e-6)


def test_a_network_of_functions_alone_is_run_as_a_whole(x: Tensor) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    torch.testing.assert_close(Nearby(Mean(), x)(x + 1), x.mean((2, 3)) + 1)


def test_nothing_is_said_of_weights_to_which_squares_mean_nothing(x: Tensor) -> None:
    layers = [nn.Conv2d(3, 8, 3, padding=1), Marked(), nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)).eval().requires_grad_(False)
    weights = network[-1].weight.clone()
    network[-1].weight.zero_()
    image = x.clone()
    image[:, :, 40:43, 20:23] = 3
    counted = Counted(network)
    nearby = Nearby(counted, x)
    nearby(image)
    counted.macs = 0
    nearby(image)
    assert counted.macs == 64 * 64 * 8 * (27 + 72)  # asked once, and run as a whole
    network[-1].weight.copy_(weights)
    torch.testing.assert_close(Nearby(counted, x)(image), network(image), rtol=1e-6, atol=1e-7)


def test_another_size_is_another_question() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(32), nn.Conv2d(8, 8, 3, padding=1)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_(False)
    for side in (32, 64):  # the pool does nothing to the first
        x = torch.randn(1, 3, side, side)
        image = x.clone()
        image[:, :, 9:12, 9:12] = 3
        torch.testing.assert_close(Nearby(network, x)(image), network(image), rtol=1e-5, atol=1e-7)
