"""The section on the chain of factors, through Streamlit's own page tests."""

import io
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.gradients import BATCH, classes, patterns
from explorer.analysis.identity_path import chain_summary, identity_path
from explorer.figures.identity_path import worked
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.models.variants import variant
from explorer.spec import ResNetSpec

NETS = {"Plain · 8": ("plain", 8), "Highway gates · 8": ("highway", 8), "Pre-activation · 14": ("preact", 14)}


def page(nets: dict[str, tuple[str, int]], steps: int = 0) -> None:
    from explorer.models.variants import variant
    from explorer.pages import edge
    from explorer.pages.gradient_flow_sections import identity_path
    from explorer.pages.gradient_flow_sections.chosen import Chosen, Images

    more = {"in_channels": 1} if steps else {}
    specs = {title: variant(*net, width=4, image_size=(8, 8), **more) for title, net in nets.items()}
    images, state = (Images("data", "digits"), "steps") if steps else (Images(), "initial")
    with edge.sentences():
        identity_path.show(Chosen(specs, 2, images, state, steps))


def finished(nets: Any = NETS, **more: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60, kwargs={"nets": nets, **more}).run()
    return ready(app)


def ready(app: AppTest) -> AppTest:
    app = until(app, lambda app: app.dataframe)
    assert not app.exception
    assert not app.error
    return app


def table_of(spec: ResNetSpec, seed: int = 0) -> pd.DataFrame:
    with seeded(seed):
        network = build(spec, "cpu").double()
    images = patterns(seed, BATCH, 8, spec.in_channels).double()
    return identity_path(network, images, classes(seed, BATCH, spec.num_classes), seed)


def spec_of(title: str) -> ResNetSpec:
    return variant(*NETS[title], width=4, image_size=(8, 8))


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-8)


def test_it_starts_with_the_first_residual_net_beside_its_plain_twin() -> None:
    app = finished()
    spec = spec_of("Highway gates · 8")
    tables = {"Highway gates · 8": table_of(spec), "Plain twin": table_of(replace(spec, residual=False))}
    same(app.dataframe[0].value, chain_summary(tables))
    same(app.dataframe[1].value, tables["Highway gates · 8"])


def test_net_seed_and_block_are_chosen_and_the_block_is_told_in_numbers() -> None:
    app = finished()
    app.selectbox(key="identity_net").set_value("Pre-activation · 14").run()
    app = ready(app)
    app.selectbox(key="identity_seed").set_value(1).run()
    app = ready(app)
    app.slider(key="identity_block_6").set_value(5).run()
    table = table_of(spec_of("Pre-activation · 14"), 1)
    text = app.info[0].value.replace("\\", "")
    assert text == "Block 5 of 6, layer3.0. " + worked(table.iloc[4].to_dict(), spec_of("Pre-activation · 14"))
    same(app.dataframe[1].value, table)


def test_a_plain_net_stands_alone() -> None:
    app = finished({"Plain · 8": ("plain", 8)})
    assert list(app.dataframe[0].value["net"]) == ["Plain · 8"]
    assert "There is no shortcut" in app.info[0].value


def test_after_training_steps_the_twin_is_trained_too() -> None:
    app = finished({"ResNet · 8": ("a", 8)}, steps=2)
    assert list(app.dataframe[0].value["net"]) == ["ResNet · 8", "Plain twin"]
    assert any("now after 2 " in caption.value for caption in app.caption)


def test_trained_nets_have_a_twin_where_its_weights_are_chosen_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from explorer.pages.gradient_flow_sections import identity_path
    from explorer.pages.gradient_flow_sections.chosen import Chosen, Images

    nets = {"Plain · 20": variant("plain", 20), "ResNet · 20": variant("a", 20), "ResNet · 56": variant("a", 56)}
    weights = {title: f"weights of {title}" for title in nets}
    chosen = Chosen(nets, 1, Images(), "trained", 0, weights)
    found = identity_path._questions(chosen, "ResNet · 20")
    assert list(found) == ["ResNet · 20", "Plain · 20"]
    assert found["Plain · 20"].checkpoint == "weights of Plain · 20"
    assert list(identity_path._questions(chosen, "ResNet · 56")) == ["ResNet · 56"]


def test_the_files_hold_both_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setattr(
        "explorer.pages.parts.download",
        lambda label, make, content, file_name, *rest: files.update({file_name: make(content)}),
    )
    app = finished()
    blocks = pd.read_csv(io.BytesIO(files["identity_path.csv"]))
    assert list(blocks["net"]) == ["Highway gates · 8"] * 3 + ["Plain twin"] * 3
    same(blocks.iloc[:3][["factor", "gate_share"]], app.dataframe[1].value[["factor", "gate_share"]])
    same(pd.read_csv(io.BytesIO(files["identity_chains.csv"])), app.dataframe[0].value)


def test_every_control_has_a_help_text_and_the_limits_are_said() -> None:
    app = finished()
    drawn = [widget for kind in ("selectbox", "slider", "download_button") for widget in app.get(kind)]
    assert len(drawn) == 2 + 1 + 2
    assert all(widget.proto.help for widget in drawn)
    text = "".join(element.value for element in app.markdown)
    assert "What it does not promise" in text
    assert all(number in text for number in ("1512.03385", "1603.05027", "1902.08129", "2002.10444"))
