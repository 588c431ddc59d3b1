"""The Experiments page's sections, through Streamlit's own page tests."""

import io

import pandas as pd
import pytest
from PIL import Image
from polling import until
from skimage import data
from streamlit.testing.v1 import AppTest

from explorer.analysis.normalisation import Constants, first_responses, inhibition, liveliest_place
from explorer.analysis.pooling import pooled
from explorer.training import dropout
from explorer.training.augmentation import OFF, Recipe, answers, variants

CUP = Image.fromarray(data.coffee())


def page(section: str) -> None:
    import importlib

    from explorer.pages import edge

    with edge.sentences():
        importlib.import_module(f"explorer.pages.experiments_sections.{section}").show()


def start(section: str) -> AppTest:
    return AppTest.from_function(page, default_timeout=60, kwargs={"section": section}).run()


def waiting(app: AppTest) -> bool:
    return any(button.key and button.key.endswith("_cancel") for button in app.button)


def finished(section: str) -> AppTest:
    app = until(start(section), lambda app: not waiting(app))
    assert not app.error
    return app


def changed(app: AppTest) -> AppTest:
    return until(app.run(), lambda app: not waiting(app))


def values(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def below(app: AppTest) -> dict[str, str]:
    return {metric.label: str(metric.delta) for metric in app.metric}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: kept.update({file_name: make(content)}),
    )
    return kept


def test_normalisation_shows_the_centre_and_is_switched_off_and_on(files: dict[str, bytes]) -> None:
    app = finished("normalisation")
    responses = first_responses(CUP, 1)
    found = inhibition(responses, (27, 27), Constants())
    assert values(app)["Share of the strongest"] == f"{found.share('after'):.1%}"
    assert below(app)["Share of the strongest"] == f"{found.share('before'):.1%} before"
    assert found.neighbours_change is not None
    assert values(app)["Its neighbours"] == f"{found.neighbours_change:+.1f}%"
    assert below(app)["AlexNet's activations"] == "7,668,128 bytes"
    table = pd.read_csv(io.BytesIO(files["response_normalisation.csv"]))
    assert table.after.to_numpy() == pytest.approx(found.table.after.to_numpy(), rel=1e-5)
    assert "response_normalisation_costs.csv" in files
    changed(app.toggle(key="norm_on").set_value(False))
    assert values(app)["Share of the strongest"] == f"{found.share('before'):.1%}"
    assert values(app)["Strongest grown"] == "+100.0%"
    assert values(app)["Its neighbours"] == "+0.0%"
    assert below(app)["AlexNet's activations"] == "5,760,032 bytes"
    changed(app.toggle(key="norm_on").set_value(True))
    assert values(app)["Share of the strongest"] == f"{found.share('after'):.1%}"


def test_constants_gain_growth_and_place_are_used() -> None:
    app = finished("normalisation")
    run = app.session_state["normalisation_run"]
    app.slider(key="norm_n").set_value(9)
    app.number_input(key="norm_k").set_value(1.0)
    app.number_input(key="norm_alpha").set_value(1e-3)
    app.number_input(key="norm_beta").set_value(0.5)
    app.select_slider(key="norm_gain").set_value(3.0)
    app.slider(key="norm_growth").set_value(4.0)
    next(button for button in app.button if button.label == "Strongest place").click()
    changed(app)
    responses = first_responses(CUP, 1)
    row, column = liveliest_place(responses)
    assert (app.slider(key="norm_row").value, app.slider(key="norm_column").value) == (row, column)
    found = inhibition(3 * responses, (row, column), Constants(9, 1.0, 1e-3, 0.5), 4.0)
    assert values(app)["Share of the strongest"] == f"{found.share('after'):.1%}"
    assert values(app)["Strongest grown"] == f"{found.peak_change:+.1f}%"
    assert "a larger response always comes out larger" in " ".join(caption.value for caption in app.caption)
    assert app.session_state["normalisation_run"] is run, "the picture's responses are not computed again"


def test_the_page_computes_only_the_section_that_is_shown() -> None:
    app = AppTest.from_file("../../explorer/pages/experiments.py", default_timeout=60).run()
    app.segmented_control(key="experiment").set_value("dropout")
    changed(app)
    assert [heading.value for heading in app.header] == ["Experiments"]
    assert [heading.value for heading in app.subheader] == ["Dropout"]
    assert "Kept values, times" in values(app)
    assert "normalisation_run" not in app.session_state
    assert "augmentation_run" not in app.session_state


@pytest.mark.parametrize("section", ["normalisation", "pooling", "augmentation"])
def test_without_a_picture_it_asks_for_one(section: str) -> None:
    app = finished(section)
    changed(app.segmented_control(key="picture_source").set_value("Upload"))
    assert "Choose a picture" in app.info[0].value
    assert not app.error


def test_pooling_is_switched_off_and_on(files: dict[str, bytes]) -> None:
    app = finished("pooling")
    assert values(app)["Receptive field"] == "195 px"
    assert below(app)["Receptive field"] == "167 px with z = s"
    assert values(app)["Sides of the maps"] == "27-13-6"
    assert pd.read_csv(io.BytesIO(files["overlapping_pooling.csv"])).params_one.sum() == 60_965_224
    assert set(pd.read_csv(io.BytesIO(files["pooling_shift.csv"])).z) == {2, 3}
    changed(app.toggle(key="pool_on").set_value(False))
    assert values(app)["Receptive field"] == "167 px"
    assert set(pd.read_csv(io.BytesIO(files["pooling_shift.csv"])).z) == {2}
    changed(app.toggle(key="pool_on").set_value(True))
    changed(app.slider(key="pool_stride").set_value(3))
    assert values(app)["Sides of the maps"] == "18-6-2"
    assert below(app)["Parameters"] == f"{pooled(3, 3).totals.params:,}"


def test_pools_too_large_are_a_sentence() -> None:
    app = finished("pooling")
    app.slider(key="pool_stride").set_value(3)
    changed(app.slider(key="pool_kernel").set_value(8))
    assert "kernel (=8) is too large with stride (=3)" in app.error[0].value.replace("\\", "")
    changed(app.slider(key="pool_stride").set_value(1))
    assert values(app)["Sides of the maps"] == "48-41-34"  # 55 - 7, 48 - 7, 41 - 7


def test_no_step_is_refused_for_windows_that_nobody_chose() -> None:
    app = finished("pooling")
    for stride in (1, 2, 3):
        changed(app.slider(key="pool_stride").set_value(stride))
        assert not app.error
        assert values(app)["Sides of the maps"] == "-".join(map(str, pooled(3, stride).sides))


def test_dropout_is_switched_off_and_on(files: dict[str, bytes]) -> None:
    app = finished("dropout")
    found = dropout.passes(0.5)
    assert values(app)["Values dropped"] == f"{found.zeros:.1%}"
    assert values(app)["Kept values, times"] == "2"
    assert values(app)["Mean, linear"] == f"{found.table.linear.iloc[-1]:.1%}"
    assert pd.read_csv(io.BytesIO(files["dropout_passes.csv"])).expected.tolist() == pytest.approx(
        found.table.expected.tolist()
    )
    app.toggle(key="dropout_on").set_value(False).run()
    assert values(app) == {
        "Values dropped": "0.0%",
        "Kept values, times": "1",
        "One pass": "0%",
        "Mean, linear": "0.0%",
        "Mean, behind a ReLU": "0.0%",
    }
    app.toggle(key="dropout_on").set_value(True).run()
    app.slider(key="dropout_rate").set_value(0.75).run()
    assert values(app)["Kept values, times"] == "4"
    assert "dropout_run" not in app.session_state, "nothing is trained unasked"


def test_small_nets_are_trained_where_asked(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    monkeypatch.setattr(dropout, "STEPS", 20)
    app = finished("dropout")
    app.select_slider(key="dropout_wrong").set_value(0.2)
    changed(app.toggle(key="dropout_learning").set_value(True))
    assert app.dataframe[0].value.rate.tolist() == [0.0, 0.5]
    expected = dropout.learning(0.5, 0.2)
    assert pd.read_csv(io.BytesIO(files["dropout_learning.csv"])).test_error.tolist() == pytest.approx(
        expected.test_error.tolist()
    )


def test_a_training_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "STEPS", 100_000)
    app = finished("dropout")
    app.toggle(key="dropout_learning").set_value(True).run()
    app.button(key="dropout_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value


def test_augmentation_is_switched_off_and_on(files: dict[str, bytes]) -> None:
    app = finished("augmentation")
    found = answers("efficientnet_lite0", CUP, variants(CUP, Recipe(), 8, 0))
    assert values(app) == {
        "Taken for the same": f"{found.agreeing} of 8",
        "Spread": f"{found.spread:.1%}",
        "Centre crop": f"{found.centre:.1%}",
        "Mean of ten crops": f"{found.ten_reference:.1%}",
        "Distinct crops": "2,178",
    }
    assert below(app)["Centre crop"] == "espresso"
    table = pd.read_csv(io.BytesIO(files["augmentation.csv"]))
    assert table.reference.tolist() == pytest.approx(found.table.reference.tolist())
    assert table.left.tolist() == found.table.left.tolist()
    app.slider(key="augmentation_count").set_value(4)
    changed(app.toggle(key="augmentation_on").set_value(False))
    assert values(app)["Spread"] == "0.0%"
    assert values(app)["Taken for the same"] == "4 of 4"
    assert values(app)["Distinct crops"] == str(OFF.distinct_crops)


def test_every_part_of_the_recipe_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def note(image: Image.Image, recipe: Recipe, count: int, seed: int) -> list[object]:
        asked.append((recipe, count, seed))
        return variants(image, OFF, 1, 0)  # type: ignore[return-value]

    monkeypatch.setattr("explorer.pages.experiments_sections.augmentation.variants", note)
    app = finished("augmentation")
    app.segmented_control(key="augmentation_crop").set_value("resized")
    app.toggle(key="augmentation_flip").set_value(False)
    app.slider(key="augmentation_colour").set_value(0.7)
    app.slider(key="augmentation_jitter").set_value(0.4)
    app.slider(key="augmentation_count").set_value(5)
    app.number_input(key="augmentation_seed").set_value(9)
    changed(app)
    assert asked[-1] == (Recipe("resized", False, 0.7, 0.4), 5, 9)
    assert values(app)["Distinct crops"] == "-"


@pytest.mark.parametrize("section", ["normalisation", "pooling", "dropout", "augmentation"])
def test_every_control_and_number_has_a_help_text(section: str) -> None:
    app = finished(section)
    kinds = ("toggle", "slider", "select_slider", "number_input", "segmented_control", "metric", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) > 8
    assert all(widget.proto.help for widget in drawn), [w for w in drawn if not w.proto.help]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("normalisation", ("section 3.3", "1409.1556", "29.7%", "29.6%", "1.4 points", "random weights")),
        ("pooling", ("section 3.4", "0.4 points", "random filters", "nothing about trained")),
        ("dropout", ("section 4.2", "1207.0580", "15, 1929-1958", "random weights")),
        ("augmentation", ("section 4.1", "2,048", "2,178", "1409.4842", "39.0%", "fb.resnet.torch")),
    ],
)
def test_sources_and_what_is_measured_are_said(section: str, words: tuple[str, ...]) -> None:
    app = finished(section)
    text = " ".join(element.value for element in (*app.markdown, *app.caption)).replace("\n", " ")
    for word in words:
        assert word in text, word
