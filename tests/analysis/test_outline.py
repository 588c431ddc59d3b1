"""The outline tells a network without losing a number, and says what each block does for its shortcut."""

from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from strategies import FEW, specs
from torch import Tensor, nn
from torchvision import models

from explorer.analysis.layers import layer_table, stage_table, totals
from explorer.analysis.outline import Outline, Run, inside, is_sum, outline, volumes
from explorer.models.blocks import Block
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

FOREIGN = ("vgg16", "googlenet", "mobilenet_v2", "densenet121")


@cache
def table(net: str) -> pd.DataFrame:
    """A zoo name's layers; "torchvision" is torchvision's own ResNet-50 module."""
    return layer_table(models.resnet50() if net == "torchvision" else net)


@cache
def told(net: str) -> Outline:
    return outline(table(net))


def shortcuts(net: ResNetSpec | str) -> list[list[tuple[str, int]]]:
    network = told(net) if isinstance(net, str) else outline(layer_table(net))
    return [[(run.shortcut, run.count) for run in stage.runs] for stage in network.stages]


# Sums


@pytest.mark.parametrize("net", [*PRESETS, "torchvision", *FOREIGN])
def test_it_adds_up_to_the_layer_table(net: str) -> None:
    network, sums = told(net), totals(table(net))
    assert (network.params, network.macs) == (sums.params, sums.macs)
    rows = stage_table(table(net))
    rows = rows[~rows["stage"].isin(("stem", "head"))]
    assert [(stage.name, stage.params, stage.macs, stage.output_shape, stage.layers) for stage in network.stages] == [
        tuple(row) for row in rows[["stage", "params", "macs", "output_shape", "layers"]].itertuples(index=False)
    ]
    for stage in network.stages:
        if stage.runs:
            assert sum(run.params for run in stage.runs) == stage.params
            assert sum(run.macs for run in stage.runs) == stage.macs


def test_torchvisions_resnet50_has_its_published_counts() -> None:
    """Its weights' metadata: num_params 25557032, _ops 4.089 (ResNet50_Weights.IMAGENET1K_V1)."""
    network = told("torchvision")
    assert network.params == models.ResNet50_Weights.IMAGENET1K_V1.meta["num_params"] == 25_557_032
    assert network.macs == 4_089_184_256
    assert shortcuts("torchvision") == shortcuts("resnet50")


@FEW
@given(specs())
def test_every_block_is_told_once_with_its_own_numbers(spec: ResNetSpec) -> None:
    rows = layer_table(spec)
    network = outline(rows)
    assert tuple(stage.blocks for stage in network.stages) == spec.depths
    assert (network.params, network.macs) == (rows["params"].sum(), rows["macs"].sum())
    expected = rows.groupby(["stage", "block"])[["params", "macs"]].sum()
    for stage in network.stages:
        assert [run.first for run in stage.runs] == [1, *(run.last + 1 for run in stage.runs[:-1])]
        for run in stage.runs:
            for block in range(run.first, run.last + 1):
                assert (run.block_params, run.block_macs) == tuple(expected.loc[(stage.name, block)])
        for one, next_one in pairwise(stage.runs):
            assert signature(one) != signature(next_one)


def signature(run: Run) -> list[tuple[Any, ...]]:
    layers = (*run.main, *run.side, *run.gate)
    return [(inside(layer.name), layer.kernel, layer.stride, layer.input_shape, layer.params) for layer in layers]


@pytest.mark.parametrize("net", ["resnet50", "cifar_resnet20", "seresnet50"])
def test_the_layers_of_a_run_are_the_rows_of_its_first_block(net: str) -> None:
    rows = table(net)
    for stage in told(net).stages:
        for run in stage.runs:
            names = [layer.name for layer in (*run.main, *run.side, *run.gate)]
            first = rows[(rows["stage"] == stage.name) & (rows["block"] == run.first)]
            assert sorted(names) == sorted(first["name"])
    layer = told(net).stem[0]
    assert (layer.block, layer.groups, layer.output_shape) == (None, 1, rows["output_shape"][0])
    assert told(net).stem[1].groups is None


# Runs


def test_blocks_that_are_alike_are_told_once() -> None:
    def runs(net: str) -> list[list[tuple[int, int]]]:
        return [[(run.first, run.last) for run in stage.runs] for stage in told(net).stages]

    # He et al. 2015, table 1: 3, 8, 36, 3 blocks, the first of each with a projection
    assert runs("resnet152") == [[(1, 1), (2, last)] for last in (3, 8, 36, 3)]
    # section 4.2: n = 200; the first stage changes no shape
    assert runs("cifar_resnet1202") == [[(1, 200)], [(1, 1), (2, 200)], [(1, 1), (2, 200)]]
    assert runs("resnet18") == [[(1, 2)], *[[(1, 1), (2, 2)]] * 3]


def test_a_shared_weight_counts_once_so_its_blocks_are_not_alike() -> None:
    model = models.resnet18()
    model.layer1[1].conv1.weight = model.layer1[0].conv1.weight
    network = outline(layer_table(model))
    assert [(run.first, run.last) for run in network.stages[0].runs] == [(1, 1), (2, 2)]
    assert network.params == sum(parameter.numel() for parameter in model.parameters())


def test_a_block_is_called_by_the_kernels_of_its_main_branch() -> None:
    def designs(net: ResNetSpec | str) -> set[str]:
        network = told(net) if isinstance(net, str) else outline(layer_table(net))
        return {run.design for stage in network.stages for run in stage.runs}

    assert designs("resnet50") == designs("seresnet50") == designs("resnext50_32x4d") == {"bottleneck"}
    assert designs("resnet18") == designs("plain18") == {"basic"}
    assert designs(replace(PRESETS["resnet18"], attention="cbam", kernel_size=5)) == {"basic"}
    assert designs(replace(PRESETS["resnet50"], attention="eca", antialias="blur")) == {"bottleneck"}


@pytest.mark.parametrize("net", FOREIGN)
def test_a_net_without_named_blocks_has_stages_without_runs(net: str) -> None:
    rows = table(net)
    for stage in told(net).stages:
        kinds = rows[rows["stage"] == stage.name]["kind"]
        assert stage.runs == ()
        assert stage.joins == (kinds == "add").sum() + (kinds == "concat").sum()


# Shortcuts


def test_what_stands_on_the_shortcut_says_its_kind() -> None:
    b = PRESETS["resnet50"]
    assert shortcuts(b) == [[("projection", 1), ("identity", depth - 1)] for depth in (3, 4, 6, 3)]
    assert shortcuts("resnet18") == [[("identity", 2)], *[[("projection", 1), ("identity", 1)]] * 3]
    assert shortcuts("cifar_resnet20") == [[("identity", 3)], *[[("padded", 1), ("identity", 2)]] * 2]
    c = shortcuts(replace(b, shortcut="C", downsample="avg"))
    assert c == [[("projection", 1), ("projection", depth - 1)] for depth in (3, 4, 6, 3)]
    dilated = layer_table(replace(PRESETS["resnet18"], downsample="avg", output_stride=8))
    assert {"pad", "pool", "conv"} <= set(dilated[dilated["name"].str.contains("downsample")]["kind"])
    assert [run.shortcut for stage in outline(dilated).stages for run in stage.runs].count("projection") == 3
    assert shortcuts("plain18") == [[("none", 2)], *[[("none", 1), ("none", 1)]] * 3]


@pytest.mark.parametrize("gate", ["highway", "gated"])
def test_a_gate_is_told_apart_from_the_gate_of_an_attention(gate: str) -> None:
    spec = replace(PRESETS["resnet50"], shortcut=gate, attention="se")
    for stage in outline(layer_table(spec)).stages:
        assert {run.shortcut for run in stage.runs} == {"gated"}
        for run in stage.runs:
            assert {inside(layer.name).split(".")[0] for layer in run.gate} == {"gate"}
            assert sum(layer.kind == "multiply" for layer in run.gate) == (2 if gate == "highway" else 1)
            assert "se.gate" in {inside(layer.name) for layer in run.main}
    assert not any(run.gate for stage in told("seresnet50").stages for run in stage.runs)


def test_a_sum_inside_of_an_attention_is_no_shortcut() -> None:
    spec = replace(PRESETS["plain18"], attention="cbam")
    network = outline(layer_table(spec))
    assert {run.shortcut for stage in network.stages for run in stage.runs} == {"none"}
    assert {layer.kind for layer in network.stages[0].runs[0].main} >= {"add", "concat"}
    residual = outline(layer_table(replace(spec, residual=True)))
    assert [sum(map(is_sum, run.main)) for run in residual.stages[0].runs] == [1]


ORDERS = ("original", "bn_after_add", "relu_before_add", "relu_preact", "preact")


@pytest.mark.parametrize("shortcut", ["A", "B", "C", "highway"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_shortcut_leaves_where_the_network_takes_it_from(order: str, norm: str, shortcut: str) -> None:
    """Oracle: the tensors themselves, in a forward pass."""
    spec = ResNetSpec(
        block="basic",
        depths=(2, 2),
        width=8,
        stem="cifar",
        image_size=(8, 8),
        num_classes=2,
        activation_order=order,
        norm=norm,
        shortcut=shortcut,
    )
    network = outline(layer_table(spec))
    seen = 0
    for block, taken in taken_from(spec).items():
        stage, number = int(block[len("layer")]), int(block.split(".")[1]) + 1
        run = next(run for run in network.stages[stage - 1].runs if run.first <= number <= run.last)
        before = [inside(layer.name) for layer in run.main[: run.leaves]]
        assert taken["downsample"] in (None, "" if not before else before[-1]), block
        assert taken["gate"] in (None, ""), block
        seen += taken["downsample"] is not None
    assert seen == {"A": 1, "B": 1, "C": 4, "highway": 1}[shortcut]


def taken_from(spec: ResNetSpec) -> dict[str, dict[str, str | None]]:
    """Which layer's output the shortcut and the gate of each block read: "" is the block's input, None is nothing."""
    model = build(spec).eval()
    made: dict[str, dict[str, Tensor]] = defaultdict(dict)
    read: dict[str, dict[str, str | None]] = {}

    def name_of(block: str, x: Tensor) -> str:
        return next(name for name, output in made[block].items() if output is x)

    def watch(block: str, module: Block) -> None:
        module.register_forward_pre_hook(lambda _, args: made[block].update({"": args[0]}))
        for name in ("fork", "bn1", "relu1", "conv1"):
            child = getattr(module, name, None)
            if isinstance(child, nn.Module):
                child.register_forward_hook(lambda _, args, output, name=name: made[block].update({name: output}))
        read[block] = {"downsample": None, "gate": None}
        for part in ("downsample", "gate"):
            child = getattr(module, part)
            if child is not None:
                child.register_forward_pre_hook(
                    lambda _, args, part=part: read[block].update({part: name_of(block, args[0])})
                )

    for name, module in model.named_modules():
        if isinstance(module, Block):
            watch(name, module)
    with torch.no_grad():
        model(torch.randn(1, spec.in_channels, *spec.image_size))
    return read


# Volumes


def test_a_volume_for_each_shape_on_the_way() -> None:
    """He et al. 2015, table 1."""
    assert [(volume.names, volume.shape) for volume in volumes(told("resnet50"))] == [
        (("image",), (3, 224, 224)),
        (("conv1",), (64, 112, 112)),
        (("maxpool",), (64, 56, 56)),
        (("stage 1",), (256, 56, 56)),
        (("stage 2",), (512, 28, 28)),
        (("stage 3",), (1024, 14, 14)),
        (("stage 4",), (2048, 7, 7)),
        (("avgpool",), (2048, 1, 1)),
        (("fc",), (1000, 1, 1)),
    ]


def test_a_stage_that_changes_no_shape_stands_with_what_is_before_it() -> None:
    assert [volume.names for volume in volumes(told("cifar_resnet20"))][1] == ("conv1", "stage 1")
    spec = replace(PRESETS["cifar_resnet20"], strides=(1, 1, 1), stage_widths=(16, 16, 16))
    assert [volume.names for volume in volumes(outline(layer_table(spec)))] == [
        ("image",),
        ("conv1", "stage 1", "stage 2", "stage 3"),
        ("avgpool",),
        ("fc",),
    ]


@FEW
@given(specs())
def test_volumes_begin_with_the_image_and_end_with_the_classes(spec: ResNetSpec) -> None:
    found = volumes(outline(layer_table(spec)))
    assert found[0].shape == (spec.in_channels, *spec.image_size)
    assert found[-1].shape == (spec.num_classes, 1, 1)
    assert all(one.shape != other.shape for one, other in pairwise(found))
    named = [name for volume in found for name in volume.names if name.startswith("stage ")]
    assert named == [f"stage {stage + 1}" for stage in range(len(spec.depths))]
