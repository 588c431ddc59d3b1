"""The textbook calculators: what one design of a layer costs against another, counted on real modules.

Each function builds both designs on the meta device, traces them and adds up their layers. No formula of a textbook is
typed in here; those are the tests' oracles.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import pandas as pd
import torch
from torch import Tensor, nn

from explorer.analysis.graph import Operator, trace
from explorer.analysis.layers import Layer, label, layers
from explorer.analysis.receptive import field_sweep
from explorer.analysis.rules import Shape, output_side
from explorer.errors import Refusal
from explorer.models import blocks, zoo
from explorer.spec import ResNetSpec, SpecError

MAX_CHANNELS = 65_536
MAX_SIDE = 4096  # pixels
MAX_KERNEL = 63
MAX_STACK = (MAX_KERNEL - 1) // 2  # 3x3 convolutions, so that the kernel with their field is no larger than that
META = torch.device("meta")


class CostError(Refusal):
    """A calculation that cannot be made; the message names the number and what would be right."""


@dataclass(frozen=True)
class Design:
    """One way to do a job: its layers in the order of calls.

    `receptive_field` is the side in pixels of what one output sees of the design's own input; None where it sees all.
    """

    name: str
    layers: tuple[Layer, ...]
    receptive_field: int | None

    @property
    def weights(self) -> int:
        """Parameters of the convolutions and linear layers; norms not. Only linear layers have biases here."""
        return sum(layer.params for layer in self.layers if layer.kind in ("conv", "linear"))

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input."""
        return sum(layer.macs for layer in self.layers)

    @property
    def nonlinearities(self) -> int:
        """Activation layers."""
        return sum(layer.kind == "activation" for layer in self.layers)

    @property
    def output_shape(self) -> Shape:
        """(channels, height, width) or (features,)."""
        return self.layers[-1].output_shape


@dataclass(frozen=True)
class Comparison:
    """Two designs of one job; the ratios say how many times as much as the proposed one the usual one costs."""

    proposed: Design
    usual: Design

    @property
    def weight_ratio(self) -> Fraction:
        """Weights of the usual design for one of the proposed design, exactly."""
        return Fraction(self.usual.weights, self.proposed.weights)

    @property
    def mac_ratio(self) -> Fraction:
        """Multiply-accumulates of the usual design for one of the proposed design, exactly."""
        return Fraction(self.usual.macs, self.proposed.macs)


def bottleneck_block(channels: int = 256, side: int = 56) -> Comparison:
    """1x1 to a quarter of the channels - 3x3 - 1x1 back, against two 3x3 at all channels: ResNet's two blocks.

    Args:
        channels: that come in and go out, a multiple of 4. side: of the feature map, in pixels.

    He et al. 2015, arXiv 1512.03385, figure 5, draws the bottleneck beside two 3x3 at a quarter of the channels, which
    cost about the same; here both blocks carry the same number of channels.

    Raises:
        CostError: a number out of range.

    >>> two = bottleneck_block(256)
    >>> two.proposed.weights, two.usual.weights, round(float(two.weight_ratio), 2)
    (69632, 1179648, 16.94)
    """
    _check("channels", channels, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    if channels % 4:
        raise CostError(f"channels (={channels}) must be a multiple of 4, as a bottleneck works on a quarter of them.")
    quarter = channels // 4
    bottleneck, basic = (
        blocks.BLOCKS["original"](blocks.Layers(spec, META), blocks.Place(channels, width, width))
        for spec, width in ((ResNetSpec(block="bottleneck"), quarter), (ResNetSpec(block="basic"), channels))
    )
    shape = (channels, side, side)
    return Comparison(_design("1x1 - 3x3 - 1x1", bottleneck, shape), _design("3x3 - 3x3", basic, shape))


def stacked_3x3(count: int = 3, channels: int = 64, side: int = 56) -> Comparison:
    """Several 3x3 convolutions, one behind the other, against one large one with the same receptive field.

    Args:
        count: 3x3 convolutions, each with its ReLU. channels: in and out of each. side: of the map, in pixels.

    Simonyan & Zisserman 2014, arXiv 1409.1556, section 2.3: three have 27 C^2 weights and three non-linearities, one
    7x7 has 49 C^2, "81% more", and one.

    Raises:
        CostError: a number out of range.

    >>> three = stacked_3x3(3, channels=1)
    >>> three.proposed.weights, three.usual.weights, three.proposed.receptive_field, three.usual.receptive_field
    (27, 49, 7, 7)
    """
    _check("count", count, MAX_STACK)
    _check("channels", channels, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    shape, kernel = (channels, side, side), 2 * count + 1
    stack = nn.Sequential(*(_convolution(channels, channels, 3) for _ in range(count)))
    single = _convolution(channels, channels, kernel)
    return Comparison(_design(f"{count} x 3x3", stack, shape), _design(f"1 x {kernel}x{kernel}", single, shape))


def inception_module(
    channels: int = 256,
    side: int = 28,
    widths: tuple[int, int, int] = (128, 192, 96),
    reduced: int = 64,
    pool_projection: int = 64,
) -> Comparison:
    """An Inception module with 1x1 reductions, against the naive one.

    Args:
        channels, side: of the feature map that comes in, in pixels.
        widths: channels out of the 1x1, the 3x3 and the 5x5 convolution.
        reduced: channels that a 1x1 leaves for the 3x3, and another one for the 5x5.
        pool_projection: channels that a 1x1 leaves of the pooled map; the naive module concatenates all of them.

    Szegedy et al. 2014, arXiv 1409.4842, figure 2; the default numbers are those of Stanford's CS231n, lecture 9. For
    the module with reductions the lecture prints 358 M operations. The layers that it lists sum to 271 M; 358 M comes
    out if the 3x3's input is counted as 128 channels instead of the 64 that are left of it.

    Raises:
        CostError: a number out of range.

    >>> module = inception_module()
    >>> module.usual.macs, module.proposed.macs
    (854196224, 271351808)
    """
    _check("channels", channels, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    if len(widths) != 3:
        raise CostError(f"widths (={widths}) must be three numbers, for the 1x1, the 3x3 and the 5x5 convolution.")
    for name, width in zip(("1x1", "3x3", "5x5"), widths, strict=True):
        _check(f"width of the {name}", width, MAX_CHANNELS)
    _check("reduced", reduced, MAX_CHANNELS)
    _check("pool_projection", pool_projection, MAX_CHANNELS)
    shape, (one, three, five) = (channels, side, side), widths
    naive = _Branches(
        _convolution(channels, one, 1), _convolution(channels, three, 3), _convolution(channels, five, 5), _pool()
    )
    with_reductions = _Branches(
        _convolution(channels, one, 1),
        nn.Sequential(_convolution(channels, reduced, 1), _convolution(reduced, three, 3)),
        nn.Sequential(_convolution(channels, reduced, 1), _convolution(reduced, five, 5)),
        nn.Sequential(_pool(), _convolution(channels, pool_projection, 1)),
    )
    return Comparison(_design("with 1x1 reductions", with_reductions, shape), _design("naive", naive, shape))


def depthwise_separable(channels: int = 512, out_channels: int = 512, kernel: int = 3, side: int = 14) -> Comparison:
    """A depthwise convolution and a 1x1, against one convolution that does both: MobileNet's layer.

    Args:
        channels, out_channels: in and out. kernel: side of the window, odd. side: of the feature map, in pixels.

    Howard et al. 2017, arXiv 1704.04861, section 3.1: it costs 1/N + 1/k^2 as much, N = out_channels. Table 3
    prints 462 and 52.3 million mult-adds for the default numbers.

    Raises:
        CostError: a number out of range.

    >>> layer = depthwise_separable()
    >>> layer.usual.macs, layer.proposed.macs, 1 / layer.mac_ratio
    (462422016, 52283392, Fraction(521, 4608))
    """
    _check("channels", channels, MAX_CHANNELS)
    _check("out_channels", out_channels, MAX_CHANNELS)
    _check_kernel(kernel)
    _check("side", side, MAX_SIDE)
    shape = (channels, side, side)
    separable = nn.Sequential(
        _convolution(channels, channels, kernel, groups=channels), _convolution(channels, out_channels, 1)
    )
    standard = _convolution(channels, out_channels, kernel)
    return Comparison(
        _design(f"{kernel}x{kernel} depthwise, 1x1", separable, shape), _design(f"{kernel}x{kernel}", standard, shape)
    )


def separable_filters(kernel: int = 3, channels: int = 64, side: int = 56) -> Comparison:
    """A convolution of k x 1 and one of 1 x k, against one of k x k.

    Args:
        kernel: k, odd. channels: in and out of each. side: of the feature map, in pixels.

    Szegedy et al. 2015, arXiv 1512.00567, section 3.2: 3x1 and 1x3 are 33% cheaper than 3x3. As there, a ReLU follows
    each; without the first one the two could only do what some k x k convolution does.

    Raises:
        CostError: a number out of range.

    >>> filters = separable_filters(3)
    >>> f"{float(1 - 1 / filters.weight_ratio):.0%}", filters.proposed.receptive_field
    ('33%', 3)
    """
    _check_kernel(kernel)
    _check("channels", channels, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    shape = (channels, side, side)
    two = nn.Sequential(_convolution(channels, channels, (kernel, 1)), _convolution(channels, channels, (1, kernel)))
    one = _convolution(channels, channels, kernel)
    return Comparison(_design(f"{kernel}x1, 1x{kernel}", two, shape), _design(f"{kernel}x{kernel}", one, shape))


def shortcut_options(spec: ResNetSpec) -> pd.DataFrame:
    """What the shortcut options A, B and C of He et al. 2015, section 3.3, add to a network.

    Returns:
        option: A, B, C. projections: convolutions on shortcuts. added_params, added_macs: of all layers on shortcuts,
        the projections' norms included. params, macs: of the whole network. refusal: why it cannot have this option,
        the numbers being unknown then; else None.

    Raises:
        CostError: the network has no shortcuts.

    >>> from explorer.spec import PRESETS
    >>> shortcut_options(PRESETS["resnet34"])[["option", "projections", "added_params"]].values.tolist()
    [['A', 0, 0], ['B', 3, 173824], ['C', 16, 1092992]]
    """
    if not spec.residual:
        raise CostError("residual (=False) must be True: a plain net has no shortcuts to compare.")
    rows = [_shortcut_row(spec, option) for option in ("A", "B", "C")]
    table = pd.DataFrame(rows)
    table["refusal"] = pd.Series([row["refusal"] for row in rows], dtype=object)  # else None becomes a NaN
    return table.astype(dict.fromkeys(("projections", "added_params", "added_macs", "params", "macs"), "Int64"))


def _shortcut_row(spec: ResNetSpec, option: str) -> dict[str, object]:
    try:
        rows = layers(replace(spec, shortcut=option))  # type: ignore[arg-type]
    except SpecError as refusal:
        return {"option": option, "refusal": str(refusal)}
    beside = [row for row in rows if "downsample" in row.name.split(".")]
    return {
        "option": option,
        "projections": sum(row.kind == "conv" for row in beside),
        "added_params": sum(row.params for row in beside),
        "added_macs": sum(row.macs for row in beside),
        "params": sum(row.params for row in rows),
        "macs": sum(row.macs for row in rows),
        "refusal": None,
    }


@dataclass(frozen=True)
class OutputSize:
    """The pixels along one axis behind a window, and the formula with its numbers filled in."""

    side: int
    formula: str


def output_size(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> OutputSize:
    """floor((n + 2p - d(k - 1) - 1) / s) + 1 with its numbers: the pixels along one axis behind a convolution or pool.

    Args:
        n: pixels that come in. padding: on each side. The rest: the window's, in pixels.

    Source: the documentation of torch.nn.Conv2d.

    Raises:
        CostError: a number out of range, or the window does not fit once.

    >>> output_size(227, kernel=11, stride=4).formula
    'floor((227 + 2×0 - 1×(11 - 1) - 1) / 4) + 1 = floor(216 / 4) + 1 = 54 + 1 = 55'
    """
    for name, value in (("n", n), ("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        _check(name, value, MAX_SIDE)
    _check("padding", padding, MAX_SIDE, low=0)
    side = output_side(n, kernel, stride, padding, dilation)
    if side < 1:
        raise CostError(
            f"A window that spans {dilation * (kernel - 1) + 1} pixels does not fit on n + 2p = {n + 2 * padding}; use "
            f"a smaller one or more padding."
        )
    return OutputSize(side, f"{_filled_in('floor', n, kernel, stride, padding, dilation)} = {side}")


def output_sizes(layer: Layer) -> tuple[OutputSize, OutputSize]:
    """The formula filled in for a row of the layer table, along its height and its width.

    A pool that rounds up has ceil in place of floor, and a convolution that pads "same" as much as it needs has
    ceil(n / s). A row of the table is a `Layer(**row)`.

    Raises:
        CostError: the layer has no window.

    >>> from explorer.analysis.layers import layer_table
    >>> row = layer_table("googlenet").set_index("name", drop=False).loc["maxpool1"]
    >>> output_sizes(Layer(**row))[0].formula
    'ceil((112 + 2×0 - 1×(3 - 1) - 1) / 2) + 1 = ceil(109 / 2) + 1 = 55 + 1 = 56'
    """
    if not (layer.kernel and layer.stride and layer.padding and layer.dilation):
        raise CostError(f"{layer.name} ({layer.kind}) has no window, so the formula does not hold for it.")
    height, width = (
        _output_size(layer, n, side, *window)
        for n, side, *window in zip(
            layer.input_shape[-2:],
            layer.output_shape[-2:],
            layer.kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
            strict=True,
        )
    )
    return height, width


def _output_size(layer: Layer, n: int, side: int, kernel: int, stride: int, padding: int, dilation: int) -> OutputSize:
    """Along one axis, where it is known which side comes out: the first rounding that gives it."""
    window = (n, kernel, stride, padding, dilation)
    if output_side(*window) == side:
        return OutputSize(side, f"{_filled_in('floor', *window)} = {side}")
    if layer.kind == "conv" and -(-n // stride) == side:
        return OutputSize(side, f'padding "same": ceil({n} / {stride}) = {side}')
    if output_side(*window, ceil=True) == side:
        formula = f"{_filled_in('ceil', *window)} = {_rounded('ceil', *window) + 1}"
        if side == _rounded("ceil", *window) + 1:
            return OutputSize(side, formula)
        return OutputSize(side, f"{formula}, less a last window that would start in the padding: {side}")
    raise CostError(f"At {layer.name} the formula does not give the {side} pixels that come out of {n}.")


def _room(n: int, kernel: int, padding: int, dilation: int) -> int:
    """Pixels that the window can move by."""
    return n + 2 * padding - dilation * (kernel - 1) - 1


def _rounded(rounding: str, n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    room = _room(n, kernel, padding, dilation)
    return room // stride if rounding == "floor" else -(-room // stride)


def _filled_in(rounding: str, n: int, kernel: int, stride: int, padding: int, dilation: int) -> str:
    room = _room(n, kernel, padding, dilation)
    return (
        f"{rounding}(({n} + 2×{padding} - {dilation}×({kernel} - 1) - 1) / {stride}) + 1 = "
        f"{rounding}({room} / {stride}) + 1 = {_rounded(rounding, n, kernel, stride, padding, dilation)} + 1"
    )


@dataclass(frozen=True)
class PooledHead:
    """A network's linear layers against a global average pool and one linear layer."""

    heads: Comparison
    network_params: int

    @property
    def network_params_pooled(self) -> int:
        """Parameters of the whole network with the pooled head in place of its own."""
        return self.network_params - self.heads.usual.weights + self.heads.proposed.weights


def pooled_head(network: str = "vgg16") -> PooledHead:
    """What a global average pool and one linear layer save against a network's own linear layers.

    Args:
        network: a name of the zoo that ends in linear layers.

    Lin et al. 2013, arXiv 1312.4400, section 3.2. Biases are counted, as everywhere in `params`.

    Raises:
        UnknownNetwork: no such name. CostError: it does not end in linear layers over a feature map.

    >>> head = pooled_head("vgg16")
    >>> head.heads.usual.weights, head.heads.proposed.weights, head.network_params_pooled
    (123642856, 513000, 15227688)
    """
    rows = label(trace(*zoo.network(network)))
    last = max((place for place, row in enumerate(rows) if row.kind == "conv"), default=0)
    flat = [
        place for place, row in enumerate(rows) if place > last and row.kind == "linear" and len(row.input_shape) == 1
    ]
    maps = [row.output_shape for row in rows[: flat[0]] if len(row.output_shape) == 3] if flat else []
    if not maps or rows[flat[0]].input_shape[0] not in (maps[-1][0], math.prod(maps[-1])):
        raise CostError(f"{network} does not end in linear layers over a feature map, so there is nothing to pool.")
    own = Design("linear layers", tuple(rows[flat[0] :]), None)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps[-1][0], rows[flat[-1]].output_shape[0], device=META)
    )
    return PooledHead(Comparison(_design("global average pool", head, maps[-1]), own), sum(row.params for row in rows))


# --- building and tracing


class _Branches(nn.Module):
    """Branches that see the same feature map; their channels are concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, sum of the branches' channels, h, w)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _convolution(c_in: int, c_out: int, kernel: int | tuple[int, int], groups: int = 1) -> nn.Module:
    """A convolution that keeps the size, without bias, and its ReLU."""
    high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (high // 2, wide // 2)
    conv = blocks.Conv2d(c_in, c_out, (high, wide), padding=padding, groups=groups, bias=False, device=META)
    return nn.Sequential(conv, nn.ReLU())


def _pool() -> nn.Module:
    """The Inception module's max pool, which keeps the size."""
    return nn.MaxPool2d(3, 1, padding=1)


def _design(name: str, module: nn.Module, input_shape: Shape) -> Design:
    graph: list[Operator] = trace(module, input_shape)
    field = field_sweep(graph)[-1]
    return Design(name, tuple(label(graph)), field.height.size if field else None)


def _check(name: str, value: object, high: int, low: int = 1) -> None:
    if type(value) is not int or not low <= value <= high:
        raise CostError(f"{name} (={value!r}) must be a whole number from {low:,} to {high:,}.")


def _check_kernel(kernel: int) -> None:
    _check("kernel", kernel, MAX_KERNEL)
    if kernel % 2 == 0:
        raise CostError(f"kernel (={kernel}) must be odd: an even window cannot keep the size with equal padding.")
