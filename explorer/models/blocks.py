"""The parts of a residual network, each made as its paper draws it and ready for attribution.

Ready means: every activation is a module of its own, used once and not in place; the sum is an `Add`; and the input of
an activation is never the shortcut too. None of this adds a parameter, so torchvision's state_dicts load.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.spec import GATES, ResNetSpec

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
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


class StandardizedConv2d(Conv2d):
    """A convolution whose filters are used with mean 0 and variance 1 (Qiao et al. 2019, arXiv 1903.10520)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h', w')."""
        filters = self.weight.flatten(1)
        centred = filters - filters.mean(1, keepdim=True)
        scale = (centred.square().mean(1, keepdim=True) + 1e-6).rsqrt()  # 1e-6 as in timm
        return self._conv_forward(x, (centred * scale).view_as(self.weight), self.bias)


class SqueezeExcite(nn.Module):
    """x * sigmoid(fc2(relu(fc1(mean(x))))) with a sixteenth of the channels inside (Hu et al. 2017, figure 3).

    The inner width is rounded to a multiple of 8, as in timm, whose parameter count this has.
    """

    def __init__(self, channels: int, device: torch.device | None = None) -> None:
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


class EfficientChannelAttention(nn.Module):
    """x * sigmoid(conv(mean(x))), the convolution along the channels (Wang et al. 2019, arXiv 1910.03151, figure 2).

    It looks at about (log2(channels) + 1) / 2 neighbours, an odd number (section 3.2).
    """

    def __init__(self, channels: int, device: torch.device | None = None) -> None:
        super().__init__()
        reach = int((math.log2(channels) + 1) / 2)
        kernel = max(3, reach + 1 - reach % 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False, device=device)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape, each channel weighed between 0 and 1."""
        means = self.pool(x).flatten(2).transpose(1, 2)  # (n, 1, c)
        return x * self.gate(self.conv(means)).transpose(1, 2).unsqueeze(3)


class ConvolutionalBlockAttention(nn.Module):
    """CBAM: channels weighed by their means and maxima, then pixels by theirs (Woo et al. 2018, arXiv 1807.06521).

    M_c = sigmoid(fc2(relu(fc1(mean))) + fc2(relu(fc1(max)))), M_s = sigmoid(bn(conv7x7([mean; max]))): equations 2 and
    3, the norm as in the authors' code and in timm.
    """

    def __init__(self, channels: int, device: torch.device | None = None) -> None:
        super().__init__()
        reduced = max(1, (channels + 8) // 16)
        self.mean_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(channels, reduced, 1, bias=False, device=device)
        self.relu_mean = nn.ReLU()
        self.relu_max = nn.ReLU()
        self.fc2 = nn.Conv2d(reduced, channels, 1, bias=False, device=device)
        self.channel_gate = nn.Sigmoid()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False, device=device)
        self.bn = BatchNorm2d(1, device=device)
        self.pixel_gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape, each channel and then each pixel weighed between 0 and 1."""
        means = self.fc2(self.relu_mean(self.fc1(self.mean_pool(x))))
        maxima = self.fc2(self.relu_max(self.fc1(self.max_pool(x))))
        x = x * self.channel_gate(means + maxima)
        pixels = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.pixel_gate(self.bn(self.conv(pixels)))


ATTENTIONS: dict[str, Callable[[int, torch.device | None], nn.Module]] = {
    "se": SqueezeExcite,
    "eca": EfficientChannelAttention,
    "cbam": ConvolutionalBlockAttention,
}


class Scale(nn.Module):
    """x times a fixed number (Szegedy et al. 2016, arXiv 1602.07261, section 3.3)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Settings for `print(model)`."""
        return f"{self.factor}"


class LearnedScale(nn.Module):
    """x times a learned number a channel (LayerScale), or one for all of them (SkipInit, channels = 1)."""

    def __init__(self, channels: int, start: float, device: torch.device | None = None) -> None:
        super().__init__()
        self.start = start
        self.gain = nn.Parameter(torch.empty(channels, 1, 1, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the numbers to where they start."""
        nn.init.constant_(self.gain, self.start)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        return x * self.gain

    def extra_repr(self) -> str:
        """Settings for `print(model)`."""
        return f"{len(self.gain)}, {self.start}"


class StochasticDepth(nn.Module):
    """While training: nothing with a chance of p for each image, else x / (1 - p) (Huang et al. 2016, 1603.09382)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape; in eval mode x itself."""
        if not self.training:
            return x
        kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * kept.div_(1 - self.p)

    def extra_repr(self) -> str:
        """Settings for `print(model)`."""
        return f"{self.p}"


class Gate(nn.Module):
    """T = sigmoid(conv(x)) divides between main branch and shortcut (He et al. 2016, 1603.05027, section 3.1).

    Both sides: F T and s (1 - T), the Highway network's (Srivastava et al. 2015, equation 3, exclusive gating in He's
    words). The shortcut's alone: F and s (1 - T).
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, both: bool, start: float, device: torch.device | None = None
    ) -> None:
        super().__init__()
        self.both = both
        self.start = start
        self.conv = nn.Conv2d(c_in, c_out, 1, stride, device=device)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor, branch: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """The block's input, its main branch and its shortcut to the two terms of the sum."""
        share = self.sigmoid(self.conv(x))
        return (branch * share if self.both else branch), shortcut * (1 - share)


def group_count(channels: int, most: int) -> int:
    """Groups of a group norm: the largest power of two up to `most` that leaves two channels or more to a group.

    One channel a group would be instance norm, which erases a 1x1 map.

    >>> group_count(64, 32), group_count(16, 32), group_count(48, 32), group_count(1, 32)
    (32, 8, 16, 1)
    """
    while most > 1 and (channels % most or channels <= most):
        most //= 2
    return most


@dataclass(frozen=True)
class Layers:
    """Makes the layers that a spec asks for, on one device."""

    spec: ResNetSpec
    device: torch.device | None = None

    def conv(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        """A convolution padded to keep the size at stride 1; with a bias only where no norm follows it in the net."""
        kind = StandardizedConv2d if self.spec.weight_standardization else Conv2d
        padding = dilation * (kernel // 2)
        bias = self.spec.norm == "none"
        return kind(c_in, c_out, kernel, stride, padding, dilation, groups, bias, device=self.device)

    def norm(self, channels: int) -> nn.Module:
        """The spec's normalisation over (n, channels, h, w)."""
        if self.spec.norm == "batch":
            return BatchNorm2d(channels, device=self.device)
        if self.spec.norm == "group":
            return nn.GroupNorm(group_count(channels, self.spec.norm_groups), channels, device=self.device)
        return NoNorm()

    def activation(self) -> nn.Module:
        """A new non-linearity; one for each use."""
        return ACTIVATIONS[self.spec.activation]()

    def attention(self, channels: int) -> nn.Module | None:
        """The spec's attention over (n, channels, h, w)."""
        kind = self.spec.attention
        return None if kind == "none" else ATTENTIONS[kind](channels, self.device)

    def antialias(self, stride: int) -> nn.Module:
        """What shrinks in a strided convolution's stead; at stride 1 it blurs only.

        Two 2x2 means, one after the other, are the 3x3 filter 1 2 1 of Zhang 2019.
        """
        if self.spec.antialias == "avg":
            return nn.AvgPool2d(2, stride, ceil_mode=True)
        return nn.Sequential(nn.ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, stride))

    def scale(self, channels: int) -> nn.Module | None:
        """What the main branch is multiplied by."""
        kind, start = self.spec.residual_scale, self.spec.scale_start
        if kind == "constant":
            return Scale(start)
        if kind == "none":
            return None
        return LearnedScale(1, 0.0, self.device) if kind == "skipinit" else LearnedScale(channels, start, self.device)


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
    every `stride`-th pixel, exactly what the strided one does. `drop` is stochastic depth's chance.
    """

    c_in: int
    width: int
    inner_width: int
    stride: int = 1
    dilation: int = 1
    entry_dilation: int = 1
    drop: float = 0.0

    @property
    def shrinks(self) -> bool:
        """Whether the block strides, or dilates in a stride's place."""
        return self.stride > 1 or self.dilation != self.entry_dilation


def basic(spec: ResNetSpec, place: Place) -> list[Conv]:
    """3x3 - 3x3 (He et al. 2015, figure 5 left)."""
    k = spec.kernel_size
    return [
        Conv(place.c_in, place.width, k, place.stride, place.entry_dilation),
        Conv(place.width, place.width, k, 1, place.dilation),
    ]


def bottleneck(spec: ResNetSpec, place: Place) -> list[Conv]:
    """1x1 reduces - 3x3 - 1x1 restores (He et al. 2015, figure 5 right); the 3x3 grouped in ResNeXt."""
    inner, k = place.inner_width, spec.kernel_size
    on_1x1 = spec.stride_on == "1x1"
    dilation = place.dilation if on_1x1 else place.entry_dilation
    return [
        Conv(place.c_in, inner, 1, place.stride if on_1x1 else 1),
        Conv(inner, inner, k, 1 if on_1x1 else place.stride, dilation, spec.cardinality),
        Conv(inner, place.width * spec.expansion, 1),
    ]


BRANCHES: dict[str, Callable[[ResNetSpec, Place], list[Conv]]] = {"basic": basic, "bottleneck": bottleneck}


class Block(nn.Module):
    """What every block has: n convolutions with a norm and an activation each, and how the branch ends in the sum.

    Attributes are torchvision's: conv1, bn1, ..., downsample; activations are relu1, relu2, ... whatever their kind.
    What a net does without is None: `downsample` where the shortcut is the identity, `add` in a plain net.
    """

    def __init__(self, layers: Layers, place: Place) -> None:
        super().__init__()
        spec = layers.spec
        plan = BRANCHES[spec.block](spec, place)
        self.length = len(plan)
        strided = 1 if spec.block == "bottleneck" and spec.stride_on == "3x3" else 0
        self.blurred = strided + 2  # the number of the convolution that the blur stands before
        blurs = spec.antialias != "none" and (place.stride > 1 or (place.shrinks and spec.antialias == "blur"))
        for number, conv in enumerate(plan, 1):
            stride = 1 if blurs else conv.stride
            self.add_module(
                f"conv{number}", layers.conv(conv.c_in, conv.c_out, conv.kernel, stride, conv.dilation, conv.groups)
            )
            self.add_module(f"bn{number}", layers.norm(conv.c_in if spec.activation_order == "preact" else conv.c_out))
            self.add_module(f"relu{number}", layers.activation())
        c_out = plan[-1].c_out
        self.antialias = layers.antialias(place.stride) if blurs else None
        self.dropout = nn.Dropout(spec.block_dropout) if spec.block_dropout else None
        self.se = layers.attention(c_out)
        self.scale = layers.scale(c_out) if spec.residual else None
        self.stochastic_depth = StochasticDepth(place.drop) if spec.residual and place.drop else None
        self.gate: Gate | None = None
        if spec.residual and spec.shortcut in GATES:
            both = spec.shortcut == "highway"
            self.gate = Gate(place.c_in, c_out, place.stride, both, float(spec.gate_bias), layers.device)
        self.add = Add() if spec.residual else None
        self.downsample = shortcut(layers, place, c_out) if spec.residual else None

    def conv(self, number: int, x: Tensor) -> Tensor:
        """The n-th convolution, and what stands before it."""
        if self.antialias is not None and number == self.blurred:
            x = self.antialias(x)
        if self.dropout is not None and number == self.length:
            x = self.dropout(x)
        return self.get_submodule(f"conv{number}")(x)

    def norm(self, number: int, x: Tensor) -> Tensor:
        """The n-th norm."""
        return self.get_submodule(f"bn{number}")(x)

    def relu(self, number: int, x: Tensor) -> Tensor:
        """The n-th activation."""
        return self.get_submodule(f"relu{number}")(x)

    def join(self, x: Tensor, branch: Tensor, activated: Tensor | None = None) -> Tensor:
        """Main branch + shortcut; the branch alone in a plain net.

        Where a block begins with an activation, a projection reads what it gives, as in the paper's code; identity and
        option A read x itself.
        """
        if self.se is not None:
            branch = self.se(branch)
        if self.scale is not None:
            branch = self.scale(branch)
        if self.stochastic_depth is not None:
            branch = self.stochastic_depth(branch)
        if self.add is None:
            return branch
        carried = x
        if self.downsample is not None:
            carried = self.downsample(x if activated is None or isinstance(self.downsample, PadShortcut) else activated)
        if self.gate is not None:
            branch, carried = self.gate(x, branch, carried)
        return self.add(branch, carried)

    def last_layer(self) -> nn.Module:
        """The layer at the end of the main branch that zero-init sets to zero: its norm, or its convolution."""
        norm = self.get_submodule(f"bn{self.length}")
        return self.get_submodule(f"conv{self.length}") if isinstance(norm, NoNorm) else norm


class OriginalBlock(Block):
    """y = relu(F(x) + shortcut(x)), F = conv - norm - relu - ... - conv - norm (He et al. 2015, equation 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        out = x
        for number in range(1, self.length):
            out = self.relu(number, self.norm(number, self.conv(number, out)))
        out = self.norm(self.length, self.conv(self.length, out))
        return self.relu(self.length, self.join(x, out))


class NormAfterAddBlock(Block):
    """y = relu(norm(F(x) + shortcut(x))), F = conv - norm - relu - ... - conv (He et al. 2016, figure 4b)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        out = x
        for number in range(1, self.length):
            out = self.relu(number, self.norm(number, self.conv(number, out)))
        out = self.conv(self.length, out)
        return self.relu(self.length, self.norm(self.length, self.join(x, out)))

    def last_layer(self) -> nn.Module:
        """The last convolution, as the norm comes after the sum."""
        return self.get_submodule(f"conv{self.length}")


class ActivationBeforeAddBlock(Block):
    """y = F(x) + shortcut(x), F = conv - norm - relu - ... - conv - norm - relu (He et al. 2016, figure 4c)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        out = x
        for number in range(1, self.length + 1):
            out = self.relu(number, self.norm(number, self.conv(number, out)))
        return self.join(x, out)


class ActivationFirstBlock(Block):
    """y = F(x) + shortcut(x), F = relu - conv - norm - ... - relu - conv - norm (He et al. 2016, figure 4d)."""

    def __init__(self, layers: Layers, place: Place) -> None:
        super().__init__(layers, place)
        self.fork = NoNorm()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        first = out = self.relu(1, self.fork(x))
        for number in range(1, self.length + 1):
            out = self.norm(number, self.conv(number, out if number == 1 else self.relu(number, out)))
        return self.join(x, out, first)


class PreActivationBlock(Block):
    """y = F(x) + shortcut(x), F = norm - relu - conv - ... - norm - relu - conv (He et al. 2016, figure 4e)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, width * expansion, h / stride, w / stride)."""
        first = out = self.relu(1, self.norm(1, x))
        for number in range(1, self.length + 1):
            out = self.conv(number, out if number == 1 else self.relu(number, self.norm(number, out)))
        return self.join(x, out, first)

    def last_layer(self) -> nn.Module:
        """The last convolution, which no norm follows."""
        return self.get_submodule(f"conv{self.length}")


BLOCKS: dict[str, type[Block]] = {
    "original": OriginalBlock,
    "bn_after_add": NormAfterAddBlock,
    "relu_before_add": ActivationBeforeAddBlock,
    "relu_preact": ActivationFirstBlock,
    "preact": PreActivationBlock,
}


def shortcut(layers: Layers, place: Place, c_out: int) -> nn.Module | None:
    """Option A, B or C; None is the identity. What a gate weighs is option B.

    The projection's parts are numbered as in torchvision (conv, norm) or, with an average pool before, as in timm
    (pool, conv, norm). A fully pre-activated block norms before its projection, not after.
    """
    spec = layers.spec
    same = place.stride == 1 and place.c_in == c_out
    if spec.shortcut == "A":
        return None if same else PadShortcut(place.stride, c_out - place.c_in)
    if spec.shortcut != "C" and same:
        return None
    parts: list[nn.Module] = []
    stride = place.stride
    if spec.downsample == "avg":
        parts.append(_average(place))
        stride = 1
    parts.append(layers.conv(place.c_in, c_out, 1, stride))
    if spec.activation_order != "preact":
        parts.append(layers.norm(c_out))
    return nn.Sequential(*parts)


def _average(place: Place) -> nn.Module:
    """The 2x2 mean of ResNet-D; of stride 1 where a dilation replaces the stride, as in timm."""
    if place.stride > 1:
        return nn.AvgPool2d(2, place.stride, ceil_mode=True, count_include_pad=False)
    if place.shrinks:
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
    return nn.Identity()
