"""A person's own pictures: a folder or a zip, one folder a class."""

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

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
from explorer.training.datasets.decoding import (
    FORMATS,
    MOST_ASPECT,
    MOST_PICTURE_BYTES,
    MOST_PIXELS,
    SUFFIXES,
    Reader,
    decoded,
)

OWN_SIDE = 32  # pixels of a person's own pictures, where nothing else is asked for
_MOST_UNPACKED = 4_000_000_000  # bytes that an archive may claim to hold
_TEST_FOLDERS = ("test", "val", "valid", "validation")  # the first that is there
EVERY = 5  # of so many pictures one is for testing
YOURS = "Your pictures"


def walked(folder: Path, report: Report) -> dict[str, Path]:
    """The files below a folder by their names within it."""
    files: dict[str, Path] = {}
    for place, _, names in os.walk(folder):
        report(0.0, f"Looking through {folder.name}, {counted(len(files), 'file')} so far")
        within = Path(place).relative_to(folder).as_posix()
        files |= {f"{within}/{name}": Path(place, name) for name in names}
        if len(files) > MOST_FILES:
            raise too_many_files()
    return files


def read_file(file: Path) -> bytes:
    """A file's bytes, as many as a picture may have and one more."""
    if not file.is_file():  # a pipe would be waited for
        raise OSError(f"{file} is no file")
    with file.open("rb") as opened:
        return opened.read(MOST_PICTURE_BYTES + 1)


def of_zip(path: Path, side: int, count: int | None, report: Report) -> Dataset:
    """The data set in a zip; see `from_files`."""
    with opened_zip(path, path.name) as archive:
        return of_members(zipped(archive), path.stem, side, count, report)


def opened_zip(file: Path | IO[bytes], called: str) -> zipfile.ZipFile:
    """The archive, not unpacked; called so in a refusal."""
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # a BadZipFile by the book, in fact nearly any
        raise DataError(f"{called} is no zip that can be read; give a zip or a folder of pictures.") from error


def zipped(archive: zipfile.ZipFile) -> dict[str, Reader]:
    """The files of an archive; what they claim to hold is the most that is ever unpacked of them."""
    held = [about for about in archive.infolist() if not about.is_dir()]
    if sum(about.file_size for about in held) > _MOST_UNPACKED:
        raise DataError(
            f"The zip would unpack to {sum(about.file_size for about in held) / 1e6:,.0f} MB; "
            f"{_MOST_UNPACKED / 1e6:,.0f} MB are the limit."
        )
    if any(about.flag_bits & 1 for about in held):
        raise DataError("The zip is locked with a password; give one without.")
    return {about.filename: partial(_unzipped, archive, about) for about in held}


def _unzipped(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> bytes:
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may ask for gigabytes at once
        raise zipfile.BadZipFile(f"{about.filename} is packed in another way")
    with archive.open(about) as file:
        return file.read(MOST_PICTURE_BYTES + 1)


@dataclass(frozen=True)
class _Place:
    """Where a picture belongs; part None: not said."""

    parts: tuple[str, ...]  # its own folders and name
    label: str
    part: str | None
    read: Reader


def of_members(members: Mapping[str, Reader], title: str, side: int, count: int | None, report: Report) -> Dataset:
    """The data set of these files; see `from_files`."""
    if len(members) > MOST_FILES:
        raise too_many_files()
    places, notes = _placed(members)
    classes = tuple(sorted({place.label for place in places if place.part != "test"}))
    numbers = {label: number for number, label in enumerate(classes)}
    strange = len(places)
    places = [place for place in places if place.label in numbers]
    if strange := strange - len(places):
        notes.append(f"Left out: {counted(strange, 'test picture')} of classes without training pictures.")
    _check_classes(classes, places)
    train, test = _split(places)
    if not test:
        notes.append(f"No class has {EVERY} pictures, so none are for testing.")
    train = train[: checked_count(count, len(train), title)]
    chosen = train + test
    pictures, good = decoded([place.read for place in chosen], side, report)
    kept = [place for place, fine in zip(chosen, good, strict=True) if fine]
    if len(kept) < len(chosen):
        bad = chosen[int(good.argmin())]
        notes.append(
            f"Left out: {counted(len(chosen) - len(kept), 'file')} damaged or too large (the limits are "
            f"{MOST_PICTURE_BYTES / 1e6:.0f} MB, {MOST_PIXELS / 1e6:.0f} megapixels and {MOST_ASPECT} times as long "
            f"as wide), such as {short('/'.join(bad.parts))}."
        )
    if not good[: len(train)].any():
        raise DataError(f"None of the {counted(len(train), 'training picture')} can be read. {notes[-1]}")
    if count is None:
        _check_classes(classes, kept)
    labels = torch.tensor([numbers[place.label] for place in kept], dtype=torch.int64)
    first = int(good[: len(train)].sum())
    return in_parts(pictures[good], labels, first, classes, title, "given by you", notes)


def _placed(members: Mapping[str, Reader]) -> tuple[list[_Place], list[str]]:
    """Each picture's class and part by the folders that it lies in, and sentences on what is left out."""
    files: dict[tuple[str, ...], Reader] = {}
    outside = others = loose = unused = 0
    for name, read in members.items():
        path = name.replace("\\", "/")
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        if path.startswith("/") or ".." in parts or re.match("[A-Za-z]:", path):
            outside += 1
        elif any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue  # a system's own litter
        elif not path.lower().endswith(SUFFIXES):
            others += 1
        else:
            files[parts] = read
    while True:  # folders around all do not count
        inside = {parts: read for parts, read in files.items() if len(parts) > 1}
        loose += len(files) - len(inside)
        files = inside
        if len({parts[0] for parts in files}) != 1 or max(map(len, files)) == 2:
            break
        files = {parts[1:]: read for parts, read in files.items()}
    heads = {parts[0].lower() for parts in files}
    tests = [name for name in _TEST_FOLDERS if name in heads]
    places = []
    if tests and "train" in heads and heads <= {"train", *tests} and max(map(len, files)) > 2:
        for parts, read in files.items():
            part = parts[0].lower()
            if len(parts) == 2:
                loose += 1
            elif part in ("train", tests[0]):
                places.append(_Place(parts, parts[1], "train" if part == "train" else "test", read))
            else:
                unused += 1
    else:
        places = [_Place(parts, parts[0], None, read) for parts, read in files.items()]
    notes = [
        f"Left out: {counted(number, noun)} {which}."
        for number, noun, which in (
            (others, "file", f"not named as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"),
            (loose, "picture", "in no class's folder"),
            (outside, "file", "with a path that leads out of the folder"),
            (unused, "picture", f"in {' and '.join(tests[1:])}, as there is {''.join(tests[:1])}"),
        )
        if number
    ]
    return places, notes


def _check_classes(classes: Sequence[str], places: Iterable[_Place]) -> None:
    """Refuse what no net can learn from."""
    counts = Counter(place.label for place in places)
    if not classes:
        raise DataError(
            "There is no picture in a folder of a class; give a folder for each class, such as cats/1.jpg, dogs/1.jpg."
        )
    if len(classes) == 1:
        raise DataError(
            f"All pictures lie in one class, {short(classes[0])}; give at least two folders, one for each class."
        )
    for label in classes:
        if counts[label] < 2:
            raise DataError(
                f"The class {short(label)} has {counted(counts[label], 'picture')} that can be used; give each class "
                f"at least 2."
            )


def _split(places: Iterable[_Place]) -> tuple[list[_Place], list[_Place]]:
    """Training and test part; each in an order that mixes the classes and is the same everywhere."""
    parts: dict[str, list[_Place]] = {"train": [], "test": []}
    seen: Counter[str] = Counter()
    for place in sorted(places, key=lambda place: place.parts):
        seen[place.label] += 1
        parts[place.part or ("test" if seen[place.label] % EVERY == 0 else "train")].append(place)
    for part in parts.values():
        part.sort(key=lambda place: hashlib.sha256("/".join(place.parts).encode(errors="replace")).digest())
    return parts["train"], parts["test"]
