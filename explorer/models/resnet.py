"""ResNetSpec to nn.Module: stem, stages, head."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from explorer.models.blocks import BLOCKS, Block, Gate, Layers, Place
from explorer.spec import ResNetSpec


class ResNet(nn.Module):
    """Stem, stages `layer1` ... `layer5`, global average pool and linear layer, with torchvision's attribute names.

    Where blocks begin with an activation, the stem leaves it to them, and the last stage ends with `final_relu`; where
    they begin with a norm, the same holds for that and `final_bn`.
    """

    def __init__(self, spec: ResNetSpec, device: torch.device | None = None) -> None:
        super().__init__()
        self.spec = spec
        layers = Layers(spec, device)
        self.conv1 = _first_convolution(layers)
        norm_first, relu_first = spec.activation_order == "preact", spec.activation_order in ("preact", "relu_preact")
        self.bn1 = None if norm_first else layers.norm(spec.stem_channels)
        self.relu = None if relu_first else layers.activation()
        self.maxpool = _stem_pool(layers)
        for stage, places in enumerate(stage_places(spec), 1):
            blocks = (BLOCKS[spec.activation_order](layers, place) for place in places)
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        channels = spec.stage_width(len(spec.depths)) * spec.expansion
        self.final_bn = layers.norm(channels) if norm_first else None
        self.final_relu = layers.activation() if relu_first else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(spec.head_dropout) if spec.head_dropout else None
        self.fc = nn.Linear(channels, spec.num_classes, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) to logits (n, num_classes)."""
        x = self.conv1(x)
        for layer in (self.bn1, self.relu, self.maxpool):
            if layer is not None:
                x = layer(x)
        for stage in range(1, len(self.spec.depths) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        for layer in (self.final_bn, self.final_relu, self.avgpool, self.flatten, self.dropout):
            if layer is not None:
                x = layer(x)
        return self.fc(x)


def build(spec: ResNetSpec, device: torch.device | str | None = None) -> ResNet:
    """The network of a spec, in training mode, with the spec's initial weights.

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


INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_fan_out": partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    "kaiming_fan_in": partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": partial(nn.init.orthogonal_, gain=2**0.5),  # behind a ReLU half of the squares is left
}


@torch.no_grad()
def initialise(model: ResNet) -> None:
    """Set all weights anew: convolutions by the spec's `init` and their biases to zero, a gate's to its own start.

    All else as PyTorch does: norms start at one and zero. With "pytorch" all of it is PyTorch's.
    """
    spec = model.spec
    for module in model.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        if isinstance(module, nn.Conv2d) and spec.init != "pytorch":
            INITS[spec.init](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Gate):
            assert module.conv.bias is not None
            nn.init.constant_(module.conv.bias, module.start)
        if isinstance(module, Block) and spec.residual and spec.zero_init_residual:
            for parameter in module.last_layer().parameters():
                nn.init.zeros_(parameter)


def _first_convolution(layers: Layers) -> nn.Module:
    """7x7 of stride 2, 3x3 of stride 1, or three 3x3 with norms and activations between."""
    spec = layers.spec
    if spec.stem == "imagenet":
        return layers.conv(spec.in_channels, spec.stem_channels, 7, stride=2)
    if spec.stem == "cifar":
        return layers.conv(spec.in_channels, spec.stem_channels, 3)
    first, second, last = spec.stem_widths
    return nn.Sequential(
        layers.conv(spec.in_channels, first, 3, stride=2),
        layers.norm(first),
        layers.activation(),
        layers.conv(first, second, 3),
        layers.norm(second),
        layers.activation(),
        layers.conv(second, last, 3),
    )


def _stem_pool(layers: Layers) -> nn.Module | None:
    """The max pool of stride 2, what a blur makes of it, or the 2x2 mean in its place."""
    spec = layers.spec
    if spec.stem == "cifar":
        return None
    if spec.antialias == "none":
        return nn.MaxPool2d(3, 2, padding=1)
    if spec.antialias == "avg":
        return layers.antialias(2)
    return nn.Sequential(nn.MaxPool2d(3, 1, padding=1), layers.antialias(2))


def block_names(spec: ResNetSpec) -> list[str]:
    """The dotted names of the blocks, from the first to the last.

    >>> block_names(ResNetSpec(depths=(2, 1)))
    ['layer1.0', 'layer1.1', 'layer2.0']
    """
    return [f"layer{stage}.{block}" for stage, depth in enumerate(spec.depths, 1) for block in range(depth)]


def stage_places(spec: ResNetSpec) -> Iterator[list[Place]]:
    """The blocks of each stage."""
    c_in, entry_dilation, number = spec.stem_channels, 1, 0
    for stage, (depth, (stride, dilation)) in enumerate(zip(spec.depths, spec.stage_steps(), strict=True), 1):
        width, inner = spec.stage_width(stage), spec.inner_width(stage)
        places = []
        for block in range(depth):
            number += 1
            drop = spec.stochastic_depth * number / sum(spec.depths)  # Huang et al. 2016, section 3
            if block == 0:
                places.append(Place(c_in, width, inner, stride, dilation, entry_dilation, drop))
            else:
                places.append(Place(width * spec.expansion, width, inner, 1, dilation, dilation, drop))
        yield places
        c_in, entry_dilation = width * spec.expansion, dilation
