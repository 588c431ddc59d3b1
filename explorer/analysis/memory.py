"""The memory of one training step at float32, from the network's own forward and backward pass.

No rule of ours says what autograd keeps: PyTorch runs the step on the meta device, where tensors have sizes and no
contents, and a ledger notes when each tensor's memory is taken and when it is let go.
"""

import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from explorer.analysis.graph import trace
from explorer.analysis.rules import DoesNotFit
from explorer.errors import Refusal
from explorer.models import zoo
from explorer.spec import ResNetSpec

Optimiser = Literal["SGD", "SGD with momentum", "Adam"]
Gradients = Literal["kept", "freed"]  # between steps: `zero_grad(set_to_none=False)`, or PyTorch's default

GB = 10**9  # bytes
CARDS = (8, 16, 24, 40, 80)  # GB

_COPIES = {"SGD": 0, "SGD with momentum": 1, "Adam": 2}  # of the parameters: none, the momentum, two moments
_STEP_COPIES = {"SGD": 0, "SGD with momentum": 0, "Adam": 1}  # while the step runs: the root of the second moment
_STEP_COUNTER = 4  # bytes that Adam keeps for each parameter tensor: its number of steps

# A prime above every dimension that a network has: bytes divide by it just where a tensor grows with the batch.
_BATCH = 100_003


class ImpossibleStep(Refusal):
    """A training step that cannot be; the message names the value and what would be right."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Bytes in use at one moment of a step, beside weights, running statistics and optimiser state.

    They are `fixed + batch * per_image`.
    """

    fixed: int
    per_image: int

    def at(self, batch: int) -> int:
        """Bytes for this many images."""
        return self.fixed + batch * self.per_image


@dataclass(frozen=True)
class TrainingMemory:
    """What one training step of a network holds in memory, in bytes at float32, for any batch and optimiser.

    Attributes:
        weights: all parameters. buffers: batch norm's running statistics. gradients: one of each parameter.
        tensors: how many parameter tensors there are.
        saved: in use when the forward pass ends: what autograd keeps for the backward pass, the images and labels, and
            the loss. Its fixed part does not grow with the batch (batch norm's means and variances, say).
        stages: the part of saved that grows, for one image, by the stage that made it: image, stem, 1 ..., head.
        kept, freed: the moments that can be the busiest of forward and backward pass, where gradients are kept between
            the steps, and where they are freed and come back one by one.
        after: the moment when the backward pass is over and all gradients are there.
    """

    weights: int
    buffers: int
    gradients: int
    tensors: int
    saved: Moment
    stages: tuple[tuple[str, int], ...]
    kept: tuple[Moment, ...]
    freed: tuple[Moment, ...]
    after: Moment

    def optimiser_state(self, optimiser: Optimiser) -> int:
        """What the optimiser keeps from step to step: nothing, a copy of the parameters, or two and Adam's counters."""
        _check(optimiser)
        counters = _STEP_COUNTER * self.tensors if optimiser == "Adam" else 0
        return _COPIES[optimiser] * self.weights + counters

    def total(self, batch: int, optimiser: Optimiser, gradients: Gradients = "kept") -> int:
        """The most bytes in use at once during a step; with gradients kept, the sum of `parts`.

        Weight decay is left out: on a GPU it takes one more copy of the parameters while the optimiser runs, when the
        activations are gone.

        Raises:
            ImpossibleStep: a batch below 1, or an optimiser that is not known.
        """
        _check(optimiser, batch)
        return self._constant(optimiser) + max(moment.at(batch) for moment in self._moments(optimiser, gradients))

    def parts(self, batch: int, optimiser: Optimiser) -> dict[str, int]:
        """The total with gradients kept, by what it is for.

        The working space is what the busiest moment has beyond the other five: gradients of activations, and gradients
        of weights on their way; or, where Adam's step is busier than the backward pass, its temporary copy.
        """
        parts = {
            "weights": self.weights,
            "running statistics": self.buffers,
            "gradients": self.gradients,
            "optimiser state": self.optimiser_state(optimiser),
            "activations": self.saved.at(batch),
        }
        return parts | {"working space": self.total(batch, optimiser) - sum(parts.values())}

    def largest_batch(self, limit: int, optimiser: Optimiser, gradients: Gradients = "kept") -> int:
        """The most images whose step stays within so many bytes; 0 where not even one does."""
        _check(optimiser)
        left = limit - self._constant(optimiser)
        return max(
            0,
            min((left - moment.fixed) // moment.per_image for moment in self._moments(optimiser, gradients)),
        )

    def _constant(self, optimiser: Optimiser) -> int:
        return self.weights + self.buffers + self.optimiser_state(optimiser)

    def _moments(self, optimiser: Optimiser, gradients: Gradients) -> Sequence[Moment]:
        step = Moment(self.after.fixed + _STEP_COPIES[optimiser] * self.weights, self.after.per_image)
        return (*(self.kept if gradients == "kept" else self.freed), step)


def training_memory(
    network: ResNetSpec | str,
    image_size: tuple[int, int] | None = None,
    report: Callable[[float, str], object] | None = None,
) -> TrainingMemory:
    """Forward pass, cross-entropy and backward pass of a network on the meta device, with a ledger of their tensors.

    The sizes are those of PyTorch's own operators. Memory that a kernel takes while it runs (workspaces of cuDNN and
    oneDNN) is not seen, nor CUDA's context, the allocator's rounding and fragmentation, or further copies of a batch. A
    dropout mask counts four bytes an entry, as on a processor; on a GPU it takes one.

    Args:
        network: a spec, or any name of the zoo (without its auxiliary heads).
        image_size: (height, width) in pixels; by default the spec's own, or the size that the network is used at.
        report: called with the fraction done and a sentence; an exception that it raises stops the work.

    Raises:
        UnknownNetwork: no such name. DoesNotFit: the image is too small for the network.

    >>> memory = training_memory("resnet50")
    >>> memory.weights, memory.saved
    (102228128, Moment(fixed=212488, per_image=85913512))
    """
    model, shape = zoo.network(network, image_size)
    ledger = _Ledger(model, report or (lambda fraction, text: None))
    with torch.enable_grad(), ledger:
        images = torch.empty(_BATCH, *shape, device="meta")
        labels = torch.empty(_BATCH, dtype=torch.long, device="meta")
        try:
            loss = F.cross_entropy(model(images), labels)
        except RuntimeError as error:
            channels, height, width = shape
            raise DoesNotFit(
                f"An image of {height}x{width} with {channels} channels does not go through this network: {error}."
            ) from None
        saved, stages = ledger.now, ledger.stages()
        torch.autograd.backward(loss)
    return TrainingMemory(
        weights=_bytes(model.parameters()),
        buffers=_bytes(model.buffers()),
        gradients=ledger.gradients,
        tensors=len(list(model.parameters())),
        saved=saved,
        stages=stages,
        kept=_busiest(Moment(ledger.gradients + moment.fixed, moment.per_image) for moment, _ in ledger.moments),
        freed=_busiest(Moment(gradients + moment.fixed, moment.per_image) for moment, gradients in ledger.moments),
        after=Moment(ledger.gradients + ledger.now.fixed, ledger.now.per_image),
    )


def largest_batches(memory: TrainingMemory) -> pd.DataFrame:
    """The largest batch for each size of `CARDS`, a row a size: memory_gb (10^9 bytes), then a column an optimiser."""
    columns: dict[str, list[int]] = {
        optimiser: [memory.largest_batch(size * GB, optimiser) for size in CARDS] for optimiser in get_args(Optimiser)
    }
    return pd.DataFrame({"memory_gb": list(CARDS), **columns})


def refuses_one_image(network: ResNetSpec | str) -> bool:
    """Whether PyTorch cannot train it on a batch of one: a batch norm would see one number a channel.

    >>> refuses_one_image("resnet50")
    False
    """
    model, input_shape = zoo.network(network)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return any(
        operator.name in norms and operator.gives[0].shape[2:] == (1, 1) for operator in trace(model, input_shape)
    )


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that PyTorch runs, and through weak references when the memory of its results is let go.

    `now` leaves out parameters, buffers and finished gradients; `gradients` is the last of these.
    """

    def __init__(self, model: nn.Module, report: Callable[[float, str], object]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = Moment(0, 0)
        self.gradients = 0
        self.moments: list[tuple[Moment, int]] = []  # behind each operator, and the gradients of that time
        self._in_use: dict[int, tuple[weakref.ref[Any], str, Moment]] = {}  # by the address of the storage
        self._lasting = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self._stage = "image"
        self._report = report
        self._weights = _bytes(model.parameters())
        stages = _stages([name for name, _ in model.named_children()])
        for index, (stage, child) in enumerate(zip(stages, model.children(), strict=True)):
            child.register_forward_pre_hook(partial(self._enter, stage, index / (2 * len(stages))))
        parameters: Iterable[Any] = model.parameters()  # the next call has no types
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._finished)

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operator(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._take(result.untyped_storage())
        self.moments.append((self.now, self.gradients))
        return results

    def stages(self) -> tuple[tuple[str, int], ...]:
        """What is in use now and grows with the batch, for one image, by stage."""
        sums: dict[str, int] = {}
        for _, stage, size in self._in_use.values():
            sums[stage] = sums.get(stage, 0) + size.per_image
        return tuple(sums.items())

    def _take(self, storage: torch.UntypedStorage) -> None:
        address, count = storage._cdata, storage.nbytes()
        if address in self._in_use or address in self._lasting:
            return
        size = Moment(0, count // _BATCH) if count % _BATCH == 0 else Moment(count, 0)
        self._in_use[address] = weakref.ref(storage, partial(self._let_go, address)), self._stage, size
        self.now = Moment(self.now.fixed + size.fixed, self.now.per_image + size.per_image)

    def _let_go(self, address: int, _: object) -> None:
        *_, size = self._in_use.pop(address)
        self.now = Moment(self.now.fixed - size.fixed, self.now.per_image - size.per_image)

    def _finished(self, parameter: Tensor) -> None:
        """A gradient is no longer on its way but in its place."""
        assert parameter.grad is not None
        storage = parameter.grad.untyped_storage()
        self._lasting.add(storage._cdata)
        self._let_go(storage._cdata, None)
        self.gradients += storage.nbytes()
        self._report(0.5 + self.gradients / self._weights / 2, "Backward pass")

    def _enter(self, stage: str, fraction: float, *_: object) -> None:
        self._stage = stage
        self._report(fraction, "Forward pass")


def _stages(children: list[str]) -> list[str]:
    """The stage of each part of a network: those around torchvision's `layer1` ...; without these, their own names."""
    numbers = [re.fullmatch(r"layer(\d+)", name) for name in children]
    if not any(numbers):
        return children
    first = next(index for index, number in enumerate(numbers) if number)
    return [number[1] if number else "stem" if index < first else "head" for index, number in enumerate(numbers)]


def _busiest(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    """The moments that are the busiest for some batch: none of them is below another in both numbers."""
    chosen: list[Moment] = []
    for moment in sorted(set(moments), key=lambda moment: (moment.per_image, moment.fixed), reverse=True):
        if not chosen or moment.fixed > chosen[-1].fixed:
            chosen.append(moment)
    return tuple(chosen)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _check(optimiser: str, batch: int = 1) -> None:
    if optimiser not in _COPIES:
        raise ImpossibleStep(f"optimiser (={optimiser!r}) must be one of {', '.join(map(repr, _COPIES))}.")
    if batch < 1:
        raise ImpossibleStep(f"batch (={batch}) must be 1 or more.")
