"""Gradients and sizes by block and by layer: exact, and what is exactly true of them, and as the papers say."""

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from strategies import FEW, calls, specs
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.analysis.flow import (
    OF_BLOCKS,
    OF_LAYERS,
    Flow,
    batch_for,
    flow,
    layers_of,
    over_seeds,
    ranked,
    seconds_for,
    summary,
    together,
)
from explorer.analysis.gradients import GradientError, classes, norm_of, patterns, spread
from explorer.analysis.layers import Totals
from explorer.analysis.profile import profile
from explorer.models.blocks import Add
from explorer.models.observe import seeded
from explorer.models.resnet import ResNet, block_names, build
from explorer.models.variants import variant
from explorer.spec import ResNetSpec
from explorer.training.recipe import Recipe
from explorer.training.run import Run

SMALL = variant("a", 14, width=4, image_size=(8, 8))


def net(spec: ResNetSpec, seed: int = 0, double: bool = False) -> ResNet:
    with seeded(seed):
        return build(spec, "cpu").to(torch.float64 if double else torch.float32)


def fed(spec: ResNetSpec, seed: int = 0, count: int = 4, double: bool = False) -> tuple[Tensor, Tensor]:
    height, width = spec.image_size
    images = patterns(seed, count, max(height, width), spec.in_channels)[:, :, :height, :width]
    return images.to(torch.float64 if double else torch.float32), classes(seed, count, spec.num_classes)


def measured(spec: ResNetSpec, seed: int = 0, count: int = 4, double: bool = False) -> Flow:
    return flow(net(spec, seed, double), *fed(spec, seed, count, double))


def by_autograd(network: ResNet, images: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients by name: blocks' outputs are kept, and `torch.autograd.grad` is asked for all at once."""
    blocks, weights = block_names(network.spec), [layer.name for layer in layers_of(network)]
    kept: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept.update({name: output})
        )
        for name in blocks
    ]
    loss = F.cross_entropy(network(images), targets)
    for hook in hooks:
        hook.remove()
    wanted = [kept[name] for name in blocks] + [network.get_submodule(name).weight for name in weights]
    return kept, dict(zip(blocks + weights, torch.autograd.grad(loss, wanted), strict=True))


# --- the method


@settings(FEW, max_examples=12)
@given(specs(norm="group", stochastic_depth=0.0, block_dropout=0.0, head_dropout=0.0))
def test_it_is_bit_for_bit_what_autograd_says_of_any_net(spec: ResNetSpec) -> None:
    network = net(spec)
    images, targets = fed(spec, count=2)
    found = flow(network, images, targets)
    kept, gradients = by_autograd(network, images, targets)
    assert found.loss == F.cross_entropy(network(images), targets).item()
    blocks, layers = found.blocks.set_index("name"), found.layers.set_index("name")
    assert list(blocks.index) == block_names(spec)
    for name in blocks.index:
        assert blocks.at[name, "gradient_norm"] == norm_of(gradients[name].double())
        output = kept[name].detach().double()
        assert blocks.at[name, "activation_rms"] == pytest.approx(output.square().mean().sqrt().item(), rel=1e-12)
        own = [layer for layer in layers.index if layers.at[layer, "block"] == name]
        assert own == [f"{name}.conv{number}" for number in range(1, len(own) + 1)]
        assert len(own) == (3 if spec.block == "bottleneck" else 2)
        squares = [gradients[layer].double().square().sum().item() for layer in own]
        assert blocks.at[name, "weight_gradient_norm"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-12)
        weights = [network.get_submodule(layer).weight.detach().double().square().sum().item() for layer in own]
        product = math.sqrt(sum(map(math.prod, zip(weights, squares, strict=True))))
        assert blocks.at[name, "norm_product"] == pytest.approx(product, rel=1e-12)
    for name in layers.index:
        weight = network.get_submodule(name).weight.detach().double()
        gradient = gradients[name].double()
        assert layers.at[name, "weight_gradient_norm"] == norm_of(gradient)
        assert layers.at[name, "weight_norm"] == norm_of(weight)
        assert layers.at[name, "norm_product"] == pytest.approx(norm_of(weight) * norm_of(gradient), rel=1e-12)
        inner = (weight * gradient).sum().item()
        assert layers.at[name, "inner_product"] == pytest.approx(inner, rel=1e-9, abs=1e-12 * norm_of(gradient))


def test_with_batch_norm_too_and_what_is_drawn_comes_from_the_seed() -> None:
    network, (images, targets) = net(SMALL), fed(SMALL)
    _, gradients = by_autograd(network, images, targets)
    assert list(flow(net(SMALL), images, targets).blocks["gradient_norm"]) == [
        norm_of(gradients[name].double()) for name in block_names(SMALL)
    ]
    drawing = net(replace(SMALL, stochastic_depth=0.5, head_dropout=0.5))
    state = torch.get_rng_state()
    first, same, other = (flow(drawing, images, targets, seed=seed) for seed in (0, 0, 1))
    assert first.blocks.equals(same.blocks)
    assert first.layers.equals(same.layers)
    assert not first.blocks.equals(other.blocks)
    assert torch.equal(torch.get_rng_state(), state)


RESPONSES = {  # the formulas of the blocks: what a convolution gives before ReLU or sum, behind a norm that follows
    "original": ("bn1", "bn2"),  # conv - norm - relu - conv - norm - sum - relu
    "bn_after_add": ("bn1", "conv2"),  # conv - norm - relu - conv - sum - norm - relu
    "relu_before_add": ("bn1", "bn2"),  # conv - norm - relu - conv - norm - relu - sum
    "relu_preact": ("bn1", "bn2"),  # relu - conv - norm - relu - conv - norm - sum
    "preact": ("conv1", "conv2"),  # norm - relu - conv - norm - relu - conv - sum: those norms belong to what follows
}
STEMS = {
    "cifar": {"conv1": "bn1"},
    "imagenet": {"conv1": "bn1"},
    "deep": {"conv1.0": "conv1.1", "conv1.3": "conv1.4", "conv1.6": "bn1"},
}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("order", RESPONSES)
def test_a_response_comes_behind_the_norm_and_before_relu_or_sum(order: Any, stem: Any) -> None:
    spec = ResNetSpec("basic", (1, 1), width=16, stem=stem, activation_order=order, image_size=(32, 32), num_classes=5)
    network, (images, targets) = net(spec), fed(spec)
    found = flow(network, images, targets).layers.set_index("name")["response_std"]
    with calls(network, nn.Module) as seen, torch.no_grad():
        network(images)
    names = {module: name for name, module in network.named_modules()}
    outputs = {names[module]: output.double() for module, _, output in seen}
    expected = {conv: conv if norm == "bn1" and order == "preact" else norm for conv, norm in STEMS[stem].items()}
    for block in ("layer1.0", "layer2.0"):
        expected |= {f"{block}.conv{n}": f"{block}.{name}" for n, name in enumerate(RESPONSES[order], 1)}
    assert {layer.name: layer.responds for layer in layers_of(network)} == expected
    stds = {conv: outputs[name].std(correction=0).item() for conv, name in expected.items()}
    assert found.to_dict() == pytest.approx(stds, rel=1e-9)
    branches = [inputs[0].double().std(correction=0).item() for module, inputs, _ in seen if isinstance(module, Add)]
    ends = [found["layer1.0.conv2"], found["layer2.0.conv2"]]
    assert order == "relu_before_add" or branches == pytest.approx(ends, rel=1e-9)
    if order in ("original", "relu_before_add"):
        assert set(found.round(3)) == {1.0}, "behind batch norm it is 1 by construction"


def test_a_bottleneck_has_three_layers_and_what_is_beside_the_main_branch_is_left_out() -> None:
    spec = ResNetSpec(depths=(1,), width=8, shortcut="C", attention="se", image_size=(16, 16), num_classes=3)
    assert [layer.responds for layer in layers_of(net(spec))] == ["bn1", *(f"layer1.0.bn{n}" for n in (1, 2, 3))]


@pytest.mark.parametrize("limit", [0.1, 0.5, 2.0])  # stopped on the way forward, on the way back, never
def test_the_network_is_left_as_it_was_after_an_exception_too(limit: float) -> None:
    network, (images, targets) = net(SMALL), fed(SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def stop(fraction: float, text: str) -> None:
        if fraction >= limit:
            raise KeyError("mine")

    with nullcontext() if limit > 1 else pytest.raises(KeyError, match="mine"):
        flow(network, images, targets, report=stop)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert not images.requires_grad


def test_it_says_how_far_it_is_at_every_block() -> None:
    said: list[tuple[float, str]] = []
    flow(net(SMALL), *fed(SMALL), report=lambda fraction, text: said.append((fraction, text)))
    blocks = 6  # 14 = 6 n + 2 with n = 2, three stages of n
    forward = [(number / blocks / 3, "Forward") for number in range(1, blocks + 1)]
    backward = [((1 + 2 * number / blocks) / 3, "Backward") for number in range(1, blocks + 1)]
    assert said == [(pytest.approx(fraction), text) for fraction, text in forward + backward]


def test_one_number_a_channel_is_refused_where_batch_norm_would_see_it() -> None:
    spec = ResNetSpec("basic", (1, 1, 1, 1), width=4, image_size=(32, 32), num_classes=3)  # 1x1 at the end
    with pytest.raises(GradientError, match="give two images or more"):
        measured(spec, count=1)
    assert measured(spec, count=2).loss > 0


def test_places_go_from_zero_to_one_also_with_a_single_block() -> None:
    assert list(measured(SMALL).blocks["place"]) == [index / 5 for index in range(6)]
    single = measured(replace(SMALL, depths=(1,)))
    assert list(single.blocks["place"]) == [0]
    assert list(single.blocks["index"]) == [1]
    assert list(single.layers["place"]) == [0, 0.5, 1]


# --- where a number format ends


def test_what_the_format_cannot_hold_is_marked() -> None:
    """PyTorch's own weights without norm lose a factor a layer, in float32 down to exactly 0."""
    spec = variant("plain", 110, norm="none", init="pytorch", image_size=(8, 8))
    single, double = measured(spec).blocks, measured(spec, double=True).blocks
    for quantity in ("gradient_norm", "weight_gradient_norm", "norm_product"):
        marks = list(single[f"{quantity}_mark"])
        assert {"zero", ""} <= set(marks)
        assert marks == sorted(marks, key=("zero", "subnormal", "").index), "the nearer to the input, the worse"
        assert list(single[f"{quantity}_mark"] == "zero") == list(single[quantity] == 0)
        assert not any(double[f"{quantity}_mark"])
        assert (double[quantity] > 0).all()
    assert not any(single["activation_rms_mark"])


def test_what_loses_digits_is_marked() -> None:
    network, (images, targets) = net(replace(SMALL, norm="none")), fed(SMALL)
    with torch.no_grad():
        network.fc.weight.mul_(2.0**-126)
    found = flow(network, images, targets)
    assert set(found.blocks["gradient_norm_mark"]) == {"subnormal"}
    assert set(found.layers["norm_product_mark"]) == {"subnormal"}
    assert not any(found.blocks["activation_rms_mark"])


def test_what_is_not_finite_is_marked() -> None:
    network, (images, targets) = net(replace(SMALL, norm="none")), fed(SMALL)
    with torch.no_grad():
        for number in (1, 2):
            network.get_submodule(f"layer2.0.conv{number}").weight.mul_(1e38)
    found = flow(network, images, targets)
    assert math.isnan(found.loss)
    assert list(found.blocks["activation_rms_mark"]) == ["", "", *["not finite"] * 4]
    assert set(found.blocks["gradient_norm_mark"]) == {"not finite"}
    assert found.layers.set_index("name").at["layer3.1.conv2", "response_std_mark"] == "not finite"


# --- what is exactly true


def plain_without_norm(init: Any = "kaiming_fan_out") -> tuple[ResNet, Tensor, Tensor]:
    spec = variant("plain", 14, norm="none", init=init, width=8, image_size=(16, 16))
    return net(spec, double=True), *fed(spec, double=True)


def test_in_a_plain_net_without_norm_weight_times_gradient_sums_to_the_same_for_all_layers() -> None:
    """Euler's theorem: with biases at 0, ReLU makes the logits z less the classifier's bias b homogeneous of degree 1
    in each W, so <W, dL/dW> = <dL/dz, z - b> for every layer. The products of norms are not equal."""
    network, images, targets = plain_without_norm()
    found = flow(network, images, targets).layers
    logits = network(images).detach()
    of_logits = (logits.softmax(1) - F.one_hot(targets, 10)) / len(images)
    expected = (of_logits * (logits - network.fc.bias.detach())).sum().item()
    np.testing.assert_allclose(found["inner_product"], expected, rtol=1e-10)
    assert (found["norm_product"] >= abs(expected)).all(), "Cauchy and Schwarz"
    assert found["norm_product"].max() > 2 * found["norm_product"].min()


def test_with_biases_that_are_not_zero_it_does_not() -> None:
    found = flow(*plain_without_norm("pytorch")).layers["inner_product"]
    assert np.ptp(found) > 0.1 * found.abs().max()


def test_moving_scale_between_layers_moves_gradients_but_not_the_product_of_norms() -> None:
    """Factors that are powers of two are exact in binary numbers, so all of it holds bit for bit."""
    spec = variant("plain", 14, norm="none", width=8, image_size=(16, 16))
    network, (images, targets) = net(spec), fed(spec)
    before = flow(network, images, targets)
    with torch.no_grad():
        network.get_submodule("layer1.1.conv1").weight.mul_(8)
        network.get_submodule("layer3.0.conv2").weight.div_(8)
    after = flow(network, images, targets)
    assert after.loss == before.loss
    assert list(after.layers["norm_product"]) == list(before.layers["norm_product"])
    factors = dict.fromkeys(before.layers["name"], 1.0) | {"layer1.1.conv1": 1 / 8, "layer3.0.conv2": 8.0}
    raw = zip(before.layers["name"], before.layers["weight_gradient_norm"], strict=True)
    assert list(after.layers["weight_gradient_norm"]) == [norm * factors[name] for name, norm in raw]
    between = pd.Series([1, 8, 8, 8, 1, 1])  # how many times as large a block's output is
    assert list(after.blocks["activation_rms"]) == list(before.blocks["activation_rms"] * between)
    assert list(after.blocks["gradient_norm"]) == list(before.blocks["gradient_norm"] / between)


def test_behind_batch_norm_the_size_of_weights_changes_the_raw_gradient_only() -> None:
    """The gradient stands at a right angle to them, and doubled weights halve it, but for batch norm's epsilon."""
    spec = variant("a", 14, width=8, image_size=(16, 16))
    network, (images, targets) = net(spec, double=True), fed(spec, double=True)
    before = flow(network, images, targets).layers
    with torch.no_grad():
        for layer in layers_of(network):
            network.get_submodule(layer.name).weight.mul_(2)
    after = flow(network, images, targets).layers
    np.testing.assert_allclose(after["norm_product"], before["norm_product"], rtol=1e-3)
    np.testing.assert_allclose(after["weight_gradient_norm"], before["weight_gradient_norm"] / 2, rtol=1e-3)
    assert (before["inner_product"].abs() < 1e-4 * before["norm_product"]).all()


def test_blocks_that_zero_gamma_makes_the_identity_pass_the_gradient_on_at_equal_norm() -> None:
    """y = relu(x + 0) = x as x >= 0; back through it dL/dx = dL/dy where x > 0 and else 0. What arrives behind the last
    block is cut so once; before it x is the same or padded with 0, so nothing more is cut. Option A hands back to the
    pixels that it took, and what it padded was cut, as x is 0 there: the norm stays from stage to stage too."""
    spec = variant("zero_gamma", 20, width=8, image_size=(16, 16))
    network, (images, targets) = net(spec), fed(spec)
    found = flow(network, images, targets).blocks
    kept, gradients = by_autograd(network, images, targets)
    last = block_names(spec)[-1]
    cut = (gradients[last] * (kept[last] > 0)).double().norm().item()
    norms, scales = list(found["gradient_norm"]), list(found["activation_rms"])
    for stage in (norms[0:3], norms[3:6], norms[6:8]):
        assert len(set(stage)) == 1, "bit for bit"
        assert stage[0] == pytest.approx(cut, rel=1e-12)
    assert norms[-1] == norm_of(gradients[last].double())
    assert norms[-1] > cut
    assert [len(set(scales[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]


@pytest.mark.parametrize("change", [{"zero_init_residual": True}, {"residual_scale": "skipinit"}])
def test_pre_activated_identity_blocks_pass_all_of_it(change: dict[str, Any]) -> None:
    """y = x + 0: the gradient is the same before and behind each block, the last one too. What option A pads is 0 up to
    the last ReLU, which cuts its gradient: the norm stays from stage to stage."""
    norms = list(measured(variant("preact", 20, width=8, image_size=(16, 16), **change)).blocks["gradient_norm"])
    assert [len(set(norms[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1], "bit for bit"
    assert norms == pytest.approx([norms[0]] * 9, rel=1e-12)


def test_weights_in_a_branch_that_is_multiplied_by_zero_get_exactly_nothing() -> None:
    found = measured(variant("zero_gamma", 14, width=8, image_size=(16, 16)))
    assert set(found.blocks["weight_gradient_norm_mark"]) == set(found.blocks["norm_product_mark"]) == {"zero"}
    inside = found.layers["block"] != "stem"
    assert (found.layers.loc[inside, "norm_product"] == 0).all()
    assert (found.layers.loc[~inside, "norm_product"] > 0).all()
    assert list(found.layers.loc[inside, "response_std_mark"]) == ["", "zero"] * 6, "the last norm's gamma is 0"


@pytest.mark.parametrize("depth", [20, 56, 110])
def test_a_plain_net_has_the_parameters_of_its_residual_twin(depth: int) -> None:
    """Option A adds none: He et al. 2015, section 4.2, same depth, width and number of parameters."""
    plain, residual = (build(variant(kind, depth), "meta") for kind in ("plain", "a"))
    shapes = [{name: tuple(each.shape) for name, each in twin.named_parameters()} for twin in (plain, residual)]
    assert shapes[0] == shapes[1]


# --- the truths of the field, in signs and orders of magnitude


def ratio(kind: str, depth: int, **changes: Any) -> float:
    """First block's activation gradient over the last one's at initialisation, on 16 patterns."""
    found = measured(variant(kind, depth, **changes), count=16).blocks["gradient_norm"]
    return float(found.iloc[0] / found.iloc[-1])


@pytest.mark.parametrize(
    ("kind", "changes", "at_20", "at_56"),
    [  # measured for this project with other images and another program
        ("plain", {}, 27, 1.2e4),
        ("plain", {"norm": "none"}, 0.55, 0.19),
        ("plain", {"norm": "none", "init": "xavier"}, 7e-4, 9e-10),
        ("a", {}, 10, 48),
        ("b", {}, 15, 128),
        ("c", {}, 24, 1.6e3),
        ("preact", {}, 10, 34),
        ("zero_gamma", {}, 0.36, 0.36),
        ("a", {"norm": "none"}, 13, 1e4),
    ],
)
def test_how_gradients_grow_or_vanish_with_depth(
    kind: str, changes: dict[str, Any], at_20: float, at_56: float
) -> None:
    for depth, golden in ((20, at_20), (56, at_56)):
        found = ratio(kind, depth, **changes)
        assert golden / 6 < found < golden * 6
        assert (found > 1) == (golden > 1)


def test_with_batch_norm_a_plain_nets_gradient_explodes_toward_the_input() -> None:
    """Yang et al. 2019, arXiv 1902.08129: the more the deeper, whatever the weights."""
    assert 1e6 < ratio("plain", 110) < 1e9
    assert 1e3 < ratio("plain", 56, init="xavier") < 1e5


def test_without_norm_the_product_of_norms_stays_where_the_activation_gradient_vanishes() -> None:
    found = measured(variant("plain", 56, norm="none", init="xavier"), count=16)
    gradients, products = found.blocks["gradient_norm"], found.layers["norm_product"]
    assert gradients.iloc[0] < 1e-7 * gradients.iloc[-1]
    assert products.max() < 50 * products.min()


@pytest.mark.parametrize(("depth", "least", "most"), [(56, 1e-2, 30), (110, 0, 1e-3)])
def test_within_ten_steps_the_explosion_is_gone_and_plain_110_overshoots(depth: int, least: float, most: float) -> None:
    """On the digits, as in the degradation lab; the first updates are as large as the gradients at the start."""
    spec = variant("plain", depth, width=8, in_channels=1, image_size=(8, 8))
    run = Run(Recipe(spec, steps=10, record_every=10, test_every=10, probe=1, tested=1, seed=1))
    images, targets = run.data.train[:100].float() / 255, run.data.train_labels[:100]
    found = [flow(run.network, images, targets) for record in run]
    before, after = (each.blocks["gradient_norm"].iloc[0] / each.blocks["gradient_norm"].iloc[-1] for each in found)
    assert before > 300
    assert least < after < most
    assert found[1].loss > 1.5, "it has learned next to nothing"
    first = [each.layers.set_index("name")["weight_norm"]["layer1.0.conv1"] for each in found]
    assert first[1] > 10 * first[0]


# --- several seeds


def made(losses: list[float], values: list[list[float]]) -> list[Flow]:
    """Flows whose every quantity of block n and layer n is `values[seed][n]`."""
    flows = []
    for loss, numbers in zip(losses, values, strict=True):
        count = len(numbers)
        base = pd.DataFrame({"name": [f"layer1.{number}" for number in range(count)], "index": range(1, count + 1)})
        base["place"] = np.linspace(0, 1, count)
        marks = ["" if number else "zero" for number in numbers]
        blocks, layers = base.copy(), base.assign(block=base["name"], inner_product=[-number for number in numbers])
        for table, quantities in ((blocks, OF_BLOCKS), (layers, OF_LAYERS)):
            for quantity in quantities:
                table[quantity], table[f"{quantity}_mark"] = numbers, marks
        flows.append(Flow(loss, blocks, layers))
    return flows


def test_over_seeds_there_are_median_least_greatest_worst_mark_and_the_spread_of_ratios() -> None:
    found = over_seeds(made([1.0, 2.0, 4.0], [[8, 1, 2], [3, 0, 3], [5, 4, 10]]), 16)
    assert (found.losses, found.batch) == ((1.0, 2.0, 4.0), 16)
    for table, quantities in ((found.blocks, OF_BLOCKS), (found.layers, OF_LAYERS)):
        for quantity in quantities:
            assert list(table[quantity]) == [5, 1, 3]
            assert list(table[f"{quantity}_low"]) == [3, 0, 2]
            assert list(table[f"{quantity}_high"]) == [8, 4, 10]
            assert list(table[f"{quantity}_mark"]) == ["", "zero", ""]
    assert list(found.layers["inner_product"]) == [-5, -1, -3]
    assert list(found.layers["inner_product_low"]) == [-8, -4, -10]
    assert list(found.layers["block"]) == ["layer1.0", "layer1.1", "layer1.2"]
    assert found.ratios == dict.fromkeys(OF_BLOCKS, spread([8 / 2, 3 / 3, 5 / 10]))


def test_a_ratio_over_nothing_is_unknown() -> None:
    found = over_seeds(made([1.0], [[8, 0]]), 4)
    table = summary({"one": found, "two": over_seeds(made([1.0, 5.0], [[8, 2], [8, 4]]), 16)})
    assert list(table["net"]) == ["one", "two"]
    assert list(table["batch"]) == [4, 16]
    assert list(table["loss"]) == [1, 3]
    for quantity in OF_BLOCKS:
        assert table[quantity].isna().tolist() == [True, False]
        assert table.loc[1, [quantity, f"{quantity}_low", f"{quantity}_high"]].tolist() == [3, 2, 4]


def test_ranked_and_together() -> None:
    table = over_seeds(made([1.0], [[2.0, 8.0, 4.0]]), 16).layers
    order = ranked(table, "response_std")
    assert list(order["name"]) == ["layer1.1", "layer1.2", "layer1.0"]
    assert list(order["response_std_high"]) == [8, 4, 2]
    assert list(order["index"]) == [1, 2, 3]
    assert list(order["place"]) == [0, 0.5, 1]
    assert list(table["response_std"]) == [2, 8, 4], "the table itself stays"
    both = together({"a": table, "b": order})
    assert list(both.columns) == ["net", *table.columns]
    assert list(both["net"]) == ["a"] * 3 + ["b"] * 3
    assert list(both["name"]) == [*table["name"], *order["name"]]


# --- what it costs


def totals(macs: int = 0, activation_bytes: int = 0) -> Totals:
    return Totals(layers=1, params=1, macs=macs, activation_bytes=activation_bytes)


@pytest.mark.parametrize(
    ("megabytes", "batch"), [(62.5, 16), (63, 8), (125, 8), (126, 4), (250, 4), (251, 2), (500, 2)]
)
def test_a_batch_keeps_at_most_a_gigabyte(megabytes: float, batch: int) -> None:
    assert batch_for(totals(activation_bytes=int(megabytes * 1e6))) == batch
    assert batch_for(totals(activation_bytes=int(megabytes * 1e6)), most=4) == min(4, batch)


def test_what_takes_too_much_or_too_long_is_refused() -> None:
    with pytest.raises(GradientError, match=r"Two images would keep maps of 1\.2 GB; choose .* at most 1 GB"):
        batch_for(totals(activation_bytes=600_000_000))
    assert seconds_for(totals(macs=8_000_000_000), 10) == pytest.approx(30)  # 3 x 8e9 x 10 / 8e9
    with pytest.raises(GradientError, match="about 6 minutes here, and 3 at most"):
        seconds_for(totals(macs=8_000_000_000), 120)


def test_the_net_of_a_thousand_layers_goes_with_a_batch_of_four() -> None:
    found = profile(variant("a", 1202)).totals
    assert batch_for(found) == 4
    assert seconds_for(found, 3 * 4) < 30
