"""The experiment on activation functions, through Streamlit's own page tests."""

import io
from typing import Any, get_args

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.gradients import ActivationStudy, activation_study
from explorer.spec import Activation

KEYS = ("chosen", "depth", "init", "seeds", "norm", "residual", "double")


def page() -> None:
    from explorer.pages import edge
    from explorer.pages.experiments_sections import activations

    with edge.sentences():
        activations.show()


def finished(**state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in state.items():
        app.session_state[f"activations_{key}"] = value
    until(app.run(), lambda app: app.dataframe)
    assert not app.exception
    assert not app.error
    return app


SHALLOW: dict[str, Any] = {"chosen": ["tanh", "relu"], "depth": 8, "seeds": 1}  # takes a tenth of a second


def test_it_starts_with_the_plain_net_of_twenty_layers_and_the_three_of_the_textbooks() -> None:
    app = finished()
    assert app.dataframe[0].value.equals(activation_study(ActivationStudy()).summary)
    assert app.session_state["activations_run"].question == ActivationStudy()
    assert list(app.multiselect[0].options) == list(get_args(Activation))


@pytest.mark.parametrize(
    ("change", "study"),
    [
        ({}, {}),
        ({"norm": True}, {"norm": True}),
        ({"residual": True}, {"residual": True}),
        ({"double": True}, {"double": True}),
        ({"init": "xavier"}, {"init": "xavier"}),
        ({"seeds": 2}, {"seeds": 2}),
        ({"depth": 14}, {"depth": 14}),
    ],
)
def test_every_control_is_measured(change: dict[str, Any], study: dict[str, Any]) -> None:
    app = finished(**SHALLOW | change)
    expected = activation_study(ActivationStudy(**{"activations": ("tanh", "relu"), "depth": 8, "seeds": 1} | study))
    assert app.dataframe[0].value.equals(expected.summary)


def test_the_chart_has_a_line_for_each_that_was_chosen() -> None:
    (chart,) = finished(**SHALLOW).get("plotly_chart")
    assert all(f'"name":"{name}"' in chart.proto.spec for name in ("tanh", "relu"))
    assert '"name":"sigmoid"' not in chart.proto.spec


def test_without_an_activation_it_says_what_would_be_right() -> None:
    app = finished(**SHALLOW)
    app.multiselect(key="activations_chosen").set_value([]).run()
    assert not app.exception
    assert "must be one or more of relu" in app.error[0].value
    assert not app.dataframe


@pytest.mark.parametrize("residual", [False, True])
def test_the_caption_says_what_is_measured(residual: bool) -> None:
    (caption,) = finished(**SHALLOW | {"residual": residual, "seeds": 2}).caption
    for words in (
        "random weights, before any training",
        f"a {'residual' if residual else 'plain'} net of 8 layers",
        "root of the sum of squares of dL/d(output of the block)",
        "batch of 16 images",
        "patterns of 32 px",
        "mean cross-entropy",
        "seeds 0 to 1",
    ):
        assert words in caption.value


@pytest.mark.parametrize("words", ["Glorot & Bengio", "Nair & Hinton", "section 3.1", "six times faster", "1502.01852"])
def test_it_says_what_was_published(words: str) -> None:
    assert words in "".join(text.value for text in finished(**SHALLOW).markdown)


def test_every_control_has_a_help_text_and_a_key() -> None:
    app = finished(**SHALLOW)
    kinds = ("multiselect", "select_slider", "selectbox", "slider", "toggle", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) == len(KEYS) + 2
    assert all(widget.proto.help for widget in drawn)
    assert all(f"activations_{key}" in app.session_state for key in KEYS)


def test_a_long_run_shows_how_far_it_is_and_can_be_cancelled() -> None:
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state.activations_chosen = list(get_args(Activation))
    app.session_state.activations_depth = 56
    app.session_state.activations_seeds = 5
    app.run()
    assert not app.dataframe, "it takes seconds"
    app.button(key="activations_run_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value


def test_the_files_hold_summary_and_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    finished(**SHALLOW)
    expected = activation_study(ActivationStudy(("tanh", "relu"), 8, seeds=1))
    for name, table in (("activations.csv", expected.summary), ("gradient_by_activation.csv", expected.curves)):
        read = pd.read_csv(io.BytesIO(files[name]), keep_default_na=False)
        pd.testing.assert_frame_equal(read, table, check_dtype=False)
