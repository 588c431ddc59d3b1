"""A network run in two parts: as far as one of its modules, and on from what that returns.

For where the first part need not run as often as the second.
"""

import math
from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from explorer.models.observe import frozen, watching

_SMALL = 32  # pixels: the side of a picture that nobody looks at


def until(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """What the module of that name returns.

    Raises:
        RuntimeError: it is not called.
    """

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _ReachedError(output)

    with network.get_submodule(name).register_forward_hook(stop):
        try:
            network(images)
        except _ReachedError as reached:
            return reached.found
    raise RuntimeError(f"{name} is not called.")


class _ReachedError(Exception):
    """The pass has come as far as it should."""

    def __init__(self, found: Tensor) -> None:
        super().__init__()
        self.found = found


class Rest(nn.Module):
    """The network behind a module: what that returns, (n, channels, rows, columns), to logits, (n, classes).

    Before it goes a small picture of what is not a number, so that logits are none if another way leads there too.
    The network may overwrite what it is given.

    Args:
        network: it is not copied. x: an image that it takes, (1, channels, h, w).
    """

    def __init__(self, network: nn.Module, name: str, x: Tensor) -> None:
        super().__init__()
        self.network, self._name = network, name
        side = min(_SMALL, *x.shape[2:])
        self._nothing = torch.full_like(x[:, :, :side, :side], math.nan)
        self.eval()

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, rows, columns) to (n, classes)."""
        with self.network.get_submodule(self._name).register_forward_hook(lambda module, inputs, output: maps):
            logits: Tensor = self.network(self._nothing.expand(len(maps), -1, -1, -1))
        return logits


def gates(network: nn.Module, x: Tensor) -> list[str]:
    """The modules through which alone the network sees the picture, from there on.

    Args:
        network: in eval mode. x: an image that it takes, (1, channels, h, w).
    """
    returned: dict[Any, list[str]] = {}
    calls: Counter[str] = Counter()

    def see(name: str, is_leaf: bool, output: Any) -> None:
        calls[name] += 1
        step = output.grad_fn if isinstance(output, Tensor) else None
        # What hands on what it was given may not be the only one to get it
        if step is not None and not (is_leaf and step in returned):
            returned.setdefault(step, []).append(name)

    modules = [
        (module, partial(see, name, not any(True for _ in module.children())))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.inference_mode(False), torch.enable_grad(), frozen(network), watching(modules):
            steps = _in_order(network(x.clone().requires_grad_().clone()).grad_fn)
    except Exception:  # a network of others may fail in any way
        return []
    place = {step: number for number, step in enumerate(steps)}
    used = dict.fromkeys(steps, 0)  # the last place to which a step's result goes directly
    for step in steps:
        used |= {before: place[step] for before, _ in step.next_functions if before is not None}
    found, furthest = [], 0
    for step in steps:
        if place[step] >= furthest:  # nothing leads past it
            found += [name for name in returned.get(step, ()) if calls[name] == 1]
        furthest = max(furthest, used[step])
    return found


def _in_order(last: Any) -> list[Any]:
    """The steps of autograd that lead to one, each behind those that it needs."""
    found: dict[Any, None] = {}
    left = [] if last is None else [last]
    while left:
        step = left[-1]
        needed = [before for before, _ in step.next_functions if before is not None and before not in found]
        if needed:
            left += needed
        else:
            found[left.pop()] = None
    return list(found)
