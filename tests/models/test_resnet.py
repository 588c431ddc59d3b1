"""Our residual networks against the papers' arithmetic, and against themselves; test_presets.py has the libraries'."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import DeepLift, InputXGradient
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import FEW, calls, image, random_state, specs, with_state
from torch import Tensor, nn

from explorer.models.blocks import ACTIVATIONS, Add, Block, NoNorm
from explorer.models.resnet import ResNet, build
from explorer.spec import PRESETS, ResNetSpec, SpecError, knob

TABLES = Path(__file__).parents[1] / "tables"
TABLE6 = json.loads((TABLES / "he2015_table6.json").read_text())["million_params"]
MEASURED = json.loads((TABLES / "measured_counts.json").read_text())

SMALL = ResNetSpec(block="basic", depths=(2, 2), width=8, stem="cifar", num_classes=5, image_size=(8, 8))


def params(model: nn.Module | ResNetSpec) -> int:
    model = build(model, "meta") if isinstance(model, ResNetSpec) else model
    return sum(parameter.numel() for parameter in model.parameters())


def randomised(spec: ResNetSpec) -> nn.Module:
    """A float64 net of random weights and statistics in eval mode."""
    model = build(spec, "meta")
    return with_state(model, random_state(model, torch.float64))


def on_meta(make: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return make(*args, **settings)


# --- parameters are arithmetic


@pytest.mark.parametrize("depth", sorted(TABLE6, key=int))
def test_cifar_nets_have_the_papers_parameters(depth: str) -> None:
    counted = params(PRESETS[f"cifar_resnet{depth}"])
    printed = TABLE6[depth]
    digits = len(str(printed).partition(".")[2])
    assert counted == MEASURED["params"][f"cifar_resnet{depth}"]
    assert round(counted / 10**6, digits) == printed


def test_a_20_layer_cifar_net_is_three_stages_of_six_convolutions() -> None:
    convolutions = 9 * (3 * 16 + 6 * 16**2 + (16 * 32 + 5 * 32**2) + (32 * 64 + 5 * 64**2))
    norms = 2 * (16 + 6 * 16 + 6 * 32 + 6 * 64)
    assert params(PRESETS["cifar_resnet20"]) == convolutions + norms + 64 * 10 + 10


@pytest.mark.parametrize(
    ("base", "widths", "depths"),
    [("cifar_resnet20", (16, 32, 64), (3, 3, 3)), ("resnet34", (64, 128, 256, 512), (3, 4, 6, 3))],
)
def test_option_b_adds_projections_where_shapes_change_and_c_everywhere(
    base: str, widths: tuple[int, ...], depths: tuple[int, ...]
) -> None:
    a, b, c = (params(replace(PRESETS[base], shortcut=option)) for option in "ABC")
    assert b - a == sum(w // 2 * w + 2 * w for w in widths[1:])  # a 1x1 convolution and its norm
    same = [depths[0]] + [depth - 1 for depth in depths[1:]]  # blocks whose shapes do not change
    assert c - b == sum(blocks * (w * w + 2 * w) for blocks, w in zip(same, widths, strict=True))


@FEW
@given(specs(residual=False, residual_scale=st.sampled_from(("none", "constant")), stage_widths=(), stem_width=None))
def test_a_plain_net_has_the_parameters_of_its_option_a_twin(plain: ResNetSpec) -> None:
    # What starts at zero changes no parameter, and without shortcuts nothing does, so that more goes together.
    twin = build(replace(plain, residual=True, shortcut="A", zero_init_residual=False), "meta")
    assert params(plain) == params(twin)
    assert {name for name, _ in build(plain, "meta").named_parameters()} == {n for n, _ in twin.named_parameters()}


def test_a_bottleneck_of_256_has_the_papers_69632_weights() -> None:
    block = build(ResNetSpec(depths=(2,)), "meta").get_submodule("layer1.1")
    weights = sum(m.weight.numel() for m in block.modules() if isinstance(m, nn.Conv2d))
    assert weights == 256 * 64 + 9 * 64 * 64 + 64 * 256


def test_resnext_groups_its_3x3_and_wide_resnet_widens_it() -> None:
    def kernel(name: str) -> torch.Size:
        weight = build(PRESETS[name], "meta").get_parameter("layer1.0.conv2.weight")
        return weight.shape

    assert kernel("resnet50") == (64, 64, 3, 3)
    assert kernel("resnext50_32x4d") == (32 * 4, 4, 3, 3)
    assert kernel("wide_resnet50_2") == (128, 128, 3, 3)


def test_dive_into_deep_learnings_resnet_has_3008_parameters_more() -> None:
    outputs = 64 * (1 + 4) + 4 * (128 + 256 + 512) + (128 + 256 + 512)  # of all convolutions: the book's have a bias
    assert outputs - 2 * (128 + 256 + 512) == 3008  # and its projections no norm
    assert params(PRESETS["d2l_resnet18"]) == params(PRESETS["resnet18"]) - 2 * 64 * 49 - 990 * (512 + 1)


# --- kernel, widths and strides of the stages, stem


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize(
    ("base", "pairs"),
    [
        ("resnet18", sum(w * w * (3 if w > 64 else 4) + (w // 2 * w if w > 64 else 0) for w in (64, 128, 256, 512))),
        ("resnet50", sum(w * w * depth for w, depth in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True))),
        (
            "resnext50_32x4d",
            sum(w * w // 8 * depth for w, depth in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)),
        ),
    ],
)
def test_a_larger_kernel_costs_its_square_in_the_blocks_and_keeps_every_shape(
    base: str, pairs: int, kernel_size: Any
) -> None:
    spec = replace(PRESETS[base], output_stride=16, image_size=(97, 64))
    larger = replace(spec, kernel_size=kernel_size)
    assert params(larger) - params(spec) == (kernel_size**2 - 3**2) * pairs  # pairs of channels that a filter connects
    assert maps(larger) == maps(spec)
    kernels = {m.kernel_size for n, m in build(larger, "meta").named_modules() if isinstance(m, nn.Conv2d) and "." in n}
    assert kernels <= {(1, 1), (kernel_size, kernel_size)}


def maps(spec: ResNetSpec) -> list[tuple[int, ...]]:
    """Channels, height and width of what enters the first stage and of what leaves each."""
    model = build(spec, "meta")
    with calls(model, nn.Sequential) as seen:
        model(torch.empty(1, spec.in_channels, *spec.image_size, device="meta"))
    stages = [model.get_submodule(f"layer{stage}") for stage in range(1, len(spec.depths) + 1)]
    passed = {module: (inputs[0], output) for module, inputs, output in seen}
    return [tuple(each.shape[1:]) for each in (passed[stages[0]][0], *(passed[stage][1] for stage in stages))]


@pytest.mark.parametrize(
    ("strides", "shrunk"),
    [
        ((), (4, 4, 8, 16, 32)),
        ((1, 2, 2, 2), (4, 4, 8, 16, 32)),
        ((2, 1, 2, 1), (4, 8, 8, 16, 16)),
        ((2, 2, 2, 2), (4, 8, 16, 32, 64)),
        ((1, 1, 1, 1), (4, 4, 4, 4, 4)),
    ],
)
def test_a_stage_shrinks_by_its_stride(strides: tuple[int, ...], shrunk: tuple[int, ...]) -> None:
    spec = ResNetSpec(block="basic", depths=(2, 1, 1, 1), strides=strides, output_stride=64, image_size=(128, 192))
    assert [sides for _, *sides in maps(spec)] == [[128 // by, 192 // by] for by in shrunk]
    assert spec.total_stride == shrunk[-1]


def test_a_stage_dilates_in_place_of_its_stride_and_leaves_the_others() -> None:
    spec = ResNetSpec(depths=(1, 1, 1, 1), strides=(2, 2, 1, 2), output_stride=8, image_size=(64, 64))
    assert [sides[0] for _, *sides in maps(spec)] == [16, 8, 8, 8, 8]
    model = build(replace(spec, depths=(2, 2, 2, 2)), "meta")
    dilations = [[block.conv2.dilation[0] for block in model.get_submodule(f"layer{stage}")] for stage in (1, 2, 3, 4)]
    assert dilations == [[1, 1], [1, 2], [2, 2], [2, 4]]


@pytest.mark.parametrize(("block", "expansion"), [("basic", 1), ("bottleneck", 4)])
def test_a_stage_has_its_width(block: Any, expansion: int) -> None:
    widths = (24, 16, 40, 8)
    spec = ResNetSpec(block=block, depths=(1, 2, 1, 1), stage_widths=widths, image_size=(64, 64))
    assert [channels for channels, *_ in maps(spec)] == [64, *(width * expansion for width in widths)]
    model = build(spec, "meta")
    inner = [model.get_parameter(f"layer{stage}.0.conv1.weight").shape[0] for stage in (1, 2, 3, 4)]
    assert inner == list(widths)
    assert model.fc.in_features == 8 * expansion


def test_stage_widths_scale_the_groups_of_a_bottleneck_as_the_width_does() -> None:
    spec = ResNetSpec(depths=(1, 1), stage_widths=(64, 96), cardinality=32, width_per_group=4)
    model = build(spec, "meta")
    assert model.get_parameter("layer1.0.conv2.weight").shape == (32 * 4, 4, 3, 3)
    assert model.get_parameter("layer2.0.conv2.weight").shape == (32 * 6, 6, 3, 3)


@pytest.mark.parametrize(
    ("stem", "widths"),
    [
        ("imagenet", (48,)),
        ("cifar", (48,)),
        ("deep", (48 // 2, 48 // 2, 48)),
        ("tiered", (48 * 3 // 8, 48 // 2, 48)),
    ],
)
def test_the_stem_has_its_width_and_the_blocks_theirs(stem: Any, widths: tuple[int, ...]) -> None:
    spec = ResNetSpec(block="basic", depths=(1,), stem=stem, stem_width=48, image_size=(64, 64))
    model = build(spec, "meta")
    first = model.conv1 if isinstance(model.conv1, nn.Sequential) else [model.conv1]
    convolutions = [module for module in first if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == list(widths) == list(spec.stem_widths)
    assert [conv.in_channels for conv in convolutions] == [3, *widths[:-1]]
    assert model.bn1.num_features == 48
    assert model.get_parameter("layer1.0.conv1.weight").shape == (64, 48, 3, 3)
    assert model.get_parameter("layer1.0.downsample.0.weight").shape == (64, 48, 1, 1)
    usual = build(replace(spec, stem_width=None), "meta")
    assert usual.get_submodule("layer1.0").downsample is None


# --- the place of the stride, dilation


@pytest.mark.parametrize(("stride_on", "conv"), [("1x1", "conv1"), ("3x3", "conv2")])
def test_the_stride_stands_on_the_named_convolution(stride_on: Any, conv: str) -> None:
    model = build(ResNetSpec(stride_on=stride_on), "meta")
    strided = {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)}
    stages = ("layer2.0", "layer3.0", "layer4.0")
    assert strided == {"conv1"} | {f"{s}.{conv}" for s in stages} | {f"{s}.downsample.0" for s in stages}


def test_the_place_of_the_stride_changes_no_parameter() -> None:
    a, b = (build(ResNetSpec(stride_on=place), "meta").state_dict() for place in ("1x1", "3x3"))
    assert {n: v.shape for n, v in a.items()} == {n: v.shape for n, v in b.items()}


def local_nets(stem: str, stages: int, *image_size: int, **fixed: Any) -> st.SearchStrategy[ResNetSpec]:
    """Nets that look at no whole map and blur nothing, whose last stages stride at places that a dilation keeps."""
    depths = st.lists(st.integers(1, 2), min_size=stages, max_size=5).map(tuple)
    fixed |= {"width": st.integers(2, 4), "stem_width": None, "stage_widths": (), "strides": (), "antialias": "none"}
    fixed |= {"downsample": "conv", "attention": "none", "output_stride": 32}
    return specs(stem=stem, depths=depths, image_size=image_size, norm=st.sampled_from(("batch", "none")), **fixed)


@pytest.mark.parametrize("shortcut", ["A", "B", "C", "highway", "gated"])
@pytest.mark.parametrize(("block", "stride_on"), [("basic", "3x3"), ("bottleneck", "1x1"), ("bottleneck", "3x3")])
@settings(FEW, max_examples=7)
@given(data=st.data())
def test_a_dilated_net_computes_at_every_nth_pixel_what_the_strided_one_does(
    data: st.DataObject, block: str, stride_on: str, shortcut: str
) -> None:
    fixed = {"block": block, "stride_on": stride_on, "shortcut": shortcut}
    imagenet = local_nets("imagenet", 4, 64, 96, **fixed) | local_nets("deep", 4, 64, 32, **fixed)
    cifar = local_nets("cifar", 5, 32, 64, **fixed)
    spec, stride = data.draw(st.tuples(imagenet, st.sampled_from((8, 16))) | st.tuples(cifar, st.just(8)))
    dilated = replace(spec, output_stride=stride)
    state = random_state(build(spec, "meta"), torch.float64)
    x = image(*spec.image_size, channels=spec.in_channels, dtype=torch.float64)
    maps = []
    for each in (spec, dilated):
        model = with_state(build(each, "meta"), state)
        with calls(model, type(model.get_submodule("layer1"))) as seen, torch.inference_mode():
            model(x)
        maps.append(next(out for module, _, out in seen if module is model.get_submodule(f"layer{len(spec.depths)}")))
    step = spec.total_stride // dilated.total_stride
    assert maps[1].shape[-1] == step * maps[0].shape[-1]
    torch.testing.assert_close(maps[1][..., ::step, ::step], maps[0], atol=1e-9, rtol=1e-9)


# --- initial weights


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in build(SMALL).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_building_on_meta_allocates_nothing_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    model = build(PRESETS["resnet152"], "meta")
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert torch.equal(torch.get_rng_state(), before)


def test_build_follows_the_default_device() -> None:
    assert not any(parameter.is_meta for parameter in build(SMALL).parameters())
    assert all(parameter.is_meta for parameter in on_meta(build, SMALL).parameters())


@FEW
@given(specs())
def test_a_built_net_has_no_uninitialised_number(spec: ResNetSpec) -> None:
    torch.use_deterministic_algorithms(True)  # then PyTorch fills memory that it hands out with NaN and 2^63 - 1
    try:
        assert torch.empty(3).isnan().all()
        model = build(spec, "cpu")
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(tensor).all() for tensor in (*model.parameters(), *model.buffers()))
    assert all(buffer == 0 for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked"))
    assert model.training


def test_norms_start_at_one_and_zero() -> None:
    state = build(PRESETS["cifar_resnet20"], "cpu").state_dict()
    starts = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0, "weight": 1, "bias": 0}
    norms = {name: value for name, value in state.items() if ".bn" in name or name.startswith("bn")}
    assert len(norms) == 5 * (1 + 18)
    assert all((value == starts[name.rpartition(".")[2]]).all() for name, value in norms.items())


def test_pytorchs_own_initial_weights_are_its_convolutions() -> None:
    torch.manual_seed(5)
    model = build(replace(SMALL, init="pytorch", norm="none"), "cpu")
    torch.manual_seed(5)
    theirs = nn.Conv2d(3, 8, 3)
    assert torch.equal(model.get_parameter("conv1.weight"), theirs.weight)
    assert torch.equal(model.get_parameter("conv1.bias"), theirs.bias)


# A convolution of 64 channels to 128, 3x3: fan in 9 x 64, fan out 9 x 128
FAN_IN, FAN_OUT = 9 * 64, 9 * 128


@pytest.mark.parametrize(
    ("init", "std", "uniform"),
    [
        ("kaiming_fan_out", math.sqrt(2 / FAN_OUT), False),  # He et al. 2015, equation 14
        ("kaiming_fan_in", math.sqrt(2 / FAN_IN), False),  # equation 10
        ("xavier", math.sqrt(2 / (FAN_IN + FAN_OUT)), True),  # Glorot & Bengio 2010, equations 12 and 16
        ("orthogonal", math.sqrt(2 / FAN_IN), False),  # rows of length sqrt(2)
        ("pytorch", math.sqrt(2 / (1 + 5) / FAN_IN), True),  # He's with a leaky ReLU of slope sqrt(5)
    ],
)
def test_initial_weights_spread_as_their_paper_says(init: Any, std: float, uniform: bool) -> None:
    torch.manual_seed(6)
    model = build(ResNetSpec(block="basic", depths=(1, 1), stem="cifar", init=init, num_classes=2), "cpu")
    weight = model.get_parameter("layer2.0.conv1.weight")
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert abs(weight.mean().item()) < 0.01 * std
    kurtosis = (weight.double() ** 4).mean().item() / (weight.double() ** 2).mean().item() ** 2
    assert kurtosis == pytest.approx(9 / 5 if uniform else 3, rel=0.05)
    assert not uniform or weight.abs().max().item() == pytest.approx(math.sqrt(3) * std, rel=0.001)


def test_orthogonal_filters_stand_at_right_angles() -> None:
    model = build(ResNetSpec(depths=(1,), stem="cifar", init="orthogonal", num_classes=2), "cpu")
    reduces, restores = (model.get_parameter(f"layer1.0.conv{n}.weight").flatten(1) for n in (2, 3))
    torch.testing.assert_close(reduces @ reduces.T, 2 * torch.eye(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(restores.T @ restores, 2 * torch.eye(64), atol=1e-4, rtol=0)  # 64 to 256 channels


@pytest.mark.parametrize("init", knob("init").choices)
def test_biases_start_at_zero_but_for_pytorchs(init: Any) -> None:
    model = build(replace(SMALL, norm="none", init=init), "cpu")
    biases = [module.bias for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(biases) == 1 + 2 * 4 + 1
    assert all(bool(bias.any()) == (init == "pytorch") for bias in biases)


@FEW
@given(specs(residual=True, zero_init_residual=True), st.booleans())
def test_with_zero_init_every_block_starts_as_its_shortcut(spec: ResNetSpec, training: bool) -> None:
    assume(not (training and (spec.norm == "batch" or spec.attention == "cbam")))  # no batch statistics of one pixel
    model = build(spec, "cpu").train(training)
    with calls(model, Add, Block) as seen, torch.no_grad():
        model(image(*spec.image_size, channels=spec.in_channels))
    added = {module: inputs for module, inputs, _ in seen if isinstance(module, Add)}
    blocks = [(module, inputs[0], output) for module, inputs, output in seen if isinstance(module, Block)]
    assert len(blocks) == len(added) == sum(spec.depths)
    for block, x, output in blocks:
        main, shortcut = added[block.add]
        assert not main.any()
        expected = shortcut
        if spec.activation_order == "bn_after_add":
            expected = block.norm(block.length, expected)
        if spec.activation_order in ("original", "bn_after_add"):
            expected = ACTIVATIONS[spec.activation]()(expected)
        assert torch.equal(output, expected)
        if block.downsample is None and block.gate is None:
            assert shortcut is x


@pytest.mark.parametrize("order", knob("activation_order").choices)
@pytest.mark.parametrize("init", knob("init").choices)
def test_zero_init_leaves_no_bias_on_the_main_branch_either(init: Any, order: Any) -> None:
    change = {"norm": "none", "init": init, "activation_order": order, "activation": "gelu"}
    spec = replace(SMALL, zero_init_residual=True, **change)
    model = build(spec, "cpu")
    with calls(model, Add) as seen, torch.no_grad():
        model(image(8, 8))
    assert len(seen) == 4
    assert not any(inputs[0].any() for _, inputs, _ in seen)


def test_without_zero_init_the_main_branch_starts_with_something() -> None:
    model = build(SMALL, "cpu").eval()
    with calls(model, Add) as seen, torch.no_grad():
        model(image(8, 8))
    assert all(inputs[0].any() for _, inputs, _ in seen)


# --- norms and activations


def test_without_norm_every_convolution_has_a_bias_and_nothing_is_normalised() -> None:
    model = build(replace(SMALL, norm="none"), "meta")
    assert not any(isinstance(m, nn.BatchNorm2d | nn.GroupNorm) for m in model.modules())
    assert all(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_with_a_norm_no_convolution_has_a_bias(norm: Any) -> None:
    model = build(replace(SMALL, norm=norm), "meta")
    assert not any(isinstance(m, NoNorm) for m in model.modules())
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("norm", "mixes"), [("batch", True), ("group", False), ("none", False)])
def test_only_batch_norm_lets_an_image_see_the_others_of_its_batch(norm: Any, mixes: bool) -> None:
    model = build(replace(SMALL, norm=norm), "cpu").train()
    x = image(8, 8, batch=2)
    with torch.no_grad():
        alone = model(torch.cat([x[:1], x[:1]]))[0]
        beside = model(x)[0]
    assert torch.allclose(alone, beside, atol=1e-5) is not mixes


@FEW
@given(specs(norm="group"))
def test_a_group_holds_two_channels_or_more(spec: ResNetSpec) -> None:
    for module in build(spec, "meta").modules():
        if isinstance(module, nn.GroupNorm) and module.num_channels > 1:
            assert module.num_groups <= spec.norm_groups
            assert module.num_channels >= 2 * module.num_groups


@pytest.mark.parametrize("kind", knob("activation").choices)
@pytest.mark.parametrize(
    ("order", "extra"),
    [
        ("original", "relu"),
        ("bn_after_add", "relu"),
        ("relu_before_add", "relu"),
        ("relu_preact", "final_relu"),
        ("preact", "final_relu"),
    ],
)
def test_a_bottleneck_net_has_three_activations_a_block_and_one_more(kind: Any, order: Any, extra: str) -> None:
    spec = ResNetSpec(activation=kind, activation_order=order)
    found = {n for n, m in build(spec, "meta").named_modules() if type(m) is ACTIVATIONS[kind]}
    assert len(found) == 1 + 3 * (3 + 4 + 6 + 3)
    assert extra in found


TRAINING = [name for name in (item.name for item in fields(ResNetSpec)) if not knob(name).architecture]


@FEW
@given(specs(), specs())
def test_what_is_not_architecture_changes_no_trained_network(spec: ResNetSpec, other: ResNetSpec) -> None:
    try:
        twin = replace(spec, **{name: getattr(other, name) for name in TRAINING})
    except SpecError:  # the other's pictures are too small
        assume(False)
    x = image(*spec.image_size, channels=spec.in_channels, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(randomised(twin)(x), randomised(spec)(x))


# --- ready for attribution


@FEW
@given(specs())
def test_every_net_is_ready_for_attribution(spec: ResNetSpec) -> None:
    """Each activation is called once and not in place, and its input goes nowhere else."""
    model = build(spec, "cpu").eval()
    kinds = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
    with calls(model, *kinds, Add) as seen:
        model(image(*spec.image_size, channels=spec.in_channels))
    activations = [(module, inputs[0]) for module, inputs, _ in seen if isinstance(module, kinds)]
    sums = [(module, inputs) for module, inputs, _ in seen if isinstance(module, Add)]
    inputs = [id(x) for _, x in activations]
    assert sorted(id(m) for m, _ in activations) == sorted(id(m) for m in model.modules() if isinstance(m, kinds))
    assert not any(getattr(module, "inplace", False) for module, _ in activations)
    assert len(set(inputs)) == len(inputs)
    assert not set(inputs) & {id(x) for _, pair in sums for x in pair}
    assert len(sums) == len({id(module) for module, _ in sums}) == (sum(spec.depths) if spec.residual else 0)


# Captum says with each call that it sets hooks, which is what is asked of it.
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks and attributes on non-linear:UserWarning")
@FEW
@given(
    # what multiplies one activation by another, as gates and attention do, has no exact rule
    specs(stem="cifar", attention="none", shortcut=st.sampled_from("ABC"), image_size=(9, 8), zero_init_residual=False),
    st.sampled_from(("batch", "none")),
    st.sampled_from(("relu", "leaky_relu", "tanh", "sigmoid")),  # Captum has no rule for the others
)
def test_deeplift_is_complete_on_our_nets(spec: ResNetSpec, norm: Any, activation: Any) -> None:
    spec = replace(spec, norm=norm, activation=activation)
    model = randomised(spec)
    x = image(*spec.image_size, channels=spec.in_channels, dtype=torch.float64)
    baseline = torch.full_like(x, 0.3)
    x.requires_grad_()
    with torch.no_grad():
        rise = (model(x) - model(baseline))[0, 0]
    attribution = DeepLift(model).attribute(x, baseline, target=0)
    torch.testing.assert_close(attribution.sum(), rise, atol=1e-8, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks and attributes on non-linear:UserWarning")
@pytest.mark.parametrize("order", knob("activation_order").choices)
def test_deeplift_differs_from_the_gradient_where_it_is_complete(order: Any) -> None:
    model = randomised(replace(SMALL, activation_order=order, norm="none"))
    x = image(8, 8, dtype=torch.float64)
    with torch.no_grad():
        rise = (model(x) - model(torch.zeros_like(x)))[0, 0].item()
    x.requires_grad_()
    assert DeepLift(model).attribute(x, target=0).sum().item() == pytest.approx(rise, rel=1e-4)
    assert InputXGradient(model).attribute(x, target=0).sum().item() != pytest.approx(rise, rel=1e-2)


def test_a_nets_names_are_torchvisions() -> None:
    model = build(PRESETS["resnet18"], "meta")
    assert isinstance(model, ResNet)
    names = set(on_meta(torchvision.models.resnet18).state_dict())
    assert set(model.state_dict()) == names
