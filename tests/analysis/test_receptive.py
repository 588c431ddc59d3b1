"""The receptive field against published tables, textbook arithmetic and the gradients of real forward passes."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.graph import trace
from explorer.analysis.layers import layer_table, operators, totals
from explorer.analysis.receptive import Axis, Field, NoField, field_by_stage, field_sweep, receptive_fields
from explorer.analysis.rules import DoesNotFit, Pair, UnknownOperator
from explorer.models import zoo
from explorer.models.blocks import PadShortcut, SqueezeExcite
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

PUBLISHED = json.loads((Path(__file__).parents[1] / "tables" / "receptive_fields.json").read_text())


@cache
def fields_of(name: str) -> pd.DataFrame:
    return receptive_fields(name)


def numbers(row: Any) -> list[Any]:
    return [row["size"], row["stride"], row["padding"]]


def last(table: pd.DataFrame) -> pd.Series:
    """The last row that has a local field."""
    return table[table["size"].notna()].iloc[-1]


def field_of(*layers: nn.Module, image: tuple[int, int] = (64, 64)) -> pd.Series:
    """The last row of a chain of layers on an image of three channels."""
    model = nn.Sequential(*layers)
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    model = model if first else nn.Sequential(nn.Conv2d(3, 3, 1), model)
    return receptive_fields(model, image).iloc[-1]


class Calls(nn.Module):
    """A function on an image, behind a convolution of 1x1 that makes four channels of it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def chain(*steps: tuple[int, int]) -> tuple[int, int]:
    """Size and stride behind layers of (kernel, stride), one after the other: the textbook's recurrence."""
    size = stride = 1
    for kernel, step in steps:
        size += (kernel - 1) * stride
        stride *= step
    return size, stride


# --- published tables


@pytest.mark.parametrize("name", sorted(PUBLISHED["end_points"]))
def test_the_distill_table_has_our_fields(name: str) -> None:
    table = fields_of(name).groupby("name").last()  # a block that joins thrice ends with the last
    more = 2 if name == "alexnet" else 0  # torchvision pads its first convolution
    for row, (_, size, stride, padding) in PUBLISHED["end_points"][name].items():
        assert numbers(table.loc[row]) == [size, stride, padding + more], row


@pytest.mark.parametrize("side", [224, 321])
def test_the_distill_table_has_our_fields_where_padding_depends_on_the_image(side: int) -> None:
    with torch.device("meta"):
        model = timm.create_model("mobilenetv1_100", pad_type="same")
    table = receptive_fields(model, (side, side)).set_index("name")
    for row, (_, *theirs) in PUBLISHED["mobilenet_v1"][str(side)].items():
        assert numbers(table.loc[row]) == theirs, row


@pytest.mark.parametrize("depth", sorted(PUBLISHED["resnet_v1"]))
def test_the_distill_table_has_our_resnets_with_the_stride_on_the_1x1(depth: str) -> None:
    theirs = PUBLISHED["resnet_v1"][depth]
    table = receptive_fields(replace(PRESETS["resnet50_v1"], depths=tuple(theirs["depths"])))
    assert field_by_stage(table)["size"].tolist() == [11, *theirs["sizes"], None]
    assert [last(table[table.stage == stage]).padding for stage in "1234"] == theirs["paddings"]


# --- textbook arithmetic

Steps = list[tuple[int, int]]
STEM = [(7, 2), (3, 2)]
BLOCKS: dict[str, Callable[[int], Steps]] = {
    "basic": lambda stride: [(3, stride), (3, 1)],
    "bottleneck": lambda stride: [(1, 1), (3, stride), (1, 1)],
    "bottleneck_v1": lambda stride: [(1, stride), (3, 1), (1, 1)],
}


def by_stage(stem: Steps, block: str, *depths: int) -> list[int]:
    """Sizes behind the stem and each stage, along the longest path."""
    steps, sizes = [*stem], [chain(*stem)[0]]
    for stage, depth in enumerate(depths):
        for number in range(depth):
            steps += BLOCKS[block](2 if stage and number == 0 else 1)
        sizes.append(chain(*steps)[0])
    return sizes


@pytest.mark.parametrize(
    ("name", "block", "depths", "sizes"),
    [
        ("resnet18", "basic", (2, 2, 2, 2), [11, 43, 99, 211, 435]),
        ("resnet34", "basic", (3, 4, 6, 3), [11, 59, 179, 547, 899]),
        ("resnet50", "bottleneck", (3, 4, 6, 3), [11, 35, 91, 267, 427]),
        ("resnet50_v1", "bottleneck_v1", (3, 4, 6, 3), [11, 35, 99, 291, 483]),
        ("resnet101", "bottleneck", (3, 4, 23, 3), [11, 35, 91, 811, 971]),
        ("resnet152", "bottleneck", (3, 8, 36, 3), [11, 35, 155, 1291, 1451]),
        ("resnext50_32x4d", "bottleneck", (3, 4, 6, 3), [11, 35, 91, 267, 427]),
    ],
)
def test_the_fields_of_resnets_by_stage(name: str, block: str, depths: tuple[int, ...], sizes: list[int]) -> None:
    assert by_stage(STEM, block, *depths) == sizes
    stages = field_by_stage(fields_of(name))
    assert stages.stage.tolist() == ["stem", "1", "2", "3", "4", "head"]
    assert stages["size"].tolist() == [*sizes, None]
    assert stages.stride.tolist() == [4, 4, 8, 16, 32, None]
    assert last(fields_of(name)).padding == (sizes[-1] - 1) // 2
    assert fields_of(name).set_index("name").loc["conv1", "size"] == 7


@pytest.mark.parametrize(("depth", "size"), [(20, 81), (32, 137), (44, 193), (56, 249), (110, 501), (1202, 5597)])
def test_the_fields_of_the_cifar_resnets(depth: int, size: int) -> None:
    n = (depth - 2) // 6
    assert by_stage([(3, 1)], "basic", n, n, n)[-1] == size
    assert numbers(last(fields_of(f"cifar_resnet{depth}"))) == [size, 4, (size - 1) // 2]


NOTES = {"source", "convention"}


@pytest.mark.parametrize("name", sorted(PUBLISHED["last_maps"].keys() - NOTES))
def test_the_last_feature_maps(name: str) -> None:
    row = last(fields_of(name))
    size, _, padding = PUBLISHED["last_maps"][name]
    assert numbers(row) == PUBLISHED["last_maps"][name]
    assert row.start == (size - 1) / 2 - padding
    assert row.aligned
    assert row.even


@pytest.mark.parametrize("name", sorted(PUBLISHED["stages"].keys() - NOTES))
def test_the_fields_by_stage(name: str) -> None:
    stages = field_by_stage(fields_of(name))
    assert stages["size"].tolist() == [*PUBLISHED["stages"][name], None]
    assert stages.stride.tolist() == [4, 4, 8, 16, 32, None]
    assert fields_of(name).set_index("name").loc["conv1", "size"] == 7


def test_the_mean_of_a_resnet_ds_shortcut_is_not_centred_where_its_3x3_is() -> None:
    table = fields_of("resnet50d").set_index("name")
    assert table.loc["layer2.0.downsample.0", "start"] == 0 + 4 / 2  # between two units of stride 4
    assert table.loc["layer2.0.bn3", "start"] == 0
    assert table.loc["layer1.2.add", "aligned"]
    assert not table.loc["layer2.0.add", "aligned"]
    assert not table.loc["layer4.2.add", "aligned"]
    assert table.loc["layer2.0.bn3", "aligned"]
    assert fields_of("resnet50").aligned[:-3].all()


# --- small nets


def test_behind_a_1x1_of_stride_2_a_3x3_has_a_field_of_5_with_holes() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, stride=2), nn.Conv2d(1, 1, 3, padding=1))
    assert numbers(last(receptive_fields(net, (32, 32)))) == [5, 2, 2]
    image = torch.ones(1, 1, 32, 32, requires_grad=True)
    [gradient] = torch.autograd.grad(net(image)[0, 0, 8, 8], image)
    assert gradient[0, 0, 16].nonzero().flatten().tolist() == [14, 16, 18]


def test_the_size_grows_with_the_dilation_and_both_axes_on_their_own() -> None:
    row = field_of(nn.Conv2d(3, 1, (3, 5), stride=(1, 2), padding=(2, 0), dilation=(2, 1)))
    assert row["size"] == 2 * (3 - 1) + 1 == 5
    assert row.stride == (1, 2)
    assert row.padding == (2, 0)
    assert row.start == (0, 2)


def test_the_image_itself_is_a_field_of_one_pixel() -> None:
    assert numbers(field_of(nn.Conv2d(3, 1, 1))) == [1, 1, 0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (PadShortcut(2, 4), [1, 2, 0]),
        (nn.ZeroPad2d((1, 2, 1, 2)), [1, 1, 1]),
        (nn.ZeroPad2d(-1), [1, 1, -1]),
        (nn.ReflectionPad2d(2), [1, 1, 2]),
        (nn.MaxPool2d(3, 2, 1), [3, 2, 1]),
        (nn.AvgPool2d(2, ceil_mode=True), [2, 2, 0]),
        (nn.PixelUnshuffle(4), [4, 4, 0]),
        (nn.ChannelShuffle(3), [1, 1, 0]),
        (nn.AdaptiveAvgPool2d(64), [1, 1, 0]),
        (nn.AdaptiveAvgPool2d(None), [1, 1, 0]),
        (nn.AdaptiveMaxPool2d(16), [4, 4, 0]),
        (nn.AdaptiveAvgPool2d(63), [2, 1, 0]),  # windows from i * 64 // 63 = i on
        (nn.LocalResponseNorm(3), [1, 1, 0]),
        (nn.Softmax(1), [1, 1, 0]),
    ],
    ids=repr,
)
def test_what_a_layer_sees(layer: nn.Module, expected: list[int]) -> None:
    row = field_of(layer)
    assert numbers(row) == expected
    assert row.aligned
    assert not row.global_context


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, :, 1::2, 1::2], [1, 2, -1]),
        (lambda x: x[..., 3:, 3:], [1, 1, -3]),
        (lambda x: x[:, None].squeeze(1), [1, 1, 0]),
        (lambda x: x[..., None].sum(-1), [1, 1, 0]),
        (lambda x: x[:, :, None].sum(2), [1, 1, 0]),
        (lambda x: F.pad(x, (2, 0, 2, 0)), [1, 1, 2]),
        (lambda x: F.max_pool2d(x, 3, 1), [3, 1, 0]),
        (lambda x: x.permute(0, 2, 3, 1)[:, ::4, 2::4].permute(0, 3, 1, 2), [1, 4, (0, -2)]),
        (lambda x: x.transpose(1, 2).mean(2), [1, 1, 0]),
        (lambda x: x.unflatten(1, (2, 2)).flatten(1, 2), [1, 1, 0]),
        (lambda x: x.reshape(1, 4, 32, 2, 32, 2).amax((3, 5)), [2, 2, 0]),
        (lambda x: torch.stack([x, F.avg_pool2d(x, 3, 1, 1)], 4).sum(4), [3, 1, 1]),
        (lambda x: torch.cat(x.split(2, 1)[::-1], 1), [1, 1, 0]),
        (lambda x: x * x.amax(1, keepdim=True).expand_as(x), [1, 1, 0]),
        (lambda x: F.softmax(x, 1) + F.normalize(x), [1, 1, 0]),
        (lambda x: F.softmax(x.mean(1)), [1, 1, 0]),  # over three axes PyTorch takes the first when none is said
        (lambda x: F.linear(x.permute(0, 2, 3, 1), torch.ones(5, 4)).permute(0, 3, 1, 2), [1, 1, 0]),
        (lambda x: F.avg_pool2d(x, 3, 1, 1).view(4, 64, 64).unsqueeze(0), [3, 1, 1]),
    ],
)
def test_what_a_function_sees(function: Callable[[Tensor], Tensor], expected: list[Any]) -> None:
    row = receptive_fields(Calls(function), (64, 64)).iloc[-1]
    assert numbers(row) == expected
    assert not row.global_context


def test_sizes_read_through_a_shape_are_no_data() -> None:
    def reads(x: Tensor) -> Tensor:
        wide = F.avg_pool2d(x, 9, 1, 4)
        return x.view_as(wide).reshape_as(wide).expand_as(wide).type_as(wide) * wide.shape[2] + wide.size(3)

    assert numbers(receptive_fields(Calls(reads), (64, 64)).iloc[-1]) == [1, 1, 0]
    constant = receptive_fields(Calls(lambda x: x * torch.ones(4, 1, 1).type_as(x).expand_as(x)), (64, 64))
    assert constant.name.tolist() == ["conv", "mul"]


def test_branches_join_in_their_hull() -> None:
    def joins(x: Tensor) -> Tensor:
        wide, shifted = F.avg_pool2d(x, (1, 5), 1, (0, 2)), F.pad(x, (3, -3))
        return torch.cat([x + wide, shifted * 2], 1)

    table = receptive_fields(Calls(joins), (64, 64)).set_index("name")
    assert numbers(table.loc["add"]) == [(1, 5), 1, (0, 2)]
    assert table.loc["add", "aligned"]
    assert numbers(table.loc["cat"]) == [(1, 6), 1, (0, 3)]
    assert table.loc["cat", "start"] == (0, -0.5)
    assert not table.loc["cat", "aligned"]


# --- holes


def axis_of(*layers: nn.Module, sides: tuple[int, int] = (64, 64)) -> Axis:
    """What the units of a chain of layers see, from row to row."""
    field = field_sweep(trace(nn.Sequential(*layers), (1, *sides)))[-1]
    assert field is not None
    return field.height


def rows_of(axis: Axis) -> list[int]:
    """The rows that unit 0 sees."""
    return [axis.lo + bit for bit in range(axis.size) if axis.seen >> bit & 1]


def conv(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Module:
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation)


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        ([conv(1, 2), conv(3, padding=1)], [-2, 0, 2]),  # FACTS: 5, with two holes
        ([conv(1, 3), conv(2)], [0, 3]),
        ([conv(3, dilation=2)], [0, 2, 4]),
        ([nn.MaxPool2d(2, 1, dilation=5)], [0, 5]),
        ([conv(3, dilation=2), conv(2)], [0, 1, 2, 3, 4, 5]),  # the holes of one are seen by the next
        ([conv(3, dilation=2), conv(3, dilation=2)], [0, 2, 4, 6, 8]),  # unless it has the same: "gridding"
        ([conv(3, dilation=3), conv(2)], [0, 1, 3, 4, 6, 7]),
        ([conv(3, 2, 1), conv(3, 2, 1)], [*range(-3, 4)]),
        ([PadShortcut(2, 0), conv(3, padding=1)], [-2, 0, 2]),
        ([Calls(lambda x: F.pad(x, (2, -2, 2, -2)) + x)], [-2, 0]),  # branches that do not meet
        ([Calls(lambda x: F.pad(x, (2, -2, 2, -2)) + x), nn.MaxPool2d(2, 1)], [-2, -1, 0, 1]),
        ([Calls(lambda x: F.max_pool2d(x, 3, 1, 1) + F.pad(x, (3, -3, 3, -3)))], [-3, -1, 0, 1]),
    ],
)
def test_the_rows_that_a_unit_does_not_see(layers: list[nn.Module], rows: list[int]) -> None:
    axis = axis_of(*(nn.Conv2d(1, 3, 1) if isinstance(layers[0], Calls) else nn.Identity(), *layers))
    assert rows_of(axis) == rows
    assert axis.size == rows[-1] - rows[0] + 1
    assert axis.holes == axis.size - len(rows)


@pytest.mark.parametrize(
    "name", ["resnet50 stride_on=1x1", "resnet50 output_stride=8", "cifar_resnet20", "nasnetalarge"]
)
def test_the_windows_of_known_networks_have_no_holes(name: str) -> None:
    """What a 1x1 of stride 2 or a dilated 3x3 skips, its neighbours' windows hold: they are wider than the step."""
    fields = [field for field in field_sweep(operators(name)) if field is not None]
    assert len(fields) > 60
    assert not any(field.height.holes or field.width.holes for field in fields)


# --- enlarged maps


@pytest.mark.parametrize(
    ("factor", "mode", "spans"),
    [
        (2, "nearest", [(0, 3), (0, 3), (4, 7), (4, 7)]),
        (2, "nearest-exact", [(0, 3), (0, 3), (4, 7), (4, 7)]),
        (4, "nearest", [(0, 3)] * 4 + [(4, 7)] * 4),
        (2, "bilinear", [(-4, 3), (0, 7), (0, 7), (4, 11)]),  # 1/4 of one neighbour and 3/4 of the other
        (4, "bilinear", [(-4, 3), (-4, 3), (0, 7), (0, 7), (0, 7)]),
    ],
)
def test_what_the_units_of_an_enlarged_map_see(factor: int, mode: str, spans: list[tuple[int, int]]) -> None:
    axis = axis_of(conv(4, 4), nn.Upsample(scale_factor=factor, mode=mode))
    assert [axis.span(unit) for unit in range(len(spans))] == spans
    assert axis.stride == 4 / factor
    assert axis.period == factor
    assert axis.span(-1) == (spans[factor - 1][0] - 4, spans[factor - 1][1] - 4)
    assert (axis.lo, axis.hi) == axis.span(0)
    assert axis.size == max(final - first + 1 for first, final in spans)
    assert axis.padding == -spans[0][0]
    assert axis.start == sum(spans[0]) / 2


def test_of_three_bilinear_units_the_one_in_the_middle_sees_one() -> None:
    axis = axis_of(conv(3, 3), nn.Upsample(scale_factor=3, mode="bilinear"))
    assert [axis.span(unit) for unit in range(4)] == [(-3, 2), (0, 2), (0, 5), (0, 5)]


def test_an_enlarged_map_is_even_again_behind_the_stride_that_undoes_it() -> None:
    for mode in ("nearest", "bilinear"):
        axis = axis_of(conv(2, 2), nn.Upsample(scale_factor=2, mode=mode), conv(2, 2))
        assert (axis.period, axis.stride) == (1, 2)
        assert axis.span(0) == {"nearest": (0, 1), "bilinear": (-2, 3)}[mode]


def test_windows_of_several_periods_repeat_together() -> None:
    def joins(x: Tensor) -> Tensor:
        halves, thirds = F.max_pool2d(x, 2), F.max_pool2d(x, 3)
        return F.interpolate(halves, scale_factor=2) + F.interpolate(thirds, scale_factor=3)

    graph = trace(nn.Sequential(nn.Conv2d(3, 3, 6, 6), Calls(joins)), (3, 216, 216))
    field = field_sweep(graph)[-1]
    assert field is not None
    found = [field.height.span(unit) for unit in range(7)]
    halves, thirds = [6 * (unit // 2 * 2) for unit in range(7)], [6 * (unit // 3 * 3) for unit in range(7)]
    assert found == [(min(h, t), max(h + 11, t + 17)) for h, t in zip(halves, thirds, strict=True)]
    assert field.height.period == 6
    assert not field.aligned


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.interpolate(x, size=(16, 16)), [1, 4, 0]),  # every fourth
        (lambda x: F.interpolate(x, size=(16, 16), mode="nearest-exact"), [1, 4, -2]),
        (lambda x: F.interpolate(x, size=(32, 32), mode="bilinear"), [2, 2, 0]),
        (lambda x: F.interpolate(x[..., :63, :63], size=(21, 21), mode="bilinear"), [1, 3, -1]),
        (lambda x: F.interpolate(x, size=(64, 64), mode="bilinear"), [1, 1, 0]),
        (lambda x: F.interpolate(F.avg_pool2d(x, 6, 6), size=(15, 15)), [6, 4, 0]),  # 10 to 15, 2 of 3
    ],
)
def test_a_map_may_be_resized_to_any_size_with_whole_steps(
    function: Callable[[Tensor], Tensor], expected: list[int]
) -> None:
    assert numbers(receptive_fields(Calls(function), (64, 64)).iloc[-1]) == expected


def test_the_table_says_where_windows_differ() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 5, 4, 2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1))
    rows = receptive_fields(model, (64, 64))
    assert rows.even.tolist() == [True, False, False]
    assert rows["size"].tolist() == [5, 5, 5 + 4]
    assert rows.stride.tolist() == [4, 2, 2]
    assert rows.padding.tolist() == [2, 2, 2 + 4]
    assert receptive_fields(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), (8, 8)).even.tolist() == [True, None]


def test_a_map_whose_units_are_no_whole_pixels_apart_is_refused_or_a_gate() -> None:
    def gate(x: Tensor) -> Tensor:
        return x * F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:])

    model = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), Calls(gate))
    with pytest.raises(NoField, match=r"resized so that its units are 24/7 pixels apart, and there is no rule"):
        receptive_fields(nn.Sequential(nn.Conv2d(3, 3, 4, 4), Calls(gate)), (28, 28))
    with pytest.raises(NoField, match=r"its units are 1/2 pixels apart"):
        receptive_fields(Calls(lambda x: F.interpolate(x, scale_factor=2)), (28, 28))
    assert numbers(last(receptive_fields(model, (32, 32)))) == [3 + 2, 2, 1]  # two neighbours' windows
    wide = nn.Sequential(nn.Conv2d(3, 3, 61, 4, 30), Calls(gate))  # each unit of the gate sees all of 28 pixels
    row = receptive_fields(wide, (28, 28)).iloc[-1]
    assert numbers(row) == [61, 4, 30]
    assert row.global_context
    resized = receptive_fields(wide, (28, 28)).iloc[-2]
    assert resized["name"].endswith("interpolate")
    assert resized["size"] is None


def test_a_gate_that_sees_less_than_the_whole_image_is_refused() -> None:
    """Windows that end with the first pixel, or begin with it: only those of the middle hold all 28."""

    def gate(x: Tensor) -> Tensor:
        return x * F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:])

    before = nn.Sequential(nn.ZeroPad2d((28, 0, 28, 0)), nn.Conv2d(3, 3, 29, 4), Calls(gate))
    behind = nn.Sequential(nn.ZeroPad2d((0, 28, 0, 28)), nn.Conv2d(3, 3, 29, 4), Calls(gate))
    for net in (before, behind):
        with pytest.raises(NoField, match="pixels apart"):
            receptive_fields(net, (28, 28))


def test_windows_may_differ_along_one_axis() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1, (1, 2)), nn.Upsample(scale_factor=(1, 2)))
    assert receptive_fields(model, (16, 16)).even.tolist() == [True, False]


def test_branches_are_not_aligned_where_only_the_first_unit_has_one_centre() -> None:
    """Every other pixel, twice, beside all of them: units 0 see pixel 0, of units 1 one sees 0 and the other 1."""
    row = receptive_fields(Calls(lambda x: x + F.interpolate(x[..., ::2, ::2], scale_factor=2)), (16, 16)).iloc[-1]
    assert numbers(row) == [2, 1, 0]
    assert not row.aligned


@pytest.mark.parametrize(
    ("name", "row"),
    [
        # the longest path of hrnet_w18_small: see test_receptive_zoo.py for the pixels
        ("hrnet_w18_small", [583, 32, 291]),
        ("ghostnetv2_100", [2103, 32, 1045]),
    ],
)
def test_networks_with_enlarged_maps_have_fields(name: str, row: list[int]) -> None:
    table = fields_of(name)
    assert numbers(last(table)) == row
    assert not table.even[table["size"].notna()].all()


# --- what sees the whole image


def test_the_head_sees_the_whole_image_and_no_number_is_made_up() -> None:
    head = fields_of("resnet50").iloc[-3:]
    assert head.name.tolist() == ["avgpool", "flatten", "fc"]
    assert head.global_context.all()
    assert not fields_of("resnet50").global_context[:-3].any()
    for column in ("size", "stride", "start", "padding", "aligned"):
        assert head[column].tolist() == [None] * 3


@pytest.mark.parametrize(
    "layer",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d((1, 1)),
        nn.AdaptiveAvgPool2d(48),  # windows of one and of two pixels
        nn.AdaptiveAvgPool2d((48, 32)),
        nn.Flatten(),
        nn.Flatten(2),
        Calls(lambda x: x.mean((2, 3))),
        Calls(lambda x: x.mean((-1, -2), keepdim=True)),
        Calls(lambda x: x.flatten(2).amax(-1)),
        Calls(lambda x: x.sum()),
    ],
)
def test_what_has_no_local_field(layer: nn.Module) -> None:
    row = field_of(layer)
    assert row["size"] is None
    assert row.global_context


@pytest.mark.parametrize(
    "layer",
    [
        SqueezeExcite(3),
        nn.GroupNorm(3, 3),
        nn.LayerNorm((3, 64, 64)),
        nn.LayerNorm(64),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.Softmax(2),
        Calls(lambda x: F.batch_norm(x, None, None, training=True)),
        Calls(lambda x: x * x.mean((2, 3)).view(1, 1, -1).reshape(1, -1, 1, 1).expand_as(x)),
        Calls(lambda x: x * F.avg_pool2d(x, x.shape[2:])),
        Calls(lambda x: torch.cat([x, F.interpolate(F.adaptive_avg_pool2d(x, 1), (64, 64))], 1)),
    ],
)
def test_a_gate_and_a_norm_over_the_map_keep_the_local_field(layer: nn.Module) -> None:
    row = field_of(nn.Conv2d(3, 3, 3, padding=1), layer)
    assert numbers(row) == [3, 1, 1]
    assert row.aligned
    assert row.global_context


def test_batch_norm_in_eval_mode_and_a_norm_over_channels_are_local() -> None:
    channels_last = Calls(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2))
    assert not field_of(nn.BatchNorm2d(3)).global_context
    assert not field_of(channels_last).global_context


def test_spatial_attention_widens_the_field_by_its_7x7() -> None:
    plain, cbam = (
        receptive_fields(replace(PRESETS["resnet18"], depths=(1,), attention=attention))
        for attention in ("none", "cbam")
    )
    assert numbers(last(plain)) == [11 + 2 * 8, 4, 13]
    assert numbers(last(cbam)) == [11 + 2 * 8 + 6 * 4, 4, 13 + 3 * 4]
    assert last(cbam).global_context  # of its channel attention
    assert last(cbam).aligned


# --- what is refused


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(UnknownOperator, match=r"conv_transpose2d, so its counts would be a guess"):
        receptive_fields(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 3, 3)))


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), r"interpolate \(upsample\)"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), r"interpolate \(upsample\)"),
        (lambda x: F.interpolate(x, size=32, mode="bilinear", antialias=True), r"interpolate \(upsample\)"),
        (lambda x: F.interpolate(x[..., :63], scale_factor=0.5), r"interpolate \(upsample\)"),  # 63 / 2 is rounded
        (lambda x: F.interpolate(x[..., :2, :2], scale_factor=41), r"interpolate \(upsample\)"),  # 41 * (1 / 41) < 1
        (lambda x: nn.PixelShuffle(2)(x), r"pixel_shuffle"),
        (lambda x: x @ x, r"matmul \(matmul\)"),
        (lambda x: F.conv1d(x.mean(1), torch.ones(4, 64, 3)), "conv1d"),
    ],
)
def test_an_operator_of_which_nobody_told_where_it_looks_is_refused(
    function: Callable[[Tensor], Tensor], operator: str
) -> None:
    with pytest.raises(UnknownOperator, match=operator):
        receptive_fields(Calls(function), (64, 64))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (
            lambda x: x[:, :, ::2, ::2] + x[:, :, :32, :32],
            "At add branches meet whose units do not belong together (strides of 1 and 2).",
        ),
        (
            lambda x: torch.cat([x, x], 2),
            "At cat a map of 64x64 goes into one of 128x64, unit for unit.",
        ),
        (lambda x: x.mean(3), "At mean one axis of the image is gone and the other is left."),
        (lambda x: x[:, :, 5], "At getitem one axis of the image is gone and the other is left."),
        (lambda x: F.linear(x, torch.ones(5, 64)), "At linear one axis of the image is gone and the other is left."),
        (
            lambda x: torch.cat(x.chunk(2, 3), 1),
            "At chunk the map is divided into parts that see different pixels.",
        ),
        (
            lambda x: F.max_pool2d(x.permute(0, 2, 3, 1), 3),
            "At max_pool2d a window slides along another axis than the image's two.",
        ),
        (
            lambda x: F.conv2d(x, x.mean((2, 3)).view(1, 4, 1, 1) * x[:, :, :3, :3]),
            "At conv2d the weights depend on pixels, and there is no rule for that.",
        ),
    ],
)
def test_what_has_no_one_field_is_refused_in_a_sentence(function: Callable[[Tensor], Tensor], sentence: str) -> None:
    with pytest.raises((NoField, UnknownOperator)) as caught:
        receptive_fields(Calls(function), (64, 64))
    assert str(caught.value) == sentence


def test_weights_that_depend_on_the_whole_image_are_global_context() -> None:
    def mixes(x: Tensor) -> Tensor:
        return F.conv2d(x, x.mean((2, 3)).view(1, 4, 1, 1).expand(4, 4, 3, 3), padding=1)

    row = receptive_fields(Calls(mixes), (64, 64)).iloc[-1]
    assert numbers(row) == [3, 1, 1]
    assert row.global_context


# --- the table


@given(specs())
@FEW
def test_the_rows_are_those_of_the_layer_table(spec: ResNetSpec) -> None:
    table, layers = receptive_fields(spec), layer_table(spec)
    assert table.name.tolist() == layers.name.tolist()
    assert table.stage.tolist() == layers.stage.tolist()


@pytest.mark.parametrize("name", ["googlenet", "densenet121", "shufflenet_v2_x0_5", "convnext_tiny", "efficientnet_b0"])
def test_the_rows_of_a_librarys_network_are_those_of_its_layer_table(name: str) -> None:
    assert fields_of(name).name.tolist() == layer_table(name).name.tolist()


def test_numbers_are_whole_where_they_are_and_pairs_only_where_axes_differ() -> None:
    table = fields_of("inception_v3")
    kinds = {type(value) for column in ("size", "stride", "padding") for value in table[column]}
    assert kinds == {int, tuple, type(None)}
    assert all(height != width for height, width in filter(lambda size: isinstance(size, tuple), table["size"]))
    assert table.global_context.dtype == bool


def test_an_axis_knows_its_size_its_centre_and_its_padding() -> None:
    axis = Axis(stride=32, lo=-213, seen=2**427 - 1, place=-1)
    assert (axis.size, axis.start, axis.padding) == (213 + 1 + 213, 0, 213)
    assert Axis(2, 0, 0b11, -1).start == 0.5


# --- the gradient of one unit: the same network, run with averages in place of all that is not linear


class Averages(TorchFunctionMode):
    """Makes every operator positive and linear, so that a unit's gradient is above zero wherever it looks.

    Convolutions average, and so do max pools; norms and activations pass on what they get, sigmoids excepted, which
    rise everywhere; a mean over the image counts as a number, not as a path. Every output is rescaled, lest the edge
    of a field underflow.
    """

    PASS = frozenset(("batch_norm", "group_norm", "layer_norm", "relu", "leaky_relu", "gelu", "silu"))

    def __torch_function__(self, target: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = target.__name__
        if name in self.PASS:
            return args[0]
        if name == "conv2d":
            args = (args[0], torch.ones_like(args[1]), None, *args[3:])
        if name == "max_pool2d" and kwargs.get("dilation", (1, 1)) not in (1, (1, 1)):
            x, kernel = args
            ones = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
            args = x, ones, None, kwargs["stride"], kwargs["padding"], kwargs["dilation"], x.shape[1]
            kwargs = {}
            target = F.conv2d
        elif name == "max_pool2d":
            target, args, kwargs = (
                F.avg_pool2d,
                args[:4],
                {"ceil_mode": kwargs.get("ceil_mode", False)}
                | {key: kwargs[key] for key in ("stride", "padding") if key in kwargs},
            )
        if name == "pad":
            target, args, kwargs = F.pad, args[:2], {}  # with zeros
        if name in ("mul", "__mul__") and isinstance(args[1], float):
            return args[0]
        output = target(*args, **kwargs)
        if name.startswith("adaptive_") or (name == "mean" and args[1:] == ((2, 3),)):
            return output.detach()
        return output / output.detach().max() if name in ("conv2d", "avg_pool2d", "max_pool2d", "linear") else output


def positive(model: nn.Module) -> nn.Module:
    """The model in eval mode and double precision, every parameter one."""
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model.double().eval()


def seen(output: Tensor, image: Tensor, unit: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last row, first and last column of the image where a unit of (1, c, h, w) has a gradient."""
    [gradient] = torch.autograd.grad(output[0, :, unit[0], unit[1]].sum(), image, retain_graph=True)
    where = gradient.abs().sum((0, 1)).nonzero()
    [top, left], [bottom, right] = where.min(0).values.tolist(), where.max(0).values.tolist()
    return [(top, bottom), (left, right)]


def expected(row: Any, unit: tuple[int, int]) -> list[tuple[int, int]]:
    """The same from a row of the table, pixels outside of the image too."""
    columns = [value if isinstance(value, tuple) else (value, value) for value in numbers(row)]
    starts = [number * stride - padding for number, stride, padding in zip(unit, *columns[1:], strict=True)]
    return [(start, start + size - 1) for start, size in zip(starts, columns[0], strict=True)]


def outputs_of(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What each layer returns, by name."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, output: outputs.update({name: output})

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    with Averages():
        model(image)
    for hook in hooks:
        hook.remove()
    return outputs


@given(specs(), st.data())
@FEW
def test_a_spec_sees_what_the_gradients_of_its_units_show(spec: ResNetSpec, data: st.DataObject) -> None:
    model = positive(build(spec))
    table = receptive_fields(model, (256, 256))
    table = table[table["size"].notna() & ~table.name.duplicated(keep=False)].set_index("name")
    length = 601
    for shape in ((length, 1), (1, length)):  # a line of pixels is as good as a picture, and cheap
        image = (torch.rand(1, spec.in_channels, *shape, dtype=torch.float64) + 0.5).requires_grad_()
        outputs = outputs_of(model, image)
        names = [name for name in table.index if name in outputs]
        assert names[-1].startswith(("layer", "final"))
        for name in {names[-1], *data.draw(st.lists(st.sampled_from(names), max_size=6))}:
            output = outputs[name]
            unit = (output.shape[2] // 2, output.shape[3] // 2)
            axis = shape.index(length)
            first, final = expected(table.loc[name], unit)[axis]
            found_first, found_final = seen(output, image, unit)[axis]
            assert found_first >= first
            assert found_final <= final
            if first >= 0:
                assert found_first == first, name
            if final < length:
                assert found_final == final, name


# --- random graphs

CHANNELS = 4
MANY = settings(FEW, max_examples=60)


class Average(nn.Conv2d):
    """A convolution of four channels."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        super().__init__(CHANNELS, CHANNELS, kernel, stride, padding, dilation)


class ChannelsLast(nn.Module):
    """A norm and a linear layer over the channels of each pixel, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.linear = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Transposed(nn.Module):
    """A convolution of 3x1 on the map with its axes exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Average((3, 1), (1, 1), (0, 0), (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(2, 3)).transpose(-1, -2)


class Shuffle(nn.Module):
    """Groups of channels exchanged, as in ShuffleNet, and the halves of that."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        first, second = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).flatten(1, 2).chunk(2, 1)
        return torch.cat([second, first], 1)


class PixelGate(nn.Module):
    """CBAM's spatial attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(pixels))


class ChannelGate(nn.Module):
    """A weight a channel, from its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3))[:, :, None, None].sigmoid()


class Crop(nn.Module):
    """From a row and a column on, in steps."""

    def __init__(self, top: int, left: int, steps: Pair) -> None:
        super().__init__()
        self.rows, self.columns = slice(top, None, steps[0]), slice(left, None, steps[1])

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.rows, self.columns]


class Fold(nn.Module):
    """Neighbouring pixels to the channels of one, and back to four channels by a 1x1."""

    def __init__(self, by: Pair) -> None:
        super().__init__()
        self.by = by
        self.conv = nn.Conv2d(by[0] * by[1] * CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        (rows, columns), h, w = self.by, x.shape[2] // self.by[0], x.shape[3] // self.by[1]
        parts = x[:, :, : rows * h, : columns * w].reshape(1, CHANNELS, h, rows, w, columns).permute(0, 3, 5, 1, 2, 4)
        return self.conv(parts.contiguous().view(1, rows * columns * CHANNELS, h, w))


class Join(nn.Module):
    """Two branches, cut to one size, joined; it remembers what they gave."""

    def __init__(self, how: str, first: list[nn.Module], second: list[nn.Module]) -> None:
        super().__init__()
        self.how, self.first, self.second = how, nn.Sequential(*first), nn.Sequential(*second)
        self.conv = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x), self.second(x)
        h, w = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        a, b = self.branches = a[:, :, :h, :w], b[:, :, :h, :w]
        if self.how == "cat":
            return self.conv(torch.cat([a, b], 1))
        if self.how == "stack":
            return torch.stack([a, b], 1).sum(1)
        return a + b if self.how == "add" else a * b


def _pairs(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> Pair:
    return draw(numbers), draw(numbers)


def _averages(draw: st.DrawFn, strides: Pair) -> nn.Module:
    kernel = _pairs(draw, st.sampled_from((1, 2, 3, 5)))
    return Average(kernel, strides, _pairs(draw, st.integers(0, 3)), _pairs(draw, st.integers(1, 2)))


def _pool(draw: st.DrawFn, strides: Pair) -> nn.Module:
    kernel = _pairs(draw, st.integers(1, 3))
    padding = draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, strides, padding, ceil)
    dilation = (1, 1) if ceil else _pairs(draw, st.integers(1, 2))
    return nn.MaxPool2d(kernel, strides, padding, dilation, ceil_mode=ceil)


def _step(draw: st.DrawFn) -> nn.Module:
    kind = draw(st.sampled_from(("conv", "pool", "pad", "crop", "norm", "gate", "other", "other")))
    if kind == "conv":
        return _averages(draw, (1, 1))
    if kind == "pool":
        return _pool(draw, (1, 1))
    if kind == "pad":
        return nn.ZeroPad2d(draw(st.tuples(*[st.integers(-1, 2)] * 4)))
    if kind == "crop":
        return Crop(draw(st.integers(0, 2)), draw(st.integers(0, 2)), (1, 1))
    if kind == "norm":
        return draw(st.sampled_from((nn.BatchNorm2d(CHANNELS), nn.GroupNorm(2, CHANNELS))))
    if kind == "gate":
        return draw(st.sampled_from((PixelGate, ChannelGate)))()
    return draw(st.sampled_from((nn.ReLU, nn.Identity, Shuffle, ChannelsLast, Transposed)))()


def _strided(draw: st.DrawFn, strides: Pair) -> nn.Module:
    kind = draw(st.sampled_from(("conv", "pool", "crop", "fold", "unshuffle")))
    if kind == "conv":
        return _averages(draw, strides)
    if kind == "pool":
        return _pool(draw, strides)
    if kind == "crop":
        return Crop(draw(st.integers(0, 1)), draw(st.integers(0, 1)), strides)
    return Fold(strides)


def _there_and_back(draw: st.DrawFn) -> list[nn.Module]:
    """A map made smaller and enlarged again, as in HRNet."""
    factor = draw(st.integers(2, 3))
    mode = draw(st.sampled_from(("nearest", "bilinear")))
    between = [_step(draw) for _ in range(draw(st.integers(0, 1)))]
    return [_strided(draw, (factor, factor)), *between, nn.Upsample(scale_factor=factor, mode=mode)]


@st.composite
def branches(draw: st.DrawFn, strides: Pair, joins: int) -> list[nn.Module]:
    """Steps one after the other that shrink a map by these strides, some of them branching again."""
    steps: list[nn.Module] = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(("join", "join", "back", *["step"] * 6)))
        if joins and kind == "join":
            inside = branches((1, 1), joins - 1)
            steps.append(Join(draw(st.sampled_from(("add", "mul", "cat", "stack"))), draw(inside), draw(inside)))
        else:
            steps += _there_and_back(draw) if kind == "back" else [_step(draw)]
    if strides != (1, 1):
        steps.insert(draw(st.integers(0, len(steps))), _strided(draw, strides))
    return steps


STRIDES = st.sampled_from(((1, 1), (1, 1), (2, 2), (1, 2), (3, 2)))


@st.composite
def graphs(draw: st.DrawFn) -> nn.Sequential:
    """Networks of four channels with a join at the end, whose branches have one stride."""
    strides = draw(STRIDES)
    how = draw(st.sampled_from(("add", "mul", "cat", "stack")))
    end = Join(how, draw(branches(strides, 1)), draw(branches(strides, 1)))
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), *draw(branches(draw(STRIDES), 0)), end)


SIDES = 151, 138


def field_of_last(model: nn.Module) -> Field:
    field = field_sweep(trace(model, (CHANNELS, *SIDES)))[-1]
    assert field is not None
    return field


def axes_of(field: Field) -> tuple[Axis, Axis]:
    return field.height, field.width


def in_the_middle(field: Field) -> list[Pair]:
    """Two periods of units, far enough inside that no path to an edge goes through padding."""
    starts = [int((side / 2 - axis.start) // axis.stride) for axis, side in zip(axes_of(field), SIDES, strict=True)]
    count = 1 + max(axis.period for axis in axes_of(field))
    units = [(starts[0] + number, starts[1] + number) for number in range(-count // 2, count - count // 2)]
    for unit in units:
        for axis, number, side in zip(axes_of(field), unit, SIDES, strict=True):
            first, final = axis.span(number)
            assume(first > 24 and final < side - 24)
    return units


def seen_pixels(output: Tensor, image: Tensor, unit: Pair) -> list[list[int]]:
    """The rows and the columns of the image where a unit of (1, c, h, w) has a gradient."""
    [gradient] = torch.autograd.grad(output[0, :, unit[0], unit[1]].sum(), image, retain_graph=True)
    size = gradient.abs().sum((0, 1))
    return [torch.nonzero(size.amax(other) > 1e-15 * size.max()).flatten().tolist() for other in (1, 0)]


@given(graphs())
@MANY
def test_a_random_graph_sees_what_the_gradients_of_its_units_show(model: nn.Sequential) -> None:
    positive(model)
    field = field_of_last(model)
    units = in_the_middle(field)
    image = (torch.rand(1, CHANNELS, *SIDES, dtype=torch.float64) + 0.5).requires_grad_()
    with Averages():
        output = model(image)
    found = {unit: seen_pixels(output, image, unit) for unit in units}
    row = receptive_fields(model, SIDES).iloc[-1]
    for place, axis in enumerate(axes_of(field)):
        for unit, pixels in found.items():
            lo, seen = axis.window(unit[place])
            assert pixels[place] == [lo + bit for bit in range(seen.bit_length()) if seen >> bit & 1]
        windows = [pixels[place] for pixels in found.values()]
        size, stride, start, padding = (
            value[place] if isinstance(value, tuple) else value for value in row[["size", "stride", "start", "padding"]]
        )
        assert size == max(window[-1] - window[0] + 1 for window in windows)
        assert axis.holes == max(window[-1] - window[0] + 1 - len(window) for window in windows)
        assert windows[axis.period] == [pixel + axis.period * stride for pixel in windows[0]]
        if axis.period == 1:
            assert windows[0][0] == units[0][place] * stride - padding
            assert windows[0][0] + windows[0][-1] == 2 * (start + units[0][place] * stride)
        else:  # else its period would be shorter
            ahead = [[pixel + stride for pixel in window] for window in windows]
            assert ahead[: axis.period - 1] != windows[1 : axis.period]
    assert row.even == (field.height.period == field.width.period == 1)
    assert row.global_context == any(isinstance(module, nn.GroupNorm | ChannelGate) for module in model.modules())


@given(graphs())
@FEW
def test_branches_of_a_random_graph_are_aligned_where_the_gradients_have_one_centre(model: nn.Sequential) -> None:
    positive(model)
    field = field_of_last(model)
    in_the_middle(field)
    image = (torch.rand(1, CHANNELS, *SIDES, dtype=torch.float64) + 0.5).requires_grad_()
    with Averages():
        model(image)
    aligned = True
    for join in (module for module in model.modules() if isinstance(module, Join)):
        middle = [side // 2 for side in join.branches[0].shape[2:]]
        for number in range(6):  # all of a period of 2 or of 3
            unit = middle[0] + number, middle[1] + number
            pairs = ([(axis[0] + axis[-1]) for axis in seen_pixels(branch, image, unit)] for branch in join.branches)
            aligned &= next(pairs) == next(pairs)
    assert field.aligned == aligned


@pytest.mark.parametrize(
    ("what", "reached"),
    {
        "a hole": lambda field: field.height.holes,
        "uneven windows": lambda field: not field.even,
        "uneven windows with a hole": lambda field: not field.even and field.width.holes,
        "axes that differ in stride": lambda field: field.height.stride != field.width.stride,
        "an even size": lambda field: field.even and field.height.size % 2 == 0,
        "a crop": lambda field: field.height.padding < 0,
        "branches that are not aligned": lambda field: field.even and not field.aligned,
        "branches that are": lambda field: field.aligned and field.height.size > 5,
        "a stride of six": lambda field: field.height.stride == 6,
        "a norm over the map": lambda field: field.global_context,
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_random_graphs_reach(what: str, reached: Callable[[Field], bool]) -> None:
    """Else the property tests above would not test it."""

    def has(model: nn.Sequential) -> bool:
        field = field_of_last(model)
        in_the_middle(field)
        return bool(reached(field))

    find(graphs(), has, settings=settings(MANY, max_examples=1000, phases=[Phase.generate]))


# --- the operators that these networks need: MACs as PyTorch's own counter has them


def macs_by_torch(model: nn.Module, shape: tuple[int, ...]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape, device="meta"))
    return float(counter.get_total_flops() / 2)


@pytest.mark.parametrize(
    "name",
    [
        *("eca_resnet33ts", "gcresnext26ts", "lambda_resnet26t", "resnet50_clip", "resnetv2_50d_evos", "tresnet_m"),
        *("resnetv2_50d_frn", "bat_resnext26ts", "resnetblur18", "skresnet18", "vit_small_resnet26d_224"),
    ],
)
def test_torch_counts_the_macs_of_timms_stranger_resnets_alike(name: str) -> None:
    model, shape = zoo.network(f"timm/{name}")
    total = totals(layer_table(f"timm/{name}"))
    assert total.macs == macs_by_torch(model, shape)
    assert total.params == sum(parameter.numel() for parameter in model.parameters())


def steps_of(stem: Steps, depths: tuple[int, ...], first: Callable[[int], Steps], later: Steps) -> Steps:
    """The longest path, where each stage's first block has other layers than the later ones."""
    return stem + [
        step for stage, depth in enumerate(depths) for step in (*first(2 if stage else 1), *later * (depth - 1))
    ]


DEEP = [(3, 2), (3, 1), (3, 1)]


@pytest.mark.parametrize(
    ("name", "steps", "context"),
    [
        # a 3x3, then a mean over 3x3 that strides
        ("resnest14d", [*DEEP, (3, 2), (3, 1), *[(3, 1), (3, 2)] * 3], True),
        # three 3x3 one after the other, but side by side in a stage's first block
        ("res2net50_26w_4s", steps_of(STEM, (3, 4, 6, 3), lambda stride: [(3, stride)], [(3, 1)] * 3), False),
        # a 3x3 beside a dilated one that spans 5x5
        ("skresnet18", steps_of(STEM, (2, 2, 2, 2), lambda stride: [(5, stride), (3, 1)], [(5, 1), (3, 1)]), True),
        # a 3x3 filter of fixed weights strides in the place of convolution and max pool
        (
            "resnetblur18",
            steps_of(
                [(7, 2), (3, 1), (3, 2)],
                (2, 2, 2, 2),
                lambda stride: [(3, 1), *[(3, 2)] * (stride - 1), (3, 1)],
                [(3, 1), (3, 1)],
            ),
            False,
        ),
        # a mean over 2x2 strides
        (
            "resnet50_clip",
            steps_of([*DEEP, (2, 2)], (3, 4, 6, 3), lambda stride: [(3, 1), (stride, stride)], [(3, 1)]),
            False,
        ),
        ("resnet50_gn", steps_of(STEM, (3, 4, 6, 3), lambda stride: [(3, stride)], [(3, 1)]), True),
        ("ecaresnet26t", steps_of([*DEEP, (3, 2)], (2, 2, 2, 2), lambda stride: [(3, stride)], [(3, 1)]), True),
    ],
)
def test_the_fields_of_timms_stranger_resnets(name: str, steps: Steps, context: bool) -> None:
    row = last(fields_of(f"timm/{name}"))
    assert (row["size"], row.stride) == chain(*steps)
    assert row.global_context == context


def test_a_map_that_is_pooled_along_one_axis_has_no_field() -> None:
    with pytest.raises(NoField, match=r"^At stages\.0\.0\.attn\.ba\.adaptive_max_pool2d one axis of the image is gone"):
        receptive_fields("timm/bat_resnext26ts")


class Multiplies(nn.Module):
    """All of PyTorch's operators that multiply matrices, and the convolutions of other dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(3, 6, 3, stride=2, padding=1, dilation=2, groups=3)
        self.across = nn.Conv3d(1, 2, (1, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        pixels = flat.transpose(1, 2)
        a = torch.bmm(flat, pixels) @ self.along(flat)[:, :3]
        b = torch.matmul(flat[:, None], pixels.unsqueeze(1))
        c = F.scaled_dot_product_attention(pixels[:, :7], pixels, pixels[..., :2])
        return a.sum() + b.var(dim=1).sum() + c.mean() + self.across(x.unsqueeze(1)).square().amax()


def test_matrix_products_and_other_convolutions_count_as_torch_counts_them() -> None:
    model = Multiplies().to("meta")
    table = layer_table(model, (5, 8)).set_index("name")
    n = 5 * 8
    along = (n + 2 * 1 - 2 * (3 - 1) - 1) // 2 + 1
    assert table.loc["along", "output_shape"] == (6, along)
    assert table.loc["along", "macs"] == 6 * along * 3
    assert table.loc["bmm", "macs"] == 3 * 3 * n
    assert table.loc["matmul", "macs"].tolist() == [3 * 3 * along, 3 * 3 * n]
    assert table.loc["scaled_dot_product_attention", "macs"] == 7 * n * (3 + 2)
    assert table.loc["across", "macs"] == 2 * 3 * 3 * 7 * (1 * 3 * 2)
    assert table.macs.sum() == macs_by_torch(model, (3, 5, 8))


def test_a_convolution_along_channels_that_does_not_fit_is_refused_in_a_sentence() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2), nn.Conv1d(6, 2, 3))
    with pytest.raises(DoesNotFit, match=r"at 2, it takes 6 channels and gets 4\.$"):
        layer_table(model, (9, 9))
