"""The Build page and the sidebar, through Streamlit's own page tests."""

import re
from dataclasses import replace
from typing import Any

import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.layers import layer_table, totals
from explorer.spec import PRESETS, ResNetSpec


def start(**query: str) -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=60)
    app.query_params.update(query)
    return app.run()


def show(app: AppTest, section: str) -> AppTest:
    return app.segmented_control(key="section").set_value(section).run()


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


@pytest.mark.parametrize("name", ["resnet18", "resnext101_64x4d", "cifar_plain110", "resnetv2_50", "d2l_resnet18"])
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


HIGHWAY, SCALED = "resnet50 shortcut=highway", "resnet50 residual_scale=layerscale"
CHANGES: dict[str, tuple[str, object, dict[str, object]]] = {  # a control: net to start from, value, what it changes
    "block": ("resnet50", "basic", {"block": "basic"}),
    "width": ("resnet50", 96, {"width": 96}),
    "cardinality": ("resnet50", 2, {"cardinality": 2}),
    "width_per_group": ("resnet50", 128, {"width_per_group": 128}),
    "kernel_size": ("resnet50", 5, {"kernel_size": 5}),
    "stride_on": ("resnet50", "1x1", {"stride_on": "1x1"}),
    "strides.2": ("resnet50", 1, {"strides": (1, 2, 1, 2)}),
    "own_widths": ("resnet50", True, {}),  # the widths that there are, until one is changed
    "output_stride": ("resnet50", 8, {"output_stride": 8}),
    "residual": ("resnet50", False, {"residual": False}),
    "shortcut": ("resnet50", "highway", {"shortcut": "highway"}),
    "gate_bias": (HIGHWAY, -3, {"gate_bias": -3}),
    "downsample": ("resnet50", "avg", {"downsample": "avg"}),
    "activation_order": ("resnet50", "preact", {"activation_order": "preact"}),
    "residual_scale": ("resnet50", "layerscale", {"residual_scale": "layerscale"}),
    "scale_start": (SCALED, 0.3, {"scale_start": 0.3}),
    "stem": ("resnet50", "deep", {"stem": "deep"}),
    "stem_width": ("resnet50", 128, {"stem_width": 128}),
    "attention": ("resnet50", "cbam", {"attention": "cbam"}),
    "antialias": ("resnet50", "blur", {"antialias": "blur"}),
    "norm": ("resnet50", "group", {"norm": "group"}),
    "norm_groups": ("resnet50_gn", 8, {"norm_groups": 8}),
    "weight_standardization": ("resnet50", True, {"weight_standardization": True}),
    "activation": ("resnet50", "gelu", {"activation": "gelu"}),
    "init": ("resnet50", "xavier", {"init": "xavier"}),
    "zero_init_residual": ("resnet50", True, {"zero_init_residual": True}),
    "stochastic_depth": ("resnet50", 0.2, {"stochastic_depth": 0.2}),
    "block_dropout": ("resnet50", 0.3, {"block_dropout": 0.3}),
    "head_dropout": ("resnet50", 0.5, {"head_dropout": 0.5}),
    "in_channels": ("resnet50", 1, {"in_channels": 1}),
    "num_classes": ("resnet50", 10, {"num_classes": 10}),
    "depths.2": ("resnet50", 7, {"depths": (3, 4, 7, 3)}),
    "stages": ("resnet50", 3, {"depths": (3, 4, 6)}),
    "image_size.0": ("resnet50", 256, {"image_size": (256, 224)}),
    "image_size.1": ("resnet50", 320, {"image_size": (224, 320)}),
}


def controls(app: AppTest) -> dict[str, Any]:
    side = app.sidebar
    kinds = (side.segmented_control, side.select_slider, side.slider, side.toggle, side.number_input)
    return {str(widget.key): widget for kind in kinds for widget in kind}


def test_every_control_has_a_case_below() -> None:
    stages = {f"{name}.{stage}" for name in ("depths", "strides") for stage in range(4)}
    assert set(controls(start())) == set(CHANGES) | stages


@pytest.mark.parametrize("key", CHANGES)
def test_every_control_moves_the_net_that_is_counted(key: str) -> None:
    (preset, *settings), value, change = CHANGES[key][0].split(), *CHANGES[key][1:]
    query = {"net": preset} | dict(setting.split("=") for setting in settings)
    app = start(**query)
    controls(app)[key].set_value(value).run()
    spec = replace(ResNetSpec.from_query(query), **change)
    assert not app.exception
    assert shows(app, spec)
    assert link(app) == spec.to_query(preset)


def test_widths_of_stages_begin_with_what_they_were_and_are_each_moved() -> None:
    app = start(net="resnet18")
    app.select_slider(key="width").set_value(32).run()
    app.toggle(key="own_widths").set_value(True).run()
    app.number_input(key="stage_widths.3").set_value(200).run()
    assert shows(app, replace(PRESETS["resnet18"], width=32, stage_widths=(32, 64, 128, 200)))
    app.slider(key="stages").set_value(2).run()
    assert shows(app, replace(PRESETS["resnet18"], width=32, depths=(2, 2), stage_widths=(32, 64)))
    app.toggle(key="own_widths").set_value(False).run()
    assert shows(app, replace(PRESETS["resnet18"], width=32, depths=(2, 2)))


SECTIONS = ("Diagram", "Layers", "What changed", "Counts", "Memory", "Budget", "Export")
KINDS = (
    *("selectbox", "segmented_control", "select_slider", "slider", "toggle", "number_input", "multiselect"),
    *("text_input", "button", "download_button", "file_uploader"),
)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_control_of_a_section_has_a_help_text(section: str) -> None:
    app = show(start(), section)
    assert not app.exception
    assert not app.error
    widgets = [widget for kind in KINDS for widget in app.get(kind)]
    assert len(widgets) > 40
    for widget in widgets:
        assert widget.proto.help, widget.proto


def test_every_control_of_the_attribution_page_has_a_help_text() -> None:
    app = start().switch_page("explorer/pages/attribution.py").run()
    for widget in (widget for kind in KINDS for widget in app.get(kind)):
        assert widget.proto.help, widget.proto


def test_a_value_between_the_stops_comes_through_a_link() -> None:
    app = start(net="resnet50", width="37")
    assert app.select_slider(key="width").value == 37
    assert shows(app, replace(PRESETS["resnet50"], width=37))


def test_back_to_the_preset_undoes_the_changes() -> None:
    app = start(net="resnet34", num_classes="7")
    next(button for button in app.sidebar.button if button.label == "Back to the preset").click().run()
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
    app = show(start(net="resnet18"), "Layers")
    whole = layer_table("resnet18")
    assert len(app.dataframe[1].value) == len(whole)
    app.text_input(key="layer_search").set_value("LAYER2.0").run()
    part = whole[whole.name.str.startswith("layer2.0")]
    assert app.dataframe[1].value.name.tolist() == part.name.tolist()
    app.multiselect(key="layer_kinds").set_value(["conv"]).run()
    part = part[part.kind == "conv"]
    assert app.dataframe[1].value.name.tolist() == part.name.tolist()
    assert f"{part.params.sum():,} parameters" in app.caption[-1].value
    app.text_input(key="layer_search").set_value("no such layer").run()
    assert "take away a filter" in app.info[0].value


def test_a_filter_that_the_next_net_has_no_use_for_does_no_harm() -> None:
    app = show(start(net="resnet50"), "Layers")
    app.multiselect(key="layer_stages").set_value(["4"]).run()
    app.selectbox(key="preset").set_value("cifar_resnet20").run()
    assert not app.exception
    assert not app.error


def test_the_second_opinion_names_the_reason_for_each_difference() -> None:
    app = until(show(start(net="resnet50"), "Counts"), lambda app: app.dataframe)
    opinion = app.dataframe[0].value
    assert opinion.macs.tolist() == [4089184256, 4089238376, 4089184256, 4089000000]
    assert any("54,120" in caption.value for caption in app.caption)
    assert "IMAGENET1K" in opinion.tool[3]
    app.select_slider(key="width").set_value(72).run()
    assert len(until(app, lambda app: app.dataframe).dataframe[0].value) == 3, "published for width 64 only"


def test_torchinfos_own_text_goes_as_deep_as_asked() -> None:
    app = until(show(start(net="resnet18"), "Counts"), lambda app: app.code)
    assert "Total params: 11,689,512" in app.code[0].value
    assert "layer1.0" not in app.code[0].value
    blocks = app.code[0].value
    app.segmented_control(key="torchinfo_depth").set_value(4).run()
    layers = until(app, lambda app: app.code and app.code[0].value != blocks).code[0].value
    assert layers.count("Conv2d") == 20
    assert blocks.count("Conv2d") == 1


def test_what_changed_is_told_against_the_preset_and_against_a_pinned_net() -> None:
    app = show(start(net="resnet50"), "What changed")
    assert "The same net as resnet50" in app.markdown[0].value
    app.select_slider(key="width").set_value(72).run()
    assert "width 64 → **72**" in app.markdown[0].value
    table = app.dataframe[0].value.set_index("stage")
    assert table.loc["whole net", "params_change"] == count("resnet50", width=72) - 25_557_032
    app.segmented_control(key="against").set_value("pinned net").run()
    assert "Nothing is pinned" in app.info[0].value
    next(button for button in app.button if button.label == "Pin this net").click().run()
    app.select_slider(key="width").set_value(80).run()
    assert "width 72 → **80**" in app.markdown[0].value
    table = app.dataframe[0].value.set_index("stage")
    assert table.loc["whole net", "params_change"] == count("resnet50", width=80) - count("resnet50", width=72)


def test_weights_that_load_into_another_net_come_with_a_warning() -> None:
    loads = {}
    for net in ("resnet50", "resnet50_v1"):
        app = show(start(net=net), "What changed")
        loads[net] = next(text.value for text in app.markdown if "state_dict loads" in text.value)
    assert "computes something else" not in loads["resnet50"]
    assert "computes something else" in loads["resnet50_v1"]


def count(preset: str, **change: Any) -> int:
    return totals(layer_table(replace(PRESETS[preset], **change))).params


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"net": "resnet50"}, "Equals torchvision.resnet50: 25,557,032 parameters, state_dict loads"),
        ({"net": "ecaresnet50d"}, "Equals timm.ecaresnet50d: 25,576,350 parameters, state_dict loads"),
        ({"net": "resnetv2_50"}, "Equals timm.resnetv2_50: 25,549,352 parameters, its tensors have other names"),
        ({"net": "resnet50", "attention": "se"}, "Equals timm.seresnet50: 28,088,024 parameters, state_dict loads"),
        ({"net": "resnet50_v1"}, "Differs from torchvision.resnet50: stride_on"),
        ({"net": "resnet18", "stem": "cifar", "width": "32"}, "Differs from torchvision.resnet18: width, stem"),
        ({"net": "resnet50", "stage_widths": "64,128,256,512"}, "Equals torchvision.resnet50"),
        ({"net": "cifar_resnet20"}, "In no library; the nearest is torchvision.resnet18"),
    ],
)
def test_the_badge_says_whose_network_it_is(query: dict[str, str], words: str) -> None:
    assert any(words in caption.value for caption in start(**query).caption)


def test_the_receptive_field_follows_the_place_of_the_stride() -> None:
    fields = {name: start(net=name).metric[-1].value for name in ("resnet50", "resnet50_v1", "cifar_resnet1202")}
    assert fields == {"resnet50": "427 px", "resnet50_v1": "483 px", "cifar_resnet1202": "5,597 px"}  # FACTS.md


def test_the_exported_json_comes_back_as_the_same_net() -> None:
    app = show(start(net="resnet18"), "Export")
    spec = replace(PRESETS["resnext50_32x4d"], stage_widths=(64, 128, 200, 300), stem_width=48, head_dropout=0.25)
    app.file_uploader(key="spec_file").upload("net.json", spec.to_json().encode("utf-8-sig"), "application/json").run()
    assert not app.exception
    assert shows(app, spec)
    assert app.selectbox(key="preset").value == "resnext50_32x4d"


@pytest.mark.parametrize("content", [b"{", b'{"width": -1}', b'{"colour": 1}', b"\xff\xfe\x00"])
def test_a_file_that_is_no_net_is_a_sentence_and_changes_nothing(content: bytes) -> None:
    app = show(start(net="resnet18"), "Export")
    app.file_uploader(key="spec_file").upload("net.json", content, "application/json").run()
    assert not app.exception
    assert "net.json does not describe a net" in app.error[0].value
    assert shows(app, PRESETS["resnet18"])


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
    next(button for button in app.sidebar.button if button.label == "Back to the preset").click().run()
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
    own = {"net": "resnet18", "depths": "4,2,2,2", "num_classes": "9"}
    assert own.items() <= link(app).items()
    app.switch_page("explorer/pages/build.py").run()
    app.run()
    assert shows(app, replace(PRESETS["resnet18"], num_classes=9, depths=(4, 2, 2, 2)))
    assert app.selectbox(key="preset").value == "resnet18"


def test_a_defect_of_ours_gives_one_sentence_and_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(table: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("explorer.pages.build_sections.layers.readable_table", broken)
    app = show(start(), "Layers")
    assert not app.exception
    assert "server's log" in app.error[0].value
    assert "secret" not in app.error[0].value
