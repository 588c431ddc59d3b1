"""What a sweep's result files say together: a table of runs, errors by depth over seeds, curves."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow.parquet as pq

from explorer.models.variants import VARIANTS, variant
from explorer.spec import ResNetSpec
from explorer.training import recorded
from explorer.training.grid import OF_DATA
from explorer.training.recipe import Recipe
from explorer.training.recorded import Recorded, RecordedError
from explorer.training.run import Record

MEASURED = ("batch_loss", "batch_error", "train_loss", "train_error", "test_loss", "test_error")
MOST_NUMBERS = 2_500_000  # in a file; ResNet-1202 with 3,200 records has 2 million
MOST_TOGETHER = 10_000_000  # in files that are read together


def results(folder: Path) -> list[Recorded]:
    """Every finished run in a results folder, in the order of the files' names.

    Raises:
        RecordedError: the folder is not there, or a file in it is no recorded run.
    """
    return [read(file) for file in result_files(folder)]


def summary(folder: Path) -> pd.DataFrame:
    """The `table` of a results folder; raises as `results`."""
    return table(results(folder))


def result_files(folder: Path) -> list[Path]:
    """The files of finished runs in a folder; raises RecordedError where there is no such folder."""
    if not folder.is_dir():
        raise RecordedError(f"The results folder (={folder}) is not there; `python -m explorer sweep` makes one.")
    return sorted(folder.glob("*.parquet"))


def read(file: Path | BinaryIO) -> Recorded:
    """A recorded run that may be a stranger's; a stream must have a name.

    Raises:
        RecordedError: it is none, or larger than any can be.
    """
    name = Path(file.name).name
    numbers = _numbers(file)
    if numbers > MOST_NUMBERS:
        raise RecordedError(f"{name} holds {numbers:,} numbers; a recorded run has {MOST_NUMBERS:,} at most.")
    if not isinstance(file, Path):
        file.seek(0)
    run = recorded.read(file)
    numbers_in = run.records[[name for name in run.records if name not in ("gradient_norms", "diverged")]]
    typed = all(map(pd.api.types.is_numeric_dtype, numbers_in.dtypes))
    if not typed or run.records.empty or not isinstance(run.about, dict):
        raise RecordedError(f"{name} has not the numbers of a recorded run; it must be a file of this program.")
    return run


def _numbers(file: Path | BinaryIO) -> int:
    """How many numbers a Parquet file holds; a few bytes may stand for billions of equal ones. 0 for another file."""
    try:
        about = pq.ParquetFile(file).metadata
    except Exception:  # whatever a strange file makes of the reader
        return 0
    groups = [about.row_group(place) for place in range(about.num_row_groups)]
    return sum(group.column(place).num_values for group in groups for place in range(group.num_columns))


def read_all(
    files: Sequence[Path | BinaryIO], report: Callable[[float, str], None] = lambda fraction, text: None
) -> tuple[list[Recorded], list[str]]:
    """The runs in some files, and a sentence for each file that is left out.

    That is one that is none, one with the same run again, and those behind `MOST_TOGETHER` numbers.
    """
    runs: dict[Recipe, Recorded] = {}
    problems = []
    numbers = 0
    for place, file in enumerate(files):
        report(place / len(files), f"File {place + 1} of {len(files)}")
        numbers += _numbers(file)
        if numbers > MOST_TOGETHER:
            problems.append(
                f"Only the first {place} of {len(files)} files are read: more would be too much for memory."
            )
            break
        try:
            run = read(file)
        except RecordedError as refusal:
            problems.append(str(refusal))
            continue
        if run.recipe in runs:
            problems.append(f"{Path(file.name).name} is left out: its run is there already.")
        runs.setdefault(run.recipe, run)
    return list(runs.values()), problems


def table(runs: Sequence[Recorded]) -> pd.DataFrame:
    """A row a run, by variant, depth and seed: how it ended.

    key: of the recipe. net: its name, with what sets it apart from others in this table. family: the same without
    depth. variant: a key of `VARIANTS` or missing. depth: convolutions and linear layers. seed, data, steps: the
    recipe's, and behind them its other fields in which these runs differ. batch_loss to test_error: as `Record` has
    them, at the last record; missing where the run diverged. seconds: of training and measuring. diverged. hardware.
    """
    named = _named([run.recipe for run in runs])
    columns = [name for name in named.varying if name in _fields() and name not in ("data", "steps")]
    rows = []
    for run, net, family in zip(runs, named.nets, named.families, strict=True):
        recipe, last = run.recipe, run.records.iloc[-1]
        rows.append(
            {
                "key": recipe.key,
                "net": net,
                "family": family,
                "variant": _nearest(recipe.spec),
                "depth": recipe.spec.depth,
                "seed": recipe.seed,
                "data": recipe.data,
                "steps": recipe.steps,
                **{name: _plain(getattr(recipe, name)) for name in columns},
                **{name: math.nan if last["diverged"] else _finite(last[name]) for name in MEASURED},
                "seconds": float(last["seconds"]),
                "diverged": bool(last["diverged"]),
                "hardware": run.about.get("hardware"),
            }
        )
    names = ["key", "net", "family", "variant", "depth", "seed", "data", "steps", *columns]
    made = pd.DataFrame(rows, columns=[*names, *MEASURED, "seconds", "diverged", "hardware"])
    made = made.astype(dict.fromkeys(MEASURED, "float64"))
    place = made.variant.map({name: place for place, name in enumerate(VARIANTS)}).rename("place")
    order = pd.concat([place, made[["family", "depth", "seed"]]], axis=1).sort_values(
        ["place", "family", "depth", "seed"], kind="stable"
    )
    return made.loc[order.index].reset_index(drop=True)


def shared(runs: Sequence[Recorded]) -> dict[str, str]:
    """What all these runs have in common, name to value as text: the recipe's fields, and where the nets differ alike
    from their variants."""
    return {name: _plain(value) for name, value in _shared([_settings(run.recipe) for run in runs]).items()}


def names(recipes: Sequence[Recipe]) -> list[str]:
    """The name of each recipe's net, with what sets it apart from the others, its seed aside.

    >>> names([Recipe(variant("a", 20)), Recipe(variant("a", 20, width=8), lr=0.05)])
    ['ResNet, option A, depth 20, lr = 0.1', 'ResNet, option A, depth 20, lr = 0.05, width = 8']
    """
    return _named(recipes).nets


def by_depth(runs: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """A row for each family and depth: the median of a quantity over seeds, the lowest and the highest.

    Over those runs that have it: `seeds` is how many there are, `missing` how many have diverged or measured none.

    Args:
        runs: a `table`.
        quantity: one of `MEASURED`.
    """
    grouped = runs.groupby(["family", "depth"], sort=False)[quantity]
    rows = grouped.agg(
        median="median", low="min", high="max", seeds="count", missing=lambda values: values.isna().sum()
    )
    return rows.reset_index()


def curves(runs: Sequence[Recorded]) -> pd.DataFrame:
    """All records of one run or more, one below the other in `table`'s order; in front its `key`, `net` and `seed`."""
    records = {run.recipe.key: run.records for run in runs}
    rows = table(runs)
    tables = [
        records[key].assign(key=key, net=net, seed=seed)
        for key, net, seed in zip(rows.key, rows.net, rows.seed, strict=True)
    ]
    first = ["key", "net", "seed"]
    return pd.concat(tables, ignore_index=True)[[*first, *(item.name for item in dataclasses.fields(Record))]]


@dataclass(frozen=True)
class _Named:
    """What recipes are called beside each other, and the settings in which they differ, seeds aside."""

    nets: list[str]
    families: list[str]
    varying: list[str]


def _named(recipes: Sequence[Recipe]) -> _Named:
    told = [_settings(recipe) for recipe in recipes]
    same = _shared(told)
    varying = list(dict.fromkeys(name for settings in told for name in settings if name not in same))
    nets, families = [], []
    for recipe, settings in zip(recipes, told, strict=True):
        short = _nearest(recipe.spec)
        title = recipe.spec.to_text() if short is None else VARIANTS[short].title
        apart = [f"{name} = {_plain(settings[name])}" for name in varying if name in settings]
        nets.append(", ".join([title, *([] if short is None else [f"depth {recipe.spec.depth}"]), *apart]))
        families.append(", ".join([title, *apart]))
    return _Named(nets, families, varying)


def _nearest(spec: ResNetSpec) -> str | None:
    if spec.block != "basic" or spec.stem != "cifar" or len(spec.depths) != 3 or len(set(spec.depths)) != 1:
        return None
    return min(VARIANTS, key=lambda name: len(spec.differences(_twin(name, spec))))


def _twin(name: str, spec: ResNetSpec) -> ResNetSpec:
    """The variant of the same number of blocks, on the same data."""
    return variant(name, 6 * spec.depths[0] + 2, **{field: getattr(spec, field) for field in OF_DATA})


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All that a run may have in common with another: the recipe's fields, and what its net has beside its variant."""
    settings = {name: getattr(recipe, name) for name in _fields()}
    short = _nearest(recipe.spec)
    if short is not None:
        twin = _twin(short, recipe.spec)
        settings |= {name: getattr(recipe.spec, name) for name in recipe.spec.differences(twin)}
    return settings


def _fields() -> list[str]:
    return [item.name for item in dataclasses.fields(Recipe) if item.name not in ("spec", "seed")]


def _shared(all_settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = all_settings[0] if all_settings else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in settings and settings[name] == value for settings in all_settings)
    }


def _plain(value: Any) -> Any:
    """A field's value as a table can hold it."""
    return "none" if value is None else value if isinstance(value, int | float | str) else json.dumps(value)


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan
