"""What receptive fields tell: lines along the depth, shares of paths, and the stories."""

import io
from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from math import comb

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import nn

from explorer.analysis.depth import network_depth
from explorer.analysis.field_stories import (
    Cells,
    alignment,
    count_in_words,
    dilation,
    field_lines,
    last_fields,
    middle_paths,
    plain_and_residual,
    readable_fields,
    share_table,
    stacked,
    stride_place,
    wide_fields,
)
from explorer.analysis.fields import FieldProfile, field_profile
from explorer.analysis.graph import IMAGE
from explorer.analysis.layers import layer_table
from explorer.analysis.paths import Paths, path_sweep
from explorer.export.tables import csv
from explorer.spec import ResNetSpec


def line(name: str) -> pd.DataFrame:
    return field_lines({name: field_profile(name)})


# --- along the depth


@pytest.mark.parametrize(
    ("name", "fields"),
    [  # FACTS.md, "Receptive field", by stage; the stem is 7x7, then a 3x3 pool at stride 2: 7 + 2 * 2
        ("resnet50", [11, 35, 91, 267, 427]),
        ("resnet50 stride_on=1x1", [11, 35, 99, 291, 483]),
        ("resnet18", [11, 43, 99, 211, 435]),
        ("resnet34", [11, 59, 179, 547, 899]),
    ],
)
def test_stages_end_with_their_published_fields(name: str, fields: list[int]) -> None:
    ends = line(name).query("ends_stage")
    assert list(ends["receptive_field"]) == fields
    assert list(ends["stage"]) == ["stem", "1", "2", "3", "4"]
    assert list(ends["jump"]) == [4, 4, 8, 16, 32]


def test_a_chain_of_layers_has_a_row_a_change_and_no_band() -> None:
    rows = line("vgg11")
    # Simonyan & Zisserman 2014, configuration A: 3x3 convolutions and 2x2 pools of stride 2 (M)
    field, jump, expected = 1, 1, [(0, 1, 1)]
    depth = 0
    for kind in "cMcMccMccMccM":
        field += jump * (2 if kind == "c" else 1)
        jump *= 1 if kind == "c" else 2
        depth += kind == "c"
        expected.append((depth, field, jump))
    found = list(zip(rows["depth"], rows["receptive_field"], rows["jump"], strict=True))
    assert found == expected
    assert list(rows["shortest"]) == list(rows["longest"]) == list(rows["receptive_field"])
    assert list(rows["start"]) == [0, 0, 0.5, 0.5, 1.5, 1.5, 1.5, 3.5, 3.5, 3.5, 7.5, 7.5, 7.5, 15.5]


@pytest.mark.parametrize(
    "name", ["densenet121", "googlenet_2014", "seresnet50", "resnet18 attention=cbam", "resnet50d"]
)
def test_the_way_has_every_depth_and_never_sees_less(name: str) -> None:
    profile = field_profile(name)
    rows, last = line(name), profile.table.iloc[-1]
    assert set(rows["depth"]) == set(range(last["depth"] + 1))
    assert rows["depth"].is_monotonic_increasing
    assert rows["receptive_field"].is_monotonic_increasing
    assert rows["shortest"].is_monotonic_increasing
    assert rows["longest"].is_monotonic_increasing
    end = rows.iloc[-1]
    assert end[["name", "receptive_field", "shortest", "longest"]].tolist() == [
        *last[["name", "receptive_field", "shortest", "longest"]]
    ]
    assert end["share_of_depth"] == 1
    known = set(zip(profile.table["name"], profile.table["receptive_field"], profile.table["depth"], strict=True))
    assert set(zip(rows["name"], rows["receptive_field"], rows["depth"], strict=True)) - known == {("image", 1, 0)}


def test_of_branches_that_are_as_deep_the_one_that_sees_most_is_followed() -> None:
    """GoogLeNet's modules: behind their 1x1 a 3x3 and a 5x5; at stride 8 the 5x5 adds 4 * 8."""
    rows = line("googlenet_2014").set_index("name")
    assert rows.loc["inception3a.cat", "receptive_field"] - rows.loc["maxpool2", "receptive_field"] == 4 * 8
    assert not any("branch2" in name for name in rows.index)


def walks(profile: FieldProfile, last: int) -> Iterator[list[tuple[int, int]]]:
    """Every way from the image to an operator, walked one by one: its operators, and the field's height behind each."""

    def back(at: int) -> Iterator[list[int]]:
        for made_by in profile.graph[at].inputs:
            if made_by == IMAGE:
                yield [at]
            elif profile.fields[made_by] is not None:
                yield from ([*way, at] for way in back(made_by))

    for way in back(last):
        height, jump, told = 1, 1, [(IMAGE, 1)]
        for at in way:
            window, field = profile.graph[at].effect.window, profile.fields[at]
            assert field is not None
            if window is not None:
                height += window.dilation[0] * (window.kernel[0] - 1) * jump
            jump = field.height.stride
            told.append((at, height))
        yield told


@given(
    specs(
        depths=st.lists(st.integers(1, 2), min_size=1, max_size=3).map(tuple),
        stage_widths=(),
        strides=(),
        stem=st.sampled_from(("imagenet", "cifar")),
        norm="batch",
    )
)
@FEW
def test_the_band_is_that_of_all_paths_walked_one_by_one(spec: ResNetSpec) -> None:
    """Where a path stands behind operator i: at the last of its operators that comes no later."""
    profile = field_profile(spec)
    rows = field_lines({"it": profile})
    last = int(profile.table["operator"].iloc[-1])
    every = list(walks(profile, last))
    names = zip(profile.table["name"], profile.table["receptive_field"], strict=True)  # a name may come twice
    by_name = dict(zip(names, profile.table["operator"], strict=True))
    for row in rows.iloc[1:].to_dict("records"):
        here = by_name[row["name"], row["receptive_field"]]
        crossing = [[height for at, height in way if at <= here][-1] for way in every]
        assert (row["shortest"], row["longest"]) == (min(crossing), max(crossing))


def test_where_the_axes_differ_the_longer_side_is_told() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 5), stride=(1, 2)), nn.Conv2d(4, 4, (9, 3), padding=(4, 0)))
    profile = field_profile(net, (40, 60))
    rows = field_lines({"it": profile})
    assert list(rows["receptive_field"]) == [1, 5, 3 + 8]
    assert list(rows["jump"]) == [1, 2, 1]
    assert list(rows["start"]) == [0, 2, 1 + 4 - 4]
    last = last_fields({"it": profile}).iloc[0]
    assert last[["receptive_field", "jump", "image"]].tolist() == [11, 1, 60]
    wide = nn.Conv2d(3, 4, (3, 5), stride=(1, 2))
    last = last_fields({"it": field_profile(wide, (40, 60))}).iloc[0]
    assert last[["receptive_field", "jump"]].tolist() == [5, 2]


@pytest.mark.parametrize(
    ("name", "field", "jump", "behind"),
    [  # FACTS.md; what follows are the classifiers' linear layers
        ("googlenet", 379, 32, 1),
        ("googlenet_2014", 715, 32, 1),
        ("resnet50", 427, 32, 1),
        ("resnet50 stride_on=1x1", 483, 32, 1),
        ("vgg16", 212, 32, 3),
        ("alexnet", 195, 32, 3),
        ("mobilenetv1_100", 315, 32, 1),
        ("mobilenet_v2", 491, 32, 1),
        ("cifar_resnet1202", 5597, 4, 1),
    ],
)
def test_the_last_fields(name: str, field: int, jump: int, behind: int) -> None:
    profile = field_profile(name)
    [row] = last_fields({name: profile}).to_dict("records")
    assert (row["net"], row["receptive_field"], row["jump"], row["layers_behind"]) == (name, field, jump, behind)
    assert row["depth"] + behind == network_depth(profile.graph)
    assert line(name)["receptive_field"].iloc[-1] == field


def test_where_paths_are_unknown_the_line_goes_on_without_them() -> None:
    known = field_profile("resnet18")
    table = known.table.astype(dict.fromkeys(("paths", "shortest", "longest", "mean"), object))
    later = table["stage"].isin(["3", "4"])  # as behind an enlarged map
    table.loc[later, ["paths", "shortest", "longest", "mean"]] = None
    profile = replace(known, table=table)
    rows, before = field_lines({"it": profile}), field_lines({"it": known})
    assert list(rows["receptive_field"]) == list(before["receptive_field"])
    unknown = rows["stage"].isin(["3", "4"])
    assert set(rows[unknown]["shortest"]) == set(rows[unknown]["longest"]) == {None}
    assert list(rows[~unknown]["longest"]) == list(before[~unknown]["longest"])
    assert {type(longest) for longest in rows[~unknown]["longest"]} == {int}
    assert last_fields({"it": profile})["receptive_field"].tolist() == [435]
    assert pd.isna(readable_fields(table)["paths"].iloc[-1])
    assert pd.read_csv(io.BytesIO(csv(wide_fields(table))))["paths"].isna().sum() == later.sum()


# --- the table


def test_one_number_stands_for_both_axes_only_where_a_column_is_alike() -> None:
    table = field_profile(nn.Sequential(nn.Conv2d(1, 1, (3, 5), stride=2), nn.Conv2d(1, 1, 3)), (33, 33)).table
    shown = readable_fields(table)
    assert list(shown["size"]) == ["3 x 5", "7 x 9"]
    assert list(shown["start"]) == ["1 x 2", "3 x 4"]
    assert list(shown["stride"]) == [2, 2]
    assert list(shown["units"]) == ["16 x 15", "14 x 13"]
    mixed = field_profile(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, (1, 3))), (33, 33)).table
    assert list(readable_fields(mixed)["size"]) == ["3", "3 x 5"]
    wide = wide_fields(table)
    assert list(wide["size_height"]) == [3, 7]
    assert list(wide["size_width"]) == [5, 9]
    assert list(wide["stride_height"]) == list(wide["stride_width"]) == [2, 2]


def test_the_file_has_every_number_and_every_digit() -> None:
    table = field_profile("cifar_resnet1202").table.iloc[[0, -1]]
    again = pd.read_csv(io.BytesIO(csv(wide_fields(table))), dtype={"paths": str})
    assert again["paths"].tolist() == ["1", str(2**600)]
    assert again["size_height"].tolist() == [3, 5597]
    assert again["name"].tolist() == list(table["name"])
    columns = set(table) - {"operator", "receptive_field", "units", "size", "stride", "start", "padding", "holes"}
    assert columns - {"centre", "inside"} <= set(again)
    assert len(again.columns) == len(table.columns) - 2 + 8


def test_readable_numbers_are_those_of_the_table() -> None:
    table = field_profile("resnet50").table
    shown = readable_fields(table)
    assert list(shown["size"]) == list(table["receptive_field"])
    assert list(shown["inside"]) == [height for height, _ in table["inside"]]
    assert shown["paths"].iloc[-1] == "65,536"
    assert "operator" not in shown


# --- paths


@given(st.integers(0, 10**40) | st.integers(0, 10**9 + 10) | st.integers(0, 700).map(lambda power: 2**power))
@FEW
def test_a_number_in_words_is_rounded_as_decimals_are(number: int) -> None:
    said = count_in_words(number)
    if number < 10**9:
        assert said == f"{number:,}"
        return
    with localcontext(rounding=ROUND_HALF_UP, prec=300):
        digits, power = f"{Decimal(number):.2e}".split("e+")
    assert said.endswith(f"about {digits} × 10^{power}")
    exponent = number.bit_length() - 1
    assert said.startswith(f"2^{exponent}, ") == (number == 2**exponent)


def test_rounding_up_to_the_next_power_keeps_three_digits() -> None:
    assert count_in_words(9_995 * 10**12) == "about 1.00 × 10^16"
    assert count_in_words(9_994 * 10**12) == "about 9.99 × 10^15"


def last_paths(name: str | ResNetSpec) -> Paths:
    return [paths for paths in path_sweep(field_profile(name).graph) if paths is not None][-1]


def test_blocks_that_are_alike_have_binomial_shares() -> None:
    spec = ResNetSpec.from_text("cifar_resnet20 depths=40 strides=1 shortcut=B")
    shares = share_table({"it": last_paths(spec)})
    assert list(shares["height"]) == [3 + 4 * passed for passed in range(41)]
    assert list(shares["paths"]) == [comb(40, passed) for passed in range(41)]
    for passed, share in enumerate(shares["share"]):
        assert share == float(Fraction(comb(40, passed), 2**40))
    assert shares["up_to"].iloc[-1] == 1
    assert shares["up_to"].iloc[20] == float(Fraction(sum(comb(40, n) for n in range(21)), 2**40))


def test_the_shares_of_resnet_1202_are_exact() -> None:
    paths = last_paths("cifar_resnet1202")
    shares = share_table({"ResNet-1202": paths})
    assert set(shares["net"]) == {"ResNet-1202"}
    assert sum(shares["paths"]) == 2**600
    assert shares["share"].iloc[0] == 2.0**-600
    assert shares["share"].sum() == pytest.approx(1)
    assert paths.mean == (3 + 5597) / 2  # to skip a block is as frequent as to pass it
    assert str(max(shares["paths"])).encode() in csv(shares)


def test_networks_follow_each_other() -> None:
    shares = share_table({"one": last_paths("vgg11"), "other": last_paths("resnet18")})
    assert list(dict.fromkeys(shares["net"])) == ["one", "other"]
    [alone] = shares[shares["net"] == "one"].to_dict("records")
    assert (alone["height"], alone["paths"], alone["share"], alone["up_to"]) == (150, 1, 1, 1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda counts: counts[0] and counts[-1]))
@FEW
def test_the_middle_holds_95_percent(counts: list[int]) -> None:
    heights = [5 + place for place, count in enumerate(counts) for _ in range(count)]
    paths = Paths(5, np.array(counts, dtype=object), len(heights), sum(heights))
    low, high = middle_paths(paths)
    assert low in heights
    assert high in heights
    assert sum(height < low for height in heights) <= len(heights) * Fraction(1, 40)
    assert sum(height <= low for height in heights) > len(heights) * Fraction(1, 40)
    assert sum(height > high for height in heights) <= len(heights) * Fraction(1, 40)
    assert sum(height >= high for height in heights) > len(heights) * Fraction(1, 40)


def test_exactly_2_5_percent_at_an_end_are_left_out() -> None:
    counts = np.array([1, 38, 1], dtype=object)
    assert middle_paths(Paths(7, counts, 40, 8 * 40)) == (8, 8)
    counts = np.array([2, 36, 2], dtype=object)
    assert middle_paths(Paths(7, counts, 40, 8 * 40)) == (7, 9)


# --- stories


def support(*layers: nn.Module) -> list[int]:
    """The rows of the image that unit 0 sees, told by the gradient of a unit far from the edge."""
    net = nn.Sequential(*layers)
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 96, 96, requires_grad=True)
    units = net(image)
    here = units.shape[2] // 2
    [gradient] = torch.autograd.grad(units[0, 0, here, here], image)
    stride = 96 // units.shape[2]
    return [row - here * stride for row in gradient[0, 0].sum(1).nonzero().flatten().tolist()]


def conv(kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)


def test_what_the_stories_units_see_is_what_their_gradients_show() -> None:
    seen = {cells.name: cells.pixels for story in (stacked(), dilation(), alignment()) for cells in story.cells}
    assert seen == {
        "one 3x3": support(conv(3)),
        "two 3x3": support(conv(3), conv(3)),
        "three 3x3": support(conv(3), conv(3), conv(3)),
        "one 5x5": support(conv(5)),
        "one 7x7": support(conv(7)),
        "1x1 of stride 2, then 3x3": support(conv(1, 2), conv(3)),
        "3x3 of stride 2, then 3x3": support(conv(3, 2), conv(3)),
        "three 3x3, dilated 2, 2, 2": support(*(conv(3, dilation=step) for step in (2, 2, 2))),
        "three 3x3, dilated 1, 2, 3": support(*(conv(3, dilation=step) for step in (1, 2, 3))),
        "three 3x3, dilated 2, 4, 8": support(*(conv(3, dilation=step) for step in (2, 4, 8))),
        "3x3 of stride 2": support(conv(3, 2)),
        "1x1 of stride 2": support(conv(1, 2)),
        "2x2 mean of stride 2": support(nn.AvgPool2d(2)),
    }
    assert seen["1x1 of stride 2, then 3x3"] == [-2, 0, 2]  # 5 pixels with two holes
    assert len(seen["three 3x3, dilated 2, 4, 8"]) == 15  # of 29


def test_cells_are_counted_from_lo() -> None:
    assert Cells("", 5, 0b1011).pixels == [5, 6, 8]


def test_two_3x3_see_what_a_5x5_does_and_three_what_a_7x7_does() -> None:
    story = stacked()
    table = story.table.set_index("design")
    assert table["receptive_field"].to_dict() == {
        "one 3x3": 3,
        "two 3x3": 5,
        "three 3x3": 7,
        "one 5x5": 5,
        "one 7x7": 7,
    }
    channels = 64
    assert table["params"].to_dict() == {
        "one 3x3": 9 * channels**2,
        "two 3x3": 18 * channels**2,
        "three 3x3": 27 * channels**2,
        "one 5x5": 25 * channels**2,
        "one 7x7": 49 * channels**2,
    }
    assert list(table["relus"]) == list(table["convolutions"]) == [1, 2, 3, 1, 1]
    assert story.networks == ()


def test_the_strides_place_makes_56_pixels() -> None:
    story = stride_place()
    table = story.table
    # where a stage begins, the 3x3 adds twice the stride before it, 8, 16, 32 in v1 and 4, 8, 16 in v1.5
    steps = [2 * (8 - 4), 2 * (16 - 8), 2 * (32 - 16)]
    assert list(table["difference"]) == [0, steps[0], steps[0], *2 * [sum(steps[:2])], *2 * [sum(steps)]]
    assert table[["receptive_field_v1", "receptive_field_v15"]].iloc[-1].tolist() == [483, 427]
    assert list(table["jump_v1"]) == [8, 8, 16, 16, 32, 32, 32]
    assert list(table["jump_v15"]) == [4, 8, 8, 16, 16, 32, 32]
    assert set(story.profiles) == set(story.networks) == {"resnet50 stride_on=1x1", "resnet50"}


def test_dilation_keeps_field_and_parameters_and_costs_arithmetic() -> None:
    story = dilation()
    table = story.table
    assert list(table["receptive_field"]) == [427, 427, 427]
    assert list(table["jump"]) == [32, 16, 8]
    assert list(table["units"]) == [224 // 32, 224 // 16, 224 // 8]
    assert list(table["holes"]) == [0, 0, 0]
    assert set(table["params"]) == {25_557_032}
    assert table["macs"][0] == 4_089_184_256  # FACTS.md
    assert list(table["macs"]) == [layer_table(name)["macs"].sum() for name in story.networks]


def test_a_residual_nets_paths_begin_at_the_stem() -> None:
    story = plain_and_residual()
    rows = story.table.set_index("net")
    assert rows.loc["plain34"].tolist() == ["1", 899, 899, 899, 899]
    assert rows.loc["resnet34_a"].tolist() == [f"{2**16:,}", 899, 11, (11 + 899) / 2, 899]
    assert list(rows.columns) == ["paths", "receptive_field", "shortest", "mean", "longest"]


def test_resnet_ds_shortcut_looks_half_a_step_beside() -> None:
    table = alignment().table
    before = {"layer2.0": 4, "layer3.0": 8, "layer4.0": 16}  # the stride of what the block takes
    for row in table.to_dict("records"):
        assert row["apart"] == (before[row["name"]] / 2 if row["net"] == "resnet50d" else 0)
        assert row["jump"] == 2 * before[row["name"]]
        assert row["main_start"] == 0
        assert row["shortcut_start"] == row["apart"]
    assert len(table) == 6


@pytest.mark.parametrize("make", [stride_place, dilation, plain_and_residual, alignment])
def test_a_story_takes_its_networks_from_a_cache(make: object) -> None:
    asked: list[str] = []

    def cached(name: str) -> FieldProfile:
        asked.append(name)
        return field_profile(name)

    story = make(cached)  # type: ignore[operator]
    assert tuple(asked) == story.networks
