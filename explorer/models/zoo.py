"""One registry over all networks: ours by preset name or paper, torchvision's and timm's by theirs."""

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import torch
import torchvision
from torch import nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from explorer.errors import Refusal
from explorer.models.historic import AlexNet2012, GoogLeNet2014, Highway2015
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.spec import PRESETS, ResNetSpec

Device = Literal["meta", "cpu"]

# Networks of torchvision that are no feed-forward CNN classifiers.
_TRANSFORMERS = ("vit_", "swin_", "maxvit")

# Networks of ours that are no ResNets, and the (channels, height, width) of their input.
_HISTORIC: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "alexnet_2012": (AlexNet2012, (3, 227, 227)),
    "googlenet_2014": (partial(GoogLeNet2014, auxiliary=False), (3, 224, 224)),  # the heads serve training only
    "highway19_2015": (Highway2015, (3, 32, 32)),
}


class UnknownNetwork(Refusal):
    """No network of that name; `near` holds names that are alike, and the message lists them."""

    def __init__(self, name: str) -> None:
        alike = {_squeezed(known): known for known in reversed(names())}  # of two that squeeze to one, ours
        close = difflib.get_close_matches(_squeezed(name.rpartition("/")[2]), alike, n=5)
        self.near = tuple(alike[squeezed] for squeezed in close)
        hint = f"near names are {', '.join(self.near)}" if self.near else "try resnet50, vgg16 or mobilenetv1_100"
        shown = name if len(name) <= 60 else name[:57] + "..."
        super().__init__(f"There is no network named {shown!r}; {hint}.")


def _squeezed(name: str) -> str:
    """What is left of a name if one does not know its capitals, dashes and underscores."""
    return re.sub("[^a-z0-9]", "", name.lower())


class UnbuildableNetwork(Refusal):
    """A network that its library lists but cannot build, as it needs something that is not installed, or not here."""


@dataclass(frozen=True)
class Published:
    """The size and cost of a network as a library or paper prints them. None is unknown."""

    params: int | None
    gmacs: float | None  # 10^9 multiply-accumulates, as precise as it was printed
    source: str


@dataclass(frozen=True)
class Entry:
    """A network of the zoo: where it comes from, and how it is built, on the meta device or with its first weights."""

    name: str
    library: str
    build: Callable[[Device], tuple[nn.Module, tuple[int, ...]]]


def network(net: ResNetSpec | str, image_size: tuple[int, int] | None = None) -> tuple[nn.Module, tuple[int, ...]]:
    """The network on the meta device, without weights, and the (channels, height, width) of its input.

    Args:
        net: a spec, or what `resolve` reads. image_size: (height, width); by default what it is used at.

    Raises:
        UnknownNetwork: no such name. SpecError: the spec does not go with this image size. UnbuildableNetwork: its
        library fails.
    """
    return _network(net, image_size, "meta")


def initialised(net: ResNetSpec | str, seed: int, image_size: tuple[int, int] | None = None) -> nn.Module:
    """The network on the CPU with the random weights that it starts from, as its own code draws them, in training mode.

    Args:
        net, image_size: as for `network`. seed: the same one gives the same weights.

    Raises:
        UnknownNetwork, SpecError, UnbuildableNetwork: as for `network`.
    """
    with seeded(seed):
        return _network(net, image_size, "cpu")[0].train()


def _network(
    net: ResNetSpec | str, image_size: tuple[int, int] | None, device: Device
) -> tuple[nn.Module, tuple[int, ...]]:
    if isinstance(net, str):
        net = resolve(net)
    if isinstance(net, ResNetSpec):
        spec = replace(net, image_size=image_size) if image_size else net
        return build(spec, device), (spec.in_channels, *spec.image_size)
    found = entry(net)
    try:
        model, (channels, *size) = found.build(device)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnbuildableNetwork(
            f"{found.library} knows the network {found.name!r} but cannot build it ({type(error).__name__}: {reason})."
        ) from error
    return model, (channels, *(image_size or size))


def names() -> tuple[str, ...]:
    """Every name that `entry` knows, ours first; where two libraries share one, the first has it."""
    return tuple(dict.fromkeys((*PRESETS, *_HISTORIC, *_torchvision_names(), *_timm_names())))


def entry(name: str) -> Entry:
    """The network of that name: ours, else torchvision's, else timm's; `timm/resnet50` insists on a library.

    Raises:
        UnknownNetwork: the message lists near names. UnbuildableNetwork: it is one of torchvision's transformers.
    """
    library, _, own_name = name.strip().rpartition("/")
    if library in ("", "explorer") and own_name in PRESETS:
        return Entry(own_name, "explorer", partial(_network, own_name, None))
    if library in ("", "explorer") and own_name in _HISTORIC:
        return Entry(own_name, "explorer", partial(_historic_network, own_name))
    if library in ("", "torchvision") and own_name in _torchvision_names():
        return Entry(own_name, "torchvision", partial(_torchvision_network, own_name))
    if library in ("", "timm") and own_name in _timm_names():
        return Entry(own_name, "timm", partial(_timm_network, own_name))
    if library in ("", "timm") and own_name in _timm_weights():  # resnet50.a1_in1k: the network, at these weights' size
        return Entry(own_name, "timm", partial(_timm_network, own_name))
    if own_name.startswith(_TRANSFORMERS) and own_name in torchvision.models.list_models(module=torchvision.models):
        raise UnbuildableNetwork(
            f"{own_name!r} is a transformer of torchvision's, of which only convolutional networks are counted here; "
            "timm's transformers are, as vit_base_patch16_224."
        )
    raise UnknownNetwork(name)


def resolve(text: str) -> ResNetSpec | str:
    """What a person wrote: a preset with changes (`resnet50 width=32`) as its spec, any other network by its name.

    Raises:
        UnknownNetwork: no such name; the message lists near names. SpecError: the changes make no network.

    >>> resolve("resnet50 width=32").width, resolve("vgg16")
    (32, 'vgg16')
    """
    name = (text.split() or [""])[0]
    if name in PRESETS:
        return ResNetSpec.from_text(text)
    entry(text.strip())
    return text.strip()


def library(name: str) -> str | None:
    """Who else has a network of that name: "torchvision", else "timm", else None."""
    if name in _torchvision_names():
        return "torchvision"
    return "timm" if name in _timm_names() else None


def published(name: str) -> Published | None:
    """What torchvision prints of its own network: parameters and GMACs (its "GFLOPS"); None if not its.

    What papers print, and accuracies, are in `published.py`.
    """
    if name not in _torchvision_names():
        return None
    weights = torchvision.models.get_model_weights(name).DEFAULT
    meta: dict[str, Any] = weights.meta
    source = f"torchvision {torchvision.__version__}, {type(weights).__name__}.{weights.name}"
    return Published(meta["num_params"], meta["_ops"], source)


@contextmanager
def _on(device: Device) -> Iterator[None]:
    """Networks are built here; on the meta device nobody fills their weights."""
    if device == "cpu":
        yield
    else:
        with torch.device("meta"), _Unfilled():
            yield


def _historic_network(name: str, device: Device) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape = _HISTORIC[name]
    with _on(device):
        return make(), shape


@cache
def _torchvision_names() -> tuple[str, ...]:
    known = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in known if not name.startswith(_TRANSFORMERS))


@cache
def _timm_names() -> tuple[str, ...]:
    import timm  # most of a second, and only here

    return tuple(timm.list_models())


@cache
def _timm_weights() -> frozenset[str]:
    import timm

    return frozenset(timm.list_pretrained())


def _torchvision_network(name: str, device: Device) -> tuple[nn.Module, tuple[int, ...]]:
    shape, settings = _torchvision_input(name), {}
    if name in ("googlenet", "inception_v3"):
        settings = {"init_weights": device == "cpu", "aux_logits": False}  # the auxiliary heads serve training only
    if name.startswith("regnet") and device == "meta":  # its constructor reads values, so it cannot start there
        with _WeightsOnMeta(), _Unfilled():
            return torchvision.models.get_model(name, weights=None).to("meta"), shape
    with _on(device):
        return torchvision.models.get_model(name, weights=None, **settings), shape


class _Unfilled(TorchFunctionMode):
    """While it is entered nobody fills weights: on the meta device that is half of a constructor's time for nothing."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = kwargs or {}
        if function in _FILLS and (tensor := args[0] if args else settings["tensor"]).is_meta:
            return tensor
        return function(*args, **settings)


_FILLS: set[Callable[..., Any]] = {  # both what an initialiser calls, and the initialisers that a mode sees first
    *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_),
    *(init.normal_, init.uniform_, init.constant_, init.kaiming_uniform_),
}


class _WeightsOnMeta(TorchFunctionMode):
    """While it is entered: what layers make as room for their weights is on the meta device, other tensors are not."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = kwargs or {}
        return function(*args, **(settings | {"device": "meta"} if function is torch.empty else settings))


def _torchvision_input(name: str) -> tuple[int, int, int]:
    """The size that the published accuracy was measured at."""
    crop = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    return 3, crop, crop


def _timm_network(name: str, device: Device) -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    with _on(device):
        model = timm.create_model(name, pretrained=False)
    settings: Any = model.pretrained_cfg
    return model, tuple(settings["input_size"])
