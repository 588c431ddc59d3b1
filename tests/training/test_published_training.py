"""What is printed of training, against tables typed from the papers, and our runs beside it."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recordings

from explorer.models.variants import variant
from explorer.training import published, shipped
from explorer.training.published import (
    D2L_PRINTED,
    Printed,
    against_published,
    as_published,
    beside_figure_6,
    d2l_table,
    identity_mappings,
    plain_and_residual,
    printed_error,
    printed_table,
    reasons,
    shared_reasons,
    shortcut_options,
    shortness,
    thousand_layers,
    warm_up,
)
from explorer.training.recipe import WARM_UP_FACTOR
from explorer.training.shipped import Net


def table(name: str) -> Any:
    return json.loads((Path(__file__).parents[1] / "tables" / f"{name}.json").read_text())


HE15, HE16, D2L = table("he2015_training"), table("he2016_cifar10"), table("d2l_resnet18")


def told(rows: Iterable[Printed]) -> list[tuple[str, float | None]]:
    return [(row.case, row.error) for row in rows]


# --- the papers


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110, 1202])
def test_the_recipe_is_the_papers(depth: int) -> None:
    recipe, printed = as_published(variant("a", depth)), HE15["recipe"]
    assert recipe.data == "cifar10"
    assert (recipe.steps, recipe.batch) == (printed["steps"], printed["batch"])
    assert (recipe.momentum, recipe.weight_decay) == (printed["momentum"], printed["weight_decay"])
    for step, rate in printed["learning_rate_from_step"].items():
        assert recipe.rate(int(step)) == pytest.approx(rate)
        assert int(step) == 0 or recipe.rate(int(step) - 1) == pytest.approx(10 * rate)
    assert recipe.augmentation == "crop_flip"
    warm = printed["warm_up_110"]
    if depth >= 110:
        assert recipe.warmup_error == warm["until_training_error_below_percent"]
        assert recipe.lr * WARM_UP_FACTOR == pytest.approx(warm["learning_rate"])
    else:
        assert recipe.warmup_error is None


def test_plain_nets_do_not_warm_up() -> None:
    assert as_published(variant("plain", 110)).warmup_error is None


@pytest.mark.parametrize(("depth", "error"), HE15["table6"].items())
def test_table_6(depth: str, error: float) -> None:
    found = printed_error(variant("a", int(depth)))
    assert found is not None
    assert found.error == error
    assert found.data == "CIFAR-10"
    assert found.source.endswith("1512.03385, table 6")


@pytest.mark.parametrize(("name", "depth"), [("plain", 20), ("plain", 56), ("plain", 110), ("b", 20), ("c", 56)])
def test_no_number_is_told_where_none_is_printed(name: str, depth: int) -> None:
    assert printed_error(variant(name, depth)) is None


def test_the_first_lesson_has_table_2_and_table_6() -> None:
    errors = HE15["table2"]
    assert told(plain_and_residual()) == [
        ("plain-18", errors["plain-18"]),
        ("plain-34", errors["plain-34"]),
        ("ResNet-18 A", errors["ResNet-18"]),
        ("ResNet-34 A", errors["ResNet-34"]),
        *((f"ResNet-{depth}", HE15["table6"][depth]) for depth in ("20", "32", "44", "56", "110")),
    ]
    assert [row.data for row in plain_and_residual()] == ["ImageNet"] * 4 + ["CIFAR-10"] * 5


def test_the_second_lesson_has_the_options_at_34_layers_and_what_stands_on_110() -> None:
    rows = told(shortcut_options())
    assert rows[:4] == list(HE15["table3"].items())
    assert rows[4:] == [
        ("ResNet-110 A: identity", HE16["table1"]["original"]),
        ("ResNet-110 C: 1x1 convolution", HE16["table1"]["1x1 conv"]),
        ("ResNet-110: no shortcut", HE16["table1"]["shortcut 0 (a plain net)"]),
        ("ResNet-110: times 0.5", HE16["table1"]["shortcut 0.5"]),
        ("ResNet-110: times 0.5, branch too", HE16["table1"]["shortcut 0.5, F 0.5"]),
        ("ResNet-110: both gated, bias -6", HE16["table1"]["exclusive gating, bias -6"]),
        ("ResNet-110: gated, bias 0", HE16["table1"]["shortcut-only gating, bias 0"]),
        ("ResNet-110: gated, bias -6", HE16["table1"]["shortcut-only gating, bias -6"]),
        ("ResNet-110: dropout 0.5", HE16["table1"]["dropout 0.5"]),
    ]
    assert all(("fail" in row.note) == (row.error is None) for row in shortcut_options())


def test_option_c_is_best_at_34_layers_and_fails_at_110() -> None:
    errors = dict(told(shortcut_options()))
    assert min((error, case) for case, error in list(errors.items())[:4] if error)[1] == "ResNet-34 C"
    at_110 = errors["ResNet-110 C: 1x1 convolution"]
    assert at_110 is not None
    assert at_110 > 1.8 * HE16["table1"]["original"], "nearly twice, as the lesson says"


def test_the_third_and_fourth_lesson_have_110_and_1202_layers() -> None:
    assert told(thousand_layers()) == [(f"ResNet-{depth}", HE15["table6"][depth]) for depth in ("110", "1202")]
    with_it, without = warm_up()
    assert with_it.error == HE15["table6"]["110"]
    best, mean = HE15["table6_resnet110"].rstrip(")").split(" (")
    assert float(best) == with_it.error
    assert mean.replace("±", " ± ") in with_it.note
    assert without.error is None, "the footnote prints no number"


def test_the_fifth_lesson_has_tables_2_to_4() -> None:
    orders, pairs = HE16["table2_resnet110"], HE16["table3"]
    assert told(identity_mappings()) == [
        ("ResNet-110, original", orders["original"]),
        ("ResNet-110, norm after the addition", orders["BN after addition"]),
        ("ResNet-110, ReLU before the addition", orders["ReLU before addition"]),
        ("ResNet-110, ReLU alone as pre-activation", orders["ReLU-only pre-activation"]),
        ("ResNet-110, pre-activation", orders["full pre-activation"]),
        ("ResNet-164, original", pairs["ResNet-164"][0]),
        ("ResNet-164, pre-activation", pairs["ResNet-164"][1]),
        ("ResNet-1001, original", pairs["ResNet-1001"][0]),
        ("ResNet-1001, pre-activation", pairs["ResNet-1001"][1]),
        ("ResNet-1001, pre-activation, batch 64", 4.62),
    ]
    assert [orders["original"], orders["full pre-activation"]] == pairs["ResNet-110"]
    for row, printed in zip(identity_mappings()[-2:], HE16["table4"].values(), strict=True):
        median, mean = printed.rstrip(")").split(" (")
        assert row.error == float(median)
        assert mean.replace("±", " ± ") in row.note


def test_every_row_names_its_source() -> None:
    lessons = (plain_and_residual, shortcut_options, thousand_layers, warm_up, identity_mappings)
    for row in (row for rows in lessons for row in rows()):
        assert "1512.03385" in row.source or "1603.05027" in row.source
        assert row.data in ("ImageNet", "CIFAR-10")


def test_the_rows_as_a_table() -> None:
    found = printed_table(shortcut_options())
    assert list(found) == ["case", "error", "data", "source", "note"]
    assert list(found["error"].dropna()) == [row.error for row in shortcut_options() if row.error is not None]
    assert found["error"].isna().sum() == 3


def test_the_books_result() -> None:
    assert list(D2L_PRINTED.values()) == list(D2L["printed"].values())
    assert list(D2L_PRINTED) == ["training loss", "training accuracy", "test accuracy"]
    assert list(d2l_table()["printed"]) == list(D2L["printed"].values())


# --- our runs beside it


@pytest.fixture
def nets(tmp_path: Path) -> list[Net]:
    """plain-20 once, ResNet-20 thrice."""
    recordings.write(tmp_path, "plain", 20, first=50.0)
    for seed, first in enumerate((40.0, 20.0, 30.0)):
        recordings.write(tmp_path, "a", 20, seed, first)
    return shipped.nets(shipped.shipped(tmp_path))


def test_the_difference_is_the_median_less_the_printed_error(nets: list[Net]) -> None:
    plain, residual = against_published(nets).itertuples()
    assert (plain.net, plain.runs, plain.ours, plain.batch_error) == ("plain-20", 1, 50, 50 - 20)
    assert math.isnan(plain.published)
    assert math.isnan(plain.difference)
    assert (residual.net, residual.runs, residual.ours, residual.published) == ("ResNet-20", 3, 30, 8.75)
    assert residual.difference == 30 - 8.75
    assert residual.source.endswith("table 6")


def test_nothing_is_compared_on_other_pictures(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20, data="shapes")
    found = shipped.nets(shipped.shipped(tmp_path))
    assert against_published(found)["published"].isna().all()
    assert reasons(found[0]) == ["It learned from other pictures: shapes."]


def test_the_same_recipe_as_the_papers_has_no_reason_but_its_one_seed(nets: list[Net]) -> None:
    theirs = as_published(variant("a", 20))
    (_, residual) = nets
    one, three = Net("x", theirs, residual.runs[:1]), Net("x", theirs, residual.runs)
    assert reasons(three) == []
    assert reasons(one) == ["It is one run from one seed; another seed ends elsewhere."]


def test_the_reasons_are_what_the_record_says(nets: list[Net]) -> None:
    (plain, residual) = nets
    # 60 steps of 128 are 60/391 of 50,000 pictures, 64,000 of them 163.7 times
    assert reasons(residual) == [
        "It trained for 60 steps, about 0.2 times through the training set; the paper's nets for 64,000, about 164 "
        "times.",
        "The pictures are JPEG copies of CIFAR-10's, for training and for testing; the paper has the originals.",
    ]
    assert reasons(plain) == [*reasons(residual), "It is one run from one seed; another seed ends elsewhere."]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch": 64}, "Pictures a step: 64, in the paper 128."),
        ({"lr": 0.05}, "Learning rate: 0.05, in the paper 0.1."),
        ({"momentum": 0.0}, "Momentum: none, in the paper 0.9."),
        ({"weight_decay": 0.0}, "Weight decay: none, in the paper 0.0001."),
        ({"schedule": "cosine"}, "Schedule of the learning rate: cosine, in the paper steps."),
        (
            {"milestones": (0.25, 0.75)},
            "Learning rate divided by 10 after these shares of the steps: 0.25 and 0.75, in the paper 0.5 and 0.75.",
        ),
        ({"warmup_steps": 5}, "Steps of warm-up: 5, in the paper none."),
        (
            {"warmup_error": 80.0},
            "Warm-up until the training error is below, in percent: 80.0, in the paper none.",
        ),
        ({"augmentation": "none"}, "Augmentation: none, in the paper crop and flip."),
        (
            {"precision": "bfloat16"},
            "Convolutions and products are computed in bfloat16, which keeps two to three digits.",
        ),
    ],
)
def test_each_setting_that_differs_is_a_reason(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    recordings.write(tmp_path, "a", 20, **change)
    (net,) = shipped.nets(shipped.shipped(tmp_path))
    assert reasons(net).count(sentence) == 1
    assert len(reasons(net)) == 4, "steps, pictures, this one, one seed"


def test_a_reason_that_many_share_is_told_once(nets: list[Net]) -> None:
    found = shared_reasons(nets)
    assert list(found.values()) == [["plain-20", "ResNet-20"], ["plain-20", "ResNet-20"], ["plain-20"]]
    assert next(iter(found)).startswith("It trained for 60 steps")


def test_short_runs_are_told_before_anything_else(nets: list[Net]) -> None:
    (sentence,) = shortness(nets)
    assert sentence.startswith("Short runs: 60 steps, the paper's took 64,000.")
    assert shortness([replace(net, recipe=replace(net.recipe, steps=64_000)) for net in nets]) == []


def test_depth_in_our_runs_is_told_beside_figure_6(tmp_path: Path) -> None:
    """The error on the batches ends 20 below `first`; figure 6: deeper plain nets are worse, deeper ResNets better."""
    for name, depth, first in (("plain", 20, 50.0), ("plain", 32, 55.0), ("plain", 56, 80.0), ("b", 20, 9.0)):
        recordings.write(tmp_path, name, depth, first=first)
    recordings.write(tmp_path, "a", 20, first=45.0)
    recordings.write(tmp_path, "a", 56, first=60.0)
    recordings.write(tmp_path, "a", 110, first=40.0, data="shapes")
    assert beside_figure_6(shipped.nets(shipped.shipped(tmp_path))) == [
        "After 60 steps plain-56 is wrong on 60.0% of its training batches, plain-20 on 30.0%. The deeper plain net is "
        "worse, as in figure 6.",
        "After 60 steps ResNet-56 is wrong on 40.0% of its training batches, ResNet-20 on 25.0%. The deeper ResNet is "
        "worse, unlike figure 6, which is of 64,000 steps.",
    ]


def test_where_the_deeper_is_better_that_is_told_too(tmp_path: Path) -> None:
    for name, first in (("plain", 50.0), ("a", 45.0)):
        recordings.write(tmp_path, name, 20, first=first)
        recordings.write(tmp_path, name, 56, first=first - 10)
    plain, residual = beside_figure_6(shipped.nets(shipped.shipped(tmp_path)))
    assert plain.endswith("The deeper plain net is better, unlike figure 6, which is of 64,000 steps.")
    assert residual.endswith("The deeper ResNet is better, as in figure 6.")


def test_nothing_is_told_of_one_depth_nor_of_runs_of_other_lengths(tmp_path: Path) -> None:
    recordings.write(tmp_path, "a", 20)
    recordings.write(tmp_path, "a", 56, steps=80)
    recordings.write(tmp_path, "plain", 20)
    assert beside_figure_6(shipped.nets(shipped.shipped(tmp_path))) == []


def test_every_field_of_a_recipe_that_bears_on_the_result_is_looked_at() -> None:
    """A new field shall not slip through."""
    looked_at = {"steps", "data", "precision", "spec", "seed", *published._SETTINGS}
    only_for_records = {"record_every", "test_every", "probe", "tested"}
    assert {*as_published(variant("a", 20)).__dataclass_fields__} == looked_at | only_for_records
