"""Parquet files of compressed pictures."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from explorer.training.datasets.dataset import (
    MOST_FILES,
    DataError,
    Dataset,
    Report,
    checked_count,
    counted,
    in_parts,
    short,
    too_many_files,
)
from explorer.training.datasets.decoding import decoded
from explorer.training.datasets.own import EVERY
from explorer.training.datasets.registry import CIFAR10, DATASETS


def parquets(folder: Path) -> list[Path]:
    """The training and the test file of a folder, or its only file; none where there is another choice to make."""
    files = sorted(folder.glob("*.parquet"))
    if len(files) == 1:
        return files
    parts = [[file for file in files if part in file.name.lower()] for part in ("train", "test")]
    return [part[0] for part in parts] if all(len(part) == 1 for part in parts) else []


def of_parquet(files: Sequence[Path], side: int | None, count: int | None, report: Report) -> Dataset:
    """One file for both parts, or one for each; columns `label`, whole numbers, and `jpeg`, the bytes of pictures.

    The file's metadata may have `classes`, their names with commas between, and `source`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels, contents = [], []
    about: dict[bytes, bytes] = {}
    for file in files:
        report(0.0, f"Reading {file.name}")
        try:
            if pq.read_metadata(file).num_rows > MOST_FILES:
                raise too_many_files()
            table = pq.read_table(file, columns=["label", "jpeg"])
            about |= table.schema.metadata or {}
            labels.append(table["label"].cast(pa.int64()).to_numpy())
            contents.append(table["jpeg"].cast(pa.binary()).to_pylist())
        except DataError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{file.name} cannot be read as a Parquet file with the columns label, whole numbers, and jpeg, bytes."
            ) from error
        if table.num_rows == 0 or table["label"].null_count or table["jpeg"].null_count:
            raise DataError(f"{file.name} must have a label and a picture in each row, and at least one row.")
    every = np.concatenate(labels)
    if b"classes" in about:
        classes = tuple(about[b"classes"].decode(errors="replace").split(","))
    else:
        classes = tuple(map(str, range(min(int(every.max()) + 1, MOST_FILES))))
    if len(classes) < 2:
        raise DataError(f"{files[0].name} has the one class {short(classes[0])}; there must be at least two.")
    if every.min() < 0 or every.max() >= len(classes):
        raise DataError(
            f"The labels (={every.min()} to {every.max()}) must be from 0 to {len(classes) - 1}, one for each class."
        )
    numbers = np.arange(len(every))
    if len(files) == 2:
        train, test = numbers[: len(labels[0])], numbers[len(labels[0]) :]
    else:
        chosen = np.concatenate([numbers[every == label][EVERY - 1 :: EVERY] for label in range(len(classes))])
        train, test = np.setdiff1d(numbers, chosen), np.sort(chosen)
    title = DATASETS["cifar10_jpeg"].title if classes == CIFAR10 else files[0].stem
    train = train[: checked_count(count, len(train), title)]
    readers = [partial(bytes, content) for part in contents for content in part]
    order = np.concatenate([train, test])
    source = about.get(b"source", b"").decode(errors="replace")
    pictures, good = decoded([readers[number] for number in order], side, report)
    if not good.all():
        raise DataError(f"{title} has {counted(int((~good).sum()), 'row')} without a picture that can be read.")
    return in_parts(pictures, torch.from_numpy(every[order]), len(train), classes, title, source)
