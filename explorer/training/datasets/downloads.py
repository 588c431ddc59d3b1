"""What torchvision knows, downloaded whole or not at all."""

import gzip
import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import requests
import torch
from torch import Tensor

from explorer.training.datasets.dataset import DataError, Dataset, Report
from explorer.training.datasets.registry import Entry, made, what_works_offline


@dataclass(frozen=True)
class _Download:
    """A data set of torchvision's; it reads the files, but its own download neither reports nor can be stopped.

    kind: its class there. home: the folder that it reads, under its root. packed: where its files are packed up.
    """

    kind: str
    home: str

    @property
    def reader(self) -> Any:
        import torchvision

        return getattr(torchvision.datasets, self.kind)

    def files(self) -> list[tuple[tuple[str, ...], str]]:
        """For each file the addresses that have it, and its MD5."""
        if self.kind == "CIFAR10":
            return [((self.reader.url,), self.reader.tgz_md5)]
        return [(tuple(mirror + file for mirror in self.reader.mirrors), md5) for file, md5 in self.reader.resources]


DOWNLOADS = {
    "cifar10": _Download("CIFAR10", "cifar-10-batches-py"),
    "fashion_mnist": _Download("FashionMNIST", "FashionMNIST"),
    "mnist": _Download("MNIST", "MNIST"),
}


def downloads_folder() -> Path:
    """Where downloaded sets lie, beside the weights that PyTorch downloads."""
    return Path(torch.hub.get_dir()) / "datasets"


def torchvisions(described: Entry, report: Report) -> Dataset:
    """The set, downloaded where it is not on this machine yet."""
    download, root = DOWNLOADS[described.name], downloads_folder()
    if not (root / download.home).exists():
        _fetch(described, download, report)
    report(1.0, f"Reading {described.title}")
    try:
        parts = [_as_tensors(download.reader(root, train=train)) for train in (True, False)]
    except Exception as error:  # whatever damaged files make of the reader
        raise DataError(
            f"The files of {described.title} on this machine are damaged; delete the folder {root / download.home}, "
            f"and they are fetched again."
        ) from error
    return made(described, *parts[0], *parts[1])


def _as_tensors(read: Any) -> tuple[Tensor, Tensor]:
    """Pictures (n, channels, height, width) and labels of one of torchvision's sets."""
    pictures, labels = torch.as_tensor(read.data), torch.as_tensor(read.targets, dtype=torch.int64)
    if len(pictures) != len(labels):
        raise ValueError(f"{len(pictures)} pictures, {len(labels)} labels")
    return pictures[:, None] if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2), labels


def _fetch(described: Entry, download: _Download, report: Report) -> None:
    """Download and unpack into a folder of our own, which takes its name when it is whole."""
    root = downloads_folder()
    text = f"Downloading {described.title} ({described.megabytes:.0f} MB)"
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        report(min(1.0, done / (described.megabytes * 1e6)), text)

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{download.home}.", suffix=".unchecked", dir=root) as folder:
            part = Path(folder)
            home = part / download.home
            home.mkdir()
            for addresses, md5 in download.files():
                packed = part / addresses[0].rsplit("/", 1)[-1]
                _download(described, addresses, md5, packed, tell)
                _unpack(packed, home, partial(report, 1.0, f"Unpacking {described.title}"))
            try:
                home.rename(root / download.home)
            except OSError:
                if not (root / download.home).exists():  # else another process was first, and its files are as good
                    raise
    except OSError as error:  # requests' own are too
        raise DataError(
            f"{described.title} ({described.megabytes:.0f} MB) could not be downloaded: its server cannot be reached "
            f"or does not have it, or there is no room to keep it. Try again later, or choose {what_works_offline()}."
        ) from error


def _download(described: Entry, addresses: Iterable[str], md5: str, path: Path, tell: Callable[[int], None]) -> None:
    """Fetch a file from the first address that has it with that MD5."""
    problem: Exception
    for address in addresses:
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with requests.get(address, stream=True, timeout=20) as answer, path.open("wb") as file:
                answer.raise_for_status()
                for chunk in answer.iter_content(1 << 16):
                    file.write(chunk)
                    digest.update(chunk)
                    tell(len(chunk))
        except requests.exceptions.RequestException as error:
            problem = error
            continue
        if digest.hexdigest() == md5:
            return
        problem = DataError(
            f"{described.title} arrived damaged and was thrown away. Try again, or choose {what_works_offline()}."
        )
    raise problem


def _unpack(packed: Path, home: Path, tell: Callable[[], None]) -> None:
    """Put what the file holds where torchvision reads it."""
    if packed.suffixes[-2:] == [".tar", ".gz"]:
        with tarfile.open(packed) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    _copy(content, home / Path(member.name).name, tell)
    else:
        with gzip.open(packed) as unpacked:
            _copy(unpacked, home / "raw" / packed.stem, tell)


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, tell: Callable[[], None]) -> None:
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        while chunk := source.read(1 << 20):
            tell()
            file.write(chunk)
