"""The spec: every sentence that it refuses with, what it survives, and what links and JSON hold."""

import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FEW, specs

from explorer.models.resnet import build
from explorer.spec import MAX_INNER_WIDTH, PRESETS, ResNetSpec, SpecError, applies, knob

FIELDS = [item.name for item in fields(ResNetSpec)]


def refusal(**values: Any) -> str:
    """The sentence with which these values are refused."""
    with pytest.raises(SpecError) as caught:
        ResNetSpec(**values)
    return str(caught.value)


# --- one field


@pytest.mark.parametrize(
    ("name", "value", "shown", "right"),
    [
        ("block", "wide", "'wide'", "'basic', 'bottleneck'"),
        ("depths", (), "()", "1 to 5 numbers"),
        ("depths", (1,) * 6, "(1, 1, 1, 1, 1, 1)", "1 to 5 numbers"),
        ("depths", (3, 0), "(3, 0)", "whole numbers from 1 to 200"),
        ("depths", (201,), "(201,)", "whole numbers from 1 to 200"),
        ("depths", 3, "3", "1 to 5 numbers"),
        ("depths", "3463", "'3463'", "1 to 5 numbers"),
        ("width", 0, "0", "a whole number from 1 to 512"),
        ("width", 513, "513", "a whole number from 1 to 512"),
        ("cardinality", 0, "0", "a whole number from 1 to 256"),
        ("cardinality", 257, "257", "a whole number from 1 to 256"),
        ("width_per_group", 0, "0", "a whole number from 1 to 512"),
        ("width_per_group", 513, "513", "a whole number from 1 to 512"),
        ("kernel_size", 4, "4", "3, 5, 7"),
        ("stride_on", "2x2", "'2x2'", "'1x1', '3x3'"),
        ("stage_widths", (64, 0, 64, 64), "(64, 0, 64, 64)", "whole numbers from 1 to 8,192"),
        ("stage_widths", (8193,), "(8193,)", "whole numbers from 1 to 8,192"),
        ("stage_widths", (1,) * 6, "(1, 1, 1, 1, 1, 1)", "a number for each stage, or none"),
        ("stage_widths", 64, "64", "a number for each stage, or none"),
        ("strides", (1, 3, 2, 2), "(1, 3, 2, 2)", "whole numbers from 1 to 2"),
        ("strides", (1,) * 6, "(1, 1, 1, 1, 1, 1)", "a number for each stage, or none"),
        ("residual", None, "None", "True or False"),
        ("shortcut", "D", "'D'", "'A', 'B', 'C', 'highway', 'gated'"),
        ("shortcut", "a", "'a'", "'A', 'B', 'C', 'highway', 'gated'"),
        ("gate_bias", 1, "1", "a whole number from -10 to 0"),
        ("gate_bias", -11, "-11", "a whole number from -10 to 0"),
        ("downsample", "max", "'max'", "'conv', 'avg'"),
        (
            "activation_order",
            "pre",
            "'pre'",
            "'original', 'bn_after_add', 'relu_before_add', 'relu_preact', 'preact'",
        ),
        ("residual_scale", "zero", "'zero'", "'none', 'constant', 'skipinit', 'layerscale'"),
        ("scale_start", 1.5, "1.5", "a number from 1e-06 to 1"),
        ("scale_start", 2, "2", "a number from 1e-06 to 1"),
        ("scale_start", -1e-9, "-1e-09", "a number from 1e-06 to 1"),
        ("init", "he", "'he'", "'kaiming_fan_out', 'kaiming_fan_in', 'xavier', 'orthogonal', 'pytorch'"),
        ("zero_init_residual", 2, "2", "True or False"),
        ("stochastic_depth", 1, "1", "a number from 0 to 0.9"),
        ("stochastic_depth", float("inf"), "inf", "a number from 0 to 0.9"),
        ("block_dropout", -0.1, "-0.1", "a number from 0 to 0.9"),
        ("head_dropout", "0.5", "'0.5'", "a number from 0 to 0.9"),
        ("stem", "", "''", "'imagenet', 'cifar', 'deep', 'tiered'"),
        ("stem_width", 0, "0", "a whole number from 1 to 512, or None for the usual"),
        ("stem_width", 513, "513", "a whole number from 1 to 512, or None for the usual"),
        ("output_stride", 4, "4", "8, 16, 32, 64"),
        ("attention", None, "None", "'none', 'se', 'eca', 'cbam'"),
        ("antialias", True, "True", "'none', 'blur', 'avg'"),
        ("norm", "layer", "'layer'", "'batch', 'group', 'none'"),
        ("norm_groups", 3, "3", "1, 2, 4, 8, 16, 32, 64"),
        ("norm_groups", True, "True", "1, 2, 4, 8, 16, 32, 64"),
        ("weight_standardization", 1, "1", "True or False"),
        ("activation", "ReLU", "'ReLU'", "'relu', 'leaky_relu', 'gelu', 'silu', 'tanh', 'sigmoid'"),
        ("in_channels", 65, "65", "a whole number from 1 to 64"),
        ("num_classes", 100_001, "100001", "a whole number from 1 to 100,000"),
        ("image_size", (224,), "(224,)", "height and width"),
        ("image_size", (224, 224, 3), "(224, 224, 3)", "height and width"),
        ("image_size", 224, "224", "height and width"),
        ("image_size", (0, 224), "(0, 224)", "whole numbers from 1 to 4,096"),
        ("image_size", (224, 4097), "(224, 4097)", "whole numbers from 1 to 4,096"),
    ],
)
def test_a_refusal_names_the_field_echoes_the_value_and_says_what_would_be_right(
    name: str, value: Any, shown: str, right: str
) -> None:
    sentence = refusal(**{name: value})
    assert sentence.startswith(f"{name} (={shown}) must be ")
    assert right in sentence
    assert sentence.endswith(".")


WRONG = (None, 3.5, float("nan"), b"3", [], {}, {"width": 3}, object, -1)
RIGHT = {("stage_widths", "[]"), ("strides", "[]"), ("stem_width", "None"), ("gate_bias", "-1")}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in FIELDS for value in WRONG if (name, repr(value)) not in RIGHT]
)
def test_no_field_takes_a_value_of_another_kind(name: str, value: Any) -> None:
    assert refusal(**{name: value}).startswith(f"{name} (=")


@pytest.mark.parametrize(
    "name", ["width", "cardinality", "width_per_group", "gate_bias", "stem_width", "in_channels", "num_classes"]
)
@pytest.mark.parametrize("value", [True, 8.0, "8"])
def test_bool_float_and_text_are_no_whole_numbers(name: str, value: Any) -> None:
    assert f"{name} (={value!r}) must be a whole number" in refusal(**{name: value})


@pytest.mark.parametrize("name", ["depths", "stage_widths", "strides", "image_size"])
@pytest.mark.parametrize("bad", [True, 64.0, "64", None])
def test_bool_float_and_text_are_no_whole_numbers_inside_a_tuple(name: str, bad: Any) -> None:
    assert f"{name} (={(2, bad)!r}) must be whole numbers" in refusal(**{name: (2, bad)})


@pytest.mark.parametrize("name", ["stochastic_depth", "block_dropout", "head_dropout"])
def test_a_rate_takes_zero_as_a_whole_number_and_no_bool(name: str) -> None:
    spec = ResNetSpec(**{name: 0})
    assert type(getattr(spec, name)) is float
    assert spec == ResNetSpec(**{name: 0.0})
    assert f"{name} (=False) must be a number" in refusal(**{name: False})


@pytest.mark.parametrize("value", [8.0, "8", True])
def test_output_stride_takes_the_choices_themselves_and_not_what_equals_them(value: Any) -> None:
    assert "must be one of 8, 16, 32, 64." in refusal(output_stride=value)


@pytest.mark.parametrize("name", ["residual", "weight_standardization", "zero_init_residual"])
@pytest.mark.parametrize("value", [0, 1, "true"])
def test_switches_take_bools_only(name: str, value: Any) -> None:
    assert "must be True or False" in refusal(**{name: value})


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "huge",
    ["x" * 10**6, 10**5000, (10**5000,), (1,) * 10**5, [[1] * 10**5], -(10**4000)],
    ids=["text", "number", "number inside", "tuple", "list", "negative"],
)
def test_a_huge_value_does_not_blow_up_the_sentence(name: str, huge: Any) -> None:
    assert len(refusal(**{name: huge})) < 300


# --- combinations


@pytest.mark.parametrize(
    ("values", "beginning", "right"),
    [
        ({"depths": (65,)}, "depths (=(65,)) must stay at 64 blocks a stage with stem 'imagenet'", "200"),
        (
            {"depths": (2, 65), "stem": "deep"},
            "depths (=(2, 65)) must stay at 64 blocks a stage with stem 'deep'",
            "200",
        ),
        ({"block": "basic", "cardinality": 32}, "cardinality (=32) must be 1 with block 'basic'", "'bottleneck'"),
        (
            {"block": "basic", "width_per_group": 4},
            "width_per_group (=4) must be 64 with block 'basic'",
            "'bottleneck'",
        ),
        ({"stem": "deep", "width": 1}, "width (=1) must be at least 2 with stem 'deep'", "less"),
        ({"stem": "deep", "stem_width": 1}, "stem_width (=1) must be at least 2 with stem 'deep'", "less"),
        ({"stem": "tiered", "width": 7}, "width (=7) must be at least 8 with stem 'tiered'", "less"),
        ({"stem": "tiered", "stem_width": 7}, "stem_width (=7) must be at least 8 with stem 'tiered'", "less"),
        ({"strides": (1, 2)}, "strides (=(1, 2)) must hold a number for each of the 4 stages", "or none"),
        (
            {"depths": (1,), "stage_widths": (8, 8)},
            "stage_widths (=(8, 8)) must hold a number for each of the 1 stages",
            "or none",
        ),
        (
            {"shortcut": "A", "block": "basic", "stage_widths": (64, 32, 64, 64)},
            "shortcut (='A') must not be 'A' where channels become fewer, from 64 to 64 to 32 to 64 to 64",
            "only add",
        ),
        (
            {"shortcut": "A", "block": "basic", "stem_width": 65},
            "shortcut (='A') must not be 'A' where channels become fewer, from 65 to 64 to 128",
            "only add",
        ),
        (
            {"width": 8, "width_per_group": 7},
            "width_per_group (=7) leaves a spatial convolution without channels at width 8",
            "at least 8",
        ),
        (
            {"block": "basic", "width": 1, "norm": "group"},
            "norm (='group') must be 'batch' or 'none' where a layer has one channel",
            "as in the stem",
        ),
        ({"width": 3, "stem": "deep", "norm": "group"}, "norm (='group') must be 'batch' or 'none'", "in the stem"),
        ({"width": 8, "width_per_group": 8, "norm": "group"}, "norm (='group') must be 'batch'", "in stage 1"),
        (
            {"stem_width": 1, "weight_standardization": True},
            "weight_standardization (=True) must be False where a layer has one channel",
            "in the stem",
        ),
        (
            {"block": "basic", "stage_widths": (8, 8, 1, 8), "weight_standardization": True},
            "weight_standardization (=True) must be False where a layer has one channel",
            "in stage 3",
        ),
        (
            {"width": 512, "cardinality": 4, "width_per_group": 512},
            "width (=512), cardinality (=4) and width_per_group (=512) give 3x3 convolutions of 131,072 channels",
            "at most 65,536",
        ),
        (
            {"stage_widths": (64, 64, 64, 8192), "cardinality": 256, "width_per_group": 4},
            "stage_widths (=(64, 64, 64, 8192)), cardinality (=256) and width_per_group (=4) give 3x3 convolutions of "
            "131,072 channels in stage 4",
            "at most 65,536",
        ),
        (
            {"depths": (64,), "stage_widths": (8192,), "kernel_size": 7, "image_size": (4096, 4096), "stem": "cifar"},
            "depths (=(64,)), kernel_size (=7), image_size (=(4096, 4096)) and the widths make a net that may need "
            "more than 10^18 multiply-accumulates",
            "make one of them smaller",
        ),
        (
            {"antialias": "blur", "output_stride": 8, "image_size": (8, 224)},
            "image_size (=(8, 224)) is too small for antialias 'blur' with output_stride 8",
            "at least 9 pixels",
        ),
        ({"image_size": (16, 224)}, "image_size (=(16, 224)) is too small for a net that shrinks it 32 times", "17"),
        (
            {"image_size": (224, 4), "output_stride": 8},
            "image_size (=(224, 4)) is too small for a net that shrinks it 8 times",
            "at least 5 pixels",
        ),
    ],
)
def test_a_combination_that_cannot_be_is_refused_in_a_sentence(
    values: dict[str, Any], beginning: str, right: str
) -> None:
    sentence = refusal(**values)
    assert sentence.startswith(beginning)
    assert right in sentence.removeprefix(beginning)
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "values",
    [
        {"depths": (64,)},
        {"depths": (200,), "stem": "cifar"},
        {"stem": "deep", "width": 2},
        {"width": 8, "width_per_group": 8},
        {"width": 8, "width_per_group": 16, "norm": "group"},
        {"width": 4, "stem": "deep", "norm": "group"},
        {"width": 1, "norm": "none"},
        {"width": 512, "cardinality": 2, "width_per_group": 512},
        {"image_size": (17, 17)},
        {"stem": "tiered", "width": 8},
        {"stem": "tiered", "stem_width": 8, "norm": "group", "weight_standardization": True},
        {"strides": (2, 1, 2, 1)},
        {"depths": (1,), "stage_widths": (8192,)},
        {"shortcut": "A", "block": "basic", "stem_width": 48, "stage_widths": (64, 64, 128, 128)},
        {"shortcut": "A", "residual": False, "block": "basic", "stage_widths": (64, 32, 64, 64)},
        {"shortcut": "B", "block": "basic", "stage_widths": (64, 32, 64, 64)},
        {"antialias": "blur", "output_stride": 8, "image_size": (9, 9)},
        {"antialias": "avg", "output_stride": 8, "image_size": (8, 8)},
        {"antialias": "blur", "image_size": (17, 17)},
        {"antialias": "blur", "stem": "cifar", "depths": (1,), "image_size": (1, 1)},
        {"image_size": (5, 5), "output_stride": 8},
        {"image_size": (1, 1), "stem": "cifar", "depths": (1,)},
    ],
)
def test_what_the_sentence_says_is_right_is_right(values: dict[str, Any]) -> None:
    assert all(getattr(ResNetSpec(**values), name) == value for name, value in values.items())


def test_the_widest_net_allowed_has_no_wider_3x3_than_the_limit() -> None:
    spec = ResNetSpec(width=512, cardinality=2, width_per_group=512)
    assert spec.inner_width(4) == 512 * 2**3 * (512 // 64) * 2 == MAX_INNER_WIDTH


def multiply_accumulates(spec: ResNetSpec) -> int:
    """Of all blocks, with a pencil: the main branch, the projection and the gate, at the resolution they are on."""
    total, c_in, side = 0, spec.stem_channels, -(-spec.image_size[0] // spec.stem_stride)
    for stage, depth in enumerate(spec.depths, 1):
        c_out, inner = spec.stage_width(stage) * spec.expansion, spec.inner_width(stage)
        for block in range(depth):
            before, c_from = side**2, c_in if block == 0 else c_out
            if block == 0 and spec.stage_stride(stage) == 2 and spec.total_stride * side > spec.image_size[0]:
                side = -(-side // 2)
            kernel = spec.kernel_size**2 * inner * inner // spec.cardinality
            if spec.block == "bottleneck":
                total += before * c_from * inner + side**2 * (kernel + inner * c_out)
            else:
                total += side**2 * spec.kernel_size**2 * (c_from + c_out) * c_out
            total += side**2 * 2 * c_from * c_out
        c_in = c_out
    return total


@FEW
@given(
    block=st.sampled_from(("basic", "bottleneck")),
    depths=st.lists(st.sampled_from((1, 64)), min_size=1, max_size=5).map(tuple),
    widths=st.lists(st.sampled_from((64, 512, 2048, 8192)), min_size=5, max_size=5),
    width_per_group=st.sampled_from((16, 64, 512)),
    kernel_size=st.sampled_from((3, 7)),
    stride=st.sampled_from((1, 2)),
    output_stride=st.sampled_from((8, 64)),
    side=st.sampled_from((1024, 4096)),
)
def test_the_counts_of_the_largest_nets_fit_64_bits(
    block: Any, depths: Any, widths: Any, width_per_group: int, stride: int, side: int, **values: Any
) -> None:
    values |= {"stage_widths": tuple(widths[: len(depths)]), "strides": (stride,) * len(depths), "shortcut": "highway"}
    values |= {"width_per_group": width_per_group} if block == "bottleneck" else {}
    try:
        spec = ResNetSpec(block=block, depths=depths, stem="cifar", image_size=(side, side), **values)
    except SpecError:
        assume(False)
    assert multiply_accumulates(spec) < 2**63


# --- values


def test_a_list_becomes_a_tuple_so_that_the_spec_can_be_a_cache_key() -> None:
    spec = ResNetSpec(depths=[3, 4, 6, 3], image_size=[224, 224])  # type: ignore[arg-type]
    assert (spec.depths, spec.image_size) == ((3, 4, 6, 3), (224, 224))
    assert {spec: 1}[ResNetSpec()] == 1


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ResNetSpec().width = 32  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(name for name in PRESETS if re.search(r"\d\d", name)))
def test_a_named_net_has_the_depth_of_its_name(name: str) -> None:
    number = re.search(r"\d{2,}", name)
    assert number is not None
    deep = PRESETS[name].stem in ("deep", "tiered")  # three convolutions in place of the stem's one
    assert PRESETS[name].depth == int(number[0]) + (2 if deep else 0)


@pytest.mark.parametrize(
    ("change", "stride"),
    [
        ({}, 4 * 2**3),
        ({"depths": (1,)}, 4),
        ({"depths": (1,) * 5}, 32),
        ({"output_stride": 16}, 16),
        ({"stem": "cifar"}, 2**3),
        ({"stem": "cifar", "depths": (1,) * 5}, 2**4),
        ({"stem": "cifar", "depths": (1,) * 5, "output_stride": 8}, 8),
        ({"output_stride": 64}, 4 * 2**3),
        ({"depths": (1,) * 5, "output_stride": 64}, 4 * 2**4),
        ({"strides": (1, 1, 2, 1)}, 4 * 2),
        ({"strides": (2, 2, 2, 2), "output_stride": 64}, 4 * 2**4),
        ({"strides": (2, 2, 2, 2)}, 32),
        ({"stem": "tiered", "strides": (1, 1, 1, 1)}, 4),
    ],
)
def test_the_total_stride_is_the_stems_times_two_a_stage_and_no_more_than_asked(
    change: dict[str, Any], stride: int
) -> None:
    assert ResNetSpec(**change).total_stride == stride


@pytest.mark.parametrize(
    ("change", "first", "last"),
    [
        ({}, 64, 512),
        ({"block": "basic"}, 64, 512),
        ({"cardinality": 32, "width_per_group": 4}, 128, 1024),
        ({"width_per_group": 128}, 128, 1024),
        ({"width": 32, "width_per_group": 5}, 32 * 5 // 64, 256 * 5 // 64),
    ],
)
def test_the_3x3_of_a_bottleneck_has_cardinality_times_width_per_group_channels(
    change: dict[str, Any], first: int, last: int
) -> None:
    spec = ResNetSpec(**change)
    assert (spec.inner_width(1), spec.inner_width(4)) == (first, last)


# --- knobs


@pytest.mark.parametrize("name", [name for name in FIELDS if knob(name).stops])
def test_the_values_worth_offering_are_allowed(name: str) -> None:
    told = knob(name)
    assert all(told.low <= stop <= told.high for stop in told.stops)
    assert list(told.stops) == sorted(set(told.stops))


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    told = knob(name)
    assert told.label
    assert told.group
    assert told.help.endswith(".")
    assert told.source


def test_an_unknown_field_is_answered_with_the_near_ones() -> None:
    with pytest.raises(SpecError, match=r"^'widht' is not a field of a net; near names are width\.$"):
        knob("widht")


USUALLY_DEAD = {"gate_bias", "scale_start", "norm_groups"}


@pytest.mark.parametrize(
    ("change", "dead", "alive"),
    [
        ({}, set(), set()),
        ({"block": "basic"}, {"stride_on"}, set()),  # cardinality and width_per_group must not be set at all
        (
            {"residual": False},
            {"shortcut", "downsample", "residual_scale", "zero_init_residual", "stochastic_depth"},
            set(),
        ),
        ({"residual": False, "shortcut": "gated"}, {"shortcut", "downsample", "residual_scale"}, set()),
        ({"residual": False, "residual_scale": "constant"}, {"shortcut", "downsample", "residual_scale"}, set()),
        ({"shortcut": "A"}, {"downsample"}, set()),
        ({"shortcut": "C"}, set(), set()),
        ({"shortcut": "highway"}, set(), {"gate_bias"}),
        ({"shortcut": "gated"}, set(), {"gate_bias"}),
        ({"residual_scale": "constant"}, set(), {"scale_start"}),
        ({"residual_scale": "layerscale"}, set(), {"scale_start"}),
        ({"residual_scale": "skipinit"}, set(), set()),
        ({"norm": "group"}, set(), {"norm_groups"}),
        ({"norm": "none"}, set(), set()),
        ({"depths": (1, 1)}, {"output_stride"}, set()),
        ({"depths": (1, 1, 1)}, set(), set()),
        ({"strides": (1, 1, 2, 1)}, {"output_stride"}, set()),
        ({"strides": (2, 1, 2, 1)}, set(), set()),
        ({"stem": "cifar", "depths": (1,) * 4}, {"output_stride"}, set()),
        ({"stem": "cifar", "depths": (1,) * 5}, set(), set()),
        ({"stem": "tiered", "depths": (1, 1)}, {"output_stride"}, set()),
    ],
)
def test_a_field_applies_where_it_has_an_effect(change: dict[str, Any], dead: set[str], alive: set[str]) -> None:
    spec = ResNetSpec(**change)
    if not spec.residual:
        dead = dead | {"zero_init_residual", "stochastic_depth"}
    assert {name for name in FIELDS if not applies(name, asdict(spec))} == (USUALLY_DEAD | dead) - alive


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Any value that the field alone may have."""
    told = knob(name)
    if told.choices:
        return st.sampled_from(told.choices)
    if isinstance(told.default, bool):
        return st.booleans()
    return st.floats(told.low, told.high) if isinstance(told.default, float) else st.integers(told.low, told.high)


@FEW
@given(specs(), st.data())
def test_a_field_that_does_not_apply_changes_nothing(spec: ResNetSpec, data: st.DataObject) -> None:
    dead = [name for name in FIELDS if not applies(name, asdict(spec))]
    if not dead:
        return
    name = data.draw(st.sampled_from(dead))
    other = replace(spec, **{name: data.draw(values_of(name))})
    assert repr(build(other, "meta")) == repr(build(spec, "meta"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("kernel_size", value) for value in (5, 7)),
        *(("shortcut", value) for value in ("A", "C", "highway", "gated")),
        *(("activation_order", value) for value in ("bn_after_add", "relu_before_add", "relu_preact", "preact")),
        *(("residual_scale", value) for value in ("constant", "skipinit", "layerscale")),
        *(("stem", value) for value in ("cifar", "deep", "tiered")),
        *(("attention", value) for value in ("se", "eca", "cbam")),
        *(("antialias", value) for value in ("blur", "avg")),
        *(("norm", value) for value in ("group", "none")),
        *((name, 0.5) for name in ("stochastic_depth", "block_dropout", "head_dropout")),
        ("stage_widths", (64, 128, 256, 256)),
        ("strides", (1, 2, 2, 1)),
        ("stem_width", 32),
        ("weight_standardization", True),
    ],
)
def test_a_field_that_applies_changes_the_net(name: str, value: Any) -> None:
    spec = ResNetSpec()
    assert applies(name, asdict(spec))
    other = build(replace(spec, **{name: value}), "meta")
    kinds = [type(module) for module in other.modules()]  # PyTorch's text of a net does not say in what order it runs
    same = build(spec, "meta")
    assert (repr(other), kinds) != (repr(same), [type(module) for module in same.modules()])


# --- presets, links, JSON


def test_no_two_presets_are_one_net() -> None:
    assert len(set(PRESETS.values())) == len(PRESETS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_link_of_a_preset_is_its_name(name: str) -> None:
    assert PRESETS[name].to_query() == {"net": name}
    assert ResNetSpec.from_query({"net": name}) == PRESETS[name]


@FEW
@given(specs())
def test_a_link_and_json_give_the_spec_back(spec: ResNetSpec) -> None:
    query = spec.to_query()
    assert ResNetSpec.from_query(query) == spec
    assert all(type(text) is str for text in query.values())
    assert len(query) == 1 + min(len(spec.differences(preset)) for preset in PRESETS.values())
    assert ResNetSpec.from_json(spec.to_json()) == spec


@given(specs())
@FEW
def test_a_line_of_text_gives_the_spec_back(spec: ResNetSpec) -> None:
    assert ResNetSpec.from_text(spec.to_text()) == spec
    assert ResNetSpec.from_text(spec.to_text("cifar_resnet20")) == spec
    assert len(spec.to_text().split()) == len(spec.to_query())  # one word each, so that a line can be taken apart


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "net (='') is not a preset"),
        ("resnt50", "net (='resnt50') is not a preset; near names are resnet50"),
        ("resnet50 width", "'width' must be a field and its value, as in width=32"),
        ("resnet50 widht=3", "'widht' is not a field of a net; near names are width"),
        ("resnet50 width=x", "width (='x') does not read"),
        ("resnet50 net=resnet18", "'net' is not a field of a net"),
        ("resnet50 width=32 width=64", "'width' is there twice"),
    ],
)
def test_a_broken_line_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        ResNetSpec.from_text(text)


def test_an_empty_link_and_an_empty_object_are_resnet50() -> None:
    assert ResNetSpec.from_query({}) == ResNetSpec.from_json("{}") == PRESETS["resnet50"] == ResNetSpec()


@pytest.mark.parametrize(
    ("preset", "change", "link"),
    [
        ("resnet18", {"depths": (1, 1), "image_size": (64, 96)}, {"depths": "1,1", "image_size": "64,96"}),
        ("resnet18", {"zero_init_residual": True}, {"zero_init_residual": "true"}),
        ("resnet18", {"scale_start": 1e-6, "head_dropout": 0.25}, {"scale_start": "1e-06", "head_dropout": "0.25"}),
        ("resnet18", {"strides": (1, 2, 1, 2), "gate_bias": -3}, {"strides": "1,2,1,2", "gate_bias": "-3"}),
        ("resnet18", {"depths": (1,), "stage_widths": (48,)}, {"depths": "1", "stage_widths": "48"}),
        ("resnet18", {"kernel_size": 5, "norm_groups": 8}, {"kernel_size": "5", "norm_groups": "8"}),
        ("resnet50s", {"stem_width": None}, {"stem_width": "none"}),
        ("resnet50s", {"stem_width": 96}, {"stem_width": "96"}),
    ],
)
def test_a_link_writes_a_value_as_a_person_would(preset: str, change: dict[str, Any], link: dict[str, str]) -> None:
    spec = replace(PRESETS[preset], **change)
    assert spec.to_query(preset) == {"net": preset} | link
    assert ResNetSpec.from_query({"net": preset} | link) == spec
    assert ResNetSpec.from_json(spec.to_json()) == spec


def test_an_empty_text_is_an_empty_tuple() -> None:
    assert ResNetSpec.from_query({"strides": "", "stage_widths": ""}) == ResNetSpec()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"net": "resnet51"}, r"^net \(='resnet51'\) is not a preset; near names are resnet50, "),
        ({"net": ""}, r"^net \(=''\) is not a preset; there are resnet18, resnet34, .* and others\.$"),
        ({"stride": "2"}, r"^'stride' is not a field of a net; near names are strides, stride_on, "),
        ({"x": "2"}, r"^'x' is not a field of a net; there are block, depths, .* and others\.$"),
        ({"width": "wide"}, r"^width \(='wide'\) does not read; for width write something like 64\.$"),
        ({"width": "64.0"}, r"^width \(='64\.0'\) does not read"),
        ({"width": ""}, r"^width \(=''\) does not read"),
        ({"width": "9" * 5000}, r"^width \(='9{56}\.\.\.\) does not read"),
        ({"depths": "3,4,,3"}, r"^depths \(='3,4,,3'\) does not read; .* like 3,4,6,3\.$"),
        ({"depths": "[3,4,6,3]"}, r"^depths \(='\[3,4,6,3\]'\) does not read"),
        ({"image_size": "224x224"}, r"^image_size \(='224x224'\) does not read; .* like 224,224\.$"),
        ({"image_size": "224"}, r"^image_size \(=\(224,\)\) must be height and width"),
        ({"residual": "True"}, r"^residual \(='True'\) does not read; .* true or false\.$"),
        ({"residual": "0"}, r"^residual \(='0'\) does not read"),
        ({"output_stride": "4"}, r"^output_stride \(=4\) must be one of 8, 16, 32, 64\.$"),
        ({"shortcut": "b"}, r"^shortcut \(='b'\) must be one of 'A', 'B', 'C', 'highway', 'gated'\.$"),
        (
            {"preactivation": "true"},
            r"^'preactivation' is not a field of a net; near names are activation, activation_order\.$",
        ),
        ({"scale_start": "small"}, r"^scale_start \(='small'\) does not read; for scale write something like 0\.1\.$"),
        ({"scale_start": "nan"}, r"^scale_start \(=nan\) must be a number from 1e-06 to 1\.$"),
        ({"head_dropout": "1e400"}, r"^head_dropout \(=inf\) must be a number from 0 to 0\.9\.$"),
        ({"stem_width": "wide"}, r"^stem_width \(='wide'\) does not read; .* like 64\.$"),
        ({"stem_width": "None"}, r"^stem_width \(='None'\) does not read"),
        ({"strides": "1;2"}, r"^strides \(='1;2'\) does not read; for stride of stage "),
        ({"strides": "2"}, r"^strides \(=\(2,\)\) must hold a number for each of the 4 stages"),
        ({"stage_widths": "none"}, r"^stage_widths \(='none'\) does not read; for width of stage "),
        ({"weight_standardization": "yes"}, r"^weight_standardization \(='yes'\) does not read; .* true or false\.$"),
        ({"net": "resnet18", "cardinality": "32"}, r"^cardinality \(=32\) must be 1 with block 'basic'"),
    ],
)
def test_a_broken_link_is_refused_in_a_sentence(query: dict[str, str], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        ResNetSpec.from_query(query)


def test_reading_a_link_leaves_it_as_it_was() -> None:
    query = {"net": "resnet18", "width": "32"}
    ResNetSpec.from_query(query)
    assert query == {"net": "resnet18", "width": "32"}


@FEW
@given(st.dictionaries(st.sampled_from([*FIELDS, "net", "x"]), st.text() | st.integers().map(str), max_size=4))
def test_a_strangers_link_gives_a_spec_or_a_short_sentence(query: dict[str, str]) -> None:
    try:
        sentence = repr(ResNetSpec.from_query(query))
    except SpecError as error:
        sentence = str(error)
    assert 20 < len(sentence) < 700


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The text is not JSON"),
        ("{'block': 'basic'}", "The text is not JSON"),
        ('{"width": 32', "The text is not JSON"),
        ("[" * 100_000, "The text is not JSON"),
        ('{"width": ' + "9" * 5000 + "}", "The text is not JSON"),
        ("[]", "The JSON holds a list; it should be an object"),
        ("null", "The JSON holds a NoneType"),
        ('"resnet50"', "The JSON holds a str"),
        ('{"net": "resnet50"}', "'net' is not a field of a net"),
        ('{"width": "64"}', "width (='64') must be a whole number"),
        ('{"width": 64.0}', "width (=64.0) must be a whole number"),
        ('{"width": NaN}', "width (=nan) must be a whole number"),
        ('{"width": true}', "width (=True) must be a whole number"),
        ('{"residual": 1}', "residual (=1) must be True or False"),
        ('{"depths": [3, [4]]}', "depths (=(3, [4])) must be whole numbers"),
        ('{"depths": {"1": 3}}', "depths (={'1': 3}) must be 1 to 5 numbers"),
        ('{"block": ["basic"]}', "block (=['basic']) must be one of 'basic', 'bottleneck'"),
        ('{"image_size": null}', "image_size (=None) must be height and width"),
        ('{"stage_widths": null}', "stage_widths (=None) must be a number for each stage, or none"),
        ('{"strides": [1, 2.0]}', "strides (=(1, 2.0)) must be whole numbers from 1 to 2"),
        ('{"stem_width": "none"}', "stem_width (='none') must be a whole number"),
        ('{"scale_start": null}', "scale_start (=None) must be a number"),
        ('{"scale_start": NaN}', "scale_start (=nan) must be a number"),
        ('{"head_dropout": 1e999}', "head_dropout (=inf) must be a number"),
        ('{"block_dropout": true}', "block_dropout (=True) must be a number"),
        ('{"kernel_size": 3.0}', "kernel_size (=3.0) must be one of 3, 5, 7"),
    ],
)
def test_broken_json_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SpecError, match="^" + re.escape(sentence)):
        ResNetSpec.from_json(text)


def test_json_holds_every_field() -> None:
    assert list(json.loads(ResNetSpec().to_json())) == FIELDS


# --- cost of the import


@pytest.mark.parametrize("module", ["explorer", "explorer.spec"])
def test_importing_the_spec_loads_no_other_package(module: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); import {module}; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(name for name in new if name not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['explorer']"


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"residual_scale": "skipinit"}, "residual_scale 'skipinit'"),
        ({"activation_order": "relu_before_add"}, "activation_order 'relu_before_add'"),
    ],
)
def test_two_zeros_in_a_row_which_would_never_learn_are_refused(change: dict[str, str], other: str) -> None:
    with pytest.raises(SpecError, match="zero_init_residual") as refusal:
        replace(PRESETS["resnet18"], zero_init_residual=True, **change)
    assert other in str(refusal.value)
    replace(PRESETS["resnet18"], zero_init_residual=True, residual=False, **change)  # nothing to start from zero
    replace(PRESETS["resnet18"], zero_init_residual=True, activation="gelu", activation_order="relu_before_add")


def test_a_branch_that_ends_with_a_sigmoid_cannot_start_at_zero() -> None:
    change = {"activation": "sigmoid", "activation_order": "relu_before_add"}
    with pytest.raises(
        SpecError, match=r"zero_init_residual \(=True\) must be False .* sigmoid, which makes 0.5 of zero"
    ):
        replace(PRESETS["resnet18"], zero_init_residual=True, **change)
    replace(PRESETS["resnet18"], zero_init_residual=True, residual=False, **change)
    for other in ({"activation": "tanh"}, {"activation_order": "original"}):
        replace(PRESETS["resnet18"], zero_init_residual=True, **change | other)


@pytest.mark.parametrize(
    "change", [{"strides": (1, 2, 2, 2)}, {"stage_widths": (64, 128, 256, 512)}, {"stem_width": 64}]
)
def test_what_is_spelled_out_but_as_usual_is_the_same_spec(change: dict[str, object]) -> None:
    assert replace(PRESETS["resnet50"], **change) == PRESETS["resnet50"]
    assert hash(replace(PRESETS["resnet50"], **change)) == hash(PRESETS["resnet50"])


def test_an_output_stride_that_nothing_reaches_is_the_usual_one() -> None:
    assert replace(PRESETS["resnet50"], output_stride=64) == PRESETS["resnet50"]
    assert replace(PRESETS["cifar_resnet20"], output_stride=8) == PRESETS["cifar_resnet20"]
    assert replace(PRESETS["resnet50"], output_stride=16).output_stride == 16
    whole = replace(PRESETS["resnet50"], strides=(2, 2, 2, 2), output_stride=64)
    assert (whole.output_stride, whole.total_stride, whole.dilates) == (64, 64, False)
