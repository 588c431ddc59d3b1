"""The outline of a network: stem, stages and head, with blocks that are alike told once."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Literal, get_args

import pandas as pd

from explorer.analysis.layers import Layer
from explorer.analysis.rules import Shape

ShortcutKind = Literal["identity", "projection", "padded", "gated", "none"]
SHORTCUT_KINDS: tuple[ShortcutKind, ...] = get_args(ShortcutKind)


@dataclass(frozen=True)
class Run:
    """Consecutive blocks of a stage that are alike in all but their weights, told by the first of them.

    Attributes:
        first, count: the number of the first block in its stage, from 1, and how many blocks there are.
        design: "bottleneck", "basic" or plainly "block", by the kernels of its convolutions.
        shortcut: "identity"; "projection", with a convolution of its own; "padded", option A; "gated", weighed by a
            gate; "none" where the block adds nothing.
        main: the layers of one block but for those of `side` and `gate`, in the order of calls, with the sum and what
            follows it.
        side: the shortcut's own layers.
        gate: the gate's layers.
        leaves: how many layers of `main` come before the shortcut leaves it. A projection behind a first norm and
            activation reads what they give (He et al. 2016, section 4.1); every other shortcut reads the block's input.
    """

    first: int
    count: int
    design: str
    shortcut: ShortcutKind
    main: tuple[Layer, ...]
    side: tuple[Layer, ...]
    gate: tuple[Layer, ...]
    leaves: int

    @property
    def last(self) -> int:
        """The number of its last block in the stage."""
        return self.first + self.count - 1

    @property
    def block_params(self) -> int:
        """Weights and biases of one block."""
        return sum(layer.params for layer in (*self.main, *self.side, *self.gate))

    @property
    def block_macs(self) -> int:
        """Multiply-accumulates of one block, for one image."""
        return sum(layer.macs for layer in (*self.main, *self.side, *self.gate))

    @property
    def params(self) -> int:
        """Weights and biases of all its blocks."""
        return self.count * self.block_params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all its blocks, for one image."""
        return self.count * self.block_macs

    @property
    def output_shape(self) -> Shape:
        """What leaves each of its blocks."""
        return self.main[-1].output_shape


@dataclass(frozen=True)
class Stage:
    """A stage; one that is not made of blocks, or whose blocks have no names, has no runs.

    `layers` counts rows of the layer table, `joins` the sums and concatenations among them.
    """

    name: str
    input_shape: Shape
    output_shape: Shape
    params: int
    macs: int
    layers: int
    joins: int
    runs: tuple[Run, ...]

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True)
class Outline:
    """A network in a dozen lines, whatever its depth; `image` is the shape of its input."""

    image: Shape
    stem: tuple[Layer, ...]
    stages: tuple[Stage, ...]
    head: tuple[Layer, ...]

    @property
    def params(self) -> int:
        """Weights and biases of the network."""
        return sum(part.params for part in self._parts())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network, for one image."""
        return sum(part.macs for part in self._parts())

    def _parts(self) -> "tuple[Layer | Stage, ...]":
        return (*self.stem, *self.stages, *self.head)


@dataclass(frozen=True)
class Volume:
    """A feature map on the way through a network, (channels, height, width), and what gives it."""

    names: tuple[str, ...]
    shape: tuple[int, int, int]


def outline(table: pd.DataFrame) -> Outline:
    """The outline of a layer table; its sums are the table's.

    Args:
        table: all rows of `layer_table`, in their order.

    >>> from explorer.analysis.layers import layer_table
    >>> [(run.first, run.last, run.shortcut) for run in outline(layer_table("resnet152")).stages[2].runs]
    [(1, 1, 'projection'), (2, 36, 'identity')]
    """
    rows = list(zip(*(_values(table[name]) for name in _COLUMNS), strict=True))
    by_stage: dict[str, list[_Row]] = {}
    for row in rows:
        by_stage.setdefault(row[_STAGE], []).append(row)
    stem, head = (tuple(Layer(*row) for row in by_stage.pop(name, ())) for name in ("stem", "head"))
    stages = tuple(_stage(name, rows) for name, rows in by_stage.items())
    return Outline(rows[0][_INPUT], stem, stages, head)


def volumes(outline: Outline) -> tuple[Volume, ...]:
    """Every shape on the way from the image to the last vector, where it differs from the one before it.

    What is inside a stage is left out, as is a layer of stem or head whose output is neither a feature map nor a
    vector. A vector of n numbers is (n, 1, 1).

    >>> from explorer.analysis.layers import layer_table
    >>> [volume.shape for volume in volumes(outline(layer_table("cifar_resnet20")))]
    [(3, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 1, 1), (10, 1, 1)]
    """
    steps = [("image", outline.image)]
    steps += [(layer.name, layer.output_shape) for layer in outline.stem]
    steps += [(f"stage {stage.name}", stage.output_shape) for stage in outline.stages]
    steps += [(layer.name, layer.output_shape) for layer in outline.head]
    found: list[Volume] = []
    for name, shape in steps:
        if len(shape) not in (1, 3):
            continue
        channels, height, width = shape if len(shape) == 3 else (*shape, 1, 1)
        if not found or found[-1].shape != (channels, height, width):
            found.append(Volume((name,), (channels, height, width)))
        elif name.startswith("stage "):
            found[-1] = Volume((*found[-1].names, name), found[-1].shape)
    return tuple(found)


def inside(name: str) -> str:
    """What a layer of a block is called inside of it.

    >>> inside("layer1.0.downsample.0")
    'downsample.0'
    """
    return name.split(".", 2)[-1]


def is_sum(layer: Layer) -> bool:
    """Whether it adds the shortcut to the main branch: a sum of the block itself, not of its attention, say."""
    return layer.kind == "add" and "." not in inside(layer.name)


_Row = tuple[Any, ...]  # a row of the table, its columns in the order of Layer's fields
_COLUMNS = [item.name for item in fields(Layer)]
_NAME, _STAGE, _BLOCK, _KIND, _INPUT, _OUTPUT, _PARAMS, _MACS = (
    _COLUMNS.index(name) for name in ("name", "stage", "block", "kind", "input_shape", "output_shape", "params", "macs")
)
_ALIKE = [_COLUMNS.index(name) for name in _COLUMNS if name not in ("name", "stage", "block")]


def _values(column: "pd.Series[Any]") -> list[Any]:
    """The values as Layer has them: None where the table has pandas' own mark of what is missing."""
    return column.astype(object).where(column.notna(), None).tolist() if column.dtype == "Int64" else column.tolist()


def _stage(name: str, rows: list[_Row]) -> Stage:
    blocks = [list(block) for number, block in groupby(rows, lambda row: row[_BLOCK]) if number is not None]
    return Stage(
        name,
        rows[0][_INPUT],
        rows[-1][_OUTPUT],
        sum(int(row[_PARAMS]) for row in rows),
        sum(int(row[_MACS]) for row in rows),
        len(rows),
        sum(row[_KIND] in ("add", "concat") for row in rows),
        tuple(_run(list(alike)) for _, alike in groupby(blocks, _signature)),
    )


def _signature(block: list[_Row]) -> tuple[Any, ...]:
    """What alike blocks share: all of each layer but its stage, its block and their part of its name."""
    return tuple((inside(row[_NAME]), *(row[column] for column in _ALIKE)) for row in block)


def _run(blocks: list[list[_Row]]) -> Run:
    layers = [Layer(*row) for row in blocks[0]]
    side = tuple(layer for layer in layers if inside(layer.name).startswith("downsample"))
    gate = tuple(layer for layer in layers if inside(layer.name).startswith("gate"))
    main = tuple(layer for layer in layers if layer not in side and layer not in gate)
    shortcut = _shortcut(main, side, gate)
    first = blocks[0][0][_BLOCK]
    return Run(first, len(blocks), _design(main), shortcut, main, side, gate, _leaves(main, side))


def _shortcut(main: Iterable[Layer], side: Iterable[Layer], gate: tuple[Layer, ...]) -> ShortcutKind:
    if not any(is_sum(layer) for layer in main):
        return "none"
    if gate:
        return "gated"
    kinds = {layer.kind for layer in side}
    return "projection" if "conv" in kinds else "padded" if "pad" in kinds else "identity"


def _design(main: Iterable[Layer]) -> str:
    """By the convolutions of the main branch that are named so; those of an attention have other names."""
    kernels = [
        layer.kernel
        for layer in main
        if layer.kind == "conv" and layer.params and inside(layer.name).startswith("conv")
    ]
    wide = [kernel != (1, 1) for kernel in kernels]
    return {(False, True, False): "bottleneck", (True, True): "basic"}.get(tuple(wide), "block")


def _leaves(main: tuple[Layer, ...], side: Iterable[Layer]) -> int:
    if not any(layer.kind == "conv" for layer in side):
        return 0
    before = ("norm", "activation", "identity")
    return next((number for number, layer in enumerate(main) if layer.kind not in before), 0)
