"""The charts of the experiments hold their tables' numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from explorer.analysis.normalisation import Constants, inhibition
from explorer.analysis.pooling import reads
from explorer.figures.experiments import (
    channel_chart,
    learning_chart,
    marked_picture,
    passes_chart,
    reads_chart,
    shift_chart,
    variants_chart,
)
from explorer.figures.theme import ACCENT, OTHER_COLOUR
from explorer.training.dropout import passes


def test_channels_have_a_bar_before_and_one_in_front_of_it_after() -> None:
    found = inhibition(torch.arange(20.0).reshape(20, 1, 1), (0, 0), Constants())
    figure = channel_chart(found.table, found.peak)
    before, after = figure.data
    assert list(before.y) == list(range(20))
    assert list(after.y) == list(found.table.after)
    assert (before.marker.color, after.marker.color) == (OTHER_COLOUR, ACCENT)
    assert figure.layout.barmode == "overlay"
    (window,) = figure.layout.shapes
    assert (window.x0, window.x1) == (17 - 0.5, 19 + 0.5), "channels 17 to 19 have 19 in their window"
    assert figure.layout.annotations[0].x == 19


def test_every_cell_of_the_small_map_says_how_often_it_is_read() -> None:
    times = reads(3, 2, 9)
    figure = reads_chart(times)
    (cells,) = figure.data
    assert np.array_equal(cells.z, times)
    assert np.array_equal(cells.text, times)
    assert cells.zmin == 0
    assert cells.zmax >= times.max()
    assert figure.layout.yaxis.autorange == "reversed", "row 0 is on top"
    assert reads_chart(reads(8, 1, 9)).data[0].zmax == reads(8, 1, 9).max()


def test_a_shift_has_a_line_a_pool_with_the_range_of_the_seeds() -> None:
    rows = [(3, 0, 0.0, 0.0, 0.0), (3, 1, 0.2, 0.1, 0.5), (2, 0, 0.0, 0.0, 0.0), (2, 1, 0.4, 0.3, 0.45)]
    summary = pd.DataFrame(rows, columns=["z", "shift", "median", "lowest", "highest"])
    figure = shift_chart(summary, {3: "three", 2: "two"})
    assert [line.name for line in figure.data] == ["three", "two"]
    assert list(figure.data[1].x) == [0, 1]
    assert list(figure.data[1].y) == [0.0, 0.4]
    assert list(figure.data[0].error_y.array) == pytest.approx([0, 0.3])
    assert list(figure.data[0].error_y.arrayminus) == pytest.approx([0, 0.1])


def test_passes_are_on_logarithmic_axes_and_hold_the_table() -> None:
    table = passes(0.5).table
    figure = passes_chart(table)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    for line, column in zip(figure.data, ("linear", "expected", "behind_relu"), strict=True):
        assert list(line.x) == list(table.passes)
        assert list(line.y) == list(table[column])
    assert figure.data[0].line.color == figure.data[1].line.color != figure.data[2].line.color


def test_every_seed_has_its_lines_and_each_kind_one_entry_in_the_legend() -> None:
    runs = pd.DataFrame(
        [(rate, seed, step, 50 - step, 60 - step - rate) for rate in (0.0, 0.5) for seed in (0, 1) for step in (0, 20)],
        columns=["rate", "seed", "step", "train_error", "test_error"],
    )
    figure = learning_chart(runs)
    assert len(figure.data) == 2 * 2 * 2
    shown = [line.name for line in figure.data if line.showlegend]
    assert shown == ["training, no dropout", "test, no dropout", "training, dropout 0.5", "test, dropout 0.5"]
    last = figure.data[-1]
    assert (last.name, list(last.x), list(last.y)) == ("test, dropout 0.5", [0, 20], [59.5, 39.5])
    assert last.line.dash == "solid"
    assert figure.data[0].line.color != last.line.color


def test_variants_are_coloured_by_what_they_are_taken_for() -> None:
    table = pd.DataFrame(
        {"variant": [1, 2, 3], "class_name": ["cat", "dog", "cat"], "reference": [0.5, 0.1, 0.4], "probability": 0.6}
    )
    same, other, centre, ten = variants_chart(table, "cat", 0.45, 0.42).data
    assert (list(same.x), list(same.y)) == ([1, 3], [0.5, 0.4])
    assert (list(other.x), list(other.y), list(other.customdata)) == ([2], [0.1], ["dog"])
    assert set(centre.y) == {0.45}
    assert set(ten.y) == {0.42}
    assert (centre.name, ten.name) == ("centre crop", "mean of ten crops")
    assert len(variants_chart(table[table.class_name == "cat"], "cat", 0.4, 0.4).data) == 3


def test_the_frame_is_around_the_box_on_a_copy() -> None:
    picture = Image.new("RGB", (50, 50), "red")
    marked = marked_picture(picture, (10, 20, 21, 31))
    assert picture.getpixel((9, 25)) == (255, 0, 0)
    assert marked.getpixel((9, 25)) == (255, 255, 255)
    assert marked.getpixel((8, 25)) == (0, 0, 0)
    assert {marked.getpixel((x, y)) for x in range(11, 20) for y in range(21, 30)} == {(255, 0, 0)}
