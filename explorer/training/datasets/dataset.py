"""What a data set is, and what bounds all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explorer.errors import Refusal

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop
SIDES = (8, 512)  # pixels that a side may be asked to have
MOST_BYTES = 1_000_000_000  # that a set's pictures may take; and all that are kept for the next who asks, together
MOST_FILES = 100_000  # in a folder or an archive


class DataError(Refusal):
    """Pictures that cannot be had; the message says which and what would be right."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures and their classes, in two parts; bytes, as the files hold them.

    The tensors are shared by all who load the set in this process: nobody changes them.

    Attributes:
        name: what `load` gives it by; of an upload, letters and digits that stand for what it holds.
        title: as it is called on screen.
        train, test: uint8 (n, channels, height, width), square. The test part of a person's own may have none.
        train_labels, test_labels: int64 (n,), 0 to len(classes) - 1.
        classes: their names.
        source: who made it.
        notes: what the person should know about how it was read, a sentence each.
    """

    name: str
    title: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """1 of grey pictures, 3 of coloured ones."""
        return self.train.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train.shape[2], self.train.shape[3]


def in_parts(
    pictures: NDArray[np.uint8],
    labels: Tensor,
    train: int,
    classes: tuple[str, ...],
    title: str,
    source: str,
    notes: Sequence[str] = (),
) -> Dataset:
    """Of these pictures the first so many for training; each part has memory of its own."""
    tensor = torch.from_numpy(pictures)
    return Dataset(
        "",
        title,
        tensor[:train].clone(),
        labels[:train].clone(),
        tensor[train:].clone(),
        labels[train:].clone(),
        classes,
        source,
        tuple(notes),
    )


def channel_statistics(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 pictures, values between 0 and 1: (1, channels, 1, 1) each.

    A channel of one value has deviation 1, so that to divide by it changes nothing.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(pictures[:, c].flatten(), minlength=256) for c in range(pictures.shape[1])])
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = shares @ levels
    std = (shares @ levels**2 - mean**2).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return mean.float()[None, :, None, None], std.float()[None, :, None, None]


def normalised(pictures: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """uint8 pictures (n, channels, height, width) as a net takes them, by the mean and deviation of each channel."""
    mean, std = statistics
    return (pictures.float() / 255 - mean) / std


def checked_side(side: int) -> None:
    """Refuse a side that is out of range."""
    if not SIDES[0] <= side <= SIDES[1]:
        raise DataError(f"The side of the pictures (={side}) must be from {SIDES[0]} to {SIDES[1]} pixels.")


def checked_count(count: int | None, there: int, title: str) -> int:
    """How many training pictures are meant."""
    if count is None:
        return there
    if not 1 <= count <= there:
        raise DataError(f"The number of training pictures (={count}) must be from 1 to {there:,} for {title}.")
    return count


def too_many_files() -> DataError:
    """What is said of more files than the limit."""
    return DataError(f"There are more than {MOST_FILES:,} files, which is the limit; give fewer.")


def short(text: str) -> str:
    """A stranger's text for a sentence."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def counted(number: int, noun: str) -> str:
    """A number and its noun, "1 file" or "2 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
