"""What a grid says, and what it refuses."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW

from explorer.errors import Refusal
from explorer.models.variants import VARIANTS, variant
from explorer.spec import PRESETS, ResNetSpec
from explorer.training import grid as module
from explorer.training.datasets import Dataset, load
from explorer.training.grid import Grid
from explorer.training.recipe import Recipe

OF_DIGITS = {"in_channels": 1, "image_size": (8, 8), "num_classes": 10}
NET = {"variant": ["a"], "depth": [8]}


def test_the_example_of_the_docstring_is_the_product_of_its_axes() -> None:
    assert module.__doc__ is not None
    example = "\n".join(line.strip() for line in re.findall(r"^    [\[a-z].*$", module.__doc__, re.MULTILINE))
    grid = Grid.read(example)
    assert grid.size == 2 * 2 * 3 * 2
    assert grid.recipes() == [
        Recipe(variant(name, depth, width=8, **OF_DIGITS), "digits", steps=400, lr=lr, seed=seed)
        for name in ("plain", "a")
        for depth in (20, 56)
        for seed in (0, 1, 2)
        for lr in (0.1, 0.05)
    ]


def test_the_net_takes_channels_size_and_classes_from_the_data_set() -> None:
    (digits, shapes) = Grid({}, {**NET, "data": ["digits", "shapes"]}).recipes()
    assert (digits.spec.in_channels, digits.spec.image_size, digits.spec.num_classes) == (1, (8, 8), 10)
    data = load("shapes")
    assert (shapes.spec.in_channels, shapes.spec.image_size) == (3, (32, 32))
    assert shapes.spec.num_classes == len(data.classes)


def test_each_data_set_is_loaded_once_and_before_any_recipe_is_there() -> None:
    loaded: list[str] = []

    def loading(name: str) -> Dataset:
        loaded.append(name)
        return load("digits")

    Grid({"data": "elsewhere"}, {**NET, "seed": range(5)}).recipes(loading)
    assert loaded == ["elsewhere"]


def test_a_preset_with_changes_is_a_net_too() -> None:
    (first, second) = Grid(
        {"norm": "group", "data": "shapes"}, {"net": ["resnet18 width=8", "cifar_resnet20"]}
    ).recipes()
    assert first.spec.differences(PRESETS["resnet18"]) == ("width", "norm", "num_classes", "image_size")
    assert second.spec.differences(PRESETS["cifar_resnet20"]) == ("norm",)


def test_a_list_in_base_is_a_value_and_in_axes_a_list_of_values() -> None:
    base = Grid({"milestones": [0.25, 0.5]}, NET)
    axis = Grid({}, {**NET, "milestones": [[0.25], [0.25, 0.5], []]})
    assert [recipe.milestones for recipe in base.recipes()] == [(0.25, 0.5)]
    assert [recipe.milestones for recipe in axis.recipes()] == [(0.25,), (0.25, 0.5), ()]


def test_whole_numbers_make_the_recipes_of_their_floats() -> None:
    (recipe,) = Grid({"lr": 1, "weight_decay": 0}, NET).recipes()
    assert recipe == Recipe(variant("a", 8, **OF_DIGITS), lr=1.0, weight_decay=0.0)
    assert recipe.key == Recipe(variant("a", 8, **OF_DIGITS), lr=1.0, weight_decay=0.0).key


def test_none_is_a_value_where_a_field_may_have_none() -> None:
    recipes = Grid({"stem_width": "none"}, {**NET, "warmup_error": ["none", 80]}).recipes()
    assert [recipe.warmup_error for recipe in recipes] == [None, 80.0]
    assert {recipe.spec.stem_width for recipe in recipes} == {None}


AXES = '[axes]\nvariant = ["a"]\ndepth = [8]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[axes\n", "The grid is not TOML"),
        ("a = 1\na = 2\n", "The grid is not TOML"),
        (f"x = {'[' * 5000}", "The grid is not TOML"),
        (f"x = {'9' * 5000}", "The grid is not TOML"),
        ("", "A grid needs variant and depth, or net alone; it has none of them."),
        ('[axes]\nvariant = ["a"]\n', "A grid needs variant and depth, or net alone; it has variant."),
        (f'[base]\nnet = "resnet18"\n{AXES}', "it has depth and net and variant."),
        ("lr = 0.1\n", "'lr' is no table of a grid; put lr below [base] or [axes]."),
        ("[grid]\n", "'grid' is no table of a grid; there are base and axes."),
        ("base = 3\n", "base (=3) must be a table, with [base] above its lines."),
        (f"[base]\nlearning_rate = 1\n{AXES}", "'learning_rate' is nothing that a grid can say; "),
        (f"[base]\nwidht = 8\n{AXES}", "'widht' is nothing that a grid can say; did you mean width"),
        (f"[base]\nspec = 8\n{AXES}", "'spec' is nothing that a grid can say; "),
        (f"[base]\nin_channels = 1\n{AXES}", "in_channels is the data set's; leave it out."),
        (f"{AXES}num_classes = [1]\n", "num_classes is the data set's; leave it out."),
        (f"[base]\nseed = 1\n{AXES}seed = [0]\n", "seed is both in base and in axes; it must be in one of them."),
        (f"{AXES}seed = []\n", "seed (=[]) is an axis and must be a list of one value or more."),
        (f"{AXES}seed = 3\n", "seed (=3) is an axis and must be a list of one value or more."),
        (f"{AXES}seed = [0, 1, 0]\n", "seed (=0) is twice in its axis; once would be right."),
        (f"{AXES}lr = [1, 1.0]\n", "lr (=1.0) is twice in its axis; once would be right."),
        (f"{AXES}seed = [true]\n", "seed (=True) must be a whole number."),
        (f"{AXES}seed = [0.5]\n", "seed (=0.5) must be a whole number."),
        (f"{AXES}lr = ['fast']\n", "lr (='fast') must be a number."),
        (f"{AXES}lr = [true]\n", "lr (=True) must be a number."),
        (f"{AXES}warmup_error = ['x']\n", "warmup_error (='x') must be a number, or \"none\"."),
        (f"{AXES}lr = ['none']\n", "lr (='none') must be a number."),
        (f"[base]\nmilestones = 0.5\n{AXES}", "milestones (=0.5) must be a list of numbers."),
        (f"[base]\nmilestones = ['x']\n{AXES}", "milestones (=('x',)) must be a list of numbers."),
        (f"[base]\nmilestones = [true]\n{AXES}", "milestones (=(True,)) must be a list of numbers."),
        (f"[base]\ndata = 3\n{AXES}", "data (=3) must be a text in quotes."),
        (f"[base]\nresidual = 1\n{AXES}", "residual (=1) must be true or false."),
        (f"[base]\nnorm = 1979-05-27\n{AXES}", "norm (=datetime.date(1979, 5, 27)) must be a text in quotes."),
        ('[axes]\nvariant = ["a"]\ndepth = ["8"]\n', "depth (='8') must be a whole number."),
        # Found when the recipes are made
        ('[axes]\nvariant = ["d"]\ndepth = [8]\n', "variant (='d') must be one of plain, a"),
        ('[axes]\nvariant = ["a"]\ndepth = [8, 9]\n', "depth (=9) must be 6n + 2"),
        ('[base]\nnet = "resnet17"\n', "net (='resnet17') is not a preset"),
        (f"{AXES}lr = [0.1, -1]\n", "lr (=-1.0) must be a number above 0, to 1e+30."),
        (f"{AXES}lr = [1{'0' * 400}]\n", "lr (=inf) must be a number above 0, to 1e+30."),
        (f"{AXES}momentum = [nan]\n", "momentum (=nan) must be a number from 0 to below 1."),
        (f"{AXES}steps = [0]\n", "steps (=0) must be a whole number from 1 to"),
        (f"{AXES}schedule = ['linear']\n", "schedule (='linear') must be one of"),
        (f"{AXES}width = [0]\n", "width (=0) must be a whole number from 1 to 512."),
        (f"{AXES}depths = [[1, 1, 1]]\n", "depths (=(1, 1, 1)) is what variant a and depth decide; leave it out."),
        (
            '[base]\nresidual = true\n[axes]\nvariant = ["plain"]\ndepth = [8]\n',
            "residual (=True) is what variant plain and depth decide; leave it out.",
        ),
        (f"[base]\ndata = 'digitz'\n{AXES}", "digitz"),
    ],
)
def test_what_is_no_grid_gets_a_sentence_with_key_and_value(text: str, said: str) -> None:
    with pytest.raises(Refusal, match=re.escape(said)) as refused:
        Grid.read(text).recipes()
    assert str(refused.value).count("\n") <= 1


_VALUES: dict[str, Callable[[], st.SearchStrategy[object]]] = {
    "seed": lambda: st.integers(0, 1000),
    "lr": lambda: st.floats(1e-6, 10),
    "milestones": lambda: st.lists(st.floats(0.1, 0.9), max_size=3).map(lambda values: tuple(sorted(values))),
    "warmup_error": lambda: st.none() | st.floats(1, 100),
    "data": lambda: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=9),
    "residual": lambda: st.booleans(),
    "kernel_size": lambda: st.sampled_from((3, 5, 7)),
}


@FEW
@given(st.data())
def test_what_is_written_is_read_back(data: st.DataObject) -> None:
    axes = {
        name: tuple(data.draw(st.lists(make(), min_size=1, max_size=3, unique=True)))
        for name, make in _VALUES.items()
        if data.draw(st.booleans())
    }
    base = {name: data.draw(make()) for name, make in _VALUES.items() if name not in axes}
    grid = Grid(base, {"variant": list(VARIANTS), "depth": (8, 110), **axes})
    assert Grid.read(grid.to_toml()) == grid


def test_equal_grids_make_equal_recipes_whatever_the_order_of_their_lines() -> None:
    first = Grid({"steps": 10, "lr": 0.2}, {"variant": ["a"], "depth": [8, 14]})
    second = Grid({"lr": 0.2, "steps": 10}, {"depth": [8, 14], "variant": ["a"]})
    assert set(first.recipes()) == set(second.recipes())
    assert all(isinstance(recipe.spec, ResNetSpec) for recipe in first.recipes())
