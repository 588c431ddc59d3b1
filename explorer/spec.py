"""One frozen description of a residual network; everything else in the package is made from it.

Standard library only, so that a page can draw its controls before PyTorch is loaded. What a person should know of
a field (label, help, paper, range) stands beside the field, once: the sidebar, the checks and the links read it there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from explorer.errors import Refusal

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B", "C"]
StrideOn = Literal["1x1", "3x3"]
Stem = Literal["imagenet", "cifar", "deep"]
Downsample = Literal["conv", "avg"]
Attention = Literal["none", "se"]
Norm = Literal["batch", "group", "none"]
Activation = Literal["relu", "leaky_relu", "gelu", "silu"]
OutputStride = Literal[8, 16, 32]
Size = tuple[int, int]

_STEM_STRIDES = {"imagenet": 4, "cifar": 1, "deep": 4}
MAX_STAGES = 5
MAX_BLOCKS, MAX_BLOCKS_CIFAR = 64, 200  # a stage; 200 is the n of the paper's 1202-layer net, 6n + 2
MAX_INNER_WIDTH = 65_536  # channels of a 3x3 convolution; keeps every count inside 64 bits at every image size


class SpecError(Refusal):
    """A net that cannot be; the message names the field, its value and what would be right."""


@dataclass(frozen=True)
class Knob:
    """What a person should know of one field of the spec."""

    label: str
    group: str
    help: str
    source: str
    choices: tuple[Any, ...] = ()
    low: int = 0
    high: int = 0
    stops: tuple[int, ...] = ()  # the values worth offering, where a range is too wide to point at each
    applies: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # (field, values): has an effect only where all of these hold


def _knob(
    default: Any,
    group: str,
    label: str,
    source: str,
    help: str,  # noqa: A002
    *,
    among: Any = None,
    between: tuple[int, int] = (0, 0),
    stops: tuple[int, ...] = (),
    applies: Mapping[str, tuple[Any, ...]] | None = None,
) -> Any:
    choices = get_args(among) if among else ()
    knob = Knob(label, group, help, source, choices, *between, stops, tuple((applies or {}).items()))
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
        "stage after the first halves the resolution and doubles the channels.",
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
    stride_on: StrideOn = _knob(
        "3x3",
        "Blocks",
        "Stride on",
        "He et al. 2015 (v1: 1x1); Goyal et al. 2017, arXiv 1706.02677 (v1.5: 3x3)",
        "Which convolution of a bottleneck halves the resolution. The 2015 paper strides the 1x1, which skips three "
        "quarters of its input; torchvision strides the 3x3.",
        among=StrideOn,
        applies={"block": ("bottleneck",)},
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
        "He et al. 2015, arXiv 1512.03385, section 3.3",
        "A: identity everywhere; where shapes change it is strided and padded with zero channels, without parameters. "
        "B: a 1x1 projection where shapes change. C: a projection in every block.",
        among=Shortcut,
        applies={"residual": (True,)},
    )
    downsample: Downsample = _knob(
        "conv",
        "Shortcuts",
        "Projection shrinks by",
        "He T. et al. 2018 (ResNet-D), arXiv 1812.01187, figure 2c",
        "Conv: the 1x1 projection is strided and sees a quarter of its input. Avg: a 2x2 average pool shrinks first, "
        "then the 1x1 sees all of it.",
        among=Downsample,
        applies={"residual": (True,), "shortcut": ("B", "C")},
    )
    preactivation: bool = _knob(
        False,
        "Shortcuts",
        "Pre-activation",
        "He et al. 2016, arXiv 1603.05027, figure 4e",
        "Norm and activation come before each convolution, so that nothing but sums stands on the identity path.",
    )
    zero_init_residual: bool = _knob(
        False,
        "Shortcuts",
        "Zero-init residual",
        "Goyal et al. 2017, arXiv 1706.02677, section 5.1",
        "The last layer of each main branch starts at zero (the norm's gamma, or the convolution where no norm comes "
        "last), so that every block starts as its shortcut. Changes no count.",
        applies={"residual": (True,)},
    )
    stem: Stem = _knob(
        "imagenet",
        "Stem and stages",
        "Stem",
        "He et al. 2015, table 1 and section 4.2; He T. et al. 2018 (ResNet-C), arXiv 1812.01187",
        "ImageNet: 7x7 convolution of stride 2, then a max pool. CIFAR: one 3x3 of stride 1. Deep (ResNet-C): three "
        "3x3 in place of the 7x7.",
        among=Stem,
    )
    output_stride: OutputStride = _knob(
        32,
        "Stem and stages",
        "Largest output stride",
        "Chen et al. 2017 (DeepLab v3), arXiv 1706.05587; Yu & Koltun 2015, arXiv 1511.07122",
        "Once the net has shrunk the picture this many times, later stages dilate their convolutions instead of "
        "striding, which keeps the resolution and the parameters.",
        among=OutputStride,
    )
    attention: Attention = _knob(
        "none",
        "Layers",
        "Channel attention",
        "Hu et al. 2017 (SENet), arXiv 1709.01507",
        "Squeeze-and-excitation: each block weighs its channels by what the whole feature map holds, through two small "
        "layers of about a sixteenth of its channels (a multiple of 8).",
        among=Attention,
    )
    norm: Norm = _knob(
        "batch",
        "Layers",
        "Normalisation",
        "Ioffe & Szegedy 2015, arXiv 1502.03167; Wu & He 2018, arXiv 1803.08494",
        "Batch: over the images of a batch. Group: over up to 32 groups of channels of one image. None: convolutions "
        "carry a bias instead.",
        among=Norm,
    )
    activation: Activation = _knob(
        "relu",
        "Layers",
        "Activation",
        "Nair & Hinton 2010; Maas et al. 2013; Hendrycks & Gimpel 2016, arXiv 1606.08415; Elfwing et al. 2017, "
        "arXiv 1702.03118",
        "The non-linearity after each norm. Changes no count; the networks of the papers use ReLU.",
        among=Activation,
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
    )

    def __post_init__(self) -> None:
        for name in ("depths", "image_size"):
            if isinstance(getattr(self, name), list):  # as JSON gives them; a list could not be hashed
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for item in fields(self):
            _check_field(item.name, getattr(self, item.name), item.metadata["knob"])
        self._check_combinations()

    def _check_combinations(self) -> None:
        most = MAX_BLOCKS_CIFAR if self.stem == "cifar" else MAX_BLOCKS
        if max(self.depths) > most:
            raise SpecError(
                f"depths (={self.depths}) must stay at {most} blocks a stage with stem {self.stem!r}; "
                f"only the CIFAR stem goes to {MAX_BLOCKS_CIFAR}."
            )
        if self.block == "basic":
            for name, right in (("cardinality", 1), ("width_per_group", 64)):
                if getattr(self, name) != right:
                    raise SpecError(
                        f"{name} (={getattr(self, name)}) must be {right} with block 'basic'; groups need the 1x1 "
                        f"convolutions of block 'bottleneck'."
                    )
        if self.stem == "deep" and self.width < 2:
            raise SpecError(
                f"width (={self.width}) must be at least 2 with stem 'deep', whose first layers have half of it."
            )
        inner = [self.inner_width(stage) for stage in range(1, len(self.depths) + 1)]
        if inner[0] < 1:
            raise SpecError(
                f"width_per_group (={self.width_per_group}) leaves a 3x3 convolution without channels at width "
                f"{self.width}; it must be at least {-(-64 // self.width)}."
            )
        narrowest = min(self.width // 2 if self.stem == "deep" else self.width, inner[0])
        if self.norm == "group" and narrowest == 1:  # alone in its group, one channel of a 1x1 map would become 0
            raise SpecError(
                f"norm (={self.norm!r}) must be 'batch' or 'none' where a layer has one channel; width (={self.width}) "
                f"and width_per_group (={self.width_per_group}) leave one to the narrowest."
            )
        if inner[-1] > MAX_INNER_WIDTH:
            raise SpecError(
                f"width (={self.width}), cardinality (={self.cardinality}) and width_per_group "
                f"(={self.width_per_group}) give 3x3 convolutions of {inner[-1]:,} channels in stage "
                f"{len(self.depths)}; at most {MAX_INNER_WIDTH:,} are allowed."
            )
        stride = self.total_stride
        if min(self.image_size) <= stride // 2:
            raise SpecError(
                f"image_size (={self.image_size}) is too small for a net that shrinks it {stride} times: a stride "
                f"would meet a feature map of one pixel. Use at least {stride // 2 + 1} pixels a side, fewer stages or "
                f"a smaller output_stride."
            )

    @property
    def expansion(self) -> int:
        """Channels out of a block, in multiples of its stage's width: 1 or 4."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the main path, as the papers count: ResNet-50 has 50.

        Projections and squeeze-excitation are not counted; a deep stem counts its three convolutions.
        """
        return (3 if self.stem == "deep" else 1) + sum(self.depths) * (3 if self.block == "bottleneck" else 2) + 1

    @property
    def stem_stride(self) -> int:
        """Input pixels a pixel of the first stage stands for, along one axis."""
        return _STEM_STRIDES[self.stem]

    @property
    def total_stride(self) -> int:
        """Input pixels a pixel of the last feature map stands for, along one axis."""
        return min(self.stem_stride * 2 ** (len(self.depths) - 1), self.output_stride)

    def stage_width(self, stage: int) -> int:
        """Channels of a stage (1, 2, ...) before the expansion."""
        return self.width * 2 ** (stage - 1)

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
            raise SpecError(f"net (={_short(name)}) is not a preset; {_known(PRESETS)}.")
        changes = {field: _from_text(field, text) for field, text in query.items()}
        return replace(PRESETS[name], **changes)

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
        raise SpecError(f"{_short(name)} is not a field of a net; {_known(_KNOBS)}.")
    return _KNOBS[name]


def applies(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a field has an effect beside these values of the others, which need not make a net together.

    >>> applies("shortcut", {"residual": False})
    False
    """
    if name == "output_stride":
        return _STEM_STRIDES[values["stem"]] * 2 ** (len(values["depths"]) - 1) > min(get_args(OutputStride))
    return all(values[other] in right for other, right in knob(name).applies)


def _check_field(name: str, value: Any, knob: Knob) -> None:
    """Type and range of one field; bool is no number here."""
    if name in ("depths", "image_size"):
        count = (1, MAX_STAGES) if name == "depths" else (2, 2)
        if not isinstance(value, tuple) or not count[0] <= len(value) <= count[1]:
            meaning = f"1 to {MAX_STAGES} numbers, the blocks of each stage" if name == "depths" else "height and width"
            raise SpecError(f"{name} (={_short(value)}) must be {meaning}.")
        for number in value:
            _check_number(name, number, value, knob)
    elif knob.choices:
        # `True == 1` and `8.0 == 8`: only the choices themselves, not what equals them
        if not any(type(value) is type(choice) and value == choice for choice in knob.choices):
            raise SpecError(f"{name} (={_short(value)}) must be one of {', '.join(map(repr, knob.choices))}.")
    elif knob.high:
        _check_number(name, value, value, knob)
    elif not isinstance(value, bool):
        raise SpecError(f"{name} (={_short(value)}) must be True or False.")


def _check_number(name: str, number: Any, shown: Any, knob: Knob) -> None:
    if type(number) is not int or not knob.low <= number <= knob.high:
        what = "whole numbers" if isinstance(shown, tuple) else "a whole number"
        raise SpecError(f"{name} (={_short(shown)}) must be {what} from {knob.low:,} to {knob.high:,}.")


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_text(name: str, text: str) -> Any:
    """The value of a field as a link writes it; raises SpecError."""
    rules = knob(name)
    default = getattr(PRESETS[DEFAULT], name)
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text]
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split(","))
        return int(text) if isinstance(default, int) else text
    except (KeyError, ValueError):
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


def _known(names: Mapping[str, Any]) -> str:
    return "known are " + ", ".join(names)


DEFAULT = "resnet50"
_KNOBS: dict[str, Knob] = {item.name: item.metadata["knob"] for item in fields(ResNetSpec)}


def _presets() -> dict[str, ResNetSpec]:
    """Nets by their usual names: torchvision's ten, the papers', and timm's where it has the reference."""
    resnet50 = ResNetSpec()
    resnet18 = ResNetSpec(block="basic", depths=(2, 2, 2, 2))
    resnet34 = replace(resnet18, depths=(3, 4, 6, 3))
    resnet101 = replace(resnet50, depths=(3, 4, 23, 3))
    presets = {
        "resnet18": resnet18,
        "resnet34": resnet34,
        "resnet50": resnet50,
        "resnet101": resnet101,
        "resnet152": replace(resnet50, depths=(3, 8, 36, 3)),
        "resnext50_32x4d": replace(resnet50, cardinality=32, width_per_group=4),
        "resnext101_32x8d": replace(resnet101, cardinality=32, width_per_group=8),
        "resnext101_64x4d": replace(resnet101, cardinality=64, width_per_group=4),
        "wide_resnet50_2": replace(resnet50, width_per_group=128),
        "wide_resnet101_2": replace(resnet101, width_per_group=128),
        "plain18": replace(resnet18, residual=False),
        "plain34": replace(resnet34, residual=False),
        "resnet34_a": replace(resnet34, shortcut="A"),
        "resnet50_v1": replace(resnet50, stride_on="1x1"),
    }
    cifar = ResNetSpec(
        block="basic", width=16, shortcut="A", stem="cifar", num_classes=10, image_size=(32, 32), depths=(3,) * 3
    )
    for depth in (20, 32, 44, 56, 110, 1202):
        presets[f"cifar_resnet{depth}"] = replace(cifar, depths=((depth - 2) // 6,) * 3)
    for depth in (20, 32, 44, 56, 110):
        presets[f"cifar_plain{depth}"] = replace(presets[f"cifar_resnet{depth}"], residual=False)
    return presets | {
        "resnet50_v2": replace(resnet50, preactivation=True),
        "resnet50d": replace(resnet50, stem="deep", downsample="avg"),
        "seresnet50": replace(resnet50, attention="se"),
        # The book's own code has biases in its convolutions and no norm on projections: 3,008 parameters more.
        "d2l_resnet18": replace(resnet18, in_channels=1, num_classes=10),
    }


PRESETS: dict[str, ResNetSpec] = _presets()
