"""AlexNet, GoogLeNet and a Highway network beside their papers, torchvision's networks and PyTorch's counter."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.layers import layer_table
from explorer.analysis.receptive import receptive_fields
from explorer.analysis.rules import DoesNotFit
from explorer.models import zoo
from explorer.models.historic import AlexNet2012, AuxiliaryHead, GoogLeNet2014, Highway2015, HighwayLayer, Inception
from explorer.models.observe import evaluating
from explorer.spec import PRESETS

TABLES = Path(__file__).parents[1] / "tables"
KRIZHEVSKY = json.loads((TABLES / "krizhevsky2012.json").read_text())
SZEGEDY = json.loads((TABLES / "szegedy2014_table1.json").read_text())["rows"]
HIGHWAY = json.loads((TABLES / "srivastava2015_highway19.json").read_text())
DISTILL = json.loads((TABLES / "receptive_fields.json").read_text())["end_points"]["alexnet"]

NAMES = ("alexnet_2012", "googlenet_2014", "highway19_2015")
MAKERS = [(AlexNet2012, 227, 1000), (GoogLeNet2014, 224, 1000), (Highway2015, 32, 10)]  # with their images and classes

# Table 1 of Szegedy et al.: channels in; 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection.
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


@cache
def table(name: str) -> pd.DataFrame:
    return layer_table(name).set_index("name")


def on_meta(make: Callable[..., nn.Module], **settings: int) -> nn.Module:
    with torch.device("meta"):
        return make(**settings)


def params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}


# --- the zoo


def test_the_zoo_has_them_behind_our_presets() -> None:
    found = zoo.names()
    assert found[len(PRESETS) : len(PRESETS) + 3] == NAMES


@pytest.mark.parametrize(("name", "side"), [*zip(NAMES, (227, 224, 32), strict=True)])
@pytest.mark.parametrize("prefix", ["", "explorer/"])
def test_the_zoo_builds_them_on_the_meta_device_with_their_own_input(prefix: str, name: str, side: int) -> None:
    entry = zoo.entry(prefix + name)
    assert (entry.name, entry.library) == (name, "explorer")
    model, shape = entry.build("meta")
    assert shape == (3, side, side)
    assert zoo.network(prefix + name, (240, 250))[1] == (3, 240, 250)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_the_zoo_leaves_the_auxiliary_heads_out() -> None:
    model, _ = zoo.network("googlenet_2014")
    assert not any(isinstance(module, AuxiliaryHead) for module in model.modules())


@pytest.mark.parametrize("name", ["torchvision/alexnet_2012", "timm/googlenet_2014", "alexnet_2013", "highway32_2015"])
def test_no_library_has_them_and_near_names_are_told(name: str) -> None:
    with pytest.raises(zoo.UnknownNetwork, match=r"near names are .*_201[245]"):
        zoo.entry(name)


# --- all of them


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_those_of_pytorchs_own_counter(name: str) -> None:
    model, shape = zoo.network(name)
    with evaluating(model), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *shape, device="meta"))
    assert table(name).macs.sum() * 2 == counter.get_total_flops()


@pytest.mark.parametrize(("make", "side", "classes"), MAKERS)
def test_a_forward_pass_gives_finite_logits(make: Callable[[], nn.Module], side: int, classes: int) -> None:
    model = make().eval()
    with torch.no_grad():
        logits = model(torch.rand(2, 3, side, side))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("make", "side", "classes"), MAKERS)
def test_each_relu_is_a_module_of_its_own_used_once_and_not_in_place(
    make: Callable[[], nn.Module], side: int, classes: int
) -> None:
    model = on_meta(make)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    logits = 1 + sum(isinstance(module, AuxiliaryHead) for module in model.modules())  # no ReLU behind these
    gates = sum(isinstance(module, HighwayLayer) for module in model.modules())  # behind these a sigmoid
    assert len(relus) == len(layers) - logits - gates
    assert not any(relu.inplace for relu in relus)
    calls: list[nn.Module] = []
    for relu in relus:
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    model(torch.empty(1, 3, side, side, device="meta"))
    assert sorted(map(id, calls)) == sorted(map(id, relus))


@pytest.mark.parametrize("name", NAMES)
def test_modules_stand_in_the_order_of_calls(name: str) -> None:
    model, _ = zoo.network(name)
    leaves = [own for own, module in model.named_modules() if not list(module.children())]
    called = [own for own in table(name).index if own.rpartition(".")[2] not in ("cat", "mul", "sub")]  # functions
    assert called == leaves


# --- AlexNet

ALEXNET = {  # weights, then biases
    "conv1": 11 * 11 * 3 * 96 + 96,
    "conv2": 5 * 5 * 48 * 256 + 256,
    "conv3": 3 * 3 * 256 * 384 + 384,
    "conv4": 3 * 3 * 192 * 384 + 384,
    "conv5": 3 * 3 * 192 * 256 + 256,
    "fc6": 6 * 6 * 256 * 4096 + 4096,
    "fc7": 4096 * 4096 + 4096,
    "fc8": 4096 * 1000 + 1000,
}


def test_alexnets_parameters_layer_by_layer() -> None:
    found = table("alexnet_2012").params
    assert found[found > 0].to_dict() == ALEXNET
    assert found.sum() == sum(ALEXNET.values()) == 60_965_224
    assert found.sum() // 10**6 == KRIZHEVSKY["million_params"]


@pytest.mark.parametrize("layer", ALEXNET)
def test_alexnet_has_the_neurons_of_the_paper(layer: str) -> None:
    outputs = 1
    for side in table("alexnet_2012").output_shape[layer]:
        outputs *= side
    if layer == "conv1":  # the paper's slip
        assert KRIZHEVSKY["neurons"][layer] == 55 * 48 * 96
        assert outputs == 55 * 55 * 96
    else:
        assert outputs == KRIZHEVSKY["neurons"][layer]


def test_alexnets_resolutions() -> None:
    found = table("alexnet_2012").output_shape
    assert (227 - 11) / 4 + 1 == 55
    assert found["conv1"] == (96, 55, 55)
    assert [found[f"pool{number}"] for number in (1, 2, 5)] == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]


def test_alexnets_macs_are_its_weights_times_its_pixels() -> None:
    macs = table("alexnet_2012").macs
    assert macs[macs > 0].to_dict() == {
        "conv1": 11 * 11 * 3 * 96 * 55**2,
        "conv2": 5 * 5 * 48 * 256 * 27**2,
        "conv3": 3 * 3 * 256 * 384 * 13**2,
        "conv4": 3 * 3 * 192 * 384 * 13**2,
        "conv5": 3 * 3 * 192 * 256 * 13**2,
        "fc6": 6 * 6 * 256 * 4096,
        "fc7": 4096 * 4096,
        "fc8": 4096 * 1000,
    }


def test_alexnets_fields_are_those_of_the_distill_table() -> None:
    fields = receptive_fields("alexnet_2012").set_index("name")
    ours = {own: fields.loc[own, ["size", "stride", "padding"]].tolist() for own, *_ in DISTILL.values()}
    assert ours == {own: numbers for own, *numbers in DISTILL.values()}
    assert fields.loc["pool5", "size"] == 195


def test_alexnets_groups_do_not_see_the_other_half() -> None:
    model = AlexNet2012()
    assert [model.get_submodule(f"conv{n}").groups for n in range(1, 6)] == [1, 2, 1, 2, 2]
    x = torch.rand(1, 96, 5, 5, requires_grad=True)
    model.get_submodule("conv2")(x)[:, :128].sum().backward()
    assert x.grad is not None
    assert x.grad[:, :48].ne(0).all()
    assert x.grad[:, 48:].eq(0).all()


@pytest.mark.parametrize("layer", ["norm1", "norm2"])
def test_alexnets_normalisation_is_the_papers_sum(layer: str) -> None:
    """b_i = a_i / (k + alpha * sum of a_j^2 over j = i - n/2 ... i + n/2)^beta, written out."""
    a = 100 * torch.rand(1, 9, 2, 2, dtype=torch.float64)
    expected = torch.empty_like(a)
    for i in range(9):
        near = a[:, max(0, i - 2) : min(8, i + 2) + 1]
        expected[:, i] = a[:, i] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
    torch.testing.assert_close(AlexNet2012().get_submodule(layer)(a), expected)


def test_alexnet_normalises_behind_the_relu_of_its_first_two_convolutions_and_drops_behind_fc6_and_fc7() -> None:
    found = list(table("alexnet_2012").index)
    assert found[:8] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]
    assert found[-7:] == ["fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "fc8"]
    model, _ = zoo.network("alexnet_2012")
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]
    pools = [module for module in model.modules() if isinstance(module, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) for pool in pools] == [(3, 2, 0, False)] * 3


def test_alexnet_takes_an_image_of_224_to_a_map_of_5_and_is_refused() -> None:
    with pytest.raises(DoesNotFit):  # (224 - 11) // 4 + 1 = 54, 26, 12, 5; fc6 takes 6 x 6
        layer_table("alexnet_2012", (224, 224))


def test_torchvisions_alexnet_is_another_net() -> None:
    theirs, _ = zoo.network("torchvision/alexnet")
    convolutions = [module for module in theirs.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[0].out_channels == 64
    assert {module.groups for module in convolutions} == {1}
    assert not any(isinstance(module, nn.LocalResponseNorm) for module in theirs.modules())
    assert params(theirs) == 61_100_840


# --- GoogLeNet


def weights(c_in: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> int:
    return c_in * (one + reduce3 + reduce5 + pool) + 9 * reduce3 * three + 25 * reduce5 * five


def channels(_: int, *widths: int) -> int:
    return sum(widths)


STEM_WEIGHTS = 7 * 7 * 3 * 64 + 64 * 64 + 3 * 3 * 64 * 192
STEM_CHANNELS = 64 + 64 + 192
CLASSIFIER = 1024 * 1000 + 1000


def test_googlenets_parameters_module_by_module_with_biases_and_no_batch_norm() -> None:
    found = table("googlenet_2014").params
    for name, widths in INCEPTIONS.items():
        own = found[found.index.str.startswith(f"inception{name}.")]
        assert own.sum() == weights(*widths) + channels(*widths), name
    assert found.filter(regex=r"^conv").sum() == STEM_WEIGHTS + STEM_CHANNELS
    assert found["fc"] == CLASSIFIER
    assert found.sum() == 6_998_552  # as in Caffe's bvlc_googlenet


@pytest.mark.parametrize(("batch_norm", "a_channel", "total"), [(False, 1, 6_998_552), (True, 2, 7_005_832)])
def test_googlenets_count_with_a_bias_or_with_batch_norms_two_for_each_channel(
    batch_norm: bool, a_channel: int, total: int
) -> None:
    all_weights = STEM_WEIGHTS + sum(weights(*widths) for widths in INCEPTIONS.values())
    all_channels = STEM_CHANNELS + sum(channels(*widths) for widths in INCEPTIONS.values())
    model = on_meta(GoogLeNet2014, auxiliary=False, batch_norm=batch_norm)
    assert params(model) == all_weights + a_channel * all_channels + CLASSIFIER == total


@pytest.mark.parametrize("row", SZEGEDY)
def test_googlenets_rows_are_the_papers_table(row: str) -> None:
    found, printed = table("googlenet_2014"), SZEGEDY[row]
    inside = found.index.str.startswith(("conv2", "conv3") if row == "conv3" else row)
    macs = found.macs[inside].sum()
    if row == "conv1":  # the paper's is too few for the 7x7 that it names
        assert macs == 7 * 7 * 3 * 64 * 112**2
    elif row == "inception5a":  # the paper's is that of a 5x5 reduction to 48, as in 5b; its row says 32
        assert macs == weights(832, 256, 160, 320, 32, 128, 128) * 7**2
        assert weights(832, 256, 160, 320, 48, 128, 128) * 7**2 // 10**6 == printed["million_macs"]
    else:
        assert printed["million_macs"] in (macs // 10**6, round(macs / 10**6))
    if "output" in printed:
        side, width = printed["output"]
        assert found.output_shape[inside].iloc[-1] == (width, side, side)


def test_googlenets_macs() -> None:
    assert table("googlenet_2014").macs.sum() == 1_582_671_872


def test_googlenets_resolutions_need_pools_that_round_up() -> None:
    found = table("googlenet_2014").output_shape
    assert found["conv1.relu"][1:] == (112, 112)
    assert [found[f"maxpool{number}"][1] for number in range(1, 5)] == [56, 28, 14, 7]
    model, _ = zoo.network("googlenet_2014")
    pools = [model.get_submodule(f"maxpool{number}") for number in range(1, 5)]
    assert [(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) for pool in pools] == [(3, 2, 0, True)] * 4


def test_googlenets_field_goes_through_the_5x5_branches() -> None:
    size = jump = 1
    widest = [(5, 1)]  # 3x3 in torchvision's
    path = [(7, 2), (3, 2), (3, 1), (3, 2), *widest * 2, (3, 2), *widest * 5, (3, 2), *widest * 2]  # kernel, stride
    for kernel, stride in path:
        size += (kernel - 1) * jump
        jump *= stride
    last = receptive_fields("googlenet_2014").set_index("name").loc["inception5b.cat"]
    assert last[["size", "stride"]].tolist() == [size, jump] == [715, 32]
    assert last.aligned


def test_googlenets_normalisations_are_caffes() -> None:
    found = list(table("googlenet_2014").index)
    assert found[found.index("norm1") - 1] == "maxpool1"
    assert found[found.index("norm2") - 1 : found.index("norm2") + 2] == ["conv3.relu", "norm2", "maxpool2"]
    model, _ = zoo.network("googlenet_2014")
    norms = [module for module in model.modules() if isinstance(module, nn.LocalResponseNorm)]
    assert [(norm.size, norm.alpha, norm.beta, norm.k) for norm in norms] == [(5, 1e-4, 0.75, 1.0)] * 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_batch_norm_stands_in_place_of_biases_and_of_local_normalisation() -> None:
    model = on_meta(GoogLeNet2014, batch_norm=True)
    assert not any(isinstance(module, nn.LocalResponseNorm) for module in model.modules())
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(convolutions) == len(norms) == 3 + 9 * 6 + 2
    assert all(convolution.bias is None for convolution in convolutions)


def test_the_auxiliary_heads_add_their_parameters() -> None:
    def head(c_in: int) -> int:
        return c_in * 128 + 128 + 4 * 4 * 128 * 1024 + 1024 + 1024 * 1000 + 1000

    more = params(on_meta(GoogLeNet2014)) - params(on_meta(GoogLeNet2014, auxiliary=False))
    assert more == head(512) + head(528) == 3_188_840 + 3_190_888


def test_in_training_the_auxiliary_heads_answer_too() -> None:
    model = on_meta(GoogLeNet2014)
    x = torch.empty(2, 3, 224, 224, device="meta")
    outputs = model(x)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 1000)] * 3
    assert isinstance(model.eval()(x), Tensor)
    assert isinstance(on_meta(GoogLeNet2014, auxiliary=False)(x), Tensor)


def test_the_auxiliary_heads_stand_behind_4a_and_4d_and_pool_to_4x4() -> None:
    model = on_meta(GoogLeNet2014)
    takes: dict[str, Tensor] = {}
    gives: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            takes[name], gives[name] = inputs[0], output

        return hook

    for name in ("inception4a", "inception4d", "aux1", "aux2", "aux1.pool", "aux2.pool"):
        model.get_submodule(name).register_forward_hook(note(name))
    logits, first, second = model(torch.empty(1, 3, 224, 224, device="meta"))
    assert takes["aux1"] is gives["inception4a"]
    assert takes["aux2"] is gives["inception4d"]
    assert first is gives["aux1"]
    assert second is gives["aux2"]
    assert logits is not first
    assert gives["aux1.pool"].shape == (1, 512, 4, 4)  # (14 - 5) // 3 + 1 = 4
    assert gives["aux2.pool"].shape == (1, 528, 4, 4)


def test_an_auxiliary_head_takes_the_mean_of_5x5_pixels_at_every_third() -> None:
    x = torch.rand(1, 3, 14, 14)
    means = [[x[..., 3 * i : 3 * i + 5, 3 * j : 3 * j + 5].mean((2, 3)) for j in range(4)] for i in range(4)]
    expected = torch.stack([torch.stack(row, -1) for row in means], -2)
    torch.testing.assert_close(AuxiliaryHead(3).pool(x), expected)


def test_googlenet_drops_40_percent_and_its_heads_70() -> None:
    model = on_meta(GoogLeNet2014)
    found = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert found == {"aux1.dropout": 0.7, "aux2.dropout": 0.7, "dropout": 0.4}


def test_an_inception_module_joins_its_branches_in_the_papers_order() -> None:
    torch.manual_seed(0)
    module = Inception(6, 1, (2, 3), (4, 5), 7)
    x = torch.rand(1, 6, 8, 8)
    joined = module(x)
    parts = joined.split([1, 3, 5, 7], 1)
    branches = [module.branch1(x), module.branch2(x), module.branch3(x), module.branch4(x)]
    for part, branch in zip(parts, branches, strict=True):
        assert torch.equal(part, branch)


# --- GoogLeNet beside torchvision's


def torchvisions_googlenet(device: str) -> torchvision.models.GoogLeNet:
    with torch.device(device):
        return torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False)


def test_torchvisions_googlenet_differs_in_the_nine_5x5_kernels_alone() -> None:
    ours = shapes(on_meta(GoogLeNet2014, batch_norm=True))
    theirs = shapes(torchvisions_googlenet("meta"))
    assert ours.keys() == theirs.keys()
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert differing == {f"inception{name}.branch3.1.conv.weight" for name in INCEPTIONS}
    assert all((ours[name][2:], theirs[name][2:]) == ((5, 5), (3, 3)) for name in differing)


def test_torchvisions_googlenet_counts_less() -> None:
    theirs, _ = zoo.network("torchvision/googlenet")
    missing = sum((25 - 9) * reduce5 * five for _, _, _, _, reduce5, five, _ in INCEPTIONS.values())
    assert params(theirs) == 7_005_832 - missing == 6_624_904
    assert isinstance(theirs.maxpool4, nn.MaxPool2d)
    assert theirs.maxpool4.kernel_size == 2


def test_with_torchvisions_weights_in_the_middle_of_its_kernels_it_computes_what_torchvisions_does() -> None:
    torch.manual_seed(0)
    theirs = torchvisions_googlenet("cpu").eval()
    for module in theirs.modules():  # else its logits hardly depend on the image
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1.5, 2.5)
            nn.init.normal_(module.bias)
    theirs.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)  # the paper's
    ours = GoogLeNet2014(batch_norm=True).eval()
    ours.load_state_dict(
        {
            name: nn.functional.pad(value, (1, 1, 1, 1)) if ".branch3.1.conv." in name else value
            for name, value in theirs.state_dict().items()
        }
    )
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, found = theirs(x), ours(x)
    assert expected.std(0).max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- Highway


def test_highways_parameters_layer_by_layer_are_those_of_the_authors_log() -> None:
    model = on_meta(Highway2015, classes=100)
    found = {name: params(layer) for name, layer in model.named_children()}
    assert {name: count for name, count in found.items() if count} == HIGHWAY["params"]
    assert params(model) == sum(HIGHWAY["params"].values()) == HIGHWAY["total"]


def test_with_ten_classes_highway_has_the_parameters_that_he_et_al_print() -> None:
    total = int(table("highway19_2015").params.sum())
    assert total == HIGHWAY["total"] - 90 * (100 + 1)
    assert round(total / 10**6, 1) == HIGHWAY["million_params"]


def test_highways_outputs_are_those_of_the_authors_log() -> None:
    found = table("highway19_2015").output_shape
    last = {name: found[[own for own in found.index if own.split(".")[0] == name][-1]] for name in HIGHWAY["outputs"]}
    assert last == {name: (width, side, side) for name, (width, side) in HIGHWAY["outputs"].items()}
    assert found["fc19"] == (10,)


def test_highways_macs_are_its_weights_times_its_pixels() -> None:
    layer = {32: 9 * 32 * 32 * 32**2, 80: 9 * 80 * 80 * 16**2, 128: 9 * 128 * 128 * 8**2}
    widening = 9 * (3 * 32 * 32**2 + 32 * 80 * 16**2 + 80 * 128 * 8**2)
    expected = widening + 2 * (4 * layer[32] + 5 * layer[80] + 5 * layer[128]) + 128 * 100 * 8**2 + 100 * 10
    assert table("highway19_2015").macs.sum() == expected


def test_a_highway_layer_is_the_papers_equation_3() -> None:
    """y = H(x) T(x) + x (1 - T(x)), written out."""
    layer = HighwayLayer(3)
    x = torch.randn(2, 3, 5, 6)
    h = nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1).clamp(min=0)
    t = 1 / (1 + torch.exp(-nn.functional.conv2d(x, layer.gate.weight, layer.gate.bias, padding=1)))
    torch.testing.assert_close(layer(x), h * t + x * (1 - t))


def test_a_highway_layers_gate_starts_nearly_closed() -> None:
    layer = HighwayLayer(4)
    assert layer.gate.bias is not None
    assert layer.gate.bias.eq(-2).all()
    assert layer.conv.bias is not None
    assert not layer.conv.bias.eq(-2).any()


def test_highway_drops_20_percent_of_the_image_and_before_each_widening_and_the_last_layer() -> None:
    model = on_meta(Highway2015)
    names = [name for name, _ in model.named_children()]
    drops = [name for name, module in model.named_children() if isinstance(module, nn.Dropout) and module.p == 0.2]
    behind = [names[names.index(name) + 1] for name in drops]
    assert behind == ["conv1", "conv6", "conv12", "flatten"]
