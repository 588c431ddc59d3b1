"""Our residual networks against torchvision's and timm's, against the papers' arithmetic, and against themselves."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from captum.attr import DeepLift, InputXGradient
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn

from explorer.models.blocks import ACTIVATIONS, Add, Block, NoNorm, SqueezeExcite
from explorer.models.resnet import ResNet, build
from explorer.spec import PRESETS, ResNetSpec

TABLES = Path(__file__).parents[1] / "tables"
TABLE6 = json.loads((TABLES / "he2015_table6.json").read_text())["million_params"]
MEASURED = json.loads((TABLES / "measured_counts.json").read_text())

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
SMALL = ResNetSpec(block="basic", depths=(2, 2), width=8, stem="cifar", num_classes=5, image_size=(8, 8))


def params(model: nn.Module | ResNetSpec) -> int:
    model = build(model, "meta") if isinstance(model, ResNetSpec) else model
    return sum(parameter.numel() for parameter in model.parameters())


def random_state(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A value for each name, as after a training: no norm is the identity, no bias is zero."""
    torch.manual_seed(0)
    return {name: _random_value(name, like, dtype) for name, like in model.state_dict().items()}


def _random_value(name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if like.dim() > 1:
        return torch.randn(like.shape, dtype=dtype) / math.sqrt(like[0].numel())
    if name.endswith((".bias", "running_mean")):
        return torch.randn(like.shape, dtype=dtype) / 10
    return torch.rand(like.shape, dtype=dtype) + 0.5


def with_state(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The model in eval mode with these tensors, strictly, without a copy."""
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def randomised(spec: ResNetSpec) -> nn.Module:
    """A float64 net of random weights and statistics in eval mode."""
    model = build(spec, "meta")
    return with_state(model, random_state(model, torch.float64))


def image(*sides: int, channels: int = 3, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, channels, *sides, dtype=dtype)


def on_meta(make: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return make(*args, **settings)


@contextmanager
def calls(model: nn.Module, *kinds: type[nn.Module]) -> Iterator[list[tuple[nn.Module, tuple[Tensor, ...], Tensor]]]:
    """Every call of a module of these kinds: the module, its inputs, its output."""
    seen: list[tuple[nn.Module, tuple[Tensor, ...], Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs, output)))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    yield seen
    for hook in hooks:
        hook.remove()


# --- torchvision and timm are the oracles


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_preset_takes_torchvisions_weights_and_gives_its_output(name: str) -> None:
    theirs, ours = on_meta(torchvision.models.get_model, name), build(PRESETS[name], "meta")
    state = random_state(theirs)
    x = image(64, 45)
    with torch.inference_mode():
        expected, output = with_state(theirs, state)(x), with_state(ours, state)(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def ours_from_resnetv2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's pre-activation names as ours; its head is a 1x1 convolution."""
    words = (("stem.conv.", "conv1."), ("downsample.conv.", "downsample.0."), (".norm", ".bn"), ("head.fc.", "fc."))
    renamed = {}
    for name, value in state.items():
        for old, new in words:
            name = name.replace(old, new)
        if name.startswith("stages."):
            _, stage, _, rest = name.split(".", 3)
            name = f"layer{int(stage) + 1}.{rest}"
        name = "final_bn." + name.removeprefix("norm.") if name.startswith("norm.") else name
        renamed[name] = value.flatten(1) if name == "fc.weight" else value
    return renamed


@pytest.mark.parametrize(
    ("timms", "spec", "rename"),
    [
        ("resnet18", PRESETS["resnet18"], dict),
        ("resnet50", PRESETS["resnet50"], dict),
        ("resnet50d", PRESETS["resnet50d"], dict),
        ("seresnet50", PRESETS["seresnet50"], dict),
        ("resnetv2_50", PRESETS["resnet50_v2"], ours_from_resnetv2),
    ],
    ids=["resnet18", "resnet50", "resnet50d", "seresnet50", "resnetv2_50"],
)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_spec_takes_timms_weights_and_gives_its_output_at_every_output_stride(
    timms: str, spec: ResNetSpec, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]], output_stride: Any
) -> None:
    theirs = on_meta(timm.create_model, timms, output_stride=output_stride)
    ours = build(replace(spec, output_stride=output_stride), "meta")
    state = random_state(theirs)
    x = image(64, 45)
    assert params(ours) == params(theirs)
    with torch.inference_mode():
        expected, output = with_state(theirs, state)(x), with_state(ours, rename(state))(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


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
@given(specs(residual=False))
def test_a_plain_net_has_the_parameters_of_its_option_a_twin(plain: ResNetSpec) -> None:
    twin = build(replace(plain, residual=True, shortcut="A"), "meta")
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
    """Nets that look at no whole map, whose last stages stride at places that a dilation keeps."""
    depths = st.lists(st.integers(1, 2), min_size=stages, max_size=5).map(tuple)
    fixed |= {"width": st.integers(2, 4), "downsample": "conv", "attention": "none", "output_stride": 32}
    return specs(stem=stem, depths=depths, image_size=image_size, norm=st.sampled_from(("batch", "none")), **fixed)


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize(("block", "stride_on"), [("basic", "3x3"), ("bottleneck", "1x1"), ("bottleneck", "3x3")])
@settings(FEW, max_examples=12)
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


def test_convolutions_start_with_hes_fan_out() -> None:
    weight = build(PRESETS["resnet18"], "cpu").get_parameter("layer4.0.conv1.weight")
    fan_out = 512 * 3 * 3
    assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.01)
    assert abs(weight.mean().item()) < 1e-4


@FEW
@given(specs(residual=True, zero_init_residual=True), st.booleans())
def test_with_zero_init_every_block_starts_as_its_shortcut(spec: ResNetSpec, training: bool) -> None:
    assume(not (training and spec.norm == "batch"))  # batch statistics of one pixel do not exist
    model = build(spec, "cpu").train(training)
    with calls(model, Add, Block) as seen, torch.no_grad():
        model(image(*spec.image_size, channels=spec.in_channels))
    added = {module: inputs for module, inputs, _ in seen if isinstance(module, Add)}
    blocks = [(module, inputs[0], output) for module, inputs, output in seen if isinstance(module, Block)]
    assert len(blocks) == len(added) == sum(spec.depths)
    for block, x, output in blocks:
        main, shortcut = added[block.add]
        assert not main.any()
        assert torch.equal(output, shortcut if spec.preactivation else ACTIVATIONS[spec.activation]()(shortcut))
        if block.downsample is None:
            assert shortcut is x


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
            assert module.num_groups <= 32
            assert module.num_channels >= 2 * module.num_groups


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "gelu", "silu"])
@pytest.mark.parametrize(("preactivation", "extra"), [(False, "relu"), (True, "final_relu")])
def test_a_bottleneck_net_has_three_activations_a_block_and_one_more(
    kind: Any, preactivation: bool, extra: str
) -> None:
    spec = ResNetSpec(activation=kind, preactivation=preactivation)
    found = {n for n, m in build(spec, "meta").named_modules() if type(m) is ACTIVATIONS[kind]}
    assert len(found) == 1 + 3 * (3 + 4 + 6 + 3)
    assert extra in found


def test_squeeze_excitation_weighs_each_channel_by_the_mean_of_all() -> None:
    block = SqueezeExcite(32, None).double()
    x = image(5, 7, channels=32, batch=2, dtype=torch.float64)
    means = x.mean((2, 3))
    hidden = (means @ block.fc1.weight.flatten(1).T + block.fc1.bias).clamp(min=0)
    gates = torch.sigmoid(hidden @ block.fc2.weight.flatten(1).T + block.fc2.bias)
    torch.testing.assert_close(block(x), x * gates[:, :, None, None])


@pytest.mark.parametrize(
    ("channels", "reduced"), [(16, 8), (64, 8), (128, 8), (192, 16), (256, 256 // 16), (2048, 2048 // 16)]
)
def test_squeeze_excitation_has_a_sixteenth_of_the_channels_and_at_least_eight(channels: int, reduced: int) -> None:
    assert SqueezeExcite(channels, None).fc1.out_channels == reduced


# --- ready for attribution


@FEW
@given(specs())
def test_every_net_is_ready_for_attribution(spec: ResNetSpec) -> None:
    """Each activation is called once and not in place, and its input goes nowhere else."""
    model = build(spec, "cpu").eval()
    kinds = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
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
    specs(stem="cifar", attention="none", image_size=(9, 8), zero_init_residual=False),
    st.sampled_from(("batch", "none")),
    st.sampled_from(("relu", "leaky_relu")),  # Captum has no rule for the others
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
@pytest.mark.parametrize("preactivation", [False, True])
def test_deeplift_differs_from_the_gradient_where_it_is_complete(preactivation: bool) -> None:
    model = randomised(replace(SMALL, preactivation=preactivation, norm="none"))
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
