"""Borrowing a model: whatever is changed on it is given back, and a shared one is lent to one borrower at a time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode; each module's own mode comes back, after an exception too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode and without gradients of its parameters; both come back, and old gradients stay."""
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluating(model):
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        try:
            yield model
        finally:
            for parameter, requires_grad in wanted:
                parameter.requires_grad_(requires_grad)


@contextmanager
def forwarding(forwards: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Other functions in place of the `forward` of these modules, and no hooks around them; their own come back."""
    before: list[tuple[dict[str, Any], dict[str, Any]]] = []
    try:
        for module, forward in forwards:
            state = vars(module)
            before.append((state, {name: state[name] for name in _CALLED if name in state}))
            state.update(forward=forward, _forward_hooks={}, _forward_pre_hooks={})
        yield
    finally:
        for state, own in before:
            del state["forward"]  # nearly always the class has it
            state.update(own)


_CALLED = ("forward", "_forward_hooks", "_forward_pre_hooks")  # what runs when a module is called


class Shared:
    """A model that many sessions use: hooks of one would corrupt another's result, so one borrows it at a time."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._lock = RLock()

    @contextmanager
    def borrow(self) -> Iterator[nn.Module]:
        """The model, alone and frozen, until the block ends."""
        with self._lock, frozen(self._model) as model:
            yield model
