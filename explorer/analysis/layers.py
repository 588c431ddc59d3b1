"""The layer table: one sweep of the rules over the graph of a network."""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
from torch import nn

from explorer.analysis.graph import Operator, trace
from explorer.analysis.rules import Activation, Pair, Shape
from explorer.models import zoo
from explorer.spec import ResNetSpec

BYTES = 4  # of a float32


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the layer table."""

    name: str
    stage: str
    block: int | None
    kind: str
    kernel: Pair | None
    stride: Pair | None
    padding: Pair | None
    dilation: Pair | None
    groups: int | None
    input_shape: Shape
    output_shape: Shape
    params: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Totals:
    """The sums of a layer table's columns, as Python integers."""

    layers: int
    params: int
    macs: int
    activation_bytes: int


def layer_table(network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None) -> pd.DataFrame:
    """A row a layer, in the order of calls, for one image; no weight is allocated for a spec or a name.

    Args:
        network: a spec, any name of the zoo, or a module (left as it was; its input is an image).
        image_size: (height, width) in pixels; by default the spec's own, or the size that the network is used at.

    Returns:
        name: dotted, as in `model.named_modules()`; a function's has its caller's name in front.
        stage, block: "stem", "1" ..., "head"; the block inside the stage from 1 (None outside of blocks). Networks
        without torchvision's `layer1` ... are divided by resolution.
        kind: conv, linear, norm, activation, pool, add, concat, multiply, pad, reshape, dropout, identity ...
        kernel, stride, padding, dilation: (height, width); None where there is no window. groups likewise.
        input_shape, output_shape: (channels, height, width) or (features,), without the batch; the largest of several
        inputs.
        params: weights and biases, running statistics not; a shared one is counted once, where it is first used.
        macs: multiply-accumulates of convolutions, linear layers and matrix products, without bias, norm, activation
        and pooling.
        activation_bytes: of the output at float32; 0 for a view. What runs in place is counted as if it did not.

    Raises:
        UnknownNetwork: no such name. UnknownOperator: something in it has no rule. DoesNotFit: the image is too small,
        or has other channels than the network takes.

    >>> table = layer_table("vgg16")
    >>> int(table.params.sum()), int(table.macs.sum())
    (138357544, 15470264320)
    """
    return operator_table(operators(network, image_size))


def operators(network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None) -> list[Operator]:
    """The graph of a network; arguments and errors as for `layer_table`."""
    return trace(*model_and_input(network, image_size))


def model_and_input(
    network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None
) -> tuple[nn.Module, Shape]:
    """The module itself, on the meta device for a spec or a name, and the (channels, height, width) of its image."""
    if isinstance(network, nn.Module):
        first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
        return network, (first.in_channels if first else 3, *(image_size or (224, 224)))
    return zoo.network(network, image_size)


def layers(network: ResNetSpec | str | nn.Module, image_size: tuple[int, int] | None = None) -> list[Layer]:
    """The rows of `layer_table`."""
    return label(operators(network, image_size))


def operator_table(graph: list[Operator]) -> pd.DataFrame:
    """The layer table of a graph."""
    rows = label(graph)
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    for name in ("block", "groups"):  # whole numbers or None
        columns[name] = pd.array(columns[name], dtype="Int64")
    return pd.DataFrame(columns)


def stage_table(table: pd.DataFrame) -> pd.DataFrame:
    """Sums of a layer table by stage: layers, params, macs, activation_bytes, and the shape that leaves the stage."""
    rows: dict[str, dict[str, Any]] = {}  # by stage; a pandas groupby takes ten times as long
    names = ("stage", "output_shape", *_SUMS)
    for stage, output_shape, *numbers in zip(*(table[name] for name in names), strict=True):
        row = rows.setdefault(stage, {"stage": stage, "layers": 0, "output_shape": None, **dict.fromkeys(_SUMS, 0)})
        row["layers"] += 1
        row["output_shape"] = output_shape
        for name, number in zip(_SUMS, numbers, strict=True):
            row[name] += number
    return pd.DataFrame(list(rows.values()))


def totals(table: pd.DataFrame) -> Totals:
    """Sums over the whole network."""
    return Totals(len(table), *(sum(map(int, table[column])) for column in _SUMS))


def select_layers(
    table: pd.DataFrame, text: str = "", kinds: Collection[str] = (), stages: Collection[str] = ()
) -> pd.DataFrame:
    """The rows of a layer table whose name contains the text, of these kinds and stages; an empty filter takes all."""
    chosen = table["name"].str.contains(text.strip(), case=False, regex=False)
    if kinds:
        chosen &= table["kind"].isin(kinds)
    if stages:
        chosen &= table["stage"].isin(stages)
    return table[chosen]


_SUMS = ("params", "macs", "activation_bytes")
_COLUMNS = [item.name for item in fields(Layer)]


# --- stages and blocks

_IN_STAGE = re.compile(r"layer(\d+)\.(\d+)(?:\.|$)")


def label(operators: list[Operator]) -> list[Layer]:
    """The rows of a graph's layer table: each operator with its stage and block."""
    place: Callable[[int], tuple[str, int | None]]
    place = _by_name(operators) if _has_named_stages(operators) else _by_resolution(operators)
    return [_row(operator, *place(index)) for index, operator in enumerate(operators)]


def _has_named_stages(operators: list[Operator]) -> bool:
    """Whether all but stem and head stands in `layer1` ...; HRNet has a `layer1` too, and most of it comes later."""
    last = max((index for index, operator in enumerate(operators) if _IN_STAGE.match(operator.name)), default=None)
    return last is not None and not any(operator.effect.kind == "conv" for operator in operators[last + 1 :])


def _by_name(operators: list[Operator]) -> Callable[[int], tuple[str, int | None]]:
    """Stages as torchvision's ResNets name them."""
    found = [_IN_STAGE.match(operator.name) for operator in operators]
    first = next(index for index, match in enumerate(found) if match)

    def label(index: int) -> tuple[str, int | None]:
        if match := found[index]:
            return match[1], int(match[2]) + 1
        return ("stem" if index < first else "head"), None

    return label


def _by_resolution(operators: list[Operator]) -> Callable[[int], tuple[str, int | None]]:
    """A stage for each new resolution; the head begins where no later output is larger than 1x1.

    A branch that shrinks for a while, as in squeeze-excitation, stays in the stage around it.
    """
    areas = [max(map(_area, operator.gives), default=1) for operator in operators]
    end = max((index for index, area in enumerate(areas) if area > 1), default=-1)
    stages: list[str] = []
    smallest, stage = math.inf, 0
    for area in areas[: end + 1]:
        if 1 < area < smallest:
            smallest, stage = area, stage + 1
        stages.append(str(max(stage, 1)))
    return lambda index: (stages[index] if index <= end else "head", None)


def _area(activation: Activation) -> int:
    """Pixels of a feature map; 1 of what is none, and of a 1x1 map whose channels come last."""
    shape = activation.shape
    return shape[2] * shape[3] if len(shape) == 4 and shape[1:3] != (1, 1) else 1


def _row(operator: Operator, stage: str, block: int | None) -> Layer:
    effect, window = operator.effect, operator.effect.window
    largest = max(operator.takes, key=lambda activation: activation.elements, default=None)
    size = 0 if effect.view else BYTES * sum(output.elements for output in operator.gives)
    kernel, steps, padding, dilation = (
        (window.kernel, window.stride, window.padding, window.dilation) if window else (None, None, None, None)
    )
    return Layer(
        operator.name,
        stage,
        block,
        effect.kind,
        kernel,
        steps,
        padding,
        dilation,
        window.groups if window and effect.kind == "conv" else None,
        largest.shape[1:] if largest else (),
        operator.gives[0].shape[1:] if operator.gives else (),
        operator.params,
        effect.macs,
        size,
    )
