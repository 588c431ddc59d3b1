"""The runs that lessons put into the lab: what their texts say, and what the lab takes."""

import json
import math
from pathlib import Path

import pytest
import recordings

from explorer.models.resnet import build
from explorer.models.variants import variant
from explorer.training import shipped
from explorer.training.datasets import entry
from explorer.training.lab import checked, degradation_in_30_seconds
from explorer.training.lessons import D2L_EPOCHS, D2L_PICTURES, RUNS, d2l_recipe, d2l_spec, recorded_for

BOOK = json.loads((Path(__file__).parents[1] / "tables" / "d2l_resnet18.json").read_text())["recipe"]
DIGITS = {"width": 8, "in_channels": 1, "image_size": (8, 8)}


@pytest.mark.parametrize("name", list(RUNS))
def test_the_lab_takes_them(name: str) -> None:
    planned = RUNS[name]()
    assert checked(planned) == planned, "each of its own name, and not too long"
    for _, recipe in planned:
        data = entry(recipe.data)
        spec = recipe.spec
        assert (spec.in_channels, spec.image_size, spec.num_classes) == (data.channels, data.size, len(data.classes))


def test_the_first_is_the_labs_default() -> None:
    assert RUNS["plain"]() == degradation_in_30_seconds()


def test_the_options_differ_in_nothing_else() -> None:
    planned = RUNS["shortcuts"]()
    assert [recipe.spec for _, recipe in planned] == [variant(name, 56, **DIGITS) for name in ("a", "b", "c")]
    assert len({(recipe.lr, recipe.steps, recipe.batch, recipe.seed) for _, recipe in planned}) == 1


def test_warm_up_is_the_papers_rule_and_the_only_difference() -> None:
    (_, without), (name, with_it) = RUNS["warm-up"]()
    assert without.spec == with_it.spec == variant("a", 110, **DIGITS)
    assert (without.warmup_error, with_it.warmup_error) == (None, 80)
    assert name == "ResNet-110, warm-up"
    assert with_it.lr == 0.1


def test_identity_mapping_is_pre_activation_at_110() -> None:
    assert [recipe.spec for _, recipe in RUNS["identity"]()] == [
        variant(name, 110, **DIGITS) for name in ("a", "preact")
    ]


def test_the_books_recipe() -> None:
    (_, small), (_, whole) = *RUNS["d2l"](), *RUNS["d2l-full"]()
    for recipe in (small, whole):
        assert (recipe.lr, recipe.batch) == (BOOK["lr"], BOOK["batch_size"])
        assert (recipe.momentum, recipe.weight_decay, recipe.schedule) == (0, 0, "constant")
        assert recipe.spec.image_size == (BOOK["resize"], BOOK["resize"])
        assert recipe.spec.init == "xavier"
        assert recipe.spec.depth == 18
        assert entry(recipe.data).train == D2L_PICTURES == 10_000
    batches = math.ceil(D2L_PICTURES / BOOK["batch_size"])
    assert small.steps == BOOK["num_epochs"] * batches
    assert BOOK["num_epochs"] == D2L_EPOCHS
    assert whole.steps == batches
    assert (small.spec.width, whole.spec.width) == (16, 64)
    assert d2l_recipe(64, 5).spec == d2l_spec()
    # torchvision's ResNet-18 with one channel in (7 x 7 x 64 weights instead of thrice as many) and ten classes
    params = sum(parameter.numel() for parameter in build(d2l_spec(), "meta").parameters())
    assert params == 11_689_512 - 2 * 7 * 7 * 64 - 513 * 990


def test_a_lesson_shows_the_recorded_runs_that_belong_to_it(tmp_path: Path) -> None:
    for name, depth in (("plain", 20), ("a", 20), ("b", 20), ("c", 56), ("a", 110), ("preact", 110), ("a", 8)):
        recordings.write(tmp_path, name, depth)
    recordings.write(tmp_path, "plain", 56, data="shapes")
    nets = shipped.nets(shipped.shipped(tmp_path))
    found = {name: [net.title for net in recorded_for(name, nets)] for name in (*RUNS, "thousand")}
    assert found == {
        "plain": ["plain-20", "ResNet-20"],
        "shortcuts": ["ResNet-20", "ResNet-110", "ResNet-20 B", "ResNet-56 C"],
        "thousand": ["ResNet-110"],
        "warm-up": ["ResNet-110"],
        "identity": ["ResNet-110", "ResNet-110 pre-activation"],
        "d2l": [],
        "d2l-full": [],
    }
