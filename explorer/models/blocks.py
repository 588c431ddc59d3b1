"""The parts of a residual network, each made as its paper draws it and ready for attribution.

Ready means: every activation is a module of its own, used once and not in place; the sum is an `Add`; and the input of
an activation is never the shortcut too. None of this adds a parameter, so torchvision's state_dicts load.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.spec import Norm, ResNetSpec

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class Conv2d(nn.Conv2d):
    """PyTorch's convolution, but on the meta device it does not go through the motions of setting its weights.

    That takes longer than all the rest of its construction.
    """

    def reset_parameters(self) -> None:
        """Set weight and bias as PyTorch does, where there are any."""
        if not self.weight.is_meta:
            super().reset_parameters()


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's batch norm, in the same way."""

    def reset_parameters(self) -> None:
        """Set weight, bias and statistics as PyTorch does, where there are any."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Add(nn.Module):
    """F(x) + shortcut(x): two tensors of one shape in, their sum out."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """Sum of two (n, c, h, w) tensors."""
        return branch + shortcut


class NoNorm(nn.Module):
    """Stands where a norm would and changes nothing, but hands on a new tensor.

    In a pre-activation block the input of the first activation is the shortcut too; Captum's hooks on that activation
    would change the gradient of both if they were one tensor.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The input, (n, c, h, w), under another name."""
        return x.view_as(x)


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that are missing (He et al. 2015, section 3.3)."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c + extra_channels, ceil(h / stride), ceil(w / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """Settings for `print(model)`."""
        return f"stride={self.stride}, extra_channels={self.extra_channels}"


class SqueezeExcite(nn.Module):
    """x * sigmoid(fc2(relu(fc1(mean(x))))) with a sixteenth of the channels inside (Hu et al. 2017, figure 3).

    The inner width is rounded to a multiple of 8, as in timm, whose parameter count this has.
    """

    def __init__(self, channels: int, device: torch.device | None) -> None:
        super().__init__()
        reduced = max(8, (channels // 16 + 4) // 8 * 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, reduced, 1, device=device)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(reduced, channels, 1, device=device)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape, each channel weighed between 0 and 1."""
        return x * self.gate(self.fc2(self.relu(self.fc1(self.pool(x)))))


def group_count(channels: int) -> int:
    """Groups of a group norm: the largest power of two up to 32 that divides the channels into two or more a group.

    One channel a group would be instance norm, which erases a 1x1 map.

    >>> group_count(64), group_count(16), group_count(48), group_count(1)
    (32, 8, 16, 1)
    """
    return next((groups for groups in (32, 16, 8, 4, 2) if channels % groups == 0 and channels > groups), 1)


@dataclass(frozen=True)
class Layers:
    """Makes the layers that a spec asks for, on one device."""

    spec: ResNetSpec
    device: torch.device | None = None

    def conv(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        """A convolution padded to keep the size at stride 1; with a bias only where no norm follows it in the net."""
        padding = dilation * (kernel // 2)
        bias = self.spec.norm == "none"
        return Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias, device=self.device)

    def norm(self, channels: int) -> nn.Module:
        """The spec's normalisation over (n, channels, h, w)."""
        kind: Norm = self.spec.norm
        if kind == "batch":
            return BatchNorm2d(channels, device=self.device)
        if kind == "group":
            return nn.GroupNorm(group_count(channels), channels, device=self.device)
        return NoNorm()

    def activation(self) -> nn.Module:
        """A new non-linearity; one for each use."""
        return ACTIVATIONS[self.spec.activation]()


@dataclass(frozen=True)
class Conv:
    """Plan of one convolution of a main branch."""

    c_in: int
    c_out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Place:
    """Where a block stands: what comes in, how far it strides, and what dilation replaces a stride.

    `entry_dilation` is the dilation of what comes in; it differs from `dilation` in the block whose stride is replaced.
    A convolution before that stride keeps the first, one after it has the second, so that the dilated net computes, at
    every `stride`-th pixel, exactly what the strided one does.
    """

    c_in: int
    width: int
    inner_width: int
    stride: int = 1
    dilation: int = 1
    entry_dilation: int = 1


def basic(spec: ResNetSpec, place: Place) -> list[Conv]:
    """3x3 - 3x3 (He et al. 2015, figure 5 left)."""
    return [
        Conv(place.c_in, place.width, 3, place.stride, place.entry_dilation),
        Conv(place.width, place.width, 3, 1, place.dilation),
    ]


def bottleneck(spec: ResNetSpec, place: Place) -> list[Conv]:
    """1x1 reduces - 3x3 - 1x1 restores (He et al. 2015, figure 5 right); the 3x3 grouped in ResNeXt."""
    inner = place.inner_width
    on_1x1 = spec.stride_on == "1x1"
    dilation = place.dilation if on_1x1 else place.entry_dilation
    return [
        Conv(place.c_in, inner, 1, place.stride if on_1x1 else 1),
        Conv(inner, inner, 3, 1 if on_1x1 else place.stride, dilation, spec.cardinality),
        Conv(inner, place.width * spec.expansion, 1),
    ]


BRANCHES: dict[str, Callable[[ResNetSpec, Place], list[Conv]]] = {"basic": basic, "bottleneck": bottleneck}


class Block(nn.Module):
    """What every block has: n convolutions with a norm and an activation each, attention, shortcut and sum.

    Attributes are torchvision's: conv1, bn1, ..., downsample; activations are relu1, relu2, ... whatever their kind.
    `downsample` is None where the shortcut is the identity, `add` is None in a plain net.
    """

    conv_comes_last: ClassVar[bool]

    def __init__(self, layers: Layers, place: Place) -> None:
        super().__init__()
        spec = layers.spec
        plan = BRANCHES[spec.block](spec, place)
        self.length = len(plan)
        for number, conv in enumerate(plan, 1):
            self.add_module(
                f"conv{number}",
                layers.conv(conv.c_in, conv.c_out, conv.kernel, conv.stride, conv.dilation, conv.groups),
            )
            self.add_module(f"bn{number}", layers.norm(conv.c_in if spec.preactivation else conv.c_out))
            self.add_module(f"relu{number}", layers.activation())
        c_out = plan[-1].c_out
        self.se = SqueezeExcite(c_out, layers.device) if spec.attention == "se" else None
        self.add = Add() if spec.residual else None
        self.downsample = shortcut(layers, place, c_out) if spec.residual else None

    def activate(self, number: int, x: Tensor) -> Tensor:
        """relu(bn(x)), the n-th of each."""
        return self.get_submodule(f"relu{number}")(self.get_submodule(f"bn{number}")(x))

    def last_layer(self) -> nn.Module:
        """The layer at the end of the main branch that zero-init sets to zero: its norm, or its convolution."""
        norm = self.get_submodule(f"bn{self.length}")
        return self.get_submodule(f"conv{self.length}") if self.conv_comes_last or isinstance(norm, NoNorm) else norm


class PostActivationBlock(Block):
    """y = relu(F(x) + shortcut(x)), F = conv - norm - relu - ... - conv - norm (He et al. 2015, equation 1)."""

    conv_comes_last = False

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        out = x
        for number in range(1, self.length + 1):
            out = self.get_submodule(f"conv{number}")(out)
            out = self.activate(number, out) if number < self.length else self.get_submodule(f"bn{number}")(out)
        if self.se is not None:
            out = self.se(out)
        if self.add is not None:
            out = self.add(out, x if self.downsample is None else self.downsample(x))
        return self.get_submodule(f"relu{self.length}")(out)


class PreActivationBlock(Block):
    """y = F(x) + shortcut(x), F = norm - relu - conv - ... - norm - relu - conv (He et al. 2016, figure 4e).

    A projection reads the activated input, as in the paper's code; identity and option A read x itself.
    """

    conv_comes_last = True

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        first = out = self.activate(1, x)
        for number in range(1, self.length + 1):
            out = self.get_submodule(f"conv{number}")(out if number == 1 else self.activate(number, out))
        if self.se is not None:
            out = self.se(out)
        if self.add is None:
            return out
        if self.downsample is None:
            return self.add(out, x)
        return self.add(out, self.downsample(x if isinstance(self.downsample, PadShortcut) else first))


def shortcut(layers: Layers, place: Place, c_out: int) -> nn.Module | None:
    """Option A, B or C; None is the identity.

    The projection's parts are numbered as in torchvision (conv, norm) or, with an average pool before, as in timm
    (pool, conv, norm). A pre-activation block norms before its projection, not after.
    """
    spec = layers.spec
    same = place.stride == 1 and place.c_in == c_out
    if spec.shortcut == "A":
        return None if same else PadShortcut(place.stride, c_out - place.c_in)
    if spec.shortcut == "B" and same:
        return None
    parts: list[nn.Module] = []
    stride = place.stride
    if spec.downsample == "avg":
        parts.append(_average(place))
        stride = 1
    parts.append(layers.conv(place.c_in, c_out, 1, stride))
    if not spec.preactivation:
        parts.append(layers.norm(c_out))
    return nn.Sequential(*parts)


def _average(place: Place) -> nn.Module:
    """The 2x2 mean of ResNet-D; of stride 1 where a dilation replaces the stride, as in timm."""
    if place.stride > 1:
        return nn.AvgPool2d(2, place.stride, ceil_mode=True, count_include_pad=False)
    if place.dilation != place.entry_dilation:
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
    return nn.Identity()
