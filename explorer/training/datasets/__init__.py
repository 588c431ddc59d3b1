"""Labelled pictures to train on: bundled, drawn, downloaded at first use, or a person's own.

A data set is asked for by name. A name may end in @ and a side in pixels, to have the pictures at that size, and in :
and a number, to have only so many of the training pictures, the first ones: "fashion_mnist@96:10000".
"""

import hashlib
import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from explorer.training import shapes
from explorer.training.datasets.dataset import (
    MOST_BYTES,
    MOST_FILES,
    DataError,
    Dataset,
    Report,
    channel_statistics,
    checked_count,
    checked_side,
    normalised,
    short,
    too_many_files,
)
from explorer.training.datasets.downloads import DOWNLOADS, downloads_folder, torchvisions
from explorer.training.datasets.own import OWN_SIDE, YOURS, of_members, of_zip, opened_zip, read_file, walked, zipped
from explorer.training.datasets.parquet import of_parquet, parquets
from explorer.training.datasets.registry import CIFAR10_JPEG, DATASETS, Entry, made, what_works_offline

__all__ = [
    "CIFAR10_JPEG",
    "DATASETS",
    "MOST_BYTES",
    "MOST_FILES",
    "OWN_SIDE",
    "DataError",
    "Dataset",
    "Entry",
    "Report",
    "channel_statistics",
    "entry",
    "from_files",
    "load",
    "normalised",
    "on_this_machine",
]

_PATIENCE = 0.2  # seconds between two looks at whether to stop


def entry(name: str) -> Entry:
    """What is known of a data set of the registry, at the size and number that its name ends in, without loading it.

    Raises:
        DataError: no such name, or its pictures would take more than `MOST_BYTES`.

    >>> entry("fashion_mnist@96:10000").size, entry("fashion_mnist@96:10000").train
    ((96, 96), 10000)
    """
    base, side, count = _parsed(name)
    if base not in DATASETS:
        raise DataError(f"There is no data set named {short(base)}; there are {', '.join(DATASETS)}.")
    known = DATASETS[base]
    train = checked_count(count, known.train, known.title)
    height, width = (side, side) if side else known.size
    each = known.channels * height * width
    if (train + known.test) * each > MOST_BYTES:
        most = MOST_BYTES // each - known.test
        fitting = f"{base}@{side}:{most - most % 1000} fits" if most >= 1000 else "give a smaller side"
        raise DataError(
            f"The {train + known.test:,} pictures of {name} would take {(train + known.test) * each / 1e6:,.0f} MB, "
            f"and {MOST_BYTES / 1e6:,.0f} MB are the limit; {fitting}."
        )
    return replace(known, name=name, title=known.title + _suffix(side, count), size=(height, width), train=train)


def on_this_machine(name: str) -> bool:
    """Whether a data set of the registry can be loaded without a connection, as it stands."""
    base = _parsed(name)[0]
    if base in DOWNLOADS:
        return (downloads_folder() / DOWNLOADS[base].home).exists()
    if base == "cifar10_jpeg":
        return CIFAR10_JPEG in os.environ and len(parquets(Path(os.environ[CIFAR10_JPEG]))) == 2
    return base in DATASETS


def load(name: str, report: Report = lambda fraction, text: None) -> Dataset:
    """The data set of that name, or the one that lies at that path; read once and kept for the next who asks.

    Args:
        name: a key of `DATASETS`, or the path of a folder or zip of pictures as `from_files` describes it, or of a
            Parquet file with the columns `label` and `jpeg` (a folder may hold one for training and one for testing),
            with a size and a number behind it or without. A path is read with this program's rights: hand on none
            that came from a stranger.
        report: called with the fraction done and a sentence; an exception that it raises stops the loading.

    Raises:
        DataError: no such set, it cannot be downloaded, or what lies there cannot be used; the message says which.
    """
    base, side, count = _parsed(name)
    if base in DATASETS:
        where = os.environ.get(CIFAR10_JPEG) if base == "cifar10_jpeg" else None
        return _once((name, where), partial(_registered, name, report), report)
    return _of_path(base, name, side, count, report)


def from_files(
    files: Mapping[str, bytes] | bytes, side: int = OWN_SIDE, report: Report = lambda fraction, text: None
) -> Dataset:
    """A person's own pictures, by the folder that each lies in; nothing is written to disk.

    A folder is a class: "cats/1.jpg", "dogs/1.jpg". Folders around all of them do not count. Where folders "train" and
    "test" (or "val", "valid", "validation") lie above the classes they are the parts; else every fifth picture of a
    class, by name, is for testing. Each picture is scaled to the side on its shorter side and cut in the middle; all
    stay grey where all are grey. What cannot be used is left out and counted in `Dataset.notes`.

    Args:
        files: names and contents, or the bytes of a zip of them.
        side: of the pictures, pixels.
        report: as for `load`.

    Raises:
        DataError: no zip, too much, fewer than two classes, or fewer than two pictures in one of them.
    """
    checked_side(side)
    if isinstance(files, bytes):
        if files.count(b"PK\1\2") > MOST_FILES:  # each file's mark in a zip's table, which is read whole
            raise too_many_files()
        with opened_zip(io.BytesIO(files), "What was given") as archive:
            data = of_members(zipped(archive), YOURS, side, None, report)
    else:
        readers = {name: partial(bytes, content) for name, content in files.items()}
        data = of_members(readers, YOURS, side, None, report)
    held = hashlib.sha256(repr(data.classes).encode())
    for tensor in (data.train, data.train_labels, data.test, data.test_labels):
        held.update(tensor.numpy().tobytes())
    return replace(data, name=f"upload-{held.hexdigest()[:12]}")


# Names


def _parsed(name: str) -> tuple[str, int | None, int | None]:
    """What the set is called or where it lies, the side and the number of training pictures asked for."""
    parts = re.fullmatch(r"(?s)(.+?)(?:@([^@:/\\]*))?(?::([^@:/\\]*))?", name)
    if not name.strip() or parts is None:
        raise DataError(f"The name of a data set is missing; there are {', '.join(DATASETS)}.")
    base, side, count = parts.groups()
    if base not in DATASETS and _located(name) is not None:
        return name, None, None  # a file's name may hold any sign
    for text in (side, count):
        if text is not None and not re.fullmatch("[0-9]{1,9}", text):
            raise DataError(
                f"What follows the name in {short(name)} must be @ and a side in pixels, : and a number of training "
                f"pictures, or both, as in fashion_mnist@96:10000."
            )
    if side is not None:
        checked_side(int(side))
    return base, None if side is None else int(side), None if count is None else int(count)


def _suffix(side: int | None, count: int | None) -> str:
    """What a title ends in."""
    return (f" at {side} px" if side else "") + (f", first {count:,}" if count else "")


def _located(text: str) -> Path | None:
    """The file or folder at that path, if there is one."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long for a path, with a zero inside, or no such person's home
        return None


# Sets are kept for the next who asks, while there is room

_KEPT: OrderedDict[tuple[object, ...], Dataset] = OrderedDict()
_TURNS: dict[object, threading.Lock] = {}
_GUARD = threading.Lock()  # over both


def _once(key: tuple[object, ...], make: Callable[[], Dataset], report: Report) -> Dataset:
    """What was made for this key; where another thread is making it, wait for that."""
    with _GUARD:
        turn = _TURNS.setdefault(key[0], threading.Lock())
    while (kept := _recalled(key)) is None:
        if not turn.acquire(timeout=_PATIENCE):
            report(0.0, "Waiting for the same pictures, which another run is loading")
            continue
        try:
            if _recalled(key) is None:
                _keep(key, make())
        finally:
            turn.release()
    return kept


def _recalled(key: tuple[object, ...]) -> Dataset | None:
    with _GUARD:
        if key in _KEPT:
            _KEPT.move_to_end(key)
        return _KEPT.get(key)


def _keep(key: tuple[object, ...], data: Dataset) -> None:
    """Keep a set, and let go of those not asked for the longest where all take too much together."""
    with _GUARD:
        _KEPT[key] = data
        while len(_KEPT) > 1 and sum(kept.train.nbytes + kept.test.nbytes for kept in _KEPT.values()) > MOST_BYTES:
            _KEPT.popitem(last=False)


# The sets of the registry


def _registered(name: str, report: Report) -> Dataset:
    base, side, _ = _parsed(name)
    described = entry(name)
    if name == base:
        return _LOADERS[base](described, report)
    whole = load(base, report)
    train, test = whole.train[: described.train], whole.test
    if not side:
        train = train.clone()  # a part of a tensor keeps the whole alive, and is sent to another process with it
    else:
        report(0.0, f"Scaling {described.title}")
        total = len(train) + len(test)
        train = _resized(train, side, lambda done: report(done / total, f"Scaling {described.title}"))
        test = _resized(test, side, lambda done: report((len(train) + done) / total, f"Scaling {described.title}"))
    return replace(
        whole,
        name=name,
        title=described.title,
        train=train,
        train_labels=whole.train_labels[: described.train].clone(),
        test=test,
    )


def _resized(pictures: Tensor, side: int, tell: Callable[[int], None]) -> Tensor:
    """Square pictures at another side, bilinear, each point an average over the area that it stands for."""
    scaled = torch.empty(*pictures.shape[:2], side, side, dtype=torch.uint8)
    for start in range(0, len(pictures), 100):
        tell(start)
        some = slice(start, start + 100)
        scaled[some] = F.interpolate(pictures[some], (side, side), mode="bilinear", antialias=True)
    return scaled


def _digits(described: Entry, report: Report) -> Dataset:
    from sklearn.datasets import load_digits

    report(0.0, "Reading the digits")
    bundled = load_digits()
    pictures = torch.from_numpy((bundled.images * 255 / 16).round().astype(np.uint8))[:, None]
    labels = torch.from_numpy(bundled.target.astype(np.int64))
    first = described.train
    return made(described, pictures[:first], labels[:first], pictures[first:], labels[first:])


def _shapes(described: Entry, report: Report) -> Dataset:
    train = shapes.draw(described.train, 1, lambda done, text: report(0.8 * done, text))
    test = shapes.draw(described.test, 2, lambda done, text: report(0.8 + 0.2 * done, text))
    return made(described, *train, *test)


def _cifar10_jpeg(described: Entry, report: Report) -> Dataset:
    if CIFAR10_JPEG not in os.environ:
        raise DataError(
            f"{described.title} is not on this machine; set {CIFAR10_JPEG} to the folder that holds its Parquet files, "
            f"or choose {what_works_offline()}."
        )
    folder = Path(os.environ[CIFAR10_JPEG])
    files = parquets(folder)
    if len(files) != 2:
        raise DataError(
            f"The folder {folder} that {CIFAR10_JPEG} names must hold two Parquet files, one with train in its name "
            f"and one with test."
        )
    data = of_parquet(files, described.size[0], None, report)
    return replace(data, name=described.name, title=described.title, source=described.source)


_LOADERS: dict[str, Callable[[Entry, Report], Dataset]] = {
    "digits": _digits,
    "shapes": _shapes,
    "cifar10_jpeg": _cifar10_jpeg,
    **dict.fromkeys(DOWNLOADS, torchvisions),
}


# What lies at a path


def _of_path(base: str, name: str, side: int | None, count: int | None, report: Report) -> Dataset:
    """The set in a folder, a zip or a Parquet file; read anew where a file has changed."""
    path = _located(base)
    if path is None:
        raise DataError(
            f"There is no data set and no file named {short(base)}; there are {', '.join(DATASETS)}, or give the path "
            f"of a folder or zip of pictures, one folder a class."
        )
    stamp: list[tuple[object, ...]]
    make: Callable[[], Dataset]
    tables = [path] if path.suffix.lower() == ".parquet" else parquets(path)
    if tables:
        stamp = [_stamp(file) for file in tables]
        make = partial(of_parquet, tables, side, count, report)
    elif path.is_dir():
        files = walked(path, report)
        stamp = [(key, *_stamp(file)) for key, file in sorted(files.items())]
        readers = {key: partial(read_file, file) for key, file in files.items()}
        make = partial(of_members, readers, path.resolve().name, side or OWN_SIDE, count, report)
    else:
        stamp = [_stamp(path)]
        make = partial(of_zip, path, side or OWN_SIDE, count, report)

    def named() -> Dataset:
        data = make()
        return replace(data, name=name, title=data.title + _suffix(side, count))

    return _once((name, hashlib.sha256(repr(stamp).encode()).digest()), named, report)


def _stamp(file: Path) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        about = file.stat()
    except OSError:  # a link to nothing; it will be counted as a file that cannot be read
        return 0, 0
    return about.st_size, about.st_mtime_ns
