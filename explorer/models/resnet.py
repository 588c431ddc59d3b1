"""ResNetSpec to nn.Module: stem, stages, head."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from explorer.models.blocks import Block, Layers, Place, PostActivationBlock, PreActivationBlock
from explorer.spec import ResNetSpec


class ResNet(nn.Module):
    """Stem, stages `layer1` ... `layer5`, global average pool and linear layer, with torchvision's attribute names.

    A pre-activation net has no norm in its stem and ends its last stage with `final_bn` and `final_relu`.
    """

    def __init__(self, spec: ResNetSpec, device: torch.device | None = None) -> None:
        super().__init__()
        self.spec = spec
        layers = Layers(spec, device)
        self.conv1 = _first_convolution(layers)
        self.bn1 = None if spec.preactivation else layers.norm(spec.width)
        self.relu = None if spec.preactivation else layers.activation()
        self.maxpool = None if spec.stem == "cifar" else nn.MaxPool2d(3, 2, padding=1)
        for stage, places in enumerate(_places(spec), 1):
            kind = PreActivationBlock if spec.preactivation else PostActivationBlock
            self.add_module(f"layer{stage}", nn.Sequential(*(kind(layers, place) for place in places)))
        channels = spec.stage_width(len(spec.depths)) * spec.expansion
        self.final_bn = layers.norm(channels) if spec.preactivation else None
        self.final_relu = layers.activation() if spec.preactivation else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, spec.num_classes, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) to logits (n, num_classes)."""
        x = self.conv1(x)
        if self.bn1 is not None and self.relu is not None:
            x = self.relu(self.bn1(x))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for stage in range(1, len(self.spec.depths) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        if self.final_bn is not None and self.final_relu is not None:
            x = self.final_relu(self.final_bn(x))
        return self.fc(self.flatten(self.avgpool(x)))


def build(spec: ResNetSpec, device: torch.device | str | None = None) -> ResNet:
    """The network of a spec, in training mode, with He's initial weights (kaiming normal, fan out).

    On the meta device it has shapes and no weights: ResNet-152 then takes a few MB. Where the architecture is
    torchvision's, `load_state_dict` takes its state_dict strictly.

    >>> sum(p.numel() for p in build(ResNetSpec(), "meta").parameters())
    25557032
    """
    device = torch.get_default_device() if device is None else torch.device(device)
    model = ResNet(spec, torch.device("meta"))
    if device.type == "meta":
        return model
    model.to_empty(device=device)
    initialise(model)
    return model


@torch.no_grad()
def initialise(model: ResNet) -> None:
    """Set all weights as torchvision does: kaiming normal for convolutions, one and zero for norms."""
    for module in model.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if model.spec.residual and model.spec.zero_init_residual:
        for module in model.modules():
            if isinstance(module, Block):
                last = module.last_layer()
                assert isinstance(last.weight, Tensor)
                nn.init.zeros_(last.weight)


def _first_convolution(layers: Layers) -> nn.Module:
    """7x7 of stride 2, 3x3 of stride 1, or ResNet-C's three 3x3 whose first two have half the width."""
    spec = layers.spec
    if spec.stem == "imagenet":
        return layers.conv(spec.in_channels, spec.width, 7, stride=2)
    if spec.stem == "cifar":
        return layers.conv(spec.in_channels, spec.width, 3)
    half = spec.width // 2
    return nn.Sequential(
        layers.conv(spec.in_channels, half, 3, stride=2),
        layers.norm(half),
        layers.activation(),
        layers.conv(half, half, 3),
        layers.norm(half),
        layers.activation(),
        layers.conv(half, spec.width, 3),
    )


def _places(spec: ResNetSpec) -> Iterator[list[Place]]:
    """The blocks of each stage; once `output_stride` is reached a stage dilates instead of striding."""
    c_in, reached, dilation = spec.width, spec.stem_stride, 1
    for stage, depth in enumerate(spec.depths, 1):
        stride, entry_dilation = (1 if stage == 1 else 2), dilation
        if stride == 2 and reached >= spec.output_stride:
            stride, dilation = 1, dilation * 2
        reached *= stride
        width, inner = spec.stage_width(stage), spec.inner_width(stage)
        c_out = width * spec.expansion
        first = Place(c_in, width, inner, stride, dilation, entry_dilation)
        yield [first] + [Place(c_out, width, inner, 1, dilation, dilation)] * (depth - 1)
        c_in = c_out
