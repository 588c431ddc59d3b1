"""What one network is, in numbers: its layers, their sums, how deep it is and what its last map sees."""

from dataclasses import dataclass

import pandas as pd

from explorer.analysis.depth import network_depth, operator_depths
from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.layers import Totals, operator_table, operators, stage_table, totals
from explorer.analysis.receptive import NoField, field_by_stage, field_table
from explorer.analysis.rules import Shape, UnknownOperator
from explorer.spec import ResNetSpec


@dataclass(frozen=True)
class Profile:
    """A network in numbers, for one image; it is shared, so nobody changes its tables.

    table: the layer table (`layer_table`), with `receptive_field`, the longer side in pixels, None where there is none,
        and `depth`, the layers with weights on the longest way from the image to there (`operator_depths`).
    stages: the stage table (`stage_table`), with `receptive_field` too.
    input_shape: (channels, height, width) of the image.
    depth: of the whole network, as papers count it.
    field: side in pixels of what a unit of the last feature map sees; None where it sees the whole image, as a
        transformer's tokens do, or nobody knows.
    global_context: whether these units depend on the whole image besides, through a gate say.
    """

    table: pd.DataFrame
    stages: pd.DataFrame
    totals: Totals
    input_shape: Shape
    depth: int
    field: int | None
    global_context: bool


def profile(network: ResNetSpec | str, image_size: tuple[int, int] | None = None) -> Profile:
    """The numbers of a spec or a network of the zoo; arguments and errors as for `layer_table`.

    >>> vgg = profile("vgg16")
    >>> vgg.depth, vgg.totals.params, vgg.field
    (16, 138357544, 212)
    """
    graph = operators(network, image_size)
    table, depths = operator_table(graph), operator_depths(graph)
    stages = stage_table(table)
    sizes, stage_sizes, global_context = _fields(graph)
    table["receptive_field"] = pd.array(sizes, dtype="Int64")
    stages["receptive_field"] = pd.array(stage_sizes or [None] * len(stages), dtype="Int64")
    table["depth"] = depths
    return Profile(
        table,
        stages,
        totals(table),
        next(operator.takes[operator.inputs.index(IMAGE)].shape[1:] for operator in graph if IMAGE in operator.inputs),
        network_depth(graph),
        None if _sees_all(graph, sizes) else next((size for size in reversed(sizes) if size is not None), None),
        global_context,
    )


def _fields(graph: list[Operator]) -> tuple[list[int | None], list[int | None], bool]:
    """The field's longer side behind each operator and each stage, and whether the last map has global context."""
    try:
        fields = field_table(graph)
    except (NoField, UnknownOperator):
        return [None] * len(graph), [], False
    local = fields[fields["size"].notna()]
    context = bool(local["global_context"].iloc[-1]) if len(local) else True
    return [*map(_longer, fields["size"])], [*map(_longer, field_by_stage(fields)["size"])], context


def _longer(size: object) -> int | None:
    return max(size) if isinstance(size, tuple) else size  # type: ignore[return-value]


def _sees_all(graph: list[Operator], sizes: list[int | None]) -> bool:
    """Whether layers go on over tokens of which each sees the whole image."""
    last = max((place for place, size in enumerate(sizes) if size is not None), default=-1)
    return any(
        operator.effect.kind == "linear" and len(shape := taken.shape) == 3 and shape[1] > 1
        for operator in graph[last + 1 :]
        for taken in operator.takes[:1]
    )
