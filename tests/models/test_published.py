"""What is printed of networks: that each figure is the paper's or the library's, and goes with a network of the zoo."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torchvision
from hypothesis import given
from strategies import FEW, specs

from explorer.models import published, zoo
from explorer.models.published import (
    HUMAN_TOP5_ERROR,
    WINNERS,
    Accuracy,
    accuracies,
    counts,
)
from explorer.models.zoo import UnknownNetwork
from explorer.spec import PRESETS, ResNetSpec, SpecError


def table(name: str) -> Any:
    return json.loads((Path(__file__).parents[1] / "tables" / f"{name}.json").read_text())


ERRORS = table("published_errors")["blocks"]
PRINTED = [(block["cited"], block["kind"], *row) for block in ERRORS for row in block["rows"]]
TIMM_RESULTS = Path(published.__file__).with_name("timm_results.csv")
TIMM_ROWS = list(csv.DictReader(TIMM_RESULTS.read_text().splitlines()))
ORIGINS = ["paper", "authors", "torchvision", "timm"]
TORCHVISIONS = zoo._torchvision_names()


def named() -> list[str]:
    """Every name that has a record, and every key that is a spec without a name, as text."""
    keys = [*published._PAPERS, *published._COUNTS]
    texts = [key if isinstance(key, str) else key.to_text() for key in keys]
    return list(dict.fromkeys((*texts, *published._timm_results(), *TORCHVISIONS)))


def records(net: str, origins: tuple[str, ...]) -> list[Accuracy]:
    return [record for record in accuracies(net) if record.origin in origins]


# --- papers


@pytest.mark.parametrize(("cited", "kind", "net", "crop", "top1", "top5"), PRINTED)
def test_a_paper_prints_it(cited: str, kind: str, net: str, crop: str, top1: float | None, top5: float | None) -> None:
    whole = {"error": 100, "accuracy": 0}[kind]
    expected = [None if value is None else pytest.approx(abs(whole - value)) for value in (top1, top5)]
    found = [
        [record.top1, record.top5]
        for record in records(net, ("paper", "authors"))
        if cited in record.source and record.crop == crop
    ]
    assert expected in found


def test_no_paper_is_told_of_more_than_the_table_has() -> None:
    told = [record for key in published._PAPERS.values() for record in key]
    assert len(told) == len(PRINTED)


def test_what_a_paper_prints_to_two_decimals_is_told_to_two() -> None:
    told = [value for key in published._PAPERS.values() for record in key for value in (record.top1, record.top5)]
    assert all(value is None or len(str(value).partition(".")[2]) <= 2 for value in told)


@pytest.mark.parametrize(
    ("net", "note"),
    [
        ("resnet18", "shortcut option A"),
        ("resnet18 shortcut=A", ""),
        ("resnet34", ""),
        ("resnet152", "strides on the 1x1"),
        ("resnet152 stride_on=1x1", ""),
        ("seresnet50", "strides on the 1x1"),
        ("seresnet50 stride_on=1x1", ""),
        ("resnet200", "does not say which"),
    ],
)
def test_a_record_of_a_net_that_is_not_quite_this_one_says_so(net: str, note: str) -> None:
    of_he_or_hu = [record for record in accuracies(net) if "He et al." in record.source or "Hu et al." in record.source]
    assert of_he_or_hu
    for record in of_he_or_hu:
        assert note in record.note
        assert bool(record.note) == bool(note)


def test_torchvisions_net_of_a_name_has_no_record_of_the_papers_other_net() -> None:
    for name in ("alexnet", "googlenet"):
        assert {record.origin for record in accuracies(name)} == {"torchvision"}
    assert not records("resnet50", ("authors",)), "the paper's ResNet-50 is resnet50_v1"
    assert not records("vgg16_bn", ("paper",))


@pytest.mark.parametrize(("net", "mean"), [("cifar_resnet110", "6.61 ± 0.16"), ("highway19_2015", "7.72 ± 0.16")])
def test_what_was_the_best_of_five_runs_says_so(net: str, mean: str) -> None:
    found = accuracies(net)[0]
    assert found.note == f"The best of five runs; {mean} percent were wrong on average."


# --- torchvision


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_torchvisions_records_are_its_enum(name: str) -> None:
    weights = [
        entry
        for entry in torchvision.models.get_model_weights(name)
        if not math.isnan(entry.meta["_metrics"]["ImageNet-1K"]["acc@1"])
    ]
    found = records(name, ("torchvision",))
    assert len(found) == len(weights) >= 1
    for record, entry in zip(found, weights, strict=True):
        assert record.source == f"torchvision {torchvision.__version__}, {type(entry).__name__}.{entry.name}"
        assert {"acc@1": record.top1, "acc@5": record.top5} == entry.meta["_metrics"]["ImageNet-1K"]
        crop, resize = entry.transforms().crop_size, entry.transforms().resize_size
        assert record.crop == f"{crop[0]} px, one crop from {resize[0]} px"
        assert record.size == crop[0]
        assert len(crop) == len(resize) == 1


def test_torchvisions_weights_come_in_its_order_and_by_name() -> None:
    assert [record.source.rpartition(".")[2] for record in records("resnet50", ("torchvision",))] == [
        "IMAGENET1K_V1",
        "IMAGENET1K_V2",
    ]
    assert [record.source.rpartition(".")[2] for record in records("vgg16", ("torchvision",))] == ["IMAGENET1K_V1"]


@pytest.mark.parametrize("name", sorted(table("torchvision_models")["networks"]))
def test_torchvisions_default_is_its_published_table(name: str) -> None:
    row = table("torchvision_models")["networks"][name]
    last = records(name, ("torchvision",))[-1]
    assert (last.top1, last.top5) == (row["top1"], row["top5"])
    assert (counts(name)[-1].params, counts(name)[-1].gmacs) == (row["params"], row["gmacs"])


# --- timm


def test_a_row_of_timms_is_right_about_what_is_wrong() -> None:
    for row in TIMM_ROWS:
        for top in ("top1", "top5"):
            assert float(row[top]) + float(row[f"{top}_err"]) == pytest.approx(100), row


def test_a_row_of_timms_names_its_weights_and_how_they_are_used() -> None:
    for row in TIMM_ROWS:
        usual = timm.get_pretrained_cfg(row["model"])
        assert usual is not None, row
        crops = {usual.test_input_size: usual.test_crop_pct, usual.input_size: usual.crop_pct}
        size = (3, int(row["img_size"]), int(row["img_size"]))
        assert float(row["crop_pct"]) == pytest.approx(crops[size] or usual.crop_pct, abs=6e-4), row
        assert (usual.crop_mode, usual.interpolation) == ("center", row["interpolation"]), row


@pytest.mark.parametrize(
    "name", ["resnet10t", "seresnext26t_32x4d", "resnetv2_50", "mobilenetv1_100", "mobilenetv3_small_050", "tinynet_e"]
)
def test_a_row_of_timms_has_the_zoos_parameters(name: str) -> None:
    model, _ = zoo.network(name)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    rows = [row for row in TIMM_ROWS if row["model"].partition(".")[0] == name]
    assert rows
    assert {row["param_count"] for row in rows} == {f"{millions:.2f}"}


def test_timms_records_are_its_rows() -> None:
    found = [(name, record) for name in published._timm_results() for record in records(name, ("timm",))]
    assert len(found) == len(TIMM_ROWS) == len({(row["model"], row["img_size"]) for row in TIMM_ROWS})
    rows = {f"{row['model']}, {row['img_size']}": row for row in TIMM_ROWS}
    for name, record in found:
        row = rows[f"{record.source.rpartition(', ')[2]}, {record.size}"]
        assert row["model"].partition(".")[0] == name
        assert (record.top1, record.top5) == (float(row["top1"]), float(row["top5"]))


def test_timm_shrinks_a_picture_as_it_does() -> None:
    found = records("mobilenetv1_100", ("timm",))
    assert [record.crop for record in found] == ["224 px, one crop from 256 px", "256 px, one crop from 269 px"]
    for record, crop_pct in zip(found, (0.875, 0.95), strict=True):
        size = record.size
        assert size is not None
        resize = timm.data.create_transform((3, size, size), is_training=False, crop_pct=crop_pct).transforms[0]
        assert record.crop == f"{size} px, one crop from {resize.size} px"


@pytest.mark.parametrize(
    ("name", "extra"),
    [("resnetaa50d", True), ("resnext101_32x16d", True), ("resnet50", False), ("convnext_tiny", False)],
)
def test_more_pictures_are_said(name: str, extra: bool) -> None:
    assert {record.extra_data for record in records(name, ("timm",))} == {extra}


def test_where_torchvisions_weights_saw_more_pictures_that_is_said() -> None:
    found = records("regnet_y_16gf", ("torchvision",))
    assert [record.extra_data for record in found] == [False, False, True, True]


# --- all of them


@pytest.mark.parametrize("net", named())
def test_whatever_is_printed_is_of_a_network_of_the_zoo_and_can_be(net: str) -> None:
    name = net.partition(" ")[0]
    assert name in zoo.names()
    found = accuracies(net)
    assert [record.origin for record in found] == sorted((record.origin for record in found), key=ORIGINS.index)
    assert found or counts(net)
    for record in found:
        assert (record.top1, record.top5) != (None, None)
        assert record.top1 is None or 0 < record.top1 < 100
        assert record.top5 is None or 0 < record.top5 < 100
        assert record.top1 is None or record.top5 is None or record.top1 < record.top5
        assert record.dataset == ("CIFAR-10" if name.startswith(("cifar_", "highway19")) else "ImageNet")
        assert record.size is None or record.crop.startswith(f"{record.size} px")
        assert ("crop" in record.crop) == (record.crops is not None and record.dataset == "ImageNet")
        assert (record.year is None) == (record.origin in ("torchvision", "timm"))
        assert record.year is None or str(record.year) in record.source
        assert record.note == "" or record.note.endswith(".")


def test_a_library_beside_the_name_changes_nothing_and_a_spec_is_as_good_as_its_presets_name() -> None:
    for name in ("resnet50", "vgg16"):
        assert accuracies(f"torchvision/{name}") == accuracies(f"timm/{name}") == accuracies(name) != ()
        of_timm = counts(f"timm/{name}")  # without torchvision's, which may be of another size
        assert of_timm == tuple(record for record in counts(name) if not record.source.startswith("torchvision"))
        assert len(of_timm) < len(counts(name))
    for name, spec in PRESETS.items():
        assert accuracies(spec) == accuracies(name)
        assert counts(spec) == counts(name)


@FEW
@given(specs())
def test_another_net_has_no_record(spec: ResNetSpec) -> None:
    other = replace(spec, num_classes=7)  # as nobody trained one
    assert accuracies(other) == counts(other) == ()


def test_trained_at_another_size_nothing_was_printed() -> None:
    assert accuracies(replace(PRESETS["resnet50"], image_size=(256, 256))) == ()
    assert accuracies("cifar_plain20") == counts("cifar_plain20") == ()


@pytest.mark.parametrize("look_up", [accuracies, counts])
def test_a_name_that_is_none_gets_a_sentence(look_up: Any) -> None:
    with pytest.raises(UnknownNetwork, match=r"near names are .*resnet50"):
        look_up("resnet51")
    with pytest.raises(SpecError, match=r"^width"):
        look_up("resnet50 width=x")


# --- counts


COUNTS = table("published_counts")["rows"]


@pytest.mark.parametrize(("net", "millions", "gmacs", "arxiv", "place"), COUNTS)
def test_a_paper_prints_the_counts(
    net: str, millions: float | None, gmacs: float | None, arxiv: str, place: str
) -> None:
    found = [(told.params, told.gmacs) for told in counts(net) if arxiv in told.source and place in told.source]
    assert found == [(None if millions is None else round(1e6 * millions), gmacs)]


def test_he_2015s_counts_are_the_tables() -> None:
    nets = {
        "18": "resnet18 shortcut=A",
        "34": "resnet34_a",
        "50": "resnet50_v1",
        "101": "resnet101 stride_on=1x1",
        "152": "resnet152 stride_on=1x1",
    }
    assert {depth: counts(net)[0].gmacs for depth, net in nets.items()} == table("he2015_table1")["gmacs"]
    for depth, millions in table("he2015_table6")["million_params"].items():
        (told,) = counts(f"cifar_resnet{depth}")
        assert told.params == pytest.approx(1e6 * millions)


def test_he_2018s_howards_and_krizhevskys_counts_are_the_tables() -> None:
    tricks = table("he2018_table5")["gmacs"]
    assert counts("resnet50d")[0].gmacs == tricks["ResNet-50-D"]
    assert [told.gmacs for told in counts("resnet50") if "ResNet-50-B" in told.source] == [tricks["ResNet-50-B"]]
    howard = table("howard2017")
    (told,) = counts("mobilenetv1_100")
    assert told.params == pytest.approx(1e6 * howard["million_params"])
    assert told.gmacs == pytest.approx(howard["million_macs"] / 1e3)
    assert [told.params for told in counts("alexnet_2012")] == [1e6 * table("krizhevsky2012")["million_params"]]


def test_no_paper_is_told_of_more_counts_than_the_tables_have() -> None:
    told = sum(len(printed) for printed in published._COUNTS.values())
    of_other_tables = 5 + 6 + 2 + 1 + 1
    assert told == len(COUNTS) + of_other_tables


# --- the challenge


def test_the_winners_are_the_challenges() -> None:
    rows = table("ilsvrc")["rows"]
    assert len(WINNERS) == len(rows)
    for winner, (year, place, team, layers, error) in zip(WINNERS, rows, strict=True):
        assert (winner.year, winner.place, winner.team, winner.layers) == (year, place, team, layers)
        decimals = len(str(winner.top5_error).partition(".")[2])
        assert decimals >= 1
        assert winner.top5_error == round(error, decimals)


def test_a_winner_of_the_zoo_is_there_with_that_many_layers_and_a_record() -> None:
    for winner in WINNERS:
        if winner.net:
            assert accuracies(winner.net)
            assert winner.models is None or winner.models > 1
    assert [winner.net for winner in WINNERS if winner.net] == [
        *("alexnet_2012", "googlenet_2014", "vgg19", "resnet152", "legacy_senet154")
    ]
    assert PRESETS["resnet152"].depth == 152


def test_a_single_network_errs_more_than_the_entry_it_was_part_of() -> None:
    for winner in WINNERS:
        if winner.net and winner.net != "vgg19":  # whose paper measured a better one after the challenge
            singles = [100 - found.top5 for found in records(winner.net, ("paper", "authors")) if found.top5]
            assert min(singles) > winner.top5_error


def test_only_since_2015_do_winners_err_less_than_a_person() -> None:
    assert [winner.year for winner in WINNERS if winner.top5_error < HUMAN_TOP5_ERROR] == [2015, 2016, 2017]
