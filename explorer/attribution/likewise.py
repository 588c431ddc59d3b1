"""The same question to another net: the same part of the picture, the same class, squares as large a part of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from explorer.attribution.methods import Method
from explorer.attribution.posing import parameters
from explorer.models.checkpoints import Checkpoint, Trained
from explorer.models.preprocessing import Box

_IN_PIXELS = ("window", "stride")  # of settings


@dataclass(frozen=True)
class Question:
    """What to ask of another net.

    Attributes:
        box, target, against, settings: as of `explorer.attribution.attribute`.
        notes: where it is not quite the same question, a sentence each.
    """

    box: Box | None
    target: int | None
    against: int | None
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


def likewise(
    first: Trained,
    other: Trained,
    image: Image.Image,
    method: Method,
    settings: Mapping[str, Any],
    target: int,
    against: int | None = None,
    box: Box | None = None,
) -> Question:
    """What was asked of the first net, for another.

    A class is the same if it has the same name. Of lengths the part of the side is kept, of layers the name; the last
    one of the first net becomes the last one of the other.

    Args:
        settings: of the method, on the first net. target, against: the first net's classes.
        box: the part that the first net saw, None for its usual one.
    """
    here, there = first.checkpoint, other.checkpoint
    notes = []
    own = _same_class(here.classes, there.classes, target)
    if own is None:
        notes.append(f"it does not know {here.classes[target]}, so its map explains the class that it predicts.")
    than = None if against is None or own is None else _same_class(here.classes, there.classes, against)
    if against is not None and than is None:
        notes.append(f"its map is not compared with {here.classes[against]}.")
    scale = there.preprocessing.crop / here.preprocessing.crop
    asked = {name: max(1, round(value * scale)) if name in _IN_PIXELS else value for name, value in settings.items()}
    layer = asked.pop("layer", here.last_features)
    if layer != here.last_features:
        known = next(each.choices for each in parameters(method, other) if each.name == "layer")
        if known is not None and layer in known:
            asked["layer"] = layer
        else:
            notes.append(f"it has no layer {layer}, so its last maps are taken.")
    return Question(_same_part(here, there, image, box), own, than, asked, tuple(notes))


def _same_class(here: tuple[str, ...], there: tuple[str, ...], index: int) -> int | None:
    """By its place where the lists are the same, as a list may have a name twice; else by name."""
    if here == there:
        return index
    return there.index(here[index]) if there.count(here[index]) == 1 else None


def _same_part(here: Checkpoint, there: Checkpoint, image: Image.Image, box: Box | None) -> Box | None:
    """Nets cut more or less of the edges off; all shall see what the first one sees."""
    one, two = here.preprocessing, there.preprocessing
    if box is None and one.crop * two.resize != two.crop * one.resize:
        return one.box_of(*image.size)
    return box
