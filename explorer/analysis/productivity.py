"""Which layers have room to work at an image size: unproductive layers by the receptive fields of what comes in.

A convolution combines places of the map that comes in. Where each of these has seen the whole image already, it can add
no context, and Richter et al. predict that it adds nothing to the accuracy: Richter, Byttner, Krumnack, Wiedenroth,
Schallner & Shenk 2021, (Input) Size Matters for CNN Classifiers, arXiv 2102.01582; Richter, Schöning, Wiedenroth &
Krumnack 2021, Should You Go Deeper?, arXiv 2106.12307. The rules here are those of their rfa_toolbox, version 1.7.0.
It predicts, from the fields alone; nothing is trained or measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from explorer.analysis.fields import FieldProfile, field_profile
from explorer.analysis.graph import IMAGE
from explorer.analysis.layers import Layer, label
from explorer.analysis.receptive import IMAGE_FIELD, Field, NoField, by_input
from explorer.analysis.rules import Pair
from explorer.errors import Refusal
from explorer.spec import ResNetSpec

Status = Literal["unproductive", "critical", "partly", "productive"]
STATUSES: tuple[Status, ...] = get_args(Status)
Rule = Literal["shortest", "longest"]


@dataclass(frozen=True, eq=False)
class Use:
    """How well a network is used on images of one size; it is shared, so nobody changes its table.

    image: its (height, width) in pixels.
    table: a row a layer, in the order of calls: the convolutions, and the linear layers that work pixel by pixel, whose
        input and output have local receptive fields. What follows a global pool, in a gate or in the head, is not
        among them. Columns:
        name, stage, kind: as in `layer_table`.
        shortest, longest: (height, width) in pixels of the field of its input, by the path with the smallest along each
        axis and by all paths together; shortest_behind, longest_behind: the same of what it gives.
        status: the first of `STATUSES` that holds.
            unproductive: by the shortest path the input's field is at least as large as the image and the layer's own
            is larger, along both axes. A shortcut carries small fields on, so the shortest path decides.
            critical: the layer's own is larger along both axes: it is this layer that goes beyond the image.
            partly: the first holds along one axis at least, by all paths together.
            productive: none of these.
        small_map: whether its window is at least as large as the map that comes in, taken as image // stride; the
        toolbox calls such a layer unproductive too, here it changes no status.
        params: as in `layer_table`. macs: for one image of this size; None where the network was not run on that.
    least: the smallest side of a square image at which no layer is unproductive; least_longest: by all paths together.
    most: the largest side at which the field of some map is still as large as the image, those that an adaptive pool
        gives aside, as theirs grows with the image.
    """

    image: Pair
    table: pd.DataFrame
    least: int
    least_longest: int
    most: int


def use(profile: FieldProfile, image_size: Pair | None = None) -> Use:
    """How well a network is used.

    Args:
        profile: its fields.
        image_size: (height, width) in pixels; by default the profile's own. Another leaves the fields as they are,
            which is exact unless an adaptive pool stands before a convolution.

    Raises:
        NoField: the map was enlarged on the way, so that a path has no one field; layers work on tokens that see the
            whole image; or no layer has a local field.

    >>> vgg = use(field_profile("vgg16"), (32, 32))  # CIFAR's images
    >>> vgg.table["status"].value_counts().to_dict(), border_layer(vgg), vgg.least, vgg.most
    ({'unproductive': 7, 'productive': 6}, 'features.14', 165, 212)
    """
    image = image_size or profile.image
    shortest = _shortest(profile)
    rows: list[dict[str, object]] = []
    for operator, layer, field, behind in zip(
        profile.graph, label(list(profile.graph)), profile.fields, shortest, strict=True
    ):
        if layer.kind not in ("conv", "linear") or not operator.inputs:
            continue
        if field is None and len(operator.takes[0].shape) == 3 and operator.takes[0].shape[1] > 1:
            raise NoField(
                f"At {layer.name} a layer works on tokens that see the whole image, as in a transformer; what is "
                f"unproductive is told of convolutions."
            )
        if field is None or behind is None:
            continue
        made_by = operator.inputs[0]
        before, least = (IMAGE_FIELD, (1, 1)) if made_by == IMAGE else (profile.fields[made_by], shortest[made_by])
        if before is None or least is None:
            continue
        longest, longest_behind = _size(before), _size(field)
        rows.append(
            {
                "name": layer.name,
                "stage": layer.stage,
                "kind": layer.kind,
                "shortest": least,
                "longest": longest,
                "shortest_behind": behind,
                "longest_behind": longest_behind,
                "status": _status(least, longest, behind, longest_behind, image),
                "small_map": _small_map(before, layer, image),
                "params": layer.params,
                "macs": layer.macs if image == profile.image else None,
            }
        )
    if not rows:
        raise NoField("No convolution of this network has a local receptive field, so none can be unproductive.")
    table = pd.DataFrame(rows).astype({"macs": "Int64"})
    return Use(
        image,
        table,
        1 + max(_covered(table, "shortest")),
        1 + max(_covered(table, "longest")),
        max(
            min(_size(field))
            for operator, field in zip(profile.graph, profile.fields, strict=True)
            if field is not None and not (operator.effect.kind == "pool" and operator.effect.window is None)
        ),
    )


def uses(
    networks: Mapping[str, ResNetSpec | str],
    profiles: Mapping[str, FieldProfile],
    side: int | None = None,
    make: Callable[[ResNetSpec | str, Pair | None], FieldProfile] = field_profile,
    report: Callable[[float, str], None] = lambda fraction, text: None,
) -> tuple[dict[str, Use], dict[str, str]]:
    """How well several networks are used, and of those of which not all is known the sentence that says why.

    A network that takes no images of the asked side has its `Use` all the same, by the fields that it has, without
    MACs; one whose paths have no fields has none.

    Args:
        networks, profiles: by the networks' names; those without a profile are left out.
        side: of square images, in pixels; None for the images of the profiles.
        make: `field_profile`, or a cache of it.
        report: told before each network how far it is; it may raise, to stop.
    """
    found: dict[str, Use] = {}
    refused: dict[str, str] = {}
    image = None if side is None else (side, side)
    for place, (name, profile) in enumerate(profiles.items()):
        report(place / len(profiles), f"Following the fields of {name}")
        seen = profile
        if image not in (None, profile.image):
            try:
                seen = make(networks[name], image)
            except Refusal as refusal:
                refused[name] = str(refusal)
        try:
            found[name] = use(seen, image)
        except NoField as refusal:
            refused[name] = str(refusal)
    return found, refused


def border_layer(used: Use, rule: Rule = "shortest") -> str | None:
    """The first layer, in the order of calls, that is unproductive; None where none is.

    In a chain all that follow are unproductive too; behind a shortcut there may be others that are not.

    Args:
        used: a network.
        rule: whether the shortest path's field decides, or that of all paths together.
    """
    covered = zip(used.table["name"], used.table[rule], used.table[f"{rule}_behind"], strict=True)
    return next((name for name, before, behind in covered if _goes_beyond(before, behind, used.image)), None)


def layer_rows(used: Use) -> pd.DataFrame:
    """The table of a network with each field as one text: "11", or "7x3" where height and width differ.

    >>> layer_rows(use(field_profile("vgg16")))["shortest"].tolist()[:4]
    ['1', '3', '6', '10']
    """
    table = used.table.copy()
    for column in ("shortest", "longest", "shortest_behind", "longest_behind"):
        table[column] = [str(height) if height == width else f"{height}x{width}" for height, width in table[column]]
    return table


def use_table(found: Mapping[str, Use]) -> pd.DataFrame:
    """A row a network.

    Returns:
        net: its name, the key. image: "height x width", in pixels.
        least, most, least_longest: sides of square images, as in `Use`.
        fit: "below" where some layer is unproductive, else "above" where no field is as large as the image, else
        "within".
        layers: rows of `Use.table`; unproductive, critical, partly, productive: how many of them are.
        border: `border_layer`, None where there is none; small_maps: how many layers have a `small_map`.
        params_unproductive ...: the shares of these layers' parameters in such layers, 0 to 1. macs_unproductive ...:
        of their multiply-accumulates; None where those are not known.
    """
    rows: list[dict[str, object]] = []
    for net, used in found.items():
        table = used.table
        counts: dict[str, int] = {status: int((table["status"] == status).sum()) for status in STATUSES}
        row: dict[str, object] = {
            "net": net,
            "image": f"{used.image[0]} x {used.image[1]}",
            "least": used.least,
            "most": used.most,
            "fit": "below" if counts["unproductive"] else "above" if used.most < max(used.image) else "within",
            "layers": len(table),
            **counts,
            "border": border_layer(used),
        }
        for column in ("params", "macs"):
            row |= {f"{column}_{status}": _share(table, column, status) for status in STATUSES}
        small_maps = int(table["small_map"].sum())
        rows.append({**row, "small_maps": small_maps, "least_longest": used.least_longest})
    return pd.DataFrame(rows)


def use_by_size(found: Mapping[str, Use], sides: Pair) -> pd.DataFrame:
    """Which share of each network is not unproductive, against the side of a square image: steps, and a row a step.

    Args:
        found: by the networks' names.
        sides: the smallest and the largest side, in pixels.

    Returns:
        net; side, from which on the shares hold; own, whether it is that of the network's own image (the longer one);
        layers_shortest, params_shortest, layers_longest, params_longest: the shares of the layers and of their
        parameters that are not unproductive, 0 to 1, by the shortest path and by all paths together.
    """
    parts: list[pd.DataFrame] = []
    for net, used in found.items():
        covered = {rule: np.array(_covered(used.table, rule)) for rule in get_args(Rule)}
        own = max(used.image)
        steps = {own, *sides, *(int(side) + 1 for rule in covered.values() for side in rule)}
        at = sorted(side for side in steps if sides[0] <= side <= sides[1])
        weights = {"layers": np.ones(len(used.table)), "params": used.table["params"].to_numpy(float)}
        parts.append(
            pd.DataFrame(
                {
                    "net": net,
                    "side": at,
                    "own": [side == own for side in at],
                    **{
                        f"{what}_{rule}": [float(weight[covered[rule] < side].sum() / weight.sum()) for side in at]
                        for rule in covered
                        for what, weight in weights.items()
                    },
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _shortest(profile: FieldProfile) -> list[Pair | None]:
    """(height, width) in pixels of the field of the path to each operator that has the smallest along each axis."""
    found: list[Pair | None] = []
    for operator in profile.graph:
        came: list[Field | None] = [
            IMAGE_FIELD if made_by == IMAGE else profile.fields[made_by] for made_by in operator.inputs
        ]
        ways: list[Pair] = []
        for made_by, field, seen in zip(operator.inputs, came, by_input(operator, came), strict=True):
            if field is None or seen is None:
                continue
            if not seen.even:
                raise NoField(
                    f"At {operator.name} the map was enlarged; from there on the field of a path depends on the unit, "
                    f"so nobody can say which layers are unproductive."
                )
            before = (1, 1) if made_by == IMAGE else found[made_by]
            assert before is not None  # it has a field
            (height, width), (old_height, old_width) = _size(seen), _size(field)
            ways.append((before[0] + height - old_height, before[1] + width - old_width))
        found.append((min(height for height, _ in ways), min(width for _, width in ways)) if ways else None)
    return found


def _size(field: Field) -> Pair:
    return field.height.size, field.width.size


def _small_map(before: Field, layer: Layer, image: Pair) -> bool:
    """Whether a layer's window is at least as large as the map that comes in."""
    kernel, dilation = layer.kernel or (1, 1), layer.dilation or (1, 1)
    sides = image[0] // before.height.stride, image[1] // before.width.stride
    return all(side <= d * (k - 1) + 1 for side, k, d in zip(sides, kernel, dilation, strict=True))


def _goes_beyond(before: Pair, behind: Pair, image: Pair) -> bool:
    """Whether what comes in has seen the whole image, and the layer looks beyond it, along both axes."""
    return all(old >= pixels < new for old, new, pixels in zip(before, behind, image, strict=True))


def _status(shortest: Pair, longest: Pair, shortest_behind: Pair, longest_behind: Pair, image: Pair) -> Status:
    if _goes_beyond(shortest, shortest_behind, image):
        return "unproductive"
    if all(new > pixels for new, pixels in zip(shortest_behind, image, strict=True)):
        return "critical"
    axes = zip(longest, longest_behind, image, strict=True)
    return "partly" if any(old >= pixels < new for old, new, pixels in axes) else "productive"


def _covered(table: pd.DataFrame, rule: Rule) -> list[int]:
    """The largest side of a square image at which each layer is unproductive; 0 where there is none."""
    fields = zip(table[rule], table[f"{rule}_behind"], strict=True)
    return [min(*before, *(side - 1 for side in behind)) for before, behind in fields]


def _share(table: pd.DataFrame, column: str, status: Status) -> float | None:
    """The part of a column's sum that stands in layers of one status; None where it is not known."""
    values = table[column]
    if values.isna().any():
        return None
    return int(values[table["status"] == status].sum()) / int(values.sum())
