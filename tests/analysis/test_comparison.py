"""Networks side by side."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from explorer.analysis.comparison import (
    Pair,
    accuracy_table,
    aligned,
    comparison_table,
    depth_table,
    first_of_each,
    first_shared,
    kind_table,
    layer_at,
    profiles,
    published_table,
    short_names,
    walked_table,
    winners_table,
)
from explorer.analysis.layers import layer_table, totals
from explorer.analysis.profile import Profile, profile
from explorer.jobs import Cancelled
from explorer.models.published import WINNERS, accuracies, counts
from explorer.spec import ResNetSpec

NAMES = ("alexnet_2012", "vgg16", "googlenet_2014", "resnet50")


@pytest.fixture(scope="module")
def found() -> dict[str, Profile]:
    return {name: profile(name) for name in NAMES}


def test_the_table_has_a_row_a_network_in_their_order(found: dict[str, Profile]) -> None:
    table = comparison_table(found)
    assert list(table["net"]) == list(NAMES)
    assert list(table["depth"]) == [8, 16, 22, 50]  # as their papers count
    assert list(table["params"]) == [60_965_224, 138_357_544, 6_998_552, 25_557_032]
    assert list(table["macs"]) == [724_406_816, 15_470_264_320, 1_582_671_872, 4_089_184_256]
    assert list(table["receptive_field"]) == [195, 212, 715, 427]
    for name, size in zip(NAMES, table["activation_bytes"], strict=True):
        assert size == layer_table(name)["activation_bytes"].sum()


def test_an_unknown_field_stays_unknown() -> None:
    table = comparison_table({"vit": profile("vit_tiny_patch16_224"), "resnet18": profile("resnet18")})
    assert pd.isna(table["receptive_field"][0])
    assert table["receptive_field"][1] == 435


@pytest.mark.parametrize("column", ["params", "macs", "activation_bytes"])
def test_kinds_add_up_to_the_network(found: dict[str, Profile], column: str) -> None:
    table = kind_table(found, column).set_index("net")
    for name in NAMES:
        layers = layer_table(name)
        assert table.loc[name].sum() == layers[column].sum()
        for kind in table.columns:
            assert table.loc[name, kind] == layers[layers["kind"] == kind][column].sum()
    assert all(table[kind].any() for kind in table.columns)


def test_vggs_parameters_are_in_its_linear_layers(found: dict[str, Profile]) -> None:
    """25088 x 4096, 4096 x 4096, 4096 x 1000, with their biases."""
    row = kind_table(found, "params").set_index("net").loc["vgg16"]
    linear = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert (row["linear"], row["conv"], row["norm"]) == (linear, 138_357_544 - linear, 0)


@pytest.mark.parametrize("column", ["params", "macs", "activation_bytes"])
def test_depths_add_up_to_the_network(found: dict[str, Profile], column: str) -> None:
    table = depth_table(found, column)
    for name in NAMES:
        rows = table[table["net"] == name]
        assert list(rows["depth"]) == list(range(found[name].depth + 1))
        total = layer_table(name)[column].sum()
        assert rows["value"].sum() == rows["running"].iloc[-1] == total
        assert list(rows["running"]) == [rows["value"][: place + 1].sum() for place in range(len(rows))]
        assert rows["running_share"].iloc[-1] == rows["share_of_depth"].iloc[-1] == 1
        assert rows["share_of_depth"].iloc[1] == 1 / found[name].depth


def test_each_layer_of_vgg_stands_at_its_own_depth(found: dict[str, Profile]) -> None:
    rows = depth_table(found, "macs").set_index("net").loc["vgg16"]
    layers = layer_table("vgg16")
    weighted = layers[layers["kind"].isin(["conv", "linear"])]["macs"]
    assert list(rows["value"]) == [0, *weighted]


def test_branches_share_their_depths(found: dict[str, Profile]) -> None:
    """inception3a: 1x1s at depth 4, and behind two of them the 3x3 and the 5x5 at depth 5."""
    table = found["googlenet_2014"].table.set_index("name")
    module = table[table.index.str.startswith("inception3a") & (table["kind"] == "conv")]
    pointwise = [kernel == (1, 1) for kernel in module["kernel"]]
    assert list(module[pointwise]["depth"]) == [4, 4, 4, 4]
    assert list(module[[not one for one in pointwise]]["depth"]) == [5, 5]


# --- published


def test_every_accuracy_has_a_row_with_the_macs_of_its_own_size() -> None:
    """timm measures ResNet-18 at 224 and at 288 px, where it does (288 / 224)^2 times the convolutions."""
    table = accuracy_table({"mine": "resnet18"})
    records = accuracies("resnet18")
    assert [tuple(row) for row in table[["top1", "crop", "source"]].to_numpy()] == [
        (record.top1, record.crop, record.source) for record in records
    ]
    assert {224, 288} <= set(table["size"])
    for size, macs, params in zip(table["size"], table["macs"], table["params"], strict=True):
        assert macs == totals(layer_table("resnet18", (size, size))).macs
        assert params == 11_689_512


def test_what_does_not_fit_or_had_many_sizes_counts_at_its_own_size() -> None:
    """The paper says 224 px, through which its 227 px network does not go; VGG slid over pictures of three sizes."""
    table = accuracy_table({"alexnet": "alexnet_2012", "vgg": "vgg16"}).set_index("net")
    assert table.loc["alexnet", "size"] == 224
    assert table.loc["alexnet", "macs"] == 724_406_816
    vgg = table.loc["vgg"]
    assert set(vgg[vgg["crops"].isna()]["macs"]) == {15_470_264_320}


def test_a_network_without_a_profile_or_a_record_has_no_row() -> None:
    nets: dict[str, ResNetSpec | str] = {"own": ResNetSpec.from_text("resnet50 width=24"), "resnet34": "resnet34"}
    assert set(accuracy_table(nets)["net"]) == {"resnet34"}
    assert accuracy_table({"own": nets["own"]}).empty
    assert published_table({"own": nets["own"]}).empty
    assert "net" in published_table({})


def test_the_first_record_with_a_number() -> None:
    table = accuracy_table({"googlenet_2014": "googlenet_2014", "mobilenetv1_100": "mobilenetv1_100"})
    either = first_of_each(table, "top1", "top5").set_index("net")
    assert either.loc["googlenet_2014", "top5"] == pytest.approx(100 - 10.07)  # Szegedy et al. 2014, table 3
    assert either.loc["mobilenetv1_100", "top1"] == 70.6  # Howard et al. 2017, table 8
    assert list(first_of_each(table, "top1")["net"]) == ["mobilenetv1_100"]


def test_printed_counts_stand_beside_ours() -> None:
    table = published_table({"vgg16": "vgg16", "a 1x1": ResNetSpec.from_text("resnet50 stride_on=1x1")})
    assert len(table) == len(counts("vgg16")) + len(counts("resnet50_v1"))
    exact = table[table["source"].str.startswith("torchvision")].iloc[0]
    assert (exact["params_printed"], exact["params_difference"]) == (138_357_544, 0)
    assert exact["macs_difference"] == 15_470_000_000 - 15_470_264_320
    he = table[table["net"] == "a 1x1"].iloc[0]
    assert (he["macs_printed"], he["macs"]) == (3_800_000_000, 3_857_973_248)  # He et al. 2015, table 1
    assert he["macs_difference"] == 3_800_000_000 - 3_857_973_248
    round_ones = published_table({"alexnet": "alexnet_2012"}).iloc[0]
    assert round_ones["params_difference"] == 60_000_000 - 60_965_224
    assert pd.isna(he["params_printed"])
    assert pd.isna(he["params_difference"])


def test_a_librarys_count_is_not_held_against_anothers_size() -> None:
    """timm uses EfficientNet-B4 at 320 px, torchvision at 380."""
    assert "torchvision" in " ".join(published_table({"net": "efficientnet_b4"})["source"])
    assert not any("torchvision" in source for source in published_table({"net": "timm/efficientnet_b4"})["source"])


def test_asking_for_accuracies_can_be_stopped() -> None:
    said: list[str] = []

    def stop(fraction: float, text: str) -> None:
        said.append(text)
        if "other sizes" in text:
            raise Cancelled

    with pytest.raises(Cancelled):
        accuracy_table({"resnet18": "resnet18"}, report=stop)
    assert said == ["Counting resnet18", "Counting resnet18 at other sizes"]


def test_the_winners_are_those_on_record() -> None:
    table = winners_table()
    assert list(table["top5_error"]) == [winner.top5_error for winner in WINNERS]
    assert pd.isna(table["layers"][0])


# --- layer by layer


def names_at(pairs: list[Pair], scale: str, left: Profile, right: Profile) -> tuple[list[str], list[str]]:
    chosen = [pair for pair in pairs if pair.scale == scale]
    return (
        [left.table["name"][pair.left] for pair in chosen if pair.left is not None],
        [right.table["name"][pair.right] for pair in chosen if pair.right is not None],
    )


def test_alexnet_stands_beside_resnet_where_the_maps_are_alike() -> None:
    """227 -> 55 -> 27 -> 13 -> 6 beside 224 -> 56 -> 28 -> 14 -> 7."""
    left, right = profile("alexnet_2012"), profile("resnet18")
    pairs = aligned(left, right)
    assert list(dict.fromkeys(pair.scale for pair in pairs)) == ["1/2", "1/4", "1/8", "1/16", "1/32", "head"]
    assert names_at(pairs, "1/2", left, right) == ([], ["conv1"])
    assert names_at(pairs, "1/4", left, right)[0] == ["conv1"]
    assert names_at(pairs, "1/4", left, right)[1][:2] == ["maxpool", "layer1.0.conv1"]
    assert names_at(pairs, "1/8", left, right)[0] == ["pool1", "conv2"]
    assert names_at(pairs, "1/16", left, right)[0] == ["pool2", "conv3", "conv4", "conv5"]
    assert names_at(pairs, "1/32", left, right)[0] == ["pool5"]
    assert names_at(pairs, "head", left, right) == (["fc6", "fc7", "fc8"], ["avgpool", "fc"])


@pytest.mark.parametrize("every", [False, True])
def test_every_layer_stands_there_once_and_in_order(every: bool) -> None:
    left, right = profile("googlenet_2014"), profile("seresnet50")
    pairs = aligned(left, right, every=every)
    for side, one in (("left", left), ("right", right)):
        rows = [getattr(pair, side) for pair in pairs if getattr(pair, side) is not None]
        kinds = one.table["kind"]
        assert rows == [row for row in range(len(kinds)) if every or kinds[row] in ("conv", "pool", "linear")]


def test_a_gate_stands_with_the_map_that_it_weighs() -> None:
    one = profile("seresnet50")
    pairs = aligned(one, one)
    gate = next(row for row, name in enumerate(one.table["name"]) if name.startswith("layer1.0.se.fc1"))
    assert next(pair.scale for pair in pairs if pair.left == gate) == "1/4"


@pytest.mark.parametrize(
    ("name", "layer", "scale"),
    [
        ("convnext_tiny", "features.0.0", "1/4"),  # the stem, 4x4 / 4
        ("convnext_tiny", "features.1.0.block.3", "1/4"),  # a linear layer on 56x56x96, channels last
        ("convnext_tiny", "features.7.2.block.5", "1/32"),
        ("convnext_tiny", "classifier.2", "head"),
        ("vit_base_patch16_224", "patch_embed.proj", "1/16"),
        ("vit_base_patch16_224", "blocks.0.attn.proj", "1/16"),  # on tokens of 16 x 16 pixels
        ("vit_base_patch16_224", "blocks.11.mlp.fc2", "1/16"),
        ("vit_base_patch16_224", "head", "head"),
        ("timm/mixer_b16_224", "blocks.3.mlp_tokens.fc1", "1/16"),
    ],
)
def test_what_works_on_tokens_or_channels_last_stands_with_its_map(name: str, layer: str, scale: str) -> None:
    one = profile(name)
    pairs = aligned(one, one)
    assert next(pair.scale for pair in pairs if one.table["name"][pair.left] == layer) == scale


def test_a_rectangular_image_counts_by_both_sides() -> None:
    wide = profile("resnet18", (64, 128))
    assert [pair.scale for pair in aligned(wide, wide)][:2] == ["1/2", "1/4"]
    row = profile("resnet18", (32, 64))  # its last maps are 1 x 2 pixels: no head yet
    last = next(pair for pair in aligned(row, row) if row.table["name"][pair.left] == "layer4.1.conv2")
    assert row.table["output_shape"][last.left] == (512, 1, 2)
    assert last.scale == "1/32"


def test_the_walked_table_says_what_the_layer_tables_say(found: dict[str, Profile]) -> None:
    left, right = found["alexnet_2012"], found["vgg16"]
    pairs = aligned(left, right)
    table = walked_table(pairs, left, right)
    assert list(table["scale"]) == [pair.scale for pair in pairs]
    row = table[table["left_layer"] == "conv2"].iloc[0]
    assert (row["left_window"], row["left_output_shape"]) == ("5x5, 2 groups", "256x27x27")
    assert row["left_params"] == 5 * 5 * 48 * 256 + 256
    assert row["left_macs"] == 5 * 5 * 48 * 256 * 27 * 27
    assert row["left_activation_bytes"] == 4 * 256 * 27 * 27
    row = table[table["right_layer"] == "features.4"].iloc[0]
    assert (row["right_window"], row["right_params"]) == ("2x2 / 2", 0)
    assert pd.isna(row["left_params"])
    assert pd.isna(row["left_layer"])
    assert table["left_params"].sum() == 60_965_224
    assert table["right_macs"].sum() == 15_470_264_320


def test_a_stride_that_differs_by_axis_is_written_by_axis(found: dict[str, Profile]) -> None:
    one = found["alexnet_2012"]
    table = one.table.copy()
    for stride, said in (((2, 1), "11x11 / 2x1"), ((1, 1), "11x11"), ((4, 4), "11x11 / 4")):
        table.at[0, "stride"] = stride
        changed = replace(one, table=table)
        assert walked_table([Pair("1/4", 0, None)], changed, one)["left_window"][0] == said


def test_the_first_shared_row() -> None:
    assert first_shared([Pair("1/1", None, 0), Pair("1/2", 0, None), Pair("1/2", 1, 1), Pair("head", 2, 2)]) == 2
    assert first_shared([Pair("1/1", None, 0)]) == 0


def test_layer_at_is_the_row(found: dict[str, Profile]) -> None:
    layer = layer_at(found["alexnet_2012"], 0)
    assert (layer.name, layer.kernel, layer.groups, layer.block) == ("conv1", (11, 11), 1, None)


# --- many


def test_what_is_refused_does_not_take_the_others_along() -> None:
    said: list[tuple[float, str]] = []
    nets: dict[str, ResNetSpec | str] = {"good": "resnet18", "too small": "alexnet_2012", "also good": "vgg11_bn"}
    found, refused = profiles(nets, (64, 64), profile, lambda fraction, text: said.append((fraction, text)))
    assert list(found) == ["good", "also good"]
    assert "64x64" in refused["too small"]
    assert said == [(0, "Counting good"), (1 / 3, "Counting too small"), (2 / 3, "Counting also good")]


def test_it_stops_when_asked_and_asks_the_cache() -> None:
    asked: list[object] = []

    def make(net: ResNetSpec | str, size: tuple[int, int] | None) -> Profile:
        asked.append((net, size))
        return profile("resnet18", (32, 32))

    def stop(fraction: float, text: str) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        profiles({"a": "x", "b": "y"}, (32, 32), make, stop)
    assert asked == [("x", (32, 32))]


def test_a_defect_is_no_refusal() -> None:
    def make(net: ResNetSpec | str, size: tuple[int, int] | None) -> Profile:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        profiles({"a": "x"}, None, make)


def test_names_are_short_and_never_alike() -> None:
    long = "resnet50 width=32 shortcut=C attention=se"
    longer = "resnet50 width=32 shortcut=C attention=cbam"
    names = short_names(["vgg16", "timm/vgg16", long, longer])
    assert names == ["vgg16", "timm/vgg16", "resnet50, 3 changes", "resnet50, 3 changes (2)"]
    assert short_names(["swinv2_base_window12to16_192to256"]) == ["swinv2_base_window12to16_192to256"]
    assert max(map(len, short_names(["seresnextaa101d_32x8d " + "x=1 " * 40]))) < 40


def test_scales_are_nearest_powers_of_two() -> None:
    """On 164 px: 82, 41, 21, 11, 6; by ratio each is within the root of two of its power of two."""
    one = profile("resnet18", (164, 164))
    for pair in aligned(one, one, every=True):
        shape = one.table["output_shape"][pair.left]
        if len(shape) == 3 and shape[1] > 1:
            power = int(pair.scale.removeprefix("1/"))
            assert power / math.sqrt(2) <= 164 / shape[1] <= power * math.sqrt(2)
