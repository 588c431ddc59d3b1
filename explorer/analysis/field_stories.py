"""What receptive fields tell: along the depth of networks, over their paths, and small lessons with fixed networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pandas as pd
from torch import nn

from explorer.analysis.depth import network_depth
from explorer.analysis.fields import FieldProfile, field_profile
from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.paths import Paths
from explorer.analysis.rules import Pair

Maker = Callable[[str], FieldProfile]  # `field_profile`, or a cache of it


# --- along the depth


def field_lines(profiles: Mapping[str, FieldProfile]) -> pd.DataFrame:
    """How the field grows from the image to the last map with a local one, along the way with the most layers.

    Where height and width differ, the longer side of the field is told, with the stride and start along it.

    Args:
        profiles: by the networks' names.

    Returns:
        A row wherever something changes, the image first.
        net; name and stage of the last operator before the next change; depth, as in `FieldProfile`; share_of_depth, 0
        to 1 of the way's; receptive_field, jump (the stride) and start in pixels of the image; shortest and longest,
        the height of the fields of single paths, among all that cross the network there, those over shortcuts
        included, None behind an enlarged map, where nobody knows them; ends_stage, whether the way goes on in another
        stage, or no more.

    >>> from explorer.analysis.fields import field_profile
    >>> lines = field_lines({"ResNet-50": field_profile("resnet50")})
    >>> lines[lines["ends_stage"]]["receptive_field"].tolist()
    [11, 35, 91, 267, 427]
    """
    rows = [{"net": net, **row} for net, profile in profiles.items() for row in _line(profile)]
    lines = pd.DataFrame(rows)
    for column in ("shortest", "longest"):  # else pandas makes floats of integers beside None
        lines[column] = pd.Series([row[column] for row in rows], dtype=object)
    return lines


def _line(profile: FieldProfile) -> list[dict[str, Any]]:
    image = {"name": "image", "stage": "image", "depth": 0, "receptive_field": 1, "jump": 1, "start": 0.0}
    rows: list[dict[str, Any]] = [{**image, "shortest": 1, "longest": 1, "ends_stage": False}]
    table: Any = profile.table  # of whose rows the type checker knows nothing
    known = {row.operator: row for row in table[_LINE_COLUMNS].itertuples(index=False)}
    last = max(known)
    bands = _crossing(profile.graph, known, last)
    way = [known[here] for here in _longest_way(profile.graph, known, last)]
    for row, following in zip(way, [*way[1:], None], strict=True):
        side = 0 if row.size[0] >= row.size[1] else 1
        shortest, longest = bands[row.operator]
        told = {
            "name": row.name,
            "stage": row.stage,
            "depth": row.depth,
            "receptive_field": row.size[side],
            "jump": row.stride[side],
            "start": row.start[side],
            "shortest": shortest,
            "longest": longest,
            "ends_stage": following is None or following.stage != row.stage,
        }
        if len(rows) > 1 and all(rows[-1][column] == told[column] for column in _CHANGES):
            rows.pop()
        rows.append(told)
    depth = max(way[-1].depth, 1)
    return [{**row, "share_of_depth": row["depth"] / depth} for row in rows]


_LINE_COLUMNS = ["operator", "name", "stage", "depth", "size", "stride", "start", "shortest", "longest"]
_CHANGES = ("stage", "depth", "receptive_field", "jump", "start", "shortest", "longest")


def _longest_way(graph: Sequence[Operator], known: Mapping[int, Any], last: int) -> list[int]:
    """The operators on the way to one of them that has the most layers; of several the one with the largest fields."""
    way = [last]
    while before := [made_by for made_by in graph[way[-1]].inputs if made_by in known]:
        here = known[way[-1]].depth  # a gate may be deeper than the map that it weighs, which alone counts
        before = [made_by for made_by in before if known[made_by].depth <= here] or before
        way.append(max(before, key=lambda made_by: (known[made_by].depth, max(known[made_by].size))))
    return way[::-1]


def _crossing(graph: Sequence[Operator], known: Mapping[int, Any], last: int) -> dict[int, Pair | tuple[None, None]]:
    """The shortest and longest path, by field, to any map that is still needed behind each operator, for the last."""
    until = {last: last + 1}  # the operators that lead to the last, and which needs each at the latest
    for here in range(last, -1, -1):
        if here in until:
            for made_by in graph[here].inputs:
                if made_by == IMAGE or made_by in known:
                    until.setdefault(made_by, here)
    found: dict[int, Pair | tuple[None, None]] = {}
    needed: set[int] = {IMAGE}
    for here in sorted(until.keys() - {IMAGE}):
        needed = {made_by for made_by in needed if until[made_by] > here} | {here}
        ends = [(1, 1) if at == IMAGE else (known[at].shortest, known[at].longest) for at in needed]
        if any(pd.isna(low) for low, _ in ends):
            found[here] = None, None
        else:
            found[here] = int(min(low for low, _ in ends)), int(max(high for _, high in ends))
    return found


def last_fields(profiles: Mapping[str, FieldProfile]) -> pd.DataFrame:
    """The last local field of each network.

    Returns:
        net; receptive_field, the longer side in pixels, jump, its stride, both along that side; shortest and longest,
        the height of the fields of single paths, where known; image, the longer side of the image in pixels; covers,
        the part of the image's area in the box of the unit in the middle, 0 to 1; name, the layer; depth, its own;
        layers_behind, how many layers with weights follow, in which no unit has a local field; aligned, global_context.

    >>> from explorer.analysis.fields import field_profile
    >>> last_fields({"VGG-16": field_profile("vgg16")})[["receptive_field", "jump", "layers_behind"]].values.tolist()
    [[212, 32, 3]]
    """
    rows: list[dict[str, object]] = []
    for net, profile in profiles.items():
        row = profile.table.iloc[-1]
        side = 0 if row["size"][0] >= row["size"][1] else 1
        rows.append(
            {
                "net": net,
                "receptive_field": row["size"][side],
                "jump": row["stride"][side],
                "shortest": row["shortest"],
                "longest": row["longest"],
                "image": max(profile.image),
                "covers": row["covers"],
                "name": row["name"],
                "depth": row["depth"],
                "layers_behind": network_depth(profile.graph) - row["depth"],
                "aligned": row["aligned"],
                "global_context": row["global_context"],
            }
        )
    return pd.DataFrame(rows, columns=_LAST_COLUMNS)


_LAST_COLUMNS = [
    *("net", "receptive_field", "jump", "shortest", "longest", "image", "covers", "name", "depth", "layers_behind"),
    *("aligned", "global_context"),
]


# --- the table of one network

_PAIRS = ("units", "size", "stride", "start", "padding", "holes", "centre", "inside")


def readable_fields(table: pd.DataFrame) -> pd.DataFrame:
    """A `FieldProfile`'s table to read: one number for both axes where a column's are alike, else "427 x 213".

    The number of paths is text, as it may have hundreds of digits; None where nobody knows it.
    """
    shown = table.drop(columns=["operator", "receptive_field"])
    for column in _PAIRS:
        pairs = list(shown[column])
        alike = all(height == width for height, width in pairs)
        texts = [f"{height:g}" if height == width else f"{height:g} x {width:g}" for height, width in pairs]
        shown[column] = [height for height, _ in pairs] if alike else texts
    shown["paths"] = [None if pd.isna(number) else count_in_words(int(number)) for number in shown["paths"]]
    return shown


def wide_fields(table: pd.DataFrame) -> pd.DataFrame:
    """The same for a file: two columns for each pair, and every digit of the number of paths."""
    wide = table.drop(columns=["operator", "receptive_field"])
    for column in _PAIRS:
        place = int(wide.columns.get_loc(column))  # type: ignore[arg-type]
        pairs = list(wide.pop(column))
        wide.insert(place, f"{column}_height", [height for height, _ in pairs])
        wide.insert(place + 1, f"{column}_width", [width for _, width in pairs])
    wide["paths"] = [None if pd.isna(number) else str(number) for number in wide["paths"]]
    return wide


# --- paths


def count_in_words(number: int) -> str:
    """A whole number that may have hundreds of digits: exactly, or rounded with its power of ten.

    >>> count_in_words(65_536), count_in_words(2**600), count_in_words(3 * 10**40)
    ('65,536', '2^600, about 4.15 × 10^180', 'about 3.00 × 10^40')
    """
    if number < 10**9:
        return f"{number:,}"
    power = len(str(number)) - 1
    digits = (2 * number + 10 ** (power - 2)) // (2 * 10 ** (power - 2))  # rounded, in whole numbers
    if digits == 1000:
        digits, power = 100, power + 1
    rounded = f"about {digits // 100}.{digits % 100:02d} × 10^{power}"
    return f"2^{number.bit_length() - 1}, {rounded}" if number & (number - 1) == 0 else rounded


def share_table(paths: Mapping[str, Paths]) -> pd.DataFrame:
    """How the paths to a map are spread over the height of their fields: a row a network and height that there is.

    Args:
        paths: by the networks' names.

    Returns:
        net; height, pixels; paths, how many have it, as Python's own integers; share, of the network's paths, 0 to 1;
        up_to, the share of those with this height or less.
    """
    rows = []
    for net, one in paths.items():
        found = [(place, int(count)) for place, count in enumerate(one.counts) if count]
        running = accumulate(count for _, count in found)
        for (place, count), until in zip(found, running, strict=True):
            # Python divides integers of any length, and rounds once
            shares = {"share": count / one.number, "up_to": until / one.number}
            rows.append({"net": net, "height": one.least + place, "paths": count, **shares})
    return pd.DataFrame(rows).astype({"paths": object})


def middle_paths(paths: Paths) -> tuple[int, int]:
    """The heights in pixels between which at least 95% of the paths lie; at most 2.5% are lower, 2.5% higher."""
    sums = list(accumulate(int(count) for count in paths.counts))
    low = next(place for place, running in enumerate(sums) if 40 * running > paths.number)
    high = next(place for place, running in enumerate(sums) if 40 * running >= 39 * paths.number)
    return paths.least + low, paths.least + high


# --- stories


@dataclass(frozen=True)
class Cells:
    """Which pixels along one axis a unit sees: `lo + b` for every bit b of `seen`; pixels from 0, below it padding."""

    name: str
    lo: int
    seen: int

    @property
    def pixels(self) -> list[int]:
        """Those that it sees.

        >>> Cells("1x1 of stride 2, then 3x3", -2, 0b10101).pixels
        [-2, 0, 2]
        """
        return [self.lo + bit for bit in range(self.seen.bit_length()) if self.seen >> bit & 1]


@dataclass(frozen=True, eq=False)
class Story:
    """A lesson: `networks` are the names of those that it is told with, `table` its numbers; `profiles` the fields of
    networks along their depth, `cells` what a unit of small stacks sees, either of them empty where the story has none.
    """

    networks: tuple[str, ...]
    table: pd.DataFrame
    profiles: Mapping[str, FieldProfile]
    cells: tuple[Cells, ...]


def stacked() -> Story:
    """One, two and three 3x3 convolutions beside a 5x5 and a 7x7, of 64 channels each.

    table: design, convolutions, receptive_field, params (no biases), relus.

    >>> stacked().table[["design", "receptive_field", "params"]].values.tolist()[2]
    ['three 3x3', 7, 110592]
    """
    designs = {"one 3x3": (3,), "two 3x3": (3, 3), "three 3x3": (3, 3, 3), "one 5x5": (5,), "one 7x7": (7,)}
    rows, cells = [], []
    for name, kernels in designs.items():
        layers: list[nn.Module] = []
        for kernel in kernels:
            layers += [nn.Conv2d(64, 64, kernel, padding=kernel // 2, bias=False, device="meta"), nn.ReLU()]
        profile = field_profile(nn.Sequential(*layers), (32, 32))
        cells.append(_unit(name, profile))
        rows.append(
            {
                "design": name,
                "convolutions": len(kernels),
                "receptive_field": cells[-1].seen.bit_length(),
                "params": sum(operator.params for operator in profile.graph),
                "relus": len(kernels),
            }
        )
    return Story((), pd.DataFrame(rows), {}, tuple(cells))


def stride_place(make: Maker = field_profile) -> Story:
    """ResNet-50 with the stride on the 1x1, as published, and on the 3x3, as torchvision has it.

    table: name, the first two convolutions of the blocks that shrink the map, and the last map; jump and
        receptive_field behind it in pixels, in v1 (the 1x1) and in v15 (the 3x3); difference of the fields.

    >>> stride_place().table["difference"].tolist()
    [0, 8, 8, 24, 24, 56, 56]
    """
    networks = ("resnet50 stride_on=1x1", "resnet50")
    profiles = {name: make(name) for name in networks}
    first, second = (profile.table.set_index("name") for profile in profiles.values())
    names = [*(f"layer{stage}.0.conv{layer}" for stage in (2, 3, 4) for layer in (1, 2)), first.index[-1]]
    fields_v1, fields_v15 = ([table.loc[name, "receptive_field"] for name in names] for table in (first, second))
    table = pd.DataFrame(
        {
            "name": names,
            "jump_v1": [first.loc[name, "stride"][0] for name in names],
            "jump_v15": [second.loc[name, "stride"][0] for name in names],
            "receptive_field_v1": fields_v1,
            "receptive_field_v15": fields_v15,
            "difference": [one - other for one, other in zip(fields_v1, fields_v15, strict=True)],
        }
    )
    return Story(networks, table, profiles, ())


def dilation(make: Maker = field_profile) -> Story:
    """ResNet-50 whose last stages dilate in place of striding, and small stacks whose units do not see all pixels.

    table: net, receptive_field, jump, units (a side of the last map), holes, params and macs.
    """
    networks = ("resnet50", "resnet50 output_stride=16", "resnet50 output_stride=8")
    profiles = {name: make(name) for name in networks}
    rows = []
    for net, profile in profiles.items():
        last = profile.table.iloc[-1]
        rows.append(
            {
                "net": net,
                "receptive_field": last["receptive_field"],
                "jump": last["stride"][0],
                "units": last["units"][0],
                "holes": last["holes"][0],
                "params": sum(operator.params for operator in profile.graph),
                "macs": sum(operator.effect.macs for operator in profile.graph),
            }
        )
    stacks: dict[str, list[nn.Module]] = {
        "1x1 of stride 2, then 3x3": [nn.Conv2d(1, 1, 1, stride=2), nn.Conv2d(1, 1, 3, padding=1)],
        "3x3 of stride 2, then 3x3": [nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, padding=1)],
        "three 3x3, dilated 2, 2, 2": _dilated(2, 2, 2),
        "three 3x3, dilated 1, 2, 3": _dilated(1, 2, 3),
        "three 3x3, dilated 2, 4, 8": _dilated(2, 4, 8),
    }
    cells = tuple(_unit(name, field_profile(nn.Sequential(*layers), (64, 64))) for name, layers in stacks.items())
    return Story(networks, pd.DataFrame(rows), profiles, cells)


def plain_and_residual(make: Maker = field_profile) -> Story:
    """The 34-layer nets of He et al. 2015, without shortcuts and with them (option A).

    table: net, receptive_field; paths, in words; shortest, mean and longest, the heights of their fields in pixels.
    """
    networks = ("plain34", "resnet34_a")
    profiles = {name: make(name) for name in networks}
    rows = []
    for net, profile in profiles.items():
        last = profile.table.iloc[-1]
        numbers = {column: last[column] for column in ("receptive_field", "shortest", "mean", "longest")}
        rows.append({"net": net, "paths": count_in_words(int(last["paths"])), **numbers})
    return Story(networks, pd.DataFrame(rows), profiles, ())


def alignment(make: Maker = field_profile) -> Story:
    """The shortcuts of ResNet-50 and of ResNet-50-D, which shrinks them by a mean over 2x2.

    table: net; name, of a block that shrinks the map; main_start and shortcut_start, the centres of both branches'
        unit 0 in pixels of the image; apart, their distance; jump, the stride where they meet.
    """
    networks = ("resnet50", "resnet50d")
    rows = []
    for net in networks:
        table = make(net).table
        for block in (f"layer{stage}.0" for stage in (2, 3, 4)):
            main = table[table["name"].eq(f"{block}.bn3")].iloc[-1]
            shortcut = table[table["name"].str.startswith(f"{block}.downsample")].iloc[-1]
            starts = {"main_start": main["start"][0], "shortcut_start": shortcut["start"][0]}
            apart = abs(starts["main_start"] - starts["shortcut_start"])
            rows.append({"net": net, "name": block, **starts, "apart": apart, "jump": main["stride"][0]})
    layers: dict[str, nn.Module] = {
        "3x3 of stride 2": nn.Conv2d(1, 1, 3, stride=2, padding=1),
        "1x1 of stride 2": nn.Conv2d(1, 1, 1, stride=2),
        "2x2 mean of stride 2": nn.AvgPool2d(2),
    }
    cells = tuple(_unit(name, field_profile(layer, (32, 32))) for name, layer in layers.items())
    return Story(networks, pd.DataFrame(rows), {}, cells)


def _dilated(*steps: int) -> list[nn.Module]:
    return [nn.Conv2d(1, 1, 3, padding=step, dilation=step) for step in steps]


def _unit(name: str, profile: FieldProfile) -> Cells:
    """What unit 0 of the last map sees along the height."""
    field = profile.fields[-1]
    assert field is not None  # the stacks above have no head
    return Cells(name, field.height.lo, field.height.seen)
