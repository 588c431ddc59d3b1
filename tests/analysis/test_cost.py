"""The textbook calculators against the numbers that are printed, their formulas, and PyTorch's own counter."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.cost import (
    Comparison,
    CostError,
    Design,
    InceptionSizes,
    PixelRow,
    bottleneck_block,
    depthwise_separable,
    design_table,
    field_growth,
    googlenet_modules,
    inception_miscounted,
    inception_module,
    known_windows,
    output_size,
    output_sizes,
    pooled_head,
    published_options,
    separable_filters,
    separable_shares,
    shortcut_options,
    stacked_3x3,
)
from explorer.analysis.layers import Layer, layer_table, layers, totals
from explorer.models import zoo
from explorer.spec import PRESETS, ResNetSpec, SpecError

TABLES = Path(__file__).parents[1] / "tables"
CHANNELS = st.integers(1, 96)
SIDES = st.integers(1, 40)
ODD = st.integers(0, 4).map(lambda half: 2 * half + 1)


def published(table: str) -> Any:
    """Numbers of tests/tables, each file with its source, url and convention."""
    return json.loads((TABLES / f"{table}.json").read_text())


def conv(c_in: int, c_out: int, kernel: int | tuple[int, int], groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding="same", groups=groups, bias=False)


def macs_by_torch(channels: int, side: int, *chains: tuple[nn.Module, ...]) -> int:
    """Multiply-accumulates of chains of layers that all see one map, by PyTorch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        for chain in chains:
            nn.Sequential(*chain).to("meta")(torch.empty(1, channels, side, side))
    return int(counter.get_total_flops()) // 2


def both(comparison: Comparison, quantity: Callable[[Design], object]) -> tuple[object, object]:
    return quantity(comparison.proposed), quantity(comparison.usual)


# --- bottleneck


def test_the_bottleneck_at_256_channels_has_the_weights_of_the_textbook() -> None:
    blocks = bottleneck_block(256)
    assert blocks.proposed.weights == 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
    assert blocks.usual.weights == 2 * 9 * 256 * 256 == 1_179_648
    assert f"{float(blocks.weight_ratio):.2f}" == "16.94"


def test_the_papers_two_blocks_cost_about_the_same() -> None:
    # He et al. 2015, figure 5: 3x3 - 3x3 at 64 channels, 1x1 - 3x3 - 1x1 at 256, "similar time complexity"
    drawn = bottleneck_block(256, 56, basic_channels=64)
    assert both(drawn, lambda design: design.weights) == (69_632, 2 * 9 * 64 * 64)
    assert both(drawn, lambda design: design.output_shape) == ((256, 56, 56), (64, 56, 56))
    assert abs(float(drawn.mac_ratio) - 1) < 0.06


def test_the_bottleneck_is_that_of_torchvisions_resnet50() -> None:
    block = torchvision.models.resnet50().layer1[1]
    weights = sum(module.weight.numel() for module in block.modules() if isinstance(module, nn.Conv2d))
    assert bottleneck_block(256).proposed.weights == weights


@FEW
@given(st.integers(1, 48).map(lambda quarter: 4 * quarter), SIDES)
def test_the_ratio_of_the_two_blocks_is_the_same_at_any_width(channels: int, side: int) -> None:
    blocks = bottleneck_block(channels, side)
    q = channels // 4
    assert blocks.weight_ratio == blocks.mac_ratio == Fraction(2 * 9 * 16, 4 + 9 + 4)
    assert both(blocks, lambda design: design.output_shape) == ((channels, side, side),) * 2
    assert both(blocks, lambda design: design.receptive_field) == (3, 5)
    assert both(blocks, lambda design: design.nonlinearities) == (3, 2)
    chain = (conv(channels, q, 1), conv(q, q, 3), conv(q, channels, 1))
    assert blocks.proposed.macs == macs_by_torch(channels, side, chain)
    assert blocks.usual.macs == macs_by_torch(channels, side, (conv(channels, channels, 3),) * 2)


# --- stacks of 3x3


def test_three_3x3_have_27_c2_weights_and_a_7x7_has_49_c2() -> None:
    # Simonyan & Zisserman 2014, section 2.3: "81% more"
    stack = stacked_3x3(3, channels=512)
    assert both(stack, lambda design: design.weights) == (27 * 512**2, 49 * 512**2)
    assert f"{float(stack.weight_ratio - 1):.0%}" == "81%"
    assert both(stack, lambda design: design.receptive_field) == (7, 7)
    assert both(stack, lambda design: design.nonlinearities) == (3, 1)


def test_two_3x3_see_what_a_5x5_sees_for_18_25ths() -> None:
    stack = stacked_3x3(2)
    assert 1 / stack.weight_ratio == Fraction(18, 25)
    assert both(stack, lambda design: design.receptive_field) == (5, 5)


@FEW
@given(st.integers(1, 6), CHANNELS, SIDES)
def test_any_stack_costs_9n_against_2n_plus_1_squared(n: int, channels: int, side: int) -> None:
    stack = stacked_3x3(n, channels, side)
    assert both(stack, lambda design: design.weights) == (9 * n * channels**2, (2 * n + 1) ** 2 * channels**2)
    assert both(stack, lambda design: design.receptive_field) == (2 * n + 1, 2 * n + 1)
    assert both(stack, lambda design: design.nonlinearities) == (n, 1)
    assert both(stack, lambda design: design.output_shape) == ((channels, side, side),) * 2
    assert stack.proposed.macs == macs_by_torch(channels, side, (conv(channels, channels, 3),) * n)
    assert stack.usual.macs == macs_by_torch(channels, side, (conv(channels, channels, 2 * n + 1),))


@FEW
@given(st.integers(1, 8))
def test_a_3x3_more_sees_two_pixels_more(count: int) -> None:
    assert field_growth(count) == tuple(range(1, 2 * count + 2, 2))


# --- Inception


def test_the_inception_module_of_cs231n() -> None:
    # Stanford CS231n, lecture 9: the layers that it lists
    module, pixels = inception_module(InceptionSizes()), 28 * 28
    naive = pixels * (128 * 256 + 192 * 9 * 256 + 96 * 25 * 256)
    with_reductions = pixels * (128 * 256 + 2 * 64 * 256 + 192 * 9 * 64 + 96 * 25 * 64 + 64 * 256)
    assert both(module, lambda design: design.macs) == (with_reductions, naive) == (271_351_808, 854_196_224)
    assert both(module, lambda design: design.output_shape) == ((480, 28, 28), (672, 28, 28))
    assert both(module, lambda design: design.receptive_field) == (5, 5)
    assert both(module, lambda design: design.nonlinearities) == (6, 3)


def test_the_lectures_358_million_counts_the_3x3s_input_as_128_channels() -> None:
    said = inception_miscounted(InceptionSizes(), 128)
    assert said == inception_module(InceptionSizes()).proposed.macs + 28 * 28 * 192 * 9 * (128 - 64)
    assert round(said / 1e6) == 358


@FEW
@given(CHANNELS, CHANNELS, CHANNELS, SIDES)
def test_counted_as_what_it_is_the_module_costs_what_it_costs(reduced: int, other: int, out: int, side: int) -> None:
    sizes = InceptionSizes(side=side, middle_reduced=reduced, middle=out)
    assert inception_miscounted(sizes, reduced) == inception_module(sizes).proposed.macs
    more = inception_miscounted(sizes, other) - inception_miscounted(sizes, reduced)
    assert more == side * side * out * 9 * (other - reduced)


def test_googlenets_modules_are_those_of_its_table_1() -> None:
    rows = {name: row for name, row in published("szegedy2014_table1")["rows"].items() if name.startswith("inception")}
    modules = googlenet_modules()
    assert list(modules) == list(rows)
    for name, sizes in modules.items():
        design = inception_module(sizes).proposed
        side, channels = rows[name]["output"]
        assert design.output_shape == (channels, side, side)
        printed = {"inception5a": 51}.get(name, rows[name]["million_macs"])  # the table's convention says why
        assert design.macs / 1e6 == pytest.approx(printed, abs=1)


def test_a_module_of_googlenet_costs_what_it_costs_inside_the_network() -> None:
    inside = layer_table("googlenet_2014")
    for name, sizes in googlenet_modules().items():
        assert inception_module(sizes).proposed.macs == inside[inside.name.str.startswith(name)].macs.sum()


@FEW
@given(st.builds(InceptionSizes, *[CHANNELS, SIDES, *[CHANNELS] * 6]))
def test_any_inception_module_has_the_macs_that_pytorch_counts(sizes: InceptionSizes) -> None:
    module = inception_module(sizes)
    channels, side, one, projection = sizes.channels, sizes.side, sizes.pointwise, sizes.pooled
    three, five = sizes.middle, sizes.wide
    naive = (conv(channels, one, 1),), (conv(channels, three, 3),), (conv(channels, five, 5),)
    with_reductions = (
        (conv(channels, one, 1),),
        (conv(channels, sizes.middle_reduced, 1), conv(sizes.middle_reduced, three, 3)),
        (conv(channels, sizes.wide_reduced, 1), conv(sizes.wide_reduced, five, 5)),
        (conv(channels, projection, 1),),
    )
    assert module.usual.macs == macs_by_torch(channels, side, *naive)
    assert module.proposed.macs == macs_by_torch(channels, side, *with_reductions)
    assert both(module, lambda design: design.output_shape) == (
        (one + three + five + projection, side, side),
        (one + three + five + channels, side, side),
    )


def test_the_branches_of_a_module_are_its_chains() -> None:
    module = inception_module(InceptionSizes())
    names = [[layer.name for layer in branch] for branch in module.proposed.branches]
    assert names == [
        ["1x1.conv"],
        ["3x3.reduce", "3x3.conv"],
        ["5x5.reduce", "5x5.conv"],
        ["pool.pool", "pool.project"],
    ]
    assert [[layer.kind for layer in branch] for branch in module.usual.branches] == [["conv"]] * 3 + [["pool"]]
    (chain,) = bottleneck_block().proposed.branches
    assert [layer.name for layer in chain] == ["conv1", "conv2", "conv3"]


# --- tables and formulas of two designs


COMPARISONS = {
    "bottleneck": lambda: bottleneck_block(20, 7),
    "stack": lambda: stacked_3x3(4, 5, 9),
    "inception": lambda: inception_module(InceptionSizes(channels=3, side=5)),
    "depthwise": lambda: depthwise_separable(6, 10, 5, 8),
    "filters": lambda: separable_filters(7, 3, 11),
    "head": lambda: pooled_head("alexnet_2012").heads,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_formula_is_true_and_has_a_product_a_layer(name: str) -> None:
    for design in both(COMPARISONS[name](), lambda design: design):
        assert isinstance(design, Design)
        for quantity in ("weights", "macs"):
            left, right = design.formula(quantity).split(" = ")  # type: ignore[arg-type]
            assert eval(left.replace("×", "*")) == int(right.replace(",", "")) == getattr(design, quantity)
            assert left.count("×") >= sum(layer.kind in ("conv", "linear") for layer in design.layers)


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_table_has_every_layer_of_both_designs(name: str) -> None:
    comparison = COMPARISONS[name]()
    table = design_table(comparison)
    assert table.name.tolist() == [
        layer.name for design in (comparison.proposed, comparison.usual) for layer in design.layers
    ]
    counted = table[table.kind.isin(("conv", "linear"))].groupby("design", sort=False)
    assert tuple(counted.params.sum()) == both(comparison, lambda design: design.weights)
    assert tuple(counted.macs.sum()) == both(comparison, lambda design: design.macs)
    assert table.design.drop_duplicates().tolist() == [comparison.proposed.name, comparison.usual.name]


# --- depthwise and separable


@pytest.mark.parametrize("row", published("howard2017_table3")["layers"], ids=lambda row: row["million_macs"])
def test_a_layer_of_mobilenet_costs_what_its_table_3_prints(row: dict[str, Any]) -> None:
    layer = depthwise_separable(row["channels"], row["channels"], 3, row["side"])
    design: Design = getattr(layer, row["layer"])
    for number, printed in ((design.macs, row["million_macs"]), (design.weights, row["million_params"])):
        decimals = len(printed.partition(".")[2])
        assert f"{number / 1e6:.{decimals}f}" == printed


@FEW
@given(CHANNELS, CHANNELS, ODD, SIDES)
def test_depthwise_separable_costs_1_over_n_plus_1_over_k2(m: int, n: int, k: int, side: int) -> None:
    layer = depthwise_separable(m, n, k, side)
    assert 1 / layer.mac_ratio == 1 / layer.weight_ratio == Fraction(1, n) + Fraction(1, k * k)
    assert layer.proposed.macs == macs_by_torch(m, side, (conv(m, m, k, groups=m), conv(m, n, 1)))
    assert layer.usual.macs == macs_by_torch(m, side, (conv(m, n, k),))
    assert both(layer, lambda design: design.receptive_field) == (k, k)
    assert both(layer, lambda design: design.output_shape) == ((n, side, side),) * 2


@FEW
@given(st.lists(ODD, min_size=1, unique=True), st.lists(CHANNELS, min_size=1))
def test_the_shares_are_the_formula_of_the_paper(kernels: list[int], widths: list[int]) -> None:
    shares = separable_shares(tuple(kernels), tuple(widths))
    assert shares == {k: tuple(Fraction(1, n) + Fraction(1, k * k) for n in widths) for k in kernels}


def test_3x1_and_1x3_are_33_percent_cheaper() -> None:
    # Szegedy et al. 2015, Rethinking the Inception Architecture, section 3.2
    assert f"{float(1 - 1 / separable_filters(3).mac_ratio):.0%}" == "33%"


@FEW
@given(ODD, CHANNELS, SIDES)
def test_separable_filters_cost_2_over_k(k: int, channels: int, side: int) -> None:
    filters = separable_filters(k, channels, side)
    assert filters.weight_ratio == filters.mac_ratio == Fraction(k, 2)
    assert both(filters, lambda design: design.weights) == (2 * k * channels**2, k * k * channels**2)
    assert both(filters, lambda design: design.receptive_field) == (k, k)
    chain = conv(channels, channels, (k, 1)), conv(channels, channels, (1, k))
    assert filters.proposed.macs == macs_by_torch(channels, side, chain)


# --- shortcuts


def test_options_a_and_b_differ_by_two_projections_in_cifar_resnet56() -> None:
    options = shortcut_options(PRESETS["cifar_resnet56"]).set_index("option")
    golden = published("pycls_complexity")["networks"]
    a, b = golden["V-56"], golden["R-56"]  # option A has what the plain net has
    assert options.loc[["A", "B"], "params"].tolist() == [a["params"], b["params"]]
    assert options.loc[["A", "B"], "macs"].tolist() == [a["flops"] - 10, b["flops"] - 10]  # theirs count the biases
    assert options.loc["B", "added_params"] == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64 == b["params"] - a["params"]
    assert options.loc["B", "added_macs"] == 16**2 * 16 * 32 + 8**2 * 32 * 64 == b["flops"] - a["flops"]


def test_option_c_projects_in_every_block_of_resnet34() -> None:
    options = shortcut_options(PRESETS["resnet34"]).set_index("option")
    between = ((64, 128), (128, 256), (256, 512))
    b = sum(before * after + 2 * after for before, after in between)
    c = b + sum(blocks * (width * width + 2 * width) for blocks, width in ((3, 64), (3, 128), (5, 256), (2, 512)))
    assert options["projections"].tolist() == [0, 3, 16]
    assert options["added_params"].tolist() == [0, b, c]
    params = sum(parameter.numel() for parameter in torchvision.models.resnet34().parameters())
    assert options.loc["B", "params"] == params
    assert options["refusal"].tolist() == [None, None, None]


@FEW
@given(specs(residual=True, residual_scale="none"))
def test_what_an_option_adds_is_what_the_plain_twin_lacks(spec: ResNetSpec) -> None:
    plain = totals(layer_table(replace(spec, residual=False)))
    for row in shortcut_options(spec).to_dict("records"):
        if row["refusal"] is None:
            assert (row["params"] - row["added_params"], row["macs"] - row["added_macs"]) == (plain.params, plain.macs)
        else:
            with pytest.raises(SpecError, match="option A can only add"):
                replace(spec, shortcut=row["option"])


def test_an_option_that_cannot_be_is_unknown_and_says_why() -> None:
    spec = replace(PRESETS["resnet18"], stage_widths=(64, 32, 64, 128))
    options = shortcut_options(spec).set_index("option")
    assert "from 64 to 64 to 32" in options.loc["A", "refusal"]
    assert options.loc["A", ["params", "added_macs"]].isna().all()
    assert options.loc["B", ["projections", "refusal"]].tolist() == [3, None]


def test_a_plain_net_has_no_shortcuts_to_compare() -> None:
    with pytest.raises(CostError, match=r"residual \(=False\) must be True"):
        shortcut_options(replace(PRESETS["resnet18"], residual=False))


def test_the_progress_is_told_and_can_stop_the_work() -> None:
    told: list[float] = []
    shortcut_options(PRESETS["resnet18"], lambda fraction, text: told.append(fraction))
    assert told == [0, 1 / 3, 2 / 3]

    def stop(fraction: float, text: str) -> None:
        raise InterruptedError(text)

    with pytest.raises(InterruptedError, match="option A"):
        shortcut_options(PRESETS["resnet18"], stop)


def test_the_published_errors_are_those_of_the_papers() -> None:
    # He et al. 2015, table 3 (top-1, top-5); He et al. 2016, table 1: original and 1x1 conv shortcut of ResNet-110
    table = published_options()
    assert [(row.net, row.option) for row in table.itertuples() if pd.isna(row.top5)] == [
        ("ResNet-110", "A"),
        ("ResNet-110", "C"),
    ]
    printed = {(row.net, row.option): (row.top1, None if pd.isna(row.top5) else row.top5) for row in table.itertuples()}
    assert printed == {
        ("ResNet-34", "A"): (25.03, 7.76),
        ("ResNet-34", "B"): (24.52, 7.46),
        ("ResNet-34", "C"): (24.19, 7.40),
        ("ResNet-110", "A"): (6.61, None),
        ("ResNet-110", "C"): (12.22, None),
    }


# --- output size


def test_cs231n_walks_alexnet() -> None:
    # Stanford CS231n, lecture 9: 227 -> 55 -> 27 -> 27 -> 13 -> 13 -> 13 -> 13 -> 6
    side = 227
    walk = []
    for kernel, stride, padding in ((11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), *[(3, 1, 1)] * 3, (3, 2, 0)):
        side = output_size(side, kernel, stride, padding).side
        walk.append(side)
    assert walk == [55, 27, 27, 13, 13, 13, 13, 6]


@FEW
@given(SIDES, st.integers(1, 7), st.integers(1, 4), st.integers(0, 5), st.integers(1, 3))
def test_the_filled_in_formula_is_true_and_pytorch_agrees(n: int, k: int, s: int, p: int, d: int) -> None:
    if d * (k - 1) + 1 > n + 2 * p:
        with pytest.raises(CostError, match=f"spans {d * (k - 1) + 1} pixels does not fit on n \\+ 2p = {n + 2 * p}"):
            output_size(n, k, s, p, d)
        return
    size = output_size(n, k, s, p, d)
    output = F.conv2d(torch.empty(1, 1, n, n, device="meta"), torch.empty(1, 1, k, k, device="meta"), None, s, p, d)
    assert size.side == output.shape[-1]
    assert_true(size.formula, size.side)
    span = f"{n} - {k} + 2×{p}" if d == 1 else f"{n} + 2×{p} - {d}×({k} - 1) - 1"
    assert size.formula.startswith(f"floor(({span}) / {s}) + 1 = ")


def assert_true(formula: str, side: int) -> None:
    """Each term between two signs of equality, read as Python, is the side."""
    code = formula.removeprefix('padding "same": ').replace("×", "*")
    names = {"floor": lambda x: x // 1, "ceil": lambda x: -(-x // 1)}
    assert [eval(term, dict(names)) for term in code.split(" = ")] == [side] * len(code.split(" = "))


@pytest.mark.parametrize("network", ["alexnet", "googlenet", "squeezenet1_0", "timm/tf_efficientnet_lite0", "resnet50"])
def test_the_formula_of_every_window_of_a_network_is_true(network: str) -> None:
    rows = [row for row in layers(network) if row.kernel]
    assert len(rows) > 5
    for row in rows:
        sizes = output_sizes(row)
        assert tuple(size.side for size in sizes) == row.output_shape[-2:]
        for size in sizes:
            assert_true(size.formula, size.side)


def test_each_axis_has_its_own_numbers() -> None:
    [row] = layers(nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(1, 0), device="meta"), (10, 21))
    height, width = output_sizes(row)
    assert height.formula == "floor((10 - 3 + 2×1) / 1) + 1 = floor(9 / 1) + 1 = 9 + 1 = 10"
    assert width.formula == "floor((21 - 5 + 2×0) / 2) + 1 = floor(16 / 2) + 1 = 8 + 1 = 9"


def test_padding_as_much_as_needed_is_said() -> None:
    table = layer_table("timm/tf_efficientnet_lite0", (224, 224))
    assert output_sizes(Layer(**table.iloc[0]))[0].formula == 'padding "same": ceil(224 / 2) = 112'


def test_a_last_window_in_the_padding_is_left_out() -> None:
    pool = nn.MaxPool2d(2, 3, padding=1, ceil_mode=True)
    rows = layers(nn.Sequential(nn.Conv2d(1, 1, 1, device="meta"), pool), (5, 5))
    assert pool(torch.zeros(1, 1, 5, 5)).shape[-1] == rows[-1].output_shape[-1] == 2
    assert output_sizes(rows[-1])[0].side == 2  # ceil(5 / 3) + 1 is 3


def test_what_has_no_window_and_what_cannot_be_is_refused() -> None:
    pool = next(row for row in layers("resnet18") if row.name == "avgpool")
    with pytest.raises(CostError, match=r"avgpool \(pool\) has no window"):
        output_sizes(pool)
    wrong = replace(layers("resnet18")[0], output_shape=(64, 99, 112))
    with pytest.raises(CostError, match="does not give the 99 pixels that come out of 224"):
        output_sizes(wrong)


WINDOWS = (SIDES, st.integers(1, 7), st.integers(1, 9), st.integers(0, 5), st.integers(1, 3))


@FEW
@given(*WINDOWS)
def test_the_row_of_pixels_is_that_which_a_convolution_reads(n: int, k: int, s: int, p: int, d: int) -> None:
    assume(d * (k - 1) + 1 <= n + 2 * p)
    row = PixelRow(n, k, s, p, d)
    pixels = torch.zeros(1, 1, n, requires_grad=True)
    output = F.conv1d(pixels, torch.ones(1, 1, k), None, s, p, d)
    assert row.side == len(row.starts) == output.shape[-1]
    reads = torch.zeros(n)
    for unit, start in enumerate(row.starts):
        (gradient,) = torch.autograd.grad(output[0, 0, unit], pixels, retain_graph=True)
        seen = gradient[0, 0].nonzero().flatten().tolist()
        assert seen == [pixel for pixel in row.taps(start) if 0 <= pixel < n]
        reads += gradient[0, 0]
    assert row.unread == tuple((reads == 0).nonzero().flatten().tolist())
    assert row.undivided == Fraction(n + 2 * p - d * (k - 1) - 1, s) + 1
    assert int(row.undivided) == row.side


@FEW
@given(SIDES, st.integers(1, 7), st.integers(1, 9), st.integers(0, 3), st.integers(1, 3))
def test_ceil_is_that_of_a_pool(n: int, k: int, s: int, p: int, d: int) -> None:
    assume(d * (k - 1) + 1 <= n + 2 * p)
    assume(2 * p <= k)  # a pool takes no more
    pooled = F.max_pool1d(torch.zeros(1, 1, n), k, s, p, d, ceil_mode=True).shape[-1]
    size = output_size(n, k, s, p, d, "ceil")
    assert size.side == pooled
    formula, _, less = size.formula.partition(", less a last window that would start in the padding: ")
    assert_true(formula, int(less) + 1 if less else pooled)


def test_224_pixels_do_not_divide_among_alexnets_first_windows() -> None:
    row = known_windows()["AlexNet 2012, conv1, with 224 px"]
    assert (row.n, row.kernel, row.stride, row.padding) == (224, 11, 4, 0)
    assert (row.side, float(row.undivided), row.unread) == (54, 54.25, (223,))
    assert known_windows()["AlexNet 2012, conv1"].side == 55
    assert known_windows()["AlexNet 2012, conv1"].unread == ()


@pytest.mark.parametrize(
    ("name", "n", "side"),
    [
        ("AlexNet 2012, pool1", 55, 27),
        ("AlexNet 2012, conv2", 27, 27),
        ("VGG-16, features.0", 224, 224),
        ("VGG-16, features.4", 224, 112),
        ("ResNet-50, conv1", 224, 112),
        ("ResNet-50, maxpool", 112, 56),
    ],
)
def test_the_known_windows_give_what_their_networks_have(name: str, n: int, side: int) -> None:
    row = known_windows()[name]
    assert (row.n, row.side) == (n, side)


def test_googlenets_pool_rounds_up() -> None:
    row = known_windows()["GoogLeNet 2014, maxpool1"]
    assert (row.n, row.side) == (112, 55)
    assert output_size(row.n, row.kernel, row.stride, row.padding, row.dilation, "ceil").side == 56


# --- pooled head


def test_a_pooled_head_saves_nearly_all_of_vgg16() -> None:
    head = pooled_head("vgg16")
    linear = (512 * 7 * 7 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert head.heads.usual.weights == linear == 123_642_856
    assert head.heads.proposed.weights == 512 * 1000 + 1000
    # Simonyan & Zisserman 2014 print 138 million; torchvision's metadata say 138,357,544
    assert head.network_params == zoo.published("vgg16").params == 138_357_544
    model = torchvision.models.vgg16()
    features = sum(parameter.numel() for parameter in model.features.parameters())
    assert head.network_params_pooled == features + 512 * 1000 + 1000
    assert both(head.heads, lambda design: design.macs) == (512 * 1000, linear - 4096 - 4096 - 1000)
    assert (head.heads.more, head.heads.less) == (Fraction(linear, 513_000) - 1, 1 - Fraction(513_000, linear))
    assert head.heads.mac_share == Fraction(512 * 1000, linear - 4096 - 4096 - 1000)
    assert head.share == Fraction(linear, 138_357_544)
    assert both(head.heads, lambda design: design.output_shape) == ((1000,), (1000,))


@pytest.mark.parametrize("network", ["resnet50", "densenet121", "mobilenet_v2", "googlenet", "convnext_tiny"])
def test_a_network_that_pools_already_saves_nothing(network: str) -> None:
    head = pooled_head(network)
    assert head.heads.weight_ratio == 1
    assert head.network_params_pooled == head.network_params == zoo.published(network).params


def test_timms_vgg_whose_linear_layers_are_convolutions_saves_the_same() -> None:
    ours, timms = pooled_head("vgg16"), pooled_head("timm/vgg16")
    assert timms.heads.usual.weights == ours.heads.usual.weights == 123_642_856
    assert timms.network_params_pooled == ours.network_params_pooled


@pytest.mark.parametrize(
    ("network", "weights"),
    [
        ("seresnet50", 2048 * 1000 + 1000),
        ("efficientnet_b0", 1280 * 1000 + 1000),
        ("mobilenet_v3_large", 960 * 1280 + 1280 + 1280 * 1000 + 1000),
        ("timm/mobilenetv3_large_100", 960 * 1280 + 1280 + 1280 * 1000 + 1000),  # the first of both is a convolution
    ],
)
def test_the_gates_convolutions_are_no_head(network: str, weights: int) -> None:
    assert pooled_head(network).heads.usual.weights == weights


@pytest.mark.parametrize(("n", "kernel", "stride", "padding"), [(56, 1, 1, 1), (4096, 4096, 4, 4096), (5, 3, 2, 2)])
def test_no_pool_pads_more_than_half_its_window(n: int, kernel: int, stride: int, padding: int) -> None:
    assert not PixelRow(n, kernel, stride, padding).pools
    with pytest.raises(RuntimeError, match="at most half"):
        nn.functional.max_pool1d(torch.zeros(1, 1, n), kernel, stride, padding)
    assert PixelRow(n, kernel, stride, kernel // 2).pools
    nn.functional.max_pool1d(torch.zeros(1, 1, n), kernel, stride, kernel // 2)


def test_a_network_without_linear_layers_is_refused() -> None:
    with pytest.raises(CostError, match="squeezenet1_0 does not end in linear layers"):
        pooled_head("squeezenet1_0")
    with pytest.raises(zoo.UnknownNetwork, match="no network named 'vgg61'"):
        pooled_head("vgg61")


# --- refusals


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bottleneck_block(0), r"channels \(=0\) must be a whole number from 1 to 65,536\."),
        (lambda: bottleneck_block(6), r"channels \(=6\) must be a multiple of 4"),
        (lambda: bottleneck_block(256, 0), r"side \(=0\) must be a whole number from 1 to 4,096\."),
        (lambda: stacked_3x3(0), r"count \(=0\) must be"),
        (lambda: stacked_3x3(2, -1), r"channels \(=-1\) must be"),
        (lambda: stacked_3x3(2, 64, 0), r"side \(=0\) must be"),
        (lambda: bottleneck_block(256, 56, 0), r"basic_channels \(=0\) must be"),
        (lambda: field_growth(0), r"count \(=0\) must be"),
        (lambda: inception_module(InceptionSizes(channels=0)), r"channels \(=0\) must be .* to 65,536"),
        (lambda: inception_module(InceptionSizes(side=0)), r"side \(=0\) must be .* to 4,096"),
        (lambda: inception_module(InceptionSizes(middle=0)), r"middle \(=0\) must be"),
        (lambda: inception_module(InceptionSizes(wide_reduced=-1)), r"wide_reduced \(=-1\) must be"),
        (lambda: inception_module(InceptionSizes(pooled=2.5)), r"pooled \(=2\.5\) must be"),  # type: ignore[arg-type]
        (lambda: inception_miscounted(InceptionSizes(), 0), r"counted_as \(=0\) must be"),
        (lambda: PixelRow(224, 11, 0), r"stride \(=0\) must be"),
        (lambda: PixelRow(5, 7), r"spans 7 pixels does not fit on n \+ 2p = 5"),
        (lambda: depthwise_separable(0), r"channels \(=0\) must be"),
        (lambda: depthwise_separable(8, 10**9), r"out_channels \(=1000000000\) must be"),
        (lambda: depthwise_separable(8, 8, 4), r"kernel \(=4\) must be odd"),
        (lambda: depthwise_separable(8, 8, 3, True), r"side \(=True\) must be"),
        (lambda: separable_filters(2), r"kernel \(=2\) must be odd"),
        (lambda: separable_filters(0), r"kernel \(=0\) must be a whole number from 1 to 63\."),
        (lambda: separable_filters(3, 0), r"channels \(=0\) must be"),
        (lambda: separable_filters(3, 8, -2), r"side \(=-2\) must be"),
        (lambda: output_size(0, 3), r"n \(=0\) must be"),
        (lambda: output_size(8, 0), r"kernel \(=0\) must be"),
        (lambda: output_size(8, 3, 0), r"stride \(=0\) must be"),
        (lambda: output_size(8, 3, 1, -1), r"padding \(=-1\) must be a whole number from 0 to 4,096\."),
        (lambda: output_size(8, 3, 1, 0, 0), r"dilation \(=0\) must be"),
    ],
)
def test_a_number_out_of_range_gets_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(CostError, match=sentence):
        call()


def test_the_largest_numbers_are_counted_exactly() -> None:
    filters = separable_filters(63, 65_536, 4096)
    assert filters.usual.macs == 4096**2 * 63**2 * 65_536**2
