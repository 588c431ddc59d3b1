"""The parts of a block, one by one, against timm's and torchvision's and against formulas written out by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from strategies import calls, image, random_state, with_state
from timm.layers import BlurPool2d, EcaModule
from timm.layers.cbam import CbamModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import stochastic_depth

from explorer.models.blocks import (
    Add,
    Block,
    ConvolutionalBlockAttention,
    EfficientChannelAttention,
    Gate,
    Layers,
    LearnedScale,
    PadShortcut,
    Scale,
    SqueezeExcite,
    StandardizedConv2d,
    StochasticDepth,
    group_count,
)
from explorer.models.resnet import build
from explorer.spec import ResNetSpec, knob

BASIC = ResNetSpec(block="basic", depths=(2, 2), width=8, stem="cifar", num_classes=5, image_size=(8, 8))
BOTTLENECK = replace(BASIC, block="bottleneck")
ORDERS = knob("activation_order").choices
META = torch.device("meta")


def params(spec: ResNetSpec) -> int:
    return sum(parameter.numel() for parameter in build(spec, META).parameters())


def blocks(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, Block)]


def trained(module: nn.Module) -> Any:
    """The module in float64 and eval mode, with weights and statistics as after a training."""
    return with_state(module, random_state(module, torch.float64))


def maps(channels: int, *sides: int) -> Tensor:
    """Two float64 feature maps."""
    return image(*(sides or (6, 5)), channels=channels, batch=2, dtype=torch.float64)


# --- what shrinks


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(2, 2), (7, 8), (9, 5)])
def test_the_blur_is_timms(stride: int, sides: tuple[int, int]) -> None:
    ours = Layers(replace(BASIC, antialias="blur")).antialias(stride)
    x = image(*sides, channels=5, batch=2)
    torch.testing.assert_close(ours(x), BlurPool2d(5, stride=stride)(x))


@pytest.mark.parametrize("sides", [(2, 2), (7, 8), (1, 5)])
def test_the_average_is_over_what_there_is_of_each_2x2_square(sides: tuple[int, int]) -> None:
    ours = Layers(replace(BASIC, antialias="avg")).antialias(2)
    x = maps(3, *sides)
    padded = F.pad(x, (0, sides[1] % 2, 0, sides[0] % 2), value=math.nan)
    squares = padded.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    torch.testing.assert_close(ours(x), squares.nanmean((3, 5)))


@pytest.mark.parametrize("kind", ["blur", "avg"])
@pytest.mark.parametrize(("stride_on", "behind"), [("1x1", "relu1"), ("3x3", "relu2")])
def test_a_blurred_bottleneck_shrinks_behind_the_convolution_that_strode(
    kind: Any, stride_on: Any, behind: str
) -> None:
    model = build(replace(BOTTLENECK, antialias=kind, stride_on=stride_on), META)
    assert {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)} == {
        "layer2.0.downsample.0"
    }
    first = model.get_submodule("layer2.0")
    with calls(first, nn.Module) as seen:
        first(torch.empty(1, 32, 8, 8, device=META))
    order = [module for module, _, _ in seen]
    assert order[order.index(first.antialias) + 1] is first.get_submodule(f"conv{int(behind[-1]) + 1}")
    source = next(inputs[0] for module, inputs, _ in seen if module is first.antialias)
    assert source is next(output for module, _, output in seen if module is first.get_submodule(behind))
    assert [block.antialias is not None for block in blocks(model)] == [False, False, True, False]


def test_the_stem_blurs_its_max_pool_and_the_average_takes_its_place() -> None:
    x = image(8, 10, channels=64)
    blurred, averaged = (build(ResNetSpec(depths=(1,), antialias=kind), META).maxpool for kind in ("blur", "avg"))
    assert blurred is not None
    assert averaged is not None
    torch.testing.assert_close(blurred(x), BlurPool2d(64)(F.max_pool2d(x, 3, 1, 1)))
    torch.testing.assert_close(averaged(x), F.avg_pool2d(x, 2))


def test_option_a_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    x = maps(3, 5, 4)
    padded = PadShortcut(2, 4)(x)
    assert padded.shape == (2, 3 + 4, 3, 2)
    assert torch.equal(padded[:, :3, 1, 1], x[:, :, 2, 2])
    assert torch.equal(padded[:, :3, 2, 0], x[:, :, 4, 0])
    assert not padded[:, 3:].any()


# --- attention


def test_squeeze_excitation_weighs_each_channel_by_the_mean_of_all() -> None:
    module = SqueezeExcite(32).double()
    x = maps(32)
    means = x.mean((2, 3))
    hidden = (means @ module.fc1.weight.flatten(1).T + module.fc1.bias).clamp(min=0)
    gates = torch.sigmoid(hidden @ module.fc2.weight.flatten(1).T + module.fc2.bias)
    torch.testing.assert_close(module(x), x * gates[:, :, None, None])


@pytest.mark.parametrize(
    ("channels", "reduced"), [(16, 8), (64, 8), (128, 8), (192, 16), (256, 256 // 16), (2048, 2048 // 16)]
)
def test_squeeze_excitation_has_a_sixteenth_of_the_channels_and_at_least_eight(channels: int, reduced: int) -> None:
    assert SqueezeExcite(channels, META).fc1.out_channels == reduced


def test_eca_looks_at_as_many_neighbours_as_timms() -> None:
    counts = range(1, 4097)
    ours = [EfficientChannelAttention(channels, META).conv.kernel_size for channels in counts]
    assert ours == [EcaModule(channels, device=META).conv.kernel_size for channels in counts]
    assert {kernel for (kernel,) in ours} == {3, 5, 7}


@pytest.mark.parametrize("channels", [1, 2, 24, 256])
def test_eca_is_timms(channels: int) -> None:
    ours, theirs = EfficientChannelAttention(channels).double(), EcaModule(channels).double()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = maps(channels)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("channels", [1, 7, 8, 32, 100])
@pytest.mark.parametrize("training", [True, False])
def test_cbam_is_timms(channels: int, training: bool) -> None:
    theirs = trained(CbamModule(channels))
    state = theirs.state_dict().items()
    state = {name.removeprefix("channel.").removeprefix("spatial.conv."): value.clone() for name, value in state}
    ours = with_state(ConvolutionalBlockAttention(channels, META), state)
    x = maps(channels)
    torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))


def test_cbam_has_timms_widths() -> None:
    counts = range(1, 1025)
    ours = [ConvolutionalBlockAttention(channels, META).fc1.out_channels for channels in counts]
    assert ours == [CbamModule(channels, device=META).channel.fc1.out_channels for channels in counts]
    assert (ours[0], ours[-1]) == (1, 1024 // 16)


# --- what the main branch is multiplied by


def test_a_scale_multiplies_by_its_number_and_a_learned_one_each_channel_by_its_own() -> None:
    x = maps(3)
    assert torch.equal(Scale(0.3)(x), 0.3 * x)
    module = LearnedScale(3, 0.1)
    assert torch.equal(module.gain, torch.full((3, 1, 1), 0.1))
    learned = with_state(module, {"gain": torch.tensor([2.0, 0.0, -1.0]).view(3, 1, 1)})
    assert torch.equal(learned(x), torch.stack([2 * x[:, 0], 0 * x[:, 1], -x[:, 2]], 1))


@pytest.mark.parametrize(
    ("change", "extra", "start"),
    [
        ({"residual_scale": "constant", "scale_start": 0.3}, 0, 0.3),
        ({"residual_scale": "skipinit", "scale_start": 0.3}, 4 * 1, 0.0),
        ({"residual_scale": "layerscale", "scale_start": 0.3}, 2 * 4 * 8 + 2 * 4 * 16, 0.3),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_the_sum_gets_the_main_branch_times_the_scale(change: Any, extra: int, start: float, order: Any) -> None:
    spec = replace(BOTTLENECK, activation_order=order)
    scaled = replace(spec, **change)
    assert params(scaled) - params(spec) == extra
    model = build(scaled, "cpu").eval()
    with calls(model, Scale, LearnedScale, Add) as seen, torch.no_grad():
        model(image(8, 8))
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert len(pairs) == 4
    for (scale, (branch,), output), (add, (main, _), _) in pairs:
        assert isinstance(scale, Scale | LearnedScale)
        assert isinstance(add, Add)
        assert main is output
        assert branch.any()
        torch.testing.assert_close(main, branch * start)


def test_a_plain_net_has_no_scale_no_gate_and_drops_no_branch() -> None:
    spec = replace(BASIC, residual=False)
    changed = replace(spec, residual_scale="layerscale", shortcut="highway", stochastic_depth=0.5)
    assert repr(build(changed, META)) == repr(build(spec, META))


# --- gates


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_gate_divides_by_the_papers_formula(both: bool, stride: int) -> None:
    gate = trained(Gate(3, 4, stride, both, -6.0, META))
    x, branch, carried = maps(3, 6, 6), *(maps(4, 6 // stride, 6 // stride) * factor for factor in (1, 3))
    weight, bias = gate.conv.weight[:, :, 0, 0], gate.conv.bias
    share = 1 / (
        1 + torch.exp(-torch.einsum("oc,nchw->nohw", weight, x[:, :, ::stride, ::stride]) - bias.view(-1, 1, 1))
    )
    terms = gate(x, branch, carried)
    torch.testing.assert_close(terms[0], branch * share if both else branch)
    torch.testing.assert_close(terms[1], carried * (1 - share))


@pytest.mark.parametrize("shortcut", ["highway", "gated"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_gate_reads_the_blocks_input_and_its_terms_are_the_sums(shortcut: Any, order: Any) -> None:
    model = trained(build(replace(BASIC, shortcut=shortcut, activation_order=order), META))
    with calls(model, Block, Gate, Add) as seen, torch.no_grad():
        model(maps(3, 8, 8))
    assert len(seen) == 3 * 4
    for (_, (x, branch, carried), terms), (_, summed, _), (block, (entering,), _) in zip(
        *[iter(seen)] * 3, strict=True
    ):
        assert x is entering
        assert (terms[0] is branch) == (shortcut == "gated")
        assert all(a is b for a, b in zip(terms, summed, strict=True))
        assert (carried is x) == (block.downsample is None)


@pytest.mark.parametrize("shortcut", ["highway", "gated"])
def test_a_gate_has_a_1x1_convolution_with_a_bias_in_each_block(shortcut: Any) -> None:
    extra = params(replace(BOTTLENECK, shortcut=shortcut)) - params(BOTTLENECK)
    assert extra == sum(c_in * c_out + c_out for c_in, c_out in ((8, 32), (32, 32), (32, 64), (64, 64)))


@pytest.mark.parametrize("init", knob("init").choices)
@pytest.mark.parametrize("bias", [-10, -6, 0])
def test_a_gates_bias_starts_where_it_is_told(init: Any, bias: int) -> None:
    model = build(replace(BASIC, shortcut="highway", gate_bias=bias, init=init), "cpu")
    gates = [module for module in model.modules() if isinstance(module, Gate)]
    assert len(gates) == 4
    assert all((gate.conv.bias == bias).all() and gate.conv.weight.any() for gate in gates)


# --- the order of norms and activations

FIGURE4 = {  # He et al. 2016: the main branch, and what follows the sum
    "original": ("conv norm relu conv norm", "relu"),
    "bn_after_add": ("conv norm relu conv", "norm relu"),
    "relu_before_add": ("conv norm relu conv norm relu", ""),
    "relu_preact": ("relu conv norm relu conv norm", ""),
    "preact": ("norm relu conv norm relu conv", ""),
}
FIGURE4_OF_THREE = {
    "original": ("conv norm relu conv norm relu conv norm", "relu"),
    "bn_after_add": ("conv norm relu conv norm relu conv", "norm relu"),
    "relu_before_add": ("conv norm relu conv norm relu conv norm relu", ""),
    "relu_preact": ("relu conv norm relu conv norm relu conv norm", ""),
    "preact": ("norm relu conv norm relu conv norm relu conv", ""),
}
PROJECTION = {  # behind the block's own first norm and activation, where it begins with them
    "original": "conv norm",
    "bn_after_add": "conv norm",
    "relu_before_add": "conv norm",
    "relu_preact": "relu conv norm",
    "preact": "norm relu conv",
}


def by_hand(words: str, x: Tensor, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d]) -> Tensor:
    """The layers of the figure, one word each, on their weights alone."""
    next_convolution, next_norm = iter(convolutions), iter(norms)
    for word in words.split():
        if word == "conv":
            conv = next(next_convolution)
            x = F.conv2d(x, conv.weight, stride=conv.stride, padding=conv.weight.shape[-1] // 2)
        elif word == "norm":
            norm = next(next_norm)
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        else:
            x = x.clamp(min=0)
    return x


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("place", ["layer1.0", "layer1.1", "layer2.0"])
@pytest.mark.parametrize(
    ("spec", "figure"), [(BASIC, FIGURE4), (BOTTLENECK, FIGURE4_OF_THREE)], ids=["basic", "bottleneck"]
)
def test_a_block_has_its_norms_and_activations_where_the_papers_figure_4_has_them(
    spec: ResNetSpec, figure: dict[str, tuple[str, str]], place: str, order: Any
) -> None:
    block: Any = trained(build(replace(spec, activation_order=order), META)).get_submodule(place)
    x = maps(block.conv1.in_channels)
    numbers = range(1, block.length + 1)
    convolutions, norms = ([block.get_submodule(f"{kind}{n}") for n in numbers] for kind in ("conv", "bn"))
    branch, after = figure[order]
    expected = by_hand(branch, x, convolutions, norms)
    if block.downsample is None:
        expected = expected + x
    else:
        norm = norms[:1] if order == "preact" else block.downsample[1:]
        expected = expected + by_hand(PROJECTION[order], x, block.downsample[:1], norm)
    torch.testing.assert_close(block(x), by_hand(after, expected, [], norms[-1:]))


@pytest.mark.parametrize(
    ("order", "stem", "head"),
    [
        *((order, ["bn1", "relu"], []) for order in ("original", "bn_after_add", "relu_before_add")),
        ("relu_preact", ["bn1"], ["final_relu"]),
        ("preact", [], ["final_bn", "final_relu"]),
    ],
)
def test_what_the_stem_leaves_to_the_first_block_ends_the_last_stage(
    order: Any, stem: list[str], head: list[str]
) -> None:
    model = build(ResNetSpec(depths=(1, 1), activation_order=order), META)
    names = {module: name for name, module in model.named_children()}
    with calls(model, nn.Module) as seen:
        model(torch.empty(1, 3, 32, 32, device=META))
    called = [names[module] for module, _, _ in seen if module in names]
    assert called == ["conv1", *stem, "maxpool", "layer1", "layer2", *head, "avgpool", "flatten", "fc"]


# --- dropout and stochastic depth


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_stochastic_depth_is_torchvisions_by_row(p: float) -> None:
    x = image(3, 3, channels=4, batch=50)
    module = StochasticDepth(p)
    torch.manual_seed(2)
    ours = module(x)
    torch.manual_seed(2)
    assert torch.equal(ours, stochastic_depth(x, p, "row"))
    dropped = [not each.any() for each in ours]
    assert 0 < sum(dropped) < 50
    assert module.eval()(x) is x


def test_the_chance_to_be_dropped_grows_in_a_line_to_what_is_asked() -> None:
    model = build(replace(BASIC, depths=(2, 3), stochastic_depth=0.5), META)
    survival = [1 - number / 5 * (1 - 0.5) for number in range(1, 6)]  # Huang et al. 2016, equation 4
    assert [1 - block.stochastic_depth.p for block in blocks(model)] == pytest.approx(survival)


def test_a_dropped_block_is_its_shortcut() -> None:
    spec = replace(BASIC, norm="group", attention="se", residual_scale="constant", stochastic_depth=0.9)
    model = build(spec, "cpu")
    with calls(model, Scale, StochasticDepth, Add) as seen, torch.no_grad():
        torch.manual_seed(3)
        model(image(8, 8, batch=16))
    for (_, _, scaled), (_, (branch,), kept), (_, (main, shortcut), total) in zip(*[iter(seen)] * 3, strict=True):
        assert branch is scaled
        assert main is kept
        dropped = torch.tensor([not each.any() for each in kept])
        assert torch.equal(total[dropped], shortcut[dropped])
    assert 0 < dropped.sum() < 16


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("spec", "last"), [(BASIC, "conv2"), (BOTTLENECK, "conv3")], ids=["basic", "bottleneck"])
def test_a_blocks_dropout_stands_before_its_last_convolution(spec: ResNetSpec, last: str, order: Any) -> None:
    model = build(replace(spec, activation_order=order, norm="group", block_dropout=0.5), "cpu")
    with calls(model, nn.Dropout, nn.Conv2d) as seen, torch.no_grad():
        model(image(8, 8))
    inputs = {module: inputs[0] for module, inputs, _ in seen}
    outputs = {module: output for module, _, output in seen}
    for block in blocks(model):
        assert block.dropout.p == 0.5
        assert inputs[block.get_submodule(last)] is outputs[block.dropout]
        zeros = [(tensor[block.dropout] == 0).float().mean() for tensor in (inputs, outputs)]
        assert zeros[1] > zeros[0] + 0.1


def test_the_heads_dropout_stands_before_its_linear_layer() -> None:
    model = build(replace(BASIC, norm="group", head_dropout=0.5), "cpu")
    with calls(model, nn.Flatten, nn.Dropout, nn.Linear) as seen, torch.no_grad():
        model(image(8, 8))
    (_, _, flat), (dropout, (entering,), dropped), (_, (classified,), _) = seen
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.5
    assert entering is flat
    assert classified is dropped


def test_nothing_is_dropped_when_the_net_is_not_training() -> None:
    dropping = build(replace(BASIC, stochastic_depth=0.9, block_dropout=0.9, head_dropout=0.9), META)
    steady = build(BASIC, META)
    state = random_state(steady)
    x = image(8, 8)
    with torch.no_grad():
        assert torch.equal(with_state(dropping, state)(x), with_state(steady, state)(x))


# --- norms and weights


@pytest.mark.parametrize("most", knob("norm_groups").choices)
def test_a_group_norm_has_the_most_groups_that_leave_two_channels_each(most: Any) -> None:
    for channels in range(1, 200):
        possible = [
            g for g in (1, 2, 4, 8, 16, 32, 64) if g <= most and channels % g == 0 and (g == 1 or channels // g >= 2)
        ]
        assert group_count(channels, most) == max(possible)


@pytest.mark.parametrize(("asked", "groups"), [(1, 1), (8, 8), (32, 32), (64, 32)])
def test_a_group_norm_of_64_channels_is_pytorchs(asked: Any, groups: int) -> None:
    ours = Layers(replace(BASIC, norm="group", norm_groups=asked)).norm(64)
    x = image(3, 4, channels=64, batch=2)
    expected = x.view(2, groups, -1)
    expected = (expected - expected.mean(2, keepdim=True)) / (expected.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(ours(x), expected.view_as(x))
    torch.testing.assert_close(ours(x), nn.GroupNorm(groups, 64)(x))


@pytest.mark.parametrize("groups", [1, 2])
def test_standardised_filters_have_mean_0_and_variance_1(groups: int) -> None:
    def conv() -> StandardizedConv2d:
        return StandardizedConv2d(4, 6, 3, padding=1, groups=groups, bias=False, device=META)

    ours = trained(conv())
    var, mean = torch.var_mean(ours.weight, (1, 2, 3), correction=0, keepdim=True)
    filters = (ours.weight - mean) / (var + 1e-6).sqrt()
    x = maps(4)
    torch.testing.assert_close(ours(x), F.conv2d(x, filters, padding=1, groups=groups))
    other = with_state(conv(), {"weight": 7 * ours.weight.detach() + 5})
    torch.testing.assert_close(other(x), ours(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stem", knob("stem").choices)
def test_every_convolution_of_stem_blocks_and_projections_is_standardised(stem: Any) -> None:
    model = build(replace(BOTTLENECK, stem=stem, weight_standardization=True, image_size=(32, 32)), META)
    kinds = [type(module) for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(kinds) == (1 if stem in ("imagenet", "cifar") else 3) + 3 * 4 + 2
    assert set(kinds) == {StandardizedConv2d}
