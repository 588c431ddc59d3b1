"""The budget section beside the real sidebar, through Streamlit's own page tests."""

import json
from typing import Any

import pytest
import streamlit as st
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.budget import budget_search, proposals
from explorer.analysis.layers import layer_table, totals
from explorer.pages.build_sections import budget as section
from explorer.spec import MAX_MACS, PRESETS, ResNetSpec

RESNET18 = PRESETS["resnet18"]
OWN = totals(layer_table(RESNET18))


def page() -> None:
    from explorer.pages import edge, sidebar
    from explorer.pages.build_sections import budget

    sidebar.read()
    with edge.sentences():
        budget.show(sidebar.current(), sidebar.preset())
    sidebar.draw()


def start(**query: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params.update(query or {"net": "resnet18"})
    return searched(app.run())


def searched(app: AppTest) -> AppTest:
    return until(app, lambda app: app.dataframe or app.error)


def widths(app: AppTest) -> list[int]:
    return [int(width) for width in app.dataframe[0].value.width]


def test_it_starts_with_the_nets_that_cost_what_this_one_does() -> None:
    app = start()
    assert app.number_input(key="budget_macs").value == OWN.macs / 10**6
    assert app.dataframe[0].value.equals(budget_search(RESNET18, "macs", OWN.macs))
    assert f"within 2% of {OWN.macs:,} MACs" in app.caption[0].value
    assert len(app.get("plotly_chart")) == 1


def test_the_caption_names_the_deepest_and_the_shallowest() -> None:
    app = start()
    deepest, *_, shallowest = proposals(RESNET18, "macs", OWN.macs)
    for row in (deepest, shallowest):
        assert f"{row.spec.depth} layers of width {row.spec.width} with " in app.caption[0].value


def test_the_quantity_can_be_the_parameters() -> None:
    app = start()
    searched(app.segmented_control(key="budget_quantity").set_value("params").run())
    assert app.number_input(key="budget_params").value == OWN.params / 10**6
    assert app.dataframe[0].value.equals(budget_search(RESNET18, "params", OWN.params))
    assert f"within 2% of {OWN.params:,} parameters" in app.caption[0].value


def test_another_budget_gives_other_nets() -> None:
    app = start()
    searched(app.number_input(key="budget_macs").set_value(900.5).run())
    assert app.dataframe[0].value.equals(budget_search(RESNET18, "macs", 900_500_000))


def test_the_budget_follows_the_net_until_it_is_changed() -> None:
    app = start()
    searched(app.selectbox(key="preset").set_value("cifar_resnet20").run())
    assert app.number_input(key="budget_macs").value == 40_551_040 / 10**6
    assert 16 in widths(app)
    app.number_input(key="budget_macs").set_value(100.0).run()
    searched(app.selectbox(key="preset").set_value("cifar_resnet32").run())
    assert app.number_input(key="budget_macs").value == 100
    assert app.dataframe[0].value.equals(budget_search(PRESETS["cifar_resnet32"], "macs", 10**8))


def test_the_choice_starts_at_this_net_which_cannot_be_taken_over_again() -> None:
    app = start()
    assert app.selectbox(key="budget_pick").value == "2, 2, 2, 2 blocks · depth 18 · width 64"
    assert button(app).disabled


def button(app: AppTest) -> Any:
    return next(button for button in app.button if button.label == "Use this net")


def test_a_proposal_can_be_taken_over_into_the_controls_and_the_budget_stays() -> None:
    app = start()
    wanted = proposals(RESNET18, "macs", OWN.macs)[-1].spec
    label = f"1, 1, 1, 1 blocks · depth {wanted.depth} · width {wanted.width}"
    searched(app.selectbox(key="budget_pick").set_value(label).run())
    assert not button(app).disabled
    searched(button(app).click().run())
    assert app.select_slider(key="width").value == wanted.width
    assert [app.slider(key=f"depths.{stage}").value for stage in range(4)] == [1, 1, 1, 1]
    assert app.number_input(key="budget_macs").value == OWN.macs / 10**6
    assert app.dataframe[0].value.equals(budget_search(wanted, "macs", OWN.macs))
    assert app.selectbox(key="budget_pick").value == label
    assert button(app).disabled


def test_the_row_that_is_clicked_on_becomes_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page tests cannot click on a row, so the callback is called with what a click leaves in the session."""

    class State(dict[str, Any]):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__

    state = State(table=State(selection=State(rows=[1])))
    monkeypatch.setattr(st, "session_state", state)
    section._pick("table", ["first", "second"])
    assert state.budget_pick == "second"
    state.table.selection.rows = []  # the click that takes the selection back
    section._pick("table", ["first", "second"])
    assert state.budget_pick == "second"


@pytest.mark.parametrize("millions", [0.5, 10.0**9])
def test_an_impossible_budget_gives_a_sentence_and_nothing_to_run_again(millions: float) -> None:
    app = start()
    until(app.number_input(key="budget_macs").set_value(millions).run(), lambda app: app.error)
    assert f"budget (={round(millions * 10**6):,} MACs) must be within 2%" in app.error[0].value.replace("\\", "")
    assert not app.dataframe
    assert "Run it again" not in [button.label for button in app.button]
    until(app.number_input(key="budget_macs").set_value(900.0).run(), lambda app: app.dataframe)
    assert not app.error


def test_every_control_and_column_is_explained() -> None:
    app = start()
    for kind in ("segmented_control", "number_input", "selectbox", "button", "download_button"):
        for widget in app.main.get(kind):
            assert widget.proto.help, (kind, widget.proto)
    columns = json.loads(app.dataframe[0].proto.columns)
    for name in app.dataframe[0].value:
        assert columns[name]["help"], name


def test_the_field_holds_the_budget_of_the_largest_nets() -> None:
    """Here 2^55 multiply-accumulates; no net has more than 2^62."""
    query = {"depths": "1", "cardinality": "16", "width_per_group": "512", "image_size": "4000,4000"}
    app = start(net="resnet50", width="512", stem="cifar", **query)
    spec = ResNetSpec.from_query({"net": "resnet50", "width": "512", "stem": "cifar", **query})
    macs = totals(layer_table(spec)).macs
    assert 2**55 < macs < MAX_MACS
    assert app.number_input(key="budget_macs").value == macs / 10**6
    assert app.number_input(key="budget_macs").max == MAX_MACS / 10**6
    assert app.dataframe or "must be within 2%" in app.error[0].value
