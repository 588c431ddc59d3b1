"""The Building blocks page: each panel at its published numbers and at others, against formulas of its own."""

import io
import itertools
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from polling import until
from streamlit.testing.v1 import AppTest

from explorer.analysis.layers import layer_table, totals
from explorer.models import zoo
from explorer.spec import PRESETS

PANELS = ("bottleneck", "stacked", "inception", "depthwise", "shortcuts", "output-size", "separable", "pooled-head")


def page(path: str) -> None:
    import streamlit as st

    from explorer.pages import edge, sidebar

    with edge.sentences():
        shown = st.navigation([st.Page(path)])
        sidebar.read()
        with edge.sentences():
            shown.run()


def start(panel: str, net: str = "resnet50", **state: object) -> AppTest:
    path = str(Path(__file__).parents[2] / "explorer" / "pages" / "building_blocks.py")
    app = AppTest.from_function(page, default_timeout=60, kwargs={"path": path})
    app.query_params.update({"panel": panel, "net": net})
    for key, value in state.items():
        app.session_state[key] = value
    return finished(app.run())


def finished(app: AppTest) -> AppTest:
    return until(app, lambda app: app.metric or app.error)


def set_numbers(app: AppTest, **values: int) -> AppTest:
    for key, value in values.items():
        app.number_input(key=f"blocks_{key}").set_value(value)
    return finished(app.run())


def numbers(app: AppTest) -> list[tuple[str, str]]:
    """Label and exact number of each metric, in order."""
    return [(metric.label, str(metric.delta)) for metric in app.metric]


def exactly(ratio: Fraction) -> str:
    return f"exactly {ratio.numerator:,} / {ratio.denominator:,}"


def text(app: AppTest) -> str:
    return "\n".join(item.value for kind in (app.markdown, app.caption, app.code, app.latex) for item in kind)


# --- the page


@pytest.mark.parametrize("panel", PANELS)
def test_the_panel_of_the_link_is_shown(panel: str) -> None:
    app = start(panel)
    assert app.session_state["panel"] == panel
    assert len(app.metric) >= 3
    assert not app.error
    assert not app.warning


def test_the_panels_have_different_titles() -> None:
    assert len({start(panel).subheader[0].value for panel in PANELS}) == len(PANELS) == 8


def test_an_unknown_panel_is_a_sentence_and_the_first_is_shown() -> None:
    app = start("ban*ana*")
    assert r"panel (=ban\*ana\*) of the link must be one of bottleneck, stacked" in app.warning[0].value
    assert app.subheader[0].value == "Bottleneck against two 3x3"
    assert app.query_params["panel"] in ("bottleneck", ["bottleneck"])


def test_a_click_changes_the_panel_and_each_keeps_its_numbers() -> None:
    app = set_numbers(start("bottleneck"), bottleneck_channels=64)
    app.segmented_control(key="panel").set_value("separable").run()
    assert app.subheader[0].value == "Separable filters"
    set_numbers(app, filters_kernel=7)
    app.segmented_control(key="panel").set_value("bottleneck").run()
    assert app.number_input(key="blocks_bottleneck_channels").value == 64
    app.segmented_control(key="panel").set_value("separable").run()
    assert app.number_input(key="blocks_filters_kernel").value == 7


@pytest.mark.parametrize("panel", PANELS)
def test_every_control_and_number_has_a_help_text(panel: str) -> None:
    app = start(panel)
    kinds = ("number_input", "segmented_control", "selectbox", "slider", "radio", "metric", "download_button")
    drawn = [widget for kind in kinds for widget in app.get(kind)]
    assert len(drawn) > 5
    assert [widget for widget in drawn if not widget.proto.help] == []


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel != "output-size"])
def test_the_file_holds_the_table(panel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[bytes] = []
    monkeypatch.setattr(
        "explorer.pages.parts.download", lambda label, make, content, *rest: files.append(make(content))
    )
    app = start(panel)
    tables = [frame.value for frame in app.dataframe]
    assert len(files) >= len(tables) > 0
    for content, table in zip(files[-len(tables) :], tables, strict=True):  # earlier ones are of earlier runs
        again = pd.read_csv(io.BytesIO(content))
        assert list(again) == list(table)
        assert len(again) == len(table)
        for column in table:
            if pd.api.types.is_integer_dtype(table[column]):
                assert again[column].dropna().tolist() == table[column].dropna().tolist()


# --- bottleneck


@pytest.mark.parametrize(("channels", "side"), [(256, 56), (64, 9)])
def test_a_bottleneck_against_two_3x3(channels: int, side: int) -> None:
    app = set_numbers(start("bottleneck"), bottleneck_channels=channels, bottleneck_side=side)
    q = channels // 4
    narrow, wide = channels * q + 9 * q * q + q * channels, 2 * 9 * channels * channels
    if channels == 256:
        assert (narrow, wide) == (69_632, 1_179_648)
    assert numbers(app) == [
        ("1x1 - 3x3 - 1x1", f"{narrow:,} weights"),
        ("3x3 - 3x3", f"{wide:,} weights"),
        ("Ratio of the weights", "exactly 288 / 17"),
        ("1x1 - 3x3 - 1x1", f"{narrow * side**2:,} MACs"),
        ("3x3 - 3x3", f"{wide * side**2:,} MACs"),
        ("Ratio of the MACs", "exactly 288 / 17"),
    ]
    assert app.metric[2].value == "16.94 times"
    drawn = 2 * 9 * q * q / narrow
    assert f"at the same {channels} channels have **16.94 times** the bottleneck's weights" in text(app)
    assert f"Two 3x3 at {q} channels, a quarter, have {drawn:.2f} times as many" in text(app)


def test_the_drawn_pair_costs_about_the_same() -> None:
    app = start("bottleneck")
    app.radio(key="blocks_bottleneck_reading").set_value("a quarter of them, as He et al. draw").run()
    assert numbers(app)[:3] == [
        ("1x1 - 3x3 - 1x1", "69,632 weights"),
        ("3x3 - 3x3", f"{2 * 9 * 64 * 64:,} weights"),
        ("Ratio of the weights", exactly(Fraction(2 * 9 * 64 * 64, 69_632))),
    ]
    assert app.metric[2].value == "1.059 times"


def test_channels_that_do_not_divide_are_a_sentence_and_the_controls_stay() -> None:
    app = set_numbers(start("bottleneck"), bottleneck_channels=6)
    assert "channels (=6) must be a multiple of 4" in app.error[0].value
    assert not app.metric
    assert numbers(set_numbers(app, bottleneck_channels=8))[0] == ("1x1 - 3x3 - 1x1", "68 weights")


# --- stacks


@pytest.mark.parametrize(
    ("count", "channels", "side", "more"), [(3, 64, 56, "81%"), (2, 8, 5, "39%"), (7, 3, 2, "257%")]
)
def test_stacked_3x3(count: int, channels: int, side: int, more: str) -> None:
    app = start("stacked")
    app.slider(key="blocks_stack_count").set_value(count)
    set_numbers(app, stack_channels=channels, stack_side=side)
    k = 2 * count + 1
    few, many = 9 * count * channels**2, k * k * channels**2
    assert numbers(app) == [
        (f"{count} x 3x3", f"{few:,} weights"),
        (f"1 x {k}x{k}", f"{many:,} weights"),
        ("Ratio of the weights", exactly(Fraction(many, few))),
        (f"{count} x 3x3", f"{few * side**2:,} MACs"),
        (f"1 x {k}x{k}", f"{many * side**2:,} MACs"),
        ("Ratio of the MACs", exactly(Fraction(many, few))),
        (f"{count} x 3x3 sees", f"{count} non-linearities"),
        (f"1 x {k}x{k} sees", "1 non-linearity"),
    ]
    assert [metric.value for metric in app.metric[6:]] == [f"{k} px"] * 2
    assert rf"{9 * count}\,C^2" in text(app)
    assert rf"{k * k}\,C^2" in text(app)
    assert f"**{more} more**" in text(app)


# --- Inception


def test_the_lectures_module_and_its_358_million() -> None:
    app = start("inception")
    naive = 28 * 28 * (128 * 256 + 192 * 9 * 256 + 96 * 25 * 256)
    reduced = 28 * 28 * (128 * 256 + 2 * 64 * 256 + 192 * 9 * 64 + 96 * 25 * 64 + 64 * 256)
    assert (reduced, naive) == (271_351_808, 854_196_224)
    assert numbers(app)[:3] == [
        ("with 1x1 reductions", f"{reduced:,} MACs"),
        ("naive", f"{naive:,} MACs"),
        ("Ratio of the MACs", exactly(Fraction(naive, reduced))),
    ]
    assert f"it would be **{reduced + 28 * 28 * 192 * 9 * 64:,}**, which is 358.1 M" in text(app)
    set_numbers(app, inception_counted=64)
    assert "it would be **271,351,808**" in text(app)


def test_a_module_of_googlenet_sets_every_number() -> None:
    app = start("inception")
    app.selectbox(key="blocks_inception_preset").set_value("inception4d").run()
    # Szegedy et al. 2014, table 1: 112; 144, 288; 32, 64; 64, on 14x14x512
    chosen = {field.key: field.value for field in app.number_input}
    assert list(chosen.values()) == [512, 14, 112, 144, 288, 32, 64, 64, 128]
    macs = 14 * 14 * (512 * (112 + 144 + 32 + 64) + 9 * 144 * 288 + 25 * 32 * 64)
    assert numbers(app)[0] == ("with 1x1 reductions", f"{macs:,} MACs")
    assert "gives 528 channels" in text(app)
    set_numbers(app, inception_wide=128)
    assert app.selectbox(key="blocks_inception_preset").value == "your own numbers"
    assert numbers(app)[0] == ("with 1x1 reductions", f"{macs + 14 * 14 * 25 * 32 * 64:,} MACs")
    app.selectbox(key="blocks_inception_preset").set_value("CS231n's lecture").run()
    assert numbers(app)[1] == ("naive", "854,196,224 MACs")


# --- depthwise


@pytest.mark.parametrize(("m", "n", "k", "side"), [(512, 512, 3, 14), (24, 10, 5, 8)])
def test_depthwise_separable(m: int, n: int, k: int, side: int) -> None:
    app = set_numbers(start("depthwise"), depthwise_in=m, depthwise_out=n, depthwise_kernel=k, depthwise_side=side)
    few, many = (k * k * m + m * n) * side**2, k * k * m * n * side**2
    if m == 512:
        assert (many, few) == (462_422_016, 52_283_392)
    share = Fraction(1, n) + Fraction(1, k * k)
    assert share == Fraction(few, many)
    assert [delta for _, delta in numbers(app)[:3]] == [f"{few:,} MACs", f"{many:,} MACs", exactly(1 / share)]
    assert numbers(app)[-1] == ("Measured share of the MACs", f"exactly {share.numerator} / {share.denominator}")
    assert app.metric[-1].value == f"{float(share):.4f}"
    assert rf"\frac{{1}}{{{n}}} + \frac{{1}}{{{k}^2}} = \frac{{{share.numerator}}}{{{share.denominator}}}" in text(app)


def test_an_even_kernel_is_a_sentence() -> None:
    assert "kernel (=4) must be odd" in set_numbers(start("depthwise"), depthwise_kernel=4).error[0].value
    assert "kernel (=4) must be odd" in set_numbers(start("separable"), filters_kernel=4).error[0].value


# --- shortcuts


@pytest.mark.parametrize("net", ["resnet34", "cifar_resnet20"])
def test_the_shortcuts_of_the_net_of_the_build_page(net: str) -> None:
    app = start("shortcuts", net)
    widths = (64, 128, 256, 512) if net == "resnet34" else (16, 32, 64)
    b = sum(before * after + 2 * after for before, after in itertools.pairwise(widths))
    rest = [depth - (place > 0) for place, depth in enumerate(PRESETS[net].depths)]
    c = b + sum(blocks * (width * width + 2 * width) for blocks, width in zip(rest, widths, strict=True))
    assert numbers(app) == [
        ("Option A adds", "0 parameters"),
        ("Option B adds", f"{b:,} parameters"),
        ("Option C adds", f"{c:,} parameters"),
    ]
    counted = app.dataframe[0].value.set_index("option")
    ours = totals(layer_table(net))
    assert tuple(counted.loc[PRESETS[net].shortcut, ["params", "macs"]]) == (ours.params, ours.macs)
    assert f"**{net.replace('_', chr(92) + '_')}** as it stands on the Build page" in text(app)


def test_another_preset_can_be_chosen() -> None:
    app = start("shortcuts")
    app.selectbox(key="blocks_shortcuts_net").set_value("resnet18").run()
    finished(app)
    assert app.dataframe[0].value.set_index("option").loc["B", "params"] == 11_689_512


def test_a_plain_net_is_a_sentence() -> None:
    assert r"residual (=False) must be True" in start("shortcuts", "plain18").error[0].value.replace("\\", "")


def test_the_published_errors_are_there_with_their_sources() -> None:
    errors = start("shortcuts").dataframe[1].value.set_index(["net", "option"])
    # He et al. 2015, table 3; He et al. 2016, table 1
    assert errors.loc["ResNet-34", "top1"].to_dict() == {"A": 25.03, "B": 24.52, "C": 24.19}
    assert errors.loc["ResNet-110", "top1"].to_dict() == {"A": 6.61, "C": 12.22}
    assert errors.source.str.contains("arXiv").all()


# --- output size


def output(app: AppTest) -> list[str]:
    return [metric.value for metric in app.metric]


def test_alexnets_first_layer_with_227_and_with_224_pixels() -> None:
    app = start("output-size")
    assert output(app) == ["55", "55", "55"]
    assert "floor((227 - 11 + 2×0) / 4) + 1 = floor(216 / 4) + 1 = 54 + 1 = 55" in text(app)
    assert "Every pixel is read by some window." in text(app)
    set_numbers(app, output_n=224)
    assert output(app) == ["54", "54.25", "55"]
    assert app.selectbox(key="blocks_output_preset").value == "your own numbers"
    assert "**1 pixel is read by no window**, of 224, counted from 0: 223." in text(app)


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("AlexNet 2012, conv1, with 224 px", ["54", "54.25", "55"]),
        ("AlexNet 2012, pool1", ["27", "27", "27"]),
        ("ResNet-50, conv1", ["112", "112.5", "113"]),
        ("ResNet-50, maxpool", ["56", "56.5", "57"]),
        ("GoogLeNet 2014, maxpool1", ["55", "55.5", "56"]),
    ],
)
def test_a_famous_layer_sets_the_numbers(preset: str, sizes: list[str]) -> None:
    app = start("output-size")
    app.selectbox(key="blocks_output_preset").set_value(preset).run()
    assert output(app) == sizes
    assert app.selectbox(key="blocks_output_preset").value == preset


def test_a_stride_larger_than_the_window_leaves_pixels_out() -> None:
    app = set_numbers(
        start("output-size"), output_n=1000, output_kernel=1, output_stride=2, output_padding=0, output_dilation=3
    )
    assert output(app) == ["500", f"{999 / 2 + 1:g}", "500"]  # a window more would start behind the last pixel
    assert "**500 pixels are read by no window**, of 1,000" in text(app)
    assert "counted from 0: 1, 3, 5, 7, 9, 11, 13, 15 … 999." in text(app)


def test_a_window_that_does_not_fit_is_a_sentence() -> None:
    app = set_numbers(start("output-size"), output_n=5)
    assert "window that spans 11 pixels does not fit on n + 2p = 5" in app.error[0].value
    assert not app.metric


# --- separable filters


@pytest.mark.parametrize(("k", "channels", "side", "words"), [(3, 64, 56, "**33% less**"), (7, 5, 4, "**71% less**")])
def test_separable_filters(k: int, channels: int, side: int, words: str) -> None:
    app = set_numbers(start("separable"), filters_kernel=k, filters_channels=channels, filters_side=side)
    few, many = 2 * k * channels**2, k * k * channels**2
    assert numbers(app) == [
        (f"{k}x1, 1x{k}", f"{few:,} weights"),
        (f"{k}x{k}", f"{many:,} weights"),
        ("Ratio of the weights", exactly(Fraction(k, 2))),
        (f"{k}x1, 1x{k}", f"{few * side**2:,} MACs"),
        (f"{k}x{k}", f"{many * side**2:,} MACs"),
        ("Ratio of the MACs", exactly(Fraction(k, 2))),
    ]
    assert words in text(app)


def test_a_1x1_saves_nothing_in_two() -> None:
    assert "nothing is saved" in text(set_numbers(start("separable"), filters_kernel=1))


# --- pooled head


def test_a_pooled_head_saves_nearly_all_of_vgg16() -> None:
    app = start("pooled-head")
    linear = (512 * 7 * 7 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert linear == 123_642_856
    shown = dict(numbers(app)[:2])
    assert shown == {"global average pool": "513,000 weights", "linear layers": f"{linear:,} weights"}
    assert numbers(app)[-2:] == [
        ("Network", "138,357,544 parameters"),
        ("Network, pooled", f"{138_357_544 - linear + 513_000:,} parameters"),
    ]
    assert f"**{linear / 138_357_544:.2%}** of the 138,357,544 parameters" in text(app)


@pytest.mark.parametrize(("name", "channels", "side"), [("alexnet_2012", 256, 6), ("vgg13_bn", 512, 7)])
def test_other_networks_can_be_chosen_or_typed(name: str, channels: int, side: int) -> None:
    app = start("pooled-head", blocks_head_net=name)
    linear = (channels * side**2 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert numbers(app)[1] == ("linear layers", f"{linear:,} weights")
    total = sum(parameter.numel() for parameter in zoo.network(name)[0].parameters())
    assert numbers(app)[-1] == ("Network, pooled", f"{total - linear + channels * 1000 + 1000:,} parameters")


def test_a_network_that_pools_already_is_said() -> None:
    app = start("pooled-head")
    app.selectbox(key="blocks_head_net").set_value("resnet50").run()
    finished(app)
    assert "The linear layers behind the last map of resnet50 are no larger than a pooled head" in app.info[0].value
    assert numbers(app)[-2][1] == numbers(app)[-1][1] == "25,557,032 parameters"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vgg61", "There is no network named 'vgg61'; near names are"),
        ("squeezenet1_0", "does not end in linear layers"),
    ],
)
def test_a_name_that_will_not_do_is_a_sentence(name: str, words: str) -> None:
    app = start("pooled-head", blocks_head_net=name)
    assert words in app.error[0].value.replace("\\", "")
    assert not app.metric


def test_a_deep_net_shows_how_far_it_is_and_can_be_cancelled() -> None:
    app = start("shortcuts")
    app.selectbox(key="blocks_shortcuts_net").set_value("cifar_resnet1202").run()
    assert not app.metric, "it takes seconds"
    app.button(key="blocks_shortcuts_cancel").click().run()
    until(app, lambda app: app.info)
    assert "cancelled" in app.info[0].value
    assert not app.metric
