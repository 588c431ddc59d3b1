"""The section on recorded runs, through Streamlit's own page tests, with runs of the test's own."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import recordings
from streamlit.testing.v1 import AppTest

from explorer.figures.theme import SERIES_COLOURS
from explorer.figures.training import CURVES
from explorer.training import published, shipped
from explorer.training.recipe import Recipe


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.degradation_sections import recorded

    with edge.sentences():
        recorded.show()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app finds its runs: nothing yet."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def three(folder: Path) -> Path:
    """plain-20 once, ResNet-20 with two seeds, ResNet-56 B."""
    recordings.write(folder, "plain", 20, first=60.0)
    recordings.write(folder, "a", 20, first=50.0)
    recordings.write(folder, "a", 20, seed=1, first=40.0)
    recordings.write(folder, "b", 56, first=30.0)
    return folder


def start(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[f"recorded_{key}"] = value
    app.run()
    assert not app.exception
    return app


def chart(app: AppTest) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(app.get("plotly_chart")[0].proto.spec)
    return figure


def drawn(app: AppTest) -> list[str]:
    """The nets in the legend."""
    return [trace["name"] for trace in chart(app)["data"] if trace.get("name") and trace.get("showlegend", True)]


def words(app: AppTest) -> str:
    return "\n".join(each.value for kind in ("markdown", "caption") for each in app.get(kind))


def test_it_starts_with_the_nets_of_figure_1_that_are_there(three: Path) -> None:
    app = start()
    assert app.multiselect[0].options == ["plain-20", "ResNet-20", "ResNet-56 B"]
    assert app.multiselect[0].value == drawn(app) == ["plain-20", "ResNet-20"]
    assert app.selectbox(key="recorded_quantity").value == "batch_error"
    assert f"<b>{CURVES['batch_error'][0]}</b>" in [each["text"] for each in chart(app)["layout"]["annotations"]]


def test_the_nets_shown_first_have_the_colours_that_the_lab_gives_them(three: Path) -> None:
    """Whatever else is recorded, and whichever are shown."""
    recordings.write(three, "plain", 32)
    for nets in (["plain-20", "ResNet-20"], ["plain-32", "ResNet-20"]):
        lines = {trace["name"]: trace for trace in chart(start(nets=nets))["data"] if trace.get("name")}
        assert lines["ResNet-20"]["line"]["color"] == SERIES_COLOURS[1]


def test_where_none_of_these_is_there_it_starts_with_what_is(folder: Path) -> None:
    recordings.write(folder, "preact", 20)
    assert drawn(start()) == ["ResNet-20 pre-activation"]


@pytest.mark.parametrize("quantity", list(CURVES))
def test_every_quantity_is_drawn(three: Path, quantity: str) -> None:
    app = start(quantity=quantity, log=True)
    assert f"<b>{CURVES[quantity][0]}</b>" in [each["text"] for each in chart(app)["layout"]["annotations"]]
    assert chart(app)["layout"]["yaxis"]["type"] == "log"
    assert len(chart(app)["frames"]) == 4


def test_nets_are_added_and_taken_away(three: Path) -> None:
    app = start()
    app.multiselect[0].set_value(["ResNet-56 B"]).run()
    assert drawn(app) == ["ResNet-56 B"]
    app.multiselect[0].set_value([]).run()
    assert not app.exception
    assert "at least one net" in app.info[1].value  # behind what is said of short runs
    assert len(app.dataframe) == 2, "the tables stay"


def test_a_net_that_is_there_no_more_is_forgotten(three: Path) -> None:
    app = start(nets=["ResNet-20", "ResNet-110"], file="ResNet-110, seed 0")
    assert drawn(app) == ["ResNet-20"]


def test_the_tables_are_those_of_the_analysis(three: Path) -> None:
    nets = shipped.nets(shipped.shipped())
    beside, runs = (frame.value for frame in start().dataframe)
    pd.testing.assert_frame_equal(beside, published.against_published(nets))
    pd.testing.assert_frame_equal(runs, shipped.runs_table(nets))
    assert list(beside["published"].dropna()) == [8.75], "of ResNet-20 alone a number is printed"


def test_the_reasons_name_the_nets_they_hold_for(three: Path) -> None:
    text = words(start())
    assert "- It trained for 60 steps, about 0.2 times through the training set" in text
    assert "- It is one run from one seed; another seed ends elsewhere. (plain-20; ResNet-56 B)" in text


def test_it_says_what_depth_did_in_these_runs(three: Path) -> None:
    recordings.write(three, "plain", 56, first=70.0)
    assert "- After 60 steps plain-56 is wrong on 50.0% of its training batches" in words(start())
    assert "plain-56" not in words(start(nets=[])).split("**Depth**")[0], "it stands with the comparison"


def test_it_tells_of_figure_6_and_that_plain_nets_have_no_number(three: Path) -> None:
    text = " ".join(words(start()).split())
    for told in ("figure 6", "above 60%", "no other number for plain nets", "7.93%", "6.43%"):
        assert told in text


def test_no_run_is_a_sentence(folder: Path) -> None:
    app = start()
    assert "There is no recorded run in" in app.error[0].value
    assert not app.get("plotly_chart")


def test_a_strange_file_is_a_sentence(three: Path) -> None:
    (three / "strange.parquet").write_bytes(b"no")
    assert "strange.parquet is not a recorded run" in start().error[0].value.replace("\\", "")


def test_every_control_has_a_help_text(three: Path) -> None:
    app = start()
    kinds = ("multiselect", "selectbox", "toggle", "download_button")
    widgets = [widget for kind in kinds for widget in app.get(kind)]
    assert len(widgets) == 1 + 2 + 1 + 6
    assert all(widget.proto.help for widget in widgets)
    assert all(each.proto.alt for each in app.get("plotly_chart"))


def test_every_column_is_explained(three: Path) -> None:
    from explorer.pages.degradation_sections.recorded import COLUMNS

    for frame in start().dataframe:
        assert set(frame.value) - {"python", "torch", "torchvision"} <= set(COLUMNS)


def test_the_downloads_hold_tables_files_and_recipes(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    start(file="ResNet-20, seed 1")
    nets = shipped.nets(shipped.shipped())
    run = nets[1].runs[1]
    assert files[run.file.name] == run.file.read_bytes()
    assert Recipe.from_json(files[f"{run.file.stem}.json"].decode()) == run.run.recipe
    assert run.run.recipe.seed == 1
    assert len(pd.read_csv(io.BytesIO(files["recorded_runs.csv"]))) == 4
    assert len(pd.read_csv(io.BytesIO(files["recorded_and_published.csv"]))) == 3
    assert len(pd.read_csv(io.BytesIO(files["recorded_curves.csv"]))) == 4 * 3, "of the nets that are shown"
    assert files["runs.zip"] == shipped.archive([each for net in nets for each in net.runs])


def test_what_ships_is_shown() -> None:
    """Whatever is in assets/runs: the runs, or the sentence that there is none."""
    app = start()
    assert bool(app.error) is not bool(app.get("plotly_chart"))
