"""`run(recipe)`: train, and say at every few steps how it goes."""

import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from explorer.errors import Refusal
from explorer.models.device import best_device
from explorer.models.observe import evaluating, seeded, watching
from explorer.models.resnet import ResNet, block_names, build
from explorer.spec import ResNetSpec
from explorer.training.datasets import Dataset, channel_statistics, load, normalised
from explorer.training.recipe import WARM_UP_FACTOR, Recipe

_EVALUATED = 500  # pictures at once where nothing is learned
_LEAST_SQUARE = 1e-24  # far above all that squares of float32 lose
_ORDER, _AUGMENTATION, _LAYERS = range(3)  # what random numbers are drawn for


class RunError(Refusal):
    """A run that cannot start or go on; the message says why."""


@dataclass(frozen=True)
class Record:
    """How a run stands after so many steps; None is not measured there.

    Args:
        step: updates done; 0 is before the first.
        lr: learning rate of the last update; None before the first.
        batch_loss, batch_error: cross-entropy, and percent wrong, on the batches since the last record, as they were
            trained on: in training mode, augmented, each before its own update. The paper's figure 6 shows this error.
        train_loss, train_error: on the training set or the first of it (`Recipe.probe`), as it is, in eval mode. Early
            in a run batch norm's running means lag, and a deep net's loss may be huge or no finite number here.
        test_loss, test_error: on the test set or the first of it (`Recipe.tested`), in eval mode.
        gradient_norms: of the loss of the last batch with respect to what each block returns, first block first;
            roots of the sums of squares over the batch.
        seconds: of training and measuring so far, before an interruption too.
        diverged: whether the loss on the batches, or a weight, was no finite number any more; the run ends with this
            record.
    """

    step: int
    lr: float | None
    batch_loss: float | None
    batch_error: float | None
    train_loss: float | None
    train_error: float | None
    test_loss: float | None
    test_error: float | None
    gradient_norms: tuple[float, ...]
    seconds: float
    diverged: bool = False


class Run:
    """A run in progress: its network, and its records one after the other.

    It can be kept at any record with `save`; `Run(recipe, data, checkpoint=path)` goes on from there: it gives the
    records that were there already, at once, and what follows is what would have followed.

    Args:
        recipe: what to do.
        data: the recipe's data set, where it is loaded already.
        checkpoint: a file of `save`; where it does not exist the run starts anew.
        device: the GPU when there is one.

    Raises:
        RunError: the net and the data do not fit, or the checkpoint is of another recipe or damaged.
        DataError: the data cannot be had.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset | None = None,
        checkpoint: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.recipe = recipe
        self.data = load(recipe.data) if data is None else data
        self.device = best_device() if device is None else device
        _check_fit(recipe, self.data)
        with seeded(recipe.seed):
            network = build(recipe.spec, "cpu")
        # Images last in memory is what the convolutions of both CPU and GPU are fastest with.
        self.network: ResNet = network.to(self.device).to(memory_format=torch.channels_last)
        self._blocks = [self.network.get_submodule(name) for name in block_names(recipe.spec)]
        self._optimiser = torch.optim.SGD(
            self.network.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self._progress = _Progress()
        self.records: list[Record] = []
        self._pictures = self.data.train.to(self.device)
        self._labels = self.data.train_labels.to(self.device)
        mean, std = channel_statistics(self.data.train)
        self._statistics = mean.to(self.device), std.to(self.device)
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def save(self, path: Path) -> None:
        """Keep the run as it stands, whole or not at all."""
        state = {
            "recipe": self.recipe.to_json(),
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "progress": dataclasses.asdict(self._progress),
            "records": [dataclasses.asdict(record) for record in self.records],
        }
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        torch.save(state, part)
        part.replace(path)

    def _restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if Recipe.from_json(state["recipe"]) != self.recipe:
                raise RunError(
                    f"The checkpoint {path.name} is of another recipe; it must be of the one that is to go on."
                )
            self.network.load_state_dict(state["network"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._progress = _Progress(**state["progress"])
            self.records = [Record(**values) for values in state["records"]]
        except RunError:
            raise
        except Exception as error:  # whatever a damaged file makes of the readers
            raise RunError(f"The checkpoint {path.name} cannot be read; delete it, and the run starts anew.") from error

    def __iter__(self) -> Iterator[Record]:
        """The records, those of a checkpoint first, to the end of the run."""
        yield from tuple(self.records)
        recipe, progress = self.recipe, self._progress
        while not self.records or (progress.step < recipe.steps and not progress.diverged):
            resumed = time.perf_counter() - progress.seconds
            norms: list[float] = []
            if self.records:
                for _ in range(min(recipe.record_every, recipe.steps - progress.step) - 1):
                    self._step()
                norms = self._step(watched=True)
            self.records.append(self._record(norms, resumed))
            yield self.records[-1]

    def _step(self, watched: bool = False) -> list[float]:
        """One update; the gradient norms behind the blocks, where they are asked for."""
        recipe, progress = self.recipe, self._progress
        step = progress.step
        rate = recipe.rate(step)
        if recipe.warmup_error is not None and not progress.warm:
            rate *= WARM_UP_FACTOR
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        chosen = batch_of(recipe, step, len(self._pictures)).to(self.device)
        pictures = self._prepared(augmented(self._pictures[chosen], recipe, step))
        labels = self._labels[chosen]
        self._optimiser.zero_grad()
        norms: list[float | Tensor] = []  # a GPU is not waited for before the pass has ended
        with watching((block, partial(_arriving, norms)) for block in (self._blocks if watched else ())):
            loss, wrong = self._passed(pictures, labels, step)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        progress.losses += loss.detach().double().cpu().item()
        progress.wrong += wrong
        progress.seen += len(labels)
        progress.updates += 1
        progress.rate = rate
        progress.step += 1
        return [float(norm) for norm in reversed(norms)]

    def _passed(self, pictures: Tensor, labels: Tensor, step: int) -> tuple[Tensor, int]:
        """The loss in training mode, and how many are wrong."""
        if not self.network.training:
            self.network.train()
        half = self.recipe.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            if draws(self.recipe.spec):
                with seeded(mixed(self.recipe.seed, step, _LAYERS)):
                    logits = self.network(pictures)
            else:
                logits = self.network(pictures)
        logits = logits.float()
        return F.cross_entropy(logits, labels), int((logits.argmax(1) != labels).sum())

    def _prepared(self, pictures: Tensor) -> Tensor:
        return normalised(pictures, self._statistics).contiguous(memory_format=torch.channels_last)

    def _record(self, norms: Sequence[float], resumed: float) -> Record:
        """What stands now; begins the next record's means, and ends the wait for `warmup_error`."""
        recipe, progress = self.recipe, self._progress
        batch_loss = progress.losses / progress.updates if progress.updates else None
        batch_error = 100 * progress.wrong / progress.seen if progress.seen else None
        if recipe.warmup_error is not None and batch_error is not None and batch_error < recipe.warmup_error:
            progress.warm = True
        progress.losses, progress.wrong, progress.seen, progress.updates = 0.0, 0, 0, 0
        # Not by what is measured in eval mode: batch norm's running means lag, and a deep net's maps may overflow there
        progress.diverged = batch_loss is not None and not math.isfinite(batch_loss)
        on_train: tuple[float | None, float | None] = (None, None)
        on_test = on_train
        if (progress.step % recipe.test_every == 0 or progress.step == recipe.steps) and not progress.diverged:
            on_train = self.measure(self._pictures[: recipe.probe], self._labels[: recipe.probe])
            on_test = self.measure(self.data.test[: recipe.tested], self.data.test_labels[: recipe.tested])
            progress.diverged = not all(weights.isfinite().all() for weights in self.network.parameters())
        progress.seconds = time.perf_counter() - resumed
        return Record(
            progress.step,
            progress.rate,
            batch_loss,
            batch_error,
            *on_train,
            *on_test,
            gradient_norms=tuple(norms),
            seconds=progress.seconds,
            diverged=progress.diverged,
        )

    @torch.no_grad()
    def measure(self, pictures: Tensor, labels: Tensor) -> tuple[float | None, float | None]:
        """Mean cross-entropy, and percent wrong, on uint8 pictures in eval mode; None where there is no picture."""
        if not len(labels):
            return None, None
        losses, wrong = 0.0, 0
        half = self.recipe.precision == "bfloat16"
        with evaluating(self.network), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            for start in range(0, len(labels), _EVALUATED):
                some, right = (each[start : start + _EVALUATED].to(self.device) for each in (pictures, labels))
                logits = self.network(self._prepared(some)).float()
                losses += F.cross_entropy(logits, right, reduction="sum").item()
                wrong += int((logits.argmax(1) != right).sum())
        return losses / len(labels), 100 * wrong / len(labels)


@dataclass
class _Progress:
    """What a run needs beside its network and optimiser to go on."""

    step: int = 0
    rate: float | None = None
    losses: float = 0.0
    wrong: int = 0
    seen: int = 0
    updates: int = 0
    warm: bool = False
    diverged: bool = False
    seconds: float = 0.0


def run(recipe: Recipe, data: Dataset | None = None, checkpoint: Path | None = None) -> Iterator[Record]:
    """Train and yield a record every few steps; the loss falls and repeats for a seed on one machine.

    With `checkpoint` the run is kept there at each record that measures the training set. Where the file exists
    already, its records come at once and the run goes on behind them.

    Raises:
        RunError, DataError: as `Run`.
    """
    own = Run(recipe, data, checkpoint)
    for record in own:
        if checkpoint is not None and record.train_error is not None and record is own.records[-1]:
            own.save(checkpoint)
        yield record


def _arriving(norms: list[float | Tensor], output: Tensor) -> None:
    """Take down the norm of the gradient that comes to a block's output; the last block's comes first."""
    output.register_hook(lambda gradient: norms.append(_norm(gradient)))  # type: ignore[no-untyped-call]


def _norm(gradient: Tensor) -> float | Tensor:
    """The root of the sum of squares, in double precision.

    On the CPU a product in float32 comes first, which is four times as fast and right to a ten-thousandth, unless its
    squares underflow or overflow.
    """
    gradient = gradient.detach()
    if gradient.dtype == torch.float32 and not gradient.is_cuda:
        rows = gradient.movedim(1, -1) if gradient.is_contiguous(memory_format=torch.channels_last) else gradient
        if rows.is_contiguous():  # else it would be copied
            numbers = rows.view(-1)
            square = torch.dot(numbers, numbers).item()
            if _LEAST_SQUARE < square < math.inf:
                return math.sqrt(square)
    return torch.linalg.vector_norm(gradient, dtype=torch.float64)


def mixed(*numbers: int) -> int:
    """One seed made of several numbers, so that no two purposes draw the same."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7])


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(mixed(*numbers))


def batch_of(recipe: Recipe, step: int, examples: int) -> Tensor:
    """Which pictures an update learns from, (n,): each once an epoch, in a new order, and the last batch smaller.

    It depends on the step alone, so that an interrupted run goes on with the right ones.

    >>> recipe = Recipe(ResNetSpec(), batch=4)
    >>> sorted(torch.cat([batch_of(recipe, step, 10) for step in (0, 1, 2)]).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    epoch, within = divmod(step, math.ceil(examples / recipe.batch))
    return _order(recipe.seed, epoch, examples)[within * recipe.batch : (within + 1) * recipe.batch]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, examples: int) -> Tensor:
    return torch.randperm(examples, generator=_generator(seed, epoch, _ORDER))


def augmented(pictures: Tensor, recipe: Recipe, step: int) -> Tensor:
    """The batch (n, c, h, w) as it is shown at this step: padded, cut at random and mirrored, where the recipe says so.

    Padded with zeros, black, before the mean is taken off; the paper takes the mean off first and pads with zeros then.
    """
    if recipe.augmentation == "none":
        return pictures
    count, _, height, width = pictures.shape
    generator = _generator(recipe.seed, step, _AUGMENTATION)
    down, right = (side // 8 for side in (height, width))
    padded = F.pad(pictures, (right, right, down, down))
    tops = torch.randint(2 * down + 1, (count,), generator=generator)
    lefts = torch.randint(2 * right + 1, (count,), generator=generator)
    columns = torch.arange(width).expand(count, width)
    if recipe.augmentation == "crop_flip":
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows = (torch.arange(height) + tops[:, None])[:, None, :, None]
    columns = (columns + lefts[:, None])[:, None, None, :]
    images, channels = torch.arange(count)[:, None, None, None], torch.arange(pictures.shape[1])[None, :, None, None]
    return padded[tuple(index.to(pictures.device) for index in (images, channels, rows, columns))]


def _check_fit(recipe: Recipe, data: Dataset) -> None:
    """The net takes the data's channels and size and has a class for each of the data's."""
    for name, own, right in (
        ("in_channels", recipe.spec.in_channels, data.channels),
        ("image_size", recipe.spec.image_size, data.size),
        ("num_classes", recipe.spec.num_classes, len(data.classes)),
    ):
        if own != right:
            raise RunError(f"{name} (={own}) must be {right} for the data set {data.title}.")


def draws(spec: ResNetSpec) -> bool:
    """Whether the net draws random numbers while it trains."""
    return bool(spec.stochastic_depth or spec.block_dropout or spec.head_dropout)
