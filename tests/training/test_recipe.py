import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs

from explorer.models.variants import variant
from explorer.spec import ResNetSpec, SpecError
from explorer.training.recipe import Recipe, RecipeError

RECIPE = Recipe(variant("a", 20))


def test_the_papers_schedule() -> None:
    # He et al. 2015, section 4.2: 0.1, divided by 10 at 32k and 48k of 64k iterations
    paper = replace(RECIPE, steps=64_000, schedule="steps", milestones=(32 / 64, 48 / 64))
    assert [paper.rate(step) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_cosine_falls_from_the_rate_to_nothing() -> None:
    cosine = replace(RECIPE, steps=100, schedule="cosine")
    assert cosine.rate(0) == 0.1
    assert cosine.rate(50) == pytest.approx(0.05)
    assert cosine.rate(25) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2)
    assert 0 < cosine.rate(99) < 1e-4


def test_warm_up_rises_from_a_tenth_and_the_cosine_begins_behind_it() -> None:
    warm = replace(RECIPE, steps=110, schedule="cosine", warmup_steps=10)
    assert [warm.rate(step) for step in (0, 5, 10, 60)] == pytest.approx([0.01, 0.055, 0.1, 0.05])


@given(
    specs(),
    st.integers(1, 10**6),
    st.sampled_from(["constant", "steps", "cosine"]),
    st.floats(1e-6, 10),
    st.none() | st.floats(1, 100),
)
@FEW
def test_a_recipe_is_read_back_from_its_json(
    spec: ResNetSpec, steps: int, schedule: Any, lr: float, warmup: float | None
) -> None:
    recipe = Recipe(spec, steps=steps, schedule=schedule, lr=lr, warmup_error=warmup)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.key == recipe.key


def test_the_key_is_the_recipes_own() -> None:
    """Every field bears on it, and the order in which JSON has them does not."""
    changes: dict[str, Any] = {
        "spec": variant("a", 8),
        "data": "shapes",
        "steps": 401,
        "batch": 99,
        "lr": 0.2,
        "momentum": 0.8,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "milestones": (0.5,),
        "warmup_steps": 1,
        "warmup_error": 80.0,
        "augmentation": "crop",
        "precision": "bfloat16",
        "seed": 1,
        "record_every": 10,
        "test_every": 80,
        "probe": 100,
        "tested": 100,
    }
    assert set(changes) == {field.name for field in fields(Recipe)}
    keys = [replace(RECIPE, **{name: value}).key for name, value in changes.items()]
    assert len({RECIPE.key, *keys}) == 1 + len(changes)
    values = json.loads(RECIPE.to_json())
    assert Recipe.from_json(json.dumps(dict(reversed(values.items())))).key == RECIPE.key
    assert len(RECIPE.key) == 16
    assert replace(RECIPE, lr=1).key == replace(RECIPE, lr=1.0).key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, r"steps \(=0\) must be a whole number from 1"),
        ({"steps": 2.5}, r"steps \(=2.5\)"),
        ({"batch": True}, r"batch \(=True\)"),
        ({"seed": -1}, r"seed \(=-1\)"),
        ({"warmup_steps": 401}, r"warmup_steps \(=401\) must be a whole number from 0 to 400"),
        ({"lr": 0}, r"lr \(=0\) must be a number above 0, to 1e\+30"),
        ({"lr": math.nan}, r"lr \(=nan\)"),
        ({"lr": math.inf}, r"lr \(=inf\)"),
        ({"lr": 10**400}, "lr"),
        ({"lr": "fast"}, r"lr \(='fast'\) must be a number above 0"),
        ({"momentum": 1.0}, r"momentum \(=1.0\) must be a number from 0 to below 1"),
        ({"weight_decay": -1}, r"weight_decay \(=-1\)"),
        ({"warmup_error": 0}, r"warmup_error \(=0\)"),
        ({"schedule": "linear"}, r"schedule \(='linear'\) must be one of constant, steps, cosine"),
        ({"augmentation": "flip"}, r"augmentation \(='flip'\) must be one of none, crop, crop_flip"),
        ({"precision": "half"}, r"precision \(='half'\)"),
        ({"milestones": (0.75, 0.5)}, r"milestones \(=\(0.75, 0.5\)\) must be shares"),
        ({"milestones": (0.5, 1.5)}, r"milestones"),
        ({"milestones": ("a",)}, r"milestones"),
        ({"test_every": 7}, r"test_every \(=7\) must be a multiple of record_every \(=5\)"),
        ({"probe": 0}, r"probe \(=0\)"),
        ({"data": ""}, r"data \(=''\)"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        replace(RECIPE, **change)


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"spec": 1}', "[" * 100_000])
def test_text_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="must be a JSON object"):
        Recipe.from_json(text)


def test_an_unknown_field_and_a_net_that_cannot_be_are_named() -> None:
    with pytest.raises(RecipeError, match="'epochs' is not a field of a recipe; there are spec, data, steps"):
        Recipe.from_json('{"spec": {}, "epochs": 3}')
    with pytest.raises(SpecError, match="depths"):
        Recipe.from_json('{"spec": {"depths": "many"}}')
