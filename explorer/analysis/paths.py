"""The receptive fields of a network's single paths: a residual net is a great many of them, most of them short.

Each way from the image through the graph to a map has a receptive field of its own, that of its convolutions and pools
alone; where branches meet, every path goes on. Veit, Wilber & Belongie 2016, arXiv 1605.06431, see a residual net as
the collection of its paths; the field of the whole map is that of its longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from explorer.analysis.graph import IMAGE, Operator
from explorer.analysis.layers import label, operators
from explorer.analysis.receptive import IMAGE_FIELD, Field, by_input, field_sweep
from explorer.spec import ResNetSpec


@dataclass(frozen=True, eq=False)
class Paths:
    """How many paths to a map have a field of which height: `counts[i]` of them one of `least + i` pixels.

    The counts are Python's own integers, as there may be more paths than 64 bits hold; `number` is their sum, `total`
    that of the heights of all paths.
    """

    least: int
    counts: NDArray[Any]
    number: int
    total: int

    @property
    def shortest(self) -> int:
        """Height in pixels of the smallest field of a path."""
        return self.least

    @property
    def longest(self) -> int:
        """Height in pixels of the largest; where all branches are aligned it is the map's own."""
        return self.least + len(self.counts) - 1

    @property
    def mean(self) -> float:
        """Height in pixels, the mean over all paths."""
        return self.total / self.number

    def _taller(self, pixels: int) -> "Paths":
        """The same paths, each with a field of so many pixels more."""
        return Paths(self.least + pixels, self.counts, self.number, self.total + pixels * self.number)


_ALL: Paths = Paths(1, np.array([1], dtype=object), 1, 1)


def path_sweep(graph: Sequence[Operator]) -> list[Paths | None]:
    """The paths to each operator of a graph; None where its map has no local field (`field_sweep`).

    A gate that was made from the whole map, as in squeeze-and-excitation, weighs paths and is none. Behind an enlarged
    map a path's field depends on the unit that it leads to: there it is None too.

    Raises:
        UnknownOperator, NoField: as `field_sweep`.
    """
    fields = field_sweep(graph)
    paths: list[Paths | None] = []
    for operator in graph:
        came: list[Field | None] = [IMAGE_FIELD if made_by == IMAGE else fields[made_by] for made_by in operator.inputs]
        ways: list[Paths | None] = []
        for made_by, field, seen in zip(operator.inputs, came, by_input(operator, came), strict=True):
            if field is not None and seen is not None:
                before = _ALL if made_by == IMAGE else paths[made_by]
                taller = seen.height.size - field.height.size
                ways.append(before._taller(taller) if before is not None and seen.even else None)
        paths.append(_together(ways))
    return paths


def path_table(network: ResNetSpec | str, image_size: tuple[int, int] | None = None) -> pd.DataFrame:
    """A row an operator: name, stage; the number of paths to it, and the height in pixels of the field of the shortest
    and the longest of them and the mean over all; None where there is no local field.

    Args:
        network, image_size: as for `layer_table`.

    >>> paths = path_table("cifar_resnet20").set_index("name")
    >>> paths.loc["layer3.2.add", ["paths", "shortest", "longest"]].tolist()  # nine blocks, passed or skipped
    [512, 3, 81]
    """
    graph = operators(network, image_size)
    rows, found = label(graph), path_sweep(graph)
    table = pd.DataFrame({"name": [row.name for row in rows], "stage": [row.stage for row in rows]})
    for column, attribute in (("paths", "number"), ("shortest", "shortest"), ("longest", "longest"), ("mean", "mean")):
        values = [None if paths is None else getattr(paths, attribute) for paths in found]
        table[column] = pd.Series(values, dtype=object)  # more paths than 64 bits hold
    return table


def _together(ways: list[Paths | None]) -> Paths | None:
    """All paths of several sets; None where there are none, or those of one are unknown."""
    known = [way for way in ways if way is not None]
    if not known or len(known) < len(ways):
        return None
    if len(known) == 1:
        return known[0]
    least = min(way.least for way in known)
    counts = np.zeros(max(way.longest for way in known) - least + 1, dtype=object)
    for way in known:
        counts[way.least - least : way.longest - least + 1] += way.counts
    return Paths(least, counts, sum(way.number for way in known), sum(way.total for way in known))
