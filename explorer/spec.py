"""One frozen description of a residual network; everything else in the package is made from it.

Standard library only, so that a page can draw its controls before PyTorch is loaded. What a person should know of
a field (label, help, paper, range) stands beside the field, once: the sidebar, the checks and the links read it there.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from explorer.errors import Refusal

Block = Literal["basic", "bottleneck"]
KernelSize = Literal[3, 5, 7]
StrideOn = Literal["1x1", "3x3"]
Shortcut = Literal["A", "B", "C", "highway", "gated"]
Downsample = Literal["conv", "avg"]
ActivationOrder = Literal["original", "bn_after_add", "relu_before_add", "relu_preact", "preact"]
ResidualScale = Literal["none", "constant", "skipinit", "layerscale"]
Stem = Literal["imagenet", "cifar", "deep", "tiered"]
OutputStride = Literal[8, 16, 32, 64]
Attention = Literal["none", "se", "eca", "cbam"]
Antialias = Literal["none", "blur", "avg"]
Norm = Literal["batch", "group", "none"]
NormGroups = Literal[1, 2, 4, 8, 16, 32, 64]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]
Init = Literal["kaiming_fan_out", "kaiming_fan_in", "xavier", "orthogonal", "pytorch"]
Size = tuple[int, int]

_STEM_STRIDES = {"imagenet": 4, "cifar": 1, "deep": 4, "tiered": 4}
GATES = ("highway", "gated")  # the shortcuts that are weighed by what comes in
_USUAL_OUTPUT_STRIDE: OutputStride = 32
MAX_STAGES = 5
MAX_BLOCKS, MAX_BLOCKS_CIFAR = 64, 200  # a stage; 200 is the n of the paper's 1202-layer net, 6n + 2
MAX_INNER_WIDTH = 65_536  # channels of a 3x3 convolution
MAX_MACS = 2**62  # so that every count, and every sum of them, stays inside 64 bits


class SpecError(Refusal):
    """A net that cannot be; the message names the field, its value and what would be right."""


@dataclass(frozen=True)
class Knob:
    """What a person should know of one field of the spec."""

    label: str
    group: str
    help: str
    source: str
    default: Any
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    stops: tuple[float, ...] = ()  # the values worth offering, where a range is too wide to point at each
    optional: bool = False  # whether None, "as usual", is a value too
    architecture: bool = True  # whether another value makes another network, once both are trained
    applies: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # (field, values): has an effect only where all of these hold


def _knob(
    default: Any,
    group: str,
    label: str,
    source: str,
    help: str,  # noqa: A002
    *,
    among: Any = None,
    between: tuple[float, float] = (0, 0),
    stops: tuple[float, ...] = (),
    optional: bool = False,
    architecture: bool = True,
    applies: Mapping[str, tuple[Any, ...]] | None = None,
) -> Any:
    choices = get_args(among) if among else ()
    rules = tuple((applies or {}).items())
    knob = Knob(label, group, help, source, default, choices, *between, stops, optional, architecture, rules)
    return field(default=default, metadata={"knob": knob})


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network, or its plain twin; the default is torchvision's ResNet-50.

    Raises:
        SpecError: a field or a combination that cannot be, in one sentence.

    >>> replace(PRESETS["resnet50"], cardinality=32, width_per_group=4) == PRESETS["resnext50_32x4d"]
    True
    >>> ResNetSpec(block="basic", depths=(3, 4, 6, 3)).depth
    34
    """

    block: Block = _knob(
        "bottleneck",
        "Blocks",
        "Block",
        "He et al. 2015, arXiv 1512.03385, figure 5",
        "Basic: two 3x3 convolutions. Bottleneck: a 1x1 convolution reduces the channels, a 3x3 works on few of them, "
        "a 1x1 restores four times as many.",
        among=Block,
    )
    depths: tuple[int, ...] = _knob(
        (3, 4, 6, 3),
        "Blocks",
        "Blocks in stage",
        "He et al. 2015, arXiv 1512.03385, table 1",
        f"How many blocks the stage repeats: 1 to {MAX_BLOCKS}, and up to {MAX_BLOCKS_CIFAR} with the CIFAR stem. Each "
        "stage after the first usually halves the resolution and doubles the channels.",
        between=(1, MAX_BLOCKS_CIFAR),
    )
    width: int = _knob(
        64,
        "Blocks",
        "Width",
        "Zagoruyko & Komodakis 2016, arXiv 1605.07146",
        "Channels of the stem and of stage 1, before a bottleneck's expansion; doubled in every later stage. Cost "
        "grows with its square.",
        between=(1, 512),
        stops=(4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256, 384, 512),
    )
    cardinality: int = _knob(
        1,
        "Blocks",
        "Cardinality",
        "Xie et al. 2016 (ResNeXt), arXiv 1611.05431",
        "Into how many groups a bottleneck's 3x3 convolution is divided. ResNeXt-50 32x4d has 32.",
        between=(1, 256),
        stops=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    )
    width_per_group: int = _knob(
        64,
        "Blocks",
        "Width per group",
        "Xie et al. 2016, arXiv 1611.05431; Zagoruyko & Komodakis 2016",
        "Channels of one group of the 3x3 convolution, at width 64 and in stage 1: ResNeXt-50 32x4d has 4, Wide "
        "ResNet-50-2 has 128 in a single group. Scaled with the width and rounded down, as torchvision does.",
        between=(1, 512),
        stops=(1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512),
    )
    kernel_size: KernelSize = _knob(
        3,
        "Blocks",
        "Kernel size",
        "Simonyan & Zisserman 2014, arXiv 1409.1556, section 2.3, for 3; Ding et al. 2022, arXiv 2203.06717, for more",
        "Side of the blocks' spatial convolutions, which are 3x3 in the papers. 5 costs 25/9 as much there, 7 costs "
        "49/9, and the receptive field grows faster. The stem keeps its own.",
        among=KernelSize,
    )
    stride_on: StrideOn = _knob(
        "3x3",
        "Blocks",
        "Stride on",
        "He et al. 2015 (v1: 1x1); Goyal et al. 2017, arXiv 1706.02677 (v1.5: 3x3)",
        "Which convolution of a bottleneck halves the resolution. The 2015 paper strides the first 1x1, which skips "
        "three quarters of its input; torchvision strides the 3x3.",
        among=StrideOn,
        applies={"block": ("bottleneck",)},
    )
    stage_widths: tuple[int, ...] = _knob(
        (),
        "Stage by stage",
        "Width of stage",
        "Zagoruyko & Komodakis 2016, arXiv 1605.07146; Radosavovic et al. 2020 (RegNet), arXiv 2003.13678",
        "Channels of each stage before a bottleneck's expansion, in place of the doubling. The stem keeps the width.",
        between=(1, 8192),
    )
    strides: tuple[int, ...] = _knob(
        (),
        "Stage by stage",
        "Stride of stage",
        "He et al. 2015, arXiv 1512.03385, table 1",
        "1 keeps the resolution, 2 halves it in the stage's first block. Usually 1 in stage 1, whose input the stem "
        "has shrunk already, and 2 in each later stage.",
        between=(1, 2),
    )
    output_stride: OutputStride = _knob(
        _USUAL_OUTPUT_STRIDE,
        "Stage by stage",
        "Largest output stride",
        "Chen et al. 2017 (DeepLab v3), arXiv 1706.05587; Yu & Koltun 2015, arXiv 1511.07122",
        "Once the net has shrunk the picture this many times, later stages dilate their convolutions instead of "
        "striding, which keeps the resolution and the parameters.",
        among=OutputStride,
    )
    residual: bool = _knob(
        True,
        "Shortcuts",
        "Residual",
        "He et al. 2015, arXiv 1512.03385, figure 3",
        "Off gives the plain twin: the same layers without any shortcut.",
    )
    shortcut: Shortcut = _knob(
        "B",
        "Shortcuts",
        "Shortcut option",
        "He et al. 2015, arXiv 1512.03385, section 3.3; Srivastava et al. 2015 (Highway), arXiv 1505.00387; "
        "He et al. 2016, arXiv 1603.05027, section 3.1",
        "A: identity everywhere; where shapes change it is strided and padded with zero channels, without parameters. "
        "B: a 1x1 projection where shapes change. C: a projection in every block. Highway: as B, but a gate, a 1x1 "
        "convolution and a sigmoid, divides each number between main branch and shortcut. Gated: the gate weighs the "
        "shortcut alone. The 2016 paper found both gates worse than a clean identity.",
        among=Shortcut,
        applies={"residual": (True,)},
    )
    gate_bias: int = _knob(
        -6,
        "Shortcuts",
        "Gate's first bias",
        "He et al. 2016, arXiv 1603.05027, section 3.1 (0 to -10; -6 was good); Srivastava et al. 2015, section 2.2",
        "Where the gates start: at -6 the sigmoid gives 0.002, so that the shortcut is open; at 0 it halves. Changes "
        "no count.",
        between=(-10, 0),
        stops=tuple(range(-10, 1)),
        architecture=False,
        applies={"residual": (True,), "shortcut": GATES},
    )
    downsample: Downsample = _knob(
        "conv",
        "Shortcuts",
        "Projection shrinks by",
        "He T. et al. 2018 (ResNet-D), arXiv 1812.01187, figure 2c",
        "Conv: the 1x1 projection is strided and sees a quarter of its input. Avg: a 2x2 average pool shrinks first, "
        "then the 1x1 sees all of it.",
        among=Downsample,
        applies={"residual": (True,), "shortcut": ("B", "C", *GATES)},
    )
    activation_order: ActivationOrder = _knob(
        "original",
        "Shortcuts",
        "Activation order",
        "He et al. 2016, arXiv 1603.05027, figure 4",
        "Where norm and activation stand. Original (a): the activation follows the sum. BN after add (b): the norm "
        "follows the sum too. ReLU before add (c): the branch ends with the activation, the sum stays as it is. ReLU "
        "preact (d): each convolution comes after an activation and before a norm. Preact (e): norm and activation "
        "come before each convolution, so that nothing but sums stands on the identity path.",
        among=ActivationOrder,
    )
    residual_scale: ResidualScale = _knob(
        "none",
        "Shortcuts",
        "Residual scale",
        "Szegedy et al. 2016, arXiv 1602.07261, section 3.3 (constant); De & Smith 2020, arXiv 2002.10444 (SkipInit); "
        "Touvron et al. 2021, arXiv 2103.17239 (LayerScale)",
        "What the main branch is multiplied by before the sum. Constant: a fixed number. SkipInit: one learned number "
        "a block, which starts at 0. LayerScale: one learned number a channel.",
        among=ResidualScale,
        applies={"residual": (True,)},
    )
    scale_start: float = _knob(
        0.1,
        "Shortcuts",
        "Scale",
        "Szegedy et al. 2016 (0.1 to 0.3); Touvron et al. 2021 (0.1 in shallow, 0.000001 in deep nets)",
        "The constant, or where LayerScale starts.",
        between=(1e-6, 1),
        stops=(1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
        applies={"residual": (True,), "residual_scale": ("constant", "layerscale")},
    )
    stem: Stem = _knob(
        "imagenet",
        "Stem",
        "Stem",
        "He et al. 2015, table 1 and section 4.2; He T. et al. 2018 (ResNet-C), arXiv 1812.01187; tiered: timm's "
        "ResNet-T, Wightman 2019",
        "ImageNet: 7x7 convolution of stride 2, then a max pool. CIFAR: one 3x3 of stride 1. Deep (ResNet-C): three "
        "3x3 in place of the 7x7, the first two of half the width. Tiered (ResNet-T): the first of three eighths.",
        among=Stem,
    )
    stem_width: int | None = _knob(
        None,
        "Stem",
        "Stem width",
        "He T. et al. 2018, arXiv 1812.01187; timm's ResNet-S has 128",
        "Channels that leave the stem; usually as many as the width.",
        between=(1, 512),
        stops=(8, 16, 24, 32, 48, 64, 96, 128, 192, 256),
        optional=True,
    )
    attention: Attention = _knob(
        "none",
        "Layers",
        "Attention",
        "Hu et al. 2017 (SENet), arXiv 1709.01507; Wang et al. 2019 (ECA-Net), arXiv 1910.03151; Woo et al. 2018 "
        "(CBAM), arXiv 1807.06521",
        "SE: each block weighs its channels by what the whole feature map holds, through two small layers of about a "
        "sixteenth of its channels (a multiple of 8). ECA: through one short convolution along the channels, a "
        "handful of weights. CBAM: channels by their means and maxima, then pixels by a 7x7 convolution.",
        among=Attention,
    )
    antialias: Antialias = _knob(
        "none",
        "Layers",
        "Anti-aliasing",
        "Zhang 2019, arXiv 1904.11486; avg: timm's resnetaa",
        "Blur: a block's strided convolution and the stem's max pool keep the resolution, then a 3x3 blur shrinks it, "
        "so that a shift of the picture changes less. Avg: a 2x2 mean shrinks it, and takes the place of the max "
        "pool. The stem's convolution and the shortcuts stride as they are, as in timm.",
        among=Antialias,
    )
    norm: Norm = _knob(
        "batch",
        "Layers",
        "Normalisation",
        "Ioffe & Szegedy 2015, arXiv 1502.03167; Wu & He 2018, arXiv 1803.08494",
        "Batch: over the images of a batch. Group: over groups of channels of one image. None: convolutions carry a "
        "bias instead.",
        among=Norm,
    )
    norm_groups: NormGroups = _knob(
        32,
        "Layers",
        "Groups of a group norm",
        "Wu & He 2018, arXiv 1803.08494, table 3",
        "Into how many groups the channels are divided: this many, or the largest power of two below it that divides "
        "them into two or more a group. 1 norms all channels together.",
        among=NormGroups,
        applies={"norm": ("group",)},
    )
    weight_standardization: bool = _knob(
        False,
        "Layers",
        "Weight standardisation",
        "Qiao et al. 2019, arXiv 1903.10520",
        "Each filter of a convolution is used with mean 0 and variance 1, whatever is learned. Made for group norm; "
        "changes no count.",
    )
    activation: Activation = _knob(
        "relu",
        "Layers",
        "Activation",
        "Nair & Hinton 2010; Maas et al. 2013; Hendrycks & Gimpel 2016, arXiv 1606.08415; Elfwing et al. 2017, "
        "arXiv 1702.03118; tanh and sigmoid: Glorot & Bengio 2010",
        "The non-linearity between convolutions. Changes no count; the networks of the papers use ReLU. Tanh and "
        "sigmoid are what nets had before it: for large numbers they are flat.",
        among=Activation,
    )
    init: Init = _knob(
        "kaiming_fan_out",
        "Training",
        "Initial weights",
        "He et al. 2015, arXiv 1502.01852; Glorot & Bengio 2010; Saxe et al. 2013, arXiv 1312.6120; PyTorch's "
        "default: He's uniform with a = sqrt(5)",
        "Of the convolutions. Kaiming keeps the variance of the gradients (fan out) or of the activations (fan in) "
        "behind ReLUs, Xavier is a compromise without them, orthogonal makes a layer's filters perpendicular as far as "
        "there is room. The gain of Kaiming and of orthogonal is ReLU's, whatever the activation. PyTorch's fan out "
        "does not know of groups: a ResNeXt's 3x3 starts smaller by their root. "
        "Changes no count.",
        among=Init,
        architecture=False,
    )
    zero_init_residual: bool = _knob(
        False,
        "Training",
        "Zero-init residual",
        "Goyal et al. 2017, arXiv 1706.02677, section 5.1",
        "The last layer of each main branch starts at zero (the norm's gamma, or the convolution where no norm comes "
        "last), so that every main branch starts with nothing to add. Changes no count.",
        architecture=False,
        applies={"residual": (True,)},
    )
    stochastic_depth: float = _knob(
        0.0,
        "Training",
        "Stochastic depth",
        "Huang et al. 2016, arXiv 1603.09382, section 3",
        "The chance that the last block's main branch is left out while training; it falls in a line to 1/L of it "
        "at the first of L blocks. Drawn for each image, as torchvision does; the paper draws once for a batch. "
        "Changes no count.",
        between=(0, 0.9),
        stops=(0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        architecture=False,
        applies={"residual": (True,)},
    )
    block_dropout: float = _knob(
        0.0,
        "Training",
        "Dropout in blocks",
        "Zagoruyko & Komodakis 2016, arXiv 1605.07146, section 2.4",
        "The chance that a number is set to 0 while training, before the last convolution of each block. Changes no "
        "count.",
        between=(0, 0.9),
        stops=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        architecture=False,
    )
    head_dropout: float = _knob(
        0.0,
        "Training",
        "Dropout in the head",
        "Srivastava et al. 2014, JMLR 15, pages 1929 to 1958",
        "The same before the last linear layer.",
        between=(0, 0.9),
        stops=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        architecture=False,
    )
    in_channels: int = _knob(
        3,
        "Input and output",
        "Input channels",
        "3 for colour pictures, 1 for grey ones",
        "Channels of the input image.",
        between=(1, 64),
    )
    num_classes: int = _knob(
        1000,
        "Input and output",
        "Classes",
        "1,000 in ImageNet, 10 in CIFAR-10",
        "Outputs of the last linear layer.",
        between=(1, 100_000),
    )
    image_size: Size = _knob(
        (224, 224),
        "Input and output",
        "Image size",
        "224 x 224 in He et al. 2015, section 3.4",
        "Height and width of the input in pixels. MACs and activations grow with their product; parameters stay.",
        between=(1, 4096),
        architecture=False,
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value, rules = getattr(self, item.name), item.metadata["knob"]
            if isinstance(item.default, tuple) and isinstance(value, list):
                value = tuple(value)  # JSON has lists, which could not be hashed
            elif isinstance(item.default, float) and type(value) is int and rules.low <= value <= rules.high:
                value = float(value)  # a huge one has no float
            object.__setattr__(self, item.name, value)
            _check_field(item.name, value, rules)
        self._check_combinations()
        self._say_the_usual_in_one_way()

    def _say_the_usual_in_one_way(self) -> None:
        """So that specs of the same net are equal: what is spelled out but as usual becomes the usual."""
        stages = range(1, len(self.depths) + 1)
        if self.stem_width == self.width:
            object.__setattr__(self, "stem_width", None)
        if self.strides == tuple(min(stage, 2) for stage in stages):
            object.__setattr__(self, "strides", ())
        if self.stage_widths == tuple(self.width * 2 ** (stage - 1) for stage in stages):
            object.__setattr__(self, "stage_widths", ())
        if not self.dilates and self._asked_stride <= _USUAL_OUTPUT_STRIDE:
            object.__setattr__(self, "output_stride", _USUAL_OUTPUT_STRIDE)

    def _check_combinations(self) -> None:
        most = MAX_BLOCKS_CIFAR if self.stem == "cifar" else MAX_BLOCKS
        if max(self.depths) > most:
            raise SpecError(
                f"depths (={self.depths}) must stay at {most} blocks a stage with stem {self.stem!r}; "
                f"only the CIFAR stem goes to {MAX_BLOCKS_CIFAR}."
            )
        for name in ("stage_widths", "strides"):
            value = getattr(self, name)
            if value and len(value) != len(self.depths):
                raise SpecError(
                    f"{name} (={value}) must hold a number for each of the {len(self.depths)} stages, or none for the "
                    f"usual ones."
                )
        if self.block == "basic":
            for name, right in (("cardinality", 1), ("width_per_group", 64)):
                if getattr(self, name) != right:
                    raise SpecError(
                        f"{name} (={getattr(self, name)}) must be {right} with block 'basic'; groups need the 1x1 "
                        f"convolutions of block 'bottleneck'."
                    )
        least = {"deep": 2, "tiered": 8}.get(self.stem, 1)
        if self.stem_channels < least:
            field = "width" if self.stem_width is None else "stem_width"
            raise SpecError(
                f"{field} (={self.stem_channels}) must be at least {least} with stem {self.stem!r}, whose first layers "
                f"have less than the stem's width."
            )
        self._check_start()
        self._check_widths()
        self._check_sizes()

    def _check_start(self) -> None:
        """Two zeros in a row pass no gradient to either, and the branch would never learn; a sigmoid gives no zero."""
        if not (self.residual and self.zero_init_residual):
            return
        if self.residual_scale == "skipinit":
            raise SpecError(
                "zero_init_residual (=True) must be False with residual_scale 'skipinit', which starts at zero too: "
                "the branch would never learn."
            )
        if self.activation_order == "relu_before_add" and self.activation == "relu":
            raise SpecError(
                "zero_init_residual (=True) must be False with activation_order 'relu_before_add' and ReLU, whose "
                "gradient at zero is zero: the branch would never learn."
            )
        if self.activation_order == "relu_before_add" and self.activation == "sigmoid":
            raise SpecError(
                "zero_init_residual (=True) must be False with activation_order 'relu_before_add' and sigmoid, which "
                "makes 0.5 of zero: the branch would not start with nothing to add."
            )

    def _check_widths(self) -> None:
        stages = range(1, len(self.depths) + 1)
        inner = [self.inner_width(stage) for stage in stages]
        for stage in stages:
            if inner[stage - 1] < 1:
                width = self.stage_width(stage)
                raise SpecError(
                    f"width_per_group (={self.width_per_group}) leaves a spatial convolution without channels at width "
                    f"{width}; it must be at least {-(-64 // width)}."
                )
        outer = [self.stem_channels, *(self.stage_width(stage) * self.expansion for stage in stages)]
        if self.residual and self.shortcut == "A" and outer != sorted(outer):
            raise SpecError(
                f"shortcut (={self.shortcut!r}) must not be 'A' where channels become fewer, from "
                f"{' to '.join(map(str, outer))}: option A can only add channels of zeros."
            )
        narrowest = min(self.stem_widths[0], *inner)
        if narrowest == 1:
            # alone in its group, a channel of a 1x1 map would become 0, and so would the only weight of a filter
            where = "the stem" if self.stem_widths[0] == 1 else f"stage {inner.index(1) + 1}"
            for name, wrong, right in (
                ("norm", "group", "'batch' or 'none'"),
                ("weight_standardization", True, "False"),
            ):
                if getattr(self, name) == wrong:
                    raise SpecError(
                        f"{name} (={wrong!r}) must be {right} where a layer has one channel, as in {where}."
                    )
        if max(inner) > MAX_INNER_WIDTH:
            field = "stage_widths" if self.stage_widths else "width"
            raise SpecError(
                f"{field} (={getattr(self, field)}), cardinality (={self.cardinality}) and width_per_group "
                f"(={self.width_per_group}) give 3x3 convolutions of {max(inner):,} channels in stage "
                f"{inner.index(max(inner)) + 1}; at most {MAX_INNER_WIDTH:,} are allowed."
            )

    def _check_sizes(self) -> None:
        sides = [min(self.image_size)]  # of the feature maps, before each halving and after the last
        macs, c_in, reached = 0, self.stem_channels, self.stem_stride
        steps = self.stage_steps()
        for _ in range({1: 0, 4: 2}[self.stem_stride]):
            sides.append(-(-sides[-1] // 2))
        for stage, depth in enumerate(self.depths, 1):
            if steps[stage - 1][0] == 2:
                reached *= 2
                sides.append(-(-sides[-1] // 2))
            inner, c_out = self.inner_width(stage), self.stage_width(stage) * self.expansion
            pixels = math.prod(-(-side // reached) for side in self.image_size)
            # A bound from above: every block's convolutions on the resolution that comes in, a projection and a gate.
            block = self.kernel_size**2 * (inner + c_in) * inner + 4 * max(c_in, c_out) * (inner + c_out)
            macs, c_in = macs + 4 * depth * block * pixels, c_out
        if macs > MAX_MACS:
            raise SpecError(
                f"depths (={self.depths}), kernel_size (={self.kernel_size}), image_size (={self.image_size}) and the "
                f"widths make a net that may need more than 10^18 multiply-accumulates for an image; make one of them "
                f"smaller."
            )
        if len(sides) > 1 and sides[-2] < 2:
            raise SpecError(
                f"image_size (={self.image_size}) is too small for a net that shrinks it {reached} times: a stride "
                f"would meet a feature map of one pixel. Use at least {reached // 2 + 1} pixels a side, fewer stages "
                f"or a smaller output_stride."
            )
        if self.antialias == "blur" and self.dilates and sides[-1] < 2:
            raise SpecError(
                f"image_size (={self.image_size}) is too small for antialias 'blur' with output_stride "
                f"{self.output_stride}: the blur mirrors a feature map at its edges and needs two pixels. Use at least "
                f"{reached + 1} pixels a side."
            )

    @property
    def expansion(self) -> int:
        """Channels out of a block, in multiples of its stage's width: 1 or 4."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the main path, as the papers count: ResNet-50 has 50.

        Projections, gates and attention are not counted; a deep stem counts its three convolutions.
        """
        return len(self.stem_widths) + sum(self.depths) * (3 if self.block == "bottleneck" else 2) + 1

    @property
    def stem_channels(self) -> int:
        """Channels that leave the stem."""
        return self.width if self.stem_width is None else self.stem_width

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Channels out of each convolution of the stem: one, or three in a deep one."""
        half = self.stem_channels // 2
        first = {"deep": (half, half), "tiered": (3 * (half // 4), half)}.get(self.stem, ())
        return (*first, self.stem_channels)

    @property
    def stem_stride(self) -> int:
        """Input pixels a pixel of the first stage's input stands for, along one axis."""
        return _STEM_STRIDES[self.stem]

    @property
    def total_stride(self) -> int:
        """Input pixels a pixel of the last feature map stands for, along one axis."""
        return max(self.stem_stride, min(self._asked_stride, self.output_stride))

    @property
    def dilates(self) -> bool:
        """Whether a stage dilates instead of striding, as `output_stride` is reached."""
        return self._asked_stride > self.output_stride

    @property
    def _asked_stride(self) -> int:
        return self.stem_stride * math.prod(self.stage_stride(stage) for stage in range(1, len(self.depths) + 1))

    def stage_steps(self) -> list[tuple[int, int]]:
        """Stride and dilation of each stage: once `output_stride` is reached it dilates instead of striding."""
        steps, reached, dilation = [], self.stem_stride, 1
        for stage in range(1, len(self.depths) + 1):
            stride = self.stage_stride(stage)
            if stride == 2 and reached >= self.output_stride:
                stride, dilation = 1, dilation * 2
            reached *= stride
            steps.append((stride, dilation))
        return steps

    def stage_stride(self, stage: int) -> int:
        """Stride of a stage (1, 2, ...), unless it dilates instead: 1 or 2."""
        return self.strides[stage - 1] if self.strides else min(stage, 2)

    def stage_width(self, stage: int) -> int:
        """Channels of a stage (1, 2, ...) before the expansion."""
        return self.stage_widths[stage - 1] if self.stage_widths else self.width * 2 ** (stage - 1)

    def inner_width(self, stage: int) -> int:
        """Channels of the 3x3 convolutions of a stage (1, 2, ...), all groups together."""
        if self.block == "basic":
            return self.stage_width(stage)
        return self.stage_width(stage) * self.width_per_group // 64 * self.cardinality

    def to_json(self) -> str:
        """Every field, as a JSON object; `from_json` reads it back."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ResNetSpec":
        """The spec that `to_json` wrote; a field that is left out has its default.

        Raises:
            SpecError: not JSON, not an object, an unknown field, or a net that cannot be.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise SpecError('The text is not JSON; it should be an object such as {"block": "basic"}.') from None
        if not isinstance(values, dict):
            raise SpecError(
                f'The JSON holds a {type(values).__name__}; it should be an object such as {{"block": "basic"}}.'
            )
        for name in values:
            knob(name)
        return cls(**values)

    def to_query(self, preset: str | None = None) -> dict[str, str]:
        """A link: a preset, by default the nearest, and the fields that differ from it.

        >>> replace(PRESETS["resnet50"], width=32).to_query()
        {'net': 'resnet50', 'width': '32'}
        """
        name = preset or self.nearest_preset()
        return {"net": name} | {field: _to_text(getattr(self, field)) for field in self.differences(PRESETS[name])}

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "ResNetSpec":
        """The spec of a link; an empty one gives the default net.

        Raises:
            SpecError: an unknown net or field, a value that does not read, or a net that cannot be.
        """
        query = dict(query)
        name = query.pop("net", DEFAULT)
        if name not in PRESETS:
            raise SpecError(f"net (={_short(name)}) is not a preset; {_near(name, PRESETS)}.")
        changes = {field: _from_text(field, text) for field, text in query.items()}
        return replace(PRESETS[name], **changes)

    def to_text(self, preset: str | None = None) -> str:
        """A link's content in one line: a preset, by default the nearest, and the fields that differ from it.

        >>> replace(PRESETS["resnet50"], width=32, depths=(3, 4, 8, 3)).to_text()
        'resnet50 depths=3,4,8,3 width=32'
        """
        name, *changes = self.to_query(preset).items()
        return " ".join([name[1], *(f"{field}={value}" for field, value in changes)])

    @classmethod
    def from_text(cls, text: str) -> "ResNetSpec":
        """The spec of such a line.

        Raises:
            SpecError: an unknown preset or field, a value that does not read, or a net that cannot be.

        >>> ResNetSpec.from_text("resnet50 width=32").width
        32
        """
        name, *words = text.split() or [""]
        changes: dict[str, str] = {}
        for word in words:
            field, sign, value = word.partition("=")
            if not sign:
                raise SpecError(f"{_short(word)} must be a field and its value, as in width=32.")
            if field in changes:
                raise SpecError(f"{_short(field)} is there twice; once would be right.")
            knob(field)  # else "net" would name another preset
            changes[field] = value
        return cls.from_query({"net": name, **changes})

    def applies(self, name: str) -> bool:
        """Whether a field has an effect beside the others."""
        return applies(name, vars(self))

    def nearest_preset(self) -> str:
        """The name of the preset from which the fewest fields differ; the first of equals."""
        return min(PRESETS, key=lambda name: len(self.differences(PRESETS[name])))

    def differences(self, other: "ResNetSpec") -> tuple[str, ...]:
        """The names of the fields in which two specs differ."""
        return tuple(item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name))


def knob(name: str) -> Knob:
    """What a person should know of the field.

    Raises:
        SpecError: no field of that name.
    """
    if name not in _KNOBS:
        raise SpecError(f"{_short(name)} is not a field of a net; {_near(name, _KNOBS)}.")
    return _KNOBS[name]


def applies(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a field has an effect beside these values of the others, which need not make a net together.

    >>> applies("shortcut", {"residual": False})
    False
    """
    if name == "output_stride":
        strides = values["strides"] or (1,) + (2,) * (len(values["depths"]) - 1)
        return _STEM_STRIDES[values["stem"]] * math.prod(strides) > min(get_args(OutputStride))
    return all(values[other] in right for other, right in knob(name).applies)


def _check_field(name: str, value: Any, knob: Knob) -> None:
    """Type and range of one field; bool is no number here."""
    if isinstance(knob.default, tuple):
        least, most, meaning = {
            "depths": (1, MAX_STAGES, f"1 to {MAX_STAGES} numbers, the blocks of each stage"),
            "image_size": (2, 2, "height and width"),
        }.get(name, (0, MAX_STAGES, "a number for each stage, or none for the usual ones"))
        if not isinstance(value, tuple) or not least <= len(value) <= most:
            raise SpecError(f"{name} (={_short(value)}) must be {meaning}.")
        for number in value:
            _check_number(name, number, value, knob)
    elif knob.choices:
        # `True == 1` and `8.0 == 8`: only the choices themselves, not what equals them
        if not any(type(value) is type(choice) and value == choice for choice in knob.choices):
            raise SpecError(f"{name} (={_short(value)}) must be one of {', '.join(map(repr, knob.choices))}.")
    elif isinstance(knob.default, float):
        if type(value) is not float or not knob.low <= value <= knob.high:
            raise SpecError(f"{name} (={_short(value)}) must be a number from {knob.low:g} to {knob.high:g}.")
    elif isinstance(knob.default, bool):
        if not isinstance(value, bool):
            raise SpecError(f"{name} (={_short(value)}) must be True or False.")
    elif not (knob.optional and value is None):
        _check_number(name, value, value, knob)


def _check_number(name: str, number: Any, shown: Any, knob: Knob) -> None:
    if type(number) is not int or not knob.low <= number <= knob.high:
        what = "whole numbers" if isinstance(shown, tuple) else "a whole number"
        raise SpecError(
            f"{name} (={_short(shown)}) must be {what} from {knob.low:,} to {knob.high:,}"
            f"{', or None for the usual' if knob.optional else ''}."
        )


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _from_text(name: str, text: str) -> Any:
    """The value of a field as a link writes it; raises SpecError."""
    rules = knob(name)
    default = rules.default
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text]
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split(",")) if text else ()
        if isinstance(default, float):
            return float(text)
        if rules.optional and text == "none":
            return None
        return int(text) if isinstance(default, int) or rules.optional else text
    except (KeyError, ValueError):
        usual = PRESETS[DEFAULT]
        per_stage = {"strides": usual.stage_stride, "stage_widths": usual.stage_width}
        if name in per_stage:
            default = tuple(map(per_stage[name], (1, 2, 3, 4)))
        elif rules.optional:
            default = usual.stem_channels
        right = "true or false" if isinstance(default, bool) else _to_text(default)
        raise SpecError(
            f"{name} (={_short(text)}) does not read; for {rules.label.lower()} write something like {right}."
        ) from None


def _short(value: Any) -> str:
    """The value as a sentence can hold it, however long a stranger made it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write integers of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _near(name: str, names: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, names, n=5)
    return f"near names are {', '.join(near)}" if near else f"there are {', '.join(list(names)[:5])} and others"


DEFAULT = "resnet50"
_KNOBS: dict[str, Knob] = {item.name: item.metadata["knob"] for item in fields(ResNetSpec)}


def _presets() -> dict[str, ResNetSpec]:
    """Nets by their usual names: torchvision's, the papers' and timm's."""
    of = replace
    bottleneck = ResNetSpec()
    basic = of(bottleneck, block="basic")
    depths = {
        10: (1, 1, 1, 1),
        14: (1, 1, 1, 1),
        18: (2, 2, 2, 2),
        26: (2, 2, 2, 2),
        34: (3, 4, 6, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
        200: (3, 24, 36, 3),
        269: (3, 30, 48, 8),
    }
    resnet = {n: of(basic if n in (10, 18, 34) else bottleneck, depths=depths[n]) for n in depths}
    groups = ((26, 32, 4), (50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 32, 16), (101, 32, 32), (101, 64, 4))
    resnext = {(n, g, w): of(resnet[n], cardinality=g, width_per_group=w) for n, g, w in groups}
    # The letters of He T. et al. 2018 and of timm: what each changes
    c: dict[str, Any] = {"stem": "deep"}
    d: dict[str, Any] = {"stem": "deep", "downsample": "avg"}
    s: dict[str, Any] = {"stem": "deep", "stem_width": 128}
    t: dict[str, Any] = {"stem": "tiered", "downsample": "avg"}
    presets = {f"resnet{n}": resnet[n] for n in (18, 34, 50, 101, 152)}
    presets |= {f"resnext{n}_{g}x{w}d": resnext[n, g, w] for n, g, w in ((50, 32, 4), (101, 32, 8), (101, 64, 4))}
    presets |= {f"wide_resnet{n}_2": of(resnet[n], width_per_group=128) for n in (50, 101)}
    presets |= {f"plain{n}": of(resnet[n], residual=False) for n in (18, 34)}
    presets |= {"resnet34_a": of(resnet[34], shortcut="A"), "resnet50_v1": of(resnet[50], stride_on="1x1")}
    cifar = of(basic, width=16, shortcut="A", stem="cifar", num_classes=10, image_size=(32, 32))
    for n in (20, 32, 44, 56, 110, 1202):
        presets[f"cifar_resnet{n}"] = of(cifar, depths=((n - 2) // 6,) * 3)
    for n in (20, 32, 44, 56, 110):
        presets[f"cifar_plain{n}"] = of(presets[f"cifar_resnet{n}"], residual=False)
    # The book's own code has biases in its convolutions and no norm on projections: 3,008 parameters more.
    presets["d2l_resnet18"] = of(resnet[18], in_channels=1, num_classes=10)
    # From here on timm's
    presets |= {f"resnet{n}": resnet[n] for n in (26, 200)}
    presets |= {f"resnet{n}c": of(resnet[n], **c) for n in (50, 101, 152)}
    presets |= {f"resnet{n}d": of(resnet[n], **d) for n in (18, 26, 34, 50, 101, 152, 200)}
    presets |= {f"resnet{n}s": of(resnet[n], **s) for n in (50, 101, 152)}
    presets |= {f"resnet{n}t": of(resnet[n], **t) for n in (10, 14, 26, 50)}
    presets |= {"resnet50_gn": of(resnet[50], norm="group")}
    presets |= {"resnext50d_32x4d": of(resnext[50, 32, 4], **d), "resnext101_32x4d": resnext[101, 32, 4]}
    presets |= {f"resnext101_32x{w}d": resnext[101, 32, w] for w in (16, 32)}
    presets |= {f"seresnet{n}": of(resnet[n], attention="se") for n in (18, 34, 50, 101, 152)}
    presets |= {f"seresnet{n}d": of(resnet[n], attention="se", **d) for n in (152, 200, 269)}
    presets |= {"seresnet50t": of(resnet[50], attention="se", **t)}
    presets |= {
        f"seresnext{n}_{g}x{w}d": of(resnext[n, g, w], attention="se")
        for n, g, w in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4))
    }
    presets |= {f"seresnext{n}d_32x{w}d": of(resnext[n, 32, w], attention="se", **d) for n, w in ((26, 4), (101, 8))}
    presets |= {"seresnext26t_32x4d": of(resnext[26, 32, 4], attention="se", **t)}
    presets |= {f"ecaresnet{n}d": of(resnet[n], attention="eca", **d) for n in (50, 101, 200, 269)}
    presets |= {f"ecaresnet{n}t": of(resnet[n], attention="eca", **t) for n in (26, 50)}
    presets |= {f"ecaresnext{n}t_32x4d": of(resnext[n, 32, 4], attention="eca", **t) for n in (26, 50)}
    presets |= {"ecaresnetlight": of(resnet[50], depths=(1, 1, 11, 3), attention="eca", downsample="avg")}
    presets |= {"cbam_resnet50": of(resnet[50], attention="cbam")}
    presets |= {f"resnetblur{n}": of(resnet[n], antialias="blur") for n in (18, 50)}
    presets |= {f"resnetblur{n}d": of(resnet[n], antialias="blur", **d) for n in (50, 101)}
    presets |= {f"resnetaa{n}d": of(resnet[n], antialias="avg", **d) for n in (34, 50, 101)}
    presets |= {"resnetaa50": of(resnet[50], antialias="avg")}
    presets |= {"seresnetaa50d": of(resnet[50], attention="se", antialias="avg", **d)}
    presets |= {"seresnextaa101d_32x8d": of(resnext[101, 32, 8], attention="se", antialias="avg", **d)}
    v2 = {n: of(resnet[n], activation_order="preact") for n in (18, 34, 50, 101, 152)}
    presets |= {f"resnetv2_{n}": v2[n] for n in v2}
    presets |= {f"resnetv2_{n}d": of(v2[n], **d) for n in v2}
    # timm's gn net gives each of the stem's 32 channels a group of its own; here two channels share one.
    presets |= {"resnetv2_50t": of(v2[50], **t)}
    return presets


PRESETS: dict[str, ResNetSpec] = _presets()
