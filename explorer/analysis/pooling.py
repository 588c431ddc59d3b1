"""Overlapping pooling: AlexNet with other windows in its pools, and what a shift of the picture does behind them.

Krizhevsky, Sutskever & Hinton 2012, section 3.4: windows of side z at every s-th place; they overlap where z > s. The
paper has z = 3 and s = 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from explorer.analysis.first_layers import MAX_SHIFT, SIDE, random_conv1, raw_pixels
from explorer.analysis.graph import Operator
from explorer.analysis.layers import Totals, operator_table, operators, totals
from explorer.analysis.receptive import field_table
from explorer.analysis.rules import output_side
from explorer.errors import Refusal
from explorer.models.historic import AlexNet2012

MAX_KERNEL = 8
SEEDS = range(5)  # of the random filters that a shift is measured with


class PoolingError(Refusal):
    """Pools that AlexNet cannot have; the message names the number and what would be right."""


@dataclass(frozen=True)
class Pooled:
    """AlexNet with certain pools, in numbers, for one image.

    table: the layer table, with `receptive_field`, the side in pixels (None where a layer sees the whole image).
    """

    kernel: int
    stride: int
    table: pd.DataFrame
    totals: Totals

    def layer(self, name: str) -> pd.Series:
        """The row of one layer."""
        return self.table[self.table.name == name].iloc[0]

    @property
    def field(self) -> int:
        """What one unit of the last feature map sees, in pixels."""
        return int(self.layer("pool5").receptive_field)

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides of the maps behind the three pools."""
        return tuple(self.layer(name).output_shape[-1] for name in _POOLS)


_POOLS = ("pool1", "pool2", "pool5")


def alexnet_with_pools(kernel: int, stride: int) -> nn.Sequential:
    """`AlexNet2012` on the meta device with these windows in its three max pools, and an fc6 that fits what is left.

    Raises:
        PoolingError: a number out of range, or windows larger than a map that they come to.
    """
    for name, value in (("kernel", kernel), ("stride", stride)):
        if not 1 <= value <= MAX_KERNEL:
            raise PoolingError(f"{name} (={value}) must be from 1 to {MAX_KERNEL}.")
    side = output_side(SIDE, 11, stride=4)
    for name in _POOLS:
        if side < kernel:
            raise PoolingError(
                f"kernel (={kernel}) is too large with stride (={stride}): the map that comes to {name} has "
                f"{side} x {side} values; a smaller kernel or stride would be right."
            )
        side = output_side(side, kernel, stride)
    with torch.device("meta"):
        net = AlexNet2012()
        for name in _POOLS:
            net.set_submodule(name, nn.MaxPool2d(kernel, stride))
        net.set_submodule("fc6", nn.Linear(256 * side * side, 4096))
    return net


def pooled(kernel: int, stride: int) -> Pooled:
    """The numbers of `alexnet_with_pools`; errors as there.

    >>> pooled(3, 2).totals.params, pooled(3, 2).sides, pooled(3, 2).field
    (60965224, (27, 13, 6), 195)
    """
    graph: list[Operator] = operators(alexnet_with_pools(kernel, stride), (SIDE, SIDE))
    table = operator_table(graph)
    table["receptive_field"] = field_table(graph)["size"].astype("Int64")
    return Pooled(kernel, stride, table, totals(table))


def side_by_side(one: Pooled, other: Pooled) -> pd.DataFrame:
    """Convolutions, pools and linear layers of both nets: a row each.

    Returns:
        name, and twice, their names ending in `_one` and `_other`: output_shape ("96x55x55"), receptive_field, params,
        macs.
    """
    columns = ["output_shape", "receptive_field", "params", "macs"]
    rows = one.table.kind.isin(("conv", "pool", "linear"))
    both = [table.loc[rows, columns].reset_index(drop=True) for table in (one.table, other.table)]
    for table in both:
        table["output_shape"] = ["x".join(map(str, shape)) for shape in table.output_shape]
    names = one.table.loc[rows, "name"].reset_index(drop=True)
    return pd.concat([names, both[0].add_suffix("_one"), both[1].add_suffix("_other")], axis=1)


def reads(kernel: int, stride: int, side: int) -> NDArray[np.int64]:
    """How many windows of a pool read each value of a map: (side, side). The last rows may be read by none.

    >>> reads(3, 2, 5)[0].tolist(), reads(2, 2, 5)[0].tolist()
    ([1, 1, 2, 1, 1], [1, 1, 1, 1, 0])
    """
    values = torch.zeros(1, 1, side, side, requires_grad=True)
    (times,) = torch.autograd.grad(kernel**2 * nn.functional.avg_pool2d(values, kernel, stride).sum(), values)
    return times[0, 0].round().long().numpy()


def shift_changes(
    image: Image.Image, kernels: tuple[int, ...], stride: int, report: Callable[[float, str], None]
) -> pd.DataFrame:
    """How far the map behind AlexNet's first pool changes as the picture moves; random filters, five seeds.

    A row for each kernel, seed and shift: z (the kernel), seed, shift (pixels to the right, 0 to 8), change (Euclidean
    norm of the difference to the map of shift 0, over the norm of that map). Layers: conv1, ReLU, normalisation, max
    pool. Filters are the same for all kernels.

    Args:
        image: a picture of any size. kernels, stride: of the pool. report: called before each seed.
    """
    shifts = tuple(range(MAX_SHIFT + 1))
    pixels = raw_pixels(image, shifts)
    with torch.device("meta"):
        net = AlexNet2012()
    between = nn.Sequential(net.get_submodule("relu1"), net.get_submodule("norm1"))  # neither has weights
    rows = []
    for number, seed in enumerate(SEEDS):
        report(number / len(SEEDS), f"Random filters, seed {seed}")
        maps = between(random_conv1(seed)(pixels))
        for kernel in kernels:
            changes = _changes(nn.functional.max_pool2d(maps, kernel, stride))
            rows += [(kernel, seed, shift, change) for shift, change in zip(shifts, changes, strict=True)]
    return pd.DataFrame(rows, columns=["z", "seed", "shift", "change"])


def _changes(maps: Tensor) -> list[float]:
    """The relative distance of each map to the first."""
    flat = maps.flatten(1).double()
    changes: list[float] = ((flat - flat[0]).norm(dim=1) / flat[0].norm()).tolist()
    return changes


def shift_summary(changes: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds of `shift_changes`: z, shift, median, lowest, highest."""
    grouped = changes.groupby(["z", "shift"], sort=False).change
    return grouped.agg(median="median", lowest="min", highest="max").reset_index()
