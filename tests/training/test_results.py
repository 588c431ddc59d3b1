"""What result files say together."""

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explorer.models.variants import VARIANTS, variant
from explorer.spec import PRESETS, ResNetSpec
from explorer.training import recorded, results
from explorer.training.recipe import Recipe
from explorer.training.recorded import Recorded, RecordedError
from explorer.training.results import by_depth, curves, names, read, read_all, shared, summary, table
from explorer.training.run import Record


def small(name: str = "a", depth: int = 20, **changes: Any) -> ResNetSpec:
    return variant(name, depth, in_channels=1, image_size=(8, 8), **changes)


def finished(recipe: Recipe, error: float = 10.0, diverged: bool = False) -> Recorded:
    """A run of two records."""
    first = Record(0, None, None, None, 2.3, 90.0, 2.3, 91.0, (), 0.5)
    measured = (None,) * 4 if diverged else (error / 10, error, error / 5, 2 * error)
    loss = math.nan if diverged else error / 20
    last = Record(recipe.steps, 0.1, loss, error / 2, *measured, (1.0, 2.0), 12.5, diverged)
    return Recorded(recipe, recorded.records_table([first, last]), {"hardware": "an abacus"})


def kept(folder: Path, run: Recorded) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{run.recipe.key}.parquet"
    records = [Record(**row) for row in run.records.to_dict("records")]
    recorded.write(file, run.recipe, records, run.about)
    return file


def rewritten(file: Path, columns: Mapping[str, Any], about: bytes | None = None) -> Path:
    """The file with other columns or another text about them."""
    old = pq.read_table(file)
    made = pa.table({**{name: old[name] for name in old.column_names}, **columns})
    metadata = {**old.schema.metadata, **({} if about is None else {b"explorer": about})}
    pq.write_table(made.replace_schema_metadata(metadata), file)
    return file


def test_a_row_holds_the_recipe_and_the_last_record() -> None:
    recipe = Recipe(small("plain"), seed=3, steps=80)
    (row,) = table([finished(recipe, 10.0)]).to_dict("records")
    assert row == {
        "key": recipe.key,
        "net": "Plain, depth 20",
        "family": "Plain",
        "variant": "plain",
        "depth": 20,
        "seed": 3,
        "data": "digits",
        "steps": 80,
        "batch_loss": 0.5,
        "batch_error": 5.0,
        "train_loss": 1.0,
        "train_error": 10.0,
        "test_loss": 2.0,
        "test_error": 20.0,
        "seconds": 12.5,
        "diverged": False,
        "hardware": "an abacus",
    }


def test_rows_come_by_variant_depth_and_seed_whatever_the_files_order() -> None:
    recipes = [Recipe(small(name, depth), seed=seed) for name in VARIANTS for depth in (8, 20) for seed in (0, 1)]
    assert list(table([finished(recipe) for recipe in reversed(recipes)]).key) == [recipe.key for recipe in recipes]


def test_what_differs_beside_the_seed_is_in_the_name_and_only_that() -> None:
    recipes = [
        Recipe(small(width=8)),
        Recipe(small(width=8), lr=0.05, seed=1),
        Recipe(small("b", 8, width=8), warmup_error=80.0),
    ]
    assert names(recipes) == [
        "ResNet, option A, depth 20, lr = 0.1, warmup_error = none",
        "ResNet, option A, depth 20, lr = 0.05, warmup_error = none",
        "ResNet, option B, depth 8, lr = 0.1, warmup_error = 80.0",
    ]
    runs = [finished(recipe) for recipe in recipes]
    rows = table(runs)
    assert list(rows.columns[8:10]) == ["lr", "warmup_error"]
    assert list(rows.lr) == [0.05, 0.1, 0.1]
    same = shared(runs)
    assert same["width"] == 8
    assert same["data"] == "digits"
    assert "lr" not in same
    assert "seed" not in same


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("depth", [8, 110])
def test_every_variant_is_known_by_its_spec(name: str, depth: int) -> None:
    (row,) = table([finished(Recipe(small(name, depth)))]).itertuples()
    assert (row.variant, row.depth, row.family) == (name, depth, VARIANTS[name].title)


def test_a_net_that_is_no_variant_has_the_name_of_its_preset() -> None:
    (row,) = table([finished(Recipe(replace(PRESETS["resnet18"], width=8)))]).itertuples()
    assert (row.net, row.family, row.depth) == ("resnet18 width=8", "resnet18 width=8", 18)
    assert row.variant is None


def test_median_and_band_are_over_seeds_and_leave_out_what_diverged() -> None:
    recipe = Recipe(small("plain"))
    errors = {0: 3.0, 1: 9.0, 2: 5.0}
    runs = [finished(replace(recipe, seed=seed), error) for seed, error in errors.items()]
    runs += [finished(replace(recipe, seed=3), diverged=True), finished(Recipe(small("a")), diverged=True)]
    assert table(runs).set_index("diverged").loc[True, list(results.MEASURED)].isna().all(axis=None)
    plain, residual = by_depth(table(runs), "train_error").to_dict("records")
    assert plain == {
        "family": "Plain",
        "depth": 20,
        "median": 5.0,
        "low": 3.0,
        "high": 9.0,
        "seeds": 3,
        "missing": 1,
    }
    assert (residual["seeds"], residual["missing"]) == (0, 1)
    assert math.isnan(residual["median"])


def test_runs_with_another_learning_rate_are_no_seeds_of_each_other() -> None:
    runs = [finished(Recipe(small(), lr=lr), 100 * lr) for lr in (0.1, 0.2)]
    rows = by_depth(table(runs), "train_error")
    assert list(rows.family) == ["ResNet, option A, lr = 0.1", "ResNet, option A, lr = 0.2"]
    assert list(rows["median"]) == [10.0, 20.0]


def test_curves_hold_every_record_with_the_nets_name() -> None:
    recipes = [Recipe(small("a"), seed=1), Recipe(small("plain"))]
    rows = curves([finished(recipe) for recipe in recipes])
    assert list(rows.net) == ["Plain, depth 20"] * 2 + ["ResNet, option A, depth 20"] * 2
    assert list(rows.seed) == [0, 0, 1, 1]
    assert list(rows.step) == [0, 400] * 2
    assert list(rows.key) == [recipes[1].key] * 2 + [recipes[0].key] * 2


def test_a_folder_is_its_files_and_nothing_else(tmp_path: Path) -> None:
    runs = [finished(Recipe(small(), seed=seed)) for seed in range(3)]
    for run in runs:
        kept(tmp_path, run)
    for name in ("x.checkpoint", "x.claim", "x.failed", "x.parquet.7.part"):
        (tmp_path / name).write_text("not yet")
    expected = table(runs).drop(columns="hardware")
    pd.testing.assert_frame_equal(summary(tmp_path).drop(columns="hardware"), expected)
    with pytest.raises(RecordedError, match="is not there"):
        summary(tmp_path / "elsewhere")


def test_a_stream_is_read_as_a_file_is(tmp_path: Path) -> None:
    file = kept(tmp_path, finished(Recipe(small())))
    stream = io.BytesIO(file.read_bytes())
    stream.name = "upload.parquet"  # type: ignore[misc]
    assert read(stream).recipe == read(file).recipe
    pd.testing.assert_frame_equal(read(stream).records, read(file).records)


def test_what_is_no_run_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    good, again = (kept(tmp_path / name, finished(Recipe(small()))) for name in ("one", "two"))
    text = tmp_path / "text.parquet"
    text.write_text("no table")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    told: list[float] = []
    runs, problems = read_all([text, good, foreign, again], lambda fraction, text: told.append(fraction))
    assert [run.recipe for run in runs] == [Recipe(small())]
    assert problems == [
        "text.parquet is not a recorded run; it must be a Parquet file of this program.",
        "foreign.parquet is not a recorded run; it must be a Parquet file of this program.",
        f"{again.name} is left out: its run is there already.",
    ]
    assert told == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("columns", [{"train_error": ["a", "b"]}, {"seconds": [[1.0], [2.0]]}, {"step": [None, None]}])
def test_a_file_with_strange_columns_is_refused(tmp_path: Path, columns: Mapping[str, Any]) -> None:
    file = rewritten(kept(tmp_path, finished(Recipe(small()))), columns)
    with pytest.raises(RecordedError, match=file.name):
        read(file)


def test_a_file_without_records_is_refused(tmp_path: Path) -> None:
    file = kept(tmp_path, finished(Recipe(small())))
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    with pytest.raises(RecordedError, match="has not the numbers"):
        read(file)


def test_a_small_file_that_would_fill_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 1_000_000
    good = kept(tmp_path, finished(Recipe(small())))
    names = pq.read_table(good).column_names
    bomb = tmp_path / "bomb.parquet"
    zeros = pa.array([0.0] * count)
    pq.write_table(pa.table(dict.fromkeys(names, zeros), metadata=pq.read_table(good).schema.metadata), bomb)
    assert bomb.stat().st_size < 100_000
    with monkeypatch.context() as patched:
        patched.setattr(recorded, "read", None)  # to call it would raise
        with pytest.raises(RecordedError, match=rf"bomb.parquet holds {count * len(names):,} numbers"):
            read(bomb)
    monkeypatch.setattr(results, "MOST_TOGETHER", 100)
    others = [kept(tmp_path, finished(Recipe(small(), seed=seed))) for seed in range(1, 9)]
    runs, problems = read_all(others)
    each = 2 * 10 + 1 + 2  # records of ten numbers, and a list without and one with two norms
    assert len(runs) == 100 // each
    assert problems == ["Only the first 4 of 8 files are read: more would be too much for memory."]
