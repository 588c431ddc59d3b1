"""Borrowing a model: whatever is changed on it is given back, and a shared one is lent to one borrower at a time."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any

import torch
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
            state.update(forward=forward, _forward_hooks=OrderedDict(), _forward_pre_hooks=OrderedDict())
        yield
    finally:
        for state, own in before:
            del state["forward"]  # nearly always the class has it
            state.update(own)


@contextmanager
def untouched(model: nn.Module) -> Iterator[nn.Module]:
    """The model; hooks and attributes that its modules are given meanwhile go again, after an exception too.

    A library that is stopped at its work leaves both behind.
    """
    restore = restoring(model.modules())
    try:
        yield model
    finally:
        restore()


def restoring(modules: Iterable[nn.Module]) -> Callable[[], None]:
    """What takes from these modules, each time it is called, the hooks and attributes that they do not have now."""
    before = [(module, set(vars(module)), {name: dict(vars(module)[name]) for name in _HOOKS}) for module in modules]

    def restore() -> None:
        for module, attributes, hooks in before:
            state = vars(module)
            for name in state.keys() - attributes:
                del state[name]
            for name, own in hooks.items():
                state[name].clear()
                state[name].update(own)

    return restore


@contextmanager
def watching(watchers: Iterable[tuple[nn.Module, Callable[[Any], object]]]) -> Iterator[None]:
    """Functions that are shown what these modules return, at each call; they come off after an exception too."""
    hooks = []
    try:
        for module, watch in watchers:
            hooks.append(module.register_forward_hook(partial(_show, watch)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _show(watch: Callable[[Any], object], module: nn.Module, inputs: Any, output: Any) -> None:
    watch(output)  # what it returns would take the output's place


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The processor's random numbers begin at a seed; afterwards they go on as if nothing had been drawn.

    One thread at a time is in here. They are the whole process's numbers all the same: nobody else may draw meanwhile,
    so what draws outside of a job has a generator of its own, and weights that are loaded are not drawn before.
    """
    generator = torch.default_generator
    with _SEEDING:
        before = generator.get_state()
        generator.manual_seed(seed)
        try:
            yield
        finally:
            generator.set_state(before)


_SEEDING = RLock()


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
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
