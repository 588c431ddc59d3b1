"""Networks side by side: a row a network, a column a kind of layer, a point a depth, and two of them layer by layer."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import accumulate, zip_longest
from typing import Any, TypeVar

import pandas as pd

from explorer.analysis.layers import Layer
from explorer.analysis.profile import Profile, profile
from explorer.analysis.rules import Shape
from explorer.errors import Refusal
from explorer.models.published import WINNERS, Accuracy, accuracies, counts
from explorer.spec import ResNetSpec

Maker = Callable[[ResNetSpec | str, tuple[int, int] | None], Profile]  # `profile`, or a cache of it

_Numbers = TypeVar("_Numbers")

_WALKED = ("conv", "pool", "linear")  # the layers that a lecture walks through


def profiles(
    networks: Mapping[str, ResNetSpec | str],
    image_size: tuple[int, int] | None,
    make: Callable[[ResNetSpec | str, tuple[int, int] | None], _Numbers],
    report: Callable[[float, str], None] = lambda fraction, text: None,
) -> tuple[dict[str, _Numbers], dict[str, str]]:
    """The profiles of several networks, and of those that have none the sentence that says why.

    Args:
        networks: by the name that each shall have.
        image_size: (height, width) for all of them; None for each one's own.
        make: what gives a profile of a network on an image: `profile`, `field_profile`, or a cache of one.
        report: told before each network how far it is; it may raise, to stop.
    """
    found: dict[str, _Numbers] = {}
    refused: dict[str, str] = {}
    for place, (name, network) in enumerate(networks.items()):
        report(place / len(networks), f"Counting {name}")
        try:
            found[name] = make(network, image_size)
        except Refusal as refusal:
            refused[name] = str(refusal)
    return found, refused


def comparison_table(profiles: Mapping[str, Profile]) -> pd.DataFrame:
    """A row a network.

    Returns:
        net: its name, the key.
        input_shape: (channels, height, width) of the image that the rest is for.
        depth: convolutions and linear layers on the longest way from image to output.
        params, macs, activation_bytes: as in `layer_table`, summed.
        receptive_field: side in pixels of what a unit of the last feature map sees; None where it sees the whole image
        or nobody knows.
    """
    rows = [
        {
            "net": net,
            "input_shape": one.input_shape,
            "depth": one.depth,
            "params": one.totals.params,
            "macs": one.totals.macs,
            "activation_bytes": one.totals.activation_bytes,
            "receptive_field": one.field,
        }
        for net, one in profiles.items()
    ]
    return pd.DataFrame(rows).astype({"receptive_field": "Int64"})


def kind_table(profiles: Mapping[str, Profile], column: str) -> pd.DataFrame:
    """Where a quantity is: a row a network, a column a kind of layer that has any of it in one of them.

    Args:
        profiles: by the networks' names.
        column: "params", "macs" or "activation_bytes".
    """
    rows: list[dict[str, int]] = []
    for one in profiles.values():
        sums: dict[str, int] = {}
        for kind, value in zip(one.table["kind"], one.table[column], strict=True):
            sums[kind] = sums.get(kind, 0) + value
        rows.append(sums)
    kinds = [kind for kind in dict.fromkeys(kind for sums in rows for kind in sums) if any(s.get(kind) for s in rows)]
    table = {"net": list(profiles), **{kind: [sums.get(kind, 0) for sums in rows] for kind in kinds}}
    return pd.DataFrame(table)


def depth_table(profiles: Mapping[str, Profile], column: str) -> pd.DataFrame:
    """A quantity by depth: a row a network and depth.

    Args:
        profiles: by the networks' names.
        column: "params", "macs" or "activation_bytes".

    Returns:
        net; depth, from 0, what stands before the first layer with weights, to the network's own; share_of_depth, 0 to
        1; value, of all operators at that depth; running, the sum up to there; running_share, 0 to 1 of the whole.
    """
    parts: list[pd.DataFrame] = []
    for net, one in profiles.items():
        values = [0] * (1 + max(one.depth, *one.table["depth"]))
        for depth, value in zip(one.table["depth"], one.table[column], strict=True):
            values[depth] += value
        running = list(accumulate(values))
        parts.append(
            pd.DataFrame(
                {
                    "net": net,
                    "depth": range(len(values)),
                    "share_of_depth": [place / max(one.depth, 1) for place in range(len(values))],
                    "value": values,
                    "running": running,
                    "running_share": [total / max(running[-1], 1) for total in running],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def accuracy_table(
    networks: Mapping[str, ResNetSpec | str],
    make: Maker = profile,
    report: Callable[[float, str], None] = lambda fraction, text: None,
) -> pd.DataFrame:
    """A row a published accuracy, those of one network together, in the order of `published.accuracies`.

    Args:
        networks: by the name that each shall have; one that has no profile has no row.
        make, report: as for `profiles`.

    Returns:
        net, depth, params; macs, for one image of the size that the accuracy was measured at, but of the network's own
        size where it slid over whole pictures or that size does not go through it; then the fields of
        `published.Accuracy`.
    """
    rows: list[dict[str, Any]] = []
    for net, own in profiles(networks, None, make, report)[0].items():
        for accuracy in accuracies(networks[net]):
            report(0, f"Counting {net} at other sizes")  # asks whether to stop; how far it is stays as it was
            seen = own
            if accuracy.size is not None and accuracy.crops is not None:
                with suppress(Refusal):
                    seen = make(networks[net], (accuracy.size, accuracy.size))
            figures = {"net": net, "depth": own.depth, "params": own.totals.params, "macs": seen.totals.macs}
            rows.append({**figures, **asdict(accuracy)})
    names = [field.name for field in fields(Accuracy)]
    return pd.DataFrame(rows, columns=["net", "depth", "params", "macs", *names])


def first_of_each(accuracies: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Of an accuracy table the first row of each network that has a number in one of the columns."""
    return accuracies[accuracies[list(columns)].notna().any(axis=1)].drop_duplicates("net")


def published_table(networks: Mapping[str, ResNetSpec | str], make: Maker = profile) -> pd.DataFrame:
    """What is printed of the networks' counts beside ours, at each one's own image size: a row a source.

    Args:
        networks, make: as for `accuracy_table`.

    Returns:
        net; params_printed, params, params_difference (printed less ours), and the same of macs; None where it is not
        printed; source. Papers round.
    """
    rows = [
        {
            "net": net,
            "params_printed": record.params,
            "params": own.totals.params,
            "params_difference": None if record.params is None else record.params - own.totals.params,
            "macs_printed": None if record.gmacs is None else round(1e9 * record.gmacs),
            "macs": own.totals.macs,
            "macs_difference": None if record.gmacs is None else round(1e9 * record.gmacs) - own.totals.macs,
            "source": record.source,
        }
        for net, own in profiles(networks, None, make)[0].items()
        for record in counts(networks[net])
    ]
    numbers = [f"{column}{end}" for column in ("params", "macs") for end in ("_printed", "", "_difference")]
    return pd.DataFrame(rows, columns=["net", *numbers, "source"]).astype(dict.fromkeys(numbers, "Int64"))


def winners_table() -> pd.DataFrame:
    """A row an entry to ImageNet's challenge, by year: the fields of `published.Winner`."""
    return pd.DataFrame([asdict(winner) for winner in WINNERS]).astype({"layers": "Int64", "models": "Int64"})


@dataclass(frozen=True)
class Pair:
    """A row of two networks side by side: the rows of their own layer tables, None where one has no more here."""

    scale: str  # "1/1", "1/2" ... of the image's side, then "head"
    left: int | None
    right: int | None


def aligned(left: Profile, right: Profile, *, every: bool = False) -> list[Pair]:
    """Two networks layer by layer, side by side where their maps are alike small beside the image.

    A layer stands at scale 1/2^k where its output is nearest to that part of its image's side, on a logarithmic scale:
    AlexNet's 55 pixels of 227 stand beside ResNet's 56 of 224. What comes behind the last map of more than one pixel
    stands in the head.

    Args:
        left, right: the networks.
        every: all operators; otherwise convolutions, pools and linear layers.
    """
    places = [_by_scale(profile, every) for profile in (left, right)]
    pairs: list[Pair] = []
    for scale in sorted(set().union(*places), key=lambda scale: math.inf if scale is None else scale):
        name = "head" if scale is None else f"1/{2**scale}"
        pairs += [Pair(name, *rows) for rows in zip_longest(*(place.get(scale, []) for place in places))]
    return pairs


def first_shared(pairs: Sequence[Pair]) -> int:
    """The first row in which both networks have a layer; 0 where there is none."""
    return next((row for row, pair in enumerate(pairs) if pair.left is not None and pair.right is not None), 0)


def walked_table(pairs: Sequence[Pair], left: Profile, right: Profile) -> pd.DataFrame:
    """The layers of such pairs.

    Returns:
        scale; then for either side, with "left_" or "right_" in front: layer, its name; window, its kernel, its stride
        behind a "/" and its groups; output_shape, params, macs, activation_bytes as in the layer table. None where
        there is no layer or no window.
    """
    columns: dict[str, Any] = {"scale": [pair.scale for pair in pairs]}
    numbers: list[str] = []
    for side, one in (("left", left), ("right", right)):
        rows = [getattr(pair, side) for pair in pairs]
        layers = [None if row is None else layer_at(one, row) for row in rows]
        columns[f"{side}_layer"] = [layer and layer.name for layer in layers]
        columns[f"{side}_window"] = [layer and _window(layer) for layer in layers]
        columns[f"{side}_output_shape"] = [layer and "x".join(map(str, layer.output_shape)) for layer in layers]
        for column in ("params", "macs", "activation_bytes"):
            columns[f"{side}_{column}"] = [layer and getattr(layer, column) for layer in layers]
            numbers.append(f"{side}_{column}")
    return pd.DataFrame(columns).astype(dict.fromkeys(numbers, "Int64"))


def layer_at(profile: Profile, row: int) -> Layer:
    """A row of a profile's layer table as a `Layer`."""
    values = profile.table.iloc[row]
    return Layer(**{field.name: _none(values[field.name]) for field in fields(Layer)})


def short_names(texts: Iterable[str], longest: int = 32) -> list[str]:
    """Names for charts and tables: of a preset with many changes the preset and how many, numbered where two are alike.

    >>> short_names(["vgg16", "resnet50 width=32", "resnet50 width=32 stem_width=32 cardinality=32"])
    ['vgg16', 'resnet50 width=32', 'resnet50, 3 changes']
    """
    names: list[str] = []
    for text in texts:
        preset, *changes = text.split()
        name = f"{preset}, {len(changes)} changes" if changes and len(text) > longest else text
        alike = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({alike + 1})" if alike else name)
    return names


def _window(layer: Layer) -> str | None:
    if layer.kernel is None:
        return None
    high, wide = layer.stride or (1, 1)
    steps = "" if high == wide == 1 else f" / {high}" if high == wide else f" / {high}x{wide}"
    groups = f", {layer.groups} groups" if layer.groups and layer.groups > 1 else ""
    return "x".join(map(str, layer.kernel)) + steps + groups


def _none(value: Any) -> Any:
    return None if value is pd.NA else value


def _by_scale(profile: Profile, every: bool) -> dict[int | None, list[int]]:
    """Rows of the layer table by scale, the power of two that the image's side is divided by; None is the head."""
    shapes, kinds = list(profile.table["output_shape"]), list(profile.table["kind"])
    last = max((row for row, shape in enumerate(shapes) if _places(shape) > 1), default=-1)
    image, scale = _side(profile.input_shape), 0
    scales: dict[int | None, list[int]] = {}
    for row, (shape, kind) in enumerate(zip(shapes, kinds, strict=True)):
        # Convolutions and pools make the maps, and what follows them works on these: gates, tokens, channels put last.
        if kind in ("conv", "pool", "upsample") and len(shape) == 3 and _side(shape) > 1:
            scale = max(0, round(math.log2(image / _side(shape))))
        if every or kind in _WALKED:
            scales.setdefault(scale if row <= last else None, []).append(row)
    return scales


def _side(shape: Shape) -> float:
    """The side of a map in pixels, the geometric mean of both."""
    return math.sqrt(shape[1] * shape[2])


def _places(shape: Shape) -> int:
    """Places that a map or a row of tokens has, more than one or not; features have one."""
    if len(shape) == 3:
        return 1 if shape[:2] == (1, 1) else shape[1] * shape[2]
    return shape[0] if len(shape) == 2 else 1
