"""The section on sweeps, through Streamlit's own page tests."""

import io
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.models.variants import variant
from explorer.pages.degradation_sections import sweeps
from explorer.training import recorded, results, shipped
from explorer.training.grid import Grid
from explorer.training.recipe import Recipe
from explorer.training.run import Record


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.degradation_sections import sweeps

    with edge.sentences():
        sweeps.show()


@pytest.fixture(autouse=True)
def nothing_ships_and_the_server_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sweeps.FOLDER, raising=False)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")


def kept(folder: Path, name: str, depth: int, seed: int, error: float) -> Path:
    """A run of two records as a file; an error of -1 stands for a run that diverged."""
    folder.mkdir(exist_ok=True)
    recipe = Recipe(variant(name, depth, in_channels=1, image_size=(8, 8)), seed=seed)
    first = Record(0, None, None, None, 2.3, 90.0, 2.3, 91.0, (), 0.5)
    last = Record(400, 0.1, error / 20, error, error / 10, error, error / 5, error, (1.0,) * 3, 9.0)
    if error < 0:
        last = Record(40, 0.1, float("nan"), 90.0, None, None, None, None, (), 9.0, True)
    file = folder / f"{recipe.key}.parquet"
    recorded.write(file, recipe, [first, last])
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, slope in (("plain", 0.5), ("a", 0.1)):
        for depth in (8, 20):
            for seed in (0, 1):
                kept(tmp_path / "results", name, depth, seed, slope * depth + seed)
    return tmp_path / "results"


def start(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    return app.run()


def uploaded(files: dict[str, bytes]) -> AppTest:
    app = start(sweep_source="upload")
    app.file_uploader(key="sweep_files").set_value(
        [(name, content, "application/octet-stream") for name, content in files.items()]
    )
    return app.run()


def shown(app: AppTest) -> AppTest:
    return until(app, lambda app: app.dataframe)


def warnings(app: AppTest) -> str:
    return "\n".join(box.value.replace("\\", "") for box in app.warning)


def code(app: AppTest, language: str) -> str:
    (block,) = [block for block in app.code if block.language == language]
    return block.value


# A grid


def test_the_grid_is_the_choice_and_the_command_beside_it_reads_it() -> None:
    app = start()
    app.multiselect(key="sweep_variants").set_value(["plain", "skipinit"]).run()
    app.multiselect(key="sweep_depths").set_value([8, 110]).run()
    app.number_input(key="sweep_seeds").set_value(2).run()
    app.selectbox(key="sweep_data").set_value("cifar10").run()
    app.number_input(key="sweep_steps").set_value(1000).run()
    app.number_input(key="sweep_width").set_value(16).run()
    text = code(app, "toml")
    assert tomllib.loads(text) == {
        "base": {"data": "cifar10", "steps": 1000, "width": 16},
        "axes": {"variant": ["plain", "skipinit"], "depth": [8, 110], "seed": [0, 1]},
    }
    assert Grid.read(text).size == 2 * 2 * 2
    assert any(caption.value.startswith("8 runs") for caption in app.caption)
    assert code(app, "bash") == "python -m explorer sweep grid.toml --results results"
    assert not app.error


def test_the_first_grid_makes_recipes() -> None:
    assert len(Grid.read(code(start(), "toml")).recipes()) == 2 * 2 * 3


@pytest.mark.parametrize("key", ["sweep_variants", "sweep_depths"])
def test_nothing_chosen_is_asked_for_and_the_results_are_shown_all_the_same(
    key: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    app = shown(start())
    app.multiselect(key=key).set_value([]).run()
    assert not [block for block in app.code if block.language == "toml"]
    assert "Choose a variant and a depth." in [box.value for box in app.info]
    assert app.dataframe


# Results


def test_the_servers_folder_is_offered_where_the_server_names_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start().segmented_control(key="sweep_source").options == ["Recorded runs", "Your files"]
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    app = shown(start())
    assert app.segmented_control(key="sweep_source").options == ["This server's folder", "Recorded runs", "Your files"]
    pd.testing.assert_frame_equal(app.dataframe[0].value, results.summary(folder))
    assert str(folder) not in str([*app.caption, *app.markdown, *app.info]), "a stranger need not know where"
    kept(folder, "b", 8, 0, 1.0)
    assert len(until(app.run(), lambda app: len(app.dataframe[0].value) == 9).dataframe) == 1, "a new file is seen"


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_runs_is_said(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if there:
        (tmp_path / "results").mkdir()
    monkeypatch.setenv(sweeps.FOLDER, str(tmp_path / "results"))
    app = start()
    assert [box.value for box in app.info] == ["No finished run is in the folder that EXPLORER_RESULTS names, yet."]


def test_uploads_are_read_and_a_wrong_one_is_a_sentence_beside_the_others(folder: Path) -> None:
    first, second, *_ = sorted(folder.iterdir())
    app = shown(uploaded({"a.parquet": first.read_bytes(), "b.parquet": b"no run", "c.parquet": second.read_bytes()}))
    assert sorted(app.dataframe[0].value.key) == [first.stem, second.stem]
    assert warnings(app) == "b.parquet is not a recorded run; it must be a Parquet file of this program."


def test_many_wrong_files_are_counted_not_listed() -> None:
    app = until(uploaded({f"{name}.parquet": b"" for name in "abcdefgh"}), lambda app: app.warning)
    assert len(app.warning) == 5 + 1
    assert "So it is with 3 more files." in warnings(app)
    assert not app.dataframe


def test_the_recorded_runs_that_ship_are_an_example(tmp_path: Path) -> None:
    file = kept(tmp_path / "shipped", "a", 20, 0, 5.0)
    assert list(shown(start()).dataframe[0].value.key) == [file.stem]


def test_the_charts_draw_what_is_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    drawn: dict[str, Any] = {}
    for name in ("depths_chart", "depths_map", "curves_chart"):
        original = getattr(sweeps, name)

        def drawing(*content: Any, name: str = name, original: Any = original, **more: Any) -> Any:
            drawn[name] = (*content, more)
            return original(*content, **more)

        monkeypatch.setattr(sweeps, name, drawing)
    app = shown(start())
    rows, quantity, _ = drawn["depths_chart"]
    assert quantity == "train_error"
    assert list(rows["median"]) == [0.5 * 8 + 0.5, 0.5 * 20 + 0.5, 0.1 * 8 + 0.5, 0.1 * 20 + 0.5]
    assert set(drawn["curves_chart"][0].net) == {"Plain, depth 8", "Plain, depth 20"} | {
        "ResNet, option A, depth 8",
        "ResNet, option A, depth 20",
    }
    assert set(drawn["curves_chart"][0].seed) == {0}
    app.selectbox(key="sweep_quantity").set_value("test_loss").run()
    app.segmented_control(key="sweep_drawing").set_value("Heat map").run()
    assert drawn["depths_map"][1] == "test_loss"
    (key,) = [file.stem for file in folder.iterdir() if file == kept(folder, "a", 20, 1, 3.0)]
    app = shown(app.run())
    app.multiselect(key="sweep_chosen").set_value([key]).run()
    app.selectbox(key="sweep_curve").set_value("train_loss").run()
    app.toggle(key="sweep_log").set_value(True).run()
    chosen, quantity, more = drawn["curves_chart"]
    assert (set(chosen.key), quantity, more) == ({key}, "train_loss", {"log": True})
    app.multiselect(key="sweep_chosen").set_value([]).run()
    assert not app.exception
    assert not app.error


def test_a_choice_of_runs_that_are_gone_is_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    app = shown(start(sweep_chosen=["gone"]))
    assert len(app.multiselect(key="sweep_chosen").value) == 2 * 2
    assert not app.exception


def test_diverged_runs_are_counted_beside_the_chart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(folder, "plain", 110, 0, -1.0)
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    app = shown(start())
    assert any("1 of these 9 runs diverged or did not measure this" in caption.value for caption in app.caption)
    assert app.dataframe[0].value.diverged.sum() == 1
    assert app.dataframe[0].value.batch_error.isna().sum() == 1, "the 90% of its last batches are no result"


def test_only_so_many_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    monkeypatch.setattr(sweeps, "MOST_FILES", 3)
    app = shown(start())
    assert len(app.dataframe[0].value) == 3
    assert warnings(app) == "Of 8 files the first 3 are shown."


def test_the_files_hold_what_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    app = shown(start())
    assert files["grid.toml"].decode() == code(app, "toml") + "\n"
    runs = results.table(results.results(folder))
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(files["sweep_runs.csv"])), runs)
    rows = pd.read_csv(io.BytesIO(files["sweep_train_error.csv"]))
    pd.testing.assert_frame_equal(rows, results.by_depth(runs, "train_error"))
    assert len(pd.read_csv(io.BytesIO(files["sweep_curves.csv"]))) == 4 * 2


def test_every_control_has_a_help_text_and_keeps_its_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeps.FOLDER, str(folder))
    app = shown(start())
    kinds = ("multiselect", "number_input", "selectbox", "segmented_control", "toggle", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) == 3 + 3 + 3 + 2 + 1 + 4
    assert all(widget.proto.help for widget in drawn)
