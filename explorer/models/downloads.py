"""Files of weights from the internet: fetched whole or not at all, checked, and kept where PyTorch keeps its own."""

import hashlib
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import torch

from explorer.errors import Refusal

WORKS_OFFLINE = "EfficientNet-Lite0"  # comes in a package; what every sentence offers instead


class WeightsUnavailable(Refusal):
    """The weights are not on this machine and could not be fetched."""


def kept(url: str) -> Path:
    """Where the file of this address is kept once it was fetched: in torch.hub's folder.

    >>> kept("https://example.org/models/net-0123abcd.pth").parts[-2:]
    ('checkpoints', 'net-0123abcd.pth')
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch(url: str, title: str, megabytes: float, report: Callable[[float, str], None]) -> None:
    """Fetch the file whole or not at all, and check it against the hash in its name (PyTorch's custom).

    Args:
        title: of the net. megabytes: of the file, 2^20 bytes; both for the sentences.
        report: called with the fraction fetched and a sentence; an exception that it raises stops the download.

    Raises:
        WeightsUnavailable: the server or the room on the disk is missing, or what came is damaged.
    """
    path = kept(url)
    text = f"Downloading the weights of {title} ({megabytes:.0f} MB)"
    # pooch leaves the connection of a download that is stopped to the garbage collector; here it is hung up.
    answers: list[requests.Response] = []
    hooks = {"response": lambda answer, **_: answers.append(answer)}
    fetcher = pooch.HTTPDownloader(progressbar=_Bar(report, text), chunk_size=1 << 18, timeout=20, hooks=hooks)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.unchecked")  # nobody else who fetches it touches ours
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, known_hash=None, fname=part.name, path=part.parent, downloader=fetcher)
        if not has_hash_in_name(part, path.name):
            raise WeightsUnavailable(
                f"The weights of {title} arrived damaged and were thrown away. Try again, or choose {WORKS_OFFLINE}, "
                "which works offline."
            )
        part.replace(path)
    except (requests.exceptions.RequestException, OSError) as error:
        raise WeightsUnavailable(
            f"The weights of {title} ({megabytes:.0f} MB) could not be downloaded: their server cannot be reached or "
            f"does not have them, or there is no room to keep them. Try again later, or choose {WORKS_OFFLINE}, which "
            "works offline."
        ) from error
    finally:
        for answer in answers:
            answer.close()
        part.unlink(missing_ok=True)


class _Bar:
    """pooch's progress bar, for a callback."""

    def __init__(self, report: Callable[[float, str], None], text: str) -> None:
        self.total = 0
        self._report, self._text, self._done = report, text, 0

    def update(self, count: int) -> None:
        self._done += count
        self._report(min(1.0, self._done / self.total) if self.total else 0.0, self._text)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def has_hash_in_name(path: Path, name: str) -> bool:
    """Whether the file's SHA-256 begins as a name like `net-0123abcd.pth` says; any file fits a name without one."""
    match = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    with path.open("rb") as file:
        return match is None or hashlib.file_digest(file, "sha256").hexdigest().startswith(match[1])
