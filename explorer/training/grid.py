"""A grid of recipes: what all runs of a sweep share, and in what they differ.

It is written in TOML, in two tables. `base` holds what all runs share, `axes` a list for each thing that changes; every
combination is a run.

    [base]
    data = "digits"
    steps = 400
    width = 8

    [axes]
    variant = ["plain", "a"]
    depth = [20, 56]
    seed = [0, 1, 2]
    lr = [0.1, 0.05]

Either table may hold

- `variant` and `depth`: a net of `explorer.models.variants`; or `net`: a preset with changes, "resnet18 width=16" say;
- any field of a `Recipe` but its spec;
- any field of a `ResNetSpec` but `in_channels`, `image_size` and `num_classes`, which are the data set's.

What is a list itself, `milestones = [0.5, 0.75]` in `base`, is a list of lists in `axes`. "none" is the None of a field
that may be None, `warmup_error = ["none", 80.0]` say. What is left out has its default.

>>> Grid.read('[axes]\\nvariant = ["plain", "a"]\\ndepth = [20, 56]\\nseed = [0, 1, 2]').size
12
"""

import difflib
import itertools
import json
import math
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_origin, get_type_hints

from explorer.errors import Refusal
from explorer.models.variants import VARIANTS, variant
from explorer.spec import ResNetSpec, knob
from explorer.training.datasets import Dataset, load
from explorer.training.recipe import Recipe

OF_DATA = ("in_channels", "image_size", "num_classes")  # fields of the net that the data set decides
_RECIPE = {
    name: hint for name, hint in get_type_hints(Recipe).items() if name in {item.name for item in fields(Recipe)}
}
_SPEC = [item.name for item in fields(ResNetSpec) if item.name not in OF_DATA]
_NET: dict[str, Any] = {"variant": str, "depth": int, "net": str}
_KNOWN = [*_NET, *(name for name in _RECIPE if name != "spec"), *_SPEC]
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    tuple: "a list of numbers",
}


class GridError(Refusal):
    """A grid that cannot be; the message names the key, its value and what would be right."""


@dataclass(frozen=True)
class Grid:
    """What is the same in all runs, by name, and the values of what is not.

    Raises:
        GridError: an unknown name, a value of a wrong type, an axis without values or with one twice, a name in both,
            no net or two. What is out of range shows when the recipes are made.
    """

    base: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        for name in (*self.base, *self.axes):
            _check_name(name)
            if name in self.base and name in self.axes:
                raise GridError(f"{name} is both in base and in axes; it must be in one of them.")
        for name, values in self.axes.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise GridError(f"{name} (={_short(values)}) is an axis and must be a list of one value or more.")
        # Typed, so that 1 and 1.0 make the same recipe
        object.__setattr__(self, "base", {name: _typed(name, value) for name, value in self.base.items()})
        axes = {name: tuple(_typed(name, value) for value in values) for name, values in self.axes.items()}
        object.__setattr__(self, "axes", axes)
        for name, values in axes.items():
            for place, value in enumerate(values):
                if value in values[:place]:
                    raise GridError(f"{name} (={_short(value)}) is twice in its axis; once would be right.")
        given = {*self.base, *axes} & {*_NET}
        if given not in ({"variant", "depth"}, {"net"}):
            there = f"it has {' and '.join(sorted(given))}" if given else "it has none of them"
            raise GridError(f"A grid needs variant and depth, or net alone; {there}.")

    @classmethod
    def read(cls, text: str) -> "Grid":
        """The grid of a TOML text, as above.

        Raises:
            GridError: it is not TOML, or no grid.
        """
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise GridError(f"The grid is not TOML: {error}.") from error
        for name, table in tables.items():
            if name not in ("base", "axes"):
                where = f"put {name} below [base] or [axes]" if name in _KNOWN else "there are base and axes"
                raise GridError(f"{_short(name)} is no table of a grid; {where}.")
            if not isinstance(table, dict):
                raise GridError(f"{name} (={_short(table)}) must be a table, with [{name}] above its lines.")
        return cls(tables.get("base", {}), tables.get("axes", {}))

    def to_toml(self) -> str:
        """The text that `read` reads back."""
        tables = []
        for name, table in (("base", self.base), ("axes", self.axes)):
            lines = [f"{key} = {_text(list(value) if name == 'axes' else value)}" for key, value in table.items()]
            tables.append("\n".join([f"[{name}]", *lines, ""]))
        return "\n".join(tables)

    @property
    def size(self) -> int:
        """How many runs it has."""
        return math.prod(len(values) for values in self.axes.values())

    def recipes(self, loading: Callable[[str], Dataset] = load) -> list[Recipe]:
        """Every combination, the last axis changing first.

        The data sets are loaded for their sizes; what must be downloaded is there then, before anything starts.

        Raises:
            GridError, RecipeError, SpecError: a run that cannot be. DataError: a data set that cannot be had.
        """
        sizes: dict[str, dict[str, Any]] = {}
        recipes = []
        for values in itertools.product(*self.axes.values()):
            settings = {**self.base, **dict(zip(self.axes, values, strict=True))}
            own = {name: settings[name] for name in _RECIPE if name in settings}
            name = own.setdefault("data", Recipe.data)
            if name not in sizes:
                data = loading(name)
                sizes[name] = dict(zip(OF_DATA, (data.channels, data.size, len(data.classes)), strict=True))
            recipes.append(Recipe(_spec(settings, sizes[name]), **own))
        return recipes


def _spec(settings: Mapping[str, Any], of_data: Mapping[str, Any]) -> ResNetSpec:
    changes = {name: settings[name] for name in _SPEC if name in settings}
    if "net" in settings:
        return replace(ResNetSpec.from_text(settings["net"]), **changes, **of_data)
    name, depth = settings["variant"], settings["depth"]
    for field in changes:
        if name in VARIANTS and (field == "depths" or field in VARIANTS[name].changes):
            raise GridError(
                f"{field} (={_short(changes[field])}) is what variant {name} and depth decide; leave it out."
            )
    return variant(name, depth, **changes, **of_data)


def _check_name(name: str) -> None:
    if name in OF_DATA:
        raise GridError(f"{name} is the data set's; leave it out.")
    if name not in _KNOWN:
        near = difflib.get_close_matches(name, _KNOWN, n=3)
        meant = f"did you mean {' or '.join(near)}" if near else f"there are {', '.join(_KNOWN)}"
        raise GridError(f"{_short(name)} is nothing that a grid can say; {meant}.")


def _typed(name: str, value: Any) -> Any:
    """The value as its field has it: TOML has lists and not tuples, and people write 1 for 1.0."""
    kind, optional = _kind(name)
    if optional and value in (None, "none"):
        return None
    if kind is float and type(value) is int:
        value = _as_float(value)
    if kind is tuple and isinstance(value, list | tuple):
        value = tuple(_as_float(item) if name == "milestones" else item for item in value)
    # bool is an int to Python
    numbers = value if isinstance(value, tuple) else ()
    if type(value) is not kind or not all(type(number) in (int, float) for number in numbers):
        right = _WORDS[kind] + (', or "none"' if optional else "")
        raise GridError(f"{name} (={_short(value)}) must be {right}.")
    return value


def _as_float(value: Any) -> Any:
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return math.inf  # no field's range holds it


def _kind(name: str) -> tuple[type, bool]:
    """The type of a field's value, and whether None is one too."""
    if name in _SPEC:
        rules = knob(name)
        like = rules.choices[0] if rules.choices else rules.default
        return int if like is None else type(like), rules.optional
    hint = (_NET | _RECIPE)[name]
    optional = isinstance(hint, types.UnionType)
    if optional:
        (hint,) = (item for item in get_args(hint) if item is not types.NoneType)
    if get_origin(hint) is tuple:
        return tuple, optional
    return (hint, optional) if isinstance(hint, type) else (str, optional)  # a Literal


def _text(value: Any) -> str:
    """The value in TOML, which for what a grid holds is JSON."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return json.dumps("none" if value is None else value, ensure_ascii=False)


def _short(value: Any) -> str:
    """The value as a sentence can hold it."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
