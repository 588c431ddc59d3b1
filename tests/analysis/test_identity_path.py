"""The parts of the gradient around a block: each by hand, all together autograd's, and as large as FACTS says."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from strategies import FEW, specs
from torch import Tensor
from torch.nn import functional as F

from explorer.analysis.gradients import activation_gradients, classes, patterns
from explorer.analysis.identity_path import Parts, block_parts, chain_summary, identity_path, plain_twin
from explorer.models.blocks import Block, Gate, PadShortcut
from explorer.models.observe import seeded
from explorer.models.resnet import ResNet, block_names, build
from explorer.models.variants import VARIANTS, variant
from explorer.spec import GATES, ResNetSpec, knob

ORDERS = knob("activation_order").choices
WAYS = ("shortcut", "branch", "gate")


def net(spec: ResNetSpec, seed: int = 0) -> ResNet:
    """In double precision; norms that are not the identity, so that nothing cancels by chance."""
    with seeded(seed):
        network = build(spec, "cpu").double()
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1 and "zero" not in name:
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return network


def batch(spec: ResNetSpec, count: int = 4) -> tuple[Tensor, Tensor]:
    height, width = spec.image_size
    images = patterns(1, count, max(height, width), spec.in_channels)[:, :, :height, :width]
    return images.double(), classes(1, count, spec.num_classes)


def inputs_and_outputs(network: ResNet, images: Tensor, targets: Tensor, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Of each block: what goes in and comes out, and the loss's gradient by autograd, all in one graph."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept.update({name: (inputs[0], output)})
        )
        for name in block_names(network.spec)
    ]
    with seeded(seed):
        loss = F.cross_entropy(network(images.clone().requires_grad_()), targets)
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(loss, [tensor for pair in kept.values() for tensor in pair])
    return {
        name: {"x": pair[0].detach(), "in_front": gradients[2 * place], "behind": gradients[2 * place + 1]}
        for place, (name, pair) in enumerate(kept.items())
    }


def close(one: Tensor, other: Tensor, rtol: float = 1e-11) -> None:
    scale = other.norm().item()
    assert (one - other).norm().item() <= rtol * scale, ((one - other).norm().item(), scale)


# --- together they are autograd's


@FEW
@given(specs(width=8))
def test_the_parts_are_together_what_autograd_says_of_any_net(spec: ResNetSpec) -> None:
    assume(spec.norm != "batch" or min(spec.image_size) > 32)
    network, (images, targets) = net(spec), batch(spec, 2)
    expected = inputs_and_outputs(network, images, targets, seed=5)
    found = dict(block_parts(network, images, targets, seed=5))
    assert list(found) == block_names(spec)[::-1]
    for name, parts in found.items():
        close(parts.behind, expected[name]["behind"])
        close(parts.in_front, expected[name]["in_front"])
        assert (parts.shortcut is None) is (not spec.residual)
        assert (parts.gate is None) is (not (spec.residual and spec.shortcut in GATES))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_they_are_so_in_both_modes(name: str, training: bool) -> None:
    spec = variant(name, 14, width=4, image_size=(12, 12))
    network, (images, targets) = net(spec), batch(spec)
    network.train(training)
    expected = inputs_and_outputs(network, images, targets)
    for block, parts in block_parts(network, images, targets):
        close(parts.in_front, expected[block]["in_front"], 1e-13)


def test_a_block_drops_on_the_way_back_what_it_dropped_before() -> None:
    spec = replace(variant("a", 14, width=4, image_size=(8, 8)), stochastic_depth=0.5, block_dropout=0.5)
    network, (images, targets) = net(spec), batch(spec)
    expected = [inputs_and_outputs(network, images, targets, seed) for seed in (1, 2)]
    for seed in (1, 2):
        for block, parts in block_parts(network, images, targets, seed):
            close(parts.in_front, expected[seed - 1][block]["in_front"], 1e-13)
    assert not torch.allclose(expected[0]["layer1.0"]["in_front"], expected[1]["layer1.0"]["in_front"])


def test_what_is_in_front_of_a_block_is_behind_the_one_before() -> None:
    network = net(variant("b", 14, width=4, image_size=(8, 8)))
    parts = [each for _, each in block_parts(network, *batch(network.spec))]
    for after, before in pairwise(parts):
        assert torch.equal(after.in_front, before.behind)


# --- each by hand: the block written out with an input of its own for each way


def by_hand(block: Block, order: str, ways: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The sum and what the block returns; main branch, shortcut and gate each read their own copy of x."""

    def start(x: Tensor) -> Tensor:
        """What a projection reads."""
        if order == "preact":
            return F.relu(block.bn1(x))
        return F.relu(x) if order == "relu_preact" else x

    out = ways["branch"]
    for number in (1, 2):
        conv, bn = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
        if order == "preact":
            out = conv(F.relu(bn(out)))
        elif order == "relu_preact":
            out = bn(conv(F.relu(out)))
        elif order == "relu_before_add":
            out = F.relu(bn(conv(out)))
        else:
            out = conv(out) if order == "bn_after_add" and number == 2 else bn(conv(out))
            out = F.relu(out) if number == 1 else out
    if block.scale is not None:
        out = out * block.scale.gain
    if block.add is None:
        total = out
    else:
        x = ways["shortcut"]
        carried = x
        if isinstance(block.downsample, PadShortcut):
            carried = torch.zeros_like(out)
            carried[:, : x.shape[1]] = x[:, :, ::2, ::2]
        elif block.downsample is not None:
            carried = block.downsample(start(x))
        if block.gate is not None:
            share = torch.sigmoid(block.gate.conv(ways["gate"]))
            carried = carried * (1 - share)
            out = out * share if block.gate.both else out
        total = out + carried
    if order == "original":
        return total, F.relu(total)
    return total, F.relu(block.bn2(total)) if order == "bn_after_add" else total


def check_by_hand(spec: ResNetSpec) -> None:
    network, (images, targets) = net(spec), batch(spec)
    expected = inputs_and_outputs(network, images, targets)
    found = list(block_parts(network, images, targets))
    for name, parts in found:
        block = network.get_submodule(name)
        assert isinstance(block, Block)
        ways = {way: expected[name]["x"].clone().requires_grad_() for way in WAYS}
        total, output = by_hand(block, spec.activation_order, ways)
        wanted = [way for way in WAYS if getattr(parts, way) is not None]
        gradients = torch.autograd.grad(output, [total, *(ways[way] for way in wanted)], expected[name]["behind"])
        close(parts.at_sum, gradients[0])
        for way, gradient in zip(wanted, gradients[1:], strict=True):
            assert torch.allclose(getattr(parts, way), gradient, rtol=1e-11, atol=1e-11 * gradients[0].norm().item())


@pytest.mark.parametrize("name", VARIANTS)
def test_each_part_is_what_its_own_way_gives(name: str) -> None:
    more = {"gate_bias": -1} if name in ("highway", "gated") else {}
    check_by_hand(variant(name, 14, width=4, image_size=(8, 8), **more))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "highway"])
def test_it_is_so_in_every_order_of_activations(order: str, shortcut: str) -> None:
    base = variant("a", 8, width=4, image_size=(8, 8))
    check_by_hand(replace(base, activation_order=order, shortcut=shortcut, gate_bias=-1))


def test_a_plain_net_is_so_too_in_every_order() -> None:
    for order in ORDERS:
        check_by_hand(replace(variant("plain", 8, width=4, image_size=(8, 8)), activation_order=order))


def test_a_gates_shortcut_carries_the_part_that_the_gate_leaves_it() -> None:
    spec = variant("highway", 8, width=4, image_size=(8, 8), gate_bias=-1)
    network, (images, targets) = net(spec), batch(spec)
    x = inputs_and_outputs(network, images, targets)["layer1.0"]["x"]
    parts = dict(block_parts(network, images, targets))["layer1.0"]
    gate = network.get_submodule("layer1.0.gate")
    assert isinstance(gate, Gate)
    assert parts.shortcut is not None
    close(parts.shortcut, parts.at_sum * (1 - torch.sigmoid(gate.conv(x))))


def test_an_identity_hands_on_what_is_at_the_sum() -> None:
    for name in ("a", "b", "preact", "zero_gamma", "skipinit"):
        network = net(variant(name, 8, width=4, image_size=(8, 8)))
        parts = dict(block_parts(network, *batch(network.spec)))["layer1.0"]
        assert parts.shortcut is not None
        assert torch.equal(parts.shortcut, parts.at_sum)


# --- in numbers


def table_of(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> pd.Series:
    """The row of a net with this one block."""
    spec = ResNetSpec(block="basic", depths=(1,), width=4, stem="cifar", num_classes=3, image_size=(4, 4))
    monkeypatch.setattr("explorer.analysis.identity_path.block_parts", lambda *given: iter([("layer1.0", parts)]))
    return identity_path(build(spec, "meta"), torch.empty(0), torch.empty(0)).iloc[0]


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_numbers_of_a_block_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 through the shortcut, 4 through the branch at a right angle to it: 5 in front, of 6 behind."""
    row = table_of(Parts(tensor(0, 6), tensor(3, 0), tensor(3, 0), tensor(0, 4), None), monkeypatch)
    expected = {
        "index": 1,
        "behind": 6,
        "at_sum": 3,
        "shortcut": 3,
        "branch": 4,
        "in_front": 5,
        "shortcut_share": 9 / 25,
        "branch_share": 16 / 25,
        "angle": 90,
        "lets_through": 1 / 2,
        "factor": 5 / 6,
        "product": 5 / 6,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-15)
    assert math.isnan(row["gate"])
    assert math.isnan(row["gate_share"])
    assert row["mark"] == ""


def test_a_part_that_points_against_the_others_has_a_negative_share(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tensor(0, 4), tensor(0, 4), tensor(0, 4), tensor(0, -3), tensor(0, 1))
    row = table_of(parts, monkeypatch)
    assert [row[f"{way}_share"] for way in WAYS] == [2, -3 / 2, 1 / 2]
    assert (row["angle"], row["factor"]) == (180, 1 / 2)


def test_a_branch_without_gradient_has_no_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    row = table_of(Parts(tensor(0, 4), tensor(0, 4), tensor(0, 4), tensor(0, 0), None), monkeypatch)
    assert math.isnan(row["angle"])
    assert (row["shortcut_share"], row["branch_share"], row["factor"]) == (1, 0, 1)


def test_a_small_gradient_loses_no_digits_to_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision the square of 1e-200 is zero."""
    tiny = [part * 1e-200 for part in (tensor(0, 6), tensor(3, 0), tensor(3, 0), tensor(0, 4))]
    row = table_of(Parts(*tiny, None), monkeypatch)
    assert [row["shortcut_share"], row["angle"], row["factor"]] == pytest.approx([9 / 25, 90, 5 / 6])


@pytest.mark.parametrize(
    ("parts", "mark", "factor"),
    [
        (Parts(tensor(0, 4), tensor(0, 0), None, tensor(0, 0), None), "zero", 0.0),
        (Parts(tensor(0, 0), tensor(0, 0), None, tensor(0, 0), None), "zero", math.nan),
        (Parts(tensor(0, 4), tensor(0, 4), None, tensor(0, math.inf), None), "not finite", math.nan),
    ],
)
def test_what_says_nothing_is_unknown_and_marked(
    parts: Parts, mark: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = table_of(parts, monkeypatch)
    assert row["mark"] == mark
    assert row["factor"] == pytest.approx(factor, nan_ok=True)
    assert math.isnan(row["branch_share"])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_product_of_the_factors_is_the_first_gradient_over_the_last(name: str) -> None:
    spec = variant(name, 20, width=4, image_size=(8, 8))
    table = identity_path(net(spec), *batch(spec))
    assert list(table["name"]) == block_names(spec)
    assert list(table["index"]) == list(range(1, 10))
    assert list(table["behind"][:-1]) == list(table["in_front"][1:])
    assert table["product"][0] == table["in_front"][0] / table["behind"].iloc[-1]
    np.testing.assert_allclose(table["factor"][::-1].cumprod()[::-1], table["product"], rtol=1e-12)
    shares = table[[f"{way}_share" for way in WAYS]].sum(axis=1)
    np.testing.assert_allclose(shares, 1, rtol=1e-12)


def test_the_norms_are_those_of_the_other_sections() -> None:
    spec = variant("c", 14, width=4, image_size=(8, 8))
    network, (images, targets) = net(spec), batch(spec)
    table = identity_path(network, images, targets)
    expected = activation_gradients(network, images, targets, block_names(spec))
    np.testing.assert_allclose(table["behind"], expected["gradient_norm"], rtol=1e-12)


def test_the_summary_has_a_row_a_net() -> None:
    table = pd.DataFrame(
        {
            "product": [6.0, 3.0, 2.0],
            "factor": [2.0, 1.5, 10.0],
            "shortcut_share": [0.2, 0.7, 0.6],
            "angle": [90.0, math.nan, 80.0],
        }
    )
    found = chain_summary({"one": table, "two": table[:1].assign(shortcut_share=math.nan, angle=math.nan)})
    expected = pd.DataFrame(
        {
            "net": ["one", "two"],
            "blocks": [3, 1],
            "product": [6.0, 6.0],
            "factor_low": [1.5, 2.0],
            "factor": [2.0, 2.0],
            "factor_high": [10.0, 2.0],
            "shortcut_share": [0.6, math.nan],
            "angle": [85.0, math.nan],
        }
    )
    pd.testing.assert_frame_equal(found, expected)


def test_the_plain_twin_differs_in_its_shortcuts_alone() -> None:
    for name in VARIANTS:
        twin = plain_twin(variant(name, 14))
        assert not twin.residual
        assert replace(twin, residual=variant(name, 14).residual) == variant(name, 14)
    assert plain_twin(variant("a", 14)) == variant("plain", 14)


# --- what is borrowed is given back


def state(network: ResNet) -> list[Any]:
    return [
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        [(parameter.grad, parameter.requires_grad) for parameter in network.parameters()],
        [module.training for module in network.modules()],
        [(dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in network.modules()],
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(one[0][name], other[0][name]) for name in one[0]) and one[1:] == other[1:]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    spec = replace(variant("highway", 8, width=4, image_size=(8, 8)), stochastic_depth=0.5)
    network, (images, targets) = net(spec).train(training), batch(spec)
    next(network.parameters()).requires_grad_(False)
    before, drawn, kept = state(network), torch.get_rng_state(), images.clone()
    identity_path(network, images, targets)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(images, kept)
    assert not images.requires_grad


@pytest.mark.parametrize("place", ["layer1.0.add", "layer3.0.relu2", "fc"])
def test_it_is_so_after_an_exception_too(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = net(variant("a", 8, width=4, image_size=(8, 8)))
    before, drawn = state(network), torch.get_rng_state()
    calls = []

    def fail(*given: Tensor) -> Tensor:
        calls.append(given)
        if len(calls) == (1 if place == "fc" else 2):  # on the way back a block runs once more
            raise RuntimeError("broken")
        return given[0] if len(given) == 1 else given[0] + given[1]

    module = network.get_submodule(place)
    monkeypatch.setattr(module, "forward", fail)
    with pytest.raises(RuntimeError, match="broken"):
        identity_path(network, *batch(network.spec))
    monkeypatch.undo()
    vars(module).pop("forward", None)
    assert same(state(network), before)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_it_reports_each_block_and_can_be_stopped() -> None:
    network = net(variant("a", 14, width=4, image_size=(8, 8)))
    fractions: list[float] = []
    identity_path(network, *batch(network.spec), report=lambda fraction, text: fractions.append(fraction))
    assert fractions == [0, *(block / 6 for block in range(6))]

    def stop(fraction: float, text: str) -> None:
        if text.endswith("layer2.0"):
            raise InterruptedError

    before = state(network)
    with pytest.raises(InterruptedError):
        identity_path(network, *batch(network.spec), report=stop)
    assert same(state(network), before)


# --- FACTS.md, "Gradients and degradation": first block over last, seeds 0 to 2


@cache
def at_start(name: str, depth: int, norm: str = "batch", init: str = "kaiming_fan_out") -> pd.DataFrame:
    """Without the noise on the norms that the other tests want."""
    spec = variant(name, depth, norm=norm, init=init)
    with seeded(0):
        network = build(spec, "cpu").double()
    return identity_path(network, patterns(0, 8).double(), classes(0, 8, 10))


@pytest.mark.parametrize(
    ("name", "depth", "norm", "init", "ratio", "decades"),
    [
        ("plain", 20, "batch", "kaiming_fan_out", 27, 0.3),
        ("plain", 56, "batch", "kaiming_fan_out", 1.2e4, 0.3),
        ("a", 20, "batch", "kaiming_fan_out", 10, 0.4),
        ("a", 56, "batch", "kaiming_fan_out", 48, 0.4),
        ("b", 56, "batch", "kaiming_fan_out", 128, 0.4),
        ("c", 56, "batch", "kaiming_fan_out", 1.6e3, 0.2),
        ("preact", 56, "batch", "kaiming_fan_out", 34, 0.2),
        ("zero_gamma", 56, "batch", "kaiming_fan_out", 0.36, 0.1),
        ("plain", 20, "none", "kaiming_fan_out", 0.55, 0.6),  # without norm the seeds differ more
        ("plain", 20, "none", "xavier", 7e-4, 0.6),
    ],
)
def test_the_ratios_are_those_of_the_facts(
    name: str, depth: int, norm: str, init: str, ratio: float, decades: float
) -> None:
    table = at_start(name, depth, norm, init)
    found = table["behind"].iloc[0] / table["behind"].iloc[-1]
    assert abs(math.log10(found / ratio)) < decades, found


def test_with_batch_norm_the_two_parts_stand_at_a_right_angle_and_squares_add() -> None:
    for name in ("a", "preact"):
        table = at_start(name, 56)
        assert table["angle"].between(85, 95).all()
        squares = table["shortcut"] ** 2 + table["branch"] ** 2
        np.testing.assert_allclose(table["in_front"] ** 2, squares, rtol=0.1)


def test_under_zero_init_gamma_all_goes_through_the_shortcut_and_norms_are_equal() -> None:
    table = at_start("zero_gamma", 56)
    assert (table["branch"] == 0).all()
    np.testing.assert_allclose(table["shortcut_share"], 1, rtol=1e-14)
    np.testing.assert_allclose(table["factor"][:-1], 1, rtol=1e-14)


def test_without_shortcuts_and_norms_the_product_falls_where_a_shortcut_keeps_it() -> None:
    plain = at_start("plain", 20, "none", "pytorch")
    residual = at_start("a", 20, "none", "pytorch")
    assert plain["product"][0] < 1e-6
    assert residual["product"][0] > 0.1
    assert residual["shortcut_share"].iloc[0] > 0.9
