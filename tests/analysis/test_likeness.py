"""Whose network a spec is, and whether the library's weights really go in."""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision

from explorer.analysis.likeness import fit, likeness
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

RESNET50 = PRESETS["resnet50"]


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "wide_resnet50_2"])
def test_torchvisions_nets_are_its_own_and_its_state_dict_really_loads(name: str) -> None:
    like = likeness(PRESETS[name], name)
    assert (like.library, like.name, like.fields) == ("torchvision", name, ())
    assert fit(PRESETS[name], like).loads
    with torch.device("meta"):
        state = torchvision.models.get_model(name).state_dict()
    build(PRESETS[name], "meta").load_state_dict(state, strict=True, assign=True)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"width": 72}, ("width",)),
        ({"stride_on": "1x1"}, ("stride_on",)),
        ({"activation": "gelu", "norm": "group"}, ("norm", "activation")),
        ({"strides": (1, 2, 2, 1)}, ("strides",)),
    ],
)
def test_what_makes_another_architecture_is_named(change: dict[str, object], fields: tuple[str, ...]) -> None:
    like = likeness(replace(RESNET50, **change), "resnet50")
    assert (like.name, like.fields) == ("resnet50", fields)


@pytest.mark.parametrize(
    "change",
    [
        {"init": "xavier"},
        {"zero_init_residual": True},
        {"stochastic_depth": 0.2, "block_dropout": 0.1, "head_dropout": 0.5},
        {"image_size": (160, 160)},
        {"stage_widths": (64, 128, 256, 512)},  # as usual
        {"strides": (1, 2, 2, 2), "stem_width": 64, "output_stride": 64},
        {"norm_groups": 8},  # without group norm
        {"gate_bias": 0, "scale_start": 0.5},  # without gates and scales
    ],
)
def test_what_matters_in_training_only_or_not_at_all_makes_none(change: dict[str, object]) -> None:
    spec = replace(RESNET50, **change)
    like = likeness(spec, "resnet50")
    assert like.fields == ()
    assert fit(spec, like).loads


def test_the_same_tensors_do_not_make_the_same_net() -> None:
    v1 = PRESETS["resnet50_v1"]
    like = likeness(v1, "resnet50_v1")
    assert like.fields == ("stride_on",)
    assert fit(v1, like).loads, "it would load, and compute something else"


def test_a_change_that_makes_it_another_libraries_net_is_seen() -> None:
    like = likeness(replace(RESNET50, attention="se"), "resnet50")
    assert (like.library, like.name, like.fields) == ("timm", "seresnet50", ())
    with torch.device("meta"):
        timms = timm.create_model("seresnet50")
    assert fit(PRESETS["seresnet50"], like).params == sum(p.numel() for p in timms.parameters())


def test_tensors_of_the_same_shapes_under_other_names_do_not_load() -> None:
    spec = PRESETS["resnetv2_50"]
    found = fit(spec, likeness(spec))
    assert (found.loads, found.same_shapes) == (False, True)


def test_the_first_tensor_that_does_not_fit_is_named_with_both_shapes() -> None:
    spec = replace(RESNET50, width=72)
    found = fit(spec, likeness(spec, "resnet50"))
    assert not found.loads
    assert "conv1.weight: 72x3x7x7 here, 64x3x7x7 in torchvision's" in found.mismatches[0]


def test_what_one_side_lacks_is_counted_by_name() -> None:
    spec = ResNetSpec(depths=(3, 4, 6))
    found = fit(spec, likeness(spec, "resnet50"))
    missing = 3 * 3 * 6 + 6  # layer4: three blocks of three convolutions with a norm of five, one projection
    assert any(sentence.startswith(f"{missing} tensors are in torchvision's only") for sentence in found.mismatches)


def test_every_preset_of_a_library_is_that_librarys_net() -> None:
    for name, spec in PRESETS.items():
        like = likeness(spec, name)
        if name in timm.list_models() or name in torchvision.models.list_models():
            assert (like.name, like.fields) == (name, ()), name
