import dataclasses
import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from explorer.models.variants import variant
from explorer.training import recorded
from explorer.training.recipe import Recipe
from explorer.training.run import Record

RECIPE = Recipe(variant("a", 8), seed=3)
RECORDS = [
    Record(0, None, None, None, 2.3, 90.0, 2.4, 91.0, (), 0.1),
    Record(5, 0.1, 2.0, 80.0, None, None, None, None, (1e-30, 2.0, math.inf), 0.2),
    Record(10, 0.1, math.nan, 90.0, None, None, None, None, (0.5, 0.25, 0.125), 0.4, diverged=True),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    recorded.write(path, RECIPE, RECORDS, {"note": "made by a test"})
    again = recorded.read(path)
    assert again.recipe == RECIPE
    assert list(again.records.columns) == [field.name for field in dataclasses.fields(Record)]
    assert again.records.step.tolist() == [0, 5, 10]
    assert again.records.diverged.tolist() == [False, False, True]
    assert again.records.train_loss.isna().tolist() == [False, True, True]
    assert again.records.batch_loss.isna().tolist() == [True, False, True]
    assert [list(norms) for norms in again.records.gradient_norms] == [[], [1e-30, 2.0, math.inf], [0.5, 0.25, 0.125]]
    assert again.about["note"] == "made by a test"
    assert again.about["torch"] == torch.__version__
    assert again.about["hardware"]
    assert [file.name for file in tmp_path.iterdir()] == ["run.parquet"]


def test_the_table_is_what_a_file_gives_back(tmp_path: Path) -> None:
    recorded.write(tmp_path / "run.parquet", RECIPE, RECORDS)
    table, again = recorded.records_table(RECORDS), recorded.read(tmp_path / "run.parquet").records
    pd.testing.assert_frame_equal(table.drop(columns="gradient_norms"), again.drop(columns="gradient_norms"))
    assert table.lr.dtype == "float64"


def test_a_run_without_records_is_an_empty_table(tmp_path: Path) -> None:
    recorded.write(tmp_path / "run.parquet", RECIPE, [])
    assert len(recorded.read(tmp_path / "run.parquet").records) == 0


def test_files_that_are_no_runs_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("not a table")
    pq.write_table(__import__("pyarrow").table({"a": [1]}), tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet", "missing.parquet"):
        with pytest.raises(recorded.RecordedError, match=f"{name} is not a recorded run"):
            recorded.read(tmp_path / name)


def test_a_file_whose_columns_are_others_is_refused(tmp_path: Path) -> None:
    recorded.write(tmp_path / "run.parquet", RECIPE, RECORDS)
    table = pq.read_table(tmp_path / "run.parquet")
    pq.write_table(table.drop_columns(["batch_loss"]), tmp_path / "less.parquet")
    with pytest.raises(recorded.RecordedError, match=r"less\.parquet"):
        recorded.read(tmp_path / "less.parquet")
