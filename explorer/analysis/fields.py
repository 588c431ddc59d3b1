"""All that one network's units can see: field, paths, holes and the part inside the image, a row an operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn

from explorer.analysis.depth import operator_depths
from explorer.analysis.graph import Operator, Place, followed
from explorer.analysis.layers import label, model_and_input
from explorer.analysis.paths import path_sweep
from explorer.analysis.receptive import Axis, Field, NoField, field_sweep
from explorer.analysis.rules import Pair, Shape
from explorer.spec import ResNetSpec


@dataclass(frozen=True, eq=False)
class FieldProfile:
    """What the units of a network see; it is shared, so nobody changes it.

    graph: its operators; fields: the receptive field behind each, None where there is no local one.
    input_shape: (channels, height, width) of the image, in pixels.
    places: by an operator's number, the call of the module that returns what it gives; not all have one.
    table: a row an operator with a local field, in the order of calls. Columns: operator, its number in the graph from
        0; name, stage and kind, as in `layer_table`; depth, the layers with weights on the longest way to it; units,
        (height, width) of its map; size, stride, start and padding, as in `receptive_fields` but always pairs
        (height, width); receptive_field, the longer side; holes, rows and columns in the box that the unit does not
        see; even, aligned, global_context; centre, (row, column) of the pixel that the unit in the middle is centred
        on; inside, rows and columns of the image in the box of the unit in the middle;
        covers, the part of the image's area in it, 0 to 1; paths, how many lead here; shortest, longest and mean, the
        height of their fields; None where the field is not even, as a path's then depends on the unit.
    """

    graph: Sequence[Operator]
    fields: Sequence[Field | None]
    input_shape: Shape
    places: Mapping[int, Place]
    table: pd.DataFrame

    @property
    def image(self) -> Pair:
        """(height, width) in pixels."""
        return self.input_shape[1], self.input_shape[2]


@dataclass(frozen=True)
class Box:
    """Pixels of an image, the first and the last along each axis; those below 0 are padding."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Pair:
        """(height, width) in pixels."""
        return self.bottom - self.top + 1, self.right - self.left + 1


def box_of(field: Field, unit: Pair) -> Box:
    """The theoretical field of a unit, given as (row, column) from 0.

    >>> from explorer.analysis.receptive import IMAGE_FIELD
    >>> box_of(IMAGE_FIELD, (5, 7))
    Box(top=5, bottom=5, left=7, right=7)
    """
    (top, bottom), (left, right) = (
        axis.span(place) for axis, place in zip((field.height, field.width), unit, strict=True)
    )
    return Box(top, bottom, left, right)


def centre_of(field: Field, unit: Pair) -> tuple[float, float]:
    """The (row, column) of the pixel on which a unit is centred; a half between two."""
    box = box_of(field, unit)
    return (box.top + box.bottom) / 2, (box.left + box.right) / 2


def unit_at(field: Field, units: Pair, point: tuple[float, float]) -> Pair:
    """The unit of a map of (rows, columns) units whose centre is nearest to a pixel."""
    row, column = (
        min(range(count), key=lambda place: abs(sum(axis.span(place)) / 2 - pixel))
        for axis, count, pixel in zip((field.height, field.width), units, point, strict=True)
    )
    return row, column


def pixels_inside(axis: Axis, unit: int, pixels: int) -> int:
    """How many of an image's pixels along one axis lie in the box of a unit, holes included; 0 where it misses them.

    Args:
        axis: the field. unit: its number from 0. pixels: the image's.

    >>> pixels_inside(Axis(stride=2, lo=-3, seen=0b1111111, place=-1), unit=0, pixels=224)
    4
    """
    first, last = axis.span(unit)
    return max(min(last, pixels - 1) - max(first, 0) + 1, 0)


def field_profile(network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None) -> FieldProfile:
    """The fields of a spec, of a network of the zoo or of a module; arguments and errors as for `receptive_fields`.

    >>> table = field_profile("resnet50").table
    >>> [int(table[column].iloc[-1]) for column in ("receptive_field", "shortest", "longest")]
    [427, 11, 427]
    """
    model, shape = model_and_input(network, image_size)
    graph, places = followed(model, shape)
    fields, depths = field_sweep(graph), operator_depths(graph)
    rows = [
        {
            "operator": here,
            "name": layer.name,
            "stage": layer.stage,
            "kind": layer.kind,
            "depth": depths[here],
            **_seen(field, units_of(graph[here], field), (shape[1], shape[2])),
            "paths": paths and paths.number,
            "shortest": paths and paths.shortest,
            "longest": paths and paths.longest,
            "mean": paths and paths.mean,
        }
        for here, (layer, field, paths) in enumerate(zip(label(graph), fields, path_sweep(graph), strict=True))
        if field is not None
    ]
    if not rows:
        raise NoField("No unit of this network has a local receptive field: each sees the whole image from the start.")
    return FieldProfile(graph, fields, shape, places, _table(rows))


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """The rows; whole numbers stay so beside None, however large."""
    table = pd.DataFrame(rows)
    for column in _PATHS:
        table[column] = pd.Series([row[column] for row in rows], dtype=object)
    return table


_PATHS = ("paths", "shortest", "longest", "mean")


def _seen(field: Field, units: Pair, image: Pair) -> dict[str, object]:
    """The columns that tell of the field itself."""
    axes, middle = (field.height, field.width), (units[0] // 2, units[1] // 2)
    height, width = map(pixels_inside, axes, middle, image)
    pairs = {
        number: tuple(getattr(axis, number) for axis in axes)
        for number in ("size", "stride", "start", "padding", "holes")
    }
    return {
        "units": units,
        **pairs,
        "receptive_field": max(field.height.size, field.width.size),
        "even": field.even,
        "aligned": field.aligned,
        "global_context": field.global_context,
        "centre": centre_of(field, middle),
        "inside": (height, width),
        "covers": height * width / (image[0] * image[1]),
    }


def units_of(operator: Operator, field: Field) -> Pair:
    """The (height, width) of the map that an operator gives, wherever its axes are."""
    shape = operator.gives[0].shape
    return shape[field.height.place], shape[field.width.place]
