"""The spec: every sentence that it refuses with, what it survives, and what links and JSON hold."""

import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs

from explorer.models.resnet import build
from explorer.spec import MAX_INNER_WIDTH, PRESETS, ResNetSpec, SpecError, applies, knob

FIELDS = [item.name for item in fields(ResNetSpec)]

NAMES = {
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *("plain18", "plain34", "resnet34_a", "resnet50_v1", "resnet50_v2", "resnet50d", "seresnet50", "d2l_resnet18"),
    *("cifar_resnet20", "cifar_resnet32", "cifar_resnet44", "cifar_resnet56", "cifar_resnet110", "cifar_resnet1202"),
    *("cifar_plain20", "cifar_plain32", "cifar_plain44", "cifar_plain56", "cifar_plain110"),
}


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
        ("stride_on", "2x2", "'2x2'", "'1x1', '3x3'"),
        ("residual", None, "None", "True or False"),
        ("shortcut", "D", "'D'", "'A', 'B', 'C'"),
        ("shortcut", "a", "'a'", "'A', 'B', 'C'"),
        ("downsample", "max", "'max'", "'conv', 'avg'"),
        ("preactivation", "yes", "'yes'", "True or False"),
        ("zero_init_residual", 2, "2", "True or False"),
        ("stem", "", "''", "'imagenet', 'cifar', 'deep'"),
        ("output_stride", 4, "4", "8, 16, 32"),
        ("attention", None, "None", "'none', 'se'"),
        ("norm", "layer", "'layer'", "'batch', 'group', 'none'"),
        ("activation", "ReLU", "'ReLU'", "'relu', 'leaky_relu', 'gelu', 'silu'"),
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


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, 3.5, float("nan"), b"3", [], {}, {"width": 3}, object, -1])
def test_no_field_takes_a_value_of_another_kind(name: str, value: Any) -> None:
    assert refusal(**{name: value}).startswith(f"{name} (=")


@pytest.mark.parametrize("name", ["width", "cardinality", "width_per_group", "in_channels", "num_classes"])
@pytest.mark.parametrize("value", [True, 8.0, "8"])
def test_bool_float_and_text_are_no_whole_numbers(name: str, value: Any) -> None:
    assert f"{name} (={value!r}) must be a whole number" in refusal(**{name: value})


@pytest.mark.parametrize("name", ["depths", "image_size"])
@pytest.mark.parametrize("bad", [True, 64.0, "64", None])
def test_bool_float_and_text_are_no_whole_numbers_inside_a_tuple(name: str, bad: Any) -> None:
    assert f"{name} (={(64, bad)!r}) must be whole numbers" in refusal(**{name: (64, bad)})


@pytest.mark.parametrize("value", [8.0, "8", True])
def test_output_stride_takes_the_choices_themselves_and_not_what_equals_them(value: Any) -> None:
    assert "must be one of 8, 16, 32" in refusal(output_stride=value)


@pytest.mark.parametrize("name", ["residual", "preactivation", "zero_init_residual"])
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
        ({"stem": "deep", "width": 1}, "width (=1) must be at least 2 with stem 'deep'", "half"),
        (
            {"width": 8, "width_per_group": 7},
            "width_per_group (=7) leaves a 3x3 convolution without channels at width 8",
            "at least 8",
        ),
        (
            {"block": "basic", "width": 1, "norm": "group"},
            "norm (='group') must be 'batch' or 'none' where a layer has one channel; width (=1) and ",
            "leave one",
        ),
        ({"width": 3, "stem": "deep", "norm": "group"}, "norm (='group') must be 'batch' or 'none'", "width (=3)"),
        (
            {"width": 8, "width_per_group": 8, "norm": "group"},
            "norm (='group') must be 'batch'",
            "width_per_group (=8)",
        ),
        (
            {"width": 512, "cardinality": 4, "width_per_group": 512},
            "width (=512), cardinality (=4) and width_per_group (=512) give 3x3 convolutions of 131,072 channels",
            "at most 65,536",
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
        {"image_size": (5, 5), "output_stride": 8},
        {"image_size": (1, 1), "stem": "cifar", "depths": (1,)},
    ],
)
def test_what_the_sentence_says_is_right_is_right(values: dict[str, Any]) -> None:
    assert all(getattr(ResNetSpec(**values), name) == value for name, value in values.items())


def test_the_widest_net_allowed_has_no_wider_3x3_than_the_limit() -> None:
    spec = ResNetSpec(width=512, cardinality=2, width_per_group=512)
    assert spec.inner_width(4) == 512 * 2**3 * (512 // 64) * 2 == MAX_INNER_WIDTH


# --- values


def test_a_list_becomes_a_tuple_so_that_the_spec_can_be_a_cache_key() -> None:
    spec = ResNetSpec(depths=[3, 4, 6, 3], image_size=[224, 224])  # type: ignore[arg-type]
    assert (spec.depths, spec.image_size) == ((3, 4, 6, 3), (224, 224))
    assert {spec: 1}[ResNetSpec()] == 1


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ResNetSpec().width = 32  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *((f"resnet{depth}", depth) for depth in (18, 34, 50, 101, 152)),
        *((f"plain{depth}", depth) for depth in (18, 34)),
        *((f"cifar_resnet{depth}", depth) for depth in (20, 32, 44, 56, 110, 1202)),
        *((f"cifar_plain{depth}", depth) for depth in (20, 32, 44, 56, 110)),
        ("resnext50_32x4d", 50),
        ("resnext101_64x4d", 101),
        ("wide_resnet50_2", 50),
        ("seresnet50", 50),
        ("resnet50_v2", 50),
        ("resnet50d", 50 - 1 + 3),  # three convolutions in place of the stem's one
    ],
)
def test_a_named_net_has_the_depth_of_its_name(name: str, depth: int) -> None:
    assert PRESETS[name].depth == depth


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


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"'stride' is not a field of a net; known are block, depths, width"):
        knob("stride")


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, set()),
        ({"block": "basic"}, {"stride_on"}),  # cardinality and width_per_group must not be set at all
        ({"residual": False}, {"shortcut", "downsample", "zero_init_residual"}),
        ({"shortcut": "A"}, {"downsample"}),
        ({"depths": (1, 1)}, {"output_stride"}),
        ({"depths": (1, 1, 1)}, set()),
        ({"stem": "cifar", "depths": (1,) * 4}, {"output_stride"}),
        ({"stem": "cifar", "depths": (1,) * 5}, set()),
    ],
)
def test_a_field_applies_where_it_has_an_effect(change: dict[str, Any], dead: set[str]) -> None:
    values = asdict(ResNetSpec(**change))
    assert {name for name in FIELDS if not applies(name, values)} == dead


@FEW
@given(specs(), st.data())
def test_a_field_that_does_not_apply_changes_nothing(spec: ResNetSpec, data: st.DataObject) -> None:
    dead = [name for name in FIELDS if knob(name).choices and not applies(name, asdict(spec))]
    if not dead:
        return
    name = data.draw(st.sampled_from(dead))
    other = replace(spec, **{name: data.draw(st.sampled_from(knob(name).choices))})
    assert repr(build(other, "meta")) == repr(build(spec, "meta"))


# --- presets, links, JSON


def test_the_presets_are_the_papers_and_the_libraries_nets() -> None:
    assert set(PRESETS) == NAMES


def test_no_two_presets_are_one_net() -> None:
    assert len(set(PRESETS.values())) == len(PRESETS)


@pytest.mark.parametrize("name", sorted(NAMES))
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


def test_an_empty_link_and_an_empty_object_are_resnet50() -> None:
    assert ResNetSpec.from_query({}) == ResNetSpec.from_json("{}") == PRESETS["resnet50"] == ResNetSpec()


def test_a_link_writes_tuples_and_switches_as_a_person_would() -> None:
    spec = replace(PRESETS["resnet18"], depths=(1, 1), image_size=(64, 96), zero_init_residual=True)
    link = {"net": "resnet18", "depths": "1,1", "image_size": "64,96", "zero_init_residual": "true"}
    assert spec.to_query() == link


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"net": "resnet51"}, r"^net \(='resnet51'\) is not a preset; known are resnet18, resnet34, "),
        ({"net": ""}, r"^net \(=''\) is not a preset"),
        ({"stride": "2"}, r"^'stride' is not a field of a net; known are block, "),
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
        ({"output_stride": "4"}, r"^output_stride \(=4\) must be one of 8, 16, 32\.$"),
        ({"shortcut": "b"}, r"^shortcut \(='b'\) must be one of 'A', 'B', 'C'\.$"),
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
    assert 20 < len(sentence) < 700  # the names of all presets are 450 characters


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
