"""Files that leave the app hold the numbers of the tables that they were made of."""

import io

import numpy as np
import pandas as pd
import pytest

from explorer.analysis.layers import layer_table, stage_table
from explorer.export.tables import csv, npy, readable_table

WINDOWS = ("kernel", "stride", "padding", "dilation", "input_shape", "output_shape")
COUNTS = ("params", "macs", "activation_bytes")


@pytest.fixture(scope="module", params=["cifar_resnet20", "googlenet", "mobilenet_v2"])
def table(request: pytest.FixtureRequest) -> pd.DataFrame:
    return layer_table(request.param)


def read(file: bytes) -> pd.DataFrame:
    """As a spreadsheet or a notebook reads it, without the guesses of one."""
    return pd.read_csv(io.BytesIO(file), keep_default_na=False, na_values=[""], dtype={"stage": str})


def numbers(text: object) -> tuple[int, ...] | None:
    """What "64x56x56" stands for; an empty cell is unknown."""
    return tuple(map(int, text.split("x"))) if isinstance(text, str) else None


def test_windows_and_shapes_read_as_people_write_them() -> None:
    first = readable_table(layer_table("resnet50")).iloc[0]
    assert (first["name"], first.kernel, first.stride, first.padding, first.dilation, first.groups) == (
        "conv1",
        "7x7",
        "2x2",
        "3x3",
        "1x1",
        1,
    )
    assert (first.input_shape, first.output_shape) == ("3x224x224", "64x112x112")
    assert (first.params, first.macs) == (3 * 64 * 7 * 7, 3 * 64 * 7 * 7 * 112 * 112)
    last = readable_table(layer_table("resnet50")).iloc[-1]
    assert (last["name"], last.input_shape, last.output_shape) == ("fc", "2048", "1000")
    assert pd.isna(last.kernel)


def test_a_readable_table_keeps_numbers_as_numbers_and_the_original_as_it_was(table: pd.DataFrame) -> None:
    before = table.copy(deep=True)
    shown = readable_table(table)
    pd.testing.assert_frame_equal(table, before)
    assert list(shown) == list(table)
    others = [column for column in table if column not in WINDOWS]
    pd.testing.assert_frame_equal(shown[others], table[others])
    assert all(pd.api.types.is_integer_dtype(shown[column]) for column in COUNTS)


def test_a_layer_table_comes_back_whole_from_its_csv(table: pd.DataFrame) -> None:
    back = read(csv(table))
    assert list(back) == list(table)
    for column in WINDOWS:
        assert [numbers(text) for text in back[column]] == table[column].tolist()
    for column in ("block", "groups"):
        assert back[column].astype("Int64").equals(table[column])
    for column in ("name", "stage", "kind", *COUNTS):
        assert back[column].tolist() == table[column].tolist()


def test_a_stage_table_comes_back_whole_from_its_csv(table: pd.DataFrame) -> None:
    stages = stage_table(table)
    back = read(csv(stages))
    assert list(back) == ["stage", "layers", "output_shape", *COUNTS]
    assert [numbers(text) for text in back["output_shape"]] == stages["output_shape"].tolist()
    for column in ("stage", "layers", *COUNTS):
        assert back[column].tolist() == stages[column].tolist()
    assert sum(back["layers"]) == len(table)


def test_csv_is_utf_8_with_a_header_line_and_without_row_numbers() -> None:
    rows = pd.DataFrame({"class_name": ["café, crème", 'the "cup"'], "probability": [0.1 + 0.2, 1 / 3]})
    file = csv(rows)
    assert (
        file == 'class_name,probability\n"café, crème",0.30000000000000004\n"the ""cup""",0.3333333333333333\n'.encode()
    )
    pd.testing.assert_frame_equal(read(file), rows, check_exact=True)


def test_what_is_unknown_is_an_empty_cell(table: pd.DataFrame) -> None:
    header, *lines = csv(table).decode().splitlines()
    activation = next(index for index, kind in enumerate(table["kind"]) if kind == "activation")
    cells = dict(zip(header.split(","), lines[activation].split(","), strict=True))
    assert [cells[column] for column in ("kernel", "stride", "padding", "dilation", "groups")] == [""] * 5
    assert (cells["params"], cells["macs"]) == ("0", "0")


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.25, np.nan], [np.inf, 0.0, -0.0]], np.float32),
        np.arange(24).reshape(2, 3, 4)[:, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 7), np.float32),
        np.float64(0.1),
    ],
    ids=["float32", "a view", "by columns", "empty", "a number"],
)
def test_an_array_comes_back_from_its_file_bit_by_bit(array: np.ndarray) -> None:
    back = np.load(io.BytesIO(npy(array)), allow_pickle=False)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


def test_nothing_is_ever_pickled() -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        npy(np.array([{"a": 1}, None], dtype=object))
