"""Nets that meet a budget: counted exactly, never farther than promised, from deep and thin to shallow and wide."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis import budget as module
from explorer.analysis.budget import (
    BudgetError,
    Proposal,
    Quantity,
    budget_search,
    proposal_table,
    proposals,
    unit_costs,
)
from explorer.analysis.layers import layer_table, totals
from explorer.jobs import Cancelled, Progress
from explorer.models.resnet import build
from explorer.spec import MAX_BLOCKS, MAX_BLOCKS_CIFAR, PRESETS, ResNetSpec, SpecError

NETS = ("resnet18", "resnet50", "resnext50_32x4d", "cifar_resnet20", "cifar_resnet110", "seresnet50", "resnetv2_50")
CASES = [(net, "macs", factor) for net in NETS for factor in (0.5, 1, 2)] + [
    (net, "params", factor) for net in ("resnet50", "cifar_resnet20") for factor in (0.5, 1, 2)
]


@cache
def found(net: str, quantity: Quantity, factor: float) -> tuple[int, list[Proposal]]:
    """A budget, in multiples of what the net has, and its proposals."""
    budget = round(factor * getattr(totals(layer_table(PRESETS[net])), quantity))
    return budget, proposals(PRESETS[net], quantity, budget)


# --- counts


@FEW
@given(specs())
def test_the_counts_that_are_put_together_are_those_of_the_whole_net(spec: ResNetSpec) -> None:
    assert unit_costs(spec).totals(spec.depths) == totals(layer_table(spec))


@pytest.mark.parametrize("net", ["cifar_resnet110", "resnet152", "seresnet50", "resnetv2_50", "resnet50d"])
def test_the_counts_hold_for_the_depths_of_known_nets(net: str) -> None:
    spec = PRESETS[net]
    assert unit_costs(spec).totals(spec.depths) == totals(layer_table(spec))


def test_a_block_more_costs_what_its_layers_cost() -> None:
    """Of ResNet-50's third stage at 14 x 14: 1024 to 256, 3x3, 256 to 1024; three norms with two numbers a channel."""
    costs = unit_costs(PRESETS["resnet50"])
    weights = 1024 * 256 + 9 * 256 * 256 + 256 * 1024
    assert costs.repeated[2].params == weights + 2 * (256 + 256 + 1024)
    assert costs.repeated[2].macs == weights * 14 * 14
    # each of conv, norm, relu gives (256, 256, 1024) channels, the add 1024 more
    assert costs.repeated[2].activation_bytes == 4 * 14 * 14 * (3 * (256 + 256 + 1024) + 1024)


@FEW
@given(specs(stage_widths=(), width=16, stem_width=None), st.integers(1, 9))
def test_a_wider_net_costs_no_less(spec: ResNetSpec, more: int) -> None:
    """Else the bisection could pass by a width."""
    thin, wide = unit_costs(spec), unit_costs(replace(spec, width=16 + more))
    for quantity in ("params", "macs"):
        assert thin.count(quantity, spec.depths) <= wide.count(quantity, spec.depths)


# --- proposals


@pytest.mark.parametrize(("net", "quantity", "factor"), CASES)
def test_each_proposal_is_within_2_percent_and_of_the_same_kind(net: str, quantity: Quantity, factor: float) -> None:
    budget, rows = found(net, quantity, factor)
    assert len(rows) >= 5
    for row in rows:
        count = getattr(row.totals, quantity)
        assert abs(Fraction(count, budget) - 1) <= Fraction(2, 100)
        assert row.difference == pytest.approx(100 * (count / budget - 1), abs=1e-9)
        assert set(row.spec.differences(PRESETS[net])) <= {"depths", "width"}


@pytest.mark.parametrize(("net", "quantity", "factor"), CASES)
def test_the_shallower_the_wider(net: str, quantity: Quantity, factor: float) -> None:
    _, rows = found(net, quantity, factor)
    depths, widths = [row.spec.depth for row in rows], [row.spec.width for row in rows]
    assert depths == sorted(set(depths), reverse=True)
    assert widths == sorted(set(widths))


@pytest.mark.parametrize(("net", "quantity", "factor"), CASES)
def test_the_counts_of_a_proposal_are_the_layer_tables(net: str, quantity: Quantity, factor: float) -> None:
    _, rows = found(net, quantity, factor)
    for row in rows[len(rows) // 2 :: 2]:  # the deepest ones take seconds
        assert row.totals == totals(layer_table(row.spec))


def test_pytorch_counts_the_same() -> None:
    budget, rows = found("resnet50", "macs", 1)
    for row in rows[-6:]:
        model = build(row.spec, "meta").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, 224, 224, device="meta"))
        assert row.totals.macs == counter.get_total_flops() / 2
        assert row.totals.params == sum(parameter.numel() for parameter in model.parameters())
        assert abs(row.totals.macs / budget - 1) <= 0.02


@pytest.mark.parametrize(("net", "quantity"), [(net, quantity) for net, quantity, factor in CASES if factor == 1])
def test_a_net_is_among_the_proposals_for_what_it_costs(net: str, quantity: Quantity) -> None:
    budget, rows = found(net, quantity, 1)
    [own] = [row for row in rows if row.spec == PRESETS[net]]
    assert (own.difference, getattr(own.totals, quantity)) == (0, budget)


@pytest.mark.parametrize(("net", "quantity", "factor"), CASES)
def test_the_depths_of_all_stages_are_scaled_by_one_factor(net: str, quantity: Quantity, factor: float) -> None:
    """A stage of d blocks has n of them for factors from (n - 1/2) / d to (n + 1/2) / d; for one block from 0."""
    for row in found(net, quantity, factor)[1]:
        stages = list(zip(row.spec.depths, PRESETS[net].depths, strict=True))
        lowest = max(Fraction(2 * n - 1, 2 * d) if n > 1 else Fraction(0) for n, d in stages)
        highest = min(Fraction(2 * n + 1, 2 * d) for n, d in stages)
        assert lowest < highest


def test_proposals_of_resnet50_go_from_a_tenth_to_ten_times_its_depth() -> None:
    """One for each factor of about 1.4, from a block a stage to as many as a stage may have."""
    _, rows = found("resnet50", "macs", 1)
    blocks = [sum(row.spec.depths) for row in rows]
    assert rows[-1].spec.depths == (1, 1, 1, 1)
    assert max(rows[0].spec.depths) == MAX_BLOCKS
    bands = [round(2 * math.log2(count / 16)) for count in blocks]
    assert bands == list(range(bands[0], bands[-1] - 1, -1))


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_widths_from_32_on_are_multiples_of_8_where_one_of_the_band_meets_the_budget(factor: float) -> None:
    budget, rows = found("resnet50", "macs", factor)
    friendly = [row for row in rows if row.spec.width >= 32 and row.spec.width % 8 == 0]
    odd = [row for row in rows if row.spec.width >= 32 and row.spec.width % 8]
    assert friendly
    for row in odd:
        for width in (row.spec.width // 8 * 8, row.spec.width // 8 * 8 + 8):
            near = totals(layer_table(replace(row.spec, width=width)))
            assert abs(near.macs / budget - 1) > 0.02


def test_stage_widths_are_scaled_along() -> None:
    spec = replace(PRESETS["resnet18"], stage_widths=(64, 128, 256, 256))
    rows = proposals(spec, "macs", 10**9)
    assert len(rows) > 3
    for row in rows:
        assert row.spec.stage_widths == tuple(row.spec.width * factor for factor in (1, 2, 4, 4))


def test_stage_widths_keep_their_proportions_to_within_a_channel() -> None:
    spec = replace(PRESETS["cifar_resnet20"], width=16, shortcut="B", stage_widths=(16, 40, 24))
    for row in proposals(spec, "macs", 50 * 10**6):
        for own, scaled in zip((16, 40, 24), row.spec.stage_widths, strict=True):
            assert scaled >= 1
            assert abs(scaled - own * row.spec.width / 16) <= 0.5


def test_a_stem_of_its_own_width_keeps_it() -> None:
    spec = replace(PRESETS["resnet18"], stem_width=48)
    rows = proposals(spec, "macs", 10**9)
    assert {row.spec.stem_channels for row in rows} == {48}
    assert len({row.spec.width for row in rows}) == len(rows)


def test_widths_that_cannot_be_are_passed_over() -> None:
    """One channel a group at width 64: below, a group would have none."""
    spec = replace(PRESETS["resnet50"], cardinality=32, width_per_group=1)
    rows = proposals(spec, "macs", 3 * 10**9)
    assert rows
    assert min(row.spec.width for row in rows) >= 64


def test_a_net_that_goes_with_a_single_width_still_gets_answers() -> None:
    """Stage 1 must not be narrower than 64 channels and stage 2 not wider than 8,192."""
    spec = ResNetSpec(depths=(1, 1), width=37, width_per_group=1, stage_widths=(64, 8192), image_size=(32, 32))
    own = totals(layer_table(spec)).params
    assert [row.spec for row in proposals(spec, "params", own)] == [spec]


def test_on_huge_images_deep_nets_are_not_made_wider_than_they_may_be() -> None:
    spec = ResNetSpec(
        stem="cifar", depths=(1, 2, 2), kernel_size=7, image_size=(4096, 4096), width=8, width_per_group=512
    )
    rows = proposals(spec, "macs", 5 * 10**17)
    assert rows
    assert all(abs(row.totals.macs / (5 * 10**17) - 1) <= 0.02 for row in rows)
    deepest = replace(spec, depths=(100, 200, 200))
    assert max(sum(row.spec.depths) for row in rows) < sum(deepest.depths)


def test_widths_whose_measured_net_would_be_too_large_are_passed_over() -> None:
    """Of width 512 one block can be on such images, but not two."""
    spec = ResNetSpec(
        stem="cifar", depths=(1,), width=512, width_per_group=512, cardinality=16, image_size=(4000, 4000)
    )
    with pytest.raises(SpecError):
        replace(spec, depths=(2,))
    half = replace(spec, width=256, depths=(2,))
    assert half in [row.spec for row in proposals(spec, "params", totals(layer_table(half)).params)]


def test_where_no_width_can_be_measured_the_sentence_says_so() -> None:
    spec = ResNetSpec(
        stem="cifar", depths=(1,), width=1, stage_widths=(8192,), width_per_group=512, image_size=(4000, 4000)
    )
    with pytest.raises(BudgetError, match=r"image_size \(=\(4000, 4000\)\) leaves no net"):
        proposals(spec, "params", 10**9)


def test_cifar_nets_go_as_deep_as_the_1202_layers_of_the_paper() -> None:
    rows = proposals(PRESETS["cifar_resnet20"], "macs", totals(layer_table(PRESETS["cifar_resnet1202"])).macs)
    assert max(max(row.spec.depths) for row in rows) > MAX_BLOCKS
    assert max(max(row.spec.depths) for row in rows) <= MAX_BLOCKS_CIFAR
    assert rows[0].spec.depth > 1000


def test_the_search_measures_few_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 5 to 10 ms a net that is half a second; all widths would take four."""
    measured = []

    def counted(spec: ResNetSpec) -> module.UnitCosts:
        measured.append(spec.width)
        return unit_costs(spec)

    monkeypatch.setattr(module, "unit_costs", counted)
    proposals(PRESETS["resnet50"], "macs", 4_089_184_256)
    assert len(measured) == len(set(measured)) <= 60


# --- the table


def test_the_table_has_a_row_a_proposal() -> None:
    budget, rows = found("resnet50", "macs", 1)
    table = budget_search(PRESETS["resnet50"], "macs", budget)
    assert table.equals(proposal_table(rows))
    assert list(table) == ["depths", "width", "depth", "params", "macs", "activation_bytes", "difference"]
    own = table[table.depth == 50].to_dict("records")
    assert own == [
        {
            "depths": "3, 4, 6, 3",
            "width": 64,
            "depth": 50,
            "params": 25_557_032,
            "macs": 4_089_184_256,
            "activation_bytes": totals(layer_table("resnet50")).activation_bytes,
            "difference": 0.0,
        }
    ]


# --- what cannot be


@pytest.mark.parametrize("quantity", ["macs", "params"])
@pytest.mark.parametrize("budget", [-1, 0, 1000, 10**15])
def test_an_unreachable_budget_is_refused_with_what_can_be_reached(quantity: Quantity, budget: int) -> None:
    spec = PRESETS["resnet50"]
    with pytest.raises(BudgetError) as caught:
        proposals(spec, quantity, budget)
    smallest = replace(spec, width=1, depths=(1, 1, 1, 1))
    largest = replace(spec, width=512, depths=(32, 43, 64, 32))
    least, most = (getattr(totals(layer_table(net)), quantity) for net in (smallest, largest))
    unit = {"macs": "MACs", "params": "parameters"}[quantity]
    assert str(caught.value) == (
        f"budget (={budget:,} {unit}) must be within 2% of what a net of this kind has; they reach from {least:,} "
        f"(width 1, blocks 1, 1, 1, 1) to {most:,} (width 512, blocks 32, 43, 64, 32)."
    )


@pytest.mark.parametrize(("quantity", "side"), [("macs", -1), ("macs", 1), ("params", -1), ("params", 1)])
def test_the_ends_of_the_reach_are_reached_and_2_percent_beyond_too(quantity: Quantity, side: int) -> None:
    spec = PRESETS["cifar_resnet20"]
    end = replace(spec, width=1, depths=(1,) * 3) if side < 0 else replace(spec, width=512, depths=(200,) * 3)
    count = getattr(totals(layer_table(end)), quantity)
    just = round(count / (1 + side * -0.019))
    assert end in [row.spec for row in proposals(spec, quantity, just)]
    with pytest.raises(BudgetError, match="must be within 2%"):
        proposals(spec, quantity, round(count * (1 + side * 0.03)))


def test_a_budget_between_two_nets_is_refused_with_the_nearest() -> None:
    """One channel and one block a stage; the next net has two blocks, or two channels, and far more weights."""
    spec = replace(PRESETS["cifar_resnet20"], depths=(1, 1, 1), width=1)
    costs = unit_costs(spec)
    least, second = (costs.count("params", (blocks,) * 3) for blocks in (1, 2))
    budget = second - (second - least) // 4
    assert least * 1.04 < budget < second / 1.04
    with pytest.raises(BudgetError) as caught:
        proposals(spec, "params", budget)
    assert f"they reach from {least:,} (width 1, blocks 1, 1, 1) to " in str(caught.value)
    assert str(caught.value).endswith(f"; the nearest has {second:,} (width 1, blocks 2, 2, 2).")


def test_an_unknown_quantity_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"quantity \(='flops'\) must be one of 'params', 'macs'"):
        proposals(PRESETS["resnet18"], "flops", 10**9)  # type: ignore[arg-type]


# --- long work


class Told(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.fractions: list[float] = []

    def report(self, fraction: float, text: str = "") -> None:
        assert text
        self.fractions.append(fraction)
        super().report(fraction, text)


def test_the_search_tells_how_far_it_is() -> None:
    told = Told()
    proposals(PRESETS["resnet18"], "macs", 10**9, told)
    assert len(told.fractions) >= 8
    assert told.fractions == sorted(told.fractions)
    assert 0 <= told.fractions[0] < told.fractions[-1] <= 1


def test_the_search_stops_when_it_is_asked_to() -> None:
    class Impatient(Told):
        def check(self) -> None:
            if len(self.fractions) > 2:
                raise Cancelled("asked")

    asked = Impatient()
    with pytest.raises(Cancelled):
        proposals(PRESETS["resnet18"], "macs", 10**9, asked)
    assert len(asked.fractions) == 3
