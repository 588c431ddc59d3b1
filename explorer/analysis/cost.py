"""The textbook calculators: what one design of a layer costs against another, counted on real modules.

Each function builds both designs on the meta device, traces them and adds up their layers. No formula of a textbook is
typed in here; those are the tests' oracles.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from typing import Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from explorer.analysis.graph import Operator, trace
from explorer.analysis.layers import Layer, label, layers
from explorer.analysis.receptive import field_sweep
from explorer.analysis.rules import Shape, output_side
from explorer.errors import Refusal
from explorer.models import blocks, zoo
from explorer.models.published import accuracies
from explorer.spec import PRESETS, ResNetSpec, SpecError

MAX_CHANNELS = 65_536
MAX_SIDE = 4096  # pixels
MAX_KERNEL = 63
MAX_STACK = (MAX_KERNEL - 1) // 2  # 3x3 convolutions, so that the kernel with their field is no larger than that
META = torch.device("meta")


class CostError(Refusal):
    """A calculation that cannot be made; the message names the number and what would be right."""


Quantity = Literal["weights", "macs"]
Option = Literal["A", "B", "C"]  # of He et al. 2015, section 3.3


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
        """Parameters of the convolutions and linear layers, biases included; norms not."""
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

    @property
    def branches(self) -> tuple[tuple[Layer, ...], ...]:
        """Convolutions, pools and linear layers in chains that see the design's input; one chain where none forks."""
        chains: dict[str, list[Layer]] = {}
        forked = any(layer.kind == "concat" for layer in self.layers)
        for layer in self.layers:
            if layer.kind in ("conv", "pool", "linear"):
                chains.setdefault(layer.name.split(".")[0] if forked else "", []).append(layer)
        return tuple(tuple(chain) for chain in chains.values())

    def formula(self, quantity: "Quantity") -> str:
        """The sum of its layers' weights or MACs with the numbers filled in, a product a layer.

        A convolution's window comes first, then channels in (of one group), channels out and, for MACs, the pixels.

        >>> bottleneck_block(256).proposed.formula("weights")
        '1×1×256×64 + 3×3×64×64 + 1×1×64×256 = 69,632'
        """
        total = self.weights if quantity == "weights" else self.macs
        counted = [layer for layer in self.layers if layer.kind in ("conv", "linear")]
        return f"{' + '.join(_product(layer, quantity) for layer in counted)} = {total:,}"


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

    @property
    def weight_share(self) -> Fraction:
        """Weights of the proposed design for one of the usual design."""
        return 1 / self.weight_ratio

    @property
    def mac_share(self) -> Fraction:
        """Multiply-accumulates of the proposed design for one of the usual design."""
        return 1 / self.mac_ratio

    @property
    def more(self) -> Fraction:
        """How many weights more the usual design has, for one of the proposed design: 1/2 is 50% more."""
        return self.weight_ratio - 1

    @property
    def less(self) -> Fraction:
        """How many weights less the proposed design has, for one of the usual design: 1/3 is 33% less."""
        return 1 - self.weight_share


def design_table(comparison: Comparison) -> pd.DataFrame:
    """A row a layer of both designs, the proposed one first: design, and the columns of `layer_table` that differ here.

    >>> design_table(bottleneck_block())[["design", "name", "params"]].head(2).values.tolist()
    [['1x1 - 3x3 - 1x1', 'conv1', 16384], ['1x1 - 3x3 - 1x1', 'bn1', 128]]
    """
    names = ("name", "kind", "kernel", "groups", "input_shape", "output_shape", "params", "macs")
    rows = [
        {"design": design.name, **{name: getattr(layer, name) for name in names}}
        for design in (comparison.proposed, comparison.usual)
        for layer in design.layers
    ]
    return pd.DataFrame(rows).astype({"groups": "Int64"})


def bottleneck_block(channels: int = 256, side: int = 56, basic_channels: int | None = None) -> Comparison:
    """1x1 to a quarter of the channels - 3x3 - 1x1 back, against two 3x3: ResNet's two blocks.

    Args:
        channels: that come into the bottleneck and leave it, a multiple of 4. side: of the feature map, in pixels.
        basic_channels: of the two 3x3; by default as many.

    He et al. 2015, arXiv 1512.03385, figure 5, draws the bottleneck at 256 channels beside two 3x3 at 64, which cost
    about the same; that is another comparison than at equal channels.

    Raises:
        CostError: a number out of range.

    >>> two = bottleneck_block(256)
    >>> two.proposed.weights, two.usual.weights, round(float(two.weight_ratio), 2)
    (69632, 1179648, 16.94)
    """
    narrow = channels if basic_channels is None else basic_channels
    _check("channels", channels, MAX_CHANNELS)
    _check("basic_channels", narrow, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    if channels % 4:
        raise CostError(f"channels (={channels}) must be a multiple of 4, as a bottleneck works on a quarter of them.")
    block = blocks.BLOCKS["original"]
    quarter = channels // 4
    bottleneck = block(blocks.Layers(ResNetSpec(block="bottleneck"), META), blocks.Place(channels, quarter, quarter))
    basic = block(blocks.Layers(ResNetSpec(block="basic"), META), blocks.Place(narrow, narrow, narrow))
    return Comparison(
        _design("1x1 - 3x3 - 1x1", bottleneck, (channels, side, side)),
        _design("3x3 - 3x3", basic, (narrow, side, side)),
    )


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
    stack = _chain({f"conv{place}": _convolution(channels, channels, 3) for place in range(1, count + 1)})
    single = _chain({"conv": _convolution(channels, channels, kernel)})
    return Comparison(_design(f"{count} x 3x3", stack, shape), _design(f"1 x {kernel}x{kernel}", single, shape))


def field_growth(count: int) -> tuple[int, ...]:
    """Side in pixels of what one unit sees: of its own map, of the map one 3x3 below, and so on down to the input.

    >>> field_growth(3)
    (1, 3, 5, 7)
    """
    _check("count", count, MAX_STACK)
    seen = [stacked_3x3(number, 1, 1).proposed.receptive_field for number in range(1, count + 1)]
    return (1, *(side for side in seen if side is not None))


@dataclass(frozen=True)
class InceptionSizes:
    """The numbers of an Inception module; as they stand, those of Stanford's CS231n, lecture 9.

    `side` is in pixels, the rest are channels: that come in; out of the 1x1; left by a 1x1 for the 3x3, and out of the
    3x3; the same for the 5x5; and left of the pooled map by a 1x1.
    """

    channels: int = 256
    side: int = 28
    pointwise: int = 128
    middle_reduced: int = 64
    middle: int = 192
    wide_reduced: int = 64
    wide: int = 96
    pooled: int = 64


def inception_module(sizes: InceptionSizes) -> Comparison:
    """An Inception module with 1x1 reductions, against the naive one, which concatenates all of the pooled map.

    Szegedy et al. 2014, arXiv 1409.4842, figure 2.

    Raises:
        CostError: a number out of range.

    >>> module = inception_module(InceptionSizes())
    >>> module.usual.macs, module.proposed.macs
    (854196224, 271351808)
    """
    for item in fields(sizes):
        _check(item.name, getattr(sizes, item.name), MAX_SIDE if item.name == "side" else MAX_CHANNELS)
    channels, shape = sizes.channels, (sizes.channels, sizes.side, sizes.side)
    naive = {
        "1x1": _chain({"conv": _convolution(channels, sizes.pointwise, 1)}),
        "3x3": _chain({"conv": _convolution(channels, sizes.middle, 3)}),
        "5x5": _chain({"conv": _convolution(channels, sizes.wide, 5)}),
        "pool": _chain({"pool": _pool()}),
    }
    reduced = {
        "1x1": _chain({"conv": _convolution(channels, sizes.pointwise, 1)}),
        "3x3": _chain(
            {
                "reduce": _convolution(channels, sizes.middle_reduced, 1),
                "conv": _convolution(sizes.middle_reduced, sizes.middle, 3),
            }
        ),
        "5x5": _chain(
            {
                "reduce": _convolution(channels, sizes.wide_reduced, 1),
                "conv": _convolution(sizes.wide_reduced, sizes.wide, 5),
            }
        ),
        "pool": _chain({"pool": _pool(), "project": _convolution(channels, sizes.pooled, 1)}),
    }
    return Comparison(
        _design("with 1x1 reductions", _Branches(reduced), shape), _design("naive", _Branches(naive), shape)
    )


def inception_miscounted(sizes: InceptionSizes, counted_as: int) -> int:
    """The MACs of the module with reductions, if the 3x3's input is counted as another number of channels than it has.

    CS231n's lecture 9 prints 358 M operations for its module, whose layers, as it lists them, sum to 271 M.

    Raises:
        CostError: a number out of range.

    >>> round(inception_miscounted(InceptionSizes(), 128) / 1e6)
    358
    """
    _check("counted_as", counted_as, MAX_CHANNELS)
    true = inception_module(sizes).proposed
    shape = (counted_as, sizes.side, sizes.side)
    other = _design("3x3", _chain({"conv": _convolution(counted_as, sizes.middle, 3)}), shape)
    return true.macs - next(layer.macs for layer in true.layers if layer.name == "3x3.conv") + other.macs


@cache
def googlenet_modules() -> Mapping[str, InceptionSizes]:
    """GoogLeNet's nine modules as `historic.GoogLeNet2014` is built, by name (Szegedy et al. 2014, table 1).

    >>> googlenet_modules()["inception3a"].middle_reduced, googlenet_modules()["inception5b"].side
    (96, 7)
    """
    rows = {layer.name: layer for layer in layers("googlenet_2014")}
    names = dict.fromkeys(name.partition(".")[0] for name in rows if name.startswith("inception"))

    def gives(name: str) -> int:
        return rows[f"{name}.conv"].output_shape[0]

    return {
        name: InceptionSizes(
            channels=rows[f"{name}.branch1.conv"].input_shape[0],
            side=rows[f"{name}.branch1.conv"].input_shape[-1],
            pointwise=gives(f"{name}.branch1"),
            middle_reduced=gives(f"{name}.branch2.0"),
            middle=gives(f"{name}.branch2.1"),
            wide_reduced=gives(f"{name}.branch3.0"),
            wide=gives(f"{name}.branch3.1"),
            pooled=gives(f"{name}.branch4.1"),
        )
        for name in names
    }


def depthwise_separable(channels: int = 512, out_channels: int = 512, kernel: int = 3, side: int = 14) -> Comparison:
    """A depthwise convolution and a 1x1, against one convolution that does both: MobileNet's layer.

    Args:
        channels, out_channels: in and out. kernel: side of the window, odd. side: of the feature map, in pixels.

    Howard et al. 2017, arXiv 1704.04861, section 3.1: it costs 1/N + 1/k^2 as much, N = out_channels. Table 3
    prints 462 and 52.3 million mult-adds for the default numbers.

    Raises:
        CostError: a number out of range.

    >>> layer = depthwise_separable()
    >>> layer.usual.macs, layer.proposed.macs, layer.mac_share
    (462422016, 52283392, Fraction(521, 4608))
    """
    _check("channels", channels, MAX_CHANNELS)
    _check("out_channels", out_channels, MAX_CHANNELS)
    _check_kernel(kernel)
    _check("side", side, MAX_SIDE)
    shape = (channels, side, side)
    separable = _chain(
        {
            "depthwise": _convolution(channels, channels, kernel, groups=channels),
            "pointwise": _convolution(channels, out_channels, 1),
        }
    )
    standard = _chain({"conv": _convolution(channels, out_channels, kernel)})
    return Comparison(
        _design(f"{kernel}x{kernel} depthwise, 1x1", separable, shape), _design(f"{kernel}x{kernel}", standard, shape)
    )


@cache
def separable_shares(kernels: tuple[int, ...], out_channels: tuple[int, ...]) -> Mapping[int, tuple[Fraction, ...]]:
    """For each kernel, what the separable layer costs of the standard one, for each number of channels out.

    Neither the channels in nor the side of the map matter.

    >>> separable_shares((3,), (1, 512))
    {3: (Fraction(10, 9), Fraction(521, 4608))}
    """
    return {
        kernel: tuple(depthwise_separable(1, number, kernel, 1).mac_share for number in out_channels)
        for kernel in kernels
    }


def separable_filters(kernel: int = 3, channels: int = 64, side: int = 56) -> Comparison:
    """A convolution of k x 1 and one of 1 x k, against one of k x k.

    Args:
        kernel: k, odd. channels: in and out of each. side: of the feature map, in pixels.

    Szegedy et al. 2015, arXiv 1512.00567, section 3.2: 3x1 and 1x3 are 33% cheaper than 3x3. As there, a ReLU follows
    each; without the first one the two could only do what some k x k convolution does.

    Raises:
        CostError: a number out of range.

    >>> filters = separable_filters(3)
    >>> f"{float(filters.less):.0%}", filters.proposed.receptive_field
    ('33%', 3)
    """
    _check_kernel(kernel)
    _check("channels", channels, MAX_CHANNELS)
    _check("side", side, MAX_SIDE)
    shape = (channels, side, side)
    two = _chain(
        {
            "column": _convolution(channels, channels, (kernel, 1)),
            "row": _convolution(channels, channels, (1, kernel)),
        }
    )
    one = _chain({"conv": _convolution(channels, channels, kernel)})
    return Comparison(_design(f"{kernel}x1, 1x{kernel}", two, shape), _design(f"{kernel}x{kernel}", one, shape))


def published_options() -> pd.DataFrame:
    """What He et al. print of the shortcut options: option, net, top1 and top5 errors in percent, crop, note, source.

    top5 is None where it is not printed.
    """
    rows = []
    for net, preset, source in (
        ("ResNet-34", "resnet34", "He et al. 2015, arXiv 1512.03385, table 3"),
        ("ResNet-110", "cifar_resnet110", "He et al. 2016, arXiv 1603.05027, table 1"),
    ):
        for option in get_args(Option):
            for found in accuracies(replace(PRESETS[preset], shortcut=option)):
                if found.source == source:
                    errors = [None if right is None else round(100 - right, 2) for right in (found.top1, found.top5)]
                    rows.append((option, net, *errors, f"{found.dataset}, {found.crop}", found.note, source))
    return pd.DataFrame(rows, columns=["option", "net", "top1", "top5", "measured", "note", "source"])


def shortcut_options(spec: ResNetSpec, report: Callable[[float, str], object] | None = None) -> pd.DataFrame:
    """What the shortcut options A, B and C of He et al. 2015, section 3.3, add to a network.

    Args:
        spec: of the network; its own option does not matter.
        report: called with the fraction done and a sentence; an exception that it raises stops the work.

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
    rows = []
    for done, option in enumerate(("A", "B", "C")):
        if report:
            report(done / 3, f"Counting with option {option}")
        rows.append(_shortcut_row(spec, option))
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


Rounding = Literal["floor", "ceil"]


def output_size(
    n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, rounding: Rounding = "floor"
) -> OutputSize:
    """floor((n + 2p - d(k - 1) - 1) / s) + 1 with its numbers: the pixels along one axis behind a convolution or pool.

    Without dilation that is floor((n - k + 2p) / s) + 1, and so it is written out.

    Args:
        n: pixels that come in. padding: on each side. rounding: "ceil" as in a pool with ceil_mode. The rest: the
            window's, in pixels.

    Source: the documentation of torch.nn.Conv2d and torch.nn.MaxPool2d.

    Raises:
        CostError: a number out of range, or the window does not fit once.

    >>> output_size(227, kernel=11, stride=4).formula
    'floor((227 - 11 + 2×0) / 4) + 1 = floor(216 / 4) + 1 = 54 + 1 = 55'
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
    window = (n, kernel, stride, padding, dilation)
    return _rounded_up(*window) if rounding == "ceil" else OutputSize(side, f"{_filled_in('floor', *window)} = {side}")


@dataclass(frozen=True)
class PixelRow:
    """A window that slides along one axis: where it stands, and which pixels it never reads.

    Pixels are counted from 0; those below 0 and from `n` on are padding.

    Raises:
        CostError: as `output_size`.

    >>> row = PixelRow(224, kernel=11, stride=4)
    >>> row.side, float(row.undivided), row.unread
    (54, 54.25, (223,))
    """

    n: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        self.output("floor")

    @property
    def side(self) -> int:
        """Windows that fit: the pixels that come out."""
        return self.output("floor").side

    def output(self, rounding: Rounding) -> OutputSize:
        """What comes out, with the formula."""
        return output_size(self.n, self.kernel, self.stride, self.padding, self.dilation, rounding)

    @property
    def pools(self) -> bool:
        """Whether a pool may have this window: PyTorch refuses one whose padding is more than half of it."""
        return 2 * self.padding <= self.dilation * (self.kernel - 1) + 1

    @property
    def undivided(self) -> Fraction:
        """What the formula gives before it is rounded."""
        return Fraction(_room(self.n, self.kernel, self.padding, self.dilation), self.stride) + 1

    @property
    def starts(self) -> range:
        """The first pixel of each window."""
        return range(-self.padding, -self.padding + self.side * self.stride, self.stride)

    def taps(self, start: int) -> range:
        """The pixels that the window from there on reads."""
        return range(start, start + self.dilation * (self.kernel - 1) + 1, self.dilation)

    @property
    def unread(self) -> tuple[int, ...]:
        """The pixels of the image that no window reads."""
        read = bytearray(self.n + 2 * self.padding)
        for tap in self.taps(0):
            read[tap : tap + self.side * self.stride : self.stride] = b"\1" * self.side
        return tuple(pixel for pixel in range(self.n) if not read[self.padding + pixel])


@cache
def known_windows() -> Mapping[str, PixelRow]:
    """Windows of famous layers, read from the networks themselves, by a name for people.

    >>> known_windows()["AlexNet 2012, conv1"]
    PixelRow(n=227, kernel=11, stride=4, padding=0, dilation=1)
    """
    found: dict[str, PixelRow] = {}
    for title, network, names in _FAMOUS:
        rows = {row.name: row for row in layers(network)}
        found |= {f"{title}, {name}": _pixel_row(rows[name]) for name in names}
    first = next(iter(found))
    return {first: found[first], f"{first}, with 224 px": replace(found[first], n=224), **found}


_FAMOUS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("AlexNet 2012", "alexnet_2012", ("conv1", "pool1", "conv2")),
    ("VGG-16", "vgg16", ("features.0", "features.4")),
    ("GoogLeNet 2014", "googlenet_2014", ("maxpool1",)),
    ("ResNet-50", "resnet50", ("conv1", "maxpool")),
)


def _pixel_row(layer: Layer) -> PixelRow:
    """Along the width of a layer's map."""
    window = (layer.kernel, layer.stride, layer.padding, layer.dilation)
    return PixelRow(layer.input_shape[-1], *(pair[-1] for pair in window if pair))


def output_sizes(layer: Layer) -> tuple[OutputSize, OutputSize]:
    """The formula filled in for a row of the layer table, along its height and its width.

    A pool that rounds up has ceil in place of floor, and a convolution that pads "same" as much as it needs has
    ceil(n / s). A row of the table is a `Layer(**row)`.

    Raises:
        CostError: the layer has no window.

    >>> from explorer.analysis.layers import layer_table
    >>> row = layer_table("googlenet").set_index("name", drop=False).loc["maxpool1"]
    >>> output_sizes(Layer(**row))[0].formula
    'ceil((112 - 3 + 2×0) / 2) + 1 = ceil(109 / 2) + 1 = 55 + 1 = 56'
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
        return _rounded_up(*window)
    raise CostError(f"At {layer.name} the formula does not give the {side} pixels that come out of {n}.")


def _rounded_up(n: int, kernel: int, stride: int, padding: int, dilation: int) -> OutputSize:
    window = (n, kernel, stride, padding, dilation)
    side, windows = output_side(*window, ceil=True), _rounded("ceil", *window) + 1
    formula = f"{_filled_in('ceil', *window)} = {windows}"
    if side < windows:
        formula += f", less a last window that would start in the padding: {side}"
    return OutputSize(side, formula)


def _room(n: int, kernel: int, padding: int, dilation: int) -> int:
    """Pixels that the window can move by."""
    return n + 2 * padding - dilation * (kernel - 1) - 1


def _rounded(rounding: str, n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    room = _room(n, kernel, padding, dilation)
    return room // stride if rounding == "floor" else -(-room // stride)


def _filled_in(rounding: str, n: int, kernel: int, stride: int, padding: int, dilation: int) -> str:
    room = _room(n, kernel, padding, dilation)
    spans = f"{n} - {kernel} + 2×{padding}" if dilation == 1 else f"{n} + 2×{padding} - {dilation}×({kernel} - 1) - 1"
    return (
        f"{rounding}(({spans}) / {stride}) + 1 = "
        f"{rounding}({room} / {stride}) + 1 = {_rounded(rounding, n, kernel, stride, padding, dilation)} + 1"
    )


@dataclass(frozen=True)
class PooledHead:
    """A network's linear layers against a global average pool and one linear layer."""

    heads: Comparison
    network_params: int

    @property
    def share(self) -> Fraction:
        """The network's own linear layers, of all its parameters."""
        return Fraction(self.heads.usual.weights, self.network_params)

    @property
    def network_params_pooled(self) -> int:
        """Parameters of the whole network with the pooled head in place of its own."""
        return self.network_params - self.heads.usual.weights + self.heads.proposed.weights


def pooled_head(network: str = "vgg16") -> PooledHead:
    """What a global average pool and one linear layer save against a network's own linear layers.

    A convolution whose window is its whole map counts as linear, as it is: so timm writes the first of its VGGs'.

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
    is_map = [len(row.output_shape) == 3 and row.output_shape[-2:] != (1, 1) for row in rows]
    last = max((place for place, row in enumerate(rows) if is_map[place]), default=0)
    flat = [place for place, row in enumerate(rows) if place > last and _takes_all(row)]
    maps = [row.output_shape for row in rows[: flat[0]] if len(row.output_shape) == 3] if flat else []
    if not maps or math.prod(rows[flat[0]].input_shape) not in (maps[-1][0], math.prod(maps[-1])):
        raise CostError(f"{network} does not end in linear layers over a feature map, so there is nothing to pool.")
    own = Design("linear layers", tuple(rows[flat[0] :]), None)
    linear = nn.Linear(maps[-1][0], rows[flat[-1]].output_shape[0], device=META)
    head = _chain({"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": linear})
    return PooledHead(Comparison(_design("global average pool", head, maps[-1]), own), sum(row.params for row in rows))


def _takes_all(layer: Layer) -> bool:
    """Whether each of its outputs is made of all that comes in: a linear layer, or a convolution that is one."""
    if layer.kind == "linear":
        return len(layer.input_shape) == 1
    return layer.kind == "conv" and layer.kernel == layer.input_shape[1:] and layer.padding == (0, 0)


# --- building and tracing


class _Branches(nn.ModuleDict):
    """Branches that see the same feature map; their channels are concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, sum of the branches' channels, h, w)."""
        return torch.cat([branch(x) for branch in self.values()], 1)


def _chain(named: Mapping[str, nn.Module]) -> nn.Sequential:
    """Layers one behind the other, each convolution with its ReLU."""
    chain: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in named.items():
        chain[name] = layer
        if isinstance(layer, nn.Conv2d):
            chain[f"{name}_relu"] = nn.ReLU()
    return nn.Sequential(chain)


def _convolution(c_in: int, c_out: int, kernel: int | tuple[int, int], groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, without bias."""
    high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (high // 2, wide // 2)
    return blocks.Conv2d(c_in, c_out, (high, wide), padding=padding, groups=groups, bias=False, device=META)


def _pool() -> nn.Module:
    """The Inception module's max pool, which keeps the size."""
    return nn.MaxPool2d(3, 1, padding=1)


def _design(name: str, module: nn.Module, input_shape: Shape) -> Design:
    graph: list[Operator] = trace(module, input_shape)
    field = field_sweep(graph)[-1]
    return Design(name, tuple(label(graph)), field.height.size if field else None)


def _product(layer: Layer, quantity: Quantity) -> str:
    """The factors of a layer's weights, its biases added, or of its MACs."""
    factors = [*(layer.kernel or ()), layer.input_shape[0] // (layer.groups or 1), layer.output_shape[0]]
    biases = layer.params - math.prod(factors) if quantity == "weights" else 0
    if quantity == "macs":
        factors += layer.output_shape[1:]
    return "×".join(map(str, factors)) + (f" + {biases}" if biases else "")


def _check(name: str, value: object, high: int, low: int = 1) -> None:
    if type(value) is not int or not low <= value <= high:
        raise CostError(f"{name} (={value!r}) must be a whole number from {low:,} to {high:,}.")


def _check_kernel(kernel: int) -> None:
    _check("kernel", kernel, MAX_KERNEL)
    if kernel % 2 == 0:
        raise CostError(f"kernel (={kernel}) must be odd: an even window cannot keep the size with equal padding.")
