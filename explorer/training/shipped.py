"""The recorded runs that ship with the app: which there are, by net, and as tables."""

import io
import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median

import pandas as pd

from explorer.errors import Refusal
from explorer.models.variants import VARIANTS, variant
from explorer.spec import ResNetSpec, SpecError
from explorer.training.datasets import DataError, entry
from explorer.training.lab import net_name
from explorer.training.recipe import Recipe
from explorer.training.recorded import Recorded, read

FOLDER = Path(__file__).parents[2] / "assets" / "runs"
WHOLE_TEST = "test error on all test pictures, percent"  # what scripts/record_cifar.py writes into `about`


class ShippedError(Refusal):
    """There are no recorded runs; the message says where they would be."""


@dataclass(frozen=True)
class Shipped:
    """One recorded run and its file."""

    file: Path
    run: Recorded

    @property
    def test_error(self) -> float | None:
        """Percent wrong at the end: on the whole test set where that was measured, else on what the recipe tests."""
        whole = self.run.about.get(WHOLE_TEST)
        return last(self.run.records, "test_error") if whole is None else float(whole)

    @property
    def batch_error(self) -> float | None:
        """Percent wrong on the last batches, as they were trained on."""
        return last(self.run.records, "batch_error")


@dataclass(frozen=True)
class Net:
    """The recorded runs of one recipe, which differ in their seeds alone.

    Attributes:
        title: its name on screen, another for each net of a list.
        recipe: the one of the first run.
        runs: by seed.
    """

    title: str
    recipe: Recipe
    runs: tuple[Shipped, ...]


def shipped(folder: Path | None = None) -> list[Shipped]:
    """Every recorded run of a folder, `FOLDER` if none is named, by the name of its file; nobody changes the tables.

    Raises:
        ShippedError: no such folder, or no run in it. RecordedError: a Parquet file that is no recorded run.
    """
    folder = folder or FOLDER
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ShippedError(
            f"There is no recorded run in {folder.parent.name}/{folder.name}; scripts/record_cifar.py records them."
        )
    return [Shipped(file, _read(file, file.stat().st_mtime_ns)) for file in files]


@lru_cache(maxsize=256)
def _read(file: Path, changed: int) -> Recorded:
    """The run as of that time: a page asks for all of them at each click."""
    return read(file)


def nets(runs: Iterable[Shipped]) -> list[Net]:
    """The runs by net: in the order of `VARIANTS`, the shallower first, then whatever else there is."""
    groups: dict[Recipe, list[Shipped]] = {}
    for each in runs:
        groups.setdefault(replace(each.run.recipe, seed=0), []).append(each)
    found = []
    for recipe in sorted(groups, key=_place):
        by_seed = sorted(groups[recipe], key=lambda each: each.run.recipe.seed)
        found.append(Net(title(recipe), by_seed[0].run.recipe, tuple(by_seed)))
    return _told_apart(found)


def named(spec: ResNetSpec) -> tuple[str, int] | None:
    """Key of `VARIANTS` and depth of a net; its width, pictures and classes may be any. None where it is no such net.

    >>> named(variant("plain", 20, width=8)), named(ResNetSpec())
    (('plain', 20), None)
    """
    fitted = {name: getattr(spec, name) for name in ("width", "in_channels", "image_size", "num_classes")}
    for name in VARIANTS:
        try:
            if replace(variant(name, spec.depth), **fitted) == spec:
                return name, spec.depth
        except SpecError:
            return None
    return None


def title(recipe: Recipe) -> str:
    """What a run's net is called on screen.

    >>> title(Recipe(variant("a", 110)))
    'ResNet-110'
    """
    known = named(recipe.spec)
    return net_name(*known) if known else recipe.spec.to_text()


def warm_up(recipe: Recipe) -> str | None:
    """How long the learning rate is low at first, in words.

    >>> warm_up(Recipe(variant("a", 110), warmup_error=80.0)), warm_up(Recipe(variant("a", 20), warmup_steps=200))
    ('until the error is below 80%', '200 steps')
    """
    if recipe.warmup_error is not None:
        return f"until the error is below {recipe.warmup_error:g}%"
    return f"{recipe.warmup_steps:,} steps" if recipe.warmup_steps else None


def epochs(recipe: Recipe) -> float | None:
    """How often the run goes through the training set; None where that is no set of `DATASETS`.

    >>> round(epochs(Recipe(variant("a", 20), data="cifar10", steps=64_000, batch=128)), 1)
    163.7
    """
    try:
        pictures = entry(recipe.data).train
    except DataError:
        return None
    return recipe.steps / math.ceil(pictures / recipe.batch)


def last(records: pd.DataFrame, quantity: str) -> float | None:
    """The last measured value of a column; None where it was never measured."""
    measured = records[quantity].dropna()
    return None if measured.empty else float(measured.iloc[-1])


def curves(chosen: Sequence[Net]) -> pd.DataFrame:
    """All records of some nets, one below the other: `net`, `seed`, and `Record`'s columns."""
    tables = [each.run.records.assign(net=net.title, seed=each.run.recipe.seed) for net in chosen for each in net.runs]
    return pd.concat(tables, ignore_index=True)


def ends_table(chosen: Iterable[Net]) -> pd.DataFrame:
    """Where the runs of each net ended, a row a net: medians over its seeds.

    Columns: net; runs, how many; steps; batch_error, train_error, test_error, percent wrong; test_low and test_high,
    the least and the greatest of the test errors. What was not measured is missing.
    """
    rows = []
    for net in chosen:
        tested = [each.test_error for each in net.runs if each.test_error is not None]
        rows.append(
            {
                "net": net.title,
                "runs": len(net.runs),
                "steps": net.recipe.steps,
                "batch_error": _median(each.batch_error for each in net.runs),
                "train_error": _median(last(each.run.records, "train_error") for each in net.runs),
                "test_error": _median(tested),
                "test_low": min(tested, default=math.nan),
                "test_high": max(tested, default=math.nan),
            }
        )
    return pd.DataFrame(rows)


def runs_table(chosen: Iterable[Net]) -> pd.DataFrame:
    """A row a run.

    Columns: net, seed, data, steps, epochs, batch, warm_up (in words); batch_error, train_error and test_error at the
    end, percent wrong; diverged; seconds; hardware, threads, python, torch, torchvision, as the recorder wrote them
    down; file.
    """
    rows = []
    for net in chosen:
        for each in net.runs:
            recipe, records, about = each.run.recipe, each.run.records, each.run.about
            rows.append(
                {
                    "net": net.title,
                    "seed": recipe.seed,
                    "data": recipe.data,
                    "steps": recipe.steps,
                    "epochs": epochs(recipe),
                    "batch": recipe.batch,
                    "warm_up": warm_up(recipe),
                    "batch_error": each.batch_error,
                    "train_error": last(records, "train_error"),
                    "test_error": each.test_error,
                    "diverged": bool(records["diverged"].any()),
                    "seconds": last(records, "seconds"),
                    **{name: about.get(name) for name in ("hardware", "threads", "python", "torch", "torchvision")},
                    "file": each.file.name,
                }
            )
    return pd.DataFrame(rows)


def archive(runs: Iterable[Shipped]) -> bytes:
    """The runs' files in one ZIP, as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for each in runs:
            packed.write(each.file, each.file.name)
    return buffer.getvalue()


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return median(known) if known else math.nan


def _place(recipe: Recipe) -> tuple[int, int, int, str]:
    known = named(recipe.spec)
    place = list(VARIANTS).index(known[0]) if known else len(VARIANTS)
    return place, recipe.spec.depth, recipe.steps, recipe.key


def _told_apart(found: list[Net]) -> list[Net]:
    """The same nets, those of one title with what differs behind it: warm-up, steps, or the recipe's key."""
    for more in (
        lambda recipe: f"warm-up {warm_up(recipe) or 'none'}",
        lambda recipe: f"{recipe.steps:,} steps",
        lambda recipe: recipe.key,
    ):
        told: dict[str, set[str]] = {}
        for net in found:
            told.setdefault(net.title, set()).add(more(net.recipe))
        found = [
            replace(net, title=f"{net.title}, {more(net.recipe)}") if len(told[net.title]) > 1 else net for net in found
        ]
    return found
