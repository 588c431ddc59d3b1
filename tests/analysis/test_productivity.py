"""Unproductive layers and useful image sizes, against the authors' toolbox and by hand."""

import json
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from hypothesis import given
from strategies import FEW, specs
from torch import nn

from explorer.analysis.fields import FieldProfile, field_profile
from explorer.analysis.layers import layer_table
from explorer.analysis.paths import path_table
from explorer.analysis.productivity import (
    STATUSES,
    Rule,
    Use,
    border_layer,
    use,
    use_by_size,
    use_table,
    uses,
)
from explorer.analysis.receptive import NoField, receptive_fields
from explorer.spec import ResNetSpec

TOOLBOX = json.loads((Path(__file__).parents[1] / "tables" / "richter2021_toolbox.json").read_text())
NETWORKS = TOOLBOX["networks"]


def statuses(used: Use) -> dict[str, str]:
    return dict(zip(used.table["name"], used.table["status"], strict=True))


def three_convolutions() -> FieldProfile:
    """They see 3, 5 and 7 pixels."""
    return field_profile(nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))), (16, 16))


@pytest.fixture(scope="module")
def profiles() -> dict[str, FieldProfile]:
    return {name: field_profile(name) for name in NETWORKS}


# --- the authors' toolbox


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fields_are_the_toolboxs(name: str, profiles: dict[str, FieldProfile]) -> None:
    table = use(profiles[name]).table.set_index("name")
    assert sorted(table.index) == sorted(row[0] for row in NETWORKS[name])
    for layer, *sides, _, _ in NETWORKS[name]:
        ours = table.loc[layer, ["shortest", "longest", "shortest_behind", "longest_behind"]].tolist()
        assert ours == [(side, side) for side in sides], layer


@pytest.mark.parametrize("place", range(len(TOOLBOX["sizes"])))
@pytest.mark.parametrize("name", NETWORKS)
def test_unproductive_and_critical_layers_are_the_toolboxs(
    name: str, place: int, profiles: dict[str, FieldProfile]
) -> None:
    side = TOOLBOX["sizes"][place]
    used = use(profiles[name], (side, side))
    words = {"U": ("unproductive",), "C": ("critical",), ".": ("productive", "partly")}
    found = statuses(used)
    for layer, *_, letters, _ in NETWORKS[name]:
        assert found[layer] in words[letters[place]], layer


@pytest.mark.parametrize("place", range(len(TOOLBOX["sizes"])))
@pytest.mark.parametrize("name", NETWORKS)
def test_small_maps_are_the_toolboxs(name: str, place: int, profiles: dict[str, FieldProfile]) -> None:
    """It marks layers by their map too: those that are not marked by their field for this alone, and none else."""
    side = TOOLBOX["sizes"][place]
    table = use(profiles[name], (side, side)).table.set_index("name")
    first, *_ = NETWORKS[name]
    for layer, *_, letters, maps in NETWORKS[name]:
        if letters[place] != "U" and layer != first[0]:  # to the first layer no map comes in, but the image
            assert table.loc[layer, "small_map"] == (maps[place] == "M"), layer


def test_resnet50s_range_is_the_one_in_the_toolboxs_readme(profiles: dict[str, FieldProfile]) -> None:
    assert "(75, 75), (427, 427)" in TOOLBOX["readme"]["statement"]
    used = use(profiles["resnet50"])
    assert (used.least, used.most) == (75, 427)


# --- by hand


def test_vgg16_on_cifars_images() -> None:
    """Behind conv3_2 a unit sees 32 of 32 pixels, so that conv3_3 is the first that can add nothing."""
    sides = [1, 3, 6, 10, 16, 24, 32, 44, 60, 76, 100, 132, 164]  # of what comes in; Distill's table has them
    used = use(field_profile("vgg16"), (32, 32))
    assert list(used.table["shortest"]) == [(side, side) for side in sides]
    assert list(used.table["status"]) == ["productive"] * 6 + ["unproductive"] * 7
    assert border_layer(used) == border_layer(used, "longest") == "features.14"
    params = [9 * a * b + b for a, b in zip([256] + [512] * 6, [256] + [512] * 6, strict=True)]
    params[1] = 9 * 256 * 512 + 512
    behind = used.table[used.table["status"] == "unproductive"]
    assert list(behind["params"]) == params
    [row] = use_table({"vgg16": used}).to_dict("records")
    total = sum(params) + 3 * 64 * 9 + 64 + sum(9 * a * b + b for a, b in [(64, 64), (64, 128), (128, 128), (128, 256)])
    total += 9 * 256 * 256 + 256
    assert row["params_unproductive"] == pytest.approx(sum(params) / total)
    assert row["params_productive"] + row["params_unproductive"] == pytest.approx(1)
    assert (row["productive"], row["partly"], row["critical"], row["unproductive"]) == (6, 0, 0, 7)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (2, ["critical", "unproductive", "unproductive"]),
        (3, ["productive", "unproductive", "unproductive"]),  # it sees as much as there is, and not more
        (4, ["productive", "critical", "unproductive"]),
        (5, ["productive", "productive", "unproductive"]),
        (6, ["productive", "productive", "critical"]),
        (7, ["productive", "productive", "productive"]),
    ],
)
def test_three_convolutions_pixel_by_pixel(side: int, words: list[str]) -> None:
    used = use(three_convolutions(), (side, side))
    assert list(used.table["status"]) == words
    assert (used.least, used.least_longest, used.most) == (6, 6, 7)


@pytest.mark.parametrize(("side", "word"), [(2, "unproductive"), (3, "productive"), (4, "productive")])
def test_a_convolution_of_one_pixel_is_unproductive_only_beyond_the_image(side: int, word: str) -> None:
    """The toolbox asks that the layer's own field be larger than the image, and ResNet-50's 75 needs that."""
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1))
    used = use(field_profile(net, (16, 16)), (side, side))
    assert used.table["status"].iloc[1] == word
    assert (used.least, used.most) == (3, 3)


class Skipped(nn.Module):
    """Two blocks of one convolution each, past which a shortcut leads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.one = nn.Conv2d(3, 3, 5, padding=2)
        self.two = nn.Conv2d(3, 3, 5, padding=2)

    def forward(self, x: object) -> object:
        x = self.stem(x)
        x = x + self.one(x)  # type: ignore[operator]
        return x + self.two(x)  # type: ignore[operator]


def test_a_shortcut_carries_small_fields_on() -> None:
    profile = field_profile(Skipped(), (32, 32))
    table = use(profile).table
    assert list(table["shortest"]) == [(1, 1), (3, 3), (3, 3)]
    assert list(table["longest"]) == [(1, 1), (3, 3), (7, 7)]
    assert list(table["shortest_behind"]) == [(3, 3), (7, 7), (7, 7)]
    assert list(table["longest_behind"]) == [(3, 3), (7, 7), (11, 11)]
    words = {
        2: ["critical", "unproductive", "unproductive"],
        3: ["productive", "unproductive", "unproductive"],
        6: ["productive", "critical", "critical"],
        7: ["productive", "productive", "partly"],
        8: ["productive", "productive", "productive"],
    }
    for side, expected in words.items():
        assert list(use(profile, (side, side)).table["status"]) == expected
    used = use(profile, (6, 6))
    assert (used.least, used.least_longest, used.most) == (4, 8, 11)
    assert (border_layer(used), border_layer(used, "longest")) == (None, "two")
    assert border_layer(use(profile, (3, 3))) == "one"


def test_each_axis_counts_for_itself() -> None:
    """Seven pixels high and three wide, then beyond."""
    net = nn.Sequential(nn.Conv2d(3, 3, (7, 3)), nn.Conv2d(3, 3, 3))
    profile = field_profile(net, (32, 32))
    used = use(profile)
    assert list(used.table["longest"]) == [(1, 1), (7, 3)]
    assert list(used.table["longest_behind"]) == [(7, 3), (9, 5)]
    words = {(7, 3): "unproductive", (7, 4): "critical", (7, 5): "partly", (8, 3): "critical", (8, 5): "productive"}
    for image, word in words.items():
        assert use(profile, image).table["status"].iloc[1] == word
    assert (used.least, used.most) == (4, 5)


def test_a_gate_and_the_head_are_in_no_class() -> None:
    plain, gated = (use(field_profile(name)) for name in ("resnet50", "seresnet50"))
    assert list(plain.table["name"]) == list(gated.table["name"])
    assert list(plain.table["longest"]) == list(gated.table["longest"])
    convolutions = layer_table("resnet50")
    assert list(plain.table["name"]) == list(convolutions[convolutions["kind"] == "conv"]["name"])


def test_linear_layers_that_work_pixel_by_pixel_are_layers_too() -> None:
    used = use(field_profile("timm/convnext_tiny"))
    assert set(used.table["kind"]) == {"conv", "linear"}
    assert "head.fc" not in list(used.table["name"])
    assert used.least == 32 + (7 - 1) * 32  # past each block of stage 4 but its own 7x7; the linear layer follows


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(NoField, match="enlarged"):
        use(field_profile("timm/hrnet_w18_small"))
    with pytest.raises(NoField, match="tokens"):
        use(field_profile("vit_tiny_patch16_224"))
    with pytest.raises(NoField, match="No convolution"):
        use(field_profile(nn.Sequential(nn.MaxPool2d(2)), (8, 8)))


@pytest.mark.parametrize(
    ("name", "most"),
    [  # the published field of the last map, FACTS.md
        ("alexnet", 195),
        ("vgg16", 212),
        ("googlenet", 379),
        ("inception_v3", 1311),  # where branches of 1x3 and 3x1 kernels meet
        ("resnet152 stride_on=1x1", 1507),
        ("cifar_resnet1202", 5597),
        ("mobilenet_v2", 491),
        ("densenet121", 2071),
    ],
)
def test_the_largest_useful_size_is_the_last_maps_field(name: str, most: int) -> None:
    assert use(field_profile(name)).most == most


def test_an_adaptive_pool_in_the_head_makes_no_size_useful() -> None:
    """VGG's has 7x7 windows of 2 at 448 px, which would be 212 + 32."""
    assert use(field_profile("vgg16", (448, 448))).most == 212


# --- what follows from the rules


@given(specs())
@FEW
def test_any_spec(spec: ResNetSpec) -> None:
    profile = field_profile(spec)
    used = use(profile)
    heights = path_table(spec).set_index("name")
    sizes = receptive_fields(spec).set_index("name")["size"]
    table = used.table.set_index("name")
    assert list(heights.loc[table.index, "shortest"]) == [height for height, _ in table["shortest_behind"]]
    assert list(sizes[table.index]) == [h if h == w else (h, w) for h, w in table["longest_behind"]]
    for side, some in ((used.least, False), (used.least - 1, True)):
        assert ("unproductive" in set(use(profile, (side, side)).table["status"])) == (some and side > 0)
    assert used.least <= used.least_longest
    assert sum(used.table["params"]) <= layer_table(spec)["params"].sum()


@pytest.mark.parametrize("name", ["resnet18", "googlenet_2014", "mobilenetv1_100"])
def test_fields_followed_at_another_size_tell_the_same(name: str) -> None:
    for side in (64, 96, 320):
        anew, before = use(field_profile(name, (side, side))), use(field_profile(name), (side, side))
        assert anew.table.drop(columns="macs").equals(before.table.drop(columns="macs"))
        assert before.table["macs"].isna().all()
        layers = layer_table(name, (side, side)).set_index("name")
        assert list(anew.table["macs"]) == list(layers.loc[anew.table["name"], "macs"])


@pytest.mark.parametrize("rule", get_args(Rule))
def test_steps_are_where_layers_stop_being_unproductive(rule: Rule) -> None:
    profile = field_profile("resnet18")
    used = use(profile)
    steps = use_by_size({"resnet18": used}, (16, 500))
    assert steps["side"].is_monotonic_increasing
    assert list(steps.loc[steps["own"], "side"]) == [224]
    for side in range(16, 501, 7):
        row = steps[steps["side"] <= side].iloc[-1]
        there = use(profile, (side, side))
        behind = zip(there.table[rule], there.table[f"{rule}_behind"], there.table["params"], strict=True)
        used_params = [params for before, own, params in behind if not (before[0] >= side and own[0] > side)]
        assert row[f"layers_{rule}"] == len(used_params) / 20
        assert row[f"params_{rule}"] == pytest.approx(sum(used_params) / sum(used.table["params"]))


def test_the_steps_of_three_convolutions() -> None:
    """The first is unproductive on 1 pixel, the second on 3, the third on 5."""
    steps = use_by_size({"three": use(three_convolutions(), (2, 6))}, (1, 9))
    assert list(steps["side"]) == [1, 2, 4, 6, 9]
    assert list(steps["own"]) == [False, False, False, True, False]  # the longer side
    for column in ("layers_shortest", "params_longest"):
        assert list(steps[column]) == [0, 1 / 3, 2 / 3, 1, 1]


@pytest.mark.parametrize(
    ("image", "fit"),
    [
        ((5, 5), "below"),
        ((6, 6), "within"),
        ((7, 7), "within"),
        ((8, 8), "above"),
        ((6, 8), "above"),
        ((5, 6), "within"),
    ],
)
def test_how_an_image_fits(image: tuple[int, int], fit: str) -> None:
    """From 6 to 7 pixels; with 6 the third convolution is critical, with 5 unproductive."""
    [row] = use_table({"three": use(three_convolutions(), image)}).to_dict("records")
    assert row["fit"] == fit


def test_a_window_is_as_wide_as_its_dilation_makes_it() -> None:
    profile = field_profile(nn.Conv2d(3, 3, 3, dilation=2), (16, 16))
    for image, small in (((5, 5), True), ((5, 6), False), ((6, 6), False)):
        assert use(profile, image).table["small_map"].tolist() == [small]


def test_the_table_has_a_row_a_network() -> None:
    names = {name: name for name in ("alexnet_2012", "mobilenetv1_100", "resnet18")}
    found, refused = uses(names, {name: field_profile(name) for name in names})
    assert not refused
    table = use_table(found).set_index("net")
    assert list(table.index) == list(names)
    assert table["image"].tolist() == ["227 x 227", "224 x 224", "224 x 224"]
    assert table["fit"].tolist() == ["above", "below", "within"]  # 195 of 227; see below; 75 < 224 < 435
    assert table["layers"].tolist() == [5, 27, 20]
    assert (table[list(STATUSES)].sum(axis=1) == table["layers"]).all()
    assert pd.isna(table.loc["resnet18", "border"])
    assert table.loc["resnet18", ["least", "most", "least_longest"]].tolist() == [76, 435, 372]
    for column in ("params", "macs"):
        shares = table[[f"{column}_{status}" for status in STATUSES]].sum(axis=1)
        assert shares.tolist() == pytest.approx([1, 1, 1])
    mobile = found["mobilenetv1_100"].table
    behind = mobile[mobile["status"] == "unproductive"]  # the last three of 27, and 315 - 2 * 32 > 224
    assert list(behind["longest"]) == [(251, 251), (251, 251), (315, 315)]
    assert table.loc["mobilenetv1_100", "macs_unproductive"] == sum(behind["macs"]) / sum(mobile["macs"])


def test_a_network_that_takes_no_such_image_is_told_by_its_fields() -> None:
    names = {"alexnet_2012": "alexnet_2012", "resnet18": "resnet18", "hrnet": "timm/hrnet_w18_small"}
    told: list[float] = []
    profiles = {name: field_profile(network) for name, network in names.items()}
    found, refused = uses(names, profiles, 64, report=lambda fraction, text: told.append(fraction))
    assert list(found) == ["alexnet_2012", "resnet18"]
    assert "pool5" in refused["alexnet_2012"]
    assert "enlarged" in refused["hrnet"]
    assert told == [0, 1 / 3, 2 / 3]
    table = use_table(found).set_index("net")
    assert table.loc["alexnet_2012", "image"] == "64 x 64"
    assert pd.isna(table.loc["alexnet_2012", "macs_productive"])
    assert table.loc["resnet18", "macs_productive"] > 0
    assert list(found["alexnet_2012"].table["status"]) == ["productive"] * 2 + ["unproductive"] * 3  # 19 to 51, then 67


def test_following_stops_when_it_is_told_to() -> None:
    def stop(fraction: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uses({"vgg11": "vgg11"}, {"vgg11": field_profile("vgg11")}, report=stop)


def test_a_network_is_not_followed_again_at_its_own_size() -> None:
    def never(network: object, image: object) -> FieldProfile:
        raise AssertionError

    profiles = {"resnet18": field_profile("resnet18")}
    for side in (None, 224):
        found, _ = uses({"resnet18": "resnet18"}, profiles, side, never)
        assert found["resnet18"].image == (224, 224)
