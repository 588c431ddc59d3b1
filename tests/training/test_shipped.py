"""The recorded runs that ship: found, grouped by net, and as tables."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import recordings
from recordings import SHORT

from explorer.models.variants import VARIANTS, variant
from explorer.spec import PRESETS
from explorer.training import shipped
from explorer.training.lab import net_name
from explorer.training.recipe import Recipe
from explorer.training.recorded import RecordedError, read
from explorer.training.shipped import (
    FOLDER,
    WHOLE_TEST,
    ShippedError,
    archive,
    curves,
    ends_table,
    epochs,
    last,
    named,
    nets,
    runs_table,
    title,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three nets, one of them with three seeds, written in another order than they are to stand in."""
    for seed, first in ((2, 80.0), (0, 90.0), (1, 60.0)):
        recordings.write(tmp_path, "a", 56, seed, first)
    recordings.write(tmp_path, "a", 20, 0, 50.0, steps=40)
    recordings.write(tmp_path, "plain", 56, 7, 70.0, batch=100)
    return tmp_path


def test_runs_are_grouped_by_recipe_and_stand_by_kind_and_depth(folder: Path) -> None:
    found = nets(shipped.shipped(folder))
    assert [net.title for net in found] == ["plain-56", "ResNet-20", "ResNet-56"]
    assert [[each.run.recipe.seed for each in net.runs] for net in found] == [[7], [0], [0, 1, 2]]
    assert all(replace(each.run.recipe, seed=net.recipe.seed) == net.recipe for net in found for each in net.runs)


def test_the_ends_are_medians_over_the_seeds(folder: Path) -> None:
    table = ends_table(nets(shipped.shipped(folder))).set_index("net")
    # errors fall by ten a record, from `first` at the first to 20 below at the third
    expected = {
        "plain-56": [1, 60, 70 - 20, 70 - 20 + 1, 70, 70, 70],
        "ResNet-20": [1, 40, 50 - 10, 50 - 10 + 1, 50, 50, 50],
        "ResNet-56": [3, 60, 80 - 20, 80 - 20 + 1, 80, 60, 90],
    }
    assert list(table) == ["runs", "steps", "batch_error", "train_error", "test_error", "test_low", "test_high"]
    assert {net: list(row) for net, row in table.iterrows()} == expected


def test_a_row_a_run_has_recipe_end_and_machine(folder: Path) -> None:
    table = runs_table(nets(shipped.shipped(folder)))
    assert list(zip(table["net"], table["seed"], strict=True)) == [
        ("plain-56", 7),
        ("ResNet-20", 0),
        ("ResNet-56", 0),
        ("ResNet-56", 1),
        ("ResNet-56", 2),
    ]
    row = table.iloc[0]
    file = next(folder.glob("plain*"))
    assert row["file"] == file.name
    assert (row["data"], row["steps"], row["batch"]) == ("cifar10_jpeg", 60, 100)
    assert row["epochs"] == 60 / (50_000 / 100)
    assert (row["batch_error"], row["train_error"], row["test_error"], row["seconds"]) == (50, 51, 70, 6)
    about = read(file).about
    assert all(row[name] == about[name] for name in ("hardware", "threads", "python", "torch", "torchvision"))
    assert not table["diverged"].any()


def test_the_curves_are_all_records_with_net_and_seed(folder: Path) -> None:
    table = curves(nets(shipped.shipped(folder))[1:])
    assert len(table) == 3 + 3 * 4
    of_one = table[(table["net"] == "ResNet-56") & (table["seed"] == 1)]
    assert list(of_one["step"]) == [0, 20, 40, 60]
    assert list(of_one["batch_error"].dropna()) == [60, 50, 40]
    assert [len(norms) for norms in of_one["gradient_norms"]] == [0, 27, 27, 27]


def test_without_the_error_on_all_test_pictures_the_last_measured_one_counts(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20, about={})
    (run,) = shipped.shipped(tmp_path)
    assert run.test_error == 90 - 20 + 2
    assert run.batch_error == 90 - 20


def test_what_was_never_measured_is_missing(tmp_path: Path) -> None:
    recipe = recordings.write(tmp_path / "one", "a", 20)
    recordings.write(tmp_path, "a", 20, about={}, run=recordings.records(recipe, tests=False)[:1])
    (run,) = shipped.shipped(tmp_path)
    assert run.test_error is None
    assert run.batch_error is None
    ends = ends_table(nets([run])).iloc[0]
    assert ends[["batch_error", "train_error", "test_error", "test_low", "test_high"]].isna().all()


def test_a_run_that_diverged_says_so(tmp_path: Path) -> None:
    run = recordings.records(SHORT)
    recordings.write(tmp_path, "a", 20, run=[*run[:2], replace(run[2], diverged=True)])
    assert list(runs_table(nets(shipped.shipped(tmp_path)))["diverged"]) == [True]


@pytest.mark.parametrize("missing", ["nothing", "."])
def test_a_folder_that_is_missing_or_empty_is_said(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ShippedError, match=r"no recorded run in .*; scripts/record_cifar\.py records them\.$"):
        shipped.shipped(tmp_path / missing)


def test_a_strange_file_is_named(folder: Path) -> None:
    (folder / "strange.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordedError, match=r"strange\.parquet"):
        shipped.shipped(folder)


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20, first=50.0)
    (before,) = shipped.shipped(tmp_path)
    assert shipped.shipped(tmp_path)[0].run is before.run, "not read again"
    recordings.write(tmp_path, "a", 20, first=40.0)
    os.utime(before.file, ns=(0, 1))  # whatever the clock of the file system counts in
    assert shipped.shipped(tmp_path)[0].test_error == 40


def test_the_folder_is_the_one_of_the_app_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings.write(tmp_path, "b", 20)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert [net.title for net in nets(shipped.shipped())] == ["ResNet-20 B"]


def test_nets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20)
    recordings.write(tmp_path, "a", 20, steps=80)
    other = recordings.write(tmp_path, "a", 20, steps=80, lr=0.05)
    titles = [net.title for net in nets(shipped.shipped(tmp_path))]
    assert len(set(titles)) == 3
    assert titles[0] == "ResNet-20, 60 steps"
    assert all(each.startswith("ResNet-20, 80 steps, ") for each in titles[1:])
    assert any(other.key in each for each in titles)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_is_known_again(name: str) -> None:
    assert named(variant(name, 20)) == (name, 20)
    assert named(variant(name, 56, width=8, in_channels=1, image_size=(8, 8), num_classes=4)) == (name, 56)
    assert title(Recipe(variant(name, 56))) == net_name(name, 56)


def test_a_net_of_another_kind_has_its_own_text() -> None:
    for spec in (PRESETS["resnet18"], variant("a", 20, norm="group", norm_groups=8), PRESETS["d2l_resnet18"]):
        assert named(spec) is None
        assert title(Recipe(spec)) == spec.to_text()


def test_warm_up_is_in_the_title_where_one_net_has_it_and_its_like_has_not(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20, warmup_steps=10)
    assert [net.title for net in nets(shipped.shipped(tmp_path))] == ["ResNet-20"]
    recordings.write(tmp_path, "a", 20)
    recordings.write(tmp_path, "a", 20, warmup_error=80.0)
    assert {net.title for net in nets(shipped.shipped(tmp_path))} == {
        "ResNet-20, warm-up none",
        "ResNet-20, warm-up 10 steps",
        "ResNet-20, warm-up until the error is below 80%",
    }
    told = runs_table(nets(shipped.shipped(tmp_path)))["warm_up"]
    assert set(told.dropna()) == {"10 steps", "until the error is below 80%"}
    assert told.isna().sum() == 1


def test_times_through_the_training_set() -> None:
    assert epochs(replace(SHORT, steps=391)) == 1  # 390 batches of 128, and one of 80
    assert epochs(replace(SHORT, data="digits", steps=400, batch=100)) == pytest.approx(40, rel=0.3)
    assert epochs(replace(SHORT, data="/some/folder")) is None


def test_the_last_value_is_the_last_that_was_measured() -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, None], "b": [None, None, None]})
    assert last(table, "a") == 2
    assert last(table, "b") is None


def test_the_archive_holds_the_files_as_they_are(folder: Path) -> None:
    runs = shipped.shipped(folder)
    with zipfile.ZipFile(io.BytesIO(archive(runs))) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {
            each.file.name: each.file.read_bytes() for each in runs
        }


def test_in_what_ships_depth_harms_plain_nets_alone() -> None:
    """He et al. 2015, section 4.2 and figure 6, on the training data, though after far fewer steps."""
    ends = shipped.ends_table(nets(shipped.shipped())).set_index("net")["batch_error"]
    plain, residual = ([ends[f"{kind}-{depth}"] for depth in (20, 32, 44, 56)] for kind in ("plain", "ResNet"))
    assert plain == sorted(plain)
    assert plain[-1] > 2 * plain[0]
    assert max(*residual, ends["ResNet-110"]) < min(1.15 * residual[0], plain[0])


def test_what_ships_is_whole() -> None:
    """Whatever is in assets/runs, few files or many."""
    if not list(FOLDER.glob("*.parquet")):
        pytest.skip("nothing is recorded yet")
    for each in shipped.shipped():
        recipe, records, about = each.run.recipe, each.run.records, each.run.about
        assert named(recipe.spec) is not None
        assert each.file.stem == f"{named(recipe.spec)[0]}{recipe.spec.depth}-seed{recipe.seed}"  # type: ignore[index]
        assert list(records["step"]) == list(range(0, recipe.steps + 1, recipe.record_every))
        assert {"hardware", "threads", "python", "torch", "torchvision", WHOLE_TEST} <= set(about)
        assert each.batch_error is not None
        assert 0 < each.batch_error < 90
        # the test error on all pictures is near that on the first of them
        assert float(about[WHOLE_TEST]) == pytest.approx(last(records, "test_error"), abs=4)
        assert each.file.stat().st_size < 200_000
