"""AlexNet's pools, overlapping or not, against arithmetic."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from strategies import FEW
from torch import nn

from explorer.analysis.first_layers import random_conv1, raw_pixels
from explorer.analysis.layers import layer_table
from explorer.analysis.pooling import (
    SEEDS,
    PoolingError,
    alexnet_with_pools,
    pooled,
    reads,
    shift_changes,
    shift_summary,
    side_by_side,
)
from explorer.jobs import Cancelled, Progress

CUP = Image.fromarray(data.coffee())


def test_the_papers_pools_are_alexnets() -> None:
    ours, published = pooled(3, 2), layer_table("alexnet_2012")
    pd.testing.assert_frame_equal(ours.table[published.columns], published)


def test_without_overlap_the_maps_are_as_large_and_cost_the_same() -> None:
    """Section 3.4: "output of equivalent dimensions"."""
    overlapping, plain = pooled(3, 2), pooled(2, 2)
    assert overlapping.sides == plain.sides == (27, 13, 6)
    assert overlapping.totals == plain.totals


def field(kernel: int, stride: int) -> int:
    """By the recurrence: each window adds (kernel - 1) steps of the map that it slides over."""
    size, jump = 1, 1
    for k, s in ((11, 4), (kernel, stride), (5, 1), (kernel, stride), (3, 1), (3, 1), (3, 1), (kernel, stride)):
        size, jump = size + (k - 1) * jump, jump * s
    return size


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 3), (4, 2), (2, 1), (2, 3), (1, 1)])
def test_sides_fields_and_params_follow_from_the_windows(kernel: int, stride: int) -> None:
    sides = [55]
    for _ in range(3):
        sides.append((sides[-1] - kernel) // stride + 1)
    found = pooled(kernel, stride)
    assert found.sides == tuple(sides[1:])
    assert found.field == field(kernel, stride)
    assert found.layer("fc6").params == (256 * sides[-1] ** 2 + 1) * 4096
    assert found.totals.params == 60_965_224 + 256 * (sides[-1] ** 2 - 6**2) * 4096


@pytest.mark.parametrize(
    ("kernel", "stride", "words"),
    [
        (5, 4, r"kernel \(=5\) is too large with stride \(=4\): the map that comes to pool5 has 3 x 3 values"),
        (0, 2, r"kernel \(=0\) must be from 1 to 8"),
        (3, 9, r"stride \(=9\) must be from 1 to 8"),
    ],
)
def test_pools_that_do_not_go_are_refused(kernel: int, stride: int, words: str) -> None:
    with pytest.raises(PoolingError, match=words):
        pooled(kernel, stride)


def test_every_pair_of_the_sliders_is_built_or_refused_as_its_layers_say() -> None:
    for kernel, stride in product(range(1, 9), range(1, 5)):
        try:
            net = alexnet_with_pools(kernel, stride)
        except PoolingError:
            side = 55
            for _ in range(3):
                side = (side - kernel) // stride + 1 if side >= kernel else 0
            assert side <= 0
        else:
            assert net(torch.zeros(1, 3, 227, 227, device="meta")).shape == (1, 1000)


def test_both_nets_stand_side_by_side() -> None:
    table = side_by_side(pooled(3, 2), pooled(2, 2)).set_index("name")
    assert list(table.index) == [
        *("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"),
        *("fc6", "fc7", "fc8"),
    ]
    assert table.output_shape_one["pool5"] == table.output_shape_other["pool5"] == "256x6x6"
    assert (table.receptive_field_one["pool5"], table.receptive_field_other["pool5"]) == (195, 167)
    assert table.params_one.sum() == 60_965_224
    assert pd.isna(table.receptive_field_one["fc6"])


@FEW
@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 12))
def test_reads_are_counted_window_by_window(kernel: int, stride: int, side: int) -> None:
    expected = np.zeros((side, side), int)
    for top, left in product(range(0, side - kernel + 1, stride), repeat=2):
        expected[top : top + kernel, left : left + kernel] += 1
    assert np.array_equal(reads(kernel, stride, side), expected)


def test_a_shift_is_measured_behind_the_first_four_layers() -> None:
    found = shift_changes(CUP, (3, 2), 2, Progress().report)
    assert len(found) == 2 * len(SEEDS) * 9
    row = found[(found.z == 3) & (found.seed == 1) & (found["shift"] == 4)]
    net = nn.Sequential(random_conv1(1), nn.ReLU(), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2))
    still, moved = net(raw_pixels(CUP, (0, 4))).double()
    assert row.change.item() == pytest.approx(float((moved - still).norm() / still.norm()), rel=1e-4)
    assert (found.change[found["shift"] == 0] == 0).all()
    assert (found.change[found["shift"] > 0] > 0).all()


def test_what_does_not_change_under_a_shift_does_not() -> None:
    grey = Image.new("RGB", (300, 300), (90, 120, 150))
    assert shift_changes(grey, (3,), 2, Progress().report).change.max() == pytest.approx(0, abs=1e-4)


def test_the_measurement_stops_when_asked() -> None:
    progress = Progress()
    progress._cancel_asked = True
    with pytest.raises(Cancelled):
        shift_changes(CUP, (3,), 2, progress.report)


def test_the_summary_is_over_the_seeds() -> None:
    rows = [(3, seed, 1, change) for seed, change in enumerate((0.5, 0.1, 0.2))] + [(2, 0, 1, 0.7)]
    summary = shift_summary(pd.DataFrame(rows, columns=["z", "seed", "shift", "change"]))
    assert summary.values.tolist() == [[3, 1, 0.2, 0.1, 0.5], [2, 1, 0.7, 0.7, 0.7]]
