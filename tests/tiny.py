"""Trained nets of the tests' own: small ones whose maps are known."""

import torch
from PIL import Image
from torch import nn

from explorer.models.checkpoints import Checkpoint, Trained
from explorer.models.observe import Shared, seeded
from explorer.models.preprocessing import Preprocessing
from explorer.models.resnet import ResNet, build
from explorer.spec import Activation, ResNetSpec

SIDE = 8  # pixels
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)


def trained(
    model: nn.Module,
    classes: int,
    last_features: str = "",
    side: int = SIDE,
    pooled: bool = True,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
) -> Trained:
    """The net "tiny", whose classes are named "0", "1" ..."""
    checkpoint = Checkpoint(
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
        pooled=pooled,
    )
    return Trained(checkpoint, Shared(model.eval()), torch.device("cpu"))


def dots(side: int = SIDE, seed: int = 0) -> Image.Image:
    """Every pixel another colour."""
    draw = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 256, (side, side, 3), generator=draw).byte().numpy())


def linear(classes: int = 4, side: int = SIDE) -> nn.Sequential:
    """Logits linear in the picture."""
    with seeded(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes))


def resnet(activation: Activation = "relu", **more: object) -> ResNet:
    """One of ours with two blocks, ten classes and random weights; its batch norms have seen noise."""
    given = {"block": "basic", "depths": (1, 1), "width": 8, "stem": "cifar", "num_classes": 10} | more
    with seeded(0):
        model = build(ResNetSpec(activation=activation, **given), "cpu")  # type: ignore[arg-type]
        with torch.no_grad():
            for _ in range(5):
                model.train()(torch.randn(16, 3, SIDE, SIDE))
    return model.eval()
