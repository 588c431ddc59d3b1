"""Every network that the Compare page is there for, by the name that a person types: built, tabled, counted.

All of torchvision's are compared with PyTorch's counter in test_layers.py, layers and shapes of the historic nets with
their papers in tests/models/test_historic.py, depths in test_depth.py. Here: what each entry adds up to.
"""

from functools import cache
from itertools import pairwise

import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.layers import layer_table, stage_table, totals
from explorer.models import zoo
from explorer.models.historic import GoogLeNet2014
from explorer.models.observe import frozen
from explorer.spec import PRESETS

TORCHVISION = (
    *("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    *("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)

# Separable layers behind the stem: channels out, and side of the map (Howard et al. 2017, table 1).
_MOBILENET_V1 = (
    *((64, 112), (128, 56), (128, 56), (256, 28), (256, 28), (512, 14)),
    *([(512, 14)] * 5),
    *((1024, 7), (1024, 7)),
)


def mobilenet_v1() -> tuple[int, int]:
    """Parameters, batch norm's two a channel included, and multiply-accumulates."""
    c_in, params, macs = 32, 27 * 32 + 2 * 32, 27 * 32 * 112**2
    for c_out, side in _MOBILENET_V1:
        params += 9 * c_in + 2 * c_in + c_in * c_out + 2 * c_out
        macs += (9 * c_in + c_in * c_out) * side**2
        c_in = c_out
    return params + 1024 * 1000 + 1000, macs + 1024 * 1000


# Parameters and multiply-accumulates of the entries that torchvision does not have.
OURS_AND_TIMMS = {
    "alexnet_2012": (60_965_224, 724_406_816),  # as Caffe's bvlc_alexnet
    "googlenet_2014": (6_998_552, 1_582_671_872),  # as Caffe's bvlc_googlenet, with biases and no batch norm
    "highway19_2015": (2_256_838, 330_826_728),  # the authors' Caffe log: 2,265,928 with a last layer of 100
    "mobilenetv1_100": (4_231_976, 568_740_352),
}

# Highway in the app is a ResNet whose shortcuts are gated: each gate is a 1x1 convolution with a bias.
HIGHWAY = {"cifar_resnet20 shortcut=highway": 20, "cifar_resnet56 shortcut=highway": 56}


@cache
def table(name: str) -> pd.DataFrame:
    return layer_table(name)


def counter(name: str) -> tuple[int, int]:
    """Parameters of the module, and multiply-accumulates of PyTorch's own counter."""
    model, shape = zoo.network(name)
    with frozen(model), FlopCounterMode(display=False) as flops:
        model(torch.empty(1, *shape, device="meta"))
    assert flops.get_total_flops() % 2 == 0
    return sum(parameter.numel() for parameter in model.parameters()), flops.get_total_flops() // 2


@pytest.mark.parametrize("name", [*TORCHVISION, *OURS_AND_TIMMS, *HIGHWAY])
def test_an_entry_is_tabled_from_its_image_to_its_classes_and_by_stage(name: str) -> None:
    found, stages = table(name), stage_table(table(name))
    _, shape = zoo.network(name)
    assert found.input_shape.iloc[0] == shape
    assert found.output_shape.iloc[-1] == ((10,) if shape[1] == 32 else (1000,))
    for column in ("params", "macs", "activation_bytes"):
        assert found[column].sum() == stages[column].sum() > 0
    assert found.loc[found.macs > 0, "kind"].isin(["conv", "linear"]).all()
    assert found.loc[found.kind.isin(["conv", "linear"]), ["params", "macs"]].gt(0).all(axis=None)


@pytest.mark.parametrize("name", TORCHVISION)
def test_an_entry_adds_up_to_what_torchvision_prints(name: str) -> None:
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    total = totals(table(name))
    heads = 0
    if name == "inception_v3":  # torchvision counts the auxiliary head with it
        heads = 768 * 128 + 128 * 768 * 5 * 5 + 2 * (128 + 768) + 768 * 1000 + 1000
    assert total.params + heads == meta["num_params"]
    assert round(total.macs / 10**9, 3) == meta["_ops"]


@pytest.mark.parametrize("name", sorted({*TORCHVISION} & {*PRESETS}))
def test_an_entry_that_is_a_preset_counts_as_torchvisions(name: str) -> None:
    assert zoo.entry(name).library == "explorer"
    assert (totals(table(name)).params, totals(table(name)).macs) == counter(f"torchvision/{name}")


@pytest.mark.parametrize("name", OURS_AND_TIMMS)
def test_an_entry_adds_up_to_its_published_count_and_to_pytorchs(name: str) -> None:
    total = totals(table(name))
    assert (total.params, total.macs) == OURS_AND_TIMMS[name] == counter(name)


def test_mobilenet_v1_is_its_papers_table() -> None:
    assert mobilenet_v1() == OURS_AND_TIMMS["mobilenetv1_100"]


def test_vgg16_is_its_papers_configuration_d() -> None:
    widths = (3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6)
    weights = sum(9 * c_in * c_out + c_out for c_in, c_out in pairwise(widths))
    linear = sum(c_in * c_out + c_out for c_in, c_out in ((7 * 7 * 512, 4096), (4096, 4096), (4096, 1000)))
    assert totals(table("vgg16")).params == weights + linear == 138_357_544


@pytest.mark.parametrize(("batch_norm", "params"), [(False, 6_998_552), (True, 7_005_832)])
def test_googlenet_with_its_5x5_kernels_has_both_published_counts(batch_norm: bool, params: int) -> None:
    """Caffe's, with a bias a channel; and with batch norm's two instead: as many MACs."""
    model: nn.Module = GoogLeNet2014(auxiliary=False, batch_norm=batch_norm)
    total = totals(layer_table(model))
    assert (total.params, total.macs) == (params, OURS_AND_TIMMS["googlenet_2014"][1])


@pytest.mark.parametrize("name", HIGHWAY)
def test_a_highway_resnet_is_its_resnet_and_a_gate_a_block(name: str) -> None:
    plain = totals(table(f"cifar_resnet{HIGHWAY[name]} shortcut=B"))
    blocks = (HIGHWAY[name] - 2) // 6
    params = macs = 0
    for stage, (width, side) in enumerate(((16, 32), (32, 16), (64, 8))):
        c_ins = [width if stage == 0 else width // 2, *[width] * (blocks - 1)]
        params += sum(c_in * width + width for c_in in c_ins)
        macs += sum(c_in * width * side**2 for c_in in c_ins)
    total = totals(table(name))
    assert (total.params, total.macs) == (plain.params + params, plain.macs + macs) == counter(name)
