"""A spec as a Python file that builds its net with PyTorch alone, to be handed out and read.

The file holds what this one net needs and no switch for anything else. Small modules are taken as they stand in
`explorer.models.blocks`; block, stages and network are written out. The built net says which modules its blocks have,
and what the text then mentions decides which arguments, classes and imports come with it.
"""

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, get_args

from torch import nn

from explorer.errors import Refusal
from explorer.models import blocks
from explorer.models.blocks import Block, Place
from explorer.models.resnet import INITS, ResNet, build, stage_places
from explorer.spec import GATES, PRESETS, ActivationOrder, ResNetSpec

_LINE = 120
_BORROWED: tuple[Callable[..., Any], ...] = (
    blocks.group_count,
    blocks.Add,
    blocks.NoNorm,
    blocks.PadShortcut,
    blocks.StandardizedConv2d,
    blocks.SqueezeExcite,
    blocks.EfficientChannelAttention,
    blocks.ConvolutionalBlockAttention,
    blocks.Scale,
    blocks.LearnedScale,
    blocks.StochasticDepth,
    blocks.Gate,
)
# What stands before each convolution, what after each, and what of that comes after the sum instead, in the last
_ORDERS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "original": ([], ["bn", "relu"], ["relu"]),
    "bn_after_add": ([], ["bn", "relu"], ["bn", "relu"]),
    "relu_before_add": ([], ["bn", "relu"], []),
    "relu_preact": (["relu"], ["bn"], []),
    "preact": (["bn", "relu"], [], []),
}
# What a block may have to be told: its type, and what a stage says to the first block and to each of the others
_ARGUMENTS = {
    "c_in": ("int", "c_in", "c_out"),
    "width": ("int", "width", "width"),
    "c_out": ("int", "c_out", "c_out"),
    "drop": ("float", "drops[0]", "drop"),
    "stride": ("int = 1", "stride", ""),
    "entry_dilation": ("int = 1", "entry_dilation", "entry_dilation=dilation"),
    "dilation": ("int = 1", "dilation", "dilation=dilation"),
}
_STEM_SOURCES = {
    "imagenet": "He et al. 2015, arXiv 1512.03385, table 1",
    "cifar": "He et al. 2015, arXiv 1512.03385, section 4.2",
    "deep": "He T. et al. 2018, arXiv 1812.01187, ResNet-C",
    "tiered": "Wightman 2019, ResNet-T",
}


class NameUnfit(Refusal):
    """A name that cannot stand in the first line of a Python file; the message says what would be right."""


def export_source(spec: ResNetSpec, name: str | None = None) -> str:
    """The text of a Python file whose `build()` makes the net of a spec with PyTorch alone.

    Its modules have the names of `explorer.build(spec)`, so that each loads the other's state_dict; both compute the
    same and, with one seed, start from the same weights. As a program it prints the parameters and the output's shape.

    Args:
        spec: the net.
        name: what the file's first line calls the net; by default the preset's name.

    Raises:
        NameUnfit: the name is longer than 50 signs, or has others than letters, digits, spaces and . , + - ( ).

    >>> print(export_source(PRESETS["resnet50"])[3:].partition(".")[0])
    resnet50: a residual network of 50 layers and 25,557,032 parameters
    """
    preset = spec.nearest_preset()
    if name is None:
        name = preset if spec == PRESETS[preset] else f"A variant of {preset}"
    if not re.fullmatch(r"\w[\w .,+()-]{0,49}", name):
        raise NameUnfit(
            f"name (={name[:50]!r}) must be 1 to 50 letters, digits, spaces or . , + - ( ), a letter or digit first."
        )
    net = _Net(build(spec, "meta"))
    written = "\n\n\n".join("\n".join(_fit(part)) for part in (*_classes(net), _build(net), _main(spec)))
    borrowed = [_borrow(thing) for thing in _BORROWED if re.search(rf"\b{thing.__name__}\(", written)]
    code = "\n\n\n".join([*borrowed, written])
    return "\n".join([*_about(net, name, preset), "", *_imports(code), "", "", code, ""])


def one_liner(spec: ResNetSpec, preset: str | None = None) -> str:
    """The Python that builds a spec's net with this package, from a preset, by default the nearest.

    >>> from dataclasses import replace
    >>> one_liner(replace(PRESETS["resnet50"], width=32))
    'build(replace(PRESETS["resnet50"], width=32))'
    """
    name = preset or spec.nearest_preset()
    changes = "".join(f", {field}={getattr(spec, field)!r}" for field in spec.differences(PRESETS[name]))
    start = f'PRESETS["{name}"]'
    return f"build(replace({start}{changes}))".replace("'", '"') if changes else f"build({start})"


@dataclass(frozen=True)
class _Net:
    """A net on the meta device, and its layers as Python text; channels, strides, dilations are numbers or names."""

    model: ResNet

    @property
    def spec(self) -> ResNetSpec:
        return self.model.spec

    @cached_property
    def blocks(self) -> list[Block]:
        return [module for module in self.model.modules() if isinstance(module, Block)]

    @cached_property
    def stages(self) -> list[list[Place]]:
        return list(stage_places(self.spec))

    @property
    def block_name(self) -> str:
        return "BasicBlock" if self.spec.block == "basic" else "Bottleneck"

    @property
    def stride(self) -> int | str:
        """A block's stride: the argument, or 1 where no block strides."""
        return "stride" if any(places[0].stride > 1 for places in self.stages) else 1

    @property
    def reads_activated(self) -> bool:
        """Whether projections read what a block's first activation gives."""
        before, _, _ = _ORDERS[self.spec.activation_order]
        return bool(before) and self.spec.shortcut != "A" and self.having("downsample") != "none"

    def having(self, name: str) -> Literal["none", "some", "all"]:
        """How many of the blocks have the module."""
        have = [getattr(block, name) is not None for block in self.blocks]
        return "all" if all(have) else "some" if any(have) else "none"

    def conv(
        self,
        c_in: int | str,
        c_out: int | str,
        kernel: int,
        stride: int | str = 1,
        dilation: int | str = 1,
        groups: int = 1,
    ) -> str:
        """A convolution padded to keep the size at stride 1, without a bias where the net has norms."""
        kind = "StandardizedConv2d" if self.spec.weight_standardization else "nn.Conv2d"
        reach = kernel // 2
        padding = reach if dilation == 1 else dilation if reach == 1 else f"{reach} * {dilation}"
        settings = (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1), ("groups", groups, 1))
        texts = [f"{name}={value}" for name, value, usual in settings if value != usual]
        if self.spec.norm != "none":
            texts.append("bias=False")
        return f"{kind}({', '.join([f'{c_in}, {c_out}, {kernel}', *texts])})"

    def norm(self, channels: int | str) -> str:
        """The spec's normalisation; the file counts the groups of a group norm only where they differ."""
        if self.spec.norm == "batch":
            return f"nn.BatchNorm2d({channels})"
        if self.spec.norm == "none":
            return "NoNorm()"
        most = self.spec.norm_groups
        if isinstance(channels, int):
            return f"nn.GroupNorm({blocks.group_count(channels, most)}, {channels})"
        counts = {module.num_groups for module in self.model.modules() if isinstance(module, nn.GroupNorm)}
        groups = f"group_count({channels}, {most})" if len(counts) > 1 else counts.pop()
        return f"nn.GroupNorm({groups}, {channels})"

    def activation(self) -> str:
        """The spec's non-linearity."""
        return f"nn.{type(blocks.ACTIVATIONS[self.spec.activation]()).__name__}()"

    def antialias(self, stride: int | str) -> str:
        """What shrinks in a strided convolution's stead."""
        if self.spec.antialias == "avg":
            return f"nn.AvgPool2d(2, {stride}, ceil_mode=True)"
        return f"nn.Sequential(nn.ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, {stride}))"

    def scale(self) -> str:
        """What the main branch is multiplied by."""
        start = self.spec.scale_start
        texts = {
            "constant": f"Scale({start})",
            "skipinit": "LearnedScale(1, 0.0)",
            "layerscale": f"LearnedScale(c_out, {start})",
        }
        return texts[self.spec.residual_scale]


# The classes


def _classes(net: _Net) -> tuple[list[str], list[str], list[str]]:
    """The block, the function that makes a stage of blocks, and the network."""
    layers, known = _block_layers(net), _ARGUMENTS
    if net.spec.dilates and not _mention(layers, "dilation"):  # then the one that there is needs no second name
        layers = [line.replace("entry_dilation", "dilation") for line in layers]
        known = known | {"dilation": ("int = 1", "entry_dilation", "dilation=dilation")}
    arguments = {name: argument for name, argument in known.items() if _mention(layers, name)}
    settings = ("stride", "entry_dilation", "dilation")
    said = [text for _, *texts in arguments.values() for text in texts]
    settings_of_stage = [name for name in settings if _mention(said, name)]
    return (
        _block(net, arguments, layers),
        _stage(net, arguments, settings_of_stage),
        _network(net, settings_of_stage),
    )


def _block(net: _Net, arguments: dict[str, tuple[str, str, str]], layers: list[str]) -> list[str]:
    signature = ", ".join(f"{name}: {kind}" for name, (kind, _, _) in arguments.items())
    return [
        f"class {net.block_name}(nn.Module):",
        *_indent(_docstring(_formula(net))),
        "",
        f"    def __init__(self, {signature}) -> None:",
        "        super().__init__()",
        *_indent(layers, 2),
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        *_indent(_block_forward(net), 2),
    ]


def _block_layers(net: _Net) -> list[str]:
    """The assignments in a block's constructor, in the order of `explorer.models.blocks.Block`."""
    spec = net.spec
    lines = []
    convs = _convolutions(net)
    outs = ["c_out", "c_out"] if spec.block == "basic" else ["width", "width", "c_out"]
    normed = ["c_in", *outs[:-1]] if spec.activation_order == "preact" else outs
    for number, (conv, channels) in enumerate(zip(convs, normed, strict=True), 1):
        lines += [
            f"self.conv{number} = {conv}",
            f"self.bn{number} = {net.norm(channels)}",
            f"self.relu{number} = {net.activation()}",
        ]
    strides = ["stride > 1"] if net.stride != 1 else []
    if net.having("antialias") != "none":
        dilates = ["dilation != entry_dilation"] if spec.dilates and spec.antialias == "blur" else []
        shrink = [f"self.antialias = {net.antialias(net.stride)}"]
        lines += _where(net.having("antialias"), "antialias", [*strides, *dilates], shrink)
    if spec.block_dropout:
        lines.append(f"self.dropout = nn.Dropout({spec.block_dropout})")
    if spec.attention != "none":
        lines.append(f"self.se = {type(net.blocks[0].se).__name__}(c_out)")
    if net.having("scale") == "all":
        lines.append(f"self.scale = {net.scale()}")
    if net.having("stochastic_depth") == "all":
        lines.append("self.stochastic_depth = StochasticDepth(drop)")
    if net.having("gate") == "all":
        both, start = spec.shortcut == "highway", float(spec.gate_bias)
        lines.append(f"self.gate = Gate(c_in, c_out, {net.stride}, both={both}, start={start})")
    if spec.residual:
        lines.append("self.add = Add()")
    if net.having("downsample") != "none":
        lines += _where(net.having("downsample"), "downsample", [*strides, "c_in != c_out"], _downsample(net))
    if spec.activation_order == "relu_preact":
        lines.append("self.fork = NoNorm()")
    return lines


def _convolutions(net: _Net) -> list[str]:
    """The convolutions of a block's main branch."""
    spec, kernel = net.spec, net.spec.kernel_size
    stride = net.stride if spec.antialias == "none" else 1
    entry, dilation = ("entry_dilation", "dilation") if spec.dilates else (1, 1)
    if spec.block == "basic":
        return [
            net.conv("c_in", "c_out", kernel, stride, entry),
            net.conv("c_out", "c_out", kernel, 1, dilation),
        ]
    on_1x1 = spec.stride_on == "1x1"
    return [
        net.conv("c_in", "width", 1, stride if on_1x1 else 1),
        net.conv("width", "width", kernel, 1 if on_1x1 else stride, dilation if on_1x1 else entry, spec.cardinality),
        net.conv("width", "c_out", 1),
    ]


def _downsample(net: _Net) -> list[str]:
    """What the shortcut passes through where the shape changes."""
    spec, stride = net.spec, net.stride
    if spec.shortcut == "A":
        return [f"self.downsample = PadShortcut({stride}, c_out - c_in)"]
    norm = [] if spec.activation_order == "preact" else [net.norm("c_out")]
    if spec.downsample == "conv":
        return _sequential("downsample", [net.conv("c_in", "c_out", 1, stride), *norm])
    kinds = {type(block.downsample[0]) for block in net.blocks if isinstance(block.downsample, nn.Sequential)}
    pools = [
        (nn.AvgPool2d, "stride > 1", f"nn.AvgPool2d(2, {stride}, ceil_mode=True, count_include_pad=False)"),
        (nn.Sequential, "dilation != entry_dilation", "nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))"),
        (nn.Identity, "", "nn.Identity()"),
    ]
    found = [(condition, text) for kind, condition, text in pools if kind in kinds]
    lines: list[str] = []
    for condition, text in found[:-1]:
        lines += [f"{'elif' if lines else 'if'} {condition}:", f"    pool = {text}"]
    if lines:
        lines += ["else:", f"    pool = {found[-1][1]}"]
    pool = "pool" if lines else found[-1][1]
    return [*lines, *_sequential("downsample", [pool, net.conv("c_in", "c_out", 1), *norm])]


def _branch(net: _Net) -> tuple[list[list[str]], list[str]]:
    """The names of the modules around each convolution of the main branch, and of those behind the sum, in order."""
    spec, length = net.spec, net.blocks[0].length
    before, after, tail = _ORDERS[spec.activation_order]
    groups = []
    for number in range(1, length + 1):
        names = [f"{kind}{number}" for kind in before]
        if number == 1 and spec.activation_order == "relu_preact":
            names.insert(0, "fork")
        if number == net.blocks[0].blurred and net.having("antialias") != "none":
            names.append("antialias")
        if number == length and spec.block_dropout:
            names.append("dropout")
        names.append(f"conv{number}")
        groups.append(names + [f"{kind}{number}" for kind in after if number < length or kind not in tail])
    ends = [name for name in ("se", "scale", "stochastic_depth") if net.having(name) == "all"]
    return [*groups, ends] if ends else groups, [f"{kind}{length}" for kind in tail]


def _block_forward(net: _Net) -> list[str]:
    """One statement for each convolution, then the sum."""
    groups, tail = _branch(net)
    lines, value = [], "x"
    for names in groups:
        for name in names:
            if name == "antialias" and net.having(name) == "some":
                lines += [] if value == "out" else [f"out = {value}"]
                lines += ["if self.antialias is not None:", "    out = self.antialias(out)"]
                value = "out"
                continue
            if name == "conv1" and net.reads_activated:
                lines.append(f"activated = {value}")
                value = "activated"
            value = f"self.{name}({value})"
        lines.append(f"out = {value}")
        value = "out"
    if not net.spec.residual:
        return [*lines, f"return {_chain(tail, 'out')}"]
    shortcut, read = "shortcut", "activated" if net.reads_activated else "x"
    if net.having("downsample") == "none":
        shortcut = "x"
    elif net.having("downsample") == "some":
        lines.append(f"shortcut = x if self.downsample is None else self.downsample({read})")
    else:
        lines.append(f"shortcut = self.downsample({read})")
    if net.having("gate") == "all":
        lines.append(f"out, shortcut = self.gate(x, out, {shortcut})")
        shortcut = "shortcut"
    return [*lines, f"return {_chain(tail, f'self.add(out, {shortcut})')}"]


def _formula(net: _Net) -> list[str]:
    """What a block computes, in its papers' words."""
    spec = net.spec
    kernels = [spec.kernel_size] * 2 if spec.block == "basic" else [1, spec.kernel_size, 1]
    words = {f"conv{number}": f"conv{kernel}x{kernel}" for number, kernel in enumerate(kernels, 1)}
    if spec.cardinality > 1:
        words["conv2"] += f" in {spec.cardinality} groups"
    for number in range(1, len(kernels) + 1):
        words |= {f"bn{number}": "" if spec.norm == "none" else "norm", f"relu{number}": spec.activation}
    words |= {"fork": "", "se": {"se": "squeeze-excite"}.get(spec.attention, spec.attention)}
    words |= {"antialias": "blur where it shrinks" if spec.antialias == "blur" else "mean where it shrinks"}
    groups, tail = _branch(net)
    branch = [words.get(name, name.replace("_", " ")) for names in groups for name in names]
    total = "F(x) + shortcut(x)"
    if not spec.residual:
        total = "F(x)"
    elif spec.shortcut in GATES:
        total = f"F(x){' T(x)' if spec.shortcut == 'highway' else ''} + shortcut(x) (1 - T(x))"
    for name in tail:
        total = f"{words[name]}({total})" if words[name] else total
    figure = "abcde"[get_args(ActivationOrder).index(spec.activation_order)]
    source = f"He et al. 2016, arXiv 1603.05027, figure 4{figure}"
    if not spec.residual:
        source = "the plain twin of He et al. 2015, arXiv 1512.03385, section 3.3"
    elif spec.shortcut in GATES:
        source += " and section 3.1"
    elif spec.activation_order == "original":
        source = "He et al. 2015, arXiv 1512.03385, figure 5"
    lines = [f"y = {total} ({source}).", "", *_wrap(f"F = {' - '.join(filter(None, branch))}", first="")]
    if spec.residual:
        lines.append(f"shortcut(x) = {_shortcut_words(net)}")
    return lines


def _shortcut_words(net: _Net) -> str:
    share = net.having("downsample")
    if share == "none":
        return "x"
    changed = f"a 1x1 projection of {'the activated x' if net.reads_activated else 'x'}"
    if net.spec.shortcut == "A":
        changed = f"x {'' if net.stride == 1 else 'strided and '}padded with channels of zeros"
    return f"x, or {changed} where the shape changes" if share == "some" else changed


def _stage(net: _Net, arguments: dict[str, tuple[str, str, str]], settings: list[str]) -> list[str]:
    first = ", ".join(first for _, first, _ in arguments.values())
    other = ", ".join(other for _, _, other in arguments.values() if other)
    channels = [f"{name}: int" for name in ("c_in", "width", "c_out") if name in arguments]
    drops = "drop" in arguments
    count, each = ("drops: list[float]", "drop in drops[1:]") if drops else ("blocks: int", "_ in range(blocks - 1)")
    about = ["Blocks of which the first may change the shape and the others keep it."]
    if "entry_dilation" in settings:
        about += ["", "Where the first dilates instead of striding, what comes in has the `entry_dilation` still."]
    return [
        f"def stage({', '.join([*channels, count, *(f'{name}: int = 1' for name in settings)])}) -> nn.Sequential:",
        *_indent(_docstring(about)),
        f"    first = {net.block_name}({first})",
        f"    others = ({net.block_name}({other}) for {each})",
        "    return nn.Sequential(first, *others)",
    ]


def _network(net: _Net, settings: list[str]) -> list[str]:
    spec, model = net.spec, net.model
    stages = [f"layer{number}" for number in range(1, len(spec.depths) + 1)]
    stem = [name for name in ("conv1", "bn1", "relu", "maxpool") if getattr(model, name) is not None]
    ends = ("final_bn", "final_relu", "avgpool", "flatten", "dropout")
    head = [name for name in ends if getattr(model, name) is not None]
    channels, number = model.fc.in_features, f"{len(stages)} stage{'s' if len(stages) > 1 else ''}"
    texts = {
        "final_bn": net.norm(channels),
        "final_relu": net.activation(),
        "avgpool": "nn.AdaptiveAvgPool2d(1)",
        "flatten": "nn.Flatten()",
        "dropout": f"nn.Dropout({spec.head_dropout})",
    }
    return [
        "class ResNet(nn.Module):",
        f'    """Stem, {number}, global average pool and linear layer ({_STEM_SOURCES[spec.stem]})."""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *_indent(_stem(net, stem), 2),
        *_indent(_stage_calls(net, settings), 2),
        *_indent([f"self.{name} = {texts[name]}" for name in head], 2),
        f"        self.fc = nn.Linear({channels}, {spec.num_classes})",
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        f"        x = {_chain(stem, 'x')}",
        f"        x = {_chain(stages, 'x')}",
        f"        x = {_chain(head, 'x')}",
        "        return self.fc(x)",
    ]


def _stem(net: _Net, names: list[str]) -> list[str]:
    """The assignments of the stem's modules."""
    spec = net.spec
    if spec.stem == "imagenet":
        conv = [f"self.conv1 = {net.conv(spec.in_channels, spec.stem_channels, 7, 2)}"]
    elif spec.stem == "cifar":
        conv = [f"self.conv1 = {net.conv(spec.in_channels, spec.stem_channels, 3)}"]
    else:
        first, second, last = spec.stem_widths
        parts = [net.conv(spec.in_channels, first, 3, 2), net.norm(first), net.activation()]
        parts += [net.conv(first, second, 3), net.norm(second), net.activation(), net.conv(second, last, 3)]
        conv = _sequential("conv1", parts)
    pools = {
        "none": "nn.MaxPool2d(3, 2, padding=1)",
        "avg": net.antialias(2),
        "blur": f"nn.Sequential(nn.MaxPool2d(3, 1, padding=1), {net.antialias(2)})",
    }
    texts = {"bn1": net.norm(spec.stem_channels), "relu": net.activation(), "maxpool": pools[spec.antialias]}
    return [*conv, *(f"self.{name} = {texts[name]}" for name in names if name in texts)]


def _stage_calls(net: _Net, settings: list[str]) -> list[str]:
    spec, total, done = net.spec, len(net.blocks), 0
    drops = net.having("stochastic_depth") == "all"
    lines = []
    if drops:
        lines = [
            "# Huang et al. 2016, arXiv 1603.09382, equation 4",
            f"drops = [{spec.stochastic_depth} * number / {total} for number in range(1, {total + 1})]",
        ]
    for number, (first, *others) in enumerate(net.stages, 1):
        count = 1 + len(others)
        given = [str(first.c_in), str(first.inner_width), str(first.width * spec.expansion)]
        if spec.block == "basic":
            del given[1]
        given.append(f"drops=drops[{done}:{done + count}]" if drops else f"blocks={count}")
        given += [f"{name}={getattr(first, name)}" for name in settings if getattr(first, name) != 1]
        lines.append(f"self.layer{number} = stage({', '.join(given)})")
        done += count
    return lines


# What stands around them


def _build(net: _Net) -> list[str]:
    """The function that makes the net with its initial weights, drawing as `explorer.models.resnet.initialise` does."""
    spec = net.spec
    convs = [module for module in net.model.modules() if isinstance(module, nn.Conv2d)]
    lines = ["model = ResNet()"]
    if spec.init != "pytorch":
        lines = [
            'with torch.device("meta"):  # without weights, so that all random numbers are drawn below',
            "    model = ResNet()",
            "model.to_empty(device=torch.get_default_device())",
            "for module in model.modules():",
            '    if hasattr(module, "reset_parameters"):',
            "        module.reset_parameters()",
            "    if isinstance(module, nn.Conv2d):",
            f"        {_init_call(spec.init)}",
        ]
        biased = [conv.bias is not None for conv in convs]
        if all(biased):
            lines += ["        nn.init.zeros_(module.bias)"]
        elif any(biased):
            lines += ["        if module.bias is not None:", "            nn.init.zeros_(module.bias)"]
    starts = []
    if net.having("gate") == "all":
        starts += ["    if isinstance(module, Gate):", "        nn.init.constant_(module.conv.bias, module.start)"]
    if spec.residual and spec.zero_init_residual:
        block = net.blocks[0]
        last = next(name for name, module in block.named_children() if module is block.last_layer())
        starts += [
            f"    if isinstance(module, {net.block_name}):",
            f"        for parameter in module.{last}.parameters():  # so that the main branch starts at zero",
            "            nn.init.zeros_(parameter)",
        ]
    if starts:
        lines += ["for module in model.modules():", *starts]
    return [
        "def build() -> ResNet:",
        '    """The net with its initial weights: with the same seed, those that ResNet Explorer draws."""',
        *_indent([*lines, "return model"]),
    ]


def _init_call(init: str) -> str:
    fill = partial(INITS[init])  # of what is partial already this has its function and its keywords
    settings = [f", {name}={json.dumps(value)}" for name, value in fill.keywords.items()]
    return f"nn.init.{fill.func.__name__}(module.weight{''.join(settings)})"


def _main(spec: ResNetSpec) -> list[str]:
    height, width = spec.image_size
    return [
        'if __name__ == "__main__":',
        "    net = build().eval()",
        "    with torch.inference_mode():",
        f"        logits = net(torch.randn(1, {spec.in_channels}, {height}, {width}))",
        '    print(f"{sum(weight.numel() for weight in net.parameters()):,} parameters")',
        '    print(f"output of shape {tuple(logits.shape)}")',
    ]


def _about(net: _Net, name: str, preset: str) -> list[str]:
    """The file's docstring: what net it is, and how ResNet Explorer makes it."""
    spec = net.spec
    params = sum(weight.numel() for weight in net.model.parameters())
    said = dict.fromkeys(("block", "depths", *spec.differences(ResNetSpec())))
    kind = "residual" if spec.residual else "plain"
    return _docstring(
        [
            f"{name}: a {kind} network of {spec.depth} layers and {params:,} parameters.",
            "",
            "It needs PyTorch alone. In ResNet Explorer, which wrote it, the same net is",
            *_wrap(one_liner(spec, preset)),
            "and its spec, where what is not said has its default,",
            *_wrap(json.dumps({field: getattr(spec, field) for field in said})),
        ]
    )


def _imports(code: str) -> list[str]:
    lines = ["import torch", "from torch import Tensor, nn"]
    if re.search(r"\bmath\.", code):
        lines = ["import math", "", *lines]
    if re.search(r"\bF\.\w", code):
        lines.append("from torch.nn import functional as F")
    return lines


def _borrow(thing: Callable[..., Any]) -> str:
    """The text of a class or function of ours, with PyTorch's own layers in place of ours and no choice of device."""
    text = inspect.getsource(thing).rstrip()
    text = re.sub(r"(?<![\w.])(?=(Conv2d|BatchNorm2d)\b)", "nn.", text)
    text = text.replace(", device: torch.device | None = None", "").replace(", device=device", "")
    return re.sub(r"\(\n +(self, .*)\n +\) -> None:", r"(\1) -> None:", text)  # what has room on one line again


# Text


def _mention(lines: Iterable[str], name: str) -> bool:
    """Whether a line has the name as a value, not only as a keyword, an attribute or a part of another name."""
    return any(re.search(rf"(?<![\w.]){name}\b(?!=)", line) for line in lines)


def _chain(names: Iterable[str], value: str) -> str:
    for name in names:
        value = f"self.{name}({value})"
    return value


def _where(share: str, name: str, conditions: list[str], lines: list[str]) -> list[str]:
    """The lines that make a module of a block, under a condition if only some have it."""
    return lines if share == "all" else [f"self.{name} = None", f"if {' or '.join(conditions)}:", *_indent(lines)]


def _sequential(name: str, parts: list[str]) -> list[str]:
    return [f"self.{name} = nn.Sequential(", *_indent([f"{part}," for part in parts]), ")"]


def _docstring(lines: list[str]) -> list[str]:
    return [f'"""{lines[0]}"""'] if len(lines) == 1 else [f'"""{lines[0]}', *lines[1:], '"""']


def _indent(lines: Iterable[str], steps: int = 1) -> list[str]:
    return [" " * 4 * steps + line if line else "" for line in lines]


def _wrap(text: str, first: str = "    ") -> list[str]:
    """A long sentence as lines of a docstring, set in; the first by `first`."""
    return textwrap.wrap(text, _LINE - 4, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False)


def _fit(lines: Iterable[str]) -> list[str]:
    """The lines, with what stands between the brackets of a long one on lines of its own, as formatters have it."""
    fitted = []
    for line in lines:
        if len(line) <= _LINE:
            fitted.append(line)
            continue
        start, end = line.index("(") + 1, line.rindex(")")
        margin = " " * (len(line) - len(line.lstrip()))
        inner = [f"{margin}    {line[start:end]}"]
        if len(inner[0]) > _LINE:
            inner = [f"{margin}    {part}," for part in line[start:end].split(", ")]
        fitted += [line[:start], *inner, margin + line[end:]]
    return fitted
