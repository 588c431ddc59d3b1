"""The presets against the libraries whose names they bear: parameters, names, and outputs with the same weights."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from strategies import image, random_state, with_state
from timm.layers import BlurPool2d
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

State = dict[str, Tensor]

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
TIMM_V2 = (
    *("resnetv2_18", "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152"),
    *("resnetv2_18d", "resnetv2_34d", "resnetv2_50d", "resnetv2_101d", "resnetv2_152d"),
    "resnetv2_50t",
)
TIMM = (
    *("resnet26", "resnet200", "resnet50c", "resnet101c", "resnet152c", "resnet50s", "resnet101s", "resnet152s"),
    *("resnet18d", "resnet26d", "resnet34d", "resnet50d", "resnet101d", "resnet152d", "resnet200d"),
    *("resnet10t", "resnet14t", "resnet26t", "resnet50t", "resnet50_gn"),
    *("resnext50d_32x4d", "resnext101_32x4d", "resnext101_32x16d", "resnext101_32x32d"),
    *("seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152", "seresnet50t"),
    *("seresnet152d", "seresnet200d", "seresnet269d", "seresnext50_32x4d", "seresnext101_32x4d"),
    *("seresnext101_32x8d", "seresnext101_64x4d", "seresnext26d_32x4d", "seresnext26t_32x4d", "seresnext101d_32x8d"),
    *("ecaresnet50d", "ecaresnet101d", "ecaresnet200d", "ecaresnet269d", "ecaresnet26t", "ecaresnet50t"),
    *("ecaresnext26t_32x4d", "ecaresnext50t_32x4d", "ecaresnetlight"),
    *("resnetblur18", "resnetblur50", "resnetblur50d", "resnetblur101d"),
    *("resnetaa50", "resnetaa34d", "resnetaa50d", "resnetaa101d", "seresnetaa50d", "seresnextaa101d_32x8d"),
)
PAPERS = {
    *("plain18", "plain34", "resnet34_a", "resnet50_v1", "d2l_resnet18", "cbam_resnet50"),
    *(f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110, 1202)),
    *(f"cifar_plain{depth}" for depth in (20, 32, 44, 56, 110)),
}


def on_meta(make: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return make(*args, **settings)


def library_net(name: str, **settings: Any) -> nn.Module:
    """The net of that name of torchvision, or else timm, on the meta device."""
    if name in TORCHVISION and not settings:
        return on_meta(torchvision.models.get_model, name)
    if name == "cbam_resnet50":
        return on_meta(timm.create_model, "resnet50", block_args={"attn_layer": "cbam"}, **settings)
    return on_meta(timm.create_model, name, **settings)


def ours_from_resnetv2(state: State) -> State:
    """timm's pre-activation names as ours; its head is a 1x1 convolution."""
    deep = "stem.conv3.weight" in state
    conv = "downsample.1." if deep else "downsample.0."  # behind the average pool of the d and t nets
    words = [("downsample.conv.", conv), (".norm", ".bn"), ("head.fc.", "fc."), ("stem.conv.", "conv1.")]
    parts = ("conv1", "norm1", "", "conv2", "norm2", "", "conv3")
    stem = [(f"stem.{part}.", f"conv1.{place}.") for place, part in enumerate(parts) if part]
    renamed = {}
    for name, value in state.items():
        for old, new in stem + words:
            name = name.replace(old, new)
        if name.startswith("stages."):
            _, stage, _, rest = name.split(".", 3)
            name = f"layer{int(stage) + 1}.{rest}"
        name = "final_bn." + name.removeprefix("norm.") if name.startswith("norm.") else name
        renamed[name] = value.flatten(1) if name == "fc.weight" else value
    return renamed


def ours_from_cbam(state: State) -> State:
    """timm's names of CBAM as ours."""
    words = (("se.channel.", "se."), ("se.spatial.conv.", "se."))
    renamed = {}
    for name, value in state.items():
        for old, new in words:
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def ours_from(name: str) -> Callable[[State], State]:
    if name in TIMM_V2:
        return ours_from_resnetv2
    return ours_from_cbam if name == "cbam_resnet50" else dict


def params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shapes(state: State) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def test_the_presets_are_the_papers_and_the_libraries_nets() -> None:
    assert set(PRESETS) == PAPERS | {*TORCHVISION, *TIMM, *TIMM_V2}


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM, *TIMM_V2, "cbam_resnet50"])
def test_a_preset_has_its_librarys_parameters_and_names(name: str) -> None:
    theirs, ours = library_net(name), build(PRESETS[name], "meta")
    expected, state = shapes(ours_from(name)(theirs.state_dict())), shapes(ours.state_dict())
    assert params(ours) == params(theirs)
    assert state == expected
    if name not in TIMM_V2:  # which puts the projection first
        assert list(state) == list(expected)


def same_output(theirs: nn.Module, ours: nn.Module, rename: Callable[[State], State], x: Tensor) -> None:
    """With the same random weights both nets give the same logits."""
    state = random_state(theirs)
    for module in theirs.modules():
        if isinstance(module, BlurPool2d):  # its filter is in no state_dict
            module.to_empty(device="cpu").reset_parameters()
    with torch.inference_mode():
        expected, output = with_state(theirs, state)(x), with_state(ours, rename(state))(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_preset_takes_torchvisions_weights_and_gives_its_output(name: str) -> None:
    same_output(library_net(name), build(PRESETS[name], "meta"), dict, image(64, 45))


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        *itertools.product(
            ("resnet18", "resnet50", "resnet50d", "seresnet50", "resnetv2_50", "resnetblur18"), (8, 16, 32)
        ),
        *itertools.product(("resnet50c", "resnet18d", "resnet50s", "resnet10t", "resnet14t", "resnet50_gn"), (8, 32)),
        *itertools.product(("seresnext26t_32x4d", "ecaresnet26t", "ecaresnetlight", "cbam_resnet50"), (8, 32)),
        *itertools.product(("resnetblur50d", "resnetaa34d", "resnetaa50", "seresnetaa50d"), (8, 32)),
        *itertools.product(("resnetv2_18", "resnetv2_18d", "resnetv2_50d", "resnetv2_50t"), (8, 32)),
    ],
)
def test_a_preset_takes_timms_weights_and_gives_its_output_at_every_output_stride(
    name: str, output_stride: Any
) -> None:
    depths = (2, 1, 1, 1)
    theirs = library_net(name, layers=depths, output_stride=output_stride, num_classes=10)
    spec = replace(PRESETS[name], depths=depths, output_stride=output_stride, num_classes=10)
    even = spec.antialias == "avg"  # timm's loses the last column of an odd map, and then the shortcut does not fit
    same_output(theirs, build(spec, "meta"), ours_from(name), image(64, 64 if even else 45))


def test_group_norm_is_timms_but_for_groups_of_one_channel() -> None:
    depths = (2, 1, 1, 1)
    theirs = library_net("resnetv2_50d_gn", layers=depths)
    for norm in (theirs.stem.norm1, theirs.stem.norm2):
        assert (norm.num_groups, norm.num_channels) == (32, 32)
        norm.num_groups = 16
    ours = build(replace(PRESETS["resnetv2_50d"], norm="group", depths=depths), "meta")
    same_output(theirs, ours, ours_from_resnetv2, image(64, 45))


def test_standardised_weights_are_timms() -> None:
    depths = (2, 1, 1, 1)
    theirs = on_meta(ResNetV2, depths, num_classes=10)  # group norm, weight standardisation and the 7x7 stem
    ours = ResNetSpec(
        depths=depths, activation_order="preact", norm="group", weight_standardization=True, num_classes=10
    )
    same_output(theirs, build(ours, "meta"), ours_from_resnetv2, image(64, 45))
