"""A picture before a trained network: what a method is handed, and what can be set about it there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor, nn

from explorer.attribution.methods import Method
from explorer.attribution.parameters import Parameter
from explorer.attribution.subject import Subject, stages
from explorer.errors import Refusal
from explorer.models.checkpoints import Report, Trained
from explorer.models.observe import Shared, untouched
from explorer.models.preprocessing import Box


def parameters(method: Method, trained: Trained) -> tuple[Parameter, ...]:
    """What can be set about a method on this network: its own layers, and pixels as its side suggests."""
    return tuple(_fitted(each, method, trained) for each in method.parameters)


def _fitted(parameter: Parameter, method: Method, trained: Trained) -> Parameter:
    if parameter.name == "layer":
        return replace(parameter, default=trained.checkpoint.last_features, choices=_layers(trained))
    if parameter.name in method.by_side:
        side = trained.checkpoint.preprocessing.crop
        return replace(parameter, default=max(1, round(method.by_side[parameter.name] * side)), high=side)
    return parameter


def _layers(trained: Trained) -> dict[str, str]:
    if trained.model not in _LAYERS:
        seen = trained.checkpoint.preprocessing
        with trained.model.borrow() as model:
            found = stages(model, torch.zeros(1, seen.channels, seen.crop, seen.crop, device=trained.device))
        last = trained.checkpoint.last_features
        _LAYERS[trained.model] = found | {last: found.get(last, "the last maps")}
    return _LAYERS[trained.model]


_LAYERS: WeakKeyDictionary[Shared, dict[str, str]] = WeakKeyDictionary()


@contextmanager
def posed(
    trained: Trained,
    image: Image.Image,
    target: int | None = None,
    against: int | None = None,
    box: Box | None = None,
    report: Report | None = None,
) -> Iterator[Subject]:
    """A picture before a network that is borrowed until the block ends, and is then as it was.

    Args:
        target: None is the predicted class.

    Raises:
        Refusal: that is asked for, and the network's logits are no numbers.
    """
    picture, x = as_seen(trained, image, box)
    with trained.model.borrow() as model, untouched(model):
        if target is None:
            with torch.no_grad():
                target = int(logits(trained, model, x).argmax())
        yield Subject(
            trained.checkpoint,
            model,
            picture,
            x,
            int(target),
            None if against is None else int(against),
            report or (lambda fraction, text: None),
        )


def logits(trained: Trained, model: nn.Module, x: Tensor) -> Tensor:
    """Of one image as the network takes it, (1, channels, h, w): (classes,).

    Args:
        model: the network, borrowed.

    Raises:
        Refusal: they are no numbers.
    """
    found: Tensor = model(x)[0]
    if not found.isfinite().all():
        raise Refusal(
            f"{trained.checkpoint.title} gives this picture logits that are no numbers: what its layers return grows "
            "beyond all measure, as in a very deep net with weights that were never trained. Choose trained weights."
        )
    return found


def as_seen(trained: Trained, image: Image.Image, box: Box | None) -> tuple[Image.Image, Tensor]:
    """What the network sees, as a picture and as it takes it: (1, channels, h, w)."""
    crop = trained.checkpoint.preprocessing.crop_of(image.convert("RGB"), box)
    tensor = trained.checkpoint.preprocessing.tensor(crop)
    return crop, tensor.to(trained.device, memory_format=torch.channels_last)
