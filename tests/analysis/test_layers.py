"""The layer table against papers, libraries, PyTorch's own counter and real forward passes."""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision
from hypothesis import given
from strategies import FEW, specs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.layers import layer_table, layers, stage_table, totals
from explorer.analysis.rules import DoesNotFit, UnknownOperator
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec, SpecError

TABLES = Path(__file__).parents[1] / "tables"


def published(table: str) -> dict[str, Any]:
    """Numbers of tests/tables, each file with its source, url and convention."""
    content: dict[str, Any] = json.loads((TABLES / f"{table}.json").read_text())
    return content


MEASURED = published("measured_counts")
TABLE1 = published("he2015_table1")["gmacs"]
TABLE5 = published("he2018_table5")["gmacs"]
PYCLS = published("pycls_complexity")["networks"]
HOWARD = published("howard2017")

RESNET18_A = replace(PRESETS["resnet18"], shortcut="A")
V1 = {
    "resnet101_v1": replace(PRESETS["resnet101"], stride_on="1x1"),
    "resnet152_v1": replace(PRESETS["resnet152"], stride_on="1x1"),
    "resnet18_a": RESNET18_A,
}

# All of torchvision's CNN classifiers but the giants, and the small ones of its RegNets.
GIANTS = ("convnext_base", "convnext_large", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7")
TORCHVISION = [
    name
    for name in zoo._torchvision_names()
    if not name.startswith(("regnet", "efficientnet_v2_m", "efficientnet_v2_l", *GIANTS))
] + ["regnet_x_400mf", "regnet_y_400mf"]

TIMM = (
    *("mobilenetv1_100", "tf_efficientnet_lite0", "resnet50d", "seresnet50", "resnetv2_50", "skresnet18"),
    *("resnest14d", "res2net50_26w_4s", "resnetblur18", "convnext_atto", "ghostnet_100", "xception41"),
    *("hrnet_w18_small", "inception_v4", "mixnet_s", "vgg16", "nf_resnet50", "resnetv2_50x1_bit"),
)


@cache
def counted(name: str) -> pd.DataFrame:
    return layer_table(name)


def macs_by_torch(model: nn.Module, shape: tuple[int, ...], device: str = "meta") -> float:
    """PyTorch's own counter; its flops are two for each multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape, device=device))
    return float(counter.get_total_flops() / 2)


def params_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- papers


@pytest.mark.parametrize("file", sorted(TABLES.glob("*.json")), ids=lambda file: file.stem)
def test_every_table_of_numbers_names_its_source_and_convention(file: Path) -> None:
    content = json.loads(file.read_text())
    assert content["source"]
    for part in content.get("blocks", [content]):
        assert part["url"].startswith("https://")
    assert content["convention"]


@pytest.mark.parametrize("depth", sorted(TABLE1, key=int))
def test_he_et_al_print_our_macs_cut_off_or_rounded(depth: str) -> None:
    change = {"shortcut": "A"} if int(depth) < 50 else {"stride_on": "1x1"}
    gmacs = totals(layer_table(replace(PRESETS[f"resnet{depth}"], **change))).macs / 10**9
    assert TABLE1[depth] in (math.floor(gmacs * 10) / 10, round(gmacs, 1))


@pytest.mark.parametrize(
    ("printed", "preset"), [("ResNet-50", "resnet50_v1"), ("ResNet-50-B", "resnet50"), ("ResNet-50-D", "resnet50d")]
)
def test_the_bag_of_tricks_prints_our_macs_cut_off_or_rounded(printed: str, preset: str) -> None:
    gmacs = totals(counted(preset)).macs / 10**9
    assert TABLE5[printed] in (math.floor(gmacs * 10) / 10, round(gmacs, 1))


def test_the_mobilenet_paper_prints_our_counts() -> None:
    total = totals(counted("mobilenetv1_100"))
    assert round(total.macs / 10**6) == HOWARD["million_macs"]
    assert round(total.params / 10**6, 1) == HOWARD["million_params"]


@pytest.mark.parametrize("name", sorted(PYCLS))
def test_pycls_counts_the_same(name: str) -> None:
    theirs = PYCLS[name]
    table = layer_table(replace(PRESETS[theirs["preset"]], shortcut=theirs["shortcut"]))
    weighed = table[table.kind.isin(["conv", "linear"]) | table.name.eq("maxpool")]
    [classes] = table.output_shape.iloc[-1]
    assert int(table.params.sum()) == theirs["params"]
    assert int(table.macs.sum()) + classes == theirs["flops"]  # it counts the biases of its head
    assert int(weighed.activation_bytes.sum()) == 4 * theirs["acts"]


@pytest.mark.parametrize("name", sorted(MEASURED["macs"]))
def test_measured_macs(name: str) -> None:
    specs_of = {**PRESETS, **V1, "resnet34_a": PRESETS["resnet34_a"]}
    assert totals(layer_table(specs_of[name])).macs == MEASURED["macs"][name]


def test_measured_macs_of_resnet50s_stages() -> None:
    table = stage_table(counted("resnet50"))
    assert dict(zip(table.stage, map(int, table.macs), strict=True)) == MEASURED["stage_macs"]["resnet50"]


def test_a_variant_is_one_replace() -> None:
    table = layer_table(replace(PRESETS["resnet50"], cardinality=32, width_per_group=4))
    assert (int(table.params.sum()), int(table.macs.sum())) == (25028904, 4230479872)


def test_the_first_convolution_is_arithmetic() -> None:
    row = counted("resnet18").iloc[0]
    assert row["name"] == "conv1"
    assert (row.kernel, row.stride, row.padding, row.dilation) == ((7, 7), (2, 2), (3, 3), (1, 1))
    assert row.groups == 1
    assert (row.input_shape, row.output_shape) == ((3, 224, 224), (64, 112, 112))
    assert row.params == 64 * 3 * 7 * 7
    assert row.macs == 64 * 112 * 112 * 3 * 7 * 7


# --- torchvision's own figures


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_prints_our_macs(name: str) -> None:
    printed = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert round(totals(counted(f"torchvision/{name}")).macs / 10**9, 3) == printed


@pytest.mark.parametrize("name", sorted(set(TORCHVISION) - {"inception_v3"}))
def test_torchvision_prints_our_parameters(name: str) -> None:
    printed = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    assert totals(counted(f"torchvision/{name}")).params == printed


def test_torchvision_counts_the_auxiliary_head_of_inception_v3_with_it() -> None:
    convolutions = 768 * 128 + 128 * 768 * 5 * 5
    norms = 2 * (128 + 768)
    printed = torchvision.models.get_model_weights("inception_v3").DEFAULT.meta["num_params"]
    assert totals(counted("torchvision/inception_v3")).params + convolutions + norms + 768 * 1000 + 1000 == printed


# --- PyTorch's counter


@pytest.mark.parametrize("name", [*(f"torchvision/{name}" for name in TORCHVISION), *(f"timm/{name}" for name in TIMM)])
def test_pytorchs_counter_counts_the_same_and_no_parameter_is_missed(name: str) -> None:
    model, shape = zoo.network(name)
    assert totals(counted(name)).macs == macs_by_torch(model, shape)
    assert totals(counted(name)).params == params_of(model)


@FEW
@given(specs())
def test_the_table_of_any_spec_is_what_a_forward_pass_does(spec: ResNetSpec) -> None:
    model = build(spec, "cpu").eval()
    table = layer_table(spec)
    leaves = {module: name for name, module in model.named_modules() if not any(module.children())}
    seen: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for module in leaves:
        module.register_forward_hook(
            lambda module, inputs, output: seen.append(
                (leaves[module], tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
            )
        )
    assert int(table.macs.sum()) == macs_by_torch(model, (spec.in_channels, *spec.image_size), "cpu")
    modules = table[table.name.isin(leaves.values())]
    assert list(zip(modules.name, modules.input_shape, modules.output_shape, strict=True)) == seen
    functions = [name.split(".") for name in set(table.name) - set(leaves.values())]
    assert {parts[-2] for parts in functions} <= {"se", "gate"}
    allowed = {
        "none": set(),
        "se": {"mul"},
        "eca": {"flatten", "transpose", "mul", "unsqueeze"},
        "cbam": {"add", "mul", "mean", "amax", "cat"},
    }
    assert {parts[-1] for parts in functions if parts[-2] == "se"} == allowed[spec.attention]
    gated = {"highway": {"mul", "sub"}, "gated": {"mul", "sub"}}.get(spec.shortcut, set()) if spec.residual else set()
    assert {parts[-1] for parts in functions if parts[-2] == "gate"} == gated
    assert int(table.params.sum()) == params_of(model)

    total, stages = totals(table), stage_table(table)
    assert total.layers == len(table) == stages.layers.sum()
    for column in ("params", "macs", "activation_bytes"):
        assert getattr(total, column) == table[column].sum() == stages[column].sum()


@FEW
@given(specs())
def test_stages_and_blocks_are_those_of_the_spec(spec: ResNetSpec) -> None:
    table = layer_table(spec)
    inside = table[table.block.notna()]
    found = {stage: list(dict.fromkeys(rows.block)) for stage, rows in inside.groupby("stage", sort=False)}
    assert found == {str(n): list(range(1, depth + 1)) for n, depth in enumerate(spec.depths, 1)}
    assert list(dict.fromkeys(table.stage)) == ["stem", *found, "head"]
    last = inside.groupby("stage", sort=False).output_shape.last()
    assert [shape[0] for shape in last] == [
        spec.stage_width(n) * spec.expansion for n in range(1, len(spec.depths) + 1)
    ]


# --- memory


def test_activation_bytes_are_four_for_each_number_that_a_layer_puts_out() -> None:
    size = dict(zip(counted("resnet18").name, counted("resnet18").activation_bytes, strict=True))
    assert size["conv1"] == size["bn1"] == size["relu"] == 4 * 64 * 112 * 112
    assert size["maxpool"] == size["layer1.0.conv1"] == size["layer1.0.add"] == 4 * 64 * 56 * 56
    assert size["layer2.0.downsample.0"] == 4 * 128 * 28 * 28
    assert size["avgpool"] == 4 * 512
    assert size["fc"] == 4 * 1000


@pytest.mark.parametrize(
    ("net", "layer", "kind"),
    [
        ("resnet18", "flatten", "reshape"),
        ("alexnet", "classifier.0", "dropout"),
        ("convnext_tiny", "features.1.0.stochastic_depth", "dropout"),
        (replace(PRESETS["resnet18"], norm="none"), "bn1", "identity"),
    ],
)
def test_a_view_takes_no_memory(net: Any, layer: str, kind: str) -> None:
    [row] = [row for row in layers(net) if row.name == layer]
    assert (row.kind, row.activation_bytes) == (kind, 0)


def test_option_a_pads_into_new_memory_without_parameters() -> None:
    [row] = [layer for layer in layers(RESNET18_A) if layer.name == "layer2.0.downsample"]
    assert (row.kind, row.params, row.macs) == ("pad", 0, 0)
    assert (row.input_shape, row.output_shape) == ((64, 56, 56), (128, 28, 28))
    assert row.activation_bytes == 4 * 128 * 28 * 28


def test_the_largest_net_that_a_spec_allows_is_counted_without_overflow() -> None:
    wide = ResNetSpec(depths=(200,) * 5, width=512, width_per_group=512, stem="cifar", shortcut="C")
    spec = replace(wide, output_stride=8, image_size=(1024, 1024))
    with pytest.raises(SpecError, match="multiply-accumulates"):
        replace(spec, image_size=(2048, 2048))
    rows = layers(spec)
    table = pd.DataFrame(rows)
    for column in ("params", "macs", "activation_bytes"):
        exact = sum(getattr(row, column) for row in rows)
        assert 10**12 < exact < 2**63
        assert int(table[column].sum()) == exact


# --- image sizes


def test_macs_of_convolutions_grow_with_the_image_and_parameters_stay() -> None:
    small, large = totals(counted("resnet18")), totals(layer_table("resnet18", (448, 448)))
    fc = 512 * 1000
    assert large.macs - fc == 4 * (small.macs - fc)
    assert large.params == small.params


@pytest.mark.parametrize("net", [PRESETS["resnet18"], "resnet18", "torchvision/resnet18", build(PRESETS["resnet18"])])
def test_an_image_size_may_be_given_for_every_kind_of_network(net: Any) -> None:
    first = layer_table(net, (64, 96)).iloc[0]
    assert (first.input_shape, first.output_shape) == ((3, 64, 96), (64, 32, 48))


def test_a_module_of_ones_own_is_counted_at_224_pixels_with_its_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1))
    assert layer_table(model).input_shape[0] == (1, 224, 224)


def test_an_image_too_small_for_alexnet_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        DoesNotFit,
        match=r"^An image of 32x32 with 3 channels does not go through this network: at features\.\d+, a 3x3 window "
        r"does not fit on its \dx\d feature map; the output would be below 1x1\.$",
    ):
        layer_table("alexnet", (32, 32))


def test_an_image_too_small_for_a_spec_is_refused_by_the_spec() -> None:
    with pytest.raises(SpecError, match=r"^image_size \(=\(16, 16\)\) is too small"):
        layer_table(PRESETS["resnet50"], (16, 16))


def test_an_image_as_small_as_torchvision_takes_is_counted() -> None:
    model, _ = zoo.network("squeezenet1_1")
    shape = (3, 17, 17)
    assert totals(layer_table("squeezenet1_1", (17, 17))).macs == macs_by_torch(model, shape)


# --- a module that a person gives


def tuned(*, unknown: bool = False) -> nn.Module:
    """A net in the middle of some work: frozen parts, mixed modes, a gradient, a hook."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ConvTranspose2d(4, 3, 3))
    model = model if unknown else model[:3]
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    return model


def condition(model: nn.Module) -> list[object]:
    parameters = [(id(p), p.device.type, p.requires_grad, p.grad is None, p.tolist()) for p in model.parameters()]
    buffers = [(id(b), b.device.type, b.tolist()) for b in model.buffers()]
    modules = [(id(m), m.training, m.forward, sorted(vars(m)), len(m._forward_hooks)) for m in model.modules()]
    return [parameters, buffers, modules]


def test_a_given_module_is_left_as_it_was() -> None:
    model = tuned()
    before = condition(model)
    assert len(layer_table(model)) == 3
    assert condition(model) == before


def test_a_given_module_is_left_as_it_was_after_a_refusal() -> None:
    model = tuned(unknown=True)
    before = condition(model)
    with pytest.raises(UnknownOperator):
        layer_table(model)
    assert condition(model) == before


def test_a_given_module_is_counted_as_in_evaluation() -> None:
    class Auxiliary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x if self.training else x * x

    assert [layer.kind for layer in layers(Auxiliary().train())] == ["multiply"]


def test_tables_that_are_made_at_once_do_not_disturb_one_another() -> None:
    names = ["resnet18", "googlenet", "mobilenet_v3_large", "cifar_resnet20"] * 3
    expected = [totals(counted(name)) for name in names]
    with ThreadPoolExecutor(4) as threads:
        assert [totals(table) for table in threads.map(layer_table, names)] == expected


def test_a_model_may_run_while_another_thread_analyses() -> None:
    # torch.fx replaces nn.Module.__call__ for the whole process while it traces; an analysis must not.
    model = build(replace(PRESETS["cifar_resnet20"], width=4), "cpu").eval()
    image = torch.randn(1, 3, 32, 32)
    expected = model(image)
    with ThreadPoolExecutor(2) as threads:
        tables = [threads.submit(layer_table, "resnet18") for _ in range(12)]
        while not all(table.done() for table in tables):
            assert torch.equal(model(image), expected)
    assert {totals(table.result()) for table in tables} == {totals(layer_table("resnet18"))}


def test_a_module_that_is_used_twice_has_its_parameters_once_and_its_macs_twice() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    table = layer_table(nn.Sequential(conv, nn.ReLU(), conv), (5, 5))
    assert list(table.name) == ["0", "1", "0"]
    assert list(table.params) == [3 * 3 * 9 + 3, 0, 0]
    assert list(table.macs) == [3 * 3 * 9 * 25, 0, 3 * 3 * 9 * 25]


def test_a_weight_that_two_layers_share_is_counted_once() -> None:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    table = layer_table(nn.Sequential(first, second), (5, 5))
    assert list(table.params) == [3 * 3 + 3, 3]


def test_a_parameter_that_the_code_itself_uses_is_counted() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x

    [product] = layers(Scaled(), (5, 6))
    assert (product.name, product.kind, product.params) == ("mul", "multiply", 3)
    assert product.input_shape == product.output_shape == (3, 5, 6)
    assert product.activation_bytes == 4 * 3 * 5 * 6


def test_a_linear_layer_counts_every_position() -> None:
    table = layer_table(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(6, 5)), (7, 6))
    assert table.output_shape[1] == (4, 7, 5)
    assert table.macs[1] == 4 * 7 * 5 * 6


# --- stages and blocks


def rows(name: str, keep: Callable[[Any], bool]) -> list[Any]:
    return [row for row in counted(name).itertuples() if keep(row)]


def test_resnet50_has_its_stem_four_stages_and_a_head() -> None:
    table = counted("resnet50")
    assert list(dict.fromkeys(table.stage)) == ["stem", "1", "2", "3", "4", "head"]
    assert list(table[table.stage == "stem"].name) == ["conv1", "bn1", "relu", "maxpool"]
    assert list(table[table.stage == "head"].name) == ["avgpool", "flatten", "fc"]
    assert list(table.groupby("stage").block.max()[["1", "2", "3", "4"]]) == [3, 4, 6, 3]
    blocks = table.dropna(subset="block")
    assert all(row.name.startswith(f"layer{row.stage}.{row.block - 1}.") for row in blocks.itertuples())


def test_a_pre_activation_net_has_its_last_norm_in_the_head() -> None:
    table = counted("resnetv2_50")
    assert list(table[table.stage == "head"].name) == ["final_bn", "final_relu", "avgpool", "flatten", "fc"]


def test_vgg16_is_divided_by_resolution() -> None:
    table = counted("vgg16")
    convs = table[table.kind == "conv"]
    assert convs.groupby("stage").size().to_dict() == {"1": 2, "2": 2, "3": 3, "4": 3, "5": 3}
    sides = {str(stage): 224 // 2 ** (stage - 1) for stage in range(1, 7)}
    assert all(row.output_shape[-1] == sides[row.stage] for row in table.itertuples() if row.stage != "head")
    assert set(table[table.kind == "linear"].stage) == {"head"}
    assert table.block.isna().all()


def test_googlenet_is_divided_by_resolution() -> None:
    def stages(module: str) -> set[str]:
        return {row.stage for row in rows("googlenet", lambda row: row.name.startswith(module))}

    assert stages("inception3") == {"3"}
    assert stages("inception4") == {"4"}
    assert stages("inception5") == {"5"}
    assert stages("conv1") == {"1"}
    assert stages("fc") == stages("avgpool") == {"head"}


def test_squeeze_excitation_stays_in_the_stage_around_it() -> None:
    table = list(counted("mobilenet_v3_large").itertuples())
    squeezes = [n for n, row in enumerate(table) if row.kind == "pool" and row.stage != "head"]
    assert len(squeezes) == 8
    for n in squeezes:
        assert {row.stage for row in table[n : n + 6]} == {table[n - 1].stage}
        assert table[n + 5].kind == "multiply"
        assert table[n + 5].input_shape == table[n + 5].output_shape == table[n].input_shape


def test_a_head_whose_norm_has_its_channels_last_is_a_head() -> None:
    head = rows("convnext_tiny", lambda row: row.stage == "head")
    assert head[0].name == "avgpool"
    assert sum(row.params for row in head) == 2 * 768 + 768 * 1000 + 1000


def test_a_net_with_more_than_named_stages_is_divided_by_resolution() -> None:
    head = rows("timm/hrnet_w18_small", lambda row: row.stage == "head")
    assert {row.kind for row in head} <= {"pool", "reshape", "identity", "dropout", "linear"}


def test_the_shape_that_leaves_a_stage_is_in_the_stage_table() -> None:
    table = stage_table(counted("resnet50"))
    assert list(table.output_shape) == [
        *((64, 56, 56), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7), (1000,)),
    ]


# --- refusals


@pytest.mark.parametrize(("name", "operator"), [("timm/halonet26t", "unfold")])
def test_a_network_with_an_operator_without_a_rule_is_refused(name: str, operator: str) -> None:
    with pytest.raises(UnknownOperator, match=rf"^There is no rule for the operator \S*{operator}, so its"):
        layer_table(name)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(zoo.UnknownNetwork, match="near names are"):
        layer_table("resnet51")
