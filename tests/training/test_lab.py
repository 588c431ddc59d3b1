"""What the lab plans, how long it says it takes, and what it says came out."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

from explorer.analysis.profile import profile
from explorer.export.tables import csv
from explorer.models.variants import VARIANTS, variant
from explorer.training import lab
from explorer.training.datasets import DATASETS, Dataset
from explorer.training.lab import Course, LabError
from explorer.training.recipe import Recipe, RecipeError
from explorer.training.run import Record

DIGITS = DATASETS["digits"]


def planned(kinds: Sequence[str] = ("plain",), depths: Sequence[int] = (8,), seeds: int = 1, **more: Any) -> list[Any]:
    return lab.pairs(kinds, depths, seeds, DIGITS, **more)


def course(
    net: str = "plain-8",
    kind: str = "plain",
    depth: int = 8,
    seed: int = 0,
    train_loss: float | None = 1.0,
    steps: int = 10,
    at: int = 10,
    norms: tuple[float, ...] = (),
    diverged: bool = False,
    **more: Any,
) -> Course:
    """A run of two records, the second at a step."""
    recipe = Recipe(variant(kind, depth, width=2), steps=steps, seed=seed)
    values: dict[str, Any] = {"lr": 0.1, "batch_loss": train_loss, "batch_error": 50.0, "seconds": 3.0}
    values |= {"train_error": 40.0, "test_loss": 1.5, "test_error": 45.0, "train_loss": train_loss} | more
    first = Record(0, None, None, None, 2.3, 90.0, 2.3, 90.0, (), 0.5)
    return Course(net, recipe, (first, Record(step=at, gradient_norms=norms, diverged=diverged, **values)))


def test_each_kind_is_run_at_each_depth_with_each_seed() -> None:
    runs = planned(("plain", "c"), (20, 56), 2, lr=0.3)
    assert [name for name, _ in runs] == [
        *("plain-20", "plain-20", "plain-56", "plain-56"),
        *("ResNet-20 C", "ResNet-20 C", "ResNet-56 C", "ResNet-56 C"),
    ]
    assert [recipe.seed for _, recipe in runs] == [0, 1] * 4
    assert [recipe.spec.depth for _, recipe in runs] == [20, 20, 56, 56] * 2
    assert {recipe.lr for _, recipe in runs} == {0.3}
    assert runs[-1][1].spec == variant("c", 56, width=8, in_channels=1, image_size=(8, 8))


def test_the_default_is_the_recipe_that_shows_degradation() -> None:
    kinds = (("plain", 20), ("plain", 56), ("a", 20), ("a", 56))
    assert [recipe for _, recipe in lab.degradation_in_30_seconds()] == [
        Recipe(variant(kind, depth, width=8, in_channels=1, image_size=(8, 8)), probe=1000, tested=1000)
        for kind, depth in kinds
    ]


def test_every_variant_has_a_name_of_its_own() -> None:
    assert len({lab.net_name(kind, 20) for kind in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (80, 1), (400, 5), (1600, 20), (20_000, 20)])
def test_a_record_comes_eighty_times_a_run_and_not_rarer_than_each_twentieth_step(steps: int, every: int) -> None:
    ((_, recipe),) = planned(steps=steps)
    assert (recipe.record_every, recipe.test_every) == (every, 8 * every)


def test_the_net_takes_what_the_data_have() -> None:
    pictures = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    own = Dataset("upload-1", "Mine", pictures, torch.zeros(4), pictures, torch.zeros(4), ("cat", "dog"), "me")
    ((_, recipe),) = lab.pairs(["a"], [8], 1, own)
    assert (recipe.data, recipe.spec.in_channels, recipe.spec.image_size) == ("upload-1", 3, (16, 16))
    assert recipe.spec.num_classes == 2


def test_a_run_that_cannot_be_is_refused_by_its_recipe() -> None:
    with pytest.raises(RecipeError, match=r"lr \(=-1\)"):
        planned(lr=-1)


def test_nothing_chosen_is_said() -> None:
    with pytest.raises(LabError, match="choose at least one kind of net and one depth"):
        lab.checked([])


def test_what_is_there_already_is_not_run_twice() -> None:
    one, two = planned(seeds=2)
    assert lab.checked([one, two], [one]) == [two]
    assert lab.checked([one, one]) == [one]
    with pytest.raises(LabError, match="All of these runs are there already"):
        lab.checked([one], [one, two])


def test_a_name_stands_for_one_net_whatever_its_seed() -> None:
    present = planned(seeds=2)
    (_, third) = planned(seeds=3)[2]
    assert lab.checked([("plain-8", third)], present) == [("plain-8", third)]
    faster = lab.checked(planned(lr=0.3, width=4), present)
    assert [name for name, _ in faster] == ["plain-8, lr 0.3, width 4"]
    assert lab.checked(planned(lr=0.3, width=4, seeds=2), [*present, *faster])[0][0] == "plain-8, lr 0.3, width 4"
    again = lab.checked(planned(lr=0.2), [*present, *faster])
    assert [name for name, _ in again] == ["plain-8, lr 0.2"]


def test_the_lab_takes_twelve_runs() -> None:
    twelve = planned(("plain", "a", "b", "c"), (8,), 3)
    assert len(lab.checked(twelve)) == 12
    with pytest.raises(LabError, match="13 runs are too many side by side; the lab takes 12"):
        lab.checked(planned(("highway",)), twelve)


def test_the_lab_takes_no_run_of_hours() -> None:
    with pytest.raises(LabError, match=r"would take about [\d.]+ h; the lab takes 60 minutes at most"):
        lab.checked(lab.pairs(["a"], [56], 1, DATASETS["cifar10"], steps=20_000, width=16))


def test_the_next_seed_is_one_that_no_run_of_the_name_has() -> None:
    present = [*planned(seeds=2), *planned(("a",), seeds=3)]
    name, recipe = lab.another_seed(present[0], present)
    assert (name, recipe) == ("plain-8", replace(present[0][1], seed=2))


def test_runs_are_laid_on_the_processors_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = [replace(planned()[0][1], steps=steps) for steps in (1, 2, 3, 4)]
    monkeypatch.setattr(lab, "seconds_of", lambda recipe: float(recipe.steps))
    assert lab.estimated_seconds(recipes, 1) == 1 + 2 + 3 + 4
    assert lab.estimated_seconds(recipes, 2) == max(4 + 1, 3 + 2)
    assert lab.estimated_seconds(recipes, 9) == 4
    assert lab.estimated_seconds([], 2) == 0


def test_the_estimate_grows_with_what_there_is_to_do() -> None:
    base = planned()[0][1]
    more = [replace(base, steps=800), replace(base, batch=200), planned(depths=(56,))[0][1], planned(width=16)[0][1]]
    assert all(lab.seconds_of(recipe) > lab.seconds_of(base) for recipe in more)


def test_the_default_takes_about_half_a_minute_on_two_processors() -> None:
    assert 15 < lab.estimated_seconds([recipe for _, recipe in lab.degradation_in_30_seconds()], 2) < 45


def test_the_estimate_counts_the_multiply_accumulates_that_the_app_counts() -> None:
    spec = variant("c", 20, width=8)
    assert lab._macs(spec) == profile(spec, None).totals.macs


def test_all_records_are_one_table() -> None:
    runs = [course("a", seed=3, norms=(1.0, 2.0)), Course("none yet", planned()[0][1]), course("b", train_loss=None)]
    table = lab.curves(runs)
    assert list(table["net"]) == ["a", "a", "b", "b"]
    assert list(table["seed"]) == [3, 3, 0, 0]
    assert list(table["step"]) == [0, 10, 0, 10]
    assert list(table["train_loss"].fillna(-1)) == [2.3, 1, 2.3, -1]
    assert list(table.columns[2:]) == list(Record.__dataclass_fields__)
    assert lab.curves([]).empty


def test_the_file_of_records_leaves_none_out_and_can_be_read_again() -> None:
    runs = [course("a", norms=(0.125, 2.0)), course("b", seed=1)]
    read = pd.read_csv(io.BytesIO(csv(lab.records_file(lab.curves(runs)))))
    assert list(read["net"]) == ["a", "a", "b", "b"]
    assert read["gradient_norms"][1] == "0.125 2"
    assert read["train_loss"][1] == 1


def test_the_file_of_recipes_can_be_read_again() -> None:
    runs = [course("a"), course("b", kind="a", seed=2)]
    told = json.loads(lab.recipes_json(runs))
    assert [entry["net"] for entry in told] == ["a", "b"]
    assert [Recipe.from_json(json.dumps(entry["recipe"])) for entry in told] == [run.recipe for run in runs]


def test_the_table_has_the_median_over_the_seeds_and_its_ends() -> None:
    runs = [course(seed=seed, train_loss=loss, seconds=seed) for seed, loss in enumerate((0.4, 0.1, 0.3))]
    ((_, row),) = lab.finals(runs).iterrows()
    assert (row["net"], row["runs"], row["ended"], row["diverged"], row["step"]) == ("plain-8", 3, 3, 0, 10)
    assert (row["train_loss"], row["train_loss_low"], row["train_loss_high"]) == (0.3, 0.1, 0.4)
    assert row["seconds"] == 1


def test_what_is_left_of_a_run_is_told_from_its_pace_so_far() -> None:
    run = course(steps=100, at=25, seconds=5.5)
    assert run.seconds_left == pytest.approx(75 * 5 / 25), "the half second before the first step is behind it"
    assert replace(run, records=run.records[:1]).seconds_left is None
    assert course(steps=100, at=100).seconds_left is None
    assert course(steps=100, at=25, diverged=True).seconds_left is None


def test_a_run_that_diverged_counts_in_no_median() -> None:
    runs = [course(seed=0, train_loss=0.4), course(seed=1, train_loss=None, at=5, diverged=True, batch_loss=math.nan)]
    ((_, row),) = lab.finals(runs).iterrows()
    assert (row["ended"], row["diverged"], row["step"]) == (1, 1, 5)
    assert (row["train_loss"], row["batch_loss"]) == (0.4, 0.4)
    ((_, alone),) = lab.finals(runs[1:]).iterrows()
    assert alone[["train_loss", "batch_loss", "test_error"]].isna().all()


def test_before_the_end_the_table_has_what_was_measured_last() -> None:
    ((_, row),) = lab.finals([course(at=5, train_loss=None, batch_loss=2.0)]).iterrows()
    assert (row["ended"], row["step"], row["train_loss"], row["batch_loss"]) == (0, 5, 2.3, 2)
    ((_, new),) = lab.finals([Course("new", planned()[0][1])]).iterrows()
    assert new["step"] == 0
    assert math.isnan(new["train_loss"])


def pair(small: Sequence[float], large: Sequence[float]) -> list[Course]:
    return [
        *(course("plain-8", depth=8, seed=seed, train_loss=loss) for seed, loss in enumerate(small)),
        *(course("plain-14", depth=14, seed=seed, train_loss=loss) for seed, loss in enumerate(large)),
    ]


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [
        ([0.0007], [1.3], "the deeper net is worse on the very data that it learns from"),
        ([0.2, 0.3], [0.4, 0.5], "the deeper net is worse on the very data that it learns from"),
        ([0.5], [0.001], "the deeper net has learned the training data better"),
        ([1.3], [0.7], "the deeper net has learned the training data better"),
        ([0.2, 0.5], [0.4, 0.6], "no clear difference"),
        ([0.5], [0.51], "no clear difference"),
        ([0.0007], [0.0001], "both have learned the training data"),
        ([0.0001], [0.009], "both have learned the training data"),
    ],
)
def test_the_sentence_says_what_the_numbers_say(small: list[float], large: list[float], verdict: str) -> None:
    (sentence,) = lab.seen(pair(small, large))
    assert verdict in sentence


def test_the_sentence_has_the_numbers() -> None:
    assert lab.seen(pair([0.0007], [1.337]))[0].startswith(
        "plain-14 ends at a training loss of 1.3, plain-8 at 0.0007: "
    )
    assert ", medians of 3 and 2 seeds: " in lab.seen(pair([1, 2], [1, 2, 3]))[0]
    assert "plain-14 ends at a training loss of 2, plain-8 at 1.5" in lab.seen(pair([1, 2], [1, 2, 3]))[0]


def test_running_means_that_lag_behind_are_taken_for_no_degradation() -> None:
    """After 20 steps on 32 pictures plain-56 has a training loss of 3e8 in eval mode and of 0.035 on its batches."""
    shallow = course("plain-8", train_loss=0.0002, batch_loss=0.0005)
    lagging = course("plain-14", depth=14, train_loss=3e8, batch_loss=0.005)
    sentence, why = lab.seen([shallow, lagging])
    assert sentence.startswith("plain-14 ends at a loss on the batches of 0.005, plain-8 at 0.0005: both have learned")
    assert why.startswith("Measured on the training set, plain-14 is far worse than on its batches")
    near = course("plain-14", depth=14, train_loss=1.34, batch_loss=0.96)
    assert "a training loss of 1.3" in lab.seen([shallow, near])[0]


def test_only_nets_of_one_kind_and_one_recipe_are_set_against_each_other() -> None:
    other = course("ResNet-14", kind="a", depth=14)
    assert not lab.seen([course("plain-8"), other])
    slower = course("plain-14", depth=14)
    assert not lab.seen([course("plain-8"), replace(slower, recipe=replace(slower.recipe, lr=0.01))])


def test_nets_of_one_depth_are_put_in_order() -> None:
    runs = [
        course("ResNet-8 C", kind="c", train_loss=0.48),
        course("ResNet-8", kind="a", train_loss=0.0002),
        course("ResNet-8", kind="a", seed=1, train_loss=0.0004),
        course("plain-8", train_loss=0.0135),
    ]
    told = "Of 8 layers, by training loss: ResNet-8 0.0003, plain-8 0.013, ResNet-8 C 0.48."
    assert lab.seen(runs) == [told]
    assert lab.seen([*runs, course("ResNet-8 B", kind="b", at=9)]) == [told], "it has not ended"
    lagging = course("ResNet-8 B", kind="b", train_loss=3e8, batch_loss=0.2)
    assert "by loss on the batches: " in lab.seen([*runs, lagging])[0]


def test_a_run_that_has_not_ended_is_in_no_sentence() -> None:
    assert not lab.seen([course("plain-8"), course("plain-14", depth=14, at=9)])


def test_the_sentence_is_on_the_shallowest_and_the_deepest() -> None:
    (sentence,) = lab.seen([course(f"plain-{depth}", depth=depth) for depth in (14, 20, 8)])
    assert "plain-20" in sentence
    assert "plain-8" in sentence
    assert "plain-14" not in sentence


@pytest.mark.parametrize(
    ("norms", "words"),
    [
        ((0.048, 1.0, 0.04), "0.048 behind its first block, 0.04 behind its last: it has not vanished"),
        ((0.01, 0.1), "0.01 behind its first block, 0.1 behind its last: it has not vanished"),
        ((0.001, 1.0), "it is 1,000 times smaller there"),
        ((0.0, 1.0), "nothing arrives there"),
    ],
)
def test_the_gradient_of_the_deepest_plain_net_is_told(norms: tuple[float, ...], words: str) -> None:
    runs = [course("plain-8", norms=(9.0, 9.0)), course("plain-14", depth=14, norms=norms)]
    _, sentence = lab.seen(runs)
    assert sentence.startswith("At its last step plain-14 has a gradient norm of ")
    assert words in sentence
    assert not lab.seen([course("ResNet-8", kind="a", norms=norms)])


def test_a_run_that_diverged_is_named() -> None:
    assert lab.seen([course("wild", seed=2, at=5, diverged=True)]) == [
        "wild with seed 2 diverged at step 5: its loss or a weight was no finite number any more."
    ]


def test_a_run_that_diverged_at_its_last_step_has_not_ended() -> None:
    assert not course(diverged=True).ended
    assert course().ended
    assert not Course("new", planned()[0][1]).ended
