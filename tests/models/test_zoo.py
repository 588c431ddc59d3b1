"""The registry: which names there are, whose network a name is, and what the libraries print of theirs."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from explorer.analysis.layers import layer_table, totals
from explorer.models import zoo
from explorer.models.observe import frozen
from explorer.models.resnet import ResNet
from explorer.models.zoo import UnbuildableNetwork, UnknownNetwork, entry, names, network, published
from explorer.spec import PRESETS, ResNetSpec, SpecError

TORCHVISION = json.loads((Path(__file__).parents[1] / "tables" / "torchvision_models.json").read_text())["networks"]


def test_the_registry_has_our_presets_first_and_both_libraries() -> None:
    found = names()
    assert found[: len(PRESETS)] == tuple(PRESETS)
    assert {"alexnet", "vgg16", "googlenet", "mobilenet_v2", "mobilenetv1_100", "tf_efficientnet_lite0"} <= set(found)


def test_no_name_stands_twice() -> None:
    assert len(set(names())) == len(names())


def test_torchvisions_transformers_are_left_out() -> None:
    assert not {"vit_b_16", "swin_t", "maxvit_t"} & set(names())


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("resnet50", "explorer"),
        ("explorer/resnet50", "explorer"),
        ("torchvision/resnet50", "torchvision"),
        ("timm/resnet50", "timm"),
        ("cifar_resnet20", "explorer"),
        ("vgg16", "torchvision"),
        ("torchvision/vgg16", "torchvision"),
        ("timm/vgg16", "timm"),
        ("mobilenetv1_100", "timm"),
    ],
)
def test_a_prefix_insists_on_a_library_and_without_one_the_first_that_has_the_name_gives_it(
    name: str, library: str
) -> None:
    found = entry(name)
    assert (found.library, found.name) == (library, name.rpartition("/")[2])
    model, _ = found.build("meta")
    package = type(model).__module__.partition(".")[0]
    assert package == library
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "height", "width"),
    [
        ("alexnet", 3, 224, 224),
        ("inception_v3", 3, 299, 299),
        ("efficientnet_b1", 3, 240, 240),
        ("cifar_resnet20", 3, 32, 32),
        ("d2l_resnet18", 1, 224, 224),
        ("timm/inception_v3", 3, 299, 299),
    ],
)
def test_a_network_comes_with_the_input_that_it_is_used_at(name: str, channels: int, height: int, width: int) -> None:
    assert network(name)[1] == (channels, height, width)
    assert network(name, (300, 310))[1] == (channels, 300, 310)


def test_a_spec_is_built_as_it_says() -> None:
    model, shape = network(ResNetSpec(in_channels=1, image_size=(64, 96)))
    assert isinstance(model, ResNet)
    assert shape == (1, 64, 96)
    assert model.get_submodule("conv1").in_channels == 1


def test_a_spec_refuses_an_image_size_that_does_not_go_with_it() -> None:
    with pytest.raises(SpecError, match=r"^image_size \(=\(16, 16\)\) is too small"):
        network("resnet50", (16, 16))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_serve_training_only_and_are_not_built(name: str) -> None:
    model, _ = network(name)
    assert not any("aux" in part.lower() for part, child in model.named_children() if child is not None)


def test_a_regnet_takes_no_memory_while_it_is_built() -> None:
    """Its constructor reads values, so that it cannot start on meta; the largest one's weights take 2.6 GB."""
    made: list[torch.Size] = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.device.type == "cpu":
                made.append(result.shape)
            return result

    with Watch():
        model, _ = network("regnet_y_400mf")
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert max(size.numel() for size in made) < 1000  # running statistics and the like


def test_a_regnet_is_torchvisions() -> None:
    theirs = torchvision.models.regnet_x_400mf()
    ours, _ = network("regnet_x_400mf")
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }


def test_a_network_that_its_library_cannot_build_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **settings: object) -> nn.Module:
        raise ModuleNotFoundError("No module named\n  'something'")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(UnbuildableNetwork) as caught:
        network("timm/resnet50")
    assert str(caught.value) == (
        "timm knows the network 'resnet50' but cannot build it (ModuleNotFoundError: No module named 'something')."
    )


# --- one or more of timm's networks of each family; test_layers.py has 18 others, and all of torchvision's

FAMILIES = (
    *("resnext26ts", "gcresnet33ts", "ecaresnext26t_32x4d", "legacy_seresnet18", "lambda_resnet26t", "bat_resnext26ts"),
    *("convnextv2_atto", "convnext_atto_rms", "inception_next_atto", "legacy_xception", "dla34"),
    *("mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small", "mobilenet_edgetpu_100"),
    *("efficientnetv2_rw_t", "fbnetc_100", "mnasnet_small", "spnasnet_100", "tinynet_e", "lcnet_050", "hardcorenas_a"),
    *("regnetx_002", "gernet_s", "repvgg_a0", "ghostnetv2_100", "selecsls42b", "densenetblur121d", "dpn68"),
    *("cspresnet50", "cspdarknet53", "darknet17", "cs3darknet_s", "eca_nfnet_l0", "nfnet_f0", "tresnet_m"),
    *("res2next50", "skresnext50_32x4d", "ese_vovnet19b_slim", "rexnet_100", "hgnetv2_b0", "fasternet_t0"),
    # not CNNs alone: they apply layers to weights, roll maps, norm by the root mean square
    "test_maxvit",
    *("edgenext_xx_small", "mobilevit_xxs", "swin_tiny_patch4_window7_224", "test_vit3", "mixer_b16_224"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_timm_is_counted_as_pytorch_counts_it(name: str) -> None:
    model, shape = network(f"timm/{name}")
    with frozen(model), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    found = totals(layer_table(f"timm/{name}"))
    assert found.macs * 2 == counter.get_total_flops()
    assert found.params == sum(parameter.numel() for parameter in model.parameters())


# --- names that are none


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet51", "resnet50"),
        ("ResNet50", "resnet50"),
        ("vgg-16", "vgg16"),
        ("mobilenet_v1_100", "mobilenetv1_100"),
        ("timm/resnet-50", "resnet50"),
        ("torchvision/cifar_resnet20", "cifar_resnet20"),  # ours, not torchvision's
        ("explorer/vgg16", "vgg16"),
        ("keras/resnet50", "resnet50"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownNetwork) as caught:
        entry(name)
    sentence = str(caught.value)
    assert sentence.startswith(f"There is no network named {name!r}; near names are ")
    assert near in sentence.removesuffix(".").partition("near names are ")[2].split(", ")


@pytest.mark.parametrize("name", ["", "qqqqqqqq", "/", "🦆"])
def test_a_name_near_to_none_is_answered_with_examples(name: str) -> None:
    with pytest.raises(UnknownNetwork, match=r"; try resnet50, vgg16 or mobilenetv1_100\.$"):
        entry(name)


def test_the_examples_of_that_sentence_exist() -> None:
    assert {"resnet50", "vgg16", "mobilenetv1_100"} <= set(names())


def test_a_name_of_a_million_letters_does_not_blow_up_the_sentence() -> None:
    with pytest.raises(UnknownNetwork) as caught:
        entry("resnet" * 200_000)
    assert len(str(caught.value)) < 300


# --- published figures


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_published_figures_are_torchvisions_table(name: str) -> None:
    told = published(name)
    assert told is not None
    assert (told.params, told.gmacs) == (TORCHVISION[name]["params"], TORCHVISION[name]["gmacs"])
    assert told.source.startswith("torchvision ")
    assert told.source.endswith("Weights.IMAGENET1K_V2" if name == "resnet50" else "Weights.IMAGENET1K_V1")


@pytest.mark.parametrize("name", ["resnet50_v1", "cifar_resnet20", "timm/resnet50", "mobilenetv1_100", "nonsense", ""])
def test_what_torchvision_does_not_print_is_unknown(name: str) -> None:
    assert published(name) is None


@pytest.mark.parametrize("name", sorted(set(PRESETS) & set(zoo._torchvision_names())))
def test_a_preset_with_torchvisions_name_has_torchvisions_parameters(name: str) -> None:
    def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
        return {key: tuple(value.shape) for key, value in model.state_dict().items()}

    assert shapes(network(name)[0]) == shapes(network(f"torchvision/{name}")[0])


def test_a_name_is_read_with_spaces_around_it_and_with_the_tag_of_timms_weights() -> None:
    assert entry(" vgg16 ").name == "vgg16"
    assert entry("resnet50.a1_in1k").library == "timm"
    assert totals(layer_table("timm/resnet50.a1_in1k")) == totals(layer_table("timm/resnet50"))
    with pytest.raises(UnknownNetwork):
        entry("resnet50.nobodys_weights")


@pytest.mark.parametrize(
    ("name", "near"), [("ResNet-50", "resnet50"), ("VGG 16", "vgg16"), ("google net", "googlenet")]
)
def test_capitals_dashes_and_spaces_do_not_hide_a_near_name(name: str, near: str) -> None:
    with pytest.raises(UnknownNetwork) as caught:
        entry(name)
    assert caught.value.near[0] == near
    assert near in str(caught.value)


def test_torchvisions_transformers_are_refused_with_their_reason() -> None:
    with pytest.raises(UnbuildableNetwork, match="'vit_b_16' is a transformer of torchvision's"):
        entry("vit_b_16")


def test_nothing_is_filled_on_meta_and_all_is_filled_elsewhere() -> None:
    """What saves the time on meta must not reach a network that somebody builds at the same time."""
    model, _ = network("vgg11")
    assert all(parameter.is_meta for parameter in model.parameters())
    with zoo._Unfilled():
        layer = nn.Linear(50, 50)
    assert layer.weight.std() > 0.01
    assert layer.weight.abs().max() <= 50**-0.5


@pytest.mark.parametrize(
    "name", ["cifar_resnet20", "alexnet_2012", "googlenet", "regnet_y_400mf", "mobilenetv1_100", "resnet18 width=8"]
)
def test_a_network_starts_with_the_weights_that_its_code_draws(name: str) -> None:
    model = zoo.initialised(name, 3)
    assert model.training
    again, other = zoo.initialised(name, 3), zoo.initialised(name, 4)
    meta = network(name)[0].state_dict()
    drawn = 0
    for key, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert value.shape == meta[key].shape
        assert value.isfinite().all()
        assert torch.equal(value, again.state_dict()[key]), key
        drawn += not torch.equal(value, other.state_dict()[key])
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert drawn >= convolutions


def test_the_weights_that_a_library_draws_are_its_own() -> None:
    ours = zoo.initialised("torchvision/resnet18", 5).state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = torchvision.models.resnet18(weights=None).state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_drawing_weights_leaves_the_random_numbers_as_they_were() -> None:
    before = torch.get_rng_state()
    zoo.initialised("cifar_resnet20", 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_for_the_image_size_that_is_asked_for() -> None:
    with pytest.raises(SpecError):
        zoo.initialised("resnet50", 0, (8, 8))
    assert zoo.initialised("cifar_resnet20", 0, (64, 48)) is not None
