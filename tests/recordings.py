"""Made-up recorded runs, with numbers that are easy to check."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.models.resnet import block_names
from explorer.models.variants import variant
from explorer.training import recorded
from explorer.training.recipe import Recipe
from explorer.training.run import Record
from explorer.training.shipped import WHOLE_TEST

SHORT = Recipe(
    variant("a", 20),
    data="cifar10_jpeg",
    steps=60,
    batch=128,
    schedule="steps",
    augmentation="crop_flip",
    record_every=20,
    test_every=40,
)


def records(recipe: Recipe, first: float = 90.0, tests: bool = True) -> list[Record]:
    """The error on the batches falls by ten a record from `first`; train and test error are 1 and 2 above it.

    The norm behind the first block is that error, and behind each further block half of the one before.
    """
    found = []
    for step in range(0, recipe.steps + 1, recipe.record_every):
        error = first - 10 * (step // recipe.record_every - 1)
        measured = tests and (step % recipe.test_every == 0 or step == recipe.steps)
        blocks = block_names(recipe.spec)
        found.append(
            Record(
                step=step,
                lr=recipe.rate(step - 1) if step else None,
                batch_loss=error / 40 if step else None,
                batch_error=error if step else None,
                train_loss=error / 39 if measured else None,
                train_error=error + 1 if measured else None,
                test_loss=error / 38 if measured else None,
                test_error=error + 2 if measured else None,
                gradient_norms=tuple(error / 2**place for place in range(len(blocks))) if step else (),
                seconds=step / 10,
            )
        )
    return found


def write(
    folder: Path,
    name: str,
    depth: int,
    seed: int = 0,
    first: float = 90.0,
    about: dict[str, str] | None = None,
    run: Sequence[Record] | None = None,
    **changes: Any,
) -> Recipe:
    """A run's file, as scripts/record_cifar.py names it; its test error on all pictures is `first` unless told."""
    recipe = replace(SHORT, spec=variant(name, depth), seed=seed, **changes)
    kept = {WHOLE_TEST: f"{first:.2f}"} if about is None else about
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}{depth}-seed{seed}-{recipe.key}.parquet"
    recorded.write(file, recipe, records(recipe, first) if run is None else run, kept)
    return recipe
