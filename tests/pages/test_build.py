"""The Build page and the sidebar, through Streamlit's own page tests."""

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from explorer.analysis.layers import layer_table, totals
from explorer.spec import PRESETS, ResNetSpec


def start(**query: str) -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    app.query_params.update(query)
    return app.run()


def metric(app: AppTest, label: str) -> str:
    """The exact number under the short one."""
    return next(str(metric.delta) for metric in app.metric if metric.label == label)


def link(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def shows(app: AppTest, spec: ResNetSpec) -> bool:
    sums = totals(layer_table(spec))
    return (metric(app, "Parameters"), metric(app, "MACs")) == (f"{sums.params:,}", f"{sums.macs:,}")


def test_it_starts_with_resnet50_and_its_published_counts() -> None:
    app = start()
    assert not app.exception
    assert metric(app, "Parameters") == "25,557,032"
    assert metric(app, "MACs") == "4,089,184,256"
    assert link(app) == {"net": "resnet50"}


@pytest.mark.parametrize("name", ["resnet18", "resnext101_64x4d", "cifar_plain110", "resnet50_v2", "d2l_resnet18"])
def test_choosing_a_preset_sets_every_control_and_the_link(name: str) -> None:
    app = start()
    app.selectbox(key="preset").set_value(name).run()
    assert not app.exception
    assert shows(app, PRESETS[name])
    assert link(app) == {"net": name}
    assert app.segmented_control(key="block").value == PRESETS[name].block


@pytest.mark.parametrize("name", PRESETS)
def test_the_link_of_every_preset_opens_that_net(name: str) -> None:
    app = start(net=name)
    assert not app.exception
    assert not app.error
    assert link(app) == {"net": name}
    assert shows(app, PRESETS[name])


def test_every_control_moves_the_net_that_is_counted() -> None:
    changes = {
        "block": ("basic", {"block": "basic"}),
        "width": (96, {"width": 96}),
        "cardinality": (2, {"cardinality": 2}),
        "width_per_group": (128, {"width_per_group": 128}),
        "stride_on": ("1x1", {"stride_on": "1x1"}),
        "residual": (False, {"residual": False}),
        "shortcut": ("C", {"shortcut": "C"}),
        "downsample": ("avg", {"downsample": "avg"}),
        "preactivation": (True, {"preactivation": True}),
        "zero_init_residual": (True, {"zero_init_residual": True}),
        "stem": ("deep", {"stem": "deep"}),
        "output_stride": (8, {"output_stride": 8}),
        "attention": ("se", {"attention": "se"}),
        "norm": ("group", {"norm": "group"}),
        "activation": ("gelu", {"activation": "gelu"}),
        "in_channels": (1, {"in_channels": 1}),
        "num_classes": (10, {"num_classes": 10}),
        "depths.2": (7, {"depths": (3, 4, 7, 3)}),
        "stages": (3, {"depths": (3, 4, 6)}),
        "image_size.0": (256, {"image_size": (256, 224)}),
        "image_size.1": (320, {"image_size": (224, 320)}),
    }
    app = start()
    widgets = {w.key: w for w in (*app.sidebar.segmented_control, *app.sidebar.select_slider, *app.sidebar.slider)}
    widgets |= {w.key: w for w in (*app.sidebar.toggle, *app.sidebar.number_input)}
    stages = {f"depths.{stage}" for stage in range(4)}
    assert set(widgets) == set(changes) | stages, "a control without a case here, or a case without its control"
    for key, (value, change) in changes.items():
        app = start()
        widget = next(
            w
            for w in (*app.segmented_control, *app.select_slider, *app.slider, *app.toggle, *app.number_input)
            if w.key == key
        )
        widget.set_value(value).run()
        spec = replace(PRESETS["resnet50"], **change)
        assert not app.exception, key
        assert shows(app, spec), key
        assert link(app) == spec.to_query("resnet50"), key


def test_every_control_has_a_help_text() -> None:
    for page in ("explorer/pages/build.py", "explorer/pages/attribution.py"):
        app = start().switch_page(page).run()
        for kind in (
            "selectbox",
            "segmented_control",
            "select_slider",
            "slider",
            "toggle",
            "number_input",
            "multiselect",
            "text_input",
            "button",
            "download_button",
        ):
            for widget in app.get(kind):
                assert widget.proto.help, (page, kind, widget.proto)


def test_a_value_between_the_stops_comes_through_a_link() -> None:
    app = start(net="resnet50", width="37")
    assert app.select_slider(key="width").value == 37
    assert shows(app, replace(PRESETS["resnet50"], width=37))


def test_back_to_the_preset_undoes_the_changes() -> None:
    app = start(net="resnet34", num_classes="7")
    app.sidebar.button[0].click().run()
    assert link(app) == {"net": "resnet34"}
    assert shows(app, PRESETS["resnet34"])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"net": "resnet51"}, "resnet51"),
        ({"net": "resnet50", "width": "banana"}, "banana"),
        ({"width": "100000"}, "100000"),
        ({"colour": "red"}, "colour"),
        ({"net": "resnet50", "block": "basic", "cardinality": "32"}, "cardinality (=32)"),
        ({"net": "<script>alert(1)</script>" * 50}, "script"),
    ],
)
def test_a_broken_link_gives_a_sentence_and_the_default_net(query: dict[str, str], words: str) -> None:
    app = start(**query)
    assert not app.exception
    assert words in app.warning[0].value
    assert len(app.warning[0].value) < 1000
    assert shows(app, PRESETS["resnet50"])
    app.segmented_control(key="block").set_value("basic").run()
    assert not app.warning, "the sentence has had its time once the net is changed"


def test_a_refused_combination_gives_a_sentence_and_loses_nothing() -> None:
    app = start(net="resnext50_32x4d")
    app.segmented_control(key="block").set_value("basic").run()
    assert not app.exception
    assert "cardinality (=32)" in app.error[0].value
    assert not app.metric, "no number of another net"
    assert app.select_slider(key="cardinality").value == 32
    app.segmented_control(key="block").set_value("bottleneck").run()
    assert not app.error
    assert shows(app, PRESETS["resnext50_32x4d"])


def test_a_control_without_effect_is_disabled() -> None:
    app = start(net="plain18")
    assert app.segmented_control(key="shortcut").disabled
    assert app.toggle(key="zero_init_residual").disabled
    assert app.segmented_control(key="stride_on").disabled
    assert not app.segmented_control(key="norm").disabled
    assert start(net="cifar_resnet20").segmented_control(key="output_stride").disabled


def test_leaving_the_cifar_stem_with_too_many_blocks_is_refused_not_broken() -> None:
    app = start(net="cifar_resnet1202")
    app.segmented_control(key="stem").set_value("imagenet").run()
    assert not app.exception
    assert "depths" in app.error[0].value
    app.segmented_control(key="stem").set_value("cifar").run()
    assert metric(app, "Parameters") == "19,421,274"


def test_search_and_filters_choose_rows_and_their_sums() -> None:
    app = start(net="resnet18")
    whole = layer_table("resnet18")
    assert len(app.dataframe[1].value) == len(whole)
    app.text_input(key="layer_search").set_value("LAYER2.0").run()
    part = whole[whole.name.str.startswith("layer2.0")]
    assert app.dataframe[1].value.name.tolist() == part.name.tolist()
    app.multiselect(key="layer_kinds").set_value(["conv"]).run()
    part = part[part.kind == "conv"]
    assert app.dataframe[1].value.name.tolist() == part.name.tolist()
    assert f"{part.params.sum():,} parameters" in app.caption[1].value
    app.text_input(key="layer_search").set_value("no such layer").run()
    assert "take away a filter" in app.info[0].value


def test_a_filter_that_the_next_net_has_no_use_for_does_no_harm() -> None:
    app = start(net="resnet50")
    app.multiselect(key="layer_stages").set_value(["4"]).run()
    app.selectbox(key="preset").set_value("cifar_resnet20").run()
    assert not app.exception
    assert not app.error


def until(app: AppTest, ready: Callable[[AppTest], object]) -> AppTest:
    """Rerun as the page's own polling would, which these page tests do not do."""
    end = time.monotonic() + 60
    while not ready(app):
        assert time.monotonic() < end, app
        app.run()
    return app


def test_the_second_opinion_names_the_reason_for_each_difference() -> None:
    app = start(net="resnet50")
    app.toggle(key="second_opinion").set_value(True).run()
    opinion = until(app, lambda app: len(app.dataframe) == 3).dataframe[2].value
    assert opinion.macs.tolist() == [4089184256, 4089238376, 4089184256, 4089000000]
    assert "54,120" in opinion.reason[1]
    assert "IMAGENET1K" in opinion.tool[3]
    app.select_slider(key="width").set_value(72).run()
    assert len(until(app, lambda app: len(app.dataframe) == 3).dataframe[2].value) == 3, "published for width 64 only"


def test_a_stage_can_be_dropped_and_taken_up_again_among_other_changes() -> None:
    app = start(net="resnet50")
    for key, value in (("stages", 3), ("depths.0", 5), ("stages", 2), ("depths.1", 6), ("stages", 4), ("depths.3", 2)):
        app.slider(key=key).set_value(value).run()
        assert not app.exception
        app.run()  # and again without a change
        assert not app.exception
    assert shows(app, replace(PRESETS["resnet50"], depths=(5, 6, 6, 2)))


def test_a_preset_of_fewer_stages_can_be_changed_on() -> None:
    app = start()
    app.selectbox(key="preset").set_value("cifar_resnet20").run()
    for stage in (0, 1, 2):
        app.slider(key=f"depths.{stage}").set_value(5).run()
        assert not app.exception
    assert shows(app, PRESETS["cifar_resnet32"])
    assert link(app) == {"net": "cifar_resnet20", "depths": "5,5,5"}
    assert "the same net as cifar_resnet32" in app.caption[0].value
    app.sidebar.button[0].click().run()
    assert shows(app, PRESETS["cifar_resnet20"])


def test_what_mail_and_social_sites_append_to_a_link_does_no_harm() -> None:
    app = start(net="resnet18", utm_source="mail", fbclid="x")
    assert not app.warning
    assert shows(app, PRESETS["resnet18"])


def test_a_link_cannot_put_pictures_or_links_into_the_page() -> None:
    app = start(net="![x](http://bad.example/a.png) :red[y]")
    assert "bad.example" in app.warning[0].value
    assert not re.search(r"(?<!\\)[\[\]!]|(?<!\\):(?=red|//)", app.warning[0].value)


def test_the_net_survives_a_visit_to_another_page() -> None:
    app = start(net="resnet18", num_classes="7")
    app.number_input(key="num_classes").set_value(9).run()
    app.slider(key="depths.0").set_value(4).run()
    app.switch_page("explorer/pages/attribution.py").run()
    app.run()
    app.run()
    assert not app.sidebar.slider, "controls that would do nothing there"
    assert link(app) == {"net": "resnet18", "depths": "4,2,2,2", "num_classes": "9"}
    app.switch_page("explorer/pages/build.py").run()
    app.run()
    assert shows(app, replace(PRESETS["resnet18"], num_classes=9, depths=(4, 2, 2, 2)))
    assert app.selectbox(key="preset").value == "resnet18"


def test_a_defect_of_ours_gives_one_sentence_and_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(table: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("explorer.export.readable_table", broken)
    app = start()
    assert not app.exception
    assert "server's log" in app.error[0].value
    assert "secret" not in app.error[0].value
